//! Where an export goes: a file that is there whole or not at all, or standard output.
//!
//! What holds: until [`Target::keep`] the file is what it was before. What is written meanwhile is beside it, as
//! `.NAME.PID.part`, and goes away with the target.

use super::ToolError;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// See above.
pub(super) struct Target {
    path: PathBuf,
    part: PathBuf,
    is_kept: bool,
}

impl Target {
    /// Begins a file that is to be at `path`.
    pub(super) fn new(path: &Path) -> Result<Self, ToolError> {
        let name = path.file_name().ok_or_else(|| {
            ToolError::Usage(format!(
                "{} does not name a file; give -o FILE, or - for standard output",
                path.display()
            ))
        })?;
        if path.metadata().is_ok_and(|data| !data.is_file()) {
            let path = path.display();
            return Err(ToolError::Usage(format!(
                "{path} is not a file; use -o - to write to standard output"
            )));
        }
        // What a link points to is written, not the link.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let part = format!(".{}.{}.part", name.to_string_lossy(), std::process::id());
        Ok(Self { part: path.with_file_name(part), path, is_kept: false })
    }

    /// An empty file to write to, from its beginning. What was written before is gone.
    pub(super) fn begin(&self) -> Result<BufWriter<File>, ToolError> {
        let file = File::create(&self.part).map_err(|source| self.failed(source))?;
        Ok(BufWriter::with_capacity(1 << 16, file))
    }

    /// Puts what was written in its place, durably. Returns how long it is.
    pub(super) fn keep(mut self) -> Result<u64, ToolError> {
        let keep = || {
            let file = File::open(&self.part)?;
            file.sync_all()?;
            std::fs::rename(&self.part, &self.path)?;
            Ok(file.metadata()?.len())
        };
        let bytes = keep().map_err(|source| self.failed(source))?;
        self.is_kept = true;
        Ok(bytes)
    }

    pub(super) fn failed(&self, source: io::Error) -> ToolError {
        ToolError::Output { path: self.path.display().to_string(), source }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = std::fs::remove_file(&self.part); // It may never have been begun.
        }
    }
}

/// Standard output, by large pieces.
pub(super) fn stdout() -> impl Write {
    BufWriter::with_capacity(1 << 16, io::stdout().lock())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_there_whole_or_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trades.csv");
        std::fs::write(&path, "before").unwrap();
        let list = || std::fs::read_dir(dir.path()).unwrap().count();

        let target = Target::new(&path).unwrap();
        target.begin().unwrap().write_all(b"half").unwrap();
        assert_eq!(list(), 2);
        drop(target);
        assert_eq!((std::fs::read_to_string(&path).unwrap().as_str(), list()), ("before", 1));

        let target = Target::new(&path).unwrap();
        target.begin().unwrap().write_all(b"a first attempt").unwrap();
        target.begin().unwrap().write_all(b"after").unwrap();
        assert_eq!(target.keep().unwrap(), 5);
        assert_eq!((std::fs::read_to_string(&path).unwrap().as_str(), list()), ("after", 1));
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path(), Path::new("/dev/null"), Path::new("/"), Path::new("..")] {
            assert!(Target::new(path).is_err_and(|error| error.is_usage()), "{}", path.display());
        }
        let gone = Target::new(&dir.path().join("gone/trades.csv")).unwrap();
        assert!(gone.begin().is_err_and(|error| !error.is_usage()));
    }
}
