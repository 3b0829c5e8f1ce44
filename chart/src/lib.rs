//! Price charts: from candles to pixels, drawing only what changed.
//!
//! A [`Chart`] is told of bars ([`push`](Chart::push), [`set_newest`](Chart::set_newest)), and of what its user wants to
//! see. [`Chart::draw`] lays that out as a [`Scene`](scene::Scene) of integer shapes, compares it with the one before,
//! and draws what differs into the canonical [`Frame`]. What holds:
//!
//! - The frame is at all times, byte for byte, what drawing the whole scene anew would give.
//! - Pixels outside the [`Changes`] of a drawing did not change.
//! - After layout everything is an integer: the same candles give the same bytes on every machine. (Indicators are
//!   floating point up to there, in operations that IEEE 754 rounds the same everywhere.)
//! - A change of the newest bar costs the same however many bars there are; a redraw, by the pixels shown.
//! - No input makes it panic. A size out of range is an error; a small frame has fewer parts.
//! - Nothing is invented: a bar without a price is a hatched hole, a bar that may lack trades is dim and hollow.
//! - Drawing in a steady state does not allocate. No function reads a clock or a file, but for the time zones.
//!
//! ```
//! use chart::{Chart, Look, Settings, Theme};
//! use market::{Candle, CandleState, Timeframe};
//!
//! let mut chart = Chart::new(Settings {
//!     width: 480,
//!     height: 270,
//!     theme: Theme::Dark,
//!     time_zone: jiff::tz::TimeZone::UTC,
//!     title: "BTCUSDT".to_owned(),
//!     timeframe: Timeframe::M1,
//!     price_digits: 2,
//!     qty_digits: 5,
//!     history: 2_000,
//!     look: Look::default(),
//! })?;
//! chart.push(Candle::empty(0, CandleState::Quiet, Some(6183763)));
//! let damage = chart.draw();
//! assert!(!damage.is_empty());
//! let file = encode::encode(&chart.frame().picture(), encode::Format::Png);
//! # Ok::<(), chart::ChartError>(())
//! ```

mod ahead;
mod bars;
mod chart;
pub mod damage;
mod frame;
mod layout;
mod marks;
mod number;
mod palette;
pub mod raster;
mod scale;
pub mod scene;
mod settings;
mod studies;
pub mod text;
mod time_axis;
mod view;

pub use ahead::AheadCounts;
pub use chart::Chart;
pub use damage::{Changes, Damage, DamageLog};
pub use frame::{Frame, MAX_SIZE, Rect};
pub use marks::{
    MAX_MARKERS, MAX_PRICE_LINES, MAX_TITLE_BYTES, Marker, MarkerPlace, MarkerShape, PriceLine, Title,
};
pub use settings::{
    ChartError, Color, Colors, Look, MAX_STUDIES, NameError, PriceScale, SeriesKind, Settings, Theme,
};
pub use view::{MAX_WIDTH, Right, View, Zoom};
