//! What is damaged is told, whatever it is and wherever; and no record is given that was not written.

mod common;

use common::{Build, Given, Got, Memory, assert_honest, items, journal, read};
use journal::block::{self, BlockHeader};
use journal::record::{Kind, REPEATED};
use journal::{Missing, Span, Why, recover};
use proptest::prelude::*;

fn flip(store: &Memory, segment: u64, bit: usize) {
    store.segments.borrow_mut().get_mut(&segment).unwrap()[bit / 8] ^= 1 << (bit % 8);
}

fn first_of(build: &Build, block: usize) -> u64 {
    let (segment, begin, _) = build.blocks[block];
    block::peek(&build.segments[&segment][begin..]).unwrap().first
}

fn corrupt(records: std::ops::Range<u64>, segment: u64, offset: usize) -> Missing {
    Missing { records, segment, offset: offset as u64, why: Why::Corrupt }
}

#[test]
fn cut_at_every_byte_of_the_last_blocks_it_is_what_was_before() {
    for is_parted in [false, true] {
        let mut build = journal(2, 3, 3);
        if is_parted {
            build.frame(9);
            build.parted(&[300, 400], |build, _| build.seal());
            build.frame(8);
            build.seal();
        }
        let (last, before) = (build.blocks.len() - 1, build.blocks.len() - 2);
        let (segment, begin, middle) = build.blocks[before];
        for len in begin..=build.blocks[last].2 {
            let store = build.store();
            store.segments.borrow_mut().get_mut(&segment).unwrap().truncate(len);
            let good = if len < middle { begin } else { middle };
            let is_whole = len == build.blocks[last].2;
            let is_pending = is_parted && len >= middle && !is_whole;
            // Between two blocks nothing tells that there was another.
            let is_between = len == good && !is_pending;
            let until = first_of(&build, if len < middle { before } else { last }) as usize;
            let expected = if is_between { &build.expected[..until] } else { &build.expected[..] };
            let told = assert_honest(&store, expected, &format!("{len}"));
            match (&told[..], is_whole) {
                ([], true) => {}
                ([], false) => assert!(is_between, "{len}"),
                ([torn], false) => {
                    let bytes = (len - good) as u64 + if is_pending { 300 } else { 0 };
                    assert_eq!((torn.why, torn.offset), (Why::Torn { bytes }, good as u64), "{len}");
                }
                _ => panic!("{len}: {told:?}"),
            }
            let next = if is_whole {
                build.next
            } else if len < middle {
                first_of(&build, before)
            } else {
                first_of(&build, last) - u64::from(is_parted)
            };
            let recovered = recover(&store).unwrap();
            assert_eq!((recovered.position.next, recovered.next_segment), (next, 2), "{len}");
            assert_eq!(store.segments.borrow()[&segment].len(), if is_whole { len } else { good });
            let again = recover(&store).unwrap();
            assert_eq!((again.position, again.missing), (recovered.position, vec![]), "{len}");
        }
    }
}

#[test]
fn every_bit_that_flips_is_told() {
    let mut build = journal(2, 3, 3);
    build.parted(&[2_000, 3_000, 10], |build, _| build.seal_durable());
    build.frame(70);
    build.finish();
    let last = build.blocks.len() - 1;
    for (place, (segment, begin, end)) in build.blocks.iter().copied().enumerate() {
        // All bits of what is before the zeros, and of these some.
        let bits = (begin * 8..(begin + 180) * 8).chain((begin * 8 + 1_440..end * 8).step_by(61));
        for bit in bits {
            let store = build.store();
            flip(&store, segment, bit);
            let told = assert_honest(&store, &build.expected, &format!("bit {bit} of segment {segment}"));
            if place == last {
                let torn = Why::Torn { bytes: (end - begin) as u64 };
                assert_eq!((told.len(), told[0].why), (1, torn), "{bit}");
            } else if place + 1 == last {
                // The block that ends the run says how much was durable: all.
                assert_eq!((told.len(), told[0].why), (1, Why::Corrupt), "{bit}");
            } else {
                assert!(
                    told.iter().all(|told| told.why == Why::Corrupt) && told.len() == 1,
                    "{bit}: {told:?}"
                );
                assert_eq!((told[0].segment, told[0].offset), (segment, begin as u64), "{bit}");
            }
        }
    }
}

