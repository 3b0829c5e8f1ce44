//! Technical indicators, computed bar by bar.
//!
//! What holds:
//!
//! - **These are analysis, not money.** Values are `f64`. What goes in are a candle's exact integers, and every sum
//!   over a window is kept in integers, so no error builds up, however many bars go by. Averages that never end
//!   (EMA, RMA and what is made of them) are `f64` throughout: each step shrinks the errors of those before.
//! - A bar costs the same however long the window is, and a preview of an unfinished bar costs no more.
//! - Nothing allocates but [`Indicator::new`].
//! - No bar makes anything panic. Where an indicator has no value yet there is none, never a made-up one.
//!
//! Seeds and edge cases follow TA-Lib, which the tests hold every indicator against; where they do not, the
//! indicator's entry in [`IndicatorSpec`] says so.
//!
//! ```
//! use market::{Candle, CandleState};
//! use market::indicator::{Bar, Indicator};
//!
//! let mut average = Indicator::new("sma(2)".parse()?);
//! let bar = |price| Bar::of(&Candle::empty(0, CandleState::Quiet, Some(price)), 2, 8).unwrap();
//! assert_eq!(average.close(&bar(100)).get(0), None);
//! assert_eq!(average.close(&bar(200)).get(0), Some(1.5));
//! assert_eq!(average.preview(&bar(400)).get(0), Some(3.0)); // The newest bar, while it still changes:
//! assert_eq!(average.close(&bar(300)).get(0), Some(2.5)); // as if there had been no preview.
//! # Ok::<(), market::indicator::IndicatorError>(())
//! ```

mod average;
mod momentum;
mod spec;
mod volatility;
mod volume;
mod window;

pub use spec::{Anchor, IndicatorError, IndicatorSpec, Length, Seed, Width};

use crate::{Candle, Ohlc, decimal};

/// The most lines that an indicator has.
pub const MAX_LINES: usize = 3;

/// What an indicator says of one bar: a value for each of its [`IndicatorSpec::lines`], or none yet.
#[derive(Debug, Clone, Copy)]
pub struct Values([f64; MAX_LINES]);

impl Values {
    /// No value on any line.
    pub const NONE: Self = Self([f64::NAN; MAX_LINES]);

    /// The value on a line, in the order of [`IndicatorSpec::lines`]; `None` while there is none.
    pub fn get(&self, line: usize) -> Option<f64> {
        self.0.get(line).copied().filter(|value| !value.is_nan())
    }

    /// All lines, with NaN where there is no value.
    pub const fn raw(&self) -> &[f64; MAX_LINES] {
        &self.0
    }

    fn one(value: Option<f64>) -> Self {
        Self([value.unwrap_or(f64::NAN), f64::NAN, f64::NAN])
    }
}

/// What indicators see of a candle: integers, and what their units are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bar {
    /// Where the candle's span begins.
    pub open_ms: i64,
    /// Prices, in units of 10^-`price_digits`.
    pub ohlc: Ohlc,
    /// Sum of quantities, in units of 10^-`qty_digits`.
    pub volume: i128,
    /// Sum of price × quantity, in units of 10^-(`price_digits` + `qty_digits`); 0 where it is not known.
    pub quote_volume: i128,
    /// Decimal places of prices, the same for all bars of an indicator; at most [`decimal::MAX_DIGITS`].
    pub price_digits: u8,
    /// Decimal places of quantities, likewise.
    pub qty_digits: u8,
}

impl Bar {
    /// A candle of an instrument with these digits. A gap without a trade has no price, and is no bar: indicators
    /// pass over it.
    pub fn of(candle: &Candle, price_digits: u8, qty_digits: u8) -> Option<Self> {
        let Candle { open_ms, volume, quote_volume, .. } = *candle;
        candle.ohlc.map(|ohlc| Self { open_ms, ohlc, volume, quote_volume, price_digits, qty_digits })
    }

    /// A price that was computed in units of the last place, as a plain number.
    fn price(&self, units: f64) -> f64 {
        units / power_of_ten(self.price_digits)
    }

    /// A quantity, likewise.
    fn quantity(&self, units: f64) -> f64 {
        units / power_of_ten(self.qty_digits)
    }
}

/// 10^`digits`, which `f64` holds exactly up to 10^22.
fn power_of_ten(digits: u8) -> f64 {
    10u64.pow(digits.min(decimal::MAX_DIGITS).into()) as f64
}

/// `a - b`, which may not fit in 64 bits.
fn difference(a: i64, b: i64) -> f64 {
    (i128::from(a) - i128::from(b)) as f64
}

/// What each indicator does. The values of a finished bar are those of its preview by construction; see
/// [`Indicator::close`].
trait Study: Send + Sync {
    /// The values with `bar` as the newest.
    fn preview(&self, bar: &Bar) -> Values;
    /// Takes `bar` in.
    fn take(&mut self, bar: &Bar);
}

/// One indicator over one run of candles, oldest first.
///
/// An amendment of a bar that was closed before cannot be taken in: compute anew from a bar before it.
pub struct Indicator {
    spec: IndicatorSpec,
    study: Box<dyn Study>,
}

impl Indicator {
    /// An indicator that has seen no bar. All its memory is taken here.
    pub fn new(spec: IndicatorSpec) -> Self {
        let study: Box<dyn Study> = match spec {
            IndicatorSpec::Sma { len } => Box::new(average::Sma::new(len)),
            IndicatorSpec::Ema { len, seed } => Box::new(average::Recursive::ema(len, seed)),
            IndicatorSpec::Wma { len } => Box::new(average::Wma::new(len)),
            IndicatorSpec::Rma { len } => Box::new(average::Recursive::rma(len)),
            IndicatorSpec::Vwap { anchor: Anchor::Bars(len) } => Box::new(volume::RollingVwap::new(len)),
            IndicatorSpec::Vwap { anchor } => Box::new(volume::Vwap::new(anchor)),
            IndicatorSpec::Bollinger { len, width } => Box::new(volatility::Bollinger::new(len, width)),
            IndicatorSpec::Rsi { len } => Box::new(momentum::Rsi::new(len)),
            IndicatorSpec::Macd { fast, slow, signal } => Box::new(momentum::Macd::new(fast, slow, signal)),
            IndicatorSpec::Atr { len } => Box::new(volatility::Atr::new(len)),
            IndicatorSpec::Stochastic { len, smooth, signal } => {
                Box::new(momentum::Stochastic::new(len, smooth, signal))
            }
            IndicatorSpec::Obv => Box::new(volume::Obv::default()),
        };
        Self { spec, study }
    }

    /// What it computes.
    pub fn spec(&self) -> IndicatorSpec {
        self.spec
    }

    /// Takes in a bar that is finished, and returns its values.
    pub fn close(&mut self, bar: &Bar) -> Values {
        let values = self.study.preview(bar);
        self.study.take(bar);
        values
    }

    /// What [`Indicator::close`] would return. Nothing changes: the newest bar may come again, with other prices.
    pub fn preview(&self, bar: &Bar) -> Values {
        self.study.preview(bar)
    }
}

impl core::fmt::Debug for Indicator {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Indicator({})", self.spec)
    }
}
