//! The engine against venues that do everything wrong, in virtual time: what it says of each bar is true.
//!
//! A simulated venue drops, repeats, reorders and delays messages, ends connections, lets single streams fall silent,
//! crosses books and answers REST with errors. The engine is driven as the daemon drives it, by a cold plane of the
//! test's own. In the end every bar that is called traded or quiet is the venue's, to the last digit, and every bar that
//! is called a gap lies where a fault was made to happen.
//!
//! All that the engines take in is recorded as the daemon does, and played again: the same journal gives the same candles,
//! books, and all that is counted of them.
//!
//! `CHARTD_SEEDS` says how many seeds are lived through (12 without it), beginning with `CHARTD_FIRST_SEED`.

#[path = "common/tape.rs"]
mod tape;

use chartd::engine::{Engine, EnginePlan, FeedPlan, Input, Want};
use chartd::sim::{Delivery, Fault, Faults, SimConfig, SymbolSpec, TrueBar, Virtual, What};
use journal::Kind;
use market::protocol::{Missing, Protocol, Subscription};
use market::{Candle, CandleState, Instrument, InstrumentId, Timeframe, Trade, Venue};
use shm::market::{MarketReader, StreamKind, StreamState};
use shm::prefix::Identity;
use shm::status::{Counter, StatusReader, StatusWriter};
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tape::{Taped, known, play};

/// Where the market begins: a whole minute.
const START_MS: i64 = 1_700_000_040_000;
/// How long it is watched.
const LIFE_MS: i64 = 150_000;
/// Of the newest bars nobody can know yet whether a trade is missing.
const UNSETTLED_MS: i64 = 20_000;
/// How much later than the fault behind it a bar may lie that is a gap: a connection that broke is back by then, and a
/// silence is over.
const REACH_MS: i64 = 20_000;
const TIMEFRAMES: [Timeframe; 2] = [Timeframe::S1, Timeframe::M1];

thread_local! {
    /// The virtual clock of a run.
    static NOW_NS: Cell<u64> = const { Cell::new(0) };
}

fn now_ns() -> u64 {
    NOW_NS.get()
}

/// A venue's path in the simulation, and how it spells the symbol of two assets.
fn dialect(venue: Venue) -> (&'static str, &'static str) {
    match venue {
        Venue::Binance => ("", ""),
        Venue::Kraken => ("/v2", "/"),
        Venue::Coinbase | Venue::CoinbaseAdvanced => ("", "-"),
        Venue::Itch => panic!("it is not told in words; tests/itch.rs has it"),
    }
}

/// A request for what is missing, tried until it is answered.
struct Errand {
    instrument: InstrumentId,
    missing: Missing,
    due_ms: i64,
    tries: u32,
}

/// The engine, the venue, and the cold plane between them.
struct Run {
    venue: Virtual,
    protocol: &'static dyn Protocol,
    path: &'static str,
    symbols: Vec<String>,
    instruments: Vec<Instrument>,
    engine: Taped,
    status: StatusReader,
    /// The connection of each line, or when the line is connected again.
    lines: Vec<Result<u64, i64>>,
    books: VecDeque<(InstrumentId, i64)>,
    errands: VecDeque<Errand>,
    /// When each instrument was last subscribed anew.
    resubscribed_ms: Vec<i64>,
}

impl Run {
    fn new(venue: Venue, lines: usize, faults: Faults, seed: u64) -> Self {
        let mut config = SimConfig::new(([127, 0, 0, 1], 0).into(), seed);
        config.symbols = SymbolSpec::defaults()[..2].to_vec();
        config.trades_per_second = 8.0;
        config.warm_up = Duration::from_secs(30);
        let (path, between) = dialect(venue);
        let symbols: Vec<_> =
            config.symbols.iter().map(|spec| format!("{}{between}{}", spec.base, spec.quote)).collect();
        let venue_there = Virtual::new(config, faults, START_MS).unwrap();
        NOW_NS.set(venue_there.now_ms() as u64 * 1_000_000);
        let instruments: Vec<_> =
            symbols.iter().map(|symbol| Instrument::new(venue, symbol.clone())).collect();
        let feed = FeedPlan {
            venue,
            instruments: instruments.iter().map(|i| (i.clone(), TIMEFRAMES.to_vec())).collect(),
        };
        let status = Arc::new(StatusWriter::create(0, 0, [0; 2]).unwrap());
        let reader = StatusReader::open(status.reader_fd().unwrap()).unwrap();
        let plan = EnginePlan {
            feeds: &[feed],
            bars: 1_000,
            published: 1_000,
            huge_pages: false,
            identity: Identity::default(),
        };
        let engine = Engine::new(&plan, status, now_ns).unwrap();
        let engine = Taped::new(engine, &tape::start("run", 1, &[&instruments]), now_ns());
        let now_ms = venue_there.now_ms();
        Self {
            venue: venue_there,
            protocol: venue.protocol(),
            path,
            resubscribed_ms: vec![0; symbols.len()],
            symbols,
            instruments,
            engine,
            status: reader,
            lines: vec![Err(now_ms); lines],
            books: VecDeque::new(),
            errands: VecDeque::new(),
        }
    }

