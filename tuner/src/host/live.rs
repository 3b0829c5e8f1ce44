//! The machine at hand, or one whose files lie in a folder.
//!
//! What holds: with a root, no path leads out of it, symbolic links and `..` included (openat2 with RESOLVE_IN_ROOT);
//! programs are only those that lie in it. Files are replaced by a rename, flushed before and after. Network cards and
//! swap are those of the machine at hand alone: a folder has none.

use super::{GpuItem, Host, HostError, HostErrorKind, Lock, NicItem, UNFINISHED, ethtool, later};
use crate::gpu::{GpuError, Nvml};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat, renameat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Files larger than this are no settings.
const LARGEST_BYTES: u64 = 16 << 20;
/// Where programs are looked for.
const PROGRAMS: [&str; 5] = ["usr/local/sbin", "usr/sbin", "usr/bin", "sbin", "bin"];

/// See above.
#[derive(Debug)]
pub struct Live {
    root: PathBuf,
    folder: OwnedFd,
    cards: Nvml,
}

impl Live {
    /// The machine whose files lie under `root`: `/` for the one at hand.
    pub fn new(root: &Path) -> Result<Self, HostError> {
        let folder = File::open(root).map_err(|error| HostError::of(root, &error))?;
        // Whoever is started for later works in another folder, where a relative path would lead elsewhere.
        let root = std::path::absolute(root).map_err(|error| HostError::of(root, &error))?;
        Ok(Self { root, folder: folder.into(), cards: Nvml::default() })
    }

    /// Whether it is the machine at hand.
    pub fn is_here(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Refuses what only the machine at hand has.
    fn only_here(&self, subject: &Path) -> Result<(), HostError> {
        let said = "only the machine at hand has it, not a folder";
        let refusal = || HostError::new(subject, HostErrorKind::NotSupported, said);
        if self.is_here() { Ok(()) } else { Err(refusal()) }
    }

    fn open(&self, path: &Path, flags: OFlag, mode: u32) -> Result<OwnedFd, HostError> {
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .mode(Mode::from_bits_truncate(mode))
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let within = path.strip_prefix("/").unwrap_or(path);
        let within = if within.as_os_str().is_empty() { Path::new(".") } else { within };
        match openat2(self.folder.as_fd(), within, how) {
            // Filters of system calls answer so, as that of udev does: they cannot see flags behind a pointer. The
            // root is no bound for the machine at hand.
            Err(Errno::ENOSYS) if self.is_here() => {
                let flags = flags | OFlag::O_CLOEXEC;
                openat(self.folder.as_fd(), within, flags, Mode::from_bits_truncate(mode))
            }
            other => other,
        }
        .map_err(|errno| refused(path, errno))
    }

    /// The folder that a path is in, made if it is missing and `make` says so, and its name there.
    fn parent<'a>(&self, path: &'a Path, make: bool) -> Result<(OwnedFd, &'a Path), HostError> {
        let nameless = || HostError::new(path, HostErrorKind::Invalid, "it has no name");
        let name = Path::new(path.file_name().ok_or_else(nameless)?);
        let folder = path.parent().unwrap_or(Path::new("/"));
        if make {
            self.make_folder(folder)?;
        }
        Ok((self.open(folder, OFlag::O_DIRECTORY | OFlag::O_RDONLY, 0)?, name))
    }

    fn make_folder(&self, folder: &Path) -> Result<(), HostError> {
        match self.open(folder, OFlag::O_DIRECTORY | OFlag::O_RDONLY, 0) {
            Err(error) if error.kind == HostErrorKind::Absent => {
                let (above, name) = self.parent(folder, true)?;
                let mode = Mode::from_bits_truncate(0o755);
                match mkdirat(above.as_fd(), name, mode) {
                    // Whatever the umask of whoever calls: all may read the summary of what is applied.
                    Ok(()) => fchmodat(above.as_fd(), name, mode, FchmodatFlags::FollowSymlink)
                        .map_err(|errno| refused(folder, errno))
                        .and_then(|()| flush(folder, above)),
                    Err(Errno::EEXIST) => flush(folder, above),
                    Err(errno) => Err(refused(folder, errno)),
                }
            }
            other => other.map(drop),
        }
    }
}

