//! The ring of one hot thread: made on the thread that uses it, entered only by it.

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue, types};
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::*};
use std::time::Duration;

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

/// A completed operation: what it was, and its result.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Done {
    pub(crate) user_data: u64,
    pub(crate) result: i32,
}

/// A ring.
pub(crate) struct Ring {
    uring: IoUring,
}

impl Ring {
    /// Makes a ring with room for `entries` submissions. Only the calling thread may use it.
    pub(crate) fn new(entries: u32) -> Result<Self, RingError> {
        // Completions wait until this thread asks for them, instead of interrupting it.
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .dontfork()
            .build(entries);
        match uring {
            Ok(uring) => Ok(Self { uring }),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS)) => {
                Err(RingError::Forbidden(error))
            }
            Err(error) => Err(RingError::Kernel(error)),
        }
    }

    /// Queues an operation; it begins at the next [`Ring::enter`]. A full queue is entered first.
    pub(crate) fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        loop {
            // SAFETY: the callers' buffers live in connections, which are not freed while an operation is in
            // flight (`Link::in_flight`), or are as long-lived as the ring.
            if unsafe { self.uring.submission().push(entry) }.is_ok() {
                return Ok(());
            }
            self.uring.submit()?;
        }
    }

    /// Begins what is queued, and waits for a completion for at most `timeout`; not at all if that is zero.
    pub(crate) fn enter(&mut self, timeout: Duration) -> io::Result<()> {
        // A zero timeout still runs the kernel's deferred work, which spinning depends on.
        let time = Timespec::from(timeout);
        let wanted = usize::from(!timeout.is_zero());
        let entered = if wanted == 0 {
            self.uring.submitter().submit_with_args(0, &SubmitArgs::new())
        } else {
            self.uring.submitter().submit_with_args(wanted, &SubmitArgs::new().timespec(&time))
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
            *slot = Done { user_data: entry.user_data(), result: entry.result() };
        };
        done.iter_mut().zip(self.uring.completion()).map(take).count()
    }

    /// Whether completions are there already.
    pub(crate) fn has_completions(&mut self) -> bool {
        !self.uring.completion().is_empty()
    }

    fn fd(&self) -> i32 {
        self.uring.as_raw_fd()
    }
}

/// Wakes a thread that sleeps in its ring, by a message from the ring of another. Costs nothing while it is awake.
#[derive(Debug)]
pub(crate) struct Bell {
    asleep: AtomicBool,
    sleeper: AtomicI32,
}

impl Default for Bell {
    fn default() -> Self {
        Self { asleep: AtomicBool::new(false), sleeper: AtomicI32::new(-1) }
    }
}

impl Bell {
    /// Says which ring is to be woken.
    pub(crate) fn attach(&self, ring: &Ring) {
        self.sleeper.store(ring.fd(), Release);
    }

    /// The ring is about to go.
    pub(crate) fn detach(&self) {
        self.sleeper.store(-1, Release);
    }

    /// Called by the sleeper before it looks for work a last time. The other side looks at the flag only after it
    /// has made work visible, so one of the two sees the other: both orders are sequentially consistent.
    pub(crate) fn fall_asleep(&self) {
        self.asleep.store(true, SeqCst);
        std::sync::atomic::fence(SeqCst);
    }

    /// Called by the sleeper when it goes on.
    pub(crate) fn wake_up(&self) {
        self.asleep.store(false, Relaxed);
    }

    /// Queues the message that wakes the sleeper, if it sleeps.
    pub(crate) fn ring_on(&self, ring: &mut Ring) -> io::Result<()> {
        std::sync::atomic::fence(SeqCst);
        if !self.asleep.load(Relaxed) || !self.asleep.swap(false, SeqCst) {
            return Ok(());
        }
        let sleeper = self.sleeper.load(Acquire);
        if sleeper < 0 {
            return Ok(());
        }
        let message = opcode::MsgRingData::new(types::Fd(sleeper), 0, 0, None)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(IGNORED);
        ring.push(&message)
    }
}

/// Marks operations whose completion tells nothing.
pub(crate) const IGNORED: u64 = u64::MAX;
