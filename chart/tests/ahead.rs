//! Pictures drawn ahead change nothing but the time that it takes: with them and without, every picture is the same.

mod common;

use chart::{Chart, Color, Look, Marker, MarkerPlace, MarkerShape, SeriesKind, Theme};
use common::{bar, drawn, settings, walk};
use market::{Candle, CandleState, Ohlc};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Tick(i64),
    Amend(u64, i64),
    Open(i64),
    /// A quiet bar, as the one that was expected.
    OpenQuiet,
    Prepare,
    Pan(i64),
    Zoom(i32),
    Point(u16, u16),
    Mark(i64),
    DrawAnew,
    Load,
    Reset,
    Clock(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (-3_000..3_000i64).prop_map(Step::Tick),
        1 => (0..100u64, -900..900i64).prop_map(|(at, by)| Step::Amend(at, by)),
        4 => (-900..900i64).prop_map(Step::Open),
        2 => Just(Step::OpenQuiet),
        8 => Just(Step::Prepare),
        1 => (-9..9i64).prop_map(Step::Pan),
        1 => (-3..3i32).prop_map(Step::Zoom),
        1 => (0..480u16, 0..270u16).prop_map(|(x, y)| Step::Point(x, y)),
        1 => (0..60i64).prop_map(Step::Mark),
        1 => Just(Step::DrawAnew),
        1 => Just(Step::Load),
        1 => Just(Step::Reset),
        1 => (0..60_000i64).prop_map(Step::Clock),
    ]
}

fn apply(chart: &mut Chart, step: &Step) {
    let newest = *chart.bars().last().unwrap();
    let close = newest.close().unwrap();
    let next_ms = newest.open_ms + 60_000;
    match *step {
        Step::Tick(by) => {
            let mut newest = newest;
            let ohlc = newest.ohlc.as_mut().unwrap();
            (ohlc.high, ohlc.low, ohlc.close) =
                (ohlc.high.max(close + by), ohlc.low.min(close + by), close + by);
            chart.set_newest(newest);
        }
        Step::Amend(back, by) => {
            let number =
                chart.end().saturating_sub(2 + back % 70).max(chart.end() - chart.bars().len() as u64);
            let old = chart.bars()[(number + chart.bars().len() as u64 - chart.end()) as usize];
            let ohlc = Ohlc { close: close + by, high: close + 900, low: close - 900, open: close };
            chart.amend(number, bar(old.open_ms, CandleState::Traded, ohlc, 77));
        }
        Step::Open(by) => chart.push(bar(next_ms, CandleState::Traded, Ohlc::flat(close + by), 500)),
        Step::OpenQuiet => chart.push(Candle::empty(next_ms, CandleState::Quiet, Some(close))),
        Step::Prepare => _ = chart.prepare_ahead(next_ms),
        Step::Pan(bars) => chart.pan(bars),
        Step::Zoom(steps) => chart.zoom(steps, None),
        Step::Point(x, y) => chart.set_pointer(Some((x, y))),
        Step::Mark(back) => chart.set_marker(Marker {
            time_ms: newest.open_ms - back * 60_000,
            place: MarkerPlace::Above,
            shape: MarkerShape::Circle,
            color: Color(0xff00ff),
            title: "here".into(),
        }),
        Step::DrawAnew => _ = chart.draw_anew(),
        Step::Reset => chart.reset_view(),
        Step::Clock(ms) => chart.set_venue_time(Some(newest.open_ms + ms)),
        Step::Load => chart.load(chart.end() + 5, &walk(80, 9)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pictures_are_the_same_with_and_without(
        kind in prop::sample::select(SeriesKind::ALL.to_vec()),
        studies in prop::sample::select(vec![vec![], vec!["sma(9)", "rsi(14)"], vec!["bollinger(20, 2)", "macd(3, 6, 4)"]]),
        profile in any::<bool>(),
        steps in prop::collection::vec((step(), any::<bool>()), 1..60),
    ) {
        let mut settings = settings(480, 270, Theme::Dark);
        let studies = studies.into_iter().map(|spec| spec.parse().unwrap()).collect();
        settings.look = Look { kind, studies, volume_profile: profile, countdown: true, ..Look::default() };
        settings.history = 90;
        let mut with = Chart::new(settings.clone()).unwrap();
        let mut without = Chart::new(settings).unwrap();
        with.enable_ahead().unwrap();
        for chart in [&mut with, &mut without] {
            chart.load(3, &walk(75, 5));
            chart.draw();
        }
        for (step, draws) in steps {
            apply(&mut with, &step);
            if !matches!(step, Step::Prepare) {
                apply(&mut without, &step);
            }
            if draws {
                let before = with.frame().clone();
                with.draw();
                without.draw();
                prop_assert!(with.frame() == without.frame(), "differs after {:?}", step);
                prop_assert!(with.frame() == &drawn(with.scene()));
                let mut patched = before;
                with.changes().for_each_rect(|rect| patched.copy_from(with.frame(), &rect));
                prop_assert!(&patched == with.frame(), "changed unannounced after {:?}", step);
            }
        }
    }
}

#[test]
fn a_bar_that_was_expected_is_a_hit_and_another_a_miss() {
    let mut chart = Chart::new(settings(480, 270, Theme::Dark)).unwrap();
    chart.enable_ahead().unwrap();
    chart.load(0, &walk(75, 5));
    chart.draw();
    let counts = |chart: &Chart| {
        let counts = chart.ahead_counts();
        (counts.prepared, counts.hits, counts.misses)
    };
    let next_ms = chart.bars().last().unwrap().open_ms + 60_000;
    assert!(chart.prepare_ahead(next_ms));
    assert!(!chart.prepare_ahead(next_ms), "once is enough");
    apply(&mut chart, &Step::Open(30));
    chart.draw();
    assert_eq!(counts(&chart), (1, 1, 0));
    assert!(chart.prepare_ahead(next_ms + 60_000));
    // The bar before the new one changes at the last moment.
    apply(&mut chart, &Step::Tick(40));
    apply(&mut chart, &Step::Open(30));
    chart.draw();
    assert_eq!(counts(&chart), (2, 1, 1));
}
