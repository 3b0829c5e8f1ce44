//! Network cards: queues, interrupts held back, offloads, steering, and what lets a link doze.
//!
//! What holds: queues and rings change before interrupts are placed, since changing them makes the interrupts anew;
//! everything else comes after.

use crate::facts::{Facts, Interface};
use crate::host::NicItem;
use crate::knob::{Accepts, Explain, Knob, Persist, Phase, Places, Proof, Spot};
use crate::place::{Form, Place};

/// The knobs of this area.
pub(in crate::catalogue) const KNOBS: &[Knob] =
    &[QUEUES, RING, ADAPTIVE, USECS, LRO, GRO, DEFER_FLUSH, DEFER_IRQS, THREADED, RPS, XPS, EEE, PAUSE, WAKE];

/// What most of these come from.
const ETHTOOL: &str = "ethtool(8); Documentation/networking/ethtool-netlink.rst";
/// Switches as ethtool has them.
const SWITCH: Accepts = Accepts::Words(&["off", "on"]);

fn each(facts: &Facts, spots: impl Fn(&Interface) -> Vec<Spot>) -> Places {
    match facts.interfaces.is_empty() {
        true => Places::NotSupported("this host has no network card".into()),
        false => Places::At(facts.interfaces.iter().flat_map(spots).collect()),
    }
}

/// A setting of each card that ethtool knows.
fn items(facts: &Facts, item: NicItem) -> Places {
    each(facts, |card| vec![Spot::new(&card.name, Place::Nic { interface: card.name.clone(), item })])
}

/// A file of each interface.
fn files(facts: &Facts, file: &str, form: Form) -> Places {
    let path = |card: &Interface| format!("/sys/class/net/{}/{file}", card.name);
    each(facts, |card| vec![Spot::new(&card.name, Place::attribute(path(card), form))])
}

/// A mask of CPUs of each queue in one direction: `rx-`, `tx-`.
fn masks(facts: &Facts, direction: &str, file: &str) -> Places {
    each(facts, |card| {
        let queues = card.queues.iter().filter(|queue| queue.starts_with(direction));
        let path = |queue: &str| format!("/sys/class/net/{}/queues/{queue}/{file}", card.name);
        let spot = |queue: &String| {
            Spot::new(format!("{} {queue}", card.name), Place::attribute(path(queue), Form::CpuMask))
        };
        queues.map(spot).collect()
    })
}

const QUEUES: Knob = Knob {
    id: "net.queues",
    title: "queues of a network card",
    phase: Phase::NetworkQueues,
    persist: Persist::Udev,
    accepts: Accepts::Number(1, 1024),
    places: |facts| {
        each(facts, |card| {
            // Never more than there are: the card may not have them.
            let now = card.queues.iter().filter(|queue| queue.starts_with("rx-")).count();
            let right = now.min(facts.choice.housekeeping.len()).max(1);
            let place = Place::Nic { interface: card.name.clone(), item: NicItem::CombinedChannels };
            vec![Spot::new(&card.name, place).auto(right.to_string())]
        })
    },
    explain: Explain {
        mechanism: "A card with a queue for each CPU sends interrupts to each CPU. No more queues than there are housekeeping CPUs, and the isolated ones have none to serve.",
        risk: "The link goes down for moments while the card makes its queues anew, and connections may break.",
        when_not: "Where the session that tunes comes in through that card, unless somebody can reach the machine otherwise.",
        applies: "Drivers with combined channels (ethtool -l). 'auto' lowers the number, and never raises it.",
        undo: "ethtool -L INTERFACE combined and the former number; then place the interrupts again.",
        source: "Documentation/networking/scaling.rst; ethtool(8), --set-channels",
        proof: Proof::Untested,
    },
};

const RING: Knob = Knob {
    id: "net.queues.ring",
    title: "packets that a receive queue holds",
    phase: Phase::NetworkQueues,
    persist: Persist::Udev,
    accepts: Accepts::Number(1, 1 << 20),
    places: |facts| items(facts, NicItem::RxRing),
    explain: Explain {
        mechanism: "A short ring stays in the cache; a long one takes bursts without loss, and has packets wait in it.",
        risk: "The link goes down for moments; a ring too short loses packets of a burst, and for market data that is a gap.",
        when_not: "Without having looked at the card's drop counters (ethtool -S).",
        applies: "Drivers with rings (ethtool -g).",
        undo: "ethtool -G INTERFACE rx and the former number.",
        source: "ethtool(8), --set-ring",
        proof: Proof::Untested,
    },
};

