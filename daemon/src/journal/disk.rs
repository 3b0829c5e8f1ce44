//! Carries out what the journal's writer asks for, over a ring of its own.
//!
//! The best that Linux has is tried once, on a file that is removed again: writes past the page cache (O_DIRECT) from
//! registered memory to registered files, a flush that waits for its write in the kernel, and writes that reach the
//! medium by themselves (RWF_DSYNC). What the kernel or the file system refuses is done without, one thing at a time,
//! and told. What holds in any case: an operation completes once; a flush begins only after its write has ended well,
//! and ends with ECANCELED if it did not.

mod probe;
#[cfg(test)]
mod tests;

use crate::fail;
use crate::uring::{Depth, Done, IGNORED, Piece, Place, Ring, RingError, RingPlan};
use io_uring::{opcode, types};
use journal::{Errno, Flush, Op, OpId};
use nix::sys::eventfd::EventFd;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Completions taken at a time.
const BATCH: usize = 64;

/// What an operation was for: the upper half of its user data.
const OP: u64 = 1;
const INSTALL: u64 = 2;
const WAKE: u64 = 3;
/// A flush that stands for what RWF_DSYNC would have done.
const SETTLE: u64 = 4;

fn user_data(what: u64, number: u32) -> u64 {
    what << 32 | u64::from(number)
}

/// Why the journal cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    /// There is no ring for it.
    #[error("the journal has no ring: {0}")]
    Ring(#[from] RingError),
    /// The folder does not take files.
    #[error("the journal cannot be written to {folder}: {source}")]
    Folder {
        /// Which.
        folder: String,
        /// Why.
        source: io::Error,
    },
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// An operation has ended.
    Done(OpId, Result<usize, Errno>),
    /// A segment can be written to from now on.
    Ready {
        /// Its number.
        segment: u64,
        /// Its identity.
        identity: [u8; 16],
    },
}

/// A file that is written.
struct Open {
    segment: u64,
    identity: [u8; 16],
    file: File,
    /// Its place in the ring's table, if it has one.
    place: Option<u32>,
}

/// An operation on its way.
#[derive(Debug, Clone, Copy)]
struct Flying {
    id: OpId,
    segment: u64,
    /// How long the write is; `None` for a flush.
    len: Option<usize>,
    /// What follows it, for want of the kernel's own way.
    then: Then,
}

/// What follows an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Nothing,
    /// A flush with a name of its own.
    Flush(OpId),
    /// A flush that ends the same operation.
    Settle,
    /// A flush with a name of its own, which the kernel begins.
    Linked(OpId),
    /// It counts as cancelled: a test had the write fail that it is linked to.
    Cancelled,
}

/// Whether something is granted, or why not.
type Grant = Result<(), io::Error>;

/// What the file system grants.
#[derive(Debug)]
pub(crate) struct Mode {
    direct: Grant,
    linked: Grant,
    through: Grant,
}

/// See above. It stays on the thread that made it.
pub(crate) struct Disk {
    ring: Ring,
    mode: Mode,
    wants_through: bool,
    open: Vec<Open>,
    flying: Vec<Flying>,
    events: Vec<Event>,
    /// What is held, in the last place of the ring's table.
    lock: Option<File>,
    wake: Arc<EventFd>,
    /// Where the kernel puts what the counter was.
    woken: Box<u64>,
    wake_armed: bool,
}

impl Disk {
    /// A disk for segments in `folder`. Writing to `wake` ends [`Disk::wait`]. `wants_through` says that writes will be
    /// asked for that reach the medium by themselves.
    pub(crate) fn new(
        plan: &RingPlan,
        folder: &Path,
        wake: Arc<EventFd>,
        wants_through: bool,
    ) -> Result<Self, DiskError> {
        let mode = Mode { direct: Ok(()), linked: Ok(()), through: Ok(()) };
        let mut disk = Self {
            ring: Ring::new(plan)?,
            mode,
            wants_through,
            open: Vec::with_capacity(8),
            flying: Vec::with_capacity(BATCH),
            events: Vec::with_capacity(BATCH),
            lock: None,
            wake,
            woken: Box::new(0),
            wake_armed: false,
        };
        let outcome = disk.prove(folder);
        disk.open.clear();
        match outcome {
            Ok(()) => Ok(disk),
            // That it is full now is no reason not to begin: room may come.
            Err(error) if is_full(&error) => Ok(disk),
            Err(source) => Err(DiskError::Folder { folder: folder.display().to_string(), source }),
        }
    }

    /// The memory of all blocks.
    pub(crate) fn memory(&mut self) -> &mut [u8] {
        self.ring.memory()
    }

    /// The ring that is to be woken when records come.
    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Whether files are to be opened for writing past the page cache.
    pub(crate) fn is_direct(&self) -> bool {
        self.mode.direct.is_ok()
    }

