//! One connection on the hot thread: its socket, its TLS state, its deframer, and what it has to send.

use super::ws::{Deframer, Event, Framer, MAX_FRAMING_BYTES};
use super::{CloseReason, Established};
use std::hash::{BuildHasher, Hasher};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

/// How much of an encrypted stream is received at once: two TLS records.
const CIPHER_BYTES: usize = 32 << 10;
/// Answers that wait to be sent. When there would be more, only the last ping is answered.
const MAX_WAITING_BYTES: usize = 64 << 10;

/// A connection. Made on the cold plane; it must not be dropped while an operation is in flight, since the kernel
/// writes to its buffers: [`Links`] sees to that.
pub(crate) struct Link {
    pub(super) feed: usize,
    /// Its number among the connections of the feed.
    pub(super) line: usize,
    /// Whether a successor was asked for.
    pub(super) is_leaving: bool,
    /// Operations that the ring has not completed.
    pub(super) in_flight: u32,
    /// Since when it is over: nothing is received any more.
    pub(super) closed_ns: Option<u64>,
    pub(super) last_receive_ns: u64,
    socket: TcpStream,
    tls: Option<Tls>,
    deframer: Deframer,
    answers: Answers,
    /// Whether a send is in flight.
    pub(super) is_sending: bool,
    /// What is being sent, as it goes over the wire, and how much of it is gone.
    sending: Vec<u8>,
    sent: usize,
}

/// The connections of a hot thread, by their place.
#[derive(Default)]
pub(super) struct Links(pub(super) Vec<Option<Link>>);

impl Drop for Links {
    /// Gives nothing back that the kernel may still write to.
    fn drop(&mut self) {
        for link in self.0.iter_mut().filter_map(Option::take) {
            link.shut_down();
            if link.in_flight > 0 {
                std::mem::forget(link);
            }
        }
    }
}

/// Pongs and close frames.
struct Answers {
    framer: Framer,
    /// What is to be sent next, in clear.
    waiting: Vec<u8>,
    /// How many pings were answered.
    pings: u64,
}

struct Tls {
    connection: Box<rustls::ClientConnection>,
    cipher: Box<[u8]>,
}

/// Memory for the kernel to write to or read from.
pub(super) struct Buffer {
    pub(super) at: *mut u8,
    pub(super) len: u32,
}

impl Link {
    pub(super) fn new(established: Established, now_ns: u64) -> Self {
        let mut deframer = Deframer::default();
        let residual = &established.residual;
        deframer.space()[..residual.len()].copy_from_slice(residual);
        deframer.received(residual.len());
        let cipher = || vec![0; CIPHER_BYTES].into_boxed_slice();
        Self {
            feed: established.feed,
            line: established.line,
            is_leaving: false,
            in_flight: 0,
            closed_ns: None,
            last_receive_ns: now_ns,
            socket: established.socket,
            tls: established.tls.map(|connection| Tls { connection, cipher: cipher() }),
            deframer,
            answers: Answers {
                // The standard library seeds its hash maps from the kernel's random numbers.
                framer: Framer::new(std::hash::RandomState::new().build_hasher().finish()),
                waiting: Vec::with_capacity(MAX_WAITING_BYTES),
                pings: 0,
            },
            is_sending: false,
            sending: Vec::with_capacity(MAX_WAITING_BYTES),
            sent: 0,
        }
    }

    pub(super) fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Where the ring is to receive to.
    pub(super) fn receive_buffer(&mut self) -> Buffer {
        let space = match &mut self.tls {
            Some(tls) => &mut tls.cipher[..],
            None => self.deframer.space(),
        };
        Buffer { at: space.as_mut_ptr(), len: space.len() as u32 }
    }

    /// Takes in the `len` bytes that were received, and calls `message` with each message they complete.
    pub(super) fn received(
        &mut self,
        len: usize,
        mut message: impl FnMut(&[u8]) -> Result<(), CloseReason>,
    ) -> Result<(), CloseReason> {
        let Some(tls) = &mut self.tls else {
            self.deframer.received(len);
            return self.answers.take_events(&mut self.deframer, &mut message);
        };
        let mut cipher = &tls.cipher[..len];
        while !cipher.is_empty() {
            tls.connection.read_tls(&mut cipher)?;
            let outcome = tls.connection.process_new_packets();
            // What was decrypted before an error or the end is as good as ever.
            take_decrypted(&mut tls.connection, &mut self.deframer, &mut self.answers, &mut message)?;
            if outcome?.peer_has_closed() {
                return Err(CloseReason::EndOfStream);
            }
        }
        Ok(())
    }

