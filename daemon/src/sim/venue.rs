//! What a venue's dialect is: a client's requests in, the venue's words out, without a socket and without a clock.
//!
//! What holds: a dialect belongs to one connection; what it says follows from the market, the requests and the
//! market's time alone. It lives millisecond by millisecond: the events of one, then its beat, when the market
//! stands at that millisecond's end.

use super::SymbolSpec;
use super::binance::{Streams, wire};
use super::market::{Event, Market};
use super::words;
use std::cell::OnceCell;
use std::fmt;
use tungstenite::Utf8Bytes;

/// The venues whose words the simulator speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Binance,
    Kraken,
    CoinbaseExchange,
    CoinbaseAdvanced,
}

/// One connection's side of a venue.
pub(super) trait Dialect: fmt::Debug + Send {
    /// Whose words it speaks, as far as the client has said.
    fn kind(&self) -> Kind;

    /// What the venue says to a new client.
    fn greet(&mut self, world: &World<'_>, out: &mut Out);

    /// A message of the client.
    fn receive(&mut self, message: &[u8], world: &World<'_>, out: &mut Out);

    /// Something happened in this millisecond.
    fn tell(&mut self, told: &Told<'_>, world: &World<'_>, out: &mut Out);

    /// A millisecond is over: heartbeats, batches, deadlines.
    fn beat(&mut self, world: &World<'_>, out: &mut Out);
}

/// What dialects and REST endpoints may know.
#[derive(Clone, Copy)]
pub(super) struct World<'w> {
    pub(super) market: &'w Market,
    pub(super) names: &'w Names,
    pub(super) rules: Rules,
}

impl World<'_> {
    pub(super) fn now_ms(&self) -> i64 {
        self.market.now_ms()
    }
}

/// When Binance ends a connection; see `SimConfig` for each. In ms.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rules {
    pub(super) shutdown_ms: Option<i64>,
    pub(super) notice_ms: i64,
    pub(super) max_age_ms: Option<i64>,
}

/// The symbols' names in each venue's form, and how many decimals their numbers have.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) streams: Streams,
    symbols: Vec<Name>,
}

/// One symbol's names: `BTCUSDT`, `BTC/USDT`, `BTC-USDT`.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) binance: String,
    pub(super) kraken: String,
    pub(super) coinbase: String,
    /// The decimals of its prices.
    pub(super) places: usize,
    /// The decimals of its quantities, where a venue does not write eight.
    pub(super) lot_places: usize,
}

impl Names {
    pub(super) fn new(specs: &[SymbolSpec]) -> Self {
        let name = |spec: &SymbolSpec| Name {
            binance: spec.name(),
            kraken: format!("{}/{}", spec.base, spec.quote),
            coinbase: format!("{}-{}", spec.base, spec.quote),
            places: words::places(spec.tick),
            lot_places: words::places(spec.lot),
        };
        Self { streams: Streams::new(specs), symbols: specs.iter().map(name).collect() }
    }

    pub(super) fn of(&self, symbol: usize) -> &Name {
        &self.symbols[symbol]
    }

    pub(super) fn all(&self) -> &[Name] {
        &self.symbols
    }

    /// The place of the symbol that Kraken calls so.
    pub(super) fn kraken(&self, name: &str) -> Option<usize> {
        self.symbols.iter().position(|known| known.kraken == name)
    }

    /// The place of the symbol that Coinbase calls so.
    pub(super) fn coinbase(&self, name: &str) -> Option<usize> {
        self.symbols.iter().position(|known| known.coinbase == name)
    }
}

/// An event, and its words in the one dialect in which all clients get the same, made only if one wants them.
#[derive(Debug)]
pub(super) struct Told<'e> {
    pub(super) event: &'e Event,
    raw: OnceCell<Utf8Bytes>,
    wrapped: OnceCell<Utf8Bytes>,
}

impl<'e> Told<'e> {
    pub(super) fn new(event: &'e Event) -> Self {
        Self { event, raw: OnceCell::new(), wrapped: OnceCell::new() }
    }

    /// Binance's frame, wrapped in its stream's name or not.
    pub(super) fn binance(&self, stream: usize, wrap: bool, names: &Names) -> Utf8Bytes {
        let raw = || wire::frame(&names.of(self.event.symbol).binance, self.event).unwrap_or_default();
        if wrap {
            let text = || wire::combined(names.streams.name(stream), &raw());
            self.wrapped.get_or_init(|| text().into()).clone()
        } else {
            self.raw.get_or_init(|| raw().into()).clone()
        }
    }
}

/// A stream of messages within a connection: what can fall silent by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Topic {
    /// The symbol's place, where it is about one.
    pub(super) symbol: Option<usize>,
    /// As `trade`, `depth@100ms`, `heartbeat`.
    pub(super) name: &'static str,
}

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct About {
    pub(super) topic: Topic,
    /// The first and last id of the trades in it, where it tells trades.
    pub(super) trades: Option<(i64, i64)>,
    /// Whether it is the answer to a request.
    pub(super) reply: bool,
    /// Whether it tells of a book or its top.
    pub(super) book: bool,
}

/// What the venue says or does.
#[derive(Debug)]
pub(super) enum Say {
    Text { text: Utf8Bytes, about: About },
    Close { code: u16, reason: &'static str },
}

/// What a dialect has said, in order.
#[derive(Debug, Default)]
pub(super) struct Out {
    pub(super) said: Vec<Say>,
}

impl Out {
    pub(super) fn reply(&mut self, text: impl Into<Utf8Bytes>) {
        let topic = Topic { symbol: None, name: "control" };
        self.push(text, About { topic, trades: None, reply: true, book: false });
    }

    /// A message of a stream, as a heartbeat or a candle.
    pub(super) fn data(&mut self, symbol: Option<usize>, name: &'static str, text: impl Into<Utf8Bytes>) {
        self.push(text, About { topic: Topic { symbol, name }, trades: None, reply: false, book: false });
    }

    pub(super) fn book(&mut self, symbol: usize, name: &'static str, text: impl Into<Utf8Bytes>) {
        let topic = Topic { symbol: Some(symbol), name };
        self.push(text, About { topic, trades: None, reply: false, book: true });
    }

    /// A message that tells the trades from the first to the last id.
    pub(super) fn trades(
        &mut self,
        symbol: usize,
        name: &'static str,
        trades: (i64, i64),
        text: impl Into<Utf8Bytes>,
    ) {
        let topic = Topic { symbol: Some(symbol), name };
        self.push(text, About { topic, trades: Some(trades), reply: false, book: false });
    }

    pub(super) fn push(&mut self, text: impl Into<Utf8Bytes>, about: About) {
        self.said.push(Say::Text { text: text.into(), about });
    }

    pub(super) fn close(&mut self, code: u16, reason: &'static str) {
        self.said.push(Say::Close { code, reason });
    }
}
