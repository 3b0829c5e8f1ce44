//! A hostile reader, in a process of its own and as another user where possible, with everything that it can get
//! honestly. Whatever it tries: the daemon's memory stays as it is, frames go on, and others are served.

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, send, socket};
use nix::unistd::{Gid, Pid, Uid};
use shm::control::{Op, Reply, Request};
use shm::frame::FrameCopy;
use shm::status::Counter;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use tests::service::{CHART, PATIENCE, Service, wait_until};

/// Tells the child process which attack it is to carry out, and where.
const HOSTILE: &str = "CHARTD_TEST_HOSTILE";
/// A user without any right.
const NOBODY: u32 = 65_534;

/// An attack by its name, on the daemon with that control socket.
type Attack = (&'static str, fn(&Path));

/// Carries out what the environment says, and does not return, if this is the hostile process.
fn be_hostile(attacks: &[Attack]) {
    let Ok(task) = std::env::var(HOSTILE) else { return };
    let (name, path) = task.split_once(' ').unwrap();
    if nix::unistd::geteuid().is_root() {
        nix::unistd::setgid(Gid::from_raw(NOBODY)).unwrap();
        nix::unistd::setuid(Uid::from_raw(NOBODY)).unwrap();
    }
    let (_, attack) = attacks.iter().find(|(other, _)| *other == name).unwrap();
    attack(Path::new(path));
    std::process::exit(0);
}

/// The hostile process. It ends with the test.
struct Hostile(Child);

impl Hostile {
    /// Runs an attack of the test with that name.
    fn start(test: &str, attack: &str, service: &Service) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture"]);
        command.env(HOSTILE, format!("{attack} {}", service.socket().display()));
        Self(command.spawn().unwrap())
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id() as i32)
    }

    /// Waits until it has done what it wanted. It panics, and so fails, if something that must be refused was not.
    fn finish(mut self) {
        let child = &mut self.0;
        wait_until("the end of the attack", || child.try_wait().unwrap().is_some());
        assert!(child.try_wait().unwrap().unwrap().success(), "the attack got through");
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        let _ = self.0.kill(); // It may have ended.
        let _ = self.0.wait();
    }
}

