//! The grid, borders, the labels of the axes, and the hatching of gaps.

use super::{View, legend, studies};
use crate::Rect;
use crate::number;
use crate::scene::{Layer, Paint, Shape};
use crate::time_axis::{self, TimeAxis, Weight};
use market::CandleState;

/// Draws everything that lies behind the bars, and the axes, but for the price labels.
pub(super) fn draw(view: &mut View<'_>, times: &TimeAxis) {
    gaps(view);
    time_axis(view, times);
    price_grid(view);
    volume_axis(view);
    for index in 0..view.input.studies.list().len() {
        studies::draw_axis(view, index);
    }
    borders(view);
    zone(view);
}

/// Hatches the slots in which the feed was not proven alive.
fn gaps(view: &mut View<'_>) {
    let is_gap = |column: usize| view.columns[column].state == CandleState::Gap;
    let s = view.m.scale as u8;
    let paint = Paint::Hatch { period: 6 * s, width: s };
    let plot = view.panes.plot;
    let mut column = 0;
    while column < view.columns.len() {
        if !is_gap(column) {
            column += 1;
            continue;
        }
        let first = column;
        while column < view.columns.len() && is_gap(column) {
            column += 1;
        }
        let (left, right) = (view.slots.slot(first), view.slots.slot(column));
        let area = Rect::from_edges(left, view.panes.price.y.into(), right, plot.bottom(), plot);
        view.scene.push(Layer::Grid, Shape { area, color: view.palette.hatch, paint });
    }
}

fn time_axis(view: &mut View<'_>, times: &TimeAxis) {
    let (plot, axis, line) = (view.panes.plot, view.panes.times, view.m.scale_px);
    let middle = i32::from(axis.y) + i32::from(axis.h) / 2;
    for mark in times.labels() {
        let left = view.slots.wick(mark.column);
        let area = Rect::from_edges(left, plot.y.into(), left + line, plot.bottom(), plot);
        view.scene.solid(Layer::Grid, area, view.palette.grid);
        view.write(|text| mark.push_label(text, view.settings.timeframe));
        let x = view.slots.middle(mark.column) - view.text_width() / 2;
        let color = if mark.weight >= Weight::Day { view.palette.strong } else { view.palette.text };
        view.put(Layer::Axes, color, (x, middle), axis);
    }
}

fn price_grid(view: &mut View<'_>) {
    let Some(prices) = view.prices else { return };
    let pane = view.panes.price;
    view.tick_rows.clear();
    prices.label(&pane, view.m.label_rows, |_, row| {
        view.tick_rows.push(row);
        let area = Rect::from_edges(pane.x.into(), row, pane.right(), row + view.m.scale_px, pane);
        view.scene.solid(Layer::Grid, area, view.palette.grid);
    });
}

/// The row of the price label that the last price's label covers in part: worse than none.
pub(super) fn hidden_tick(view: &View<'_>, covered: Option<Rect>) -> Option<i32> {
    let (covered, half) = (covered?, view.m.label_rows / 5);
    let rows = view.tick_rows.iter().copied();
    rows.into_iter().find(|row| row + half > i32::from(covered.y) && row - half < covered.bottom())
}

/// Draws the labels of prices, but for the one on the row that is hidden.
pub(super) fn draw_ticks(view: &mut View<'_>, hidden: Option<i32>) {
    let Some(prices) = view.prices else { return };
    let (pane, x) = (view.panes.price, label_x(view));
    let label = tick_label(view, pane);
    // Nor is a label drawn that a user's line would cover in part.
    let lines = view.input.marks.lines.iter().map(|line| prices.row(line.price));
    let apart = 2 * legend::half_label(view);
    prices.label(&pane, view.m.label_rows, |price, row| {
        if hidden != Some(row) && lines.clone().all(|line| (line - row).abs() >= apart) {
            view.write(|text| prices.push(text, price));
            view.put(Layer::Ticks, view.palette.text, (x, row), label);
        }
    });
}

fn volume_axis(view: &mut View<'_>) {
    let pane = view.panes.volume;
    if pane.is_empty() || view.prices.is_none() {
        return;
    }
    let volumes = view.volumes;
    for volume in volumes.ticks(&pane, view.m.label_rows, 1).filter(|volume| *volume > 0) {
        let row = volumes.rows.row(volume);
        grid_row(view, pane, row);
        view.write(|text| number::push_compact(text, volume, view.settings.qty_digits));
        let label = tick_label(view, pane);
        view.put(Layer::Axes, view.palette.text, (label_x(view), row), label);
    }
}

/// A line of the grid across `pane`.
pub(super) fn grid_row(view: &mut View<'_>, pane: Rect, row: i32) {
    let area = Rect::from_edges(pane.x.into(), row, pane.right(), row + view.m.scale_px, pane);
    view.scene.solid(Layer::Grid, area, view.palette.grid);
}

/// Where the labels of a pane's vertical axis may stand.
pub(super) fn tick_label(view: &View<'_>, pane: Rect) -> Rect {
    let gutter = view.panes.gutter;
    Rect { x: gutter.x, w: gutter.w, ..pane }
}

/// Where labels in the gutter begin.
pub(super) fn label_x(view: &View<'_>) -> i32 {
    i32::from(view.panes.gutter.x) + view.m.pad
}

/// A label that covers the gutter on `row`, as near to it as the pane allows; `lines` lines high.
pub(super) fn gutter_label(view: &View<'_>, row: i32, lines: i32) -> Rect {
    let (gutter, pane) = (view.panes.gutter, view.panes.price);
    let half = legend::half_label(view);
    let height = 2 * half + 1 + (lines - 1) * legend::line_height(view);
    let top = (row - half).min(pane.bottom() - height).max(pane.y.into());
    let within = tick_label(view, pane);
    Rect::from_edges(gutter.x.into(), top, gutter.right(), top + height, within)
}

/// Lines between the plot and its axes, and between the panes.
fn borders(view: &mut View<'_>) {
    let (line, color) = (view.m.scale_px, view.palette.border);
    let super::Panes { frame, plot, gutter, times, volume, studies, .. } = view.panes;
    let above =
        |pane: Rect| Rect::from_edges(0, pane.y.into(), frame.right(), i32::from(pane.y) + line, frame);
    let beside = Rect::from_edges(gutter.x.into(), 0, i32::from(gutter.x) + line, frame.bottom(), frame);
    let below = Rect::from_edges(0, plot.bottom(), frame.right(), plot.bottom() + line, frame);
    let lines = [(gutter, beside), (times, below), (volume, above(volume))];
    let panes = studies.into_iter().map(|pane| (pane, above(pane)));
    for (_, area) in lines.into_iter().chain(panes).filter(|(pane, _)| !pane.is_empty()) {
        view.scene.solid(Layer::Axes, area, color);
    }
}

/// The time zone's name where the two axes meet.
fn zone(view: &mut View<'_>) {
    let (gutter, times) = (view.panes.gutter, view.panes.times);
    let Some(last) = view.columns.last() else { return };
    view.write(|text| time_axis::push_zone(text, last.open_ms, &view.settings.time_zone));
    let corner = Rect { x: gutter.x, w: gutter.w, ..times };
    let middle = i32::from(times.y) + i32::from(times.h) / 2;
    let x = i32::from(corner.x) + (i32::from(corner.w) - view.text_width()) / 2;
    view.put(Layer::Axes, view.palette.faint, (x, middle), corner);
}
