//! What several venues' decoders share: reading the fields of an object in whatever order they come, reading levels,
//! and bringing the trades of a frame into the order of their numbers.
//!
//! Nothing here allocates but [`Trades::default`]. Every offset counts from the frame's first byte.

use crate::json::{JsonError, Scanner, Span};
use crate::message::{BookSide, DecodeError, Level, MAX_TIME_MS, Message, Scale, trade_fault};
use crate::{Instrument, InstrumentId, Instruments, Trade, decimal, time};

/// Reads any value. A string is taken without its quotes, anything else as it stands.
pub(crate) fn value(scanner: &mut Scanner<'_>) -> Result<Span, JsonError> {
    if scanner.peek() == Some(b'"') { scanner.string() } else { scanner.skip() }
}

/// Whether a frame is a list, as no known message is. One that is has been checked to be JSON.
pub(crate) fn is_list(scanner: &mut Scanner<'_>) -> Result<bool, JsonError> {
    let is_list = scanner.peek() == Some(b'[');
    if is_list {
        scanner.skip()?;
        scanner.finish()?;
    }
    Ok(is_list)
}

/// Visits the members of an object with the place of each value. Returns the offset of the object's end.
pub(crate) fn members<'a>(
    scanner: &mut Scanner<'a>,
    mut member: impl FnMut(&'a [u8], Span),
) -> Result<usize, JsonError> {
    scanner.object(|scanner, key| {
        let value = value(scanner)?;
        member(key, value);
        Ok::<_, JsonError>(())
    })?;
    Ok(scanner.offset())
}

/// Visits the elements of the array at `span`, or of an empty one if there is none.
pub(crate) fn elements<'a>(
    frame: &'a [u8],
    span: Option<Span>,
    element: impl FnMut(&mut Scanner<'a>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    match span {
        Some(span) => Scanner::starting_at(&frame[..span.end], span.start).array(element),
        None => Ok(()),
    }
}

/// An object whose fields were found: reads their values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Object<'a> {
    /// The frame that it is in.
    pub(crate) frame: &'a [u8],
    /// Offset of its end: where a missing field is reported.
    pub(crate) end: usize,
}

impl<'a> Object<'a> {
    pub(crate) fn required(&self, span: Option<Span>, missing: &'static str) -> Result<Span, DecodeError> {
        span.ok_or(DecodeError::Field { offset: self.end, what: missing })
    }

    pub(crate) fn text(&self, span: Option<Span>, missing: &'static str) -> Result<&'a [u8], DecodeError> {
        self.required(span, missing).map(|span| span.of(self.frame))
    }

    /// A decimal number, in a string or bare, with or without an exponent.
    pub(crate) fn decimal(
        &self,
        span: Option<Span>,
        digits: u8,
        missing: &'static str,
    ) -> Result<i64, DecodeError> {
        let span = self.required(span, missing)?;
        decimal::parse_with_exponent(span.of(self.frame), digits)
            .map_err(|reason| DecodeError::Number { offset: span.start, reason })
    }

    /// A whole number, in a string or bare.
    pub(crate) fn unsigned(&self, span: Option<Span>, missing: &'static str) -> Result<u64, DecodeError> {
        let span = self.required(span, missing)?;
        let mut scanner = Scanner::starting_at(&self.frame[..span.end], span.start);
        let value = scanner.unsigned()?;
        scanner.finish()?;
        Ok(value)
    }

    /// A time as RFC 3339 text.
    pub(crate) fn time(&self, span: Option<Span>, missing: &'static str) -> Result<i64, DecodeError> {
        let span = self.required(span, missing)?;
        let what = "this is no time of RFC 3339 between 1970 and 2100";
        time::parse_ms(span.of(self.frame)).ok_or(DecodeError::Field { offset: span.start, what })
    }

    /// The same, where the venue may leave it out.
    pub(crate) fn time_or_none(&self, span: Option<Span>) -> Result<Option<i64>, DecodeError> {
        span.map(|_| self.time(span, "")).transpose()
    }

    /// A time in whole seconds since 1970.
    pub(crate) fn seconds(&self, span: Option<Span>, missing: &'static str) -> Result<i64, DecodeError> {
        match self.unsigned(span, missing)? {
            seconds if seconds <= MAX_TIME_MS / 1_000 => Ok(seconds as i64 * 1_000),
            _ => Err(self.fault(span, "the time is not in seconds since 1970, or from the year 2100 on")),
        }
    }

    /// What is wrong with a field.
    pub(crate) fn fault(&self, span: Option<Span>, what: &'static str) -> DecodeError {
        DecodeError::Field { offset: span.map_or(self.end, |span| span.start), what }
    }

    /// The trade, unless its numbers make no sense. `id` is where its number stands, `price` where its price does.
    pub(crate) fn checked(
        &self,
        trade: Trade,
        id: Option<Span>,
        price: Option<Span>,
    ) -> Result<Trade, DecodeError> {
        match trade_fault(&trade) {
            None => Ok(trade),
            Some(what) if trade.last_id == u64::MAX => Err(self.fault(id, what)),
            Some(what) => Err(self.fault(price, what)),
        }
    }
}

/// Reads `[["price","qty"],…]`. Further elements of a level are skipped: old snapshots carry an empty array there.
pub(crate) fn read_levels(
    text: &[u8],
    side: BookSide,
    scale: Scale,
    level: &mut dyn FnMut(BookSide, Level),
) -> Result<(), DecodeError> {
    let number = |scanner: &mut Scanner<'_>, digits| {
        let span = scanner.string()?;
        decimal::parse(span.of(text), digits)
            .map_err(|reason| DecodeError::Number { offset: span.start, reason })
    };
    let mut scanner = Scanner::new(text);
    scanner.array(|scanner| {
        scanner.expect(b'[', "a price level")?;
        let price = number(scanner, scale.price_digits)?;
        scanner.expect(b',', "','")?;
        let qty = number(scanner, scale.qty_digits)?;
        while scanner.eat(b',') {
            scanner.skip()?;
        }
        scanner.expect(b']', "']'")?;
        level(side, Level { price, qty, printed: [0; 2] });
        Ok(())
    })
}

