//! A small file system of its own, in a file: it can really be full.

use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Mounted until it is dropped.
pub(crate) struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// An ext4 of so many MiB. `None`, and a line that says why, where it cannot be had.
    pub(crate) fn mount(mib: u64) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let (image, mounted) = (folder.path().join("image"), folder.path().join("mounted"));
        std::fs::create_dir(&mounted).unwrap();
        std::fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
        let run = |program: &str, arguments: &[&str], paths: &[&PathBuf]| {
            let output = Command::new(program).args(arguments).args(paths).output();
            match output {
                Ok(output) if output.status.success() => Ok(()),
                Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
                Err(error) => Err(format!("{program}: {error}")),
            }
        };
        let made = run("mkfs.ext4", &["-q", "-m", "0", "-O", "^has_journal"], &[&image])
            .and_then(|()| run("mount", &["-o", "loop"], &[&image, &mounted]));
        match made {
            Ok(()) => Some(Self { folder }),
            Err(why) => {
                eprintln!("skipped: a full disk ({why})");
                None
            }
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: after a failure a daemon may still have files there.
        let mounted: &Path = &self.path();
        let _ = Command::new("umount").arg("-l").arg(mounted).status(); // The folder stays then.
    }
}
