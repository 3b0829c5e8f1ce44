//! The status segment: whether the daemon lives, which charts it has, what it counts, and what it lacks.
//!
//! In words:
//!
//! | words | what |
//! |---|---|
//! | 0.. | [`StatusHeader`], never changed but for `charts`, which grows |
//! | 32.. | [`Liveness`] |
//! | `counters_at` + i | value of counter i; its name is in [`Counter`] |
//! | `degraded_at` | sequence word, then a [`Text`] with one line for each thing that this machine lacks |
//! | `histograms_at` + i·[`histogram::WORDS`] | the histogram of [`Stage`] i |
//! | `charts_at` + 16·i | [`ChartEntry`] |

use crate::histogram::{self, Recorder, Snapshot};
use crate::record::{Text, record};
use crate::segment::{Segment, View};
use crate::{ABI_MAJOR, ABI_MINOR, ShmError};
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::*;

/// The first word of a status segment: "chartdS1".
pub const MAGIC: u64 = u64::from_le_bytes(*b"chartdS1");
/// The most charts of one daemon.
pub const MAX_CHARTS: usize = 256;

const HEADER_CHARTS: usize = 8;
const LIVENESS: usize = 32;
const COUNTERS: usize = 64;
const DEGRADED: usize = 192;
const DEGRADED_WORDS: usize = 256;
const HISTOGRAMS: usize = DEGRADED + 8 + DEGRADED_WORDS;
const CHART_WORDS: usize = 16;

record! {
    /// Where things stand.
    pub struct StatusHeader {
        /// [`MAGIC`].
        pub magic: u64,
        /// [`ABI_MAJOR`].
        pub abi_major: u64,
        /// [`ABI_MINOR`].
        pub abi_minor: u64,
        /// How many counters there are.
        pub counters: u64,
        /// Word of the first counter.
        pub counters_at: u64,
        /// Word of the degraded text's sequence.
        pub degraded_at: u64,
        /// How many histograms there are.
        pub histograms: u64,
        /// Word of the first histogram.
        pub histograms_at: u64,
        /// How many charts there are.
        pub charts: u64,
        /// Word of the first chart.
        pub charts_at: u64,
    }
}

record! {
    /// Whether the daemon lives.
    pub struct Liveness {
        /// 0 starting, 1 running, 2 draining.
        pub state: u64,
        /// When a hot loop last came round, CLOCK_MONOTONIC.
        pub heartbeat_ns: u64,
        /// When the daemon started, CLOCK_MONOTONIC.
        pub started_ns: u64,
        /// Its process id.
        pub pid: u64,
        /// Hot threads: 1 fused, 2 split; 0 before they run.
        pub threads: u64,
    }
}

record! {
    /// One chart.
    pub struct ChartEntry {
        /// Its name: `venue:SYMBOL/timeframe`.
        pub name: Text<8>,
        /// Pixels in a row.
        pub width: u64,
        /// Rows.
        pub height: u64,
        /// Number of frames published.
        pub frames: u64,
        /// Size of the pixel segment's memory pages.
        pub page_bytes: u64,
    }
}

const CHART_FRAMES: usize = 10;
const LIVENESS_THREADS: usize = 4;
const _: () = assert!(ChartEntry::WORDS <= CHART_WORDS);

