//! The bars: candles and their volume. Doubt is visible: where trades may be missing a candle is hollow and dim,
//! and a bar without a price is not drawn at all.

use super::{Prices, View};
use crate::Rect;
use crate::palette::Direction;
use crate::scene::{Layer, Scene};
use market::{Candle, CandleState, Ohlc};

/// Draws all bars. The newest has a layer of its own; the others are drawn anew only when `version` changes.
pub(super) fn draw(view: &mut View<'_>, version: u64) {
    let newest = view.bars.len().saturating_sub(1);
    if !view.scene.keeps(Layer::Series, version) {
        draw_bars(view, Layer::Series, 0..newest);
    }
    draw_bars(view, Layer::Last, newest..view.bars.len());
}

fn draw_bars(view: &mut View<'_>, layer: Layer, range: core::ops::Range<usize>) {
    let Some(prices) = view.prices else { return };
    // All volume first: shapes that lie close together are quicker to draw.
    for (index, bar) in range.clone().zip(&view.bars[range.clone()]) {
        volume(view, layer, index, bar);
    }
    for (index, bar) in range.clone().zip(&view.bars[range]) {
        let Some(ohlc) = bar.ohlc else { continue };
        if bar.state == CandleState::Quiet {
            dash(view, layer, index, prices.rows.row(ohlc.close.into()));
        } else {
            candle(view, layer, index, &Edges::of(&prices, &ohlc), doubtful(bar), direction(view, &ohlc));
        }
    }
}

/// The colours of a bar. One that did not move counts as risen.
pub(super) fn direction(view: &View<'_>, ohlc: &Ohlc) -> Direction {
    if ohlc.close >= ohlc.open { view.palette.up } else { view.palette.down }
}

/// Whether trades may be missing.
fn doubtful(bar: &Candle) -> bool {
    matches!(bar.state, CandleState::Partial | CandleState::Gap)
}

/// The rows of a candle. The body covers `top..bottom`, at least one row.
struct Edges {
    high: i32,
    top: i32,
    bottom: i32,
    low: i32,
}

impl Edges {
    fn of(prices: &Prices, ohlc: &Ohlc) -> Self {
        let row = |price: i64| prices.rows.row(price.into());
        let (open, close) = (row(ohlc.open), row(ohlc.close));
        Self {
            high: row(ohlc.high),
            top: open.min(close),
            bottom: open.max(close) + 1,
            low: row(ohlc.low) + 1,
        }
    }
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
    let (pane, m) = (view.panes.price, view.m);
    let color = if doubtful { direction.doubtful } else { direction.candle };
    let (left, wick) = (view.slots.body(index), view.slots.wick(index));
    let right = left + m.body;
    let scene: &mut Scene = view.scene;
    scene.solid(layer, Rect::from_edges(wick, edges.high, wick + m.wick, edges.top, pane), color);
    scene.solid(layer, Rect::from_edges(wick, edges.bottom, wick + m.wick, edges.low, pane), color);
    scene.solid(layer, Rect::from_edges(left, edges.top, right, edges.bottom, pane), color);
    if doubtful {
        let line = m.scale_px;
        let inside = Rect::from_edges(left + line, edges.top + line, right - line, edges.bottom - line, pane);
        scene.solid(layer, inside, view.palette.background);
    }
}

/// A bar in which nothing traded: a line at the price that still stands.
fn dash(view: &mut View<'_>, layer: Layer, index: usize, row: i32) {
    let left = view.slots.body(index);
    let area = Rect::from_edges(left, row, left + view.m.body, row + view.m.scale_px, view.panes.price);
    view.scene.solid(layer, area, view.palette.quiet);
}

fn volume(view: &mut View<'_>, layer: Layer, index: usize, bar: &Candle) {
    let pane = view.panes.volume;
    let Some(ohlc) = bar.ohlc else { return };
    if pane.is_empty() || bar.volume <= 0 {
        return;
    }
    let (left, direction) = (view.slots.body(index), direction(view, &ohlc));
    // Any volume at all shows as at least one row.
    let top = view.volumes.rows.row(bar.volume).min(pane.bottom() - 1);
    let color = if doubtful(bar) { direction.doubtful_volume } else { direction.volume };
    let area = Rect::from_edges(left, top, left + view.m.body, pane.bottom(), pane);
    view.scene.solid(layer, area, color);
}
