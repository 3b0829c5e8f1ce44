//! Where the front meets what changes hosts: the engine, the boot loader's files, captures.

use super::Failure;
use super::exit;
use crate::report::outcome::{Applied, How, InEffect, Note, Standing, State, Told, Undone};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tuner::audit::Finding;
use tuner::boot::TRIAL_SCRIPT;
use tuner::engine::{self, ApplyError, Confirmation, Event, Outcome, Stands, Trace, UndoneJournal};
use tuner::facts::Facts;
use tuner::host::Host;
use tuner::knob::Persist;
use tuner::persist::{self, Verdict};
use tuner::place::Place;
use tuner::plan::{self, Change, Plan};
use tuner::profile::Profile;

/// How to plan and to apply.
#[derive(Debug, Clone, Default)]
pub(super) struct Options {
    pub(super) force: Vec<String>,
    pub(super) no_trial: bool,
    pub(super) keep_going: bool,
    pub(super) confirm_within: Option<Duration>,
}

/// What to undo.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which<'a> {
    Latest,
    To(&'a str),
    All,
}

/// What is to be done so that the host is as it is wished.
pub(super) fn make_plan(
    host: &dyn Host,
    facts: &Facts,
    profile: &Profile,
    findings: &[Finding],
    options: &Options,
) -> Result<Plan, Failure> {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/usr/bin/tuner"));
    let options = plan::Options {
        force: options.force.clone(),
        no_trial: options.no_trial,
        takes_itself_back: options.confirm_within.is_some(),
        program,
    };
    let plan = plan::make(host, facts, profile, findings, &options).map_err(Failure::usage)?;
    let runs_it = |change: &Change| {
        let text = change.to.as_deref().unwrap_or_default();
        matches!(change.place, Place::File { .. }) && text.contains(&*options.program.to_string_lossy())
    };
    match plan.changes.iter().any(runs_it).then(|| writable(&options.program)).flatten() {
        Some(whose) => Err(Failure::new(
            exit::REFUSED,
            format!(
                "each boot would run {} as root, and {} may be written by others than root: install tuner below \
                 /usr/local, as `cargo xtask install` does, and run that",
                options.program.display(),
                whose.display()
            ),
        )),
        None => Ok(plan),
    }
}

/// The program, or the folder above it, that somebody else than root may write; none if only root may.
fn writable(program: &Path) -> Option<&Path> {
    program
        .ancestors()
        .find(|path| std::fs::metadata(path).is_ok_and(|found| found.uid() != 0 || found.mode() & 0o022 != 0))
}

/// Does it.
pub(super) fn apply(
    host: &dyn Host,
    plan: &Plan,
    options: &Options,
    tell: &mut dyn FnMut(Told<'_>),
) -> Result<Applied, Failure> {
    let how = engine::Options { confirm_within: options.confirm_within, keep_going: options.keep_going };
    let applied = engine::apply(host, plan, &how, &mut |event| told(&plan.changes, event, tell));
    let applied = applied.map_err(|error| {
        let by_hand = match &error {
            ApplyError::RolledBack(what) => what.undone.by_hand(),
            _ => Vec::new(),
        };
        Failure { by_hand, ..Failure::new(error.exit(), &error) }
    })?;
    let notes = |notes: Vec<engine::Note>| {
        notes.into_iter().map(|note| Note { change: note.change, note: note.note }).collect::<Vec<_>>()
    };
    Ok(Applied {
        id: applied.id,
        written: applied.written,
        unchanged: applied.unchanged,
        partial: [notes(applied.partial), notes(applied.skipped)].concat(),
        failed: notes(applied.failed),
        confirm_until_unix_s: applied.confirm_until_unix_s,
        is_reboot_pending: !plan.parameters.is_empty(),
    })
}

/// Passes on what the engine tells.
fn told(changes: &[Change], event: Event<'_>, tell: &mut dyn FnMut(Told<'_>)) {
    let mut step = |step: usize, how, note: &str| {
        if let Some(change) = changes.get(step) {
            tell(Told::Step { step, change, how, note });
        }
    };
    match event {
        Event::Begun { steps, .. } => tell(Told::Steps(steps)),
        Event::Step { .. } => {}
        Event::Done { step: number, .. } => step(number, How::Done, ""),
        Event::Same { step: number } => step(number, How::Same, ""),
        Event::Partial { step: number, state } => {
            step(number, How::Partly, &format!("it gave {}", state.unwrap_or("nothing")));
        }
        Event::Skipped { step: number, why } => step(number, How::Partly, why),
        Event::Failed { step: number, why } => step(number, How::Failed, why),
        Event::Hook(hook) => tell(Told::Other(&hook.command())),
        Event::Undoing { id } => tell(Told::Other(&format!("undoing {id}"))),
        Event::Undone { change, outcome, .. } => {
            let how = if outcome.is_complete() { How::Done } else { How::Failed };
            let note = if *outcome == Outcome::Restored { String::new() } else { outcome.to_string() };
            tell(Told::Back { change, how, note: &note });
        }
    }
}

