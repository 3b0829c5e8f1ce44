//! The configuration: a TOML file, checked as a whole before anything starts.
//!
//! An unknown key, a wrong type or an impossible value is an error that names the file, the line and the reason.

mod chart;
mod feed;
mod itch;
mod journal;

pub use chart::{Chart, ColorTable, LineTable, Price};
pub use feed::Feed;
pub use journal::{Journal, Span};

use crate::metadata::Digits;
use crate::rt::{Threads, Wait};
use ::chart::MAX_SIZE;
use jiff::tz::TimeZone;
use market::{MAX_SYMBOL_BYTES, Venue, is_symbol};
use serde::{Deserialize, Deserializer, de};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A whole configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where market data comes from.
    #[serde(rename = "feed", default)]
    pub feeds: Vec<Feed>,
    /// What is drawn of it.
    #[serde(rename = "chart", default)]
    pub charts: Vec<Chart>,
    /// How many candles of each chart are kept.
    #[serde(default = "default_bars", deserialize_with = "bars")]
    pub bars: usize,
    /// How many readers of each chart may use frames in place, instead of copying them.
    #[serde(default = "default_leases", deserialize_with = "leases")]
    pub leases: usize,
    /// The control socket; see [`chart_client::own_socket`] for where it is otherwise.
    #[serde(default)]
    pub socket: Option<PathBuf>,
    /// Where the page is served; nowhere without it.
    #[serde(default)]
    pub http: Option<SocketAddr>,
    /// What the hot threads ask of the machine.
    #[serde(default)]
    pub realtime: Realtime,
    /// Where what the feeds bring is kept; nowhere without it.
    #[serde(default)]
    pub journal: Option<Journal>,
    /// The decimal places that the venues have told; no key of the file.
    #[serde(skip)]
    pub(crate) digits: Digits,
}

/// A venue and one of its symbols.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Source {
    /// The venue.
    pub venue: Venue,
    /// Its symbol.
    pub symbol: String,
}

/// `[realtime]`: what the hot threads ask of the machine. What is refused is reported and done without.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Realtime {
    /// How many there are.
    pub threads: Threads,
    /// How they wait.
    pub wait: Wait,
    /// The CPU of the thread that ingests; chosen without it.
    #[serde(deserialize_with = "cpu")]
    pub ingest_cpu: Option<usize>,
    /// The CPU of the thread that draws.
    #[serde(deserialize_with = "cpu")]
    pub render_cpu: Option<usize>,
    /// Keeps CPUs from sleeping so deeply that waking takes more than so many microseconds; costs power.
    pub cpu_dma_latency_us: Option<u32>,
    /// Their SCHED_FIFO priority, 1 to 99; zero asks for none.
    #[serde(deserialize_with = "priority")]
    pub priority: u8,
    /// Whether frames lie in 2 MiB pages where there are any.
    pub huge_pages: bool,
    /// Whether memory is locked.
    pub lock_memory: bool,
    /// Whether a refusal prevents the start.
    pub strict: bool,
}

