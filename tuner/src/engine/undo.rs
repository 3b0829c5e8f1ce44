//! Undoes an apply: its steps in reverse, each only if it still is as the apply left it.
//!
//! What holds: it may be interrupted anywhere and begun again. What somebody else changed since is left alone. It goes
//! on when something fails, and when the journal cannot be written to; both are told.

use super::check::{is_reached, number};
use super::journal::{Before, Log, Record};
use super::ledger::{Ledger, Mark, Step};
use super::outcome::{Event, Outcome, Undone, UndoneJournal, UndoneStep};
use super::{confirm, run_hooks, settle, state, unix_s};
use crate::boot::environment;
use crate::host::{Host, HostError, HostErrorKind, UNFINISHED};
use crate::knob::Phase;
use crate::place::{self, Place};
use crate::plan::Change;
use std::collections::HashSet;

/// Undoes these, of which the oldest is the first: the last one first.
pub(super) fn all(host: &dyn Host, ledgers: Vec<Ledger>, tell: &mut dyn FnMut(Event<'_>)) -> Undone {
    let mut undone = Undone::default();
    for mut ledger in ledgers.into_iter().rev() {
        let mut log = Log::of_old(host, &ledger.id);
        undone.journals.push(one(host, &mut ledger, &mut log, tell));
    }
    state::write_down(host);
    undone
}

/// Undoes one.
pub(super) fn one(
    host: &dyn Host,
    ledger: &mut Ledger,
    log: &mut Log<'_>,
    tell: &mut dyn FnMut(Event<'_>),
) -> UndoneJournal {
    let mut trouble = None;
    let mut put = |ledger: &mut Ledger, record: Record| {
        ledger.take(&record);
        if let Err(error) = log.put(&record) {
            trouble.get_or_insert(error.to_string());
        }
    };
    tell(Event::Undoing { id: &ledger.id });
    let again = ledger.is_undoing;
    put(ledger, Record::Undoing { at_unix_s: unix_s() });
    let is_other_boot = is_other_boot(host, ledger);
    let open: Vec<_> =
        ledger.steps().filter(|(_, _, step)| is_open(step)).map(|(number, ..)| number).collect();
    for number in open.iter().rev().copied() {
        let Some((change, step)) = ledger.step(number) else { continue };
        let outcome = match is_other_boot && change.phase == Phase::Interrupts {
            true => Outcome::OtherBoot,
            false => undo(host, &change, &step, again),
        };
        put(ledger, Record::Undone { step: number, outcome: outcome.clone() });
        tell(Event::Undone { step: number, change: &change, outcome: &outcome });
    }
    for number in drifted(host, ledger, &open, again) {
        let Some((change, step)) = ledger.step(number) else { continue };
        let outcome = put_back(host, &change, &step.before);
        put(ledger, Record::Undone { step: number, outcome: outcome.clone() });
        tell(Event::Undone { step: number, change: &change, outcome: &outcome });
    }
    let has_changed = ledger.has_hooked || ledger.steps.iter().any(|step| step.mark != Mark::Nothing);
    let hooks = if has_changed { ledger.plan.hooks.clone() } else { Vec::new() };
    hooks.iter().for_each(|hook| tell(Event::Hook(*hook)));
    let hooks = run_hooks(host, &hooks);
    put(ledger, Record::Ended { at_unix_s: unix_s() });
    let told = ledger.steps().rev().filter_map(|(_, change, step)| {
        Some(UndoneStep { change: change.clone(), outcome: step.undone.clone()? })
    });
    UndoneJournal { id: ledger.id.clone(), steps: told.collect(), hooks, journal: trouble }
}

fn is_open(step: &Step) -> bool {
    step.mark != Mark::Nothing && matches!(step.undone, None | Some(Outcome::Failed { .. }))
}

/// Interrupts have other numbers after a reboot.
fn is_other_boot(host: &dyn Host, ledger: &Ledger) -> bool {
    let boot = confirm::boot(host);
    !boot.is_empty() && ledger.plan.identity.boot != boot
}

/// Those steps that are not as before, though they were put back: what was undone after them changed them, or was in
/// their way. The last first. Of those that were put back when it was `again` begun, only what is surely ours.
fn drifted(host: &dyn Host, ledger: &Ledger, open: &[usize], again: bool) -> Vec<usize> {
    let mut seen = HashSet::new();
    let mut drifted = Vec::new();
    for (number, change, step) in ledger.steps() {
        // Of several changes of one place, the first knows what was before.
        let is_first = seen.insert(&change.place);
        let was_put_back =
            matches!(step.undone, Some(Outcome::Restored | Outcome::WasBack | Outcome::Failed { .. }));
        if !is_first || !was_put_back {
            continue;
        }
        let Ok(now) = place::get_exactly(host, &change.place) else { continue };
        let is = |state: &Option<String>| change.place.is_same(now.as_deref(), state.as_deref());
        let is_ours = open.contains(&number)
            || (again
                && (is_torn(change, now.as_deref()) || matches!(&step.mark, Mark::Left(left) if is(left))));
        if is_ours && !is(&change.from) {
            drifted.push(number);
        }
    }
    drifted.reverse();
    drifted
}

/// Undoes one step; maybe `again`, since undoing it was interrupted.
pub(super) fn undo(host: &dyn Host, change: &Change, step: &Step, again: bool) -> Outcome {
    let now = match place::get_exactly(host, &change.place) {
        Ok(now) => now,
        Err(error) if error.kind == HostErrorKind::Absent => return Outcome::Gone,
        Err(error) => return Outcome::Failed { why: error.to_string() },
    };
    let is = |state: &Option<String>| change.place.is_same(now.as_deref(), state.as_deref());
    let is_ours = match &step.mark {
        Mark::Nothing => false,
        Mark::Left(state) => is(state) || (again && is_torn(change, now.as_deref())),
        Mark::Intended => may_be_ours(change, now.as_deref()),
    };
    if is(&change.from) {
        return match tidy(host, change, &step.before) {
            Ok(()) => Outcome::WasBack,
            Err(error) => Outcome::Failed { why: error.to_string() },
        };
    }
    match (is_ours, &now, &change.place) {
        (true, ..) => put_back(host, change, &step.before),
        (false, None, Place::File { .. } | Place::Swap { .. }) => Outcome::ChangedSince { now },
        // Its device was taken out.
        (false, None, _) => Outcome::Gone,
        (false, ..) => {
            // What somebody else put there stays; what we were about to put there does not.
            let _ = tidy(host, change, &step.before);
            Outcome::ChangedSince { now }
        }
    }
}

/// Whether a state may be what writing left whose outcome nobody saw: what was written, or what the kernel is known to
/// make of it.
fn may_be_ours(change: &Change, now: Option<&str>) -> bool {
    if is_reached(change, now) {
        return true;
    }
    let (Some(now), Some(to)) = (now, change.to.as_deref()) else { return false };
    let is_partial = change.at_least
        && number(Some(now))
            .zip(number(Some(to)))
            .is_some_and(|(now, to)| number(change.from.as_deref()).unwrap_or(0) < now && now < to);
    let is_invalid = now.strip_prefix(to).is_some_and(|rest| rest.starts_with(" invalid"));
    is_partial || is_invalid || is_torn(change, Some(now))
}

/// Whether a state may be that of a write that was interrupted. The kernel's files know no such thing, but those of a
/// folder that stands for a machine are empty for a moment while they are written.
fn is_torn(change: &Change, now: Option<&str>) -> bool {
    now == Some("") && matches!(change.place, Place::Attribute { .. })
}

fn put_back(host: &dyn Host, change: &Change, before: &Before) -> Outcome {
    let from = change.from.as_deref();
    let written = match (&change.place, from) {
        (Place::File { path, mode }, Some(text)) => host.replace(path, text, before.mode.unwrap_or(*mode)),
        (place, from) => place::set(host, place, from),
    };
    let back = |now: &Option<String>| change.place.is_same(now.as_deref(), from);
    let now =
        written.and_then(|()| tidy(host, change, before)).and_then(|()| settle(host, &change.place, back));
    match now {
        Ok(now) if back(&now) => Outcome::Restored,
        Ok(now) => Outcome::Partial { now },
        Err(error) => Outcome::Failed { why: error.to_string() },
    }
}

/// Removes what an interrupted replacement left beside a file, and folders that were made for it; and the name of the
/// next entry, whose value alone GRUB takes away when it boots that.
fn tidy(host: &dyn Host, change: &Change, before: &Before) -> Result<(), HostError> {
    if change.place == Place::NextBoot
        && change.from.is_none()
        && environment::variable(host, "next_entry")?.is_some_and(|entry| entry.is_empty())
    {
        return place::set(host, &Place::NextBoot, None);
    }
    let Place::File { path, .. } = &change.place else { return Ok(()) };
    let mut beside = path.clone().into_os_string();
    beside.push(UNFINISHED);
    host.remove(beside.as_ref())?;
    before.folders.iter().try_for_each(|folder| host.remove_folder(folder))
}
