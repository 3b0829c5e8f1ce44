//! The colours of each theme, as opaque pixels. Mixtures are worked out here, once, so that the series needs no
//! blending.

use crate::frame::{blend, rgb};
use crate::settings::{Color, Colors, Theme};

/// Every colour that a chart uses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Palette {
    pub background: u32,
    pub grid: u32,
    /// Lines between panes and axes.
    pub border: u32,
    /// Hatching where the feed was not proven alive.
    pub hatch: u32,
    /// Axis labels.
    pub text: u32,
    /// The title, and the labels on the time axis at which a day, a month or a year begins.
    pub strong: u32,
    /// Names in the legend.
    pub faint: u32,
    /// Words that ask for caution.
    pub warning: u32,
    /// Text on coloured labels.
    pub on_label: u32,
    /// A bar in which nothing traded.
    pub quiet: u32,
    pub watermark: u32,
    pub crosshair: u32,
    /// Under the text of the crosshair's labels.
    pub crosshair_label: u32,
    pub up: Direction,
    pub down: Direction,
    /// A line through the closes.
    pub line: Line,
    /// The indicators' lines, in the order of the indicators.
    pub studies: [Line; STUDY_COLORS.len()],
}

/// The colours of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line {
    pub line: u32,
    /// Where trades may be missing.
    pub doubtful: u32,
    /// The area beside it.
    pub fill: u32,
}

impl Line {
    const fn on(background: u32, line: u32) -> Self {
        Self { line, doubtful: blend(line, background, 120), fill: blend(line, background, 40) }
    }
}

/// The colours of a bar that rose, or of one that fell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Direction {
    pub candle: u32,
    /// A candle that may lack trades.
    pub doubtful: u32,
    pub volume: u32,
    /// The volume of a candle that may lack trades.
    pub doubtful_volume: u32,
    /// The area between a line and its base, and the volume profile.
    pub fill: u32,
}

impl Direction {
    const fn on(background: u32, candle: u32) -> Self {
        Self {
            candle,
            doubtful: blend(candle, background, 160),
            volume: blend(candle, background, 128),
            doubtful_volume: blend(candle, background, 72),
            fill: blend(candle, background, 48),
        }
    }
}

impl Palette {
    /// A theme's colours, but for those that are set.
    pub(crate) fn new(theme: Theme, colors: &Colors) -> Self {
        let base = match theme {
            Theme::Dark => DARK,
            Theme::Light => LIGHT,
        };
        let set = |color: Option<Color>, theme: u32| rgb(color.map_or(theme, |Color(set)| set));
        let background = set(colors.background, base.background);
        let text = set(colors.text, base.text);
        let [up, down] = [set(colors.up, UP), set(colors.down, DOWN)];
        Self {
            background,
            grid: set(colors.grid, base.grid),
            border: set(colors.border, base.border),
            hatch: rgb(base.hatch),
            text,
            strong: if colors.text.is_some() { text } else { rgb(base.strong) },
            faint: if colors.text.is_some() { blend(text, background, 180) } else { rgb(base.faint) },
            warning: rgb(base.warning),
            on_label: rgb(0xffffff),
            quiet: rgb(base.faint),
            watermark: blend(text, background, 28),
            crosshair: rgb(base.crosshair),
            crosshair_label: rgb(base.crosshair_label),
            up: Direction::on(background, up),
            down: Direction::on(background, down),
            line: Line::on(background, set(colors.line, LINE)),
            studies: STUDY_COLORS.map(|color| Line::on(background, rgb(color))),
        }
    }
}

const UP: u32 = 0x26a69a;
const DOWN: u32 = 0xef5350;
const LINE: u32 = 0x2962ff;
/// Blue, orange, purple, teal, pink, green, amber, brown: told apart on dark and on light.
const STUDY_COLORS: [u32; 8] =
    [0x2f80ed, 0xff9800, 0xab47bc, 0x00acc1, 0xec407a, 0x7cb342, 0xc0a020, 0x8d6e63];

/// What differs between themes, as `0xrrggbb`.
struct Base {
    background: u32,
    grid: u32,
    border: u32,
    hatch: u32,
    text: u32,
    strong: u32,
    faint: u32,
    warning: u32,
    crosshair: u32,
    crosshair_label: u32,
}

const DARK: Base = Base {
    background: 0x131722,
    grid: 0x1e2330,
    border: 0x2f3442,
    hatch: 0x3a3f4d,
    text: 0xb2b5be,
    strong: 0xe4e6eb,
    faint: 0x868993,
    warning: 0xf5a623,
    crosshair: 0x868993,
    crosshair_label: 0x434651,
};

const LIGHT: Base = Base {
    background: 0xffffff,
    grid: 0xf0f2f6,
    border: 0xd6d9e0,
    hatch: 0xd0d3da,
    text: 0x4a4e59,
    strong: 0x131722,
    faint: 0x787b86,
    warning: 0xb86e00,
    crosshair: 0x9598a1,
    crosshair_label: 0x131722,
};
