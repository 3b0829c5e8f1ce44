//! What the machine takes from a spinning thread.

use shm::status::{Stage, StatusWriter};

/// Measures the longest time between two looks of a spinning thread: what the machine took from it.
#[derive(Debug, Default)]
pub(super) struct GapMeter {
    last_ns: u64,
    longest_ns: u64,
    until_ns: u64,
}

impl GapMeter {
    /// One figure is recorded for each span of this length.
    const SPAN_NS: u64 = 10_000_000;

    pub(super) fn look(&mut self, now_ns: u64, status: &StatusWriter) {
        if self.last_ns > 0 {
            self.longest_ns = self.longest_ns.max(now_ns.saturating_sub(self.last_ns));
        }
        self.last_ns = now_ns;
        if now_ns >= self.until_ns {
            if self.until_ns > 0 {
                status.recorder(Stage::Gap).record(self.longest_ns);
            }
            (self.longest_ns, self.until_ns) = (0, now_ns + Self::SPAN_NS);
        }
    }

    /// The time until the next look is not a gap: it was used.
    pub(super) fn interrupt(&mut self) {
        self.last_ns = 0;
    }
}
