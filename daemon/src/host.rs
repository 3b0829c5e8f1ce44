//! What this machine grants to chartd, and for what it does not, the line that would grant it. It changes nothing.

use crate::config::{Config, Realtime};
use crate::render;
use crate::rt::{self, Cpus, Plan};
use crate::uring::{RECEIVE_PAGES, Ring, RingPlan};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statfs::{self, statfs};
use nix::unistd::{AccessFlags, Group, access};
use serde::Serialize;
use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use topology::Topology;

/// As many as the tuner's profiles isolate CPUs for.
const HOT_THREADS: usize = 2;
const HUGE_PAGE_BYTES: usize = 2 << 20;
/// What a full house needs: every client has a socket, and takes descriptors for a moment.
const LEAST_FILES: u64 = 1024;

/// One thing that chartd would like to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is.
    pub what: &'static str,
    /// Whether it is there.
    pub granted: bool,
    /// What was found.
    pub found: String,
    /// The line that grants it, if it is missing.
    pub grant: Option<String>,
}

impl Finding {
    fn new(what: &'static str, granted: bool, found: String, grant: impl Into<String>) -> Self {
        Self { what, granted, found, grant: (!granted).then(|| grant.into()) }
    }
}

/// Looks at everything that the configuration asks for. The first is necessary; all others chartd does without.
pub fn findings(config: &Config) -> Vec<Finding> {
    let cpus = Cpus::read();
    let plan = rt::place(&config.realtime, &cpus);
    let mut found = vec![uring(), isolation(&cpus, &plan)];
    if config.realtime.priority > 0 {
        found.push(fifo(config.realtime.priority));
    }
    if config.realtime.lock_memory {
        found.push(locked_memory());
    }
    if config.realtime.huge_pages {
        found.push(huge_pages(config));
    }
    found.extend(config.realtime.cpu_dma_latency_us.map(|_| cpu_latency()));
    found.extend(cpu_files(&plan));
    found.extend([clock(), open_files(), socket_folder(config)]);
    found.extend(config.journal.as_ref().map(|journal| journal_folder(&journal.folder)));
    found
}

/// The threads of a configuration on this machine, a line each.
pub fn threads(realtime: &Realtime) -> Vec<String> {
    let Plan { ingest, render, supervisor } = rt::place(realtime, &Cpus::read());
    let draws = if render.is_some() { "" } else { "; it draws too" };
    let mut lines = vec![format!("{ingest}{draws}")];
    lines.extend(render.map(|render| render.to_string()));
    lines.push(supervisor.to_string());
    lines
}

fn uring() -> Finding {
    let ring = Ring::new(&RingPlan::ingest(false));
    let found = ring.as_ref().map_or_else(ToString::to_string, |ring| ring.features().to_string());
    let grant = "sysctl kernel.io_uring_disabled=0, or in a container its seccomp profile";
    Finding::new("io_uring", ring.is_ok(), found, grant)
}

fn isolation(cpus: &Cpus, plan: &Plan) -> Finding {
    let Topology { isolated, .. } = &cpus.topology;
    let hot: Vec<_> = [Some(&plan.ingest), plan.render.as_ref()].into_iter().flatten().collect();
    let shared =
        hot.iter().filter(|placement| placement.cpu.is_none_or(|cpu| !isolated.contains(cpu))).count();
    let online = cpus.topology.online();
    let found = match isolated.is_empty() {
        true => format!("none of {} CPUs is isolated", online.len()),
        false => format!("isolated: {isolated} of {} CPUs", online.len()),
    };
    // Once two CPUs are isolated, there are two hot threads.
    let choice = rt::choice(cpus, HOT_THREADS);
    let chosen = &choice.isolated;
    let grant = match online.len() {
        ..=2 => "a machine with more CPUs: isolating one of two leaves too little for the rest".to_owned(),
        _ if chosen.is_empty() => choice.reasons.join("; "),
        _ => format!("boot with isolcpus=managed_irq,domain,{chosen} nohz_full={chosen} rcu_nocbs={chosen}"),
    };
    Finding::new("CPUs of its own", shared == 0, found, grant)
}

