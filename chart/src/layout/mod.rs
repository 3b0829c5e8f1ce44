//! From bars to a scene. Everything is worked out in integers, anew for each update; what is kept from one update to
//! the next keeps the picture still: the gutter's width and the ranges of the axes.
//!
//! A scene has still layers, which change only when a bar but the newest, a range or the view does, and lively ones,
//! which are laid out for each update: they hold the newest bar and what follows from it.

mod axes;
mod fills;
mod legend;
mod lines;
mod marks;
mod panes;
mod pointer;
mod prices;
mod series;
mod studies;
mod window;

use crate::bars::{Bars, Column};
use crate::marks::Marks;
use crate::palette::Palette;
use crate::scale::Range;
use crate::scene::{Layer, Scene, Style};
use crate::settings::{MAX_STUDIES, SeriesKind};
use crate::studies::Studies;
use crate::text::{Atlas, Face};
use crate::time_axis::TimeAxis;
use crate::view::{Right, View as Viewed, Zoom};
use crate::{ChartError, Frame, MAX_SIZE, Rect, Settings};
use fills::Profile;
use market::{Candle, CandleState, decimal};
use panes::{Metrics, Panes, Slots, Wanted};
use prices::{Axis, Labels, Prices, Space};
use window::Window;

/// What a picture is made of.
pub(crate) struct Input<'a> {
    pub bars: &'a Bars,
    pub studies: &'a Studies,
    pub marks: &'a Marks,
    pub view: Viewed,
    /// Where the crosshair is, in pixels.
    pub pointer: Option<(u16, u16)>,
    /// The venue's time, for the countdown.
    pub venue_ms: Option<i64>,
}

/// Lays out one chart, update after update.
#[derive(Debug)]
pub(crate) struct Layout {
    settings: Settings,
    palette: Palette,
    atlas: &'static Atlas,
    metrics: Metrics,
    bounds: Rect,
    /// Title and timeframe, and their width.
    title: String,
    title_width: i32,
    profile: Profile,
    /// The last version of still layers that was laid out.
    versions: u64,
    /// Where numbers become text.
    text: String,
}

/// What is kept from one picture to the next.
#[derive(Debug)]
pub(crate) struct Stage {
    /// The gutter's width. Only grows, so that the plot stays in place.
    gutter: i32,
    prices: Option<(Range, Space)>,
    study_ranges: [Option<Range>; MAX_STUDIES],
    window: Window,
    times: TimeAxis,
    /// What the still layers follow from, and their version.
    key: Option<Key>,
    version: u64,
    /// The rows of the price axis's labels.
    tick_rows: Vec<i32>,
}

impl Stage {
    /// Becomes what `other` is, and allocates nothing.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        self.keep_ranges(other);
        self.window.copy_from(&other.window);
        self.times.copy_from(&other.times);
        (self.key, self.version) = (other.key, other.version);
        self.tick_rows.clone_from(&other.tick_rows);
    }

    /// Goes on from the ranges of `other`, whatever its own: they must not follow from a bar that was only expected.
    pub(crate) fn keep_ranges(&mut self, other: &Self) {
        (self.gutter, self.prices, self.study_ranges) = (other.gutter, other.prices, other.study_ranges);
    }

    /// The index and the level of the column at pixel column `x` in the last picture.
    pub(crate) fn column_at(&self, x: u16) -> Option<(u64, u8)> {
        let column = self.key?.slots.at(x.into(), self.window.columns.len())?;
        Some((self.window.first + column as u64, self.window.level))
    }

    /// Its bars are others now, even if they have the numbers of those before.
    pub(crate) fn forget_bars(&mut self) {
        self.window.forget();
    }

    /// The first close shown: what relative scales count from.
    fn first_close(&self) -> Option<i64> {
        self.window.columns.iter().find_map(|column| column.ohlc).map(|ohlc| ohlc.close)
    }
}

