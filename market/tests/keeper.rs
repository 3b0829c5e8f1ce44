//! A book kept in step: on recorded Binance data, and on traces made to go wrong.

use market::protocol::{BookProof, Snapshot};
use market::{
    BookChange, BookSide, Instrument, Instruments, Integrity, Keeper, Level, Levels, Message, Quote, Scale,
    Venue, binance,
};
use std::io::{BufRead, BufReader};

const ROOM: usize = 5_000;

fn level(price: i64, qty: i64) -> Level {
    Level { price, qty, printed: [0; 2] }
}

/// A change of one level, with these update numbers.
fn change(ids: (u64, u64), side: BookSide, price: i64, qty: i64) -> BookChange<'static> {
    BookChange {
        is_snapshot: false,
        ids: Some(ids),
        checksum: None,
        levels: Levels::one(side, level(price, qty)),
    }
}

/// A snapshot of `count` levels on each side, around 1,000.
fn snapshot(last_id: u64, count: i64, limit: Option<usize>) -> Snapshot {
    let bids = (0..count).map(|i| level(999 - i, 1)).collect();
    let asks = (0..count).map(|i| level(1_001 + i, 1)).collect();
    Snapshot { last_id, bids, asks, limit }
}

fn numbered() -> Keeper {
    Keeper::new(BookProof::UpdateIds, Scale { price_digits: 8, qty_digits: 8 }, ROOM)
}

#[test]
fn a_snapshot_joins_the_changes_that_waited() {
    let mut keeper = numbered();
    for ids in [(5, 7), (8, 8), (9, 12)] {
        assert_eq!(keeper.change(&change(ids, BookSide::Bid, 990, ids.1 as i64)), Integrity::Unverifiable);
    }
    assert!(keeper.wants_snapshot() && keeper.book().is_none());
    assert_eq!(keeper.snapshot(&snapshot(3, 60, None)), Integrity::Unverifiable, "4 is in neither");
    assert_eq!(keeper.snapshot(&snapshot(8, 60, None)), Integrity::Ok);
    let bid = keeper.book().unwrap().best_first(BookSide::Bid).find(|level| level.price == 990).unwrap().qty;
    assert_eq!(bid, 12, "all that the snapshot does not hold was applied");
    assert_eq!(keeper.change(&change((11, 12), BookSide::Bid, 990, 1)), Integrity::Duplicate);
    assert_eq!(keeper.change(&change((13, 13), BookSide::Bid, 990, 1)), Integrity::Ok);
    assert!(!keeper.wants_snapshot());
}

#[test]
fn a_hole_between_changes_voids_the_book() {
    let mut keeper = numbered();
    keeper.snapshot(&snapshot(8, 60, None));
    assert_eq!(keeper.change(&change((9, 9), BookSide::Bid, 990, 2)), Integrity::Ok);
    assert_eq!(keeper.change(&change((12, 13), BookSide::Bid, 990, 3)), Integrity::Gap { from: 10, to: 11 });
    assert!(keeper.book().is_none() && keeper.wants_snapshot());
    // The change behind the hole waits for the next snapshot.
    assert_eq!(keeper.snapshot(&snapshot(11, 60, None)), Integrity::Ok);
    assert_eq!(keeper.book().unwrap().best_first(BookSide::Bid).nth(9).unwrap().qty, 3);
}

/// A snapshot that held few levels is replaced before the price moves beyond them, and the book is there meanwhile.
#[test]
fn a_shallow_book_is_fetched_anew_without_a_break() {
    let mut keeper = numbered();
    keeper.snapshot(&snapshot(8, 40, Some(40)));
    assert!(keeper.book().is_some() && keeper.wants_snapshot());
    assert_eq!(keeper.change(&change((9, 9), BookSide::Bid, 990, 7)), Integrity::Ok);
    assert_eq!(keeper.snapshot(&snapshot(8, 1_000, Some(1_000))), Integrity::Ok);
    assert!(!keeper.wants_snapshot());
    assert_eq!(keeper.book().unwrap().best_first(BookSide::Bid).nth(9).unwrap().qty, 7);
    assert_eq!(keeper.change(&change((10, 10), BookSide::Bid, 990, 8)), Integrity::Ok);
}

#[test]
fn a_crossed_book_is_void() {
    let mut keeper = numbered();
    keeper.snapshot(&snapshot(8, 60, None));
    assert_eq!(keeper.change(&change((9, 9), BookSide::Bid, 1_001, 1)), Integrity::Corrupt);
    assert!(keeper.book().is_none());
}

