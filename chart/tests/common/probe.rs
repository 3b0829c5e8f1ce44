//! Asking a chart what it shows, without looking into it; and asking other programs what they would.

use chart::scene::Layer;
use chart::{Chart, Color, PriceLine, Right};
use market::Candle;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A colour as a pixel.
pub(crate) fn pixel(color: Color) -> u32 {
    0xff00_0000 | color.0.swap_bytes() >> 8
}

/// Where a price axis is, and what it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Axis {
    /// The row of `high`.
    pub top: i32,
    /// The row of `low`.
    pub bottom: i32,
    pub low: i64,
    pub high: i64,
}

/// Asks the chart where its axis ends, by putting lines at prices and seeing which of them are shown, and where.
pub(crate) fn axis(chart: &mut Chart) -> Axis {
    let extent = extent(shown(chart));
    axis_over(chart, extent)
}

/// The same for an axis that shows prices from `low` to `high`.
pub(crate) fn axis_over(chart: &mut Chart, (low, high): (i64, i64)) -> Axis {
    let reach = 4 * (high - low) + 1_000;
    let low = last_shown(chart, low, low - reach);
    let high = last_shown(chart, high, high + reach);
    let rows = rows_of(chart, &[low, high]);
    chart.clear_marks();
    chart.draw();
    Axis { top: rows[1].unwrap(), bottom: rows[0].unwrap(), low, high }
}

/// The price farthest from `shown`, towards `hidden`, at which a line is shown.
pub(crate) fn last_shown(chart: &mut Chart, mut shown: i64, mut hidden: i64) -> i64 {
    while shown.abs_diff(hidden) > 1 {
        let step = ((hidden - shown) / 31).abs().max(1) * (hidden - shown).signum();
        let prices: Vec<_> = (1..=31)
            .map(|at| shown + at * step)
            .take_while(|price| (*price < hidden) == (shown < hidden) && *price != hidden)
            .collect();
        let rows = rows_of(chart, &prices);
        let seen = rows.iter().take_while(|row| row.is_some()).count();
        if let Some(price) = prices.get(seen) {
            hidden = *price;
        }
        if let Some(price) = seen.checked_sub(1).and_then(|last| prices.get(last)) {
            shown = *price;
        }
    }
    shown
}

/// The rows on which lines at these prices, at most 32, lie.
pub(crate) fn rows_of(chart: &mut Chart, prices: &[i64]) -> Vec<Option<i32>> {
    let color = |index: usize| Color(0x10_0000 + index as u32);
    chart.clear_marks();
    for (index, price) in prices.iter().enumerate() {
        chart.set_price_line(PriceLine { price: *price, color: color(index), title: "".into() });
    }
    chart.draw();
    let lines = chart.scene().layer(Layer::Marks);
    let row_of = |index: usize| lines.iter().find(|shape| shape.color == pixel(color(index)));
    (0..prices.len()).map(|index| row_of(index).map(|shape| shape.area.y.into())).collect()
}

/// The bars that a chart shows.
pub(crate) fn shown(chart: &Chart) -> &[Candle] {
    let bars = chart.bars();
    let end = match chart.view().right {
        Right::Newest => bars.len(),
        Right::Bar(number) => (number as usize + 1).min(bars.len()),
    };
    &bars[end.saturating_sub(chart.visible_bars())..end]
}

pub(crate) fn extent(bars: &[Candle]) -> (i64, i64) {
    let prices = bars.iter().filter_map(|bar| bar.ohlc);
    prices.fold((i64::MAX, i64::MIN), |(low, high), ohlc| (low.min(ohlc.low), high.max(ohlc.high)))
}

/// A program in the tests' folder.
pub(crate) fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// What a command writes when it reads `input`.
pub(crate) fn output_of(command: &mut Command, input: String) -> Vec<u8> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Nothing may be left in the folder of the sources.
    let mut child = command.env("PYTHONDONTWRITEBYTECODE", "1").spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || pipe.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    writer.join().unwrap().unwrap();
    output.stdout
}
