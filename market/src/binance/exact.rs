//! Trades and book tickers in the exact shape in which Binance sends them, read without looking for structure.
//!
//! These are nine in ten frames. Whatever differs in the least, be it a blank, gives `None` and is left to the
//! general reader. Whatever is read here means the same there; a property test holds both against each other.

use crate::message::{MAX_TIME_MS, Message, trade_fault};
use crate::{Instrument, InstrumentId, Instruments, Quote, Side, Trade, decimal};

/// Reads a frame if it is a trade or book ticker of a known instrument, without any flaw.
pub(super) fn read(frame: &[u8], instruments: &Instruments) -> Option<Message<'static>> {
    let mut cursor = Cursor { rest: frame };
    let combined = cursor.eat(b"{\"stream\":\"").is_some();
    if combined {
        cursor.text()?;
        cursor.eat(b",\"data\":")?;
    }
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

/// What is left of a frame.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
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
    fn eat(&mut self, literal: &'static [u8]) -> Option<()> {
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
