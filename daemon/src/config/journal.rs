//! `[journal]`: whether what the feeds bring is kept, where, and how surely.

use super::in_range;
use journal::Durability;
use serde::{Deserialize, Deserializer, de};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The largest block. A power of two; see also [`Journal::blocks`].
const BLOCK_BYTES: usize = 256 << 10;
/// How many blocks there is memory for: eight 2 MiB pages of them. What waits for a flush keeps its memory, so with
/// less the disk has nothing to do while one goes on.
const BLOCKS: usize = 64;
/// In class group: no more than this is written without asking for a flush.
const FLUSH_BYTES: u64 = 2 << 20;

/// How the journal is kept. Without the table there is none.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Journal {
    /// Where its segments lie.
    #[serde(deserialize_with = "folder")]
    pub folder: PathBuf,
    /// What a power cut may take.
    #[serde(deserialize_with = "durability")]
    pub durability: Durability,
    /// How long a block that is not full waits for more.
    #[serde(deserialize_with = "gather_us")]
    pub gather_us: u64,
    /// The length of a segment.
    #[serde(deserialize_with = "segment_mb")]
    pub segment_mb: u64,
    /// How much may wait in memory while the disk is slow or full.
    #[serde(deserialize_with = "spill_mb")]
    pub spill_mb: u64,
    /// After so many days a segment is removed; never without it.
    #[serde(deserialize_with = "keep_days")]
    pub keep_days: Option<u64>,
    /// The oldest segments are removed while all take more than this; never without it.
    #[serde(deserialize_with = "keep_gb")]
    pub keep_gb: Option<u64>,
    /// Whether closed segments are packed.
    pub pack: bool,
    /// How much of the past is read again at the start, so that charts do not begin empty.
    pub history: Span,
}

/// A length of time: a whole number and s, m, h or d.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub Duration);

/// The units of a span, and their seconds.
const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
/// The longest span. More than any disk holds.
const MOST_SECONDS: u64 = 10_000 * 86_400;

impl Default for Journal {
    fn default() -> Self {
        Self {
            folder: "/var/lib/chartd/journal".into(),
            durability: Durability::Group,
            gather_us: 1_000,
            segment_mb: 256,
            spill_mb: 64,
            keep_days: None,
            keep_gb: None,
            pack: true,
            history: Span(Duration::from_secs(86_400)),
        }
    }
}

impl Journal {
    /// How it is written.
    pub(crate) fn plan(&self) -> journal::Plan {
        journal::Plan {
            durability: self.durability,
            block_bytes: Self::block_bytes(self.segment_mb),
            segment_bytes: self.segment_mb << 20,
            gather_ns: self.gather_us * 1_000,
            flush_bytes: FLUSH_BYTES,
            blocks: BLOCKS,
        }
    }

    /// A segment has at least four blocks.
    fn block_bytes(segment_mb: u64) -> usize {
        BLOCK_BYTES.min((segment_mb as usize) << 18)
    }

    /// The name of its class.
    pub(crate) fn class(&self) -> &'static str {
        match self.durability {
            Durability::Async => "async",
            Durability::Group => "group",
            Durability::Sync => "sync",
        }
    }
}

impl fmt::Display for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.folder.display(), self.class())?;
        match self.durability {
            Durability::Async => write!(f, ": a power cut may take all since the segment began")?,
            Durability::Group => write!(f, ": a power cut takes what came within the last group")?,
            Durability::Sync => write!(f, ": written through as it comes")?,
        }
        match (self.keep_days, self.keep_gb) {
            (None, None) => write!(f, "; nothing is removed")?,
            (days, gb) => {
                let days = days.map(|days| format!("{days} days"));
                let gb = gb.map(|gb| format!("{gb} GB"));
                let kept: Vec<_> = days.into_iter().chain(gb).collect();
                write!(f, "; {} are kept", kept.join(" and at most "))?;
            }
        }
        write!(f, "; {} is read again at the start", self.history)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (unit, length) =
            UNITS.into_iter().find(|(_, length)| seconds.is_multiple_of(*length)).unwrap_or(("s", 1));
        write!(f, "{}{unit}", seconds / length)
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let span = UNITS.into_iter().find_map(|(unit, length)| {
            let number = text.strip_suffix(unit)?;
            let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            number.parse::<u64>().ok().filter(|_| is_number)?.checked_mul(length)
        });
        match span {
            Some(seconds @ 0..=MOST_SECONDS) => Ok(Self(Duration::from_secs(seconds))),
            _ => Err(format!("'{text}' is not a span of time, as 30m, 12h or 7d, of at most 10000d")),
        }
    }
}