    /// Lives on to `end_ms`.
    fn live(&mut self, end_ms: i64) {
        while self.venue.now_ms() < end_ms {
            let now_ms = self.venue.now_ms() + 10;
            let deliveries = self.venue.step(now_ms);
            deliveries.into_iter().for_each(|delivery| self.deliver(delivery));
            NOW_NS.set(now_ms as u64 * 1_000_000);
            self.connect(now_ms);
            if now_ms % 100 == 0 {
                self.engine.take(&Input::Tick, now_ns());
            }
            while let Some(want) = self.engine.next_want() {
                self.fulfil(want, now_ms);
            }
            self.fetch(now_ms);
        }
    }

    fn deliver(&mut self, delivery: Delivery) {
        let Some(line) = self.lines.iter().position(|line| *line == Ok(delivery.conn)) else { return };
        NOW_NS.set(delivery.time_ms as u64 * 1_000_000);
        match delivery.what {
            What::Text(text) => {
                self.engine.take(&Input::Frame { feed: 0, line, frame: text.as_bytes() }, now_ns());
            }
            What::Closed => {
                self.engine.take(&Input::Disconnected { feed: 0, line }, now_ns());
                self.lines[line] = Err(delivery.time_ms + 700);
            }
        }
    }

    fn subscription(&self) -> Subscription<'_> {
        Subscription { symbols: &self.symbols, klines: &TIMEFRAMES }
    }

    fn connect(&mut self, now_ms: i64) {
        for line in 0..self.lines.len() {
            if self.lines[line].is_ok_and(|_| true) || self.lines[line].is_err_and(|due_ms| now_ms < due_ms) {
                continue;
            }
            let target = self.protocol.target(self.path, &self.subscription());
            let conn = self.venue.connect(&target).unwrap();
            for message in self.protocol.subscribe(&self.subscription()) {
                self.venue.send(conn, &message);
            }
            self.lines[line] = Ok(conn);
            self.engine.take(&Input::Connected { feed: 0, line }, now_ns());
        }
    }

    fn say(&mut self, messages: &[String]) {
        for conn in self.lines.iter().flatten() {
            messages.iter().for_each(|message| self.venue.send(*conn, message));
        }
    }

    fn fulfil(&mut self, want: Want, now_ms: i64) {
        match want {
            Want::Snapshot { instrument, .. } => {
                let symbol = self.symbols[usize::from(instrument.0)].clone();
                match self.protocol.snapshot(&symbol) {
                    Some(_) => self.books.push_back((instrument, now_ms + 80)),
                    None => self.say(&self.protocol.resubscribe_book(&symbol)),
                }
            }
            Want::Resubscribe { instrument, .. } => {
                let place = usize::from(instrument.0);
                if now_ms >= self.resubscribed_ms[place] + 10_000 {
                    self.resubscribed_ms[place] = now_ms;
                    let messages = self.protocol.resubscribe(&self.symbols[place], &self.subscription());
                    self.say(&messages);
                }
            }
            Want::Trades { instrument, missing, .. } => {
                self.errands.push_back(Errand { instrument, missing, due_ms: now_ms + 80, tries: 0 });
            }
        }
    }

    fn fetch(&mut self, now_ms: i64) {
        if self.books.front().is_some_and(|(_, due_ms)| *due_ms <= now_ms)
            && let Some((instrument, _)) = self.books.pop_front()
        {
            let place = usize::from(instrument.0);
            let request = self.protocol.snapshot(&self.symbols[place]).unwrap();
            let (status, body) = self.venue.get(&request);
            if status == 200 {
                let book = self.protocol.read_snapshot(body.as_bytes(), &self.instruments[place]).unwrap();
                self.engine.take(&Input::Book { feed: 0, instrument, snapshot: &book }, now_ns());
            }
        }
        if self.errands.front().is_none_or(|errand| errand.due_ms > now_ms) {
            return;
        }
        let Some(mut errand) = self.errands.pop_front() else { return };
        let place = usize::from(errand.instrument.0);
        let Some(request) = self.protocol.trades(&self.symbols[place], &errand.missing) else {
            return self.fetched(errand.instrument, &errand.missing, &[], true);
        };
        let (status, body) = self.venue.get(&request);
        let trades = match status {
            200 => self.protocol.read_trades(body.as_bytes(), &self.instruments[place]).unwrap(),
            _ => Vec::new(),
        };
        errand.tries += 1;
        let brings = |id: u64| trades.iter().any(|trade| trade.first_id == id);
        let is_whole = (errand.missing.from..=errand.missing.to).all(brings);
        let is_final = is_whole || errand.tries == 8;
        self.fetched(errand.instrument, &errand.missing, &trades, is_final);
        if !is_final {
            errand.due_ms = now_ms + 500;
            self.errands.push_back(errand);
        }
    }

    fn fetched(&mut self, instrument: InstrumentId, missing: &Missing, trades: &[Trade], is_final: bool) {
        let input = Input::Trades { feed: 0, instrument, missing, trades, is_final };
        self.engine.take(&input, now_ns());
    }

    /// Whether what was recorded gives all that is known, and all that was wanted, once more.
    fn comes_back(&self) -> bool {
        let (again, wants) = play(&self.engine.records, &TIMEFRAMES);
        let known_of = |engine: &Engine| {
            let of = |(place, instrument)| known(engine, place, instrument, &TIMEFRAMES);
            self.instruments.iter().enumerate().map(of).collect::<Vec<_>>()
        };
        let (ours, theirs) = (known_of(&self.engine.engine), known_of(&again));
        ours == theirs && wants == self.engine.wants
    }

    /// Holds every settled bar against the truth. Returns how many bars are proven and equal, and how many are gaps.
    fn check(&self, venue: Venue, seed: u64) -> (usize, usize) {
        let (mut equal, mut gaps) = (0, 0);
        for (symbol, truth) in self.symbols.iter().zip(self.venue.truth()) {
            for (timeframe, theirs) in TIMEFRAMES.into_iter().zip([&truth.seconds, &truth.minutes]) {
                let series = self.engine.engine.series(venue, symbol, timeframe).unwrap();
                for ours in series.bars() {
                    let end_ms = timeframe.end_ms(ours.open_ms);
                    if end_ms > self.venue.now_ms() - UNSETTLED_MS {
                        break;
                    }
                    let what = || {
                        format!("seed {seed}, {symbol}/{timeframe} at {}: {ours:?}", ours.open_ms - START_MS)
                    };
                    match ours.state {
                        CandleState::Partial => {}
                        CandleState::Gap => {
                            assert!(self.is_justified(&truth.symbol, ours.open_ms, end_ms), "{}", what());
                            gaps += 1;
                        }
                        CandleState::Traded | CandleState::Quiet => {
                            let theirs = theirs.iter().find(|bar| bar.open_ms == ours.open_ms);
                            let theirs = theirs.unwrap_or_else(|| panic!("{}", what()));
                            assert!(same(ours, theirs), "{}\ntruth {theirs:?}", what());
                            equal += 1;
                        }
                    }
                }
            }
        }
        (equal, gaps)
    }

    /// Whether a fault was made to happen that could have made a gap there.
    fn is_justified(&self, symbol: &str, open_ms: i64, end_ms: i64) -> bool {
        let harms = |fault: Fault| {
            use Fault::{
                Abort, Close, Delay, Drop, HalfRecord, Reorder, RestError, Sequence, Silence, Stall,
            };
            matches!(
                fault,
                Drop | Delay | Reorder | Stall | Close | Abort | Silence | HalfRecord | RestError | Sequence
            )
        };
        self.venue.injected().iter().any(|injected| {
            harms(injected.fault)
                && injected.symbol.as_deref().is_none_or(|of| of == symbol)
                && injected.time_ms + REACH_MS > open_ms
                && injected.time_ms < end_ms + REACH_MS
        })
    }

    fn stream(&self, place: usize, kind: StreamKind) -> StreamState {
        MarketReader::open(self.engine.engine.market().reader_fd().unwrap()).unwrap().stream(place, kind)
    }
}

