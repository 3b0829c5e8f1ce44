//! Latency histograms in shared memory: one thread records, anybody reads percentiles.
//!
//! Buckets are log-linear: 64 to an octave, so a percentile is at most 1.6 % above the true value. Values reach to
//! 2^41 ns, about 36 minutes; larger ones count as that. Recording is two stores: no lock, no allocation.

use crate::segment::{ReadWords, WriteWords};
use std::sync::atomic::Ordering::Relaxed;

const SUB_BITS: u32 = 6;
const TOP_EXPONENT: u32 = 40;
const BUCKETS: usize = ((TOP_EXPONENT - SUB_BITS) as usize + 2) << SUB_BITS;

/// Words that a histogram takes: the largest value, then its buckets.
pub const WORDS: usize = 1 + BUCKETS;

fn bucket_of(value_ns: u64) -> usize {
    let value_ns = value_ns.min((1 << (TOP_EXPONENT + 1)) - 1);
    let shift = value_ns.max(1).ilog2().saturating_sub(SUB_BITS);
    ((shift as usize) << SUB_BITS) + (value_ns >> shift) as usize
}

/// The largest value that falls into the bucket.
fn top_of(bucket: usize) -> u64 {
    let shift = (bucket >> SUB_BITS).saturating_sub(1);
    let lead = (bucket - (shift << SUB_BITS)) as u64;
    ((lead + 1) << shift) - 1
}

/// Records values. One thread only.
#[derive(Debug, Clone, Copy)]
pub struct Recorder<'a> {
    words: WriteWords<'a>,
}

impl<'a> Recorder<'a> {
    pub(crate) fn new(words: WriteWords<'a>) -> Self {
        Self { words }
    }

    /// Counts one value.
    pub fn record(&self, value_ns: u64) {
        let bucket = self.words.word(1 + bucket_of(value_ns));
        bucket.store(bucket.load(Relaxed) + 1, Relaxed);
        let max = self.words.word(0);
        if value_ns > max.load(Relaxed) {
            max.store(value_ns, Relaxed);
        }
    }
}

/// The counts of a histogram at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    buckets: Vec<u64>,
    max_ns: u64,
}

impl Snapshot {
    pub(crate) fn read(words: ReadWords<'_>, at: usize) -> Self {
        let buckets = (0..BUCKETS).map(|bucket| words.load(at + 1 + bucket)).collect();
        Self { buckets, max_ns: words.load(at) }
    }

    /// What was recorded after `earlier`, of the same histogram. Its largest value is known to its bucket only.
    pub fn since(&self, earlier: &Self) -> Self {
        let later = self.buckets.iter().zip(&earlier.buckets);
        let buckets: Vec<u64> = later.map(|(now, before)| now.saturating_sub(*before)).collect();
        let top = buckets.iter().rposition(|count| *count > 0);
        Self { max_ns: top.map_or(0, |bucket| top_of(bucket).min(self.max_ns)), buckets }
    }

    /// How many values were recorded.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The largest value, exactly.
    pub fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// The value that a share `q` of all values do not exceed, `q` from 0 to 1. Zero if there are none.
    pub fn quantile_ns(&self, q: f64) -> u64 {
        let rank = ((self.count() as f64 * q).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return top_of(bucket).min(self.max_ns);
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::{Segment, View};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn quantiles_are_at_most_a_bucket_above_the_truth(mut values in prop::collection::vec(0u64..1 << 41, 1..300), q in 0.0f64..=1.0) {
            let segment = Segment::create("test", WORDS * 8, false).unwrap();
            let recorder = Recorder::new(segment.words());
            values.iter().for_each(|value| recorder.record(*value));
            let view = View::map(segment.reader_fd().unwrap()).unwrap();
            let snapshot = Snapshot::read(view.words(), 0);

            values.sort_unstable();
            let rank = ((values.len() as f64 * q).ceil() as usize).max(1);
            let truth = values[rank - 1];
            let found = snapshot.quantile_ns(q);
            prop_assert!(found >= truth && found <= truth + truth / 64 + 1, "{} for {}", found, truth);
            prop_assert_eq!(snapshot.max_ns(), *values.last().unwrap());
            prop_assert_eq!(snapshot.count(), values.len() as u64);

            recorder.record(77);
            let later = Snapshot::read(view.words(), 0).since(&snapshot);
            prop_assert_eq!((later.count(), later.quantile_ns(0.5), later.max_ns()), (1, 77, 77));
        }
    }

    #[test]
    fn buckets_meet_without_holes() {
        for bucket in 0..BUCKETS - 1 {
            assert_eq!(bucket_of(top_of(bucket)), bucket);
            assert_eq!(bucket_of(top_of(bucket) + 1), bucket + 1);
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }
}
