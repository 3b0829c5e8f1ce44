//! The chart plane: reads candles from shared memory as any client does, draws them, publishes frames.
//!
//! Each chart keeps one canonical picture. A change damages a part of it; only that is drawn. Each slot catches up by
//! copying what it missed since it was last written: in idle time, but for the change itself. All changes since the
//! last frame go into the next one, and all that clients wished meanwhile ([`crate::wishes`]).
//!
//! No news, no frame: but a chart that counts down to the end of its newest bar is drawn when the second changes.

use crate::ahead::AheadPlan;
use crate::doorbell::Doorbell;
use crate::fail;
use crate::rt::{POLL_NS, Wait};
use crate::supervisor::Pulse;
use crate::uring::{Bell, Done, Ring};
use crate::wishes::{self, Wisher, Wishes};
use chart::raster::Kernel;
use chart::{Changes, Chart, ChartError, DamageLog, Look, PriceLine, Settings, Theme};
use chart_client::{candle_of, find_series};
use jiff::tz::TimeZone;
use market::{Candle, ChartName, Timeframe};
use shm::ShmError;
use shm::frame::{Backend, FrameInfo, FramePlan, FrameWriter, Rect, SlotWriter};
use shm::lease::LeaseTable;
use shm::market::{MarketReader, SeriesState};
use shm::prefix::Identity;
use shm::status::{ChartEntry, ChartState, Counter, Phase, Stage, StatusWriter};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::time::Duration;

/// Slots of a chart. One is prepared for the next frame, so a reader that copies has two frames' time before its slot
/// is taken.
pub(crate) const SLOTS: usize = 4;
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
    /// What is drawn, and how.
    pub look: Look,
    /// Lines at prices.
    pub price_lines: Vec<PriceLine>,
    /// The time zone of its time axis.
    pub time_zone: TimeZone,
    /// How many bars can be looked back at.
    pub history: usize,
    /// How many readers may lease a slot of it.
    pub leases: usize,
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
    /// The doorbell cannot be made.
    #[error("cannot make the doorbell")]
    Doorbell(#[source] std::io::Error),
}

/// What a chart's readers are given.
#[derive(Debug)]
pub struct Export {
    /// Its name.
    pub name: String,
    /// Its control and pixel segments.
    pub segments: [OwnedFd; 2],
    /// The leases on its slots.
    pub leases: Arc<LeaseTable>,
}

/// All charts, and where their frames go.
pub struct Renderer {
    market: MarketReader,
    status: Arc<StatusWriter>,
    now_ns: fn() -> u64,
    views: Vec<View>,
    doorbell: Arc<Doorbell>,
    /// Whether somebody waits for what was published.
    rings: bool,
    /// What clients want of the charts.
    wishes: Wishes,
    /// The other end, until it is taken.
    wishing: Option<wishes::Ending>,
}

struct View {
    /// Its place in the status segment.
    place: usize,
    timeframe: Timeframe,
    series: usize,
    instrument: usize,
    chart: Chart,
    frames: FrameWriter,
    damage: DamageLog,
    /// What was drawn and not published, and what the next frame changes.
    owed: Changes,
    /// Where bars are put together that are taken in at once.
    bars: Vec<Candle>,
    history: usize,
    seen: Option<SeriesState>,
    /// Whether the picture is to change though its candles do not.
    is_wished: bool,
    /// How many adjustments it shows.
    adjustments: u64,
    /// The second of the venue's clock that its countdown shows.
    shown_second: Option<i64>,
    /// When the bar ends that it counts down to.
    countdown_to: Option<i64>,
    counts_down: bool,
    next_tick: u64,
    ahead: AheadPlan,
    /// How often a slot was passed over because it was leased.
    passed_over: u64,
}

impl Renderer {
    /// Makes the charts' memory and publishes their first frames, with the candles that there are.
    pub fn new(
        plans: &[ChartPlan],
        market: OwnedFd,
        huge_pages: bool,
        status: Arc<StatusWriter>,
        now_ns: fn() -> u64,
    ) -> Result<Self, RenderError> {
        let market = MarketReader::open(market)?;
        let identity = market.identity();
        let view = |(place, plan)| View::new(place, plan, &market, huge_pages, identity);
        let views = plans.iter().enumerate().map(view).collect::<Result<Vec<_>, _>>()?;
        let doorbell = Arc::new(Doorbell::new(views.len()).map_err(RenderError::Doorbell)?);
        let (wishing, wishes) = wishes::queue();
        let wishing = Some(wishing);
        let mut renderer = Self { market, status, now_ns, views, doorbell, rings: false, wishes, wishing };
        for view in &mut renderer.views {
            let ticks = renderer.market.ticks_written();
            let news = view.news(&renderer.market).map(|state| (state, ticks));
            view.draw(&renderer.market, news, &renderer.status, now_ns);
            renderer.doorbell.published(view.place, view.frames.latest(), now_ns());
        }
        Ok(renderer)
    }

