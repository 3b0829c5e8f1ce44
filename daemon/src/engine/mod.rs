//! From a frame of bytes to published candles: decode, prove integrity, aggregate, publish.
//!
//! The engine is plain functions over its own state. It neither knows where frames come from (a socket, a file, a
//! journal) nor reads a clock but to stamp what it publishes, so live data, replays and tests take the same path. After
//! [`Engine::new`] it does not allocate. What it lacks, as trades that were missed, it asks for by [`Want`]s; whoever
//! runs it fetches them, or does not.
//!
//! - `feed`: a feed's clock, its connections, and which message goes where
//! - `tracked`: an instrument's trades and what is missing of them
//! - `books`: an instrument's book and quotes
//! - `stream`: what is counted of each stream, and whether it lives
//! - `bars`: a series of candles, published
//! - `input`: all that an engine takes in
//! - `resume`: an engine goes on from another run

mod bars;
mod books;
mod feed;
mod input;
mod resume;
mod stream;
mod tracked;

pub use input::Input;
pub use resume::Shift;

use feed::Feed;
use market::protocol::{Missing, Snapshot};
use market::{Book, DecodeError, Instrument, InstrumentId, Integrity, Series, Side, Timeframe, Trade, Venue};
use shm::ShmError;
use shm::market::{MarketPlan, MarketWriter, TickRecord};
use shm::prefix::Identity;
use shm::status::{Counter, StatusWriter};
use std::collections::VecDeque;
use std::sync::Arc;

/// How many ticks the ring in shared memory keeps.
const TICK_CAPACITY: usize = 1 << 14;
/// The most connections of one feed at a time: two that are redundant, and the successor of each.
pub const MAX_LINES: usize = 4;
/// The most wants that wait. What does not fit is wanted again later.
const MAX_WANTS: usize = 256;

/// One feed: a venue and the instruments that come from it.
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

/// What the engine lacks. An instrument is known by its place in its feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// The whole book of an instrument: for [`Engine::book`], or once more on the stream.
    Snapshot {
        /// The feed.
        feed: usize,
        /// The instrument.
        instrument: InstrumentId,
    },
    /// All streams of an instrument anew, since one of them went silent.
    Resubscribe {
        /// The feed.
        feed: usize,
        /// The instrument.
        instrument: InstrumentId,
    },
    /// Trades that were missed: for [`Engine::trades`].
    Trades {
        /// The feed.
        feed: usize,
        /// The instrument.
        instrument: InstrumentId,
        /// Which.
        missing: Missing,
    },
}

/// All feeds and their candles.
#[derive(Debug)]
pub struct Engine {
    feeds: Vec<Feed>,
    output: Output,
}

