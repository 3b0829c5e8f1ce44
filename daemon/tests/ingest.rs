//! The daemon against servers that behave and servers that do not: it answers as RFC 6455 says, goes on, comes back
//! with patience, and its bars say what they know.

mod common {
    pub(crate) mod daemon;
    pub(crate) mod tls;
    pub(crate) mod venue;
    pub(crate) mod wire;
}

use common::daemon::{Daemon, Feed, wait_until};
use common::tls::{Authority, Fault, records};
use common::venue::{
    Peer, START_MS, Steady, Venue, accept_key, acceptance, header_of, read_request, trade, trades,
};
use common::wire::{BINARY, CLOSE, CONTINUATION, FIN, PING, TEXT, close, frame, header, masked, piece};
use market::CandleState;
use nix::sys::socket::{setsockopt, sockopt};
use shm::status::Counter::*;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

const PONG: u8 = 10;
const BTC: &str = "BTCUSDT";

fn feed(symbol: &str, url: String) -> Feed<'_> {
    Feed { symbol, url, ca_file: None }
}

/// A daemon with one feed, and the venue it comes from.
fn alone() -> Option<(Venue, Daemon)> {
    let venue = Venue::listen();
    let daemon = Daemon::start(&[feed(BTC, venue.url())])?;
    Some((venue, daemon))
}

/// A daemon with a feed from `venue` and one that does everything right.
fn beside_a_good_one(venue: &Venue) -> Option<(Daemon, Steady)> {
    let good = Steady::start();
    let daemon = Daemon::start(&[feed(BTC, venue.url()), feed(Steady::SYMBOL, good.url.clone())])?;
    Some((daemon, good))
}

// What the client says.

#[test]
fn the_request_is_by_the_rules() {
    let Some((venue, daemon)) = alone() else { return };
    let mut requests = Vec::new();
    for _ in 0..2 {
        requests.push(read_request(&mut venue.accept()));
    }
    for request in &requests {
        assert!(request.starts_with("GET /stream?streams=btcusdt@trade"), "{request}");
        assert!(request.lines().next().unwrap().ends_with(" HTTP/1.1"), "{request}");
        assert_eq!(header_of(request, "Host"), Some(venue.address().as_str()));
        assert!(header_of(request, "Upgrade").unwrap().eq_ignore_ascii_case("websocket"));
        assert!(header_of(request, "Connection").unwrap().eq_ignore_ascii_case("upgrade"));
        assert_eq!(header_of(request, "Sec-WebSocket-Version"), Some("13"));
        let key = header_of(request, "Sec-WebSocket-Key").unwrap();
        assert!(key.len() == 24 && key.ends_with("=="), "sixteen bytes in base64: {key}");
    }
    let keys: Vec<_> = requests.iter().map(|request| header_of(request, "Sec-WebSocket-Key")).collect();
    assert_ne!(keys[0], keys[1], "the key must be new for each connection");
    drop(daemon);
}

#[test]
fn pings_are_answered_also_between_pieces() {
    let Some((venue, daemon)) = alone() else { return };
    let mut peer = venue.welcome();
    let trade = trade(BTC, 1, 0);
    let (before, after) = trade.split_at(20);
    let full = [0xa5; 125];
    let frames = [
        frame(PING, b"1700000000"),
        piece(TEXT, before),
        frame(PING, b"between"),
        piece(CONTINUATION, b""),
        frame(PING, b""),
        piece(FIN, after),
        frame(PING, &full),
    ];
    peer.send(&frames.concat());
    for payload in [&b"1700000000"[..], b"between", b"", &full] {
        assert_eq!(peer.next_frame(), Some((PONG, payload.to_vec())));
    }
    daemon.wait_for_trades(BTC, 1);
    assert_eq!(daemon.count(Pings), 4);
    assert_eq!(daemon.count(Disconnects), 0);
}

/// A server that pings much and reads the pongs keeps its connection. RFC 6455 §5.5.3 lets a client answer the
/// latest ping only, but that one it must answer.
#[test]
fn a_burst_of_pings_is_survived_if_the_server_reads() {
    let Some((venue, daemon)) = alone() else { return };
    let mut peer = venue.welcome();
    let pings: Vec<u8> = (0..20_000).flat_map(|n| frame(PING, format!("{n:010}").as_bytes())).collect();
    let mut writing = Peer(peer.0.try_clone().unwrap());
    let writer = thread::spawn(move || writing.0.write_all(&pings));
    loop {
        match peer.next_frame() {
            Some((PONG, payload)) if payload == b"0000019999" => break,
            Some((PONG, _)) => {}
            other => panic!("cut off with {other:?}; {}", daemon.log()),
        }
    }
    writer.join().unwrap().unwrap();
    peer.send(&trades(BTC, 1..=1));
    daemon.wait_for_trades(BTC, 1);
    assert_eq!(daemon.count(Disconnects), 0);
}

