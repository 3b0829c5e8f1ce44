//! `cargo xtask test`: installs what the tests need where it may, says what it skipped where it may not, and runs
//! format, lints, documentation, unit, property and end-to-end tests. CI runs the same. `cargo xtask install` and
//! `cargo xtask uninstall` put chartd on a machine and remove it.

mod install;
mod node;
mod packages;
mod python;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

/// Prepares a machine for chartd's tests and runs them; installs chartd.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Runs every check and test
    Test {
        /// Install nothing
        #[arg(long)]
        no_install: bool,
        /// How long the stress tests run
        #[arg(long, value_name = "SECONDS", default_value_t = 30)]
        stress_seconds: u32,
        /// Tune a virtual machine, too: the first run makes its image
        #[arg(long)]
        vm: bool,
    },
    /// Builds chartd and puts it where systemd finds it
    Install {
        #[command(flatten)]
        place: install::Place,
        /// Take the programs from this folder, and build nothing
        #[arg(long, value_name = "DIR")]
        programs: Option<PathBuf>,
    },
    /// Removes what install put there, but for a changed configuration
    Uninstall {
        #[command(flatten)]
        place: install::Place,
    },
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Test { no_install, stress_seconds, vm } => test(no_install, stress_seconds, vm),
        Task::Install { place, programs } => {
            programs.map_or_else(build, Ok).and_then(|programs| install::install(&place, &programs))
        }
        Task::Uninstall { place } => install::uninstall(&place),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn test(no_install: bool, stress_seconds: u32, vm: bool) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut skipped = packages::prepare(no_install, vm);
    skipped.extend(python::prepare(no_install));
    skipped.extend(node::prepare(no_install));
    let stress = stress_seconds.to_string();
    let all = ["--workspace", "--all-targets"];
    step(&mut skipped, "format", cargo("fmt").args(["--all", "--check"]))?;
    step(&mut skipped, "lints", cargo("clippy").args(all).args(["--", "-D", "warnings"]))?;
    let doc = ["--workspace", "--no-deps", "--quiet"];
    step(&mut skipped, "documentation", cargo("doc").args(doc).env("RUSTDOCFLAGS", "-D warnings"))?;
    // The end-to-end tests run these.
    step(&mut skipped, "binaries", cargo("build").args(["--workspace", "--bins"]))?;
    let show = ["--workspace", "--", "--show-output"];
    step(&mut skipped, "tests", cargo("test").args(show).env("CHARTD_STRESS_SECONDS", stress))?;
    if vm {
        // Until now they had none, and said so.
        skipped.retain(|line| !line.starts_with("skipped: the tuner in a virtual machine"));
        // One machine at a time: each wants all CPUs. What they say is shown as they say it.
        let one = ["--package", "tests", "--test", "vm", "--", "--test-threads=1", "--nocapture"];
        step(&mut skipped, "tests in a virtual machine", cargo("test").args(one).env("CHARTD_VM", "1"))?;
    }
    println!("\nall checks passed in {} s", started.elapsed().as_secs());
    for line in skipped {
        println!("{line}");
    }
    Ok(())
}

/// Builds the programs to install, and returns the folder that they lie in.
fn build() -> anyhow::Result<PathBuf> {
    step(&mut Vec::new(), "programs", cargo("build").args(["--release", "--bins"]))?;
    // This program lies beside it, in the folder of its own profile.
    let own = std::env::current_exe()?;
    Ok(own.with_file_name("../release"))
}

fn cargo(verb: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.arg(verb);
    command
}

/// Runs one step, passes on what it prints, and collects the lines that tell of something skipped.
fn step(skipped: &mut Vec<String>, name: &str, command: &mut Command) -> anyhow::Result<()> {
    println!("\n== {name}");
    let started = Instant::now();
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start {name}"))?;
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines() {
            let line = line?;
            println!("{line}");
            if line.starts_with("skipped: ") && !skipped.contains(&line) {
                skipped.push(line);
            }
        }
    }
    if !child.wait()?.success() {
        bail!("{name} failed; the reason stands above");
    }
    println!("== {name} passed in {} s", started.elapsed().as_secs());
    Ok(())
}
