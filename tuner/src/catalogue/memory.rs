//! Memory: huge pages, transparent huge pages, swap.

use crate::facts::Facts;
use crate::knob::{Accepts, Explain, Knob, Persist, Phase, Places, Proof, Spot};
use crate::place::{Form, Place};

/// The knobs of this area.
pub(super) const KNOBS: &[Knob] = &[THP, HUGE_2M, SWAPPINESS];

const THP: Knob = Knob {
    id: "mem.thp",
    title: "transparent huge pages",
    phase: Phase::Sysctl,
    persist: Persist::Unit,
    accepts: Accepts::Words(&["always", "madvise", "never"]),
    places: |facts| match facts.kernel.is_rt {
        true => Places::NotSupported("a PREEMPT_RT kernel has no transparent huge pages".into()),
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
    persist: Persist::Sysctl,
    accepts: Accepts::Number(0, 1 << 24),
    places: |facts| huge_pages(facts, 2048),
    explain: Explain {
        mechanism: "One entry of the TLB covers 2 MiB instead of 4 KiB; pages that are set aside never fault for lack of memory in one piece.",
        risk: "What is set aside is lost for everything else, and a fragmented memory gives fewer than were asked for, without an error.",
        when_not: "Where no program maps them.",
        applies: "CONFIG_HUGETLBFS; sizes by processor.",
        undo: "Write the former number; pages in use stay as surplus until they are freed.",
        source: "Documentation/admin-guide/mm/hugetlbpage.rst",
        proof: Proof::TestedModel,
    },
};

fn huge_pages(facts: &Facts, size_kib: u64) -> Places {
    if !facts.memory.huge_page_sizes_kib.contains(&size_kib) {
        return Places::NotSupported(format!("this kernel offers no pages of {size_kib} KiB"));
    }
    let path = format!("/sys/kernel/mm/hugepages/hugepages-{size_kib}kB/nr_hugepages");
    Places::At(vec![Spot::new("", Place::attribute(path, Form::Number))])
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
