//! What the records of a journal say of trades and quotes: read by the decoders that read them live, under the start
//! record in force.
//!
//! What holds: a trade is told once, as the candles count it once: when it first came, from whichever connection. One that
//! the stream lost and that was fetched later is told when it was fetched. Quotes are told as they came, on each
//! connection. What cannot be read is counted, and the first of it kept.

use super::Symbol;
use super::table::TableError;
use crate::engine::Input;
use crate::journal::input::{self, Scratch};
use crate::journal::{Start, StartFeed};
use journal::queue::Lost;
use journal::record::REPEATED;
use journal::{Kind, Record};
use market::protocol::Decoder;
use market::{Checked, Instrument, Instruments, Integrity, Message, Quote, Trade, TradeSequence, Venue};
use std::collections::HashMap;

/// Something that a record says.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    Trade { event_ms: Option<i64>, trade: Trade, origin: Origin },
    Quote { event_ms: Option<i64>, update_id: u64, quote: Quote },
}

/// How a trade came to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// When it happened.
    Stream,
    /// With a subscription, which began with it though it had happened before.
    Past,
    /// It was asked for, since the stream had lost it.
    Fetched,
}

impl Origin {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Past => "past",
            Self::Fetched => "fetched",
        }
    }
}

/// What was not told, and why.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    /// Trades that had been told already.
    pub(super) duplicates: u64,
    /// Trades whose numbers contradict all others.
    pub(super) strange: u64,
    /// Records that cannot be read, and the first of them: its sequence, and what is wrong.
    pub(super) unreadable: u64,
    pub(super) first_unreadable: Option<(u64, String)>,
    /// Records of a configuration whose start is missing.
    pub(super) unclaimed: u64,
}

/// See above.
#[derive(Default)]
pub(super) struct Sources {
    run: String,
    generation: u32,
    list: Vec<Source>,
    only: Option<Symbol>,
    /// What was told of each instrument before the start in force.
    before: HashMap<(Venue, String), Told>,
    scratch: Scratch,
    pub(super) tally: Tally,
}

/// A feed.
struct Source {
    venue: Venue,
    instruments: Instruments,
    decoder: Box<dyn Decoder>,
    /// By place of the instrument.
    told: Vec<Told>,
    /// What its start record says of it.
    feed: StartFeed,
    /// Whether the day may be another one than its decoder knows.
    needs_day: bool,
    /// Whether the session's beginning lies before all that is read.
    needs_begin: bool,
}

/// Which trades of an instrument were told.
#[derive(Debug, Default)]
struct Told {
    sequence: TradeSequence,
    /// The least number that has come.
    first_id: Option<u64>,
    /// The latest time and number that was told.
    last: Option<(i64, u64)>,
    /// Of a venue that tells its session once more to each run: up to here it was told by the run before.
    skip: Option<(i64, u64)>,
}

impl Sources {
    /// Trades and quotes of all instruments, or of one only.
    pub(super) fn new(only: Option<Symbol>) -> Self {
        Self { only, ..Self::default() }
    }

    /// The most decimal places that prices and quantities have from here on.
    pub(super) fn digits(&self) -> [u8; 2] {
        let wanted = |instrument: &&Instrument| is_wanted(self.only.as_ref(), instrument);
        let all =
            self.list.iter().flat_map(|source| source.instruments.iter()).map(|(_, instrument)| instrument);
        all.filter(wanted).fold([0; 2], |[price, qty], instrument| {
            [price.max(instrument.price_digits), qty.max(instrument.qty_digits)]
        })
    }

    /// The venue of a record's feed, if its start is known.
    pub(super) fn venue(&self, record: &Record<'_>) -> Option<Venue> {
        let is_known = record.header.generation == self.generation;
        self.list.get(usize::from(record.header.feed)).filter(|_| is_known).map(|source| source.venue)
    }

    /// Takes the next record, and tells what it says.
    pub(super) fn take(
        &mut self,
        record: &Record<'_>,
        each: &mut dyn FnMut(&Instrument, Event) -> Result<(), TableError>,
    ) -> Result<(), TableError> {
        match record.header.kind {
            Kind::Start => self.start(record),
            Kind::Gap => {
                if let Some(lost) = Lost::decode(record.payload) {
                    let touched = |(feed, _): &(usize, &mut Source)| lost.concerns(*feed);
                    self.list.iter_mut().enumerate().filter(touched).for_each(|(_, source)| source.forget());
                }
            }
            Kind::Tick => {}
            _ if self.venue(record).is_none() => self.tally.unclaimed += 1,
            _ => return self.input(record, each),
        }
        Ok(())
    }

