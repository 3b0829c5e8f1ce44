//! Books of an invented venue, for what no recording shows: a book that was not cut to the venue's depth, and a
//! snapshot that was too shallow.
//!
//! The venue here keeps its own whole book in sorted maps and writes frames as the real ones do; checksums it makes of
//! text, as the documentation says. Every trace is the same at each run.

mod common;

use common::decode;
use common::faults::{Fault, take_over};
use market::kraken::{KrakenDecoder, checksum};
use market::{Book, BookSide, Instrument, Instruments, Message, Quote, Scale, Venue};
use std::collections::BTreeMap;

/// Numbers as if by chance (xorshift64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// A venue's whole book: quantities by price, in ticks and lots.
#[derive(Default)]
struct Whole {
    bids: BTreeMap<i64, i64>,
    asks: BTreeMap<i64, i64>,
}

impl Whole {
    fn side(&mut self, side: BookSide) -> &mut BTreeMap<i64, i64> {
        if side == BookSide::Bid { &mut self.bids } else { &mut self.asks }
    }

    /// The best levels of a side, best first.
    fn best(&self, side: BookSide, count: usize) -> Vec<(i64, i64)> {
        let level = |(price, qty): (&i64, &i64)| (*price, *qty);
        match side {
            BookSide::Bid => self.bids.iter().rev().take(count).map(level).collect(),
            BookSide::Ask => self.asks.iter().take(count).map(level).collect(),
        }
    }
}

const SIDES: [BookSide; 2] = [BookSide::Bid, BookSide::Ask];

/// The depth that Kraken was asked for.
const DEPTH: usize = 10;
const KRAKEN: Scale = Scale { price_digits: 1, qty_digits: 8 };

fn kraken_price(ticks: i64) -> String {
    format!("{}.{}", ticks / 10, ticks % 10)
}

fn kraken_qty(lots: i64) -> String {
    format!("{}.{:08}", lots / 100_000_000, lots % 100_000_000)
}

