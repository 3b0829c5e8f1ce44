//! Kraken spot, WebSocket version 2: the messages of its public channels.
//!
//! Source of the format: Kraken, "Spot WebSocket v2". Numbers are bare, and their text matters: the checksum of the
//! book is made of it, so a level keeps how many decimals were printed. A frame is checked to be JSON as a whole
//! before anything in it is told.

mod checksum;
mod rest;
mod session;

pub use checksum::checksum;
pub use session::Kraken;

use crate::json::{Scanner, Span};
use crate::message::{BookChange, BookSide, DecodeError, Kline, Level, Levels, Message, Scale, check_levels};
use crate::protocol::Decoder;
use crate::wire::{self, Object, Row, Trades};
use crate::{Instrument, InstrumentId, Instruments, Ohlc, Quote, Side, Timeframe, Trade, decimal};

/// Reads the frames of a feed.
#[derive(Debug, Default)]
pub struct KrakenDecoder {
    trades: Trades,
}

/// Where the fields of a frame stand.
#[derive(Default)]
struct Outer {
    channel: Option<Span>,
    kind: Option<Span>,
    data: Option<Span>,
    timestamp: Option<Span>,
    method: Option<Span>,
    success: Option<Span>,
    error: Option<Span>,
}

impl Decoder for KrakenDecoder {
    fn decode<'f>(
        &'f mut self,
        frame: &'f [u8],
        instruments: &Instruments,
        take: &mut dyn FnMut(Message<'f>),
    ) -> Result<(), DecodeError> {
        let mut scanner = Scanner::new(frame);
        if wire::is_list(&mut scanner)? {
            take(Message::Unknown);
            return Ok(());
        }
        let mut outer = Outer::default();
        let end = wire::members(&mut scanner, |key, value| match key {
            b"channel" => outer.channel = Some(value),
            b"type" => outer.kind = Some(value),
            b"data" => outer.data = Some(value),
            b"timestamp" => outer.timestamp = Some(value),
            b"method" => outer.method = Some(value),
            b"success" => outer.success = Some(value),
            b"error" => outer.error = Some(value),
            _ => {}
        })?;
        scanner.finish()?;
        let mut reader = Reader { frame: Object { frame, end }, outer, instruments, take };
        reader.messages(&mut self.trades)
    }
}

/// Makes messages of a frame whose fields were found.
struct Reader<'f, 't, 'c> {
    frame: Object<'f>,
    outer: Outer,
    instruments: &'t Instruments,
    take: &'c mut dyn FnMut(Message<'f>),
}

impl<'f> Reader<'f, '_, '_> {
    fn messages(&mut self, trades: &mut Trades) -> Result<(), DecodeError> {
        let text = self.frame.frame;
        let Some(channel) = self.outer.channel else {
            let answer = self.answer();
            (self.take)(answer);
            return Ok(());
        };
        match channel.of(text) {
            b"trade" => {
                let result = self.each(|reader, element| reader.trade(element, trades));
                trades.tell(self.take);
                result
            }
            b"book" => self.each(Self::book),
            b"ticker" => self.each(Self::quote),
            b"ohlc" => self.klines(),
            b"heartbeat" | b"status" => {
                (self.take)(Message::Alive { instrument: None, event_ms: None, last_trade_id: None });
                Ok(())
            }
            _ => {
                (self.take)(Message::Unknown);
                Ok(())
            }
        }
    }