    /// Lists the charts in the status segment. Nobody else may publish frames meanwhile.
    pub fn announce(&self) -> Result<(), ShmError> {
        self.status.set_charts(&self.views.iter().map(View::entry).collect::<Vec<_>>())?;
        for view in &self.views {
            let frames = view.frames.latest();
            let backend = backend_of(&view.chart) as u64;
            let state = ChartState { frames, publish_ns: 0, passed_over: 0, backend };
            self.status.set_chart_state(view.place, &state);
        }
        Ok(())
    }

    /// What each chart's readers are given.
    pub fn exports(&self) -> Result<Vec<Export>, ShmError> {
        let export = |view: &View| {
            let name = view.frames.header().chart.to_string();
            Ok(Export { name, segments: view.frames.reader_fds()?, leases: view.frames.leases().clone() })
        };
        self.views.iter().map(export).collect()
    }

    /// Through which clients adjust the charts; `wake` must have the thread that draws look. There is one: `None` once
    /// it was taken.
    pub fn take_wisher(&mut self, wake: impl Fn() + 'static) -> Option<Wisher> {
        let charts =
            self.views.iter().map(|view| view.frames.header()).map(|chart| [chart.width, chart.height]);
        let charts = charts.collect::<Vec<_>>();
        Some(Wisher::new(self.wishing.take()?, &charts, self.status.clone(), Box::new(wake)))
    }

    /// What rings when somebody waits for a frame that is published.
    pub fn doorbell(&self) -> &Arc<Doorbell> {
        &self.doorbell
    }

    /// Whether somebody waits for what was published since the last call.
    pub(crate) fn take_rings(&mut self) -> bool {
        std::mem::take(&mut self.rings)
    }

    /// Prepares one chart for its next frame, if there is one that is not: for when there is nothing else to do.
    /// Returns whether there was.
    pub fn catch_up(&mut self) -> bool {
        if let Some(behind) = self.views.iter_mut().find(|view| !view.frames.has_kept()) {
            behind.catch_up();
            return true;
        }
        let now_ns = (self.now_ns)();
        let soon = self.views.iter_mut().find(|view| view.wants_ahead(now_ns));
        soon.map(|view| view.prepare_ahead(&self.status)).is_some()
    }

    /// Whether a chart is not prepared for its next frame.
    pub fn is_behind(&self) -> bool {
        let now_ns = (self.now_ns)();
        self.views.iter().any(|view| !view.frames.has_kept() || view.wants_ahead(now_ns))
    }

    /// Goes on with a simpler backend, if there is one: the present one took too long.
    pub(crate) fn step_down(&mut self) {
        if let Some(simpler) = self.backend().simpler() {
            self.views.iter_mut().for_each(|view| view.chart.set_kernel(kernel_of(simpler)));
            self.status.count(Counter::BackendSwitches, 1);
        }
    }

    /// What draws the charts.
    pub fn backend(&self) -> Backend {
        self.views.first().map_or(Backend::CpuScalar, |view| backend_of(&view.chart))
    }

    /// The smallest page size among the charts' pixels: 4 KiB if a single one did without huge pages.
    pub fn page_bytes(&self) -> Option<u64> {
        self.views.iter().map(|view| view.frames.header().page_bytes).min()
    }

    /// The canonical picture of each chart, by name.
    pub fn pictures(&self) -> impl Iterator<Item = (String, &chart::Frame)> {
        self.views.iter().map(|view| (view.frames.header().chart.to_string(), view.chart.frame()))
    }

    /// Whether a chart is to be drawn: its candles changed since its last frame, somebody wished something, or a second
    /// of a countdown has passed.
    pub fn has_news(&self) -> bool {
        let is_due = |view: &View| {
            view.is_wished || view.news(&self.market).is_some() || view.is_second_over(self.now_ns)
        };
        !self.wishes.is_empty() || self.views.iter().any(is_due)
    }

