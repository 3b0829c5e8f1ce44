//! From a frame of bytes to published candles: decode, prove integrity, aggregate, publish.
//!
//! The engine is plain functions over its own state. It neither knows where frames come from (a socket, a file, a
//! log) nor reads a clock, so live data, replays and tests take the same path. After [`Engine::new`] it does not
//! allocate.

use chart_client::record_of;
use market::protocol::{Decoder, Missing, Snapshot};
use market::{
    CandleState, DecodeError, GRACE_MS, Instrument, InstrumentId, Instruments, Integrity, Kline, Message,
    Outcome, Series, Side, Timeframe, Trade, TradeSequence, Venue,
};
use shm::ShmError;
use shm::market::{InstrumentEntry, MarketPlan, MarketWriter, Origin, QuoteRecord, TickRecord};
use shm::prefix::Identity;
use shm::record::Text;
use shm::status::{Counter, Stage, StatusWriter};
use std::ops::Range;
use std::sync::Arc;

/// How many ticks the ring in shared memory keeps.
const TICK_CAPACITY: usize = 1 << 14;

/// No single message moves the venue's clock ahead by more than this: a wrong digit would close, and in time forget,
/// every candle. A second message that agrees is believed.
const LONGEST_LEAP_MS: i64 = 24 * 3_600_000;

/// One feed: a venue and the instruments that come from it over one connection.
#[derive(Debug, Clone)]
pub struct FeedPlan {
    /// The venue, which decides the wire format.
    pub venue: Venue,
    /// What it carries, and the candles to make of it.
    pub instruments: Vec<(Instrument, Vec<Timeframe>)>,
}

/// What an engine is to keep and publish.
#[derive(Debug, Clone)]
pub struct EnginePlan<'a> {
    /// The feeds. Each is known by its place here.
    pub feeds: &'a [FeedPlan],
    /// How many candles each series keeps.
    pub bars: usize,
    /// How many of them, the newest, are in the market segment.
    pub published: usize,
    /// Whether 2 MiB pages are tried for it.
    pub huge_pages: bool,
    /// Whose it is.
    pub identity: Identity,
}

/// What a frame turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A market message.
    Decoded,
    /// An answer to us or a notice about the connection.
    Control,
    /// The server is about to close this connection.
    Shutdown,
    /// Of a kind, or about a symbol, that is not known.
    Unknown,
    /// Not what it claims to be.
    Malformed(DecodeError),
}

/// What the engine asks the cold plane for. `instrument` is the place in the feed's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// The whole book.
    Snapshot {
        /// The feed.
        feed: usize,
        /// Whose book.
        instrument: InstrumentId,
    },
    /// The streams of an instrument anew: one of them went silent.
    Resubscribe {
        /// The feed.
        feed: usize,
        /// Whose streams.
        instrument: InstrumentId,
    },
    /// Trades that were missed.
    Trades {
        /// The feed.
        feed: usize,
        /// Of what.
        instrument: InstrumentId,
        /// Which.
        missing: Missing,
    },
    /// Another connection in the place of one that cannot be believed.
    Reconnect {
        /// The feed.
        feed: usize,
        /// Which of its connections.
        line: usize,
    },
}

/// All feeds and their candles.
#[derive(Debug)]
pub struct Engine {
    feeds: Vec<Feed>,
    output: Output,
}

#[derive(Debug)]
struct Output {
    market: MarketWriter,
    status: Arc<StatusWriter>,
    /// When the frame in hand was received and understood, and the clock to stamp its candles with.
    receive_ns: u64,
    decode_ns: u64,
    now_ns: fn() -> u64,
}

#[derive(Debug)]
struct Feed {
    venue: Venue,
    decoder: Box<dyn Decoder>,
    table: Instruments,
    state: FeedState,
}

/// What is known of a feed.
#[derive(Debug)]
struct FeedState {
    /// Its connections, a bit for each.
    lines: u32,
    /// By place in the feed's table.
    instruments: Vec<Tracked>,
    /// The latest exchange time that any message of the feed has proven.
    watermark_ms: i64,
    /// No series has anything to close before this.
    deadline_ms: i64,
    /// Where a message has put the clock that nobody believes yet.
    leap_ms: Option<i64>,
}

