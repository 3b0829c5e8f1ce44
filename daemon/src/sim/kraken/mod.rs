//! Kraken, version 2 of its WebSocket: subscriptions with one acknowledgement for each symbol, books with a
//! checksum, trades, tickers, candles, instruments.
//!
//! What holds: an update of a book is told for each millisecond in which the subscribed depth changed; a trade
//! message holds all fills of one order; candles are told when something trades, so a quiet minute says nothing.

pub(super) mod book;
pub(super) mod rest;
mod wire;

use super::market::{Happening, Pace};
use super::venue::{Dialect, Kind, Names, Out, Told, World};
use book::View;
use market::Timeframe;
use serde_json::Value;

/// Minutes, what they are to us, and the name of their stream. Weeks and fortnights begin where we cannot verify.
const INTERVALS: [(u32, Timeframe, &str); 7] = [
    (1, Timeframe::M1, "ohlc-1"),
    (5, Timeframe::M5, "ohlc-5"),
    (15, Timeframe::M15, "ohlc-15"),
    (30, Timeframe::M30, "ohlc-30"),
    (60, Timeframe::H1, "ohlc-60"),
    (240, Timeframe::H4, "ohlc-240"),
    (1_440, Timeframe::D1, "ohlc-1440"),
];
const DEPTHS: [u64; 5] = [10, 25, 100, 500, 1_000];
/// How many trades and candles a snapshot holds.
const SNAPSHOT_TRADES: usize = 50;
const SNAPSHOT_CANDLES: usize = 720;

/// What a connection has subscribed to of one symbol.
#[derive(Debug, Default)]
struct Subscribed {
    book: Option<View>,
    trade: bool,
    /// Whether the ticker follows the best bid and ask, not only trades.
    ticker: Option<bool>,
    ohlc: [bool; INTERVALS.len()],
}

#[derive(Debug)]
pub(super) struct Kraken {
    symbols: Vec<Subscribed>,
    /// When the first subscription was made: heartbeats follow each second.
    since_ms: Option<i64>,
}

/// A request that can be carried out, but for its symbols.
#[derive(Debug)]
enum Wanted {
    Book(usize),
    Trade,
    Ticker { follows_quotes: bool },
    Ohlc(usize),
}

impl Kraken {
    pub(super) fn new(names: &Names) -> Self {
        Self { symbols: names.all().iter().map(|_| Subscribed::default()).collect(), since_ms: None }
    }

    fn subscribe(&mut self, request: &Value, id: Option<u64>, world: &World<'_>, out: &mut Out) {
        let (now_ms, parameters) = (world.now_ms(), &request["params"]);
        let on = request["method"] == "subscribe";
        let method = if on { "subscribe" } else { "unsubscribe" };
        let snapshot = |default| parameters["snapshot"].as_bool().unwrap_or(default);
        if parameters["channel"] == "instrument" {
            let taken = format!(r#"{{"channel":"instrument","snapshot":{}}}"#, snapshot(true));
            out.reply(wire::acknowledged(now_ms, method, id, &taken));
            self.since_ms.get_or_insert(now_ms);
            if on && snapshot(true) {
                out.data(None, "instrument", wire::instruments(world.names, world.market.symbols().iter()));
            }
            return;
        }
        let refuse = |symbol: Option<&str>, error: &str| wire::refused(now_ms, method, id, symbol, error);
        let wanted = match wanted(parameters) {
            Ok(wanted) => wanted,
            Err(error) => return out.reply(refuse(None, error)),
        };
        let Some(symbols) = parameters["symbol"].as_array().filter(|symbols| !symbols.is_empty()) else {
            return out.reply(refuse(None, "Symbol(s) not found"));
        };
        for name in symbols {
            let name = name.as_str().unwrap_or("");
            let Some(symbol) = world.names.kraken(name) else {
                out.reply(refuse(Some(name), &format!("Currency pair not supported {name}")));
                continue;
            };
            if let Err(error) = self.change(symbol, &wanted, on, world) {
                out.reply(refuse(Some(name), error));
                continue;
            }
            self.since_ms.get_or_insert(now_ms);
            let snapshot = snapshot(!matches!(wanted, Wanted::Trade));
            let result = result(&wanted, name, on.then_some(snapshot));
            out.reply(wire::acknowledged(now_ms, method, id, &result));
            if on && snapshot {
                self.snapshot(symbol, &wanted, world, out);
            }
        }
    }

    /// Subscribes or unsubscribes one symbol.
    fn change(
        &mut self,
        symbol: usize,
        wanted: &Wanted,
        on: bool,
        world: &World<'_>,
    ) -> Result<(), &'static str> {
        let mine = &mut self.symbols[symbol];
        let was = match wanted {
            Wanted::Book(depth) => mine.book.as_ref().is_some_and(|view| on || view.depth == *depth),
            Wanted::Trade => mine.trade,
            Wanted::Ticker { .. } => mine.ticker.is_some(),
            Wanted::Ohlc(interval) => mine.ohlc[*interval],
        };
        if was == on {
            return Err(if on { "Already subscribed" } else { "Subscription Not Found" });
        }
        match wanted {
            Wanted::Book(depth) => {
                mine.book = on.then(|| View::of(world.market.symbols()[symbol].book(), *depth));
            }
            Wanted::Trade => mine.trade = on,
            Wanted::Ticker { follows_quotes } => mine.ticker = on.then_some(*follows_quotes),
            Wanted::Ohlc(interval) => mine.ohlc[*interval] = on,
        }
        Ok(())
    }

