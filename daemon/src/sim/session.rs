//! One WebSocket client: what it subscribed to, what it may send, and how it stays alive or is let go.
//!
//! What holds: nothing here blocks; at most `queue_bytes` wait for the client; a client that leaves a ping
//! unanswered, sends too much or breaks the protocol is disconnected. A pong counts only if it carries the
//! payload of a ping: others are allowed, but prove nothing.

use super::streams::Streams;
use serde_json::Value;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Bytes, Error, Message, Utf8Bytes, WebSocket};

/// The longest message that a client may send, in bytes; 1,024 stream names fit.
const MAX_MESSAGE: usize = 65_536;
/// How much is gathered before it is written without waiting for the end of the turn.
const WRITE_CHUNK: usize = 16_384;
/// How many messages of one client are read in a turn.
const READS_A_TURN: usize = 32;
/// How long a client has to answer a close frame.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// What a client may do; see `SimConfig` for each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) ping_interval: Duration,
    pub(super) messages_per_second: u32,
    pub(super) queue_bytes: usize,
}

/// Why a session is over.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("the client closed the connection")]
    Closed,
    #[error("the client did not read what was sent to it")]
    TooSlow,
    #[error("the connection failed: {0}")]
    Failed(Box<Error>),
}

#[derive(Debug)]
pub(super) struct Session {
    socket: WebSocket<TcpStream>,
    limits: Limits,
    combined: bool,
    subscribed: Vec<bool>,
    next_ping: Instant,
    unanswered: VecDeque<(Instant, Bytes)>,
    /// When the present second of the client's messages began, and how many came in it.
    second: (Instant, u32),
    /// When a close frame was sent.
    closing: Option<Instant>,
    /// Whether what the client sends can no longer be read as frames.
    broken: bool,
}

