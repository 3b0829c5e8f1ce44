//! Reads the facts: what concerns the whole host here, the rest in the files beside this one.

use super::{Facts, Identity, Memory, boot, devices, guest, interfaces, kernel, owners, settings};
use crate::host::Host;
use std::path::{Path, PathBuf};
use topology::{Topology, choose, device_node};

pub(super) fn facts(host: &dyn Host, hot_threads: usize) -> Facts {
    let files = Files(host);
    let read = |path: &str| files.text(path);
    let list = |path: &str| files.names(path);
    let topology = Topology::read(read, list);
    let choice = choose(&topology, hot_threads, device_node(read, list));
    let kernel = kernel::read(files);
    let mut facts = Facts {
        hypervisor: guest::hypervisor(files),
        container: guest::container(files),
        memory: memory(files),
        disks: devices::disks(files),
        interfaces: interfaces::read(files),
        interrupts: devices::interrupts(files),
        gpus: devices::gpus(files),
        boot: boot::read(files, &kernel.command_line),
        owners: owners::read(files),
        is_systemd: files.word("/proc/1/comm").is_some_and(|comm| comm == "systemd"),
        has_cpuset_v2: has_cpuset_v2(files),
        clock_source: files.word("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        is_root: is_root(files),
        identity: Identity {
            machine: files.word("/etc/machine-id").unwrap_or_default(),
            boot: files.word("/proc/sys/kernel/random/boot_id").unwrap_or_default(),
        },
        topology,
        choice,
        kernel,
        ..Facts::default()
    };
    settings::complete(host, &mut facts);
    facts
}

/// A host of which only readable files matter.
#[derive(Clone, Copy)]
pub(crate) struct Files<'a>(pub(crate) &'a dyn Host);

impl Files<'_> {
    /// The text of a file.
    pub(super) fn text(self, path: &str) -> Option<String> {
        self.0.read(Path::new(path)).ok()
    }

    /// The text of a file without blanks around it; none if nothing is left.
    pub(super) fn word(self, path: &str) -> Option<String> {
        self.text(path).map(|text| text.trim().to_owned()).filter(|word| !word.is_empty())
    }

    /// The number in a file, also in hexadecimal.
    pub(super) fn number<T: TryFrom<i64>>(self, path: &str) -> Option<T> {
        let word = self.word(path)?;
        let number = match word.strip_prefix("0x") {
            Some(digits) => i64::from_str_radix(digits, 16),
            None => word.parse(),
        };
        number.ok()?.try_into().ok()
    }

    /// The names in a folder.
    pub(super) fn names(self, path: &str) -> Vec<String> {
        self.0.list(Path::new(path)).unwrap_or_default()
    }

    /// Where a link leads, as it is written there.
    pub(super) fn link(self, path: &str) -> Option<PathBuf> {
        self.0.link(Path::new(path)).ok()
    }

    /// The name of what a link leads to.
    pub(super) fn link_name(self, path: &str) -> Option<String> {
        Some(self.link(path)?.file_name()?.to_str()?.to_owned())
    }
}

fn memory(files: Files<'_>) -> Memory {
    let told = files.text("/proc/meminfo").unwrap_or_default();
    let kib = |key: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    let size = |name: &String| name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok();
    let swaps = files.text("/proc/swaps").unwrap_or_default();
    let areas = swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    Memory {
        total_kib: kib("MemTotal"),
        available_kib: kib("MemAvailable"),
        swap_used_kib: kib("SwapTotal").saturating_sub(kib("SwapFree")),
        swaps: areas.map(Into::into).collect(),
        huge_page_sizes_kib: files.names("/sys/kernel/mm/hugepages").iter().filter_map(size).collect(),
        ..Memory::default()
    }
}

/// Whether the controller is in the second version's tree: one tree has it, not both.
fn has_cpuset_v2(files: Files<'_>) -> bool {
    let trees = ["/sys/fs/cgroup/cgroup.controllers", "/sys/fs/cgroup/unified/cgroup.controllers"];
    trees
        .iter()
        .filter_map(|path| files.text(path))
        .any(|told| told.split_whitespace().any(|name| name == "cpuset"))
}

/// Whether the effective user is root.
fn is_root(files: Files<'_>) -> bool {
    let status = files.text("/proc/self/status").unwrap_or_default();
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    users.and_then(|users| users.split_whitespace().nth(1)) == Some("0")
}
