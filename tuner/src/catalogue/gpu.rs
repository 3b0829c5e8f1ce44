//! Graphics cards: clocks, power, and where they are.
//!
//! What holds: the clocks to lock are the profile's author's choice, since only a measurement under load tells which
//! ones a card can hold; the tuner proposes none.

use crate::facts::{Facts, Gpu};
use crate::host::GpuItem;
use crate::knob::{Accepts, Explain, Knob, Persist, Phase, Places, Proof, Spot};
use crate::place::{Form, Place};

/// The knobs of this area.
pub(super) const KNOBS: &[Knob] = &[PERSIST, CLOCKS, MEMORY_CLOCKS, POWER, REASONS, LOCALITY];

/// NVIDIA's number as a maker of PCI devices.
const NVIDIA: u32 = 0x10de;

/// NVIDIA's cards, or why none of them can be set.
pub(super) fn nvidia(facts: &Facts) -> Result<Vec<&Gpu>, Places> {
    let cards: Vec<_> = facts.gpus.iter().filter(|gpu| gpu.vendor == NVIDIA).collect();
    let why = match cards.first() {
        None => "this host has no NVIDIA card",
        Some(_) if cards.iter().all(|card| card.driver.as_deref() == Some("nvidia")) => return Ok(cards),
        Some(_) if facts.kernel.is_rt => "NVIDIA's driver does not build for real-time kernels",
        Some(_) => "NVIDIA's own driver does not drive this host's card",
    };
    Err(Places::NotSupported(why.into()))
}

/// A setting of each of NVIDIA's cards.
fn items(facts: &Facts, item: GpuItem) -> Places {
    match nvidia(facts) {
        Ok(cards) => {
            let place = |card: &Gpu| Place::Gpu { pci: card.pci.clone(), item };
            Places::At(cards.into_iter().map(|card| Spot::new(&card.pci, place(card))).collect())
        }
        Err(none) => none,
    }
}

const PERSIST: Knob = Knob {
    id: "gpu.persist",
    title: "NVIDIA's driver stays loaded",
    phase: Phase::Services,
    persist: Persist::Itself,
    accepts: Accepts::Words(super::services::UNIT_STATES),
    places: |facts| match nvidia(facts) {
        Ok(_) => super::services::units(facts, &["nvidia-persistenced.service"]),
        Err(none) => none,
    },
    explain: Explain {
        mechanism: "Without a client, the driver lets go of the card; the next one waits for seconds, and finds locked clocks and limits gone.",
        risk: "Some watts while idle.",
        when_not: "Where a display server keeps the card open at all times.",
        applies: "NVIDIA's driver with the package nvidia-persistenced. `nvidia-smi -pm 1` is its old way, and near its end.",
        undo: "systemctl disable --now nvidia-persistenced, if it was not enabled before.",
        source: "NVIDIA, Driver Persistence (docs.nvidia.com/deploy/driver-persistence)",
        proof: Proof::Untested,
    },
};

const CLOCKS: Knob = Knob {
    id: "gpu.lgc",
    title: "locked graphics clocks, in MHz",
    phase: Phase::Gpu,
    persist: Persist::Unit,
    accepts: Accepts::Text,
    places: |facts| items(facts, GpuItem::LockedClocks),
    explain: Explain {
        mechanism: "A card that idled between frames starts the next one at a low clock. A locked range such as 1200-1500 keeps it up.",
        risk: "At a clock that the card cannot hold it throttles, and frames jitter more than before. The driver may accept a range and not keep its lower end.",
        when_not: "Without having seen which clock the card holds under load; take one of `nvidia-smi -q -d SUPPORTED_CLOCKS`.",
        applies: "NVIDIA's cards since Volta, as root. It is lost when the driver is loaded anew.",
        undo: "nvidia-smi -i CARD -rgc.",
        source: "NVML, nvmlDeviceSetGpuLockedClocks; NVIDIA/open-gpu-kernel-modules#1314 (the minimum is not kept)",
        proof: Proof::Untested,
    },
};

