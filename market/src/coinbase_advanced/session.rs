//! How to talk with Coinbase Advanced Trade: its channels and their limits.
//!
//! Source: Coinbase, "Advanced Trade WebSocket". No channel used here needs a key.

use super::CoinbaseAdvancedDecoder;
use crate::Timeframe;
use crate::protocol::{BookProof, Decoder, Limits, Proof, Protocol, Session, Subscription};

/// The channel of the book; its messages come under the name `l2_data`.
const BOOK: &str = "level2";

/// Coinbase Advanced Trade.
#[derive(Debug, Clone, Copy, Default)]
pub struct CoinbaseAdvanced;

impl Protocol for CoinbaseAdvanced {
    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(CoinbaseAdvancedDecoder::default())
    }

    fn proof(&self) -> Proof {
        Proof { trades_are_numbered: true, begins_with_past: true, book: BookProof::Transport }
    }
}

impl Session for CoinbaseAdvanced {
    fn websocket_url(&self) -> &'static str {
        "wss://advanced-trade-ws.coinbase.com"
    }

    fn target(&self, path: &str, _wanted: &Subscription<'_>) -> String {
        if path.is_empty() { "/".to_owned() } else { path.to_owned() }
    }

    /// One message for each channel. Heartbeats first: the venue ends a connection on which nothing comes for a
    /// minute, and a first message must come within five seconds.
    fn subscribe(&self, wanted: &Subscription<'_>) -> Vec<String> {
        let mut messages = vec![r#"{"type":"subscribe","channel":"heartbeats"}"#.to_owned()];
        messages.extend(channels(wanted).map(|channel| message("subscribe", wanted.symbols, channel)));
        messages
    }

    fn resubscribe_book(&self, symbol: &str) -> Vec<String> {
        again(symbol, [BOOK].into_iter())
    }

    fn resubscribe(&self, symbol: &str, wanted: &Subscription<'_>) -> Vec<String> {
        again(symbol, channels(wanted))
    }

    fn limits(&self) -> Limits {
        Limits {
            messages_per_second: 8,
            connects: 8,
            connects_window_s: 1,
            // A snapshot is the whole book, often of several megabytes.
            symbols_per_connection: 50,
            message_bytes: 16 << 20, // A whole book has tens of thousands of levels.
            idle_ms: 5_000,          // A heartbeat comes every second.
            max_age_s: None,
        }
    }
}

/// Trades for the candles, the book, its top as the venue has it, and the venue's own candles, which are all five
/// minutes long.
fn channels(wanted: &Subscription<'_>) -> impl Iterator<Item = &'static str> {
    let candles = wanted.klines.contains(&Timeframe::M5).then_some("candles");
    ["market_trades", BOOK, "ticker"].into_iter().chain(candles)
}

fn message(kind: &str, symbols: &[String], channel: &str) -> String {
    format!(r#"{{"type":"{kind}","product_ids":["{}"],"channel":"{channel}"}}"#, symbols.join("\",\""))
}

/// Ends and begins the channels of one symbol.
fn again(symbol: &str, channels: impl Iterator<Item = &'static str>) -> Vec<String> {
    let symbol = [symbol.to_owned()];
    channels
        .flat_map(|channel| ["unsubscribe", "subscribe"].map(|kind| message(kind, &symbol, channel)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_channel_has_its_message() {
        let symbols = ["BTC-USD".to_owned(), "ETH-USDC".to_owned()];
        let wanted = Subscription { symbols: &symbols, klines: &[Timeframe::M1] };
        let messages = CoinbaseAdvanced.subscribe(&wanted);
        assert_eq!(messages[0], r#"{"type":"subscribe","channel":"heartbeats"}"#);
        assert_eq!(
            messages[1],
            r#"{"type":"subscribe","product_ids":["BTC-USD","ETH-USDC"],"channel":"market_trades"}"#
        );
        assert_eq!(messages.len(), 4);
        let wanted = Subscription { symbols: &symbols, klines: &[Timeframe::M1, Timeframe::M5] };
        assert_eq!(CoinbaseAdvanced.subscribe(&wanted).len(), 5);
        assert_eq!(
            CoinbaseAdvanced.resubscribe_book("BTC-USD"),
            [
                r#"{"type":"unsubscribe","product_ids":["BTC-USD"],"channel":"level2"}"#,
                r#"{"type":"subscribe","product_ids":["BTC-USD"],"channel":"level2"}"#,
            ]
        );
        assert_eq!(CoinbaseAdvanced.resubscribe("BTC-USD", &wanted).len(), 8);
    }
}
