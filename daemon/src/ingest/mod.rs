//! Market data in: the cold side makes connections, the hot thread reads them.
//!
//! [`connect`] (cold plane) resolves, connects, shakes hands and subscribes, and hands the socket with its TLS state
//! and the bytes already read to the hot thread ([`hot`]), which owns it from then on. When the hot thread loses it,
//! [`Event::Closed`] comes back and the cold side begins again. Both queues are bounded.

pub mod connect;
mod gap;
pub mod hot;
mod intake;
mod link;
mod operations;
mod outbox;
#[cfg(test)]
mod tests;
mod tls;
pub mod transport;
pub mod ws;

pub use outbox::Full;

use crate::now_ns;
use link::Link;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::time::Duration;
use tokio::sync::Notify;
use transport::{BadPacket, Transport};

/// How many new connections, and how many events, may wait for the other side.
const QUEUE_LEN: usize = 256;

/// How often the cold side looks for events that did not ring.
const LOOK: Duration = Duration::from_secs(1);

/// The longest text that can be handed over to be said.
pub const MAX_TEXT_BYTES: usize = 4096;
/// How many texts may wait for the hot thread.
const TEXT_QUEUE_LEN: usize = 32;

/// A connection that is ready to be read.
pub struct Established {
    /// Which feed it carries.
    pub feed: usize,
    /// The connected socket. It blocks: its operations wait in the kernel.
    pub socket: OwnedFd,
    /// How what it brings becomes messages.
    pub transport: Transport,
    /// How long it may be silent.
    pub vigil: Vigil,
}

impl Established {
    /// A WebSocket after its handshake, behind which `residual` has come.
    pub fn web_socket(
        feed: usize,
        socket: impl Into<OwnedFd>,
        tls: Option<Box<rustls::ClientConnection>>,
        residual: Vec<u8>,
    ) -> Self {
        let transport = Transport::WebSocket { tls, residual };
        Self { feed, socket: socket.into(), transport, vigil: Vigil::default() }
    }
}

/// How long a connection may be silent. Whatever comes, to the byte, breaks its silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vigil {
    /// After so long without anything it is pinged, if it is a WebSocket.
    pub idle_ping_ns: u64,
    /// After so much longer it counts as dead.
    pub pong_patience_ns: u64,
}

impl Default for Vigil {
    /// Venues send something every second, and the quietest ping every 20 s.
    fn default() -> Self {
        Self { idle_ping_ns: 15_000_000_000, pong_patience_ns: 10_000_000_000 }
    }
}

/// A text on its way to the hot thread, which neither allocates nor frees.
struct Text {
    feed: usize,
    len: usize,
    bytes: [u8; MAX_TEXT_BYTES],
}

impl Text {
    fn new(feed: usize, text: &str) -> Option<Self> {
        let mut bytes = [0; MAX_TEXT_BYTES];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self { feed, len: text.len(), bytes })
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default() // It was text.
    }
}

