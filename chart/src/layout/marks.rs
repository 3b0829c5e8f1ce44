//! Price lines and markers that a user has set.

use super::{View, axes};
use crate::Rect;
use crate::frame::rgb;
use crate::marks::MarkerPlace;
use crate::scene::{Layer, Style};
use crate::text::Face;

/// Draws all that lie in the picture.
pub(super) fn draw(view: &mut View<'_>) {
    for index in 0..view.input.marks.lines.len() {
        price_line(view, index);
    }
    for index in 0..view.input.marks.markers.len() {
        marker(view, index);
    }
}

/// A line, its title at the left, and its price on the axis.
fn price_line(view: &mut View<'_>, index: usize) {
    let (Some(prices), line) = (view.prices, view.input.marks.lines[index]) else { return };
    if !prices.shows(line.price) {
        return;
    }
    let (pane, s, color) = (view.panes.price, view.m.scale_px, rgb(line.color.0));
    let row = prices.row(line.price);
    view.scene.solid(Layer::Marks, Rect::from_edges(pane.x.into(), row, pane.right(), row + s, pane), color);
    view.write(|text| text.push_str(line.title.as_str()));
    let above = row - view.atlas.digit_height(Face::Small);
    view.put(Layer::Marks, color, (i32::from(pane.x) + view.m.pad, above), pane);
    let label = axes::gutter_label(view, row, 1);
    view.scene.solid(Layer::Marks, label, color);
    view.write(|text| prices.push(text, line.price));
    let middle = i32::from(label.y) + i32::from(label.h) / 2;
    view.put(Layer::Marks, view.palette.on_label, (axes::label_x(view), middle), label);
}

/// A sign above or below a bar, and its title beside it.
fn marker(view: &mut View<'_>, index: usize) {
    let (Some(prices), marker) = (view.prices, view.input.marks.markers[index]) else { return };
    let number = view.input.bars.at_time(marker.time_ms);
    let Some(column) = (number >> view.window.level).checked_sub(view.window.first) else { return };
    let Some(ohlc) = view.columns.get(column as usize).and_then(|column| column.ohlc) else { return };
    let (pane, color) = (view.panes.price, rgb(marker.color.0));
    let height = view.atlas.digit_height(Face::Small);
    let middle = match marker.place {
        MarkerPlace::Above => prices.row(ohlc.high) - height - view.m.pad / 2,
        MarkerPlace::Below => prices.row(ohlc.low) + height + view.m.pad / 2,
    };
    let sign = marker.shape.sign();
    let (x, width) = (view.slots.middle(column as usize), view.atlas.width(Face::Small, sign));
    let style = Style { face: Face::Small, color };
    let baseline = view.atlas.baseline(Face::Small, middle);
    view.scene.text(Layer::Marks, sign, style, (x - width / 2, baseline), pane);
    view.write(|text| text.push_str(marker.title.as_str()));
    view.put(Layer::Marks, color, (x + width / 2 + 2 * view.m.scale_px, middle), pane);
}
