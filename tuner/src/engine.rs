//! Makes the changes of a plan, and takes them back.
//!
//! What holds: every change is in a journal on the medium before it is made, so that whatever interrupts an apply or its
//! undoing, the host can be brought back to exactly what it was: [`resume`]. What somebody else changed meanwhile is
//! left alone, and told. One tuner at a time is at work; [`state()`] may look at any time.
//!
//! - `apply`, `check`: forth
//! - `undo`: back
//! - `journal`, `ledger`: what is on the medium, and what it comes to
//! - `confirm`: what is not confirmed in time is undone
//! - `state`: what is in effect, also for those who may not read journals

mod apply;
mod by_hand;
mod check;
mod confirm;
mod hooks;
mod journal;
mod ledger;
mod outcome;
mod state;
mod undo;

pub use apply::apply;
pub use confirm::{confirm, undo_unless_confirmed};
pub use hooks::run_hooks;
pub use journal::JournalError;
pub use outcome::{
    Applied, ApplyError, Barred, ConfirmError, Event, Note, Outcome, RollbackError, RolledBack, Undone,
    UndoneJournal, UndoneStep,
};
pub use state::{Confirmation, InEffect, Setting, Source, Stands, State, Trace, state};

use crate::host::{Host, HostError, HostErrorKind, Lock};
use crate::place::{self, Place};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Where journals are: `ID.journal`, for root's eyes only. Their names sort as they were made.
pub const FOLDER: &str = "/var/lib/tuner";
/// Who holds this is at work.
const LOCK: &str = "/run/tuner.lock";
/// How often, and how long apart, a place is read until it shows what was written to it.
const LOOKS: usize = 25;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// How a plan is applied.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Undo it if nobody confirms it in this time.
    pub confirm_within: Option<Duration>,
    /// Leave out what fails, instead of undoing everything.
    pub keep_going: bool,
}

/// What is undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// What was applied last.
    Latest,
    /// The one whose journal has this name, and what was applied on top of it.
    To(String),
    /// Everything.
    All,
}

/// Undoes what was applied: the last one first.
pub fn rollback(
    host: &dyn Host,
    which: &Which,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<Undone, RollbackError> {
    let _lock = lock(host)?;
    let mut ledgers = journal::load_all(host)?;
    ledgers.retain(|ledger| !ledger.is_ended);
    let first = match which {
        Which::All => 0,
        // What only completes another, as the promotion of a trial does, is undone with it.
        Which::Latest => ledgers.iter().rposition(|ledger| !ledger.plan.completes).unwrap_or(0),
        Which::To(id) => {
            let found = ledgers.iter().position(|ledger| ledger.id == *id);
            found.ok_or_else(|| RollbackError::Unknown(id.clone()))?
        }
    };
    Ok(undo::all(host, ledgers.split_off(first), tell))
}

/// Undoes what was begun and not ended, since something interrupted it, and what was not confirmed in time. For the
/// start of the machine, and for whoever wants to go on after a crash.
pub fn resume(host: &dyn Host, tell: &mut dyn FnMut(Event<'_>)) -> Result<Undone, RollbackError> {
    let _lock = lock(host)?;
    for id in journal::ids(host).map_err(JournalError::from)? {
        if journal::load(host, &id)?.is_none() {
            // It has no beginning, so nothing was done.
            host.remove(&journal::path_of(&id)).map_err(JournalError::from)?;
        }
    }
    let mut ledgers = journal::load_all(host)?;
    ledgers.retain(|ledger| !ledger.is_ended);
    match ledgers.iter().position(|ledger| confirm::is_due(host, ledger)) {
        Some(first) => Ok(undo::all(host, ledgers.split_off(first), tell)),
        None => {
            state::write_down(host);
            Ok(Undone::default())
        }
    }
}

fn lock(host: &dyn Host) -> Result<Lock, Barred> {
    host.lock(Path::new(LOCK)).map_err(barred)
}

fn barred(error: HostError) -> Barred {
    match error.kind {
        HostErrorKind::Busy => Barred::Busy(error),
        HostErrorKind::Denied | HostErrorKind::ReadOnly => Barred::Privilege(error),
        _ => Barred::Other(error),
    }
}

/// What it means that the journal cannot be begun.
fn privilege(error: HostError) -> ApplyError {
    match error.kind {
        HostErrorKind::Denied | HostErrorKind::ReadOnly => Barred::Privilege(error).into(),
        _ => JournalError::from(error).into(),
    }
}

/// The state of a place, read until it has settled or patience is over: some effects come late.
fn settle(
    host: &dyn Host,
    place: &Place,
    is_settled: impl Fn(&Option<String>) -> bool,
) -> Result<Option<String>, HostError> {
    for _ in 0..LOOKS {
        let now = place::get(host, place)?;
        if is_settled(&now) {
            return Ok(now);
        }
        host.pause(BETWEEN_LOOKS);
    }
    place::get(host, place)
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
