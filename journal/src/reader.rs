//! What a journal says, record by record, in order; and what is missing of it.
//!
//! What holds: no record is given that was not written so, none twice and none out of order. Where something is
//! missing, that is told, with the sequences that it had. Memory is bounded, whatever the bytes say.
//!
//! A run that ends in disorder leaves a tail: blocks beyond the last flush, of which any may be missing or torn. It
//! counts up to the first that is; the rest is cut, and is no corruption. Whether a bad block is such, or one that was
//! durable and is broken, later blocks tell, which say how much was durable when they were made. Where a segment
//! begins with a lower sequence than the one before it has come to, it is its blocks that count: the other one was
//! poisoned, or cut.
//!
//! A journal may be read while it is written. What is said to be missing was looked at again after that was proven, so
//! it is not what was only read too early; and segments that are packed meanwhile, or removed before they were come to,
//! are no errors.

mod chain;
pub(crate) mod heads;
pub(crate) mod parts;
mod records;
mod search;
mod seek;
pub(crate) mod window;

use crate::record::Record;
use crate::store::{Segment, Store};
use chain::Cursor;
use heads::{Limit, Segments};
use parts::Joined;
use records::{InBlock, Out};
use std::collections::VecDeque;
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
    /// A record. One that is repeated comes only as the very first, and once behind records that are missing.
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
    #[error("there is no journal in {0}: the folder holds no file NNNNNNNNNNNNNNNN.seg")]
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
    segments: Segments<'s>,
    span: Span,
    /// Which segment is read, or is to be opened next.
    place: usize,
    cursor: Option<Cursor>,
    limit: Limit,
    /// The first sequence that was not given. None before anything was read.
    next: Option<u64>,
    /// The sequence with which the next block begins.
    expected: u64,
    /// CRC of the last block. None where it is not known.
    chain: Option<u32>,
    /// The same of the last block that counts, and of those behind it that do not, where the chain may go on from any.
    spare_chains: Vec<u32>,
    /// The highest sequence that a block has said to be durable.
    durable: u64,
    block: Option<InBlock>,
    joined: Joined,
    start: Joined,
    out: VecDeque<Out>,
    /// What was missing right before the span, as far as is known.
    before: Option<Missing>,
    has_begun: bool,
    /// Whether a record that tells the feeds may be among what is missing, and none was given since.
    lacks_start: bool,
    is_over: bool,
    tail: Tail,
    counts: Counts,
}

/// Where the last block that counts ends.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tail {
    /// The place of its segment, and where in it. None if there is no such block.
    pub(crate) end: Option<(usize, u64)>,
    /// Its CRC.
    pub(crate) crc: u32,
    /// What it and those before it have said to be durable.
    pub(crate) durable: u64,
    /// Whether what is behind it was durable.
    pub(crate) is_damaged: bool,
}

/// What was read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) blocks: u64,
    /// File bytes of segments that are read or passed over.
    passed_bytes: u64,
}

impl<'s> Reader<'s> {
    /// Begins to read. The first item, if there is any, is a [`Kind::Start`](crate::Kind::Start) record, perhaps a
    /// repeated one, unless that is what is corrupt.
    pub fn new(store: &'s dyn Store, span: Span) -> Result<Self, ReadError> {
        let segments = Segments::of_live(store)?;
        if segments.list.is_empty() {
            return Err(ReadError::Nothing(store.name()));
        }
        let mut reader = Self::at(segments, 0);
        reader.span = span;
        reader.seek()?;
        Ok(reader)
    }

    /// Begins at a segment.
    pub(crate) fn at(segments: Segments<'s>, place: usize) -> Self {
        Self {
            segments,
            span: Span::ALL,
            place,
            cursor: None,
            limit: Limit { below: u64::MAX, by: None },
            next: None,
            expected: 0,
            chain: None,
            spare_chains: Vec::new(),
            durable: 0,
            block: None,
            joined: Joined::default(),
            start: Joined::default(),
            out: VecDeque::new(),
            before: None,
            has_begun: false,
            lacks_start: false,
            is_over: false,
            tail: Tail::default(),
            counts: Counts::default(),
        }
    }

    /// The next item. None at the end.
    #[allow(clippy::should_implement_trait, reason = "What it gives is only lent, which an iterator cannot.")]
    pub fn next(&mut self) -> Result<Option<Item<'_>>, ReadError> {
        while self.out.is_empty() {
            if self.is_over {
                return Ok(None);
            }
            if !self.next_part() {
                self.advance()?;
            }
        }
        let Some(out) = self.out.pop_front() else { return Ok(None) };
        let whole = |joined: &'_ Joined| joined.of;
        let record = match out {
            Out::Missing(missing) => return Ok(Some(Item::Missing(missing))),
            Out::Whole { header, sequence, body } => {
                let bytes = self.cursor.as_ref().map_or(&[][..], |cursor| cursor.window.bytes());
                Record { header, sequence, payload: &bytes[body] }
            }
            Out::Joined => match whole(&self.joined) {
                Some((header, sequence)) => Record { header, sequence, payload: &self.joined.bytes },
                None => return Ok(None),
            },
            Out::Start => match whole(&self.start) {
                Some((header, sequence)) => Record { header, sequence, payload: &self.start.bytes },
                None => return Ok(None),
            },
        };
        Ok(Some(Item::Record(record)))
    }

    /// How many bytes there are to read in all, as files; and how many were read: for progress.
    pub fn progress(&self) -> (u64, u64) {
        let all: u64 = self.segments.list.iter().map(|segment| segment.bytes).sum();
        let here = match (&self.cursor, self.segments.list.get(self.place)) {
            (Some(cursor), Some(segment)) => cursor.share_of(segment.bytes),
            _ => 0,
        };
        let read = if self.is_over { all } else { self.counts.passed_bytes + here };
        (all, read.min(all))
    }

    /// All segments.
    pub(crate) fn list(&self) -> &[Segment] {
        &self.segments.list
    }

    /// What was read up to now.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Where it ended, once it has: what a run would go on from.
    pub(crate) fn into_tail(self) -> (Segments<'s>, Tail, u64) {
        (self.segments, self.tail, self.next.unwrap_or(0))
    }
}