    /// Takes what was received before the hot thread had the connection.
    pub(super) fn begin(
        &mut self,
        mut message: impl FnMut(&[u8]) -> Result<(), CloseReason>,
    ) -> Result<(), CloseReason> {
        self.answers.take_events(&mut self.deframer, &mut message)?;
        let Some(tls) = &mut self.tls else { return Ok(()) };
        take_decrypted(&mut tls.connection, &mut self.deframer, &mut self.answers, &mut message)?;
        match tls.connection.process_new_packets()?.peer_has_closed() {
            true => Err(CloseReason::EndOfStream),
            false => Ok(()),
        }
    }

    /// What the ring is to send now: the rest of what was begun, or what waits. `None` if there is nothing.
    pub(super) fn send_buffer(&mut self) -> Result<Option<Buffer>, CloseReason> {
        if self.sent == self.sending.len() {
            self.sending.clear();
            self.sent = 0;
            match &mut self.tls {
                None => std::mem::swap(&mut self.sending, &mut self.answers.waiting),
                Some(tls) => {
                    tls.connection.writer().write_all(&self.answers.waiting)?;
                    self.answers.waiting.clear();
                    while tls.connection.wants_write() {
                        tls.connection.write_tls(&mut self.sending)?;
                    }
                }
            }
        }
        let rest = &mut self.sending[self.sent..];
        Ok((!rest.is_empty()).then_some(Buffer { at: rest.as_mut_ptr(), len: rest.len() as u32 }))
    }

    /// Tells that `len` bytes of the send buffer are gone.
    pub(super) fn sent(&mut self, len: usize) {
        self.sent += len;
    }

    /// How many pings were answered since the last call.
    pub(super) fn take_pings(&mut self) -> u64 {
        std::mem::take(&mut self.answers.pings)
    }

    /// Has a close frame sent, since we go of our own accord.
    pub(super) fn say_goodbye(&mut self) {
        self.answers.framer.close(1000, &mut self.answers.waiting);
    }

    /// Has a message sent. False, and it is not sent, where too much waits already.
    pub(super) fn say(&mut self, text: &str) -> bool {
        let fits = self.answers.waiting.len() + text.len() + MAX_FRAMING_BYTES <= MAX_WAITING_BYTES;
        if fits {
            self.answers.framer.text(text, &mut self.answers.waiting);
        }
        fits
    }

    /// Forgets what is to be sent, since sending failed.
    pub(super) fn give_up_sending(&mut self) {
        self.answers.waiting.clear();
        self.sent = self.sending.len();
    }

    /// Whether it is over.
    pub(super) fn is_closed(&self) -> bool {
        self.closed_ns.is_some()
    }

    /// Ends the connection at the transport, so that operations in flight complete.
    pub(super) fn shut_down(&self) {
        let _ = self.socket.shutdown(Shutdown::Both); // It may be gone already.
    }
}

/// Takes all that is decrypted. More of it may be there than the window has room for: the events make room.
fn take_decrypted(
    connection: &mut rustls::ClientConnection,
    deframer: &mut Deframer,
    answers: &mut Answers,
    message: &mut impl FnMut(&[u8]) -> Result<(), CloseReason>,
) -> Result<(), CloseReason> {
    loop {
        match connection.reader().read(deframer.space()) {
            // The end shows in the state of the connection, behind all that came before it.
            Ok(0) => return Ok(()),
            Ok(len) => deframer.received(len),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        answers.take_events(deframer, message)?;
    }
}

impl Answers {
    /// Takes all events that are there.
    fn take_events(
        &mut self,
        deframer: &mut Deframer,
        message: &mut impl FnMut(&[u8]) -> Result<(), CloseReason>,
    ) -> Result<(), CloseReason> {
        loop {
            match deframer.next_event() {
                Ok(Some(Event::Message(payload))) => message(payload)?,
                Ok(Some(Event::Ping(payload))) => {
                    if self.waiting.len() + payload.len() + 8 > MAX_WAITING_BYTES {
                        // Of many pings only the last must be answered (RFC 6455 §5.5.3).
                        self.waiting.clear();
                    }
                    self.framer.pong(payload, &mut self.waiting);
                    self.pings += 1;
                }
                Ok(Some(Event::Pong)) => {}
                Ok(Some(Event::Close(code))) => {
                    self.framer.close(code, &mut self.waiting);
                    return Err(CloseReason::ByServer(code));
                }
                Ok(None) => return Ok(()),
                Err(error) => {
                    self.framer.close(error.close_code(), &mut self.waiting);
                    return Err(error.into());
                }
            }
        }
    }
}
