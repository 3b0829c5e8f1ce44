//! How to talk with Binance spot: its streams and their limits, and what REST gives beside them.
//!
//! Source: Binance, "WebSocket Streams" and "REST API". No request needs a key.

use super::BinanceDecoder;
use crate::message::{Kline, Level};
use crate::protocol::{
    BookProof, Decoder, Limits, Missing, Proof, Protocol, Rest, RestError, Session, Snapshot, Subscription,
};
use crate::rest::{self, Value};
use crate::{Instrument, Ohlc, Side, Timeframe, Trade, Venue};

/// How many levels of each side a snapshot holds at most. Fewer than 1,000 are used up within minutes when the price
/// moves.
pub(super) const SNAPSHOT_LEVELS: usize = 1_000;

/// Streams that are named in the request itself. Longer requests are refused by proxies; what is left is asked for by
/// messages.
const STREAMS_IN_TARGET: usize = 50;
/// Streams asked for by one message.
const STREAMS_IN_MESSAGE: usize = 100;

/// Binance spot.
#[derive(Debug, Clone, Copy, Default)]
pub struct Binance;

impl Protocol for Binance {
    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(BinanceDecoder::default())
    }

    fn proof(&self) -> Proof {
        Proof { trades_are_numbered: true, begins_with_past: false, book: BookProof::UpdateIds }
    }
}

impl Session for Binance {
    fn websocket_url(&self) -> &'static str {
        "wss://stream.binance.com:9443"
    }

    fn target(&self, path: &str, wanted: &Subscription<'_>) -> String {
        let streams = streams(wanted.symbols, wanted.klines);
        let first = streams.len().min(STREAMS_IN_TARGET);
        format!("{path}/stream?streams={}", streams[..first].join("/"))
    }

    fn subscribe(&self, wanted: &Subscription<'_>) -> Vec<String> {
        let streams = streams(wanted.symbols, wanted.klines);
        let rest = streams.get(STREAMS_IN_TARGET..).unwrap_or_default();
        rest.chunks(STREAMS_IN_MESSAGE)
            .enumerate()
            .map(|(id, chunk)| request("SUBSCRIBE", chunk, id))
            .collect()
    }

    fn resubscribe_book(&self, _symbol: &str) -> Vec<String> {
        Vec::new()
    }

    fn resubscribe(&self, symbol: &str, wanted: &Subscription<'_>) -> Vec<String> {
        let streams = streams(&[symbol.to_owned()], wanted.klines);
        ["UNSUBSCRIBE", "SUBSCRIBE"]
            .iter()
            .enumerate()
            .map(|(id, what)| request(what, &streams, id))
            .collect()
    }

    fn limits(&self) -> Limits {
        Limits {
            messages_per_second: 5,
            connects: 300,
            connects_window_s: 300,
            // 1,024 streams on a connection; a symbol with candles of all lengths has 20.
            symbols_per_connection: 50,
            message_bytes: 4 << 20,
            idle_ms: 15_000, // Quiet symbols pause for long; the server itself pings every 20 s only.
            max_age_s: Some(24 * 3_600),
        }
    }
}

/// Trades for the candles, book tickers and the top of the book to check our book with, depth for the book and the
/// venue's clock, and the venue's own candles to compare ours with.
fn streams(symbols: &[String], klines: &[Timeframe]) -> Vec<String> {
    let mut streams = Vec::new();
    for symbol in symbols {
        let symbol = symbol.to_lowercase();
        let plain = ["trade", "bookTicker", "depth@100ms", "depth20"];
        streams.extend(plain.map(|kind| format!("{symbol}@{kind}")));
        streams.extend(klines.iter().map(|interval| format!("{symbol}@kline_{interval}")));
    }
    streams
}

