//! The rhythm of a replay, and how far it is.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Keeps the recording's rhythm.
pub(super) struct Pace {
    speed: Option<f64>,
    started: Option<(u64, Instant)>,
}

impl Pace {
    pub(super) fn new(speed: Option<f64>) -> Self {
        Self { speed, started: None }
    }

    pub(super) fn wait(&mut self, recorded_ns: Option<u64>) {
        let (Some(speed), Some(recorded_ns)) = (self.speed, recorded_ns) else {
            return;
        };
        let (first_ns, started) = *self.started.get_or_insert((recorded_ns, Instant::now()));
        let due = Duration::from_nanos((recorded_ns.saturating_sub(first_ns) as f64 / speed) as u64);
        std::thread::sleep(due.saturating_sub(started.elapsed()));
    }

    /// The next time counts as the first: what lies between is not waited for.
    pub(super) fn begin_anew(&mut self) {
        self.started = None;
    }
}

/// A bar on standard error for long work; nothing where nobody looks.
pub(super) struct Progress {
    shown: bool,
    done_bytes: u64,
    next: Instant,
}

impl Progress {
    pub(super) fn new(wanted: bool) -> Self {
        let shown = wanted && std::io::stderr().is_terminal();
        Self { shown, done_bytes: 0, next: Instant::now() + Duration::from_millis(500) }
    }

    pub(super) fn advance(&mut self, bytes: usize) {
        self.done_bytes += bytes as u64;
        // Looking at the clock costs more than adding: once in about a megabyte is enough.
        if self.shown && self.done_bytes & 0xf_ffff < bytes as u64 && Instant::now() >= self.next {
            self.next = Instant::now() + Duration::from_millis(200);
            eprint!("\r{} MB replayed\x1b[K", self.done_bytes / 1_000_000);
        }
    }

    pub(super) fn clear(&self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}
