//! The image that all machines start from: made once by `image.sh`, kept below `target/vm`, and made again when what
//! makes it changes. Delete it for newer packages.

use super::machine::Machine;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Instant;

const SCRIPT: &str = include_str!("image.sh");
const AGENT: &str = include_str!("agent.sh");
const AGENT_UNIT: &str = include_str!("agent.service");
const RELEASE: &str = "bookworm";
const ROOT_UUID: &str = "6b7c2a5e-0d52-4c5b-8a55-0f5a3f1e9c11";

/// Where the image and the consoles are kept.
pub(super) fn folder() -> PathBuf {
    let bin = crate::bin("vm-capture");
    let target = bin.ancestors().nth(2).expect("a binary lies in target/*");
    let folder = target.join("vm");
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The image, made first where there is none. None, and a line that says why, where there can be none.
pub(super) fn base() -> Option<PathBuf> {
    static BASE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match BASE.get_or_init(find_or_make) {
        Ok(image) => Some(image.clone()),
        Err(reason) => {
            println!("skipped: the tuner in a virtual machine ({reason})");
            None
        }
    }
}

fn find_or_make() -> Result<PathBuf, String> {
    if std::env::var_os("CHARTD_VM").is_none() {
        return Err("give --vm".into());
    }
    for program in ["qemu-system-x86_64", "mmdebstrap", "mkfs.ext4"] {
        if !has_program(program) {
            return Err(format!("no {program}"));
        }
    }
    if !nix::unistd::geteuid().is_root() {
        return Err("making the image and its network card needs root".into());
    }
    if !Path::new("/dev/net/tun").exists() {
        return Err("no /dev/net/tun".into());
    }
    let mut hasher = DefaultHasher::new();
    (SCRIPT, AGENT, AGENT_UNIT, RELEASE, ROOT_UUID).hash(&mut hasher);
    let image = folder().join(format!("base-{:016x}.img", hasher.finish()));
    if !image.exists() {
        make(&image)?;
    }
    Ok(image)
}

fn has_program(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

fn make(image: &Path) -> Result<(), String> {
    let sources = sources()?;
    let started = Instant::now();
    println!("vm: building the image");
    for old in fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()) {
        if old.extension().is_some_and(|extension| extension == "img" || extension == "partial") {
            fs::remove_file(old).unwrap();
        }
    }
    let parts = tempfile::tempdir().unwrap();
    let part = |name: &str, text: &str| {
        let path = parts.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let partial = image.with_extension("partial");
    let log = folder().join("image.log");
    let output = File::create(&log).unwrap();
    let mut command = Command::new("unshare");
    command.arg("--mount").arg("sh").arg(part("image.sh", SCRIPT)).arg(&partial).arg(ROOT_UUID);
    command.arg(part("agent", AGENT)).arg(part("unit", AGENT_UNIT)).arg(folder().join("packages.txt"));
    command.env("APT_OPTIONS", apt_options()).stdin(Stdio::piped());
    let mut child = command.stdout(output.try_clone().unwrap()).stderr(output).spawn().unwrap();
    child.stdin.take().expect("it was asked for").write_all(sources.as_bytes()).unwrap();
    if !child.wait().unwrap().success() {
        panic!("the image cannot be made; the reason stands in {}", log.display());
    }
    println!("vm: its packages are installed after {} s", started.elapsed().as_secs());
    let mut machine = Machine::over("image", &partial);
    machine.wait_for_boot();
    // As an administrator's own, who has chosen the stock kernel.
    machine.must(
        "stock=$(ls /boot/vmlinuz-*-amd64 | grep --invert-match rt-amd64 | sed 's/.*vmlinuz-//')
         uuid=$(findmnt --noheadings --output UUID /)
         entry=\"gnulinux-advanced-$uuid>gnulinux-$stock-advanced-$uuid\"
         sed -i \"s/^GRUB_DEFAULT=.*/GRUB_DEFAULT=\\\"$entry\\\"/\" /etc/default/grub
         update-grub",
    );
    machine.finish_into(&partial);
    fs::rename(&partial, image).unwrap();
    println!("vm: the image is made after {} s", started.elapsed().as_secs());
    Ok(())
}

/// Where this machine's apt finds the release, as lines of a sources.list.
fn sources() -> Result<String, String> {
    let format = "$(ORIGIN) $(CODENAME) deb $(REPO_URI) $(RELEASE) $(COMPONENT)";
    let listed =
        printed(Command::new("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]));
    let of_release = |line: &str| {
        let (codename, source) = line.strip_prefix("Debian ")?.split_once(' ')?;
        let wanted = ["", "-updates", "-security"].map(|suffix| format!("{RELEASE}{suffix}"));
        wanted.iter().any(|wanted| wanted == codename).then(|| format!("{source}\n"))
    };
    let sources: String = listed.lines().filter_map(of_release).collect();
    if sources.is_empty() {
        return Err(format!("apt knows no mirror of Debian {RELEASE}; add one and run apt-get update"));
    }
    Ok(sources)
}

/// How this machine's apt reaches its mirrors, and what it believes of them, an option a line.
fn apt_options() -> String {
    let reaching = |line: &&str| {
        ["Acquire::Check-", "Acquire::http", "Acquire::Retries"].iter().any(|name| line.starts_with(name))
    };
    let dump = printed(Command::new("apt-config").arg("dump"));
    dump.lines().filter(reaching).map(|line| format!("{}\n", line.trim_end_matches(';'))).collect()
}

fn printed(command: &mut Command) -> String {
    command.output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}
