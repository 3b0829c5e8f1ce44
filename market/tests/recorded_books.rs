//! Recorded frames of each venue, as books: every frame is read, every book is the venue's, and each check of a book
//! notices what it is there for. Where a recording does not show a fault, the test says so and holds that, too.

mod common;

use common::faults::{Fault, take_over};
use common::{decode, recorded};
use market::coinbase::CoinbaseDecoder;
use market::kraken::KrakenDecoder;
use market::protocol::{BookProof, Rest};
use market::{
    Book, Checked, Instrument, InstrumentId, Instruments, Integrity, Message, Quote, Scale, Side, Trade,
    TradeSequence, Venue,
};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// How many frames are of each kind.
type Kinds = BTreeMap<&'static str, usize>;

fn kind(message: &Message<'_>) -> &'static str {
    match message {
        Message::Trade { is_past: true, .. } => "past trade",
        Message::Trade { .. } => "trade",
        Message::Quote { .. } => "quote",
        Message::Kline { .. } => "kline",
        Message::Book { change, .. } if change.is_snapshot => "snapshot",
        Message::Book { .. } => "change",
        Message::BookTop { .. } => "top",
        Message::Alive { .. } => "alive",
        Message::TradeMissed { .. } => "missed",
        Message::BookLost { .. } => "lost",
        Message::Numbered(_) => "numbered",
        Message::Acknowledged => "acknowledged",
        Message::Refused(_) => "refused",
        Message::ServerShutdown => "shutdown",
        Message::UnknownSymbol(_) => "unknown symbol",
        Message::Unknown => "unknown",
    }
}

fn kinds(counts: &[(&'static str, usize)]) -> Kinds {
    counts.iter().copied().collect()
}

/// What a recorder wrote before a frame, as `1618677817.061845: ` or `1723161254087896568 `, and the frame.
fn frames(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let (time, frame) = line.split_once(' ')?;
        let is_time = time.trim_end_matches(':').bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        (is_time && frame.starts_with(['{', '['])).then_some(frame)
    })
}

/// The frames in a recording whose lines are objects with the frame in a field.
fn kraken_frames(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.contains(r#""dir": "tx""#)).filter_map(|line| {
        let (_, frame) = line.split_once(r#""frame": "#)?;
        frame.strip_suffix('}')
    })
}

/// How many checksums of the recording are those of our book.
fn kraken_checksums(text: &str, fault: Fault) -> (usize, usize) {
    let instrument = Instrument { price_digits: 4, ..Instrument::new(Venue::Kraken, "MINA/GBP") };
    let scale = Scale::of(&instrument);
    let mut table = Instruments::default();
    table.add(instrument);
    let BookProof::Checksum { of, .. } = Venue::Kraken.protocol().proof().book else { unreachable!() };
    let (mut decoder, mut book) = (KrakenDecoder::default(), Book::new(1_000));
    let (mut changes, mut right, mut all) = (0, 0, 0);
    for frame in kraken_frames(text) {
        for message in decode(&mut decoder, frame.as_bytes(), &table).unwrap() {
            let Message::Book { change, .. } = message else { continue };
            changes += usize::from(!change.is_snapshot);
            if fault != Fault::ChangeDropped(changes) || change.is_snapshot {
                take_over(&mut book, &change, scale, fault);
            }
            if fault != Fault::NotTruncated {
                book.truncate(25); // What the recorder subscribed to.
            }
            all += 1;
            right += usize::from(Some(of(&book, scale)) == change.checksum);
        }
    }
    (right, all)
}

#[test]
fn kraken_books_have_the_venues_checksums() {
    let Some(text) = recorded("kraken_v2/kraken_minagbp_d25_20260816.head.ndjson") else { return };
    let mut table = Instruments::default();
    table.add(Instrument::new(Venue::Kraken, "MINA/GBP"));
    let mut found = Kinds::new();
    for frame in kraken_frames(&text) {
        for message in decode(Box::leak(Box::<KrakenDecoder>::default()), frame.as_bytes(), &table).unwrap() {
            *found.entry(kind(&message)).or_default() += 1;
        }
    }
    // 19 heartbeats and the status say that the venue lives.
    assert_eq!(found, kinds(&[("alive", 20), ("acknowledged", 1), ("snapshot", 1), ("change", 12)]));

    assert_eq!(kraken_checksums(&text, Fault::None), (13, 13));
    assert_eq!(kraken_checksums(&text, Fault::ThroughFloats), (0, 13));
    for fault in [Fault::ZeroesKept, Fault::SidesSwapped, Fault::ChangeDropped(3), Fault::ShallowSeed(9)] {
        let (right, all) = kraken_checksums(&text, fault);
        assert!(right < all, "{fault:?} was not noticed");
    }
    // The recording is too short to show this; a synthetic one does, in `synthetic_books.rs`.
    assert_eq!(kraken_checksums(&text, Fault::NotTruncated), (13, 13));
}

#[test]
fn quoted_kraken_frames_are_read() {
    let Some(text) = recorded("kraken_v2/real_frames.ndjson") else { return };
    let Some(instruments) = recorded("kraken_v2/instrument_snapshot.json.gz") else { return };
    let mut table = Instruments::default();
    for symbol in ["BTC/USDT", "BTC/USD"] {
        table.add(Instrument { price_digits: 1, ..Instrument::new(Venue::Kraken, symbol) });
    }
    let mut found = Kinds::new();
    for frame in text.lines().chain([&instruments[..]]) {
        for message in decode(Box::leak(Box::<KrakenDecoder>::default()), frame.as_bytes(), &table).unwrap() {
            *found.entry(kind(&message)).or_default() += 1;
        }
    }
    assert_eq!(found, kinds(&[("trade", 4), ("change", 1), ("refused", 1), ("alive", 1), ("unknown", 1)]));
}

/// Version 1 of Kraken's streams is not read here, and does no harm.
#[test]
fn old_kraken_frames_are_unknown() {
    let mut count = 0;
    for name in ["kraken_v1/cryptofeed_KRAKEN.ws.48.0", "kraken_v1/cryptofeed_KRAKEN.ws.49.0"] {
        let Some(text) = recorded(name) else { return };
        for frame in frames(&text) {
            let messages =
                decode(Box::leak(Box::<KrakenDecoder>::default()), frame.as_bytes(), &Instruments::default());
            assert_eq!(messages, Ok(vec![Message::Unknown]), "{frame}");
            count += 1;
        }
    }
    assert!(count > 50, "{count} frames");
}

/// What a recording of Coinbase shows.
#[derive(Debug, Default, PartialEq, Eq)]
struct CoinbaseRun {
    kinds: Kinds,
    trade_gaps: usize,
    crossed: usize,
    /// Tickers whose best prices are those of the book.
    tops: usize,
    /// Tickers whose side is the taker's of the trade that they tell of.
    takers: usize,
}

fn coinbase_run(text: &str, fault: Fault) -> CoinbaseRun {
    let mut table = Instruments::default();
    let products = "SKL-USD SKL-BTC BAND-GBP NMR-EUR BAND-BTC YFI-BTC DASH-BTC NU-GBP CRV-EUR SKL-GBP";
    for product in products.split(' ') {
        table.add(Instrument::new(Venue::Coinbase, product));
    }
    let mut run = CoinbaseRun::default();
    let mut books = vec![Book::new(50_000); table.iter().len()];
    let mut sequences = vec![TradeSequence::default(); books.len()];
    let mut changes = 0;
    let mut takers = HashMap::new();
    for frame in frames(text) {
        let message =
            decode(Box::leak(Box::new(CoinbaseDecoder)), frame.as_bytes(), &table).unwrap().remove(0);
        *run.kinds.entry(kind(&message)).or_default() += 1;
        match message {
            Message::Trade { instrument, trade, .. } => {
                let verdict = judge(&mut sequences[usize::from(instrument.0)], &trade);
                run.trade_gaps += usize::from(matches!(verdict, Integrity::Gap { .. }));
                takers.insert((instrument, trade.first_id), trade.taker);
            }
            Message::Book { instrument, change, .. } => {
                let book = &mut books[usize::from(instrument.0)];
                changes += usize::from(!change.is_snapshot);
                if fault != Fault::ChangeDropped(changes) || change.is_snapshot {
                    take_over(book, &change, Scale { price_digits: 8, qty_digits: 8 }, fault);
                }
                run.crossed += usize::from(book.is_crossed());
            }
            Message::Quote { instrument, quote, .. } => {
                let top = books[usize::from(instrument.0)].top();
                let prices = |quote: Quote| (quote.bid_price, quote.ask_price);
                run.tops += usize::from(top.map(prices) == Some(prices(quote)));
            }
            _ => {}
        }
    }
    // A ticker may come before the trade that it tells of.
    for frame in frames(text).filter(|frame| frame.contains(r#""type":"ticker""#)) {
        let ticker: serde_json::Value = serde_json::from_str(frame).unwrap();
        let instrument = table.find(ticker["product_id"].as_str().unwrap().as_bytes()).unwrap();
        let side = if ticker["side"] == "buy" { Side::Buy } else { Side::Sell };
        let taker = takers.get(&(instrument, ticker["trade_id"].as_u64().unwrap()));
        run.takers += usize::from(taker == Some(&side));
    }
    run
}

#[test]
fn coinbase_books_and_trades_are_whole() {
    let Some(text) = recorded("coinbase_exchange/cryptofeed_COINBASE.ws.28.0.gz") else { return };
    let all = [
        ("acknowledged", 3),
        ("snapshot", 10),
        ("change", 9_719),
        ("quote", 107),
        ("trade", 97),
        ("past trade", 10),
    ];
    let run = coinbase_run(&text, Fault::None);
    // Seven tickers came before the change of the book that made their prices: the channels are not in step.
    let expected = CoinbaseRun { kinds: kinds(&all), trade_gaps: 0, crossed: 0, tops: 100, takers: 107 };
    assert_eq!(run, expected);

    for fault in [Fault::ZeroesKept, Fault::SidesSwapped] {
        let run = coinbase_run(&text, fault);
        assert!(run.crossed > 0 && run.tops < 100, "{fault:?} was not noticed: {run:?}");
    }
    // Neither is seen at the best prices within half a minute, and this venue numbers no changes and sends no checksum:
    // for a lost change there is the transport alone.
    for fault in [Fault::ChangeDropped(5_000), Fault::ShallowSeed(100)] {
        assert_eq!(coinbase_run(&text, fault), run, "{fault:?} is noticed after all");
    }
}

/// What a recording of Binance shows.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct BinanceRun {
    applied: usize,
    gaps: usize,
    compared: usize,
    /// Numbers of the changes after which the top of the book was not the latest book ticker's.
    differing: Vec<usize>,
    trade_gaps: usize,
}

/// A book that follows a stream from a snapshot on.
struct Follower<'a> {
    book: Book,
    snapshot: Option<u64>,
    waiting: Vec<(u64, u64, market::BookChange<'a>)>,
    last: Option<u64>,
    /// Book tickers with the numbers of their updates, those before the last change but one forgotten.
    tickers: VecDeque<(u64, Quote)>,
    run: BinanceRun,
}

impl<'a> Follower<'a> {
    fn new() -> Self {
        let (book, run) = (Book::new(20_000), BinanceRun::default());
        Self { book, snapshot: None, waiting: Vec::new(), last: None, tickers: VecDeque::new(), run }
    }

    /// Takes over a snapshot, and what came before it.
    fn seed(&mut self, id: u64, change: &market::BookChange<'_>, fault: Fault) {
        take_over(&mut self.book, change, Scale { price_digits: 8, qty_digits: 8 }, fault);
        self.snapshot = Some(id);
        for (first, last, change) in core::mem::take(&mut self.waiting) {
            self.change(first, last, change, fault);
        }
    }

    fn change(&mut self, first: u64, last: u64, change: market::BookChange<'a>, fault: Fault) {
        let Some(snapshot) = self.snapshot else { return self.waiting.push((first, last, change)) };
        if last <= snapshot {
            return;
        }
        self.run.applied += 1;
        if fault == Fault::ChangeDropped(self.run.applied) {
            return;
        }
        // The first one must contain the number after the snapshot's, every other begin with it.
        let expected = self.last.unwrap_or(snapshot) + 1;
        let follows = if self.last.is_none() { first <= expected } else { first == expected };
        self.run.gaps += usize::from(!follows);
        self.last = Some(last);
        take_over(&mut self.book, &change, Scale { price_digits: 8, qty_digits: 8 }, fault);
        // The latest ticker of what the book knows: tickers come earlier than changes, which are sent ten times a second.
        let known = self.tickers.partition_point(|(id, _)| *id <= last);
        self.tickers.drain(..known.saturating_sub(1));
        if let Some((_, ticker)) = self.tickers.front().filter(|_| known > 0) {
            self.run.compared += 1;
            if self.book.top() != Some(*ticker) {
                self.run.differing.push(self.run.applied);
            }
        }
    }
}

fn binance_run(text: &str, fault: Fault) -> (Kinds, BinanceRun) {
    let mut table = Instruments::default();
    table.add(Instrument::new(Venue::Binance, "BTCUSDT"));
    let (mut found, mut follower) = (Kinds::new(), Follower::new());
    let mut trades = TradeSequence::default();
    for frame in frames(text) {
        let message = market::binance::decode(frame.as_bytes(), &table).unwrap();
        *found.entry(kind(&message)).or_default() += 1;
        match message {
            Message::Trade { trade, .. } => {
                let verdict = judge(&mut trades, &trade);
                follower.run.trade_gaps +=
                    usize::from(!matches!(verdict, Integrity::Ok | Integrity::Unverifiable));
            }
            Message::Quote { update_id, quote, .. } => follower.tickers.push_back((update_id, quote)),
            Message::Book { change, .. } => match (change.is_snapshot, change.ids.unwrap()) {
                (true, (id, _)) => follower.seed(id, &change, fault),
                (false, (first, last)) => follower.change(first, last, change, fault),
            },
            _ => {}
        }
    }
    (found, follower.run)
}

#[test]
fn binance_books_agree_with_the_book_ticker() {
    let Some(text) = recorded("binance_spot/btcusdt_20240808.gz") else { return };
    let (found, run) = binance_run(&text, Fault::None);
    assert_eq!(found, kinds(&[("trade", 9_757), ("quote", 28_040), ("change", 3_451), ("snapshot", 1)]));
    assert_eq!((run.applied, run.gaps, run.trade_gaps, run.compared), (3_449, 0, 0, 3_449));
    assert!(run.differing.is_empty(), "{:?}", run.differing);

    for fault in [Fault::ZeroesKept, Fault::SidesSwapped] {
        let (_, run) = binance_run(&text, fault);
        assert!(run.differing.len() > 1_000, "{fault:?} was not noticed: {}", run.differing.len());
        assert_eq!(run.gaps, 0, "numbers say nothing about {fault:?}");
    }
    // A lost change shows in the numbers at once, whichever it is; at the best price minutes later, or never.
    let mut unseen = Vec::new();
    for number in (100..3_400).step_by(300) {
        let (_, dropped) = binance_run(&text, Fault::ChangeDropped(number));
        assert_eq!(dropped.gaps, 1, "change {number}");
        if dropped.differing.is_empty() {
            unseen.push(number);
        }
    }
    assert_eq!(unseen, [2_200, 3_100]);
    // The ticker knows the best level alone. That the book is hollow below it sees once, for a tenth of a second: the
    // best twenty would notice, but were not recorded. `synthetic_books.rs` has them.
    let (_, shallow) = binance_run(&text, Fault::ShallowSeed(100));
    assert_eq!((shallow.gaps, &shallow.differing[..]), (0, &[1_076][..]));
}

/// Four quiet symbols, each with its snapshot by REST.
#[test]
fn quiet_binance_books_agree_with_the_book_ticker() {
    let Some(text) = recorded("binance_spot/cryptofeed_BINANCE.ws.1.0") else { return };
    let Some(snapshots) = recorded("binance_spot/cryptofeed_BINANCE.http.0.0.gz") else { return };
    let mut table = Instruments::default();
    let mut whole = Vec::new();
    for line in snapshots.lines().filter(|line| line.contains("/depth?symbol=")) {
        let symbol = line.split_once("symbol=").unwrap().1.split_once('&').unwrap().0;
        let body = line.split_once(": {").unwrap().1;
        let instrument = Instrument::new(Venue::Binance, symbol);
        let snapshot =
            market::binance::Binance.read_snapshot(format!("{{{body}").as_bytes(), &instrument).unwrap();
        table.add(instrument).unwrap();
        whole.push(snapshot);
    }
    assert_eq!(whole.len(), 4);
    let mut found = Kinds::new();
    let mut followers: Vec<_> = whole.iter().map(|_| Follower::new()).collect();
    for (follower, snapshot) in followers.iter_mut().zip(&whole) {
        for (side, levels) in
            [(market::BookSide::Bid, &snapshot.bids), (market::BookSide::Ask, &snapshot.asks)]
        {
            levels.iter().for_each(|level| follower.book.set(side, *level));
        }
        follower.book.limit(snapshot.limit);
        follower.snapshot = Some(snapshot.last_id);
    }
    for frame in frames(&text) {
        let message = market::binance::decode(frame.as_bytes(), &table).unwrap();
        *found.entry(kind(&message)).or_default() += 1;
        let of = |instrument: InstrumentId| usize::from(instrument.0);
        match message {
            Message::Quote { instrument, quote, update_id, .. } => {
                // Tickers from before the snapshot say nothing about it.
                let follower = &mut followers[of(instrument)];
                if follower.snapshot < Some(update_id) {
                    follower.tickers.push_back((update_id, quote));
                }
            }
            Message::Book { instrument, change, .. } => {
                let (first, last) = change.ids.unwrap();
                followers[of(instrument)].change(first, last, change, Fault::None);
            }
            _ => {}
        }
    }
    assert_eq!(found, kinds(&[("change", 177), ("quote", 84), ("trade", 2), ("kline", 2)]));
    let runs: Vec<_> = followers.iter().map(|follower| follower.run.clone()).collect();
    assert!(runs.iter().all(|run| run.gaps == 0 && run.differing.is_empty()), "{runs:?}");
    let counts: Vec<_> = runs.iter().map(|run| (run.applied, run.compared)).collect();
    assert_eq!(counts, [(149, 143), (9, 3), (13, 13), (1, 0)]);
    assert!(followers.iter().all(|follower| !follower.book.is_crossed()));
}

/// The frames at hand of Coinbase Advanced Trade: two real ones, the others of the documented shape.
#[test]
fn coinbase_advanced_frames_are_read() {
    let names = [
        "subscriptions",
        "heartbeats",
        "l2_data_snapshot",
        "l2_data_update",
        "market_trades",
        "ticker",
        "candles",
    ];
    let Some(real) = recorded("coinbase_advanced/real_frames.ndjson") else { return };
    let shapes = names.map(|name| recorded(&format!("coinbase_advanced/nautilus_ws_{name}.json")));
    let mut table = Instruments::default();
    for product in ["BTC-USD", "ETH-USD"] {
        table.add(Instrument { price_digits: 2, ..Instrument::new(Venue::CoinbaseAdvanced, product) });
    }
    let mut decoder = Venue::CoinbaseAdvanced.protocol().decoder();
    let mut found = Kinds::new();
    for frame in real.lines().chain(shapes.iter().flatten().map(|shape| &shape[..])) {
        for message in decode(&mut *decoder, frame.as_bytes(), &table).unwrap() {
            *found.entry(kind(&message)).or_default() += 1;
        }
    }
    let all = [
        ("numbered", 9),
        ("past trade", 1),
        ("trade", 4),
        ("acknowledged", 1),
        ("alive", 1),
        ("snapshot", 1),
        ("change", 1),
        ("quote", 1),
        ("kline", 1),
    ];
    assert_eq!(found, kinds(&all));
}

/// What the number of a trade proves; in a recording none fills a hole.
fn judge(sequence: &mut TradeSequence, trade: &Trade) -> Integrity {
    match sequence.check(trade, trade.time_ms..trade.time_ms, 0) {
        Checked::Newest(verdict) => verdict,
        Checked::Fills(_) => panic!("a trade came late: {trade:?}"),
    }
}
