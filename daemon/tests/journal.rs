//! The journal of the real program: what a venue sends is on disk, whatever becomes of the disk and of the daemon.

#[allow(dead_code, reason = "what other tests need")]
mod common {
    pub(crate) mod daemon;
    pub(crate) mod small_disk;
    pub(crate) mod venue;
    pub(crate) mod wire;
}

use common::daemon::{Daemon, wait_until};
use common::small_disk::SmallDisk;
use common::venue::{Peer, Venue, trade};
use common::wire::{TEXT, frame};
use journal::block::{self, BlockHeader};
use journal::{Folder, Form, Header, Item, Kind, Reader, Span, Stamp, Store, verify};
use shm::status::{Counter, Journal, JournalIntake, JournalState};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const SYMBOL: &str = "BTCUSDT";

/// A venue, and a daemon that keeps a journal of it.
struct Recording {
    venue: Venue,
    peer: Peer<TcpStream>,
    daemon: Daemon,
    /// What was sent over this connection.
    sent: Vec<Vec<u8>>,
}

fn config(url: &str, folder: &Path, more: &str) -> String {
    format!(
        "[[feed]]\nvenue = \"binance\"\nurl = \"{url}\"\nsymbols = [\"{SYMBOL}\"]\n\
         [[chart]]\nsource = \"binance:{SYMBOL}\"\ntimeframe = \"1s\"\nsize = [320, 180]\n\
         [journal]\nfolder = {folder:?}\n{more}\n"
    )
}

impl Recording {
    /// `None` where io_uring is forbidden.
    fn start(folder: &Path, more: &str, environment: &[(&str, &str)]) -> Option<Self> {
        let venue = Venue::listen();
        let (own, text) = (TempDir::new().unwrap(), config(&venue.url(), folder, more));
        let cache = own.path().join("cache");
        let daemon = Daemon::start_in(&text, own, &cache, environment)?;
        let peer = venue.welcome();
        Some(Self { venue, peer, daemon, sent: Vec::new() })
    }

    fn send(&mut self, payload: Vec<u8>) {
        self.peer.send(&frame(TEXT, &payload));
        self.sent.push(payload);
    }

    /// Sends the trades with these numbers, and waits until they are in the candles.
    fn trade(&mut self, ids: std::ops::RangeInclusive<u64>) {
        let last = *ids.end();
        ids.for_each(|id| self.send(trade(SYMBOL, id, id * 20)));
        self.daemon.wait_for_trades(SYMBOL, last);
    }

    fn journal(&self) -> (JournalState, JournalIntake) {
        self.daemon.connection.status().journal().expect("it has a journal")
    }

    fn state(&self) -> Journal {
        Journal::ALL[self.journal().0.state as usize]
    }

    /// Waits until a power cut would take nothing of what was sent.
    fn wait_until_durable(&self) {
        let is_durable = || {
            let (state, intake) = self.journal();
            // The start, the connection, and each frame.
            let least = state.first + 2 + self.sent.len() as u64;
            intake.accepted + intake.lost >= least && state.durable == intake.accepted
        };
        wait_until(|| format!("all of it durable: {:?}; {}", self.journal(), self.daemon.log()), is_durable);
    }
}

/// The payloads of all frames, and how many records were lost, as the gaps tell. Nothing may be missing otherwise.
fn frames(folder: &Path) -> (Vec<Vec<u8>>, u64) {
    let folder = Folder::new(folder);
    let (mut frames, mut lost, mut next) = (Vec::new(), 0, 0);
    let mut reader = Reader::new(&folder, Span::ALL).unwrap();
    while let Some(item) = reader.next().unwrap() {
        let record = match item {
            Item::Record(record) => record,
            Item::Missing(missing) => panic!("{missing:?}"),
        };
        assert_eq!(record.sequence, next, "sequences are without holes");
        assert_eq!(next == 0, record.header.kind == Kind::Start && frames.is_empty(), "{record:?}");
        next += 1;
        match record.header.kind {
            Kind::Frame => frames.push(record.payload.to_vec()),
            Kind::Gap => lost += journal::queue::Lost::decode(record.payload).unwrap().records,
            _ => {}
        }
    }
    let report = verify(&folder, |_, _| {}).unwrap();
    assert_eq!((report.findings, report.records, report.lost_records), (0, next, lost), "{report:?}");
    (frames, lost)
}

