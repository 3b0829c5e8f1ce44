//! The kernel for AVX-512: 16 pixels at a time.
//!
//! Where pixels are blended or skipped, a mask says which of a vector. Solid areas, which are most of a chart, are stored
//! without one, by vectors that overlap at the end of a row: with masks a whole chart took 222 µs instead of 193
//! (Zen 4).

use super::lanes::Lanes;
use crate::{Frame, Rect};
use core::arch::x86_64::*;

/// How many pixels are painted at a time.
const WIDTH: usize = 16;

/// Its functions may only be reached from code that is compiled for AVX-512 F, BW and VL, as `kernel` does.
pub(super) struct Avx512;

/// A mask of the first `count` lanes, at most all.
#[inline(always)]
fn first(count: usize) -> u16 {
    if count >= WIDTH { u16::MAX } else { (1 << count) - 1 }
}

impl Lanes for Avx512 {
    #[inline(always)]
    fn fill(frame: &mut Frame, area: &Rect, color: u32) {
        let (width, height) = (usize::from(area.w), usize::from(area.h));
        let (pixels, stride) = frame.rest_mut(area);
        assert!((height - 1) * stride + width <= pixels.len());
        let mut row = pixels.as_mut_ptr();
        // SAFETY: the features are the caller's promise. Each row's pixels, `width` from `row` on, lie in `pixels`, as
        // asserted for the last, and each store is within them. `wrapping_add` may pass the end behind the last row.
        unsafe {
            let color = _mm512_set1_epi32(color as i32);
            let (quarter, half) = (_mm512_castsi512_si128(color), _mm512_castsi512_si256(color));
            // A narrow row is two stores that may overlap.
            macro_rules! rows {
                ($($store:expr),*) => {
                    for _ in 0..height {
                        $($store;)*
                        row = row.wrapping_add(stride);
                    }
                };
            }
            match width {
                1 => rows!(_mm_storeu_si32(row.cast(), quarter)),
                2..4 => rows!(
                    _mm_storeu_si64(row.cast(), quarter),
                    _mm_storeu_si64(row.add(width - 2).cast(), quarter)
                ),
                4..8 => rows!(
                    _mm_storeu_si128(row.cast(), quarter),
                    _mm_storeu_si128(row.add(width - 4).cast(), quarter)
                ),
                8..16 => rows!(
                    _mm256_storeu_si256(row.cast(), half),
                    _mm256_storeu_si256(row.add(width - 8).cast(), half)
                ),
                // Whole rows lie one behind the other.
                _ if width == stride => fill_run(row, width * height, color),
                _ => rows!(fill_run(row, width, color)),
            }
        }
    }

    #[inline(always)]
    fn pattern(row: &mut [u32], color: u32, phase: u32, period: u32, run: u32) {
        // SAFETY: the features are the caller's promise. A block has as many pixels as the mask has bits.
        unsafe {
            let color = _mm512_set1_epi32(color as i32);
            let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            let (period_all, run) = (_mm512_set1_epi32(period as i32), _mm512_set1_epi32(run as i32));
            let mut places = _mm512_add_epi32(lanes, _mm512_set1_epi32(phase as i32));
            // At most 15 lanes follow: with a short period, several periods.
            while _mm512_cmpge_epu32_mask(places, period_all) != 0 {
                places = wrap(places, period_all);
            }
            let step = _mm512_set1_epi32((WIDTH as u32 % period) as i32);
            for block in row.chunks_mut(WIDTH) {
                let painted = _mm512_cmplt_epu32_mask(places, run);
                let painted = painted & first(block.len());
                _mm512_mask_storeu_epi32(block.as_mut_ptr().cast(), painted, color);
                places = wrap(_mm512_add_epi32(places, step), period_all);
            }
        }
    }

    #[inline(always)]
    fn cover(frame: &mut Frame, area: &Rect, color: u32, coverage: &[u8], pitch: usize) {
        let (width, height) = (usize::from(area.w), usize::from(area.h));
        let (pixels, stride) = frame.rest_mut(area);
        assert!(
            (height - 1) * stride + width <= pixels.len() && (height - 1) * pitch + width <= coverage.len()
        );
        for y in 0..height {
            for x in (0..width).step_by(WIDTH) {
                let mask = first(width - x);
                // SAFETY: the features are the caller's promise. Pixels and coverage lie in their slices, as asserted
                // for the last row; lanes that the mask leaves out are not accessed.
                unsafe {
                    let place = pixels.as_mut_ptr().add(y * stride + x);
                    let bottom = _mm512_maskz_loadu_epi32(mask, place.cast());
                    let coverage = _mm_maskz_loadu_epi8(mask, coverage.as_ptr().add(y * pitch + x).cast());
                    let blended =
                        blend(_mm512_set1_epi32(color as i32), bottom, _mm512_cvtepu8_epi32(coverage));
                    _mm512_mask_storeu_epi32(place.cast(), mask, blended);
                }
            }
        }
    }
}

/// Fills `len` pixels from `run` on.
///
/// The first and the last vector may overlap others. Those between are whole cache lines, which the processor need not
/// read before it writes them.
///
/// # Safety
///
/// There are as many pixels, at least a vector. The processor has AVX-512 F.
#[inline(always)]
unsafe fn fill_run(run: *mut u32, len: usize, color: __m512i) {
    // SAFETY: `x + WIDTH` never passes `len`.
    unsafe {
        _mm512_storeu_epi32(run.cast(), color);
        let mut x = run.addr().wrapping_neg() % 64 / 4;
        while x + WIDTH <= len {
            _mm512_storeu_epi32(run.add(x).cast(), color);
            x += WIDTH;
        }
        _mm512_storeu_epi32(run.add(len - WIDTH).cast(), color);
    }
}

/// Subtracts the period where a place has reached it: otherwise the difference is huge, and the place stays.
///
/// # Safety
///
/// The processor has AVX-512 F.
#[inline(always)]
unsafe fn wrap(places: __m512i, period: __m512i) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe { _mm512_min_epu32(places, _mm512_sub_epi32(places, period)) }
}

/// [`crate::frame::blend`] for 16 pixels, each with its own coverage: sums fit in 16 bits, so each channel has a lane
/// of that size.
///
/// # Safety
///
/// The processor has AVX-512 F and BW.
#[inline(always)]
unsafe fn blend(top: __m512i, bottom: __m512i, coverage: __m512i) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let a = _mm512_or_si512(coverage, _mm512_slli_epi32(coverage, 16));
        let rest = _mm512_sub_epi16(_mm512_set1_epi16(255), a);
        let half = _mm512_set1_epi16(128);
        let sum = |s: __m512i, d: __m512i| {
            let t = _mm512_add_epi16(_mm512_mullo_epi16(s, a), _mm512_mullo_epi16(d, rest));
            let t = _mm512_add_epi16(t, half);
            _mm512_add_epi16(t, _mm512_srli_epi16(t, 8))
        };
        let bytes = _mm512_set1_epi16(0x00ff);
        let low = sum(_mm512_and_si512(top, bytes), _mm512_and_si512(bottom, bytes));
        let high = sum(_mm512_srli_epi16(top, 8), _mm512_srli_epi16(bottom, 8));
        // The low channels' results move down a byte; the high ones' are where they belong.
        _mm512_mask_mov_epi8(_mm512_srli_epi16(low, 8), 0xaaaa_aaaa_aaaa_aaaa, high)
    }
}
