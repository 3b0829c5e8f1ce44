//! What venues say, in one vocabulary: a frame of any venue is read into [`Message`]s.
//!
//! Messages borrow from their frame, so reading one does not allocate. Numbers are in units of the instrument's
//! digits. Which venue says what in which words is known to the venue's own file alone.

use crate::decimal::DecimalError;
use crate::json::{JsonError, Span};
use crate::{Instrument, InstrumentId, Ohlc, Quote, Timeframe, Trade};

/// What a frame says, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    /// A trade, or several at one price that the venue reports as one.
    Trade {
        /// Of what.
        instrument: InstrumentId,
        /// When the venue sent it.
        event_ms: i64,
        /// The trade.
        trade: Trade,
        /// It happened before the subscription: the venue tells it so that we know where its numbers stand. It
        /// belongs into its candle, but is no news.
        is_past: bool,
    },
    /// The best bid and ask.
    Quote {
        /// Of what.
        instrument: InstrumentId,
        /// The number of the book's update; 0 where the venue gives none.
        update_id: u64,
        /// When the venue sent it, where it says so.
        event_ms: Option<i64>,
        /// Bid and ask.
        quote: Quote,
    },
    /// The venue's own candle.
    Kline {
        /// Of what.
        instrument: InstrumentId,
        /// When the venue sent it.
        event_ms: i64,
        /// The candle.
        kline: Kline,
    },
    /// The whole book, or what changed in it.
    Book {
        /// Of what.
        instrument: InstrumentId,
        /// When the venue sent it, where it says so.
        event_ms: Option<i64>,
        /// The change.
        change: BookChange<'a>,
    },
    /// The best levels of the book as the venue itself has them: to be compared with ours, not to be applied.
    BookTop {
        /// Of what.
        instrument: InstrumentId,
        /// The number of the last update in it.
        update_id: u64,
        /// The levels, best first on each side.
        levels: Levels<'a>,
    },
    /// The connection or an instrument's streams live, though nothing happens.
    Alive {
        /// Of what; of the whole connection without it.
        instrument: Option<InstrumentId>,
        /// The venue's time, where it says so.
        event_ms: Option<i64>,
        /// The number of the instrument's last trade, where it says so: one that we do not have was lost.
        last_trade_id: Option<u64>,
    },
    /// A trade happened whose price or quantity is not known: its bar is not whole without it.
    TradeMissed {
        /// Of what.
        instrument: InstrumentId,
        /// When.
        event_ms: i64,
    },
    /// A book cannot be told any more, until it comes anew.
    BookLost {
        /// Of what.
        instrument: InstrumentId,
    },
    /// This frame's place in the numbering of all frames of the connection. Comes before what the frame says.
    Numbered(u64),
    /// A request of ours was carried out.
    Acknowledged,
    /// A request of ours was refused, for the reason in this JSON text.
    Refused(&'a [u8]),
    /// The server is about to close the connection.
    ServerShutdown,
    /// A known kind of message about an instrument that is not in the table.
    UnknownSymbol(&'a [u8]),
    /// A kind of message that is not known here.
    Unknown,
}

/// The venue's own candle. Its quote volumes are not read, since venues cut them off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kline {
    /// Its length.
    pub timeframe: Timeframe,
    /// Where it begins.
    pub open_ms: i64,
    /// Whether this is its last word. Venues that never say so send `false` for all: there, the last one before a
    /// later one is.
    pub closed: bool,
    /// Prices.
    pub ohlc: Ohlc,
    /// Sum of quantities.
    pub volume: i64,
    /// The part of it whose taker bought, where the venue says so.
    pub taker_buy_volume: Option<i64>,
    /// Number of trades, where the venue says so.
    pub trades: Option<u64>,
    /// Number of the first trade, where there is one and the venue says so.
    pub first_id: Option<u64>,
    /// Number of the last one.
    pub last_id: Option<u64>,
}

/// A side of the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BookSide {
    /// Who wants to buy.
    Bid,
    /// Who wants to sell.
    Ask,
}

/// A price level: the whole quantity at a price, zero if the level is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Level {
    /// Price, in price digits.
    pub price: i64,
    /// Quantity, in quantity digits.
    pub qty: i64,
    /// How many decimals the venue printed of the price and the quantity: checksums are made of that text.
    pub printed: [u8; 2],
}

/// The book, or what changed in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BookChange<'a> {
    /// It is the whole book: what was known before is void.
    pub is_snapshot: bool,
    /// The numbers of the first and last update in it, where the venue numbers them.
    pub ids: Option<(u64, u64)>,
    /// The venue's checksum of its book after this change.
    pub checksum: Option<u32>,
    /// The levels.
    pub levels: Levels<'a>,
}

/// Decimal places of an instrument's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// Of its prices.
    pub price_digits: u8,
    /// Of its quantities.
    pub qty_digits: u8,
}

impl Scale {
    /// The scale of an instrument.
    pub fn of(instrument: &Instrument) -> Self {
        Self { price_digits: instrument.price_digits, qty_digits: instrument.qty_digits }
    }
}

