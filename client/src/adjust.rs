//! `chartctl view`, `point` and `mark`: what is asked for becomes an adjustment, exactly, or is refused.

use anyhow::{Context, anyhow, bail};
use chart_client::Connection;
use clap::{Args, ValueEnum};
use market::{ChartName, decimal};
use shm::adjust::{Adjustment, Place, Shape, Title};
use std::time::Duration;

/// Which part of a chart to show. One of the options must be given.
#[derive(Args)]
pub(crate) struct View {
    /// The chart
    pub(crate) chart: ChartName,
    #[command(flatten)]
    what: ViewWhat,
    /// With --zoom: the pixel column whose bar stays where it is [default: the newest bar shown]
    #[arg(long, value_name = "X", conflicts_with_all = ["pan", "range", "reset"])]
    at: Option<u16>,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct ViewWhat {
    /// Move by so many bars, into the past where it is negative; at the newest bar the chart follows again
    #[arg(long, value_name = "BARS", allow_hyphen_values = true)]
    pan: Option<i64>,
    /// Zoom in by so many steps, or out where it is negative
    #[arg(long, value_name = "STEPS", allow_hyphen_values = true)]
    zoom: Option<i32>,
    /// Show the bars between two moments, as 2024-08-08T23:54:00Z or milliseconds since 1970
    #[arg(long, num_args = 2, value_names = ["FROM", "TO"], value_parser = moment)]
    range: Option<Vec<i64>>,
    /// Follow the newest bar again, as wide as at the beginning
    #[arg(long)]
    reset: bool,
}

/// Where the crosshair is to stand.
#[derive(Args)]
pub(crate) struct Point {
    /// The chart
    pub(crate) chart: ChartName,
    /// Pixels from the left
    #[arg(required_unless_present = "off", requires = "y")]
    x: Option<u16>,
    /// Pixels from the top
    y: Option<u16>,
    /// Show no crosshair
    #[arg(long, conflicts_with_all = ["x", "y"])]
    off: bool,
}

/// What to put on a chart.
#[derive(Args)]
pub(crate) struct Mark {
    /// The chart
    pub(crate) chart: ChartName,
    #[command(flatten)]
    what: MarkWhat,
    /// What stands beside it, up to 24 bytes
    #[arg(long, value_name = "TEXT", default_value = "", conflicts_with = "clear")]
    title: String,
    /// Its colour
    #[arg(long, value_name = "#rrggbb", default_value = "#ff9800", value_parser = color, conflicts_with = "clear")]
    color: u32,
    /// With --time: below the bar, not above it
    #[arg(long, conflicts_with_all = ["price", "clear"])]
    below: bool,
    /// With --time: its shape
    #[arg(long, value_enum, default_value = "arrow-down", conflicts_with_all = ["price", "clear"])]
    shape: ShapeName,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct MarkWhat {
    /// A line at this price, in place of one that is there; with at most the instrument's decimal places
    #[arg(long, value_name = "PRICE", allow_hyphen_values = true)]
    price: Option<String>,
    /// A marker at the bar of this moment, as 2024-08-08T23:54:00Z or milliseconds since 1970
    #[arg(long, value_name = "TIME", value_parser = moment)]
    time: Option<i64>,
    /// Remove all lines and markers
    #[arg(long)]
    clear: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum ShapeName {
    ArrowUp,
    ArrowDown,
    Circle,
    Square,
}

impl View {
    pub(crate) fn adjustment(&self) -> Adjustment {
        let ViewWhat { pan, zoom, range, .. } = &self.what;
        match (pan, zoom, range.as_deref()) {
            (Some(bars), ..) => Adjustment::Pan { bars: *bars },
            (_, Some(steps), _) => Adjustment::Zoom { steps: *steps, x: self.at },
            (.., Some([from_ms, to_ms])) => Adjustment::Range { from_ms: *from_ms, to_ms: *to_ms },
            _ => Adjustment::Reset,
        }
    }
}

impl Point {
    pub(crate) fn adjustment(&self) -> Adjustment {
        Adjustment::Pointer(self.x.zip(self.y))
    }
}

impl Mark {
    pub(crate) fn adjustment(&self, connection: &Connection) -> anyhow::Result<Adjustment> {
        let (color, title) = (self.color, Title::new(&self.title));
        if title.to_string() != self.title {
            bail!("the title '{}' is longer than 24 bytes", self.title);
        }
        if let Some(text) = &self.what.price {
            return Ok(Adjustment::PriceLine { price: price(connection, &self.chart, text)?, color, title });
        }
        let Some(time_ms) = self.what.time else { return Ok(Adjustment::ClearMarks) };
        let place = if self.below { Place::Below } else { Place::Above };
        let shape = match self.shape {
            ShapeName::ArrowUp => Shape::ArrowUp,
            ShapeName::ArrowDown => Shape::ArrowDown,
            ShapeName::Circle => Shape::Circle,
            ShapeName::Square => Shape::Square,
        };
        Ok(Adjustment::Marker { time_ms, place, shape, color, title })
    }
}

/// A price in the instrument's own units, which must be able to express it.
fn price(connection: &Connection, chart: &ChartName, text: &str) -> anyhow::Result<i64> {
    let market = connection.market();
    let (_, instrument) = chart_client::find_series(market, chart)
        .with_context(|| format!("there is no chart {chart}; `chartctl list` names those that there are"))?;
    let digits = market.instruments()[instrument].price_digits as u8;
    decimal::parse(text.as_bytes(), digits)
        .map_err(|_| anyhow!("'{text}' is not a price with at most {digits} decimal places"))
}

/// Has it done, and waits until a frame shows it: for a second, which a busy machine may take. Returns how many
/// adjustments of the chart there were, and the frame.
pub(crate) fn adjust(
    connection: &Connection,
    chart: &ChartName,
    adjustment: &Adjustment,
) -> anyhow::Result<(u64, Option<u64>)> {
    let name = chart.to_string();
    let reader = connection.chart(&name)?;
    let number = connection.adjust(&name, adjustment)?;
    for _ in 0..200 {
        let shown = reader.latest_info().ok().filter(|info| info.adjustments >= number);
        if shown.is_some() || !reader.is_current() {
            return Ok((number, shown.map(|info| info.number)));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok((number, None))
}

/// A moment as RFC 3339, or as milliseconds since 1970.
fn moment(text: &str) -> Result<i64, String> {
    let read = text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_millisecond);
    text.parse()
        .or(read)
        .map_err(|_| "use RFC 3339, as 2024-08-08T23:54:00Z, or milliseconds since 1970".into())
}

fn color(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix('#').unwrap_or(text);
    let is_color = digits.len() == 6 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let read = u32::from_str_radix(digits, 16).ok().filter(|_| is_color);
    read.ok_or_else(|| "use #rrggbb, as '#26a69a'".into())
}
