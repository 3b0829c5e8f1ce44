//! One connection on the hot thread: its socket, what reads it, what it has to send, and whether it lives.

use super::outbox::{Full, Outbox};
use super::packets::Carries;
use super::transport::{Reader, Sink, Transport};
use super::{CloseReason, Established, Vigil};
use market::moldudp64::HEADER_BYTES;
use market::soupbintcp::LOGOUT;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

/// A connection. Made on the cold plane; it must not be dropped while an operation is in flight, since the kernel
/// reads from, and where receives are single writes to, its buffers: [`Links`] sees to that.
pub(crate) struct Link {
    pub(super) feed: usize,
    /// Its number among the connections of the feed.
    pub(super) line: usize,
    /// Whether a successor was asked for.
    pub(super) is_leaving: bool,
    /// Operations that the ring has not completed.
    pub(super) in_flight: u32,
    /// Whether a receive is in flight, and whether one waits for buffers.
    pub(super) is_receiving: bool,
    pub(super) is_starved: bool,
    /// Whether a send is in flight.
    pub(super) is_sending: bool,
    /// Whether the ring knows the socket by the link's place.
    pub(super) is_installed: bool,
    /// Since when it is over: nothing is received any more.
    pub(super) closed_ns: Option<u64>,
    pub(super) last_receive_ns: u64,
    /// Since when a ping of ours waits for a sign of life.
    pinged_ns: Option<u64>,
    vigil: Vigil,
    /// Whether a network card brings its data that can be polled.
    has_card: bool,
    socket: OwnedFd,
    kind: Kind,
    /// What its messages are.
    pub(super) carries: Carries,
    reader: Reader,
    outbox: Outbox,
}

/// What is said over a link, and what its end means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    WebSocket,
    Stream,
    Datagrams,
}

/// What a look at a link's silence tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    /// It is short enough.
    Short,
    /// A ping was put into the outbox.
    Pinged,
    /// It is short enough, and something else was put into the outbox.
    Spoke,
    /// It is dead: nothing came for so many seconds.
    Dead(u64),
}

/// The connections of a hot thread, by their place.
#[derive(Default)]
pub(super) struct Links(pub(super) Vec<Option<Link>>);

impl Drop for Links {
    /// Gives nothing back that the kernel may still use.
    fn drop(&mut self) {
        for link in self.0.iter_mut().filter_map(Option::take) {
            link.shut_down();
            if link.in_flight > 0 {
                std::mem::forget(link);
            }
        }
    }
}

/// Memory for the kernel to write to or read from.
pub(super) struct Buffer {
    pub(super) at: *mut u8,
    pub(super) len: u32,
}

impl Buffer {
    fn of(bytes: &mut [u8]) -> Self {
        Self { at: bytes.as_mut_ptr(), len: bytes.len() as u32 }
    }
}

impl Link {
    pub(super) fn new(established: Established, now_ns: u64) -> Self {
        let Established { feed, line, socket, transport, carries, vigil } = established;
        let kind = match &transport {
            Transport::WebSocket { .. } => Kind::WebSocket,
            Transport::Stream { .. } => Kind::Stream,
            Transport::Datagrams => Kind::Datagrams,
        };
        Self {
            feed,
            line,
            is_leaving: false,
            in_flight: 0,
            is_receiving: false,
            is_starved: false,
            is_sending: false,
            is_installed: false,
            closed_ns: None,
            last_receive_ns: now_ns,
            pinged_ns: None,
            vigil,
            has_card: napi_id(&socket) > 0,
            socket,
            kind,
            carries,
            reader: Reader::new(transport),
            outbox: Outbox::new(),
        }
    }

    pub(super) fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether a network card brings its data that the kernel can poll.
    pub(super) fn has_card(&self) -> bool {
        self.has_card
    }

    /// Where the ring is to receive to, where receives are single.
    pub(super) fn receive_buffer(&mut self) -> Buffer {
        Buffer::of(self.reader.space())
    }

    /// Takes in the `len` bytes that were received there, and gives `sink` each message that they complete.
    pub(super) fn received(&mut self, len: usize, sink: &mut Sink<'_>) -> Result<(), CloseReason> {
        self.reader.received(len, &mut self.outbox, sink)
    }

    /// Takes in bytes that lie elsewhere, and gives `sink` each message that they complete.
    pub(super) fn take(&mut self, bytes: &[u8], sink: &mut Sink<'_>) -> Result<(), CloseReason> {
        self.reader.take(bytes, &mut self.outbox, sink)
    }

