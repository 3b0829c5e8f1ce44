//! Files of sectors. What was written is in the cache, and reads see it; what was flushed is on the medium, and only
//! that outlives a power cut for certain.

use super::Dice;
use journal::{Segment, Source, Store};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;

/// The unit in which a disk writes, and loses.
pub const SECTOR: usize = 512;

/// One segment.
#[derive(Debug, Clone)]
pub struct File {
    cache: Vec<u8>,
    medium: Vec<u8>,
    /// Which write is in a sector and not flushed. 0 for none.
    unflushed: Vec<u64>,
    /// A flush of the sector has failed: no later one helps.
    doomed: Vec<bool>,
}

/// What a power cut takes of what was not flushed.
#[derive(Debug, Clone, Copy)]
pub enum Loss {
    /// All of it.
    All,
    /// Each sector with this probability, in thousandths.
    Some(u64),
}

impl File {
    fn new(bytes: usize) -> Self {
        let sectors = bytes / SECTOR;
        Self {
            cache: vec![0; bytes],
            medium: vec![0; bytes],
            unflushed: vec![0; sectors],
            doomed: vec![false; sectors],
        }
    }

    /// How long it is.
    pub fn len(&self) -> usize {
        self.cache.len()
    }

    /// Puts a sector into the cache.
    pub fn put(&mut self, sector: usize, bytes: &[u8], write: u64) {
        self.cache[sector * SECTOR..][..SECTOR].copy_from_slice(bytes);
        self.unflushed[sector] = write;
        self.doomed[sector] = false;
    }

    /// Brings a sector from the cache to the medium, if it is still this write that is there.
    pub fn flush(&mut self, sector: usize, write: u64) {
        if self.unflushed[sector] == write && !self.doomed[sector] {
            let place = sector * SECTOR..(sector + 1) * SECTOR;
            self.medium[place.clone()].copy_from_slice(&self.cache[place]);
            self.unflushed[sector] = 0;
        }
    }

    /// A flush of this sector has failed.
    pub fn doom(&mut self, sector: usize, write: u64) {
        if self.unflushed[sector] == write {
            self.doomed[sector] = true;
        }
    }

    /// The sectors that are not flushed, and which write is there.
    pub fn unflushed(&self) -> impl Iterator<Item = (usize, u64)> {
        self.unflushed.iter().copied().enumerate().filter(|(_, write)| *write != 0)
    }

    fn truncate(&mut self, len: usize) {
        for bytes in [&mut self.cache, &mut self.medium] {
            bytes.truncate(len);
        }
        self.unflushed.truncate(len.div_ceil(SECTOR));
        self.doomed.truncate(len.div_ceil(SECTOR));
    }

    fn flush_all(&mut self) {
        self.medium.copy_from_slice(&self.cache);
        self.unflushed.fill(0);
        self.doomed.fill(false);
    }
}

/// A folder of them.
#[derive(Debug, Default)]
pub struct Disk {
    files: RefCell<BTreeMap<u64, File>>,
    /// How many changes the store still makes before it fails.
    pub fuse: Cell<Option<u32>>,
}

impl Disk {
    /// Makes a segment of zeros.
    pub fn create(&self, number: u64, bytes: u64) {
        let old = self.files.borrow_mut().insert(number, File::new(bytes as usize));
        assert!(old.is_none(), "segment {number} was there");
    }

    /// Does something with a segment that is there.
    pub fn with<T>(&self, number: u64, act: impl FnOnce(&mut File) -> T) -> Option<T> {
        self.files.borrow_mut().get_mut(&number).map(act)
    }

    /// Ends a segment, durably, as is done when it is closed.
    pub fn end(&self, number: u64, len: u64) {
        self.with(number, |file| file.truncate(len as usize));
    }

    /// Takes the power away.
    pub fn cut_power(&self, dice: &mut Dice, loss: Loss) {
        for file in self.files.borrow_mut().values_mut() {
            for sector in 0..file.unflushed.len() {
                let is_lost = match loss {
                    Loss::All => true,
                    Loss::Some(in_thousand) => file.doomed[sector] || dice.hits(in_thousand),
                };
                let place = sector * SECTOR..((sector + 1) * SECTOR).min(file.cache.len());
                if file.unflushed[sector] != 0 && is_lost {
                    file.cache[place.clone()].copy_from_slice(&file.medium[place]);
                } else {
                    file.medium[place.clone()].copy_from_slice(&file.cache[place]);
                }
                (file.unflushed[sector], file.doomed[sector]) = (0, false);
            }
        }
    }

    fn burn(&self) -> io::Result<()> {
        match self.fuse.get() {
            Some(0) => Err(io::Error::other("the fuse has blown")),
            left => {
                self.fuse.set(left.map(|left| left - 1));
                Ok(())
            }
        }
    }
}

impl Store for Disk {
    fn list(&self) -> io::Result<Vec<Segment>> {
        let files = self.files.borrow();
        let segment = |(number, file): (&u64, &File)| Segment {
            number: *number,
            is_packed: false,
            bytes: file.cache.len() as u64,
        };
        Ok(files.iter().map(segment).collect())
    }

    fn open(&self, segment: &Segment) -> io::Result<Box<dyn Source>> {
        let cache = self.with(segment.number, |file| file.cache.clone());
        Ok(Box::new(Bytes(cache.ok_or(io::ErrorKind::NotFound)?)))
    }

    fn cut(&self, segment: &Segment, len: u64) -> io::Result<()> {
        self.burn()?;
        self.with(segment.number, |file| {
            file.truncate(len as usize);
        })
        .ok_or(io::ErrorKind::NotFound.into())
    }

    fn remove(&self, segment: &Segment) -> io::Result<()> {
        self.burn()?;
        self.files.borrow_mut().remove(&segment.number);
        Ok(())
    }

    fn flush(&self, segment: &Segment) -> io::Result<()> {
        self.burn()?;
        self.with(segment.number, File::flush_all).ok_or(io::ErrorKind::NotFound.into())
    }
}

struct Bytes(Vec<u8>);

impl Source for Bytes {
    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let bytes = self.0.get(offset as usize..).unwrap_or_default();
        let len = bytes.len().min(out.len());
        out[..len].copy_from_slice(&bytes[..len]);
        Ok(len)
    }

    fn len(&self) -> u64 {
        self.0.len() as u64
    }
}