    fn snapshot(&self, symbol: usize, wanted: &Wanted, world: &World<'_>, out: &mut Out) {
        let (name, data, now_ms) = (world.names.of(symbol), &world.market.symbols()[symbol], world.now_ms());
        match wanted {
            Wanted::Book(_) => {
                if let Some(view) = &self.symbols[symbol].book {
                    let checksum = view.checksum(name.places);
                    let text = wire::book("snapshot", name, [&view.bids, &view.asks], checksum, now_ms);
                    out.book(symbol, "book", text);
                }
            }
            Wanted::Trade => {
                let kept = data.trades();
                let last = kept.range(kept.len().saturating_sub(SNAPSHOT_TRADES)..);
                if let (Some(first), Some(newest)) = (last.clone().next(), last.clone().next_back()) {
                    let text = wire::trades("snapshot", name, last);
                    out.trades(symbol, "trade", (first.id, newest.id), text);
                }
            }
            Wanted::Ticker { .. } => self.ticker("snapshot", symbol, world, out),
            Wanted::Ohlc(interval) => {
                let (minutes, timeframe, stream) = INTERVALS[*interval];
                let newest: Vec<_> = data.klines().newest(timeframe, SNAPSHOT_CANDLES).collect();
                let bars = newest.iter().rev().copied();
                out.data(Some(symbol), stream, wire::candles("snapshot", name, minutes, now_ms, bars));
            }
        }
    }

    fn ticker(&self, kind: &str, symbol: usize, world: &World<'_>, out: &mut Out) {
        let data = &world.market.symbols()[symbol];
        if let Some(top) = data.book().top() {
            let text = wire::ticker(kind, world.names.of(symbol), data, top);
            out.book(symbol, "ticker", text);
        }
    }
}

/// What the parameters ask for, or Kraken's sentence against it.
fn wanted(parameters: &Value) -> Result<Wanted, &'static str> {
    let number = |name: &str, default: u64| match &parameters[name] {
        Value::Null => Some(default),
        value => value.as_u64(),
    };
    match parameters["channel"].as_str() {
        Some("book") => number("depth", 10)
            .filter(|depth| DEPTHS.contains(depth))
            .map(|depth| Wanted::Book(depth as usize))
            .ok_or("Subscription depth not supported"),
        Some("trade") => Ok(Wanted::Trade),
        Some("ticker") => match parameters["event_trigger"].as_str().unwrap_or("trades") {
            "trades" => Ok(Wanted::Ticker { follows_quotes: false }),
            "bbo" => Ok(Wanted::Ticker { follows_quotes: true }),
            _ => Err("Event trigger not supported"),
        },
        Some("ohlc") => number("interval", 1)
            .and_then(|minutes| INTERVALS.iter().position(|(known, ..)| u64::from(*known) == minutes))
            .map(Wanted::Ohlc)
            .ok_or("Subscription ohlc interval not supported"),
        Some(_) => Err("Channel not supported"),
        None => Err("Channel not found"),
    }
}

