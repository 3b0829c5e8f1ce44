//! Decoding one Binance trade frame, beside `serde_json` into a struct that borrows its texts. The reference does
//! less: it leaves prices as text and looks no symbol up.

use crate::harness::{Arm, Ratio, Report, recorded_frames};
use market::binance::decode;
use market::{Instrument, Instruments, Message, Venue};
use serde::Deserialize;
use std::hint::black_box;
use std::time::Instant;

const FRAME: &str = r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}"#;
/// Frames timed as one, since the clock costs about as much as decoding one.
const BATCH: usize = 64;
const FRAMES_A_ROUND: usize = 200_000;

#[derive(Deserialize)]
struct Combined<'a> {
    #[serde(borrow)]
    data: Trade<'a>,
}

#[derive(Deserialize)]
#[allow(dead_code)] // Deserialising fills them; that is what is measured.
struct Trade<'a> {
    e: &'a str,
    #[serde(rename = "E")]
    event_ms: u64,
    s: &'a str,
    t: u64,
    p: &'a str,
    q: &'a str,
    #[serde(rename = "T")]
    time_ms: u64,
    m: bool,
}

pub(crate) fn measure(rounds: usize) -> anyhow::Result<Report> {
    let mut instruments = Instruments::default();
    instruments.add(Instrument::new(Venue::Binance, "BTCUSDT"));
    let recorded = recorded_frames()?.map(|frames| {
        frames.into_iter().filter(|f| f.windows(9).any(|w| w == b"\"e\":\"trad")).collect::<Vec<_>>()
    });
    let source =
        if recorded.is_some() { "recorded trade frames" } else { "one trade frame; no recorded data" };
    let frames = recorded.unwrap_or_else(|| vec![FRAME.as_bytes().to_vec()]);

    let (mut ours, mut reference) = (Arm::new("chartd", "ns"), Arm::new("serde_json", "ns"));
    for _ in 0..rounds {
        ours.add_round(time(&frames, |frame| {
            let trade = matches!(black_box(decode(frame, &instruments)), Ok(Message::Trade { .. }));
            assert!(trade, "a trade frame is not a trade");
        }));
        reference.add_round(time(&frames, |frame| {
            let combined: Combined<'_> = serde_json::from_slice(frame).expect("a valid trade frame");
            black_box(combined.data.p.len());
        }));
    }
    let value = ours.quantile(0.5) as f64 / reference.quantile(0.5) as f64;
    Ok(Report {
        name: "decode",
        notes: vec![format!("{source}, {BATCH} at a time; values are one frame's share")],
        ratios: vec![Ratio::at_most("decode / serde_json, p50", value, 0.35)],
        arms: vec![ours, reference],
    })
}

fn time(frames: &[Vec<u8>], read: impl Fn(&[u8])) -> Vec<u64> {
    let mut frames = frames.iter().cycle();
    (0..FRAMES_A_ROUND / BATCH)
        .map(|_| {
            let started = Instant::now();
            frames.by_ref().take(BATCH).for_each(|frame| read(black_box(frame)));
            started.elapsed().as_nanos() as u64 / BATCH as u64
        })
        .collect()
}
