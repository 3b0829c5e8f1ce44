//! chartd as a service: what `cargo xtask install` puts where, what systemd says of it, and the whole of it under a
//! systemd that really is process 1, in a container of its own.

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const UNITS: [&str; 3] = ["chartd.service", "chartd.socket", "chartd.slice"];

/// Whether a program is there. Prints that the test is skipped where it is absent.
fn have(program: &str, package: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    if !found {
        println!("skipped: chartd under systemd (no {program}; install {package})");
    }
    found
}

/// Runs `cargo xtask VERB`, with the programs of this build, and returns what it printed.
fn xtask(verb: &str, prefix: &Path, destdir: &Path) -> String {
    let mut command = Command::new(tests::bin("xtask"));
    command.arg(verb).arg("--prefix").arg(prefix).arg("--destdir").arg(destdir);
    if verb == "install" {
        command.arg("--programs").arg(tests::bin("chartd").parent().unwrap());
    }
    let output = tests::finish(command, tests::TIME_LIMIT);
    assert!(output.status.success(), "{}", tests::stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// All files and folders below a folder.
fn below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { [vec![path.clone()], below(&path)].concat() } else { vec![path] })
        .collect()
}

#[test]
fn uninstalling_leaves_nothing_but_a_changed_configuration() {
    let dir = tempfile::tempdir().unwrap();
    for (prefix, service) in [
        ("/usr/local", "usr/local/lib/systemd/system/chartd.service"),
        ("/opt/chartd", "etc/systemd/system/chartd.service"),
    ] {
        let said = xtask("install", prefix.as_ref(), dir.path());
        let text = fs::read_to_string(dir.path().join(service)).unwrap();
        assert!(
            text.contains(&format!("\nExecStart={prefix}/bin/chartd run --config /etc/chartd/chartd.toml\n"))
        );
        let files = below(dir.path()).into_iter().filter(|path| path.is_file());
        for file in files {
            assert!(
                said.contains(&format!("wrote {}\n", file.display())),
                "{} is not in: {said}",
                file.display()
            );
            assert!(!fs::read(&file).unwrap().starts_with(b"@") && file.extension() != Some("new".as_ref()));
        }
        assert!(said.contains("systemctl daemon-reload"), "{said}");
        xtask("uninstall", prefix.as_ref(), dir.path());
        assert!(below(dir.path()).is_empty());
    }

    let prefix = Path::new("/usr/local");
    xtask("install", prefix, dir.path());
    let configuration = dir.path().join("etc/chartd/chartd.toml");
    let check = tests::run("chartd", ["check".as_ref(), "--config".as_ref(), configuration.as_os_str()]);
    assert!(check.status.success(), "the example is wrong: {}", tests::stderr(&check));
    fs::write(&configuration, "bars = 1\n").unwrap();
    assert!(xtask("install", prefix, dir.path()).contains(&format!("kept {}\n", configuration.display())));
    let said = xtask("uninstall", prefix, dir.path());
    assert!(said.contains(&format!("kept {}: it was changed\n", configuration.display())), "{said}");
    assert_eq!(fs::read_to_string(&configuration).unwrap(), "bars = 1\n");
    assert_eq!(below(dir.path()).iter().filter(|path| path.is_file()).count(), 1);
}

