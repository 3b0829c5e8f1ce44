//! Bursts of one symbol against the real daemon, in a process of its own, over a loopback WebSocket: 520 frames in 10 ms,
//! again and again, as in the recording, and 100,000 frames a second for 10 s. Nothing may be lost, which is checked by
//! the daemon's counters and by the trades in its candles. Beside it, the same sender to a reader that only counts bytes.
//!
//! The sender paces by the clock: whenever it wakes, all frames that are due leave in one write. Latencies that begin
//! with "planned" count from the moment at which the frame should have left, so that waiting in the sender counts, for
//! both readers alike. Each trade has a millisecond of exchange time of its own, by which a frame tells which it shows.

mod sender;

use self::sender::{BASE_MS, HISTORY, Load, Sender, Sent};
use crate::harness::{Arm, Ratio, Report};
use crate::process::Daemon;
use anyhow::{Context, ensure};
use chartd::config::{Config, Realtime};
use chartd::now_ns;
use nix::time::{ClockId, clock_gettime};
use shm::frame::FrameReader;
use shm::histogram::Snapshot;
use shm::status::{Counter, Stage, StatusReader};
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::time::Duration;

const CHART: &str = "binance:BTCUSDT/1m";
/// The observer looks so often: a frame may be published and replaced in between.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// How long the daemon may take to come to the end of what was sent.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many values of a histogram of the daemon's stand for it here.
const TAKEN: u64 = 10_000;

pub(crate) fn measure(rounds: usize) -> anyhow::Result<Report> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let config = format!(
        "[[feed]]\nvenue = \"binance\"\nsymbols = [\"BTCUSDT\"]\nurl = \"ws://{}\"\n\
         [[chart]]\nsource = \"binance:BTCUSDT\"\ntimeframe = \"1m\"\n\
         [realtime]\nthreads = \"fused\"\nwait = \"block\"\n",
        listener.local_addr()?
    );
    let realtime = Config::parse(&config, "the bench")?.realtime;
    let accepted = std::thread::spawn(move || accept(&listener));
    let daemon = Daemon::start(&config)?;
    let stream = accepted.join().map_err(|_| anyhow::anyhow!("the venue panicked"))??;
    let mut sender = Sender::new(stream);
    sender.history()?;
    let target = Target { chart: daemon.connection.chart(CHART)?, daemon };
    target.wait_for(Counter::Trades, HISTORY)?;
    let mut loads = [(Load::Bursts, Arms::new(BURSTS)), (Load::Steady, Arms::new(STEADY))];
    for _ in 0..rounds {
        for (load, arms) in &mut loads {
            target.round(*load, &mut sender, arms)?;
            plain_round(*load, &realtime, arms)?;
        }
    }
    target.holds_all(sender.number)?;
    Ok(report(loads))
}

