//! Interrupts: which CPUs they go to, and who else moves them.
//!
//! What holds: an interrupt is known by who handles it, since its number is another after a reboot. Those that their
//! driver spreads itself (managed ones) cannot be moved, and are only looked at.

use super::common::isolated;
use crate::facts::{Facts, Interrupt};
use crate::knob::{Accepts, Explain, Knob, Persist, Phase, Places, Proof, Spot};
use crate::place::{self, Form, Place};

/// The knobs of this area.
pub(super) const KNOBS: &[Knob] = &[BALANCE, DEFAULT, AFFINITY, MANAGED, THREADS];

const IRQBALANCE: &str = "irqbalance.service";

const BALANCE: Knob = Knob {
    id: "irq.balance",
    title: "irqbalance",
    phase: Phase::Services,
    persist: Persist::Itself,
    accepts: Accepts::Words(&["enabled active", "disabled inactive", "masked inactive"]),
    places: |facts| match facts.owners.iter().any(|owner| owner.unit == IRQBALANCE) {
        true => Places::one(Place::Unit { name: IRQBALANCE.into() }),
        false => Places::NotSupported("irqbalance is not installed".into()),
    },
    explain: Explain {
        mechanism: "It moves interrupts every ten seconds, also those that were put somewhere on purpose.",
        risk: "Interrupts stay where they are put, however the load changes.",
        when_not: "With isolcpus=domain or nohz_full= it keeps off those CPUs by itself; partitions it does not know. IRQBALANCE_BANNED_CPULIST= with nothing behind it bans no CPU at all and takes that away.",
        applies: "Where it is installed.",
        undo: "systemctl enable --now irqbalance",
        source: "irqbalance(1); /etc/default/irqbalance on Debian",
        proof: Proof::TestedModel,
    },
};

const DEFAULT: Knob = Knob {
    id: "irq.default",
    title: "CPUs that new interrupts go to",
    // Before queues of network cards are made anew: their interrupts then come to the right CPUs.
    phase: Phase::NetworkQueues,
    persist: Persist::Unit,
    accepts: Accepts::Cpus,
    places: |facts| {
        isolated(facts, |_| {
            let spot = Spot::new("", Place::attribute("/proc/irq/default_smp_affinity", Form::CpuMask));
            Places::one_of(spot.auto(facts.choice.housekeeping.to_string()))
        })
    },
    explain: Explain {
        mechanism: "Devices that are plugged in or set up anew get their interrupts there.",
        risk: "The other CPUs take them all.",
        when_not: "Where nothing is isolated. boot.irqaffinity does the same from the boot on.",
        applies: "Every kernel.",
        undo: "Write the former mask.",
        source: "Documentation/core-api/irq/irq-affinity.rst",
        proof: Proof::TestedModel,
    },
};

const AFFINITY: Knob = Knob {
    id: "irq.affinity",
    title: "CPUs that each interrupt goes to",
    phase: Phase::Interrupts,
    persist: Persist::Unit,
    accepts: Accepts::Cpus,
    places: |facts| {
        let movable = handled(facts).filter(|interrupt| !is_managed(&interrupt.actions));
        Places::At(movable.map(|interrupt| affinity(facts, interrupt)).collect())
    },
    explain: Explain {
        mechanism: "An interrupt stops whatever runs on its CPU for some us.",
        risk: "The other CPUs take them all: few may be too few for a fast network card.",
        when_not: "Where a spinning thread is to share its CPU with its card's interrupts.",
        applies: "Every kernel. effective_affinity_list tells where an interrupt really goes; some move with their next arrival only.",
        undo: "Write the former list to /proc/irq/N/smp_affinity_list.",
        source: "Documentation/core-api/irq/irq-affinity.rst",
        proof: Proof::TestedModel,
    },
};