/// `SWAP_FLAG_PREFER` of `linux/swap.h`: the low 15 bits are a priority.
const WITH_PRIORITY: i32 = 0x8000;
const HIGHEST_PRIORITY: i32 = 0x7fff;

fn refused(path: &Path, errno: Errno) -> HostError {
    HostError::of(path, &errno.into())
}

fn flush(path: &Path, folder: OwnedFd) -> Result<(), HostError> {
    File::from(folder).sync_all().map_err(|error| HostError::of(path, &error))
}

fn of_card(pci: &str, error: &GpuError) -> HostError {
    let kind = match error {
        GpuError::NoDriver(_) | GpuError::NoCard(_) => HostErrorKind::Absent,
        GpuError::NotSupported(_) => HostErrorKind::NotSupported,
        GpuError::Denied(_) => HostErrorKind::Denied,
        GpuError::Value(_) => HostErrorKind::Invalid,
        GpuError::Other { .. } => HostErrorKind::Other,
    };
    HostError::new(Path::new(pci), kind, error.to_string())
}

impl Host for Live {
    fn read(&self, path: &Path) -> Result<String, HostError> {
        self.bytes(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    fn bytes(&self, path: &Path) -> Result<Vec<u8>, HostError> {
        let file = File::from(self.open(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK, 0)?);
        let mut bytes = Vec::new();
        file.take(LARGEST_BYTES).read_to_end(&mut bytes).map_err(|error| HostError::of(path, &error))?;
        Ok(bytes)
    }

    fn list(&self, path: &Path) -> Result<Vec<String>, HostError> {
        let folder = self.open(path, OFlag::O_DIRECTORY | OFlag::O_RDONLY, 0)?;
        let mut folder = nix::dir::Dir::from_fd(folder).map_err(|errno| refused(path, errno))?;
        let mut names = Vec::new();
        for entry in folder.iter() {
            let entry = entry.map_err(|errno| refused(path, errno))?;
            let name = entry.file_name().to_string_lossy();
            if name != "." && name != ".." {
                names.push(name.into_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn link(&self, path: &Path) -> Result<PathBuf, HostError> {
        let (folder, name) = self.parent(path, false)?;
        readlinkat(folder.as_fd(), name).map(PathBuf::from).map_err(|errno| refused(path, errno))
    }

    fn mode(&self, path: &Path) -> Result<u32, HostError> {
        let file = File::from(self.open(path, OFlag::O_PATH, 0)?);
        let metadata = file.metadata().map_err(|error| HostError::of(path, &error))?;
        Ok(metadata.permissions().mode() & 0o7777)
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), HostError> {
        let mut file = File::from(self.open(path, OFlag::O_WRONLY | OFlag::O_TRUNC, 0)?);
        let written = file.write(text.as_bytes()).map_err(|error| HostError::of(path, &error))?;
        match written == text.len() {
            true => Ok(()),
            false => Err(HostError::new(path, HostErrorKind::Other, "it took a part only")),
        }
    }

    fn replace(&self, path: &Path, text: &str, mode: u32) -> Result<(), HostError> {
        let (folder, name) = self.parent(path, true)?;
        let mut temporary = name.as_os_str().to_owned();
        temporary.push(UNFINISHED);
        let beside = path.with_file_name(&temporary);
        let failed = |error: std::io::Error| HostError::of(path, &error);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW;
        let mut file = File::from(self.open(&beside, flags, mode)?);
        file.set_permissions(std::fs::Permissions::from_mode(mode)).map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        renameat(folder.as_fd(), Path::new(&temporary), folder.as_fd(), name)
            .map_err(|errno| refused(path, errno))?;
        flush(path, folder)
    }

    fn remove(&self, path: &Path) -> Result<(), HostError> {
        let (folder, name) = match self.parent(path, false) {
            Err(error) if error.kind == HostErrorKind::Absent => return Ok(()),
            other => other?,
        };
        match unlinkat(folder.as_fd(), name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => flush(path, folder),
            Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(refused(path, errno)),
        }
    }

    fn remove_folder(&self, path: &Path) -> Result<(), HostError> {
        let (folder, name) = match self.parent(path, false) {
            Err(error) if error.kind == HostErrorKind::Absent => return Ok(()),
            other => other?,
        };
        match unlinkat(folder.as_fd(), name, UnlinkatFlags::RemoveDir) {
            Ok(()) => flush(path, folder),
            Err(Errno::ENOENT | Errno::ENOTEMPTY | Errno::EEXIST) => Ok(()),
            Err(errno) => Err(refused(path, errno)),
        }
    }

    fn later(&self, after: Duration, arguments: &[&str]) -> Result<(), HostError> {
        later::later(self, &self.root, after, arguments)
    }

    fn append(&self, path: &Path, text: &str) -> Result<(), HostError> {
        let (folder, _) = self.parent(path, true)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_APPEND | OFlag::O_NOFOLLOW;
        let mut file = File::from(self.open(path, flags, 0o600)?);
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        written.map_err(|error| HostError::of(path, &error))?;
        flush(path, folder)
    }

    fn lock(&self, path: &Path) -> Result<Lock, HostError> {
        let _ = self.parent(path, true)?;
        let file = File::from(self.open(path, OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW, 0o600)?);
        match file.try_lock() {
            Ok(()) => Ok(Lock::new(Some(file))),
            Err(std::fs::TryLockError::WouldBlock) => {
                Err(HostError::new(path, HostErrorKind::Busy, "another process has locked it"))
            }
            Err(std::fs::TryLockError::Error(error)) => Err(HostError::of(path, &error)),
        }
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String, HostError> {
        let subject = Path::new(program);
        let found =
            PROGRAMS.iter().map(|folder| self.root.join(folder).join(program)).find(|at| at.is_file());
        let missing = || HostError::new(subject, HostErrorKind::Absent, "there is no such program");
        let mut command = Command::new(found.ok_or_else(missing)?);
        command.args(arguments).env("LC_ALL", "C").env("TUNER_ROOT", &self.root);
        let output = command.output().map_err(|error| HostError::of(subject, &error))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.trim().lines().last().unwrap_or("it said nothing").to_owned();
            return Err(HostError::new(
                subject,
                HostErrorKind::Failed,
                format!("{last} ({})", output.status),
            ));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn gpu(&self, pci: &str, item: GpuItem) -> Result<Option<String>, HostError> {
        match self.is_here().then(|| self.cards.get(pci, item)) {
            None | Some(Err(GpuError::NoDriver(_) | GpuError::NoCard(_))) => Ok(None),
            Some(found) => found.map_err(|error| of_card(pci, &error)),
        }
    }

    fn set_gpu(&self, pci: &str, item: GpuItem, value: &str) -> Result<(), HostError> {
        self.only_here(Path::new(pci))?;
        self.cards.set(pci, item, value).map_err(|error| of_card(pci, &error))
    }

    fn nic(&self, interface: &str, item: NicItem) -> Result<Option<String>, HostError> {
        if self.is_here() { ethtool::get(interface, item) } else { Ok(None) }
    }

    fn set_nic(&self, interface: &str, item: NicItem, value: &str) -> Result<(), HostError> {
        self.only_here(Path::new(interface))?;
        ethtool::set(interface, item, value)
    }

    fn set_swap(&self, area: &Path, priority: Option<i32>) -> Result<(), HostError> {
        self.only_here(area)?;
        let nul = |_| HostError::new(area, HostErrorKind::Invalid, "it is no path");
        let path = CString::new(area.as_os_str().as_bytes()).map_err(nul)?;
        let outcome = match priority {
            Some(priority) => {
                // Priorities below zero are the kernel's own: it gives them where none is asked for.
                let flags = if priority < 0 { 0 } else { WITH_PRIORITY | priority.min(HIGHEST_PRIORITY) };
                // SAFETY: the path ends in a zero and outlives the call.
                unsafe { libc::swapon(path.as_ptr(), flags) }
            }
            // SAFETY: as above.
            None => unsafe { libc::swapoff(path.as_ptr()) },
        };
        Errno::result(outcome).map(drop).map_err(|errno| refused(area, errno))
    }
}
