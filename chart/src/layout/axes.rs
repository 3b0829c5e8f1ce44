//! The background: grid, borders, the labels of the axes, and the hatching of gaps.

use super::View;
use crate::Rect;
use crate::number;
use crate::scene::{Layer, Paint, Shape};
use crate::time_axis::{self, TimeAxis, Weight};
use market::CandleState;

/// Draws everything that lies behind the bars, and the axes.
pub(super) fn draw(view: &mut View<'_>, times: &TimeAxis) {
    view.scene.solid(Layer::Background, view.panes.frame, view.palette.background);
    gaps(view);
    time_axis(view, times);
    price_axis(view);
    volume_axis(view);
    borders(view);
    zone(view);
}

/// Hatches the slots in which the feed was not proven alive.
fn gaps(view: &mut View<'_>) {
    let is_gap = |bar: usize| view.bars[bar].state == CandleState::Gap;
    let s = view.m.scale as u8;
    let paint = Paint::Hatch { period: 6 * s, width: s };
    let plot = view.panes.plot;
    let mut bar = 0;
    while bar < view.bars.len() {
        if !is_gap(bar) {
            bar += 1;
            continue;
        }
        let first = bar;
        while bar < view.bars.len() && is_gap(bar) {
            bar += 1;
        }
        let (left, right) = (view.slots.slot(first), view.slots.slot(bar));
        let area = Rect::from_edges(left, view.panes.price.y.into(), right, plot.bottom(), plot);
        view.scene.push(Layer::Grid, Shape { area, color: view.palette.hatch, paint });
    }
}

fn time_axis(view: &mut View<'_>, times: &TimeAxis) {
    let (plot, axis, line) = (view.panes.plot, view.panes.times, view.m.scale_px);
    let middle = i32::from(axis.y) + i32::from(axis.h) / 2;
    for mark in times.labels() {
        let left = view.slots.wick(mark.bar);
        let area = Rect::from_edges(left, plot.y.into(), left + line, plot.bottom(), plot);
        view.scene.solid(Layer::Grid, area, view.palette.grid);
        view.write(|text| mark.push_label(text, view.settings.timeframe));
        let x = view.slots.middle(mark.bar) - view.text_width() / 2;
        let color = if mark.weight >= Weight::Day { view.palette.strong } else { view.palette.text };
        view.put(Layer::Axes, color, (x, middle), axis);
    }
}

fn price_axis(view: &mut View<'_>) {
    let Some(prices) = view.prices else { return };
    let pane = view.panes.price;
    let covered = super::legend::price_label(view);
    for price in prices.ticks(&pane, view.m.label_rows) {
        let row = prices.rows.row(price);
        grid_row(view, pane, row);
        view.write(|text| number::push_fixed(text, price, view.settings.price_digits, prices.shown_digits));
        let label = tick_label(view, pane);
        let half = view.m.label_rows / 5;
        // A label that the last price's label would half cover is worse than none.
        if covered.is_none_or(|covered| row + half <= i32::from(covered.y) || row - half >= covered.bottom())
        {
            view.put(Layer::Axes, view.palette.text, (label_x(view), row), label);
        }
    }
}

fn volume_axis(view: &mut View<'_>) {
    let pane = view.panes.volume;
    if pane.is_empty() || view.prices.is_none() {
        return;
    }
    let volumes = view.volumes;
    for volume in volumes.ticks(&pane, view.m.label_rows).filter(|volume| *volume > 0) {
        let row = volumes.rows.row(volume);
        grid_row(view, pane, row);
        view.write(|text| number::push_compact(text, volume, view.settings.qty_digits));
        let label = tick_label(view, pane);
        view.put(Layer::Axes, view.palette.text, (label_x(view), row), label);
    }
}

/// A line of the grid across `pane`.
fn grid_row(view: &mut View<'_>, pane: Rect, row: i32) {
    let area = Rect::from_edges(pane.x.into(), row, pane.right(), row + view.m.scale_px, pane);
    view.scene.solid(Layer::Grid, area, view.palette.grid);
}

/// Where the labels of a pane's vertical axis may stand.
fn tick_label(view: &View<'_>, pane: Rect) -> Rect {
    let gutter = view.panes.gutter;
    Rect { x: gutter.x, w: gutter.w, ..pane }
}

/// Where labels in the gutter begin.
pub(super) fn label_x(view: &View<'_>) -> i32 {
    i32::from(view.panes.gutter.x) + view.m.pad
}

/// Lines between the plot and its axes, and between the panes.
fn borders(view: &mut View<'_>) {
    let (line, color) = (view.m.scale_px, view.palette.border);
    let super::Panes { frame, plot, gutter, times, volume, .. } = view.panes;
    let lines = [
        (gutter, Rect::from_edges(gutter.x.into(), 0, i32::from(gutter.x) + line, frame.bottom(), frame)),
        (times, Rect::from_edges(0, plot.bottom(), frame.right(), plot.bottom() + line, frame)),
        (volume, Rect::from_edges(0, volume.y.into(), frame.right(), i32::from(volume.y) + line, frame)),
    ];
    for (_, area) in lines.into_iter().filter(|(pane, _)| !pane.is_empty()) {
        view.scene.solid(Layer::Axes, area, color);
    }
}

/// The time zone's name where the two axes meet.
fn zone(view: &mut View<'_>) {
    let (gutter, times) = (view.panes.gutter, view.panes.times);
    let Some(last) = view.bars.last() else { return };
    view.write(|text| time_axis::push_zone(text, last.open_ms, &view.settings.time_zone));
    let corner = Rect { x: gutter.x, w: gutter.w, ..times };
    let middle = i32::from(times.y) + i32::from(times.h) / 2;
    let x = i32::from(corner.x) + (i32::from(corner.w) - view.text_width()) / 2;
    view.put(Layer::Axes, view.palette.faint, (x, middle), corner);
}
