//! What nobody should feed chartd: files, command lines, configurations and bytes that are wrong.
//!
//! Each gets one clear sentence that says where, and exit code 2; or a counter, where the rest can still be used.
//! None gets a panic, and none hangs: every program runs under the time limit of [`tests::run`].

use chartd::config::Config;
use chartd::ingest::ws::{Deframer, Event, WsError};
use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use serde_json::Value;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;
use tempfile::TempDir;
use tests::{bin, finish, recorded, run, stderr};

const BASE_MS: i64 = 1_700_000_040_000;
const STAMP_BYTES: usize = "1700000040000000000 ".len();

fn trade(id: i64, price: &str, quantity: &str) -> String {
    let time_ms = BASE_MS + 100 * id;
    let head = format!(r#"{time_ms}000000 {{"stream":"btcusdt@trade","data":{{"e":"trade","E":{time_ms}"#);
    let tail = format!(r#""p":"{price}","q":"{quantity}","T":{time_ms},"m":true,"M":true}}}}"#);
    format!(r#"{head},"s":"BTCUSDT","t":{id},{tail}"#)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory takes all");
    encoder.finish().expect("memory takes all")
}

/// Bytes without a pattern (xorshift64), the same on each run.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// A folder of inputs that goes with the test.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder for the inputs"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn with(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("an input can be written");
        path
    }
}

fn chartd(first: &str, path: &Path, more: &[&str]) -> Output {
    let mut args = vec![OsString::from(first)];
    args.extend((first == "check").then(|| "--config".into()));
    args.push(path.into());
    args.extend(more.iter().map(OsString::from));
    let output = run("chartd", &args);
    assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
    output
}

/// Refused with code 2, nothing on standard output, and one sentence that has all of these words.
fn assert_refused(output: &Output, words: &[&str]) {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(said.lines().count(), 1, "not one sentence: {said}");
    assert!(said.starts_with("chartd: ") && said.len() < 400, "{said}");
    for word in words {
        assert!(said.contains(word), "it does not say {word:?}: {said}");
    }
    // `No such file (os error 2): No such file (os error 2)` is not one sentence.
    let last = said.trim_end().rsplit(": ").next().unwrap_or_default();
    assert_eq!(said.matches(last).count(), 1, "it says it twice: {said}");
}

fn refuse_file(name: &str, content: impl AsRef<[u8]>, words: &[&str]) {
    let folder = Folder::new();
    let file = folder.with(name, content);
    assert_refused(&chartd("replay", &file, &[]), words);
}

// --- Files ---

#[test]
fn a_missing_file() {
    let missing = Folder::new().path("missing.gz");
    assert_refused(&chartd("replay", &missing, &[]), &["missing.gz", "No such file"]);
}

#[test]
fn a_missing_file_behind_a_good_one() {
    let folder = Folder::new();
    let good = folder.with("good.txt", trade(1, "10", "1"));
    let missing = folder.path("missing.txt");
    let missing = missing.to_str().expect("a name in UTF-8");
    assert_refused(&chartd("replay", &good, &[missing]), &["missing.txt"]);
}

#[test]
fn a_folder() {
    let folder = Folder::new();
    let name = folder.0.path().file_name().expect("a name").to_string_lossy().into_owned();
    assert_refused(&chartd("replay", folder.0.path(), &[]), &[&name, "folder"]);
}

#[test]
fn an_empty_file() {
    refuse_file("empty.txt", "", &["empty.txt"]);
}

#[test]
fn a_gzip_of_nothing() {
    refuse_file("nothing.gz", gzip(b""), &["nothing.gz"]);
}

#[test]
fn a_truncated_gzip() {
    let lines: Vec<_> = (1..20_000).map(|id| trade(id, "10", "1")).collect();
    let whole = gzip(lines.join("\n").as_bytes());
    refuse_file("cut.gz", &whole[..whole.len() / 2], &["cut.gz", "line", "gzip", "cut off"]);
}

#[test]
fn a_gzip_with_a_wrong_checksum() {
    let mut bytes = gzip(trade(1, "10", "1").as_bytes());
    let at = bytes.len() - 8;
    bytes[at] ^= 1;
    refuse_file("wrong.gz", bytes, &["wrong.gz", "gzip", "checksum"]);
}

#[test]
fn a_file_that_is_only_called_gz() {
    refuse_file("plain.gz", trade(1, "10", "1"), &["plain.gz", "not gzip"]);
    refuse_file("empty.gz", "", &["empty.gz", "not gzip"]);
}

#[test]
fn garbage_in_a_gzip() {
    refuse_file("garbage.gz", gzip(&noise(100_000)), &["garbage.gz"]);
}

#[test]
fn binary_noise() {
    refuse_file("noise.txt", noise(100_000), &["noise.txt"]);
}

#[test]
fn a_line_of_100_megabytes() {
    let folder = Folder::new();
    let file = folder.path("long.txt");
    let mut out = fs::File::create(&file).expect("an input can be written");
    writeln!(out, "{}", trade(1, "10", "1")).expect("an input can be written");
    for _ in 0..100 {
        out.write_all(&[b'x'; 1 << 20]).expect("an input can be written");
    }
    drop(out);
    assert_refused(&chartd("replay", &file, &[]), &["long.txt", "line 2", "longer"]);
}

#[test]
fn a_pipe_is_replayed_or_refused() {
    let folder = Folder::new();
    let pipe = folder.path("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().expect("coreutils are there");
    assert!(made.success());
    let to = pipe.clone();
    // Not joined: it waits for ever where the pipe is refused without being opened.
    std::thread::spawn(move || fs::write(to, trade(1, "10", "1")));
    let mut replay = Command::new(bin("chartd"));
    replay.args(["replay", "--json"]).arg(&pipe);
    let output = finish(replay, Duration::from_secs(10));
    if output.status.success() {
        let report: Value = serde_json::from_slice(&output.stdout).expect("the report is JSON");
        assert_eq!(report["trades"], 1, "{report}");
    } else {
        assert_refused(&output, &["pipe"]);
    }
}

#[test]
fn more_symbols_than_anyone_watches() {
    let symbol = |id: i64| trade(1, "10", "1").replace("BTCUSDT", &format!("COIN{id}"));
    let lines: Vec<_> = (0..5_000).map(symbol).collect();
    refuse_file("many.txt", lines.join("\n"), &["symbols"]);
}

// --- Lines ---

/// Replays lines of which some are wrong: what it said, its report, its candles.
fn replay_lines(lines: &[String]) -> (String, Value, String) {
    let folder = Folder::new();
    let file = folder.with("frames.txt", lines.join("\n"));
    let csv = folder.path("c.csv");
    let more = ["--json", "--timeframes", "1s", "--candles", csv.to_str().expect("a name in UTF-8")];
    let output = chartd("replay", &file, &more);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report = serde_json::from_slice(&output.stdout).expect("the report is JSON");
    (stderr(&output), report, fs::read_to_string(csv).expect("the candles were written"))
}

/// A wrong line between good ones is counted, named with its line and offset, and the rest is used.
fn assert_counted(wrong: &str, offset: usize) {
    let good = [trade(1, "10", "1"), trade(3, "12", "1")];
    let (said, report, csv) = replay_lines(&[good[0].clone(), wrong.to_owned(), good[1].clone()]);
    assert_eq!((&report["malformed"], &report["decoded"]), (&1.into(), &2.into()), "{report}");
    assert_eq!(said.lines().count(), 1, "not one sentence: {said}");
    for word in ["frames.txt, line 2".to_owned(), format!("byte {offset}:")] {
        assert!(said.contains(&word), "it does not say {word:?} of {wrong:?}: {said}");
    }
    assert!(csv.contains(",10,12,10,12,2,2,"), "{csv}");
}

#[test]
fn malformed_json_among_good_lines() {
    let whole = trade(2, "11", "1");
    // Offsets count from the frame's first byte, behind the stamp.
    assert_counted("hello", 0);
    assert_counted(&whole[..whole.len() - 2], whole.len() - 2 - STAMP_BYTES);
    let comma = whole.find(r#""t":"#).expect("an id") - 1;
    let without = format!("{};{}", &whole[..comma], &whole[comma + 1..]);
    assert_counted(&without, comma - STAMP_BYTES);
}

#[test]
fn numbers_that_no_instrument_has() {
    let too_many = "1.123456789";
    let prices = [too_many, "-1", "99999999999999999999", "92233720369", "1e5", "NaN", "", ".", "+1", " 1"];
    for wrong in prices {
        for (key, line) in [("p", trade(2, wrong, "1")), ("q", trade(2, "11", wrong))] {
            let value = line.find(&format!(r#""{key}":""#)).expect("the key") + key.len() + 4;
            assert_counted(&line, value - STAMP_BYTES);
        }
    }
}

#[test]
fn ids_and_times_of_more_than_64_bits() {
    let line = trade(2, "11", "1");
    for key in ["t", "T"] {
        let value = line.find(&format!(r#""{key}":"#)).expect("the key") + key.len() + 3;
        for wrong in ["99999999999999999999", "-5"] {
            let end = value + line[value..].find(',').expect("a next key");
            assert_counted(&format!("{}{wrong}{}", &line[..value], &line[end..]), value - STAMP_BYTES);
        }
    }
}

#[test]
fn many_malformed_lines_are_counted_and_not_all_told() {
    let mut lines: Vec<_> = (0..10_000).map(|number| format!("garbage {number}")).collect();
    lines.push(trade(1, "10", "1"));
    let (said, report, _) = replay_lines(&lines);
    assert_eq!((&report["malformed"], &report["trades"]), (&10_000.into(), &1.into()), "{report}");
    assert!(said.lines().count() < 30, "{} lines", said.lines().count());
}

#[test]
fn a_wrong_year_does_not_take_the_other_candles_with_it() {
    let far = trade(2, "11", "1").replace(&BASE_MS.to_string()[..4], "9700");
    let (_, _, csv) = replay_lines(&[trade(1, "10", "1"), far, trade(3, "12", "1")]);
    assert!(csv.contains(&format!("{BASE_MS},10,")), "{csv}");
}

#[test]
fn unknown_frames_are_counted() {
    let lines = [
        trade(1, "10", "1"),
        r#"{"stream":"btcusdt@moon","data":{"e":"moonPhase","E":1700000040200,"s":"BTCUSDT"}}"#.into(),
        trade(2, "12", "1"),
    ];
    let (said, report, csv) = replay_lines(&lines);
    assert_eq!((&report["unknown"], &report["malformed"]), (&1.into(), &0.into()), "{report}");
    assert_eq!(said, "");
    assert!(csv.contains(",10,12,10,12,2,2,"), "{csv}");
}

#[test]
fn symbols_that_no_venue_has() {
    // As file names, columns or identifiers, they would reach where they should not.
    for symbol in ["../../up", "A,B", "", "A B", &"X".repeat(1_000)] {
        let folder = Folder::new();
        let wrong = trade(2, "11", "1").replace("BTCUSDT", symbol);
        let lines = [trade(1, "10", "1"), wrong, trade(3, "12", "1")];
        let file = folder.with("frames.txt", lines.join("\n"));
        let csv = folder.path("c.csv");
        let frames = folder.path("in/out");
        let more = ["--candles", csv.to_str().expect("UTF-8"), "--frames", frames.to_str().expect("UTF-8")];
        let output = chartd("replay", &file, &more);
        let said = stderr(&output);
        assert!(matches!(output.status.code(), Some(0 | 2)), "{symbol:?}: {said}");
        assert!(output.status.success() || said.contains("line 2"), "{symbol:?}: {said}");
        let csv = fs::read_to_string(csv).unwrap_or_default();
        let columns = csv.lines().map(|row| row.split(',').count());
        assert!(columns.clone().all(|count| count == 10), "{symbol:?}: {csv}");
        for name in fs::read_dir(folder.path("in")).into_iter().flatten().flatten() {
            assert_eq!(name.file_name(), "out", "{symbol:?} reached outside");
        }
    }
}

#[test]
fn damaged_frames_add_up() {
    let Some(file) = recorded("binance_spot/cryptofeed_BINANCE.ws.1.0") else {
        return;
    };
    let text = fs::read_to_string(file).expect("the recording is text");
    let whole: Vec<_> = text.lines().skip(1).filter(|line| line.len() > 1).collect();
    let random = noise(4 * 3_000);
    let damaged = random.chunks_exact(4).enumerate().map(|(number, random)| {
        let mut line = whole[number % whole.len()].as_bytes().to_vec();
        let at = usize::from(u16::from_le_bytes([random[0], random[1]])) % line.len();
        match random[2] % 3 {
            0 => line.truncate(at),
            1 => line[at] = random[3],
            _ => line.insert(at, random[3]),
        }
        // One damaged line stays one line, and names no new symbol, each of which takes a chart's memory.
        let known = String::from_utf8_lossy(&line).replace(['\n', '\r'], "?");
        let symbol =
            known.split(r#""s":""#).nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("NKNUSDT");
        let known = ["NKNUSDT", "BLZETH", "LRCBTC", "RUNEEUR"].contains(&symbol).then_some(known);
        known.filter(|line| !line.trim().is_empty()).unwrap_or_else(|| "?".into())
    });
    let lines: Vec<_> = damaged.chain([trade(1, "10", "1")]).collect();
    let (_, report, _) = replay_lines(&lines);
    let kinds = ["decoded", "control", "unknown", "malformed"].map(|kind| report[kind].as_u64().unwrap_or(0));
    assert_eq!(kinds.iter().sum::<u64>(), lines.len() as u64, "{report}");
    assert!(kinds[0] > 100 && kinds[3] > 100, "{report}");
}

// --- Command lines ---

/// clap's answer: the first line says what is wrong, and of which option.
fn assert_usage(more: &[&str], words: &[&str]) {
    let folder = Folder::new();
    let good = folder.with("good.txt", trade(1, "10", "1"));
    let output = chartd("replay", &good, more);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    let first = said.lines().next().unwrap_or_default();
    for word in words {
        assert!(first.contains(word), "it does not say {word:?}: {said}");
    }
}

#[test]
fn options_that_make_no_sense() {
    for speed in ["0", "nan", "inf", "fast", "1e-400"] {
        assert_usage(&["--speed", speed], &["--speed", &format!("'{speed}'"), "above zero"]);
    }
    assert_usage(&["--speed=-1"], &["--speed", "'-1'", "above zero"]);
    for timeframe in ["7m", "", "1m,,1s", "0s", "1M1"] {
        assert_usage(&["--timeframes", timeframe], &["--timeframes", "is not a timeframe"]);
    }
    assert_usage(&["--venue", "nyse"], &["--venue", "'nyse' is not a venue"]);
    assert_usage(&["--colour"], &["unexpected argument", "--colour"]);
}

#[test]
fn outputs_that_cannot_be_written() {
    let folder = Folder::new();
    let good = folder.with("good.txt", trade(1, "10", "1"));
    let file = good.to_str().expect("a name in UTF-8");
    let inside = format!("{file}/below");
    for option in ["--candles", "--frames", "--report"] {
        assert_refused(&chartd("replay", &good, &[option, &inside]), &[&inside]);
    }
    assert_refused(&chartd("replay", &good, &["--frames", file]), &[file]);
    for option in ["--candles", "--report"] {
        assert_refused(&chartd("replay", &good, &[option, "/dev/full"]), &["/dev/full", "No space"]);
    }
}

// --- Configurations ---

const GOOD: &str = r#"[[feed]]
venue = "binance"
symbols = ["BTCUSDT"]

[[chart]]
source = "binance:BTCUSDT"
timeframe = "1m"
size = [1920, 1080]
theme = "dark"
time_zone = "Europe/Berlin"
"#;

fn check(content: impl AsRef<[u8]>) -> Output {
    let folder = Folder::new();
    let file = folder.with("chartd.toml", content);
    chartd("check", &file, &[])
}

/// A good configuration with one part changed is refused, and the sentence has all of these words.
fn refuse_config(old: &str, new: &str, words: &[&str]) {
    assert!(GOOD.contains(old), "{old}");
    assert_refused(&check(GOOD.replacen(old, new, 1)), &[&["chartd.toml"], words].concat());
}

#[test]
fn a_good_configuration_is_valid() {
    let output = check(GOOD);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("valid") && said.contains("binance:BTCUSDT/1m"), "{said}");
}

#[test]
fn keys_and_types_that_are_wrong() {
    refuse_config("venue =", "color = 1\nvenue =", &["line 2", "`color`"]);
    refuse_config("theme =", "colour =", &["line 9", "`colour`"]);
    refuse_config("[[feed]]", "speed = 1\n[[feed]]", &["line 1", "`speed`"]);
    refuse_config("[\"BTCUSDT\"]", "\"BTCUSDT\"", &["line 3"]);
    refuse_config("\"1m\"", "60", &["line 7"]);
    refuse_config("timeframe = \"1m\"\n", "", &["line 5", "`timeframe`"]);
}

#[test]
fn sizes_that_cannot_be_drawn() {
    for size in ["[0, 1080]", "[1920, 0]", "[9000, 1080]", "[-1, 1080]"] {
        refuse_config("[1920, 1080]", size, &["line 8", "must be 1 to 8192"]);
    }
    for size in ["[1920]", "[1920, 1080, 60]", "[1.5, 2]", "\"big\"", "[9223372036854775808, 1]"] {
        refuse_config("[1920, 1080]", size, &["line 8"]);
    }
}

#[test]
fn names_that_mean_nothing() {
    refuse_config("\"binance\"", "\"nyse\"", &["line 2", "'nyse' is not a venue"]);
    refuse_config("binance:BTCUSDT", "nyse:BTCUSDT", &["line 6", "'nyse' is not a venue"]);
    refuse_config("binance:BTCUSDT", "BTCUSDT", &["line 6", "venue:SYMBOL"]);
    refuse_config("dark", "pink", &["line 9", "'pink' is not a theme"]);
    refuse_config("Europe/Berlin", "Mars/Base", &["line 10", "'Mars/Base' is not an IANA time zone"]);
    refuse_config("1m", "7m", &["line 7", "'7m' is not a timeframe"]);
    for symbol in ["", "BTC USDT", "../x", "BTC\\u0000"] {
        let words: &[&str] = if symbol == "../x" { &["no feed"] } else { &["line 3", "is not a symbol"] };
        refuse_config("[\"BTCUSDT\"]", &format!("[\"{symbol}\"]"), words);
    }
}

#[test]
fn parts_that_do_not_fit_together() {
    refuse_config("binance:BTCUSDT", "binance:ETHUSDT", &["binance:ETHUSDT/1m", "no feed"]);
    let (feed, chart) = GOOD.split_at(GOOD.find("[[chart]]").expect("a chart"));
    refuse_config(chart, "", &["no [[chart]]"]);
    refuse_config(feed, "", &["no feed"]);
    refuse_config(chart, &format!("{chart}{chart}"), &["binance:BTCUSDT/1m", "twice"]);
    refuse_config(feed, &format!("{feed}{feed}"), &["binance:BTCUSDT", "two feeds"]);
    refuse_config("[\"BTCUSDT\"]", "[\"BTCUSDT\", \"BTCUSDT\"]", &["binance:BTCUSDT"]);
    refuse_config(GOOD, "", &["no [[chart]]"]);
    let many: Vec<_> = (0..2_000).map(|number| format!("\"COIN{number}\"")).collect();
    refuse_config("\"BTCUSDT\"", &many.join(","), &["line 3", "symbols", "2000"]);
}

#[test]
fn urls_that_lead_nowhere() {
    let urls = [
        ("ws://127.0.0.1:9001/a b", "/a b'"),
        ("http://127.0.0.1", "ws://"),
        ("ws://", "names no host"),
        ("ws://venue:99999", "is not a port"),
        ("ws://venue:0", "is not a port"),
        ("wss://[::1", "'wss://[::1'"),
        ("", "ws://"),
    ];
    let mut passed = Vec::new();
    for (url, word) in urls {
        let output = check(GOOD.replacen("symbols", &format!("url = \"{url}\"\nsymbols"), 1));
        if output.status.success() || !stderr(&output).contains(word) {
            passed.push((url, word, stderr(&output)));
        }
    }
    assert!(passed.is_empty(), "taken, or not clearly refused: {passed:#?}");
}

#[test]
fn files_that_are_no_configuration() {
    assert_refused(&check("hello world"), &["chartd.toml", "line 1"]);
    assert_refused(&check(format!("{GOOD}\n[[chart")), &["chartd.toml", "line 12"]);
    assert_refused(&check([GOOD.as_bytes(), b"# \xff\xfe\n"].concat()), &["chartd.toml", "UTF-8"]);
    assert_refused(&check(noise(10_000)), &["chartd.toml"]);
    let folder = Folder::new();
    let missing = chartd("check", &folder.path("missing.toml"), &[]);
    assert_refused(&missing, &["missing.toml", "No such file"]);
    assert_refused(&chartd("check", folder.0.path(), &[]), &["directory"]);
}

/// Nothing panics, and a refusal is one sentence that names the file.
fn assert_answered(text: &str) -> Result<(), TestCaseError> {
    if let Err(error) = Config::parse(text, "chartd.toml") {
        let said = error.to_string();
        prop_assert!(said.starts_with("chartd.toml"), "{said}");
        prop_assert!(!said.contains('\n'), "{said:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn random_bytes_are_no_configuration(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let text = String::from_utf8_lossy(&bytes);
        prop_assert!(Config::parse(&text, "chartd.toml").is_err());
        assert_answered(&text)?;
    }

    #[test]
    fn edits_of_a_good_configuration_are_answered(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..12_usize, ".{0,6}"), 1..6),
    ) {
        let mut text: Vec<char> = GOOD.chars().collect();
        for (at, len, new) in edits {
            let at = at.index(text.len() + 1);
            let end = (at + len).min(text.len());
            text.splice(at..end, new.chars());
        }
        assert_answered(&text.iter().collect::<String>())?;
    }

    #[test]
    fn other_values_in_a_good_configuration_are_answered(
        line in 0..GOOD.lines().count(),
        value in prop_oneof![
            any::<i64>().prop_map(|number| number.to_string()),
            any::<f64>().prop_map(|number| number.to_string()),
            "\"[ -~]{0,80}\"",
            r#"[0-9"\[\]{}=,.:#'a-z -]{0,40}"#,
            (any::<i64>(), any::<i64>()).prop_map(|pair| format!("[{}, {}]", pair.0, pair.1)),
        ],
    ) {
        let mut lines: Vec<String> = GOOD.lines().map(str::to_owned).collect();
        if let Some((key, _)) = lines[line].clone().split_once('=') {
            lines[line] = format!("{key}= {value}");
        }
        assert_answered(&lines.join("\n"))?;
    }
}

// --- A server that does not keep to the protocol ---

/// What the largest message of these tests may have. Small, so that its edges are met.
const MESSAGE_BYTES: usize = 300;

/// All that a deframer makes of bytes that come in pieces of these sizes.
fn deframe(mut bytes: &[u8], mut sizes: impl Iterator<Item = usize>) -> (Vec<String>, Option<WsError>) {
    let mut deframer = Deframer::new(MESSAGE_BYTES);
    let mut events = Vec::new();
    while !bytes.is_empty() {
        let space = deframer.space();
        assert!(!space.is_empty(), "no room although all events were taken");
        let len = sizes.next().unwrap_or(usize::MAX).clamp(1, bytes.len().min(space.len()));
        space[..len].copy_from_slice(&bytes[..len]);
        bytes = &bytes[len..];
        deframer.received(len);
        loop {
            match deframer.next_event() {
                Ok(Some(event)) => {
                    assert_bounded(&event);
                    events.push(format!("{event:?}"));
                }
                Ok(None) => break,
                Err(error) => return (events, Some(error)),
            }
        }
    }
    (events, None)
}

fn assert_bounded(event: &Event<'_>) {
    match event {
        Event::Message(message) => assert!(message.len() <= MESSAGE_BYTES),
        Event::Ping(payload) => assert!(payload.len() <= 125),
        Event::Pong | Event::Close(_) => {}
    }
}

/// Frames that a server could send, most of them right: random bytes alone hardly pass a first header.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop_oneof![4 => 0..3_u8, 2 => 8..11_u8, 1 => any::<u8>()];
    let payload = prop::collection::vec(prop_oneof![9 => b' '..b'~', 1 => any::<u8>()], 0..340);
    (opcode, any::<bool>(), payload, 0..40_u8).prop_map(|(opcode, last, mut payload, form)| {
        if (8..11).contains(&opcode) && form > 2 {
            payload.truncate(125);
        }
        let mut frame = vec![opcode | if last || opcode >= 8 { 0x80 } else { 0 }];
        match payload.len() {
            len if form == 0 => frame.extend([&[127][..], &(len as u64).to_be_bytes()].concat()),
            len if len < 126 => frame.push(len as u8 | if form == 1 { 0x80 } else { 0 }),
            len => frame.extend([&[126][..], &(len as u16).to_be_bytes()].concat()),
        }
        frame.extend(payload);
        frame
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(5_000) })]

    #[test]
    fn random_bytes_in_random_pieces_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..2_000),
        sizes in prop::collection::vec(1..200_usize, 1..20),
    ) {
        let pieces = deframe(&bytes, sizes.iter().copied().cycle());
        prop_assert_eq!(pieces, deframe(&bytes, std::iter::empty()));
    }

    #[test]
    fn how_frames_are_split_changes_nothing(
        frames in prop::collection::vec(frame(), 1..12),
        sizes in prop::collection::vec(1..200_usize, 1..20),
    ) {
        let bytes = frames.concat();
        let pieces = deframe(&bytes, sizes.iter().copied().cycle());
        prop_assert_eq!(&pieces, &deframe(&bytes, std::iter::empty()));
        prop_assert_eq!(&pieces, &deframe(&bytes, std::iter::repeat(1)));
    }
}
