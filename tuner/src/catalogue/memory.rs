//! Memory: huge pages, transparent huge pages, swap, and what the kernel does to memory by itself.
//!
//! What holds: every state can be put back by writing it. Where the kernel keeps a limit in one of two files, of which
//! only the one in use takes its former state again, that one is the place.

use crate::facts::Facts;
use crate::knob::{Accepts, Explain, Knob, Persist, Phase, Places, Proof, Spot};
use crate::place::{Form, Place};
use std::path::Path;

/// The knobs of this area.
pub(super) const KNOBS: &[Knob] = &[
    THP,
    THP_DEFRAG,
    KHUGEPAGED,
    HUGE_2M,
    HUGE_1G,
    KSM,
    COMPACTION,
    WATERMARK_BOOST,
    DIRTY_BACKGROUND,
    DIRTY,
    ZONE_RECLAIM,
    SWAPPINESS,
    ZSWAP,
    SWAP,
    ZRAM,
];

const NO_THP_ON_RT: &str = "a PREEMPT_RT kernel has no transparent huge pages";

const THP: Knob = Knob {
    id: "mem.thp",
    title: "transparent huge pages",
    phase: Phase::Sysctl,
    persist: Persist::Unit,
    accepts: Accepts::Words(&["always", "madvise", "never"]),
    places: |facts| match facts.kernel.is_rt {
        true => Places::NotSupported(NO_THP_ON_RT.into()),
        false => Places::one(Place::attribute("/sys/kernel/mm/transparent_hugepage/enabled", Form::Choice)),
    },
    explain: Explain {
        mechanism: "With 'always', the kernel compacts memory and moves pages to make huge ones while a program waits in a page fault.",
        risk: "Programs that never asked for huge pages by madvise lose them, and with them a few percent of throughput.",
        when_not: "Where graphics or CUDA programs rely on them, 'madvise' serves both.",
        applies: "Kernels with CONFIG_TRANSPARENT_HUGEPAGE, which excludes PREEMPT_RT. Running programs keep what they have.",
        undo: "Write the former word to the file; programs that were started meanwhile keep small pages until they are started again.",
        source: "Documentation/admin-guide/mm/transhuge.rst; TuneD's network-latency uses 'never'",
        proof: Proof::TestedModel,
    },
};

const HUGE_2M: Knob = Knob {
    id: "mem.huge2m",
    title: "huge pages of 2 MiB",
    phase: Phase::HugePages,
    persist: Persist::Unit,
    accepts: Accepts::Number(0, 1 << 24),
    places: |facts| huge_pages(facts, 2048),
    explain: Explain {
        mechanism: "One entry of the TLB covers 2 MiB instead of 4 KiB; pages that are set aside never fault for lack of memory in one piece.",
        risk: "What is set aside is lost for everything else, and a fragmented memory gives fewer than were asked for, without an error.",
        when_not: "Where no program maps them.",
        applies: "CONFIG_HUGETLBFS; sizes by processor. With several nodes, they are set aside on the isolated CPUs' node.",
        undo: "Write the former number; pages in use stay as surplus until they are freed.",
        source: "Documentation/admin-guide/mm/hugetlbpage.rst",
        proof: Proof::TestedModel,
    },
};

fn huge_pages(facts: &Facts, size_kib: u64) -> Places {
    if !facts.memory.huge_page_sizes_kib.contains(&size_kib) {
        return Places::NotSupported(format!("this kernel offers no pages of {size_kib} KiB"));
    }
    let file = format!("hugepages/hugepages-{size_kib}kB/nr_hugepages");
    let nodes = facts.topology.nodes();
    let near = |node: &usize| !facts.topology.node(*node).and(&facts.choice.isolated).is_empty();
    let mut spots: Vec<_> = nodes
        .iter()
        .filter(|node| nodes.len() > 1 && near(node))
        .map(|node| {
            let path = format!("/sys/devices/system/node/node{node}/{file}");
            Spot::new(format!("node {node}"), Place::attribute(path, Form::Number))
        })
        .collect();
    if spots.is_empty() {
        spots.push(Spot::new("", Place::attribute(format!("/sys/kernel/mm/{file}"), Form::Number)));
    }
    Places::At(spots)
}

