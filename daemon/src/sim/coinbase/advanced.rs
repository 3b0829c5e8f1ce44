//! Coinbase Advanced Trade: one subscription for each channel, batched trades, and a number on every message.
//!
//! What holds: `sequence_num` counts all messages of the connection from 0; a snapshot of trades has the newest
//! first, an update the oldest; `level2` is subscribed to and `l2_data` comes.

use super::super::book::Side;
use super::super::market::{Happening, Pace, Trade};
use super::super::venue::{About, Dialect, Kind, Out, Told, Topic, World};
use super::{advanced_wire as wire, exchange_wire, products};
use market::Timeframe;
use serde_json::Value;

/// The channels, in the order in which subscriptions are listed.
const CHANNELS: [&str; 5] = ["level2", "market_trades", "ticker", "candles", "heartbeats"];
const LEVEL2: usize = 0;
const TRADES: usize = 1;
const TICKER: usize = 2;
const CANDLES: usize = 3;
const HEARTBEATS: usize = 4;

/// How long trades are gathered for one update.
const BATCH_MS: i64 = 250;
/// How many trades and candles a snapshot holds.
const SNAPSHOT_TRADES: usize = 100;
const SNAPSHOT_CANDLES: usize = 100;

#[derive(Debug, Default, Clone)]
struct Product {
    on: [bool; CHANNELS.len()],
    /// Trades that wait for the next update.
    batch: Vec<Trade>,
    /// The number of trades in the open candle when it was told last.
    told_trades: u64,
}

#[derive(Debug)]
pub(super) struct Advanced {
    products: Vec<Product>,
    heartbeats: bool,
    beats: u64,
    sequence: u64,
    phase_ms: i64,
}

impl Advanced {
    pub(super) fn new(symbols: usize) -> Self {
        let products = vec![Product::default(); symbols];
        Self { products, heartbeats: false, beats: 0, sequence: 0, phase_ms: 0 }
    }

    /// Puts events into the next numbered message.
    fn say(&mut self, channel: &str, about: About, events: &str, world: &World<'_>, out: &mut Out) {
        out.push(wire::envelope(channel, self.sequence, world.now_ms(), events), about);
        self.sequence += 1;
    }

    fn subscriptions(&self, world: &World<'_>) -> String {
        let of = |channel: usize| {
            let on = self.products.iter().enumerate().filter(|(_, product)| product.on[channel]);
            on.map(|(product, _)| world.names.of(product).coinbase.as_str()).collect::<Vec<_>>()
        };
        let mut all: Vec<_> = (0..HEARTBEATS).map(|channel| (CHANNELS[channel], of(channel))).collect();
        if self.heartbeats {
            all.push((CHANNELS[HEARTBEATS], vec![CHANNELS[HEARTBEATS]]));
        }
        all.retain(|(_, products)| !products.is_empty());
        wire::subscriptions(&all)
    }

    /// What a subscription begins with.
    fn begin(&mut self, channel: usize, product: usize, world: &World<'_>, out: &mut Out) {
        let (name, symbol) = (world.names.of(product), &world.market.symbols()[product]);
        match channel {
            TRADES => {
                let newest = symbol.trades().iter().rev().take(SNAPSHOT_TRADES);
                let ends = (newest.clone().next_back(), newest.clone().next());
                let trades = ends.0.zip(ends.1).map(|(oldest, newest)| (oldest.id, newest.id));
                let events = wire::trades("snapshot", name, newest);
                self.say("market_trades", about(product, "market_trades", trades), &events, world, out);
            }
            LEVEL2 => {
                let side = |side| symbol.book().best_first(side).collect::<Vec<_>>();
                let (bids, asks) = (side(Side::Bid), side(Side::Ask));
                let events = wire::levels("snapshot", name, &bids, &asks, world.now_ms());
                self.say("l2_data", book(product, "level2"), &events, world, out);
            }
            TICKER => self.ticker("snapshot", product, world, out),
            CANDLES => {
                let bars = symbol.klines().newest(Timeframe::M5, SNAPSHOT_CANDLES);
                let traded = bars.filter(|bar| bar.trades > 0);
                self.products[product].told_trades =
                    symbol.klines().newest(Timeframe::M5, 1).map(|b| b.trades).sum();
                let events = wire::candles("snapshot", name, traded);
                self.say("candles", about(product, "candles", None), &events, world, out);
            }
            _ => {}
        }
    }

    fn ticker(&mut self, kind: &str, product: usize, world: &World<'_>, out: &mut Out) {
        let symbol = &world.market.symbols()[product];
        if let Some(top) = symbol.book().top() {
            let events = wire::ticker(kind, world.names.of(product), symbol, top);
            self.say("ticker", book(product, "ticker"), &events, world, out);
        }
    }

