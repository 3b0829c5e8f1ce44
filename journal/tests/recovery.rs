//! A torn tail is cut, whole or piece by piece, and what follows joins it.

mod common;

use common::{Build, Memory, assert_honest, journal};
use journal::record::Kind;
use journal::{Recovered, Why, recover};

/// Journals that ended in all kinds of disorder.
fn disorders() -> Vec<(&'static str, Build)> {
    let mut all = Vec::new();
    all.push(("whole", journal(2, 3, 2)));
    let mut ended = journal(2, 3, 2);
    ended.finish();
    ended.blank(4);
    all.push(("ended", ended));

    let mut torn = journal(2, 3, 2);
    torn.frame(60);
    torn.seal();
    torn.segments.get_mut(&1).unwrap()[4 * 4096 - 200] ^= 1;
    torn.blank(9);
    all.push(("torn, and blank behind it", torn.clone()));

    // The next segment was begun, and one is in reserve.
    torn.next_segment();
    torn.frame(61);
    torn.seal();
    torn.begin_segment(3);
    torn.blank(5);
    all.push(("torn in the last but two", torn));

    let mut poisoned = journal(1, 4, 2);
    let (kept, crc) = (poisoned.next, poisoned.previous_crc);
    poisoned.frame(62);
    poisoned.seal();
    poisoned.go_back(kept, crc);
    poisoned.next_segment();
    poisoned.frame(63);
    poisoned.seal();
    poisoned.frame(64);
    poisoned.seal();
    poisoned.segments.get_mut(&1).unwrap()[4096 + 50] ^= 1;
    all.push(("poisoned, then torn", poisoned));

    let mut parted = journal(1, 3, 2);
    parted.parted(&[100, 200, 300], |parted, place| {
        parted.seal();
        if place == 0 {
            parted.next_segment();
            parted.seal();
        }
    });
    parted.segments.get_mut(&1).unwrap().truncate(8192);
    parted.blank(2);
    all.push(("within a record", parted));

    let mut nothing = Build::default();
    nothing.begin_segment(0);
    nothing.blank(4);
    all.push(("nothing was written", nothing));
    all
}

/// Begins a run where the last one was found to end.
fn go_on(store: &Memory, build: &Build, recovered: &Recovered) -> Build {
    let mut next = build.clone();
    next.segments = store.segments.borrow().clone();
    next.go_back(recovered.position.next, recovered.position.previous_crc);
    next.begin_segment(recovered.next_segment);
    next.durable = recovered.position.next;
    next.record(Kind::Start, b"{\"run\":2}");
    next.seal();
    next.frame(10);
    next.seal_durable();
    next
}

#[test]
fn what_follows_joins_what_is_there() {
    for (what, build) in disorders() {
        let store = build.store();
        let recovered = recover(&store).unwrap();
        let torn = recovered.missing.iter().filter(|missing| missing.why != Why::Corrupt).count();
        assert_eq!(
            (torn, recovered.missing.len()),
            (usize::from(what.contains("torn") || what == "within a record"), torn),
            "{what}"
        );
        let again = recover(&store).unwrap();
        assert_eq!(
            (again.position, again.next_segment),
            (recovered.position, recovered.next_segment),
            "{what}"
        );
        assert_eq!(again.missing, [], "{what}");
        for (number, bytes) in store.segments.borrow().iter() {
            assert!(*number < recovered.next_segment);
            let is_cut =
                *number + 1 < recovered.next_segment || bytes.chunks(4096).all(|page| page != [0; 4096]);
            assert!(is_cut, "{what}: {number}");
        }
        let next = go_on(&store, &build, &recovered);
        assert_eq!(assert_honest(&next.store(), &next.expected, what), [], "{what}");
        // And the same once more, after a run that was broken off at once.
        let third = go_on(&next.store(), &next, &recover(&next.store()).unwrap());
        assert_eq!(assert_honest(&third.store(), &third.expected, what), [], "{what}");
    }
}

#[test]
fn it_can_be_broken_off_at_every_step_and_begun_again() {
    for (what, build) in disorders() {
        let undisturbed = build.store();
        let expected = recover(&undisturbed).unwrap();
        for steps in 0.. {
            let store = build.store();
            store.changes_left.set(Some(steps));
            let is_done = recover(&store).is_ok();
            store.changes_left.set(None);
            let recovered = recover(&store).unwrap();
            assert_eq!(
                (recovered.position, recovered.next_segment),
                (expected.position, expected.next_segment),
                "{what}, {steps}"
            );
            assert_eq!(*store.segments.borrow(), *undisturbed.segments.borrow(), "{what}, {steps}");
            if is_done {
                assert!(steps > 0, "{what}");
                break;
            }
        }
    }
}

#[test]
fn what_remains_is_flushed() {
    for (what, build) in disorders() {
        let store = build.store();
        let recovered = recover(&store).unwrap();
        if let Some(last) = recovered.next_segment.checked_sub(1) {
            assert!(store.flushed.borrow().contains_key(&last), "{what}");
        }
    }
}

#[test]
fn of_a_long_journal_only_the_end_is_read() {
    let mut build = journal(60, 40, 1);
    build.finish();
    let store = build.store();
    let recovered = recover(&store).unwrap();
    assert_eq!((recovered.position.next, recovered.next_segment), (build.next, 60));
    let all: u64 = build.segments.values().map(|bytes| bytes.len() as u64).sum();
    assert!(store.bytes_read.get() < all / 6, "{} of {all}", store.bytes_read.get());
}

#[test]
fn an_empty_store_is_a_new_journal() {
    assert_eq!(recover(&Memory::default()).unwrap(), Recovered::default());
}

#[test]
fn corruption_is_told_and_nothing_behind_it_is_cut() {
    let mut build = journal(1, 6, 2);
    build.finish();
    let store = build.store();
    store.segments.borrow_mut().get_mut(&0).unwrap()[2 * 4096 + 300] ^= 1;
    let before = store.segments.borrow().clone();
    let recovered = recover(&store).unwrap();
    assert_eq!((recovered.position.next, recovered.missing.len()), (build.next, 1));
    assert_eq!(recovered.missing[0].why, Why::Corrupt);
    assert_eq!(*store.segments.borrow(), before);
    // It stays told.
    assert_eq!(recover(&store).unwrap(), recovered);
}

#[test]
fn what_alone_proves_a_corruption_is_not_cut() {
    // In class async a segment may be lost, and the next one not; that it counts may be said in a torn tail alone.
    let mut build = journal(1, 4, 2);
    let durable = build.durable;
    for _ in 0..2 {
        build.next_segment();
        build.durable = durable;
        build.frame(50);
        build.seal();
        build.frame(51);
        build.seal();
    }
    let kept = build.next;
    build.frame(52);
    build.seal();
    build.next_segment();
    build.durable = kept;
    build.frame(53);
    build.seal();
    let store = build.store();
    store.segments.borrow_mut().get_mut(&1).unwrap()[300] ^= 1;
    store.segments.borrow_mut().get_mut(&2).unwrap()[8192 + 300] ^= 1;
    let told = assert_honest(&store, &build.expected, "");
    assert_eq!((told.len(), told[0].why, told[1].records.start), (2, Why::Corrupt, kept));
    let recovered = recover(&store).unwrap();
    assert_eq!(recovered.position.next, kept);
    assert_eq!(recover(&store).unwrap(), recovered);
    let next = go_on(&store, &build, &recovered);
    let store = next.store();
    store.segments.borrow_mut().remove(&3); // Now others prove it.
    assert_eq!(assert_honest(&store, &next.expected, "").len(), 1);
}