const SWAPPINESS: Knob = Knob {
    id: "mem.swappiness",
    title: "readiness to swap",
    phase: Phase::Sysctl,
    persist: Persist::Sysctl,
    accepts: Accepts::Number(0, 200),
    places: |_| Places::one(Place::sysctl("vm.swappiness", Form::Number)),
    explain: Explain {
        mechanism: "A page that was swapped out costs a disk read at its next touch. Lower values have the kernel drop file pages first.",
        risk: "Less room for the page cache under memory pressure.",
        when_not: "With zram or zswap, where swapping is cheaper than reading files again.",
        applies: "Every kernel.",
        undo: "sysctl -w vm.swappiness= and the former number.",
        source: "Documentation/admin-guide/sysctl/vm.rst",
        proof: Proof::TestedModel,
    },
};

const THP_DEFRAG: Knob = Knob {
    id: "mem.thp_defrag",
    title: "waiting for transparent huge pages",
    phase: Phase::Sysctl,
    persist: Persist::Unit,
    accepts: Accepts::Words(&["always", "defer", "defer+madvise", "madvise", "never"]),
    places: |facts| match facts.kernel.is_rt {
        true => Places::NotSupported(NO_THP_ON_RT.into()),
        false => Places::one(Place::attribute("/sys/kernel/mm/transparent_hugepage/defrag", Form::Choice)),
    },
    explain: Explain {
        mechanism: "With 'always', a page fault waits until memory was compacted. With 'defer', a kernel thread does it later.",
        risk: "Fewer huge pages.",
        when_not: "'defer+madvise' still lets those wait that asked for huge pages.",
        applies: "CONFIG_TRANSPARENT_HUGEPAGE, which excludes PREEMPT_RT.",
        undo: "Write the former word to the file.",
        source: "Documentation/admin-guide/mm/transhuge.rst",
        proof: Proof::TestedModel,
    },
};

const KHUGEPAGED: Knob = Knob {
    id: "mem.khugepaged",
    title: "compacting for transparent huge pages in the background",
    phase: Phase::Sysctl,
    persist: Persist::Unit,
    accepts: Accepts::Flag,
    places: |facts| match facts.kernel.is_rt {
        true => Places::NotSupported(NO_THP_ON_RT.into()),
        false => {
            Places::one(Place::attribute("/sys/kernel/mm/transparent_hugepage/khugepaged/defrag", Form::Flag))
        }
    },
    explain: Explain {
        mechanism: "khugepaged moves pages together while programs use them; whoever touches one waits.",
        risk: "Fewer huge pages in programs that run for long.",
        when_not: "Where throughput counts.",
        applies: "CONFIG_TRANSPARENT_HUGEPAGE, which excludes PREEMPT_RT.",
        undo: "Write the former number to the file.",
        source: "Documentation/admin-guide/mm/transhuge.rst",
        proof: Proof::TestedModel,
    },
};

const HUGE_1G: Knob = Knob {
    id: "mem.huge1g",
    title: "huge pages of 1 GiB",
    phase: Phase::HugePages,
    persist: Persist::Unit,
    accepts: Accepts::Number(0, 1 << 14),
    places: |facts| huge_pages(facts, 1 << 20),
    explain: Explain {
        mechanism: "One entry of the TLB covers 1 GiB.",
        risk: "What is set aside is lost for everything else. On a host that has run for a while, there is seldom 1 GiB in one piece: fewer come than were asked for, without an error.",
        when_not: "Where no program maps them.",
        applies: "x86 processors with pdpe1gb. hugepagesz=1G hugepages=N on the kernel's command line finds room most surely.",
        undo: "Write the former number; pages in use stay as surplus until they are freed.",
        source: "Documentation/admin-guide/mm/hugetlbpage.rst",
        proof: Proof::TestedModel,
    },
};

const KSM: Knob = Knob {
    id: "mem.ksm",
    title: "merging of equal pages",
    phase: Phase::Sysctl,
    persist: Persist::Unit,
    accepts: Accepts::Number(0, 2),
    places: |facts| {
        let spot = Spot::new("", Place::attribute("/sys/kernel/mm/ksm/run", Form::Number));
        // 2 also takes apart what was merged. Where nothing ever was, 0 is as good.
        Places::one_of(spot.auto(if facts.memory.merged_pages { "2" } else { "0" }))
    },
    explain: Explain {
        mechanism: "A write to a merged page faults and copies it. The scanner takes a CPU and pushes data out of caches.",
        risk: "Memory that merging saved is needed again, at once.",
        when_not: "On hosts of many similar guests that live by it.",
        applies: "CONFIG_KSM.",
        undo: "Write the former number; what was taken apart is merged again as the scanner comes by.",
        source: "Documentation/admin-guide/mm/ksm.rst",
        proof: Proof::TestedModel,
    },
};

