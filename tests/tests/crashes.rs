//! What becomes of readers and memory when a process is killed, at any moment and at each step of a publication.

use chart_client::{Follower, News};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use shm::frame::FrameCopy;
use shm::status::Counter;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tests::service::{CHART, PATIENCE, Service, stress_seconds, wait_until};

/// Waits for a frame, through whatever happens to the daemon.
fn next_frame(follower: &mut Follower) {
    let end = Instant::now() + PATIENCE;
    while !matches!(follower.wait(Duration::from_millis(100)).unwrap(), News::Frame { .. }) {
        assert!(Instant::now() < end, "no frame came");
    }
}

/// What the kernel has in shared memory, in KiB.
fn shared_kib() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Shmem:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_hundred_kills_leave_nothing_behind_and_readers_come_back() {
    let Some(mut service) = Service::start() else { return };
    // All of them where there is time, as in `cargo xtask test`.
    let kills = if stress_seconds() >= 30 { 100 } else { 15 };
    let mut follower = Follower::new(Some(&service.socket()), CHART).unwrap();
    next_frame(&mut follower);
    let (before_kib, objects) = (shared_kib(), fs::read_dir("/dev/shm").map_or(0, Iterator::count));
    let mut copy = FrameCopy::default();
    for round in 0..kills {
        let old = service.connect().chart(CHART).unwrap();
        // At another moment of its life each time.
        std::thread::sleep(Duration::from_micros(round * 700));
        service.signal(Signal::SIGKILL);
        service.wait_for_end();
        assert!(old.copy_latest(&mut copy).is_ok(), "the last frame is whole");
        assert!(copy.pixels.iter().all(|pixel| pixel >> 24 == 0xff));
        drop(old);
        service.restart();
        next_frame(&mut follower);
    }
    let more_kib = shared_kib().saturating_sub(before_kib);
    println!("{kills} kills; {more_kib} KiB more in shared memory");
    // One daemon has about 3 MiB. What others on this machine do in between is less than ten.
    assert!(more_kib < 30 << 10, "{more_kib} KiB of shared memory were left behind");
    assert_eq!(fs::read_dir("/dev/shm").map_or(0, Iterator::count), objects, "something has a name");
}

/// With the slot marked, with its pixels copied, and with the frame just published.
#[test]
fn a_kill_at_each_step_leaves_the_last_frame_whole() {
    for point in ["publish.taken", "publish.copied", "publish.done"] {
        let dir = tempfile::tempdir().unwrap();
        let once = dir.path().join("once");
        let environment = [("CHARTD_FAIL", format!("{point}=kill@5")), ("CHARTD_FAIL_ONCE", text(&once))];
        let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
        let Some(mut service) = Service::start_with(&environment, None) else { return };
        let mut follower = Follower::new(Some(&service.socket()), CHART).unwrap();
        next_frame(&mut follower);
        let connection = service.connect();
        let mut leasing = connection.leased_chart(CHART).unwrap();
        fs::write(&once, "").unwrap();
        service.wait_for_end();
        let mut copy = FrameCopy::default();
        leasing.reader().copy_latest(&mut copy).unwrap();
        assert_eq!(copy.number(), leasing.reader().latest(), "{point}: the latest frame is there");
        let frame = leasing.lease_latest().unwrap();
        assert_eq!(frame.info().number, copy.number());
        let same = |y: usize| *frame.row(y) == copy.pixels[y * copy.width..(y + 1) * copy.width];
        assert!((0..copy.height).all(same), "{point}: the frame is not whole");
        service.restart();
        next_frame(&mut follower);
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Tells the child process to read until it is killed.
const READER: &str = "CHARTD_TEST_READER";

/// Readers that are killed while they copy, lease and wait: their places come back.
#[test]
fn killed_readers_give_everything_back() {
    if let Ok(socket) = std::env::var(READER) {
        return read_for_ever(Path::new(&socket));
    }
    let Some(service) = Service::start() else { return };
    let watcher = service.connect();
    let before = service.descriptors();
    for round in 0..20 {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "killed_readers_give_everything_back", "--nocapture"]);
        let mut reader = command.env(READER, service.socket()).spawn().unwrap();
        wait_until("its lease", || watcher.status().counter(Counter::Leases) == 1);
        std::thread::sleep(Duration::from_micros(round * 900));
        kill(Pid::from_raw(reader.id() as i32), Signal::SIGKILL).unwrap();
        reader.wait().unwrap();
        wait_until("the end of its lease", || watcher.status().counter(Counter::Leases) == 0);
        wait_until("its place", || watcher.status().counter(Counter::Clients) == 1);
    }
    wait_until("all descriptors given back", || service.descriptors() <= before);
    let mut follower = Follower::new(Some(&service.socket()), CHART).unwrap();
    (0..5).for_each(|_| next_frame(&mut follower));
}

fn read_for_ever(socket: &Path) {
    let connection = chart_client::Connection::open(Some(socket)).unwrap();
    let mut leasing = connection.leased_chart(CHART).unwrap();
    let mut copy = FrameCopy::default();
    loop {
        let _ = leasing.reader().copy_latest(&mut copy);
        let frame = leasing.lease_latest().unwrap();
        let number = frame.info().number;
        std::hint::black_box(frame.row(0));
        drop(frame);
        let _ = connection.wait(CHART, number + 1, Duration::from_millis(50));
    }
}
