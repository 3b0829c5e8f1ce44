//! Interlocks about CPUs: what is isolated, and what that needs.

use super::{Proposal, refusal};
use crate::facts::Facts;
use crate::place::{Form, Place};
use crate::plan::Refusal;
use topology::CpuList;

/// The CPU that the machine starts on would be isolated.
pub(super) const BOOT_CPU: &str = "boot-cpu";
/// A node would be left without a CPU for everything else.
pub(super) const WHOLE_NODE: &str = "whole-node";
/// A core would be isolated in part.
pub(super) const SPLIT_CORE: &str = "split-core";
/// The clock needs a tick.
pub(super) const CLOCK_SOURCE: &str = "clock-source";
/// A real-time thread could take a CPU from everything else.
pub(super) const RT_THROTTLE: &str = "rt-throttle";

/// Parameters that take CPUs away from everything else.
const ISOLATING: [&str; 2] = ["isolcpus", "nohz_full"];

pub(super) fn check(facts: &Facts, proposal: &Proposal<'_>) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for (knob, cpus) in isolated(proposal) {
        refusals.extend(boot_cpu(facts, &knob, &cpus));
        refusals.extend(whole_node(facts, &knob, &cpus));
        refusals.extend(split_core(facts, &knob, &cpus));
    }
    refusals.extend(clock_source(facts, proposal));
    refusals.extend(rt_throttle(facts, proposal));
    refusals
}

/// What would be isolated, and by which knob.
fn isolated(proposal: &Proposal<'_>) -> Vec<(String, CpuList)> {
    let isolating =
        proposal.parameters.iter().filter(|parameter| ISOLATING.contains(&parameter.key.as_str()));
    let by_boot = isolating.map(|parameter| (parameter.knob.clone(), cpus_of(&parameter.value)));
    let by_partition = proposal.changes.iter().filter_map(|change| match &change.place {
        Place::Attribute { path, form: Form::Cpus } if is_partition(path) => {
            Some((change.knob.clone(), cpus_of(change.to.as_deref()?)))
        }
        _ => None,
    });
    by_boot.chain(by_partition).filter(|(_, cpus)| !cpus.is_empty()).collect()
}

/// Whether a file says which CPUs a partition of control groups has for itself.
fn is_partition(path: &std::path::Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    matches!(name, Some("cpuset.cpus" | "cpuset.cpus.exclusive"))
}

/// The CPUs of a parameter, whose flags come first: `managed_irq,domain,2-3`.
fn cpus_of(value: &str) -> CpuList {
    let is_flag = |word: &&str| !word.starts_with(|first: char| first.is_ascii_digit());
    let cpus: Vec<_> = value.split(',').skip_while(is_flag).collect();
    cpus.join(",").parse().unwrap_or_default()
}

fn boot_cpu(facts: &Facts, knob: &str, cpus: &CpuList) -> Option<Refusal> {
    let boot = facts.topology.boot_cpu;
    cpus.contains(boot).then(|| {
        let why = format!("CPU {boot} is the one that the machine starts on, and it keeps the time for the others: isolate others than {cpus}");
        refusal(BOOT_CPU, knob, why)
    })
}

fn whole_node(facts: &Facts, knob: &str, cpus: &CpuList) -> Option<Refusal> {
    let topology = &facts.topology;
    let node = topology.nodes().into_iter().find(|node| topology.node(*node).is_subset(cpus))?;
    let own = topology.node(node);
    let why = format!(
        "node {node} has no CPUs but {own}, and would have none left for its interrupts, kernel threads and memory: leave it a core"
    );
    Some(refusal(WHOLE_NODE, knob, why))
}

fn split_core(facts: &Facts, knob: &str, cpus: &CpuList) -> Option<Refusal> {
    let split = facts.topology.cpus.iter().find(|cpu| cpus.contains(cpu.id) && !cpu.core.is_subset(cpus))?;
    let others = split.core.without(cpus);
    let why = format!(
        "CPU {} shares its core with CPU {others}, which is not isolated and would slow it down: isolate CPUs {} together, or neither",
        split.id, split.core
    );
    Some(refusal(SPLIT_CORE, knob, why))
}

fn clock_source(facts: &Facts, proposal: &Proposal<'_>) -> Option<Refusal> {
    let parameter = proposal.parameters.iter().find(|parameter| parameter.key == "nohz_full")?;
    let source = facts.clock_source.as_deref().unwrap_or("unknown");
    if source == "tsc" {
        return None;
    }
    let because = match source {
        "kvm-clock" | "hyperv_clocksource_tsc_page" | "xen" => {
            "is a guest's: the hypervisor decides when it stands, and has ticks of its own"
        }
        "hpet" | "acpi_pm" => {
            "is read over the bus, which the kernel falls back to when the TSC is not stable"
        }
        _ => "is not known to run on without a tick",
    };
    let why = format!(
        "nohz_full needs the clock source tsc, and this host's is {source}, which {because}: see /sys/devices/system/clocksource/clocksource0, or skip {}",
        parameter.knob
    );
    Some(refusal(CLOCK_SOURCE, &parameter.knob, why))
}

fn rt_throttle(facts: &Facts, proposal: &Proposal<'_>) -> Option<Refusal> {
    let is_it = |place: &Place| matches!(place, Place::Attribute { path, .. } if path.ends_with("proc/sys/kernel/sched_rt_runtime_us"));
    let change =
        proposal.changes.iter().find(|change| is_it(&change.place) && change.to.as_deref() == Some("-1"))?;
    let is_kept = !facts.topology.isolated.is_empty() || !isolated(proposal).is_empty();
    (!is_kept).then(|| {
        let why = "without a limit, one real-time thread that spins takes its CPU from everything else for ever, and no CPU is isolated for it: isolate some, or leave the limit";
        refusal(RT_THROTTLE, &change.knob, why)
    })
}