    /// Records that were durable are missing here.
    pub(super) fn missing(&mut self) {
        self.list.iter_mut().for_each(Source::forget);
    }

    fn start(&mut self, record: &Record<'_>) {
        let start = match Start::decode(record.payload) {
            Ok(start) => start,
            Err(error) => {
                self.list.clear(); // What follows is not what came before.
                return self.tally.note(record.sequence, &error);
            }
        };
        let is_same_run = start.run == self.run;
        if is_same_run && start.generation == self.generation {
            return;
        }
        let is_repeated = record.header.flags & REPEATED > 0;
        let follows = is_same_run && start.generation == self.generation + 1 && !is_repeated;
        let mut old: Vec<_> = self.list.drain(..).map(Some).collect();
        for source in old.iter_mut().flatten() {
            let told = std::mem::take(&mut source.told);
            for ((_, instrument), told) in source.instruments.iter().zip(told) {
                self.before.insert((source.venue, instrument.symbol.clone()), told);
            }
        }
        for feed in &start.feeds {
            let goes_on = feed.goes_on.filter(|_| follows).and_then(|place| old.get_mut(place)?.take());
            let mut source = Source::new(feed, goes_on);
            // Read from the middle, where neither the day nor the session's beginning was told.
            let is_middle = is_repeated || (is_same_run && !follows);
            (source.needs_day, source.needs_begin) =
                (source.needs_day | is_middle, source.needs_begin | is_middle);
            for (_, instrument) in source.instruments.iter() {
                let key = (source.venue, instrument.symbol.clone());
                let mut told = self.before.remove(&key).unwrap_or_default();
                if feed.from_start && !is_same_run {
                    told.skip = told.last;
                }
                source.told.push(told);
            }
            self.list.push(source);
        }
        (self.run, self.generation) = (start.run, start.generation);
    }

