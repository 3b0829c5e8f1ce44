//! NVIDIA's cards, through NVML.
//!
//! NVML sets locked clocks and has no way to ask for them. What holds: what was locked through here since the host was
//! booted is written down beside the lock, in a folder that a reboot empties as it does away with the lock; what others
//! have locked cannot be seen.

use super::{Card, GpuError, Reading, Throttle};
use crate::host::GpuItem;
use nvml_wrapper::Device;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor, TemperatureThreshold};
use nvml_wrapper::enums::device::GpuLockedClocksSetting;
use nvml_wrapper::error::NvmlError;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Where locks are written down.
const FOLDER: &str = "/run/tuner";

/// See above.
#[derive(Debug, Default)]
pub struct Nvml {
    loaded: OnceLock<Result<nvml_wrapper::Nvml, String>>,
}

impl Nvml {
    fn device(&self, pci: &str) -> Result<Device<'_>, GpuError> {
        let loaded =
            self.loaded.get_or_init(|| nvml_wrapper::Nvml::init().map_err(|error| error.to_string()));
        let nvml = loaded.as_ref().map_err(|error| GpuError::NoDriver(error.clone()))?;
        nvml.device_by_pci_bus_id(pci).map_err(|error| refused(pci, &error))
    }

    /// A setting of a card; none if it has no such setting.
    pub fn get(&self, pci: &str, item: GpuItem) -> Result<Option<String>, GpuError> {
        let device = self.device(pci)?;
        let found = match item {
            GpuItem::Persistence => {
                device.is_in_persistent_mode().map(|on| if on { "on" } else { "off" }.into())
            }
            GpuItem::PowerLimit => device.power_management_limit().map(|limit_mw| limit_mw.to_string()),
            GpuItem::LockedClocks | GpuItem::LockedMemoryClocks => {
                return Ok(Some(fs::read_to_string(note(pci, item)).unwrap_or_default()));
            }
        };
        match found {
            Ok(text) => Ok(Some(text)),
            Err(NvmlError::NotSupported | NvmlError::FunctionNotFound) => Ok(None),
            Err(error) => Err(refused(pci, &error)),
        }
    }

    /// Changes one.
    pub fn set(&self, pci: &str, item: GpuItem, value: &str) -> Result<(), GpuError> {
        let mut device = self.device(pci)?;
        let no_value = || GpuError::Value(value.into());
        let done = match item {
            GpuItem::Persistence => device.set_persistent(value == "on"),
            GpuItem::PowerLimit => device.set_power_management_limit(value.parse().map_err(|_| no_value())?),
            GpuItem::LockedClocks | GpuItem::LockedMemoryClocks => {
                let range = range(value).ok_or_else(no_value)?;
                let locked = match (item, range) {
                    (GpuItem::LockedClocks, None) => device.reset_gpu_locked_clocks(),
                    (GpuItem::LockedClocks, Some((min_clock_mhz, max_clock_mhz))) => device
                        .set_gpu_locked_clocks(GpuLockedClocksSetting::Numeric {
                            min_clock_mhz,
                            max_clock_mhz,
                        }),
                    (_, None) => device.reset_mem_locked_clocks(),
                    (_, Some((least, most))) => device.set_mem_locked_clocks(least, most),
                };
                locked.map_err(|error| refused(pci, &error))?;
                return write_down(pci, item, value);
            }
        };
        done.map_err(|error| refused(pci, &error))
    }

    /// A card to watch.
    pub fn card<'a>(&'a self, pci: &str) -> Result<impl Card + use<'a>, GpuError> {
        Ok(NvmlCard { pci: pci.into(), device: self.device(pci)? })
    }
}

/// A range of clocks such as `1200-1500`, or none of an empty text. None at all if it is neither.
fn range(value: &str) -> Option<Option<(u32, u32)>> {
    if value.is_empty() {
        return Some(None);
    }
    let (least, most) = value.split_once('-')?;
    let (least, most) = (least.parse().ok()?, most.parse().ok()?);
    (least <= most).then_some(Some((least, most)))
}

fn note(pci: &str, item: GpuItem) -> PathBuf {
    Path::new(FOLDER).join(format!("gpu-{}-{item}", pci.replace(['/', ':'], "-")))
}

fn write_down(pci: &str, item: GpuItem, value: &str) -> Result<(), GpuError> {
    let note = note(pci, item);
    let written = match value {
        "" => fs::remove_file(&note).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        }),
        value => fs::create_dir_all(FOLDER).and_then(|()| fs::write(&note, value)),
    };
    written.map_err(|error| GpuError::Other {
        pci: pci.into(),
        said: format!("it is done, but cannot be written down in {}: {error}", note.display()),
    })
}

fn refused(pci: &str, error: &NvmlError) -> GpuError {
    match error {
        NvmlError::NotFound | NvmlError::InvalidArg => GpuError::NoCard(pci.into()),
        NvmlError::NotSupported | NvmlError::FunctionNotFound => GpuError::NotSupported(pci.into()),
        NvmlError::NoPermission => GpuError::Denied(pci.into()),
        NvmlError::DriverNotLoaded | NvmlError::LibraryNotFound => GpuError::NoDriver(error.to_string()),
        other => GpuError::Other { pci: pci.into(), said: other.to_string() },
    }
}

struct NvmlCard<'a> {
    pci: String,
    device: Device<'a>,
}

impl Card for NvmlCard<'_> {
    fn reading(&mut self) -> Result<Reading, GpuError> {
        let refused = |error: NvmlError| refused(&self.pci, &error);
        let reasons = self.device.current_throttle_reasons().map_err(refused)?;
        let thermal = ThrottleReasons::SW_THERMAL_SLOWDOWN | ThrottleReasons::HW_THERMAL_SLOWDOWN;
        let power = ThrottleReasons::SW_POWER_CAP | ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN;
        Ok(Reading {
            temperature_c: self.device.temperature(TemperatureSensor::Gpu).map_err(refused)?,
            clock_mhz: self.device.clock_info(Clock::Graphics).map_err(refused)?,
            load_percent: self.device.utilization_rates().map_err(refused)?.gpu,
            throttle: Throttle {
                is_thermal: reasons.intersects(thermal),
                is_power: reasons.intersects(power),
            },
        })
    }

    fn clocks_mhz(&mut self) -> Result<Vec<u32>, GpuError> {
        let refused = |error: NvmlError| refused(&self.pci, &error);
        let memory = self.device.supported_memory_clocks().map_err(refused)?;
        let fastest = memory.into_iter().max().ok_or_else(|| GpuError::NotSupported(self.pci.clone()))?;
        let mut clocks = self.device.supported_graphics_clocks(fastest).map_err(refused)?;
        clocks.sort_unstable_by(|one, other| other.cmp(one));
        Ok(clocks)
    }

    fn slowdown_c(&mut self) -> Option<u32> {
        self.device.temperature_threshold(TemperatureThreshold::Slowdown).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_clocks() {
        assert_eq!(range("1200-1500"), Some(Some((1200, 1500))));
        assert_eq!(range(""), Some(None));
        assert_eq!((range("1500-1200"), range("fast"), range("1500")), (None, None, None));
    }

    #[test]
    fn without_a_driver_it_says_so() {
        if Path::new("/proc/driver/nvidia/version").exists() {
            return println!("skipped: a machine without NVIDIA's driver (this one has it)");
        }
        let outcome = Nvml::default().get("0000:01:00.0", GpuItem::Persistence);
        assert!(matches!(outcome, Err(GpuError::NoDriver(_))), "{outcome:?}");
    }
}
