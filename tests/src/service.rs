//! A chartd that runs as a service does: a simulated venue and the daemon as processes of their own.

use crate::bin;
use chart_client::Connection;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use shm::status::Counter;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take. What takes longer hangs.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The chart that every service has.
pub const CHART: &str = "binance:BTCUSDT/1s";

/// A venue that trades about 300 times a second, and a daemon that draws it. Both end with this.
pub struct Service {
    sim: Child,
    daemon: Child,
    folder: TempDir,
    url: String,
    /// What the daemon finds in its environment.
    environment: Vec<(String, String)>,
    /// Whose the daemon is; the tester's own without it.
    user: Option<u32>,
}

impl Service {
    /// Starts both, with the usual configuration. `None`, and a line that says so, where io_uring is forbidden.
    pub fn start() -> Option<Self> {
        Self::start_with(&[], None)
    }

    /// Starts both with an environment for the daemon, and as another user.
    pub fn start_with(environment: &[(&str, &str)], user: Option<u32>) -> Option<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let sim = format!("127.0.0.1:{port}");
        let mut command = Command::new(bin("chartd"));
        command.args(["sim", "--listen", &sim]).stdout(Stdio::null()).stderr(Stdio::null());
        let folder = tempfile::tempdir().unwrap();
        // Whoever is to attack it must be able to come near.
        set_mode(folder.path(), 0o777);
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut service = Self {
            sim: command.spawn().unwrap(),
            daemon: Command::new("true").spawn().unwrap(),
            folder,
            url: format!("ws://{sim}"),
            environment: environment.iter().map(own).collect(),
            user,
        };
        service.configure(&service.config([320, 180], ""));
        service.restart();
        service.is_served().then_some(service)
    }

    /// The usual configuration, with that size, and `more` at its end.
    pub fn config(&self, size: [u32; 2], more: &str) -> String {
        format!(
            "socket = {:?}\n[[feed]]\nvenue = \"binance\"\nurl = \"{}\"\nsymbols = [\"BTCUSDT\", \"ETHUSDT\"]\n\
             [[chart]]\nsource = \"binance:BTCUSDT\"\ntimeframe = \"1s\"\nsize = {size:?}\n{more}",
            self.socket(),
            self.url
        )
    }

    /// Writes the configuration, which the daemon reads at its start and at SIGHUP.
    pub fn configure(&self, text: &str) {
        fs::write(self.folder.path().join("c.toml"), text).unwrap();
    }

    /// Starts the daemon again, once the last one is gone.
    pub fn restart(&mut self) {
        let _ = self.daemon.kill(); // It may have ended.
        let _ = self.daemon.wait();
        let log = fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let mut command = Command::new(bin("chartd"));
        command.args(["run", "--config"]).arg(self.folder.path().join("c.toml"));
        command.envs(self.environment.iter().cloned()).stdout(Stdio::null()).stderr(log);
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        self.daemon = command.spawn().unwrap();
    }

    fn is_served(&mut self) -> bool {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Ok(connection) = Connection::open(Some(&self.socket())) {
                wait_until("the first trades", || connection.status().counter(Counter::Trades) > 20);
                set_mode(&self.socket(), 0o666);
                return true;
            }
            if self.log().contains("io_uring is forbidden") {
                eprintln!("skipped: no io_uring");
                return false;
            }
            assert!(Instant::now() < end, "it does not serve: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A connection; the daemon may just be coming up.
    pub fn connect(&self) -> Connection {
        let end = Instant::now() + PATIENCE;
        loop {
            match Connection::open(Some(&self.socket())) {
                Ok(connection) => return connection,
                Err(error) => assert!(Instant::now() < end, "{error}: {}", self.log()),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Its control socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    /// What the daemon has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The daemon's process.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.daemon.id() as i32)
    }

    /// Sends the daemon a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Has the venue say nothing, or go on.
    pub fn hush_venue(&self, hush: bool) {
        let signal = if hush { Signal::SIGSTOP } else { Signal::SIGCONT };
        kill(Pid::from_raw(self.sim.id() as i32), signal).unwrap();
    }

    /// Waits until the daemon has ended by itself.
    pub fn wait_for_end(&mut self) {
        let daemon = &mut self.daemon;
        wait_until("the daemon's end", || daemon.try_wait().unwrap().is_some());
    }

    /// How many descriptors the daemon has open.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        for child in [&mut self.daemon, &mut self.sim] {
            let _ = child.kill(); // It may have ended.
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("the daemon's log: {}", self.log());
        } else {
            assert!(!self.log().contains("panicked"), "{}", self.log());
        }
    }
}

/// Waits until `done`, and panics if it never is.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "this never came: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How long stress tests run: `CHARTD_STRESS_SECONDS`, 3 without it.
pub fn stress_seconds() -> u64 {
    std::env::var("CHARTD_STRESS_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

fn set_mode(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    let _ = fs::set_permissions(path, fs::Permissions::from_mode(mode)); // Another user's needs none of ours.
}
