//! Market data in: the cold side makes connections, the hot thread reads them.
//!
//! `connect` (cold plane) resolves, connects, shakes hands and subscribes, and hands the socket with its TLS state
//! and the bytes already read to the hot thread (`hot`), which owns it from then on. A feed may have several
//! connections at a time, its lines. For each one handed over, `Event::Closed` comes back once. What else the cold
//! side is to do comes as events, too; what it has got, and what it wants done, goes as an `Order` (`orders`).
//! All queues are bounded. What numbered packets say goes through `packets` first; all that the engine takes in, through
//! `recorded`.

pub(crate) mod connect;
mod gap;
pub(crate) mod hot;
mod intake;
mod link;
pub(crate) mod multicast;
mod operations;
mod orders;
mod outbox;
pub(crate) mod packets;
pub(crate) mod recorded;
pub(crate) mod soup;
#[cfg(test)]
mod tests;
mod tls;
pub(crate) mod transport;
pub mod ws;

pub use outbox::Full;
pub use transport::BadPacket;

use crate::control::watched;
use crate::engine::Want;
use crate::now_ns;
use crate::uring::{IGNORED, Ring};
use io_uring::{opcode, squeue, types};
use link::Link;
use market::protocol::{Missing, Snapshot};
use market::{InstrumentId, Trade};
use nix::sys::eventfd::{EfdFlags, EventFd};
use packets::Carries;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use transport::Transport;

/// How many orders, and how many events, may wait for the other side.
const QUEUE_LEN: usize = 256;

/// How often the cold side looks for events that did not ring.
const LOOK: Duration = Duration::from_secs(1);

/// What is written to the eventfd that wakes the cold side. It outlives every ring.
static ONE: u64 = 1;

/// A connection that is ready to be read.
pub(crate) struct Established {
    /// Which feed it carries.
    pub(crate) feed: usize,
    /// Its number among the connections of the feed.
    pub(crate) line: usize,
    /// The connected socket. It blocks: its operations wait in the kernel.
    pub(crate) socket: OwnedFd,
    /// How what it brings becomes messages.
    pub(crate) transport: Transport,
    /// What those messages are.
    pub(crate) carries: Carries,
    /// How long it may be silent.
    pub(crate) vigil: Vigil,
}

/// How long a connection may be silent. Whatever comes, to the byte, breaks its silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Vigil {
    /// After so long without anything it is pinged, if it is a WebSocket.
    pub(crate) idle_ping_ns: u64,
    /// After so much longer it counts as dead.
    pub(crate) pong_patience_ns: u64,
}

impl Vigil {
    /// Patience with a venue that says something at least so often, if only a ping.
    pub(crate) fn of_idle_ms(idle_ms: u32) -> Self {
        Self { idle_ping_ns: u64::from(idle_ms) * 1_000_000, ..Self::default() }
    }
}

impl Default for Vigil {
    /// Venues send something every second, and the quietest ping every 20 s.
    fn default() -> Self {
        Self { idle_ping_ns: 15_000_000_000, pong_patience_ns: 10_000_000_000 }
    }
}

/// What the hot thread tells.
#[derive(Debug)]
pub(crate) enum Event {
    /// A connection is gone, for this reason.
    Closed {
        /// The feed.
        feed: usize,
        /// Which of its connections.
        line: usize,
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
    /// The server is about to end this connection: it needs a successor now.
    Rollover {
        /// The feed.
        feed: usize,
        /// Which of its connections.
        line: usize,
    },
    /// The engine misses something.
    Want(Want),
}

/// What the cold side has the hot thread do. When it is done, it comes back, to be freed here.
#[allow(clippy::large_enum_variant)] // A box would be freed by the hot thread.
pub(crate) enum Order {
    /// Reads this connection from now on.
    Adopt(Link),
    /// Sends a message, on one connection of the feed or on each of them.
    Say {
        /// The feed.
        feed: usize,
        /// Which connection; each without it.
        line: Option<usize>,
        /// The message.
        text: String,
    },
    /// Takes in a whole book.
    Book {
        /// The feed.
        feed: usize,
        /// Whose book.
        instrument: InstrumentId,
        /// The book.
        snapshot: Snapshot,
    },
    /// Takes in trades that were missed.
    Trades {
        /// The feed.
        feed: usize,
        /// Of what.
        instrument: InstrumentId,
        /// What was asked for.
        missing: Missing,
        /// What has come of it, by number.
        trades: Vec<Trade>,
        /// Nothing more will come.
        is_final: bool,
    },
    /// Tells on which day the feed's next session is.
    Day {
        /// The feed.
        feed: usize,
        /// When the day began.
        midnight_ms: i64,
    },
    /// Ends a connection that has a successor, or is not wanted any more.
    End {
        /// The feed.
        feed: usize,
        /// Which of its connections.
        line: usize,
    },
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum CloseReason {
    /// The server closed the WebSocket.
    #[error("the server closed it with code {0}")]
    ByServer(u16),
    /// The cold side has it ended.
    #[error("another one has taken its place")]
    Ended,
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
pub(crate) struct Remote {
    orders: rtrb::Producer<Order>,
    events: rtrb::Consumer<Event>,
    /// Orders that are carried out, and connections that are over: giving back their memory is not for the hot thread.
    spent: rtrb::Consumer<Order>,
    /// Readable when a want is there. Made when it is waited for first, since that takes a runtime.
    bell: Option<AsyncFd<OwnedFd>>,
    shared: Arc<Shared>,
}

/// The hot side's end.
pub(crate) struct Local {
    orders: rtrb::Consumer<Order>,
    events: rtrb::Producer<Event>,
    spent: rtrb::Producer<Order>,
    shared: Arc<Shared>,
}

struct Shared {
    /// Read by the hot thread's ring, written by the cold side. Private to this process. It blocks, so that a read
    /// waits in the ring.
    wake: EventFd,
    /// Where that read goes; what it says does not matter. It outlives every ring.
    woken: AtomicU64,
    stop: AtomicBool,
    /// Rung when a connection is over or about to be.
    news: Notify,
    /// Written by the hot thread's ring when a want is there: that costs no system call.
    bell: EventFd,
}

/// A pair of ends.
pub(crate) fn channel() -> io::Result<(Remote, Local)> {
    let wake = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC)?;
    let bell = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    let shared = Arc::new(Shared {
        wake,
        woken: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        news: Notify::new(),
        bell,
    });
    let (orders, orders_out) = rtrb::RingBuffer::new(QUEUE_LEN);
    let (events, events_out) = rtrb::RingBuffer::new(QUEUE_LEN);
    // Room for every order, and every connection that may be open beside: nothing is freed where it must not be.
    let (spent, spent_out) = rtrb::RingBuffer::new(2 * QUEUE_LEN);
    let remote = Remote { orders, events: events_out, spent: spent_out, bell: None, shared: shared.clone() };
    Ok((remote, Local { orders: orders_out, events, spent, shared }))
}

impl Remote {
    /// Hands a connection over. False, and the connection is dropped, if too many orders wait already.
    pub(crate) fn hand_over(&mut self, established: Established) -> bool {
        // Made here, since its buffers are megabytes: the hot thread does not allocate.
        self.order(Order::Adopt(Link::new(established, now_ns()))).is_none()
    }