#[test]
fn a_close_is_answered_with_its_code() {
    let Some((venue, daemon)) = alone() else { return };
    let good: [&[u8]; 4] = [&[3, 0xe8], &[3, 0xe9], &[0x0f, 0xa0], &[]];
    for (at, code) in good.iter().enumerate() {
        let mut peer = venue.welcome();
        let reason: &[u8] = if code.is_empty() { b"" } else { b"maintenance" };
        // What comes behind a close frame is not read.
        peer.send(&[frame(CLOSE, &[code, reason].concat()), trades(BTC, 1..=9)].concat());
        assert_eq!(peer.next_frame(), Some((CLOSE, code.to_vec())), "close {code:?}");
        assert_eq!(peer.next_frame(), None, "the transport must end");
        daemon.wait_for(Disconnects, at as u64 + 1);
    }
    assert_eq!(daemon.count(Trades), 0);
}

// Coming back.

#[test]
fn it_comes_back_with_growing_pauses_and_hammers_nobody() {
    let Some((venue, daemon)) = alone() else { return };
    let (mut connections, started) = (0, Instant::now());
    while started.elapsed() < Duration::from_secs(3) {
        match venue.accept_now() {
            Some(stream) => {
                connections += 1;
                drop(stream);
            }
            None => thread::sleep(Duration::from_millis(1)),
        }
    }
    assert!((2..=6).contains(&connections), "{connections} connections in 3 s");
    must_grow(&daemon.pauses());
    // Also a server that accepts and goes at once is not hammered.
    let told =
        |count| wait_until(|| format!("{count} pauses; {}", daemon.log()), || daemon.pauses().len() == count);
    told(connections);
    venue.welcome().hang_up();
    told(connections + 1);
    must_grow(&daemon.pauses());
}

/// Each pause is at most twice the bound before and at least half of its own; together they show jitter.
fn must_grow(pauses: &[u64]) {
    assert!(pauses.len() >= 2, "{pauses:?}");
    for (at, pause) in pauses.iter().enumerate() {
        let bound = (250 << at).min(30_000);
        assert!((bound / 2 - 1..=bound).contains(pause), "pause {at} of {pauses:?}");
    }
    let bare = pauses.iter().enumerate().all(|(at, pause)| *pause == 250 << at || *pause == 125 << at);
    assert!(!bare, "no jitter: {pauses:?}");
}

// Handshakes.

type Answer = fn(&str) -> Vec<u8>;

/// Answers that RFC 6455 §4.1 tells a client to refuse.
const REFUSED: [(&str, Answer); 14] = [
    ("403", |_| b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".into()),
    ("200", |_| b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK".into()),
    ("301", |_| b"HTTP/1.1 301 Moved\r\nLocation: ws://127.0.0.1:1/\r\n\r\n".into()),
    ("a status other than 101", |request| acceptance(request).replace("101", "201").into()),
    ("a wrong key", |request| acceptance(&request.replace("Key: ", "Key: x")).into()),
    ("a key in another case", |request| {
        acceptance(request).replace(&accept_key(request), &accept_key(request).to_lowercase()).into()
    }),
    ("no key", |request| acceptance(request).replace("Sec-WebSocket-Accept", "X-Accept").into()),
    ("no upgrade", |request| acceptance(request).replace("Upgrade: websocket\r\n", "").into()),
    ("another upgrade", |request| acceptance(request).replace("websocket", "h2c").into()),
    ("no connection", |request| acceptance(request).replace("Connection: Upgrade\r\n", "").into()),
    ("garbage", |_| [&[0, 0xff, 0x16, 3, 1][..], &[0xaa; 300]].concat()),
    ("an endless head", |request| with(request, &format!("X-Long: {}", "x".repeat(40_000)))),
    ("an extension nobody asked for", |request| {
        with(request, "Sec-WebSocket-Extensions: permessage-deflate")
    }),
    ("a subprotocol nobody asked for", |request| with(request, "Sec-WebSocket-Protocol: chat")),
];

/// The answer that accepts, with one more header.
fn with(request: &str, header: &str) -> Vec<u8> {
    acceptance(request).replacen("\r\n", &format!("\r\n{header}\r\n"), 1).into()
}

#[test]
fn bad_handshakes_are_refused_and_retried() {
    let good = Steady::start();
    let venues: Vec<_> = REFUSED.iter().map(|_| Venue::listen()).collect();
    let silent = Venue::listen();
    let symbols: Vec<_> = (0..REFUSED.len()).map(|at| format!("BAD{at}")).collect();
    let mut feeds: Vec<_> =
        symbols.iter().zip(&venues).map(|(symbol, venue)| feed(symbol, venue.url())).collect();
    feeds.push(feed("SILENT", silent.url()));
    feeds.push(feed(Steady::SYMBOL, good.url.clone()));
    let Some(daemon) = Daemon::start(&feeds) else { return };
    let unanswered = silent.accept();
    let failed: Vec<_> = thread::scope(|scope| {
        let checks: Vec<_> = REFUSED
            .iter()
            .zip(&venues)
            .map(|((what, answer), venue)| (what, scope.spawn(|| must_be_refused(venue, *answer))))
            .collect();
        checks.into_iter().filter_map(|(what, check)| Some((what, check.join().unwrap().err()?))).collect()
    });
    assert!(failed.is_empty(), "{failed:?}; {}", daemon.log());
    assert_eq!(daemon.count(Connects), 1, "only the good feed is connected");
    assert!(daemon.log().contains("403 Forbidden"), "{}", daemon.log());
    good.must_be_unharmed(&daemon);
    drop(unanswered);
}

/// Gives an answer; the client must end the connection and come again.
fn must_be_refused(venue: &Venue, answer: Answer) -> Result<(), &'static str> {
    let mut stream = venue.accept();
    let request = read_request(&mut stream);
    let _ = stream.write_all(&answer(&request)); // It may have gone in the middle of it.
    stream.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    let mut byte = [0];
    match stream.read(&mut byte) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Err("accepted"),
        _ => drop(stream),
    }
    venue.accept();
    Ok(())
}

