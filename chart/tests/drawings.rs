//! Candles and axes of recorded bars against drawings by others: one with Pillow that follows what is written about
//! candles, pixel by pixel, and mplfinance's, whose boxes may differ by a pixel.

mod common;

use chart::scene::{Layer, Paint, Shape};
use chart::{Chart, Color, Colors, Look, Rect, Right, Settings, Theme, View, Zoom};
use common::probe::{self, Axis, axis, extent, pixel, program, shown};
use common::recorded::{self, ADA, BITCOIN, EURO, File};
use common::{drawn, settings};
use market::{Candle, Ohlc};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const UP: Color = Color(0x00_ff00);
const DOWN: Color = Color(0xff_0000);

/// A chart of candles and nothing else in their colours, as large as `size`, magnified `scale` times.
fn chart(file: &File, (width, height): (u32, u32), scale: u8, bars: &[Candle]) -> Chart {
    let colors = Colors { up: Some(UP), down: Some(DOWN), ..Colors::default() };
    let look = Look { magnify: Some(scale), colors, ..Look::default() };
    let mut chart = Chart::new(Settings {
        price_digits: file.price_digits,
        timeframe: file.timeframe,
        history: 50_000,
        look,
        ..settings(width, height, Theme::Dark)
    })
    .unwrap();
    chart.load(0, bars);
    chart.draw();
    chart
}

/// The shapes of candles: those in their colours, and above the volume.
fn candles(chart: &Chart) -> Vec<Shape> {
    let layers = [Layer::Series, Layer::Last].map(|layer| chart.scene().layer(layer));
    let own = |shape: &&Shape| [UP, DOWN].map(pixel).contains(&shape.color);
    let shapes: Vec<_> = layers.into_iter().flatten().filter(own).copied().collect();
    assert!(shapes.iter().all(|shape| shape.paint == Paint::Solid));
    shapes
}

/// 1 for each pixel of a rising candle, 2 for each of a falling one, else 0.
fn picture(chart: &Chart) -> Vec<u8> {
    let width = chart.frame().width() as usize;
    let mut pixels = vec![0; width * chart.frame().height() as usize];
    for shape in candles(chart) {
        let area = shape.area;
        for y in usize::from(area.y)..area.bottom() as usize {
            let kind = if shape.color == pixel(UP) { 1 } else { 2 };
            pixels[y * width + usize::from(area.x)..y * width + area.right() as usize].fill(kind);
        }
    }
    pixels
}

/// That the frame has these pixels wherever nothing lies above candles.
fn frame_has(chart: &Chart, picture: &[u8]) {
    let width = chart.frame().width() as usize;
    let above = [Layer::Marks, Layer::Price, Layer::Legend, Layer::Pointer];
    let mut covered = vec![false; picture.len()];
    for area in above.into_iter().flat_map(|layer| chart.scene().layer(layer)).map(|shape| shape.area) {
        for y in usize::from(area.y)..area.bottom() as usize {
            covered[y * width + usize::from(area.x)..y * width + area.right() as usize].fill(true);
        }
    }
    let seen = covered.iter().filter(|covered| !**covered).count();
    assert!(seen * 2 > covered.len(), "most of the picture is candles' ground");
    for (place, pixel_is) in chart.frame().pixels().iter().enumerate().filter(|(place, _)| !covered[*place]) {
        let kind = [pixel(UP), pixel(DOWN)].iter().position(|color| color == pixel_is);
        let expected = usize::from(picture[place]).checked_sub(1);
        assert_eq!(kind, expected, "at {},{}", place % width, place / width);
    }
}

/// A picture to be drawn by others: what they are told of it, and how it was drawn here.
struct Case {
    name: String,
    numbers: String,
    picture: Vec<u8>,
    boxes: Vec<Whole>,
}

/// The boxes of a candle.
#[derive(Debug, Clone, Copy)]
struct Whole {
    body: Rect,
    all: Rect,
    rises: bool,
}

