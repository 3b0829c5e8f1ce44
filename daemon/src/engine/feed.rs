//! A feed: the venue's clock, the connections that bring it, and which instrument each message is for.

use super::bars::{LiveSeries, compared_at};
use super::tracked::Tracked;
use super::{FeedPlan, MAX_LINES, Output, Shift, Verdict};
use market::protocol::{Decoder, Missing, Snapshot};
use market::{
    Book, DecodeError, Instrument, InstrumentId, Instruments, Integrity, Message, Scale, Series, Timeframe,
    Trade, Venue,
};
use shm::market::{InstrumentEntry, MarketPlan};
use shm::record::Text;
use shm::status::Stage;

/// No single message moves the venue's clock ahead by more than this: a wrong digit would close, and in time forget,
/// every candle. A second message that agrees is believed.
const LONGEST_LEAP_MS: i64 = 24 * 3_600_000;

/// A connection that brought nothing for so long proves nothing of its streams.
const ALIVE_NS: u64 = 5_000_000_000;

#[derive(Debug)]
pub(super) struct Feed {
    venue: Venue,
    decoder: Box<dyn Decoder>,
    table: Instruments,
    state: FeedState,
}

/// What is known of a feed.
#[derive(Debug)]
struct FeedState {
    /// The feed's place in the engine.
    place: usize,
    /// By place in the feed's table.
    instruments: Vec<Tracked>,
    lines: [Line; MAX_LINES],
    /// The latest exchange time that any message of the feed has proven.
    watermark_ms: i64,
    /// No series has anything to close before this.
    deadline_ms: i64,
    /// Where a message has put the clock that nobody believes yet.
    leap_ms: Option<i64>,
}

/// A connection.
#[derive(Debug, Clone, Copy, Default)]
struct Line {
    is_connected: bool,
    /// When it last brought something.
    heard_ns: u64,
    /// The number of its latest frame, where the venue numbers them.
    frame_number: Option<u64>,
    /// Its latest frame had come already: what it says of the book is old.
    is_old: bool,
}

impl Feed {
    pub(super) fn new(place: usize, plan: &FeedPlan, bars: usize, market: &mut MarketPlan) -> Self {
        let protocol = plan.venue.protocol();
        let mut table = Instruments::default();
        let mut instruments = Vec::new();
        for (instrument, timeframes) in &plan.instruments {
            if table.find(instrument.symbol.as_bytes()).is_some() || table.add(instrument.clone()).is_none() {
                continue; // Named twice: the configuration refuses that; here the first counts.
            }
            let in_segment = market.instruments.len();
            market.instruments.push(InstrumentEntry {
                venue: Text::new(instrument.venue.name()),
                symbol: Text::new(&instrument.symbol),
                price_digits: instrument.price_digits.into(),
                qty_digits: instrument.qty_digits.into(),
            });
            let live = |timeframe: &Timeframe| {
                market.series.push((in_segment, timeframe.to_string()));
                LiveSeries::new(market.series.len() - 1, Series::new(*timeframe, bars))
            };
            let series = timeframes.iter().map(live).collect();
            instruments.push(Tracked::new(in_segment, Scale::of(instrument), series, protocol));
        }
        let state = FeedState {
            place,
            instruments,
            lines: [Line::default(); MAX_LINES],
            watermark_ms: i64::MIN,
            deadline_ms: i64::MIN,
            leap_ms: None,
        };
        let mut decoder = protocol.decoder();
        decoder.prepare(&table);
        Self { venue: plan.venue, decoder, table, state }
    }

    pub(super) fn venue(&self) -> Venue {
        self.venue
    }

    pub(super) fn instruments(&self) -> impl Iterator<Item = &Instrument> {
        (0..self.state.instruments.len()).filter_map(|place| self.table.get(InstrumentId(place as u16)))
    }

    pub(super) fn book_of(&self, symbol: &str) -> Option<&Book> {
        let place = usize::from(self.table.find(symbol.as_bytes())?.0);
        self.state.instruments[place].books.book()
    }