#[test]
fn a_bad_block_is_corrupt_if_a_later_one_says_that_it_was_durable() {
    let mut build = journal(1, 6, 2);
    let (bad, after) = (first_of(&build, 3), first_of(&build, 4));
    let (segment, begin, _) = build.blocks[3];
    for durable in [bad, bad + 1, after] {
        build.durable = durable;
        build.frame(50);
        build.seal();
        let store = build.store();
        flip(&store, segment, begin * 8 + 1_000);
        let told = assert_honest(&store, &build.expected, &format!("{durable}"));
        // All of it, or it is of the tail: what would prove a part is cut with that.
        if durable == after {
            assert_eq!(told, [corrupt(bad..after, segment, begin)]);
        } else {
            assert!(matches!(told[..], [Missing { why: Why::Torn { .. }, .. }]), "{told:?}");
            assert_eq!(told[0].records, bad..bad);
        }
    }
}

#[test]
fn several_bad_blocks_are_one_loss_and_apart_they_are_several() {
    let mut build = journal(2, 8, 2);
    build.finish();
    let store = build.store();
    for block in [2, 3, 6] {
        flip(&store, 0, build.blocks[block].1 * 8 + 900);
    }
    let told = assert_honest(&store, &build.expected, "");
    let expected = [
        corrupt(first_of(&build, 2)..first_of(&build, 4), 0, build.blocks[2].1),
        corrupt(first_of(&build, 6)..first_of(&build, 7), 0, build.blocks[6].1),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_segment_that_is_gone_is_told() {
    let mut build = journal(4, 4, 2);
    build.finish();
    for gone in [vec![1], vec![2], vec![1, 2]] {
        let store = build.store();
        store.segments.borrow_mut().retain(|number, _| !gone.contains(number));
        let told = assert_honest(&store, &build.expected, &format!("{gone:?}"));
        let block = |segment: u64| build.blocks.iter().position(|block| block.0 == segment).unwrap();
        let (from, until) = (block(gone[0]), block(gone[gone.len() - 1] + 1));
        let end = build.segments[&(gone[0] - 1)].len();
        assert_eq!(told, [corrupt(first_of(&build, from)..first_of(&build, until), gone[0] - 1, end)]);
    }
}

#[test]
fn behind_what_is_missing_the_feeds_are_told_again() {
    let mut build = journal(3, 4, 2);
    build.finish();
    let store = build.store();
    flip(&store, 0, build.blocks[1].1 * 8 + 900);
    let (records, missing) = read(&store, Span::ALL);
    let repeated = |got: &&Got| got.1.flags & REPEATED != 0;
    let found: Vec<_> = records.iter().filter(repeated).collect();
    let [again] = found[..] else { panic!("{} records are repeated", found.len()) };
    let second = build.blocks.iter().position(|block| block.0 == 1).unwrap();
    assert_eq!((again.0, again.1.kind), (first_of(&build, second), Kind::Start));
    assert_eq!(missing.len(), 1);
}

#[test]
fn a_segment_that_is_gone_without_proof_is_a_torn_tail() {
    let mut build = journal(1, 4, 2);
    let (durable, kept) = (build.durable, build.next);
    for _ in 0..2 {
        build.next_segment();
        build.frame(44);
        build.durable = durable;
        build.seal();
    }
    let store = build.store();
    store.segments.borrow_mut().remove(&1);
    let told = assert_honest(&store, &build.expected, "");
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].why, Why::Torn { bytes: 4096 });
    let recovered = recover(&store).unwrap();
    assert_eq!((recovered.position.next, recovered.next_segment), (kept, 1));
    assert_eq!(store.segments.borrow().keys().copied().collect::<Vec<_>>(), [0]);
}

#[test]
fn a_record_of_which_a_part_is_bad_is_missing() {
    for bad in 0..3 {
        let mut build = journal(1, 3, 2);
        build.frame(20);
        build.parted(&[100, 5_000, 200], |build, place| {
            build.seal();
            if place == 1 {
                build.next_segment();
            }
        });
        build.frame(30);
        build.seal();
        let (first, parted) = (first_of(&build, 3), build.next - 2);
        build.finish();
        let store = build.store();
        let (segment, begin, _) = build.blocks[3 + bad];
        flip(&store, segment, begin * 8 + 1_000);
        let told = assert_honest(&store, &build.expected, &format!("{bad}"));
        let range = match bad {
            0 => first..parted + 1,
            1 => parted..parted + 1,
            _ => parted..build.next,
        };
        assert_eq!(told, [corrupt(range, segment, begin)], "{bad}");
    }
}

