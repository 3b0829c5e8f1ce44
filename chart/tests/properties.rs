//! What holds for every sequence of updates and for every input.

mod common;

use chart::scene::{Layer, Paint};
use chart::{Chart, Rect, Settings, Theme};
use common::{START_MS, bar, drawn, settings, walk};
use jiff::tz::TimeZone;
use market::{Candle, CandleState, Ohlc, Timeframe};
use proptest::prelude::*;

/// Something that happens to a chart.
#[derive(Debug, Clone)]
enum Event {
    /// The newest bar trades at a price this far from its close.
    Tick(i64),
    /// A new bar opens, of this state.
    Open(CandleState),
    /// Prices leave the range.
    Jump(i64),
    /// An old bar is amended.
    Amend(usize, i64),
    /// More decimal places appear.
    Finer,
    /// History is loaded, or lost.
    Reload(usize),
}

fn event() -> impl Strategy<Value = Event> {
    use CandleState::{Gap, Partial, Quiet, Traded};
    prop_oneof![
        6 => (-300..300i64).prop_map(Event::Tick),
        3 => prop::sample::select(vec![Traded, Traded, Quiet, Gap, Partial]).prop_map(Event::Open),
        1 => (-300_000..300_000i64).prop_map(Event::Jump),
        1 => (0..200usize, -500..500i64).prop_map(|(bar, by)| Event::Amend(bar, by)),
        1 => Just(Event::Finer),
        1 => (0..120usize).prop_map(Event::Reload),
    ]
}

/// A trade at `price` in `bar`.
fn trade(bar: &mut Candle, price: i64) {
    let ohlc = bar.ohlc.get_or_insert(Ohlc::flat(price));
    (ohlc.high, ohlc.low, ohlc.close) = (ohlc.high.max(price), ohlc.low.min(price), price);
    bar.volume += 12_345;
    bar.trades += 1;
    if bar.state == CandleState::Quiet {
        bar.state = CandleState::Traded;
    }
}

fn happen(bars: &mut Vec<Candle>, event: &Event) {
    let price = bars.iter().rev().find_map(Candle::close).unwrap_or(6_000_000);
    match *event {
        Event::Tick(by) => {
            if let Some(last) = bars.last_mut() {
                trade(last, price + by * 100);
            }
        }
        Event::Open(state) => {
            let open_ms = bars.last().map_or(START_MS, |last| last.open_ms + 60_000);
            bars.push(Candle::empty(open_ms, state, Some(price)));
        }
        Event::Jump(by) => {
            if let Some(last) = bars.last_mut() {
                trade(last, (price + by * 100).max(0));
            }
        }
        Event::Amend(at, by) => {
            let count = bars.len().max(1);
            if let Some(old) = bars.get_mut(at % count) {
                trade(old, price + by);
            }
        }
        Event::Finer => {
            if let Some(last) = bars.last_mut() {
                trade(last, price / 10 * 10 + 7);
            }
        }
        Event::Reload(count) => *bars = walk(count, 99),
    }
}

