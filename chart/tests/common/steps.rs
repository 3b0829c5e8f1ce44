//! What may happen to a chart: every function that changes it, with any arguments.

use super::{START_MS, bar, settings};
use chart::{
    Chart, Color, Colors, Look, Marker, MarkerPlace, MarkerShape, PriceLine, PriceScale, Right, SeriesKind,
    Settings, Theme, View, Zoom,
};
use jiff::tz::TimeZone;
use market::indicator::IndicatorSpec;
use market::{Candle, CandleState, Ohlc, Timeframe};
use proptest::prelude::*;

/// One thing that happens to a chart.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// The newest bar trades at a price this far from its close.
    Tick(i64),
    /// The newest bar is of this state now.
    Doubt(CandleState),
    /// A new bar opens, of this state.
    Open(CandleState),
    /// A bar, counted from the newest, trades at a price this far from its close.
    AmendRecent(u64, i64),
    /// A price with more decimal places than those before.
    Finer,
    /// So many bars of a random walk, the first with this number.
    Load(u64, usize),
    /// The same bars, by `update`, and some more.
    Update(usize),
    Push(Candle),
    SetNewest(Candle),
    Amend(u64, Candle),
    View(View),
    ResetView,
    Pan(i64),
    Zoom(i32, Option<u16>),
    /// In bars from the newest.
    ShowRange(i64, i64),
    Pointer(Option<(u16, u16)>),
    /// So many milliseconds after the newest bar's open.
    VenueTime(Option<i64>),
    /// This far from the newest close.
    Line(i64, u32, String),
    /// At this many bars before the newest.
    Marker(i64, bool, u8, String),
    ClearMarks,
    Restyle(Box<Settings>),
    /// Nothing happens.
    Nothing,
}

/// The newest price that a chart has.
fn price(chart: &Chart) -> i64 {
    chart.bars().iter().rev().find_map(Candle::close).unwrap_or(6_000_000)
}

fn open_ms(chart: &Chart) -> i64 {
    chart.bars().last().map_or(START_MS, |bar| bar.open_ms)
}

/// `bar` after a trade at `price`.
pub(crate) fn traded(mut bar: Candle, price: i64) -> Candle {
    let ohlc = bar.ohlc.get_or_insert(Ohlc::flat(price));
    (ohlc.high, ohlc.low, ohlc.close) = (ohlc.high.max(price), ohlc.low.min(price), price);
    bar.volume = bar.volume.saturating_add(12_345);
    bar.taker_buy_volume = bar.taker_buy_volume.saturating_add(5_000 + i128::from(price % 7_000));
    bar.trades = bar.trades.saturating_add(1);
    if bar.state == CandleState::Quiet {
        bar.state = CandleState::Traded;
    }
    bar
}

impl Step {
    pub(crate) fn apply(&self, chart: &mut Chart) {
        let price = price(chart);
        match self {
            Self::Tick(by) => {
                if let Some(newest) = chart.bars().last().copied() {
                    chart.set_newest(traded(newest, price.saturating_add(*by)));
                }
            }
            Self::Doubt(state) => {
                if let Some(newest) = chart.bars().last().copied() {
                    chart.set_newest(Candle { state: *state, ..newest });
                }
            }
            Self::Open(state) => {
                let next = open_ms(chart).saturating_add(60_000);
                chart.push(Candle::empty(next, *state, Some(price)));
            }
            Self::AmendRecent(back, by) => {
                let number = chart.end().saturating_sub(1 + back);
                let first = chart.end() - chart.bars().len() as u64;
                let place = number.checked_sub(first).map(|place| place as usize);
                if let Some(old) = place.and_then(|place| chart.bars().get(place)).copied() {
                    chart.amend(number, traded(old, price.saturating_add(*by)));
                }
            }
            Self::Finer => {
                if let Some(newest) = chart.bars().last().copied() {
                    chart.set_newest(traded(newest, price / 10 * 10 + 7));
                }
            }
            Self::Load(first, count) => chart.load(*first, &super::walk(*count, 1 + *first % 1_000)),
            Self::Update(more) => {
                let mut bars = chart.bars().to_vec();
                for _ in 0..*more {
                    let open_ms = bars.last().map_or(START_MS, |bar| bar.open_ms.saturating_add(60_000));
                    bars.push(bar(open_ms, CandleState::Traded, Ohlc::flat(price), 1_000));
                }
                chart.update(&bars);
            }
            Self::Push(bar) => chart.push(*bar),
            Self::SetNewest(bar) => chart.set_newest(*bar),
            Self::Amend(number, bar) => chart.amend(*number, *bar),
            Self::View(view) => chart.set_view(*view),
            Self::ResetView => chart.reset_view(),
            Self::Pan(bars) => chart.pan(*bars),
            Self::Zoom(steps, x) => chart.zoom(*steps, *x),
            Self::ShowRange(from, to) => {
                let at = |bars: i64| open_ms(chart).saturating_sub(bars.saturating_mul(60_000));
                chart.show_range(at(*from), at(*to));
            }
            Self::Pointer(at) => chart.set_pointer(*at),
            Self::VenueTime(ms) => {
                chart.set_venue_time(ms.map(|ms| open_ms(chart).saturating_add(ms)));
            }
            Self::Line(by, color, title) => chart.set_price_line(PriceLine {
                price: price.saturating_add(*by),
                color: Color(*color),
                title: title.as_str().into(),
            }),
            Self::Marker(back, above, shape, title) => {
                const SHAPES: [MarkerShape; 4] =
                    [MarkerShape::ArrowUp, MarkerShape::ArrowDown, MarkerShape::Circle, MarkerShape::Square];
                chart.set_marker(Marker {
                    time_ms: open_ms(chart).saturating_sub(back.saturating_mul(60_000)),
                    place: if *above { MarkerPlace::Above } else { MarkerPlace::Below },
                    shape: SHAPES[usize::from(*shape) % 4],
                    color: Color(0xff_8800),
                    title: title.as_str().into(),
                });
            }
            Self::ClearMarks => chart.clear_marks(),
            Self::Restyle(settings) => chart.restyle(settings.as_ref().clone()).unwrap(),
            Self::Nothing => {}
        }
    }
}

