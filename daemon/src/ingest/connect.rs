//! The cold side of a connection: resolve, connect, TLS, WebSocket handshake; again after a break, with patience.

use super::Established;
use anyhow::{Context, ensure};
use market::Venue;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tungstenite::handshake::{client::generate_key, derive_accept_key};

/// How long everything up to the first frame may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// The longest answer to the handshake.
const MAX_RESPONSE_BYTES: usize = 16 << 10;

/// Where a feed comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path and query of the request, which name the streams.
    pub target: String,
}

impl Endpoint {
    /// The endpoint at `url` (`ws://` or `wss://`, host, optional port and path) for these symbols of a venue.
    pub fn new(url: &str, venue: Venue, symbols: &[String], klines: &[&str]) -> Result<Self, String> {
        let (tls, rest) = match (url.strip_prefix("wss://"), url.strip_prefix("ws://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err(format!("'{url}' begins neither with ws:// nor with wss://")),
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
        let path = path.trim_end_matches('/');
        let target = match venue {
            Venue::Binance => format!("/{path}/stream?streams={}", binance_streams(symbols, klines)),
            other => return Err(format!("feeds of {other} are not implemented yet; binance is")),
        };
        let target = target.replace("//", "/");
        Ok(Self { tls, host: host.to_owned(), port, target })
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Trades for the candles, book tickers for the quote, depth for the venue's clock, and the venue's own candles to
/// compare ours with.
fn binance_streams(symbols: &[String], klines: &[&str]) -> String {
    let mut streams = Vec::new();
    for symbol in symbols {
        let symbol = symbol.to_lowercase();
        streams.extend(["trade", "bookTicker", "depth@100ms"].map(|kind| format!("{symbol}@{kind}")));
        streams.extend(klines.iter().map(|interval| format!("{symbol}@kline_{interval}")));
    }
    streams.join("/")
}

/// The TLS configuration: the system's roots, or those of `ca_file` alone.
pub fn tls_config(ca_file: Option<&Path>) -> anyhow::Result<Arc<rustls::ClientConfig>> {
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

/// Connects the feed at `feed` to its endpoint.
pub async fn connect(
    feed: usize,
    endpoint: &Endpoint,
    tls: Option<&Arc<rustls::ClientConfig>>,
) -> anyhow::Result<Established> {
    let attempt = establish(feed, endpoint, tls);
    let outcome = match tokio::time::timeout(CONNECT_TIMEOUT, attempt).await {
        Ok(outcome) => outcome,
        Err(_) => Err(anyhow::anyhow!("no answer within 15 s")),
    };
    outcome.with_context(|| endpoint.to_string())
}

async fn establish(
    feed: usize,
    endpoint: &Endpoint,
    tls: Option<&Arc<rustls::ClientConfig>>,
) -> anyhow::Result<Established> {
    let Endpoint { host, port, .. } = endpoint;
    let mut stream = TcpStream::connect((host.as_str(), *port)).await.context("cannot connect")?;
    stream.set_nodelay(true)?;
    if !endpoint.tls {
        let residual = upgrade(&mut stream, endpoint).await?;
        return Ok(Established::web_socket(feed, into_blocking(stream)?, None, residual));
    }
    let config = tls.context("the endpoint is encrypted and there is no TLS configuration")?;
    let name = ServerName::try_from(host.clone()).with_context(|| format!("'{host}' is not a host name"))?;
    let connector = tokio_rustls::TlsConnector::from(config.clone());
    let mut encrypted = connector
        .connect(name, stream)
        .await
        .map_err(|error| super::tls::explained(error, host))
        .context("no TLS")?;
    let residual = upgrade(&mut encrypted, endpoint).await?;
    let (stream, connection) = encrypted.into_inner();
    Ok(Established::web_socket(feed, into_blocking(stream)?, Some(Box::new(connection)), residual))
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
    let Endpoint { host, port, target, tls } = endpoint;
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let standard_port = if *tls { 443 } else { 80 };
    let port = if *port == standard_port { String::new() } else { format!(":{port}") };
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {host}{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
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
pub struct Backoff {
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
    pub fn connected(&mut self) {
        self.connected = Some(Instant::now());
    }

    /// How long to wait now. `random` is uniform over all values.
    pub fn pause(&mut self, random: u64) -> Duration {
        if self.connected.take().is_some_and(|since| since.elapsed() >= Self::GOOD) {
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

    #[test]
    fn endpoints() {
        let symbols = ["BTCUSDT".to_owned()];
        let endpoint = |url| Endpoint::new(url, Venue::Binance, &symbols, &["1m"]);
        let streams = "streams=btcusdt@trade/btcusdt@bookTicker/btcusdt@depth@100ms/btcusdt@kline_1m";
        let expected = |tls, host: &str, port, path: &str| Endpoint {
            tls,
            host: host.into(),
            port,
            target: format!("{path}/stream?{streams}"),
        };
        assert_eq!(
            endpoint("wss://stream.binance.com:9443"),
            Ok(expected(true, "stream.binance.com", 9443, ""))
        );
        assert_eq!(endpoint("ws://127.0.0.1:9001/"), Ok(expected(false, "127.0.0.1", 9001, "")));
        assert_eq!(endpoint("ws://[::1]:9001/a/b"), Ok(expected(false, "::1", 9001, "/a/b")));
        assert_eq!(endpoint("wss://host"), Ok(expected(true, "host", 443, "")));
        for bad in
            ["http://x", "ws://", "ws://x:y", "ws://x:99999", "ws://x:0", "ws://a b", "ws://[::1", "ws://[x]"]
        {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn patience_grows_to_a_bound_and_never_vanishes() {
        let mut backoff = Backoff::default();
        let longest: Vec<_> = (0..12).map(|_| backoff.pause(u64::MAX)).collect();
        assert_eq!(longest[..3], [250, 500, 1000].map(Duration::from_millis));
        assert_eq!(longest[11], Backoff::LONGEST);
        assert!(backoff.pause(0) >= Backoff::LONGEST / 2);
    }
}
