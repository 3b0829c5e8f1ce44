//! Pictures as files: PNG, QOI, JPEG and WebP at once, and a PNG that is kept up to date.
//!
//! [`encode`] packs a whole [`Picture`] in a [`Format`]. [`DeltaPng`] keeps a PNG and packs only what changed. What
//! holds: all but JPEG give back exactly the pixels; the same picture gives the same bytes on every machine; no picture
//! makes it panic, and one that a format cannot hold is an error. Nothing here reads a clock or a file.

mod adler;
mod deflate;
mod delta;
mod filter;
mod format;

pub use delta::{DeltaPng, STRIP_ROWS, differing_rows};
pub use format::{EncodeError, Format, FormatError, encode, write};

/// The largest width and height of a picture, in pixels. WebP's own is 16,384.
pub const MAX_SIDE: u32 = 65_535;

/// Opaque pixels, row by row from the top, without padding.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `width × height` pixels, each `u32::from_le_bytes([red, green, blue, 255])`. The last byte is not looked at for
    /// what it says: every picture counts as opaque.
    pub pixels: &'a [u32],
}

impl Picture<'_> {
    /// Whether it is a picture at all.
    pub(crate) fn check(&self) -> Result<(), EncodeError> {
        let (width, height, pixels) = (self.width, self.height, self.pixels.len());
        let sides_fit = [width, height].iter().all(|side| (1..=MAX_SIDE).contains(side));
        if !sides_fit || width as usize * height as usize != pixels {
            return Err(EncodeError::Size { width, height, pixels });
        }
        Ok(())
    }
}

/// A half-open rectangle in pixels, counted from the top left corner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rect {
    /// Leftmost column.
    pub x: u32,
    /// Topmost row.
    pub y: u32,
    /// Columns covered.
    pub width: u32,
    /// Rows covered.
    pub height: u32,
}

impl Rect {
    /// Whether it has a pixel in any of the `count` rows from `top` on.
    fn meets_rows(&self, top: u32, count: u32) -> bool {
        self.width > 0
            && self.height > 0
            && self.y < top.saturating_add(count)
            && self.y.saturating_add(self.height) > top
    }
}
