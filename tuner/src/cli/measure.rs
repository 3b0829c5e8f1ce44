//! The verb that measures: how late the host lets a thread run, whether a profile changes that, and which of its
//! settings do.
//!
//! What holds: whatever was applied to be measured is taken back, also if a person interrupts it. Only what acts at once
//! is measured; kernel parameters are measured by two runs with a boot between.

use super::arguments::{Common, Format, Measure};
use super::seam::{self, Options, Which};
use super::{Failure, Seen, exit, host, print, print_json};
use crate::report::measured::{self, Report};
use crate::report::{self, Screen};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tuner::facts;
use tuner::host::Host;
use tuner::knob::Phase;
use tuner::measure::ablate::{Ablated, ablate};
use tuner::measure::rounds::{Measured, Side, differences, in_turn};
use tuner::measure::tracers::{self, Tracer};
use tuner::measure::{Setup, plot};
use tuner::plan::Plan;

/// Measures.
pub(super) fn measure(common: &Common, how: &Measure) -> Result<u8, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, stop.clone())
            .map_err(|error| Failure::usage(format!("signals cannot be caught: {error}")))?;
    }
    let report = match how.compare || how.ablate {
        true => compare(common, how, &stop)?,
        false => look(common, how)?,
    };
    if let Some(path) = &how.plot {
        let lines: Vec<_> = report.states.iter().map(|(name, state)| (*name, &state.wakeup)).collect();
        plot::draw(path, "How late a thread wakes", &lines).map_err(Failure::usage)?;
    }
    if common.format() == Format::Json {
        print_json(&measured::json(&report))?;
    } else {
        let mut screen = Screen::new();
        measured::show(&mut screen, &report);
        print(&screen.into_text())?;
    }
    Ok(exit::FINE)
}

fn setup(how: &Measure, facts: &facts::Facts) -> Setup {
    let cpus = match &how.cpus {
        Some(cpus) => cpus.iter().collect(),
        // Those that the hot work runs on, or would.
        None if !facts.topology.isolated.is_empty() => facts.topology.isolated.iter().collect(),
        None => facts.topology.online().iter().collect(),
    };
    Setup { cpus, duration: how.time, interval: how.interval, fifo: how.fifo }
}

/// As the host is.
fn look(common: &Common, how: &Measure) -> Result<Report, Failure> {
    let host = host(common)?;
    let facts = facts::read(&*host, 0);
    let setup = setup(how, &facts);
    let mut state = Measured::none();
    for round in 0..how.rounds {
        tell(common, &format!("round {} of {}", round + 1, how.rounds));
        state.round(&setup);
    }
    let cpus = setup.cpus.iter().copied().collect();
    let tracers = [Tracer::Timerlat, Tracer::Osnoise]
        .map(|tracer| (tracer, tracers::measure(&*host, tracer, &cpus, setup.duration)));
    Ok(Report {
        setup,
        guest_of: facts.hypervisor,
        states: vec![("as it is", state)],
        tracers: tracers.into(),
        differences: None,
        ablated: Vec::new(),
    })
}

/// With and without what a profile would set.
fn compare(common: &Common, how: &Measure, stop: &AtomicBool) -> Result<Report, Failure> {
    let seen = Seen::new(common)?;
    let plan = at_once(&seen)?;
    let setup = setup(how, &seen.facts);
    let mut switch = Switch { host: &*seen.host, plan: &plan, applied: None, stop };
    let (mut states, mut ablated) = (None, Vec::new());
    let outcome = (|| {
        let turn = |side| switch.to((side == Side::Second).then_some(""));
        let say = |round: usize, side| {
            let side = if side == Side::First { "without" } else { "with" };
            tell(common, &format!("round {} of {}, {side}", round + 1, how.rounds));
        };
        states = Some(in_turn(&setup, how.rounds.into(), turn, say)?);
        if how.ablate {
            ablated = take_back_each(common, how, &setup, &plan, &mut switch)?;
        }
        Ok(())
    })();
    // Whatever came of it, the host is as it was.
    let back = switch.to(None);
    outcome.and(back)?;
    let Some(states) = states else { return Err(Failure::usage("nothing was measured")) };
    let differences = differences(&states);
    let [without, with] = states;
    Ok(Report {
        setup,
        guest_of: seen.facts.hypervisor,
        states: vec![("without", without), ("with", with)],
        tracers: Vec::new(),
        differences: Some(differences),
        ablated,
    })
}

fn take_back_each(
    common: &Common,
    how: &Measure,
    setup: &Setup,
    plan: &Plan,
    switch: &mut Switch<'_>,
) -> Result<Vec<Ablated>, Failure> {
    let mut knobs: Vec<String> = plan.changes.iter().map(|change| change.knob.clone()).collect();
    knobs.dedup();
    let say = |knob: &str, round: usize| {
        tell(common, &format!("without {knob}, round {} of {}", round + 1, how.rounds));
    };
    ablate(setup, how.rounds.into(), &knobs, |without| switch.to(Some(without.unwrap_or_default())), say)
}

/// What of a profile acts at once.
fn at_once(seen: &Seen) -> Result<Plan, Failure> {
    let mut plan =
        seam::make_plan(&*seen.host, &seen.facts, &seen.profile, &seen.findings, &Options::default())?;
    plan.changes.retain(|change| change.phase != Phase::Files);
    plan.hooks.clear();
    plan.parameters.clear();
    plan.boot = None;
    if let Some(refusal) = plan.refusals.first() {
        return Err(Failure::new(exit::REFUSED, format!("{} ({})", refusal.why, refusal.id)));
    }
    match plan.changes.is_empty() {
        true => Err(Failure::usage("the profile would change nothing at once: there is nothing to compare")),
        false => Ok(plan),
    }
}

/// Brings the host into a state: none of the plan's changes, or all but those of one knob.
struct Switch<'a> {
    host: &'a dyn Host,
    plan: &'a Plan,
    /// The journal of what is applied, and which knob it leaves out; empty for none.
    applied: Option<(String, String)>,
    stop: &'a AtomicBool,
}

impl Switch<'_> {
    fn to(&mut self, without: Option<&str>) -> Result<(), Failure> {
        let is_there = self.applied.as_ref().map(|(_, without)| without.as_str()) == without;
        if !is_there {
            if let Some((id, _)) = self.applied.take() {
                seam::rollback(self.host, Which::To(&id), &mut |_| {})?;
            }
            if let Some(without) = without {
                let mut plan = self.plan.clone();
                plan.changes.retain(|change| change.knob != without);
                let options = Options { keep_going: true, ..Options::default() };
                let applied = seam::apply(self.host, &plan, &options, &mut |_| {})?;
                self.applied = Some((applied.id, without.into()));
            }
        }
        match without.is_some() && self.stop.load(Relaxed) {
            true => Err(Failure::usage("it was interrupted, and what it had applied is taken back")),
            false => Ok(()),
        }
    }
}

/// Says how far it is, to people.
fn tell(common: &Common, line: &str) {
    if common.format() == Format::Text {
        // That nobody sees it is no reason to stop.
        let _ = report::print(&format!("{line}\n"));
    }
}
