//! The structs into which the reference parsers read each kind of frame, and an example of each for machines without
//! recorded data.

use market::Venue;
use serde::Deserialize;
use std::hint::black_box;

/// Each parser's way to read a frame of one kind.
#[derive(Clone, Copy)]
pub(super) struct References {
    pub(super) serde_json: fn(&[u8]),
    pub(super) sonic_rs: fn(&[u8]),
}

/// The symbols of a venue's frames, recorded or not.
pub(super) fn symbols(venue: Venue) -> &'static [&'static str] {
    match venue {
        Venue::Binance => &["BTCUSDT"],
        Venue::Kraken => &["BTC/USDT", "BTC/USD", "MINA/GBP"],
        Venue::Coinbase => &[
            "SKL-USD", "SKL-BTC", "BAND-GBP", "NMR-EUR", "BAND-BTC", "YFI-BTC", "DASH-BTC", "NU-GBP",
            "CRV-EUR", "SKL-GBP",
        ],
        Venue::CoinbaseAdvanced => &["BTC-USD", "ETH-USD"],
        Venue::Itch => &[], // It is no JSON: there is nothing to hold it against.
    }
}

macro_rules! references {
    ($name:ident, $type:ty) => {
        pub(super) fn $name() -> References {
            References {
                serde_json: |frame| {
                    black_box(&serde_json::from_slice::<$type>(frame).expect("a valid frame"));
                },
                sonic_rs: |frame| {
                    black_box(&sonic_rs::from_slice::<$type>(frame).expect("a valid frame"));
                },
            }
        }
    };
}

