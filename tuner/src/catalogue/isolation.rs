//! CPUs that are kept free of everything but the hot threads: from the boot on, and by control groups.
//!
//! What holds: no parameter is ever empty. Where no CPU can be spared, the knobs stand nowhere.

use super::common::{boot, is_built_without, isolated, without};
use crate::facts::Facts;
use crate::knob::{Accepts, Explain, Knob, Persist, Phase, Places, Proof, Spot};
use crate::place::{Form, Place};

/// The knobs of this area.
pub(super) const KNOBS: &[Knob] = &[
    ISOLCPUS,
    NOHZ_FULL,
    RCU_NOCBS,
    RCU_NORMAL,
    RCU_PATIENCE,
    IRQAFFINITY,
    PARTITION,
    WORKQUEUES,
    KTHREAD_CPUS,
    SKEW_TICK,
    SMT,
];

const ISOLCPUS: Knob = Knob {
    id: "boot.isolcpus",
    title: "CPUs that the scheduler leaves alone",
    phase: Phase::Files,
    persist: Persist::Boot,
    accepts: Accepts::Auto,
    places: |facts| isolated(facts, |cpus| isolcpus(facts, &cpus)),
    explain: Explain {
        mechanism: "domain: nothing runs there but what is pinned there. managed_irq: drivers that spread their own interrupts, as NVMe does, prefer other CPUs.",
        risk: "It stays until the next boot. The scheduler balances nothing there: two threads that are pinned to one of them share it, though the next is idle.",
        when_not: "Where CPUs are isolated at run time by a partition of control groups: then managed_irq is enough, and that is what auto leaves.",
        applies: "managed_irq since 5.6; an older kernel takes a list with an unknown word for an error and isolates nothing. CONFIG_CPU_ISOLATION.",
        undo: "Take isolcpus= off the kernel's command line and boot.",
        source: "Documentation/admin-guide/kernel-parameters.txt and cpu-isolation.rst",
        proof: Proof::TestedModel,
    },
};

fn isolcpus(facts: &Facts, cpus: &str) -> Places {
    if is_built_without(facts, "CPU_ISOLATION") {
        return without("CPU_ISOLATION");
    }
    let has_partition = facts.slices.iter().any(|slice| slice.cpus == facts.choice.isolated);
    let place = Place::parameter("isolcpus", Form::WordsAndCpus);
    let effect = Place::attribute("/sys/devices/system/cpu/isolated", Form::Cpus);
    let spot = match (facts.kernel.version >= (5, 6), has_partition) {
        (true, false) => Spot::new("", place).auto(format!("managed_irq,domain,{cpus}")).effect(effect),
        // The file tells of domain alone.
        (true, true) => Spot::new("", place).auto(format!("managed_irq,{cpus}")),
        (false, _) => Spot::new("", place).auto(format!("domain,{cpus}")).effect(effect),
    };
    boot(facts, spot)
}

const NOHZ_FULL: Knob = Knob {
    id: "boot.nohz_full",
    title: "CPUs without a tick while one thread runs",
    phase: Phase::Files,
    persist: Persist::Boot,
    accepts: Accepts::Cpus,
    places: |facts| match is_built_without(facts, "NO_HZ_FULL") {
        true => without("NO_HZ_FULL"),
        false => isolated(facts, |cpus| {
            let effect = Place::attribute("/sys/devices/system/cpu/nohz_full", Form::Cpus);
            boot(facts, Spot::new("", Place::parameter("nohz_full", Form::Cpus)).effect(effect).auto(cpus))
        }),
    },
    explain: Explain {
        mechanism: "The timer interrupt stops while a CPU has one thread to run. RCU's callbacks go elsewhere, too: rcu_nocbs= is implied.",
        risk: "Every entry into the kernel accounts for time itself and gets slower. The other CPUs keep the time for all.",
        when_not: "For threads that make many system calls, and where more than one thread shares a CPU. It is for those that spin in user space.",
        applies: "CONFIG_NO_HZ_FULL, and a clock that can be trusted (TSC). The CPU that the machine starts on keeps its tick.",
        undo: "Take nohz_full= off the kernel's command line and boot.",
        source: "Documentation/timers/no_hz.rst",
        proof: Proof::TestedModel,
    },
};

