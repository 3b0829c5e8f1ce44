//! An instrument: its trades, what is missing of them, and the candles that follow.
//!
//! What holds: no bar is called traded or quiet while it is known that a trade of it may be missing. A trade that
//! comes late or is fetched fills its hole; the bars that it makes whole say so again.

use super::bars::LiveSeries;
use super::books::Books;
use super::stream::Stream;
use super::{Output, Shift, Want};
use market::protocol::{Missing, Proof, Protocol};
use market::{
    Checked, Filled, GRACE_MS, InstrumentId, Integrity, Kline, Outcome, Scale, Trade, TradeSequence,
};
use shm::market::StreamKind;
use shm::status::Counter;
use std::ops::Range;

/// Trades that were overtaken come within this time: only then is it worth asking for them.
const ASK_AFTER_NS: u64 = 500_000_000;
/// What was asked for is asked for again after so long.
const ASK_AGAIN_NS: u64 = 60_000_000_000;
/// A trade that the venue speaks of elsewhere comes within this time on its own stream, or not at all.
const CLAIM_NS: u64 = 1_000_000_000;

/// An instrument and what is known of it.
#[derive(Debug)]
pub(super) struct Tracked {
    /// Its place in the market segment.
    place: usize,
    proof: Proof,
    sequence: TradeSequence,
    last_trade_ms: i64,
    /// Set while it is not proven that no trade was lost.
    doubt: Option<Doubt>,
    /// A trade that the venue has spoken of and that has not come, and since when.
    claim: Option<(u64, u64)>,
    stream: Stream,
    pub(super) books: Books,
    pub(super) series: Vec<LiveSeries>,
}

/// A time in which trades may have been lost, in exchange time.
#[derive(Debug, Clone, Copy)]
struct Doubt {
    from_ms: i64,
    /// When messages came again; the greatest of all times if only the next trade will show it.
    until_ms: Option<i64>,
}

impl Tracked {
    pub(super) fn new(place: usize, scale: Scale, series: Vec<LiveSeries>, protocol: &dyn Protocol) -> Self {
        Self {
            place,
            proof: protocol.proof(),
            sequence: TradeSequence::default(),
            last_trade_ms: i64::MIN,
            doubt: None,
            claim: None,
            stream: Stream::new(StreamKind::Trades),
            books: Books::new(place, scale, protocol),
            series,
        }
    }

    pub(super) fn inherit(&mut self, old: &mut Self, output: &mut Output) {
        std::mem::swap(&mut self.sequence, &mut old.sequence);
        std::mem::swap(&mut self.stream, &mut old.stream);
        (self.last_trade_ms, self.doubt, self.claim) = (old.last_trade_ms, old.doubt, old.claim);
        self.stream.publish(self.place, output);
        self.books.inherit(&mut old.books, output);
        for live in &mut self.series {
            let same = |old: &&mut LiveSeries| old.bars.timeframe() == live.bars.timeframe();
            if let Some(old) = old.series.iter_mut().find(same) {
                live.inherit(old);
                live.publish(self.last_trade_ms, output);
            }
        }
    }

    /// Goes on in another run, which knows nothing of what this one has asked for or was told.
    pub(super) fn resume(&mut self, shift: Shift) {
        if self.claim.take().is_some() && self.last_trade_ms > i64::MIN {
            let from_ms = self.last_trade_ms;
            let doubt = self.doubt.get_or_insert(Doubt { from_ms, until_ms: None });
            doubt.from_ms = doubt.from_ms.min(from_ms);
        }
        for hole in self.sequence.holes_mut() {
            (hole.is_asked, hole.since_ns) = (false, 0);
        }
        self.stream.resume(shift);
        self.books.resume(shift);
    }

    /// A connection was made and subscribed.
    pub(super) fn connected(&mut self, output: &Output) {
        self.stream.subscribed(output.receive_ns);
        self.books.connected(output);
    }

    /// From `from_ms` on trades may have been lost, until messages come again.
    pub(super) fn doubt_from(&mut self, from_ms: i64) {
        self.doubt.get_or_insert(Doubt { from_ms, until_ms: None }).until_ms = None;
    }

    /// Messages of all instruments were lost together.
    pub(super) fn lost(&mut self, gap: Integrity, output: &mut Output) {
        self.stream.judge(gap, self.place, output);
        self.books.missed_on(0, gap, output);
    }

