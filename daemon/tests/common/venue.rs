//! Servers for a client to meet: well-behaved or not, each on a port of its own on loopback, over plain TCP or TLS.
//! What they send is bytes; nothing here decides whether it is right.

use super::daemon::{Daemon, PATIENCE};
use super::wire::{TEXT, frame};
use market::CandleState;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tungstenite::handshake::derive_accept_key;

/// When the venue's first trade was, in exchange time.
pub(crate) const START_MS: u64 = 1_700_000_000_000;

/// A trade of `symbol`, `after_ms` after the start, as its frame's payload. The venue sends it 100 ms later.
pub(crate) fn trade(symbol: &str, id: u64, after_ms: u64) -> Vec<u8> {
    let time = START_MS + after_ms;
    let event = time + 100;
    format!(
        r#"{{"e":"trade","E":{event},"s":"{symbol}","t":{id},"p":"100.5","q":"0.1","T":{time},"m":false,"M":true}}"#
    )
    .into_bytes()
}

/// Frames of the trades numbered `ids`, one every 100 ms.
pub(crate) fn trades(symbol: &str, ids: impl IntoIterator<Item = u64>) -> Vec<u8> {
    ids.into_iter().flat_map(|id| frame(TEXT, &trade(symbol, id, id * 100))).collect()
}

/// A port to connect to.
pub(crate) struct Venue(TcpListener);

impl Venue {
    pub(crate) fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    pub(crate) fn address(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.address())
    }

    pub(crate) fn listener(&self) -> &TcpListener {
        &self.0
    }

    /// A connection, if one waits.
    pub(crate) fn accept_now(&self) -> Option<TcpStream> {
        let (stream, _) = self.0.accept().ok()?;
        stream.set_nonblocking(false).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Some(stream)
    }

    /// The next connection.
    pub(crate) fn accept(&self) -> TcpStream {
        let started = Instant::now();
        loop {
            if let Some(stream) = self.accept_now() {
                return stream;
            }
            assert!(started.elapsed() < PATIENCE, "nobody connects to {}", self.address());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// The next connection, after a handshake by the rules.
    pub(crate) fn welcome(&self) -> Peer<TcpStream> {
        Peer::welcome(self.accept())
    }
}

/// The client at the other end.
pub(crate) struct Peer<S>(pub(crate) S);

impl<S: Read + Write> Peer<S> {
    /// Answers the handshake by the rules.
    pub(crate) fn welcome(mut stream: S) -> Self {
        let answer = acceptance(&read_request(&mut stream));
        stream.write_all(answer.as_bytes()).unwrap();
        stream.flush().unwrap();
        Self(stream)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
        self.0.flush().unwrap();
    }

    /// The opcode and payload of the next frame, which must be whole, masked and short; `None` when the client has
    /// closed.
    pub(crate) fn next_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 6];
        match self.0.read(&mut head[..1]) {
            Ok(1) => self.0.read_exact(&mut head[1..]).unwrap(),
            Ok(_) => return None,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("the client says nothing"),
            Err(_) => return None, // A reset, or TLS that ended without a farewell.
        }
        assert_eq!(head[0] & 0xf0, 0x80, "reserved bits, or a control frame in pieces");
        assert_eq!(head[1] & 0x80, 0x80, "the client does not mask");
        let mut payload = vec![0; usize::from(head[1] & 0x7f)];
        assert!(payload.len() <= 125);
        self.0.read_exact(&mut payload).unwrap();
        payload.iter_mut().zip(head[2..].iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        Some((head[0] & 0x0f, payload))
    }
}

impl Peer<TcpStream> {
    /// Ends the connection without a word.
    pub(crate) fn hang_up(self) {
        self.0.shutdown(Shutdown::Both).unwrap();
    }
}

/// Reads a request up to its blank line.
pub(crate) fn read_request(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// The value of a header of a request.
pub(crate) fn header_of<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = request.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// What `Sec-WebSocket-Accept` must be in answer to a request.
pub(crate) fn accept_key(request: &str) -> String {
    derive_accept_key(header_of(request, "Sec-WebSocket-Key").unwrap().as_bytes())
}

/// The answer that accepts a request.
pub(crate) fn acceptance(request: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        accept_key(request)
    )
}

/// A venue that does everything right, beside others that do not: a trade of ETHUSDT every few milliseconds.
pub(crate) struct Steady {
    pub(crate) url: String,
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Steady {
    pub(crate) const SYMBOL: &str = "ETHUSDT";

    pub(crate) fn start() -> Self {
        let venue = Venue::listen();
        let url = venue.url();
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (stop.clone(), sent.clone());
        let thread = thread::spawn(move || {
            // A daemon that could not start never comes.
            let stream = loop {
                match venue.accept_now() {
                    Some(stream) => break stream,
                    None if stopped.load(Acquire) => return,
                    None => thread::sleep(Duration::from_millis(2)),
                }
            };
            let mut peer = Peer::welcome(stream);
            while !stopped.load(Acquire) {
                peer.send(&trades(Self::SYMBOL, [counted.load(Acquire) + 1]));
                counted.fetch_add(1, AcqRel);
                thread::sleep(Duration::from_millis(5));
            }
            assert!(venue.accept_now().is_none(), "the good feed was connected twice");
            drop(peer);
        });
        Self { url, stop, sent, thread }
    }

    /// Proves that frames of this feed still come, and that none of its trades was lost or spoiled.
    pub(crate) fn must_be_unharmed(self, daemon: &Daemon) {
        let frames = daemon.frames(Self::SYMBOL);
        let what = || format!("more frames of the good feed than {frames}; {}", daemon.log());
        super::daemon::wait_until(what, || daemon.frames(Self::SYMBOL) > frames + 3);
        let sent = self.sent.load(Acquire);
        super::daemon::wait_until(
            || format!("{sent} trades of the good feed"),
            || daemon.trades(Self::SYMBOL) >= sent,
        );
        assert!(!daemon.states(Self::SYMBOL).contains(&CandleState::Gap), "the good feed has gaps");
        self.stop.store(true, Release);
        self.thread.join().unwrap();
    }
}
