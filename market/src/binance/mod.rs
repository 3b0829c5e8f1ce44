//! Binance spot: the messages of its market-data streams, combined or raw, and its REST depth snapshot.
//!
//! Source of the format: Binance, "Web Socket Streams for Binance". One frame in, one [`Message`] out, without
//! allocation. A frame of a kind that is not known here is [`Message::Unknown`], since venues add kinds at any
//! time; a frame that is not what it claims to be is an error that names the byte.

mod exact;
mod session;

pub use session::Binance;

use crate::decimal;
use crate::json::{JsonError, Scanner, Span};
use crate::message::{
    BookChange, BookSide, DecodeError, Kline, Level, Levels, MAX_TIME_MS, Message, Scale, check_levels,
    trade_fault,
};
use crate::protocol::Decoder;
use crate::wire::{self, read_levels};
use crate::{InstrumentId, Instruments, MAX_SYMBOL_BYTES, Ohlc, Quote, Side, Timeframe, Trade};

/// Changes of more levels than this are read the long way. The largest recorded one has 440.
const LEVELS: usize = 4_096;

/// Reads the frames of a feed.
#[derive(Debug)]
pub struct BinanceDecoder {
    /// The levels of the change in hand.
    levels: Vec<(BookSide, Level)>,
}

impl Default for BinanceDecoder {
    fn default() -> Self {
        Self { levels: Vec::with_capacity(LEVELS) }
    }
}

impl Decoder for BinanceDecoder {
    fn decode<'f>(
        &'f mut self,
        frame: &'f [u8],
        instruments: &Instruments,
        take: &mut dyn FnMut(Message<'f>),
    ) -> Result<(), DecodeError> {
        if let Some(message) = exact::read(frame, instruments) {
            take(message);
        } else if let Some(message) = exact::read_change(frame, instruments, &mut self.levels) {
            take(message);
        } else {
            take(read_generally(frame, instruments)?);
        }
        Ok(())
    }
}

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
    if wire::is_list(&mut scanner)? {
        return Ok(Message::Unknown);
    }
    read_fields(&mut scanner, &mut fields, Place::Outer)?;
    scanner.finish()?;
    Reader { frame, instruments, fields }.message()
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
    stream: Option<Span>,
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
            b"stream" => &mut self.stream,
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
struct Reader<'a, 't> {
    frame: &'a [u8],
    instruments: &'t Instruments,
    fields: Fields,
}

