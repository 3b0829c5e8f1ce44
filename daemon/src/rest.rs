//! Asking a venue over HTTP, on the cold plane: one GET at a time on a connection of its own.
//!
//! What holds: a request takes at most 10 s; an answer has at most 16 MiB; a host gets at most four requests at once
//! and five in a second, whoever asks; when it says that it is busy, it is left alone for as long as it says.
//! Redirections are not followed.

use crate::ingest::connect::{Address, dial, encrypt};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HOST, HeaderMap, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// How long a request may take, from its connection to the last byte of its answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer.
const MAX_ANSWER_BYTES: usize = 16 << 20;
/// Requests to one host at a time.
const AT_ONCE: usize = 4;
/// Requests to one host in a second, on average.
const PER_SECOND: u32 = 5;
/// Requests that may be made at once after a pause.
const BURST: u32 = 5;
/// How long a host that is busy is left alone, if it does not say how long.
const BUSY: Duration = Duration::from_secs(5);
/// The longest time that a host may ask for.
const LONGEST_BUSY: Duration = Duration::from_secs(3 * 24 * 3_600);
/// So much of a refusal goes into the log.
const MAX_EXCERPT_CHARS: usize = 200;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestFailure {
    /// No connection, or it broke.
    #[error("{host}: no answer: {reason}")]
    Unreachable {
        /// Who was asked.
        host: String,
        /// Why not.
        reason: String,
    },
    /// The host wants to be left alone.
    #[error("{host} is busy and asks to be left alone for {} s", .pause.as_secs())]
    Busy {
        /// Who was asked.
        host: String,
        /// For how long.
        pause: Duration,
    },
    /// It answered, but not with what was asked for.
    #[error("{host} answered {code}: {excerpt}")]
    Status {
        /// Who was asked.
        host: String,
        /// The status code.
        code: u16,
        /// The beginning of the answer.
        excerpt: String,
    },
    /// The answer is too long to be one.
    #[error("{host} answered with more than 16 MiB")]
    TooLong {
        /// Who was asked.
        host: String,
    },
}

impl RestFailure {
    /// Whether the host will say the same when it is asked again.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Status { code, .. } => matches!(code, 300..500) && !matches!(code, 408 | 425),
            _ => false,
        }
    }
}

/// What is known of each host: shared by all that ask it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hosts(Arc<Mutex<HashMap<String, Arc<Host>>>>);

#[derive(Debug)]
struct Host {
    places: Semaphore,
    allowance: Mutex<Allowance>,
}

/// When a host may be asked.
#[derive(Debug)]
struct Allowance {
    /// When all of the burst is there again.
    full_at: Instant,
    /// Until when the host is left alone.
    busy_until: Instant,
}

impl Allowance {
    /// Takes a request's turn: how long it has to wait for it.
    fn take(&mut self, now: Instant) -> Duration {
        let each = Duration::from_secs(1) / PER_SECOND;
        self.full_at = self.full_at.max(now) + each;
        self.full_at.saturating_duration_since(now).saturating_sub(each * BURST)
    }
}

impl Hosts {
    fn of(&self, host: &str) -> Arc<Host> {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let allowance = Allowance { full_at: Instant::now(), busy_until: Instant::now() };
            Arc::new(Host { places: Semaphore::new(AT_ONCE), allowance: Mutex::new(allowance) })
        };
        hosts.entry(host.to_owned()).or_insert_with(new).clone()
    }
}

/// Asks one host.
#[derive(Debug, Clone)]
pub(crate) struct RestClient {
    address: Arc<Address>,
    tls: Option<Arc<rustls::ClientConfig>>,
    host: Arc<Host>,
}

impl RestClient {
    /// A client for the host of `address`.
    pub(crate) fn new(address: Address, tls: Option<Arc<rustls::ClientConfig>>, hosts: &Hosts) -> Self {
        let host = hosts.of(&address.host);
        Self { address: Arc::new(address), tls, host }
    }

