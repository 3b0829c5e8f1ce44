//! `chartd replay` against candles computed another way: all trades at once, in exact decimals, from the rules in
//! words. Also what it promises of counts, pictures and repeatability.
//!
//! The recorded files are read by path and never copied; a test says so where there are none.

use flate2::read::MultiGzDecoder;
use rust_decimal::Decimal;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tests::{recorded, run, stderr};

const HEADER: &str = "chart,open_time_ms,open,high,low,close,volume,trades,state,rev";
/// How far the venue's time must pass a bar's end before a bar closes without a trade behind it.
const GRACE_MS: i64 = 500;
const MINUTE_MS: i64 = 60_000;
/// The start of a minute, for the hand-made inputs.
const BASE_MS: i64 = 1_700_000_040_000;

// --- The recording, read the slow way ---

/// A file of frames: each line's receive stamp, as it is written, and its JSON.
struct Recording {
    lines: usize,
    frames: Vec<(String, Value)>,
}

fn read_recording(path: &Path) -> Recording {
    let mut text = String::new();
    let mut file = File::open(path).expect("the recording opens");
    if path.extension().is_some_and(|end| end == "gz") {
        MultiGzDecoder::new(file).read_to_string(&mut text)
    } else {
        file.read_to_string(&mut text)
    }
    .expect("the recording is text");
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let frames = lines.iter().filter_map(|line| {
        let (stamp, frame) = line.split_at(line.find('{')?);
        let frame = serde_json::from_str(frame).expect("a recorded frame is JSON");
        Some((stamp.trim_end_matches([' ', ':']).to_owned(), frame))
    });
    Recording { frames: frames.collect(), lines: lines.len() }
}

/// A report of one trade, or of several at one price, and what was known when it came.
struct Trade {
    id: i64,
    count: i64,
    time_ms: i64,
    price: Decimal,
    quantity: Decimal,
    /// The latest time the venue had told before.
    watermark_ms: i64,
}

/// What a recording says, by symbol, in the order of arrival.
#[derive(Default)]
struct Market {
    trades: BTreeMap<String, Vec<Trade>>,
    /// The venue's time in the first frame that tells one: when the listener joined.
    joined_ms: Option<i64>,
    watermark_ms: i64,
}

fn read_market(recording: &Recording) -> Market {
    let mut market = Market::default();
    for (_, frame) in &recording.frames {
        let data = frame.get("data").unwrap_or(frame);
        let Some(event_ms) = data["E"].as_i64() else {
            continue;
        };
        market.joined_ms.get_or_insert(event_ms);
        if let Some(trade) = read_trade(data, market.watermark_ms) {
            market.watermark_ms = market.watermark_ms.max(trade.time_ms);
            let symbol = data["s"].as_str().expect("a trade has a symbol");
            market.trades.entry(symbol.to_owned()).or_default().push(trade);
        }
        market.watermark_ms = market.watermark_ms.max(event_ms);
    }
    market
}

fn read_trade(data: &Value, watermark_ms: i64) -> Option<Trade> {
    let whole = |key: &str| data[key].as_i64().expect("a whole number");
    let decimal = |key: &str| Decimal::from_str_exact(data[key].as_str().expect("text")).expect("a decimal");
    let (first, last) = match data["e"].as_str()? {
        "trade" => (whole("t"), whole("t")),
        "aggTrade" => (whole("f"), whole("l")),
        _ => return None,
    };
    Some(Trade {
        id: first,
        count: last - first + 1,
        time_ms: whole("T"),
        price: decimal("p"),
        quantity: decimal("q"),
        watermark_ms,
    })
}

// --- The candles, computed the slow way ---

/// The CSV rows that the rules give for one chart.
fn expected_rows(chart: &str, len_ms: i64, market: &Market, trades: &[Trade]) -> Vec<String> {
    let open_of = |time_ms: i64| time_ms - time_ms.rem_euclid(len_ms);
    let first = open_of(trades.iter().map(|trade| trade.time_ms).min().expect("a trade"));
    let traded = open_of(trades.iter().map(|trade| trade.time_ms).max().expect("a trade"));
    // The last bar whose end the venue's time has passed by more than the grace.
    let closed = open_of(market.watermark_ms - GRACE_MS - 1) - len_ms;
    let mut close = Decimal::ZERO;
    (first..=traded.max(closed))
        .step_by(len_ms as usize)
        .map(|open_ms| {
            let end_ms = open_ms + len_ms;
            let inside = |trade: &&Trade| (open_ms..end_ms).contains(&trade.time_ms);
            let mut bar: Vec<_> = trades.iter().filter(inside).collect();
            bar.sort_by_key(|trade| trade.id);
            let partial = market.joined_ms.is_some_and(|joined_ms| open_ms < joined_ms);
            let state = match bar.len() {
                0 => "quiet",
                _ if partial => "partial",
                _ => "traded",
            };
            let late = bar.iter().filter(|trade| is_late(trade, end_ms, trades)).count();
            let row = expected_row(&bar, close);
            close = bar.last().map_or(close, |trade| trade.price);
            format!("{chart},{open_ms},{row},{state},{late}")
        })
        .collect()
}

