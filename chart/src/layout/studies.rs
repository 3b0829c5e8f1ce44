//! The indicators: over the prices, or each in a pane of its own.

use super::lines::{self, Point};
use super::prices::Axis;
use super::window::{Extent, Window};
use super::{View, axes};
use crate::Rect;
use crate::number;
use crate::scale::Range;
use crate::scene::{Layer, Paint, Shape};
use crate::studies::Studies;
use market::indicator::{IndicatorSpec, Values};

/// Values of indicators in a pane of their own count in units of 10^-8.
const DIGITS: u8 = 8;
/// Hundreds of percent, in those units.
const HUNDRED: i128 = 100 * 100_000_000;

/// The two levels between which an oscillator is neither high nor low.
const fn levels(spec: IndicatorSpec) -> Option<[i128; 2]> {
    match spec {
        IndicatorSpec::Rsi { .. } => Some([HUNDRED * 3 / 10, HUNDRED * 7 / 10]),
        IndicatorSpec::Stochastic { .. } => Some([HUNDRED / 5, HUNDRED * 4 / 5]),
        _ => None,
    }
}

/// A value in units of 10^-`digits`. What does not fit ends at the largest price.
fn units(value: f64, digits: u8) -> i64 {
    (value * 10u64.pow(digits.into()) as f64).round() as i64
}

/// A value in units of an indicator's own axis.
fn own_units(value: f64) -> i128 {
    // As far as the axes' arithmetic reaches.
    (value * 1e8).round().clamp(-1e30, 1e30) as i128
}

/// What the indicators over the prices span, in price units.
pub(super) fn overlay_extent(studies: &Studies, window: &Window, digits: u8) -> Option<(i64, i64)> {
    let list = studies.list().iter().zip(window.studies);
    let extents = list.filter(|(study, _)| study.spec().is_overlay()).filter_map(|(_, extent)| extent);
    let extents = extents.map(|(low, high)| (units(low, digits), units(high, digits)));
    extents.reduce(|(low, high), other| (low.min(other.0), high.max(other.1)))
}

/// The range of an indicator's own axis; none for one that has no pane, or no value.
pub(super) fn range(spec: IndicatorSpec, extent: Extent, kept: Option<Range>) -> Option<Range> {
    if spec.is_overlay() {
        return None;
    }
    if levels(spec).is_some() {
        return Some(Range { low: 0, high: HUNDRED });
    }
    let (low, high) = extent?;
    let both_sides = matches!(spec, IndicatorSpec::Macd { .. });
    let (low, high) = (own_units(low), own_units(high));
    let (low, high) = if both_sides { (low.min(0), high.max(0)) } else { (low, high) };
    Some(Range::fit((low, high), 1, kept))
}

/// The pane of an indicator, and its axis.
fn own_pane(view: &View<'_>, index: usize) -> Option<(Rect, Axis)> {
    let range = view.study_ranges[index]?;
    let list = view.input.studies.list()[..index].iter();
    let pane = view.panes.studies[list.filter(|study| !study.spec().is_overlay()).count()];
    (!pane.is_empty()).then(|| (pane, Axis::new(range, &pane, 20 * view.m.scale_px)))
}

/// Draws the grid and the labels of an indicator's own axis.
pub(super) fn draw_axis(view: &mut View<'_>, index: usize) {
    let Some((pane, axis)) = own_pane(view, index) else { return };
    let spec = view.input.studies.list()[index].spec();
    let (apart, x, within) = (view.m.label_rows, axes::label_x(view), axes::tick_label(view, pane));
    if let Some(levels) = levels(spec) {
        for level in levels {
            let row = axis.rows.row(level);
            let area = Rect::from_edges(pane.x.into(), row, pane.right(), row + view.m.scale_px, pane);
            let paint = Paint::Dash { run: 3 * view.m.scale as u8 };
            view.scene.push(Layer::Grid, Shape { area, color: view.palette.border, paint });
            view.write(|text| push_value(text, level, 1));
            view.put(Layer::Axes, view.palette.text, (x, row), within);
        }
        return;
    }
    let step = axis.step(&pane, apart, 1);
    for value in axis.ticks(&pane, apart, 1) {
        let row = axis.rows.row(value);
        axes::grid_row(view, pane, row);
        view.write(|text| push_value(text, value, step));
        view.put(Layer::Axes, view.palette.text, (x, row), within);
    }
}

