//! The writer's rules, one by one. That all of them together lose nothing, `tests/simulated_disk.rs` shows.

use super::*;
use crate::block::{self, BlockHeader, CONTINUED, LAST};
use crate::record::{self, Header, Kind, MORE, REPEATED, Stamp};
use crate::{Drain, Tap, queue};

const BLOCK: usize = 4096;
/// A payload that leaves no room in a block for another record.
const FULL: usize = BLOCK - block::HEADER_BYTES - record::HEADER_BYTES;
const MS: u64 = 1_000_000;
const EIO: Errno = 5;
const EAGAIN: Errno = 11;
const ENOSPC: Errno = 28;
const ECANCELED: Errno = 125;

struct Bench {
    writer: Writer,
    tap: Tap,
    drain: Drain,
    memory: Vec<u8>,
    now_ns: u64,
}

fn bench(durability: Durability) -> Bench {
    bench_of(durability, 1 << 20)
}

fn bench_of(durability: Durability, segment_bytes: u64) -> Bench {
    let plan = Plan {
        durability,
        block_bytes: BLOCK,
        segment_bytes,
        gather_ns: 5 * MS,
        flush_bytes: 1 << 20,
        blocks: 8,
    };
    let (tap, drain) = queue(1 << 16, 1);
    let mut writer = Writer::new(plan, Position::default());
    writer.give_segment(1, [1; 16]);
    Bench { writer, tap, drain, memory: vec![0; 8 * BLOCK], now_ns: 0 }
}

impl Bench {
    fn push(&mut self, kind: Kind, len: usize) {
        let stamp = Stamp { real_ns: 3, mono_ns: 4 };
        let header = Header { kind, flags: 0, line: 0, feed: 0, generation: 0, stamp };
        assert!(self.tap.push(header, len, |put| put(&vec![kind as u8; len])));
    }

    fn frames(&mut self, count: usize, len: usize) -> Vec<Op> {
        (0..count).for_each(|_| self.push(Kind::Frame, len));
        self.ops()
    }

    fn ops(&mut self) -> Vec<Op> {
        self.writer.fill(&mut self.drain, &mut self.memory, self.now_ns);
        std::iter::from_fn(|| self.writer.next_op(&mut self.memory, self.now_ns)).collect()
    }

    fn ops_after(&mut self, ns: u64) -> Vec<Op> {
        self.now_ns += ns;
        self.ops()
    }

    /// Completes them as they should be, in order.
    fn end(&mut self, ops: &[Op]) {
        for op in ops {
            if let Op::Write { id, len, flush, .. } = *op {
                self.tell(id, Ok(len));
                if let Flush::Linked(id) = flush {
                    self.tell(id, Ok(0));
                }
            } else if let Op::Flush { id, .. } = *op {
                self.tell(id, Ok(0));
            }
        }
    }

    /// Goes on until nothing is to be done at once.
    fn end_all(&mut self, mut ops: Vec<Op>) -> Vec<Op> {
        let mut all = Vec::new();
        while !ops.is_empty() {
            self.end(&ops);
            all.append(&mut ops);
            ops = self.ops();
        }
        all
    }

    fn tell(&mut self, id: OpId, outcome: Result<usize, Errno>) {
        self.writer.complete(id, outcome, self.now_ns);
    }

    fn block(&self, op: &Op) -> (BlockHeader, Vec<u8>) {
        let Op::Write { block, len, .. } = *op else { panic!("{op:?}") };
        let (header, payload) = block::open(&self.memory[block * BLOCK..][..len]).unwrap();
        (header, payload.to_vec())
    }

    fn marks(&self) -> (u64, u64) {
        (self.writer.written(), self.writer.durable())
    }
}

fn write(op: &Op) -> (OpId, u64, u64, Flush) {
    let Op::Write { id, segment, offset, flush, .. } = *op else { panic!("{op:?}") };
    (id, segment, offset, flush)
}

fn linked(op: &Op) -> (OpId, OpId) {
    let (id, _, _, Flush::Linked(flush)) = write(op) else { panic!("{op:?}") };
    (id, flush)
}

fn flush(op: &Op) -> OpId {
    let Op::Flush { id, .. } = *op else { panic!("{op:?}") };
    id
}

