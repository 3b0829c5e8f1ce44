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
use crate::{ChartError, Frame, Rect, Settings};
use fills::Profile;
use market::{Candle, decimal};
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
    /// The gutter's width. Only grows until the view is reset, so that the plot stays in place.
    gutter: i32,
    prices: Option<(Range, Space)>,
    study_ranges: [Option<Range>; MAX_STUDIES],
    window: Window,
    times: TimeAxis,
    still: Still,
    profile: Profile,
    /// The rows of the price axis's labels.
    tick_rows: Vec<i32>,
    /// Where numbers become text.
    text: String,
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
        let mut layout = Self {
            palette: Palette::new(settings.theme, &look.colors),
            atlas,
            metrics,
            bounds,
            title_width: atlas.width(Face::Large, &title),
            title,
            gutter: panes::gutter_width(atlas, &metrics, "000.00"),
            prices: None,
            study_ranges: [None; MAX_STUDIES],
            window: Window::default(),
            times: TimeAxis::default(),
            still: Still::default(),
            profile: Profile::new(look.volume_profile),
            tick_rows: Vec::with_capacity(usize::from(bounds.h)),
            text: String::with_capacity(256),
            settings,
        };
        // At the most a column for each pixel.
        let columns = usize::from(bounds.w);
        layout.window.reserve(columns);
        layout.times.reserve(columns);
        Ok(layout)
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
    pub(crate) fn visible_bars(&self, view: Viewed) -> usize {
        self.room(view) << view.zoom.level()
    }

    /// The zoom at which so many bars just fit.
    pub(crate) fn zoom_for(&self, bars: u64) -> Zoom {
        Zoom::fitting(bars, self.panes().plot.w.into(), self.metrics.scale)
    }

    /// The index and the level of the column at pixel column `x` in the last picture.
    pub(crate) fn column_at(&self, x: u16) -> Option<(u64, u8)> {
        let slots = self.still.key.as_ref()?.slots;
        let column = slots.at(x.into(), self.window.columns.len())?;
        Some((self.window.first + column as u64, self.window.level))
    }

    /// Fits the axes anew, whatever they were fitted to before: the next picture depends on what it shows alone.
    pub(crate) fn forget_fit(&mut self) {
        self.gutter = panes::gutter_width(self.atlas, &self.metrics, "000.00");
        (self.prices, self.study_ranges) = (None, [None; MAX_STUDIES]);
    }

    /// Its bars are others now, even if they have the numbers of those before.
    pub(crate) fn forget_bars(&mut self) {
        self.window.forget();
    }

    /// How many columns fit.
    fn room(&self, view: Viewed) -> usize {
        let spacing = Slots::spacing(view.zoom, &self.metrics);
        Slots::fitting(&self.panes().plot, spacing, view.right == Right::Newest)
    }

    /// Fills `scene` with the picture. Layers that `scene` still has from an earlier one and that have not changed stay.
    pub(crate) fn compose(&mut self, input: &Input<'_>, scene: &mut Scene) {
        let kind = self.settings.look.kind;
        self.window.update(input.bars, input.studies, input.view, self.room(input.view), kind);
        self.find_ranges(input);
        if self.widen_gutter(input) {
            // A wider gutter leaves room for fewer bars.
            self.window.update(input.bars, input.studies, input.view, self.room(input.view), kind);
            self.find_ranges(input);
        }
        let panes = self.panes();
        let spacing = Slots::spacing(input.view.zoom, &self.metrics);
        let free = input.view.right == Right::Newest;
        let slots = Slots::new(&panes.plot, spacing, free, &self.metrics, self.window.columns.len());
        let volumes = Axis::volume(self.window.volume, &panes.volume, 10 * self.metrics.scale_px);
        let labels = Labels::of(self.settings.look.scale, self.first_close());
        let version = self.still.version(Key {
            window: self.window.version,
            prices: self.prices,
            labels,
            volumes: volumes.range,
            studies: self.study_ranges,
            panes,
            slots,
            digits: input.bars.used_digits(),
            marks: input.marks.version,
        });
        let digits = (self.settings.price_digits, input.bars.used_digits());
        let prices =
            self.prices.map(|(range, space)| Prices::new(range, space, labels, &panes.price, digits));
        let columns = self.window.columns.iter().map(|column| column.open_ms);
        let apart = (self.metrics.label_columns + spacing - 1) / spacing;
        let (zone, timeframe) = (&self.settings.time_zone, self.settings.timeframe);
        self.times.update(columns, zone, timeframe, apart as usize, self.window.level);
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
            columns: &self.window.columns,
            window: &self.window,
            input,
            study_ranges: &self.study_ranges,
            tick_rows: &mut self.tick_rows,
            title: &self.title,
            title_width: self.title_width,
        };
        view.draw(version, &self.times, &mut self.profile);
    }

    fn panes(&self) -> Panes {
        let look = &self.settings.look;
        let studies = look.studies.iter().filter(|spec| !spec.is_overlay()).count();
        let wanted = Wanted { volume: !look.hide_volume, studies };
        Panes::new(self.bounds, &self.metrics, self.gutter, self.title_width, wanted)
    }

    /// The first close shown: what relative scales count from.
    fn first_close(&self) -> Option<i64> {
        self.window.columns.iter().find_map(|column| column.ohlc).map(|ohlc| ohlc.close)
    }

    /// Fits the ranges of all axes to what is shown.
    fn find_ranges(&mut self, input: &Input<'_>) {
        let digits = self.settings.price_digits;
        let tick = 10i128.pow((digits - input.bars.used_digits()).into());
        let overlays = studies::overlay_extent(input.studies, &self.window, digits);
        let extent = self.window.extent.map(|(low, high)| {
            // A line that is far from all prices must not squeeze them: it may take up to twice their height.
            let height = high.saturating_sub(low).max(1);
            overlays.map_or((low, high), |(lowest, highest)| {
                let (least, most) = (low.saturating_sub(height), high.saturating_add(height));
                (low.min(lowest.max(least)), high.max(highest.min(most)))
            })
        });
        self.prices = extent.map(|extent| {
            let space = Space::of(self.settings.look.scale, extent.0);
            let kept = self.prices.filter(|(_, kept)| *kept == space).map(|(range, _)| range);
            (space.fit(extent, tick, kept), space)
        });
        for (index, study) in input.studies.list().iter().enumerate() {
            let kept = self.study_ranges[index];
            self.study_ranges[index] = studies::range(study.spec(), self.window.studies[index], kept);
        }
    }

    /// Makes room for the longest label. Returns whether that took more room than before.
    fn widen_gutter(&mut self, input: &Input<'_>) -> bool {
        let before = self.gutter;
        let Some((range, space)) = self.prices else { return false };
        let panes = self.panes();
        let labels = Labels::of(self.settings.look.scale, self.first_close());
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
            self.gutter = self.gutter.max(panes::gutter_width(self.atlas, &self.metrics, &self.text));
        }
        self.gutter > before
    }
}

/// All that the still layers follow from.
#[derive(Debug, PartialEq)]
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
}

/// The version of the still layers.
#[derive(Debug, Default)]
struct Still {
    key: Option<Key>,
    version: u64,
}

impl Still {
    /// A number that changes whenever something in `key` does.
    fn version(&mut self, key: Key) -> u64 {
        if self.key.as_ref() != Some(&key) {
            self.key = Some(key);
            self.version += 1;
        }
        self.version
    }
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
            let still = [Layer::Background, Layer::Fill, Layer::Axes, Layer::Series, Layer::Marks];
            still.into_iter().for_each(|layer| self.scene.renew(layer, version));
            self.scene.solid(Layer::Background, self.panes.frame, self.palette.background);
            fills::watermark(self);
            axes::draw(self, times);
            series::draw_older(self);
            studies::draw_older(self);
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