pub(crate) fn state() -> impl Strategy<Value = CandleState> {
    use CandleState::{Gap, Partial, Quiet, Traded};
    prop::sample::select(vec![Traded, Traded, Traded, Quiet, Gap, Partial])
}

fn zoom() -> impl Strategy<Value = Zoom> {
    prop_oneof![
        3 => (1..=chart::MAX_WIDTH).prop_map(Zoom::Wide),
        2 => (1..=6u8).prop_map(Zoom::Dense),
        1 => any::<u16>().prop_map(Zoom::Wide),
        1 => any::<u8>().prop_map(Zoom::Dense),
    ]
}

fn right() -> impl Strategy<Value = Right> {
    prop_oneof![Just(Right::Newest), (0..200u64).prop_map(Right::Bar), any::<u64>().prop_map(Right::Bar)]
}

fn studies() -> impl Strategy<Value = Vec<IndicatorSpec>> {
    const SPECS: [&str; 12] = [
        "sma(7)",
        "ema(9)",
        "ema(5, first)",
        "wma(5)",
        "rma(14)",
        "vwap",
        "bollinger(10, 2)",
        "rsi(7)",
        "macd(5, 12, 4)",
        "atr(7)",
        "stochastic(9, 3, 3)",
        "obv",
    ];
    prop_oneof![
        1 => Just(Vec::new()),
        3 => prop::sample::subsequence(SPECS.to_vec(), 0..=chart::MAX_STUDIES),
    ]
    .prop_map(|specs: Vec<&str>| specs.into_iter().map(|spec| spec.parse().unwrap()).collect())
}

fn look() -> impl Strategy<Value = Look> {
    let colors = prop::option::weighted(0.2, any::<u32>()).prop_map(|color| Colors {
        background: color.map(Color),
        up: color.map(|color| Color(!color)),
        ..Colors::default()
    });
    let what = (
        prop::sample::select(SeriesKind::ALL.to_vec()),
        prop::sample::select(PriceScale::ALL.to_vec()),
        any::<[bool; 3]>(),
        studies(),
    );
    let how = (
        prop::option::weighted(0.3, 1..=chart::MAX_WIDTH),
        prop::option::weighted(0.3, 1..=4u8),
        prop::sample::select(vec!["", "W", "BTCUSDT and more than fits into any small frame"]),
        prop::option::of(prop_oneof![6_000_000..6_400_000i64, any::<i64>()]),
        colors,
    );
    (what, how).prop_map(
        |(
            (kind, scale, [hide_volume, volume_profile, countdown], studies),
            (width, magnify, text, baseline, colors),
        )| Look {
            kind,
            scale,
            hide_volume,
            studies,
            volume_profile,
            bar_width: width,
            magnify,
            watermark: text.to_owned(),
            countdown,
            baseline,
            colors,
        },
    )
}

/// Settings of one of these sizes, and anything else.
pub(crate) fn any_settings(
    size: impl Strategy<Value = (u32, u32)>,
    digits: impl Strategy<Value = (u8, u8)>,
) -> impl Strategy<Value = Settings> {
    let timeframes =
        prop_oneof![3 => Just(Timeframe::M1), 1 => prop::sample::select(Timeframe::ALL.to_vec())];
    let zones = prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"]);
    let history = prop_oneof![Just(1usize), 20..60usize, Just(2_000usize)];
    (size, digits, any::<bool>(), timeframes, zones, history, look()).prop_map(
        |((width, height), (price_digits, qty_digits), light, timeframe, zone, history, look)| Settings {
            time_zone: TimeZone::get(zone).unwrap(),
            timeframe,
            price_digits,
            qty_digits,
            history,
            look,
            ..settings(width, height, if light { Theme::Light } else { Theme::Dark })
        },
    )
}