/// With several feeds, a log line that does not name the server helps nobody.
#[test]
fn a_refusal_names_its_server() {
    let Some((venue, daemon)) = alone() else { return };
    let mut stream = venue.accept();
    read_request(&mut stream);
    stream.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").unwrap();
    wait_until(|| daemon.log(), || daemon.log().contains("403 Forbidden"));
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains("403 Forbidden")).unwrap();
    assert!(line.contains(&venue.address()), "{line}");
}

/// Answers that are unusual and by the rules.
const ACCEPTED: [(&str, Answer); 6] = [
    ("all in lower case", |request| {
        let key = accept_key(request);
        acceptance(request)
            .to_lowercase()
            .replace("http/1.1", "HTTP/1.1")
            .replace(&key.to_lowercase(), &key)
            .into()
    }),
    ("a list of tokens", |request| acceptance(request).replace(": Upgrade", ": keep-alive, Upgrade").into()),
    ("a header in two lines", |request| with(request, "Connection: keep-alive")),
    ("no reason", |request| acceptance(request).replace(" Switching Protocols", "").into()),
    ("other headers", |request| with(request, "Server: x\r\nDate: Mon, 1 Jan 2024 00:00:00 GMT\r\nX-Y: ")),
    ("blanks around values", |request| {
        acceptance(request).replace(": ", ":   ").replace("\r\nC", "  \r\nC").into()
    }),
];

#[test]
fn unusual_handshakes_are_accepted() {
    let venues: Vec<_> = ACCEPTED.iter().map(|_| Venue::listen()).collect();
    let symbols: Vec<_> = (0..ACCEPTED.len()).map(|at| format!("ODD{at}")).collect();
    let feeds: Vec<_> =
        symbols.iter().zip(&venues).map(|(symbol, venue)| feed(symbol, venue.url())).collect();
    let Some(daemon) = Daemon::start(&feeds) else { return };
    let mut streams = Vec::new();
    for (((_, answer), venue), symbol) in ACCEPTED.iter().zip(&venues).zip(&symbols) {
        let mut stream = venue.accept();
        let answer = answer(&read_request(&mut stream));
        // The first trades come in the segment that ends the answer; before that, a byte a segment.
        let (head, last) = answer.split_at(answer.len() - 1);
        head.iter().for_each(|byte| stream.write_all(&[*byte]).unwrap());
        stream.write_all(&[last, &trades(symbol, 1..=3)].concat()).unwrap();
        streams.push(stream);
    }
    let missing = || -> Vec<_> {
        ACCEPTED
            .iter()
            .zip(&symbols)
            .filter(|(_, symbol)| daemon.trades(symbol) < 3)
            .map(|((what, _), _)| what)
            .collect()
    };
    wait_until(|| format!("trades after {:?}; {}", missing(), daemon.log()), || missing().is_empty());
}

// Servers that break the rules, or break off.

/// What a server does after three good trades, and the code with which the client must close, if it can.
struct Crime {
    what: &'static str,
    bytes: Vec<u8>,
    then: fn(&TcpStream),
    code: Option<u16>,
}

