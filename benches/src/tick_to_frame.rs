//! From a trade on the wire to its frame in shared memory, beside the one-way time of a raw loopback TCP message of
//! the same size, each spinning and blocking.
//!
//! What io_uring contributes is told by arms that run the same engine and renderer in one bare thread and differ in how
//! they read the socket: [`crate::bare`].
//!
//! Trades leave on a schedule, and their latency counts from the planned moment, so that a stall is not hidden by
//! sending later. Both ends read CLOCK_MONOTONIC of one host. A frame's end is its own `publish_ns`.

use crate::bare::{Bare, How};
use crate::harness::{Arm, Ratio, Report};
use anyhow::{Context, ensure};
use chart_client::Connection;
use chartd::config::Config;
use chartd::now_ns;
use chartd::service::Service;
use shm::frame::FrameReader;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

const MESSAGES_A_ROUND: u64 = 300;
/// Between planned moments: 200 a second.
const PERIOD_NS: u64 = PERIOD_MS * 1_000_000;
const PERIOD_MS: u64 = 5;
/// A planned moment is met by sleeping until shortly before it and spinning the rest.
const SPIN_NS: u64 = 300_000;
/// How often a round is run again in which most frames were missed.
const TRIES: usize = 3;
/// The first messages warm caches and are not counted.
const WARM_UP: u64 = 20;

