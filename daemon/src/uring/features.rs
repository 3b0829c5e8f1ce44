//! What a ring is to do, what of the kernel's help it got for that, and what was refused.
//!
//! Nothing here is necessary: each thing that the kernel refuses is done without, by itself, and told.

use super::blocks::{BlockFeatures, DiskPlan};
use super::buffers::{BufferPlan, HUGE_PAGE_BYTES};
use crate::fail;
use io_uring::register::Restriction;
use io_uring::squeue::Flags;
use io_uring::{Submitter, opcode};
use std::fmt;
use std::io;

/// What the thread that owns a ring does with it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RingPlan {
    /// Room for so many submissions, and four times as many completions.
    pub(crate) entries: u32,
    /// The operations that it begins. The kernel is to refuse all others.
    pub(crate) operations: &'static [u8],
    /// Its sockets, if it has any.
    pub(crate) sockets: Option<SocketPlan>,
    /// The files that it writes, if it does.
    pub(crate) disk: Option<DiskPlan>,
}

/// How a ring reads sockets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SocketPlan {
    /// How many may be registered.
    pub(crate) files: u32,
    /// What they are received into.
    pub(crate) buffers: BufferPlan,
}

/// How many receive buffers there are, and the size of each.
const BUFFERS: u16 = 256;
const BUFFER_BYTES: usize = 16 << 10;
/// How many 2 MiB pages they take.
pub(crate) const RECEIVE_PAGES: usize = (BUFFERS as usize * BUFFER_BYTES).div_ceil(HUGE_PAGE_BYTES);

impl RingPlan {
    /// For a thread that reads connections, and may draw.
    pub(crate) fn ingest(huge_pages: bool) -> Self {
        const OPERATIONS: [u8; 7] = [
            opcode::Recv::CODE, // Also the multishot one.
            opcode::Send::CODE,
            opcode::Read::CODE,  // The wake-up counter.
            opcode::Write::CODE, // The doorbell.
            opcode::MsgRingData::CODE,
            opcode::AsyncCancel::CODE,
            opcode::FilesUpdate::CODE,
        ];
        let buffers = BufferPlan { count: BUFFERS, each_bytes: BUFFER_BYTES, huge_pages };
        let sockets = Some(SocketPlan { files: 256, buffers });
        Self { entries: 256, operations: &OPERATIONS, sockets, disk: None }
    }

    /// For a thread that only draws: it rings the doorbell.
    pub(crate) fn render() -> Self {
        Self { entries: 16, operations: &[opcode::Write::CODE], sockets: None, disk: None }
    }

    /// For the thread that writes the journal: so many blocks of that size.
    pub(crate) fn journal(count: usize, each_bytes: usize, huge_pages: bool) -> Self {
        const OPERATIONS: [u8; 5] = [
            opcode::Write::CODE,
            opcode::WriteFixed::CODE,
            opcode::Fsync::CODE,
            opcode::Read::CODE, // The wake-up counter.
            opcode::FilesUpdate::CODE,
        ];
        let disk = Some(DiskPlan { count, each_bytes, huge_pages, files: 8 });
        Self { entries: 64, operations: &OPERATIONS, sockets: None, disk }
    }
}

/// What a ring got. Where something was refused, it says why.
#[derive(Debug)]
pub(crate) struct RingFeatures {
    /// How its sockets are read; `None` if it has none.
    pub(crate) receives: Option<Receives>,
    /// Whether its sockets are registered, so that an operation need not look them up.
    pub(crate) files: Outcome,
    /// Whether the ring itself is registered.
    pub(crate) ring_fd: Outcome,
    /// Whether the kernel refuses whatever the thread does not do anyway.
    pub(crate) restrictions: Outcome,
    /// Whether the kernel can poll a network card that names its queue.
    pub(crate) napi: Outcome,
    /// The memory that it writes from; `None` if it writes no files.
    pub(crate) blocks: Option<BlockFeatures>,
}

/// How sockets are read.
#[derive(Debug)]
pub(crate) enum Receives {
    /// One receive goes on and on, into buffers that all sockets share.
    Multishot {
        count: usize,
        each_bytes: usize,
        /// Whether they lie in 2 MiB pages, and whether those were wanted.
        is_huge: bool,
        wants_huge: bool,
    },
    /// One receive at a time, straight into the connection's memory, for this reason.
    Single(io::Error),
}

/// Whether something was granted.
pub(crate) type Outcome = Result<(), io::Error>;

