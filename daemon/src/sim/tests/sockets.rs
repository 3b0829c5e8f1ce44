//! Every venue over real sockets, with tungstenite as the client: whole, cut into pieces, under TLS, broken.

use super::super::{Fault, Faults, Sim, SimConfig};
use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tungstenite::protocol::WebSocket;
use tungstenite::{Error, Message};

fn start(faults: Faults, change: impl FnOnce(&mut SimConfig)) -> Sim {
    let mut config = SimConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)), 11);
    config.warm_up = Duration::from_secs(5);
    config.faults = faults;
    change(&mut config);
    Sim::start(config).unwrap()
}

fn tcp(sim: &Sim) -> TcpStream {
    let stream = TcpStream::connect(sim.addr()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

fn open<S: Read + Write>(stream: S, path: &str) -> WebSocket<S> {
    tungstenite::client(format!("ws://sim{path}"), stream).unwrap().0
}

/// Reads until a text satisfies `enough`; all texts until then.
fn until<S: Read + Write>(client: &mut WebSocket<S>, mut enough: impl FnMut(&Value) -> bool) -> Vec<Value> {
    let mut said = Vec::new();
    loop {
        if let Message::Text(text) = client.read().unwrap() {
            let message = serde_json::from_str(&text).unwrap();
            let done = enough(&message);
            said.push(message);
            if done {
                return said;
            }
        }
    }
}

const KRAKEN: &str =
    r#"{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USDT"],"depth":100}}"#;
const EXCHANGE: &str =
    r#"{"type":"subscribe","product_ids":["BTC-USDT"],"channels":["matches","heartbeat","level2_batch"]}"#;
const ADVANCED: &str = r#"{"type":"subscribe","product_ids":["BTC-USDT"],"channel":"market_trades"}"#;

#[test]
fn all_venues_are_served_at_one_port() {
    let sim = start(Faults::none(), |_| {});
    let mut kraken = open(tcp(&sim), "/v2");
    kraken.send(Message::text(KRAKEN)).unwrap();
    let said = until(&mut kraken, |message| message["type"] == "update" && message["channel"] == "book");
    assert_eq!((&said[0]["channel"], &said[1]["success"]), (&"status".into(), &true.into()));
    until(&mut kraken, |message| message["channel"] == "heartbeat");

    let mut exchange = open(tcp(&sim), "/");
    exchange.send(Message::text(EXCHANGE)).unwrap();
    for kind in ["subscriptions", "snapshot", "l2update", "match", "heartbeat"] {
        until(&mut exchange, |message| message["type"] == kind);
    }
    let mut advanced = open(tcp(&sim), "/");
    advanced.send(Message::text(ADVANCED)).unwrap();
    let said = until(&mut advanced, |message| message["events"][0]["type"] == "update");
    assert_eq!(said[0]["sequence_num"], 0);

    let answer = get(&sim, "/products/BTC-USDT/trades?limit=2");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\r\nCB-AFTER: "), "{answer}");
    assert!(get(&sim, "/0/public/Time").contains(r#"{"error":[],"result":{"unixtime":"#));
    assert!(sim.injected().is_empty());
}

fn get(sim: &Sim, target: &str) -> String {
    let mut stream = tcp(sim);
    write!(stream, "GET {target} HTTP/1.1\r\nHost: sim\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Whatever is cut, a correct client puts it together again, and sees the pings in between.
#[test]
fn messages_in_pieces_are_whole_again() {
    let faults = Faults::none().with(Fault::Fragment, 1.0).with(Fault::Ping, 1.0).with(Fault::Segment, 1.0);
    let sim = start(faults, |config| config.trades_per_second = 200.0);
    let mut client = open(tcp(&sim), "/ws/btcusdt@trade/btcusdt@depth@100ms");
    let (since, mut ids, mut pings) = (Instant::now(), Vec::new(), 0);
    while since.elapsed() < Duration::from_millis(1_200) {
        match client.read().unwrap() {
            Message::Ping(payload) => {
                assert_eq!(&payload[..], b"between frames");
                pings += 1;
            }
            Message::Text(text) => {
                let frame: Value = serde_json::from_str(&text).unwrap();
                ids.extend(frame["t"].as_i64());
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(ids.len() > 50 && ids.windows(2).all(|pair| pair[1] == pair[0] + 1));
    assert!((1..=2).contains(&pings), "{pings} pings");
    let fragments = sim.injected().iter().filter(|injected| injected.fault == Fault::Fragment).count();
    assert!(fragments >= ids.len());

    // The bytes themselves: a frame that is not the last of its message, and small pieces.
    let mut raw = tcp(&sim);
    raw.write_all(
        b"GET /ws/btcusdt@trade HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
    .unwrap();
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4_096]);
    while bytes.len() < 2_000 {
        let len = raw.read(&mut chunk).unwrap();
        bytes.extend_from_slice(&chunk[..len]);
    }
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(bytes[head], 0x01, "text, and not the last frame");
}

fn tls() -> (Arc<rustls::ServerConfig>, Arc<rustls::ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(vec!["sim".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = || Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

fn secure(
    sim: &Sim,
    client: &Arc<rustls::ClientConfig>,
) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    let name = rustls::pki_types::ServerName::try_from("sim").unwrap();
    let session = rustls::ClientConnection::new(Arc::clone(client), name).unwrap();
    rustls::StreamOwned::new(session, tcp(sim))
}

#[test]
fn tls_works_in_pieces_too_and_ends_in_half_a_record() {
    let (server, client) = tls();
    let faults = Faults::none().with(Fault::Segment, 0.5).with(Fault::Fragment, 0.5);
    let sim = start(faults, |config| config.tls = Some(Arc::clone(&server)));
    let mut exchange = open(secure(&sim, &client), "/");
    exchange.send(Message::text(EXCHANGE)).unwrap();
    until(&mut exchange, |message| message["type"] == "heartbeat");
    let mut answer = String::new();
    let mut rest = secure(&sim, &client);
    rest.write_all(b"GET /api/v3/ping HTTP/1.1\r\nHost: sim\r\n\r\n").unwrap();
    rest.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("{}"), "{answer}");
    drop(sim);

    let sim = start(Faults::none().with(Fault::HalfRecord, 600.0), |config| config.tls = Some(server));
    let mut broken = open(secure(&sim, &client), "/ws/btcusdt@bookTicker");
    let error = std::iter::repeat_with(|| broken.read()).find_map(Result::err).unwrap();
    let Error::Io(error) = error else { panic!("{error}") };
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{error}");
    assert!(broken.get_ref().conn.wants_read());
    assert!(sim.injected().iter().any(|injected| injected.fault == Fault::HalfRecord));
}

/// The files that the command line names.
#[test]
fn certificates_are_read_from_pem_files() {
    let made = rcgen::generate_simple_self_signed(vec!["sim".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    let refusal = super::super::tls(&certificate, &key).unwrap_err().to_string();
    assert!(refusal.contains("key.pem"), "{refusal}");
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let server = super::super::tls(&certificate, &key).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["sim".to_owned()]).unwrap();
    std::fs::write(&key, other.signing_key.serialize_pem()).unwrap();
    assert!(super::super::tls(&certificate, &key).is_err(), "a key that is another certificate's");

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let sim = start(Faults::none(), |config| config.tls = Some(server));
    let mut kraken = open(secure(&sim, &Arc::new(client)), "/v2");
    until(&mut kraken, |message| message["channel"] == "status");
}

/// Advanced Trade wants a message for each channel, more in a second than Binance takes.
#[test]
fn only_binance_is_strict_with_requests() {
    let sim = start(Faults::none(), |config| config.messages_per_second = 5);
    let mut advanced = open(tcp(&sim), "/");
    for channel in ["market_trades", "level2", "ticker", "candles", "heartbeats", "market_trades", "level2"] {
        let text = format!(r#"{{"type":"subscribe","product_ids":["BTC-USDT"],"channel":"{channel}"}}"#);
        advanced.send(Message::text(text)).unwrap();
    }
    until(&mut advanced, |message| message["channel"] == "heartbeats");
}

#[test]
fn connections_are_closed_and_reset() {
    let sim = start(Faults::none().with(Fault::Close, 600.0), |_| {});
    let mut client = open(tcp(&sim), "/ws/btcusdt@bookTicker");
    let frame = loop {
        if let Message::Close(frame) = client.read().unwrap() {
            break frame.unwrap();
        }
    };
    assert!([1001, 1011, 1012, 1013].contains(&u16::from(frame.code)), "{frame}");
    drop(sim);
    let sim = start(Faults::none().with(Fault::Abort, 600.0), |_| {});
    let mut client = open(tcp(&sim), "/ws/btcusdt@bookTicker");
    let error = std::iter::repeat_with(|| client.read()).find_map(Result::err).unwrap();
    let Error::Io(error) = error else { panic!("{error}") };
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let mut second = open(tcp(&sim), "/ws/btcusdt@bookTicker");
    assert!(std::iter::repeat_with(|| second.read()).find_map(Result::err).is_some());
    let connections: Vec<u64> = sim.injected().iter().map(|injected| injected.connection).collect();
    assert_eq!(connections, [1, 2], "sessions are numbered");
    // Without TLS there are no records to halve.
    drop(sim);
    let sim = start(Faults::none().with(Fault::HalfRecord, 6_000.0), |_| {});
    let mut client = open(tcp(&sim), "/ws/btcusdt@kline_1s");
    until(&mut client, |_| true);
    assert!(sim.injected().is_empty());
}

#[test]
fn rest_is_slow_and_fails() {
    let sim = start(Faults::none().with(Fault::RestError, 1.0), |_| {});
    let answer = get(&sim, "/api/v3/time");
    assert!(answer.starts_with("HTTP/1.1 429 Too") || answer.starts_with("HTTP/1.1 503 Service"), "{answer}");
    drop(sim);
    let sim = start(Faults::none().with(Fault::SlowRest, 1.0), |_| {});
    let since = Instant::now();
    // Four at once, so that the slowest of them decides how long this takes.
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..4).map(|_| scope.spawn(|| get(&sim, "/api/v3/time"))).collect();
        assert!(all.into_iter().all(|one| one.join().unwrap().starts_with("HTTP/1.1 200")));
    });
    let took = since.elapsed();
    assert!((Duration::from_millis(300)..Duration::from_secs(6)).contains(&took), "{took:?}");
    assert_eq!(sim.injected().len(), 4);
}