/// Reads a venue's text of levels and calls back with each. `side` is whose levels the text holds, for venues that do
/// not say it at each level.
pub type ReadLevels = fn(
    text: &[u8],
    side: BookSide,
    scale: Scale,
    level: &mut dyn FnMut(BookSide, Level),
) -> Result<(), DecodeError>;

/// Price levels, as text that was checked to hold nothing else, or a single one.
#[derive(Debug, Clone, Copy)]
pub struct Levels<'a>(Source<'a>);

#[derive(Debug, Clone, Copy)]
enum Source<'a> {
    Text { bids: &'a [u8], asks: &'a [u8], scale: Scale, read: ReadLevels },
    One(BookSide, Level),
    Read(&'a [(BookSide, Level)]),
}

impl<'a> Levels<'a> {
    /// The levels in two texts, either of which may be empty. Both have gone through [`check_levels`].
    pub(crate) fn checked(bids: &'a [u8], asks: &'a [u8], scale: Scale, read: ReadLevels) -> Self {
        Self(Source::Text { bids, asks, scale, read })
    }

    /// Levels that were read already.
    pub(crate) fn of(levels: &'a [(BookSide, Level)]) -> Self {
        Self(Source::Read(levels))
    }

    /// One level.
    pub fn one(side: BookSide, level: Level) -> Self {
        Self(Source::One(side, level))
    }

    /// Calls `level` with each, in the order of the message, bids first where the venue keeps them apart.
    pub fn for_each(&self, mut level: impl FnMut(BookSide, Level)) {
        let checked = self.read(&mut level);
        debug_assert!(checked.is_ok(), "levels are checked when they are decoded");
    }

    fn read(&self, level: &mut dyn FnMut(BookSide, Level)) -> Result<(), DecodeError> {
        match self.0 {
            Source::One(side, one) => level(side, one),
            Source::Read(levels) => levels.iter().for_each(|(side, one)| level(*side, *one)),
            Source::Text { bids, asks, scale, read } => {
                for (text, side) in [(bids, BookSide::Bid), (asks, BookSide::Ask)] {
                    if !text.is_empty() {
                        read(text, side, scale, level)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Checks the levels at `span` of a frame.
pub(crate) fn check_levels(
    frame: &[u8],
    span: Span,
    scale: Scale,
    read: ReadLevels,
) -> Result<(), DecodeError> {
    read(span.of(frame), BookSide::Bid, scale, &mut |_, _| {}).map_err(|error| error.shifted(span.start))
}

impl PartialEq for Levels<'_> {
    /// Equal if they hold the same levels in the same order.
    fn eq(&self, other: &Self) -> bool {
        let list = |levels: &Self| {
            let mut list = Vec::new();
            levels.for_each(|side, level| list.push((side, level)));
            list
        };
        list(self) == list(other)
    }
}

impl Eq for Levels<'_> {}

/// Where and why a frame is not what it claims to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not the JSON that was expected.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A number that the instrument cannot hold.
    #[error("byte {offset}: {reason}")]
    Number {
        /// Offset of its first byte.
        offset: usize,
        /// What is wrong with it.
        reason: DecimalError,
    },
    /// A field is missing or senseless.
    #[error("byte {offset}: {what}")]
    Field {
        /// Offset of the field, or of the message's end if it is missing.
        offset: usize,
        /// What is wrong.
        what: &'static str,
    },
}

impl DecodeError {
    /// Offset of the byte where reading stopped.
    pub fn offset(&self) -> usize {
        match *self {
            Self::Json(JsonError { offset, .. })
            | Self::Number { offset, .. }
            | Self::Field { offset, .. } => offset,
        }
    }

    /// The same error in a text that begins `by` bytes earlier.
    pub(crate) fn shifted(mut self, by: usize) -> Self {
        match &mut self {
            Self::Json(JsonError { offset, .. })
            | Self::Number { offset, .. }
            | Self::Field { offset, .. } => *offset += by,
        }
        self
    }
}

/// Times from the year 2100 on are refused. They would be a unit error, as microseconds for milliseconds, or a wrong
/// year that would push all candles out of memory.
pub(crate) const MAX_TIME_MS: u64 = 4_102_444_799_999;

/// The product of a trade's price and quantity is below this, so that the sum of 2^31 trades fits in an `i128`.
pub(crate) const MAX_TRADE_VALUE: i128 = 1 << 96;

/// What is wrong with a trade's numbers, if anything is.
pub(crate) fn trade_fault(trade: &Trade) -> Option<&'static str> {
    if trade.last_id < trade.first_id || trade.last_id == u64::MAX {
        Some("the trade ids are out of order")
    } else if trade.price <= 0 || trade.qty <= 0 {
        Some("a trade has a price and a quantity above zero")
    } else if i128::from(trade.price) * i128::from(trade.qty) >= MAX_TRADE_VALUE {
        Some("price times quantity is beyond any market")
    } else {
        None
    }
}
