//! From candles to a scene. Everything is worked out in integers, anew for each update; what is kept from one update
//! to the next keeps the picture still: the decimal places shown, the gutter's width, and the price range.

mod axes;
mod legend;
mod panes;
mod series;

use crate::palette::Palette;
use crate::scale::{self, Range, Rows};
use crate::scene::{Layer, Scene, Style};
use crate::text::{Atlas, Face};
use crate::time_axis::TimeAxis;
use crate::{ChartError, Frame, Rect, Settings, number};
use market::{Candle, decimal};
use panes::{Metrics, Panes, Slots};

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
    /// Decimal places shown. Only grows, so that labels do not flicker.
    shown_digits: u8,
    /// The gutter's width. Only grows, so that the plot stays in place.
    gutter: i32,
    range: Option<Range>,
    history: History,
    series: SeriesKey,
    times: TimeAxis,
    /// Where numbers become text.
    text: String,
}

impl Layout {
    pub(crate) fn new(settings: Settings, frame: &Frame) -> Result<Self, ChartError> {
        for digits in [settings.price_digits, settings.qty_digits] {
            if digits > decimal::MAX_DIGITS {
                return Err(ChartError::Digits(digits));
            }
        }
        let bounds = frame.bounds();
        let metrics = Metrics::new(bounds.w, bounds.h);
        let atlas = Atlas::at_scale(metrics.scale);
        let mut title = format!("{} · {}", settings.title, settings.timeframe);
        atlas.shorten(Face::Large, &mut title, i32::from(bounds.w) / 2);
        let mut layout = Self {
            palette: Palette::of(settings.theme),
            atlas,
            metrics,
            bounds,
            title_width: atlas.width(Face::Large, &title),
            title,
            shown_digits: 0,
            gutter: panes::gutter_width(atlas, &metrics, "000.00"),
            range: None,
            history: History::default(),
            series: SeriesKey::default(),
            times: TimeAxis::default(),
            text: String::with_capacity(256),
            settings,
        };
        let bars = layout.visible_bars();
        layout.history.bars.reserve_exact(bars);
        layout.times.reserve(bars);
        Ok(layout)
    }

    /// A scene without shapes, of the chart's size.
    pub(crate) fn empty_scene(&self) -> Scene {
        Scene::new(self.bounds, self.atlas, self.visible_bars())
    }

    /// How many bars fit.
    pub(crate) fn visible_bars(&self) -> usize {
        Slots::fitting(&self.panes().plot, &self.metrics)
    }

    /// Fills `scene` with the picture of the newest of `bars` (oldest first). Layers that `scene` still has from an
    /// earlier picture and that have not changed stay.
    pub(crate) fn compose(&mut self, bars: &[Candle], scene: &mut Scene) {
        Layer::ALL.into_iter().filter(|layer| *layer != Layer::Series).for_each(|layer| scene.clear(layer));
        let mut bars = newest(bars, self.visible_bars());
        let mut range = self.survey(bars);
        if self.widen_gutter(range) {
            // A wider gutter leaves room for fewer bars.
            bars = newest(bars, self.visible_bars());
            range = self.survey(bars);
        }
        self.range = range;
        let m = &self.metrics;
        self.times.update(bars, &self.settings.time_zone, self.settings.timeframe, m.label_bars);
        let (tick, panes) = (self.tick(), self.panes());
        let volume = bars.last().map_or(0, |last| last.volume).max(self.history.volume);
        let volumes = Volumes::new(volume, &panes.volume, m);
        let version = self.series.version(self.history.version, range, volumes.range, panes.plot);
        let mut view = View {
            scene,
            text: &mut self.text,
            settings: &self.settings,
            palette: &self.palette,
            atlas: self.atlas,
            m,
            slots: Slots::new(&panes.plot, m, bars.len()),
            prices: range.map(|range| Prices::new(range, &panes.price, tick, self.shown_digits)),
            volumes,
            panes,
            bars,
            title: &self.title,
            title_width: self.title_width,
        };
        axes::draw(&mut view, &self.times);
        series::draw(&mut view, version);
        legend::draw(&mut view);
    }

    fn panes(&self) -> Panes {
        Panes::new(self.bounds, &self.metrics, self.gutter, self.title_width)
    }

    /// The smallest step between prices that is shown, in price units.
    fn tick(&self) -> i128 {
        10i128.pow((self.settings.price_digits - self.shown_digits).into())
    }

    /// Shows as many decimal places as the prices need.
    fn show_digits(&mut self, bars: &[Candle]) {
        let digits = self.settings.price_digits;
        let mut tick = 10i64.pow((digits - self.shown_digits).into());
        for ohlc in bars.iter().filter_map(|bar| bar.ohlc) {
            for price in [ohlc.open, ohlc.high, ohlc.low, ohlc.close] {
                if price % tick != 0 {
                    self.shown_digits = decimal::used_digits(price, digits);
                    tick = 10i64.pow((digits - self.shown_digits).into());
                }
            }
        }
    }