/// Undoes it.
pub(super) fn rollback(
    host: &dyn Host,
    which: Which<'_>,
    tell: &mut dyn FnMut(Told<'_>),
) -> Result<Undone, Failure> {
    let which = match which {
        Which::Latest => engine::Which::Latest,
        Which::To(id) => engine::Which::To(id.into()),
        Which::All => engine::Which::All,
    };
    let undone = engine::rollback(host, &which, &mut |event| told(&[], event, tell));
    undone.map(shown).map_err(|error| Failure::new(error.exit(), &error))
}

fn shown(undone: engine::Undone) -> Undone {
    let by_hand = undone.by_hand();
    let steps = || undone.journals.iter().flat_map(|journal: &UndoneJournal| &journal.steps);
    let note =
        |step: &engine::UndoneStep| Note { change: step.change.clone(), note: step.outcome.to_string() };
    Undone {
        ids: undone.journals.iter().map(|journal| journal.id.clone()).collect(),
        restored: steps().filter(|step| step.outcome.is_complete()).count(),
        left: steps().filter(|step| !step.outcome.is_complete()).map(note).collect(),
        by_hand,
        is_reboot_pending: steps().any(|step| step.change.persist == Persist::Boot),
    }
}

/// Waits until an apply is confirmed, and undoes it if it is not in time. Others run it, not people.
pub(super) fn undo_unless_confirmed(host: &dyn Host, id: &str) -> Result<Undone, Failure> {
    let undone = engine::undo_unless_confirmed(host, id, &mut |_| {});
    undone.map(shown).map_err(|error| Failure::new(error.exit(), &error))
}

/// Keeps what waits to be confirmed; its journal's name.
pub(super) fn confirm(host: &dyn Host) -> Result<String, Failure> {
    engine::confirm(host).map_err(|error| Failure::new(error.exit(), &error))
}

/// What is applied, the earliest first.
pub(super) fn state(host: &dyn Host) -> Result<State, Failure> {
    let state = engine::state(host).map_err(|error| Failure::new(exit::INCOMPLETE, error))?;
    let command_line = host.read("/proc/cmdline".as_ref()).unwrap_or_default();
    let waits = |parameter: &&plan::Parameter| {
        tuner::place::parameter(&command_line, &parameter.key).as_deref() != Some(&parameter.value)
    };
    let parameters = state.applied.iter().flat_map(|apply| &apply.parameters).filter(waits);
    let awaited = parameters.map(plan::Parameter::word).collect();
    let applied = state.applied.into_iter().map(in_effect).collect();
    Ok(State { applied, unfinished: state.unfinished, awaited })
}

fn in_effect(apply: engine::InEffect) -> InEffect {
    let text = |trace: &Trace| match trace {
        Trace::Absent => None,
        Trace::Text(text) => Some(text.clone()),
        Trace::File(sum) => Some(format!("a file with the checksum {sum:08x}")),
    };
    let standing = |setting: engine::Setting| Standing {
        now: match &setting.stands {
            Stands::Changed(trace) => text(trace),
            Stands::Back => text(&setting.from),
            Stands::Yes | Stands::Overtaken | Stands::Unseen => text(&setting.left),
            Stands::Gone => None,
            Stands::Unknown(why) => Some(why.clone()),
        },
        stands: !matches!(setting.stands, Stands::Back | Stands::Changed(_) | Stands::Unknown(_)),
        change: Change {
            knob: setting.knob,
            subject: setting.subject,
            phase: setting.phase,
            persist: setting.persist,
            place: setting.place,
            from: text(&setting.from),
            to: text(&setting.left),
            at_least: false,
        },
    };
    InEffect {
        id: apply.id,
        profile: apply.profile,
        since_unix_s: apply.at_unix_s,
        confirm_until_unix_s: match apply.confirmation {
            Confirmation::Until(until) => Some(until),
            Confirmation::Missed => Some(0),
            Confirmation::NotNeeded | Confirmation::Given => None,
        },
        changes: apply.settings.into_iter().map(standing).collect(),
    }
}

/// The profile that was applied last.
pub(super) fn last_profile(host: &dyn Host) -> Option<String> {
    let mut profiles = state(host).ok()?.applied.into_iter().map(|apply| apply.profile);
    profiles.rfind(|profile| profile != persist::PROMOTION)
}

/// Sets again what a boot, or a device that came, has reset; of one device alone, if it is named. What was interrupted,
/// or never confirmed, is undone before.
pub(super) fn replay(host: &dyn Host, device: Option<&str>) -> Result<(), Failure> {
    if device.is_none() {
        let undone = engine::resume(host, &mut |_| {}).map_err(|error| Failure::new(error.exit(), &error))?;
        let undone = shown(undone);
        if !undone.ids.is_empty() {
            println!("undone, since it was not ended or not confirmed: {}", undone.ids.join(", "));
        }
    }
    let replayed = persist::replay(host, device).map_err(Failure::usage)?;
    replayed.written.iter().chain(&replayed.absent).for_each(|line| println!("{line}"));
    match replayed.failed.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(exit::DRIFT, replayed.failed.join("; "))),
    }
}

