//! `chartd journal verify`, `dump` and `export` as processes, on journals that are made here, whole and damaged.
//!
//! What an export should hold is computed from the frames themselves, with the venues' decoders and nothing else of
//! chartd; Parquet is read back by another program as well.

mod build;
mod dump;
mod export;
mod parquet;
mod verify;

use build::{Journal, instrument, start};
use serde_json::Value;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Output;
use tests::{run, stderr};

/// Runs `chartd journal` and checks its exit code.
fn journal<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>, code: i32) -> Output {
    let args: Vec<_> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
    let output = run("chartd", ["journal".into()].into_iter().chain(args.clone()));
    assert_eq!(output.status.code(), Some(code), "{args:?}: {}", stderr(&output));
    output
}

/// The same, with the folder behind the subcommand.
fn on(command: &str, dir: &Path, args: &[&str], code: i32) -> Output {
    let all = [OsStr::new(command), dir.as_os_str()];
    journal(all.into_iter().chain(args.iter().map(OsStr::new)), code)
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("chartd prints text")
}

fn lines(output: &Output) -> Vec<Value> {
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    stdout(output).lines().map(line).collect()
}

fn binance_trade(id: u64, price: &str) -> Vec<u8> {
    let time = 1_723_075_200_000 + id;
    format!(
        "{{\"e\":\"trade\",\"E\":{},\"s\":\"BTCUSDT\",\"t\":{id},\"p\":\"{price}\",\"q\":\"0.00100000\",\
         \"T\":{time},\"m\":{},\"M\":true}}",
        time + 1,
        id.is_multiple_of(2)
    )
    .into_bytes()
}

fn binance_quote(id: u64) -> Vec<u8> {
    format!(
        "{{\"u\":{id},\"s\":\"BTCUSDT\",\"b\":\"60939.99000000\",\"B\":\"1.50000000\",\"a\":\"60940.00000000\",\
         \"A\":\"0.25000000\"}}"
    )
    .into_bytes()
}

fn kraken_trade(id: u64) -> Vec<u8> {
    format!(
        "{{\"channel\":\"trade\",\"type\":\"update\",\"data\":[{{\"symbol\":\"BTC/USD\",\"side\":\"sell\",\
         \"price\":60941.5,\"qty\":0.00409283,\"ord_type\":\"market\",\"trade_id\":{id},\
         \"timestamp\":\"2024-08-08T00:00:01.{:06}Z\"}}]}}",
        id * 1_000
    )
    .into_bytes()
}

fn two_feeds(run: &str, generation: u32) -> Value {
    let btc = vec![instrument("BTCUSDT", 2, 5)];
    start(run, generation, &[("binance", btc), ("kraken", vec![instrument("BTC/USD", 1, 8)])])
}

/// Two runs over three segments: 101 trades of Binance, 50 of Kraken, a gap, something of every kind that says little.
/// Blocks of 20 records or so.
fn whole() -> Journal {
    let mut journal = Journal::new();
    journal.start(&two_feeds("aa", 1));
    journal.record(journal::Kind::Connected, 0, 0, b"");
    for id in 0..50 {
        journal.frame(0, 0, &binance_trade(100 + id, "60939.99000000"));
        journal.frame(1, 2, &kraken_trade(id));
        if id % 10 == 9 {
            journal.seal(0);
        }
    }
    journal.gap(12, 0b10);
    journal.next_segment();
    for id in 50..100 {
        journal.frame(0, 1, &binance_trade(100 + id, "60940.5"));
    }
    journal.record(journal::Kind::Tick, 0, 0, b"");
    journal.record(journal::Kind::Disconnected, 0, 0, b"");
    journal.next_segment();
    journal.start(&two_feeds("bb", 1));
    journal.frame(0, 0, &binance_trade(200, "60941.00000000"));
    journal.finish();
    journal
}
