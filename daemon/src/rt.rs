//! What a hot thread asks of the kernel: a CPU of its own, a real-time priority, memory that stays. Each is
//! optional: what is refused is reported and done without.

use crate::config::Realtime;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use std::fs;

/// How a loop waits for work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wait {
    /// Spins on a CPU that the kernel reports as isolated, blocks otherwise.
    #[default]
    Auto,
    /// Never gives the CPU away.
    Spin,
    /// Spins for [`POLL_NS`], then blocks.
    Poll,
    /// Sleeps until there is work.
    Block,
}

/// How the hot work is spread over threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Threads {
    /// Split where two CPUs are isolated or there are four, else fused.
    #[default]
    Auto,
    /// One thread runs a trade to its frame to completion, which saves the hop between CPUs.
    Fused,
    /// One thread ingests, another draws: a long drawing delays no trade.
    Split,
}

/// How long [`Wait::Poll`] spins.
pub const POLL_NS: u64 = 50_000;

/// What one hot thread should get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Its name, as `top` shows it.
    pub name: &'static str,
    /// Its CPU, if it is to have one.
    pub cpu: Option<usize>,
    /// Its SCHED_FIFO priority; zero leaves it as it is.
    pub priority: u8,
    /// How it waits.
    pub wait: Wait,
}

impl Placement {
    /// Places the calling thread. Returns a line for each thing that was refused.
    pub fn apply(&self) -> Vec<String> {
        let mut refused = Vec::new();
        if self.wait == Wait::Spin && self.cpu.is_none() {
            refused.push(format!("{} spins on a shared CPU, and so without SCHED_FIFO", self.name));
        }
        if let Some(cpu) = self.cpu {
            let mut set = CpuSet::new();
            if let Err(error) = set.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set)) {
                refused.push(format!("{} is not pinned to CPU {cpu}: {error}", self.name));
            }
        }
        if self.priority > 0
            && let Err(error) = set_fifo(self.priority)
        {
            refused.push(format!(
                "{} runs without SCHED_FIFO: {error} (grant it with LimitRTPRIO= or CAP_SYS_NICE)",
                self.name
            ));
        }
        refused
    }
}

/// Gives the calling thread a real-time priority that its children do not inherit.
fn set_fifo(priority: u8) -> nix::Result<()> {
    let parameters = libc::sched_param { sched_priority: priority.into() };
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the call reads `parameters`, which outlives it, and changes only this thread's scheduling.
    nix::errno::Errno::result(unsafe { libc::sched_setscheduler(0, policy, &parameters) }).map(drop)
}

/// Keeps all memory of the process, present and future, in RAM. Returns why not, if so.
pub fn lock_memory() -> Option<String> {
    use nix::sys::mman::{MlockAllFlags, mlockall};
    use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
    // Under a limit, a later allocation would fail instead of merely not being locked.
    let unlimited = getrlimit(Resource::RLIMIT_MEMLOCK).is_ok_and(|(soft, _)| soft == RLIM_INFINITY);
    if !unlimited && !nix::unistd::geteuid().is_root() {
        return Some("memory is not locked: RLIMIT_MEMLOCK is limited (grant LimitMEMLOCK=infinity)".into());
    }
    let locked = mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE);
    locked.err().map(|error| format!("memory is not locked: {error}"))
}

/// The CPUs that the kernel keeps free of other work.
pub fn isolated_cpus() -> Vec<usize> {
    fs::read_to_string("/sys/devices/system/cpu/isolated")
        .map(|list| parse_cpu_list(&list))
        .unwrap_or_default()
}

/// Reads a list such as `1-3,8`. What is not a number is left out.
fn parse_cpu_list(list: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?)
    };
    list.trim().split(',').filter_map(range).flatten().collect()
}

/// Where the hot work runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The thread that ingests.
    pub ingest: Placement,
    /// The thread that draws; none if the other one does that too.
    pub render: Option<Placement>,
}

/// Places the hot threads: on isolated CPUs if there are any, else wherever the scheduler likes.
pub fn place(realtime: &Realtime) -> Plan {
    let isolated = isolated_cpus();
    let placed = |name, cpu: Option<&usize>| {
        let wait = match realtime.wait {
            Wait::Auto if cpu.is_some() => Wait::Spin,
            Wait::Auto => Wait::Block,
            chosen => chosen,
        };
        // A thread that never sleeps and comes before all others would take the CPU from everything else on it.
        let priority = if wait == Wait::Spin && cpu.is_none() { 0 } else { realtime.priority };
        Placement { name, cpu: cpu.copied(), priority, wait }
    };
    let split = match realtime.threads {
        Threads::Split => true,
        Threads::Fused => false,
        Threads::Auto => {
            isolated.len() >= 2 || std::thread::available_parallelism().map_or(1, usize::from) >= 4
        }
    };
    Plan {
        ingest: placed("chartd-ingest", isolated.first()),
        render: split.then(|| placed("chartd-render", isolated.get(1))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists() {
        assert_eq!(parse_cpu_list("1-3,8\n"), [1, 2, 3, 8]);
        assert_eq!(parse_cpu_list("\n"), [0usize; 0]);
        assert_eq!(parse_cpu_list("5"), [5]);
    }

    #[test]
    fn spinning_is_asked_for_or_isolated() {
        let plan = |wait, threads| place(&Realtime { wait, threads, priority: 10, ..Realtime::default() });
        let auto = plan(Wait::Auto, Threads::Auto).ingest;
        assert_eq!(auto.wait == Wait::Spin, auto.cpu.is_some());
        let spinning = plan(Wait::Spin, Threads::Split);
        for placement in [spinning.ingest, spinning.render.unwrap()] {
            assert_eq!(placement.wait, Wait::Spin);
            let own = placement.cpu.is_some();
            assert_eq!(placement.priority == 10, own, "a shared CPU must not be taken by a spinner");
        }
        assert_eq!(plan(Wait::Block, Threads::Fused).render, None);
    }
}