fn accept(listener: &TcpListener) -> anyhow::Result<TcpStream> {
    let (stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let socket = tungstenite::accept(stream).context("the WebSocket handshake failed")?;
    Ok(socket.get_ref().try_clone()?)
}

/// The daemon, and what is looked at.
struct Target {
    daemon: Daemon,
    chart: FrameReader,
}

/// What must not be counted: each of them says that something is wrong or missing.
const FAULTS: [Counter; 9] = [
    Counter::Malformed,
    Counter::Unknown,
    Counter::MissingTrades,
    Counter::LostTrades,
    Counter::Duplicates,
    Counter::TooLate,
    Counter::Gaps,
    Counter::Corrupt,
    Counter::Disconnects,
];

const STAGES: [Stage; 5] = [Stage::Decode, Stage::Candle, Stage::TickToFrame, Stage::Render, Stage::Publish];

/// What the daemon has told at one moment.
struct Told {
    histograms: Vec<Snapshot>,
    frames_in: u64,
    trades: u64,
    drawn: u64,
    overrun: u64,
    processor_ns: u64,
}

impl Target {
    fn status(&self) -> &StatusReader {
        self.daemon.connection.status()
    }

    fn told(&self) -> anyhow::Result<Told> {
        let status = self.status();
        let histograms = STAGES.map(|stage| status.histogram(stage).context("no histogram"));
        Ok(Told {
            histograms: histograms.into_iter().collect::<anyhow::Result<_>>()?,
            frames_in: status.counter(Counter::FramesIn),
            trades: status.counter(Counter::Trades),
            drawn: status.counter(Counter::FramesPublished),
            overrun: status.counter(Counter::TicksOverrun),
            processor_ns: self.daemon.process.processor_ns()?,
        })
    }

    /// Waits until a counter has come to a value.
    fn wait_for(&self, counter: Counter, value: u64) -> anyhow::Result<()> {
        let end_ns = now_ns() + PATIENCE.as_nanos() as u64;
        while self.status().counter(counter) < value {
            let (name, is) = (counter.name(), self.status().counter(counter));
            ensure!(now_ns() < end_ns, "{name} is {is} and not {value}: frames were lost");
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(50)); // The last frame is drawn.
        Ok(())
    }

    fn round(&self, load: Load, sender: &mut Sender, arms: &mut Arms) -> anyhow::Result<()> {
        let (before, is_over) = (self.told()?, AtomicBool::new(false));
        let (sent, seen) = std::thread::scope(|scope| {
            let observer = scope.spawn(|| self.observe(&is_over));
            let sent = sender.send(load);
            let arrived = sent
                .as_ref()
                .map_or(Ok(()), |_| self.wait_for(Counter::FramesIn, before.frames_in + load.count()));
            is_over.store(true, Relaxed);
            let seen = observer.join().map_err(|_| anyhow::anyhow!("the observer panicked"))?;
            sent.and_then(|sent| arrived.map(|()| (sent, seen)))
        })?;
        let after = self.told()?;
        let (frames_in, trades) = (after.frames_in - before.frames_in, after.trades - before.trades);
        ensure!([frames_in, trades] == [load.count(); 2], "{frames_in} frames and {trades} trades came in");
        for fault in FAULTS {
            let count = self.status().counter(fault);
            ensure!(count == 0, "{count} {} were counted", fault.name());
        }
        arms.add(load, &before, &after, &sent, &seen);
        Ok(())
    }

    /// The candles hold every trade that was sent.
    fn holds_all(&self, sent: u64) -> anyhow::Result<()> {
        let name = CHART.parse().map_err(|error| anyhow::anyhow!("{error}"))?;
        let candles = chart_client::candles(self.daemon.connection.market(), &name, usize::MAX);
        let held: u64 = candles.context("there are no candles")?.bars.iter().map(|bar| bar.trades).sum();
        ensure!(held == sent, "the candles hold {held} trades of {sent}");
        Ok(())
    }

    /// Looks at the frames and at the candles' stamps until it is over.
    fn observe(&self, is_over: &AtomicBool) -> Seen {
        let (mut seen, mut newest, mut revision) = (Seen::default(), self.chart.latest(), 0);
        while !is_over.load(Relaxed) {
            if let Ok(info) = self.chart.latest_info()
                && info.number != newest
            {
                newest = info.number;
                seen.frames.push(((info.venue_ms as u64).saturating_sub(BASE_MS), info.publish_ns));
            }
            if let Some(state) = self.daemon.connection.market().state(0)
                && state.revision != revision
            {
                revision = state.revision;
                seen.candles_ns.push(state.candle_ns.saturating_sub(state.receive_ns));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        seen
    }
}

/// What was seen from outside.
#[derive(Default)]
struct Seen {
    /// The number of the newest trade that a frame shows, and when the frame was published.
    frames: Vec<(u64, u64)>,
    candles_ns: Vec<u64>,
}

/// The same load to a reader that counts bytes, on a thread that is placed as the daemon's is.
fn plain_round(load: Load, realtime: &Realtime, arms: &mut Arms) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let stream = TcpStream::connect(listener.local_addr()?)?;
    stream.set_nodelay(true)?;
    let (mut receiver, _) = listener.accept()?;
    let mut sender = Sender::new(stream);
    let placement = chartd::rt::place(realtime, &chartd::rt::Cpus::read()).ingest;
    let reader = std::thread::spawn(move || {
        placement.apply();
        let (mut buffer, mut total, mut arrivals) = (vec![0; 1 << 20], 0, Vec::new());
        loop {
            match receiver.read(&mut buffer)? {
                0 => break,
                len => total += len,
            }
            arrivals.push((total, now_ns()));
        }
        let used = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
        anyhow::Ok((arrivals, Duration::from(used).as_nanos() as u64))
    });
    let sent = sender.send(load)?;
    drop(sender);
    let (arrivals, used_ns) = reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))??;
    let (got, mut taken) = (arrivals.last().map_or(0, |(total, _)| total / sent.frame_bytes), Vec::new());
    for (total, at_ns) in arrivals {
        // Of the newest frame in each read, as of the newest trade in each picture.
        if let Some(index) = (total / sent.frame_bytes).checked_sub(1) {
            taken.push(at_ns.saturating_sub(sent.start_ns + load.planned_ns(index as u64)));
        }
    }
    ensure!(got as u64 == load.count(), "the plain reader got {got} frames of {}", load.count());
    arms.plain.add_round(taken);
    arms.plain_used_ns.push(used_ns);
    Ok(())
}

const BURSTS: [&str; 7] = [
    "bursts: receipt to decoded",
    "bursts: decoded to candle",
    "bursts: receipt to frame",
    "bursts: receipt to candle, newest",
    "bursts: planned to frame",
    "bursts: planned to plain reader",
    "bursts: planned to written",
];
const STEADY: [&str; 7] = [
    "100k/s: receipt to decoded",
    "100k/s: decoded to candle",
    "100k/s: receipt to frame",
    "100k/s: receipt to candle, newest",
    "100k/s: planned to frame",
    "100k/s: planned to plain reader",
    "100k/s: planned to written",
];