    /// What is said to a request of ours.
    fn answer(&self) -> Message<'f> {
        let text = self.frame.frame;
        let is = |span: Option<Span>, word: &[u8]| span.is_some_and(|span| span.of(text) == word);
        match self.outer.error {
            Some(error) => Message::Refused(error.of(text)),
            None if is(self.outer.success, b"false") => Message::Refused(text),
            None if is(self.outer.method, b"pong") => {
                Message::Alive { instrument: None, event_ms: None, last_trade_id: None }
            }
            None if is(self.outer.success, b"true") => Message::Acknowledged,
            None => Message::Unknown,
        }
    }

    /// Reads each element of the data.
    fn each(
        &mut self,
        mut element: impl FnMut(&mut Self, &mut Scanner<'f>) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let data = self.frame.required(self.outer.data, "the data are missing")?;
        wire::elements(self.frame.frame, Some(data), |scanner| element(self, scanner))
    }

    fn is_snapshot(&self) -> Result<bool, DecodeError> {
        match self.frame.text(self.outer.kind, "the type is missing")? {
            b"snapshot" => Ok(true),
            b"update" => Ok(false),
            _ => Err(self.frame.fault(self.outer.kind, "the type is neither snapshot nor update")),
        }
    }

    /// The instrument of an element, unless it is not in the table, which is told.
    fn instrument(
        &mut self,
        object: Object<'f>,
        symbol: Option<Span>,
    ) -> Result<Option<(InstrumentId, Scale)>, DecodeError> {
        let symbol = object.text(symbol, "the symbol is missing")?;
        let found = wire::find(self.instruments, symbol);
        if found.is_none() {
            (self.take)(Message::UnknownSymbol(symbol));
        }
        Ok(found.map(|(id, instrument): (_, &Instrument)| (id, Scale::of(instrument))))
    }

    fn trade(&mut self, scanner: &mut Scanner<'f>, trades: &mut Trades) -> Result<(), DecodeError> {
        let [mut symbol, mut side, mut price, mut qty, mut id, mut time] = [None; 6];
        let end = wire::members(scanner, |key, value| match key {
            b"symbol" => symbol = Some(value),
            b"side" => side = Some(value),
            b"price" => price = Some(value),
            b"qty" => qty = Some(value),
            b"trade_id" => id = Some(value),
            b"timestamp" => time = Some(value),
            _ => {}
        })?;
        let object = Object { frame: self.frame.frame, end };
        let Some((instrument, scale)) = self.instrument(object, symbol)? else { return Ok(()) };
        let taker = match object.text(side, "the side is missing")? {
            b"buy" => Side::Buy,
            b"sell" => Side::Sell,
            _ => return Err(object.fault(side, "the side is neither buy nor sell")),
        };
        let number = object.unsigned(id, "the trade_id is missing")?;
        let time_ms = object.time(time, "the timestamp is missing")?;
        let trade = Trade {
            first_id: number,
            last_id: number,
            time_ms,
            price: object.decimal(price, scale.price_digits, "the price is missing")?,
            qty: object.decimal(qty, scale.qty_digits, "the qty is missing")?,
            taker,
        };
        let trade = object.checked(trade, id, price)?;
        let row = Row { instrument, event_ms: time_ms, trade, is_past: self.is_snapshot()? };
        trades.push(row, self.take);
        Ok(())
    }

    fn book(&mut self, scanner: &mut Scanner<'f>) -> Result<(), DecodeError> {
        let [mut symbol, mut bids, mut asks, mut checksum, mut time] = [None; 5];
        let end = wire::members(scanner, |key, value| match key {
            b"symbol" => symbol = Some(value),
            b"bids" => bids = Some(value),
            b"asks" => asks = Some(value),
            b"checksum" => checksum = Some(value),
            b"timestamp" => time = Some(value),
            _ => {}
        })?;
        let object = Object { frame: self.frame.frame, end };
        let Some((instrument, scale)) = self.instrument(object, symbol)? else { return Ok(()) };
        let bids = object.required(bids, "the bids are missing")?;
        let asks = object.required(asks, "the asks are missing")?;
        for span in [bids, asks] {
            check_levels(object.frame, span, scale, read_levels)?;
        }
        let number = object.unsigned(checksum, "the checksum is missing")?;
        let checksum = u32::try_from(number)
            .map_err(|_| object.fault(checksum, "the checksum has more than 32 bits"))?;
        let change = BookChange {
            is_snapshot: self.is_snapshot()?,
            ids: None,
            checksum: Some(checksum),
            levels: Levels::checked(bids.of(object.frame), asks.of(object.frame), scale, read_levels),
        };
        (self.take)(Message::Book { instrument, event_ms: object.time_or_none(time)?, change });
        Ok(())
    }

    fn quote(&mut self, scanner: &mut Scanner<'f>) -> Result<(), DecodeError> {
        let [mut symbol, mut bid, mut bid_qty, mut ask, mut ask_qty, mut time] = [None; 6];
        let end = wire::members(scanner, |key, value| match key {
            b"symbol" => symbol = Some(value),
            b"bid" => bid = Some(value),
            b"bid_qty" => bid_qty = Some(value),
            b"ask" => ask = Some(value),
            b"ask_qty" => ask_qty = Some(value),
            b"timestamp" => time = Some(value),
            _ => {}
        })?;
        let object = Object { frame: self.frame.frame, end };
        let Some((instrument, scale)) = self.instrument(object, symbol)? else { return Ok(()) };
        let quote = Quote {
            bid_price: object.decimal(bid, scale.price_digits, "the bid is missing")?,
            bid_qty: object.decimal(bid_qty, scale.qty_digits, "the bid_qty is missing")?,
            ask_price: object.decimal(ask, scale.price_digits, "the ask is missing")?,
            ask_qty: object.decimal(ask_qty, scale.qty_digits, "the ask_qty is missing")?,
        };
        let event_ms = object.time_or_none(time)?;
        (self.take)(Message::Quote { instrument, update_id: 0, event_ms, quote });
        Ok(())
    }

    /// Kraken does not say that a candle is closed, but one that a later one follows in the same frame is.
    fn klines(&mut self) -> Result<(), DecodeError> {
        let event_ms = self.frame.time_or_none(self.outer.timestamp)?;
        let mut held: Option<(InstrumentId, Kline)> = None;
        let mut tell = |reader: &mut Self, next: Option<(InstrumentId, Kline)>| {
            if let Some((instrument, mut kline)) = held.take() {
                kline.closed = next.is_some_and(|(other, later)| {
                    (other, later.timeframe) == (instrument, kline.timeframe) && later.open_ms > kline.open_ms
                });
                let event_ms = event_ms.unwrap_or(kline.open_ms);
                (reader.take)(Message::Kline { instrument, event_ms, kline });
            }
            held = next;
        };
        let result = self.each(|reader, scanner| {
            let next = reader.kline(scanner)?;
            if next.is_some() {
                tell(reader, next);
            }
            Ok(())
        });
        tell(self, None);
        result
    }

    /// A candle of a known instrument, if its length is one of ours and it begins where ours do.
    fn kline(&mut self, scanner: &mut Scanner<'f>) -> Result<Option<(InstrumentId, Kline)>, DecodeError> {
        let [mut symbol, mut open, mut high, mut low, mut close] = [None; 5];
        let [mut volume, mut trades, mut begin, mut interval] = [None; 4];
        let end = wire::members(scanner, |key, value| match key {
            b"symbol" => symbol = Some(value),
            b"open" => open = Some(value),
            b"high" => high = Some(value),
            b"low" => low = Some(value),
            b"close" => close = Some(value),
            b"volume" => volume = Some(value),
            b"trades" => trades = Some(value),
            b"interval_begin" => begin = Some(value),
            b"interval" => interval = Some(value),
            _ => {}
        })?;
        let object = Object { frame: self.frame.frame, end };
        let Some((instrument, scale)) = self.instrument(object, symbol)? else { return Ok(None) };
        let minutes = object.unsigned(interval, "the interval is missing")?;
        let open_ms = object.time(begin, "the interval_begin is missing")?;
        let price = |span, what| object.decimal(span, scale.price_digits, what);
        let ohlc = Ohlc {
            open: price(open, "the open is missing")?,
            high: price(high, "the high is missing")?,
            low: price(low, "the low is missing")?,
            close: price(close, "the close is missing")?,
        };
        let volume = object.decimal(volume, scale.qty_digits, "the volume is missing")?;
        let trades = object.unsigned(trades, "the number of trades is missing")?;
        let Some(timeframe) = timeframe_of(minutes).filter(|ours| ours.open_ms(open_ms) == open_ms) else {
            (self.take)(Message::Unknown);
            return Ok(None);
        };
        let kline = Kline {
            timeframe,
            open_ms,
            closed: false,
            ohlc,
            volume,
            taker_buy_volume: None,
            trades: Some(trades),
            first_id: None,
            last_id: None,
        };
        Ok(Some((instrument, kline)))
    }
}

