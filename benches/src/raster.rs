//! Drawing, from a changed candle to pixels: a last-price change, a new bar, a full redraw. The reference is a memcpy of
//! the frame. Layout is included: what is measured is all that a chart does between a candle and its picture. Beside it,
//! rivals draw the same picture: see `peers`.

use crate::harness::{Arm, Ratio, Report};
use crate::peers::arms::Rivals;
use chart::{Chart, Look, Settings, Theme};
use market::{Candle, CandleState, Ohlc, Timeframe};
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

/// Width and height of the frame, in pixels.
pub(crate) const SIZE: (u32, u32) = (1920, 1080);
/// Bars of a picture that rivals draw too.
const BARS: usize = 200;
const START_MS: i64 = 1_795_154_400_000;
/// Ticks in one bar.
const TICKS_IN_A_BAR: usize = 100;
const TICKS_IN_A_ROUND: usize = 4_000;
const COPIES_IN_A_ROUND: usize = 200;

/// Minute bars that walk at random, the same on every run.
pub(crate) struct Walk {
    state: u64,
    close: i64,
    open_ms: i64,
}

impl Walk {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed, close: 6_183_763, open_ms: START_MS }
    }

    fn below(&mut self, limit: u64) -> i64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state % limit) as i64
    }

    /// The next bar, whole.
    pub(crate) fn bar(&mut self) -> Candle {
        let mut bar = self.open();
        for _ in 0..20 {
            self.tick(&mut bar, 500);
        }
        bar
    }

    /// A bar of one trade.
    pub(crate) fn open(&mut self) -> Candle {
        let empty = Candle::empty(self.open_ms, CandleState::Traded, None);
        self.open_ms += 60_000;
        Candle { ohlc: Some(Ohlc::flat(self.close)), volume: 5_000, trades: 1, ..empty }
    }

    /// A trade in `bar`, at most `step` price units from the last one.
    pub(crate) fn tick(&mut self, bar: &mut Candle, step: u64) {
        self.close += self.below(2 * step + 1) - step as i64;
        bar.volume += i128::from(1_000 + self.below(90_000));
        bar.trades += 1;
        let close = self.close;
        if let Some(ohlc) = &mut bar.ohlc {
            *ohlc = Ohlc { high: ohlc.high.max(close), low: ohlc.low.min(close), close, ..*ohlc };
        }
    }
}

/// A chart of 1920×1080 with candles, volume, axes and text.
pub(crate) fn chart(look: Look) -> anyhow::Result<Chart> {
    Ok(Chart::new(Settings {
        width: SIZE.0,
        height: SIZE.1,
        theme: Theme::Dark,
        time_zone: jiff::tz::TimeZone::UTC,
        title: "BTCUSDT · binance".to_owned(),
        timeframe: Timeframe::M1,
        price_digits: 2,
        qty_digits: 5,
        history: 2_000,
        look,
    })?)
}

/// How long `work` takes.
pub(crate) fn timed(work: impl FnOnce()) -> u64 {
    let started = Instant::now();
    work();
    started.elapsed().as_nanos() as u64
}

/// Copies of a frame's pixels to other memory of its size.
pub(crate) fn copies(chart: &Chart, copy: &mut [u32]) -> Vec<u64> {
    (0..COPIES_IN_A_ROUND)
        .map(|_| timed(|| black_box(&mut *copy).copy_from_slice(black_box(chart.frame().pixels()))))
        .collect()
}