#[test]
fn a_block_that_is_due_brings_its_flush() {
    let mut bench = bench(Durability::Group);
    assert_eq!(bench.frames(1, 10), []);
    assert_eq!(bench.writer.due_ns(), Some(5 * MS));
    assert_eq!(bench.ops_after(5 * MS - 1), []);
    let ops = bench.ops_after(1);
    let (id, flush) = linked(&ops[0]);
    assert_eq!((ops.len(), bench.writer.due_ns()), (1, None));
    // Told in the wrong order.
    bench.tell(flush, Ok(0));
    assert_eq!(bench.marks(), (0, 0));
    bench.tell(id, Ok(BLOCK));
    assert_eq!(bench.marks(), (1, 1));
}

#[test]
fn a_flush_covers_only_what_was_written_before_it() {
    let mut bench = bench(Durability::Group);
    let ops = bench.frames(3, FULL);
    assert!(ops.iter().all(|op| write(op).3 == Flush::No), "{ops:?}");
    bench.tell(write(&ops[1]).0, Ok(BLOCK));
    assert_eq!(bench.ops_after(5 * MS), [], "a flush would not raise the watermark");
    bench.tell(write(&ops[0]).0, Ok(BLOCK));
    assert_eq!(bench.marks(), (2, 0));
    let first = bench.ops();
    bench.tell(write(&ops[2]).0, Ok(BLOCK));
    assert_eq!(bench.ops(), [], "one flush at a time");
    bench.tell(flush(&first[0]), Ok(0));
    assert_eq!(bench.marks(), (3, 2));
    let second = bench.ops();
    bench.tell(flush(&second[0]), Ok(0));
    assert_eq!(bench.marks(), (3, 3));
}

#[test]
fn a_linked_flush_covers_its_write_and_what_was_written_before() {
    let mut bench = bench(Durability::Group);
    let full = bench.frames(1, FULL);
    bench.end(&full);
    assert_eq!((bench.frames(1, 10), bench.marks()), (vec![], (1, 0)));
    bench.push(Kind::Frame, 10);
    let ops = bench.ops_after(5 * MS);
    let (id, flush) = linked(&ops[0]);
    bench.tell(id, Ok(BLOCK));
    // Written meanwhile, so not covered.
    let late = bench.frames(1, FULL);
    bench.end(&late);
    bench.tell(flush, Ok(0));
    assert_eq!(bench.marks(), (4, 3));
}

#[test]
fn bytes_enough_are_flushed_before_it_is_time() {
    let mut bench = bench(Durability::Group);
    bench.writer.plan.flush_bytes = 3 * BLOCK as u64;
    let ops = bench.frames(2, FULL);
    bench.end(&ops);
    assert_eq!(bench.ops(), []);
    let ops = bench.frames(1, FULL);
    linked(&ops[0]);
}

#[test]
fn a_short_write_is_repeated_whole_at_the_same_place() {
    for outcome in [Ok(512), Ok(0), Err(EAGAIN)] {
        let mut bench = bench(Durability::Group);
        bench.frames(1, 10);
        let ops = bench.ops_after(5 * MS);
        let (id, flush) = linked(&ops[0]);
        let before = bench.block(&ops[0]);
        bench.tell(flush, Err(ECANCELED));
        bench.tell(id, outcome);
        let again = bench.frames(1, 10);
        assert_eq!(write(&again[0]), (write(&again[0]).0, 1, 0, Flush::No));
        assert_eq!(bench.block(&again[0]), before);
        bench.end(&again);
        assert_eq!(bench.marks(), (1, 0), "nothing covers it yet");
        let ops = bench.ops();
        bench.end(&ops);
        assert_eq!(bench.marks(), (1, 1));
        assert_eq!(bench.writer.condition(), Condition::default());
    }
}

#[test]
fn the_flush_of_an_attempt_says_nothing_of_the_next() {
    let mut bench = bench(Durability::Group);
    bench.frames(1, 10);
    let ops = bench.ops_after(5 * MS);
    let (id, flush) = linked(&ops[0]);
    bench.tell(id, Ok(512));
    let again = bench.ops();
    bench.end(&again);
    bench.tell(flush, Ok(0));
    assert_eq!(bench.marks(), (1, 0));
}

#[test]
fn a_write_is_repeated_ever_later_and_not_for_ever() {
    let mut bench = bench(Durability::Sync);
    let mut ops = bench.frames(1, 10);
    let mut waits = Vec::new();
    while bench.writer.condition().poisoned == 0 {
        bench.tell(write(&ops[0]).0, Err(EAGAIN));
        ops = bench.ops();
        if ops.is_empty() {
            let due_ns = bench.writer.due_ns().unwrap();
            waits.push((due_ns - bench.now_ns) / MS);
            ops = bench.ops_after(due_ns - bench.now_ns);
        }
    }
    assert_eq!(waits, [1, 2, 4, 8, 16]);
    assert_eq!(bench.writer.condition().last_errno, Some(EAGAIN));
}

