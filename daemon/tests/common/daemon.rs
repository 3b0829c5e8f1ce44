//! A chartd of a test: the real program, with feeds on loopback, its log in a file and its socket in a folder that
//! goes away. When it is dropped it must end when asked, and must not have panicked.

use chart_client::{Candles, Connection};
use market::CandleState;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use shm::status::Counter;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take. What takes longer hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// One feed of a daemon, with one symbol.
pub(crate) struct Feed<'a> {
    pub(crate) symbol: &'a str,
    pub(crate) url: String,
    pub(crate) ca_file: Option<&'a Path>,
}

pub(crate) struct Daemon {
    child: Child,
    folder: TempDir,
    pub(crate) connection: Connection,
    has_ended: bool,
}

/// Waits until `done`, and panics with what `what` tells if it never is.
pub(crate) fn wait_until(what: impl Fn() -> String, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "this never came: {}", what());
        thread::sleep(Duration::from_millis(5));
    }
}

impl Daemon {
    /// Starts a daemon with these feeds and a chart of one-second bars for each. `None` where io_uring is forbidden.
    pub(crate) fn start(feeds: &[Feed]) -> Option<Self> {
        Self::start_with(feeds, &[])
    }

    /// The same, with more in its environment.
    pub(crate) fn start_with(feeds: &[Feed], environment: &[(&str, &str)]) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let cache = folder.path().join("cache");
        Self::start_in(&configuration(feeds), folder, &cache, environment)
    }

    /// Starts a daemon with these feeds and charts. What it caches lies in `cache`.
    pub(crate) fn start_in(
        feeds: &str,
        folder: TempDir,
        cache: &Path,
        environment: &[(&str, &str)],
    ) -> Option<Self> {
        let config = folder.path().join("chartd.toml");
        let socket = socket_in(&folder);
        let general = format!("socket = {socket:?}\n[realtime]\npriority = 0\nlock_memory = false\n");
        fs::write(&config, general + feeds).unwrap();
        let log = fs::File::create(log_in(&folder)).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_chartd"))
            .args(["run".as_ref(), "--config".as_ref(), config.as_os_str()])
            .env_remove("RUST_LOG")
            .envs(environment.iter().copied())
            .env("CACHE_DIRECTORY", cache)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let started = Instant::now();
        loop {
            if let Ok(connection) = Connection::open(Some(&socket_in(&folder))) {
                return Some(Self { child, folder, connection, has_ended: false });
            }
            let said = fs::read_to_string(log_in(&folder)).unwrap();
            if child.try_wait().unwrap().is_some() {
                assert!(said.contains("io_uring is forbidden"), "it did not start: {said}");
                eprintln!("skipped: no io_uring");
                return None;
            }
            assert!(started.elapsed() < PATIENCE, "it does not listen: {said}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Has it read its configuration again, with these feeds and charts.
    #[allow(dead_code, reason = "not every test has two configurations")]
    pub(crate) fn reload(&mut self, feeds: &str) {
        let socket = socket_in(&self.folder);
        let general = format!("socket = {socket:?}\n[realtime]\npriority = 0\nlock_memory = false\n");
        fs::write(self.folder.path().join("chartd.toml"), general + feeds).unwrap();
        let reloads = self.count(Counter::Reloads);
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGHUP).unwrap();
        self.wait_for(Counter::Reloads, reloads + 1);
        self.connection = Connection::open(Some(&socket)).unwrap();
    }

    pub(crate) fn count(&self, counter: Counter) -> u64 {
        self.connection.status().counter(counter)
    }

    /// What it says that the machine lacks.
    #[allow(dead_code, reason = "not every test lacks something")]
    pub(crate) fn degraded(&self) -> Vec<String> {
        self.connection.status().degraded()
    }

    /// Waits until a counter has reached a value.
    pub(crate) fn wait_for(&self, counter: Counter, value: u64) {
        let what = || format!("{counter:?} is {}, not {value}; {}", self.count(counter), self.log());
        wait_until(what, || self.count(counter) >= value);
    }

    /// Waits until the bars of a symbol hold `trades` trades.
    pub(crate) fn wait_for_trades(&self, symbol: &str, trades: u64) {
        let what = || format!("{symbol} has {} trades, not {trades}; {}", self.trades(symbol), self.log());
        wait_until(what, || self.trades(symbol) >= trades);
        assert_eq!(self.trades(symbol), trades, "{symbol}");
    }

    pub(crate) fn candles(&self, symbol: &str) -> Candles {
        self.candles_of(&format!("binance:{symbol}/1s"))
    }

    /// The candles of any chart.
    pub(crate) fn candles_of(&self, chart: &str) -> Candles {
        let name = chart.parse().unwrap();
        chart_client::candles(self.connection.market(), &name, usize::MAX).unwrap()
    }

    pub(crate) fn trades(&self, symbol: &str) -> u64 {
        self.candles(symbol).bars.iter().map(|bar| bar.trades).sum()
    }

    /// The states of a symbol's bars, oldest first.
    pub(crate) fn states(&self, symbol: &str) -> Vec<CandleState> {
        self.candles(symbol).bars.iter().map(|bar| bar.state).collect()
    }

    /// How many frames of a symbol's chart were published.
    pub(crate) fn frames(&self, symbol: &str) -> u64 {
        self.connection.chart(&format!("binance:{symbol}/1s")).unwrap().latest()
    }

    /// Ends it in order. Its exit code, and its log.
    #[allow(dead_code, reason = "not every test reads it then")]
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let status = self.terminate();
        (status.and_then(|status| status.code()), self.log())
    }

    /// Asks it to end, and waits. None if it does not.
    fn terminate(&mut self) -> Option<ExitStatus> {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let started = Instant::now();
        let mut status = None;
        while status.is_none() && started.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(5));
            status = self.child.try_wait().unwrap_or_default();
        }
        let _ = self.child.kill(); // Only if it has not ended.
        let _ = self.child.wait();
        self.has_ended = true;
        status
    }

    /// Ends it as a crash would.
    #[allow(dead_code, reason = "not every test kills")]
    pub(crate) fn crash(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.has_ended = true;
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(log_in(&self.folder)).unwrap()
    }

    /// The pauses before new connections, in ms, from the log.
    pub(crate) fn pauses(&self) -> Vec<u64> {
        let of = |line: &str| line.split_once("connecting again in ")?.1.strip_suffix(" ms")?.parse().ok();
        self.log().lines().filter_map(of).collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        let ended = self.terminate().is_some_and(|status| status.success());
        if !thread::panicking() {
            assert!(ended, "it did not end well: {}", self.log());
            assert!(!self.log().contains("panicked"), "it panicked: {}", self.log());
        }
    }
}

fn socket_in(folder: &TempDir) -> PathBuf {
    folder.path().join("chartd.sock")
}

fn log_in(folder: &TempDir) -> PathBuf {
    folder.path().join("log")
}

fn configuration(feeds: &[Feed]) -> String {
    let mut text = String::new();
    for Feed { symbol, url, ca_file } in feeds {
        text += &format!("[[feed]]\nvenue = \"binance\"\nurl = \"{url}\"\nsymbols = [\"{symbol}\"]\n");
        if let Some(path) = ca_file {
            text += &format!("ca_file = {path:?}\n");
        }
        text += &format!("[[chart]]\nsource = \"binance:{symbol}\"\ntimeframe = \"1s\"\nsize = [320, 180]\n");
    }
    text
}