fn dial(path: &Path) -> OwnedFd {
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
    connect(socket.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
    socket
}

fn ask(socket: &OwnedFd, request: Request) -> Vec<OwnedFd> {
    request.send(socket.as_fd()).unwrap();
    let (reply, fds) = Reply::receive(socket.as_fd()).unwrap().unwrap();
    assert_eq!(reply.refused, 0, "{}", reply.reason);
    fds
}

/// A connection that has said hello, with the daemon's status and market segments.
fn greet(path: &Path) -> (OwnedFd, Vec<OwnedFd>) {
    let socket = dial(path);
    let fds = ask(&socket, Request::new(Op::Hello, ""));
    (socket, fds)
}

/// An honest reader finds whole frames that go forward, copied and leased, for as long as `during` lasts.
fn frames_go_on(service: &Service, during: Duration) {
    let connection = service.connect();
    let mut leasing = connection.leased_chart(CHART).unwrap();
    let (mut copy, began) = (FrameCopy::default(), leasing.reader().latest());
    let end = Instant::now() + during;
    let mut newest = 0;
    while Instant::now() < end || leasing.reader().latest() < began + 20 {
        assert!(Instant::now() < end + PATIENCE, "frames do not go on");
        if leasing.reader().copy_latest(&mut copy).is_ok() {
            assert!(copy.number() >= newest, "frames go backwards");
            newest = copy.number();
            // Opaque everywhere: a torn or foreign frame would hardly be.
            assert!(copy.pixels.iter().all(|pixel| pixel >> 24 == 0xff), "frame {newest} is not whole");
        }
        let frame = leasing.lease_latest().unwrap();
        assert!(frame.info().number >= newest, "frames go backwards");
        assert!((0..frame.height()).all(|y| frame.row(y).iter().all(|pixel| pixel >> 24 == 0xff)));
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn no_segment_can_be_changed() {
    be_hostile(&[("change", change_everything)]);
    let Some(service) = Service::start() else { return };
    let before = service.descriptors();
    Hostile::start("no_segment_can_be_changed", "change", &service).finish();
    frames_go_on(&service, Duration::from_millis(300));
    wait_until("the end of its connection", || service.descriptors() <= before);
}

fn change_everything(path: &Path) {
    use nix::fcntl::{FallocateFlags, FcntlArg, OFlag, SealFlag, fallocate, fcntl, open};
    use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, mprotect};
    let (socket, mut fds) = greet(path);
    fds.extend(ask(&socket, Request::new(Op::Open, CHART)));
    assert_eq!(fds.len(), 4, "status, market, frames and pixels");
    for given in &fds {
        let len = nix::sys::stat::fstat(given).unwrap().st_size as usize;
        let size = std::num::NonZero::new(len).unwrap();
        let again = format!("/proc/self/fd/{}", given.as_raw_fd());
        let reopened = open(again.as_str(), OFlag::O_RDWR, nix::sys::stat::Mode::empty()).ok();
        for fd in [Some(given), reopened.as_ref()].into_iter().flatten() {
            let both = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
            // SAFETY: fresh mappings at addresses of the kernel's choice, used only within this block.
            unsafe {
                assert!(mmap(None, size, both, MapFlags::MAP_SHARED, fd, 0).is_err(), "mapped writable");
                let shared = mmap(None, size, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, fd, 0).unwrap();
                assert!(mprotect(shared, len, both).is_err(), "made writable");
                assert!(madvise(shared, len, MmapAdvise::MADV_REMOVE).is_err(), "removed");
                // A private copy may be written. It is nobody else's.
                let private = mmap(None, size, both, MapFlags::MAP_PRIVATE, fd, 0).unwrap();
                let (copy, original) = (private.cast::<u64>().as_ptr(), shared.cast::<u64>().as_ptr());
                copy.write_volatile(!original.read_volatile());
                assert_ne!(copy.read_volatile(), original.read_volatile(), "the copy was shared");
            }
            assert!(nix::unistd::ftruncate(fd, 0).is_err() && nix::unistd::ftruncate(fd, 1 << 30).is_err());
            assert!(nix::sys::uio::pwrite(fd, b"x", 0).is_err(), "written");
            let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
            assert!(fallocate(fd, punch, 0, 4096).is_err(), "a hole was punched");
            assert!(fcntl(fd, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SEAL)).is_err(), "sealed again");
        }
    }
}

#[test]
fn a_lease_page_harms_nobody() {
    be_hostile(&[("garbage", write_garbage), ("linger", linger)]);
    let Some(service) = Service::start() else { return };
    let watcher = service.connect();
    let leases = || watcher.status().counter(Counter::Leases);
    let hostile = Hostile::start("a_lease_page_harms_nobody", "garbage", &service);
    wait_until("its lease", || leases() == 1);
    frames_go_on(&service, Duration::from_secs(2));
    hostile.finish();
    wait_until("the end of its lease", || leases() == 0);

    // It has hung up and writes on: that pins nothing, whoever has a lease by now.
    let before = watcher.status().counter(Counter::SlotsPassedOver); // The garbage may have hit a slot.
    let lingering = Hostile::start("a_lease_page_harms_nobody", "linger", &service);
    wait_until("its lease to come and go", || watcher.status().counter(Counter::SlotsPassedOver) > before);
    wait_until("the end of its lease", || leases() == 0);
    std::thread::sleep(Duration::from_millis(200));
    let passed_over = watcher.status().counter(Counter::SlotsPassedOver);
    let chart = watcher.chart(CHART).unwrap();
    let frames = chart.latest();
    wait_until("further frames", || chart.latest() > frames + 50);
    assert_eq!(
        watcher.status().counter(Counter::SlotsPassedOver),
        passed_over,
        "a page that is gone pins a slot"
    );
    drop(lingering);
    frames_go_on(&service, Duration::from_millis(300));
}

/// A lease page, mapped for writing: its words.
fn lease_page(path: &Path) -> (OwnedFd, OwnedFd, &'static [std::sync::atomic::AtomicU64]) {
    use nix::sys::mman::{MapFlags, ProtFlags, mmap};
    let (socket, _) = greet(path);
    let page = ask(&socket, Request::new(Op::Lease, CHART)).remove(0);
    let both = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    let size = std::num::NonZero::new(4096).unwrap();
    // SAFETY: a fresh mapping that is never unmapped; its 512 words are used as atomics only.
    let words = unsafe {
        let at = mmap(None, size, both, MapFlags::MAP_SHARED, &page, 0).unwrap();
        std::slice::from_raw_parts(at.cast::<std::sync::atomic::AtomicU64>().as_ptr(), 512)
    };
    (socket, page, words)
}

fn write_garbage(path: &Path) {
    use nix::fcntl::{FallocateFlags, fallocate};
    use std::sync::atomic::Ordering::*;
    let (_socket, page, words) = lease_page(path);
    assert!(nix::unistd::ftruncate(&page, 0).is_err() && nix::unistd::ftruncate(&page, 1 << 20).is_err());
    let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    let (mut random, end) = (1u64, Instant::now() + Duration::from_secs(2));
    while Instant::now() < end {
        for round in 0..10_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            words[shm::lease::LEASE].store(random >> (round % 64), Relaxed);
            words[(random >> 55) as usize].store(random, Relaxed);
        }
        let _ = fallocate(&page, punch, 0, 4096);
    }
}

