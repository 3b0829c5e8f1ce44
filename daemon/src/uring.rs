//! The ring of one thread, hot or the journal's: made on the thread that uses it, entered only by it.
//!
//! It is made disabled, gets its files, its buffers and its restrictions, and is then enabled. What the kernel refuses
//! of these is done without ([`RingFeatures`]).

mod bell;
mod blocks;
mod buffers;
mod features;
#[cfg(test)]
mod tests;

pub(crate) use bell::Bell;
pub(crate) use blocks::{Depth, DiskPlan, Piece, Place};
pub(crate) use buffers::GROUP;
pub(crate) use features::{RECEIVE_PAGES, RingFeatures, RingPlan};

use blocks::Blocks;
use buffers::Buffers;
use features::{Outcome, Receives, SocketPlan, ask, restrict};
use io_uring::types::{Napi, SubmitArgs, Timespec};
use io_uring::{IoUring, Submitter, cqueue, opcode, squeue, types};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr::NonNull;
use std::time::Duration;

/// How long the kernel polls a network card before it sleeps.
pub(crate) const NAPI_POLL: Duration = Duration::from_micros(50);

/// Why a ring cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The kernel or a container forbids io_uring.
    #[error(
        "io_uring is forbidden here ({0}): allow it with `sysctl kernel.io_uring_disabled=0`, or in the container's seccomp profile"
    )]
    Forbidden(io::Error),
    /// Anything else.
    #[error("cannot make an io_uring: {0} (chartd needs Linux 6.1 or later)")]
    Kernel(io::Error),
}

impl From<io::Error> for RingError {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::ENOSYS) => Self::Forbidden(error),
            _ => Self::Kernel(error),
        }
    }
}

/// A completed operation: what it was, and its result.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Done {
    pub(crate) user_data: u64,
    pub(crate) result: i32,
    flags: u32,
}

impl Done {
    /// Whether the operation goes on, and will complete again.
    pub(crate) fn goes_on(&self) -> bool {
        cqueue::more(self.flags)
    }

    /// The buffer that the kernel took for it. It must be given back.
    pub(crate) fn buffer(&self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }
}

/// A ring. It stays on its thread: the kernel knows it by a number of that thread.
pub(crate) struct Ring {
    /// A box, given back in `drop`. Only shared borrows of it are ever made, since `submitter` is one.
    uring: NonNull<IoUring>,
    /// Knows the ring's registered number, if it has one.
    submitter: Submitter<'static>,
    buffers: Option<Buffers>,
    blocks: Option<Blocks>,
    /// What the places of the file table are to hold; the kernel reads it when the ring is entered.
    files: Box<[RawFd]>,
    features: RingFeatures,
    is_polling_cards: bool,
}

impl Ring {
    /// Makes a ring. Only the calling thread may use it.
    pub(crate) fn new(plan: &RingPlan) -> Result<Self, RingError> {
        let (uring, is_disabled) = match build(plan.entries, true) {
            Ok(uring) => (uring, true),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => (build(plan.entries, false)?, false),
            Err(error) => return Err(error.into()),
        };
        let uring = NonNull::from(Box::leak(Box::new(uring)));
        let unknown = || Err(io::Error::from(io::ErrorKind::Unsupported));
        let features = RingFeatures {
            receives: None,
            files: unknown(),
            ring_fd: unknown(),
            restrictions: unknown(),
            napi: unknown(),
            blocks: None,
        };
        // SAFETY: the box lives until `drop`, where the submitter goes too; nobody borrows it exclusively before.
        let submitter = unsafe { uring.as_ref() }.submitter();
        let mut ring = Self {
            uring,
            submitter,
            buffers: None,
            blocks: None,
            files: Box::new([]),
            features,
            is_polling_cards: false,
        };
        // From here on `drop` gives the ring back.
        if let Some(sockets) = &plan.sockets {
            ring.take_sockets(sockets);
        }
        if let Some(disk) = plan.disk {
            ring.take_disk(disk)?;
        }
        ring.features.ring_fd = ask("uring.ring_fd", || ring.submitter.register_ring_fd());
        if is_disabled {
            ring.features.restrictions = ask("uring.restrictions", || restrict(&ring.submitter, plan));
            ring.submitter.register_enable_rings()?;
        }
        if plan.sockets.is_some() {
            ring.prove_receives();
        }
        if plan.disk.is_some() {
            ring.prove_table();
        }
        Ok(ring)
    }

