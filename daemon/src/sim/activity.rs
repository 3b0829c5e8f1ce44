//! When orders arrive: calm stretches, short bursts in which they cluster, and now and then quiet seconds.
//!
//! What holds: over many cycles, orders come at the mean rate that was asked for.

use super::random::Random;

/// What the market is doing now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Calm,
    Burst,
    Quiet,
}

/// How long each mood lasts on average, in ms.
const CALM_MS: f64 = 4_000.0;
const BURST_MS: f64 = 400.0;
const QUIET_MS: f64 = 1_800.0;
/// How many times busier than calm a burst is.
const BURST_PACE: f64 = 6.0;
/// How often a calm stretch ends in a quiet one and not in a burst.
const QUIET_SHARE: f64 = 0.07;
/// The mean pace over a cycle, against that of a calm stretch.
const MEAN_PACE: f64 = (CALM_MS + (1.0 - QUIET_SHARE) * BURST_MS * BURST_PACE)
    / (CALM_MS + (1.0 - QUIET_SHARE) * BURST_MS + QUIET_SHARE * QUIET_MS);

/// The arrival of orders at one symbol, a millisecond at a time.
#[derive(Debug)]
pub(super) struct Activity {
    mood: Mood,
    /// Orders in a calm millisecond, on average.
    calm_rate: f64,
    /// Which way the present mood pushes: -1 is down, 1 is up.
    lean: f64,
}

impl Activity {
    pub(super) fn new(orders_per_second: f64) -> Self {
        Self { mood: Mood::Calm, calm_rate: orders_per_second / 1_000.0 / MEAN_PACE, lean: 0.0 }
    }

    /// Lives through one millisecond and tells how many orders arrive in it.
    pub(super) fn arrivals(&mut self, random: &mut Random) -> u32 {
        let (stays_ms, pace) = match self.mood {
            Mood::Calm => (CALM_MS, 1.0),
            Mood::Burst => (BURST_MS, BURST_PACE),
            Mood::Quiet => (QUIET_MS, 0.0),
        };
        let mean = self.calm_rate * pace;
        if random.chance(1.0 / stays_ms) {
            self.mood = match self.mood {
                Mood::Calm if random.chance(QUIET_SHARE) => Mood::Quiet,
                Mood::Calm => Mood::Burst,
                Mood::Burst | Mood::Quiet => Mood::Calm,
            };
            self.lean = random.unit() * 2.0 - 1.0;
        }
        mean as u32 + u32::from(random.chance(mean.fract()))
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.mood == Mood::Quiet
    }

    /// The direction of the moment, from -1 to 1: bursts are of one mind.
    pub(super) fn lean(&self) -> f64 {
        if self.mood == Mood::Burst { self.lean } else { self.lean * 0.2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_rate_is_the_one_asked_for_and_some_seconds_are_quiet() {
        for rate in [5.0, 40.0, 3_000.0] {
            let (mut activity, mut random) = (Activity::new(rate), Random::new(3, 0));
            let seconds: Vec<u32> =
                (0..7_200).map(|_| (0..1_000).map(|_| activity.arrivals(&mut random)).sum()).collect();
            let mean = f64::from(seconds.iter().sum::<u32>()) / 7_200.0;
            assert!((mean / rate - 1.0).abs() < 0.05, "asked for {rate}, got {mean}");
            let quiet = seconds.iter().filter(|&&orders| orders == 0).count();
            assert!((20..720).contains(&quiet), "{quiet} quiet seconds of 7200 at {rate}");
        }
    }
}
