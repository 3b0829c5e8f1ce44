//! The hot threads make no system call but `io_uring_enter`, also while readers wait for the doorbell, clients adjust
//! charts, and a journal is kept: strace counts.

use shm::adjust::Adjustment;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tests::service::CHART;

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill(); // It may have ended.
        let _ = self.0.wait();
    }
}

fn start(arguments: &[&str]) -> Running {
    let mut command = Command::new(tests::bin("chartd"));
    Running(command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

/// The thread of a process with that name, and its id.
fn thread(pid: u32, name: &str) -> Option<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    tasks.flatten().find_map(|task| {
        let comm = fs::read_to_string(task.path().join("comm")).ok()?;
        (comm.trim() == name).then(|| task.file_name().to_string_lossy().into_owned())
    })
}

/// What a thread calls in two seconds, as strace counts it: name and number.
fn calls(thread: &str, folder: &Path) -> Vec<(String, u64)> {
    let counted = folder.join("strace");
    let mut strace = Command::new("strace");
    strace.args(["-qq", "-c", "-U", "name,calls", "-o"]).arg(&counted).args(["-p", thread]);
    let mut strace = strace.stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let id = nix::unistd::Pid::from_raw(strace.id() as i32);
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGINT).unwrap();
    strace.wait().unwrap();
    let text = fs::read_to_string(counted).unwrap_or_default();
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
    };
    text.lines().filter_map(row).filter(|(name, _): &(String, u64)| name != "total").collect()
}

#[test]
fn hot_threads_call_nothing_but_io_uring_enter() {
    if Command::new("strace").arg("-V").output().is_err() {
        return eprintln!("skipped: system calls of the hot threads (no strace)");
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let venue = format!("127.0.0.1:{port}");
    let _sim = start(&["sim", "--listen", &venue]);
    for threads in ["fused", "split"] {
        let folder = tempfile::tempdir().unwrap();
        let (socket, config) = (folder.path().join("s"), folder.path().join("c.toml"));
        let text = format!(
            "socket = {socket:?}\n[[feed]]\nvenue = \"binance\"\nurl = \"ws://{venue}\"\nsymbols = [\"BTCUSDT\"]\n\
             [[chart]]\nsource = \"binance:BTCUSDT\"\ntimeframe = \"1s\"\nsize = [640, 360]\n\
             [realtime]\nthreads = \"{threads}\"\n[journal]\nfolder = {:?}\nsegment_mb = 1\n",
            folder.path().join("journal")
        );
        fs::write(&config, text).unwrap();
        let daemon = start(&["run", "--config", config.to_str().unwrap()]);
        // A reader that sleeps for every frame keeps the doorbell busy, and its adjustments the wake-up counter.
        let waiting = std::thread::spawn(move || {
            let end = Instant::now() + Duration::from_secs(40);
            let (mut frames, mut adjusted) = (0, 0);
            while let Err(error) = chart_client::Connection::open(Some(&socket)) {
                assert!(Instant::now() < end, "{error}");
                std::thread::sleep(Duration::from_millis(20));
            }
            let mut follower = chart_client::Follower::new(Some(&socket), CHART).unwrap();
            while let Ok(news) = follower.wait(Duration::from_secs(2)) {
                match news {
                    chart_client::News::Lost => break,
                    chart_client::News::Frame { .. } => {
                        frames += 1;
                        let pan = Adjustment::Pan { bars: if frames % 2 == 0 { 2 } else { -2 } };
                        let adjust =
                            |(connection, _)| chart_client::Connection::adjust(connection, CHART, &pan);
                        adjusted +=
                            u64::from(follower.current().map(adjust).is_some_and(|done| done.is_ok()));
                    }
                    _ => {}
                }
            }
            (frames, adjusted)
        });
        std::thread::sleep(Duration::from_secs(3));
        let names: &[&str] =
            if threads == "fused" { &["chartd-ingest"] } else { &["chartd-ingest", "chartd-render"] };
        for name in names {
            let thread = thread(daemon.0.id(), name).unwrap_or_else(|| panic!("there is no thread {name}"));
            let calls = calls(&thread, folder.path());
            println!("{threads}, {name}: {calls:?}");
            if calls.is_empty() {
                return eprintln!("skipped: system calls of the hot threads (strace may not attach)");
            }
            assert!(calls.iter().all(|(call, _)| call == "io_uring_enter"), "{threads}, {name}: {calls:?}");
        }
        let connection = chart_client::Connection::open(Some(&folder.path().join("s"))).unwrap();
        let (journal, intake) = connection.status().journal().unwrap();
        assert!(intake.accepted > 100 && journal.durable > 100, "nothing was recorded: {journal:?}");
        drop(daemon);
        let (frames, adjusted) = waiting.join().unwrap();
        assert!(frames > 10, "no frames were waited for, so the doorbell was not tested");
        assert!(adjusted > 10, "nothing was adjusted, so the wake-up was not tested");
    }
}
