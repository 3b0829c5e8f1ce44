//! The market segment: quotes, a ring of ticks, and candle series.
//!
//! In words:
//!
//! | words | what |
//! |---|---|
//! | 0.. | [`MarketHeader`], never changed |
//! | 32 | how many ticks were ever written |
//! | 48 | state: [`STATE_CURRENT`] or [`STATE_RETIRED`] |
//! | `instruments_at` + 32·i | [`InstrumentEntry`]; 16 words in: sequence word, then [`QuoteRecord`] |
//! | `streams_at` + 16·(3·i + k) | [`StreamState`] of stream k of instrument i: 0 trades, 1 book, 2 quotes |
//! | `series_at` + 16·s | [`SeriesEntry`]; 4 words in: sequence word, then [`SeriesState`] |
//! | `ticks_at` + 8·(n % `tick_capacity`) | sequence word `2n + 2`, then [`TickRecord`] number `n` |
//! | `candles_at` of the series + 24·(n % `candle_capacity`) | sequence word, then [`CandleRecord`] number `n` |

use crate::ShmError;
use crate::prefix::{Identity, Prefix, STATE_CURRENT, STATE_RETIRED};
use crate::record::{Text, record};
use crate::segment::{Segment, View};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::*;

/// The first word of a market segment: "chartdM3".
pub const MAGIC: u64 = u64::from_le_bytes(*b"chartdM3");
/// The most instruments, and the most series.
pub const MAX_ENTRIES: usize = 4096;
/// The most ticks in the ring, and the most candles in a series.
pub const MAX_CAPACITY: usize = 1 << 24;

const TICK_COUNT: usize = 32;
const STATE: usize = 48;
const FIRST_ENTRY: usize = 64;
const INSTRUMENT_WORDS: usize = 32;
const QUOTE: usize = 16;
/// How many streams an instrument has: see [`StreamKind`].
const STREAMS: usize = StreamKind::ALL.len();
const STREAM_WORDS: usize = 16;
const SERIES_WORDS: usize = 16;
const SERIES_STATE: usize = 4;
const TICK_WORDS: usize = 8;
const CANDLE_WORDS: usize = 24;
/// Where things stand in a market segment, in words; the rest its header tells.
pub const PLACES: &[(&str, usize)] = &[
    ("number of ticks written", TICK_COUNT),
    ("state", STATE),
    ("words of an instrument", INSTRUMENT_WORDS),
    ("sequence of the quote in it", QUOTE),
    ("streams of an instrument", STREAMS),
    ("words of a stream", STREAM_WORDS),
    ("words of a series", SERIES_WORDS),
    ("sequence of the state in it", SERIES_STATE),
    ("words of a tick", TICK_WORDS),
    ("words of a candle", CANDLE_WORDS),
];
/// How often a record is read again while it is being written.
const TRIES: usize = 1_000;

record! {
    /// What never changes while the segment lives.
    pub struct MarketHeader {
        /// What it is; its magic is [`MAGIC`].
        pub prefix: Prefix,
        /// How many instruments there are.
        pub instruments: u64,
        /// Word at which the first stands.
        pub instruments_at: u64,
        /// How many candle series there are.
        pub series: u64,
        /// Word at which the first stands.
        pub series_at: u64,
        /// Word at which the tick ring begins.
        pub ticks_at: u64,
        /// How many ticks it keeps.
        pub tick_capacity: u64,
        /// How many candles each series keeps.
        pub candle_capacity: u64,
        /// Size of the segment's memory pages: 2 MiB or 4 KiB.
        pub page_bytes: u64,
        /// Word at which the first stream of the first instrument stands. Since 3.1.
        pub streams_at: u64,
    }
}

record! {
    /// An instrument and the scale of its numbers.
    pub struct InstrumentEntry {
        /// Its venue's name.
        pub venue: Text<2>,
        /// Its symbol.
        pub symbol: Text<4>,
        /// Decimal places of its prices.
        pub price_digits: u64,
        /// Decimal places of its quantities.
        pub qty_digits: u64,
    }
}

record! {
    /// The best bid and ask.
    pub struct QuoteRecord {
        /// Best bid, in price digits.
        pub bid_price: i64,
        /// Quantity there, in quantity digits.
        pub bid_qty: i64,
        /// Best ask.
        pub ask_price: i64,
        /// Quantity there.
        pub ask_qty: i64,
        /// The venue's number of the book update.
        pub update_id: u64,
        /// When it was received, CLOCK_MONOTONIC.
        pub receive_ns: u64,
    }
}

