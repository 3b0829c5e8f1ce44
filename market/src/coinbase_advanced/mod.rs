//! Coinbase Advanced Trade: the messages of its public market-data channels.
//!
//! Source of the format: Coinbase, "Advanced Trade WebSocket". Frames are numbered over all channels of a connection,
//! and the number is told before what the frame says. Here the side of a trade is the taker's. A product in
//! USDC that was subscribed to comes under its name in USD, and is known by it.

mod rest;
mod session;

pub use session::CoinbaseAdvanced;

use crate::json::{Scanner, Span};
use crate::message::{BookChange, BookSide, DecodeError, Kline, Level, Levels, Message, Scale, check_levels};
use crate::protocol::Decoder;
use crate::wire::{self, Object, Row, Trades};
use crate::{Instrument, InstrumentId, Instruments, MAX_SYMBOL_BYTES, Ohlc, Quote, Side, Timeframe, Trade};

/// Reads the frames of a feed.
#[derive(Debug, Default)]
pub struct CoinbaseAdvancedDecoder {
    trades: Trades,
}

/// Where the fields of a frame stand.
#[derive(Default)]
struct Outer {
    channel: Option<Span>,
    kind: Option<Span>,
    timestamp: Option<Span>,
    number: Option<Span>,
    events: Option<Span>,
}

impl Decoder for CoinbaseAdvancedDecoder {
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
            b"timestamp" => outer.timestamp = Some(value),
            b"sequence_num" => outer.number = Some(value),
            b"events" => outer.events = Some(value),
            _ => {}
        })?;
        scanner.finish()?;
        let object = Object { frame, end };
        if outer.number.is_some() {
            take(Message::Numbered(object.unsigned(outer.number, "")?));
        }
        let event_ms = object.time_or_none(outer.timestamp)?;
        Reader { object, outer, event_ms, instruments, take }.messages(&mut self.trades)
    }
}

/// The instrument of a product. One in USDC, as BTC-USDC, is told of as BTC-USD; where both are in the table, all goes
/// to the one in USD, whose book it is.
fn find<'t>(instruments: &'t Instruments, product: &[u8]) -> Option<(InstrumentId, &'t Instrument)> {
    wire::find(instruments, product).or_else(|| {
        let mut alias = [0; MAX_SYMBOL_BYTES];
        let alias = alias.get_mut(..=product.len()).filter(|_| product.ends_with(b"-USD"))?;
        alias[..product.len()].copy_from_slice(product);
        alias[product.len()] = b'C';
        wire::find(instruments, alias)
    })
}

/// Makes messages of a frame whose fields were found.
struct Reader<'f, 't, 'c> {
    object: Object<'f>,
    outer: Outer,
    event_ms: Option<i64>,
    instruments: &'t Instruments,
    take: &'c mut dyn FnMut(Message<'f>),
}

/// Where the fields of an event stand.
#[derive(Default)]
struct Event {
    kind: Option<Span>,
    product: Option<Span>,
    /// Trades, updates of the book, tickers or candles.
    list: Option<Span>,
    end: usize,
}

impl<'f> Reader<'f, '_, '_> {
    fn messages(&mut self, trades: &mut Trades) -> Result<(), DecodeError> {
        let frame = self.object.frame;
        let message = match self.outer.channel.map(|channel| channel.of(frame)) {
            Some(b"market_trades") => {
                let result = self.each_event(b"trades", |reader, event| {
                    let is_past = reader.is_snapshot(event)?;
                    reader.each(event, "the trades are missing", |reader, element| {
                        reader.trade(element, is_past, trades)
                    })
                });
                trades.tell(self.take);
                return result;
            }
            Some(b"l2_data" | b"level2") => return self.each_event(b"updates", Self::book),
            Some(b"ticker" | b"ticker_batch") => {
                return self.each_event(b"tickers", |reader, event| {
                    reader.each(event, "the tickers are missing", Self::quote)
                });
            }
            Some(b"candles") => {
                return self.each_event(b"candles", |reader, event| {
                    reader.each(event, "the candles are missing", Self::kline)
                });
            }
            Some(b"heartbeats") => {
                Message::Alive { instrument: None, event_ms: self.event_ms, last_trade_id: None }
            }
            Some(b"subscriptions") => Message::Acknowledged,
            None if self.outer.kind.is_some_and(|kind| kind.of(frame) == b"error") => Message::Refused(frame),
            _ => Message::Unknown,
        };
        (self.take)(message);
        Ok(())
    }

