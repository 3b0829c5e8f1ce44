//! A step of the view, laid out, drawn by its changes and drawn whole, at every zoom: of a month of minute bars, and beside it of ten times as
//! many. What is shown costs; what is hidden must not.

use crate::harness::{Arm, Ratio, Report};
use chart::{Chart, Frame, Look, Right, Settings, Theme, View, Zoom, raster};
use market::{Candle, CandleState, Ohlc, Timeframe};
use std::hint::black_box;
use std::time::Instant;

/// As many as the recorded minute bars that the tests use, and ten times as many.
const BARS: [u64; 2] = [45_031, 450_310];
const STEPS_A_ROUND: u64 = 40;
const SIZE: (u32, u32) = (1920, 1080);

pub(crate) fn measure(rounds: usize) -> anyhow::Result<Report> {
    let mut charts = Vec::new();
    for count in BARS {
        charts.push(chart(count)?);
    }
    let mut frame = Frame::new(SIZE.0, SIZE.1)?;
    let zooms = zooms();
    let mut pairs: Vec<[Arm; 2]> = zooms.iter().map(|zoom| BARS.map(|count| arm(*zoom, count))).collect();
    for _ in 0..rounds {
        for (zoom, arms) in zooms.iter().zip(&mut pairs) {
            for (chart, arm) in charts.iter_mut().zip(arms) {
                arm.add_round((0..STEPS_A_ROUND).map(|step| redraw(chart, &mut frame, *zoom, step)));
            }
        }
    }
    // Where the fewer bars do not fill the width, more of them show more.
    let fill =
        |zoom: &Zoom| matches!(zoom, Zoom::Wide(_)) || matches!(zoom, Zoom::Dense(level) if *level <= 4);
    let compared = zooms.iter().zip(&pairs).filter(|(zoom, _)| fill(zoom));
    let ratios = compared.map(|(_, [few, many])| many.quantile(0.5) as f64 / few.quantile(0.5) as f64);
    let worst = ratios.fold(0.0, f64::max);
    Ok(Report {
        name: "zoom-levels",
        notes: vec![format!(
            "{}×{}, candles and volume; each value is a step of the view: laid out, drawn by its changes, and drawn whole",
            SIZE.0, SIZE.1
        )],
        ratios: vec![Ratio::at_most(
            "ten times the bars / the bars, p50, worst zoom that both fill",
            worst,
            1.5,
        )],
        arms: pairs.into_iter().flatten().collect(),
    })
}

/// A random walk of minute bars.
fn chart(count: u64) -> anyhow::Result<Chart> {
    let mut chart = Chart::new(Settings {
        width: SIZE.0,
        height: SIZE.1,
        theme: Theme::Dark,
        time_zone: jiff::tz::TimeZone::UTC,
        title: "walk".to_owned(),
        timeframe: Timeframe::M1,
        price_digits: 2,
        qty_digits: 5,
        history: count as usize,
        look: Look::default(),
    })?;
    let (mut seed, mut close) = (7u64, 6_000_000i64);
    let mut below = |limit: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % limit) as i64
    };
    for number in 0..count as i64 {
        let open = close;
        close = (open + below(4_001) - 2_000).max(100_000);
        let (high, low) = (open.max(close) + below(1_200), open.min(close) - below(1_200));
        let bar = Candle::empty(number * 60_000, CandleState::Traded, Some(open));
        let volume = (50_000 + below(2_000_000)).into();
        chart.push(Candle { ohlc: Some(Ohlc { open, high, low, close }), volume, trades: 9, ..bar });
    }
    chart.draw();
    Ok(chart)
}

/// From bars as wide as they get to as many in a pixel as there may be.
fn zooms() -> Vec<Zoom> {
    let steps = std::iter::successors(Some(Zoom::Wide(chart::MAX_WIDTH)), |zoom| {
        Some(zoom.stepped(-1)).filter(|next| next != zoom)
    });
    steps.collect()
}

fn arm(zoom: Zoom, count: u64) -> Arm {
    let name = match zoom {
        Zoom::Wide(pixels) => format!("{count} bars, {pixels} pixels each"),
        Zoom::Dense(level) => format!("{count} bars, {} in a pixel", 1u32 << level),
    };
    // A few dozen, once in the program's life.
    Arm::new(name.leak(), "ns")
}

/// Nanoseconds to show the bars a column further on.
fn redraw(chart: &mut Chart, frame: &mut Frame, zoom: Zoom, step: u64) -> u64 {
    let share = if let Zoom::Dense(level) = zoom { 1 << level } else { 1 };
    let right = (chart.end() - 1).saturating_sub((STEPS_A_ROUND - step) * share);
    chart.set_view(View { zoom, right: Right::Bar(right) });
    let started = Instant::now();
    chart.draw();
    raster::draw(chart.scene(), chart.scene().bounds(), black_box(frame));
    started.elapsed().as_nanos() as u64
}
