//! Commands that are copied from guide to guide, each with what became of it and what to do instead.
//!
//! What holds: none of them is a setting of its own. Whoever has copied one finds it here by `explain`, and the knob
//! that does what was meant.

use super::gpu::nvidia;
use crate::facts::Facts;
use crate::knob::{Accepts, Explain, Knob, Persist, Phase, Places, Proof};

/// The knobs of this area.
pub(super) const KNOBS: &[Knob] = &[
    TCP_LOW_LATENCY,
    TCP_NO_DELAY,
    SCHEDULER_DEADLINE,
    NOMERGES_1,
    RQ_AFFINITY_2,
    THP_ALWAYS,
    NR_HUGEPAGES,
    SWAPOFF,
    IRQ_SMP_AFFINITY,
    CPU_FREQUENCY,
    RT_KERNEL,
    ISOLCPUS,
    NOHZ_FULL,
    RCU_NOCBS,
    EDIT_GRUB,
    NVIDIA_PM,
    NVIDIA_AC,
    NVIDIA_LGC,
    SYSTEMCTL_DISABLE,
    OPTANE,
];

/// A command's verdict.
struct Verdict {
    id: &'static str,
    /// The command.
    title: &'static str,
    places: fn(&Facts) -> Places,
    /// What it does today.
    does: &'static str,
    risk: &'static str,
    instead: &'static str,
    applies: &'static str,
    undo: &'static str,
    source: &'static str,
}

const fn seed(verdict: Verdict) -> Knob {
    Knob {
        id: verdict.id,
        title: verdict.title,
        phase: Phase::Sysctl,
        persist: Persist::Never,
        accepts: Accepts::Auto,
        places: verdict.places,
        explain: Explain {
            mechanism: verdict.does,
            risk: verdict.risk,
            when_not: verdict.instead,
            applies: verdict.applies,
            undo: verdict.undo,
            source: verdict.source,
            proof: Proof::ReadOnly,
        },
    }
}

/// One sentence for the audit.
fn says(why: &str) -> Places {
    Places::Obsolete(why.into())
}

/// One for hosts with NVIDIA's card and driver.
fn of_nvidia(facts: &Facts, why: &str) -> Places {
    nvidia(facts).map_or_else(|none| none, |_| says(why))
}

const TCP_LOW_LATENCY: Knob = seed(Verdict {
    id: "seed.tcp_low_latency",
    title: "sysctl net.ipv4.tcp_low_latency=1",
    places: |_| says("net.ipv4.tcp_low_latency has no effect since 4.14, though it can be written"),
    does: "Nothing. It chose whether TCP used its prequeue, which is gone; the file is still there, so that writing it looks like success.",
    risk: "None, but for the belief that something was done.",
    instead: "Instead: Take the line out. For latency: tcp.slow_start_after_idle, tcp.autocorking, and TCP_NODELAY in the program.",
    applies: "It was without effect from kernel 4.14 on.",
    undo: "sysctl -w net.ipv4.tcp_low_latency=0, and remove the line from /etc/sysctl.conf or /etc/sysctl.d.",
    source: "Documentation/networking/ip-sysctl.rst: 'This is a legacy option, it has no effect anymore.'",
});

const TCP_NO_DELAY: Knob = seed(Verdict {
    id: "seed.tcp_no_delay",
    title: "sysctl net.ipv4.tcp_no_delay=1",
    places: |_| {
        says("there is no net.ipv4.tcp_no_delay: TCP_NODELAY is an option that a program sets on its socket")
    },
    does: "Nothing: no kernel has such a sysctl, and sysctl says so.",
    risk: "A sysctl file with this line has an error in it at every boot.",
    instead: "Instead: Have the program call setsockopt(TCP_NODELAY). For small writes that are gathered nevertheless: tcp.autocorking.",
    applies: "No kernel.",
    undo: "Remove the line from /etc/sysctl.conf or /etc/sysctl.d.",
    source: "tcp(7), TCP_NODELAY; Documentation/networking/ip-sysctl.rst does not list it",
});

const SCHEDULER_DEADLINE: Knob = seed(Verdict {
    id: "seed.scheduler_deadline",
    title: "echo deadline > /sys/block/DISK/queue/scheduler",
    places: |_| {
        says("'deadline' is another name of mq-deadline today: blk.sched chooses by the kind of disk")
    },
    does: "It chooses mq-deadline, whose other name it is, and reads back [mq-deadline]: scripts that look for their own word believe it failed.",
    risk: "On NVMe, a scheduler that only costs.",
    instead: "Instead: blk.sched = auto: none for NVMe, mq-deadline for SATA and virtio.",
    applies: "Kernels since 5.0; before, deadline was a scheduler of its own.",
    undo: "Write the former word to the file.",
    source: "block/mq-deadline.c, .elevator_alias; commit f382fb0bcef4",
});

