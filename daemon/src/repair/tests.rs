//! The planner against a venue of the tests' own: whatever pages come, and whatever fails, each missing trade is delivered
//! once, and there is always a last delivery.

use super::*;
use market::protocol::{Decoder, Limits, Proof, Rest, Session, Snapshot};
use market::{Kline, Side, Trade, Venue};
use proptest::prelude::*;

/// A venue whose answers are numbers: of trades, one a line, or the number of a book.
struct Fake;

/// The same, but its books come by the stream.
struct Streaming;

impl Protocol for Fake {
    fn decoder(&self) -> Box<dyn Decoder> {
        Venue::Binance.protocol().decoder()
    }

    fn proof(&self) -> Proof {
        Venue::Binance.protocol().proof()
    }
}

impl Session for Fake {
    fn websocket_url(&self) -> &'static str {
        "ws://127.0.0.1"
    }

    fn target(&self, _: &str, _: &Subscription<'_>) -> String {
        "/".into()
    }

    fn subscribe(&self, _: &Subscription<'_>) -> Vec<String> {
        Vec::new()
    }

    fn resubscribe_book(&self, symbol: &str) -> Vec<String> {
        vec![format!("book {symbol}")]
    }

    fn resubscribe(&self, symbol: &str, wanted: &Subscription<'_>) -> Vec<String> {
        vec![format!("leave {symbol}"), format!("join {symbol} {}", wanted.klines.len())]
    }

    fn limits(&self) -> Limits {
        Limits { messages_per_second: 5, ..Venue::Binance.protocol().limits() }
    }
}

impl Rest for Fake {
    fn rest_url(&self) -> &'static str {
        "http://127.0.0.1"
    }

    fn instruments(&self, _: &[String]) -> String {
        "/instruments".into()
    }

    fn read_instruments(&self, _: &[u8], _: &[String]) -> Result<Vec<Instrument>, RestError> {
        Ok(Vec::new())
    }

    fn snapshot(&self, symbol: &str) -> Option<String> {
        Some(format!("/book?{symbol}"))
    }

    fn read_snapshot(&self, body: &[u8], _: &Instrument) -> Result<Snapshot, RestError> {
        let last_id = text(body)?.parse().map_err(|_| RestError::Shape("no number".into()))?;
        Ok(Snapshot { last_id, ..Snapshot::default() })
    }

    fn trades(&self, symbol: &str, missing: &Missing) -> Option<String> {
        (symbol != "OLD").then(|| format!("/trades?{}-{}@{:?}", missing.from, missing.to, missing.span_ms))
    }

    fn read_trades(&self, body: &[u8], _: &Instrument) -> Result<Vec<Trade>, RestError> {
        text(body)?.split_whitespace().map(|id| Ok(trade(id.parse().unwrap()))).collect()
    }

    fn klines(&self, _: &str, _: Timeframe, _: usize, _: i64) -> Option<String> {
        None
    }

    fn read_klines(&self, _: &[u8], _: &Instrument, _: Timeframe) -> Result<Vec<Kline>, RestError> {
        Ok(Vec::new())
    }
}

/// A refusal begins with `no`.
fn text(body: &[u8]) -> Result<&str, RestError> {
    let text = std::str::from_utf8(body).unwrap();
    if text.starts_with("no") { Err(RestError::Refused(text.into())) } else { Ok(text) }
}

/// Trade numbered `id`, at its number in ms.
fn trade(id: u64) -> Trade {
    Trade { first_id: id, last_id: id, time_ms: id as i64, price: 1, qty: 1, taker: Side::Buy }
}

macro_rules! delegate {
    ($($name:ident($($arg:ident: $kind:ty),*) -> $out:ty;)*) => {
        $(fn $name(&self, $($arg: $kind),*) -> $out { Fake.$name($($arg),*) })*
    };
}

impl Protocol for Streaming {
    delegate! { decoder() -> Box<dyn Decoder>; proof() -> Proof; }
}