const RCU_NOCBS: Knob = Knob {
    id: "boot.rcu_nocbs",
    title: "CPUs whose RCU callbacks run elsewhere",
    phase: Phase::Files,
    persist: Persist::Boot,
    accepts: Accepts::Cpus,
    places: |facts| match is_built_without(facts, "RCU_NOCB_CPU") {
        true => without("RCU_NOCB_CPU"),
        false => isolated(facts, |cpus| rcu_nocbs(facts, cpus)),
    },
    explain: Explain {
        mechanism: "What frees memory after a grace period runs in threads (rcuo*) that can be kept on other CPUs, not in interrupts of this one.",
        risk: "Callbacks come later and take locks on the way.",
        when_not: "Together with nohz_full= for the same CPUs, which implies it.",
        applies: "CONFIG_RCU_NOCB_CPU.",
        undo: "Take rcu_nocbs= off the kernel's command line and boot.",
        source: "Documentation/admin-guide/kernel-per-CPU-kthreads.rst; Documentation/timers/no_hz.rst",
        proof: Proof::TestedModel,
    },
};

fn rcu_nocbs(facts: &Facts, cpus: String) -> Places {
    let is_written = crate::place::parameter(&facts.kernel.command_line, "rcu_nocbs").is_some();
    if facts.choice.isolated.is_subset(&facts.topology.nohz_full) && !is_written {
        return Places::NotSupported(format!("nohz_full= does it for CPUs {cpus} already"));
    }
    boot(facts, Spot::new("", Place::parameter("rcu_nocbs", Form::Cpus)).auto(cpus))
}

const RCU_NORMAL: Knob = Knob {
    id: "boot.rcu_normal",
    title: "no hurried RCU grace periods after the boot",
    phase: Phase::Files,
    persist: Persist::Boot,
    accepts: Accepts::Flag,
    places: |facts| match facts.kernel.is_rt {
        true => Places::NotSupported("a PREEMPT_RT kernel does so by itself".into()),
        false => {
            let key = "rcu_normal_after_boot";
            let effect = Place::attribute(format!("/sys/module/rcupdate/parameters/{key}"), Form::Flag);
            boot(
                facts,
                Spot::new("", Place::parameter(&format!("rcupdate.{key}"), Form::Flag)).effect(effect),
            )
        }
    },
    explain: Explain {
        mechanism: "A hurried grace period interrupts every CPU that is not idle. Normal ones wait.",
        risk: "Whatever waits for a grace period waits longer: unloading modules, changing network devices.",
        when_not: "Where such changes must be quick.",
        applies: "Every kernel for more than one CPU. It is the default of PREEMPT_RT.",
        undo: "Take rcupdate.rcu_normal_after_boot= off the kernel's command line and boot.",
        source: "Documentation/admin-guide/kernel-parameters.txt; TuneD's network-latency",
        proof: Proof::TestedModel,
    },
};

const RCU_PATIENCE: Knob = Knob {
    id: "boot.rcu_patience",
    title: "RCU's patience with CPUs without a tick, in ms",
    phase: Phase::Files,
    persist: Persist::Boot,
    accepts: Accepts::Number(0, 5000),
    places: |facts| match facts.kernel.version >= (6, 11) {
        false => Places::NotSupported("it came with kernel 6.11".into()),
        true if is_built_without(facts, "NO_HZ_FULL") => without("NO_HZ_FULL"),
        true => {
            let key = "nohz_full_patience_delay";
            let effect = Place::attribute(format!("/sys/module/rcutree/parameters/{key}"), Form::Number);
            boot(
                facts,
                Spot::new("", Place::parameter(&format!("rcutree.{key}"), Form::Number)).effect(effect),
            )
        }
    },
    explain: Explain {
        mechanism: "A short stay in the kernel of a CPU of nohz_full= does not at once bring its tick back for RCU's sake.",
        risk: "Grace periods may last so much longer, and memory is freed so much later.",
        when_not: "Without nohz_full= it does nothing.",
        applies: "Since 6.11, CONFIG_NO_HZ_FULL.",
        undo: "Take rcutree.nohz_full_patience_delay= off the kernel's command line and boot.",
        source: "Linux commit 68d124b09999; TuneD's network-latency",
        proof: Proof::TestedModel,
    },
};

