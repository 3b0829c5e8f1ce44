//! The feeds as the cold plane sees them: which are connected, which are tried again and when.

use crate::config::{Chart, Config, Feed};
use crate::engine::FeedPlan;
use crate::ingest::connect::{Backoff, Endpoint, connect, tls_config};
use crate::ingest::{Established, Event, Remote};
use anyhow::Context;
use market::{Instrument, Timeframe};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Where a feed comes from.
#[derive(Clone)]
pub(crate) struct Source {
    endpoint: Arc<Endpoint>,
    tls: Option<Arc<rustls::ClientConfig>>,
}

/// The sources of a configuration's feeds.
pub(crate) fn sources(config: &Config) -> anyhow::Result<Vec<Source>> {
    let source = |feed: &Feed| {
        let mut klines: Vec<&str> = Vec::new();
        for chart in config.charts.iter().filter(|chart| is_of(chart, feed)) {
            if !klines.contains(&chart.timeframe.name()) {
                klines.push(chart.timeframe.name());
            }
        }
        let endpoint = Arc::new(feed.endpoint(&klines).map_err(anyhow::Error::msg)?);
        let tls = endpoint.tls.then(|| tls_config(feed.ca_file.as_deref())).transpose()?;
        Ok(Source { endpoint, tls })
    };
    config.feeds.iter().map(source).collect()
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
            .map(|symbol| {
                let instrument = Instrument {
                    price_digits: feed.price_digits,
                    qty_digits: feed.quantity_digits,
                    ..Instrument::new(feed.venue, symbol.clone())
                };
                (instrument, timeframes(feed.venue, symbol))
            })
            .collect(),
    };
    config.feeds.iter().map(plan).collect()
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

type Attempt = (usize, anyhow::Result<Established>);

/// Connects every feed, and again whenever a connection ends.
pub(crate) struct Connector {
    remote: Remote,
    feeds: Vec<State>,
    attempts: JoinSet<Attempt>,
    malformed: u64,
}

struct State {
    source: Source,
    backoff: Backoff,
    is_connected: bool,
    is_trying: bool,
}

impl State {
    fn new(source: Source) -> Self {
        Self { source, backoff: Backoff::default(), is_connected: false, is_trying: false }
    }
}

impl Connector {
    /// Begins with the first attempts, once it is polled.
    pub(crate) fn new(remote: Remote, sources: Vec<Source>) -> Self {
        let feeds = sources.into_iter().map(State::new).collect();
        Self { remote, feeds, attempts: JoinSet::new(), malformed: 0 }
    }

    /// Has the hot thread stop.
    pub(crate) fn stop(&self) {
        self.remote.stop();
    }

    /// What wakes the hot thread.
    pub(crate) fn waker(&self) -> impl Fn() + use<> {
        self.remote.waker()
    }

    /// Takes what the hot thread has told so far.
    pub(crate) fn drain(&mut self) {
        while let Some(event) = self.remote.try_event() {
            self.take(event);
        }
    }

    /// Forgets what the hot thread has told: nothing is connected any more.
    pub(crate) fn discard(&mut self) {
        while self.remote.try_event().is_some() {}
    }

    /// Lets a hot thread run again, with these feeds. `kept` has, for each of them, the old one's place. A connection
    /// whose subscriptions change goes on until its successor is there.
    pub(crate) fn reconfigure(&mut self, sources: Vec<Source>, kept: &[Option<usize>]) {
        self.drain();
        self.attempts = JoinSet::new();
        let state = |(source, old): (Source, &Option<usize>)| {
            let old = old.map(|place| &self.feeds[place]);
            let goes_on = old.is_some_and(|old| old.is_connected && old.source.endpoint == source.endpoint);
            State { is_connected: goes_on, ..State::new(source) }
        };
        self.feeds = sources.into_iter().zip(kept).map(state).collect();
        self.remote.go_on();
    }

    /// Does what is next to do. Nothing is lost if the caller stops waiting.
    pub(crate) async fn step(&mut self) -> anyhow::Result<()> {
        for feed in 0..self.feeds.len() {
            let state = &self.feeds[feed];
            if !state.is_connected && !state.is_trying {
                self.attempt(feed, Duration::ZERO);
            }
        }
        tokio::select! {
            event = self.remote.next_event() => self.take(event),
            Some(finished) = self.attempts.join_next() => {
                let (feed, outcome) = finished.context("a connection attempt panicked")?;
                self.finished(feed, outcome);
            }
        }
        Ok(())
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Closed { feed, reason } => {
                tracing::warn!("{}: connection lost: {reason}", self.feeds[feed].source.endpoint);
                self.feeds[feed].is_connected = false;
                self.try_again(feed);
            }
            Event::Malformed { feed, error } => {
                self.malformed += 1;
                // Ever more rarely, so that a broken feed does not fill the log.
                if self.malformed.is_power_of_two() {
                    let (endpoint, count) = (&self.feeds[feed].source.endpoint, self.malformed);
                    tracing::warn!("{endpoint}: malformed frame, the {count}th reported: {error}");
                }
            }
        }
    }

    fn finished(&mut self, feed: usize, outcome: anyhow::Result<Established>) {
        let state = &mut self.feeds[feed];
        state.is_trying = false;
        match outcome {
            Ok(established) => {
                tracing::info!("{}: connected", state.source.endpoint);
                state.backoff.connected();
                state.is_connected = self.remote.hand_over(established);
            }
            Err(error) => tracing::warn!("{error:#}"),
        }
        if !self.feeds[feed].is_connected {
            self.try_again(feed);
        }
    }

    /// Tries to connect a feed again, after a pause.
    fn try_again(&mut self, feed: usize) {
        if self.feeds[feed].is_trying {
            return;
        }
        let random = std::hash::RandomState::new().build_hasher().finish();
        let pause = self.feeds[feed].backoff.pause(random);
        tracing::info!("{}: connecting again in {} ms", self.feeds[feed].source.endpoint, pause.as_millis());
        self.attempt(feed, pause);
    }

    fn attempt(&mut self, feed: usize, pause: Duration) {
        self.feeds[feed].is_trying = true;
        let Source { endpoint, tls } = self.feeds[feed].source.clone();
        self.attempts.spawn(async move {
            tokio::time::sleep(pause).await;
            (feed, connect(feed, &endpoint, tls.as_ref()).await)
        });
    }
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