impl Layout {
    pub(crate) fn new(settings: Settings, frame: &Frame) -> Result<Self, ChartError> {
        let look = &settings.look;
        for digits in [settings.price_digits, settings.qty_digits] {
            if digits > decimal::MAX_DIGITS {
                return Err(ChartError::Digits(digits));
            }
        }
        if look.studies.len() > MAX_STUDIES {
            return Err(ChartError::Studies(look.studies.len()));
        }
        if let Some(magnify) = look.magnify.filter(|magnify| !(1..=4).contains(magnify)) {
            return Err(ChartError::Magnify(magnify));
        }
        if let Some(width) = look.bar_width.filter(|width| !(1..=crate::view::MAX_WIDTH).contains(width)) {
            return Err(ChartError::BarWidth(width));
        }
        let bounds = frame.bounds();
        let metrics = Metrics::new(bounds.w, bounds.h, look.magnify);
        let atlas = Atlas::at_scale(metrics.scale);
        let mut title = format!("{} · {}", settings.title, settings.timeframe);
        atlas.shorten(Face::Large, &mut title, i32::from(bounds.w) / 2);
        Ok(Self {
            palette: Palette::new(settings.theme, &look.colors),
            atlas,
            metrics,
            bounds,
            title_width: atlas.width(Face::Large, &title),
            title,
            profile: Profile::new(look.volume_profile),
            versions: 0,
            text: String::with_capacity(256),
            settings,
        })
    }

    /// What the first picture begins with.
    pub(crate) fn stage(&self) -> Stage {
        let mut stage = Stage {
            gutter: panes::gutter_width(self.atlas, &self.metrics, "000.00"),
            prices: None,
            study_ranges: [None; MAX_STUDIES],
            window: Window::default(),
            times: TimeAxis::default(),
            key: None,
            version: 0,
            tick_rows: Vec::with_capacity(usize::from(self.bounds.h)),
        };
        // At the most a column for each pixel.
        let columns = usize::from(self.bounds.w);
        stage.window.reserve(columns);
        stage.times.reserve(columns);
        stage
    }

    /// A scene without shapes, of the chart's size.
    pub(crate) fn empty_scene(&self) -> Scene {
        let lines = 3 * self.settings.look.studies.len() + usize::from(self.settings.look.kind.is_line());
        // A bar takes up to five shapes, a line and its fill up to three for each pixel across.
        let room = usize::from(self.bounds.w) * (2 + 3 * lines) + 1_024;
        Scene::new(self.bounds, self.atlas, room)
    }

    /// What is shown unless somebody chooses otherwise.
    pub(crate) fn usual_view(&self) -> Viewed {
        let usual = if self.bounds.w < 720 { 6 } else { 8 };
        let zoom = Zoom::Wide(self.settings.look.bar_width.unwrap_or(usual));
        Viewed { zoom, right: Right::Newest }
    }

    /// How many bars fit into `view`.
    pub(crate) fn visible_bars(&self, stage: &Stage, view: Viewed) -> usize {
        self.room(stage, view) << view.zoom.level()
    }

    /// The zoom at which so many bars just fit.
    pub(crate) fn zoom_for(&self, stage: &Stage, bars: u64) -> Zoom {
        Zoom::fitting(bars, self.panes(stage).plot.w.into(), self.metrics.scale)
    }

    /// How many columns fit.
    fn room(&self, stage: &Stage, view: Viewed) -> usize {
        let spacing = Slots::spacing(view.zoom, &self.metrics);
        Slots::fitting(&self.panes(stage).plot, spacing, view.right == Right::Newest)
    }

    /// Fills `scene` with the picture. Layers that `scene` still has from an earlier one and that have not changed stay.
    pub(crate) fn compose(&mut self, input: &Input<'_>, stage: &mut Stage, scene: &mut Scene) {
        let kind = self.settings.look.kind;
        stage.window.update(input.bars, input.studies, input.view, self.room(stage, input.view), kind);
        self.find_ranges(input, stage);
        if self.widen_gutter(input, stage) {
            // A wider gutter leaves room for fewer bars.
            stage.window.update(input.bars, input.studies, input.view, self.room(stage, input.view), kind);
            self.find_ranges(input, stage);
        }
        let panes = self.panes(stage);
        let spacing = Slots::spacing(input.view.zoom, &self.metrics);
        let free = input.view.right == Right::Newest;
        let slots = Slots::new(&panes.plot, spacing, free, &self.metrics, stage.window.columns.len());
        let volumes = Axis::volume(stage.window.volume, &panes.volume, 10 * self.metrics.scale_px);
        let labels = Labels::of(self.settings.look.scale, stage.first_close());
        let newest = stage.window.columns.last().copied();
        self.find_version(
            stage,
            Key {
                window: stage.window.version,
                prices: stage.prices,
                labels,
                volumes: volumes.range,
                studies: stage.study_ranges,
                panes,
                slots,
                digits: input.bars.used_digits(),
                marks: input.marks.version,
                newest: newest.map(|newest| (newest.open_ms, newest.state == CandleState::Gap)),
                newest_ms: input.bars.candles().last().map(|newest| newest.open_ms),
            },
        );
        let digits = (self.settings.price_digits, input.bars.used_digits());
        let prices =
            stage.prices.map(|(range, space)| Prices::new(range, space, labels, &panes.price, digits));
        let columns = stage.window.columns.iter().map(|column| column.open_ms);
        let apart = (self.metrics.label_columns + spacing - 1) / spacing;
        let (zone, timeframe) = (&self.settings.time_zone, self.settings.timeframe);
        stage.times.update(columns, zone, timeframe, apart as usize, stage.window.level);
        let mut view = View {
            scene,
            text: &mut self.text,
            settings: &self.settings,
            palette: &self.palette,
            atlas: self.atlas,
            m: &self.metrics,
            slots,
            prices,
            volumes,
            panes,
            columns: &stage.window.columns,
            window: &stage.window,
            input,
            study_ranges: &stage.study_ranges,
            tick_rows: &mut stage.tick_rows,
            title: &self.title,
            title_width: self.title_width,
        };
        view.draw(stage.version, &stage.times, &mut self.profile);
    }

