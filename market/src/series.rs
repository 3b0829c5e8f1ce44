//! A run of candles of one timeframe, built from trades.
//!
//! What holds: bars are consecutive, without holes in time; each keeps its number for ever; the newest
//! `capacity` bars are kept. A bar closes on the first trade past its end, or when the venue's watermark passes
//! its end by [`GRACE_MS`]. A trade for a closed bar amends it and raises its `rev`.

use crate::candle::Ohlc;
use crate::doubts::Doubts;
use crate::{Candle, CandleState, Timeframe, Trade};
use core::ops::Range;
use std::collections::VecDeque;

/// How far the watermark must pass a bar's end before the bar is closed without a trade past it.
///
/// Trades reach Binance's stream up to 214 ms after their time in the recording that chartd is tested on.
pub const GRACE_MS: i64 = 500;

/// What a trade did to its series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It went into the newest bar, or opened one.
    Current,
    /// It went into a bar that was closed.
    Amended,
    /// Its bar is no longer kept; nothing changed.
    TooLate,
}

/// Candles of one instrument and timeframe, oldest first.
#[derive(Debug, Clone)]
pub struct Series {
    timeframe: Timeframe,
    capacity: usize,
    bars: VecDeque<Candle>,
    /// Number of the oldest bar kept.
    first_number: u64,
    /// The first exchange time seen: spans that began earlier are partial.
    joined_ms: Option<i64>,
    watermark_ms: i64,
    /// Where trades may be missing.
    doubts: Doubts,
    /// The oldest bar changed since the last [`Series::take_changes`].
    changed_from: Option<u64>,
}

impl Series {
    /// An empty series that will keep the newest `capacity` bars (at least one). All its memory is taken here.
    pub fn new(timeframe: Timeframe, capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self {
            timeframe,
            capacity,
            bars: VecDeque::with_capacity(capacity),
            first_number: 0,
            joined_ms: None,
            watermark_ms: i64::MIN,
            doubts: Doubts::default(),
            changed_from: None,
        }
    }

