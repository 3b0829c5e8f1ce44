//! What the tuner sees and touches of a machine: files, programs, network cards and graphics cards.
//!
//! All of it goes through [`Host`], so that a recorded or modelled machine is as good as the one at hand. Paths are
//! those of the machine, absolute, wherever it really lies.

mod ethtool;
mod later;
mod live;
mod recorded;

pub use live::Live;
pub use recorded::{Recorded, RecordedError};

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What [`Host::replace`] may leave beside a file, with this behind its name, if it is interrupted.
pub const UNFINISHED: &str = ".tuner-new";

/// A machine. Reading has no side effect; only what takes `&self` and says so writes.
pub trait Host {
    /// The text of a file. What is not UTF-8 is replaced; files of sysfs end in a newline, which stays.
    fn read(&self, path: &Path) -> Result<String, HostError>;

    /// The bytes of a file that is not text.
    fn bytes(&self, path: &Path) -> Result<Vec<u8>, HostError> {
        self.read(path).map(String::into_bytes)
    }

    /// The names in a folder, sorted.
    fn list(&self, path: &Path) -> Result<Vec<String>, HostError>;

    /// Where a symbolic link leads, as it is written there.
    fn link(&self, path: &Path) -> Result<PathBuf, HostError>;

    /// The permission bits of a file or folder, as `0o644`.
    fn mode(&self, path: &Path) -> Result<u32, HostError>;

    /// Writes to a file that is there, in one call, as sysfs and procfs want it.
    fn write(&self, path: &Path, text: &str) -> Result<(), HostError>;

    /// Puts a file in place of another or of none: whole, or not at all, also after a power cut. Folders above it that
    /// are missing are made.
    fn replace(&self, path: &Path, text: &str, mode: u32) -> Result<(), HostError>;

    /// Removes a file, lastingly. That it is not there is no error.
    fn remove(&self, path: &Path) -> Result<(), HostError>;

    /// Removes a folder, lastingly, if nothing is in it. That something is, or that it is not there, is no error. Where
    /// folders are there only by what is in them, nothing is to be done.
    fn remove_folder(&self, _path: &Path) -> Result<(), HostError> {
        Ok(())
    }

    /// Appends to a file, which is made if it is missing (its mode is 0o600), lastingly: it is on the medium when this
    /// returns.
    fn append(&self, path: &Path, text: &str) -> Result<(), HostError>;

    /// Locks a file, which is made if it is missing, until what is returned is dropped or the process ends, however it
    /// ends. [`HostErrorKind::Busy`] if somebody else has it.
    fn lock(&self, path: &Path) -> Result<Lock, HostError>;

    /// Runs a program of the machine to its end and returns what it printed on standard output. One that ends with
    /// another status than 0 is an error.
    fn run(&self, program: &str, arguments: &[&str]) -> Result<String, HostError>;

    /// Has this program run once more, for the same machine and with these arguments, when so much time has passed or
    /// before. It goes on when this process has ended, and may be run when there is nothing to do for it yet.
    fn later(&self, _after: Duration, arguments: &[&str]) -> Result<(), HostError> {
        Err(HostError::new(Path::new("tuner"), HostErrorKind::NotSupported, arguments.join(" ")))
    }

    /// Lets so much time pass.
    fn pause(&self, how_long: Duration) {
        std::thread::sleep(how_long);
    }

    /// A setting of a network card, as text; none if the driver has no such setting.
    fn nic(&self, _interface: &str, _item: NicItem) -> Result<Option<String>, HostError> {
        Ok(None)
    }

    /// Changes one.
    fn set_nic(&self, interface: &str, item: NicItem, _value: &str) -> Result<(), HostError> {
        Err(HostError::new(Path::new(interface), HostErrorKind::NotSupported, format!("{item:?}")))
    }

    /// Takes an area of swap into use, with this priority, or (none) out of use.
    fn set_swap(&self, area: &Path, _priority: Option<i32>) -> Result<(), HostError> {
        Err(HostError::new(area, HostErrorKind::NotSupported, "swap"))
    }

    /// A setting of a graphics card, named by its PCI address; none if the card has no such setting.
    fn gpu(&self, _pci: &str, _item: GpuItem) -> Result<Option<String>, HostError> {
        Ok(None)
    }

