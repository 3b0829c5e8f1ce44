//! Sixteen charts of 960×540 that change twenty times a second each, in the real daemon: its processor time, and how long
//! a frame takes, without and with a burst on one of the charts. Beside it, a process that copies as many frames as are
//! published, and one that wakes a hundred times a second.
//!
//! A frame's time counts from the moment at which its trade left the venue, so that waiting for another chart counts. The
//! bench also draws sixteen charts in its own process on one thread and on two, to tell what drawing on several would
//! bring.

use crate::harness::{Arm, Ratio, Report};
use crate::process::{COPIER, Daemon, NAPPER, Running};
use crate::raster::{Walk, timed};
use crate::venue::{Schedule, Venue};
use anyhow::ensure;
use chart::{Chart, Look, Settings, Theme};
use chart_client::Connection;
use chartd::now_ns;
use market::{Candle, Timeframe};
use shm::frame::FrameReader;
use shm::status::{Counter, Stage};
use std::hint::black_box;
use std::time::Duration;

const CHARTS: u64 = 16;
const SIZE: (u32, u32) = (960, 540);
/// Updates a second of each chart.
const RATE: u64 = 20;
/// Further trades a second of the first chart, in a burst.
const BURST: u64 = 2_000;
const SPAN: Duration = Duration::from_secs(4);
/// A frame stays the newest of its chart for 50 ms.
const LOOK_EVERY: Duration = Duration::from_millis(5);

const SCHEDULE: Schedule = Schedule { symbols: CHARTS, period_ms: 1_000 / RATE, bars: 150, bar_ms: 60_000 };

pub(crate) fn measure(rounds: usize) -> anyhow::Result<Report> {
    let mut venue = Venue::open(SCHEDULE)?;
    let daemon = Daemon::start(&config(&venue))?;
    venue.wait_for_start()?;
    let bench = Bench {
        napper: Running::task(NAPPER, "1")?,
        copier: Running::task(COPIER, &format!("{} {}", CHARTS * RATE, SIZE.0 * SIZE.1))?,
        charts: charts(&daemon.connection)?,
        daemon,
    };
    std::thread::sleep(Duration::from_secs(1));
    let mut arms = Arms::new();
    let mut drawing = Drawing::new()?;
    for _ in 0..rounds {
        arms.calm(bench.span(&venue)?);
        venue.set_burst(BURST);
        std::thread::sleep(Duration::from_millis(300));
        arms.burst(bench.span(&venue)?);
        venue.set_burst(0);
        std::thread::sleep(Duration::from_millis(300));
        venue.check()?;
        drawing.round();
    }
    Ok(arms.report(drawing.arms))
}

fn config(venue: &Venue) -> String {
    let mut text = SCHEDULE.feed(venue.address);
    for symbol in (0..CHARTS).map(Schedule::symbol) {
        let (width, height) = SIZE;
        text += &format!(
            "[[chart]]\nsource = \"binance:{symbol}\"\ntimeframe = \"1m\"\nsize = [{width}, {height}]\n"
        );
    }
    text + "[realtime]\nthreads = \"fused\"\nwait = \"block\"\n"
}

fn charts(connection: &Connection) -> anyhow::Result<Vec<FrameReader>> {
    let chart = |symbol: String| Ok(connection.chart(&format!("binance:{symbol}/1m"))?);
    (0..CHARTS).map(Schedule::symbol).map(chart).collect()
}

/// What runs beside this process, and what it looks at.
struct Bench {
    daemon: Daemon,
    napper: Running,
    copier: Running,
    charts: Vec<FrameReader>,
}

/// What a span of time showed.
struct Span {
    /// Processor time of the daemon, the napper and the copier, in millionths of a core.
    shares: [u64; 3],
    /// Trades that left, frames that were published, per second.
    trades: f64,
    frames: f64,
    /// Trades that share a frame with others, or have none, per second.
    missed: f64,
    /// From receipt to publication: quantiles of the daemon's own histogram.
    tick_to_frame: [u64; 2],
    /// Drawing and publishing one frame: the 99th percentiles, added.
    drawing: u64,
    /// From a trade's leaving the venue to its frame, of all charts but the first.
    others: Vec<u64>,
}

