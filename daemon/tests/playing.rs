//! What becomes of records that are played again: across gaps, configurations, runs and boots.

#[allow(dead_code, reason = "what other tests need")]
#[path = "common/tape.rs"]
mod tape;

use chartd::engine::{Engine, EnginePlan, FeedPlan, Input, Shift, Want};
use chartd::journal::{Played, Player, Start};
use journal::queue::Lost;
use journal::reader::Why;
use journal::record::REPEATED;
use journal::{Header, Item, Kind, Missing, Record, Stamp};
use market::{Candle, CandleState, Instrument, Timeframe, Venue};
use shm::market::{MarketReader, StreamKind};
use shm::prefix::Identity;
use shm::status::StatusWriter;
use std::sync::Arc;
use tape::{Taken, Taped, play, start};

const BASE_MS: i64 = 1_700_000_040_000;
const SECOND_NS: u64 = 1_000_000_000;
const S1: Timeframe = Timeframe::S1;

fn instrument(symbol: &str) -> Instrument {
    Instrument::new(Venue::Binance, symbol)
}

fn trade(symbol: &str, id: u64) -> Vec<u8> {
    let time_ms = BASE_MS + id as i64 * 100;
    format!(
        r#"{{"e":"trade","E":{time_ms},"s":"{symbol}","t":{id},"p":"10","q":"2","T":{time_ms},"m":true,"M":true}}"#
    )
    .into_bytes()
}

/// Says that the venue lives, so long after the start.
fn alive(symbol: &str, after_ms: i64) -> Vec<u8> {
    let time_ms = BASE_MS + after_ms;
    format!(r#"{{"e":"depthUpdate","E":{time_ms},"s":"{symbol}","U":1,"u":1,"b":[],"a":[]}}"#).into_bytes()
}

fn engine(feeds: &[&[Instrument]]) -> Engine {
    let feed = |instruments: &&[Instrument]| FeedPlan {
        venue: Venue::Binance,
        instruments: instruments.iter().map(|one| (one.clone(), vec![S1])).collect(),
    };
    let feeds: Vec<_> = feeds.iter().map(feed).collect();
    let plan = EnginePlan {
        feeds: &feeds,
        bars: 1_000,
        published: 1_000,
        huge_pages: false,
        identity: Identity::default(),
    };
    Engine::new(&plan, Arc::new(StatusWriter::create(0, 0, [0; 2]).unwrap()), || 0).unwrap()
}

fn header(kind: Kind, feed: u16, generation: u32, at_ns: u64) -> Header {
    let stamp = Stamp { real_ns: 1_700_000_000_000_000_000 + at_ns, mono_ns: at_ns };
    Header { kind, flags: 0, line: 0, feed, generation, stamp }
}

fn begin(start: &Start, at_ns: u64) -> Taken {
    (header(Kind::Start, 0, start.generation, at_ns), start.encode())
}

/// Trades with these numbers, one each 100 ms, behind a connection if they are the first.
fn trades(
    records: &mut Vec<Taken>,
    symbol: &str,
    feed: u16,
    generation: u32,
    ids: std::ops::RangeInclusive<u64>,
) {
    for id in ids {
        records.push((header(Kind::Frame, feed, generation, id * SECOND_NS / 10), trade(symbol, id)));
    }
}

fn bars(engine: &Engine, symbol: &str) -> Vec<Candle> {
    engine.series(Venue::Binance, symbol, S1).unwrap().bars().copied().collect()
}

/// The places of the bars that are gaps, in seconds.
fn gaps(engine: &Engine, symbol: &str) -> Vec<i64> {
    let of = |bar: Candle| (bar.state == CandleState::Gap).then_some((bar.open_ms - BASE_MS) / 1_000);
    bars(engine, symbol).into_iter().filter_map(of).collect()
}

fn player<'w>(wanted: &'w dyn Fn(&Instrument) -> Vec<Timeframe>) -> Player<'w> {
    Player::new(wanted, [1_000, 1_000], Arc::new(StatusWriter::create(0, 0, [0; 2]).unwrap()), || 0)
}

