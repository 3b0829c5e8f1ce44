//! What the hot thread has the kernel do for a connection: know its socket, receive, send, and end it.
//!
//! A connection has at most one receive, one send and one installation in flight, and is not freed while it has any.

use super::CloseReason;
use super::hot::{HotLoop, INSTALL, RECEIVE, SEND, cancel, user_data};
use super::intake::Came;
use super::link::{Kind, Link, Silence};
use crate::rt::Wait;
use crate::uring::{Done, GROUP};
use io_uring::{opcode, squeue, types};
use shm::status::Counter;

/// How long a connection that is over may take to send its close frame. A server that reads nothing never lets it.
const LAST_WORDS_NS: u64 = 1_000_000_000;

impl HotLoop {
    pub(super) fn adopt(&mut self, link: Link, receive_ns: u64) -> std::io::Result<()> {
        if link.has_card() && matches!(self.wait, Wait::Spin | Wait::Poll) {
            self.ring.poll_cards();
        }
        let place = self.intake.adopt(link, receive_ns);
        let outcome = self.intake.begin(place, receive_ns);
        self.begin(place, outcome)
    }

    /// Begins to read a connection that this ring does not know.
    pub(super) fn begin(&mut self, place: usize, outcome: Result<(), CloseReason>) -> std::io::Result<()> {
        let Some(link) = self.intake.link(place) else { return Ok(()) };
        (link.is_installed, link.is_starved) = (false, false);
        let is_open = outcome.is_ok() && !link.is_closed() && !self.is_stopping;
        if is_open && self.ring.install(place, link.fd(), user_data(place, INSTALL))? {
            link.in_flight += 1;
            return Ok(()); // It goes on when the ring knows it.
        }
        self.go_on(place, outcome)
    }

    pub(super) fn installed(&mut self, place: usize, result: i32) -> std::io::Result<()> {
        if let Some(link) = self.intake.link(place) {
            link.in_flight -= 1;
            link.is_installed = result == 1;
        }
        self.go_on(place, Ok(()))
    }

    pub(super) fn received(&mut self, place: usize, done: Done, receive_ns: u64) -> std::io::Result<()> {
        let Self { ring, intake, .. } = self;
        let mut outcome = Ok(());
        if let Some(link) = intake.link(place) {
            if !done.goes_on() {
                link.in_flight -= 1;
                link.is_receiving = false;
            }
            if !link.is_closed() {
                outcome = match (done.result, link.kind()) {
                    (errno, _) if errno == -libc::ENOBUFS => {
                        link.is_starved = true;
                        self.is_starved = true;
                        intake.status.count(Counter::RecvNobufs, 1);
                        Ok(())
                    }
                    (errno, _) if errno == -libc::ECANCELED && self.is_stopping => Ok(()),
                    // Nobody listens there yet. It is asked again.
                    (errno, Kind::Datagrams) if errno == -libc::ECONNREFUSED => Ok(()),
                    (errno @ ..0, _) => Err(std::io::Error::from_raw_os_error(-errno).into()),
                    (0, Kind::Datagrams) => Ok(()), // An empty one, and no end.
                    (0, _) => Err(CloseReason::EndOfStream),
                    (len, _) => match done.buffer() {
                        None => intake.take(place, Came::InPlace(len as usize), receive_ns),
                        Some(id) if len as usize <= ring.buffer_bytes() => {
                            intake.take(place, Came::Elsewhere(ring.bytes(id, len as usize)), receive_ns)
                        }
                        Some(_) => {
                            intake.status.count(Counter::DatagramsCut, 1);
                            Ok(())
                        }
                    },
                };
            }
        }
        // Its bytes are taken: the kernel may fill it again.
        if let Some(id) = done.buffer() {
            ring.give_back(id);
        }
        if !done.goes_on() {
            ring.multishot_ended();
        }
        self.go_on(place, outcome)
    }

    /// Begins the receives that ended for want of buffers, as soon as a quarter of them is back.
    pub(super) fn feed_starved(&mut self) -> std::io::Result<()> {
        if !self.ring.has_free_buffers() {
            return Ok(()); // Completions wait here, each with a buffer: they are taken at once, and this tried again.
        }
        self.is_starved = false;
        for place in 0..self.intake.places() {
            if let Some(link) = self.intake.link(place).filter(|link| link.is_starved) {
                link.is_starved = false;
                self.go_on(place, Ok(()))?;
            }
        }
        Ok(())
    }

    /// Sends the requests for missing messages that wait. Those of a feed that has no connection for them are dropped.
    pub(super) fn send_requests(&mut self) -> std::io::Result<()> {
        while let Some((feed, request)) = self.intake.packets.next_request() {
            if let Some(place) = self.intake.asks_for(feed, &request) {
                self.go_on_sending(place)?;
            }
        }
        Ok(())
    }

