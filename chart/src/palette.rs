//! The colours of each theme, as opaque pixels. Mixtures are worked out here, once, so that the series needs no
//! blending.

use crate::Theme;
use crate::frame::{blend, rgb};

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
    /// Text on the last price's label.
    pub on_label: u32,
    /// A bar in which nothing traded.
    pub quiet: u32,
    pub up: Direction,
    pub down: Direction,
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
}

impl Direction {
    const fn on(background: u32, candle: u32) -> Self {
        Self {
            candle,
            doubtful: blend(candle, background, 160),
            volume: blend(candle, background, 128),
            doubtful_volume: blend(candle, background, 72),
        }
    }
}

impl Palette {
    pub(crate) const fn of(theme: Theme) -> Self {
        match theme {
            Theme::Dark => DARK,
            Theme::Light => LIGHT,
        }
    }
}

const UP: u32 = rgb(0x26a69a);
const DOWN: u32 = rgb(0xef5350);

const DARK: Palette = {
    let background = rgb(0x131722);
    Palette {
        background,
        grid: rgb(0x1e2330),
        border: rgb(0x2f3442),
        hatch: rgb(0x3a3f4d),
        text: rgb(0xb2b5be),
        strong: rgb(0xe4e6eb),
        faint: rgb(0x868993),
        warning: rgb(0xf5a623),
        on_label: rgb(0xffffff),
        quiet: rgb(0x868993),
        up: Direction::on(background, UP),
        down: Direction::on(background, DOWN),
    }
};

const LIGHT: Palette = {
    let background = rgb(0xffffff);
    Palette {
        background,
        grid: rgb(0xf0f2f6),
        border: rgb(0xd6d9e0),
        hatch: rgb(0xd0d3da),
        text: rgb(0x4a4e59),
        strong: rgb(0x131722),
        faint: rgb(0x787b86),
        warning: rgb(0xb86e00),
        on_label: rgb(0xffffff),
        quiet: rgb(0x787b86),
        up: Direction::on(background, UP),
        down: Direction::on(background, DOWN),
    }
};
