//! What a power cut leaves of a folder: the model behind the mount, without FUSE.
//!
//! A file is what programs see of it, what was flushed, and every change between the two, in order. What holds:
//!
//! - What was flushed stays, to the byte. A flush covers the changes that had been answered when it began, and no
//!   other: a write that is on its way may miss it. They are durable when it ends, and not before.
//! - Of what was not flushed each sector of 512 bytes stays or not, by itself. Of several versions of a sector any may
//!   be the one that stays. No sector is torn, and none holds what nobody wrote there.
//! - A new length stays or not, as a sector does. What it adds is zeros until it is written.
//! - What was done to names stays up to a point and not beyond: a journalled file system (ext4, XFS) keeps the order.
//!   Flushing the folder makes all of it durable; fsync of a file, what was done to its name, and fdatasync its
//!   creation only; and with each all that came before. That is what ext4 does. It often does more (it commits every
//!   5 s, and replaces files by rename with care); nothing here relies on that.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

/// What a disk writes whole or not at all.
pub const SECTOR_BYTES: usize = 512;
/// How much the disk holds.
pub(super) const CAPACITY_BYTES: u64 = 1 << 30;

/// An errno.
pub(super) type Errno = i32;

/// A folder, as seen and as flushed.
#[derive(Debug, Default)]
pub(super) struct Disk {
    files: BTreeMap<u64, File>,
    names: BTreeMap<OsString, u64>,
    flushed_names: BTreeMap<OsString, u64>,
    /// What was done to names since, in order.
    log: Vec<NameChange>,
    last_file: u64,
    last_change: u64,
    is_cut: bool,
}

/// A file that has or had a name.
#[derive(Debug, Default)]
struct File {
    now: Vec<u8>,
    flushed: Vec<u8>,
    pending: Vec<Change>,
    opens: u64,
}

#[derive(Debug)]
struct Change {
    id: u64,
    /// Whether whoever wrote it was told that it is done.
    is_answered: bool,
    what: What,
}

#[derive(Debug)]
enum What {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Debug, Clone)]
struct NameChange {
    id: u64,
    file: u64,
    from: Option<OsString>,
    to: Option<OsString>,
}

/// A flush that has begun: what it covers.
#[derive(Debug)]
pub(super) struct Flushing {
    file: Option<u64>,
    changes: Vec<u64>,
    names_until: u64,
}

/// What was left after a cut: whole files by their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image(pub BTreeMap<OsString, Vec<u8>>);

impl Image {
    /// The files of a folder.
    pub fn read_from(folder: &Path) -> io::Result<Self> {
        let read = |entry: io::Result<std::fs::DirEntry>| {
            let entry = entry?;
            Ok((entry.file_name(), std::fs::read(entry.path())?))
        };
        std::fs::read_dir(folder)?.map(read).collect::<io::Result<_>>().map(Self)
    }

    /// Writes it to an ordinary folder.
    pub fn write_to(&self, folder: &Path) -> io::Result<()> {
        self.0.iter().try_for_each(|(name, bytes)| std::fs::write(folder.join(name), bytes))
    }
}

/// Numbers that follow from a seed.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Dice of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number below `below`, which is not 0. (SplitMix64.)
    pub fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ word >> 31) % below
    }

    /// True in so many of 100 cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

impl Disk {
    /// A disk that holds an image, all of it durable.
    pub(super) fn new(image: &Image) -> Self {
        let mut disk = Self::default();
        for (name, bytes) in &image.0 {
            disk.last_file += 1;
            disk.files.insert(
                disk.last_file,
                File { now: bytes.clone(), flushed: bytes.clone(), ..File::default() },
            );
            disk.names.insert(name.clone(), disk.last_file);
        }
        disk.flushed_names.clone_from(&disk.names);
        disk
    }

    /// Whether the power is still on.
    pub(super) fn check(&self) -> Result<(), Errno> {
        if self.is_cut { Err(libc::EIO) } else { Ok(()) }
    }

    /// All names, with their files.
    pub(super) fn names(&self) -> impl Iterator<Item = (&OsStr, u64)> {
        self.names.iter().map(|(name, file)| (name.as_os_str(), *file))
    }

    /// The file of this name.
    pub(super) fn find(&self, name: &OsStr) -> Result<u64, Errno> {
        self.check()?;
        self.names.get(name).copied().ok_or(libc::ENOENT)
    }

    /// How long a file is.
    pub(super) fn len(&self, file: u64) -> Result<u64, Errno> {
        self.check()?;
        self.files.get(&file).map(|file| file.now.len() as u64).ok_or(libc::ENOENT)
    }

