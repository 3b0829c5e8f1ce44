//! What a [`Kind::Start`](journal::Kind::Start) record holds: what the feeds of a configuration are, as JSON.
//!
//! All that follows it, up to the next one, is told by places here: a record's feed is the place in `feeds`, a book's
//! instrument the place in that feed's `instruments`. A key that a reader does not know means nothing to it.

use crate::config::Config;
use crate::feeds;
use jiff::Timestamp;
use market::{Instrument, MAX_SYMBOL_BYTES, Timeframe, Venue, decimal, is_symbol};
use serde::{Deserialize, Serialize};
use shm::prefix::Identity;

/// The most feeds and instruments of a feed that are read: more than a configuration can have.
const MOST: usize = 4_096;

/// What is recorded, by which run of chartd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Which run: another number, in hex, for each.
    pub run: String,
    /// Which configuration of it, from 1.
    pub generation: u32,
    /// The version of chartd.
    pub version: String,
    /// Since when the machine runs, as the kernel names it: monotonic times of different ones cannot be compared.
    pub boot_id: String,
    /// The feeds, by their places.
    pub feeds: Vec<StartFeed>,
}

/// A feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartFeed {
    /// The venue's name.
    pub venue: String,
    /// What it carries, by place.
    pub instruments: Vec<StartInstrument>,
    /// The place of the feed in the generation before that it goes on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goes_on: Option<usize>,
    /// Whether each connection of a new run brings the session from its first message on, so that what was recorded of
    /// it before must not be counted a second time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub from_start: bool,
    /// The day of its times, as 2026-11-24, where the venue tells the time of day only and the configuration the day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
}

/// An instrument, and the candles that are made of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartInstrument {
    /// The venue's symbol.
    pub symbol: String,
    /// Decimal places of its prices.
    pub price_digits: u8,
    /// Decimal places of its quantities.
    pub qty_digits: u8,
    /// The lengths of its candles, as 1m.
    #[serde(default)]
    pub timeframes: Vec<String>,
}

/// Why a payload is no start.
#[derive(Debug, thiserror::Error)]
pub enum BadStart {
    /// No JSON, or other JSON.
    #[error("a start record is not what it should be: {0}")]
    Json(#[from] serde_json::Error),
    /// JSON that cannot be meant.
    #[error("a start record has {0}")]
    Value(String),
}

impl Start {
    /// What a configuration records. `kept` has, for each feed, the place of the one before that it goes on with.
    pub(crate) fn of(config: &Config, identity: Identity, kept: &[Option<usize>]) -> Self {
        let feed = |(place, plan): (usize, crate::engine::FeedPlan)| {
            let of = &config.feeds[place];
            StartFeed {
                venue: plan.venue.name().to_owned(),
                instruments: plan.instruments.iter().map(StartInstrument::of).collect(),
                goes_on: kept.get(place).copied().flatten(),
                from_start: of.is_from_start(),
                date: of.date.map(|date| date.to_string()),
            }
        };
        let [high, low] = identity.epoch;
        Self {
            run: format!("{high:016x}{low:016x}"),
            generation: identity.generation as u32,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            boot_id: boot_id(),
            feeds: feeds::feed_plans(config).into_iter().enumerate().map(feed).collect(),
        }
    }

    /// As the payload of a record.
    pub fn encode(&self) -> Vec<u8> {
        // Strings and numbers only: it cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a payload.
    pub fn decode(payload: &[u8]) -> Result<Self, BadStart> {
        let start: Self = serde_json::from_slice(payload)?;
        let wrong = |what: String| Err(BadStart::Value(what));
        if start.feeds.len() > MOST || start.feeds.iter().any(|feed| feed.instruments.len() > MOST) {
            return wrong(format!("more than {MOST} feeds, or instruments of one"));
        }
        for feed in &start.feeds {
            if feed.venue.parse::<Venue>().is_err() {
                return wrong(format!("the venue '{}', which this chartd does not know", feed.venue));
            }
            for StartInstrument { symbol, price_digits, qty_digits, .. } in &feed.instruments {
                if !is_symbol(symbol.as_bytes()) {
                    return wrong(format!("a symbol that is not 1 to {MAX_SYMBOL_BYTES} letters and digits"));
                }
                if *price_digits.max(qty_digits) > decimal::MAX_DIGITS {
                    return wrong(format!("more than {} decimal places", decimal::MAX_DIGITS));
                }
            }
        }
        Ok(start)
    }
}

impl StartFeed {
    /// The venue. It was looked at when the record was read.
    pub fn venue(&self) -> Venue {
        self.venue.parse().unwrap_or(Venue::Binance)
    }

    /// What it carries, by place.
    pub fn instruments(&self) -> impl Iterator<Item = Instrument> + '_ {
        let venue = self.venue();
        self.instruments.iter().map(move |one| Instrument {
            price_digits: one.price_digits,
            qty_digits: one.qty_digits,
            ..Instrument::new(venue, one.symbol.clone())
        })
    }

    /// The day of its times if it is read from the middle, at a moment that was `real_ns` by CLOCK_REALTIME.
    pub(crate) fn midnight_ms(&self, real_ns: u64) -> i64 {
        let fixed = self.date.as_ref().and_then(|date| date.parse().ok()).map(feeds::Day::Of);
        let then = || Timestamp::from_nanosecond(i128::from(real_ns)).unwrap_or(Timestamp::UNIX_EPOCH);
        fixed.unwrap_or_else(|| feeds::Day::at(then())).midnight_ms()
    }
}

/// What the kernel calls the time since the machine was started; empty where it does not say.
pub(crate) fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

impl StartInstrument {
    fn of((instrument, timeframes): &(Instrument, Vec<Timeframe>)) -> Self {
        Self {
            symbol: instrument.symbol.clone(),
            price_digits: instrument.price_digits,
            qty_digits: instrument.qty_digits,
            timeframes: timeframes.iter().map(ToString::to_string).collect(),
        }
    }
}
