//! What chartd needs to know of a venue: one trait for each concern, which a venue's own file implements.
//!
//! - [`Decoder`] reads its frames; it runs on the hot thread and does not allocate once it is made.
//! - [`Session`] says where to connect, what to ask for, and which limits to keep.
//! - [`Rest`] asks for what streams do not bring: decimal places, the whole book, trades that were missed.
//!
//! All is text in and text out: nothing here connects, waits or reads a clock. [`Venue::protocol`](crate::Venue::protocol)
//! finds a venue's.

use crate::message::{DecodeError, Kline, Level, Message};
use crate::{Instrument, Instruments, Timeframe, Trade};
use core::fmt::Debug;
use core::ops::Range;

/// A venue's protocol as a whole.
pub trait Protocol: Session + Rest + Sync {
    /// A reader for the frames of one feed.
    fn decoder(&self) -> Box<dyn Decoder>;

    /// How its trades and books are proven to be whole.
    fn proof(&self) -> Proof;

    /// Whether the transport numbers every message of a session, so that nothing is missing unless it says so, and
    /// the silence of a single stream is no reason to doubt.
    fn is_numbered_by_transport(&self) -> bool {
        false
    }
}

/// How a venue's trades and books are proven to be whole.
#[derive(Debug, Clone, Copy)]
pub struct Proof {
    /// Whether an instrument's trades are numbered without holes.
    pub trades_are_numbered: bool,
    /// Whether a subscription begins with a past trade, which proves that none was lost before the first new one.
    pub begins_with_past: bool,
    /// How changes of the book follow one another.
    pub book: BookProof,
}

/// How changes of the book follow one another.
#[derive(Debug, Clone, Copy)]
pub enum BookProof {
    /// Each carries the numbers of its first and last update; the snapshot comes by REST. (Binance)
    UpdateIds,
    /// Each carries a checksum of the best levels after it; the snapshot comes first on the stream. (Kraken)
    Checksum {
        /// How many levels of each side the venue tells: after each change the book is cut to so many, since the
        /// venue does not say which levels fell out.
        depth: usize,
        /// The checksum of a book.
        of: fn(&crate::Book, crate::Scale) -> u32,
    },
    /// Only the transport proves that none is missing; the snapshot comes first on the stream. (Coinbase)
    Transport,
}

/// Reads the frames of one feed.
pub trait Decoder: Debug + Send {
    /// Reads one frame and calls `take` with each message in it, in order. What stands before a flaw has been taken
    /// when the error returns.
    fn decode<'f>(
        &'f mut self,
        frame: &'f [u8],
        instruments: &Instruments,
        take: &mut dyn FnMut(Message<'f>),
    ) -> Result<(), DecodeError>;

    /// Tells which instruments there are: before the first frame, and when the table changes. May allocate.
    fn prepare(&mut self, _instruments: &Instruments) {}

    /// Whether later frames build on what it knows of earlier ones, so that a feed that goes on under a new
    /// configuration must go on with it.
    fn keeps_session(&self) -> bool {
        false
    }

    /// Tells on which day the next session is, for venues that tell the time of day only: when it began. Before the
    /// first session, that is the day already.
    fn day(&mut self, _midnight_ms: i64) {}

    /// A session of the transport begins: with its first message if it `is_whole`.
    fn begin(&mut self, _is_whole: bool) {}

    /// Messages of the session were lost.
    fn lost(&mut self) {}
}

/// What a feed asks a venue for.
#[derive(Debug, Clone, Copy)]
pub struct Subscription<'a> {
    /// The symbols, as the venue spells them.
    pub symbols: &'a [String],
    /// The lengths of candles that are drawn: the venue's own of these lengths are compared with ours.
    pub klines: &'a [Timeframe],
}

/// How to talk with a venue over a WebSocket.
pub trait Session {
    /// Where the venue serves its streams, as `wss://host:port/path`.
    fn websocket_url(&self) -> &'static str;

