//! Disks: schedulers, merging, completions, polling, and what is only looked at.
//!
//! What holds: partitions and stacked devices (device mapper, MD) are left alone, since they pass requests on to disks
//! that are tuned themselves.

use crate::facts::{Disk, DiskKind, Facts};
use crate::knob::{Accepts, Explain, Knob, Persist, Phase, Places, Proof, Spot};
use crate::place::{Form, Place};

/// The knobs of this area.
pub(super) const KNOBS: &[Knob] = &[
    SCHED,
    NOMERGES,
    RQ_AFFINITY,
    POLL,
    POLL_QUEUES,
    WBT,
    ADD_RANDOM,
    IOSTATS,
    READ_AHEAD,
    APST,
    TRIM,
    DISCARD_MAX,
    WEAR,
    DAX,
    WRITE_CACHE,
];

/// Where the kernel's documentation has the files of `/sys/block`.
const SYSFS_BLOCK: &str = "Documentation/ABI/stable/sysfs-block";

/// A file of each disk's queue.
fn queues(facts: &Facts, file: &str, form: Form, auto: impl Fn(&Disk) -> Option<&'static str>) -> Places {
    let disks = facts.disks.iter().filter(|disk| disk.kind != DiskKind::Other);
    let spot = |disk: &Disk| {
        let place = Place::attribute(format!("/sys/block/{}/queue/{file}", disk.name), form);
        Spot { auto: auto(disk).map(Into::into), ..Spot::new(&disk.name, place) }
    };
    let spots: Vec<_> = disks.map(spot).collect();
    match spots.is_empty() {
        true => Places::NotSupported("this host has no disk of its own".into()),
        false => Places::At(spots),
    }
}

/// A parameter of an NVMe module, with the file where the module shows what it took.
fn nvme_parameter(facts: &Facts, key: &str, file: &str) -> Places {
    if !facts.disks.iter().any(|disk| disk.kind == DiskKind::Nvme) {
        return Places::NotSupported("this host has no NVMe disk".into());
    }
    let spot = Spot::new("", Place::parameter(key, Form::Number));
    Places::At(vec![spot.effect(Place::attribute(file, Form::Number))])
}

const SCHED: Knob = Knob {
    id: "blk.sched",
    title: "scheduler of a disk",
    phase: Phase::Block,
    persist: Persist::Udev,
    accepts: Accepts::Words(&["none", "mq-deadline", "kyber", "bfq", "deadline", "noop"]),
    places: |facts| {
        queues(facts, "scheduler", Form::Choice, |disk| {
            Some(if disk.kind == DiskKind::Nvme { "none" } else { "mq-deadline" })
        })
    },
    explain: Explain {
        mechanism: "A scheduler sorts and holds back requests. An NVMe disk has queues for every CPU and needs no sorting; a disk with one queue gains from deadlines for reads.",
        risk: "With none, a stream of writes can starve reads on a weak SSD.",
        when_not: "Where several programs share a slow disk, bfq keeps them fair.",
        applies: "Kernels since 5.0 have multi-queue schedulers only; 'deadline' is another name of mq-deadline and reads back so.",
        undo: "Write the former word to /sys/block/DISK/queue/scheduler.",
        source: "Documentation/block/switching-sched.rst; commit f382fb0bcef4 (legacy schedulers removed)",
        proof: Proof::TestedVm,
    },
};

const NOMERGES: Knob = Knob {
    id: "blk.nomerges",
    title: "no merging of requests",
    phase: Phase::Block,
    persist: Persist::Udev,
    accepts: Accepts::Number(0, 2),
    places: |facts| queues(facts, "nomerges", Form::Number, |_| None),
    explain: Explain {
        mechanism: "Each request is looked up for neighbours to merge with: time that random access never earns back. 2 looks for none; 1 still tries one-shot merges.",
        risk: "Sequential access becomes many small requests and loses throughput.",
        when_not: "Where files are streamed, such as assets for drawing: leave it at 0.",
        applies: "Every kernel.",
        undo: "Write the former number to /sys/block/DISK/queue/nomerges.",
        source: SYSFS_BLOCK,
        proof: Proof::TestedVm,
    },
};

