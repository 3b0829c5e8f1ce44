//! The cold side of a connection: resolve, connect, TLS, WebSocket handshake, subscriptions; again after a break, with
//! patience.

use super::multicast::{self, MoldPlan};
use super::packets::Carries;
use super::soup::{self, Resume, SoupPlan};
use super::transport::Transport;
use super::ws::Framer;
use super::{Established, Vigil};
use anyhow::{Context, ensure};
use market::protocol::{Session, Subscription};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tungstenite::handshake::{client::generate_key, derive_accept_key};

/// How long everything up to the first subscription may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long one address of a host may take while there are others.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest answer to the handshake.
const MAX_RESPONSE_BYTES: usize = 16 << 10;

/// A host with a port, and how it is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// Whether the connection is encrypted.
    pub(crate) tls: bool,
    /// Host name or address.
    pub(crate) host: String,
    /// Port.
    pub(crate) port: u16,
    /// The path of the URL, without a slash at its end.
    pub(crate) path: String,
}

impl Address {
    /// The address of a URL: a scheme, host, optional port and path. `schemes` are the plain and the encrypted one,
    /// as `["ws", "wss"]`.
    pub(crate) fn parse(url: &str, schemes: [&str; 2]) -> Result<Self, String> {
        let [plain, encrypted] = schemes;
        let (tls, rest) = match url.split_once("://") {
            Some((scheme, rest)) if scheme == encrypted => (true, rest),
            Some((scheme, rest)) if scheme == plain => (false, rest),
            _ => return Err(format!("'{url}' begins neither with {plain}:// nor with {encrypted}://")),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                let number = port.parse().ok().filter(|port| *port != 0);
                (host, number.ok_or_else(|| format!("'{port}' in '{url}' is not a port"))?)
            }
            _ => (authority, if tls { 443 } else { 80 }),
        };
        if url.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(format!("'{url}' has a blank in it"));
        }
        let host = match host.strip_prefix('[') {
            Some(v6) => v6.strip_suffix(']').filter(|v6| v6.parse::<std::net::Ipv6Addr>().is_ok()),
            None => Some(host).filter(|host| !host.is_empty() && !host.contains(['[', ']'])),
        };
        let host = host.ok_or_else(|| format!("'{url}' names no host"))?;
        let path = path.trim_matches('/');
        let path = if path.is_empty() { String::new() } else { format!("/{path}") };
        Ok(Self { tls, host: host.to_owned(), port, path })
    }

    /// The value of the Host header.
    pub(crate) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let standard_port = if self.tls { 443 } else { 80 };
        if self.port == standard_port { host } else { format!("{host}:{}", self.port) }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Where a feed comes from, and what it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// The server.
    pub(crate) address: Address,
    /// Path and query of the request.
    pub(crate) target: String,
    /// The messages that ask for the streams.
    pub(crate) subscribe: Vec<String>,
    /// The time between two of them.
    pub(crate) pace: Duration,
    /// How long it may be silent.
    pub(crate) vigil: Vigil,
    /// The largest message that is accepted of a WebSocket.
    pub(crate) message_bytes: usize,
    /// What is spoken there.
    pub(crate) speech: Speech,
}

/// What is spoken at an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Speech {
    /// WebSocket.
    WebSocket,
    /// MoldUDP64.
    Mold(MoldPlan),
    /// SoupBinTCP.
    Soup(SoupPlan),
}

/// Which connection is to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seat {
    /// The feed.
    pub(crate) feed: usize,
    /// Its number among the connections of the feed.
    pub(crate) line: usize,
    /// Which of those that the feed is to have it is.
    pub(crate) seat: usize,
}

impl Endpoint {
    /// The endpoint of a protocol that asks for nothing.
    pub(crate) fn of_packets(address: Address, speech: Speech, session: &dyn Session) -> Self {
        Self {
            target: String::new(),
            subscribe: Vec::new(),
            pace: pace(session),
            message_bytes: session.limits().message_bytes,
            vigil: Vigil {
                idle_ping_ns: u64::from(session.limits().idle_ms) * 1_000_000,
                pong_patience_ns: 5_000_000_000,
            },
            address,
            speech,
        }
    }

    /// How many connections it takes, where that is not for the configuration to say.
    pub(crate) fn seats(&self) -> Option<usize> {
        match &self.speech {
            Speech::WebSocket => None,
            Speech::Mold(plan) => Some(plan.seats()),
            Speech::Soup(_) => Some(1),
        }
    }

