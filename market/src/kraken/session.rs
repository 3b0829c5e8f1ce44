//! How to talk with Kraken spot: its channels and their limits.
//!
//! Source: Kraken, "Spot WebSocket v2". No channel used here needs a key.

use super::{KrakenDecoder, checksum};
use crate::Timeframe;
use crate::protocol::{BookProof, Decoder, Limits, Proof, Protocol, Session, Subscription};

/// Levels of each side that are subscribed to: one of 10, 25, 100, 500 and 1,000, others are refused. The checksum
/// covers ten, so a deeper book is proven no better; ten are left too soon when the price moves.
const DEPTH: usize = 100;

/// Symbols asked for by one message.
const SYMBOLS_IN_MESSAGE: usize = 50;

/// Kraken spot.
#[derive(Debug, Clone, Copy, Default)]
pub struct Kraken;

impl Protocol for Kraken {
    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(KrakenDecoder::default())
    }

    fn proof(&self) -> Proof {
        Proof {
            trades_are_numbered: true,
            begins_with_past: true,
            book: BookProof::Checksum { depth: DEPTH, of: checksum },
        }
    }
}

impl Session for Kraken {
    fn websocket_url(&self) -> &'static str {
        "wss://ws.kraken.com/v2"
    }

    fn target(&self, path: &str, _wanted: &Subscription<'_>) -> String {
        if path.is_empty() { "/".to_owned() } else { path.to_owned() }
    }

    fn subscribe(&self, wanted: &Subscription<'_>) -> Vec<String> {
        messages("subscribe", wanted.symbols, &channels(wanted.klines))
    }

    fn resubscribe_book(&self, symbol: &str) -> Vec<String> {
        again(symbol, &[book()])
    }

    fn resubscribe(&self, symbol: &str, wanted: &Subscription<'_>) -> Vec<String> {
        again(symbol, &channels(wanted.klines))
    }

    fn limits(&self) -> Limits {
        Limits {
            // Not documented for market data; five channels and eight lengths of candles are asked for in 2 s.
            messages_per_second: 10,
            connects: 150,
            connects_window_s: 600,
            symbols_per_connection: 200,
            message_bytes: 4 << 20,
            idle_ms: 5_000, // Without other news a heartbeat comes every second.
            max_age_s: None,
        }
    }
}

/// Whether Kraken's candles of that length begin where ours do. It has weeks too, but does not say on which day they
/// begin.
pub(super) fn minutes_of(timeframe: Timeframe) -> Option<i64> {
    use Timeframe::{D1, H1, H4, M1, M5, M15, M30};
    let len_ms = timeframe.len_ms().filter(|_| [M1, M5, M15, M30, H1, H4, D1].contains(&timeframe))?;
    Some(len_ms / 60_000)
}

/// A channel's name and what else stands in its parameters.
type Channel = (&'static str, String);

fn book() -> Channel {
    ("book", format!(r#","depth":{DEPTH}"#))
}

/// Trades for the candles, the book, its top as the venue has it, and the venue's own candles to compare ours with.
fn channels(klines: &[Timeframe]) -> Vec<Channel> {
    let mut channels =
        vec![("trade", String::new()), book(), ("ticker", r#","event_trigger":"bbo""#.to_owned())];
    let minutes = klines.iter().filter_map(|timeframe| minutes_of(*timeframe));
    channels.extend(minutes.map(|minutes| ("ohlc", format!(r#","interval":{minutes}"#))));
    channels
}

fn messages(method: &str, symbols: &[String], channels: &[Channel]) -> Vec<String> {
    let snapshot = if method == "subscribe" { r#","snapshot":true"# } else { "" };
    let mut messages = Vec::new();
    for chunk in symbols.chunks(SYMBOLS_IN_MESSAGE) {
        let symbols = chunk.join("\",\"");
        messages.extend(channels.iter().map(|(channel, parameters)| {
            format!(
                r#"{{"method":"{method}","params":{{"channel":"{channel}","symbol":["{symbols}"]{parameters}{snapshot}}}}}"#
            )
        }));
    }
    messages
}

/// Ends and begins the channels of one symbol.
fn again(symbol: &str, channels: &[Channel]) -> Vec<String> {
    let symbol = [symbol.to_owned()];
    [messages("unsubscribe", &symbol, channels), messages("subscribe", &symbol, channels)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn each_channel_is_asked_for_once_for_each_symbol() {
        let symbols: Vec<_> = (0..120).map(|i| format!("S{i}/USD")).collect();
        let wanted = Subscription { symbols: &symbols, klines: &Timeframe::ALL };
        let mut asked = std::collections::HashSet::new();
        for message in Kraken.subscribe(&wanted) {
            let message: Value = serde_json::from_str(&message).unwrap();
            let params = &message["params"];
            assert_eq!((&message["method"], &params["snapshot"]), (&"subscribe".into(), &true.into()));
            let channel = params["channel"].as_str().unwrap();
            assert_eq!(params["depth"] == 100, channel == "book");
            for symbol in params["symbol"].as_array().unwrap() {
                let interval = params["interval"].as_i64();
                assert!(asked.insert((symbol.as_str().unwrap().to_owned(), channel.to_owned(), interval)));
            }
        }
        // Seven of Kraken's lengths are ours, too.
        assert_eq!(asked.len(), 120 * (3 + 7));
        assert_eq!(Kraken.target("/v2", &wanted), "/v2");
    }

    #[test]
    fn a_book_is_ended_as_it_was_begun() {
        assert_eq!(
            Kraken.resubscribe_book("BTC/USD"),
            [
                r#"{"method":"unsubscribe","params":{"channel":"book","symbol":["BTC/USD"],"depth":100}}"#,
                r#"{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USD"],"depth":100,"snapshot":true}}"#,
            ]
        );
        let wanted = Subscription { symbols: &[], klines: &[Timeframe::M1] };
        assert_eq!(Kraken.resubscribe("BTC/USD", &wanted).len(), 8);
    }
}
