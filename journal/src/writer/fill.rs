//! Takes records from the queue into blocks.
//!
//! What holds: a record that does not fit is split, but its header never is, and no part is so small that its header
//! is most of it. What a block holds is not touched once the block is ready.

use super::batch::{Batch, State};
use super::{Durability, Ending, Writer};
use crate::block;
use crate::queue::Drain;
use crate::record::{self, Header, Kind, MORE};

/// The least that a record is split for.
const PART_BYTES: usize = record::HEADER_BYTES + 64;
/// How long a block waits that holds nothing but the engine's looks for what did not come.
const TICKS_NS: u64 = 1_000_000_000;

impl Writer {
    /// Takes records from the queue into blocks, as many as there is room for. `memory` has `blocks` times
    /// `block_bytes`, and is the same at every call: what operations on their way write from it is not touched.
    pub fn fill(&mut self, drain: &mut Drain, memory: &mut [u8], now_ns: u64) {
        if self.ending != Ending::No {
            return;
        }
        while let Some((header, left)) = drain.front() {
            if !self.has_batch(left) {
                break;
            }
            self.put(drain, header, left, memory, now_ns);
            self.put_run(drain, memory, now_ns);
        }
        self.is_more_waiting = !drain.is_empty();
    }

    /// Sees to it that a batch is being filled that has room for so much, or for a part of it.
    fn has_batch(&mut self, left: usize) -> bool {
        let block_bytes = self.plan.block_bytes;
        if let Some(batch) = self.batches.back_mut().filter(|batch| batch.state == State::Filling) {
            let room = batch.room(block_bytes);
            if room >= record::padded(left) || room >= PART_BYTES {
                return true;
            }
            batch.state = State::Ready;
        }
        let Some(memory) = self.free.pop() else { return false };
        let flags = if self.is_in_record { block::CONTINUED } else { 0 };
        self.batches.push_back(Batch::new(memory, self.next, flags));
        true
    }

    /// Puts the record in hand into the batch that is being filled, or as much of it as fits.
    fn put(&mut self, drain: &mut Drain, header: Header, left: usize, memory: &mut [u8], now_ns: u64) {
        let (plan, is_first_part) = (self.plan, !self.is_in_record);
        let Some(batch) = self.batches.back_mut() else { return };
        let bytes = left.min(batch.room(plan.block_bytes) - record::HEADER_BYTES);
        let is_whole = bytes == left;
        let at = batch.memory * plan.block_bytes + block::HEADER_BYTES + batch.payload_bytes;
        let place = &mut memory[at..at + record::padded(bytes)];
        let (head, place) = place.split_at_mut(record::HEADER_BYTES);
        let flags = header.flags | if is_whole { 0 } else { MORE };
        head.copy_from_slice(&Header { flags, ..header }.encode(bytes));
        let (payload, zeros) = place.split_at_mut(bytes);
        drain.take(payload);
        zeros.fill(0);

        if batch.payload_bytes == 0 {
            self.real_ns = header.stamp.real_ns;
            batch.real_ns = self.real_ns;
        }
        batch.payload_bytes += record::padded(bytes);
        batch.count += u32::from(is_first_part);
        batch.is_open = !is_whole;
        batch.due_ns = batch.due_ns.min(now_ns.saturating_add(gather_ns(&plan, header.kind)));
        if batch.room(plan.block_bytes) < PART_BYTES || !is_whole {
            batch.state = State::Ready;
        }
        if header.kind == Kind::Start {
            self.keep_start(header, payload, is_first_part, is_whole);
        }
        self.next += u64::from(is_first_part);
        self.is_in_record = !is_whole;
        if is_whole {
            drain.pass();
        }
    }

    /// Puts the next records, as many as fit whole, behind what is in the batch that is being filled, which is never
    /// nothing. Start records are kept besides, so each of them goes by itself.
    fn put_run(&mut self, drain: &mut Drain, memory: &mut [u8], now_ns: u64) {
        let plan = self.plan;
        let Some(batch) = self.batches.back_mut().filter(|batch| batch.state == State::Filling) else {
            return;
        };
        let at = batch.memory * plan.block_bytes + block::HEADER_BYTES + batch.payload_bytes;
        let place = &mut memory[at..at + batch.room(plan.block_bytes)];
        let (mut count, mut wait_ns) = (0, u64::MAX);
        let bytes = drain.take_run(place, |header| {
            let is_taken = header.kind != Kind::Start;
            if is_taken {
                count += 1;
                wait_ns = wait_ns.min(gather_ns(&plan, header.kind));
            }
            is_taken
        });
        batch.payload_bytes += bytes;
        batch.count += count;
        batch.due_ns = batch.due_ns.min(now_ns.saturating_add(wait_ns));
        if batch.room(plan.block_bytes) < PART_BYTES {
            batch.state = State::Ready;
        }
        self.next += u64::from(count);
    }
}

fn gather_ns(plan: &super::Plan, kind: Kind) -> u64 {
    match (kind, plan.durability) {
        (Kind::Tick, _) => plan.gather_ns.max(TICKS_NS),
        (_, Durability::Sync) => 0,
        _ => plan.gather_ns,
    }
}