impl Bench {
    fn span(&self, venue: &Venue) -> anyhow::Result<Span> {
        let status = self.daemon.connection.status();
        let processes = [&self.daemon.process, &self.napper, &self.copier];
        let used = || processes.map(Running::processor_ns).into_iter().collect::<anyhow::Result<Vec<_>>>();
        let histograms =
            || [Stage::TickToFrame, Stage::Render, Stage::Publish].map(|stage| status.histogram(stage));
        let counts = || (venue.sent(), status.counter(Counter::FramesPublished), used());
        let (began_ns, earlier, ((sent, extra), frames, before)) = (now_ns(), histograms(), counts());
        let others = self.watch(venue);
        let (took_ns, later, ((sent_then, extra_then), frames_then, after)) =
            (now_ns() - began_ns, histograms(), counts());
        let (before, after) = (before?, after?);
        let share =
            |process: usize| (after[process] - before[process]) as u128 * 1_000_000 / u128::from(took_ns);
        let a_second = |count: u64| count as f64 * 1e9 / took_ns as f64;
        let of = |stage: usize, q| match (&later[stage], &earlier[stage]) {
            (Some(later), Some(earlier)) => later.since(earlier).quantile_ns(q),
            _ => 0,
        };
        let (regular, extra) = (sent_then - sent, extra_then - extra);
        ensure!(!others.is_empty(), "no frame was seen");
        Ok(Span {
            shares: [0, 1, 2].map(|process| share(process) as u64),
            trades: a_second(regular + extra),
            frames: a_second(frames_then - frames),
            missed: a_second((regular + extra).saturating_sub(frames_then - frames)),
            tick_to_frame: [of(0, 0.5), of(0, 0.99)],
            drawing: of(1, 0.99) + of(2, 0.99),
            others,
        })
    }

    /// Looks at all charts but the first for a while.
    fn watch(&self, venue: &Venue) -> Vec<u64> {
        let end_ns = now_ns() + SPAN.as_nanos() as u64;
        let (mut newest, mut taken) = ([0; CHARTS as usize], Vec::new());
        while now_ns() < end_ns {
            for (symbol, chart) in self.charts.iter().enumerate().skip(1) {
                let Ok(info) = chart.latest_info() else { continue };
                if info.number != newest[symbol] {
                    let left_ns = venue.left_ns(symbol as u64, info.venue_ms);
                    // The first one seen may be an old one.
                    if let Some(left_ns) = left_ns.filter(|_| newest[symbol] != 0) {
                        taken.push(info.publish_ns.saturating_sub(left_ns));
                    }
                    newest[symbol] = info.number;
                }
            }
            std::thread::sleep(LOOK_EVERY);
        }
        taken
    }
}

fn p99(values: &[u64]) -> u64 {
    let mut values = values.to_vec();
    values.sort_unstable();
    values.get(values.len() * 99 / 100).copied().unwrap_or(0)
}

const PPM: &str = "ppm of a core";

/// What is reported of the daemon.
struct Arms {
    shares: [Arm; 3],
    burst_share: Arm,
    frames: [Arm; 2],
    missed: [Arm; 2],
    tick_to_frame: [Arm; 2],
    drawing: Arm,
    /// Of others' frames with a burst: the 99th percentile without, and one drawing.
    allowed: Arm,
    others: [Arm; 2],
    calm_p99: u64,
    trades: Vec<f64>,
}

impl Arms {
    fn new() -> Self {
        Self {
            shares: [
                Arm::new("chartd, 16 charts", PPM),
                Arm::new("a process that wakes every 10 ms", PPM),
                Arm::new("a process that copies 320 frames/s", PPM),
            ],
            burst_share: Arm::new("chartd, with a burst on one", PPM),
            frames: [Arm::new("frames", "/s"), Arm::new("frames, with a burst on one", "/s")],
            missed: [
                Arm::new("trades without a frame of their own", "/s"),
                Arm::new("the same, with a burst on one", "/s"),
            ],
            tick_to_frame: [Arm::new("tick to frame, p50", "ns"), Arm::new("tick to frame, p99", "ns")],
            drawing: Arm::new("drawing and publishing, p99", "ns"),
            allowed: Arm::new("others' p99 without, and one drawing", "ns"),
            others: [Arm::new("others' frames", "ns"), Arm::new("others' frames, burst on one", "ns")],
            calm_p99: 0,
            trades: Vec::new(),
        }
    }

    fn calm(&mut self, span: Span) {
        self.shares.iter_mut().zip(span.shares).for_each(|(arm, share)| arm.add_round([share]));
        self.tick_to_frame.iter_mut().zip(span.tick_to_frame).for_each(|(arm, ns)| arm.add_round([ns]));
        self.trades.push(span.trades);
        self.calm_p99 = p99(&span.others);
        self.add(0, span);
    }

    fn burst(&mut self, span: Span) {
        self.burst_share.add_round([span.shares[0]]);
        self.drawing.add_round([span.drawing]);
        self.allowed.add_round([self.calm_p99 + span.drawing]);
        self.add(1, span);
    }

    fn add(&mut self, place: usize, span: Span) {
        self.frames[place].add_round([span.frames.round() as u64]);
        self.missed[place].add_round([span.missed.round() as u64]);
        self.others[place].add_round(span.others);
    }

