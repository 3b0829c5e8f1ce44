//! Reads ITCH messages, one a frame, into the vocabulary of all venues.
//!
//! What holds:
//!
//! - **Trades.** Executions, trades against orders that are not displayed, and auctions count; what is not printable
//!   comes once more in its auction. Of trades whose taker is not told, one at the best ask or above counts as bought,
//!   one at the best bid or below as sold, any other one as bought. A trade that is broken later stays in its candle.
//! - **A trade without a price**, since its order was added before we came or in a message that was lost, is told as
//!   [`Message::TradeMissed`]: no bar is called whole without it.
//! - **Books** are told from the session's first message on, when all of them are empty. In a session that was joined
//!   later, or after a loss, no book and no quote is told before the next session: nobody sends the orders again. A book
//!   that is crossed, as in a halt, is lost and told anew once it is not.
//! - **Times** are nanoseconds since midnight on a day that is told ([`Decoder::day`]). A time that is more than
//!   twelve hours before the last one is of the next day.
//! - Only stocks of the table are kept. One that a new table adds has no book before the next session.
//! - Nothing is allocated but in `prepare`.

use super::{BookSide as Side, DAY_NS, Event, Execution, ItchError, Level, PRICE_DIGITS, Symbol};
use crate::message::{self, BookChange, BookSide, DecodeError, Levels, MAX_TIME_MS, Message};
use crate::protocol::Decoder;
use crate::{Book, Instrument, InstrumentId, Instruments, Quote, Trade};
use core::fmt;

/// Orders of the table's stocks that rest at a time; they take about 40 MB. Books whose orders find no room are lost.
const MAX_ORDERS: usize = 1 << 19;
/// Levels kept of each side of a book.
const ROOM: usize = 2_000;
/// The most events of one message: a replacement of an order by one whose number is taken.
const MAX_EVENTS: usize = 12;
/// A stock that is not in the table.
const OTHER: u16 = u16::MAX;

/// Reads the messages of a feed.
pub struct Reader {
    orders: super::Decoder,
    /// By a stock's number of the day.
    stocks: Box<[Stock]>,
    /// By place in the table.
    books: Vec<Told>,
    midnight_ms: i64,
    /// The day of the next session, where it is another one.
    coming_ms: Option<i64>,
    has_begun: bool,
    last_ns: u64,
    /// The latest time that was told for stocks of others.
    told_ms: i64,
}

#[derive(Clone, Copy, Default)]
struct Stock {
    symbol: Symbol,
    /// 0 for one that is not known yet, else its place in the table and 1.
    place: u16,
}

/// A book, and what was told of it.
struct Told {
    book: Book,
    is_told: bool,
    quote: Option<Quote>,
    scale: Scale,
}

/// From ten-thousandths and shares to the instrument's units.
#[derive(Clone, Copy)]
struct Scale {
    price: (i64, i64),
    shares: i64,
}

impl Scale {
    fn of(instrument: &Instrument) -> Self {
        let ten = |power: u8| 10i64.pow(power.into());
        let (ours, theirs) = (instrument.price_digits, PRICE_DIGITS);
        Self {
            price: (ten(ours.saturating_sub(theirs)), ten(theirs.saturating_sub(ours))),
            shares: ten(instrument.qty_digits),
        }
    }

    fn price(self, price: i64) -> Result<i64, DecodeError> {
        let (times, by) = self.price;
        let scaled = (price % by == 0).then(|| (price / by).checked_mul(times)).flatten();
        scaled.ok_or_else(|| flaw("the price does not fit the instrument's decimal places"))
    }

    fn shares(self, shares: i64) -> Result<i64, DecodeError> {
        shares
            .checked_mul(self.shares)
            .ok_or_else(|| flaw("the shares do not fit the instrument's decimal places"))
    }
}

fn flaw(what: &'static str) -> DecodeError {
    DecodeError::Field { offset: 0, what }
}

