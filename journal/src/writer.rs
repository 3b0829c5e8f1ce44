//! What is written when, and how far it is durable: a state machine that knows neither files nor rings.
//!
//! Whoever drives it gives it memory for blocks, prepared segments, records to drain, the time, and the outcomes of
//! the [`Op`]s that it asks for, in any order. What holds:
//!
//! - Blocks go to ever new places: none that was written is written over.
//! - `durable` rises only when a flush has ended well that began after all blocks below it were written. A flush that
//!   fails is not tried again: its segment is poisoned, and all that is not durable goes to the next one.
//! - Blocks that are not durable stay in memory, but for [`Durability::Async`], which promises nothing.
//! - A write that was cut short or refused for the moment is written again, whole, at the same place.
//! - The first blocks of a segment hold the latest [`Kind::Start`](crate::Kind::Start) record, repeated.
//! - Nothing that fails stops it: it waits for the next segment, and the queue spills meanwhile.

use crate::queue::Drain;

/// What is promised of what was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Written soon, flushed only when a segment is complete and at the end: a power cut may take all since.
    Async,
    /// Written and flushed in groups: a power cut takes what came within the last group.
    #[default]
    Group,
    /// Each block is written through (RWF_DSYNC) as soon as there is something for it.
    Sync,
}

/// How a journal is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// What is promised.
    pub durability: Durability,
    /// The largest block: a multiple of 4 KiB, at most 1 MiB.
    pub block_bytes: usize,
    /// The length of a segment: a multiple of 4 KiB, at least four blocks.
    pub segment_bytes: u64,
    /// How long a block that is not full waits for more. Not in class sync, where it never waits.
    pub gather_ns: u64,
    /// In class group: after so many bytes written, a flush is asked for even if blocks are full sooner than
    /// `gather_ns`.
    pub flush_bytes: u64,
    /// How many blocks there is memory for: at least 4. So many may be on their way, or not durable yet.
    pub blocks: usize,
}

/// Where a run goes on: what [`recover`](crate::recover) has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// The sequence of the next record. All before it are durable.
    pub next: u64,
    /// CRC of the last block; 0 if there is none.
    pub previous_crc: u32,
}

/// Names an operation while it is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpId(pub u32);

/// What the kernel said went wrong: an errno.
pub type Errno = i32;

/// How what is written becomes durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// Not by this.
    No,
    /// Written through: RWF_DSYNC.
    Through,
    /// By an fdatasync that begins once the write has ended well. It completes by this name, with ECANCELED if the
    /// write did not.
    Linked(OpId),
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Write `len` bytes of block memory number `block` to a segment.
    Write {
        /// Completes by this name, with the number of bytes written.
        id: OpId,
        /// The number of the segment.
        segment: u64,
        /// Which block of the memory.
        block: usize,
        /// How many bytes of it: a multiple of 4 KiB.
        len: usize,
        /// Where: a multiple of 4 KiB.
        offset: u64,
        /// Whether it is to be durable.
        flush: Flush,
    },
    /// Flush a segment: fdatasync. Completes with any number of bytes.
    Flush {
        /// Completes by this name.
        id: OpId,
        /// The number of the segment.
        segment: u64,
    },
    /// Nothing more goes to this segment, and nothing of it is on its way. Does not complete.
    Close {
        /// The number of the segment.
        segment: u64,
        /// How much of it was used; the rest is zeros.
        used_bytes: u64,
        /// Whether all of it is durable. One that is not was poisoned.
        is_whole: bool,
    },
}

/// What keeps the writer from going on, or has happened to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Condition {
    /// It has nowhere to write: it waits for a segment.
    pub is_stalled: bool,
    /// Writes that failed, but for those that were merely cut short.
    pub write_failures: u64,
    /// Flushes that failed.
    pub flush_failures: u64,
    /// The latest of both.
    pub last_errno: Option<Errno>,
    /// Segments that were poisoned.
    pub poisoned: u64,
    /// In class async: records that were written, not flushed, and may be lost to a flush that failed.
    pub unsure: u64,
}

/// See above. Driven like this, again and again: [`Writer::complete`] for each outcome, [`Writer::fill`], and
/// [`Writer::next_op`] until there is none; then sleep until something completes, records come, or
/// [`Writer::due_ns`].
#[derive(Debug)]
pub struct Writer {
    // Filled in by whoever writes it.
}

impl Writer {
    /// A writer that goes on at `position`.
    pub fn new(plan: Plan, position: Position) -> Self {
        todo!()
    }

    /// Whether a prepared segment is wanted: it holds none in reserve.
    pub fn wants_segment(&self) -> bool {
        todo!()
    }

    /// Takes a prepared segment: a file of `segment_bytes` zeros, with this number and identity. Numbers rise.
    pub fn give_segment(&mut self, number: u64, identity: [u8; 16]) {
        todo!()
    }

    /// Takes records from the queue into blocks, as many as there is room for. `memory` has `blocks` times
    /// `block_bytes`, and is the same at every call: what operations on their way write from it is not touched.
    pub fn fill(&mut self, drain: &mut Drain, memory: &mut [u8], now_ns: u64) {
        todo!()
    }

    /// What is to be done next, if anything is. It may seal a block in `memory` for that.
    pub fn next_op(&mut self, memory: &mut [u8], now_ns: u64) -> Option<Op> {
        todo!()
    }

    /// Tells how an operation has ended.
    pub fn complete(&mut self, id: OpId, outcome: Result<usize, Errno>, now_ns: u64) {
        todo!()
    }

    /// When a block is due that is not full, or an attempt that is to be repeated.
    pub fn due_ns(&self) -> Option<u64> {
        todo!()
    }

    /// Has all that was taken in written, flushed and closed, with a last block that says so. Nothing is taken in
    /// any more. It is done when [`Writer::is_finished`].
    pub fn finish(&mut self) {
        todo!()
    }

    /// Whether all is closed, or nothing more can be done.
    pub fn is_finished(&self) -> bool {
        todo!()
    }

    /// How many records were written: all of a lower sequence.
    pub fn written(&self) -> u64 {
        todo!()
    }

    /// How many records are durable: all of a lower sequence.
    pub fn durable(&self) -> u64 {
        todo!()
    }

    /// How it goes.
    pub fn condition(&self) -> Condition {
        todo!()
    }
}
