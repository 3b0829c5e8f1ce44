//! Binance spot: the messages of its market-data streams, combined or raw, and its REST depth snapshot.
//!
//! Source of the format: Binance, "Web Socket Streams for Binance". One frame in, one [`Message`] out, without
//! allocation. A frame of a kind that is not known here is [`Message::Unknown`], since venues add kinds at any
//! time; a frame that is not what it claims to be is an error that names the byte.

mod exact;

use crate::decimal::{self, DecimalError};
use crate::json::{JsonError, Scanner, Span};
use crate::{Instrument, InstrumentId, Instruments, Ohlc, Quote, Side, Timeframe, Trade};

/// What a frame says. Numbers are in units of the instrument's digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    /// A trade (`trade`), or several at one price (`aggTrade`).
    Trade {
        /// Of what.
        instrument: InstrumentId,
        /// When the venue sent it.
        event_ms: i64,
        /// The trade.
        trade: Trade,
    },
    /// The best bid and ask (`bookTicker`). It carries no time.
    Quote {
        /// Of what.
        instrument: InstrumentId,
        /// The book's update number.
        update_id: u64,
        /// Bid and ask.
        quote: Quote,
    },
    /// The venue's own candle (`kline`).
    Kline {
        /// Of what.
        instrument: InstrumentId,
        /// When the venue sent it.
        event_ms: i64,
        /// The candle.
        kline: Kline,
    },
    /// Changes to the book (`depthUpdate`).
    Depth {
        /// Of what.
        instrument: InstrumentId,
        /// When the venue sent it.
        event_ms: i64,
        /// Number of the first update in it.
        first_id: u64,
        /// Number of the last one.
        last_id: u64,
        /// Changed bids.
        bids: Levels<'a>,
        /// Changed asks.
        asks: Levels<'a>,
    },
    /// The whole book, as REST gives it. It does not name its symbol.
    Snapshot {
        /// Number of the last update in it.
        last_id: u64,
        /// Bids, best first.
        bids: Levels<'a>,
        /// Asks, best first.
        asks: Levels<'a>,
    },
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

/// The venue's own candle. Its quote volumes are not read, since the venue cuts them to 8 places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kline {
    /// Its length.
    pub timeframe: Timeframe,
    /// Where it begins.
    pub open_ms: i64,
    /// Whether this is its last word.
    pub closed: bool,
    /// Prices.
    pub ohlc: Ohlc,
    /// Sum of quantities.
    pub volume: i64,
    /// The part of it whose taker bought.
    pub taker_buy_volume: i64,
    /// Number of trades.
    pub trades: u64,
    /// Number of the first trade, where there is one.
    pub first_id: Option<u64>,
    /// Number of the last one.
    pub last_id: Option<u64>,
}

/// Price levels of a book: price and the whole quantity at it, zero if the level is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Levels<'a> {
    /// The JSON array, checked to hold nothing but levels.
    text: &'a [u8],
    price_digits: u8,
    qty_digits: u8,
}

impl Levels<'_> {
    /// Calls `level` with the price and quantity of each, in the order of the message.
    pub fn for_each(&self, mut level: impl FnMut(i64, i64)) {
        let checked = read_levels(&mut Scanner::new(self.text), self.text, self.scale(), &mut level);
        debug_assert!(checked.is_ok(), "levels are checked when they are decoded");
    }

    fn scale(&self) -> Scale {
        Scale { price_digits: self.price_digits, qty_digits: self.qty_digits }
    }
}

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
}

/// Times from the year 2100 on are refused. They would be a unit error, as microseconds for milliseconds, or a wrong
/// year that would push all candles out of memory.
const MAX_TIME_MS: u64 = 4_102_444_799_999;

/// The product of a trade's price and quantity is below this, so that the sum of 2^31 trades fits in an `i128`.
const MAX_TRADE_VALUE: i128 = 1 << 96;

/// Reads one frame.
pub fn decode<'a>(frame: &'a [u8], instruments: &Instruments) -> Result<Message<'a>, DecodeError> {
    match exact::read(frame, instruments) {
        Some(message) => Ok(message),
        None => read_generally(frame, instruments),
    }
}

