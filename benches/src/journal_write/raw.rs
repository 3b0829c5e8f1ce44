//! The disk without a journal: blocks from one ring with O_DIRECT, one behind the other, into files whose every byte was
//! written before. And one small write at a time that is durable when it ends.

use anyhow::{Context, ensure};
use io_uring::{IoUring, opcode, squeue, types};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// As large as the journal's blocks, and as many as it has memory for.
pub(super) const BLOCK_BYTES: usize = 256 << 10;
const DEPTH: usize = 16;
/// What one small write takes.
const PAGE_BYTES: usize = 4096;

/// What makes the writes durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flush {
    /// One fdatasync at the end.
    AtEnd,
    /// An fdatasync linked behind each fourth block: one for each MiB.
    Linked,
    /// Each write by itself: RWF_DSYNC.
    Through,
}

/// Pages begin at multiples of their size.
#[repr(C, align(4096))]
#[derive(Clone, Copy)]
struct Aligned([u8; PAGE_BYTES]);

/// A file to write over, again and again.
pub(super) struct Raw {
    file: File,
    bytes: u64,
    memory: Vec<Aligned>,
}

impl Raw {
    /// A file of so many bytes, written and flushed.
    pub(super) fn prepare(path: &Path, bytes: u64) -> anyhow::Result<Self> {
        let bytes = bytes.next_multiple_of(BLOCK_BYTES as u64);
        let zeros = vec![0; 1 << 20];
        let file = File::create(path)?;
        for offset in (0..bytes).step_by(zeros.len()) {
            file.write_all_at(&zeros[..zeros.len().min((bytes - offset) as usize)], offset)?;
        }
        file.sync_all()?;
        let file = File::options().write(true).custom_flags(libc::O_DIRECT).open(path);
        let file = file.context("the folder's file system takes no O_DIRECT: name another with --folder")?;
        let pages = DEPTH * BLOCK_BYTES / PAGE_BYTES;
        let page = |page: usize| Aligned(std::array::from_fn(|byte| (page * 31 + byte * 7) as u8));
        Ok(Self { file, bytes, memory: (0..pages).map(page).collect() })
    }

    /// How long writing all of it takes.
    pub(super) fn write_all(&mut self, flush: Flush) -> anyhow::Result<Duration> {
        let mut ring = IoUring::new(4 * DEPTH as u32)?;
        let fd = types::Fd(self.file.as_raw_fd());
        let blocks = self.bytes / BLOCK_BYTES as u64;
        let started = Instant::now();
        let (mut begun, mut done, mut flushes) = (0, 0, 0);
        let mut free: Vec<usize> = (0..DEPTH).collect();
        while done < blocks || flushes > 0 {
            while begun < blocks
                && let Some(slot) = free.pop()
            {
                let at = self.memory[slot * BLOCK_BYTES / PAGE_BYTES].0.as_ptr();
                let through = if flush == Flush::Through { libc::RWF_DSYNC } else { 0 };
                let write = opcode::Write::new(fd, at, BLOCK_BYTES as u32)
                    .offset(begun * BLOCK_BYTES as u64)
                    .rw_flags(through)
                    .build()
                    .user_data(slot as u64);
                begun += 1;
                let is_followed = flush == Flush::Linked && (begun % 4 == 0 || begun == blocks);
                let write = if is_followed { write.flags(squeue::Flags::IO_LINK) } else { write };
                push(&mut ring, &write)?;
                if is_followed {
                    let sync = opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build();
                    push(&mut ring, &sync.user_data(u64::MAX))?;
                    flushes += 1;
                }
            }
            ring.submit_and_wait(1)?;
            for ended in ring.completion() {
                if ended.user_data() == u64::MAX {
                    ensure!(ended.result() == 0, "a flush failed: {}", ended.result());
                    flushes -= 1;
                } else {
                    ensure!(ended.result() == BLOCK_BYTES as i32, "a write failed: {}", ended.result());
                    free.push(ended.user_data() as usize);
                    done += 1;
                }
            }
        }
        if flush == Flush::AtEnd {
            self.file.sync_data()?;
        }
        Ok(started.elapsed())
    }

    /// How long each of so many small writes takes, one every `period`.
    pub(super) fn small_writes(&mut self, count: u64, period: Duration) -> anyhow::Result<Vec<u64>> {
        let part = libc::iovec { iov_base: self.memory.as_ptr() as *mut _, iov_len: PAGE_BYTES };
        let begun = Instant::now();
        let mut taken = Vec::with_capacity(count as usize);
        for number in 0..count {
            let due = begun + period * number as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let offset = (number * PAGE_BYTES as u64 % self.bytes) as i64;
            let started = Instant::now();
            // SAFETY: the part is memory of this object, as long as it says, which the call only reads.
            let written = unsafe { libc::pwritev2(self.file.as_raw_fd(), &part, 1, offset, libc::RWF_DSYNC) };
            taken.push(started.elapsed().as_nanos() as u64);
            ensure!(written == PAGE_BYTES as isize, "a write failed: {}", std::io::Error::last_os_error());
        }
        Ok(taken)
    }

    /// How much one turn writes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

fn push(ring: &mut IoUring, entry: &squeue::Entry) -> anyhow::Result<()> {
    // SAFETY: the file and the memory belong to the caller, who waits for all that was begun. On an error the memory
    // stays as it is for as long as the process, which then ends.
    unsafe { ring.submission().push(entry) }.context("the ring is full")
}
