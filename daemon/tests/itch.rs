//! ITCH 5.0 from end to end: the simulated exchange sends it by MoldUDP64 on two lines and by SoupBinTCP, the real
//! program makes candles of it, and each bar is held against the exchange's own.
//!
//! Between them stand relays that lose and cut what a test wants lost and cut.

#[allow(dead_code)] // Each test uses a part of it.
mod common {
    pub(crate) mod daemon;
}

use chart_client::Candles;
use chartd::sim::{Fault, Faults, Injected, Sim, SimConfig};
use common::daemon::{Daemon, PATIENCE, wait_until};
use market::{Candle, CandleState};
use shm::market::{StreamKind, StreamState};
use shm::status::Counter::{self, *};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What is watched, and how many units of 1e-8 a share is. Two more are traded, which nobody asks for.
const SYMBOLS: [(&str, i64); 2] = [("BTCUSDT", 1_000), ("ADAUSDT", 10_000_000)];
/// How many bars a test waits for.
const BARS: usize = 7;
/// Streams whose last message proved something.
const PROVEN: u64 = 1;

/// A port that nobody has.
fn free_port() -> SocketAddr {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

fn sim_config(faults: Faults) -> SimConfig {
    let mut config = SimConfig::new(([127, 0, 0, 1], 0).into(), 7);
    config.warm_up = Duration::from_secs(3);
    config.trades_per_second = 40.0;
    config.faults = faults;
    config
}

/// A feed of these lines, and a chart of each symbol.
fn feeds(names: &[&str], lines: &str) -> String {
    let mut feeds = format!("[[feed]]\nvenue = \"itch\"\nsymbols = {names:?}\n{lines}\n");
    for name in names {
        feeds += &format!("[[chart]]\nsource = \"itch:{name}\"\ntimeframe = \"1s\"\nsize = [320, 180]\n");
    }
    feeds
}

/// A daemon with a feed of these lines.
fn start(lines: &str) -> Option<Daemon> {
    let feeds = feeds(&SYMBOLS.map(|(name, _)| name), lines);
    let folder = TempDir::new().unwrap();
    let cache = folder.path().join("cache");
    Daemon::start_in(&feeds, folder, &cache, &[])
}

fn candles(daemon: &Daemon, symbol: &str) -> Candles {
    let name = format!("itch:{symbol}/1s").parse().unwrap();
    chart_client::candles(daemon.connection.market(), &name, usize::MAX).unwrap()
}

fn stream(daemon: &Daemon, place: usize, kind: StreamKind) -> StreamState {
    daemon.connection.market().stream(place, kind)
}

/// The exchange's own bar: prices in ten-thousandths, shares, trades.
#[derive(Debug, PartialEq, Eq)]
struct TrueBar {
    prices: [i64; 4],
    shares: i128,
    trades: u64,
}

/// The exchange's bars, by their beginning.
fn truth(sim: &Sim, symbol: &str, share: i64) -> BTreeMap<i64, TrueBar> {
    let mut stream = TcpStream::connect(sim.addr()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let path = format!("/api/v3/klines?symbol={symbol}&interval=1s&limit=1000");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let body = loop {
        let mut chunk = [0; 65_536];
        let len = stream.read(&mut chunk).unwrap();
        answer.extend_from_slice(&chunk[..len]);
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = |line: &str| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
            };
            if body.len() >= head.lines().find_map(length).unwrap() {
                break body.to_owned();
            }
        }
        assert!(len > 0, "half an answer: {text}");
    };
    let units = |text: &serde_json::Value| text.as_str().unwrap().replace('.', "").parse::<i64>().unwrap();
    let rows: Vec<Vec<serde_json::Value>> = serde_json::from_str(&body).unwrap();
    let bar = |row: &Vec<serde_json::Value>| {
        let prices = [1, 2, 3, 4].map(|at| units(&row[at]) / 10_000);
        let bar =
            TrueBar { prices, shares: (units(&row[5]) / share).into(), trades: row[8].as_u64().unwrap() };
        (row[0].as_i64().unwrap(), bar)
    };
    rows.iter().map(bar).collect()
}