    /// Fulfils all wishes, then draws and publishes every chart that is to be drawn, once. Returns how many.
    pub fn step(&mut self) -> usize {
        self.wishes.fulfil(|place, wish| {
            if let Some(view) = self.views.get_mut(place) {
                wish.fulfil(&mut view.chart);
                view.is_wished = true;
                view.adjustments += 1;
            }
        });
        let mut published = 0;
        for view in &mut self.views {
            // Ticks are written behind their candles, so these are in the state that is read next.
            let ticks = self.market.ticks_written();
            let news = view.news(&self.market).map(|state| (state, ticks));
            if news.is_none() && !view.is_wished && !view.is_second_over(self.now_ns) {
                continue;
            }
            let publish_ns = view.draw(&self.market, news, &self.status, self.now_ns);
            self.rings |= self.doorbell.published(view.place, view.frames.latest(), publish_ns);
            published += 1;
        }
        published
    }
}

impl View {
    fn new(
        place: usize,
        plan: &ChartPlan,
        market: &MarketReader,
        huge: bool,
        identity: Identity,
    ) -> Result<Self, RenderError> {
        let (series, instrument) =
            find_series(market, &plan.name).ok_or_else(|| RenderError::NoSeries(plan.name.clone()))?;
        let entry = &market.instruments()[instrument];
        let [width, height] = plan.size;
        let mut chart = Chart::new(Settings {
            width,
            height,
            theme: plan.theme,
            time_zone: plan.time_zone.clone(),
            title: format!("{} · {}", plan.name.symbol, plan.name.venue),
            timeframe: plan.name.timeframe,
            price_digits: entry.price_digits as u8,
            qty_digits: entry.qty_digits as u8,
            history: plan.history,
            look: plan.look.clone(),
        })
        .map_err(|error| RenderError::Chart(plan.name.clone(), error))?;
        plan.price_lines.iter().for_each(|line| chart.set_price_line(*line));
        chart.enable_ahead().map_err(|error| RenderError::Chart(plan.name.clone(), error))?;
        let frames = FrameWriter::create(&FramePlan {
            chart: &plan.name.to_string(),
            width: width as usize,
            height: height as usize,
            slots: SLOTS,
            leases: plan.leases,
            huge,
            identity,
        })?;
        let bars = Vec::with_capacity(plan.history);
        let damage = DamageLog::new(width, height);
        let next_tick = market.ticks_written();
        let owed = Changes::none(width, height);
        Ok(Self {
            place,
            timeframe: plan.name.timeframe,
            series,
            instrument,
            chart,
            frames,
            damage,
            owed,
            bars,
            history: plan.history,
            seen: None,
            is_wished: false,
            adjustments: 0,
            shown_second: None,
            countdown_to: None,
            counts_down: plan.look.countdown,
            next_tick,
            ahead: AheadPlan::default(),
            passed_over: 0,
        })
    }

    fn entry(&self) -> ChartEntry {
        let header = self.frames.header();
        let (name, leases) = (header.chart, header.leases);
        ChartEntry { name, width: header.width, height: header.height, page_bytes: header.page_bytes, leases }
    }

    /// How far the candles have come, if that is further than the last frame.
    fn news(&self, market: &MarketReader) -> Option<SeriesState> {
        let state = market.state(self.series)?;
        (self.seen.map(|seen| seen.revision) != Some(state.revision)).then_some(state)
    }

    /// The second of the venue's clock, if a countdown shows it. The clock went on since the last message; the bar is
    /// not over before the next one says so, so the countdown ends at zero.
    fn second(&self, now_ns: fn() -> u64) -> Option<i64> {
        let (end_ms, state) = (self.countdown_to?, self.seen?);
        let passed_ms = now_ns().saturating_sub(state.receive_ns) / 1_000_000;
        let venue_ms = state.venue_ms.saturating_add_unsigned(passed_ms);
        Some(venue_ms.min(end_ms).div_euclid(1_000))
    }

    /// Whether its countdown shows a second that is over.
    fn is_second_over(&self, now_ns: fn() -> u64) -> bool {
        self.countdown_to.is_some() && self.second(now_ns) != self.shown_second
    }

