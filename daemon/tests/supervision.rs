//! Supervision of the real program: what it tells systemd, what becomes of a loop that is stuck, and reloading.

use chart_client::Connection;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use shm::status::Counter;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A daemon that believes that systemd has started it, with a watchdog of half a second.
struct Watched {
    child: Child,
    folder: TempDir,
    /// What it tells systemd comes here.
    systemd: UnixDatagram,
}

impl Watched {
    /// `fails` is a failure point and its action: see `fail.rs`. It acts when [`Watched::fail`] says so.
    fn start(realtime: &str, fails: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let systemd = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        systemd.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        fs::write(folder.path().join("c.toml"), config(&folder, realtime, [320, 180])).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_chartd"))
            .args(["run", "--config"])
            .arg(folder.path().join("c.toml"))
            .env("NOTIFY_SOCKET", folder.path().join("notify"))
            .env("WATCHDOG_USEC", "500000")
            .env("CHARTD_FAIL", fails)
            .env("CHARTD_FAIL_ONCE", folder.path().join("fail"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Self { child, folder, systemd }
    }

    fn fail(&self) {
        fs::write(self.folder.path().join("fail"), "").unwrap();
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Whether systemd is told `what` within `patience`. What comes before is skipped.
    fn tells(&self, what: &str, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        let mut message = [0; 4096];
        while Instant::now() < end {
            if let Ok(len) = self.systemd.recv(&mut message)
                && String::from_utf8_lossy(&message[..len]).lines().any(|line| line == what)
            {
                return true;
            }
        }
        false
    }

    /// Waits for it, unless it could not start for want of io_uring.
    fn is_ready(&mut self) -> bool {
        if self.tells("READY=1", PATIENCE) {
            return true;
        }
        assert!(self.log().contains("io_uring is forbidden"), "it is not ready: {}", self.log());
        eprintln!("skipped: no io_uring");
        false
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.child.kill(); // It may have ended.
        let _ = self.child.wait();
    }
}

fn config(folder: &TempDir, realtime: &str, size: [u32; 2]) -> String {
    // Nobody listens there: that a venue is away does not matter here.
    format!(
        "socket = {:?}\n[[feed]]\nvenue = \"binance\"\nurl = \"ws://127.0.0.1:1\"\nsymbols = [\"A\"]\n\
         [[chart]]\nsource = \"binance:A\"\ntimeframe = \"1s\"\nsize = {size:?}\n[realtime]\n{realtime}\n",
        folder.path().join("s")
    )
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "this never came: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn systemd_is_told_what_happens() {
    let mut daemon = Watched::start("priority = 0", "");
    if !daemon.is_ready() {
        return;
    }
    let connection = Connection::open(Some(&daemon.socket())).unwrap();
    assert_eq!(connection.chart("binance:A/1s").unwrap().latest(), 1, "ready, with a frame");
    assert!(daemon.tells("WATCHDOG=1", PATIENCE) && daemon.tells("WATCHDOG=1", PATIENCE));

    fs::write(daemon.folder.path().join("c.toml"), config(&daemon.folder, "priority = 0", [400, 200]))
        .unwrap();
    kill(daemon.pid(), Signal::SIGHUP).unwrap();
    assert!(daemon.tells("RELOADING=1", PATIENCE) && daemon.tells("READY=1", PATIENCE));
    assert_eq!(connection.status().liveness().generation, 2);
    assert!(!connection.market().is_current(), "its segments are retired");

    kill(daemon.pid(), Signal::SIGTERM).unwrap();
    assert!(daemon.tells("STOPPING=1", PATIENCE));
    wait_until("a good end", || daemon.child.try_wait().unwrap().is_some_and(|status| status.success()));
}

#[test]
fn a_stuck_loop_starves_the_watchdog_and_is_named() {
    let mut daemon = Watched::start("priority = 0", "ingest.loop=block");
    if !daemon.is_ready() {
        return;
    }
    assert!(daemon.tells("WATCHDOG=1", PATIENCE));
    daemon.fail();
    wait_until("the stuck loop in the log", || daemon.log().contains("chartd-ingest is stuck in"));
    // Whatever was sent before is taken in first.
    while daemon.tells("WATCHDOG=1", Duration::from_millis(150)) {}
    assert!(!daemon.tells("WATCHDOG=1", Duration::from_secs(2)), "a stuck daemon feeds the watchdog");
    let connection = Connection::open(Some(&daemon.socket())).unwrap();
    let stalled = connection.status().stalled(chartd::now_ns()).expect("readers see it too");
    assert_eq!(stalled.name.to_string(), "chartd-ingest");
    assert!(connection.status().counter(Counter::LoopsLate) >= 1);
}

#[test]
fn a_runaway_loses_its_real_time_priority() {
    let mut daemon = Watched::start("priority = 10", "ingest.loop=spin");
    if !daemon.is_ready() {
        return;
    }
    let connection = Connection::open(Some(&daemon.socket())).unwrap();
    let ingest = || {
        let mut loops = connection.status().loops().into_iter();
        loops.find(|(entry, _)| entry.name.to_string() == "chartd-ingest").unwrap().0
    };
    if ingest().priority == 0 {
        return eprintln!("skipped: demotion of a runaway (SCHED_FIFO is not granted)");
    }
    // SAFETY: the call only asks for a thread's policy.
    let policy = || unsafe { libc::sched_getscheduler(ingest().tid as i32) & !libc::SCHED_RESET_ON_FORK };
    assert_eq!(policy(), libc::SCHED_FIFO);
    daemon.fail();
    wait_until("the demotion", || connection.status().counter(Counter::Demotions) == 1);
    assert_eq!((policy(), ingest().priority), (libc::SCHED_OTHER, 0));
    assert!(daemon.log().contains("it has lost its SCHED_FIFO priority"), "{}", daemon.log());
}

#[test]
fn a_wrong_configuration_changes_nothing() {
    let mut daemon = Watched::start("priority = 0", "");
    if !daemon.is_ready() {
        return;
    }
    let connection = Connection::open(Some(&daemon.socket())).unwrap();
    fs::write(daemon.folder.path().join("c.toml"), "nonsense = 1\n").unwrap();
    kill(daemon.pid(), Signal::SIGHUP).unwrap();
    assert!(daemon.tells("READY=1", PATIENCE));
    assert!(daemon.log().contains("the configuration stays as it was"), "{}", daemon.log());
    assert_eq!(connection.status().liveness().generation, 1);
    assert!(connection.market().is_current());
}