const MEMORY_CLOCKS: Knob = Knob {
    id: "gpu.lmc",
    title: "locked memory clocks, in MHz",
    phase: Phase::Gpu,
    persist: Persist::Unit,
    accepts: Accepts::Text,
    places: |facts| items(facts, GpuItem::LockedMemoryClocks),
    explain: Explain {
        mechanism: "The memory's clock changes in steps, each of which stalls the card for a moment.",
        risk: "It can cost more than it gives: one report has 16 % fewer frames.",
        when_not: "Without a measurement: no profile of the tuner wishes for it.",
        applies: "NVIDIA's cards since Ampere, as root. It is lost when the driver is loaded anew.",
        undo: "nvidia-smi -i CARD -rmc.",
        source: "NVML, nvmlDeviceSetMemoryLockedClocks; ilya-zlobintsev/LACT#1128",
        proof: Proof::Untested,
    },
};

const POWER: Knob = Knob {
    id: "gpu.pl",
    title: "most power that a card may draw, in mW",
    phase: Phase::Gpu,
    persist: Persist::Unit,
    accepts: Accepts::Number(1000, 2_000_000),
    places: |facts| items(facts, GpuItem::PowerLimit),
    explain: Explain {
        mechanism: "A card at its limit lowers its clocks from one frame to the next. With a limit above what the locked clocks take, it does not.",
        risk: "Heat and noise; a card refuses what is out of its range.",
        when_not: "Where the card never reports SwPowerCap.",
        applies: "NVIDIA's cards on desktops and servers; drivers since 535 refuse it on many laptops. As root.",
        undo: "nvidia-smi -i CARD -pl and the former watts.",
        source: "NVML, nvmlDeviceSetPowerManagementLimit; NVIDIA/open-gpu-kernel-modules#483",
        proof: Proof::Untested,
    },
};

const REASONS: Knob = Knob {
    id: "gpu.reasons",
    title: "why a card lowers its clocks",
    phase: Phase::Gpu,
    persist: Persist::Never,
    accepts: Accepts::Text,
    places: |facts| match nvidia(facts) {
        Ok(_) => Places::Unknown(
            "it counts under load only: `nvidia-smi -q -d PERFORMANCE` tells meanwhile".into(),
        ),
        Err(none) => none,
    },
    explain: Explain {
        mechanism: "Power, heat or a brake signal lowers clocks whatever was locked. While the workload runs, none of them should be active.",
        risk: "None: it is only looked at.",
        when_not: "While the card is idle, when its clocks are low on purpose.",
        applies: "NVIDIA's driver.",
        undo: "There is nothing to undo.",
        source: "NVML, nvmlDeviceGetCurrentClocksEventReasons",
        proof: Proof::ReadOnly,
    },
};

const LOCALITY: Knob = Knob {
    id: "gpu.locality",
    title: "CPUs near a graphics card",
    phase: Phase::Gpu,
    persist: Persist::Never,
    accepts: Accepts::Cpus,
    places: |facts| {
        let path = |gpu: &Gpu| format!("/sys/bus/pci/devices/{}/local_cpulist", gpu.pci);
        let spot = |gpu: &Gpu| Spot::new(&gpu.pci, Place::attribute(path(gpu), Form::Cpus));
        match facts.gpus.is_empty() {
            true => Places::NotSupported("this host has no graphics card".into()),
            false => Places::At(facts.gpus.iter().map(spot).collect()),
        }
    },
    explain: Explain {
        mechanism: "What a thread on another node sends to the card crosses the link between sockets. Hot threads belong on these CPUs; the tuner chooses isolated ones near the card.",
        risk: "None: it is only looked at.",
        when_not: "On machines with one node, where all CPUs are near.",
        applies: "Every PCI card.",
        undo: "There is nothing to undo.",
        source: "Documentation/ABI/testing/sysfs-bus-pci, local_cpulist",
        proof: Proof::ReadOnly,
    },
};