    /// Takes what was received before the hot thread had the connection.
    pub(super) fn begin(&mut self, sink: &mut Sink<'_>) -> Result<(), CloseReason> {
        self.reader.begin(&mut self.outbox, sink)
    }

    /// Tells that something came: whoever sends lives.
    pub(super) fn lives(&mut self, now_ns: u64) {
        self.last_receive_ns = now_ns;
        self.pinged_ns = None;
    }

    /// What the ring is to send now: the rest of what was begun, or what waits. `None` if there is nothing.
    pub(super) fn send_buffer(&mut self) -> Result<Option<Buffer>, CloseReason> {
        let mut rest = self.outbox.next(self.reader.tls())?;
        if self.kind == Kind::Datagrams {
            // All that is sent there are requests, each in a datagram of its own.
            let len = rest.len().min(HEADER_BYTES);
            rest = &mut rest[..len];
        }
        Ok((!rest.is_empty()).then(|| Buffer::of(rest)))
    }

    /// Tells that `len` bytes of the send buffer are gone.
    pub(super) fn sent(&mut self, len: usize) {
        self.outbox.sent(len);
    }

    /// How many pings were answered since the last call.
    pub(super) fn take_pings(&mut self) -> u64 {
        self.outbox.take_pings()
    }

    /// Has a text sent: as a message of a WebSocket, as it is in a stream or a datagram.
    pub(super) fn say(&mut self, text: &str) -> Result<(), Full> {
        match self.kind {
            Kind::WebSocket => self.outbox.text(text),
            Kind::Stream | Kind::Datagrams => self.outbox.bytes(text.as_bytes()),
        }
    }

    /// Has a request sent. One that finds no room is made again by whoever misses the answer.
    pub(super) fn ask(&mut self, request: &[u8; HEADER_BYTES]) {
        let _ = self.outbox.bytes(request);
    }

    /// Looks how long nothing came, and pings where that is too long. Says that we live, where that is the custom.
    pub(super) fn watch(&mut self, now_ns: u64) -> Silence {
        let silence = self.listen(now_ns);
        if let (Silence::Short, Carries::Soup(link)) = (silence, &mut self.carries)
            && let Some(beat) = link.heartbeat(now_ns)
            && self.outbox.bytes(&beat).is_ok()
        {
            return Silence::Spoke;
        }
        silence
    }

    fn listen(&mut self, now_ns: u64) -> Silence {
        let silent_ns = now_ns.saturating_sub(self.last_receive_ns);
        match self.pinged_ns {
            Some(since) if now_ns.saturating_sub(since) > self.vigil.pong_patience_ns => {
                Silence::Dead(silent_ns / 1_000_000_000)
            }
            None if silent_ns > self.vigil.idle_ping_ns => {
                self.pinged_ns = Some(now_ns);
                // Where nothing goes out any more there is nothing to ping with, and the patience is the same.
                let pinged = self.kind == Kind::WebSocket && self.outbox.ping().is_ok();
                if pinged { Silence::Pinged } else { Silence::Short }
            }
            _ => Silence::Short,
        }
    }

    /// Has a close frame sent, or what stands for one, since we go of our own accord.
    pub(super) fn say_goodbye(&mut self) {
        if let Carries::Soup(_) = self.carries {
            let _ = self.outbox.bytes(&LOGOUT); // Whoever reads nothing is left without a word.
        }
        if self.kind == Kind::WebSocket {
            self.outbox.close(1000);
        }
    }

    /// Forgets what is to be sent, since sending failed.
    pub(super) fn give_up_sending(&mut self) {
        self.outbox.give_up();
    }

    /// Whether it is over.
    pub(super) fn is_closed(&self) -> bool {
        self.closed_ns.is_some()
    }

    /// Ends the connection at the transport, so that operations in flight complete.
    pub(super) fn shut_down(&self) {
        // It may be gone already.
        let _ = nix::sys::socket::shutdown(self.fd(), nix::sys::socket::Shutdown::Both);
    }
}

/// The queue of the network card that brings a socket's data; zero if there is none, as on loopback, or none yet.
fn napi_id(socket: &impl AsFd) -> u32 {
    let mut id = 0u32;
    let mut len = size_of_val(&id) as libc::socklen_t;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel writes at most `len` bytes to `id`, which has so many, and what it wrote to `len`.
    unsafe {
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_INCOMING_NAPI_ID, (&raw mut id).cast(), &raw mut len);
    }
    id
}
