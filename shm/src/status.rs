//! The status segment: whether the daemon lives, which charts it has, what it counts, and what it lacks.
//!
//! It lives as long as the daemon; charts and market data belong to one configuration of it. In words:
//!
//! | words | what |
//! |---|---|
//! | 0.. | [`StatusHeader`], never changed |
//! | 32.. | [`Liveness`] |
//! | 48 | sequence word of the list of charts, then how many there are |
//! | `counters_at` + i | value of counter i; its name is in [`Counter`] |
//! | `degraded_at` | sequence word, then a [`Text`] with one line for each thing that this machine lacks |
//! | `histograms_at` + i·[`histogram::WORDS`] | the histogram of [`Stage`] i |
//! | `loops_at` + 32·i | [`LoopEntry`]; 16 words in: [`LoopState`] |
//! | `charts_at` + 32·i | [`ChartEntry`]; 16 words in: [`ChartState`] |
//! | `journal_at` | [`JournalState`]; 16 words in: [`JournalIntake`], which another thread writes |

use crate::ShmError;
use crate::histogram::{self, Recorder, Snapshot};
use crate::prefix::{Identity, Prefix};
use crate::record::{Field, Text, record};
use crate::segment::{Segment, View};
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::*;

/// The first word of a status segment: "chartdS3".
pub const MAGIC: u64 = u64::from_le_bytes(*b"chartdS3");
/// The most charts of one daemon.
pub const MAX_CHARTS: usize = 256;
/// The most supervised loops of one daemon.
pub const MAX_LOOPS: usize = 16;
/// Says that the daemon runs: the value of [`Liveness::state`].
pub const RUNNING: u64 = 1;
/// Says that the daemon is about to end.
pub const DRAINING: u64 = 2;

const LIVENESS: usize = 32;
const CHARTS: usize = 48;
const COUNTERS: usize = 64;
const DEGRADED: usize = 192;
const DEGRADED_WORDS: usize = 256;
/// Each thread's words begin on a line of their own.
const HISTOGRAMS: usize = (DEGRADED + 1 + DEGRADED_WORDS).next_multiple_of(16);
const LOOPS: usize = HISTOGRAMS + (Stage::ALL.len() * histogram::WORDS).next_multiple_of(16);
const ENTRY_WORDS: usize = 32;
const ENTRY_STATE: usize = 16;
const CHARTS_AT: usize = LOOPS + MAX_LOOPS * ENTRY_WORDS;
/// Two threads write it, each a line of its own.
const JOURNAL: usize = CHARTS_AT + MAX_CHARTS * ENTRY_WORDS;

/// Where things stand in a status segment, in words; the rest its header tells.
pub const PLACES: &[(&str, usize)] = &[
    ("liveness", LIVENESS),
    ("sequence of the charts", CHARTS),
    ("number of charts", CHARTS + 1),
    ("words of a histogram", histogram::WORDS),
    ("words of a loop or chart", ENTRY_WORDS),
    ("state in it", ENTRY_STATE),
];

record! {
    /// Where things stand.
    pub struct StatusHeader {
        /// What it is; its magic is [`MAGIC`].
        pub prefix: Prefix,
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
        /// How many loops there is room for.
        pub loops: u64,
        /// Word of the first loop.
        pub loops_at: u64,
        /// How many charts there is room for.
        pub charts: u64,
        /// Word of the first chart.
        pub charts_at: u64,
        /// Word of the journal's state. Zero if the daemon is older than journals.
        pub journal_at: u64,
    }
}

record! {
    /// Whether the daemon lives.
    pub struct Liveness {
        /// 0 starting, [`RUNNING`] or [`DRAINING`].
        pub state: u64,
        /// When the daemon started, CLOCK_MONOTONIC.
        pub started_ns: u64,
        /// Its process id.
        pub pid: u64,
        /// Hot threads: 1 fused, 2 split; 0 before they run.
        pub threads: u64,
        /// Which configuration it runs, from 1. A reader whose segments are of an older one says hello again.
        pub generation: u64,
    }
}