/// Whether our bar is the venue's: prices, volumes and trades. Ours are in units of 1e-8 here, too. A quiet bar behind
/// a gap may say that it does not know its price.
fn same(ours: &Candle, theirs: &TrueBar) -> bool {
    if ours.state == CandleState::Quiet && ours.ohlc.is_none() {
        return theirs.trades == 0;
    }
    let prices = [theirs.open, theirs.high, theirs.low, theirs.close];
    ours.ohlc.map(|ohlc| [ohlc.open, ohlc.high, ohlc.low, ohlc.close]) == Some(prices)
        && (ours.volume, ours.quote_volume, ours.trades) == (theirs.volume, theirs.quote, theirs.trades)
        && (ours.trades == 0
            || (ours.first.id, ours.last.id) == (theirs.first_id as u64, theirs.last_id as u64))
}

fn run(venue: Venue, lines: usize, faults: Faults, seed: u64) -> Run {
    let mut run = Run::new(venue, lines, faults, seed);
    run.live(START_MS + LIFE_MS);
    run
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Lives through the seeds, on both cores, and prints what came out.
fn every_bar_is_true(venue: Venue, lines: usize, faults: Faults, fewest_gaps: usize) {
    let (first, count) = (setting("CHARTD_FIRST_SEED", 1), setting("CHARTD_SEEDS", 12));
    let (mut equal, mut gaps, mut injected, mut repaired) = (0, 0, 0, 0);
    for seed in first..first + count {
        let run = run(venue, lines, faults.clone(), seed);
        let (equal_here, gaps_here) = run.check(venue, seed);
        assert!(equal_here > 0, "seed {seed} proved nothing");
        assert!(run.comes_back() && run.comes_back(), "seed {seed}: the journal gives something else");
        equal += equal_here;
        gaps += gaps_here;
        injected += run.venue.injected().len();
        repaired += run.status.counter(Counter::RepairedTrades);
    }
    println!(
        "{venue}, {lines} connections, {count} seeds: {injected} faults, {equal} bars equal, {gaps} gaps, {repaired} trades repaired"
    );
    // A test that proves bars by calling all of them gaps would prove nothing.
    assert!(equal > 5 * gaps && gaps >= fewest_gaps, "{equal} bars are proven, {gaps} are gaps");
}

#[test]
fn binance_bars_are_true() {
    every_bar_is_true(Venue::Binance, 1, Faults::all(), 0);
}

#[test]
fn kraken_bars_are_true() {
    every_bar_is_true(Venue::Kraken, 1, Faults::all(), 0);
}

#[test]
fn coinbase_bars_are_true() {
    every_bar_is_true(Venue::Coinbase, 1, Faults::all(), 0);
}

#[test]
fn coinbase_advanced_bars_are_true() {
    every_bar_is_true(Venue::CoinbaseAdvanced, 1, Faults::all(), 0);
}

#[test]
fn two_connections_of_a_venue_make_true_bars() {
    every_bar_is_true(Venue::Binance, 2, Faults::all(), 0);
    every_bar_is_true(Venue::Kraken, 2, Faults::all(), 0);
}

/// Where missing trades cannot be fetched the bars stay gaps, and no others.
#[test]
fn without_rest_bars_are_true_or_gaps() {
    for venue in [Venue::Binance, Venue::CoinbaseAdvanced] {
        every_bar_is_true(venue, 1, Faults::all().with(Fault::RestError, 1.0), 1);
    }
}

/// Without faults nothing is reported: no gap, no contradiction, no silence, on any venue.
#[test]
fn a_faultless_venue_is_proven_whole() {
    for venue in Venue::ALL.into_iter().filter(|venue| *venue != Venue::Itch) {
        let run = run(venue, 1, Faults::none(), 7);
        let (equal, gaps) = run.check(venue, 7);
        assert!(equal >= 150 && gaps == 0, "{venue}: {equal} equal, {gaps} gaps");
        for place in 0..run.symbols.len() {
            for kind in StreamKind::ALL {
                let stream = run.stream(place, kind);
                let wrong = [stream.gaps, stream.corrupt, stream.silences, stream.missing];
                assert_eq!(wrong, [0; 4], "{venue} {}: {stream:?}", kind.name());
                assert!(stream.messages > 0, "{venue} {} says nothing", kind.name());
            }
        }
        println!("{venue}: book {:?}", run.stream(0, StreamKind::Book));
        println!("{venue}: quotes {:?}", run.stream(0, StreamKind::Quotes));
    }
}

/// Each kind of input counts: where one is not recorded, something else comes back.
#[test]
fn nothing_that_is_recorded_is_idle() {
    let is_missed = |kind: Kind| {
        (1..=6).any(|seed| {
            let faults = Faults::all();
            let mut run = Run::new(Venue::Binance, 1, faults, seed);
            run.engine.forgets = Some(kind);
            run.live(START_MS + LIFE_MS);
            !run.comes_back()
        })
    };
    for kind in [Kind::Frame, Kind::Connected, Kind::Disconnected, Kind::Book, Kind::Trades, Kind::Tick] {
        assert!(is_missed(kind), "{kind:?}");
    }
}
