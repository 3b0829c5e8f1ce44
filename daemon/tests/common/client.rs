//! The deframer as a client uses it, and all that it said.

use Seen::{Close, Ping, Pong, Refused};
use chartd::ingest::ws::{Deframer, Event, WsError};

/// What the deframer takes unless told otherwise.
pub(crate) const FULL: usize = 4 << 20;

/// What a client learned from a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Message(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(u16),
    /// The stream was refused; to be closed with this code.
    Refused(u16),
}
pub(crate) fn message(payload: impl AsRef<[u8]>) -> Seen {
    Seen::Message(payload.as_ref().to_vec())
}

/// Our deframer and all that it said. It reads nothing behind a close frame or an error.
pub(crate) struct Client {
    deframer: Deframer,
    pub(crate) seen: Vec<Seen>,
    pub(crate) error: Option<WsError>,
}

impl Client {
    pub(crate) fn new(limit: usize) -> Self {
        let deframer = Deframer::new(limit);
        Self { deframer, seen: Vec::new(), error: None }
    }

    fn over(&self) -> bool {
        matches!(self.seen.last(), Some(Close(_) | Refused(_)))
    }

    pub(crate) fn receive(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.over() {
            let space = self.deframer.space();
            assert!(!space.is_empty(), "nowhere to receive to, and nothing to take");
            let len = space.len().min(bytes.len());
            space[..len].copy_from_slice(&bytes[..len]);
            self.deframer.received(len);
            bytes = &bytes[len..];
            while !self.over() && self.take() {}
        }
    }

    /// Takes the next event. False if there is none.
    fn take(&mut self) -> bool {
        let seen = match self.deframer.next_event() {
            Ok(None) => return false,
            Ok(Some(Event::Message(payload))) => message(payload),
            Ok(Some(Event::Ping(payload))) => Ping(payload.to_vec()),
            Ok(Some(Event::Pong)) => Pong,
            Ok(Some(Event::Close(code))) => Close(code),
            Err(error) => {
                self.error = Some(error);
                Refused(error.close_code())
            }
        };
        self.seen.push(seen);
        true
    }
}

/// What we make of `chunks`, received one by one.
pub(crate) fn ours<'a>(limit: usize, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Seen> {
    let mut client = Client::new(limit);
    chunks.into_iter().for_each(|chunk| client.receive(chunk));
    client.seen
}