/// Where everything goes.
#[derive(Debug)]
struct Output {
    market: MarketWriter,
    status: Arc<StatusWriter>,
    wants: VecDeque<Want>,
    /// When the frame in hand was received and understood, and the clock to stamp its candles with.
    receive_ns: u64,
    decode_ns: u64,
    now_ns: fn() -> u64,
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
        let feed = |(place, feed)| Feed::new(place, feed, plan.bars, &mut market);
        let feeds = plan.feeds.iter().enumerate().map(feed).collect();
        let market = MarketWriter::create(&market, plan.huge_pages)?;
        let wants = VecDeque::with_capacity(MAX_WANTS);
        Ok(Self { feeds, output: Output { market, status, wants, receive_ns: 0, decode_ns: 0, now_ns } })
    }

    /// Goes on where `old` stopped: takes over what is known of the instruments that both have, and publishes it.
    /// `kept` has, for each feed here, the place of the old one that it goes on with.
    pub fn inherit(&mut self, old: &mut Self, kept: &[Option<usize>]) {
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
        self.feeds.iter().filter(|feed| feed.venue() == venue).find_map(|feed| feed.series(symbol, timeframe))
    }

    /// The instruments of all feeds.
    pub fn instruments(&self) -> impl Iterator<Item = &Instrument> {
        self.feeds.iter().flat_map(Feed::instruments)
    }

    /// The venue of each feed.
    pub fn venues(&self) -> impl ExactSizeIterator<Item = Venue> {
        self.feeds.iter().map(Feed::venue)
    }

    /// An instrument's book, if it is known.
    pub fn book_of(&self, venue: Venue, symbol: &str) -> Option<&Book> {
        self.feeds.iter().filter(|feed| feed.venue() == venue).find_map(|feed| feed.book_of(symbol))
    }

    /// Takes in one frame that came over the feed's connection number `line`, received at `receive_ns`
    /// (CLOCK_MONOTONIC).
    pub fn frame(&mut self, feed: usize, line: usize, frame: &[u8], receive_ns: u64) -> Verdict {
        let output = &mut self.output;
        output.receive_ns = receive_ns;
        let verdict = self.feeds[feed].frame(line, frame, output);
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

    /// Tells that a connection of the feed is there and subscribed.
    pub fn connected(&mut self, feed: usize, line: usize, receive_ns: u64) {
        self.output.receive_ns = receive_ns;
        self.feeds[feed].connected(line, &mut self.output);
    }

    /// Tells that a connection of the feed broke. If it was the last one, life is not proven from here on.
    pub fn disconnected(&mut self, feed: usize, line: usize) {
        self.feeds[feed].disconnected(line);
    }

    /// Tells on which day the feed's next session is: when it began. Needed where messages tell the time of day only.
    pub fn day(&mut self, feed: usize, midnight_ms: i64) {
        self.feeds[feed].day(midnight_ms);
    }

    /// Tells that a session of a transport that numbers its messages begins: with its first one if it `is_whole`.
    /// Unless nothing can have been lost before it, that is as a break.
    pub fn begin(&mut self, feed: usize, is_whole: bool, is_proven: bool, receive_ns: u64) {
        self.output.receive_ns = receive_ns;
        self.feeds[feed].begin(is_whole, is_proven, &mut self.output);
    }

    /// Tells that the numbered messages `from` up to and including `to` will not come. Nobody knows what they said, so
    /// that is as a break.
    pub fn lost(&mut self, feed: usize, from: u64, to: u64, receive_ns: u64) {
        self.output.receive_ns = receive_ns;
        self.output.count(Counter::MessagesLost, to.saturating_sub(from).saturating_add(1));
        self.feeds[feed].lost(Integrity::Gap { from, to }, &mut self.output);
    }

    /// Looks for what did not come, and for what is to be asked for. Called about ten times a second.
    pub fn tick(&mut self, now_ns: u64) {
        self.output.receive_ns = now_ns;
        for feed in &mut self.feeds {
            feed.tick(&mut self.output);
        }
    }

    /// What is wanted next.
    pub fn next_want(&mut self) -> Option<Want> {
        self.output.wants.pop_front()
    }

    /// Takes a book that was fetched.
    pub fn book(&mut self, feed: usize, instrument: InstrumentId, snapshot: &Snapshot, receive_ns: u64) {
        self.output.receive_ns = receive_ns;
        self.feeds[feed].book(instrument, snapshot, &mut self.output);
    }

    /// Takes trades that were fetched for `missing`. With `is_final` nothing more will come: bars that still lack
    /// trades stay gaps.
    pub fn trades(
        &mut self,
        feed: usize,
        instrument: InstrumentId,
        missing: &Missing,
        trades: &[Trade],
        is_final: bool,
        receive_ns: u64,
    ) {
        let output = &mut self.output;
        (output.receive_ns, output.decode_ns) = (receive_ns, receive_ns);
        self.feeds[feed].trades(instrument, missing, trades, is_final, output);
    }
}

impl Output {
    fn want(&mut self, want: Want) {
        if self.wants.len() < MAX_WANTS {
            self.wants.push_back(want);
        }
    }

    fn count(&self, counter: Counter, more: u64) {
        self.status.count(counter, more);
    }

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
