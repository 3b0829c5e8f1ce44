//! Decides what is done next, and when something is due.
//!
//! What holds: blocks are given their places in order, one behind the other. Each question "when" is answered by a
//! function, which both [`Writer::next_op`] and [`Writer::due_ns`] ask: what is due is done, and what cannot be done
//! now is not due.

use super::batch::{Batch, Closing, Flushing, OnItsWay, State, Target};
use super::{Durability, Ending, Flush, Op, Writer};
use crate::block::{self, BlockHeader};

/// In class sync, so many writes are on their way before the next block gathers.
const SYNC_WRITES: usize = 2;

impl Writer {
    /// What is to be done next, if anything is. It may seal a block in `memory` for that.
    pub fn next_op(&mut self, memory: &mut [u8], now_ns: u64) -> Option<Op> {
        self.place_last();
        self.go_on_with_preamble(memory);
        let op = self
            .close()
            .or_else(|| self.close_flushed())
            .or_else(|| self.write_again(now_ns))
            .or_else(|| self.write_preamble(memory));
        if op.is_some() {
            return op;
        }
        if self.issue_time().is_some_and(|at| at <= now_ns) {
            if self.current.is_none() {
                self.begin_segment(memory);
            }
            let op = self.write_preamble(memory).or_else(|| self.write_next(memory, now_ns));
            if op.is_some() {
                return op;
            }
        }
        if self.flush_time().is_some_and(|at| at <= now_ns) {
            return self.flush();
        }
        // What was found not to fit has made the segment full.
        self.close()
    }

    /// When the next block that has no place yet is to be written. None if there is none, or it has to wait for
    /// something to complete.
    pub(super) fn issue_time(&self) -> Option<u64> {
        let batch = self.batches.get(self.issued)?;
        let due_ns = match batch.state {
            State::Filling if self.ending == Ending::No => batch.due_ns,
            _ => 0,
        };
        let is_gathering = batch.state == State::Filling
            && match self.plan.durability {
                Durability::Async => false,
                // What comes while a flush is on its way goes with the next.
                Durability::Group => self.is_flushing(),
                Durability::Sync => self.writes_on_their_way() >= SYNC_WRITES,
            };
        match &self.current {
            _ if is_gathering => None,
            Some(segment) => {
                let is_open = !segment.is_poisoned && !segment.is_full && segment.preamble.is_none();
                is_open.then_some(due_ns)
            }
            None if self.reserve.is_none() || self.ending == Ending::GivenUp => None,
            None => Some(due_ns.max(self.resume_ns)),
        }
    }

    /// When what is written and not covered by a flush is to be flushed. None if that would not help yet.
    pub(super) fn flush_time(&self) -> Option<u64> {
        let segment = self.current.as_ref().filter(|segment| !segment.is_poisoned)?;
        let is_first_written = self.batches.front().is_some_and(|batch| batch.state == State::Written);
        if self.plan.durability != Durability::Group || !is_first_written || self.is_flushing() {
            return None;
        }
        let written = || self.batches.iter().filter(|batch| batch.state == State::Written);
        let is_much =
            self.unflushed_bytes >= self.plan.flush_bytes || written().count() * 2 >= self.plan.blocks - 1;
        let is_end = segment.is_full || self.ending != Ending::No;
        if is_much || is_end && self.writes_on_their_way() == 0 {
            return Some(0);
        }
        written().map(|batch| batch.due_ns).min()
    }

    /// When a write is to be repeated.
    pub(super) fn again_time(&self) -> Option<u64> {
        let segment = self.current.as_ref().filter(|segment| !segment.is_poisoned)?;
        let preamble = segment.preamble.iter().map(|preamble| &preamble.batch);
        let batches = self.batches.iter().take(self.issued).chain(preamble);
        batches.filter(|batch| batch.state == State::Again).map(|batch| batch.again_ns).min()
    }

    /// At the end, makes the last block say so. If all are on their way already, one more is made for it.
    fn place_last(&mut self) {
        if self.ending != Ending::Asked {
            return;
        }
        // Of a record that is not whole, or one still in the queue, none can say that it is before it.
        let flags = if self.is_in_record || self.is_more_waiting { 0 } else { block::LAST };
        if flags != 0 && self.issued == self.batches.len() {
            let Some(memory) = self.free.pop() else { return };
            self.batches.push_back(Batch { real_ns: self.real_ns, ..Batch::new(memory, self.next, 0) });
        }
        if self.issued < self.batches.len()
            && let Some(batch) = self.batches.back_mut()
        {
            batch.flags |= flags;
            batch.state = State::Ready;
        }
        self.ending = Ending::Placed;
    }

    /// Lets go of the current segment, if it is full, or all is done, or it is poisoned.
    fn close(&mut self) -> Option<Op> {
        let segment = self.current.as_ref()?;
        let is_end = self.ending == Ending::Placed && self.batches.is_empty();
        let is_async = self.plan.durability == Durability::Async;
        let is_idle = self.on_its_way.iter().all(|(_, what)| *what == OnItsWay::LastFlush);
        if !is_idle {
            return None;
        }
        if segment.is_poisoned {
            return self.abandon();
        }
        if !(segment.is_full || is_end) || self.issued > 0 || is_async && self.closing.is_some() {
            return None;
        }
        let segment = self.current.take()?;
        let (number, used_bytes) = (segment.number, segment.used_bytes);
        if is_async {
            let (end, unsure) = (self.settled, self.unsure_since(segment.begin));
            self.closing = Some(Closing { number, used_bytes, end, unsure, flush: Flushing::Wanted });
            return self.close_flushed();
        }
        Some(Op::Close { segment: number, used_bytes, is_whole: true })
    }

