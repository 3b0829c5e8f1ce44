//! Reading REST answers: what the venues' files share. This is the cold way: answers become trees, and errors texts.

use crate::message::{Kline, MAX_TIME_MS, trade_fault};
use crate::protocol::RestError;
use crate::{Trade, decimal, time};
pub(crate) use serde_json::Value;

/// The answer as a tree. Bare numbers of more than 15 digits may lose the last ones; venues send long ones as strings.
pub(crate) fn json(body: &[u8]) -> Result<Value, RestError> {
    serde_json::from_slice(body).map_err(|error| RestError::Shape(error.to_string()))
}

/// An error about a field.
pub(crate) fn shape(field: &str) -> RestError {
    RestError::Shape(format!("'{field}' is missing or is of another kind"))
}

/// The list in a field.
pub(crate) fn list<'v>(value: &'v Value, field: &str) -> Result<&'v Vec<Value>, RestError> {
    value[field].as_array().ok_or_else(|| shape(field))
}

/// The list that the answer is.
pub(crate) fn rows(value: &Value) -> Result<&Vec<Value>, RestError> {
    value.as_array().ok_or_else(|| RestError::Shape("it is no list".into()))
}

/// The text in a field.
pub(crate) fn text<'v>(value: &'v Value, field: &str) -> Result<&'v str, RestError> {
    value[field].as_str().ok_or_else(|| shape(field))
}

/// A decimal number, in a string or bare, as an integer.
pub(crate) fn decimal(value: &Value, digits: u8) -> Result<i64, RestError> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        other => return Err(RestError::Shape(format!("{other} stands for a number"))),
    };
    decimal::parse_with_exponent(text.as_bytes(), digits).map_err(|reason| RestError::Number { text, reason })
}

/// A whole number, in a string or bare.
pub(crate) fn number(value: &Value) -> Result<u64, RestError> {
    let parsed = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    parsed.ok_or_else(|| RestError::Shape(format!("{value} stands for a whole number")))
}

/// A time in milliseconds.
pub(crate) fn time_ms(value: &Value) -> Result<i64, RestError> {
    let ms = number(value)?;
    if ms > MAX_TIME_MS {
        return Err(RestError::Shape(format!("{ms} stands for a time in milliseconds")));
    }
    Ok(ms as i64)
}

/// A time as RFC 3339 text, in milliseconds.
pub(crate) fn rfc3339_ms(value: &Value) -> Result<i64, RestError> {
    let ms = value.as_str().and_then(|text| time::parse_ms(text.as_bytes()));
    ms.ok_or_else(|| RestError::Shape(format!("{value} stands for a time")))
}

/// A time in seconds, whole or with decimals, in a string or bare, in milliseconds. What is finer is cut off.
pub(crate) fn seconds_ms(value: &Value) -> Result<i64, RestError> {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let fraction = &fraction.as_bytes()[..fraction.len().min(3)];
    let whole_ms = decimal::parse(whole.as_bytes(), 3).ok();
    let fraction_ms = decimal::parse(&[b"0.", fraction, b"0"].concat(), 3).ok();
    let ms = whole_ms.zip(fraction_ms).and_then(|(whole, fraction)| whole.checked_add(fraction));
    ms.filter(|ms| *ms <= MAX_TIME_MS as i64)
        .ok_or_else(|| RestError::Shape(format!("{value} stands for a time in seconds")))
}

/// How many decimals a step has, as `0.01000000`: two.
pub(crate) fn digits_of_step(step: &str) -> Result<u8, RestError> {
    let most = decimal::MAX_DIGITS;
    let value = decimal::parse(step.as_bytes(), most)
        .map_err(|reason| RestError::Number { text: step.to_owned(), reason })?;
    Ok(decimal::used_digits(value, most))
}

/// Trades in the order of their numbers: some venues tell the newest first.
pub(crate) fn by_number(
    trades: impl Iterator<Item = Result<Trade, RestError>>,
) -> Result<Vec<Trade>, RestError> {
    let mut trades = trades.collect::<Result<Vec<_>, _>>()?;
    trades.sort_by_key(|trade| trade.first_id);
    Ok(trades)
}

/// Candles in the order of time: some venues tell the newest first. That one may be open: it is never taken for closed.
pub(crate) fn by_time(
    klines: impl Iterator<Item = Result<Kline, RestError>>,
) -> Result<Vec<Kline>, RestError> {
    let mut klines = klines.collect::<Result<Vec<_>, _>>()?;
    klines.sort_by_key(|kline| kline.open_ms);
    if let Some(newest) = klines.last_mut() {
        newest.closed = false;
    }
    Ok(klines)
}

/// The trade, unless its numbers make no sense.
pub(crate) fn checked(trade: Trade) -> Result<Trade, RestError> {
    match trade_fault(&trade) {
        Some(fault) => Err(RestError::Shape(fault.to_owned())),
        None => Ok(trade),
    }
}
