//! What comes back of a journal that the real program has kept: candles, byte for byte, by `chartd replay`, and charts
//! that do not begin empty after a restart. What is broken or missing in it is called a gap, and no other bar is.

#[allow(dead_code, reason = "what other tests need")]
mod common {
    pub(crate) mod daemon;
    pub(crate) mod venue;
    pub(crate) mod wire;
}

use common::daemon::{Daemon, wait_until};
use common::venue::{Peer, START_MS, Venue, trade};
use common::wire::{TEXT, frame};
use flate2::read::MultiGzDecoder;
use journal::{Folder, Item, Kind, Reader, Span};
use market::{Candle, CandleState};
use serde_json::Value;
use shm::market::QuoteRecord;
use shm::status::Counter;
use std::fs::{self, File};
use std::io::Read;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

const SYMBOL: &str = "BTCUSDT";
const CHART: &str = "binance:BTCUSDT/1s";

fn config(url: &str, folder: &Path) -> String {
    format!(
        "[[feed]]\nvenue = \"binance\"\nurl = \"{url}\"\nsymbols = [\"{SYMBOL}\"]\n\
         [[chart]]\nsource = \"binance:{SYMBOL}\"\ntimeframe = \"1s\"\nsize = [320, 180]\n\
         [journal]\nfolder = {folder:?}\nsegment_mb = 64\n"
    )
}

/// `None` where io_uring is forbidden.
fn start(url: &str, folder: &Path) -> Option<Daemon> {
    let own = TempDir::new().unwrap();
    let cache = own.path().join("cache");
    Daemon::start_in(&config(url, folder), own, &cache, &[])
}