#[test]
fn what_a_venue_sends_is_on_disk() {
    for durability in ["group", "sync", "async"] {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("made/here");
        let more = format!("durability = {durability:?}\nsegment_mb = 1\nkeep_gb = 1");
        let Some(mut recording) = Recording::start(&path, &more, &[]) else { return };
        recording.trade(1..=600);
        if durability != "async" {
            recording.wait_until_durable();
        }
        wait_until(|| format!("{:?}", recording.journal()), || recording.state() == Journal::Well);
        let (state, intake) = recording.journal();
        assert_eq!((intake.lost, state.first), (0, 0), "{durability}");
        assert_eq!(
            state.class,
            ["async", "group", "sync"].iter().position(|name| *name == durability).unwrap() as u64 + 1
        );
        assert!(state.durable <= state.written && state.written <= intake.accepted, "{state:?}");
        let count = |counter| recording.daemon.count(counter);
        if durability != "async" {
            assert!(count(Counter::JournalFlushes) > 0 && count(Counter::JournalBlocks) > 0);
            assert!(count(Counter::JournalBytes) > 600 * 100 && count(Counter::JournalRecords) > 600);
        }
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700, "nobody else may read it");
        recording.send(trade(SYMBOL, 601, 20_000)); // Nobody waits for this one.
        recording.daemon.wait_for(Counter::Trades, 601);
        let Recording { daemon, sent, .. } = recording;
        let (code, said) = daemon.end();
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("the journal is closed: ") && said.contains("all of them durable"), "{said}");
        let segments = Folder::new(&path).list().unwrap();
        let is_trimmed = segments.iter().all(|segment| (1..1 << 20).contains(&segment.bytes));
        assert!(is_trimmed, "segments are as they were prepared: {segments:?}");
        let (found, lost) = frames(&path);
        assert!(found == sent && lost == 0, "{durability}: {} of {} frames", found.len(), sent.len());
    }
}

/// Whoever is killed loses nothing that was durable, and the next run joins what is there.
#[test]
fn a_run_after_a_crash_joins_what_is_there() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("j");
    let (mut sent, mut next) = (Vec::new(), 0);
    for run in 0..3u64 {
        let Some(mut recording) = Recording::start(&path, "segment_mb = 1\nhistory = \"1d\"", &[]) else {
            return;
        };
        let first = recording.journal().0.first;
        assert!(first >= next, "run {run} begins at {first}, and {next} records were durable");
        for id in run * 100 + 1..=run * 100 + 100 {
            recording.send(trade(SYMBOL, id, id * 20));
        }
        recording.daemon.wait_for(Counter::Trades, 100);
        recording.wait_until_durable();
        next = recording.journal().0.durable;
        sent.append(&mut recording.sent);
        recording.daemon.crash();
    }
    let Some(recording) = Recording::start(&path, "", &[]) else { return };
    let trades = recording.daemon.trades(SYMBOL);
    assert_eq!(trades, 300, "charts go on from the journal");
    drop(recording.daemon);
    let (found, lost) = frames(&path);
    assert!(found == sent && lost == 0, "{} of {} frames", found.len(), sent.len());
}

/// Runs a daemon that must not start, and returns its exit code and what it says.
fn refused(folder: &Path) -> (Option<i32>, String) {
    let own = TempDir::new().unwrap();
    let file = own.path().join("c.toml");
    let socket = format!("socket = {:?}\n", own.path().join("s"));
    std::fs::write(&file, socket + &config("ws://127.0.0.1:1", folder, "")).unwrap();
    let log = own.path().join("log");
    let mut command = Command::new(env!("CARGO_BIN_EXE_chartd"));
    command.args(["run", "--config"]).arg(file).stderr(std::fs::File::create(&log).unwrap());
    let mut daemon = command.spawn().unwrap();
    let (mut code, end) = (None, Instant::now() + Duration::from_secs(10));
    while code.is_none() && Instant::now() < end {
        code = daemon.try_wait().unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = daemon.kill(); // If it has started after all.
    let _ = daemon.wait();
    (code.and_then(|code| code.code()), std::fs::read_to_string(log).unwrap())
}

#[test]
fn two_daemons_do_not_write_one_journal() {
    let folder = TempDir::new().unwrap();
    let Some(recording) = Recording::start(folder.path(), "", &[]) else { return };
    let (code, said) = refused(folder.path());
    assert_eq!(code, Some(1), "{said}");
    let sentence = format!("another chartd writes the journal in {}", folder.path().display());
    assert!(said.contains(&sentence), "{said}");
    recording.daemon.crash();
    assert!(Recording::start(folder.path(), "", &[]).is_some(), "the lock ends with its process");
}

#[test]
fn a_folder_that_cannot_be_used_prevents_the_start() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let (code, said) = refused(&file.join("j"));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("the journal's folder {}/j cannot be used", file.display())), "{said}");
}