#[test]
fn a_failed_flush_is_not_tried_again() {
    let mut bench = bench(Durability::Group);
    bench.frames(1, 10);
    let ops = bench.ops_after(5 * MS);
    bench.end(&ops);
    let settled = bench.block(&ops[0]).0;
    let writes = bench.frames(3, FULL);
    bench.end(&writes[..2]);
    let flushes = bench.ops_after(5 * MS);
    bench.writer.give_segment(2, [2; 16]);
    bench.tell(flush(&flushes[0]), Err(EIO));
    assert_eq!(bench.ops_after(9 * MS), [], "one write is still on its way");
    bench.end(&writes[2..]);
    assert_eq!(bench.marks(), (3, 1));

    let ops = bench.ops();
    assert_eq!(ops[0], Op::Close { segment: 1, used_bytes: 4 * BLOCK as u64, is_whole: false });
    assert_eq!(ops.iter().skip(1).map(|op| write(op).1).collect::<Vec<_>>(), [2, 2, 2]);
    let headers: Vec<BlockHeader> = ops[1..].iter().map(|op| bench.block(op).0).collect();
    assert_eq!(headers[0].previous_crc, settled.crc);
    assert!(headers.windows(2).all(|pair| pair[1].previous_crc == pair[0].crc));
    for (place, header) in headers.iter().enumerate() {
        assert_eq!((header.first, header.index), (1 + place as u64, place as u32));
        assert_eq!((header.segment, header.number), ([2; 16], 2));
    }
    bench.end_all(ops);
    bench.ops_after(5 * MS);
    assert_eq!(bench.writer.condition().poisoned, 1);
    assert_eq!(bench.writer.condition().flush_failures, 1);
}

#[test]
fn nothing_becomes_durable_in_a_poisoned_segment() {
    let mut bench = bench(Durability::Sync);
    let ops = [bench.frames(1, 10), bench.frames(1, 10)].concat();
    bench.tell(write(&ops[1]).0, Err(EIO));
    bench.tell(write(&ops[0]).0, Ok(BLOCK));
    assert_eq!(bench.marks(), (0, 0));
    let close = Op::Close { segment: 1, used_bytes: 2 * BLOCK as u64, is_whole: false };
    assert_eq!((bench.ops(), bench.writer.condition().is_stalled), (vec![close], true));
    bench.writer.give_segment(2, [2; 16]);
    let ops = bench.ops();
    bench.end_all(ops);
    assert_eq!(bench.marks(), (2, 2));
}

#[test]
fn segments_that_fail_in_a_row_are_begun_ever_more_slowly() {
    let mut bench = bench(Durability::Group);
    bench.push(Kind::Frame, FULL);
    let mut waits = Vec::new();
    for number in 2..9 {
        let mut ops = bench.ops();
        if ops.is_empty() {
            let due_ns = bench.writer.due_ns().unwrap();
            waits.push((due_ns - bench.now_ns) / MS);
            ops = bench.ops_after(due_ns - bench.now_ns);
        }
        bench.tell(write(&ops[0]).0, Err(ENOSPC));
        if let Flush::Linked(flush) = write(&ops[0]).3 {
            bench.tell(flush, Err(ECANCELED));
        }
        assert!(matches!(bench.ops()[..], [Op::Close { .. }]));
        bench.writer.give_segment(number, [2; 16]);
    }
    assert_eq!(waits, [100, 200, 400, 800, 1_000]);
    assert_eq!(bench.writer.condition().write_failures, 7);
}

#[test]
fn a_record_counts_with_its_last_part() {
    let mut bench = bench(Durability::Group);
    bench.push(Kind::Frame, 10);
    let ops = bench.frames(1, 2 * BLOCK);
    let blocks: Vec<_> = ops.iter().map(|op| bench.block(op)).collect();
    assert_eq!(ops.len(), 2, "{ops:?}");
    assert_eq!((blocks[0].0.first, blocks[0].0.count, blocks[0].0.flags), (0, 2, 0));
    assert_eq!((blocks[1].0.first, blocks[1].0.count, blocks[1].0.flags), (2, 0, CONTINUED));
    assert_eq!((blocks[0].1[48 + 5], blocks[1].1[5]), (MORE, MORE));
    bench.end(&ops);
    assert_eq!(bench.marks(), (1, 0));
    let ops = bench.ops_after(5 * MS);
    assert_eq!(bench.block(&ops[0]).1[5], 0);
    bench.end(&ops);
    assert_eq!(bench.marks(), (2, 2));
}

