//! How feeds are kept: what REST tells is learnt and remembered, streams are asked for as the venue allows, and
//! connections follow and replace each other without losing a trade.

#[allow(dead_code)] // Each test uses a part of it.
mod common {
    pub(crate) mod daemon;
    pub(crate) mod venue;
    pub(crate) mod wire;
}

use common::daemon::{Daemon, PATIENCE, wait_until};
use common::venue::{Peer, START_MS, Venue, trade, trades};
use common::wire::{CLOSE, TEXT, close, frame};
use market::CandleState;
use shm::status::Counter::*;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const BTC: &str = "BTCUSDT";

/// A feed of `symbols` from `url` with these further lines, and a chart of the first one.
fn feed_of(symbols: &[&str], url: &str, lines: &str) -> String {
    format!(
        "[[feed]]\nvenue = \"binance\"\nurl = \"{url}\"\nsymbols = {symbols:?}\n{lines}\n\
         [[chart]]\nsource = \"binance:{}\"\ntimeframe = \"1s\"\nsize = [320, 180]\n",
        symbols[0]
    )
}

fn start(feeds: &str) -> Option<Daemon> {
    let folder = TempDir::new().unwrap();
    let cache = folder.path().join("cache");
    Daemon::start_in(feeds, folder, &cache, &[])
}

// REST.

type Answer = Box<dyn Fn(&str) -> Option<String> + Send>;

