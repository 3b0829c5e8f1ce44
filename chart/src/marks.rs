//! What a user puts on a chart: lines at prices, and markers at bars.

use crate::settings::{Color, NameError};
use core::str::FromStr;

/// The most price lines of a chart.
pub const MAX_PRICE_LINES: usize = 32;
/// The most markers of a chart.
pub const MAX_MARKERS: usize = 512;
/// The most bytes of a title; what is longer is cut.
pub const MAX_TITLE_BYTES: usize = 24;

/// A short text that needs no memory of its own, so that a mark can be set where nothing may be allocated.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Title {
    bytes: [u8; MAX_TITLE_BYTES],
    len: u8,
}

impl Title {
    /// The text.
    pub fn as_str(&self) -> &str {
        // It was cut between characters, so this is always a text.
        core::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl From<&str> for Title {
    /// The beginning of `text`, as far as there is room for whole characters.
    fn from(text: &str) -> Self {
        let len = text.floor_char_boundary(MAX_TITLE_BYTES);
        let mut title = Self { bytes: [0; MAX_TITLE_BYTES], len: len as u8 };
        title.bytes[..len].copy_from_slice(&text.as_bytes()[..len]);
        title
    }
}

impl core::fmt::Debug for Title {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// A line at a price, across the price pane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PriceLine {
    /// In price units.
    pub price: i64,
    /// Its colour.
    pub color: Color,
    /// What stands on it; may be empty.
    pub title: Title,
}

/// A sign at a bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    /// A moment in the bar.
    pub time_ms: i64,
    /// Where it stands.
    pub place: MarkerPlace,
    /// Its shape.
    pub shape: MarkerShape,
    /// Its colour.
    pub color: Color,
    /// What stands beside it; may be empty.
    pub title: Title,
}

/// Where a marker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MarkerPlace {
    /// Above the bar's high.
    #[default]
    Above,
    /// Below the bar's low.
    Below,
}

/// A marker's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[allow(missing_docs)] // Each name says what it looks like.
pub enum MarkerShape {
    #[default]
    ArrowUp,
    ArrowDown,
    Circle,
    Square,
}

impl MarkerShape {
    /// The character that shows it.
    pub(crate) const fn sign(self) -> &'static str {
        match self {
            Self::ArrowUp => "▲",
            Self::ArrowDown => "▼",
            Self::Circle => "●",
            Self::Square => "■",
        }
    }
}

impl FromStr for MarkerShape {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "arrow-up" => Self::ArrowUp,
            "arrow-down" => Self::ArrowDown,
            "circle" => Self::Circle,
            "square" => Self::Square,
            _ => {
                return Err(NameError::new(
                    text,
                    "a marker's shape",
                    "arrow-up, arrow-down, circle or square",
                ));
            }
        })
    }
}

impl FromStr for MarkerPlace {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "above" => Self::Above,
            "below" => Self::Below,
            _ => return Err(NameError::new(text, "a marker's place", "above or below")),
        })
    }
}

/// All that a user has put on a chart. Bounded: what is one too many replaces the oldest.
#[derive(Debug)]
pub(crate) struct Marks {
    pub lines: Vec<PriceLine>,
    pub markers: Vec<Marker>,
    /// Rises with every change.
    pub version: u64,
}

impl Default for Marks {
    /// None, and room for all that there may be.
    fn default() -> Self {
        let lines = Vec::with_capacity(MAX_PRICE_LINES);
        Self { lines, markers: Vec::with_capacity(MAX_MARKERS), version: 0 }
    }
}

impl Marks {
    /// Adds a line, or replaces the one at the same price.
    pub(crate) fn set_line(&mut self, line: PriceLine) {
        self.lines.retain(|other| other.price != line.price);
        if self.lines.len() == MAX_PRICE_LINES {
            self.lines.remove(0);
        }
        self.lines.push(line);
        self.version += 1;
    }

    /// Adds a marker, or replaces the one of the same time and place.
    pub(crate) fn set_marker(&mut self, marker: Marker) {
        self.markers.retain(|other| (other.time_ms, other.place) != (marker.time_ms, marker.place));
        if self.markers.len() == MAX_MARKERS {
            self.markers.remove(0);
        }
        self.markers.push(marker);
        self.version += 1;
    }

    /// Removes everything.
    pub(crate) fn clear(&mut self) {
        self.lines.clear();
        self.markers.clear();
        self.version += 1;
    }
}
