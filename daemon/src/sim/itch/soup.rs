//! SoupBinTCP: login, numbered data from where the client wants it, heartbeats.
//!
//! What holds: a client's packets and what waits for it are bounded; one that says nothing for fifteen seconds
//! is dropped, and so is one that falls behind what is kept. Any user and password are good.

use super::super::SimError;
use super::Store;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

const HEARTBEAT: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(15);
const CLIENTS: usize = 16;
/// How much waits for a client before it gets no more for now.
const WAITING: usize = 65_536;
/// The longest packet that a client may send.
const LONGEST: usize = 1_024;

#[derive(Debug)]
struct Client {
    stream: TcpStream,
    received: Vec<u8>,
    waiting: Vec<u8>,
    /// The number of the next message, once logged in.
    next: Option<u64>,
    sent: Instant,
    heard: Instant,
    over: bool,
}

#[derive(Debug)]
pub(super) struct Soup {
    listener: TcpListener,
    clients: Vec<Client>,
}

impl Soup {
    pub(super) fn open(address: SocketAddr) -> Result<Self, SimError> {
        let listen_error = |source| SimError::Listen { address, source };
        let listener = TcpListener::bind(address).map_err(listen_error)?;
        listener.set_nonblocking(true).map_err(listen_error)?;
        Ok(Self { listener, clients: Vec::new() })
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    pub(super) fn turn(&mut self, store: &Store, now: Instant) {
        while self.clients.len() < CLIENTS {
            let Ok((stream, _)) = self.listener.accept() else {
                break;
            };
            if stream.set_nonblocking(true).is_ok() && stream.set_nodelay(true).is_ok() {
                let (received, waiting) = (Vec::new(), Vec::new());
                self.clients.push(Client {
                    stream,
                    received,
                    waiting,
                    next: None,
                    sent: now,
                    heard: now,
                    over: false,
                });
            }
        }
        self.clients.iter_mut().for_each(|client| client.turn(store, now));
        self.clients.retain(|client| !client.over);
    }

    /// Says that nothing follows.
    pub(super) fn end(&mut self, store: &Store) {
        let now = Instant::now();
        for client in self.clients.iter_mut().filter(|client| client.next.is_some()) {
            client.turn(store, now);
            client.say(b'Z', &[]);
            client.write(now);
        }
    }
}

impl Client {
    fn turn(&mut self, store: &Store, now: Instant) {
        let mut chunk = [0; 1_024];
        match self.stream.read(&mut chunk) {
            Ok(0) => self.over = true,
            Ok(len) => {
                self.received.extend_from_slice(&chunk[..len]);
                self.heard = now;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.over = true,
        }
        while let Some(kind) = self.packet(store) {
            self.over |= kind == b'O';
        }
        if let Some(next) = self.next {
            self.feed(store, next);
        }
        if self.waiting.is_empty() && now - self.sent >= HEARTBEAT && self.next.is_some() {
            self.say(b'H', &[]);
        }
        self.write(now);
        self.over |= now - self.heard >= PATIENCE;
    }

    /// Handles a whole packet of the client, and returns its type.
    fn packet(&mut self, store: &Store) -> Option<u8> {
        let [high, low, kind, ..] = self.received[..] else {
            return None;
        };
        let len = usize::from(u16::from_be_bytes([high, low]));
        if len == 0 || len > LONGEST {
            self.over = true;
            return None;
        }
        let packet: Vec<u8> = self.received.get(3..2 + len)?.to_vec();
        self.received.drain(..2 + len);
        if kind == b'L' && self.next.is_none() {
            self.login(&packet, store);
        }
        Some(kind)
    }

    /// User, password, session and number, all in text. Blank or 0 mean the present ones.
    fn login(&mut self, packet: &[u8], store: &Store) {
        let field = |from: usize, to: usize| {
            let bytes = packet.get(from..to).unwrap_or(b"?");
            str::from_utf8(bytes).unwrap_or("?").trim().to_owned()
        };
        let (session, sequence) = (field(16, 26), field(26, 46));
        let present = String::from_utf8_lossy(&store.session).into_owned();
        let wanted = sequence.parse::<u64>().ok().map(|wanted| if wanted == 0 { store.next } else { wanted });
        let known = wanted.filter(|wanted| (store.oldest()..=store.next).contains(wanted));
        match known {
            Some(next) if session.is_empty() || session == present.trim() => {
                self.next = Some(next);
                self.say(b'A', format!("{present}{next:>20}").as_bytes());
            }
            _ => {
                self.say(b'J', b"S"); // There is no such session.
                self.over = true;
            }
        }
    }

    /// Queues data, as long as the client takes it.
    fn feed(&mut self, store: &Store, mut next: u64) {
        if next < store.oldest() {
            self.over = true;
            return;
        }
        for message in store.from(next) {
            if self.waiting.len() > WAITING {
                break;
            }
            self.say(b'S', message);
            next += 1;
        }
        self.next = Some(next);
    }

    fn say(&mut self, kind: u8, payload: &[u8]) {
        self.waiting.extend((payload.len() as u16 + 1).to_be_bytes()); // Messages are short.
        self.waiting.push(kind);
        self.waiting.extend_from_slice(payload);
    }

    fn write(&mut self, now: Instant) {
        while !self.waiting.is_empty() {
            match self.stream.write(&self.waiting) {
                Ok(len) if len > 0 => {
                    self.waiting.drain(..len);
                    self.sent = now;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                _ => {
                    self.over = true;
                    return;
                }
            }
        }
    }
}