/// The instrument of a symbol, if it is in the table.
pub(crate) fn find<'t>(
    instruments: &'t Instruments,
    symbol: &[u8],
) -> Option<(InstrumentId, &'t Instrument)> {
    let id = instruments.find(symbol)?;
    Some((id, instruments.get(id)?))
}

/// How many trades of a frame are brought into order. Kraken tells 50 past trades, Coinbase a few hundred.
const MAX_TRADES: usize = 2_048;

/// The trades of one frame, to be told in the order of their numbers however the venue orders them.
///
/// Of a frame with more trades than there is room for, each roomful is in order.
#[derive(Debug)]
pub(crate) struct Trades {
    room: Vec<Row>,
}

/// A trade and what its message says beside it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) instrument: InstrumentId,
    pub(crate) event_ms: i64,
    pub(crate) trade: Trade,
    pub(crate) is_past: bool,
}

impl Default for Trades {
    fn default() -> Self {
        Self { room: Vec::with_capacity(MAX_TRADES) }
    }
}

impl Trades {
    /// Takes in a trade. If there is no room, those before it are told.
    pub(crate) fn push<'f>(&mut self, row: Row, take: &mut dyn FnMut(Message<'f>)) {
        if self.room.len() == MAX_TRADES {
            self.tell(take);
        }
        self.room.push(row);
    }

    /// Tells all in order, and forgets them.
    pub(crate) fn tell<'f>(&mut self, take: &mut dyn FnMut(Message<'f>)) {
        let order = |row: &Row| (row.instrument, row.trade.first_id);
        if !self.room.is_sorted_by_key(order) {
            self.room.sort_unstable_by_key(order);
        }
        for Row { instrument, event_ms, trade, is_past } in self.room.drain(..) {
            take(Message::Trade { instrument, event_ms, trade, is_past });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Side;

    /// Beyond its room, it neither loses a trade nor takes more memory.
    #[test]
    fn more_trades_than_there_is_room_for() {
        let (mut trades, mut told) = (Trades::default(), Vec::new());
        let mut take = |message: Message<'static>| match message {
            Message::Trade { trade, .. } => told.push(trade.first_id),
            other => panic!("{other:?}"),
        };
        let capacity = trades.room.capacity();
        let count = MAX_TRADES as u64 * 2 + 7;
        for id in (0..count).rev() {
            let trade = Trade { first_id: id, last_id: id, time_ms: 0, price: 1, qty: 1, taker: Side::Buy };
            trades.push(Row { instrument: InstrumentId(0), event_ms: 0, trade, is_past: true }, &mut take);
        }
        trades.tell(&mut take);
        assert_eq!(trades.room.capacity(), capacity);
        assert_eq!(told[..MAX_TRADES], Vec::from_iter(count - MAX_TRADES as u64..count));
        told.sort_unstable();
        assert_eq!(told, Vec::from_iter(0..count));
    }
}