impl<'a> Reader<'a, '_> {
    fn message(&self) -> Result<Message<'a>, DecodeError> {
        let fields = &self.fields;
        let Some(event) = fields.event else {
            // Neither book tickers nor snapshots nor answers name their kind.
            return match fields {
                Fields { last_update_id: Some(id), .. } => self.whole_book(*id),
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
        let taker = if maker_is_buyer { Side::Sell } else { Side::Buy };
        let time_ms = self.time(fields.time_ms)?;
        let trade = Trade { first_id, last_id, time_ms, price, qty, taker };
        if let Some(what) = trade_fault(&trade) {
            let ids = last_id < first_id || last_id == u64::MAX;
            return Err(self.field(if ids { last } else { fields.price }, what));
        }
        Ok(Message::Trade { instrument, event_ms: self.time(fields.event_ms)?, trade, is_past: false })
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
            event_ms: None,
            quote,
        })
    }

    fn depth(&self, instrument: InstrumentId, scale: Scale) -> Result<Message<'a>, DecodeError> {
        let fields = &self.fields;
        let first = self.unsigned(fields.first_update, "an update id")?;
        let last = self.unsigned(fields.last_update, "an update id")?;
        if last < first {
            return Err(self.field(fields.last_update, "the update ids are out of order"));
        }
        let change = BookChange {
            is_snapshot: false,
            ids: Some((first, last)),
            checksum: None,
            levels: self.levels(scale)?,
        };
        Ok(Message::Book { instrument, event_ms: Some(self.time(fields.event_ms)?), change })
    }

    /// A partial book of a combined stream, whose name tells the symbol; or the answer to a REST request as a
    /// recorder wrote it between the frames, which can be of the only instrument alone.
    fn whole_book(&self, id: Span) -> Result<Message<'a>, DecodeError> {
        let update_id = self.unsigned(Some(id), "an update id")?;
        let stream = self.fields.stream.map(|stream| stream.of(self.frame));
        let found = match stream {
            Some(stream) => self.instrument_of(stream),
            None => Some(InstrumentId(0)).filter(|_| self.instruments.iter().len() == 1),
        };
        let Some((instrument, entry)) = found.and_then(|id| Some((id, self.instruments.get(id)?))) else {
            // Its levels are looked at all the same, since malformed is malformed.
            self.levels(Scale { price_digits: 8, qty_digits: 8 })?;
            return Ok(stream.map_or(Message::Unknown, Message::UnknownSymbol));
        };
        let levels = self.levels(Scale::of(entry))?;
        if stream.is_some() {
            return Ok(Message::BookTop { instrument, update_id, levels });
        }
        let change =
            BookChange { is_snapshot: true, ids: Some((update_id, update_id)), checksum: None, levels };
        Ok(Message::Book { instrument, event_ms: None, change })
    }

    /// The instrument of a stream, as `btcusdt@depth20`.
    fn instrument_of(&self, stream: &[u8]) -> Option<InstrumentId> {
        let len = stream.iter().position(|byte| *byte == b'@')?;
        let mut symbol = [0; MAX_SYMBOL_BYTES];
        let symbol = symbol.get_mut(..len)?;
        symbol.copy_from_slice(&stream[..len]);
        symbol.make_ascii_uppercase();
        self.instruments.find(symbol)
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
            taker_buy_volume: Some(self.decimal(k.taker_buy_volume, scale.qty_digits, "'V' is missing")?),
            trades: Some(self.unsigned(k.trades, "the number of trades 'n' is missing")?),
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

    fn levels(&self, scale: Scale) -> Result<Levels<'a>, DecodeError> {
        let missing = "the bids or asks are missing";
        let bids = self.required(self.fields.bids, missing)?;
        let asks = self.required(self.fields.asks, missing)?;
        for span in [bids, asks] {
            check_levels(self.frame, span, scale, read_levels)?;
        }
        Ok(Levels::checked(bids.of(self.frame), asks.of(self.frame), scale, read_levels))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Instrument, Venue};
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

    const CHANGES: [&str; 2] = [
        r#"{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1723161255308,"s":"BTCUSDT","U":50093239203,"u":50093239207,"b":[["55653.87000000","0.00000000"]],"a":[["61838.04000000","0.32332000"],["61839","1"]]}}"#,
        r#"{"e":"depthUpdate","E":1723161255308,"s":"BTCUSDT","U":7,"u":7,"b":[],"a":[["1.5","0"]]}"#,
    ];

    #[test]
    fn changes_of_the_book_take_the_short_way() {
        let mut levels = Vec::with_capacity(8);
        for frame in CHANGES {
            let short = exact::read_change(frame.as_bytes(), &table(), &mut levels);
            assert_eq!(short.map(Ok), Some(read_generally(frame.as_bytes(), &table())));
        }
        let mut few = Vec::with_capacity(2);
        assert_eq!(exact::read_change(CHANGES[0].as_bytes(), &table(), &mut few), None, "three find no room");
    }

    proptest! {
        /// Whatever the short way reads of a change, the general one reads the same.
        #[test]
        fn both_ways_agree_on_changes(which in 0..CHANGES.len(), edits in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(br#"{}[]",:\ 0123456789.-tfe"#.to_vec())), 0..4), insert in any::<bool>()) {
            let mut frame = CHANGES[which].as_bytes().to_vec();
            for (at, byte) in edits {
                let at = at.index(frame.len());
                if insert { frame.insert(at, byte) } else { frame[at] = byte }
            }
            let mut levels = Vec::with_capacity(8);
            if let Some(message) = exact::read_change(&frame, &table(), &mut levels) {
                prop_assert_eq!(read_generally(&frame, &table()), Ok(message), "{}", String::from_utf8_lossy(&frame));
            }
        }

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
