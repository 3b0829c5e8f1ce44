//! Replaying a journal: all that the daemon took in, as it took it in. It says itself what its feeds are.

use super::pace::{Pace, Progress};
use super::{BARS, DRAW_EVERY, MAX_COMPLAINTS, PUBLISHED, Played as Outcome, Replay, chart};
use crate::engine::{Engine, Verdict};
use crate::journal::{Played, Player, Tally, describe};
use crate::now_ns;
use crate::render::{ChartPlan, Renderer};
use anyhow::{Context, ensure};
use jiff::Timestamp;
use journal::queue::Lost;
use journal::{Folder, Item, Kind, Reader, Span};
use market::Instrument;
use shm::status::StatusWriter;
use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// More charts than this are not drawn: their pictures would take gigabytes.
const MOST_CHARTS: usize = 64;

thread_local! {
    /// When the record in hand was received by the clock of its run, and when it was taken by ours.
    static HAND: Cell<[u64; 2]> = const { Cell::new([0; 2]) };
}

/// The clock of the run that is replayed: what is measured from a record's receive time is the time that this replay
/// takes for it.
fn run_ns() -> u64 {
    let [received_ns, taken_ns] = HAND.get();
    received_ns + now_ns().saturating_sub(taken_ns)
}

/// Plays a journal through engines.
pub(super) fn play(replay: &Replay, path: &Path, status: &Arc<StatusWriter>) -> anyhow::Result<Outcome> {
    let folder = Folder::new(path);
    let (from_ns, until_ns) = (replay.from_ns.unwrap_or(0), replay.until_ns.unwrap_or(u64::MAX));
    ensure!(from_ns < until_ns, "--from must be before --to");
    let mut reader = Reader::new(&folder, Span { from_ns, until_ns })?;
    let wanted = |_: &Instrument| replay.timeframes.clone();
    let mut stage = Stage {
        replay,
        player: Player::new(&wanted, [BARS, PUBLISHED], status.clone(), run_ns),
        status,
        renderer: None,
        pace: Pace::new(replay.speed),
        progress: Progress::new(!replay.json),
        complaints: 0,
        drawn: Instant::now(),
    };
    while let Some(item) = reader.next()? {
        stage.take(item)?;
    }
    stage.end()
}

/// A replay under way.
struct Stage<'a> {
    replay: &'a Replay,
    player: Player<'a>,
    status: &'a Arc<StatusWriter>,
    renderer: Option<Renderer>,
    pace: Pace,
    progress: Progress,
    complaints: u64,
    drawn: Instant,
}

impl Stage<'_> {
    fn take(&mut self, item: Item<'_>) -> anyhow::Result<()> {
        let (mut sequence, mut bytes) = (0, 0);
        if let Item::Record(record) = &item {
            let stamp = record.header.stamp;
            if record.header.kind != Kind::Start {
                self.pace.wait(Some(stamp.real_ns));
            }
            HAND.set([stamp.mono_ns, now_ns()]);
            (sequence, bytes) = (record.sequence, record.payload.len());
        }
        match self.player.take(item).context("no memory for the candles")? {
            Played::Began => {
                self.renderer = None;
                self.pace.begin_anew();
            }
            Played::Frame(Verdict::Malformed(error)) => {
                self.complain(format!("record {sequence}: malformed frame: {error}"));
            }
            Played::Frame(Verdict::Decoded)
                if self.replay.speed.is_some() || self.drawn.elapsed() >= DRAW_EVERY =>
            {
                self.draw()?;
            }
            Played::Unreadable(why) => self.complain(format!("record {sequence} is passed over: {why}")),
            Played::Gap(lost) => self.complain(told(&lost)),
            Played::Missing(missing) => self.complain(describe(&missing)),
            Played::Frame(_) | Played::Taken | Played::Passed => {}
        }
        self.progress.advance(bytes);
        Ok(())
    }

    /// Draws what has changed, with a renderer for the engine that is there now.
    fn draw(&mut self) -> anyhow::Result<()> {
        self.drawn = Instant::now();
        let Some(engine) = self.player.engine() else { return Ok(()) };
        if self.renderer.is_none() {
            let charts = charts(engine, self.replay);
            if charts.len() <= MOST_CHARTS {
                let market = engine.market().reader_fd()?;
                self.renderer = Some(Renderer::new(&charts, market, false, self.status.clone(), run_ns)?);
            }
        }
        self.renderer.iter_mut().for_each(|renderer| _ = renderer.step());
        Ok(())
    }

    fn complain(&mut self, line: String) {
        self.complaints += 1;
        if self.complaints <= MAX_COMPLAINTS {
            self.progress.clear();
            eprintln!("chartd: {line}");
        }
    }

    fn end(mut self) -> anyhow::Result<Outcome> {
        self.draw()?;
        self.progress.clear();
        if self.complaints > MAX_COMPLAINTS {
            eprintln!("chartd: {} more such lines", self.complaints - MAX_COMPLAINTS);
        }
        let Self { replay, player, renderer, .. } = self;
        let tally = player.tally();
        let engine = player.into_engine().context("the journal holds no feeds in this span")?;
        let charts = charts(&engine, replay);
        if renderer.is_none() {
            ensure!(replay.frames.is_none(), "{} charts are too many to draw: no --frames", charts.len());
            eprintln!("chartd: {} charts are too many to draw", charts.len());
        }
        Ok(Outcome {
            engine,
            renderer,
            charts,
            lines: tally.records,
            unit: "records",
            figures: figures(&tally),
        })
    }
}

/// All charts of an engine, by name.
fn charts(engine: &Engine, replay: &Replay) -> Vec<ChartPlan> {
    let mut instruments: Vec<_> = engine.instruments().collect();
    instruments.sort_by_key(|one| (one.venue.name(), &one.symbol));
    let of = |instrument| replay.timeframes.iter().map(move |timeframe| chart(instrument, *timeframe));
    instruments.into_iter().flat_map(of).collect()
}

fn told(lost: &Lost) -> String {
    let time = |ns: u64| Timestamp::from_nanosecond(ns.into()).unwrap_or(Timestamp::UNIX_EPOCH);
    format!(
        "{} records found no room in the journal's queue from {} to {}: the bars that may lack trades are gaps",
        lost.records,
        time(lost.from_ns),
        time(lost.until_ns)
    )
}

fn figures(tally: &Tally) -> Vec<(&'static str, u64)> {
    vec![
        ("journal_records_read", tally.records),
        ("journal_frames_read", tally.frames),
        ("journal_runs", tally.runs),
        ("journal_generations", tally.generations),
        ("journal_gaps", tally.gaps),
        ("journal_records_lost", tally.lost),
        ("journal_corruptions", tally.corruptions),
        ("journal_records_corrupt", tally.corrupt),
        ("journal_torn_tails", tally.torn),
        ("journal_records_unreadable", tally.unreadable),
    ]
}
