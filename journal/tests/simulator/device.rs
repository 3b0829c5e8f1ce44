//! Operations on their way to the disk. They end in any order, are told of in any order, and some of them fail.
//!
//! A flush covers what it must and nothing else: sectors whose write had been told of when it was asked for, and those
//! of the write that it is linked to.

use super::disk::{Disk, Loss, SECTOR};
use super::{Checked, Dice, ensure};
use journal::{Errno, Flush, Op, OpId};
use std::collections::BTreeMap;

const EINTR: Errno = 4;
const EIO: Errno = 5;
const EAGAIN: Errno = 11;
const ENOSPC: Errno = 28;
const ECANCELED: Errno = 125;

/// How often things go wrong, in thousandths.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    pub short: u64,
    pub again: u64,
    pub write: u64,
    pub flush: u64,
    /// The disk is full.
    pub is_full: bool,
}

/// What is on its way.
#[derive(Debug, Default)]
pub struct Device {
    pending: Vec<Pending>,
    writes: u64,
    places: BTreeMap<u64, BTreeMap<u64, Place>>,
    closed: Vec<u64>,
    pub faults: Faults,
}

#[derive(Debug)]
struct Pending {
    id: OpId,
    segment: u64,
    what: What,
    outcome: Option<Result<usize, Errno>>,
}

#[derive(Debug)]
enum What {
    Write { number: u64, at: usize, len: usize, offset: u64, crc: u32, is_through: bool },
    Flush { covers: Vec<(usize, u64)>, link: Option<OpId> },
}

/// What is, or will be, somewhere in a segment.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Place {
    len: usize,
    crc: u32,
}

impl Device {
    /// Begins what the writer asks for, and finds fault with it.
    pub fn begin(&mut self, op: Op, memory: &[u8], block_bytes: usize, disk: &Disk) -> Checked {
        match op {
            Op::Write { id, segment, block, len, offset, flush } => {
                let at = block * block_bytes;
                ensure!(len > 0 && len <= block_bytes && len % 4096 == 0 && offset % 4096 == 0, "odd {op:?}");
                ensure!(!self.is_writing(at), "{op:?}: block memory is on its way already");
                let crc = crc32c::crc32c(&memory[at..at + len]);
                let room = disk.with(segment, |file| file.len()).unwrap_or(0);
                ensure!(offset as usize + len <= room, "{op:?} is beyond the segment's {room} bytes");
                self.claim(segment, offset, Place { len, crc })?;
                self.writes += 1;
                let is_through = flush == Flush::Through;
                let what = What::Write { number: self.writes, at, len, offset, crc, is_through };
                self.push(id, segment, what)?;
                if let Flush::Linked(flush) = flush {
                    self.begin_flush(flush, segment, Some(id), disk)?;
                }
            }
            Op::Flush { id, segment } => self.begin_flush(id, segment, None, disk)?,
            Op::Close { segment, used_bytes, is_whole } => {
                ensure!(self.pending.iter().all(|op| op.segment != segment), "{op:?}: it is still in use");
                ensure!(!self.closed.contains(&segment), "{op:?}: it was closed");
                let places = self.places.remove(&segment).unwrap_or_default();
                let used = places.last_key_value().map_or(0, |(offset, place)| offset + place.len as u64);
                ensure!(used == used_bytes, "{op:?}: {used} are used");
                let unflushed = disk.with(segment, |file| file.unflushed().count());
                ensure!(!is_whole || unflushed == Some(0), "{op:?}: {unflushed:?} sectors are not flushed");
                self.closed.push(segment);
            }
        }
        Ok(())
    }

    fn push(&mut self, id: OpId, segment: u64, what: What) -> Checked {
        ensure!(self.pending.iter().all(|op| op.id != id), "{id:?} is on its way already");
        ensure!(!self.closed.contains(&segment), "{id:?}: segment {segment} is closed");
        self.pending.push(Pending { id, segment, what, outcome: None });
        Ok(())
    }

    fn begin_flush(&mut self, id: OpId, segment: u64, link: Option<OpId>, disk: &Disk) -> Checked {
        let untold = |write: u64| {
            self.pending.iter().any(|op| matches!(op.what, What::Write { number, .. } if number == write))
        };
        let told = disk.with(segment, |file| file.unflushed().filter(|(_, write)| !untold(*write)).collect());
        self.push(id, segment, What::Flush { covers: told.ok_or("flush of no segment")?, link })
    }

    /// Nothing is written over: what goes to the same place again is the same.
    fn claim(&mut self, segment: u64, offset: u64, place: Place) -> Checked {
        let places = self.places.entry(segment).or_default();
        let end = offset + place.len as u64;
        if let Some((other, old)) = places.range(..end).next_back() {
            let is_again = *other == offset && *old == place;
            let is_behind = other + old.len as u64 <= offset;
            ensure!(
                is_again || is_behind,
                "segment {segment}: {place:?} at {offset} over {old:?} at {other}"
            );
        }
        places.insert(offset, place);
        Ok(())
    }

    fn is_writing(&self, memory: usize) -> bool {
        self.pending.iter().any(|op| matches!(op.what, What::Write { at, .. } if at == memory))
    }