#[test]
fn blocks_of_other_segments_are_none_here() {
    let mut build = journal(3, 4, 2);
    build.finish();
    let (_, begin, end) = build.blocks[5];
    let (_, other_begin, other_end) = build.blocks[9];
    let loss = first_of(&build, 5)..first_of(&build, 6);
    // One with the right number and sequence, of another identity; one of another segment; one that was here before.
    for case in 0..3 {
        let store = build.store();
        let mut segments = store.segments.borrow_mut();
        let block = match case {
            0 => reseal(&segments[&1][begin..end], |header| header.segment = [77; 16]),
            1 => segments[&2][other_begin..other_end].to_vec(),
            _ => segments[&1][begin - 4096..begin].to_vec(),
        };
        segments.get_mut(&1).unwrap()[begin..end].copy_from_slice(&block[..end - begin]);
        drop(segments);
        let told = assert_honest(&store, &build.expected, &format!("{case}"));
        assert_eq!(told, [corrupt(loss.clone(), 1, begin)], "{case}");
    }
}

#[test]
fn a_whole_segment_of_another_journal_is_told() {
    let mut build = journal(3, 4, 2);
    build.finish();
    let mut other = Build::new();
    other.real_ns = 77_000;
    for number in 0..2 {
        if number > 0 {
            other.next_segment();
        }
        for _ in 0..4 {
            other.frame(444);
            other.frame(445);
            other.seal();
        }
    }
    let store = build.store();
    store.segments.borrow_mut().insert(1, other.segments[&1].clone());
    let mut expected = build.expected.clone();
    // Its sequences fit, and by itself it is as good as any; but it does not join what is before and behind it.
    for record in &other.expected {
        if (first_of(&build, 4)..first_of(&build, 8)).contains(&record.0) {
            expected[record.0 as usize] = record.clone();
        }
    }
    let told = assert_honest(&store, &expected, "");
    assert_eq!(told.iter().map(|told| (told.segment, told.offset)).collect::<Vec<_>>(), [(1, 0), (2, 0)]);
}

#[test]
fn a_block_in_the_place_of_one_is_not_taken_for_it() {
    // The same sequence, index and segment, but another block: only the chain tells, where the next one begins.
    let mut build = journal(1, 6, 2);
    build.finish();
    let store = build.store();
    let (_, begin, end) = build.blocks[2];
    let block = reseal(&build.segments[&0][begin..end], |header| header.real_ns += 1);
    store.segments.borrow_mut().get_mut(&0).unwrap()[begin..end].copy_from_slice(&block);
    let told = assert_honest(&store, &build.expected, "");
    let next = first_of(&build, 3);
    assert_eq!(told, [corrupt(next..next, 0, build.blocks[3].1)]);
}

fn reseal(block: &[u8], change: impl FnOnce(&mut BlockHeader)) -> Vec<u8> {
    let mut block = block.to_vec();
    let mut header = block::peek(&block).unwrap();
    change(&mut header);
    block::seal(&mut block, &header);
    block
}

#[test]
fn bytes_behind_the_end_of_a_run_are_told() {
    for followed in [false, true] {
        let mut build = journal(1, 3, 2);
        build.finish();
        build.blank(2);
        build.segments.get_mut(&0).unwrap().extend([1; 5_000]);
        if followed {
            build.begin_segment(1);
            build.record(Kind::Start, b"{}");
            build.seal();
        }
        let store = build.store();
        let told = assert_honest(&store, &build.expected, "");
        let (offset, next) = (build.blocks[3].2 + 8192, first_of(&build, 3));
        assert_eq!(told, [corrupt(next..next, 0, offset)]);
    }
}

#[test]
fn the_tail_of_a_run_that_was_cut_is_not_told_again() {
    let mut build = journal(1, 4, 2);
    let (kept, crc) = (build.next, build.previous_crc);
    build.frame(90);
    build.seal();
    build.go_back(kept, crc);
    let (_, begin, _) = *build.blocks.last().unwrap();
    build.segments.get_mut(&0).unwrap()[begin + 99] ^= 1;
    let store = build.store();
    assert!(matches!(
        assert_honest(&store, &build.expected, "")[..],
        [Missing { why: Why::Torn { .. }, .. }]
    ));
    build.begin_segment(1);
    build.record(Kind::Start, b"{}");
    build.seal();
    assert_eq!(assert_honest(&build.store(), &build.expected, ""), []);
}

