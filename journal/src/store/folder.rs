//! A folder of segments, and what is done in it off the journal thread's way.
//!
//! What holds: a name appears only when what it names is complete and durable, and a change has returned only when it
//! is durable. Files with other names are nobody's business here. Several threads may work in it by clones of one
//! [`Folder`]: what one of them makes of a segment that another removes does not appear.

use crate::index;
use crate::pack::Packed;
use crate::store::{Segment, Source, Store};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How much is written at once where a segment is prepared.
const ZEROS_BYTES: usize = 1 << 20;
/// Digits of a segment's number in a file's name.
const DIGITS: usize = 16;
/// Segments belong to the daemon's user, and its group may read them.
const MODE: u32 = 0o640;

/// Aligned, as direct writing needs it.
#[repr(align(4096))]
struct Zeros([u8; ZEROS_BYTES]);
static ZEROS: Zeros = Zeros([0; ZEROS_BYTES]);

/// A folder of segments.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
    /// Held while files appear or vanish. Never for long: what takes long is done in unfinished files.
    changing: Arc<Mutex<()>>,
}

/// What a file of a segment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `.seg`: its blocks.
    Plain,
    /// `.seg.zst`: its blocks, packed.
    Packed,
    /// `.idx`: its index.
    Index,
    /// `.tmp`, also behind one of these: what is not complete.
    Unfinished,
}

impl Form {
    const WHOLE: [Self; 3] = [Self::Plain, Self::Packed, Self::Index];

    const fn suffix(self) -> &'static str {
        match self {
            Self::Plain => ".seg",
            Self::Packed => ".seg.zst",
            Self::Index => ".idx",
            Self::Unfinished => ".tmp",
        }
    }
}