/// Reads one frame of any shape, and says what is wrong with it.
fn read_generally<'a>(frame: &'a [u8], instruments: &Instruments) -> Result<Message<'a>, DecodeError> {
    let mut fields = Fields::default();
    let mut scanner = Scanner::new(frame);
    if scanner.peek() == Some(b'[') {
        scanner.skip()?;
        scanner.finish()?;
        return Ok(Message::Unknown);
    }
    read_fields(&mut scanner, &mut fields, Place::Outer)?;
    scanner.finish()?;
    Decoder { frame, instruments, fields }.message()
}

/// Decimal places of the numbers to read.
#[derive(Clone, Copy)]
struct Scale {
    price_digits: u8,
    qty_digits: u8,
}

impl Scale {
    fn of(instrument: &Instrument) -> Self {
        Self { price_digits: instrument.price_digits, qty_digits: instrument.qty_digits }
    }
}

/// Which object is being read: the frame, the payload of a combined frame, or a candle inside one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Outer,
    Payload,
    Kline,
}

/// Where the fields of one message stand. One letter means different things in different messages; `b` and `a`
/// even differ in type.
#[derive(Default)]
struct Fields {
    event: Option<Span>,
    symbol: Option<Span>,
    event_ms: Option<Span>,
    time_ms: Option<Span>,
    trade_id: Option<Span>,
    price: Option<Span>,
    qty: Option<Span>,
    maker_is_buyer: Option<Span>,
    first: Option<Span>,
    last: Option<Span>,
    first_update: Option<Span>,
    last_update: Option<Span>,
    bids: Option<Span>,
    asks: Option<Span>,
    bid_qty: Option<Span>,
    ask_qty: Option<Span>,
    last_update_id: Option<Span>,
    result: Option<Span>,
    error: Option<Span>,
    kline: KlineFields,
}

#[derive(Default)]
struct KlineFields {
    open_ms: Option<Span>,
    interval: Option<Span>,
    first: Option<Span>,
    last: Option<Span>,
    open: Option<Span>,
    high: Option<Span>,
    low: Option<Span>,
    close: Option<Span>,
    volume: Option<Span>,
    trades: Option<Span>,
    closed: Option<Span>,
    taker_buy_volume: Option<Span>,
}

impl Fields {
    fn slot(&mut self, key: &[u8]) -> Option<&mut Option<Span>> {
        Some(match key {
            b"e" => &mut self.event,
            b"E" => &mut self.event_ms,
            b"s" => &mut self.symbol,
            b"T" => &mut self.time_ms,
            b"t" => &mut self.trade_id,
            b"p" => &mut self.price,
            b"q" => &mut self.qty,
            b"m" => &mut self.maker_is_buyer,
            b"f" => &mut self.first,
            b"l" => &mut self.last,
            b"U" => &mut self.first_update,
            b"u" => &mut self.last_update,
            b"b" | b"bids" => &mut self.bids,
            b"a" | b"asks" => &mut self.asks,
            b"B" => &mut self.bid_qty,
            b"A" => &mut self.ask_qty,
            b"lastUpdateId" => &mut self.last_update_id,
            b"result" => &mut self.result,
            b"error" | b"msg" => &mut self.error,
            _ => return None,
        })
    }
}

impl KlineFields {
    fn slot(&mut self, key: &[u8]) -> Option<&mut Option<Span>> {
        Some(match key {
            b"t" => &mut self.open_ms,
            b"i" => &mut self.interval,
            b"f" => &mut self.first,
            b"L" => &mut self.last,
            b"o" => &mut self.open,
            b"h" => &mut self.high,
            b"l" => &mut self.low,
            b"c" => &mut self.close,
            b"v" => &mut self.volume,
            b"n" => &mut self.trades,
            b"V" => &mut self.taker_buy_volume,
            b"x" => &mut self.closed,
            _ => return None,
        })
    }
}