/// A venue's REST interface on a port of its own. What it has no answer to, it refuses with 400.
struct Rest {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Rest {
    fn start(answer: impl Fn(&str) -> Option<String> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (asked, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (told, stopped, answer): (_, _, Answer) = (asked.clone(), stop.clone(), Box::new(answer));
        let thread = thread::spawn(move || {
            while !stopped.load(Acquire) {
                let Ok((mut stream, _)) = listener.accept() else {
                    thread::sleep(Duration::from_millis(2));
                    continue;
                };
                stream.set_nonblocking(false).unwrap();
                let request = common::venue::read_request(&mut stream);
                let path = request.split(' ').nth(1).unwrap().to_owned();
                let (status, body) = match answer(&path) {
                    Some(body) => ("200 OK", body),
                    None => ("400 Bad Request", r#"{"code":-1121,"msg":"Invalid symbol."}"#.to_owned()),
                };
                told.lock().unwrap().push(path);
                let length = body.len();
                let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
            }
        });
        Self { url, asked, stop, thread: Some(thread) }
    }

    fn asked(&self, part: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|path| path.contains(part)).count()
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        self.stop.store(true, Release);
        let _ = self.thread.take().unwrap().join(); // Its panic was printed.
    }
}

/// Binance's answer about the decimal places of the symbols that are asked for: two and five. It knows no BAD one.
fn exchange_info(path: &str) -> Option<String> {
    let list = path.strip_prefix("/api/v3/exchangeInfo?symbols=[")?.strip_suffix(']')?;
    let symbols: Vec<_> = list.split(',').map(|symbol| symbol.trim_matches(['%', '2'])).collect();
    if symbols.iter().any(|symbol| symbol.starts_with("BAD")) {
        return None;
    }
    let entry = |symbol: &&str| {
        format!(
            r#"{{"symbol":"{symbol}","filters":[{{"filterType":"PRICE_FILTER","tickSize":"0.01000000"}},{{"filterType":"LOT_SIZE","stepSize":"0.00001000"}}]}}"#
        )
    };
    Some(format!(r#"{{"symbols":[{}]}}"#, symbols.iter().map(entry).collect::<Vec<_>>().join(",")))
}

/// The decimal places of each instrument, in order.
fn digits(daemon: &Daemon) -> Vec<[u64; 2]> {
    let instruments = daemon.connection.market().instruments();
    instruments.iter().map(|entry| [entry.price_digits, entry.qty_digits]).collect()
}

#[test]
fn decimal_places_are_learnt_and_remembered() {
    let (venue, cache) = (Venue::listen(), TempDir::new().unwrap());
    let rest = Rest::start(exchange_info);
    let rest_url = format!("rest_url = \"{}\"", rest.url);
    let run = |lines: &str, cache: &Path| {
        let feeds = feed_of(&[BTC, "ETHUSDT"], &venue.url(), lines);
        Daemon::start_in(&feeds, TempDir::new().unwrap(), cache, &[])
    };
    let Some(daemon) = run(&rest_url, cache.path()) else { return };
    assert_eq!(digits(&daemon), [[2, 5], [2, 5]]);
    assert_eq!(rest.asked("exchangeInfo"), 1, "both at once");
    let guessed = |daemon: &Daemon| {
        daemon.connection.status().degraded().iter().filter(|line| line.contains("decimal places")).count()
    };
    assert_eq!(guessed(&daemon), 0);
    drop(daemon);
    // What the configuration says counts more, and is not asked for.
    let both = format!("{rest_url}\nprice_digits = 3\nquantity_digits = 4");
    let daemon = run(&both, cache.path()).unwrap();
    assert_eq!((digits(&daemon), rest.asked("exchangeInfo")), (vec![[3, 4], [3, 4]], 1));
    drop(daemon);
    let daemon = run(&format!("{rest_url}\nprice_digits = 3"), cache.path()).unwrap();
    assert_eq!((digits(&daemon), rest.asked("exchangeInfo")), (vec![[3, 5], [3, 5]], 2));
    drop(daemon);
    // With REST down, what was learnt is still known; elsewhere it is not, and that is said.
    drop(rest);
    let daemon = run(&rest_url, cache.path()).unwrap();
    assert_eq!((digits(&daemon), guessed(&daemon)), (vec![[2, 5], [2, 5]], 0));
    assert!(daemon.log().contains("could not be asked for"), "{}", daemon.log());
    drop(daemon);
    let elsewhere = TempDir::new().unwrap();
    let daemon = run(&rest_url, elsewhere.path()).unwrap();
    assert_eq!((digits(&daemon), guessed(&daemon)), (vec![[8, 8], [8, 8]], 1));
    assert!(daemon.log().contains("binance:BTCUSDT and 1 more"), "{}", daemon.log());
    drop(daemon);
    // A damaged file is as none.
    for file in cache.path().read_dir().unwrap() {
        std::fs::write(file.unwrap().path(), "{\"form\":1}").unwrap();
    }
    let daemon = run(&rest_url, cache.path()).unwrap();
    assert_eq!(digits(&daemon), [[8, 8], [8, 8]]);
    assert!(daemon.log().contains(".json is not used: "), "{}", daemon.log());
}

#[test]
fn a_symbol_that_the_venue_does_not_know_is_named_and_spoils_no_other() {
    let venue = Venue::listen();
    let rest = Rest::start(exchange_info);
    let symbols = [BTC, "BADUSDT", "ETHUSDT", "SOLUSDT"];
    let lines = format!("rest_url = \"{}\"", rest.url);
    let Some(daemon) = start(&feed_of(&symbols, &venue.url(), &lines)) else { return };
    assert_eq!(digits(&daemon), [[2, 5], [8, 8], [2, 5], [2, 5]]);
    assert!(daemon.log().contains("binance does not know BADUSDT"), "{}", daemon.log());
}

#[test]
fn a_feed_from_elsewhere_without_rest_asks_nobody() {
    let venue = Venue::listen();
    let Some(daemon) = start(&feed_of(&[BTC], &venue.url(), "")) else { return };
    assert_eq!(digits(&daemon), [[8, 8]]);
    assert!(daemon.log().contains("nothing is repaired"), "{}", daemon.log());
}

// Subscribing.

/// The next message of a client, which is masked text.
fn next_text(stream: &mut TcpStream) -> String {
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head[0], 0x81, "a whole message of text");
    assert_eq!(head[1] & 0x80, 0x80, "the client does not mask");
    let mut long = vec![0; [0, 2, 8][usize::from((head[1] & 0x7f).saturating_sub(125))]];
    stream.read_exact(&mut long).unwrap();
    let len = match long.len() {
        0 => usize::from(head[1] & 0x7f),
        _ => long.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)),
    };
    let (mut mask, mut text) = ([0; 4], vec![0; len]);
    stream.read_exact(&mut mask).unwrap();
    stream.read_exact(&mut text).unwrap();
    text.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    String::from_utf8(text).unwrap()
}

#[test]
fn streams_are_asked_for_at_the_venues_pace_and_nothing_is_lost_meanwhile() {
    let venue = Venue::listen();
    let symbols: Vec<_> = (0..50).map(|at| format!("S{at}USDT")).collect();
    let symbols: Vec<_> = symbols.iter().map(String::as_str).collect();
    let second = "[[chart]]\nsource = \"binance:S0USDT\"\ntimeframe = \"1m\"\nsize = [320, 180]\n";
    let Some(daemon) = start(&(feed_of(&symbols, &venue.url(), "") + second)) else { return };
    let mut stream = venue.accept();
    let request = common::venue::read_request(&mut stream);
    stream.write_all(common::venue::acceptance(&request).as_bytes()).unwrap();
    let mut asked: Vec<_> =
        request.split(' ').nth(1).unwrap().split_once('=').unwrap().1.split('/').map(str::to_owned).collect();
    let (mut times, mut sent) = (Vec::new(), 0);
    for _ in 0..3 {
        let message: serde_json::Value = serde_json::from_str(&next_text(&mut stream)).unwrap();
        times.push(Instant::now());
        assert_eq!(message["method"], "SUBSCRIBE");
        let streams = message["params"].as_array().unwrap();
        asked.extend(streams.iter().map(|stream| stream.as_str().unwrap().to_owned()));
        // More than the kernel keeps for a client that does not read.
        stream.write_all(&trades("S0USDT", sent + 1..=sent + 5_000)).unwrap();
        sent += 5_000;
    }
    // Four messages in a second; the fifth is kept back for a pong.
    for pair in times.windows(2) {
        assert!(pair[1] - pair[0] >= Duration::from_millis(200), "{times:?}");
    }
    assert_eq!(asked.len(), 50 * 6, "{asked:?}");
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), 50 * 6, "a stream was asked for twice");
    daemon.wait_for(Trades, sent);
    assert_eq!((daemon.count(MissingTrades), daemon.count(Disconnects)), (0, 0));
}

