//! From a scene to pixels. [`draw`] is the specification: one shape after the other, one pixel after the other.
//! [`Rasteriser`] makes the same bytes faster, with the widest vectors that the processor has. What holds:
//!
//! - Every kernel gives the bytes that the specification gives, for every scene and every list of rectangles.
//! - Nothing is allocated, and no pixel outside the rectangles changes.
//!
//! What was measured (a 1920×1080 frame of 8.3 MB, Zen 4, one core of a virtual machine, p50; a memcpy of the frame
//! takes 260 to 290 µs) and how it shaped this:
//!
//! - Filling the frame takes 82 µs by 64-byte stores that are whole cache lines, as by `rep stosd`, but 141 µs where
//!   each store straddles two lines: wide fills begin lines at line boundaries, whatever the frame's own alignment.
//! - Non-temporal stores lose: 300 to 320 µs for the fill, 340 µs where rows are composed in a near cache first. With a
//!   copy of the frame to a slot right behind it, 760 to 890 µs instead of 460 to 520. They are not used.
//! - Sorting shapes into bands or tiles, which then stay in a near cache, lost at most sizes and won at none: 200 to
//!   310 µs instead of 193 for a chart, 1.0 to 1.4 ms instead of 0.6 with ten lines of thousands of shapes. Splitting
//!   and sorting shapes costs more than a frame in the last-level cache does. So shapes are drawn in painter's order;
//!   bounds around groups of them skip what lies outside a rectangle.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod kernel;
mod lanes;
mod scalar;
#[cfg(test)]
mod tests;

pub use kernel::Kernel;
pub use scalar::draw;

use crate::scene::Scene;
use crate::{Frame, Rect};

/// Draws scenes with one kernel. It keeps no memory.
#[derive(Debug, Clone, Copy)]
pub struct Rasteriser {
    kernel: Kernel,
}

impl Rasteriser {
    /// A rasteriser with this kernel, or, where the processor cannot run it, with the best that it can run.
    pub fn new(kernel: Kernel) -> Self {
        Self { kernel: if kernel.is_available() { kernel } else { Kernel::best() } }
    }

    /// What it draws with.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// Draws what of `scene` lies in any of `rects`, which may overlap. Other pixels keep what they have.
    ///
    /// Gives the bytes that [`draw`] gives for one rectangle after the other. Hundreds of rectangles that cover half of
    /// the frame take longer than all of it as one.
    pub fn draw(&self, scene: &Scene, rects: &[Rect], frame: &mut Frame) {
        match self.kernel {
            Kernel::Scalar => rects.iter().for_each(|rect| draw(scene, *rect, frame)),
            kernel => kernel::draw(kernel, scene, rects, frame),
        }
    }
}
