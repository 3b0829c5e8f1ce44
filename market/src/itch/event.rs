//! What a [`Decoder`](super::Decoder) says: trades, price levels, auctions, and the day's course.

use super::{BookSide, Symbol};
use crate::Side;

/// A trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Execution {
    /// The stock's number.
    pub locate: u16,
    /// Its number, by which it may be [`Event::Broken`].
    pub match_number: u64,
    /// Nanoseconds since midnight.
    pub time_ns: u64,
    /// Price, in ten-thousandths.
    pub price: i64,
    /// Shares.
    pub qty: i64,
    /// Who took. Not known of an order that was not displayed, nor of one that was never seen.
    pub taker: Option<Side>,
}

/// What is displayed at a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// The stock's number.
    pub locate: u16,
    /// Nanoseconds since midnight.
    pub time_ns: u64,
    /// On which side.
    pub side: BookSide,
    /// Price, in ten-thousandths.
    pub price: i64,
    /// Shares displayed there now; 0 where the level is gone.
    pub qty: i64,
    /// How many more these are than before.
    pub change: i64,
}

/// What an auction traded. Its shares were not reported before, but for executions that were not printable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cross {
    /// The stock's number.
    pub locate: u16,
    /// Its number, by which it may be [`Event::Broken`].
    pub match_number: u64,
    /// Nanoseconds since midnight.
    pub time_ns: u64,
    /// Price, in ten-thousandths; 0 if nothing was traded.
    pub price: i64,
    /// Shares; may be 0.
    pub shares: u64,
    /// `O` opening, `C` closing, `H` after a halt or for an IPO.
    pub kind: u8,
}

/// What follows from a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The day's course; the letters are [`Body::System`](super::Body::System)'s.
    System {
        /// Nanoseconds since midnight.
        time_ns: u64,
        /// Which event.
        code: u8,
    },
    /// A stock has this number from now on.
    Stock {
        /// Its number.
        locate: u16,
        /// Its symbol.
        symbol: Symbol,
    },
    /// Whether a stock trades; the letters are [`Body::Status`](super::Body::Status)'s.
    Status {
        /// The stock's number.
        locate: u16,
        /// Nanoseconds since midnight.
        time_ns: u64,
        /// The state.
        state: u8,
    },
    /// A trade that counts.
    Trade(Execution),
    /// A price level changed.
    Level(Level),
    /// An auction. Whether it counts as a trade is for the reader to say.
    Cross(Cross),
    /// An earlier trade is void.
    Broken {
        /// The stock's number.
        locate: u16,
        /// Which trade.
        match_number: u64,
        /// Nanoseconds since midnight.
        time_ns: u64,
    },
    /// A trade whose price is not known, since its order is not.
    Unpriced {
        /// The stock's number.
        locate: u16,
        /// Which trade.
        match_number: u64,
        /// Nanoseconds since midnight.
        time_ns: u64,
        /// Shares.
        qty: i64,
    },
    /// A stock's book is not to be trusted any more.
    Untrusted {
        /// The stock's number.
        locate: u16,
    },
}

/// What went through a decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Messages, whatever became of them.
    pub messages: u64,
    /// Messages that could not be read.
    pub malformed: u64,
    /// Messages of types that are not known.
    pub unknown_types: u64,
    /// Trades that count.
    pub trades: u64,
    /// Executions that will be reported once more, as part of a cross.
    pub not_printable: u64,
    /// Trades whose price is not known.
    pub unpriced: u64,
    /// Orders that found no room.
    pub orders_full: u64,
    /// Messages about orders that are not known.
    pub orders_unknown: u64,
    /// Messages that contradict what is known: more shares than an order has, an order that exists, no shares.
    pub inconsistent: u64,
}