    /// Takes the next step with the segment before, in class async.
    fn close_flushed(&mut self) -> Option<Op> {
        let closing = self.closing.as_mut()?;
        let segment = closing.number;
        match closing.flush {
            Flushing::Wanted => {
                closing.flush = Flushing::Asked;
                Some(Op::Flush { id: self.begin(OnItsWay::LastFlush), segment })
            }
            Flushing::Asked => None,
            Flushing::Ended { is_whole } => {
                let used_bytes = closing.used_bytes;
                self.closing = None;
                Some(Op::Close { segment, used_bytes, is_whole })
            }
        }
    }

    /// Has the next block at the head of the segment written.
    fn write_preamble(&mut self, memory: &mut [u8]) -> Option<Op> {
        let segment = self.current.as_ref()?;
        if segment.is_poisoned || segment.preamble.as_ref()?.batch.state != State::Ready {
            return None;
        }
        self.place(Target::Preamble, memory)?;
        self.write(Target::Preamble, Flush::No)
    }

    /// Has the next block written, if it fits into the segment.
    fn write_next(&mut self, memory: &mut [u8], now_ns: u64) -> Option<Op> {
        let len = block::padded(self.batches.get(self.issued)?.payload_bytes);
        let segment = self.current.as_mut()?;
        if segment.used_bytes + len as u64 > self.plan.segment_bytes {
            segment.is_full = true;
            return None;
        }
        let target = Target::Batch(self.first_batch + self.issued as u64);
        let links = self.links(len, now_ns);
        self.place(target, memory)?;
        self.issued += 1;
        if !links {
            return self.write(target, Flush::No);
        }
        let flush = self.begin_flush(Some(target));
        self.write(target, Flush::Linked(flush))
    }

    /// Whether a flush is to be linked to the next write: if one is due, and it would cover all that is on its way.
    fn links(&self, len: usize, now_ns: u64) -> bool {
        let is_alone = self.writes_on_their_way() == 0 && !self.is_flushing();
        let is_last = self.batches.get(self.issued + 1).is_none_or(|next| next.state != State::Ready);
        let is_due = self.batches.iter().take(self.issued + 1).any(|batch| batch.due_ns <= now_ns)
            || self.unflushed_bytes + len as u64 >= self.plan.flush_bytes
            || self.ending != Ending::No;
        self.plan.durability == Durability::Group && is_alone && is_last && is_due
    }

    /// Gives a block its header and its place, behind all others.
    fn place(&mut self, target: Target, memory: &mut [u8]) -> Option<()> {
        let (previous_crc, durable, block_bytes) = (self.last_crc, self.told_durable, self.plan.block_bytes);
        let segment = self.current.as_mut()?;
        let (identity, number) = (segment.identity, segment.number);
        let (offset, index) = (segment.used_bytes, segment.blocks);
        let batch = self.target(target)?;
        let header = BlockHeader {
            crc: 0,
            payload_bytes: batch.payload_bytes as u32,
            segment: identity,
            first: batch.first,
            count: batch.count,
            flags: batch.flags,
            durable,
            previous_crc,
            index,
            real_ns: batch.real_ns,
            number,
        };
        let (len, crc) = block::seal(&mut memory[batch.memory * block_bytes..][..block_bytes], &header);
        (batch.offset, batch.len, batch.crc) = (offset, len, crc);
        self.last_crc = crc;
        let segment = self.current.as_mut()?;
        segment.used_bytes += len as u64;
        segment.blocks += 1;
        Some(())
    }

    /// Has a block that has its place written there. In class sync it is written through.
    fn write(&mut self, target: Target, flush: Flush) -> Option<Op> {
        let flush = if self.plan.durability == Durability::Sync { Flush::Through } else { flush };
        let segment = self.current.as_ref()?.number;
        let batch = self.target(target)?;
        batch.state = State::Writing;
        let (block, len, offset) = (batch.memory, batch.len, batch.offset);
        let id = self.begin(OnItsWay::Write(target));
        Some(Op::Write { id, segment, block, len, offset, flush })
    }

    /// Has a block written again whose write was cut short, if it is time.
    fn write_again(&mut self, now_ns: u64) -> Option<Op> {
        if self.again_time()? > now_ns {
            return None;
        }
        let is_now = |batch: &Batch| batch.state == State::Again && batch.again_ns <= now_ns;
        let place = self.batches.iter().take(self.issued).position(is_now);
        let target = place.map_or(Target::Preamble, |place| Target::Batch(self.first_batch + place as u64));
        self.write(target, Flush::No)
    }

    /// Has what is written flushed.
    fn flush(&mut self) -> Option<Op> {
        let segment = self.current.as_ref()?.number;
        Some(Op::Flush { id: self.begin_flush(None), segment })
    }

    fn begin_flush(&mut self, link: Option<Target>) -> super::OpId {
        let ordinal = self.flushes;
        self.flushes += 1;
        self.unflushed_bytes = 0;
        self.begin(OnItsWay::Flush { ordinal, is_linked: link.is_some(), link })
    }
}