#[test]
fn a_header_is_never_split() {
    for left in (0..200).step_by(8) {
        let mut bench = bench(Durability::Async);
        bench.push(Kind::Frame, FULL - left);
        let mut ops = bench.frames(1, 500);
        ops.extend(bench.ops_after(5 * MS));
        let sizes: Vec<usize> = ops.iter().map(|op| bench.block(op).1.len()).collect();
        let whole = 2 * record::HEADER_BYTES + FULL - left + 504;
        let is_split = left >= 96;
        assert_eq!(sizes.iter().sum::<usize>(), whole + usize::from(is_split) * record::HEADER_BYTES);
        assert_eq!(bench.block(&ops[1]).0.flags, if is_split { CONTINUED } else { 0 }, "{left}");
    }
}

#[test]
fn looks_for_what_did_not_come_wait_for_a_second() {
    for class in [Durability::Async, Durability::Group, Durability::Sync] {
        let mut bench = bench(class);
        bench.push(Kind::Tick, 0);
        assert_eq!((bench.ops_after(5 * MS), bench.writer.due_ns()), (vec![], Some(1_005 * MS)));
        bench.push(Kind::Frame, 1);
        bench.ops();
        assert_eq!(bench.ops_after(5 * MS).len(), usize::from(class != Durability::Sync));
    }
    // Not so what is taken in with one.
    let mut bench = bench(Durability::Group);
    [Kind::Tick, Kind::Tick, Kind::Frame, Kind::Tick].iter().for_each(|kind| bench.push(*kind, 0));
    assert_eq!((bench.ops(), bench.writer.due_ns()), (vec![], Some(5 * MS)));
    let ops = bench.ops_after(5 * MS);
    assert_eq!(bench.block(&ops[0]).0.count, 4);
}

#[test]
fn a_block_that_a_run_of_records_fills_is_written_at_once() {
    let whole = BLOCK - block::HEADER_BYTES;
    for left in [0, 80] {
        let mut bench = bench(Durability::Group);
        let ops = bench.frames(10, (whole - left) / 10 - record::HEADER_BYTES);
        assert_eq!(ops.iter().map(|op| bench.block(op).1.len()).collect::<Vec<_>>(), [whole - left]);
    }
}

#[test]
fn in_class_sync_two_are_on_their_way_and_the_next_gathers() {
    let mut bench = bench(Durability::Sync);
    let first = bench.frames(1, 10);
    let second = bench.frames(1, 10);
    assert_eq!((write(&first[0]).3, write(&second[0]).3), (Flush::Through, Flush::Through));
    assert_eq!((bench.frames(1, 10), bench.frames(2, 10)), (vec![], vec![]));
    bench.end(&second);
    assert_eq!(bench.marks(), (0, 0));
    let third = bench.ops();
    assert_eq!(bench.block(&third[0]).0.count, 3);
    bench.end(&first);
    assert_eq!(bench.marks(), (2, 2));
    assert_eq!(bench.frames(1, FULL).len(), 1, "a full one goes at once");
}

#[test]
fn a_segment_begins_with_the_start_and_only_once_the_last_is_durable() {
    let mut bench = bench_of(Durability::Group, 4 * BLOCK as u64);
    bench.push(Kind::Start, 100);
    let ops = bench.frames(6, FULL - 132);
    assert_eq!(ops.len(), 4);
    bench.writer.give_segment(2, [2; 16]);
    bench.end(&ops[..3]);
    assert_eq!(bench.ops(), []);
    bench.end(&ops[3..]);
    let last = bench.block(&ops[3]).0;
    let flushes = bench.ops();
    flush(&flushes[0]);
    bench.end(&flushes);
    let ops = bench.ops();
    assert_eq!(ops[0], Op::Close { segment: 1, used_bytes: 4 * BLOCK as u64, is_whole: true });
    assert_eq!(ops.len(), 2, "nothing else is written before the head is");
    let (head, payload) = bench.block(&ops[1]);
    assert_eq!((head.count, head.index, head.previous_crc), (0, 0, last.crc));
    assert_eq!((payload[4], payload[5]), (Kind::Start as u8, REPEATED));
    assert_eq!(payload[32..132], [Kind::Start as u8; 100]);
    bench.end(&ops);
    let ops = bench.ops_after(5 * MS);
    assert_eq!(bench.block(&ops[0]).0.previous_crc, head.crc);
}

