//! The scheduler, and what programs may ask of it.

use super::common::{NOBODY, is_built_without, isolated, without};
use crate::facts::Facts;
use crate::knob::{Accepts, Explain, Knob, Persist, Phase, Places, Proof, Spot};
use crate::place::{Form, Place};
use topology::CpuList;

/// The knobs of this area.
pub(super) const KNOBS: &[Knob] = &[
    RT_RUNTIME,
    FAIR_SERVER,
    TIMER_MIGRATION,
    NUMA_BALANCING,
    AUTOGROUP,
    STAT_INTERVAL,
    DEAD,
    SYSTEMD_CPUS,
    STALLD,
    CACHE,
    LIMITS,
    NUMA_BIND,
];

const RT_RUNTIME: Knob = Knob {
    id: "sched.rt_runtime",
    title: "part of a second that real-time threads may have, in us",
    phase: Phase::Sysctl,
    persist: Persist::Sysctl,
    accepts: Accepts::Number(-1, 1_000_000),
    places: rt_runtime,
    explain: Explain {
        mechanism: "By default a real-time thread that spins is stopped for 50 ms of each second. -1 lets it run.",
        risk: "A thread that hogs a CPU starves the kernel's own threads there: a machine without CPUs to spare cannot be saved but by a reset.",
        when_not: "Without isolated CPUs; auto leaves it alone there.",
        applies: "Kernels up to 6.11, and later ones with CONFIG_RT_GROUP_SCHED. From 6.12 on see sched.fair_server.",
        undo: "sysctl -w kernel.sched_rt_runtime_us=950000",
        source: "Documentation/scheduler/sched-rt-group.rst; Linux commit 5f6bd380c7bd",
        proof: Proof::TestedModel,
    },
};

fn rt_runtime(facts: &Facts) -> Places {
    // Without a configuration to read, it is as most kernels are built.
    let has_groups = facts.kernel.option("RT_GROUP_SCHED") == Some("y");
    if facts.kernel.version >= (6, 12) && !has_groups {
        return Places::Obsolete(
            "since 6.12 it only limits what may be asked for: sched.fair_server is what interrupts real-time threads".into(),
        );
    }
    let spot = Spot::new("", Place::sysctl("kernel.sched_rt_runtime_us", Form::Number));
    Places::one_of(match facts.choice.isolated.is_empty() {
        true => spot,
        false => spot.auto("-1"),
    })
}

const FAIR_SERVER: Knob = Knob {
    id: "sched.fair_server",
    title: "time that ordinary threads are guaranteed on isolated CPUs, in ns",
    phase: Phase::Sysctl,
    persist: Persist::Unit,
    accepts: Accepts::Number(0, 1_000_000_000),
    places: |facts| match (facts.kernel.version >= (6, 12), facts.kernel.has_debugfs) {
        (false, _) => {
            Places::NotSupported("it came with kernel 6.12: sched.rt_runtime is what older ones have".into())
        }
        (true, false) => Places::NotSupported("debugfs is not mounted, and it is set there".into()),
        (true, true) => {
            isolated(facts, |_| Places::At(facts.choice.isolated.iter().map(fair_server).collect()))
        }
    },
    explain: Explain {
        mechanism: "Where ordinary threads wait, a real-time thread yields 50 ms of each second to them. 0 turns that off for a CPU.",
        risk: "The kernel's own threads starve on a CPU that a real-time thread hogs.",
        when_not: "On CPUs that are not isolated. Where nothing else runs, it never takes anything.",
        applies: "Since 6.12, with debugfs.",
        undo: "Write 50000000 to runtime.",
        source: "Linux commit d741f297bcea (sched/fair: Fair server interface)",
        proof: Proof::TestedModel,
    },
};

fn fair_server(cpu: usize) -> Spot {
    let path = format!("/sys/kernel/debug/sched/fair_server/cpu{cpu}/runtime");
    Spot::new(format!("cpu {cpu}"), Place::attribute(path, Form::Number)).auto("0")
}

const TIMER_MIGRATION: Knob = Knob {
    id: "sched.timer_migration",
    title: "timers that move to busy CPUs",
    phase: Phase::Sysctl,
    persist: Persist::Sysctl,
    accepts: Accepts::Flag,
    places: |_| Places::one(Place::sysctl("kernel.timer_migration", Form::Flag)),
    explain: Explain {
        mechanism: "An idle CPU gives its timers to a busy one. 0 leaves them where they were started.",
        risk: "Idle CPUs wake for their own timers: more power.",
        when_not: "On battery.",
        applies: "CONFIG_NO_HZ_COMMON. Isolated CPUs take none of others' in any case.",
        undo: "sysctl -w kernel.timer_migration=1",
        source: "Linux: kernel/time/timer.c; TuneD's cpu-partitioning",
        proof: Proof::TestedModel,
    },
};

