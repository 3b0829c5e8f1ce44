//! The kernel and its boot: which kernel, how it preempts, its clock, its watchdogs, its console.
//!
//! What holds: which kernel is installed, and what protects from attacks, is only looked at.

use super::common::{boot, is_built_without, isolated, without};
use crate::facts::{Facts, Loader};
use crate::knob::{Accepts, Explain, Knob, Persist, Phase, Places, Proof, Spot};
use crate::place::{self, Form, Place};

/// The knobs of this area.
pub(super) const KNOBS: &[Knob] = &[
    RT,
    DEFAULT,
    PREEMPT,
    THREADIRQS,
    TSC,
    IDLE,
    NMI_WATCHDOG,
    WATCHDOG_CPUS,
    SOFT_WATCHDOG,
    MITIGATIONS,
    MACHINE_CHECKS,
    SPLIT_LOCK,
    LOG_LEVEL,
    SERIAL_CONSOLE,
];

const BUILD: &str = "/proc/sys/kernel/version";

const RT: Knob = Knob {
    id: "kern.rt",
    title: "a PREEMPT_RT kernel",
    phase: Phase::Files,
    persist: Persist::Never,
    accepts: Accepts::Auto,
    places: |facts| {
        let spot = Spot::new("", Place::attribute(BUILD, Form::Text));
        Places::one_of(match facts.kernel.is_rt {
            true => spot.auto(facts.kernel.build.clone()),
            false => spot.auto("PREEMPT_RT").fixed(no_rt(facts)),
        })
    },
    explain: Explain {
        mechanism: "Nearly everything in the kernel can be interrupted, so that the longest wait is short. The usual wait is not shorter.",
        risk: "Less throughput. NVIDIA's driver refuses it; it has no transparent huge pages, and on Debian no busy polling.",
        when_not: "With an NVIDIA card, and where the usual wait matters more than the longest.",
        applies: "On Debian: apt install linux-image-rt-amd64.",
        undo: "Boot the former kernel's entry.",
        source: "Linux: kernel/Kconfig.preempt, mm/Kconfig; NVIDIA/open-gpu-kernel-modules issue 1240",
        proof: Proof::ReadOnly,
    },
};

fn no_rt(facts: &Facts) -> String {
    let installed =
        facts.boot.kernels.iter().find(|release| release.contains("-rt-") || release.ends_with("-rt"));
    match (&facts.container, installed) {
        (Some(_), _) => "a container runs on its host's kernel".into(),
        (_, Some(release)) => format!("{release} is installed: boot it"),
        (_, None) => "no PREEMPT_RT kernel was found: Debian's is linux-image-rt-amd64".into(),
    }
}

const DEFAULT: Knob = Knob {
    id: "kern.default",
    title: "the running kernel against the next boot's",
    phase: Phase::Files,
    persist: Persist::Never,
    accepts: Accepts::Auto,
    places: |facts| match (&facts.boot.next_kernel, facts.boot.loader) {
        (_, Loader::Unknown) => Places::NotSupported("no known boot loader starts this host".into()),
        (None, _) => {
            Places::Unknown("the boot loader's configuration cannot be read: run it as root to see".into())
        }
        (Some(next), _) => {
            let spot = Spot::new("", Place::attribute("/proc/sys/kernel/osrelease", Form::Text));
            Places::one_of(spot.auto(next.as_str()).fixed(format!("the next boot starts {next}")))
        }
    },
    explain: Explain {
        mechanism: "The boot loader sorts kernels by name, and 6.1.0-38-amd64 comes before 6.1.0-37-rt-amd64: after an upgrade, a reboot may leave the real-time kernel.",
        risk: "A pinned entry is stale once its kernel is purged.",
        when_not: "With one kernel installed.",
        applies: "GRUB and systemd-boot.",
        undo: "Nothing is set by this knob: GRUB_DEFAULT is where one is pinned.",
        source: "grub-mkconfig's order (sort -V); info grub, GRUB_DEFAULT",
        proof: Proof::ReadOnly,
    },
};