const NOMERGES_1: Knob = seed(Verdict {
    id: "seed.nomerges_1",
    title: "echo 1 > /sys/block/DISK/queue/nomerges",
    places: |_| {
        says("1 still tries one-shot merges: blk.nomerges takes 2 for random access, 0 for streaming")
    },
    does: "A half: it looks for no merges in the whole queue, and tries the simple ones still.",
    risk: "Streaming loses throughput.",
    instead: "Instead: blk.nomerges = 2 where access is random, 0 where files are streamed.",
    applies: "Every kernel.",
    undo: "Write the former number to the file.",
    source: "Documentation/ABI/stable/sysfs-block, nomerges",
});

const RQ_AFFINITY_2: Knob = seed(Verdict {
    id: "seed.rq_affinity_2",
    title: "echo 2 > /sys/block/DISK/queue/rq_affinity",
    places: |_| {
        says(
            "2 completes on the CPU that submitted, also if that is isolated: blk.rq_affinity = auto minds that",
        )
    },
    does: "It completes each request on the CPU that submitted it.",
    risk: "Completions arrive on isolated CPUs as soon as a thread there submits.",
    instead: "Instead: blk.rq_affinity = auto: 0 where CPUs are isolated, 2 elsewhere.",
    applies: "Every kernel.",
    undo: "Write the former number to the file.",
    source: "Documentation/ABI/stable/sysfs-block, rq_affinity",
});

const THP_ALWAYS: Knob = seed(Verdict {
    id: "seed.thp_always",
    title: "echo always > /sys/kernel/mm/transparent_hugepage/enabled",
    places: |facts| match facts.kernel.is_rt {
        true => Places::NotSupported("a PREEMPT_RT kernel has no transparent huge pages".into()),
        false => says("'always' is for throughput, and stalls page faults: mem.thp takes madvise or never"),
    },
    does: "The kernel makes huge pages for every program, and compacts memory for them while the program waits in a page fault.",
    risk: "Stalls of milliseconds, just where memory is fragmented; more memory in use.",
    instead: "Instead: mem.thp = madvise or never, and mem.thp_defrag: that one is the knob of the stalls.",
    applies: "Kernels without PREEMPT_RT.",
    undo: "Write the former word to the file.",
    source: "Documentation/admin-guide/mm/transhuge.rst; TuneD's network-latency uses never",
});

const NR_HUGEPAGES: Knob = seed(Verdict {
    id: "seed.nr_hugepages",
    title: "sysctl vm.nr_hugepages=1024",
    places: |_| says("the kernel may give fewer without an error: mem.huge2m reads back what it gave"),
    does: "It asks for 2 GiB of huge pages; on a fragmented memory the kernel gives fewer, and sysctl says nothing.",
    risk: "Programs that count on them fail later; what was given is lost to all others.",
    instead: "Instead: mem.huge2m with the number that the workload maps; it is set at boot again, and read back.",
    applies: "Every kernel with CONFIG_HUGETLBFS.",
    undo: "sysctl -w vm.nr_hugepages= and the former number.",
    source: "Documentation/admin-guide/mm/hugetlbpage.rst",
});

const SWAPOFF: Knob = seed(Verdict {
    id: "seed.swapoff",
    title: "swapoff -a",
    places: |_| {
        says("it lasts until the next boot, and can run out of memory midway: mem.swap looks for room first")
    },
    does: "It reads everything back that is swapped out, which takes long, and holds until the next boot: fstab, units and zram bring swap back.",
    risk: "The kernel kills processes if memory does not suffice.",
    instead: "Instead: mem.swap, which needs 1.2 times as much free memory as is swapped out, or mem.swappiness; and mlock in the program.",
    applies: "Every kernel.",
    undo: "swapon -a; priorities that were given by hand are lost.",
    source: "swapoff(8); swapon(2)",
});

