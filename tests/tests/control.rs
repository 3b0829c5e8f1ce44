//! The control socket against clients that break its rules: each is refused or dropped, and the next is served.

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, send, socket};
use shm::control::{Op, Reply, Request};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct Demo {
    child: Child,
    dir: tempfile::TempDir,
}

impl Demo {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(tests::bin("chartd"));
        command.args(["demo", "--json", "--http", "127.0.0.1:0", "--socket"]).arg(dir.path().join("s"));
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let demo = Self { child, dir };
        demo.wait_until_served();
        demo
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("s")
    }

    /// An honest client gets what it asks for, now or soon.
    fn wait_until_served(&self) {
        let end = Instant::now() + Duration::from_secs(30);
        while chart_client::Connection::open(Some(&self.path())).is_err() {
            assert!(Instant::now() < end, "an honest client is not served");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill(); // It may have ended.
        let _ = self.child.wait();
    }
}

fn dial(path: &Path) -> OwnedFd {
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
    connect(socket.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
    socket
}

/// The answer to one request: its reason if it was refused; `None` if the daemon closed instead.
fn ask(socket: &OwnedFd, request: Request) -> Option<(Option<String>, usize)> {
    request.send(socket.as_fd()).ok()?;
    let (reply, fds) = Reply::receive(socket.as_fd()).ok()??;
    Some(((reply.refused != 0).then(|| reply.reason.to_string()), fds.len()))
}

#[test]
fn nothing_is_handed_over_before_permission() {
    let demo = Demo::start();
    let hello = Request::new(Op::Hello, "");
    let newer = Request { abi_major: 99, ..hello };
    let (reason, fds) = ask(&dial(&demo.path()), newer).unwrap();
    assert_eq!((reason.unwrap(), fds), ("this chartd speaks ABI 3, the client 99".to_owned(), 0));

    let (reason, fds) = ask(&dial(&demo.path()), Request::new(Op::Open, "binance:BTCUSDT/1s")).unwrap();
    assert_eq!((reason.unwrap(), fds), ("the first message must be a hello".to_owned(), 0));

    let client = dial(&demo.path());
    assert_eq!(ask(&client, hello), Some((None, 2)));
    assert_eq!(ask(&client, Request::new(Op::Open, "binance:BTCUSDT/1s")), Some((None, 2)));
    let (reason, fds) = ask(&client, Request::new(Op::Open, "binance:NONE/1s")).unwrap();
    assert_eq!((reason.unwrap(), fds), ("there is no chart binance:NONE/1s".to_owned(), 0));
    let strange = Request { op: 77, ..hello };
    assert_eq!(ask(&client, strange).unwrap(), (Some("there is no such request".to_owned()), 0));
    assert_eq!(ask(&client, Request::new(Op::Open, "binance:ETHUSDT/1s")), Some((None, 2)), "and it goes on");
}

#[test]
fn garbage_and_silence_are_dropped() {
    let demo = Demo::start();
    for message in [&b"x"[..], &[0; 12], &[0xff; 96], &[7; 4096]] {
        let client = dial(&demo.path());
        send(client.as_raw_fd(), message, MsgFlags::empty()).unwrap();
        let granted = matches!(Reply::receive(client.as_fd()), Ok(Some((reply, _))) if reply.refused == 0);
        assert!(!granted, "{} bytes of garbage were granted something", message.len());
    }
    // Says nothing, and is dropped after a second or so.
    let silent = dial(&demo.path());
    assert!(matches!(Reply::receive(silent.as_fd()), Ok(None)));
    demo.wait_until_served();
}

#[test]
fn a_crowd_of_one_user_is_bounded_and_makes_room_again() {
    let demo = Demo::start();
    let hello = Request::new(Op::Hello, "");
    let crowd: Vec<_> = (0..80).map(|_| dial(&demo.path())).collect();
    let answers: Vec<_> = crowd.iter().map(|client| ask(client, hello)).collect();
    let served = answers.iter().filter(|answer| **answer == Some((None, 2))).count();
    assert_eq!(served, 64, "{answers:?}");
    assert!(answers.iter().skip(64).all(|answer| *answer != Some((None, 2))));
    drop(crowd);
    demo.wait_until_served();
}
