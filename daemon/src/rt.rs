//! What a hot thread asks of the kernel: a CPU of its own, a real-time priority, memory that stays. Each is
//! optional: what is refused is reported and done without.
//!
//! Where the threads go follows from [`Cpus`], which are read from the kernel, and from the configuration, which may
//! name CPUs itself. [`place`] is a plain function of both.

use crate::config::Realtime;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use std::fs;
use std::io::Write;
use topology::{Choice, CpuList, Topology, choose, device_node};

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

impl Wait {
    /// How the status segment tells it.
    pub(crate) fn number(self) -> u64 {
        match self {
            Self::Auto => 0,
            Self::Spin => 1,
            Self::Poll => 2,
            Self::Block => 3,
        }
    }

    /// The name that the configuration uses.
    pub fn name(self) -> &'static str {
        ["auto", "spin", "poll", "block"][self.number() as usize]
    }
}

/// How long [`Wait::Poll`] spins.
pub const POLL_NS: u64 = 50_000;
/// The stack of a hot thread, all of which is touched before it is needed.
pub(crate) const STACK_BYTES: usize = 512 << 10;

/// What one thread should get.
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

/// What a thread got.
#[derive(Debug, Default)]
pub struct Applied {
    /// A line for each thing that was refused.
    pub refused: Vec<String>,
    /// The SCHED_FIFO priority that it has; zero if none.
    pub priority: u8,
}

impl Placement {
    /// Places the calling thread.
    pub fn apply(&self) -> Applied {
        let mut applied = Applied::default();
        let refused = &mut applied.refused;
        if self.wait == Wait::Spin && self.cpu.is_none() {
            refused.push(format!("{} spins on a shared CPU, and so without SCHED_FIFO", self.name));
        }
        if let Some(cpu) = self.cpu
            && let Err(error) = pin(&[cpu])
        {
            refused.push(format!("{} is not pinned to CPU {cpu}: {error}", self.name));
        }
        // Without a real-time priority, timers are late by up to 50 us unless asked otherwise.
        let _ = nix::sys::prctl::set_timerslack(1); // It cannot fail.
        touch_stack();
        if self.priority > 0 {
            match set_fifo(self.priority) {
                Ok(()) => applied.priority = self.priority,
                Err(error) => refused.push(format!(
                    "{} runs without SCHED_FIFO: {error} (grant it with LimitRTPRIO= or CAP_SYS_NICE)",
                    self.name
                )),
            }
        }
        applied
    }
}

/// Confines the calling thread to these CPUs.
fn pin(cpus: &[usize]) -> nix::Result<()> {
    let mut set = CpuSet::new();
    cpus.iter().try_for_each(|cpu| set.set(*cpu))?;
    sched_setaffinity(Pid::from_raw(0), &set)
}

/// Gives the calling thread a real-time priority that its children do not inherit.
pub(crate) fn set_fifo(priority: u8) -> nix::Result<()> {
    set_policy(0, libc::SCHED_FIFO, priority)
}

/// Takes a thread's real-time priority away.
pub(crate) fn demote(thread: Pid) -> nix::Result<()> {
    set_policy(thread.as_raw(), libc::SCHED_OTHER, 0)
}

fn set_policy(thread: i32, policy: i32, priority: u8) -> nix::Result<()> {
    let parameters = libc::sched_param { sched_priority: priority.into() };
    let policy = policy | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the call reads `parameters`, which outlives it, and changes only that thread's scheduling.
    nix::errno::Errno::result(unsafe { libc::sched_setscheduler(thread, policy, &parameters) }).map(drop)
}

/// How far a thread stands back behind all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Background {
    /// It gets little, but something: somebody waits for it in the end.
    Late,
    /// It gets next to nothing while others want something. Not SCHED_IDLE: on a busy machine its work would pile up.
    Last,
}

/// Has the calling thread, which has no real-time priority, stand back behind all others. Nothing depends on it.
pub(crate) fn step_back(background: Background) {
    /// Of ioprio_set(2): for one thread; the best-effort class at its lowest level, and the idle class.
    const WHO_PROCESS: libc::c_int = 1;
    const LEAST_EFFORT: libc::c_int = 2 << 13 | 7;
    const IDLE: libc::c_int = 3 << 13;
    let (nice, io) = match background {
        Background::Late => (10, LEAST_EFFORT),
        Background::Last => (19, IDLE),
    };
    // SAFETY: neither call takes a pointer; they change the scheduling of the calling thread alone (who 0).
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, nice);
        libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, io);
    }
}