impl Default for Realtime {
    fn default() -> Self {
        Self {
            threads: Threads::Auto,
            wait: Wait::Auto,
            ingest_cpu: None,
            render_cpu: None,
            cpu_dma_latency_us: None,
            priority: 10,
            huge_pages: true,
            lock_memory: true,
            strict: false,
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}")]
    Unreadable {
        /// The file.
        path: String,
        /// The kernel's reason.
        source: std::io::Error,
    },
    /// A line is wrong.
    #[error("{path}, line {line}: {reason}")]
    Line {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// The parts do not fit together.
    #[error("{path}: {reason}")]
    Whole {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

impl Config {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, &name),
            Err(source) => Err(ConfigError::Unreadable { path: name, source }),
        }
    }

    /// Checks a text; `name` stands for it in errors.
    pub fn parse(text: &str, name: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start).min(text.len());
            let line = 1 + text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count();
            let reason = error.message().replace('\n', " ");
            ConfigError::Line { path: name.to_owned(), line, reason }
        })?;
        let whole = |reason| ConfigError::Whole { path: name.to_owned(), reason };
        config.check().map_err(whole)?;
        Ok(config)
    }

    /// The decimal places of a source's prices.
    pub fn price_digits(&self, source: &Source) -> u8 {
        let brings = |feed: &&Feed| feed.venue == source.venue && feed.symbols.contains(&source.symbol);
        let [price, _] = self
            .feeds
            .iter()
            .find(brings)
            .map_or(source.venue.usual_digits(), |feed| self.digits.of(feed, &source.symbol));
        price
    }

    /// What no single line can tell.
    fn check(&self) -> Result<(), String> {
        if self.charts.is_empty() {
            return Err("it has no [[chart]], so there is nothing to draw".into());
        }
        if self.charts.len() > shm::status::MAX_CHARTS {
            let (count, most) = (self.charts.len(), shm::status::MAX_CHARTS);
            return Err(format!("it has {count} charts; {most} is the most for one daemon"));
        }
        let Realtime { ingest_cpu, render_cpu, .. } = self.realtime;
        if ingest_cpu.is_some() && ingest_cpu == render_cpu {
            return Err(
                "ingest_cpu and render_cpu are the same: say threads = \"fused\" for one thread".into()
            );
        }
        let mut sources = HashSet::new();
        for feed in &self.feeds {
            feed.check()?;
            let mut own = HashSet::new();
            for symbol in &feed.symbols {
                if !own.insert(symbol) {
                    return Err(format!("{}:{symbol} is named twice in its feed", feed.venue));
                }
                if !sources.insert((feed.venue, symbol)) {
                    return Err(format!("{}:{symbol} comes from two feeds", feed.venue));
                }
            }
        }
        let mut names = HashSet::new();
        for chart in &self.charts {
            let name = chart.name();
            if !sources.contains(&(name.venue, &name.symbol)) {
                let Source { venue, symbol } = &chart.source;
                return Err(format!("chart {name} has no feed: add {symbol} to a [[feed]] of {venue}"));
            }
            let digits = self.price_digits(&chart.source);
            chart
                .look(digits)
                .and(chart.price_lines(digits))
                .map_err(|reason| format!("chart {name}: {reason}"))?;
            if !names.insert(name.clone()) {
                return Err(format!("chart {name} is there twice"));
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for Source {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let (venue, symbol) =
            text.split_once(':').ok_or(format!("'{text}' is not venue:SYMBOL, as binance:BTCUSDT"))?;
        check_symbol(symbol)?;
        Ok(Self { venue: venue.parse()?, symbol: symbol.to_owned() })
    }
}

fn check_symbol(symbol: &str) -> Result<(), String> {
    if !is_symbol(symbol.as_bytes()) {
        return Err(format!(
            "'{symbol}' is not a symbol: 1 to {MAX_SYMBOL_BYTES} letters, digits, / - _ or ."
        ));
    }
    Ok(())
}

fn default_bars() -> usize {
    2_000
}

fn default_leases() -> usize {
    2
}

/// A text that is read by `FromStr`.
fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err: std::fmt::Display>>(from: D) -> Result<T, D::Error> {
    String::deserialize(from)?.parse().map_err(de::Error::custom)
}

fn in_range<'de, D: Deserializer<'de>>(from: D, what: &str, least: i64, most: i64) -> Result<i64, D::Error> {
    let value = i64::deserialize(from)?;
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(de::Error::custom(format!("{what} must be {least} to {most}, not {value}")))
}

fn priority<'de, D: Deserializer<'de>>(from: D) -> Result<u8, D::Error> {
    in_range(from, "the priority", 0, 99).map(|value| value as u8)
}

fn cpu<'de, D: Deserializer<'de>>(from: D) -> Result<Option<usize>, D::Error> {
    in_range(from, "the number of a CPU", 0, 1023).map(|value| Some(value as usize))
}

fn leases<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    in_range(from, "the number of leases", 0, shm::lease::MAX_LEASES as i64).map(|value| value as usize)
}

fn bars<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    in_range(from, "the number of bars kept", 1, 1_000_000).map(|value| value as usize)
}

fn size<'de, D: Deserializer<'de>>(from: D) -> Result<[u32; 2], D::Error> {
    let sides = Vec::<i64>::deserialize(from)?;
    let sides = <[i64; 2]>::try_from(sides).map_err(|sides| {
        de::Error::custom(format!("a size is [width, height], not {} numbers", sides.len()))
    })?;
    let fits = sides.iter().all(|side| (1..=i64::from(MAX_SIZE)).contains(side));
    if !fits {
        let [width, height] = sides;
        return Err(de::Error::custom(format!(
            "a chart cannot be {width}×{height} pixels; each side must be 1 to {MAX_SIZE}"
        )));
    }
    Ok(sides.map(|side| side as u32))
}

fn time_zone<'de, D: Deserializer<'de>>(from: D) -> Result<TimeZone, D::Error> {
    let name = String::deserialize(from)?;
    TimeZone::get(&name)
        .map_err(|_| de::Error::custom(format!("'{name}' is not an IANA time zone, as Europe/Berlin")))
}
