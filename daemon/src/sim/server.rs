//! The venue's one thread: it lets the market live, tells every client what happened, and serves connections.
//!
//! What holds: it never waits for a client; a frame is put into words once, and only if someone wants it.

use super::SimConfig;
use super::connection::{Connection, Venue};
use super::faults::{Fault, Faults, Log, RestFaults};
use super::itch::Feed;
use super::market::{Event, Market};
use super::session::Limits;
use super::transport::Transport;
use super::venue::{Names, Rules, Told, World};
use std::io::ErrorKind;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tungstenite::protocol::frame::coding::CloseCode;

/// The time between two turns.
const TURN: Duration = Duration::from_millis(2);
/// How many ms the market lives at a time in the warm-up, when nobody listens.
const CATCH_UP_MS: i64 = 100;
/// How many connections beyond the limit are held at a time, to be told that the venue is full.
const REFUSED_AT_ONCE: usize = 16;

pub(super) struct Server {
    listener: TcpListener,
    market: Market,
    names: Names,
    rules: Rules,
    limits: Limits,
    tls: Option<Arc<rustls::ServerConfig>>,
    seed: u64,
    faults: Faults,
    rest: RestFaults,
    log: Arc<Mutex<Log>>,
    sessions: u64,
    /// The feed of ITCH messages, where one is wanted.
    feed: Option<Feed>,
    max_connections: usize,
    connections: Vec<Connection>,
}

impl Server {
    /// Takes a non-blocking listener and a checked configuration, and lives through the warm-up.
    pub(super) fn new(
        listener: TcpListener,
        config: SimConfig,
        log: Arc<Mutex<Log>>,
        mut feed: Option<Feed>,
    ) -> Self {
        let now_ms = utc_ms();
        let start_ms = now_ms - config.warm_up.as_millis() as i64; // At most a day.
        let mut market = Market::new(config.seed, &config.symbols, config.trades_per_second, start_ms);
        let mut events = Vec::new();
        while market.now_ms() < now_ms {
            market.step(now_ms.min(market.now_ms() + CATCH_UP_MS), &mut events);
            events.clear();
        }
        if let Some(feed) = &mut feed {
            feed.begin(&market);
        }
        let faults = match config.tls {
            Some(_) => config.faults.clone(),
            None => config.faults.clone().with(Fault::HalfRecord, 0.0),
        };
        Self {
            seed: config.seed,
            rest: RestFaults::new(&faults, config.seed),
            faults,
            log,
            sessions: 0,
            feed,
            listener,
            market,
            names: Names::new(&config.symbols),
            rules: config.rules(),
            tls: config.tls,
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
                self.market.step(self.market.now_ms() + 1, &mut events);
                self.tell(&events, now);
                events.clear();
            }
            let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            let mut venue = Venue {
                world: World { market: &self.market, names: &self.names, rules: self.rules },
                limits: self.limits,
                now,
                seed: self.seed,
                faults: &self.faults,
                rest: &mut self.rest,
                log: &mut log,
                sessions: &mut self.sessions,
            };
            self.connections.iter_mut().for_each(|connection| connection.turn(&mut venue));
            if let Some(feed) = &mut self.feed {
                feed.turn(now, now_ms, &mut log);
            }
            drop(log);
            self.connections.retain(|connection| !connection.is_over());
            thread::sleep(TURN.saturating_sub(now.elapsed()));
        }
        let now = Instant::now();
        if let Some(feed) = &mut self.feed {
            let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            feed.end(now, self.market.now_ms(), &mut log);
        }
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
                    match Transport::new(stream, self.tls.as_ref()) {
                        Ok(stream) => self.connections.push(Connection::new(stream, refused, now)),
                        Err(error) => tracing::debug!(%error, "simulated venue: connection failed"),
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => return tracing::debug!(%error, "simulated venue: no connection accepted"),
            }
        }
    }

    /// Tells every session what happened in a millisecond.
    fn tell(&mut self, events: &[Event], now: Instant) {
        if let Some(feed) = &mut self.feed {
            feed.tell(events);
        }
        let world = World { market: &self.market, names: &self.names, rules: self.rules };
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let told: Vec<Told<'_>> = events.iter().map(Told::new).collect();
        for connection in &mut self.connections {
            let outcome = connection.session().map(|session| session.live(&told, &world, &mut log, now));
            if let Some(Err(why)) = outcome {
                connection.end(&why);
            }
        }
    }
}

/// The wall clock, in ms since the Unix epoch.
pub(super) fn utc_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