fn fifo(priority: u8) -> Finding {
    // Asked on a thread that ends at once, so that this one stays as it is.
    let tried = std::thread::spawn(move || rt::set_fifo(priority)).join();
    let outcome = tried.unwrap_or(Err(nix::Error::EINVAL));
    let found =
        outcome.map_or_else(|error| error.to_string(), |()| format!("priority {priority} is granted"));
    let grant = match outcome {
        // With CONFIG_RT_GROUP_SCHED a control group has no real-time budget unless it is given one.
        Err(nix::Error::EPERM) if nix::unistd::geteuid().is_root() => {
            "a real-time budget for the control group (cpu.rt_runtime_us), or CAP_SYS_NICE".to_owned()
        }
        _ => format!("LimitRTPRIO={priority} in the unit, or CAP_SYS_NICE"),
    };
    Finding::new("SCHED_FIFO", outcome.is_ok(), found, grant)
}

fn locked_memory() -> Finding {
    let limit = getrlimit(Resource::RLIMIT_MEMLOCK).map_or(0, |(soft, _)| soft);
    let granted = rt::may_lock_memory();
    let found = if granted { "without limit".into() } else { format!("limited to {} KiB", limit >> 10) };
    Finding::new("locked memory", granted, found, "LimitMEMLOCK=infinity in the unit")
}

fn huge_pages(config: &Config) -> Finding {
    let segment = |bytes: usize| bytes.div_ceil(HUGE_PAGE_BYTES);
    let pixels = |chart: &crate::config::Chart| {
        let [width, height] = chart.size.map(|side| side as usize);
        segment(width.next_multiple_of(16) * 4 * height * (render::SLOTS + config.leases))
    };
    let needed: usize = config.charts.iter().map(pixels).sum::<usize>() + 1 + RECEIVE_PAGES;
    let read = |name| fs::read_to_string(format!("/sys/kernel/mm/hugepages/hugepages-2048kB/{name}"));
    let number = |name| read(name).ok().and_then(|text| text.trim().parse::<usize>().ok()).unwrap_or(0);
    let free = number("free_hugepages");
    let more = number("nr_hugepages") + needed.saturating_sub(free);
    let shmem = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/shmem_enabled").unwrap_or_default();
    let transparent = ["[advise]", "[always]", "[force]"].iter().any(|choice| shmem.contains(choice));
    let grant = format!(
        "sysctl vm.nr_hugepages={more} (twice as many let a new configuration have them too), or \
         echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled"
    );
    let also = if transparent { "; the kernel puts them together" } else { "" };
    let found = format!("{free} free, about {needed} needed{also}");
    Finding::new("2 MiB pages", free >= needed || transparent, found, grant)
}

fn cpu_latency() -> Finding {
    let granted = access(rt::CPU_DMA_LATENCY, AccessFlags::W_OK);
    let found = granted.map_or_else(|error| error.to_string(), |()| "may be written".into());
    let grant = "a udev rule: KERNEL==\"cpu_dma_latency\", GROUP=\"chartd\", MODE=\"0660\"";
    Finding::new("/dev/cpu_dma_latency", granted.is_ok(), found, grant)
}

/// How the CPUs of the hot threads are run.
fn cpu_files(plan: &Plan) -> Vec<Finding> {
    let hot = [Some(&plan.ingest), plan.render.as_ref()].into_iter().flatten();
    let mut found = Vec::new();
    for cpu in hot.filter_map(|placement| placement.cpu) {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor");
        // Without the file, as in a virtual machine, there is nothing to choose.
        if let Ok(governor) = fs::read_to_string(&path) {
            let governor = governor.trim();
            let state = format!("CPU {cpu} is governed by '{governor}'");
            found.push(Finding::new(
                "full clock",
                governor == "performance",
                state,
                format!("echo performance > {path}"),
            ));
        }
    }
    found
}

fn clock() -> Finding {
    let path = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let source = fs::read_to_string(path).unwrap_or_default();
    let source = source.trim();
    let grant =
        "boot with tsc=reliable, if the processor's counter is; others cost a system call for each look";
    Finding::new("fast clock", source == "tsc" || source == "kvm-clock", format!("'{source}'"), grant)
}

fn open_files() -> Finding {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    Finding::new(
        "open files",
        limit >= LEAST_FILES,
        format!("at most {limit}"),
        format!("LimitNOFILE={LEAST_FILES}"),
    )
}

