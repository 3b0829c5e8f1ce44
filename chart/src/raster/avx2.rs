//! The kernel for AVX2: what the compiler makes of the portable one with vectors of 8 pixels, but for text. Glyphs are
//! narrow, and compiled loops spend most of their time on the last pixels of each row.

use super::lanes::{Lanes, Portable};
use super::scalar;
use crate::{Frame, Rect};
use core::arch::x86_64::*;

/// How many pixels are blended at a time.
const WIDTH: usize = 8;

/// Its functions may only be reached from code that is compiled for AVX2, as `kernel` does.
pub(super) struct Avx2;

impl Lanes for Avx2 {
    #[inline(always)]
    fn fill(frame: &mut Frame, area: &Rect, color: u32) {
        Portable::fill(frame, area, color);
    }

    #[inline(always)]
    fn pattern(row: &mut [u32], color: u32, phase: u32, period: u32, run: u32) {
        Portable::pattern(row, color, phase, period, run);
    }

    #[inline(always)]
    fn cover(frame: &mut Frame, area: &Rect, color: u32, coverage: &[u8], pitch: usize) {
        let width = usize::from(area.w);
        let (pixels, stride) = frame.rest_mut(area);
        for y in 0..usize::from(area.h) {
            let (pixels, coverage) = (&mut pixels[y * stride..], &coverage[y * pitch..]);
            let mut x = 0;
            while x < width {
                let (pixels, coverage, count) = (&mut pixels[x..], &coverage[x..], width - x);
                match (pixels.first_chunk_mut::<WIDTH>(), coverage.first_chunk::<WIDTH>()) {
                    // SAFETY: the features are the caller's promise.
                    (Some(pixels), Some(coverage)) => unsafe { cover(pixels, color, *coverage, count) },
                    // The last pixels of the frame, or of the atlas.
                    _ => scalar::cover(&mut pixels[..count.min(WIDTH)], color, coverage),
                }
                x += WIDTH;
            }
        }
    }
}

/// Blends over the first `count` pixels. To those behind them it gives the values that they have, by blending with no
/// coverage: that is quicker than not to store them.
///
/// # Safety
///
/// The processor has AVX2.
#[inline(always)]
unsafe fn cover(pixels: &mut [u32; WIDTH], color: u32, coverage: [u8; WIDTH], count: usize) {
    let beyond = 64u32.saturating_sub(8 * count as u32);
    let coverage = u64::from_le_bytes(coverage) & (u64::MAX >> beyond);
    // SAFETY: the features are the caller's promise; both accesses are to the 8 pixels.
    unsafe {
        let bottom = _mm256_loadu_si256(pixels.as_ptr().cast());
        let top = _mm256_set1_epi32(color as i32);
        // Each channel has a lane of 16 bits: sums fit.
        let a = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(coverage as i64));
        let a = _mm256_or_si256(a, _mm256_slli_epi32(a, 16));
        let rest = _mm256_sub_epi16(_mm256_set1_epi16(255), a);
        let bytes = _mm256_set1_epi16(0x00ff);
        let low = sum(_mm256_and_si256(top, bytes), _mm256_and_si256(bottom, bytes), a, rest);
        let high = sum(_mm256_srli_epi16(top, 8), _mm256_srli_epi16(bottom, 8), a, rest);
        let both = _mm256_or_si256(_mm256_srli_epi16(low, 8), _mm256_andnot_si256(bytes, high));
        _mm256_storeu_si256(pixels.as_mut_ptr().cast(), both);
    }
}

/// As in [`crate::frame::blend`], before the last shift.
///
/// # Safety
///
/// The processor has AVX2.
#[inline(always)]
unsafe fn sum(s: __m256i, d: __m256i, a: __m256i, rest: __m256i) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let t = _mm256_add_epi16(_mm256_mullo_epi16(s, a), _mm256_mullo_epi16(d, rest));
        let t = _mm256_add_epi16(t, _mm256_set1_epi16(128));
        _mm256_add_epi16(t, _mm256_srli_epi16(t, 8))
    }
}
