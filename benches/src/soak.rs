//! Whether the daemon stays as quick and as small as it was: minutes of trades on four charts with indicators, in a
//! process of its own. Each minute tells the 99th percentile of tick to frame, from the daemon's own histogram, and the
//! memory that it has in RAM. The last third of the minutes is compared with the first.

use crate::harness::{Arm, Ratio, Report};
use crate::process::Daemon;
use crate::venue::{Schedule, Venue};
use anyhow::{Context, ensure};
use shm::status::{Counter, Stage};
use std::time::Duration;

/// 75 trades a second on each of four symbols.
const SCHEDULE: Schedule = Schedule { symbols: 4, period_ms: 13, bars: 300, bar_ms: 1_000 };
/// Soon after the first minute the oldest bars are forgotten, as they would be after hours.
const KEPT_BARS: usize = 400;
/// Before the first minute: the history is in, and every slot has been drawn.
const WARM_UP: Duration = Duration::from_secs(15);
const WINDOW: Duration = Duration::from_secs(60);

pub(crate) fn measure(minutes: usize) -> anyhow::Result<Report> {
    ensure!(minutes >= 3, "a soak takes at least 3 minutes: there must be a first and a last third");
    let mut venue = Venue::open(SCHEDULE)?;
    let daemon = Daemon::start(&config(&venue))?;
    venue.wait_for_start()?;
    std::thread::sleep(WARM_UP);
    let status = daemon.connection.status();
    let snapshot = || status.histogram(Stage::TickToFrame).context("no histogram");
    let (mut minute_p50, mut minute_p99) = (Vec::new(), Vec::new());
    let mut resident = Vec::new();
    let (first_trades, first_frames) = (venue.sent().0, status.counter(Counter::FramesPublished));
    for minute in 0..minutes {
        let before = snapshot()?;
        std::thread::sleep(WINDOW);
        venue.check()?;
        let taken = snapshot()?.since(&before);
        minute_p50.push(taken.quantile_ns(0.5));
        minute_p99.push(taken.quantile_ns(0.99));
        resident.push(daemon.process.resident_kib()?);
        eprintln!("minute {}: p99 {} ns, {} KiB", minute + 1, minute_p99[minute], resident[minute]);
    }
    let trades = venue.sent().0 - first_trades;
    let frames = status.counter(Counter::FramesPublished) - first_frames;
    ensure!(frames > 0 && daemon.connection.is_alive(Duration::from_secs(2)), "the daemon did not go on");
    let arm = |name, unit, values: &[u64]| {
        let mut arm = Arm::new(name, unit);
        values.iter().for_each(|value| arm.add_round([*value]));
        arm
    };
    Ok(Report {
        name: "soak",
        notes: vec![
            format!(
                "{minutes} minutes after {} s; four charts of 960x540, 1s bars, four indicators each",
                WARM_UP.as_secs()
            ),
            format!(
                "{trades} trades, {frames} frames; each minute is a round, and its figures are single ones"
            ),
            format!("resident KiB at the end of each minute: {resident:?}"),
        ],
        ratios: vec![
            Ratio::at_most("p99 of tick to frame: last third / first third", growth(&minute_p99), 1.2),
            Ratio::at_most("resident memory: last third / first third", growth(&resident), 1.02),
        ],
        arms: vec![
            arm("tick to frame, p50 of a minute", "ns", &minute_p50),
            arm("tick to frame, p99 of a minute", "ns", &minute_p99),
            arm("resident memory", "KiB", &resident),
        ],
    })
}

fn config(venue: &Venue) -> String {
    let mut text = format!("bars = {KEPT_BARS}\n{}", SCHEDULE.feed(venue.address));
    for symbol in (0..SCHEDULE.symbols).map(Schedule::symbol) {
        text += &format!(
            "[[chart]]\nsource = \"binance:{symbol}\"\ntimeframe = \"1s\"\nsize = [960, 540]\n\
             indicators = [\"sma(20)\", \"ema(50)\", \"bollinger(20, 2)\", \"vwap\"]\n"
        );
    }
    text + "[realtime]\nthreads = \"fused\"\nwait = \"block\"\n"
}

/// The median of the last third over that of the first.
fn growth(values: &[u64]) -> f64 {
    let third = values.len() / 3;
    let median = |part: &[u64]| {
        let mut part = part.to_vec();
        part.sort_unstable();
        part[part.len() / 2] as f64
    };
    median(&values[values.len() - third..]) / median(&values[..third])
}
