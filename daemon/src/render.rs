//! The chart plane: reads candles from shared memory as any client does, draws them, publishes frames.
//!
//! Each chart keeps one canonical picture. A change damages a part of it; only that is drawn, and each slot catches
//! up by copying what it missed since it was last written. All changes since the last frame go into the next one.

use crate::rt::{POLL_NS, Placement, Wait};
use crate::uring::{Bell, Done, Ring};
use chart::{Chart, ChartError, Damage, DamageLog, Settings, Theme};
use chart_client::{candle_of, find_series};
use jiff::tz::TimeZone;
use market::{Candle, ChartName};
use shm::ShmError;
use shm::frame::{Backend, FrameInfo, FrameWriter, Rect};
use shm::market::{MarketReader, SeriesState};
use shm::status::{ChartEntry, Counter, Stage, StatusWriter};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::time::Duration;

/// Slots of a chart. A reader that copies has three frames' time before its slot is written again; more slots would
/// have to catch up on more frames, which was measured to cost more than it gave.
const SLOTS: usize = 4;
/// How long the thread may sleep before it looks whether it is to stop.
const NAP: Duration = Duration::from_millis(100);

/// A chart to draw.
#[derive(Debug, Clone)]
pub struct ChartPlan {
    /// What it shows.
    pub name: ChartName,
    /// Width and height in pixels.
    pub size: [u32; 2],
    /// Its colours.
    pub theme: Theme,
    /// The time zone of its time axis.
    pub time_zone: TimeZone,
}

/// Why a chart cannot be drawn.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The market segment has no such candles.
    #[error("there are no candles for the chart {0}")]
    NoSeries(ChartName),
    /// The chart cannot be made.
    #[error("chart {0}: {1}")]
    Chart(ChartName, ChartError),
    /// Its memory cannot be had.
    #[error(transparent)]
    Shm(#[from] ShmError),
}

/// All charts, and where their frames go.
pub struct Renderer {
    market: MarketReader,
    status: Arc<StatusWriter>,
    now_ns: fn() -> u64,
    views: Vec<View>,
}

struct View {
    /// Its place in the status segment.
    place: usize,
    series: usize,
    instrument: usize,
    chart: Chart,
    frames: FrameWriter,
    damage: DamageLog,
    /// The bars shown, and the number of the first.
    bars: Vec<Candle>,
    first: u64,
    seen: Option<SeriesState>,
    next_tick: u64,
}

impl Renderer {
    /// Makes the charts' memory and publishes their first frames, which wait for trades.
    pub fn new(
        plans: &[ChartPlan],
        market: OwnedFd,
        huge_pages: bool,
        status: Arc<StatusWriter>,
        now_ns: fn() -> u64,
    ) -> Result<Self, RenderError> {
        let market = MarketReader::open(market)?;
        let views = plans
            .iter()
            .map(|plan| View::new(plan, &market, huge_pages, &status))
            .collect::<Result<Vec<_>, _>>()?;
        let mut renderer = Self { market, status, now_ns, views };
        for view in &mut renderer.views {
            view.draw(&renderer.market, None, &renderer.status, now_ns);
        }
        Ok(renderer)
    }

    /// Each chart's name and the descriptors for its readers.
    pub fn exports(&self) -> Result<Vec<(String, [OwnedFd; 2])>, ShmError> {
        let export = |view: &View| Ok((view.frames.header().chart.to_string(), view.frames.reader_fds()?));
        self.views.iter().map(export).collect()
    }

    /// The smallest page size among the charts' pixels: 4 KiB if a single one did without huge pages.
    pub fn page_bytes(&self) -> Option<u64> {
        self.views.iter().map(|view| view.frames.header().page_bytes).min()
    }

    /// The canonical picture of each chart, by name.
    pub fn pictures(&self) -> impl Iterator<Item = (String, &chart::Frame)> {
        self.views.iter().map(|view| (view.frames.header().chart.to_string(), view.chart.frame()))
    }

    /// Whether a chart's candles changed since its last frame.
    pub fn has_news(&self) -> bool {
        self.views.iter().any(|view| view.news(&self.market).is_some())
    }

    /// Draws and publishes every chart whose candles changed. Returns how many.
    pub fn step(&mut self) -> usize {
        let mut published = 0;
        for view in &mut self.views {
            // Ticks are written behind their candles, so these are in the state that is read next.
            let ticks = self.market.ticks_written();
            if let Some(state) = view.news(&self.market) {
                view.draw(&self.market, Some((state, ticks)), &self.status, self.now_ns);
                published += 1;
            }
        }
        published
    }
}

impl View {
    fn new(
        plan: &ChartPlan,
        market: &MarketReader,
        huge_pages: bool,
        status: &StatusWriter,
    ) -> Result<Self, RenderError> {
        let (series, instrument) =
            find_series(market, &plan.name).ok_or_else(|| RenderError::NoSeries(plan.name.clone()))?;
        let entry = &market.instruments()[instrument];
        let [width, height] = plan.size;
        let chart = Chart::new(Settings {
            width,
            height,
            theme: plan.theme,
            time_zone: plan.time_zone.clone(),
            title: format!("{} · {}", plan.name.symbol, plan.name.venue),
            timeframe: plan.name.timeframe,
            price_digits: entry.price_digits as u8,
            qty_digits: entry.qty_digits as u8,
        })
        .map_err(|error| RenderError::Chart(plan.name.clone(), error))?;
        let name = plan.name.to_string();
        let frames = FrameWriter::create(&name, width as usize, height as usize, SLOTS, huge_pages)?;
        let place = status.add_chart(&ChartEntry {
            name: shm::record::Text::new(&name),
            width: width.into(),
            height: height.into(),
            frames: 0,
            page_bytes: frames.header().page_bytes,
        })?;
        let bars = Vec::with_capacity(chart.visible_bars() + 1);
        let damage = DamageLog::new(width, height);
        let next_tick = market.ticks_written();
        Ok(Self { place, series, instrument, chart, frames, damage, bars, first: 0, seen: None, next_tick })
    }

