//! The day of venues that tell the time of day only: it begins at midnight in New York.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// A day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Day {
    /// Whatever day it is in New York.
    Today,
    /// This one, for replays.
    Of(Date),
}

impl Day {
    /// The one on which that moment is in New York.
    pub(crate) fn at(moment: Timestamp) -> Self {
        Self::Of(moment.to_zoned(new_york()).date())
    }

    /// When it began.
    pub(crate) fn midnight_ms(self) -> i64 {
        let zone = new_york();
        let date = match self {
            Self::Today => Timestamp::now().to_zoned(zone.clone()).date(),
            Self::Of(date) => date,
        };
        date.to_zoned(zone).map_or(0, |midnight| midnight.timestamp().as_millisecond())
    }
}

fn new_york() -> TimeZone {
    // The time zones of the library stand in for those of the system, so it is there.
    TimeZone::get("America/New_York").unwrap_or(TimeZone::UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn midnight_is_new_yorks() {
        let of = |text: &str| Day::Of(text.parse().unwrap()).midnight_ms();
        let utc = |text: &str| text.parse::<Timestamp>().unwrap().as_millisecond();
        assert_eq!(of("2026-11-24"), utc("2026-11-24T05:00:00Z"));
        assert_eq!(of("2026-07-01"), utc("2026-07-01T04:00:00Z"));
        let ago_ms = Timestamp::now().as_millisecond() - Day::Today.midnight_ms();
        assert!((0..25 * 3_600_000).contains(&ago_ms), "{ago_ms}");
    }
}