fn replay(input: &Path, candles: &Path, more: &[&str]) -> (String, Output) {
    let output = Command::new(env!("CARGO_BIN_EXE_chartd"))
        .args(["replay".as_ref(), input.as_os_str(), "--candles".as_ref(), candles.as_os_str()])
        .args(["--timeframes", "1s,1m", "--json"])
        .args(more)
        .env("RUST_LOG", "warn")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (fs::read_to_string(candles).unwrap(), output)
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The newest bars of the chart, which all readers see.
fn bars(daemon: &Daemon) -> Vec<Candle> {
    daemon.candles_of(CHART).bars
}

/// Waits until a power cut would take nothing.
fn wait_until_durable(daemon: &Daemon) {
    let journal = || daemon.connection.status().journal().expect("it has a journal");
    let is_durable = || {
        let (state, intake) = journal();
        intake.accepted > state.first && state.durable == intake.accepted
    };
    wait_until(|| format!("all of {:?} is durable; {}", journal(), daemon.log()), is_durable);
}

fn quote(daemon: &Daemon) -> Option<QuoteRecord> {
    daemon.connection.market().quote(0)
}

fn recording() -> Option<PathBuf> {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let mut files = above.map(|folder| folder.join("shared/data/binance_spot/btcusdt_20240808.gz"));
    let found = files.find(|file| file.is_file());
    if found.is_none() {
        eprintln!("skipped: no recorded data");
    }
    found
}

/// The frames of a recording, as they came.
fn frames(path: &Path) -> Vec<Vec<u8>> {
    let mut text = Vec::new();
    MultiGzDecoder::new(File::open(path).unwrap()).read_to_end(&mut text).unwrap();
    let frame = |line: &[u8]| Some(line[line.iter().position(|byte| *byte == b'{')?..].to_vec());
    text.split(|byte| *byte == b'\n').filter_map(frame).collect()
}

/// When the middle one of a journal's frames was received.
fn middle_ns(folder: &Path) -> u64 {
    let (folder, mut times) = (Folder::new(folder), Vec::new());
    let mut reader = Reader::new(&folder, Span::ALL).unwrap();
    while let Some(item) = reader.next().unwrap() {
        if let Item::Record(record) = item
            && record.header.kind == Kind::Frame
        {
            times.push(record.header.stamp.real_ns);
        }
    }
    times[times.len() / 2]
}

/// The journal of a day's frames gives the candles that the file of them gives.
#[test]
fn a_recording_comes_back_byte_for_byte() {
    let Some(file) = recording() else { return };
    let (folder, out, venue) = (TempDir::new().unwrap(), TempDir::new().unwrap(), Venue::listen());
    let Some(daemon) = start(&venue.url(), folder.path()) else { return };
    let mut peer = venue.welcome();
    let frames = frames(&file);
    for batch in frames.chunks(1_000) {
        let bytes: Vec<u8> = batch.iter().flat_map(|payload| frame(TEXT, payload)).collect();
        peer.send(&bytes);
    }
    daemon.wait_for(Counter::FramesIn, frames.len() as u64);
    drop(daemon);
    let (expected, _) = replay(&file, &out.path().join("file.csv"), &[]);
    let (found, output) = replay(folder.path(), &out.path().join("journal.csv"), &[]);
    assert!(expected.lines().count() > 300, "{}", expected.lines().count());
    assert!(found == expected, "{}", said(&output));
    let report = report(&output);
    assert_eq!(report["journal_frames_read"], frames.len() as u64);
    assert_eq!(report["journal_records_lost"], 0);
    assert_eq!(said(&output), "");
    // At another speed it is the same; only a part of it is less.
    let (again, _) = replay(folder.path(), &out.path().join("again.csv"), &["--speed", "1000"]);
    assert!(again == expected);
    // A part of it begins in the middle of a connection. What it has whole is the same.
    let middle = middle_ns(folder.path()).to_string();
    let (part, _) = replay(folder.path(), &out.path().join("part.csv"), &["--from", &middle]);
    let (lines, equal): (Vec<_>, Vec<_>) = (
        part.lines().collect(),
        part.lines().filter(|line| expected.lines().any(|other| other == *line)).collect(),
    );
    assert!(lines.len() > 100 && lines.len() < expected.lines().count(), "{} lines", lines.len());
    assert!(equal.len() >= lines.len() - 4, "{} of {}", equal.len(), lines.len());
}

/// A venue whose trades come one each 100 ms, with a quote behind them.
struct Session {
    peer: Peer<TcpStream>,
    daemon: Daemon,
}

fn session(venue: &Venue, folder: &Path) -> Option<Session> {
    let daemon = start(&venue.url(), folder)?;
    Some(Session { peer: venue.welcome(), daemon })
}

impl Session {
    fn trade(&mut self, ids: impl IntoIterator<Item = u64>) {
        let before = self.daemon.count(Counter::FramesIn);
        let mut count = 0;
        for id in ids {
            self.peer.send(&frame(TEXT, &trade(SYMBOL, id, id * 100)));
            count += 1;
        }
        let update = format!(r#"{{"u":{before},"s":"{SYMBOL}","b":"100","B":"1","a":"101","A":"{count}"}}"#);
        self.peer.send(&frame(TEXT, update.as_bytes()));
        self.daemon.wait_for(Counter::FramesIn, before + count + 1);
        wait_until_durable(&self.daemon);
    }
}

/// A daemon that is started again shows what the one before has shown: before it has met the venue, and though the
/// venue is not there. What was missed meanwhile is proven by the next trade's number, either way.
#[test]
fn charts_do_not_begin_empty() {
    let (folder, venue) = (TempDir::new().unwrap(), Venue::listen());
    let Some(mut before) = session(&venue, folder.path()) else { return };
    before.trade(1..=100);
    let (old, old_quote) = (bars(&before.daemon), quote(&before.daemon).unwrap());
    assert!(old.len() == 11 && old.iter().all(|bar| bar.state != CandleState::Gap), "{old:?}");
    drop(before);

    // Nobody listens there.
    let nowhere = Venue::listen().url();
    let daemon = start(&nowhere, folder.path()).unwrap();
    assert!(bars(&daemon) == old, "{:?}; {}", bars(&daemon), daemon.log());
    assert_eq!(quote(&daemon), Some(old_quote));
    assert!(daemon.connection.chart(CHART).unwrap().latest() > 0, "a frame is there");
    assert_eq!(daemon.count(Counter::Connects), 0);
    assert!(daemon.log().contains("candles go on from the journal"), "{}", daemon.log());
    assert_eq!(daemon.count(Counter::Trades), 0, "what is read again is not counted again");
    wait_until_durable(&daemon);
    drop(daemon);

    // A run without a trade in between changes nothing. The next number proves that none was missed.
    let mut after = session(&venue, folder.path()).unwrap();
    assert_eq!(bars(&after.daemon), old);
    after.trade(101..=130);
    let now = bars(&after.daemon);
    assert_eq!(now[..10], old[..10]);
    assert!(now.len() == 14 && now.iter().all(|bar| bar.state != CandleState::Gap), "{now:?}");
    drop(after);

    // Trades 131 to 150 come while nobody listens.
    let mut late = session(&venue, folder.path()).unwrap();
    late.trade(151..=180);
    let late_bars = bars(&late.daemon);
    assert_eq!(late_bars[..10], old[..10]);
    let is_gap = |bar: &&Candle| bar.state == CandleState::Gap;
    let gaps: Vec<_> =
        late_bars.iter().filter(is_gap).map(|bar| (bar.open_ms - START_MS as i64) / 1_000).collect();
    assert_eq!(gaps, [13, 14, 15], "the bars of 131 to 150, and of the trades around");
    let live = (bars(&late.daemon), late.daemon.candles_of(CHART).bars.len());
    drop(late);

    // All runs together, replayed, are what was seen live.
    let out = TempDir::new().unwrap();
    let (csv, output) = replay(folder.path(), &out.path().join("all.csv"), &[]);
    assert_eq!(report(&output)["journal_runs"], 4);
    let states = csv
        .lines()
        .filter_map(|line| line.strip_prefix(CHART))
        .map(|line| line.split(',').collect::<Vec<_>>());
    let states: Vec<_> =
        states.map(|line| (line[1].to_owned(), line[8].to_owned(), line[9].to_owned())).collect();
    let expected =
        live.0.iter().map(|bar| (bar.open_ms.to_string(), bar.state.name().to_owned(), bar.rev.to_string()));
    assert_eq!(states, expected.collect::<Vec<_>>());
}

/// A block in the middle is not what was written: the bars whose trades it held are gaps, and no others.
#[test]
fn what_is_corrupt_is_a_gap_and_nothing_else_is() {
    let (folder, venue) = (TempDir::new().unwrap(), Venue::listen());
    let Some(mut session) = session(&venue, folder.path()) else { return };
    for batch in 0..20 {
        session.trade(batch * 20 + 1..=batch * 20 + 20);
        std::thread::sleep(std::time::Duration::from_millis(20)); // Each a block of its own.
    }
    let whole = bars(&session.daemon);
    drop(session);
    let segment = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let segment = segment.filter(|path| path.extension().is_some_and(|end| end == "seg")).min().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    // The block that holds trade 201, and with it all of its batch.
    let place = bytes.windows(8).position(|window| window == b"\"t\":201,").unwrap();
    bytes[place] ^= 1;
    fs::write(&segment, bytes).unwrap();

    let out = TempDir::new().unwrap();
    let (csv, output) = replay(folder.path(), &out.path().join("corrupt.csv"), &[]);
    assert!(said(&output).contains("corrupt at byte"), "{}", said(&output));
    let report = report(&output);
    assert_eq!(report["journal_corruptions"], 1);
    assert!(report["journal_records_corrupt"].as_u64().unwrap() > 0);
    let lines = csv
        .lines()
        .filter_map(|line| line.strip_prefix(CHART))
        .map(|line| line.split(',').collect::<Vec<_>>());
    let mut gaps = Vec::new();
    for (line, bar) in lines.zip(&whole) {
        assert_eq!(line[1], bar.open_ms.to_string());
        if line[8] == "gap" {
            gaps.push((bar.open_ms - START_MS as i64) / 1_000);
            continue;
        }
        assert_eq!((line[7], line[8]), (&*bar.trades.to_string(), bar.state.name()), "{line:?}");
    }
    // Trades 201 to 220 were at 20.1 to 22.0 s.
    assert!(
        gaps.contains(&20) && gaps.contains(&21) && gaps.iter().all(|at| (18..=24).contains(at)),
        "{gaps:?}"
    );

    // A daemon that goes on from it says so, and shows the same.
    let daemon = start(&Venue::listen().url(), folder.path()).unwrap();
    assert!(daemon.log().contains("corrupt"), "{}", daemon.log());
    let shown: Vec<_> = bars(&daemon).iter().map(|bar| bar.state == CandleState::Gap).collect();
    assert_eq!(shown.iter().filter(|is_gap| **is_gap).count(), gaps.len());
}
