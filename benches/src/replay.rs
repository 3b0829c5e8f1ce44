//! The recorded file through the engine on one core: decoded, proven, aggregated into 1 s and 1 m candles and
//! published in shared memory. Beside it, `serde_json` only checking that each frame is JSON, and what a frame of each
//! kind costs, with the engine and with the decoder alone.

use crate::decode::read;
use crate::harness::{Arm, Ratio, Report, recorded_frames};
use anyhow::Context;
use chartd::engine::{Engine, EnginePlan, FeedPlan, Verdict};
use market::{Instrument, Instruments, Timeframe, Venue};
use shm::prefix::Identity;
use shm::status::StatusWriter;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The kinds of frames in the file, and a part of each by which it is known.
const KINDS: [&str; 3] = ["\"e\":\"trade\"", "@bookTicker", "\"e\":\"depthUpdate\""];
const BY_KIND: [&str; 3] = ["chartd: a trade", "chartd: a book ticker", "chartd: a change of the book"];
const DECODING: [&str; 3] = ["decoding alone: a trade", "a book ticker", "a change of the book"];

pub(crate) fn measure(rounds: usize) -> anyhow::Result<Report> {
    let frames = recorded_frames()?.context("there is no recorded data to replay")?;
    let kinds: Vec<Option<usize>> = frames.iter().map(|frame| kind(frame)).collect();
    let (mut ours, mut reference) =
        (Arm::new("chartd", "ns/frame"), Arm::new("serde_json, check only", "ns/frame"));
    let mut by_kind = BY_KIND.map(|name| Arm::new(name, "ns/frame"));
    let mut decoding = DECODING.map(|name| Arm::new(name, "ns/frame"));
    for _ in 0..rounds {
        ours.add_round([ours_once(&frames)?]);
        reference.add_round([check_once(&frames)]);
        by_kind.iter_mut().zip(kinds_once(&frames, &kinds)?).for_each(|(arm, ns)| arm.add_round([ns]));
        for (kind, arm) in decoding.iter_mut().enumerate() {
            arm.add_round([decode_once(&frames, &kinds, kind)]);
        }
    }
    let rate = 1e9 / ours.quantile(0.5) as f64;
    let bytes: usize = frames.iter().map(Vec::len).sum();
    let counts = [0, 1, 2].map(|kind| kinds.iter().filter(|of| **of == Some(kind)).count());
    let total = ours.quantile(0.5) as f64 * frames.len() as f64;
    let share = |kind: usize| by_kind[kind].quantile(0.5) as f64 * counts[kind] as f64 / total * 100.0;
    Ok(Report {
        name: "replay",
        notes: vec![
            format!("{} frames, {bytes} bytes, in memory; one thread", frames.len()),
            format!("{} trades take about {:.0} % of the time, {} book tickers {:.0} %, {} changes of the book {:.0} %", counts[0], share(0), counts[1], share(1), counts[2], share(2)),
            "a frame of each kind: timed one by one, less the clock; decoding: every level of the book read once after it was checked".into(),
        ],
        ratios: vec![
            Ratio::at_least("frames a second", rate, 1e6),
            Ratio::shown("a frame / serde_json checking its JSON", &ours, &reference, 0.5),
        ],
        arms: [ours, reference].into_iter().chain(by_kind).chain(decoding).collect(),
    })
}

/// Which of [`KINDS`] a frame is.
fn kind(frame: &[u8]) -> Option<usize> {
    let holds = |part: &&str| frame.windows(part.len()).any(|window| window == part.as_bytes());
    KINDS.iter().position(holds)
}

fn engine() -> anyhow::Result<Engine> {
    let status = Arc::new(StatusWriter::create(0, 0, [0; 2])?);
    let instrument = (Instrument::new(Venue::Binance, "BTCUSDT"), vec![Timeframe::S1, Timeframe::M1]);
    let plan = FeedPlan { venue: Venue::Binance, instruments: vec![instrument] };
    let plan = EnginePlan {
        feeds: &[plan],
        bars: 2_000,
        published: 2_000,
        huge_pages: false,
        identity: Identity::default(),
    };
    Ok(Engine::new(&plan, status, chartd::now_ns)?)
}

fn ours_once(frames: &[Vec<u8>]) -> anyhow::Result<u64> {
    let mut engine = engine()?;
    let started = Instant::now();
    for frame in frames {
        let verdict = engine.frame(0, 0, frame, 0);
        debug_assert_eq!(verdict, Verdict::Decoded);
    }
    Ok(started.elapsed().as_nanos() as u64 / frames.len() as u64)
}

/// What a frame of each kind costs, in the order of the file.
fn kinds_once(frames: &[Vec<u8>], kinds: &[Option<usize>]) -> anyhow::Result<[u64; 3]> {
    let mut engine = engine()?;
    let (mut spent, mut counts) = ([Duration::ZERO; 3], [0; 3]);
    let mut before = Instant::now();
    for (frame, kind) in frames.iter().zip(kinds) {
        engine.frame(0, 0, frame, 0);
        let now = Instant::now();
        if let Some(kind) = *kind {
            spent[kind] += now - before;
            counts[kind] += 1;
        }
        before = now;
    }
    let clock = clock_ns();
    let each = |kind: usize| spent[kind].as_nanos() as u64 / counts[kind].max(1);
    Ok([0, 1, 2].map(|kind| each(kind).saturating_sub(clock)))
}

/// What reading the clock costs.
fn clock_ns() -> u64 {
    const READS: u64 = 10_000;
    let started = Instant::now();
    (0..READS).for_each(|_| _ = black_box(Instant::now()));
    started.elapsed().as_nanos() as u64 / READS
}

/// What the decoder takes for a frame of a kind.
fn decode_once(frames: &[Vec<u8>], kinds: &[Option<usize>], kind: usize) -> u64 {
    let mut table = Instruments::default();
    table.add(Instrument::new(Venue::Binance, "BTCUSDT"));
    let mut decoder = Venue::Binance.protocol().decoder();
    let frames = frames.iter().zip(kinds).filter(|(_, of)| **of == Some(kind)).map(|(frame, _)| frame);
    let frames: Vec<_> = frames.collect();
    let started = Instant::now();
    frames.iter().for_each(|frame| read(decoder.as_mut(), &table, frame));
    started.elapsed().as_nanos() as u64 / frames.len().max(1) as u64
}

fn check_once(frames: &[Vec<u8>]) -> u64 {
    let started = Instant::now();
    for frame in frames {
        let checked = serde_json::from_slice::<serde::de::IgnoredAny>(frame);
        black_box(checked.is_ok());
    }
    started.elapsed().as_nanos() as u64 / frames.len() as u64
}
