//! Clocks and sleep states of CPUs.
//!
//! What holds: within an apply, what others depend on comes first, and an undo in reverse is right as well. A driver in
//! HWP mode refuses any preference but `performance` while its governor is performance, so that preferences come before
//! governors. A lower limit above the upper one is refused, so that both stand in one knob, in the order that fits.

use super::common::isolated;
use crate::facts::{ClockPolicy, Facts};
use crate::knob::{Accepts, Explain, Knob, Persist, Phase, Places, Proof, Spot};
use crate::place::{Form, Place};

/// The knobs of this area.
pub(super) const KNOBS: &[Knob] =
    &[EPP, EPB, GOVERNOR, TURBO, CLOCK_LOCK, DMA_LATENCY, RESUME_LATENCY, UNCORE, THROTTLE, SMI];

const CPUS: &str = "/sys/devices/system/cpu";

/// A setting of each clock, or why there is none.
fn clocks(facts: &Facts, spots: impl Fn(&ClockPolicy) -> Vec<Spot>) -> Places {
    match (facts.power.policies.is_empty(), &facts.hypervisor) {
        (false, _) => Places::At(facts.power.policies.iter().flat_map(spots).collect()),
        (true, Some(hypervisor)) => Places::NotSupported(format!(
            "clocks are the affair of the host below ({hypervisor}), not of this guest"
        )),
        (true, None) => Places::NotSupported("the kernel does not set the clocks of this host's CPUs".into()),
    }
}

fn of_policy(policy: &ClockPolicy, file: &str, form: Form) -> Spot {
    let name = &policy.name;
    Spot::new(name.as_str(), Place::attribute(format!("{CPUS}/cpufreq/{name}/{file}"), form))
}

const EPP: Knob = Knob {
    id: "cpu.epp",
    title: "preference between speed and energy",
    phase: Phase::CpuPower,
    persist: Persist::Unit,
    accepts: Accepts::Words(&["performance", "balance_performance", "default", "balance_power", "power"]),
    places: |facts| {
        let offered = |policy: &ClockPolicy| match policy.preferences.is_empty() {
            true => Vec::new(),
            false => vec![of_policy(policy, "energy_performance_preference", Form::Text).auto("performance")],
        };
        clocks(facts, offered)
    },
    explain: Explain {
        mechanism: "The processor itself chooses its clock, and this tells it what for.",
        risk: "More power and heat.",
        when_not: "On battery.",
        applies: "intel_pstate with HWP, amd_pstate in active mode.",
        undo: "Write the former word, after the governor is back.",
        source: "Documentation/admin-guide/pm/intel_pstate.rst and amd-pstate.rst",
        proof: Proof::TestedModel,
    },
};

const EPB: Knob = Knob {
    id: "cpu.epb",
    title: "bias between speed and energy",
    phase: Phase::CpuPower,
    persist: Persist::Unit,
    accepts: Accepts::Number(0, 15),
    places: |facts| {
        let path = |cpu| format!("{CPUS}/cpu{cpu}/power/energy_perf_bias");
        let spot =
            |cpu: usize| Spot::new(format!("cpu {cpu}"), Place::attribute(path(cpu), Form::Number)).auto("0");
        Places::At(facts.power.energy_bias.iter().map(spot).collect())
    },
    explain: Explain {
        mechanism: "0 is for speed, 15 for energy. It also moves the processor's choice of sleep states.",
        risk: "More power and heat.",
        when_not: "On battery.",
        applies: "Intel processors with that register; few guests.",
        undo: "Write the former number.",
        source: "Documentation/admin-guide/pm/intel_epb.rst",
        proof: Proof::TestedModel,
    },
};

const GOVERNOR: Knob = Knob {
    id: "cpu.governor",
    title: "what chooses the clock",
    phase: Phase::CpuPower,
    persist: Persist::Unit,
    accepts: Accepts::Words(&[
        "performance",
        "powersave",
        "schedutil",
        "ondemand",
        "conservative",
        "userspace",
    ]),
    places: |facts| {
        clocks(facts, |policy| vec![of_policy(policy, "scaling_governor", Form::Text).auto("performance")])
    },
    explain: Explain {
        mechanism: "With performance, the clock is up before the work comes, not some ms after it.",
        risk: "More power and heat.",
        when_not: "On battery.",
        applies: "Hosts whose kernel sets clocks: few guests.",
        undo: "Write the former word.",
        source: "Documentation/admin-guide/pm/cpufreq.rst",
        proof: Proof::TestedModel,
    },
};

