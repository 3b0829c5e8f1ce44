//! Has the program run once more, by itself.
//!
//! Where systemd is process 1, a transient timer of it does that: it outlives the session that set it, and says in the
//! log what it did. Elsewhere a process is started at once that waits by itself.

use super::{Host, HostError};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// See [`Host::later`]. `root` is where the machine's files lie.
pub(super) fn later(
    host: &dyn Host,
    root: &Path,
    after: Duration,
    arguments: &[&str],
) -> Result<(), HostError> {
    let program = std::env::current_exe().map_err(|error| HostError::of(Path::new("tuner"), &error))?;
    let root = root.to_string_lossy();
    let mut words = arguments.to_vec();
    if root != "/" {
        words.extend(["--root", &root]);
    }
    let is_systemd = host.read(Path::new("/proc/1/comm")).is_ok_and(|comm| comm.trim() == "systemd");
    match is_systemd {
        true => timer(host, &program, after, &words),
        false => process(&program, &words),
    }
}

fn timer(host: &dyn Host, program: &Path, after: Duration, words: &[&str]) -> Result<(), HostError> {
    let active = format!("--on-active={}", after.as_secs());
    let program = program.to_string_lossy();
    let own = ["--quiet", "--collect", "--timer-property=AccuracySec=1s", &active, "--", &program];
    host.run("systemd-run", &[&own, words].concat()).map(drop)
}

/// It outlives this process, whose end makes it init's child.
fn process(program: &Path, words: &[&str]) -> Result<(), HostError> {
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
    // SAFETY: setsid is safe between fork and exec: it is one system call, and takes no lock and no memory.
    unsafe {
        command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(Into::into));
    }
    command.spawn().map(drop).map_err(|error| HostError::of(program, &error))
}
