//! The REST endpoints: a request's path and query in, a status and a JSON text out.
//!
//! What holds: answers come from the same market state as the streams; errors carry Binance's codes.

use super::super::http::Answer;
use super::super::market::{AggTrade, Market};
use super::super::symbol::Symbol;
use super::wire;
use market::Timeframe;
use std::str::FromStr;

/// What went wrong with a request, in Binance's words and numbers.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum RestError {
    #[error("Mandatory parameter '{0}' was not sent, was empty/null, or malformed.")]
    Missing(&'static str),
    #[error("Illegal characters found in parameter '{0}'; legal range is '^[0-9]{{1,20}}$'.")]
    Illegal(&'static str),
    #[error("Not all sent parameters were read; read '{read}' parameter(s) but was sent '{sent}'.")]
    Unread { read: usize, sent: usize },
    #[error("Data sent for parameter '{0}' is not valid.")]
    Invalid(&'static str),
    #[error("Invalid symbol.")]
    Symbol,
    #[error("Invalid interval.")]
    Interval,
}

impl RestError {
    fn code(&self) -> i32 {
        match self {
            Self::Illegal(_) => -1100,
            Self::Missing(_) => -1102,
            Self::Unread { .. } => -1104,
            Self::Interval => -1120,
            Self::Symbol => -1121,
            Self::Invalid(_) => -1130,
        }
    }
}

/// The HTTP status and JSON body for a request.
pub(in crate::sim) fn answer(market: &Market, path: &str, query: &[(String, String)]) -> Answer {
    let endpoint = match path {
        "/api/v3/ping" => ping,
        "/api/v3/time" => time,
        "/api/v3/depth" => depth,
        "/api/v3/klines" => klines,
        "/api/v3/trades" => trades,
        "/api/v3/historicalTrades" => historical_trades,
        "/api/v3/aggTrades" => agg_trades,
        "/api/v3/exchangeInfo" => exchange_info,
        _ => return Answer::new(404, wire::error(-1, &format!("There is nothing at '{path}'."))),
    };
    match endpoint(market, &mut Parameters::new(query)) {
        Ok(body) => Answer::new(200, body),
        Err(error) => Answer::new(400, wire::error(error.code(), &error.to_string())),
    }
}

/// A request's parameters, and how many of them were read.
struct Parameters<'q> {
    sent: &'q [(String, String)],
    read: usize,
}

impl<'q> Parameters<'q> {
    fn new(sent: &'q [(String, String)]) -> Self {
        Self { sent, read: 0 }
    }

    fn text(&mut self, name: &'static str) -> Option<&'q str> {
        let found = self.sent.iter().find(|(sent, _)| sent == name);
        self.read += usize::from(found.is_some());
        found.map(|(_, value)| value.as_str())
    }

    fn required(&mut self, name: &'static str) -> Result<&'q str, RestError> {
        self.text(name).filter(|value| !value.is_empty()).ok_or(RestError::Missing(name))
    }

    fn number(&mut self, name: &'static str) -> Result<Option<i64>, RestError> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        if text.is_empty() || text.len() > 20 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(RestError::Illegal(name));
        }
        text.parse().map(Some).map_err(|_| RestError::Invalid(name))
    }

    /// How many rows are wanted; more than `most` gives `most`.
    fn limit(&mut self, default: usize, most: usize) -> Result<usize, RestError> {
        match self.number("limit")? {
            None => Ok(default),
            Some(0) => Err(RestError::Invalid("limit")),
            Some(limit) => Ok(usize::try_from(limit).unwrap_or(most).min(most)),
        }
    }

    fn symbol<'m>(&mut self, market: &'m Market) -> Result<&'m Symbol, RestError> {
        let name = self.required("symbol")?;
        market.symbols().iter().find(|symbol| symbol.spec().name() == name).ok_or(RestError::Symbol)
    }

    /// Refuses what no one asked for, as a misspelt parameter.
    fn done(&self) -> Result<(), RestError> {
        let (read, sent) = (self.read, self.sent.len());
        if read == sent { Ok(()) } else { Err(RestError::Unread { read, sent }) }
    }
}