const PREEMPT: Knob = Knob {
    id: "kern.preempt",
    title: "where the kernel can be interrupted",
    phase: Phase::Files,
    persist: Persist::Boot,
    accepts: Accepts::Words(&["full", "lazy", "voluntary", "none"]),
    places: |facts| {
        if facts.kernel.is_rt {
            return Places::NotSupported("a PREEMPT_RT kernel is preemptible everywhere".into());
        }
        if !facts.kernel.build.contains("PREEMPT_DYNAMIC") {
            return Places::NotSupported("this kernel's preemption was chosen when it was built".into());
        }
        let spot = Spot::new("", Place::parameter("preempt", Form::Text));
        boot(
            facts,
            match facts.kernel.has_debugfs {
                true => spot.effect(Place::attribute("/sys/kernel/debug/sched/preempt", Form::Choice)),
                false => spot,
            },
        )
    },
    explain: Explain {
        mechanism: "With full, a thread that wakes need not wait until another's system call ends.",
        risk: "A few percent of throughput.",
        when_not: "On servers that only compute.",
        applies: "Kernels with CONFIG_PREEMPT_DYNAMIC, since 5.12; Debian's is one. lazy since 6.13.",
        undo: "Take preempt= off the kernel's command line and boot.",
        source: "Documentation/admin-guide/kernel-parameters.txt",
        proof: Proof::TestedModel,
    },
};

const THREADIRQS: Knob = Knob {
    id: "kern.threadirqs",
    title: "interrupts handled in threads",
    phase: Phase::Files,
    persist: Persist::Boot,
    accepts: Accepts::Auto,
    places: |facts| match facts.kernel.is_rt {
        true => Places::NotSupported("a PREEMPT_RT kernel does so by itself".into()),
        false if is_built_without(facts, "IRQ_FORCED_THREADING") => without("IRQ_FORCED_THREADING"),
        false => boot(facts, Spot::new("", Place::parameter("threadirqs", Form::Text)).auto("")),
    },
    explain: Explain {
        mechanism: "A thread of higher priority than irq/N-* is not held up by interrupts' handlers.",
        risk: "Each interrupt costs a switch of threads.",
        when_not: "Where a network card's own latency counts.",
        applies: "CONFIG_IRQ_FORCED_THREADING; not PREEMPT_RT, which has it.",
        undo: "Take threadirqs off the kernel's command line and boot.",
        source: "Documentation/admin-guide/kernel-parameters.txt",
        proof: Proof::TestedModel,
    },
};

const TSC: Knob = Knob {
    id: "boot.tsc",
    title: "the clock that time is read from",
    phase: Phase::Files,
    persist: Persist::Never,
    accepts: Accepts::Text,
    places: |facts| {
        let path = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
        let spot = Spot::new("", Place::attribute(path, Form::Text));
        Places::one_of(match facts.clock_source.as_deref() {
            Some("tsc") => spot,
            _ => spot.fixed(
                "the kernel chose another clock: a TSC that it does not trust would give wrong times if forced",
            ),
        })
    },
    explain: Explain {
        mechanism: "The TSC is read in a few ns without entering the kernel. HPET and ACPI's timer take a microsecond and more. nohz_full= needs it.",
        risk: "Forced by tsc=reliable on a machine where it drifts, it makes time wrong.",
        when_not: "In guests, kvm-clock is right where the host moves them.",
        applies: "x86.",
        undo: "Nothing is set.",
        source: "Documentation/admin-guide/kernel-parameters.txt (tsc=); Documentation/timers/timekeeping.rst",
        proof: Proof::ReadOnly,
    },
};

const IDLE: Knob = Knob {
    id: "boot.idle",
    title: "sleep states forbidden on the command line",
    phase: Phase::Files,
    persist: Persist::Never,
    accepts: Accepts::Off,
    places: |_| {
        let spot = |key| {
            Spot::new(key, Place::parameter(key, Form::Text)).fixed(format!(
                "take {key}= off the kernel's command line: cpu.resume_latency does it for the CPUs that need it"
            ))
        };
        Places::At(["idle", "intel_idle.max_cstate", "processor.max_cstate"].map(spot).into())
    },
    explain: Explain {
        mechanism: "idle=poll and max_cstate= keep all CPUs awake for good. The heat takes away the turbo of those that work.",
        risk: "None where they are absent: what is wished is that they are.",
        when_not: "Where a measurement shows that limits by CPU do not do.",
        applies: "x86. intel_idle does not heed processor.max_cstate.",
        undo: "Nothing is set.",
        source: "Documentation/admin-guide/pm/cpuidle.rst and intel_idle.rst",
        proof: Proof::ReadOnly,
    },
};

