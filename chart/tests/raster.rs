//! Every kernel draws charts as the specification does: whole pictures, and streams of updates by their damage.

mod common;

use chart::raster::{Kernel, Rasteriser};
use chart::{Chart, Frame, Rect, Settings, Theme};
use common::{Random, doubtful_walk, drawn, settings, walk};
use market::{Candle, CandleState, Ohlc};
use proptest::prelude::*;

/// A trade, a new bar, or an amended one.
fn step(bars: &mut Vec<Candle>, random: &mut Random) {
    let close = bars.iter().rev().find_map(Candle::close).unwrap_or(6_000_000);
    let price = close + random.below(3_001) - 1_500;
    if random.below(4) == 0 {
        let state = [CandleState::Quiet, CandleState::Gap, CandleState::Partial][random.below(3) as usize];
        let open_ms = bars.last().map_or(common::START_MS, |last| last.open_ms + 60_000);
        return bars.push(Candle::empty(open_ms, state, Some(close)));
    }
    let at = if random.below(5) == 0 { random.below(bars.len() as u64) as usize } else { bars.len() - 1 };
    let bar = &mut bars[at];
    let ohlc = bar.ohlc.get_or_insert(Ohlc::flat(price));
    (ohlc.high, ohlc.low, ohlc.close) = (ohlc.high.max(price), ohlc.low.min(price), price);
    bar.volume += random.below(900_000) as i128;
}

/// Every kernel with a frame of its own.
fn rasterisers(width: u32, height: u32) -> Vec<(Rasteriser, Frame)> {
    let new = |kernel| (Rasteriser::new(kernel), Frame::new(width, height).unwrap());
    Kernel::available().map(new).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// What each kernel keeps up to date by damage alone is the picture.
    #[test]
    fn streams_of_updates_are_drawn_alike(
        (width, height) in prop_oneof![
            Just((480u32, 270u32)), Just((701, 399)), Just((90, 70)), (1..1000u32, 1..500u32)
        ],
        (seed, light) in (1..u64::MAX, any::<bool>()),
        steps in 1..40usize,
    ) {
        let theme = if light { Theme::Light } else { Theme::Dark };
        let mut chart = Chart::new(settings(width, height, theme)).unwrap();
        let mut kernels = rasterisers(width, height);
        let (mut random, mut bars) = (Random(seed), walk(60, seed));
        let mut damage = vec![chart.frame().bounds()];
        for _ in 0..steps {
            for (rasteriser, frame) in &mut kernels {
                rasteriser.draw(chart.scene(), &damage, frame);
                prop_assert!(frame == chart.frame(), "{} differs", rasteriser.kernel().name());
            }
            step(&mut bars, &mut random);
            damage = chart.update(&bars).rects().to_vec();
        }
    }

    /// Where a picture is drawn tile by tile, in any order, it is the same picture.
    #[test]
    fn tiles_make_the_whole_picture(
        (width, height) in (1..900u32, 1..500u32),
        (columns, rows) in (7..200u16, 5..40u16),
        seed in 1..u64::MAX,
    ) {
        let mut chart = Chart::new(settings(width, height, Theme::Dark)).unwrap();
        chart.update(&doubtful_walk(80, seed));
        let mut random = Random(seed);
        let mut tiles: Vec<_> = (0..height as u16)
            .step_by(rows.into())
            .flat_map(|y| (0..width as u16).step_by(columns.into()).map(move |x| Rect::new(x, y, columns, rows)))
            .collect();
        for at in (1..tiles.len()).rev() {
            tiles.swap(at, random.below(at as u64 + 1) as usize);
        }
        for (mut rasteriser, mut frame) in rasterisers(width, height) {
            rasteriser.draw(chart.scene(), &tiles, &mut frame);
            prop_assert!(frame == drawn(chart.scene()), "{} differs", rasteriser.kernel().name());
        }
    }
}

#[test]
fn pictures_of_every_size_are_drawn_alike() {
    for (width, height) in [(1, 1), (1, 900), (900, 1), (8192, 33), (33, 8192), (1919, 1079), (3840, 2160)] {
        let themed =
            Settings { title: "ÅÄÖ … 12:45".to_owned(), ..settings(width, height, Theme::Light) };
        let mut chart = Chart::new(themed).unwrap();
        chart.update(&doubtful_walk(900, 3));
        for (mut rasteriser, mut frame) in rasterisers(width, height) {
            rasteriser.draw(chart.scene(), &[chart.scene().bounds()], &mut frame);
            assert!(frame == drawn(chart.scene()), "{} differs", rasteriser.kernel().name());
        }
    }
}
