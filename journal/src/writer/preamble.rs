//! The head of a segment: the start record that was in force where it begins, repeated, in blocks of its own.
//!
//! What holds: they are written one after the other, from the last block of the memory, which serves nothing else; and
//! no other block of the segment is written before they are. So a flush that covers any of those covers them.

use super::batch::{Batch, Preamble, State};
use super::{Segment, Writer};
use crate::block;
use crate::record::{self, Header, MORE, REPEATED};

/// A start record that is, or may become, the one to be repeated.
#[derive(Debug)]
pub(super) struct Start {
    sequence: u64,
    header: Header,
    payload: Vec<u8>,
    is_whole: bool,
}

impl Writer {
    /// Keeps a start record, or a part of it, and lets go of those that are not in force any more where the next
    /// segment can begin at the earliest. There are as many as the block memory holds, and one.
    pub(super) fn keep_start(&mut self, header: Header, part: &[u8], is_first_part: bool, is_whole: bool) {
        if is_first_part {
            while self.starts.get(1).is_some_and(|start| start.is_whole && start.sequence < self.settled) {
                self.starts.pop_front();
            }
            let payload = Vec::with_capacity(part.len());
            self.starts.push_back(Start { sequence: self.next, header, payload, is_whole: false });
        }
        if let Some(start) = self.starts.back_mut() {
            start.payload.extend_from_slice(part);
            start.is_whole = is_whole;
        }
    }

    /// The sequence of the start record to be repeated before this one. None if it would take more than half of the
    /// segment.
    fn start_before(&self, first: u64) -> Option<u64> {
        let start = self.starts.iter().rev().find(|start| start.is_whole && start.sequence < first)?;
        let blocks = start.payload.len() / self.part_bytes() + 1;
        ((blocks * self.plan.block_bytes) as u64 <= self.plan.segment_bytes / 2).then_some(start.sequence)
    }

    /// How much of a payload is in one block.
    fn part_bytes(&self) -> usize {
        self.plan.block_bytes - block::HEADER_BYTES - record::HEADER_BYTES
    }

    /// The next block at the head of a segment, of which so much of this start record was put. Where that is nothing,
    /// there is one even if the record is empty.
    pub(super) fn preamble(&self, sequence: u64, put: usize, memory: &mut [u8]) -> Option<Preamble> {
        let first = self.batches.front()?.first;
        let start = self.starts.iter().find(|start| start.sequence == sequence)?;
        let left = &start.payload[put..];
        let bytes = left.len().min(self.part_bytes());
        let more = if bytes < left.len() { MORE } else { 0 };
        let header = Header { flags: REPEATED | more, ..start.header };

        let flags = if put > 0 { block::CONTINUED } else { 0 };
        let mut batch = Batch::new(self.plan.blocks - 1, first, flags);
        let at = batch.memory * self.plan.block_bytes + block::HEADER_BYTES;
        let place = &mut memory[at..at + record::padded(bytes)];
        place[..record::HEADER_BYTES].copy_from_slice(&header.encode(bytes));
        place[record::HEADER_BYTES..][..bytes].copy_from_slice(&left[..bytes]);
        place[record::HEADER_BYTES + bytes..].fill(0);
        batch.payload_bytes = record::padded(bytes);
        batch.real_ns = header.stamp.real_ns;
        batch.state = State::Ready;
        Some(Preamble { batch, sequence, put: put + bytes, is_last: more == 0 })
    }

    /// Once a block at the head is written, makes the next one, if there is more.
    pub(super) fn go_on_with_preamble(&mut self, memory: &mut [u8]) {
        let Some(segment) = self.current.as_ref().filter(|segment| !segment.is_poisoned) else { return };
        let Some(preamble) = segment.preamble.as_ref().filter(|it| it.batch.state >= State::Written) else {
            return;
        };
        let next =
            if preamble.is_last { None } else { self.preamble(preamble.sequence, preamble.put, memory) };
        if let Some(segment) = &mut self.current {
            segment.preamble = next;
        }
    }

    /// Begins the reserve segment.
    pub(super) fn begin_segment(&mut self, memory: &mut [u8]) {
        let Some((number, identity)) = self.reserve.take() else { return };
        let start = self.batches.front().and_then(|batch| self.start_before(batch.first));
        self.unflushed_bytes = 0;
        self.current = Some(Segment {
            number,
            identity,
            used_bytes: 0,
            blocks: 0,
            begin: self.settled,
            is_full: false,
            is_poisoned: false,
            preamble: start.and_then(|sequence| self.preamble(sequence, 0, memory)),
        });
    }
}
