//! Applies a plan: each step is written down, made, read back, and written down again.
//!
//! What holds: nothing is changed before it is in the journal that it will be. What reads back as something else than
//! was written did not succeed. One step that fails undoes all of them, unless the caller wishes to go on without it.

use super::check::{self, is_reached, number, shown};
use super::confirm::{self, Deadline};
use super::journal::{self, Before, JournalError, Log, Record};
use super::ledger::Ledger;
use super::outcome::{Applied, ApplyError, Event, Note, RolledBack};
use super::{Options, lock, privilege, run_hooks, settle, state, undo, unix_s};
use crate::boot;
use crate::host::{Host, HostError, HostErrorKind, absent_is_none};
use crate::knob::Phase;
use crate::place::{self, Place};
use crate::plan::{Change, Plan};
use std::path::Path;

/// Applies a plan, or leaves the host as it was.
pub fn apply(
    host: &dyn Host,
    plan: &Plan,
    options: &Options,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<Applied, ApplyError> {
    let _lock = lock(host)?;
    check::is_free(host)?;
    let same = check::plan(host, plan)?;
    let mut run = Run::begin(host, plan, options)?;
    tell(Event::Begun { id: &run.ledger.id, steps: plan.changes.len() });
    match run.all(&same, tell) {
        Ok(()) => {
            state::write_down(host);
            Ok(run.applied)
        }
        Err(why) => {
            let undone = undo::one(host, &mut run.ledger, &mut run.log, tell);
            state::write_down(host);
            Err(ApplyError::RolledBack(Box::new(RolledBack { why, undone })))
        }
    }
}

struct Run<'a> {
    host: &'a dyn Host,
    options: &'a Options,
    log: Log<'a>,
    ledger: Ledger,
    applied: Applied,
}

/// Why a step is not made.
enum Trouble {
    /// It cannot be made.
    Step(String),
    /// It cannot be written down, so nothing may be made.
    Journal(HostError),
}

impl<'a> Run<'a> {
    fn begin(host: &'a dyn Host, plan: &Plan, options: &'a Options) -> Result<Self, ApplyError> {
        let at_unix_s = unix_s();
        let ids = journal::ids(host).map_err(JournalError::from)?;
        let id = journal::next_id(&ids, at_unix_s);
        let confirm_within_s = options.confirm_within.map(|within| within.as_secs());
        let begin = Record::Begin { at_unix_s, confirm_within_s, plan: Box::new(plan.clone()) };
        let mut log = Log::new(host, &id);
        log.put(&begin).map_err(privilege)?;
        let applied = Applied { id: id.clone(), ..Applied::default() };
        if let Some(within) = options.confirm_within
            && let Err(error) = confirm::have_wait(host, &id, within)
        {
            log.put(&Record::Ended { at_unix_s }).map_err(JournalError::from)?;
            return Err(ApplyError::NobodyWaits(error));
        }
        state::write_down(host);
        // It is made of its beginning, so it is there.
        let none = || HostError::new(Path::new(&id), HostErrorKind::Other, "it has no beginning");
        let ledger = Ledger::of(&id, &[begin]).ok_or_else(none).map_err(JournalError::from)?;
        Ok(Self { host, options, log, ledger, applied })
    }

    fn put(&mut self, record: Record) -> Result<(), Trouble> {
        self.ledger.take(&record);
        self.log.put(&record).map_err(Trouble::Journal)
    }

