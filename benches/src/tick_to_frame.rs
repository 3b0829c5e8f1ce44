//! From a trade on the wire to its frame in shared memory, beside the one-way time of a raw loopback TCP message of
//! the same size, each spinning and blocking.
//!
//! Trades leave on a schedule, and their latency counts from the planned moment, so that a stall is not hidden by
//! sending later. Both ends read CLOCK_MONOTONIC of one host. A frame's end is its own `publish_ns`.

use crate::harness::{Arm, Ratio, Report};
use anyhow::{Context, ensure};
use chart_client::Connection;
use chartd::config::Config;
use chartd::now_ns;
use chartd::service::Service;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

const MESSAGES_A_ROUND: u64 = 300;
/// Between planned moments: 200 a second.
const PERIOD_NS: u64 = PERIOD_MS * 1_000_000;
const PERIOD_MS: u64 = 5;
/// A planned moment is met by sleeping until shortly before it and spinning the rest.
const SPIN_NS: u64 = 300_000;
/// The first messages warm caches and are not counted.
const WARM_UP: u64 = 20;

pub(crate) fn measure(rounds: usize) -> anyhow::Result<Report> {
    let mut arms = [
        Arm::new("chartd fused, blocking", "ns"),
        Arm::new("raw TCP, blocking", "ns"),
        Arm::new("chartd fused, spinning", "ns"),
        Arm::new("raw TCP, spinning", "ns"),
        Arm::new("chartd split, blocking", "ns"),
    ];
    for _ in 0..rounds {
        arms[0].add_round(chartd_round("fused", "block")?);
        arms[1].add_round(raw_round(false)?);
        arms[2].add_round(chartd_round("fused", "spin")?);
        arms[3].add_round(raw_round(true)?);
        arms[4].add_round(chartd_round("split", "block")?);
    }
    let ratio = |what, a: usize, b: usize, q, promise| Ratio::of(what, &arms[a], &arms[b], q, promise);
    let ratios = vec![
        ratio("blocking: p50 / raw p50", 0, 1, 0.5, 2.0),
        ratio("spinning: p50 / raw p50", 2, 3, 0.5, 3.0),
        ratio("spinning: p99 / raw p99", 2, 3, 0.99, 10.0),
    ];
    let notes = vec![
        format!(
            "{} isolated CPUs; fused: one thread ingests and draws, split: two do",
            chartd::rt::isolated_cpus().len()
        ),
        "one chart of 1920x1080 full of 1 s candles; 200 trades a second; latency from the planned moment"
            .into(),
    ];
    Ok(Report { name: "tick-to-frame", notes, arms: arms.into(), ratios })
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

/// One round of the whole daemon. Returns the latency of each message that a frame showed first.
fn chartd_round(threads: &str, wait: &str) -> anyhow::Result<Vec<u64>> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("chartd.sock");
    let config = format!(
        "socket = {socket:?}\n[[feed]]\nvenue = \"binance\"\nsymbols = [\"BTCUSDT\"]\nurl = \"ws://{}\"\n\
         [[chart]]\nsource = \"binance:BTCUSDT\"\ntimeframe = \"1s\"\n[realtime]\nthreads = \"{threads}\"\nwait = \"{wait}\"\n",
        listener.local_addr()?
    );
    let service = Service::start(&Config::parse(&config, "the bench")?)?;
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let observer = scope.spawn(|| observe(&socket));
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
            let latency = |index: u64| Some(shown.get(&index)?.saturating_sub(planned_ns(start_ns, index)));
            anyhow::Ok((WARM_UP..MESSAGES_A_ROUND).filter_map(latency).collect::<Vec<_>>())
        });
        service.run(shutdown, None)?;
        let latencies = watcher.join().map_err(|_| anyhow::anyhow!("the watcher panicked"))??;
        let seen = latencies.len() as u64;
        ensure!(seen > MESSAGES_A_ROUND / 2, "only {seen} of {MESSAGES_A_ROUND} frames were seen ({wait})");
        Ok(latencies)
    })
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
fn observe(socket: &Path) -> anyhow::Result<HashMap<u64, u64>> {
    let connection = Connection::open(Some(socket))?;
    let chart = connection.chart("binance:BTCUSDT/1s")?;
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