/// The candles by the bar they are of, oldest first.
fn boxes(chart: &Chart, newest: i32, step: i32, count: usize) -> Vec<Whole> {
    let mut parts = vec![Vec::new(); count];
    for shape in candles(chart) {
        let middle = i32::from(shape.area.x) + i32::from(shape.area.w) / 2;
        let back = (newest - middle + step / 2).div_euclid(step) as usize;
        parts[count - 1 - back].push(shape);
    }
    let whole = |parts: &Vec<Shape>| {
        // A body is drawn last, over nothing.
        let body = parts.last().expect("every bar is drawn");
        let all = parts.iter().fold(body.area, |all, part| all.union(&part.area));
        Whole { body: body.area, all, rises: body.color == pixel(UP) }
    };
    parts.iter().map(whole).collect()
}

/// The charts that are compared: files, sizes, widths of bars and scales, followed and panned.
fn cases() -> Option<Vec<Case>> {
    let mut cases = Vec::new();
    for (file, from) in [(BITCOIN, 12_000u64), (BITCOIN, 45_030), (EURO, 2_500), (EURO, 4_999), (ADA, 9)] {
        let bars = recorded::read(&file)?;
        for (size, scale) in [((640, 360), 1u8), ((1_280, 720), 1), ((1_600, 900), 2), ((900, 700), 3)] {
            for width in [1, 2, 3, 4, 5, 6, 8, 12, 16, 32, 80, 200] {
                let mut chart = chart(&file, size, scale, &bars);
                let right = if from + 1 == bars.len() as u64 { Right::Newest } else { Right::Bar(from) };
                chart.set_view(View { zoom: Zoom::Wide(width), right });
                chart.draw();
                let name = format!("{} {size:?} ×{scale}, {width} wide, to {from}", file.name);
                cases.extend(case(name, &mut chart, scale, width));
            }
        }
    }
    Some(cases)
}

fn case(name: String, chart: &mut Chart, scale: u8, spacing: u16) -> Option<Case> {
    let axis = axis(chart);
    let bars = shown(chart).to_vec();
    let (low, high) = extent(&bars);
    assert!(axis.low < low && high < axis.high, "{name}");
    // An axis of few ticks has at least one of room, and a least height.
    assert!(fits(&axis, (low, high)) || high - low < 13, "{name}");
    let picture = picture(chart);
    frame_has(chart, &picture);
    assert!(chart.frame() == &drawn(chart.scene()));
    // The middle of the newest bar is all that is told of where bars are.
    let newest = candles(chart).last().unwrap().area;
    let x = i32::from(newest.x) + i32::from(newest.w) / 2;
    let frame = chart.frame();
    let mut numbers = String::new();
    let Axis { top, bottom, low, high } = axis;
    let size = format!("{} {}", frame.width(), frame.height());
    let count = bars.len();
    writeln!(numbers, "{size} {scale} {spacing} {x} {top} {bottom} {low} {high} {count}").unwrap();
    for Ohlc { open, high, low, close } in bars.iter().filter_map(|bar| bar.ohlc) {
        writeln!(numbers, "{open} {high} {low} {close}").unwrap();
    }
    let boxes = boxes(chart, x, i32::from(spacing) * i32::from(scale), count);
    Some(Case { name, numbers, picture, boxes })
}

/// A new range has 8 % above and below its bars.
fn check_headroom(name: &str, axis: &Axis, (low, high): (i64, i64)) {
    let span = high - low;
    for room in [axis.high - high, low - axis.low] {
        assert!((room * 100 - 8 * span).abs() <= 100, "{name}: {room} of {span}");
    }
}

/// Whether a range that there was is kept.
fn fits(axis: &Axis, (low, high): (i64, i64)) -> bool {
    let kept = 2 * (high - low)..=18 * (high - low);
    kept.contains(&(100 * (axis.high - high))) && kept.contains(&(100 * (low - axis.low)))
}

/// The Python that `cargo xtask test` prepares, if it has this module.
fn python(module: &str) -> Option<PathBuf> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python/bin/python");
    let has_it = Command::new(&python).args(["-c", &format!("import {module}")]).output();
    has_it.is_ok_and(|output| output.status.success()).then_some(python)
}