impl Session for Streaming {
    delegate! {
        websocket_url() -> &'static str;
        target(path: &str, wanted: &Subscription<'_>) -> String;
        subscribe(wanted: &Subscription<'_>) -> Vec<String>;
        resubscribe_book(symbol: &str) -> Vec<String>;
        resubscribe(symbol: &str, wanted: &Subscription<'_>) -> Vec<String>;
        limits() -> Limits;
    }
}

impl Rest for Streaming {
    delegate! {
        rest_url() -> &'static str;
        instruments(symbols: &[String]) -> String;
        read_instruments(body: &[u8], symbols: &[String]) -> Result<Vec<Instrument>, RestError>;
        read_snapshot(body: &[u8], of: &Instrument) -> Result<Snapshot, RestError>;
        trades(symbol: &str, missing: &Missing) -> Option<String>;
        read_trades(body: &[u8], of: &Instrument) -> Result<Vec<Trade>, RestError>;
        klines(symbol: &str, timeframe: Timeframe, limit: usize, now_ms: i64) -> Option<String>;
        read_klines(body: &[u8], of: &Instrument, timeframe: Timeframe) -> Result<Vec<Kline>, RestError>;
    }

    fn snapshot(&self, _: &str) -> Option<String> {
        None
    }
}

/// A planner, its feed, and its clock.
struct Bench {
    planner: Planner,
    protocol: &'static dyn Protocol,
    instruments: Vec<Instrument>,
    has_rest: bool,
    start: Instant,
    now: Instant,
}

impl Bench {
    fn new(protocol: &'static dyn Protocol, symbols: &[&str]) -> Self {
        let instruments = symbols.iter().map(|symbol| Instrument::new(Venue::Binance, *symbol)).collect();
        let now = Instant::now();
        Self { planner: Planner::default(), protocol, instruments, has_rest: true, start: now, now }
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Planner, &[FeedFacts<'_>], Instant) -> T) -> T {
        let facts = FeedFacts {
            protocol: self.protocol,
            instruments: &self.instruments,
            klines: &[Timeframe::M1],
            has_rest: self.has_rest,
        };
        act(&mut self.planner, &[facts], self.now)
    }

    fn want(&mut self, want: Want) {
        self.with(|planner, facts, now| planner.want(want, facts, now));
    }

    /// The path that is asked for now.
    fn request(&mut self) -> Option<Request> {
        self.with(|planner, facts, now| planner.next_request(facts, now))
    }

    fn answer(&mut self, request: &Request, body: &str) -> Option<String> {
        let (key, what) = (request.key, request.what);
        self.with(|planner, facts, now| planner.answer(key, what, Ok(body.as_bytes()), facts, now))
    }

    fn fail(&mut self, request: &Request, pause: Duration) -> Option<String> {
        let failure = Failure { why: "nobody there".into(), is_refusal: false, pause };
        let (key, what) = (request.key, request.what);
        self.with(|planner, facts, now| planner.answer(key, what, Err(failure), facts, now))
    }

    /// What is ordered now, in short.
    fn order(&mut self) -> Option<String> {
        Some(match self.with(|planner, facts, now| planner.next_order(facts, now))? {
            Order::Say { line: None, text, .. } => text,
            Order::Book { instrument, snapshot, .. } => {
                format!("book {} of {}", snapshot.last_id, instrument.0)
            }
            Order::Trades { trades, is_final, missing, .. } => {
                let ids: Vec<_> = trades.iter().map(|trade| trade.first_id).collect();
                format!("{ids:?} of {}-{}{}", missing.from, missing.to, if is_final { ", final" } else { "" })
            }
            _ => panic!(),
        })
    }

    /// Goes to the moment when there is something to do, and tells how far that was.
    fn wait(&mut self) -> Option<u128> {
        let next = self.planner.next_at()?.max(self.now);
        let waited = next - self.now;
        self.now = next;
        Some(waited.as_millis())
    }
}

const ID: InstrumentId = InstrumentId(0);

fn missing(from: u64, to: u64) -> Missing {
    Missing { from, to, span_ms: from as i64 - 1..to as i64 + 2 }
}

fn want_trades(from: u64, to: u64) -> Want {
    Want::Trades { feed: 0, instrument: ID, missing: missing(from, to) }
}

const BOOK: Want = Want::Snapshot { feed: 0, instrument: ID };

#[test]
fn pages_are_asked_for_until_nothing_is_missing() {
    let mut bench = Bench::new(&Fake, &["A"]);
    bench.want(want_trades(10, 14));
    bench.want(want_trades(10, 14)); // The same one.
    bench.want(want_trades(12, 13)); // A part of it.
    let first = bench.request().unwrap();
    assert_eq!(first.path, "/trades?10-14@9..16");
    assert_eq!(bench.request(), None, "one at a time");
    assert_eq!(bench.answer(&first, "9 10 12 11"), None);
    assert_eq!(bench.order().unwrap(), "[10, 11, 12] of 10-14");
    let second = bench.request().unwrap();
    assert_eq!(second.path, "/trades?13-14@12..16");
    assert_eq!(bench.answer(&second, "12 13 14 15"), None);
    assert_eq!(bench.order().unwrap(), "[13, 14] of 10-14, final");
    assert_eq!((bench.order(), bench.request(), bench.planner.next_at()), (None, None, None));
}

#[test]
fn what_fails_is_tried_with_growing_pauses_and_then_no_more() {
    let mut bench = Bench::new(&Fake, &["A"]);
    bench.want(want_trades(1, 2));
    let mut pauses = Vec::new();
    for _ in 0..MAX_TRIES {
        let request = bench.request().unwrap();
        let complaint = bench.fail(&request, Duration::ZERO);
        assert_eq!(complaint.is_some(), bench.planner.next_at().is_none());
        pauses.extend(bench.wait());
    }
    assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000]);
    assert_eq!(bench.order().unwrap(), "[] of 1-2, final");
    // A host that is busy is not asked before.
    bench.want(want_trades(1, 2));
    let request = bench.request().unwrap();
    bench.fail(&request, Duration::from_secs(120));
    assert_eq!(bench.wait(), Some(120_000));
    // A refusal is the last word, and what brings nothing new is nearly.
    let request = bench.request().unwrap();
    assert!(
        bench
            .answer(&request, "no key")
            .unwrap()
            .ends_with("2 trades stay missing: the venue refused: no key")
    );
    assert_eq!(bench.order().unwrap(), "[] of 1-2, final");
    bench.want(want_trades(5, 9));
    let mut pages = 0;
    while let Some(request) = bench.request() {
        bench.answer(&request, if pages == 0 { "5" } else { "" });
        pages += 1;
        bench.wait();
    }
    assert_eq!(pages, 1 + MAX_IDLE_PAGES);
    assert_eq!(bench.order().unwrap(), "[5] of 5-9");
    assert_eq!(bench.order().unwrap(), "[] of 5-9, final");
}

#[test]
fn without_rest_or_past_trades_a_gap_is_final_at_once() {
    let mut bench = Bench::new(&Fake, &["OLD"]);
    bench.want(want_trades(1, 2));
    assert_eq!((bench.request(), bench.order().unwrap()), (None, "[] of 1-2, final".into()));
    bench.has_rest = false;
    bench.want(want_trades(1, 3));
    assert_eq!((bench.request(), bench.order().unwrap()), (None, "[] of 1-3, final".into()));
    // Numbers that make no sense, and more holes than are kept.
    bench.has_rest = true;
    bench.want(want_trades(3, 2));
    assert_eq!(bench.order().unwrap(), "[] of 3-2, final");
    (0..MAX_HOLES as u64 + 1).for_each(|at| bench.want(want_trades(at * 10, at * 10 + 1)));
    assert_eq!(bench.order().unwrap(), "[] of 160-161, final");
    bench.want(Want::Snapshot { feed: 1, instrument: ID });
    bench.want(Want::Snapshot { feed: 0, instrument: InstrumentId(1) });
}

#[test]
fn books_come_by_rest_at_most_one_a_second_and_are_not_given_up() {
    let mut bench = Bench::new(&Fake, &["A"]);
    bench.want(BOOK);
    bench.want(BOOK);
    let request = bench.request().unwrap();
    assert_eq!(request.path, "/book?A");
    bench.want(BOOK); // While it is on the way.
    assert_eq!(bench.answer(&request, "7"), None);
    assert_eq!((bench.order().unwrap(), bench.order()), ("book 7 of 0".into(), None));
    bench.want(BOOK); // It was too old.
    assert_eq!((bench.request(), bench.wait()), (None, Some(1_000)));
    let mut pauses = Vec::new();
    for _ in 0..12 {
        let request = bench.request().unwrap();
        bench.answer(&request, "garbage");
        pauses.extend(bench.wait());
    }
    assert_eq!((pauses[0], pauses[11]), (500, 30_000));
    let request = bench.request().unwrap();
    assert!(bench.answer(&request, "no such thing").unwrap().contains("A: no book: the venue refused"));
    assert_eq!((bench.order(), bench.planner.next_at()), (None, None));
}

#[test]
fn messages_are_paced_and_streams_not_asked_for_too_often() {
    let mut bench = Bench::new(&Streaming, &["A", "B"]);
    let silent = |place| Want::Resubscribe { feed: 0, instrument: InstrumentId(place) };
    bench.want(silent(0));
    bench.want(silent(0));
    bench.want(Want::Snapshot { feed: 0, instrument: InstrumentId(1) });
    let mut said = Vec::new();
    while let Some(waited) = bench.wait() {
        said.extend(bench.order().map(|text| (waited, text)));
        assert_eq!(bench.request(), None);
    }
    let expected = [(0, "leave A"), (250, "join A 1"), (250, "book B")];
    assert_eq!(said, expected.map(|(waited, text)| (waited, text.to_owned())));
    bench.want(silent(0));
    bench.want(Want::Snapshot { feed: 0, instrument: InstrumentId(1) });
    bench.wait();
    assert_eq!((bench.now - bench.start).as_millis(), 1_250, "a second after the last one was due");
    assert_eq!(bench.order().unwrap(), "book B");
    bench.wait();
    assert_eq!((bench.now - bench.start).as_millis(), 10_000);
    assert_eq!(bench.order().unwrap(), "leave A");
    // What found no room comes again, in order.
    bench.planner.refused(Order::Say { feed: 0, line: None, text: "leave A".into() });
    bench.wait();
    assert_eq!(bench.order().unwrap(), "leave A");
}

#[test]
fn instruments_take_turns() {
    let mut bench = Bench::new(&Fake, &["A", "B", "C"]);
    for place in 0..3 {
        bench.want(Want::Snapshot { feed: 0, instrument: InstrumentId(place) });
    }
    let asked: Vec<_> = std::iter::from_fn(|| bench.request()).collect();
    assert_eq!(asked.iter().map(|request| request.key.1.0).collect::<Vec<_>>(), [0, 1, 2]);
    bench.fail(&asked[0], Duration::ZERO);
    bench.fail(&asked[1], Duration::ZERO);
    bench.now += Duration::from_secs(1);
    assert_eq!(bench.request().unwrap().key.1.0, 0);
    bench.fail(&asked[0], Duration::ZERO);
    bench.now += Duration::from_secs(2);
    assert_eq!(bench.request().unwrap().key.1.0, 1, "not the first one again");
}

#[test]
fn another_configuration_loses_nothing_of_what_goes_on() {
    let mut bench = Bench::new(&Fake, &["A", "B"]);
    bench.want(want_trades(1, 2));
    bench.want(Want::Trades { feed: 0, instrument: InstrumentId(1), missing: missing(5, 9) });
    let [a, b] = [bench.request().unwrap(), bench.request().unwrap()];
    bench.answer(&b, "5 6");
    // A is gone, B is the first now.
    bench.planner.move_to(|(feed, id)| (id.0 == 1).then_some((feed, ID)));
    bench.instruments.remove(0);
    assert_eq!(bench.order().unwrap(), "[5, 6] of 5-9", "what was got already");
    let request = bench.request().unwrap();
    assert_eq!((request.key, request.path.as_str()), ((0, ID), "/trades?7-9@6..11"));
    bench.answer(&Request { key: (0, InstrumentId(1)), ..a }, "1 2"); // Late, of what is gone.
    assert_eq!(bench.order(), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever pages come, in whatever order, with whatever failures: each missing trade is delivered at most once and
    /// nothing else is; there is one last delivery.
    #[test]
    fn each_missing_trade_is_delivered_once_and_it_ends(
        from in 0u64..50,
        count in 1u64..60,
        pages in prop::collection::vec(prop::option::weighted(0.8, prop::collection::vec(0u64..120, 0..25)), 0..30),
    ) {
        let mut bench = Bench::new(&Fake, &["A"]);
        let to = from + count - 1;
        bench.want(want_trades(from, to));
        let (mut got, mut finals, mut rounds, mut pages) = (Vec::new(), 0, 0, pages.into_iter());
        loop {
            while let Some(order) = bench.with(|planner, facts, now| planner.next_order(facts, now)) {
                let Order::Trades { trades, is_final, missing: of, .. } = order else { panic!() };
                prop_assert_eq!(of, missing(from, to));
                prop_assert!(is_final || !trades.is_empty());
                prop_assert!(trades.is_sorted_by_key(|trade| trade.first_id));
                prop_assert_eq!(finals, 0, "after the last delivery");
                got.extend(trades.iter().map(|trade| trade.first_id));
                finals += u32::from(is_final);
            }
            if bench.wait().is_none() {
                break;
            }
            rounds += 1;
            prop_assert!(rounds < 5_000, "it does not end");
            let Some(request) = bench.request() else { continue };
            match pages.next() {
                Some(None) => _ = bench.fail(&request, Duration::ZERO),
                Some(Some(ids)) => {
                    let ids: Vec<_> = ids.iter().map(u64::to_string).collect();
                    bench.answer(&request, &ids.join(" "));
                }
                None => _ = bench.answer(&request, ""),
            }
        }
        prop_assert_eq!(finals, 1);
        let delivered = got.len();
        got.sort();
        got.dedup();
        prop_assert_eq!(got.len(), delivered, "delivered twice");
        prop_assert!(got.iter().all(|id| (from..=to).contains(id)));
    }

    /// From a venue that gives what it has, forwards or backwards, page by page and with failures between, all comes.
    #[test]
    fn honest_pages_leave_nothing_missing(
        from in 10u64..50,
        count in 1u64..200,
        failures in prop::collection::vec(0u32..MAX_TRIES, 0..200),
        backwards in any::<bool>(),
        by_time in any::<bool>(),
        page_len in 2usize..20,
    ) {
        let mut bench = Bench::new(&Fake, &["A"]);
        let to = from + count - 1;
        let mut span_missing = missing(from, to);
        if by_time {
            span_missing.span_ms = from as i64 - 9..to as i64 + 9; // More than one page lies before it.
        }
        bench.want(Want::Trades { feed: 0, instrument: ID, missing: span_missing });
        let mut failures = failures.into_iter();
        while bench.wait().is_some() {
            for _ in 0..failures.next().unwrap_or(0) {
                let request = bench.request().unwrap();
                bench.fail(&request, Duration::ZERO);
                bench.wait();
            }
            let Some(request) = bench.request() else { continue };
            let (ids, span) = request.path.split_once('?').unwrap().1.split_once('@').unwrap();
            let [first, last]: [u64; 2] = numbers(ids, "-");
            let [start, end]: [u64; 2] = numbers(span, "..");
            let (first, last) = if by_time { (start, end - 1) } else { (first, last + 5) };
            let page: Vec<_> = match backwards {
                false => (first..=last).take(page_len).collect(),
                true => (first..=if by_time { last } else { last - 5 }).rev().take(page_len).collect(),
            };
            let page: Vec<_> = page.iter().map(u64::to_string).collect();
            bench.answer(&request, &page.join(" "));
        }
        let mut got = Vec::new();
        while let Some(order) = bench.with(|planner, facts, now| planner.next_order(facts, now)) {
            let Order::Trades { trades, .. } = order else { panic!() };
            got.extend(trades.iter().map(|trade| trade.first_id));
        }
        got.sort();
        prop_assert_eq!(got, (from..=to).collect::<Vec<_>>());
    }
}

fn numbers<const N: usize>(text: &str, between: &str) -> [u64; N] {
    let numbers: Vec<_> = text.split(between).map(|number| number.parse().unwrap()).collect();
    numbers.try_into().unwrap()
}