/// Leases slot after slot, hangs up, and writes on.
fn linger(path: &Path) {
    use std::sync::atomic::Ordering::*;
    let (socket, _page, words) = lease_page(path);
    let end = Instant::now() + Duration::from_millis(500);
    let pin = |slot: u64| words[shm::lease::LEASE].store(1 << 8 | slot, Relaxed);
    while Instant::now() < end {
        for slot in 1..=6 {
            pin(slot);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    drop(socket);
    loop {
        for slot in 1..=6 {
            pin(slot);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn who_asks_and_does_not_read_is_dropped() {
    be_hostile(&[("deaf", ask_and_do_not_read)]);
    let Some(service) = Service::start() else { return };
    let watcher = service.connect();
    let hostile = Hostile::start("who_asks_and_does_not_read_is_dropped", "deaf", &service);
    frames_go_on(&service, Duration::from_millis(500));
    hostile.finish();
    assert!(watcher.status().counter(Counter::RingsRefused) >= 1);
}

fn ask_and_do_not_read(path: &Path) {
    let (socket, _) = greet(path);
    let end = Instant::now() + PATIENCE;
    // Every one of these is answered at once, until the daemon has had enough.
    let wait = Request { number: 1, ..Request::new(Op::Wait, CHART) };
    while wait
        .send(socket.as_fd())
        .map_or_else(|error| error.kind() == std::io::ErrorKind::WouldBlock, |()| true)
    {
        assert!(Instant::now() < end, "a client that does not read is kept");
    }
}

#[test]
fn nonsense_leaves_no_descriptor_behind() {
    be_hostile(&[("nonsense", send_nonsense)]);
    let Some(service) = Service::start() else { return };
    let before = service.descriptors();
    Hostile::start("nonsense_leaves_no_descriptor_behind", "nonsense", &service).finish();
    frames_go_on(&service, Duration::from_millis(200));
    wait_until("all descriptors given back", || service.descriptors() <= before);
}

fn send_nonsense(path: &Path) {
    use nix::sys::socket::{ControlMessage, sendmsg};
    let wrong = |request: Request| {
        let (socket, _) = greet(path);
        request.send(socket.as_fd()).unwrap();
        Reply::receive(socket.as_fd()).ok().flatten().map(|(reply, fds)| (reply.refused, fds.len()))
    };
    for op in [0, 5, 6, u64::MAX] {
        assert_eq!(wrong(Request { op, ..Request::new(Op::Open, CHART) }), Some((1, 0)));
    }
    assert_eq!(wrong(Request { magic: 7, ..Request::new(Op::Open, CHART) }), Some((1, 0)));
    assert_eq!(wrong(Request::new(Op::Open, "\u{1}\u{2}../../etc/passwd")), Some((1, 0)));
    let file = fs::File::open("/dev/null").unwrap();
    for len in [1, 8, 111, 112, 113, 65_000] {
        let (socket, _) = greet(path);
        let bytes = vec![0xa5; len];
        let rights = [file.as_raw_fd(); 8];
        for _ in 0..8 {
            let parts = [std::io::IoSlice::new(&bytes)];
            let with = [ControlMessage::ScmRights(&rights)];
            // The daemon may have closed after the first.
            let _ = sendmsg::<()>(socket.as_raw_fd(), &parts, &with, MsgFlags::MSG_NOSIGNAL, None);
        }
        let _ = send(socket.as_raw_fd(), &bytes, MsgFlags::MSG_NOSIGNAL);
    }
}

#[test]
fn a_flood_of_connections_passes() {
    be_hostile(&[("flood", flood)]);
    let Some(service) = Service::start() else { return };
    let before = service.descriptors();
    let watcher = service.connect();
    let chart = watcher.chart(CHART).unwrap();
    let hostile = Hostile::start("a_flood_of_connections_passes", "flood", &service);
    wait_until("the flood", || watcher.status().counter(Counter::ClientsRefused) > 10);
    let frames = chart.latest();
    wait_until("frames meanwhile", || chart.latest() > frames + 20);
    assert!(watcher.status().counter(Counter::Clients) <= 65, "no more than 64 of one user, and this one");
    hostile.finish();
    frames_go_on(&service, Duration::from_millis(200));
    assert!(watcher.status().counter(Counter::ClientsThrottled) > 0);
    wait_until("all descriptors given back", || service.descriptors() <= before + 1);
}

fn flood(path: &Path) {
    let (mut kept, flags) = (Vec::new(), SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK);
    for round in 0..3_000 {
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
        // A full queue refuses at once: try again a little later.
        if connect(socket.as_raw_fd(), &UnixAddr::new(path).unwrap()).is_err() {
            std::thread::sleep(Duration::from_micros(300));
            continue;
        }
        if round % 2 == 0 {
            let _ = Request::new(Op::Hello, "").send(socket.as_fd());
        }
        kept.push(socket);
        if kept.len() > 400 {
            kept.drain(..200);
        }
    }
}

#[test]
fn sixty_readers_sleep_and_all_are_woken() {
    let Some(service) = Service::start() else { return };
    std::thread::scope(|scope| {
        for _ in 0..60 {
            scope.spawn(|| {
                let connection = service.connect();
                let chart = connection.chart(CHART).unwrap();
                for _ in 0..10 {
                    let next = chart.latest() + 1;
                    let waited = connection.wait(CHART, next, PATIENCE).unwrap();
                    assert!(matches!(waited, chart_client::Waited::Frame(number) if number >= next));
                }
            });
        }
    });
    frames_go_on(&service, Duration::from_millis(200));
}

#[test]
fn a_stopped_reader_keeps_its_slot_and_nothing_else() {
    be_hostile(&[("freeze", freeze)]);
    let Some(service) = Service::start() else { return };
    let watcher = service.connect();
    let leases = || watcher.status().counter(Counter::Leases);
    let hostile = Hostile::start("a_stopped_reader_keeps_its_slot_and_nothing_else", "freeze", &service);
    wait_until("its lease", || leases() == 1);
    frames_go_on(&service, Duration::from_secs(1));
    kill(hostile.pid(), Signal::SIGKILL).unwrap();
    wait_until("the end of its lease", || leases() == 0);
    let (first, second) = (service.connect(), service.connect());
    assert!(
        first.leased_chart(CHART).is_ok() && second.leased_chart(CHART).is_ok(),
        "both leases are free again"
    );
}

/// Leases a frame, asks to be woken, and is stopped.
fn freeze(path: &Path) {
    let connection = chart_client::Connection::open(Some(path)).unwrap();
    let mut leasing = connection.leased_chart(CHART).unwrap();
    let _ = connection.wait(CHART, u64::MAX >> 8, Duration::from_millis(10)).unwrap();
    let _frame = leasing.lease_latest().unwrap();
    nix::sys::signal::raise(Signal::SIGSTOP).unwrap();
}

#[test]
fn nobody_looks_into_the_daemon() {
    be_hostile(&[("look", look_inside)]);
    if !nix::unistd::geteuid().is_root() {
        return println!("skipped: looking into a daemon of another user (needs root)");
    }
    // Once as a stranger, once as the very user whose process it is.
    for user in [None, Some(NOBODY)] {
        let Some(service) = Service::start_with(&[], user) else { return };
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "nobody_looks_into_the_daemon", "--nocapture"]);
        command.env(HOSTILE, format!("look /proc/{}", service.pid()));
        Hostile(command.spawn().unwrap()).finish();
    }
}

fn look_inside(process: &Path) {
    for what in ["mem", "maps", "environ", "fd/0", "fd/3"] {
        let opened = fs::File::open(process.join(what));
        assert!(opened.is_err(), "{what} of the daemon can be opened");
    }
    assert!(fs::read_dir(process.join("fd")).map_or(true, |mut fds| fds.next().is_none_or(|fd| fd.is_err())));
    let pid: libc::pid_t = process.file_name().unwrap().to_str().unwrap().parse().unwrap();
    // SAFETY: the call asks to trace another process; it must be refused.
    assert_eq!(unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) }, -1, "the daemon can be traced");
}
