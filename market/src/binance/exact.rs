//! Trades, book tickers and changes of the book in the exact shape in which Binance sends them, read without looking for
//! structure.
//!
//! These are nearly all frames. Whatever differs in the least, be it a blank, gives `None` and is left to the
//! general reader. Whatever is read here means the same there; a property test holds both against each other.

use crate::message::{BookChange, BookSide, Level, Levels, MAX_TIME_MS, Message, trade_fault};
use crate::{Instrument, InstrumentId, Instruments, Quote, Side, Trade, decimal};

/// Reads a frame if it is a trade or book ticker of a known instrument, without any flaw.
pub(super) fn read(frame: &[u8], instruments: &Instruments) -> Option<Message<'static>> {
    let (mut cursor, combined) = Cursor::begin(frame)?;
    let message = match cursor.rest.first_chunk::<5>()? {
        b"{\"e\":" => cursor.trade(instruments)?,
        b"{\"u\":" => cursor.ticker(instruments)?,
        _ => return None,
    };
    if combined {
        cursor.eat(b"}")?;
    }
    cursor.rest.is_empty().then_some(message)
}

/// Reads a frame if it is a change of a known instrument's book, without any flaw, and its levels find room in `levels`:
/// they are looked at once, while checking them first would be once more.
pub(super) fn read_change<'l>(
    frame: &[u8],
    instruments: &Instruments,
    levels: &'l mut Vec<(BookSide, Level)>,
) -> Option<Message<'l>> {
    let (mut cursor, combined) = Cursor::begin(frame)?;
    cursor.eat(b"{\"e\":\"depthUpdate\",\"E\":")?;
    let event_ms = cursor.time()?;
    cursor.eat(b",\"s\":\"")?;
    let (instrument, entry) = cursor.instrument(instruments)?;
    cursor.eat(b",\"U\":")?;
    let first = cursor.number()?;
    cursor.eat(b",\"u\":")?;
    let last = cursor.number()?;
    levels.clear();
    cursor.eat(b",\"b\":")?;
    cursor.levels(BookSide::Bid, entry, levels)?;
    cursor.eat(b",\"a\":")?;
    cursor.levels(BookSide::Ask, entry, levels)?;
    cursor.eat(if combined { b"}}" } else { b"}" })?;
    let is_whole = cursor.rest.is_empty() && first <= last;
    let change = BookChange {
        is_snapshot: false,
        ids: Some((first, last)),
        checksum: None,
        levels: Levels::of(levels),
    };
    is_whole.then_some(Message::Book { instrument, event_ms: Some(event_ms), change })
}

/// What is left of a frame.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// Stands before the payload. Says whether that is wrapped with its stream's name.
    fn begin(frame: &'a [u8]) -> Option<(Self, bool)> {
        let mut cursor = Cursor { rest: frame };
        let combined = cursor.eat(b"{\"stream\":\"").is_some();
        if combined {
            cursor.text()?;
            cursor.eat(b",\"data\":")?;
        }
        Some((cursor, combined))
    }

    /// Reads `[["price","qty"],…]`.
    fn levels(
        &mut self,
        side: BookSide,
        scale: &Instrument,
        levels: &mut Vec<(BookSide, Level)>,
    ) -> Option<()> {
        self.eat(b"[")?;
        if self.eat(b"]").is_some() {
            return Some(());
        }
        while levels.len() < levels.capacity() {
            self.eat(b"[\"")?;
            let price = self.decimal(scale.price_digits)?;
            self.eat(b",\"")?;
            let qty = self.decimal(scale.qty_digits)?;
            self.eat(b"]")?;
            levels.push((side, Level { price, qty, printed: [0; 2] }));
            if self.eat(b",").is_none() {
                return self.eat(b"]");
            }
        }
        None
    }

    fn trade(&mut self, instruments: &Instruments) -> Option<Message<'static>> {
        self.eat(b"{\"e\":\"trade\",\"E\":")?;
        let event_ms = self.time()?;
        self.eat(b",\"s\":\"")?;
        let (instrument, scale) = self.instrument(instruments)?;
        self.eat(b",\"t\":")?;
        let id = self.number()?;
        self.eat(b",\"p\":\"")?;
        let price = self.decimal(scale.price_digits)?;
        self.eat(b",\"q\":\"")?;
        let qty = self.decimal(scale.qty_digits)?;
        self.eat(b",\"T\":")?;
        let time_ms = self.time()?;
        self.eat(b",\"m\":")?;
        let taker = if self.boolean()? { Side::Sell } else { Side::Buy };
        self.eat(b",\"M\":")?;
        self.boolean()?;
        self.eat(b"}")?;
        let trade = Trade { first_id: id, last_id: id, time_ms, price, qty, taker };
        trade_fault(&trade).is_none().then_some(Message::Trade {
            instrument,
            event_ms,
            trade,
            is_past: false,
        })
    }

    fn ticker(&mut self, instruments: &Instruments) -> Option<Message<'static>> {
        self.eat(b"{\"u\":")?;
        let update_id = self.number()?;
        self.eat(b",\"s\":\"")?;
        let (instrument, scale) = self.instrument(instruments)?;
        self.eat(b",\"b\":\"")?;
        let bid_price = self.decimal(scale.price_digits)?;
        self.eat(b",\"B\":\"")?;
        let bid_qty = self.decimal(scale.qty_digits)?;
        self.eat(b",\"a\":\"")?;
        let ask_price = self.decimal(scale.price_digits)?;
        self.eat(b",\"A\":\"")?;
        let ask_qty = self.decimal(scale.qty_digits)?;
        self.eat(b"}")?;
        let quote = Quote { bid_price, bid_qty, ask_price, ask_qty };
        Some(Message::Quote { instrument, update_id, event_ms: None, quote })
    }

    #[inline(always)]
    fn eat(&mut self, literal: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(literal)?;
        Some(())
    }

    /// What stands before the next quote, which is read too.
    #[inline(always)]
    fn text(&mut self) -> Option<&'a [u8]> {
        let len = self.rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
        let (text, rest) = self.rest.split_at(len);
        self.rest = rest.strip_prefix(b"\"")?;
        Some(text)
    }

    fn instrument<'t>(&mut self, instruments: &'t Instruments) -> Option<(InstrumentId, &'t Instrument)> {
        let id = instruments.find(self.text()?)?;
        Some((id, instruments.get(id)?))
    }

    #[inline(always)]
    fn decimal(&mut self, digits: u8) -> Option<i64> {
        decimal::parse(self.text()?, digits).ok()
    }

    /// A whole number of at most 18 digits.
    #[inline(always)]
    fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        let mut len = 0;
        while let Some(digit) =
            self.rest.get(len).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10)
        {
            value = value * 10 + u64::from(digit);
            len += 1;
            if len > 18 {
                return None;
            }
        }
        let leading_zero = len > 1 && self.rest[0] == b'0';
        self.rest = &self.rest[len..];
        (len > 0 && !leading_zero).then_some(value)
    }

    #[inline(always)]
    fn time(&mut self) -> Option<i64> {
        self.number().filter(|time_ms| *time_ms <= MAX_TIME_MS).map(|time_ms| time_ms as i64)
    }

    #[inline(always)]
    fn boolean(&mut self) -> Option<bool> {
        if self.eat(b"true").is_some() { Some(true) } else { self.eat(b"false").map(|()| false) }
    }
}