    /// The path and query of the WebSocket request. `path` is that of the configured URL, without a slash at its end.
    fn target(&self, path: &str, wanted: &Subscription<'_>) -> String;

    /// The messages that ask for the streams once the connection is open, in order. Each is short enough for the
    /// venue, and no stream is asked for twice.
    fn subscribe(&self, wanted: &Subscription<'_>) -> Vec<String>;

    /// The messages that have the venue send a symbol's book anew. Empty where the book comes by [`Rest::snapshot`].
    fn resubscribe_book(&self, symbol: &str) -> Vec<String>;

    /// The messages that end and begin again all streams of a symbol, after one of them went silent.
    fn resubscribe(&self, symbol: &str, wanted: &Subscription<'_>) -> Vec<String>;

    /// The venue's limits.
    fn limits(&self) -> Limits;
}

/// What a venue allows a client, and how it shows that it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Messages that a client may send on one connection in a second, pongs included.
    pub messages_per_second: u32,
    /// Connections that may be begun in `connects_window_s`, from one address.
    pub connects: u32,
    /// See `connects`.
    pub connects_window_s: u32,
    /// The most symbols of one connection.
    pub symbols_per_connection: usize,
    /// The largest message that is to be expected, with room to spare: a whole book, where the stream brings it.
    pub message_bytes: usize,
    /// A connection from which nothing came for so long is asked whether it lives: by a ping.
    pub idle_ms: u32,
    /// The venue ends each connection at this age; none if it does not.
    pub max_age_s: Option<u32>,
}

/// What must be asked for apart from the streams. Each request is a path and query for GET; each answer a JSON text.
pub trait Rest {
    /// Where the venue serves REST, as `https://host`.
    fn rest_url(&self) -> &'static str;

    /// The request for the decimal places of these symbols.
    fn instruments(&self, symbols: &[String]) -> String;

    /// Reads the answer: those of `symbols` that are in it.
    fn read_instruments(&self, body: &[u8], symbols: &[String]) -> Result<Vec<Instrument>, RestError>;

    /// The request for a symbol's whole book. `None` where the stream brings it.
    fn snapshot(&self, _symbol: &str) -> Option<String> {
        None
    }

    /// Reads the answer.
    fn read_snapshot(&self, _body: &[u8], _instrument: &Instrument) -> Result<Snapshot, RestError> {
        Err(RestError::Shape("this venue's books come on the stream: none is asked for".into()))
    }

    /// The request for the trades that are missing, or as many of them as one answer holds: the first or the last of
    /// them, as the venue has it. `None` where the venue does not give past trades.
    fn trades(&self, symbol: &str, missing: &Missing) -> Option<String>;

    /// Reads the answer: trades of that time, whether missing or not, in the order of their numbers.
    fn read_trades(&self, body: &[u8], instrument: &Instrument) -> Result<Vec<Trade>, RestError>;

    /// The request for the newest of the venue's own candles, at most `limit`. `None` where it has none of that length.
    /// `now_ms` is the venue's time, for those that must be told a span.
    fn klines(&self, symbol: &str, timeframe: Timeframe, limit: usize, now_ms: i64) -> Option<String>;

    /// Reads the answer: candles in the order of time, the last one still open perhaps.
    fn read_klines(
        &self,
        body: &[u8],
        instrument: &Instrument,
        timeframe: Timeframe,
    ) -> Result<Vec<Kline>, RestError>;
}

/// Trades that are missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Number of the first one.
    pub from: u64,
    /// Number of the last one.
    pub to: u64,
    /// When they happened, by the venue's clock.
    pub span_ms: Range<i64>,
}

/// A whole book.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Number of the last update in it.
    pub last_id: u64,
    /// Bids, best first.
    pub bids: Vec<Level>,
    /// Asks, best first.
    pub asks: Vec<Level>,
    /// How many levels of a side are in it at most: a side that has so many may go on.
    pub limit: Option<usize>,
}

/// Why a REST answer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// Not JSON of the expected shape.
    #[error("the venue's answer is not what its documentation says: {0}")]
    Shape(String),
    /// The venue refused, in its own words.
    #[error("the venue refused: {0}")]
    Refused(String),
    /// A number that the instrument cannot hold.
    #[error("the venue's answer holds the number '{text}': {reason}")]
    Number {
        /// The number.
        text: String,
        /// What is wrong with it.
        reason: crate::decimal::DecimalError,
    },
}