    /// A trade at that time is not known.
    pub(super) fn missed(&mut self, event_ms: i64, output: &mut Output) {
        self.stream.judge(Integrity::Gap { from: 0, to: 0 }, self.place, output);
        output.count(Counter::MissingTrades, 1);
        self.doubt_from(event_ms);
    }

    /// Takes a trade of the stream. One that is past shows where the numbers stand, and is counted if it was missed.
    pub(super) fn trade(&mut self, trade: &Trade, is_past: bool, output: &mut Output) {
        let missing_ms = self.span_of_missing(trade.time_ms);
        let integrity = match self.check(trade, missing_ms.clone(), output) {
            Checked::Fills(filled) => {
                self.stream.note(Integrity::Ok, self.place, output);
                return self.fill(trade, &filled, output);
            }
            Checked::Newest(integrity) => integrity,
        };
        self.stream.note(integrity, self.place, output);
        match integrity {
            Integrity::Duplicate => return output.count(Counter::Duplicates, 1),
            Integrity::Corrupt => return,
            Integrity::Gap { from, to } => output.count(Counter::MissingTrades, to - from + 1),
            Integrity::Ok | Integrity::Unverifiable => {}
        }
        let is_first = self.last_trade_ms == i64::MIN;
        let proves = integrity == Integrity::Ok && (self.proof.trades_are_numbered || self.doubt.is_none());
        let is_missed = !proves && (!is_first || self.doubt.is_some());
        // Numbers that go on where they stopped prove that nothing was lost.
        self.doubt = None;
        self.last_trade_ms = self.last_trade_ms.max(trade.time_ms);
        if is_first && (is_past || self.proof.begins_with_past) {
            // What came before it is not known, however long the feed lives; what follows it by number is.
            self.series.iter_mut().for_each(|live| live.bars.join(trade.time_ms + 1));
        }
        if is_past && is_first {
            return;
        }
        if is_missed {
            self.series.iter_mut().for_each(|live| live.bars.mark_gap(missing_ms.clone()));
        }
        self.count_in(trade, output);
    }

    /// What the trade's number proves. Where numbers have holes, the order of the transport is all there is.
    fn check(&mut self, trade: &Trade, missing_ms: Range<i64>, output: &Output) -> Checked {
        if self.proof.trades_are_numbered {
            return self.sequence.check(trade, missing_ms, output.receive_ns);
        }
        Checked::Newest(Integrity::Ok)
    }

    /// Takes a trade that was missing.
    fn fill(&mut self, trade: &Trade, filled: &Filled, output: &mut Output) {
        for live in &mut self.series {
            live.bars.trade(trade);
            live.bars.heal(&filled.span_ms, &filled.rest);
            live.publish(self.last_trade_ms, output);
        }
        output.tick(self.place, trade);
        output.count(Counter::RepairedTrades, trade.count());
        let is_whole = self.sequence.holes().is_empty();
        self.stream.repaired(trade.count(), is_whole, self.place, output);
    }

    /// Takes a trade into its candles.
    fn count_in(&mut self, trade: &Trade, output: &mut Output) {
        let mut late = false;
        for live in &mut self.series {
            late |= live.bars.trade(trade) == Outcome::TooLate;
            live.publish(trade.time_ms, output);
        }
        // Behind its candles, so that whoever sees the tick finds them.
        output.tick(self.place, trade);
        output.count(if late { Counter::TooLate } else { Counter::Trades }, 1);
    }

    /// Takes trades that were fetched. What is still missing at the end stays so.
    pub(super) fn fetched(
        &mut self,
        missing: &Missing,
        trades: &[Trade],
        is_final: bool,
        output: &mut Output,
    ) {
        for trade in trades {
            let is_wanted = trade.first_id >= missing.from && trade.last_id <= missing.to;
            // One that nobody misses any more has come by itself.
            let is_missed = |hole: &market::Hole| hole.from <= trade.first_id && trade.last_id <= hole.to;
            if is_wanted
                && self.sequence.holes().iter().any(is_missed)
                && let Checked::Fills(filled) = self.sequence.check(trade, 0..0, output.receive_ns)
            {
                self.fill(trade, &filled, output);
            }
        }
        if is_final {
            output.count(Counter::LostTrades, self.sequence.give_up(missing.from, missing.to));
        }
    }

    /// Where the trades between the last one and one at `time_ms` may lie: they can share either's millisecond.
    fn span_of_missing(&self, time_ms: i64) -> Range<i64> {
        let (from, until) = match self.doubt {
            // The venue's clock runs ahead of its trades, by less than the grace.
            Some(doubt) => (
                self.last_trade_ms.max(doubt.from_ms.saturating_sub(GRACE_MS)),
                doubt.until_ms.unwrap_or(i64::MAX).min(time_ms.saturating_add(1)),
            ),
            None => (self.last_trade_ms, time_ms.saturating_add(1)),
        };
        from..until.max(from.saturating_add(1))
    }