const ADAPTIVE: Knob = Knob {
    id: "net.coalesce.adaptive",
    title: "whether a card chooses how long it holds interrupts back",
    phase: Phase::Network,
    persist: Persist::Udev,
    accepts: SWITCH,
    places: |facts| items(facts, NicItem::AdaptiveRx),
    explain: Explain {
        mechanism: "The card gathers packets for longer when there are many, so that just a burst waits the longest. Off, the time of net.coalesce.usecs holds.",
        risk: "More interrupts on the CPUs that serve the card.",
        when_not: "Where throughput counts.",
        applies: "Drivers that adapt (ethtool -c).",
        undo: "ethtool -C INTERFACE adaptive-rx on.",
        source: ETHTOOL,
        proof: Proof::Untested,
    },
};

const USECS: Knob = Knob {
    id: "net.coalesce.usecs",
    title: "how long a card holds interrupts back, in us",
    phase: Phase::Network,
    persist: Persist::Udev,
    accepts: Accepts::Number(0, 1_000_000),
    places: |facts| items(facts, NicItem::RxUsecs),
    explain: Explain {
        mechanism: "So long a received packet waits for others before the card interrupts: it is added to the delay of every packet that comes alone.",
        risk: "At 0 each packet interrupts: a storm for the CPUs that serve the card.",
        when_not: "Where a program polls the card itself.",
        applies: "Drivers with interrupt coalescing (ethtool -c). Some round to steps of their own.",
        undo: "ethtool -C INTERFACE rx-usecs and the former number.",
        source: ETHTOOL,
        proof: Proof::Untested,
    },
};

const LRO: Knob = Knob {
    id: "net.offload.lro",
    title: "large receive offload",
    phase: Phase::Network,
    persist: Persist::Udev,
    accepts: SWITCH,
    places: |facts| items(facts, NicItem::Lro),
    explain: Explain {
        mechanism: "The card merges packets of a flow into one and holds the first back for it.",
        risk: "More packets for the CPU to handle.",
        when_not: "Where one CPU must receive at full line rate.",
        applies: "Drivers that have it (ethtool -k); it is always off on those that route.",
        undo: "ethtool -K INTERFACE lro on.",
        source: ETHTOOL,
        proof: Proof::Untested,
    },
};

const GRO: Knob = Knob {
    id: "net.offload.gro",
    title: "generic receive offload",
    phase: Phase::Network,
    persist: Persist::Udev,
    accepts: SWITCH,
    places: |facts| items(facts, NicItem::Gro),
    explain: Explain {
        mechanism: "The kernel merges the packets of one poll of the card. A lone packet is hardly delayed; a burst is handed up at its end.",
        risk: "Without it each packet goes through the stack alone, and the CPU is full sooner.",
        when_not: "Without a measurement that shows a gain: with bulk TCP it costs more than it gives.",
        applies: "Every interface with NAPI.",
        undo: "ethtool -K INTERFACE gro on.",
        source: ETHTOOL,
        proof: Proof::TestedVm,
    },
};

const DEFER_FLUSH: Knob = Knob {
    id: "net.napi_defer.flush",
    title: "how long interrupts stay off after a poll, in ns",
    phase: Phase::Network,
    persist: Persist::Udev,
    accepts: Accepts::Number(0, i64::MAX),
    places: |facts| files(facts, "gro_flush_timeout", Form::Number),
    explain: Explain {
        mechanism: "With net.napi_defer.irqs, the card's interrupts stay off for so long after a poll, so that a program that polls is not interrupted.",
        risk: "If nobody polls, packets wait for the whole of it.",
        when_not: "Without a program that sets SO_PREFER_BUSY_POLL.",
        applies: "Every interface with NAPI.",
        undo: "Write the former number to /sys/class/net/INTERFACE/gro_flush_timeout.",
        source: "Documentation/networking/napi.rst, IRQ mitigation",
        proof: Proof::TestedVm,
    },
};

const DEFER_IRQS: Knob = Knob {
    id: "net.napi_defer.irqs",
    title: "empty polls before interrupts come on again",
    phase: Phase::Network,
    persist: Persist::Udev,
    accepts: Accepts::Number(0, i32::MAX as i64),
    places: |facts| files(facts, "napi_defer_hard_irqs", Form::Number),
    explain: Explain {
        mechanism: "So many polls in a row may find nothing before the card's interrupts come on again; until then the timer of net.napi_defer.flush takes their place.",
        risk: "If nobody polls, packets wait for the timer.",
        when_not: "Without a program that sets SO_PREFER_BUSY_POLL.",
        applies: "Kernels since 5.8.",
        undo: "Write the former number to /sys/class/net/INTERFACE/napi_defer_hard_irqs.",
        source: "Documentation/networking/napi.rst, IRQ mitigation",
        proof: Proof::TestedVm,
    },
};

