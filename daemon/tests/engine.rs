//! The engine by itself: what breaks of a connection do to candles, and how its own are held against the venue's.

use chartd::engine::{Engine, EnginePlan, FeedPlan, Verdict, Want};
use market::protocol::Missing;
use market::{CandleState, Instrument, InstrumentId, Side, Timeframe, Trade, Venue};
use shm::market::{MarketReader, StreamKind, StreamState};
use shm::prefix::Identity;
use shm::status::{Counter, StatusReader, StatusWriter};
use std::sync::Arc;

/// A whole minute.
const BASE_MS: i64 = 1_700_000_040_000;
const SECOND_NS: u64 = 1_000_000_000;
const BTC: InstrumentId = InstrumentId(0);

struct Bench {
    engine: Engine,
    status: StatusReader,
    /// When what comes is received.
    now_ns: u64,
}

impl Bench {
    fn new(timeframe: Timeframe) -> Self {
        Self::of(Venue::Binance, timeframe)
    }

    fn of(venue: Venue, timeframe: Timeframe) -> Self {
        let status = Arc::new(StatusWriter::create(0, 0, [0; 2]).unwrap());
        let instruments = vec![(Instrument::new(venue, "BTCUSDT"), vec![timeframe])];
        let plan = FeedPlan { venue, instruments };
        let reader = StatusReader::open(status.reader_fd().unwrap()).unwrap();
        let plan = EnginePlan {
            feeds: &[plan],
            bars: 100,
            published: 100,
            huge_pages: false,
            identity: Identity::default(),
        };
        Self { engine: Engine::new(&plan, status, || 0).unwrap(), status: reader, now_ns: SECOND_NS }
    }

    /// Lets time pass, looking ten times a second as the hot thread does. Returns what is wanted.
    fn pass(&mut self, seconds: u64) -> Vec<Want> {
        for _ in 0..seconds * 10 {
            self.now_ns += SECOND_NS / 10;
            self.engine.tick(self.now_ns);
        }
        std::iter::from_fn(|| self.engine.next_want()).collect()
    }

    /// The trades that are wanted; other wants are left out.
    fn missing(&mut self, seconds: u64) -> Vec<(u64, u64)> {
        let ids = |want| match want {
            Want::Trades { missing, .. } => Some((missing.from, missing.to)),
            _ => None,
        };
        self.pass(seconds).into_iter().filter_map(ids).collect()
    }

    fn stream(&self, kind: StreamKind) -> StreamState {
        MarketReader::open(self.engine.market().reader_fd().unwrap()).unwrap().stream(0, kind)
    }

    fn fetched(&mut self, from: u64, to: u64, trades: &[Trade], is_final: bool) {
        let missing = Missing { from, to, span_ms: 0..1 };
        self.engine.trades(0, BTC, &missing, trades, is_final, self.now_ns);
    }

    fn take(&mut self, payload: &str) -> Verdict {
        self.engine.frame(0, 0, payload.as_bytes(), self.now_ns)
    }

