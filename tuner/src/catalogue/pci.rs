//! What lets PCI and USB devices sleep.

use crate::facts::Facts;
use crate::knob::{Accepts, Explain, Knob, Persist, Phase, Places, Proof, Spot};
use crate::place::{Form, Place};

/// The knobs of this area.
pub(super) const KNOBS: &[Knob] = &[ASPM, RUNTIME_PM, USB_AUTOSUSPEND];

const ASPM: Knob = Knob {
    id: "pci.aspm",
    title: "sleep of PCI Express links",
    phase: Phase::CpuPower,
    persist: Persist::Unit,
    accepts: Accepts::Words(&["default", "performance", "powersave", "powersupersave"]),
    places: |_| Places::one(Place::attribute("/sys/module/pcie_aspm/parameters/policy", Form::Choice)),
    explain: Explain {
        mechanism: "An idle link to a card sleeps, and the next access waits until it has woken up, tens of microseconds from its deepest sleep.",
        risk: "Some watts for each card.",
        when_not: "On batteries.",
        applies: "CONFIG_PCIEASPM. Where the firmware keeps it to itself, the kernel refuses to be written (EPERM). Guests mostly have none.",
        undo: "Write the former word to the file.",
        source: "Documentation/admin-guide/kernel-parameters.txt, pcie_aspm=; drivers/pci/pcie/aspm.c",
        proof: Proof::Untested,
    },
};

/// Cards that hot work depends on, by a folder of theirs that has `power/control`.
fn cards(facts: &Facts) -> Places {
    let networks = facts.interfaces.iter();
    let networks = networks.map(|card| (&card.name, format!("/sys/class/net/{}/device", card.name)));
    let graphics = facts.gpus.iter().map(|gpu| (&gpu.pci, format!("/sys/bus/pci/devices/{}", gpu.pci)));
    let spot = |(name, folder): (&String, String)| {
        Spot::new(name, Place::attribute(format!("{folder}/power/control"), Form::Text))
    };
    let spots: Vec<_> = networks.chain(graphics).map(spot).collect();
    match spots.is_empty() {
        true => Places::NotSupported("this host has neither network nor graphics card".into()),
        false => Places::At(spots),
    }
}

const RUNTIME_PM: Knob = Knob {
    id: "pci.runtime_pm",
    title: "sleep of idle network and graphics cards",
    phase: Phase::Network,
    persist: Persist::Udev,
    accepts: Accepts::Words(&["on", "auto"]),
    places: cards,
    explain: Explain {
        mechanism: "With 'auto', an idle device is put to sleep, and its next use waits until it has woken up. 'on' keeps it awake.",
        risk: "Some watts for each card; a laptop's second graphics card never sleeps.",
        when_not: "On batteries.",
        applies: "CONFIG_PM. Most drivers of network cards have 'on' already.",
        undo: "Write the former word to the device's power/control.",
        source: "Documentation/ABI/testing/sysfs-devices-power; Documentation/power/runtime_pm.rst",
        proof: Proof::Untested,
    },
};

const USB_AUTOSUSPEND: Knob = Knob {
    id: "pci.usb_autosuspend",
    title: "sleep of idle USB devices, after how many s",
    phase: Phase::CpuPower,
    persist: Persist::Unit,
    accepts: Accepts::Number(-1, 86_400),
    places: |_| Places::one(Place::attribute("/sys/module/usbcore/parameters/autosuspend", Form::Number)),
    explain: Explain {
        mechanism: "An idle device is put to sleep after this time; sound cards and input devices lose their first moments. -1 lets none sleep.",
        risk: "Some power for each device.",
        when_not: "On batteries.",
        applies: "CONFIG_USB. It holds for devices that are plugged in afterwards.",
        undo: "Write the former number to the file.",
        source: "Documentation/driver-api/usb/power-management.rst",
        proof: Proof::Untested,
    },
};
