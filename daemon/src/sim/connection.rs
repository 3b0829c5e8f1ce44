//! One connection, from its first byte to its end: a request's head, then a REST answer or a WebSocket session.
//!
//! What holds: nothing here blocks; a request's head and the taking of its answer have a deadline each.

use super::binance::wire;
use super::faults::{Faults, Injector, Log, RestFaults};
use super::http::{self, Answer, MAX_HEAD, Request};
use super::line::{self, Line};
use super::rest;
use super::session::{Limits, Session};
use super::transport::Transport;
use super::venue::{Dialect, World};
use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

/// How long a client may take to send its request, and again to take the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take to close once it has the answer.
const LINGER: Duration = Duration::from_secs(1);

/// What a connection needs to know of the venue.
pub(super) struct Venue<'v> {
    pub(super) world: World<'v>,
    pub(super) limits: Limits,
    pub(super) now: Instant,
    pub(super) seed: u64,
    pub(super) faults: &'v Faults,
    pub(super) rest: &'v mut RestFaults,
    pub(super) log: &'v mut Log,
    /// How many sessions there have been.
    pub(super) sessions: &'v mut u64,
}

#[derive(Debug)]
pub(super) struct Connection {
    stage: Stage,
    /// Whether the venue was full when it came.
    refused: bool,
}

#[derive(Debug)]
enum Stage {
    Head {
        stream: Transport,
        received: Vec<u8>,
        until: Instant,
    },
    /// From `since` on the answer is written.
    Answer {
        stream: Transport,
        left: Vec<u8>,
        since: Instant,
    },
    Linger {
        stream: Transport,
        until: Instant,
    },
    Session(Box<Session>),
    Over,
}

impl Connection {
    pub(super) fn new(stream: Transport, refused: bool, now: Instant) -> Self {
        Self { stage: Stage::Head { stream, received: Vec::new(), until: now + PATIENCE }, refused }
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    pub(super) fn session(&mut self) -> Option<&mut Session> {
        if let Stage::Session(session) = &mut self.stage { Some(session) } else { None }
    }

    /// Ends the connection at once.
    pub(super) fn end(&mut self, why: &dyn std::fmt::Display) {
        tracing::debug!(%why, "simulated venue: connection ended");
        self.stage = Stage::Over;
    }

    /// Does what can be done without waiting.
    pub(super) fn turn(&mut self, venue: &mut Venue<'_>) {
        let now = venue.now;
        let ended: Option<String> = match &mut self.stage {
            Stage::Head { stream, received, until } => match fill(stream, received) {
                Ok(more) if more && now < *until => return self.read_head(venue),
                Ok(true) => return self.reply(408, "The request did not come in time.", now),
                Ok(false) => Some("the client left before its request was complete".to_owned()),
                Err(error) => Some(error.to_string()),
            },
            Stage::Answer { since, .. } if now < *since => None,
            Stage::Answer { stream, left, since } => match drain(stream, left) {
                Ok(true) => return self.linger(now),
                Ok(false) if now < *since + PATIENCE => None,
                Ok(false) => Some("the client did not take its answer".to_owned()),
                Err(error) => Some(error.to_string()),
            },
            Stage::Linger { stream, until } => match discard(stream) {
                Ok(true) if now < *until => None,
                _ => Some("answered".to_owned()),
            },
            Stage::Session(session) => {
                session.turn(now, &venue.world, venue.log).err().map(|why| why.to_string())
            }
            Stage::Over => None,
        };
        if let Some(why) = ended {
            self.end(&why);
        }
    }

    fn read_head(&mut self, venue: &mut Venue<'_>) {
        let Stage::Head { received, .. } = &self.stage else {
            return;
        };
        match http::parse(received) {
            Ok(None) => {}
            Ok(Some(request)) => self.serve(&request, venue),
            Err(sentence) => self.reply(400, &sentence, venue.now),
        }
    }

    fn serve(&mut self, request: &Request, venue: &mut Venue<'_>) {
        let now = venue.now;
        if self.refused {
            return self.reply(503, "The simulated venue has no room for another connection.", now);
        }
        if request.method != "GET" {
            return self.reply(405, "The simulated venue answers GET requests only.", now);
        }
        match (line::dialect(request, venue.world.names), &request.accept_key) {
            (None, _) => {
                let (late_ms, status) = venue.rest.next(venue.world.now_ms(), venue.log);
                let answer = match status {
                    Some(status) => Answer::new(status, rest::FAULT.to_owned()),
                    None => rest::answer(&venue.world, &request.path, &request.query),
                };
                self.answer(http::response(&answer), now + Duration::from_millis(late_ms.unsigned_abs()));
            }
            (Some(Err(sentence)), _) => self.reply(400, &sentence, now),
            (Some(Ok(_)), None) => self.reply(426, "Streams need a WebSocket request of version 13.", now),
            (Some(Ok(dialect)), Some(accept_key)) => self.upgrade(request, accept_key, dialect, venue),
        }
    }

    fn upgrade(
        &mut self,
        request: &Request,
        accept_key: &str,
        dialect: Box<dyn Dialect>,
        venue: &mut Venue<'_>,
    ) {
        let Stage::Head { mut stream, received, .. } = std::mem::replace(&mut self.stage, Stage::Over) else {
            return;
        };
        // The first bytes of a connection always fit into the kernel's buffer.
        if let Err(error) = stream.write_all(&http::switch_to_websocket(accept_key)) {
            return self.end(&error);
        }
        let later = received[request.head_len..].to_vec();
        *venue.sessions += 1;
        let injector = Injector::new(venue.faults, venue.seed, *venue.sessions);
        let line = Line::new(dialect, injector, &venue.world, venue.log);
        let session = Session::new(stream, later, venue.limits, line, venue.now);
        self.stage = Stage::Session(Box::new(session));
    }

    fn reply(&mut self, status: u16, sentence: &str, now: Instant) {
        self.answer(http::response(&Answer::new(status, wire::error(-1, sentence))), now);
    }

    fn answer(&mut self, left: Vec<u8>, since: Instant) {
        if let Stage::Head { stream, .. } = std::mem::replace(&mut self.stage, Stage::Over) {
            self.stage = Stage::Answer { stream, left, since };
        }
    }

    /// Waits for the client to close: closing over unread bytes would reset the connection, answer and all.
    fn linger(&mut self, now: Instant) {
        if let Stage::Answer { mut stream, .. } = std::mem::replace(&mut self.stage, Stage::Over)
            && stream.finish().is_ok()
        {
            self.stage = Stage::Linger { stream, until: now + LINGER };
        }
    }
}

/// Reads what has come, up to the longest head. False at the client's end.
fn fill(stream: &mut Transport, received: &mut Vec<u8>) -> io::Result<bool> {
    let mut chunk = [0; 2_048];
    while received.len() < MAX_HEAD {
        let room = chunk.len().min(MAX_HEAD - received.len());
        match stream.read(&mut chunk[..room]) {
            Ok(0) => return Ok(false),
            Ok(len) => received.extend_from_slice(&chunk[..len]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Writes what the client takes. True when nothing is left.
fn drain(stream: &mut Transport, left: &mut Vec<u8>) -> io::Result<bool> {
    while !left.is_empty() {
        match stream.write(left) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(len) => drop(left.drain(..len)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Throws away what has come, a chunk a turn. False at the client's end.
fn discard(stream: &mut Transport) -> io::Result<bool> {
    match stream.read(&mut [0; 4_096]) {
        Ok(len) => Ok(len > 0),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(error),
    }
}
