//! What an engine takes in: one vocabulary for live data, the journal, and what is replayed from it.
//!
//! What holds: an engine's candles and books follow from its plan and the inputs it took, with their receive times, and
//! from nothing else.

use super::{Engine, Verdict};
use market::protocol::{Missing, Snapshot};
use market::{InstrumentId, Trade};

/// Something that an engine takes in. A feed is known by its place in the engine, an instrument by its place in its
/// feed. See the methods of [`Engine`] for what each means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input<'a> {
    /// A frame came.
    Frame {
        /// Of this feed.
        feed: usize,
        /// Over this connection of it.
        line: usize,
        /// As the venue sent it.
        frame: &'a [u8],
    },
    /// A connection is there and subscribed.
    Connected {
        /// Of this feed.
        feed: usize,
        /// Which.
        line: usize,
    },
    /// A connection broke.
    Disconnected {
        /// Of this feed.
        feed: usize,
        /// Which.
        line: usize,
    },
    /// The day of the next session.
    Day {
        /// Of this feed.
        feed: usize,
        /// When it began.
        midnight_ms: i64,
    },
    /// A session of a transport that numbers its messages begins.
    Begin {
        /// Of this feed.
        feed: usize,
        /// With its first message.
        is_whole: bool,
        /// Nothing can have been lost before it.
        is_proven: bool,
    },
    /// Numbered messages will not come.
    Lost {
        /// Of this feed.
        feed: usize,
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// A book was fetched.
    Book {
        /// Of this feed.
        feed: usize,
        /// Whose.
        instrument: InstrumentId,
        /// The book.
        snapshot: &'a Snapshot,
    },
    /// Trades that were missed were fetched.
    Trades {
        /// Of this feed.
        feed: usize,
        /// Whose.
        instrument: InstrumentId,
        /// What was asked for.
        missing: &'a Missing,
        /// What has come of it, by number.
        trades: &'a [Trade],
        /// Nothing more will come.
        is_final: bool,
    },
    /// It is time to look for what did not come.
    Tick,
}

impl Input<'_> {
    /// The feed that it concerns; none if all.
    pub fn feed(&self) -> Option<usize> {
        match *self {
            Self::Frame { feed, .. }
            | Self::Connected { feed, .. }
            | Self::Disconnected { feed, .. }
            | Self::Day { feed, .. }
            | Self::Begin { feed, .. }
            | Self::Lost { feed, .. }
            | Self::Book { feed, .. }
            | Self::Trades { feed, .. } => Some(feed),
            Self::Tick => None,
        }
    }
}

impl Engine {
    /// Takes in whatever it is, received at `receive_ns` (CLOCK_MONOTONIC). What a frame turned out to be; nothing of
    /// others.
    #[inline]
    pub fn take(&mut self, input: &Input<'_>, receive_ns: u64) -> Option<Verdict> {
        match *input {
            Input::Frame { feed, line, frame } => return Some(self.frame(feed, line, frame, receive_ns)),
            Input::Connected { feed, line } => self.connected(feed, line, receive_ns),
            Input::Disconnected { feed, line } => self.disconnected(feed, line),
            Input::Day { feed, midnight_ms } => self.day(feed, midnight_ms),
            Input::Begin { feed, is_whole, is_proven } => self.begin(feed, is_whole, is_proven, receive_ns),
            Input::Lost { feed, from, to } => self.lost(feed, from, to, receive_ns),
            Input::Book { feed, instrument, snapshot } => self.book(feed, instrument, snapshot, receive_ns),
            Input::Trades { feed, instrument, missing, trades, is_final } => {
                self.trades(feed, instrument, missing, trades, is_final, receive_ns);
            }
            Input::Tick => self.tick(receive_ns),
        }
        None
    }
}