/// Numbers that join do not make a book right: the venue's own best levels have the last word.
#[test]
fn a_wrong_book_is_found_although_its_numbers_join() {
    let mut keeper = numbered();
    keeper.snapshot(&snapshot(8, 60, None));
    let quote = Quote { bid_price: 999, bid_qty: 1, ask_price: 1_001, ask_qty: 1 };
    keeper.quote(9, &quote);
    keeper.change(&change((9, 9), BookSide::Bid, 990, 1));
    assert_eq!(keeper.compare_quotes(), Some(Integrity::Ok));
    let mut verdicts = Vec::new();
    for id in 10..14 {
        keeper.quote(id, &Quote { bid_qty: 5, ..quote });
        keeper.change(&change((id, id), BookSide::Bid, 990, 1));
        verdicts.push(keeper.compare_quotes());
    }
    use Integrity::{Corrupt, Unverifiable};
    assert_eq!(verdicts, [Some(Unverifiable), Some(Unverifiable), Some(Corrupt), None]);
}

/// How the recording goes: verdicts of the changes, quotes that agree and that do not.
#[derive(Debug, Default, PartialEq)]
struct Tally {
    waited: u32,
    ok: u32,
    duplicates: u32,
    gaps: u32,
    corrupt: u32,
    agree: u32,
    disagree: u32,
}

