//! The simulated venues: one seeded market, told in the words of Binance, Kraken and Coinbase.
//!
//! It exists so that `chartd demo` needs no set-up, and so that tests can compare chartd's candles with klines
//! that chartd did not make: nothing here uses chartd's own candle, number, decoder or book code. What holds:
//!
//! - The seed and the first millisecond decide the market. Trades, books, quotes and klines agree, at every venue.
//! - One thread does everything and never waits for a client: a client that does not read is disconnected.
//! - Connections, queues, requests and histories are bounded.
//!
//! | Path | Venue |
//! |---|---|
//! | `/ws…`, `/stream`, `/api/v3/` | Binance Spot |
//! | `/v2`, `/0/public/` | Kraken, version 2 of its WebSocket |
//! | `/` and `channels`, `/products` | Coinbase Exchange |
//! | `/` and `channel`, `/api/v3/brokerage/market/` | Coinbase Advanced Trade |
//! | addresses of their own | ITCH 5.0 by MoldUDP64 and SoupBinTCP |
//!
//! It is stricter than Binance in one thing: a stream that does not exist is refused, not silently accepted.
//! There are no request weights, and no Kraken candles of a week or more, whose beginnings we cannot verify.

mod activity;
mod binance;
mod book;
mod coinbase;
mod connection;
mod faults;
mod http;
mod itch;
mod klines;
mod kraken;
mod line;
mod market;
mod random;
mod rest;
mod server;
mod session;
mod symbol;
#[cfg(test)]
mod tests;
mod transport;
mod venue;
mod virtual_time;
mod words;

pub use faults::{Fault, Faults, FaultsError, Injected};
pub use virtual_time::{Delivery, TrueBar, TrueTrade, Truth, Virtual, What};

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// One unit of price or quantity: 1e-8, the precision of the venue's text.
const UNIT: i64 = 100_000_000;

/// What to simulate, and for whom.
#[derive(Debug, Clone)]
pub struct SimConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Decides the market, together with the moment of its beginning.
    pub seed: u64,
    /// What trades here.
    pub symbols: Vec<SymbolSpec>,
    /// Trades a second and symbol, on average; 0 to 5,000.
    pub trades_per_second: f64,
    /// How long the market has lived when the server starts, at most a day: the history REST has at once.
    pub warm_up: Duration,
    /// The time between pings; a client that leaves one unanswered for three times as long is disconnected.
    pub ping_interval: Duration,
    /// Messages that a client may send in a second, pongs included, before it is disconnected.
    pub messages_per_second: u32,
    /// Bytes that may wait for a client that does not read, at least 65,536; beyond, it is disconnected.
    pub queue_bytes: usize,
    /// Connections at a time, at least 1; beyond, requests are answered with 503.
    pub max_connections: usize,
    /// How old a Binance connection becomes before it is told `serverShutdown`.
    pub shutdown_after: Option<Duration>,
    /// The time between `serverShutdown` and the close.
    pub shutdown_notice: Duration,
    /// The age at which a Binance connection is closed, which Binance does at 24 hours.
    pub max_age: Option<Duration>,
    /// What is made to go wrong.
    pub faults: Faults,
    /// Where MoldUDP64 sends its two lines, multicast or unicast, from the address that `listen` has.
    pub mold: Option<[SocketAddr; 2]>,
    /// Where packets of MoldUDP64 can be asked for again.
    pub mold_requests: Option<SocketAddr>,
    /// Where SoupBinTCP is served.
    pub soup: Option<SocketAddr>,
    /// Speaks TLS, and nothing else, with this certificate and key.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

impl SimConfig {
    /// The default market: four symbols at 25 trades a second each, and Binance's own limits.
    pub fn new(listen: SocketAddr, seed: u64) -> Self {
        Self {
            listen,
            seed,
            symbols: SymbolSpec::defaults(),
            trades_per_second: 25.0,
            warm_up: Duration::from_secs(300),
            ping_interval: Duration::from_secs(20),
            messages_per_second: 5,
            queue_bytes: 1 << 20,
            max_connections: 64,
            shutdown_after: None,
            shutdown_notice: Duration::from_secs(5),
            max_age: None,
            faults: Faults::none(),
            mold: None,
            mold_requests: None,
            soup: None,
            tls: None,
        }
    }