/// What the hot thread tells.
#[derive(Debug)]
pub enum Event {
    /// A feed's connection is gone, for this reason.
    Closed {
        /// The feed.
        feed: usize,
        /// Why.
        reason: CloseReason,
    },
    /// A frame was malformed. At most 256 reports wait; all such frames are counted.
    Malformed {
        /// The feed.
        feed: usize,
        /// Where and why.
        error: market::DecodeError,
    },
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum CloseReason {
    /// The server closed the WebSocket.
    #[error("the server closed it with code {0}")]
    ByServer(u16),
    /// The server announced that it goes down.
    #[error("the server announced its shutdown")]
    Shutdown,
    /// The stream ended without a close frame.
    #[error("the stream ended")]
    EndOfStream,
    /// Reading or writing failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The server broke the WebSocket protocol.
    #[error("{0}")]
    Protocol(#[from] ws::WsError),
    /// The server broke TLS.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// Nothing came for so long, not even an answer to a ping.
    #[error("nothing came for {0} s, nor an answer to a ping")]
    Silent(u64),
    /// The server does not read what is said to it.
    #[error("{0}")]
    Unread(#[from] Full),
    /// The packets of a stream cannot be told apart.
    #[error("{0}")]
    Packet(#[from] BadPacket),
}

/// The cold side's end.
pub struct Remote {
    connections: rtrb::Producer<Link>,
    texts: rtrb::Producer<Text>,
    events: rtrb::Consumer<Event>,
    /// Connections that are over: giving back their megabytes is not for the hot thread.
    over: rtrb::Consumer<Link>,
    shared: Arc<Shared>,
}

/// The hot side's end.
pub struct Local {
    connections: rtrb::Consumer<Link>,
    texts: rtrb::Consumer<Text>,
    events: rtrb::Producer<Event>,
    over: rtrb::Producer<Link>,
    shared: Arc<Shared>,
}

struct Shared {
    /// Read by the hot thread's ring, written by the cold side. Private to this process. It blocks, so that a read
    /// waits in the ring.
    wake: EventFd,
    /// Where that read goes; what it says does not matter. It outlives every ring.
    woken: AtomicU64,
    stop: AtomicBool,
    /// Rung when an event is there.
    news: Notify,
}

/// A pair of ends.
pub fn channel() -> io::Result<(Remote, Local)> {
    let wake = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC)?;
    let shared = Arc::new(Shared {
        wake,
        woken: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        news: Notify::new(),
    });
    let (connections, connections_out) = rtrb::RingBuffer::new(QUEUE_LEN);
    let (events, events_out) = rtrb::RingBuffer::new(QUEUE_LEN);
    let (over, over_out) = rtrb::RingBuffer::new(QUEUE_LEN);
    let (texts, texts_out) = rtrb::RingBuffer::new(TEXT_QUEUE_LEN);
    let remote = Remote { connections, texts, events: events_out, over: over_out, shared: shared.clone() };
    Ok((remote, Local { connections: connections_out, texts: texts_out, events, over, shared }))
}

impl Remote {
    /// Hands a connection over. False, and the connection is dropped, if too many wait already.
    pub fn hand_over(&mut self, established: Established) -> bool {
        // Made here, since its buffers are megabytes: the hot thread does not allocate.
        let taken = self.connections.push(Link::new(established, now_ns())).is_ok();
        let _ = self.shared.wake.write(1); // Cannot fail before 2^64 wakes have piled up.
        taken
    }

    /// Has a text said to the server of a feed, if that is connected by then. False if it is too long, or too many
    /// wait already.
    pub fn say(&mut self, feed: usize, text: &str) -> bool {
        let taken = Text::new(feed, text).is_some_and(|text| self.texts.push(text).is_ok());
        let _ = self.shared.wake.write(1); // As above.
        taken
    }

    /// What has the hot thread look for work elsewhere, too: whoever made some calls it afterwards.
    pub fn waker(&self) -> impl Fn() + use<> {
        let shared = self.shared.clone();
        move || _ = shared.wake.write(1) // As above.
    }

    /// Has the hot thread stop, soon.
    pub fn stop(&self) {
        self.shared.stop.store(true, Release);
        let _ = self.shared.wake.write(1); // As above.
    }

    /// Lets another hot thread run with the other end.
    pub fn go_on(&self) {
        self.shared.stop.store(false, Release);
    }

    /// The next event, if there is one.
    pub fn try_event(&mut self) -> Option<Event> {
        while self.over.pop().is_ok() {}
        self.events.pop().ok()
    }

    /// Waits for the next event. No event is lost if the caller stops waiting.
    pub async fn next_event(&mut self) -> Event {
        loop {
            if let Some(event) = self.try_event() {
                return event;
            }
            // Only urgent events ring, since ringing is a system call of the hot thread. Others are found by looking.
            let _ = tokio::time::timeout(LOOK, self.shared.news.notified()).await;
        }
    }
}

impl Local {
    fn should_stop(&self) -> bool {
        self.shared.stop.load(Acquire)
    }

    /// Reports a malformed frame, unless too many wait already: it is counted anyway.
    fn report(&mut self, feed: usize, error: market::DecodeError) {
        let _ = self.events.push(Event::Malformed { feed, error });
    }

    /// Gives a connection that is over away, or drops it here if too many wait already.
    fn give_back(&mut self, link: Link) {
        let _ = self.over.push(link);
    }

    /// Reports the end of a connection, and rings. Malformed frames may have filled the queue: the cold side empties
    /// it as soon as it is rung.
    fn report_closed(&mut self, feed: usize, reason: CloseReason) {
        let mut event = Event::Closed { feed, reason };
        while let Err(rtrb::PushError::Full(back)) = self.events.push(event) {
            event = back;
            self.shared.news.notify_one();
            std::thread::yield_now();
        }
        self.shared.news.notify_one();
    }
}
