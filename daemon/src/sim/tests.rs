//! Tests of the simulated venue from outside: what the market says, and how the server says it.

mod loopback;
mod market_words;

use super::market::{Event, Market};
use super::{SymbolSpec, wire};
use serde_json::Value;

/// A moment 40.5 s before a full hour, in 2023.
const START_MS: i64 = 1_700_002_759_500;

/// The event's frame, read back as JSON.
fn words(event: &Event, specs: &[SymbolSpec]) -> Value {
    serde_json::from_str(&wire::frame(&specs[event.symbol].name(), event)).unwrap()
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
