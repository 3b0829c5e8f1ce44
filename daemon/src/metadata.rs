//! The instruments' decimal places, learnt before the engine is made: from the configuration, else by REST, else from
//! what was learnt before, else 8 for both.
//!
//! What REST tells is kept on disk, a file for each venue and host, so that a start without REST goes on with the
//! same numbers. What lies there is checked like any input. Instruments that already run keep their places when the
//! configuration is read again: with others, their candles would be lost.

mod cache;

use crate::config::{Config, Feed};
use crate::ingest::connect::tls_config;
use crate::rest::{Hosts, RestClient, RestFailure};
use cache::Cache;
use market::Venue;
use std::collections::HashMap;
use std::time::Duration;
use tokio::task::JoinSet;

/// How long the start waits for REST.
const DEADLINE: Duration = Duration::from_secs(3);
/// Decimal places of prices and quantities, by venue and symbol.
#[derive(Debug, Clone, Default)]
pub(crate) struct Digits(HashMap<(Venue, String), Known>);

#[derive(Debug, Clone, Copy)]
struct Known {
    digits: [u8; 2],
    /// Nobody has told them.
    is_guessed: bool,
}

impl Digits {
    /// Those of a feed's symbol.
    pub(crate) fn of(&self, feed: &Feed, symbol: &str) -> [u8; 2] {
        let key = (feed.venue, symbol.to_owned());
        let [price, quantity] = self.0.get(&key).map_or(feed.venue.usual_digits(), |known| known.digits);
        [feed.price_digits.unwrap_or(price), feed.quantity_digits.unwrap_or(quantity)]
    }

    fn told(&mut self, venue: Venue, symbol: &str, digits: [u8; 2]) {
        self.0.insert((venue, symbol.to_owned()), Known { digits, is_guessed: false });
    }
}

/// Learns what the configuration leaves open. `running` is the one that is in force. Returns a line for each feed
/// about which nothing could be learnt.
pub(crate) async fn learn(config: &mut Config, running: Option<&Config>, hosts: &Hosts) -> Vec<String> {
    let mut digits = Digits::default();
    for feed in &config.feeds {
        for symbol in &feed.symbols {
            let key = (feed.venue, symbol.clone());
            if let Some(known) = running.and_then(|running| running.digits.0.get(&key)) {
                digits.0.insert(key, *known);
            }
        }
    }
    let mut asking = JoinSet::new();
    for feed in &config.feeds {
        let is_open = |symbol: &&String| !digits.0.contains_key(&(feed.venue, String::clone(symbol)));
        let open: Vec<String> = feed.symbols.iter().filter(is_open).cloned().collect();
        if is_overridden(feed) || open.is_empty() {
            continue;
        }
        match client(feed, hosts) {
            Ok(Some(client)) => _ = asking.spawn(ask(feed.venue, client, open)),
            Ok(None) if feed.venue == Venue::Itch => {} // Its numbers have the decimal places of its messages.
            Ok(None) => tracing::info!(
                "a feed of {} has a url and no rest_url: nothing is repaired, and numbers have 8 decimal places",
                feed.venue
            ),
            Err(error) => tracing::warn!("{}: decimal places cannot be asked for: {error:#}", feed.venue),
        }
    }
    while let Some(outcome) = asking.join_next().await {
        match outcome {
            Ok(told) => told.iter().for_each(|(venue, symbol, places)| digits.told(*venue, symbol, *places)),
            Err(panicked) => tracing::error!("asking for decimal places failed: {panicked}"),
        }
    }
    let degraded = config.feeds.iter().filter_map(|feed| guess(feed, &mut digits)).collect();
    config.digits = digits;
    degraded
}

fn is_overridden(feed: &Feed) -> bool {
    feed.price_digits.is_some() && feed.quantity_digits.is_some()
}

fn client(feed: &Feed, hosts: &Hosts) -> anyhow::Result<Option<RestClient>> {
    let Some(address) = feed.rest().map_err(anyhow::Error::msg)? else {
        return Ok(None);
    };
    let tls = address.tls.then(|| tls_config(feed.ca_file.as_deref())).transpose()?;
    Ok(Some(RestClient::new(address, tls, hosts)))
}

/// Fills in what nobody has told. Feeds without REST are as they are meant to be.
fn guess(feed: &Feed, digits: &mut Digits) -> Option<String> {
    if is_overridden(feed) || !matches!(feed.rest(), Ok(Some(_))) {
        return None;
    }
    let mut unknown = Vec::new();
    for symbol in &feed.symbols {
        let guessed = Known { digits: feed.venue.usual_digits(), is_guessed: true };
        if digits.0.entry((feed.venue, symbol.clone())).or_insert(guessed).is_guessed {
            unknown.push(symbol.as_str());
        }
    }
    let (first, more) = (*unknown.first()?, unknown.len() - 1);
    let others = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!(
        "the decimal places of {}:{first}{others} are not known, and taken to be 8 (set price_digits and quantity_digits)",
        feed.venue
    ))
}

type Told = Vec<(Venue, String, [u8; 2])>;

/// What REST or, without it, the cache tells of these symbols.
async fn ask(venue: Venue, client: RestClient, symbols: Vec<String>) -> Told {
    let cache = Cache::of(venue, &client.to_string());
    let mut told = Vec::new();
    let asked = tokio::time::timeout(DEADLINE, fetch(venue, &client, symbols.clone(), &mut told)).await;
    let failure = match asked {
        Ok(Ok(())) => None,
        Ok(Err(failure)) => Some(failure),
        Err(_) => Some("it took more than 3 s".to_owned()),
    };
    if !told.is_empty() {
        cache.keep(told.iter().map(|(_, symbol, digits)| (symbol.clone(), *digits)));
    }
    let Some(failure) = failure else { return told };
    tracing::warn!("{venue}: the decimal places of its symbols could not be asked for: {failure}");
    let before = cache.read();
    for symbol in symbols {
        let is_told = told.iter().any(|(_, other, _)| *other == symbol);
        if let Some(digits) = before.get(&symbol).filter(|_| !is_told) {
            told.push((venue, symbol, *digits));
        }
    }
    told
}

/// Asks for all symbols at once. Where the venue refuses that, for one that it does not know perhaps, halves are asked
/// for, until it is found.
async fn fetch(
    venue: Venue,
    client: &RestClient,
    symbols: Vec<String>,
    told: &mut Told,
) -> Result<(), String> {
    let protocol = venue.protocol();
    let mut parts = vec![symbols];
    while let Some(mut part) = parts.pop() {
        let answer = match client.get(&protocol.instruments(&part)).await {
            Err(RestFailure::Status { code: 400 | 404, .. }) if part.len() > 1 => {
                parts.push(part.split_off(part.len() / 2));
                parts.push(part);
                continue;
            }
            Err(RestFailure::Status { code: 400 | 404, excerpt, .. }) => {
                tracing::warn!("{venue} does not know {}: {excerpt}", part.join(", "));
                continue;
            }
            answer => answer.map_err(|failure| failure.to_string())?,
        };
        let found = protocol.read_instruments(&answer, &part).map_err(|error| error.to_string())?;
        for instrument in &found {
            told.push((venue, instrument.symbol.clone(), [instrument.price_digits, instrument.qty_digits]));
        }
        for symbol in part.iter().filter(|symbol| !found.iter().any(|known| known.symbol == **symbol)) {
            tracing::warn!("{venue} does not know {symbol}");
        }
    }
    Ok(())
}
