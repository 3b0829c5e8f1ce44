//! Coinbase Exchange: matches, tickers, heartbeats and batches of book changes, by product.
//!
//! What holds: trade ids are contiguous for each product; `sequence` rises over all that happens to a product,
//! so on any subscription it jumps; the side of a `match` is the maker's, of a `ticker` the taker's.

use super::super::market::{Happening, Pace};
use super::super::venue::{Dialect, Kind, Out, Told, World};
use super::{exchange_wire as wire, products};
use serde_json::Value;

/// The channels, in the order in which subscriptions are listed.
const CHANNELS: [&str; 4] = ["matches", "ticker", "heartbeat", "level2_batch"];
const MATCHES: usize = 0;
const TICKER: usize = 1;
const HEARTBEAT: usize = 2;
const LEVEL2: usize = 3;

#[derive(Debug)]
pub(super) struct Exchange {
    /// What is subscribed to, by product and channel.
    products: Vec<[bool; CHANNELS.len()]>,
    /// The beat of this connection's heartbeats.
    phase_ms: i64,
}

impl Exchange {
    pub(super) fn new(symbols: usize) -> Self {
        Self { products: vec![[false; CHANNELS.len()]; symbols], phase_ms: 0 }
    }

    /// What a request names: channels, and for each the products. An error is a reason.
    fn named(request: &Value, world: &World<'_>) -> Result<Vec<(usize, Vec<usize>)>, String> {
        let channels = request["channels"].as_array().map_or(&[][..], Vec::as_slice);
        let unknown = |id: String| format!("{id} is not a valid product");
        let common = products(&request["product_ids"], world).map_err(unknown)?;
        let mut named = Vec::new();
        for channel in channels {
            let name = channel.as_str().or(channel["name"].as_str()).unwrap_or("");
            if ["level2", "level3", "full"].contains(&name) {
                return Err("level2, level3, and full channels now require authentication".to_owned());
            }
            let place = CHANNELS.iter().position(|known| *known == name);
            let place = place.ok_or_else(|| format!("{name} is not a valid channel"))?;
            let mut own = products(&channel["product_ids"], world).map_err(unknown)?;
            own.extend(&common);
            if own.is_empty() {
                return Err("No products specified".to_owned());
            }
            named.push((place, own));
        }
        if named.is_empty() { Err("No channels specified".to_owned()) } else { Ok(named) }
    }

    fn subscriptions(&self, world: &World<'_>) -> String {
        let of = |channel: usize| {
            let on = self.products.iter().enumerate().filter(|(_, channels)| channels[channel]);
            on.map(|(product, _)| world.names.of(product).coinbase.as_str()).collect::<Vec<_>>()
        };
        let all = (0..CHANNELS.len()).map(|channel| (CHANNELS[channel], of(channel)));
        wire::subscriptions(&all.filter(|(_, products)| !products.is_empty()).collect::<Vec<_>>())
    }

    /// What a subscription begins with.
    fn begin(channel: usize, product: usize, world: &World<'_>, out: &mut Out) {
        let (name, symbol) = (world.names.of(product), &world.market.symbols()[product]);
        match (channel, symbol.trades().back()) {
            // It tells no new trade: whoever misses it has lost nothing.
            (MATCHES, Some(trade)) => {
                out.data(Some(product), "matches", wire::fill("last_match", name, trade));
            }
            (TICKER, Some(trade)) => out.book(product, "ticker", wire::ticker(name, symbol, trade)),
            (LEVEL2, _) => out.book(product, "level2_batch", wire::snapshot(name, symbol.book())),
            _ => {}
        }
    }
}

impl Dialect for Exchange {
    fn kind(&self) -> Kind {
        Kind::CoinbaseExchange
    }

    fn greet(&mut self, _: &World<'_>, _: &mut Out) {}

    fn receive(&mut self, message: &[u8], world: &World<'_>, out: &mut Out) {
        let Ok(request) = serde_json::from_slice::<Value>(message) else {
            return out.reply(wire::error("Malformed JSON", "The message is not JSON"));
        };
        let on = match request["type"].as_str() {
            Some("subscribe") => true,
            Some("unsubscribe") => false,
            _ => {
                return out.reply(wire::error("Malformed JSON", "The type must be subscribe or unsubscribe"));
            }
        };
        let named = match Self::named(&request, world) {
            Ok(named) => named,
            Err(reason) => return out.reply(wire::error("Failed to subscribe", &reason)),
        };
        if self.products.iter().flatten().all(|on| !on) {
            self.phase_ms = world.now_ms() % 1_000;
        }
        let mut begun = Vec::new();
        for (channel, products) in named {
            for product in products {
                if on && !self.products[product][channel] {
                    begun.push((channel, product));
                }
                self.products[product][channel] = on;
            }
        }
        out.reply(self.subscriptions(world));
        for (channel, product) in begun {
            Self::begin(channel, product, world, out);
        }
    }

    fn tell(&mut self, told: &Told<'_>, world: &World<'_>, out: &mut Out) {
        let product = told.event.symbol;
        let (name, symbol) = (world.names.of(product), &world.market.symbols()[product]);
        let on = self.products[product];
        match &told.event.happening {
            Happening::Trade(trade) => {
                let trades = (trade.id, trade.id);
                if on[MATCHES] {
                    out.trades(product, "matches", trades, wire::fill("match", name, trade));
                }
                if on[TICKER] {
                    out.trades(product, "ticker", trades, wire::ticker(name, symbol, trade));
                }
            }
            Happening::Depth(Pace::Batch, diff) if on[LEVEL2] => {
                let text = wire::l2update(name, &diff.bids, &diff.asks, told.event.time_ms);
                out.book(product, "level2_batch", text);
            }
            _ => {}
        }
    }

    fn beat(&mut self, world: &World<'_>, out: &mut Out) {
        if world.now_ms() % 1_000 != self.phase_ms {
            return;
        }
        for (product, channels) in self.products.iter().enumerate() {
            let symbol = &world.market.symbols()[product];
            if channels[HEARTBEAT] {
                let (sequence, last) = (symbol.book().update(), symbol.last_trade());
                let text = wire::heartbeat(world.names.of(product), sequence, last, world.now_ms());
                out.data(Some(product), "heartbeat", text);
            }
        }
    }
}
