//! Pixels and the rectangles that select them.
//!
//! A [`Rect`] is half-open and never reaches past 65535; a [`Frame`] has no padding between its rows.

use crate::ChartError;

/// The largest width and height of a frame, in pixels.
pub const MAX_SIZE: u32 = 8192;

/// A half-open rectangle in pixels: it covers `x..x + w` by `y..y + h`, counted from the top left corner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rect {
    /// Leftmost column.
    pub x: u16,
    /// Topmost row.
    pub y: u16,
    /// Columns covered.
    pub w: u16,
    /// Rows covered.
    pub h: u16,
}

impl Rect {
    /// The rectangle of `w` by `h` pixels whose top left corner is at `x`, `y`.
    pub const fn new(x: u16, y: u16, w: u16, h: u16) -> Self {
        Self { x, y, w, h }
    }

    /// What of `left..right` by `top..bottom` lies in `within`; empty when nothing does.
    pub fn from_edges(left: i32, top: i32, right: i32, bottom: i32, within: Self) -> Self {
        let left = left.clamp(i32::from(within.x), within.right());
        let top = top.clamp(i32::from(within.y), within.bottom());
        let right = right.clamp(left, within.right());
        let bottom = bottom.clamp(top, within.bottom());
        Self::new(left as u16, top as u16, (right - left) as u16, (bottom - top) as u16)
    }

    /// The first column to the right of it.
    pub const fn right(&self) -> i32 {
        self.x as i32 + self.w as i32
    }

    /// The first row below it.
    pub const fn bottom(&self) -> i32 {
        self.y as i32 + self.h as i32
    }

    /// Whether it covers no pixel.
    pub const fn is_empty(&self) -> bool {
        self.w == 0 || self.h == 0
    }

    /// How many pixels it covers.
    pub const fn area(&self) -> u64 {
        self.w as u64 * self.h as u64
    }

    /// Whether every pixel of `other` is one of its own.
    pub const fn contains(&self, other: &Self) -> bool {
        self.x <= other.x
            && self.y <= other.y
            && self.right() >= other.right()
            && self.bottom() >= other.bottom()
    }

    /// The pixels that both cover.
    #[inline]
    pub fn intersect(&self, other: &Self) -> Self {
        let (x, y) = (self.x.max(other.x), self.y.max(other.y));
        let right = self.right().min(other.right());
        let bottom = self.bottom().min(other.bottom());
        Self { x, y, w: (right - i32::from(x)).max(0) as u16, h: (bottom - i32::from(y)).max(0) as u16 }
    }

    /// The smallest rectangle that covers both. An empty one adds nothing.
    pub fn union(&self, other: &Self) -> Self {
        if self.is_empty() {
            return *other;
        }
        if other.is_empty() {
            return *self;
        }
        let (x, y) = (self.x.min(other.x), self.y.min(other.y));
        let right = self.right().max(other.right());
        let bottom = self.bottom().max(other.bottom());
        Self { x, y, w: (right - i32::from(x)) as u16, h: (bottom - i32::from(y)) as u16 }
    }
}

impl From<Rect> for encode::Rect {
    fn from(rect: Rect) -> Self {
        let Rect { x, y, w, h } = rect;
        Self { x: x.into(), y: y.into(), width: w.into(), height: h.into() }
    }
}

/// A rectangle to compare others with, many a microsecond: rows and columns share a word, in which the highest bit of
/// each half is free. Both must lie in a frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reach {
    /// The first row and column behind which a rectangle must end.
    low: u32,
    /// The last row and column at which it may begin, and both free bits.
    high: u32,
}

impl Reach {
    const FREE: u32 = 0x8000_8000;

    /// For a rectangle that is not empty.
    pub(crate) fn of(rect: &Rect) -> Self {
        let pair = |x: i32, y: i32| x as u32 | (y as u32) << 16;
        let low = pair(i32::from(rect.x) + 1, i32::from(rect.y) + 1);
        Self { low, high: pair(rect.right() - 1, rect.bottom() - 1) | Self::FREE }
    }

    /// Whether both cover a pixel.
    #[inline(always)]
    pub(crate) fn meets(&self, other: &Rect) -> bool {
        let begin = u32::from(other.x) | u32::from(other.y) << 16;
        let end = begin.wrapping_add(u32::from(other.w) | u32::from(other.h) << 16);
        // A free bit stays where its half of the difference is not negative.
        let reaches = self.high.wrapping_sub(begin) & (end | Self::FREE).wrapping_sub(self.low);
        reaches & Self::FREE == Self::FREE
    }
}

/// A picture of opaque pixels, row by row from the top.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    width: u16,
    height: u16,
    pixels: Vec<u32>,
}

impl Frame {
    /// A black frame. Width and height are in pixels, 1 to [`MAX_SIZE`].
    pub fn new(width: u32, height: u32) -> Result<Self, ChartError> {
        if !(1..=MAX_SIZE).contains(&width) || !(1..=MAX_SIZE).contains(&height) {
            return Err(ChartError::Size { width, height });
        }
        let pixels = vec![rgb(0); width as usize * height as usize];
        Ok(Self { width: width as u16, height: height as u16, pixels })
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width.into()
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height.into()
    }

