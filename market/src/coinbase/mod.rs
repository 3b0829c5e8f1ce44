//! Coinbase Exchange: the messages of its WebSocket feed.
//!
//! Source of the format: Coinbase, "Exchange WebSocket Feed". One frame in, one [`Message`] out. The side of a match
//! is the maker's there: the taker is on the other one.

mod rest;
mod session;

pub use session::Coinbase;

use crate::json::{Scanner, Span};
use crate::message::{BookChange, BookSide, DecodeError, Level, Levels, Message, Scale, check_levels};
use crate::protocol::Decoder;
use crate::wire::{self, Object, read_levels};
use crate::{InstrumentId, Instruments, Quote, Side, Trade, decimal};

/// Reads the frames of a feed.
#[derive(Debug, Default)]
pub struct CoinbaseDecoder;

impl Decoder for CoinbaseDecoder {
    fn decode<'f>(
        &'f mut self,
        frame: &'f [u8],
        instruments: &Instruments,
        take: &mut dyn FnMut(Message<'f>),
    ) -> Result<(), DecodeError> {
        decode(frame, instruments).map(take)
    }
}

/// Where the fields of a message stand.
#[derive(Default)]
struct Fields {
    kind: Option<Span>,
    product: Option<Span>,
    trade_id: Option<Span>,
    side: Option<Span>,
    size: Option<Span>,
    price: Option<Span>,
    time: Option<Span>,
    best_bid: Option<Span>,
    best_bid_size: Option<Span>,
    best_ask: Option<Span>,
    best_ask_size: Option<Span>,
    last_trade_id: Option<Span>,
    bids: Option<Span>,
    asks: Option<Span>,
    changes: Option<Span>,
}

/// Reads one frame.
pub fn decode<'a>(frame: &'a [u8], instruments: &Instruments) -> Result<Message<'a>, DecodeError> {
    let mut scanner = Scanner::new(frame);
    if wire::is_list(&mut scanner)? {
        return Ok(Message::Unknown);
    }
    let mut fields = Fields::default();
    let end = wire::members(&mut scanner, |key, value| {
        let slot = match key {
            b"type" => &mut fields.kind,
            b"product_id" => &mut fields.product,
            b"trade_id" => &mut fields.trade_id,
            b"side" => &mut fields.side,
            b"size" => &mut fields.size,
            b"price" => &mut fields.price,
            b"time" => &mut fields.time,
            b"best_bid" => &mut fields.best_bid,
            b"best_bid_size" => &mut fields.best_bid_size,
            b"best_ask" => &mut fields.best_ask,
            b"best_ask_size" => &mut fields.best_ask_size,
            b"last_trade_id" => &mut fields.last_trade_id,
            b"bids" => &mut fields.bids,
            b"asks" => &mut fields.asks,
            b"changes" => &mut fields.changes,
            _ => return,
        };
        *slot = Some(value);
    })?;
    scanner.finish()?;
    Reader { object: Object { frame, end }, instruments, fields }.message()
}

/// Makes a message of the fields that were found.
struct Reader<'a, 't> {
    object: Object<'a>,
    instruments: &'t Instruments,
    fields: Fields,
}