fn ping(_: &Market, parameters: &mut Parameters<'_>) -> Result<String, RestError> {
    parameters.done()?;
    Ok("{}".to_owned())
}

fn time(market: &Market, parameters: &mut Parameters<'_>) -> Result<String, RestError> {
    parameters.done()?;
    Ok(format!(r#"{{"serverTime":{}}}"#, market.now_ms()))
}

fn depth(market: &Market, parameters: &mut Parameters<'_>) -> Result<String, RestError> {
    let (symbol, limit) = (parameters.symbol(market)?, parameters.limit(100, 5_000)?);
    parameters.done()?;
    Ok(wire::partial(symbol.book(), limit))
}

fn klines(market: &Market, parameters: &mut Parameters<'_>) -> Result<String, RestError> {
    let symbol = parameters.symbol(market)?;
    let interval = Timeframe::from_str(parameters.required("interval")?).map_err(|_| RestError::Interval)?;
    let (from_ms, to_ms) = (parameters.number("startTime")?, parameters.number("endTime")?);
    let limit = parameters.limit(500, 1_000)?;
    parameters.done()?;
    // `Timeframe::ALL` lists the variants in their own order.
    Ok(wire::kline_rows(&symbol.klines().range(interval as usize, from_ms, to_ms, limit)))
}

fn trades(market: &Market, parameters: &mut Parameters<'_>) -> Result<String, RestError> {
    let (symbol, limit) = (parameters.symbol(market)?, parameters.limit(500, 1_000)?);
    parameters.done()?;
    let kept = symbol.trades();
    Ok(wire::trade_rows(kept.range(kept.len().saturating_sub(limit)..)))
}

fn historical_trades(market: &Market, parameters: &mut Parameters<'_>) -> Result<String, RestError> {
    let symbol = parameters.symbol(market)?;
    let (from_id, limit) = (parameters.number("fromId")?, parameters.limit(500, 1_000)?);
    parameters.done()?;
    let kept = symbol.trades();
    let first = match from_id {
        Some(id) => kept.partition_point(|trade| trade.id < id),
        None => kept.len().saturating_sub(limit),
    };
    Ok(wire::trade_rows(kept.range(first..).take(limit)))
}

fn agg_trades(market: &Market, parameters: &mut Parameters<'_>) -> Result<String, RestError> {
    let symbol = parameters.symbol(market)?;
    let (from_id, limit) = (parameters.number("fromId")?, parameters.limit(500, 1_000)?);
    let (from_ms, to_ms) = (parameters.number("startTime")?, parameters.number("endTime")?);
    parameters.done()?;
    if from_id.is_some() && (from_ms.is_some() || to_ms.is_some()) {
        return Err(RestError::Invalid("fromId"));
    }
    let kept = symbol.trades();
    // Ids and times only grow, so both bounds are places in the history.
    let first = kept.partition_point(|trade| {
        from_id.is_some_and(|id| trade.aggregate < id) || from_ms.is_some_and(|from| trade.time_ms < from)
    });
    let end = kept.partition_point(|trade| to_ms.is_none_or(|to| trade.time_ms <= to)).max(first);
    let mut sums = AggTrade::of(kept.range(first..end));
    // The oldest kept trade may be the rest of an aggregate whose beginning is forgotten.
    if first == 0 && !sums.is_empty() && kept.front().is_some_and(|trade| trade.id != symbol.first_trade()) {
        sums.remove(0);
    }
    if from_id.is_some() || from_ms.is_some() {
        sums.truncate(limit);
    } else {
        sums.drain(..sums.len().saturating_sub(limit));
    }
    Ok(wire::agg_trade_rows(&sums))
}

fn exchange_info(market: &Market, parameters: &mut Parameters<'_>) -> Result<String, RestError> {
    let one = if parameters.sent.is_empty() { None } else { Some(parameters.symbol(market)?.spec().name()) };
    parameters.done()?;
    let wanted = market
        .symbols()
        .iter()
        .filter(|symbol| one.as_ref().is_none_or(|name| symbol.spec().name() == *name));
    Ok(wire::exchange_info(market.now_ms(), wanted))
}