    /// Keeps a file open until the kernel has done all that was begun, even if this process is killed: the lock on the
    /// folder, so that the next run does not read what is still being written.
    pub(crate) fn hold(&mut self, lock: File) -> io::Result<()> {
        let Some(place) = self.ring.places().checked_sub(1) else { return Ok(()) };
        self.ring.install(place, lock.as_raw_fd(), IGNORED)?;
        self.ring.enter(Duration::ZERO)?; // It begins, and so takes the file, before this is closed here.
        self.lock = Some(lock);
        Ok(())
    }

    /// Has a segment's file known to the ring. [`Event::Ready`] says when it is.
    pub(crate) fn add(&mut self, segment: u64, identity: [u8; 16], file: File) -> io::Result<()> {
        let is_free = |place: &u32| !self.open.iter().any(|open| open.place == Some(*place));
        let place = (0..self.ring.places().saturating_sub(1) as u32).find(is_free);
        let fd = file.as_raw_fd();
        self.open.push(Open { segment, identity, file, place });
        match place {
            Some(place) => {
                self.ring.install(place as usize, fd, user_data(INSTALL, place))?;
            }
            None => self.events.push(Event::Ready { segment, identity }),
        }
        Ok(())
    }

    /// Forgets a segment of which nothing is on its way.
    pub(crate) fn remove(&mut self, segment: u64) -> io::Result<()> {
        let Some(at) = self.open.iter().position(|open| open.segment == segment) else { return Ok(()) };
        let open = self.open.swap_remove(at);
        open.place.map_or(Ok(()), |place| self.ring.uninstall(place as usize))
    }

    /// Begins an operation, when the ring is entered next. It completes in any case: also where the segment is not
    /// known.
    pub(crate) fn begin(&mut self, op: &Op) -> io::Result<()> {
        match *op {
            Op::Write { id, segment, block, len, offset, flush } => {
                self.begin_write(id, segment, Piece { block, len, offset }, flush)
            }
            Op::Flush { id, segment } => {
                let Some(file) = self.place_of(segment) else { return self.unknown(id) };
                self.flying.push(Flying { id, segment, len: None, then: Then::Nothing });
                self.ring.flush(file, user_data(OP, id.0))
            }
            Op::Close { segment, .. } => self.remove(segment),
        }
    }

    fn begin_write(&mut self, id: OpId, segment: u64, piece: Piece, flush: Flush) -> io::Result<()> {
        let Some(file) = self.place_of(segment) else {
            if let Flush::Linked(flush) = flush {
                self.unknown(flush)?;
            }
            return self.unknown(id);
        };
        let (depth, then) = match flush {
            Flush::No => (Depth::Written, Then::Nothing),
            Flush::Through if self.mode.through.is_ok() => (Depth::Through, Then::Nothing),
            Flush::Through => (Depth::Written, Then::Settle),
            Flush::Linked(name) if self.mode.linked.is_ok() => {
                self.flying.push(Flying { id: name, segment, len: None, then: Then::Nothing });
                (Depth::ThenFlush(user_data(OP, name.0)), Then::Linked(name))
            }
            Flush::Linked(name) => (Depth::Written, Then::Flush(name)),
        };
        self.flying.push(Flying { id, segment, len: Some(piece.len), then });
        self.ring.write(file, piece, depth, user_data(OP, id.0))
    }

    /// A segment that is not there takes nothing.
    fn unknown(&mut self, id: OpId) -> io::Result<()> {
        self.events.push(Event::Done(id, Err(libc::EBADF)));
        Ok(())
    }

    fn place_of(&self, segment: u64) -> Option<Place> {
        let open = self.open.iter().find(|open| open.segment == segment)?;
        Some(open.place.map_or(Place::Fd(open.file.as_raw_fd()), Place::Registered))
    }