/// An instrument and what is known of it.
#[derive(Debug)]
struct Tracked {
    /// Its place in the market segment.
    place: usize,
    sequence: TradeSequence,
    last_trade_ms: i64,
    /// Set while it is not proven that no trade was lost in a break of the connection.
    doubt: Option<Doubt>,
    series: Vec<LiveSeries>,
}

/// A break of the connection, in exchange time.
#[derive(Debug, Clone, Copy)]
struct Doubt {
    from_ms: i64,
    /// When messages came again.
    until_ms: Option<i64>,
}

#[derive(Debug)]
struct LiveSeries {
    /// Its place in the market segment.
    place: usize,
    bars: Series,
    /// The end of the numbers last published.
    published_end: u64,
    /// The venue's own closed candle, until ours is closed too.
    kline: Option<Kline>,
}

impl Engine {
    /// Makes the market segment and all series. `now_ns` stamps candles when they become visible.
    pub fn new(
        plan: &EnginePlan<'_>,
        status: Arc<StatusWriter>,
        now_ns: fn() -> u64,
    ) -> Result<Self, ShmError> {
        let mut market = MarketPlan {
            instruments: Vec::new(),
            series: Vec::new(),
            tick_capacity: TICK_CAPACITY,
            candle_capacity: plan.published.min(plan.bars),
            identity: plan.identity,
        };
        let feeds = plan.feeds.iter().map(|feed| Feed::new(feed, plan.bars, &mut market)).collect();
        let market = MarketWriter::create(&market, plan.huge_pages)?;
        Ok(Self { feeds, output: Output { market, status, receive_ns: 0, decode_ns: 0, now_ns } })
    }

    /// Goes on where `old` stopped: takes over what is known of the instruments that both have, and publishes it.
    /// `kept` has, for each feed here, the place of the old one that it goes on with.
    pub fn inherit(&mut self, mut old: Self, kept: &[Option<usize>]) {
        for (feed, old_place) in self.feeds.iter_mut().zip(kept) {
            if let Some(old) = old_place.and_then(|place| old.feeds.get_mut(place)) {
                feed.inherit(old, &mut self.output);
            }
        }
    }

    /// The market segment, to hand to readers.
    pub fn market(&self) -> &MarketWriter {
        &self.output.market
    }

    /// The series of one instrument and timeframe, for reports.
    pub fn series(&self, venue: Venue, symbol: &str, timeframe: Timeframe) -> Option<&Series> {
        let feed = self.feeds.iter().find(|feed| feed.venue == venue)?;
        let tracked = &feed.state.instruments[usize::from(feed.table.find(symbol.as_bytes())?.0)];
        tracked.series.iter().map(|live| &live.bars).find(|bars| bars.timeframe() == timeframe)
    }

    /// Takes in one frame of the feed at `feed`, received at `receive_ns` (CLOCK_MONOTONIC).
    pub fn frame(&mut self, feed: usize, _line: usize, frame: &[u8], receive_ns: u64) -> Verdict {
        let (feed, output) = (&mut self.feeds[feed], &mut self.output);
        output.receive_ns = receive_ns;
        let verdict = feed.read(frame, output);
        output.status.count(Counter::FramesIn, 1);
        output.status.count(Counter::BytesIn, frame.len() as u64);
        let counter = match verdict {
            Verdict::Decoded => Counter::Decoded,
            Verdict::Control | Verdict::Shutdown => Counter::Control,
            Verdict::Unknown => Counter::Unknown,
            Verdict::Malformed(_) => Counter::Malformed,
        };
        output.status.count(counter, 1);
        verdict
    }

    /// What the engine misses next, if it misses something.
    pub fn next_want(&mut self) -> Option<Want> {
        None
    }

    /// Tells that a connection of the feed is there.
    pub fn connected(&mut self, feed: usize, line: usize) {
        self.feeds[feed].state.lines |= 1 << line;
    }

