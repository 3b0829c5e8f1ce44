//! What volume tells: the average price weighted by it, and the balance of rising and falling bars.

use super::window::SlidingSum;
use super::{Anchor, Bar, Length, Study, Values};

const DAY_MS: i64 = 86_400_000;

/// More volume or money in one bar than this counts as this much, so that a thousand bars cannot overflow. At 8
/// decimal places for both numbers it is a volume of 10^25, or money of 10^17.
const MOST: i128 = 1 << 110;

/// Three times the money of a bar: in whole units even where it is volume × typical price, (high + low + close) ÷ 3,
/// because no trade told the money.
fn threefold_money(bar: &Bar) -> i128 {
    let threefold = if bar.quote_volume != 0 {
        bar.quote_volume.saturating_mul(3)
    } else {
        let ohlc = bar.ohlc;
        let threefold_price: i128 = [ohlc.high, ohlc.low, ohlc.close].map(i128::from).iter().sum();
        threefold_price.saturating_mul(bar.volume)
    };
    threefold.clamp(-MOST, MOST)
}

fn volume(bar: &Bar) -> i128 {
    bar.volume.clamp(0, MOST)
}

/// Money ÷ volume. Nothing traded: no price.
fn average_price(bar: &Bar, threefold_money: i128, volume: i128) -> Option<f64> {
    (volume > 0).then(|| bar.price(threefold_money as f64 / 3.0 / volume as f64))
}

/// The average price of all volume since the day began, or ever.
#[derive(Clone, Copy)]
pub(super) struct Vwap {
    by_day: bool,
    day: i64,
    threefold_money: i128,
    volume: i128,
}

impl Vwap {
    pub(super) fn new(anchor: Anchor) -> Self {
        Self { by_day: anchor == Anchor::Day, day: 0, threefold_money: 0, volume: 0 }
    }

    fn after(mut self, bar: &Bar) -> Self {
        let day = bar.open_ms.div_euclid(DAY_MS);
        if self.by_day && day != self.day {
            self = Self { day, threefold_money: 0, volume: 0, ..self };
        }
        self.threefold_money = self.threefold_money.saturating_add(threefold_money(bar));
        self.volume = self.volume.saturating_add(volume(bar));
        self
    }
}

impl Study for Vwap {
    fn preview(&self, bar: &Bar) -> Values {
        let after = self.after(bar);
        Values::one(average_price(bar, after.threefold_money, after.volume))
    }

    fn take(&mut self, bar: &Bar) {
        *self = self.after(bar);
    }
}

/// The average price of the volume of the last bars.
pub(super) struct RollingVwap {
    threefold_money: SlidingSum<i128>,
    volume: SlidingSum<i128>,
}

impl RollingVwap {
    pub(super) fn new(len: Length) -> Self {
        Self { threefold_money: SlidingSum::new(len), volume: SlidingSum::new(len) }
    }
}

impl Study for RollingVwap {
    fn preview(&self, bar: &Bar) -> Values {
        let money = self.threefold_money.full_with(threefold_money(bar));
        let both = money.zip(self.volume.full_with(volume(bar)));
        Values::one(both.and_then(|(money, volume)| average_price(bar, money, volume)))
    }

    fn take(&mut self, bar: &Bar) {
        self.threefold_money.push(threefold_money(bar));
        self.volume.push(volume(bar));
    }
}

/// On-balance volume: the volume of bars that closed higher, less that of bars that closed lower.
#[derive(Clone, Copy, Default)]
pub(super) struct Obv {
    previous_close: Option<i64>,
    balance: i128,
}

impl Obv {
    fn after(self, bar: &Bar) -> Self {
        let close = bar.ohlc.close;
        let balance = match self.previous_close {
            None => bar.volume,
            Some(previous) if close > previous => self.balance.saturating_add(bar.volume),
            Some(previous) if close < previous => self.balance.saturating_sub(bar.volume),
            Some(_) => self.balance,
        };
        Self { previous_close: Some(close), balance }
    }
}

impl Study for Obv {
    fn preview(&self, bar: &Bar) -> Values {
        Values::one(Some(bar.quantity(self.after(bar).balance as f64)))
    }

    fn take(&mut self, bar: &Bar) {
        *self = self.after(bar);
    }
}
