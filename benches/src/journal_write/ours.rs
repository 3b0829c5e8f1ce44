//! The journal itself: its queue, its thread, its ring, as in the daemon.

use super::FRAME_BYTES;
use anyhow::{Context, ensure};
use chartd::config::Config;
use chartd::journal::bench::Run;
use chartd::now_ns;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long nothing may happen.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many frames are told of at once, as after one receive.
const TOGETHER: u64 = 16;

/// A journal in a new folder, with segments of so many MiB.
pub(crate) fn start(folder: &Path, class: &str, segment_mib: u64) -> anyhow::Result<Run> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    let folder = std::path::absolute(folder)?;
    let text = format!(
        "[[feed]]\nvenue = \"binance\"\nsymbols = [\"BTCUSDT\"]\n[[chart]]\nsource = \"binance:BTCUSDT\"\n\
         timeframe = \"1m\"\n[journal]\nfolder = {folder:?}\ndurability = {class:?}\nsegment_mb = {segment_mib}\n\
         pack = false\n"
    );
    let config = Config::parse(&text, "the bench")?.journal.context("there is a journal")?;
    let mut run = Run::start(&config)?;
    // The first segment is prepared: a frame comes through.
    push(&mut run)?;
    wait(&run, 1, Run::durable_or_written)?;
    // So is the one in reserve: zeros are no part of what is measured.
    wait(&run, 2 * (segment_mib << 20), Run::disk_bytes)?;
    Ok(run)
}

fn push(run: &mut Run) -> anyhow::Result<()> {
    let started = Instant::now();
    while !run.has_room(FRAME_BYTES) {
        ensure!(started.elapsed() < PATIENCE, "the journal stands still");
        std::thread::sleep(Duration::from_micros(100));
    }
    run.push(&[b'x'; FRAME_BYTES], now_ns());
    Ok(run.settle()?)
}

fn wait(run: &Run, until: u64, mark: impl Fn(&Run) -> u64) -> anyhow::Result<()> {
    let started = Instant::now();
    while mark(run) < until {
        ensure!(started.elapsed() < PATIENCE, "it never came so far: {} of {until}", mark(run));
        std::thread::sleep(Duration::from_micros(50));
    }
    Ok(())
}

/// How long so many frames take until the last one is durable; in class async until it is written.
pub(crate) fn write(folder: &Path, class: &str, frames: u64, segment_mib: u64) -> anyhow::Result<Duration> {
    let mut run = start(folder, class, segment_mib)?;
    let started = Instant::now();
    let frame = [b'x'; FRAME_BYTES];
    let mut receive_ns = now_ns();
    for number in 0..frames {
        if !run.has_room(FRAME_BYTES) {
            run.settle()?;
            wait_for_room(&run)?;
        }
        run.push(&frame, receive_ns);
        if number % TOGETHER == TOGETHER - 1 {
            run.settle()?;
            receive_ns = now_ns();
        }
    }
    run.settle()?;
    wait(&run, frames + 1, Run::durable_or_written)?;
    let taken = started.elapsed();
    ensure!(run.lost() == 0, "{} frames were lost", run.lost());
    Ok(taken)
}

fn wait_for_room(run: &Run) -> anyhow::Result<()> {
    let started = Instant::now();
    while !run.has_room(1 << 20) {
        ensure!(started.elapsed() < PATIENCE, "the journal stands still");
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

/// How long after it was pushed each of so many frames is durable. This thread spins, so that it sees each moment.
pub(super) fn durable_after(
    folder: &Path,
    class: &str,
    count: u64,
    period: Duration,
) -> anyhow::Result<Vec<u64>> {
    let mut run = start(folder, class, 64)?;
    let first = run.durable_or_written();
    let (begun, mut pushed) = (Instant::now(), Vec::with_capacity(count as usize));
    let mut taken: Vec<u64> = Vec::with_capacity(count as usize);
    while (taken.len() as u64) < count {
        let durable = run.durable_or_written() - first;
        let now = Instant::now();
        while (taken.len() as u64) < durable {
            taken.push(now.duration_since(pushed[taken.len()]).as_nanos() as u64);
        }
        if (pushed.len() as u64) < count && now >= begun + period * pushed.len() as u32 {
            pushed.push(Instant::now());
            push(&mut run)?;
        }
        ensure!(
            begun.elapsed() < PATIENCE + period * count as u32,
            "frame {} never became durable",
            taken.len()
        );
        std::hint::spin_loop();
    }
    Ok(taken)
}
