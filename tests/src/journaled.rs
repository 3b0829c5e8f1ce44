//! A daemon that journals what two venues send, and the proof of a journal: that it holds what was sent, to the byte,
//! in order and without a hole, at least as far as was promised.

use crate::bin;
use crate::service::{PATIENCE, wait_until};
use crate::venue::{Messages, Venue};
use chart_client::Connection;
use journal::reader::Why;
use journal::{Folder, Item, Kind, ReadError, Reader, Record, Span, recover};
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The classes of durability, as a configuration names them.
pub const CLASSES: [&str; 3] = ["async", "group", "sync"];

/// A daemon with a journal. It is killed with this.
pub struct Daemon {
    child: Child,
    folder: TempDir,
}

/// What the status segment says: how far the journal is accepted, written and durable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks {
    /// Records taken in.
    pub accepted: u64,
    /// Records written.
    pub written: u64,
    /// Records that no power cut takes.
    pub durable: u64,
    /// Records that found no room.
    pub lost: u64,
}

impl Daemon {
    /// Starts one. It may be far from ready.
    pub fn start(venues: &[Venue], journal: &Path, class: &str) -> Self {
        Self::start_with(venues, journal, class, 1)
    }

    /// Starts one with segments of so many MiB.
    pub fn start_with(venues: &[Venue], journal: &Path, class: &str, segment_mb: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let mut text = format!(
            "socket = {:?}\n[journal]\nfolder = {journal:?}\ndurability = {class:?}\nsegment_mb = {segment_mb}\n",
            folder.path().join("s")
        );
        for Venue { address, symbol, .. } in venues {
            text +=
                &format!("[[feed]]\nvenue = \"binance\"\nurl = \"ws://{address}\"\nsymbols = [{symbol:?}]\n");
        }
        let symbol = venues[0].symbol;
        text += &format!("[[chart]]\nsource = \"binance:{symbol}\"\ntimeframe = \"1s\"\nsize = [160, 90]\n");
        fs::write(folder.path().join("c.toml"), text).expect("the configuration can be written");
        let log = fs::File::create(folder.path().join("log")).expect("a log can be made");
        let mut command = Command::new(bin("chartd"));
        command.args(["run", "--config"]).arg(folder.path().join("c.toml"));
        let child = command.stdout(Stdio::null()).stderr(log).spawn().expect("chartd starts");
        Self { child, folder }
    }

    /// A connection once it journals. `None`, and a line that says so, where io_uring is forbidden.
    pub fn connect(&mut self) -> Option<Connection> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Ok(connection) = Connection::open(Some(&self.socket())) {
                let first = connection.status().journal().expect("it journals").0.first;
                wait_until("journalling", || marks(&connection).accepted > first + 20);
                return Some(connection);
            }
            if self.log().contains("io_uring is forbidden") {
                println!("skipped: no io_uring");
                return None;
            }
            let ended = self.child.try_wait().expect("it can be waited for");
            assert!(ended.is_none() && Instant::now() < end, "it does not serve ({ended:?}): {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills it, at once.
    pub fn kill(&mut self) {
        let _ = self.child.kill(); // It may have ended.
        let _ = self.child.wait();
    }

    /// Asks it to end, and waits.
    pub fn terminate(&mut self) -> ExitStatus {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it runs");
        let child = &mut self.child;
        wait_until("the daemon's end", || child.try_wait().expect("it can be waited for").is_some());
        child.wait().expect("it has ended")
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("the daemon's log: {}", self.log());
        } else {
            assert!(!self.log().contains("panicked"), "{}", self.log());
        }
    }
}

/// What the daemon says now, to any process.
pub fn marks(connection: &Connection) -> Marks {
    let (state, intake) = connection.status().journal().expect("it journals");
    Marks { accepted: intake.accepted, written: state.written, durable: state.durable, lost: intake.lost }
}

/// What one run after another has proven of a journal.
#[derive(Debug, Default)]
pub struct Proof {
    /// A hash of each record that must stay what it is.
    kept: Vec<u64>,
    /// Frames that were found the last time.
    pub frames: u64,
}

