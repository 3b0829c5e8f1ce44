//! The daemon fed by servers that share no code with it: Python's `websockets`, over TLS, and its `itchfeed` and `moldudp`,
//! over two lines of UDP.

#[allow(dead_code, reason = "other tests use the rest")]
mod common {
    pub(crate) mod daemon;
    pub(crate) mod tls;
    pub(crate) mod venue;
    pub(crate) mod wire;
}

use common::daemon::{Daemon, Feed};
use common::tls::Authority;
use market::CandleState;
use shm::status::Counter::*;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

const BTC: &str = "BTCUSDT";
const TRADES: u64 = 2000;

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill(); // It may have ended.
        let _ = self.0.wait();
    }
}

/// Python with these packages, if `cargo xtask test` has made it.
fn python(packages: &str) -> Option<PathBuf> {
    let python = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/python/bin/python"));
    let found =
        Command::new(&python).args(["-c", &format!("import {packages}")]).stderr(Stdio::null()).status();
    if found.is_ok_and(|status| status.success()) {
        return Some(python);
    }
    eprintln!(
        "skipped: feeds from a server that is written in Python (no {packages}; cargo xtask test makes it)"
    );
    None
}

/// Text whole, in pieces and as bytes, pings of its own and of its keep-alive, a close by the rules, and a second
/// connection that stays.
#[test]
fn a_server_written_in_python_is_read_to_the_last_trade() {
    let Some(python) = python("websockets") else { return };
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "ca.pem");
    let certificate = folder.path().join("server.pem");
    authority.write(&certificate);
    let mut command = Command::new(python);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/venue.py"));
    command.arg(&certificate).args([BTC, &TRADES.to_string()]).stdout(Stdio::piped());
    let mut server = Running(command.spawn().unwrap());
    let mut says = BufReader::new(server.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let port = says.next().unwrap();
    let url = format!("wss://127.0.0.1:{}", port.strip_prefix("port ").unwrap());
    let Some(daemon) = Daemon::start(&[Feed { symbol: BTC, url, ca_file: Some(&authority.ca_file) }]) else {
        return;
    };
    daemon.wait_for_trades(BTC, TRADES);
    let said: Vec<_> = says.collect();
    let request = "request /stream?streams=btcusdt@trade/btcusdt@bookTicker/btcusdt@depth@100ms/btcusdt@depth20/btcusdt@kline_1s";
    let expected = [
        &format!("{request} -"),
        &format!("sent {}", TRADES / 2),
        "closed 1001 CLOSED",
        &format!("{request} -"),
        &format!("sent {TRADES}"),
        "still OPEN",
    ];
    assert_eq!(said, expected, "{}", daemon.log());
    assert_eq!(daemon.count(FramesIn), TRADES);
    assert!(daemon.count(Pings) >= TRADES / 50 + 2, "only {} pings", daemon.count(Pings));
    assert_eq!((daemon.count(Malformed), daemon.count(MissingTrades), daemon.count(Duplicates)), (0, 0, 0));
    assert!(!daemon.states(BTC).contains(&CandleState::Gap), "a close and a new connection lose nothing");
    assert!(daemon.log().contains("the server closed it with code 1001"), "{}", daemon.log());
}

/// Messages that `itchfeed` encodes, in packets of `moldudp`, on two lines of which each loses some: every trade arrives,
/// once and in order.
#[test]
fn an_exchange_written_in_python_is_read_to_the_last_trade() {
    const ROUNDS: u64 = 400;
    let Some(python) = python("itch, moldudp") else { return };
    let port = || UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let ports = [port(), port()];
    let text = format!(
        "[[feed]]\nvenue = \"itch\"\nsymbols = [\"ACME\"]\nurl = \"mold://127.0.0.1:{}\"\n\
         second_url = \"mold://127.0.0.1:{}\"\ndate = \"2026-11-24\"\n\
         [[chart]]\nsource = \"itch:ACME\"\ntimeframe = \"1s\"\nsize = [320, 200]\n",
        ports[0], ports[1]
    );
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let Some(daemon) = Daemon::start_in(&text, folder, &cache, &[]) else { return };
    daemon.wait_for(Connects, 2);
    let mut command = Command::new(python);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/exchange.py"));
    let exchange = command.args(ports.map(|port| port.to_string())).arg(ROUNDS.to_string());
    assert!(exchange.status().unwrap().success());

    daemon.wait_for(Trades, 2 * ROUNDS);
    let bars = daemon.candles_of("itch:ACME/1s").bars;
    assert_eq!(bars.iter().map(|bar| bar.trades).sum::<u64>(), 2 * ROUNDS);
    assert_eq!(bars.iter().map(|bar| bar.volume).sum::<i128>(), i128::from(47 * ROUNDS));
    assert!(bars.iter().all(|bar| bar.state != CandleState::Gap), "{bars:?}");
    let ohlc = bars.last().unwrap().ohlc.unwrap();
    assert_eq!(
        (ohlc.high, ohlc.low),
        (1_000_000, 1_000_000),
        "of the last second only its first trades came"
    );
    assert_eq!((daemon.count(MessagesLost), daemon.count(Malformed)), (0, 0), "{}", daemon.log());
    assert!(daemon.count(LineDuplicates) > ROUNDS && daemon.count(LineGaps) > ROUNDS);
}
