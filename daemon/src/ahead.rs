//! When a coming bar's picture is worth drawing ahead: near the end of the newest bar by the venue's clock, while nothing
//! else is likely to come first, and a few times for a bar at the most.

use chart::AheadCounts;
use shm::market::SeriesState;
use shm::status::{Counter, StatusWriter};

/// How often in a row a coming bar's picture may be drawn ahead: a bar that trades to its very end is not worth more.
const MAX_TRIES: u32 = 4;
/// A picture is drawn ahead in the last part of its bar: an eighth, ...
const LAST_PART: i64 = 8;
/// ... but not more than so many milliseconds, ...
const LAST_MS: i64 = 1_000;
/// ... and not sooner than so many frames are likely to come before the bar ends: it would be drawn for nothing, and in
/// the way of a trade.
const LIKELY_FRAMES: i64 = 2;

/// What was tried for one chart's coming bar.
#[derive(Debug, Default)]
pub(crate) struct AheadPlan {
    /// The number after the newest bar's.
    end: u64,
    tries: u32,
    /// The state of the bars for which there is nothing more to do.
    done: Option<u64>,
    /// From one frame to the next by the venue's clock, in eighths of a millisecond: a mean in which each new pause
    /// counts for an eighth.
    pause: i64,
    /// What the chart had counted before.
    counted: AheadCounts,
}

impl AheadPlan {
    /// Whether to draw ahead now, with bars in the state `seen`, the newest from `open_ms` to `end_ms`.
    pub(crate) fn wants(&self, seen: &SeriesState, [open_ms, end_ms]: [i64; 2], now_ns: u64) -> bool {
        if self.done == Some(seen.revision) || (self.end == seen.end && self.tries >= MAX_TRIES) {
            return false;
        }
        let part_ms = end_ms.saturating_sub(open_ms) / LAST_PART;
        let lead_ms = part_ms.min(LAST_MS).min(LIKELY_FRAMES * self.pause / 8);
        let since_ms = (now_ns.saturating_sub(seen.receive_ns) / 1_000_000) as i64;
        seen.venue_ms.saturating_add(since_ms) >= end_ms.saturating_sub(lead_ms)
    }

    /// The picture is being drawn for bars in the state `seen`.
    pub(crate) fn begin(&mut self, seen: &SeriesState) {
        if self.end != seen.end {
            (self.end, self.tries) = (seen.end, 0);
        }
        self.tries += 1;
        self.done = Some(seen.revision);
    }

    /// A frame was drawn: whatever was drawn ahead is used or void now.
    pub(crate) fn used(&mut self) {
        self.done = None;
    }

    /// Notes how long by the venue's clock nothing came.
    pub(crate) fn note_pause(&mut self, pause_ms: i64) {
        self.pause += pause_ms.clamp(0, 8 * LAST_MS) - self.pause / 8;
    }

    /// Adds what a chart has counted since the last call.
    pub(crate) fn count(&mut self, now: AheadCounts, status: &StatusWriter) {
        let before = std::mem::replace(&mut self.counted, now);
        status.count(Counter::AheadPrepared, now.prepared - before.prepared);
        status.count(Counter::AheadHits, now.hits - before.hits);
        status.count(Counter::AheadMisses, now.misses - before.misses);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(venue_ms: i64, end: u64, revision: u64) -> SeriesState {
        let (first, amended, receive_ns, decode_ns, candle_ns) = (0, 0, 0, 0, 0);
        SeriesState { first, end, revision, amended, venue_ms, receive_ns, decode_ns, candle_ns }
    }

    #[test]
    fn a_bar_is_tried_four_times_and_a_busy_market_not_at_all() {
        let (bar, mut plan) = ([0, 8_000], AheadPlan::default());
        assert!(!plan.wants(&state(7_900, 1, 0), bar, 0), "nothing is known of the pauses");
        (0..40).for_each(|_| plan.note_pause(400));
        assert!(!plan.wants(&state(7_000, 1, 0), bar, 0), "it is too soon");
        for revision in 0..6 {
            let seen = state(7_900, 1, revision);
            assert_eq!(plan.wants(&seen, bar, 0), revision < 4, "try {revision}");
            if revision < 4 {
                plan.begin(&seen);
                assert!(!plan.wants(&seen, bar, 0), "once for each state");
            }
        }
        assert!(plan.wants(&state(15_900, 2, 9), [8_000, 16_000], 0), "another bar");
        (0..80).for_each(|_| plan.note_pause(5));
        assert!(!plan.wants(&state(15_900, 2, 9), [8_000, 16_000], 0), "frames come every 5 ms");
    }
}