fn take(player: &mut Player<'_>, records: &[Taken], from: u64) {
    for (place, (header, payload)) in records.iter().enumerate() {
        player
            .take(Item::Record(Record { sequence: from + place as u64, header: *header, payload }))
            .unwrap();
    }
}

/// What found no room in the queue makes gaps of the bars of its feeds, and touches no other.
#[test]
fn lost_records_are_gaps_of_their_feeds() {
    let [a, b] = ["A", "B"].map(instrument);
    let begins = start("run", 1, &[&[a], &[b]]);
    let lost = Lost { records: 20, feeds: 1, ..Lost::default() };
    let words = [lost.records, lost.bytes, lost.feeds, lost.from_ns, lost.until_ns];
    let payload: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    assert_eq!(Lost::decode(&payload), Some(lost));
    let mut records = vec![begin(&begins, 1)];
    for feed in [0, 1] {
        records.push((header(Kind::Connected, feed, 1, 2), Vec::new()));
    }
    trades(&mut records, "A", 0, 1, 1..=30);
    trades(&mut records, "B", 1, 1, 1..=50);
    records.push((header(Kind::Gap, 0, 1, 5 * SECOND_NS), payload));
    trades(&mut records, "A", 0, 1, 51..=80);
    trades(&mut records, "B", 1, 1, 51..=80);
    let (engine, _) = play(&records, &[S1]);
    assert_eq!(gaps(&engine, "A"), [3, 4, 5]);
    assert!(gaps(&engine, "B").is_empty());

    // Before the next number comes no bar behind the place is called quiet, but for those of others.
    let mut silent = records[..84].to_vec();
    silent.truncate(83);
    let gap = records[83].clone();
    assert_eq!(gap.0.kind, Kind::Gap);
    silent.push(gap);
    for (feed, symbol) in [(0, "A"), (1, "B")] {
        silent.push((header(Kind::Frame, feed, 1, 9 * SECOND_NS), alive(symbol, 20_000)));
    }
    let (quiet, _) = play(&silent, &[S1]);
    assert_eq!((bars(&quiet, "A").len(), bars(&quiet, "B").len()), (4, 19));
    let wanted = |_: &Instrument| vec![S1];
    let mut player = player(&wanted);
    take(&mut player, &silent[..83], 0);
    player
        .take(Item::Missing(Missing { records: 83..84, segment: 0, offset: 0, why: Why::Corrupt }))
        .unwrap();
    take(&mut player, &silent[84..], 84);
    assert_eq!(bars(player.engine().unwrap(), "B").len(), 6, "whose records are corrupt is not known");

    // If nothing of a trade was among them, the numbers prove it.
    let lost = Lost { feeds: u64::MAX, ..lost };
    let words = [lost.records, lost.bytes, lost.feeds, lost.from_ns, lost.until_ns];
    let payload: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let mut records = records[..83].to_vec();
    records.push((header(Kind::Gap, 0, 1, 5 * SECOND_NS), payload));
    trades(&mut records, "A", 0, 1, 31..=60);
    let (engine, _) = play(&records, &[S1]);
    assert!(gaps(&engine, "A").is_empty());
}

/// Behind a break it is not known which connections are there: a frame shows it, so that what does not come is noticed
/// again.
#[test]
fn a_frame_shows_a_connection_that_nobody_saw_begin() {
    let begins = start("run", 1, &[&[instrument("A")]]);
    let mut records = vec![begin(&begins, 1)];
    records[0].0.flags = REPEATED;
    trades(&mut records, "A", 0, 1, 100..=130);
    trades(&mut records, "A", 0, 1, 141..=150);
    let mut wants = Vec::new();
    let wanted = |_: &Instrument| vec![S1];
    let mut player = player(&wanted);
    take(&mut player, &records, 7);
    for tenth in 151..170 {
        take(&mut player, &[(header(Kind::Tick, 0, 1, tenth * SECOND_NS / 10), Vec::new())], 100);
        wants.extend(std::iter::from_fn(|| player.next_want()));
    }
    let asks = |want: &Want| matches!(want, Want::Trades { missing, .. } if (missing.from, missing.to) == (131, 140));
    assert!(wants.iter().any(asks), "{wants:?}");
}

