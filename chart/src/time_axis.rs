//! Where the time axis has labels, and what they say.
//!
//! A bar's weight is the largest unit of local time that changed since the bar before it: a new year outweighs a
//! new day, a new day outweighs noon. Heavy bars are labelled first, lighter ones where room is left. Since weights
//! come from local time, a day begins at the local midnight on both sides of a change of the clocks.

use core::fmt::Write;
use jiff::tz::TimeZone;
use jiff::{Timestamp, civil::DateTime};
use market::Timeframe;

/// The largest unit of local time in which two moments differ. Each unit divides the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Weight {
    None,
    Second,
    Seconds5,
    Seconds15,
    Seconds30,
    Minute,
    Minutes5,
    Minutes15,
    Minutes30,
    Hour,
    Hours3,
    Hours6,
    Hours12,
    Day,
    /// The 1st, 8th, 15th and 22nd of a month.
    QuarterMonth,
    Month,
    QuarterYear,
    HalfYear,
    Year,
}

impl Weight {
    /// The weight of the step from `before` to `after`.
    fn between(before: DateTime, after: DateTime) -> Self {
        type UnitOf = fn(&DateTime) -> i32;
        const UNITS: [(Weight, UnitOf); 18] = [
            (Weight::Year, |t| t.year().into()),
            (Weight::HalfYear, |t| i32::from(t.month() - 1) / 6),
            (Weight::QuarterYear, |t| i32::from(t.month() - 1) / 3),
            (Weight::Month, |t| t.month().into()),
            (Weight::QuarterMonth, |t| (i32::from(t.day() - 1) / 7).min(3)),
            (Weight::Day, |t| t.day().into()),
            (Weight::Hours12, |t| i32::from(t.hour()) / 12),
            (Weight::Hours6, |t| i32::from(t.hour()) / 6),
            (Weight::Hours3, |t| i32::from(t.hour()) / 3),
            (Weight::Hour, |t| t.hour().into()),
            (Weight::Minutes30, |t| i32::from(t.minute()) / 30),
            (Weight::Minutes15, |t| i32::from(t.minute()) / 15),
            (Weight::Minutes5, |t| i32::from(t.minute()) / 5),
            (Weight::Minute, |t| t.minute().into()),
            (Weight::Seconds30, |t| i32::from(t.second()) / 30),
            (Weight::Seconds15, |t| i32::from(t.second()) / 15),
            (Weight::Seconds5, |t| i32::from(t.second()) / 5),
            (Weight::Second, |t| t.second().into()),
        ];
        let changed = UNITS.into_iter().find(|(_, of)| of(&before) != of(&after));
        changed.map_or(Self::None, |(weight, _)| weight)
    }
}

impl Weight {
    /// How long the unit lasts where it is shorter than a day.
    fn len_ms(self) -> Option<i64> {
        let seconds = match self {
            Self::None => 0,
            Self::Second => 1,
            Self::Seconds5 => 5,
            Self::Seconds15 => 15,
            Self::Seconds30 => 30,
            Self::Minute => 60,
            Self::Minutes5 => 300,
            Self::Minutes15 => 900,
            Self::Minutes30 => 1_800,
            Self::Hour => 3_600,
            Self::Hours3 => 3 * 3_600,
            Self::Hours6 => 6 * 3_600,
            Self::Hours12 => 12 * 3_600,
            _ => return None,
        };
        Some(seconds * 1_000)
    }
}

/// A column that may have a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The column's place among those shown.
    pub column: usize,
    pub weight: Weight,
    local: DateTime,
}

impl Mark {
    /// Adds the label's text.
    pub(crate) fn push_label(&self, text: &mut String, timeframe: Timeframe) {
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let t = &self.local;
        let month = MONTHS[(t.month() - 1) as usize];
        let within_days = timeframe < Timeframe::D1;
        // Writing to a String does not fail.
        let _ = match self.weight {
            Weight::Year if within_days => write!(text, "{month} {}, {}", t.day(), t.year()),
            Weight::Year => write!(text, "{}", t.year()),
            weight if weight >= Weight::Day && within_days => write!(text, "{month} {}", t.day()),
            weight if weight >= Weight::Month => text.write_str(month),
            weight if weight >= Weight::Day => write!(text, "{}", t.day()),
            _ if timeframe >= Timeframe::M1 => write!(text, "{:02}:{:02}", t.hour(), t.minute()),
            _ => write!(text, "{:02}:{:02}:{:02}", t.hour(), t.minute(), t.second()),
        };
    }
}

/// The labels of the columns shown. Worked out anew only when their times change.
#[derive(Debug, Default)]
pub(crate) struct TimeAxis {
    times_ms: Vec<i64>,
    /// The local times of those, and those of the last time.
    local: Vec<Option<DateTime>>,
    before: Vec<Option<DateTime>>,
    spacing: usize,
    level: u8,
    marks: Vec<Mark>,
    chosen: Vec<Mark>,
}