    /// Gives an order, or gives it back if too many wait already.
    pub(crate) fn order(&mut self, order: Order) -> Option<Order> {
        let refused = self.orders.push(order).err().map(|rtrb::PushError::Full(order)| order);
        let _ = self.shared.wake.write(1); // Cannot fail before 2^64 wakes have piled up.
        refused
    }

    /// What has the hot thread look for work elsewhere, too: whoever made some calls it afterwards.
    pub(crate) fn waker(&self) -> impl Fn() + use<> {
        let shared = self.shared.clone();
        move || _ = shared.wake.write(1) // As above.
    }

    /// Has the hot thread stop, soon.
    pub(crate) fn stop(&self) {
        self.shared.stop.store(true, Release);
        let _ = self.shared.wake.write(1); // As above.
    }

    /// Lets another hot thread run with the other end.
    pub(crate) fn go_on(&self) {
        self.shared.stop.store(false, Release);
    }

    /// The next event, if there is one.
    pub(crate) fn try_event(&mut self) -> Option<Event> {
        while self.spent.pop().is_ok() {}
        self.events.pop().ok()
    }

    /// Waits for the next event. No event is lost if the caller stops waiting.
    pub(crate) async fn next_event(&mut self) -> io::Result<Event> {
        loop {
            if let Some(event) = self.try_event() {
                return Ok(event);
            }
            let bell = match self.bell.take() {
                Some(bell) => self.bell.insert(bell),
                None => self.bell.insert(watched(self.shared.bell.as_fd().try_clone_to_owned()?)?),
            };
            // Malformed frames ring nothing: they are found by looking.
            tokio::select! {
                () = self.shared.news.notified() => {}
                ready = bell.readable() => {
                    let mut ready = ready?;
                    // What it says does not matter: reading silences it.
                    let _ = ready.try_io(|bell| Ok(nix::unistd::read(bell.get_ref(), &mut [0; 8])?));
                }
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }
}

impl Local {
    fn should_stop(&self) -> bool {
        self.shared.stop.load(Acquire)
    }

    /// Reports a malformed frame, unless too many events wait already: it is counted anyway.
    fn report(&mut self, feed: usize, error: market::DecodeError) {
        let _ = self.events.push(Event::Malformed { feed, error });
    }

    /// Gives what is done with away, or drops it here if too much waits already.
    fn give_back(&mut self, order: Order) {
        let _ = self.spent.push(order);
    }

    /// Reports what must not be missed, and rings. Malformed frames may have filled the queue: the cold side empties
    /// it as soon as it is rung.
    fn report_urgent(&mut self, mut event: Event) {
        while let Err(rtrb::PushError::Full(back)) = self.events.push(event) {
            event = back;
            self.shared.news.notify_one();
            std::thread::yield_now();
        }
        self.shared.news.notify_one();
    }

    /// Queues the ringing for wants on the hot thread's ring; it happens when that is entered next.
    fn ring_on(&self, ring: &mut Ring) -> io::Result<()> {
        let fd = types::Fd(self.shared.bell.as_fd().as_raw_fd());
        let write = opcode::Write::new(fd, (&raw const ONE).cast(), size_of_val(&ONE) as u32).build();
        ring.push(&write.flags(squeue::Flags::SKIP_SUCCESS).user_data(IGNORED))
    }
}
