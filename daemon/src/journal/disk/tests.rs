//! What is asked for is really on disk, with each help of the kernel and without any of it.

use super::*;
use std::collections::HashMap;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::process::Command;

const BLOCK_BYTES: usize = 16 << 10;
const SEGMENT_BYTES: usize = 1 << 20;
/// Says to a test that it runs in a process of its own, and what is refused there.
const CHILD: &str = "CHARTD_DISK_TEST";

fn disk_in(folder: &Path) -> Option<Disk> {
    fail::init();
    let wake = Arc::new(EventFd::from_flags(nix::sys::eventfd::EfdFlags::EFD_NONBLOCK).unwrap());
    match Disk::new(&RingPlan::journal(4, BLOCK_BYTES, false), folder, wake, true) {
        Ok(disk) => Some(disk),
        Err(DiskError::Ring(RingError::Forbidden(_))) => {
            eprintln!("skipped: no io_uring");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// A segment of zeros that the ring knows, and a view of it.
fn add(disk: &mut Disk, folder: &Path, segment: u64) -> File {
    let path = folder.join(format!("{segment}.seg"));
    std::fs::write(&path, vec![0; SEGMENT_BYTES]).unwrap();
    let flags = if disk.is_direct() { libc::O_DIRECT } else { 0 };
    let file = File::options().write(true).custom_flags(flags).open(&path).unwrap();
    disk.add(segment, [segment as u8; 16], file).unwrap();
    let mut events = Vec::new();
    disk.pump(&mut events, |events| !events.is_empty()).unwrap();
    assert_eq!(events, [Event::Ready { segment, identity: [segment as u8; 16] }]);
    File::open(path).unwrap()
}

/// The outcomes of these operations.
fn outcomes(disk: &mut Disk, ids: &[OpId]) -> HashMap<OpId, Result<usize, Errno>> {
    let mut events = Vec::new();
    disk.pump(&mut events, |events| events.len() >= ids.len()).unwrap();
    assert!(disk.is_quiet());
    let outcome = |event: &Event| match event {
        Event::Done(id, outcome) => (*id, *outcome),
        Event::Ready { .. } => panic!("{event:?}"),
    };
    let outcomes: HashMap<_, _> = events.iter().map(outcome).collect();
    assert!(ids.iter().all(|id| outcomes.contains_key(id)) && events.len() == ids.len(), "{events:?}");
    outcomes
}

fn write(id: u32, segment: u64, block: usize, len: usize, offset: u64, flush: Flush) -> Op {
    Op::Write { id: OpId(id), segment, block, len, offset, flush }
}

fn fill(disk: &mut Disk) {
    for block in 0..4 {
        disk.memory()[block * BLOCK_BYTES..][..BLOCK_BYTES].fill(block as u8 + 1);
    }
}

/// Writes in all three ways, flushes, and reads the file.
fn all_is_there(disk: &mut Disk, folder: &Path) {
    let file = add(disk, folder, 3);
    fill(disk);
    disk.begin(&write(0, 3, 0, BLOCK_BYTES, 0, Flush::No)).unwrap();
    disk.begin(&write(1, 3, 1, 4096, BLOCK_BYTES as u64, Flush::Through)).unwrap();
    disk.begin(&write(2, 3, 2, 8192, 2 * BLOCK_BYTES as u64, Flush::Linked(OpId(9)))).unwrap();
    disk.begin(&write(3, 3, 3, BLOCK_BYTES, 3 * BLOCK_BYTES as u64, Flush::Linked(OpId(8)))).unwrap();
    let done = outcomes(disk, &[0, 1, 2, 3, 8, 9].map(OpId));
    let lens = [0, 1, 2, 3].map(|id| done[&OpId(id)]);
    assert_eq!(lens, [BLOCK_BYTES, 4096, 8192, BLOCK_BYTES].map(Ok));
    assert!(done[&OpId(8)].is_ok() && done[&OpId(9)].is_ok(), "{done:?}");
    disk.begin(&Op::Flush { id: OpId(5), segment: 3 }).unwrap();
    assert!(outcomes(disk, &[OpId(5)])[&OpId(5)].is_ok());
    let mut found = vec![0; SEGMENT_BYTES];
    file.read_exact_at(&mut found, 0).unwrap();
    let mut expected = vec![0; SEGMENT_BYTES];
    for (block, len) in [BLOCK_BYTES, 4096, 8192, BLOCK_BYTES].into_iter().enumerate() {
        expected[block * BLOCK_BYTES..][..len].fill(block as u8 + 1);
    }
    assert!(found == expected, "what was written is not what is there");
    disk.begin(&Op::Close { segment: 3, used_bytes: 0, is_whole: true }).unwrap();
    disk.begin(&write(7, 3, 0, 4096, 0, Flush::Linked(OpId(6)))).unwrap();
    let done = outcomes(disk, &[OpId(7), OpId(6)]);
    assert_eq!((done[&OpId(7)], done[&OpId(6)]), (Err(libc::EBADF), Err(libc::EBADF)), "it is closed");
    assert!(!folder.join("probe.tmp").exists());
}

#[test]
fn what_is_asked_for_is_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut disk) = disk_in(folder.path()) else { return };
    println!("{disk}: {:?}", disk.lacking());
    all_is_there(&mut disk, folder.path());
}

/// Runs `test` of this file in a process of its own, in which `refused` is refused.
fn in_a_child(test: &str, fails: &str, says: &str) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("journal::disk::tests::{test}"), "--nocapture"])
        .env("CHARTD_FAIL", fails)
        .env(CHILD, says)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{fails}: {said}");
}