impl Session {
    /// Takes over a non-blocking `stream` after the handshake; `received` are bytes that came after it.
    pub(super) fn new(
        stream: TcpStream,
        received: Vec<u8>,
        limits: Limits,
        combined: bool,
        subscribed: Vec<bool>,
        now: Instant,
    ) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(4_096)
            .write_buffer_size(WRITE_CHUNK)
            .max_write_buffer_size(limits.queue_bytes)
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        Self {
            socket: WebSocket::from_partially_read(stream, received, Role::Server, Some(config)),
            limits,
            combined,
            subscribed,
            next_ping: now + limits.ping_interval,
            unanswered: VecDeque::new(),
            second: (now, 0),
            closing: None,
            broken: false,
        }
    }

    pub(super) fn wants(&self, stream: usize) -> bool {
        self.closing.is_none() && self.subscribed[stream]
    }

    /// Whether frames are to be wrapped with their stream's name.
    pub(super) fn combined(&self) -> bool {
        self.combined
    }

    pub(super) fn send(&mut self, text: Utf8Bytes) -> Result<(), Ended> {
        pending(self.socket.write(Message::Text(text)))
    }

    /// Answers what came in, pings when it is time, and writes as much as the client takes.
    pub(super) fn turn(&mut self, now: Instant, now_ms: i64, streams: &Streams) -> Result<(), Ended> {
        for _ in 0..READS_A_TURN {
            if self.broken {
                self.discard()?;
                break;
            }
            match self.socket.read() {
                Ok(message) => self.receive(message, now, streams)?,
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => self.close_for(error, now)?,
            }
        }
        if self.closing.is_some_and(|since| now - since > CLOSE_TIME) {
            return Err(Ended::Closed);
        }
        self.keep_alive(now, now_ms)?;
        pending(self.socket.flush())
    }

    /// Says goodbye; the session ends when the client answers or takes too long.
    pub(super) fn close(&mut self, code: CloseCode, reason: &'static str, now: Instant) -> Result<(), Ended> {
        if self.closing.is_some() {
            return Ok(());
        }
        self.closing = Some(now);
        pending(self.socket.close(Some(CloseFrame { code, reason: reason.into() })))?;
        pending(self.socket.flush())
    }

    /// Tells the client what it did wrong, where the protocol has a word for it.
    fn close_for(&mut self, error: Error, now: Instant) -> Result<(), Ended> {
        let (code, reason) = match error {
            Error::Protocol(_) => (CloseCode::Protocol, "Invalid frame"),
            Error::Utf8(_) => (CloseCode::Invalid, "Text is not UTF-8"),
            Error::Capacity(_) => (CloseCode::Size, "Payload too long"),
            Error::ConnectionClosed | Error::AlreadyClosed => return Err(Ended::Closed),
            error => return Err(Ended::Failed(Box::new(error))),
        };
        self.broken = true;
        self.close(code, reason, now)
    }

    /// Throws away what a broken client still sends: ending over unread bytes would lose the goodbye.
    fn discard(&mut self) -> Result<(), Ended> {
        match self.socket.get_mut().read(&mut [0; 4_096]) {
            Ok(len) if len > 0 => Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            _ => Err(Ended::Closed),
        }
    }

    fn receive(&mut self, message: Message, now: Instant, streams: &Streams) -> Result<(), Ended> {
        if self.closing.is_some() || message.is_close() {
            return Ok(()); // The socket answers a close frame by itself, then ends.
        }
        if now - self.second.0 >= Duration::from_secs(1) {
            self.second = (now, 0);
        }
        self.second.1 += 1;
        if self.second.1 > self.limits.messages_per_second {
            return self.close(CloseCode::Policy, "Too many requests", now);
        }
        match message {
            Message::Text(text) => self.control(text.as_bytes(), streams),
            Message::Binary(bytes) => self.control(&bytes, streams),
            Message::Pong(payload) => {
                if let Some(place) = self.unanswered.iter().position(|(_, sent)| *sent == payload) {
                    self.unanswered.drain(..=place);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn keep_alive(&mut self, now: Instant, now_ms: i64) -> Result<(), Ended> {
        if self.closing.is_some() || now < self.next_ping {
            return Ok(());
        }
        self.next_ping = now + self.limits.ping_interval;
        if self.unanswered.front().is_some_and(|(sent, _)| now - *sent >= 3 * self.limits.ping_interval) {
            return self.close(CloseCode::Policy, "Pong timeout", now);
        }
        let payload = Bytes::from(now_ms.to_string());
        self.unanswered.push_back((now, payload.clone()));
        pending(self.socket.write(Message::Ping(payload)))
    }

    fn control(&mut self, request: &[u8], streams: &Streams) -> Result<(), Ended> {
        let answer = self::control(request, streams, &mut self.subscribed, &mut self.combined);
        self.send(answer.into())
    }
}

/// A write that must wait for the client is no error: the bytes are queued.
fn pending(written: Result<(), Error>) -> Result<(), Ended> {
    match written {
        Ok(()) => Ok(()),
        Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        Err(Error::WriteBufferFull(_)) => Err(Ended::TooSlow),
        Err(Error::ConnectionClosed | Error::AlreadyClosed) => Err(Ended::Closed),
        Err(error) => Err(Ended::Failed(Box::new(error))),
    }
}

/// A control request that cannot be met, in Binance's words and numbers.
#[derive(Debug, thiserror::Error)]
enum ControlError {
    #[error("Unknown property")]
    Property,
    #[error("Invalid value type: expected Boolean")]
    Boolean,
    #[error("Invalid request: property name must be a string")]
    PropertyName,
    #[error(
        "Invalid request: request ID must be an unsigned integer, a string of at most 36 characters or null"
    )]
    Id,
    #[error(
        "Invalid request: unknown variant {0}, expected one of SUBSCRIBE, UNSUBSCRIBE, LIST_SUBSCRIPTIONS, \
         SET_PROPERTY, GET_PROPERTY"
    )]
    Method(String),
    #[error("Invalid request: missing field `method`")]
    NoMethod,
    #[error("Invalid request: params must be a list of stream names")]
    Params,
    #[error("Invalid request: there is no stream {0}")]
    Stream(String),
    #[error("Invalid JSON: {0}")]
    Json(serde_json::Error),
}

impl ControlError {
    fn code(&self) -> u8 {
        match self {
            Self::Property => 0,
            Self::Boolean => 1,
            Self::Json(_) => 3,
            _ => 2,
        }
    }
}