impl Folder {
    /// The journal in this folder.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), changing: Arc::default() }
    }

    fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner) // It guards no data.
    }

    /// Where a file of a segment is until it is complete.
    fn unfinished(&self, number: u64, form: Form) -> PathBuf {
        self.path_of(number, form).with_added_extension("tmp")
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a file of a segment is, or would be.
    pub fn path_of(&self, number: u64, form: Form) -> PathBuf {
        self.path.join(format!("{number:016}{}", form.suffix()))
    }

    /// Makes a segment of `bytes` written zeros, durably. If that fails nothing is left of it. After each step but the
    /// last, `between` is told how many were written: it may take its time, or break it off. They go past the page
    /// cache, whose bursts are in everybody's way, but where the file system refuses that.
    pub fn prepare(
        &self,
        number: u64,
        bytes: u64,
        mut between: impl FnMut(u64) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.path_of(number, Form::Plain).try_exists()?
            || self.path_of(number, Form::Packed).try_exists()?
        {
            return Err(io::Error::new(
                ErrorKind::AlreadyExists,
                format!("segment {number} is there already"),
            ));
        }
        let unfinished = self.unfinished(number, Form::Plain);
        self.put(number, Form::Plain, |file| {
            let mut direct =
                OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(&unfinished).ok();
            let mut written = 0;
            while written < bytes {
                let zeros = &ZEROS.0[..(bytes - written).min(ZEROS_BYTES as u64) as usize];
                let outcome = direct.as_ref().map(|direct| direct.write_all_at(zeros, written));
                match outcome {
                    Some(Err(error)) if is_refusal(&error) => direct = None,
                    Some(outcome) => outcome?,
                    None => {}
                }
                if direct.is_none() {
                    file.write_all_at(zeros, written)?;
                }
                written += zeros.len() as u64;
                if written < bytes {
                    between(written)?;
                }
            }
            Ok(())
        })
    }

    /// Ends a closed segment where its blocks end, durably.
    pub fn trim(&self, number: u64, used_bytes: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(self.path_of(number, Form::Plain))?;
        if file.metadata()?.len() > used_bytes {
            file.set_len(used_bytes)?;
            file.sync_all()?;
            self.sync()?;
        }
        Ok(())
    }

    /// Removes what earlier runs have not completed. Returns how many files that were.
    pub fn remove_leftovers(&self) -> io::Result<usize> {
        let mut removed = 0;
        for (number, form, _) in self.files()? {
            if form == Form::Unfinished {
                self.remove_unfinished(number)?;
                removed += 1;
            }
        }
        if removed > 0 {
            self.sync()?;
        }
        Ok(removed)
    }

    fn remove_unfinished(&self, number: u64) -> io::Result<()> {
        remove_file(&self.path_of(number, Form::Unfinished))?;
        Form::WHOLE.into_iter().try_for_each(|form| remove_file(&self.unfinished(number, form)))
    }

    /// Puts an index beside its segment.
    pub(crate) fn put_index(&self, number: u64, bytes: &[u8]) -> io::Result<()> {
        self.put(number, Form::Index, |file| file.write_all(bytes))
    }

    /// Has a file appear whole and durable, or not at all.
    pub(crate) fn put(
        &self,
        number: u64,
        form: Form,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<()> {
        let unfinished = self.unfinished(number, form);
        let put = || {
            let options =
                OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(MODE).clone();
            let mut file = options.open(&unfinished)?;
            write(&mut file)?;
            file.sync_all()?;
            let _alone = self.change();
            self.check_origin(number, form)?;
            fs::rename(&unfinished, self.path_of(number, form))?;
            self.sync()
        };
        put().inspect_err(|_| {
            // What cannot be removed now is removed as a leftover.
            let _ = fs::remove_file(&unfinished);
        })
    }

    /// What is made of a segment is worth nothing if that was removed meanwhile.
    fn check_origin(&self, number: u64, form: Form) -> io::Result<()> {
        let has = |form| self.path_of(number, form).try_exists();
        let is_there = match form {
            Form::Packed => has(Form::Plain)?,
            Form::Index => has(Form::Plain)? || has(Form::Packed)?,
            Form::Plain | Form::Unfinished => true,
        };
        if is_there { Ok(()) } else { Err(ErrorKind::NotFound.into()) }
    }

    /// Removes one file of a segment, durably.
    pub(crate) fn remove_form(&self, number: u64, form: Form) -> io::Result<()> {
        remove_file(&self.path_of(number, form))?;
        self.sync()
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    /// The files that are segments', with their lengths.
    fn files(&self) -> io::Result<Vec<(u64, Form, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some((number, form)) = name.to_str().and_then(parse) else { continue };
            match entry.metadata() {
                Ok(metadata) if metadata.is_file() => files.push((number, form, metadata.len())),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {} // Removed meanwhile.
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    }

    fn plain(&self, segment: &Segment) -> io::Result<PathBuf> {
        if segment.is_packed {
            let refusal = format!("segment {} is packed: it is not written any more", segment.number);
            return Err(io::Error::new(ErrorKind::InvalidInput, refusal));
        }
        Ok(self.path_of(segment.number, Form::Plain))
    }
}

/// The number and form that a file's name tells.
fn parse(name: &str) -> Option<(u64, Form)> {
    let (digits, suffix) = name.split_at_checked(DIGITS)?;
    let form = match suffix {
        _ if suffix.ends_with(Form::Unfinished.suffix()) => Form::Unfinished,
        _ => Form::WHOLE.into_iter().find(|form| form.suffix() == suffix)?,
    };
    digits.bytes().all(|digit| digit.is_ascii_digit()).then_some((digits.parse().ok()?, form))
}

/// Whether a write is not possible in this way, and perhaps in another.
fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported)
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

impl Store for Folder {
    fn list(&self) -> io::Result<Vec<Segment>> {
        let mut segments: Vec<Segment> = self
            .files()?
            .into_iter()
            .filter(|(_, form, _)| matches!(form, Form::Plain | Form::Packed))
            .map(|(number, form, bytes)| Segment { number, is_packed: form == Form::Packed, bytes })
            .collect();
        segments.sort_unstable(); // Of one number the plain one is first.
        segments.dedup_by_key(|segment| segment.number);
        Ok(segments)
    }

    fn open(&self, segment: &Segment) -> io::Result<Box<dyn Source>> {
        if !segment.is_packed {
            match Plain::open(&self.path_of(segment.number, Form::Plain)) {
                Err(error) if error.kind() == ErrorKind::NotFound => {} // Perhaps packed meanwhile.
                outcome => return Ok(Box::new(outcome?)),
            }
        }
        Ok(Box::new(Packed::open(File::open(self.path_of(segment.number, Form::Packed))?)?))
    }

    fn cut(&self, segment: &Segment, len: u64) -> io::Result<()> {
        self.plain(segment)?;
        // The index tells of blocks that are gone then.
        remove_file(&self.path_of(segment.number, Form::Index))?;
        self.trim(segment.number, len)
    }

    fn remove(&self, segment: &Segment) -> io::Result<()> {
        // The segment last: what is left of it if this is broken off can be removed again.
        let first = if segment.is_packed { Form::Plain } else { Form::Packed };
        let last = if segment.is_packed { Form::Packed } else { Form::Plain };
        let _alone = self.change();
        self.remove_unfinished(segment.number)?;
        for form in [Form::Index, first, last] {
            remove_file(&self.path_of(segment.number, form))?;
        }
        self.sync()
    }

    fn flush(&self, segment: &Segment) -> io::Result<()> {
        File::open(self.plain(segment)?)?.sync_all()?;
        self.sync()
    }

    fn index(&self, segment: &Segment) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.path_of(segment.number, Form::Index)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            outcome => outcome?,
        };
        let mut bytes = Vec::new();
        file.take(index::MAX_BYTES).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}

/// A plain segment.
struct Plain {
    file: File,
    len: u64,
}

impl Plain {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok(Self { file, len })
    }
}

impl Source for Plain {
    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while read < out.len() {
            match self.file.read_at(&mut out[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(bytes) => read += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn len(&self) -> u64 {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_completed_leaves_nothing() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(place.path());
        let full = folder.put(4, Form::Plain, |file| {
            file.write_all(&ZEROS.0)?;
            Err(io::Error::from(ErrorKind::StorageFull))
        });
        assert_eq!(full.unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }
}
