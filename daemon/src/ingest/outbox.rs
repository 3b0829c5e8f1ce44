//! What a connection has to send: bounded, framed, and encrypted on its way out if the connection is.
//!
//! Nothing that somebody asked to send is dropped for something else: what finds no room is refused. Only of many
//! pings that wait, the last alone is answered, which RFC 6455 §5.5.3 allows.

use super::CloseReason;
use super::ws::{Framer, MAX_CONTROL_BYTES};
use std::hash::{BuildHasher, Hasher};
use std::io::Write;

/// What may wait to be sent. Close frames and the last pong have room beyond it.
const MAX_WAITING_BYTES: usize = 64 << 10;
/// For a close frame and the pong that was late.
const SPARE_BYTES: usize = 2 * Framer::frame_bytes(MAX_CONTROL_BYTES);

/// There is no room for it: the other side does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than 64 KiB would wait to be sent; the server does not read")]
pub struct Full;

/// Frames that wait, and those on their way.
pub(super) struct Outbox {
    framer: Framer,
    /// What is to be sent next, in clear.
    waiting: Vec<u8>,
    /// The payload of the last ping that found no room for its answer.
    late_pong: Option<([u8; MAX_CONTROL_BYTES], usize)>,
    /// What is being sent, as it goes over the wire, and how much of it is gone.
    sending: Vec<u8>,
    sent: usize,
    /// How many pings were answered.
    pings: u64,
}

impl Outbox {
    pub(super) fn new() -> Self {
        // The standard library seeds its hash maps from the kernel's random numbers.
        let seed = std::hash::RandomState::new().build_hasher().finish();
        Self {
            framer: Framer::new(seed),
            waiting: Vec::with_capacity(MAX_WAITING_BYTES + SPARE_BYTES),
            late_pong: None,
            sending: Vec::with_capacity(MAX_WAITING_BYTES + SPARE_BYTES),
            sent: 0,
            pings: 0,
        }
    }

    /// Answers a ping.
    pub(super) fn pong(&mut self, payload: &[u8]) {
        self.pings += 1;
        if self.room_for(payload.len()).is_ok() {
            self.late_pong = None; // A later one is answered.
            return self.framer.pong(payload, &mut self.waiting);
        }
        let mut late = [0; MAX_CONTROL_BYTES];
        late[..payload.len()].copy_from_slice(payload);
        self.late_pong = Some((late, payload.len()));
    }

    /// Pings the server.
    pub(super) fn ping(&mut self) -> Result<(), Full> {
        self.room_for(0)?;
        self.framer.ping(&[], &mut self.waiting);
        Ok(())
    }

    /// Says a text, as one message.
    pub(super) fn text(&mut self, text: &str) -> Result<(), Full> {
        self.room_for(text.len())?;
        self.framer.text(text, &mut self.waiting);
        Ok(())
    }

    /// Sends bytes as they are, where there are no frames.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.room_for(bytes.len())?;
        self.waiting.extend(bytes);
        Ok(())
    }

    /// Says goodbye with this code. There is always room for one.
    pub(super) fn close(&mut self, code: u16) {
        self.flush_pong(); // Nothing may follow a close frame.
        self.framer.close(code, &mut self.waiting);
    }

    fn flush_pong(&mut self) {
        if let Some((payload, len)) = self.late_pong.take() {
            self.framer.pong(&payload[..len], &mut self.waiting);
        }
    }

    fn room_for(&self, payload: usize) -> Result<(), Full> {
        let fits = self.waiting.len() + Framer::frame_bytes(payload) <= MAX_WAITING_BYTES;
        if fits { Ok(()) } else { Err(Full) }
    }

    /// What is to be sent now: the rest of what was begun, or what waits. Empty if there is nothing.
    pub(super) fn next(
        &mut self,
        tls: Option<&mut rustls::ClientConnection>,
    ) -> Result<&mut [u8], CloseReason> {
        if self.sent == self.sending.len() {
            self.sending.clear();
            self.sent = 0;
            self.flush_pong();
            match tls {
                None => std::mem::swap(&mut self.sending, &mut self.waiting),
                Some(tls) => {
                    tls.writer().write_all(&self.waiting)?;
                    self.waiting.clear();
                    while tls.wants_write() {
                        tls.write_tls(&mut self.sending)?;
                    }
                }
            }
        }
        Ok(&mut self.sending[self.sent..])
    }

    /// Tells that `len` bytes of it are gone.
    pub(super) fn sent(&mut self, len: usize) {
        self.sent += len;
    }

    /// Forgets what is to be sent, since sending failed.
    pub(super) fn give_up(&mut self) {
        self.waiting.clear();
        self.late_pong = None;
        self.sent = self.sending.len();
    }

    /// How many pings were answered since the last call.
    pub(super) fn take_pings(&mut self) -> u64 {
        std::mem::take(&mut self.pings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text that found room is sent, whatever comes after it; the last of too many pings is answered behind it.
    #[test]
    fn pings_push_nothing_out() {
        let mut outbox = Outbox::new();
        outbox.text("subscribe").unwrap();
        (0..20_000u32).for_each(|n| outbox.pong(&n.to_be_bytes()));
        assert_eq!(outbox.take_pings(), 20_000);
        assert_eq!((outbox.text("no"), outbox.ping()), (Err(Full), Err(Full)));
        outbox.close(1000);
        let capacity = MAX_WAITING_BYTES + SPARE_BYTES;
        let frames = frames(outbox.next(None).unwrap());
        assert_eq!(frames[0], (1, b"subscribe".to_vec()));
        let last = [(10, 19_999u32.to_be_bytes().to_vec()), (8, 1000u16.to_be_bytes().to_vec())];
        assert!(frames.ends_with(&last), "{:?}", frames.last_chunk::<3>());
        assert!(frames.len() < 20_000, "they were bounded");
        assert_eq!(
            (outbox.waiting.capacity(), outbox.sending.capacity()),
            (capacity, capacity),
            "it did not grow"
        );
        let len = outbox.next(None).unwrap().len();
        outbox.sent(len);
        assert_eq!(outbox.text("now"), Ok(()));
        assert!(outbox.text(&"x".repeat(MAX_WAITING_BYTES)).is_err(), "never, however empty it is");
        assert_eq!(self::frames(outbox.next(None).unwrap()), [(1, b"now".to_vec())]);
    }

    /// The opcodes and payloads of masked frames.
    fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut frames = Vec::new();
        while let [first, second, rest @ ..] = bytes {
            let len = usize::from(second & 0x7f);
            assert!(second & 0x80 != 0 && len < 126);
            let (mask, rest) = rest.split_at(4);
            let payload = rest[..len].iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
            frames.push((first & 0x0f, payload.collect()));
            bytes = &rest[len..];
        }
        frames
    }
}