    /// How much all files take.
    pub(super) fn used_bytes(&self) -> u64 {
        self.files.values().map(|file| file.now.len() as u64).sum()
    }

    /// Makes an empty file of a name that is free.
    pub(super) fn create(&mut self, name: &OsStr) -> Result<u64, Errno> {
        self.check()?;
        if self.names.contains_key(name) {
            return Err(libc::EEXIST);
        }
        self.last_file += 1;
        self.files.insert(self.last_file, File::default());
        self.rename_logged(self.last_file, None, Some(name));
        Ok(self.last_file)
    }

    /// Gives a file another name, which another file may have had.
    pub(super) fn rename(&mut self, from: &OsStr, to: &OsStr, replaces: bool) -> Result<(), Errno> {
        let file = self.find(from)?;
        if !replaces && self.names.contains_key(to) {
            return Err(libc::EEXIST);
        }
        if from != to {
            self.rename_logged(file, Some(from), Some(to));
        }
        Ok(())
    }

    /// Takes a file's name away.
    pub(super) fn unlink(&mut self, name: &OsStr) -> Result<(), Errno> {
        let file = self.find(name)?;
        self.rename_logged(file, Some(name), None);
        Ok(())
    }

    /// Somebody has opened a file.
    pub(super) fn open(&mut self, file: u64) -> Result<(), Errno> {
        self.file(file)?.opens += 1;
        Ok(())
    }

    /// Somebody has closed it.
    pub(super) fn release(&mut self, file: u64) {
        if let Some(file) = self.files.get_mut(&file) {
            file.opens = file.opens.saturating_sub(1);
        }
        self.forget();
    }

    /// What stands there.
    pub(super) fn read(&self, file: u64, offset: u64, len: usize) -> Result<&[u8], Errno> {
        self.check()?;
        let now = &self.files.get(&file).ok_or(libc::ENOENT)?.now;
        let from = (offset as usize).min(now.len());
        Ok(&now[from..from.saturating_add(len).min(now.len())])
    }

    /// Begins a write, which is seen at once. It is done when it is [answered](Self::answer), by the name returned.
    pub(super) fn write(&mut self, file: u64, offset: u64, bytes: &[u8]) -> Result<u64, Errno> {
        self.change(file, What::Write { offset: offset as usize, bytes: bytes.to_vec() })
    }

    /// Has a file end there.
    pub(super) fn set_len(&mut self, file: u64, len: u64) -> Result<(), Errno> {
        if self.len(file)? != len {
            let id = self.change(file, What::Length(len as usize))?;
            self.answer(file, id, false)?;
        }
        Ok(())
    }

    /// Ends a change. One that goes `through` is durable then, and nothing else is by it.
    pub(super) fn answer(&mut self, file: u64, id: u64, through: bool) -> Result<(), Errno> {
        let File { pending, flushed, .. } = self.file(file)?;
        let Some(place) = pending.iter().position(|change| change.id == id) else { return Ok(()) };
        pending[place].is_answered = true;
        if through {
            // Older versions of the same bytes must not come back over it.
            let overlaps = |change: &Change| change.what.overlaps(&pending[place].what);
            let from = if pending[..place].iter().any(overlaps) { 0 } else { place };
            pending.drain(from..=place).for_each(|change| change.what.apply(flushed));
        }
        Ok(())
    }

    /// Begins to make durable what was answered: fsync of a file, or fdatasync if `data_only`.
    pub(super) fn begin_flush(&mut self, file: u64, data_only: bool) -> Result<Flushing, Errno> {
        let answered = |change: &&Change| change.is_answered;
        let changes = self.file(file)?.pending.iter().filter(answered).map(|change| change.id).collect();
        let concerns = |change: &&NameChange| change.file == file && (!data_only || change.from.is_none());
        let names_until = self.log.iter().rev().find(concerns).map_or(0, |change| change.id);
        Ok(Flushing { file: Some(file), changes, names_until })
    }

    /// Begins to make all names durable: fsync of the folder.
    pub(super) fn begin_flush_of_names(&mut self) -> Result<Flushing, Errno> {
        self.check()?;
        let names_until = self.log.last().map_or(0, |change| change.id);
        Ok(Flushing { file: None, changes: Vec::new(), names_until })
    }

