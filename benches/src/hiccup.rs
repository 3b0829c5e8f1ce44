//! What the machine takes from everybody: a thread that wants to wake every millisecond, and how late it does.
//!
//! Its figures stand beside those of every bench. Where it is late, so is what was measured.

use crate::harness::Arm;
use chartd::now_ns;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::thread::JoinHandle;
use std::time::Duration;

const PERIOD_NS: u64 = 1_000_000;

/// A meter that runs.
pub(crate) struct Meter {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<u64>>,
}

impl Meter {
    pub(crate) fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut late_ns, mut planned_ns) = (Vec::new(), now_ns());
            while !stopped.load(Relaxed) {
                planned_ns += PERIOD_NS;
                let planned = TimeSpec::from_duration(Duration::from_nanos(planned_ns));
                let absolute = ClockNanosleepFlags::TIMER_ABSTIME;
                // Interrupted, it would only be early.
                let _ = clock_nanosleep(ClockId::CLOCK_MONOTONIC, absolute, &planned);
                late_ns.push(now_ns().saturating_sub(planned_ns));
            }
            late_ns
        });
        Self { stop, thread }
    }

    pub(crate) fn stop(self) -> Arm {
        self.stop.store(true, Relaxed);
        let mut arm = Arm::new("hiccups beside all this", "ns");
        // A thread that panicked has measured nothing.
        arm.add_round(self.thread.join().unwrap_or_default());
        arm
    }
}
