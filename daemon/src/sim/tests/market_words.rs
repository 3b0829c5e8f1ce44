//! What the market says agrees with itself, checked on the frames' text by the simplest means there are.

use super::super::SymbolSpec;
use super::super::binance::{rest, wire};
use super::super::book::Side;
use super::super::market::{Event, Happening, Market, Pace};
use super::{START_MS, events, fixed, words};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};

fn frames(events: &[Event]) -> Vec<String> {
    let specs = SymbolSpec::defaults();
    events.iter().filter_map(|event| wire::frame(&specs[event.symbol].name(), event)).collect()
}

#[test]
fn a_seed_decides_the_market_however_it_is_stepped() {
    let first = frames(&events(7, 20_000, 2));
    assert!(first.len() > 2_000);
    assert_eq!(first, frames(&events(7, 20_000, 2)));
    assert_eq!(first, frames(&events(7, 20_000, 1_777)));
    assert_ne!(first, frames(&events(8, 20_000, 2)));
}

/// A trade as its frame tells it, prices and quantities in units of 1e-8.
struct Told {
    id: i64,
    time: i64,
    price: i128,
    base: i128,
    quote: i128,
    buyer_took: bool,
}

impl Told {
    fn read(frame: &Value) -> Self {
        let (price, base) = (fixed(&frame["p"]), fixed(&frame["q"]));
        assert_eq!(price * base % 100_000_000, 0, "a quote volume with more than eight decimals");
        Self {
            id: frame["t"].as_i64().unwrap(),
            time: frame["T"].as_i64().unwrap(),
            price,
            base,
            quote: price * base / 100_000_000,
            buyer_took: frame["m"] == json!(false),
        }
    }
}

/// The kline that `trades` of one symbol make within `[open, close]`, by definition.
fn naive_kline(trades: &[Told], open: i64, close: i64, start_price: i128) -> Value {
    let text = |units: i128| json!(format!("{}.{:08}", units / 100_000_000, units % 100_000_000));
    let before = &trades[..trades.partition_point(|trade| trade.time < open)];
    let within = &trades[before.len()..trades.partition_point(|trade| trade.time <= close)];
    let flat = before.last().map_or(start_price, |trade| trade.price);
    let prices = || within.iter().map(|trade| trade.price);
    let bought = || within.iter().filter(|trade| trade.buyer_took);
    json!({
        "t": open, "T": close,
        "f": within.first().map_or(-1, |trade| trade.id),
        "L": within.last().map_or(-1, |trade| trade.id),
        "o": text(prices().next().unwrap_or(flat)),
        "c": text(prices().next_back().unwrap_or(flat)),
        "h": text(prices().max().unwrap_or(flat)),
        "l": text(prices().min().unwrap_or(flat)),
        "v": text(within.iter().map(|trade| trade.base).sum()),
        "q": text(within.iter().map(|trade| trade.quote).sum()),
        "n": within.len(),
        "V": text(bought().map(|trade| trade.base).sum()),
        "Q": text(bought().map(|trade| trade.quote).sum()),
        "B": "0",
    })
}

/// Every kline, open and closed, of every interval, is what the trades told before it make.
#[test]
fn klines_are_what_the_trades_make() {
    let specs = SymbolSpec::defaults();
    let millis = 250_000; // Over four full minutes, and the hour's turn.
    let events = events(1, millis, 100);
    let mut quiet = 0;
    for (symbol, spec) in specs.iter().enumerate() {
        let wanted = |e: &&Event| matches!(e.happening, Happening::Trade(_) | Happening::Kline { .. });
        let mine = events.iter().filter(|e| e.symbol == symbol).filter(wanted);
        let told: Vec<Value> = mine.map(|e| words(e, &specs)).collect();
        let (mut trades, mut closed) = (Vec::new(), HashSet::new());
        for frame in &told {
            match frame["e"].as_str() {
                Some("trade") => trades.push(Told::read(frame)),
                Some("kline") => {
                    let mut kline = frame["k"].clone();
                    let (open, close) = (kline["t"].as_i64().unwrap(), kline["T"].as_i64().unwrap());
                    let naive = naive_kline(&trades, open, close, i128::from(spec.start_price));
                    let fields = kline.as_object_mut().unwrap();
                    let interval = fields.remove("i").unwrap().as_str().unwrap().to_owned();
                    assert_eq!(fields.remove("s").unwrap(), json!(spec.name()));
                    let is_closed = fields.remove("x").unwrap() == json!(true);
                    assert_eq!(kline, naive, "{interval} of {}", spec.name());
                    assert_eq!(
                        is_closed,
                        frame["E"].as_i64().unwrap() > close,
                        "closed at its end, not before"
                    );
                    assert!(!is_closed || closed.insert((interval, open)), "closed twice");
                    quiet += u32::from(is_closed && kline["n"] == json!(0));
                }
                _ => {}
            }
        }
        let count = |interval: &str| closed.iter().filter(|(i, _)| i == interval).count();
        assert_eq!((count("1s"), count("1m"), count("5m"), count("1h")), (250, 4, 1, 1), "{}", spec.name());
    }
    assert!(quiet > 10, "only {quiet} quiet seconds in all");
}

