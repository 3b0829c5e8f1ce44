//! What Coinbase Advanced Trade's REST gives beside the streams: decimal places, past trades, candles.
//!
//! Source: Coinbase, "Advanced Trade API", its public part, which needs no key.

use super::session::CoinbaseAdvanced;
use crate::message::Kline;
use crate::protocol::{Missing, Rest, RestError};
use crate::rest::{self, Value};
use crate::{Instrument, Ohlc, Side, Timeframe, Trade, Venue};

const PRODUCTS: &str = "/api/v3/brokerage/market/products";

/// The most trades asked for at once.
const TRADES_IN_ANSWER: usize = 1_000;
/// The most candles of one answer.
const CANDLES_IN_ANSWER: i64 = 350;

impl Rest for CoinbaseAdvanced {
    fn rest_url(&self) -> &'static str {
        "https://api.coinbase.com"
    }

    fn instruments(&self, symbols: &[String]) -> String {
        let list: Vec<_> = symbols.iter().map(|symbol| format!("product_ids={symbol}")).collect();
        format!("{PRODUCTS}?{}", list.join("&"))
    }

    fn read_instruments(&self, body: &[u8], symbols: &[String]) -> Result<Vec<Instrument>, RestError> {
        let answer = read(body)?;
        let mut found = Vec::new();
        for product in rest::list(&answer, "products")? {
            let symbol = rest::text(product, "product_id")?;
            if symbols.iter().any(|wanted| wanted == symbol) {
                let step = |field| rest::digits_of_step(rest::text(product, field)?);
                // The price's own step is finer than the quote's for a few products.
                let price = if product["price_increment"].is_string() { step("price_increment")? } else { 0 };
                found.push(Instrument {
                    price_digits: step("quote_increment")?.max(price),
                    qty_digits: step("base_increment")?,
                    ..Instrument::new(Venue::CoinbaseAdvanced, symbol)
                });
            }
        }
        Ok(found)
    }

    /// The last of the missing trades: an answer holds the newest of its span. Spans are of whole seconds.
    fn trades(&self, symbol: &str, missing: &Missing) -> Option<String> {
        let start = missing.span_ms.start.div_euclid(1_000);
        let end = missing.span_ms.end.div_euclid(1_000).checked_add(1)?;
        Some(format!("{PRODUCTS}/{symbol}/ticker?limit={TRADES_IN_ANSWER}&start={start}&end={end}"))
    }

    fn read_trades(&self, body: &[u8], instrument: &Instrument) -> Result<Vec<Trade>, RestError> {
        let answer = read(body)?;
        let trade = |row: &Value| {
            let id = rest::number(&row["trade_id"])?;
            rest::checked(Trade {
                first_id: id,
                last_id: id,
                time_ms: rest::rfc3339_ms(&row["time"])?,
                price: rest::decimal(&row["price"], instrument.price_digits)?,
                qty: rest::decimal(&row["size"], instrument.qty_digits)?,
                taker: match rest::text(row, "side")? {
                    "BUY" => Side::Buy,
                    "SELL" => Side::Sell,
                    _ => return Err(rest::shape("side")),
                },
            })
        };
        rest::by_number(rest::list(&answer, "trades")?.iter().map(trade))
    }

    fn klines(&self, symbol: &str, timeframe: Timeframe, limit: usize, now_ms: i64) -> Option<String> {
        let granularity = match timeframe {
            Timeframe::M1 => "ONE_MINUTE",
            Timeframe::M5 => "FIVE_MINUTE",
            Timeframe::M15 => "FIFTEEN_MINUTE",
            Timeframe::M30 => "THIRTY_MINUTE",
            Timeframe::H1 => "ONE_HOUR",
            Timeframe::H2 => "TWO_HOUR",
            Timeframe::H6 => "SIX_HOUR",
            Timeframe::D1 => "ONE_DAY",
            _ => return None,
        };
        let before = i64::try_from(limit).ok()?.clamp(1, CANDLES_IN_ANSWER) - 1;
        let start = (timeframe.open_ms(now_ms) - before * timeframe.len_ms()?).max(0) / 1_000;
        let end = now_ms.max(0) / 1_000;
        Some(format!("{PRODUCTS}/{symbol}/candles?granularity={granularity}&start={start}&end={end}"))
    }

    fn read_klines(
        &self,
        body: &[u8],
        instrument: &Instrument,
        timeframe: Timeframe,
    ) -> Result<Vec<Kline>, RestError> {
        let answer = read(body)?;
        let kline = |row: &Value| {
            let price = |field: &str| rest::decimal(&row[field], instrument.price_digits);
            Ok(Kline {
                timeframe,
                open_ms: rest::seconds_ms(&row["start"])?,
                closed: true,
                ohlc: Ohlc {
                    open: price("open")?,
                    high: price("high")?,
                    low: price("low")?,
                    close: price("close")?,
                },
                volume: rest::decimal(&row["volume"], instrument.qty_digits)?,
                taker_buy_volume: None,
                trades: None,
                first_id: None,
                last_id: None,
            })
        };
        rest::by_time(rest::list(&answer, "candles")?.iter().map(kline))
    }
}