const IRQ_SMP_AFFINITY: Knob = seed(Verdict {
    id: "seed.irq_smp_affinity",
    title: "echo 0f > /proc/irq/24/smp_affinity",
    places: |_| says("numbers of interrupts change from boot to boot: irq.affinity goes by who handles them"),
    does: "It places whatever interrupt has that number today. irqbalance places it elsewhere again; managed ones refuse with EIO.",
    risk: "The wrong interrupt is placed after the next boot, or after a card made its queues anew.",
    instead: "Instead: irq.affinity = housekeeping: it goes by the handler's name, and reads effective_affinity_list back.",
    applies: "Every kernel.",
    undo: "Write the former mask to the file.",
    source: "Documentation/core-api/irq/irq-affinity.rst; /sys/kernel/irq/N/actions",
});

const CPU_FREQUENCY: Knob = seed(Verdict {
    id: "seed.cpu_frequency_lock",
    title: "cpupower frequency-set -d MAX -u MAX",
    places: |_| {
        says("at its highest turbo clock a CPU throttles: cpu.freq_lock wants one that all cores can hold")
    },
    does: "It pins clocks at a height that the CPU holds with one busy core, for moments.",
    risk: "The jitter of changing clocks becomes that of throttling.",
    instead: "Instead: cpu.governor = performance; cpu.freq_lock with a clock that all cores hold; cpu.throttle shows whether they do.",
    applies: "Hosts with cpufreq; guests have none.",
    undo: "cpupower frequency-set -d MIN -u MAX with the hardware's limits.",
    source: "Documentation/admin-guide/pm/cpufreq.rst",
});

const RT_KERNEL: Knob = seed(Verdict {
    id: "seed.linux_image_rt",
    title: "apt install linux-image-rt-amd64",
    places: |facts| match facts.kernel.is_rt {
        true => says("it runs already: kern.rt and kern.default see to it that it stays"),
        false => {
            says("installing is not booting: kern.rt looks at what runs, kern.default at what boots next")
        }
    },
    does: "It installs a real-time kernel. Which kernel boots goes by version numbers, so that the next update of the other flavour may win.",
    risk: "NVIDIA's driver does not build for it, and it has neither transparent huge pages nor (on Debian) busy polling.",
    instead: "Instead: Simulate it with apt-get -s first, look for DKMS modules, then kern.default pins the entry.",
    applies: "Debian.",
    undo: "Boot the former kernel's entry; the package can stay.",
    source: "NVIDIA/open-gpu-kernel-modules#1240; Debian's linux-config, config.amd64_rt",
});

const ISOLCPUS: Knob = seed(Verdict {
    id: "seed.isolcpus",
    title: "isolcpus=4-7",
    places: |_| {
        says(
            "it leaves interrupts and siblings of cores alone: boot.isolcpus, boot.irqaffinity and cg.partition do all of it",
        )
    },
    does: "It keeps the scheduler's balancing off these CPUs, for good until the next boot. Interrupts still arrive there.",
    risk: "CPUs that share a core with housekeeping ones are isolated by half; threads placed there are not balanced.",
    instead: "Instead: boot.isolcpus (managed_irq), boot.irqaffinity and cg.partition, for CPUs that topology chooses.",
    applies: "Every kernel.",
    undo: "Take it off the command line and boot again.",
    source: "Documentation/admin-guide/cpu-isolation.rst; kernel-parameters.txt, isolcpus=",
});

const NOHZ_FULL: Knob = seed(Verdict {
    id: "seed.nohz_full",
    title: "nohz_full=4-7",
    places: |_| {
        says(
            "it slows threads down that make system calls: boot.nohz_full is for those that spin, one to a CPU",
        )
    },
    does: "It stops the tick on these CPUs while one task is on each. Every way into the kernel and out takes longer.",
    risk: "Threads that make many system calls, such as those that draw, become slower.",
    instead: "Instead: boot.nohz_full in a profile whose hot threads spin in user space.",
    applies: "CONFIG_NO_HZ_FULL.",
    undo: "Take it off the command line and boot again.",
    source: "Documentation/timers/no_hz.rst; Documentation/admin-guide/cpu-isolation.rst",
});

const RCU_NOCBS: Knob = seed(Verdict {
    id: "seed.rcu_nocbs",
    title: "rcu_nocbs=4-7",
    places: |_| says("nohz_full implies it for the same CPUs: boot.rcu_nocbs is for those without"),
    does: "It moves RCU's callbacks off these CPUs into threads. With nohz_full for the same CPUs it says what is so already.",
    risk: "None worth mentioning beside nohz_full.",
    instead: "Instead: boot.rcu_nocbs, only where nohz_full is not used.",
    applies: "CONFIG_RCU_NOCB_CPU.",
    undo: "Take it off the command line and boot again.",
    source: "Documentation/admin-guide/kernel-parameters.txt, rcu_nocbs= and nohz_full=",
});