impl From<ItchError> for DecodeError {
    fn from(error: ItchError) -> Self {
        let (offset, what) = match error {
            ItchError::Empty => (0, "the message is empty"),
            ItchError::Length { len, .. } => (len, "the message's length is not its type's; is it ITCH 5.0?"),
            ItchError::Side(_) => (19, "the order's side is neither 'B' nor 'S'"),
            ItchError::Printable(_) => (31, "the execution's printable flag is neither 'Y' nor 'N'"),
            ItchError::Time(_) => (5, "the time is past the day's end"),
        };
        Self::Field { offset, what }
    }
}

impl Default for Reader {
    /// A reader that follows no session yet: no book can be told before one begins.
    fn default() -> Self {
        let mut orders = super::Decoder::new(MAX_ORDERS);
        orders.distrust();
        Self {
            orders,
            stocks: vec![Stock::default(); 1 << 16].into(),
            books: Vec::new(),
            midnight_ms: 0,
            coming_ms: None,
            has_begun: false,
            last_ns: 0,
            told_ms: i64::MIN,
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counters = self.orders.counters();
        f.debug_struct("Reader")
            .field("midnight_ms", &self.midnight_ms)
            .field("counters", &counters)
            .finish_non_exhaustive()
    }
}

impl Decoder for Reader {
    fn decode<'f>(
        &'f mut self,
        frame: &'f [u8],
        instruments: &Instruments,
        take: &mut dyn FnMut(Message<'f>),
    ) -> Result<(), DecodeError> {
        let [kind, high, low, ..] = *frame else {
            return Err(flaw("the message is shorter than any"));
        };
        let locate = u16::from_be_bytes([high, low]);
        self.learn(locate, frame, instruments);
        let place = self.place(locate);
        if locate != 0 && self.stocks[usize::from(locate)].place == OTHER {
            let time_ms = self.time_ms(frame)?;
            if time_ms > self.told_ms {
                self.told_ms = time_ms;
                take(Message::Alive { instrument: None, event_ms: Some(time_ms), last_trade_id: None });
            }
            return Ok(());
        }
        let (mut events, mut count) = ([None; MAX_EVENTS], 0);
        let outcome = self.orders.message(frame, &mut |event| {
            if let Some(slot) = events.get_mut(count) {
                (*slot, count) = (Some(event), count + 1);
            }
        });
        let time_ms = self.time_ms(frame).map_err(|error| outcome.err().map_or(error, DecodeError::from));
        if let Err(error) = outcome {
            if let (Some((id, _)), b'E' | b'C' | b'P' | b'Q') = (place, kind) {
                let event_ms = time_ms.unwrap_or(self.told_ms);
                take(Message::TradeMissed { instrument: id, event_ms });
            }
            if let Some((id, _)) = place {
                self.book_lost(id, take);
            }
            return Err(error.into());
        }
        let time_ms = time_ms?;
        self.told_ms = self.told_ms.max(time_ms);
        take(Message::Alive { instrument: None, event_ms: Some(time_ms), last_trade_id: None });
        match place {
            Some((id, at)) => self.tell(id, at, locate, events.iter().flatten(), time_ms, take),
            None => Ok(()),
        }
    }

    fn prepare(&mut self, instruments: &Instruments) {
        let told = |(_, instrument): (InstrumentId, &Instrument)| Told {
            book: Book::new(ROOM),
            is_told: false,
            quote: None,
            scale: Scale::of(instrument),
        };
        self.books = instruments.iter().map(told).collect();
        // What is known already stays known, under the new places.
        for locate in 0..=u16::MAX {
            let stock = &mut self.stocks[usize::from(locate)];
            if stock.place != 0 {
                let before = core::mem::replace(&mut stock.place, place_of(instruments, stock.symbol));
                if before == OTHER {
                    self.orders.distrust_stock(locate); // Its orders were not kept.
                }
            }
        }
        let Self { orders, stocks, books, .. } = self;
        orders.for_each_level(|locate, side, price, qty| {
            let place = usize::from(stocks[usize::from(locate)].place).wrapping_sub(1);
            let Some(told) = books.get_mut(place) else { return };
            if let (Ok(price), Ok(qty)) = (told.scale.price(price.into()), told.scale.shares(qty)) {
                told.book.set(side.into(), level(price, qty));
            }
        });
    }

