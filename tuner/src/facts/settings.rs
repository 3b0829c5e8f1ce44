//! Reads which settings of CPUs and memory there are, where a knob's place depends on it.

use super::{ClockPolicy, Facts, Power, Slice};
use crate::host::Host;
use std::path::Path;
use topology::CpuList;

const CPUS: &str = "/sys/devices/system/cpu";

/// Adds them to facts whose topology is known.
pub(super) fn complete(host: &dyn Host, facts: &mut Facts) {
    let read = |path: &str| word(host, path);
    let number = |path: &str| read(path).and_then(|text| text.parse::<u64>().ok());
    let list = |path: &str| host.list(Path::new(path)).unwrap_or_default();
    facts.power = power(host, &facts.topology.online());
    facts.kernel.vulnerabilities = list(&format!("{CPUS}/vulnerabilities"));
    facts.kernel.has_debugfs = read("/proc/mounts")
        .is_some_and(|mounts| mounts.lines().any(|line| line.contains(" /sys/kernel/debug debugfs ")));
    facts.kernel.has_machine_checks =
        read("/sys/devices/system/machinecheck/machinecheck0/ignore_ce").is_some();
    facts.slices = slices(host);
    let memory = &mut facts.memory;
    memory.merged_pages = number("/sys/kernel/mm/ksm/run").is_some_and(|run| run > 0)
        || number("/sys/kernel/mm/ksm/pages_shared").is_some_and(|pages| pages > 0);
    memory.dirty_in_bytes = number("/proc/sys/vm/dirty_bytes").is_some_and(|bytes| bytes > 0);
    memory.dirty_background_in_bytes =
        number("/proc/sys/vm/dirty_background_bytes").is_some_and(|bytes| bytes > 0);
}

fn word(host: &dyn Host, path: &str) -> Option<String> {
    host.read(Path::new(path)).ok().map(|text| text.trim().to_owned())
}

fn power(host: &dyn Host, online: &CpuList) -> Power {
    let list = |path: &str| host.list(Path::new(path)).unwrap_or_default();
    let with = |name: &str| -> CpuList {
        online.iter().filter(|cpu| word(host, &format!("{CPUS}/cpu{cpu}/{name}")).is_some()).collect()
    };
    let mut policies = list(&format!("{CPUS}/cpufreq"));
    policies.retain(|name| name.starts_with("policy"));
    policies.sort_by_key(|name| name.trim_start_matches("policy").parse::<usize>().unwrap_or(0));
    let uncore = format!("{CPUS}/intel_uncore_frequency");
    let highest = |name: String| {
        let khz = word(host, &format!("{uncore}/{name}/initial_max_freq_khz"))?.parse().ok()?;
        Some((name, khz))
    };
    Power {
        policies: policies.into_iter().map(|name| policy(host, name)).collect(),
        idle_driver: word(host, &format!("{CPUS}/cpuidle/current_driver")),
        energy_bias: with("power/energy_perf_bias"),
        throttle_counts: with("thermal_throttle/core_throttle_count"),
        uncore: list(&uncore).into_iter().filter_map(highest).collect(),
    }
}

fn policy(host: &dyn Host, name: String) -> ClockPolicy {
    let own = |file: &str| word(host, &format!("{CPUS}/cpufreq/{name}/{file}"));
    let number = |text: Option<String>| text.and_then(|text| text.parse::<u64>().ok());
    // A policy is named after its first CPU.
    let first = name.trim_start_matches("policy");
    let nominal_mhz = || number(word(host, &format!("{CPUS}/cpu{first}/acpi_cppc/nominal_freq")));
    let preferences = own("energy_performance_available_preferences").unwrap_or_default();
    ClockPolicy {
        preferences: preferences.split_whitespace().map(str::to_owned).collect(),
        sustained_khz: number(own("base_frequency"))
            .or_else(|| nominal_mhz().map(|mhz| mhz * 1000))
            .filter(|khz| *khz > 0),
        lower_limit_khz: number(own("scaling_min_freq")),
        name,
    }
}

fn slices(host: &dyn Host) -> Vec<Slice> {
    let names = host.list(Path::new("/sys/fs/cgroup")).unwrap_or_default();
    let bound = |name: String| {
        let cpus: CpuList = word(host, &format!("/sys/fs/cgroup/{name}/cpuset.cpus"))?.parse().ok()?;
        (!cpus.is_empty()).then_some(Slice { name, cpus })
    };
    names.into_iter().filter(|name| name.ends_with(".slice")).filter_map(bound).collect()
}