fn request(method: &str, streams: &[String], id: usize) -> String {
    format!(r#"{{"method":"{method}","params":["{}"],"id":{}}}"#, streams.join("\",\""), id + 1)
}

impl Rest for Binance {
    fn rest_url(&self) -> &'static str {
        "https://api.binance.com"
    }

    fn instruments(&self, symbols: &[String]) -> String {
        let list = symbols.iter().map(|symbol| format!("%22{symbol}%22")).collect::<Vec<_>>().join(",");
        format!("/api/v3/exchangeInfo?symbols=[{list}]")
    }

    fn read_instruments(&self, body: &[u8], symbols: &[String]) -> Result<Vec<Instrument>, RestError> {
        let answer = read(body)?;
        let mut found = Vec::new();
        for entry in rest::list(&answer, "symbols")? {
            let symbol = rest::text(entry, "symbol")?;
            if !symbols.iter().any(|wanted| wanted == symbol) {
                continue;
            }
            let step = |filter: &str, field: &str| {
                let filters = rest::list(entry, "filters")?;
                let of = filters.iter().find(|entry| entry["filterType"] == filter);
                rest::digits_of_step(rest::text(of.unwrap_or(&Value::Null), field)?)
            };
            found.push(Instrument {
                price_digits: step("PRICE_FILTER", "tickSize")?,
                qty_digits: step("LOT_SIZE", "stepSize")?,
                ..Instrument::new(Venue::Binance, symbol)
            });
        }
        Ok(found)
    }

    fn snapshot(&self, symbol: &str) -> Option<String> {
        Some(format!("/api/v3/depth?symbol={symbol}&limit={SNAPSHOT_LEVELS}"))
    }

    fn read_snapshot(&self, body: &[u8], instrument: &Instrument) -> Result<Snapshot, RestError> {
        let answer = read(body)?;
        let side = |name: &str| {
            let level = |row: &Value| {
                let price = rest::decimal(&row[0], instrument.price_digits)?;
                let qty = rest::decimal(&row[1], instrument.qty_digits)?;
                Ok(Level { price, qty, printed: [0; 2] })
            };
            rest::list(&answer, name)?.iter().map(level).collect::<Result<Vec<_>, RestError>>()
        };
        let (bids, asks) = (side("bids")?, side("asks")?);
        Ok(Snapshot {
            last_id: rest::number(&answer["lastUpdateId"])?,
            bids,
            asks,
            limit: Some(SNAPSHOT_LEVELS),
        })
    }

    fn trades(&self, symbol: &str, missing: &Missing) -> Option<String> {
        let limit = (missing.to - missing.from + 1).min(1_000);
        Some(format!("/api/v3/historicalTrades?symbol={symbol}&fromId={}&limit={limit}", missing.from))
    }

    fn read_trades(&self, body: &[u8], instrument: &Instrument) -> Result<Vec<Trade>, RestError> {
        let answer = read(body)?;
        let trade = |row: &Value| {
            let id = rest::number(&row["id"])?;
            let maker_is_buyer = row["isBuyerMaker"].as_bool().ok_or_else(|| rest::shape("isBuyerMaker"))?;
            rest::checked(Trade {
                first_id: id,
                last_id: id,
                time_ms: rest::time_ms(&row["time"])?,
                price: rest::decimal(&row["price"], instrument.price_digits)?,
                qty: rest::decimal(&row["qty"], instrument.qty_digits)?,
                taker: if maker_is_buyer { Side::Sell } else { Side::Buy },
            })
        };
        rest::by_number(rest::rows(&answer)?.iter().map(trade))
    }

    fn klines(&self, symbol: &str, timeframe: Timeframe, limit: usize, _now_ms: i64) -> Option<String> {
        Some(format!("/api/v3/klines?symbol={symbol}&interval={timeframe}&limit={}", limit.min(1_000)))
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
            let qty = |at: usize| rest::decimal(&row[at], instrument.qty_digits);
            Ok(Kline {
                timeframe,
                open_ms: rest::time_ms(&row[0])?,
                closed: true,
                ohlc: Ohlc { open: price(1)?, high: price(2)?, low: price(3)?, close: price(4)? },
                volume: qty(5)?,
                taker_buy_volume: Some(qty(9)?),
                trades: Some(rest::number(&row[8])?),
                first_id: None,
                last_id: None,
            })
        };
        rest::by_time(rest::rows(&answer)?.iter().map(kline))
    }
}

/// The answer, unless it is a refusal: an object with a code and a message.
fn read(body: &[u8]) -> Result<Value, RestError> {
    let answer = rest::json(body)?;
    match (&answer["code"], &answer["msg"]) {
        (Value::Number(code), Value::String(message)) => {
            Err(RestError::Refused(format!("{message} ({code})")))
        }
        _ => Ok(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn btc() -> Instrument {
        Instrument { price_digits: 2, qty_digits: 5, ..Instrument::new(Venue::Binance, "BTCUSDT") }
    }

    #[test]
    fn streams_beyond_the_request_are_asked_for_by_messages() {
        let symbols: Vec<_> = (0..50).map(|i| format!("S{i}USDT")).collect();
        let wanted = Subscription { symbols: &symbols, klines: &[Timeframe::M1] };
        let target = Binance.target("", &wanted);
        assert!(target.starts_with("/stream?streams=s0usdt@trade/s0usdt@bookTicker/s0usdt@depth@100ms/"));
        let mut asked: Vec<_> = target.split_once('=').unwrap().1.split('/').map(str::to_owned).collect();
        for message in Binance.subscribe(&wanted) {
            let message: Value = serde_json::from_str(&message).unwrap();
            assert_eq!(message["method"], "SUBSCRIBE");
            asked
                .extend(message["params"].as_array().unwrap().iter().map(|s| s.as_str().unwrap().to_owned()));
        }
        assert_eq!(asked, streams(&symbols, &[Timeframe::M1]));
        assert_eq!(asked.len(), 250);
    }

    #[test]
    fn answers_are_read_in_the_instruments_digits() {
        let info = br#"{"symbols":[{"symbol":"BTCUSDT","filters":[{"filterType":"PRICE_FILTER","tickSize":"0.01000000"},{"filterType":"LOT_SIZE","stepSize":"0.00001000"}]},{"symbol":"X"}]}"#;
        assert_eq!(Binance.read_instruments(info, &["BTCUSDT".into()]).unwrap(), [btc()]);
        let trades = br#"[{"id":28457,"price":"4.10","qty":"12.00000","time":1499865549590,"isBuyerMaker":true,"isBestMatch":true}]"#;
        let trade = Binance.read_trades(trades, &btc()).unwrap()[0];
        assert_eq!(
            (trade.first_id, trade.price, trade.qty, trade.taker),
            (28457, 410, 1_200_000, Side::Sell)
        );
        let book =
            br#"{"lastUpdateId":1027024,"bids":[["4.00","431.0"]],"asks":[["4.02","12.0"],["4.03","1"]]}"#;
        let book = Binance.read_snapshot(book, &btc()).unwrap();
        assert_eq!((book.last_id, book.bids[0].price, book.asks.len()), (1_027_024, 400, 2));
        let refused =
            Binance.read_snapshot(br#"{"code":-1121,"msg":"Invalid symbol."}"#, &btc()).unwrap_err();
        assert_eq!(refused.to_string(), "the venue refused: Invalid symbol. (-1121)");
        for bad in
            ["", "[1]", r#"[{"id":1}]"#, r#"[{"id":-1,"price":"1","qty":"1","time":1,"isBuyerMaker":true}]"#]
        {
            assert!(Binance.read_trades(bad.as_bytes(), &btc()).is_err(), "{bad}");
        }
    }
}
