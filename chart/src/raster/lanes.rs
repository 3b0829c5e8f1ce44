//! Painting a shape by whole vectors. The code is safe and has no vector instructions: arrays of a fixed length, from
//! which the compiler makes vectors of whatever width the caller is compiled for.

use crate::frame::blend;
use crate::scene::{Paint, Shape};
use crate::text::Atlas;
use crate::{Frame, Rect};

/// How many pixels are painted at a time.
const WIDTH: usize = 8;

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
            frame.rows_mut(&area).for_each(|row| L::pattern(row, color, phase, period, run));
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
                        for row in frame.rows_mut(area) {
                            row.fill(color);
                        }
                    }
                }
            };
        }
        narrow!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16)
    }

    #[inline(always)]
    fn pattern(row: &mut [u32], color: u32, phase: u32, period: u32, run: u32) {
        let mut places: [u32; WIDTH] = core::array::from_fn(|lane| (phase + lane as u32) % period);
        let step = WIDTH as u32 % period;
        let (blocks, rest) = row.as_chunks_mut::<WIDTH>();
        for block in blocks {
            for (pixel, place) in block.iter_mut().zip(&mut places) {
                *pixel = if *place < run { color } else { *pixel };
                *place += step;
                *place -= if *place >= period { period } else { 0 };
            }
        }
        for (pixel, place) in rest.iter_mut().zip(&places) {
            *pixel = if *place < run { color } else { *pixel };
        }
    }

    #[inline(always)]
    fn cover(frame: &mut Frame, area: &Rect, color: u32, coverage: &[u8], pitch: usize) {
        let width = usize::from(area.w);
        let (pixels, stride) = frame.rest_mut(area);
        for y in 0..usize::from(area.h) {
            let (pixels, coverage) = (&mut pixels[y * stride..], &coverage[y * pitch..]);
            for x in (0..width).step_by(WIDTH) {
                cover_block(&mut pixels[x..], &coverage[x..], color, width - x);
            }
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

/// Blends over the first `count` pixels, at most a vector of them.
///
/// Where there are more pixels and more coverage it takes a whole vector, and blends what is too much with no
/// coverage: that gives each pixel the value that it has.
#[inline(always)]
fn cover_block(pixels: &mut [u32], coverage: &[u8], color: u32, count: usize) {
    if let (Some(pixels), Some(coverage)) =
        (pixels.first_chunk_mut::<WIDTH>(), coverage.first_chunk::<WIDTH>())
    {
        for (lane, (pixel, coverage)) in pixels.iter_mut().zip(coverage).enumerate() {
            *pixel = blend(color, *pixel, if lane < count { *coverage } else { 0 });
        }
    } else {
        for (pixel, coverage) in pixels.iter_mut().zip(coverage).take(count) {
            *pixel = blend(color, *pixel, *coverage);
        }
    }
}