    pub(super) fn series(&self, symbol: &str, timeframe: Timeframe) -> Option<&Series> {
        let tracked = &self.state.instruments[usize::from(self.table.find(symbol.as_bytes())?.0)];
        tracked.series.iter().map(|live| &live.bars).find(|bars| bars.timeframe() == timeframe)
    }

    pub(super) fn inherit(&mut self, old: &mut Self, output: &mut Output) {
        if old.venue == self.venue && old.decoder.keeps_session() {
            std::mem::swap(&mut self.decoder, &mut old.decoder);
            self.decoder.prepare(&self.table);
        }
        let (state, before) = (&mut self.state, &old.state);
        (state.watermark_ms, state.leap_ms, state.lines) =
            (before.watermark_ms, before.leap_ms, before.lines);
        self.inherit_instruments(old, output);
    }

    /// Takes over what is known of the instruments that both have. Returns how many there are.
    fn inherit_instruments(&mut self, old: &mut Self, output: &mut Output) -> usize {
        let mut count = 0;
        for (place, tracked) in self.state.instruments.iter_mut().enumerate() {
            let instrument = self.table.get(InstrumentId(place as u16));
            let found = instrument.and_then(|instrument| old.table.find(instrument.symbol.as_bytes()));
            // With other decimal places its numbers mean something else.
            if let Some(found) = found.filter(|found| old.table.get(*found) == instrument) {
                tracked.inherit(&mut old.state.instruments[usize::from(found.0)], output);
                count += 1;
            }
        }
        count
    }

    /// Takes over what is known of the instruments that both have, and the venue's clock with them. What a decoder
    /// knows of a session ends with its run.
    pub(super) fn gather(&mut self, old: &mut Self, output: &mut Output) -> usize {
        let count = self.inherit_instruments(old, output);
        if count > 0 {
            self.state.watermark_ms = self.state.watermark_ms.max(old.state.watermark_ms);
        }
        count
    }

    /// Something is not known that concerned the feed: connections, frames, or what was fetched.
    pub(super) fn forget(&mut self) {
        self.decoder.lost();
        let state = &mut self.state;
        state.lines = [Line::default(); MAX_LINES];
        state.leap_ms = None;
        state.instruments.iter_mut().for_each(|tracked| tracked.books.forget());
        state.doubt();
    }

    /// Goes on in another run.
    pub(super) fn resume(&mut self, shift: Shift) {
        self.state.instruments.iter_mut().for_each(|tracked| tracked.resume(shift));
    }

    /// Reads a frame and takes each message in it. The verdict is that of the last one.
    pub(super) fn frame(&mut self, line: usize, frame: &[u8], output: &mut Output) -> Verdict {
        let (mut verdict, state) = (Verdict::Unknown, &mut self.state);
        let line = line.min(MAX_LINES - 1);
        state.lines[line].heard_ns = output.receive_ns;
        state.lines[line].is_old = false;
        let outcome = self.decoder.decode(frame, &self.table, &mut |message| {
            output.decode_ns = (output.now_ns)();
            let decode_ns = output.decode_ns.saturating_sub(output.receive_ns);
            output.status.recorder(Stage::Decode).record(decode_ns);
            verdict = state.take(line, message, output);
        });
        outcome.err().map_or(verdict, Verdict::Malformed)
    }

    pub(super) fn connected(&mut self, line: usize, output: &mut Output) {
        let state = &mut self.state;
        if let Some(line) = state.lines.get_mut(line) {
            *line = Line { is_connected: true, heard_ns: output.receive_ns, ..Line::default() };
        }
        state.instruments.iter_mut().for_each(|tracked| tracked.connected(output));
    }

    pub(super) fn disconnected(&mut self, line: usize) {
        let state = &mut self.state;
        if let Some(line) = state.lines.get_mut(line) {
            *line = Line::default();
        }
        let is_last = !state.lines.iter().any(|line| line.is_connected);
        for tracked in &mut state.instruments {
            tracked.books.disconnected(line, is_last);
        }
        if is_last {
            state.doubt();
        }
    }