    pub(super) fn sent(&mut self, place: usize, result: i32) -> std::io::Result<()> {
        let Some(link) = self.intake.link(place) else { return Ok(()) };
        link.in_flight -= 1;
        link.is_sending = false;
        if self.is_stopping && result == -libc::ECANCELED {
            return Ok(()); // The next thread sends it.
        }
        if result == -libc::ECONNREFUSED && link.kind() == Kind::Datagrams {
            link.give_up_sending(); // As above.
        } else if result < 0 {
            // What could not be sent is not sent again, or a closed link would never end.
            link.give_up_sending();
            self.intake.close(place, std::io::Error::from_raw_os_error(-result).into());
        } else {
            link.sent(result as usize);
        }
        self.go_on_sending(place)
    }

    /// Goes on with a link after `outcome`: answers, receives, or ends it.
    pub(super) fn go_on(&mut self, place: usize, outcome: Result<(), CloseReason>) -> std::io::Result<()> {
        if let Err(reason) = outcome {
            self.intake.close(place, reason);
        }
        self.go_on_sending(place)?;
        let Self { ring, intake, is_stopping, .. } = self;
        let Some(link) = intake.link(place) else { return Ok(()) };
        if link.is_closed() || link.is_receiving || link.is_starved || *is_stopping {
            return Ok(());
        }
        link.is_receiving = true;
        link.in_flight += 1;
        // The length of a datagram is told even if it is too large for a buffer.
        let flags = if link.kind() == Kind::Datagrams { libc::MSG_TRUNC } else { 0 };
        let (fd, known) = socket_of(link, place);
        if ring.has_buffers() {
            let entry = opcode::RecvMulti::new(fd, GROUP).flags(flags).build();
            return ring.begin_multishot(&entry.flags(known).user_data(user_data(place, RECEIVE)));
        }
        let buffer = link.receive_buffer();
        let entry = opcode::Recv::new(fd, buffer.at, buffer.len).build();
        ring.push(&entry.flags(known).user_data(user_data(place, RECEIVE)))
    }

    /// Sends what waits, unless a send is in flight. Forgets a closed link that has nothing in flight any more.
    pub(super) fn go_on_sending(&mut self, place: usize) -> std::io::Result<()> {
        let Self { ring, intake, is_stopping, .. } = self;
        let Some(link) = intake.link(place) else { return Ok(()) };
        // What comes behind the end is not read, or a server that goes on sending would cost as much as before.
        if link.is_closed() && std::mem::take(&mut link.is_receiving) {
            cancel(ring, user_data(place, RECEIVE))?;
        }
        if !link.is_sending && !*is_stopping {
            match link.send_buffer() {
                Ok(Some(buffer)) => {
                    let (fd, known) = socket_of(link, place);
                    let entry =
                        opcode::Send::new(fd, buffer.at, buffer.len).flags(libc::MSG_NOSIGNAL).build();
                    link.in_flight += 1;
                    link.is_sending = true;
                    ring.push(&entry.flags(known).user_data(user_data(place, SEND)))?;
                }
                // Nothing is left to say: what is still in flight completes when the transport ends.
                Ok(None) if link.is_closed() => link.shut_down(),
                Ok(None) => {}
                Err(reason) => intake.close(place, reason),
            }
        }
        if self.intake.release(place) {
            self.ring.uninstall(place)?;
        }
        Ok(())
    }

    /// Pings connections from which nothing comes, ends those that are dead, and those that are over but cannot send
    /// their last words.
    pub(super) fn check_silence(&mut self, now_ns: u64) -> std::io::Result<()> {
        for place in 0..self.intake.places() {
            let Some(link) = self.intake.link(place) else { continue };
            if let Some(since_ns) = link.closed_ns {
                if now_ns.saturating_sub(since_ns) > LAST_WORDS_NS {
                    link.shut_down();
                }
                continue;
            }
            match link.watch(now_ns) {
                Silence::Short => {}
                Silence::Spoke => self.go_on_sending(place)?,
                Silence::Pinged => {
                    self.intake.status.count(Counter::PingsSent, 1);
                    self.go_on_sending(place)?;
                }
                Silence::Dead(seconds) => {
                    link.shut_down();
                    self.intake.close(place, CloseReason::Silent(seconds));
                    self.go_on_sending(place)?;
                }
            }
        }
        Ok(())
    }
}

/// How an operation finds its socket: by the link's place, if the ring knows it by that.
fn socket_of(link: &Link, place: usize) -> (types::Fd, squeue::Flags) {
    match link.is_installed {
        true => (types::Fd(place as i32), squeue::Flags::FIXED_FILE),
        false => (types::Fd(link.fd()), squeue::Flags::empty()),
    }
}