/// What is reported of a load.
struct Arms {
    /// By the daemon's own histograms: every frame.
    stages: [Arm; 3],
    candle: Arm,
    frame: Arm,
    plain: Arm,
    written: Arm,
    /// For each round: frames drawn, processor time of the daemon, the part that drawing took, ticks not timed.
    drawn: Vec<u64>,
    used_ns: Vec<u64>,
    drawing_ns: Vec<u64>,
    overrun: u64,
    plain_used_ns: Vec<u64>,
}

impl Arms {
    fn new([decoded, candle, frame, newest, shown, plain, written]: [&'static str; 7]) -> Self {
        let arm = |name| Arm::new(name, "ns");
        Self {
            stages: [arm(decoded), arm(candle), arm(frame)],
            candle: arm(newest),
            frame: arm(shown),
            plain: arm(plain),
            written: arm(written),
            drawn: Vec::new(),
            used_ns: Vec::new(),
            drawing_ns: Vec::new(),
            overrun: 0,
            plain_used_ns: Vec::new(),
        }
    }

    fn add(&mut self, load: Load, before: &Told, after: &Told, sent: &Sent, seen: &Seen) {
        let taken: Vec<Snapshot> =
            after.histograms.iter().zip(&before.histograms).map(|(now, then)| now.since(then)).collect();
        self.stages.iter_mut().zip(&taken).for_each(|(arm, taken)| arm.add_round(values(taken)));
        self.candle.add_round(seen.candles_ns.iter().copied());
        let latency = |(number, publish_ns): &(u64, u64)| {
            let index = number.checked_sub(sent.first)?;
            Some(publish_ns.saturating_sub(sent.start_ns + load.planned_ns(index)))
        };
        self.frame.add_round(seen.frames.iter().filter_map(latency));
        self.written.add_round(sent.late_ns.iter().copied());
        self.drawn.push(after.drawn - before.drawn);
        self.used_ns.push(after.processor_ns - before.processor_ns);
        self.drawing_ns
            .push(taken[3..].iter().map(|stage| values(stage).sum::<u64>() / TAKEN * stage.count()).sum());
        self.overrun += after.overrun - before.overrun;
    }

    fn notes(&self, what: &str, load: Load) -> [String; 2] {
        let (count, seconds) = (load.count() as f64, load.seconds());
        let drawn = median(&self.drawn);
        let share = |used_ns: f64| used_ns / 1e7 / seconds;
        let (used, drawing, plain) =
            (median(&self.used_ns), median(&self.drawing_ns), median(&self.plain_used_ns));
        [
            format!(
                "{what}: nothing lost; {drawn:.0} frames drawn for {count:.0} trades, one for {:.0}, {:.0} a second; \
                 {} ticks overrun before they were timed",
                count / drawn.max(1.0),
                drawn / seconds,
                self.overrun
            ),
            format!(
                "{what}: the daemon took {:.1} % of a core, {:.0} ns a trade, of which drawing {:.1} %; \
                 the plain reader {:.1} %, {:.0} ns a frame",
                share(used),
                used / count,
                share(drawing),
                share(plain),
                plain / count
            ),
        ]
    }
}

/// So many values that a histogram says, evenly over its ranks. They are at most 1.6 % above the truth.
fn values(of: &Snapshot) -> impl Iterator<Item = u64> {
    let rank = |place: u64| (place as f64 + 0.5) / TAKEN as f64;
    (0..if of.count() == 0 { 0 } else { TAKEN }).map(move |place| of.quantile_ns(rank(place)))
}

fn median(values: &[u64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0) as f64
}

fn report(loads: [(Load, Arms); 2]) -> Report {
    let mut notes = vec![
        "the real daemon, fused, blocking, one chart of 1920x1080; one sender, all due frames in one write".into(),
        "receipt to …: every trade, by the daemon's histograms; newest: of the newest trade, each millisecond; \
         planned to frame: of the newest trade in each picture that was seen; planned to plain reader: of the \
         newest frame in each read, on a thread placed as the daemon's is"
            .into(),
    ];
    let mut ratios = Vec::new();
    let names = [
        [
            "bursts: planned to frame / to plain reader, p50",
            "bursts: planned to frame / to plain reader, p99",
        ],
        [
            "100k/s: planned to frame / to plain reader, p50",
            "100k/s: planned to frame / to plain reader, p99",
        ],
    ];
    for ((load, arms), [p50, p99]) in loads.iter().zip(names) {
        let what = match load {
            Load::Bursts => "520 frames in 10 ms, ten times a second",
            Load::Steady => "100,000 frames a second",
        };
        notes.extend(arms.notes(what, *load));
        ratios.push(Ratio::shown(p50, &arms.frame, &arms.plain, 0.5));
        ratios.push(Ratio::shown(p99, &arms.frame, &arms.plain, 0.99));
    }
    let arms = loads.into_iter().flat_map(|(_, arms)| {
        let Arms { stages, candle, frame, plain, written, .. } = arms;
        stages.into_iter().chain([candle, frame, plain, written])
    });
    Report { name: "burst", notes, arms: arms.collect(), ratios }
}