    /// Registers buffers and a table for files.
    fn take_sockets(&mut self, plan: &SocketPlan) {
        let Self { submitter, .. } = self;
        let mut buffers = ask("uring.buffers", || Buffers::register(plan.buffers, submitter));
        self.features.receives = Some(match &mut buffers {
            Ok(buffers) => Receives::Multishot {
                count: buffers.count(),
                each_bytes: buffers.each_bytes(),
                is_huge: buffers.is_huge(),
                wants_huge: plan.buffers.huge_pages,
            },
            Err(error) => Receives::Single(std::mem::replace(error, io::ErrorKind::Unsupported.into())),
        });
        self.buffers = buffers.ok();
        self.take_table(plan.files);
        // Polling for no time: whether the kernel knows how. It stays off until a card asks for it.
        self.features.napi = ask("uring.napi", || {
            self.submitter.register_napi(&mut Napi::new())?;
            self.submitter.unregister_napi(&mut Napi::new())
        });
    }

    /// Registers a table for so many files.
    fn take_table(&mut self, files: u32) {
        self.features.files = ask("uring.files", || self.submitter.register_files_sparse(files));
        if self.features.files.is_ok() {
            self.files = vec![-1; files as usize].into_boxed_slice();
        }
    }

    /// Takes memory for blocks, and a table for files. Flushes are carried out by threads of the kernel: a few will do.
    fn take_disk(&mut self, plan: DiskPlan) -> io::Result<()> {
        let (blocks, features) = Blocks::take(plan, &self.submitter)?;
        (self.blocks, self.features.blocks) = (Some(blocks), Some(features));
        self.take_table(plan.files);
        let _ = self.submitter.register_iowq_max_workers(&mut [4, 2]); // Without it they are more, at worst.
        Ok(())
    }

    /// Receives once from a socket of our own, to know that what was registered works.
    fn prove_receives(&mut self) {
        self.prove_table();
        if self.buffers.is_some()
            && let Err(error) = ask("uring.multishot", || Ok(())).and_then(|()| self.prove_multishot())
        {
            self.features.receives = Some(Receives::Single(error));
            self.buffers = None; // The kernel has pinned their queue, and no operation asks for one.
        }
    }

    /// Registers a file of our own, to know that it works.
    fn prove_table(&mut self) {
        if !self.files.is_empty()
            && let Err(error) = self.prove_files()
        {
            self.features.files = Err(error);
            self.files = Box::new([]);
        }
    }

    fn prove_files(&mut self) -> io::Result<()> {
        let (socket, _other) = UnixStream::pair()?;
        self.install(0, socket.as_raw_fd(), PROOF)?;
        let installed = self.next_done()?.result;
        self.uninstall(0)?;
        self.enter(Duration::ZERO)?;
        check(installed == 1, installed)
    }

    fn prove_multishot(&mut self) -> io::Result<()> {
        let (socket, mut other) = UnixStream::pair()?;
        self.begin_multishot(
            &opcode::RecvMulti::new(types::Fd(socket.as_raw_fd()), GROUP).build().user_data(PROOF),
        )?;
        other.write_all(b"!")?;
        let received = self.next_done()?;
        let came = received.buffer().map(|id| {
            let came = self.bytes(id, 1) == b"!";
            self.give_back(id);
            came
        });
        drop(other);
        let ended = if received.goes_on() { self.next_done()? } else { received };
        if !ended.goes_on() {
            self.multishot_ended();
        }
        check(received.result == 1 && received.goes_on() && came == Some(true), received.result)
    }

