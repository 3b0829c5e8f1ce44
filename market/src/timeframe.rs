//! The lengths that a candle can have, and where each begins.

use core::fmt;
use core::str::FromStr;

/// A candle length. Bars are aligned to the Unix epoch in UTC; weeks start on Monday, months are calendar months.
///
/// The three-day bar counts from 1970-01-01. Venues document no origin for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // Each name is its text form, spelled out.
pub enum Timeframe {
    S1,
    M1,
    M3,
    M5,
    M15,
    M30,
    H1,
    H2,
    H4,
    H6,
    H8,
    H12,
    D1,
    D3,
    W1,
    Month,
}

const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
/// The epoch fell on a Thursday; the Monday before it is three days earlier.
const FIRST_MONDAY_MS: i64 = -3 * DAY_MS;

impl Timeframe {
    /// Every timeframe, shortest first.
    pub const ALL: [Self; 16] = [
        Self::S1,
        Self::M1,
        Self::M3,
        Self::M5,
        Self::M15,
        Self::M30,
        Self::H1,
        Self::H2,
        Self::H4,
        Self::H6,
        Self::H8,
        Self::H12,
        Self::D1,
        Self::D3,
        Self::W1,
        Self::Month,
    ];

    /// The name that venues and command lines use: `1m` is a minute, `1M` a month.
    pub const fn name(self) -> &'static str {
        match self {
            Self::S1 => "1s",
            Self::M1 => "1m",
            Self::M3 => "3m",
            Self::M5 => "5m",
            Self::M15 => "15m",
            Self::M30 => "30m",
            Self::H1 => "1h",
            Self::H2 => "2h",
            Self::H4 => "4h",
            Self::H6 => "6h",
            Self::H8 => "8h",
            Self::H12 => "12h",
            Self::D1 => "1d",
            Self::D3 => "3d",
            Self::W1 => "1w",
            Self::Month => "1M",
        }
    }

    /// The length in milliseconds; `None` for the month, whose length varies.
    pub const fn len_ms(self) -> Option<i64> {
        Some(match self {
            Self::S1 => SECOND_MS,
            Self::M1 => MINUTE_MS,
            Self::M3 => 3 * MINUTE_MS,
            Self::M5 => 5 * MINUTE_MS,
            Self::M15 => 15 * MINUTE_MS,
            Self::M30 => 30 * MINUTE_MS,
            Self::H1 => HOUR_MS,
            Self::H2 => 2 * HOUR_MS,
            Self::H4 => 4 * HOUR_MS,
            Self::H6 => 6 * HOUR_MS,
            Self::H8 => 8 * HOUR_MS,
            Self::H12 => 12 * HOUR_MS,
            Self::D1 => DAY_MS,
            Self::D3 => 3 * DAY_MS,
            Self::W1 => 7 * DAY_MS,
            Self::Month => return None,
        })
    }

    /// The opening time of the bar that covers `time_ms`.
    pub fn open_ms(self, time_ms: i64) -> i64 {
        match self.len_ms() {
            Some(len) => {
                let origin = if self == Self::W1 { FIRST_MONDAY_MS } else { 0 };
                (time_ms - origin).div_euclid(len) * len + origin
            }
            None => {
                let (year, month, _) = civil_date(time_ms.div_euclid(DAY_MS));
                first_day(year, month) * DAY_MS
            }
        }
    }

    /// The end of the bar that opens at `open_ms`: the first millisecond past it.
    pub fn end_ms(self, open_ms: i64) -> i64 {
        match self.len_ms() {
            Some(len) => open_ms + len,
            None => {
                let (year, month, _) = civil_date(open_ms.div_euclid(DAY_MS));
                let next = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
                first_day(next.0, next.1) * DAY_MS
            }
        }
    }
}

/// Year, month (1 to 12) and day (1 to 31) of a day counted from 1970-01-01, in the proleptic Gregorian calendar.
///
/// Source of the method: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
pub fn civil_date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The day, counted from 1970-01-01, on which a month begins. Inverse of [`civil_date`], same source.
pub(crate) fn first_day(year: i64, month: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

impl fmt::Display for Timeframe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text that names no timeframe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a timeframe; use one of 1s 1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M")]
pub struct TimeframeError(String);

impl FromStr for Timeframe {
    type Err = TimeframeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|tf| tf.name() == text).ok_or_else(|| TimeframeError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::{Timestamp, ToSpan, civil::Weekday, tz::TimeZone};
    use proptest::prelude::*;

    proptest! {
        /// jiff is the independent calendar.
        #[test]
        fn months_and_weeks_follow_the_calendar(time_ms in -30_000_000_000_000i64..250_000_000_000_000) {
            let zoned = Timestamp::from_millisecond(time_ms).unwrap().to_zoned(TimeZone::UTC);
            let midnight = zoned.start_of_day().unwrap();
            let (year, month, day) = (zoned.year().into(), zoned.month().into(), zoned.day().into());
            prop_assert_eq!(civil_date(time_ms.div_euclid(DAY_MS)), (year, month, day));

            let month = midnight.first_of_month().unwrap();
            prop_assert_eq!(Timeframe::Month.open_ms(time_ms), month.timestamp().as_millisecond());
            let next = month.checked_add(1.month()).unwrap();
            prop_assert_eq!(
                Timeframe::Month.end_ms(month.timestamp().as_millisecond()),
                next.timestamp().as_millisecond()
            );

            let back = midnight.weekday().since(Weekday::Monday);
            let monday = midnight.checked_sub(i64::from(back).days()).unwrap();
            prop_assert_eq!(Timeframe::W1.open_ms(time_ms), monday.timestamp().as_millisecond());
        }

        #[test]
        fn every_moment_lies_in_exactly_one_bar(time_ms in -1_000_000_000_000i64..5_000_000_000_000) {
            for tf in Timeframe::ALL {
                let open = tf.open_ms(time_ms);
                prop_assert!(open <= time_ms && time_ms < tf.end_ms(open), "{}", tf);
                prop_assert_eq!(tf.open_ms(tf.end_ms(open)), tf.end_ms(open));
                prop_assert_eq!(tf.open_ms(tf.end_ms(open) - 1), open);
            }
        }
    }

    #[test]
    fn names_read_back() {
        for tf in Timeframe::ALL {
            assert_eq!(tf.name().parse(), Ok(tf));
        }
        assert!("7m".parse::<Timeframe>().unwrap_err().to_string().starts_with("'7m' is not a timeframe"));
    }
}
