//! The doorbell: how the cold plane learns that a frame is there which a sleeping reader waits for.
//!
//! Readers ask on the control socket; nothing that they can write is looked at here. The hot thread looks at one word
//! of its own memory for each frame, and does no more unless somebody waits: then its ring writes to an eventfd that
//! is private to this process. What holds: a wait that is armed when its frame is published is rung, since both sides
//! store first, then look at what the other has stored, with a sequentially consistent fence between.

use crate::uring::{IGNORED, Ring};
use io_uring::{opcode, squeue, types};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering::*, fence};

/// What is written to the eventfd. It outlives every ring.
static ONE: u64 = 1;
/// Nobody waits.
const NOBODY: u64 = u64::MAX;

/// Shared by the thread that publishes and the cold plane.
#[derive(Debug)]
pub struct Doorbell {
    charts: Box<[Button]>,
    bell: EventFd,
}

/// One chart's.
#[derive(Debug)]
#[repr(align(128))]
struct Button {
    /// The lowest frame that somebody waits for.
    wanted: AtomicU64,
    /// The latest frame.
    latest: AtomicU64,
    /// When it was published.
    publish_ns: AtomicU64,
}

impl Doorbell {
    /// For so many charts.
    pub fn new(charts: usize) -> io::Result<Self> {
        let button = || Button {
            wanted: AtomicU64::new(NOBODY),
            latest: AtomicU64::new(0),
            publish_ns: AtomicU64::new(0),
        };
        let bell = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self { charts: (0..charts).map(|_| button()).collect(), bell })
    }

    /// Tells that a chart's frame is published. Returns whether the bell is to be rung for it.
    pub(crate) fn published(&self, chart: usize, number: u64, publish_ns: u64) -> bool {
        let button = &self.charts[chart];
        button.publish_ns.store(publish_ns, Relaxed);
        button.latest.store(number, Release);
        fence(SeqCst);
        button.wanted.load(Relaxed) <= number && button.wanted.swap(NOBODY, AcqRel) <= number
    }

    /// Queues the ringing on the hot thread's ring; it happens when that is entered next.
    pub(crate) fn ring_on(&self, ring: &mut Ring) -> io::Result<()> {
        let fd = types::Fd(self.bell.as_fd().as_raw_fd());
        let write = opcode::Write::new(fd, (&raw const ONE).cast(), size_of_val(&ONE) as u32).build();
        ring.push(&write.flags(squeue::Flags::SKIP_SUCCESS).user_data(IGNORED))
    }

    /// Has the bell rung when that frame of a chart is published, or tells that it is already.
    pub fn want(&self, chart: usize, number: u64) -> Option<Frame> {
        let button = &self.charts[chart];
        button.wanted.fetch_min(number, AcqRel);
        fence(SeqCst);
        let latest = button.latest.load(Acquire);
        (latest >= number).then(|| Frame { number: latest, publish_ns: button.publish_ns.load(Relaxed) })
    }

    /// What becomes readable when the bell rings.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Silences the bell, before it is looked who waits for what.
    pub fn silence(&self) {
        let _ = self.bell.read(); // It does not block; not ringing is as good.
    }
}

/// A published frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Its number.
    pub number: u64,
    /// When it was published, CLOCK_MONOTONIC.
    pub publish_ns: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rings_once_for_each_wait_and_for_nobody_else() {
        let bell = Doorbell::new(2).unwrap();
        assert!(!bell.published(0, 1, 10));
        assert_eq!(bell.want(0, 1), Some(Frame { number: 1, publish_ns: 10 }));
        // Still armed, which costs a ring that nobody needs: the next publication takes it back.
        assert!(bell.published(0, 2, 20));
        assert_eq!(bell.want(0, 5), None);
        assert!(!bell.published(1, 9, 30), "another chart");
        assert!(!bell.published(0, 4, 30));
        assert!(bell.published(0, 5, 40));
        assert!(!bell.published(0, 6, 50));
    }

    #[test]
    fn no_wait_is_slept_through() {
        let bell = Doorbell::new(1).unwrap();
        std::thread::scope(|scope| {
            let publisher = scope.spawn(|| (1..=200_000).filter(|n| bell.published(0, *n, 0)).count());
            let (mut next, mut rung) = (1, 0);
            while next < 200_000 {
                match bell.want(0, next) {
                    Some(frame) => next = frame.number + 1,
                    None => {
                        // Asleep: only a ring may wake it, which the publisher returns as true.
                        rung += 1;
                        while bell.charts[0].wanted.load(Acquire) != NOBODY {
                            std::hint::spin_loop();
                        }
                    }
                }
            }
            let rings = publisher.join().unwrap();
            assert!(rings >= rung, "{rung} waits were ended by {rings} rings");
        });
    }
}