    /// All of it.
    pub fn bounds(&self) -> Rect {
        Rect::new(0, 0, self.width, self.height)
    }

    /// The pixels, row by row; a row is `width` long. Each is `u32::from_le_bytes([r, g, b, a])`.
    pub fn pixels(&self) -> &[u32] {
        &self.pixels
    }

    /// The same, to be written to a file.
    pub fn picture(&self) -> encode::Picture<'_> {
        encode::Picture { width: self.width(), height: self.height(), pixels: &self.pixels }
    }

    /// Copies the pixels of `area`, which must lie in both frames, from one of the same width.
    pub fn copy_from(&mut self, other: &Self, area: &Rect) {
        let (stride, width) = (usize::from(self.width), usize::from(area.w));
        for row in usize::from(area.y)..area.bottom() as usize {
            let start = row * stride + usize::from(area.x);
            self.pixels[start..start + width].copy_from_slice(&other.pixels[start..start + width]);
        }
    }

    /// Whether a pixel of `area`, which must lie in both frames, is other in `other`, which has the same width.
    pub(crate) fn differs(&self, other: &Self, area: &Rect) -> bool {
        let (stride, width) = (usize::from(self.width), usize::from(area.w));
        (usize::from(area.y)..area.bottom() as usize).any(|row| {
            let start = row * stride + usize::from(area.x);
            self.pixels[start..start + width] != other.pixels[start..start + width]
        })
    }

    /// The rows of `area`, which must lie in the frame and not be empty.
    #[inline]
    pub(crate) fn rows_mut(&mut self, area: &Rect) -> impl Iterator<Item = &mut [u32]> {
        let (stride, width) = (usize::from(self.width), usize::from(area.w));
        let start = usize::from(area.y) * stride + usize::from(area.x);
        let end = start + (usize::from(area.h) - 1) * stride + width;
        self.pixels[start..end].chunks_mut(stride).map(move |row| &mut row[..width])
    }
}

impl Frame {
    /// The pixels from the first of `area` to the last of the frame, and how many a row has.
    #[inline(always)]
    pub(crate) fn rest_mut(&mut self, area: &Rect) -> (&mut [u32], usize) {
        let stride = usize::from(self.width);
        (&mut self.pixels[usize::from(area.y) * stride + usize::from(area.x)..], stride)
    }
}

impl core::fmt::Debug for Frame {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Frame {}×{}", self.width, self.height)
    }
}

/// The opaque pixel of a colour written as `0xRRGGBB`.
pub(crate) const fn rgb(color: u32) -> u32 {
    let [_, r, g, b] = color.to_be_bytes();
    u32::from_le_bytes([r, g, b, 255])
}

/// `top` over `bottom` with a coverage of 0 to 255. Both are opaque, and so is the result.
///
/// Each channel is exactly `t = s·a + d·(255 − a) + 128; (t + (t >> 8)) >> 8`, which is the quotient by 255 rounded to
/// the nearest. Since `t` fits in 16 bits, two channels share an `u32`.
#[inline]
pub(crate) const fn blend(top: u32, bottom: u32, coverage: u8) -> u32 {
    let a = coverage as u32;
    blend_pair(top, bottom, a) | blend_pair(top >> 8, bottom >> 8, a) << 8
}

/// Blends the lowest and the third byte.
#[inline]
const fn blend_pair(s: u32, d: u32, a: u32) -> u32 {
    const BYTES: u32 = 0x00ff_00ff;
    let t = (s & BYTES) * a + (d & BYTES) * (255 - a) + 0x0080_0080;
    (t + (t >> 8 & BYTES)) >> 8 & BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blending_rounds_to_the_nearest() {
        for s in 0..=255u8 {
            for d in (0..=255u8).step_by(5) {
                for a in 0..=255u8 {
                    let exact = |s: u8, d: u8| {
                        let sum = f64::from(s) * f64::from(a) + f64::from(d) * f64::from(255 - a);
                        (sum / 255.0).round() as u8
                    };
                    let (top, bottom) = ([s, d, 255 - s, 255], [d, s, 7, 255]);
                    let blended = blend(u32::from_le_bytes(top), u32::from_le_bytes(bottom), a);
                    let expected = [0, 1, 2, 3].map(|channel| exact(top[channel], bottom[channel]));
                    assert_eq!(blended.to_le_bytes(), expected, "{top:?} over {bottom:?} at {a}");
                }
            }
        }
    }

    #[test]
    fn rectangles_meet_and_join() {
        let (a, b) = (Rect::new(2, 3, 10, 10), Rect::new(8, 1, 10, 5));
        assert_eq!(a.intersect(&b), Rect::new(8, 3, 4, 3));
        assert_eq!(a.union(&b), Rect::new(2, 1, 16, 12));
        assert!(a.intersect(&Rect::new(12, 3, 4, 4)).is_empty());
        assert_eq!(Rect::from_edges(-5, 4, 3, 90_000, a), Rect::new(2, 4, 1, 9));
        assert!(Rect::from_edges(50, 50, 60, 60, a).is_empty());
    }
}