    /// The endpoint at `url` (`ws://` or `wss://`, host, optional port and path) of a venue.
    pub(crate) fn new(url: &str, session: &dyn Session, wanted: &Subscription<'_>) -> Result<Self, String> {
        let address = Address::parse(url, ["ws", "wss"])?;
        Ok(Self {
            target: match session.target(&address.path, wanted) {
                target if target.starts_with('/') => target,
                target => format!("/{target}"),
            },
            subscribe: session.subscribe(wanted),
            pace: pace(session),
            vigil: Vigil::of_idle_ms(session.limits().idle_ms),
            message_bytes: session.limits().message_bytes,
            address,
            speech: Speech::WebSocket,
        })
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.address.fmt(f)
    }
}

/// The least time between two messages to a venue. One message of each second is kept back for a pong.
pub(crate) fn pace(session: &dyn Session) -> Duration {
    Duration::from_secs(1) / session.limits().messages_per_second.saturating_sub(1).max(1)
}

/// The TLS configuration: the system's roots, or those of `ca_file` alone.
pub(crate) fn tls_config(ca_file: Option<&Path>) -> anyhow::Result<Arc<rustls::ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let context = || format!("cannot read certificates from {}", path.display());
            for certificate in CertificateDer::pem_file_iter(path).with_context(context)? {
                roots.add(certificate.with_context(context)?).with_context(context)?;
            }
            ensure!(!roots.is_empty(), "{} holds no certificate", path.display());
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            ensure!(
                !roots.is_empty(),
                "this system has no root certificates: install ca-certificates, or set ca_file"
            );
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Makes a connection of a feed to its endpoint, and subscribes. `resume` is where a feed whose messages are numbered
/// goes on.
pub(crate) async fn connect(
    seat: Seat,
    endpoint: &Endpoint,
    tls: Option<&Arc<rustls::ClientConfig>>,
    resume: &Arc<Resume>,
) -> anyhow::Result<Established> {
    // The subscriptions take their own time.
    let patience = CONNECT_TIMEOUT + endpoint.pace * endpoint.subscribe.len() as u32;
    let attempt = async {
        match &endpoint.speech {
            Speech::WebSocket => establish(seat, endpoint, tls).await,
            Speech::Mold(plan) => open_mold(seat, endpoint, plan),
            Speech::Soup(plan) => log_in(seat, endpoint, plan, resume).await,
        }
    };
    let outcome = match tokio::time::timeout(patience, attempt).await {
        Ok(outcome) => outcome,
        Err(_) => Err(anyhow::anyhow!("no answer within {} s", patience.as_secs())),
    };
    outcome.with_context(|| endpoint.to_string())
}

fn open_mold(seat: Seat, endpoint: &Endpoint, plan: &MoldPlan) -> anyhow::Result<Established> {
    let (socket, carries) = multicast::open(plan, seat.seat)?;
    let vigil = match carries {
        // Whoever is asked nothing says nothing.
        Carries::MoldRequests => Vigil { idle_ping_ns: u64::MAX, pong_patience_ns: u64::MAX },
        _ => endpoint.vigil,
    };
    let Seat { feed, line, .. } = seat;
    Ok(Established { feed, line, socket, transport: Transport::Datagrams, carries, vigil })
}

async fn log_in(
    Seat { feed, line, .. }: Seat,
    endpoint: &Endpoint,
    plan: &SoupPlan,
    resume: &Arc<Resume>,
) -> anyhow::Result<Established> {
    let mut stream = dial(&endpoint.address).await?;
    let carries = Carries::Soup(soup::login(&mut stream, plan, resume).await?);
    let socket = into_blocking(stream)?.into();
    let transport = Transport::Stream { packet_length: soup::packet_length, residual: Vec::new() };
    Ok(Established { feed, line, socket, transport, carries, vigil: endpoint.vigil })
}

async fn establish(
    Seat { feed, line, .. }: Seat,
    endpoint: &Endpoint,
    tls: Option<&Arc<rustls::ClientConfig>>,
) -> anyhow::Result<Established> {
    let (carries, vigil, message_bytes) = (Carries::Frames, endpoint.vigil, endpoint.message_bytes);
    let mut stream = dial(&endpoint.address).await?;
    if !endpoint.address.tls {
        let residual = begin(&mut stream, endpoint).await?;
        let socket = into_blocking(stream)?.into();
        let transport = Transport::WebSocket { tls: None, residual, message_bytes };
        return Ok(Established { feed, line, socket, transport, carries, vigil });
    }
    let mut encrypted = encrypt(stream, &endpoint.address, tls).await?;
    let residual = begin(&mut encrypted, endpoint).await?;
    let (stream, connection) = encrypted.into_inner();
    let socket = into_blocking(stream)?.into();
    let tls = Some(Box::new(connection));
    let transport = Transport::WebSocket { tls, residual, message_bytes };
    Ok(Established { feed, line, socket, transport, carries, vigil })
}

