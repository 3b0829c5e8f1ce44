//! An engine whose inputs are recorded, and what becomes of the records: played again they must give the same engine.

use chartd::engine::{Engine, Input, Verdict, Want};
use chartd::journal::{Played, Player, Start, StartFeed, StartInstrument, input};
use journal::{Drain, Header, Item, Kind, Record, Stamp, Tap};
use market::{BookSide, Candle, Instrument, Level, Timeframe, Venue};
use shm::market::{MarketReader, StreamKind};
use shm::status::StatusWriter;
use std::sync::Arc;

/// A record as it left the queue.
pub(crate) type Taken = (Header, Vec<u8>);

/// An engine, and all that it took in.
pub(crate) struct Taped {
    pub(crate) engine: Engine,
    tap: Tap,
    drain: Drain,
    pub(crate) records: Vec<Taken>,
    pub(crate) wants: Vec<Want>,
    /// What is not recorded, though the engine takes it in: to prove that it would be missed.
    pub(crate) forgets: Option<Kind>,
}

impl Taped {
    pub(crate) fn new(engine: Engine, start: &Start, now_ns: u64) -> Self {
        let (tap, drain) = journal::queue(1 << 20, start.generation);
        let mut taped = Self { engine, tap, drain, records: Vec::new(), wants: Vec::new(), forgets: None };
        let payload = start.encode();
        taped.push(Kind::Start, (0, 0), now_ns, payload.len(), &mut |put| put(&payload));
        taped
    }

    pub(crate) fn take(&mut self, input: &Input<'_>, receive_ns: u64) -> Option<Verdict> {
        if self.forgets != Some(input::kind(input)) {
            let place = (input.feed().unwrap_or(0), input::line(input));
            self.push(input::kind(input), place, receive_ns, input::payload_bytes(input), &mut |put| {
                input::write(input, put)
            });
        }
        self.engine.take(input, receive_ns)
    }

    pub(crate) fn next_want(&mut self) -> Option<Want> {
        let want = self.engine.next_want();
        self.wants.extend(want.clone());
        want
    }

    fn push(
        &mut self,
        kind: Kind,
        (feed, line): (usize, usize),
        receive_ns: u64,
        len: usize,
        write: &mut dyn FnMut(&mut dyn FnMut(&[u8])),
    ) {
        let stamp = Stamp { real_ns: 1_700_000_000_000_000_000 + receive_ns, mono_ns: receive_ns };
        let header = Header { kind, flags: 0, line: line as u8, feed: feed as u16, generation: 0, stamp };
        assert!(self.tap.push(header, len, |put| write(put)));
        let (header, len) = self.drain.front().expect("it was pushed");
        let mut payload = vec![0; len];
        // In two pieces, wherever that parts it.
        let (first, second) = payload.split_at_mut(len / 3);
        self.drain.take(first);
        self.drain.take(second);
        self.drain.pass();
        self.records.push((header, payload));
    }
}

/// What the feed of these instruments is recorded as.
pub(crate) fn start(run: &str, generation: u32, feeds: &[&[Instrument]]) -> Start {
    let instrument = |of: &Instrument| StartInstrument {
        symbol: of.symbol.clone(),
        price_digits: of.price_digits,
        qty_digits: of.qty_digits,
        timeframes: vec!["1s".into()],
    };
    let feed = |instruments: &&[Instrument]| StartFeed {
        venue: instruments[0].venue.name().into(),
        instruments: instruments.iter().map(instrument).collect(),
        goes_on: None,
        from_start: false,
        date: None,
    };
    Start {
        run: run.into(),
        generation,
        version: "0".into(),
        boot_id: "boot".into(),
        feeds: feeds.iter().map(feed).collect(),
    }
}

/// Plays records. The engine is as the last one left it.
pub(crate) fn play(records: &[Taken], timeframes: &[Timeframe]) -> (Engine, Vec<Want>) {
    let status = Arc::new(StatusWriter::create(0, 0, [0; 2]).unwrap());
    let wanted = |_: &Instrument| timeframes.to_vec();
    let mut player = Player::new(&wanted, [1_000, 1_000], status, || 0);
    let mut wants = Vec::new();
    for (sequence, (header, payload)) in records.iter().enumerate() {
        let record = Record { sequence: sequence as u64, header: *header, payload };
        let played = player.take(Item::Record(record)).unwrap();
        assert!(!matches!(played, Played::Passed | Played::Unreadable(_)), "{header:?}: {played:?}");
        wants.extend(std::iter::from_fn(|| player.next_want()));
    }
    (player.into_engine().unwrap(), wants)
}

/// All that there is to know of an instrument: its candles with their numbers, its book, its quote and its streams.
#[derive(Debug, PartialEq)]
pub(crate) struct Known {
    candles: Vec<(u64, Vec<Candle>)>,
    book: Option<[Vec<Level>; 2]>,
    published: String,
}

pub(crate) fn known(
    engine: &Engine,
    place: usize,
    instrument: &Instrument,
    timeframes: &[Timeframe],
) -> Known {
    let (venue, symbol): (Venue, &str) = (instrument.venue, &instrument.symbol);
    let candles = |timeframe: &Timeframe| {
        let series = engine.series(venue, symbol, *timeframe).unwrap();
        (series.numbers().start, series.bars().copied().collect())
    };
    let side = |side: BookSide| move |book: &market::Book| book.best_first(side).copied().collect();
    let book = engine.book_of(venue, symbol);
    let market = MarketReader::open(engine.market().reader_fd().unwrap()).unwrap();
    let streams: Vec<_> = StreamKind::ALL.iter().map(|kind| market.stream(place, *kind)).collect();
    Known {
        candles: timeframes.iter().map(candles).collect(),
        book: book.map(|book| [side(BookSide::Bid)(book), side(BookSide::Ask)(book)]),
        published: format!("{:?} {streams:?}", market.quote(place)),
    }
}