const RQ_AFFINITY: Knob = Knob {
    id: "blk.rq_affinity",
    title: "CPU that completes a request",
    phase: Phase::Block,
    persist: Persist::Udev,
    accepts: Accepts::Number(0, 2),
    places: |facts| {
        // A completion on the CPU that submitted is what a hot CPU is to be spared.
        let auto = if facts.choice.isolated.is_empty() { "2" } else { "0" };
        queues(facts, "rq_affinity", Form::Number, |_| Some(auto))
    },
    explain: Explain {
        mechanism: "2 completes a request on the very CPU that submitted it, whose cache has the data; 1 on a CPU that shares that one's cache; 0 wherever the interrupt arrives.",
        risk: "2 brings completions onto isolated CPUs if those submit; 0 leaves them all to the CPU that takes the interrupt.",
        when_not: "On NVMe with a queue for each CPU the interrupt arrives at the submitter anyway, whatever stands here.",
        applies: "Every kernel with multi-queue disks.",
        undo: "Write the former number to /sys/block/DISK/queue/rq_affinity.",
        source: SYSFS_BLOCK,
        proof: Proof::TestedVm,
    },
};

const POLL: Knob = Knob {
    id: "blk.poll",
    title: "whether a disk can be polled",
    phase: Phase::Block,
    persist: Persist::Never,
    accepts: Accepts::Flag,
    places: |facts| queues(facts, "io_poll", Form::Flag, |_| None),
    explain: Explain {
        mechanism: "A disk with polled queues completes io_uring's IOPOLL requests without an interrupt.",
        risk: "None: it is only looked at. Polling burns a CPU.",
        when_not: "Where no program asks for IOPOLL.",
        applies: "The file tells whether the driver has polled queues; current kernels ignore what is written to it. See blk.poll.queues.",
        undo: "There is nothing to undo.",
        source: SYSFS_BLOCK,
        proof: Proof::ReadOnly,
    },
};

const POLL_QUEUES: Knob = Knob {
    id: "blk.poll.queues",
    title: "polled queues of NVMe disks",
    phase: Phase::Files,
    persist: Persist::Boot,
    accepts: Accepts::Number(0, 1024),
    places: |facts| nvme_parameter(facts, "nvme.poll_queues", "/sys/module/nvme/parameters/poll_queues"),
    explain: Explain {
        mechanism: "Queues without interrupts, which io_uring's IOPOLL requests go to and are polled on.",
        risk: "They come out of the disk's queues, so others share the rest; whoever polls burns a CPU.",
        when_not: "Where no program asks for IOPOLL.",
        applies: "The nvme driver; it takes the parameter from the kernel's command line also as a module.",
        undo: "Take the parameter off the command line and boot again.",
        source: "Documentation/admin-guide/kernel-parameters.rst (module parameters); drivers/nvme/host/pci.c, poll_queues",
        proof: Proof::Untested,
    },
};

const WBT: Knob = Knob {
    id: "blk.wbt",
    title: "throttling of writeback",
    phase: Phase::Block,
    persist: Persist::Udev,
    accepts: Accepts::Number(0, i32::MAX as i64),
    places: |facts| queues(facts, "wbt_lat_usec", Form::Number, |_| None),
    explain: Explain {
        mechanism: "The kernel holds buffered writes back while reads take longer than this, in us. A thread that waits for its write waits for that, too. 0 turns it off.",
        risk: "A burst of writeback slows reads down.",
        when_not: "Where reads matter more than writes.",
        applies: "CONFIG_BLK_WBT; the file refuses to be read where the disk's driver has none of it.",
        undo: "Write the former number to /sys/block/DISK/queue/wbt_lat_usec; -1 makes it the default.",
        source: SYSFS_BLOCK,
        proof: Proof::Untested,
    },
};

const ADD_RANDOM: Knob = Knob {
    id: "blk.minor.add_random",
    title: "entropy from a disk",
    phase: Phase::Block,
    persist: Persist::Udev,
    accepts: Accepts::Flag,
    places: |facts| queues(facts, "add_random", Form::Flag, |_| None),
    explain: Explain {
        mechanism: "Each completion stirs the kernel's entropy pool: a little work in the path of every request.",
        risk: "None on machines with a hardware source of randomness.",
        when_not: "On a machine without one that starves for entropy at boot.",
        applies: "Every kernel; SSDs and virtual disks mostly have 0 already.",
        undo: "Write the former number to /sys/block/DISK/queue/add_random.",
        source: SYSFS_BLOCK,
        proof: Proof::TestedVm,
    },
};