references!(binance_trade, Combined<BinanceTrade<'_>>);
references!(binance_quote, Combined<BinanceQuote<'_>>);
references!(binance_depth, Combined<BinanceDepth<'_>>);
references!(kraken_trade, Kraken<'_, KrakenTrade<'_>>);
references!(kraken_book, Kraken<'_, KrakenBook<'_>>);
references!(coinbase_match, CoinbaseMatch<'_>);
references!(coinbase_book, CoinbaseBook<'_>);
references!(advanced_trades, Advanced<'_, AdvancedTrades<'_>>);
references!(advanced_book, Advanced<'_, AdvancedBook<'_>>);

pub(super) const BINANCE_TRADE: &str = r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}"#;
pub(super) const BINANCE_QUOTE: &str = r#"{"stream":"btcusdt@bookTicker","data":{"u":50093239212,"s":"BTCUSDT","b":"61837.63000000","B":"3.78826000","a":"61837.64000000","A":"1.54698000"}}"#;
pub(super) const BINANCE_DEPTH: &str = r#"{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1723161255414,"s":"BTCUSDT","U":50093239213,"u":50093239216,"b":[["61837.63000000","3.70000000"],["61837.10000000","0.00000000"]],"a":[["61837.64000000","1.50000000"],["61840.00000000","0.25000000"]]}}"#;
pub(super) const KRAKEN_TRADE: &str = r#"{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"buy","price":77120.0,"qty":0.00048000,"ord_type":"market","trade_id":9622656,"timestamp":"2026-07-23T04:41:46.919844Z"}]}"#;
pub(super) const KRAKEN_BOOK: &str = r#"{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[{"price":77119.9,"qty":0.25000000},{"price":77118.0,"qty":0.00000000}],"asks":[],"checksum":2818891544,"timestamp":"2026-07-23T04:41:46.919844Z"}]}"#;
pub(super) const COINBASE_MATCH: &str = r#"{"type":"match","trade_id":280232,"maker_order_id":"2a0da34e-61f7-4c36-88e5-c9dd15927b16","taker_order_id":"3c82abaa-c01e-4608-be59-6a1e69742891","side":"sell","size":"985","price":"0.00001305","product_id":"SKL-BTC","sequence":177100030,"time":"2021-04-17T16:43:37.089723Z"}"#;
pub(super) const COINBASE_BOOK: &str = r#"{"type":"l2update","product_id":"SKL-BTC","changes":[["sell","0.00001306","660.5"]],"time":"2021-04-17T16:43:37.075687Z"}"#;
pub(super) const ADVANCED_TRADES: &str = r#"{"channel":"market_trades","client_id":"","timestamp":"2026-09-30T01:41:27.834Z","sequence_num":5,"events":[{"type":"update","trades":[{"product_id":"ETH-USD","trade_id":"846149798","price":"2668.35","size":"0.03710506","time":"2026-09-30T01:41:25.375232Z","side":"SELL"}]}]}"#;
pub(super) const ADVANCED_BOOK: &str = r#"{"channel":"l2_data","client_id":"","timestamp":"2026-04-07T14:30:01.456789Z","sequence_num":17,"events":[{"type":"update","product_id":"BTC-USD","updates":[{"side":"bid","event_time":"2026-04-07T14:30:01.456789Z","price_level":"68900.00","new_quantity":"2.00000000"},{"side":"bid","event_time":"2026-04-07T14:30:01.456789Z","price_level":"68899.10","new_quantity":"0.13500000"},{"side":"offer","event_time":"2026-04-07T14:30:01.456789Z","price_level":"68901.00","new_quantity":"0"}]}]}"#;

/// Deserialising fills the fields of all these; that is what is measured.
#[derive(Deserialize)]
struct Combined<T> {
    #[allow(dead_code)]
    data: T,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct BinanceTrade<'a> {
    e: &'a str,
    #[serde(rename = "E")]
    event_ms: u64,
    s: &'a str,
    t: u64,
    p: &'a str,
    q: &'a str,
    #[serde(rename = "T")]
    time_ms: u64,
    m: bool,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct BinanceQuote<'a> {
    u: u64,
    s: &'a str,
    b: &'a str,
    #[serde(rename = "B")]
    bid_qty: &'a str,
    a: &'a str,
    #[serde(rename = "A")]
    ask_qty: &'a str,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct BinanceDepth<'a> {
    e: &'a str,
    #[serde(rename = "E")]
    event_ms: u64,
    s: &'a str,
    #[serde(rename = "U")]
    first_id: u64,
    u: u64,
    #[serde(borrow)]
    b: Vec<[&'a str; 2]>,
    #[serde(borrow)]
    a: Vec<[&'a str; 2]>,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct Kraken<'a, T> {
    channel: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    data: Vec<T>,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct KrakenTrade<'a> {
    symbol: &'a str,
    side: &'a str,
    price: f64,
    qty: f64,
    ord_type: &'a str,
    trade_id: u64,
    timestamp: &'a str,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct KrakenBook<'a> {
    symbol: &'a str,
    bids: Vec<KrakenLevel>,
    asks: Vec<KrakenLevel>,
    checksum: u32,
    timestamp: &'a str,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct KrakenLevel {
    price: f64,
    qty: f64,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct CoinbaseMatch<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    trade_id: u64,
    side: &'a str,
    size: &'a str,
    price: &'a str,
    product_id: &'a str,
    sequence: u64,
    time: &'a str,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct CoinbaseBook<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    product_id: &'a str,
    #[serde(borrow)]
    changes: Vec<[&'a str; 3]>,
    time: &'a str,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct Advanced<'a, T> {
    channel: &'a str,
    timestamp: &'a str,
    sequence_num: u64,
    events: Vec<T>,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct AdvancedTrades<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    trades: Vec<AdvancedTrade<'a>>,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct AdvancedTrade<'a> {
    product_id: &'a str,
    trade_id: &'a str,
    price: &'a str,
    size: &'a str,
    time: &'a str,
    side: &'a str,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct AdvancedBook<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    product_id: &'a str,
    #[serde(borrow)]
    updates: Vec<AdvancedLevel<'a>>,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct AdvancedLevel<'a> {
    side: &'a str,
    event_time: &'a str,
    price_level: &'a str,
    new_quantity: &'a str,
}
