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
//! - Nothing that fails stops it: it waits for the next segment, and the queue spills meanwhile. Segments that fail
//!   one after the other are begun ever more slowly.
//! - There is one segment at a time, so a failure concerns one only: the next is begun once all of the last is durable.
//!   In class async, once all of it is written, and its flush goes on meanwhile. There is one flush at a time, too:
//!   of two, one might be told of the failure that concerns both.
//!
//! `batch` is what is on its way and how far it is, `fill` takes records in, `preamble` is the head of a segment,
//! `issue` decides what is done next, `outcome` what follows from it.

mod batch;
mod fill;
mod issue;
mod outcome;
mod preamble;
#[cfg(test)]
mod tests;

use batch::{Batch, Closing, OnItsWay, Segment};
use preamble::Start;
use std::collections::VecDeque;

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
    /// Writes that failed, but for those that could be repeated.
    pub write_failures: u64,
    /// Flushes that failed.
    pub flush_failures: u64,
    /// The latest of both.
    pub last_errno: Option<Errno>,
    /// Segments that were poisoned.
    pub poisoned: u64,
    /// In class async: at most so many records were written, not flushed, and may be lost, since their segment was
    /// poisoned.
    pub unsure: u64,
}

/// See above. Driven like this, again and again: [`Writer::complete`] for each outcome, [`Writer::fill`], and
/// [`Writer::next_op`] until there is none; then sleep until something completes, records come, or
/// [`Writer::due_ns`].
#[derive(Debug)]
pub struct Writer {
    plan: Plan,
    /// Block memory that holds nothing. The last block of the memory is not among them: see `preamble`.
    free: Vec<usize>,
    /// What is not settled yet, in order. Only the last is being filled.
    batches: VecDeque<Batch>,
    /// The number of the first of them, counted since the beginning.
    first_batch: u64,
    /// How many of them have a place in the current segment.
    issued: usize,
    current: Option<Segment>,
    reserve: Option<(u64, [u8; 16])>,
    /// In class async: the segment before, until it is flushed.
    closing: Option<Closing>,
    on_its_way: Vec<(OpId, OnItsWay)>,
    next_id: u32,
    /// How many flushes were asked for.
    flushes: u64,
    /// Bytes written since the last flush was asked for.
    unflushed_bytes: u64,
    starts: VecDeque<Start>,
    /// The sequence of the next record that is taken in.
    next: u64,
    /// Where this run began.
    begin: u64,
    /// Receive time of the first record of the last block.
    real_ns: u64,
    /// Whether the record in hand was begun in the block before.
    is_in_record: bool,
    /// Whether the last look at the queue left something there.
    is_more_waiting: bool,
    /// CRC of the last block that was given a place.
    last_crc: u32,
    /// CRC of the last block that is settled: durable or, in class async, written.
    settled_crc: u32,
    /// How many records are settled.
    settled: u64,
    /// Whether one more goes on in a block that is not.
    is_settled_open: bool,
    written: u64,
    durable: u64,
    /// What blocks say is durable. In class async it passes over what is unsure, since nothing makes that durable any
    /// more: a reader is not to take a hole there for the end, and cut all that is behind it.
    told_durable: u64,
    condition: Condition,
    poisoned_ns: u64,
    /// Poisoned segments in close succession.
    strikes: u32,
    /// When the next segment may be begun.
    resume_ns: u64,
    ending: Ending,
}

/// How far [`Writer::finish`] has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// It was not asked for.
    No,
    /// The last block is not made yet.
    Asked,
    /// The last block is made.
    Placed,
    /// The disk has failed too often meanwhile.
    GivenUp,
}

impl Writer {
    /// A writer that goes on at `position`.
    pub fn new(plan: Plan, position: Position) -> Self {
        debug_assert!(plan.blocks >= 4 && plan.segment_bytes >= 4 * plan.block_bytes as u64);
        Self {
            plan,
            free: (0..plan.blocks.saturating_sub(1)).rev().collect(),
            batches: VecDeque::with_capacity(plan.blocks),
            first_batch: 0,
            issued: 0,
            current: None,
            reserve: None,
            closing: None,
            on_its_way: Vec::with_capacity(plan.blocks + 4),
            next_id: 0,
            flushes: 0,
            unflushed_bytes: 0,
            starts: VecDeque::with_capacity(4),
            next: position.next,
            begin: position.next,
            real_ns: 0,
            is_in_record: false,
            is_more_waiting: false,
            last_crc: position.previous_crc,
            settled_crc: position.previous_crc,
            settled: position.next,
            is_settled_open: false,
            written: position.next,
            durable: position.next,
            told_durable: position.next,
            condition: Condition::default(),
            poisoned_ns: 0,
            strikes: 0,
            resume_ns: 0,
            ending: Ending::No,
        }
    }

    /// Whether a prepared segment is wanted: it holds none in reserve. At the end only if one is needed.
    pub fn wants_segment(&self) -> bool {
        match self.ending {
            Ending::No => self.reserve.is_none(),
            Ending::Asked | Ending::Placed => {
                self.is_stalled() || self.current_is_full() && self.reserve.is_none()
            }
            Ending::GivenUp => false,
        }
    }

    /// Takes a prepared segment: a file of `segment_bytes` zeros, with this number and identity. Numbers rise.
    /// One that is not wanted is not taken.
    pub fn give_segment(&mut self, number: u64, identity: [u8; 16]) {
        if self.reserve.is_none() {
            self.reserve = Some((number, identity));
        }
    }

    /// When a block is due that is not full, or an attempt that is to be repeated. Told after [`Writer::next_op`] has
    /// come to its end, it is never in the past.
    pub fn due_ns(&self) -> Option<u64> {
        [self.issue_time(), self.flush_time(), self.again_time()].into_iter().flatten().min()
    }

    /// Has all that was taken in written, flushed and closed, with a last block that says so, unless the queue was
    /// not empty when it was drained last. Nothing is taken in any more. It is done when [`Writer::is_finished`].
    pub fn finish(&mut self) {
        if self.ending == Ending::No {
            self.ending = if self.next > self.begin { Ending::Asked } else { Ending::Placed };
            self.strikes = 0;
        }
    }

    /// Whether all is closed, or nothing more can be done: it is stalled, or the disk fails again and again. A stalled
    /// one goes on if it is given a segment after all.
    pub fn is_finished(&self) -> bool {
        let is_idle = self.on_its_way.is_empty() && self.current.is_none() && self.closing.is_none();
        let is_done = match self.ending {
            Ending::No => false,
            Ending::Asked => self.is_stalled(),
            Ending::Placed => self.batches.is_empty() || self.is_stalled(),
            Ending::GivenUp => true,
        };
        is_idle && is_done
    }

    /// How many records were written: all of a lower sequence.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// How many records are durable: all of a lower sequence. In class async it stands still once
    /// [`Condition::unsure`] has counted some.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// How it goes.
    pub fn condition(&self) -> Condition {
        Condition { is_stalled: self.is_stalled(), ..self.condition }
    }

    fn is_stalled(&self) -> bool {
        let has_work = !self.batches.is_empty() || self.ending == Ending::Asked;
        has_work && self.current.is_none() && self.reserve.is_none()
    }

    fn current_is_full(&self) -> bool {
        self.current.as_ref().is_some_and(|segment| segment.is_full)
    }

    fn writes_on_their_way(&self) -> usize {
        self.on_its_way.iter().filter(|(_, what)| matches!(what, OnItsWay::Write(_))).count()
    }

    fn is_flushing(&self) -> bool {
        self.on_its_way.iter().any(|(_, what)| matches!(what, OnItsWay::Flush { .. }))
    }
}