    /// Takes in a whole book.
    pub fn book(&mut self, _feed: usize, _instrument: InstrumentId, _snapshot: &Snapshot) {}

    /// Takes in trades got for `missing`. With `is_final` nothing more will come.
    pub fn trades(&mut self, _: usize, _: InstrumentId, _missing: &Missing, _: &[Trade], _is_final: bool) {}

    /// Tells that a connection of the feed is gone. From the last one on, life is not proven.
    pub fn disconnected(&mut self, feed: usize, line: usize) {
        let feed = &mut self.feeds[feed].state;
        feed.lines &= !(1 << line);
        if feed.lines != 0 {
            return;
        }
        if feed.watermark_ms == i64::MIN {
            return; // Nothing was seen yet, so nothing can have been lost.
        }
        feed.deadline_ms = i64::MIN; // The next message ends the break.
        for tracked in &mut feed.instruments {
            tracked.doubt.get_or_insert(Doubt { from_ms: feed.watermark_ms, until_ms: None }).until_ms = None;
        }
    }
}

impl Feed {
    fn new(plan: &FeedPlan, bars: usize, market: &mut MarketPlan) -> Self {
        let mut table = Instruments::default();
        let mut instruments = Vec::new();
        for (instrument, timeframes) in &plan.instruments {
            if table.find(instrument.symbol.as_bytes()).is_some() || table.add(instrument.clone()).is_none() {
                continue; // Named twice: the configuration refuses that; here the first counts.
            }
            let place = market.instruments.len();
            market.instruments.push(InstrumentEntry {
                venue: Text::new(instrument.venue.name()),
                symbol: Text::new(&instrument.symbol),
                price_digits: instrument.price_digits.into(),
                qty_digits: instrument.qty_digits.into(),
            });
            let live = |timeframe: &Timeframe| {
                market.series.push((place, timeframe.to_string()));
                let bars = Series::new(*timeframe, bars);
                LiveSeries { place: market.series.len() - 1, bars, published_end: 0, kline: None }
            };
            let series = timeframes.iter().map(live).collect();
            let sequence = TradeSequence::default();
            instruments.push(Tracked { place, sequence, last_trade_ms: i64::MIN, doubt: None, series });
        }
        let state = FeedState { lines: 0, instruments, watermark_ms: i64::MIN, deadline_ms: i64::MIN, leap_ms: None };
        Self { venue: plan.venue, decoder: plan.venue.protocol().decoder(), table, state }
    }

    fn inherit(&mut self, old: &mut Self, output: &mut Output) {
        (self.state.watermark_ms, self.state.leap_ms) = (old.state.watermark_ms, old.state.leap_ms);
        self.state.lines = old.state.lines;
        for (place, tracked) in self.state.instruments.iter_mut().enumerate() {
            let instrument = self.table.get(InstrumentId(place as u16));
            let before = instrument.and_then(|instrument| old.table.find(instrument.symbol.as_bytes()));
            // With other decimal places its numbers mean something else.
            if let Some(before) = before.filter(|before| old.table.get(*before) == instrument) {
                tracked.inherit(&mut old.state.instruments[usize::from(before.0)], output);
            }
        }
    }

    /// Reads a frame and takes each message in it. The verdict is that of the last one.
    fn read(&mut self, frame: &[u8], output: &mut Output) -> Verdict {
        let (mut verdict, state) = (Verdict::Unknown, &mut self.state);
        let outcome = self.decoder.decode(frame, &self.table, &mut |message| {
            output.decode_ns = (output.now_ns)();
            let decode_ns = output.decode_ns.saturating_sub(output.receive_ns);
            output.status.recorder(Stage::Decode).record(decode_ns);
            verdict = state.take(message, output);
        });
        outcome.err().map_or(verdict, Verdict::Malformed)
    }
}