const NMI_WATCHDOG: Knob = Knob {
    id: "boot.nmi_watchdog",
    title: "the watchdog for CPUs that take no interrupt",
    phase: Phase::Sysctl,
    persist: Persist::Sysctl,
    accepts: Accepts::Flag,
    places: |_| Places::one(Place::sysctl("kernel.nmi_watchdog", Form::Flag)),
    explain: Explain {
        mechanism: "It interrupts every CPU every few seconds, and takes a counter of its performance unit.",
        risk: "A CPU that is stuck is not reported.",
        when_not: "While a kernel's hangs are looked into.",
        applies: "CONFIG_HARDLOCKUP_DETECTOR. Most guests have no counter for it.",
        undo: "sysctl -w kernel.nmi_watchdog=1",
        source: "Documentation/admin-guide/lockup-watchdogs.rst",
        proof: Proof::TestedModel,
    },
};

const WATCHDOG_CPUS: Knob = Knob {
    id: "boot.watchdog_cpumask",
    title: "CPUs that are watched for hangs",
    phase: Phase::Sysctl,
    persist: Persist::Sysctl,
    accepts: Accepts::Cpus,
    places: |facts| {
        isolated(facts, |_| {
            let spot = Spot::new("", Place::sysctl("kernel.watchdog_cpumask", Form::Cpus));
            Places::one_of(spot.auto(facts.choice.housekeeping.to_string()))
        })
    },
    explain: Explain {
        mechanism: "Neither watchdog touches the isolated CPUs any more.",
        risk: "A hang there is not reported.",
        when_not: "Where nothing is isolated. nohz_full= sets it by itself.",
        applies: "Kernels with a lockup detector.",
        undo: "sysctl -w kernel.watchdog_cpumask= and the former list.",
        source: "Documentation/admin-guide/lockup-watchdogs.rst",
        proof: Proof::TestedModel,
    },
};

const SOFT_WATCHDOG: Knob = Knob {
    id: "boot.soft_watchdog",
    title: "the watchdog for threads that hog a CPU",
    phase: Phase::Sysctl,
    persist: Persist::Sysctl,
    accepts: Accepts::Flag,
    places: |_| Places::one(Place::sysctl("kernel.soft_watchdog", Form::Flag)),
    explain: Explain {
        mechanism: "Its timer runs on every watched CPU every few seconds.",
        risk: "A thread that hogs a CPU in the kernel is not reported.",
        when_not: "With boot.watchdog_cpumask, which keeps it off the isolated CPUs and on for the others.",
        applies: "CONFIG_SOFTLOCKUP_DETECTOR. At boot, nosoftlockup does the same.",
        undo: "sysctl -w kernel.soft_watchdog=1",
        source: "Documentation/admin-guide/sysctl/kernel.rst",
        proof: Proof::TestedModel,
    },
};

const MITIGATIONS: Knob = Knob {
    id: "sec.mitigations",
    title: "protection from the processor's weaknesses",
    phase: Phase::Files,
    persist: Persist::Never,
    accepts: Accepts::Text,
    places: |facts| {
        let path = |name: &str| format!("/sys/devices/system/cpu/vulnerabilities/{name}");
        let spot = |name: &String| Spot::new(name.as_str(), Place::attribute(path(name), Form::Text));
        Places::At(facts.kernel.vulnerabilities.iter().map(spot).collect())
    },
    explain: Explain {
        mechanism: "Some make every entry into the kernel slower. Threads that spin in user space hardly pay.",
        risk: "Without them, one program can read another's memory.",
        when_not: "The tuner never turns them off, and advises nobody to.",
        applies: "Each processor its own.",
        undo: "Nothing is set.",
        source: "Documentation/admin-guide/hw-vuln/",
        proof: Proof::ReadOnly,
    },
};