fn folder<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    let folder = PathBuf::deserialize(from)?;
    if folder.is_absolute() {
        return Ok(folder);
    }
    Err(de::Error::custom(format!(
        "the journal's folder must be an absolute path, not '{}'",
        folder.display()
    )))
}

fn durability<'de, D: Deserializer<'de>>(from: D) -> Result<Durability, D::Error> {
    match String::deserialize(from)?.as_str() {
        "async" => Ok(Durability::Async),
        "group" => Ok(Durability::Group),
        "sync" => Ok(Durability::Sync),
        other => Err(de::Error::custom(format!("durability is async, group or sync, not '{other}'"))),
    }
}

fn gather_us<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    in_range(from, "gather_us", 0, 1_000_000).map(|value| value as u64)
}

fn segment_mb<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    in_range(from, "segment_mb", 1, 4_096).map(|value| value as u64)
}

fn spill_mb<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    in_range(from, "spill_mb", 1, 4_096).map(|value| value as u64)
}

fn keep_days<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    in_range(from, "keep_days", 1, 10_000).map(|value| Some(value as u64))
}

fn keep_gb<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    in_range(from, "keep_gb", 1, 1_000_000).map(|value| Some(value as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(text: &str) -> Result<Journal, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn what_is_not_said_is_as_usual() {
        let usual = journal("").unwrap();
        assert_eq!(usual, Journal::default());
        assert_eq!(usual.folder, PathBuf::from("/var/lib/chartd/journal"));
        let plan = usual.plan();
        assert_eq!((plan.segment_bytes, plan.gather_ns), (256 << 20, 1_000_000));
        assert!(usual.to_string().ends_with("nothing is removed; 1d is read again at the start"), "{usual}");
        let bounded = journal("keep_days = 7\nkeep_gb = 100\nhistory = \"90m\"").unwrap();
        assert!(
            bounded
                .to_string()
                .ends_with("7 days and at most 100 GB are kept; 90m is read again at the start")
        );
    }

    #[test]
    fn what_cannot_be_is_refused_with_a_reason() {
        for (line, reason) in [
            ("durability = \"some\"", "durability is async, group or sync, not 'some'"),
            ("gather_us = 1000001", "gather_us must be 0 to 1000000, not 1000001"),
            ("gather_us = -1", "gather_us must be 0 to 1000000, not -1"),
            ("segment_mb = 0", "segment_mb must be 1 to 4096, not 0"),
            ("spill_mb = 4097", "spill_mb must be 1 to 4096, not 4097"),
            ("keep_days = 0", "keep_days must be 1 to 10000, not 0"),
            ("keep_gb = 0", "keep_gb must be 1 to 1000000, not 0"),
            ("folder = \"here\"", "the journal's folder must be an absolute path, not 'here'"),
            ("history = \"1w\"", "'1w' is not a span of time, as 30m, 12h or 7d, of at most 10000d"),
            ("history = \"+1d\"", "'+1d' is not a span of time, as 30m, 12h or 7d, of at most 10000d"),
            ("history = \"d\"", "'d' is not a span of time, as 30m, 12h or 7d, of at most 10000d"),
            ("history = \"10001d\"", "'10001d' is not a span of time, as 30m, 12h or 7d, of at most 10000d"),
        ] {
            assert_eq!(journal(line).unwrap_err(), reason);
        }
        assert!(journal("keep = 1").unwrap_err().contains("unknown field `keep`"));
        for text in ["0s", "30m", "12h", "7d", "10000d"] {
            assert_eq!(
                journal(&format!("history = {text:?}")).unwrap().history.to_string(),
                text.replace("0s", "0d")
            );
        }
    }

    #[test]
    fn a_segment_has_at_least_four_blocks() {
        for segment_mb in [1, 2, 256, 4_096] {
            let plan = journal(&format!("segment_mb = {segment_mb}")).unwrap().plan();
            assert!(plan.block_bytes as u64 * 4 <= plan.segment_bytes);
            assert!(plan.block_bytes.is_power_of_two() && plan.block_bytes >= 4096);
        }
    }
}