    pub(super) fn day(&mut self, midnight_ms: i64) {
        self.decoder.day(midnight_ms);
    }

    pub(super) fn begin(&mut self, is_whole: bool, is_proven: bool, output: &mut Output) {
        self.decoder.begin(is_whole);
        self.state.instruments.iter_mut().for_each(|tracked| tracked.books.told_lost(output));
        if !is_proven {
            self.state.doubt();
        }
    }

    pub(super) fn lost(&mut self, gap: Integrity, output: &mut Output) {
        self.decoder.lost();
        self.state.instruments.iter_mut().for_each(|tracked| tracked.lost(gap, output));
        self.state.doubt();
    }

    /// Looks for what did not come, and for what is to be asked for.
    pub(super) fn tick(&mut self, output: &mut Output) {
        if self.venue.protocol().is_numbered_by_transport() {
            return; // It tells what is missing, and a stream that is silent has nothing to say.
        }
        let state = &mut self.state;
        let lives = |line: &Line| line.is_connected && output.receive_ns < line.heard_ns + ALIVE_NS;
        if !state.lines.iter().any(lives) {
            return; // Whoever watches the connection will tell.
        }
        for (place, tracked) in state.instruments.iter_mut().enumerate() {
            tracked.tick(state.place, InstrumentId(place as u16), state.watermark_ms, output);
            state.deadline_ms = state.deadline_ms.min(tracked.deadline_ms());
        }
    }

    pub(super) fn book(&mut self, instrument: InstrumentId, snapshot: &Snapshot, output: &mut Output) {
        if let Some(tracked) = self.state.instruments.get_mut(usize::from(instrument.0)) {
            tracked.books.snapshot(snapshot, output);
        }
    }

    pub(super) fn trades(
        &mut self,
        instrument: InstrumentId,
        missing: &Missing,
        trades: &[Trade],
        is_final: bool,
        output: &mut Output,
    ) {
        if let Some(tracked) = self.state.instruments.get_mut(usize::from(instrument.0)) {
            tracked.fetched(missing, trades, is_final, output);
        }
    }
}

impl FeedState {
    fn take(&mut self, line: usize, message: Message<'_>, output: &mut Output) -> Verdict {
        if !self.believes(&message) {
            let what = "its time is more than a day ahead of all before, and no other message agrees yet";
            return Verdict::Malformed(DecodeError::Field { offset: 0, what });
        }
        match message {
            Message::Trade { instrument, event_ms, trade, is_past } => {
                let tracked = &mut self.instruments[usize::from(instrument.0)];
                tracked.trade(&trade, is_past, output);
                self.deadline_ms = self.deadline_ms.min(tracked.deadline_ms());
                // What is past proves life neither of its own stream nor of others.
                self.advance(if is_past { i64::MIN } else { event_ms.max(trade.time_ms) }, output);
            }
            Message::Quote { instrument, update_id, event_ms, quote } => {
                let books = &mut self.instruments[usize::from(instrument.0)].books;
                books.quote(update_id, event_ms, &quote, output);
                self.advance(event_ms.unwrap_or(i64::MIN), output);
            }
            Message::Kline { instrument, event_ms, kline } => {
                let tracked = &mut self.instruments[usize::from(instrument.0)];
                if let Some(last_id) = kline.last_id {
                    tracked.claim_later(last_id, output);
                    self.deadline_ms = self.deadline_ms.min(tracked.deadline_ms());
                }
                if kline.closed {
                    tracked.compare_later(kline, output);
                    self.deadline_ms = self.deadline_ms.min(compared_at(&kline));
                }
                self.advance(event_ms, output);
            }
            Message::Book { instrument, event_ms, change } => {
                if !self.lines[line].is_old {
                    self.instruments[usize::from(instrument.0)].books.change(line, &change, output);
                }
                self.advance(event_ms.unwrap_or(i64::MIN), output);
            }
            Message::BookTop { instrument, update_id, levels } => {
                self.instruments[usize::from(instrument.0)].books.top(update_id, &levels, output);
            }
            Message::Alive { instrument, event_ms, last_trade_id } => {
                if let (Some(instrument), Some(last_id)) = (instrument, last_trade_id) {
                    let tracked = &mut self.instruments[usize::from(instrument.0)];
                    tracked.claim_later(last_id, output);
                    self.deadline_ms = self.deadline_ms.min(tracked.deadline_ms());
                }
                self.advance(event_ms.unwrap_or(i64::MIN), output);
            }
            Message::TradeMissed { instrument, event_ms } => {
                self.instruments[usize::from(instrument.0)].missed(event_ms, output);
                self.deadline_ms = i64::MIN; // Its doubt must not wait for others' bars.
                self.advance(event_ms, output);
            }
            Message::BookLost { instrument } => {
                self.instruments[usize::from(instrument.0)].books.told_lost(output);
            }
            Message::Numbered(number) => self.frame_numbered(line, number, output),
            Message::Acknowledged | Message::Refused(_) => return Verdict::Control,
            Message::ServerShutdown => return Verdict::Shutdown,
            Message::UnknownSymbol(_) | Message::Unknown => return Verdict::Unknown,
        }
        Verdict::Decoded
    }