/// Everything that happens to a chart whose prices are such as markets have.
pub(crate) fn likely_step(settings: BoxedStrategy<Settings>) -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => prop_oneof![
            8 => (-30_000..30_000i64).prop_map(Step::Tick),
            1 => (-300..300i64).prop_map(Step::Tick),
            1 => (-2_000_000..2_000_000i64).prop_map(Step::Tick),
        ],
        2 => state().prop_map(Step::Doubt),
        6 => state().prop_map(Step::Open),
        3 => (0..90u64, -50_000..50_000i64).prop_map(|(back, by)| Step::AmendRecent(back, by)),
        1 => Just(Step::Finer),
        1 => (0..300u64, 0..150usize).prop_map(|(first, count)| Step::Load(first, count)),
        1 => (0..4usize).prop_map(Step::Update),
        5 => controls(),
        2 => settings.prop_map(|settings| Step::Restyle(Box::new(settings))),
        1 => Just(Step::Nothing),
    ]
}

/// What a user does with a chart.
pub(crate) fn controls() -> impl Strategy<Value = Step> {
    let pixel = || prop_oneof![4 => 0..480u16, 1 => any::<u16>()];
    let bars = || prop_oneof![4 => -100..100i64, 1 => any::<i64>()];
    let title = || "[a-zäß▲ ]{0,30}";
    prop_oneof![
        2 => (zoom(), right()).prop_map(|(zoom, right)| Step::View(View { zoom, right })),
        1 => Just(Step::ResetView),
        2 => bars().prop_map(Step::Pan),
        2 => (prop_oneof![4 => -4..5i32, 1 => any::<i32>()], prop::option::of(pixel())).prop_map(|(steps, x)| Step::Zoom(steps, x)),
        1 => (bars(), bars()).prop_map(|(from, to)| Step::ShowRange(from, to)),
        3 => prop::option::weighted(0.8, (pixel(), pixel())).prop_map(Step::Pointer),
        2 => prop::option::weighted(0.8, prop_oneof![4 => 0..70_000i64, 1 => any::<i64>()]).prop_map(Step::VenueTime),
        2 => (prop_oneof![4 => -50_000..50_000i64, 1 => any::<i64>()], any::<u32>(), title())
            .prop_map(|(by, color, title)| Step::Line(by, color, title)),
        2 => (bars(), any::<bool>(), any::<u8>(), title())
            .prop_map(|(back, above, shape, title)| Step::Marker(back, above, shape, title)),
        1 => Just(Step::ClearMarks),
    ]
}

/// A bar of which nothing holds.
pub(crate) fn any_bar() -> impl Strategy<Value = Candle> {
    let price = || {
        prop_oneof![
            Just(1),
            Just(0),
            Just(i64::MAX),
            Just(i64::MIN),
            any::<i64>(),
            100..200i64,
            // 10^12 in units of 10^-6.
            Just(1_000_000_000_000_000_000),
        ]
    };
    let state = prop::sample::select(vec![
        CandleState::Quiet,
        CandleState::Traded,
        CandleState::Partial,
        CandleState::Gap,
    ]);
    let prices = prop_oneof![
        2 => (price(), price(), price(), price()),
        1 => price().prop_map(|price| (price, price, price, price)),
    ];
    let volume = || prop_oneof![Just(0), Just(i128::MAX), Just(i128::MIN), any::<i128>(), 0..1000i128];
    let open_ms = prop_oneof![any::<i64>(), START_MS..START_MS + 100_000_000, Just(i64::MIN), Just(i64::MAX)];
    (open_ms, state, prop::option::weighted(0.8, prices), volume(), volume()).prop_map(
        |(open_ms, state, ohlc, volume, taker_buy_volume)| {
            let ohlc = ohlc.map(|(open, high, low, close)| Ohlc { open, high, low, close });
            Candle { ohlc, volume, taker_buy_volume, ..Candle::empty(open_ms, state, None) }
        },
    )
}

/// Anything at all, in any order.
pub(crate) fn any_step(settings: BoxedStrategy<Settings>) -> impl Strategy<Value = Step> {
    let number = || prop_oneof![3 => 0..60u64, 1 => any::<u64>(), 1 => Just(u64::MAX)];
    prop_oneof![
        6 => any_bar().prop_map(Step::Push),
        4 => any_bar().prop_map(Step::SetNewest),
        3 => (number(), any_bar()).prop_map(|(number, bar)| Step::Amend(number, bar)),
        2 => (number(), 0..80usize).prop_map(|(first, count)| Step::Load(first, count)),
        2 => any::<i64>().prop_map(Step::Tick),
        8 => controls(),
        2 => settings.prop_map(|settings| Step::Restyle(Box::new(settings))),
        1 => (0..4usize).prop_map(Step::Update),
    ]
}
