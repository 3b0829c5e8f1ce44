//! What an export has met on its way: for standard error, for its summary, and for what a Parquet file says of itself.

use super::export::Export;
use super::sources::Tally;
use super::when::Utc;
use super::{Outcome, plural};
use journal::{Missing, Why};
use serde_json::{Value, json};

/// So many places where something is missing are told one by one.
const TOLD_AT_MOST: usize = 1_000;

/// What was met on the way.
#[derive(Default)]
pub(super) struct Found {
    pub(super) rows: u64,
    pub(super) first_ns: Option<u64>,
    pub(super) last_ns: u64,
    /// The first [`TOLD_AT_MOST`] of what is missing, and how much that is in all.
    missing: Vec<Missing>,
    findings: u64,
    is_corrupt: bool,
    /// How many gap records there are, and how many records they tell were lost.
    pub(super) gaps: u64,
    pub(super) lost: u64,
    pub(super) tally: Tally,
}

impl Found {
    pub(super) fn miss(&mut self, missing: Missing) {
        self.findings += 1;
        self.is_corrupt |= missing.why == Why::Corrupt;
        if self.missing.len() < TOLD_AT_MOST {
            self.missing.push(missing);
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        if self.is_corrupt { Outcome::Corrupt } else { Outcome::Whole }
    }

    /// Says on standard error what is missing or could not be read.
    pub(super) fn complain(&self) {
        for missing in &self.missing {
            eprintln!("chartd: missing: {}", super::describe(missing));
        }
        if self.findings > TOLD_AT_MOST as u64 {
            eprintln!("chartd: missing: and {} more", self.findings - TOLD_AT_MOST as u64);
        }
        let Self { gaps, lost, tally, .. } = self;
        if *gaps > 0 {
            let (lost, gaps) = (plural(*lost, "record"), plural(*gaps, "gap"));
            eprintln!("chartd: missing: {lost} in {gaps}, which the daemon had no room for");
        }
        if let Some((sequence, why)) = &tally.first_unreadable {
            let count = plural(tally.unreadable, "record");
            eprintln!("chartd: {count} could not be read; the first is number {sequence}: {why}");
        }
        if tally.unclaimed > 0 {
            let count = plural(tally.unclaimed, "record");
            eprintln!(
                "chartd: {count} could not be read, since the start record that explains them is missing"
            );
        }
    }

    pub(super) fn sentence(&self, export: &Export) -> String {
        let mut text = format!("{} {}", self.rows, export.what.name());
        if let Some(first_ns) = self.first_ns {
            text += &format!(", received from {} to {}", Utc(first_ns), Utc(self.last_ns));
        }
        if self.findings > 0 || self.gaps > 0 {
            text += "; some are missing";
        }
        text
    }

    pub(super) fn summary(&self, export: &Export) -> Value {
        let time = |ns: u64| Utc(ns).to_string();
        let missing: Vec<_> = self.missing.iter().map(super::as_json).collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "what": export.what.name(),
            "symbol": export.symbol.as_ref().map(ToString::to_string),
            "rows": self.rows,
            "first": self.first_ns.map(time),
            "last": self.first_ns.map(|_| time(self.last_ns)),
            "missing": missing,
            "finding_count": self.findings,
            "gaps": self.gaps,
            "lost_records": self.lost,
            "duplicates": self.tally.duplicates,
            "strange": self.tally.strange,
            "unreadable": self.tally.unreadable,
            "unclaimed": self.tally.unclaimed,
        })
    }
}