fn read_fields(scanner: &mut Scanner<'_>, fields: &mut Fields, place: Place) -> Result<(), JsonError> {
    scanner.object(|scanner, key| {
        let slot = match (place, key, scanner.peek()) {
            (Place::Outer, b"data", Some(b'{')) => return read_fields(scanner, fields, Place::Payload),
            (Place::Outer | Place::Payload, b"k", Some(b'{')) => {
                return read_fields(scanner, fields, Place::Kline);
            }
            (Place::Kline, ..) => fields.kline.slot(key),
            _ => fields.slot(key),
        };
        // A string is taken without its quotes, anything else as it stands.
        let value = if scanner.peek() == Some(b'"') { scanner.string()? } else { scanner.skip()? };
        if let Some(slot) = slot {
            *slot = Some(value);
        }
        Ok(())
    })
}

/// Makes a message of the fields that were found.
struct Decoder<'a, 't> {
    frame: &'a [u8],
    instruments: &'t Instruments,
    fields: Fields,
}

impl<'a> Decoder<'a, '_> {
    fn message(&self) -> Result<Message<'a>, DecodeError> {
        let fields = &self.fields;
        let Some(event) = fields.event else {
            // Neither book tickers nor snapshots nor answers name their kind.
            return match fields {
                Fields { last_update_id: Some(id), .. } => self.snapshot(*id),
                Fields { last_update: Some(_), bid_qty: Some(_), .. } => self.with_instrument(Self::quote),
                Fields { error: Some(error), .. } => Ok(Message::Refused(error.of(self.frame))),
                Fields { result: Some(_), .. } => Ok(Message::Acknowledged),
                _ => Ok(Message::Unknown),
            };
        };
        match event.of(self.frame) {
            b"trade" => self.with_instrument(|d, i, s| d.trade(i, s, d.fields.trade_id, d.fields.trade_id)),
            b"aggTrade" => self.with_instrument(|d, i, s| d.trade(i, s, d.fields.first, d.fields.last)),
            b"depthUpdate" => self.with_instrument(Self::depth),
            b"kline" => self.with_instrument(Self::kline),
            b"serverShutdown" | b"!serverShutdown" => Ok(Message::ServerShutdown),
            _ => Ok(Message::Unknown),
        }
    }

    fn with_instrument(
        &self,
        read: impl Fn(&Self, InstrumentId, Scale) -> Result<Message<'a>, DecodeError>,
    ) -> Result<Message<'a>, DecodeError> {
        let symbol = self.required(self.fields.symbol, "the symbol 's' is missing")?.of(self.frame);
        let found = self.instruments.find(symbol).and_then(|id| Some((id, self.instruments.get(id)?)));
        match found {
            Some((id, instrument)) => read(self, id, Scale::of(instrument)),
            None => Ok(Message::UnknownSymbol(symbol)),
        }
    }

    fn trade(
        &self,
        instrument: InstrumentId,
        scale: Scale,
        first: Option<Span>,
        last: Option<Span>,
    ) -> Result<Message<'a>, DecodeError> {
        let fields = &self.fields;
        let (first_id, last_id) = (self.unsigned(first, "a trade id")?, self.unsigned(last, "a trade id")?);
        let price = self.decimal(fields.price, scale.price_digits, "the price 'p' is missing")?;
        let qty = self.decimal(fields.qty, scale.qty_digits, "the quantity 'q' is missing")?;
        let maker_is_buyer = self.boolean(fields.maker_is_buyer, "the side 'm' is missing")?;
        if last_id < first_id || last_id == u64::MAX {
            return Err(self.field(last, "the trade ids are out of order"));
        }
        if price == 0 || qty == 0 {
            return Err(self.field(fields.price, "a trade has a price and a quantity above zero"));
        }
        if i128::from(price) * i128::from(qty) >= MAX_TRADE_VALUE {
            return Err(self.field(fields.qty, "price times quantity is beyond any market"));
        }
        let taker = if maker_is_buyer { Side::Sell } else { Side::Buy };
        let time_ms = self.time(fields.time_ms)?;
        let trade = Trade { first_id, last_id, time_ms, price, qty, taker };
        Ok(Message::Trade { instrument, event_ms: self.time(fields.event_ms)?, trade })
    }

    fn quote(&self, instrument: InstrumentId, scale: Scale) -> Result<Message<'a>, DecodeError> {
        let fields = &self.fields;
        let quote = Quote {
            bid_price: self.decimal(fields.bids, scale.price_digits, "the bid 'b' is missing")?,
            bid_qty: self.decimal(fields.bid_qty, scale.qty_digits, "the bid quantity 'B' is missing")?,
            ask_price: self.decimal(fields.asks, scale.price_digits, "the ask 'a' is missing")?,
            ask_qty: self.decimal(fields.ask_qty, scale.qty_digits, "the ask quantity 'A' is missing")?,
        };
        Ok(Message::Quote {
            instrument,
            update_id: self.unsigned(fields.last_update, "an update id")?,
            quote,
        })
    }

    fn depth(&self, instrument: InstrumentId, scale: Scale) -> Result<Message<'a>, DecodeError> {
        let fields = &self.fields;
        Ok(Message::Depth {
            instrument,
            event_ms: self.time(fields.event_ms)?,
            first_id: self.unsigned(fields.first_update, "an update id")?,
            last_id: self.unsigned(fields.last_update, "an update id")?,
            bids: self.levels(fields.bids, scale)?,
            asks: self.levels(fields.asks, scale)?,
        })
    }

    fn snapshot(&self, id: Span) -> Result<Message<'a>, DecodeError> {
        // Without a symbol the scale is a guess. Eight places are what Binance prints.
        let scale = Scale { price_digits: 8, qty_digits: 8 };
        Ok(Message::Snapshot {
            last_id: self.unsigned(Some(id), "an update id")?,
            bids: self.levels(self.fields.bids, scale)?,
            asks: self.levels(self.fields.asks, scale)?,
        })
    }

    fn kline(&self, instrument: InstrumentId, scale: Scale) -> Result<Message<'a>, DecodeError> {
        let k = &self.fields.kline;
        let interval = self.required(k.interval, "the interval 'i' is missing")?;
        let timeframe = Timeframe::ALL
            .into_iter()
            .find(|timeframe| timeframe.name().as_bytes() == interval.of(self.frame))
            .ok_or(self.field(k.interval, "the interval is not a timeframe"))?;
        let price = |span, what| self.decimal(span, scale.price_digits, what);
        let kline = Kline {
            timeframe,
            open_ms: self.time(k.open_ms)?,
            closed: self.boolean(k.closed, "the flag 'x' is missing")?,
            ohlc: Ohlc {
                open: price(k.open, "the open 'o' is missing")?,
                high: price(k.high, "the high 'h' is missing")?,
                low: price(k.low, "the low 'l' is missing")?,
                close: price(k.close, "the close 'c' is missing")?,
            },
            volume: self.decimal(k.volume, scale.qty_digits, "the volume 'v' is missing")?,
            taker_buy_volume: self.decimal(k.taker_buy_volume, scale.qty_digits, "'V' is missing")?,
            trades: self.unsigned(k.trades, "the number of trades 'n' is missing")?,
            first_id: self.id_or_none(k.first)?,
            last_id: self.id_or_none(k.last)?,
        };
        Ok(Message::Kline { instrument, event_ms: self.time(self.fields.event_ms)?, kline })
    }

    /// A trade id, where -1 stands for none.
    fn id_or_none(&self, span: Option<Span>) -> Result<Option<u64>, DecodeError> {
        match span {
            Some(span) if span.of(self.frame) == b"-1" => Ok(None),
            _ => self.unsigned(span, "a trade id").map(Some),
        }
    }

    fn levels(&self, span: Option<Span>, scale: Scale) -> Result<Levels<'a>, DecodeError> {
        let span = self.required(span, "the bids or asks are missing")?;
        let text = span.of(self.frame);
        read_levels(&mut Scanner::new(text), text, scale, &mut |_, _| {})
            .map_err(|e| e.shifted(span.start))?;
        Ok(Levels { text, price_digits: scale.price_digits, qty_digits: scale.qty_digits })
    }

    fn decimal(&self, span: Option<Span>, digits: u8, missing: &'static str) -> Result<i64, DecodeError> {
        let span = self.required(span, missing)?;
        decimal::parse(span.of(self.frame), digits)
            .map_err(|reason| DecodeError::Number { offset: span.start, reason })
    }

    fn unsigned(&self, span: Option<Span>, what: &'static str) -> Result<u64, DecodeError> {
        let span = self.required(span, what)?;
        Scanner::new(span.of(self.frame)).unsigned().map_err(|e| DecodeError::from(e).shifted(span.start))
    }

    fn boolean(&self, span: Option<Span>, missing: &'static str) -> Result<bool, DecodeError> {
        let span = self.required(span, missing)?;
        Scanner::new(span.of(self.frame)).boolean().map_err(|e| DecodeError::from(e).shifted(span.start))
    }

    fn time(&self, span: Option<Span>) -> Result<i64, DecodeError> {
        match self.unsigned(span, "a time is missing")? {
            time_ms @ ..=MAX_TIME_MS => Ok(time_ms as i64),
            _ => {
                Err(self.field(span, "the time is not in milliseconds since 1970, or from the year 2100 on"))
            }
        }
    }

    fn required(&self, span: Option<Span>, missing: &'static str) -> Result<Span, DecodeError> {
        span.ok_or(self.missing(missing))
    }

    fn missing(&self, what: &'static str) -> DecodeError {
        DecodeError::Field { offset: self.frame.len(), what }
    }

    fn field(&self, span: Option<Span>, what: &'static str) -> DecodeError {
        DecodeError::Field { offset: span.map_or(self.frame.len(), |span| span.start), what }
    }
}