impl FeedState {
    fn take(&mut self, message: Message<'_>, output: &mut Output) -> Verdict {
        if !self.believes(&message) {
            let what = "its time is more than a day ahead of all before, and no other message agrees yet";
            return Verdict::Malformed(DecodeError::Field { offset: 0, what });
        }
        match message {
            Message::Trade { instrument, event_ms, trade, .. } => {
                let tracked = &mut self.instruments[usize::from(instrument.0)];
                tracked.trade(&trade, output);
                self.deadline_ms = self.deadline_ms.min(tracked.deadline_ms());
                self.advance(event_ms.max(trade.time_ms), output);
            }
            Message::Quote { instrument, update_id, quote, .. } => {
                let place = self.instruments[usize::from(instrument.0)].place;
                let record = QuoteRecord {
                    bid_price: quote.bid_price,
                    bid_qty: quote.bid_qty,
                    ask_price: quote.ask_price,
                    ask_qty: quote.ask_qty,
                    update_id,
                    receive_ns: output.receive_ns,
                };
                output.market.quote(place, &record);
            }
            Message::Kline { instrument, event_ms, kline } => {
                if kline.closed {
                    self.instruments[usize::from(instrument.0)].compare_later(kline, output);
                    self.deadline_ms = self.deadline_ms.min(compared_at(&kline));
                }
                self.advance(event_ms, output);
            }
            Message::Book { event_ms: Some(event_ms), .. }
            | Message::Alive { event_ms: Some(event_ms), .. } => {
                self.advance(event_ms, output);
            }
            Message::Book { .. } | Message::BookTop { .. } | Message::Alive { .. } | Message::Numbered(_) => {
            }
            Message::Acknowledged | Message::Refused(_) => return Verdict::Control,
            Message::ServerShutdown => return Verdict::Shutdown,
            Message::UnknownSymbol(_) | Message::Unknown => return Verdict::Unknown,
        }
        Verdict::Decoded
    }

    /// Whether the message's time can be believed. See [`LONGEST_LEAP_MS`].
    fn believes(&mut self, message: &Message<'_>) -> bool {
        let time_ms = match message {
            Message::Trade { event_ms, trade, .. } => trade.time_ms.max(*event_ms),
            Message::Kline { event_ms, .. }
            | Message::Book { event_ms: Some(event_ms), .. }
            | Message::Alive { event_ms: Some(event_ms), .. } => *event_ms,
            _ => return true,
        };
        let near = |other: i64| time_ms.saturating_sub(other).abs() <= LONGEST_LEAP_MS;
        let believed = self.watermark_ms == i64::MIN
            || time_ms <= self.watermark_ms.saturating_add(LONGEST_LEAP_MS)
            || self.leap_ms.is_some_and(near);
        self.leap_ms = (!believed).then_some(time_ms);
        believed
    }

    /// Moves the venue's clock, and closes what it has passed.
    fn advance(&mut self, time_ms: i64, output: &mut Output) {
        let first = self.watermark_ms == i64::MIN;
        self.watermark_ms = self.watermark_ms.max(time_ms);
        if self.watermark_ms < self.deadline_ms && !first {
            return;
        }
        self.deadline_ms = i64::MAX;
        for tracked in &mut self.instruments {
            tracked.advance(self.watermark_ms, output);
            self.deadline_ms = self.deadline_ms.min(tracked.deadline_ms());
        }
    }
}

impl Tracked {
    fn inherit(&mut self, old: &mut Self, output: &mut Output) {
        std::mem::swap(&mut self.sequence, &mut old.sequence);
        (self.last_trade_ms, self.doubt) = (old.last_trade_ms, old.doubt);
        for live in &mut self.series {
            let same = |old: &&mut LiveSeries| old.bars.timeframe() == live.bars.timeframe();
            if let Some(old) = old.series.iter_mut().find(same) {
                let capacity = live.bars.capacity();
                std::mem::swap(&mut live.bars, &mut old.bars);
                live.bars.set_capacity(capacity);
                live.bars.touch_all();
                live.kline = old.kline.take();
                live.publish(self.last_trade_ms, output);
            }
        }
    }

