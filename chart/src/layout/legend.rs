//! Title, legend, the line and the label at the last price, and the message while there is nothing to show.

use super::{View, axes, series};
use crate::Rect;
use crate::number;
use crate::scene::{Layer, Paint, Shape, Style};
use crate::text::Face;
use market::{Candle, CandleState, Ohlc};

/// Draws all that lies on top of the bars, and the title.
pub(super) fn draw(view: &mut View<'_>) {
    title(view);
    if view.prices.is_none() {
        waiting(view);
    } else {
        price_line(view);
        legend(view);
    }
}

/// The middle of a line of the header, counted from 0.
fn header_row(view: &View<'_>, line: i32) -> i32 {
    (15 + 20 * line) * view.m.scale_px
}

fn title(view: &mut View<'_>) {
    if view.panes.header.is_empty() {
        return;
    }
    let style = Style { face: Face::Large, color: view.palette.strong };
    let baseline = view.atlas.baseline(Face::Large, header_row(view, 0));
    view.scene.text(
        Layer::Axes,
        view.title,
        style,
        (view.m.pad + view.m.scale_px * 2, baseline),
        view.panes.header,
    );
}

fn waiting(view: &mut View<'_>) {
    view.write(|text| text.push_str("waiting for trades"));
    let plot = view.panes.plot;
    let x = (i32::from(plot.w) - view.text_width()) / 2;
    view.put(Layer::Legend, view.palette.faint, (x, i32::from(plot.h) / 2), plot);
}

/// The latest known price.
fn last_price(view: &View<'_>) -> Option<Ohlc> {
    view.bars.iter().rev().find_map(|bar| bar.ohlc)
}

/// Where the last price's label stands, if there is one.
pub(super) fn price_label(view: &View<'_>) -> Option<Rect> {
    let (prices, last) = (view.prices?, last_price(view)?);
    let (gutter, pane) = (view.panes.gutter, view.panes.price);
    let half = view.atlas.digit_height(Face::Small) / 2 + 5 * view.m.scale_px;
    let row = prices.rows.row(last.close.into());
    let middle = row.min(pane.bottom() - half - 1).max(i32::from(pane.y) + half);
    let label = Rect { x: gutter.x, w: gutter.w, ..pane };
    let area = Rect::from_edges(gutter.x.into(), middle - half, gutter.right(), middle + half + 1, label);
    (!area.is_empty()).then_some(area)
}

fn price_line(view: &mut View<'_>) {
    let (Some(prices), Some(last)) = (view.prices, last_price(view)) else {
        return;
    };
    let (pane, s) = (view.panes.price, view.m.scale_px);
    let color = series::direction(view, &last).candle;
    let row = prices.rows.row(last.close.into());
    let area = Rect::from_edges(pane.x.into(), row, pane.right(), row + s, pane);
    let paint = Paint::Dash { run: 3 * view.m.scale as u8 };
    view.scene.push(Layer::Price, Shape { area, color, paint });
    if let Some(label) = price_label(view) {
        view.scene.solid(Layer::Price, label, color);
        let (digits, shown) = (view.settings.price_digits, prices.shown_digits);
        view.write(|text| number::push_fixed(text, last.close.into(), digits, shown));
        let middle = i32::from(label.y) + i32::from(label.h) / 2;
        view.put(Layer::Price, view.palette.on_label, (axes::label_x(view), middle), label);
    }
}

/// Open, high, low, close, change and volume of the newest bar, as far as there is room beside what is in doubt.
fn legend(view: &mut View<'_>) {
    let (Some(prices), Some(bar)) = (view.prices, view.bars.last()) else {
        return;
    };
    let (digits, shown) = (view.settings.price_digits, prices.shown_digits);
    let end = doubt(view, bar);
    let mut line = Line::new(view, end);
    if let Some(ohlc) = bar.ohlc {
        let color = series::direction(view, &ohlc).candle;
        for (name, price) in [("O", ohlc.open), ("H", ohlc.high), ("L", ohlc.low), ("C", ohlc.close)] {
            line.item(view, name, color, |text| number::push_fixed(text, price.into(), digits, shown));
        }
        change(view, &mut line, &ohlc, shown);
        line.item(view, "Vol", color, |text| {
            number::push_compact(text, bar.volume, view.settings.qty_digits)
        });
    } else {
        for name in ["O", "H", "L", "C"] {
            line.item(view, name, view.palette.faint, |text| text.push('–'));
        }
    }
}

/// What is in doubt about the newest bar, at the right end of the header. Returns where it begins.
fn doubt(view: &mut View<'_>, bar: &Candle) -> i32 {
    let right = view.panes.header.right() - view.m.pad;
    let color = match bar.state {
        CandleState::Traded => return right,
        CandleState::Quiet => view.palette.faint,
        CandleState::Partial | CandleState::Gap => view.palette.warning,
    };
    view.write(|text| text.push_str(bar.state.name()));
    let x = right - view.text_width();
    view.put(Layer::Legend, color, (x, header_row(view, 0)), view.panes.header);
    x - view.m.pad
}

/// How far the close is from the close before, or from the bar's own open where that is not known.
fn change(view: &mut View<'_>, line: &mut Line, ohlc: &Ohlc, shown: u8) {
    let before = view.bars.iter().rev().nth(1).and_then(|bar| bar.close()).unwrap_or(ohlc.open);
    let change = i128::from(ohlc.close) - i128::from(before);
    let color = if change >= 0 { view.palette.up.candle } else { view.palette.down.candle };
    line.item(view, "", color, |text| {
        number::push_change(text, change, view.settings.price_digits, shown);
        if before != 0 {
            text.push_str(" (");
            number::push_percent(text, change, before);
            text.push(')');
        }
    });
}

/// A line of names and values, from the left to where the room ends.
struct Line {
    x: i32,
    middle: i32,
    /// Where the room ends.
    end: i32,
    full: bool,
}

impl Line {
    /// Beside the title as far as `end`, or below it in a header of two lines.
    fn new(view: &View<'_>, end: i32) -> Self {
        let below = view.panes.header_lines > 1;
        let left = view.m.pad + 2 * view.m.scale_px;
        Self {
            x: if below { left } else { left + view.title_width + 16 * view.m.scale_px },
            middle: header_row(view, i32::from(below)),
            end: if below { view.panes.header.right() } else { end },
            full: false,
        }
    }

    /// Adds a name and a value. From the first that does not fit on, nothing is added.
    fn item(&mut self, view: &mut View<'_>, name: &str, color: u32, value: impl FnOnce(&mut String)) {
        let within = view.panes.header;
        view.write(value);
        let (name_width, value_width) = (view.atlas.width(Face::Small, name), view.text_width());
        let gap = if name.is_empty() { 0 } else { 4 * view.m.scale_px };
        let end = self.x + name_width + gap + value_width;
        self.full |= end > self.end;
        if self.full {
            return;
        }
        view.put(Layer::Legend, color, (self.x + name_width + gap, self.middle), within);
        view.write(|text| text.push_str(name));
        view.put(Layer::Legend, view.palette.faint, (self.x, self.middle), within);
        self.x = end + 10 * view.m.scale_px;
    }
}
