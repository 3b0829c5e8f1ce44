//! Binance Spot: raw and combined streams, control requests, and the two ways in which it ends a connection.
//!
//! What holds: a stream that does not exist is refused, not silently accepted, as Binance would.

mod control;
pub(super) mod rest;
mod streams;
pub(super) mod wire;

pub(super) use streams::Streams;

use super::http::Request;
use super::market::Happening;
use super::venue::{About, Dialect, Kind, Names, Out, Told, Topic, World};
use tungstenite::protocol::frame::coding::CloseCode;

#[derive(Debug)]
pub(super) struct Binance {
    /// Whether frames are wrapped with their stream's name.
    combined: bool,
    subscribed: Vec<bool>,
    since_ms: i64,
    /// When the client was told that the venue shuts down.
    warned_ms: Option<i64>,
}

impl Binance {
    /// The connection that a path asks for; `None` for paths that are not Binance's, an error in one sentence.
    pub(super) fn open(request: &Request, names: &Names) -> Option<Result<Self, String>> {
        let subscribed = wanted(request, &names.streams)?;
        let combined = request.path == "/stream";
        let open = |subscribed| Self { combined, subscribed, since_ms: 0, warned_ms: None };
        Some(subscribed.map(open))
    }
}

impl Dialect for Binance {
    fn kind(&self) -> Kind {
        Kind::Binance
    }

    fn greet(&mut self, world: &World<'_>, _: &mut Out) {
        self.since_ms = world.now_ms();
    }

    fn receive(&mut self, message: &[u8], world: &World<'_>, out: &mut Out) {
        let streams = &world.names.streams;
        out.reply(control::control(message, streams, &mut self.subscribed, &mut self.combined));
    }

    fn tell(&mut self, told: &Told<'_>, world: &World<'_>, out: &mut Out) {
        let event = told.event;
        for stream in Streams::of(event.symbol, &event.happening) {
            if !self.subscribed[stream] {
                continue;
            }
            let topic = Topic { symbol: Some(event.symbol), name: Streams::topic(stream) };
            let (trades, book) = match &event.happening {
                Happening::Trade(trade) => (Some((trade.id, trade.id)), false),
                Happening::AggTrade(sum) => (Some((sum.trade.id, sum.last_id)), false),
                Happening::Quote { .. } | Happening::Depth(..) => (None, true),
                _ => (None, false),
            };
            let about = About { topic, trades, reply: false, book };
            match Streams::levels(stream) {
                None => out.push(told.binance(stream, self.combined, world.names), about),
                Some(count) => {
                    // The market stands at the end of the event's millisecond, and so does its book.
                    let text = wire::partial(world.market.symbols()[event.symbol].book(), count);
                    let name = world.names.streams.name(stream);
                    out.push(if self.combined { wire::combined(name, &text) } else { text }, about);
                }
            }
        }
    }

    fn beat(&mut self, world: &World<'_>, out: &mut Out) {
        let (now_ms, rules) = (world.now_ms(), world.rules);
        let over = |limit: Option<i64>| limit.is_some_and(|limit| now_ms - self.since_ms >= limit);
        if over(rules.max_age_ms) {
            return out.close(CloseCode::Away.into(), "The connection has reached its age");
        }
        if over(rules.shutdown_ms) && self.warned_ms.is_none() {
            self.warned_ms = Some(now_ms);
            let text = wire::shutdown(now_ms);
            let wrap = self.combined.then(|| wire::combined("!serverShutdown", &text));
            out.reply(wrap.unwrap_or(text));
        }
        if self.warned_ms.is_some_and(|warned| now_ms - warned >= rules.notice_ms) {
            out.close(CloseCode::Away.into(), "The server is shutting down");
        }
    }
}

/// The streams that a WebSocket path asks for; `None` for paths that are not Binance's.
fn wanted(request: &Request, streams: &Streams) -> Option<Result<Vec<bool>, String>> {
    let names = match (request.path.as_str(), request.query.as_slice()) {
        ("/ws" | "/stream", []) => "",
        ("/stream", [(name, value)]) if name == "streams" => value,
        ("/ws" | "/stream", _) => {
            return Some(Err("The only parameter of a stream is 'streams', of /stream.".into()));
        }
        (path, query) => match path.strip_prefix("/ws/")? {
            names if query.is_empty() => names,
            _ => return Some(Err("A raw stream has no parameters.".into())),
        },
    };
    let mut subscribed = vec![false; streams.len()];
    for name in names.split('/').filter(|name| !name.is_empty()) {
        match streams.find(name) {
            Some(stream) => subscribed[stream] = true,
            None => return Some(Err(format!("There is no stream '{name}'."))),
        }
    }
    Some(Ok(subscribed))
}