    fn trade_batch(&mut self, product: usize, world: &World<'_>, out: &mut Out) {
        let batch = std::mem::take(&mut self.products[product].batch);
        let trades = batch.first().map(|trade| trade.id).zip(batch.last().map(|trade| trade.id));
        if trades.is_some() {
            let events = wire::trades("update", world.names.of(product), batch.iter());
            self.say("market_trades", about(product, "market_trades", trades), &events, world, out);
        }
    }

    /// The open candle, if something traded since it was told.
    fn candle(&mut self, product: usize, world: &World<'_>, out: &mut Out) {
        let open = world.market.symbols()[product].klines().newest(Timeframe::M5, 1);
        let trades: u64 = open.clone().map(|bar| bar.trades).sum();
        if trades > 0 && trades != self.products[product].told_trades {
            self.products[product].told_trades = trades;
            let events = wire::candles("update", world.names.of(product), open);
            self.say("candles", about(product, "candles", None), &events, world, out);
        }
    }
}

fn about(product: usize, name: &'static str, trades: Option<(i64, i64)>) -> About {
    About { topic: Topic { symbol: Some(product), name }, trades, reply: false, book: false }
}

fn book(product: usize, name: &'static str) -> About {
    About { book: true, ..about(product, name, None) }
}

/// What belongs to no product.
fn apart(name: &'static str, reply: bool) -> About {
    About { topic: Topic { symbol: None, name }, trades: None, reply, book: false }
}

impl Dialect for Advanced {
    fn kind(&self) -> Kind {
        Kind::CoinbaseAdvanced
    }

    fn greet(&mut self, _: &World<'_>, _: &mut Out) {}

    fn receive(&mut self, message: &[u8], world: &World<'_>, out: &mut Out) {
        let request = serde_json::from_slice::<Value>(message).unwrap_or_default();
        let on = match request["type"].as_str() {
            Some("subscribe") => true,
            Some("unsubscribe") => false,
            _ => return out.reply(exchange_wire::error("failure to parse message", "unknown type")),
        };
        let channel = CHANNELS.iter().position(|known| request["channel"] == *known);
        let named = products(&request["product_ids"], world);
        let (channel, named) = match (channel, named) {
            (Some(channel), Ok(named)) if channel == HEARTBEATS || !named.is_empty() => (channel, named),
            (None, _) => return out.reply(exchange_wire::error("channel not supported", "unknown channel")),
            (_, Ok(_)) => return out.reply(exchange_wire::error("no products", "product_ids is empty")),
            (_, Err(id)) => {
                return out.reply(exchange_wire::error("product not found", &format!("{id} is no product")));
            }
        };
        if self.sequence == 0 {
            self.phase_ms = world.now_ms() % 1_000;
        }
        if channel == HEARTBEATS {
            self.heartbeats = on;
        }
        for product in named {
            let begins = on && channel != HEARTBEATS && !self.products[product].on[channel];
            self.products[product].on[channel] = on && channel != HEARTBEATS;
            if begins {
                self.begin(channel, product, world, out);
            }
        }
        let events = self.subscriptions(world);
        self.say("subscriptions", apart("control", true), &events, world, out);
    }

    fn tell(&mut self, told: &Told<'_>, world: &World<'_>, out: &mut Out) {
        let product = told.event.symbol;
        let on = self.products[product].on;
        match &told.event.happening {
            Happening::Trade(trade) if on[TRADES] => self.products[product].batch.push(*trade),
            Happening::Order(_) if on[TICKER] => self.ticker("update", product, world, out),
            Happening::Depth(Pace::Batch, diff) if on[LEVEL2] => {
                let name = world.names.of(product);
                let events = wire::levels("update", name, &diff.bids, &diff.asks, told.event.time_ms);
                self.say("l2_data", book(product, "level2"), &events, world, out);
            }
            Happening::Kline { interval, bar, closed: true }
                if on[CANDLES] && Timeframe::ALL[*interval] == Timeframe::M5 =>
            {
                let told_trades = std::mem::take(&mut self.products[product].told_trades);
                if bar.trades > told_trades {
                    let events = wire::candles("update", world.names.of(product), [bar].into_iter());
                    self.say("candles", about(product, "candles", None), &events, world, out);
                }
            }
            _ => {}
        }
    }

    fn beat(&mut self, world: &World<'_>, out: &mut Out) {
        let beat_ms = world.now_ms() - self.phase_ms;
        if beat_ms % BATCH_MS != 0 {
            return;
        }
        for product in 0..self.products.len() {
            self.trade_batch(product, world, out);
            if beat_ms % 1_000 == 0 && self.products[product].on[CANDLES] {
                self.candle(product, world, out);
            }
        }
        if beat_ms % 1_000 == 0 && self.heartbeats {
            let events = wire::heartbeat(self.beats, world.now_ms());
            self.beats += 1;
            self.say("heartbeats", apart("heartbeats", false), &events, world, out);
        }
    }
}
