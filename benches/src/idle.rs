//! A daemon with nothing to do: the processor time it takes, and the frames it publishes, which must be none.
//!
//! The venue is there and says nothing but what keeps the connection alive. Beside it, a process that wakes a hundred
//! times a second and does nothing.

use crate::harness::{Arm, Ratio, Report};
use anyhow::{Context, ensure};
use chart_client::Connection;
use chartd::now_ns;
use shm::status::Counter;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const SPAN: Duration = Duration::from_secs(5);

pub(crate) fn measure(rounds: usize) -> anyhow::Result<Report> {
    let mut arms = [
        Arm::new("chartd, four charts, no ticks", "ppm of a core"),
        Arm::new("a process that wakes every 10 ms", "ppm of a core"),
    ];
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || silent_venue(&listener));
    let dir = tempfile::tempdir()?;
    let (socket, file) = (dir.path().join("s"), dir.path().join("c.toml"));
    let mut text = format!(
        "socket = {socket:?}\n[[feed]]\nvenue = \"binance\"\nsymbols = [\"A\", \"B\", \"C\", \"D\"]\nurl = \"ws://{address}\"\n"
    );
    for symbol in ["A", "B", "C", "D"] {
        text += &format!("[[chart]]\nsource = \"binance:{symbol}\"\ntimeframe = \"1s\"\nsize = [960, 540]\n");
    }
    std::fs::write(&file, text)?;
    let program = std::env::current_exe()?.with_file_name("chartd");
    ensure!(program.is_file(), "build the daemon first: cargo build --release --bin chartd");
    let mut command = Command::new(program);
    let daemon = command.args(["run", "--config"]).arg(&file).stderr(Stdio::null()).spawn();
    let daemon = Running(daemon.context("cannot start chartd")?);
    let napper = Running(Command::new(std::env::current_exe()?).env(NAPPER, "1").spawn()?);
    let connection = loop {
        match Connection::open(Some(&socket)) {
            Ok(connection) if connection.status().counter(Counter::Connects) > 0 => break connection,
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    std::thread::sleep(Duration::from_secs(1));
    let frames = || connection.status().counter(Counter::FramesPublished);
    let before = frames();
    for _ in 0..rounds {
        for (arm, process) in arms.iter_mut().zip([&daemon, &napper]) {
            let (began_ns, used_ns) = (now_ns(), process.processor_ns()?);
            std::thread::sleep(SPAN);
            let share = (process.processor_ns()? - used_ns) as f64 / (now_ns() - began_ns) as f64;
            arm.add_round([(share * 1e6) as u64]);
        }
    }
    let published = frames() - before;
    let core = arms[0].quantile(0.5) as f64 / 1e6;
    let ratios = vec![
        Ratio::at_most("share of one core", core, 0.005),
        Ratio::at_most("frames published", published as f64, 0.0),
    ];
    let notes = vec![format!("{} s a round; the venue sends nothing", SPAN.as_secs())];
    Ok(Report { name: "idle", notes, arms: arms.into(), ratios })
}

/// Tells a child process that it is to nap.
pub(crate) const NAPPER: &str = "CHARTD_BENCH_NAPPER";

/// Wakes every 10 ms, until it is killed.
pub(crate) fn nap() -> ! {
    loop {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A process that ends with the bench.
struct Running(Child);

impl Running {
    /// Processor time that its threads have used.
    fn processor_ns(&self) -> anyhow::Result<u64> {
        let mut sum_ns = 0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.0.id()))? {
            let schedstat = std::fs::read_to_string(task?.path().join("schedstat"))?;
            let used_ns = schedstat.split(' ').next().and_then(|word| word.parse::<u64>().ok());
            sum_ns += used_ns.context("the kernel tells no processor time (CONFIG_SCHED_INFO)")?;
        }
        Ok(sum_ns)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill(); // It may have ended.
        let _ = self.0.wait();
    }
}

/// Accepts whoever comes, and says nothing.
fn silent_venue(listener: &TcpListener) {
    let mut kept = Vec::new();
    while let Ok((stream, _)) = listener.accept() {
        // A client that breaks the handshake comes again.
        kept.extend(tungstenite::accept(stream).ok());
    }
}