const COMPACTION: Knob = Knob {
    id: "mem.compaction",
    title: "compacting memory in advance",
    phase: Phase::Sysctl,
    persist: Persist::Sysctl,
    accepts: Accepts::Number(0, 100),
    places: |_| Places::one(Place::sysctl("vm.compaction_proactiveness", Form::Number)),
    explain: Explain {
        mechanism: "kcompactd moves pages twice a second while memory is fragmented; whoever touches one waits.",
        risk: "Memory in one piece is scarcer: set huge pages aside before.",
        when_not: "Where huge pages are taken while the host runs.",
        applies: "CONFIG_COMPACTION, since 5.9.",
        undo: "sysctl -w vm.compaction_proactiveness=20",
        source: "Documentation/admin-guide/sysctl/vm.rst",
        proof: Proof::TestedModel,
    },
};

const WATERMARK_BOOST: Knob = Knob {
    id: "mem.watermark_boost",
    title: "reclaiming more where memory is fragmented",
    phase: Phase::Sysctl,
    persist: Persist::Sysctl,
    accepts: Accepts::Number(0, 1_000_000),
    places: |_| Places::one(Place::sysctl("vm.watermark_boost_factor", Form::Number)),
    explain: Explain {
        mechanism: "Where kinds of memory mix in one block, kswapd reclaims in bursts, though memory is not short.",
        risk: "Memory fragments sooner.",
        when_not: "Where huge pages are taken while the host runs.",
        applies: "Since 5.0.",
        undo: "sysctl -w vm.watermark_boost_factor=15000",
        source: "Documentation/admin-guide/sysctl/vm.rst",
        proof: Proof::TestedModel,
    },
};

const DIRTY_BACKGROUND: Knob = Knob {
    id: "mem.dirty_background",
    title: "where writing back begins",
    phase: Phase::Sysctl,
    persist: Persist::Sysctl,
    accepts: Accepts::Auto,
    places: |facts| dirty(facts, "dirty_background", facts.memory.dirty_background_in_bytes, 3),
    explain: Explain {
        mechanism: "Disks are kept busy a little all the time instead of much at once. auto is 3 % of memory.",
        risk: "Files that are soon removed are written nevertheless.",
        when_not: "On hosts that write many short-lived files.",
        applies: "Every kernel. A limit in bytes stays in bytes, one in percent in percent: writing one drops the other, and bytes cannot be set back to 0.",
        undo: "sysctl -w vm.dirty_background_ratio= and the former number.",
        source: "Documentation/admin-guide/sysctl/vm.rst; TuneD's latency-performance",
        proof: Proof::TestedModel,
    },
};

const DIRTY: Knob = Knob {
    id: "mem.dirty",
    title: "where writers must wait for disks",
    phase: Phase::Sysctl,
    persist: Persist::Sysctl,
    accepts: Accepts::Auto,
    places: |facts| dirty(facts, "dirty", facts.memory.dirty_in_bytes, 10),
    explain: Explain {
        mechanism: "The less may wait to be written, the shorter is the longest burst. auto is 10 % of memory.",
        risk: "Programs that write much wait sooner.",
        when_not: "On hosts that write much at once and can wait for it.",
        applies: "Every kernel. A limit in bytes stays in bytes, one in percent in percent: writing one drops the other, and bytes cannot be set back to 0.",
        undo: "sysctl -w vm.dirty_ratio= and the former number.",
        source: "Documentation/admin-guide/sysctl/vm.rst; TuneD's latency-performance",
        proof: Proof::TestedModel,
    },
};