    /// Reads each event; `list` is the name of what is in it.
    fn each_event(
        &mut self,
        list: &[u8],
        mut read: impl FnMut(&mut Self, &Event) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let events = self.object.required(self.outer.events, "the events are missing")?;
        wire::elements(self.object.frame, Some(events), |scanner| {
            let mut event = Event::default();
            event.end = wire::members(scanner, |key, value| match key {
                b"type" => event.kind = Some(value),
                b"product_id" => event.product = Some(value),
                _ if key == list => event.list = Some(value),
                _ => {}
            })?;
            read(self, &event)
        })
    }

    /// Reads each element of an event's list.
    fn each(
        &mut self,
        event: &Event,
        missing: &'static str,
        mut read: impl FnMut(&mut Self, &mut Scanner<'f>) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let list = self.at(event.end).required(event.list, missing)?;
        wire::elements(self.object.frame, Some(list), |scanner| read(self, scanner))
    }

    /// An object of this frame.
    fn at(&self, end: usize) -> Object<'f> {
        Object { frame: self.object.frame, end }
    }

    fn is_snapshot(&self, event: &Event) -> Result<bool, DecodeError> {
        let object = self.at(event.end);
        match object.text(event.kind, "the type is missing")? {
            b"snapshot" => Ok(true),
            b"update" => Ok(false),
            _ => Err(object.fault(event.kind, "the type is neither snapshot nor update")),
        }
    }

    /// The instrument of a product, unless it is not in the table, which is told.
    fn instrument(
        &mut self,
        object: Object<'f>,
        product: Option<Span>,
    ) -> Result<Option<(InstrumentId, Scale)>, DecodeError> {
        let product = object.text(product, "the product_id is missing")?;
        let found = find(self.instruments, product);
        if found.is_none() {
            (self.take)(Message::UnknownSymbol(product));
        }
        Ok(found.map(|(id, instrument)| (id, Scale::of(instrument))))
    }

    fn trade(
        &mut self,
        scanner: &mut Scanner<'f>,
        is_past: bool,
        trades: &mut Trades,
    ) -> Result<(), DecodeError> {
        let [mut product, mut side, mut price, mut size, mut id, mut time] = [None; 6];
        let end = wire::members(scanner, |key, value| match key {
            b"product_id" => product = Some(value),
            b"side" => side = Some(value),
            b"price" => price = Some(value),
            b"size" => size = Some(value),
            b"trade_id" => id = Some(value),
            b"time" => time = Some(value),
            _ => {}
        })?;
        let object = self.at(end);
        let Some((instrument, scale)) = self.instrument(object, product)? else { return Ok(()) };
        let taker = match object.text(side, "the side is missing")? {
            b"BUY" => Side::Buy,
            b"SELL" => Side::Sell,
            _ => return Err(object.fault(side, "the side is neither BUY nor SELL")),
        };
        let number = object.unsigned(id, "the trade_id is missing")?;
        let time_ms = object.time(time, "the time is missing")?;
        let trade = Trade {
            first_id: number,
            last_id: number,
            time_ms,
            price: object.decimal(price, scale.price_digits, "the price is missing")?,
            qty: object.decimal(size, scale.qty_digits, "the size is missing")?,
            taker,
        };
        let trade = object.checked(trade, id, price)?;
        let event_ms = self.event_ms.unwrap_or(time_ms);
        trades.push(Row { instrument, event_ms, trade, is_past }, self.take);
        Ok(())
    }

    fn book(&mut self, event: &Event) -> Result<(), DecodeError> {
        let object = self.at(event.end);
        let Some((instrument, scale)) = self.instrument(object, event.product)? else { return Ok(()) };
        let updates = object.required(event.list, "the updates are missing")?;
        check_levels(object.frame, updates, scale, read_updates)?;
        let change = BookChange {
            is_snapshot: self.is_snapshot(event)?,
            ids: None,
            checksum: None,
            levels: Levels::checked(updates.of(object.frame), &[], scale, read_updates),
        };
        (self.take)(Message::Book { instrument, event_ms: self.event_ms, change });
        Ok(())
    }