/// What an arm runs.
#[derive(Clone, Copy)]
enum What {
    /// The daemon, with these `threads` and this `wait`.
    Chartd(&'static str, &'static str),
    /// The same, fused, while it keeps a journal.
    Journaled(&'static str),
    /// Its engine and renderer in a bare loop.
    Bare(How, &'static str),
    /// A bare TCP message; whether its reader spins.
    Raw(bool),
}

const ARMS: [(&str, What); 12] = [
    ("chartd fused, blocking", What::Chartd("fused", "block")),
    ("raw TCP, blocking", What::Raw(false)),
    ("bare io_uring, blocking", What::Bare(How::Uring, "block")),
    ("bare epoll, blocking", What::Bare(How::Epoll, "block")),
    ("chartd fused, spinning", What::Chartd("fused", "spin")),
    ("raw TCP, spinning", What::Raw(true)),
    ("bare io_uring, spinning", What::Bare(How::Uring, "spin")),
    ("bare epoll, spinning", What::Bare(How::Epoll, "spin")),
    ("bare recv, spinning", What::Bare(How::Recv, "spin")),
    ("chartd split, blocking", What::Chartd("split", "block")),
    ("chartd with a journal, blocking", What::Journaled("block")),
    ("chartd with a journal, spinning", What::Journaled("spin")),
];

pub(crate) fn measure(rounds: usize) -> anyhow::Result<Report> {
    let mut arms = ARMS.map(|(name, _)| Arm::new(name, "ns"));
    let mut repeated = 0;
    for _ in 0..rounds {
        for (arm, (name, what)) in arms.iter_mut().zip(ARMS) {
            let mut tries = 0;
            arm.add_round(loop {
                match round(what) {
                    Ok(latencies) => break latencies,
                    Err(error) if tries == TRIES => return Err(error.context(name)),
                    // Others may have taken the processor from the observer.
                    Err(error) => eprintln!("{name}: {error:#}; the round is run again"),
                }
                (tries, repeated) = (tries + 1, repeated + 1);
            });
        }
    }
    let isolated = chartd::rt::isolated_cpus().len();
    let notes = vec![
        format!("{repeated} rounds were disturbed and run again"),
        format!("{isolated} isolated CPUs; fused: one thread ingests and draws, split: two do"),
        "one chart of 1920x1080 full of 1 s candles; 200 trades a second; latency from the planned moment".into(),
        "bare: the same engine and renderer in one thread, without supervision, control plane and answers to pings; \
         epoll, spinning: with a timeout of zero"
            .into(),
        "the journal: class group, on the file system of temporary files".into(),
    ];
    Ok(Report { name: "tick-to-frame", notes, ratios: ratios(&arms), arms: arms.into() })
}

fn round(what: What) -> anyhow::Result<Vec<u64>> {
    match what {
        What::Chartd(threads, wait) => chartd_round(threads, wait, false),
        What::Journaled(wait) => chartd_round("fused", wait, true),
        What::Bare(how, wait) => bare_round(how, wait),
        What::Raw(spinning) => raw_round(spinning),
    }
}

fn ratios(arms: &[Arm]) -> Vec<Ratio> {
    let ratio = |what, a: usize, b: usize, q, promise| Ratio::of(what, &arms[a], &arms[b], q, promise);
    let shown = |what, a: usize, b: usize, q| Ratio::shown(what, &arms[a], &arms[b], q);
    vec![
        ratio("blocking: p50 / raw p50", 0, 1, 0.5, 2.0),
        ratio("spinning: p50 / raw p50", 4, 5, 0.5, 3.0),
        ratio("spinning: p99 / raw p99", 4, 5, 0.99, 10.0),
        shown("blocking, bare: io_uring p50 / raw p50", 2, 1, 0.5),
        shown("blocking, bare: epoll p50 / raw p50", 3, 1, 0.5),
        shown("spinning, bare: io_uring p50 / raw p50", 6, 5, 0.5),
        shown("spinning, bare: epoll p50 / raw p50", 7, 5, 0.5),
        shown("spinning, bare: recv p50 / raw p50", 8, 5, 0.5),
        shown("blocking, bare: io_uring p50 / epoll p50", 2, 3, 0.5),
        shown("blocking, bare: io_uring p99 / epoll p99", 2, 3, 0.99),
        shown("spinning, bare: io_uring p50 / epoll p50", 6, 7, 0.5),
        shown("spinning, bare: io_uring p99 / epoll p99", 6, 7, 0.99),
        shown("spinning, bare: io_uring p50 / recv p50", 6, 8, 0.5),
        shown("spinning, bare: io_uring p99 / recv p99", 6, 8, 0.99),
        shown("blocking: the daemon p50 / bare io_uring p50", 0, 2, 0.5),
        shown("spinning: the daemon p50 / bare io_uring p50", 4, 6, 0.5),
        shown("blocking: with a journal p50 / without p50", 10, 0, 0.5),
        shown("blocking: with a journal p99 / without p99", 10, 0, 0.99),
        shown("spinning: with a journal p50 / without p50", 11, 4, 0.5),
        shown("spinning: with a journal p99 / without p99", 11, 4, 0.99),
    ]
}

/// The moment at which message `index` is to leave.
fn planned_ns(start_ns: u64, index: u64) -> u64 {
    start_ns + index * PERIOD_NS
}

fn wait_until(moment_ns: u64) {
    let left_ns = moment_ns.saturating_sub(now_ns());
    std::thread::sleep(Duration::from_nanos(left_ns.saturating_sub(SPIN_NS)));
    while now_ns() < moment_ns {
        std::hint::spin_loop();
    }
}

/// Trade `index` of the schedule. Its exchange time tells the index, so that a frame tells which trade it shows, and
/// goes as fast as the schedule, so that bars open as often as they would. Prices walk by a few ticks, in each round
/// the same way.
fn scheduled_trade(index: u64) -> Vec<u8> {
    let step = |step: u64| (step.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61) as i64 - 3;
    let cents = 6_000_000 + (0..=index).map(step).sum::<i64>();
    trade_frame(FIRST_ID + index, TIME_BASE_MS + index * PERIOD_MS, cents)
}

/// Trades of as many bars as fit on the chart, one in each, that go up and down by 50.
fn history() -> Vec<u8> {
    let bar = |bar: u64| {
        let cents = 6_000_000 + ((bar as f64 / 20.0).sin() * 5_000.0) as i64;
        trade_frame(FIRST_ID - BARS + bar, TIME_BASE_MS - (BARS - bar) * 1_000, cents)
    };
    (0..BARS).flat_map(bar).collect()
}

fn trade_frame(id: u64, time_ms: u64, cents: i64) -> Vec<u8> {
    let text = format!(
        r#"{{"stream":"btcusdt@trade","data":{{"e":"trade","E":{time_ms},"s":"BTCUSDT","t":{id},"p":"{}.{:02}000000","q":"0.02000000","T":{time_ms},"m":true,"M":true}}}}"#,
        cents / 100,
        cents % 100,
    );
    let mut frame = vec![0x81, 126];
    frame.extend((text.len() as u16).to_be_bytes());
    frame.extend(text.as_bytes());
    frame
}

/// As many digits as all later ones: every message has one size.
const FIRST_ID: u64 = 1_000_000;
/// More than fit on the chart.
const BARS: u64 = 250;
const TIME_BASE_MS: u64 = 1_700_000_000_000;

/// The configuration of a round.
fn config(venue: SocketAddr, threads: &str, wait: &str) -> String {
    format!(
        "[[feed]]\nvenue = \"binance\"\nsymbols = [\"BTCUSDT\"]\nurl = \"ws://{venue}\"\n\
         [[chart]]\nsource = \"binance:BTCUSDT\"\ntimeframe = \"1s\"\n[realtime]\nthreads = \"{threads}\"\nwait = \"{wait}\"\n"
    )
}

/// One round of the whole daemon. Returns the latency of each message that a frame showed first.
fn chartd_round(threads: &str, wait: &str, keeps_journal: bool) -> anyhow::Result<Vec<u64>> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("chartd.sock");
    let mut config = format!("socket = {socket:?}\n{}", config(listener.local_addr()?, threads, wait));
    if keeps_journal {
        // Small segments: their preparation is over before the measuring begins.
        config += &format!("[journal]\nfolder = {:?}\nsegment_mb = 8\n", dir.path().join("journal"));
    }
    let service = Service::start(&Config::parse(&config, "the bench")?)?;
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let observer = scope.spawn(|| {
            let connection = Connection::open(Some(&socket))?;
            observe(&connection.chart("binance:BTCUSDT/1s")?)
        });
        let venue = scope.spawn(move || venue(&listener));
        let shutdown = async {
            while stopped.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let watcher = scope.spawn(move || {
            let _stop = stop; // Dropped when both are done.
            let start_ns = venue.join().map_err(|_| anyhow::anyhow!("the venue panicked"))??;
            let shown = observer.join().map_err(|_| anyhow::anyhow!("the observer panicked"))??;
            latencies(start_ns, &shown)
        });
        service.run(shutdown, None)?;
        watcher.join().map_err(|_| anyhow::anyhow!("the watcher panicked"))?
    })
}

