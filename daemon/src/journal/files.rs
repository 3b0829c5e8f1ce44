//! The journal's files, apart from writing them: two threads that are in nobody's way.
//!
//! `chartd-segments` prepares the next segment ahead, ends those that are closed, and removes old ones. It prepares in
//! small steps with pauses (`pace`), so as not to slow the very writing that it prepares for. While it finds no room it
//! tries once a second. `chartd-pack` packs what is closed, when nobody else wants the processor; it looks
//! for its work in the folder, so nothing is forgotten and nothing piles up.

mod pace;

use crate::config;
use crate::rt;
use journal::retention::{Held, Limits, to_remove};
use journal::{Folder, Form, Index, PackError, Segment, Store, rebuild_index};
use nix::sys::eventfd::EventFd;
use pace::Pace;
use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::*};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long it waits before it tries again to prepare a segment.
const RETRY: Duration = Duration::from_secs(1);
/// How often the folder is looked through if nothing happens: for what has grown old.
const TEND: Duration = Duration::from_secs(60);
/// How hard is tried to pack: zstd's usual.
const LEVEL: i32 = 3;
const DAY_NS: u64 = 86_400_000_000_000;
/// Orders that may wait. Each segment makes three at the most, and there are few.
const ORDERS: usize = 32;

/// What is to be done with the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Prepare one more segment.
    Prepare,
    /// Nothing more is written to this one. The file ends where it was used up to.
    Close {
        /// Its number.
        segment: u64,
        /// How much of it was used.
        used_bytes: u64,
    },
    /// It was prepared, and is not needed.
    Discard(u64),
}

/// A segment to write to.
pub(crate) struct Prepared {
    pub(crate) segment: u64,
    pub(crate) identity: [u8; 16],
    pub(crate) file: File,
}

/// What the threads share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Wakes the thread that writes.
    pub(crate) wake: Arc<EventFd>,
    /// Segments from this number on are, or may be, written.
    pub(crate) open_from: AtomicU64,
    /// Segments below this number are ended, and nobody else touches them.
    pub(crate) ended_from: AtomicU64,
    /// Bytes of all files.
    pub(crate) disk_bytes: AtomicU64,
    /// How often no segment could be prepared.
    pub(crate) failures: AtomicU64,
    /// Why not, the last time.
    pub(crate) errno: AtomicI32,
    /// Bytes of the blocks that were written so far.
    pub(crate) written_bytes: AtomicU64,
    /// Whether the thread that writes has nowhere to write to.
    pub(crate) is_waiting: AtomicBool,
    /// Whether packing is to end, and what is being prepared is not needed.
    stop: AtomicBool,
}

/// How long a run before may take to end, whose last writes are on their way.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// Nobody else writes the journal as long as this is there.
#[derive(Debug)]
pub(crate) struct Lock {
    folder: File,
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    /// It cannot be made or opened.
    #[error(
        "the journal's folder {folder} cannot be used: {source} (make it and give it to chartd's user, or name another \
         with folder = in [journal])"
    )]
    Unusable {
        /// Which.
        folder: String,
        /// Why.
        source: io::Error,
    },
    /// Another process has it.
    #[error(
        "another chartd writes the journal in {0}: end that one, or name another folder with folder = in [journal]"
    )]
    Taken(String),
}

impl Lock {
    /// Makes the folder, if it is not there, and takes it for this process.
    pub(crate) fn take(path: &Path) -> Result<Self, FolderError> {
        let unusable = |source| FolderError::Unusable { folder: path.display().to_string(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        let folder = File::open(path).map_err(unusable)?;
        let end = Instant::now() + LOCK_PATIENCE;
        loop {
            match folder.try_lock() {
                Ok(()) => return Ok(Self { folder }),
                Err(std::fs::TryLockError::WouldBlock) if Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(std::fs::TryLockError::WouldBlock) => {
                    return Err(FolderError::Taken(path.display().to_string()));
                }
                Err(std::fs::TryLockError::Error(error)) => return Err(unusable(error)),
            }
        }
    }

    /// The same lock: it is given back when both are gone.
    pub(crate) fn share(&self) -> io::Result<File> {
        self.folder.try_clone()
    }
}

/// The threads, and the way to them.
pub(crate) struct Files {
    orders: SyncSender<Order>,
    prepared: Receiver<Prepared>,
    pub(crate) shared: Arc<Shared>,
    segments: JoinHandle<()>,
    pack: Option<JoinHandle<()>>,
}

impl Files {
    /// Starts them. The next segment has the number `next`; files are opened past the page cache if `is_direct`.
    pub(crate) fn start(
        config: &config::Journal,
        next: u64,
        is_direct: bool,
        wake: Arc<EventFd>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            wake,
            open_from: AtomicU64::new(next),
            ended_from: AtomicU64::new(next),
            disk_bytes: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            errno: AtomicI32::new(0),
            written_bytes: AtomicU64::new(0),
            is_waiting: AtomicBool::new(true),
            stop: AtomicBool::new(false),
        });
        let (orders, ordered) = sync_channel(ORDERS);
        // One in reserve, one that is asked for when it is taken.
        let (prepare, prepared) = sync_channel(2);
        let folder = Folder::new(&config.folder);
        let pack = config.pack.then(|| spawn_pack(folder.clone(), shared.clone())).transpose()?;
        let keeper = Keeper {
            folder,
            config: config.clone(),
            next,
            is_direct,
            prepared: prepare,
            shared: shared.clone(),
            pack: pack.as_ref().map(|pack| pack.thread().clone()),
        };
        let builder = std::thread::Builder::new().name("chartd-segments".to_owned());
        let segments = builder.spawn(move || keeper.run(&ordered))?;
        Ok(Self { orders, prepared, shared, segments, pack })
    }

