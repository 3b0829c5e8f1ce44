//! Times as venues print them: RFC 3339 text to milliseconds since 1970, UTC, without rounding up.
//!
//! What is finer than a millisecond is cut off, so that a time never moves into the next candle.

use crate::message::MAX_TIME_MS;
use crate::timeframe::first_day;

const DAY_MS: i64 = 24 * 3_600_000;

/// Reads a time such as `2026-08-16T23:37:05.723653Z`, with up to nine decimals of a second or none, and `Z` or an
/// offset as `+00:00` behind it. A blank may stand for the `T`. `None` if it is anything else, lies before 1970 or
/// from 2100 on, or is a leap second, of which there has been none since 2016.
pub(crate) fn parse_ms(text: &[u8]) -> Option<i64> {
    let (date, rest) = text.split_first_chunk::<10>()?;
    let (separator, rest) = rest.split_first()?;
    let (clock, rest) = rest.split_first_chunk::<8>()?;
    if !matches!(separator, b'T' | b't' | b' ') {
        return None;
    }
    let [y1, y2, y3, y4, b'-', mo1, mo2, b'-', d1, d2] = *date else { return None };
    let [h1, h2, b':', mi1, mi2, b':', s1, s2] = *clock else { return None };
    let year = pair(y1, y2)? * 100 + pair(y3, y4)?;
    let (month, day) = (pair(mo1, mo2)?, pair(d1, d2)?);
    let (hour, minute, second) = (pair(h1, h2)?, pair(mi1, mi2)?, pair(s1, s2)?);
    if !(1970..=2100).contains(&year) || !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 59
    {
        return None;
    }
    let days = first_day(year, month) + day - 1;
    let next = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    if day < 1 || days >= first_day(next.0, next.1) {
        return None;
    }
    let (fraction_ms, zone) = fraction_ms(rest)?;
    let clock_ms = ((hour * 60 + minute) * 60 + second) * 1_000 + fraction_ms;
    let ms = days * DAY_MS + clock_ms - offset_ms(zone)?;
    (0..=MAX_TIME_MS as i64).contains(&ms).then_some(ms)
}

/// A number of two digits.
fn pair(tens: u8, ones: u8) -> Option<i64> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| i64::from(byte - b'0'));
    Some(digit(tens)? * 10 + digit(ones)?)
}

/// The milliseconds of a fraction such as `.723653`, and what follows it.
fn fraction_ms(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(digits) = text.strip_prefix(b".") else { return Some((0, text)) };
    let len = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=9).contains(&len) {
        return None;
    }
    let place = |at: usize| digits[..len].get(at).map_or(0, |byte| i64::from(byte - b'0'));
    Some((place(0) * 100 + place(1) * 10 + place(2), &digits[len..]))
}

/// How far a zone is ahead of UTC.
fn offset_ms(zone: &[u8]) -> Option<i64> {
    match *zone {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (pair(h1, h2)?, pair(m1, m2)?);
            let ms = (hours * 60 + minutes) * 60_000;
            (hours < 24 && minutes < 60).then_some(if sign == b'+' { ms } else { -ms })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_time_is_refused() {
        for (text, ms) in [
            ("2026-08-16T23:37:05.723653Z", Some(1_786_923_425_723)),
            ("2025-10-27T16:44:40.175203666Z", Some(1_761_583_480_175)),
            ("2026-04-07 14:30:10.999999999+00:00", Some(1_775_572_210_999)),
            ("1970-01-01T01:00:00+01:00", Some(0)),
            ("2099-12-31T23:59:59.999Z", Some(MAX_TIME_MS as i64)),
            ("2100-01-01T00:00:00Z", None),
            ("1970-01-01T00:00:00+00:01", None),
            ("1969-12-31T23:59:59Z", None),
            ("2025-02-29T00:00:00Z", None),
            ("2025-02-00T00:00:00Z", None),
            ("2024-13-01T00:00:00Z", None),
            ("2024-01-01T24:00:00Z", None),
            ("2016-12-31T23:59:60Z", None),
            ("2024-01-01T00:00:00", None),
            ("2024-01-01T00:00:00.Z", None),
            ("2024-01-01T00:00:00.0123456789Z", None),
            ("2024-01-01T00:00:00Zx", None),
            ("2024-01-01X00:00:00Z", None),
            ("2024-1-01T00:00:00.00Z", None),
            ("", None),
        ] {
            assert_eq!(parse_ms(text.as_bytes()), ms, "{text}");
        }
    }

    proptest! {
        /// jiff is the independent judge of what a text means.
        #[test]
        fn times_mean_what_jiff_says(ns in 0i128..4_102_444_800_000_000_000, decimals in 0usize..=9, offset in -1439i64..1440) {
            let ns = ns / 10i128.pow(9 - decimals as u32) * 10i128.pow(9 - decimals as u32);
            let time = Timestamp::from_nanosecond(ns).unwrap();
            let text = format!("{time:.decimals$}");
            prop_assert_eq!(parse_ms(text.as_bytes()), Some(time.as_millisecond()), "{}", text);

            let local = Timestamp::from_nanosecond(ns + i128::from(offset) * 60_000_000_000).unwrap_or(time);
            let sign = if offset < 0 { '-' } else { '+' };
            let (hours, minutes) = (offset.abs() / 60, offset.abs() % 60);
            let text = format!("{:.decimals$}", local).replace('Z', &format!("{sign}{hours:02}:{minutes:02}"));
            let theirs: i64 = text.parse::<Timestamp>().unwrap().as_millisecond();
            let expected = Some(theirs).filter(|ms| (0..=MAX_TIME_MS as i64).contains(ms) && text.starts_with(['1', '2']));
            prop_assert_eq!(parse_ms(text.as_bytes()).or(expected), expected, "{}", text);
        }

        /// Whatever is read here, jiff reads to the same.
        #[test]
        fn damaged_times_are_not_guessed(at in 0usize..27, byte in proptest::sample::select(b"0123456789-+:. TZx".to_vec()), cut in 0usize..=27) {
            let mut text = *b"2024-02-29T23:59:58.123456Z";
            text[at] = byte;
            let text = &text[..cut];
            if let Some(ms) = parse_ms(text) {
                let theirs: Timestamp = core::str::from_utf8(text).unwrap().parse().unwrap();
                prop_assert_eq!(ms, theirs.as_millisecond());
            }
        }

        #[test]
        fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = parse_ms(&bytes);
        }
    }
}