    fn keeps_session(&self) -> bool {
        true
    }

    fn day(&mut self, midnight_ms: i64) {
        if self.has_begun {
            self.coming_ms = Some(midnight_ms);
        } else {
            self.midnight_ms = midnight_ms;
        }
    }

    fn begin(&mut self, is_whole: bool) {
        self.orders.clear();
        if !is_whole {
            self.orders.distrust();
        }
        self.stocks.fill(Stock::default());
        for told in &mut self.books {
            told.book.clear();
            (told.is_told, told.quote) = (false, None);
        }
        self.midnight_ms = self.coming_ms.take().unwrap_or(self.midnight_ms);
        (self.has_begun, self.last_ns) = (true, 0);
    }

    fn lost(&mut self) {
        self.orders.distrust();
    }
}

impl Reader {
    /// Learns which stock a number is, from messages that name both.
    fn learn(&mut self, locate: u16, frame: &[u8], instruments: &Instruments) {
        let known = &mut self.stocks[usize::from(locate)];
        let at = match frame[0] {
            b'R' => 11,
            b'H' if known.place == 0 => 11,
            b'A' | b'F' | b'P' if known.place == 0 => 24,
            b'Q' if known.place == 0 => 19,
            _ => return,
        };
        if let Some(symbol) = frame.get(at..).and_then(|rest| rest.first_chunk()) {
            let symbol = Symbol(*symbol);
            *known = Stock { symbol, place: place_of(instruments, symbol) };
        }
    }

    /// The place of a stock that is in the table.
    fn place(&self, locate: u16) -> Option<(InstrumentId, usize)> {
        let place = self.stocks[usize::from(locate)].place.checked_sub(1)?;
        (usize::from(place) < self.books.len()).then(|| (InstrumentId(place), place.into()))
    }

    /// The time of a message, since the epoch.
    fn time_ms(&mut self, frame: &[u8]) -> Result<i64, DecodeError> {
        let Some(&[a, b, c, d, e, f]) = frame.get(5..11) else {
            return Err(flaw("the message ends before its time"));
        };
        let time_ns = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        if time_ns >= DAY_NS {
            return Err(ItchError::Time(time_ns).into());
        }
        if time_ns + DAY_NS / 2 < self.last_ns {
            self.midnight_ms = self.midnight_ms.saturating_add((DAY_NS / 1_000_000) as i64);
        }
        self.last_ns = time_ns;
        let time_ms = self.midnight_ms.saturating_add((time_ns / 1_000_000) as i64);
        if (0..=MAX_TIME_MS as i64).contains(&time_ms) { Ok(time_ms) } else { Err(flaw("the day is no day")) }
    }