/// The answer to a control request, which it carries out.
fn control(request: &[u8], streams: &Streams, subscribed: &mut [bool], combined: &mut bool) -> String {
    let request = serde_json::from_slice::<Value>(request);
    let id = request.as_ref().map_or(Value::Null, |request| request["id"].clone());
    let good_id = match &id {
        Value::Null | Value::Number(_) => id.is_null() || id.is_u64(),
        Value::String(text) => text.chars().count() <= 36,
        _ => false,
    };
    let outcome = match request {
        Err(error) => Err(ControlError::Json(error)),
        Ok(_) if !good_id => Err(ControlError::Id),
        Ok(request) => carry_out(&request, streams, subscribed, combined),
    };
    let id = if good_id { id } else { Value::Null };
    match outcome {
        Ok(result) => format!(r#"{{"result":{result},"id":{id}}}"#),
        Err(error) => {
            let (code, message) = (error.code(), Value::from(error.to_string()));
            format!(r#"{{"error":{{"code":{code},"msg":{message}}},"id":{id}}}"#)
        }
    }
}

fn carry_out(
    request: &Value,
    streams: &Streams,
    subscribed: &mut [bool],
    combined: &mut bool,
) -> Result<Value, ControlError> {
    let method = request["method"].as_str().ok_or(ControlError::NoMethod)?;
    match method {
        "SUBSCRIBE" | "UNSUBSCRIBE" => {
            // All names are looked up before one is changed: a bad request changes nothing.
            for stream in named(&request["params"], streams)? {
                subscribed[stream] = method == "SUBSCRIBE";
            }
            Ok(Value::Null)
        }
        "LIST_SUBSCRIPTIONS" => {
            Ok((0..streams.len()).filter(|&i| subscribed[i]).map(|i| streams.name(i)).collect())
        }
        "SET_PROPERTY" | "GET_PROPERTY" => {
            match request["params"][0].as_str() {
                Some("combined") => {}
                Some(_) => return Err(ControlError::Property),
                None => return Err(ControlError::PropertyName),
            }
            if method == "GET_PROPERTY" {
                return Ok(Value::Bool(*combined));
            }
            *combined = request["params"][1].as_bool().ok_or(ControlError::Boolean)?;
            Ok(Value::Null)
        }
        other => Err(ControlError::Method(other.to_owned())),
    }
}

fn named(params: &Value, streams: &Streams) -> Result<Vec<usize>, ControlError> {
    let names = params.as_array().filter(|names| !names.is_empty()).ok_or(ControlError::Params)?;
    let find = |name: &Value| {
        let name = name.as_str().ok_or(ControlError::Params)?;
        streams.find(name).ok_or_else(|| ControlError::Stream(name.to_owned()))
    };
    names.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::super::SymbolSpec;
    use super::*;

    #[test]
    fn control_requests_are_answered_in_binances_words() {
        let streams = Streams::new(&SymbolSpec::defaults());
        let (mut subscribed, mut combined) = (vec![false; streams.len()], false);
        let mut ask = |request: &str| control(request.as_bytes(), &streams, &mut subscribed, &mut combined);

        let subscribe = r#"{"method":"SUBSCRIBE","params":["btcusdt@trade","adausdt@kline_1M"],"id":1}"#;
        assert_eq!(ask(subscribe), r#"{"result":null,"id":1}"#);
        let list = r#"{"method":"LIST_SUBSCRIPTIONS","id":"x"}"#;
        assert_eq!(ask(list), r#"{"result":["btcusdt@trade","adausdt@kline_1M"],"id":"x"}"#);
        ask(r#"{"method":"UNSUBSCRIBE","params":["btcusdt@trade"],"id":2}"#);
        let half_bad = r#"{"method":"SUBSCRIBE","params":["btcusdt@depth","nosuch@trade"],"id":3}"#;
        assert!(
            ask(half_bad)
                .starts_with(r#"{"error":{"code":2,"msg":"Invalid request: there is no stream nosuch"#)
        );
        assert_eq!(ask(list), r#"{"result":["adausdt@kline_1M"],"id":"x"}"#);

        assert_eq!(
            ask(r#"{"method":"SET_PROPERTY","params":["combined",true],"id":4}"#),
            r#"{"result":null,"id":4}"#
        );
        assert_eq!(
            ask(r#"{"method":"GET_PROPERTY","params":["combined"],"id":5}"#),
            r#"{"result":true,"id":5}"#
        );
        for (bad, code) in [
            (r#"{"method":"SET_PROPERTY","params":["shade",true],"id":1}"#, 0),
            (r#"{"method":"SET_PROPERTY","params":["combined",1],"id":1}"#, 1),
            (r#"{"method":"DANCE","id":1}"#, 2),
            (r#"{"method":"SUBSCRIBE","params":"btcusdt@trade","id":1}"#, 2),
            (r#"{"method":"SUBSCRIBE","params":[],"id":1}"#, 2),
            (r#"{"method":"LIST_SUBSCRIPTIONS","id":-1}"#, 2),
            (r#"{"id":1}"#, 2),
            ("[]", 2),
            ("{", 3),
        ] {
            let answer = ask(bad);
            assert!(answer.starts_with(&format!(r#"{{"error":{{"code":{code},"#)), "{bad} got {answer}");
        }
    }
}
