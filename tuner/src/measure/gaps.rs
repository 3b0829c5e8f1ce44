//! When a thread that never sleeps does not run: interrupts, the tick, other threads, the hypervisor, firmware.
//!
//! It reads the clock again and again; two readings further apart than [`SHORTEST_NS`] have a gap between them. What
//! holds: it asks for no real-time priority, since a spinning thread with one would take its CPU from everything else.

use super::{Sample, Setup, now_ns, on_each};
use std::time::Duration;

/// Shorter gaps are the reading itself, its cache misses and the like.
pub const SHORTEST_NS: u64 = 1_000;

/// Spins on each CPU, and measures the gaps.
pub fn measure(setup: &Setup) -> Sample {
    on_each(setup, 0, one)
}

fn one(setup: &Setup) -> Sample {
    let mut sample = Sample::new();
    let begun = now_ns();
    let end = begun + setup.duration.as_nanos() as u64;
    let mut before = begun;
    while before < end {
        let now = now_ns();
        let passed = now - before;
        if passed >= SHORTEST_NS {
            sample.times_ns.saturating_record(passed);
        }
        before = now;
    }
    sample.watched = Duration::from_nanos(before - begun);
    sample
}

/// How much of its time a thread did not run, in parts of a million.
pub fn stolen_ppm(sample: &Sample) -> f64 {
    let stolen: f64 = sample
        .times_ns
        .iter_recorded()
        .map(|step| step.value_iterated_to() as f64 * step.count_since_last_iteration() as f64)
        .sum();
    stolen / (sample.watched.as_nanos().max(1) as f64) * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_shares_its_cpu_has_gaps() {
        let setup = |duration| Setup { cpus: vec![0], duration, interval: Duration::ZERO, fifo: 0 };
        let both = Setup { cpus: vec![0, 0], ..setup(Duration::from_millis(300)) };
        let sample = measure(&both);
        // Two threads spin on one CPU: half of the time of each is the other's.
        let stolen = stolen_ppm(&sample);
        assert!((300_000.0..1_000_000.0).contains(&stolen), "{stolen}");
        assert!(sample.times_ns.max() > 500_000, "{}", sample.times_ns.max());
    }
}
