//! Tests of the simulated venue from outside: what the market says, and how the server says it.

mod books;
mod faulty;
mod loopback;
mod market_words;
mod shapes;
mod sockets;
mod venues;

use super::binance::wire;
use super::market::{Event, Market};
use super::{Faults, SimConfig, SymbolSpec, Virtual, What};
use serde_json::Value;

/// A moment 40.5 s before a full hour, in 2023.
const START_MS: i64 = 1_700_002_759_500;

/// The event's Binance frame, read back as JSON; null for what Binance does not tell.
fn words(event: &Event, specs: &[SymbolSpec]) -> Value {
    let frame = wire::frame(&specs[event.symbol].name(), event);
    frame.map_or(Value::Null, |frame| serde_json::from_str(&frame).unwrap())
}

/// All events of the default market from [`START_MS`] on, stepped every `step_ms`.
fn events(seed: u64, millis: i64, step_ms: i64) -> Vec<Event> {
    let mut market = Market::new(seed, &SymbolSpec::defaults(), 25.0, START_MS);
    let mut events = Vec::new();
    while market.now_ms() < START_MS + millis {
        market.step((market.now_ms() + step_ms).min(START_MS + millis), &mut events);
    }
    events
}

/// Text with eight decimals, in units of 1e-8.
fn fixed(text: &Value) -> i128 {
    let (whole, decimals) = text.as_str().unwrap().split_once('.').unwrap();
    assert_eq!(decimals.len(), 8, "{text}");
    whole.parse::<i128>().unwrap() * 100_000_000 + decimals.parse::<i128>().unwrap()
}

/// The venues in virtual time, with the default market and a second of history.
fn virtual_venue(seed: u64, faults: Faults) -> Virtual {
    let mut config = SimConfig::new(std::net::SocketAddr::from(([127, 0, 0, 1], 0)), seed);
    config.warm_up = std::time::Duration::from_secs(5);
    Virtual::new(config, faults, START_MS).unwrap()
}

/// Lives on for some ms and returns the texts that reach a connection, with their times.
fn hear(venue: &mut Virtual, conn: u64, millis: i64) -> Vec<(i64, String)> {
    let deliveries = venue.step(venue.now_ms() + millis);
    let texts = deliveries.into_iter().filter(|delivery| delivery.conn == conn);
    texts
        .map(|delivery| match delivery.what {
            What::Text(text) => (delivery.time_ms, text),
            What::Closed => (delivery.time_ms, "closed".to_owned()),
        })
        .collect()
}

/// The same, read as JSON.
fn hear_json(venue: &mut Virtual, conn: u64, millis: i64) -> Vec<Value> {
    hear(venue, conn, millis).iter().map(|(_, text)| serde_json::from_str(text).unwrap()).collect()
}

/// Any decimal text in units of 1e-8.
fn units(text: &str) -> i128 {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    assert!(decimals.len() <= 8, "{text}");
    format!("{whole}{decimals:0<8}").parse().unwrap()
}

/// A recorded file, unpacked; `None`, with a word, where there is none.
fn recorded(path: &str) -> Option<String> {
    let above = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let file = above.map(|folder| folder.join("shared/data").join(path)).find(|file| file.exists());
    let Some(file) = file else {
        println!("skipped: no recorded data");
        return None;
    };
    let bytes = std::fs::read(file).unwrap();
    let mut text = String::new();
    if path.ends_with(".gz") {
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&bytes[..]), &mut text).unwrap();
    } else {
        text = String::from_utf8(bytes).unwrap();
    }
    Some(text)
}
