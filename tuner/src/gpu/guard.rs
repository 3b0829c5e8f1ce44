//! Protects a card that is run hard: takes its clock down in steps while it is too hot, and back when it has cooled.
//!
//! A clock that is locked a little lower holds; one that the chip throttles jumps, and frames with it. [`Guard`] decides
//! and does nothing else, so that it can be tried against any course of temperatures. What holds: one step at a time,
//! and none before the last one has shown its effect; between stepping down and back lies a gap of [`Limits::gap_c`],
//! so that it does not swing; it never goes below [`Limits::least_percent`] of the highest clock.

use super::{Card, GpuError, Reading};
use std::time::Duration;

/// When a guard acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From this temperature on it steps down, in degrees Celsius.
    pub hot_c: u32,
    /// It steps back once it is cooler than that by so much.
    pub gap_c: u32,
    /// The lowest clock, in percent of the highest.
    pub least_percent: u32,
    /// How large a step is, in percent of the highest clock.
    pub step_percent: u32,
    /// How long a step takes to show its effect: no other comes before.
    pub settle: Duration,
    /// How long it has to be cool under load before it steps back.
    pub calm: Duration,
    /// Below this load it is idle, in percent: being cool then proves nothing, and takes four times as long to count.
    pub idle_percent: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            hot_c: 80,
            gap_c: 6,
            least_percent: 50,
            step_percent: 5,
            settle: Duration::from_secs(10),
            calm: Duration::from_secs(30),
            idle_percent: 20,
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Keep,
    /// Lock the clock to at most this.
    Down {
        /// The clock.
        clock_mhz: u32,
    },
    /// Undo the last step down.
    Back,
}

/// See above.
#[derive(Debug)]
pub struct Guard {
    limits: Limits,
    /// Clocks to step through, the highest first. The first stands for no lock at all.
    steps_mhz: Vec<u32>,
    /// Where it is on them.
    at: usize,
    stepped_at: Option<Duration>,
    /// Since when it has been cool, and how much of that counts.
    calm: Duration,
    looked_at: Option<Duration>,
    /// Readings in a row that were too hot. One alone may be an error of the sensor.
    hot: u32,
}

/// So many readings in a row have to be hot.
const HOT_READINGS: u32 = 2;

impl Guard {
    /// One for a card with these clocks, the highest first.
    pub fn new(limits: Limits, clocks_mhz: &[u32]) -> Self {
        let highest = clocks_mhz.first().copied().unwrap_or(0);
        let percent = |part: u32| (u64::from(highest) * u64::from(part) / 100) as u32;
        let mut steps_mhz: Vec<u32> = Vec::new();
        for clock in clocks_mhz.iter().copied().filter(|clock| *clock >= percent(limits.least_percent)) {
            if steps_mhz.last().is_none_or(|last| clock + percent(limits.step_percent) <= *last) {
                steps_mhz.push(clock);
            }
        }
        Self { limits, steps_mhz, at: 0, stepped_at: None, calm: Duration::ZERO, looked_at: None, hot: 0 }
    }

    /// One for this card; the limit of its own slowdown is kept away from.
    pub fn of(limits: Limits, card: &mut dyn Card) -> Result<Self, GpuError> {
        let own = card.slowdown_c().map_or(limits.hot_c, |slowdown_c| slowdown_c.saturating_sub(3));
        let limits = Limits { hot_c: limits.hot_c.min(own), ..limits };
        Ok(Self::new(limits, &card.clocks_mhz()?))
    }

    /// The clock that it is locked to, if it is.
    pub fn locked_mhz(&self) -> Option<u32> {
        (self.at > 0).then(|| self.steps_mhz.get(self.at).copied()).flatten()
    }