#[test]
fn in_class_async_blocks_are_free_at_once_and_flushed_at_the_end_of_a_segment() {
    let mut bench = bench_of(Durability::Async, 4 * BLOCK as u64);
    let ops = bench.frames(5, FULL);
    bench.writer.give_segment(2, [2; 16]);
    bench.end(&ops);
    assert_eq!(bench.marks(), (4, 0));
    assert_eq!(bench.writer.batches.len(), 1);
    let ops = bench.ops();
    assert_eq!(write(&ops[1]).1, 2, "the next goes on meanwhile");
    bench.end(&ops[1..]);
    bench.tell(flush(&ops[0]), Ok(0));
    assert_eq!(bench.marks(), (5, 4));
    assert_eq!(bench.ops(), [Op::Close { segment: 1, used_bytes: 4 * BLOCK as u64, is_whole: true }]);

    bench.writer.finish();
    let ops = bench.ops();
    bench.end(&ops);
    let ops = bench.ops();
    bench.tell(flush(&ops[0]), Err(EIO));
    assert_eq!(bench.ops(), [Op::Close { segment: 2, used_bytes: 2 * BLOCK as u64, is_whole: false }]);
    assert_eq!((bench.marks(), bench.writer.condition().unsure), ((5, 4), 1));
    assert!(bench.writer.is_finished());
}

#[test]
fn the_last_block_says_so() {
    for pending in [false, true] {
        let mut bench = bench(Durability::Group);
        let mut all = bench.frames(1, FULL);
        if pending {
            all.extend(bench.frames(1, 10));
        }
        bench.writer.finish();
        let rest = bench.ops();
        let last =
            rest.iter().chain(&all).map(|op| bench.block(op).0).find(|block| block.flags == LAST).unwrap();
        assert_eq!((last.first, last.count), (1, u32::from(pending)));
        assert!(!bench.writer.is_finished());
        let ops = bench.end_all([all, rest].concat());
        assert!(matches!(ops.last(), Some(Op::Close { is_whole: true, .. })), "{ops:?}");
        assert!(bench.writer.is_finished());
        assert!(!bench.writer.wants_segment());
        bench.push(Kind::Frame, 1);
        assert_eq!(bench.ops_after(1_000 * MS), [], "nothing is taken in any more");
    }
}

#[test]
fn where_the_queue_was_not_empty_no_block_says_that_it_is_the_last() {
    let mut bench = bench(Durability::Group);
    let ops = bench.frames(9, FULL);
    assert_eq!(ops.len(), 7);
    bench.writer.finish();
    let ops = bench.end_all(ops);
    assert!(matches!(ops.last(), Some(Op::Close { .. })));
    assert!(ops.iter().all(|op| !matches!(op, Op::Write { .. }) || bench.block(op).0.flags == 0));
    assert!(bench.writer.is_finished());
}

#[test]
fn it_ends_even_if_no_segment_comes_or_all_fail() {
    let mut bench = bench(Durability::Group);
    bench.writer.finish();
    assert!(bench.writer.is_finished(), "nothing was taken in");

    bench = self::bench(Durability::Group);
    bench.push(Kind::Frame, 1);
    bench.writer.fill(&mut bench.drain, &mut bench.memory, 0);
    bench.writer.finish();
    let mut ops = bench.ops();
    for number in 2..5 {
        assert!(!bench.writer.is_finished());
        let (id, flush) = linked(&ops[0]);
        bench.tell(id, Err(EIO));
        bench.tell(flush, Err(ECANCELED));
        assert_eq!((bench.ops().len(), bench.writer.is_finished()), (1, true), "no segment is there");
        assert_eq!(bench.writer.wants_segment(), number < 4);
        bench.writer.give_segment(number, [2; 16]);
        ops = bench.ops_after(1_000 * MS);
    }
    assert_eq!((ops, bench.writer.is_finished(), bench.marks()), (vec![], true, (0, 0)));
}

#[test]
fn outcomes_of_what_was_never_asked_are_nothing() {
    let mut bench = bench(Durability::Group);
    bench.tell(OpId(77), Err(EIO));
    assert_eq!(bench.writer.condition(), Condition::default());
    bench.writer.give_segment(9, [9; 16]);
    assert_eq!(bench.writer.reserve, Some((1, [1; 16])));
}