/// A TCP connection to one of the host's addresses: the first that answers, in the resolver's order.
pub(crate) async fn dial(address: &Address) -> anyhow::Result<TcpStream> {
    let found = tokio::net::lookup_host((address.host.as_str(), address.port)).await;
    let addresses: Vec<SocketAddr> = found.context("the host has no address")?.collect();
    let stream = dial_first(&addresses).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn dial_first(addresses: &[SocketAddr]) -> anyhow::Result<TcpStream> {
    let mut failed = anyhow::anyhow!("the host has no address");
    for (at, address) in addresses.iter().enumerate() {
        let connecting = TcpStream::connect(address);
        let outcome = if at + 1 == addresses.len() {
            connecting.await // Whoever called is patient for so long, and no longer.
        } else {
            tokio::time::timeout(ADDRESS_TIMEOUT, connecting).await.unwrap_or_else(|slow| Err(slow.into()))
        };
        match outcome {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = anyhow::Error::from(error).context("cannot connect"),
        }
    }
    Err(failed)
}

/// TLS over a connection.
pub(crate) async fn encrypt(
    stream: TcpStream,
    address: &Address,
    tls: Option<&Arc<rustls::ClientConfig>>,
) -> anyhow::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let config = tls.context("the endpoint is encrypted and there is no TLS configuration")?;
    let host = &address.host;
    let name = ServerName::try_from(host.clone()).with_context(|| format!("'{host}' is not a host name"))?;
    let connecting = tokio_rustls::TlsConnector::from(config.clone()).connect(name, stream);
    connecting.await.map_err(|error| super::tls::explained(error, host)).context("no TLS")
}

/// Shakes hands and subscribes. Returns what came behind the handshake.
async fn begin(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    endpoint: &Endpoint,
) -> anyhow::Result<Vec<u8>> {
    let mut residual = upgrade(stream, endpoint).await?;
    // The standard library seeds its hash maps from the kernel's random numbers.
    let mut framer = Framer::new(std::hash::RandomState::new().build_hasher().finish());
    let mut frame = Vec::new();
    let mut next = tokio::time::Instant::now();
    for message in &endpoint.subscribe {
        read_until(next, stream, &mut residual, endpoint.message_bytes).await?;
        frame.clear();
        framer.text(message, &mut frame);
        stream.write_all(&frame).await?;
        stream.flush().await?;
        next = tokio::time::Instant::now() + endpoint.pace;
    }
    Ok(residual)
}

/// Reads what comes until then. What finds no room in the window of whoever goes on stays with the kernel.
async fn read_until(
    until: tokio::time::Instant,
    stream: &mut (impl AsyncRead + Unpin),
    bytes: &mut Vec<u8>,
    most: usize,
) -> anyhow::Result<()> {
    loop {
        let room = most.saturating_sub(bytes.len()) as u64;
        let mut bounded = (&mut *stream).take(room);
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(until) => return Ok(()),
            read = bounded.read_buf(bytes), if room > 0 => {
                ensure!(read? > 0, "the server closed before all streams were asked for");
            }
        }
    }
}

/// A socket for io_uring: its operations wait in the kernel instead of failing.
fn into_blocking(stream: TcpStream) -> std::io::Result<std::net::TcpStream> {
    let socket = stream.into_std()?;
    socket.set_nonblocking(false)?;
    Ok(socket)
}

/// Asks for a WebSocket (RFC 6455 §4.1). Returns what came behind the server's answer.
async fn upgrade(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    endpoint: &Endpoint,
) -> anyhow::Result<Vec<u8>> {
    let key = generate_key();
    let (target, host) = (&endpoint.target, endpoint.address.authority());
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nUser-Agent: chartd/{}\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    );
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut bytes = Vec::with_capacity(4096);
    let head_len = loop {
        ensure!(stream.read_buf(&mut bytes).await? > 0, "the server closed during the WebSocket handshake");
        if let Some(end) = accepted(&bytes, &key)? {
            break end;
        }
        ensure!(bytes.len() <= MAX_RESPONSE_BYTES, "the server's answer to the handshake is too long");
    };
    Ok(bytes.split_off(head_len))
}

/// The length of the server's answer, once it is whole and accepts.
fn accepted(bytes: &[u8], key: &str) -> anyhow::Result<Option<usize>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(len) = response.parse(bytes).context("the server does not speak HTTP")?
    else {
        return Ok(None);
    };
    let code = response.code.unwrap_or(0);
    ensure!(code == 101, "the server answered {code} {} to the handshake", response.reason.unwrap_or(""));
    // A header may stand in several lines, which mean the same as one with commas.
    let values = |name: &'static str| {
        let named = response.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        named
            .filter_map(|header| std::str::from_utf8(header.value).ok())
            .flat_map(|v| v.split(','))
            .map(str::trim)
    };
    ensure!(
        values("upgrade").any(|token| token.eq_ignore_ascii_case("websocket"))
            && values("connection").any(|token| token.eq_ignore_ascii_case("upgrade"))
            && values("sec-websocket-accept").eq([derive_accept_key(key.as_bytes())]),
        "the server's answer to the WebSocket handshake is not valid"
    );
    for unasked in ["sec-websocket-extensions", "sec-websocket-protocol"] {
        ensure!(
            values(unasked).next().is_none(),
            "the server answered with a {unasked} that nobody asked for"
        );
    }
    Ok(Some(len))
}