const IOSTATS: Knob = Knob {
    id: "blk.minor.iostats",
    title: "statistics of a disk",
    phase: Phase::Block,
    persist: Persist::Udev,
    accepts: Accepts::Flag,
    places: |facts| queues(facts, "iostats", Form::Flag, |_| None),
    explain: Explain {
        mechanism: "Each request is timed and counted twice. Without that, the fastest disks save some tens of nanoseconds for each.",
        risk: "iostat and monitoring show nothing any more.",
        when_not: "Wherever anybody watches the disks.",
        applies: "Every kernel.",
        undo: "Write 1 to /sys/block/DISK/queue/iostats.",
        source: SYSFS_BLOCK,
        proof: Proof::TestedVm,
    },
};

const READ_AHEAD: Knob = Knob {
    id: "blk.minor.read_ahead",
    title: "read-ahead of a disk, in KiB",
    phase: Phase::Block,
    persist: Persist::Udev,
    accepts: Accepts::Number(0, 1 << 20),
    places: |facts| queues(facts, "read_ahead_kb", Form::Number, |_| None),
    explain: Explain {
        mechanism: "What is read before it is asked for. It hides the disk from whoever reads in order, and delays whoever reads at random behind pages that nobody wants.",
        risk: "Too little slows programs' start and streaming down.",
        when_not: "Without a measurement of the workload at hand.",
        applies: "Every kernel.",
        undo: "Write the former number to /sys/block/DISK/queue/read_ahead_kb.",
        source: SYSFS_BLOCK,
        proof: Proof::TestedVm,
    },
};

const APST: Knob = Knob {
    id: "nvme.apst",
    title: "power states of NVMe disks",
    phase: Phase::Files,
    persist: Persist::Boot,
    accepts: Accepts::Number(0, i32::MAX as i64),
    places: |facts| {
        let file = "/sys/module/nvme_core/parameters/default_ps_max_latency_us";
        nvme_parameter(facts, "nvme_core.default_ps_max_latency_us", file)
    },
    explain: Explain {
        mechanism: "An idle disk goes to sleep by itself, and its next request waits until it has woken up. The number is the longest such wait that is allowed, in us; 0 lets it sleep never.",
        risk: "The disk stays warm and draws more power.",
        when_not: "On batteries.",
        applies: "NVMe disks with autonomous power state transitions.",
        undo: "Take the parameter off the command line and boot again.",
        source: "drivers/nvme/host/core.c, default_ps_max_latency_us; NVM Express base specification, autonomous power state transitions",
        proof: Proof::Untested,
    },
};

const TRIM: Knob = Knob {
    id: "blk.trim",
    title: "trimming by a timer",
    phase: Phase::Services,
    persist: Persist::Itself,
    accepts: Accepts::Words(super::services::UNIT_STATES),
    places: |facts| super::services::units(facts, &["fstrim.timer"]),
    explain: Explain {
        mechanism: "SSDs must be told what is free. A file system that is mounted with 'discard' tells them at every deletion, in the way of other requests; the timer does it once a week.",
        risk: "Large discards delay everything else on the disk while they last: have the timer's hour be a quiet one (systemctl edit fstrim.timer).",
        when_not: "On disks that do not discard. Where no hour is quiet, mask the timer and trim by hand.",
        applies: "Hosts under systemd. The mount option is looked for by hand: findmnt -O discard.",
        undo: "systemctl unmask, enable or disable, and start or stop, as it was before.",
        source: "fstrim(8); Documentation/ABI/stable/sysfs-block, discard_max_bytes",
        proof: Proof::TestedVm,
    },
};

