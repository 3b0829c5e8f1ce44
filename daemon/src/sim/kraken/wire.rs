//! Kraken's words: field names, their order and the number formats are those of recorded frames.
//!
//! What holds: numbers are bare, prices with the pair's decimals, quantities with eight: the checksum needs
//! their very text.

use super::super::book::{Level, Top};
use super::super::klines::Bar;
use super::super::market::Trade;
use super::super::symbol::Symbol;
use super::super::venue::{Name, Names};
use super::super::words::{List, Places, Trimmed, Wide, iso};
use serde_json::Value;

/// Times of acknowledgements; the venue takes 31 µs for each.
fn times(now_ms: i64) -> String {
    format!(r#""time_in":"{}","time_out":"{}""#, iso(now_ms, 274, 6), iso(now_ms, 305, 6))
}

/// `,"req_id":7` where the client sent one.
fn request_id(id: Option<u64>) -> String {
    id.map_or(String::new(), |id| format!(r#","req_id":{id}"#))
}

pub(super) fn status(connection: u64) -> String {
    format!(
        r#"{{"channel":"status","type":"update","data":[{{"version":"2.0.10","system":"online","api_version":"v2","connection_id":{connection}}}]}}"#
    )
}

pub(super) const HEARTBEAT: &str = r#"{"channel":"heartbeat"}"#;

pub(super) fn pong(now_ms: i64, id: Option<u64>) -> String {
    format!(r#"{{"method":"pong"{},{}}}"#, request_id(id), times(now_ms))
}

/// The acknowledgement of one symbol's subscription; `result` is a JSON object.
pub(super) fn acknowledged(now_ms: i64, method: &str, id: Option<u64>, result: &str) -> String {
    format!(r#"{{"method":"{method}"{},"result":{result},"success":true,{}}}"#, request_id(id), times(now_ms))
}

/// A refusal. `method` comes from the client, and so does `symbol`.
pub(super) fn refused(
    now_ms: i64,
    method: &str,
    id: Option<u64>,
    symbol: Option<&str>,
    error: &str,
) -> String {
    let symbol = symbol.map_or(String::new(), |symbol| format!(r#","symbol":{}"#, Value::from(symbol)));
    format!(
        r#"{{"error":{},"method":{}{},"success":false{symbol},{}}}"#,
        Value::from(error),
        Value::from(method),
        request_id(id),
        times(now_ms)
    )
}

fn levels(levels: &[Level], places: usize) -> String {
    let texts = levels.iter().map(|&(price, quantity)| {
        let (price, quantity) = (Places(price.into(), places), Places(quantity.into(), 8));
        format!(r#"{{"price":{price},"qty":{quantity}}}"#)
    });
    List(texts).to_string()
}

/// A snapshot of a book, or an update.
pub(super) fn book(
    kind: &str,
    name: &Name,
    [bids, asks]: [&[Level]; 2],
    checksum: u32,
    now_ms: i64,
) -> String {
    format!(
        r#"{{"channel":"book","type":"{kind}","data":[{{"symbol":"{}","bids":{},"asks":{},"checksum":{checksum},"timestamp":"{}"}}]}}"#,
        name.kraken,
        levels(bids, name.places),
        levels(asks, name.places),
        iso(now_ms, 19, 6),
    )
}

pub(super) fn trades<'t>(kind: &str, name: &Name, trades: impl Iterator<Item = &'t Trade> + Clone) -> String {
    let rows = trades.map(|trade| {
        format!(
            r#"{{"symbol":"{}","side":"{}","price":{},"qty":{},"ord_type":"{}","trade_id":{},"timestamp":"{}"}}"#,
            name.kraken,
            side(trade),
            Places(trade.price.into(), name.places),
            Places(trade.quantity.into(), 8),
            order_type(trade),
            trade.id,
            iso(trade.time_ms, trade.micros, 6),
        )
    });
    format!(r#"{{"channel":"trade","type":"{kind}","data":{}}}"#, List(rows))
}

/// The taker's side.
pub(super) fn side(trade: &Trade) -> &'static str {
    if trade.buyer_is_maker { "sell" } else { "buy" }
}

/// Market or limit; the market does not know, so the order's number decides.
pub(super) fn order_type(trade: &Trade) -> &'static str {
    if trade.aggregate % 3 == 0 { "limit" } else { "market" }
}

pub(super) fn ticker(kind: &str, name: &Name, symbol: &Symbol, top: Top) -> String {
    let day = symbol.klines().day();
    let price = |price: i64| Places(price.into(), name.places);
    let quantity = |quantity: i64| Places(quantity.into(), 8);
    let (last, change) = (day.close, day.close - day.open);
    format!(
        concat!(
            r#"{{"channel":"ticker","type":"{}","data":[{{"symbol":"{}","bid":{},"bid_qty":{},"ask":{},"ask_qty":{},"#,
            r#""last":{},"volume":{},"vwap":{},"low":{},"high":{},"change":{},"change_pct":{}}}]}}"#
        ),
        kind,
        name.kraken,
        price(top.bid.0),
        quantity(top.bid.1),
        price(top.ask.0),
        quantity(top.ask.1),
        price(last),
        Places(day.volume, 8),
        vwap(&day, name.places),
        price(day.low),
        price(day.high),
        price(change),
        Places(i128::from(change) * 10_000_000_000 / i128::from(day.open.max(1)), 2),
    )
}

/// The mean price by volume, cut off at the pair's decimals; 0 without trades.
fn vwap(bar: &Bar, places: usize) -> Places {
    Places(if bar.volume == 0 { 0 } else { bar.quote / bar.volume }, places)
}

/// Candles of one symbol, oldest first.
pub(super) fn candles<'b>(
    kind: &str,
    name: &Name,
    minutes: u32,
    now_ms: i64,
    bars: impl Iterator<Item = &'b Bar> + Clone,
) -> String {
    let rows = bars.map(|bar| {
        let price = |price: i64| Places(price.into(), name.places);
        format!(
            concat!(
                r#"{{"symbol":"{}","open":{},"high":{},"low":{},"close":{},"trades":{},"volume":{},"vwap":{},"#,
                r#""interval_begin":"{}","interval":{},"timestamp":"{}"}}"#
            ),
            name.kraken,
            price(bar.open),
            price(bar.high),
            price(bar.low),
            price(bar.close),
            bar.trades,
            Places(bar.volume, 8),
            vwap(bar, name.places),
            iso(bar.open_ms, 0, 9),
            minutes,
            iso(bar.end_ms, 0, 6),
        )
    });
    format!(
        r#"{{"channel":"ohlc","type":"{kind}","timestamp":"{}","data":{}}}"#,
        iso(now_ms, 0, 9),
        List(rows)
    )
}

/// A step as Kraken's instruments tell it: with an exponent where Python's shortest form has one.
fn step(units: i64) -> String {
    let exponent = (0..4).find(|&e| units == 10_i64.pow(e));
    exponent.map_or_else(|| Trimmed(units.into()).to_string(), |e| format!("1e-{:02}", 8 - e))
}

pub(super) fn instruments<'s>(names: &Names, symbols: impl Iterator<Item = &'s Symbol> + Clone) -> String {
    let mut assets: Vec<&str> = Vec::new();
    for spec in symbols.clone().map(Symbol::spec) {
        assets.extend([spec.base.as_str(), &spec.quote]);
    }
    assets.sort_unstable();
    assets.dedup();
    let assets = assets.iter().map(|id| {
        format!(
            r#"{{"id":"{id}","status":"enabled","precision":10,"precision_display":5,"borrowable":false,"collateral_value":0.0,"margin_rate":0.0}}"#
        )
    });
    let pairs = symbols.zip(names.all()).map(|(symbol, name)| {
        let spec = symbol.spec();
        format!(
            concat!(
                r#"{{"symbol":"{}","base":"{}","quote":"{}","status":"online","qty_precision":8,"#,
                r#""qty_increment":1e-08,"price_precision":{},"cost_precision":8,"marginable":false,"#,
                r#""has_index":false,"cost_min":0.5,"tick_size":{tick},"price_increment":{tick},"qty_min":{}}}"#
            ),
            name.kraken,
            spec.base,
            spec.quote,
            name.places,
            step(spec.lot),
            tick = step(spec.tick),
        )
    });
    format!(
        r#"{{"channel":"instrument","type":"snapshot","data":{{"assets":{},"pairs":{}}}}}"#,
        List(assets),
        List(pairs)
    )
}

/// A REST candle.
pub(super) fn candle_row(bar: &Bar, places: usize) -> String {
    let price = |price: i64| Places(price.into(), places);
    let vwap = if bar.trades == 0 { "0.0".to_owned() } else { vwap(bar, places).to_string() };
    format!(
        r#"[{},"{}","{}","{}","{}","{vwap}","{}",{}]"#,
        bar.open_ms / 1_000,
        price(bar.open),
        price(bar.high),
        price(bar.low),
        price(bar.close),
        Wide(bar.volume),
        bar.trades,
    )
}

/// A REST trade. Its price has five decimals, or the pair's where those are more.
pub(super) fn trade_row(trade: &Trade, places: usize) -> String {
    let (second, micros) = (trade.time_ms / 1_000, trade.time_ms % 1_000 * 1_000 + trade.micros);
    format!(
        r#"["{}","{}",{second}.{micros:06},"{}","{}","",{}]"#,
        Places(trade.price.into(), places.max(5)),
        Places(trade.quantity.into(), 8),
        &side(trade)[..1],
        &order_type(trade)[..1],
        trade.id,
    )
}
