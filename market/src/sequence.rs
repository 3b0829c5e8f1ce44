//! Proof from trade numbers that none is missing and none counted twice, and which ones are to be fetched.

use crate::Trade;
use core::ops::Range;

/// What a message proves about the messages before it. All venues' proofs end in one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Integrity {
    /// It follows what was there before.
    Ok,
    /// There is nothing before it to compare it with.
    Unverifiable,
    /// It was seen already, at least in part, and must not be counted again.
    Duplicate,
    /// The messages numbered `from` up to and including `to` are missing.
    Gap {
        /// First missing number.
        from: u64,
        /// Last missing number.
        to: u64,
    },
    /// It contradicts what is known.
    Corrupt,
}

/// The most holes that are remembered, to be filled. The oldest is given up for another one.
pub const MAX_HOLES: usize = 64;
/// A leap over more numbers than this is believed only if the next trade agrees: it is likelier to be a wrong digit.
const LONGEST_LEAP: u64 = 1_000_000;

/// Trades that are missing, and may still come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hole {
    /// Number of the first one.
    pub from: u64,
    /// Number of the last one.
    pub to: u64,
    /// When they happened, by the venue's clock.
    pub span_ms: Range<i64>,
    /// When they were missed: what the caller said.
    pub since_ns: u64,
    /// Whether they were asked for.
    pub is_asked: bool,
}

/// A hole, and what is left of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filled {
    /// The span of the hole as it was.
    pub span_ms: Range<i64>,
    /// What is still missing before and behind the trade.
    pub rest: [Option<Range<i64>>; 2],
}

/// What a trade's number says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// It is the newest trade, or none to be counted.
    Newest(Integrity),
    /// It was missing, and is to be counted.
    Fills(Filled),
}

/// Checks that trade numbers rise by one, as venues with contiguous trade ids promise.
///
/// A number that is missing leaves a hole, which a later trade fills: one that came late, or was fetched.
#[derive(Debug, Clone)]
pub struct TradeSequence {
    last_id: Option<u64>,
    last_ms: i64,
    holes: Vec<Hole>,
    /// A trade whose number nobody believes yet.
    strange: Option<u64>,
}

impl Default for TradeSequence {
    fn default() -> Self {
        Self { last_id: None, last_ms: i64::MIN, holes: Vec::with_capacity(MAX_HOLES), strange: None }
    }
}

impl TradeSequence {
    /// Judges `trade` and, if it is to be counted, takes it in. `missing_ms` tells when trades before it may have been
    /// lost, `now_ns` is the time that a new hole is given.
    pub fn check(&mut self, trade: &Trade, missing_ms: Range<i64>, now_ns: u64) -> Checked {
        let Some(last) = self.last_id else {
            self.take(trade);
            return Checked::Newest(Integrity::Unverifiable);
        };
        if trade.first_id <= last {
            return self.old(trade);
        }
        if trade.first_id - last > LONGEST_LEAP && !self.is_confirmed(trade) {
            return Checked::Newest(Integrity::Corrupt);
        }
        let (from, to) = (last + 1, trade.first_id - 1);
        self.take(trade);
        if from > to {
            return Checked::Newest(Integrity::Ok);
        }
        self.add(Hole { from, to, span_ms: missing_ms, since_ns: now_ns, is_asked: false });
        Checked::Newest(Integrity::Gap { from, to })
    }

    /// The venue says that `last_id` was traded, which has not come: all up to it is missing. Nothing happens if it
    /// has come.
    pub fn claim(&mut self, last_id: u64, missing_ms: Range<i64>, now_ns: u64) -> Integrity {
        match self.last_id {
            Some(last) if last_id > last && last_id - last <= LONGEST_LEAP => {
                self.last_id = Some(last_id);
                let (from, to) = (last + 1, last_id);
                self.add(Hole { from, to, span_ms: missing_ms, since_ns: now_ns, is_asked: false });
                Integrity::Gap { from, to }
            }
            Some(last) if last_id > last => Integrity::Corrupt,
            Some(_) => Integrity::Ok,
            None => Integrity::Unverifiable,
        }
    }

    /// Number of the newest trade.
    pub fn last_id(&self) -> Option<u64> {
        self.last_id
    }

    /// What is missing.
    pub fn holes(&self) -> &[Hole] {
        &self.holes
    }

    /// The same, to be marked as asked for.
    pub fn holes_mut(&mut self) -> &mut [Hole] {
        &mut self.holes
    }

    /// Stops waiting for what is missing from `from` up to and including `to`. Returns how many trades that are.
    pub fn give_up(&mut self, from: u64, to: u64) -> u64 {
        let mut lost = 0;
        self.holes.retain(|hole| {
            let is_within = hole.from >= from && hole.to <= to;
            lost += if is_within { hole.to - hole.from + 1 } else { 0 };
            !is_within
        });
        lost
    }

    /// A trade numbered no higher than the newest one.
    fn old(&mut self, trade: &Trade) -> Checked {
        let within = |hole: &Hole| hole.from <= trade.first_id && trade.last_id <= hole.to;
        if let Some(place) = self.holes.iter().position(within) {
            return Checked::Fills(self.fill(place, trade));
        }
        if trade.time_ms <= self.last_ms.saturating_add(crate::GRACE_MS) {
            return Checked::Newest(Integrity::Duplicate);
        }
        // New by its time and old by its number: the venue counts anew, if the next trade says so, too.
        if self.is_confirmed(trade) {
            self.holes.clear();
            self.take(trade);
            return Checked::Newest(Integrity::Unverifiable);
        }
        Checked::Newest(Integrity::Corrupt)
    }

    /// Whether another strange trade came before, with which this one goes together.
    fn is_confirmed(&mut self, trade: &Trade) -> bool {
        let before = self.strange.replace(trade.last_id);
        before.is_some_and(|before| trade.first_id > before && trade.first_id - before <= 1_000)
    }

    fn take(&mut self, trade: &Trade) {
        self.last_id = Some(trade.last_id);
        self.last_ms = self.last_ms.max(trade.time_ms);
        self.strange = None;
    }

    fn fill(&mut self, place: usize, trade: &Trade) -> Filled {
        let hole = self.holes.remove(place);
        // Numbers rise with time, so what is missing before it did not happen later, and the other way round.
        let span = &hole.span_ms;
        let time_ms = trade.time_ms.clamp(span.start, (span.end - 1).max(span.start));
        let mut rest = [None, None];
        let parts = [
            (hole.from, trade.first_id.wrapping_sub(1), span.start..time_ms + 1, hole.from < trade.first_id),
            (trade.last_id + 1, hole.to, time_ms..span.end, trade.last_id < hole.to),
        ];
        for (slot, (from, to, span_ms, is_left)) in rest.iter_mut().zip(parts) {
            if is_left {
                *slot = Some(span_ms.clone());
                self.add(Hole { from, to, span_ms, ..hole });
            }
        }
        Filled { span_ms: hole.span_ms, rest }
    }

    fn add(&mut self, hole: Hole) {
        if self.holes.len() == MAX_HOLES {
            self.holes.remove(0);
        }
        self.holes.push(hole);
    }
}
