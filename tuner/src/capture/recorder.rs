//! A machine that is only read, and remembers what was read.

use crate::facts::kernel::unpack;
use crate::host::{GpuItem, Host, HostError, HostErrorKind, Lock, NicItem, Recorded};
use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// See above.
pub(super) struct Recorder<'a> {
    host: &'a dyn Host,
    seen: RefCell<Recorded>,
}

impl<'a> Recorder<'a> {
    pub(super) fn new(host: &'a dyn Host) -> Self {
        Self { host, seen: RefCell::default() }
    }

    pub(super) fn finish(self) -> Recorded {
        self.seen.into_inner()
    }

    /// Remembers a refusal; that something is absent needs no memory.
    fn failed<T>(&self, path: &Path, outcome: Result<T, HostError>) -> Result<T, HostError> {
        if let Err(error) = &outcome
            && error.kind != HostErrorKind::Absent
        {
            self.seen.borrow_mut().failures.insert(path.into(), (error.kind, error.said.clone()));
        }
        outcome
    }

    fn keep(&self, path: &Path, text: String) {
        let mode = self.host.mode(path).unwrap_or(0o444);
        self.seen.borrow_mut().files.insert(path.into(), (mode, text));
    }

    fn told(&self, asked: String, answer: &str) {
        self.seen.borrow_mut().told.insert(asked, answer.into());
    }
}

fn only_read(path: &Path) -> HostError {
    HostError::new(path, HostErrorKind::ReadOnly, "a host is captured without being changed")
}

impl Host for Recorder<'_> {
    fn read(&self, path: &Path) -> Result<String, HostError> {
        let text = self.failed(path, self.host.read(path))?;
        self.keep(path, text.clone());
        Ok(text)
    }

    /// What is packed is kept unpacked, to be read by people.
    fn bytes(&self, path: &Path) -> Result<Vec<u8>, HostError> {
        let bytes = self.failed(path, self.host.bytes(path))?;
        let text = unpack(&bytes).unwrap_or_else(|| String::from_utf8_lossy(&bytes).into_owned());
        self.keep(path, text);
        Ok(bytes)
    }

    fn list(&self, path: &Path) -> Result<Vec<String>, HostError> {
        let names = self.failed(path, self.host.list(path))?;
        self.seen.borrow_mut().folders.insert(path.into(), names.clone());
        Ok(names)
    }

    fn link(&self, path: &Path) -> Result<PathBuf, HostError> {
        let target = self.failed(path, self.host.link(path))?;
        self.seen.borrow_mut().links.insert(path.into(), target.clone());
        Ok(target)
    }

    fn mode(&self, path: &Path) -> Result<u32, HostError> {
        let mode = self.failed(path, self.host.mode(path))?;
        self.seen.borrow_mut().files.entry(path.into()).or_insert((mode, String::new()));
        Ok(mode)
    }

    fn write(&self, path: &Path, _text: &str) -> Result<(), HostError> {
        Err(only_read(path))
    }

    fn replace(&self, path: &Path, _text: &str, _mode: u32) -> Result<(), HostError> {
        Err(only_read(path))
    }

    fn remove(&self, path: &Path) -> Result<(), HostError> {
        Err(only_read(path))
    }

    fn append(&self, path: &Path, _text: &str) -> Result<(), HostError> {
        Err(only_read(path))
    }

    fn lock(&self, path: &Path) -> Result<Lock, HostError> {
        Err(only_read(path))
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String, HostError> {
        // Whatever else a program does would change the machine.
        if !matches!(arguments.first(), Some(&("show" | "is-active" | "is-enabled"))) {
            return Err(only_read(Path::new(program)));
        }
        let answer = self.host.run(program, arguments)?;
        self.told(Recorded::of_run(program, arguments), &answer);
        Ok(answer)
    }

    fn nic(&self, interface: &str, item: NicItem) -> Result<Option<String>, HostError> {
        let answer = self.host.nic(interface, item)?;
        if let Some(answer) = &answer {
            self.told(Recorded::of_nic(interface, item), &format!("{answer}\n"));
        }
        Ok(answer)
    }

    fn gpu(&self, pci: &str, item: GpuItem) -> Result<Option<String>, HostError> {
        let answer = self.host.gpu(pci, item)?;
        if let Some(answer) = &answer {
            self.told(Recorded::of_gpu(pci, item), &format!("{answer}\n"));
        }
        Ok(answer)
    }
}
