//! Coinbase Advanced Trade's public REST endpoints: products, and a product's last trades.
//!
//! What holds: trades come newest first.

use super::super::book::Side;
use super::super::http::Answer;
use super::super::symbol::Symbol;
use super::super::venue::{Name, World};
use super::super::words::{List, Places, Trimmed};
use super::advanced_wire as wire;
use serde_json::Value;

const PREFIX: &str = "/api/v3/brokerage/market/products";
const TRADES: usize = 1_000;

pub(in crate::sim) fn answer(world: &World<'_>, path: &str, query: &[(String, String)]) -> Answer {
    let parts: Vec<&str> = match path.strip_prefix(PREFIX) {
        Some(rest) => rest.split('/').skip(1).collect(),
        None => return refusal(404, "NOT_FOUND", "There is nothing here"),
    };
    let all = || world.market.symbols().iter().zip(world.names.all());
    let found = |id: &str| world.names.coinbase(id).and_then(|place| all().nth(place));
    match parts.as_slice() {
        [] => {
            let rows = List(all().map(|(symbol, name)| product(symbol, name)));
            Answer::new(200, format!(r#"{{"products":{rows},"num_products":{}}}"#, world.names.all().len()))
        }
        [id] => found(id).map_or_else(unknown, |(symbol, name)| Answer::new(200, product(symbol, name))),
        [id, "ticker"] => found(id).map_or_else(unknown, |(symbol, name)| ticker(symbol, name, query)),
        _ => refusal(404, "NOT_FOUND", "There is nothing here"),
    }
}

fn unknown() -> Answer {
    refusal(404, "NOT_FOUND", "product not found")
}

fn refusal(status: u16, error: &str, message: &str) -> Answer {
    let message = Value::from(message);
    Answer::new(status, format!(r#"{{"error":"{error}","error_details":{message},"message":{message}}}"#))
}

fn product(symbol: &Symbol, name: &Name) -> String {
    let (spec, day) = (symbol.spec(), symbol.klines().day());
    format!(
        concat!(
            r#"{{"product_id":"{}","price":"{}","volume_24h":"{}","base_increment":"{}","quote_increment":"{}","#,
            r#""quote_min_size":"1","base_min_size":"{}","base_name":"{}","quote_name":"{}","is_disabled":false,"#,
            r#""new":false,"status":"online","cancel_only":false,"limit_only":false,"post_only":false,"#,
            r#""trading_disabled":false,"auction_mode":false,"product_type":"SPOT","quote_currency_id":"{}","#,
            r#""base_currency_id":"{}","view_only":false,"price_increment":"{}","display_name":"{}"}}"#
        ),
        name.coinbase,
        Trimmed(day.close.into()),
        Trimmed(day.volume),
        Trimmed(spec.lot.into()),
        Trimmed(spec.tick.into()),
        Trimmed(spec.lot.into()),
        spec.base,
        spec.quote,
        spec.quote,
        spec.base,
        Trimmed(spec.tick.into()),
        name.coinbase,
    )
}

fn ticker(symbol: &Symbol, name: &Name, query: &[(String, String)]) -> Answer {
    let number = |wanted: &str| {
        let found = query.iter().find(|(known, _)| known == wanted);
        found.map(|(_, value)| value.parse::<i64>()).transpose()
    };
    let (Ok(limit), Ok(start), Ok(end)) = (number("limit"), number("start"), number("end")) else {
        return refusal(400, "INVALID_ARGUMENT", "a parameter is not a number");
    };
    let limit = limit.unwrap_or(100).clamp(1, TRADES as i64) as usize;
    let kept = symbol.trades();
    let from = start.map_or(0, |start| kept.partition_point(|trade| trade.time_ms / 1_000 < start));
    let to = end.map_or(kept.len(), |end| kept.partition_point(|trade| trade.time_ms / 1_000 <= end));
    let page: Vec<_> = kept.range(from.min(to)..to).rev().take(limit).collect();
    let best = |side| Places(symbol.book().best(side).map_or(0, |level| level.0).into(), name.places);
    let rows = List(page.iter().map(|trade| wire::trade(name, trade)));
    Answer::new(
        200,
        format!(r#"{{"trades":{rows},"best_bid":"{}","best_ask":"{}"}}"#, best(Side::Bid), best(Side::Ask)),
    )
}