/// A stream of an instrument. Each is proven by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// Trades.
    Trades,
    /// Changes of the book.
    Book,
    /// The best bid and ask.
    Quotes,
}

impl StreamKind {
    /// All of them, in the order of the segment.
    pub const ALL: [Self; 3] = [Self::Trades, Self::Book, Self::Quotes];

    /// The name that reports use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trades => "trades",
            Self::Book => "book",
            Self::Quotes => "quotes",
        }
    }
}

record! {
    /// How a stream goes. Each word changes by itself: they are counters, and read one by one.
    #[derive(Default)]
    pub struct StreamState {
        /// Messages that came.
        pub messages: u64,
        /// Messages that were proven to follow what was there before.
        pub ok: u64,
        /// Messages before which others are missing.
        pub gaps: u64,
        /// How many trades or updates those were.
        pub missing: u64,
        /// How many of them came later, or were fetched.
        pub repaired: u64,
        /// Messages that contradict what was known.
        pub corrupt: u64,
        /// Messages of which nothing can be proven.
        pub unverifiable: u64,
        /// Messages that had come already, perhaps over another connection.
        pub duplicates: u64,
        /// Times that it was silent while other streams were not.
        pub silences: u64,
        /// 0 nothing came yet, 1 proven, 2 in doubt, 3 silent.
        pub condition: u64,
        /// When the latest message was received, CLOCK_MONOTONIC.
        pub receive_ns: u64,
    }
}

record! {
    /// One candle series.
    pub struct SeriesEntry {
        /// Place of its instrument.
        pub instrument: u64,
        /// Length of its candles, as `1m`.
        pub timeframe: Text<1>,
        /// Word at which its candles begin.
        pub candles_at: u64,
    }
}

record! {
    /// How far a series has come.
    pub struct SeriesState {
        /// Number of the oldest bar that counts.
        pub first: u64,
        /// Number after the newest bar.
        pub end: u64,
        /// Rises with every change.
        pub revision: u64,
        /// The latest revision that changed another bar than the newest, or added more than one.
        pub amended: u64,
        /// Venue time of the newest trade in it.
        pub venue_ms: i64,
        /// When the message behind the latest change was received, CLOCK_MONOTONIC.
        pub receive_ns: u64,
        /// When that message was understood.
        pub decode_ns: u64,
        /// When the change was in shared memory, CLOCK_MONOTONIC.
        pub candle_ns: u64,
    }
}

record! {
    /// One trade report.
    pub struct TickRecord {
        /// Place of its instrument; plus 2^32 if the taker sold.
        pub source: u64,
        /// Exchange time.
        pub time_ms: i64,
        /// Number of its first trade.
        pub first_id: u64,
        /// Number of its last trade.
        pub last_id: u64,
        /// Price, in price digits.
        pub price: i64,
        /// Quantity, in quantity digits.
        pub qty: i64,
        /// When it was received, CLOCK_MONOTONIC.
        pub receive_ns: u64,
    }
}

impl TickRecord {
    /// Added to `source` when the taker sold.
    pub const SOLD: u64 = 1 << 32;

    /// Place of its instrument.
    pub fn instrument(&self) -> usize {
        self.source as u32 as usize
    }
}

record! {
    /// One candle.
    pub struct CandleRecord {
        /// Its number in the series.
        pub number: u64,
        /// Where its span begins, exchange time.
        pub open_ms: i64,
        /// 0 quiet, 1 traded, 2 partial, 3 gap; plus [`CandleRecord::PRICED`] if it has prices.
        pub state: u64,
        /// How often it changed after it was closed.
        pub rev: u64,
        /// First price, in price digits.
        pub open: i64,
        /// Highest price.
        pub high: i64,
        /// Lowest price.
        pub low: i64,
        /// Last price.
        pub close: i64,
        /// Sum of quantities, in quantity digits.
        pub volume: i128,
        /// Sum of price × quantity, in price digits + quantity digits.
        pub quote_volume: i128,
        /// The part of `volume` whose taker bought.
        pub taker_buy_volume: i128,
        /// The part of `quote_volume` whose taker bought.
        pub taker_buy_quote_volume: i128,
        /// Number of trades.
        pub trades: u64,
        /// Exchange time of the first trade.
        pub first_ms: i64,
        /// Its number.
        pub first_id: u64,
        /// Exchange time of the last trade.
        pub last_ms: i64,
        /// Its number.
        pub last_id: u64,
    }
}

