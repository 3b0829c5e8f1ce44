//! The labels of both axes against those that lightweight-charts draws for the same ranges, where the rules are shared.
//!
//! What differs on purpose, and is held to its own bounds here:
//!
//! - Price steps are 1, 2, 2.5 or 5 times a power of ten, in whole ticks. Theirs may be 4 times one, or no whole ticks,
//!   and are not 2.5 times one below 1. Where a step is less than a row short of the distance, they leave out every
//!   second label.
//! - Of the units of time below a day, only those are used whose marks are all far enough apart; theirs fill what room is
//!   left with lighter ones. There are more units: 15 minutes, 5, 15 and 30 seconds, quarters of years and months.
//! - Time is that of a zone; theirs is UTC, and so it is here.

mod common;

use chart::scene::{Layer, Paint};
use chart::{Chart, Color, Colors, Look, Right, Settings, Theme, View, Zoom};
use common::probe::{self, Axis, axis, pixel, program, shown};
use common::recorded::{self, ADA, BITCOIN, EURO};
use common::{bar, settings};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use market::{Candle, CandleState, Ohlc, Timeframe};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const GRID: Color = Color(0x12_3456);
/// Rows and columns from one label to the next, at least.
const ROWS_APART: i64 = 40;
const COLUMNS_APART: i64 = 80;

/// Bars of one chart.
struct Market {
    name: &'static str,
    bars: Vec<Candle>,
    price_digits: u8,
    timeframe: Timeframe,
    /// The numbers of bars to end at.
    ends: Vec<u64>,
}

/// Bars without a gap, whose prices wander as the number of the bar does.
fn made(name: &'static str, timeframe: Timeframe, start: &str, count: i64, ends: Vec<u64>) -> Market {
    let mut open_ms = start.parse::<Timestamp>().unwrap().as_millisecond();
    let mut bars = Vec::new();
    for number in 0..count {
        let open = 1_000_000 + (number * 7_919) % 40_009;
        let ohlc = Ohlc { open, high: open + 900, low: open - 700, close: open + number % 500 };
        bars.push(bar(open_ms, CandleState::Traded, ohlc, 5));
        open_ms = timeframe.end_ms(open_ms);
    }
    Market { name, bars, price_digits: 4, timeframe, ends }
}

fn markets() -> Vec<Market> {
    let mut all = vec![
        made("seconds", Timeframe::S1, "2025-12-31T23:20:00Z", 4_000, vec![1_500, 2_650, 3_999]),
        made("hours", Timeframe::H1, "2024-11-20T00:00:00Z", 12_000, vec![400, 1_100, 11_999]),
        made("days", Timeframe::D1, "2015-03-01T00:00:00Z", 4_000, vec![900, 3_999]),
        made("months", Timeframe::Month, "1975-03-01T00:00:00Z", 600, vec![599]),
    ];
    for (file, ends) in
        [(BITCOIN, vec![250, 12_345, 44_800, 45_030]), (EURO, vec![777, 2_500, 4_999]), (ADA, vec![9])]
    {
        match recorded::read(&file) {
            Some(bars) => all.push(Market {
                name: file.name,
                bars,
                price_digits: file.price_digits,
                timeframe: file.timeframe,
                ends,
            }),
            None => println!("skipped: no recorded data"),
        }
    }
    all
}

/// What a chart shows of its axes.
struct Shown {
    name: String,
    axis: Axis,
    /// The rows and the columns with a line of the grid.
    rows: BTreeSet<i32>,
    columns: BTreeSet<usize>,
    times_ms: Vec<i64>,
    timeframe: Timeframe,
    spacing: i64,
    /// Price units in one, and in the smallest step that prices have.
    unit: i64,
    tick: i64,
}

fn charts() -> Vec<Shown> {
    let mut all = Vec::new();
    for market in markets() {
        for size in [(640, 300), (1_280, 720), (1_900, 1_000)] {
            let colors = Colors { grid: Some(GRID), ..Colors::default() };
            let look = Look { magnify: Some(1), hide_volume: true, colors, ..Look::default() };
            let mut chart = Chart::new(Settings {
                price_digits: market.price_digits,
                timeframe: market.timeframe,
                time_zone: TimeZone::UTC,
                history: market.bars.len(),
                look,
                ..settings(size.0, size.1, Theme::Dark)
            })
            .unwrap();
            chart.load(0, &market.bars);
            for end in &market.ends {
                for spacing in [1u16, 2, 3, 4, 5, 6, 8, 10, 14, 20, 32, 56, 120, 200] {
                    chart.set_view(View { zoom: Zoom::Wide(spacing), right: Right::Bar(*end) });
                    chart.draw();
                    let name = format!("{} {size:?} {spacing} wide, to {end}", market.name);
                    all.push(shown_by(name, &mut chart, &market, spacing.into()));
                }
            }
        }
    }
    all
}