    /// Tells what a message about a stock of the table means.
    fn tell<'f, 'e>(
        &mut self,
        instrument: InstrumentId,
        at: usize,
        locate: u16,
        events: impl Iterator<Item = &'e Event> + Clone,
        time_ms: i64,
        take: &mut dyn FnMut(Message<'f>),
    ) -> Result<(), DecodeError> {
        let mut has_levels = false;
        for event in events.clone() {
            match *event {
                Event::Trade(execution) => self.trade(instrument, at, &execution, time_ms, take)?,
                Event::Cross(cross) if cross.price > 0 && cross.shares > 0 => {
                    let qty = i64::try_from(cross.shares).unwrap_or(i64::MAX);
                    let (match_number, time_ns, price) = (cross.match_number, cross.time_ns, cross.price);
                    let execution = Execution { locate, match_number, time_ns, price, qty, taker: None };
                    self.trade(instrument, at, &execution, time_ms, take)?;
                }
                Event::Unpriced { .. } => take(Message::TradeMissed { instrument, event_ms: time_ms }),
                Event::Level(level) => {
                    has_levels = true;
                    self.set(at, &level)?;
                }
                Event::Untrusted { locate: of } if of == locate => self.book_lost(instrument, take),
                _ => {}
            }
        }
        if has_levels && self.orders.is_trusted(locate) {
            let levels = events.filter_map(|event| match event {
                Event::Level(level) => Some(level),
                _ => None,
            });
            self.tell_book(instrument, at, levels, time_ms, take);
        }
        Ok(())
    }

    fn trade<'f>(
        &mut self,
        instrument: InstrumentId,
        at: usize,
        execution: &Execution,
        time_ms: i64,
        take: &mut dyn FnMut(Message<'f>),
    ) -> Result<(), DecodeError> {
        let Told { book, scale, .. } = &self.books[at];
        let scaled = scale.price(execution.price).and_then(|price| Ok((price, scale.shares(execution.qty)?)));
        let trade = scaled.and_then(|(price, qty)| {
            let is_sold = book.top().is_some_and(|top| price <= top.bid_price);
            let guess = if is_sold { crate::Side::Sell } else { crate::Side::Buy };
            let (id, taker) = (execution.match_number, execution.taker.unwrap_or(guess));
            let trade = Trade { first_id: id, last_id: id, time_ms, price, qty, taker };
            message::trade_fault(&trade).map_or(Ok(trade), |fault| Err(flaw(fault)))
        });
        match trade {
            Ok(trade) => {
                take(Message::Trade { instrument, event_ms: time_ms, trade, is_past: false });
                Ok(())
            }
            Err(error) => {
                take(Message::TradeMissed { instrument, event_ms: time_ms });
                Err(error)
            }
        }
    }

    /// Takes a level into a book.
    fn set(&mut self, at: usize, to: &Level) -> Result<(), DecodeError> {
        let Told { book, scale, .. } = &mut self.books[at];
        let (price, qty) = (scale.price(to.price)?, scale.shares(to.qty)?);
        book.set(to.side.into(), level(price, qty));
        Ok(())
    }

    /// Tells the levels that have changed, or the whole book, and the best of it.
    fn tell_book<'f, 'e>(
        &mut self,
        instrument: InstrumentId,
        at: usize,
        levels: impl Iterator<Item = &'e Level>,
        time_ms: i64,
        take: &mut dyn FnMut(Message<'f>),
    ) {
        if self.books[at].book.is_crossed() {
            return self.book_lost(instrument, take);
        }
        let Told { book, is_told, quote, scale } = &mut self.books[at];
        let mut say = |is_snapshot, side, level| {
            let levels = Levels::one(side, level);
            let change = BookChange { is_snapshot, ids: None, checksum: None, levels };
            take(Message::Book { instrument, event_ms: Some(time_ms), change });
        };
        if *is_told {
            for changed in levels {
                // They went into the book, so they fit.
                if let (Ok(price), Ok(qty)) = (scale.price(changed.price), scale.shares(changed.qty)) {
                    say(false, changed.side.into(), level(price, qty));
                }
            }
        } else {
            *is_told = true;
            say(true, BookSide::Bid, level(1, 0)); // An empty one, to begin with.
            for side in [BookSide::Bid, BookSide::Ask] {
                book.best_first(side).for_each(|level| say(false, side, *level));
            }
        }
        let best = book.top().filter(|_| book.known_depth() > 0);
        if best != *quote {
            *quote = best;
            if let Some(quote) = best {
                take(Message::Quote { instrument, update_id: 0, event_ms: Some(time_ms), quote });
            }
        }
    }

    fn book_lost<'f>(&mut self, instrument: InstrumentId, take: &mut dyn FnMut(Message<'f>)) {
        let Some(told) = self.books.get_mut(usize::from(instrument.0)) else { return };
        if core::mem::take(&mut told.is_told) {
            told.quote = None;
            take(Message::BookLost { instrument });
        }
    }
}

fn place_of(instruments: &Instruments, symbol: Symbol) -> u16 {
    instruments.find(symbol.as_bytes()).map_or(OTHER, |id| id.0.saturating_add(1))
}

fn level(price: i64, qty: i64) -> message::Level {
    message::Level { price, qty, printed: [PRICE_DIGITS, 0] }
}

impl From<Side> for BookSide {
    fn from(side: Side) -> Self {
        match side {
            Side::Bid => Self::Bid,
            Side::Ask => Self::Ask,
        }
    }
}
