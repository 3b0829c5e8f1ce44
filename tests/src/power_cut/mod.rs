//! A file system of our own, in memory, whose power can be cut at any moment: what was flushed is there afterwards, and
//! of the rest what chance leaves. `disk` says what that means; `mount` is how the kernel asks for it, by FUSE.
//!
//! It is mounted where only the calling thread sees it, with the threads and processes that it starts from then on. So
//! nothing is left behind on the machine, however the test ends.
//!
//! ```no_run
//! use tests::power_cut::{Image, PowerCut};
//! let Some(mount) = PowerCut::mount(&Image::default(), 7) else { return };
//! std::fs::write(mount.path().join("a"), b"never flushed").unwrap();
//! let left = mount.cut(8);
//! assert!(left.0.len() <= 1);
//! ```

mod disk;
mod mount;

pub use disk::{Dice, Image, SECTOR_BYTES};

use disk::Disk;

use fuser::{BackgroundSession, Config, MountOption};
use nix::sched::{CloneFlags, unshare};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tempfile::TempDir;

/// A mounted file system whose power can be cut. It has one folder.
pub struct PowerCut {
    disk: Arc<Mutex<Disk>>,
    folder: TempDir,
    /// Ends its thread when the last file is closed.
    _session: BackgroundSession,
}

impl PowerCut {
    /// Mounts one that holds an image. `None`, and a line that says so, where FUSE cannot be used.
    pub fn mount(image: &Image, seed: u64) -> Option<Self> {
        let disk = Arc::new(Mutex::new(Disk::new(image)));
        let folder = tempfile::tempdir().expect("a folder can be made");
        hide_mounts();
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("power-cut".into()), MountOption::NoAtime];
        let mounted = fuser::spawn_mount(mount::Mount::new(disk.clone(), seed), folder.path(), &config);
        match mounted {
            Ok(session) => Some(Self { disk, folder, _session: session }),
            Err(error) => {
                println!("skipped: no FUSE here: {error}");
                None
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Cuts the power, and tells what is left. From now on every request fails with EIO.
    pub fn cut(&self, seed: u64) -> Image {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner).cut(seed)
    }
}

impl Drop for PowerCut {
    fn drop(&mut self) {
        // A process that was killed may hold files for a moment longer.
        let path = CString::new(self.folder.path().as_os_str().as_bytes()).expect("a path holds no zero");
        // SAFETY: the path is a string that ends with a zero and outlives the call.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    }
}

/// Has what this thread mounts be seen by it and its children only. Needs root; else it is seen by all.
fn hide_mounts() {
    if unshare(CloneFlags::CLONE_NEWNS).is_ok() {
        let (none, root) = (c"none".as_ptr(), c"/".as_ptr());
        // SAFETY: strings that end with a zero, and no data.
        unsafe { libc::mount(none, root, none, libc::MS_REC | libc::MS_PRIVATE, std::ptr::null()) };
    }
}
