//! Graphics cards: what they tell, and their clocks.
//!
//! NVIDIA's go through NVML, which is loaded when it is first needed: without the driver there is none, and that is all
//! that happens. [`Card`] is the seam: [`guard`] and its tests know no NVML.

pub mod guard;
mod nvml;

pub use nvml::Nvml;

/// What a card tells of itself at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reading {
    /// How hot the chip is, in degrees Celsius.
    pub temperature_c: u32,
    /// The graphics clock.
    pub clock_mhz: u32,
    /// How much of the last sampling period it was busy, in percent.
    pub load_percent: u32,
    /// Why its clock is lower than it would be.
    pub throttle: Throttle,
}

/// What lowers a card's clock, of what a guard cares for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Throttle {
    /// It is too hot, says the driver or the chip itself.
    pub is_thermal: bool,
    /// It would draw more than it may.
    pub is_power: bool,
}

/// A card that is watched.
pub trait Card {
    /// Looks at it.
    fn reading(&mut self) -> Result<Reading, GpuError>;

    /// Graphics clocks that it can be locked to, the highest first.
    fn clocks_mhz(&mut self) -> Result<Vec<u32>, GpuError>;

    /// The temperature at which the chip slows itself down, in degrees Celsius, if it tells.
    fn slowdown_c(&mut self) -> Option<u32>;
}

/// Why a card does not do as it is asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GpuError {
    /// NVML cannot be loaded, or its driver is not.
    #[error("there is no NVIDIA driver here: {0}")]
    NoDriver(String),
    /// No card has this address.
    #[error("there is no NVIDIA card at {0}")]
    NoCard(String),
    /// The card does not offer it.
    #[error("the card at {0} does not offer that")]
    NotSupported(String),
    /// Permission is missing.
    #[error("changing the card at {0} takes root")]
    Denied(String),
    /// A value that is none.
    #[error("'{0}' is no such setting of a card")]
    Value(String),
    /// Anything else that NVML says.
    #[error("the card at {pci}: {said}")]
    Other {
        /// Which card.
        pci: String,
        /// What NVML said.
        said: String,
    },
}