fn is_same(ours: &Candle, theirs: &TrueBar) -> bool {
    if ours.state == CandleState::Quiet {
        return theirs.trades == 0;
    }
    ours.ohlc.map(|ohlc| [ohlc.open, ohlc.high, ohlc.low, ohlc.close]) == Some(theirs.prices)
        && (ours.volume, ours.trades) == (theirs.shares, theirs.trades)
        && ours.last.id - ours.first.id + 1 == theirs.trades
}

/// What bars turned out to be.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    equal: usize,
    gaps: usize,
    partial: usize,
    trades: u64,
}

/// Waits for some bars, and holds all but the newest two against the exchange's. No bar may be wrong.
fn tally(daemon: &Daemon, sim: &Sim) -> Tally {
    let mut tally = Tally::default();
    for (symbol, share) in SYMBOLS {
        let count = || candles(daemon, symbol).bars.len();
        wait_until(
            || format!("{BARS} bars of {symbol}, not {}; {}", count(), daemon.log()),
            || count() > BARS,
        );
        let bars = candles(daemon, symbol).bars;
        let truth = truth(sim, symbol, share);
        for ours in &bars[..bars.len() - 2] {
            match ours.state {
                CandleState::Partial => tally.partial += 1,
                CandleState::Gap => tally.gaps += 1,
                CandleState::Traded | CandleState::Quiet => {
                    let theirs = truth.get(&ours.open_ms);
                    let what = format!("{symbol} {ours:?}, truth {theirs:?}; {}", daemon.log());
                    assert!(theirs.is_some_and(|theirs| is_same(ours, theirs)), "{what}");
                    tally.equal += 1;
                    tally.trades += ours.trades;
                }
            }
        }
    }
    println!("{tally:?}; {}", counters(daemon));
    tally
}

fn counters(daemon: &Daemon) -> String {
    let shown: [Counter; 8] = [
        Trades,
        LineDuplicates,
        LineGaps,
        RetransmissionsAsked,
        MessagesLost,
        Malformed,
        Connects,
        Disconnects,
    ];
    shown.map(|counter| format!("{counter:?} {}", daemon.count(counter))).join(", ")
}

/// All bars are there and equal, and so are the books.
fn must_be_whole(daemon: &Daemon, sim: &Sim) {
    let tally = tally(daemon, sim);
    // The first bar of each symbol is one in which the session began.
    assert!(tally.gaps == 0 && tally.partial <= SYMBOLS.len(), "{tally:?}; {}", daemon.log());
    assert!(tally.equal >= 2 * (BARS - 3) && tally.trades > 100, "{tally:?}");
    assert_eq!([MessagesLost, Malformed, MissingTrades].map(|counter| daemon.count(counter)), [0; 3]);
    for place in 0..SYMBOLS.len() {
        for kind in [StreamKind::Trades, StreamKind::Book, StreamKind::Quotes] {
            let state = stream(daemon, place, kind);
            assert!(state.messages > 20, "{} says nothing: {state:?}", kind.name());
            assert_eq!([state.gaps, state.corrupt, state.silences], [0; 3], "{}: {state:?}", kind.name());
        }
        assert_eq!(stream(daemon, place, StreamKind::Trades).condition, PROVEN);
        assert_eq!(stream(daemon, place, StreamKind::Quotes).condition, PROVEN, "quotes agree with the book");
    }
}

/// How many messages both lines have lost.
fn lost_by_both(injected: &[Injected]) -> u64 {
    let of = |line: &str| {
        let lost = injected.iter().filter(|entry| entry.stream == line).filter_map(|entry| entry.lost);
        lost.flat_map(|(from, to)| from..=to).collect::<std::collections::BTreeSet<_>>()
    };
    of("mold-a").intersection(&of("mold-b")).count() as u64
}

fn drops(rate: f64) -> Faults {
    Faults::none().with(Fault::Drop, rate)
}

// MoldUDP64.