    fn input(
        &mut self,
        record: &Record<'_>,
        each: &mut dyn FnMut(&Instrument, Event) -> Result<(), TableError>,
    ) -> Result<(), TableError> {
        let (tally, only) = (&mut self.tally, self.only.as_ref());
        let input = match input::read(&record.header, record.payload, &mut self.scratch) {
            Ok(input) => input,
            Err(error) => {
                tally.note(record.sequence, &error);
                return Ok(());
            }
        };
        let Some(source) = self.list.get_mut(usize::from(record.header.feed)) else { return Ok(()) };
        source.learn(input.as_ref(), record.header.stamp.real_ns);
        match input {
            Some(Input::Frame { frame, .. }) => {
                let mut told = Ok(());
                let Source { venue, instruments, decoder, told: known, .. } = source;
                let is_numbered = venue.protocol().proof().trades_are_numbered;
                let outcome = decoder.decode(frame, instruments, &mut |message| {
                    let (place, event) = match message {
                        Message::Trade { instrument, event_ms, trade, is_past } => {
                            let origin = if is_past { Origin::Past } else { Origin::Stream };
                            (instrument, Event::Trade { event_ms: Some(event_ms), trade, origin })
                        }
                        Message::Quote { instrument, update_id, event_ms, quote } => {
                            (instrument, Event::Quote { event_ms, update_id, quote })
                        }
                        _ => return,
                    };
                    let Some(instrument) = instruments.get(place).filter(|one| is_wanted(only, one)) else {
                        return;
                    };
                    let is_news = match event {
                        Event::Trade { trade, .. } => {
                            known[usize::from(place.0)].is_news(&trade, is_numbered, tally)
                        }
                        Event::Quote { .. } => true,
                    };
                    if is_news && told.is_ok() {
                        told = each(instrument, event);
                    }
                });
                if let Err(error) = outcome {
                    tally.note(record.sequence, &error);
                }
                told
            }
            Some(Input::Trades { instrument: place, trades, .. }) => {
                let Some(instrument) = source.instruments.get(place).filter(|one| is_wanted(only, one))
                else {
                    return Ok(());
                };
                let known = &mut source.told[usize::from(place.0)];
                for trade in trades.iter().filter(|trade| known.is_missed(trade)) {
                    each(
                        instrument,
                        Event::Trade { event_ms: None, trade: *trade, origin: Origin::Fetched },
                    )?;
                }
                Ok(())
            }
            Some(Input::Day { midnight_ms, .. }) => {
                source.decoder.day(midnight_ms);
                Ok(())
            }
            Some(Input::Begin { is_whole, .. }) => {
                source.decoder.begin(is_whole);
                Ok(())
            }
            Some(Input::Lost { .. }) => {
                source.decoder.lost();
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Source {
    /// A feed as its start record says, which goes on with another one or with none.
    fn new(feed: &StartFeed, goes_on: Option<Self>) -> Self {
        let venue = feed.venue();
        let mut instruments = Instruments::default();
        for instrument in feed.instruments() {
            let _ = instruments.add(instrument); // There are far fewer than fit.
        }
        let inherited = goes_on.filter(|old| old.venue == venue && old.decoder.keeps_session());
        let (needs_day, needs_begin) =
            inherited.as_ref().map_or((false, false), |old| (old.needs_day, old.needs_begin));
        let mut decoder = inherited.map_or_else(|| venue.protocol().decoder(), |old| old.decoder);
        decoder.prepare(&instruments);
        Self { venue, instruments, decoder, told: Vec::new(), feed: feed.clone(), needs_day, needs_begin }
    }

    /// Something of it is missing.
    fn forget(&mut self) {
        self.decoder.lost();
        self.needs_day = true;
    }

    /// Tells the decoder what an input shows that is not known, as the player does it for engines.
    fn learn(&mut self, input: Option<&Input<'_>>, real_ns: u64) {
        let begins = match input {
            Some(Input::Frame { .. }) => self.needs_begin && self.venue.protocol().is_numbered_by_transport(),
            Some(Input::Begin { .. }) => true,
            Some(Input::Day { .. }) => return self.needs_day = false,
            _ => return,
        };
        if begins && std::mem::take(&mut self.needs_day) {
            self.decoder.day(self.feed.midnight_ms(real_ns));
        }
        if begins && std::mem::take(&mut self.needs_begin) && matches!(input, Some(Input::Frame { .. })) {
            self.decoder.begin(false);
        }
    }
}

impl Told {
    /// Whether a trade of the stream is to be told.
    fn is_news(&mut self, trade: &Trade, is_numbered: bool, tally: &mut Tally) -> bool {
        let at = (trade.time_ms, trade.last_id);
        let integrity = if !is_numbered {
            match self.skip {
                Some(until) if at <= until => Integrity::Duplicate,
                _ => Integrity::Ok,
            }
        } else {
            match self.sequence.check(trade, 0..1, 0) {
                Checked::Fills(_) => Integrity::Ok,
                Checked::Newest(integrity) => integrity,
            }
        };
        match integrity {
            Integrity::Duplicate => tally.duplicates += 1,
            Integrity::Corrupt => tally.strange += 1,
            _ => {
                self.first_id = Some(self.first_id.map_or(trade.first_id, |first| first.min(trade.first_id)));
                self.last = Some(self.last.map_or(at, |last| last.max(at)));
            }
        }
        !matches!(integrity, Integrity::Duplicate | Integrity::Corrupt)
    }

    /// Whether a trade that was fetched is to be told: one that the stream lost, within what is read here or before it.
    fn is_missed(&mut self, trade: &Trade) -> bool {
        if self.first_id.is_none_or(|first| trade.last_id < first) {
            return true;
        }
        let is_missed = |hole: &market::Hole| hole.from <= trade.first_id && trade.last_id <= hole.to;
        self.sequence.holes().iter().any(is_missed)
            && matches!(self.sequence.check(trade, 0..1, 0), Checked::Fills(_))
    }
}

impl Tally {
    fn note(&mut self, sequence: u64, error: &dyn std::fmt::Display) {
        self.unreadable += 1;
        self.first_unreadable.get_or_insert_with(|| (sequence, error.to_string()));
    }
}

fn is_wanted(only: Option<&Symbol>, instrument: &Instrument) -> bool {
    only.is_none_or(|only| only.venue == instrument.venue && only.symbol == instrument.symbol)
}
