//! A PNG that is kept up to date: what it costs follows what changed.
//!
//! The rows are cut into strips of [`STRIP_ROWS`]. Each is packed by itself: its first row refers to no row above, its
//! DEFLATE block to no byte before, and it ends on a byte boundary. So strips may be exchanged one by one, and put one
//! behind the other they are one stream. Each is an IDAT chunk with a CRC of its own, since a PNG's stream may be cut
//! into chunks anywhere; only the stream's Adler-32 at the end spans them all, and is put together from theirs.
//!
//! What holds: as long as every pixel that changed lay in a rectangle that [`DeltaPng::update`] was told, the file is,
//! byte for byte, that of [`DeltaPng::new`] with the newest picture.

use crate::adler::Adler;
use crate::filter::Packer;
use crate::{EncodeError, Picture, Rect};
use std::io::{self, Write};

/// Rows of a strip; the last may have fewer.
pub const STRIP_ROWS: u32 = 24;

const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";
/// The head of a zlib stream: DEFLATE with a window of 32 KiB, packed for speed.
const STREAM_HEAD: [u8; 2] = [0x78, 0x01];
/// Its last block: stored, of no bytes. The Adler-32 follows.
const STREAM_END: [u8; 5] = [0x01, 0x00, 0x00, 0xff, 0xff];

/// A picture as a PNG of 8-bit RGB, of which only what changed is packed anew.
///
/// ```
/// use encode::{DeltaPng, Picture, Rect};
///
/// let mut pixels = vec![u32::from_le_bytes([19, 23, 34, 255]); 640 * 360];
/// let mut png = DeltaPng::new(&Picture { width: 640, height: 360, pixels: &pixels })?;
/// pixels[100 * 640 + 20] = u32::MAX;
/// let changed = Rect { x: 20, y: 100, width: 1, height: 1 };
/// png.update(&Picture { width: 640, height: 360, pixels: &pixels }, &[changed])?;
/// assert!(png.file().starts_with(b"\x89PNG"));
/// # Ok::<(), encode::EncodeError>(())
/// ```
#[derive(Debug)]
pub struct DeltaPng {
    width: u32,
    height: u32,
    strips: Vec<Strip>,
    packer: Packer,
}

/// Some rows, packed.
#[derive(Debug, Default)]
struct Strip {
    /// The whole chunk, CRC and all.
    chunk: Vec<u8>,
    /// Of the bytes that the chunk unpacks to.
    adler: Adler,
}

impl DeltaPng {
    /// Packs a whole picture. An error if its sides do not fit its pixels or are 0 or above [`crate::MAX_SIDE`].
    pub fn new(picture: &Picture<'_>) -> Result<Self, EncodeError> {
        let mut png = Self { width: 0, height: 0, strips: Vec::new(), packer: Packer::default() };
        png.update(picture, &[])?;
        Ok(png)
    }

    /// Packs what changed: every pixel that is not what it was at the last call must lie in one of `dirty`, which may
    /// overlap and reach past the picture. A picture of another size is packed whole. Returns how many strips it
    /// packed. Errors as in [`Self::new`]; the file is then what it was.
    pub fn update(&mut self, picture: &Picture<'_>, dirty: &[Rect]) -> Result<usize, EncodeError> {
        picture.check()?;
        let is_new = (picture.width, picture.height) != (self.width, self.height);
        if is_new {
            (self.width, self.height) = (picture.width, picture.height);
            self.strips.clear();
            self.strips.resize_with(picture.height.div_ceil(STRIP_ROWS) as usize, Strip::default);
        }
        let mut packed = 0;
        let strip_pixels = (STRIP_ROWS * picture.width) as usize;
        let strips = self.strips.iter_mut().zip(picture.pixels.chunks(strip_pixels));
        for (top, (strip, pixels)) in (0..).step_by(STRIP_ROWS as usize).zip(strips) {
            let rows = STRIP_ROWS.min(picture.height - top);
            if is_new || dirty.iter().any(|rect| rect.meets_rows(top, rows)) {
                strip.pack(pixels, picture.width as usize, &mut self.packer);
                packed += 1;
            }
        }
        Ok(packed)
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The file.
    pub fn file(&self) -> Vec<u8> {
        let chunks: usize = self.strips.iter().map(|strip| strip.chunk.len()).sum();
        let mut file = Vec::with_capacity(chunks + 128);
        // Writing to memory does not fail.
        self.write(&mut file).expect("memory takes all");
        file
    }

    /// Writes the file to `out`, whose errors it passes on.
    pub fn write(&self, mut out: impl Write) -> io::Result<()> {
        let mut header = [0; 13];
        header[..4].copy_from_slice(&self.width.to_be_bytes());
        header[4..8].copy_from_slice(&self.height.to_be_bytes());
        header[8..].copy_from_slice(&[8, 2, 0, 0, 0]); // 8 bits, RGB, and the only methods that there are.
        let adler = self.strips.iter().fold(Adler::default(), |all, strip| all.then(strip.adler));
        out.write_all(&SIGNATURE)?;
        out.write_all(&chunk(*b"IHDR", &[&header]))?;
        out.write_all(&chunk(*b"IDAT", &[&STREAM_HEAD]))?;
        for strip in &self.strips {
            out.write_all(&strip.chunk)?;
        }
        out.write_all(&chunk(*b"IDAT", &[&STREAM_END, &adler.value().to_be_bytes()]))?;
        out.write_all(&chunk(*b"IEND", &[]))
    }
}

/// A strip's rows in which two pictures of one size differ, for [`DeltaPng::update`] where damage is not known. It costs
/// as much as reading both. Where the sizes differ, all rows.
pub fn differing_rows(before: &Picture<'_>, now: &Picture<'_>) -> Vec<Rect> {
    if (before.width, before.height) != (now.width, now.height) {
        return vec![Rect { x: 0, y: 0, width: now.width, height: now.height }];
    }
    let strip_pixels = (STRIP_ROWS as usize * now.width as usize).max(1);
    let strips = before.pixels.chunks(strip_pixels).zip(now.pixels.chunks(strip_pixels));
    (0..)
        .step_by(STRIP_ROWS as usize)
        .zip(strips)
        .filter(|(_, (before, now))| before != now)
        .map(|(y, _)| Rect { x: 0, y, width: now.width, height: STRIP_ROWS })
        .collect()
}

impl Strip {
    /// Packs these rows, each `width` pixels.
    fn pack(&mut self, pixels: &[u32], width: usize, packer: &mut Packer) {
        self.chunk.clear();
        self.chunk.extend_from_slice(b"\0\0\0\0IDAT");
        self.adler = packer.pack(pixels, width, &mut self.chunk);
        close_chunk(&mut self.chunk);
    }
}

/// A chunk of a PNG.
fn chunk(kind: [u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let mut chunk = [[0; 4], kind].concat();
    parts.iter().for_each(|part| chunk.extend_from_slice(part));
    close_chunk(&mut chunk);
    chunk
}

/// Fills in the length of a chunk, whose first four bytes it is, and appends the CRC.
fn close_chunk(chunk: &mut Vec<u8>) {
    // A strip has 65,535 pixels a row at the most: far below the format's 2 GiB.
    let length = (chunk.len() - 8) as u32;
    chunk[..4].copy_from_slice(&length.to_be_bytes());
    let crc = crc32fast::hash(&chunk[4..]);
    chunk.extend_from_slice(&crc.to_be_bytes());
}