impl Proof {
    /// Recovers the journal in a folder and reads all of it. Of its records those below `least` must be there, and all
    /// that stayed the last time; each frame must be what a venue sent, each connection's in order and from the first
    /// on, and `most` is the highest number of records that there may be. Returns how many there are.
    pub fn check(&mut self, folder: &Path, venues: &[Venue], least: u64, most: u64) -> u64 {
        let store = Folder::new(folder);
        let recovered = recover(&store).expect("the journal can be recovered");
        let corrupt = recovered.missing.iter().find(|missing| missing.why == Why::Corrupt);
        assert_eq!(corrupt, None, "a cut corrupts nothing");
        let mut following = Following::of(venues);
        let hashes = read_all(&store, &mut following);
        assert_eq!(hashes.len() as u64, recovered.position.next, "{recovered:?}");
        let frames = following.frames;
        let records = hashes.len() as u64;
        assert!(least <= records, "{} durable records are gone: {records} of {least}", least - records);
        assert!(records <= most, "{records} records, and only {most} were accepted");
        assert!(
            self.kept.len() <= hashes.len() && hashes[..self.kept.len()] == self.kept,
            "the past has changed"
        );
        // Recovering has made all of it durable; what was cut is gone for good.
        self.kept = hashes;
        self.frames = frames;
        records
    }
}

/// A hash of each record of a journal. There may be none as yet.
fn read_all(store: &Folder, following: &mut Following) -> Vec<u64> {
    let mut hashes = Vec::new();
    let mut reader = match Reader::new(store, Span::ALL) {
        Err(ReadError::Nothing(_)) => return hashes,
        reader => reader.expect("the journal can be read"),
    };
    while let Some(item) = reader.next().expect("the journal can be read") {
        match item {
            Item::Record(record) => {
                assert_eq!(record.sequence, hashes.len() as u64, "sequences have no holes");
                following.follow(&record);
                hashes.push(hash(&record));
            }
            // A record that was begun, in blocks that are whole, and never ended: no record is missing for it.
            Item::Missing(missing) => {
                assert!(matches!(missing.why, Why::Torn { .. }), "{missing:?}");
                assert_eq!(missing.records, hashes.len() as u64..hashes.len() as u64, "{missing:?}");
            }
        }
    }
    hashes
}

fn hash(record: &Record<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (record.header.kind, record.header.feed, record.header.line, record.header.stamp.real_ns)
        .hash(&mut hasher);
    record.payload.hash(&mut hasher);
    hasher.finish()
}

/// Where each message of a venue was sent: connection, and place among its messages.
type Places = HashMap<Arc<[u8]>, (usize, usize)>;

/// Follows each connection of each feed through the journal.
struct Following {
    sent: Vec<Vec<Messages>>,
    places: Vec<Places>,
    /// By feed and line: which connection it is, and what is to come next.
    next: HashMap<(u16, u8), Option<(usize, usize)>>,
    frames: u64,
}

impl Following {
    fn of(venues: &[Venue]) -> Self {
        let sent: Vec<_> = venues.iter().map(Venue::sent).collect();
        let places = |connections: &Vec<Messages>| {
            let of = |(connection, messages): (usize, &Messages)| {
                let place =
                    move |(place, message): (usize, &Arc<[u8]>)| (message.clone(), (connection, place));
                messages.iter().enumerate().map(place).collect::<Vec<_>>()
            };
            connections.iter().enumerate().flat_map(of).collect()
        };
        let places = sent.iter().map(places).collect();
        Self { sent, places, next: HashMap::new(), frames: 0 }
    }

    fn follow(&mut self, record: &Record<'_>) {
        let line = (record.header.feed, record.header.line);
        match record.header.kind {
            Kind::Start => self.next.clear(),
            Kind::Connected => _ = self.next.insert(line, None),
            Kind::Frame => self.frame(line, record),
            Kind::Gap => panic!("records were lost, though there was room"),
            _ => {}
        }
    }

    fn frame(&mut self, line: (u16, u8), record: &Record<'_>) {
        let feed = usize::from(line.0);
        let Some(next) = self.next.get_mut(&line) else {
            panic!("a frame of line {line:?} before it was connected");
        };
        let place = self.places[feed].get(record.payload).copied();
        let (connection, place) = place.unwrap_or_else(|| {
            panic!("record {} is nothing that was sent: {:?}", record.sequence, text(record.payload))
        });
        let expected = next.unwrap_or((connection, 0));
        assert_eq!((connection, place), expected, "record {} is out of order", record.sequence);
        assert_eq!(*self.sent[feed][connection][place], *record.payload);
        *next = Some((connection, place + 1));
        self.frames += 1;
    }
}

fn text(payload: &[u8]) -> String {
    String::from_utf8_lossy(&payload[..payload.len().min(200)]).into_owned()
}

/// The seeds to try: `CHARTD_SEEDS` of them, or as many as is usual. From `CHARTD_SEED` on, which is 1 without it.
pub fn seeds(usual: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("CHARTD_SEED").unwrap_or(1);
    (first..first + number("CHARTD_SEEDS").unwrap_or(usual)).collect()
}