impl TimeAxis {
    /// Makes room for so many columns, so that nothing is allocated later.
    pub(crate) fn reserve(&mut self, columns: usize) {
        self.times_ms.reserve_exact(columns);
        self.local.reserve_exact(columns);
        self.before.reserve_exact(columns);
        self.marks.reserve_exact(columns);
        self.chosen.reserve_exact(columns);
    }

    /// Becomes what `other` is, and allocates nothing.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        self.times_ms.clone_from(&other.times_ms);
        self.local.clone_from(&other.local);
        self.chosen.clone_from(&other.chosen);
        (self.spacing, self.level) = (other.spacing, other.level);
    }

    /// Chooses the labels of columns that begin at `times`, each of 2^`level` bars. Two labels are at least `spacing`
    /// columns apart.
    pub(crate) fn update(
        &mut self,
        times: impl Iterator<Item = i64> + Clone,
        zone: &TimeZone,
        timeframe: Timeframe,
        spacing: usize,
        level: u8,
    ) {
        if self.spacing == spacing && self.level == level && times.clone().eq(self.times_ms.iter().copied()) {
            return;
        }
        (self.spacing, self.level) = (spacing, level);
        self.localise(times, zone);
        self.weigh(zone, timeframe);
        self.choose(timeframe);
    }

    /// The columns with a label, in no particular order.
    pub(crate) fn labels(&self) -> &[Mark] {
        &self.chosen
    }

    /// Works out local times, but for those that are known from the last time: time zones are slow.
    fn localise(&mut self, times: impl Iterator<Item = i64> + Clone, zone: &TimeZone) {
        core::mem::swap(&mut self.local, &mut self.before);
        self.local.clear();
        let first = times.clone().next();
        let known = first.and_then(|first| self.times_ms.iter().position(|time| *time == first));
        if let Some(known) = known {
            let both = self.times_ms[known..].iter().zip(times.clone());
            let same = both.take_while(|(old, new)| **old == *new).count();
            self.local.extend_from_slice(&self.before[known..known + same]);
        }
        self.times_ms.clear();
        self.times_ms.extend(times);
        for time_ms in &self.times_ms[self.local.len()..] {
            self.local.push(local_time(*time_ms, zone));
        }
    }

    fn weigh(&mut self, zone: &TimeZone, timeframe: Timeframe) {
        self.marks.clear();
        let mut before = self.times_ms.first().and_then(|first| {
            Timestamp::from_millisecond(*first).ok()?;
            local_time(timeframe.open_ms(first - 1), zone)
        });
        for (column, local) in self.local.iter().enumerate() {
            if let (Some(before), Some(local)) = (before, *local) {
                self.marks.push(Mark { column, weight: Weight::between(before, local), local });
            }
            before = *local;
        }
    }

    /// Of the units below a day, only those are used whose marks are all far enough apart: evenly spaced labels are
    /// easier to read than many.
    fn choose(&mut self, timeframe: Timeframe) {
        let len_ms = timeframe.len_ms().map_or(0, |len| len << self.level);
        let least_ms = len_ms.saturating_mul(self.spacing as i64);
        self.marks.retain(|mark| mark.weight.len_ms().is_none_or(|len| len >= least_ms));
        self.marks.sort_unstable_by_key(|mark| (core::cmp::Reverse(mark.weight), mark.column));
        self.chosen.clear();
        for mark in &self.marks {
            if self.chosen.iter().all(|chosen| chosen.column.abs_diff(mark.column) >= self.spacing) {
                self.chosen.push(*mark);
            }
        }
    }
}

/// The wall clock's time in `zone`; none beyond the calendar's years −9999 to 9999.
fn local_time(time_ms: i64, zone: &TimeZone) -> Option<DateTime> {
    Timestamp::from_millisecond(time_ms).ok().map(|time| zone.to_datetime(time))
}

/// Adds the whole local time at `time_ms`, as `2026-11-20 07:01`; for bars of a day or more without the time of day.
/// Adds nothing beyond the calendar.
pub(crate) fn push_moment(text: &mut String, time_ms: i64, zone: &TimeZone, timeframe: Timeframe) {
    let Some(t) = local_time(time_ms, zone) else { return };
    // Writing to a String does not fail.
    let _ = write!(text, "{:04}-{:02}-{:02}", t.year(), t.month(), t.day());
    if timeframe < Timeframe::D1 {
        let _ = write!(text, " {:02}:{:02}", t.hour(), t.minute());
    }
    if timeframe < Timeframe::M1 {
        let _ = write!(text, ":{:02}", t.second());
    }
}