    /// How far the candles have come, if that is further than the last frame.
    fn news(&self, market: &MarketReader) -> Option<SeriesState> {
        let state = market.state(self.series)?;
        (self.seen.map(|seen| seen.revision) != Some(state.revision)).then_some(state)
    }

    /// Draws the candles of `state`, which hold all ticks below the number with it, and publishes the frame.
    fn draw(
        &mut self,
        market: &MarketReader,
        news: Option<(SeriesState, u64)>,
        status: &StatusWriter,
        now_ns: fn() -> u64,
    ) {
        let render_ns = now_ns();
        if let Some((state, _)) = &news {
            self.refresh(market, state);
        }
        let damage = *self.chart.update(&self.bars);
        let mut info = FrameInfo {
            number: 0,
            venue_ms: news.map_or(0, |(state, _)| state.venue_ms),
            receive_ns: news.map_or(render_ns, |(state, _)| state.receive_ns),
            candle_ns: news.map_or(render_ns, |(state, _)| state.candle_ns),
            render_ns,
            publish_ns: 0,
            data_revision: news.map_or(0, |(state, _)| state.revision),
            backend: Backend::CpuScalar as u64,
            bars: self.bars.len() as u64,
            damage_count: damage.rects().len() as u64,
            damage: [0; shm::frame::MAX_DAMAGE],
        };
        for (word, rect) in info.damage.iter_mut().zip(damage.rects()) {
            *word = packed(rect).pack();
        }
        let slot = self.frames.begin();
        let number = slot.number();
        self.damage.record(number, &damage);
        // What the slot missed since it was last written, this frame's damage included; everything, the first time.
        let frame = self.chart.frame();
        let missed = match slot.held() {
            Some(held) => self.damage.since(held),
            None => Damage::full(frame.width(), frame.height()),
        };
        for rect in missed.rects() {
            slot.copy(frame.pixels(), packed(rect));
        }
        info.publish_ns = now_ns();
        slot.publish(info);

        status.set_chart_frames(self.place, number);
        status.count(Counter::FramesPublished, 1);
        status.count(Counter::PixelsDrawn, damage.area());
        status.recorder(Stage::Render).record(info.publish_ns.saturating_sub(render_ns));
        if let Some((_, ticks)) = news {
            let recorder = status.recorder(Stage::TickToFrame);
            let lost = market.read_ticks(&mut self.next_tick, ticks, |tick| {
                if tick.instrument() == self.instrument {
                    recorder.record(info.publish_ns.saturating_sub(tick.receive_ns));
                }
            });
            status.count(Counter::TicksOverrun, lost);
        }
    }

    /// Brings the bars up to `state`. Reads the newest ones only, unless older ones changed.
    fn refresh(&mut self, market: &MarketReader, state: &SeriesState) {
        let visible = self.chart.visible_bars() as u64;
        let first = state.first.max(state.end.saturating_sub(visible));
        let (held_first, held_end) = (self.first, self.first + self.bars.len() as u64);
        let keeps = self.seen.is_some_and(|seen| seen.amended == state.amended)
            && (held_first..=held_end).contains(&first)
            && held_end <= state.end;
        if keeps {
            self.bars.drain(..(first - held_first) as usize);
            self.bars.pop(); // The newest may have changed.
        } else {
            self.bars.clear();
        }
        self.first = first;
        self.seen = Some(*state);
        for number in first + self.bars.len() as u64..state.end {
            match market.candle(self.series, number).as_ref().and_then(candle_of) {
                Some(candle) => self.bars.push(candle),
                None => {
                    // Written over while we were away: show what is left, and read all of it next time.
                    self.bars.clear();
                    self.first = number + 1;
                }
            }
        }
    }
}

fn packed(rect: &chart::Rect) -> Rect {
    Rect { x: rect.x, y: rect.y, width: rect.w, height: rect.h }
}

/// Runs on the render thread until `stop`.
pub(crate) fn run(
    mut renderer: Renderer,
    mut ring: Ring,
    bell: &Bell,
    placement: &Placement,
    stop: &AtomicBool,
) -> std::io::Result<()> {
    bell.attach(&ring);
    let mut idle_since_ns = (renderer.now_ns)();
    let mut done = [Done::default(); 8];
    while !stop.load(Acquire) {
        if renderer.step() > 0 {
            idle_since_ns = (renderer.now_ns)();
            continue;
        }
        let spins = match placement.wait {
            Wait::Spin => true,
            Wait::Poll => (renderer.now_ns)().saturating_sub(idle_since_ns) < POLL_NS,
            Wait::Block | Wait::Auto => false,
        };
        if spins {
            std::hint::spin_loop();
            continue;
        }
        bell.fall_asleep();
        if !renderer.has_news() {
            ring.enter(NAP)?;
        }
        bell.wake_up();
        while ring.take(&mut done) > 0 {}
    }
    bell.detach();
    Ok(())
}
