//! What a chart is to look like, and why a chart cannot be made.

use crate::view::MAX_WIDTH;
use core::fmt;
use core::str::FromStr;
use jiff::tz::TimeZone;
use market::Timeframe;
use market::indicator::IndicatorSpec;

/// What a chart is of, and how it is to look.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Width in pixels, 1 to 8192.
    pub width: u32,
    /// Height in pixels, 1 to 8192.
    pub height: u32,
    /// Colours.
    pub theme: Theme,
    /// In which zone the time axis counts.
    pub time_zone: TimeZone,
    /// What stands in the top left corner. The timeframe is added to it.
    pub title: String,
    /// How long a bar lasts.
    pub timeframe: Timeframe,
    /// The decimal places in which the candles count prices, 0 to 18.
    pub price_digits: u8,
    /// The decimal places in which the candles count quantities, 0 to 18.
    pub qty_digits: u8,
    /// How many bars are kept: what can be panned to, and what indicators begin with.
    pub history: usize,
    /// What is drawn, and how.
    pub look: Look,
}

/// What is drawn of a chart's bars, and how. The default is candles and volume on a linear scale.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Look {
    /// How a bar is drawn.
    pub kind: SeriesKind,
    /// How prices become rows.
    pub scale: PriceScale,
    /// Whether there is no pane for the volume.
    pub hide_volume: bool,
    /// Lines worked out from the bars, over the prices or in a pane of their own; at most [`MAX_STUDIES`].
    pub studies: Vec<IndicatorSpec>,
    /// Whether the volume traded at each price is drawn at the right of the price pane.
    pub volume_profile: bool,
    /// Pixels from one bar to the next at scale 1; chosen by the size without it.
    pub bar_width: Option<u16>,
    /// Text and lines are so many times as large, for dense screens, 1 to 4; chosen by the size without it.
    pub magnify: Option<u8>,
    /// Large faint text behind the bars.
    pub watermark: String,
    /// Whether the last price's label tells how long the newest bar has to go; see
    /// [`Chart::set_venue_time`](crate::Chart::set_venue_time).
    pub countdown: bool,
    /// Where the two colours of [`SeriesKind::Baseline`] meet, in price units; the first bar's close without it.
    pub baseline: Option<i64>,
    /// Colours that differ from the theme's.
    pub colors: Colors,
}

/// The most indicators of one chart.
pub const MAX_STUDIES: usize = 8;

/// How a bar is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SeriesKind {
    /// Bodies and wicks.
    #[default]
    Candles,
    /// Candles whose body is hollow where the price rose; coloured by the change since the bar before.
    HollowCandles,
    /// A stem with a tick to the left for the open, and one to the right for the close.
    Bars,
    /// Candles of smoothed prices.
    HeikinAshi,
    /// A line through the closes.
    Line,
    /// The same, filled below.
    Area,
    /// The same, in one colour above a price and in another below it.
    Baseline,
}

impl SeriesKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Candles,
        Self::HollowCandles,
        Self::Bars,
        Self::HeikinAshi,
        Self::Line,
        Self::Area,
        Self::Baseline,
    ];

    /// The name used in configurations.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Candles => "candles",
            Self::HollowCandles => "hollow-candles",
            Self::Bars => "bars",
            Self::HeikinAshi => "heikin-ashi",
            Self::Line => "line",
            Self::Area => "area",
            Self::Baseline => "baseline",
        }
    }

    /// Whether it is a line through the closes.
    pub(crate) const fn is_line(self) -> bool {
        matches!(self, Self::Line | Self::Area | Self::Baseline)
    }
}

/// How prices become rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum PriceScale {
    /// Equal differences are equally far apart.
    #[default]
    Linear,
    /// Equal ratios are equally far apart. Linear where a price is not above zero.
    Log,
    /// Linear, labelled by the change since the first bar shown.
    Percent,
    /// Linear, labelled so that the first bar shown is 100.
    Indexed,
}

impl PriceScale {
    /// Every scale.
    pub const ALL: [Self; 4] = [Self::Linear, Self::Log, Self::Percent, Self::Indexed];

    /// The name used in configurations.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Log => "log",
            Self::Percent => "percent",
            Self::Indexed => "indexed",
        }
    }
}

/// A colour, as `#rrggbb`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Color(pub u32);

impl FromStr for Color {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text
            .strip_prefix('#')
            .filter(|digits| digits.len() == 6 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        digits
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .map(Self)
            .ok_or_else(|| NameError::new(text, "a colour", "#rrggbb, as #26a69a"))
    }
}

/// Colours that differ from the theme's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)] // Each says what it colours.
pub struct Colors {
    pub background: Option<Color>,
    pub grid: Option<Color>,
    pub border: Option<Color>,
    pub text: Option<Color>,
    pub up: Option<Color>,
    pub down: Option<Color>,
    pub line: Option<Color>,
}

/// A set of colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Theme {
    /// Light on dark.
    #[default]
    Dark,
    /// Dark on light.
    Light,
}

impl Theme {
    /// The name used in configurations.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dark => "dark",
            Self::Light => "light",
        }
    }
}

/// Text forms of names, read and written.
macro_rules! named {
    ($kind:ty, $what:literal, $choices:literal, $all:expr) => {
        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        impl FromStr for $kind {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let found = $all.into_iter().find(|one| one.name() == text);
                found.ok_or_else(|| NameError::new(text, $what, $choices))
            }
        }
    };
}

named!(Theme, "a theme", "dark or light", [Self::Dark, Self::Light]);
named!(
    SeriesKind,
    "a kind of chart",
    "candles, hollow-candles, bars, heikin-ashi, line, area or baseline",
    Self::ALL
);
named!(PriceScale, "a price scale", "linear, log, percent or indexed", Self::ALL);

/// A text that names nothing of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not {what}; use {choices}")]
pub struct NameError {
    text: String,
    what: &'static str,
    choices: &'static str,
}

impl NameError {
    pub(crate) fn new(text: &str, what: &'static str, choices: &'static str) -> Self {
        Self { text: text.to_owned(), what, choices }
    }
}

/// Why a chart cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChartError {
    /// The width or the height is out of range.
    #[error("a chart cannot be {width}×{height} pixels; each side must be 1 to 8192")]
    Size {
        /// Width asked for, in pixels.
        width: u32,
        /// Height asked for, in pixels.
        height: u32,
    },
    /// More decimal places than an instrument can have.
    #[error("an instrument cannot have {0} decimal places; the most is 18")]
    Digits(u8),
    /// More indicators than a chart has room for.
    #[error("a chart cannot have {0} indicators; the most is {MAX_STUDIES}")]
    Studies(usize),
    /// A magnification out of range.
    #[error("a chart cannot be magnified {0} times; use 1 to 4")]
    Magnify(u8),
    /// A bar's width out of range.
    #[error("a bar cannot be {0} pixels wide; use 1 to {MAX_WIDTH}")]
    BarWidth(u16),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for theme in [Theme::Dark, Theme::Light] {
            assert_eq!(theme.to_string().parse(), Ok(theme));
        }
        for kind in SeriesKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        for scale in PriceScale::ALL {
            assert_eq!(scale.to_string().parse(), Ok(scale));
        }
        assert_eq!("#26a69a".parse(), Ok(Color(0x26a69a)));
        for wrong in ["26a69a", "#26a69", "#26a69g", "#+6a69a", "#äöü"] {
            assert!(wrong.parse::<Color>().is_err(), "{wrong}");
        }
        assert_eq!(
            "blue".parse::<Theme>().unwrap_err().to_string(),
            "'blue' is not a theme; use dark or light"
        );
    }
}
