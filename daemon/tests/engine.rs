//! The engine by itself: what breaks of a connection do to candles, and how its own are held against the venue's.

use chartd::engine::{Engine, EnginePlan, FeedPlan, Verdict};
use market::{CandleState, Instrument, Timeframe, Venue};
use shm::prefix::Identity;
use shm::status::{Counter, StatusReader, StatusWriter};
use std::sync::Arc;

/// A whole minute.
const BASE_MS: i64 = 1_700_000_040_000;

struct Bench {
    engine: Engine,
    status: StatusReader,
}

impl Bench {
    fn new(timeframe: Timeframe) -> Self {
        let status = Arc::new(StatusWriter::create(0, 0, [0; 2]).unwrap());
        let instruments = vec![(Instrument::new(Venue::Binance, "BTCUSDT"), vec![timeframe])];
        let plan = FeedPlan { venue: Venue::Binance, instruments };
        let reader = StatusReader::open(status.reader_fd().unwrap()).unwrap();
        let plan = EnginePlan {
            feeds: &[plan],
            bars: 100,
            published: 100,
            huge_pages: false,
            identity: Identity::default(),
        };
        Self { engine: Engine::new(&plan, status, || 0).unwrap(), status: reader }
    }

    fn take(&mut self, payload: &str) -> Verdict {
        self.engine.frame(0, 0, payload.as_bytes(), 0)
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
