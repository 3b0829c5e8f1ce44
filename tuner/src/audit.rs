//! What a host's settings are, beside what is wished for them.
//!
//! What holds: it only reads. What is effective counts, not what was asked for: a setting whose effect shows elsewhere
//! is judged there, too, and there alone if it cannot be set. What cannot be read is unknown, never well.

use crate::catalogue;
use crate::facts::{Facts, Owner};
use crate::host::{Host, HostError, HostErrorKind};
use crate::knob::{Knob, Persist, Phase, Places, Spot, Wanted, Wish};
use crate::place::{self, Place};
use crate::profile::Profile;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How a setting stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// As it is wished.
    Ok,
    /// Not as it is wished, and it can be set.
    Drift,
    /// It will be as it is wished once the host is booted again.
    PendingReboot,
    /// Not as it is wished, but somebody else, who runs, sets it: one of both would undo what the other does.
    Conflict,
    /// Not as it is wished, and it cannot be set on this host.
    NotSettable,
    /// This host has no such thing.
    NotSupported,
    /// It does nothing on this kernel, whatever it says.
    Obsolete,
    /// It cannot be read, or its effect cannot.
    Unknown,
    /// Nothing is wished for it.
    Left,
}

impl Status {
    /// All of them, as tables order them.
    pub const ALL: [Self; 9] = [
        Self::Drift,
        Self::PendingReboot,
        Self::Conflict,
        Self::NotSettable,
        Self::Unknown,
        Self::Obsolete,
        Self::NotSupported,
        Self::Ok,
        Self::Left,
    ];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Drift => "drift",
            Self::PendingReboot => "pending-reboot",
            Self::Conflict => "conflict",
            Self::NotSettable => "not-settable",
            Self::NotSupported => "not-supported",
            Self::Obsolete => "obsolete",
            Self::Unknown => "unknown",
            Self::Left => "left",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How one setting stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Whose it is.
    pub knob: &'static str,
    /// What of the host it is about; empty for the whole host.
    pub subject: String,
    /// Where it stands; none if nowhere.
    pub place: Option<Place>,
    /// How.
    pub status: Status,
    /// What it is; none if absent or not to be read.
    pub current: Option<String>,
    /// What shows of it elsewhere.
    pub effective: Option<String>,
    /// What is wished, as text.
    pub wanted: Option<String>,
    /// What would be written.
    pub target: Option<String>,
    /// When its turn comes.
    pub phase: Phase,
    /// How it comes back after a reboot.
    pub persist: Persist,
    /// What else is to be said. A sentence.
    pub note: Option<String>,
}

/// Looks at every knob of the catalogue, in its order.
pub fn audit(host: &dyn Host, facts: &Facts, profile: &Profile) -> Vec<Finding> {
    catalogue::all().flat_map(|knob| one(host, facts, profile, knob)).collect()
}

/// Looks at one knob, wherever it stands; where it stands nowhere, that is a finding, too.
pub fn one(host: &dyn Host, facts: &Facts, profile: &Profile, knob: &Knob) -> Vec<Finding> {
    let nowhere = |status, why: &str| vec![nowhere(profile.wish(knob), knob, status, why)];
    match (knob.places)(facts) {
        Places::At(spots) if spots.is_empty() => nowhere(Status::NotSupported, "this host has none of these"),
        Places::At(spots) => spots.iter().map(|spot| look(host, facts, profile, knob, spot)).collect(),
        Places::NotSupported(why) => nowhere(Status::NotSupported, &why),
        Places::Obsolete(why) => nowhere(Status::Obsolete, &why),
        Places::Unknown(why) => nowhere(Status::Unknown, &why),
    }
}

/// What is said of a knob that stands nowhere. Where nobody wishes for it, only that it does nothing is worth a word.
fn nowhere(wish: &Wish, knob: &Knob, status: Status, why: &str) -> Finding {
    let is_wished = *wish != Wish::Leave;
    let status = if is_wished || status == Status::Obsolete { status } else { Status::Left };
    let wanted = is_wished.then(|| wish.to_string());
    Finding { status, wanted, note: Some(why.into()), ..blank(knob, "") }
}

fn blank(knob: &Knob, subject: &str) -> Finding {
    Finding {
        knob: knob.id,
        subject: subject.into(),
        place: None,
        status: Status::Left,
        current: None,
        effective: None,
        wanted: None,
        target: None,
        phase: knob.phase,
        persist: knob.persist,
        note: None,
    }
}