record! {
    /// A loop that is supervised.
    pub struct LoopEntry {
        /// Its thread's name.
        pub name: Text<2>,
        /// Its thread's id; zero if there is no such loop.
        pub tid: u64,
        /// The CPU that it is pinned to, plus one; zero if to none.
        pub cpu: u64,
        /// Its SCHED_FIFO priority; zero if it has none, or has it no more.
        pub priority: u64,
        /// How it waits: 1 spinning, 2 polling, 3 blocking.
        pub wait: u64,
        /// How old its beat may become while it waits.
        pub wait_limit_ns: u64,
        /// How old its beat may become while it works.
        pub work_limit_ns: u64,
        /// Whether charts go on without it, 1 or 0: that it is late then is no stall of the daemon.
        pub is_aside: u64,
    }
}

record! {
    /// How a loop goes.
    pub struct LoopState {
        /// How often it came round.
        pub rounds: u64,
        /// When it last told what it does, CLOCK_MONOTONIC.
        pub beat_ns: u64,
        /// What it does: [`Phase`].
        pub phase: u64,
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
        /// Size of the pixel segment's memory pages.
        pub page_bytes: u64,
        /// How many readers may lease a slot.
        pub leases: u64,
    }
}

record! {
    /// How a chart goes.
    pub struct ChartState {
        /// Number of frames published.
        pub frames: u64,
        /// When the latest was published, CLOCK_MONOTONIC.
        pub publish_ns: u64,
        /// How often a slot was passed over because a reader leased it.
        pub passed_over: u64,
        /// What drew the latest: a [`Backend`](crate::frame::Backend).
        pub backend: u64,
    }
}

record! {
    /// How the journal goes. Sequences count the records of all runs; a record is written or durable if its own
    /// sequence is lower. Each word is right by itself, at its moment: read `durable` before `written`, and it is not
    /// above it.
    pub struct JournalState {
        /// [`Journal`].
        pub state: u64,
        /// What is promised: 1 async, 2 group, 3 sync.
        pub class: u64,
        /// Sequence of this run's first record.
        pub first: u64,
        /// Records that were written, whether or not a power cut would take them.
        pub written: u64,
        /// Records that a power cut does not take.
        pub durable: u64,
        /// Number of the segment that is written.
        pub segment: u64,
        /// Bytes of all its files on disk, as they were counted last.
        pub disk_bytes: u64,
        /// Bytes that wait to be written, and how many may.
        pub waiting_bytes: u64,
        /// See `waiting_bytes`.
        pub capacity_bytes: u64,
        /// The errno of the latest write, flush or preparation that failed; zero if none has.
        pub errno: u64,
    }
}

record! {
    /// What the thread that ingests gives to the journal.
    pub struct JournalIntake {
        /// Records that were accepted, of all runs. It is told once for all that came together, so what came last may
        /// be written already.
        pub accepted: u64,
        /// Records of this run that found no room, and are lost to the journal.
        pub lost: u64,
    }
}

impl Default for JournalState {
    /// That of no journal.
    fn default() -> Self {
        Self::from_words(&[0; Self::WORDS])
    }
}

const _: () =
    assert!(JournalState::WORDS <= ENTRY_STATE && ENTRY_STATE + JournalIntake::WORDS <= ENTRY_WORDS);