/// One round of the engine and the renderer alone, which read the socket in that way.
fn bare_round(how: How, wait: &str) -> anyhow::Result<Vec<u64>> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    let (bare, frames) = Bare::new(&Config::parse(&config(address, "fused", wait), "the bench")?)?;
    std::thread::scope(|scope| {
        let observer = scope.spawn(move || observe(&frames));
        let venue = scope.spawn(move || venue(&listener));
        let hot = scope.spawn(move || bare.run(address, how));
        hot.join().map_err(|_| anyhow::anyhow!("the hot thread panicked"))??;
        let start_ns = venue.join().map_err(|_| anyhow::anyhow!("the venue panicked"))??;
        let shown = observer.join().map_err(|_| anyhow::anyhow!("the observer panicked"))??;
        latencies(start_ns, &shown)
    })
}

/// From its planned moment, the time of each message that was seen.
fn latencies(start_ns: u64, shown: &HashMap<u64, u64>) -> anyhow::Result<Vec<u64>> {
    let latency = |index: u64| Some(shown.get(&index)?.saturating_sub(planned_ns(start_ns, index)));
    let latencies: Vec<_> = (WARM_UP..MESSAGES_A_ROUND).filter_map(latency).collect();
    let seen = latencies.len() as u64;
    ensure!(seen > MESSAGES_A_ROUND / 2, "only {seen} of {MESSAGES_A_ROUND} frames were seen");
    Ok(latencies)
}

/// Sends the trades of one round to whoever connects.
fn venue(listener: &TcpListener) -> anyhow::Result<u64> {
    let (stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let socket = tungstenite::accept(stream).context("the WebSocket handshake failed")?;
    let mut stream = socket.get_ref().try_clone()?;
    stream.write_all(&history())?;
    std::thread::sleep(Duration::from_millis(300));
    let start_ns = now_ns() + 10_000_000;
    for index in 0..MESSAGES_A_ROUND {
        let frame = scheduled_trade(index);
        wait_until(planned_ns(start_ns, index));
        stream.write_all(&frame)?;
    }
    std::thread::sleep(Duration::from_millis(50));
    Ok(start_ns)
}

/// Notes when each trade was first shown. Looks once a millisecond, so that it takes no CPU from what it measures.
fn observe(chart: &FrameReader) -> anyhow::Result<HashMap<u64, u64>> {
    let (mut shown, mut newest) = (HashMap::new(), 0);
    let deadline = now_ns() + 2 * MESSAGES_A_ROUND * PERIOD_NS + 5_000_000_000;
    while !shown.contains_key(&(MESSAGES_A_ROUND - 1)) && now_ns() < deadline {
        if let Some(info) = chart.latest_info().ok().filter(|info| info.number != newest) {
            newest = info.number;
            let index = (info.venue_ms as u64).wrapping_sub(TIME_BASE_MS) / PERIOD_MS;
            shown.entry(index).or_insert(info.publish_ns);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(shown)
}

/// One round of bare messages of the same size over one TCP connection.
fn raw_round(spinning: bool) -> anyhow::Result<Vec<u64>> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let mut sender = TcpStream::connect(listener.local_addr()?)?;
    sender.set_nodelay(true)?;
    let (mut receiver, _) = listener.accept()?;
    receiver.set_nonblocking(spinning)?;
    let len = scheduled_trade(0).len();
    std::thread::scope(|scope| {
        let arrivals = scope.spawn(move || {
            let mut buffer = vec![0; len];
            (0..MESSAGES_A_ROUND)
                .map(|_| {
                    read_whole(&mut receiver, &mut buffer)?;
                    Ok(now_ns())
                })
                .collect::<std::io::Result<Vec<u64>>>()
        });
        let start_ns = now_ns() + 10_000_000;
        for index in 0..MESSAGES_A_ROUND {
            let frame = scheduled_trade(index);
            wait_until(planned_ns(start_ns, index));
            sender.write_all(&frame)?;
        }
        let arrivals = arrivals.join().map_err(|_| anyhow::anyhow!("the receiver panicked"))??;
        let latency = |index: u64| arrivals[index as usize].saturating_sub(planned_ns(start_ns, index));
        Ok((WARM_UP..MESSAGES_A_ROUND).map(latency).collect())
    })
}

fn read_whole(receiver: &mut TcpStream, buffer: &mut [u8]) -> std::io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        match receiver.read(&mut buffer[filled..]) {
            Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => filled += len,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => std::hint::spin_loop(),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