/// Each line loses a fifth of its packets, both together one in 25, which the server sends again. The daemon comes
/// later than the session and asks for its beginning.
#[test]
fn what_both_lines_lose_is_asked_for() {
    let lines = [free_port(), free_port()];
    let mut config = sim_config(drops(0.2));
    config.mold = Some(lines);
    config.mold_requests = Some(([127, 0, 0, 1], 0).into());
    let sim = Sim::start(config).unwrap();
    thread::sleep(Duration::from_millis(500));
    let [a, b] = lines;
    let requests = sim.mold_requests_addr().unwrap();
    let feed = format!(
        "url = \"mold://{a}\"\nsecond_url = \"mold://{b}\"\nrequests = \"{requests}\"\nfrom_start = true"
    );
    let Some(daemon) = start(&feed) else { return };
    must_be_whole(&daemon, &sim);
    assert!(lost_by_both(&sim.injected()) > 20);
    assert!(daemon.count(RetransmissionsAsked) > 10 && daemon.count(LineGaps) > 50, "{}", counters(&daemon));
}

/// Without a server what both lines lose is lost: the bars are gaps, no other bar is wrong, and no book is shown.
#[test]
fn what_nobody_brings_makes_gaps() {
    let lines = [free_port(), free_port()];
    let [a, b] = lines;
    let Some(daemon) = start(&format!("url = \"mold://{a}\"\nsecond_url = \"mold://{b}\"")) else { return };
    thread::sleep(Duration::from_millis(500)); // So that the first message is not missed.
    let mut config = sim_config(drops(0.08));
    config.mold = Some(lines);
    let sim = Sim::start(config).unwrap();
    wait_until(|| "losses".into(), || lost_by_both(&sim.injected()) > 10);
    let tally = tally(&daemon, &sim);
    let lost = lost_by_both(&sim.injected());
    assert!(lost > 0, "nothing was lost by both");
    wait_until(
        || format!("{lost} lost messages: {}", counters(&daemon)),
        || daemon.count(MessagesLost) >= lost,
    );
    assert!(tally.gaps > 0, "{tally:?}, {lost} lost");
    for place in 0..SYMBOLS.len() {
        assert!(stream(&daemon, place, StreamKind::Trades).gaps > 0);
        assert_ne!(stream(&daemon, place, StreamKind::Book).condition, PROVEN);
    }
}

/// A session that was joined late makes no wrong bar, and no book: trades of orders that were added before have no
/// price.
#[test]
fn a_session_that_was_joined_late_makes_no_wrong_bar() {
    let lines = [free_port(), free_port()];
    let mut config = sim_config(Faults::none());
    config.mold = Some(lines);
    let sim = Sim::start(config).unwrap();
    thread::sleep(Duration::from_millis(500));
    let Some(daemon) = start(&format!("url = \"mold://{}\"", lines[0])) else { return };
    let tally = tally(&daemon, &sim);
    assert!(tally.equal > 0 && daemon.count(MissingTrades) > 0, "{tally:?}; {}", counters(&daemon));
    for place in 0..SYMBOLS.len() {
        assert_eq!(stream(&daemon, place, StreamKind::Book).messages, 0);
    }
}

/// Passes on what the exchange sends on its first line, to the two of a daemon, without the packets that `is_lost` says
/// of their number and line.
struct Relay {
    lines: [SocketAddr; 2],
    from: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    fn start(lines: [SocketAddr; 2], is_lost: fn(u64, usize) -> bool) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let (from, stop) = (socket.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let (mut datagram, mut number) = ([0; 2_048], 0);
            while !stopped.load(Acquire) {
                let Ok(len) = socket.recv(&mut datagram) else { continue };
                let is_heartbeat = datagram[18..20] == [0, 0];
                for (line, to) in lines.into_iter().enumerate() {
                    if is_heartbeat || !is_lost(number, line) {
                        let _ = socket.send_to(&datagram[..len], to); // As the exchange does.
                    }
                }
                number += u64::from(!is_heartbeat);
            }
        });
        Self { lines, from, stop, thread: Some(thread) }
    }

    /// An exchange that sends to the relay, and a daemon at its other side that was there first.
    fn between(&self, requests: bool) -> Option<(Daemon, Sim)> {
        let mut config = sim_config(Faults::none());
        config.mold = Some([self.from, free_port()]);
        let server = requests.then(free_port);
        config.mold_requests = server;
        let asked = server.map_or(String::new(), |server| format!("requests = \"{server}\""));
        let [a, b] = self.lines;
        let daemon = start(&format!("url = \"mold://{a}\"\nsecond_url = \"mold://{b}\"\n{asked}"))?;
        thread::sleep(Duration::from_millis(500));
        Some((daemon, Sim::start(config).unwrap()))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Release);
        let _ = self.thread.take().unwrap().join(); // Its panic was printed.
    }
}