const TURBO: Knob = Knob {
    id: "cpu.turbo",
    title: "no turbo",
    phase: Phase::CpuPower,
    persist: Persist::Unit,
    accepts: Accepts::Auto,
    places: |facts| {
        let spots = vec![
            Spot::new("intel_pstate", Place::attribute(format!("{CPUS}/intel_pstate/no_turbo"), Form::Flag))
                .auto("1"),
            Spot::new("cpufreq", Place::attribute(format!("{CPUS}/cpufreq/boost"), Form::Flag)).auto("0"),
        ];
        match clocks(facts, |_| Vec::new()) {
            Places::At(_) => Places::At(spots),
            nowhere => nowhere,
        }
    },
    explain: Explain {
        mechanism: "Turbo comes and goes with heat and with how many cores work. Without it the clock is the same all the time.",
        risk: "A lower clock, often by a third.",
        when_not: "Where the best case counts, and where cpu.freq_lock holds the clock already.",
        applies: "intel_pstate (no_turbo), or others (boost): a host has one of both.",
        undo: "Write the former number.",
        source: "Documentation/admin-guide/pm/intel_pstate.rst and cpufreq.rst",
        proof: Proof::TestedModel,
    },
};

const CLOCK_LOCK: Knob = Knob {
    id: "cpu.freq_lock",
    title: "one clock all the time, in kHz",
    phase: Phase::CpuPower,
    persist: Persist::Unit,
    accepts: Accepts::Number(100_000, 10_000_000),
    places: |facts| clocks(facts, limits),
    explain: Explain {
        mechanism: "Changing the clock stops a core for some us, and work takes longer before it than after it. Both limits are set to a clock that all cores can hold.",
        risk: "No turbo; more power when idle.",
        when_not: "At the highest turbo, which no processor holds: that only moves the change to where heat forces it. cpu.throttle shows that.",
        applies: "Hosts whose kernel sets clocks. auto where the processor tells its base clock (intel_pstate, ACPI CPPC).",
        undo: "Write the former limits: the lower one first if it is lower than the upper one now, else the upper one first.",
        source: "Documentation/admin-guide/pm/cpufreq.rst; base_frequency in intel_pstate.rst",
        proof: Proof::TestedModel,
    },
};

/// Both limits of a clock. If the clock wished is not below the lower limit as it is, the upper one goes first: neither
/// step then crosses the other limit, and neither does on the way back. Otherwise it is the other way round.
fn limits(policy: &ClockPolicy) -> Vec<Spot> {
    let spot = |file| Spot {
        subject: format!("{} {file}", policy.name),
        auto: policy.sustained_khz.map(|khz| khz.to_string()),
        ..of_policy(policy, file, Form::Number)
    };
    let crosses = match (policy.sustained_khz, policy.lower_limit_khz) {
        (Some(wished), Some(lower)) => wished < lower,
        _ => false,
    };
    match crosses {
        false => vec![spot("scaling_max_freq"), spot("scaling_min_freq")],
        true => vec![spot("scaling_min_freq"), spot("scaling_max_freq")],
    }
}

const DMA_LATENCY: Knob = Knob {
    id: "cpu.dma_latency",
    title: "a limit for all CPUs' sleep while a program runs",
    phase: Phase::CpuPower,
    persist: Persist::Never,
    accepts: Accepts::Auto,
    places: |_| {
        Places::NotSupported(
            "it holds only while a program keeps /dev/cpu_dma_latency open: chartd does where cpu_dma_latency_us is configured".into(),
        )
    },
    explain: Explain {
        mechanism: "No CPU enters a sleep state that takes longer to leave. The limit goes when the program does.",
        risk: "More power and heat on all CPUs.",
        when_not: "Where cpu.resume_latency limits the CPUs that need it.",
        applies: "Hosts with sleep states.",
        undo: "End the program that holds it.",
        source: "Documentation/power/pm_qos_interface.rst",
        proof: Proof::ReadOnly,
    },
};