/// Adds the short name that `zone` has at `time_ms`, as `CET`. Adds nothing beyond the calendar.
pub(crate) fn push_zone(text: &mut String, time_ms: i64, zone: &TimeZone) {
    if let Ok(time) = Timestamp::from_millisecond(time_ms) {
        text.push_str(zone.to_offset_info(time).abbreviation());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR_MS: i64 = 3_600_000;

    /// The labels of bars from `start`, local time in `zone`, oldest first.
    fn labels(
        zone: &str,
        start: &str,
        step_ms: i64,
        count: i64,
        timeframe: Timeframe,
        spacing: usize,
    ) -> Vec<String> {
        let zone = TimeZone::get(zone).unwrap();
        let start = start.parse::<DateTime>().unwrap().to_zoned(zone.clone()).unwrap();
        let start_ms = start.timestamp().as_millisecond();
        let mut axis = TimeAxis::default();
        axis.update((0..count).map(|i| start_ms + i * step_ms), &zone, timeframe, spacing, 0);
        let mut chosen = axis.labels().to_vec();
        chosen.sort_by_key(|mark| mark.column);
        let text = |mark: &Mark| {
            let mut text = String::new();
            mark.push_label(&mut text, timeframe);
            text
        };
        chosen.iter().map(text).collect()
    }

    fn hourly(zone: &str, start: &str, count: i64, spacing: usize) -> String {
        labels(zone, start, HOUR_MS, count, Timeframe::H1, spacing).join(" | ")
    }

    #[test]
    fn days_begin_at_midnight_when_clocks_go_forward() {
        // Those days have 23 bars: 06:00 is five bars after midnight.
        assert_eq!(
            hourly("Europe/Berlin", "2026-03-28T12:00", 45, 6),
            "12:00 | 18:00 | Mar 29 | 12:00 | 18:00 | Mar 30 | 06:00"
        );
        assert_eq!(
            hourly("America/New_York", "2026-03-07T12:00", 40, 5),
            "12:00 | 18:00 | Mar 8 | 06:00 | 12:00 | 18:00 | Mar 9"
        );
    }

    #[test]
    fn days_begin_at_midnight_when_clocks_go_back() {
        // Those days have 25 bars.
        assert_eq!(
            hourly("Europe/Berlin", "2026-10-24T12:00", 45, 6),
            "12:00 | 18:00 | Oct 25 | 06:00 | 12:00 | 18:00 | Oct 26 | 06:00"
        );
        assert_eq!(
            hourly("America/New_York", "2026-10-31T18:00", 40, 6),
            "18:00 | Nov 1 | 06:00 | 12:00 | 18:00 | Nov 2 | 06:00"
        );
    }

    #[test]
    fn the_hour_that_happens_twice_weighs_nothing_the_second_time() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let first = "2026-10-25T00:00Z".parse::<Timestamp>().unwrap().as_millisecond();
        let local = |ms| local_time(ms, &zone).unwrap();
        assert_eq!(Weight::between(local(first), local(first + HOUR_MS)), Weight::None);
        assert_eq!(Weight::between(local(first - HOUR_MS), local(first)), Weight::Hour);
    }

    #[test]
    fn months_and_years_stand_out() {
        let days = labels("UTC", "2025-12-20T00:00", 24 * HOUR_MS, 60, Timeframe::D1, 7);
        assert_eq!(days, ["22", "2026", "8", "15", "22", "Feb", "8", "15"]);
        let hours = labels("UTC", "2025-12-31T12:00", HOUR_MS, 24, Timeframe::H1, 12);
        assert_eq!(hours, ["12:00", "Jan 1, 2026"]);
        let seconds = labels("UTC", "2025-12-31T23:59:30", 1_000, 50, Timeframe::S1, 15);
        assert_eq!(seconds, ["23:59:30", "23:59:45", "Jan 1, 2026", "00:00:15"]);
    }

    proptest! {
        #[test]
        fn labels_keep_their_distance(start in any::<i64>(), step in 1..100_000_000i64, spacing in 1..50usize) {
            let times = |from: i64| (from..from + 300).map(move |i| start.saturating_add(i * step));
            let mut axis = TimeAxis::default();
            axis.update(times(0), &TimeZone::UTC, Timeframe::M1, spacing, 0);
            // What is known from before is what would be worked out anew.
            for from in [3, 5, 1, 400] {
                axis.update(times(from), &TimeZone::UTC, Timeframe::M1, spacing, 0);
                let mut anew = TimeAxis::default();
                anew.update(times(from), &TimeZone::UTC, Timeframe::M1, spacing, 0);
                prop_assert_eq!(axis.labels(), anew.labels());
            }
            let mut places: Vec<_> = axis.labels().iter().map(|mark| mark.column).collect();
            places.sort_unstable();
            prop_assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= spacing));
        }
    }
}
