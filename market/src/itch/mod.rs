//! NASDAQ TotalView-ITCH 5.0: every order on NASDAQ's book, and what becomes of it.
//!
//! Source of the format: Nasdaq, "TotalView-ITCH 5.0". One message in, one [`Message`] out, by fixed offsets. Big-endian
//! integers; prices in ten-thousandths of a dollar ([`PRICE_DIGITS`]); times in nanoseconds since midnight in New York,
//! which [`Decoder`] leaves to its caller to place on a day. Types that exist but say nothing about trades or orders are
//! [`Body::Other`], others [`Body::Unknown`], since Nasdaq adds types; a message whose length is not its type's is an
//! error.
//!
//! [`Decoder`] keeps the orders, and makes trades and price levels of the messages. [`Reader`] says that in the
//! vocabulary of all venues, as the venue [`Itch`].

mod decoder;
mod event;
mod protocol;
mod reader;
mod table;

pub use decoder::Decoder;
pub use event::{Counters, Cross, Event, Execution, Level};
pub use protocol::Itch;
pub use reader::Reader;

use core::fmt;

/// Decimal places of prices.
pub const PRICE_DIGITS: u8 = 4;

/// No time of a message is as large.
pub const DAY_NS: u64 = 86_400_000_000_000;

/// Why bytes are not an ITCH 5.0 message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ItchError {
    /// A message without a type.
    #[error("the message is empty")]
    Empty,
    /// The length is another one than the type has.
    #[error(
        "the message of type '{kind}' has {len} bytes instead of {expected}; check that the feed is ITCH 5.0"
    )]
    Length {
        /// Its type.
        kind: char,
        /// Its bytes.
        len: usize,
        /// How many it should have.
        expected: usize,
    },
    /// Neither `B` nor `S`.
    #[error("the order's side is {0:#04x}, neither 'B' nor 'S'")]
    Side(u8),
    /// Neither `Y` nor `N`.
    #[error("the execution's printable flag is {0:#04x}, neither 'Y' nor 'N'")]
    Printable(u8),
    /// The time is past the day's end.
    #[error("the message's time, {0} ns after midnight, is past the day's end")]
    Time(u64),
}

/// A stock's symbol, padded with blanks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Symbol(pub [u8; 8]);

impl Symbol {
    /// Without the blanks.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.trim_ascii_end()
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_bytes().escape_ascii())
    }
}

impl fmt::Debug for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Symbol({self})")
    }
}

/// The side of the book on which an order rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum BookSide {
    /// It buys.
    Bid,
    /// It sells.
    Ask,
}

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// The stock's number on this day; 0 where the message is about none. 0 for [`Body::Unknown`].
    pub locate: u16,
    /// Nasdaq's internal number. 0 for [`Body::Unknown`].
    pub tracking: u16,
    /// Nanoseconds since midnight. 0 for [`Body::Unknown`].
    pub time_ns: u64,
    /// What it says.
    pub body: Body,
}

/// What a message says. Single letters are as they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Body {
    /// `S`. `O` messages begin, `S` system hours, `Q` market hours; `M` market hours are over, `E` system hours,
    /// `C` messages.
    System { code: u8 },
    /// `R`. A stock and its number.
    Directory { symbol: Symbol, market_category: u8, round_lot: u32, is_test: bool },
    /// `H`. `H` halted, `P` paused, `Q` quotation only, `T` trading.
    Status { symbol: Symbol, state: u8, reason: [u8; 4] },
    /// `A` and `F`. A new order; `F` names the market participant.
    Add {
        reference: u64,
        side: BookSide,
        shares: u32,
        symbol: Symbol,
        price: u32,
        participant: Option<[u8; 4]>,
    },
    /// `E`. An order traded at its own price.
    Executed { reference: u64, shares: u32, match_number: u64 },
    /// `C`. An order traded at another price. What is not printable is reported once more, as part of a cross.
    ExecutedAt { reference: u64, shares: u32, match_number: u64, printable: bool, price: u32 },
    /// `X`. So many shares of an order were withdrawn.
    Cancel { reference: u64, shares: u32 },
    /// `D`. All of an order was withdrawn.
    Delete { reference: u64 },
    /// `U`. An order took the place of another one, on the same side of the same stock.
    Replace { reference: u64, new_reference: u64, shares: u32, price: u32 },
    /// `P`. An order that was not displayed traded. Its side has been `B` for all since 2014-07-14, whatever it was,
    /// and its reference 0 since 2010-12-06.
    Trade { reference: u64, side: BookSide, shares: u32, symbol: Symbol, price: u32, match_number: u64 },
    /// `Q`. An auction: `O` opening, `C` closing, `H` after a halt or for an IPO.
    Cross { shares: u64, symbol: Symbol, price: u32, match_number: u64, kind: u8 },
    /// `B`. The trade with this number is void.
    Broken { match_number: u64 },
    /// A type that says nothing about trades or orders: `Y L V W K J h I N O`.
    Other { kind: u8 },
    /// A type that ITCH 5.0 did not have when this was written.
    Unknown { kind: u8 },
}

