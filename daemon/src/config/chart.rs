//! `[[chart]]`: one picture that is kept up to date, and all that can be said of how it looks.

use super::{Source, in_range, parsed, size, time_zone};
use chart::{
    Color, Colors, Look, MAX_PRICE_LINES, MAX_STUDIES, MAX_WIDTH, PriceLine, PriceScale, SeriesKind, Theme,
};
use jiff::tz::TimeZone;
use market::indicator::IndicatorSpec;
use market::{ChartName, Timeframe, decimal};
use serde::{Deserialize, Deserializer, de};

/// One chart.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chart {
    /// What it shows, as `binance:BTCUSDT`.
    pub source: Source,
    /// The length of its candles.
    #[serde(deserialize_with = "parsed")]
    pub timeframe: Timeframe,
    /// Width and height in pixels.
    #[serde(default = "default_size", deserialize_with = "size")]
    pub size: [u32; 2],
    /// Its colours.
    #[serde(default, deserialize_with = "parsed")]
    pub theme: Theme,
    /// The IANA name of the time axis's zone.
    #[serde(default = "utc", deserialize_with = "time_zone")]
    pub time_zone: TimeZone,
    /// How a bar is drawn.
    #[serde(default, deserialize_with = "parsed")]
    pub kind: SeriesKind,
    /// How prices become rows.
    #[serde(default, deserialize_with = "parsed")]
    pub scale: PriceScale,
    /// Whether the volume has a pane.
    #[serde(default = "yes")]
    pub volume: bool,
    /// Indicators, as `sma(20)`.
    #[serde(default, deserialize_with = "indicators")]
    pub indicators: Vec<IndicatorSpec>,
    /// Whether the volume at each price is drawn.
    #[serde(default)]
    pub volume_profile: bool,
    /// Pixels from one bar to the next.
    #[serde(default, deserialize_with = "bar_width")]
    pub bar_width: Option<u16>,
    /// How many times as large text and lines are, for dense screens.
    #[serde(default, deserialize_with = "magnify")]
    pub magnify: Option<u8>,
    /// Large faint text behind the bars.
    #[serde(default)]
    pub watermark: String,
    /// Whether the last price's label tells how long the newest bar has to go.
    #[serde(default)]
    pub countdown: bool,
    /// The price at which a baseline's colours meet.
    #[serde(default)]
    pub baseline: Option<Price>,
    /// Colours that differ from the theme's.
    #[serde(default)]
    pub colors: ColorTable,
    /// Lines at prices.
    #[serde(default, deserialize_with = "price_lines")]
    pub price_lines: Vec<LineTable>,
}

/// A price as text, so that it is exact: `"61837.50"`.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct Price(String);

impl Price {
    /// In units of 10^-`digits`.
    pub fn units(&self, digits: u8) -> Result<i64, String> {
        let Self(text) = self;
        decimal::parse(text.as_bytes(), digits)
            .map_err(|_| format!("'{text}' is not a price with at most {digits} decimal places"))
    }
}

/// `colors = { up = "#26a69a" }`
#[derive(Debug, Clone, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)] // See `chart::Colors`.
pub struct ColorTable {
    #[serde(deserialize_with = "color")]
    pub background: Option<Color>,
    #[serde(deserialize_with = "color")]
    pub grid: Option<Color>,
    #[serde(deserialize_with = "color")]
    pub border: Option<Color>,
    #[serde(deserialize_with = "color")]
    pub text: Option<Color>,
    #[serde(deserialize_with = "color")]
    pub up: Option<Color>,
    #[serde(deserialize_with = "color")]
    pub down: Option<Color>,
    #[serde(deserialize_with = "color")]
    pub line: Option<Color>,
}

/// `price_lines = [{ price = "62000", title = "target", color = "#ff9800" }]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineTable {
    /// Where it is.
    pub price: Price,
    /// What stands on it.
    #[serde(default)]
    pub title: String,
    /// Its colour.
    #[serde(default = "orange", deserialize_with = "parsed")]
    pub color: Color,
}

impl Chart {
    /// Its name.
    pub fn name(&self) -> ChartName {
        let Source { venue, symbol } = self.source.clone();
        ChartName { venue, symbol, timeframe: self.timeframe }
    }

    /// How it looks, with prices that have `price_digits` decimal places.
    pub fn look(&self, price_digits: u8) -> Result<Look, String> {
        let ColorTable { background, grid, border, text, up, down, line } = self.colors;
        Ok(Look {
            kind: self.kind,
            scale: self.scale,
            hide_volume: !self.volume,
            studies: self.indicators.clone(),
            volume_profile: self.volume_profile,
            bar_width: self.bar_width,
            magnify: self.magnify,
            watermark: self.watermark.clone(),
            countdown: self.countdown,
            baseline: self.baseline.as_ref().map(|price| price.units(price_digits)).transpose()?,
            colors: Colors { background, grid, border, text, up, down, line },
        })
    }

    /// Its price lines, likewise.
    pub fn price_lines(&self, price_digits: u8) -> Result<Vec<PriceLine>, String> {
        let line = |line: &LineTable| {
            let price = line.price.units(price_digits)?;
            Ok(PriceLine { price, color: line.color, title: line.title.as_str().into() })
        };
        self.price_lines.iter().map(line).collect()
    }
}

fn default_size() -> [u32; 2] {
    [1920, 1080]
}

fn utc() -> TimeZone {
    TimeZone::UTC
}

fn yes() -> bool {
    true
}

fn orange() -> Color {
    Color(0xff9800)
}

fn color<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Color>, D::Error> {
    parsed(from).map(Some)
}

fn indicators<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IndicatorSpec>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    if texts.len() > MAX_STUDIES {
        let count = texts.len();
        return Err(de::Error::custom(format!("a chart has at most {MAX_STUDIES} indicators, not {count}")));
    }
    texts.iter().map(|text| text.parse().map_err(de::Error::custom)).collect()
}

fn price_lines<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<LineTable>, D::Error> {
    let lines = Vec::<LineTable>::deserialize(from)?;
    if lines.len() > MAX_PRICE_LINES {
        let count = lines.len();
        return Err(de::Error::custom(format!(
            "a chart has at most {MAX_PRICE_LINES} price lines, not {count}"
        )));
    }
    Ok(lines)
}

fn bar_width<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u16>, D::Error> {
    in_range(from, "the pixels of a bar", 1, MAX_WIDTH.into()).map(|value| Some(value as u16))
}

fn magnify<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u8>, D::Error> {
    in_range(from, "the magnification", 1, 4).map(|value| Some(value as u8))
}
