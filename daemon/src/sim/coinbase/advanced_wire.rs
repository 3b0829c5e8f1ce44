//! Advanced Trade's words: field names and their order are those of recorded frames.
//!
//! What holds: everything in an event is text, numbers too; the envelope's timestamp has 3, 6 or 9 digits after
//! its point, as captured ones have.

use super::super::book::{Level, Top};
use super::super::klines::Bar;
use super::super::market::Trade;
use super::super::symbol::Symbol;
use super::super::venue::Name;
use super::super::words::{List, Places, Trimmed, Wide, iso};
use super::taker_side;

/// A message: its events, a JSON list, in the envelope.
pub(super) fn envelope(channel: &str, sequence: u64, now_ms: i64, events: &str) -> String {
    let digits = [9, 6, 3][sequence as usize % 3];
    format!(
        r#"{{"channel":"{channel}","client_id":"","timestamp":"{}","sequence_num":{sequence},"events":{events}}}"#,
        iso(now_ms, 203, digits),
    )
}

pub(super) fn heartbeat(counter: u64, now_ms: i64) -> String {
    let now = iso(now_ms, 0, 9).replace('T', " ").replace('Z', "+00:00");
    format!(r#"[{{"current_time":"{now}","heartbeat_counter":{counter}}}]"#)
}

/// What is subscribed to: channels, and the products of each.
pub(super) fn subscriptions(channels: &[(&str, Vec<&str>)]) -> String {
    let rows: Vec<_> = channels
        .iter()
        .map(|(name, products)| {
            let products = List(products.iter().map(|product| format!(r#""{product}""#)));
            format!(r#""{name}":{products}"#)
        })
        .collect();
    format!(r#"[{{"subscriptions":{{{}}}}}]"#, rows.join(","))
}

pub(super) fn trade(name: &Name, trade: &Trade) -> String {
    format!(
        r#"{{"product_id":"{}","trade_id":"{}","price":"{}","size":"{}","time":"{}","side":"{}"}}"#,
        name.coinbase,
        trade.id,
        Trimmed(trade.price.into()),
        Trimmed(trade.quantity.into()),
        iso(trade.time_ms, trade.micros, 6),
        taker_side(trade).to_uppercase(),
    )
}

/// Trades as one event, in the order given.
pub(super) fn trades<'t>(kind: &str, name: &Name, trades: impl Iterator<Item = &'t Trade> + Clone) -> String {
    format!(r#"[{{"type":"{kind}","trades":{}}}]"#, List(trades.map(|one| trade(name, one))))
}

pub(super) fn levels(kind: &str, name: &Name, bids: &[Level], asks: &[Level], now_ms: i64) -> String {
    let time = iso(now_ms, 456, 6);
    let sided = |side, levels: &[Level]| {
        let row = |&(price, quantity): &Level| {
            format!(
                r#"{{"side":"{side}","event_time":"{time}","price_level":"{}","new_quantity":"{}"}}"#,
                Places(price.into(), name.places),
                Trimmed(quantity.into()),
            )
        };
        levels.iter().map(row).collect::<Vec<_>>()
    };
    let rows = [sided("bid", bids), sided("offer", asks)].concat();
    format!(r#"[{{"type":"{kind}","product_id":"{}","updates":{}}}]"#, name.coinbase, List(rows.iter()))
}

pub(super) fn ticker(kind: &str, name: &Name, symbol: &Symbol, top: Top) -> String {
    let (day, all) = (symbol.klines().day(), symbol.klines().sum(market::Timeframe::W1, 52));
    let change = i128::from(day.close - day.open) * 10_000_000_000 / i128::from(day.open.max(1));
    format!(
        concat!(
            r#"[{{"type":"{}","tickers":[{{"type":"ticker","product_id":"{}","price":"{}","volume_24_h":"{}","#,
            r#""low_24_h":"{}","high_24_h":"{}","low_52_w":"{}","high_52_w":"{}","price_percent_chg_24_h":"{}","#,
            r#""best_bid":"{}","best_bid_quantity":"{}","best_ask":"{}","best_ask_quantity":"{}"}}]}}]"#
        ),
        kind,
        name.coinbase,
        Trimmed(day.close.into()),
        Wide(day.volume),
        Trimmed(day.low.into()),
        Trimmed(day.high.into()),
        Trimmed(all.low.into()),
        Trimmed(all.high.into()),
        Trimmed(change),
        Places(top.bid.0.into(), name.places),
        Trimmed(top.bid.1.into()),
        Places(top.ask.0.into(), name.places),
        Trimmed(top.ask.1.into()),
    )
}

pub(super) fn candles<'b>(kind: &str, name: &Name, bars: impl Iterator<Item = &'b Bar> + Clone) -> String {
    let rows = bars.map(|bar| {
        format!(
            r#"{{"start":"{}","high":"{}","low":"{}","open":"{}","close":"{}","volume":"{}","product_id":"{}"}}"#,
            bar.open_ms / 1_000,
            Trimmed(bar.high.into()),
            Trimmed(bar.low.into()),
            Trimmed(bar.open.into()),
            Trimmed(bar.close.into()),
            Trimmed(bar.volume),
            name.coinbase,
        )
    });
    format!(r#"[{{"type":"{kind}","candles":{}}}]"#, List(rows))
}
