//! `chartd journal verify`: proves every block, and says what is there, what is not, and why.
//!
//! What holds: nothing is written, and a journal that a daemon writes meanwhile is no worse for it: its unfinished end is
//! told and is no error. Where something is missing and a segment was removed meanwhile, all is read once more: it
//! may be that nothing else is missing.

use super::progress::Progress;
use super::when::Utc;
use super::{Outcome, ToolError};
use crate::journal::Start;
use crate::say;
use journal::queue::Lost;
use journal::{Kind, Missing, Record, Report, Segment, Store, Why};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// So many gaps are told one by one.
const GAPS_AT_MOST: usize = 1_000;
/// So many findings and gaps are printed for people.
const PRINTED_AT_MOST: usize = 20;

/// What to verify.
#[derive(Debug, Clone)]
pub struct Verify {
    /// The journal's folder.
    pub dir: PathBuf,
    /// Whether to print JSON.
    pub json: bool,
}

/// Verifies, and prints the report.
pub fn run(verify: &Verify) -> Result<Outcome, ToolError> {
    let store = super::open(&verify.dir)?;
    let (mut segments, mut looked) = (list(&store)?, look(&store, "verifying", !verify.json)?);
    if looked.0.missing.iter().any(is_corrupt) {
        let now = list(&store)?;
        let is_removed = |segment: &Segment| now.iter().all(|other| other.number != segment.number);
        if segments.iter().any(is_removed) {
            looked = look(&store, "segments were removed meanwhile: verifying again", !verify.json)?;
            segments = now;
        }
    }
    let (report, tour) = looked;
    let bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let outcome = if report.missing.iter().any(is_corrupt) { Outcome::Corrupt } else { Outcome::Whole };
    if verify.json {
        say!("{}", as_json(&verify.dir, bytes, &report, &tour, outcome));
    } else {
        print(&verify.dir, bytes, &report, &tour, outcome);
    }
    Ok(outcome)
}

fn list(store: &dyn Store) -> Result<Vec<Segment>, ToolError> {
    Ok(store.list().map_err(journal::ReadError::from)?)
}

fn is_corrupt(missing: &Missing) -> bool {
    missing.why == Why::Corrupt
}

fn look(store: &dyn Store, what: &'static str, is_shown: bool) -> Result<(Report, Tour), ToolError> {
    let (mut progress, mut tour) = (Progress::new(what, 0, is_shown), Tour::default());
    let told = |all, read| progress.set(read, all);
    let report = journal::verify::verify_each(store, told, |record| tour.see(record))?;
    Ok((report, tour))
}

/// What the records say of runs, venues and gaps.
#[derive(Debug, Default)]
struct Tour {
    runs: u64,
    run: String,
    configurations: u64,
    venues: Vec<&'static str>,
    generation: u32,
    /// Frames of each venue.
    frames: BTreeMap<&'static str, u64>,
    /// The first [`GAPS_AT_MOST`] gaps: sequence, what was lost, of which venues.
    gaps: Vec<(u64, Lost, Vec<&'static str>)>,
}

impl Tour {
    fn see(&mut self, record: &Record<'_>) {
        match record.header.kind {
            Kind::Start => self.start(record),
            Kind::Frame => {
                let is_known = record.header.generation == self.generation;
                let venue = self.venues.get(usize::from(record.header.feed)).filter(|_| is_known);
                *self.frames.entry(venue.unwrap_or(&"unknown")).or_default() += 1;
            }
            Kind::Gap if self.gaps.len() < GAPS_AT_MOST => {
                if let Some(lost) = Lost::decode(record.payload) {
                    let of = self.venues.iter().enumerate().filter(|(feed, _)| lost.concerns(*feed));
                    self.gaps.push((record.sequence, lost, of.map(|(_, venue)| *venue).collect()));
                }
            }
            _ => {}
        }
    }

