//! What is to come back after a reboot, written down.

use super::PersistError;
use super::replay::interrupt;
use crate::audit::{Finding, Status};
use crate::host::Host;
use crate::knob::{Persist, Phase};
use crate::place::Place;
use crate::plan::{Change, Parameter, SCHEMA_VERSION};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// See above. What holds: one setting for a place, one value for a knob's parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Runtime settings, in the order in which they are written.
    pub settings: Vec<Setting>,
    /// Parameters of the kernel.
    pub parameters: Vec<Parameter>,
    /// The release of the kernel that is pinned as the default, and its path in GRUB's menu.
    pub kernel: Option<(String, String)>,
}

/// One runtime setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Whose it is.
    pub knob: String,
    /// What of the host it is about. Of an interrupt it has the name, since numbers change.
    pub subject: String,
    /// When its turn comes.
    pub phase: Phase,
    /// What brings it back, beside the boot unit.
    pub persist: Persist,
    /// Where it is.
    pub place: Place,
    /// Its state; none if absent.
    pub state: Option<String>,
    /// Whether a number counts as reached from there on.
    pub at_least: bool,
}

impl Desired {
    /// Where it is written down.
    pub const PATH: &str = "/var/lib/tuner/desired.json";

    /// Nothing.
    pub fn new() -> Self {
        Self { schema_version: SCHEMA_VERSION, settings: Vec::new(), parameters: Vec::new(), kernel: None }
    }

    /// What is written down; nothing if nothing is.
    pub fn read(host: &dyn Host) -> Result<Self, PersistError> {
        let Some(text) = crate::boot::text(host, Self::PATH)? else { return Ok(Self::new()) };
        let wrong = |reason: String| PersistError::Desired { path: Path::new(Self::PATH).into(), reason };
        let desired: Self = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        match desired.schema_version {
            SCHEMA_VERSION => Ok(desired),
            other => Err(wrong(format!("it has version {other}, this program writes {SCHEMA_VERSION}"))),
        }
    }

    /// Its text; none if there is nothing to come back.
    pub(super) fn text(&self) -> Option<String> {
        let is_empty = self.settings.is_empty() && self.parameters.is_empty() && self.kernel.is_none();
        (!is_empty).then(|| format!("{:#}\n", serde_json::json!(self)))
    }

    /// Takes in what changes. What earlier applies wished for stays, unless `findings` show another wish for it.
    pub fn take(&mut self, changes: &[Change], findings: &[Finding]) {
        for change in changes.iter().filter(|change| comes_back(change)) {
            let setting = Setting {
                knob: change.knob.clone(),
                subject: change.subject.clone(),
                phase: change.phase,
                persist: change.persist,
                place: change.place.clone(),
                state: change.to.clone(),
                at_least: change.at_least,
            };
            match self.settings.iter_mut().find(|other| is_about(other, &setting.subject, &setting.place)) {
                Some(other) => *other = setting,
                None => self.settings.push(setting),
            }
        }
        // Somebody set it by hand as it is wished now: replay must not take it back.
        for finding in findings.iter().filter(|finding| finding.status == Status::Ok) {
            let Some(place) = &finding.place else { continue };
            let other = self.settings.iter_mut().find(|setting| is_about(setting, &finding.subject, place));
            if let (Some(setting), Some(current)) = (other, &finding.current)
                && !setting.is_reached(Some(current))
            {
                setting.state = Some(current.clone());
            }
        }
        self.settings.sort_by_key(|setting| setting.phase);
    }

    /// Takes in parameters: a knob's new value replaces its old one.
    pub fn take_parameters(&mut self, parameters: &[Parameter]) {
        for parameter in parameters {
            let new = Parameter { from: None, ..parameter.clone() };
            let same = |other: &&mut Parameter| other.knob == new.knob && other.key == new.key;
            match self.parameters.iter_mut().find(same) {
                Some(other) => *other = new,
                None => self.parameters.push(new),
            }
        }
    }
}

impl Default for Desired {
    fn default() -> Self {
        Self::new()
    }
}

impl Setting {
    /// Whether a state is as it is to be.
    pub fn is_reached(&self, found: Option<&str>) -> bool {
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let reached = || Some(number(found?)? >= number(self.state.as_deref()?)?);
        self.place.is_same(found, self.state.as_deref()) || (self.at_least && reached() == Some(true))
    }
}

/// Whether the boot unit has to see to a change. Files and units stay by themselves.
fn comes_back(change: &Change) -> bool {
    let is_lost = matches!(
        change.place,
        Place::Attribute { .. } | Place::Swap { .. } | Place::Nic { .. } | Place::Gpu { .. }
    );
    is_lost && matches!(change.persist, Persist::Sysctl | Persist::Udev | Persist::Unit)
}

/// Whether a setting is about this place. Interrupts are told apart by their name: after a reboot, one may have the
/// number of another.
fn is_about(setting: &Setting, subject: &str, place: &Place) -> bool {
    let own = interrupt(&setting.subject, &setting.place);
    match (own, interrupt(subject, place)) {
        (None, None) => setting.place == *place,
        (own, other) => own == other,
    }
}
