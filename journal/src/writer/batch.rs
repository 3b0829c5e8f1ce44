//! What is on its way to the disk, and how far it is: batches of records, each of which becomes a block, and segments.
//!
//! A batch is free → filling → ready → writing (→ again → writing) → written → durable. It gets its header, its place
//! and its CRC when it is first written, and keeps them, unless its segment is poisoned: then it is ready again.

use super::OpId;
use crate::block;

/// What becomes a block.
#[derive(Debug)]
pub(super) struct Batch {
    /// Which block of the memory holds it.
    pub(super) memory: usize,
    pub(super) payload_bytes: usize,
    /// Sequence of the first record that begins in it, or would.
    pub(super) first: u64,
    pub(super) count: u32,
    /// Those of the block.
    pub(super) flags: u32,
    /// Whether its last record goes on in the next.
    pub(super) is_open: bool,
    /// Receive time of its first record.
    pub(super) real_ns: u64,
    /// When it is to be written, and in class group flushed, even if it is not full.
    pub(super) due_ns: u64,
    pub(super) state: State,
    /// Where and as what it is written, once that is known.
    pub(super) offset: u64,
    pub(super) len: usize,
    pub(super) crc: u32,
    /// How often its write had to be repeated, and when it may be.
    pub(super) repeats: u32,
    pub(super) again_ns: u64,
    /// How many flushes had been asked for when it was written: none of them covers it, but one linked to it.
    pub(super) flushes_before: u64,
    /// The flush linked to it has ended well, and was told of before its write.
    pub(super) is_flushed: bool,
}

/// How far a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Filling,
    Ready,
    Writing,
    /// It is to be written again, at the same place.
    Again,
    Written,
    Durable,
}

/// The segment that is written to.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) identity: [u8; 16],
    pub(super) used_bytes: u64,
    /// How many blocks were given a place in it.
    pub(super) blocks: u32,
    /// How many records were settled when it was begun.
    pub(super) begin: u64,
    /// The next block does not fit.
    pub(super) is_full: bool,
    pub(super) is_poisoned: bool,
    /// None once all of it is written.
    pub(super) preamble: Option<Preamble>,
}

/// The block at the head of a segment that is being written.
#[derive(Debug)]
pub(super) struct Preamble {
    pub(super) batch: Batch,
    /// Of which start record it is.
    pub(super) sequence: u64,
    /// How much of that has been put, this block included.
    pub(super) put: usize,
    pub(super) is_last: bool,
}

/// A segment of class async that is complete, but not flushed.
#[derive(Debug)]
pub(super) struct Closing {
    pub(super) number: u64,
    pub(super) used_bytes: u64,
    /// How many records are settled with it, and how many may be lost if its flush fails.
    pub(super) end: u64,
    pub(super) unsure: u64,
    pub(super) flush: Flushing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flushing {
    Wanted,
    Asked,
    Ended { is_whole: bool },
}

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnItsWay {
    Write(Target),
    Flush {
        /// How many were asked for before it.
        ordinal: u64,
        /// Whether it waits for a write; and which block it covers for that, unless this write is repeated.
        is_linked: bool,
        link: Option<Target>,
    },
    /// The flush of the segment that is closing.
    LastFlush,
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// A block at the head of the segment.
    Preamble,
    /// The batch of this number.
    Batch(u64),
}

impl Batch {
    /// One to be filled.
    pub(super) fn new(memory: usize, first: u64, flags: u32) -> Self {
        Self {
            memory,
            payload_bytes: 0,
            first,
            count: 0,
            flags,
            is_open: false,
            real_ns: 0,
            due_ns: u64::MAX,
            state: State::Filling,
            offset: 0,
            len: 0,
            crc: 0,
            repeats: 0,
            again_ns: 0,
            flushes_before: 0,
            is_flushed: false,
        }
    }

    /// The sequence of the first record that is not whole once this is there.
    pub(super) fn whole_until(&self) -> u64 {
        self.first + u64::from(self.count) - u64::from(self.is_open)
    }

    /// How much more it can take.
    pub(super) fn room(&self, block_bytes: usize) -> usize {
        block_bytes - block::HEADER_BYTES - self.payload_bytes
    }

    /// As it was before it was given a place.
    pub(super) fn unplace(&mut self) {
        if self.state != State::Filling {
            self.state = State::Ready;
        }
        (self.repeats, self.again_ns, self.is_flushed) = (0, 0, false);
    }
}

impl super::Writer {
    /// The batch that is meant, unless it is settled.
    pub(super) fn target(&mut self, target: Target) -> Option<&mut Batch> {
        match target {
            Target::Preamble => Some(&mut self.current.as_mut()?.preamble.as_mut()?.batch),
            Target::Batch(number) => {
                let place = usize::try_from(number.checked_sub(self.first_batch)?).ok()?;
                self.batches.get_mut(place)
            }
        }
    }

    /// Has an operation begun.
    pub(super) fn begin(&mut self, what: OnItsWay) -> OpId {
        let id = OpId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        self.on_its_way.push((id, what));
        id
    }
}
