//! What is in effect, by the journals or by the summary that is kept beside them.
//!
//! What holds: the summary is made from the journals and nothing is undone by it. It may be read by everybody, so it has
//! no text of files, which may be secret: only their checksum. Who may not read journals gets the summary, and is told.

use super::journal::{self, JournalError};
use super::ledger::{Ledger, Mark};
use super::{FOLDER, confirm};
use crate::host::{Host, HostErrorKind, absent_is_none};
use crate::knob::{Persist, Phase};
use crate::place::{self, Place};
use crate::plan::Parameter;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// See above.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// What is applied, the oldest first.
    pub applied: Vec<InEffect>,
    /// The journal of one that was begun and not ended: it goes on right now, or died.
    pub unfinished: Option<String>,
    /// Where this is from.
    #[serde(skip)]
    pub source: Source,
}

/// Where a state is from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The journals.
    #[default]
    Journals,
    /// The summary: journals are for root only. It may lag behind if a tuner died.
    Summary,
}

/// A plan that is applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InEffect {
    /// The name of its journal.
    pub id: String,
    /// The profile that it follows.
    pub profile: String,
    /// When it was applied, in seconds since 1970.
    pub at_unix_s: u64,
    /// The boot in which it was applied.
    pub boot: String,
    /// Whether it may stay.
    pub confirmation: Confirmation,
    /// What it wants on the kernel's command line.
    pub parameters: Vec<Parameter>,
    /// What it changed.
    pub settings: Vec<Setting>,
}

/// Whether an apply may stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confirmation {
    /// Nobody had to say so.
    NotNeeded,
    /// Somebody said so.
    Given,
    /// Somebody has to say so until then, in seconds since 1970.
    Until(u64),
    /// Nobody said so in time: it is about to be undone.
    Missed,
}

/// A setting that was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Whose it is.
    pub knob: String,
    /// What of the host it is about.
    pub subject: String,
    /// When its turn came.
    pub phase: Phase,
    /// How it comes back after a reboot.
    pub persist: Persist,
    /// Where it stands.
    pub place: Place,
    /// What it was.
    pub from: Trace,
    /// What it was left as.
    pub left: Trace,
    /// Whether it still is.
    #[serde(skip)]
    pub stands: Stands,
}

/// A state, as far as everybody may know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trace {
    /// It is not there.
    Absent,
    /// This.
    Text(String),
    /// A file with this CRC-32C.
    File(u32),
}

/// Whether a setting still is as it was left.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stands {
    /// It is.
    Yes,
    /// It is as it was before.
    Back,
    /// Somebody changed it: it is this.
    Changed(Trace),
    /// A later apply changed the place, and is asked instead.
    Overtaken,
    /// The place is gone, as a file of a kernel that now is another one, or was for one boot, as an interrupt's number.
    Gone,
    /// It was not looked at.
    #[default]
    Unseen,
    /// It cannot be read. Why, in a sentence.
    Unknown(String),
}

impl Trace {
    /// That of a place's state.
    pub fn of(place: &Place, state: Option<&str>) -> Self {
        match (place, state) {
            (_, None) => Self::Absent,
            (Place::File { .. }, Some(text)) => Self::File(crc32c::crc32c(text.as_bytes())),
            (_, Some(state)) => Self::Text(state.into()),
        }
    }

    fn is_same(&self, place: &Place, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(one), Self::Text(other)) => place.is_same(Some(one), Some(other)),
            (one, other) => one == other,
        }
    }
}

/// What is in effect, and whether it still stands. Needs no privilege, but tells more with it.
pub fn state(host: &dyn Host) -> Result<State, JournalError> {
    let mut state = match journal::load_all(host) {
        Ok(ledgers) => summary(host, &ledgers),
        Err(JournalError::Host(error)) if error.kind == HostErrorKind::Denied => {
            let text = absent_is_none(host.read(&path()))?.unwrap_or_default();
            // What cannot be parsed is of another version, or there was none.
            let state: State = serde_json::from_str(&text).unwrap_or_default();
            State { source: Source::Summary, ..state }
        }
        Err(error) => return Err(error),
    };
    let boot = confirm::boot(host);
    let mut later = HashSet::new();
    for applied in state.applied.iter_mut().rev() {
        for setting in &mut applied.settings {
            let is_of_one_boot = setting.phase == Phase::Interrupts || setting.place == Place::NextBoot;
            setting.stands = match later.contains(&setting.place) {
                true => Stands::Overtaken,
                false if is_of_one_boot && applied.boot != boot => Stands::Gone,
                false => stands(host, setting),
            };
        }
        later.extend(applied.settings.iter().map(|setting| setting.place.clone()));
    }
    Ok(state)
}

fn stands(host: &dyn Host, setting: &Setting) -> Stands {
    let now = match place::get(host, &setting.place) {
        Ok(now) => Trace::of(&setting.place, now.as_deref()),
        Err(error) => return Stands::Unknown(error.to_string()),
    };
    if now.is_same(&setting.place, &setting.left) {
        Stands::Yes
    } else if now.is_same(&setting.place, &setting.from) {
        Stands::Back
    } else if now == Trace::Absent && setting.place.absence().is_some() {
        Stands::Gone
    } else {
        Stands::Changed(now)
    }
}

fn path() -> PathBuf {
    Path::new(FOLDER).join("state.json")
}

/// Writes the summary down anew. Nothing hangs on it; so that it cannot lie, it is removed where it cannot be written.
pub(super) fn write_down(host: &dyn Host) {
    let Ok(ledgers) = journal::load_all(host) else { return };
    let text = serde_json::to_string(&summary(host, &ledgers)).unwrap_or_default();
    if host.replace(&path(), &(text + "\n"), 0o644).is_err() {
        // That may fail for the same reason; the journals know better anyway.
        let _ = host.remove(&path());
    }
}

fn summary(host: &dyn Host, ledgers: &[Ledger]) -> State {
    let open = || ledgers.iter().filter(|ledger| !ledger.is_ended);
    State {
        applied: open()
            .filter(|ledger| !ledger.is_unfinished())
            .map(|ledger| in_effect(host, ledger))
            .collect(),
        unfinished: open().rfind(|ledger| ledger.is_unfinished()).map(|ledger| ledger.id.clone()),
        source: Source::Journals,
    }
}

fn in_effect(host: &dyn Host, ledger: &Ledger) -> InEffect {
    let confirmation = match &ledger.deadline {
        None => Confirmation::NotNeeded,
        Some(_) if ledger.is_confirmed => Confirmation::Given,
        Some(_) if confirm::is_due(host, ledger) => Confirmation::Missed,
        Some(deadline) => Confirmation::Until(deadline.unix_s),
    };
    let settings = ledger.steps().filter(|(_, _, step)| step.undone.is_none());
    let settings = settings.filter_map(|(_, change, step)| {
        let Mark::Left(left) = &step.mark else { return None };
        Some(Setting {
            knob: change.knob.clone(),
            subject: change.subject.clone(),
            phase: change.phase,
            persist: change.persist,
            place: change.place.clone(),
            from: Trace::of(&change.place, change.from.as_deref()),
            left: Trace::of(&change.place, left.as_deref()),
            stands: Stands::Unseen,
        })
    });
    InEffect {
        id: ledger.id.clone(),
        profile: ledger.plan.profile.clone(),
        at_unix_s: ledger.at_unix_s,
        boot: ledger.plan.identity.boot.clone(),
        confirmation,
        parameters: ledger.plan.parameters.clone(),
        settings: settings.collect(),
    }
}