const DISCARD_MAX: Knob = Knob {
    id: "blk.trim.discard_max",
    title: "largest discard of a disk, in bytes",
    phase: Phase::Block,
    persist: Persist::Udev,
    accepts: Accepts::Number(0, i64::MAX),
    places: |facts| queues(facts, "discard_max_bytes", Form::Number, |_| None),
    explain: Explain {
        mechanism: "Some disks take long over a large discard, and other requests wait behind it. A lower limit splits it.",
        risk: "Trimming takes longer; 0 turns discards off, and the disk slows down for want of free blocks.",
        when_not: "Without having seen discards delay requests.",
        applies: "Disks that discard; it cannot exceed discard_max_hw_bytes.",
        undo: "Write the former number to /sys/block/DISK/queue/discard_max_bytes.",
        source: SYSFS_BLOCK,
        proof: Proof::Untested,
    },
};

const WEAR: Knob = Knob {
    id: "blk.wear",
    title: "wear and spare space of NVMe disks",
    phase: Phase::Block,
    persist: Persist::Never,
    accepts: Accepts::Text,
    places: |facts| match facts.disks.iter().any(|disk| disk.kind == DiskKind::Nvme) {
        true => Places::Unknown(
            "only the disk itself tells, and the tuner does not ask it: `nvme smart-log` and `nvme id-ns` do"
                .into(),
        ),
        false => Places::NotSupported("this host has no NVMe disk".into()),
    },
    explain: Explain {
        mechanism: "A disk that is worn or full collects garbage in the way of requests. Space that was never allocated is what keeps its writes even.",
        risk: "None: it is only looked at. The tuner never partitions.",
        when_not: "On disks that are not NVMe.",
        applies: "NVMe disks: percentage_used of the SMART log; nuse against nsze of the namespace.",
        undo: "There is nothing to undo.",
        source: "NVM Express base specification, SMART / Health Information log; nvme-smart-log(1)",
        proof: Proof::ReadOnly,
    },
};

const DAX: Knob = Knob {
    id: "pmem.dax",
    title: "direct access to persistent memory",
    phase: Phase::Block,
    persist: Persist::Never,
    accepts: Accepts::Flag,
    places: |facts| {
        let disks = facts.disks.iter().filter(|disk| disk.name.starts_with("pmem"));
        let file = |name: &str| Place::attribute(format!("/sys/block/{name}/queue/dax"), Form::Flag);
        let spots: Vec<_> = disks.map(|disk| Spot::new(&disk.name, file(&disk.name))).collect();
        match spots.is_empty() {
            true => Places::NotSupported("this host has no persistent memory".into()),
            false => Places::At(spots),
        }
    },
    explain: Explain {
        mechanism: "A file system mounted with dax=always maps persistent memory itself instead of copies in the page cache.",
        risk: "None: it is only looked at. The tuner never reconfigures namespaces.",
        when_not: "On disks, which have no such thing.",
        applies: "Persistent memory, ext4 and XFS. Optane is sold no more.",
        undo: "There is nothing to undo.",
        source: "Documentation/filesystems/dax.rst; Documentation/ABI/stable/sysfs-block, dax",
        proof: Proof::ReadOnly,
    },
};

/// Why nobody should turn it.
const LOSES_DATA: &str =
    "it changes what the kernel believes of the disk, not the disk: flushes would be left out, and data lost";

const WRITE_CACHE: Knob = Knob {
    id: "blk.write_cache",
    title: "what the kernel believes of a disk's write cache",
    phase: Phase::Block,
    persist: Persist::Never,
    accepts: Accepts::Words(&["write back", "write through"]),
    places: |facts| match queues(facts, "write_cache", Form::Text, |_| None) {
        Places::At(spots) => Places::At(spots.into_iter().map(|spot| spot.fixed(LOSES_DATA)).collect()),
        none => none,
    },
    explain: Explain {
        mechanism: "With 'write through' the kernel sends no flushes: fsync returns at once, and what the disk had not written yet is lost at a power cut.",
        risk: "Loss of data. The tuner never sets it, whatever a profile says.",
        when_not: "Always.",
        applies: "Every kernel. Some tuners set it, on clouds whose disks do not lose what they acknowledged.",
        undo: "If somebody set it: echo 'write back' > /sys/block/DISK/queue/write_cache.",
        source: SYSFS_BLOCK,
        proof: Proof::ReadOnly,
    },
};