fn socket_folder(config: &Config) -> Finding {
    let socket = config.socket.clone().unwrap_or_else(chart_client::own_socket);
    let folder = socket.parent().unwrap_or(Path::new("/"));
    let existing = existing(folder);
    let granted = access(existing, AccessFlags::W_OK).is_ok();
    let group = match Group::from_name("chartd") {
        Ok(Some(_)) => "its group chartd may connect",
        _ => "there is no group chartd: only its owner may connect",
    };
    let grant = format!(
        "RuntimeDirectory=chartd in the unit, or another place: socket = \"...\", not {}",
        folder.display()
    );
    Finding::new("control socket", granted, format!("{}; {group}", socket.display()), grant)
}

/// The innermost folder of a path that is there. What is not is made if this can be written.
fn existing(folder: &Path) -> &Path {
    folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"))
}

/// Whether the journal can be written past the page cache, and whether what is written stays.
fn journal_folder(folder: &Path) -> Finding {
    let (what, existing) = ("journal", existing(folder));
    let kind = statfs(existing)
        .map_or("a file system that cannot be asked", |found| kind_of(found.filesystem_type()));
    // A file without a name: it is gone as soon as it is closed.
    let open = |flags| {
        fs::File::options().write(true).custom_flags(libc::O_TMPFILE | flags).mode(0o600).open(existing)
    };
    let (plain, direct) = (open(0), open(libc::O_DIRECT));
    let shown = folder.display();
    let elsewhere = "another place for it: folder = in [journal], on a disk with ext4 or XFS";
    match (plain, direct) {
        (Err(error), _) => {
            let grant = format!(
                "StateDirectory=chartd in the unit, or another place: folder = in [journal], not {shown}"
            );
            Finding::new(what, false, format!("{shown} on {kind} cannot be written: {error}"), grant)
        }
        (Ok(_), _) if kind == "tmpfs" => {
            Finding::new(what, false, format!("{shown} is on tmpfs: a power cut takes all of it"), elsewhere)
        }
        (Ok(_), Err(error)) => {
            Finding::new(what, false, format!("{shown} on {kind}, without O_DIRECT: {error}"), elsewhere)
        }
        (Ok(_), Ok(_)) => Finding::new(what, true, format!("{shown} on {kind}, with O_DIRECT"), ""),
    }
}

/// The name of a file system.
fn kind_of(found: statfs::FsType) -> &'static str {
    match found {
        statfs::EXT4_SUPER_MAGIC => "ext4",
        statfs::XFS_SUPER_MAGIC => "XFS",
        statfs::BTRFS_SUPER_MAGIC => "Btrfs",
        statfs::TMPFS_MAGIC => "tmpfs",
        statfs::OVERLAYFS_SUPER_MAGIC => "overlayfs",
        statfs::NFS_SUPER_MAGIC => "NFS",
        _ => "another file system",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_comes_with_the_line_that_grants_it() {
        let text = "[[feed]]\nvenue = \"binance\"\nsymbols = [\"A\"]\n[[chart]]\nsource = \"binance:A\"\ntimeframe = \"1m\"\n\
                    size = [8192, 8192]\n[realtime]\ncpu_dma_latency_us = 0\n";
        let found = findings(&Config::parse(text, "a test").unwrap());
        for finding in &found {
            assert_eq!(finding.granted, finding.grant.is_none(), "{finding:?}");
            assert!(!finding.found.is_empty(), "{finding:?}");
        }
        let pages = found.iter().find(|finding| finding.what == "2 MiB pages").unwrap();
        // Six slots of 256 MiB, the market data, and two pages of receive buffers.
        assert!(pages.found.contains("about 771 needed"), "{pages:?}");
        assert!(found.iter().any(|finding| finding.what == "/dev/cpu_dma_latency"));
    }

    #[test]
    fn a_journal_needs_a_disk_that_it_may_write_to() {
        let here = tempfile::tempdir().unwrap();
        let found = journal_folder(&here.path().join("not/there/yet"));
        println!("{found:?}");
        assert!(found.found.contains("not/there/yet on "), "{found:?}");
        let found = journal_folder(Path::new("/proc/journal"));
        assert!(!found.granted && found.grant.unwrap().contains("StateDirectory=chartd"), "{}", found.found);
        if statfs("/dev/shm").is_ok_and(|found| found.filesystem_type() == statfs::TMPFS_MAGIC) {
            let found = journal_folder(Path::new("/dev/shm/journal"));
            assert!(!found.granted && found.found.contains("a power cut takes all of it"), "{found:?}");
        }
    }
}