/// Adds a value with as many decimal places as `step` has, or short if it is large.
fn push_value(text: &mut String, value: i128, step: i128) {
    if value.abs() >= 100_000 * 100_000_000 {
        return number::push_compact(text, value, DIGITS);
    }
    let used = (0..DIGITS).find(|digits| step % 10i128.pow((DIGITS - digits).into()) == 0);
    let shown = if step == 1 { 0 } else { used.unwrap_or(DIGITS) };
    number::push_fixed(text, value, DIGITS, shown);
}

/// Adds an indicator's newest value: of a price as the price axis has it, else with four significant digits.
pub(super) fn push_reading(view: &View<'_>, spec: IndicatorSpec, value: f64, text: &mut String) {
    match view.prices {
        Some(prices) if spec.is_overlay() => {
            prices.push_price(text, units(value, view.settings.price_digits))
        }
        _ if value.abs() >= 1e5 => number::push_compact(text, own_units(value), DIGITS),
        _ => {
            let units = own_units(value);
            // How many digits there are before the last four.
            let more = units.unsigned_abs().checked_ilog10().unwrap_or(0).saturating_sub(3);
            number::push_fixed(text, units, DIGITS, DIGITS.saturating_sub(more as u8));
        }
    }
}

/// Draws the indicators in all columns but the last.
pub(super) fn draw_older(view: &mut View<'_>) {
    for index in 0..view.input.studies.list().len() {
        for column in view.older() {
            draw(view, index, column, (Layer::Series, Layer::Fill));
        }
    }
}

/// Draws the indicators in the last column shown.
pub(super) fn draw_newest(view: &mut View<'_>) {
    for index in 0..view.input.studies.list().len() {
        for column in view.older().end..view.columns.len() {
            draw(view, index, column, (Layer::Last, Layer::LastFill));
        }
    }
}

/// Draws an indicator from the column before to `column`.
fn draw(view: &mut View<'_>, index: usize, column: usize, (layer, fill): (Layer, Layer)) {
    let study = &view.input.studies.list()[index];
    let at = |column: usize| study.at(view.window.place(view.input.bars, column));
    let (values, before) = (at(column), column.checked_sub(1).map_or(Values::NONE, at));
    let (spec, colors) = (study.spec(), view.palette.studies[index]);
    let x = (column.checked_sub(1).map(|before| view.slots.middle(before)), view.slots.middle(column));
    let scale = view.m.scale_px;
    // Each line's two ends, where it has both.
    let ends = |row: &dyn Fn(f64) -> i32, line: usize| {
        let from = Point { x: x.0?, row: row(before.get(line)?) };
        Some((from, Point { x: x.1, row: row(values.get(line)?) }))
    };
    if spec.is_overlay() {
        let Some(prices) = view.prices else { return };
        let (pane, digits) = (view.panes.price, view.settings.price_digits);
        let row = |value: f64| prices.fine_row(units(value, digits));
        if let IndicatorSpec::Bollinger { .. } = spec
            && let (Some(upper), Some(lower)) = (ends(&row, 0), ends(&row, 2))
        {
            lines::between(view.scene, fill, upper, lower, colors.fill, &pane);
        }
        for line in 0..spec.lines().len() {
            if let Some(ends) = ends(&row, line) {
                lines::stretch(view.scene, layer, ends, (colors.line, scale), &pane);
            }
        }
        return;
    }
    let Some((pane, axis)) = own_pane(view, index) else { return };
    let row = |value: f64| axis.rows.fine_row(own_units(value));
    if let (IndicatorSpec::Macd { .. }, Some(value)) = (spec, values.get(2)) {
        histogram(view, layer, column, (axis.rows.row(own_units(value)), axis.rows.row(0)), &pane);
    }
    let count = spec.lines().len() - usize::from(matches!(spec, IndicatorSpec::Macd { .. }));
    for line in 0..count {
        if let Some(ends) = ends(&row, line) {
            let color = if line == 0 { colors.line } else { colors.doubtful };
            lines::stretch(view.scene, layer, ends, (color, scale), &pane);
        }
    }
}

/// A bar from zero to a value, by their rows.
fn histogram(view: &mut View<'_>, layer: Layer, column: usize, (row, zero): (i32, i32), pane: &Rect) {
    let left = view.slots.body(column);
    let color = if row <= zero { view.palette.up.volume } else { view.palette.down.volume };
    let area = Rect::from_edges(left, row.min(zero), left + view.slots.body, row.max(zero) + 1, *pane);
    view.scene.solid(layer, area, color);
}
