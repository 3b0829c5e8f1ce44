//! What each command prints.

use crate::streams::{StreamRow, streams};
use crate::top::Top;
use crate::{Cli, Command, Output, adjust, journal, table};
use anyhow::{Context, bail};
use chart_client::{Candles, Connection, Follower, News};
use market::{Candle, ChartName, decimal};
use serde_json::{Value, json};
use shm::adjust::Adjustment;
use shm::frame::{FrameCopy, FrameInfo};
use shm::status::{ChartEntry, ChartState, Counter, Stage};
use std::io::Write;
use std::time::Duration;

pub(crate) fn run(cli: &Cli) -> anyhow::Result<()> {
    let connection = Connection::open(cli.socket.as_deref())?;
    match &cli.command {
        Command::List => list(&connection, cli.json),
        Command::Snap { chart, output } => snap(&connection, chart, output, cli.json),
        Command::Candles { chart, last } => candles(&connection, chart, *last, cli.json),
        Command::Watch { chart, frames } => watch(cli, chart, *frames),
        Command::Top { interval, count } => {
            let interval = Duration::from_secs_f64(*interval);
            Top { socket: cli.socket.as_deref(), json: cli.json, interval, count: *count }.run()
        }
        Command::View(view) => adjusted(&connection, &view.chart, &view.adjustment(), cli.json),
        Command::Point(point) => adjusted(&connection, &point.chart, &point.adjustment(), cli.json),
        Command::Mark(mark) => adjusted(&connection, &mark.chart, &mark.adjustment(&connection)?, cli.json),
        Command::Stats => stats(&connection, cli.json),
    }
}

fn print_json(value: &Value) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{value}")?;
    Ok(())
}

/// Has a chart adjusted, and tells which frame shows it first.
fn adjusted(
    connection: &Connection,
    chart: &ChartName,
    adjustment: &Adjustment,
    as_json: bool,
) -> anyhow::Result<()> {
    let (number, frame) = adjust::adjust(connection, chart, adjustment)?;
    match frame {
        _ if as_json => {
            print_json(&json!({"chart": chart.to_string(), "adjustment": number, "frame": frame}))
        }
        Some(frame) => Ok(writeln!(std::io::stdout(), "frame {frame} of {chart} shows it")?),
        None => bail!("chartd took it, and shows no frame with it yet"),
    }
}

fn list(connection: &Connection, as_json: bool) -> anyhow::Result<()> {
    let charts = connection.status().charts();
    if as_json {
        let rows: Vec<_> = charts
            .iter()
            .map(|(chart, state)| {
                json!({"chart": chart.name.to_string(), "width": chart.width, "height": chart.height,
                       "frames": state.frames, "page_bytes": chart.page_bytes, "leases": chart.leases})
            })
            .collect();
        return print_json(&Value::Array(rows));
    }
    let row = |(chart, state): &(ChartEntry, ChartState)| {
        let size = format!("{}x{}", chart.width, chart.height);
        let pages = if chart.page_bytes > 4096 { "2 MiB" } else { "4 KiB" };
        vec![chart.name.to_string(), size, state.frames.to_string(), pages.to_owned()]
    };
    let rows: Vec<_> = charts.iter().map(row).collect();
    table::print(&["CHART", "SIZE", "FRAMES", "PAGES"], &rows)?;
    Ok(())
}