#[test]
fn what_the_kernel_refuses_is_done_without() {
    let refused = "journal.direct,journal.link,journal.through,uring.blocks,uring.files";
    for durability in ["group", "sync"] {
        let folder = TempDir::new().unwrap();
        let more = format!("durability = {durability:?}");
        let environment = [("CHARTD_FAIL", format!("{refused}=refuse"))].map(|(name, value)| (name, value));
        let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let Some(mut recording) = Recording::start(folder.path(), &more, &environment) else { return };
        recording.trade(1..=200);
        recording.wait_until_durable();
        let degraded = recording.daemon.degraded().join("\n");
        for part in [
            "O_DIRECT was refused",
            "linked ones were refused",
            "grant LimitMEMLOCK",
            "journal's files are looked up",
        ] {
            assert!(degraded.contains(part), "{part:?} is missing in {degraded}");
        }
        assert_eq!(degraded.contains("RWF_DSYNC was refused"), durability == "sync");
        let Recording { daemon, sent, .. } = recording;
        drop(daemon);
        assert!(frames(folder.path()) == (sent, 0), "{durability}");
    }
}

/// One write or flush fails: it is told, the segment is given up where it must be, and nothing is lost.
#[test]
fn an_error_of_the_disk_loses_nothing() {
    for (point, counter) in
        [("journal.write", Counter::JournalWriteFailures), ("journal.flush", Counter::JournalFlushFailures)]
    {
        let folder = TempDir::new().unwrap();
        let once = folder.path().join("once");
        let fails = format!("{point}=eio");
        let environment = [("CHARTD_FAIL", fails.as_str()), ("CHARTD_FAIL_ONCE", once.to_str().unwrap())];
        let path = folder.path().join("j");
        let Some(mut recording) = Recording::start(&path, "segment_mb = 1", &environment) else { return };
        recording.trade(1..=100);
        recording.wait_until_durable();
        std::fs::write(&once, "").unwrap();
        recording.trade(101..=200);
        recording.wait_until_durable();
        assert_eq!((recording.daemon.count(counter), recording.journal().0.errno), (1, 5), "{point}");
        let said = || recording.daemon.log().contains("of the journal failed (I/O error)");
        wait_until(|| format!("a word of it: {}", recording.daemon.log()), said);
        let Recording { daemon, sent, .. } = recording;
        drop(daemon);
        let (found, lost) = frames(&path);
        assert!(found == sent && lost == 0, "{point}: {} of {} frames", found.len(), sent.len());
    }
}

/// A disk that takes nothing any more does not keep the daemon from its charts, nor from ending.
#[test]
fn a_disk_that_fails_for_good_stops_nothing_else() {
    let folder = TempDir::new().unwrap();
    let environment = [("CHARTD_FAIL", "journal.flush=eio@30")];
    let Some(mut recording) = Recording::start(folder.path(), "segment_mb = 1\nspill_mb = 1", &environment)
    else {
        return;
    };
    let mut id = 0;
    while recording.daemon.count(Counter::JournalFlushFailures) < 3 {
        recording.trade(id + 1..=id + 20);
        id += 20;
    }
    recording.trade(id + 1..=id + 50);
    let Recording { daemon, .. } = recording;
    let began = Instant::now();
    let (code, said) = daemon.end();
    assert!(began.elapsed() < Duration::from_secs(8), "it took {:?}", began.elapsed());
    assert!(said.contains("records are not durable"), "{said}");
    assert_eq!(code, Some(1), "{said}");
}

#[test]
fn another_journal_takes_a_restart() {
    let folder = TempDir::new().unwrap();
    let Some(mut recording) = Recording::start(folder.path(), "", &[]) else { return };
    recording.trade(1..=50);
    let other = config(&recording.venue.url(), &folder.path().join("other"), "");
    recording.daemon.reload(&other);
    recording.trade(51..=100);
    recording.wait_until_durable();
    assert!(recording.daemon.log().contains("another journal takes a restart"), "{}", recording.daemon.log());
    assert!(!folder.path().join("other").exists());
    let Recording { daemon, sent, .. } = recording;
    drop(daemon);
    assert!(frames(folder.path()) == (sent, 0));
}

