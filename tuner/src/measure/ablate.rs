//! Which settings earn their place: each is taken back by itself, and what is then measured is compared with all of
//! them at work.

use super::Setup;
use super::compare::{Comparison, Verdict};
use super::rounds::{Side, differences, in_turn};
use serde::Serialize;

/// What came of taking one setting back.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ablated {
    /// The knob.
    pub knob: String,
    /// Whether the host is worse without it.
    pub worth: Worth,
    /// In how late threads wake: all settings, and all but this.
    pub wakeup: Vec<Comparison>,
    /// In gaps.
    pub gaps: Vec<Comparison>,
}

/// What a setting is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Worth {
    /// Something is worse without it, and nothing better.
    Earned,
    /// Nothing differs that can be told: it may be dropped, or measured for longer.
    NotSeen,
    /// Something is better without it, and nothing worse.
    Harmful,
    /// Some of both: a person has to choose.
    Mixed,
}

impl std::fmt::Display for Worth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Earned => "earned its place",
            Self::NotSeen => "no significant change",
            Self::Harmful => "does harm",
            Self::Mixed => "better here, worse there",
        })
    }
}

/// What follows from comparing all settings with all but one.
pub fn worth<'a>(comparisons: impl Iterator<Item = &'a Comparison> + Clone) -> Worth {
    let has = |verdict| comparisons.clone().any(|found| found.verdict == verdict);
    match (has(Verdict::Worse), has(Verdict::Better)) {
        (true, false) => Worth::Earned,
        (false, true) => Worth::Harmful,
        (true, true) => Worth::Mixed,
        (false, false) => Worth::NotSeen,
    }
}

/// Takes back one knob after the other. `switch` brings the host into the state with all of them but the one that it
/// is given.
pub fn ablate<E>(
    setup: &Setup,
    rounds: usize,
    knobs: &[String],
    mut switch: impl FnMut(Option<&str>) -> Result<(), E>,
    mut tell: impl FnMut(&str, usize),
) -> Result<Vec<Ablated>, E> {
    let mut all = Vec::new();
    for knob in knobs {
        let turn = |side| switch((side == Side::Second).then_some(knob.as_str()));
        let measured = in_turn(setup, rounds, turn, |round, _| tell(knob, round))?;
        let found = differences(&measured);
        let worth = worth(found.wakeup.iter().chain(&found.gaps));
        all.push(Ablated { knob: knob.clone(), worth, wakeup: found.wakeup, gaps: found.gaps });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::compare::{Metric, compare};
    use std::time::Duration;

    #[test]
    fn what_is_worse_without_it_earned_its_place() {
        let found = |without: f64| compare(Metric::P99, &[100.0; 6], &[without; 6]);
        let of =
            |without: &[f64]| worth(without.iter().map(|value| found(*value)).collect::<Vec<_>>().iter());
        assert_eq!(of(&[100.0, 300.0]), Worth::Earned);
        assert_eq!(of(&[100.0, 100.0]), Worth::NotSeen);
        assert_eq!(of(&[100.0, 30.0]), Worth::Harmful);
        assert_eq!(of(&[30.0, 300.0]), Worth::Mixed);
    }

    #[test]
    fn each_knob_is_taken_back_by_itself() {
        let setup = Setup {
            cpus: vec![0],
            duration: Duration::from_millis(2),
            interval: Duration::from_millis(1),
            fifo: 0,
        };
        let mut turns = Vec::new();
        let knobs = ["one".to_owned(), "two".to_owned()];
        let switch = |without: Option<&str>| {
            turns.push(without.map(str::to_owned));
            Ok::<(), ()>(())
        };
        let found = ablate(&setup, 2, &knobs, switch, |_, _| {}).unwrap();
        assert_eq!(found.iter().map(|found| found.knob.as_str()).collect::<Vec<_>>(), ["one", "two"]);
        let turns: Vec<_> = turns.iter().map(|turn| turn.as_deref().unwrap_or("all")).collect();
        assert_eq!(turns, ["all", "one", "one", "all", "all", "two", "two", "all"]);
    }
}
