//! How late a host lets a thread run: measured, and compared with how late it was before.
//!
//! [`wakeup`] sleeps until a moment and sees how much later it runs; [`gaps`] never sleeps and sees when it did not run;
//! [`tracers`] asks the kernel's own, where it has them. [`compare`] judges two states of a host that were measured in
//! turn, round by round, so that a drift of the machine hits both. What holds: nothing here changes how the host
//! behaves while it is measured: CPUs sleep as deeply as they would (`/dev/cpu_dma_latency` is left alone), since that
//! is part of what is measured; what was refused (a priority, a CPU) is told with the figures.

pub mod ablate;
pub mod compare;
pub mod gaps;
pub mod plot;
pub mod rounds;
pub mod tracers;
pub mod wakeup;

use hdrhistogram::Histogram;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use serde::Serialize;
use std::time::Duration;

/// The longest time that is told apart from longer ones.
const LONGEST_NS: u64 = 10_000_000_000;

/// How it is measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setup {
    /// The CPUs, a thread on each.
    pub cpus: Vec<usize>,
    /// For how long at a time.
    pub duration: Duration,
    /// How often a thread wakes.
    pub interval: Duration,
    /// The SCHED_FIFO priority that is asked for; 0 for none.
    pub fifo: u8,
}

/// What was measured in one go.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Times in ns: how late a wake-up was, or how long a gap.
    pub times_ns: Histogram<u64>,
    /// For how long all threads together were measured.
    pub watched: Duration,
    /// What was refused, a sentence each.
    pub refused: Vec<String>,
}

impl Sample {
    fn new() -> Self {
        Self { times_ns: histogram(), watched: Duration::ZERO, refused: Vec::new() }
    }

    /// Takes in what another thread, or another round, measured.
    pub fn add(&mut self, other: &Self) {
        // Both have the same bounds, so it cannot fail.
        let _ = self.times_ns.add(&other.times_ns);
        self.watched += other.watched;
        for line in &other.refused {
            if !self.refused.contains(line) {
                self.refused.push(line.clone());
            }
        }
    }

    /// The time that so many of all are not longer than.
    pub fn quantile_ns(&self, quantile: f64) -> u64 {
        self.times_ns.value_at_quantile(quantile)
    }
}

fn histogram() -> Histogram<u64> {
    // The bounds are constants that it takes.
    Histogram::new_with_bounds(1, LONGEST_NS, 3).unwrap_or_else(|_| unreachable!("the bounds are valid"))
}

/// Runs `one` on a thread of each CPU at once, and adds up what they measured.
fn on_each(setup: &Setup, fifo: u8, one: impl Fn(&Setup) -> Sample + Sync) -> Sample {
    let mut sum = Sample::new();
    std::thread::scope(|scope| {
        let place = |cpu: usize| {
            let refused = [pin(cpu), (fifo > 0).then(|| prioritise(fifo)).flatten()];
            let mut sample = one(setup);
            sample.refused.extend(refused.into_iter().flatten());
            sample
        };
        let threads: Vec<_> = setup.cpus.iter().map(|cpu| scope.spawn(move || place(*cpu))).collect();
        for thread in threads {
            match thread.join() {
                Ok(sample) => sum.add(&sample),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    sum
}

fn pin(cpu: usize) -> Option<String> {
    let mut set = CpuSet::new();
    let pinned = set.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
    pinned.err().map(|errno| format!("a thread is not on CPU {cpu}: {errno}"))
}

fn prioritise(fifo: u8) -> Option<String> {
    let parameters = libc::sched_param { sched_priority: fifo.into() };
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the call reads `parameters`, which outlives it, and changes only the calling thread's scheduling.
    let done = nix::errno::Errno::result(unsafe { libc::sched_setscheduler(0, policy, &parameters) });
    done.err().map(|errno| format!("no SCHED_FIFO {fifo}: {errno}; run it as root, or with CAP_SYS_NICE"))
}

/// CLOCK_MONOTONIC, in ns.
fn now_ns() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    now.map_or(0, |now| now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64)
}
