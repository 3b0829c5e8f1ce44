//! Brings settings back: what the boot unit runs, and udev for one device.
//!
//! What holds: only what differs is written. A device that is not there is left out and told; nothing that fails keeps
//! the rest from being written, and all that failed is told.

use super::{Desired, PersistError, Setting};
use crate::host::{Host, HostError, HostErrorKind};
use crate::place::{self, Place};
use std::path::{Path, PathBuf};

/// What came of it. Sentences, but for `kept`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// How many were as they are to be.
    pub kept: usize,
    /// What was written.
    pub written: Vec<String>,
    /// What is not there.
    pub absent: Vec<String>,
    /// What did not take.
    pub failed: Vec<String>,
}

/// Writes what is to be and is not; with `device`, only what belongs to the device of that name.
pub fn replay(host: &dyn Host, device: Option<&str>) -> Result<Replayed, PersistError> {
    let desired = Desired::read(host)?;
    let mut outcome = Replayed::default();
    let is_asked = |setting: &&Setting| device.is_none_or(|name| super::udev::is_of(setting, name));
    // What is refused may only wait for something after it, as the least clock waits for the highest.
    let mut again = Vec::new();
    for setting in desired.settings.iter().filter(is_asked) {
        match bring_back(host, setting) {
            Err(error) if error.kind == HostErrorKind::Invalid => again.push(setting),
            other => outcome.note(setting, other),
        }
    }
    for setting in again {
        outcome.note(setting, bring_back(host, setting));
    }
    Ok(outcome)
}

/// What one write came to.
enum Brought {
    Kept,
    Written,
    Absent,
    /// The state that it has instead.
    Other(Option<String>),
}

fn bring_back(host: &dyn Host, setting: &Setting) -> Result<Brought, HostError> {
    let Some(place) = present(host, setting) else { return Ok(Brought::Absent) };
    let state = setting.state.as_deref();
    if setting.is_reached(place::get(host, &place)?.as_deref()) {
        return Ok(Brought::Kept);
    }
    place::set(host, &place, state)?;
    let found = place::get(host, &place)?;
    match setting.is_reached(found.as_deref()) {
        true => Ok(Brought::Written),
        false => Ok(Brought::Other(found)),
    }
}

impl Replayed {
    fn note(&mut self, setting: &Setting, outcome: Result<Brought, HostError>) {
        let Setting { knob, place, .. } = setting;
        let wanted = setting.state.as_deref().unwrap_or("absent");
        match outcome {
            Ok(Brought::Kept) => self.kept += 1,
            Ok(Brought::Written) => self.written.push(format!("{knob}: {place} is {wanted} again")),
            Ok(Brought::Absent) => self.absent.push(format!("{knob}: {place} is not there")),
            Ok(Brought::Other(found)) => {
                let found = found.as_deref().unwrap_or("absent");
                self.failed.push(format!("{knob}: {place} was set to '{wanted}' and is '{found}'"));
            }
            Err(error) if error.kind == HostErrorKind::Absent => {
                self.absent.push(format!("{knob}: {place} is not there"));
            }
            Err(error) => self.failed.push(format!("{knob}: {error}")),
        }
    }
}

const INTERRUPTS: &str = "/proc/irq";

/// Who handles the interrupt that a place is about, and the name of its file. The subject has it in brackets:
/// `irq 24 (eth0-rx-0)`.
pub(super) fn interrupt<'a>(subject: &'a str, place: &'a Place) -> Option<(&'a str, &'a str)> {
    let Place::Attribute { path, .. } = place else { return None };
    path.strip_prefix(INTERRUPTS).ok()?.parent().filter(|folder| !folder.as_os_str().is_empty())?;
    let (_, rest) = subject.split_once('(')?;
    Some((rest.strip_suffix(')')?, path.file_name()?.to_str()?))
}

/// Where a setting stands in this boot, if it does.
fn present(host: &dyn Host, setting: &Setting) -> Option<Place> {
    let Some((actions, name)) = interrupt(&setting.subject, &setting.place) else {
        return Some(setting.place.clone());
    };
    let numbers = host.list(Path::new(INTERRUPTS)).unwrap_or_default();
    let is_it = |number: &&String| {
        let path = format!("/sys/kernel/irq/{number}/actions");
        host.read(Path::new(&path)).is_ok_and(|text| text.trim() == actions)
    };
    let number = numbers.iter().find(is_it)?;
    let path = PathBuf::from(INTERRUPTS).join(number).join(name);
    Some(Place::attribute(path, setting.place.form()))
}