    /// Begins what is queued, and waits until something has happened, for at most `timeout`.
    pub(crate) fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        if !std::mem::replace(&mut self.wake_armed, true) {
            let (fd, into) = (types::Fd(self.wake.as_fd().as_raw_fd()), &raw mut *self.woken);
            let read = opcode::Read::new(fd, into.cast(), size_of::<u64>() as u32).build();
            self.ring.push(&read.user_data(user_data(WAKE, 0)))?;
        }
        self.ring.enter(if self.events.is_empty() { timeout } else { Duration::ZERO })
    }

    /// Takes what has happened since.
    pub(crate) fn take(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        let mut done = [Done::default(); BATCH];
        loop {
            let count = self.ring.take(&mut done);
            for done in &done[..count] {
                self.complete(*done)?;
            }
            if count < BATCH {
                break;
            }
        }
        events.append(&mut self.events);
        Ok(())
    }

    fn complete(&mut self, done: Done) -> io::Result<()> {
        let number = done.user_data as u32;
        match done.user_data >> 32 {
            _ if done.user_data == IGNORED => Ok(()),
            WAKE => {
                self.wake_armed = false;
                Ok(())
            }
            INSTALL => {
                self.installed(number, done.result);
                Ok(())
            }
            SETTLE => {
                self.settled(OpId(number), done.result);
                Ok(())
            }
            OP => self.operated(OpId(number), done.result),
            // The bell, which says nothing but that there are records.
            _ => Ok(()),
        }
    }

    fn installed(&mut self, place: u32, result: i32) {
        let Some(open) = self.open.iter_mut().find(|open| open.place == Some(place)) else { return };
        if result != 1 {
            open.place = None; // Then it goes by its descriptor.
        }
        self.events.push(Event::Ready { segment: open.segment, identity: open.identity });
    }

    fn operated(&mut self, id: OpId, result: i32) -> io::Result<()> {
        let Some(at) = self.flying.iter().position(|flying| flying.id == id) else { return Ok(()) };
        let flying = self.flying[at];
        let point = if flying.len.is_some() { "journal.write" } else { "journal.flush" };
        let is_cancelled = flying.then == Then::Cancelled || result == -libc::ECANCELED;
        // What was cancelled with its write is no flush that failed.
        let forced = if is_cancelled { Some(libc::ECANCELED) } else { fail::errno(point) };
        if let (Some(_), Then::Linked(flush)) = (forced, flying.then) {
            let linked = self.flying.iter_mut().filter(|other| other.id == flush);
            linked.for_each(|other| other.then = Then::Cancelled);
        }
        let outcome = outcome_of(forced.map_or(result, |errno| -errno));
        if flying.len.is_some() {
            self.ring.written();
        }
        let is_whole = outcome.is_ok_and(|len| Some(len) == flying.len);
        match flying.then {
            Then::Settle if is_whole => {
                let Some(file) = self.place_of(flying.segment) else { return self.end(at, Err(libc::EBADF)) };
                self.ring.flush(file, user_data(SETTLE, id.0))
            }
            Then::Flush(flush) => {
                self.end(at, outcome)?;
                if !is_whole {
                    self.events.push(Event::Done(flush, Err(libc::ECANCELED)));
                    return Ok(());
                }
                self.begin(&Op::Flush { id: flush, segment: flying.segment })
            }
            _ => self.end(at, outcome),
        }
    }

    fn end(&mut self, at: usize, outcome: Result<usize, Errno>) -> io::Result<()> {
        let flying = self.flying.swap_remove(at);
        self.events.push(Event::Done(flying.id, outcome));
        Ok(())
    }

    /// The flush has ended that a write waited for.
    fn settled(&mut self, id: OpId, result: i32) {
        let Some(at) = self.flying.iter().position(|flying| flying.id == id) else { return };
        let flying = self.flying.swap_remove(at);
        let result = fail::errno("journal.flush").map_or(result, |errno| -errno);
        let outcome = outcome_of(result).map(|_| flying.len.unwrap_or(0));
        self.events.push(Event::Done(id, outcome));
    }

    /// Whether nothing is on its way.
    pub(crate) fn is_quiet(&self) -> bool {
        self.flying.is_empty() && self.events.is_empty()
    }

    /// A sentence for each thing that is lacking.
    pub(crate) fn lacking(&self) -> Vec<String> {
        let mut lines = self.ring.features().lacking();
        let Mode { direct, linked, through } = &self.mode;
        if let Err(why) = direct {
            lines.push(format!(
                "the journal goes through the page cache: O_DIRECT was refused ({why}; ext4 and XFS have it)"
            ));
        }
        if let Err(why) = linked {
            lines
                .push(format!("the journal's flushes wait for its thread: linked ones were refused ({why})"));
        }
        if let (Err(why), true) = (through, self.wants_through) {
            lines.push(format!("the journal is flushed after each write: RWF_DSYNC was refused ({why})"));
        }
        lines
    }
}

impl Drop for Disk {
    /// The kernel ends operations after the ring is closed: until then it may write there.
    fn drop(&mut self) {
        if self.wake_armed {
            Box::leak(std::mem::take(&mut self.woken));
        }
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mode { direct, linked, through } = &self.mode;
        let granted = |grant: &Grant| if grant.is_ok() { "" } else { "not " };
        let past = if direct.is_ok() { "past" } else { "through" };
        write!(f, "writes {past} the page cache, flushes {}linked, ", granted(linked))?;
        write!(f, "RWF_DSYNC {}granted; {}", granted(through), self.ring.features())
    }
}

fn outcome_of(result: i32) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| -result)
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
}
