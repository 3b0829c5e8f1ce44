//! What a journal says, record by record, in order; and what is missing of it.
//!
//! What holds: no record is given that was not written so, none twice and none out of order. Where something is
//! missing, that is told, with the sequences that it had.
//!
//! A run that ends in disorder leaves a tail: blocks beyond the last flush, of which any may be missing or torn. It
//! counts up to the first that is; the rest is cut, and is no corruption. Whether a bad block is such, or one that was
//! durable and is broken, later blocks tell, which say how much was durable when they were made. Where a segment begins with a lower
//! sequence than the one before it has come to, it is its blocks that count: the other one was poisoned, or cut.

use crate::record::Record;
use crate::store::Store;
use std::io;
use std::ops::Range;

/// Which part of a journal to read, by CLOCK_REALTIME in ns. What is received when the clock was set back may be in it
/// or not; nothing else of that time is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first time that counts.
    pub from_ns: u64,
    /// The first that does not any more.
    pub until_ns: u64,
}

impl Span {
    /// All of it.
    pub const ALL: Self = Self { from_ns: 0, until_ns: u64::MAX };
}

/// What comes next in a journal.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A record. One that is repeated comes only as the very first.
    Record(Record<'a>),
    /// Records that cannot be had.
    Missing(Missing),
}

/// Records that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Their sequences. Empty for bytes behind the last record of a journal that was closed in order.
    pub records: Range<u64>,
    /// In which segment.
    pub segment: u64,
    /// Where in it.
    pub offset: u64,
    /// Why.
    pub why: Why,
}

/// Why records cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// They were durable, and what is there is not what was written.
    Corrupt,
    /// The run ended before they were durable. None beyond is known: the range is empty, at the end of what is there.
    Torn {
        /// How many bytes of unfinished work there are.
        bytes: u64,
    },
}

/// Why a journal cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is none.
    #[error("there is no journal in {0}: it holds no file NNNNNNNNNNNNNNNN.seg")]
    Nothing(String),
    /// The disk refused.
    #[error("cannot read segment {segment}: {source}")]
    Io {
        /// Which.
        segment: u64,
        /// Why.
        source: io::Error,
    },
    /// The folder cannot be listed.
    #[error("cannot read the journal: {0}")]
    Store(#[from] io::Error),
}

/// Reads a journal, or a part of it.
pub struct Reader<'s> {
    store: &'s dyn Store,
}

impl<'s> Reader<'s> {
    /// Begins to read. The first item, if there is any, is a [`Kind::Start`](crate::Kind::Start) record, perhaps a
    /// repeated one, unless that is what is corrupt.
    pub fn new(store: &'s dyn Store, span: Span) -> Result<Self, ReadError> {
        todo!()
    }

    /// The next item. None at the end.
    pub fn next(&mut self) -> Result<Option<Item<'_>>, ReadError> {
        todo!()
    }

    /// How many bytes there are to read in all, as files; and how many were read: for progress.
    pub fn progress(&self) -> (u64, u64) {
        todo!()
    }
}
