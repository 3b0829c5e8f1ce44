//! The journal by itself, for benches: its queue, its threads and its ring, fed by the caller as the hot thread does.

use super::{Journal, Opened, Recorder};
use crate::config;
use crate::uring::{Ring, RingPlan};
use journal::Kind;
use shm::status::StatusWriter;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// A journal that runs until it is dropped.
pub struct Run {
    recorder: Recorder,
    status: Arc<StatusWriter>,
    /// Wakes the journal's thread; does nothing else.
    ring: Ring,
    first: u64,
    is_promised: bool,
    _journal: Journal,
}

impl Run {
    /// Opens it and starts its threads.
    pub fn start(config: &config::Journal) -> anyhow::Result<Self> {
        let status = Arc::new(StatusWriter::create(0, 0, [0; 2])?);
        let is_promised = config.durability != journal::Durability::Async;
        let (journal, mut recorder, lacking) = Opened::open(config)?.start(&status, &Arc::default(), true)?;
        lacking.iter().for_each(|line| tracing::warn!("degraded: {line}"));
        let ring = Ring::new(&RingPlan::ingest(false))?;
        // Each run begins with one, and each segment holds it.
        let start = br#"{"feeds":[]}"#;
        recorder.record(Kind::Start, 0, 0, crate::now_ns(), start.len(), |put| put(start));
        let first = status.journal().first + 1;
        Ok(Self { recorder, status, ring, first, is_promised, _journal: journal })
    }

    /// Whether a frame of this length finds room.
    pub fn has_room(&self, bytes: usize) -> bool {
        let tap = &self.recorder.tap;
        tap.capacity_bytes() - tap.waiting_bytes() >= journal::record::padded(bytes)
    }

    /// Records a frame that was received at `receive_ns` (CLOCK_MONOTONIC). False if it found no room.
    pub fn push(&mut self, frame: &[u8], receive_ns: u64) -> bool {
        self.recorder.record(Kind::Frame, 0, 0, receive_ns, frame.len(), |put| put(frame))
    }

    /// Tells the journal's thread what was recorded since.
    pub fn settle(&mut self) -> io::Result<()> {
        self.recorder.settle(&mut self.ring)?;
        self.ring.enter(Duration::ZERO)
    }

    /// How many frames are durable; in class async, how many are written.
    pub fn durable_or_written(&self) -> u64 {
        let state = self.status.journal();
        (if self.is_promised { state.durable } else { state.written }).saturating_sub(self.first)
    }

    /// How many bytes the files of the journal take.
    pub fn disk_bytes(&self) -> u64 {
        self.status.journal().disk_bytes
    }

    /// How many frames found no room.
    pub fn lost(&self) -> u64 {
        self.status.journal_intake().lost
    }
}
