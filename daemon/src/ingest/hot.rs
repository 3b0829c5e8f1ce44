//! The hot thread: reads every connection through one io_uring and feeds the engine.
//!
//! What holds once it runs: its only system call is `io_uring_enter`, but for ending a connection; it takes no
//! lock; it allocates only where rustls does. Each connection has one receive in flight, straight into its window.

use super::link::Link;
use super::{CloseReason, Local};
use crate::clock::now_ns;
use crate::engine::{Engine, Verdict};
use crate::render::Renderer;
use crate::rt::{POLL_NS, Wait};
use crate::uring::{Bell, Done, IGNORED, Ring};
use io_uring::{opcode, types};
use shm::status::{Counter, StatusWriter};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::Duration;

/// How long the thread may sleep: its heartbeat and its timers need it awake now and then.
const NAP: Duration = Duration::from_millis(100);
/// A venue pings every 20 s. After three of them the connection counts as dead.
const SILENCE_NS: u64 = 60_000_000_000;
/// How long a connection that is over may take to send its close frame. A server that reads nothing never lets it.
const LAST_WORDS_NS: u64 = 1_000_000_000;
/// Completions taken at a time.
const BATCH: usize = 64;

/// What an operation was for: the low byte of its user data. The rest is the link's place and life.
const WAKE: u64 = 0;
const RECEIVE: u64 = 1;
const SEND: u64 = 2;

/// Who draws what has come in.
pub(crate) enum Drawing {
    /// This thread, at once: a trade runs to its frame to completion (fused).
    Here(Box<Renderer>),
    /// Another thread, which is woken if it sleeps (split).
    Elsewhere(Arc<Bell>),
}

/// The state of the hot thread.
pub(crate) struct HotLoop {
    ring: Ring,
    local: Local,
    engine: Engine,
    status: Arc<StatusWriter>,
    drawing: Drawing,
    wait: Wait,
    links: Vec<Option<Link>>,
    wake_armed: bool,
    next_check_ns: u64,
}

impl HotLoop {
    /// A loop over `ring`, which this thread has made.
    pub(crate) fn new(
        ring: Ring,
        local: Local,
        engine: Engine,
        status: Arc<StatusWriter>,
        drawing: Drawing,
        wait: Wait,
    ) -> Self {
        let links = Vec::with_capacity(64);
        Self { ring, local, engine, status, drawing, wait, links, wake_armed: false, next_check_ns: 0 }
    }

    /// Runs until it is told to stop.
    pub(crate) fn run(&mut self) -> std::io::Result<()> {
        let mut done = [Done::default(); BATCH];
        let mut idle_since_ns = now_ns();
        while !self.local.should_stop() {
            self.arm_wake()?;
            let patience = self.patience(idle_since_ns);
            self.ring.enter(patience)?;
            let receive_ns = now_ns();
            let count = self.ring.take(&mut done);
            for done in &done[..count] {
                self.complete(*done, receive_ns)?;
            }
            if count > 0 {
                idle_since_ns = receive_ns;
                match &mut self.drawing {
                    // Whatever came while it drew goes into the next frame.
                    Drawing::Here(renderer) => drop(renderer.step()),
                    Drawing::Elsewhere(bell) => bell.ring_on(&mut self.ring)?,
                }
            }
            self.status.beat(receive_ns);
            if receive_ns >= self.next_check_ns {
                self.next_check_ns = receive_ns + NAP.as_nanos() as u64;
                self.check_silence(receive_ns);
            }
        }
        Ok(())
    }

    /// How long the ring may wait for the next completion.
    fn patience(&mut self, idle_since_ns: u64) -> Duration {
        let spin = match self.wait {
            Wait::Spin => true,
            Wait::Poll => now_ns().saturating_sub(idle_since_ns) < POLL_NS,
            Wait::Block | Wait::Auto => false,
        };
        if spin || self.ring.has_completions() { Duration::ZERO } else { NAP }
    }

    /// Keeps a poll of the wake-up counter in flight.
    fn arm_wake(&mut self) -> std::io::Result<()> {
        if std::mem::replace(&mut self.wake_armed, true) {
            return Ok(());
        }
        let fd = types::Fd(self.local.shared.wake.as_fd().as_raw_fd());
        self.ring.push(&opcode::PollAdd::new(fd, libc::POLLIN as u32).build().user_data(WAKE))
    }

    fn complete(&mut self, done: Done, receive_ns: u64) -> std::io::Result<()> {
        if done.user_data == IGNORED {
            return Ok(());
        }
        let place = (done.user_data >> 8) as usize;
        match done.user_data & 0xff {
            WAKE => {
                self.wake_armed = false;
                let _ = self.local.shared.wake.read(); // Resets it. It does not block; empty is as good.
                while let Ok(link) = self.local.connections.pop() {
                    self.adopt(link, receive_ns)?;
                }
                Ok(())
            }
            RECEIVE => self.received(place, done.result, receive_ns),
            _ => self.sent(place, done.result),
        }
    }

    fn adopt(&mut self, link: Link, receive_ns: u64) -> std::io::Result<()> {
        self.status.count(Counter::Connects, 1);
        let place = self.links.iter().position(Option::is_none).unwrap_or_else(|| {
            self.links.push(None);
            self.links.len() - 1
        });
        self.links[place] = Some(link);
        let outcome = self.feed(place, |link, message| link.begin(message), receive_ns);
        self.go_on(place, outcome)
    }

