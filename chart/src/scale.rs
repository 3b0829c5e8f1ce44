//! From prices and volumes to rows, and round numbers for the axes. All in integers.

/// What an axis shows: `low < high`, in its own units. Wider than an `i64` since it has headroom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub low: i128,
    pub high: i128,
}

/// Headroom above and below the bars, as a percentage of their span: what a new range gets, ...
const HEADROOM: i128 = 8;
/// ... and the least and the most with which a range is kept, so that not every new high moves the whole picture.
const KEPT_HEADROOM: core::ops::RangeInclusive<i128> = 2..=18;
/// The span of the axis is at least this many ticks.
const LEAST_TICKS: i128 = 4;

impl Range {
    /// A range that shows `low..=high` with headroom: `kept` where that still does. `tick` is the smallest step
    /// that is shown.
    pub(crate) fn fit((low, high): (i128, i128), tick: i128, kept: Option<Self>) -> Self {
        let (mut low, mut high) = (low, high);
        let positive = low >= 0;
        let lacking = LEAST_TICKS * tick - (high - low);
        if lacking > 0 {
            low -= (lacking + 1) / 2;
            high += (lacking + 1) / 2;
        }
        let span = high - low;
        let fits =
            |room: i128| (KEPT_HEADROOM.start() * span..=KEPT_HEADROOM.end() * span).contains(&(room * 100));
        if let Some(kept) = kept.filter(|kept| fits(kept.high - high) && fits(low - kept.low)) {
            return kept;
        }
        // Where few units are shown, one of them is room enough, and none is not.
        let room = (span * HEADROOM / 100).max(1);
        low -= room;
        // The axis of what costs nothing less than zero does not go below it.
        Self { low: if positive { low.max(0) } else { low }, high: high + room }
    }
}

/// Maps values to rows of a pane. Rows grow downwards.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows {
    high: i128,
    /// The span in units of 2^`shift`: below 2^40, so that a product with the height in 512ths fits in 64 bits.
    span: u64,
    shift: u32,
    top: i32,
    /// The distance from the row of the highest value to the row of the lowest.
    height: u64,
}

impl Rows {
    /// `range.high` is on row `top`, `range.low` on row `bottom`.
    pub(crate) fn new(range: Range, top: i32, bottom: i32) -> Self {
        let span = range.high.abs_diff(range.low).max(1);
        let shift = (128 - span.leading_zeros()).saturating_sub(40);
        Self {
            high: range.high,
            span: (span >> shift) as u64,
            shift,
            top,
            height: (bottom - top).max(0) as u64,
        }
    }

    /// The row of `value`, rounded to the nearest; of a value beyond the range, the row at that end.
    #[inline]
    pub(crate) fn row(&self, value: i128) -> i32 {
        self.top + ((self.below(value) * self.height * 2 + self.span) / (2 * self.span)) as i32
    }

    /// The same in 256ths of a row. The middle of row 0 is 128.
    #[inline]
    pub(crate) fn fine_row(&self, value: i128) -> i32 {
        let fine = (self.below(value) * self.height * 2 * 256 + self.span) / (2 * self.span);
        (self.top << 8) + 128 + fine as i32
    }

    /// How far `value` is below the highest, in units of the span.
    #[inline]
    fn below(&self, value: i128) -> u64 {
        let below = if value >= self.high { 0 } else { self.high.abs_diff(value) >> self.shift };
        below.min(self.span.into()) as u64
    }
}

/// Binary places of a logarithm.
const LOG_PLACES: u32 = 32;

/// The logarithm to base 2 of `value`, in units of 2^-32, rounded down to within a few units. In integers, so that it is
/// the same on every machine. `value` must be above zero.
pub(crate) fn log2(value: u64) -> i128 {
    let whole = value.ilog2();
    // From 2^63 to below 2^64: one to below two.
    let mut rest = value << value.leading_zeros();
    let mut log = u64::from(whole);
    for _ in 0..LOG_PLACES {
        // Squaring doubles the logarithm: its next binary place is whether that reaches two.
        let square = u128::from(rest) * u128::from(rest);
        let reaches_two = square >> 127 == 1;
        log = log << 1 | u64::from(reaches_two);
        rest = (if reaches_two { square >> 64 } else { square >> 63 }) as u64;
    }
    log.into()
}

/// The smallest of 1, 2, 2.5 and 5 times a power of ten times `tick` that is at least `least` and a whole number of
/// ticks.
pub(crate) fn nice_step(least: i128, tick: i128) -> i128 {
    let mut power = tick.max(1);
    loop {
        // Half-steps of the first decade would be no whole number of ticks.
        let quarter = if power > tick { (power / 10).checked_mul(25) } else { None };
        let steps = [Some(power), power.checked_mul(2), quarter, power.checked_mul(5)];
        if let Some(step) = steps.into_iter().flatten().find(|step| *step >= least) {
            return step;
        }
        match power.checked_mul(10) {
            Some(next) => power = next,
            None => return i128::MAX,
        }
    }
}