fn crimes() -> Vec<Crime> {
    let nothing: fn(&TcpStream) = |_| {};
    let crime = |what, bytes, code| Crime { what, bytes, then: nothing, code: Some(code) };
    let trade = |id| frame(TEXT, &trade("X", id, 0));
    let half = || trade(4)[..40].to_vec();
    vec![
        crime("a masked frame", masked(TEXT, b"{}"), 1002),
        crime("100 MB declared", header(FIN | TEXT, 100 << 20), 1009),
        crime("a length of 63 bits", header(FIN | TEXT, i64::MAX as u64), 1009),
        crime("text that is not UTF-8", frame(TEXT, b"{\"e\":\"\xff\"}"), 1007),
        crime("a reserved bit", piece(FIN | 0x40 | TEXT, b"{}"), 1002),
        crime("a reserved opcode", frame(3, b"{}"), 1002),
        crime("a long ping", frame(PING, &[0; 126]), 1002),
        crime("a ping in pieces", piece(PING, b"a"), 1002),
        crime("a continuation of nothing", piece(FIN, b"{}"), 1002),
        crime("a message inside a message", [piece(TEXT, b"{"), frame(TEXT, b"{}")].concat(), 1002),
        crime("a length not in its shortest form", vec![0x81, 126, 0, 2, b'{', b'}'], 1002),
        crime("a close that must not be sent", close(1006, b""), 1002),
        crime("a close reason that is not UTF-8", close(1000, b"\xff"), 1007),
        crime("a close frame of one byte", frame(CLOSE, b"x"), 1002),
        Crime { what: "half a frame and an end", bytes: half(), then: end, code: None },
        Crime { what: "half a frame and a reset", bytes: half(), then: reset, code: None },
        Crime { what: "half a header and an end", bytes: vec![0x81], then: end, code: None },
    ]
}

fn end(stream: &TcpStream) {
    stream.shutdown(Shutdown::Write).unwrap();
}

fn reset(stream: &TcpStream) {
    // Let what was sent arrive first: a reset overtakes it.
    thread::sleep(Duration::from_millis(300));
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(stream, sockopt::Linger, &linger).unwrap();
}

#[test]
fn broken_rules_end_one_connection_and_nothing_else() {
    let good = Steady::start();
    let crimes = crimes();
    let venues: Vec<_> = crimes.iter().map(|_| Venue::listen()).collect();
    let symbols: Vec<_> = (0..crimes.len()).map(|at| format!("BAD{at}")).collect();
    let mut feeds: Vec<_> =
        symbols.iter().zip(&venues).map(|(symbol, venue)| feed(symbol, venue.url())).collect();
    feeds.push(feed(Steady::SYMBOL, good.url.clone()));
    let Some(daemon) = Daemon::start(&feeds) else { return };
    let peers: Vec<_> = thread::scope(|scope| {
        let each = crimes.iter().zip(venues.iter().zip(&symbols));
        let checks: Vec<_> =
            each.map(|(crime, (venue, symbol))| scope.spawn(|| commit(crime, venue, symbol))).collect();
        checks.into_iter().map(|check| check.join().unwrap()).collect()
    });
    for (crime, symbol) in crimes.iter().zip(&symbols) {
        wait_until(
            || format!("the trades after {}; {}", crime.what, daemon.log()),
            || daemon.trades(symbol) == 4,
        );
        assert!(!daemon.states(symbol).contains(&CandleState::Gap), "a gap after {}", crime.what);
    }
    assert_eq!(daemon.count(Disconnects), crimes.len() as u64);
    assert_eq!(daemon.count(Connects), 2 * crimes.len() as u64 + 1);
    assert_eq!(daemon.count(MissingTrades), 0);
    assert_eq!(daemon.count(Malformed), 0);
    good.must_be_unharmed(&daemon);
    drop(peers);
}

/// Three good trades, the crime, the client's answer to it; then the client comes again and gets the fourth trade.
fn commit(crime: &Crime, venue: &Venue, symbol: &str) -> Peer<TcpStream> {
    let mut peer = venue.welcome();
    peer.send(&[trades(symbol, 1..=3), crime.bytes.clone()].concat());
    (crime.then)(&peer.0);
    if let Some(code) = crime.code {
        let answer = peer.next_frame();
        let sent = answer.as_ref().and_then(|(_, payload)| payload.first_chunk());
        assert_eq!(
            sent.map(|code| u16::from_be_bytes(*code)),
            Some(code),
            "after {}: {answer:?}",
            crime.what
        );
        assert_eq!(peer.next_frame(), None, "after {}", crime.what);
    }
    drop(peer);
    let mut peer = venue.welcome();
    peer.send(&trades(symbol, 4..=4));
    peer
}

#[test]
fn half_a_frame_is_waited_for_without_harm() {
    let venue = Venue::listen();
    let Some((daemon, good)) = beside_a_good_one(&venue) else { return };
    let mut peer = venue.welcome();
    let bytes = trades(BTC, 1..=2);
    peer.send(&bytes[..bytes.len() - 30]);
    daemon.wait_for_trades(BTC, 1);
    good.must_be_unharmed(&daemon);
    peer.send(&bytes[bytes.len() - 30..]);
    daemon.wait_for_trades(BTC, 2);
    assert_eq!((daemon.count(Malformed), daemon.count(MissingTrades)), (0, 0));
}

