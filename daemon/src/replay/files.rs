//! Replaying files of frames. They have one venue, and the symbols that they speak of.

use super::lines::{Lines, find_symbols, split_stamp};
use super::pace::{Pace, Progress};
use super::{BARS, DRAW_EVERY, MAX_COMPLAINTS, PUBLISHED, Played, Replay, chart};
use crate::engine::{Engine, EnginePlan, FeedPlan, Verdict};
use crate::now_ns;
use crate::render::Renderer;
use anyhow::ensure;
use market::{Instrument, Venue};
use shm::prefix::Identity;
use shm::status::StatusWriter;
use std::sync::Arc;
use std::time::Instant;

/// Plays the files through an engine.
pub(super) fn play(replay: &Replay, status: &Arc<StatusWriter>) -> anyhow::Result<Played> {
    // Its messages are not lines of text, and a file of them has no sessions.
    ensure!(
        replay.venue != Venue::Itch,
        "recordings of itch cannot be replayed from files: have a daemon keep a journal, and replay that"
    );
    ensure!(
        replay.from_ns.is_none() && replay.until_ns.is_none(),
        "--from and --to need a journal: files are replayed whole"
    );
    let symbols = find_symbols(replay.venue, &replay.files)?;
    let instruments: Vec<_> = symbols
        .iter()
        .map(|symbol| (Instrument::new(replay.venue, symbol.clone()), replay.timeframes.clone()))
        .collect();
    let charts: Vec<_> = instruments
        .iter()
        .flat_map(|(instrument, timeframes)| timeframes.iter().map(|timeframe| chart(instrument, *timeframe)))
        .collect();
    let plan = FeedPlan { venue: replay.venue, instruments };
    let plan = EnginePlan {
        feeds: &[plan],
        bars: BARS,
        published: PUBLISHED,
        huge_pages: false,
        identity: Identity::default(),
    };
    let mut engine = Engine::new(&plan, status.clone(), now_ns)?;
    let market = engine.market().reader_fd()?;
    let mut renderer = Renderer::new(&charts, market, false, status.clone(), now_ns)?;
    let lines = feed(replay, &mut engine, &mut renderer)?;
    renderer.step();
    Ok(Played { engine, renderer: Some(renderer), charts, lines, unit: "lines", figures: Vec::new() })
}

/// Feeds every line to the engine. Returns how many there were.
fn feed(replay: &Replay, engine: &mut Engine, renderer: &mut Renderer) -> anyhow::Result<u64> {
    let mut pace = Pace::new(replay.speed);
    let mut progress = Progress::new(!replay.json);
    let (mut lines, mut complaints, mut drawn) = (0, 0, Instant::now());
    for path in &replay.files {
        let mut reader = Lines::open(path)?;
        while let Some((number, line)) = reader.next_line()? {
            lines += 1;
            let (recorded_ns, frame) = split_stamp(line);
            pace.wait(recorded_ns);
            match engine.frame(0, 0, frame, now_ns()) {
                Verdict::Malformed(error) => {
                    complaints += 1;
                    if complaints <= MAX_COMPLAINTS {
                        progress.clear();
                        eprintln!("chartd: {}, line {number}: malformed frame: {error}", path.display());
                    }
                }
                Verdict::Decoded if replay.speed.is_some() || drawn.elapsed() >= DRAW_EVERY => {
                    renderer.step();
                    drawn = Instant::now();
                }
                _ => {}
            }
            progress.advance(line.len());
        }
    }
    progress.clear();
    if complaints > MAX_COMPLAINTS {
        eprintln!("chartd: {} more lines were malformed", complaints - MAX_COMPLAINTS);
    }
    Ok(lines)
}