    /// Has the countdown show the second that it is.
    fn count_down(&mut self, now_ns: fn() -> u64) {
        if !self.counts_down {
            return;
        }
        let newest = self.chart.bars().last();
        self.countdown_to = newest.map(|bar| self.timeframe.end_ms(bar.open_ms));
        self.shown_second = self.second(now_ns);
        self.chart.set_venue_time(self.shown_second.map(|second| 1_000 * second));
    }

    /// Draws the candles of `news`, which hold all ticks below the number with it, or those of the last frame again, and
    /// publishes the frame. Returns when.
    fn draw(
        &mut self,
        market: &MarketReader,
        news: Option<(SeriesState, u64)>,
        status: &StatusWriter,
        now_ns: fn() -> u64,
    ) -> u64 {
        let render_ns = now_ns();
        if let Some((state, _)) = &news {
            self.refresh(market, state);
        }
        self.is_wished = false;
        self.count_down(now_ns);
        self.chart.draw();
        self.ahead.used();
        self.ahead.count(self.chart.ahead_counts(), status);
        self.owed.merge(self.chart.changes());
        let shown = self.seen;
        let damage = self.owed.damage();
        let mut info = FrameInfo {
            number: 0,
            venue_ms: shown.map_or(0, |state| state.venue_ms),
            receive_ns: shown.map_or(render_ns, |state| state.receive_ns),
            decode_ns: shown.map_or(render_ns, |state| state.decode_ns),
            candle_ns: shown.map_or(render_ns, |state| state.candle_ns),
            render_ns,
            drawn_ns: now_ns(),
            publish_ns: 0,
            data_revision: shown.map_or(0, |state| state.revision),
            backend: backend_of(&self.chart) as u64,
            bars: self.chart.bars().len().min(self.chart.visible_bars()) as u64,
            adjustments: self.adjustments,
            damage_count: damage.rects().len() as u64,
            damage: [0; shm::frame::MAX_DAMAGE],
        };
        for (word, rect) in info.damage.iter_mut().zip(damage.rects()) {
            *word = packed(rect).pack();
        }
        let Some(slot) = self.frames.begin() else {
            // More leases than spare slots cannot be. If they were, the next frame would show this one's changes too.
            return render_ns;
        };
        fail::point("publish.taken");
        let number = slot.number();
        self.damage.record(number, &self.owed);
        self.owed.clear();
        copy_missed(&slot, &self.chart, &mut self.damage);
        fail::point("publish.copied");
        info.publish_ns = now_ns();
        slot.publish(info);
        fail::point("publish.done");

        let before = std::mem::replace(&mut self.passed_over, self.frames.passed_over());
        status.count(Counter::SlotsPassedOver, self.passed_over - before);
        let (publish_ns, passed_over) = (info.publish_ns, self.passed_over);
        let state = ChartState { frames: number, publish_ns, passed_over, backend: info.backend };
        status.set_chart_state(self.place, &state);
        status.count(Counter::FramesPublished, 1);
        status.count(Counter::PixelsDrawn, self.chart.changes().area());
        status.recorder(Stage::Render).record(info.drawn_ns.saturating_sub(render_ns));
        status.recorder(Stage::Publish).record(publish_ns.saturating_sub(info.drawn_ns));
        if let Some((state, ticks)) = news {
            status.recorder(Stage::Handover).record(render_ns.saturating_sub(state.candle_ns));
            let recorder = status.recorder(Stage::TickToFrame);
            let lost = market.read_ticks(&mut self.next_tick, ticks, |tick| {
                if tick.instrument() == self.instrument {
                    recorder.record(info.publish_ns.saturating_sub(tick.receive_ns));
                }
            });
            status.count(Counter::TicksOverrun, lost);
        }
        info.publish_ns
    }

    /// Takes the next frame's slot and brings it up to the latest frame, so that only what the next one changes is left
    /// to be copied when it is due.
    fn catch_up(&mut self) {
        let latest = self.frames.latest();
        if let Some(slot) = self.frames.begin() {
            copy_missed(&slot, &self.chart, &mut self.damage);
            slot.keep(latest);
        }
    }

    /// Whether the newest bar is about to end, and the next one's picture is not there.
    fn wants_ahead(&self, now_ns: u64) -> bool {
        let (Some(seen), Some(newest)) = (self.seen, self.chart.bars().last()) else { return false };
        self.ahead.wants(&seen, [newest.open_ms, self.timeframe.end_ms(newest.open_ms)], now_ns)
    }

