//! Measures two states of a host in turn: first, second, second, first, first ..., so that neither always comes first.

use super::compare::{Comparison, Metric, compare};
use super::{Sample, Setup, gaps, wakeup};
use serde::Serialize;

/// Which of two states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one compared with.
    First,
    /// The one in question.
    Second,
}

/// What was measured of one state.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Wake-ups, all rounds together.
    pub wakeup: Sample,
    /// Gaps, all rounds together.
    pub gaps: Sample,
    rounds: Vec<[Sample; 2]>,
}

/// How two states differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Differences {
    /// In how late threads wake.
    pub wakeup: Vec<Comparison>,
    /// In how much of its time a thread does not run.
    pub gaps: Vec<Comparison>,
}

impl Measured {
    /// Nothing yet.
    pub fn none() -> Self {
        Self { wakeup: Sample::new(), gaps: Sample::new(), rounds: Vec::new() }
    }

    /// Measures one more round of the state that the host is in.
    pub fn round(&mut self, setup: &Setup) {
        let round = [wakeup::measure(setup), gaps::measure(setup)];
        self.wakeup.add(&round[0]);
        self.gaps.add(&round[1]);
        self.rounds.push(round);
    }

    /// The values of a metric, round by round.
    fn values(&self, test: usize, metric: Metric) -> Vec<f64> {
        self.rounds.iter().map(|round| metric.of(&round[test])).collect()
    }
}

/// Measures so many rounds of both states; `switch` brings the host into one.
pub fn in_turn<E>(
    setup: &Setup,
    rounds: usize,
    mut switch: impl FnMut(Side) -> Result<(), E>,
    mut tell: impl FnMut(usize, Side),
) -> Result<[Measured; 2], E> {
    let mut measured = [Measured::none(), Measured::none()];
    for round in 0..rounds {
        let order = match round % 2 {
            0 => [Side::First, Side::Second],
            _ => [Side::Second, Side::First],
        };
        for side in order {
            tell(round, side);
            switch(side)?;
            measured[side as usize].round(setup);
        }
    }
    Ok(measured)
}

/// Compares two states, metric by metric.
pub fn differences([first, second]: &[Measured; 2]) -> Differences {
    let of = |test: usize, metrics: &[Metric]| {
        let one =
            |metric: &Metric| compare(*metric, &first.values(test, *metric), &second.values(test, *metric));
        metrics.iter().map(one).collect()
    };
    Differences { wakeup: of(0, &Metric::WAKEUP), gaps: of(1, &Metric::GAPS) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn states_take_turns_and_are_kept_apart() {
        let setup = Setup {
            cpus: vec![0],
            duration: Duration::from_millis(4),
            interval: Duration::from_millis(1),
            fifo: 0,
        };
        let mut order = String::new();
        let switch = |side| {
            order.push(if side == Side::First { 'a' } else { 'b' });
            Ok::<(), ()>(())
        };
        let [first, second] = in_turn(&setup, 3, switch, |_, _| {}).unwrap();
        assert_eq!(order, "abbaab");
        assert_eq!((first.rounds.len(), second.rounds.len()), (3, 3));
        let sum: u64 = first.rounds.iter().map(|round| round[0].times_ns.len()).sum();
        assert_eq!(first.wakeup.times_ns.len(), sum);
        let found = differences(&[first, second]);
        assert_eq!((found.wakeup.len(), found.gaps.len()), (5, 3));
    }

    #[test]
    fn a_state_that_cannot_be_reached_ends_it() {
        let setup =
            Setup { cpus: vec![0], duration: Duration::ZERO, interval: Duration::from_millis(1), fifo: 0 };
        let failing = |side| if side == Side::Second { Err("refused") } else { Ok(()) };
        assert_eq!(in_turn(&setup, 2, failing, |_, _| {}).unwrap_err(), "refused");
    }
}
