//! What the tests need from JavaScript: an independent program to hold ours against, in `target/node`. Nothing outside
//! of it is changed.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A package that some tests run, by the name and version that npm knows it by.
struct Need {
    package: &'static str,
    version: &'static str,
}

/// What cannot be tested without them.
const TESTS: &str = "axes against lightweight-charts";

/// Pinned: a comparison means something only if one knows with what.
const NEEDS: [Need; 2] = [
    Need { package: "lightweight-charts", version: "5.2.1" },
    // A page for it to draw on, without a browser. Newer ones need a newer Node.js than Debian 12 has.
    Need { package: "jsdom", version: "24.1.3" },
];

/// Installs what is missing, if it may. Returns a line for each thing that stays missing.
pub(crate) fn prepare(no_install: bool) -> Vec<String> {
    if !missing().is_empty() && !no_install {
        install();
    }
    missing().iter().map(|need| format!("skipped: {TESTS} (no {})", need.package)).collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/node")
}

fn missing() -> Vec<&'static Need> {
    let is_there = |need: &&Need| {
        let about = folder().join("node_modules").join(need.package).join("package.json");
        let version = format!("\"version\": \"{}\"", need.version);
        std::fs::read_to_string(about).is_ok_and(|text| text.contains(&version))
    };
    NEEDS.iter().filter(|need| !is_there(need)).collect()
}

/// Whether it worked shows in what is there afterwards.
fn install() {
    println!("== installing JavaScript packages in target/node");
    // With all of them at once, since npm removes what it is not told of.
    let packages = NEEDS.map(|need| format!("{}@{}", need.package, need.version));
    let options =
        ["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries", "1"];
    let done = std::fs::create_dir_all(folder()).is_ok()
        && Command::new("npm")
            .args(options)
            .arg("--prefix")
            .arg(folder())
            .args(&packages)
            .status()
            .is_ok_and(|status| status.success());
    if !done {
        eprintln!("npm could not install {}", packages.join(" "));
    }
}
