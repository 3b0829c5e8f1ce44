//! The hot thread: reads every connection through one io_uring and feeds the engine.
//!
//! What holds once it runs: its only system call is `io_uring_enter`, but for ending a connection and for the first
//! one whose network card can be polled; it takes no lock; it allocates only where rustls does. Each connection has one
//! receive in flight, which goes on and on into buffers that all share; where the kernel refuses that, one at a time,
//! straight into the connection's memory.
//!
//! A hot thread can be stopped, and another one go on with its connections and its engine: a new configuration loses
//! no connection.

pub(crate) use super::intake::Handover;

use super::gap::GapMeter;
use super::intake::Intake;
use crate::engine::Input;
use crate::fail;
use crate::now_ns;
use crate::render::Renderer;
use crate::rt::{POLL_NS, Wait};
use crate::supervisor::Pulse;
use crate::uring::{Bell, Done, IGNORED, NAPI_POLL, Ring};
use io_uring::{opcode, types};
use shm::status::{Phase, StatusWriter};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::Duration;

/// How long the thread may sleep: its heartbeat and its timers need it awake now and then.
const NAP: Duration = Duration::from_millis(100);
/// However soon something is due.
const LEAST_NAP: Duration = Duration::from_micros(50);
/// Completions taken at a time.
const BATCH: usize = 64;

/// What an operation was for: the low byte of its user data. The rest is the link's place.
const WAKE: u64 = 0;
pub(super) const RECEIVE: u64 = 1;
pub(super) const SEND: u64 = 2;
pub(super) const INSTALL: u64 = 3;

pub(super) fn user_data(place: usize, what: u64) -> u64 {
    (place as u64) << 8 | what
}

/// Who draws what has come in.
pub(crate) enum Drawing {
    /// This thread, at once: a trade runs to its frame to completion (fused).
    Here(Box<Renderer>),
    /// Another thread, which is woken if it sleeps (split).
    Elsewhere(Arc<Bell>),
}

/// The state of the hot thread.
pub(crate) struct HotLoop {
    pub(super) ring: Ring,
    pub(super) intake: Intake,
    drawing: Drawing,
    pub(super) wait: Wait,
    pulse: Pulse,
    wake_armed: bool,
    next_check_ns: u64,
    gap: GapMeter,
    /// Whether a connection waits for buffers.
    pub(super) is_starved: bool,
    /// Whether nothing new is begun any more.
    pub(super) is_stopping: bool,
}

impl HotLoop {
    /// A loop over `ring`, which this thread has made.
    pub(crate) fn new(
        ring: Ring,
        handover: Handover,
        status: Arc<StatusWriter>,
        drawing: Drawing,
        wait: Wait,
        pulse: Pulse,
    ) -> Self {
        Self {
            ring,
            intake: Intake::new(handover, status),
            drawing,
            wait,
            pulse,
            wake_armed: false,
            next_check_ns: 0,
            gap: GapMeter::default(),
            is_starved: false,
            is_stopping: false,
        }
    }

    /// Runs until it is told to stop, and leaves what it has to the next one.
    pub(crate) fn run(mut self) -> std::io::Result<Handover> {
        for place in 0..self.intake.places() {
            self.begin(place, Ok(()))?; // What another thread has left.
        }
        let mut done = [Done::default(); BATCH];
        let mut idle_since_ns = now_ns();
        while !self.intake.local.should_stop() {
            self.arm_wake()?;
            // What can be prepared is prepared before it sleeps, but only if nothing has come.
            let is_behind = matches!(&self.drawing, Drawing::Here(renderer) if renderer.is_behind());
            let patience = if is_behind { Duration::ZERO } else { self.patience(idle_since_ns) };
            self.intake.engine.settle(&mut self.ring)?;
            self.ring.enter(patience)?;
            let receive_ns = now_ns();
            let count = self.ring.take(&mut done);
            // What waits in a full batch's wake may be what an arbiter misses.
            let is_due =
                count < BATCH && self.intake.packets.due_ns.is_some_and(|due_ns| due_ns <= receive_ns);
            if count > 0 || is_due {
                self.pulse.beat(Phase::Ingest, receive_ns);
                self.complete_all(&done[..count], receive_ns)?;
                if is_due {
                    self.intake.tick_packets(receive_ns);
                }
                if self.intake.packets.has_requests {
                    self.send_requests()?;
                }
                self.draw()?;
                self.ask()?;
                idle_since_ns = receive_ns;
                self.gap.interrupt();
            } else if let (true, Drawing::Here(renderer)) = (is_behind, &mut self.drawing) {
                renderer.catch_up();
                self.gap.interrupt();
            } else if patience.is_zero() {
                self.gap.look(receive_ns, &self.intake.status);
            }
            fail::point("ingest.loop");
            self.pulse.beat(Phase::Wait, receive_ns);
            // What waits in a full batch's wake may be signs of life.
            if receive_ns >= self.next_check_ns && count < BATCH {
                self.next_check_ns = receive_ns + NAP.as_nanos() as u64;
                self.check_silence(receive_ns)?;
                self.intake.engine.take(&Input::Tick, receive_ns);
                self.ask()?;
                if matches!(&self.drawing, Drawing::Here(renderer) if renderer.has_news()) {
                    self.draw()?; // A second of a countdown has passed.
                    self.pulse.beat(Phase::Wait, receive_ns);
                }
            }
        }
        self.stop()
    }

