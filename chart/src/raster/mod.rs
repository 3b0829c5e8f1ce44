//! From a scene to pixels. [`draw`] is the specification: one shape after the other, one pixel after the other.
//! [`Rasteriser`] makes the same bytes faster, with the widest vectors that the processor has.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod bins;
mod kernel;
mod lanes;
mod scalar;
#[cfg(test)]
mod tests;

pub use kernel::Kernel;
pub use scalar::draw;

use crate::scene::Scene;
use crate::{Frame, Rect};
use bins::Bins;
use kernel::Job;

/// Up to so many rectangles are drawn one by one. For more, sorting the shapes first costs less than looking through
/// all of them for each rectangle.
const FEW_RECTS: usize = 24;

/// Draws scenes, and keeps the memory that it needs for that.
#[derive(Debug)]
pub struct Rasteriser {
    kernel: Kernel,
    bins: Bins,
}

impl Rasteriser {
    /// A rasteriser with this kernel, or, where the processor cannot run it, with the best that it can run.
    pub fn new(kernel: Kernel) -> Self {
        let kernel = if kernel.is_available() { kernel } else { Kernel::best() };
        Self { kernel, bins: Bins::default() }
    }

    /// What it draws with.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// Draws what of `scene` lies in any of `rects`, which may overlap. Other pixels keep what they have.
    ///
    /// Gives the bytes that [`draw`] gives for one rectangle after the other.
    pub fn draw(&mut self, scene: &Scene, rects: &[Rect], frame: &mut Frame) {
        if self.kernel == Kernel::Scalar {
            rects.iter().for_each(|rect| draw(scene, *rect, frame));
        } else if rects.len() <= FEW_RECTS {
            kernel::draw(self.kernel, scene, Job::Each(rects), frame);
        } else {
            self.bins.sort(scene, rects, frame.bounds());
            kernel::draw(self.kernel, scene, Job::Cells(&self.bins), frame);
        }
    }
}