fn snap(connection: &Connection, chart: &ChartName, output: &Output, as_json: bool) -> anyhow::Result<()> {
    let reader = connection.chart(&chart.to_string())?;
    let mut frame = FrameCopy::default();
    // A frame may be overtaken while it is copied, or may not be there yet shortly after the start.
    for _ in 0..100 {
        if reader.copy_latest(&mut frame).is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let Some(info) = frame.info else { bail!("{chart} has no frame yet; try again in a moment") };
    let Output { path, format } = output;
    let file = encode::encode(&chart_client::picture(&frame), *format)?;
    std::fs::write(path, file).with_context(|| format!("cannot write {}", path.display()))?;
    if as_json {
        return print_json(&json!({"file": path, "frame": frame_json(&info)}));
    }
    let FrameCopy { width, height, .. } = frame;
    writeln!(std::io::stdout(), "{}: frame {} of {chart}, {width}x{height}", path.display(), info.number)?;
    Ok(())
}

fn candles(connection: &Connection, chart: &ChartName, last: usize, as_json: bool) -> anyhow::Result<()> {
    let Some(found) = chart_client::candles(connection.market(), chart, last) else {
        bail!("chartd has no candles of {chart}; `chartctl list` names its charts");
    };
    if as_json {
        return print_json(&found.bars.iter().map(|bar| candle_json(chart, &found, bar)).collect());
    }
    let rows: Vec<_> = found.bars.iter().map(|bar| candle_row(&found, bar)).collect();
    table::print(&["OPEN (UTC)", "OPEN", "HIGH", "LOW", "CLOSE", "VOLUME", "TRADES", "STATE", "REV"], &rows)?;
    Ok(())
}

/// Open, high, low and close as exact decimal text; empty where there is no price.
fn prices(found: &Candles, bar: &Candle) -> [String; 4] {
    bar.ohlc.map_or_else(Default::default, |ohlc| {
        [ohlc.open, ohlc.high, ohlc.low, ohlc.close]
            .map(|price| decimal::display(price, found.price_digits).to_string())
    })
}

fn candle_row(found: &Candles, bar: &Candle) -> Vec<String> {
    let mut row = vec![utc(bar.open_ms)];
    row.extend(prices(found, bar));
    row.push(decimal::display(bar.volume, found.qty_digits).to_string());
    row.extend([bar.trades.to_string(), bar.state.name().to_owned(), bar.rev.to_string()]);
    row
}

fn candle_json(chart: &ChartName, found: &Candles, bar: &Candle) -> Value {
    let [open, high, low, close] =
        prices(found, bar).map(|text| if text.is_empty() { Value::Null } else { text.into() });
    json!({
        "chart": chart.to_string(), "open_time_ms": bar.open_ms,
        "open": open, "high": high, "low": low, "close": close,
        "volume": decimal::display(bar.volume, found.qty_digits).to_string(),
        "trades": bar.trades, "state": bar.state.name(), "rev": bar.rev,
    })
}

/// A moment as `2024-08-08 23:54:13`.
fn utc(time_ms: i64) -> String {
    let seconds = time_ms.div_euclid(1_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let (year, month, day) = market::civil_date(days);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

fn frame_json(info: &FrameInfo) -> Value {
    json!({
        "number": info.number, "bars": info.bars, "adjustments": info.adjustments, "data_revision": info.data_revision,
        "venue_ms": info.venue_ms, "receive_ns": info.receive_ns, "decode_ns": info.decode_ns,
        "candle_ns": info.candle_ns, "render_ns": info.render_ns, "drawn_ns": info.drawn_ns,
        "publish_ns": info.publish_ns, "damage_rects": info.damage_count,
    })
}

/// Goes on through new configurations and restarts, as `tail -F` does.
fn watch(cli: &Cli, chart: &ChartName, frames: Option<u64>) -> anyhow::Result<()> {
    let mut follower = Follower::new(cli.socket.as_deref(), &chart.to_string())?;
    let mut left = frames.unwrap_or(u64::MAX);
    while left > 0 {
        match follower.wait(Duration::from_secs(1))? {
            News::Nothing => {}
            News::Lost => eprintln!("chartctl: chartd has stopped; waiting for it to come back"),
            News::Renewed => eprintln!("chartctl: the chart begins anew"),
            News::Frame { skipped } => {
                let Some((connection, reader)) = follower.current() else { continue };
                // A frame that was written over meanwhile is followed by another.
                let Ok(info) = reader.latest_info() else { continue };
                left -= 1;
                match cli.json {
                    true => print_json(&frame_json(&info))?,
                    false => print_frame(connection, chart, &info, skipped)?,
                }
            }
        }
    }
    Ok(())
}

fn print_frame(
    connection: &Connection,
    chart: &ChartName,
    info: &FrameInfo,
    skipped: u64,
) -> anyhow::Result<()> {
    let close = chart_client::candles(connection.market(), chart, 1).and_then(|found| {
        let close = found.bars.last()?.close()?;
        Some(decimal::display(close, found.price_digits).to_string())
    });
    let micros = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1e3;
    writeln!(
        std::io::stdout(),
        "frame {:>8}  close {:>12}  {:>9.1} us from receipt, {:>8.1} us to draw, {} rectangles{}",
        info.number,
        close.as_deref().unwrap_or("-"),
        micros(info.receive_ns, info.publish_ns),
        micros(info.render_ns, info.publish_ns),
        info.damage_count,
        if skipped > 0 { format!(", {skipped} not seen") } else { String::new() },
    )?;
    Ok(())
}

fn stats(connection: &Connection, as_json: bool) -> anyhow::Result<()> {
    let status = connection.status();
    let latency = |stage: &Stage| {
        let histogram = status.histogram(*stage)?;
        let micros = |q| histogram.quantile_ns(q) as f64 / 1e3;
        let values = [micros(0.5), micros(0.9), micros(0.99), micros(0.999), histogram.max_ns() as f64 / 1e3];
        Some((stage.name(), histogram.count(), values))
    };
    let latencies: Vec<_> = Stage::ALL.iter().filter_map(latency).collect();
    if as_json {
        let counters = Counter::ALL.iter().map(|counter| (counter.name(), status.counter(*counter).into()));
        let mut document: serde_json::Map<String, Value> =
            counters.map(|(name, value)| (name.to_owned(), value)).collect();
        for (name, count, [p50, p90, p99, p999, max]) in latencies {
            let figures =
                json!({"count": count, "p50": p50, "p90": p90, "p99": p99, "p999": p999, "max": max});
            document.insert(format!("{name}_us"), figures);
        }
        document.insert("journal".to_owned(), journal::json(status));
        document.insert("degraded".to_owned(), status.degraded().into());
        document.insert("streams".to_owned(), streams(connection).iter().map(StreamRow::json).collect());
        return print_json(&document.into());
    }
    let rows: Vec<_> = Counter::ALL
        .iter()
        .map(|counter| vec![counter.name().to_owned(), status.counter(*counter).to_string()])
        .collect();
    table::print(&["COUNTER", "VALUE"], &rows)?;
    writeln!(std::io::stdout())?;
    let rows: Vec<_> = latencies
        .iter()
        .map(|(name, count, values)| {
            let mut row = vec![(*name).to_owned(), count.to_string()];
            row.extend(values.iter().map(|micros| format!("{micros:.1}")));
            row
        })
        .collect();
    table::print(&["LATENCY (us)", "COUNT", "P50", "P90", "P99", "P99.9", "MAX"], &rows)?;
    writeln!(std::io::stdout())?;
    if let Some((state, intake)) = status.journal() {
        table::print(&["JOURNAL", "VALUE"], &journal::rows(&state, &intake))?;
        writeln!(std::io::stdout())?;
    }
    let rows: Vec<_> = streams(connection).iter().map(StreamRow::cells).collect();
    table::print(&StreamRow::HEADINGS, &rows)?;
    for line in status.degraded() {
        writeln!(std::io::stdout(), "degraded: {line}")?;
    }
    Ok(())
}
