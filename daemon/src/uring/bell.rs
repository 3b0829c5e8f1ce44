//! How one hot thread wakes another that sleeps in its ring.

use super::{IGNORED, Ring};
use io_uring::{opcode, squeue, types};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::*};

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