/// The file of the two that is in use, and so many percent of memory in its unit.
fn dirty(facts: &Facts, name: &str, in_bytes: bool, percent: u64) -> Places {
    let (unit, wanted) = match in_bytes {
        true => ("bytes", facts.memory.total_kib.saturating_mul(1024) / 100 * percent),
        false => ("ratio", percent),
    };
    let spot = Spot::new("", Place::sysctl(&format!("vm.{name}_{unit}"), Form::Number));
    Places::one_of(spot.auto(wanted.to_string()))
}

const ZONE_RECLAIM: Knob = Knob {
    id: "numa.zone_reclaim",
    title: "reclaiming on a node before another's memory is used",
    phase: Phase::Sysctl,
    persist: Persist::Sysctl,
    accepts: Accepts::Number(0, 7),
    places: |facts| match facts.topology.nodes().len() > 1 {
        false => Places::NotSupported("this host has one NUMA node".into()),
        true => Places::one(Place::sysctl("vm.zone_reclaim_mode", Form::Number)),
    },
    explain: Explain {
        mechanism: "An allocation waits for pages of its node to be freed, though another node has some.",
        risk: "Memory may be on another node.",
        when_not: "Where programs are split by node and fit.",
        applies: "Hosts of several nodes. It is off unless somebody turned it on.",
        undo: "sysctl -w vm.zone_reclaim_mode= and the former number.",
        source: "Documentation/admin-guide/sysctl/vm.rst",
        proof: Proof::TestedModel,
    },
};

const ZSWAP: Knob = Knob {
    id: "mem.zswap",
    title: "compressing pages before they are swapped out",
    phase: Phase::Swap,
    persist: Persist::Unit,
    accepts: Accepts::Flag,
    places: |_| Places::one(Place::attribute("/sys/module/zswap/parameters/enabled", Form::Flag)),
    explain: Explain {
        mechanism: "Compressing takes a CPU in bursts when memory gets short. Without swap it does nothing.",
        risk: "With swap in use, pages go to the disk sooner.",
        when_not: "Where there is swap on a slow disk.",
        applies: "CONFIG_ZSWAP. What is in it stays until it is read or dropped.",
        undo: "Write 1 to the file.",
        source: "Documentation/admin-guide/mm/zswap.rst",
        proof: Proof::TestedModel,
    },
};

const SWAP: Knob = Knob {
    id: "mem.swap",
    title: "swap on disks",
    phase: Phase::Swap,
    persist: Persist::Unit,
    accepts: Accepts::Off,
    places: |facts| swaps(facts, |is_zram| !is_zram),
    explain: Explain {
        mechanism: "A page that was swapped out costs a disk read at its next touch.",
        risk: "When memory runs out, a program is ended. Taking swap out of use needs room for all that is in it, and may take minutes.",
        when_not: "Where memory is not ample; programs that lock theirs (mlockall) are not swapped in any case.",
        applies: "Every kernel. systemd takes areas of fstab into use again at boot; the boot unit takes them out.",
        undo: "swapon, with the former priority.",
        source: "swapoff(8); Documentation/admin-guide/sysctl/vm.rst",
        proof: Proof::TestedModel,
    },
};

const ZRAM: Knob = Knob {
    id: "mem.zram",
    title: "swap in compressed memory",
    phase: Phase::Swap,
    persist: Persist::Unit,
    accepts: Accepts::Off,
    places: |facts| swaps(facts, |is_zram| is_zram),
    explain: Explain {
        mechanism: "Compressing takes a CPU in bursts when memory gets short, and a page that was compressed costs some us at its next touch.",
        risk: "What is in it must fit into memory again, uncompressed.",
        when_not: "On small hosts that live by it.",
        applies: "Where a zram device is in use as swap.",
        undo: "swapon, with the former priority.",
        source: "Documentation/admin-guide/blockdev/zram.rst",
        proof: Proof::TestedModel,
    },
};

fn swaps(facts: &Facts, wanted: impl Fn(bool) -> bool) -> Places {
    let is_zram = |area: &Path| area.to_str().is_some_and(|area| area.starts_with("/dev/zram"));
    let areas = facts.memory.swaps.iter().filter(|area| wanted(is_zram(area)));
    let spots = areas.map(|area| Spot::new(area.to_string_lossy(), Place::Swap { area: area.clone() }));
    Places::At(match &facts.container {
        Some(_) => spots
            .map(|spot| spot.fixed("swap is its host's: a container cannot take it out of use"))
            .collect(),
        None => spots.collect(),
    })
}
