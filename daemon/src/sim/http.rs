//! As much of HTTP/1.1 as the venue needs: the head of a GET request in, one response out, then the end.
//!
//! What holds: a request's head is at most [`MAX_HEAD`] bytes; bodies are not read.

use tungstenite::handshake::derive_accept_key;

/// The longest request head, in bytes.
pub(super) const MAX_HEAD: usize = 8_192;
const MAX_HEADERS: usize = 64;

/// A request's head, its escapes undone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    /// What to answer in `Sec-WebSocket-Accept`, if the request asks for a WebSocket of version 13.
    pub(super) accept_key: Option<String>,
    /// How many bytes the head took.
    pub(super) head_len: usize,
}

impl Request {
    /// A GET request without a connection.
    pub(super) fn get(target: &str) -> Self {
        let (path, query) = target_of(target);
        Self { method: "GET".to_owned(), path, query, accept_key: None, head_len: 0 }
    }
}

/// The path and the parameters of a request's target.
fn target_of(target: &str) -> (String, Vec<(String, String)>) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pair = |text: &str| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        (unescape(name), unescape(value))
    };
    (unescape(path), query.split('&').filter(|text| !text.is_empty()).map(pair).collect())
}

/// Reads a request's head. `None` while it is incomplete; the error is one sentence.
pub(super) fn parse(received: &[u8]) -> Result<Option<Request>, String> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    let head_len = match head.parse(received) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if received.len() < MAX_HEAD => return Ok(None),
        Ok(httparse::Status::Partial) => return Err(format!("The request's head exceeds {MAX_HEAD} bytes.")),
        Err(error) => return Err(format!("The request is not HTTP/1.1: {error}.")),
    };
    let (path, query) = target_of(head.path.unwrap_or("/"));
    Ok(Some(Request {
        method: head.method.unwrap_or("").to_owned(),
        path,
        query,
        accept_key: accept_key(head.headers),
        head_len,
    }))
}

fn accept_key(headers: &[httparse::Header<'_>]) -> Option<String> {
    let value = |name: &str| headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value);
    let says = |name: &str, word: &str| {
        let text = value(name).and_then(|value| str::from_utf8(value).ok()).unwrap_or("");
        text.split(',').any(|part| part.trim().eq_ignore_ascii_case(word))
    };
    let asks =
        says("upgrade", "websocket") && says("connection", "upgrade") && says("sec-websocket-version", "13");
    value("sec-websocket-key").filter(|_| asks).map(derive_accept_key)
}

/// Undoes `%40` and the like; what is no escape stays as it is.
fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex =
            bytes.get(i + 1..i + 3).filter(|_| bytes[i] == b'%').and_then(|hex| str::from_utf8(hex).ok());
        if let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            plain.push(byte);
            i += 3;
        } else {
            plain.push(bytes[i]);
            i += 1;
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// An answer with a JSON body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Headers beyond those that every answer has.
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn new(status: u16, body: String) -> Self {
        Self { status, headers: Vec::new(), body }
    }
}

/// A whole response, after which the connection ends.
pub(super) fn response(answer: &Answer) -> Vec<u8> {
    let Answer { status, headers, body } = answer;
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let reason = match status {
        200 => "OK",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        503 => "Service Unavailable",
        _ => "Bad Request",
    };
    let length = body.len();
    format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: application/json;charset=UTF-8\r\n\
         {headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

/// The response that turns the connection into a WebSocket.
pub(super) fn switch_to_websocket(accept_key: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept_key}\r\n\r\n"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_in_pieces_and_unescaped() {
        let text = b"GET /stream?streams=a%40trade%2Fb&x=%zz HTTP/1.1\r\nHost: h\r\n\r\nrest";
        for cut in 0..text.len() - 4 {
            assert_eq!(parse(&text[..cut]), Ok(None), "cut at {cut}");
        }
        let request = parse(text).unwrap().unwrap();
        assert_eq!((request.path.as_str(), request.head_len), ("/stream", text.len() - 4));
        assert_eq!(
            request.query,
            [("streams".to_owned(), "a@trade/b".to_owned()), ("x".to_owned(), "%zz".to_owned())]
        );
        assert_eq!(request.accept_key, None);
    }

    /// Key and answer are RFC 6455's own example (section 1.3).
    #[test]
    fn an_upgrade_is_recognised() {
        let text =
            b"GET /ws HTTP/1.1\r\nHost: h\r\nupgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let request = parse(text).unwrap().unwrap();
        assert_eq!(request.accept_key.as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }

    #[test]
    fn what_is_no_request_is_refused_in_one_sentence() {
        assert!(parse(b"\x16\x03\x01\x02\x00 hello\r\n\r\n").unwrap_err().contains("not HTTP"));
        let endless = format!("GET /{} HTTP/1.1\r\n", "x".repeat(MAX_HEAD));
        assert!(parse(endless.as_bytes()).unwrap_err().contains("exceeds"));
    }
}
