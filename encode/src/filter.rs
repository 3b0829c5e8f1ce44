//! Rows of a strip as what differs from the row above, and that as literals and repeats.
//!
//! A chart's rows are mostly as the rows above, so most of what is left is zeros, which are found many at a time. Where
//! it is not zero it often repeats the pixel before, or what stood a few rows before at the same beginning: the digits of
//! labels, the edges of candles. One place is remembered for each beginning, which finds nearly as much as a search
//! through all and costs little.

use crate::adler::Adler;
use crate::deflate::{Block, FARTHEST};

/// The filter that subtracts the pixel to the left.
const SUB: u8 = 1;
/// The filter that subtracts the pixel above.
const UP: u8 = 2;
/// Bytes of a pixel.
const BYTES: usize = 3;
/// Those of a pixel that count.
const RGB: u32 = 0x00ff_ffff;
/// How many beginnings are remembered, as a power of two.
const PLACES_BITS: u32 = 11;
/// A place that is remembered for no beginning.
const NOWHERE: u32 = u32::MAX;

/// Packs strips. What it keeps from one to the next is only memory.
#[derive(Debug)]
pub(crate) struct Packer {
    block: Block,
    /// What the strip's pixels differ by.
    differences: Vec<u32>,
    /// Where a beginning, of two pixels, was seen last.
    places: Box<[u32; 1 << PLACES_BITS]>,
}

impl Default for Packer {
    fn default() -> Self {
        let places = Box::new([NOWHERE; 1 << PLACES_BITS]);
        Self { block: Block::default(), differences: Vec::new(), places }
    }
}

impl Packer {
    /// Appends these rows, each `width` pixels, as a DEFLATE block of PNG's filtered RGB bytes. Returns the checksum of
    /// those bytes.
    pub(crate) fn pack(&mut self, pixels: &[u32], width: usize, out: &mut Vec<u8>) -> Adler {
        let mut adler = Adler::default();
        self.places.fill(NOWHERE);
        self.differences.resize(pixels.len(), 0);
        for (y, row) in pixels.chunks_exact(width).enumerate() {
            // The strip's first row must not refer to the one above it.
            let above = y.checked_sub(1).map(|above| &pixels[above * width..y * width]);
            let filter = if above.is_some() { UP } else { SUB };
            self.block.literal(filter);
            adler.byte(filter);
            if above == Some(row) {
                // Nothing looks for a beginning in a row of zeros, so they need not be written down.
                self.zeros(BYTES * width);
                adler.zeros(BYTES * width);
            } else {
                subtract_row(row, above, &mut self.differences[y * width..][..width]);
                self.row(y, width, &mut adler);
            }
            adler.reduce();
        }
        self.block.finish(out);
        adler
    }

    /// Tells the block a row of differences, and the checksum.
    fn row(&mut self, y: usize, width: usize, adler: &mut Adler) {
        let (mut at, end) = (y * width, (y + 1) * width);
        while at < end {
            let zeros = zeros_at_start(&self.differences[at..end]);
            self.zeros(BYTES * zeros);
            adler.zeros(BYTES * zeros);
            at += zeros;
            if at == end {
                break;
            }
            let (length, distance) = self.longest_match(at, y, width);
            if length > 0 {
                self.block.repeat(BYTES * length, distance);
            } else {
                let [r, g, b, _] = self.differences[at].to_le_bytes();
                [r, g, b].into_iter().for_each(|byte| self.block.literal(byte));
            }
            let pixels = length.max(1);
            sum_up(&self.differences[at..at + pixels], adler);
            at += pixels;
        }
    }

    /// How many pixels from `at` on, in row `y`, repeat earlier ones, and how many bytes before. 0 if none do.
    fn longest_match(&mut self, at: usize, y: usize, width: usize) -> (usize, u16) {
        let row_end = (y + 1) * width;
        let [first, second] = [at, (at + 1).min(row_end - 1)].map(|at| self.differences[at]);
        let hash = (first ^ second.rotate_left(13)).wrapping_mul(0x9e37_79b1) >> (32 - PLACES_BITS);
        let place = std::mem::replace(&mut self.places[hash as usize], at as u32) as usize;
        let same = |place: usize| {
            let place_end = (place / width + 1) * width;
            let (old, new) = (&self.differences[place..place_end], &self.differences[at..row_end]);
            old.iter().zip(new).take_while(|(old, new)| old == new).count()
        };
        let mut longest = (0, BYTES as u16);
        if at > y * width {
            longest.0 = same(at - 1);
        }
        if place < at {
            // Between the two lies a filter byte for each row that begins there.
            let distance = BYTES * (at - place) + (y - place / width);
            let length = if distance <= FARTHEST { same(place) } else { 0 };
            if length > longest.0.max(1) {
                longest = (length, distance as u16);
            }
        }
        longest
    }

    fn zeros(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        // A repeat has at least three bytes, and something to repeat.
        let literals = if count <= 3 { count } else { 1 };
        (0..literals).for_each(|_| self.block.literal(0));
        if count > literals {
            self.block.repeat(count - literals, 1);
        }
    }
}

/// A row's differences to the one above, or, where there is none, of each pixel to the one at its left.
fn subtract_row(row: &[u32], above: Option<&[u32]>, differences: &mut [u32]) {
    match above {
        Some(above) => subtract(row, above, differences),
        None => {
            differences[0] = row[0] & RGB;
            subtract(&row[1..], row, &mut differences[1..]);
        }
    }
}

/// Each pixel's difference to that of `base`, channel by channel, modulo 256.
fn subtract(row: &[u32], base: &[u32], differences: &mut [u32]) {
    /// The highest bit of each byte, kept out of the subtraction so that no byte borrows from the next.
    const HIGH: u32 = 0x8080_8080;
    for ((pixel, base), difference) in row.iter().zip(base).zip(differences) {
        *difference = (((pixel | HIGH) - (base & !HIGH)) ^ ((pixel ^ !base) & HIGH)) & RGB;
    }
}

/// How many pixels are zero before the first that is not.
#[inline]
fn zeros_at_start(differences: &[u32]) -> usize {
    /// Few enough to be compared in registers.
    const WIDE: usize = 16;
    let wide = differences.as_chunks::<WIDE>().0.iter();
    let start = WIDE * wide.take_while(|pixels| **pixels == [0; WIDE]).count();
    start + differences[start..].iter().take_while(|pixel| **pixel == 0).count()
}

/// Takes the bytes of differences into the checksum.
fn sum_up(differences: &[u32], adler: &mut Adler) {
    let mut rest = differences;
    while !rest.is_empty() {
        let zeros = zeros_at_start(rest);
        adler.zeros(BYTES * zeros);
        rest = &rest[zeros..];
        let others = rest.iter().take_while(|pixel| **pixel != 0).count();
        for pixel in &rest[..others] {
            let [r, g, b, _] = pixel.to_le_bytes();
            [r, g, b].into_iter().for_each(|byte| adler.byte(byte));
        }
        rest = &rest[others..];
    }
}