    /// Gives the still layers a version that changes whenever something in `key` does. No two keys ever share one.
    fn find_version(&mut self, stage: &mut Stage, key: Key) {
        if stage.key != Some(key) {
            self.versions += 1;
            (stage.key, stage.version) = (Some(key), self.versions);
        }
    }

    fn panes(&self, stage: &Stage) -> Panes {
        let look = &self.settings.look;
        let studies = look.studies.iter().filter(|spec| !spec.is_overlay()).count();
        let wanted = Wanted { volume: !look.hide_volume, studies };
        Panes::new(self.bounds, &self.metrics, stage.gutter, self.title_width, wanted)
    }

    /// Fits the ranges of all axes to what is shown.
    fn find_ranges(&self, input: &Input<'_>, stage: &mut Stage) {
        let digits = self.settings.price_digits;
        let tick = 10i128.pow((digits - input.bars.used_digits()).into());
        let overlays = studies::overlay_extent(input.studies, &stage.window, digits);
        let extent = stage.window.extent.map(|(low, high)| {
            // A line that is far from all prices must not squeeze them: it may take up to twice their height.
            let height = high.saturating_sub(low).max(1);
            overlays.map_or((low, high), |(lowest, highest)| {
                let (least, most) = (low.saturating_sub(height), high.saturating_add(height));
                (low.min(lowest.max(least)), high.max(highest.min(most)))
            })
        });
        stage.prices = extent.map(|extent| {
            let space = Space::of(self.settings.look.scale, extent.0);
            let kept = stage.prices.filter(|(_, kept)| *kept == space).map(|(range, _)| range);
            (space.fit(extent, tick, kept), space)
        });
        for (index, study) in input.studies.list().iter().enumerate() {
            let kept = stage.study_ranges[index];
            stage.study_ranges[index] = studies::range(study.spec(), stage.window.studies[index], kept);
        }
    }

    /// Makes room for the longest label. Returns whether that took more room than before.
    fn widen_gutter(&mut self, input: &Input<'_>, stage: &mut Stage) -> bool {
        let before = stage.gutter;
        let Some((range, space)) = stage.prices else { return false };
        let panes = self.panes(stage);
        let labels = Labels::of(self.settings.look.scale, stage.first_close());
        let digits = (self.settings.price_digits, input.bars.used_digits());
        let prices = Prices::new(range, space, labels, &panes.price, digits);
        let ends = match space {
            Space::Linear => {
                [range.low, range.high].map(|end| end.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
            }
            Space::Log => [panes.price.bottom() - 1, panes.price.y.into()].map(|row| prices.price_at(row)),
        };
        for price in ends {
            self.text.clear();
            prices.push(&mut self.text, price);
            stage.gutter = stage.gutter.max(panes::gutter_width(self.atlas, &self.metrics, &self.text));
        }
        stage.gutter > before
    }
}

/// All that the still layers follow from.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Key {
    window: u64,
    prices: Option<(Range, Space)>,
    labels: Labels,
    volumes: Range,
    studies: [Option<Range>; MAX_STUDIES],
    panes: Panes,
    slots: Slots,
    digits: u8,
    marks: u64,
    /// When the newest column begins, and whether it is hatched: the axes are of all columns.
    newest: Option<(i64, bool)>,
    /// When the newest bar opens: markers are at the last bar that opens before them.
    newest_ms: Option<i64>,
}