    /// Keeps the newest `capacity` bars (at least one) from now on, which takes memory if that is more than before.
    pub fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity.max(1);
        while self.bars.len() > self.capacity {
            self.bars.pop_front();
            self.first_number += 1;
        }
        self.bars.reserve(self.capacity - self.bars.len());
    }

    /// How many bars it keeps.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Counts every bar as changed, so that the next [`Series::take_changes`] names them all.
    pub fn touch_all(&mut self) {
        self.changed_from = (!self.bars.is_empty()).then_some(self.first_number);
    }

    /// The length of its bars.
    pub fn timeframe(&self) -> Timeframe {
        self.timeframe
    }

    /// The bars kept, oldest first.
    pub fn bars(&self) -> impl ExactSizeIterator<Item = &Candle> + DoubleEndedIterator {
        self.bars.iter()
    }

    /// The numbers of the bars kept. A bar's number never changes, so the first of them tells how many are forgotten.
    pub fn numbers(&self) -> Range<u64> {
        self.first_number..self.first_number + self.bars.len() as u64
    }

    /// The bar with that number, if it is kept.
    pub fn get(&self, number: u64) -> Option<&Candle> {
        self.bars.get(usize::try_from(number.checked_sub(self.first_number)?).ok()?)
    }

    /// The numbers of all bars from the oldest changed since the last call; empty if none changed.
    pub fn take_changes(&mut self) -> Range<u64> {
        let numbers = self.numbers();
        match self.changed_from.take() {
            Some(from) => from.max(numbers.start)..numbers.end,
            None => numbers.end..numbers.end,
        }
    }

    /// Says that all trades from `time_ms` on are known, and none before. Later than the first bar it says nothing.
    pub fn join(&mut self, time_ms: i64) {
        if self.bars.is_empty() {
            self.joined_ms = Some(time_ms);
        }
    }

    /// Takes in a trade. The caller has made sure that it is no duplicate.
    pub fn trade(&mut self, trade: &Trade) -> Outcome {
        self.joined_ms.get_or_insert(trade.time_ms);
        let open_ms = self.timeframe.open_ms(trade.time_ms);
        let news = Candle::of_trade(open_ms, trade);
        match self.bars.back() {
            Some(last) if open_ms < last.open_ms => self.amend(open_ms, &news),
            Some(last) if open_ms == last.open_ms => {
                let index = self.bars.len() - 1;
                let was_closed = self.closed_at() < self.watermark_ms;
                let last = &mut self.bars[index];
                last.absorb(&news);
                // A quiet bar that trades after all is a traded one; `absorb` has seen to that.
                last.rev += u32::from(was_closed);
                self.touch(index);
                if was_closed { Outcome::Amended } else { Outcome::Current }
            }
            _ => {
                self.extend_to(open_ms);
                self.push(news);
                Outcome::Current
            }
        }
    }

    /// Tells that the venue's clock has reached `time_ms`, as proven by any message of the feed. Closes the bars
    /// that lie [`GRACE_MS`] behind it, and writes down as quiet those in which nothing traded.
    pub fn watermark(&mut self, time_ms: i64) {
        self.joined_ms.get_or_insert(time_ms);
        if time_ms <= self.watermark_ms {
            return;
        }
        self.watermark_ms = time_ms;
        while let Some(last) = self.bars.back() {
            let next_ms = self.timeframe.end_ms(last.open_ms);
            if self.timeframe.end_ms(next_ms) + GRACE_MS >= time_ms {
                break;
            }
            let open_ms = self.timeframe.open_ms(time_ms - GRACE_MS);
            if self.skipped_bars(open_ms) > self.capacity as i64 {
                self.restart(open_ms);
                break;
            }
            self.push_empty(next_ms);
        }
    }

    /// The first watermark with which [`Series::watermark`] changes a bar; the least of all times before there is one.
    pub fn next_deadline_ms(&self) -> i64 {
        let deadline =
            |last: &Candle| self.timeframe.end_ms(self.timeframe.end_ms(last.open_ms)) + GRACE_MS + 1;
        self.bars.back().map_or(i64::MIN, deadline)
    }

    /// Declares that trades may be missing in `span_ms`. Every bar that overlaps it, now or later, is a gap.
    pub fn mark_gap(&mut self, span_ms: Range<i64>) {
        if span_ms.is_empty() {
            return;
        }
        let overlapping = self.overlapping(&span_ms);
        for index in overlapping.clone() {
            if self.bars[index].state != CandleState::Gap {
                self.bars[index].doubt(CandleState::Gap);
                self.bars[index].rev += u32::from(self.is_closed(index));
                self.touch(index);
            }
        }
        self.doubts.add(span_ms);
        if let Some(last) = overlapping.last() {
            self.reflatten(last);
        }
        self.forget_old_doubts();
    }

    /// Declares that nothing is missing in `span_ms` any more but for `rest`. `span_ms` is one that was marked. Bars
    /// that are whole now say so.
    pub fn heal(&mut self, span_ms: &Range<i64>, rest: &[Option<Range<i64>>]) {
        if !self.doubts.remove(span_ms) {
            return; // It became one with another span, of which nothing is proven.
        }
        rest.iter().flatten().for_each(|span| self.doubts.add(span.clone()));
        let overlapping = self.overlapping(span_ms);
        for index in overlapping.clone() {
            let bar = &self.bars[index];
            let (open_ms, end_ms) = (bar.open_ms, self.timeframe.end_ms(bar.open_ms));
            if bar.state != CandleState::Gap || self.doubts.overlap(open_ms..end_ms) {
                continue;
            }
            let is_first = self.first_number + index as u64 == 0;
            let joined_inside = is_first && self.joined_ms.is_some_and(|joined| open_ms < joined);
            let before = self.known_close(index);
            let closed = self.is_closed(index);
            let bar = &mut self.bars[index];
            bar.state = match bar.trades {
                _ if joined_inside => CandleState::Partial,
                0 => CandleState::Quiet,
                _ => CandleState::Traded,
            };
            if bar.trades == 0 {
                bar.ohlc = before.map(Ohlc::flat);
            }
            bar.rev += u32::from(closed);
            self.touch(index);
        }
        if let Some(last) = overlapping.last() {
            self.reflatten(last); // The price behind it may be known again.
        }
    }

    /// The places of the bars that overlap a span.
    fn overlapping(&self, span_ms: &Range<i64>) -> Range<usize> {
        let first = self.bars.partition_point(|bar| self.timeframe.end_ms(bar.open_ms) <= span_ms.start);
        let end = self.bars.partition_point(|bar| bar.open_ms < span_ms.end);
        first..end.max(first)
    }

    fn is_closed(&self, index: usize) -> bool {
        let end_ms = self.timeframe.end_ms(self.bars[index].open_ms);
        end_ms + GRACE_MS < self.watermark_ms || index + 1 < self.bars.len()
    }

    /// The watermark past which the newest bar counts as closed.
    fn closed_at(&self) -> i64 {
        self.bars.back().map_or(i64::MAX, |last| self.timeframe.end_ms(last.open_ms) + GRACE_MS)
    }

    fn amend(&mut self, open_ms: i64, news: &Candle) -> Outcome {
        let index = self.bars.partition_point(|bar| bar.open_ms < open_ms);
        if self.bars[index].open_ms != open_ms {
            return Outcome::TooLate; // Older than the oldest bar kept: bars have no holes.
        }
        self.bars[index].absorb(news);
        self.bars[index].rev += 1;
        self.touch(index);
        self.reflatten(index);
        Outcome::Amended
    }

    /// Quiet bars after `index` are flat at its close, which may have changed, or may be known no more or again.
    fn reflatten(&mut self, index: usize) {
        for later in index + 1..self.bars.len() {
            let close = self.known_close(later);
            let bar = &mut self.bars[later];
            match bar.state {
                CandleState::Quiet if bar.close() != close => {
                    bar.ohlc = close.map(Ohlc::flat);
                    bar.rev += 1;
                    self.touch(later);
                }
                CandleState::Gap if bar.trades == 0 => {}
                _ => break,
            }
        }
    }

    /// The price at which the bar at `index` begins, unless a trade behind the last known one may be missing.
    fn known_close(&self, index: usize) -> Option<i64> {
        let before = self.bars.get(index.checked_sub(1)?)?;
        let known_from = if before.trades > 0 { before.last.time_ms + 1 } else { before.open_ms };
        let in_doubt = self.doubts.overlap(known_from..self.timeframe.end_ms(before.open_ms));
        before.close().filter(|_| !in_doubt)
    }

    /// Appends the empty bars between the newest one and the one that opens at `open_ms`.
    fn extend_to(&mut self, open_ms: i64) {
        if self.skipped_bars(open_ms) > self.capacity as i64 {
            self.restart(open_ms);
        }
        while let Some(last) = self.bars.back() {
            let next_ms = self.timeframe.end_ms(last.open_ms);
            if next_ms >= open_ms {
                break;
            }
            self.push_empty(next_ms);
        }
    }

    /// How many bars lie between the newest one and the one that opens at `open_ms`; about as many, for months.
    fn skipped_bars(&self, open_ms: i64) -> i64 {
        let Some(last) = self.bars.back() else { return 0 };
        let next_ms = self.timeframe.end_ms(last.open_ms);
        (open_ms - next_ms) / (next_ms - last.open_ms)
    }

    /// Forgets all bars, for as many lie between them and the one that opens at `open_ms` as are kept. Those in
    /// between are numbered and forgotten, too.
    fn restart(&mut self, open_ms: i64) {
        let skipped = self.skipped_bars(open_ms).max(0) as u64;
        self.first_number += self.bars.len() as u64 + skipped;
        self.bars.clear();
        self.changed_from = None;
    }

    fn push_empty(&mut self, open_ms: i64) {
        let close = self.known_close(self.bars.len());
        self.push(Candle::empty(open_ms, CandleState::Quiet, close));
    }

    fn push(&mut self, mut bar: Candle) {
        if self.joined_ms.is_some_and(|joined| bar.open_ms < joined) && self.bars.is_empty() {
            bar.doubt(CandleState::Partial);
        }
        let end_ms = self.timeframe.end_ms(bar.open_ms);
        if self.doubts.overlap(bar.open_ms..end_ms) {
            bar.doubt(CandleState::Gap);
        }
        if self.bars.len() == self.capacity {
            self.bars.pop_front();
            self.first_number += 1;
        }
        self.bars.push_back(bar);
        self.touch(self.bars.len() - 1);
        self.forget_old_doubts();
    }

    /// What ends before the oldest bar kept concerns no bar.
    fn forget_old_doubts(&mut self) {
        if let Some(first) = self.bars.front() {
            self.doubts.forget_before(first.open_ms);
        }
    }

    fn touch(&mut self, index: usize) {
        let number = self.first_number + index as u64;
        self.changed_from = Some(self.changed_from.map_or(number, |from| from.min(number)));
    }
}
