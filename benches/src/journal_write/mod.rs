//! How fast the tick journal writes, and how soon a frame is durable, beside the disk without a journal.
//!
//! Frames of 256 bytes go the way that they go in the daemon: the hot thread's queue, the journal's thread, its ring.
//! Rates count what records take, their headers of 32 bytes included, for all arms that take frames. All arms write into
//! the same folder, one after the other.

pub(crate) mod ours;
mod raw;
mod rivals;

use crate::harness::{Arm, Ratio, Report};
use anyhow::Context;
use raw::{Flush, Raw};
use std::path::Path;
use std::time::Duration;

/// A frame's payload: what a trade at Binance takes.
const FRAME_BYTES: usize = 256;
/// What its record takes.
const RECORD_BYTES: u64 = 32 + FRAME_BYTES as u64;
/// At which rate it is asked how soon a frame is durable.
const PERIOD: Duration = Duration::from_millis(1);
/// How many frames of that in a round.
const PACED: u64 = 2_000;

const CLASSES: [&str; 3] = ["async", "group", "sync"];
const OURS: [&str; 3] = ["chartd async", "chartd group", "chartd sync"];
const RAW: [(&str, Flush); 3] = [
    ("raw, flushed at the end", Flush::AtEnd),
    ("raw, fdatasync each MiB", Flush::Linked),
    ("raw, each RWF_DSYNC", Flush::Through),
];
const DURABLE: [&str; 2] = ["group: durable after", "sync: durable after"];

pub(crate) fn measure(rounds: usize, folder: &Path, mib: u64) -> anyhow::Result<Report> {
    let folder = tempfile::tempdir_in(folder).context("no folder to write to: name one with --folder")?;
    let path = |name: &str| folder.path().join(name);
    let frames = (mib << 20) / RECORD_BYTES;
    let mut ours = OURS.map(|name| Arm::new(name, "KiB/s"));
    let mut preparing = Arm::new("chartd group, preparing segments", "KiB/s");
    let mut plain = RAW.map(|(name, _)| Arm::new(name, "KiB/s"));
    let mut appended = Arm::new("appended, fdatasync each MiB", "KiB/s");
    let mut databases = ["SQLite WAL, NORMAL", "SQLite WAL, FULL"].map(|name| Arm::new(name, "KiB/s"));
    let mut durable = DURABLE.map(|name| Arm::new(name, "ns"));
    let mut small = Arm::new("raw 4 KiB RWF_DSYNC", "ns");
    let mut raw = Raw::prepare(&path("raw"), mib << 20)?;
    for _ in 0..rounds {
        for (place, (_, flush)) in RAW.into_iter().enumerate() {
            plain[place].add_round([rate(raw.bytes(), raw.write_all(flush)?)]);
            // One segment holds all of it, and was prepared before.
            let taken = ours::write(&path("journal"), CLASSES[place], frames, mib + 16)?;
            ours[place].add_round([rate(frames * RECORD_BYTES, taken)]);
        }
        let taken = ours::write(&path("journal"), "group", frames, (mib / 8).max(1))?;
        preparing.add_round([rate(frames * RECORD_BYTES, taken)]);
        appended.add_round([rate(frames * RECORD_BYTES, rivals::append(&path("appended"), frames)?)]);
        for (arm, synchronous) in databases.iter_mut().zip(["NORMAL", "FULL"]) {
            let taken = rivals::sqlite(&path("sqlite"), frames, synchronous)?;
            arm.add_round([rate(frames * RECORD_BYTES, taken)]);
        }
        small.add_round(raw.small_writes(PACED, PERIOD)?);
        for (arm, class) in durable.iter_mut().zip(["group", "sync"]) {
            arm.add_round(ours::durable_after(&path("journal"), class, PACED, PERIOD)?);
        }
    }
    let ratios = vec![
        Ratio::of_at_least("async / raw of the same flushing", &ours[0], &plain[0], 0.5, 0.8),
        Ratio::of_at_least("group / raw of the same flushing", &ours[1], &plain[1], 0.5, 0.8),
        Ratio::of_at_least("sync / raw of the same flushing", &ours[2], &plain[2], 0.5, 0.8),
        Ratio::shown("group / raw that is flushed at the end", &ours[1], &plain[0], 0.5),
        Ratio::shown("group / SQLite WAL, FULL", &ours[1], &databases[1], 0.5),
        Ratio::shown("group / SQLite WAL, NORMAL", &ours[1], &databases[0], 0.5),
        Ratio::shown("group / appending", &ours[1], &appended, 0.5),
        Ratio::of("sync, durable after: p99 / one raw durable write", &durable[1], &small, 0.99, 2.0),
        Ratio::shown("sync, durable after: p50 / one raw durable write", &durable[1], &small, 0.5),
        Ratio::shown("group, durable after: p99 / one raw durable write", &durable[0], &small, 0.99),
    ];
    let arms = ours.into_iter().chain([preparing]).chain(plain).chain([appended]).chain(databases);
    Ok(Report {
        name: "journal-write",
        notes: vec![
            format!("{mib} MiB of records in each arm and round, {frames} frames of {FRAME_BYTES} bytes; larger rates are better"),
            format!("blocks of {} KiB; raw: 16 at once; a transaction and an append's flush: 1 MiB", raw::BLOCK_BYTES >> 10),
            "chartd: from the first frame pushed to the last one durable (async: written); its segment and the next are prepared before, but for the arm that says so".into(),
            format!("durable after: from pushing one of {} frames a second to the durable watermark; the raw write at the same rate, each by itself", 1_000_000 / PERIOD.as_micros()),
        ],
        arms: arms.chain(durable).chain([small]).collect(),
        ratios,
    })
}

/// KiB in a second.
fn rate(bytes: u64, taken: Duration) -> u64 {
    (bytes as f64 / 1024.0 / taken.as_secs_f64()) as u64
}