impl CandleRecord {
    /// Added to `state` when the candle has prices.
    pub const PRICED: u64 = 1 << 8;
}

const _: () = assert!(MarketHeader::WORDS <= TICK_COUNT);
const _: () = assert!(InstrumentEntry::WORDS <= QUOTE && QUOTE + 1 + QuoteRecord::WORDS <= INSTRUMENT_WORDS);
const _: () = assert!(StreamState::WORDS <= STREAM_WORDS && SeriesEntry::WORDS <= SERIES_STATE);
const _: () = assert!(SERIES_STATE + 1 + SeriesState::WORDS <= SERIES_WORDS);
const _: () = assert!(1 + TickRecord::WORDS == TICK_WORDS && CandleRecord::WORDS < CANDLE_WORDS);

/// What a market segment is to hold.
#[derive(Debug, Clone)]
pub struct MarketPlan {
    /// The instruments.
    pub instruments: Vec<InstrumentEntry>,
    /// The series: place of the instrument, and timeframe.
    pub series: Vec<(usize, String)>,
    /// How many ticks the ring keeps.
    pub tick_capacity: usize,
    /// How many candles each series keeps.
    pub candle_capacity: usize,
    /// Whose it is.
    pub identity: Identity,
}

/// Publishes market data. One thread only.
#[derive(Debug)]
pub struct MarketWriter {
    segment: Segment,
    header: MarketHeader,
    ticks: u64,
    series: Vec<Live>,
}

/// What the writer remembers of a series.
#[derive(Debug, Clone, Copy)]
struct Live {
    candles_at: usize,
    sequence: u64,
    revision: u64,
    amended: u64,
}

/// Where a change came from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Origin {
    /// Venue time of the newest trade.
    pub venue_ms: i64,
    /// When its message was received.
    pub receive_ns: u64,
    /// When it was understood.
    pub decode_ns: u64,
    /// Now.
    pub now_ns: u64,
}

impl MarketWriter {
    /// Makes the segment. `huge` asks for 2 MiB pages.
    pub fn create(plan: &MarketPlan, huge: bool) -> Result<Self, ShmError> {
        for (what, value) in [
            ("the number of instruments", plan.instruments.len()),
            ("the number of candle series", plan.series.len()),
        ] {
            if value > MAX_ENTRIES {
                return Err(ShmError::Limit { what, value, limit: "0 to 4096" });
            }
        }
        for (what, value) in [
            ("the number of ticks kept", plan.tick_capacity),
            ("the number of candles kept", plan.candle_capacity),
        ] {
            if !(1..=MAX_CAPACITY).contains(&value) {
                return Err(ShmError::Limit { what, value, limit: "1 to 16777216" });
            }
        }
        let streams_at = FIRST_ENTRY + plan.instruments.len() * INSTRUMENT_WORDS;
        let series_at = streams_at + plan.instruments.len() * STREAMS * STREAM_WORDS;
        let ticks_at = series_at + plan.series.len() * SERIES_WORDS;
        let candles_at = ticks_at + plan.tick_capacity * TICK_WORDS;
        let series_words = plan.candle_capacity * CANDLE_WORDS;
        let segment =
            Segment::create("chartd-market", (candles_at + plan.series.len() * series_words) * 8, huge)?;
        let header = MarketHeader {
            prefix: Prefix::new(MAGIC, MarketHeader::WORDS, &plan.identity),
            instruments: plan.instruments.len() as u64,
            instruments_at: FIRST_ENTRY as u64,
            series: plan.series.len() as u64,
            series_at: series_at as u64,
            ticks_at: ticks_at as u64,
            tick_capacity: plan.tick_capacity as u64,
            candle_capacity: plan.candle_capacity as u64,
            page_bytes: segment.page_bytes() as u64,
            streams_at: streams_at as u64,
        };
        let words = segment.words();
        words.store(0, &header.to_words());
        words.word(STATE).store(STATE_CURRENT, Relaxed);
        for (place, entry) in plan.instruments.iter().enumerate() {
            words.store(FIRST_ENTRY + place * INSTRUMENT_WORDS, &entry.to_words());
        }
        let mut series = Vec::with_capacity(plan.series.len());
        for (place, (instrument, timeframe)) in plan.series.iter().enumerate() {
            let candles_at = candles_at + place * series_words;
            let entry = SeriesEntry {
                instrument: *instrument as u64,
                timeframe: Text::new(timeframe),
                candles_at: candles_at as u64,
            };
            words.store(series_at + place * SERIES_WORDS, &entry.to_words());
            series.push(Live { candles_at, sequence: 0, revision: 0, amended: 0 });
        }
        Ok(Self { segment, header, ticks: 0, series })
    }

