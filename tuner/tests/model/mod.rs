//! A machine in memory that takes writes as Linux does: it refuses, rounds, forgets and comes late.
//!
//! It starts as a recorded host; what its files do is in `kernel`, what a reboot does in `boot`. What holds: files of
//! `/proc` and `/sys` behave as the kernel's, by their path (`model_kernel.rs` compares both on the machine at hand);
//! all others are plain files with modes. What a test wants to go wrong, it asks for ([`Model::managed`] and the like).
//! Links are not followed: a path is known by the text that it is asked by.
#![allow(dead_code, unreachable_pub, reason = "each test file compiles this for itself and uses a part")]

mod boot;
mod kernel;
mod units;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use tuner::host::{GpuItem, Host, HostError, HostErrorKind, Lock, NicItem, Recorded};

/// See above.
#[derive(Debug)]
pub struct Model(Mutex<State>);

/// What the machine is, and what is to go wrong.
#[derive(Debug, Clone)]
struct State {
    now: Recorded,
    /// As it was when it had just booted, without parameters: what a reboot comes back to.
    fresh: Recorded,
    is_root: bool,
    managed: BTreeSet<u32>,
    /// Interrupts that follow only after so many reads.
    late: BTreeMap<u32, usize>,
    /// Reads left, and then the effective affinity.
    pending: BTreeMap<u32, (usize, String)>,
    /// Huge pages that can be had, by their size in KiB and node.
    huge_pages: BTreeMap<(u64, usize), u64>,
    partition_fails: Option<String>,
    read_only: Vec<PathBuf>,
    hangs_with: Vec<String>,
    boots: usize,
    /// All that was written, in order: attributes as `path=text`, files as their path.
    writes: Vec<String>,
}

impl Model {
    /// The machine that a text tells of.
    pub fn new(text: &str) -> Self {
        let now: Recorded = text.parse().unwrap();
        Self(Mutex::new(State {
            fresh: now.clone(),
            now,
            is_root: true,
            managed: BTreeSet::new(),
            late: BTreeMap::new(),
            pending: BTreeMap::new(),
            huge_pages: BTreeMap::new(),
            partition_fails: None,
            read_only: Vec::new(),
            hangs_with: Vec::new(),
            boots: 0,
            writes: Vec::new(),
        }))
    }

    /// One of `tests/fixtures`.
    pub fn fixture(name: &str) -> Self {
        Self::new(&fixture(name))
    }

    fn with(self, change: impl FnOnce(&mut State)) -> Self {
        change(&mut self.state());
        self
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Everything is asked by somebody who is not root.
    pub fn by_user(self) -> Self {
        self.with(|state| {
            state.is_root = false;
            let status = Path::new("/proc/self/status");
            let text = state
                .now
                .read(status)
                .unwrap_or_default()
                .replace("Uid:\t0\t0\t0\t0", "Uid:\t1000\t1000\t1000\t1000");
            state.now.files.insert(status.into(), (0o444, text));
        })
    }

    /// The kernel manages this interrupt: its affinity cannot be changed.
    pub fn managed(self, irq: u32) -> Self {
        self.with(|state| {
            let _ = state.managed.insert(irq);
        })
    }

    /// The effective affinity of this interrupt follows only after so many reads of it.
    pub fn late(self, irq: u32, reads: usize) -> Self {
        self.with(|state| {
            let _ = state.late.insert(irq, reads);
        })
    }

    /// No more huge pages of this size can be had on this node.
    pub fn huge_pages(self, size_kib: u64, node: usize, most: u64) -> Self {
        self.with(|state| {
            let _ = state.huge_pages.insert((size_kib, node), most);
        })
    }

    /// Partitions of CPUs are taken, but are invalid, with this reason.
    pub fn partition_fails(self, reason: &str) -> Self {
        self.with(|state| state.partition_fails = Some(reason.into()))
    }

    /// Below this path, the file system is read-only, as `/proc/sys` is in a container.
    pub fn read_only(self, path: &str) -> Self {
        self.with(|state| state.read_only.push(path.into()))
    }

    /// A kernel with this parameter does not come up: somebody has to turn the machine off and on.
    pub fn hangs_with(self, parameter: &str) -> Self {
        self.with(|state| state.hangs_with.push(parameter.into()))
    }

    /// Puts a file there, whoever may.
    pub fn put(&self, path: &str, mode: u32, text: &str) {
        self.state().now.files.insert(path.into(), (mode, text.into()));
    }

    /// The text of a file, whoever may read it.
    pub fn text(&self, path: &str) -> Option<String> {
        self.state().now.files.get(Path::new(path)).map(|(_, text)| text.clone())
    }

    /// All that it is now: equal before and after what was undone.
    pub fn snapshot(&self) -> Recorded {
        self.state().now.clone()
    }

    /// Another machine that is now as this one is.
    pub fn copy(&self) -> Self {
        Self(Mutex::new(self.state().clone()))
    }

    /// All that was written so far, in order.
    pub fn writes(&self) -> Vec<String> {
        self.state().writes.clone()
    }

    /// How often it was booted again.
    pub fn boots(&self) -> usize {
        self.state().boots
    }
}

/// The text of one of `tests/fixtures`.
pub fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/{name}.host"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn refused(path: &Path, kind: HostErrorKind) -> HostError {
    HostError::new(path, kind, format!("{kind:?}"))
}