#[test]
fn what_is_refused_is_done_without() {
    let all = "journal.direct,journal.link,journal.through,uring.blocks,uring.files,uring.ring_fd,uring.restrictions";
    for (refused, says) in [
        ("journal.direct", "O_DIRECT was refused"),
        ("journal.link", "linked ones were refused"),
        ("journal.through", "RWF_DSYNC was refused"),
        ("uring.blocks", "grant LimitMEMLOCK=infinity"),
        ("uring.files", "the journal's files are looked up"),
        (all, "RWF_DSYNC was refused"),
    ] {
        in_a_child("child_without", &format!("{refused}=refuse"), says);
    }
}

#[test]
fn child_without() {
    let Ok(says) = std::env::var(CHILD) else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(mut disk) = disk_in(folder.path()) else { return };
    let lacking = disk.lacking();
    assert!(lacking.iter().any(|line| line.contains(&says)), "{lacking:?}");
    all_is_there(&mut disk, folder.path());
}

#[test]
fn a_write_that_fails_cancels_its_flush() {
    // The first three are those of the probe.
    in_a_child("child_whose_writes_fail", "journal.write=eio@4", "");
    in_a_child("child_whose_flushes_fail", "journal.flush=eio@2", "");
}

#[test]
fn child_whose_writes_fail() {
    if std::env::var(CHILD).is_err() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let Some(mut disk) = disk_in(folder.path()) else { return };
    add(&mut disk, folder.path(), 1);
    disk.begin(&write(0, 1, 0, 4096, 0, Flush::Linked(OpId(1)))).unwrap();
    let done = outcomes(&mut disk, &[OpId(0), OpId(1)]);
    assert_eq!((done[&OpId(0)], done[&OpId(1)]), (Err(libc::EIO), Err(libc::ECANCELED)));
    // Without links it is the same.
    disk.mode.linked = Err(io::ErrorKind::Unsupported.into());
    disk.begin(&write(0, 1, 0, 4096, 0, Flush::Linked(OpId(1)))).unwrap();
    let done = outcomes(&mut disk, &[OpId(0), OpId(1)]);
    assert_eq!((done[&OpId(0)], done[&OpId(1)]), (Err(libc::EIO), Err(libc::ECANCELED)));
}

#[test]
fn child_whose_flushes_fail() {
    if std::env::var(CHILD).is_err() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let Some(mut disk) = disk_in(folder.path()) else { return };
    add(&mut disk, folder.path(), 1);
    disk.begin(&write(0, 1, 0, 4096, 0, Flush::Linked(OpId(1)))).unwrap();
    let done = outcomes(&mut disk, &[OpId(0), OpId(1)]);
    assert_eq!((done[&OpId(0)], done[&OpId(1)]), (Ok(4096), Err(libc::EIO)));
    disk.mode.through = Err(io::ErrorKind::Unsupported.into());
    disk.begin(&write(0, 1, 0, 4096, 0, Flush::Through)).unwrap();
    assert_eq!(
        outcomes(&mut disk, &[OpId(0)])[&OpId(0)],
        Err(libc::EIO),
        "a write that is not durable has failed"
    );
}

