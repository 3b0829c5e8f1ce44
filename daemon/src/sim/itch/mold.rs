//! MoldUDP64: packets of numbered messages on two lines, and single packets again for those who ask.
//!
//! What holds: both lines send the same packets, each losing its own; a request is answered with one packet at
//! the most. A packet fits an Ethernet frame.

use super::super::faults::{Fault, Injected, Log};
use super::super::random::Random;
use super::super::{SimConfig, SimError};
use super::Store;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// The longest packet, in bytes: what fits Ethernet's 1,500 with room for tunnels.
const PACKET: usize = 1_400;
/// The time between heartbeats while nothing is sent.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How many requests are answered in a turn.
const REQUESTS: usize = 64;
const END_OF_SESSION: u16 = 0xffff;
const LINES: [&str; 2] = ["mold-a", "mold-b"];

#[derive(Debug)]
pub(super) struct Mold {
    socket: UdpSocket,
    lines: [SocketAddr; 2],
    requests: Option<UdpSocket>,
    /// The number of the next message to be sent.
    next: u64,
    sent: Option<Instant>,
    loss: f64,
    random: [Random; 2],
}

impl Mold {
    /// Sends from the address that the venue listens on, which also chooses the interface of multicasts.
    pub(super) fn open(lines: [SocketAddr; 2], config: &SimConfig) -> Result<Self, SimError> {
        let bind = |address: SocketAddr| {
            let listen_error = |source| SimError::Listen { address, source };
            let socket = UdpSocket::bind(address).map_err(listen_error)?;
            socket.set_nonblocking(true).map_err(listen_error)?;
            Ok::<_, SimError>(socket)
        };
        Ok(Self {
            socket: bind(SocketAddr::new(config.listen.ip(), 0))?,
            lines,
            requests: config.mold_requests.map(bind).transpose()?,
            next: 1,
            sent: None,
            loss: config.faults.rate(Fault::Drop),
            random: [2_000_000, 2_000_001].map(|stream| Random::new(config.seed, stream)),
        })
    }

    pub(super) fn requests(&self) -> Option<SocketAddr> {
        self.requests.as_ref().and_then(|socket| socket.local_addr().ok())
    }

    pub(super) fn turn(&mut self, store: &Store, now: Instant, now_ms: i64, log: &mut Log) {
        // Whoever fell behind the store has lost messages, as any receiver would see.
        self.next = self.next.max(store.oldest());
        while self.next < store.next {
            let (packet, count) = packet(store, self.next, u16::MAX - 1);
            self.send(&packet, (self.next, self.next + u64::from(count) - 1), now_ms, log);
            self.next += u64::from(count);
            self.sent = Some(now);
        }
        if self.sent.is_none_or(|sent| now - sent >= HEARTBEAT) {
            self.sent = Some(now);
            self.broadcast(&header(store, self.next, 0));
        }
        self.answer(store);
    }

    /// Says that nothing follows.
    pub(super) fn end(&self, store: &Store) {
        self.broadcast(&header(store, store.next, END_OF_SESSION));
    }

    fn broadcast(&self, packet: &[u8]) {
        for line in self.lines {
            // A datagram that cannot be sent is lost, as others are on their way.
            let _ = self.socket.send_to(packet, line);
        }
    }

    /// A packet on both lines, but where it gets lost.
    fn send(&mut self, packet: &[u8], (first, last): (u64, u64), time_ms: i64, log: &mut Log) {
        for (i, line) in self.lines.iter().enumerate() {
            if self.loss > 0.0 && self.random[i].chance(self.loss) {
                log.push(Injected {
                    time_ms,
                    connection: 0,
                    symbol: None,
                    stream: LINES[i],
                    fault: Fault::Drop,
                    lost: Some((first as i64, last as i64)),
                });
                continue;
            }
            let _ = self.socket.send_to(packet, line); // As above.
        }
    }

    fn answer(&self, store: &Store) {
        let Some(socket) = &self.requests else {
            return;
        };
        let mut request = [0; 64];
        for _ in 0..REQUESTS {
            let Ok((len, from)) = socket.recv_from(&mut request) else {
                return;
            };
            if len != 20 || request[..10] != store.session {
                continue;
            }
            let number = |from: usize, len: usize| {
                request[from..from + len].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
            };
            let (packet, count) = packet(store, number(10, 8), number(18, 2) as u16);
            if count > 0 {
                let _ = socket.send_to(&packet, from); // It will be asked for again.
            }
        }
    }
}

fn header(store: &Store, sequence: u64, count: u16) -> Vec<u8> {
    let mut packet = store.session.to_vec();
    packet.extend(sequence.to_be_bytes());
    packet.extend(count.to_be_bytes());
    packet
}

/// A packet with as many messages as fit, at most `most`, and how many those are.
fn packet(store: &Store, sequence: u64, most: u16) -> (Vec<u8>, u16) {
    let mut packet = header(store, sequence, 0);
    let mut count = 0;
    for message in store.from(sequence).take(most.into()) {
        if packet.len() + 2 + message.len() > PACKET {
            break;
        }
        packet.extend((message.len() as u16).to_be_bytes());
        packet.extend(message);
        count += 1;
    }
    packet[18..20].copy_from_slice(&u16::to_be_bytes(count));
    (packet, count)
}
