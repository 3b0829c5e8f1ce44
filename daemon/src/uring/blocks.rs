//! The memory that a ring writes files from: blocks, in pages that the kernel knows, if it will.
//!
//! What holds: the memory belongs to the ring for its life, and is not given back while an operation may read it.
//! Whoever fills a block leaves it alone until the operation that writes it has completed.

use super::buffers::Memory;
use super::{Outcome, Ring, ask};
use io_uring::types::FsyncFlags;
use io_uring::{Submitter, opcode, squeue, types};
use std::io;
use std::os::fd::RawFd;

/// How much memory for blocks there is to be, and for how many files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DiskPlan {
    /// How many blocks.
    pub(crate) count: usize,
    /// The size of each: a multiple of 4 KiB.
    pub(crate) each_bytes: usize,
    /// Whether 2 MiB pages are tried.
    pub(crate) huge_pages: bool,
    /// How many files may be registered.
    pub(crate) files: u32,
}

/// The memory.
pub(crate) struct Blocks {
    memory: Memory,
    plan: DiskPlan,
    is_registered: bool,
    /// Operations that may read it.
    in_flight: u32,
}

/// What became of a plan.
#[derive(Debug)]
pub(crate) struct BlockFeatures {
    pub(crate) plan: DiskPlan,
    /// Whether they lie in 2 MiB pages.
    pub(crate) is_huge: bool,
    /// Whether the kernel knows them, so that it need not look their pages up for each write.
    pub(crate) registered: Outcome,
}

/// A file, as operations name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// By its descriptor.
    Fd(RawFd),
    /// By its place in the ring's table.
    Registered(u32),
}

/// How far a write goes before it completes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// To the file.
    Written,
    /// To the medium: RWF_DSYNC.
    Through,
    /// To the file; a flush that completes by this name begins once it is there.
    ThenFlush(u64),
}

/// A piece of a block, and where it goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece {
    pub(crate) block: usize,
    pub(crate) len: usize,
    pub(crate) offset: u64,
}

/// Builds an operation for a file that is named either way.
macro_rules! on {
    ($place:expr, |$file:ident| $build:expr) => {
        match $place {
            Place::Fd(fd) => {
                let $file = types::Fd(fd);
                $build
            }
            Place::Registered(place) => {
                let $file = types::Fixed(place);
                $build
            }
        }
    };
}

impl Blocks {
    /// Takes the memory, and tells the kernel of it.
    pub(super) fn take(plan: DiskPlan, submitter: &Submitter<'_>) -> io::Result<(Self, BlockFeatures)> {
        let memory = Memory::take(plan.count * plan.each_bytes, plan.huge_pages)?;
        let whole =
            libc::iovec { iov_base: memory.at().as_ptr().cast(), iov_len: plan.count * plan.each_bytes };
        // SAFETY: the memory is that long, and is not given back before the ring is gone: it goes after it in
        // `Ring::drop`, or never while an operation may read it.
        let registered = ask("uring.blocks", || unsafe { submitter.register_buffers(&[whole]) });
        let features = BlockFeatures { plan, is_huge: memory.is_huge(), registered };
        Ok((Self { memory, plan, is_registered: features.registered.is_ok(), in_flight: 0 }, features))
    }

    fn bytes(&self) -> usize {
        self.plan.count * self.plan.each_bytes
    }
}

impl Drop for Blocks {
    /// Gives nothing back that the kernel may still read: a ring that is closed ends its operations later.
    fn drop(&mut self) {
        if self.in_flight > 0 {
            self.memory.keep();
        }
    }
}

impl Ring {
    /// The memory of all blocks, one after the other. What is on its way must be left as it is.
    pub(crate) fn memory(&mut self) -> &mut [u8] {
        let Some(blocks) = &mut self.blocks else { return &mut [] };
        let len = blocks.bytes();
        // SAFETY: the memory is that long and initialised, and only this borrow of the ring gives it out. The kernel
        // reads at the most, and only what was written before the operation was queued.
        unsafe { std::slice::from_raw_parts_mut(blocks.memory.at().as_ptr(), len) }
    }

    /// Queues the writing of a piece of a block. Once it completes, call [`Ring::written`].
    pub(crate) fn write(&mut self, to: Place, piece: Piece, depth: Depth, user_data: u64) -> io::Result<()> {
        let Some(blocks) = &mut self.blocks else { return Err(io::ErrorKind::Unsupported.into()) };
        let Piece { block, len, offset } = piece;
        assert!(block < blocks.plan.count && len <= blocks.plan.each_bytes, "a block that is not there");
        // SAFETY: just looked: it lies in the memory.
        let from = unsafe { blocks.memory.at().as_ptr().add(block * blocks.plan.each_bytes) }.cast_const();
        let flags = if depth == Depth::Through { libc::RWF_DSYNC } else { 0 };
        let entry = if blocks.is_registered {
            on!(to, |file| opcode::WriteFixed::new(file, from, len as u32, 0)
                .offset(offset)
                .rw_flags(flags)
                .build())
        } else {
            on!(to, |file| opcode::Write::new(file, from, len as u32).offset(offset).rw_flags(flags).build())
        };
        blocks.in_flight += 1;
        let entry = entry.user_data(user_data);
        match depth {
            Depth::ThenFlush(name) => {
                self.push_linked(&[entry.flags(squeue::Flags::IO_LINK), flush_of(to).user_data(name)])
            }
            Depth::Written | Depth::Through => self.push(&entry),
        }
    }

    /// A write has completed.
    pub(crate) fn written(&mut self) {
        self.blocks.iter_mut().for_each(|blocks| blocks.in_flight = blocks.in_flight.saturating_sub(1));
    }

    /// Queues the flush of a file's data.
    pub(crate) fn flush(&mut self, file: Place, user_data: u64) -> io::Result<()> {
        self.push(&flush_of(file).user_data(user_data))
    }
}

fn flush_of(file: Place) -> squeue::Entry {
    on!(file, |file| opcode::Fsync::new(file).flags(FsyncFlags::DATASYNC).build())
}