const MACHINE_CHECKS: Knob = Knob {
    id: "cpu.mce",
    title: "corrected machine checks left alone",
    phase: Phase::CpuPower,
    persist: Persist::Unit,
    accepts: Accepts::Flag,
    places: |facts| match facts.kernel.has_machine_checks {
        false => Places::NotSupported("this kernel or host handles no machine checks".into()),
        // One setting for all CPUs, though each has the file.
        true => Places::one(Place::attribute(
            "/sys/devices/system/machinecheck/machinecheck0/ignore_ce",
            Form::Flag,
        )),
    },
    explain: Explain {
        mechanism: "The kernel looks for corrected errors every few minutes on every CPU; each look takes long.",
        risk: "Memory that begins to fail is no longer noticed before it fails.",
        when_not: "Where nobody watches the memory by other means, such as the server's management controller.",
        applies: "x86 outside most guests.",
        undo: "Write 0 to the file.",
        source: "Documentation/arch/x86/x86_64/machinecheck.rst; TuneD's realtime",
        proof: Proof::TestedModel,
    },
};

const SPLIT_LOCK: Knob = Knob {
    id: "cpu.split_lock",
    title: "punishing programs that lock across cache lines",
    phase: Phase::Sysctl,
    persist: Persist::Sysctl,
    accepts: Accepts::Flag,
    places: |_| Places::one(Place::sysctl("kernel.split_lock_mitigate", Form::Flag)),
    explain: Explain {
        mechanism: "A program that does it sleeps 10 ms each time, so that others suffer less.",
        risk: "Without it, a program that does it slows the whole machine down.",
        when_not: "Where programs run that are not trusted.",
        applies: "x86 processors that detect it, since 6.2. A program without split locks is never punished.",
        undo: "sysctl -w kernel.split_lock_mitigate=1",
        source: "Documentation/admin-guide/sysctl/kernel.rst",
        proof: Proof::TestedModel,
    },
};

const LOG_LEVEL: Knob = Knob {
    id: "log.console",
    title: "what the kernel prints on consoles",
    phase: Phase::Sysctl,
    persist: Persist::Sysctl,
    accepts: Accepts::Number(1, 15),
    places: |_| Places::one(Place::sysctl("kernel.printk", Form::First)),
    explain: Explain {
        mechanism: "Whoever prints waits for slow consoles, with interrupts off. Less is printed at level 4: errors and worse.",
        risk: "Warnings are in the log only, not on the screen.",
        when_not: "While a crash is looked into whose last words matter.",
        applies: "Every kernel.",
        undo: "sysctl -w kernel.printk= and the former four numbers.",
        source: "Documentation/admin-guide/sysctl/kernel.rst",
        proof: Proof::TestedModel,
    },
};

const SERIAL_CONSOLE: Knob = Knob {
    id: "log.serial",
    title: "a console on a serial line",
    phase: Phase::Files,
    persist: Persist::Never,
    accepts: Accepts::Auto,
    places: |facts| {
        let is_serial = |console: &&str| console.starts_with("ttyS") || console.starts_with("ttyAMA");
        let consoles = place::parameter(&facts.kernel.command_line, "console").unwrap_or_default();
        let (serial, others): (Vec<_>, Vec<_>) = consoles.split_whitespace().partition(is_serial);
        let spot = Spot::new("", Place::parameter("console", Form::Text));
        Places::one_of(match serial.is_empty() {
            true if others.is_empty() => spot,
            true => spot.auto(others.join(" ")),
            false => spot.auto(others.join(" ")).fixed(format!(
                "take console={} off the kernel's command line, unless it is the only way to see the host",
                serial.join(" and console=")
            )),
        })
    },
    explain: Explain {
        mechanism: "At 115200 baud, a line of 80 letters takes 7 ms, and whoever prints it waits.",
        risk: "A crash leaves no trace on the line.",
        when_not: "Where the line is the only way to see the host boot.",
        applies: "Every kernel.",
        undo: "Nothing is set.",
        source: "Documentation/admin-guide/serial-console.rst; TuneD's optimize-serial-console",
        proof: Proof::ReadOnly,
    },
};