#[test]
fn candles_are_what_pillow_draws_from_the_written_rules() {
    let Some(cases) = cases() else { return println!("skipped: no recorded data") };
    let Some(python) = python("numpy, PIL") else {
        return println!("skipped: pictures against Pillow (no Pillow)");
    };
    let theirs = probe::output_of(
        Command::new(&python).arg(program("with_pillow.py")),
        cases.iter().map(|case| &*case.numbers).collect(),
    );
    let mut theirs = &theirs[..];
    let mut painted = 0;
    for Case { name, picture, numbers, .. } in &cases {
        let (expected, rest) = theirs.split_at(picture.len());
        theirs = rest;
        painted += expected.iter().filter(|kind| **kind > 0).count();
        let width: usize = numbers.split(' ').next().unwrap().parse().unwrap();
        let differs = expected.iter().zip(picture).position(|(theirs, ours)| theirs != ours);
        let differs = differs.map(|place| (place % width, place / width, picture[place], expected[place]));
        assert_eq!(differs, None, "{name}: column, row, ours, Pillow's");
    }
    assert!(theirs.is_empty());
    println!("{} pictures with {painted} pixels of candles are Pillow's", cases.len());
}

#[test]
fn candles_are_within_a_pixel_of_mplfinances() {
    let Some(cases) = cases() else { return println!("skipped: no recorded data") };
    let Some(python) = python("mplfinance, pandas") else {
        return println!("skipped: charts against mplfinance (no mplfinance)");
    };
    // It takes a second for each picture: one of each width, of all files.
    let cases: Vec<_> = cases.into_iter().step_by(7).collect();
    let theirs = probe::output_of(
        Command::new(&python).arg(program("with_mplfinance.py")),
        cases.iter().map(|case| &*case.numbers).collect(),
    );
    let theirs = String::from_utf8(theirs).unwrap();
    let mut theirs = theirs.lines();
    let (mut worst, mut count) = (0f64, 0);
    for Case { name, boxes, .. } in &cases {
        for (index, Whole { body, all, rises }) in boxes.iter().enumerate() {
            let line = theirs.next().unwrap();
            let numbers: Vec<f64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
            let [left, top, right, bottom, middle, high, low, rose] = numbers[..] else { panic!("{line}") };
            let [x, y, w, h] = [body.x, body.y, body.w, body.h].map(f64::from);
            let [all_y, all_h] = [all.y, all.h].map(f64::from);
            // A row stands for the price in its middle; it is off by half a row where the price lies between two.
            let pairs = [
                ("left", x, left, 1.0),
                ("right", x + w, right, 1.0),
                ("middle", x + w / 2.0, middle, 1.0),
                ("top", y + 0.5, top, 0.501),
                ("bottom", y + h - 0.5, bottom, 0.501),
                ("high", all_y + 0.5, high, 0.501),
                ("low", all_y + all_h - 0.5, low, 0.501),
            ];
            for (edge, ours, theirs, most) in pairs {
                assert!((ours - theirs).abs() <= most, "{name}: {edge} of bar {index}: {ours}, {theirs}");
                worst = worst.max((ours - theirs).abs());
            }
            // A bar that did not move is neither.
            assert!(*rises == (rose == 1.0) || bottom - top < 1e-6, "{name}: colour of bar {index}");
            count += 1;
        }
    }
    assert!(theirs.next().is_none());
    println!("{} pictures of {count} candles are mplfinance's to within {worst:.2} pixels", cases.len());
}

/// A range is kept while 2 to 18 % are free above and below, and never shows less; a new one has 8 %.
#[test]
fn an_axis_has_its_headroom() {
    for (file, bars) in [BITCOIN, EURO, ADA].map(|file| (file, recorded::read(&file))) {
        let Some(bars) = bars else { return println!("skipped: no recorded data") };
        let mut chart = chart(&file, (480, 270), 1, &bars[..5]);
        let mut kept = axis(&mut chart);
        let (mut changes, mut keeps) = (0, 0);
        for bar in bars.iter().skip(5).take(1_500) {
            chart.push(*bar);
            chart.draw();
            let now = axis(&mut chart);
            let extent = extent(shown(&chart));
            if fits(&kept, extent) {
                keeps += 1;
                assert_eq!((now.low, now.high), (kept.low, kept.high), "kept while it fits");
            } else {
                changes += 1;
                check_headroom(file.name, &now, extent);
            }
            kept = now;
        }
        println!("{}: {changes} ranges, kept {keeps} times", file.name);
        assert!(keeps > changes || file.count < 100);
    }
}
