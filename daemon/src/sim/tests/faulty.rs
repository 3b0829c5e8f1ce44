//! Faults: each happens, at its rate, and does what its record says.

use super::super::{Fault, Faults, Injected, Virtual, What};
use super::{hear, virtual_venue};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const STREAMS: &str = "/ws/btcusdt@trade/ethusdt@trade/btcusdt@depth@100ms/ethusdt@bookTicker";

fn kraken(venue: &mut Virtual, channel: &str) -> u64 {
    let conn = venue.connect("/v2").unwrap();
    let text = format!(
        r#"{{"method":"subscribe","params":{{"channel":"{channel}","symbol":["BTC/USDT","ETH/USDT"]}}}}"#
    );
    venue.send(conn, &text);
    conn
}

fn advanced(venue: &mut Virtual) -> u64 {
    let conn = venue.connect("/").unwrap();
    for channel in ["market_trades", "level2", "heartbeats"] {
        let text = format!(r#"{{"type":"subscribe","product_ids":["BTC-USDT"],"channel":"{channel}"}}"#);
        venue.send(conn, &text);
    }
    conn
}

fn of(venue: &Virtual, fault: Fault) -> Vec<Injected> {
    venue.injected().iter().filter(|injected| injected.fault == fault).cloned().collect()
}

fn near(count: usize, expected: f64) {
    assert!((count as f64 / expected - 1.0).abs() < 0.4, "{count} faults, expected about {expected}");
}

/// The ids of a symbol's trades in Binance's frames, as they come.
fn ids(said: &[(i64, String)], symbol: &str) -> Vec<i64> {
    let frames = said.iter().filter(|(_, text)| text.starts_with(r#"{"e":"trade""#) && text.contains(symbol));
    frames.map(|(_, text)| serde_json::from_str::<Value>(text).unwrap()["t"].as_i64().unwrap()).collect()
}

/// The ids that the record says were lost.
fn lost(injected: &[Injected], symbol: &str) -> BTreeSet<i64> {
    let mine = injected.iter().filter(|injected| injected.symbol.as_deref() == Some(symbol));
    mine.filter_map(|injected| injected.lost).flat_map(|(first, last)| first..=last).collect()
}

/// The ids that a client has not been told since it came, by the truth.
fn missing(venue: &Virtual, since: usize, told: &[i64]) -> BTreeSet<i64> {
    let told: BTreeSet<_> = told.iter().collect();
    venue.truth()[0].trades[since..].iter().map(|trade| trade.id).filter(|id| !told.contains(id)).collect()
}

#[test]
fn dropped_messages_are_those_of_the_record() {
    let mut venue = virtual_venue(4, Faults::none().with(Fault::Drop, 0.05));
    let conn = venue.connect(STREAMS).unwrap();
    let since = venue.truth()[0].trades.len();
    let said = hear(&mut venue, conn, 60_000);
    let dropped = of(&venue, Fault::Drop);
    near(dropped.len(), (said.len() + dropped.len()) as f64 * 0.05);
    let lost = lost(&dropped, "BTCUSDT");
    assert!(!lost.is_empty());
    assert_eq!(missing(&venue, since, &ids(&said, "BTCUSDT")), lost);
    assert!(dropped.iter().any(|injected| injected.stream == "depth@100ms" && injected.lost.is_none()));
}

/// Lives with one kind of fault, which may come to nothing but disorder. The ids of trades as they were told, how
/// many frames of trades were late, and the faults of that stream.
fn disordered(fault: Fault, rate: f64) -> (Vec<i64>, usize, usize) {
    let mut venue = virtual_venue(4, Faults::none().with(fault, rate));
    let conn = venue.connect(STREAMS).unwrap();
    let since = venue.truth()[0].trades.len();
    let said = hear(&mut venue, conn, 60_000);
    let (told, made) = (ids(&said, "BTCUSDT"), of(&venue, fault));
    near(made.len(), if rate > 1.0 { rate } else { said.len() as f64 * rate });
    assert!(made.iter().all(|injected| injected.lost.is_none()));
    let under_way = venue.truth()[0].trades.iter().rev().take(150).map(|trade| trade.id).collect();
    assert!(missing(&venue, since, &told).is_subset(&under_way), "something is lost for good");
    let late = said.iter().filter(|(time_ms, text)| {
        let frame: Value = serde_json::from_str(text).unwrap();
        frame["T"].as_i64().is_some_and(|trade_ms| time_ms - trade_ms > 2)
    });
    let mine = made.iter().filter(|i| i.symbol.as_deref() == Some("BTCUSDT") && i.stream == "trade");
    (told, late.count(), mine.count())
}

fn ordered(ids: &[i64]) -> bool {
    ids.windows(2).all(|pair| pair[0] < pair[1])
}

#[test]
fn duplicates_come_twice() {
    let (told, _, made) = disordered(Fault::Duplicate, 0.05);
    let distinct: BTreeSet<_> = told.iter().collect();
    assert_eq!(told.len() - distinct.len(), made);
    assert!(made > 20);
}

#[test]
fn delayed_messages_are_overtaken() {
    let (told, late, _) = disordered(Fault::Delay, 0.05);
    assert!(!ordered(&told) && (20..400).contains(&late), "{late} late");
}

#[test]
fn neighbours_change_places() {
    let (told, late, _) = disordered(Fault::Reorder, 0.05);
    // Those that waited for a successor are a little late, too.
    assert!(!ordered(&told) && late < 200, "{late} late");
    let back = told.windows(2).filter(|pair| pair[0] > pair[1]).count();
    assert!(back > 5, "{back} pairs");
}

#[test]
fn a_stalled_connection_says_everything_later() {
    let (told, late, _) = disordered(Fault::Stall, 20.0);
    assert!(ordered(&told) && late > 300, "{late} late");
}

#[test]
fn one_stream_falls_silent_while_the_others_flow() {
    let mut venue = virtual_venue(4, Faults::none().with(Fault::Silence, 30.0));
    let conn = venue.connect(STREAMS).unwrap();
    let since = venue.truth()[0].trades.len();
    let said = hear(&mut venue, conn, 150_000);
    let silent = of(&venue, Fault::Silence);
    // One after the other, never two together.
    let mut one_by_one: Vec<_> = silent.iter().map(|i| (i.symbol.clone(), i.stream)).collect();
    one_by_one.dedup();
    assert!(one_by_one.len() < 40 && silent.len() > 500, "{} of {}", one_by_one.len(), silent.len());
    // Times at which the record says that one stream lost something, and that another one was heard.
    let mut topics = BTreeMap::<_, Vec<i64>>::new();
    for injected in &silent {
        topics.entry((injected.symbol.clone(), injected.stream)).or_default().push(injected.time_ms);
    }
    assert!(topics.len() >= 3, "{:?}", topics.keys());
    let told = ids(&said, "BTCUSDT");
    assert_eq!(missing(&venue, since, &told), lost(&silent, "BTCUSDT"));
    let times = &topics[&(Some("BTCUSDT".to_owned()), "trade")];
    let (from, to) = (times[0], times.iter().copied().take_while(|t| t - times[0] < 10_000).last().unwrap());
    assert!(to > from + 500);
    let others = said.iter().filter(|(time, text)| (from..=to).contains(time) && !text.contains("BTCUSDT"));
    assert!(others.count() > 20);
}

#[test]
fn a_broken_connection_ends_and_says_what_it_lost() {
    for fault in [Fault::Close, Fault::Abort] {
        let faults = Faults::none().with(fault, 6.0).with(Fault::Delay, 0.1);
        let mut venue = virtual_venue(5, faults);
        let (mut ends, mut count) = (0, 0);
        while count < 40 {
            let conn = venue.connect("/ws/btcusdt@trade").unwrap();
            let since = venue.truth()[0].trades.len();
            let said = hear(&mut venue, conn, 10_000);
            let closed = said.iter().position(|(_, text)| text == "closed");
            if let Some(place) = closed {
                ends += 1;
                assert_eq!(place + 1, said.len(), "nothing comes after the end");
                let end_ms = said[place].0;
                let injected: Vec<_> =
                    venue.injected().iter().filter(|i| i.connection == conn).cloned().collect();
                assert!(injected.iter().any(|i| i.fault == fault && i.time_ms == end_ms));
                let before: BTreeSet<i64> = {
                    let all = venue.truth()[0].trades[since..].iter();
                    all.filter(|trade| trade.time_ms < end_ms).map(|trade| trade.id).collect()
                };
                let missing = &missing(&venue, since, &ids(&said, "BTCUSDT")) & &before;
                let lost = lost(&injected, "BTCUSDT");
                assert!(missing.is_subset(&lost), "{missing:?} {lost:?}");
            }
            venue.disconnect(conn);
            count += 1;
        }
        // Six a minute end 1 - 1/e of stretches of ten seconds.
        assert!((15..36).contains(&ends), "{fault}: {ends} of 40 ended");
    }
}

#[test]
fn numbers_checksums_and_sides_are_made_wrong() {
    let mut venue = virtual_venue(6, Faults::none().with(Fault::Sequence, 0.1));
    let (binance, coinbase) = (venue.connect("/ws/btcusdt@depth@100ms").unwrap(), advanced(&mut venue));
    let (mut last, mut jumps, mut next, mut skips) = (None, 0, 0, 0);
    for delivery in venue.step(venue.now_ms() + 60_000) {
        let What::Text(text) = delivery.what else { panic!("closed") };
        let message: Value = serde_json::from_str(&text).unwrap();
        if delivery.conn == binance {
            jumps += usize::from(last.is_some_and(|last: u64| message["U"].as_u64().unwrap() > last + 1));
            last = message["u"].as_u64();
        } else {
            let number = message["sequence_num"].as_u64().unwrap();
            assert!(number >= next, "the numbers never go back");
            skips += usize::from(number > next);
            next = number + 1;
        }
    }
    let made = of(&venue, Fault::Sequence);
    let by = |conn| made.iter().filter(|injected| injected.connection == conn).count();
    assert_eq!(skips, by(coinbase));
    assert!(jumps > 30 && jumps <= by(binance), "{jumps} of {}", by(binance));

    let mut venue = virtual_venue(6, Faults::none().with(Fault::Checksum, 0.05).with(Fault::Cross, 0.05));
    let conn = kraken(&mut venue, "book");
    let said = hear(&mut venue, conn, 30_000);
    let books = said.iter().filter(|(_, text)| text.contains("\"checksum\"")).count() as f64;
    near(of(&venue, Fault::Checksum).len(), books * 0.05);
    near(of(&venue, Fault::Cross).len(), books * 0.05);
    let crossed = said.iter().filter(|(_, text)| {
        text.contains("\"checksum\"") && text.find("\"asks\"").unwrap() < text.find("\"bids\"").unwrap()
    });
    assert_eq!(crossed.count(), of(&venue, Fault::Cross).len());
}

#[test]
fn strange_messages_come_in_between() {
    let mut venue = virtual_venue(6, Faults::none().with(Fault::Unknown, 0.05));
    let conns = [venue.connect(STREAMS).unwrap(), kraken(&mut venue, "trade"), advanced(&mut venue)];
    let (mut strange, mut next) = ([0; 3], 0);
    for delivery in venue.step(venue.now_ms() + 60_000) {
        let What::Text(text) = delivery.what else { panic!("closed") };
        let message: Value = serde_json::from_str(&text).unwrap();
        let place = conns.iter().position(|conn| *conn == delivery.conn).unwrap();
        strange[place] += usize::from(text.contains("novelty"));
        if place == 2 {
            assert_eq!(message["sequence_num"].as_u64().unwrap(), next, "strange ones are counted, too");
            next += 1;
        }
    }
    for (conn, count) in conns.into_iter().zip(strange) {
        let made = of(&venue, Fault::Unknown).iter().filter(|injected| injected.connection == conn).count();
        assert_eq!(made, count);
        assert!(count > 10);
    }
}

#[test]
fn rest_fails_now_and_then() {
    let mut venue = virtual_venue(6, Faults::none().with(Fault::RestError, 0.2));
    let answers: Vec<u16> = (0..500).map(|_| venue.get("/api/v3/time").0).collect();
    let failed = answers.iter().filter(|status| **status != 200).count();
    near(failed, 100.0);
    assert_eq!(failed, of(&venue, Fault::RestError).len());
    assert!(answers.contains(&429) && answers.contains(&503));
}

/// The same seed gives the same deliveries and faults, however time is cut into steps; another seed does not.
#[test]
fn virtual_time_can_be_replayed_to_the_byte() {
    let live = |seed: u64, step_ms: i64| {
        let mut venue = virtual_venue(seed, Faults::all().with(Fault::Drop, 0.02).with(Fault::Delay, 0.02));
        venue.connect(STREAMS).unwrap();
        kraken(&mut venue, "book");
        kraken(&mut venue, "trade");
        advanced(&mut venue);
        let until = venue.now_ms() + 40_000;
        let mut deliveries = Vec::new();
        while venue.now_ms() < until {
            deliveries.extend(venue.step((venue.now_ms() + step_ms).min(until)));
        }
        let statuses: Vec<_> = (0..20).map(|_| venue.get("/api/v3/time")).collect();
        (deliveries, venue.injected().to_vec(), statuses)
    };
    let once = live(9, 40_000);
    assert!(once.0.len() > 5_000 && once.1.len() > 100);
    assert!(once == live(9, 40_000), "the same calls gave something else");
    assert!(once == live(9, 777), "other steps gave something else");
    assert!(once != live(10, 40_000));
}