    /// Whether the message's time can be believed. See [`LONGEST_LEAP_MS`].
    fn believes(&mut self, message: &Message<'_>) -> bool {
        let time_ms = match message {
            Message::Trade { event_ms, trade, .. } => trade.time_ms.max(*event_ms),
            Message::Kline { event_ms, .. }
            | Message::TradeMissed { event_ms, .. }
            | Message::Quote { event_ms: Some(event_ms), .. }
            | Message::Book { event_ms: Some(event_ms), .. }
            | Message::Alive { event_ms: Some(event_ms), .. } => *event_ms,
            _ => return true,
        };
        let near = |other: i64| time_ms.saturating_sub(other).abs() <= LONGEST_LEAP_MS;
        let believed = self.watermark_ms == i64::MIN
            || time_ms <= self.watermark_ms.saturating_add(LONGEST_LEAP_MS)
            || self.leap_ms.is_some_and(near);
        self.leap_ms = (!believed).then_some(time_ms);
        believed
    }

    /// Moves the venue's clock, and closes what it has passed. The least of all times moves nothing.
    fn advance(&mut self, time_ms: i64, output: &mut Output) {
        if time_ms == i64::MIN {
            return;
        }
        let first = self.watermark_ms == i64::MIN;
        self.watermark_ms = self.watermark_ms.max(time_ms);
        if self.watermark_ms < self.deadline_ms && !first {
            return;
        }
        self.deadline_ms = i64::MAX;
        for tracked in &mut self.instruments {
            tracked.advance(self.watermark_ms, output);
            self.deadline_ms = self.deadline_ms.min(tracked.deadline_ms());
        }
    }

    /// A frame whose place among all frames of its connection is known.
    fn frame_numbered(&mut self, line: usize, number: u64, output: &mut Output) {
        let before = self.lines[line].frame_number;
        let verdict = match before {
            None => Integrity::Unverifiable,
            Some(before) if before.checked_add(1) == Some(number) => Integrity::Ok,
            Some(before) if number <= before => Integrity::Duplicate,
            Some(before) => Integrity::Gap { from: before + 1, to: number - 1 },
        };
        if verdict == Integrity::Duplicate {
            self.lines[line].is_old = true;
            return;
        }
        self.lines[line].frame_number = Some(number);
        if let Integrity::Gap { .. } = verdict {
            // Nobody knows whose message it was that is missing.
            self.instruments.iter_mut().for_each(|tracked| tracked.books.missed_on(line, verdict, output));
            if self.lines.iter().filter(|line| line.is_connected).count() < 2 {
                self.doubt();
            }
        }
    }

    /// From here on nothing is proven, for any instrument.
    fn doubt(&mut self) {
        if self.watermark_ms == i64::MIN {
            return; // Nothing was seen yet, so nothing can have been lost.
        }
        self.deadline_ms = i64::MIN; // The next message ends the break.
        for tracked in &mut self.instruments {
            tracked.doubt_from(self.watermark_ms);
        }
    }
}