    fn rules(&self) -> venue::Rules {
        let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        venue::Rules {
            shutdown_ms: self.shutdown_after.map(ms),
            notice_ms: ms(self.shutdown_notice),
            max_age_ms: self.max_age.map(ms),
        }
    }

    fn check(&self) -> Result<(), SimError> {
        if self.symbols.is_empty() || self.symbols.len() > 64 {
            return Err(SimError::Symbols(self.symbols.len()));
        }
        for (i, spec) in self.symbols.iter().enumerate() {
            let twice = self.symbols[..i].iter().any(|other| other.name() == spec.name());
            let itch = self.mold.is_some() || self.soup.is_some();
            let untold = || itch::Feed::fault(spec).filter(|_| itch);
            let reason = if twice { Some("it is there twice") } else { spec.fault().or_else(untold) };
            if let Some(reason) = reason {
                return Err(SimError::Symbol { name: spec.name(), reason });
            }
        }
        let setting = if !(0.0..=5_000.0).contains(&self.trades_per_second) {
            "trades_per_second must be from 0 to 5000"
        } else if self.warm_up > Duration::from_secs(86_400) {
            "warm_up must be at most a day"
        } else if self.ping_interval < Duration::from_millis(10) {
            "ping_interval must be at least 10 ms"
        } else if self.messages_per_second == 0 || self.max_connections == 0 {
            "messages_per_second and max_connections must be at least 1"
        } else if self.queue_bytes < 65_536 {
            "queue_bytes must be at least 65536"
        } else {
            return Ok(());
        };
        Err(SimError::Setting(setting))
    }
}

/// A symbol of the simulated market. Prices and quantities in units of 1e-8.
#[derive(Debug, Clone, PartialEq)]
pub struct SymbolSpec {
    /// The asset that is traded, as `BTC`: capital letters and digits.
    pub base: String,
    /// The asset it is priced in, as `USDT`.
    pub quote: String,
    /// The price it starts at, a multiple of `tick`, at least 1,000 of them.
    pub start_price: i64,
    /// The smallest step of a price.
    pub tick: i64,
    /// The smallest step of a quantity.
    pub lot: i64,
    /// The quantity around which makers quote; trades are about a quarter of it.
    pub typical_quantity: i64,
    /// How far the price goes in a second, as a standard deviation in millionths of it; 0 to 1,000.
    pub volatility_ppm: f64,
}

impl SymbolSpec {
    /// The symbol's name on the wire: `BTCUSDT`.
    pub fn name(&self) -> String {
        format!("{}{}", self.base, self.quote)
    }

    /// BTCUSDT, ETHUSDT, SOLUSDT and ADAUSDT, with Binance's ticks and lots.
    pub fn defaults() -> Vec<Self> {
        let spec = |base: &str, start_price, tick, lot, typical_quantity, volatility_ppm| Self {
            base: base.to_owned(),
            quote: "USDT".to_owned(),
            start_price,
            tick,
            lot,
            typical_quantity,
            volatility_ppm,
        };
        vec![
            spec("BTC", 60_000 * UNIT, UNIT / 100, UNIT / 100_000, UNIT / 20, 40.0),
            spec("ETH", 3_000 * UNIT, UNIT / 100, UNIT / 10_000, UNIT, 50.0),
            spec("SOL", 150 * UNIT, UNIT / 100, UNIT / 1_000, 20 * UNIT, 70.0),
            spec("ADA", UNIT * 2 / 5, UNIT / 10_000, UNIT / 10, 4_000 * UNIT, 90.0),
        ]
    }

