//! The bars that a chart has, and what is drawn of them: a column for each bar, or for each 2, 4, 8, … bars where
//! several share a pixel. What holds:
//!
//! - A bar has a number that it keeps; columns of 2^n bars begin at multiples of 2^n. So a picture that scrolls never
//!   groups the same bars differently.
//! - The lowest and the highest price of a column are exactly those of its bars.
//! - A change of the newest bar costs the same however many bars there are; so does reading any stretch of columns.

use crate::settings::SeriesKind;
use market::{Candle, CandleState, Ohlc, decimal};

/// What is drawn in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Column {
    /// When its first bar opens.
    pub open_ms: i64,
    /// The most doubtful state of its bars.
    pub state: CandleState,
    /// Prices; none where no bar has any.
    pub ohlc: Option<Ohlc>,
    /// Sum of the volumes.
    pub volume: i128,
    /// The part of it whose takers bought.
    pub bought: i128,
}

impl Column {
    fn of(candle: &Candle) -> Self {
        let Candle { open_ms, state, ohlc, volume, taker_buy_volume: bought, .. } = *candle;
        Self { open_ms, state, ohlc, volume, bought }
    }

    /// This and the later `other` as one.
    fn joined(self, other: &Self) -> Self {
        let ohlc = match (self.ohlc, other.ohlc) {
            (Some(mine), Some(theirs)) => Some(Ohlc {
                open: mine.open,
                high: mine.high.max(theirs.high),
                low: mine.low.min(theirs.low),
                close: theirs.close,
            }),
            (mine, theirs) => mine.or(theirs),
        };
        Self {
            ohlc,
            state: self.state.max(other.state),
            volume: self.volume.saturating_add(other.volume),
            bought: self.bought.saturating_add(other.bought),
            ..self
        }
    }

    /// The lowest and the highest of its four prices: a candle from elsewhere may have its open or close outside low
    /// and high.
    pub(crate) fn extent(&self) -> Option<(i64, i64)> {
        let Ohlc { open, high, low, close } = self.ohlc?;
        Some((low.min(high).min(open).min(close), high.max(low).max(open).max(close)))
    }
}

/// The most bars in a column are 2 to the power of this.
pub(crate) const MAX_LEVEL: u8 = 16;

/// All bars of a chart.
#[derive(Debug)]
pub(crate) struct Bars {
    kind: SeriesKind,
    /// How many are kept at least. Up to twice as many are, so that forgetting costs little.
    keep: usize,
    /// The number of the oldest.
    first: u64,
    candles: Vec<Candle>,
    /// Columns of one bar each.
    columns: Vec<Column>,
    /// At `n`, whole columns of 2^(n + 1) bars, oldest first.
    levels: Vec<Vec<Column>>,
    revision: u64,
    price_digits: u8,
    /// The most decimal places that a price has needed so far. Only grows, so that labels do not flicker.
    used_digits: u8,
}

impl Bars {
    /// No bars yet, of which `keep` will be kept, with prices in units of 10^-`price_digits`. Nothing is allocated later.
    pub(crate) fn new(kind: SeriesKind, keep: usize, price_digits: u8) -> Self {
        let room = 2 * keep.max(1);
        let levels = (1..=MAX_LEVEL).map(|level| Vec::with_capacity((room >> level) + 1)).collect();
        Self {
            kind,
            keep: keep.max(1),
            first: 0,
            candles: Vec::with_capacity(room),
            columns: Vec::with_capacity(room),
            levels,
            revision: 0,
            price_digits,
            used_digits: 0,
        }
    }

    /// Rises whenever a bar other than the newest changes, comes or goes.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// The most decimal places that a price has needed so far.
    pub(crate) fn used_digits(&self) -> u8 {
        self.used_digits
    }

    fn note_digits(&mut self, candle: &Candle) {
        let Some(Ohlc { open, high, low, close }) = candle.ohlc else { return };
        for price in [open, high, low, close] {
            let tick = 10i64.pow((self.price_digits - self.used_digits).into());
            if price % tick != 0 {
                self.used_digits = decimal::used_digits(price, self.price_digits);
            }
        }
    }