/// A new configuration takes over what it took over then: the same as the engine that was there.
#[test]
fn configurations_follow_as_they_did() {
    let [a, b, c] = ["A", "B", "C"].map(instrument);
    let first = [&[a.clone()][..], &[b.clone()][..]];
    let begins = start("run", 1, &first);
    let mut taped = Taped::new(engine(&first), &begins, 1);
    for feed in [0, 1] {
        taped.take(&Input::Connected { feed, line: 0 }, 2);
    }
    for id in 1..=40 {
        for (feed, symbol) in [(0, "A"), (1, "B")] {
            taped.take(&Input::Frame { feed, line: 0, frame: &trade(symbol, id) }, id * SECOND_NS / 10);
        }
    }
    let mut records = taped.records;
    // The feed of B is the first now, and has C as well; that of A is gone.
    let second = [&[c.clone(), b.clone()][..]];
    let mut begins = start("run", 2, &second);
    begins.feeds[0].goes_on = Some(1);
    let mut live = engine(&second);
    live.inherit(&mut taped.engine, &[Some(1)]);
    let mut taped = Taped::new(live, &begins, 4 * SECOND_NS);
    // Nothing was missed, so a bar may be called quiet; a late trade amends it.
    taped.take(&Input::Frame { feed: 0, line: 0, frame: &alive("B", 7_000) }, 4 * SECOND_NS);
    for id in 41..=80 {
        for symbol in ["B", "C"] {
            taped.take(&Input::Frame { feed: 0, line: 0, frame: &trade(symbol, id) }, id * SECOND_NS / 10);
        }
    }
    records.append(&mut taped.records);
    let (again, _) = play(&records, &[S1]);
    for symbol in ["B", "C"] {
        assert_eq!(bars(&again, symbol), bars(&taped.engine, symbol));
    }
    assert!(bars(&again, "B").len() == 9 && gaps(&again, "B").is_empty());
    // What is not there any more stands still, and is not forgotten.
    assert_eq!(bars(&again, "A").len(), 5);
}