/// A file system fills up while the venue goes on, and has room again later.
#[test]
fn a_full_disk_costs_records_and_nothing_else() {
    // What is taken away is more than the journal's blocks and its queue hold meanwhile.
    let Some(disk) = SmallDisk::mount(48) else { return };
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![1; 36 << 20]).unwrap();
    let path = disk.path().join("j");
    let more = "segment_mb = 1\nspill_mb = 1\npack = false";
    let Some(mut recording) = Recording::start(&path, more, &[]) else { return };
    // Large frames of no meaning fill it; trades between them show that candles go on.
    let noise = format!(r#"{{"e":"noise","x":"{}"}}"#, "x".repeat(30_000));
    let (mut id, end) = (0, Instant::now() + Duration::from_secs(30));
    let mut go_on = |recording: &mut Recording, trades: u64| {
        for _ in 0..trades {
            id += 1;
            recording.send(noise.clone().into_bytes());
            recording.send(trade(SYMBOL, id, id * 20));
        }
        recording.daemon.wait_for_trades(SYMBOL, id);
    };
    let failed = |recording: &Recording| recording.daemon.count(Counter::JournalPrepareFailures) > 0;
    while !failed(&recording) {
        go_on(&mut recording, 20);
        assert!(Instant::now() < end, "it is never full: {:?}", recording.journal());
    }
    let before = recording.journal().1.lost;
    while recording.journal().1.lost < before + 200 {
        go_on(&mut recording, 20);
        assert!(Instant::now() < end, "nothing is lost: {:?}", recording.journal());
    }
    let is_bad = || matches!(recording.state(), Journal::Losing | Journal::Stalled);
    wait_until(|| format!("{:?}", recording.journal()), is_bad);
    assert_eq!(recording.journal().0.errno, 28, "ENOSPC");
    let says = |recording: &Recording| {
        recording.daemon.degraded().iter().any(|line| {
            line.starts_with("the journal ") && (line.contains("nowhere") || line.contains("loses"))
        })
    };
    wait_until(|| format!("a word of it: {}", recording.daemon.log()), || says(&recording));
    let why = || recording.daemon.log().contains("No space left on device");
    wait_until(|| format!("the reason: {}", recording.daemon.log()), why);
    std::fs::remove_file(&ballast).unwrap();
    wait_until(|| format!("{:?}", recording.journal()), || recording.state() == Journal::Well);
    // Its gap stands before what comes next.
    go_on(&mut recording, 1);
    recording.wait_until_durable();
    wait_until(|| format!("an end of it: {}", recording.daemon.log()), || !says(&recording));
    assert!(
        recording.daemon.log().contains("the journal keeps up again; it lacks"),
        "{}",
        recording.daemon.log()
    );
    let told = recording.journal().1.lost;
    assert_eq!(recording.daemon.count(Counter::JournalLost), told);
    let Recording { daemon, sent, .. } = recording;
    drop(daemon);
    let (found, lost) = frames(&path);
    assert_eq!(lost, told);
    assert!(
        found.len() < sent.len() && found.len() as u64 + lost >= sent.len() as u64,
        "{} of {} and {lost}",
        found.len(),
        sent.len()
    );
    assert_eq!(found.last(), sent.last());
}

/// A closed run of one record, received so long ago.
fn put_old_segment(folder: &Path, age: Duration) {
    let received = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap() - age;
    let real_ns = received.as_nanos() as u64;
    let stamp = Stamp { real_ns, mono_ns: 1 };
    let header = Header { kind: Kind::Tick, flags: 0, line: 0, feed: 0, generation: 1, stamp };
    let record = header.encode(0);
    let mut bytes = vec![0; block::PAGE_BYTES];
    bytes[block::HEADER_BYTES..][..record.len()].copy_from_slice(&record);
    let head = BlockHeader {
        payload_bytes: record.len() as u32,
        segment: [9; 16],
        count: 1,
        flags: block::LAST,
        real_ns,
        ..BlockHeader::default()
    };
    block::seal(&mut bytes, &head);
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(Folder::new(folder).path_of(0, Form::Plain), bytes).unwrap();
}

#[test]
fn closed_segments_are_packed_and_old_ones_removed() {
    let folder = TempDir::new().unwrap();
    put_old_segment(folder.path(), Duration::from_secs(40 * 86_400));
    let more = "segment_mb = 1\nkeep_days = 30";
    let Some(mut recording) = Recording::start(folder.path(), more, &[]) else { return };
    let has = |form, numbers: std::ops::Range<u64>| {
        numbers
            .into_iter()
            .filter(|number| Folder::new(folder.path()).path_of(*number, form).exists())
            .count()
    };
    assert_eq!(recording.journal().0.first, 1, "the run goes on behind what is there");
    let mut next = 1;
    // Until three segments are closed, however records share blocks.
    while recording.journal().0.segment < 4 {
        recording.trade(next..=next + 999);
        next += 1_000;
        assert!(next < 200_000, "{:?}", recording.journal());
    }
    wait_until(|| recording.daemon.log(), || has(Form::Packed, 1..4) == 3 && has(Form::Plain, 0..4) == 0);
    recording.wait_until_durable();
    let Recording { sent, daemon, peer, venue, .. } = recording;
    drop((daemon, peer, venue));
    let folder = Folder::new(folder.path());
    let mut reader = Reader::new(&folder, Span::ALL).unwrap();
    let mut frames = Vec::new();
    while let Some(item) = reader.next().unwrap() {
        match item {
            Item::Record(record) if record.header.kind == Kind::Frame => frames.push(record.payload.to_vec()),
            Item::Record(_) => {}
            Item::Missing(missing) => panic!("{missing:?}"),
        }
    }
    assert!(frames == sent, "{} frames of {}", frames.len(), sent.len());
}