/// The smallest round number that is at least `value` and at least 1, with steps small enough for the top of a
/// volume axis: it changes seldom while a bar grows.
pub(crate) fn round_top(value: i128) -> i128 {
    const TENTHS: [i128; 9] = [10, 12, 15, 20, 25, 30, 40, 60, 80];
    let mut power = 1i128;
    loop {
        for tenths in TENTHS {
            match power.checked_mul(tenths) {
                Some(top) if top / 10 >= value && top % 10 == 0 => return top / 10,
                Some(_) => {}
                None => return i128::MAX,
            }
        }
        power = match power.checked_mul(10) {
            Some(next) => next,
            None => return i128::MAX,
        };
    }
}

/// The multiples of `step` in `range`, from the lowest.
pub(crate) fn ticks(range: Range, step: i128) -> impl Iterator<Item = i128> {
    let rest = range.low.rem_euclid(step);
    let first = if rest == 0 { Some(range.low) } else { range.low.checked_add(step - rest) };
    core::iter::successors(first, move |tick| tick.checked_add(step))
        .take_while(move |tick| *tick <= range.high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The leading digits of a multiple of a tick.
    fn mantissa(step: i128, tick: i128) -> i128 {
        let mut steps = step / tick;
        while steps % 10 == 0 {
            steps /= 10;
        }
        steps
    }

    proptest! {
        #[test]
        fn steps_are_round_and_the_least_that_will_do(least in 1..i128::from(i64::MAX), digits in 0..18u32) {
            let tick = 10i128.pow(digits);
            let step = nice_step(least, tick);
            prop_assert!([1, 2, 25, 5].contains(&mantissa(step, tick)), "{}", step);
            prop_assert!(step >= least && step % tick == 0);
            // The next smaller step is at least two fifths of this one.
            prop_assert!(step == tick || step * 2 / 5 < least, "{} for {}", step, least);
        }

        #[test]
        fn tops_are_close_above(value in 1..i128::MAX / 200) {
            let top = round_top(value);
            prop_assert!(top >= value && (value < 3 || top - value <= value / 2 + 1), "{} for {}", top, value);
        }

        #[test]
        fn rows_are_the_rounded_quotient(low in any::<i64>(), high in any::<i64>(), at in any::<i64>(), height in 0..8192i32) {
            let (low, high) = (i128::from(low.min(high)), i128::from(high.max(low)) + 1);
            let value = i128::from(at).clamp(low, high);
            let row = Rows::new(Range { low, high }, 7, 7 + height).row(value);
            let exact = 7.0 + (high - value) as f64 / (high - low) as f64 * f64::from(height);
            prop_assert!((f64::from(row) - exact).abs() < 0.51, "{} for {}", row, exact);
            let fine = Rows::new(Range { low, high }, 7, 7 + height).fine_row(value);
            prop_assert!((f64::from(fine - 128) / 256.0 - exact).abs() < 0.01, "{} for {}", fine, exact);
        }

        #[test]
        fn logarithms_are_right(value in 1..u64::MAX) {
            let exact = (value as f64).log2() * f64::from(1u32 << 16) * f64::from(1u32 << 16);
            prop_assert!((log2(value) as f64 - exact).abs() < 64.0, "{} for {}", log2(value), exact);
            prop_assert!(log2(value) <= log2(value + 1));
        }

        #[test]
        fn the_headroom_is_two_to_eighteen_percent(low in 0..1_000_000_000i64, span in 100..1_000_000i64, drift in -40_000..40_000i64) {
            let low = low + 1_000_000;
            let first = Range::fit((low.into(), (low + span).into()), 1, None);
            let data = (i128::from(low), i128::from(low + span + drift.max(1 - span)));
            let range = Range::fit(data, 1, Some(first));
            let width = (data.1 - data.0).max(LEAST_TICKS);
            if width < 100 { return Ok(()); }
            for room in [range.high - data.1, data.0 - range.low] {
                prop_assert!(room * 100 >= width * 2 - 100 && room * 100 <= width * 18, "{} of {}", room, width);
            }
        }
    }

    #[test]
    fn a_range_is_kept_while_it_fits() {
        let first = Range::fit((1_000, 2_000), 1, None);
        assert_eq!(first, Range { low: 920, high: 2_080 });
        assert_eq!(Range::fit((1_000, 2_050), 1, Some(first)), first);
        assert_eq!(Range::fit((1_000, 1_920), 1, Some(first)), first);
        assert_ne!(Range::fit((1_000, 2_070), 1, Some(first)), first);
        assert_ne!(Range::fit((1_000, 1_880), 1, Some(first)), first);
    }

    #[test]
    fn equal_prices_still_have_a_span() {
        assert_eq!(Range::fit((1, 1), 1, None), Range { low: 0, high: 4 });
        assert_eq!(Range::fit((20, 26), 1, None), Range { low: 19, high: 27 });
        let top = Range::fit((i64::MAX.into(), i64::MAX.into()), 1, None);
        assert!(top.low < top.high);
    }

    #[test]
    fn ticks_lie_in_the_range() {
        let found: Vec<_> = ticks(Range { low: -7, high: 10 }, 5).collect();
        assert_eq!(found, [-5, 0, 5, 10]);
    }
}
