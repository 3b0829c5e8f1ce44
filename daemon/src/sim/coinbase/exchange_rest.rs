//! Coinbase Exchange's REST endpoints: products, trades, candles, books.
//!
//! What holds: lists have the newest first; the headers `CB-BEFORE` and `CB-AFTER` lead to newer and older trades.

use super::super::book::Side;
use super::super::http::Answer;
use super::super::symbol::Symbol;
use super::super::venue::{Name, World};
use super::super::words::{List, iso};
use super::exchange_wire as wire;
use market::Timeframe;
use serde_json::Value;

const TRADES: usize = 1_000;
const CANDLES: usize = 300;
const GRANULARITIES: [(i64, Timeframe); 6] = [
    (60, Timeframe::M1),
    (300, Timeframe::M5),
    (900, Timeframe::M15),
    (3_600, Timeframe::H1),
    (21_600, Timeframe::H6),
    (86_400, Timeframe::D1),
];

/// A refusal: a status and a sentence.
type Refusal = (u16, &'static str);

pub(in crate::sim) fn answer(world: &World<'_>, path: &str, query: &[(String, String)]) -> Answer {
    let parts: Vec<&str> = path.split('/').skip(2).collect();
    let outcome = match parts.as_slice() {
        [] => Ok(Answer::new(200, products(world))),
        [id] => find(world, id).map(|(symbol, name)| Answer::new(200, wire::product(symbol, name))),
        [id, "trades"] => find(world, id).and_then(|(symbol, _)| trades(symbol, query)),
        [id, "candles"] => find(world, id).and_then(|(symbol, _)| candles(symbol, query)),
        [id, "book"] => find(world, id).and_then(|(symbol, name)| book(world, symbol, name, query)),
        _ => Err((404, "Route not found")),
    };
    outcome.unwrap_or_else(|(status, message)| {
        Answer::new(status, format!(r#"{{"message":{}}}"#, Value::from(message)))
    })
}

fn find<'w>(world: &World<'w>, id: &str) -> Result<(&'w Symbol, &'w Name), Refusal> {
    let place = world.names.coinbase(id).ok_or((404, "NotFound"))?;
    Ok((&world.market.symbols()[place], world.names.of(place)))
}

fn text<'q>(query: &'q [(String, String)], name: &str) -> Option<&'q str> {
    query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn number(query: &[(String, String)], name: &str) -> Result<Option<i64>, Refusal> {
    let parse = |value: &str| value.parse().map_err(|_| (400, "A parameter is not a number"));
    text(query, name).map(parse).transpose()
}

/// A moment in whole seconds, given in them or as ISO 8601.
fn second(query: &[(String, String)], name: &str) -> Result<Option<i64>, Refusal> {
    let parse = |value: &str| match value.parse::<jiff::Timestamp>() {
        Ok(time) => Ok(time.as_second()),
        Err(_) => value.parse().map_err(|_| (400, "A time is neither ISO 8601 nor in seconds")),
    };
    text(query, name).map(parse).transpose()
}

fn products(world: &World<'_>) -> String {
    let all = world.market.symbols().iter().zip(world.names.all());
    List(all.map(|(symbol, name)| wire::product(symbol, name))).to_string()
}

fn trades(symbol: &Symbol, query: &[(String, String)]) -> Result<Answer, Refusal> {
    let (after, before) = (number(query, "after")?, number(query, "before")?);
    let limit = number(query, "limit")?.unwrap_or(TRADES as i64).clamp(1, TRADES as i64) as usize;
    let kept = symbol.trades();
    let end = after.map_or(kept.len(), |after| kept.partition_point(|trade| trade.id < after));
    let first = before.map_or(0, |before| kept.partition_point(|trade| trade.id <= before)).min(end);
    let page: Vec<_> = kept.range(first..end).rev().take(limit).collect();
    let mut answer = Answer::new(200, List(page.iter().map(|trade| wire::trade_row(trade))).to_string());
    if let (Some(newest), Some(oldest)) = (page.first(), page.last()) {
        answer.headers.push(("CB-BEFORE", newest.id.to_string()));
        answer.headers.push(("CB-AFTER", oldest.id.to_string()));
    }
    Ok(answer)
}

fn candles(symbol: &Symbol, query: &[(String, String)]) -> Result<Answer, Refusal> {
    let granularity = number(query, "granularity")?.unwrap_or(60);
    let known = GRANULARITIES.iter().find(|(seconds, _)| *seconds == granularity);
    let (_, timeframe) = *known.ok_or((400, "Unsupported granularity"))?;
    let (start, end) = (second(query, "start")?, second(query, "end")?);
    if let (Some(start), Some(end)) = (start, end)
        && end.saturating_sub(start) / granularity > CANDLES as i64
    {
        return Err((
            400,
            "granularity too small for the requested time range. Count of aggregations requested exceeds 300",
        ));
    }
    let within = |open_ms: i64| {
        let second = open_ms / 1_000;
        start.is_none_or(|start| second >= start) && end.is_none_or(|end| second <= end)
    };
    let bars = symbol.klines().newest(timeframe, usize::MAX);
    let wanted: Vec<_> = bars.filter(|bar| bar.trades > 0 && within(bar.open_ms)).take(CANDLES).collect();
    Ok(Answer::new(200, List(wanted.iter().map(|bar| wire::candle_row(bar))).to_string()))
}

fn book(
    world: &World<'_>,
    symbol: &Symbol,
    name: &Name,
    query: &[(String, String)],
) -> Result<Answer, Refusal> {
    let count = match text(query, "level").unwrap_or("1") {
        "1" => 1,
        "2" => usize::MAX,
        _ => return Err((400, "Invalid level")),
    };
    let side = |side| wire::levels(name, symbol.book(), side, count, ",1");
    Ok(Answer::new(
        200,
        format!(
            r#"{{"bids":{},"asks":{},"sequence":{},"auction_mode":false,"auction":null,"time":"{}"}}"#,
            side(Side::Bid),
            side(Side::Ask),
            symbol.book().update(),
            iso(world.now_ms(), 0, 6),
        ),
    ))
}