    fn quote(&mut self, scanner: &mut Scanner<'f>) -> Result<(), DecodeError> {
        let [mut product, mut bid, mut bid_qty, mut ask, mut ask_qty] = [None; 5];
        let end = wire::members(scanner, |key, value| match key {
            b"product_id" => product = Some(value),
            b"best_bid" => bid = Some(value),
            b"best_bid_quantity" => bid_qty = Some(value),
            b"best_ask" => ask = Some(value),
            b"best_ask_quantity" => ask_qty = Some(value),
            _ => {}
        })?;
        let object = self.at(end);
        let Some((instrument, scale)) = self.instrument(object, product)? else { return Ok(()) };
        let quote = Quote {
            bid_price: object.decimal(bid, scale.price_digits, "the best_bid is missing")?,
            bid_qty: object.decimal(bid_qty, scale.qty_digits, "the best_bid_quantity is missing")?,
            ask_price: object.decimal(ask, scale.price_digits, "the best_ask is missing")?,
            ask_qty: object.decimal(ask_qty, scale.qty_digits, "the best_ask_quantity is missing")?,
        };
        (self.take)(Message::Quote { instrument, update_id: 0, event_ms: self.event_ms, quote });
        Ok(())
    }

    /// The candles of this channel are five minutes long. None says that it is closed.
    fn kline(&mut self, scanner: &mut Scanner<'f>) -> Result<(), DecodeError> {
        let [mut product, mut open, mut high, mut low, mut close, mut volume, mut start] = [None; 7];
        let end = wire::members(scanner, |key, value| match key {
            b"product_id" => product = Some(value),
            b"open" => open = Some(value),
            b"high" => high = Some(value),
            b"low" => low = Some(value),
            b"close" => close = Some(value),
            b"volume" => volume = Some(value),
            b"start" => start = Some(value),
            _ => {}
        })?;
        let object = self.at(end);
        let Some((instrument, scale)) = self.instrument(object, product)? else { return Ok(()) };
        let price = |span, what| object.decimal(span, scale.price_digits, what);
        let open_ms = object.seconds(start, "the start is missing")?;
        let kline = Kline {
            timeframe: Timeframe::M5,
            open_ms,
            closed: false,
            ohlc: Ohlc {
                open: price(open, "the open is missing")?,
                high: price(high, "the high is missing")?,
                low: price(low, "the low is missing")?,
                close: price(close, "the close is missing")?,
            },
            volume: object.decimal(volume, scale.qty_digits, "the volume is missing")?,
            taker_buy_volume: None,
            trades: None,
            first_id: None,
            last_id: None,
        };
        if Timeframe::M5.open_ms(open_ms) != open_ms {
            return Err(object.fault(start, "the candle does not begin at a multiple of five minutes"));
        }
        let event_ms = self.event_ms.unwrap_or(open_ms);
        (self.take)(Message::Kline { instrument, event_ms, kline });
        Ok(())
    }
}

/// Reads `[{"side":"bid","price_level":"1.5","new_quantity":"0"},…]`: each level says whose it is.
fn read_updates(
    text: &[u8],
    _side: BookSide,
    scale: Scale,
    level: &mut dyn FnMut(BookSide, Level),
) -> Result<(), DecodeError> {
    Scanner::new(text).array(|scanner| {
        let [mut side, mut price, mut qty] = [None; 3];
        let end = wire::members(scanner, |key, value| match key {
            b"side" => side = Some(value),
            b"price_level" => price = Some(value),
            b"new_quantity" => qty = Some(value),
            _ => {}
        })?;
        let object = Object { frame: text, end };
        let of = match object.text(side, "the side of a level is missing")? {
            b"bid" => BookSide::Bid,
            b"offer" | b"ask" => BookSide::Ask,
            _ => return Err(object.fault(side, "the side is neither bid nor offer")),
        };
        let price = object.decimal(price, scale.price_digits, "the price_level is missing")?;
        let qty = object.decimal(qty, scale.qty_digits, "the new_quantity is missing")?;
        level(of, Level { price, qty, printed: [0; 2] });
        Ok(())
    })
}
