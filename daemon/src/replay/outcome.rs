//! What comes of a replay: candles, pictures, figures.

use super::{BARS, Played, Replay};
use crate::engine::Engine;
use crate::render::{ChartPlan, Renderer};
use crate::report;
use crate::say;
use anyhow::{Context, ensure};
use market::{ChartName, Instrument, decimal};
use shm::status::{Counter, StatusReader, StatusWriter};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Writes what was asked for.
pub(super) fn write(
    replay: &Replay,
    played: &Played,
    status: &StatusWriter,
    seconds: f64,
) -> anyhow::Result<()> {
    let Played { engine, charts, renderer, .. } = played;
    ensure_nothing_forgotten(engine, charts)?;
    if let Some(path) = &replay.candles {
        write_file(path, |out| write_candles(out, engine, charts))?;
    }
    if let (Some(dir), Some(renderer)) = (&replay.frames, renderer) {
        write_frames(dir, renderer)?;
    }
    let status = StatusReader::open(status.reader_fd()?)?;
    let mut figures = report::figures(&status);
    let backend = renderer.as_ref().map_or("none", |renderer| renderer.backend().name());
    figures.insert("backend".into(), backend.into());
    figures.insert("lines".into(), played.lines.into());
    figures.insert("seconds".into(), seconds.into());
    figures.extend(played.figures.iter().map(|(name, figure)| ((*name).to_owned(), (*figure).into())));
    let figures = serde_json::Value::from(figures);
    if let Some(path) = &replay.report {
        write_file(path, |out| writeln!(out, "{figures}"))?;
    }
    if replay.json {
        say!("{figures}");
    } else {
        print_summary(&status, played, seconds);
    }
    Ok(())
}

/// Candles that are silently missing from a report would be a lie.
fn ensure_nothing_forgotten(engine: &Engine, charts: &[ChartPlan]) -> anyhow::Result<()> {
    for ChartPlan { name, .. } in charts {
        let first =
            engine.series(name.venue, &name.symbol, name.timeframe).map_or(0, |bars| bars.numbers().start);
        ensure!(
            first == 0,
            "{name} has {first} bars more than the {BARS} that are kept; replay a shorter part"
        );
    }
    Ok(())
}

fn write_file(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let outcome = File::create(path).map(BufWriter::new).and_then(|mut out| {
        write(&mut out)?;
        out.flush()
    });
    outcome.with_context(|| format!("cannot write {}", path.display()))
}

fn write_candles(out: &mut impl Write, engine: &Engine, charts: &[ChartPlan]) -> std::io::Result<()> {
    writeln!(out, "chart,open_time_ms,open,high,low,close,volume,trades,state,rev")?;
    for ChartPlan { name, .. } in charts {
        let is_its = |one: &&Instrument| one.venue == name.venue && one.symbol == name.symbol;
        let instrument = engine.instruments().find(is_its);
        let series = engine.series(name.venue, &name.symbol, name.timeframe);
        let (Some(instrument), Some(series)) = (instrument, series) else { continue };
        for bar in series.bars() {
            write!(out, "{name},{}", bar.open_ms)?;
            match bar.ohlc {
                Some(ohlc) => {
                    for price in [ohlc.open, ohlc.high, ohlc.low, ohlc.close] {
                        write!(out, ",{}", decimal::display(price, instrument.price_digits))?;
                    }
                }
                None => write!(out, ",,,,")?,
            }
            let volume = decimal::display(bar.volume, instrument.qty_digits);
            writeln!(out, ",{volume},{},{},{}", bar.trades, bar.state.name(), bar.rev)?;
        }
    }
    Ok(())
}

fn write_frames(dir: &Path, renderer: &Renderer) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make the folder {}", dir.display()))?;
    for (name, picture) in renderer.pictures() {
        // The name was made from a chart's name, so it reads back.
        let stem = name.parse::<ChartName>().map_or(name, |name| name.file_stem());
        let file = encode::encode(&picture.picture(), encode::Format::Png)?;
        write_file(&dir.join(stem + ".png"), |out| out.write_all(&file))?;
    }
    Ok(())
}

fn print_summary(status: &StatusReader, played: &Played, seconds: f64) {
    let Played { engine, charts, lines, unit, .. } = played;
    let count = |counter| status.counter(counter);
    say!("{lines} {unit} in {seconds:.2} s ({:.0} a second)", *lines as f64 / seconds.max(1e-9));
    say!(
        "{} market messages, {} control, {} unknown, {} malformed",
        count(Counter::Decoded),
        count(Counter::Control),
        count(Counter::Unknown),
        count(Counter::Malformed)
    );
    say!(
        "{} trade reports, {} duplicates, {} trades missing",
        count(Counter::Trades),
        count(Counter::Duplicates),
        count(Counter::MissingTrades)
    );
    for ChartPlan { name, .. } in charts {
        let bars = engine.series(name.venue, &name.symbol, name.timeframe).map_or(0, |s| s.bars().len());
        say!("{name}: {bars} candles");
    }
}