    /// Changes one.
    fn set_gpu(&self, pci: &str, item: GpuItem, _value: &str) -> Result<(), HostError> {
        Err(HostError::new(Path::new(pci), HostErrorKind::NotSupported, format!("{item:?}")))
    }
}

/// A lock that is held.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "it is held, not looked at")] Option<std::fs::File>);

impl Lock {
    /// One held by an open file; by nothing where there are no processes to lock out, as in a model.
    pub fn new(file: Option<std::fs::File>) -> Self {
        Self(file)
    }
}

/// What can be set on a network card through ethtool's interface. Numbers in decimal; `on` and `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NicItem {
    /// How long the card gathers received packets before it interrupts, in us.
    RxUsecs,
    /// Whether it chooses that by itself.
    AdaptiveRx,
    /// How many queues it has, each for both directions.
    CombinedChannels,
    /// How many packets a receive queue holds.
    RxRing,
    /// Large receive offload.
    Lro,
    /// Generic receive offload.
    Gro,
    /// Energy-efficient Ethernet.
    Eee,
    /// Flow control for what is received.
    RxPause,
    /// Wake on LAN: the letters of what wakes it, `d` for nothing.
    WakeOnLan,
}

/// What can be set on a graphics card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GpuItem {
    /// Whether the driver stays loaded without a client: `on`, `off`.
    Persistence,
    /// The range that graphics clocks are locked to, in MHz: `1200-1500`; empty if they are not.
    LockedClocks,
    /// The same for memory clocks.
    LockedMemoryClocks,
    /// The most power that it may draw, in mW.
    PowerLimit,
}

impl fmt::Display for NicItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RxUsecs => "rx-usecs",
            Self::AdaptiveRx => "adaptive-rx",
            Self::CombinedChannels => "combined-channels",
            Self::RxRing => "rx-ring",
            Self::Lro => "lro",
            Self::Gro => "gro",
            Self::Eee => "eee",
            Self::RxPause => "rx-pause",
            Self::WakeOnLan => "wake-on-lan",
        })
    }
}

impl fmt::Display for GpuItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Persistence => "persistence",
            Self::LockedClocks => "locked-clocks",
            Self::LockedMemoryClocks => "locked-memory-clocks",
            Self::PowerLimit => "power-limit",
        })
    }
}

/// Why the machine did not do as it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HostErrorKind {
    /// There is no such file, program or device.
    Absent,
    /// Permission is missing (EACCES, EPERM).
    Denied,
    /// It is in use (EBUSY).
    Busy,
    /// The value is refused (EINVAL, ERANGE).
    Invalid,
    /// The kernel cannot do it there (EIO), as with managed interrupts.
    Io,
    /// The device or kernel does not offer it (EOPNOTSUPP).
    NotSupported,
    /// The file system is read-only (EROFS).
    ReadOnly,
    /// A program ended badly.
    Failed,
    /// Anything else.
    Other,
}

/// A refusal of the machine, with what it was about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct HostError {
    /// What it was about: a path, an interface, a program.
    pub subject: PathBuf,
    /// Which kind of refusal.
    pub kind: HostErrorKind,
    /// What the machine said.
    pub said: String,
}

impl HostError {
    /// A refusal.
    pub fn new(subject: &Path, kind: HostErrorKind, said: impl Into<String>) -> Self {
        Self { subject: subject.into(), kind, said: said.into() }
    }

    /// What an error of the operating system means for this path.
    pub fn of(subject: &Path, error: &io::Error) -> Self {
        let kind = match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR | libc::ENODEV | libc::ENXIO) => HostErrorKind::Absent,
            Some(libc::EACCES | libc::EPERM) => HostErrorKind::Denied,
            Some(libc::EBUSY) => HostErrorKind::Busy,
            Some(libc::EINVAL | libc::ERANGE | libc::EOVERFLOW) => HostErrorKind::Invalid,
            Some(libc::EIO) => HostErrorKind::Io,
            Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::ENOTTY) => HostErrorKind::NotSupported,
            Some(libc::EROFS) => HostErrorKind::ReadOnly,
            _ => HostErrorKind::Other,
        };
        Self::new(subject, kind, error.to_string())
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject.display(), self.said)
    }
}

/// Makes nothing of what is not there; other errors stay.
pub fn absent_is_none<T>(outcome: Result<T, HostError>) -> Result<Option<T>, HostError> {
    match outcome {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind == HostErrorKind::Absent => Ok(None),
        Err(error) => Err(error),
    }
}