/// Open, high, low, close, volume and count of a bar's trades, which follow a close.
fn expected_row(bar: &[&Trade], close: Decimal) -> String {
    let prices = || bar.iter().map(|trade| trade.price);
    let [open, high, low, last] = [prices().next(), prices().max(), prices().min(), prices().next_back()]
        .map(|price| text(price.unwrap_or(close)));
    let volume = text(bar.iter().map(|trade| trade.quantity).sum());
    let count: i64 = bar.iter().map(|trade| trade.count).sum();
    format!("{open},{high},{low},{last},{volume},{count}")
}

/// Whether a trade came after its bar was closed: by the venue's time, or by a trade behind the bar.
fn is_late(trade: &Trade, end_ms: i64, trades: &[Trade]) -> bool {
    let overtaken = |other: &Trade| other.id < trade.id && other.time_ms >= end_ms;
    trade.watermark_ms > end_ms + GRACE_MS || trades.iter().any(overtaken)
}

fn text(number: Decimal) -> String {
    number.normalize().to_string()
}

// --- What chartd says ---

/// What a replay left behind.
struct Replayed {
    folder: TempDir,
    took: Duration,
}

impl Replayed {
    fn csv(&self) -> String {
        fs::read_to_string(self.folder.path().join("c.csv")).expect("the candles were written")
    }

    fn report(&self) -> Value {
        let text = fs::read(self.folder.path().join("r.json")).expect("the report was written");
        serde_json::from_slice(&text).expect("the report is JSON")
    }

    fn pictures(&self) -> Vec<PathBuf> {
        let folder = fs::read_dir(self.folder.path().join("out")).expect("the folder was made");
        let mut files: Vec<_> = folder.map(|entry| entry.expect("an entry").path()).collect();
        files.sort();
        files
    }

    /// The rows of the CSV, by chart.
    fn rows(&self) -> BTreeMap<String, Vec<String>> {
        let csv = self.csv();
        let mut lines = csv.lines();
        assert_eq!(lines.next(), Some(HEADER));
        let mut charts: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for line in lines {
            let (chart, _) = line.split_once(',').expect("a row has columns");
            charts.entry(chart.to_owned()).or_default().push(line.to_owned());
        }
        charts
    }
}

/// Replays a file; all outputs but the pictures are always asked for.
fn replay(file: &Path, more: &[&str]) -> Replayed {
    let folder = tempfile::tempdir().expect("a folder for the outputs");
    let outputs = ["--candles", "c.csv", "--report", "r.json"];
    let mut args = vec!["replay".into(), file.as_os_str().to_owned()];
    for arg in outputs.iter().chain(more) {
        let is_output = ["c.csv", "r.json", "out"].contains(arg);
        args.push(if is_output { folder.path().join(arg).into() } else { (*arg).into() });
    }
    let started = Instant::now();
    let output = run("chartd", &args);
    let took = started.elapsed();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
    Replayed { folder, took }
}

fn count(report: &Value, name: &str) -> u64 {
    let value = report[name].as_u64();
    value.unwrap_or_else(|| panic!("the report has no count {name}: {report}"))
}

/// Every line was decoded, answered, unknown or malformed.
fn assert_adds_up(report: &Value, lines: usize) {
    assert_eq!(count(report, "lines"), lines as u64);
    let kinds = ["decoded", "control", "unknown", "malformed"].map(|kind| count(report, kind));
    assert_eq!(kinds.iter().sum::<u64>(), lines as u64, "{report}");
}

fn assert_rows(actual: &[String], expected: &[String]) {
    for (actual, expected) in actual.iter().zip(expected) {
        assert_eq!(actual, expected);
    }
    assert_eq!(actual.len(), expected.len(), "so many rows: {actual:#?}");
}