    /// Draws the coming bar's picture.
    fn prepare_ahead(&mut self, status: &StatusWriter) {
        let (Some(seen), Some(newest)) = (self.seen, self.chart.bars().last()) else { return };
        self.ahead.begin(&seen);
        self.chart.prepare_ahead(self.timeframe.end_ms(newest.open_ms));
        self.ahead.count(self.chart.ahead_counts(), status);
    }

    /// Brings the chart's bars up to `state`. Reads the newest ones only, unless older ones changed.
    fn refresh(&mut self, market: &MarketReader, state: &SeriesState) {
        let end = self.chart.end();
        let keeps = self.seen.is_some_and(|seen| seen.amended == state.amended)
            && !self.chart.bars().is_empty()
            && (state.first + 1..=state.end).contains(&end);
        let before_ms = self.seen.map_or(state.venue_ms, |seen| seen.venue_ms);
        self.ahead.note_pause(state.venue_ms.saturating_sub(before_ms));
        self.seen = Some(*state);
        let candle = |number| market.candle(self.series, number).as_ref().and_then(candle_of);
        if keeps && let Some(newest) = candle(end - 1) {
            self.chart.set_newest(newest);
            if (end..state.end).all(|number| candle(number).map(|bar| self.chart.push(bar)).is_some()) {
                return;
            }
        }
        self.bars.clear();
        let oldest = state.first.max(state.end.saturating_sub(self.history as u64));
        let mut first = oldest;
        for number in oldest..state.end {
            match candle(number) {
                Some(candle) => self.bars.push(candle),
                None => {
                    // Written over while we were away: show what is left.
                    self.bars.clear();
                    first = number + 1;
                }
            }
        }
        self.chart.load(first, &self.bars);
    }
}

/// Each kernel, and what readers know it by.
const KERNELS: [(Kernel, Backend); 4] = [
    (Kernel::Scalar, Backend::CpuScalar),
    (Kernel::Portable, Backend::CpuPortable),
    (Kernel::Avx2, Backend::CpuAvx2),
    (Kernel::Avx512, Backend::CpuAvx512),
];

/// What readers know the kernel by that draws a chart.
fn backend_of(chart: &Chart) -> Backend {
    let known = KERNELS.into_iter().find(|(kernel, _)| *kernel == chart.kernel());
    known.map_or(Backend::CpuScalar, |(_, backend)| backend)
}

/// The kernel that readers know as `backend`.
fn kernel_of(backend: Backend) -> Kernel {
    let known = KERNELS.into_iter().find(|(_, known)| *known == backend);
    known.map_or(Kernel::Scalar, |(kernel, _)| kernel)
}

/// Copies what a slot missed since it was last written; everything, the first time.
fn copy_missed(slot: &SlotWriter<'_>, chart: &Chart, log: &mut DamageLog) {
    let pixels = chart.frame().pixels();
    log.since(slot.held()).for_each_rect(|rect| slot.copy(pixels, packed(&rect)));
}

fn packed(rect: &chart::Rect) -> Rect {
    Rect { x: rect.x, y: rect.y, width: rect.w, height: rect.h }
}

/// Runs on the render thread until `stop`.
pub(crate) fn run(
    mut renderer: Renderer,
    mut ring: Ring,
    bell: &Bell,
    wait: Wait,
    pulse: &Pulse,
    stop: &AtomicBool,
) -> std::io::Result<()> {
    bell.attach(&ring);
    let mut idle_since_ns = (renderer.now_ns)();
    let mut done = [Done::default(); 8];
    while !stop.load(Acquire) {
        if renderer.has_news() {
            pulse.beat(Phase::Draw, (renderer.now_ns)());
            if pulse.take_step_down() {
                renderer.step_down();
            }
            renderer.step();
            if renderer.take_rings() {
                renderer.doorbell.ring_on(&mut ring)?;
                ring.enter(Duration::ZERO)?;
            }
            idle_since_ns = (renderer.now_ns)();
            pulse.beat(Phase::Wait, idle_since_ns);
            continue;
        }
        let now_ns = (renderer.now_ns)();
        pulse.beat(Phase::Wait, now_ns);
        if renderer.catch_up() {
            continue;
        }
        let spins = match wait {
            Wait::Spin => true,
            Wait::Poll => now_ns.saturating_sub(idle_since_ns) < POLL_NS,
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
