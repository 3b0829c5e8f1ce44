//! What Coinbase Exchange's REST gives beside the streams: decimal places, past trades, candles.
//!
//! Source: Coinbase, "Exchange REST API". No request used here needs a key.

use super::session::Coinbase;
use crate::message::Kline;
use crate::protocol::{Missing, Rest, RestError};
use crate::rest::{self, Value};
use crate::{Instrument, Ohlc, Side, Timeframe, Trade, Venue};

/// The most trades of one answer.
const TRADES_IN_ANSWER: u64 = 1_000;

impl Rest for Coinbase {
    fn rest_url(&self) -> &'static str {
        "https://api.exchange.coinbase.com"
    }

    /// All products: there is no request for some.
    fn instruments(&self, _symbols: &[String]) -> String {
        "/products".to_owned()
    }

    fn read_instruments(&self, body: &[u8], symbols: &[String]) -> Result<Vec<Instrument>, RestError> {
        let answer = read(body)?;
        let mut found = Vec::new();
        for product in rest::rows(&answer)? {
            let symbol = rest::text(product, "id")?;
            if symbols.iter().any(|wanted| wanted == symbol) {
                found.push(Instrument {
                    price_digits: rest::digits_of_step(rest::text(product, "quote_increment")?)?,
                    qty_digits: rest::digits_of_step(rest::text(product, "base_increment")?)?,
                    ..Instrument::new(Venue::Coinbase, symbol)
                });
            }
        }
        Ok(found)
    }

    /// The last of the missing trades: pages go backwards in time.
    fn trades(&self, symbol: &str, missing: &Missing) -> Option<String> {
        let limit = missing.to.saturating_sub(missing.from).saturating_add(1).min(TRADES_IN_ANSWER);
        let after = missing.to.checked_add(1)?;
        Some(format!("/products/{symbol}/trades?after={after}&limit={limit}"))
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
                // The side is the maker's, as on the stream.
                taker: match rest::text(row, "side")? {
                    "sell" => Side::Buy,
                    "buy" => Side::Sell,
                    _ => return Err(rest::shape("side")),
                },
            })
        };
        rest::by_number(rest::rows(&answer)?.iter().map(trade))
    }

    /// The newest 300 at most, whatever the limit: the venue takes none.
    fn klines(&self, symbol: &str, timeframe: Timeframe, _limit: usize, _now_ms: i64) -> Option<String> {
        use Timeframe::{D1, H1, H6, M1, M5, M15};
        let len_ms = timeframe.len_ms().filter(|_| [M1, M5, M15, H1, H6, D1].contains(&timeframe))?;
        Some(format!("/products/{symbol}/candles?granularity={}", len_ms / 1_000))
    }

    fn read_klines(
        &self,
        body: &[u8],
        instrument: &Instrument,
        timeframe: Timeframe,
    ) -> Result<Vec<Kline>, RestError> {
        let answer = read(body)?;
        let kline = |row: &Value| {
            let price = |at: usize| rest::decimal(&row[at], instrument.price_digits);
            Ok(Kline {
                timeframe,
                open_ms: rest::seconds_ms(&row[0])?,
                closed: true,
                ohlc: Ohlc { low: price(1)?, high: price(2)?, open: price(3)?, close: price(4)? },
                volume: rest::decimal(&row[5], instrument.qty_digits)?,
                taker_buy_volume: None,
                trades: None,
                first_id: None,
                last_id: None,
            })
        };
        rest::by_time(rest::rows(&answer)?.iter().map(kline))
    }
}

/// The answer, unless it is a refusal: an object with a message.
fn read(body: &[u8]) -> Result<Value, RestError> {
    let answer = rest::json(body)?;
    match &answer["message"] {
        Value::String(message) => Err(RestError::Refused(message.clone())),
        _ => Ok(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn btc() -> Instrument {
        Instrument { price_digits: 2, ..Instrument::new(Venue::Coinbase, "BTC-USD") }
    }

    #[test]
    fn answers_are_read_in_the_order_of_time() {
        let products = br#"[{"id":"BTC-USD","quote_increment":"0.01","base_increment":"0.00000001"},{"id":"X-Y","quote_increment":"0.1","base_increment":"1"}]"#;
        assert_eq!(Coinbase.read_instruments(products, &["BTC-USD".into()]).unwrap(), [btc()]);

        let trades = br#"[{"time":"2014-11-07T22:19:28.578544Z","trade_id":74,"price":"10.00000000","size":"0.01000000","side":"buy"},{"time":"2014-11-07T01:08:43.642366Z","trade_id":73,"price":"100.00","size":"0.01","side":"sell"}]"#;
        let trades = Coinbase.read_trades(trades, &btc()).unwrap();
        let found: Vec<_> = trades.iter().map(|t| (t.first_id, t.time_ms, t.price, t.taker)).collect();
        let expected =
            [(73, 1_415_322_523_642, 10_000, Side::Buy), (74, 1_415_398_768_578, 1_000, Side::Sell)];
        assert_eq!(found, expected);

        let candles = br#"[[1415398800,0.32,4.2,0.35,4.2,1e-7],[1415398740,0.32,0.35,0.32,0.35,12.3]]"#;
        let candles = Coinbase.read_klines(candles, &btc(), Timeframe::M1).unwrap();
        assert_eq!(candles[0].ohlc, Ohlc { open: 32, high: 35, low: 32, close: 35 });
        let found: Vec<_> = candles.iter().map(|k| (k.open_ms, k.volume, k.closed)).collect();
        assert_eq!(found, [(1_415_398_740_000, 1_230_000_000, true), (1_415_398_800_000, 10, false)]);
    }

    #[test]
    fn what_is_asked_for() {
        let missing = Missing { from: 5, to: 9, span_ms: 0..1 };
        assert_eq!(
            Coinbase.trades("BTC-USD", &missing).unwrap(),
            "/products/BTC-USD/trades?after=10&limit=5"
        );
        let many = Missing { from: 0, to: u64::MAX - 1, span_ms: 0..1 };
        assert!(Coinbase.trades("BTC-USD", &many).unwrap().ends_with("&limit=1000"));
        assert_eq!(
            Coinbase.klines("BTC-USD", Timeframe::H6, 9, 0).unwrap(),
            "/products/BTC-USD/candles?granularity=21600"
        );
        assert_eq!(Coinbase.klines("BTC-USD", Timeframe::M3, 9, 0), None);
        let refused = Coinbase.read_trades(br#"{"message":"NotFound"}"#, &btc()).unwrap_err();
        assert_eq!(refused.to_string(), "the venue refused: NotFound");
        for bad in ["", "{}", r#"[{"trade_id":1}]"#, "[[1,2,3]]", "[[-1,1,1,1,1,1]]"] {
            assert!(Coinbase.read_trades(bad.as_bytes(), &btc()).is_err(), "{bad}");
            assert!(Coinbase.read_klines(bad.as_bytes(), &btc(), Timeframe::M1).is_err(), "{bad}");
        }
    }
}
