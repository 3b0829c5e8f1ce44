//! Sends trades of one symbol when the clock says so: whenever it wakes, all frames that are due leave in one write.

use anyhow::{Context, ensure};
use chartd::now_ns;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

/// Before the first burst, one trade in each of so many bars: as many as the chart shows.
pub(super) const HISTORY: u64 = 250;
const BAR_MS: u64 = 60_000;
/// As many digits as all later ones: every frame has one size.
const FIRST_ID: u64 = 100_000_000;
/// A whole minute.
pub(super) const BASE_MS: u64 = 1_700_000_040_000;

/// When frames leave.
#[derive(Debug, Clone, Copy)]
pub(super) enum Load {
    Bursts,
    Steady,
}

impl Load {
    pub(super) fn count(self) -> u64 {
        match self {
            Self::Bursts => 40 * 520,
            Self::Steady => 10 * 100_000,
        }
    }

    /// The moment of frame `index`, counted from the beginning.
    pub(super) fn planned_ns(self, index: u64) -> u64 {
        match self {
            Self::Bursts => index / 520 * 100_000_000 + index % 520 * 10_000_000 / 520,
            Self::Steady => index * 10_000,
        }
    }

    pub(super) fn seconds(self) -> f64 {
        self.planned_ns(self.count()) as f64 / 1e9
    }
}

/// Sends trades whose numbers and times go on from load to load.
pub(super) struct Sender {
    stream: TcpStream,
    /// Trades sent so far.
    pub(super) number: u64,
    cents: i64,
    due: Vec<u8>,
}

/// What a sender did.
pub(super) struct Sent {
    pub(super) start_ns: u64,
    /// Its first trade's number.
    pub(super) first: u64,
    /// How much later than planned each write was done.
    pub(super) late_ns: Vec<u64>,
    pub(super) frame_bytes: usize,
}

impl Sender {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, number: 0, cents: 6_000_000, due: Vec::new() }
    }

    pub(super) fn history(&mut self) -> anyhow::Result<()> {
        for bar in 0..HISTORY {
            self.cents = 6_000_000 + ((bar as f64 / 20.0).sin() * 5_000.0) as i64;
            self.push(BASE_MS - (HISTORY - bar) * BAR_MS);
        }
        self.stream.write_all(&self.due)?;
        self.due.clear();
        Ok(())
    }

    pub(super) fn send(&mut self, load: Load) -> anyhow::Result<Sent> {
        let (start_ns, first) = (now_ns() + 10_000_000, self.number);
        let mut sent = Sent { start_ns, first, late_ns: Vec::new(), frame_bytes: 0 };
        let mut index = 0;
        while index < load.count() {
            let next_ns = start_ns + load.planned_ns(index);
            std::thread::sleep(Duration::from_nanos(next_ns.saturating_sub(now_ns())));
            let now = now_ns();
            let before = index;
            while index < load.count() && start_ns + load.planned_ns(index) <= now {
                self.push(BASE_MS + self.number);
                index += 1;
            }
            if index > before {
                sent.frame_bytes = self.due.len() / (index - before) as usize;
                ensure!(
                    self.due.len().is_multiple_of((index - before) as usize),
                    "the frames differ in size"
                );
                self.stream.write_all(&self.due).context("the reader is gone")?;
                self.due.clear();
                sent.late_ns.push(now_ns() - next_ns);
            }
        }
        Ok(sent)
    }

    /// Appends the next trade, a few cents from the last one.
    fn push(&mut self, time_ms: u64) {
        self.cents += (self.number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61) as i64 - 3;
        // A walk that is pulled back, so that prices keep their digits.
        self.cents -= (self.cents - 6_000_000) / 10_000;
        let (id, whole, part) = (FIRST_ID + self.number, self.cents / 100, self.cents % 100);
        let text = format!(
            r#"{{"stream":"btcusdt@trade","data":{{"e":"trade","E":{time_ms},"s":"BTCUSDT","t":{id},"p":"{whole}.{part:02}000000","q":"0.02000000","T":{time_ms},"m":true,"M":true}}}}"#
        );
        self.number += 1;
        self.due.extend([0x81, 126]);
        self.due.extend((text.len() as u16).to_be_bytes());
        self.due.extend(text.as_bytes());
    }
}