const RESUME_LATENCY: Knob = Knob {
    id: "cpu.resume_latency",
    title: "how long an isolated CPU may take to wake, in us",
    phase: Phase::CpuPower,
    persist: Persist::Unit,
    // Not 0: the kernel takes it for no limit at all.
    accepts: Accepts::Words(&["n/a", "1", "2", "5", "10", "20", "50", "100"]),
    places: |facts| match facts.power.idle_driver.as_deref() {
        Some("none") => Places::NotSupported(
            "nothing chooses among sleep states here, so that none can be forbidden".into(),
        ),
        _ => isolated(facts, |_| Places::At(facts.choice.isolated.iter().map(resume_latency).collect())),
    },
    explain: Explain {
        mechanism: "A CPU in a deep sleep takes up to some 100 us to wake. 'n/a' forbids every sleep state; a number, those that take longer.",
        risk: "More power and heat, which may cost others their turbo. With 'n/a', an idle CPU spins and slows its sibling down.",
        when_not: "0 means no limit: the opposite of what it looks like. It is not accepted.",
        applies: "Hosts with sleep states, each CPU by itself.",
        undo: "Write the former text; 0 if there was none.",
        source: "Documentation/ABI/testing/sysfs-devices-power (pm_qos_resume_latency_us)",
        proof: Proof::TestedModel,
    },
};

fn resume_latency(cpu: usize) -> Spot {
    let path = format!("{CPUS}/cpu{cpu}/power/pm_qos_resume_latency_us");
    Spot::new(format!("cpu {cpu}"), Place::attribute(path, Form::Text)).auto("n/a")
}

const UNCORE: Knob = Knob {
    id: "cpu.uncore",
    title: "clock of caches and interconnect, at the least",
    phase: Phase::CpuPower,
    persist: Persist::Unit,
    accepts: Accepts::Number(100_000, 10_000_000),
    places: |facts| {
        let path = |name: &str| format!("{CPUS}/intel_uncore_frequency/{name}/min_freq_khz");
        let spot = |(name, khz): &(String, u64)| {
            Spot::new(name.as_str(), Place::attribute(path(name), Form::Number)).auto(khz.to_string())
        };
        Places::At(facts.power.uncore.iter().map(spot).collect())
    },
    explain: Explain {
        mechanism: "The last-level cache and the way to memory slow down when little goes on, and every miss takes longer.",
        risk: "Power that the cores lack: their turbo may be lower.",
        when_not: "Where the cores' clock counts more than memory.",
        applies: "Intel servers with the module intel_uncore_frequency.",
        undo: "Write the former number.",
        source: "Documentation/admin-guide/pm/intel_uncore_frequency_scaling.rst",
        proof: Proof::TestedModel,
    },
};

const THROTTLE: Knob = Knob {
    id: "cpu.throttle",
    title: "how often heat slowed a CPU down",
    phase: Phase::CpuPower,
    persist: Persist::Never,
    accepts: Accepts::Number(0, i64::MAX),
    places: |facts| {
        let path = |cpu| format!("{CPUS}/cpu{cpu}/thermal_throttle/core_throttle_count");
        let spot = |cpu: usize| Spot::new(format!("cpu {cpu}"), Place::attribute(path(cpu), Form::Number));
        let counted = facts.power.throttle_counts.and(&facts.choice.isolated);
        Places::At(counted.iter().map(spot).collect())
    },
    explain: Explain {
        mechanism: "A count that grows under load says that the clock cannot be held: wish for a lower one, or cool better.",
        risk: "None: it is only looked at.",
        when_not: "The number alone says nothing: compare two readings.",
        applies: "Intel processors, outside guests. Shown for the isolated CPUs.",
        undo: "Nothing is set.",
        source: "Documentation/ABI/testing/sysfs-devices-system-cpu (thermal_throttle)",
        proof: Proof::ReadOnly,
    },
};

const SMI: Knob = Knob {
    id: "hw.smi",
    title: "time that the firmware takes",
    phase: Phase::CpuPower,
    persist: Persist::Never,
    accepts: Accepts::Auto,
    places: |facts| {
        match &facts.hypervisor {
        Some(hypervisor) => {
            Places::NotSupported(format!("a guest cannot tell the firmware from {hypervisor}: look on the host below"))
        }
        None => Places::Unknown(
            "no file tells it, only a measurement: cyclictest --smi, or the hwlat tracer where the kernel has it".into(),
        ),
    }
    },
    explain: Explain {
        mechanism: "A system management interrupt stops all CPUs, and the kernel does not see it.",
        risk: "None: it is only looked at.",
        when_not: "In guests.",
        applies: "x86. What can be done about it is in the firmware's setup.",
        undo: "Nothing is set.",
        source: "Documentation/trace/hwlat_detector.rst",
        proof: Proof::ReadOnly,
    },
};