/// Looks at one setting.
fn look(host: &dyn Host, facts: &Facts, profile: &Profile, knob: &Knob, spot: &Spot) -> Finding {
    let wanted = profile.wish(knob).at(spot, facts);
    let mut finding = Finding {
        place: Some(spot.place.clone()),
        wanted: wanted.as_ref().map(Wanted::to_string),
        target: wanted.as_ref().and_then(Wanted::target),
        ..blank(knob, &spot.subject)
    };
    let (current, effective) = match read(host, spot) {
        Ok(states) => states,
        Err(error) => return unreadable(finding, &error),
    };
    let met = |place: &Place, state: &Option<String>, wanted: &Wanted| match state {
        Some(state) => wanted.is_met(place.form(), state),
        None => *wanted == Wanted::Absent,
    };
    let is_written = wanted.as_ref().is_none_or(|wanted| met(&spot.place, &current, wanted));
    let has_effect = match (&spot.effect, &wanted) {
        // What only happens to be so now may be gone with the next boot. What cannot be set is as good as it is.
        (Some(place), Some(wanted)) => met(place, &effective, wanted) && (is_written || spot.fixed.is_some()),
        _ => is_written,
    };
    (finding.status, finding.note) = match &wanted {
        None => unwished(facts, profile.wish(knob)),
        Some(_) if has_effect => (Status::Ok, None),
        Some(wanted) => judge(facts, profile, knob, spot, wanted, current.is_some(), is_written),
    };
    (finding.current, finding.effective) = (current, effective);
    finding
}

fn read(host: &dyn Host, spot: &Spot) -> Result<(Option<String>, Option<String>), HostError> {
    let effective = match &spot.effect {
        Some(place) => place::get(host, place)?,
        None => None,
    };
    Ok((place::get(host, &spot.place)?, effective))
}

/// A wish that comes to nothing on this host: it is told why, lest it be taken for one that is fulfilled.
fn unwished(facts: &Facts, wish: &Wish) -> (Status, Option<String>) {
    match wish {
        Wish::Isolated | Wish::Housekeeping => {
            let why = facts.choice.reasons.last().map(|why| format!(": {why}")).unwrap_or_default();
            (Status::NotSupported, Some(format!("no CPU is isolated here{why}")))
        }
        Wish::Auto => (Status::Left, Some("nothing has to be set here".into())),
        _ => (Status::Left, None),
    }
}

fn unreadable(finding: Finding, error: &HostError) -> Finding {
    if finding.wanted.is_none() {
        return Finding { note: Some(error.to_string()), ..finding };
    }
    let (status, note) = match error.kind {
        HostErrorKind::Denied => (Status::Unknown, format!("{error}: run it as root to see")),
        HostErrorKind::NotSupported | HostErrorKind::Io | HostErrorKind::Invalid => {
            (Status::NotSupported, error.to_string())
        }
        _ => (Status::Unknown, error.to_string()),
    };
    Finding { status, note: Some(note), ..finding }
}

/// Why a setting is not as it is wished.
fn judge(
    facts: &Facts,
    profile: &Profile,
    knob: &Knob,
    spot: &Spot,
    wanted: &Wanted,
    is_there: bool,
    is_written: bool,
) -> (Status, Option<String>) {
    if let Some(why) = &spot.fixed {
        return (Status::NotSettable, Some(why.clone()));
    }
    if let Place::Parameter { key, form } = &spot.place {
        let next = facts.boot.next_command_line.as_deref().and_then(|line| place::parameter(line, key));
        if next.is_some_and(|value| wanted.is_met(*form, &value)) && !is_written {
            return (Status::PendingReboot, None);
        }
        if is_written {
            return (Status::Drift, Some("it is on the command line, but the kernel does not follow".into()));
        }
    } else if !is_there && let Some(why) = spot.place.absence() {
        return (Status::NotSupported, Some(why.into()));
    }
    if knob.persist == Persist::Never {
        return (Status::Drift, Some("it is only looked at".into()));
    }
    // Stopping somebody is no conflict with him, nor is what comes after he was stopped.
    let is_itself = |owner: &&Owner| spot.place == Place::Unit { name: owner.unit.clone() };
    let stays = |owner: &&Owner| !is_itself(owner) && !stops(facts, profile, owner);
    if let Some(owner) = owner(facts, knob.id).filter(stays) {
        return (Status::Conflict, Some(format!("{} runs and sets it, too", owner.unit)));
    }
    (Status::Drift, is_written.then(|| "it was written, but has no effect yet".into()))
}

/// Whether the profile has somebody else stopped, before anything that he sets is set.
fn stops(facts: &Facts, profile: &Profile, owner: &Owner) -> bool {
    let unit = Place::Unit { name: owner.unit.clone() };
    let stopped = |wanted| matches!(wanted, Wanted::Is(state) if state.ends_with("inactive"));
    catalogue::all().filter(|knob| knob.phase == Phase::Services).any(|knob| match (knob.places)(facts) {
        Places::At(spots) => spots.iter().any(|spot| {
            spot.place == unit
                && spot.fixed.is_none()
                && profile.wish(knob).at(spot, facts).is_some_and(stopped)
        }),
        _ => false,
    })
}

/// Who else turns this knob, and runs.
pub fn owner<'a>(facts: &'a Facts, knob: &str) -> Option<&'a Owner> {
    let turns = |owner: &&Owner| owner.turns.iter().any(|prefix| knob.starts_with(prefix.as_str()));
    facts.owners.iter().filter(|owner| owner.is_active).find(turns)
}

#[cfg(test)]
mod tests;