/// The kernel itself says what it does where a write cannot be whole.
#[test]
fn a_write_that_the_kernel_refuses_cancels_its_flush() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut disk) = disk_in(folder.path()) else { return };
    std::fs::write(folder.path().join("1.seg"), [0; 4096]).unwrap();
    let read_only = File::open(folder.path().join("1.seg")).unwrap();
    disk.add(1, [1; 16], read_only).unwrap();
    let mut events = Vec::new();
    disk.pump(&mut events, |events| !events.is_empty()).unwrap();
    disk.begin(&write(0, 1, 0, 4096, 0, Flush::Linked(OpId(1)))).unwrap();
    let done = outcomes(&mut disk, &[OpId(0), OpId(1)]);
    assert_eq!((done[&OpId(0)], done[&OpId(1)]), (Err(libc::EBADF), Err(libc::ECANCELED)));
}

#[test]
fn more_segments_than_places_are_written_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut disk) = disk_in(folder.path()) else { return };
    fill(&mut disk);
    let files: Vec<_> = (0..12).map(|segment| add(&mut disk, folder.path(), segment)).collect();
    assert!(disk.open.iter().any(|open| open.place.is_none()));
    for segment in 0..12 {
        disk.begin(&write(segment, segment.into(), segment as usize % 4, 4096, 0, Flush::No)).unwrap();
    }
    let done = outcomes(&mut disk, &(0..12).map(OpId).collect::<Vec<_>>());
    assert!(done.values().all(|outcome| *outcome == Ok(4096)), "{done:?}");
    for (segment, file) in files.iter().enumerate() {
        let mut first = [0];
        file.read_exact_at(&mut first, 0).unwrap();
        assert_eq!(usize::from(first[0]), segment % 4 + 1, "segment {segment}");
    }
}

#[test]
fn a_write_to_the_counter_ends_the_wait() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut disk) = disk_in(folder.path()) else { return };
    let (wake, started) = (disk.wake.clone(), std::time::Instant::now());
    for _ in 0..3 {
        wake.write(1).unwrap();
        disk.wait(Duration::from_secs(20)).unwrap();
        disk.take(&mut Vec::new()).unwrap();
    }
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(wake.read(), Err(nix::Error::EAGAIN), "the ring has read it");
}

#[test]
fn a_folder_that_takes_no_files_is_told() {
    let wake = Arc::new(EventFd::new().unwrap());
    let plan = RingPlan::journal(4, BLOCK_BYTES, false);
    match Disk::new(&plan, Path::new("/proc/journal"), wake, true) {
        Err(DiskError::Ring(RingError::Forbidden(_))) => eprintln!("skipped: no io_uring"),
        Err(error @ DiskError::Folder { .. }) => {
            assert!(
                error.to_string().starts_with("the journal cannot be written to /proc/journal: "),
                "{error}"
            );
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it takes files"),
    }
}

#[test]
fn the_kernel_keeps_the_lock_until_all_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut disk) = disk_in(folder.path()) else { return };
    if disk.ring.places() == 0 {
        return eprintln!("skipped: no files can be registered here");
    }
    let [lock, other] = [(); 2].map(|()| File::open(folder.path()).unwrap());
    lock.try_lock().unwrap();
    disk.hold(lock).unwrap();
    disk.lock = None; // As if the process had gone, which closes its files first.
    assert!(other.try_lock().is_err(), "the ring does not hold it");
    drop(disk);
    let end = std::time::Instant::now() + Duration::from_secs(5);
    while other.try_lock().is_err() {
        assert!(std::time::Instant::now() < end, "it is held for ever");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn the_bell_ends_no_operation() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut disk) = disk_in(folder.path()) else { return };
    add(&mut disk, folder.path(), 3);
    fill(&mut disk);
    let (bell, mut other) = (crate::uring::Bell::default(), Ring::new(&RingPlan::ingest(false)).unwrap());
    bell.attach(disk.ring());
    // The first operation of a run. It begins only when the ring is entered, after the bell has rung.
    disk.begin(&write(0, 3, 0, BLOCK_BYTES, 0, Flush::Linked(OpId(1)))).unwrap();
    bell.fall_asleep();
    bell.ring_on(&mut other).unwrap();
    other.enter(Duration::ZERO).unwrap();
    let done = outcomes(&mut disk, &[OpId(0), OpId(1)]);
    assert_eq!(done[&OpId(0)], Ok(BLOCK_BYTES));
}