#[test]
fn a_prefix_that_systemd_would_read_otherwise_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for prefix in ["usr/local", "/opt/a b", "/opt/%h"] {
        let destdir = dir.path().to_str().unwrap();
        let output =
            tests::run("xtask", ["install", "--prefix", prefix, "--destdir", destdir, "--programs", "/"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(tests::stderr(&output).contains("--prefix must begin with /"), "{}", tests::stderr(&output));
    }
    assert!(below(dir.path()).is_empty());
}

#[test]
fn systemd_finds_no_fault_with_the_units_and_little_exposure() {
    if !have("systemd-analyze", "systemd") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (prefix, root) = (dir.path().join("prefix"), dir.path().join("root"));
    xtask("install", &prefix, &root);
    // ExecStart= leads to the program in the staging tree.
    symlink(root.join(prefix.strip_prefix("/").unwrap()), &prefix).unwrap();
    let units = root.join("etc/systemd/system");

    let mut verify = Command::new("systemd-analyze");
    // With the colon, the system's own units are found too.
    verify.env("SYSTEMD_UNIT_PATH", format!("{}:", units.display()));
    verify.args(["verify", "--man=no"]).args(UNITS);
    let verified = tests::finish(verify, tests::TIME_LIMIT);
    let said = tests::stderr(&verified);
    assert!(verified.status.success() && !said.contains("chartd"), "{said}");

    let mut security = Command::new("systemd-analyze");
    security.args(["security", "--offline=true", "--threshold=25", "--no-pager"]).arg(units.join(UNITS[0]));
    let rated = tests::finish(security, tests::TIME_LIMIT);
    let table = String::from_utf8_lossy(&rated.stdout);
    println!("{}", table.lines().last().unwrap_or_default());
    assert!(rated.status.success(), "{table}{}", tests::stderr(&rated));
}

/// Tries until it holds, or `limit` is over.
fn within<T>(limit: Duration, what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(started.elapsed() < limit, "{what} did not happen within {limit:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A container whose process 1 is systemd. It has this machine's `/usr`, a loopback of its own, and nothing else.
struct Machine {
    nspawn: Child,
    /// Process 1 of the container, by its number here.
    leader: i32,
    dir: TempDir,
}

impl Machine {
    /// Installs chartd, with `files` beside it, and boots. None where no container can be.
    fn boot(files: &[(&str, &str)]) -> Option<Self> {
        if !have("systemd-nspawn", "systemd-container") {
            return None;
        }
        let namespaces = ["--mount", "--pid", "--cgroup", "--fork", "true"];
        if !geteuid().is_root() || !Command::new("unshare").args(namespaces).status().unwrap().success() {
            println!("skipped: chartd under systemd (a container needs root)");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        let os_release = fs::read_to_string("/etc/os-release").unwrap();
        // With an identity, this is no first boot, and nothing is enabled that the test did not ask for.
        let basic =
            [("etc/os-release", &*os_release), ("etc/machine-id", "0123456789abcdef0123456789abcdef\n")];
        for (path, text) in basic.iter().chain(files) {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), text).unwrap();
        }
        for name in ["bin", "sbin", "lib", "lib64"] {
            symlink(Path::new("usr").join(name), root.join(name)).unwrap();
        }
        xtask("install", "/usr/local".as_ref(), &root);
        // Out of the way of the /usr that will lie over it.
        let local = dir.path().join("local");
        fs::rename(root.join("usr/local"), &local).unwrap();

        let console = fs::File::create(dir.path().join("console")).unwrap();
        // It ends with the test, even if that is killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "systemd-nspawn", "--quiet", "--boot", "--console=pipe"]);
        // No word to this machine's own systemd: there may be none.
        command.args(["--register=no", "--keep-unit", "--private-network", "--bind-ro=/usr", "--directory"]);
        command.arg(&root).arg(format!("--bind-ro={}:/usr/local", local.display()));
        command.args(["--", "--unit=basic.target"]);
        command.stdin(Stdio::null()).stdout(console.try_clone().unwrap()).stderr(console);
        let mut machine = Self { nspawn: command.spawn().unwrap(), leader: 0, dir };
        machine.leader = within(Duration::from_secs(30), "the container's process 1", || {
            assert!(machine.nspawn.try_wait().unwrap().is_none(), "systemd-nspawn ended");
            let pid = machine.nspawn.id();
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
            let child = children.split_whitespace().next()?.parse().ok()?;
            let status = fs::read_to_string(format!("/proc/{child}/status")).ok()?;
            // Its number here, and in the container.
            status.contains(&format!("NSpid:\t{child}\t1\n")).then_some(child)
        });
        within(Duration::from_secs(30), "the boot", || {
            let state = machine.says("systemctl is-system-running");
            ["running", "degraded"].contains(&state.trim()).then_some(())
        });
        Some(machine)
    }

    /// Runs a line of shell in the container.
    fn shell(&self, line: &str) -> Output {
        let mut command = Command::new("nsenter");
        command.args(["--all", "--target", &self.leader.to_string(), "sh", "-c", line]);
        command.env_clear().env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin");
        tests::finish(command, tests::TIME_LIMIT)
    }

    /// Runs a line that must succeed.
    #[track_caller]
    fn must(&self, line: &str) -> String {
        let output = self.shell(line);
        assert!(output.status.success(), "{line}: {}: {}", output.status, tests::stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a line prints, whether it succeeds or not.
    fn says(&self, line: &str) -> String {
        String::from_utf8_lossy(&self.shell(line).stdout).into_owned()
    }

    /// Writes a file into the container.
    fn write(&self, path: &str, text: &str) {
        fs::write(self.dir.path().join("root").join(path), text).unwrap();
    }

    /// A property of the service.
    fn property(&self, name: &str) -> String {
        self.must(&format!("systemctl show --property {name} --value chartd.service")).trim().to_owned()
    }

    fn is_active(&self, unit: &str) -> bool {
        self.shell(&format!("systemctl is-active {unit}")).status.success()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let console = fs::read_to_string(self.dir.path().join("console")).unwrap_or_default();
            let journal =
                "journalctl --no-pager --boot | tail -60; systemctl status chartd.socket chartd.service";
            println!("{console}{}", if self.leader > 0 { self.says(journal) } else { String::new() });
        }
        // It shuts its systemd down in turn.
        let _ = kill(Pid::from_raw(self.nspawn.id() as i32), Signal::SIGTERM);
        let started = Instant::now();
        while self.nspawn.try_wait().is_ok_and(|ended| ended.is_none()) {
            if started.elapsed() > Duration::from_secs(15) {
                // With process 1 all others of the container end.
                let _ = kill(Pid::from_raw(self.leader.max(2)), Signal::SIGKILL);
                let _ = self.nspawn.kill();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

const SIM: &str = "[Service]\nExecStart=/usr/local/bin/chartd sim --listen 127.0.0.1:9001\n";

const CONFIGURATION: &str = "etc/chartd/chartd.toml";

const FEED: &str = r#"
[[feed]]
venue = "binance"
symbols = ["BTCUSDT"]
url = "ws://127.0.0.1:9001"
"#;

const CHART: &str = r#"
[[chart]]
source = "binance:BTCUSDT"
timeframe = "1s"
size = [640, 360]
"#;

/// Lets a debug build's ingest loop hang once the file is there. The runtime folder is what the hardened service may
/// write to.
const FAILURE: &str =
    "[Service]\nEnvironment=CHARTD_FAIL=ingest.loop=spin CHARTD_FAIL_ONCE=/run/chartd/fail\n";

/// The life of the service, in the order in which an administrator meets it.
#[test]
fn the_service_lives_under_a_real_systemd() {
    let booting = Instant::now();
    let Some(machine) = Machine::boot(&[
        (CONFIGURATION, &[FEED, CHART].concat()),
        ("etc/systemd/system/chartd-sim.service", SIM),
        ("etc/systemd/system/chartd.service.d/failure.conf", FAILURE),
    ]) else {
        return;
    };
    println!("booted after {} ms", booting.elapsed().as_millis());
    let socket_inode = || machine.must("stat --format %i /run/chartd/chartd.sock");
    let soon = Duration::from_secs(10);
    machine.must("systemctl start chartd-sim.service");
    machine.must("systemctl enable --now chartd.socket");
    let socket = socket_inode();

    // A client starts it. `start` then waits until it is ready, which it is with its first frames.
    assert!(!machine.is_active("chartd.service"), "it runs before anybody asked");
    assert!(machine.must("chartctl list").contains("binance:BTCUSDT/1s"));
    machine.must("systemctl start chartd.service");
    machine.must("chartctl snap binance:BTCUSDT/1s -o /tmp/snap.png");
    assert_eq!(machine.property("ActiveState"), "active");
    let pid = machine.property("MainPID");

    confined(&machine, &pid);
    members_only(&machine);

    // A reload takes over another configuration, in the same process.
    machine.write(CONFIGURATION, &[FEED, CHART, &CHART.replace("1s", "1m")].concat());
    machine.must("systemctl reload chartd.service");
    // The signal does not wait for its effect.
    within(soon, "the reload", || machine.says("chartctl list").contains("binance:BTCUSDT/1m").then_some(()));
    within(soon, "the end of the reload", || machine.is_active("chartd.service").then_some(()));
    assert_eq!(machine.property("MainPID"), pid);

    // A loop that hangs costs one restart, and clients come back through the same socket.
    machine.must("touch /run/chartd/fail");
    let hung = Instant::now();
    within(soon, "the restart by the watchdog", || (machine.property("NRestarts") == "1").then_some(()));
    within(soon, "the service's return", || machine.is_active("chartd.service").then_some(()));
    println!("back {} ms after its loop hung", hung.elapsed().as_millis());
    let journal = machine.must("journalctl --no-pager --unit chartd.service");
    assert!(journal.contains("Watchdog timeout"), "{journal}");
    assert_ne!(machine.property("MainPID"), pid);
    let watched = machine.must("chartctl watch binance:BTCUSDT/1s --frames 5 --json");
    assert_eq!(watched.lines().count(), 5, "{watched}");
    assert_eq!(socket_inode(), socket, "the socket is another one");

    // It stops at once and cleanly; the socket stays, and starts it again.
    let stopping = Instant::now();
    machine.must("systemctl stop chartd.service");
    let took = stopping.elapsed();
    println!("stopped after {} ms", took.as_millis());
    assert!(took < Duration::from_secs(2), "stopping took {took:?}");
    assert_eq!(machine.property("Result"), "success");
    assert_eq!(machine.property("ExecMainStatus"), "0");
    assert!(machine.is_active("chartd.socket"));
    assert_eq!(socket_inode(), socket, "the socket is another one");
    machine.must("chartctl list");

    // A wrong configuration is not tried for ever, and what systemd/README.md says mends it.
    machine.must("systemctl stop chartd.service");
    machine.write(CONFIGURATION, "bars = 0\n");
    assert!(!machine.shell("chartctl list").status.success());
    within(soon, "giving up", || (!machine.is_active("chartd.socket")).then_some(()));
    assert_eq!(machine.property("ExecMainStatus"), "2");
    machine.write(CONFIGURATION, &[FEED, CHART].concat());
    machine.must("systemctl reset-failed chartd.service chartd.socket && systemctl start chartd.socket");
    machine.must("chartctl list");

    machine.must("systemctl stop chartd.socket");
    assert!(
        !machine.is_active("chartd.service")
            && !machine.shell("test -e /run/chartd/chartd.sock").status.success()
    );
}

/// The process has what the unit grants and nothing else.
fn confined(machine: &Machine, pid: &str) {
    let status = machine.must(&format!("cat /proc/{pid}/status"));
    let chartd = machine.must("id --user chartd");
    for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.contains(line), "{line} is missing in {status}");
    }
    assert!(status.contains(&format!("Uid:\t{}\t", chartd.trim())), "{status}");
    for (property, value) in
        [("LimitMEMLOCK", "infinity"), ("LimitRTPRIO", "60"), ("LimitRTTIME", "infinity")]
    {
        assert_eq!(machine.property(property), value, "{property}");
    }
    let stats: Value = serde_json::from_str(&machine.must("chartctl stats --json")).unwrap();
    println!("degraded: {}", stats["degraded"]);
    let root = machine.must("grep CapEff /proc/1/status");
    let capabilities = u64::from_str_radix(root.trim_start_matches("CapEff:").trim(), 16).unwrap();
    if capabilities & 1 << CAP_SYS_RESOURCE == 0 {
        println!("skipped: the limits of the service (root has no CAP_SYS_RESOURCE here)");
        return;
    }
    assert_eq!(machine.must(&format!("cat /proc/{pid}/oom_score_adj")).trim(), "-900");
    assert!(!stats["degraded"].to_string().contains("memory is not locked"), "{}", stats["degraded"]);
}

/// What systemd needs to raise a limit.
const CAP_SYS_RESOURCE: u32 = 24;

/// Charts are for the members of the group.
fn members_only(machine: &Machine) {
    let list = |group: &str| {
        let user = format!("setpriv --reuid nobody --regid {group} --clear-groups");
        machine.shell(&format!("{user} chartctl --socket /run/chartd/chartd.sock list"))
    };
    assert!(!list("nogroup").status.success(), "a stranger reads charts");
    let member = list("chartd");
    assert!(member.status.success(), "{}", tests::stderr(&member));
}
