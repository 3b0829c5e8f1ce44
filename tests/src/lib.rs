//! What the end-to-end tests share: where the built binaries are, how to run one, where recorded data is.
//!
//! Only what more than one test file needs. Nothing here knows what a right answer is. A test that wants recorded
//! data says so when there is none:
//!
//! ```no_run
//! let Some(recording) = tests::recorded("binance_spot/btcusdt_20240808.gz") else {
//!     return;
//! };
//! let output = tests::run("chartd", ["replay".as_ref(), recording.as_os_str()]);
//! assert_eq!(output.status.code(), Some(0), "{}", tests::stderr(&output));
//! ```

pub mod journaled;
pub mod power_cut;
pub mod service;
pub mod venue;
pub mod vm;

use std::ffi::OsStr;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long [`run`] waits for a program. What takes longer hangs.
pub const TIME_LIMIT: Duration = Duration::from_secs(60);

/// A built binary: it lies above the `deps` folder of the running test.
pub fn bin(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let profile = test.ancestors().nth(2).expect("a test lies in target/*/deps");
    let bin = profile.join(name);
    assert!(
        bin.is_file(),
        "{} is missing; build the binaries first: cargo build --workspace --bins",
        bin.display()
    );
    bin
}

/// A recorded file, by its path below `shared/data`. Prints that the test is skipped where it is absent.
pub fn recorded(path: &str) -> Option<PathBuf> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(path);
    if file.is_file() {
        return Some(file);
    }
    eprintln!("skipped: no recorded data: {}", file.display());
    None
}

/// Runs a built binary to its end, within [`TIME_LIMIT`].
pub fn run<A: AsRef<OsStr>>(name: &str, args: impl IntoIterator<Item = A>) -> Output {
    let mut command = Command::new(bin(name));
    command.args(args);
    finish(command, TIME_LIMIT)
}

/// Runs a command to its end, with nothing on its standard input. Kills it and panics after `limit`.
pub fn finish(mut command: Command, limit: Duration) -> Output {
    let shown = format!("{command:?}");
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {shown}: {error}"));
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break status;
        }
        if started.elapsed() > limit {
            stop(&mut child);
            panic!("{shown} still ran after {limit:?}");
        }
        thread::sleep(Duration::from_millis(2));
    };
    Output {
        status,
        stdout: stdout.join().expect("the reader of stdout ends"),
        stderr: stderr.join().expect("the reader of stderr ends"),
    }
}

/// What a program said on standard error, as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Reads a pipe to its end beside the program, which would wait when the pipe is full.
fn drain(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    let mut pipe = pipe.expect("the pipe was asked for");
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // A pipe that breaks has no more to say.
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

fn stop(child: &mut Child) {
    // It may have ended in between.
    let _ = child.kill();
    let _ = child.wait();
}