    fn trade(&mut self, trade: &Trade, output: &mut Output) {
        let missed = match self.sequence.check(trade) {
            Integrity::Duplicate => return output.status.count(Counter::Duplicates, 1),
            Integrity::Ok => None,
            // The first trade proves nothing of a break before it.
            Integrity::Unverifiable => self.doubt.map(|_| self.span_of_missing(trade.time_ms)),
            Integrity::Gap { from, to } => {
                output.status.count(Counter::MissingTrades, to - from + 1);
                Some(self.span_of_missing(trade.time_ms))
            }
        };
        // Numbers that go on where they stopped prove that the break lost nothing.
        self.doubt = None;
        self.last_trade_ms = self.last_trade_ms.max(trade.time_ms);
        let mut late = false;
        for live in &mut self.series {
            if let Some(span) = missed.clone() {
                live.bars.mark_gap(span);
            }
            late |= live.bars.trade(trade) == Outcome::TooLate;
            live.publish(trade.time_ms, output);
        }
        // Behind its candles, so that whoever sees the tick finds them.
        output.tick(self.place, trade);
        output.status.count(if late { Counter::TooLate } else { Counter::Trades }, 1);
    }

    /// Where the trades between the last one and one at `time_ms` may lie.
    fn span_of_missing(&self, time_ms: i64) -> Range<i64> {
        let (from, until) = match self.doubt {
            // The venue's clock runs ahead of its trades, by less than the grace.
            Some(doubt) => {
                (self.last_trade_ms.max(doubt.from_ms - GRACE_MS), doubt.until_ms.unwrap_or(time_ms))
            }
            None => (self.last_trade_ms, time_ms),
        };
        from..until.max(from + 1)
    }

    fn advance(&mut self, watermark_ms: i64, output: &mut Output) {
        if let Some(doubt) = &mut self.doubt {
            // Until the next trade proves what was lost, no bar is called quiet.
            doubt.until_ms.get_or_insert(watermark_ms);
            return;
        }
        for live in &mut self.series {
            live.bars.watermark(watermark_ms);
            live.publish(self.last_trade_ms, output);
            live.compare(watermark_ms, output);
        }
    }

    fn deadline_ms(&self) -> i64 {
        let of = |live: &LiveSeries| {
            let kline = live.kline.as_ref().map_or(i64::MAX, compared_at);
            match live.bars.next_deadline_ms() {
                i64::MIN => kline, // An empty series closes nothing.
                bars => bars.min(kline),
            }
        };
        // A break ends with any message, so none may be passed over.
        if self.doubt.is_some_and(|doubt| doubt.until_ms.is_none()) {
            return i64::MIN;
        }
        if self.doubt.is_some() {
            return i64::MAX;
        }
        self.series.iter().map(of).min().unwrap_or(i64::MAX)
    }

    fn compare_later(&mut self, kline: Kline, output: &mut Output) {
        for live in &mut self.series {
            if live.bars.timeframe() == kline.timeframe {
                live.compare(i64::MAX, output);
                live.kline = Some(kline);
            }
        }
    }
}

/// The first watermark with which a bar as long as the venue's candle is closed.
fn compared_at(kline: &Kline) -> i64 {
    kline.timeframe.end_ms(kline.open_ms) + GRACE_MS + 1
}

impl LiveSeries {
    fn publish(&mut self, venue_ms: i64, output: &mut Output) {
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

    /// Compares the venue's closed candle with ours, once ours is closed by `watermark_ms`.
    fn compare(&mut self, watermark_ms: i64, output: &mut Output) {
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
        output.status.count(if equal { Counter::KlinesEqual } else { Counter::KlinesDiffer }, 1);
    }
}

impl Output {
    fn tick(&mut self, place: usize, trade: &Trade) {
        let sold = if trade.taker == Side::Sell { TickRecord::SOLD } else { 0 };
        self.market.tick(&TickRecord {
            source: place as u64 | sold,
            time_ms: trade.time_ms,
            first_id: trade.first_id,
            last_id: trade.last_id,
            price: trade.price,
            qty: trade.qty,
            receive_ns: self.receive_ns,
        });
    }
}