    fn report(self, drawing: [Arm; 4]) -> Report {
        let [calm, burst] = &self.others;
        let [one, two, whole_one, whole_two] = &drawing;
        let [quiet, busy] = [calm, burst].map(|arm| arm.quantile(0.99));
        let bound = self.drawing.quantile(0.5);
        let core = self.shares[0].quantile(0.5) as f64 / 1e6;
        let trades = self.trades.iter().sum::<f64>() / self.trades.len().max(1) as f64;
        let part = |a: &Arm, b: &Arm| a.quantile(0.5) as f64 / b.quantile(0.5) as f64;
        let best = |a: &Arm, b: &Arm| a.all().min() as f64 / b.all().min() as f64;
        let pays = |part| if part < 0.9 { "pays where a second core is free" } else { "does not pay" };
        let notes = vec![
            format!("{CHARTS} charts of {}x{}, 1m, candles and volume; fused, blocking; {} s a span", SIZE.0, SIZE.1, SPAN.as_secs()),
            format!("{trades:.0} trades/s in turn; in a burst {BURST} more on one symbol"),
            "others' frames: from a trade's leaving the venue; tick to frame: from its receipt, by the daemon".into(),
            "a burst also keeps the processor and its caches from resting, which is why others may be quicker with it".into(),
            format!("others' p99 with a burst is {:.2} of that without; drawing and publishing takes {bound} ns, p99", busy as f64 / quiet as f64),
            format!(
                "two drawing threads take {:.2} of one's time for 16 last prices, {:.2} for 16 whole pictures; {:.2} and {:.2} where nothing disturbed either; starting a thread included: it {} for last prices and {} for whole pictures",
                part(two, one),
                part(whole_two, whole_one),
                best(two, one),
                best(whole_two, whole_one),
                pays(best(two, one)),
                pays(best(whole_two, whole_one)),
            ),
        ];
        let ratios = vec![
            Ratio::at_most("share of one core", core, 0.1),
            Ratio::of("processor time / copying as many frames", &self.shares[0], &self.shares[2], 0.5, 2.0),
            Ratio::at_least("frames / trades", self.frames[0].quantile(0.5) as f64 / trades, 0.98),
            Ratio::of(
                "others' p99 with a burst / p99 without and one drawing",
                burst,
                &self.allowed,
                0.99,
                1.0,
            ),
        ];
        let own = self.shares.into_iter().chain([self.burst_share]).chain(self.frames).chain(self.missed);
        let times = self.tick_to_frame.into_iter().chain([self.drawing, self.allowed]).chain(self.others);
        Report { name: "many-charts", notes, arms: own.chain(times).chain(drawing).collect(), ratios }
    }
}

/// Sixteen charts in this process, drawn on one thread and on two.
struct Drawing {
    charts: Vec<(Chart, Walk, Candle)>,
    arms: [Arm; 4],
}

const CHANGES_A_ROUND: usize = 100;
const WHOLE_A_ROUND: usize = 30;

impl Drawing {
    fn new() -> anyhow::Result<Self> {
        let chart = |seed| {
            let (mut chart, mut walk) = (small_chart()?, Walk::new(seed));
            (0..150).for_each(|_| chart.push(walk.bar()));
            let newest = walk.open();
            chart.push(newest);
            chart.draw();
            Ok((chart, walk, newest))
        };
        let names = [
            "16 last prices, one thread",
            "16 last prices, two threads",
            "16 whole pictures, one thread",
            "16 whole pictures, two threads",
        ];
        Ok(Self {
            charts: (1..=CHARTS).map(chart).collect::<anyhow::Result<_>>()?,
            arms: names.map(|name| Arm::new(name, "ns")),
        })
    }

    fn round(&mut self) {
        let Self { charts, arms } = self;
        let [one, two, whole_one, whole_two] = arms;
        one.add_round((0..CHANGES_A_ROUND).map(|_| on_one(charts, change)).collect::<Vec<_>>());
        two.add_round((0..CHANGES_A_ROUND).map(|_| on_two(charts, change)).collect::<Vec<_>>());
        whole_one.add_round((0..WHOLE_A_ROUND).map(|_| on_one(charts, whole)).collect::<Vec<_>>());
        whole_two.add_round((0..WHOLE_A_ROUND).map(|_| on_two(charts, whole)).collect::<Vec<_>>());
    }
}

type One = (Chart, Walk, Candle);

fn on_one(charts: &mut [One], draw: fn(&mut One)) -> u64 {
    timed(|| charts.iter_mut().for_each(draw))
}

fn on_two(charts: &mut [One], draw: fn(&mut One)) -> u64 {
    let (first, second) = charts.split_at_mut(CHARTS as usize / 2);
    timed(|| {
        std::thread::scope(|scope| {
            scope.spawn(|| first.iter_mut().for_each(draw));
            second.iter_mut().for_each(draw);
        })
    })
}

fn change((chart, walk, newest): &mut One) {
    walk.tick(newest, 3);
    chart.set_newest(*newest);
    black_box(chart.draw());
}

fn whole((chart, ..): &mut One) {
    black_box(chart.draw_anew());
}

fn small_chart() -> anyhow::Result<Chart> {
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
        look: Look::default(),
    })?)
}
