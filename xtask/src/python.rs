//! What the tests need from Python: independent programs to hold ours against, in a virtual environment of their own
//! in `target/python`. Nothing outside of it is changed.

use crate::packages;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A Python package that some tests run, by the name and version that pip knows it by.
struct Need {
    package: &'static str,
    version: &'static str,
    /// What cannot be tested without it.
    tests: &'static str,
}

/// Pinned: a comparison means something only if one knows with what.
const NEEDS: [Need; 11] = [
    Need { package: "TA-Lib", version: "0.8.2", tests: "indicators against TA-Lib" },
    Need { package: "numpy", version: "2.4.6", tests: "indicators against TA-Lib" },
    Need { package: "Pillow", version: "13.0.0", tests: "pictures against Pillow" },
    Need { package: "mplfinance", version: "0.12.10b0", tests: "charts against mplfinance" },
    Need { package: "matplotlib", version: "3.11.2", tests: "charts against mplfinance" },
    Need { package: "pandas", version: "3.1.1", tests: "charts against mplfinance" },
    // mplfinance imports it and does not say so.
    Need { package: "six", version: "1.17.0", tests: "charts against mplfinance" },
    Need { package: "itchfeed", version: "1.6.4", tests: "ITCH against itchfeed" },
    Need { package: "moldudp", version: "0.0.21", tests: "MoldUDP64 against moldudp" },
    Need { package: "pyarrow", version: "26.0.1", tests: "Parquet exports against pyarrow" },
    Need { package: "websockets", version: "17.4", tests: "feeds from a server that is written in Python" },
];

/// Installs what is missing, if it may. Returns a line for each thing that stays missing.
pub(crate) fn prepare(no_install: bool) -> Vec<String> {
    let mut missing = missing();
    if !missing.is_empty() && !no_install {
        install(&missing);
        missing = self::missing();
    }
    missing.iter().map(|need| format!("skipped: {} (no {})", need.tests, need.package)).collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python")
}

/// Runs the environment's Python.
fn python(arguments: &[&str]) -> io::Result<Output> {
    Command::new(folder().join("bin/python")).args(arguments).output()
}

fn missing() -> Vec<&'static Need> {
    const LIST: &str = "\
from importlib.metadata import distributions
for package in distributions():
    print(package.name + '==' + package.version)";
    let list = python(&["-c", LIST]).map(|output| String::from_utf8_lossy(&output.stdout).to_lowercase());
    let list = list.unwrap_or_default();
    let is_there = |need: &&Need| list.lines().any(|line| line == need.requirement().to_lowercase());
    NEEDS.iter().filter(|need| !is_there(need)).collect()
}

impl Need {
    fn requirement(&self) -> String {
        format!("{}=={}", self.package, self.version)
    }
}

/// Whether it worked shows in what is there afterwards.
fn install(needs: &[&Need]) {
    if !has_pip() && !make_environment() {
        packages::install(&["python3-venv"]);
        if !make_environment() {
            return eprintln!("cannot make {} with python3 -m venv", folder().display());
        }
    }
    println!("== installing Python packages in target/python");
    // What stands in the way of one package must not keep the others out.
    if !pip(needs) && needs.len() > 1 {
        for need in needs {
            pip(&[need]);
        }
    }
}

fn has_pip() -> bool {
    python(&["-m", "pip", "--version"]).is_ok_and(|output| output.status.success())
}

fn make_environment() -> bool {
    let output = Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder()).output();
    output.is_ok_and(|output| output.status.success()) && has_pip()
}

/// Installs what comes built; building it here would take compilers and minutes.
fn pip(needs: &[&Need]) -> bool {
    let requirements: Vec<_> = needs.iter().map(|need| need.requirement()).collect();
    let options = ["--quiet", "--disable-pip-version-check", "--no-input", "--retries", "1"];
    let mut command = Command::new(folder().join("bin/python"));
    command.args(["-m", "pip", "install"]).args(options).args(["--only-binary", ":all:"]).args(&requirements);
    let done = command.status().is_ok_and(|status| status.success());
    if !done {
        eprintln!("pip could not install {}", requirements.join(" "));
    }
    done
}
