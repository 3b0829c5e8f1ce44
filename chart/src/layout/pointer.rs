//! The crosshair at a position that a client has given: it snaps to a bar across, not down.

use super::{View, axes};
use crate::Rect;
use crate::scene::{Layer, Paint, Shape};
use crate::time_axis;

/// The column under the pointer, if it is in the plot.
pub(super) fn column(view: &View<'_>) -> Option<usize> {
    let (x, y) = view.input.pointer?;
    let is_inside = view.panes.plot.contains(&Rect::new(x, y, 1, 1));
    if is_inside { view.slots.at(x.into(), view.columns.len()) } else { None }
}

/// Draws two dashed lines, and what they point at on the axes.
pub(super) fn draw(view: &mut View<'_>) {
    let (Some(column), Some((_, y))) = (column(view), view.input.pointer) else { return };
    let (plot, price, s) = (view.panes.plot, view.panes.price, view.m.scale_px);
    let run = 3 * view.m.scale as u8;
    let (x, row) = (view.slots.wick(column), i32::from(y));
    let color = view.palette.crosshair;
    let down = Rect::from_edges(x, plot.y.into(), x + s, plot.bottom(), plot);
    view.scene.push(Layer::Pointer, Shape { area: down, color, paint: Paint::DashDown { run } });
    let across = Rect::from_edges(plot.x.into(), row, plot.right(), row + s, plot);
    view.scene.push(Layer::Pointer, Shape { area: across, color, paint: Paint::Dash { run } });
    if let Some(prices) = view.prices.filter(|_| price.contains(&Rect::new(price.x, y, 1, 1))) {
        let label = axes::gutter_label(view, row, 1);
        view.scene.solid(Layer::Pointer, label, view.palette.crosshair_label);
        view.write(|text| prices.push(text, prices.price_at(row)));
        let middle = i32::from(label.y) + i32::from(label.h) / 2;
        view.put(Layer::Pointer, view.palette.on_label, (axes::label_x(view), middle), label);
    }
    time_label(view, column);
}

/// When the bar under the pointer opens, on the time axis.
fn time_label(view: &mut View<'_>, column: usize) {
    let axis = view.panes.times;
    let (open_ms, settings) = (view.columns[column].open_ms, view.settings);
    view.write(|text| time_axis::push_moment(text, open_ms, &settings.time_zone, settings.timeframe));
    let width = view.text_width() + 2 * view.m.pad;
    let left = (view.slots.middle(column) - width / 2).min(axis.right() - width).max(0);
    let area = Rect::from_edges(left, i32::from(axis.y) + view.m.scale_px, left + width, axis.bottom(), axis);
    view.scene.solid(Layer::Pointer, area, view.palette.crosshair_label);
    let middle = i32::from(axis.y) + i32::from(axis.h) / 2;
    view.put(Layer::Pointer, view.palette.on_label, (left + view.m.pad, middle), area);
}