/// A new run knows no connection. What was missing is asked for again; what the venue spoke of is in doubt; and no time
/// lies in the future, though its clock began anew.
#[test]
fn a_new_run_begins_with_what_is_proven() {
    let begins = start("one", 1, &[&[instrument("A")]]);
    let mut records = vec![begin(&begins, 1), (header(Kind::Connected, 0, 1, 2), Vec::new())];
    trades(&mut records, "A", 0, 1, 1..=20);
    trades(&mut records, "A", 0, 1, 26..=40);
    let quote = br#"{"u":77,"s":"A","b":"9","B":"1","a":"11","A":"1"}"#.to_vec();
    records.push((header(Kind::Frame, 0, 1, 4 * SECOND_NS), quote));
    for tenth in 41..60 {
        records.push((header(Kind::Tick, 0, 1, tenth * SECOND_NS / 10), Vec::new()));
    }
    let wanted = |_: &Instrument| vec![S1];
    let mut player = player(&wanted);
    take(&mut player, &records, 0);
    while player.next_want().is_some() {}
    // Another boot, a second after the machine was started, 100 s later.
    let now = Stamp { real_ns: 1_700_000_000_000_000_000 + 106 * SECOND_NS, mono_ns: SECOND_NS };
    let mut old = player.finish(now, "another boot").unwrap();
    let mut next = engine(&[&[instrument("A")]]);
    assert_eq!(next.gather(&mut old, |_| true), 1);
    assert_eq!(gaps(&next, "A"), [2], "as it was");
    let market = MarketReader::open(next.market().reader_fd().unwrap()).unwrap();
    let quote = market.quote(0).unwrap();
    assert_eq!((quote.bid_price, quote.update_id, quote.receive_ns), (900_000_000, 77, 0));
    assert_eq!(market.stream(0, StreamKind::Trades).receive_ns, 0);
    assert_eq!(market.stream(0, StreamKind::Trades).messages, 35);

    // Nobody is connected: nothing is asked for. Then it is, at once.
    next.tick(SECOND_NS);
    assert_eq!(next.next_want(), None);
    next.connected(0, 0, SECOND_NS + 1);
    next.tick(SECOND_NS + 2);
    let wants: Vec<_> = std::iter::from_fn(|| next.next_want()).collect();
    let asks =
        |want: &Want| matches!(want, Want::Trades { missing, .. } if (missing.from, missing.to) == (21, 25));
    assert!(wants.iter().any(asks), "{wants:?}");
    // Nothing of the break is called quiet before a number proves it.
    let before = bars(&next, "A").len();
    let alive =
        format!(r#"{{"e":"depthUpdate","E":{},"s":"A","U":1,"u":1,"b":[],"a":[]}}"#, BASE_MS + 90_000);
    next.frame(0, 0, alive.as_bytes(), SECOND_NS + 3);
    assert_eq!(bars(&next, "A").len(), before);
    next.frame(0, 0, &trade("A", 1_000), SECOND_NS + 4);
    assert_eq!(bars(&next, "A").len(), 101);
    // From the last trade, in the fifth second, to the first word after the break.
    assert_eq!(gaps(&next, "A").len(), 1 + 87);
}

/// On the same boot times go on as they are.
#[test]
fn times_of_the_same_boot_stay() {
    let begins = start("one", 1, &[&[instrument("A")]]);
    let mut records = vec![begin(&begins, 1)];
    trades(&mut records, "A", 0, 1, 1..=20);
    let wanted = |_: &Instrument| vec![S1];
    let mut player = player(&wanted);
    take(&mut player, &records, 0);
    let now = Stamp { real_ns: 1_700_000_000_000_000_000, mono_ns: 50 * SECOND_NS };
    let mut old = player.finish(now, "boot").unwrap();
    let mut next = engine(&[&[instrument("A")]]);
    next.gather(&mut old, |_| true);
    let market = MarketReader::open(next.market().reader_fd().unwrap()).unwrap();
    assert_eq!(market.stream(0, StreamKind::Trades).receive_ns, 2 * SECOND_NS);
    // A clock that was set back does not bring the future.
    next.resume(Shift { now_ns: SECOND_NS, by_ns: 0 });
    let mut last = engine(&[&[instrument("A")]]);
    last.gather(&mut next, |_| true);
    let market = MarketReader::open(last.market().reader_fd().unwrap()).unwrap();
    assert_eq!(market.stream(0, StreamKind::Trades).receive_ns, SECOND_NS);
}

/// A claim of the venue that was open when the run ended: its trade may have been lost.
#[test]
fn an_open_claim_ends_in_doubt() {
    let begins = start("one", 1, &[&[instrument("A")]]);
    let mut records = vec![begin(&begins, 1), (header(Kind::Connected, 0, 1, 2), Vec::new())];
    trades(&mut records, "A", 0, 1, 1..=20);
    let time_ms = BASE_MS + 9_050;
    let kline = format!(
        r#"{{"e":"kline","E":{time_ms},"s":"A","k":{{"t":{BASE_MS},"T":{},"s":"A","i":"1m","f":1,"L":22,"o":"10","c":"10","h":"10","l":"10","v":"40","n":20,"x":false,"q":"400","V":"0","Q":"0","B":"0"}}}}"#,
        BASE_MS + 59_999
    );
    records.push((header(Kind::Frame, 0, 1, 2_050_000_000), kline.into_bytes()));
    let (mut ends, _) = play(&records, &[S1]);
    ends.resume(Shift { now_ns: 3 * SECOND_NS, by_ns: 0 });
    ends.frame(0, 0, &trade("A", 120), 4 * SECOND_NS);
    assert_eq!(gaps(&ends, "A"), (2..=12).collect::<Vec<_>>(), "it was before the venue spoke of it");
}

/// What was recorded with other decimal places, or is not wanted, is passed over.
#[test]
fn what_means_something_else_begins_anew() {
    let mut other = instrument("A");
    other.price_digits = 2;
    let begins = start("one", 1, &[&[other, instrument("B")]]);
    let mut records = vec![begin(&begins, 1)];
    trades(&mut records, "A", 0, 1, 1..=20);
    trades(&mut records, "B", 0, 1, 1..=20);
    let (mut old, _) = play(&records, &[S1]);
    old.resume(Shift { now_ns: 3 * SECOND_NS, by_ns: 0 });
    let mut next = engine(&[&[instrument("A")], &[instrument("B")]]);
    assert_eq!(next.gather(&mut old, |_| true), 1);
    assert!(bars(&next, "A").is_empty() && bars(&next, "B").len() == 3);
    // A feed that brings its session from the start has no need of it.
    let (mut old, _) = play(&records, &[S1]);
    let mut next = engine(&[&[instrument("A")], &[instrument("B")]]);
    assert_eq!(next.gather(&mut old, |place| place == 0), 0);
    assert!(bars(&next, "B").is_empty());
}

/// Records whose start is not known mean nothing; from the next start on all is in doubt.
#[test]
fn records_without_a_start_are_passed_over_and_counted() {
    let [a] = ["A"].map(instrument);
    let begins = start("run", 1, &[std::slice::from_ref(&a)]);
    let mut next = start("run", 2, &[&[a]]);
    next.feeds[0].goes_on = Some(0);
    let mut records = vec![begin(&begins, 1), (header(Kind::Connected, 0, 1, 2), Vec::new())];
    trades(&mut records, "A", 0, 1, 1..=20);
    trades(&mut records, "A", 0, 2, 21..=25); // Its start found no room.
    records.push(begin(&next, 3 * SECOND_NS));
    trades(&mut records, "A", 0, 2, 41..=50);
    let hostile: [&[u8]; 3] = [b"{}", b"\xff", br#"{"run":"x","generation":9,"version":"","boot_id":"","feeds":[{"venue":"none","instruments":[]}]}"#];
    let wanted = |_: &Instrument| vec![S1];
    let mut player = player(&wanted);
    take(&mut player, &records, 0);
    assert_eq!(player.tally().unreadable, 5);
    for payload in hostile {
        let record = Record { sequence: 99, header: header(Kind::Start, 0, 9, 0), payload };
        assert!(matches!(player.take(Item::Record(record)).unwrap(), Played::Unreadable(_)));
    }
    // Feeds and instruments that are not there.
    for kind in Kind::ALL {
        for payload in [vec![], vec![0], vec![0; 8], vec![0; 16], vec![0; 32], vec![0; 40], vec![255; 40]] {
            let header = Header { feed: 7, line: 200, ..header(kind, 0, 2, 5 * SECOND_NS) };
            player.take(Item::Record(Record { sequence: 99, header, payload: &payload })).unwrap();
            let header = Header { feed: 0, ..header };
            player.take(Item::Record(Record { sequence: 99, header, payload: &payload })).unwrap();
        }
    }
    let missing = Missing { records: 3..9, segment: 1, offset: 0, why: Why::Corrupt };
    assert!(matches!(player.take(Item::Missing(missing)).unwrap(), Played::Missing(_)));
    assert_eq!((player.tally().corruptions, player.tally().corrupt), (1, 6));
    let engine = player.into_engine().unwrap();
    assert_eq!(gaps(&engine, "A")[..3], [2, 3, 4]);
}