#[test]
fn garbage_is_counted_and_passed_over() {
    let venue = Venue::listen();
    let Some((daemon, good)) = beside_a_good_one(&venue) else { return };
    let mut peer = venue.welcome();
    let text = |text: &str| frame(TEXT, text.as_bytes());
    let whole = String::from_utf8(trade(BTC, 3, 300)).unwrap();
    let garbage = [
        text(""),
        text("garbage"),
        text("{"),
        text(&whole[..60]),
        text(&whole.replace("100.5", "1e5")),
        text(&whole.replace("100.5", "-100.5")),
        text(&whole.replace("\"t\":3", "\"t\":99999999999999999999999")),
        text(&"{\"a\":".repeat(20_000)),
        frame(BINARY, &[0, 0xff, 0xfe]),
        frame(BINARY, &vec![b'{'; 1 << 20]),
    ];
    peer.send(&[trades(BTC, 1..=3), garbage.concat(), trades(BTC, 4..=4)].concat());
    daemon.wait_for_trades(BTC, 4);
    assert_eq!(daemon.count(Malformed), garbage.len() as u64, "{}", daemon.log());
    peer.send(&[text("garbage").repeat(100_000), trades(BTC, 5..=5)].concat());
    daemon.wait_for_trades(BTC, 5);
    assert_eq!(daemon.count(Malformed), 100_000 + garbage.len() as u64);
    assert_eq!((daemon.count(Disconnects), daemon.count(MissingTrades)), (0, 0));
    assert!(!daemon.states(BTC).contains(&CandleState::Gap));
    assert!(daemon.log().len() < 20_000, "garbage fills the log");
    good.must_be_unharmed(&daemon);
}

/// A server that pings without end and reads nothing either costs nothing or is cut off. If cut off, its connection
/// ends on this side too, or each new one would leave memory and a socket behind.
#[test]
fn a_server_that_reads_no_pongs_leaves_nothing_behind() {
    let venue = Venue::listen();
    setsockopt(venue.listener(), sockopt::RcvBuf, &4096).unwrap();
    let Some((daemon, good)) = beside_a_good_one(&venue) else {
        return;
    };
    let mut peer = venue.welcome();
    // Few enough at a time to be answered, until the answers no longer go; then a farewell, if it still listens.
    let pings = frame(PING, &[b'p'; 125]).repeat(400);
    let mut sent = 0;
    while sent < 100_000 && daemon.count(Disconnects) == 0 {
        let _ = peer.0.write_all(&pings); // It may be cut off in the middle.
        sent += 400;
        let what = || format!("an answer to {sent} pings or an end; {}", daemon.log());
        wait_until(what, || daemon.count(Pings) >= sent || daemon.count(Disconnects) > 0);
    }
    let _ = peer.0.write_all(&close(1000, b""));
    daemon.wait_for(Disconnects, 1);
    good.must_be_unharmed(&daemon);
    // It comes again, though the old server still does not read.
    let mut again = venue.welcome();
    again.send(&trades(BTC, 1..=1));
    daemon.wait_for_trades(BTC, 1);
    peer.0.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    let outcome = (0..1_000).try_for_each(|_| peer.0.write_all(&pings)).map_err(|error| error.kind());
    let ends = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset].map(Err);
    assert!(ends.contains(&outcome), "the old connection is still open on the daemon's side: {outcome:?}");
}

// What the bars know after a break.

#[test]
fn a_break_that_lost_nothing_leaves_no_gap() {
    let Some((venue, daemon)) = alone() else { return };
    let mut peer = venue.welcome();
    peer.send(&trades(BTC, 1..=10));
    daemon.wait_for_trades(BTC, 10);
    peer.hang_up();
    daemon.wait_for(Disconnects, 1);
    // The venue repeats some, as a snapshot would.
    let mut peer = venue.welcome();
    peer.send(&trades(BTC, 8..=45));
    daemon.wait_for_trades(BTC, 45);
    assert_eq!((daemon.count(MissingTrades), daemon.count(Duplicates)), (0, 3));
    // The break is over: from here on, silence is quiet again.
    peer.send(&depth(8_600));
    wait_until(|| format!("{:?}", daemon.states(BTC)), || daemon.states(BTC).len() >= 8);
    let states = daemon.states(BTC);
    assert!(!states.contains(&CandleState::Gap), "{states:?}");
    assert_eq!(states[5..], [CandleState::Quiet; 3], "{states:?}");
}