/// How long to wait before connecting again: doubled at each failure, capped, with jitter so that many clients
/// that lost one server do not come back in step.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    connected: Option<Instant>,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(250);
    const LONGEST: Duration = Duration::from_secs(30);
    /// A connection that lasted so long was a good one: patience starts afresh.
    const GOOD: Duration = Duration::from_secs(10);
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: Self::FIRST, connected: None }
    }
}

impl Backoff {
    /// A connection was made.
    pub(crate) fn connected(&mut self, now: Instant) {
        self.connected = Some(now);
    }

    /// Whether the connection at hand is no good one yet.
    pub(crate) fn is_young(&self, now: Instant) -> bool {
        self.connected.is_some_and(|since| now.saturating_duration_since(since) < Self::GOOD)
    }

    /// How long to wait now. `random` is uniform over all values.
    pub(crate) fn pause(&mut self, random: u64, now: Instant) -> Duration {
        if self.connected.take().is_some_and(|since| now.saturating_duration_since(since) >= Self::GOOD) {
            self.next = Self::FIRST;
        }
        let pause = self.next.mul_f64(0.5 + 0.5 * (random as f64 / u64::MAX as f64));
        self.next = (self.next * 2).min(Self::LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use market::{Timeframe, Venue};

    #[test]
    fn endpoints() {
        let wanted = Subscription { symbols: &["BTCUSDT".to_owned()], klines: &[Timeframe::M1] };
        let session = Venue::Binance.protocol();
        let endpoint = |url| Endpoint::new(url, session, &wanted);
        let expected = |tls, host: &str, port, path: &str| Endpoint {
            address: Address { tls, host: host.into(), port, path: path.into() },
            target: session.target(path, &wanted),
            subscribe: Vec::new(),
            pace: Duration::from_millis(250),
            vigil: Vigil::of_idle_ms(15_000),
            message_bytes: 4 << 20,
            speech: Speech::WebSocket,
        };
        assert_eq!(
            endpoint("wss://stream.binance.com:9443"),
            Ok(expected(true, "stream.binance.com", 9443, ""))
        );
        assert_eq!(endpoint("ws://127.0.0.1:9001/"), Ok(expected(false, "127.0.0.1", 9001, "")));
        assert_eq!(endpoint("ws://[::1]:9001/a/b"), Ok(expected(false, "::1", 9001, "/a/b")));
        assert_eq!(endpoint("ws://h/a/").unwrap().target.split_once('?').unwrap().0, "/a/stream");
        assert_eq!(endpoint("wss://host"), Ok(expected(true, "host", 443, "")));
        assert_eq!(endpoint("ws://[::1]:80").unwrap().address.authority(), "[::1]");
        assert_eq!(endpoint("ws://host:81").unwrap().address.authority(), "host:81");
        for bad in [
            "http://x",
            "ws://",
            "ws://x:y",
            "ws://x:99999",
            "ws://x:0",
            "ws://a b",
            "ws://[::1",
            "ws://[x]",
            "ws",
        ] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_dead_address_does_not_keep_from_the_next() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let alive = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = alive.local_addr().unwrap();
            // Reserved for documentation: nothing answers there, or there is no way to it.
            let dead: SocketAddr = "192.0.2.1:9".parse().unwrap();
            let started = Instant::now();
            let stream = dial_first(&[dead, address]).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), address);
            assert!(started.elapsed() < ADDRESS_TIMEOUT + Duration::from_secs(1));
            assert!(dial_first(&[]).await.is_err());
        });
    }

    #[test]
    fn patience_grows_to_a_bound_and_never_vanishes() {
        let mut backoff = Backoff::default();
        let now = Instant::now();
        let longest: Vec<_> = (0..12).map(|_| backoff.pause(u64::MAX, now)).collect();
        assert_eq!(longest[..3], [250, 500, 1000].map(Duration::from_millis));
        assert_eq!(longest[11], Backoff::LONGEST);
        assert!(backoff.pause(0, now) >= Backoff::LONGEST / 2);
        // Only a connection that lasts ends it.
        backoff.connected(now);
        assert_eq!(backoff.pause(u64::MAX, now + Duration::from_secs(1)), Backoff::LONGEST);
        backoff.connected(now);
        assert_eq!(backoff.pause(u64::MAX, now + Backoff::GOOD), Backoff::FIRST);
    }
}
