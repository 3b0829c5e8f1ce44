//! Reads the facts.

use super::{Facts, Identity, Kernel, Memory, settings};
use crate::host::Host;
use std::path::Path;
use topology::{Topology, choose};

pub(super) fn facts(host: &dyn Host, hot_threads: usize) -> Facts {
    let read = |path: &str| host.read(Path::new(path)).ok();
    let topology = Topology::read(read, |path| host.list(Path::new(path)).unwrap_or_default());
    let word = |path: &str| read(path).map(|text| text.trim().to_owned());
    let choice = choose(&topology, hot_threads, None);
    let mut facts = Facts {
        kernel: kernel(host),
        memory: memory(host),
        topology,
        choice,
        identity: Identity {
            machine: word("/etc/machine-id").unwrap_or_default(),
            boot: word("/proc/sys/kernel/random/boot_id").unwrap_or_default(),
        },
        clock_source: word("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        is_systemd: word("/proc/1/comm").is_some_and(|comm| comm == "systemd"),
        ..Facts::default()
    };
    settings::complete(host, &mut facts);
    facts
}

fn kernel(host: &dyn Host) -> Kernel {
    let word = |path: &str| host.read(Path::new(path)).map(|text| text.trim().to_owned()).unwrap_or_default();
    let release = word("/proc/sys/kernel/osrelease");
    let build = word("/proc/sys/kernel/version");
    let mut numbers = release.split(['.', '-']).map(|number| number.parse().unwrap_or(0));
    Kernel {
        version: (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)),
        is_rt: build.contains("PREEMPT_RT") || word("/sys/kernel/realtime") == "1",
        release,
        build,
        config: None,
        command_line: word("/proc/cmdline"),
        ..Kernel::default()
    }
}

fn memory(host: &dyn Host) -> Memory {
    let told = host.read(Path::new("/proc/meminfo")).unwrap_or_default();
    let kib = |key: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    let sizes = host.list(Path::new("/sys/kernel/mm/hugepages")).unwrap_or_default();
    let size = |name: &String| name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok();
    let swaps = host.read(Path::new("/proc/swaps")).unwrap_or_default();
    Memory {
        total_kib: kib("MemTotal"),
        available_kib: kib("MemAvailable"),
        swap_used_kib: kib("SwapTotal").saturating_sub(kib("SwapFree")),
        swaps: swaps
            .lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().next())
            .map(Into::into)
            .collect(),
        huge_page_sizes_kib: sizes.iter().filter_map(size).collect(),
        ..Memory::default()
    }
}