impl<'a> Reader<'a, '_> {
    fn message(&self) -> Result<Message<'a>, DecodeError> {
        let Some(kind) = self.fields.kind else { return Ok(Message::Unknown) };
        match kind.of(self.object.frame) {
            b"match" => self.with_instrument(|reader, id, scale| reader.trade(id, scale, false)),
            b"last_match" => self.with_instrument(|reader, id, scale| reader.trade(id, scale, true)),
            b"ticker" => self.with_instrument(Self::quote),
            b"heartbeat" => self.with_instrument(Self::heartbeat),
            b"snapshot" => self.with_instrument(Self::snapshot),
            b"l2update" => self.with_instrument(Self::update),
            b"subscriptions" => Ok(Message::Acknowledged),
            b"error" => Ok(Message::Refused(self.object.frame)),
            _ => Ok(Message::Unknown),
        }
    }

    fn with_instrument(
        &self,
        read: impl Fn(&Self, InstrumentId, Scale) -> Result<Message<'a>, DecodeError>,
    ) -> Result<Message<'a>, DecodeError> {
        let product = self.object.text(self.fields.product, "the product_id is missing")?;
        match wire::find(self.instruments, product) {
            Some((id, instrument)) => read(self, id, Scale::of(instrument)),
            None => Ok(Message::UnknownSymbol(product)),
        }
    }

    fn trade(
        &self,
        instrument: InstrumentId,
        scale: Scale,
        is_past: bool,
    ) -> Result<Message<'a>, DecodeError> {
        let (object, fields) = (&self.object, &self.fields);
        let id = object.unsigned(fields.trade_id, "the trade_id is missing")?;
        let taker = match object.text(fields.side, "the side is missing")? {
            b"sell" => Side::Buy,
            b"buy" => Side::Sell,
            _ => return Err(object.fault(fields.side, "the side is neither buy nor sell")),
        };
        let time_ms = object.time(fields.time, "the time is missing")?;
        let trade = Trade {
            first_id: id,
            last_id: id,
            time_ms,
            price: object.decimal(fields.price, scale.price_digits, "the price is missing")?,
            qty: object.decimal(fields.size, scale.qty_digits, "the size is missing")?,
            taker,
        };
        let trade = object.checked(trade, fields.trade_id, fields.price)?;
        Ok(Message::Trade { instrument, event_ms: time_ms, trade, is_past })
    }

    fn quote(&self, instrument: InstrumentId, scale: Scale) -> Result<Message<'a>, DecodeError> {
        let (object, fields) = (&self.object, &self.fields);
        // Sizes came later than the rest of this message: recordings of old are without them.
        let size = |span: Option<Span>| span.map_or(Ok(0), |_| object.decimal(span, scale.qty_digits, ""));
        let quote = Quote {
            bid_price: object.decimal(fields.best_bid, scale.price_digits, "the best_bid is missing")?,
            bid_qty: size(fields.best_bid_size)?,
            ask_price: object.decimal(fields.best_ask, scale.price_digits, "the best_ask is missing")?,
            ask_qty: size(fields.best_ask_size)?,
        };
        Ok(Message::Quote { instrument, update_id: 0, event_ms: object.time_or_none(fields.time)?, quote })
    }

    fn heartbeat(&self, instrument: InstrumentId, _scale: Scale) -> Result<Message<'a>, DecodeError> {
        let last = self.object.unsigned(self.fields.last_trade_id, "the last_trade_id is missing")?;
        Ok(Message::Alive {
            instrument: Some(instrument),
            event_ms: self.object.time_or_none(self.fields.time)?,
            last_trade_id: Some(last).filter(|id| *id > 0), // What never traded has 0.
        })
    }

    fn snapshot(&self, instrument: InstrumentId, scale: Scale) -> Result<Message<'a>, DecodeError> {
        let (object, fields) = (&self.object, &self.fields);
        let bids = object.required(fields.bids, "the bids are missing")?;
        let asks = object.required(fields.asks, "the asks are missing")?;
        for span in [bids, asks] {
            check_levels(object.frame, span, scale, read_levels)?;
        }
        let levels = Levels::checked(bids.of(object.frame), asks.of(object.frame), scale, read_levels);
        self.book(instrument, true, levels)
    }

    fn update(&self, instrument: InstrumentId, scale: Scale) -> Result<Message<'a>, DecodeError> {
        let changes = self.object.required(self.fields.changes, "the changes are missing")?;
        check_levels(self.object.frame, changes, scale, read_changes)?;
        let levels = Levels::checked(changes.of(self.object.frame), &[], scale, read_changes);
        self.book(instrument, false, levels)
    }

    fn book(
        &self,
        instrument: InstrumentId,
        is_snapshot: bool,
        levels: Levels<'a>,
    ) -> Result<Message<'a>, DecodeError> {
        let change = BookChange { is_snapshot, ids: None, checksum: None, levels };
        Ok(Message::Book { instrument, event_ms: self.object.time_or_none(self.fields.time)?, change })
    }
}

/// Reads `[["buy","price","size"],…]`: each level says whose it is.
fn read_changes(
    text: &[u8],
    _side: BookSide,
    scale: Scale,
    level: &mut dyn FnMut(BookSide, Level),
) -> Result<(), DecodeError> {
    let mut scanner = Scanner::new(text);
    scanner.array(|scanner| {
        scanner.expect(b'[', "a change")?;
        let span = scanner.string()?;
        let side = match span.of(text) {
            b"buy" => BookSide::Bid,
            b"sell" => BookSide::Ask,
            _ => {
                let what = "the side is neither buy nor sell";
                return Err(DecodeError::Field { offset: span.start, what });
            }
        };
        let mut number = |digits| {
            scanner.expect(b',', "','")?;
            let span = scanner.string()?;
            decimal::parse(span.of(text), digits)
                .map_err(|reason| DecodeError::Number { offset: span.start, reason })
        };
        let (price, qty) = (number(scale.price_digits)?, number(scale.qty_digits)?);
        scanner.expect(b']', "']'")?;
        level(side, Level { price, qty, printed: [0; 2] });
        Ok(())
    })
}
