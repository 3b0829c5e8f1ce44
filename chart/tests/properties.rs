//! What holds for every sequence of updates and for every input.

mod common;

use chart::scene::{Layer, Paint};
use chart::{Changes, Chart, DamageLog, Frame, Look, PriceScale, Rect, SeriesKind, Settings, Theme};
use common::steps::{Step, any_bar, any_settings, any_step, likely_step, traded};
use common::{START_MS, bar, drawn, settings, walk};
use jiff::tz::TimeZone;
use market::{Candle, CandleState, Ohlc, Timeframe};
use proptest::prelude::*;

/// What a reader holds who only ever copies what the chart says has changed.
struct Reader {
    size: (u32, u32),
    pixels: Vec<u32>,
}

impl Reader {
    fn of(frame: &Frame) -> Self {
        Self { size: (frame.width(), frame.height()), pixels: frame.pixels().to_vec() }
    }

    /// Copies these rectangles from the frame.
    fn copy(&mut self, frame: &Frame, changes: &Changes) {
        changes.for_each_rect(|rect| {
            for y in rect.y.into()..rect.bottom() as usize {
                let row = y * self.size.0 as usize;
                let range = row + usize::from(rect.x)..row + rect.right() as usize;
                self.pixels[range.clone()].copy_from_slice(&frame.pixels()[range]);
            }
        });
    }
}

/// The first pixel that differs between two pictures and lies in none of `rects`.
fn unannounced(old: &[u32], new: &Frame, rects: &[Rect]) -> Option<(usize, usize)> {
    let width = new.width() as usize;
    let mut announced = vec![false; old.len()];
    for rect in rects {
        for y in usize::from(rect.y)..rect.bottom() as usize {
            announced[y * width + usize::from(rect.x)..y * width + rect.right() as usize].fill(true);
        }
    }
    let place = (0..old.len()).find(|place| !announced[*place] && old[*place] != new.pixels()[*place]);
    place.map(|place| (place % width, place / width))
}

fn rects_of(changes: &Changes) -> Vec<Rect> {
    let mut rects = Vec::new();
    changes.for_each_rect(|rect| rects.push(rect));
    rects
}

/// Sizes at which a chart has all its parts, and some at which it has few.
fn small_settings() -> BoxedStrategy<Settings> {
    let sizes = prop::sample::select(vec![(320u32, 200u32), (480, 270), (90, 70), (420, 330), (700, 120)]);
    any_settings(sizes, Just((2, 5))).boxed()
}

