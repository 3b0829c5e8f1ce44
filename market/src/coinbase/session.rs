//! How to talk with Coinbase Exchange: its channels and their limits.
//!
//! Source: Coinbase, "Exchange WebSocket Feed". The channels used here need no key; `level2` and `full` would.

use super::CoinbaseDecoder;
use crate::protocol::{BookProof, Decoder, Limits, Proof, Protocol, Session, Subscription};

/// Trades for the candles, the top of the book as the venue has it, the number of the last trade each second, and the
/// book. Candles are not streamed.
const CHANNELS: [&str; 4] = ["matches", "ticker", "heartbeat", BOOK];
const BOOK: &str = "level2_batch";

/// Coinbase Exchange.
#[derive(Debug, Clone, Copy, Default)]
pub struct Coinbase;

impl Protocol for Coinbase {
    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(CoinbaseDecoder)
    }

    fn proof(&self) -> Proof {
        Proof { trades_are_numbered: true, begins_with_past: true, book: BookProof::Transport }
    }
}

impl Session for Coinbase {
    fn websocket_url(&self) -> &'static str {
        "wss://ws-feed.exchange.coinbase.com"
    }

    fn target(&self, path: &str, _wanted: &Subscription<'_>) -> String {
        if path.is_empty() { "/".to_owned() } else { path.to_owned() }
    }

    /// One message, since the first must come within five seconds and each answer lists all channels anew.
    fn subscribe(&self, wanted: &Subscription<'_>) -> Vec<String> {
        vec![message("subscribe", wanted.symbols, &CHANNELS)]
    }

    fn resubscribe_book(&self, symbol: &str) -> Vec<String> {
        again(symbol, &[BOOK])
    }

    fn resubscribe(&self, symbol: &str, _wanted: &Subscription<'_>) -> Vec<String> {
        again(symbol, &CHANNELS)
    }

    fn limits(&self) -> Limits {
        Limits {
            messages_per_second: 8,
            connects: 8,
            connects_window_s: 1,
            // A snapshot is the whole book, often of several megabytes.
            symbols_per_connection: 50,
            message_bytes: 16 << 20, // A whole book has tens of thousands of levels.
            idle_ms: 5_000,          // Each product has a heartbeat every second.
            max_age_s: None,
        }
    }
}

fn message(kind: &str, symbols: &[String], channels: &[&str]) -> String {
    let (symbols, channels) = (symbols.join("\",\""), channels.join("\",\""));
    format!(r#"{{"type":"{kind}","product_ids":["{symbols}"],"channels":["{channels}"]}}"#)
}

fn again(symbol: &str, channels: &[&str]) -> Vec<String> {
    ["unsubscribe", "subscribe"].map(|kind| message(kind, &[symbol.to_owned()], channels)).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_asks_for_all() {
        let symbols = ["BTC-USD".to_owned(), "ETH-USD".to_owned()];
        let wanted = Subscription { symbols: &symbols, klines: &[] };
        assert_eq!(
            Coinbase.subscribe(&wanted),
            [
                r#"{"type":"subscribe","product_ids":["BTC-USD","ETH-USD"],"channels":["matches","ticker","heartbeat","level2_batch"]}"#
            ]
        );
        assert_eq!(
            Coinbase.resubscribe_book("BTC-USD"),
            [
                r#"{"type":"unsubscribe","product_ids":["BTC-USD"],"channels":["level2_batch"]}"#,
                r#"{"type":"subscribe","product_ids":["BTC-USD"],"channels":["level2_batch"]}"#,
            ]
        );
        assert_eq!(Coinbase.resubscribe("BTC-USD", &wanted).len(), 2);
        assert_eq!(Coinbase.target("", &wanted), "/");
    }
}