/// All charts of a replay are as computed here.
fn assert_candles(replayed: &Replayed, market: &Market, timeframes: &[(&str, i64)]) {
    let mut charts = replayed.rows();
    for (symbol, trades) in &market.trades {
        for (timeframe, len_ms) in timeframes {
            let chart = format!("binance:{symbol}/{timeframe}");
            let rows = charts.remove(&chart).unwrap_or_default();
            assert_rows(&rows, &expected_rows(&chart, *len_ms, market, trades));
        }
    }
    assert!(charts.is_empty(), "candles of nothing: {charts:?}");
}

/// A picture's width, height and number of colours.
fn picture(file: &Path) -> (u32, u32, usize) {
    let bytes = fs::read(file).expect("the picture can be read");
    let decoder = png::Decoder::new(std::io::Cursor::new(bytes));
    let mut reader = decoder.read_info().expect("the picture is a PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("the picture fits")];
    let info = reader.next_frame(&mut pixels).expect("the picture decodes");
    let depth = info.line_size / info.width as usize;
    let colours: HashSet<_> = pixels.chunks_exact(depth).collect();
    (info.width, info.height, colours.len())
}

// --- The long recording: one symbol, trades, book and top of book ---

const LONG: &str = "binance_spot/btcusdt_20240808.gz";
const LONG_CHARTS: [(&str, i64); 3] = [("1s", 1_000), ("1m", MINUTE_MS), ("5m", 5 * MINUTE_MS)];
const LONG_TIMEFRAMES: [&str; 2] = ["--timeframes", "1s,1m,5m"];

#[test]
fn every_line_of_the_recording_is_accounted_for() {
    let Some(file) = recorded(LONG) else { return };
    let recording = read_recording(&file);
    let report = replay(&file, &LONG_TIMEFRAMES).report();
    assert_adds_up(&report, recording.lines);
    for none in ["malformed", "duplicates", "missing_trades", "too_late"] {
        assert_eq!(count(&report, none), 0, "{none}: {report}");
    }
    let trades = &read_market(&recording).trades["BTCUSDT"];
    assert!(trades.windows(2).all(|pair| pair[1].id == pair[0].id + 1));
    assert_eq!(count(&report, "trades"), trades.len() as u64);
    assert_eq!(count(&report, "frames_in"), recording.lines as u64);
}

#[test]
fn the_report_carries_what_scripts_rely_on() {
    let Some(file) = recorded(LONG) else { return };
    let report = replay(&file, &[]).report();
    assert!(count(&report, "frames_published") > 0);
    assert!(report["backend"].is_string(), "{report}");
    assert!(report["degraded"].is_array(), "{report}");
    let latency = &report["tick_to_frame_us"];
    let figures = ["p50", "p90", "p99", "p999", "max"].map(|figure| {
        let value = latency[figure].as_f64();
        value.unwrap_or_else(|| panic!("no {figure} in {latency}"))
    });
    assert!(figures.is_sorted(), "{latency}");
    assert!(count(latency, "count") > 0);
}

#[test]
fn candles_of_the_recording_are_exact() {
    let Some(file) = recorded(LONG) else { return };
    let market = read_market(&read_recording(&file));
    assert_candles(&replay(&file, &LONG_TIMEFRAMES), &market, &LONG_CHARTS);
}

#[test]
fn a_second_run_and_a_slow_run_write_the_same_candles() {
    let Some(file) = recorded(LONG) else { return };
    let first = replay(&file, &LONG_TIMEFRAMES).csv();
    let second = replay(&file, &LONG_TIMEFRAMES).csv();
    assert!(first == second, "a second run wrote other bytes");
    let slow = replay(&file, &["--timeframes", "1s,1m,5m", "--speed", "200"]);
    assert!(first == slow.csv(), "a slow run wrote other bytes");
}

#[test]
fn a_limited_speed_keeps_the_rhythm() {
    let Some(file) = recorded(LONG) else { return };
    let frames = read_recording(&file).frames;
    let stamp = |frame: Option<&(String, Value)>| frame.and_then(|(stamp, _)| stamp.parse::<u64>().ok());
    let recorded_ns = stamp(frames.last()).expect("a stamp") - stamp(frames.first()).expect("a stamp");
    // One chart, so that drawing it takes much less than waiting.
    let slow = replay(&file, &["--timeframes", "1d", "--speed", "100"]);
    let least = Duration::from_nanos(recorded_ns / 100);
    assert!(slow.took >= least, "{:?} is faster than {least:?}", slow.took);
    // Starting takes time too, so the whole run proves little on a slow machine.
    let replaying = slow.report()["seconds"].as_f64().expect("the report says how long it took");
    assert!(replaying >= least.as_secs_f64(), "{replaying} s is faster than {least:?}");
}

#[test]
fn pictures_of_the_recording_are_whole() {
    let Some(file) = recorded(LONG) else { return };
    let replayed = replay(&file, &["--timeframes", "1s,1m,5m", "--frames", "out"]);
    let pictures = replayed.pictures();
    for (timeframe, _) in LONG_CHARTS {
        let named = |file: &&PathBuf| {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name.contains("BTCUSDT") && name.ends_with(&format!("{timeframe}.png"))
        };
        let file = pictures.iter().find(named).expect("one picture for each chart");
        let (width, height, colours) = picture(file);
        assert_eq!((width, height), (1920, 1080));
        assert!(colours > 20, "{} has {colours} colours", file.display());
    }
    assert_eq!(pictures.len(), LONG_CHARTS.len());
}

// --- The small recording: four symbols, aggregated trades, a note in front, other stamps ---

const SMALL: &str = "binance_spot/cryptofeed_BINANCE.ws.1.0";

#[test]
fn a_small_recording_of_aggregated_trades_is_exact() {
    let Some(file) = recorded(SMALL) else { return };
    let recording = read_recording(&file);
    let market = read_market(&recording);
    let replayed = replay(&file, &["--timeframes", "1s,1m", "--frames", "out"]);
    let report = replayed.report();
    assert_adds_up(&report, recording.lines);
    let notes = recording.lines - recording.frames.len();
    assert_eq!(count(&report, "malformed") + count(&report, "unknown"), notes as u64);
    assert_eq!(count(&report, "trades"), 2);
    assert_candles(&replayed, &market, &[("1s", 1_000), ("1m", MINUTE_MS)]);
    for file in replayed.pictures() {
        let (width, height, _) = picture(&file);
        assert_eq!((width, height), (1920, 1080), "{}", file.display());
    }
    assert_klines_agree(&replayed, &recording);
}

/// The venue's own closed candles equal ours, where both know the whole bar.
fn assert_klines_agree(replayed: &Replayed, recording: &Recording) {
    let rows = replayed.rows();
    for (_, frame) in &recording.frames {
        let kline = &frame["data"]["k"];
        if kline["x"] != true {
            continue;
        }
        let part = |key: &str| kline[key].as_str().expect("text").to_owned();
        let chart = format!("binance:{}/{}", part("s"), part("i"));
        let start = format!("{chart},{},", kline["t"]);
        let row = rows.get(&chart).and_then(|rows| rows.iter().find(|row| row.starts_with(&start)));
        let Some(row) = row.filter(|row| row.contains(",traded,")) else {
            continue;
        };
        let numbers = ["o", "h", "l", "c", "v"].map(|key| text(part(key).parse().expect("a decimal")));
        assert!(row.starts_with(&format!("{start}{},{},", numbers.join(","), kline["n"])), "{row}");
    }
    assert_eq!(count(&replayed.report(), "klines_differ"), 0);
}

// --- Hand-made inputs: what the recordings do not show ---

fn frame(event_ms: i64, stream: &str, data: &str) -> String {
    let event_ms = BASE_MS + event_ms;
    let head = format!(r#"{event_ms}000000 {{"stream":"btcusdt@{stream}","data":{{"e":"{stream}""#);
    format!(r#"{head},"E":{event_ms},"s":"BTCUSDT",{data}}}}}"#)
}

/// A trade that happened at one time and was told at another, in ms after [`BASE_MS`].
fn trade(id: i64, time_ms: i64, told_ms: i64, price: &str, quantity: &str) -> String {
    let time_ms = BASE_MS + time_ms;
    let data = format!(r#""t":{id},"p":"{price}","q":"{quantity}","T":{time_ms},"m":true,"M":true"#);
    frame(told_ms, "trade", &data)
}

/// A sign of life that carries the venue's time and nothing else.
fn alive(event_ms: i64) -> String {
    frame(event_ms, "depthUpdate", r#""U":1,"u":2,"b":[],"a":[]"#)
}

fn replay_lines(lines: &[String], timeframe: &str) -> Replayed {
    let folder = tempfile::tempdir().expect("a folder for the input");
    let file = folder.path().join("frames.txt");
    fs::write(&file, lines.join("\n")).expect("the input can be written");
    replay(&file, &["--timeframes", timeframe])
}

/// The rows of the only chart, without its name, and with times after [`BASE_MS`].
fn short_rows(replayed: &Replayed) -> Vec<String> {
    let charts = replayed.rows();
    let rows = charts.values().next().expect("a chart");
    let short = rows.iter().map(|row| {
        let columns: Vec<_> = row.splitn(3, ',').collect();
        format!("{},{}", columns[1].parse::<i64>().expect("a time") - BASE_MS, columns[2])
    });
    short.collect()
}

#[test]
fn a_bar_without_trades_is_quiet_once_it_is_closed() {
    let mut lines = vec![alive(-1), trade(1, 100, 100, "10.50", "2.0")];
    lines.extend([1_000, 2_000, 2_500].map(alive));
    // The second bar ends at 2000, and the venue's time has passed that by the grace, but not by more.
    assert_eq!(short_rows(&replay_lines(&lines, "1s")), ["0,10.5,10.5,10.5,10.5,2,1,traded,0"]);
    lines.push(alive(2_501));
    let rows = short_rows(&replay_lines(&lines, "1s"));
    assert_eq!(rows, ["0,10.5,10.5,10.5,10.5,2,1,traded,0", "1000,10.5,10.5,10.5,10.5,0,0,quiet,0"]);
}

#[test]
fn only_the_bar_that_was_joined_inside_is_partial() {
    let trades = [trade(1, 100, 100, "10", "1"), trade(2, 1_100, 1_100, "11", "1")];
    let state = |joined: i64| {
        let lines = [&[alive(joined)], trades.as_slice()].concat();
        let rows = short_rows(&replay_lines(&lines, "1s"));
        rows.iter().map(|row| row.rsplit(',').nth(1).unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(state(50), ["partial", "traded"]);
    assert_eq!(state(-1), ["traded", "traded"]);
}

#[test]
fn a_late_trade_amends_its_bar() {
    let lines = [
        alive(-1),
        trade(1, 100, 100, "10", "1"),
        trade(2, 1_200, 1_200, "11", "1"),
        // Told within the grace, but a trade has closed its bar.
        trade(3, 900, 1_201, "12", "0.5"),
    ];
    let rows = short_rows(&replay_lines(&lines, "1s"));
    assert_eq!(rows, ["0,10,12,10,12,1.5,2,traded,1", "1000,11,11,11,11,1,1,traded,0"]);
}

#[test]
fn quiet_bars_follow_an_amended_close() {
    let mut lines = vec![alive(-1), trade(1, 100, 100, "10", "1")];
    lines.extend([1_000, 2_000, 3_000, 3_600].map(alive));
    lines.push(trade(2, 900, 3_600, "12", "1"));
    let rows = short_rows(&replay_lines(&lines, "1s"));
    assert_eq!(rows[0], "0,10,12,10,12,2,2,traded,1");
    for (row, start) in rows[1..].iter().zip(["1000,12,12,12,12,0,0,quiet,", "2000,12,12,12,12,0,0,quiet,"]) {
        assert!(row.starts_with(start), "{row} is not {start}");
    }
    assert_eq!(rows.len(), 3);
}

#[test]
fn a_trade_within_the_grace_is_not_late() {
    let lines = [alive(-1), trade(1, 100, 100, "10", "1"), alive(1_500), trade(2, 900, 1_500, "12", "1")];
    assert_eq!(short_rows(&replay_lines(&lines, "1s")), ["0,10,12,10,12,2,2,traded,0"]);
}

#[test]
fn missing_trades_leave_a_gap_without_a_price() {
    let lines = [
        alive(-1),
        trade(1, 100, 100, "10", "1"),
        trade(2, 1_100, 1_100, "11", "1"),
        trade(9, 4_100, 4_100, "12", "1"),
        trade(10, 5_100, 5_100, "13", "1"),
    ];
    let replayed = replay_lines(&lines, "1s");
    let rows = short_rows(&replayed);
    assert_eq!(rows[0], "0,10,10,10,10,1,1,traded,0");
    // Trades may be missing from the bars on both sides of the hole.
    assert_eq!(rows[1], "1000,11,11,11,11,1,1,gap,0");
    assert_eq!(rows[2..4], ["2000,,,,,0,0,gap,0", "3000,,,,,0,0,gap,0"]);
    assert_eq!(rows[4..], ["4000,12,12,12,12,1,1,gap,0", "5000,13,13,13,13,1,1,traded,0"]);
    assert_eq!(count(&replayed.report(), "missing_trades"), 6);
}

#[test]
fn a_trade_told_twice_counts_once() {
    let first = trade(1, 100, 100, "10", "1");
    let second = trade(2, 200, 200, "11", "1");
    let lines = [alive(-1), first.clone(), second.clone(), second, first, trade(3, 300, 300, "9", "1")];
    let replayed = replay_lines(&lines, "1s");
    assert_eq!(short_rows(&replayed), ["0,10,11,9,9,3,3,traded,0"]);
    assert_eq!(count(&replayed.report(), "duplicates"), 2);
}

#[test]
fn sums_larger_than_64_bits_are_exact() {
    let quantity = "92233720368.54775807";
    let lines = [1, 2, 3].map(|id| trade(id, 100, 100, "0.00000001", quantity));
    let rows = short_rows(&replay_lines(&lines, "1s"));
    assert_eq!(rows, ["0,0.00000001,0.00000001,0.00000001,0.00000001,276701161105.64327421,3,partial,0"]);
}

#[test]
fn a_silence_with_more_bars_than_are_kept_is_refused() {
    // The ids say that nothing traded for 30 days. A CSV without most of these seconds would be a lie.
    let later = 2_592_000_000;
    let after = [alive(later), trade(2, later + 100, later + 100, "11", "1")];
    let lines = [&[alive(-1), trade(1, 100, 100, "10", "1")][..], &after].concat();
    let folder = tempfile::tempdir().expect("a folder for the input");
    let file = folder.path().join("frames.txt");
    fs::write(&file, lines.join("\n")).expect("the input can be written");
    let args = ["replay".as_ref(), file.as_os_str(), "--timeframes".as_ref(), "1s".as_ref()];
    let output = tests::run("chartd", args);
    assert_eq!(output.status.code(), Some(2));
    let said = tests::stderr(&output);
    assert!(said.contains("binance:BTCUSDT/1s has") && said.contains("more than the 1000000"), "{said}");

    let rows = short_rows(&replay_lines(&lines, "1m"));
    assert_eq!(rows.first().map(String::as_str), Some("0,10,10,10,10,1,1,traded,0"));
    assert_eq!(rows.len(), 43_201);
}

#[test]
fn one_message_alone_cannot_move_the_venues_clock_by_days() {
    let leap = 300 * 86_400_000;
    let lines = [
        alive(-1),
        trade(1, 100, 100, "10", "1"),
        trade(2, leap, leap, "99", "1"),
        alive(200),
        trade(2, 1_100, 1_100, "11", "1"),
    ];
    let replayed = replay_lines(&lines, "1s");
    assert_eq!(short_rows(&replayed), ["0,10,10,10,10,1,1,traded,0", "1000,11,11,11,11,1,1,traded,0"]);
    assert_eq!(replayed.report()["malformed"], 1);
}

#[test]
fn the_venues_own_candles_are_compared() {
    let trades = [
        alive(-1),
        trade(1, 100, 100, "10", "2"),
        trade(2, 30_000, 30_000, "12", "3"),
        trade(3, 59_999, 59_999, "11", "1"),
    ];
    let compared = |volume: &str| {
        let (open_ms, end_ms) = (BASE_MS, BASE_MS + MINUTE_MS - 1);
        let kline = [
            format!(r#""k":{{"t":{open_ms},"T":{end_ms},"s":"BTCUSDT","i":"1m","f":1,"L":3"#),
            format!(r#""o":"10","c":"11","h":"12","l":"10","v":"{volume}","n":3,"x":true"#),
            r#""q":"67","V":"0","Q":"0","B":"0"}"#.to_owned(),
        ];
        let kline = frame(61_050, "kline", &kline.join(",")).replace("@kline", "@kline_1m");
        let lines = [trades.as_slice(), &[alive(61_000), kline, alive(62_000)]].concat();
        let report = replay_lines(&lines, "1m").report();
        (count(&report, "klines_equal"), count(&report, "klines_differ"))
    };
    assert_eq!(compared("6.00000000"), (1, 0));
    assert_eq!(compared("6.00000001"), (0, 1));
}