/// Either line loses every third packet, never the same one, and there is nobody to ask.
#[test]
fn what_one_line_loses_the_other_brings() {
    let relay = Relay::start([free_port(), free_port()], |number, line| number % 3 == line as u64);
    let Some((daemon, sim)) = relay.between(false) else { return };
    must_be_whole(&daemon, &sim);
    assert!(daemon.count(LineGaps) > 100 && daemon.count(LineDuplicates) > 50, "{}", counters(&daemon));
    assert_eq!(daemon.count(RetransmissionsAsked), 0);
}

/// Both lines lose every tenth packet, and the server is asked for each.
#[test]
fn what_no_line_brings_the_server_does() {
    let relay = Relay::start([free_port(), free_port()], |number, _| number % 10 == 9);
    let Some((daemon, sim)) = relay.between(true) else { return };
    must_be_whole(&daemon, &sim);
    assert!(daemon.count(RetransmissionsAsked) > 30, "{}", counters(&daemon));
}

/// Whether this machine carries multicast on its loopback device.
fn carries_multicast(group: Ipv4Addr) -> Option<SocketAddr> {
    let socket = UdpSocket::bind((group, 0)).ok()?;
    socket.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST).ok()?;
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let address = socket.local_addr().unwrap();
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    sender.send_to(b"?", address).ok()?;
    socket.recv(&mut [0; 8]).ok().map(|_| address)
}

#[test]
fn lines_are_joined_by_multicast() {
    // Of the block for use within an organisation; the process keeps other runs of this test apart.
    let [high, low] = (std::process::id() as u16).to_be_bytes();
    let lines = [253, 252].map(|line| carries_multicast(Ipv4Addr::new(239, line, high, low)));
    let [Some(a), Some(b)] = lines else {
        return println!("skipped: ITCH over multicast (the loopback device carries none)");
    };
    let feed = format!("url = \"mold://{a}\"\nsecond_url = \"mold://{b}\"\ninterface = \"127.0.0.1\"");
    let Some(daemon) = start(&feed) else { return };
    thread::sleep(Duration::from_millis(500));
    let mut config = sim_config(Faults::none());
    config.mold = Some([a, b]);
    let sim = Sim::start(config).unwrap();
    must_be_whole(&daemon, &sim);
    assert!(daemon.count(LineDuplicates) > 100, "both lines are there: {}", counters(&daemon));
}

/// A new configuration with one symbol less goes on in the session, with the book and all bars.
#[test]
fn a_new_configuration_goes_on_in_the_session() {
    let relay = Relay::start([free_port(), free_port()], |number, line| number % 3 == line as u64);
    let Some((mut daemon, sim)) = relay.between(false) else { return };
    wait_until(|| "some bars".into(), || candles(&daemon, "ADAUSDT").bars.len() > 2);
    let [a, b] = relay.lines;
    let lines = format!("url = \"mold://{a}\"\nsecond_url = \"mold://{b}\"");
    // In another order, so that each has another place.
    daemon.reload(&feeds(&["ADAUSDT", "BTCUSDT"], &lines));
    must_be_whole(&daemon, &sim);
    assert_eq!(daemon.count(Disconnects), 0);
}

// SoupBinTCP.