const NUMA_BALANCING: Knob = Knob {
    id: "sched.numa_balancing",
    title: "memory that moves after its threads",
    phase: Phase::Sysctl,
    persist: Persist::Sysctl,
    accepts: Accepts::Number(0, 3),
    places: |facts| {
        if facts.kernel.is_rt {
            return Places::NotSupported("a PREEMPT_RT kernel does not balance memory between nodes".into());
        }
        match is_built_without(facts, "NUMA_BALANCING") {
            true => without("NUMA_BALANCING"),
            false => Places::one(Place::sysctl("kernel.numa_balancing", Form::Number)),
        }
    },
    explain: Explain {
        mechanism: "The kernel takes pages away for a moment to see who uses them. Each costs a page fault.",
        risk: "Programs that are bound to no node find their memory on the wrong one.",
        when_not: "Where programs of many threads are not bound to nodes.",
        applies: "CONFIG_NUMA_BALANCING, which excludes PREEMPT_RT; hosts of one node never have it on.",
        undo: "sysctl -w kernel.numa_balancing=1",
        source: "Documentation/admin-guide/sysctl/kernel.rst",
        proof: Proof::TestedModel,
    },
};

const AUTOGROUP: Knob = Knob {
    id: "sched.autogroup",
    title: "CPU time by session",
    phase: Phase::Sysctl,
    persist: Persist::Sysctl,
    accepts: Accepts::Flag,
    places: |_| Places::one(Place::sysctl("kernel.sched_autogroup_enabled", Form::Flag)),
    explain: Explain {
        mechanism: "Ordinary threads share time by session before their nice values count. Off, nice values mean what they say.",
        risk: "A compile job with many threads makes a desktop sluggish.",
        when_not: "On desktops.",
        applies: "CONFIG_SCHED_AUTOGROUP. It does not touch real-time threads.",
        undo: "sysctl -w kernel.sched_autogroup_enabled=1",
        source: "sched(7), the autogroup feature",
        proof: Proof::TestedModel,
    },
};

const STAT_INTERVAL: Knob = Knob {
    id: "sched.stat_interval",
    title: "how often memory's counters are gathered, in s",
    phase: Phase::Sysctl,
    persist: Persist::Sysctl,
    accepts: Accepts::Number(1, 3600),
    places: |_| Places::one(Place::sysctl("vm.stat_interval", Form::Number)),
    explain: Explain {
        mechanism: "Every CPU that used memory runs a worker to add its counters up, once in so many seconds.",
        risk: "free and vmstat lag behind by as much.",
        when_not: "Where memory is watched to the second.",
        applies: "Every kernel.",
        undo: "sysctl -w vm.stat_interval=1",
        source: "Documentation/admin-guide/sysctl/vm.rst",
        proof: Proof::TestedModel,
    },
};

const DEAD: Knob = Knob {
    id: "sched.dead",
    title: "the old scheduler's grain",
    phase: Phase::Sysctl,
    persist: Persist::Never,
    accepts: Accepts::Text,
    places: |facts| {
        match facts.kernel.version >= (5, 13) {
        true => Places::Obsolete(
            "kernel.sched_latency_ns, sched_min_granularity_ns and sched_wakeup_granularity_ns are no sysctls since 5.13".into(),
        ),
        false => {
            let spot = |name| Spot::new(name, Place::sysctl(&format!("kernel.{name}"), Form::Number));
            let names = ["sched_latency_ns", "sched_min_granularity_ns", "sched_wakeup_granularity_ns"];
            Places::At(names.map(spot).into())
        }
    }
    },
    explain: Explain {
        mechanism: "How long an ordinary thread runs before the next one. Real-time threads never cared.",
        risk: "Advice to set them is old; sysctl only says that there is no such key.",
        when_not: "Since 5.13 they are under /sys/kernel/debug/sched, and since 6.6 there is base_slice_ns alone.",
        applies: "Kernels before 5.13.",
        undo: "Nothing is set.",
        source: "Linux commit 8a99b6833c88",
        proof: Proof::ReadOnly,
    },
};

const SYSTEMD_CPUS: Knob = Knob {
    id: "sys.affinity",
    title: "CPUs that services start on",
    phase: Phase::Files,
    persist: Persist::Itself,
    accepts: Accepts::Auto,
    places: |facts| match facts.is_systemd {
        false => Places::NotSupported("systemd does not run this host".into()),
        true => isolated(facts, |_| {
            let path = "/etc/systemd/system.conf.d/zz-tuner.conf".into();
            let text = format!("[Manager]\nCPUAffinity={}\n", facts.choice.housekeeping);
            Places::one_of(Spot::new("", Place::File { path, mode: 0o644 }).auto(text))
        }),
    },
    explain: Explain {
        mechanism: "Everything that systemd starts begins on these CPUs. A service may still pin itself elsewhere.",
        risk: "Programs that count their CPUs by their affinity start fewer threads.",
        when_not: "With isolcpus=domain or a partition: nothing starts on isolated CPUs then.",
        applies: "systemd, from the next boot on. A copy in the initramfs is as it was when that was made.",
        undo: "Remove the file and boot.",
        source: "systemd-system.conf(5); TuneD's cpu-partitioning",
        proof: Proof::TestedModel,
    },
};