const IRQAFFINITY: Knob = Knob {
    id: "boot.irqaffinity",
    title: "CPUs that interrupts go to from the boot on",
    phase: Phase::Files,
    persist: Persist::Boot,
    accepts: Accepts::Cpus,
    places: |facts| {
        isolated(facts, |_| {
            let effect = Place::attribute("/proc/irq/default_smp_affinity", Form::CpuMask);
            let spot = Spot::new("", Place::parameter("irqaffinity", Form::Cpus)).effect(effect);
            boot(facts, spot.auto(facts.choice.housekeeping.to_string()))
        })
    },
    explain: Explain {
        mechanism: "Interrupts are set up on the other CPUs at once. Moving one later waits for its next arrival, which some never have.",
        risk: "The other CPUs take all interrupts; few of them may be too few for a fast network card.",
        when_not: "Where nothing is isolated.",
        applies: "Every kernel. Interrupts whose driver spreads them itself do not follow.",
        undo: "Take irqaffinity= off the kernel's command line and boot.",
        source: "Documentation/admin-guide/kernel-parameters.txt; redhat-performance/tuned issue 364",
        proof: Proof::TestedModel,
    },
};

const PARTITION: Knob = Knob {
    id: "cg.partition",
    title: "isolation of a slice's CPUs at run time",
    phase: Phase::CpuPartition,
    persist: Persist::Unit,
    accepts: Accepts::Words(&["member", "root", "isolated"]),
    places: partition,
    explain: Explain {
        mechanism: "The scheduler takes the slice's CPUs from everybody else and balances nothing on them, without a reboot.",
        risk: "Nothing outside the slice can be pinned to them, and nothing inside can leave them: all of a program's threads share them.",
        when_not: "For a program that wants its other threads elsewhere, as chartd does: isolcpus= leaves it the choice.",
        applies: "Control groups of version 2. The slice must be bound to isolated CPUs alone (AllowedCPUs=). 'isolated' since 6.0. The kernel may answer 'isolated invalid' and why.",
        undo: "Write member to the slice's cpuset.cpus.partition.",
        source: "Documentation/admin-guide/cgroup-v2.rst and cpu-isolation.rst",
        proof: Proof::TestedModel,
    },
};

fn partition(facts: &Facts) -> Places {
    if !facts.has_cpuset_v2 {
        return Places::NotSupported("CPUs are not given out by control groups of version 2 here".into());
    }
    if facts.kernel.version < (6, 0) {
        return Places::NotSupported("partitions can be isolated since kernel 6.0".into());
    }
    isolated(facts, |cpus| {
        let own = facts.slices.iter().filter(|slice| slice.cpus.is_subset(&facts.choice.isolated));
        let spots: Vec<_> = own
            .map(|slice| {
                let path = format!("/sys/fs/cgroup/{}/cpuset.cpus.partition", slice.name);
                Spot::new(slice.name.as_str(), Place::attribute(path, Form::Text)).auto("isolated")
            })
            .collect();
        match spots.is_empty() {
            true => Places::NotSupported(format!(
                "no slice is bound to isolated CPUs alone: AllowedCPUs={cpus} would bind one"
            )),
            false => Places::At(spots),
        }
    })
}