/// Stands between a daemon and a server: remembers the logins, and cuts connections.
struct Cutter {
    address: SocketAddr,
    /// The sequence numbers that were asked for.
    logins: Arc<Mutex<Vec<u64>>>,
    /// The connection that is there.
    open: Arc<Mutex<Option<TcpStream>>>,
    /// Bytes that came from the client behind its logins.
    said: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Cutter {
    fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (logins, said) = (Arc::<Mutex<Vec<u64>>>::default(), Arc::<AtomicUsize>::default());
        let open = Arc::<Mutex<Option<TcpStream>>>::default();
        let stop = Arc::new(AtomicBool::new(false));
        let (asked, at, heard, stopped) = (logins.clone(), open.clone(), said.clone(), stop.clone());
        let thread = thread::spawn(move || {
            while !stopped.load(Acquire) {
                let Ok((client, _)) = listener.accept() else {
                    thread::sleep(Duration::from_millis(2));
                    continue;
                };
                client.set_nonblocking(false).unwrap();
                let mut upstream = TcpStream::connect(server).unwrap();
                let mut login = [0; 49];
                (&client).read_exact(&mut login).unwrap();
                upstream.write_all(&login).unwrap();
                asked.lock().unwrap().push(str::from_utf8(&login[29..]).unwrap().trim().parse().unwrap());
                *at.lock().unwrap() = Some(client.try_clone().unwrap());
                let (mut from_client, mut to_server) =
                    (client.try_clone().unwrap(), upstream.try_clone().unwrap());
                let heard = heard.clone();
                let back = thread::spawn(move || {
                    let mut bytes = [0; 1_024];
                    while let Ok(len @ 1..) = from_client.read(&mut bytes) {
                        heard.fetch_add(len, AcqRel);
                        if to_server.write_all(&bytes[..len]).is_err() {
                            break;
                        }
                    }
                    let _ = to_server.shutdown(Shutdown::Both);
                });
                // In odd pieces, so that a cut falls inside a packet.
                let (mut bytes, mut to_client) = ([0; 997], client);
                while let Ok(len @ 1..) = upstream.read(&mut bytes) {
                    if to_client.write_all(&bytes[..len]).is_err() {
                        break;
                    }
                }
                let _ = to_client.shutdown(Shutdown::Both);
                let _ = upstream.shutdown(Shutdown::Both);
                back.join().unwrap();
            }
        });
        Self { address, logins, open, said, stop, thread: Some(thread) }
    }

    fn cut(&self) {
        if let Some(stream) = self.open.lock().unwrap().take() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn logins(&self) -> Vec<u64> {
        self.logins.lock().unwrap().clone()
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.stop.store(true, Release);
        self.cut();
        let _ = self.thread.take().unwrap().join(); // Its panic was printed.
    }
}

/// The connection is cut three times, in the middle of packets. Each login asks for the message that follows, so
/// nothing is missing.
#[test]
fn a_cut_connection_goes_on_where_it_was() {
    let mut config = sim_config(Faults::none());
    config.soup = Some(([127, 0, 0, 1], 0).into());
    let sim = Sim::start(config).unwrap();
    let cutter = Cutter::start(sim.soup_addr().unwrap());
    let feed = format!("url = \"soup://{}\"\nusername = \"me\"\npassword = \"secret\"", cutter.address);
    let Some(daemon) = start(&feed) else { return };
    for cuts in 1..=3 {
        let before = daemon.count(Trades);
        wait_until(
            || format!("trades after {cuts} logins; {}", daemon.log()),
            || cutter.logins().len() == cuts && daemon.count(Trades) > before + 20,
        );
        cutter.cut();
        wait_until(|| format!("login {}; {}", cuts + 1, daemon.log()), || cutter.logins().len() == cuts + 1);
    }
    must_be_whole(&daemon, &sim);
    let logins = cutter.logins();
    assert!(logins[0] == 1 && logins.is_sorted_by(|a, b| a < b), "{logins:?}");
    assert_eq!(daemon.count(Disconnects), 3);
    assert!(!daemon.log().contains("secret"));
    // Both sides say that they live, for longer than either is patient in tests of its own.
    let (said, started) = (cutter.said.load(Acquire), Instant::now());
    wait_until(|| "heartbeats".into(), || cutter.said.load(Acquire) >= said + 6);
    assert!(started.elapsed() < Duration::from_secs(8));
}

/// A server that refuses the login is asked again, later, and the log says what to do.
#[test]
fn a_refused_login_is_said() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 49]).unwrap();
        stream.write_all(&[0, 2, b'J', b'A']).unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    });
    let feed = format!("url = \"soup://{address}\"\nusername = \"me\"\npassword = \"wrong\"");
    let Some(daemon) = start(&feed) else {
        drop(TcpStream::connect(address).unwrap());
        return;
    };
    wait_until(|| daemon.log(), || daemon.log().contains("refused the login: check username and password"));
    server.join().unwrap();
}

