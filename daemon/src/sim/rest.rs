//! Which venue's REST endpoints a path belongs to.
//!
//! What holds: answers come from the same market state as the streams.

use super::http::Answer;
use super::venue::World;
use super::{binance, coinbase, kraken};

/// What comes with 429 and 503 when those are made to happen.
pub(super) const FAULT: &str = r#"{"code":-1003,"msg":"Try again later.","message":"Try again later."}"#;

/// The answer to a GET request.
pub(super) fn answer(world: &World<'_>, path: &str, query: &[(String, String)]) -> Answer {
    if path.starts_with("/0/public/") {
        kraken::rest::answer(world, path, query)
    } else if path.starts_with("/api/v3/brokerage/") {
        coinbase::advanced_rest::answer(world, path, query)
    } else if path == "/products" || path.starts_with("/products/") {
        coinbase::exchange_rest::answer(world, path, query)
    } else {
        binance::rest::answer(world.market, path, query)
    }
}
