//! One symbol's klines in all sixteen intervals, summed from its trades, independently of chartd's own candles.
//!
//! What holds: bars follow one another without a hole from the market's first millisecond on; each closes once;
//! sums are exact. A bar without trades is flat at the close before it.

use super::market::Trade;
use market::Timeframe;
use std::collections::VecDeque;

/// How many closed bars are kept for each interval.
const KEPT_BARS: usize = 10_000;

/// How many intervals there are; a kline stream names its interval by the index in [`Timeframe::ALL`].
pub(super) const INTERVALS: usize = Timeframe::ALL.len();

/// A bar. Prices and base volumes in units of 1e-8, quote volumes in units of 1e-16, times in ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bar {
    pub(super) open_ms: i64,
    /// The first millisecond past the bar.
    pub(super) end_ms: i64,
    pub(super) open: i64,
    pub(super) high: i64,
    pub(super) low: i64,
    pub(super) close: i64,
    /// -1 while there is no trade, as Binance says it.
    pub(super) first_id: i64,
    pub(super) last_id: i64,
    pub(super) trades: u64,
    pub(super) volume: i128,
    pub(super) quote: i128,
    /// The part of the volume in which the buyer was the taker.
    pub(super) buy_volume: i128,
    pub(super) buy_quote: i128,
}

impl Bar {
    fn flat(interval: Timeframe, time_ms: i64, price: i64) -> Self {
        let open_ms = interval.open_ms(time_ms);
        Self {
            open_ms,
            end_ms: interval.end_ms(open_ms),
            open: price,
            high: price,
            low: price,
            close: price,
            first_id: -1,
            last_id: -1,
            trades: 0,
            volume: 0,
            quote: 0,
            buy_volume: 0,
            buy_quote: 0,
        }
    }

    fn add(&mut self, trade: &Trade) {
        if self.trades == 0 {
            (self.open, self.high, self.low) = (trade.price, trade.price, trade.price);
            self.first_id = trade.id;
        }
        self.high = self.high.max(trade.price);
        self.low = self.low.min(trade.price);
        self.close = trade.price;
        self.last_id = trade.id;
        self.trades += 1;
        let (base, quote) = (i128::from(trade.quantity), trade.quote());
        self.volume += base;
        self.quote += quote;
        if !trade.buyer_is_maker {
            self.buy_volume += base;
            self.buy_quote += quote;
        }
    }
}

#[derive(Debug)]
pub(super) struct Klines {
    open: [Bar; INTERVALS],
    closed: [VecDeque<Bar>; INTERVALS],
}

impl Klines {
    /// Opens a bar in every interval at `price`.
    pub(super) fn new(time_ms: i64, price: i64) -> Self {
        Self {
            open: std::array::from_fn(|i| Bar::flat(Timeframe::ALL[i], time_ms, price)),
            closed: std::array::from_fn(|_| VecDeque::new()),
        }
    }

    pub(super) fn add(&mut self, trade: &Trade) {
        self.open.iter_mut().for_each(|bar| bar.add(trade));
    }

    /// Closes the bars that end at `time_ms` and opens their successors. To be called for every millisecond,
    /// before its trades.
    pub(super) fn close_due(&mut self, time_ms: i64, mut closed: impl FnMut(usize, &Bar)) {
        for (i, bar) in self.open.iter_mut().enumerate() {
            if time_ms < bar.end_ms {
                continue;
            }
            closed(i, bar);
            let next = Bar::flat(Timeframe::ALL[i], time_ms, bar.close);
            if self.closed[i].len() == KEPT_BARS {
                self.closed[i].pop_front();
            }
            self.closed[i].push_back(std::mem::replace(bar, next));
        }
    }

    /// The open bar and up to `count` - 1 closed ones before it, newest first.
    pub(super) fn newest(&self, interval: Timeframe, count: usize) -> impl Iterator<Item = &Bar> + Clone {
        // `Timeframe::ALL` lists the variants in their own order.
        let i = interval as usize;
        [&self.open[i]].into_iter().chain(self.closed[i].iter().rev()).take(count)
    }

    /// What the last `count` bars of an interval make together.
    pub(super) fn sum(&self, interval: Timeframe, count: usize) -> Bar {
        let mut sum = self.open[interval as usize].clone();
        for bar in self.newest(interval, count).skip(1) {
            (sum.open_ms, sum.open) = (bar.open_ms, bar.open);
            (sum.high, sum.low) = (sum.high.max(bar.high), sum.low.min(bar.low));
            sum.trades += bar.trades;
            sum.volume += bar.volume;
            sum.quote += bar.quote;
        }
        sum
    }

    /// The last day, in whole hours.
    pub(super) fn day(&self) -> Bar {
        self.sum(Timeframe::H1, 24)
    }

    /// The bars that are still open, by interval.
    pub(super) fn open(&self) -> &[Bar; INTERVALS] {
        &self.open
    }

    /// Up to `limit` bars that open within `[from_ms, to_ms]`, the open one included: the oldest of them where
    /// a start was asked for, else the newest.
    pub(super) fn range(
        &self,
        interval: usize,
        from_ms: Option<i64>,
        to_ms: Option<i64>,
        limit: usize,
    ) -> Vec<&Bar> {
        let bars = self.closed[interval].iter().chain([&self.open[interval]]);
        let within = bars.filter(|bar| {
            from_ms.is_none_or(|from| bar.open_ms >= from) && to_ms.is_none_or(|to| bar.open_ms <= to)
        });
        let mut chosen: Vec<&Bar> = within.collect();
        if from_ms.is_some() {
            chosen.truncate(limit);
        } else {
            chosen.drain(..chosen.len().saturating_sub(limit));
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_close_once_and_stay_flat_without_trades() {
        let mut klines = Klines::new(500, 70);
        let trade = Trade { id: 5, aggregate: 1, price: 90, quantity: 2, time_ms: 700, ..Trade::default() };
        klines.add(&trade);
        let mut closed = Vec::new();
        for time_ms in 501..=3_000 {
            klines.close_due(time_ms, |interval, bar| closed.push((interval, bar.clone())));
        }
        assert_eq!(
            closed.iter().map(|(i, bar)| (*i, bar.open_ms)).collect::<Vec<_>>(),
            [(0, 0), (0, 1_000), (0, 2_000)]
        );
        let (first, second) = (&closed[0].1, &closed[1].1);
        assert_eq!((first.open, first.first_id, first.trades, first.quote), (90, 5, 1, 180));
        assert_eq!((second.open, second.close, second.first_id, second.last_id), (90, 90, -1, -1));
        assert_eq!(klines.open()[1].trades, 1, "the minute goes on");
    }

    #[test]
    fn a_range_counts_from_the_end_unless_a_start_is_given() {
        let mut klines = Klines::new(0, 1);
        (1..=5_000).for_each(|time_ms| klines.close_due(time_ms, |_, _| ()));
        let opens = |from, to, limit| {
            klines.range(0, from, to, limit).iter().map(|bar| bar.open_ms / 1_000).collect::<Vec<_>>()
        };
        assert_eq!(opens(None, None, 2), [4, 5]);
        assert_eq!(opens(Some(1_000), None, 2), [1, 2]);
        assert_eq!(opens(Some(1_500), Some(3_000), 9), [2, 3]);
        assert_eq!(opens(None, Some(2_999), 9), [0, 1, 2]);
    }
}