    /// The venue's clock has come so far.
    pub(super) fn advance(&mut self, watermark_ms: i64, output: &mut Output) {
        if let Some(doubt) = &mut self.doubt {
            // Until the next trade proves what was lost, no bar is called quiet. It may be of this very millisecond.
            doubt.until_ms.get_or_insert(watermark_ms.saturating_add(1));
            return;
        }
        for live in &mut self.series {
            live.bars.watermark(watermark_ms);
            live.publish(self.last_trade_ms, output);
            live.compare(watermark_ms, output);
        }
    }

    /// Nothing is to be done before the venue's clock has come so far.
    pub(super) fn deadline_ms(&self) -> i64 {
        match self.doubt {
            // A break ends with any message, so none may be passed over.
            Some(Doubt { until_ms: None, .. }) => i64::MIN,
            Some(_) => i64::MAX,
            None => self.series.iter().map(LiveSeries::deadline_ms).min().unwrap_or(i64::MAX),
        }
    }

    pub(super) fn compare_later(&mut self, kline: Kline, output: &mut Output) {
        for live in &mut self.series {
            if live.bars.timeframe() == kline.timeframe {
                live.compare_later(kline, output);
            }
        }
    }

    /// The venue says elsewhere which trade was the last one. One that has not come is waited for, but not for long;
    /// one that we have ends a doubt.
    pub(super) fn claim_later(&mut self, last_id: u64, output: &Output) {
        let Some(ours) = self.sequence.last_id() else { return };
        if last_id == ours {
            self.claim = None;
            self.doubt = None;
        } else if last_id > ours {
            let since_ns = self.claim.map_or(output.receive_ns, |(_, since_ns)| since_ns);
            self.claim = Some((last_id, since_ns));
        }
    }

    /// Looks for what did not come, and for what is to be asked for.
    pub(super) fn tick(
        &mut self,
        feed: usize,
        instrument: InstrumentId,
        watermark_ms: i64,
        output: &mut Output,
    ) {
        let is_silent = self.check_claim(watermark_ms, output) | self.stream.is_missed(self.place, output);
        if is_silent {
            // Only the next trade, or the venue's word, proves that none was lost.
            if self.last_trade_ms > i64::MIN && self.doubt.is_none() {
                self.doubt = Some(Doubt { from_ms: self.last_trade_ms, until_ms: Some(i64::MAX) });
            }
            output.want(Want::Resubscribe { feed, instrument });
        }
        self.ask_for_missing(feed, instrument, output);
        self.books.tick(feed, instrument, output);
    }

    /// Whether a trade that the venue spoke of has not come in time. It is missing, then.
    fn check_claim(&mut self, watermark_ms: i64, output: &mut Output) -> bool {
        let Some((last_id, since_ns)) = self.claim else { return false };
        if self.sequence.last_id() >= Some(last_id) {
            self.claim = None;
            return false;
        }
        if output.receive_ns < since_ns + CLAIM_NS {
            return false;
        }
        self.claim = None;
        let missing_ms = self.span_of_missing(watermark_ms);
        let verdict = self.sequence.claim(last_id, missing_ms.clone(), output.receive_ns);
        self.stream.judge(verdict, self.place, output);
        let Integrity::Gap { from, to } = verdict else { return false };
        output.count(Counter::MissingTrades, to - from + 1);
        for live in &mut self.series {
            live.bars.mark_gap(missing_ms.clone());
            live.publish(self.last_trade_ms, output);
        }
        self.last_trade_ms = self.last_trade_ms.max(missing_ms.end - 1);
        true
    }

    /// Asks for the trades that are missing for long enough.
    fn ask_for_missing(&mut self, feed: usize, instrument: InstrumentId, output: &mut Output) {
        let now_ns = output.receive_ns;
        for hole in self.sequence.holes_mut() {
            let pause_ns = if hole.is_asked { ASK_AGAIN_NS } else { ASK_AFTER_NS };
            if now_ns >= hole.since_ns + pause_ns {
                (hole.is_asked, hole.since_ns) = (true, now_ns);
                let missing = Missing { from: hole.from, to: hole.to, span_ms: hole.span_ms.clone() };
                output.want(Want::Trades { feed, instrument, missing });
            }
        }
    }
}
