//! Whether one state of a host is better than another.
//!
//! Both were measured in turn. Each metric has a value for each round of each state; of the ratios of a round the
//! geometric mean counts, with a 95 % confidence interval by bootstrap over rounds. What holds: a difference is called
//! one only if the whole interval lies on one side of 1, and there are at least [`LEAST_ROUNDS`]; the same values give
//! the same interval.

use super::{Sample, gaps};
use serde::Serialize;

/// With fewer rounds nothing is called significant.
pub const LEAST_ROUNDS: usize = 5;
const RESAMPLES: usize = 4000;

/// What is compared: lower is better for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Half of all times are not longer.
    P50,
    /// 99 of 100.
    P99,
    /// 999 of 1,000.
    P999,
    /// 9,999 of 10,000.
    P9999,
    /// The longest.
    Max,
    /// Of gaps: how much of the time is gone, in parts of a million.
    Stolen,
}

impl Metric {
    /// Those of wake-ups.
    pub const WAKEUP: [Self; 5] = [Self::P50, Self::P99, Self::P999, Self::P9999, Self::Max];
    /// Those of gaps.
    pub const GAPS: [Self; 3] = [Self::Stolen, Self::P99, Self::Max];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::P999 => "p99.9",
            Self::P9999 => "p99.99",
            Self::Max => "max",
            Self::Stolen => "stolen",
        }
    }

    /// Its value in a sample: ns, or parts of a million.
    pub fn of(self, sample: &Sample) -> f64 {
        match self {
            Self::P50 => sample.quantile_ns(0.5) as f64,
            Self::P99 => sample.quantile_ns(0.99) as f64,
            Self::P999 => sample.quantile_ns(0.999) as f64,
            Self::P9999 => sample.quantile_ns(0.9999) as f64,
            Self::Max => sample.times_ns.max() as f64,
            Self::Stolen => gaps::stolen_ppm(sample),
        }
    }
}

/// What came of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The second is lower.
    Better,
    /// The second is higher.
    Worse,
    /// Neither can be said.
    NoSignificantChange,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::NoSignificantChange => "no significant change",
        })
    }
}

/// One metric of two states.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Which.
    pub metric: Metric,
    /// Geometric means over the rounds, first and second state.
    pub means: [f64; 2],
    /// Second divided by first: geometric mean, and the bounds of its 95 % interval.
    pub ratio: [f64; 3],
    /// What came of it.
    pub verdict: Verdict,
}

/// Compares two states by the values of each round; rounds of the same place belong together.
pub fn compare(metric: Metric, first: &[f64], second: &[f64]) -> Comparison {
    // A value of 0 has no logarithm: it counts as the least that is measured.
    let logs = |values: &[f64]| values.iter().map(|value| value.max(1.0).ln()).collect::<Vec<_>>();
    let (first, second) = (logs(first), logs(second));
    let ratios: Vec<f64> = first.iter().zip(&second).map(|(first, second)| second - first).collect();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let [low, high] = interval(&ratios);
    let verdict = match () {
        () if ratios.len() < LEAST_ROUNDS => Verdict::NoSignificantChange,
        () if high < 0.0 => Verdict::Better,
        () if low > 0.0 => Verdict::Worse,
        () => Verdict::NoSignificantChange,
    };
    Comparison {
        metric,
        means: [mean(&first).exp(), mean(&second).exp()],
        ratio: [mean(&ratios), low, high].map(f64::exp),
        verdict,
    }
}

/// The 95 % interval of the mean, by the bootstrap's percentiles.
fn interval(values: &[f64]) -> [f64; 2] {
    if values.is_empty() {
        return [f64::NEG_INFINITY, f64::INFINITY];
    }
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut means: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let drawn = (0..values.len()).map(|_| values[random.below(values.len())]);
            drawn.sum::<f64>() / values.len() as f64
        })
        .collect();
    means.sort_unstable_by(f64::total_cmp);
    [means[RESAMPLES / 40], means[RESAMPLES - 1 - RESAMPLES / 40]]
}

/// SplitMix64: the same numbers at every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ word >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((u128::from(word ^ word >> 31) * bound as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values around a mean, as noisy as a busy machine's.
    fn noisy(mean: f64, seed: u64, count: usize) -> Vec<f64> {
        let mut random = Random(seed);
        (0..count).map(|_| mean * (0.8 + random.below(4001) as f64 / 10_000.0)).collect()
    }

    #[test]
    fn a_difference_beyond_the_noise_is_seen_and_one_within_is_not() {
        let verdict = |first: f64, second: f64| {
            compare(Metric::P99, &noisy(first, 1, 10), &noisy(second, 2, 10)).verdict
        };
        assert_eq!(verdict(1000.0, 500.0), Verdict::Better);
        assert_eq!(verdict(500.0, 1000.0), Verdict::Worse);
        assert_eq!(verdict(1000.0, 1010.0), Verdict::NoSignificantChange);
        let few = compare(Metric::P99, &[1000.0; 4], &[1.0; 4]);
        assert_eq!(few.verdict, Verdict::NoSignificantChange);
        assert_eq!(compare(Metric::P99, &[], &[]).verdict, Verdict::NoSignificantChange);
    }

    #[test]
    fn of_equal_states_few_are_called_different() {
        let is_wrong = |seed: &u64| {
            let (first, second) = (noisy(1000.0, *seed, 8), noisy(1000.0, seed + 10_000, 8));
            compare(Metric::P99, &first, &second).verdict != Verdict::NoSignificantChange
        };
        let wrong = (0..400).filter(is_wrong).count();
        // 5 % are expected; the bootstrap of few rounds is a little narrow.
        assert!((4..=60).contains(&wrong), "{wrong} of 400");
    }

    #[test]
    fn the_ratio_is_the_second_to_the_first() {
        let found = compare(Metric::P50, &[100.0; 6], &[25.0; 6]);
        assert_eq!(found.means.map(|mean| mean.round()), [100.0, 25.0]);
        assert!(found.ratio.iter().all(|ratio| (ratio - 0.25).abs() < 1e-9), "{found:?}");
    }
}
