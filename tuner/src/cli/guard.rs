//! The verb that watches a graphics card, and steps its clock down while it is too hot.
//!
//! What holds: each step down is an apply of its own, journaled like any other, and each step back is its rollback; so
//! whatever happens to this program, `tuner rollback` frees the card. It takes all of its steps back when it ends. What
//! somebody else applied meanwhile is never taken back with them: then it keeps its steps, and says so.

use super::arguments::{Common, Guard};
use super::seam::{self, Options, Which};
use super::{Failure, exit, host, print};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tuner::facts;
use tuner::gpu::guard::{Guard as Decides, Limits, Step};
use tuner::gpu::{Card, GpuError, Nvml, Reading};
use tuner::host::{GpuItem, Host};
use tuner::knob::{Persist, Phase};
use tuner::place::{self, Place};
use tuner::plan::{Change, Plan};

/// How often it looks.
const PERIOD: Duration = Duration::from_secs(1);
/// The knob that its steps belong to.
const KNOB: &str = "gpu.lgc";
const NVIDIA: u32 = 0x10de;

/// Watches until it is told to end.
pub(super) fn guard(common: &Common, how: &Guard) -> Result<u8, Failure> {
    let host = host(common)?;
    let pci = match &how.gpu {
        Some(pci) => pci.clone(),
        None => only_card(&*host)?,
    };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, stop.clone())
            .map_err(|error| Failure::usage(format!("signals cannot be caught: {error}")))?;
    }
    let nvml = Nvml::default();
    let mut card = nvml.card(&pci)?;
    let limits = Limits { hot_c: how.hot_c, least_percent: how.least_percent, ..Limits::default() };
    let mut guard = Decides::of(limits, &mut card)?;
    let lowest_mhz = card.clocks_mhz()?.last().copied().unwrap_or(0);
    let mut steps = Steps { host: &*host, pci: &pci, lowest_mhz, applied: Vec::new() };
    print(&format!("Watching the card at {pci}. Ctrl-C ends it, and frees the card.\n"))?;
    let watched = watch(&mut card, &mut guard, &mut steps, &stop);
    let freed = steps.free();
    watched.and(freed)?;
    Ok(exit::FINE)
}

fn only_card(host: &dyn Host) -> Result<String, Failure> {
    let gpus = facts::read(host, 0).gpus;
    let mut cards = gpus.into_iter().filter(|gpu| gpu.vendor == NVIDIA).map(|gpu| gpu.pci);
    match (cards.next(), cards.next()) {
        (Some(card), None) => Ok(card),
        (Some(_), Some(_)) => Err(Failure::usage("there is more than one NVIDIA card: name it with --gpu")),
        (None, _) => Err(Failure::usage("this host has no NVIDIA card to watch")),
    }
}

fn watch(
    card: &mut dyn Card,
    guard: &mut Decides,
    steps: &mut Steps<'_>,
    stop: &AtomicBool,
) -> Result<(), Failure> {
    let begun = Instant::now();
    while !stop.load(Relaxed) {
        let reading = card.reading()?;
        match guard.look(&reading, begun.elapsed()) {
            Step::Keep => {}
            Step::Down { clock_mhz } => {
                steps.down(clock_mhz)?;
                print(&format!("{}: at most {clock_mhz} MHz from now on\n", told(&reading)))?;
            }
            Step::Back => {
                steps.back()?;
                let now = guard.locked_mhz().map_or("free".into(), |mhz| format!("at most {mhz} MHz"));
                print(&format!("{}: a step back, {now}\n", told(&reading)))?;
            }
        }
        std::thread::sleep(PERIOD);
    }
    Ok(())
}

fn told(reading: &Reading) -> String {
    let Reading { temperature_c, clock_mhz, load_percent, throttle } = reading;
    let slowed = match (throttle.is_thermal, throttle.is_power) {
        (true, _) => ", slowed by heat",
        (false, true) => ", slowed by its power limit",
        (false, false) => "",
    };
    format!("{temperature_c} degrees, {clock_mhz} MHz, {load_percent} % busy{slowed}")
}

/// The steps that were made, each an apply.
struct Steps<'a> {
    host: &'a dyn Host,
    pci: &'a str,
    lowest_mhz: u32,
    applied: Vec<String>,
}

impl Steps<'_> {
    fn down(&mut self, clock_mhz: u32) -> Result<(), Failure> {
        let place = Place::Gpu { pci: self.pci.into(), item: GpuItem::LockedClocks };
        let change = Change {
            knob: KNOB.into(),
            subject: self.pci.into(),
            phase: Phase::Gpu,
            persist: Persist::Never,
            from: place::get(self.host, &place)?,
            to: Some(format!("{}-{clock_mhz}", self.lowest_mhz.min(clock_mhz))),
            place,
            at_least: false,
        };
        let plan = Plan { changes: vec![change], ..Plan::new(&facts::read(self.host, 0), "guard") };
        let applied = seam::apply(self.host, &plan, &Options::default(), &mut |_| {})?;
        self.applied.push(applied.id);
        Ok(())
    }

    fn back(&mut self) -> Result<(), Failure> {
        let Some(id) = self.applied.last() else { return Ok(()) };
        let state = seam::state(self.host)?;
        if state.applied.last().is_some_and(|last| last.id != *id) {
            return print("Something was applied since, so the step is kept: see `tuner status`.\n");
        }
        seam::rollback(self.host, Which::To(id), &mut |_| {})?;
        self.applied.pop();
        Ok(())
    }

    fn free(&mut self) -> Result<(), Failure> {
        let mut left = self.applied.len();
        while !self.applied.is_empty() {
            self.back()?;
            if self.applied.len() == left {
                return Err(Failure::new(exit::INCOMPLETE, "the card is not free: see `tuner status`"));
            }
            left = self.applied.len();
        }
        Ok(())
    }
}

impl From<GpuError> for Failure {
    fn from(error: GpuError) -> Self {
        let exit = match error {
            GpuError::Denied(_) => exit::PRIVILEGE,
            _ => exit::USAGE,
        };
        Self::new(exit, error)
    }
}
