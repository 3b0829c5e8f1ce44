//! The real daemon with a feed of every venue, over TLS, from one simulated market that does everything wrong: what the
//! venues' bars say is the same, for each second that is called traded or quiet, and it goes on.

#[allow(dead_code, reason = "only some of it is needed here")]
mod common {
    pub(crate) mod daemon;
    pub(crate) mod tls;
    pub(crate) mod venue;
    pub(crate) mod wire;
}

use chartd::sim::{Faults, Sim, SimConfig, SymbolSpec};
use common::daemon::{Daemon, wait_until};
use common::tls::{Authority, Fault};
use market::{Candle, CandleState, Venue};
use shm::status::Counter::*;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long the market is watched.
const LIFE: Duration = Duration::from_secs(25);
/// What a symbol of the simulation is called, and where its streams are.
const FEEDS: [(Venue, &str, &str); 4] = [
    (Venue::Binance, "BTCUSDT", ""),
    (Venue::Kraken, "BTC/USDT", "/v2"),
    (Venue::Coinbase, "BTC-USDT", ""),
    (Venue::CoinbaseAdvanced, "BTC-USDT", ""),
];

/// What a bar says of the market: the same at every venue, but for ids that stand for its end.
fn said(bar: &Candle) -> (Option<[i64; 4]>, i128, u64) {
    (bar.ohlc.map(|ohlc| [ohlc.open, ohlc.high, ohlc.low, ohlc.close]), bar.volume, bar.trades)
}

#[test]
fn all_venues_tell_the_same_of_one_market() {
    let folder = TempDir::new().unwrap();
    let authority = Authority::new(folder.path(), "ca.pem");
    let mut config = SimConfig::new(([127, 0, 0, 1], 0).into(), 11);
    config.symbols = SymbolSpec::defaults()[..1].to_vec();
    config.warm_up = Duration::from_secs(10);
    config.trades_per_second = 15.0;
    config.faults = Faults::all();
    config.tls = Some(authority.server(Fault::None).config());
    let sim = Sim::start(config).unwrap();

    let address = sim.addr();
    let mut text = String::new();
    for (venue, symbol, path) in FEEDS {
        text += &format!(
            "[[feed]]\nvenue = \"{venue}\"\nsymbols = [\"{symbol}\"]\nurl = \"wss://{address}{path}\"\n\
             rest_url = \"https://{address}\"\nca_file = {:?}\nprice_digits = 8\nquantity_digits = 8\n\
             [[chart]]\nsource = \"{venue}:{symbol}\"\ntimeframe = \"1s\"\nsize = [320, 200]\n",
            authority.ca_file
        );
    }
    let cache = folder.path().join("cache");
    let Some(daemon) = Daemon::start_in(&text, TempDir::new().unwrap(), &cache, &[]) else { return };
    let chart = |(venue, symbol, _): (Venue, &str, &str)| format!("{venue}:{symbol}/1s");
    let has_bars = |feed| !daemon.candles_of(&chart(feed)).bars.is_empty();
    wait_until(|| daemon.log(), || FEEDS.into_iter().all(has_bars));
    let started = Instant::now();
    wait_until(|| daemon.log(), || started.elapsed() >= LIFE);

    // Of the newest bars nobody can know yet whether a trade is missing.
    let newest_ms = daemon.candles_of(&chart(FEEDS[0])).bars.last().unwrap().open_ms - 8_000;
    let mut bars: BTreeMap<i64, Vec<(Venue, Candle)>> = BTreeMap::new();
    let mut counts = BTreeMap::new();
    for feed in FEEDS {
        for bar in daemon.candles_of(&chart(feed)).bars {
            *counts.entry((feed.0, bar.state.name())).or_insert(0) += 1;
            let is_proven =
                matches!(bar.state, CandleState::Traded | CandleState::Quiet) && bar.ohlc.is_some();
            if is_proven && bar.open_ms < newest_ms {
                bars.entry(bar.open_ms).or_default().push((feed.0, bar));
            }
        }
    }
    let mut compared = 0;
    for (open_ms, bars) in &bars {
        for pair in bars.windows(2) {
            assert_eq!(said(&pair[0].1), said(&pair[1].1), "{open_ms}: {pair:?}\n{}", daemon.log());
            compared += 1;
        }
    }
    let injected = sim.injected().len();
    println!("{injected} faults, {compared} pairs of bars equal; {counts:?}");
    println!(
        "{} trades repaired, {} lost, {} books fetched, {} connections, {} lost",
        daemon.count(RepairedTrades),
        daemon.count(LostTrades),
        daemon.count(BookSnapshots),
        daemon.count(Connects),
        daemon.count(Disconnects)
    );
    assert!(injected > 20, "only {injected} faults");
    assert!(compared >= 30, "only {compared} pairs; {counts:?}\n{}", daemon.log());
}
