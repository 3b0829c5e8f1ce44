//! How late a sleeping thread wakes: what cyclictest measures.

use super::{Sample, Setup, now_ns, on_each};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};

/// Wakes a thread on each CPU at each interval, and measures how late it runs.
pub fn measure(setup: &Setup) -> Sample {
    on_each(setup, setup.fifo, one)
}

fn one(setup: &Setup) -> Sample {
    let mut sample = Sample::new();
    // Without a real-time priority, timers are late by up to 50 us unless asked otherwise.
    let _ = nix::sys::prctl::set_timerslack(1); // It cannot fail.
    let (interval_ns, begun) = (setup.interval.as_nanos() as u64, now_ns());
    let end = begun + setup.duration.as_nanos() as u64;
    let mut due = begun + interval_ns;
    while due < end {
        let at = TimeSpec::new((due / 1_000_000_000) as i64, (due % 1_000_000_000) as i64);
        if clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &at).is_err() {
            continue; // A signal.
        }
        let late = now_ns().saturating_sub(due);
        sample.times_ns.saturating_record(late.max(1));
        // What fell into a long delay is not made up for: those wake-ups never were.
        due += interval_ns * (late / interval_ns + 1);
    }
    sample.watched = std::time::Duration::from_nanos(now_ns() - begun);
    sample
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_interval_is_a_wake_up_and_none_is_early() {
        let setup = Setup {
            cpus: vec![0],
            duration: Duration::from_millis(200),
            interval: Duration::from_millis(2),
            fifo: 0,
        };
        let sample = measure(&setup);
        let count = sample.times_ns.len();
        assert!((1..=100).contains(&count), "{count}");
        assert!(sample.watched >= setup.duration - setup.interval);
    }

    #[test]
    fn what_is_refused_is_told() {
        let setup = Setup {
            cpus: vec![1000],
            duration: Duration::from_millis(5),
            interval: Duration::from_millis(1),
            fifo: 0,
        };
        let refused = measure(&setup).refused;
        assert!(refused.len() == 1 && refused[0].starts_with("a thread is not on CPU 1000"), "{refused:?}");
    }
}