/// What an acknowledgement says was subscribed to.
fn result(wanted: &Wanted, name: &str, snapshot: Option<bool>) -> String {
    let snapshot = snapshot.map_or(String::new(), |on| format!(r#""snapshot":{on},"#));
    let channel = match wanted {
        Wanted::Book(depth) => format!(r#""channel":"book","depth":{depth}"#),
        Wanted::Trade => r#""channel":"trade""#.to_owned(),
        Wanted::Ticker { follows_quotes } => {
            let trigger = if *follows_quotes { "bbo" } else { "trades" };
            format!(r#""channel":"ticker","event_trigger":"{trigger}""#)
        }
        Wanted::Ohlc(interval) => format!(r#""channel":"ohlc","interval":{}"#, INTERVALS[*interval].0),
    };
    format!(r#"{{{channel},{snapshot}"symbol":"{name}"}}"#)
}

impl Dialect for Kraken {
    fn kind(&self) -> Kind {
        Kind::Kraken
    }

    fn greet(&mut self, world: &World<'_>, out: &mut Out) {
        // Kraken's are beyond 2^53, too.
        let id = 3_007_355_780_899_554_854 + world.now_ms() as u64 % 1_000_000_007;
        out.reply(wire::status(id));
    }

    fn receive(&mut self, message: &[u8], world: &World<'_>, out: &mut Out) {
        let now_ms = world.now_ms();
        let Ok(request) = serde_json::from_slice::<Value>(message) else {
            return out.reply(wire::refused(now_ms, "", None, None, "Malformed request"));
        };
        let id = request["req_id"].as_u64();
        match request["method"].as_str() {
            Some("ping") => out.reply(wire::pong(now_ms, id)),
            Some("subscribe" | "unsubscribe") => self.subscribe(&request, id, world, out),
            Some(other) => out.reply(wire::refused(now_ms, other, id, None, "Unsupported method")),
            None => out.reply(wire::refused(now_ms, "", id, None, "Method not found")),
        }
    }

    fn tell(&mut self, told: &Told<'_>, world: &World<'_>, out: &mut Out) {
        let symbol = told.event.symbol;
        let (name, data, now_ms) = (world.names.of(symbol), &world.market.symbols()[symbol], world.now_ms());
        let mine = &mut self.symbols[symbol];
        match &told.event.happening {
            Happening::Order(fills) => {
                if let (true, Some(first), Some(last)) = (mine.trade, fills.first(), fills.last()) {
                    let text = wire::trades("update", name, fills.iter());
                    out.trades(symbol, "trade", (first.id, last.id), text);
                }
                for (&(minutes, timeframe, stream), _) in
                    INTERVALS.iter().zip(mine.ohlc).filter(|(_, subscribed)| *subscribed)
                {
                    let bar = data.klines().newest(timeframe, 1);
                    out.data(Some(symbol), stream, wire::candles("update", name, minutes, now_ms, bar));
                }
                if mine.ticker == Some(false) {
                    self.ticker("update", symbol, world, out);
                }
            }
            Happening::Depth(Pace::Each, _) => {
                if let Some(view) = &mut mine.book
                    && let Some([bids, asks]) = view.advance(data.book())
                {
                    let checksum = view.checksum(name.places);
                    let text = wire::book("update", name, [&bids, &asks], checksum, now_ms);
                    out.book(symbol, "book", text);
                }
            }
            Happening::Quote { .. } if mine.ticker == Some(true) => {
                self.ticker("update", symbol, world, out);
            }
            _ => {}
        }
    }

    fn beat(&mut self, world: &World<'_>, out: &mut Out) {
        if self.since_ms.is_some_and(|since| world.now_ms() > since && (world.now_ms() - since) % 1_000 == 0)
        {
            out.data(None, "heartbeat", wire::HEARTBEAT);
        }
    }
}
