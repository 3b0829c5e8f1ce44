//! Times as people give them on a command line, and as the tools print them.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::fmt;

/// A smaller number is no time in ns that a journal can hold: 1973. It would be s, ms or µs since 1970.
const LEAST_NS: u64 = 100_000_000_000_000_000;

/// What `--help` says of times.
pub const HELP: &str = "Times are 2026-11-24T15:30:00Z (RFC 3339), 2026-11-24 (its midnight in UTC), ns since 1970, \
                        or so long ago: -90s, -15m, -1h, -2d";

/// A time given on a command line: CLOCK_REALTIME in ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct When(pub u64);

/// Reads a time; see [`HELP`]. What is relative counts from now.
pub fn parse(text: &str) -> Result<When, String> {
    parse_at(text, Timestamp::now())
}

fn parse_at(text: &str, now: Timestamp) -> Result<When, String> {
    if let Some(ago) = text.strip_prefix('-') {
        let ago_ns = seconds(ago).and_then(|seconds| seconds.checked_mul(1_000_000_000));
        let ns = ago_ns.and_then(|ago_ns| since_1970(now)?.checked_sub(ago_ns));
        return ns
            .map(When)
            .ok_or_else(|| format!("'{text}' is no time ago; use a whole number and s, m, h or d, as -15m"));
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        return match text.parse() {
            Ok(ns) if ns >= LEAST_NS => Ok(When(ns)),
            Ok(_) => Err(format!(
                "{text} ns after 1970 is no time of a journal; is it in s, ms or µs? Append zeros"
            )),
            Err(_) => Err(format!("{text} is more ns after 1970 than 64 bits hold")),
        };
    }
    let parsed = match text.parse::<Date>() {
        Ok(date) if text.len() == "2026-11-24".len() => {
            date.to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp())
        }
        _ => text.parse::<Timestamp>(),
    };
    let ns = parsed.ok().and_then(since_1970);
    ns.map(When).ok_or_else(|| format!("'{text}' is not a time. {HELP}"))
}

/// Ns since 1970, if it is after that and fits.
fn since_1970(time: Timestamp) -> Option<u64> {
    u64::try_from(time.as_nanosecond()).ok()
}

fn seconds(text: &str) -> Option<u64> {
    let unit = match text.bytes().last()? {
        b's' => 1,
        b'm' => 60,
        b'h' => 3_600,
        b'd' => 86_400,
        _ => return None,
    };
    text[..text.len() - 1].parse::<u64>().ok()?.checked_mul(unit)
}

/// Shows ns since 1970 as RFC 3339 in UTC with all nine places, so that texts of one length sort as their times do.
#[derive(Debug, Clone, Copy)]
pub struct Utc(pub u64);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The 64 bits end in the year 2554, which jiff knows.
        let time = Timestamp::from_nanosecond(self.0.into()).unwrap_or(Timestamp::MAX);
        write!(f, "{time:.9}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_all_the_ways_that_help_names() {
        let now: Timestamp = "2026-11-24T15:30:00.5Z".parse().unwrap();
        let noon = 1_795_521_600_000_000_000;
        for (text, ns) in [
            ("2026-11-24T12:00:00Z", noon),
            ("2026-11-24T13:00:00+01:00", noon),
            ("2026-11-24T12:00:00.000000001Z", noon + 1),
            ("2026-11-24", noon - 43_200_000_000_000),
            ("1795521600000000000", noon),
            ("-90s", noon + 12_510_500_000_000),
            ("-90m", noon + 7_200_500_000_000),
            ("-1h", noon + 9_000_500_000_000),
            ("-1d", noon - 73_799_500_000_000),
        ] {
            assert_eq!(parse_at(text, now), Ok(When(ns)), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused_with_advice() {
        let now: Timestamp = "2026-11-24T15:30:00Z".parse().unwrap();
        for (text, advice) in [
            ("", "RFC 3339"),
            ("yesterday", "RFC 3339"),
            ("2026-11-24T12:00:00", "RFC 3339"),
            ("2026-13-24", "RFC 3339"),
            ("1969-12-31", "RFC 3339"),
            ("1795521600", "Append zeros"),
            ("1795521600000", "Append zeros"),
            ("99999999999999999999", "64 bits"),
            ("-1", "-15m"),
            ("-1w", "-15m"),
            ("-é", "-15m"),
            ("-99999999999999999999d", "-15m"),
            ("-200000d", "-15m"),
        ] {
            let refused = parse_at(text, now).unwrap_err();
            assert!(refused.contains(advice), "{text}: {refused}");
        }
    }

    #[test]
    fn times_are_shown_to_the_nanosecond() {
        assert_eq!(Utc(0).to_string(), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(Utc(1_795_521_600_000_000_001).to_string(), "2026-11-24T12:00:00.000000001Z");
        assert_eq!(Utc(u64::MAX).to_string(), "2554-07-21T23:34:33.709551615Z");
    }
}
