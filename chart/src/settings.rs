//! What a chart is to look like, and why a chart cannot be made.

use core::fmt;
use core::str::FromStr;
use jiff::tz::TimeZone;
use market::Timeframe;

/// What a chart is of, and how it is to look. Fixed for the life of a [`Chart`](crate::Chart).
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

impl fmt::Display for Theme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Theme {
    type Err = ThemeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Dark, Self::Light]
            .into_iter()
            .find(|theme| theme.name() == text)
            .ok_or_else(|| ThemeError(text.to_owned()))
    }
}

/// A text that names no theme.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a theme; use dark or light")]
pub struct ThemeError(String);

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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn theme_names_read_back() {
        for theme in [Theme::Dark, Theme::Light] {
            assert_eq!(theme.to_string().parse(), Ok(theme));
        }
        assert_eq!(
            "blue".parse::<Theme>().unwrap_err().to_string(),
            "'blue' is not a theme; use dark or light"
        );
    }
}
