//! Painting a shape by whole vectors. The code is safe and has no vector instructions: arrays of a fixed length, from
//! which the compiler makes vectors of whatever width the caller is compiled for.

use super::scalar;
use crate::frame::blend;
use crate::scene::{Paint, Shape};
use crate::text::Atlas;
use crate::{Frame, Rect};

/// The steps that differ from kernel to kernel. All areas lie in the frame and are not empty.
pub(super) trait Lanes {
    /// Paints an area all over.
    fn fill(frame: &mut Frame, area: &Rect, color: u32);
    /// Paints the pixels of a row whose place in the pattern is less than `run`. The first pixel's place is `phase`,
    /// which is less than `period`.
    fn pattern(row: &mut [u32], color: u32, phase: u32, period: u32, run: u32);
    /// Blends a colour over an area by the coverage of its pixels: that of each row is `pitch` bytes behind that of
    /// the row before.
    fn cover(frame: &mut Frame, area: &Rect, color: u32, coverage: &[u8], pitch: usize);
}

/// Paints the part of a shape that lies in `area`.
#[inline(always)]
pub(super) fn paint<L: Lanes>(shape: &Shape, area: Rect, atlas: &Atlas, frame: &mut Frame) {
    let color = shape.color;
    match shape.paint {
        Paint::Solid => L::fill(frame, &area, color),
        Paint::Column { top, bottom } => column::<L>(shape, area, [top, bottom], frame),
        Paint::Glyph(index) => {
            let glyph = atlas.glyph(index);
            let (left, top) = (usize::from(area.x - shape.area.x), usize::from(area.y - shape.area.y));
            let pitch = usize::from(glyph.width);
            let coverage = &atlas.coverage()[glyph.start as usize + top * pitch + left..];
            L::cover(frame, &area, color, coverage, pitch);
        }
        Paint::Dash { run } if run > 0 => {
            let (run, period) = (u32::from(run), 2 * u32::from(run));
            let phase = u32::from(area.x) % period;
            for row in frame.rows_mut(&area) {
                L::pattern(row, color, phase, period, run);
            }
        }
        Paint::DashDown { run } if run > 0 => {
            let run = i32::from(run);
            let mut y = i32::from(area.y);
            while y < area.bottom() {
                // To the end of this stretch, painted or not.
                let end = (y / run + 1) * run;
                if y / run % 2 == 0 {
                    L::fill(frame, &Rect::from_edges(0, y, i32::MAX, end, area), color);
                }
                y = end;
            }
        }
        Paint::Hatch { period, width } if period > 0 => {
            let (period, width) = (u32::from(period), u32::from(width));
            let mut phase = (u32::from(area.x) + u32::from(area.y)) % period;
            for row in frame.rows_mut(&area) {
                L::pattern(row, color, phase, period, width);
                phase = if phase + 1 == period { 0 } else { phase + 1 };
            }
        }
        // A pattern without a period paints nothing.
        Paint::Dash { .. } | Paint::DashDown { .. } | Paint::Hatch { .. } => {}
    }
}

/// Paints a stretch of a smooth line: its first and its last row by coverage. There are thousands of them, each one
/// pixel wide and a few high, so nothing here depends on which rows the area has.
#[inline(always)]
fn column<L: Lanes>(shape: &Shape, area: Rect, [top, bottom]: [u8; 2], frame: &mut Frame) {
    let (first, last) = (i32::from(shape.area.y), shape.area.bottom() - 1);
    let coverage = |y: i32| match y {
        y if y == first => top,
        y if y == last => bottom,
        _ => u8::MAX,
    };
    tint(frame, Rect { h: 1, ..area }, shape.color, coverage(area.y.into()));
    if area.h > 1 {
        let y = area.y + area.h - 1;
        tint(frame, Rect { y, h: 1, ..area }, shape.color, coverage(y.into()));
    }
    if area.h > 2 {
        L::fill(frame, &Rect { y: area.y + 1, h: area.h - 2, ..area }, shape.color);
    }
}

/// Blends a colour over an area of one row with one coverage. Most are one pixel.
#[inline(always)]
fn tint(frame: &mut Frame, area: Rect, color: u32, coverage: u8) {
    let (pixels, _) = frame.rest_mut(&area);
    for pixel in &mut pixels[..usize::from(area.w)] {
        *pixel = blend(color, *pixel, coverage);
    }
}

/// Vectors as the compiler makes them.
pub(super) struct Portable;

impl Lanes for Portable {
    #[inline(always)]
    fn fill(frame: &mut Frame, area: &Rect, color: u32) {
        macro_rules! narrow {
            ($($width:literal)*) => {
                match area.w {
                    $($width => fill_narrow::<$width>(frame, area, color),)*
                    _ => {
                        if usize::from(area.w) == frame.width() as usize {
                            let (pixels, stride) = frame.rest_mut(area);
                            fill_run(&mut pixels[..usize::from(area.h) * stride], color);
                        } else {
                            for row in frame.rows_mut(area) {
                                fill_run(row, color);
                            }
                        }
                    }
                }
            };
        }
        narrow!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16)
    }

    #[inline(always)]
    fn pattern(row: &mut [u32], color: u32, phase: u32, period: u32, run: u32) {
        scalar::pattern(row, color, phase as usize, period as usize, run as usize);
    }

    #[inline(always)]
    fn cover(frame: &mut Frame, area: &Rect, color: u32, coverage: &[u8], pitch: usize) {
        for (row, coverage) in frame.rows_mut(area).zip(coverage.chunks(pitch)) {
            scalar::cover(row, color, coverage);
        }
    }
}

/// Paints an area whose width is known to the compiler, so that a row is a store or two.
#[inline(always)]
fn fill_narrow<const W: usize>(frame: &mut Frame, area: &Rect, color: u32) {
    for row in frame.rows_mut(area) {
        if let Some(row) = row.first_chunk_mut::<W>() {
            *row = [color; W];
        }
    }
}

/// Paints a run of pixels. From the first whole cache line on it is done line by line, which the processor then need
/// not read before it writes them.
#[inline(always)]
fn fill_run(run: &mut [u32], color: u32) {
    let begin = (run.as_ptr().addr().wrapping_neg() % 64 / 4).min(run.len());
    let (begin, lines) = run.split_at_mut(begin);
    let (lines, end) = lines.as_chunks_mut::<16>();
    begin.fill(color);
    for line in lines {
        *line = [color; 16];
    }
    end.fill(color);
}
