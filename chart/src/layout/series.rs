//! The bars and their volume, in each of the ways that a chart can show them. Doubt is visible: where trades may be
//! missing a bar is dim, a candle hollow besides, and a bar without a price is not drawn at all: lines break there.

use super::lines::{self, Point};
use super::prices::Prices;
use super::{View, panes::Slots};
use crate::Rect;
use crate::bars::Column;
use crate::palette::Direction;
use crate::scene::{Layer, Paint, Shape};
use crate::settings::SeriesKind;
use core::ops::Range;
use market::{CandleState, Ohlc};

/// Draws all bars but the last.
pub(super) fn draw_older(view: &mut View<'_>) {
    draw(view, Layer::Series, Layer::Fill, view.older());
}

/// Draws the last bar shown.
pub(super) fn draw_newest(view: &mut View<'_>) {
    draw(view, Layer::Last, Layer::LastFill, view.older().end..view.columns.len());
}

fn draw(view: &mut View<'_>, layer: Layer, fill: Layer, range: Range<usize>) {
    let Some(prices) = view.prices else { return };
    // All volume first: shapes that lie close together are quicker to draw.
    range.clone().for_each(|column| volume(view, layer, column));
    if view.is_line() {
        let base = baseline(view);
        for column in range {
            line(view, (layer, fill), &prices, column, base);
        }
        return;
    }
    for index in range {
        let column = view.columns[index];
        let Some(ohlc) = column.ohlc else { continue };
        let edges = Edges::of(&prices, &ohlc);
        let direction = direction(view, index);
        match view.kind() {
            _ if view.window.level > 0 => stroke(view, layer, index, &edges, doubtful(&column), direction),
            _ if column.state == CandleState::Quiet => dash(view, layer, index, prices.row(ohlc.close)),
            SeriesKind::Bars => bar(view, layer, index, &edges, doubtful(&column), direction),
            SeriesKind::HollowCandles => hollow(view, layer, index, &edges, doubtful(&column), direction),
            _ => candle(view, layer, index, &edges, doubtful(&column), direction),
        }
    }
}

/// The colours of a bar: of a hollow candle by the change since the bar before, of others by its own. One that did not
/// move counts as risen.
fn direction(view: &View<'_>, index: usize) -> Direction {
    let Some(ohlc) = view.columns[index].ohlc else { return view.palette.up };
    let since = match view.kind() {
        SeriesKind::HollowCandles => {
            let before = view.columns[..index].iter().rev().find_map(|column| column.ohlc);
            before.map_or(ohlc.open, |before| before.close)
        }
        _ => ohlc.open,
    };
    if ohlc.close >= since { view.palette.up } else { view.palette.down }
}

/// The colours of a bar by its own change.
pub(super) fn own_direction(view: &View<'_>, ohlc: &Ohlc) -> Direction {
    if ohlc.close >= ohlc.open { view.palette.up } else { view.palette.down }
}

/// Whether trades may be missing.
fn doubtful(column: &Column) -> bool {
    matches!(column.state, CandleState::Partial | CandleState::Gap)
}

/// The rows of a candle. The body covers `top..bottom`, at least one row.
struct Edges {
    high: i32,
    top: i32,
    bottom: i32,
    low: i32,
    open: i32,
    close: i32,
    rises: bool,
}

impl Edges {
    fn of(prices: &Prices, ohlc: &Ohlc) -> Self {
        let (open, close) = (prices.row(ohlc.open), prices.row(ohlc.close));
        Self {
            high: prices.row(ohlc.high),
            top: open.min(close),
            bottom: open.max(close) + 1,
            low: prices.row(ohlc.low) + 1,
            open,
            close,
            rises: ohlc.close >= ohlc.open,
        }
    }
}

/// A bar's columns of pixels: its body, and its wick or stem.
fn across(slots: &Slots, index: usize) -> (Range<i32>, Range<i32>) {
    let (left, wick) = (slots.body(index), slots.wick(index));
    (left..left + slots.body, wick..wick + slots.wick)
}