/// A frame that proves the venue's clock and carries no trade.
fn depth(after_ms: u64) -> Vec<u8> {
    let event = START_MS + after_ms;
    let text = format!(r#"{{"e":"depthUpdate","E":{event},"s":"{BTC}","U":1,"u":2,"b":[],"a":[]}}"#);
    frame(TEXT, text.as_bytes())
}

/// Where the gaps are, in seconds after the start.
fn gaps(daemon: &Daemon) -> Vec<u64> {
    let bars = daemon.candles(BTC).bars;
    let gaps = bars.iter().filter(|bar| bar.state == CandleState::Gap);
    gaps.map(|bar| (bar.open_ms as u64 - START_MS) / 1000).collect()
}

/// Life after a break proves nothing of the break itself; the next trade does, and only up to the first message.
#[test]
fn no_bar_of_a_break_is_called_quiet() {
    let Some((venue, daemon)) = alone() else { return };
    let at = |id: u64, after_ms| frame(TEXT, &trade(BTC, id, after_ms));
    let mut peer = venue.welcome();
    peer.send(&[at(9, 2_500), at(10, 3_200)].concat());
    daemon.wait_for_trades(BTC, 2);
    peer.hang_up();
    daemon.wait_for(Disconnects, 1);
    let mut peer = venue.welcome();
    let decoded = daemon.count(Decoded);
    peer.send(&[depth(6_400), depth(8_800)].concat());
    daemon.wait_for(Decoded, decoded + 2);
    assert!(!daemon.states(BTC).contains(&CandleState::Quiet), "{:?}", daemon.states(BTC));
    peer.send(&at(15, 9_500));
    daemon.wait_for_trades(BTC, 3);
    assert_eq!(daemon.count(MissingTrades), 4);
    assert_eq!(gaps(&daemon), [3, 4, 5, 6], "{:?}", daemon.states(BTC));
}

#[test]
fn a_break_that_lost_trades_leaves_gaps_where_they_may_lie() {
    let Some((venue, daemon)) = alone() else { return };
    let at = |id: u64, after_ms| frame(TEXT, &trade(BTC, id, after_ms));
    let mut peer = venue.welcome();
    // Bars 0 to 2 are whole; trade 10 lies in bar 3.
    (1..=9).for_each(|id| peer.send(&at(id, id * 300)));
    peer.send(&at(10, 3_200));
    daemon.wait_for_trades(BTC, 10);
    peer.hang_up();
    daemon.wait_for(Disconnects, 1);
    let mut peer = venue.welcome();
    // Trade 15 lies in bar 6, so 11 to 14 may lie in any of 3 to 6.
    peer.send(&[at(15, 6_500), at(16, 7_100), at(17, 8_100)].concat());
    daemon.wait_for_trades(BTC, 13);
    assert_eq!(daemon.count(MissingTrades), 4);
    assert_eq!(gaps(&daemon), [3, 4, 5, 6], "{:?}", daemon.states(BTC));
    let bars = daemon.candles(BTC).bars;
    let priced: Vec<_> = bars.iter().map(|bar| bar.ohlc.is_some()).collect();
    assert_eq!(priced, [true, true, true, true, false, false, true, true, true], "no price is invented");
}

/// The venue's clock runs ahead of its trades: what was lost may lie in the bar of the last trade, though a message
/// has already proven that bar's end.
#[test]
fn a_lost_trade_may_lie_in_the_bar_of_the_last_one() {
    let Some((venue, daemon)) = alone() else { return };
    let at = |id: u64, after_ms| frame(TEXT, &trade(BTC, id, after_ms));
    let mut peer = venue.welcome();
    peer.send(&[at(1, 0), at(2, 1_950)].concat()); // Sent at 2,050.
    daemon.wait_for_trades(BTC, 2);
    peer.hang_up();
    daemon.wait_for(Disconnects, 1);
    let mut peer = venue.welcome();
    peer.send(&[at(4, 3_500), at(5, 5_000)].concat()); // Trade 3 was at 1,950 or later.
    daemon.wait_for_trades(BTC, 4);
    assert_eq!(daemon.count(MissingTrades), 1);
    let states = daemon.states(BTC);
    assert_eq!(states[1..4], [CandleState::Gap; 3], "{states:?}");
    assert_ne!(states[0], CandleState::Gap);
    assert_ne!(states[5], CandleState::Gap);
}

// However the bytes come.

#[test]
fn thousands_of_frames_at_once_and_one_frame_in_thousands_of_segments() {
    let Some((venue, daemon)) = alone() else { return };
    let mut peer = venue.welcome();
    peer.send(&trades(BTC, 1..=5000));
    daemon.wait_for_trades(BTC, 5000);
    let mut padded = trade(BTC, 5001, 500_100);
    padded.splice(1..1, std::iter::repeat_n(b' ', 4000));
    for byte in frame(TEXT, &padded) {
        peer.send(&[byte]);
    }
    daemon.wait_for_trades(BTC, 5001);
    // A byte a piece, with pings between.
    let whole = trade(BTC, 5002, 500_200);
    for (at, byte) in whole.iter().enumerate() {
        let first = if at == 0 { TEXT } else { CONTINUATION };
        let fin = if at + 1 == whole.len() { FIN } else { 0 };
        peer.send(&[piece(first | fin, &[*byte]), frame(PING, b"x")].concat());
    }
    daemon.wait_for_trades(BTC, 5002);
    assert_eq!(daemon.count(FramesIn), 5002);
    assert_eq!((daemon.count(Disconnects), daemon.count(Malformed)), (0, 0));
}

#[test]
fn both_forms_and_the_largest_message_are_taken() {
    let Some((venue, daemon)) = alone() else { return };
    let mut peer = venue.welcome();
    let raw = String::from_utf8(trade(BTC, 2, 200)).unwrap();
    let combined = format!(r#"{{"stream":"btcusdt@trade","data":{raw}}}"#);
    let mut largest = trade(BTC, 3, 300);
    largest.splice(1..1, std::iter::repeat_n(b' ', (4 << 20) - largest.len()));
    assert_eq!(largest.len(), 4 << 20);
    peer.send(&[trades(BTC, 1..=1), frame(TEXT, combined.as_bytes()), frame(TEXT, &largest)].concat());
    daemon.wait_for_trades(BTC, 3);
    largest.push(b' ');
    peer.send(&header(FIN | TEXT, largest.len() as u64));
    assert_eq!(peer.next_frame(), Some((CLOSE, 1009u16.to_be_bytes().to_vec())));
}

#[test]
fn a_half_closed_stream_is_read_to_its_end() {
    let Some((venue, daemon)) = alone() else { return };
    let mut peer = venue.welcome();
    peer.send(&trades(BTC, 1..=500));
    peer.0.shutdown(Shutdown::Write).unwrap();
    daemon.wait_for_trades(BTC, 500);
    venue.welcome().send(&trades(BTC, 501..=502));
    daemon.wait_for_trades(BTC, 502);
    assert_eq!(daemon.count(MissingTrades), 0);
}

/// Ours are the daemon's own times: 15 s of silence, then a ping, then 10 s more.
#[test]
fn a_silent_server_is_pinged_and_left_in_the_end() {
    let Some((venue, daemon)) = alone() else { return };
    let mut peer = venue.welcome();
    peer.send(&trades(BTC, 1..=1));
    daemon.wait_for_trades(BTC, 1);
    let silent = Instant::now();
    assert_eq!(peer.next_frame(), Some((PING, vec![])));
    assert!((14.0..20.0).contains(&silent.elapsed().as_secs_f64()), "{:?}", silent.elapsed());
    daemon.wait_for(Disconnects, 1);
    assert!((24.0..34.0).contains(&silent.elapsed().as_secs_f64()), "{:?}", silent.elapsed());
    assert_eq!(daemon.count(PingsSent), 1);
    let says = "lost: nothing came for 25 s, nor an answer to a ping";
    wait_until(|| daemon.log(), || daemon.log().contains(says));
    venue.welcome().send(&trades(BTC, 2..=2));
    daemon.wait_for_trades(BTC, 2);
}

// TLS.

/// A daemon with one encrypted feed, which trusts `trusted`.
fn encrypted(venue: &Venue, trusted: &Authority) -> Option<Daemon> {
    let url = format!("wss://{}", venue.address());
    Daemon::start(&[Feed { symbol: BTC, url, ca_file: Some(&trusted.ca_file) }])
}

#[test]
fn trades_come_through_tls_however_records_are_cut() {
    let folder = tempfile::tempdir().unwrap();
    let (venue, authority) = (Venue::listen(), Authority::new(folder.path(), "ca.pem"));
    let Some(daemon) = encrypted(&venue, &authority) else { return };
    let mut peer = Peer::welcome(authority.server(Fault::None).accept(&venue));
    let mut sent = 0;
    // (bytes of a record, bytes of a segment)
    for (record, segment) in [(16_000, 100_000), (1, 100_000), (7, 3), (200, 1), (16_000, 5), (1000, 1001)] {
        let plain = trades(BTC, sent + 1..=sent + 20);
        let bytes = records(&mut peer.0, &plain, record);
        bytes.chunks(segment).for_each(|chunk| peer.0.sock.write_all(chunk).unwrap());
        sent += 20;
        daemon.wait_for_trades(BTC, sent);
    }
    peer.send(&trades(BTC, sent + 1..=sent + 20_000));
    daemon.wait_for(Trades, sent + 20_000);
    peer.send(&frame(PING, b"encrypted"));
    assert_eq!(peer.next_frame(), Some((PONG, b"encrypted".to_vec())));
    peer.0.conn.refresh_traffic_keys().unwrap();
    peer.send(&frame(PING, b"with new keys"));
    assert_eq!(peer.next_frame(), Some((PONG, b"with new keys".to_vec())));
    peer.send(&close(1001, b""));
    assert_eq!(peer.next_frame(), Some((CLOSE, 1001u16.to_be_bytes().to_vec())));
    assert_eq!((daemon.count(Malformed), daemon.count(MissingTrades)), (0, 0));
}

/// What is wrong with a certificate is said in one sentence that names the server; the daemon comes again with
/// patience, and takes the right one.
#[test]
fn bad_certificates_are_refused_in_one_sentence_and_retried() {
    const UNTRUSTED: &str = "its certificate is not of an authority that is trusted here (see ca_file)";
    let folder = tempfile::tempdir().unwrap();
    let trusted = Authority::new(folder.path(), "trusted.pem");
    let other = Authority::new(folder.path(), "other.pem");
    std::fs::create_dir(folder.path().join("forged")).unwrap();
    let forged = Authority::new(&folder.path().join("forged"), "trusted.pem"); // Of the same name.
    for (bad, says) in [
        (other.server(Fault::None), UNTRUSTED),
        (forged.server(Fault::None), UNTRUSTED),
        (trusted.server(Fault::Expired), "its certificate has expired"),
        (trusted.server(Fault::Future), "its certificate is not valid yet"),
        (trusted.server(Fault::OtherName), "its certificate is for another host than 127.0.0.1"),
    ] {
        let venue = Venue::listen();
        let Some(daemon) = encrypted(&venue, &trusted) else { return };
        for _ in 0..2 {
            let mut stream = bad.accept(&venue);
            assert!(stream.read(&mut [0]).is_err(), "the client must refuse the certificate: {says}");
        }
        let expected = format!("{}: no TLS: {says}", venue.address());
        wait_until(|| format!("'{expected}' in {}", daemon.log()), || daemon.log().contains(&expected));
        let log = daemon.log();
        let line = log.lines().find(|line| line.contains(&expected)).unwrap();
        assert!(line.trim_end().ends_with(says), "{line}");
        wait_until(|| format!("two pauses; {}", daemon.log()), || daemon.pauses().len() >= 2);
        must_grow(&daemon.pauses());
        assert_eq!(daemon.count(Connects), 0);
        let mut peer = Peer::welcome(trusted.server(Fault::None).accept(&venue));
        peer.send(&trades(BTC, 1..=2));
        daemon.wait_for_trades(BTC, 2);
    }
}

#[test]
fn encryption_that_ends_is_read_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let (venue, authority) = (Venue::listen(), Authority::new(folder.path(), "ca.pem"));
    let Some(daemon) = encrypted(&venue, &authority) else { return };
    let mut peer = Peer::welcome(authority.server(Fault::None).accept(&venue));
    let bytes = records(&mut peer.0, &trades(BTC, 1..=100), 1000);
    peer.0.conn.send_close_notify();
    let bytes = [bytes, records(&mut peer.0, b" ", 1)].concat();
    peer.0.sock.write_all(&bytes).unwrap();
    daemon.wait_for_trades(BTC, 100);
    daemon.wait_for(Disconnects, 1);
    // Now without a farewell.
    let mut peer = Peer::welcome(authority.server(Fault::None).accept(&venue));
    peer.send(&trades(BTC, 101..=200));
    daemon.wait_for_trades(BTC, 200);
    peer.send(&trades(BTC, 201..=300));
    peer.0.sock.shutdown(Shutdown::Write).unwrap();
    daemon.wait_for(Disconnects, 2);
    daemon.wait_for_trades(BTC, 300);
    assert_eq!(daemon.count(MissingTrades), 0);
}

/// What was decrypted and proven before a broken record is as good as ever.
#[test]
fn trades_before_a_broken_record_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (venue, authority) = (Venue::listen(), Authority::new(folder.path(), "ca.pem"));
    let Some(daemon) = encrypted(&venue, &authority) else {
        return;
    };
    let mut peer = Peer::welcome(authority.server(Fault::None).accept(&venue));
    peer.send(&trades(BTC, 1..=1));
    daemon.wait_for_trades(BTC, 1);
    let mut bytes = records(&mut peer.0, &trades(BTC, 2..=10), 16_000);
    bytes.extend([0xaa; 500]);
    peer.0.sock.write_all(&bytes).unwrap();
    daemon.wait_for(Disconnects, 1);
    assert_eq!(daemon.trades(BTC), 10, "{}", daemon.log());
    // And it comes back.
    let mut peer = Peer::welcome(authority.server(Fault::None).accept(&venue));
    peer.send(&trades(BTC, 11..=11));
    daemon.wait_for_trades(BTC, 11);
}

/// Trades that come in one segment with the answer to the handshake are taken, also when TLS ends behind them.
#[test]
fn trades_before_an_early_end_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (venue, authority) = (Venue::listen(), Authority::new(folder.path(), "ca.pem"));
    let Some(daemon) = encrypted(&venue, &authority) else { return };
    let mut stream = authority.server(Fault::None).accept(&venue);
    let answer = acceptance(&read_request(&mut stream));
    let mut bytes = records(&mut stream, &[answer.as_bytes(), &trades(BTC, 1..=5)].concat(), 16_000);
    stream.conn.send_close_notify();
    while stream.conn.wants_write() {
        stream.conn.write_tls(&mut bytes).unwrap();
    }
    stream.sock.write_all(&bytes).unwrap();
    daemon.wait_for(Disconnects, 1);
    assert_eq!(daemon.trades(BTC), 5, "{}", daemon.log());
}
