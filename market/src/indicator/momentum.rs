//! Where prices are heading: RSI, MACD and the stochastic oscillator.

use super::average::Recursive;
use super::window::{Highest, SlidingSum};
use super::{Bar, Length, Seed, Study, Values, difference};

/// Wilder's relative strength index: what part of all movement went upwards, in percent.
#[derive(Clone, Copy)]
pub(super) struct Rsi {
    gain: Recursive,
    loss: Recursive,
    previous_close: Option<i64>,
}

impl Rsi {
    pub(super) fn new(len: Length) -> Self {
        Self { gain: Recursive::rma(len), loss: Recursive::rma(len), previous_close: None }
    }

    fn after(mut self, close: i64) -> Self {
        if let Some(previous) = self.previous_close {
            let change = difference(close, previous);
            self.gain = self.gain.after(change.max(0.0));
            self.loss = self.loss.after((-change).max(0.0));
        }
        self.previous_close = Some(close);
        self
    }

    fn value(self) -> Option<f64> {
        let (gain, loss) = self.gain.value().zip(self.loss.value())?;
        let movement = gain + loss;
        // After thousands of bars without movement only the dregs of the last one are left, rounded beyond
        // meaning: that is none.
        Some(if movement < f64::MIN_POSITIVE { 0.0 } else { 100.0 * (gain / movement) })
    }
}

impl Study for Rsi {
    fn preview(&self, bar: &Bar) -> Values {
        Values::one(self.after(bar.ohlc.close).value())
    }

    fn take(&mut self, bar: &Bar) {
        *self = self.after(bar.ohlc.close);
    }
}

/// The difference of a fast and a slow EMA, an EMA of that, and the difference of the two.
#[derive(Clone, Copy)]
pub(super) struct Macd {
    /// Bars that the fast average leaves out, so that both have their first value at the same bar.
    fast_waits: usize,
    fast: Recursive,
    slow: Recursive,
    signal: Recursive,
}

impl Macd {
    pub(super) fn new(fast: Length, slow: Length, signal: Length) -> Self {
        let fast_waits = slow.bars().saturating_sub(fast.bars());
        let [fast, slow, signal] = [fast, slow, signal].map(|len| Recursive::ema(len, Seed::Sma));
        Self { fast_waits, fast, slow, signal }
    }

    fn after(mut self, close: i64) -> Self {
        match self.fast_waits {
            0 => self.fast = self.fast.after(close as f64),
            _ => self.fast_waits -= 1,
        }
        self.slow = self.slow.after(close as f64);
        if let Some(difference) = self.difference() {
            self.signal = self.signal.after(difference);
        }
        self
    }

    fn difference(self) -> Option<f64> {
        self.fast.value().zip(self.slow.value()).map(|(fast, slow)| fast - slow)
    }
}

impl Study for Macd {
    fn preview(&self, bar: &Bar) -> Values {
        let after = self.after(bar.ohlc.close);
        match after.difference().zip(after.signal.value()) {
            Some((macd, signal)) => Values([macd, signal, macd - signal].map(|units| bar.price(units))),
            None => Values::NONE,
        }
    }

    fn take(&mut self, bar: &Bar) {
        *self = self.after(bar.ohlc.close);
    }
}

/// Where the close lies between the lowest and the highest price of the last bars, in percent, smoothed twice.
pub(super) struct Stochastic {
    highest: Highest,
    /// The lowest of all lows is the highest of all `!low`: `!` turns the order round and, unlike `-`, cannot
    /// overflow.
    highest_not_low: Highest,
    k: SmoothedPercent,
    d: SmoothedPercent,
}

impl Stochastic {
    pub(super) fn new(len: Length, smooth: Length, signal: Length) -> Self {
        Self {
            highest: Highest::new(len),
            highest_not_low: Highest::new(len),
            k: SmoothedPercent::new(smooth),
            d: SmoothedPercent::new(signal),
        }
    }

    /// %K, as yet unsmoothed.
    fn raw(&self, bar: &Bar) -> Option<Percent> {
        let high = self.highest.full_with(bar.ohlc.high)?;
        let low = !self.highest_not_low.full_with(!bar.ohlc.low)?;
        let range = difference(high, low);
        let part = if range == 0.0 { 0.0 } else { difference(bar.ohlc.close, low) / range };
        Some(Percent::new(100.0 * part))
    }
}

impl Study for Stochastic {
    fn preview(&self, bar: &Bar) -> Values {
        let k = self.raw(bar).and_then(|raw| self.k.with(raw));
        match k.and_then(|k| Some((k, self.d.with(k)?))) {
            Some((k, d)) => Values([k.get(), d.get(), f64::NAN]),
            None => Values::NONE,
        }
    }

    fn take(&mut self, bar: &Bar) {
        if let Some(raw) = self.raw(bar) {
            if let Some(k) = self.k.with(raw) {
                self.d.push(k);
            }
            self.k.push(raw);
        }
        self.highest.push(bar.ohlc.high);
        self.highest_not_low.push(!bar.ohlc.low);
    }
}

/// A number from 0 to 100 in units of 2^-56, so that sums of it are exact.
#[derive(Clone, Copy, Default)]
struct Percent(i64);

impl Percent {
    /// 2^56.
    const ONE: f64 = (1u64 << 56) as f64;

    /// A close outside its bar's range gives less than 0 or more than 100; 128 is where it saturates.
    fn new(percent: f64) -> Self {
        Self((percent * Self::ONE) as i64)
    }

    fn get(self) -> f64 {
        self.0 as f64 / Self::ONE
    }
}

impl From<Percent> for i128 {
    fn from(percent: Percent) -> Self {
        percent.0.into()
    }
}

/// The mean of the last percentages.
struct SmoothedPercent {
    len: i128,
    sum: SlidingSum<Percent>,
}

impl SmoothedPercent {
    fn new(len: Length) -> Self {
        Self { len: len.bars() as i128, sum: SlidingSum::new(len) }
    }

    fn with(&self, percent: Percent) -> Option<Percent> {
        // A mean of 64-bit numbers fits in 64 bits.
        self.sum.full_with(percent).map(|sum| Percent((sum / self.len) as i64))
    }

    fn push(&mut self, percent: Percent) {
        self.sum.push(percent);
    }
}