// Connections that follow each other.

/// A venue that sends a trade every few milliseconds to all that are connected.
struct Broadcast {
    url: String,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    stop: AtomicBool,
    sent: AtomicU64,
    /// When each client came.
    came: Mutex<Vec<Instant>>,
    /// Sent to all clients of now, once.
    aside: Mutex<Option<Vec<u8>>>,
    /// The number of a client that is cut off, counted from 1.
    cut: AtomicU64,
}

impl Broadcast {
    fn start() -> Self {
        let (venue, state) = (Venue::listen(), Arc::new(State::default()));
        let (url, shared) = (venue.url(), state.clone());
        Self { url, state, thread: Some(thread::spawn(move || broadcast(&venue, &shared))) }
    }

    fn clients(&self) -> usize {
        self.state.came.lock().unwrap().len()
    }

    fn wait_for_clients(&self, count: usize) {
        wait_until(|| format!("{count} clients, not {}", self.clients()), || self.clients() >= count);
    }

    fn say(&self, payload: &[u8]) {
        *self.state.aside.lock().unwrap() = Some(frame(TEXT, payload));
        wait_until(|| "it was not said".into(), || self.state.aside.lock().unwrap().is_none());
    }

    /// Proves that no trade was lost, and none counted twice.
    fn must_be_whole(mut self, daemon: &Daemon) {
        let sent = self.state.sent.load(Acquire);
        let counted = || daemon.trades(BTC);
        wait_until(|| format!("{sent} trades, not {}; {}", counted(), daemon.log()), || counted() >= sent);
        self.state.stop.store(true, Release);
        self.thread.take().unwrap().join().unwrap();
        let sent = self.state.sent.load(Acquire);
        wait_until(|| format!("{sent} trades, not {}; {}", counted(), daemon.log()), || counted() == sent);
        assert_eq!(daemon.count(MissingTrades), 0, "{}", daemon.log());
        assert!(!daemon.states(BTC).contains(&CandleState::Gap), "{}", daemon.log());
    }
}