    /// Ends a flush: only now is durable what it covers.
    pub(super) fn end_flush(&mut self, flush: &Flushing) -> Result<(), Errno> {
        self.check()?;
        if let Some(File { pending, flushed, .. }) = flush.file.and_then(|file| self.files.get_mut(&file)) {
            let covers = |change: &Change| flush.changes.contains(&change.id);
            let (covered, rest) = std::mem::take(pending).into_iter().partition(covers);
            *pending = rest;
            Vec::into_iter(covered).for_each(|change: Change| change.what.apply(flushed));
        }
        let covered = self.log.iter().take_while(|change| change.id <= flush.names_until).count();
        let names = &mut self.flushed_names;
        self.log.drain(..covered).for_each(|change| change.apply(names));
        self.forget();
        Ok(())
    }

    /// Cuts the power. From now on everything fails; what is left follows from the seed.
    pub(super) fn cut(&mut self, seed: u64) -> Image {
        self.is_cut = true;
        let mut dice = Dice::new(seed);
        let mut names = self.flushed_names.clone();
        let kept = dice.below(self.log.len() as u64 + 1) as usize;
        self.log[..kept].iter().for_each(|change| change.apply(&mut names));
        let mut left = BTreeMap::new();
        for (name, file) in names {
            // Now and then all is lost, or nothing is.
            let percent = [0, 10, 50, 90, 100][dice.below(5) as usize];
            if let Some(file) = self.files.get(&file) {
                left.insert(name, file.left(&mut dice, percent));
            }
        }
        Image(left)
    }

    fn file(&mut self, file: u64) -> Result<&mut File, Errno> {
        self.check()?;
        self.files.get_mut(&file).ok_or(libc::ENOENT)
    }

    fn change(&mut self, file: u64, what: What) -> Result<u64, Errno> {
        let grows = what.end().saturating_sub(self.len(file)? as usize) as u64;
        if grows > CAPACITY_BYTES.saturating_sub(self.used_bytes()) {
            return Err(libc::ENOSPC);
        }
        self.last_change += 1;
        let id = self.last_change;
        let file = self.file(file)?;
        what.apply(&mut file.now);
        file.pending.push(Change { id, is_answered: false, what });
        Ok(id)
    }

    fn rename_logged(&mut self, file: u64, from: Option<&OsStr>, to: Option<&OsStr>) {
        self.last_change += 1;
        let (from, to) = (from.map(OsStr::to_owned), to.map(OsStr::to_owned));
        let change = NameChange { id: self.last_change, file, from, to };
        change.apply(&mut self.names);
        self.log.push(change);
    }

    /// Lets go of files that have no name any more, not even after a cut.
    fn forget(&mut self) {
        let Self { files, names, flushed_names, log, .. } = self;
        let named = |number: &u64| {
            names.values().any(|of| of == number)
                || flushed_names.values().any(|of| of == number)
                || log.iter().any(|change| change.file == *number)
        };
        files.retain(|number, file| file.opens > 0 || named(number));
    }
}

impl File {
    fn left(&self, dice: &mut Dice, percent: u64) -> Vec<u8> {
        let (mut left, mut seen) = (self.flushed.clone(), self.flushed.clone());
        for Change { what, .. } in &self.pending {
            what.apply(&mut seen);
            match what {
                What::Length(len) if dice.percent(percent) => left.resize(*len, 0),
                What::Length(_) => {}
                What::Write { offset, .. } => {
                    let from = offset / SECTOR_BYTES * SECTOR_BYTES;
                    for at in (from..what.end()).step_by(SECTOR_BYTES) {
                        if dice.percent(percent) {
                            let end = (at + SECTOR_BYTES).min(seen.len());
                            left.resize(left.len().max(end), 0);
                            left[at..end].copy_from_slice(&seen[at..end]);
                        }
                    }
                }
            }
        }
        left
    }
}

impl What {
    fn end(&self) -> usize {
        match self {
            Self::Write { offset, bytes } => offset.saturating_add(bytes.len()),
            Self::Length(len) => *len,
        }
    }

    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => {
                to.resize(to.len().max(self.end()), 0);
                to[*offset..self.end()].copy_from_slice(bytes);
            }
            Self::Length(len) => to.resize(*len, 0),
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Write { offset: a, .. }, Self::Write { offset: b, .. }) => {
                *a < other.end().next_multiple_of(SECTOR_BYTES)
                    && *b < self.end().next_multiple_of(SECTOR_BYTES)
            }
            _ => true,
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<OsString, u64>) {
        if let Some(from) = &self.from {
            names.remove(from);
        }
        if let Some(to) = &self.to {
            names.insert(to.clone(), self.file);
        }
    }
}
