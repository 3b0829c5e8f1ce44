//! Title, legend, the line and the label at the last price, and the message while there is nothing to show.

use super::{View, axes, pointer, series, studies};
use crate::Rect;
use crate::bars::Column;
use crate::number;
use crate::scene::{Layer, Paint, Shape, Style};
use crate::text::Face;
use core::fmt::Write;
use market::{CandleState, Ohlc};

/// Draws the title, and all that lies on top of the bars but the crosshair.
pub(super) fn draw(view: &mut View<'_>) {
    title(view);
    if view.prices.is_none() {
        return waiting(view);
    }
    price_line(view);
    let Some(column) = pointer::column(view).or_else(|| view.columns.len().checked_sub(1)) else { return };
    legend(view, column);
    readings(view, column);
}

/// The middle of a line of the header, counted from 0.
fn header_row(view: &View<'_>, line: i32) -> i32 {
    (15 + 20 * line) * view.m.scale_px
}

/// From one line of small text to the next.
pub(super) fn line_height(view: &View<'_>) -> i32 {
    16 * view.m.scale_px
}

/// Half the height of a label of one line.
pub(super) fn half_label(view: &View<'_>) -> i32 {
    view.atlas.digit_height(Face::Small) / 2 + 5 * view.m.scale_px
}

fn title(view: &mut View<'_>) {
    if view.panes.header.is_empty() {
        return;
    }
    let style = Style { face: Face::Large, color: view.palette.strong };
    let baseline = view.atlas.baseline(Face::Large, header_row(view, 0));
    view.scene.text(
        Layer::Legend,
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

/// The latest known price of all.
fn last_price(view: &View<'_>) -> Option<Ohlc> {
    view.input.bars.candles().iter().rev().find_map(|bar| bar.ohlc)
}

/// How long the newest bar has to go by the venue's clock, if that is asked for.
fn countdown_ms(view: &View<'_>) -> Option<i64> {
    let (venue_ms, newest) = (view.input.venue_ms?, view.newest()?);
    // Beyond the calendar bars have no end.
    jiff::Timestamp::from_millisecond(newest.open_ms).ok()?;
    let end_ms = view.settings.timeframe.end_ms(newest.open_ms);
    view.settings.look.countdown.then(|| end_ms.saturating_sub(venue_ms).max(0))
}

/// Where the last price's label stands, if there is one. When other bars than the newest are shown, its price may lie
/// beyond the axis: then there is none.
pub(super) fn price_label(view: &View<'_>) -> Option<Rect> {
    let (prices, last) = (view.prices?, last_price(view)?);
    if !prices.shows(last.close) {
        return None;
    }
    let lines = 1 + i32::from(countdown_ms(view).is_some());
    let area = axes::gutter_label(view, prices.row(last.close), lines);
    (!area.is_empty()).then_some(area)
}

fn price_line(view: &mut View<'_>) {
    let (Some(prices), Some(last)) = (view.prices, last_price(view)) else {
        return;
    };
    if !prices.shows(last.close) {
        return;
    }
    let (pane, s) = (view.panes.price, view.m.scale_px);
    let color = series::own_direction(view, &last).candle;
    let row = prices.row(last.close);
    let area = Rect::from_edges(pane.x.into(), row, pane.right(), row + s, pane);
    let paint = Paint::Dash { run: 3 * view.m.scale as u8 };
    view.scene.push(Layer::Price, Shape { area, color, paint });
    let Some(label) = price_label(view) else { return };
    view.scene.solid(Layer::Price, label, color);
    view.write(|text| prices.push(text, last.close));
    let middle = i32::from(label.y) + half_label(view);
    view.put(Layer::Price, view.palette.on_label, (axes::label_x(view), middle), label);
    if let Some(left_ms) = countdown_ms(view) {
        view.write(|text| push_duration(text, left_ms));
        let middle = middle + line_height(view);
        view.put(Layer::Price, view.palette.on_label, (axes::label_x(view), middle), label);
    }
}

/// Adds a duration as minutes and seconds, as hours before them, or as days and hours.
fn push_duration(text: &mut String, left_ms: i64) {
    let seconds = left_ms.div_euclid(1_000);
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    // Writing to a String does not fail.
    let _ = match () {
        () if days > 0 => write!(text, "{days}d {}h", hours % 24),
        () if hours > 0 => write!(text, "{hours}:{:02}:{:02}", minutes % 60, seconds % 60),
        () => write!(text, "{minutes:02}:{:02}", seconds % 60),
    };
}

/// Open, high, low, close, change and volume of a bar, as far as there is room beside what is in doubt.
fn legend(view: &mut View<'_>, index: usize) {
    let (Some(prices), column) = (view.prices, view.columns[index]) else {
        return;
    };
    let end = doubt(view, &column);
    let mut line = Line::header(view, end);
    if let Some(ohlc) = column.ohlc {
        let color = series::own_direction(view, &ohlc).candle;
        for (name, price) in [("O", ohlc.open), ("H", ohlc.high), ("L", ohlc.low), ("C", ohlc.close)] {
            line.item(view, name, color, |text| prices.push_price(text, price));
        }
        change(view, &mut line, index, &ohlc);
        line.item(view, "Vol", color, |text| {
            number::push_compact(text, column.volume, view.settings.qty_digits)
        });
    } else {
        for name in ["O", "H", "L", "C"] {
            line.item(view, name, view.palette.faint, |text| text.push('–'));
        }
    }
}

/// What is in doubt about a bar, at the right end of the header. Returns where it begins.
fn doubt(view: &mut View<'_>, column: &Column) -> i32 {
    let right = view.panes.header.right() - view.m.pad;
    let color = match column.state {
        CandleState::Traded => return right,
        CandleState::Quiet => view.palette.faint,
        CandleState::Partial | CandleState::Gap => view.palette.warning,
    };
    view.write(|text| text.push_str(column.state.name()));
    let x = right - view.text_width();
    view.put(Layer::Legend, color, (x, header_row(view, 0)), view.panes.header);
    x - view.m.pad
}

/// How far the close is from the close before, or from the bar's own open where that is not known.
fn change(view: &mut View<'_>, line: &mut Line, index: usize, ohlc: &Ohlc) {
    let before = index.checked_sub(1).and_then(|before| view.columns[before].ohlc);
    let before = before.map_or(ohlc.open, |before| before.close);
    let change = i128::from(ohlc.close) - i128::from(before);
    let color = if change >= 0 { view.palette.up.candle } else { view.palette.down.candle };
    let (digits, shown) = (view.settings.price_digits, view.input.bars.used_digits());
    line.item(view, "", color, |text| {
        number::push_change(text, change, digits, shown);
        if before != 0 {
            text.push_str(" (");
            number::push_percent(text, change, before);
            text.push(')');
        }
    });
}

/// The indicators' names and values: those over the prices below one another, the others in their panes.
fn readings(view: &mut View<'_>, index: usize) {
    let place = view.window.place(view.input.bars, index);
    let (mut overlays, mut own) = (0, 0);
    for number in 0..view.input.studies.list().len() {
        let study = &view.input.studies.list()[number];
        let (spec, values) = (study.spec(), study.at(place));
        let (pane, row) = if spec.is_overlay() {
            overlays += 1;
            (view.panes.price, overlays - 1)
        } else {
            own += 1;
            (view.panes.studies[own - 1], 0)
        };
        let middle = i32::from(pane.y) + view.m.pad + row * line_height(view) + 4 * view.m.scale_px;
        let mut line = Line::within(view, pane, middle);
        let color = view.palette.studies[number].line;
        line.item(view, "", view.palette.faint, |text| {
            let _ = write!(text, "{spec}"); // Writing to a String does not fail.
        });
        for value in (0..spec.lines().len()).filter_map(|line| values.get(line)) {
            let mut text = core::mem::take(view.text);
            text.clear();
            studies::push_reading(view, spec, value, &mut text);
            *view.text = text;
            line.written(view, color);
        }
    }
}

/// A line of names and values, from the left to where the room ends.
struct Line {
    within: Rect,
    x: i32,
    middle: i32,
    /// Where the room ends.
    end: i32,
    full: bool,
}

impl Line {
    /// Beside the title as far as `end`, or below it in a header of two lines.
    fn header(view: &View<'_>, end: i32) -> Self {
        let below = view.panes.header_lines > 1;
        let left = view.m.pad + 2 * view.m.scale_px;
        Self {
            within: view.panes.header,
            x: if below { left } else { left + view.title_width + 16 * view.m.scale_px },
            middle: header_row(view, i32::from(below)),
            end: if below { view.panes.header.right() } else { end },
            full: false,
        }
    }

    /// In a pane.
    fn within(view: &View<'_>, pane: Rect, middle: i32) -> Self {
        let x = i32::from(pane.x) + view.m.pad + 2 * view.m.scale_px;
        Self { within: pane, x, middle, end: pane.right(), full: false }
    }

    /// Adds a name and a value. From the first that does not fit on, nothing is added.
    fn item(&mut self, view: &mut View<'_>, name: &str, color: u32, value: impl FnOnce(&mut String)) {
        view.write(value);
        let (name_width, value_width) = (view.atlas.width(Face::Small, name), view.text_width());
        let gap = if name.is_empty() { 0 } else { 4 * view.m.scale_px };
        let end = self.x + name_width + gap + value_width;
        self.full |= end > self.end;
        if self.full {
            return;
        }
        view.put(Layer::Legend, color, (self.x + name_width + gap, self.middle), self.within);
        view.write(|text| text.push_str(name));
        view.put(Layer::Legend, view.palette.faint, (self.x, self.middle), self.within);
        self.x = end + 10 * view.m.scale_px;
    }

    /// Adds the value that has been written, without a name.
    fn written(&mut self, view: &mut View<'_>, color: u32) {
        let end = self.x + view.text_width();
        self.full |= end > self.end;
        if !self.full {
            view.put(Layer::Legend, color, (self.x, self.middle), self.within);
            self.x = end + 10 * view.m.scale_px;
        }
    }
}
