//! Exact decimal numbers: text to integer and back, without rounding and without floating point.
//!
//! A value is an integer counted in units of 10^-digits. With 2 digits, `61837.63` is 6183763.

use core::fmt;

/// The most decimal places that an instrument may have: 10^18 is the largest power of ten in an `i64`.
pub const MAX_DIGITS: u8 = 18;

/// Why a text is not a number that the instrument can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// Not of the form `digits` or `digits.digits`, with an optional leading minus.
    #[error("this is not a plain decimal number")]
    Malformed,
    /// A digit other than zero stands beyond the instrument's last decimal place.
    #[error("the number has more decimal places than the instrument")]
    TooManyDigits,
    /// The value does not fit in 64 bits at the instrument's scale.
    #[error("the number is too large for the instrument's scale")]
    Overflow,
    /// A price or quantity below zero.
    #[error("the number is negative")]
    Negative,
}

/// Reads a non-negative decimal such as `0.00027625` in units of 10^-`digits`.
///
/// Zeros beyond the last place are accepted, since they change nothing; any other digit there is an error.
///
/// ```
/// use market::decimal::{parse, DecimalError};
/// assert_eq!(parse(b"61837.63000000", 2), Ok(6183763));
/// assert_eq!(parse(b"0.001", 2), Err(DecimalError::TooManyDigits));
/// ```
#[inline]
pub fn parse(text: &[u8], digits: u8) -> Result<i64, DecimalError> {
    debug_assert!(digits <= MAX_DIGITS);
    // Up to 18 digits cannot overflow, and that is what venues send.
    if text.len() + usize::from(digits) <= 18 {
        read::<false>(text, digits)
    } else {
        read::<true>(text, digits)
    }
}

/// [`parse`]. With `CHECKED`, each step looks for overflow.
#[inline(always)]
fn read<const CHECKED: bool>(text: &[u8], digits: u8) -> Result<i64, DecimalError> {
    let mut value: u64 = 0;
    let mut at = 0;
    while let Some(digit) = digit_at(text, at) {
        value = push::<CHECKED>(value, digit)?;
        at += 1;
    }
    if at == 0 {
        return Err(if text.first() == Some(&b'-') { negative(text) } else { DecimalError::Malformed });
    }
    let mut missing = digits;
    if text.get(at) == Some(&b'.') {
        at += 1;
        let first = at;
        while let Some(digit) = digit_at(text, at) {
            if missing > 0 {
                value = push::<CHECKED>(value, digit)?;
                missing -= 1;
            } else if digit != 0 {
                return Err(DecimalError::TooManyDigits);
            }
            at += 1;
        }
        if at == first {
            return Err(DecimalError::Malformed);
        }
    }
    if at != text.len() {
        return Err(DecimalError::Malformed);
    }
    let scaled = value.checked_mul(POWERS_OF_TEN[usize::from(missing)]).ok_or(DecimalError::Overflow)?;
    i64::try_from(scaled).map_err(|_| DecimalError::Overflow)
}

/// [`parse`], but an exponent may follow, as in `7.12e-06`: some venues print small bare numbers so.
///
/// ```
/// use market::decimal::{parse_with_exponent, DecimalError};
/// assert_eq!(parse_with_exponent(b"7.12e-06", 8), Ok(712));
/// assert_eq!(parse_with_exponent(b"7.12e-07", 8), Err(DecimalError::TooManyDigits));
/// ```
#[inline]
pub fn parse_with_exponent(text: &[u8], digits: u8) -> Result<i64, DecimalError> {
    match parse(text, digits) {
        // What is wrong without the exponent may be right with it.
        Err(error) => read_exponent(text, digits).unwrap_or(Err(error)),
        value => value,
    }
}

/// Reads a number that has an exponent.
#[cold]
fn read_exponent(text: &[u8], digits: u8) -> Option<Result<i64, DecimalError>> {
    let at = text.iter().position(|byte| matches!(byte, b'e' | b'E'))?;
    Some(shifted(&text[..at], &text[at + 1..], digits))
}

