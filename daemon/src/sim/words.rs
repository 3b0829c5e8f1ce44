//! How numbers, times and lists are written: the alphabet that the venues' words are made of.
//!
//! What holds: every number is exact; nothing here decides anything.

use std::fmt;

/// A number in units of 1e-8, written with its eight decimals.
pub(super) struct Fixed(pub(super) i64);

impl fmt::Display for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Wide(i128::from(self.0)).fmt(f)
    }
}

/// The same for sums.
pub(super) struct Wide(pub(super) i128);

impl Wide {
    /// A quote sum, in units of 1e-16. The symbols' ticks and lots leave nothing beyond eight decimals.
    pub(super) fn quote(sum: i128) -> Self {
        Self(sum / 100_000_000)
    }
}

impl fmt::Display for Wide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let digits = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:08}", digits / 100_000_000, digits % 100_000_000)
    }
}

/// Items between brackets, with commas.
pub(super) struct List<I>(pub(super) I);

impl<I: Iterator<Item: fmt::Display> + Clone> fmt::Display for List<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, item) in self.0.clone().enumerate() {
            write!(f, "{}{item}", if i == 0 { "" } else { "," })?;
        }
        f.write_str("]")
    }
}

/// A number in units of 1e-8 with so many decimals, at most eight. What is beyond them is cut off.
pub(super) struct Places(pub(super) i128, pub(super) usize);

impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = Wide(self.0).to_string();
        let cut = if self.1 == 0 { 9 } else { 8 - self.1 };
        f.write_str(&text[..text.len() - cut])
    }
}

/// A number in units of 1e-8 without zeros at its end.
pub(super) struct Trimmed(pub(super) i128);

impl fmt::Display for Trimmed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = Wide(self.0).to_string();
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// How many decimals a step in units of 1e-8 needs.
pub(super) fn places(step: i64) -> usize {
    (0..8).find(|&places| step % 10_i64.pow(8 - places) == 0).unwrap_or(8) as usize
}

/// A moment in UTC as `2026-08-16T23:37:05.723653Z`; the digits after the point are `digits`, at most nine.
pub(super) fn iso(time_ms: i64, micros: i64, digits: usize) -> String {
    let (days, in_day) = (time_ms.div_euclid(86_400_000), time_ms.rem_euclid(86_400_000));
    let (year, month, day) = civil(days);
    let second = in_day / 1_000;
    let nanos = (in_day % 1_000 * 1_000 + micros) * 1_000;
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}");
    text.truncate(20 + digits);
    text.push('Z');
    text
}

/// Year, month and day of a number of days since 1970-01-01, in the Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    // Counted in years that begin in March, so that the leap day is a year's last.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// A version 4 UUID that follows from a number.
pub(super) fn uuid(number: u64) -> String {
    let mut random = super::random::Random::new(number, 0);
    let mut part = |bits: u32| random.below(1_i64 << bits);
    let variant = 0x8000 | part(14);
    format!("{:08x}-{:04x}-4{:03x}-{variant:04x}-{:012x}", part(32), part(16), part(12), part(48))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_what_they_are_told_to_keep() {
        assert_eq!(Places(6_012_345_000_000, 2).to_string(), "60123.45");
        assert_eq!(Places(6_012_345_000_000, 0).to_string(), "60123");
        assert_eq!(Places(-1, 8).to_string(), "-0.00000001");
        assert_eq!(Trimmed(150_000_000).to_string(), "1.5");
        assert_eq!(Trimmed(98_500_000_000).to_string(), "985");
        assert_eq!(Trimmed(0).to_string(), "0");
        assert_eq!([1, 10_000, 1_000_000, 50_000_000, 100_000_000].map(places), [8, 4, 2, 1, 0]);
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(iso(1_786_923_425_723, 653, 6), "2026-08-16T23:37:05.723653Z");
        assert_eq!(iso(1_709_208_000_007, 0, 3), "2024-02-29T12:00:00.007Z");
        assert_eq!(iso(951_782_400_000, 1, 9), "2000-02-29T00:00:00.000001000Z");
        for day in (0..40_000).step_by(13) {
            let theirs = jiff::Timestamp::from_second(day * 86_400).unwrap();
            assert_eq!(iso(day * 86_400_000, 0, 6), format!("{theirs:.6}"));
        }
        let id = uuid(7);
        assert_eq!((id.len(), &id[14..15]), (36, "4"));
        assert_ne!(id, uuid(8));
    }
}