    /// Has what came drawn. Whatever comes meanwhile goes into the next frame.
    fn draw(&mut self) -> std::io::Result<()> {
        match &mut self.drawing {
            Drawing::Here(renderer) => {
                self.pulse.beat(Phase::Draw, now_ns());
                if self.pulse.take_step_down() {
                    renderer.step_down();
                }
                renderer.step();
                // The bell rings when the ring is entered next, which is at once.
                if renderer.take_rings() { renderer.doorbell().ring_on(&mut self.ring) } else { Ok(()) }
            }
            Drawing::Elsewhere(bell) => bell.ring_on(&mut self.ring),
        }
    }

    /// Takes back all receives, so that another ring can begin them again. What has come meanwhile is taken in.
    fn stop(mut self) -> std::io::Result<Handover> {
        self.is_stopping = true;
        self.obey_all(now_ns())?;
        for place in 0..self.intake.places() {
            for what in [RECEIVE, SEND] {
                cancel(&mut self.ring, user_data(place, what))?;
            }
        }
        // A read that stayed behind would take the next thread's wake-up.
        cancel(&mut self.ring, WAKE)?;
        let mut done = [Done::default(); BATCH];
        // Cancelling is quick; the bound is for a kernel that is not.
        for _ in 0..100 {
            if !self.wake_armed && self.intake.is_quiet() {
                break;
            }
            self.ring.enter(Duration::from_millis(10))?;
            let count = self.ring.take(&mut done);
            self.complete_all(&done[..count], now_ns())?;
        }
        self.draw()?;
        self.intake.engine.settle(&mut self.ring)?;
        self.ring.enter(Duration::ZERO)?;
        Ok(self.intake.into_handover())
    }

    /// How long the ring may wait for the next completion.
    fn patience(&mut self, idle_since_ns: u64) -> Duration {
        let spin = match self.wait {
            Wait::Spin => true,
            Wait::Poll => now_ns().saturating_sub(idle_since_ns) < POLL_NS,
            Wait::Block | Wait::Auto => false,
        };
        match spin {
            _ if self.ring.has_completions() => Duration::ZERO,
            // The kernel spins instead, over the cards themselves; it does so only while it waits.
            true if self.ring.is_polling_cards() => NAPI_POLL,
            true => Duration::ZERO,
            false => self.intake.packets.due_ns.map_or(NAP, |due_ns| {
                let left = Duration::from_nanos(due_ns.saturating_sub(now_ns()));
                left.clamp(LEAST_NAP, NAP)
            }),
        }
    }

    /// Keeps a read of the wake-up counter in flight, which resets it: no call is needed for that.
    fn arm_wake(&mut self) -> std::io::Result<()> {
        if std::mem::replace(&mut self.wake_armed, true) {
            return Ok(());
        }
        let shared = &self.intake.local.shared;
        let (fd, woken) = (types::Fd(shared.wake.as_fd().as_raw_fd()), shared.woken.as_ptr());
        self.ring.push(&opcode::Read::new(fd, woken.cast(), size_of::<u64>() as u32).build().user_data(WAKE))
    }

    fn complete_all(&mut self, done: &[Done], receive_ns: u64) -> std::io::Result<()> {
        for done in done {
            self.complete(*done, receive_ns)?;
        }
        if self.is_starved { self.feed_starved() } else { Ok(()) }
    }

    fn complete(&mut self, done: Done, receive_ns: u64) -> std::io::Result<()> {
        if done.user_data == IGNORED {
            return Ok(());
        }
        let place = (done.user_data >> 8) as usize;
        match done.user_data & 0xff {
            WAKE => {
                self.wake_armed = false;
                self.obey_all(receive_ns)
            }
            RECEIVE => self.received(place, done, receive_ns),
            SEND => self.sent(place, done.result),
            _ => self.installed(place, done.result),
        }
    }
}

/// Has an operation end soon, by its user data.
pub(super) fn cancel(ring: &mut Ring, user_data: u64) -> std::io::Result<()> {
    ring.push(&opcode::AsyncCancel::new(user_data).build().user_data(IGNORED))
}
