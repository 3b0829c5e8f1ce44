//! Averages of closing prices: simple, weighted, exponential, and Wilder's.

use super::window::{SlidingSum, Window};
use super::{Bar, Length, Seed, Study, Values};

/// The mean of the last `len` closes.
pub(super) struct Sma {
    len: f64,
    sum: SlidingSum<i64>,
}

impl Sma {
    pub(super) fn new(len: Length) -> Self {
        Self { len: len.bars() as f64, sum: SlidingSum::new(len) }
    }
}

impl Study for Sma {
    fn preview(&self, bar: &Bar) -> Values {
        let sum = self.sum.full_with(bar.ohlc.close);
        Values::one(sum.map(|sum| bar.price(sum as f64 / self.len)))
    }

    fn take(&mut self, bar: &Bar) {
        self.sum.push(bar.ohlc.close);
    }
}

/// The mean of the last `len` closes with weights 1 to `len`, the newest the heaviest.
pub(super) struct Wma {
    /// Sum of the weights.
    weights: f64,
    window: Window<i64>,
    sum: i128,
    weighted: i128,
}

impl Wma {
    pub(super) fn new(len: Length) -> Self {
        let weights = (len.bars() * (len.bars() + 1) / 2) as f64;
        Self { weights, window: Window::new(len), sum: 0, weighted: 0 }
    }

    /// Both sums with `close` in: each older close has lost one of its weight, and the one that leaves had one.
    fn with(&self, close: i64) -> (i128, i128) {
        let leaving = self.window.leaving().map_or(0, i128::from);
        let weight = self.window.count_with_next() as i128;
        let lost = if self.window.leaving().is_some() { self.sum } else { 0 };
        let close = i128::from(close);
        (self.sum + close - leaving, self.weighted - lost + weight * close)
    }
}

impl Study for Wma {
    fn preview(&self, bar: &Bar) -> Values {
        let (_, weighted) = self.with(bar.ohlc.close);
        let value = || bar.price(weighted as f64 / self.weights);
        Values::one(self.window.full_with_next().then(value))
    }

    fn take(&mut self, bar: &Bar) {
        (self.sum, self.weighted) = self.with(bar.ohlc.close);
        self.window.push(bar.ohlc.close);
    }
}

/// An average that takes a part of the way to each new number: EMA, or RMA, which is Wilder's.
///
/// It begins as the mean of the first numbers. An error made in one step shrinks with every later one.
#[derive(Clone, Copy)]
pub(super) struct Recursive {
    /// How many numbers the first value is the mean of.
    seed: u32,
    /// How many of them have come.
    seen: u32,
    /// The part of the way to a new number is one in this many.
    steps: f64,
    /// The value; until the seed is complete, the sum of it.
    value: f64,
}

impl Recursive {
    /// α = 2 ÷ (len + 1).
    pub(super) fn ema(len: Length, seed: Seed) -> Self {
        let seed = if seed == Seed::Sma { len.bars() as u32 } else { 1 };
        Self { seed, seen: 0, steps: (len.bars() + 1) as f64 / 2.0, value: 0.0 }
    }

    /// α = 1 ÷ len, as Wilder smooths.
    pub(super) fn rma(len: Length) -> Self {
        Self { seed: len.bars() as u32, seen: 0, steps: len.bars() as f64, value: 0.0 }
    }

    /// What it is once `number` is in.
    pub(super) fn after(mut self, number: f64) -> Self {
        if self.seen < self.seed {
            self.seen += 1;
            self.value += number;
            if self.seen == self.seed {
                self.value /= f64::from(self.seed);
            }
        } else {
            self.value += (number - self.value) / self.steps;
        }
        self
    }

    pub(super) fn value(self) -> Option<f64> {
        (self.seen == self.seed).then_some(self.value)
    }
}

impl Study for Recursive {
    fn preview(&self, bar: &Bar) -> Values {
        let value = self.after(bar.ohlc.close as f64).value();
        Values::one(value.map(|value| bar.price(value)))
    }

    fn take(&mut self, bar: &Bar) {
        *self = self.after(bar.ohlc.close as f64);
    }
}
