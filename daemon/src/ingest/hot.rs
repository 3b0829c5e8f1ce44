//! The hot thread: reads every connection through one io_uring and feeds the engine.
//!
//! What holds once it runs: its only system call is `io_uring_enter`, but for ending a connection; it takes no
//! lock; it allocates only where rustls does. Each connection has one receive in flight, straight into its window.
//!
//! A hot thread can be stopped, and another one go on with its connections and its engine: a new configuration loses
//! no connection.

use super::link::{Link, Links};
use super::{CloseReason, Event, Local, Order};
use crate::engine::{Engine, Verdict};
use crate::fail;
use crate::now_ns;
use crate::render::Renderer;
use crate::rt::{POLL_NS, Wait};
use crate::supervisor::Pulse;
use crate::uring::{Bell, Done, IGNORED, Ring};
use io_uring::{opcode, types};
use shm::status::{Counter, Phase, Stage, StatusWriter};
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

/// What a hot thread leaves to the one that goes on.
pub(crate) struct Handover {
    pub(crate) engine: Engine,
    pub(crate) local: Local,
    pub(super) links: Links,
}

impl Handover {
    /// What the first hot thread begins with.
    pub(crate) fn new(engine: Engine, local: Local) -> Self {
        Self { engine, local, links: Links(Vec::with_capacity(64)) }
    }