proptest! {
    // A failure prints its input; there is no file of seeds to keep.
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// The key property: drawing damage alone gives the whole picture, and damage tells all that changed.
    #[test]
    fn a_picture_kept_up_to_date_equals_one_drawn_anew(
        size in prop::sample::select(vec![(320u32, 200u32), (480, 270), (90, 70), (700, 120)]),
        light in any::<bool>(),
        events in prop::collection::vec(event(), 1..40),
    ) {
        let theme = if light { Theme::Light } else { Theme::Dark };
        let mut chart = Chart::new(settings(size.0, size.1, theme)).unwrap();
        let mut bars = walk(30, 5);
        for event in events {
            happen(&mut bars, &event);
            let before = chart.frame().clone();
            let damage = *chart.update(&bars);
            prop_assert!(chart.frame() == &drawn(chart.scene()), "differs after {:?}", event);
            for (index, (old, new)) in before.pixels().iter().zip(chart.frame().pixels()).enumerate() {
                let (x, y) = ((index % size.0 as usize) as i32, (index / size.0 as usize) as i32);
                let declared = damage.rects().iter().any(|rect| {
                    (i32::from(rect.x)..rect.right()).contains(&x) && (i32::from(rect.y)..rect.bottom()).contains(&y)
                });
                prop_assert!(declared || old == new, "{},{} changed unannounced after {:?}", x, y, event);
            }
            prop_assert!(chart.update(&bars).is_empty(), "nothing changed, so nothing is damaged");
        }
    }

    /// Candles are apart from each other, symmetric, and their wicks end where their bodies begin.
    #[test]
    fn candles_have_their_shape(
        width in 60..2500u32,
        height in 40..2300u32,
        seed in 1..u64::MAX,
    ) {
        let mut chart = Chart::new(settings(width, height, Theme::Dark)).unwrap();
        chart.update(&walk(300, seed));
        let shapes: Vec<_> = chart.scene().layer(Layer::Series).to_vec();
        let body = shapes.iter().map(|shape| shape.area.w).max().unwrap_or(0);
        for (index, shape) in shapes.iter().enumerate() {
            for other in &shapes[..index] {
                prop_assert!(shape.area.intersect(&other.area).is_empty(), "{:?} over {:?}", shape, other);
            }
        }
        let whole = |area: &&Rect| area.w == body;
        let areas: Vec<_> = shapes.iter().map(|shape| shape.area).collect();
        for wick in areas.iter().filter(|area| area.w < body && area.x > body) {
            let own = areas.iter().filter(whole).find(|body| body.x <= wick.x && wick.right() <= body.right());
            let own = own.expect("a wick belongs to a body");
            prop_assert_eq!(wick.x - own.x, (own.right() - wick.right()) as u16);
        }
    }

    /// Labels on an axis never touch one another.
    #[test]
    fn labels_do_not_overlap(
        (width, height) in (320..2000u32, 200..1100u32),
        price_digits in 0..=10u8,
        factor in prop::sample::select(vec![1i64, 7, 1_000, 123_457]),
        timeframe in prop::sample::select(Timeframe::ALL.to_vec()),
        seed in 1..u64::MAX,
    ) {
        let mut settings = settings(width, height, Theme::Dark);
        (settings.price_digits, settings.timeframe) = (price_digits, timeframe);
        let mut bars = walk(250, seed);
        let mut open_ms = timeframe.open_ms(START_MS);
        for bar in &mut bars {
            bar.open_ms = open_ms;
            open_ms = timeframe.end_ms(open_ms);
            let ohlc = bar.ohlc.as_mut().unwrap();
            for price in [&mut ohlc.open, &mut ohlc.high, &mut ohlc.low, &mut ohlc.close] {
                *price *= factor;
            }
        }
        let mut chart = Chart::new(settings).unwrap();
        chart.update(&bars);
        let glyphs: Vec<_> = [Layer::Axes, Layer::Ticks, Layer::Price]
            .into_iter()
            .flat_map(|layer| chart.scene().layer(layer))
            .filter(|shape| matches!(shape.paint, Paint::Glyph(_)))
            .map(|shape| shape.area)
            .collect();
        prop_assert!(glyphs.len() > 20);
        for (index, glyph) in glyphs.iter().enumerate() {
            for other in &glyphs[..index] {
                // Letters of one word may meet in a column.
                let both = glyph.intersect(other);
                prop_assert!(both.is_empty() || both.w == 1, "{:?} over {:?}", glyph, other);
            }
        }
    }

    /// No size, scale, price, time or volume makes a chart panic.
    #[test]
    fn nothing_panics(
        (width, height) in prop_oneof![
            4 => (1..600u32, 1..400u32),
            1 => (1..4u32, 1..=8192u32),
            1 => (1..=8192u32, 1..4u32),
        ],
        price_digits in 0..=18u8,
        qty_digits in 0..=18u8,
        timeframe in prop::sample::select(Timeframe::ALL.to_vec()),
        title in ".{0,40}",
        bars in prop::collection::vec(any_bar(), 0..60),
    ) {
        let title = title.clone();
        let time_zone = TimeZone::get("America/New_York").unwrap();
        let (history, look) = (100, chart::Look::default());
        let settings = Settings {
            width, height, theme: Theme::Dark, time_zone, title, timeframe, price_digits, qty_digits, history, look,
        };
        let mut chart = Chart::new(settings).unwrap();
        prop_assert!(chart.visible_bars() >= 1);
        chart.update(&bars);
        prop_assert!(chart.frame() == &drawn(chart.scene()));
    }
}