const _: () = assert!(StatusHeader::WORDS <= LIVENESS && LIVENESS + Liveness::WORDS <= CHARTS);
const _: () = assert!(LoopEntry::WORDS <= ENTRY_STATE && ENTRY_STATE + LoopState::WORDS <= ENTRY_WORDS);
const _: () = assert!(ChartEntry::WORDS <= ENTRY_STATE && ENTRY_STATE + ChartState::WORDS <= ENTRY_WORDS);

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
        /// Connections to the control socket that had to wait, because too many came at once.
        ClientsThrottled = "clients_throttled",
        /// Leases that readers hold.
        Leases = "leases",
        /// Slots that were passed over because a reader leased them, over all charts.
        SlotsPassedOver = "slots_passed_over",
        /// Readers that were woken by the doorbell.
        Rings = "rings",
        /// Readers that did not take what the doorbell sent, and were dropped.
        RingsRefused = "rings_refused",
        /// Loops that were found late.
        LoopsLate = "loops_late",
        /// Threads that lost their real-time priority because they ran away.
        Demotions = "demotions",
        /// Times that drawing was told to go on with a simpler backend.
        BackendSwitches = "backend_switches",
        /// Configurations that were taken over while running.
        Reloads = "reloads",
        /// Pictures of a coming bar that were drawn ahead, over all charts.
        AheadPrepared = "ahead_prepared",
        /// New bars whose picture was drawn ahead, and used.
        AheadHits = "ahead_hits",
        /// New bars whose picture was drawn ahead, and of no use.
        AheadMisses = "ahead_misses",
        /// Adjustments of charts that clients asked for and got.
        Adjustments = "adjustments",
        /// Adjustments that were refused: out of range, or too many.
        AdjustmentsRefused = "adjustments_refused",
        /// Messages before which others are missing, over all streams.
        Gaps = "gaps",
        /// Messages that contradict what was known.
        Corrupt = "corrupt",
        /// Messages of which nothing can be proven.
        Unverifiable = "unverifiable",
        /// Missing trades that came later, or were fetched.
        RepairedTrades = "repaired_trades",
        /// Missing trades that nobody can give.
        LostTrades = "lost_trades",
        /// Times that one stream was silent while others were not.
        SilentStreams = "silent_streams",
        /// Snapshots of books that were fetched and joined.
        BookSnapshots = "book_snapshots",
        /// Times that data came and all receive buffers were taken.
        RecvNobufs = "recv_no_buffers",
        /// Pings that we sent because nothing came.
        PingsSent = "pings_sent",
        /// Datagrams that were larger than a receive buffer, and passed over.
        DatagramsCut = "datagrams_cut",
        /// Datagrams of whose numbered messages another line had brought all already.
        LineDuplicates = "line_duplicates",
        /// Times that the numbers of one line jumped ahead: it lost or reordered datagrams.
        LineGaps = "line_gaps",
        /// Requests for missing messages that were made of retransmission servers.
        RetransmissionsAsked = "retransmissions_asked",
        /// Numbered messages that no line and no server brought.
        MessagesLost = "messages_lost",
        /// Records that were written to the journal.
        JournalRecords = "journal_records",
        /// Bytes of its blocks that were written.
        JournalBytes = "journal_bytes",
        /// Blocks that were written.
        JournalBlocks = "journal_blocks",
        /// Flushes that ended well, written through or by themselves.
        JournalFlushes = "journal_flushes",
        /// Segments that were closed.
        JournalSegments = "journal_segments",
        /// Records that found no room in the journal's queue.
        JournalLost = "journal_lost",
        /// Writes that failed.
        JournalWriteFailures = "journal_write_failures",
        /// Flushes that failed: each poisons its segment.
        JournalFlushFailures = "journal_flush_failures",
        /// Times that no segment could be prepared.
        JournalPrepareFailures = "journal_prepare_failures",
    }
}

impl Counter {
    /// Whether it can fall.
    pub const fn is_gauge(self) -> bool {
        matches!(self, Self::Clients | Self::Leases)
    }
}

named! {
    /// What is timed. Only ever appended to.
    pub enum Stage {
        /// From the receipt of a trade to the publication of the first frame that shows it, for each chart.
        TickToFrame = "tick_to_frame",
        /// From the receipt of a market message to its meaning.
        Decode = "receive_to_decode",
        /// From there to its candles in shared memory.
        Candle = "decode_to_candle",
        /// From there to the moment at which drawing begins.
        Handover = "candle_to_render",
        /// Laying out and drawing one frame.
        Render = "render_to_drawn",
        /// Copying what was drawn to its slot, and publishing it.
        Publish = "drawn_to_publish",
        /// From publication to the message that wakes a waiting reader.
        Ring = "publish_to_ring",
        /// How much later than planned the supervisor woke: time that the machine took from everybody.
        Hiccup = "hiccup",
        /// The longest time between two looks of a spinning loop, in each hundredth of a second.
        Gap = "spin_gap",
    }
}

named! {
    /// What a loop does.
    pub enum Phase {
        /// It waits for work.
        Wait = "wait",
        /// It takes in what came.
        Ingest = "ingest",
        /// It draws and publishes.
        Draw = "draw",
        /// It serves clients.
        Serve = "serve",
        /// It writes the journal.
        Write = "write",
    }
}

