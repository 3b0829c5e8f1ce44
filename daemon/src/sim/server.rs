//! The venue's one thread: it lets the market live, tells every client what happened, and serves connections.
//!
//! What holds: it never waits for a client; a frame is put into words once, and only if someone wants it.

use super::connection::{Connection, Venue};
use super::market::{Event, Market};
use super::session::Limits;
use super::streams::Streams;
use super::{SimConfig, wire};
use std::io::ErrorKind;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tungstenite::Utf8Bytes;
use tungstenite::protocol::frame::coding::CloseCode;

/// The time between two turns.
const TURN: Duration = Duration::from_millis(2);
/// How many ms the market lives between two tellings when it has to catch up, as after a suspended machine.
const CATCH_UP_MS: i64 = 100;
/// How many connections beyond the limit are held at a time, to be told that the venue is full.
const REFUSED_AT_ONCE: usize = 16;

pub(super) struct Server {
    listener: TcpListener,
    market: Market,
    streams: Streams,
    names: Vec<String>,
    limits: Limits,
    max_connections: usize,
    connections: Vec<Connection>,
}

impl Server {
    /// Takes a non-blocking listener and a checked configuration, and lives through the warm-up.
    pub(super) fn new(listener: TcpListener, config: SimConfig) -> Self {
        let now_ms = utc_ms();
        let start_ms = now_ms - config.warm_up.as_millis() as i64; // At most a day.
        let mut market = Market::new(config.seed, &config.symbols, config.trades_per_second, start_ms);
        let mut events = Vec::new();
        while market.now_ms() < now_ms {
            market.step(now_ms.min(market.now_ms() + CATCH_UP_MS), &mut events);
            events.clear();
        }
        Self {
            listener,
            market,
            streams: Streams::new(&config.symbols),
            names: config.symbols.iter().map(|spec| spec.name()).collect(),
            limits: Limits {
                ping_interval: config.ping_interval,
                messages_per_second: config.messages_per_second,
                queue_bytes: config.queue_bytes,
            },
            max_connections: config.max_connections,
            connections: Vec::new(),
        }
    }

    /// Serves until `stop` is set.
    pub(super) fn run(mut self, stop: &AtomicBool) {
        let mut events = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            self.accept(now);
            let now_ms = utc_ms();
            while self.market.now_ms() < now_ms && !stop.load(Ordering::Relaxed) {
                self.market.step(now_ms.min(self.market.now_ms() + CATCH_UP_MS), &mut events);
                events.drain(..).for_each(|event| self.tell(&event));
            }
            let venue = Venue { market: &self.market, streams: &self.streams, limits: self.limits, now };
            self.connections.iter_mut().for_each(|connection| connection.turn(&venue));
            self.connections.retain(|connection| !connection.is_over());
            thread::sleep(TURN.saturating_sub(now.elapsed()));
        }
        let now = Instant::now();
        for session in self.connections.iter_mut().filter_map(Connection::session) {
            // A client that cannot be told sees the connection end all the same.
            let _ = session.close(CloseCode::Away, "The simulated venue is shutting down", now);
        }
    }

    fn accept(&mut self, now: Instant) {
        while self.connections.len() < self.max_connections + REFUSED_AT_ONCE {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    let refused = self.connections.len() >= self.max_connections;
                    match Connection::new(stream, refused, now) {
                        Ok(connection) => self.connections.push(connection),
                        Err(error) => tracing::debug!(%error, "simulated venue: connection failed"),
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => return tracing::debug!(%error, "simulated venue: no connection accepted"),
            }
        }
    }

    /// Sends an event to every session that wants it.
    fn tell(&mut self, event: &Event) {
        let stream = Streams::of(event);
        let (mut raw, mut wrapped) = (None::<Utf8Bytes>, None::<Utf8Bytes>);
        for connection in &mut self.connections {
            let Some(session) = connection.session().filter(|session| session.wants(stream)) else {
                continue;
            };
            let frame = || wire::frame(&self.names[event.symbol], event);
            let text = if session.combined() {
                wrapped.get_or_insert_with(|| wire::combined(self.streams.name(stream), &frame()).into())
            } else {
                raw.get_or_insert_with(|| frame().into())
            };
            if let Err(why) = session.send(text.clone()) {
                connection.end(&why);
            }
        }
    }
}

/// The wall clock, in ms since the Unix epoch.
fn utc_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