/// Plays the recording, changing what comes by `meddle`, which may drop a change.
fn play(mut meddle: impl FnMut(u32, &mut Vec<(BookSide, Level)>) -> bool) -> Option<Tally> {
    let path = format!("{}/../../shared/data/binance_spot/btcusdt_20240808.gz", env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::File::open(path).ok()?;
    let mut table = Instruments::default();
    table.add(Instrument::new(Venue::Binance, "BTCUSDT"));
    let (mut keeper, mut tally, mut number) = (numbered(), Tally::default(), 0);
    for line in BufReader::new(flate2::read::GzDecoder::new(file)).lines() {
        let line = line.unwrap();
        let frame = line.split_once(' ').unwrap().1;
        match binance::decode(frame.as_bytes(), &table).unwrap() {
            Message::Quote { update_id, quote, .. } => _ = keeper.quote(update_id, &quote),
            Message::Book { change, .. } => {
                let mut levels = Vec::new();
                change.levels.for_each(|side, level| levels.push((side, level)));
                number += u32::from(!change.is_snapshot);
                if !meddle(if change.is_snapshot { 0 } else { number }, &mut levels) {
                    continue;
                }
                let verdict = take(&mut keeper, &change, &levels);
                match verdict {
                    Integrity::Unverifiable => tally.waited += 1,
                    Integrity::Ok => tally.ok += 1,
                    Integrity::Duplicate => tally.duplicates += 1,
                    Integrity::Gap { .. } => tally.gaps += 1,
                    Integrity::Corrupt => tally.corrupt += 1,
                }
                match keeper.compare_quotes() {
                    Some(Integrity::Ok) => tally.agree += 1,
                    Some(_) => tally.disagree += 1,
                    None => {}
                }
            }
            _ => {}
        }
    }
    Some(tally)
}

/// A change whose levels were meddled with. Each goes in by itself, under the numbers of all: the same but for the
/// order in which they are applied.
fn take(keeper: &mut Keeper, change: &BookChange<'_>, levels: &[(BookSide, Level)]) -> Integrity {
    let (first, last) = change.ids.unwrap();
    if change.is_snapshot {
        let side =
            |wanted| levels.iter().filter(|(side, _)| *side == wanted).map(|(_, level)| *level).collect();
        let snapshot =
            Snapshot { last_id: last, bids: side(BookSide::Bid), asks: side(BookSide::Ask), limit: None };
        return keeper.snapshot(&snapshot);
    }
    let text = |wanted: BookSide| {
        let rows = levels.iter().filter(|(side, _)| *side == wanted).map(|(_, level)| {
            let show = |value| market::decimal::display(value, 8);
            format!(r#"["{}","{}"]"#, show(level.price), show(level.qty))
        });
        rows.collect::<Vec<_>>().join(",")
    };
    let frame = format!(
        r#"{{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":{first},"u":{last},"b":[{}],"a":[{}]}}"#,
        text(BookSide::Bid),
        text(BookSide::Ask)
    );
    let mut table = Instruments::default();
    table.add(Instrument::new(Venue::Binance, "BTCUSDT"));
    match binance::decode(frame.as_bytes(), &table).unwrap() {
        Message::Book { change, .. } => keeper.change(&change),
        other => panic!("{other:?}"),
    }
}

/// The recording is gapless, and its book's top is the venue's own from the snapshot on. Each way to keep a book
/// wrongly is seen by the check that is there for it.
#[test]
fn the_recorded_book_agrees_and_each_mistake_shows() {
    let Some(honest) = play(|_, _| true) else {
        println!("skipped: no recorded data");
        return;
    };
    println!("honest: {honest:?}");
    assert_eq!((honest.gaps, honest.corrupt), (0, 0));
    assert_eq!((honest.waited, honest.disagree), (3, 0));
    assert_eq!((honest.ok, honest.agree), (3_449, 3_449));

    let kept = play(|_, levels| {
        levels.retain(|(_, level)| level.qty > 0);
        true
    });
    let kept = kept.unwrap();
    println!("zero quantities kept: {kept:?}");
    assert!(kept.corrupt > 0 || kept.disagree > 0);

    let swapped = play(|_, levels| {
        let other = |side| if side == BookSide::Bid { BookSide::Ask } else { BookSide::Bid };
        levels.iter_mut().for_each(|(side, _)| *side = other(*side));
        true
    });
    let swapped = swapped.unwrap();
    println!("sides swapped: {swapped:?}");
    assert!(swapped.corrupt > 0 || swapped.disagree > 0);

    let dropped = play(|number, _| number != 3_000).unwrap();
    println!("one change dropped: {dropped:?}");
    assert_eq!(dropped.gaps, 1);

    // A seed of 100 levels is not seen by the best bid and ask, nor by the numbers: the price hardly moves here.
    let shallow = play(|number, levels| {
        let mut left = [100, 100];
        levels.retain(|(side, _)| {
            let left = &mut left[usize::from(*side == BookSide::Ask)];
            *left -= i32::from(number == 0);
            *left >= 0
        });
        true
    });
    let shallow = shallow.unwrap();
    println!("100 levels of the snapshot: {shallow:?}");
    assert_eq!((shallow.gaps, shallow.corrupt), (0, 0), "not exercisable by this recording");
}

/// What the recording cannot show: a seed of 100 levels, when the price moves through them. With its limit known it is
/// fetched anew in time; without, the venue's best levels convict it.
#[test]
fn a_seed_of_too_few_levels_is_found() {
    let mut keeper = numbered();
    keeper.snapshot(&snapshot(8, 100, Some(100)));
    assert!(!keeper.wants_snapshot());
    for i in 0..60 {
        keeper.change(&change((9 + i, 9 + i), BookSide::Bid, 999 - i as i64, 0));
    }
    assert!(keeper.wants_snapshot(), "fewer than 50 are left");

    let mut keeper = numbered();
    keeper.snapshot(&snapshot(8, 100, None));
    for i in 0..90 {
        keeper.change(&change((9 + i, 9 + i), BookSide::Bid, 999 - i as i64, 0));
    }
    assert!(!keeper.wants_snapshot(), "believed to be whole");
    let frame = |last: u64| {
        let bids: Vec<_> = (0..20).map(|i| format!(r#"["{}","1"]"#, 909 - i)).collect();
        let asks: Vec<_> = (0..20).map(|i| format!(r#"["{}","1"]"#, 1_001 + i)).collect();
        format!(
            r#"{{"stream":"x@depth20","data":{{"lastUpdateId":{last},"bids":[{}],"asks":[{}]}}}}"#,
            bids.join(","),
            asks.join(",")
        )
    };
    let mut table = Instruments::default();
    table.add(Instrument { price_digits: 0, qty_digits: 0, ..Instrument::new(Venue::Binance, "X") });
    let mut verdicts = Vec::new();
    for last in 98..101 {
        keeper.change(&change((last + 1, last + 1), BookSide::Ask, 2_000, last as i64));
        let frame = frame(last + 1);
        let Message::BookTop { update_id, levels, .. } = binance::decode(frame.as_bytes(), &table).unwrap()
        else {
            panic!("not a partial book")
        };
        verdicts.push(keeper.top(update_id, &levels));
    }
    assert_eq!(verdicts[2], Integrity::Corrupt, "{verdicts:?}");
}