/// Draws wicks above and below the body, then the body.
fn candle(
    view: &mut View<'_>,
    layer: Layer,
    index: usize,
    edges: &Edges,
    doubtful: bool,
    direction: Direction,
) {
    let color = if doubtful { direction.doubtful } else { direction.candle };
    body_and_wicks(view, layer, index, edges, color);
    if doubtful && let Some(inside) = inside(view, index, edges) {
        view.scene.solid(layer, inside, view.palette.background);
    }
}

/// The same, but hollow where it rose. Where trades may be missing it is dim, and hatched.
fn hollow(
    view: &mut View<'_>,
    layer: Layer,
    index: usize,
    edges: &Edges,
    doubtful: bool,
    direction: Direction,
) {
    let color = if doubtful { direction.doubtful } else { direction.candle };
    body_and_wicks(view, layer, index, edges, color);
    let Some(inside) = inside(view, index, edges) else { return };
    if edges.rises {
        view.scene.solid(layer, inside, view.palette.background);
    }
    if doubtful {
        let paint = Paint::Hatch { period: 4 * view.m.scale as u8, width: view.m.scale as u8 };
        view.scene.push(layer, Shape { area: inside, color: view.palette.hatch, paint });
    }
}

fn body_and_wicks(view: &mut View<'_>, layer: Layer, index: usize, edges: &Edges, color: u32) {
    let (pane, (body, wick)) = (view.panes.price, across(&view.slots, index));
    let scene = &mut *view.scene;
    scene.solid(layer, Rect::from_edges(wick.start, edges.high, wick.end, edges.top, pane), color);
    scene.solid(layer, Rect::from_edges(wick.start, edges.bottom, wick.end, edges.low, pane), color);
    scene.solid(layer, Rect::from_edges(body.start, edges.top, body.end, edges.bottom, pane), color);
}

/// What a hollow body does not cover, if its outline leaves anything.
fn inside(view: &View<'_>, index: usize, edges: &Edges) -> Option<Rect> {
    let (body, _) = across(&view.slots, index);
    let line = view.m.scale_px;
    let area = Rect::from_edges(
        body.start + line,
        edges.top + line,
        body.end - line,
        (edges.bottom - line).max(edges.top + line),
        view.panes.price,
    );
    (!area.is_empty()).then_some(area)
}

/// A stem from low to high, the open at its left, the close at its right.
fn bar(view: &mut View<'_>, layer: Layer, index: usize, edges: &Edges, doubtful: bool, direction: Direction) {
    let (pane, s) = (view.panes.price, view.m.scale_px);
    let (body, stem) = across(&view.slots, index);
    let color = if doubtful { direction.doubtful } else { direction.candle };
    let scene = &mut *view.scene;
    scene.solid(
        layer,
        Rect::from_edges(stem.start, edges.high.min(edges.top), stem.end, edges.low.max(edges.bottom), pane),
        color,
    );
    scene.solid(layer, Rect::from_edges(body.start, edges.open, stem.start, edges.open + s, pane), color);
    scene.solid(layer, Rect::from_edges(stem.end, edges.close, body.end, edges.close + s, pane), color);
}

/// Several bars in one pixel column: from the lowest low to the highest high.
fn stroke(
    view: &mut View<'_>,
    layer: Layer,
    index: usize,
    edges: &Edges,
    doubtful: bool,
    direction: Direction,
) {
    let x = view.slots.slot(index);
    let color = if doubtful { direction.doubtful } else { direction.candle };
    let (top, bottom) = (edges.high.min(edges.top), edges.low.max(edges.bottom));
    view.scene.solid(layer, Rect::from_edges(x, top, x + 1, bottom, view.panes.price), color);
}

/// A bar in which nothing traded: a line at the price that still stands.
fn dash(view: &mut View<'_>, layer: Layer, index: usize, row: i32) {
    let (body, _) = across(&view.slots, index);
    let area = Rect::from_edges(body.start, row, body.end, row + view.m.scale_px, view.panes.price);
    view.scene.solid(layer, area, view.palette.quiet);
}

