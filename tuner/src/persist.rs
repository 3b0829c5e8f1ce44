//! The files that make settings come back after a reboot, and what reads them then.
//!
//! Sysctls come back by a file in `/etc/sysctl.d`, devices by udev rules whenever they appear, and everything by the
//! boot unit, which runs [`replay()`] before the workloads start. What is to come back is written down in [`Desired`].
//!
//! What holds: these files are changes of the plan like all others, so that they are journaled and undone with it. A
//! later apply keeps what earlier ones wished for, unless it wishes otherwise itself. A value that cannot be written
//! into a file so that it means the same there is left to the boot unit.

mod desired;
mod promote;
mod replay;
mod sysctl;
mod udev;
mod unit;

pub use desired::{Desired, Setting};
pub use promote::{Engine, PROMOTION, Verdict, reconcile};
pub use replay::{Replayed, replay};

use crate::boot::{HEADER, TRIAL_ENTRY, TRIAL_SCRIPT, Trial};
use crate::facts::Facts;
use crate::host::{Host, HostError};
use crate::knob::{Persist, Phase};
use crate::place::{self, Place};
use crate::plan::{Change, Hook};
use std::path::{Path, PathBuf};

/// Why nothing is made to come back.
#[derive(Debug, thiserror::Error)]
pub enum PersistError {
    /// The host did not do as it was asked.
    #[error(transparent)]
    Host(#[from] HostError),
    /// What is to come back cannot be read.
    #[error(
        "{path}: {reason}: it is the record of what comes back after a reboot. Put it back from a backup, or remove it and apply again"
    )]
    Desired {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The boot unit could not call this program.
    #[error(
        "the program lies at '{0}', which a unit of systemd cannot call safely: install it as /usr/local/bin/tuner"
    )]
    Program(PathBuf),
}

/// Files to be written and what is to be run after them.
#[derive(Debug, Default)]
pub struct Files {
    /// The changes.
    pub changes: Vec<Change>,
    /// What is run afterwards.
    pub hooks: Vec<Hook>,
    /// Files that are there and are not ours, though they are where ours should be.
    pub foreign: Vec<PathBuf>,
}

impl Files {
    /// Has a file be as given (none: absent). One that is so already is left out. `hook` is run if it changes.
    pub fn put(
        &mut self,
        host: &dyn Host,
        path: &str,
        mode: u32,
        to: Option<String>,
        hook: Option<Hook>,
    ) -> Result<(), HostError> {
        let from = crate::boot::text(host, path)?;
        if from == to {
            return Ok(());
        }
        let is_foreign = |text: &String| path.starts_with("/etc/") && !text.contains(HEADER);
        if from.as_ref().is_some_and(is_foreign) {
            self.foreign.push(path.into());
        }
        self.changes.push(own_change(Place::File { path: path.into(), mode }, from, to));
        self.hooks.extend(hook);
        self.hooks.sort_unstable();
        self.hooks.dedup();
        Ok(())
    }
}

/// A change of something that the tuner keeps itself.
pub(crate) fn own_change(place: Place, from: Option<String>, to: Option<String>) -> Change {
    Change {
        knob: "tuner".into(),
        subject: String::new(),
        phase: Phase::Files,
        persist: Persist::Itself,
        place,
        from,
        to,
        at_least: false,
    }
}

/// The files that have these settings come back. `program` is this program's own absolute path.
pub fn files(
    host: &dyn Host,
    facts: &Facts,
    desired: &Desired,
    program: &Path,
) -> Result<Files, PersistError> {
    let mut files = Files::default();
    // Without systemd nothing would bring settings back. The boot loader's files are kept in mind all the same.
    if !facts.is_systemd {
        let of_boot = Desired { settings: Vec::new(), ..desired.clone() };
        files.put(host, Desired::PATH, 0o644, of_boot.text(), None)?;
        return Ok(files);
    }
    let program = callable(program)?;
    let settings = &desired.settings;
    files.put(host, Desired::PATH, 0o644, desired.text(), None)?;
    files.put(host, sysctl::PATH, 0o644, sysctl::text(settings), None)?;
    files.put(host, udev::PATH, 0o644, udev::text(settings, program), Some(Hook::ReloadUdev))?;
    let comes_back = !settings.is_empty();
    let unit = comes_back.then(|| unit::boot(program));
    files.put(host, unit::BOOT, 0o644, unit, Some(Hook::ReloadSystemd))?;
    let wants = comes_back.then(unit::boot_wants);
    files.put(host, unit::BOOT_WANTS, 0o644, wants, Some(Hook::ReloadSystemd))?;
    Ok(files)
}

/// The files that have `program` judge a trial when its boot is up.
pub(crate) fn put_judge(host: &dyn Host, files: &mut Files, program: &Path) -> Result<(), PersistError> {
    let unit = Some(unit::trial(callable(program)?));
    files.put(host, unit::TRIAL, 0o644, unit, Some(Hook::ReloadSystemd))?;
    files.put(host, unit::TRIAL_WANTS, 0o644, Some(unit::trial_wants()), Some(Hook::ReloadSystemd))?;
    Ok(())
}

/// Removes all that belongs to a trial, armed or booted.
pub(crate) fn drop_trial(host: &dyn Host, files: &mut Files) -> Result<(), HostError> {
    let armed = place::get(host, &Place::NextBoot)?;
    if armed.as_deref() == Some(TRIAL_ENTRY) {
        files.changes.push(own_change(Place::NextBoot, armed, None));
    }
    files.put(host, TRIAL_SCRIPT, 0o755, None, Some(Hook::UpdateGrub))?;
    files.put(host, Trial::PATH, 0o644, None, None)?;
    files.put(host, unit::TRIAL, 0o644, None, Some(Hook::ReloadSystemd))?;
    files.put(host, unit::TRIAL_WANTS, 0o644, None, Some(Hook::ReloadSystemd))
}

/// A path that means itself to systemd, udev and the shell alike.
fn callable(program: &Path) -> Result<&str, PersistError> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/_.+-".contains(letter);
    let text = program.to_str().filter(|text| text.starts_with('/') && text.chars().all(is_plain));
    text.ok_or_else(|| PersistError::Program(program.into()))
}
