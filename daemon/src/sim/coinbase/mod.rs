//! Coinbase's two feeds behind one door: the first subscription tells which of them a client speaks.
//!
//! What holds: a client that has not subscribed within five seconds is closed.

mod advanced;
pub(super) mod advanced_rest;
mod advanced_wire;
mod exchange;
pub(super) mod exchange_rest;
mod exchange_wire;

use super::market::Trade;
use super::venue::{Dialect, Kind, Names, Out, Told, World};
use advanced::Advanced;
use exchange::Exchange;
use serde_json::Value;
use tungstenite::protocol::frame::coding::CloseCode;

/// How long a client has to subscribe.
const DOOR_MS: i64 = 5_000;

#[derive(Debug)]
pub(super) struct Coinbase {
    since_ms: i64,
    symbols: usize,
    feed: Option<Box<dyn Dialect>>,
}

impl Coinbase {
    pub(super) fn new(names: &Names) -> Self {
        Self { since_ms: 0, symbols: names.all().len(), feed: None }
    }
}

impl Dialect for Coinbase {
    fn kind(&self) -> Kind {
        self.feed.as_ref().map_or(Kind::CoinbaseExchange, |feed| feed.kind())
    }

    fn greet(&mut self, world: &World<'_>, _: &mut Out) {
        self.since_ms = world.now_ms();
    }

    fn receive(&mut self, message: &[u8], world: &World<'_>, out: &mut Out) {
        if self.feed.is_none() {
            let request = serde_json::from_slice::<Value>(message).unwrap_or_default();
            let subscribes = request["type"] == "subscribe";
            if subscribes && request["channels"].is_array() {
                self.feed = Some(Box::new(Exchange::new(self.symbols)));
            } else if subscribes && request["channel"].is_string() {
                self.feed = Some(Box::new(Advanced::new(self.symbols)));
            } else {
                return out.reply(exchange_wire::error("Malformed JSON", "The first message must subscribe"));
            }
        }
        if let Some(feed) = &mut self.feed {
            feed.receive(message, world, out);
        }
    }

    fn tell(&mut self, told: &Told<'_>, world: &World<'_>, out: &mut Out) {
        if let Some(feed) = &mut self.feed {
            feed.tell(told, world, out);
        }
    }

    fn beat(&mut self, world: &World<'_>, out: &mut Out) {
        match &mut self.feed {
            Some(feed) => feed.beat(world, out),
            None if world.now_ms() - self.since_ms >= DOOR_MS => {
                out.close(CloseCode::Policy.into(), "No subscription within five seconds");
            }
            None => {}
        }
    }
}

/// The products of a list, by their places; the first unknown one is the error.
fn products(list: &Value, world: &World<'_>) -> Result<Vec<usize>, String> {
    let of = |id: &Value| {
        let id = id.as_str().unwrap_or("");
        world.names.coinbase(id).ok_or_else(|| id.to_owned())
    };
    list.as_array().map_or(Ok(Vec::new()), |list| list.iter().map(of).collect())
}

/// The side of the order that rested, as the Exchange tells it.
fn maker_side(trade: &Trade) -> &'static str {
    if trade.buyer_is_maker { "buy" } else { "sell" }
}

/// The side of the order that came, as tickers and Advanced Trade tell it.
fn taker_side(trade: &Trade) -> &'static str {
    if trade.buyer_is_maker { "sell" } else { "buy" }
}
