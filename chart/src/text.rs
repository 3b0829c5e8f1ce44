//! Text as 8-bit coverage: every glyph that a chart uses, rasterised once for each scale.
//!
//! Pen positions are whole pixels, so a glyph has one bitmap. Characters without a glyph show as `?`.

use fontdue::{Font, FontSettings};
use std::sync::OnceLock;

/// The largest scale; see [`Atlas::at_scale`].
pub(crate) const MAX_SCALE: u16 = 4;

/// Characters beyond Latin-1 that have a glyph.
const SIGNS: [char; 13] = ['…', '−', '–', '—', '•', '€', '₿', '≈', '→', '▲', '▼', '●', '■'];
/// Printable ASCII, the upper half of Latin-1, and the signs.
const GLYPHS_PER_FACE: usize = 95 + 96 + SIGNS.len();

/// A font size. At scale 1 it is this many pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Face {
    /// Labels on axes, and the legend.
    Small = 12,
    /// The title.
    Large = 15,
    /// The watermark.
    Huge = 64,
}

const FACES: [Face; 3] = [Face::Small, Face::Large, Face::Huge];

impl Face {
    const fn number(self) -> usize {
        match self {
            Self::Small => 0,
            Self::Large => 1,
            Self::Huge => 2,
        }
    }
}

/// One glyph's bitmap and where it stands relative to the pen.
#[derive(Debug, Clone, Copy)]
pub struct Glyph {
    /// Width of the bitmap in pixels.
    pub width: u16,
    /// Height of the bitmap in pixels.
    pub height: u16,
    /// Columns from the pen to the bitmap's left edge.
    pub left: i16,
    /// Rows from the baseline up to the bitmap's top edge.
    pub top: i16,
    /// Columns from this pen position to the next.
    pub advance: u16,
    /// Where the bitmap starts in [`Atlas::coverage`].
    pub start: u32,
}

/// The glyphs of all faces at one scale.
#[derive(Debug)]
pub struct Atlas {
    coverage: Vec<u8>,
    glyphs: Vec<Glyph>,
    digit_height: [u16; FACES.len()],
}

impl Atlas {
    /// The atlas whose text is `scale` times as large as at scale 1. Made on first use, then shared.
    pub(crate) fn at_scale(scale: u16) -> &'static Self {
        static ATLASES: [OnceLock<Atlas>; MAX_SCALE as usize] =
            [const { OnceLock::new() }; MAX_SCALE as usize];
        let scale = scale.clamp(1, MAX_SCALE);
        ATLASES[usize::from(scale) - 1].get_or_init(|| Self::rasterise(scale))
    }

    fn rasterise(scale: u16) -> Self {
        let settings = FontSettings { load_substitutions: false, ..FontSettings::default() };
        // The font is part of the program, and every test reads it.
        let font = Font::from_bytes(dejavu::sans_condensed::regular(), settings)
            .expect("the embedded font is valid");
        let mut atlas = Self { coverage: Vec::new(), glyphs: Vec::new(), digit_height: [0; FACES.len()] };
        for face in FACES {
            let pixels = f32::from(face as u16 * scale);
            characters().for_each(|character| atlas.add(&font, character, pixels));
            atlas.digit_height[face.number()] = atlas.glyph(atlas.index(face, '0')).height;
        }
        atlas
    }

    fn add(&mut self, font: &Font, character: char, pixels: f32) {
        let character = if font.has_glyph(character) { character } else { '?' };
        let (metrics, coverage) = font.rasterize(character, pixels);
        self.glyphs.push(Glyph {
            width: metrics.width as u16,
            height: metrics.height as u16,
            left: metrics.xmin as i16,
            top: (metrics.ymin + metrics.height as i32) as i16,
            advance: metrics.advance_width.round() as u16,
            start: self.coverage.len() as u32,
        });
        self.coverage.extend(coverage);
    }

    /// The bitmaps of all glyphs, one after the other, each row by row without padding.
    pub fn coverage(&self) -> &[u8] {
        &self.coverage
    }

    /// The glyph with this index.
    #[inline]
    pub fn glyph(&self, index: u16) -> &Glyph {
        &self.glyphs[usize::from(index)]
    }

    /// The index of a character's glyph, or that of `?`.
    pub(crate) fn index(&self, face: Face, character: char) -> u16 {
        let code = u32::from(character);
        let place = match code {
            0x20..=0x7e => code as usize - 0x20,
            0xa0..=0xff => 95 + code as usize - 0xa0,
            _ => match SIGNS.iter().position(|sign| *sign == character) {
                Some(sign) => 95 + 96 + sign,
                None => '?' as usize - 0x20,
            },
        };
        (face.number() * GLYPHS_PER_FACE + place) as u16
    }

    /// How many columns `text` takes.
    pub(crate) fn width(&self, face: Face, text: &str) -> i32 {
        text.chars().map(|character| i32::from(self.glyph(self.index(face, character)).advance)).sum()
    }

    /// The baseline that centres digits on row `middle`.
    pub(crate) fn baseline(&self, face: Face, middle: i32) -> i32 {
        middle + (i32::from(self.digit_height[face.number()]) + 1) / 2
    }

    /// The height of a digit in pixels.
    pub(crate) fn digit_height(&self, face: Face) -> i32 {
        self.digit_height[face.number()].into()
    }

    /// Shortens `text` to `columns`, ending in `…` where something was cut.
    pub(crate) fn shorten(&self, face: Face, text: &mut String, columns: i32) {
        if self.width(face, text) <= columns {
            return;
        }
        let room = columns - self.width(face, "…");
        let (mut kept, mut taken) = (0, 0);
        for (at, character) in text.char_indices() {
            taken += i32::from(self.glyph(self.index(face, character)).advance);
            if taken > room {
                break;
            }
            kept = at + character.len_utf8();
        }
        text.truncate(kept);
        if room >= 0 {
            text.push('…');
        }
    }
}

/// Every character that has a glyph, in the order of [`Atlas::index`].
fn characters() -> impl Iterator<Item = char> {
    (' '..='~').chain('\u{a0}'..='\u{ff}').chain(SIGNS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_finds_its_own_glyph() {
        let atlas = Atlas::at_scale(1);
        assert_eq!(atlas.glyphs.len(), FACES.len() * GLYPHS_PER_FACE);
        for face in FACES {
            for (place, character) in characters().enumerate() {
                assert_eq!(
                    usize::from(atlas.index(face, character)),
                    face.number() * GLYPHS_PER_FACE + place
                );
            }
            assert_eq!(atlas.index(face, '龍'), atlas.index(face, '?'));
        }
    }

    #[test]
    fn digits_are_all_of_one_width() {
        for scale in 1..=MAX_SCALE {
            let atlas = Atlas::at_scale(scale);
            for face in FACES {
                let widths: Vec<_> =
                    ('0'..='9').map(|digit| atlas.glyph(atlas.index(face, digit)).advance).collect();
                assert!(widths.iter().all(|width| *width == widths[0]), "{face:?} at {scale}: {widths:?}");
            }
        }
    }

    #[test]
    fn long_text_is_cut_to_fit() {
        let atlas = Atlas::at_scale(1);
        let full = "binance:BTCUSDT";
        for columns in 0..200 {
            let mut text = full.to_owned();
            atlas.shorten(Face::Small, &mut text, columns);
            assert!(atlas.width(Face::Small, &text) <= columns, "'{text}' in {columns}");
            assert!(text == full || text.ends_with('…') || text.is_empty());
        }
    }
}
