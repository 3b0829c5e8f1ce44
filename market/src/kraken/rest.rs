//! What Kraken's REST gives beside the streams: decimal places, past trades, candles.
//!
//! Source: Kraken, "Spot REST API". REST names a pair by its old name without a slash, as XBTUSD for BTC/USD.

use super::session::{Kraken, minutes_of};
use crate::message::Kline;
use crate::protocol::{Missing, Rest, RestError};
use crate::rest::{self, Value};
use crate::{Instrument, Ohlc, Side, Timeframe, Trade, Venue};

/// The most trades of one answer.
const TRADES_IN_ANSWER: usize = 1_000;

/// Assets whose old name differs from the one of version 2 of the streams: old, new.
const RENAMED: [(&str, &str); 2] = [("XBT", "BTC"), ("XDG", "DOGE")];

impl Rest for Kraken {
    fn rest_url(&self) -> &'static str {
        "https://api.kraken.com"
    }

    fn instruments(&self, symbols: &[String]) -> String {
        let pairs: Vec<_> = symbols.iter().map(|symbol| pair_of(symbol)).collect();
        format!("/0/public/AssetPairs?pair={}", pairs.join(","))
    }

    fn read_instruments(&self, body: &[u8], symbols: &[String]) -> Result<Vec<Instrument>, RestError> {
        let result = result(body)?;
        let pairs = result.as_object().ok_or_else(|| rest::shape("result"))?;
        let mut found = Vec::new();
        for pair in pairs.values() {
            // A few pairs that the streams do not have lack this name.
            let Some(symbol) = pair["wsname"].as_str().map(symbol_of) else { continue };
            if !symbols.contains(&symbol) {
                continue;
            }
            let digits = |field: &str| {
                let number = rest::number(&pair[field])?;
                u8::try_from(number)
                    .ok()
                    .filter(|digits| *digits <= crate::decimal::MAX_DIGITS)
                    .ok_or_else(|| rest::shape(field))
            };
            found.push(Instrument {
                price_digits: digits("pair_decimals")?,
                qty_digits: digits("lot_decimals")?,
                ..Instrument::new(Venue::Kraken, symbol)
            });
        }
        Ok(found)
    }

    /// The first of the missing trades: `since` names the time before them.
    fn trades(&self, symbol: &str, missing: &Missing) -> Option<String> {
        let since_ns = missing.span_ms.start.checked_mul(1_000_000)?.checked_sub(1)?;
        let pair = pair_of(symbol);
        Some(format!("/0/public/Trades?pair={pair}&since={since_ns}&count={TRADES_IN_ANSWER}"))
    }

    fn read_trades(&self, body: &[u8], instrument: &Instrument) -> Result<Vec<Trade>, RestError> {
        let trade = |row: &Value| {
            let id = rest::number(&row[6])?;
            rest::checked(Trade {
                first_id: id,
                last_id: id,
                time_ms: rest::seconds_ms(&row[2])?,
                price: rest::decimal(&row[0], instrument.price_digits)?,
                qty: rest::decimal(&row[1], instrument.qty_digits)?,
                taker: match row[3].as_str() {
                    Some("b") => Side::Buy,
                    Some("s") => Side::Sell,
                    _ => return Err(rest::shape("the side of a trade")),
                },
            })
        };
        rest::by_number(rows(&result(body)?)?.iter().map(trade))
    }

    fn klines(&self, symbol: &str, timeframe: Timeframe, limit: usize, now_ms: i64) -> Option<String> {
        let minutes = minutes_of(timeframe)?;
        let before = i64::try_from(limit).ok()?.checked_mul(minutes * 60)?;
        let since = (timeframe.open_ms(now_ms) / 1_000).saturating_sub(before).max(0);
        Some(format!("/0/public/OHLC?pair={}&interval={minutes}&since={since}", pair_of(symbol)))
    }

    fn read_klines(
        &self,
        body: &[u8],
        instrument: &Instrument,
        timeframe: Timeframe,
    ) -> Result<Vec<Kline>, RestError> {
        let kline = |row: &Value| {
            let price = |at: usize| rest::decimal(&row[at], instrument.price_digits);
            Ok(Kline {
                timeframe,
                open_ms: rest::seconds_ms(&row[0])?,
                closed: true,
                ohlc: Ohlc { open: price(1)?, high: price(2)?, low: price(3)?, close: price(4)? },
                volume: rest::decimal(&row[6], instrument.qty_digits)?,
                taker_buy_volume: None,
                trades: Some(rest::number(&row[7])?),
                first_id: None,
                last_id: None,
            })
        };
        rest::by_time(rows(&result(body)?)?.iter().map(kline)) // Kraken documents the last row as still open.
    }
}