fn shown_by(name: String, chart: &mut Chart, market: &Market, spacing: i64) -> Shown {
    let axis = axis(chart);
    let grid = chart.scene().layer(Layer::Grid).iter();
    let lines: Vec<_> = grid
        .filter(|line| line.paint == Paint::Solid && line.color == pixel(GRID))
        .map(|line| line.area)
        .collect();
    let rows = lines.iter().filter(|line| line.h == 1 && line.w > 1).map(|line| line.y.into()).collect();
    let bars = shown(chart);
    // The newest bar's wick is its middle, and so are the lines of the grid.
    let last = chart.scene().layer(Layer::Last).iter().map(|shape| shape.area);
    let newest = last.map(|area| i64::from(area.x) + i64::from(area.w) / 2).next().unwrap();
    let column = |x: u16| {
        let back = (newest - i64::from(x)) / spacing;
        assert_eq!(newest - back * spacing, i64::from(x), "{name}: a line in the middle of a bar");
        bars.len() - 1 - back as usize
    };
    let columns = lines.iter().filter(|line| line.w == 1 && line.h > 1).map(|line| column(line.x)).collect();
    let unit = 10i64.pow(market.price_digits.into());
    let prices = market.bars.iter().filter_map(|bar| bar.ohlc);
    let digits = prices.flat_map(|ohlc| [ohlc.open, ohlc.high, ohlc.low, ohlc.close]);
    let tick = digits.fold(unit, |mut tick, price| {
        while price % tick != 0 {
            tick /= 10;
        }
        tick
    });
    let times_ms = bars.iter().map(|bar| bar.open_ms).collect();
    Shown { name, axis, rows, columns, times_ms, timeframe: market.timeframe, spacing, unit, tick }
}

/// What lightweight-charts labels.
struct Theirs {
    /// In price units, and as exactly as it says.
    prices: Vec<f64>,
    columns: BTreeSet<usize>,
}

/// The folder of packages that `cargo xtask test` prepares, if lightweight-charts runs from it.
fn packages() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/node");
    let has_it =
        folder.join("node_modules/lightweight-charts").is_dir() && folder.join("node_modules/jsdom").is_dir();
    let runs = Command::new("node").arg("--version").output().is_ok_and(|output| output.status.success());
    (has_it && runs).then_some(folder)
}

fn theirs(packages: &Path, charts: &[Shown]) -> Vec<Theirs> {
    let mut questions = String::new();
    for Shown { axis, spacing, unit, tick, times_ms, .. } in charts {
        let price = |units: i64| units as f64 / *unit as f64;
        let (low, high, digits) = (price(axis.low), price(axis.high), (unit / tick).ilog10());
        let rows = axis.bottom - axis.top + 1;
        let times: Vec<_> = times_ms.iter().map(|time| time / 1_000).collect();
        writeln!(
            questions,
            r#"{{"rows":{rows},"low":{low},"high":{high},"digits":{digits},"rowsApart":{ROWS_APART},"spacing":{spacing},"times":{times:?}}}"#
        )
        .unwrap();
    }
    let mut command = Command::new("node");
    command.arg(program("with_lightweight_charts.mjs")).arg(packages);
    let answers = String::from_utf8(probe::output_of(&mut command, questions)).unwrap();
    let numbers = |line: &str, name: &str| -> Vec<f64> {
        let list = line.split(&format!("\"{name}\":[")).nth(1).unwrap().split(']').next().unwrap();
        list.split(',').filter(|number| !number.is_empty()).map(|number| number.parse().unwrap()).collect()
    };
    assert_eq!(answers.lines().count(), charts.len());
    answers
        .lines()
        .zip(charts)
        .map(|(line, chart)| Theirs {
            prices: numbers(line, "prices").iter().map(|price| price * chart.unit as f64).collect(),
            columns: numbers(line, "times")
                .iter()
                .map(|time| chart.times_ms.iter().position(|ms| *ms == *time as i64 * 1_000).unwrap())
                .collect(),
        })
        .collect()
}

/// All charts, and what lightweight-charts labels of each. It is asked once.
fn asked(packages: &Path) -> &'static [(Shown, Theirs)] {
    static ASKED: OnceLock<Vec<(Shown, Theirs)>> = OnceLock::new();
    ASKED.get_or_init(|| {
        let charts = charts();
        let theirs = theirs(packages, &charts);
        charts.into_iter().zip(theirs).collect()
    })
}

/// The row of a price, from how an axis is described: linear from end to end, rounded.
fn row(axis: &Axis, price: i128) -> i32 {
    let (below, span) = (i128::from(axis.high) - price, i128::from(axis.high - axis.low));
    let height = i128::from(axis.bottom - axis.top);
    axis.top + ((2 * below * height + span).div_euclid(2 * span)) as i32
}