fn timeframe_of(minutes: u64) -> Option<Timeframe> {
    let len_ms = i64::try_from(minutes).ok()?.checked_mul(60_000)?;
    Timeframe::ALL.into_iter().find(|timeframe| timeframe.len_ms() == Some(len_ms))
}

/// Reads `[{"price":1.50,"qty":0.10000000},…]`.
fn read_levels(
    text: &[u8],
    side: BookSide,
    scale: Scale,
    level: &mut dyn FnMut(BookSide, Level),
) -> Result<(), DecodeError> {
    Scanner::new(text).array(|scanner| {
        let (mut price, mut qty) = (None, None);
        let end = wire::members(scanner, |key, value| match key {
            b"price" => price = Some(value),
            b"qty" => qty = Some(value),
            _ => {}
        })?;
        let object = Object { frame: text, end };
        let number = |span: Option<Span>, digits, missing| {
            let value = object.decimal(span, digits, missing)?;
            Ok::<_, DecodeError>((value, printed(object.text(span, missing)?, digits)))
        };
        let (price, price_printed) = number(price, scale.price_digits, "the price of a level is missing")?;
        let (qty, qty_printed) = number(qty, scale.qty_digits, "the qty of a level is missing")?;
        level(side, Level { price, qty, printed: [price_printed, qty_printed] });
        Ok(())
    })
}

/// How many decimals a number is printed with. One with an exponent counts as printed in full.
fn printed(text: &[u8], digits: u8) -> u8 {
    if text.iter().any(|byte| matches!(byte, b'e' | b'E')) {
        return digits;
    }
    let decimals = text.iter().position(|byte| *byte == b'.').map_or(0, |point| text.len() - point - 1);
    u8::try_from(decimals).unwrap_or(u8::MAX)
}

// The scale's bounds are what `printed` relies on.
const _: () = assert!(decimal::MAX_DIGITS < u8::MAX);
