//! Sizes, and how the frame is divided. What a small frame has no room for is given an empty pane: nothing is drawn
//! there, and nobody need ask.

use crate::Rect;
use crate::text::{Atlas, Face, MAX_SCALE};

/// Lengths in pixels that follow from the size of the frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Metrics {
    /// Text and lines are this many times as large as on a 1920×1080 frame.
    pub scale: u16,
    pub scale_px: i32,
    /// From one bar to the next.
    pub spacing: i32,
    /// The width of a candle's body.
    pub body: i32,
    /// The width of a candle's wick: odd where the body is odd, so that it stands in the middle.
    pub wick: i32,
    /// From one label of the time axis to the next, in bars, at least.
    pub label_bars: usize,
    /// From one label of a vertical axis to the next, at least.
    pub label_rows: i32,
    /// Between text and the edge of what holds it.
    pub pad: i32,
}

impl Metrics {
    /// The lengths for a frame of this size.
    pub(crate) fn new(width: u16, height: u16) -> Self {
        let scale = (width / 1920).min(height / 1080).clamp(1, MAX_SCALE);
        let scale_px = i32::from(scale);
        let spacing = scale_px * if width < 720 { 6 } else { 8 };
        let (body, wick) = candle_widths(spacing, scale_px);
        Self {
            scale,
            scale_px,
            spacing,
            body,
            wick,
            label_bars: ((80 * scale_px + spacing - 1) / spacing) as usize,
            label_rows: 40 * scale_px,
            pad: 8 * scale_px,
        }
    }
}

/// Widths of body and wick for bars that are `spacing` apart. The body takes about three quarters, is as odd as the
/// wick, and leaves at least a column between neighbours.
fn candle_widths(spacing: i32, wick: i32) -> (i32, i32) {
    let body = (spacing * 5 / 6).clamp(1, (spacing - 1).max(1));
    let wick = wick.clamp(1, body);
    (if (body - wick) % 2 == 0 { body } else { body - 1 }, wick)
}

/// How the frame is divided.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Panes {
    pub frame: Rect,
    /// Title and legend.
    pub header: Rect,
    /// Candles.
    pub price: Rect,
    /// Volume bars.
    pub volume: Rect,
    /// Everything left of the gutter and above the time axis.
    pub plot: Rect,
    /// Labels of prices and volumes: all that is right of the plot, from top to bottom.
    pub gutter: Rect,
    /// Labels of times: all that is below the plot.
    pub times: Rect,
    /// How many lines of text the header has.
    pub header_lines: i32,
}

impl Panes {
    /// Divides a frame. The gutter is to be `gutter` pixels wide, the title needs `title` pixels.
    pub(crate) fn new(frame: Rect, m: &Metrics, gutter: i32, title: i32) -> Self {
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
        let volume = if bottom >= 160 * s { height / 5 } else { 0 };
        let split = bottom - volume;
        let area = |left, top, right, bottom| Rect::from_edges(left, top, right, bottom, frame);
        Self {
            frame,
            header: area(0, 0, right, header),
            price: area(0, header, right, split),
            volume: area(0, split, right, bottom),
            plot: area(0, 0, right, bottom),
            gutter: area(right, 0, width, height),
            times: area(0, bottom, right, height),
            header_lines,
        }
    }
}

/// What a legend needs on a line of its own or beside the title, at scale 1.
const LEGEND_WIDTH: i32 = 560;

/// The width of a gutter whose longest label is `label`.
pub(crate) fn gutter_width(atlas: &Atlas, m: &Metrics, label: &str) -> i32 {
    atlas.width(Face::Small, label) + 2 * m.pad
}

/// Where the bars are across.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slots {
    /// The left edge of the oldest bar's slot. May lie left of the plot.
    pub left: i32,
    pub spacing: i32,
    pub body: i32,
    pub wick: i32,
}

impl Slots {
    /// How many bars fit in a plot: always at least one.
    pub(crate) fn fitting(plot: &Rect, m: &Metrics) -> usize {
        let width = i32::from(plot.w);
        ((width - margin(width, m)) / m.spacing).max(1) as usize
    }

    /// `count` bars, the newest of them at the right.
    pub(crate) fn new(plot: &Rect, m: &Metrics, count: usize) -> Self {
        let right = plot.right() - margin(i32::from(plot.w), m);
        Self { left: right - count as i32 * m.spacing, spacing: m.spacing, body: m.body, wick: m.wick }
    }

    /// The left edge of a bar's slot.
    pub(crate) fn slot(&self, bar: usize) -> i32 {
        self.left + bar as i32 * self.spacing
    }

    /// The left edge of a bar's body.
    pub(crate) fn body(&self, bar: usize) -> i32 {
        self.slot(bar) + (self.spacing - self.body) / 2
    }

    /// The left edge of a bar's wick.
    pub(crate) fn wick(&self, bar: usize) -> i32 {
        self.body(bar) + (self.body - self.wick) / 2
    }

    /// The middle column of a bar.
    pub(crate) fn middle(&self, bar: usize) -> i32 {
        self.wick(bar) + self.wick / 2
    }
}

/// The room that is left free to the right of the newest bar.
fn margin(width: i32, m: &Metrics) -> i32 {
    if width >= 40 * m.spacing { 4 * m.spacing } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candles_are_symmetric_and_apart() {
        for spacing in 1..200 {
            for wick in 1..=4 {
                let (body, wick) = candle_widths(spacing, wick);
                assert!(body >= 1 && wick >= 1 && wick <= body && (body - wick) % 2 == 0, "{spacing}");
                assert!(body < spacing || spacing == 1, "{spacing}");
                let slots = Slots { left: -7, spacing, body, wick };
                for bar in 0..5 {
                    let (left, right) =
                        (slots.wick(bar) - slots.body(bar), slots.body(bar) + body - slots.wick(bar) - wick);
                    assert_eq!(left, right, "the wick is in the middle");
                    assert!(slots.body(bar) + body < slots.body(bar + 1) || spacing == 1);
                }
            }
        }
    }

    #[test]
    fn panes_never_overlap() {
        for width in (1..400).chain([1920, 8192]) {
            for height in (1..400).chain([1080, 8192]) {
                let frame = Rect::new(0, 0, width, height);
                let m = Metrics::new(width, height);
                for gutter in [20, 90, 400] {
                    let p = Panes::new(frame, &m, gutter, 150);
                    let parts = [p.header, p.price, p.volume, p.times, p.gutter];
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
