//! `chartd journal dump`.

use super::*;
use build::{BEGIN_NS, STEP_NS};
use journal::Kind;
use serde_json::json;

fn dumped(dir: &Path, args: &[&str], code: i32) -> Vec<Value> {
    let args: Vec<_> = ["--json"].iter().chain(args).copied().collect();
    lines(&on("dump", dir, &args, code))
}

fn sequences(lines: &[Value]) -> Vec<u64> {
    lines.iter().filter_map(|line| line["sequence"].as_u64()).collect()
}

#[test]
fn every_record_is_a_line() {
    let journal = whole();
    let all = dumped(journal.path(), &[], 0);
    assert_eq!(sequences(&all), (0..journal.next).collect::<Vec<_>>());
    let third = json!({
        "sequence": 2, "time": "2024-08-08T00:00:00.002000000Z", "real_ns": BEGIN_NS + 2 * STEP_NS,
        "mono_ns": 2 * STEP_NS + 1, "kind": "frame", "generation": 1, "feed": 0, "venue": "binance", "line": 0,
        "frame": String::from_utf8(binance_trade(100, "60939.99000000")).unwrap(),
    });
    assert_eq!(all[2], third);
    assert_eq!(all[0]["start"], two_feeds("aa", 1));
    assert_eq!(all[102]["lost"]["venues"], json!(["kraken"]));

    let text = stdout(&on("dump", journal.path(), &[], 0));
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), all.len());
    let frame = String::from_utf8(binance_trade(100, "60939.99000000")).unwrap();
    let head = "           2  2024-08-08T00:00:00.002000000Z  frame          binance       0  ";
    assert_eq!(lines[2], format!("{head}{frame}"));
    assert!(lines[102].contains("12 records of 1200 bytes found no room, from kraken"), "{}", lines[102]);
}

#[test]
fn only_what_is_asked_for_is_shown() {
    let journal = whole();
    let of = |args: &[&str]| dumped(journal.path(), args, 0);
    let kraken = of(&["--feed", "kraken"]);
    assert_eq!(kraken.len(), 51, "fifty trades, and the gap that concerns it");
    assert!(kraken.iter().all(|line| line["venue"] == "kraken" || line["kind"] == "gap"));
    let binance = of(&["--feed", "binance"]);
    assert_eq!(binance.len(), 103, "101 trades, and two that tell of its connection");
    let kinds = of(&["--kind", "connected,disconnected,gap,tick"]);
    let names: Vec<_> = kinds.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(names, ["connected", "gap", "tick", "disconnected"]);
    assert_eq!(sequences(&of(&["--limit", "3"])), [0, 1, 2]);
    assert_eq!(sequences(&of(&["--limit", "2", "--kind", "frame", "--feed", "kraken"])), [3, 5]);

    // All ways to tell a time. The start record in force is known and not shown.
    let ns = (BEGIN_NS + 10 * STEP_NS).to_string();
    let (from, to) = ("2024-08-08T00:00:00.01Z", "2024-08-08T02:00:00.013+02:00");
    for from in [ns.as_str(), from] {
        let part = of(&["--from", from, "--to", to]);
        assert_eq!(sequences(&part), [10, 11, 12]);
        assert!(part.iter().all(|line| line["venue"].is_string()), "{part:?}");
    }
    assert_eq!(of(&["--from", "2024-08-08", "--to", "2024-08-09"]).len() as u64, journal.next);
    assert!(of(&["--from", "-1h"]).is_empty());
}

#[test]
fn what_is_missing_stands_in_its_place() {
    let journal = whole();
    journal.damage(2);
    let (_, _, _, first) = journal.blocks[2];
    let until = journal.blocks[3].3;
    // Whatever is filtered out.
    for args in [&[][..], &["--kind", "frame"], &["--feed", "binance"]] {
        let all = dumped(journal.path(), args, 1);
        let place = all.iter().position(|line| line.get("missing").is_some()).unwrap();
        assert_eq!(all[place]["missing"]["from"], json!(first));
        assert_eq!(all[place]["missing"]["until"], json!(until));
        assert!(sequences(&all[..place]).iter().all(|sequence| *sequence < first));
        assert!(sequences(&all[place..]).iter().all(|sequence| *sequence >= until));
    }
    let text = stdout(&on("dump", journal.path(), &[], 1));
    assert!(
        text.contains(&format!("MISSING                         records {first} to {}", until - 1)),
        "{text}"
    );
}

#[test]
fn nothing_that_a_venue_sends_reaches_the_terminal_as_it_is() {
    let mut journal = Journal::new();
    journal.start(&two_feeds("aa", 1));
    journal.frame(0, 0, b"a\x1b]0;title\x07\r\nb");
    journal.frame(0, 0, &[0xff, 0x00, b'x']);
    journal.finish();
    let text = stdout(&on("dump", journal.path(), &["--kind", "frame"], 0));
    let shown: Vec<_> = text.lines().map(|line| line.rsplit("  ").next().unwrap()).collect();
    assert_eq!(shown, ["a\\u{1b}]0;title\\u{7}\\r\\nb", "\\xff\\u{0}x"]);
    let json = dumped(journal.path(), &["--kind", "frame"], 0);
    assert_eq!(json[0]["frame"], json!("a\u{1b}]0;title\u{7}\r\nb"));
    assert_eq!(json[1]["frame_hex"], json!("ff0078"));
}

#[test]
fn what_was_fetched_and_told_is_spelt_out() {
    let mut journal = Journal::new();
    journal.start(&two_feeds("aa", 1));
    journal.record(Kind::Day, 0, 0, &1_723_075_200_000i64.to_le_bytes());
    journal.record(Kind::Begin, 0, 0, &[1]);
    journal.record(Kind::MessagesLost, 0, 0, &[5u64, 9].map(u64::to_le_bytes).concat());
    journal.record(Kind::Trades, 0, 0, &export::fetched(&[(7, 1_234)], true));
    journal.record(Kind::Trades, 0, 0, b"short");
    journal.finish();
    let all = dumped(journal.path(), &[], 0);
    assert_eq!(all[1]["midnight_ms"], json!(1_723_075_200_000u64));
    assert_eq!((&all[2]["whole"], &all[2]["proven"]), (&json!(true), &json!(false)));
    assert_eq!(all[3]["messages"], json!({"from": 5, "to": 9}));
    assert_eq!(all[4]["trades"][0]["price"], json!("12.34"));
    assert_eq!((&all[4]["symbol"], &all[4]["final"]), (&json!("BTCUSDT"), &json!(true)));
    assert!(all[5]["unreadable"].is_string());
    let text = stdout(&on("dump", journal.path(), &[], 0));
    for part in ["2024-08-08T00:00:00Z", "messages 5 to 9", "BTCUSDT: 1 trades, of 7 to 7", "unreadable"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
