//! The tick journal's life in the daemon: the hot thread records what the engine takes in, another thread writes it.
//!
//! - `input` is what the engine takes in, as records and back: the same journal gives the same candles.
//! - `thread` drives the writer over a ring of its own (`disk`); a cold worker prepares segments, packs those that are
//!   closed and removes old ones (`files`).
//! - `voice` says in words how it goes, to the log, to readers and to systemd.
//! - `start` says what the feeds of a configuration are; `player` gives records to engines, as they were given to the
//!   one that was there.
//! - `rebuild` makes an engine from what a run before has recorded.

#[doc(hidden)]
pub mod bench;
mod disk;
mod files;
pub mod input;
mod keeping;
mod player;
mod rebuild;
mod start;
mod thread;
mod voice;

pub(crate) use keeping::{Journal, Opened};
pub use player::{Played, Player, Tally, Unreadable, Wanted};
pub(crate) use rebuild::{Progress, describe, rebuild};
pub use start::{BadStart, Start, StartFeed, StartInstrument};
pub(crate) use voice::{Saying, Seen, Voice};

use crate::uring::{Bell, Ring};
use journal::{Header, Kind, Stamp, Tap};
use nix::time::{ClockId, clock_gettime};
use shm::status::StatusWriter;
use std::sync::Arc;

/// The hot thread's end of the journal. It never waits: what finds no room is counted, and told in the journal.
pub(crate) struct Recorder {
    tap: Tap,
    /// Wakes the journal thread.
    bell: Arc<Bell>,
    status: Arc<StatusWriter>,
    /// When the message in hand was received, by both clocks: read once for all that came together.
    stamp: Stamp,
    /// Sequence of the run's first record.
    first: u64,
    /// Whether something was recorded that the journal thread may not know of.
    has_news: bool,
}

impl Recorder {
    pub(crate) fn new(tap: Tap, bell: Arc<Bell>, status: Arc<StatusWriter>) -> Self {
        Self { tap, bell, status, stamp: Stamp::default(), first: 0, has_news: false }
    }

    /// The same, of a run whose first record has this sequence.
    pub(crate) fn counting_from(self, first: u64) -> Self {
        Self { first, ..self }
    }

    /// Records what was received at `receive_ns` (CLOCK_MONOTONIC): `len` bytes that `write` puts, piece by piece. False
    /// if it found no room.
    pub(crate) fn record(
        &mut self,
        kind: Kind,
        feed: usize,
        line: usize,
        receive_ns: u64,
        len: usize,
        write: impl FnOnce(&mut dyn FnMut(&[u8])),
    ) -> bool {
        if self.stamp.mono_ns != receive_ns {
            let age_ns = crate::now_ns().saturating_sub(receive_ns);
            self.stamp = Stamp { real_ns: real_ns().saturating_sub(age_ns), mono_ns: receive_ns };
        }
        let (feed, line, stamp) = (feed as u16, line as u8, self.stamp);
        self.has_news = true;
        self.tap.push(Header { kind, flags: 0, line, feed, generation: 0, stamp }, len, write)
    }

    /// Which configuration all further records are of.
    pub(crate) fn set_generation(&mut self, generation: u32) {
        self.tap.set_generation(generation);
    }

    /// Tells the journal thread and readers of the status what was recorded since. Queues a wake-up at most, which
    /// happens when the ring is entered next.
    pub(crate) fn settle(&mut self, ring: &mut Ring) -> std::io::Result<()> {
        if !std::mem::take(&mut self.has_news) {
            return Ok(());
        }
        self.status.set_journal_accepted(self.first + self.tap.accepted(), self.tap.lost());
        self.bell.ring_on(ring)
    }
}

/// CLOCK_REALTIME in ns.
pub(crate) fn real_ns() -> u64 {
    // It exists on every Linux, and is past 1970.
    clock_gettime(ClockId::CLOCK_REALTIME)
        .map_or(0, |time| time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uring::{RingError, RingPlan};

    #[test]
    fn what_was_accepted_is_told_as_sequences_of_all_runs() {
        let mut ring = match Ring::new(&RingPlan::render()) {
            Err(RingError::Forbidden(_)) => return eprintln!("skipped: no io_uring"),
            ring => ring.unwrap(),
        };
        let status = Arc::new(StatusWriter::create(1, 0, [1, 2]).unwrap());
        let (tap, _drain) = journal::queue(100, 1);
        let mut recorder = Recorder::new(tap, Arc::default(), status.clone()).counting_from(1_000);
        assert!(recorder.record(Kind::Frame, 0, 0, 1, 5, |put| put(b"frame")));
        assert!(!recorder.record(Kind::Frame, 0, 0, 1, 90, |put| put(&[0; 90])), "there is no room");
        recorder.settle(&mut ring).unwrap();
        let intake = status.journal_intake();
        assert_eq!((intake.accepted, intake.lost), (1_001, 1));
    }
}