/// Serves until it is to stop.
fn broadcast(venue: &Venue, state: &State) {
    let mut clients: Vec<Option<Peer<TcpStream>>> = Vec::new();
    while !state.stop.load(Acquire) {
        if let Some(stream) = venue.accept_now() {
            let peer = Peer::welcome(stream);
            clients.push(Some(peer));
            state.came.lock().unwrap().push(Instant::now());
        }
        if let Some(peer) = clients.get_mut((state.cut.load(Acquire) as usize).wrapping_sub(1)) {
            drop(peer.take());
        }
        if clients.iter().any(Option::is_some) {
            let id = state.sent.load(Acquire) + 1;
            let mut bytes = frame(TEXT, &trade(BTC, id, id * 2));
            let mut aside = state.aside.lock().unwrap();
            bytes.extend(aside.take().unwrap_or_default());
            for peer in &mut clients {
                if peer.as_mut().is_some_and(|open| open.0.write_all(&bytes).is_err()) {
                    *peer = None; // It has gone.
                }
            }
            drop(aside);
            state.sent.store(id, Release);
        }
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn connections_that_grow_old_are_replaced_without_losing_a_trade() {
    let venue = Broadcast::start();
    let Some(daemon) = start(&feed_of(&[BTC], &venue.url, "reconnect_after_s = 1")) else { return };
    venue.wait_for_clients(6);
    let came = venue.state.came.lock().unwrap().clone();
    assert!(came[1] - came[0] >= Duration::from_millis(850), "{came:?}");
    assert_eq!(daemon.count(Disconnects), 0, "{}", daemon.log());
    assert!(daemon.pauses().is_empty(), "{}", daemon.log());
    venue.must_be_whole(&daemon);
    assert!(daemon.count(Duplicates) > 0, "they did not overlap");
}

#[test]
fn a_server_that_goes_down_is_left_in_time_and_only_when_the_next_is_there() {
    let venue = Broadcast::start();
    let Some(daemon) = start(&feed_of(&[BTC], &venue.url, "")) else { return };
    venue.wait_for_clients(1);
    daemon.wait_for(Trades, 100);
    let told = Instant::now();
    venue.say(br#"{"e":"serverShutdown","E":1700000000000}"#);
    venue.wait_for_clients(2);
    // A connection that young is not replaced at once: the server may say the same to each.
    assert!(told.elapsed() < Duration::from_secs(2), "{}", daemon.log());
    let left = || daemon.log().contains("connection 0 ended: another one has taken its place");
    wait_until(|| daemon.log(), left);
    assert!(told.elapsed() >= Duration::from_secs(5), "{}", daemon.log());
    assert_eq!((daemon.count(Disconnects), venue.clients()), (0, 2), "{}", daemon.log());
    venue.must_be_whole(&daemon);
}

#[test]
fn what_has_a_successor_is_ended_in_order() {
    let venue = Venue::listen();
    let Some(daemon) = start(&feed_of(&[BTC], &venue.url(), "")) else { return };
    let mut old = venue.welcome();
    old.send(&frame(TEXT, br#"{"e":"serverShutdown","E":1700000000000}"#));
    let mut new = venue.welcome();
    old.send(&trades(BTC, 1..=1));
    daemon.wait_for(Trades, 1);
    new.send(&trades(BTC, 2..=2));
    assert_eq!(old.next_frame(), Some((CLOSE, 1000u16.to_be_bytes().to_vec())));
    assert_eq!(old.next_frame(), None, "the transport must end");
    new.send(&trades(BTC, 3..=3));
    daemon.wait_for_trades(BTC, 3);
    assert_eq!((daemon.count(Disconnects), daemon.count(Connects)), (0, 2));
}

#[test]
fn a_server_that_ends_what_has_a_successor_breaks_nothing() {
    let venue = Broadcast::start();
    let Some(daemon) = start(&feed_of(&[BTC], &venue.url, "")) else { return };
    venue.wait_for_clients(1);
    daemon.wait_for(Trades, 10);
    venue.say(br#"{"e":"serverShutdown","E":1700000000000}"#);
    daemon.wait_for(Connects, 2);
    venue.state.cut.store(1, Release);
    wait_until(|| daemon.log(), || daemon.log().contains("connection 0 ended"));
    let sent = venue.state.sent.load(Acquire);
    daemon.wait_for(Trades, sent + 100);
    assert_eq!(venue.clients(), 2);
    assert_eq!(daemon.log().matches("connecting again").count(), 0, "{}", daemon.log());
    venue.must_be_whole(&daemon);
}

#[test]
fn of_two_connections_one_may_die() {
    let venue = Broadcast::start();
    let Some(daemon) = start(&feed_of(&[BTC], &venue.url, "connections = 2")) else { return };
    venue.wait_for_clients(2);
    daemon.wait_for(Connects, 2);
    daemon.wait_for(Duplicates, 50);
    venue.state.cut.store(1, Release);
    daemon.wait_for(Disconnects, 1);
    let sent = venue.state.sent.load(Acquire);
    daemon.wait_for(Trades, sent + 50);
    venue.wait_for_clients(3);
    let came = venue.state.came.lock().unwrap().clone();
    assert!(came[1] - came[0] >= Duration::from_millis(200), "both at once: {came:?}");
    venue.must_be_whole(&daemon);
}

#[test]
fn connections_to_one_host_are_begun_one_after_the_other() {
    let venues: Vec<_> = (0..3).map(|_| Venue::listen()).collect();
    let feed =
        |(at, venue): (usize, &Venue)| feed_of(&[format!("S{at}").as_str()], &venue.url(), "connections = 2");
    let feeds: String = venues.iter().enumerate().map(feed).collect();
    let Some(daemon) = start(&feeds) else { return };
    let (mut came, mut open, started) = (Vec::new(), Vec::new(), Instant::now());
    while came.len() < 6 {
        assert!(started.elapsed() < PATIENCE, "{} connections; {}", came.len(), daemon.log());
        for venue in &venues {
            if let Some(stream) = venue.accept_now() {
                came.push(Instant::now());
                open.push(Peer::welcome(stream));
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
    for pair in came.windows(2) {
        assert!(pair[1] - pair[0] >= Duration::from_millis(200), "{came:?}");
    }
    open.iter_mut().for_each(|peer| peer.send(&close(1000, b"")));
}

// Repair.

/// Binance's answer about past trades of BTC: those from the number that is asked for on, in pages of three.
fn historical_trades(path: &str, newest: u64) -> Option<String> {
    let from: u64 = path.split_once("fromId=")?.1.split('&').next()?.parse().ok()?;
    let trade = |id: u64| {
        let time = START_MS + id * 100;
        format!(r#"{{"id":{id},"price":"100.5","qty":"0.1","time":{time},"isBuyerMaker":false}}"#)
    };
    let page: Vec<_> = (from..=newest).take(3).map(trade).collect();
    Some(format!("[{}]", page.join(",")))
}

#[test]
fn trades_that_were_lost_are_fetched_and_no_gap_stays() {
    let venue = Venue::listen();
    let rest = Rest::start(|path| match path {
        path if path.contains("historicalTrades") => historical_trades(path, 100),
        path if path.contains("depth") => Some(r#"{"lastUpdateId":1,"bids":[],"asks":[]}"#.into()),
        path => exchange_info(path),
    });
    let lines = format!("rest_url = \"{}\"", rest.url);
    let Some(daemon) = start(&feed_of(&[BTC], &venue.url(), &lines)) else { return };
    let mut peer = venue.welcome();
    peer.send(&trades(BTC, 1..=20));
    // Lost on a living connection: numbers 21 to 30.
    peer.send(&trades(BTC, 31..=60));
    let repaired = || daemon.count(RepairedTrades);
    wait_until(
        || format!("{} repaired; {}", repaired(), daemon.log()),
        || {
            peer.send(&common::wire::frame(common::wire::PING, b""));
            thread::sleep(Duration::from_millis(100));
            repaired() >= 10
        },
    );
    daemon.wait_for_trades(BTC, 60);
    assert!(!daemon.states(BTC).contains(&CandleState::Gap), "{:?}", daemon.states(BTC));
    assert!(rest.asked("fromId=21&") >= 1 && rest.asked("fromId=24&") >= 1, "{:?}", rest.asked);
    // Lost in a break: 61 to 69.
    peer.hang_up();
    let mut peer = venue.welcome();
    peer.send(&trades(BTC, 70..=90));
    wait_until(
        || format!("{} repaired; {}", repaired(), daemon.log()),
        || {
            peer.send(&common::wire::frame(common::wire::PING, b""));
            thread::sleep(Duration::from_millis(100));
            repaired() >= 19
        },
    );
    daemon.wait_for_trades(BTC, 90);
    assert!(!daemon.states(BTC).contains(&CandleState::Gap), "{:?}", daemon.states(BTC));
    assert_eq!(daemon.count(LostTrades), 0);
}
