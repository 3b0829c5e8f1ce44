//! A chart with a month of minute bars, at every zoom: what it draws of bars that share a pixel is exact, and how much it
//! draws follows from its size, not from how many bars there are.

mod common;

use chart::scene::{Layer, Paint, Shape};
use chart::{Changes, Chart, Color, Colors, Look, Right, SeriesKind, Settings, Theme, View, Zoom};
use common::probe::{self, Axis, pixel};
use common::recorded::{self, BITCOIN};
use common::{drawn, settings};
use market::{Candle, Ohlc};
use std::ops::RangeInclusive;

const UP: Color = Color(0x00_ff00);
const DOWN: Color = Color(0xff_0000);
const SIZE: (u32, u32) = (960, 540);

/// From bars as wide as they get to as many in a pixel as there may be.
fn zooms() -> Vec<Zoom> {
    let mut all = vec![Zoom::Wide(chart::MAX_WIDTH)];
    while let Some(next) = all.last().map(|zoom| zoom.stepped(-1)).filter(|next| Some(next) != all.last()) {
        all.push(next);
    }
    all
}

fn chart(kind: SeriesKind, bars: &[Candle]) -> Chart {
    let colors = Colors { up: Some(UP), down: Some(DOWN), ..Colors::default() };
    let look = Look { kind, colors, ..Look::default() };
    let mut chart = Chart::new(Settings {
        price_digits: BITCOIN.price_digits,
        history: bars.len().max(50_000),
        look,
        ..settings(SIZE.0, SIZE.1, Theme::Dark)
    })
    .unwrap();
    chart.load(0, bars);
    chart.draw();
    chart
}

/// How many bars share a column.
fn share(zoom: Zoom) -> u64 {
    match zoom {
        Zoom::Wide(_) => 1,
        Zoom::Dense(level) => 1 << level,
    }
}

/// The bars of the columns that are shown up to bar `right`: each column begins at a multiple of its length.
fn columns(chart: &Chart, right: u64) -> Vec<RangeInclusive<u64>> {
    let (share, count) = (share(chart.view().zoom), chart.visible_bars() as u64);
    let newest = right / share;
    let oldest = (newest + 1).saturating_sub(count / share);
    let end = chart.bars().len() as u64 - 1;
    (oldest..=newest).map(|column| column * share..=(column * share + share - 1).min(end)).collect()
}

/// Open, high, low and close of several bars, one after the other.
fn together(bars: &[Candle]) -> Ohlc {
    let prices = || bars.iter().filter_map(|bar| bar.ohlc);
    Ohlc {
        open: prices().next().unwrap().open,
        high: prices().map(|ohlc| ohlc.high).max().unwrap(),
        low: prices().map(|ohlc| ohlc.low).min().unwrap(),
        close: prices().next_back().unwrap().close,
    }
}

fn row(axis: &Axis, price: i64) -> i32 {
    let (below, span) = (i128::from(axis.high - price), i128::from(axis.high - axis.low));
    axis.top + ((2 * below * i128::from(axis.bottom - axis.top) + span) / (2 * span)) as i32
}

/// The strokes of the price pane, from left to right.
fn strokes(chart: &Chart) -> Vec<Shape> {
    let layers = [Layer::Series, Layer::Last].map(|layer| chart.scene().layer(layer));
    let own = |shape: &&Shape| [UP, DOWN].map(pixel).contains(&shape.color);
    layers.into_iter().flatten().filter(own).copied().collect()
}

#[test]
fn every_column_spans_exactly_its_bars() {
    let Some(bars) = recorded::read(&BITCOIN) else { return println!("skipped: no recorded data") };
    for kind in [SeriesKind::Candles, SeriesKind::Line] {
        let mut chart = chart(kind, &bars);
        for zoom in zooms().into_iter().filter(|zoom| matches!(zoom, Zoom::Dense(_))) {
            for right in [Right::Newest, Right::Bar(30_001), Right::Bar(4_095), Right::Bar(777)] {
                chart.set_view(View { zoom, right });
                chart.draw();
                let last = match right {
                    Right::Newest => bars.len() as u64 - 1,
                    Right::Bar(number) => number,
                };
                let columns = columns(&chart, last);
                let strokes = strokes(&chart);
                assert_eq!(strokes.len(), columns.len(), "{zoom:?} {right:?}");
                let axis = probe::axis_over(&mut chart, extent(&bars, &columns));
                for (stroke, numbers) in strokes.iter().zip(&columns) {
                    let of = &bars[*numbers.start() as usize..=*numbers.end() as usize];
                    let Ohlc { open, high, low, close } = together(of);
                    assert_eq!(stroke.paint, Paint::Solid);
                    assert_eq!(
                        (i32::from(stroke.area.y), stroke.area.bottom(), stroke.area.w),
                        (row(&axis, high), row(&axis, low) + 1, 1),
                        "{zoom:?} {right:?}: bars {numbers:?}"
                    );
                    assert_eq!(
                        stroke.color == pixel(UP),
                        close >= open,
                        "{zoom:?} {right:?}: bars {numbers:?}"
                    );
                }
                let places: Vec<_> = strokes.iter().map(|stroke| stroke.area.x).collect();
                assert!(places.windows(2).all(|pair| pair[1] == pair[0] + 1), "each column has its pixel");
            }
        }
    }
}

