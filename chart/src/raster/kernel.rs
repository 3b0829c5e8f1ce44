//! The kernels, and which of them the processor runs. The unsafe code here is the step into each.

use super::bins::{self, Bins};
use super::lanes::{Lanes, Portable, paint};
use crate::frame::Reach;
use crate::scene::{Layer, Scene};
use crate::{Frame, Rect};

/// A way to draw. All give the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// One shape and one pixel after the other: the specification.
    Scalar,
    /// Vectors that every processor of this architecture has: SSE2, or NEON.
    Portable,
    /// Vectors of 8 pixels.
    Avx2,
    /// Vectors of 16 pixels, with masks.
    Avx512,
}

impl Kernel {
    /// Every kernel, simplest first.
    pub const ALL: [Self; 4] = [Self::Scalar, Self::Portable, Self::Avx2, Self::Avx512];

    /// The name that reports use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// Whether this processor can run it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar | Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => false,
        }
    }

    /// The kernels that this processor can run, simplest first.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|kernel| kernel.is_available())
    }

    /// The fastest kernel that this processor can run.
    pub fn best() -> Self {
        Self::available().last().unwrap_or(Self::Scalar)
    }
}

/// What is to be drawn.
#[derive(Clone, Copy)]
pub(super) enum Job<'a> {
    /// Rectangle after rectangle, all shapes that reach into it.
    Each(&'a [Rect]),
    /// Cell after cell.
    Cells(&'a Bins),
}

/// Draws with a kernel, which must be available.
pub(super) fn draw(kernel: Kernel, scene: &Scene, job: Job<'_>, frame: &mut Frame) {
    debug_assert!(kernel.is_available());
    match kernel {
        Kernel::Scalar | Kernel::Portable => run::<Portable>(scene, job, frame),
        // SAFETY: a `Rasteriser` only ever has a kernel whose features were found.
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx2 => unsafe { x86::run_avx2(scene, job, frame) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx512 => unsafe { x86::run_avx512(scene, job, frame) },
        #[cfg(not(target_arch = "x86_64"))]
        Kernel::Avx2 | Kernel::Avx512 => run::<Portable>(scene, job, frame),
    }
}

/// The same lines, compiled for more than what every processor of the architecture has.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::*;
    use crate::raster::avx2::Avx2;
    use crate::raster::avx512::Avx512;

    #[target_feature(enable = "avx2,bmi1,bmi2")]
    pub(super) fn run_avx2(scene: &Scene, job: Job<'_>, frame: &mut Frame) {
        run::<Avx2>(scene, job, frame);
    }

    #[target_feature(enable = "avx2,bmi1,bmi2,avx512f,avx512bw,avx512vl")]
    pub(super) fn run_avx512(scene: &Scene, job: Job<'_>, frame: &mut Frame) {
        run::<Avx512>(scene, job, frame);
    }
}

/// Must be inlined, to be compiled for the features of its caller, as must all that it calls for each shape. So nothing
/// there hands a closure to a library function: what the closure does would be compiled without the features, and each
/// vector instruction become a call (a dashed line across the frame took 6.2 µs instead of 0.6).
#[inline(always)]
fn run<L: Lanes>(scene: &Scene, job: Job<'_>, frame: &mut Frame) {
    let atlas = scene.atlas();
    match job {
        Job::Each(rects) => {
            let bounds = frame.bounds();
            for clip in rects.iter().map(|rect| rect.intersect(&bounds)) {
                if clip.is_empty() {
                    continue;
                }
                let reach = Reach::of(&clip);
                for layer in scene.layers() {
                    for (_, shapes) in layer.groups().filter(|(bounds, _)| reach.meets(bounds)) {
                        for shape in shapes.iter().filter(|shape| reach.meets(&shape.area)) {
                            paint::<L>(shape, shape.area.intersect(&clip), atlas, frame);
                        }
                    }
                }
            }
        }
        Job::Cells(bins) => {
            let layers = Layer::ALL.map(|layer| scene.layer(layer));
            for cell in 0..bins.cells() {
                for clip in bins.clips(cell) {
                    let reach = Reach::of(&clip);
                    for number in bins.shapes(cell) {
                        let shape = bins::shape(&layers, *number);
                        if reach.meets(&shape.area) {
                            paint::<L>(&shape, shape.area.intersect(&clip), atlas, frame);
                        }
                    }
                }
            }
        }
    }
}
