//! How far prices range: Bollinger bands and Wilder's average true range.

use super::average::Recursive;
use super::window::Window;
use super::{Bar, Length, Study, Values, Width, difference};

/// The mean of the last `len` closes, and lines that lie `width` standard deviations above and below.
pub(super) struct Bollinger {
    len: u32,
    width: f64,
    window: Window<i64>,
    moments: Moments,
}

impl Bollinger {
    pub(super) fn new(len: Length, width: Width) -> Self {
        let window = Window::new(len);
        Self { len: len.bars() as u32, width: width.get(), window, moments: Moments::default() }
    }

    fn with(&self, close: i64) -> Moments {
        let moments = self.moments.with(close);
        self.window.leaving().map_or(moments, |leaving| moments.without(leaving))
    }
}

impl Study for Bollinger {
    fn preview(&self, bar: &Bar) -> Values {
        if !self.window.full_with_next() {
            return Values::NONE;
        }
        let moments = self.with(bar.ohlc.close);
        let middle = moments.mean(self.len);
        let distance = self.width * moments.deviation(self.len);
        Values([bar.price(middle + distance), bar.price(middle), bar.price(middle - distance)])
    }

    fn take(&mut self, bar: &Bar) {
        self.moments = self.with(bar.ohlc.close);
        self.window.push(bar.ohlc.close);
    }
}

/// Sums of some numbers and of their squares.
///
/// The sum of a thousand squares of 64-bit numbers needs 138 bits, so each square is added in two halves.
#[derive(Clone, Copy, Default)]
struct Moments {
    sum: i128,
    squares_low: u128,
    squares_high: u128,
}

const TWO_TO_64: f64 = (1u128 << 64) as f64;
const TWO_TO_127: f64 = (1u128 << 127) as f64;

impl Moments {
    fn with(self, number: i64) -> Self {
        let [low, high] = halves_of_square(number);
        Self {
            sum: self.sum + i128::from(number),
            squares_low: self.squares_low + low,
            squares_high: self.squares_high + high,
        }
    }

    fn without(self, number: i64) -> Self {
        let [low, high] = halves_of_square(number);
        Self {
            sum: self.sum - i128::from(number),
            squares_low: self.squares_low - low,
            squares_high: self.squares_high - high,
        }
    }

    fn mean(self, count: u32) -> f64 {
        self.sum as f64 / f64::from(count)
    }

    /// The population's standard deviation: the root of (n Σx² − (Σx)²) ÷ n².
    fn deviation(self, count: u32) -> f64 {
        let n = f64::from(count);
        let squares = self.squares_high as f64 * TWO_TO_64 + self.squares_low as f64;
        let sum = self.sum as f64;
        let about = n * squares - sum * sum;
        // The terms cancel almost wholly in floating point. Modulo 2^128 their difference is exact if it is smaller
        // than that, and the estimate, which is wrong by 2^100 at the most, tells. A larger difference is so large
        // that the estimate is right to ten digits.
        let exact = about.abs() < TWO_TO_127;
        let scaled = if exact { self.scaled_variance(count) as f64 } else { about };
        scaled.sqrt() / n
    }

    /// n Σx² − (Σx)², modulo 2^128.
    fn scaled_variance(self, count: u32) -> u128 {
        let squares = (self.squares_high << 64).wrapping_add(self.squares_low);
        let sum = self.sum.unsigned_abs();
        u128::from(count).wrapping_mul(squares).wrapping_sub(sum.wrapping_mul(sum))
    }
}

/// The lower and the upper 64 bits of `number` squared.
fn halves_of_square(number: i64) -> [u128; 2] {
    let square = u128::from(number.unsigned_abs()).pow(2);
    [square & u128::from(u64::MAX), square >> 64]
}

/// Wilder's average of the true range.
#[derive(Clone, Copy)]
pub(super) struct Atr {
    average: Recursive,
    previous_close: Option<i64>,
}

impl Atr {
    pub(super) fn new(len: Length) -> Self {
        Self { average: Recursive::rma(len), previous_close: None }
    }

    fn after(self, bar: &Bar) -> Self {
        let (high, low) = (bar.ohlc.high, bar.ohlc.low);
        let average = match self.previous_close {
            // The bar's range, extended to where the previous one closed.
            Some(close) => self.average.after(difference(high.max(close), low.min(close))),
            None => self.average,
        };
        Self { average, previous_close: Some(bar.ohlc.close) }
    }
}

impl Study for Atr {
    fn preview(&self, bar: &Bar) -> Values {
        let value = self.after(bar).average.value();
        Values::one(value.map(|value| bar.price(value)))
    }

    fn take(&mut self, bar: &Bar) {
        *self = self.after(bar);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The deviation in two passes, from numbers that the first one was taken off exactly.
    fn in_two_passes(numbers: &[i64]) -> f64 {
        let n = numbers.len() as f64;
        let shifted: Vec<_> = numbers.iter().map(|&number| difference(number, numbers[0])).collect();
        let mean = shifted.iter().sum::<f64>() / n;
        (shifted.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / n).sqrt()
    }

    fn check(numbers: &[i64]) {
        // A number that has come and gone leaves nothing.
        let moments = numbers.iter().fold(Moments::default().with(i64::MIN), |moments, &n| moments.with(n));
        let actual = moments.without(i64::MIN).deviation(numbers.len() as u32);
        let expected = in_two_passes(numbers);
        assert!((actual - expected).abs() <= 1e-9 * expected, "{actual} is not {expected}");
    }

    proptest! {
        /// Far from zero and close together, where sums of squares in floating point know nothing any more.
        #[test]
        fn deviations_are_exact(base in any::<i64>(), near in prop::collection::vec(0i64..100, 1..1_000)) {
            let base = base.min(i64::MAX - 100);
            check(&near.iter().map(|near| base + near).collect::<Vec<_>>());
        }

        /// As far apart as numbers can be, where 128 bits do not suffice.
        #[test]
        fn huge_deviations_are_right(numbers in prop::collection::vec(any::<i64>(), 1..1_000), bits in 0..63) {
            check(&numbers);
            check(&numbers.iter().map(|number| number >> bits).collect::<Vec<_>>());
        }
    }
}
