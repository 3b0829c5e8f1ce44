//! Rules that set up devices whenever they appear.
//!
//! What holds: what the kernel has a file for beside the device is written by udev itself. For all else udev runs this
//! program for that device. Names and values with letters that mean something to udev get no rule: the boot unit sees
//! to them.

use super::Setting;
use crate::boot::HEADER;
use crate::knob::Persist;
use crate::place::Place;
use std::path::Path;

/// It is sorted behind other rules, since the last that sets an attribute wins.
pub(super) const PATH: &str = "/etc/udev/rules.d/99-zz-tuner.rules";

/// Its text; none if there is nothing for it.
pub(super) fn text(settings: &[Setting], program: &str) -> Option<String> {
    let of_devices = settings.iter().filter(|setting| setting.persist == Persist::Udev);
    let mut rules: Vec<String> = Vec::new();
    for rule in of_devices.filter_map(|setting| rule(setting, program)) {
        // One run for a device sees to all of its settings.
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    (!rules.is_empty()).then(|| format!("{HEADER}{}", rules.concat()))
}

/// A device as udev knows it.
struct Device {
    subsystem: &'static str,
    name: String,
}

fn rule(setting: &Setting, program: &str) -> Option<String> {
    let device = device(&setting.place)?;
    let Device { subsystem, name } = &device;
    if !is_plain(name) {
        return None;
    }
    // The kernel's `!` in names of sysfs stands for the slash of the device's real name.
    let kernel = name.replace('!', "/");
    // A network card is moved when it gets its name. A graphics card is bound when its driver comes.
    let actions = match *subsystem {
        "net" => "add|move",
        "pci" => "add|bind",
        _ => "add|change",
    };
    let start = format!("ACTION==\"{actions}\", SUBSYSTEM==\"{subsystem}\", KERNEL==\"{kernel}\"");
    let own = attribute(&setting.place).filter(|(_, name)| is_plain(name) && *subsystem != "pci");
    match (own, setting.state.as_deref().map(value)) {
        (Some((_, attribute)), Some(Some(value))) => {
            Some(format!("{start}, ATTR{{{attribute}}}=\"{value}\"\n"))
        }
        _ => Some(format!("{start}, RUN+=\"{program} replay --device {name}\"\n")),
    }
}

/// The device that a place belongs to.
fn device(place: &Place) -> Option<Device> {
    match place {
        Place::Attribute { path, .. } => {
            let (subsystem, name) =
                [("block", "/sys/block"), ("net", "/sys/class/net"), ("pci", "/sys/bus/pci/devices")]
                    .iter()
                    .find_map(|(subsystem, folder)| {
                        let name = path.strip_prefix(folder).ok()?.iter().next()?.to_str()?;
                        Some((*subsystem, name.to_owned()))
                    })?;
            Some(Device { subsystem, name })
        }
        Place::Nic { interface, .. } => Some(Device { subsystem: "net", name: interface.clone() }),
        Place::Gpu { pci, .. } => Some(Device { subsystem: "pci", name: pci.clone() }),
        _ => None,
    }
}

/// A device's folder, and the name of the file within it.
fn attribute(place: &Place) -> Option<(&Path, String)> {
    let Place::Attribute { path, .. } = place else { return None };
    let folder = path.ancestors().find(|folder| {
        let above = folder.parent().and_then(Path::to_str);
        matches!(above, Some("/sys/block" | "/sys/class/net" | "/sys/bus/pci/devices"))
    })?;
    Some((folder, path.strip_prefix(folder).ok()?.to_str()?.to_owned()))
}

/// Whether a setting belongs to a device of this name: what `replay --device` is about.
pub(super) fn is_of(setting: &Setting, name: &str) -> bool {
    device(&setting.place).is_some_and(|device| device.name == name)
}

fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "/_.:!@+-".contains(letter))
}

/// A value between quotes of a rule; none if it cannot stand there. `$` and `%` start substitutions.
fn value(state: &str) -> Option<String> {
    let is_fit = !state.is_empty() && !state.contains(['"', '\\', '\n', '\r', '\0']);
    is_fit.then(|| state.replace('%', "%%").replace('$', "$$"))
}