const WORKQUEUES: Knob = Knob {
    id: "boot.wq",
    title: "CPUs of the kernel's free workers",
    phase: Phase::KernelThreads,
    persist: Persist::Unit,
    accepts: Accepts::Cpus,
    places: |facts| {
        isolated(facts, |_| {
            let spot = |subject, file: &str| {
                let path = format!("/sys/devices/virtual/workqueue/{file}");
                Spot::new(subject, Place::attribute(path, Form::CpuMask))
                    .auto(facts.choice.housekeeping.to_string())
            };
            Places::At(vec![spot("unbound", "cpumask"), spot("writeback", "writeback/cpumask")])
        })
    },
    explain: Explain {
        mechanism: "Work that is bound to no CPU, writing back files among it, stays off the isolated ones.",
        risk: "The other CPUs do it all.",
        when_not: "Where nothing is isolated. After isolcpus= or nohz_full=, the kernel starts with this.",
        applies: "Every kernel. Work that is bound to a CPU does not follow.",
        undo: "Write the former masks.",
        source: "Documentation/core-api/workqueue.rst",
        proof: Proof::TestedModel,
    },
};

const KTHREAD_CPUS: Knob = Knob {
    id: "boot.kthread_cpus",
    title: "CPUs of kernel threads",
    phase: Phase::Files,
    persist: Persist::Boot,
    accepts: Accepts::Cpus,
    places: |facts| {
        match facts.kernel.release.contains("-realtime") {
        false => Places::NotSupported(
            "Linux does not know kthread_cpus=: it is a patch of some vendors, and ignored without a word elsewhere".into(),
        ),
        true => isolated(facts, |_| {
            let spot = Spot::new("", Place::parameter("kthread_cpus", Form::Cpus));
            boot(facts, spot.auto(facts.choice.housekeeping.to_string()))
        }),
    }
    },
    explain: Explain {
        mechanism: "Kernel threads that are bound to no CPU start on these.",
        risk: "The other CPUs run them all.",
        when_not: "On kernels without the patch; nohz_full= and isolcpus=domain keep such threads away, too.",
        applies: "Ubuntu's real-time kernel (-realtime in its release) and StarlingX's.",
        undo: "Take kthread_cpus= off the kernel's command line and boot.",
        source: "Ubuntu's real-time documentation; it is in no kernel-parameters.txt of Linux",
        proof: Proof::TestedModel,
    },
};

const SKEW_TICK: Knob = Knob {
    id: "boot.skew_tick",
    title: "ticks of CPUs apart from each other",
    phase: Phase::Files,
    persist: Persist::Boot,
    accepts: Accepts::Flag,
    places: |facts| boot(facts, Spot::new("", Place::parameter("skew_tick", Form::Flag))),
    explain: Explain {
        mechanism: "CPUs whose ticks come at the same moment wait for each other's locks.",
        risk: "More power: CPUs wake one after the other.",
        when_not: "On a laptop, and on hosts with few CPUs.",
        applies: "Every kernel. No file tells whether it took; only the command line.",
        undo: "Take skew_tick= off the kernel's command line and boot.",
        source: "Documentation/admin-guide/kernel-parameters.txt",
        proof: Proof::TestedModel,
    },
};

const SMT: Knob = Knob {
    id: "cpu.smt",
    title: "two threads of a core",
    phase: Phase::CpuPower,
    persist: Persist::Unit,
    accepts: Accepts::Words(&["on", "off"]),
    places: |_| Places::one(Place::attribute("/sys/devices/system/cpu/smt/control", Form::Text)),
    explain: Explain {
        mechanism: "A busy sibling takes half of a core, and changes how fast the other half is from moment to moment.",
        risk: "Half of the CPUs are gone. Their numbers are, too: which CPUs are isolated is to be chosen anew.",
        when_not: "Nearly always: cores are isolated whole, so that the sibling of a hot thread is idle.",
        applies: "Processors with two threads a core.",
        undo: "Write on to the file.",
        source: "Documentation/admin-guide/hw-vuln/l1tf.rst (SMT control)",
        proof: Proof::TestedModel,
    },
};