/// What the parts of a picture share while it is put together.
struct View<'a> {
    scene: &'a mut Scene,
    text: &'a mut String,
    settings: &'a Settings,
    palette: &'a Palette,
    atlas: &'static Atlas,
    m: &'a Metrics,
    panes: Panes,
    slots: Slots,
    columns: &'a [Column],
    window: &'a Window,
    input: &'a Input<'a>,
    /// None while there is no price to show.
    prices: Option<Prices>,
    volumes: Axis,
    study_ranges: &'a [Option<Range>; MAX_STUDIES],
    tick_rows: &'a mut Vec<i32>,
    title: &'a str,
    title_width: i32,
}

impl View<'_> {
    /// Lays out the still layers unless the scene has this `version` of them, and the lively ones.
    fn draw(&mut self, version: u64, times: &TimeAxis, profile: &mut Profile) {
        // All of the still layers are laid out together, so one of them stands for all.
        if !self.scene.keeps(Layer::Grid, version) {
            let still = [Layer::Background, Layer::Fill, Layer::Axes, Layer::Series];
            still.into_iter().for_each(|layer| self.scene.renew(layer, version));
            self.scene.solid(Layer::Background, self.panes.frame, self.palette.background);
            fills::watermark(self);
            axes::draw(self, times);
            series::draw_older(self);
            studies::draw_older(self);
        }
        // A marker at the newest bar follows its high and its low. A row takes at most 14 bits.
        let [high, low] = self.newest_rows().map(|row| row as u64);
        if !self.scene.keeps(Layer::Marks, version << 28 | high << 14 | low) {
            marks::draw(self);
        }
        let covered = legend::price_label(self);
        let hidden = axes::hidden_tick(self, covered);
        if !self.scene.keeps(Layer::Ticks, version << 16 | hidden.map_or(0, |row| row as u64 + 1)) {
            axes::draw_ticks(self, hidden);
        }
        let lively = [Layer::LastFill, Layer::Last, Layer::Price, Layer::Legend, Layer::Pointer];
        lively.into_iter().for_each(|layer| self.scene.clear(layer));
        profile.draw(self, version);
        series::draw_newest(self);
        studies::draw_newest(self);
        legend::draw(self);
        pointer::draw(self);
    }

    /// The rows of the newest column's high and low; the frame's height and more where it has none.
    fn newest_rows(&self) -> [i32; 2] {
        let ohlc = self.columns.last().and_then(|column| column.ohlc);
        let rows = self.prices.zip(ohlc).map(|(prices, ohlc)| [prices.row(ohlc.high), prices.row(ohlc.low)]);
        rows.unwrap_or([MAX_SIZE as i32 + 1; 2])
    }

    /// Clears the text and lets `write` fill it.
    fn write(&mut self, write: impl FnOnce(&mut String)) {
        self.text.clear();
        write(self.text);
    }

    /// How many pixel columns the text takes.
    fn text_width(&self) -> i32 {
        self.atlas.width(Face::Small, self.text)
    }

    /// Puts the text at pixel column `x`, its middle on row `middle`. Leaves out the whole of it where it does not fit.
    fn put(&mut self, layer: Layer, color: u32, (x, middle): (i32, i32), within: Rect) {
        let half = self.atlas.digit_height(Face::Small) / 2 + self.m.scale_px;
        let fits = x >= i32::from(within.x)
            && x + self.text_width() <= within.right()
            && middle - half >= i32::from(within.y)
            && middle + half < within.bottom();
        if fits {
            let style = Style { face: Face::Small, color };
            let baseline = self.atlas.baseline(Face::Small, middle);
            self.scene.text(layer, self.text, style, (x, baseline), within);
        }
    }

    /// Whether bars are drawn as lines.
    fn is_line(&self) -> bool {
        self.settings.look.kind.is_line() && self.window.level == 0
    }

    /// The kind that is drawn: several bars in a pixel are always a stroke from their low to their high.
    fn kind(&self) -> SeriesKind {
        self.settings.look.kind
    }

    /// The newest bar of all, whether it is shown or not.
    fn newest(&self) -> Option<&Candle> {
        self.input.bars.candles().last()
    }

    /// The places of the older columns, and of all.
    fn older(&self) -> core::ops::Range<usize> {
        0..self.columns.len().saturating_sub(1)
    }
}