    fn start(&mut self, record: &Record<'_>) {
        let Ok(start) = Start::decode(record.payload) else { return self.venues.clear() };
        let is_other_run = start.run != self.run;
        self.runs += u64::from(is_other_run);
        self.configurations += u64::from(is_other_run || start.generation != self.generation);
        self.venues = start.feeds.iter().map(|feed| feed.venue().name()).collect();
        (self.run, self.generation) = (start.run, start.generation);
    }
}

fn as_json(dir: &Path, bytes: u64, report: &Report, tour: &Tour, outcome: Outcome) -> Value {
    let time = |ns: u64| Utc(ns).to_string();
    let gap = |(sequence, lost, venues): &(u64, Lost, Vec<&str>)| {
        json!({
            "sequence": sequence, "records": lost.records, "bytes": lost.bytes, "venues": venues,
            "from": time(lost.from_ns), "until": time(lost.until_ns),
        })
    };
    json!({
        "journal": dir.display().to_string(),
        "whole": outcome == Outcome::Whole,
        "segments": report.segments,
        "packed": report.packed,
        "bytes": bytes,
        "blocks": report.blocks,
        "records": report.records,
        "payload_bytes": report.payload_bytes,
        "first_sequence": report.sequences.map(|(first, _)| first),
        "last_sequence": report.sequences.map(|(_, last)| last),
        "first": report.times_ns.map(|(first, _)| time(first)),
        "last": report.times_ns.map(|(_, last)| time(last)),
        "runs": tour.runs,
        "configurations": tour.configurations,
        "frames": tour.frames,
        "gap_count": report.gaps,
        "lost_records": report.lost_records,
        "lost_bytes": report.lost_bytes,
        "gaps": tour.gaps.iter().map(gap).collect::<Value>(),
        "finding_count": report.findings,
        "missing_records": report.missing_records,
        "findings": report.missing.iter().map(super::as_json).collect::<Value>(),
    })
}

fn print(dir: &Path, bytes: u64, report: &Report, tour: &Tour, outcome: Outcome) {
    say!("{}", dir.display());
    let line = |name: &str, text: String| say!("  {name:<10}{text}");
    line(
        "segments",
        format!("{} ({} packed), {} on disk", count(report.segments), count(report.packed), size(bytes)),
    );
    line("blocks", format!("{}, each proven by its checksum and by the next one", count(report.blocks)));
    let range =
        report.sequences.map_or(String::new(), |(first, last)| format!(", numbers {first} to {last}"));
    line("records", format!("{} of {}{range}", count(report.records), size(report.payload_bytes)));
    if let Some((first, last)) = report.times_ns {
        line("received", format!("{} to {} ({})", Utc(first), Utc(last), duration(last - first)));
    }
    line("runs", format!("{}, {}", tour.runs, super::plural(tour.configurations, "configuration")));
    let frames: Vec<_> =
        tour.frames.iter().map(|(venue, frames)| format!("{venue} {}", count(*frames))).collect();
    line("frames", if frames.is_empty() { "none".to_owned() } else { frames.join(", ") });
    line(
        "gaps",
        match report.gaps {
            0 if report.findings > 0 => "none in what can be read".to_owned(),
            0 => "none: the daemon had room for all that came".to_owned(),
            gaps => {
                format!("{}, with {} records that found no room", count(gaps), count(report.lost_records))
            }
        },
    );
    for (sequence, lost, venues) in tour.gaps.iter().take(PRINTED_AT_MOST) {
        let (from, until, venues) = (Utc(lost.from_ns), Utc(lost.until_ns), venues.join(", "));
        say!("    before record {sequence}: {} of {venues}, received {from} to {until}", count(lost.records));
    }
    more(report.gaps, tour.gaps.len());
    line(
        "findings",
        match report.findings {
            0 => "none".to_owned(),
            findings => count(findings),
        },
    );
    for missing in report.missing.iter().take(PRINTED_AT_MOST) {
        say!("    {}", super::describe(missing));
    }
    more(report.findings, report.missing.len());
    match outcome {
        Outcome::Whole => say!("All that was claimed to be durable is there."),
        Outcome::Corrupt => say!(
            "Some of what was durable is corrupt. All else can be read: `chartd replay` and `chartd journal export` say \
             where it is missing. Look at the disk's health, and restore the segments named above if you have a copy."
        ),
    }
}

fn more(all: u64, listed: usize) {
    let printed = listed.min(PRINTED_AT_MOST) as u64;
    if all > printed {
        say!("    and {} more; --json lists them", count(all - printed));
    }
}

/// A number with commas.
fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes for people.
fn size(bytes: u64) -> String {
    let units = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    match units.into_iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{:.1} {name}", bytes as f64 / unit as f64),
        None => format!("{bytes} bytes"),
    }
}

/// A stretch of time for people.
fn duration(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    match seconds {
        0..120 => format!("{:.3} s", ns as f64 / 1e9),
        120..7_200 => format!("{} min {} s", seconds / 60, seconds % 60),
        7_200..172_800 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} days {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_as_people_read_them() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567"), (100_000, "100,000")]
        {
            assert_eq!(count(number), text);
        }
        for (bytes, text) in
            [(999, "999 bytes"), (1_500, "1.5 kB"), (2_000_000, "2.0 MB"), (3_210_000_000, "3.2 GB")]
        {
            assert_eq!(size(bytes), text);
        }
        for (seconds, text) in
            [(1, "1.000 s"), (120, "2 min 0 s"), (7_260, "2 h 1 min"), (180_000, "2 days 2 h")]
        {
            assert_eq!(duration(seconds * 1_000_000_000), text);
        }
    }
}
