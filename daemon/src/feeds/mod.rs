//! The feeds as the cold plane sees them: where each comes from, and what of an old configuration goes on.
//!
//! - `connector` keeps them connected, and carries events and orders between the hot thread and the cold plane.
//! - `lines` decides which connections a feed is to have; `gate`, when one may be begun.
//! - `day` is the one on which a venue's times of day are.
//! - `repairs` asks for what the engine misses.

mod connector;
mod day;
mod gate;
mod lines;
mod repairs;

pub(crate) use connector::Connector;
pub(crate) use day::Day;

use crate::config::{Chart, Config, Feed};
use crate::engine::FeedPlan;
use crate::ingest::connect::{Endpoint, Speech, tls_config};
use crate::ingest::multicast::MoldPlan;
use crate::rest::{Hosts, RestClient};
use market::{Instrument, Timeframe};
use std::sync::Arc;
use std::time::Duration;

/// Where a feed comes from, and how it is to be kept connected.
#[derive(Clone)]
pub(crate) struct Source {
    venue: market::Venue,
    endpoint: Arc<Endpoint>,
    tls: Option<Arc<rustls::ClientConfig>>,
    rest: Option<RestClient>,
    /// By place in the feed's table.
    instruments: Vec<Instrument>,
    klines: Vec<Timeframe>,
    connections: usize,
    /// The day of its times, where the venue tells the time of day only.
    day: Option<Day>,
    /// The age at which a connection is replaced.
    longest: Option<Duration>,
}

/// The sources of a configuration's feeds.
pub(crate) fn sources(config: &Config, hosts: &Hosts) -> anyhow::Result<Vec<Source>> {
    config.feeds.iter().map(|feed| source(config, feed, hosts)).collect()
}

fn source(config: &Config, feed: &Feed, hosts: &Hosts) -> anyhow::Result<Source> {
    let mut klines: Vec<Timeframe> = Vec::new();
    for chart in config.charts.iter().filter(|chart| is_of(chart, feed)) {
        if !klines.contains(&chart.timeframe) {
            klines.push(chart.timeframe);
        }
    }
    let endpoint = Arc::new(feed.endpoint(&klines).map_err(anyhow::Error::msg)?);
    let rest = feed.rest().map_err(anyhow::Error::msg)?;
    let is_encrypted = endpoint.address.tls || rest.as_ref().is_some_and(|rest| rest.tls);
    let tls = is_encrypted.then(|| tls_config(feed.ca_file.as_deref())).transpose()?;
    // An hour before the venue ends it, or at half its age if it ends them sooner.
    let by_venue = |age: u32| age.saturating_sub(3_600).max(age / 2).max(1);
    let age_s = feed.reconnect_after_s.or(feed.venue.protocol().limits().max_age_s.map(by_venue));
    Ok(Source {
        venue: feed.venue,
        rest: rest.map(|rest| RestClient::new(rest, tls.clone(), hosts)),
        tls,
        instruments: feed.symbols.iter().map(|symbol| instrument(config, feed, symbol)).collect(),
        klines,
        connections: endpoint.seats().unwrap_or(feed.connections.into()),
        day: feed.day(),
        longest: age_s.map(|age| Duration::from_secs(age.into())),
        endpoint,
    })
}

fn instrument(config: &Config, feed: &Feed, symbol: &str) -> Instrument {
    let [price_digits, qty_digits] = config.digits.of(feed, symbol);
    Instrument { price_digits, qty_digits, ..Instrument::new(feed.venue, symbol) }
}

fn is_of(chart: &Chart, feed: &Feed) -> bool {
    chart.source.venue == feed.venue && feed.symbols.contains(&chart.source.symbol)
}

/// Which candles each feed's instruments need: those of its charts.
pub(crate) fn feed_plans(config: &Config) -> Vec<FeedPlan> {
    let timeframes = |venue, symbol: &String| {
        let mut wanted: Vec<Timeframe> = Vec::new();
        for chart in &config.charts {
            let fits = chart.source.venue == venue && chart.source.symbol == *symbol;
            if fits && !wanted.contains(&chart.timeframe) {
                wanted.push(chart.timeframe);
            }
        }
        wanted
    };
    let plan = |feed: &Feed| FeedPlan {
        venue: feed.venue,
        instruments: feed
            .symbols
            .iter()
            .map(|symbol| (instrument(config, feed, symbol), timeframes(feed.venue, symbol)))
            .collect(),
    };
    config.feeds.iter().map(plan).collect()
}

/// The feeds that come by MoldUDP64, and how; `None` for others.
pub(crate) fn mold_plans(sources: &[Source]) -> Vec<Option<MoldPlan>> {
    let plan = |source: &Source| match &source.endpoint.speech {
        Speech::Mold(plan) => Some(plan.clone()),
        _ => None,
    };
    sources.iter().map(plan).collect()
}

/// For each feed of a new configuration, the old one that it goes on with: of the same venue, at the same address.
pub(crate) fn kept(old: &Config, new: &Config) -> Vec<Option<usize>> {
    let mut taken = vec![false; old.feeds.len()];
    let find = |feed: &Feed| {
        let same = |other: &Feed| other.venue == feed.venue && other.url == feed.url;
        let place = (0..old.feeds.len()).find(|place| !taken[*place] && same(&old.feeds[*place]))?;
        taken[place] = true;
        Some(place)
    };
    new.feeds.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(feeds: &str) -> Config {
        let chart = "[[chart]]\nsource = \"binance:A\"\ntimeframe = \"1m\"\n";
        Config::parse(&format!("{feeds}{chart}"), "a test").unwrap()
    }

    #[test]
    fn feeds_go_on_by_venue_and_address() {
        let a = "[[feed]]\nvenue = \"binance\"\nsymbols = [\"A\"]\nurl = \"ws://127.0.0.1:1\"\n";
        let b = "[[feed]]\nvenue = \"binance\"\nsymbols = [\"B\"]\nurl = \"ws://127.0.0.1:2\"\n";
        let (old, new) = (config(&format!("{a}{b}")), config(&format!("{b}{a}")));
        assert_eq!(kept(&old, &new), [Some(1), Some(0)]);
        assert_eq!(kept(&config(a), &new), [None, Some(0)]);
        let twice = format!("{a}{}", a.replace("\"A\"", "\"C\""));
        assert_eq!(kept(&config(a), &config(&twice)), [Some(0), None]);
    }
}