/// The rows of all multiples of `step` on an axis.
fn rows_of_multiples(axis: &Axis, step: i128) -> BTreeSet<i32> {
    let first = i128::from(axis.low).div_euclid(step) * step;
    let multiples = (0..).map(|count| first + count * step).take_while(|price| *price <= axis.high.into());
    multiples.filter(|price| *price >= axis.low.into()).map(|price| row(axis, price)).collect()
}

/// The steps that labels of prices may have, in price units: those of a decade and more around the right one.
fn steps(tick: i64) -> impl Iterator<Item = i128> {
    let powers = (0..12).map(move |power| i128::from(tick) * 10i128.pow(power));
    powers.flat_map(move |power| {
        let quarter = (power > tick.into()).then_some(power / 10 * 25);
        [Some(power), Some(2 * power), quarter, Some(5 * power)].into_iter().flatten()
    })
}

/// The leading digits of a step, from 1 to below 10.
fn leading(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    (step / power * 1e6).round() / 1e6
}

#[test]
fn price_labels_are_lightweight_charts_or_differ_as_they_should() {
    let Some(packages) = packages() else {
        return println!("skipped: axes against lightweight-charts (no lightweight-charts)");
    };
    let charts = asked(&packages);
    let (mut same, mut fours, mut quarters, mut parts, mut thinned) = (0, 0, 0, 0, 0);
    let mut labels = 0;
    for (ours, theirs) in charts {
        let Shown { name, axis, rows, tick, .. } = ours;
        // Every label is a multiple of one round step, and every multiple has a label.
        let step = steps(*tick).find(|step| rows_of_multiples(axis, *step) == *rows);
        let step = step.unwrap_or_else(|| panic!("{name}: {rows:?} are no multiples"));
        // Rows are rounded.
        let apart = rows.iter().zip(rows.iter().skip(1)).map(|(upper, lower)| lower - upper).min();
        assert!(apart.is_none_or(|apart| i64::from(apart) + 1 >= ROWS_APART), "{name}: {rows:?}");
        labels += rows.len();
        let [.., before, last] = theirs.prices[..] else { continue };
        let their_step = last - before;
        let ratio = step as f64 / their_step;
        let exact = step as f64 * f64::from(axis.bottom - axis.top) / (axis.high - axis.low) as f64;
        if (ratio - 1.0).abs() < 1e-6 {
            same += 1;
            // Theirs leave out the ends of the axis itself.
            let their_rows: BTreeSet<_> =
                theirs.prices.iter().map(|price| row(axis, price.round() as i128)).collect();
            let inner = |rows: &BTreeSet<i32>| -> BTreeSet<i32> {
                rows.iter().copied().filter(|row| (axis.top + 1..axis.bottom).contains(row)).collect()
            };
            assert_eq!(inner(rows), inner(&their_rows), "{name}");
        } else if leading(their_step) == 4.0 {
            fours += 1;
            assert!((ratio - 1.25).abs() < 1e-6, "{name}: {step}, theirs {their_step}");
        } else if (ratio - 0.5).abs() < 1e-6 && exact < ROWS_APART as f64 {
            thinned += 1;
            assert!(exact > ROWS_APART as f64 - 1.0, "{name}: {exact} rows");
        } else if leading(step as f64) == 2.5 && their_step < ours.unit as f64 {
            quarters += 1;
            assert!((ratio - 0.5).abs() < 1e-6, "{name}: {step}, theirs {their_step}");
        } else {
            // Their step is not of whole ticks.
            parts += 1;
            let ticks = their_step / *tick as f64;
            assert!((ticks - ticks.round()).abs() > 1e-3, "{name}: {step}, theirs {their_step}");
            assert!((1.0..=2.5).contains(&ratio), "{name}: {step}, theirs {their_step}");
        }
    }
    println!("{} price axes, {labels} labels: {same} steps are theirs", charts.len());
    println!(
        "{fours} are 5 for their 4, {quarters} are 2.5 for their 5, {parts} are whole ticks for their parts"
    );
    assert!(same > 3 * (fours + quarters + parts + thinned), "most are shared");
}

/// The units of time that both know, from the lightest.
const SHARED: [&str; 11] = [
    "second",
    "minute",
    "5 minutes",
    "30 minutes",
    "hour",
    "3 hours",
    "6 hours",
    "12 hours",
    "day",
    "month",
    "year",
];

