//! The daemon fed by a server that shares no code with it: Python's `websockets`, over TLS.

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

/// Python with `websockets`, if `cargo xtask test` has made it.
fn python() -> Option<PathBuf> {
    let python = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/python/bin/python"));
    let found = Command::new(&python).args(["-c", "import websockets"]).stderr(Stdio::null()).status();
    if found.is_ok_and(|status| status.success()) {
        return Some(python);
    }
    eprintln!(
        "skipped: feeds from a server that is written in Python (no websockets; cargo xtask test makes it)"
    );
    None
}

/// Text whole, in pieces and as bytes, pings of its own and of its keep-alive, a close by the rules, and a second
/// connection that stays.
#[test]
fn a_server_written_in_python_is_read_to_the_last_trade() {
    let Some(python) = python() else { return };
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