    /// Gives an order. It never waits. That nobody takes it ends the journal.
    pub(crate) fn order(&self, order: Order) -> io::Result<()> {
        let refused = |_| io::Error::other(format!("its files are not kept: nobody takes {order:?}"));
        self.orders.try_send(order).map_err(refused)
    }

    /// A segment, if one is prepared.
    pub(crate) fn take(&self) -> Option<Prepared> {
        self.prepared.try_recv().ok()
    }

    /// Has all orders carried out that were given, and ends both threads, or leaves them to the end of the process:
    /// what they do can be broken off anywhere.
    pub(crate) fn end(self, until: Instant) {
        let Self { orders, prepared, shared, segments, pack } = self;
        drop((orders, prepared));
        shared.stop.store(true, Release);
        pack.iter().for_each(|pack| pack.thread().unpark());
        for thread in [Some(segments), pack].into_iter().flatten() {
            while !thread.is_finished() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// The thread that prepares and ends segments.
struct Keeper {
    folder: Folder,
    config: config::Journal,
    next: u64,
    is_direct: bool,
    prepared: SyncSender<Prepared>,
    shared: Arc<Shared>,
    pack: Option<std::thread::Thread>,
}

impl Keeper {
    fn run(mut self, orders: &Receiver<Order>) {
        rt::step_back(rt::Background::Late);
        self.tend();
        // When to prepare a segment, if one is wanted.
        let mut due: Option<Instant> = None;
        loop {
            let patience = due.map_or(TEND, |due| due.saturating_duration_since(Instant::now()));
            match orders.recv_timeout(patience) {
                Ok(Order::Prepare) => due = Some(Instant::now()),
                Ok(Order::Close { segment, used_bytes }) => self.close(segment, used_bytes),
                Ok(Order::Discard(segment)) => self.discard(segment),
                Err(RecvTimeoutError::Timeout) if due.is_none() => self.tend(),
                Err(RecvTimeoutError::Timeout) => due = self.prepare().err().map(|_| Instant::now() + RETRY),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Prepares a segment, or counts why not, and makes room if that may help.
    fn prepare(&mut self) -> io::Result<()> {
        let outcome = self.try_prepare();
        match &outcome {
            Ok(()) => self.count_bytes(),
            Err(_) if self.shared.stop.load(Acquire) => {}
            Err(error) => {
                self.shared.errno.store(error.raw_os_error().unwrap_or(libc::EIO), Relaxed);
                self.shared.failures.fetch_add(1, Relaxed);
                self.tend();
            }
        }
        let _ = self.shared.wake.write(1); // It is awake at the latest when its nap ends.
        outcome
    }

    fn try_prepare(&mut self) -> io::Result<()> {
        let segment = self.next;
        self.look_for_room()?;
        let mut pace = Pace::new(&self.shared);
        self.folder.prepare(segment, self.config.segment_mb << 20, |prepared| pace.pause(prepared))?;
        self.next += 1; // Numbers rise, whatever becomes of it.
        self.hand_over(segment).inspect_err(|_| self.discard(segment))
    }

    /// Whether there is room for a segment and a rest for others. Otherwise trying would take it all, again and again.
    fn look_for_room(&self) -> io::Result<()> {
        let disk = nix::sys::statvfs::statvfs(self.folder.path())?;
        let free = disk.blocks_available().saturating_mul(disk.fragment_size());
        let wanted = self.config.segment_mb << 20;
        if free < wanted + wanted / 64 { Err(io::Error::from_raw_os_error(libc::ENOSPC)) } else { Ok(()) }
    }

    fn hand_over(&self, segment: u64) -> io::Result<()> {
        let flags = if self.is_direct { libc::O_DIRECT } else { 0 };
        let file = File::options()
            .write(true)
            .custom_flags(flags)
            .open(self.folder.path_of(segment, Form::Plain))?;
        let prepared = Prepared { segment, identity: identity()?, file };
        // Whoever is gone needs none.
        if self.prepared.try_send(prepared).is_err() {
            self.discard(segment);
        }
        Ok(())
    }

    fn close(&mut self, segment: u64, used_bytes: u64) {
        let closed = Segment { number: segment, is_packed: false, bytes: self.config.segment_mb << 20 };
        let outcome = match used_bytes {
            0 => self.folder.remove(&closed),
            _ => self
                .folder
                .trim(segment, used_bytes)
                .and_then(|()| rebuild_index(&self.folder, segment).map(drop)),
        };
        if let Err(error) = outcome {
            tracing::warn!("segment {segment} of the journal stays as it is: {error}");
        }
        self.shared.ended_from.fetch_max(self.shared.open_from.load(Acquire).min(segment + 1), AcqRel);
        self.tend();
        self.pack.iter().for_each(std::thread::Thread::unpark);
    }

    fn discard(&self, segment: u64) {
        let unused = Segment { number: segment, is_packed: false, bytes: self.config.segment_mb << 20 };
        let _ = self.folder.remove(&unused); // The next start removes it.
    }

    /// Removes what has grown old, and counts what is there.
    fn tend(&mut self) {
        let outcome = retain(&self.folder, &self.config, &self.shared);
        if let Err(error) = outcome {
            tracing::warn!("old segments of the journal are not removed: {error}");
        }
        self.count_bytes();
    }

    fn count_bytes(&self) {
        let segments = self.folder.list().unwrap_or_default();
        self.shared.disk_bytes.store(segments.iter().map(|segment| segment.bytes).sum(), Relaxed);
    }
}

/// Starts the thread that packs.
fn spawn_pack(folder: Folder, shared: Arc<Shared>) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("chartd-pack".to_owned()).spawn(move || {
        rt::step_back(rt::Background::Last);
        // What cannot be packed is passed over, until the next start.
        let mut least = 0;
        while !shared.stop.load(Acquire) {
            match pack_one(&folder, &shared, least) {
                Ok(Some((number, outcome))) => {
                    least = number + 1;
                    outcome.unwrap_or_else(|error| {
                        tracing::warn!("a segment of the journal stays plain: {error}")
                    });
                    continue;
                }
                Ok(None) => {}
                Err(error) => tracing::warn!("the journal's segments are not packed: {error}"),
            }
            std::thread::park_timeout(TEND);
        }
    })
}

/// Packs the first segment from `least` on that is closed and not packed. Its number, if there was one.
fn pack_one(
    folder: &Folder,
    shared: &Shared,
    least: u64,
) -> io::Result<Option<(u64, Result<(), PackError>)>> {
    let closed = least..shared.ended_from.load(Acquire);
    let segments = folder.list()?;
    let next = segments.iter().find(|segment| !segment.is_packed && closed.contains(&segment.number));
    Ok(next.map(|next| (next.number, journal::pack(folder, next.number, LEVEL).map(drop))))
}

/// What tells a segment from every other.
fn identity() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    io::Read::read_exact(&mut File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes)
}

/// Removes segments that are too old or too many, as the configuration says. Never one that is written.
fn retain(folder: &Folder, config: &config::Journal, shared: &Shared) -> io::Result<()> {
    let limits = Limits {
        max_age_ns: config.keep_days.map(|days| days * DAY_NS),
        max_bytes: config.keep_gb.map(|gb| gb * 1_000_000_000),
    };
    if limits == Limits::default() {
        return Ok(());
    }
    let open_from = shared.open_from.load(Acquire);
    let segments = folder.list()?;
    let held = segments.iter().map(|segment| {
        let is_closed = segment.number < open_from;
        let newest_ns = is_closed.then(|| newest_ns(folder, segment)).flatten();
        Held { number: segment.number, bytes: segment.bytes, newest_ns }
    });
    let held: Vec<_> = held.collect();
    for number in to_remove(&held, limits, super::real_ns()) {
        let gone = segments.iter().filter(|segment| segment.number == number);
        gone.clone().try_for_each(|segment| folder.remove(segment))?;
        tracing::info!("segment {number} of the journal is removed: it is more than is kept");
    }
    Ok(())
}

/// When the newest record of a closed segment was received. Of one that does not tell, when its file was changed: it
/// must not keep all others.
fn newest_ns(folder: &Folder, segment: &Segment) -> Option<u64> {
    let found = folder.index(segment).ok().flatten().and_then(|bytes| Index::decode(&bytes).ok());
    // A run that was killed has left the last one without.
    let index = found.or_else(|| rebuild_index(folder, segment.number).ok().flatten());
    index.map(|index| index.newest_ns).or_else(|| {
        let form = if segment.is_packed { Form::Packed } else { Form::Plain };
        let changed = folder.path_of(segment.number, form).metadata().ok()?.modified().ok()?;
        Some(changed.duration_since(std::time::UNIX_EPOCH).ok()?.as_nanos() as u64)
    })
}