    /// All steps, then the hooks. Says why not, in a sentence.
    fn all(&mut self, same: &[bool], tell: &mut dyn FnMut(Event<'_>)) -> Result<(), String> {
        let changes = self.ledger.plan.changes.clone();
        for (step, (change, is_same)) in changes.iter().zip(same).enumerate() {
            tell(Event::Step { step, change });
            match self.step(step, change, *is_same, tell) {
                Ok(()) => {}
                Err(Trouble::Step(why)) => {
                    tell(Event::Failed { step, why: &why });
                    let why = format!("{}: {}: {why}", change.knob, change.place);
                    if !self.options.keep_going {
                        return Err(why);
                    }
                    self.leave_out(step, change, why, tell).map_err(unwritten)?;
                }
                Err(trouble) => return Err(unwritten(trouble)),
            }
        }
        self.hooks(tell)?;
        if let Some(next) = &self.ledger.plan.boot {
            boot::check(self.host, next).map_err(|error| error.to_string())?;
        }
        let deadline = self.options.confirm_within.map(|within| Deadline::within(self.host, within));
        self.applied.confirm_until_unix_s = deadline.as_ref().map(|deadline| deadline.unix_s);
        self.put(Record::Applied { deadline }).map_err(unwritten)
    }

    fn hooks(&mut self, tell: &mut dyn FnMut(Event<'_>)) -> Result<(), String> {
        let hooks = self.ledger.plan.hooks.clone();
        if hooks.is_empty() {
            return Ok(());
        }
        self.put(Record::Hooks).map_err(unwritten)?;
        hooks.iter().for_each(|hook| tell(Event::Hook(*hook)));
        match run_hooks(self.host, &hooks).first() {
            None => Ok(()),
            Some((hook, why)) => Err(format!("`{}` failed: {why}", hook.command())),
        }
    }

    fn step(
        &mut self,
        step: usize,
        change: &Change,
        was_same: bool,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Trouble> {
        let host = self.host;
        let now =
            place::get_exactly(host, &change.place).map_err(|error| Trouble::Step(error.to_string()))?;
        if is_reached(change, now.as_deref()) {
            self.applied.unchanged += 1;
            tell(Event::Same { step });
            // What steps before it brought about is ours to undo.
            return self.put(if was_same {
                Record::Same { step }
            } else {
                Record::Done { step, state: now }
            });
        }
        let before = before(host, change).map_err(|error| Trouble::Step(error.to_string()))?;
        self.put(Record::Intent { step, before })?;
        if let Err(error) = place::set(host, &change.place, change.to.as_deref()) {
            return match is_managed(change, &error) {
                true => self.skip(step, change, tell),
                false => self.fail(step, change, error.to_string()),
            };
        }
        let is_settled = |now: &Option<String>| {
            is_reached(change, now.as_deref())
                || (change.at_least && !change.place.is_same(now.as_deref(), change.from.as_deref()))
        };
        match settle(host, &change.place, is_settled) {
            Err(error) => self.fail(step, change, format!("it cannot be read back: {error}")),
            Ok(now) if is_reached(change, now.as_deref()) => {
                self.applied.written += 1;
                tell(Event::Done { step, state: now.as_deref() });
                self.put(Record::Done { step, state: now })
            }
            Ok(now) if is_partial(change, now.as_deref()) => {
                self.applied.written += 1;
                let (given, wished) = (shown(&change.place, &now), shown(&change.place, &change.to));
                let note = format!("the kernel gave {given} of {wished}");
                self.applied.partial.push(Note { change: change.clone(), note });
                tell(Event::Partial { step, state: now.as_deref() });
                self.put(Record::Done { step, state: now })
            }
            Ok(now) => {
                let (reads, wished) = (shown(&change.place, &now), shown(&change.place, &change.to));
                self.fail(step, change, format!("it reads back as {reads} after {wished} was written"))
            }
        }
    }

    fn skip(&mut self, step: usize, change: &Change, tell: &mut dyn FnMut(Event<'_>)) -> Result<(), Trouble> {
        let why = "the kernel manages this interrupt by itself, and lets nobody move it".to_owned();
        tell(Event::Skipped { step, why: &why });
        self.applied.skipped.push(Note { change: change.clone(), note: why.clone() });
        self.put(Record::Skipped { step, why })
    }

    fn fail(&mut self, step: usize, change: &Change, why: String) -> Result<(), Trouble> {
        // Of what cannot be read, only the intent is known.
        if let Ok(state) = place::get_exactly(self.host, &change.place) {
            self.put(Record::Failed { step, why: why.clone(), state })?;
        }
        Err(Trouble::Step(why))
    }

    /// Puts a step back that failed, and goes on without it.
    fn leave_out(
        &mut self,
        step: usize,
        change: &Change,
        why: String,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Trouble> {
        let made = self.ledger.steps.get(step).cloned().unwrap_or_default();
        if made.mark != super::ledger::Mark::Nothing {
            let outcome = undo::undo(self.host, change, &made, false);
            tell(Event::Undone { step, change, outcome: &outcome });
            self.put(Record::Undone { step, outcome })?;
        }
        self.applied.failed.push(Note { change: change.clone(), note: why });
        Ok(())
    }
}

fn unwritten(trouble: Trouble) -> String {
    match trouble {
        Trouble::Step(why) => why,
        Trouble::Journal(error) => format!("the journal could not be written: {error}"),
    }
}

/// Whether a refusal says that the kernel moves this interrupt by itself. Kernels say so by EIO or, later, EPERM.
fn is_managed(change: &Change, error: &HostError) -> bool {
    change.phase == Phase::Interrupts && matches!(error.kind, HostErrorKind::Io | HostErrorKind::Denied)
}

/// Whether something, but not all, was given of a number that may be lower.
fn is_partial(change: &Change, now: Option<&str>) -> bool {
    let from = number(change.from.as_deref()).unwrap_or(0);
    change.at_least && number(now).is_some_and(|now| now > from)
}

/// What undoing a change of a file needs beside its text.
fn before(host: &dyn Host, change: &Change) -> Result<Before, HostError> {
    let Place::File { path, .. } = &change.place else { return Ok(Before::default()) };
    let mut folders = Vec::new();
    for folder in path.ancestors().skip(1) {
        if absent_is_none(host.mode(folder))?.is_some() {
            break;
        }
        folders.push(folder.to_owned());
    }
    Ok(Before { folders, mode: absent_is_none(host.mode(path))? })
}
