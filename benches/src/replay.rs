//! The recorded file through the engine on one core: decoded, proven, aggregated into 1 s and 1 m candles and
//! published in shared memory. Beside it, `serde_json` only checking that each frame is JSON.

use crate::harness::{Arm, Ratio, Report, recorded_frames};
use anyhow::Context;
use chartd::engine::{Engine, EnginePlan, FeedPlan, Verdict};
use market::{Instrument, Timeframe, Venue};
use shm::prefix::Identity;
use shm::status::StatusWriter;
use std::sync::Arc;
use std::time::Instant;

pub(crate) fn measure(rounds: usize) -> anyhow::Result<Report> {
    let frames = recorded_frames()?.context("there is no recorded data to replay")?;
    let (mut ours, mut reference) =
        (Arm::new("chartd", "ns/frame"), Arm::new("serde_json, check only", "ns/frame"));
    for _ in 0..rounds {
        ours.add_round([ours_once(&frames)?]);
        reference.add_round([check_once(&frames)]);
    }
    let rate = 1e9 / ours.quantile(0.5) as f64;
    let ratio = ours.quantile(0.5) as f64 / reference.quantile(0.5) as f64;
    let bytes: usize = frames.iter().map(Vec::len).sum();
    Ok(Report {
        name: "replay",
        notes: vec![
            format!("{} frames, {bytes} bytes, in memory; one thread", frames.len()),
            format!("a frame costs {ratio:.2} times what serde_json takes to check its JSON"),
        ],
        ratios: vec![Ratio::at_least("frames a second", rate, 1e6)],
        arms: vec![ours, reference],
    })
}

fn ours_once(frames: &[Vec<u8>]) -> anyhow::Result<u64> {
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
    let mut engine = Engine::new(&plan, status, chartd::now_ns)?;
    let started = Instant::now();
    for frame in frames {
        let verdict = engine.frame(0, 0, frame, 0);
        debug_assert_eq!(verdict, Verdict::Decoded);
    }
    Ok(started.elapsed().as_nanos() as u64 / frames.len() as u64)
}

fn check_once(frames: &[Vec<u8>]) -> u64 {
    let started = Instant::now();
    for frame in frames {
        let checked = serde_json::from_slice::<serde::de::IgnoredAny>(frame);
        std::hint::black_box(checked.is_ok());
    }
    started.elapsed().as_nanos() as u64 / frames.len() as u64
}