    /// Takes in what bars are shown. Returns the range for their prices, if they have any.
    fn survey(&mut self, bars: &[Candle]) -> Option<Range> {
        let (older, newest) = bars.split_at(bars.len().saturating_sub(1));
        if self.history.update(older) {
            self.show_digits(older);
        }
        self.show_digits(newest);
        let extents = self.history.extent.into_iter().chain(Range::of(newest));
        let extent = extents.reduce(|(low, high), other| (low.min(other.0), high.max(other.1)))?;
        Some(Range::fit(extent, self.tick(), self.range))
    }

    /// Makes room for the longest label in `range`. Returns whether that took more room than before.
    fn widen_gutter(&mut self, range: Option<Range>) -> bool {
        let before = self.gutter;
        for price in range.into_iter().flat_map(|range| [range.low, range.high]) {
            self.text.clear();
            number::push_fixed(&mut self.text, price, self.settings.price_digits, self.shown_digits);
            self.gutter = self.gutter.max(panes::gutter_width(self.atlas, &self.metrics, &self.text));
        }
        self.gutter > before
    }
}

/// The bars before the newest, and what they amount to: worked out anew only when one of them changes, which most
/// trades do not do.
#[derive(Debug, Default)]
struct History {
    bars: Vec<Candle>,
    extent: Option<(i64, i64)>,
    /// The largest volume.
    volume: i128,
    version: u64,
}

impl History {
    /// Returns whether `bars` are others than before.
    fn update(&mut self, bars: &[Candle]) -> bool {
        if self.bars == bars {
            return false;
        }
        self.bars.clear();
        self.bars.extend_from_slice(bars);
        self.extent = Range::of(bars);
        self.volume = bars.iter().map(|bar| bar.volume).max().unwrap_or(0);
        self.version += 1;
        true
    }
}

/// All that the older bars' shapes follow from.
#[derive(Debug, Default)]
struct SeriesKey {
    key: Option<(u64, Option<Range>, Range, Rect)>,
    version: u64,
}

impl SeriesKey {
    /// A number that changes whenever one of these does.
    fn version(&mut self, history: u64, prices: Option<Range>, volumes: Range, plot: Rect) -> u64 {
        let key = Some((history, prices, volumes, plot));
        if self.key != key {
            self.key = key;
            self.version += 1;
        }
        self.version
    }
}

/// The last `count` of `bars`.
fn newest(bars: &[Candle], count: usize) -> &[Candle] {
    &bars[bars.len().saturating_sub(count)..]
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
    bars: &'a [Candle],
    /// None while there is no price to show.
    prices: Option<Prices>,
    volumes: Volumes,
    title: &'a str,
    title_width: i32,
}

impl View<'_> {
    /// Clears the text and lets `write` fill it.
    fn write(&mut self, write: impl FnOnce(&mut String)) {
        self.text.clear();
        write(self.text);
    }

    /// How many columns the text takes.
    fn text_width(&self) -> i32 {
        self.atlas.width(Face::Small, self.text)
    }

    /// Puts the text at column `x`, its middle on row `middle`. Leaves out the whole of it where it does not fit.
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
}

/// The price axis.
#[derive(Debug, Clone, Copy)]
struct Prices {
    rows: Rows,
    range: Range,
    tick: i128,
    shown_digits: u8,
}

impl Prices {
    fn new(range: Range, pane: &Rect, tick: i128, shown_digits: u8) -> Self {
        Self { rows: Rows::new(range, pane.y.into(), pane.bottom() - 1), range, tick, shown_digits }
    }

    /// The round prices to label, with labels at least `apart` rows from each other.
    fn ticks(&self, pane: &Rect, apart: i32) -> impl Iterator<Item = i128> + use<> {
        label_ticks(self.range, pane, apart, self.tick)
    }
}

/// The volume axis: from nothing up to a round number.
#[derive(Debug, Clone, Copy)]
struct Volumes {
    rows: Rows,
    range: Range,
}

impl Volumes {
    fn new(most: i128, pane: &Rect, m: &Metrics) -> Self {
        let range = Range { low: 0, high: scale::round_top(most.max(1)) };
        Self { rows: Rows::new(range, i32::from(pane.y) + 10 * m.scale_px, pane.bottom()), range }
    }

    fn ticks(&self, pane: &Rect, apart: i32) -> impl Iterator<Item = i128> + use<> {
        label_ticks(self.range, pane, apart, 1)
    }
}

fn label_ticks(range: Range, pane: &Rect, apart: i32, tick: i128) -> impl Iterator<Item = i128> + use<> {
    let rows = i128::from(pane.h.max(1));
    // Divided first where the product would not fit: such a range has no use for the rest.
    let span = range.high - range.low;
    let least = span
        .checked_mul(apart.into())
        .map_or((span / rows).saturating_mul(apart.into()), |all| all / rows + 1);
    scale::ticks(range, scale::nice_step(least, tick))
}