    /// A descriptor for a reader.
    pub fn reader_fd(&self) -> Result<OwnedFd, ShmError> {
        self.segment.reader_fd()
    }

    /// How many candles each series keeps.
    pub fn candle_capacity(&self) -> u64 {
        self.header.candle_capacity
    }

    /// Appends a tick to the ring, over the oldest one.
    pub fn tick(&mut self, tick: &TickRecord) {
        let slot = (self.ticks % self.header.tick_capacity) as usize;
        let at = self.header.ticks_at as usize + slot * TICK_WORDS;
        self.segment.words().write_sequenced(at, 2 * self.ticks + 2, &tick.to_words());
        self.ticks += 1;
        self.segment.words().word(TICK_COUNT).store(self.ticks, Release);
    }

    /// Replaces the best bid and ask of the instrument at `place`.
    pub fn quote(&mut self, place: usize, quote: &QuoteRecord) {
        let at = FIRST_ENTRY + place * INSTRUMENT_WORDS + QUOTE;
        let words = self.segment.words();
        let even = words.word(at).load(Relaxed) + 2;
        words.write_sequenced(at, even, &quote.to_words());
    }

    /// Replaces what is said of a stream of the instrument at `place`.
    pub fn stream(&mut self, place: usize, kind: StreamKind, state: &StreamState) {
        let at = self.header.streams_at as usize + (place * STREAMS + kind as usize) * STREAM_WORDS;
        self.segment.words().store(at, &state.to_words());
    }

    /// Replaces a candle of the series at `place`. It counts from the next [`MarketWriter::commit`] on.
    pub fn candle(&mut self, place: usize, candle: &CandleRecord) {
        let slot = (candle.number % self.header.candle_capacity) as usize;
        let at = self.series[place].candles_at + slot * CANDLE_WORDS;
        let words = self.segment.words();
        let even = words.word(at).load(Relaxed) + 2;
        words.write_sequenced(at, even, &candle.to_words());
    }

    /// Makes the changes of a series count. `bars` are the numbers that it has now; `only_newest` says that no
    /// other bar than the newest changed or was added.
    pub fn commit(&mut self, place: usize, bars: Range<u64>, only_newest: bool, origin: Origin) {
        let live = &mut self.series[place];
        live.revision += 1;
        live.sequence += 2;
        if !only_newest {
            live.amended = live.revision;
        }
        let state = SeriesState {
            first: bars.start,
            end: bars.end,
            revision: live.revision,
            amended: live.amended,
            venue_ms: origin.venue_ms,
            receive_ns: origin.receive_ns,
            decode_ns: origin.decode_ns,
            candle_ns: origin.now_ns,
        };
        let at = self.header.series_at as usize + place * SERIES_WORDS + SERIES_STATE;
        self.segment.words().write_sequenced(at, live.sequence, &state.to_words());
    }
}

impl Drop for MarketWriter {
    /// Tells readers that nothing further comes here.
    fn drop(&mut self) {
        self.segment.words().word(STATE).store(STATE_RETIRED, Release);
    }
}

/// Reads market data.
#[derive(Debug)]
pub struct MarketReader {
    view: View,
    header: MarketHeader,
    series: Vec<SeriesEntry>,
    instruments: Vec<InstrumentEntry>,
}