impl RingFeatures {
    /// A sentence for each thing that is lacking.
    pub(crate) fn lacking(&self) -> Vec<String> {
        let mut lines = Vec::new();
        match &self.receives {
            Some(Receives::Single(why)) => lines.push(format!(
                "each receive is begun by itself: the kernel refused multishot receives into shared buffers ({why}; \
                 chartd would like Linux 6.1 or later, and some locked memory)"
            )),
            Some(Receives::Multishot { is_huge: false, wants_huge: true, .. }) => lines.push(
                "receive buffers lie in 4 KiB pages: there are too few 2 MiB pages (grant them with vm.nr_hugepages)"
                    .to_owned(),
            ),
            _ => {}
        }
        if let (Err(why), true) = (&self.files, self.receives.is_some()) {
            lines.push(format!(
                "sockets are looked up for each operation: registering them was refused ({why})"
            ));
        }
        if let Some(blocks) = &self.blocks {
            self.lacking_of_blocks(blocks, &mut lines);
        }
        if let Err(why) = &self.ring_fd {
            lines.push(format!("a ring is looked up for each call: registering it was refused ({why})"));
        }
        if let Err(why) = &self.restrictions {
            lines.push(format!(
                "a ring may do more than its thread needs: restricting it was refused ({why})"
            ));
        }
        lines
    }

    fn lacking_of_blocks(&self, blocks: &BlockFeatures, lines: &mut Vec<String>) {
        if let Err(why) = &blocks.registered {
            lines.push(format!(
                "the journal's memory is looked up for each write: registering it was refused ({why}; grant \
                 LimitMEMLOCK=infinity)"
            ));
        }
        if blocks.plan.huge_pages && !blocks.is_huge {
            lines.push(
                "the journal's blocks lie in 4 KiB pages: there are too few 2 MiB pages (grant them with \
                 vm.nr_hugepages)"
                    .to_owned(),
            );
        }
        if let Err(why) = &self.files {
            lines.push(format!(
                "the journal's files are looked up for each write: registering them was refused ({why})"
            ));
        }
    }
}

impl fmt::Display for RingFeatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.receives {
            Some(Receives::Multishot { count, each_bytes, is_huge, .. }) => {
                let pages = if *is_huge { "2 MiB" } else { "4 KiB" };
                write!(
                    f,
                    "multishot receives into {count} buffers of {} KiB in {pages} pages",
                    each_bytes >> 10
                )?;
            }
            Some(Receives::Single(_)) => write!(f, "single receives")?,
            None => write!(f, "no sockets")?,
        }
        if let Some(blocks) = &self.blocks {
            let (count, kib) = (blocks.plan.count, blocks.plan.each_bytes >> 10);
            let pages = if blocks.is_huge { "2 MiB" } else { "4 KiB" };
            let not = if blocks.registered.is_ok() { "" } else { "not " };
            write!(f, ", {count} blocks of {kib} KiB in {pages} pages, {not}registered")?;
            let not = if self.files.is_ok() { "" } else { "not " };
            write!(f, ", files {not}registered")?;
        }
        let granted = |outcome: &Outcome| if outcome.is_ok() { "" } else { "not " };
        if self.receives.is_some() {
            write!(f, ", sockets {}registered", granted(&self.files))?;
            write!(f, ", network cards {}polled if they can be", granted(&self.napi))?;
        }
        write!(f, ", ring {}registered, {}restricted", granted(&self.ring_fd), granted(&self.restrictions))
    }
}

/// What the kernel says, unless a test has it refuse.
pub(super) fn ask<T>(name: &str, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    if fail::is_refused(name) {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    call()
}

/// The calls that may come once the ring is in use: polling network cards, and its end.
const REGISTER_NAPI: u8 = 27;
const UNREGISTER_RING_FDS: u8 = 21;

/// Has the kernel refuse whatever `plan` does not name. In force once the ring is enabled.
pub(super) fn restrict(submitter: &Submitter<'_>, plan: &RingPlan) -> io::Result<()> {
    let mut flags = Flags::FIXED_FILE | Flags::BUFFER_SELECT | Flags::SKIP_SUCCESS;
    if plan.disk.is_some() {
        flags |= Flags::IO_LINK; // A flush waits for its write.
    }
    let mut allowed: Vec<_> = plan.operations.iter().map(|code| Restriction::sqe_op(*code)).collect();
    allowed.push(Restriction::sqe_flags_allowed(flags.bits()));
    allowed.extend([REGISTER_NAPI, UNREGISTER_RING_FDS].map(Restriction::register_op));
    submitter.register_restrictions(&mut allowed)
}