    /// The number of the oldest bar.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// The number after the newest bar's.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.candles.len() as u64
    }

    /// The bars, oldest first.
    pub(crate) fn candles(&self) -> &[Candle] {
        &self.candles
    }

    /// The number of the last bar that opens at or before `time_ms`; of the oldest, where there is none.
    pub(crate) fn at_time(&self, time_ms: i64) -> u64 {
        let after = self.candles.partition_point(|bar| bar.open_ms <= time_ms);
        self.first + after.saturating_sub(1) as u64
    }

    /// Forgets all bars; the next has number `first`.
    pub(crate) fn clear(&mut self, first: u64) {
        self.first = first;
        self.candles.clear();
        self.columns.clear();
        self.levels.iter_mut().for_each(Vec::clear);
        self.revision += 1;
    }

    /// Adds a bar that is newer than all others. Returns whether old ones were forgotten for it.
    pub(crate) fn push(&mut self, candle: Candle) -> bool {
        let forgets = self.is_full();
        if forgets {
            self.forget(self.keep);
        }
        self.note_digits(&candle);
        self.candles.push(candle);
        let column = self.derive(self.candles.len() - 1);
        self.columns.push(column);
        // The bar before is whole now, and what ends with it.
        self.complete(self.end() - 1);
        self.revision += 1;
        forgets
    }

    /// Whether the next bar makes it forget old ones.
    pub(crate) fn is_full(&self) -> bool {
        self.candles.len() == 2 * self.keep
    }

    /// Takes back the newest bar: all is as it was before it was added, which must not have made others be forgotten.
    pub(crate) fn pop(&mut self) {
        let Some(number) = self.end().checked_sub(1).filter(|_| self.candles.pop().is_some()) else { return };
        self.columns.pop();
        for level in
            (1..=MAX_LEVEL).take_while(|level| number.is_multiple_of(1 << level) && number > self.first)
        {
            self.levels[usize::from(level) - 1].pop();
        }
        self.revision -= 1;
    }

    /// The newest bar has changed.
    pub(crate) fn set_newest(&mut self, candle: Candle) {
        let Some(newest) = self.candles.last_mut() else { return };
        *newest = candle;
        self.note_digits(&candle);
        let place = self.candles.len() - 1;
        self.columns[place] = self.derive(place);
    }

    /// A bar has changed. Does nothing where there is no such bar; returns whether there is.
    pub(crate) fn amend(&mut self, number: u64, candle: Candle) -> bool {
        if number.checked_add(1) == Some(self.end()) {
            self.set_newest(candle);
            return !self.candles.is_empty();
        }
        let place = number.checked_sub(self.first).map(|place| place as usize);
        let Some(bar) = place.and_then(|place| self.candles.get_mut(place)) else { return false };
        *bar = candle;
        self.note_digits(&candle);
        self.summarise(number);
        true
    }

    /// Forgets the oldest `count` bars.
    fn forget(&mut self, count: usize) {
        self.candles.drain(..count);
        self.columns.drain(..count);
        self.first += count as u64;
        self.rebuild_levels();
    }

    /// Works out all columns from bar `number` on.
    fn summarise(&mut self, number: u64) {
        let place = (number - self.first) as usize;
        self.columns.truncate(place);
        for place in place..self.candles.len() {
            let column = self.derive(place);
            self.columns.push(column);
        }
        self.rebuild_levels();
        self.revision += 1;
    }

    fn rebuild_levels(&mut self) {
        self.levels.iter_mut().for_each(Vec::clear);
        for number in self.first + 1..self.end() {
            self.complete(number);
        }
    }

    /// Adds the columns that end before bar `number`, which is the newest.
    fn complete(&mut self, number: u64) {
        for level in 1..=MAX_LEVEL {
            if !number.is_multiple_of(1 << level) || number == self.first {
                return;
            }
            if let Some(column) = self.halves(level, (number >> level) - 1) {
                self.levels[usize::from(level) - 1].push(column);
            }
        }
    }

    /// Column `index` of 2^`level` bars, put together from its halves.
    fn halves(&self, level: u8, index: u64) -> Option<Column> {
        let [left, right] = [2 * index, 2 * index + 1].map(|half| self.column(level - 1, half));
        match (left, right) {
            (Some(left), Some(right)) => Some(left.joined(&right)),
            (left, right) => left.or(right),
        }
    }

    /// Column `index` of 2^`level` bars: those with numbers from `index << level` on. None where there is no bar.
    pub(crate) fn column(&self, level: u8, index: u64) -> Option<Column> {
        let place = index.checked_sub(self.first >> level)? as usize;
        let Some(level_below) = level.checked_sub(1) else { return self.columns.get(place).copied() };
        if index << level >= self.end() {
            return None;
        }
        let whole = self.levels[usize::from(level_below)].get(place).copied();
        whole.or_else(|| self.halves(level, index))
    }

    /// What is drawn of the bar at `place`. Those before it are there already.
    fn derive(&self, place: usize) -> Column {
        let candle = &self.candles[place];
        let mut column = Column::of(candle);
        if self.kind == SeriesKind::HeikinAshi {
            let before = self.columns[..place].last().and_then(|column| column.ohlc);
            column.ohlc = candle.ohlc.map(|ohlc| heikin_ashi(&ohlc, before.as_ref()));
        }
        column
    }
}

