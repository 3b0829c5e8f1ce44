//! Candles to draw, the same on every run.
#![allow(dead_code)] // Each test file uses some of it.

pub(crate) mod probe;
pub(crate) mod recorded;
pub(crate) mod steps;

use chart::{Frame, Look, Settings, Theme, raster, scene::Scene};
use jiff::tz::TimeZone;
use market::{Candle, CandleState, Ohlc, Timeframe};

/// 2026-11-20 06:00 UTC.
pub(crate) const START_MS: i64 = 1_795_154_400_000;

/// Settings for minute bars with two decimal places.
pub(crate) fn settings(width: u32, height: u32, theme: Theme) -> Settings {
    Settings {
        width,
        height,
        theme,
        time_zone: TimeZone::get("Europe/Berlin").unwrap(),
        title: "binance:BTCUSDT".to_owned(),
        timeframe: Timeframe::M1,
        price_digits: 2,
        qty_digits: 5,
        history: 2_000,
        look: Look::default(),
    }
}

/// A small random number generator (xorshift), so that pictures are the same everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit) as i64
    }
}

/// A bar with these prices and some volume.
pub(crate) fn bar(open_ms: i64, state: CandleState, ohlc: Ohlc, volume: i64) -> Candle {
    let empty = Candle::empty(open_ms, state, None);
    let (volume, bought) = (volume.into(), (volume / 2 + volume % 7_919).into());
    Candle { ohlc: Some(ohlc), volume, taker_buy_volume: bought, trades: 10, ..empty }
}

/// A random walk of minute bars.
pub(crate) fn walk(count: usize, seed: u64) -> Vec<Candle> {
    let mut random = Random(seed);
    let mut close = 6_183_763;
    let step = |random: &mut Random| random.below(4_001) - 2_000 + random.below(1_001) - 500;
    (0..count as i64)
        .map(|index| {
            let open = close;
            close += step(&mut random);
            let high = open.max(close) + random.below(1_200);
            let low = open.min(close) - random.below(1_200);
            let volume = 50_000 + random.below(2_000_000) + (high - low) * random.below(2_000);
            bar(START_MS + index * 60_000, CandleState::Traded, Ohlc { open, high, low, close }, volume)
        })
        .collect()
}

/// The same walk, with holes, doubt and silence in it.
pub(crate) fn doubtful_walk(count: usize, seed: u64) -> Vec<Candle> {
    let mut bars = walk(count, seed);
    bars[0].state = CandleState::Partial;
    for at in [count / 3, count / 3 + 1, count / 3 + 2, count / 3 + 3] {
        bars[at] = Candle::empty(bars[at].open_ms, CandleState::Gap, None);
    }
    for at in [count / 3 - 1, count / 3 + 4] {
        bars[at].state = CandleState::Gap;
    }
    for at in count / 2..count / 2 + 3 {
        bars[at] = Candle::empty(bars[at].open_ms, CandleState::Quiet, bars[count / 2 - 1].close());
    }
    bars[count * 3 / 4].state = CandleState::Partial;
    bars[count - 1].state = CandleState::Gap;
    bars
}

/// The scene drawn anew, all of it.
pub(crate) fn drawn(scene: &Scene) -> Frame {
    let bounds = scene.bounds();
    let mut frame = Frame::new(bounds.w.into(), bounds.h.into()).unwrap();
    raster::draw(scene, bounds, &mut frame);
    frame
}
