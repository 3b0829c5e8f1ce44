//! Sizes, and how the frame is divided. What a small frame has no room for is given an empty pane: nothing is drawn
//! there, and nobody need ask.

use crate::settings::MAX_STUDIES;
use crate::text::{Atlas, Face, MAX_SCALE};
use crate::{Rect, Zoom};

/// Lengths in pixels that follow from the size of the frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Metrics {
    /// Text and lines are this many times as large as on a 1920×1080 frame.
    pub scale: u16,
    pub scale_px: i32,
    /// From one label of the time axis to the next, at least.
    pub label_columns: i32,
    /// From one label of a vertical axis to the next, at least.
    pub label_rows: i32,
    /// Between text and the edge of what holds it.
    pub pad: i32,
}

impl Metrics {
    /// The lengths for a frame of this size, magnified as asked or as its size suggests.
    pub(crate) fn new(width: u16, height: u16, magnify: Option<u8>) -> Self {
        let suggested = (width / 1920).min(height / 1080);
        let scale = magnify.map_or(suggested, u16::from).clamp(1, MAX_SCALE);
        let scale_px = i32::from(scale);
        Self { scale, scale_px, label_columns: 80 * scale_px, label_rows: 40 * scale_px, pad: 8 * scale_px }
    }
}

/// Widths of body and wick for bars that are `spacing` pixels apart, at `scale` pixels to the unit: what users of
/// TradingView's lightweight-charts see (`optimal-bar-width.ts`). There the body takes 1 − 0.2 × 2/π × atan(s − 4) of
/// the spacing s; here the arctangent is written as its first term, which gives the same pixels. It is as odd as the
/// wick, so that candles are symmetric.
fn candle_widths(spacing: i32, scale: i32) -> (i32, i32) {
    let beyond = spacing - 4 * scale;
    let body = match () {
        () if beyond > 0 => (800 * spacing + 127 * spacing * scale / beyond) / 1_000,
        () if 2 * spacing >= 5 * scale => (3 * scale).min(spacing),
        () => spacing,
    };
    let body = body.clamp(1, spacing.max(1));
    let wick = scale.clamp(1, body);
    (if (body - wick) % 2 == 0 { body } else { body - 1 }, wick)
}

/// How the frame is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Panes {
    pub frame: Rect,
    /// Title and legend.
    pub header: Rect,
    /// Candles.
    pub price: Rect,
    /// Volume bars.
    pub volume: Rect,
    /// The panes of those indicators that have one, from the top.
    pub studies: [Rect; MAX_STUDIES],
    /// Everything left of the gutter and above the time axis.
    pub plot: Rect,
    /// Labels of prices and volumes: all that is right of the plot, from top to bottom.
    pub gutter: Rect,
    /// Labels of times: all that is below the plot.
    pub times: Rect,
    /// How many lines of text the header has.
    pub header_lines: i32,
}

/// What is to have a pane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub volume: bool,
    pub studies: usize,
}

impl Panes {
    /// Divides a frame. The gutter is to be `gutter` pixels wide, the title needs `title` pixels.
    pub(crate) fn new(frame: Rect, m: &Metrics, gutter: i32, title: i32, wanted: Wanted) -> Self {
        let s = m.scale_px;
        let (width, height) = (i32::from(frame.w), i32::from(frame.h));
        let gutter = if width >= 160 * s && height >= 60 * s { gutter.min(width / 3) } else { 0 };
        let times = if width >= 120 * s && height >= 110 * s { 26 * s } else { 0 };
        let (right, bottom) = (width - gutter, height - times);
        let header_lines = match () {
            () if right < 80 * s || bottom < 80 * s => 0,
            () if right - title < LEGEND_WIDTH * s && bottom >= 200 * s => 2,
            () => 1,
        };
        let header = if header_lines == 0 { 0 } else { (10 + 20 * header_lines) * s };
        let area = |left, top, right, bottom| Rect::from_edges(left, top, right, bottom, frame);
        // Panes are taken from the bottom: at most half of the height for indicators.
        let count = wanted.studies.min(MAX_STUDIES) as i32;
        let each = if count == 0 { 0 } else { (height / 6).min(height / 2 / count) };
        let each = if each >= LEAST_PANE * s && bottom >= 160 * s { each } else { 0 };
        let studies_top = bottom - each * count;
        let studies = core::array::from_fn(|index| {
            let top = studies_top + each * index as i32;
            if (index as i32) < count { area(0, top, right, top + each) } else { Rect::default() }
        });
        let volume = if wanted.volume && studies_top >= 160 * s { studies_top / 5 } else { 0 };
        let split = studies_top - volume;
        Self {
            frame,
            header: area(0, 0, right, header),
            price: area(0, header, right, split),
            volume: area(0, split, right, studies_top),
            studies,
            plot: area(0, 0, right, bottom),
            gutter: area(right, 0, width, height),
            times: area(0, bottom, right, height),
            header_lines,
        }
    }
}

/// An indicator's pane is at least so high, at scale 1, or there are none.
const LEAST_PANE: i32 = 40;

/// What a legend needs on a line of its own or beside the title, at scale 1.
const LEGEND_WIDTH: i32 = 560;

