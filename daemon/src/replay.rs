//! Recorded data through the same engine and renderer as live data: files of frames (`files`), or a journal
//! (`folder`).
//!
//! What is read is the same at any speed, so the same recording gives the same candles, byte for byte.

mod files;
mod folder;
mod lines;
mod outcome;
mod pace;

use crate::engine::Engine;
use crate::now_ns;
use crate::render::{ChartPlan, Renderer};
use anyhow::ensure;
use chart::{Look, Theme};
use market::{ChartName, Instrument, Timeframe, Venue};
use shm::status::StatusWriter;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many bars of each series are kept for the report: a day of seconds, and eleven more.
const BARS: usize = 1_000_000;
/// How many of them are in shared memory: more than fit on the widest chart.
const PUBLISHED: usize = 8_192;
/// The most flaws that are printed; all are counted.
const MAX_COMPLAINTS: u64 = 10;
/// At full speed, how often frames are drawn.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// What to replay, and what to make of it.
#[derive(Debug, Clone)]
pub struct Replay {
    /// The files, in the order of time; or the folder of a journal.
    pub files: Vec<PathBuf>,
    /// Whose frames the files hold. A journal says so itself.
    pub venue: Venue,
    /// The candles to make.
    pub timeframes: Vec<Timeframe>,
    /// How many times faster than it was recorded; as fast as possible without it.
    pub speed: Option<f64>,
    /// The first receive time that counts, CLOCK_REALTIME in ns; of a journal.
    pub from_ns: Option<u64>,
    /// The first that does not any more.
    pub until_ns: Option<u64>,
    /// Where to write all candles as CSV.
    pub candles: Option<PathBuf>,
    /// Where to write the last frame of each chart.
    pub frames: Option<PathBuf>,
    /// Where to write the figures as JSON.
    pub report: Option<PathBuf>,
    /// Whether to print the figures as JSON.
    pub json: bool,
}

/// What a replay has come to.
struct Played {
    engine: Engine,
    /// None where there are too many charts to draw.
    renderer: Option<Renderer>,
    charts: Vec<ChartPlan>,
    /// How many lines or records there were, and what they are called.
    lines: u64,
    unit: &'static str,
    /// More for the report.
    figures: Vec<(&'static str, u64)>,
}

/// Replays, and writes what was asked for.
pub fn run(replay: &Replay) -> anyhow::Result<()> {
    let status = Arc::new(StatusWriter::create(std::process::id(), now_ns(), [0; 2])?);
    let started = Instant::now();
    let played = if replay.files.iter().any(|path| path.is_dir()) {
        ensure!(replay.files.len() == 1, "a journal is replayed by itself: name its folder and nothing else");
        folder::play(replay, &replay.files[0], &status)?
    } else {
        files::play(replay, &status)?
    };
    outcome::write(replay, &played, &status, started.elapsed().as_secs_f64())
}

/// A chart of an instrument's candles.
fn chart(instrument: &Instrument, timeframe: Timeframe) -> ChartPlan {
    ChartPlan {
        name: ChartName { venue: instrument.venue, symbol: instrument.symbol.clone(), timeframe },
        size: [1920, 1080],
        theme: Theme::Dark,
        look: Look::default(),
        price_lines: Vec::new(),
        time_zone: jiff::tz::TimeZone::UTC,
        history: 2_000,
        leases: 0,
    }
}