/// `chartd check` says how a feed comes.
#[test]
fn check_says_how_a_feed_comes() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("chartd.toml");
    let text = "[[feed]]\nvenue = \"itch\"\nsymbols = [\"AAPL\"]\nurl = \"mold://239.1.1.1:9001\"\n\
                [[chart]]\nsource = \"itch:AAPL\"\ntimeframe = \"1m\"\n";
    std::fs::write(&file, text).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_chartd"))
        .args(["check".as_ref(), "--config".as_ref(), file.as_os_str()])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("by MoldUDP64 on 239.1.1.1:9001"), "{said}");
}

/// What a daemon took in of ITCH comes back from its journal: sessions, messages and the day.
#[test]
fn a_journal_of_it_gives_the_same_candles() {
    let mut config = sim_config(Faults::none());
    let soup = free_port();
    config.soup = Some(soup);
    let sim = Sim::start(config).unwrap();
    let journal = TempDir::new().unwrap();
    let keeps = format!("[journal]\nfolder = {:?}\nsegment_mb = 8\n", journal.path());
    let names = SYMBOLS.map(|(name, _)| name);
    let feeds = feeds(&names, &format!("url = \"soup://{soup}\"")) + &keeps;
    let folder = TempDir::new().unwrap();
    let cache = folder.path().join("cache");
    let Some(daemon) = Daemon::start_in(&feeds, folder, &cache, &[]) else { return };
    assert!(tally(&daemon, &sim).equal > 0);
    let live = names.map(|name| candles(&daemon, name).bars);
    drop(daemon);

    let csv = journal.path().join("candles.csv");
    let replay = |more: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_chartd"))
            .args(["replay".as_ref(), journal.path().as_os_str(), "--candles".as_ref(), csv.as_os_str()])
            .args(["--timeframes", "1s"])
            .args(more)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::read_to_string(&csv).unwrap()
    };
    let text = replay(&[]);
    for (name, live) in names.iter().zip(&live) {
        let chart = format!("itch:{name}/1s,");
        let lines: Vec<Vec<&str>> =
            text.lines().filter_map(|line| line.strip_prefix(&*chart)).map(|line| line.split(',').collect()).collect();
        assert!(lines.len() >= live.len());
        // The newest went on after it was looked at.
        for (line, bar) in lines.iter().zip(&live[..live.len() - 1]) {
            let seen = [line[0], line[6], line[7]].map(str::to_owned);
            assert_eq!(seen, [bar.open_ms.to_string(), bar.trades.to_string(), bar.state.name().into()]);
        }
    }
    // From the middle of the session the day is known all the same.
    let now = jiff::Timestamp::now().as_nanosecond() as u64;
    let part = replay(&["--from", &(now - 6_000_000_000).to_string()]);
    let opens = |text: &str| -> std::collections::BTreeSet<String> {
        text.lines().skip(1).map(|line| line.split(',').nth(1).unwrap().to_owned()).collect()
    };
    let (all, part) = (opens(&text), opens(&part));
    assert!(!part.is_empty() && part.is_subset(&all), "{part:?}");
}