const EDIT_GRUB: Knob = seed(Verdict {
    id: "seed.edit_grub",
    title: "editing GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub",
    places: |_| {
        says("drop-ins that are read later often overwrite it: the tuner keeps one of its own, which appends")
    },
    does: "It sets a variable that files in /etc/default/grub.d may set anew, as images of cloud providers do; and nothing before update-grub.",
    risk: "A typing error is found at the next boot.",
    instead: "Instead: Have the tuner apply: its drop-in is read last and appends, and is tried once before it stays.",
    applies: "Debian and its kin with GRUB.",
    undo: "Take the words out and run update-grub.",
    source: "grub-mkconfig of grub-common sources /etc/default/grub.d/*.cfg after /etc/default/grub",
});

const NVIDIA_PM: Knob = seed(Verdict {
    id: "seed.nvidia_smi_pm",
    title: "nvidia-smi -pm 1",
    places: |facts| of_nvidia(facts, "it is NVIDIA's legacy way: gpu.persist runs nvidia-persistenced"),
    does: "It keeps the driver's state until the next boot, by a way that NVIDIA calls legacy and near its end.",
    risk: "Some watts while idle.",
    instead: "Instead: gpu.persist = enabled active.",
    applies: "NVIDIA's driver.",
    undo: "nvidia-smi -pm 0.",
    source: "NVIDIA, Driver Persistence (docs.nvidia.com/deploy/driver-persistence)",
});

const NVIDIA_AC: Knob = seed(Verdict {
    id: "seed.nvidia_smi_ac",
    title: "nvidia-smi -ac 4001,1950",
    places: |facts| {
        of_nvidia(
            facts,
            "application clocks are deprecated since CUDA 13.0, and gone with 14.0: gpu.lgc locks clocks",
        )
    },
    does: "It asks for application clocks; the pair must be one of this very card's. NVIDIA has deprecated them with CUDA 13.0 and removes them with 14.0.",
    risk: "Another card's numbers are refused, or mean something else.",
    instead: "Instead: gpu.lgc with a range from `nvidia-smi -q -d SUPPORTED_CLOCKS`.",
    applies: "NVIDIA's driver.",
    undo: "nvidia-smi -rac.",
    source: "NVML API reference, deprecations (nvmlDeviceSetApplicationsClocks); KernelTuner/kernel_tuner#134",
});

const NVIDIA_LGC: Knob = seed(Verdict {
    id: "seed.nvidia_smi_lgc",
    title: "nvidia-smi -lgc MIN,MAX",
    places: |facts| {
        of_nvidia(facts, "it is the right way, and gone with the driver or a boot: gpu.lgc sets it again")
    },
    does: "It locks the graphics clocks, until the driver is loaded anew. That it succeeds does not mean that the card keeps the lower end.",
    risk: "Throttling at clocks that the card cannot hold.",
    instead: "Instead: gpu.lgc, which comes back at boot; look at gpu.reasons under load.",
    applies: "NVIDIA's cards since Volta.",
    undo: "nvidia-smi -rgc.",
    source: "NVML, nvmlDeviceSetGpuLockedClocks; NVIDIA/open-gpu-kernel-modules#1314",
});

const SYSTEMCTL_DISABLE: Knob = seed(Verdict {
    id: "seed.systemctl_disable",
    title: "systemctl disable bluetooth cups networkd-dispatcher",
    places: |_| {
        says(
            "it stops nothing that runs, and sockets and timers start it again: svc.noise.* go with all of these",
        )
    },
    does: "It takes services out of the next boot. What runs goes on; cups comes back by its socket and path.",
    risk: "One believes them gone.",
    instead: "Instead: svc.noise.bluetooth, svc.noise.printing, svc.noise.dispatcher: each stops and masks the service with what triggers it.",
    applies: "Hosts under systemd.",
    undo: "systemctl enable and start each that was so before.",
    source: "systemctl(1), disable, mask and --now",
});

const OPTANE: Knob = seed(Verdict {
    id: "seed.optane_dax",
    title: "Optane with DAX",
    places: |_| says("Optane is sold no more: pmem.dax tells whether this host has persistent memory"),
    does: "Persistent memory that a file system maps directly. Intel has ended Optane.",
    risk: "Setting up a namespace destroys what is on it.",
    instead: "Instead: pmem.dax, which only looks. For a journal, an NVMe disk with power-loss protection.",
    applies: "Machines that have it still.",
    undo: "There is nothing to undo.",
    source: "Documentation/filesystems/dax.rst",
});
