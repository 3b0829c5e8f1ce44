//! One connection, from its first byte to its end: a request's head, then a REST answer or a WebSocket session.
//!
//! What holds: nothing here blocks; a request's head and the taking of its answer have a deadline each.

use super::http::{self, MAX_HEAD, Request};
use super::market::Market;
use super::rest;
use super::session::{Limits, Session};
use super::streams::Streams;
use super::wire;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// How long a client may take to send its request, and again to take the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take to close once it has the answer.
const LINGER: Duration = Duration::from_secs(1);

/// What a connection needs to know of the venue.
pub(super) struct Venue<'v> {
    pub(super) market: &'v Market,
    pub(super) streams: &'v Streams,
    pub(super) limits: Limits,
    pub(super) now: Instant,
}

#[derive(Debug)]
pub(super) struct Connection {
    stage: Stage,
    /// Whether the venue was full when it came.
    refused: bool,
}

#[derive(Debug)]
enum Stage {
    Head { stream: TcpStream, received: Vec<u8>, until: Instant },
    Answer { stream: TcpStream, left: Vec<u8>, until: Instant },
    Linger { stream: TcpStream, until: Instant },
    Session(Box<Session>),
    Over,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, refused: bool, now: Instant) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Self { stage: Stage::Head { stream, received: Vec::new(), until: now + PATIENCE }, refused })
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
    pub(super) fn turn(&mut self, venue: &Venue<'_>) {
        let now = venue.now;
        let ended: Option<String> = match &mut self.stage {
            Stage::Head { stream, received, until } => match fill(stream, received) {
                Ok(more) if more && now < *until => return self.read_head(venue),
                Ok(true) => return self.reply(408, "The request did not come in time.", now),
                Ok(false) => Some("the client left before its request was complete".to_owned()),
                Err(error) => Some(error.to_string()),
            },
            Stage::Answer { stream, left, until } => match drain(stream, left) {
                Ok(true) => return self.linger(now),
                Ok(false) if now < *until => None,
                Ok(false) => Some("the client did not take its answer".to_owned()),
                Err(error) => Some(error.to_string()),
            },
            Stage::Linger { stream, until } => match discard(stream) {
                Ok(true) if now < *until => None,
                _ => Some("answered".to_owned()),
            },
            Stage::Session(session) => {
                session.turn(now, venue.market.now_ms(), venue.streams).err().map(|why| why.to_string())
            }
            Stage::Over => None,
        };
        if let Some(why) = ended {
            self.end(&why);
        }
    }

    fn read_head(&mut self, venue: &Venue<'_>) {
        let Stage::Head { received, .. } = &self.stage else {
            return;
        };
        match http::parse(received) {
            Ok(None) => {}
            Ok(Some(request)) => self.serve(&request, venue),
            Err(sentence) => self.reply(400, &sentence, venue.now),
        }
    }

    fn serve(&mut self, request: &Request, venue: &Venue<'_>) {
        let now = venue.now;
        if self.refused {
            return self.reply(503, "The simulated venue has no room for another connection.", now);
        }
        if request.method != "GET" {
            return self.reply(405, "The simulated venue answers GET requests only.", now);
        }
        match (wanted(request, venue.streams), &request.accept_key) {
            (None, _) => {
                let (status, body) = rest::answer(venue.market, &request.path, &request.query);
                self.answer(http::response(status, &body), now);
            }
            (Some(Err(sentence)), _) => self.reply(400, &sentence, now),
            (Some(Ok(_)), None) => self.reply(426, "Streams need a WebSocket request of version 13.", now),
            (Some(Ok(subscribed)), Some(accept_key)) => self.upgrade(request, accept_key, subscribed, venue),
        }
    }

    fn upgrade(&mut self, request: &Request, accept_key: &str, subscribed: Vec<bool>, venue: &Venue<'_>) {
        let Stage::Head { mut stream, received, .. } = std::mem::replace(&mut self.stage, Stage::Over) else {
            return;
        };
        // The first bytes of a connection always fit into the kernel's buffer.
        if let Err(error) = stream.write_all(&http::switch_to_websocket(accept_key)) {
            return self.end(&error);
        }
        let combined = request.path == "/stream";
        let later = received[request.head_len..].to_vec();
        let session = Session::new(stream, later, venue.limits, combined, subscribed, venue.now);
        self.stage = Stage::Session(Box::new(session));
    }

    fn reply(&mut self, status: u16, sentence: &str, now: Instant) {
        self.answer(http::response(status, &wire::error(-1, sentence)), now);
    }

    fn answer(&mut self, left: Vec<u8>, now: Instant) {
        if let Stage::Head { stream, .. } = std::mem::replace(&mut self.stage, Stage::Over) {
            self.stage = Stage::Answer { stream, left, until: now + PATIENCE };
        }
    }

    /// Waits for the client to close: closing over unread bytes would reset the connection, answer and all.
    fn linger(&mut self, now: Instant) {
        if let Stage::Answer { stream, .. } = std::mem::replace(&mut self.stage, Stage::Over)
            && stream.shutdown(Shutdown::Write).is_ok()
        {
            self.stage = Stage::Linger { stream, until: now + LINGER };
        }
    }
}

/// The streams that a WebSocket path asks for; `None` for paths that are not WebSocket's.
fn wanted(request: &Request, streams: &Streams) -> Option<Result<Vec<bool>, String>> {
    let names = match (request.path.as_str(), request.query.as_slice()) {
        ("/ws" | "/stream", []) => "",
        ("/stream", [(name, value)]) if name == "streams" => value,
        ("/ws" | "/stream", _) => {
            return Some(Err("The only parameter of a stream is 'streams', of /stream.".into()));
        }
        (path, query) => match path.strip_prefix("/ws/")? {
            names if query.is_empty() => names,
            _ => return Some(Err("A raw stream has no parameters.".into())),
        },
    };
    let mut subscribed = vec![false; streams.len()];
    for name in names.split('/').filter(|name| !name.is_empty()) {
        match streams.find(name) {
            Some(stream) => subscribed[stream] = true,
            None => return Some(Err(format!("There is no stream '{name}'."))),
        }
    }
    Some(Ok(subscribed))
}

/// Reads what has come, up to the longest head. False at the client's end.
fn fill(stream: &mut TcpStream, received: &mut Vec<u8>) -> io::Result<bool> {
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
fn drain(stream: &mut TcpStream, left: &mut Vec<u8>) -> io::Result<bool> {
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
fn discard(stream: &mut TcpStream) -> io::Result<bool> {
    match stream.read(&mut [0; 4_096]) {
        Ok(len) => Ok(len > 0),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(error),
    }
}