    /// The answer to a GET of `path`, which stands for a path and a query.
    pub(crate) async fn get(&self, path: &str) -> Result<Vec<u8>, RestFailure> {
        // It is never closed.
        let _place = self.host.places.acquire().await.map_err(|closed| self.unreachable(&closed))?;
        let now = Instant::now();
        let (turn, busy) = {
            let mut allowance = self.host.allowance.lock().unwrap_or_else(PoisonError::into_inner);
            let busy = allowance.busy_until.saturating_duration_since(now);
            (if busy.is_zero() { allowance.take(now) } else { Duration::ZERO }, busy)
        };
        if !busy.is_zero() {
            return Err(self.busy(busy));
        }
        tokio::time::sleep(turn).await;
        match tokio::time::timeout(TIMEOUT, self.ask(path)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.unreachable(&"it took more than 10 s")),
        }
    }

    async fn ask(&self, path: &str) -> Result<Vec<u8>, RestFailure> {
        let stream = dial(&self.address).await.map_err(|error| self.unreachable(&format!("{error:#}")))?;
        if !self.address.tls {
            return self.exchange(stream, path).await;
        }
        let encrypted = encrypt(stream, &self.address, self.tls.as_ref()).await;
        self.exchange(encrypted.map_err(|error| self.unreachable(&format!("{error:#}")))?, path).await
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        path: &str,
    ) -> Result<Vec<u8>, RestFailure> {
        let unreachable = |error: hyper::Error| self.unreachable(&error);
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(64 << 10)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(unreachable)?;
        let request = Request::get(format!("{}{path}", self.address.path))
            .header(HOST, self.address.authority())
            .header(USER_AGENT, concat!("chartd/", env!("CARGO_PKG_VERSION")))
            .body(Empty::<Bytes>::new())
            .map_err(|error| self.unreachable(&error))?;
        let answer = async { self.read(sender.send_request(request).await.map_err(unreachable)?).await };
        let (mut answer, mut connection) = (std::pin::pin!(answer), std::pin::pin!(connection));
        // The connection has to be driven; what it says of its end, the answer says too.
        tokio::select! {
            outcome = &mut answer => outcome,
            _ = &mut connection => answer.await,
        }
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Vec<u8>, RestFailure> {
        let (head, body) = response.into_parts();
        if matches!(head.status.as_u16(), 418 | 429 | 503) {
            let pause = pause(&head.headers).unwrap_or(BUSY).min(LONGEST_BUSY);
            let mut allowance = self.host.allowance.lock().unwrap_or_else(PoisonError::into_inner);
            allowance.busy_until = allowance.busy_until.max(Instant::now() + pause);
            return Err(self.busy(pause));
        }
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await.map_err(|error| {
            match error.is::<LengthLimitError>() {
                true => RestFailure::TooLong { host: self.address.to_string() },
                false => self.unreachable(&error),
            }
        })?;
        let body: Vec<u8> = body.to_bytes().into();
        if head.status.is_success() {
            return Ok(body);
        }
        let excerpt = String::from_utf8_lossy(&body[..body.len().min(4 * MAX_EXCERPT_CHARS)]);
        let excerpt = excerpt.chars().take(MAX_EXCERPT_CHARS).map(|c| if c.is_control() { ' ' } else { c });
        Err(RestFailure::Status {
            host: self.address.to_string(),
            code: head.status.as_u16(),
            excerpt: excerpt.collect(),
        })
    }

    fn unreachable(&self, reason: &dyn std::fmt::Display) -> RestFailure {
        RestFailure::Unreachable { host: self.address.to_string(), reason: reason.to_string() }
    }

    fn busy(&self, pause: Duration) -> RestFailure {
        RestFailure::Busy { host: self.address.to_string(), pause }
    }
}

impl std::fmt::Display for RestClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.address.fmt(f)
    }
}