fn volume(view: &mut View<'_>, layer: Layer, index: usize) {
    let (pane, column) = (view.panes.volume, view.columns[index]);
    let Some(ohlc) = column.ohlc else { return };
    if pane.is_empty() || column.volume <= 0 {
        return;
    }
    let (body, _) = across(&view.slots, index);
    let direction = own_direction(view, &ohlc);
    // Any volume at all shows as at least one row.
    let top = view.volumes.rows.row(column.volume).min(pane.bottom() - 1);
    let color = if doubtful(&column) { direction.doubtful_volume } else { direction.volume };
    let area = Rect::from_edges(body.start, top, body.end, pane.bottom(), pane);
    view.scene.solid(layer, area, color);
}

/// Where the close of a column is.
fn point(view: &View<'_>, prices: &Prices, index: usize) -> Option<Point> {
    let ohlc = view.columns[index].ohlc?;
    Some(Point { x: view.slots.middle(index), row: prices.fine_row(ohlc.close) })
}

/// The price at which a baseline's colours meet.
fn baseline(view: &View<'_>) -> i64 {
    let first = || view.columns.iter().find_map(|column| column.ohlc).map_or(0, |ohlc| ohlc.close);
    view.settings.look.baseline.unwrap_or_else(first)
}

/// The line from the column before to this one, and what it fills.
fn line(view: &mut View<'_>, (layer, fill): (Layer, Layer), prices: &Prices, index: usize, base: i64) {
    let Some(to) = point(view, prices, index) else { return };
    let pane = view.panes.price;
    let is_doubtful = doubtful(&view.columns[index]);
    let scale = view.m.scale_px;
    let from = index.checked_sub(1).and_then(|before| point(view, prices, before));
    let own = |view: &View<'_>, above: bool| {
        let direction = if above { view.palette.up } else { view.palette.down };
        match view.kind() {
            SeriesKind::Baseline if is_doubtful => direction.doubtful,
            SeriesKind::Baseline => direction.candle,
            _ if is_doubtful => view.palette.line.doubtful,
            _ => view.palette.line.line,
        }
    };
    let base_row = prices.fine_row(base);
    let Some(from) = from else {
        // Where a line begins, or stands alone between two breaks.
        let color = own(view, to.row <= base_row);
        return lines::dot(view.scene, layer, to, (color, scale), &pane);
    };
    match view.kind() {
        SeriesKind::Area => {
            let bottom = pane.bottom() << 8;
            let lower = (Point { row: bottom, ..from }, Point { row: bottom, ..to });
            lines::between(view.scene, fill, (from, to), lower, view.palette.line.fill, &pane);
            lines::stretch(view.scene, layer, (from, to), (own(view, true), scale), &pane);
        }
        SeriesKind::Baseline => {
            for (from, to) in split(from, to, base_row) {
                let above = from.row.min(to.row) < base_row;
                let lower = (Point { row: base_row, ..from }, Point { row: base_row, ..to });
                let direction = if above { view.palette.up } else { view.palette.down };
                lines::between(view.scene, fill, (from, to), lower, direction.fill, &pane);
                lines::stretch(view.scene, layer, (from, to), (own(view, above), scale), &pane);
            }
        }
        _ => lines::stretch(view.scene, layer, (from, to), (own(view, true), scale), &pane),
    }
}

/// A line in two where it crosses `row`, so that each part is on one side of it.
fn split(from: Point, to: Point, row: i32) -> impl Iterator<Item = (Point, Point)> {
    let crosses = (from.row < row) != (to.row < row) && from.row != row && to.row != row;
    let down = i64::from(to.row) - i64::from(from.row);
    let at = if crosses { i64::from(row - from.row) * i64::from(to.x - from.x) / down } else { 0 };
    let middle = Point { x: from.x + at as i32, row };
    let parts = if crosses { [(from, middle), (middle, to)] } else { [(from, to), (to, to)] };
    parts.into_iter().filter(|(from, to)| from.x < to.x)
}
