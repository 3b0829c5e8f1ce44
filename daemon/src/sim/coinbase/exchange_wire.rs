//! The Exchange's words: field names, their order and the number formats are those of recorded frames.
//!
//! What holds: trades' numbers come without zeros at their end, levels with the product's decimals.

use super::super::book::{Book, Level, Side};
use super::super::klines::Bar;
use super::super::market::Trade;
use super::super::symbol::Symbol;
use super::super::venue::Name;
use super::super::words::{Fixed, List, Places, Trimmed, Wide, iso, uuid};
use super::{maker_side, taker_side};
use market::Timeframe;
use serde_json::Value;

pub(super) fn error(message: &str, reason: &str) -> String {
    format!(r#"{{"type":"error","message":{},"reason":{}}}"#, Value::from(message), Value::from(reason))
}

/// What is subscribed to: channels, and the products of each.
pub(super) fn subscriptions(channels: &[(&str, Vec<&str>)]) -> String {
    let rows = channels.iter().map(|(name, products)| {
        let products = List(products.iter().map(|product| format!(r#""{product}""#)));
        format!(r#"{{"name":"{name}","product_ids":{products}}}"#)
    });
    format!(r#"{{"type":"subscriptions","channels":{}}}"#, List(rows))
}

/// A `match`, or the `last_match` that a subscription begins with.
pub(super) fn fill(kind: &str, name: &Name, trade: &Trade) -> String {
    format!(
        concat!(
            r#"{{"type":"{}","trade_id":{},"maker_order_id":"{}","taker_order_id":"{}","side":"{}","size":"{}","#,
            r#""price":"{}","product_id":"{}","sequence":{},"time":"{}"}}"#
        ),
        kind,
        trade.id,
        uuid(trade.update),
        uuid(!trade.time_ns() as u64),
        maker_side(trade),
        Trimmed(trade.quantity.into()),
        Trimmed(trade.price.into()),
        name.coinbase,
        trade.update,
        time(trade),
    )
}

fn time(trade: &Trade) -> String {
    iso(trade.time_ms, trade.micros, 6)
}

pub(super) fn ticker(name: &Name, symbol: &Symbol, trade: &Trade) -> String {
    let (day, month) = (symbol.klines().day(), symbol.klines().sum(Timeframe::D1, 30));
    let best = |side| Places(symbol.book().best(side).map_or(0, |level| level.0).into(), name.places);
    format!(
        concat!(
            r#"{{"type":"ticker","sequence":{},"product_id":"{}","price":"{}","open_24h":"{}","volume_24h":"{}","#,
            r#""low_24h":"{}","high_24h":"{}","volume_30d":"{}","best_bid":"{}","best_ask":"{}","side":"{}","#,
            r#""time":"{}","trade_id":{},"last_size":"{}"}}"#
        ),
        trade.update,
        name.coinbase,
        Trimmed(trade.price.into()),
        Trimmed(day.open.into()),
        Wide(day.volume),
        Trimmed(day.low.into()),
        Trimmed(day.high.into()),
        Wide(month.volume),
        best(Side::Bid),
        best(Side::Ask),
        taker_side(trade),
        time(trade),
        trade.id,
        Trimmed(trade.quantity.into()),
    )
}

pub(super) fn heartbeat(name: &Name, sequence: u64, last_trade: i64, now_ms: i64) -> String {
    format!(
        r#"{{"type":"heartbeat","sequence":{sequence},"last_trade_id":{last_trade},"product_id":"{}","time":"{}"}}"#,
        name.coinbase,
        iso(now_ms, 0, 6),
    )
}

fn level(name: &Name, (price, quantity): Level) -> String {
    let places = name.lot_places.max(1);
    format!(r#""{}","{}""#, Places(price.into(), name.places), Places(quantity.into(), places))
}

/// All levels of a side, best first.
pub(super) fn levels(name: &Name, book: &Book, side: Side, count: usize, more: &str) -> String {
    let rows = book.best_first(side).take(count).map(|at| format!("[{}{more}]", level(name, at)));
    List(rows.collect::<Vec<_>>().iter()).to_string()
}

pub(super) fn snapshot(name: &Name, book: &Book) -> String {
    format!(
        r#"{{"type":"snapshot","product_id":"{}","asks":{},"bids":{}}}"#,
        name.coinbase,
        levels(name, book, Side::Ask, usize::MAX, ""),
        levels(name, book, Side::Bid, usize::MAX, ""),
    )
}

pub(super) fn l2update(name: &Name, bids: &[Level], asks: &[Level], now_ms: i64) -> String {
    let sided = |side, levels: &[Level]| {
        levels.iter().map(|&at| format!(r#"["{side}",{}]"#, level(name, at))).collect::<Vec<_>>()
    };
    let changes = [sided("buy", bids), sided("sell", asks)].concat();
    format!(
        r#"{{"type":"l2update","product_id":"{}","changes":{},"time":"{}"}}"#,
        name.coinbase,
        List(changes.iter()),
        iso(now_ms, 687, 6),
    )
}

/// A product as REST tells it.
pub(super) fn product(symbol: &Symbol, name: &Name) -> String {
    let spec = symbol.spec();
    format!(
        concat!(
            r#"{{"id":"{}","base_currency":"{}","quote_currency":"{}","quote_increment":"{}","base_increment":"{}","#,
            r#""display_name":"{}","min_market_funds":"1","margin_enabled":false,"post_only":false,"#,
            r#""limit_only":false,"cancel_only":false,"status":"online","status_message":"","#,
            r#""trading_disabled":false,"fx_stablecoin":false,"auction_mode":false}}"#
        ),
        name.coinbase,
        spec.base,
        spec.quote,
        Trimmed(spec.tick.into()),
        Trimmed(spec.lot.into()),
        name.kraken,
    )
}

/// A trade as REST tells it.
pub(super) fn trade_row(trade: &Trade) -> String {
    format!(
        r#"{{"trade_id":{},"side":"{}","size":"{}","price":"{}","time":"{}"}}"#,
        trade.id,
        maker_side(trade),
        Fixed(trade.quantity),
        Fixed(trade.price),
        time(trade),
    )
}

/// A candle as REST tells it: time, low, high, open, close, volume, all bare.
pub(super) fn candle_row(bar: &Bar) -> String {
    format!(
        "[{},{},{},{},{},{}]",
        bar.open_ms / 1_000,
        Trimmed(bar.low.into()),
        Trimmed(bar.high.into()),
        Trimmed(bar.open.into()),
        Trimmed(bar.close.into()),
        Trimmed(bar.volume),
    )
}
