//! Which CPUs do the hot work, and which everything else.
//!
//! What holds: the boot CPU keeps house, with all of its core; a core is given away whole or not at all; each node that
//! has CPUs keeps at least one core for itself, so that its memory, its interrupts and its kernel threads have somebody.
//! Where that leaves nothing, nothing is isolated, and the reason is told.

use crate::{CpuList, Topology};

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
    // The nearest nodes first, and on each the last cores: the kernel starts its own work on the first.
    let cache = |core: &CpuList| core.iter().find_map(|cpu| topology.cpu(cpu)).map(|cpu| cpu.cache.clone());
    spare.reverse();
    spare.sort_by_key(|core| near.is_some_and(|near| node_of(core) != near));
    let first = spare.first().map(|core| (node_of(core), cache(core)));
    // Hot threads pass data on to each other: one cache, or at least one node, for all of them.
    spare.sort_by_key(|core| first.as_ref() != Some(&(node_of(core), cache(core))));
    let online = topology.online();
    let chosen: Vec<_> = spare.iter().take(threads).collect();
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