const STALLD: Knob = Knob {
    id: "sched.stalld",
    title: "stalld, which helps starving threads",
    phase: Phase::Services,
    persist: Persist::Itself,
    accepts: Accepts::Words(&["enabled active", "disabled inactive"]),
    places: |facts| match facts.owners.iter().any(|owner| owner.unit == "stalld.service") {
        true => Places::one(Place::Unit { name: "stalld.service".into() }),
        false => Places::NotSupported("stalld is not installed".into()),
    },
    explain: Explain {
        mechanism: "It wakes every second to look for starving threads and lends them the deadline scheduler.",
        risk: "Without it, a kernel thread on a CPU that a real-time thread hogs starves.",
        when_not: "Where a real-time thread spins on a CPU on which kernel threads have work, too.",
        applies: "Where it is installed. Since 6.12 the kernel does the same (sched.fair_server). stalld sets sched_rt_runtime_us itself.",
        undo: "systemctl enable --now stalld",
        source: "stalld(8) and its README",
        proof: Proof::TestedModel,
    },
};

const CACHE: Knob = Knob {
    id: "cache.cat",
    title: "shares of the last-level cache",
    phase: Phase::CpuPower,
    persist: Persist::Never,
    accepts: Accepts::Text,
    places: |_| Places::one(Place::attribute("/sys/fs/resctrl/schemata", Form::Text)),
    explain: Explain {
        mechanism: "Programs on other CPUs push a hot thread's data out of the cache that all share.",
        risk: "None: it is only looked at.",
        when_not: "Where the hot data fits into the core's own cache.",
        applies: "Intel servers and AMD EPYC with resctrl mounted; few guests.",
        undo: "Nothing is set.",
        source: "Documentation/filesystems/resctrl.rst (until 6.16: arch/x86/resctrl.rst)",
        proof: Proof::ReadOnly,
    },
};

const LIMITS: Knob = Knob {
    id: "lim.rt",
    title: "real-time priority and locked memory for the group audio",
    phase: Phase::Files,
    persist: Persist::Itself,
    accepts: Accepts::Auto,
    places: |_| {
        let path = "/etc/security/limits.d/zz-tuner.conf".into();
        let text = "@audio - rtprio 90\n@audio - memlock unlimited\n";
        Places::one_of(Spot::new("", Place::File { path, mode: 0o644 }).auto(text))
    },
    explain: Explain {
        mechanism: "Programs that a user starts may ask for SCHED_FIFO and lock their memory without being root.",
        risk: "Whoever is in the group can hang the machine.",
        when_not: "For services: theirs is LimitRTPRIO= in their unit, as chartd.service has.",
        applies: "Sessions through PAM, from the next login on.",
        undo: "Remove the file and log in again.",
        source: "limits.conf(5); systemd.exec(5)",
        proof: Proof::TestedModel,
    },
};

const NUMA_BIND: Knob = Knob {
    id: "numa.bind",
    title: "chartd's memory on its CPUs' node",
    phase: Phase::Files,
    persist: Persist::Itself,
    accepts: Accepts::Auto,
    places: |facts| match (facts.topology.nodes().len() > 1, facts.is_systemd, nodes_of_isolated(facts)) {
        (false, ..) => Places::NotSupported("this host has one NUMA node".into()),
        (_, false, _) => Places::NotSupported("systemd does not run this host".into()),
        (.., nodes) if nodes.is_empty() => Places::NotSupported(NOBODY.into()),
        (.., nodes) => {
            let path = "/etc/systemd/system/chartd.service.d/zz-tuner.conf".into();
            let text = format!("[Service]\nNUMAPolicy=bind\nNUMAMask={nodes}\n");
            Places::one_of(Spot::new("chartd.service", Place::File { path, mode: 0o644 }).auto(text))
        }
    },
    explain: Explain {
        mechanism: "Memory of another node takes half as long again to reach.",
        risk: "When that node has no memory left, the service is ended, though others have some.",
        when_not: "Where the program needs more memory than a node has.",
        applies: "Hosts of several nodes, from the service's next start on.",
        undo: "Remove the file, systemctl daemon-reload, restart the service.",
        source: "systemd.exec(5), NUMAPolicy=",
        proof: Proof::TestedModel,
    },
};

/// Nodes that have isolated CPUs, in the form of a list of CPUs.
fn nodes_of_isolated(facts: &Facts) -> CpuList {
    let isolated = |node: &usize| !facts.topology.node(*node).and(&facts.choice.isolated).is_empty();
    facts.topology.nodes().into_iter().filter(isolated).collect()
}