/// The heaviest unit of [`SHARED`] that changed, in UTC; 0 for none.
fn weight(before_ms: i64, ms: i64) -> usize {
    let at =
        |ms: i64| -> DateTime { Timestamp::from_millisecond(ms).unwrap().to_zoned(TimeZone::UTC).datetime() };
    let (before, now) = (at(before_ms), at(ms));
    let seconds = [1, 60, 300, 1_800, 3_600, 3 * 3_600, 6 * 3_600, 12 * 3_600];
    let below_day = |before: i64, now: i64| {
        seconds
            .iter()
            .rposition(|len| before.div_euclid(len * 1_000) != now.div_euclid(len * 1_000))
            .map_or(0, |place| place + 1)
    };
    match () {
        () if before.year() != now.year() => 11,
        () if before.month() != now.month() => 10,
        () if before.day() != now.day() => 9,
        () => below_day(before_ms, ms),
    }
}

/// Whether a bar begins one of the units that only we know.
fn begins_own_unit(before_ms: i64, ms: i64) -> bool {
    let at =
        |ms: i64| -> DateTime { Timestamp::from_millisecond(ms).unwrap().to_zoned(TimeZone::UTC).datetime() };
    let (before, now) = (at(before_ms), at(ms));
    let quarter_month = |time: &DateTime| (time.year(), time.month(), (i32::from(time.day() - 1) / 7).min(3));
    let quarter_year = |time: &DateTime| (time.year(), (time.month() - 1) / 3);
    let seconds = [5, 15, 30, 15 * 60];
    seconds.iter().any(|len| before_ms.div_euclid(len * 1_000) != ms.div_euclid(len * 1_000))
        || quarter_month(&before) != quarter_month(&now)
        || quarter_year(&before) != quarter_year(&now)
}

#[test]
fn time_labels_are_lightweight_charts_where_units_have_room() {
    let Some(packages) = packages() else {
        return println!("skipped: axes against lightweight-charts (no lightweight-charts)");
    };
    let charts = asked(&packages);
    let (mut shared, mut own, mut lighter, mut labels) = (0, 0, 0, 0);
    let mut by_unit = [0; SHARED.len() + 1];
    for (ours, theirs) in charts {
        let Shown { name, times_ms, columns, timeframe, spacing, .. } = ours;
        let apart = (COLUMNS_APART + spacing - 1) / spacing;
        for marks in [columns, &theirs.columns] {
            let least = marks.iter().zip(marks.iter().skip(1)).map(|(left, right)| right - left).min();
            assert!(least.is_none_or(|least| least as i64 >= apart), "{name}: {marks:?} are {apart} apart");
        }
        let before = |column: usize| match column {
            0 => timeframe.open_ms(times_ms[0] - 1),
            _ => times_ms[column - 1],
        };
        // The first bar's weight is a guess of theirs: they know of none before it.
        let weights: Vec<_> =
            (0..times_ms.len()).map(|column| weight(before(column), times_ms[column])).collect();
        let at_least = |least: usize| -> Vec<usize> {
            (1..weights.len()).filter(|column| weights[*column] >= least).collect()
        };
        // The lightest unit whose marks, and all heavier ones, are far enough apart.
        let has_room =
            |least: &usize| at_least(*least).windows(2).all(|pair| (pair[1] - pair[0]) as i64 >= apart);
        let room = (1..=SHARED.len() + 1).find(has_room).unwrap();
        let first = |marks: &BTreeSet<usize>| marks.contains(&0);
        for (who, marks) in [("ours", columns), ("theirs", &theirs.columns)] {
            // A first bar that has a label keeps others away.
            let near_first = |column: &usize| first(marks) && (*column as i64) < apart;
            for column in at_least(room).into_iter().filter(|column| !near_first(column)) {
                assert!(
                    marks.contains(&column),
                    "{name}: no {} at {column} in {who}",
                    SHARED[weights[column] - 1]
                );
                if who == "ours" {
                    by_unit[weights[column]] += 1;
                    shared += 1;
                }
            }
        }
        // Of the lighter units we take only what we know better, or a few days and months that do not fit all.
        for column in columns.iter().copied().filter(|column| *column > 0 && weights[*column] < room) {
            let is_own = begins_own_unit(before(column), times_ms[column]);
            assert!(
                is_own || weights[column] >= 9,
                "{name}: {} at {column}",
                SHARED[weights[column].max(1) - 1]
            );
            own += 1;
        }
        lighter += theirs.columns.iter().filter(|column| **column > 0 && weights[**column] < room).count();
        labels += columns.len();
        // Nobody is left without labels where they have some.
        assert!(!columns.is_empty() || theirs.columns.len() <= 1, "{name}: theirs {:?}", theirs.columns);
    }
    println!(
        "{} time axes, {labels} labels of ours: {shared} also lightweight-charts', {own} of our own units, {lighter} of its lighter ones",
        charts.len()
    );
    println!("shared by unit: {:?}", SHARED.iter().zip(&by_unit[1..]).collect::<Vec<_>>());
    assert!(shared > own && by_unit[1..].iter().filter(|count| **count > 0).count() >= 9, "{by_unit:?}");
}
