//! What the kernel and the file system grant, by trying it once: a file is written in each way, read back, and removed.

use super::{Disk, Event, Grant, is_full};
use crate::fail;
use journal::{Flush, Op, OpId};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

/// What is written to see what works.
const PROBE_BYTES: usize = 4096;

impl Disk {
    /// Writes to a file of its own in each way, and reads what came of it.
    pub(super) fn prove(&mut self, folder: &Path) -> io::Result<()> {
        let path = folder.join("probe.tmp");
        let outcome = self.prove_with(&path);
        let _ = std::fs::remove_file(&path); // A run that follows removes it, too.
        outcome
    }

    fn prove_with(&mut self, path: &Path) -> io::Result<()> {
        let create = |flags| {
            File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .custom_flags(flags)
                .open(path)
        };
        create(0)?; // Whatever is wrong with the folder is no matter of O_DIRECT.
        let opened = ask("journal.direct", || create(libc::O_DIRECT));
        let tried = opened.and_then(|file| self.prove_writing(file, 0, Flush::No));
        match tried {
            Ok(()) => {}
            Err(error) if is_full(&error) => return Err(error),
            Err(error) => {
                self.mode.direct = Err(error);
                self.prove_writing(create(0)?, 0, Flush::No)?;
            }
        }
        let flags = if self.is_direct() { libc::O_DIRECT } else { 0 };
        let tried = ask("journal.link", || Ok(()))
            .and_then(|()| self.prove_writing(create(flags)?, 1, Flush::Linked(OpId(u32::MAX - 1))));
        self.mode.linked = unless_full(tried)?;
        let tried = ask("journal.through", || Ok(()))
            .and_then(|()| self.prove_writing(create(flags)?, 2, Flush::Through));
        self.mode.through = unless_full(tried)?;
        Ok(())
    }

    /// Writes a page of that byte, and reads it from the file.
    fn prove_writing(&mut self, file: File, byte: u8, flush: Flush) -> io::Result<()> {
        let (byte, read) = (0xa0 | byte, file.try_clone()?);
        self.memory()[..PROBE_BYTES].fill(byte);
        self.add(u64::MAX, [0; 16], file)?;
        let mut wanted = match flush {
            Flush::Linked(name) => vec![OpId(u32::MAX), name],
            _ => vec![OpId(u32::MAX)],
        };
        let mut events = Vec::new();
        // The file first, so that it is known by its place.
        self.pump(&mut events, |events| events.iter().any(|event| matches!(event, Event::Ready { .. })))?;
        let (id, len) = (OpId(u32::MAX), PROBE_BYTES);
        self.begin(&Op::Write { id, segment: u64::MAX, block: 0, len, offset: 0, flush })?;
        self.pump(&mut events, |events| {
            wanted
                .retain(|id| !events.iter().any(|event| matches!(event, Event::Done(done, _) if done == id)));
            wanted.is_empty()
        })?;
        self.remove(u64::MAX)?;
        for event in events {
            if let Event::Done(_, Err(errno)) = event {
                return Err(io::Error::from_raw_os_error(errno));
            }
        }
        let mut page = Page([0; PROBE_BYTES]);
        let came = read.read_at(&mut page.0, 0)?;
        let is_there = came == PROBE_BYTES && page.0.iter().all(|found| *found == byte);
        if is_there { Ok(()) } else { Err(io::Error::other("what was written is not there")) }
    }

    /// Waits for what is looked for, for at most ten seconds: the first write to a disk that sleeps takes a while.
    pub(super) fn pump(
        &mut self,
        events: &mut Vec<Event>,
        mut is_there: impl FnMut(&[Event]) -> bool,
    ) -> io::Result<()> {
        for _ in 0..1_000 {
            self.wait(Duration::from_millis(10))?;
            self.take(events)?;
            if is_there(events) {
                return Ok(());
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}

/// Memory that O_DIRECT reads to.
#[repr(align(4096))]
struct Page([u8; PROBE_BYTES]);

/// What was granted; a disk that is full says nothing of that.
fn unless_full(tried: io::Result<()>) -> io::Result<Grant> {
    match tried {
        Err(error) if is_full(&error) => Err(error),
        tried => Ok(tried),
    }
}

/// What the kernel says, unless a test has it refuse.
fn ask<T>(name: &str, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    if fail::is_refused(name) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    call()
}
