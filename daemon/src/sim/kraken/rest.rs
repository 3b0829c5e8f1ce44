//! Kraken's REST endpoints: trades, candles, pairs.
//!
//! What holds: errors come with status 200, in the envelope, as Kraken sends them; `last` of a page of trades,
//! given as the next page's `since`, leaves no trade out.

use super::super::http::Answer;
use super::super::symbol::Symbol;
use super::super::venue::{Name, World};
use super::super::words::{List, Trimmed};
use super::{INTERVALS, wire};

/// How many candles a request gets, and how many trades.
const CANDLES: usize = 720;
const TRADES: usize = 1_000;

pub(in crate::sim) fn answer(world: &World<'_>, path: &str, query: &[(String, String)]) -> Answer {
    let value = |name: &str| query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let result = match path {
        "/0/public/Trades" => trades(world, value("pair"), value("since"), value("count")),
        "/0/public/OHLC" => candles(world, value("pair"), value("since"), value("interval")),
        "/0/public/AssetPairs" => pairs(world, value("pair")),
        "/0/public/Time" => Ok(format!(r#"{{"unixtime":{}}}"#, world.now_ms() / 1_000)),
        _ => Err("EGeneral:Unknown method"),
    };
    Answer::new(
        200,
        match result {
            Ok(result) => format!(r#"{{"error":[],"result":{result}}}"#),
            Err(error) => format!(r#"{{"error":["{error}"]}}"#),
        },
    )
}

/// What the older names call an asset.
fn old(asset: &str) -> &str {
    if asset == "BTC" { "XBT" } else { asset }
}

fn alternative(symbol: &Symbol) -> String {
    format!("{}{}", old(&symbol.spec().base), symbol.spec().quote)
}

fn version_one(symbol: &Symbol) -> String {
    format!("{}/{}", old(&symbol.spec().base), symbol.spec().quote)
}

/// A pair by any of its names.
fn find<'w>(world: &World<'w>, pair: Option<&str>) -> Result<(&'w Symbol, &'w Name), &'static str> {
    let pair = pair.ok_or("EGeneral:Invalid arguments")?;
    let named = |(symbol, name): &(&Symbol, &Name)| {
        [&name.kraken, &name.binance, &alternative(symbol), &version_one(symbol)].contains(&&pair.to_owned())
    };
    let all = world.market.symbols().iter().zip(world.names.all());
    all.into_iter().find(named).ok_or("EQuery:Unknown asset pair")
}

fn number<T: std::str::FromStr>(text: Option<&str>, default: T) -> Result<T, &'static str> {
    text.map_or(Ok(default), |text| text.parse().map_err(|_| "EGeneral:Invalid arguments"))
}

/// Nanoseconds, or seconds with or without a fraction.
fn moment(text: Option<&str>) -> Result<Option<i64>, &'static str> {
    let Some(text) = text else {
        return Ok(None);
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let parsed = whole.parse::<i64>().ok().filter(|&whole| whole >= 0);
    let whole = parsed.ok_or("EGeneral:Invalid arguments")?;
    if whole > 100_000_000_000 {
        return Ok(Some(whole));
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: i64 = digits.parse().map_err(|_| "EGeneral:Invalid arguments")?;
    Ok(Some(whole * 1_000_000_000 + nanos))
}

fn trades(
    world: &World<'_>,
    pair: Option<&str>,
    since: Option<&str>,
    count: Option<&str>,
) -> Result<String, &'static str> {
    let (symbol, name) = find(world, pair)?;
    let since = moment(since)?;
    let count = number(count, TRADES)?.clamp(1, TRADES);
    let kept = symbol.trades();
    let first = match since {
        Some(since) => kept.partition_point(|trade| trade.time_ns() <= since),
        None => kept.len().saturating_sub(count),
    };
    let mut page: Vec<_> = kept.range(first..).take(count).collect();
    // `last` leads on to the next page, so a page must not end between trades of one time.
    if let (Some(next), Some(last)) = (kept.get(first + page.len()), page.last().copied())
        && next.time_ns() == last.time_ns()
    {
        let whole = page.partition_point(|trade| trade.time_ns() < last.time_ns());
        if whole > 0 {
            page.truncate(whole);
        } else {
            page.extend(kept.range(first + page.len()..).take_while(|t| t.time_ns() == last.time_ns()));
        }
    }
    let last = page.last().map_or(since.unwrap_or(world.now_ms() * 1_000_000), |trade| trade.time_ns());
    let rows = List(page.iter().map(|trade| wire::trade_row(trade, name.places)));
    Ok(format!(r#"{{"{}":{rows},"last":"{last}"}}"#, alternative(symbol)))
}

fn candles(
    world: &World<'_>,
    pair: Option<&str>,
    since: Option<&str>,
    interval: Option<&str>,
) -> Result<String, &'static str> {
    let (symbol, name) = find(world, pair)?;
    let minutes: u32 = number(interval, 1)?;
    let known = INTERVALS.iter().find(|(known, ..)| *known == minutes);
    let (_, timeframe, _) = known.ok_or("EGeneral:Invalid arguments")?;
    let since_ms = moment(since)?.map(|since| since / 1_000_000 + 1);
    let newest: Vec<_> = symbol.klines().newest(*timeframe, CANDLES).collect();
    let rows: Vec<_> =
        newest.iter().rev().filter(|bar| since_ms.is_none_or(|since| bar.open_ms >= since)).collect();
    // The last candle that will not change any more.
    let last = newest.get(1).or(newest.first()).map_or(0, |bar| bar.open_ms / 1_000);
    let rows = List(rows.iter().map(|bar| wire::candle_row(bar, name.places)));
    Ok(format!(r#"{{"{}":{rows},"last":{last}}}"#, alternative(symbol)))
}

fn pairs(world: &World<'_>, wanted: Option<&str>) -> Result<String, &'static str> {
    let all: Vec<_> = match wanted {
        None => world.market.symbols().iter().zip(world.names.all()).collect(),
        Some(wanted) => wanted.split(',').map(|pair| find(world, Some(pair))).collect::<Result<_, _>>()?,
    };
    let rows = all.iter().map(|(symbol, name)| {
        let (spec, short) = (symbol.spec(), alternative(symbol));
        format!(
            concat!(
                r#""{}":{{"altname":"{}","wsname":"{}","aclass_base":"currency","base":"{}","aclass_quote":"currency","#,
                r#""quote":"{}","lot":"unit","cost_decimals":8,"pair_decimals":{},"lot_decimals":8,"lot_multiplier":1,"#,
                r#""ordermin":"{}","costmin":"0.5","tick_size":"{}","status":"online"}}"#
            ),
            short,
            short,
            version_one(symbol),
            old(&spec.base),
            spec.quote,
            name.places,
            Trimmed(spec.lot.into()),
            Trimmed(spec.tick.into()),
        )
    });
    Ok(format!("{{{}}}", rows.collect::<Vec<_>>().join(",")))
}