    /// Has `engine` go on instead of the old one. `kept` has, for each of its feeds, the place of the old one; the
    /// connections of feeds that do not go on are closed.
    pub(crate) fn reconfigure(&mut self, mut engine: Engine, kept: &[Option<usize>]) {
        std::mem::swap(&mut self.engine, &mut engine);
        self.engine.inherit(engine, kept);
        for place in &mut self.links.0 {
            let feed = |link: &Link| kept.iter().position(|old| *old == Some(link.feed));
            match place.as_ref().map(feed) {
                Some(Some(feed)) => place.iter_mut().for_each(|link| link.feed = feed),
                _ => *place = None,
            }
        }
    }
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
    pub(super) local: Local,
    pub(super) engine: Engine,
    pub(super) links: Links,
    pub(super) status: Arc<StatusWriter>,
    drawing: Drawing,
    wait: Wait,
    pulse: Pulse,
    wake_armed: bool,
    next_check_ns: u64,
    gap: GapMeter,
    /// Whether nothing new is begun any more.
    is_stopping: bool,
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
        let Handover { engine, local, links } = handover;
        Self {
            ring,
            local,
            engine,
            links,
            status,
            drawing,
            wait,
            pulse,
            wake_armed: false,
            next_check_ns: 0,
            gap: GapMeter::default(),
            is_stopping: false,
        }
    }

    /// Runs until it is told to stop, and leaves what it has to the next one.
    pub(crate) fn run(mut self) -> std::io::Result<Handover> {
        for place in 0..self.links.0.len() {
            self.go_on(place, Ok(()))?; // What another thread has left.
        }
        let mut done = [Done::default(); BATCH];
        let mut idle_since_ns = now_ns();
        while !self.local.should_stop() {
            self.arm_wake()?;
            // What can be prepared is prepared before it sleeps, but only if nothing has come.
            let is_behind = matches!(&self.drawing, Drawing::Here(renderer) if renderer.is_behind());
            let patience = if is_behind { Duration::ZERO } else { self.patience(idle_since_ns) };
            self.ring.enter(patience)?;
            let receive_ns = now_ns();
            let count = self.ring.take(&mut done);
            if count > 0 {
                self.pulse.beat(Phase::Ingest, receive_ns);
                done[..count].iter().try_for_each(|done| self.complete(*done, receive_ns))?;
                self.draw()?;
                self.ask()?;
                idle_since_ns = receive_ns;
                self.gap.interrupt();
            } else if let (true, Drawing::Here(renderer)) = (is_behind, &mut self.drawing) {
                renderer.catch_up();
                self.gap.interrupt();
            } else if patience.is_zero() {
                self.gap.look(receive_ns, &self.status);
            }
            fail::point("ingest.loop");
            self.pulse.beat(Phase::Wait, receive_ns);
            if receive_ns >= self.next_check_ns {
                self.next_check_ns = receive_ns + NAP.as_nanos() as u64;
                self.check_silence(receive_ns);
                self.engine.tick(receive_ns);
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
        let receive_ns = now_ns();
        self.obey_all(receive_ns)?;
        for place in 0..self.links.0.len() {
            for what in [RECEIVE, SEND] {
                let cancel = opcode::AsyncCancel::new((place as u64) << 8 | what).build();
                self.ring.push(&cancel.user_data(IGNORED))?;
            }
        }
        // A read that stayed behind would take the next thread's wake-up.
        self.ring.push(&opcode::AsyncCancel::new(WAKE).build().user_data(IGNORED))?;
        let mut done = [Done::default(); BATCH];
        // Cancelling is quick; the bound is for a kernel that is not.
        for _ in 0..100 {
            if !self.wake_armed && self.links.0.iter().flatten().all(|link| link.in_flight == 0) {
                break;
            }
            self.ring.enter(Duration::from_millis(10))?;
            let count = self.ring.take(&mut done);
            let receive_ns = now_ns();
            done[..count].iter().try_for_each(|done| self.complete(*done, receive_ns))?;
        }
        self.draw()?;
        self.ring.enter(Duration::ZERO)?;
        Ok(Handover { engine: self.engine, local: self.local, links: self.links })
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

    /// Keeps a read of the wake-up counter in flight, which resets it: no call is needed for that.
    fn arm_wake(&mut self) -> std::io::Result<()> {
        if std::mem::replace(&mut self.wake_armed, true) {
            return Ok(());
        }
        let fd = types::Fd(self.local.shared.wake.as_fd().as_raw_fd());
        let woken = self.local.shared.woken.as_ptr();
        self.ring.push(&opcode::Read::new(fd, woken.cast(), size_of::<u64>() as u32).build().user_data(WAKE))
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
            RECEIVE => self.received(place, done.result, receive_ns),
            _ => self.sent(place, done.result),
        }
    }

    pub(super) fn adopt(&mut self, link: Link, receive_ns: u64) -> std::io::Result<()> {
        self.status.count(Counter::Connects, 1);
        self.engine.connected(link.feed, link.line);
        let place = self.links.0.iter().position(Option::is_none).unwrap_or_else(|| {
            self.links.0.push(None);
            self.links.0.len() - 1
        });
        self.links.0[place] = Some(link);
        let outcome = self.feed(place, |link, message| link.begin(message), receive_ns);
        self.go_on(place, outcome)
    }

    fn received(&mut self, place: usize, result: i32, receive_ns: u64) -> std::io::Result<()> {
        let Some(link) = &mut self.links.0[place] else {
            return Ok(());
        };
        link.in_flight -= 1;
        if link.is_closed() || (self.is_stopping && result == -libc::ECANCELED) {
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
        let Some(link) = &mut self.links.0[place] else {
            return Ok(());
        };
        let (feed, line, engine, local) = (link.feed, link.line, &mut self.engine, &mut self.local);
        let mut is_leaving = link.is_leaving;
        let outcome = read(link, &mut |message| match engine.frame(feed, line, message, receive_ns) {
            Verdict::Shutdown => {
                if !std::mem::replace(&mut is_leaving, true) {
                    local.report_urgent(Event::Rollover { feed, line });
                }
                Ok(())
            }
            Verdict::Malformed(error) => {
                local.report(feed, error);
                Ok(())
            }
            _ => Ok(()),
        });
        link.is_leaving = is_leaving;
        self.status.count(Counter::Pings, link.take_pings());
        outcome
    }

    fn sent(&mut self, place: usize, result: i32) -> std::io::Result<()> {
        let Some(link) = &mut self.links.0[place] else {
            return Ok(());
        };
        link.in_flight -= 1;
        link.is_sending = false;
        if self.is_stopping && result == -libc::ECANCELED {
            return Ok(()); // The next thread sends it.
        }
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
        let Some(link) = &mut self.links.0[place] else {
            return Ok(());
        };
        if !link.is_closed() && !self.is_stopping {
            let buffer = link.receive_buffer();
            let entry = opcode::Recv::new(types::Fd(link.fd()), buffer.at, buffer.len).build();
            link.in_flight += 1;
            self.ring.push(&entry.user_data((place as u64) << 8 | RECEIVE))?;
        }
        Ok(())
    }

    /// Sends what waits, unless a send is in flight. Forgets a closed link that has nothing in flight any more.
    pub(super) fn go_on_sending(&mut self, place: usize) -> std::io::Result<()> {
        let Some(link) = &mut self.links.0[place] else {
            return Ok(());
        };
        if !link.is_sending && !self.is_stopping {
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
        if let Some(link) = self.links.0[place].take_if(|link| link.is_closed() && link.in_flight == 0) {
            self.local.give_back(Order::Adopt(link));
        }
        Ok(())
    }

    /// Marks a link as over, and tells engine and cold side, once.
    pub(super) fn close(&mut self, place: usize, reason: CloseReason) {
        let Some(link) = &mut self.links.0[place] else {
            return;
        };
        if link.closed_ns.replace(now_ns()).is_some() {
            return;
        }
        let (feed, line) = (link.feed, link.line);
        if matches!(reason, CloseReason::Ended) {
            link.say_goodbye();
        } else {
            self.status.count(Counter::Disconnects, 1);
        }
        self.engine.disconnected(feed, line);
        self.local.report_urgent(Event::Closed { feed, line, reason });
    }

    /// Ends connections from which nothing comes, and those that are over but cannot send their last words.
    fn check_silence(&mut self, now_ns: u64) {
        for place in 0..self.links.0.len() {
            let Some(link) = &self.links.0[place] else { continue };
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

/// Measures the longest time between two looks of a spinning thread: what the machine took from it.
#[derive(Debug, Default)]
struct GapMeter {
    last_ns: u64,
    longest_ns: u64,
    until_ns: u64,
}

impl GapMeter {
    /// One figure is recorded for each span of this length.
    const SPAN_NS: u64 = 10_000_000;

    fn look(&mut self, now_ns: u64, status: &StatusWriter) {
        if self.last_ns > 0 {
            self.longest_ns = self.longest_ns.max(now_ns.saturating_sub(self.last_ns));
        }
        self.last_ns = now_ns;
        if now_ns >= self.until_ns {
            if self.until_ns > 0 {
                status.recorder(Stage::Gap).record(self.longest_ns);
            }
            (self.longest_ns, self.until_ns) = (0, now_ns + Self::SPAN_NS);
        }
    }

    /// The time until the next look is not a gap: it was used.
    fn interrupt(&mut self) {
        self.last_ns = 0;
    }
}
