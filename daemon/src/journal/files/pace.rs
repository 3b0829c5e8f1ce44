//! How fast a segment is prepared.
//!
//! What holds: with all pauses it goes on twice as fast as the present segment is written, so it is there when half of
//! that is used, if the disk is that fast. If nothing is written it takes at most half of the disk's time, and goes on
//! at [`STEP`]. While the journal waits for it there are no pauses.

use super::Shared;
use std::io;
use std::sync::atomic::Ordering::*;
use std::time::{Duration, Instant};

/// How long each step, of a MiB, takes at least while there is time: 128 MiB/s.
const STEP: Duration = Duration::from_millis(8);
/// How many bytes are prepared for each that is written, before there is time.
const LEAD: u64 = 2;

/// Of one segment.
pub(super) struct Pace<'a> {
    shared: &'a Shared,
    /// How much had been written when it was begun.
    written_before: u64,
    step_begun: Instant,
}

impl<'a> Pace<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self { shared, written_before: shared.written_bytes.load(Relaxed), step_begun: Instant::now() }
    }

    /// Pauses after a step, when so many bytes are prepared. An error if no more is needed.
    pub(super) fn pause(&mut self, prepared: u64) -> io::Result<()> {
        if self.shared.stop.load(Acquire) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let written = self.shared.written_bytes.load(Relaxed) - self.written_before;
        if !self.shared.is_waiting.load(Relaxed) {
            std::thread::sleep(pause_after(self.step_begun.elapsed(), prepared, written));
        }
        self.step_begun = Instant::now();
        Ok(())
    }
}

/// How long to pause after a step that took so long.
fn pause_after(step: Duration, prepared: u64, written: u64) -> Duration {
    if prepared < LEAD * written { Duration::ZERO } else { STEP.saturating_sub(step).max(step) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ahead_of_what_is_written_and_otherwise_in_nobodys_way() {
        let (fast, slow) = (Duration::from_millis(1), Duration::from_millis(30));
        assert_eq!(pause_after(fast, 1 << 20, 0), STEP - fast);
        assert_eq!(pause_after(slow, 1 << 20, 0), slow, "half of the time is left to others");
        assert_eq!(pause_after(slow, 40 << 20, 20 << 20), slow);
        assert_eq!(pause_after(slow, 39 << 20, 20 << 20), Duration::ZERO, "it is late");
    }
}
