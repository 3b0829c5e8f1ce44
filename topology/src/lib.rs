//! The CPUs of a machine, and which of them are for whom: chartd's threads and the tuner choose alike, since both ask
//! here.
//!
//! What holds: everything is computed from [`Topology`], which is read through a function that the caller gives, so
//! that a recorded machine is as good as the one at hand.

mod choice;
mod device;
mod list;

pub use choice::{Choice, choose};
pub use device::device_node;
pub use list::{CpuList, ParseCpuListError};

const CPUS: &str = "/sys/devices/system/cpu";

/// What is known of one CPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cpu {
    /// Its number.
    pub id: usize,
    /// The socket it is in.
    pub package: usize,
    /// The NUMA node it is on.
    pub node: usize,
    /// All CPUs of its core, itself included.
    pub core: CpuList,
    /// All CPUs that share its last-level cache, itself included; empty if the kernel does not say.
    pub cache: CpuList,
    /// Whether it is one of the small, slower cores of a processor that has two kinds.
    pub is_small: bool,
}

/// The CPUs of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Topology {
    /// Those that are online, by their number.
    pub cpus: Vec<Cpu>,
    /// Those that the kernel keeps free of other work.
    pub isolated: CpuList,
    /// Those that the kernel runs without a tick while one task is on them.
    pub nohz_full: CpuList,
    /// The CPU that the machine was started on: it is never isolated.
    pub boot_cpu: usize,
}

impl Topology {
    /// Reads it. `read` gives the text of a file under `/sys`, if there is one, and `list` the names in a folder.
    pub fn read(read: impl Fn(&str) -> Option<String>, list: impl Fn(&str) -> Vec<String>) -> Self {
        let cpus = |path: &str| read(path).and_then(|text| text.parse().ok()).unwrap_or_default();
        let online: CpuList = cpus(&format!("{CPUS}/online"));
        let nodes: Vec<(usize, CpuList)> = list("/sys/devices/system/node")
            .iter()
            .filter_map(|name| name.strip_prefix("node")?.parse().ok())
            .map(|node: usize| (node, cpus(&format!("/sys/devices/system/node/node{node}/cpulist"))))
            .collect();
        let small = small(&read, &online);
        let cpu = |id: usize| {
            let own = format!("{CPUS}/cpu{id}");
            let number = |name: &str| read(&format!("{own}/topology/{name}"))?.trim().parse::<usize>().ok();
            let with_itself = |path: &str| {
                let found = cpus(path);
                if found.contains(id) { found } else { CpuList::from_iter([id]) }
            };
            Cpu {
                id,
                package: number("physical_package_id").unwrap_or(0),
                node: nodes.iter().find(|(_, cpus)| cpus.contains(id)).map_or(0, |(node, _)| *node),
                core: with_itself(&format!("{own}/topology/thread_siblings_list")),
                cache: last_cache(&own, &read, &list),
                is_small: small.contains(id),
            }
        };
        Self {
            cpus: online.iter().map(cpu).collect(),
            isolated: cpus(&format!("{CPUS}/isolated")),
            nohz_full: cpus(&format!("{CPUS}/nohz_full")),
            boot_cpu: boot_cpu(&online, &list),
        }
    }

    /// The numbers of all CPUs that are online.
    pub fn online(&self) -> CpuList {
        self.cpus.iter().map(|cpu| cpu.id).collect()
    }

    /// What is known of a CPU, if it is online.
    pub fn cpu(&self, id: usize) -> Option<&Cpu> {
        self.cpus.iter().find(|cpu| cpu.id == id)
    }

    /// The CPUs of a NUMA node.
    pub fn node(&self, node: usize) -> CpuList {
        self.cpus.iter().filter(|cpu| cpu.node == node).map(|cpu| cpu.id).collect()
    }

    /// All NUMA nodes that have CPUs, by their number.
    pub fn nodes(&self) -> Vec<usize> {
        let mut nodes: Vec<_> = self.cpus.iter().map(|cpu| cpu.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }
}

/// The CPU that the kernel started on. It gives an `online` file to those that it can do without; where several have
/// none, or all, it is the first, as on every machine that numbers them by their start.
fn boot_cpu(online: &CpuList, list: impl Fn(&str) -> Vec<String>) -> usize {
    let is_fixed = |cpu: &usize| !list(&format!("{CPUS}/cpu{cpu}")).iter().any(|name| name == "online");
    let fixed: Vec<_> = online.iter().filter(is_fixed).collect();
    if let [only] = fixed[..] { only } else { online.iter().next().unwrap_or(0) }
}

/// Those of Intel's Atom kind, or those that an ARM kernel gives less than the greatest capacity.
fn small(read: impl Fn(&str) -> Option<String>, online: &CpuList) -> CpuList {
    let atoms: Option<CpuList> = read("/sys/devices/cpu_atom/cpus").and_then(|text| text.parse().ok());
    if let Some(atoms) = atoms.filter(|atoms| !online.is_subset(atoms)) {
        return atoms;
    }
    let capacity = |cpu: usize| read(&format!("{CPUS}/cpu{cpu}/cpu_capacity"))?.trim().parse::<u32>().ok();
    let most = online.iter().filter_map(capacity).max();
    online.iter().filter(|cpu| capacity(*cpu) < most && capacity(*cpu).is_some()).collect()
}

/// Who shares a CPU's cache of the highest level.
fn last_cache(
    cpu: &str,
    read: impl Fn(&str) -> Option<String>,
    list: impl Fn(&str) -> Vec<String>,
) -> CpuList {
    let caches = list(&format!("{cpu}/cache"));
    let level = |name: &String| {
        read(&format!("{cpu}/cache/{name}/level")).and_then(|text| text.trim().parse::<u32>().ok())
    };
    let last = caches.iter().filter(|name| name.starts_with("index")).max_by_key(|name| level(name));
    let shared = last.and_then(|name| read(&format!("{cpu}/cache/{name}/shared_cpu_list")));
    shared.and_then(|text| text.parse().ok()).unwrap_or_default()
}
