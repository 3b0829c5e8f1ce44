//! What the tests need from the system, by the names of its package manager.

use std::path::Path;
use std::process::Command;

/// A program that some tests run, and the Debian package it comes in.
struct Need {
    program: &'static str,
    package: &'static str,
    /// What cannot be tested without it.
    tests: &'static str,
}

const NEEDS: [Need; 6] = [
    Need { program: "chromium", package: "chromium", tests: "the page in a real browser" },
    Need {
        program: "systemd-nspawn",
        package: "systemd-container",
        tests: "the service under a real systemd",
    },
    Need { program: "strace", package: "strace", tests: "system calls of the hot threads" },
    Need { program: "node", package: "nodejs", tests: "axes against lightweight-charts" },
    Need { program: "update-grub", package: "grub2-common", tests: "the boot menu made by GRUB's own tools" },
    Need { program: "npm", package: "npm", tests: "axes against lightweight-charts" },
];

/// Only for the tests in a virtual machine.
const VM_NEEDS: [Need; 2] = [
    Need {
        program: "qemu-system-x86_64",
        package: "qemu-system-x86",
        tests: "the tuner in a virtual machine",
    },
    Need { program: "mmdebstrap", package: "mmdebstrap", tests: "the tuner in a virtual machine" },
];

/// Installs what is missing, if it may. Returns a line for each thing that stays missing.
pub(crate) fn prepare(no_install: bool, vm: bool) -> Vec<String> {
    let vm_needs: &[Need] = if vm { &VM_NEEDS } else { &[] };
    let missing = || NEEDS.iter().chain(vm_needs).filter(|need| !is_there(need.program));
    let packages: Vec<_> = missing().map(|need| need.package).collect();
    if !packages.is_empty() && !no_install {
        install(&packages);
    }
    missing().map(|need| format!("skipped: {} (no {})", need.tests, need.program)).collect()
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Installs packages, or says which command would. Whether it worked shows in what is there afterwards.
pub(crate) fn install(packages: &[&str]) {
    if !Path::new("/usr/bin/apt-get").exists() {
        return eprintln!("install {} to run all tests; this system has no apt-get", packages.join(" "));
    }
    let user = Command::new("id").arg("-u").output();
    let is_root = user.is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    if !is_root {
        return eprintln!("to run all tests: sudo apt-get install {}", packages.join(" "));
    }
    println!("== installing {}", packages.join(" "));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(arguments);
        command.status().is_ok_and(|status| status.success())
    };
    let options = ["install", "-y", "-qq", "--no-install-recommends"];
    let done = apt(&["update", "-qq"]) && apt(&[&options[..], packages].concat());
    if !done {
        eprintln!("apt-get could not install {}", packages.join(" "));
    }
}