proptest! {
    // A failure prints its input; there is no file of seeds to keep.
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// The key property: drawing damage alone gives the whole picture, and damage tells all that changed. A reader who
    /// copies only what changed has the whole picture too, also of a chart with other settings.
    #[test]
    fn a_picture_kept_up_to_date_equals_one_drawn_anew(
        settings in small_settings(),
        steps in prop::collection::vec(likely_step(small_settings()), 1..40),
    ) {
        let mut chart = Chart::new(settings).unwrap();
        chart.update(&walk(70, 5));
        let mut reader = Reader::of(chart.frame());
        for step in steps {
            step.apply(&mut chart);
            if reader.size != (chart.frame().width(), chart.frame().height()) {
                // A frame of another size is another memory: all of it must be said to have changed.
                reader = Reader::of(&Frame::new(chart.frame().width(), chart.frame().height()).unwrap());
            } else if matches!(step, Step::Update(_)) {
                reader.copy(chart.frame(), chart.changes());
            }
            let damage = *chart.draw();
            prop_assert!(chart.frame() == &drawn(chart.scene()), "differs after {:?}", step);
            let by_damage = unannounced(&reader.pixels, chart.frame(), damage.rects());
            prop_assert_eq!(by_damage, None, "changed outside of the damage of {:?}", step);
            let by_changes = unannounced(&reader.pixels, chart.frame(), &rects_of(chart.changes()));
            prop_assert_eq!(by_changes, None, "changed outside of the changes of {:?}", step);
            reader.copy(chart.frame(), chart.changes());
            prop_assert!(reader.pixels == chart.frame().pixels());
            prop_assert!(chart.draw().is_empty(), "nothing changed, so nothing is damaged after {:?}", step);
            prop_assert!(chart.changes().is_empty());
        }
    }

    /// A layer that is kept from an earlier picture is what laying it out anew would give: a twin gets all its bars
    /// again before every picture, and so keeps nothing but its ranges.
    #[test]
    fn kept_layers_are_current(
        settings in small_settings(),
        steps in prop::collection::vec(likely_step(small_settings()), 1..60),
    ) {
        // None may be forgotten: what indicators still know of them could not be given again.
        // A profile keeps the size of its bins, as axes keep their ranges, but a twin could not be told it.
        let keeping = |settings: &Settings| {
            let look = Look { volume_profile: false, ..settings.look.clone() };
            Settings { history: 2_000, look, ..settings.clone() }
        };
        let [mut chart, mut twin] = [0; 2].map(|_| Chart::new(keeping(&settings)).unwrap());
        let bars = walk(70, 5);
        bars.iter().for_each(|bar| chart.push(*bar));
        twin.load(0, &bars);
        for step in steps {
            let step = match step {
                Step::Restyle(settings) => Step::Restyle(Box::new(keeping(&settings))),
                Step::Update(_) => Step::Nothing,
                step => step,
            };
            for chart in [&mut chart, &mut twin] {
                step.apply(chart);
            }
            let bars = twin.bars().to_vec();
            twin.load(twin.end() - bars.len() as u64, &bars);
            chart.draw();
            twin.draw();
            prop_assert_eq!(chart.view(), twin.view());
            for layer in Layer::ALL {
                let (kept, anew) = (chart.scene().layer(layer), twin.scene().layer(layer));
                prop_assert!(kept == anew, "{:?} is stale after {:?}", layer, step);
            }
        }
    }

    /// Frames that lie in slots, written in turn, some of them held by readers for a while: whatever a slot held and
    /// however long ago, after copying what it missed it holds the newest picture.
    #[test]
    fn a_slot_that_catches_up_holds_the_newest_picture(
        slots in 2..=8usize,
        settings in small_settings(),
        steps in prop::collection::vec(
            (likely_step(small_settings()), any::<u8>(), prop::bool::weighted(0.1)),
            10..80,
        ),
    ) {
        let mut chart = Chart::new(settings).unwrap();
        chart.update(&walk(70, 5));
        let size = |chart: &Chart| (chart.frame().width(), chart.frame().height());
        let blank = |(width, height)| (None, Reader::of(&Frame::new(width, height).unwrap()));
        let mut log = DamageLog::new(size(&chart).0, size(&chart).1);
        let mut ring: Vec<(Option<u64>, Reader)> = (0..slots).map(|_| blank(size(&chart))).collect();
        let mut turn = 0;
        for (number, (step, pinned, unpublished)) in (1u64..).zip(steps) {
            if !matches!(step, Step::Update(_)) {
                step.apply(&mut chart);
            }
            chart.draw();
            if ring[0].1.size != size(&chart) {
                log = DamageLog::new(size(&chart).0, size(&chart).1);
                ring.iter_mut().for_each(|slot| *slot = blank(size(&chart)));
            }
            log.record(number, chart.changes());
            let free = (1..=slots).map(|step| (turn + step) % slots).find(|slot| pinned >> slot & 1 == 0);
            let Some(slot) = free.filter(|_| !unpublished) else { continue };
            turn = slot;
            let (held, reader) = &mut ring[slot];
            reader.copy(chart.frame(), log.since(*held));
            prop_assert!(
                reader.pixels == drawn(chart.scene()).pixels(),
                "slot {} of {}, which held frame {:?}, has not caught up with frame {}",
                slot, slots, held, number
            );
            *held = Some(number);
        }
    }

    /// Every function, in any order, with any arguments.
    #[test]
    fn no_order_of_calls_panics(
        settings in tiny_settings(),
        steps in prop::collection::vec(any_step(tiny_settings()), 1..40),
    ) {
        let mut chart = Chart::new(settings).unwrap();
        for step in steps {
            step.apply(&mut chart);
            chart.draw();
            prop_assert!(chart.visible_bars() >= 1);
            prop_assert!(chart.frame() == &drawn(chart.scene()), "differs after {:?}", step);
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

/// Any settings of a small chart, or of a narrow one.
fn tiny_settings() -> BoxedStrategy<Settings> {
    let sizes = prop_oneof![
        2 => Just((1, 1)),
        6 => (1..500u32, 1..400u32),
        1 => (1..4u32, 1..=8192u32),
        1 => (1..=8192u32, 1..4u32),
    ];
    any_settings(sizes, (0..=18u8, 0..=18u8)).boxed()
}

/// `bar` after a trade at `price`.
fn trade(bar: &mut Candle, price: i64) {
    *bar = traded(*bar, price);
}

#[test]
fn the_largest_and_the_smallest_frames_work() {
    for (width, height) in [(1, 1), (8192, 8192), (8192, 1), (1, 8192), (40, 8192)] {
        for kind in SeriesKind::ALL {
            let look = full_look(kind, PriceScale::Log);
            let mut chart = Chart::new(Settings { look, ..settings(width, height, Theme::Dark) }).unwrap();
            chart.update(&walk(2000, 1));
            chart.zoom(-3, Some(9));
            chart.set_pointer(Some((9, 9)));
            chart.draw();
            assert!(chart.frame() == &drawn(chart.scene()));
        }
    }
}

/// What a chart of everything looks like, of this kind on this scale.
fn full_look(kind: SeriesKind, scale: PriceScale) -> Look {
    let studies = ["sma(7)", "vwap", "bollinger(20, 2)", "rsi(14)", "macd(12, 26, 9)", "obv"];
    Look {
        kind,
        scale,
        studies: studies.iter().map(|spec| spec.parse().unwrap()).collect(),
        volume_profile: true,
        watermark: "watermark".to_owned(),
        countdown: true,
        ..Look::default()
    }
}

/// The prices that are easily got wrong, for every kind and scale, at every zoom, with all that a chart can have.
#[test]
fn extreme_prices_work() {
    let flat = |count: i64, price: i64| -> Vec<Candle> {
        let one = |at: i64| bar(START_MS + at * 60_000, CandleState::Traded, Ohlc::flat(price), 5);
        (0..count).map(one).collect()
    };
    let scaled = |factor: i64| -> Vec<Candle> {
        let mut bars = walk(90, 3);
        for ohlc in bars.iter_mut().filter_map(|bar| bar.ohlc.as_mut()) {
            for price in [&mut ohlc.open, &mut ohlc.high, &mut ohlc.low, &mut ohlc.close] {
                *price *= factor;
            }
        }
        bars
    };
    // 10^-10 and a few of them; 10^12 with six decimal places; the ends of the type.
    let worlds: [(u8, Vec<Candle>); 9] = [
        (2, Vec::new()),
        (2, flat(1, 6_183_763)),
        (2, flat(300, 6_183_763)),
        (10, flat(90, 1)),
        (10, (1..90).flat_map(|price| flat(1, price)).collect()),
        (6, flat(2, 1_000_000_000_000_000_000)),
        (6, scaled(1_000_000_000_000)),
        (18, flat(90, i64::MAX)),
        (0, [flat(1, i64::MIN), flat(1, i64::MAX), flat(1, 0)].concat()),
    ];
    for (digits, bars) in &worlds {
        for kind in SeriesKind::ALL {
            for scale in PriceScale::ALL {
                let look = full_look(kind, scale);
                let settings = Settings { price_digits: *digits, look, ..settings(260, 220, Theme::Dark) };
                let mut chart = Chart::new(settings).unwrap();
                chart.set_venue_time(Some(START_MS + 89 * 60_000));
                chart.update(bars);
                for steps in [0, 7, -9, -20, 40] {
                    chart.zoom(steps, Some(100));
                    chart.set_pointer(Some((100, 40)));
                    chart.draw();
                    assert!(chart.frame() == &drawn(chart.scene()), "{kind} {scale} {digits} {}", bars.len());
                }
            }
        }
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

/// What indicators have taken in cannot be seen but by what they then show.
#[test]
fn bars_that_are_not_there_change_nothing() {
    let look = Look { studies: vec!["ema(5)".parse().unwrap()], ..Look::default() };
    let settings = Settings { history: 30, look, ..settings(480, 270, Theme::Dark) };
    let [mut chart, mut other] = [0; 2].map(|_| Chart::new(settings.clone()).unwrap());
    let bars = walk(100, 5);
    chart.set_newest(bars[9]);
    for bar in &bars {
        chart.push(*bar);
        other.push(*bar);
        chart.amend(chart.end(), bars[9]);
        chart.amend(u64::MAX, bars[9]);
    }
    assert!(chart.bars().len() < 100, "the oldest are forgotten");
    chart.amend(0, bars[9]);
    chart.draw();
    other.draw();
    assert!(chart.frame() == other.frame());
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