/// The width of a gutter whose longest label is `label`.
pub(crate) fn gutter_width(atlas: &Atlas, m: &Metrics, label: &str) -> i32 {
    atlas.width(Face::Small, label) + 2 * m.pad
}

/// Where the bars are across.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slots {
    /// The left edge of the oldest column's slot. May lie left of the plot.
    pub left: i32,
    pub spacing: i32,
    pub body: i32,
    pub wick: i32,
}

impl Slots {
    /// From one column to the next.
    pub(crate) fn spacing(zoom: Zoom, m: &Metrics) -> i32 {
        match zoom {
            Zoom::Wide(width) => i32::from(width) * m.scale_px,
            Zoom::Dense(_) => 1,
        }
    }

    /// How many columns fit in a plot, with room left free at the right or not: always at least one.
    pub(crate) fn fitting(plot: &Rect, spacing: i32, free: bool) -> usize {
        let width = i32::from(plot.w);
        ((width - margin(width, spacing, free)) / spacing).max(1) as usize
    }

    /// `count` columns, the last of them at the right.
    pub(crate) fn new(plot: &Rect, spacing: i32, free: bool, m: &Metrics, count: usize) -> Self {
        let right = plot.right() - margin(i32::from(plot.w), spacing, free);
        let (body, wick) = candle_widths(spacing, m.scale_px.min(spacing));
        Self { left: right - count as i32 * spacing, spacing, body, wick }
    }

    /// The left edge of a column's slot.
    pub(crate) fn slot(&self, column: usize) -> i32 {
        self.left + column as i32 * self.spacing
    }

    /// The left edge of a column's body.
    pub(crate) fn body(&self, column: usize) -> i32 {
        self.slot(column) + (self.spacing - self.body) / 2
    }

    /// The left edge of a column's wick.
    pub(crate) fn wick(&self, column: usize) -> i32 {
        self.body(column) + (self.body - self.wick) / 2
    }

    /// The middle of a column.
    pub(crate) fn middle(&self, column: usize) -> i32 {
        self.wick(column) + self.wick / 2
    }

    /// The column whose slot holds `x`, of `count`; the first or the last where `x` is beside them.
    pub(crate) fn at(&self, x: i32, count: usize) -> Option<usize> {
        let last = count.checked_sub(1)? as i32;
        Some((x - self.left).div_euclid(self.spacing).clamp(0, last) as usize)
    }
}

/// The room that is left free to the right of the newest bar.
fn margin(width: i32, spacing: i32, free: bool) -> i32 {
    // As much as four bars of the usual width, but a whole number of bars.
    let wanted = (32 / spacing).max(4) * spacing;
    if free && width >= 10 * wanted { wanted } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rule as lightweight-charts has it.
    fn optimal_width(spacing: f64) -> i32 {
        let width = match spacing {
            2.5..=4.0 => 3.0,
            _ => {
                let beyond = spacing.max(4.0) - 4.0;
                (spacing * (1.0 - 0.2 * beyond.atan() / core::f64::consts::FRAC_PI_2)).floor()
            }
        };
        let width = width.min(spacing.floor()).max(1.0) as i32;
        // Its wick is one pixel wide.
        if width >= 2 && width % 2 == 0 { width - 1 } else { width }
    }

    #[test]
    fn candles_are_as_wide_as_in_lightweight_charts() {
        for spacing in 1..=200 {
            assert_eq!(candle_widths(spacing, 1).0, optimal_width(f64::from(spacing)), "{spacing} pixels");
        }
    }

    #[test]
    fn candles_are_symmetric_and_do_not_overlap() {
        for spacing in 1..400 {
            for scale in 1..=4.min(spacing) {
                let (body, wick) = candle_widths(spacing, scale);
                assert!(body >= 1 && wick >= 1 && wick <= body && (body - wick) % 2 == 0, "{spacing}");
                let slots = Slots { left: -7, spacing, body, wick };
                for bar in 0..5 {
                    let (left, right) =
                        (slots.wick(bar) - slots.body(bar), slots.body(bar) + body - slots.wick(bar) - wick);
                    assert_eq!(left, right, "the wick is in the middle");
                    assert!(slots.body(bar) + body <= slots.body(bar + 1));
                }
            }
        }
    }

    #[test]
    fn panes_never_overlap() {
        for width in (1..400).chain([1920, 8192]) {
            for height in (1..400).chain([1080, 8192]) {
                let frame = Rect::new(0, 0, width, height);
                let m = Metrics::new(width, height, None);
                for (gutter, volume, studies) in
                    [(20, true, 0), (90, false, 1), (400, true, 3), (90, true, 8)]
                {
                    let p = Panes::new(frame, &m, gutter, 150, Wanted { volume, studies });
                    let parts = [&[p.header, p.price, p.volume, p.times, p.gutter], &p.studies[..]].concat();
                    for (index, part) in parts.iter().enumerate() {
                        assert!(frame.contains(part));
                        assert!(parts[..index].iter().all(|other| other.intersect(part).is_empty()));
                    }
                    assert!(!p.price.is_empty(), "{width}×{height}: candles always have a place");
                }
            }
        }
    }
}
