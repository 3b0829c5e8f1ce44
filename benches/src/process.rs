//! Processes that live beside the bench and end with it: the real daemon, and references for the processor time that it
//! takes. What a process used is read from the kernel, over all of its threads.

use anyhow::{Context, ensure};
use chart_client::Connection;
use shm::status::Counter;
use std::hint::black_box;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Tells a child process that it is to nap.
pub(crate) const NAPPER: &str = "CHARTD_BENCH_NAPPER";
/// Tells a child process to copy so many frames a second of so many pixels each: `320 518400`.
pub(crate) const COPIER: &str = "CHARTD_BENCH_COPIER";

/// Wakes every 10 ms, until it is killed.
pub(crate) fn nap() -> ! {
    loop {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Copies frames, until it is killed.
pub(crate) fn copy(task: &str) -> anyhow::Result<()> {
    let (rate, pixels) = task.split_once(' ').context("a wrong task")?;
    let period = Duration::from_secs(1) / rate.parse::<u32>()?;
    let from = vec![7u32; pixels.parse()?];
    let mut to = from.clone();
    let mut planned = Instant::now();
    loop {
        planned += period;
        std::thread::sleep(planned.saturating_duration_since(Instant::now()));
        black_box(&mut to).copy_from_slice(black_box(&from));
    }
}

/// A process that ends with the bench.
pub(crate) struct Running(Child);

impl Running {
    /// This program again, with a task.
    pub(crate) fn task(name: &str, value: &str) -> anyhow::Result<Self> {
        let child = Command::new(std::env::current_exe()?).env(name, value).spawn();
        Ok(Self(child.context("cannot start this program again")?))
    }

    /// Processor time that its threads have used. Of a thread that has ended nothing is known any more.
    pub(crate) fn processor_ns(&self) -> anyhow::Result<u64> {
        let mut sum_ns = 0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.0.id()))? {
            let schedstat = std::fs::read_to_string(task?.path().join("schedstat"))?;
            let used_ns = schedstat.split(' ').next().and_then(|word| word.parse::<u64>().ok());
            sum_ns += used_ns.context("the kernel tells no processor time (CONFIG_SCHED_INFO)")?;
        }
        Ok(sum_ns)
    }

    /// Memory that it has in RAM, shared segments included, in KiB.
    pub(crate) fn resident_kib(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        number.context("the kernel tells no VmRSS")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill(); // It may have ended.
        let _ = self.0.wait();
    }
}

/// The daemon in a process of its own, and a connection to it.
pub(crate) struct Daemon {
    pub(crate) process: Running,
    pub(crate) connection: Connection,
    /// Holds its socket and its configuration.
    _folder: tempfile::TempDir,
}

impl Daemon {
    /// Starts it with this configuration, to which a socket is added. It is connected to its venue on return.
    pub(crate) fn start(config: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let (socket, file) = (folder.path().join("s"), folder.path().join("c.toml"));
        std::fs::write(&file, format!("socket = {socket:?}\n{config}"))?;
        let program = std::env::current_exe()?.with_file_name("chartd");
        ensure!(program.is_file(), "build the daemon first: cargo build --release --bin chartd");
        let child = Command::new(program).args(["run", "--config"]).arg(&file).stderr(Stdio::null()).spawn();
        let mut process = Running(child.context("cannot start chartd")?);
        let connection = loop {
            match Connection::open(Some(&socket)) {
                Ok(connection) if connection.status().counter(Counter::Connects) > 0 => break connection,
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
            ensure!(
                process.0.try_wait()?.is_none(),
                "chartd ended at once; its configuration was:\n{config}"
            );
        };
        Ok(Self { process, connection, _folder: folder })
    }
}