impl DecodeError {
    /// The same error in a text that begins `by` bytes earlier.
    fn shifted(mut self, by: usize) -> Self {
        match &mut self {
            Self::Json(JsonError { offset, .. })
            | Self::Number { offset, .. }
            | Self::Field { offset, .. } => *offset += by,
        }
        self
    }
}

/// Reads `[["price","qty"],…]`. Further elements of a level are skipped: old snapshots carry an empty array there.
fn read_levels(
    scanner: &mut Scanner<'_>,
    text: &[u8],
    scale: Scale,
    level: &mut impl FnMut(i64, i64),
) -> Result<(), DecodeError> {
    let number = |scanner: &mut Scanner<'_>, digits| {
        let span = scanner.string()?;
        decimal::parse(span.of(text), digits)
            .map_err(|reason| DecodeError::Number { offset: span.start, reason })
    };
    scanner.array(|scanner| {
        scanner.expect(b'[', "a price level")?;
        let price = number(scanner, scale.price_digits)?;
        scanner.expect(b',', "','")?;
        let qty = number(scanner, scale.qty_digits)?;
        while scanner.eat(b',') {
            scanner.skip()?;
        }
        scanner.expect(b']', "']'")?;
        level(price, qty);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Venue;
    use proptest::prelude::*;

    const FRAMES: [&str; 3] = [
        r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}"#,
        r#"{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":0,"p":"61837.63","q":"2","T":1723161255342,"m":false,"M":true}"#,
        r#"{"stream":"x","data":{"u":50093239212,"s":"BTCUSDT","b":"61837.63000000","B":"3.78826000","a":"61837.64000000","A":"1.54698000"}}"#,
    ];

    fn table() -> Instruments {
        let mut table = Instruments::default();
        table.add(Instrument::new(Venue::Binance, "BTCUSDT"));
        table
    }

    #[test]
    fn the_usual_frames_take_the_short_way() {
        for frame in FRAMES {
            assert_eq!(
                exact::read(frame.as_bytes(), &table()).map(Ok),
                Some(decode(frame.as_bytes(), &table()))
            );
            assert_eq!(read_generally(frame.as_bytes(), &table()), decode(frame.as_bytes(), &table()));
        }
    }

    proptest! {
        /// Whatever the short way reads, the general one reads the same.
        #[test]
        fn both_ways_agree(which in 0..FRAMES.len(), edits in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(br#"{}[]",:\ 0123456789.-tfe"#.to_vec())), 0..4), insert in any::<bool>()) {
            let mut frame = FRAMES[which].as_bytes().to_vec();
            for (at, byte) in edits {
                let at = at.index(frame.len());
                if insert { frame.insert(at, byte) } else { frame[at] = byte }
            }
            if let Some(message) = exact::read(&frame, &table()) {
                prop_assert_eq!(read_generally(&frame, &table()), Ok(message), "{}", String::from_utf8_lossy(&frame));
            }
        }
    }
}
