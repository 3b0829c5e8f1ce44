//! Trades that are missing, and what has come of them so far.

use super::{Failure, MAX_IDLE_PAGES, MAX_PAGES, MAX_TRIES, Wait};
use market::Trade;
use market::protocol::Missing;
use std::ops::Range;
use std::time::{Duration, Instant};

/// How many stretches of a hole may be left: no honest page leaves more than a few.
const MAX_STRETCHES: usize = 1_024;

/// A hole in the numbers of an instrument's trades.
#[derive(Debug)]
pub(super) struct Hole {
    /// As the engine asked for it.
    pub(super) missing: Missing,
    /// The numbers that have not come: first and last of each stretch, in order.
    left: Vec<(u64, u64)>,
    /// Where the first stretch can lie.
    span_ms: Range<i64>,
    wait: Wait,
    pages: u32,
    idle_pages: u32,
}

/// What an answer has brought.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Trades that were missing, by number.
    pub(super) trades: Vec<Trade>,
    /// Nothing more will be asked for.
    pub(super) is_final: bool,
}

impl Hole {
    pub(super) fn new(missing: Missing, now: Instant) -> Self {
        Self {
            left: vec![(missing.from, missing.to)],
            span_ms: missing.span_ms.clone(),
            missing,
            wait: Wait::until(now),
            pages: 0,
            idle_pages: 0,
        }
    }

    pub(super) fn due(&self) -> Instant {
        self.wait.due
    }

    /// What is asked for next: the first stretch that is still missing.
    pub(super) fn rest(&self) -> Missing {
        let (from, to) = self.left.first().copied().unwrap_or((self.missing.from, self.missing.to));
        Missing { from, to, span_ms: self.span_ms.clone() }
    }

    /// How many trades are still missing.
    pub(super) fn left_count(&self) -> u64 {
        self.left.iter().map(|(from, to)| to - from + 1).fold(0, u64::saturating_add)
    }

    /// Takes what is missing out of a page.
    pub(super) fn take(&mut self, mut page: Vec<Trade>, now: Instant) -> Progress {
        self.pages += 1;
        page.sort_by_key(|trade| trade.first_id);
        let first = self.left.first().copied();
        let trades: Vec<_> =
            page.iter().filter(|trade| self.cut(trade.first_id, trade.last_id)).copied().collect();
        let is_part = |left: &(u64, u64)| first.is_some_and(|first| first.0 <= left.0 && left.1 <= first.1);
        if !self.left.first().is_some_and(is_part) {
            self.span_ms = self.missing.span_ms.clone(); // Of another stretch's time no more is known.
        }
        let is_narrower = self.narrow(&page);
        if trades.is_empty() && !is_narrower {
            self.idle_pages += 1;
            self.wait.again(now, Duration::ZERO);
        } else {
            self.idle_pages = 0;
            self.wait = Wait::until(now);
        }
        let is_final = self.left.is_empty() || self.idle_pages >= MAX_IDLE_PAGES || self.pages >= MAX_PAGES;
        Progress { trades, is_final }
    }

    /// Takes in that there was no answer.
    pub(super) fn failed(&mut self, failure: &Failure, now: Instant) -> Progress {
        self.wait.again(now, failure.pause);
        let is_final = failure.is_refusal || self.wait.failed >= MAX_TRIES;
        Progress { trades: Vec::new(), is_final }
    }

    /// Learns from trades around the first stretch when it can have been. Returns whether that is less than before.
    fn narrow(&mut self, page: &[Trade]) -> bool {
        let Some((from, to)) = self.left.first().copied() else { return false };
        let before = page.iter().filter(|trade| trade.last_id < from).map(|trade| trade.time_ms).max();
        let behind = page.iter().filter(|trade| trade.first_id > to).map(|trade| trade.time_ms).min();
        let start = before.map_or(self.span_ms.start, |time| time.max(self.span_ms.start));
        let end = behind.map_or(self.span_ms.end, |time| time.saturating_add(1).min(self.span_ms.end));
        // A venue whose times do not follow its numbers teaches nothing.
        let is_narrower = start < end && (start..end) != self.span_ms;
        if is_narrower {
            self.span_ms = start..end;
        }
        is_narrower
    }

    /// Takes these numbers out of what is left. False if not all of them are missing, or if too many stretches would
    /// be left.
    fn cut(&mut self, from: u64, to: u64) -> bool {
        let at = self.left.partition_point(|stretch| stretch.1 < from);
        let Some(stretch) = self.left.get(at).copied().filter(|stretch| stretch.0 <= from && to <= stretch.1)
        else {
            return false;
        };
        let before = (stretch.0 < from).then(|| (stretch.0, from - 1));
        let behind = (to < stretch.1).then(|| (to + 1, stretch.1));
        if before.is_some() && behind.is_some() && self.left.len() >= MAX_STRETCHES {
            return false;
        }
        self.left.splice(at..=at, before.into_iter().chain(behind));
        true
    }
}