const THREADED: Knob = Knob {
    id: "net.napi_threaded",
    title: "packets handled in threads",
    phase: Phase::Network,
    persist: Persist::Udev,
    accepts: Accepts::Flag,
    places: |facts| {
        let auto = if facts.kernel.is_rt { "1" } else { "0" };
        match files(facts, "threaded", Form::Flag) {
            Places::At(spots) => Places::At(spots.into_iter().map(|spot| spot.auto(auto)).collect()),
            none => none,
        }
    },
    explain: Explain {
        mechanism: "Each queue is polled by a thread of its own, napi/INTERFACE-N, instead of in a softirq: it can be given CPUs and a priority.",
        risk: "A wake-up for each burst.",
        when_not: "On kernels without PREEMPT_RT, unless the threads are pinned.",
        applies: "Kernels since 5.12 and drivers with NAPI; others refuse to be written.",
        undo: "Write 0 to /sys/class/net/INTERFACE/threaded.",
        source: "Documentation/networking/napi.rst, threaded NAPI",
        proof: Proof::TestedVm,
    },
};

const RPS: Knob = Knob {
    id: "net.steer.rps",
    title: "CPUs that a receive queue's packets are spread over",
    phase: Phase::Network,
    persist: Persist::Udev,
    accepts: Accepts::CpusOrNone,
    places: |facts| masks(facts, "rx-", "rps_cpus"),
    explain: Explain {
        mechanism: "Without CPUs here, packets are handled where the interrupt arrives. With some, they are sent on to those by an interrupt between CPUs: isolated ones should not be among them.",
        risk: "Spreading costs an interrupt between CPUs for each batch.",
        when_not: "On cards with as many queues as CPUs that may serve them.",
        applies: "CONFIG_RPS. An empty list means none.",
        undo: "Write the former mask to /sys/class/net/INTERFACE/queues/rx-N/rps_cpus.",
        source: "Documentation/networking/scaling.rst, RPS",
        proof: Proof::TestedVm,
    },
};

const XPS: Knob = Knob {
    id: "net.steer.xps",
    title: "CPUs that send through a queue",
    phase: Phase::Network,
    persist: Persist::Udev,
    accepts: Accepts::CpusOrNone,
    places: |facts| masks(facts, "tx-", "xps_cpus"),
    explain: Explain {
        mechanism: "CPUs that share a send queue wait for its lock, and its completions arrive at one of them.",
        risk: "A CPU that is in no mask sends through any queue.",
        when_not: "Drivers choose well by themselves where there are as many queues as CPUs.",
        applies: "CONFIG_XPS and cards with more than one send queue.",
        undo: "Write the former mask to /sys/class/net/INTERFACE/queues/tx-N/xps_cpus.",
        source: "Documentation/networking/scaling.rst, XPS",
        proof: Proof::TestedVm,
    },
};

const EEE: Knob = Knob {
    id: "net.eee",
    title: "energy-efficient Ethernet",
    phase: Phase::Network,
    persist: Persist::Udev,
    accepts: SWITCH,
    places: |facts| items(facts, NicItem::Eee),
    explain: Explain {
        mechanism: "An idle link sleeps, and the next packet waits for it to wake up: some 17 us at 1 Gbit/s by the standard.",
        risk: "The link is negotiated anew and goes down for a second or more.",
        when_not: "On batteries.",
        applies: "Copper cards that have it (ethtool --show-eee).",
        undo: "ethtool --set-eee INTERFACE eee on.",
        source: "IEEE 802.3az; ethtool(8), --set-eee",
        proof: Proof::Untested,
    },
};

const PAUSE: Knob = Knob {
    id: "net.pause",
    title: "flow control for what is received",
    phase: Phase::Network,
    persist: Persist::Udev,
    accepts: SWITCH,
    places: |facts| items(facts, NicItem::RxPause),
    explain: Explain {
        mechanism: "A switch that is full tells the card to hold its tongue, and everything it sends waits, to whomever it goes.",
        risk: "The switch drops instead. The link may be negotiated anew.",
        when_not: "On lossless networks, such as for RDMA.",
        applies: "Drivers with flow control (ethtool -a). Some follow only once its negotiation is off (ethtool -A INTERFACE autoneg off), which the tuner leaves as it is.",
        undo: "ethtool -A INTERFACE rx on.",
        source: "IEEE 802.3 annex 31B; ethtool(8), --pause",
        proof: Proof::Untested,
    },
};

const WAKE: Knob = Knob {
    id: "net.wol",
    title: "what wakes the machine through a card",
    phase: Phase::Network,
    persist: Persist::Udev,
    accepts: Accepts::Text,
    places: |facts| items(facts, NicItem::WakeOnLan),
    explain: Explain {
        mechanism: "A card that listens for a wake-up keeps to a slower, saving mode on some machines.",
        risk: "The machine is no longer woken from afar.",
        when_not: "Where somebody wakes it from afar.",
        applies: "Cards that can (ethtool INTERFACE, 'Supports Wake-on'); reading it takes root. 'd' stands for nothing, the other letters are ethtool's.",
        undo: "ethtool -s INTERFACE wol and the former letters.",
        source: "ethtool(8), wol",
        proof: Proof::Untested,
    },
};
