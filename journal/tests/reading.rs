//! What a journal says when nothing is wrong with it, however it is laid out.

mod common;

use common::{Build, Got, assert_same, journal, own, read};
use journal::record::{Kind, MORE, REPEATED};
use journal::{Item, Reader, Span};

fn assert_whole(build: &Build) {
    let (records, missing) = read(&build.store(), Span::ALL);
    assert_eq!(missing, []);
    assert_same(&records, &build.expected);
}

#[test]
fn all_of_a_journal_comes_in_order() {
    let mut build = journal(3, 5, 4);
    build.finish();
    build.blank(3);
    assert_whole(&build);
}

#[test]
fn an_unfinished_run_without_a_torn_block_is_whole() {
    let mut build = journal(2, 3, 3);
    build.blank(5);
    assert_whole(&build);
}

#[test]
fn a_record_goes_over_blocks_and_segments() {
    let mut build = journal(1, 2, 3);
    build.frame(10);
    build.parted(&[100, 5_000, 8, 0, 17], |build, place| {
        build.seal();
        if place == 1 {
            build.next_segment(); // The record that tells the feeds stands before the rest, in the same block.
        }
        if place == 3 {
            build.next_segment();
            build.seal(); // Alone in its block.
        }
    });
    build.frame(20);
    build.seal();
    assert_whole(&build);
}

#[test]
fn a_long_repeated_record_goes_over_blocks() {
    let mut build = Build::default();
    build.next = 7;
    build.go_back(7, 99);
    build.begin_segment(4);
    build.repeat(&[1; 4_000], MORE, false);
    build.seal();
    build.repeat(&[2; 3_000], 0, true);
    build.frame(5);
    build.seal();
    let (records, missing) = read(&build.store(), Span::ALL);
    assert_eq!(missing, []);
    let (sequence, header, payload) = &records[0];
    assert_eq!((*sequence, header.kind, header.flags), (7, Kind::Start, REPEATED));
    assert_eq!(*payload, [vec![1; 4_000], vec![2; 3_000]].concat());
    assert_same(&records[1..], &build.expected);
}

#[test]
fn a_journal_whose_oldest_segments_are_gone_begins_with_what_tells_the_feeds() {
    let build = journal(4, 3, 3);
    let store = build.store();
    store.segments.borrow_mut().retain(|number, _| *number >= 2);
    let (records, missing) = read(&store, Span::ALL);
    assert_eq!(missing, []);
    assert_eq!((records[0].1.kind, records[0].1.flags), (Kind::Start, REPEATED));
    assert_eq!(records[0].0, records[1].0);
    assert_same(&records[1..], &build.expected[build.expected.len() - 18..]);
}

#[test]
fn a_poisoned_segment_counts_up_to_where_the_next_begins() {
    let mut build = journal(1, 4, 3);
    let (kept, crc) = (build.next, build.previous_crc);
    build.frame(77);
    build.seal();
    build.frame(78);
    build.seal();
    build.go_back(kept, crc);
    build.next_segment();
    build.frame(88);
    build.seal();
    assert_whole(&build);
}

#[test]
fn a_record_that_was_in_a_poisoned_segment_goes_on_in_the_next() {
    // What was durable of it is not written again; what was not stands in two or three segments, the last of which
    // counts. In one of them it is torn.
    for torn in [None, Some(1), Some(2)] {
        let mut build = journal(1, 4, 3);
        let (sequence, real_ns) = (build.next, build.real_ns);
        let (mut crc, mut first) = (0, 0);
        build.frame(5);
        build.parted(&[100, 3_000, 200], |build, place| {
            build.seal();
            if place == 0 {
                (crc, first) = (build.previous_crc, build.next);
            }
        });
        build.frame(6);
        build.seal();
        let whole = build.expected[sequence as usize + 1].clone();
        for _ in 0..2 {
            build.go_back(first, crc);
            build.next_segment();
            build.seal();
            build.real_ns = real_ns + 20;
            build.rest(&whole, 100);
            build.frame(6);
            build.seal();
        }
        if let Some(back) = torn {
            let own: Vec<_> = build.blocks.iter().filter(|block| block.0 == 0).collect();
            let begin = own[own.len() - back].1;
            build.segments.get_mut(&0).unwrap()[begin + 100] ^= 1;
        }
        assert_whole(&build);
    }
}

#[test]
fn segments_that_count_for_nothing_are_passed_over() {
    // The third begins below the second, which begins where the first ends.
    let mut build = journal(1, 4, 3);
    let (kept, crc) = (build.next, build.previous_crc);
    build.frame(77);
    build.seal();
    build.next_segment();
    build.frame(78);
    build.seal();
    build.go_back(kept, crc);
    build.next_segment();
    build.frame(88);
    build.seal();
    assert_whole(&build);
}

#[test]
fn an_ended_run_is_followed_by_another() {
    let mut build = journal(1, 2, 2);
    build.finish();
    build.blank(2);
    build.begin_segment(1);
    build.record(Kind::Start, b"{}");
    build.seal();
    // The next one ends in a segment of its own, that has no record.
    build.next_segment();
    build.finish();
    build.begin_segment(3);
    build.record(Kind::Start, b"{}");
    build.seal();
    assert_whole(&build);
}

#[test]
fn progress_ends_at_all() {
    let build = journal(3, 3, 3);
    let store = build.store();
    let mut reader = Reader::new(&store, Span::ALL).unwrap();
    let mut last = 0;
    while let Some(Item::Record(_)) = reader.next().unwrap() {
        let (all, read) = reader.progress();
        assert!(last <= read && read <= all);
        last = read;
    }
    let all: u64 = build.segments.values().map(|bytes| bytes.len() as u64).sum();
    assert!(last > 0);
    assert_eq!(reader.progress(), (all, all));
}

fn times(records: &[Got]) -> Vec<u64> {
    own(records).iter().map(|(_, header, _)| header.stamp.real_ns).collect()
}

#[test]
fn a_span_has_exactly_what_was_received_in_it() {
    const S: u64 = 1_000_000_000;
    let mut build = Build::default();
    (build.real_ns, build.step_ns) = (100 * S, S / 2);
    build.begin_segment(0);
    build.record(Kind::Start, b"one");
    for number in 0..6 {
        if number > 0 {
            build.next_segment();
        }
        for _ in 0..4 {
            build.frame(30);
            build.frame(30);
            build.seal();
        }
    }
    let store = build.store();
    let all = times(&build.expected);
    for from_ns in (99 * S..126 * S).step_by(S as usize / 4) {
        let span = Span { from_ns, until_ns: from_ns + 5 * S };
        let (records, missing) = read(&store, span);
        assert_eq!(missing, []);
        let expected: Vec<u64> =
            all.iter().copied().filter(|ns| (from_ns..from_ns + 5 * S).contains(ns)).collect();
        let got = times(&records);
        // The record that tells the feeds comes first, from whenever it is.
        let got: Vec<u64> = got.into_iter().filter(|ns| *ns >= from_ns).collect();
        assert_eq!(got, expected, "{from_ns}");
        if let Some((_, header, _)) = records.first() {
            assert_eq!(header.kind, Kind::Start);
        }
    }
    let empty = Span { from_ns: 500 * S, until_ns: 501 * S };
    assert_eq!(read(&store, empty), (vec![], vec![]));
}