/// `raster-delta`
pub(crate) fn measure_delta(rounds: usize, pictures: Option<&Path>) -> anyhow::Result<Report> {
    let plain = Look::default();
    let studies = ["sma(20)", "ema(50)", "bollinger(20, 2)", "vwap"];
    let busy = Look {
        studies: studies.map(|spec| spec.parse().expect("a known indicator")).into(),
        ..plain.clone()
    };
    let (mut shared, mut shared_walk) = (chart(plain.clone())?, Walk::new(5));
    (0..BARS).for_each(|_| shared.push(shared_walk.bar()));
    shared.draw();
    let mut rivals = Rivals::new(&shared, pictures)?;
    let mut walks =
        [(chart(plain.clone())?, Walk::new(5)), (chart(busy)?, Walk::new(5)), (chart(plain)?, Walk::new(5))];
    walks[2].0.enable_ahead()?;
    for (chart, walk) in &mut walks {
        (0..500).for_each(|_| chart.push(walk.bar()));
    }
    let mut copy = vec![0u32; (SIZE.0 * SIZE.1) as usize];
    let names = [
        ["last-price change", "new bar"],
        ["last-price change, four indicators", "new bar, four indicators"],
        ["last-price change, ahead prepared", "new bar, drawn ahead"],
    ];
    let mut arms = names.map(|names| names.map(|name| Arm::new(name, "ns")));
    let mut memcpy = Arm::new("memcpy of the frame", "ns");
    // What drawing only what changed is worth.
    let anew = ["all of it anew", "all of it anew, four indicators", "all of it anew, again"];
    let mut anew = anew.map(|name| Arm::new(name, "ns"));
    let (mut damaged, mut hits, mut theirs) = ((0, 0), 0, Vec::new());
    for _ in 0..rounds {
        for (((chart, walk), [ticks, bars]), anew) in walks.iter_mut().zip(&mut arms).zip(&mut anew) {
            let (mut changes, mut opened, mut whole) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..TICKS_IN_A_ROUND / TICKS_IN_A_BAR {
                let mut bar = walk.open();
                // In idle time, so it is not timed; nothing happens where nothing is drawn ahead.
                chart.prepare_ahead(bar.open_ms);
                opened.push(timed(|| {
                    chart.push(bar);
                    black_box(chart.draw());
                }));
                for _ in 1..TICKS_IN_A_BAR {
                    walk.tick(&mut bar, 60);
                    changes.push(timed(|| {
                        chart.set_newest(bar);
                        black_box(chart.draw());
                    }));
                    damaged = (damaged.0 + chart.changes().area(), damaged.1 + 1);
                }
                // As seldom as a new bar, so that caches are as cold.
                whole.push(timed(|| _ = black_box(chart.draw_anew())));
            }
            hits = chart.ahead_counts().hits;
            anew.add_round(whole);
            ticks.add_round(changes);
            bars.add_round(opened);
        }
        memcpy.add_round(copies(&walks[0].0, &mut copy));
        rivals.delta(&mut shared, &mut shared_walk, &mut theirs)?;
    }
    let [[tick, bar], [busy_tick, busy_bar], [ahead_tick, ahead_bar]] = arms;
    let [anew, busy_anew, _] = anew;
    let ours = theirs.iter().find(|arm| arm.name == "chartd, the same changes");
    let notes = [
        format!("{} pixels damaged by a last-price change, in the mean", damaged.0 / damaged.1),
        format!("{}×{}, layout included", SIZE.0, SIZE.1),
        format!("{hits} of {} new bars were drawn ahead, in time that is not counted", ahead_bar.count()),
        "rivals: another chart, of 200 bars, with the same changes for all; who is given our rectangles is told for nothing what changed".to_owned(),
    ];
    Ok(Report {
        name: "raster-delta",
        ratios: [
            Ratio::of("last-price change / memcpy of the frame, p50", &tick, &memcpy, 0.5, 0.05),
            Ratio::of("the same with four indicators", &busy_tick, &memcpy, 0.5, 0.15),
            Ratio::of("new bar / all of it anew, p50", &bar, &anew, 0.5, 1.5),
            Ratio::of("the same with four indicators", &busy_bar, &busy_anew, 0.5, 1.5),
            Ratio::of("new bar, drawn ahead / memcpy of the frame, p50", &ahead_bar, &memcpy, 0.5, 0.1),
        ]
        .into_iter()
        .chain(ours.into_iter().flat_map(|ours| against(ours, &theirs, &DELTA_RATIOS)))
        .collect(),
        notes: notes.into_iter().chain(rivals.notes).collect(),
        arms: [tick, bar, busy_tick, busy_bar, ahead_tick, ahead_bar, memcpy, anew, busy_anew]
            .into_iter()
            .chain(theirs)
            .collect(),
    })
}

/// `raster-full`
pub(crate) fn measure_full(rounds: usize, pictures: Option<&Path>) -> anyhow::Result<Report> {
    let mut chart = chart(Look::default())?;
    let mut walk = Walk::new(5);
    (0..chart.visible_bars().min(BARS)).for_each(|_| chart.push(walk.bar()));
    chart.draw();
    let mut rivals = Rivals::new(&chart, pictures)?;
    let mut theirs = Vec::new();
    let mut copy = vec![0u32; (SIZE.0 * SIZE.1) as usize];
    let (mut full, mut memcpy) = (Arm::new("full redraw", "ns"), Arm::new("memcpy of the frame", "ns"));
    let mut fill = Arm::new("fill of the frame", "ns");
    for round in 0..rounds {
        full.add_round(
            (0..COPIES_IN_A_ROUND).map(|_| timed(|| _ = black_box(chart.draw_anew()))).collect::<Vec<_>>(),
        );
        memcpy.add_round(copies(&chart, &mut copy));
        let color = round as u32;
        fill.add_round(
            (0..COPIES_IN_A_ROUND)
                .map(|_| timed(|| black_box(&mut copy[..]).fill(color)))
                .collect::<Vec<_>>(),
        );
        rivals.full(&chart, &mut theirs)?;
    }
    let note = format!("{}×{}, {BARS} bars with volume, axes and text; layout included", SIZE.0, SIZE.1);
    let memory = Ratio::of("full redraw / memcpy of the frame, p50", &full, &memcpy, 0.5, 1.0);
    Ok(Report {
        name: "raster-full",
        notes: [note].into_iter().chain(rivals.notes).collect(),
        ratios: [memory].into_iter().chain(against(&full, &theirs, &FULL_RATIOS)).collect(),
        arms: [full, memcpy, fill].into_iter().chain(theirs).collect(),
    })
}

/// What is promised against rivals, by the names of their arms: never to be slower.
const FULL_RATIOS: [(&str, &str); 4] = [
    ("tiny-skia, our scene", "full redraw / tiny-skia, p50"),
    ("vello_cpu, our scene", "full redraw / vello_cpu, p50"),
    ("plotters, whole", "full redraw / plotters, p50"),
    ("Pillow, our scene", "full redraw / Pillow, p50"),
];
const DELTA_RATIOS: [(&str, &str); 4] = [
    ("tiny-skia, our rectangles", "last-price change / tiny-skia in our rectangles, p50"),
    ("vello_cpu, our rectangles", "last-price change / vello_cpu in our rectangles, p50"),
    ("plotters, whole", "last-price change / plotters, p50"),
    ("matplotlib, blit", "last-price change / matplotlib with blit, p50"),
];

/// Our arm over those of the rivals that were there.
fn against(ours: &Arm, theirs: &[Arm], ratios: &[(&str, &'static str)]) -> Vec<Ratio> {
    let ratio = |(arm, what): &(&str, &'static str)| {
        Some(Ratio::of(what, ours, theirs.iter().find(|theirs| theirs.name == *arm)?, 0.5, 1.0))
    };
    ratios.iter().filter_map(ratio).collect()
}