/// Applies the levels of a diff or snapshot to one side.
fn apply(side: &mut BTreeMap<i128, i128>, levels: &Value) {
    for level in levels.as_array().unwrap() {
        match fixed(&level[1]) {
            0 => side.remove(&fixed(&level[0])),
            quantity => side.insert(fixed(&level[0]), quantity),
        };
    }
}

/// Binance's "how to manage a local order book correctly", against both paces of diffs: the book's top is
/// always the last quote told, and the whole book is the venue's own at the end.
#[test]
fn the_documented_way_to_keep_a_book_works() {
    let specs = SymbolSpec::defaults();
    let mut market = Market::new(3, &specs, 25.0, START_MS);
    let mut told = Vec::new();
    market.step(START_MS + 5_033, &mut told);
    let snapshot = |market: &Market, symbol: &str, limit: &str| -> Value {
        let query = [("symbol".to_owned(), symbol.to_owned()), ("limit".to_owned(), limit.to_owned())];
        let answer = rest::answer(market, "/api/v3/depth", &query);
        assert_eq!(answer.status, 200, "{}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    };
    let seeds: Vec<Value> = specs.iter().map(|spec| snapshot(&market, &spec.name(), "5000")).collect();
    let shallow = snapshot(&market, "BTCUSDT", "5");
    assert_eq!(shallow["bids"].as_array().unwrap(), &seeds[0]["bids"].as_array().unwrap()[..5]);
    market.step(START_MS + 120_000, &mut told);

    for (symbol, seed) in seeds.iter().enumerate() {
        for wanted in [Pace::Fast, Pace::Slow] {
            let (mut bids, mut asks) = (BTreeMap::new(), BTreeMap::new());
            apply(&mut bids, &seed["bids"]);
            apply(&mut asks, &seed["asks"]);
            let (mut at, mut applied, mut quote) = (seed["lastUpdateId"].as_u64().unwrap(), 0, Value::Null);
            for event in told.iter().filter(|event| event.symbol == symbol) {
                let frame = words(event, &specs);
                match &event.happening {
                    Happening::Quote { .. } => quote = frame,
                    Happening::Depth(pace, _) if *pace == wanted => {
                        let (first, last) = (frame["U"].as_u64().unwrap(), frame["u"].as_u64().unwrap());
                        if last <= at {
                            continue;
                        }
                        let contains_next = first <= at + 1 && at < last;
                        assert!(
                            if applied == 0 { contains_next } else { first == at + 1 },
                            "{at} to {first}"
                        );
                        apply(&mut bids, &frame["b"]);
                        apply(&mut asks, &frame["a"]);
                        (at, applied) = (last, applied + 1);
                        let (bid, ask) = (bids.last_key_value().unwrap(), asks.first_key_value().unwrap());
                        assert!(bid.0 < ask.0, "crossed");
                        assert!(quote["u"].as_u64().unwrap() <= last);
                        assert_eq!((*bid.0, *bid.1), (fixed(&quote["b"]), fixed(&quote["B"])));
                        assert_eq!((*ask.0, *ask.1), (fixed(&quote["a"]), fixed(&quote["A"])));
                    }
                    _ => {}
                }
            }
            assert!(applied > if wanted == Pace::Fast { 900 } else { 100 }, "only {applied} diffs");
        }
    }
}

#[test]
fn a_diff_followed_to_the_end_gives_the_venues_own_book() {
    let specs = SymbolSpec::defaults();
    let mut market = Market::new(4, &specs[..1], 25.0, START_MS);
    let book = |market: &Market| {
        let book = market.symbols()[0].book();
        [Side::Bid, Side::Ask].map(|side| book.best_first(side).collect::<BTreeMap<_, _>>())
    };
    let mut mine = book(&market);
    let mut told = Vec::new();
    market.step(START_MS + 60_500, &mut told); // A moment at which the first symbol has just told its diff.
    for event in &told {
        if let Happening::Depth(Pace::Fast, diff) = &event.happening {
            for (side, levels) in mine.iter_mut().zip([&diff.bids, &diff.asks]) {
                side.extend(levels.iter().copied());
                side.retain(|_, quantity| *quantity > 0);
            }
        }
    }
    assert_eq!(mine, book(&market));
    assert!(mine.iter().all(|side| (100..=150).contains(&side.len())));
}

#[test]
fn trades_are_contiguous_clustered_and_at_the_touch() {
    let specs = SymbolSpec::defaults();
    let minutes = 10;
    let events = events(5, minutes * 60_000, 1_000);
    for symbol in 0..specs.len() {
        let (mut quote, mut last, mut sums) = (Value::Null, Value::Null, Vec::new());
        let (mut count, mut shared) = (0u32, 0u32);
        let wanted = |e: &&Event| {
            let told = &e.happening;
            matches!(told, Happening::Trade(_) | Happening::AggTrade(_) | Happening::Quote { .. })
        };
        let mine = events.iter().filter(|event| event.symbol == symbol).filter(wanted);
        for frame in mine.map(|event| words(event, &specs)) {
            if frame["e"].is_null() {
                assert!(quote.is_null() || frame["u"].as_u64() > quote["u"].as_u64());
                assert!(fixed(&frame["b"]) < fixed(&frame["a"]), "crossed");
                quote = frame;
            } else if frame["e"] == "trade" {
                assert!(last.is_null() || frame["t"].as_i64().unwrap() == last["t"].as_i64().unwrap() + 1);
                assert!(last.is_null() || frame["T"].as_i64() >= last["T"].as_i64());
                let (price, sold) = (fixed(&frame["p"]), frame["m"] == json!(true));
                let touch = quote.is_null()
                    || if sold { price <= fixed(&quote["b"]) } else { price >= fixed(&quote["a"]) };
                assert!(touch, "{frame} against {quote}");
                let jump = if last.is_null() { 0 } else { (price - fixed(&last["p"])).abs() };
                assert!(jump * 200 < price, "the book is hollow: {frame} after {last}");
                shared += u32::from(last["T"] == frame["T"]);
                count += 1;
                last = frame;
            } else if frame["e"] == "aggTrade" {
                sums.push(frame);
            }
        }
        let spans: Vec<_> =
            sums.iter().map(|s| (s["f"].as_i64().unwrap(), s["l"].as_i64().unwrap())).collect();
        assert!(spans.windows(2).all(|pair| pair[1].0 == pair[0].1 + 1), "aggregates leave no trade out");
        assert_eq!(spans.last().unwrap().1, last["t"].as_i64().unwrap());
        assert!(sums.windows(2).all(|s| s[1]["a"].as_i64().unwrap() == s[0]["a"].as_i64().unwrap() + 1));
        let rate = f64::from(count) / (minutes * 60) as f64;
        assert!((20.0..30.0).contains(&rate), "{rate} trades a second");
        let share = f64::from(shared) / f64::from(count);
        assert!((0.55..0.75).contains(&share), "{share} of the trades share their millisecond");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The wildest markets that the configuration allows keep the book whole, too.
    #[test]
    fn no_market_breaks_its_book(
        seed: u64,
        rate in 0.0..5_000.0,
        volatility_ppm in 0.0..1_000.0,
        start_ticks in 1_000i64..100_000,
        tick in prop::sample::select(vec![1i64, 100, 1_000_000, 100_000_000]),
    ) {
        let lot = 100_000_000 / tick.min(100_000_000);
        let spec = SymbolSpec {
            base: "X".into(), quote: "Y".into(), start_price: start_ticks * tick, tick, lot,
            typical_quantity: lot * 10, volatility_ppm,
        };
        prop_assert_eq!(spec.fault(), None);
        let mut market = Market::new(seed, &[spec], rate, START_MS);
        let mut events = Vec::new();
        for _ in 0..100 {
            market.step(market.now_ms() + 50, &mut events);
            let book = market.symbols()[0].book();
            let top = book.top().expect("both sides are quoted");
            prop_assert!(top.bid.0 < top.ask.0);
            prop_assert!(book.worst(Side::Bid).unwrap().0 >= tick);
        }
        let mut at = None;
        for event in &events {
            match &event.happening {
                Happening::Trade(trade) => prop_assert!(trade.price % tick == 0 && trade.quantity % lot == 0),
                Happening::Depth(Pace::Fast, diff) => {
                    prop_assert!(at.is_none_or(|at| diff.first_update == at + 1));
                    at = Some(diff.last_update);
                }
                _ => {}
            }
        }
    }
}