    /// Proves that the venue's clock has come so far.
    fn alive(&mut self, after_ms: i64) {
        let time_ms = BASE_MS + after_ms;
        let depth = format!(r#"{{"e":"depthUpdate","E":{time_ms},"s":"BTCUSDT","U":1,"u":1,"b":[],"a":[]}}"#);
        assert_eq!(self.take(&depth), Verdict::Decoded);
    }

    fn trade(&mut self, id: u64, after_ms: i64) -> Verdict {
        let time_ms = BASE_MS + after_ms;
        self.take(&format!(
            r#"{{"e":"trade","E":{time_ms},"s":"BTCUSDT","t":{id},"p":"10","q":"2","T":{time_ms},"m":true,"M":true}}"#
        ))
    }

    fn states(&self, timeframe: Timeframe) -> Vec<CandleState> {
        let series = self.engine.series(Venue::Binance, "BTCUSDT", timeframe).unwrap();
        series.bars().map(|bar| bar.state).collect()
    }
}

#[test]
fn the_first_trade_proves_nothing_of_a_break_before_it() {
    let mut bench = Bench::new(Timeframe::M1);
    bench.alive(-1_000);
    bench.alive(10_000);
    bench.engine.disconnected(0, 0);
    bench.alive(20_000);
    bench.trade(7, 30_000);
    assert_eq!(bench.states(Timeframe::M1), [CandleState::Gap], "trades of the break may be missing");

    let mut unbroken = Bench::new(Timeframe::M1);
    unbroken.alive(-1_000);
    unbroken.trade(7, 30_000);
    assert_eq!(unbroken.states(Timeframe::M1), [CandleState::Traded]);
}

#[test]
fn numbers_that_go_on_prove_a_break_harmless() {
    let mut bench = Bench::new(Timeframe::S1);
    bench.alive(-1_000);
    bench.trade(7, 500);
    bench.engine.disconnected(0, 0);
    bench.alive(9_000);
    assert_eq!(bench.states(Timeframe::S1).len(), 1, "no bar is called quiet before it is proven");
    bench.trade(8, 9_100);
    let states = bench.states(Timeframe::S1);
    assert_eq!((states[0], states[9]), (CandleState::Traded, CandleState::Traded));
    assert!(states[1..9].iter().all(|state| *state == CandleState::Quiet), "{states:?}");
}

#[test]
fn a_server_that_goes_down_says_so() {
    let mut bench = Bench::new(Timeframe::S1);
    assert_eq!(bench.take(r#"{"e":"serverShutdown","E":1770123456789}"#), Verdict::Shutdown);
    assert_eq!(bench.status.counter(Counter::Control), 1);
}

#[test]
fn the_venues_candles_are_held_against_ours() {
    let kline = |high: &str| {
        let (open_ms, end_ms) = (BASE_MS, BASE_MS + 999);
        format!(
            r#"{{"e":"kline","E":{end_ms},"s":"BTCUSDT","k":{{"t":{open_ms},"T":{end_ms},"s":"BTCUSDT","i":"1s","f":7,"L":7,"o":"10","c":"10","h":"{high}","l":"10","v":"2","n":1,"x":true,"q":"20","V":"0","Q":"0","B":"0"}}}}"#
        )
    };
    for (high, equal, differ) in [("10", 1, 0), ("11", 0, 1)] {
        let mut bench = Bench::new(Timeframe::S1);
        bench.alive(-1_000);
        bench.trade(7, 500);
        bench.take(&kline(high));
        bench.alive(1_500);
        assert_eq!(bench.status.counter(Counter::KlinesEqual), 0, "ours is not closed yet");
        bench.alive(1_501);
        let counted =
            [Counter::KlinesEqual, Counter::KlinesDiffer].map(|counter| bench.status.counter(counter));
        assert_eq!(counted, [equal, differ]);
    }
}

/// A trade like those of [`Bench::trade`].
fn fetched(id: u64, after_ms: i64) -> Trade {
    let eight = 100_000_000;
    let time_ms = BASE_MS + after_ms;
    Trade { first_id: id, last_id: id, time_ms, price: 10 * eight, qty: 2 * eight, taker: Side::Sell }
}

/// A bench whose connection is there, with one trade.
fn connected() -> Bench {
    let mut bench = Bench::new(Timeframe::S1);
    bench.engine.connected(0, 0, bench.now_ns);
    bench.alive(-1_000);
    bench.trade(7, 100);
    bench
}

#[test]
fn missing_trades_are_asked_for_and_heal_their_bars() {
    use CandleState::{Gap, Quiet, Traded};
    let mut bench = connected();
    bench.trade(10, 3_200);
    assert_eq!(bench.states(Timeframe::S1), [Gap; 4]);
    assert_eq!(bench.missing(1), [(8, 9)]);
    assert!(bench.missing(30).is_empty(), "once is enough");
    bench.fetched(8, 9, &[fetched(8, 1_500)], false);
    assert_eq!(
        bench.states(Timeframe::S1),
        [Traded, Gap, Gap, Gap],
        "9 came after 8, so the first bar is whole"
    );
    bench.fetched(8, 9, &[fetched(8, 1_500), fetched(9, 1_600), fetched(10, 3_200)], true);
    assert_eq!(bench.states(Timeframe::S1), [Traded, Traded, Quiet, Traded]);
    let trades = bench.stream(StreamKind::Trades);
    assert_eq!((trades.gaps, trades.missing, trades.repaired, trades.condition), (1, 2, 2, 1));
    assert_eq!(bench.status.counter(Counter::RepairedTrades), 2);
    assert_eq!(bench.status.counter(Counter::LostTrades), 0);
}

#[test]
fn what_nobody_can_give_stays_a_gap() {
    let mut bench = connected();
    bench.trade(10, 1_200);
    bench.fetched(8, 9, &[fetched(9, 1_150)], true);
    assert_eq!(bench.states(Timeframe::S1), [CandleState::Gap; 2]);
    assert_eq!(bench.status.counter(Counter::LostTrades), 1);
    assert!(bench.missing(70).is_empty(), "nor is it asked for again");
}

/// A trade that is missing can share the millisecond of the next one: at a bar's first millisecond that bar is in doubt,
/// too.
#[test]
fn a_missing_trade_may_lie_in_the_millisecond_of_the_next_one() {
    let mut bench = connected();
    bench.trade(9, 1_000);
    assert_eq!(bench.states(Timeframe::S1), [CandleState::Gap; 2]);
}

/// Trades that change places are no loss, and nothing is asked for.
#[test]
fn overtaken_trades_heal_by_themselves() {
    let mut bench = connected();
    bench.trade(9, 1_200);
    bench.trade(8, 1_100);
    bench.trade(8, 1_100);
    assert_eq!(bench.states(Timeframe::S1), [CandleState::Traded; 2]);
    assert!(bench.missing(2).is_empty());
    assert_eq!(bench.status.counter(Counter::Duplicates), 1);
}

fn kline(last_id: u64) -> String {
    let (open_ms, end_ms) = (BASE_MS, BASE_MS + 59_999);
    format!(
        r#"{{"e":"kline","E":{},"s":"BTCUSDT","k":{{"t":{open_ms},"T":{end_ms},"s":"BTCUSDT","i":"1m","f":7,"L":{last_id},"o":"10","c":"10","h":"10","l":"10","v":"2","n":1,"x":false,"q":"20","V":"0","Q":"0","B":"0"}}}}"#,
        BASE_MS + 2_000
    )
}

/// The candle stream tells which trade was the last: a trade stream that lost its newest trades is found out before
/// the next one comes.
#[test]
fn the_venues_word_shows_trades_that_did_not_come() {
    let mut bench = connected();
    bench.take(&kline(7));
    assert!(bench.missing(3).is_empty());
    bench.take(&kline(9));
    assert!(bench.missing(1).is_empty(), "they may be on their way");
    assert_eq!(bench.missing(1), [(8, 9)]);
    assert!(bench.states(Timeframe::S1).iter().all(|state| *state == CandleState::Gap));
    bench.fetched(8, 9, &[fetched(8, 200), fetched(9, 300)], true);
    assert_eq!(bench.states(Timeframe::S1)[0], CandleState::Traded);
}

#[test]
fn the_venues_word_ends_a_doubt() {
    let mut bench = connected();
    bench.engine.disconnected(0, 0);
    bench.engine.connected(0, 0, bench.now_ns);
    bench.alive(9_000);
    assert_eq!(bench.states(Timeframe::S1).len(), 1);
    bench.take(&kline(7));
    bench.alive(9_001);
    assert_eq!(bench.states(Timeframe::S1).len(), 8, "nothing was traded meanwhile");
}

/// One stream is silent while the connection brings others: it is asked for anew, and no bar is called quiet.
#[test]
fn a_silent_stream_of_a_live_connection_is_noticed() {
    let mut bench = connected();
    for id in 8..40 {
        bench.trade(id, 100 + id as i64);
        bench.pass(1);
    }
    let mut wants = Vec::new();
    for second in 0..50 {
        bench.alive(1_000 + 1_000 * second);
        wants.extend(bench.pass(1));
    }
    let resubscribed = wants.iter().filter(|want| matches!(want, Want::Resubscribe { .. })).count();
    assert_eq!(resubscribed, 1, "{wants:?}");
    let trades = bench.stream(StreamKind::Trades);
    assert_eq!((trades.silences, trades.condition), (1, 3));
    let bars = bench.states(Timeframe::S1).len();
    bench.alive(90_000);
    assert_eq!(bench.states(Timeframe::S1).len(), bars);
    // The next number shows that three were lost; until it came nobody knew.
    bench.trade(43, 80_000);
    let states = bench.states(Timeframe::S1);
    assert!(states[..80].iter().all(|state| *state == CandleState::Gap), "{states:?}");
}

/// A quiet market on a connection that says nothing at all proves nothing: no stream is blamed.
#[test]
fn no_stream_is_blamed_for_a_dead_connection() {
    let mut bench = connected();
    (8..40).for_each(|id| _ = bench.trade(id, 100 + id as i64));
    assert!(bench.pass(300).iter().all(|want| !matches!(want, Want::Resubscribe { .. })));
}

#[test]
fn one_of_two_connections_may_break() {
    let mut bench = connected();
    bench.engine.connected(0, 1, bench.now_ns);
    let trade = |id: u64| {
        let time_ms = BASE_MS + 100 * id as i64;
        format!(
            r#"{{"e":"trade","E":{time_ms},"s":"BTCUSDT","t":{id},"p":"10","q":"2","T":{time_ms},"m":true,"M":true}}"#
        )
    };
    for id in 8..12 {
        for line in [0, 1] {
            bench.engine.frame(0, line, trade(id).as_bytes(), bench.now_ns);
        }
    }
    bench.engine.disconnected(0, 0);
    for id in 12..30 {
        bench.engine.frame(0, 1, trade(id).as_bytes(), bench.now_ns);
    }
    assert!(bench.states(Timeframe::S1).iter().all(|state| *state == CandleState::Traded));
    assert_eq!(bench.status.counter(Counter::Duplicates), 4);
    assert!(bench.missing(2).is_empty());
    bench.engine.disconnected(0, 1);
    bench.trade(31, 9_000);
    assert_eq!(
        bench.states(Timeframe::S1).last(),
        Some(&CandleState::Gap),
        "without any, a break is a break"
    );
}

/// Book and snapshot meet; a change that is missing has the book fetched anew.
#[test]
fn a_book_is_asked_for_until_it_is_in_step() {
    let mut bench = connected();
    let wanted = |wants: Vec<Want>| wants.iter().filter(|want| matches!(want, Want::Snapshot { .. })).count();
    assert_eq!(wanted(bench.pass(1)), 1);
    assert!(wanted(bench.pass(4)) >= 1, "it did not come");
    let change = |bench: &mut Bench, first: u64, last: u64| {
        bench.take(&format!(
            r#"{{"e":"depthUpdate","E":{BASE_MS},"s":"BTCUSDT","U":{first},"u":{last},"b":[["9","1"]],"a":[]}}"#
        ));
    };
    bench.pass(1);
    change(&mut bench, 5, 6);
    let level = |price: i64| market::Level { price: price * 100_000_000, qty: 1, printed: [0; 2] };
    let snapshot = |last_id| market::protocol::Snapshot {
        last_id,
        bids: (0..100).map(|i| level(1_000 - i)).collect(),
        asks: (0..100).map(|i| level(1_001 + i)).collect(),
        limit: None,
    };
    bench.engine.book(0, BTC, &snapshot(5), bench.now_ns);
    assert_eq!(bench.status.counter(Counter::BookSnapshots), 1);
    change(&mut bench, 7, 8);
    assert_eq!(wanted(bench.pass(4)), 0);
    change(&mut bench, 12, 12);
    let book = bench.stream(StreamKind::Book);
    assert_eq!((book.gaps, book.missing, book.condition), (1, 3, 2));
    assert_eq!(wanted(bench.pass(1)), 1);
}

/// The largest numbers there are, in every place: counted, never a panic.
#[test]
fn the_largest_numbers_do_no_harm() {
    let most = u64::MAX;
    let mut bench = connected();
    for (first, last) in [(0, most), (most, most), (5, 6), (most, most), (1, most)] {
        bench.take(&format!(
            r#"{{"e":"depthUpdate","E":{BASE_MS},"s":"BTCUSDT","U":{first},"u":{last},"b":[["9","1"]],"a":[]}}"#
        ));
        let snapshot = market::protocol::Snapshot { last_id: last, ..Default::default() };
        bench.engine.book(0, BTC, &snapshot, bench.now_ns);
        bench.take(&kline(last));
        bench.take(&format!(r#"{{"u":{last},"s":"BTCUSDT","b":"1","B":"1","a":"2","A":"1"}}"#));
        bench.pass(3);
    }
    bench.fetched(0, most, &[fetched(most - 1, 0)], true);
    assert_eq!(bench.status.counter(Counter::Malformed), 0);

    let numbered = |number: u64| format!(r#"{{"channel":"heartbeats","sequence_num":{number},"events":[]}}"#);
    let mut bench = Bench::of(Venue::CoinbaseAdvanced, Timeframe::S1);
    bench.engine.connected(0, 0, bench.now_ns);
    for number in [0, most, most, 3, 0, most] {
        bench.take(&numbered(number));
    }
}
