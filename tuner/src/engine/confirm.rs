//! The dead man's switch: what is not confirmed in time is undone.
//!
//! What holds: whoever shall undo it is there before the first change is made. The deadline counts the time since the
//! boot, which nobody can set; the clock counts only where that cannot be read. Another boot is past every deadline.

use super::journal::{self, Log, Record};
use super::outcome::{ConfirmError, Event, RollbackError, Undone};
use super::{lock, state, undo, unix_s};
use crate::host::{Host, HostError, HostErrorKind};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

/// How often somebody who waits looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Deadline {
    /// Of which boot.
    pub(super) boot: String,
    /// How long after that boot.
    pub(super) uptime_ms: Option<u64>,
    /// Seconds since 1970.
    pub(super) unix_s: u64,
}

impl Deadline {
    /// In so much time.
    pub(super) fn within(host: &dyn Host, time: Duration) -> Self {
        let time_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            boot: boot(host),
            uptime_ms: uptime_ms(host).map(|now| now.saturating_add(time_ms)),
            unix_s: unix_s().saturating_add(time.as_secs()),
        }
    }

    /// How long until then; none if it is past.
    pub(super) fn left(&self, host: &dyn Host) -> Option<Duration> {
        let left_ms = match (self.boot == boot(host), self.uptime_ms, uptime_ms(host)) {
            (false, ..) => 0,
            (true, Some(then), Some(now)) => then.saturating_sub(now),
            _ => self.unix_s.saturating_sub(unix_s()).saturating_mul(1000),
        };
        (left_ms > 0).then(|| Duration::from_millis(left_ms))
    }
}

/// The name of this boot.
pub(super) fn boot(host: &dyn Host) -> String {
    let text = host.read(Path::new("/proc/sys/kernel/random/boot_id")).unwrap_or_default();
    text.trim().into()
}

fn uptime_ms(host: &dyn Host) -> Option<u64> {
    let text = host.read(Path::new("/proc/uptime")).ok()?;
    let seconds: f64 = text.split_whitespace().next()?.parse().ok()?;
    // Beyond any uptime there is; the conversion saturates.
    Some((seconds * 1000.0) as u64)
}

/// Says that what waits may stay. Returns the name of its journal.
pub fn confirm(host: &dyn Host) -> Result<String, ConfirmError> {
    let _lock = lock(host)?;
    let ledger = journal::load_all(host)?.into_iter().rfind(|ledger| ledger.waits());
    let ledger = ledger.ok_or(ConfirmError::Nothing)?;
    if ledger.deadline.as_ref().is_none_or(|deadline| deadline.left(host).is_none()) {
        return Err(ConfirmError::Late(ledger.id));
    }
    let confirmed = Record::Confirmed { at_unix_s: unix_s() };
    Log::of_old(host, &ledger.id).put(&confirmed).map_err(journal::JournalError::from)?;
    state::write_down(host);
    Ok(ledger.id)
}

/// Waits until an apply is confirmed or undone; if it is neither in time, or its process died, undoes it. This is what
/// [`Host::later`] runs, as `tuner rollback --unless-confirmed ID`.
pub fn undo_unless_confirmed(
    host: &dyn Host,
    id: &str,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<Undone, RollbackError> {
    loop {
        let Some(ledger) = journal::load(host, id)? else { return Ok(Undone::default()) };
        if ledger.is_ended || ledger.is_confirmed {
            return Ok(Undone::default());
        }
        // One that is still applied holds the lock; one that died has no deadline and leaves it free.
        match ledger.deadline.as_ref().and_then(|deadline| deadline.left(host)) {
            Some(left) => host.pause(left.min(LOOK_EVERY)),
            None => match host.lock(Path::new(super::LOCK)) {
                Ok(_lock) => return undo_still_waiting(host, id, tell),
                Err(error) if error.kind == HostErrorKind::Busy => host.pause(LOOK_EVERY),
                Err(error) => return Err(super::barred(error).into()),
            },
        }
    }
}

/// With the lock: what was read before may be out of date.
fn undo_still_waiting(
    host: &dyn Host,
    id: &str,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<Undone, RollbackError> {
    let ledgers = journal::load_all(host)?;
    let is_due = ledgers.iter().any(|ledger| ledger.id == id && is_due(host, ledger));
    let above = ledgers.into_iter().filter(|ledger| is_due && !ledger.is_ended && ledger.id.as_str() >= id);
    Ok(undo::all(host, above.collect(), tell))
}

/// Whether an apply died, or was not confirmed in time.
pub(super) fn is_due(host: &dyn Host, ledger: &super::ledger::Ledger) -> bool {
    let is_late = || ledger.deadline.as_ref().is_some_and(|deadline| deadline.left(host).is_none());
    ledger.is_unfinished() || (ledger.waits() && is_late())
}

/// Has somebody wait for the confirmation of an apply.
pub(super) fn have_wait(host: &dyn Host, id: &str, within: Duration) -> Result<(), HostError> {
    host.later(within, &["rollback", "--unless-confirmed", id])
}
