//! A disk that fails as disks do, and a journal on it that is cut at any step: all from one seed.
//!
//! - `disk`: files of sectors, which know what a power cut would take
//! - `device`: operations on their way to it, and their faults
//! - `model`: what was accepted, and what may be read back
//! - `run`: the writer, driven until it is cut

pub mod device;
pub mod disk;
pub mod model;
pub mod run;

/// Ends a function with an error unless something holds.
macro_rules! ensure {
    ($holds:expr, $($why:tt)+) => {
        if !$holds {
            return Err(format!($($why)+));
        }
    };
}
pub(crate) use ensure;

/// What went wrong, in words.
pub type Checked<T = ()> = Result<T, String>;

/// Numbers that follow from a seed (SplitMix64).
#[derive(Debug, Clone)]
pub struct Dice(pub u64);

impl Dice {
    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// One below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.any() % end
    }

    /// Whether something happens that does so many times in a thousand.
    pub fn hits(&mut self, in_thousand: u64) -> bool {
        self.below(1_000) < in_thousand
    }
}