/// Judges a trial boot, and promotes it or takes it back.
pub(super) fn judge(host: &dyn Host) -> Result<(), Failure> {
    let verdict =
        persist::reconcile(host, &Changer).map_err(|error| Failure::new(exit::INCOMPLETE, error))?;
    println!("{verdict}");
    match verdict {
        Verdict::Nothing | Verdict::Promoted => Ok(()),
        _ => Err(Failure::new(exit::ROLLED_BACK, verdict)),
    }
}

/// The engine, as the judge of a trial needs it.
struct Changer;

impl persist::Engine for Changer {
    fn apply(&self, host: &dyn Host, plan: &Plan) -> Result<(), String> {
        let applied = engine::apply(host, plan, &engine::Options::default(), &mut |_| {});
        applied.map(drop).map_err(|error| error.to_string())
    }

    fn roll_back(&self, host: &dyn Host) -> Result<(), String> {
        let state = engine::state(host).map_err(|error| error.to_string())?;
        let Some(begin) = begun_trial(&state.applied) else {
            return Err("no apply is known to have begun the trial".into());
        };
        let undone = engine::rollback(host, &engine::Which::To(begin.id.clone()), &mut |_| {});
        let undone = undone.map_err(|error| error.to_string())?;
        match undone.is_complete() {
            true => Ok(()),
            false => Err(undone.by_hand().join("; ")),
        }
    }
}

/// The apply that began the trial, with which all on top of it goes: that was planned for a host that it had changed.
/// What an earlier trial was promoted to has proved itself, and stays.
fn begun_trial(applied: &[engine::InEffect]) -> Option<&engine::InEffect> {
    let script = |apply: &engine::InEffect, is_there: bool| {
        let is_it = |setting: &engine::Setting| {
            matches!(&setting.place, Place::File { path, .. } if path == Path::new(TRIAL_SCRIPT))
                && (setting.left != Trace::Absent) == is_there
        };
        apply.settings.iter().any(is_it)
    };
    // The last may be the promotion of this very trial, if that did not come out well.
    let before = applied.iter().take(applied.len().saturating_sub(1));
    let first = before.rev().skip_while(|apply| !script(apply, false)).count();
    applied.iter().skip(first).find(|apply| script(apply, true))
}

/// What the tuner reads of a host, as a file that tests read.
pub(super) fn capture(host: &dyn Host) -> Result<String, Failure> {
    Ok(tuner::capture::capture(host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tuner::knob::Phase;

    /// An apply that left the trial's script there, or without it.
    fn applied(id: &str, is_there: bool) -> engine::InEffect {
        let script = engine::Setting {
            knob: "tuner".into(),
            subject: String::new(),
            phase: Phase::Files,
            persist: Persist::Itself,
            place: Place::File { path: TRIAL_SCRIPT.into(), mode: 0o755 },
            from: Trace::Absent,
            left: if is_there { Trace::File(1) } else { Trace::Absent },
            stands: Stands::Unseen,
        };
        engine::InEffect {
            id: id.into(),
            profile: "rt-cpu".into(),
            at_unix_s: 0,
            boot: String::new(),
            confirmation: Confirmation::NotNeeded,
            parameters: Vec::new(),
            settings: vec![script],
        }
    }

    #[test]
    fn a_trial_that_fails_takes_back_no_earlier_one_that_was_promoted() {
        let begun = |all: &[engine::InEffect]| begun_trial(all).map(|apply| apply.id.clone());
        let all = [applied("a", true), applied("promoted", false), applied("b", true), applied("c", true)];
        assert_eq!(begun(&all).unwrap(), "b");
        assert_eq!(begun(&all[..1]).unwrap(), "a");
        // Promoted, and found wanting.
        assert_eq!(begun(&all[..2]).unwrap(), "a");
        assert_eq!(begun(&[]), None);
    }

    #[test]
    fn a_program_that_others_may_write_is_found_out() {
        assert_eq!(writable(Path::new("/usr/bin/env")), None);
        // Everybody may put something else into the folder in its place, or it is not root's.
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("tuner");
        std::fs::write(&program, "").unwrap();
        assert!(writable(&program).is_some());
    }
}