#[test]
fn a_first_block_that_is_bad_is_told() {
    let mut build = journal(3, 4, 2);
    build.finish();
    for segment in 0..3 {
        let block = build.blocks.iter().position(|block| block.0 == segment).unwrap();
        let store = build.store();
        flip(&store, segment, 999);
        let told = assert_honest(&store, &build.expected, &format!("{segment}"));
        let range = first_of(&build, block)..first_of(&build, block + 1);
        assert_eq!(told, [corrupt(range, segment, 0)]);
    }
    // Where older segments are gone, nobody knows what was before it.
    let store = build.store();
    store.segments.borrow_mut().remove(&0);
    flip(&store, 1, 999);
    let (records, told) = read(&store, Span::ALL);
    let first = first_of(&build, 5);
    assert_eq!((records[0].0, told), (first, vec![corrupt(first..first, 1, 0)]));
}

#[test]
fn blank_pages_amid_blocks_are_told() {
    let mut build = journal(1, 6, 2);
    build.finish();
    let store = build.store();
    let (_, begin, end) = build.blocks[2];
    store.segments.borrow_mut().get_mut(&0).unwrap()[begin..end].fill(0);
    let told = assert_honest(&store, &build.expected, "");
    assert_eq!(told, [corrupt(first_of(&build, 2)..first_of(&build, 3), 0, begin)]);
}

#[test]
fn a_record_that_is_longer_than_any_is_missing() {
    let mut build = Build::new();
    let part = block::MAX_BLOCK_BYTES - block::HEADER_BYTES - common::RECORD_BYTES - 64;
    build.seal();
    build.parted(&[part; 34], |build, _| build.seal());
    build.frame(10);
    build.finish();
    let told = assert_honest(&build.store(), &build.expected, "");
    assert_eq!((told.len(), told[0].records.clone(), told[0].why), (1, 1..2, Why::Corrupt));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Blocks with right checksums and wrong contents.
    #[test]
    fn hostile_blocks_do_no_harm(
        changes in prop::collection::vec((0..12usize, 0..10u8, any::<u64>(), 0..200usize, any::<u8>()), 1..6),
    ) {
        let mut build = journal(2, 5, 2);
        build.parted(&[100, 200], |build, _| build.seal());
        build.finish();
        let store = build.store();
        for (block, field, value, at, byte) in changes {
            let (segment, begin, end) = build.blocks[block];
            let mut segments = store.segments.borrow_mut();
            let place = &mut segments.get_mut(&segment).unwrap()[begin..end];
            place[block::HEADER_BYTES + at] = byte;
            let block = reseal(place, |header| match field {
                0 => header.first = value,
                1 => header.count = value as u32,
                2 => header.flags = value as u32,
                3 => header.durable = value,
                4 => header.previous_crc = value as u32,
                5 => header.index = value as u32,
                6 => header.number = value,
                7 => header.payload_bytes = value as u32 % 4_000,
                8 => header.first = header.first.wrapping_add(value % 5).wrapping_sub(2),
                _ => {}
            });
            place.copy_from_slice(&block);
        }
        let mut next = 0;
        for item in items(&store) {
            match item {
                Given::Record(got) if got.1.flags & journal::record::REPEATED != 0 => {}
                Given::Record(got) => {
                    prop_assert!(got.0 >= next);
                    next = got.0 + 1;
                }
                Given::Missing(missing) => prop_assert!(missing.records.start <= missing.records.end),
            }
        }
        let recovered = recover(&store);
        prop_assert!(recovered.is_ok());
    }

    /// Any bytes at all.
    #[test]
    fn noise_does_no_harm(
        places in prop::collection::vec((0..2u64, 0..80_000usize, prop::collection::vec(any::<u8>(), 1..6_000)), 1..5),
    ) {
        let mut build = journal(2, 8, 2);
        build.finish();
        let store = build.store();
        for (segment, at, noise) in places {
            let mut segments = store.segments.borrow_mut();
            let bytes = segments.get_mut(&segment).unwrap();
            let at = at % bytes.len();
            let len = noise.len().min(bytes.len() - at);
            bytes[at..at + len].copy_from_slice(&noise[..len]);
        }
        assert_honest(&store, &build.expected, "noise");
    }
}

#[test]
fn a_block_whose_records_are_not_as_it_says_is_none() {
    let mut build = journal(1, 6, 2);
    build.finish();
    let (_, begin, end) = build.blocks[2];
    for case in 0..3 {
        let store = build.store();
        let block = reseal(&build.segments[&0][begin..end], |header| match case {
            0 => header.count += 1,
            1 => header.payload_bytes -= 8,
            _ => header.flags |= block::CONTINUED,
        });
        store.segments.borrow_mut().get_mut(&0).unwrap()[begin..end].copy_from_slice(&block);
        let told = assert_honest(&store, &build.expected, &format!("{case}"));
        assert_eq!(told, [corrupt(first_of(&build, 2)..first_of(&build, 3), 0, begin)], "{case}");
    }
}