    /// How many operations have not been told of.
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Lets one of them come to its end.
    pub fn end_one(&mut self, dice: &mut Dice, memory: &[u8], disk: &Disk) -> Checked {
        let ready: Vec<usize> = (0..self.pending.len()).filter(|place| self.can_end(*place)).collect();
        if ready.is_empty() {
            return Ok(());
        }
        let place = ready[dice.below(ready.len() as u64) as usize];
        let id = self.pending[place].id;
        let outcome = match self.pending[place].what {
            What::Write { number, len, .. } => {
                let outcome = self.end_write(place, dice, memory, disk)?;
                let whole = (outcome == Ok(len)).then_some(number);
                self.go_on_with_linked(id, whole, disk);
                outcome
            }
            What::Flush { .. } => self.end_flush(place, dice, disk),
        };
        self.pending[place].outcome = Some(outcome);
        Ok(())
    }

    /// The flush that is linked to a write begins, or does not.
    fn go_on_with_linked(&mut self, write: OpId, whole: Option<u64>, disk: &Disk) {
        for op in &mut self.pending {
            let What::Flush { covers, link } = &mut op.what else { continue };
            if *link != Some(write) {
                continue;
            }
            *link = None;
            match whole {
                Some(write) => {
                    let own =
                        disk.with(op.segment, |file| file.unflushed().filter(|it| it.1 == write).collect());
                    covers.append(&mut own.unwrap_or_default());
                }
                None => op.outcome = Some(Err(ECANCELED)),
            }
        }
    }

    fn can_end(&self, place: usize) -> bool {
        let op = &self.pending[place];
        let waits = matches!(op.what, What::Flush { link: Some(_), .. });
        op.outcome.is_none() && !waits
    }

    fn end_write(
        &self,
        place: usize,
        dice: &mut Dice,
        memory: &[u8],
        disk: &Disk,
    ) -> Checked<Result<usize, Errno>> {
        let Pending { segment, what: What::Write { number, at, len, offset, crc, is_through }, .. } =
            self.pending[place]
        else {
            return Err("no write".into());
        };
        let bytes = &memory[at..at + len];
        ensure!(crc32c::crc32c(bytes) == crc, "write {number}: the block was changed on its way");
        let (first, sectors) = (offset as usize / SECTOR, len / SECTOR);
        let put = |sectors: &mut dyn Iterator<Item = usize>| {
            disk.with(segment, |file| {
                for sector in sectors {
                    file.put(first + sector, &bytes[sector * SECTOR..][..SECTOR], number);
                }
            })
        };
        let faults = self.faults;
        let part = dice.below(sectors as u64) as usize;
        if faults.is_full {
            put(&mut (0..part));
            return Ok(if dice.hits(300) { Ok(part * SECTOR) } else { Err(ENOSPC) });
        }
        if dice.hits(faults.short) {
            put(&mut (0..part));
            return Ok(Ok(part * SECTOR));
        }
        if dice.hits(faults.again) {
            return Ok(Err(if dice.hits(500) { EAGAIN } else { EINTR }));
        }
        if dice.hits(faults.write) {
            put(&mut (0..sectors).filter(|_| dice.hits(500)));
            return Ok(Err(EIO));
        }
        put(&mut (0..sectors));
        if is_through && dice.hits(faults.flush) {
            disk.with(segment, |file| {
                (first..first + sectors).for_each(|sector| file.doom(sector, number));
            });
            return Ok(Err(EIO));
        }
        if is_through {
            disk.with(segment, |file| {
                (first..first + sectors).for_each(|sector| file.flush(sector, number));
            });
        }
        Ok(Ok(len))
    }

    fn end_flush(&self, place: usize, dice: &mut Dice, disk: &Disk) -> Result<usize, Errno> {
        let Pending { segment, what: What::Flush { covers, .. }, .. } = &self.pending[place] else {
            return Ok(0);
        };
        let fails = dice.hits(self.faults.flush);
        disk.with(*segment, |file| {
            for &(sector, write) in covers {
                if fails { file.doom(sector, write) } else { file.flush(sector, write) }
            }
        });
        if fails { Err(EIO) } else { Ok(0) }
    }

    /// Takes one that has come to its end, to be told.
    pub fn take_ended(&mut self, dice: &mut Dice) -> Option<(OpId, Result<usize, Errno>)> {
        let ended: Vec<usize> =
            (0..self.pending.len()).filter(|place| self.pending[*place].outcome.is_some()).collect();
        let place = *ended.get(dice.below(ended.len().max(1) as u64) as usize)?;
        let op = self.pending.swap_remove(place);
        op.outcome.map(|outcome| (op.id, outcome))
    }

    /// Whoever asked is dead. What had not ended yet does so by half, or in part, or not at all.
    pub fn drop_all(&mut self, dice: &mut Dice, memory: &[u8], disk: &Disk, loss: Loss) {
        let keeps = match loss {
            Loss::All => 0,
            Loss::Some(lost) => 1_000 - lost,
        };
        for op in self.pending.drain(..).filter(|op| op.outcome.is_none()) {
            let What::Write { number, at, len, offset, .. } = op.what else { continue };
            let bytes = &memory[at..at + len];
            disk.with(op.segment, |file| {
                for (place, sector) in bytes.chunks_exact(SECTOR).enumerate() {
                    if dice.hits(keeps) {
                        file.put(offset as usize / SECTOR + place, sector, number);
                    }
                }
            });
        }
    }
}