fn shifted(mantissa: &[u8], exponent: &[u8], digits: u8) -> Result<i64, DecimalError> {
    let (is_negative, exponent) = match exponent {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let size = match exponent {
        [] => return Err(DecimalError::Malformed),
        _ if !exponent.iter().all(u8::is_ascii_digit) => return Err(DecimalError::Malformed),
        // All longer ones are as good as 999.
        _ => exponent.iter().fold(0, |size: i32, byte| (size * 10 + i32::from(byte - b'0')).min(999)),
    };
    // The number is the mantissa at a scale that is finer or coarser by the exponent.
    let scale = i32::from(digits) + if is_negative { -size } else { size };
    let power = |places: i32| POWERS_OF_TEN.get(places as usize).map(|power| *power as i64);
    match u8::try_from(scale.clamp(0, MAX_DIGITS.into())) {
        Ok(near) if scale >= 0 => {
            let value = parse(mantissa, near)?;
            let factor = power(scale - i32::from(near));
            if value == 0 {
                Ok(0)
            } else {
                factor.and_then(|f| value.checked_mul(f)).ok_or(DecimalError::Overflow)
            }
        }
        _ => {
            let value = parse(mantissa, 0)?;
            match power(-scale) {
                Some(factor) if value % factor == 0 => Ok(value / factor),
                None if value == 0 => Ok(0),
                _ => Err(DecimalError::TooManyDigits),
            }
        }
    }
}

/// 10^0 to 10^[`MAX_DIGITS`].
const POWERS_OF_TEN: [u64; MAX_DIGITS as usize + 1] = {
    let mut powers = [1; MAX_DIGITS as usize + 1];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

/// The value of the ASCII digit at `at`, if there is one.
#[inline(always)]
fn digit_at(text: &[u8], at: usize) -> Option<u8> {
    text.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10)
}

#[inline(always)]
fn push<const CHECKED: bool>(value: u64, digit: u8) -> Result<u64, DecimalError> {
    if CHECKED {
        value.checked_mul(10).and_then(|v| v.checked_add(digit.into())).ok_or(DecimalError::Overflow)
    } else {
        Ok(value * 10 + u64::from(digit))
    }
}

/// Tells a negative number from text that only begins with a minus.
#[cold]
fn negative(text: &[u8]) -> DecimalError {
    match parse(&text[1..], MAX_DIGITS) {
        Err(DecimalError::Malformed | DecimalError::Negative) => DecimalError::Malformed,
        _ => DecimalError::Negative,
    }
}

/// Shows `value` units of 10^-`digits` as exact decimal text without trailing zeros.
///
/// ```
/// assert_eq!(market::decimal::display(6183763, 2).to_string(), "61837.63");
/// assert_eq!(market::decimal::display(6183000, 2).to_string(), "61830");
/// ```
pub fn display(value: impl Into<i128>, digits: u8) -> Display {
    Display { value: value.into(), digits }
}

/// Exact decimal text of a value; see [`display`].
#[derive(Debug, Clone, Copy)]
pub struct Display {
    value: i128,
    digits: u8,
}

impl fmt::Display for Display {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = 10u128.pow(self.digits.into());
        let magnitude = self.value.unsigned_abs();
        let (whole, mut fraction) = (magnitude / unit, magnitude % unit);
        let sign = if self.value < 0 { "-" } else { "" };
        write!(f, "{sign}{whole}")?;
        if fraction == 0 {
            return Ok(());
        }
        let mut places = usize::from(self.digits);
        while fraction % 10 == 0 {
            fraction /= 10;
            places -= 1;
        }
        write!(f, ".{fraction:0places$}")
    }
}

/// How many decimal places `value` really uses: `digits` less its trailing zeros.
///
/// ```
/// assert_eq!(market::decimal::used_digits(6183763000000, 8), 2);
/// ```
pub fn used_digits(value: i64, digits: u8) -> u8 {
    let (mut value, mut used) = (value, digits);
    while used > 0 && value % 10 == 0 {
        value /= 10;
        used -= 1;
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_what_it_would_have_to_round_or_guess() {
        for (text, digits, error) in [
            ("", 2, DecimalError::Malformed),
            (".5", 2, DecimalError::Malformed),
            ("1.", 2, DecimalError::Malformed),
            ("1e5", 2, DecimalError::Malformed),
            ("+1", 2, DecimalError::Malformed),
            ("--1", 2, DecimalError::Malformed),
            ("-x", 2, DecimalError::Malformed),
            ("1 ", 2, DecimalError::Malformed),
            ("-1", 2, DecimalError::Negative),
            ("-1.23", 2, DecimalError::Negative),
            ("1.234", 2, DecimalError::TooManyDigits),
            ("92233720368547758.08", 2, DecimalError::Overflow),
            ("99999999999999999999999999", 0, DecimalError::Overflow),
        ] {
            assert_eq!(parse(text.as_bytes(), digits), Err(error), "{text}");
        }
        assert_eq!(parse(b"92233720368547758.07", 2), Ok(i64::MAX));
        assert_eq!(parse(b"007.5000000000000000000000", 1), Ok(75));
    }

    proptest! {
        #[test]
        fn text_and_integer_are_inverse(value in 0..=i64::MAX, digits in 0..=MAX_DIGITS) {
            let text = display(value, digits).to_string();
            prop_assert_eq!(parse(text.as_bytes(), digits), Ok(value));
            let fraction = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
            prop_assert_eq!(fraction, usize::from(used_digits(value, digits)));
        }

        /// Moving the point and saying so in the exponent changes nothing.
        #[test]
        fn an_exponent_moves_the_point(value in 0..100_000_000i64, digits in 0..=8u8, shift in -10i32..=10) {
            let plain = display(value, digits).to_string();
            let (whole, fraction) = plain.split_once('.').unwrap_or((&plain, ""));
            // The point goes `shift` places to the left.
            let all = format!("{}{whole}{fraction}{}", "0".repeat(31), "0".repeat(31));
            let (left, right) = all.split_at((31 + whole.len()).checked_add_signed(-shift as isize).unwrap());
            let text = format!("{left}.{right}e{shift}");
            prop_assert_eq!(parse_with_exponent(text.as_bytes(), digits), Ok(value), "{}", text);
        }

        #[test]
        fn never_panics(text in prop::collection::vec(any::<u8>(), 0..40), digits in 0..=MAX_DIGITS) {
            let _ = parse(&text, digits);
            let _ = parse_with_exponent(&text, digits);
        }

        #[test]
        fn exponents_never_panic(text in "-?[0-9]{0,20}\\.?[0-9]{0,20}[eE][-+]?[0-9]{0,12}", digits in 0..=MAX_DIGITS) {
            let _ = parse_with_exponent(text.as_bytes(), digits);
        }
    }
}