const MANAGED: Knob = Knob {
    id: "irq.managed",
    title: "interrupts that their driver spreads itself",
    phase: Phase::Interrupts,
    persist: Persist::Never,
    accepts: Accepts::Cpus,
    places: |facts| {
        let managed = handled(facts).filter(|interrupt| is_managed(&interrupt.actions));
        Places::At(managed.map(|interrupt| managed_spot(facts, interrupt)).collect())
    },
    explain: Explain {
        mechanism: "NVMe and others have a queue for each CPU, whose interrupt goes there. isolcpus=managed_irq prefers another CPU of the same queue.",
        risk: "None: the kernel refuses to move them (EIO).",
        when_not: "A queue whose CPUs are all isolated interrupts them still, but only if they submit to it.",
        applies: "Known by name: nvmeNqM, and requests of virtio disks.",
        undo: "Nothing is set.",
        source: "Documentation/admin-guide/kernel-parameters.txt (isolcpus=managed_irq)",
        proof: Proof::ReadOnly,
    },
};

/// Interrupts that somebody handles.
fn handled(facts: &Facts) -> impl Iterator<Item = &Interrupt> {
    facts.interrupts.iter().filter(|interrupt| !interrupt.actions.is_empty())
}

/// Whether the driver spreads it: a queue of an NVMe disk but the first, which is for its administration, or of a
/// virtio disk.
fn is_managed(actions: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    let nvme = actions.strip_prefix("nvme").and_then(|rest| rest.split_once('q'));
    let virtio = actions.strip_prefix("virtio").and_then(|rest| rest.split_once("-req."));
    nvme.is_some_and(|(disk, queue)| is_number(disk) && is_number(queue) && queue != "0")
        || virtio.is_some_and(|(disk, queue)| is_number(disk) && is_number(queue))
}

fn subject(interrupt: &Interrupt) -> String {
    format!("irq {} ({})", interrupt.number, interrupt.actions)
}

fn affinity(facts: &Facts, interrupt: &Interrupt) -> Spot {
    let file = |name| Place::attribute(format!("/proc/irq/{}/{name}", interrupt.number), Form::SomeCpus);
    let spot = Spot::new(subject(interrupt), file("smp_affinity_list"));
    let spot = match interrupt.effective {
        Some(_) => spot.effect(file("effective_affinity_list")),
        None => spot,
    };
    let spot = spot.auto(facts.choice.housekeeping.to_string());
    match interrupt.actions.as_str() {
        "timer" => spot.fixed("the timer's interrupt stays on the CPU that the machine starts on"),
        _ => spot,
    }
}

fn managed_spot(facts: &Facts, interrupt: &Interrupt) -> Spot {
    let path = format!("/proc/irq/{}/effective_affinity_list", interrupt.number);
    let all_isolated = !interrupt.affinity.is_empty() && interrupt.affinity.is_subset(&facts.choice.isolated);
    Spot::new(subject(interrupt), Place::attribute(path, Form::SomeCpus))
        .auto(facts.choice.housekeeping.to_string())
        .fixed(match all_isolated {
            true => "all CPUs of its queue are isolated: it interrupts them only when they use that queue themselves",
            false => "its driver spreads it itself: isolcpus=managed_irq has it prefer other CPUs of its queue",
        })
}

const THREADS: Knob = Knob {
    id: "irq.threads",
    title: "priorities of interrupts' threads",
    phase: Phase::Interrupts,
    persist: Persist::Never,
    accepts: Accepts::Auto,
    places: |facts| {
        let has_threads =
            facts.kernel.is_rt || place::parameter(&facts.kernel.command_line, "threadirqs").is_some();
        match has_threads {
            true => Places::Unknown(
                "which should be above the workload, only its owner knows: ps -eo pid,rtprio,comm shows them, chrt -f -p sets one".into(),
            ),
            false => Places::NotSupported("interrupts have no threads on this kernel".into()),
        }
    },
    explain: Explain {
        mechanism: "irq/N-* run as SCHED_FIFO at 50. A card whose data is waited for should be above whom it wakes; all else below the workload.",
        risk: "A workload that spins above all of them keeps disks and cards from being served on its CPU.",
        when_not: "Where the workload has CPUs of its own.",
        applies: "PREEMPT_RT, or threadirqs.",
        undo: "chrt -f -p 50 PID",
        source: "Linux: kernel/irq/manage.c (sched_set_fifo); chrt(1)",
        proof: Proof::ReadOnly,
    },
};
