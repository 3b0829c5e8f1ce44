//! Numbers as text, exact and without allocation beyond the text's own.
//!
//! Negative numbers begin with a minus sign, not a hyphen: it is as wide as a plus sign.

use core::fmt::Write;

/// Adds `value` units of 10^-`digits` with `shown` decimal places. Digits beyond those are cut; the caller shows as
/// many as there are.
pub(crate) fn push_fixed(text: &mut String, value: i128, digits: u8, shown: u8) {
    let shown = shown.min(digits);
    let magnitude = value.unsigned_abs() / 10u128.pow((digits - shown).into());
    let unit = 10u128.pow(shown.into());
    push_sign(text, value < 0);
    push(text, format_args!("{}", magnitude / unit));
    if shown > 0 {
        push(text, format_args!(".{:0places$}", magnitude % unit, places = usize::from(shown)));
    }
}

/// Adds a plus sign to what is above zero, then the same as [`push_fixed`].
pub(crate) fn push_change(text: &mut String, value: i128, digits: u8, shown: u8) {
    if value > 0 {
        text.push('+');
    }
    push_fixed(text, value, digits, shown);
}

/// Adds how many percent `change` is of `whole`, with two decimal places, rounded to the nearest. `whole` must not be
/// zero.
pub(crate) fn push_percent(text: &mut String, change: i128, whole: i64) {
    let (part, whole) = (change.abs() * 10_000, i128::from(whole).abs());
    let hundredths = (2 * part + whole) / (2 * whole);
    push_change(text, if change < 0 { -hundredths } else { hundredths }, 2, 2);
    text.push('%');
}

/// Adds `value` units of 10^-`digits` in thousands (K), millions (M), billions (B) or trillions (T), cut to four
/// significant digits where there are decimal places, and without trailing zeros.
pub(crate) fn push_compact(text: &mut String, value: i128, digits: u8) {
    const SUFFIXES: [&str; 5] = ["", "K", "M", "B", "T"];
    let magnitude = value.unsigned_abs();
    let mut places = u32::from(digits);
    let mut suffix = 0;
    while suffix + 1 < SUFFIXES.len() && magnitude / 10u128.pow(places) >= 1000 {
        places += 3;
        suffix += 1;
    }
    let unit = 10u128.pow(places);
    let (whole, mut fraction) = (magnitude / unit, magnitude % unit);
    let mut shown = match whole {
        0 => leading_zeros(fraction, places) + 4,
        1..10 => 3,
        10..100 => 2,
        100..1000 => 1,
        _ => 0,
    }
    .min(places);
    fraction /= 10u128.pow(places - shown);
    while shown > 0 && fraction.is_multiple_of(10) {
        fraction /= 10;
        shown -= 1;
    }
    push_sign(text, value < 0);
    push(text, format_args!("{whole}"));
    if shown > 0 {
        push(text, format_args!(".{fraction:0shown$}", shown = shown as usize));
    }
    text.push_str(SUFFIXES[suffix]);
}

/// How many zeros follow the point in `fraction` units of 10^-`places`.
fn leading_zeros(fraction: u128, places: u32) -> u32 {
    fraction.checked_ilog10().map_or(0, |log| places - 1 - log)
}

fn push_sign(text: &mut String, negative: bool) {
    if negative {
        text.push('−');
    }
}

fn push(text: &mut String, arguments: core::fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    let _ = text.write_fmt(arguments);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compact(value: i128, digits: u8) -> String {
        let mut text = String::new();
        push_compact(&mut text, value, digits);
        text
    }

    fn fixed(value: i128, digits: u8, shown: u8) -> String {
        let mut text = String::new();
        push_fixed(&mut text, value, digits, shown);
        text
    }

    #[test]
    fn prices_have_the_places_asked_for() {
        assert_eq!(fixed(6_183_763_000_000, 8, 2), "61837.63");
        assert_eq!(fixed(6_183_700_000_000, 8, 2), "61837.00");
        assert_eq!(fixed(-5, 2, 2), "−0.05");
        assert_eq!(fixed(7, 0, 0), "7");
        assert_eq!(fixed(i64::MAX.into(), 18, 18), "9.223372036854775807");
        let mut text = String::new();
        push_change(&mut text, 5, 2, 2);
        assert_eq!(text, "+0.05");
    }

    #[test]
    fn percentages_are_rounded_to_the_nearest() {
        for (change, whole, expected) in [
            (-470, 6_159_145, "−0.01%"),
            (1, 20_000, "+0.01%"),
            (1, 20_001, "0.00%"),
            (-3, 2, "−150.00%"),
            (3, -2, "+150.00%"),
            (i64::MIN.into(), 1, "−922337203685477580800.00%"),
        ] {
            let mut text = String::new();
            push_percent(&mut text, change, whole);
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn volumes_are_short() {
        for (value, digits, text) in [
            (0, 8, "0"),
            (12, 5, "0.00012"),
            (123_456_789, 12, "0.0001234"),
            (999, 0, "999"),
            (1_000, 0, "1K"),
            (999_999, 0, "999.9K"),
            (3_630_420, 2, "36.3K"),
            (12_345_678, 0, "12.34M"),
            (2_500_000_000, 0, "2.5B"),
            (i128::MAX, 0, "170141183460469231731687303T"),
            (i128::MIN, 18, "−170141183T"),
        ] {
            assert_eq!(compact(value, digits), text);
        }
    }

    proptest! {
        #[test]
        fn fixed_text_agrees_with_the_market_crate(value in any::<i64>(), digits in 0..=18u8) {
            let shown = market::decimal::used_digits(value, digits);
            let expected = market::decimal::display(value, digits).to_string().replace('-', "−");
            prop_assert_eq!(fixed(value.into(), digits, shown), expected);
        }

        #[test]
        fn compact_text_never_fails(value in any::<i128>(), digits in 0..=18u8) {
            prop_assert!(!compact(value, digits).is_empty());
        }
    }
}