    /// What follows from a reading at `now`, which never goes back.
    pub fn look(&mut self, reading: &Reading, now: Duration) -> Step {
        let passed = self.looked_at.map_or(Duration::ZERO, |before| now.saturating_sub(before));
        self.looked_at = Some(now);
        let is_hot = reading.temperature_c >= self.limits.hot_c || reading.throttle.is_thermal;
        self.hot = if is_hot { self.hot + 1 } else { 0 };
        let is_cool = !is_hot && reading.temperature_c + self.limits.gap_c <= self.limits.hot_c;
        let counts = match reading.load_percent < self.limits.idle_percent {
            true => passed / 4,
            false => passed,
        };
        self.calm = if is_cool { self.calm + counts } else { Duration::ZERO };
        if self.stepped_at.is_some_and(|at| now < at + self.limits.settle) {
            return Step::Keep;
        }
        if self.hot >= HOT_READINGS && self.at + 1 < self.steps_mhz.len() {
            self.at += 1;
            self.stepped_at = Some(now);
            return self.locked_mhz().map_or(Step::Keep, |clock_mhz| Step::Down { clock_mhz });
        }
        if self.at > 0 && self.calm >= self.limits.calm {
            self.at -= 1;
            self.stepped_at = Some(now);
            self.calm = Duration::ZERO;
            return Step::Back;
        }
        Step::Keep
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Simulated: a card that warms with its clock and load, and cools towards the room.
    struct Simulated {
        temperature: f64,
        limit_mhz: u32,
        room_c: f64,
    }

    impl Simulated {
        fn pass(&mut self, load_percent: u32) -> Reading {
            let heat = f64::from(self.limit_mhz) / 2000.0 * f64::from(load_percent) / 100.0 * 65.0;
            self.temperature += (self.room_c + heat - self.temperature) * 0.05;
            Reading {
                temperature_c: self.temperature as u32,
                clock_mhz: self.limit_mhz,
                load_percent,
                throttle: super::super::Throttle { is_thermal: self.temperature > 90.0, is_power: false },
            }
        }
    }

    fn clocks() -> Vec<u32> {
        (0..100).map(|step| 2000 - step * 15).collect()
    }

    fn course(
        room_c: impl Fn(u64) -> f64,
        load: impl Fn(u64) -> u32,
        seconds: u64,
    ) -> (Vec<Step>, Guard, f64) {
        let mut guard = Guard::new(Limits::default(), &clocks());
        let mut card = Simulated { temperature: 30.0, limit_mhz: 2000, room_c: 25.0 };
        let mut locks = vec![2000];
        let mut steps = Vec::new();
        for second in 0..seconds {
            card.room_c = room_c(second);
            let step = guard.look(&card.pass(load(second)), Duration::from_secs(second));
            match step {
                Step::Down { clock_mhz } => locks.push(clock_mhz),
                Step::Back => drop(locks.pop()),
                Step::Keep => continue,
            }
            card.limit_mhz = *locks.last().unwrap();
            steps.push(step);
        }
        (steps, guard, card.temperature)
    }

    #[test]
    fn a_card_in_a_warm_room_is_slowed_until_it_holds_and_freed_when_the_room_cools() {
        let (steps, guard, temperature) = course(|_| 25.0, |_| 100, 3600);
        let downs = steps.iter().filter(|step| **step != Step::Back).count();
        assert!(downs >= 1 && temperature < 85.0, "{steps:?} {temperature}");
        // It settles: steps down and back do not alternate for ever.
        assert!(steps.len() <= 12, "{steps:?}");
        assert!(guard.locked_mhz().is_some());
        let (steps, guard, _) = course(|second| if second < 1200 { 30.0 } else { 5.0 }, |_| 100, 4800);
        assert_eq!(guard.locked_mhz(), None, "{steps:?}");
    }

    #[test]
    fn one_reading_is_not_believed_and_an_idle_card_is_freed_later() {
        let mut guard = Guard::new(Limits::default(), &clocks());
        let at = |temperature_c, load_percent| Reading { temperature_c, load_percent, ..Reading::default() };
        assert_eq!(guard.look(&at(95, 100), Duration::from_secs(0)), Step::Keep);
        assert_eq!(guard.look(&at(60, 100), Duration::from_secs(1)), Step::Keep);
        assert_eq!(guard.look(&at(95, 100), Duration::from_secs(2)), Step::Keep);
        assert_eq!(guard.look(&at(95, 100), Duration::from_secs(3)), Step::Down { clock_mhz: 1895 });
        assert_eq!(guard.look(&at(95, 100), Duration::from_secs(5)), Step::Keep, "the step has yet to show");
        let freed = |load_percent| {
            let mut guard = Guard::new(Limits::default(), &clocks());
            for second in 0..2 {
                guard.look(&at(95, 100), Duration::from_secs(second));
            }
            (2..400)
                .find(|second| guard.look(&at(50, load_percent), Duration::from_secs(*second)) == Step::Back)
        };
        assert_eq!((freed(100), freed(5)), (Some(31), Some(121)));
    }

    proptest! {
        #[test]
        fn it_moves_one_step_at_a_time_and_never_too_low(
            readings in prop::collection::vec((20..110u32, 0..101u32, any::<bool>()), 1..400),
        ) {
            let limits = Limits::default();
            let mut guard = Guard::new(limits, &clocks());
            let (mut depth, mut last) = (0usize, None::<u64>);
            for (second, (temperature_c, load_percent, is_thermal)) in readings.into_iter().enumerate() {
                let throttle = super::super::Throttle { is_thermal, is_power: false };
                let reading = Reading { temperature_c, load_percent, throttle, clock_mhz: 0 };
                let step = guard.look(&reading, Duration::from_secs(second as u64));
                if step == Step::Keep {
                    continue;
                }
                prop_assert!(last.is_none_or(|last| second as u64 - last >= limits.settle.as_secs()));
                last = Some(second as u64);
                match step {
                    Step::Down { clock_mhz } => {
                        prop_assert!(temperature_c >= limits.hot_c || is_thermal);
                        prop_assert!(clock_mhz >= 1000 && clocks().contains(&clock_mhz));
                        depth += 1;
                    }
                    _ => {
                        prop_assert!(temperature_c + limits.gap_c <= limits.hot_c && !is_thermal);
                        prop_assert!(depth > 0);
                        depth -= 1;
                    }
                }
                prop_assert_eq!(guard.locked_mhz().is_some(), depth > 0);
            }
        }
    }
}