/// For how long a host wants to be left alone: seconds, or a date (RFC 9110 §10.2.3).
fn pause(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(until.duration_since(jiff::Timestamp::now())).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    }

    /// A server that gives each connection in turn one of these answers. Returns its client, and what was asked.
    async fn server(answers: Vec<Vec<u8>>) -> (RestClient, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/base/", listener.local_addr().unwrap());
        let asked = tokio::spawn(async move {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                asked.push(String::from_utf8(head).unwrap());
                let _ = stream.write_all(&answer).await; // A client that has read enough goes.
            }
            asked
        });
        let address = Address::parse(&url, ["http", "https"]).unwrap();
        (RestClient::new(address, None, &Hosts::default()), asked)
    }

    fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n{body}").into_bytes()
    }

    #[test]
    fn answers_and_refusals() {
        run(async {
            let (client, asked) = server(vec![
                answer("200 OK", "", "[1]"),
                answer("400 Bad Request", "", "{\"msg\":\"Invalid\nsymbol.\"}"),
                answer("302 Found", "Location: http://127.0.0.1:1/\r\n", ""),
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n".to_vec(),
                b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n[".to_vec(),
                b"garbage\r\n\r\n".to_vec(),
                answer("500 Oh", "", ""),
            ])
            .await;
            assert_eq!(client.get("/a?b=%22c%22").await.unwrap(), b"[1]");
            let refused = client.get("/").await.unwrap_err();
            assert!(refused.is_refusal());
            assert!(
                refused.to_string().ends_with("answered 400: {\"msg\":\"Invalid symbol.\"}"),
                "{refused}"
            );
            assert!(client.get("/").await.unwrap_err().is_refusal(), "nothing is followed");
            assert_eq!(client.get("/").await.unwrap(), b"[]");
            for _ in 0..3 {
                assert!(!client.get("/").await.unwrap_err().is_refusal());
            }
            let asked = asked.await.unwrap();
            assert!(asked[0].starts_with("GET /base/a?b=%22c%22 HTTP/1.1\r\n"), "{}", asked[0]);
            assert!(asked[0].contains(&format!("host: {}\r\n", client.address)), "{}", asked[0]);
        });
    }

    #[test]
    fn long_answers_are_cut_off() {
        run(async {
            let endless = |length: &str| {
                let mut answer = format!("HTTP/1.1 200 OK\r\n{length}\r\n").into_bytes();
                answer.resize(MAX_ANSWER_BYTES + 1_000_000, b'0');
                answer
            };
            let (client, _asked) = server(vec![endless(""), endless("Content-Length: 99999999\r\n")]).await;
            for _ in 0..2 {
                let error = client.get("/").await.unwrap_err();
                assert!(matches!(error, RestFailure::TooLong { .. }), "{error}");
            }
        });
    }

    #[test]
    fn a_busy_host_is_left_alone_for_as_long_as_it_says() {
        run(async {
            let (client, asked) = server(vec![
                answer("429 Too Many Requests", "Retry-After: 1\r\n", ""),
                answer("200 OK", "", "[]"),
            ])
            .await;
            let started = Instant::now();
            for _ in 0..3 {
                let error = client.get("/").await.unwrap_err();
                assert!(matches!(error, RestFailure::Busy { .. }), "{error}");
            }
            tokio::time::sleep_until(started + Duration::from_millis(1_100)).await;
            assert_eq!(client.get("/").await.unwrap(), b"[]");
            assert_eq!(asked.await.unwrap().len(), 2, "it was asked while it was busy");
            let mut headers = HeaderMap::new();
            for (text, expected) in
                [("7", Some(7)), ("soon", None), ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0))]
            {
                headers.insert(RETRY_AFTER, text.parse().unwrap());
                assert_eq!(pause(&headers), expected.map(Duration::from_secs), "{text}");
            }
        });
    }

    #[test]
    fn a_host_is_asked_five_times_a_second_after_a_burst() {
        let now = Instant::now();
        let mut allowance = Allowance { full_at: now, busy_until: now };
        let waits: Vec<_> = (0..8).map(|_| allowance.take(now).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 200, 400, 600]);
        assert_eq!(allowance.take(now + Duration::from_secs(60)), Duration::ZERO);
    }

    #[test]
    fn nobody_there_is_an_error() {
        run(async {
            let address = Address::parse("http://127.0.0.1:1", ["http", "https"]).unwrap();
            let error = RestClient::new(address, None, &Hosts::default()).get("/").await.unwrap_err();
            assert!(error.to_string().starts_with("127.0.0.1:1: no answer: cannot connect"), "{error}");
        });
    }
}
