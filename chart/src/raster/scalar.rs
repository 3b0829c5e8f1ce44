//! The scalar rasteriser: the specification that faster ones must match byte for byte.

use crate::frame::blend;
use crate::scene::{Paint, Scene, Shape};
use crate::text::Atlas;
use crate::{Frame, Rect};

/// Draws what of `scene` lies in `clip`, bottom layer first. Pixels outside `clip` keep what they have.
pub fn draw(scene: &Scene, clip: Rect, frame: &mut Frame) {
    let clip = clip.intersect(&frame.bounds());
    for (shape, area) in scene.shapes_in(clip) {
        paint(shape, area, scene.atlas(), frame);
    }
}

/// Paints the part of a shape that lies in `area`.
fn paint(shape: &Shape, area: Rect, atlas: &Atlas, frame: &mut Frame) {
    let rows = frame.rows_mut(&area);
    match shape.paint {
        // A pattern without a period paints nothing.
        Paint::Dash { run: 0 } | Paint::DashDown { run: 0 } | Paint::Hatch { period: 0, .. } => {}
        Paint::Solid => rows.for_each(|row| row.fill(shape.color)),
        Paint::Dash { run } => {
            let (run, period) = (usize::from(run), 2 * usize::from(run));
            rows.for_each(|row| pattern(row, shape.color, usize::from(area.x) % period, period, run));
        }
        Paint::DashDown { run } => {
            let (run, period) = (u16::from(run), 2 * u16::from(run));
            let painted = (area.y..).zip(rows).filter(|(y, _)| y % period < run);
            painted.for_each(|(_, row)| row.fill(shape.color));
        }
        Paint::Hatch { period, width } => {
            let (period, width) = (usize::from(period), usize::from(width));
            for (y, row) in (usize::from(area.y)..).zip(rows) {
                pattern(row, shape.color, (usize::from(area.x) + y) % period, period, width);
            }
        }
        Paint::Column { top, bottom } => {
            let (first, last) = (i32::from(shape.area.y), shape.area.bottom() - 1);
            for (y, row) in (i32::from(area.y)..).zip(rows) {
                match y {
                    y if y == first => tint(row, shape.color, top),
                    y if y == last => tint(row, shape.color, bottom),
                    _ => row.fill(shape.color),
                }
            }
        }
        Paint::Glyph(index) => {
            let glyph = atlas.glyph(index);
            let (left, top) = (usize::from(area.x - shape.area.x), usize::from(area.y - shape.area.y));
            let bitmap = &atlas.coverage()[glyph.start as usize..];
            for (line, row) in (top..).zip(rows) {
                cover(row, shape.color, &bitmap[line * usize::from(glyph.width) + left..]);
            }
        }
    }
}

/// Paints the pixels of a row whose place in the pattern is less than `run`. The first pixel's place is `phase`.
#[inline(always)]
pub(super) fn pattern(row: &mut [u32], color: u32, phase: usize, period: usize, run: usize) {
    // The first period may have begun before the row.
    let rest = (period - phase).min(row.len());
    let (first, others) = row.split_at_mut(rest);
    let painted = run.saturating_sub(phase).min(first.len());
    first[..painted].fill(color);
    for part in others.chunks_mut(period) {
        let painted = run.min(part.len());
        part[..painted].fill(color);
    }
}

/// Blends `color` over a row with one coverage.
fn tint(row: &mut [u32], color: u32, coverage: u8) {
    row.iter_mut().for_each(|pixel| *pixel = blend(color, *pixel, coverage));
}

/// Blends `color` over a row. Without branches, since a glyph's edges would mislead every guess.
#[inline(always)]
pub(super) fn cover(row: &mut [u32], color: u32, coverage: &[u8]) {
    for (pixel, coverage) in row.iter_mut().zip(coverage) {
        *pixel = blend(color, *pixel, *coverage);
    }
}