impl State {
    fn check_write(&self, path: &Path) -> Result<(), HostError> {
        if self.read_only.iter().any(|folder| path.starts_with(folder)) {
            return Err(refused(path, HostErrorKind::ReadOnly));
        }
        if !self.is_root { Err(refused(path, HostErrorKind::Denied)) } else { Ok(()) }
    }

    /// The files that the kernel makes up.
    fn is_kernels(path: &Path) -> bool {
        path.starts_with("/proc") || path.starts_with("/sys")
    }
}

impl Host for Model {
    fn read(&self, path: &Path) -> Result<String, HostError> {
        let mut state = self.state();
        state.before_read(path);
        let text = state.now.read(path)?;
        let mode = state.now.mode(path)?;
        let may = state.is_root || mode & 0o044 != 0;
        if may { Ok(text) } else { Err(refused(path, HostErrorKind::Denied)) }
    }

    fn list(&self, path: &Path) -> Result<Vec<String>, HostError> {
        self.state().now.list(path)
    }

    fn link(&self, path: &Path) -> Result<PathBuf, HostError> {
        self.state().now.link(path)
    }

    fn mode(&self, path: &Path) -> Result<u32, HostError> {
        self.state().now.mode(path)
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), HostError> {
        let mut state = self.state();
        let (mode, _) =
            state.now.files.get(path).ok_or_else(|| refused(path, HostErrorKind::Absent))?.clone();
        state.check_write(path)?;
        // Even root may not open an attribute that nobody may write.
        if State::is_kernels(path) && mode & 0o222 == 0 {
            return Err(refused(path, HostErrorKind::Denied));
        }
        state.writes.push(format!("{}={text}", path.display()));
        match State::is_kernels(path) {
            // Only interrupts look at a write of nothing.
            true if text.is_empty() && !path.starts_with("/proc/irq") => Ok(()),
            true => state.store(path, text),
            false => {
                state.now.files.insert(path.into(), (mode, text.into()));
                Ok(())
            }
        }
    }

    fn replace(&self, path: &Path, text: &str, mode: u32) -> Result<(), HostError> {
        let mut state = self.state();
        state.check_write(path)?;
        if State::is_kernels(path) {
            return Err(refused(path, HostErrorKind::Denied));
        }
        state.writes.push(path.display().to_string());
        state.now.files.insert(path.into(), (mode, text.into()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), HostError> {
        let mut state = self.state();
        state.check_write(path)?;
        state.writes.push(path.display().to_string());
        state.now.files.remove(path);
        Ok(())
    }

    fn append(&self, path: &Path, text: &str) -> Result<(), HostError> {
        let mut state = self.state();
        state.check_write(path)?;
        state.now.files.entry(path.into()).or_insert((0o600, String::new())).1.push_str(text);
        Ok(())
    }

    fn lock(&self, path: &Path) -> Result<Lock, HostError> {
        self.state().check_write(path).map(|()| Lock::new(None))
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String, HostError> {
        self.state().run(program, arguments)
    }

    /// What comes late here comes with looks, not with time.
    fn pause(&self, _: std::time::Duration) {}

    fn nic(&self, interface: &str, item: NicItem) -> Result<Option<String>, HostError> {
        self.state().now.nic(interface, item)
    }

    fn set_nic(&self, interface: &str, item: NicItem, value: &str) -> Result<(), HostError> {
        let mut state = self.state();
        state.check_write(Path::new(interface))?;
        state.writes.push(format!("{interface} {item}={value}"));
        state.set_nic(interface, item, value)
    }

    fn set_swap(&self, area: &Path, priority: Option<i32>) -> Result<(), HostError> {
        let mut state = self.state();
        state.check_write(area)?;
        state.writes.push(format!("swap {}={priority:?}", area.display()));
        state.set_swap(area, priority)
    }

    fn gpu(&self, pci: &str, item: GpuItem) -> Result<Option<String>, HostError> {
        self.state().now.gpu(pci, item)
    }

    fn set_gpu(&self, pci: &str, item: GpuItem, value: &str) -> Result<(), HostError> {
        let mut state = self.state();
        state.check_write(Path::new(pci))?;
        state.writes.push(format!("{pci} {item}={value}"));
        state.set_gpu(pci, item, value)
    }
}
