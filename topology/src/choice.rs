//! Which CPUs do the hot work, and which everything else.
//!
//! What holds: the boot CPU keeps house, with all of its core; a core is given away whole or not at all; each node that
//! has CPUs keeps at least one core for itself, so that its memory, its interrupts and its kernel threads have somebody.
//! Where that leaves nothing, nothing is isolated, and the reason is told. Small cores do hot work only where there are
//! no others left. As long as one node and one cache have cores enough, the hot ones are all there.

use crate::{CpuList, Topology};
use std::cmp::Reverse;

/// Who does what.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Choice {
    /// CPUs for everything but the hot threads.
    pub housekeeping: CpuList,
    /// CPUs for the hot threads alone. Empty if none can be spared.
    pub isolated: CpuList,
    /// Why, a sentence each.
    pub reasons: Vec<String>,
}

/// Chooses CPUs for so many hot threads, a core each, as near as can be to the node `near` if there is one that matters
/// (where the network card is, or the graphics card).
pub fn choose(topology: &Topology, threads: usize, near: Option<usize>) -> Choice {
    let mut cores: Vec<&CpuList> = Vec::new();
    for cpu in &topology.cpus {
        if !cores.contains(&&cpu.core) {
            cores.push(&cpu.core);
        }
    }
    let node_of = |core: &CpuList| core.iter().find_map(|cpu| topology.cpu(cpu)).map_or(0, |cpu| cpu.node);
    let mut reasons = Vec::new();
    let mut spare: Vec<&CpuList> = Vec::new();
    for node in topology.nodes() {
        let of_node = || cores.iter().copied().filter(|core| node_of(core) == node);
        // The boot CPU's core keeps house where it is, else the first of the node.
        let keeper = of_node().find(|core| core.contains(topology.boot_cpu)).or_else(|| of_node().next());
        spare.extend(of_node().filter(|core| Some(*core) != keeper));
        if let Some(keeper) = keeper {
            let why = if keeper.contains(topology.boot_cpu) { ": the machine starts on it" } else { "" };
            reasons.push(format!("node {node} keeps the core of CPU {keeper} for everything else{why}"));
        }
    }
    // Hot threads pass data on to each other: one node, and one cache on it, for as many of them as can be. Of equals,
    // the last: the kernel starts its own work on the first.
    let cpu_of = |core: &CpuList| core.iter().find_map(|cpu| topology.cpu(cpu));
    let cache = |core: &CpuList| cpu_of(core).map(|cpu| (cpu.node, cpu.cache.clone()));
    let is_small = |core: &CpuList| cpu_of(core).is_some_and(|cpu| cpu.is_small);
    let together = |alike: &dyn Fn(&CpuList) -> bool| {
        Reverse(spare.iter().filter(|core| !is_small(core) && alike(core)).count().min(threads))
    };
    let mut ranked = spare.clone();
    ranked.sort_by_cached_key(|core| {
        let node = node_of(core);
        let place = (
            near.is_some_and(|near| node != near),
            together(&|other| node_of(other) == node),
            Reverse(node),
            together(&|other| cache(other) == cache(core)),
            Reverse(cache(core)),
        );
        (is_small(core), place, Reverse((*core).clone()))
    });
    let online = topology.online();
    let chosen: Vec<_> = ranked.iter().take(threads).collect();
    if chosen.len() < threads {
        reasons.push(match chosen.len() {
            0 => format!("none of {} CPUs can be spared: every core keeps house", online.len()),
            some => format!("{threads} cores are wanted, {some} can be spared"),
        });
    }
    let isolated: CpuList = chosen.iter().flat_map(|core| core.iter()).collect();
    if let (Some(core), Some(near)) = (chosen.first(), near) {
        let node = node_of(core);
        reasons.push(match node == near {
            true => format!("CPUs {isolated} are on node {near}, as the device is"),
            false => format!("CPUs {isolated} are on node {node}, though the device is on node {near}: that one has no core to spare"),
        });
    }
    if isolated.len() > chosen.len() {
        reasons.push("cores are isolated whole: two busy threads on one slow each other down".into());
    }
    Choice { housekeeping: online.without(&isolated), isolated, reasons }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cpu;
    use proptest::prelude::*;

    /// Cores, each with so many threads, on this node, with this cache, small or not; numbered as Linux does: first one
    /// thread of every core.
    fn machine(cores: &[(usize, usize, usize, bool)]) -> Topology {
        let mut members = vec![Vec::new(); cores.len()];
        let mut count = 0;
        for thread in 0..2 {
            for (core, (threads, ..)) in cores.iter().enumerate() {
                if thread < *threads {
                    members[core].push(count);
                    count += 1;
                }
            }
        }
        let shares = |node: usize, cache: usize| -> CpuList {
            let its =
                cores.iter().zip(&members).filter(|((_, other, its, _), _)| (*other, *its) == (node, cache));
            its.flat_map(|(_, members)| members.iter().copied()).collect()
        };
        let mut cpus: Vec<Cpu> = Vec::new();
        for ((_, node, cache, is_small), its) in cores.iter().zip(&members) {
            cpus.extend(its.iter().map(|id| Cpu {
                id: *id,
                package: *node,
                node: *node,
                core: its.iter().copied().collect(),
                cache: shares(*node, *cache),
                is_small: *is_small,
            }));
        }
        cpus.sort_by_key(|cpu| cpu.id);
        Topology { cpus, ..Topology::default() }
    }

    fn chosen(topology: &Topology, threads: usize, near: Option<usize>) -> String {
        choose(topology, threads, near).isolated.to_string()
    }

    #[test]
    fn examples() {
        let two = [(1, 0, 0, false); 2];
        assert_eq!(chosen(&machine(&two), 2, None), "1", "one of two is spared");
        assert_eq!(chosen(&machine(&two[..1]), 2, None), "", "the only one is not");
        let eight = machine(&[(2, 0, 0, false); 8]);
        assert_eq!(chosen(&eight, 2, None), "6-7,14-15");
        let server: Vec<_> = (0..32).map(|core| (2, core / 16, 0, false)).collect();
        assert_eq!(chosen(&machine(&server), 2, Some(0)), "14-15,46-47");
        assert_eq!(chosen(&machine(&server), 2, Some(1)), "30-31,62-63");
        // The last cores are small, the last cache has one core alone.
        let hybrid: Vec<_> = (0..8).map(|core| (2 - core / 4, 0, 0, core >= 4)).collect();
        assert_eq!(chosen(&machine(&hybrid), 2, None), "2-3,10-11");
        let lonely = machine(&[(1, 0, 0, false), (1, 0, 0, false), (1, 0, 0, false), (1, 0, 1, false)]);
        assert_eq!(chosen(&lonely, 2, None), "1-2");
    }

    proptest! {
        #[test]
        fn what_the_head_of_this_file_says(
            cores in prop::collection::vec((1..3usize, 0..3usize, 0..3usize, any::<bool>()), 1..24),
            boot in 0..24usize, threads in 0..6usize, near in prop::option::of(0..4usize),
        ) {
            let mut topology = machine(&cores);
            topology.boot_cpu = boot % topology.cpus.len();
            let choice = choose(&topology, threads, near);
            prop_assert!(choice.housekeeping.and(&choice.isolated).is_empty());
            let all: CpuList = choice.housekeeping.iter().chain(choice.isolated.iter()).collect();
            prop_assert_eq!(all, topology.online());
            prop_assert!(!choice.isolated.contains(topology.boot_cpu));
            let mut hot: Vec<&Cpu> = Vec::new();
            for cpu in &topology.cpus {
                let of_core = cpu.core.and(&choice.isolated);
                prop_assert!(of_core.is_empty() || of_core == cpu.core, "{:?} is split", cpu.core);
                if !of_core.is_empty() && cpu.core.iter().next() == Some(cpu.id) {
                    hot.push(cpu);
                }
            }
            for node in topology.nodes() {
                prop_assert!(!topology.node(node).and(&choice.housekeeping).is_empty(), "node {node} has nobody");
            }
            let spare = cores.len() - topology.nodes().len();
            prop_assert_eq!(hot.len(), threads.min(spare));
            prop_assert!(hot.len() >= threads || choice.reasons.iter().any(|why| why.contains("spared")));
            // Whom the housekeeping keeps is chosen before; of what is left, the best is taken.
            let keepers: Vec<_> = topology.nodes().iter().map(|node| {
                let mut of_node = topology.cpus.iter().filter(|cpu| cpu.node == *node);
                let boots = topology.cpus.iter().find(|cpu| cpu.node == *node && cpu.core.contains(topology.boot_cpu));
                boots.or_else(|| of_node.next()).map(|cpu| cpu.core.clone())
            }).collect();
            let free = |is: &dyn Fn(&Cpu) -> bool| {
                let first = |cpu: &&Cpu| cpu.core.iter().next() == Some(cpu.id) && !keepers.contains(&Some(cpu.core.clone()));
                topology.cpus.iter().filter(first).filter(|cpu| !cpu.is_small && is(cpu)).count()
            };
            let large = free(&|_| true);
            prop_assert_eq!(hot.iter().filter(|cpu| !cpu.is_small).count(), hot.len().min(large));
            if let Some(near) = near {
                let wanted = free(&|cpu| cpu.node == near).min(threads);
                prop_assert!(hot.iter().filter(|cpu| cpu.node == near).count() >= wanted);
            }
            let first_node = hot.iter().find(|cpu| !cpu.is_small).map(|cpu| cpu.node);
            if near.is_none() && topology.nodes().iter().any(|node| free(&|cpu| cpu.node == *node) >= threads) {
                prop_assert!(hot.iter().all(|cpu| Some(cpu.node) == first_node));
            }
            if let Some(node) = first_node.filter(|_| hot.iter().all(|cpu| Some(cpu.node) == first_node)) {
                let enough = topology.cpus.iter().filter(|cpu| cpu.node == node).any(|cpu| {
                    free(&|other| other.node == node && other.cache == cpu.cache) >= threads
                });
                prop_assert!(!enough || hot.iter().all(|cpu| cpu.cache == hot[0].cache));
            }
        }
    }
}