/// The length of each type.
const fn length(kind: u8) -> Option<usize> {
    Some(match kind {
        b'S' | b'W' => 12,
        b'D' | b'B' => 19,
        b'Y' | b'N' => 20,
        b'h' => 21,
        b'X' => 23,
        b'H' => 25,
        b'L' => 26,
        b'K' => 28,
        b'E' => 31,
        b'V' | b'J' | b'U' => 35,
        b'A' | b'C' => 36,
        b'R' => 39,
        b'F' | b'Q' => 40,
        b'P' => 44,
        b'O' => 48,
        b'I' => 50,
        _ => return None,
    })
}

/// Reads a message.
pub fn decode(message: &[u8]) -> Result<Message, ItchError> {
    let Some(&kind) = message.first() else { return Err(ItchError::Empty) };
    let Some(expected) = length(kind) else {
        return Ok(Message { locate: 0, tracking: 0, time_ns: 0, body: Body::Unknown { kind } });
    };
    let wrong_length = ItchError::Length { kind: kind.into(), len: message.len(), expected };
    if message.len() != expected {
        return Err(wrong_length);
    }
    let mut fields = Fields { rest: &message[1..], wrong_length };
    let (locate, tracking) = (fields.u16()?, fields.u16()?);
    let time_ns = fields.time()?;
    Ok(Message { locate, tracking, time_ns, body: body(kind, &mut fields)? })
}

fn body(kind: u8, fields: &mut Fields<'_>) -> Result<Body, ItchError> {
    // Fields are evaluated in the order in which they are written, which is the message's.
    Ok(match kind {
        b'S' => Body::System { code: fields.u8()? },
        b'R' => {
            let (symbol, market_category, _financial_status) = (fields.symbol()?, fields.u8()?, fields.u8()?);
            let (round_lot, _lots_only, _class, _subtype) =
                (fields.u32()?, fields.u8()?, fields.u8()?, fields.u16()?);
            Body::Directory { symbol, market_category, round_lot, is_test: fields.u8()? == b'T' }
        }
        b'H' => {
            let (symbol, state, _reserved) = (fields.symbol()?, fields.u8()?, fields.u8()?);
            Body::Status { symbol, state, reason: fields.bytes()? }
        }
        b'A' | b'F' => Body::Add {
            reference: fields.u64()?,
            side: fields.side()?,
            shares: fields.u32()?,
            symbol: fields.symbol()?,
            price: fields.u32()?,
            participant: if kind == b'F' { Some(fields.bytes()?) } else { None },
        },
        b'E' => {
            Body::Executed { reference: fields.u64()?, shares: fields.u32()?, match_number: fields.u64()? }
        }
        b'C' => Body::ExecutedAt {
            reference: fields.u64()?,
            shares: fields.u32()?,
            match_number: fields.u64()?,
            printable: fields.printable()?,
            price: fields.u32()?,
        },
        b'X' => Body::Cancel { reference: fields.u64()?, shares: fields.u32()? },
        b'D' => Body::Delete { reference: fields.u64()? },
        b'U' => Body::Replace {
            reference: fields.u64()?,
            new_reference: fields.u64()?,
            shares: fields.u32()?,
            price: fields.u32()?,
        },
        b'P' => Body::Trade {
            reference: fields.u64()?,
            side: fields.side()?,
            shares: fields.u32()?,
            symbol: fields.symbol()?,
            price: fields.u32()?,
            match_number: fields.u64()?,
        },
        b'Q' => Body::Cross {
            shares: fields.u64()?,
            symbol: fields.symbol()?,
            price: fields.u32()?,
            match_number: fields.u64()?,
            kind: fields.u8()?,
        },
        b'B' => Body::Broken { match_number: fields.u64()? },
        kind => Body::Other { kind },
    })
}

/// What is left of a message.
struct Fields<'a> {
    rest: &'a [u8],
    /// Cannot happen, since lengths are compared before.
    wrong_length: ItchError,
}

impl Fields<'_> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], ItchError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(self.wrong_length)?;
        self.rest = rest;
        Ok(*bytes)
    }

    fn u8(&mut self) -> Result<u8, ItchError> {
        self.bytes().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Result<u16, ItchError> {
        self.bytes().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, ItchError> {
        self.bytes().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, ItchError> {
        self.bytes().map(u64::from_be_bytes)
    }

    fn time(&mut self) -> Result<u64, ItchError> {
        let [a, b, c, d, e, f] = self.bytes()?;
        let time_ns = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        if time_ns < DAY_NS { Ok(time_ns) } else { Err(ItchError::Time(time_ns)) }
    }

    fn symbol(&mut self) -> Result<Symbol, ItchError> {
        self.bytes().map(Symbol)
    }

    fn side(&mut self) -> Result<BookSide, ItchError> {
        match self.u8()? {
            b'B' => Ok(BookSide::Bid),
            b'S' => Ok(BookSide::Ask),
            other => Err(ItchError::Side(other)),
        }
    }

    fn printable(&mut self) -> Result<bool, ItchError> {
        match self.u8()? {
            b'Y' => Ok(true),
            b'N' => Ok(false),
            other => Err(ItchError::Printable(other)),
        }
    }
}