fn any_bar() -> impl Strategy<Value = Candle> {
    let price = || prop_oneof![Just(1), Just(i64::MAX), Just(i64::MIN), Just(0), any::<i64>(), 100..200i64];
    let state = prop::sample::select(vec![
        CandleState::Quiet,
        CandleState::Traded,
        CandleState::Partial,
        CandleState::Gap,
    ]);
    let ohlc = prop::option::of((price(), price(), price(), price()));
    let volume = prop_oneof![Just(0), Just(i128::MAX), Just(i128::MIN), any::<i128>(), 0..1000i128];
    let open_ms = prop_oneof![any::<i64>(), START_MS..START_MS + 100_000_000, Just(i64::MIN), Just(i64::MAX)];
    (open_ms, state, ohlc, volume).prop_map(|(open_ms, state, ohlc, volume)| {
        let ohlc = ohlc.map(|(open, high, low, close)| Ohlc { open, high, low, close });
        Candle { ohlc, volume, ..Candle::empty(open_ms, state, None) }
    })
}

#[test]
fn the_largest_and_the_smallest_frames_work() {
    for (width, height) in [(1, 1), (8192, 8192), (8192, 1), (1, 8192), (40, 8192)] {
        let mut chart = Chart::new(settings(width, height, Theme::Dark)).unwrap();
        chart.update(&walk(2000, 1));
        assert!(chart.frame() == &drawn(chart.scene()));
    }
}

#[test]
fn settings_out_of_range_are_errors() {
    for (width, height) in [(0, 100), (100, 0), (8193, 100), (100, 8193), (u32::MAX, u32::MAX)] {
        let error = Chart::new(settings(width, height, Theme::Dark)).unwrap_err();
        assert!(error.to_string().starts_with("a chart cannot be"));
    }
    let error = Chart::new(Settings { qty_digits: 19, ..settings(100, 100, Theme::Dark) }).unwrap_err();
    assert_eq!(error, chart::ChartError::Digits(19));
}

#[test]
fn a_tick_damages_little() {
    let mut chart = Chart::new(settings(1920, 1080, Theme::Dark)).unwrap();
    let mut bars = walk(300, 5);
    chart.update(&bars);
    let last = bars.last_mut().unwrap();
    let inside = last.ohlc.unwrap();
    trade(last, (inside.high + inside.low) / 2);
    let damage = chart.update(&bars);
    assert!(!damage.is_empty());
    assert!(damage.area() < 1920 * 1080 / 40, "{} pixels in {:?}", damage.area(), damage.rects());
}

#[test]
fn a_bar_without_a_price_is_hatched_and_nothing_else() {
    let mut bars = walk(20, 5);
    let mut chart = Chart::new(settings(480, 270, Theme::Dark)).unwrap();
    chart.update(&bars);
    let hatched = |chart: &Chart| {
        let background = chart.scene().layer(Layer::Grid).iter();
        background
            .filter(|shape| matches!(shape.paint, Paint::Hatch { .. }))
            .map(|shape| shape.area)
            .collect::<Vec<_>>()
    };
    assert!(hatched(&chart).is_empty());
    bars[10] = Candle::empty(bars[10].open_ms, CandleState::Gap, None);
    bars[12] = bar(bars[12].open_ms, CandleState::Gap, bars[12].ohlc.unwrap(), 5);
    chart.update(&bars);
    let holes = hatched(&chart);
    assert_eq!(holes.len(), 2);
    let drawn_in = |hole: Rect| {
        let series = chart.scene().layer(Layer::Series).iter();
        series.filter(|shape| shape.area.x < hole.x + hole.w && hole.x < shape.area.x + shape.area.w).count()
    };
    assert_eq!(drawn_in(holes[0]), 0);
    assert!(drawn_in(holes[1]) > 0, "a gap with trades shows them");
}