named! {
    /// How a journal does.
    pub enum Journal {
        /// There is none.
        None = "none",
        /// It keeps up.
        Well = "well",
        /// What waits to be written takes more than a quarter of the queue.
        Spilling = "spilling",
        /// Records found no room.
        Losing = "losing",
        /// There is nowhere to write: no room on disk, or no segment could be made.
        Stalled = "stalled",
        /// It was closed.
        Ended = "ended",
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
    pub fn create(pid: u32, now_ns: u64, epoch: [u64; 2]) -> Result<Self, ShmError> {
        let len_words = JOURNAL + ENTRY_WORDS;
        let segment = Segment::create("chartd-status", len_words * 8, false)?;
        let header = StatusHeader {
            prefix: Prefix::new(MAGIC, StatusHeader::WORDS, &Identity { epoch, generation: 0 }),
            counters: Counter::ALL.len() as u64,
            counters_at: COUNTERS as u64,
            degraded_at: DEGRADED as u64,
            histograms: Stage::ALL.len() as u64,
            histograms_at: HISTOGRAMS as u64,
            loops: MAX_LOOPS as u64,
            loops_at: LOOPS as u64,
            charts: MAX_CHARTS as u64,
            charts_at: CHARTS_AT as u64,
            journal_at: JOURNAL as u64,
        };
        let liveness = Liveness { state: 0, started_ns: now_ns, pid: pid.into(), threads: 0, generation: 0 };
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

    /// The value of a counter.
    pub fn counter(&self, counter: Counter) -> u64 {
        self.segment.words().word(COUNTERS + counter as usize).load(Relaxed)
    }

    /// The histogram of a stage.
    pub fn recorder(&self, stage: Stage) -> Recorder<'_> {
        Recorder::new(
            self.segment.words().part(HISTOGRAMS + stage as usize * histogram::WORDS, histogram::WORDS),
        )
    }

    /// Tells the daemon's state: see [`Liveness::state`].
    pub fn set_state(&self, state: u64) {
        self.segment.words().word(LIVENESS).store(state, Release);
    }

    /// Tells how many hot threads there are, and which configuration they run.
    pub fn set_threads(&self, threads: u64, generation: u64) {
        let words = self.segment.words();
        words.word(LIVENESS + LIVENESS_THREADS).store(threads, Relaxed);
        words.word(LIVENESS + LIVENESS_THREADS + 1).store(generation, Release);
    }

    /// Replaces the list of what this machine lacks. What does not fit is cut.
    pub fn set_degraded(&self, lines: &[String]) {
        let words = self.segment.words();
        let text = Text::<DEGRADED_WORDS>::new(&lines.join("\n"));
        let mut values = [0; DEGRADED_WORDS];
        Field::store(text, &mut values);
        words.write_sequenced(DEGRADED, words.word(DEGRADED).load(Relaxed) + 2, &values);
    }

    /// Describes the loop at `place`, which is below [`MAX_LOOPS`]. It begins to count with its first beat.
    pub fn set_loop(&self, place: usize, entry: &LoopEntry) {
        self.segment.words().store(LOOPS + place * ENTRY_WORDS, &entry.to_words());
    }

    /// The loop at `place`.
    pub fn loop_entry(&self, place: usize) -> LoopEntry {
        LoopEntry::from_words(&self.segment.words().array(LOOPS + place * ENTRY_WORDS))
    }

    /// How the loop at `place` goes.
    pub fn loop_state(&self, place: usize) -> LoopState {
        LoopState::from_words(&self.segment.words().array(LOOPS + place * ENTRY_WORDS + ENTRY_STATE))
    }

    /// Tells what the loop at `place` does from now on. Coming back to [`Phase::Wait`] completes a round.
    pub fn beat(&self, place: usize, phase: Phase, now_ns: u64) {
        let at = LOOPS + place * ENTRY_WORDS + ENTRY_STATE;
        let words = self.segment.words();
        if phase == Phase::Wait {
            // One thread writes it.
            words.word(at).store(words.word(at).load(Relaxed) + 1, Relaxed);
        }
        words.word(at + 1).store(now_ns, Relaxed);
        words.word(at + 2).store(phase as u64, Release);
    }

    /// Replaces the list of charts, at most [`MAX_CHARTS`]. Nobody may publish frames meanwhile.
    pub fn set_charts(&self, charts: &[ChartEntry]) -> Result<(), ShmError> {
        if charts.len() > MAX_CHARTS {
            let what = "the number of charts";
            return Err(ShmError::Limit { what, value: charts.len(), limit: "at most 256" });
        }
        let words = self.segment.words();
        let even = words.word(CHARTS).load(Relaxed) + 2;
        words.begin_sequenced(CHARTS, even);
        for (place, entry) in charts.iter().enumerate() {
            let at = CHARTS_AT + place * ENTRY_WORDS;
            words.store(at, &entry.to_words());
            words.store(at + ENTRY_STATE, &[0; ChartState::WORDS]);
        }
        words.store(CHARTS + 1, &[charts.len() as u64]);
        words.word(CHARTS).store(even, Release);
        Ok(())
    }

    /// Tells how the chart at `place` goes.
    pub fn set_chart_state(&self, place: usize, state: &ChartState) {
        self.segment.words().store(CHARTS_AT + place * ENTRY_WORDS + ENTRY_STATE, &state.to_words());
    }

    /// Tells how the journal goes. One thread does at a time.
    pub fn set_journal(&self, state: &JournalState) {
        let words = self.segment.words();
        words.store(JOURNAL, &JournalState { durable: self.journal().durable, ..*state }.to_words());
        // Whoever sees it sees what was written, too.
        words.word(JOURNAL + JOURNAL_DURABLE).store(state.durable, Release);
    }

    /// How the journal goes, as it was told last.
    pub fn journal(&self) -> JournalState {
        JournalState::from_words(&self.segment.words().array(JOURNAL))
    }

    /// Tells what the journal was given: see [`JournalIntake`]. Two stores, on a line that no other thread writes.
    pub fn set_journal_accepted(&self, accepted: u64, lost: u64) {
        let words = self.segment.words();
        words.word(JOURNAL + ENTRY_STATE).store(accepted, Release);
        words.word(JOURNAL + ENTRY_STATE + 1).store(lost, Relaxed);
    }

    /// What the journal was given.
    pub fn journal_intake(&self) -> JournalIntake {
        JournalIntake::from_words(&self.segment.words().array(JOURNAL + ENTRY_STATE))
    }
}

const LIVENESS_THREADS: usize = 3;
const JOURNAL_DURABLE: usize = 4;

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
            || !words.holds(header.loops_at, header.loops, ENTRY_WORDS)
            || !words.holds(header.charts_at, header.charts, ENTRY_WORDS)
            || !words.holds(header.degraded_at, 1, 1 + DEGRADED_WORDS)
            || (header.journal_at > 0 && !words.holds(header.journal_at, 1, ENTRY_WORDS))
        {
            return Err(ShmError::Foreign { kind: "status", why: "it is shorter than its header says" });
        }
        Ok(Self { view, header })
    }

    /// Which daemon it is.
    pub fn identity(&self) -> Identity {
        self.header.prefix.identity()
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
            Some((_, words)) => Field::load(&words),
            None => return Vec::new(),
        };
        text.to_string().lines().map(str::to_owned).collect()
    }

    /// The supervised loops.
    pub fn loops(&self) -> Vec<(LoopEntry, LoopState)> {
        let words = self.view.words();
        let all = (0..self.header.loops as usize).map(|place| {
            let at = self.header.loops_at as usize + place * ENTRY_WORDS;
            let entry = LoopEntry::from_words(&words.array(at));
            (entry, LoopState::from_words(&words.array(at + ENTRY_STATE)))
        });
        all.filter(|(entry, _)| entry.tid != 0).collect()
    }

    /// The loop whose beat is older than it may be by now, if there is one: the daemon lives, but is stalled. Loops
    /// that charts do without do not count.
    pub fn stalled(&self, now_ns: u64) -> Option<LoopEntry> {
        let late = |(entry, state): &(LoopEntry, LoopState)| {
            entry.is_aside == 0 && state.age_ns(now_ns) > entry.limit_ns(state)
        };
        self.loops().into_iter().find(late).map(|(entry, _)| entry)
    }

    /// How the journal goes, and what it was given. `None` if there is none.
    pub fn journal(&self) -> Option<(JournalState, JournalIntake)> {
        let at = self.header.journal_at as usize;
        if at == 0 {
            return None; // An older daemon.
        }
        let words = self.view.words();
        let durable = words.load(at + JOURNAL_DURABLE);
        let state = JournalState { durable, ..JournalState::from_words(&words.array(at)) };
        let intake = JournalIntake::from_words(&words.array(at + ENTRY_STATE));
        let intake = JournalIntake { accepted: intake.accepted.max(state.written), ..intake };
        (state.state != 0).then_some((state, intake))
    }

    /// The charts, by place, and how they go.
    pub fn charts(&self) -> Vec<(ChartEntry, ChartState)> {
        let words = self.view.words();
        let found = (0..1_000).find_map(|_| {
            let before = words.load(CHARTS);
            let count = words.load(CHARTS + 1).min(self.header.charts) as usize;
            let charts = (0..count).map(|place| {
                let at = self.header.charts_at as usize + place * ENTRY_WORDS;
                let entry = ChartEntry::from_words(&words.array(at));
                (entry, ChartState::from_words(&words.array(at + ENTRY_STATE)))
            });
            let charts: Vec<_> = charts.collect();
            (before.is_multiple_of(2) && words.unchanged_since(CHARTS, before)).then_some(charts)
        });
        found.unwrap_or_default()
    }
}