/// The answer, unless it is a refusal: an object with an error and a message.
fn read(body: &[u8]) -> Result<Value, RestError> {
    let answer = rest::json(body)?;
    match (&answer["error"], &answer["message"]) {
        (Value::String(error), Value::String(message)) => {
            Err(RestError::Refused(format!("{message} ({error})")))
        }
        (Value::String(error), _) => Err(RestError::Refused(error.clone())),
        _ => Ok(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn btc() -> Instrument {
        Instrument { price_digits: 2, ..Instrument::new(Venue::CoinbaseAdvanced, "BTC-USD") }
    }

    #[test]
    fn answers_are_read_in_the_order_of_time() {
        let products = br#"{"products":[{"product_id":"BTC-USD","quote_increment":"0.1","price_increment":"0.01","base_increment":"0.00000001"},{"product_id":"X-Y"}]}"#;
        assert_eq!(CoinbaseAdvanced.read_instruments(products, &["BTC-USD".into()]).unwrap(), [btc()]);

        let trades = br#"{"trades":[{"trade_id":"35","product_id":"BTC-USD","price":"140.91","size":"4","time":"2021-05-31T09:59:59.123456789Z","side":"BUY"},{"trade_id":"34","price":"140.9","size":"0.5","time":"2021-05-31T09:59:59Z","side":"SELL"}],"best_bid":"1"}"#;
        let trades = CoinbaseAdvanced.read_trades(trades, &btc()).unwrap();
        let found: Vec<_> = trades.iter().map(|t| (t.first_id, t.time_ms, t.price, t.taker)).collect();
        let expected =
            [(34, 1_622_455_199_000, 14_090, Side::Sell), (35, 1_622_455_199_123, 14_091, Side::Buy)];
        assert_eq!(found, expected);

        let candles = br#"{"candles":[{"start":"1639508100","low":"1","high":"4","open":"2","close":"3","volume":"0.5"},{"start":"1639508040","low":"1","high":"1","open":"1","close":"1","volume":"7"}]}"#;
        let candles = CoinbaseAdvanced.read_klines(candles, &btc(), Timeframe::M1).unwrap();
        let found: Vec<_> = candles.iter().map(|k| (k.open_ms, k.volume, k.closed)).collect();
        assert_eq!(found, [(1_639_508_040_000, 700_000_000, true), (1_639_508_100_000, 50_000_000, false)]);
        assert_eq!(candles[1].ohlc, Ohlc { open: 200, high: 400, low: 100, close: 300 });
    }

    #[test]
    fn what_is_asked_for() {
        let symbols = ["BTC-USD".to_owned(), "ETH-USDC".to_owned()];
        assert_eq!(
            CoinbaseAdvanced.instruments(&symbols),
            "/api/v3/brokerage/market/products?product_ids=BTC-USD&product_ids=ETH-USDC"
        );
        let missing = Missing { from: 5, to: 9, span_ms: 1_700_000_000_999..1_700_000_003_000 };
        assert_eq!(
            CoinbaseAdvanced.trades("BTC-USD", &missing).unwrap(),
            "/api/v3/brokerage/market/products/BTC-USD/ticker?limit=1000&start=1700000000&end=1700000004"
        );
        assert_eq!(
            CoinbaseAdvanced.klines("BTC-USD", Timeframe::M5, 3, 1_700_000_123_456).unwrap(),
            "/api/v3/brokerage/market/products/BTC-USD/candles?granularity=FIVE_MINUTE&start=1699999500&end=1700000123"
        );
        assert_eq!(CoinbaseAdvanced.klines("BTC-USD", Timeframe::W1, 3, 0), None);
        let refused = br#"{"error":"NOT_FOUND","code":5,"message":"no such product"}"#;
        let refused = CoinbaseAdvanced.read_trades(refused, &btc()).unwrap_err();
        assert_eq!(refused.to_string(), "the venue refused: no such product (NOT_FOUND)");
        for bad in ["", "[]", "{}", r#"{"trades":[{}],"candles":[{}]}"#, r#"{"trades":1,"candles":1}"#] {
            assert!(CoinbaseAdvanced.read_trades(bad.as_bytes(), &btc()).is_err(), "{bad}");
            assert!(CoinbaseAdvanced.read_klines(bad.as_bytes(), &btc(), Timeframe::M1).is_err(), "{bad}");
        }
    }
}