macro_rules! named {
    ($(#[$meta:meta])* pub enum $enum:ident { $($(#[$doc:meta])* $variant:ident = $name:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $enum { $($(#[$doc])* $variant,)+ }

        impl $enum {
            /// All of them, in the order of the segment.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name that reports and metrics use.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

named! {
    /// What the daemon counts. Only ever appended to: the order is part of the ABI.
    pub enum Counter {
        /// Frames that venues sent.
        FramesIn = "frames_in",
        /// Bytes of them.
        BytesIn = "bytes_in",
        /// Market messages that were decoded.
        Decoded = "decoded",
        /// Answers, acknowledgements and shutdown notices.
        Control = "control",
        /// Messages of a kind or about a symbol that is not known.
        Unknown = "unknown",
        /// Messages that are not what they claim to be.
        Malformed = "malformed",
        /// Trade reports taken into candles.
        Trades = "trades",
        /// Trade reports seen twice.
        Duplicates = "duplicates",
        /// Trades missing between two reports.
        MissingTrades = "missing_trades",
        /// Trade reports for a bar that is no longer kept.
        TooLate = "too_late",
        /// Closed candles of the venue that equal ours.
        KlinesEqual = "klines_equal",
        /// Closed candles of the venue that differ from ours.
        KlinesDiffer = "klines_differ",
        /// Connections made.
        Connects = "connects",
        /// Connections lost.
        Disconnects = "disconnects",
        /// Pings answered.
        Pings = "pings",
        /// Frames published, over all charts.
        FramesPublished = "frames_published",
        /// Pixels drawn, over all charts.
        PixelsDrawn = "pixels_drawn",
        /// Ticks that the render thread could not read in time.
        TicksOverrun = "ticks_overrun",
        /// Clients on the control socket.
        Clients = "clients",
        /// Clients refused.
        ClientsRefused = "clients_refused",
    }
}

named! {
    /// What is timed. Only ever appended to.
    pub enum Stage {
        /// From the receipt of a trade to the publication of the first frame that shows it, for each chart.
        TickToFrame = "tick_to_frame",
        /// From the receipt of a message to its candles in shared memory.
        ReceiveToCandle = "receive_to_candle",
        /// Laying out, drawing and copying one frame.
        Render = "render",
    }
}

const _: () = assert!(COUNTERS + Counter::ALL.len() <= DEGRADED);

/// Publishes the daemon's condition. Threads share it; each counter and histogram has one writer at a time.
#[derive(Debug)]
pub struct StatusWriter {
    segment: Segment,
}

impl StatusWriter {
    /// Makes the segment.
    pub fn create(pid: u32, now_ns: u64) -> Result<Self, ShmError> {
        let charts_at = HISTOGRAMS + Stage::ALL.len() * histogram::WORDS;
        let segment = Segment::create("chartd-status", (charts_at + MAX_CHARTS * CHART_WORDS) * 8, false)?;
        let header = StatusHeader {
            magic: MAGIC,
            abi_major: ABI_MAJOR,
            abi_minor: ABI_MINOR,
            counters: Counter::ALL.len() as u64,
            counters_at: COUNTERS as u64,
            degraded_at: DEGRADED as u64,
            histograms: Stage::ALL.len() as u64,
            histograms_at: HISTOGRAMS as u64,
            charts: 0,
            charts_at: charts_at as u64,
        };
        let liveness =
            Liveness { state: 0, heartbeat_ns: now_ns, started_ns: now_ns, pid: pid.into(), threads: 0 };
        segment.words().store(0, &header.to_words());
        segment.words().store(LIVENESS, &liveness.to_words());
        Ok(Self { segment })
    }

    /// A descriptor for a reader.
    pub fn reader_fd(&self) -> Result<OwnedFd, ShmError> {
        self.segment.reader_fd()
    }

    /// Adds to a counter.
    pub fn count(&self, counter: Counter, more: u64) {
        self.segment.words().word(COUNTERS + counter as usize).fetch_add(more, Relaxed);
    }

    /// Sets a counter that can fall, as the number of clients.
    pub fn set(&self, counter: Counter, value: u64) {
        self.segment.words().word(COUNTERS + counter as usize).store(value, Relaxed);
    }

    /// The histogram of a stage.
    pub fn recorder(&self, stage: Stage) -> Recorder<'_> {
        Recorder::new(
            self.segment.words().part(HISTOGRAMS + stage as usize * histogram::WORDS, histogram::WORDS),
        )
    }

    /// Tells that a hot loop came round.
    pub fn beat(&self, now_ns: u64) {
        self.segment.words().word(LIVENESS + 1).store(now_ns, Relaxed);
    }

    /// Tells the daemon's state: see [`Liveness::state`].
    pub fn set_state(&self, state: u64) {
        self.segment.words().word(LIVENESS).store(state, Release);
    }

    /// Tells how many hot threads there are: see [`Liveness::threads`].
    pub fn set_threads(&self, threads: u64) {
        self.segment.words().word(LIVENESS + LIVENESS_THREADS).store(threads, Release);
    }

    /// Replaces the list of what this machine lacks. What does not fit is cut.
    pub fn set_degraded(&self, lines: &[String]) {
        let words = self.segment.words();
        let text = Text::<DEGRADED_WORDS>::new(&lines.join("\n"));
        let mut values = [0; DEGRADED_WORDS];
        crate::record::Field::store(text, &mut values);
        words.write_sequenced(DEGRADED, words.word(DEGRADED).load(Relaxed) + 2, &values);
    }

    /// Adds a chart to the directory and returns its place. At most [`MAX_CHARTS`].
    pub fn add_chart(&self, entry: &ChartEntry) -> Result<usize, ShmError> {
        let words = self.segment.words();
        let count = words.word(HEADER_CHARTS);
        let place = count.load(Relaxed) as usize;
        if place >= MAX_CHARTS {
            let what = "the number of charts";
            return Err(ShmError::Limit { what, value: place + 1, limit: "at most 256" });
        }
        words.store(self.charts_at() + place * CHART_WORDS, &entry.to_words());
        count.store(place as u64 + 1, Release);
        Ok(place)
    }

    /// Tells how many frames the chart at `place` has published.
    pub fn set_chart_frames(&self, place: usize, frames: u64) {
        self.segment
            .words()
            .word(self.charts_at() + place * CHART_WORDS + CHART_FRAMES)
            .store(frames, Relaxed);
    }

    fn charts_at(&self) -> usize {
        HISTOGRAMS + Stage::ALL.len() * histogram::WORDS
    }
}

/// Reads the daemon's condition.
#[derive(Debug)]
pub struct StatusReader {
    view: View,
    header: StatusHeader,
}

impl StatusReader {
    /// Maps the segment and checks that its size is as its header says.
    pub fn open(fd: OwnedFd) -> Result<Self, ShmError> {
        let view = View::open(fd, "status", MAGIC, HISTOGRAMS)?;
        let words = view.words();
        let header = StatusHeader::from_words(&words.array(0));
        // A newer daemon may have more of each. An older one may have fewer.
        if !words.holds(header.counters_at, header.counters, 1)
            || !words.holds(header.histograms_at, header.histograms, histogram::WORDS)
            || !words.holds(header.charts_at, MAX_CHARTS as u64, CHART_WORDS)
            || !words.holds(header.degraded_at, 1, 1 + DEGRADED_WORDS)
        {
            return Err(ShmError::Foreign { kind: "status", why: "it is shorter than its header says" });
        }
        Ok(Self { view, header })
    }

    /// Whether the daemon lives.
    pub fn liveness(&self) -> Liveness {
        Liveness::from_words(&self.view.words().array(LIVENESS))
    }

    /// The value of a counter; zero if this daemon does not have it.
    pub fn counter(&self, counter: Counter) -> u64 {
        let place = counter as usize;
        if place as u64 >= self.header.counters {
            return 0;
        }
        self.view.words().load(self.header.counters_at as usize + place)
    }

    /// The histogram of a stage, if this daemon has it.
    pub fn histogram(&self, stage: Stage) -> Option<Snapshot> {
        let place = stage as usize;
        ((place as u64) < self.header.histograms).then(|| {
            Snapshot::read(self.view.words(), self.header.histograms_at as usize + place * histogram::WORDS)
        })
    }

    /// What this machine lacks, a line each.
    pub fn degraded(&self) -> Vec<String> {
        let found = (0..1_000).find_map(|_| {
            self.view.words().read_sequenced::<DEGRADED_WORDS>(self.header.degraded_at as usize)
        });
        let text: Text<DEGRADED_WORDS> = match found {
            Some((_, words)) => crate::record::Field::load(&words),
            None => return Vec::new(),
        };
        text.to_string().lines().map(str::to_owned).collect()
    }

    /// The charts, by place.
    pub fn charts(&self) -> Vec<ChartEntry> {
        let words = self.view.words();
        let count = words.load(HEADER_CHARTS).min(MAX_CHARTS as u64) as usize;
        (0..count)
            .map(|place| {
                ChartEntry::from_words(&words.array(self.header.charts_at as usize + place * CHART_WORDS))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_words_are_where_the_records_have_them() {
        let place =
            |layout: Vec<(&str, usize)>, name| layout.into_iter().find(|(n, _)| *n == name).unwrap().1;
        assert_eq!(place(StatusHeader::layout(), "charts"), HEADER_CHARTS);
        assert_eq!(place(ChartEntry::layout(), "frames"), CHART_FRAMES);
        assert_eq!(place(Liveness::layout(), "heartbeat_ns"), 1);
        assert_eq!(place(Liveness::layout(), "threads"), LIVENESS_THREADS);
    }
}