/// Touches the stack that the calling thread may need, so that no page of it is missing later.
#[inline(never)]
fn touch_stack() {
    let mut stack = [0u8; STACK_BYTES / 2];
    stack.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    std::hint::black_box(&mut stack);
}

/// Keeps all memory of the process, present and future, in RAM. Returns why not, if so.
pub fn lock_memory() -> Option<String> {
    use nix::sys::mman::{MlockAllFlags, mlockall};
    if !may_lock_memory() {
        return Some("memory is not locked: RLIMIT_MEMLOCK is limited (grant LimitMEMLOCK=infinity)".into());
    }
    let locked = mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE);
    locked.err().map(|error| format!("memory is not locked: {error}"))
}

/// Whether memory may be locked. Under a limit, a later allocation would fail instead of merely not being locked.
pub(crate) fn may_lock_memory() -> bool {
    use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
    let unlimited = getrlimit(Resource::RLIMIT_MEMLOCK).is_ok_and(|(soft, _)| soft == RLIM_INFINITY);
    unlimited || nix::unistd::geteuid().is_root()
}

/// Keeps CPUs from sleeping so deeply that waking takes longer than this, until it is dropped.
pub struct CpuLatency {
    _held: fs::File,
}

/// Where the kernel takes a bound on the time that CPUs need to wake.
pub(crate) const CPU_DMA_LATENCY: &str = "/dev/cpu_dma_latency";

impl CpuLatency {
    /// Asks for it, or tells why not.
    pub fn hold(at_most_us: u32) -> Result<Self, String> {
        let refused = |error: std::io::Error| {
            format!("CPUs may sleep deeply: {CPU_DMA_LATENCY}: {error} (chartd's udev rule grants it)")
        };
        let mut file = fs::File::options().write(true).open(CPU_DMA_LATENCY).map_err(refused)?;
        file.write_all(&at_most_us.to_ne_bytes()).map_err(refused)?;
        Ok(Self { _held: file })
    }
}

/// The CPUs, and what this process may do with them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cpus {
    /// All of them.
    pub topology: Topology,
    /// Those that this process may use, as it was started.
    pub allowed: CpuList,
}

impl Cpus {
    /// Reads it.
    pub fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        Self {
            topology: Topology::read(text, names),
            allowed: allowed.and_then(|list| list.parse().ok()).unwrap_or_default(),
        }
    }

    /// One isolated CPU of each core, since two threads on one core slow each other down.
    fn best(&self) -> Vec<usize> {
        let isolated = &self.topology.isolated;
        let mut best: Vec<usize> = Vec::new();
        for cpu in isolated.iter() {
            let core = self.topology.cpu(cpu).map(|cpu| &cpu.core);
            if !core.is_some_and(|core| best.iter().any(|other| core.contains(*other))) {
                best.push(cpu);
            }
        }
        // With fewer cores than threads, siblings are better than sharing with everybody.
        let rest = isolated.iter().filter(|cpu| !best.contains(cpu)).collect::<Vec<_>>();
        best.extend(rest);
        best
    }
}

fn text(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn names(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}

/// The CPUs that the kernel keeps free of other work.
pub fn isolated_cpus() -> Vec<usize> {
    Cpus::read().topology.isolated.iter().collect()
}

/// Which CPUs should be isolated for so many hot threads: what the tuner proposes on this machine.
pub(crate) fn choice(cpus: &Cpus, hot_threads: usize) -> Choice {
    choose(&cpus.topology, hot_threads, device_node(text, names))
}

/// Where the work runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The thread that ingests.
    pub ingest: Placement,
    /// The thread that draws; none if the other one does that too.
    pub render: Option<Placement>,
    /// The thread that watches them: above them, and never on their CPUs.
    pub supervisor: Placement,
}