fn kraken_frame(kind: &str, bids: &[(i64, i64)], asks: &[(i64, i64)], whole: &Whole) -> String {
    let list = |levels: &[(i64, i64)]| {
        let level = |(price, qty): &(i64, i64)| {
            format!(r#"{{"price":{},"qty":{}}}"#, kraken_price(*price), kraken_qty(*qty))
        };
        levels.iter().map(level).collect::<Vec<_>>().join(",")
    };
    let digits = |text: String| text.replace('.', "").trim_start_matches('0').to_owned();
    let mut text = String::new();
    for side in [BookSide::Ask, BookSide::Bid] {
        for (price, qty) in whole.best(side, 10) {
            text += &digits(kraken_price(price));
            text += &digits(kraken_qty(qty));
        }
    }
    let (bids, asks, crc) = (list(bids), list(asks), crc32fast::hash(text.as_bytes()));
    format!(
        r#"{{"channel":"book","type":"{kind}","data":[{{"symbol":"BTC/USD","bids":[{bids}],"asks":[{asks}],"checksum":{crc},"timestamp":"2026-08-16T23:37:05.723653Z"}}]}}"#
    )
}

/// What changed among the levels that are told. One that fell out of them is not said to be gone.
fn told(before: &[(i64, i64)], after: &[(i64, i64)], all: &BTreeMap<i64, i64>) -> Vec<(i64, i64)> {
    let gone = before.iter().filter(|(price, _)| !all.contains_key(price)).map(|(price, _)| (*price, 0));
    let news = after.iter().filter(|level| !before.contains(level)).copied();
    gone.chain(news).collect()
}

fn kraken_trace() -> Vec<String> {
    let (mut dice, mut whole) = (Dice(0x9E37_79B9), Whole::default());
    for offset in 0..30 {
        whole.bids.insert(9_999 - offset, 1 + dice.below(500_000_000) as i64);
        whole.asks.insert(10_000 + offset, 1 + dice.below(500_000_000) as i64);
    }
    let best = SIDES.map(|side| whole.best(side, DEPTH));
    let mut frames = vec![kraken_frame("snapshot", &best[0], &best[1], &whole)];
    for _ in 0..1_000 {
        let before = SIDES.map(|side| whole.best(side, DEPTH));
        for _ in 0..=dice.below(3) {
            let side = SIDES[dice.below(2) as usize];
            let offset = dice.below(15) as i64;
            let price = if side == BookSide::Bid { 9_999 - offset } else { 10_000 + offset };
            if dice.below(2) == 0 && whole.side(side).len() > 20 {
                whole.side(side).remove(&price);
            } else {
                whole.side(side).insert(price, 1 + dice.below(500_000_000) as i64);
            }
        }
        let after = SIDES.map(|side| whole.best(side, DEPTH));
        let bids = told(&before[0], &after[0], &whole.bids);
        let asks = told(&before[1], &after[1], &whole.asks);
        if !bids.is_empty() || !asks.is_empty() {
            frames.push(kraken_frame("update", &bids, &asks, &whole));
        }
    }
    frames
}

/// How many of the checksums are right.
fn kraken_checksums(trace: &[String], fault: Fault) -> usize {
    let mut table = Instruments::default();
    table.add(Instrument { price_digits: 1, ..Instrument::new(Venue::Kraken, "BTC/USD") });
    let (mut decoder, mut book) = (KrakenDecoder::default(), Book::new(1_000));
    let mut right = 0;
    for (number, frame) in trace.iter().enumerate() {
        let messages = decode(&mut decoder, frame.as_bytes(), &table).unwrap();
        let [Message::Book { change, .. }] = &messages[..] else { panic!("{messages:?}") };
        if fault != Fault::ChangeDropped(number) {
            take_over(&mut book, change, KRAKEN, fault);
        }
        if fault != Fault::NotTruncated {
            book.truncate(DEPTH);
        }
        right += usize::from(Some(checksum(&book, KRAKEN)) == change.checksum);
    }
    right
}

#[test]
fn a_book_that_is_not_cut_to_its_depth_goes_wrong() {
    let trace = kraken_trace();
    assert!(trace.len() > 700);
    assert_eq!(kraken_checksums(&trace, Fault::None), trace.len());
    for fault in [
        Fault::NotTruncated,
        Fault::ZeroesKept,
        Fault::SidesSwapped,
        Fault::ChangeDropped(10),
        Fault::ShallowSeed(5),
        Fault::ThroughFloats,
    ] {
        let right = kraken_checksums(&trace, fault);
        println!("{fault:?}: {right} of {} checksums are right", trace.len());
        assert!(right < trace.len(), "{fault:?} was not noticed");
    }
}

/// Frames as Binance's: a snapshot of 1,000 levels a side, then by turns a change and the best twenty levels. The price
/// rises by more than 100 ticks, so that a book of 100 levels is used up.
fn binance_trace() -> Vec<String> {
    let (mut dice, mut whole) = (Dice(0xD1CE), Whole::default());
    let mut price = 60_000;
    for offset in 0..1_500 {
        whole.bids.insert(price - offset, 1 + dice.below(1_000_000) as i64);
        whole.asks.insert(price + 1 + offset, 1 + dice.below(1_000_000) as i64);
    }
    let list = |levels: &[(i64, i64)]| {
        let level = |(price, qty): &(i64, i64)| format!(r#"["{}.{:02}","{qty}"]"#, price / 100, price % 100);
        levels.iter().map(level).collect::<Vec<_>>().join(",")
    };
    let best = |whole: &Whole, count| SIDES.map(|side| list(&whole.best(side, count)));
    let [bids, asks] = best(&whole, 1_000);
    let mut frames = vec![format!(r#"{{"lastUpdateId":0,"bids":[{bids}],"asks":[{asks}]}}"#)];
    for id in 1..=600 {
        let mut changed = [vec![], vec![]];
        if dice.below(4) == 0 {
            // The best ask is bought up, and bid for.
            price += 1;
            changed[1].push((price, 0));
            changed[0].push((price, 1 + dice.below(1_000_000) as i64));
        }
        for (side, levels) in changed.iter_mut().enumerate() {
            let offset = dice.below(60) as i64;
            let at = if side == 0 { price - offset } else { price + 1 + offset };
            let qty =
                if offset > 0 { dice.below(4) * dice.below(1_000_000) } else { 1 + dice.below(1_000_000) };
            levels.push((at, qty as i64));
        }
        for (side, levels) in SIDES.into_iter().zip(&changed) {
            for (price, qty) in levels {
                whole.side(side).insert(*price, *qty);
            }
            whole.side(side).retain(|_, qty| *qty > 0);
        }
        let [bids, asks] = changed.map(|levels| list(&levels));
        frames.push(format!(
            r#"{{"stream":"btcusdt@depth@100ms","data":{{"e":"depthUpdate","E":1723161255408,"s":"BTCUSDT","U":{id},"u":{id},"b":[{bids}],"a":[{asks}]}}}}"#
        ));
        let [bids, asks] = best(&whole, 20);
        frames.push(format!(
            r#"{{"stream":"btcusdt@depth20","data":{{"lastUpdateId":{id},"bids":[{bids}],"asks":[{asks}]}}}}"#
        ));
    }
    frames
}

/// The first updates at which something was noticed.
#[derive(Debug, Default)]
struct Noticed {
    /// The best twenty levels are not the venue's.
    twenty: Option<u64>,
    /// The best level is not.
    best: Option<u64>,
    /// The book itself knows that it does not know twenty levels any more.
    hollow: Option<u64>,
}

fn binance_run(trace: &[String], fault: Fault) -> Noticed {
    let scale = Scale { price_digits: 2, qty_digits: 0 };
    let mut table = Instruments::default();
    table.add(Instrument { price_digits: 2, qty_digits: 0, ..Instrument::new(Venue::Binance, "BTCUSDT") });
    let (mut book, mut noticed) = (Book::new(5_000), Noticed::default());
    for frame in trace {
        match market::binance::decode(frame.as_bytes(), &table).unwrap() {
            Message::Book { change, .. } => {
                if change.ids.map(|(_, last)| Fault::ChangeDropped(last as usize)) != Some(fault) {
                    take_over(&mut book, &change, scale, fault);
                }
                if change.is_snapshot {
                    book.limit(Some(if let Fault::ShallowSeed(most) = fault { most } else { 1_000 }));
                }
            }
            Message::BookTop { update_id, levels, .. } => {
                let mut venues = Quote::default();
                levels.for_each(|side, level| match side {
                    BookSide::Bid if venues.bid_price == 0 => venues.bid_price = level.price,
                    BookSide::Ask if venues.ask_price == 0 => venues.ask_price = level.price,
                    _ => {}
                });
                let ours = book.top().unwrap_or_default();
                if (ours.bid_price, ours.ask_price) != (venues.bid_price, venues.ask_price) {
                    noticed.best.get_or_insert(update_id);
                }
                if !book.agrees_with(&levels) {
                    noticed.twenty.get_or_insert(update_id);
                }
                if book.known_depth() < 20 {
                    noticed.hollow.get_or_insert(update_id);
                }
            }
            other => panic!("{other:?}"),
        }
    }
    noticed
}

/// A shallow snapshot is used up while the price moves. The best twenty levels show it before the best one does, and
/// the book knows it before that.
#[test]
fn a_shallow_snapshot_is_used_up() {
    let trace = binance_trace();
    let honest = binance_run(&trace, Fault::None);
    assert_eq!((honest.twenty, honest.best, honest.hollow), (None, None, None));
    for fault in [Fault::ZeroesKept, Fault::SidesSwapped, Fault::ChangeDropped(100)] {
        let noticed = binance_run(&trace, fault);
        println!("{fault:?}: {noticed:?}");
        assert!(noticed.twenty.is_some(), "{fault:?} was not noticed");
    }
    let shallow = binance_run(&trace, Fault::ShallowSeed(100));
    println!("{shallow:?}");
    let (hollow, twenty) = (shallow.hollow.expect("known"), shallow.twenty.expect("noticed"));
    assert!(hollow <= twenty, "the book agreed with more than it knew: {shallow:?}");
    assert!(shallow.best.is_none_or(|best| best > twenty), "{shallow:?}");
}