/// The result of an answer, unless it is a refusal.
fn result(body: &[u8]) -> Result<Value, RestError> {
    let mut answer = rest::json(body)?;
    let errors: Vec<_> = rest::list(&answer, "error")?.iter().map(|e| e.as_str().unwrap_or("?")).collect();
    if !errors.is_empty() {
        return Err(RestError::Refused(errors.join(", ")));
    }
    Ok(answer["result"].take())
}

/// The rows of the only pair that was asked for, under whatever name it is.
fn rows(result: &Value) -> Result<&Vec<Value>, RestError> {
    let pairs = result.as_object().ok_or_else(|| rest::shape("result"))?;
    let rows = pairs.iter().find(|(name, _)| *name != "last").and_then(|(_, rows)| rows.as_array());
    rows.ok_or_else(|| rest::shape("the rows of the pair"))
}

/// `BTC/USD` to `XBTUSD`.
fn pair_of(symbol: &str) -> String {
    let old = |asset: &str| {
        let renamed = RENAMED.iter().find(|(_, new)| *new == asset);
        renamed.map_or(asset, |(old, _)| *old).to_owned()
    };
    symbol.split('/').map(old).collect()
}

/// `XBT/USD` to `BTC/USD`.
fn symbol_of(old: &str) -> String {
    let new = |asset: &str| {
        let renamed = RENAMED.iter().find(|(old, _)| *old == asset);
        renamed.map_or(asset, |(_, new)| *new).to_owned()
    };
    old.split('/').map(new).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn btc() -> Instrument {
        Instrument { price_digits: 1, ..Instrument::new(Venue::Kraken, "BTC/USD") }
    }

    #[test]
    fn pairs_are_asked_for_by_their_old_names() {
        let symbols = ["BTC/USD".to_owned(), "DOGE/BTC".to_owned(), "MINA/GBP".to_owned()];
        assert_eq!(Kraken.instruments(&symbols), "/0/public/AssetPairs?pair=XBTUSD,XDGXBT,MINAGBP");
        let body = br#"{"error":[],"result":{"XXBTZUSD":{"wsname":"XBT/USD","pair_decimals":1,"lot_decimals":8},"X":{"wsname":"XDG/XBT","pair_decimals":9,"lot_decimals":0},"Y":{"wsname":"ETH/USD"},"Z":{}}}"#;
        let doge =
            Instrument { price_digits: 9, qty_digits: 0, ..Instrument::new(Venue::Kraken, "DOGE/BTC") };
        let mut found = Kraken.read_instruments(body, &symbols).unwrap();
        found.sort_by(|a, b| a.symbol.cmp(&b.symbol));
        assert_eq!(found, [btc(), doge]);
        let refused = Kraken.read_instruments(br#"{"error":["EQuery:Unknown asset pair"]}"#, &symbols);
        assert_eq!(refused.unwrap_err().to_string(), "the venue refused: EQuery:Unknown asset pair");
    }

    #[test]
    fn trades_and_candles_are_asked_for_since_a_time() {
        let missing = Missing { from: 5, to: 9, span_ms: 1_700_000_000_123..1_700_000_001_000 };
        assert_eq!(
            Kraken.trades("BTC/USD", &missing).unwrap(),
            "/0/public/Trades?pair=XBTUSD&since=1700000000122999999&count=1000"
        );
        assert_eq!(
            Kraken.klines("BTC/USD", Timeframe::M5, 3, 1_700_000_123_456).unwrap(),
            "/0/public/OHLC?pair=XBTUSD&interval=5&since=1699999200"
        );
        assert_eq!(Kraken.klines("BTC/USD", Timeframe::W1, 3, 0), None);
        let body = br#"{"error":[],"result":{"XXBTZUSD":[["30243.40000","0.34507674",1688669597.8277369,"b","m","",61044953],["30243.3",0.00376960,1688669598,"s","l","",61044952]],"last":"1688671969993150842"}}"#;
        let trades = Kraken.read_trades(body, &btc()).unwrap();
        let found: Vec<_> = trades.iter().map(|t| (t.first_id, t.time_ms, t.price, t.qty, t.taker)).collect();
        let expected = [
            (61_044_952, 1_688_669_598_000, 302_433, 376_960, Side::Sell),
            (61_044_953, 1_688_669_597_827, 302_434, 34_507_674, Side::Buy),
        ];
        assert_eq!(found, expected);
        for bad in ["", "[]", "{}", r#"{"error":[],"result":{}}"#, r#"{"error":[],"result":{"X":[[1]]}}"#] {
            assert!(Kraken.read_trades(bad.as_bytes(), &btc()).is_err(), "{bad}");
            assert!(Kraken.read_klines(bad.as_bytes(), &btc(), Timeframe::M1).is_err(), "{bad}");
        }
    }
}