    /// Waits for one completion, for at most a second.
    fn next_done(&mut self) -> io::Result<Done> {
        let mut done = [Done::default()];
        for _ in 0..10 {
            self.enter(Duration::from_millis(100))?;
            if self.take(&mut done) == 1 {
                return Ok(done[0]);
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// What the kernel granted.
    pub(crate) fn features(&self) -> &RingFeatures {
        &self.features
    }

    /// Queues an operation; it begins at the next [`Ring::enter`]. A full queue is entered first.
    pub(crate) fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        loop {
            // SAFETY: no other queue exists: they are made in methods that borrow the ring exclusively, and dropped
            // there. The callers' buffers live in connections, which are not freed while an operation is in flight
            // (`Link::in_flight`), or are as long-lived as the ring.
            if unsafe { self.uring().submission_shared().push(entry) }.is_ok() {
                return Ok(());
            }
            self.submitter.submit()?;
        }
    }

    /// Queues operations of which each but the first waits for the one before. They begin together, or the chain would
    /// be cut.
    fn push_linked(&mut self, entries: &[squeue::Entry]) -> io::Result<()> {
        loop {
            // SAFETY: as in `push`.
            if unsafe { self.uring().submission_shared().push_multiple(entries) }.is_ok() {
                return Ok(());
            }
            self.submitter.submit()?;
        }
    }

    /// How many files can be registered.
    pub(crate) fn places(&self) -> usize {
        self.files.len()
    }

    /// Whether sockets are read by receives that go on and on, into buffers of the ring.
    pub(crate) fn has_buffers(&self) -> bool {
        self.buffers.is_some()
    }

    /// The size of each buffer.
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.buffers.as_ref().map_or(0, Buffers::each_bytes)
    }

    /// Queues a receive that goes on and on. When it completes and does not go on, call [`Ring::multishot_ended`].
    pub(crate) fn begin_multishot(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        self.buffers.iter_mut().for_each(Buffers::receive_begins);
        self.push(entry)
    }

    /// A receive that went on and on has ended.
    pub(crate) fn multishot_ended(&mut self) {
        self.buffers.iter_mut().for_each(Buffers::receive_ended);
    }

    /// The first `len` bytes of a buffer that a completion named.
    pub(crate) fn bytes(&self, id: u16, len: usize) -> &[u8] {
        self.buffers.as_ref().map_or(&[], |buffers| buffers.bytes(id, len))
    }

    /// Gives a buffer that a completion named back to the kernel.
    pub(crate) fn give_back(&mut self, id: u16) {
        self.buffers.iter_mut().for_each(|buffers| buffers.give_back(id));
    }

    /// Whether at least a quarter of the buffers is with the kernel. All are but those whose completions wait here.
    pub(crate) fn has_free_buffers(&mut self) -> bool {
        let count = self.buffers.as_ref().map_or(0, Buffers::count);
        self.waiting() <= count - count / 4
    }

    /// Has the kernel know a file by a place, if there is such a place. Completes with 1 if it does.
    pub(crate) fn install(&mut self, place: usize, fd: RawFd, user_data: u64) -> io::Result<bool> {
        let Some(file) = self.files.get_mut(place) else {
            return Ok(false);
        };
        *file = fd;
        // The kernel reads the table when the operation begins, which is when the ring is entered.
        let entry = opcode::FilesUpdate::new(file, 1).offset(place as i32).build();
        self.push(&entry.user_data(user_data)).map(|()| true)
    }

    /// Has the kernel forget the file at a place. Until then it keeps a closed socket open.
    pub(crate) fn uninstall(&mut self, place: usize) -> io::Result<()> {
        let Some(file) = self.files.get_mut(place) else {
            return Ok(());
        };
        *file = -1;
        let entry = opcode::FilesUpdate::new(file, 1).offset(place as i32).build();
        self.push(&entry.flags(squeue::Flags::SKIP_SUCCESS).user_data(IGNORED))
    }

    /// Has the kernel poll the network cards of the sockets that are read, from now on, while it waits. A call of its
    /// own, made once, when a connection comes that has such a card.
    pub(crate) fn poll_cards(&mut self) {
        if self.is_polling_cards || self.features.napi.is_err() {
            return;
        }
        let mut napi =
            Napi::new().set_busy_poll_timeout(NAPI_POLL.as_micros() as u32).set_prefer_busy_poll(true);
        self.is_polling_cards = self.submitter.register_napi(&mut napi).is_ok();
    }

    /// Whether the kernel polls network cards while it waits.
    pub(crate) fn is_polling_cards(&self) -> bool {
        self.is_polling_cards
    }

    /// Begins what is queued, and waits for a completion for at most `timeout`; not at all if that is zero.
    pub(crate) fn enter(&mut self, timeout: Duration) -> io::Result<()> {
        // A zero timeout still runs the kernel's deferred work, which spinning depends on.
        let time = Timespec::from(timeout);
        let wanted = usize::from(!timeout.is_zero());
        let entered = if wanted == 0 {
            self.submitter.submit_with_args(0, &SubmitArgs::new())
        } else {
            self.submitter.submit_with_args(wanted, &SubmitArgs::new().timespec(&time))
        };
        match entered {
            Ok(_) => Ok(()),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY)) => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Takes as many completions as there are and as fit. Returns how many.
    pub(crate) fn take(&mut self, done: &mut [Done]) -> usize {
        let take = |(slot, entry): (&mut Done, cqueue::Entry)| {
            *slot = Done { user_data: entry.user_data(), result: entry.result(), flags: entry.flags() };
        };
        // SAFETY: no other queue exists, as in `push`.
        let queue = unsafe { self.uring().completion_shared() };
        done.iter_mut().zip(queue).map(take).count()
    }

    /// How many completions are there already.
    fn waiting(&mut self) -> usize {
        // SAFETY: no other queue exists, as in `push`.
        unsafe { self.uring().completion_shared() }.len()
    }

    /// Whether completions are there already.
    pub(crate) fn has_completions(&mut self) -> bool {
        self.waiting() > 0
    }

    fn fd(&self) -> i32 {
        self.uring().as_raw_fd()
    }

    fn uring(&self) -> &IoUring {
        // SAFETY: the box lives until `drop`, and is never borrowed exclusively before.
        unsafe { self.uring.as_ref() }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // The number would keep the ring alive as long as the thread.
        let _ = self.submitter.unregister_ring_fd(); // It may have none.
        // SAFETY: it came from a box that was leaked in `new`. The only other borrow, `submitter`, is not used again:
        // it has no destructor. The buffers go afterwards, unless the kernel may still write to them.
        drop(unsafe { Box::from_raw(self.uring.as_ptr()) });
    }
}

/// Builds the kernel's side, which does nothing yet if it is to be disabled at first.
fn build(entries: u32, disabled: bool) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    // Completions wait until this thread asks for them, instead of interrupting it.
    builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().setup_submit_all();
    builder.setup_cqsize(4 * entries).dontfork();
    if disabled {
        builder.setup_r_disabled();
    }
    builder.build(entries)
}

/// What an operation failed with, or that it did something else than it should.
fn check(is_right: bool, result: i32) -> io::Result<()> {
    match result {
        _ if is_right => Ok(()),
        ..0 => Err(io::Error::from_raw_os_error(-result)),
        _ => Err(io::Error::from(io::ErrorKind::Unsupported)),
    }
}

/// Marks operations whose completion tells nothing.
pub(crate) const IGNORED: u64 = u64::MAX;
/// Marks the operations that prove that a ring works.
const PROOF: u64 = u64::MAX - 1;
