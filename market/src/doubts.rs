//! Spans of time in which trades may be missing: a bounded list, sorted by where they begin.

use core::ops::Range;

/// The most spans that are kept apart. Beyond, the two that lie closest become one: more is doubted then, never less.
const MOST: usize = 128;

/// Spans of exchange time.
#[derive(Debug, Clone)]
pub(crate) struct Doubts {
    spans: Vec<Range<i64>>,
}

impl Default for Doubts {
    fn default() -> Self {
        Self { spans: Vec::with_capacity(MOST + 1) }
    }
}

impl Doubts {
    /// Adds a span. Equal ones are kept apart, since each is taken back by itself.
    pub(crate) fn add(&mut self, span: Range<i64>) {
        let place = self.spans.partition_point(|other| other.start <= span.start);
        self.spans.insert(place, span);
        if self.spans.len() > MOST {
            self.join_closest();
        }
    }

    /// Takes a span back. False if it is not there as it was added, since it was joined with another one.
    pub(crate) fn remove(&mut self, span: &Range<i64>) -> bool {
        let found = self.spans.iter().position(|other| other == span);
        found.map(|place| self.spans.remove(place)).is_some()
    }

    /// Whether any of `span` is in doubt.
    pub(crate) fn overlap(&self, span: Range<i64>) -> bool {
        self.spans.iter().any(|other| other.start < span.end && span.start < other.end)
    }

    /// Forgets what ends before `time_ms`.
    pub(crate) fn forget_before(&mut self, time_ms: i64) {
        self.spans.retain(|span| span.end > time_ms);
    }

    fn join_closest(&mut self) {
        let distance = |pair: &[Range<i64>]| pair[1].start.saturating_sub(pair[0].end);
        let closest = self.spans.windows(2).enumerate().min_by_key(|(_, pair)| distance(pair));
        if let Some((place, _)) = closest {
            let later = self.spans.remove(place + 1);
            let earlier = &mut self.spans[place];
            *earlier = earlier.start..earlier.end.max(later.end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_in_doubt_until_it_is_taken_back_as_often_as_it_was_added() {
        let mut doubts = Doubts::default();
        doubts.add(10..20);
        doubts.add(10..20);
        assert!(doubts.overlap(19..30) && !doubts.overlap(20..30) && !doubts.overlap(0..10));
        assert!(doubts.remove(&(10..20)) && doubts.overlap(12..13));
        assert!(doubts.remove(&(10..20)) && !doubts.overlap(12..13));
        assert!(!doubts.remove(&(10..20)));
    }

    #[test]
    fn beyond_its_bound_the_closest_become_one() {
        let mut doubts = Doubts::default();
        for i in 0..MOST as i64 {
            doubts.add(i * 100..i * 100 + 10);
        }
        doubts.add(515..516);
        assert_eq!(doubts.spans.len(), MOST);
        assert!(doubts.overlap(512..513), "what lies between is doubted, too");
        assert!(!doubts.remove(&(500..510)), "and can be proven no more");
        assert!(doubts.remove(&(600..610)));
        doubts.forget_before(1_000);
        assert!(!doubts.overlap(0..1_000) && doubts.overlap(1_000..1_001));
    }
}
