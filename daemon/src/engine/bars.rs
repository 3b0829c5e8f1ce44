//! A series of candles as it is published, and held against the venue's own candles.

use super::Output;
use chart_client::record_of;
use market::{CandleState, GRACE_MS, Kline, Series};
use shm::market::Origin;
use shm::status::{Counter, Stage};

#[derive(Debug)]
pub(super) struct LiveSeries {
    /// Its place in the market segment.
    pub(super) place: usize,
    pub(super) bars: Series,
    /// The end of the numbers last published.
    published_end: u64,
    /// The venue's own closed candle, until ours is closed too.
    kline: Option<Kline>,
}

impl LiveSeries {
    pub(super) fn new(place: usize, bars: Series) -> Self {
        Self { place, bars, published_end: 0, kline: None }
    }

    /// Goes on with the bars of an old one of the same timeframe.
    pub(super) fn inherit(&mut self, old: &mut Self) {
        let capacity = self.bars.capacity();
        std::mem::swap(&mut self.bars, &mut old.bars);
        self.bars.set_capacity(capacity);
        self.bars.touch_all();
        self.kline = old.kline.take();
    }

    /// The first time of the venue at which there is something to close or to compare.
    pub(super) fn deadline_ms(&self) -> i64 {
        let kline = self.kline.as_ref().map_or(i64::MAX, compared_at);
        match self.bars.next_deadline_ms() {
            i64::MIN => kline, // An empty series closes nothing.
            bars => bars.min(kline),
        }
    }

    /// Publishes what changed.
    pub(super) fn publish(&mut self, venue_ms: i64, output: &mut Output) {
        let changes = self.bars.take_changes();
        if changes.is_empty() {
            return;
        }
        let numbers = self.bars.numbers();
        let published =
            numbers.start.max(numbers.end.saturating_sub(output.market.candle_capacity()))..numbers.end;
        for number in changes.start.max(published.start)..changes.end {
            if let Some(bar) = self.bars.get(number) {
                output.market.candle(self.place, &record_of(number, bar));
            }
        }
        let only_newest = changes.start + 1 >= self.published_end;
        self.published_end = changes.end;
        let (receive_ns, decode_ns, now_ns) = (output.receive_ns, output.decode_ns, (output.now_ns)());
        let origin = Origin { venue_ms, receive_ns, decode_ns, now_ns };
        output.market.commit(self.place, published, only_newest, origin);
        output.status.recorder(Stage::Candle).record(now_ns.saturating_sub(decode_ns));
    }

    /// Remembers the venue's closed candle until ours is closed.
    pub(super) fn compare_later(&mut self, kline: Kline, output: &mut Output) {
        self.compare(i64::MAX, output);
        self.kline = Some(kline);
    }

    /// Compares the venue's closed candle with ours, once ours is closed by `watermark_ms`.
    pub(super) fn compare(&mut self, watermark_ms: i64, output: &mut Output) {
        let Some(kline) = self.kline else { return };
        if watermark_ms < compared_at(&kline) {
            return;
        }
        self.kline = None;
        // What we know to be incomplete is not compared.
        let whole = |state| matches!(state, CandleState::Traded | CandleState::Quiet);
        let found = self.bars.bars().rev().find(|bar| bar.open_ms <= kline.open_ms);
        let Some(ours) = found.filter(|bar| bar.open_ms == kline.open_ms && whole(bar.state)) else {
            return;
        };
        // What the venue does not tell is equal.
        let told = |theirs: Option<u64>, ours: u64| theirs.is_none_or(|theirs| theirs == ours);
        let ids_equal =
            ours.trades == 0 || told(kline.first_id, ours.first.id) && told(kline.last_id, ours.last.id);
        let equal = ids_equal
            && ours.ohlc == Some(kline.ohlc)
            && told(kline.trades, ours.trades)
            && ours.volume == i128::from(kline.volume)
            && kline.taker_buy_volume.is_none_or(|volume| ours.taker_buy_volume == i128::from(volume));
        output.count(if equal { Counter::KlinesEqual } else { Counter::KlinesDiffer }, 1);
    }
}

/// The first watermark with which a bar as long as the venue's candle is closed.
pub(super) fn compared_at(kline: &Kline) -> i64 {
    kline.timeframe.end_ms(kline.open_ms) + GRACE_MS + 1
}