/// Places the threads: where the configuration says, else on isolated CPUs if there are any, else wherever the
/// scheduler likes.
pub fn place(realtime: &Realtime, cpus: &Cpus) -> Plan {
    let split = match realtime.threads {
        Threads::Split => true,
        Threads::Fused => false,
        Threads::Auto => cpus.topology.isolated.len() >= 2 || cpus.allowed.len() >= 4,
    };
    let named = [realtime.ingest_cpu, realtime.render_cpu].into_iter().flatten().collect::<Vec<_>>();
    let mut free = cpus.best().into_iter().filter(|cpu| !named.contains(cpu));
    let mut placed = |name, chosen: Option<usize>| {
        let cpu = chosen.or_else(|| free.next());
        let wait = match realtime.wait {
            Wait::Auto if cpu.is_some_and(|cpu| cpus.topology.isolated.contains(cpu)) => Wait::Spin,
            Wait::Auto => Wait::Block,
            chosen => chosen,
        };
        // A thread that never sleeps and comes before all others would take the CPU from everything else on it.
        let alone = cpu.is_some_and(|cpu| cpus.topology.isolated.contains(cpu));
        let priority = if wait == Wait::Spin && !alone { 0 } else { realtime.priority };
        Placement { name, cpu, priority, wait }
    };
    Plan {
        ingest: placed("chartd-ingest", realtime.ingest_cpu),
        render: split.then(|| placed("chartd-render", realtime.render_cpu)),
        supervisor: Placement {
            name: "chartd-watch",
            cpu: None,
            priority: if realtime.priority == 0 { 0 } else { (realtime.priority + 1).min(99) },
            wait: Wait::Block,
        },
    }
}

impl std::fmt::Display for Placement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.cpu {
            Some(cpu) => write!(f, "{} on CPU {cpu}", self.name)?,
            None => write!(f, "{} on any CPU", self.name)?,
        }
        let how = ["", "spinning", "polling, then blocking", "blocking"][self.wait.number() as usize];
        match self.priority {
            0 => write!(f, ", {how}, no real-time priority"),
            priority => write!(f, ", {how}, SCHED_FIFO {priority}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use topology::Cpu;

    fn cpus(online: usize, isolated: &[usize], cores: &[&[usize]]) -> Cpus {
        let isolated: CpuList = isolated.iter().copied().collect();
        let core = |cpu: usize| {
            cores.iter().find(|core| core.contains(&cpu)).map_or(vec![cpu], |core| core.to_vec())
        };
        let of = |id: usize| Cpu {
            id,
            package: 0,
            node: 0,
            core: core(id).into_iter().collect(),
            cache: CpuList::default(),
            is_small: false,
        };
        let topology = Topology { cpus: (0..online).map(of).collect(), isolated, ..Topology::default() };
        Cpus { allowed: topology.online().without(&topology.isolated), topology }
    }

    fn realtime(text: &str) -> Realtime {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn spinning_is_asked_for_or_isolated() {
        let shared = cpus(2, &[], &[]);
        assert_eq!(place(&realtime(""), &shared).ingest.wait, Wait::Block);
        let spinning = place(&realtime("wait = \"spin\""), &shared).ingest;
        assert_eq!((spinning.wait, spinning.priority), (Wait::Spin, 0), "on a shared CPU it has no priority");
        let named = place(&realtime("wait = \"spin\"\ningest_cpu = 1"), &shared).ingest;
        assert_eq!((named.cpu, named.priority), (Some(1), 0), "a CPU that is named is not isolated by that");
        let alone = place(&realtime(""), &cpus(4, &[2, 3], &[&[2], &[3]]));
        assert_eq!((alone.ingest.cpu, alone.ingest.wait, alone.ingest.priority), (Some(2), Wait::Spin, 10));
        assert_eq!(alone.render.unwrap().cpu, Some(3));
        assert_eq!(alone.supervisor.priority, 11);
    }

    #[test]
    fn hot_threads_do_not_share_a_core_if_they_need_not() {
        let siblings = cpus(8, &[2, 3, 6, 7], &[&[2, 6], &[3, 7]]);
        let plan = place(&realtime(""), &siblings);
        assert_eq!((plan.ingest.cpu, plan.render.unwrap().cpu), (Some(2), Some(3)));
        let one_core = cpus(4, &[1, 3], &[&[1, 3]]);
        let plan = place(&realtime(""), &one_core);
        assert_eq!((plan.ingest.cpu, plan.render.unwrap().cpu), (Some(1), Some(3)));
    }

    #[test]
    fn a_person_may_choose() {
        let plan = place(&realtime("render_cpu = 2"), &cpus(4, &[2, 3], &[&[2], &[3]]));
        assert_eq!((plan.ingest.cpu, plan.render.unwrap().cpu), (Some(3), Some(2)));
        let fused = place(&realtime("threads = \"fused\""), &cpus(16, &[], &[]));
        assert_eq!(fused.render, None);
        assert!(place(&realtime(""), &cpus(4, &[], &[])).render.is_some());
        assert!(place(&realtime(""), &cpus(2, &[], &[])).render.is_none());
    }
}