impl MarketReader {
    /// Maps the segment and checks that its size is as its header says.
    pub fn open(fd: OwnedFd) -> Result<Self, ShmError> {
        let foreign = |why| ShmError::Foreign { kind: "market", why };
        let view = View::open(fd, "market", MAGIC, FIRST_ENTRY)?;
        let words = view.words();
        let header = MarketHeader::from_words(&words.array(0));
        if !words.holds(header.instruments_at, header.instruments, INSTRUMENT_WORDS)
            || !words.holds(header.series_at, header.series, SERIES_WORDS)
            || !words.holds(header.streams_at, header.instruments, STREAMS * STREAM_WORDS)
            || !words.holds(header.ticks_at, header.tick_capacity, TICK_WORDS)
            || header.tick_capacity.min(header.candle_capacity) == 0
        {
            return Err(foreign("it is shorter than its header says"));
        }
        let at = |start: u64, place: u64, each: usize| start as usize + place as usize * each;
        let instruments = (0..header.instruments)
            .map(|i| {
                InstrumentEntry::from_words(&words.array(at(header.instruments_at, i, INSTRUMENT_WORDS)))
            })
            .collect();
        let series: Vec<_> = (0..header.series)
            .map(|s| SeriesEntry::from_words(&words.array(at(header.series_at, s, SERIES_WORDS))))
            .collect();
        let sound = |entry: &SeriesEntry| {
            entry.instrument < header.instruments
                && words.holds(entry.candles_at, header.candle_capacity, CANDLE_WORDS)
        };
        if !series.iter().all(sound) {
            return Err(foreign("a series lies outside of it"));
        }
        Ok(Self { view, header, series, instruments })
    }

    /// Which daemon and configuration it belongs to.
    pub fn identity(&self) -> Identity {
        self.header.prefix.identity()
    }

    /// Whether further data may come here. If not, a new configuration has a segment of its own.
    pub fn is_current(&self) -> bool {
        self.view.words().load(STATE) == STATE_CURRENT
    }

    /// The instruments, by place.
    pub fn instruments(&self) -> &[InstrumentEntry] {
        &self.instruments
    }

    /// The series, by place.
    pub fn series(&self) -> &[SeriesEntry] {
        &self.series
    }

    /// How many candles each series keeps.
    pub fn candle_capacity(&self) -> u64 {
        self.header.candle_capacity
    }

    /// How far the series at `place` has come. `None` before its first bar.
    pub fn state(&self, place: usize) -> Option<SeriesState> {
        let at = self.header.series_at as usize + place * SERIES_WORDS + SERIES_STATE;
        self.settled(at).map(|(_, words)| SeriesState::from_words(&words))
    }

    /// The best bid and ask of the instrument at `place`. `None` before the first.
    pub fn quote(&self, place: usize) -> Option<QuoteRecord> {
        let at = self.header.instruments_at as usize + place * INSTRUMENT_WORDS + QUOTE;
        self.settled(at).map(|(_, words)| QuoteRecord::from_words(&words))
    }

    /// How a stream of the instrument at `place` goes.
    pub fn stream(&self, place: usize, kind: StreamKind) -> StreamState {
        let at = self.header.streams_at as usize + (place * STREAMS + kind as usize) * STREAM_WORDS;
        StreamState::from_words(&self.view.words().array(at))
    }

    /// The candle `number` of the series at `place`. `None` if it was never written or is written over.
    pub fn candle(&self, place: usize, number: u64) -> Option<CandleRecord> {
        let slot = (number % self.header.candle_capacity) as usize;
        let (_, words) = self.settled(self.series[place].candles_at as usize + slot * CANDLE_WORDS)?;
        Some(CandleRecord::from_words(&words)).filter(|candle| candle.number == number)
    }

    /// How many ticks were ever written.
    pub fn ticks_written(&self) -> u64 {
        self.view.words().load(TICK_COUNT)
    }

    /// Reads the ticks numbered from `*next` to below `until`, as far as they are written, and moves `*next` behind
    /// them. Returns how many were lost, because they had been written over before they could be read.
    pub fn read_ticks(&self, next: &mut u64, until: u64, mut tick: impl FnMut(TickRecord)) -> u64 {
        let written = self.ticks_written();
        let end = until.min(written);
        let oldest = written.saturating_sub(self.header.tick_capacity).min(end);
        let mut lost = oldest.saturating_sub(*next);
        *next = (*next).max(oldest);
        while *next < end {
            let slot = (*next % self.header.tick_capacity) as usize;
            let at = self.header.ticks_at as usize + slot * TICK_WORDS;
            match self.view.words().read_sequenced(at) {
                Some((sequence, words)) if sequence == 2 * *next + 2 => tick(TickRecord::from_words(&words)),
                _ => lost += 1,
            }
            *next += 1;
        }
        lost
    }

    /// Reads a record that is rewritten now and then. `None` if it never was written.
    fn settled<const N: usize>(&self, at: usize) -> Option<(u64, [u64; N])> {
        let words = self.view.words();
        for _ in 0..TRIES {
            match words.read_sequenced(at) {
                Some((0, _)) => return None,
                Some(found) => return Some(found),
                None => std::hint::spin_loop(),
            }
        }
        None
    }
}
