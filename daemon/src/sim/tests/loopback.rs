//! The server over real sockets: tungstenite's client, and plain HTTP.

use super::super::{Sim, SimConfig, SimError, SymbolSpec};
use super::fixed;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Message, WebSocket};

type Client = WebSocket<MaybeTlsStream<TcpStream>>;

fn config() -> SimConfig {
    let mut config = SimConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)), 11);
    config.warm_up = Duration::from_secs(10);
    config
}

fn connect(sim: &Sim, path: &str) -> Client {
    let (client, response) = tungstenite::connect(format!("ws://{}{path}", sim.addr())).unwrap();
    assert_eq!(response.status(), 101);
    if let MaybeTlsStream::Plain(stream) = client.get_ref() {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    }
    client
}

/// The next text message; pings are answered on the way.
fn next(client: &mut Client) -> Value {
    loop {
        if let Message::Text(text) = client.read().unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

fn ask(client: &mut Client, request: &str) -> Value {
    client.send(Message::text(request)).unwrap();
    loop {
        let answer = next(client);
        if answer.get("id").is_some() {
            return answer;
        }
    }
}

/// The code and reason with which the server closes, however much it says before.
fn goodbye(client: &mut Client) -> (CloseCode, String) {
    loop {
        if let Message::Close(frame) = client.read().unwrap() {
            let frame = frame.unwrap();
            return (frame.code, frame.reason.to_string());
        }
    }
}

fn http(sim: &Sim, request: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(sim.addr()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
    assert_eq!(length, body.len().to_string());
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
}

fn get(sim: &Sim, target: &str) -> (u16, Value) {
    http(sim, &format!("GET {target} HTTP/1.1\r\nHost: sim\r\n\r\n"))
}

#[test]
fn streams_come_raw_combined_and_on_subscription() {
    let sim = Sim::start(config()).unwrap();

    let mut raw = connect(&sim, "/ws/btcusdt@trade/btcusdt@bookTicker");
    let seen: Vec<Value> = (0..200).map(|_| next(&mut raw)).collect();
    assert!(
        seen.iter().all(|frame| frame["s"] == "BTCUSDT" && (frame["e"] == "trade" || frame["e"].is_null()))
    );
    assert!(seen.iter().any(|frame| frame["e"] == "trade") && seen.iter().any(|frame| frame["e"].is_null()));

    let mut combined = connect(&sim, "/stream?streams=ethusdt%40aggTrade/solusdt@kline_1s");
    let seen: Vec<Value> = (0..20).map(|_| next(&mut combined)).collect();
    for frame in &seen {
        let stream = if frame["data"]["e"] == "kline" { "solusdt@kline_1s" } else { "ethusdt@aggTrade" };
        assert_eq!(frame["stream"], stream);
    }

    let mut later = connect(&sim, "/ws");
    let subscribe = r#"{"method":"SUBSCRIBE","params":["adausdt@depth@100ms"],"id":7}"#;
    assert_eq!(ask(&mut later, subscribe), json!({"result": null, "id": 7}));
    assert_eq!(next(&mut later)["e"], "depthUpdate");
    let unsubscribe = r#"{"method":"UNSUBSCRIBE","params":["adausdt@depth@100ms"],"id":8}"#;
    assert_eq!(ask(&mut later, unsubscribe), json!({"result": null, "id": 8}));
    let list = r#"{"method":"LIST_SUBSCRIPTIONS","id":9}"#;
    assert_eq!(ask(&mut later, list), json!({"result": [], "id": 9}));
    assert_eq!(ask(&mut later, "nonsense")["error"]["code"], 3);

    raw.close(None).unwrap();
    let closed = std::iter::repeat_with(|| raw.read()).find_map(Result::err).unwrap();
    assert!(matches!(closed, tungstenite::Error::ConnectionClosed), "{closed}");
}

#[test]
fn pings_must_be_answered_with_their_payload() {
    let mut config = config();
    config.ping_interval = Duration::from_millis(150);
    config.messages_per_second = 50;
    let sim = Sim::start(config).unwrap();

    // tungstenite's client answers as it reads, and lives on.
    let mut polite = connect(&sim, "/ws/btcusdt@kline_1s");
    let (since, mut pings) = (Instant::now(), 0);
    while since.elapsed() < Duration::from_millis(1_500) {
        if let Message::Ping(payload) = polite.read().unwrap() {
            assert!(str::from_utf8(&payload).unwrap().parse::<i64>().unwrap() > super::START_MS);
            pings += 1;
        }
    }
    assert!(pings >= 4, "{pings} pings");

    // A client below that library sends pongs of its own, which are allowed but prove nothing.
    let mut rude = TcpStream::connect(sim.addr()).unwrap();
    rude.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let hello = "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    rude.write_all(hello.as_bytes()).unwrap();
    let (since, mut received, mut chunk) = (Instant::now(), Vec::new(), [0; 1_024]);
    while !received.ends_with(b"Pong timeout") && since.elapsed() < Duration::from_secs(4) {
        let len = rude.read(&mut chunk).unwrap();
        received.extend_from_slice(&chunk[..len]);
        rude.write_all(&[0x8a, 0x81, 0, 0, 0, 0, b'x']).unwrap();
    }
    let text = String::from_utf8_lossy(&received);
    assert!(text.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{text}");
    assert!(text.ends_with("Pong timeout"), "{text}");
}

#[test]
fn a_client_that_sends_too_much_or_nonsense_is_told_why() {
    let mut config = config();
    config.messages_per_second = 5;
    let sim = Sim::start(config).unwrap();
    let mut eager = connect(&sim, "/ws");
    for _ in 0..6 {
        eager.send(Message::Pong("x".into())).unwrap();
    }
    assert_eq!(goodbye(&mut eager), (CloseCode::Policy, "Too many requests".to_owned()));

    let mut large = connect(&sim, "/ws");
    let _ = large.send(Message::text("x".repeat(100_000))); // The server may close while this is under way.
    assert_eq!(goodbye(&mut large).0, CloseCode::Size);

    let mut broken = connect(&sim, "/ws");
    if let MaybeTlsStream::Plain(stream) = broken.get_mut() {
        stream.write_all(&[0x81, 0x01, b'x']).unwrap(); // A client's frame must be masked.
    }
    assert_eq!(goodbye(&mut broken).0, CloseCode::Protocol);

    let refused = tungstenite::connect(format!("ws://{}/ws/nosuch@trade", sim.addr())).unwrap_err();
    assert!(matches!(refused, tungstenite::Error::Http(response) if response.status() == 400));
}

#[test]
fn rest_answers_agree_with_the_streams() {
    let sim = Sim::start(config()).unwrap();
    let mut client = connect(&sim, "/ws/btcusdt@kline_1s/btcusdt@depth@100ms/btcusdt@trade");
    let (mut bars, mut first_update, mut trade) = (Vec::new(), None, None);
    while bars.len() < 3 || first_update.is_none() || trade.is_none() {
        let frame = next(&mut client);
        match frame["e"].as_str() {
            Some("kline") => bars.push(frame["k"].clone()),
            Some("trade") => trade = Some(frame),
            _ => first_update = first_update.or(frame["U"].as_u64()),
        }
    }
    let (status, rows) = get(&sim, "/api/v3/klines?symbol=BTCUSDT&interval=1s&limit=10");
    assert_eq!((status, rows.as_array().unwrap().len()), (200, 10));
    for bar in &bars {
        let row = rows.as_array().unwrap().iter().find(|row| row[0] == bar["t"]).unwrap();
        let fields = ["t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q", "B"];
        assert_eq!(*row, Value::from_iter(fields.map(|field| bar[field].clone())));
    }
    let (_, depth) = get(&sim, "/api/v3/depth?symbol=BTCUSDT&limit=1000");
    assert!(depth["lastUpdateId"].as_u64().unwrap() + 1 >= first_update.unwrap());
    assert!(fixed(&depth["bids"][0][0]) < fixed(&depth["asks"][0][0]));

    let trade = trade.unwrap();
    let (_, trades) = get(&sim, "/api/v3/trades?symbol=BTCUSDT&limit=1000");
    let row = trades.as_array().unwrap().iter().find(|row| row["id"] == trade["t"]).unwrap();
    assert_eq!([&row["price"], &row["qty"], &row["time"]], [&trade["p"], &trade["q"], &trade["T"]]);
    let (_, sums) = get(&sim, "/api/v3/aggTrades?symbol=BTCUSDT&limit=3");
    let target = format!("/api/v3/aggTrades?symbol=BTCUSDT&fromId={}&limit=3", sums[0]["a"]);
    assert_eq!(get(&sim, &target).1, sums);
    let (_, info) = get(&sim, "/api/v3/exchangeInfo?symbol=ADAUSDT");
    assert_eq!(info["symbols"].as_array().unwrap().len(), 1);
    assert_eq!(info["symbols"][0]["filters"][0]["tickSize"], "0.00010000");
    assert_eq!(get(&sim, "/api/v3/exchangeInfo").1["symbols"].as_array().unwrap().len(), 4);
    assert!(get(&sim, "/api/v3/time").1["serverTime"].as_i64().unwrap() > super::START_MS);
}

#[test]
fn bad_requests_get_binances_codes() {
    let sim = Sim::start(config()).unwrap();
    for (target, status, code) in [
        ("/api/v3/depth", 400, -1102),
        ("/api/v3/depth?symbol=NOSUCH", 400, -1121),
        ("/api/v3/depth?symbol=BTCUSDT&limit=ten", 400, -1100),
        ("/api/v3/depth?symbol=BTCUSDT&limit=0", 400, -1130),
        ("/api/v3/depth?symbol=BTCUSDT&limt=5", 400, -1104),
        ("/api/v3/klines?symbol=BTCUSDT&interval=2s", 400, -1120),
        ("/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime=99999999999999999999", 400, -1130),
        ("/api/v3/aggTrades?symbol=BTCUSDT&fromId=1&startTime=1", 400, -1130),
        ("/api/v4/nothing", 404, -1),
        ("/ws/btcusdt@trade", 426, -1),
        ("/stream?strems=btcusdt@trade", 400, -1),
    ] {
        let (got, body) = get(&sim, target);
        assert_eq!((got, &body["code"]), (status, &json!(code)), "{target}: {body}");
        assert!(body["msg"].as_str().unwrap().ends_with('.'), "{body}");
    }
    assert_eq!(http(&sim, "POST /api/v3/time HTTP/1.1\r\nHost: h\r\n\r\n").0, 405);
    assert_eq!(http(&sim, "\x16\x03\x01 hello\r\n\r\n").0, 400);
    assert_eq!(http(&sim, &format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(20_000))).0, 400);
}

/// With room for two, a third is refused, until the client that never reads has been dropped.
#[test]
fn a_client_that_never_reads_is_dropped_while_another_goes_on() {
    let mut config = config();
    config.warm_up = Duration::ZERO;
    config.trades_per_second = 5_000.0;
    config.queue_bytes = 65_536;
    config.max_connections = 2;
    let sim = Sim::start(config).unwrap();
    let all: Vec<String> = SymbolSpec::defaults()
        .iter()
        .map(|spec| spec.name().to_ascii_lowercase())
        .flat_map(|symbol| {
            ["trade", "aggTrade", "bookTicker", "depth@100ms"].map(|topic| format!("{symbol}@{topic}"))
        })
        .collect();
    let _never_reads = connect(&sim, &format!("/ws/{}", all.join("/")));
    let mut reads = connect(&sim, "/ws/btcusdt@kline_1s");
    assert_eq!(get(&sim, "/api/v3/time").0, 503);

    let since = Instant::now();
    let mut last = next(&mut reads)["k"]["t"].as_i64().unwrap();
    while get(&sim, "/api/v3/time").0 == 503 {
        assert!(since.elapsed() < Duration::from_secs(30), "the client that never reads is still there");
        let bar = next(&mut reads);
        assert_eq!(bar["k"]["t"].as_i64().unwrap(), last + 1_000, "the reader misses nothing");
        last += 1_000;
    }
}

#[test]
fn a_dropped_venue_says_goodbye_and_frees_its_port() {
    let sim = Sim::start(config()).unwrap();
    let address = sim.addr();
    let mut client = connect(&sim, "/ws");
    std::thread::sleep(Duration::from_millis(20)); // The session begins with the server's next turn.
    let since = Instant::now();
    drop(sim);
    assert!(since.elapsed() < Duration::from_millis(500));
    assert_eq!(goodbye(&mut client).0, CloseCode::Away);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn what_cannot_be_simulated_is_refused_in_one_sentence() {
    let refusal = |change: &dyn Fn(&mut SimConfig)| {
        let mut config = config();
        change(&mut config);
        Sim::start(config).unwrap_err().to_string()
    };
    assert!(refusal(&|c| c.symbols.clear()).contains("1 to 64 symbols"));
    assert!(
        refusal(&|c| c.symbols[1] = c.symbols[0].clone())
            .contains("BTCUSDT cannot be simulated: it is there twice")
    );
    assert!(refusal(&|c| c.symbols[0].lot = 1).contains("quote volumes are exact"));
    assert!(refusal(&|c| c.symbols[0].tick = 0).contains("must be positive"));
    assert!(refusal(&|c| c.trades_per_second = f64::NAN).contains("trades_per_second"));
    assert!(refusal(&|c| c.ping_interval = Duration::ZERO).contains("ping_interval"));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config();
    config.listen = taken.local_addr().unwrap();
    assert!(matches!(Sim::start(config), Err(SimError::Listen { .. })));
}