fn extent(bars: &[Candle], columns: &[RangeInclusive<u64>]) -> (i64, i64) {
    let (first, last) = (*columns[0].start() as usize, *columns[columns.len() - 1].end() as usize);
    let Ohlc { high, low, .. } = together(&bars[first..=last]);
    (low, high)
}

/// Copies what changed, as a reader does.
fn copy(pixels: &mut [u32], chart: &Chart, changes: &Changes) {
    changes.for_each_rect(|rect| {
        for y in usize::from(rect.y)..rect.bottom() as usize {
            let row = y * SIZE.0 as usize;
            let range = row + usize::from(rect.x)..row + rect.right() as usize;
            pixels[range.clone()].copy_from_slice(&chart.frame().pixels()[range]);
        }
    });
}

/// Something that happens to a chart, and the bar that it happens with.
type Change = fn(&mut Chart, &Candle);

/// At each zoom: ticks, new bars and a step of the view, drawn by what changed.
#[test]
fn what_changes_is_drawn_at_every_zoom() {
    let Some(bars) = recorded::read(&BITCOIN) else { return println!("skipped: no recorded data") };
    for kind in SeriesKind::ALL {
        let mut chart = chart(kind, &bars[..44_000]);
        let mut pixels = chart.frame().pixels().to_vec();
        let mut coming = bars[44_000..].iter();
        for zoom in zooms() {
            chart.set_view(View { zoom, right: Right::Newest });
            let changes: [Change; 5] = [
                |_, _| {},
                |chart, bar| chart.push(*bar),
                |chart, bar| chart.set_newest(*bar),
                |chart, bar| chart.amend(chart.end() - 2, *bar),
                |chart, _| chart.pan(-70),
            ];
            for change in changes {
                change(&mut chart, coming.next().unwrap());
                chart.draw();
                assert!(chart.frame() == &drawn(chart.scene()), "{kind} {zoom:?}");
                copy(&mut pixels, &chart, chart.changes());
                assert!(pixels == chart.frame().pixels(), "{kind} {zoom:?}");
                assert!(chart.draw().is_empty(), "{kind} {zoom:?}");
            }
        }
    }
}

/// Ten times the bars cost not one shape more, and no zoom more than a few shapes for each pixel across.
#[test]
fn work_is_bounded_by_the_pixels_shown() {
    let Some(bars) = recorded::read(&BITCOIN) else { return println!("skipped: no recorded data") };
    let many: Vec<Candle> = (0..450_310)
        .map(|number| Candle {
            open_ms: bars[0].open_ms + number * 60_000,
            ..bars[number as usize % bars.len()]
        })
        .collect();
    let shapes = |chart: &Chart| Layer::ALL.map(|layer| chart.scene().layer(layer).len());
    for kind in SeriesKind::ALL {
        let [mut few, mut many] = [&bars, &many].map(|bars| chart(kind, bars));
        let mut most = 0;
        let mut line = format!("{kind}:");
        for zoom in zooms() {
            for chart in [&mut few, &mut many] {
                chart.set_view(View { zoom, right: Right::Newest });
                chart.draw();
            }
            let [of_few, of_many] = [&few, &many].map(|chart| shapes(chart).iter().sum::<usize>());
            line += &format!(" {of_many}");
            most = most.max(of_many);
            // Ten times the bars fill ten times the columns only where they do not fill the picture yet.
            let are_all_shown = few.visible_bars() > bars.len();
            assert!(of_many <= of_few + 40 || are_all_shown, "{kind} {zoom:?}: {of_few}, {of_many}");
        }
        println!("{line} shapes, from the widest to the densest zoom");
        assert!(most < 8 * SIZE.0 as usize, "{kind}: {most} shapes");
    }
}