    fn fault(&self) -> Option<&'static str> {
        let plain = |name: &str| {
            (1..=16).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
        };
        let most = 10_000_000 * UNIT;
        Some(if !plain(&self.base) || !plain(&self.quote) {
            "an asset's name is 1 to 16 capital letters and digits"
        } else if self.tick < 1 || self.lot < 1 || self.start_price > most || self.typical_quantity > most {
            "ticks and lots must be positive, prices and quantities at most ten million"
        } else if self.start_price % self.tick != 0 || self.start_price / self.tick < 1_000 {
            "the price must be a multiple of its tick, and at least a thousand of them"
        } else if self.typical_quantity < self.lot || self.lot > most {
            "the typical quantity must be at least one lot"
        } else if i128::from(self.tick) * i128::from(self.lot) % i128::from(UNIT) != 0 {
            "tick times lot must be a multiple of 1e-8, so that quote volumes are exact"
        } else if !(0.0..=1_000.0).contains(&self.volatility_ppm) {
            "the volatility must be from 0 to 1000 millionths"
        } else {
            return None;
        })
    }
}

/// Why the simulated venue did not start.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// None, or more than the streams are made for.
    #[error("the simulated market needs 1 to 64 symbols, not {0}")]
    Symbols(usize),
    /// A symbol that cannot be simulated exactly.
    #[error("the symbol {name} cannot be simulated: {reason}")]
    Symbol {
        /// The symbol's name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A setting out of its range.
    #[error("the simulated venue cannot start: {0}")]
    Setting(&'static str),
    /// The address cannot be listened on.
    #[error("the simulated venue cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The certificate or the key cannot be used.
    #[error("the simulated venue cannot use the certificate {certificate} with the key {key}: {reason}")]
    Tls {
        /// The certificate's file.
        certificate: String,
        /// The key's file.
        key: String,
        /// What is wrong with them.
        reason: String,
    },
    /// The system gave no thread.
    #[error("the simulated venue's thread did not start: {0}")]
    Thread(io::Error),
}

/// What TLS needs, from a PEM file with a certificate chain and one with its private key.
pub fn tls(certificate: &Path, key: &Path) -> Result<Arc<rustls::ServerConfig>, SimError> {
    use rustls::pki_types::pem::{Error, PemObject};
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let refuse = |reason: String| SimError::Tls {
        certificate: certificate.display().to_string(),
        key: key.display().to_string(),
        reason,
    };
    let unreadable = |error: Error| refuse(error.to_string());
    let chain = CertificateDer::pem_file_iter(certificate).map_err(unreadable)?;
    let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(unreadable)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(unreadable)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.and_then(|config| config.with_no_client_auth().with_single_cert(chain, key));
    config.map(Arc::new).map_err(|error| refuse(error.to_string()))
}

/// A running simulated venue. It stops, its thread joined, when this is dropped.
#[derive(Debug)]
pub struct Sim {
    address: SocketAddr,
    soup: Option<SocketAddr>,
    mold_requests: Option<SocketAddr>,
    stop: Arc<AtomicBool>,
    log: Arc<Mutex<faults::Log>>,
    thread: Option<JoinHandle<()>>,
}

impl Sim {
    /// Lives through the warm-up and starts to serve. From its return on, connections are accepted.
    pub fn start(config: SimConfig) -> Result<Self, SimError> {
        config.check()?;
        let listen_error = |source| SimError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).map_err(listen_error)?;
        listener.set_nonblocking(true).map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let stop = Arc::new(AtomicBool::new(false));
        let log = Arc::new(Mutex::new(faults::Log::default()));
        let feed = itch::Feed::open(&config, server::utc_ms())?;
        let (soup, mold_requests) = feed.as_ref().map_or((None, None), |feed| (feed.soup(), feed.requests()));
        let server = server::Server::new(listener, config, Arc::clone(&log), feed);
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("sim".to_owned())
            .spawn(move || server.run(&stopped))
            .map_err(SimError::Thread)?;
        tracing::info!(%address, "simulated venue listening");
        Ok(Self { address, soup, mold_requests, stop, log, thread: Some(thread) })
    }

    /// The address it listens on, its port resolved.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The address of SoupBinTCP, its port resolved, where it is served.
    pub fn soup_addr(&self) -> Option<SocketAddr> {
        self.soup
    }

    /// The address at which packets of MoldUDP64 can be asked for again, its port resolved.
    pub fn mold_requests_addr(&self) -> Option<SocketAddr> {
        self.mold_requests
    }

    /// The faults that were made to happen, oldest first; only the newest tens of thousands are kept.
    pub fn injected(&self) -> Vec<Injected> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).entries().to_vec()
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the simulated venue's thread had panicked");
        }
    }
}