/// The Heikin-Ashi bar: close is the mean of the four prices, open the middle of the bar before. The first opens in the
/// middle of its own open and close. Rounded towards the lower price.
fn heikin_ashi(ohlc: &Ohlc, before: Option<&Ohlc>) -> Ohlc {
    let wide = |price: i64| i128::from(price);
    let mean = |sum: i128, count: i128| sum.div_euclid(count) as i64;
    let close = mean(wide(ohlc.open) + wide(ohlc.high) + wide(ohlc.low) + wide(ohlc.close), 4);
    let before = before.unwrap_or(ohlc);
    let open = mean(wide(before.open) + wide(before.close), 2);
    Ohlc { open, high: ohlc.high.max(open).max(close), low: ohlc.low.min(open).min(close), close }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candle(at: i64, price: i64, volume: i64) -> Candle {
        let ohlc = Ohlc { open: price, high: price + volume, low: price - volume, close: price + 1 };
        Candle { ohlc: Some(ohlc), volume: volume.into(), ..Candle::empty(at, CandleState::Traded, None) }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever happened before, each column is what joining its bars one by one gives.
        #[test]
        fn columns_are_the_joined_bars(
            first in 0..70u64,
            keep in 1..40usize,
            steps in prop::collection::vec((0..6u8, 0..100u64, -50..50i64, 0..9i64), 1..200),
        ) {
            let mut bars = Bars::new(SeriesKind::Candles, keep, 2);
            bars.clear(first);
            for (at, (kind, which, price, volume)) in steps.into_iter().enumerate() {
                let bar = candle(at as i64, price, volume);
                // A bar that is taken back leaves nothing behind.
                if !bars.is_full() {
                    let revision = bars.revision();
                    bars.push(bar);
                    bars.pop();
                    prop_assert_eq!(bars.revision(), revision);
                }
                match kind {
                    0 => bars.set_newest(bar),
                    1 => _ = bars.amend(bars.first() + which, bar),
                    _ => _ = bars.push(bar),
                }
                prop_assert!(bars.candles.len() <= 2 * keep);
                for level in 0..=MAX_LEVEL {
                    let end = bars.end().checked_sub(1).map_or(0, |newest| (newest >> level) + 1);
                    for index in 0..end + 1 {
                        let group = (index << level..(index + 1) << level)
                            .take_while(|number| *number < bars.end())
                            .skip_while(|number| *number < bars.first());
                        let joined = group
                            .map(|number| Column::of(&bars.candles[(number - bars.first()) as usize]))
                            .reduce(|all, next| all.joined(&next));
                        prop_assert_eq!(bars.column(level, index), joined, "level {} at {}", level, index);
                    }
                }
            }
        }
    }

    #[test]
    fn heikin_ashi_follows_its_recurrence() {
        let mut bars = Bars::new(SeriesKind::HeikinAshi, 10, 2);
        let ohlc = |open, high, low, close| Ohlc { open, high, low, close };
        for (at, ohlc) in [ohlc(100, 110, 90, 104), ohlc(104, 120, 100, 118), ohlc(118, 119, 80, 82)]
            .into_iter()
            .enumerate()
        {
            bars.push(Candle { ohlc: Some(ohlc), ..Candle::empty(at as i64, CandleState::Traded, None) });
        }
        let shown: Vec<_> = bars.columns.iter().map(|column| column.ohlc.unwrap()).collect();
        assert_eq!(shown, [ohlc(102, 110, 90, 101), ohlc(101, 120, 100, 110), ohlc(105, 119, 80, 99)]);
    }
}