    fn received(&mut self, place: usize, result: i32, receive_ns: u64) -> std::io::Result<()> {
        let Some(link) = &mut self.links[place] else {
            return Ok(());
        };
        link.in_flight -= 1;
        if link.is_closed() {
            return self.go_on(place, Ok(()));
        }
        let outcome = match result {
            ..0 => Err(std::io::Error::from_raw_os_error(-result).into()),
            0 => Err(CloseReason::EndOfStream),
            len => {
                link.last_receive_ns = receive_ns;
                self.feed(place, |link, message| link.received(len as usize, message), receive_ns)
            }
        };
        self.go_on(place, outcome)
    }

    /// Has `read` take what came, and the engine each message of it.
    fn feed(
        &mut self,
        place: usize,
        read: impl FnOnce(&mut Link, &mut dyn FnMut(&[u8]) -> Result<(), CloseReason>) -> Result<(), CloseReason>,
        receive_ns: u64,
    ) -> Result<(), CloseReason> {
        let Some(link) = &mut self.links[place] else {
            return Ok(());
        };
        let (feed, engine, local) = (link.feed, &mut self.engine, &mut self.local);
        let outcome = read(link, &mut |message| match engine.frame(feed, message, receive_ns) {
            Verdict::Shutdown => Err(CloseReason::Shutdown),
            Verdict::Malformed(error) => {
                local.report(feed, error);
                Ok(())
            }
            _ => Ok(()),
        });
        self.status.count(Counter::Pings, link.take_pings());
        outcome
    }

    fn sent(&mut self, place: usize, result: i32) -> std::io::Result<()> {
        let Some(link) = &mut self.links[place] else {
            return Ok(());
        };
        link.in_flight -= 1;
        link.is_sending = false;
        if result < 0 {
            // What could not be sent is not sent again, or a closed link would never end.
            link.give_up_sending();
            self.close(place, std::io::Error::from_raw_os_error(-result).into());
        } else {
            link.sent(result as usize);
        }
        self.go_on_sending(place)
    }

    /// Goes on with a link after `outcome`: answers, receives, or ends it.
    fn go_on(&mut self, place: usize, outcome: Result<(), CloseReason>) -> std::io::Result<()> {
        if let Err(reason) = outcome {
            self.close(place, reason);
        }
        self.go_on_sending(place)?;
        let Some(link) = &mut self.links[place] else {
            return Ok(());
        };
        if !link.is_closed() {
            let buffer = link.receive_buffer();
            let entry = opcode::Recv::new(types::Fd(link.fd()), buffer.at, buffer.len).build();
            link.in_flight += 1;
            self.ring.push(&entry.user_data((place as u64) << 8 | RECEIVE))?;
        }
        Ok(())
    }

    /// Sends what waits, unless a send is in flight. Forgets a closed link that has nothing in flight any more.
    fn go_on_sending(&mut self, place: usize) -> std::io::Result<()> {
        let Some(link) = &mut self.links[place] else {
            return Ok(());
        };
        if !link.is_sending {
            match link.send_buffer() {
                Ok(Some(buffer)) => {
                    let entry = opcode::Send::new(types::Fd(link.fd()), buffer.at, buffer.len)
                        .flags(libc::MSG_NOSIGNAL)
                        .build();
                    link.in_flight += 1;
                    link.is_sending = true;
                    self.ring.push(&entry.user_data((place as u64) << 8 | SEND))?;
                }
                // Nothing is left to say: what is still in flight completes when the transport ends.
                Ok(None) if link.is_closed() => link.shut_down(),
                Ok(None) => {}
                Err(reason) => self.close(place, reason),
            }
        }
        if self.links[place].as_ref().is_some_and(|link| link.is_closed() && link.in_flight == 0) {
            self.links[place] = None;
        }
        Ok(())
    }

    /// Marks a link as over, and tells engine and cold side, once.
    fn close(&mut self, place: usize, reason: CloseReason) {
        let Some(link) = &mut self.links[place] else {
            return;
        };
        if link.closed_ns.replace(now_ns()).is_some() {
            return;
        }
        if matches!(reason, CloseReason::Shutdown) {
            link.say_goodbye();
        }
        let feed = link.feed;
        self.status.count(Counter::Disconnects, 1);
        self.engine.disconnected(feed);
        self.local.report_closed(feed, reason);
    }

    /// Ends connections from which nothing comes, and those that are over but cannot send their last words.
    fn check_silence(&mut self, now_ns: u64) {
        for place in 0..self.links.len() {
            let Some(link) = &self.links[place] else { continue };
            let since_ns = link.closed_ns.unwrap_or(link.last_receive_ns);
            let patience_ns = if link.is_closed() { LAST_WORDS_NS } else { SILENCE_NS };
            if now_ns.saturating_sub(since_ns) > patience_ns {
                link.shut_down();
                if !link.is_closed() {
                    self.close(place, CloseReason::Silent(SILENCE_NS / 1_000_000_000));
                }
            }
        }
    }
}

impl Drop for HotLoop {
    /// Ends all connections and waits until the kernel lets go of their buffers.
    fn drop(&mut self) {
        for link in self.links.iter_mut().flatten() {
            link.closed_ns = Some(0);
            link.shut_down();
        }
        let mut done = [Done::default(); BATCH];
        // Shutting down completes every receive and send; the bound is for a kernel that does not.
        for _ in 0..100 {
            if self.links.iter().flatten().all(|link| link.in_flight == 0) {
                return;
            }
            let _ = self.ring.enter(Duration::from_millis(10));
            let count = self.ring.take(&mut done);
            for done in done[..count].iter().filter(|done| done.user_data != IGNORED) {
                let place = (done.user_data >> 8) as usize;
                if done.user_data & 0xff != WAKE {
                    self.links[place].iter_mut().for_each(|link| link.in_flight -= 1);
                }
            }
        }
        // The kernel may still write to these buffers, so they are never freed.
        std::mem::forget(std::mem::take(&mut self.links));
    }
}