impl LoopState {
    /// How long ago it told what it does.
    pub fn age_ns(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.beat_ns)
    }
}

impl LoopEntry {
    /// How old the beat of `state` may become.
    pub fn limit_ns(&self, state: &LoopState) -> u64 {
        if state.phase == Phase::Wait as u64 { self.wait_limit_ns } else { self.work_limit_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_words_are_where_the_records_have_them() {
        let place =
            |layout: Vec<(&str, usize)>, name| layout.into_iter().find(|(n, _)| *n == name).unwrap().1;
        assert_eq!(place(Liveness::layout(), "threads"), LIVENESS_THREADS);
        assert_eq!(place(Liveness::layout(), "generation"), LIVENESS_THREADS + 1);
        assert_eq!(place(JournalState::layout(), "written"), JOURNAL_DURABLE - 1);
        assert_eq!(place(JournalState::layout(), "durable"), JOURNAL_DURABLE);
        assert_eq!(place(JournalIntake::layout(), "lost"), 1);
        assert_eq!(place(LoopState::layout(), "beat_ns"), 1);
        assert_eq!(place(LoopState::layout(), "phase"), 2);
    }

    #[test]
    fn a_loop_that_works_too_long_is_late() {
        let writer = StatusWriter::create(1, 0, [1, 2]).unwrap();
        let reader = StatusReader::open(writer.reader_fd().unwrap()).unwrap();
        let entry = LoopEntry {
            name: Text::new("chartd-ingest"),
            tid: 7,
            cpu: 0,
            priority: 10,
            wait: 3,
            wait_limit_ns: 200,
            work_limit_ns: 50,
            is_aside: 0,
        };
        writer.set_loop(3, &entry);
        writer.beat(3, Phase::Wait, 1_000);
        assert_eq!(reader.stalled(1_200), None);
        assert_eq!(reader.stalled(1_201), Some(entry));
        writer.beat(3, Phase::Draw, 1_201);
        assert_eq!((reader.stalled(1_251), reader.stalled(1_252)), (None, Some(entry)));
        assert_eq!(reader.loops()[0].1.rounds, 1);
        writer.set_loop(3, &LoopEntry { is_aside: 1, ..entry });
        assert_eq!(reader.stalled(9_999), None, "charts go on without it");
    }

    #[test]
    fn another_process_sees_how_the_journal_goes() {
        let writer = StatusWriter::create(1, 0, [1, 2]).unwrap();
        let reader = StatusReader::open(writer.reader_fd().unwrap()).unwrap();
        assert_eq!(reader.journal(), None);
        let state = JournalState {
            state: Journal::Spilling as u64,
            class: 2,
            first: 100,
            written: 130,
            durable: 120,
            segment: 7,
            disk_bytes: 8,
            waiting_bytes: 9,
            capacity_bytes: 10,
            errno: 5,
        };
        writer.set_journal(&state);
        writer.set_journal_accepted(140, 3);
        assert_eq!(reader.journal(), Some((state, JournalIntake { accepted: 140, lost: 3 })));
        assert_eq!(Journal::ALL[state.state as usize].name(), "spilling");
        // Charts stand before it, and do not touch it.
        writer.set_chart_state(
            MAX_CHARTS - 1,
            &ChartState { frames: 1, publish_ns: 2, passed_over: 3, backend: 4 },
        );
        assert_eq!(reader.journal().unwrap().0, state);
    }
}
