//! The state of systemd's units, read from files, beside what systemd itself says of all units there are: under one
//! that really is process 1, in a container of its own.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tuner::host::{Host, HostError, HostErrorKind, Live, Lock};
use tuner::place::{self, Place};

/// How long a boot may take on a machine with other work.
const PATIENCE: Duration = Duration::from_secs(90);

const TIMER: &str = "[Timer]\nOnBootSec=1h\n[Install]\nWantedBy=timers.target\n";
const SERVICE: &str = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=true\n";
/// Units that the container has beside those of this machine's `/usr`.
const UNITS: [(&str, &str, &str); 8] = [
    ("on.timer", TIMER, ""),
    ("off.timer", TIMER, ""),
    ("on.service", SERVICE, ""),
    ("off.service", SERVICE, "[Install]\nAlso=on.timer\n"),
    ("empty.service", "", ""),
    ("named.service", SERVICE, "[Install]\nAlias=other.service\n"),
    ("ear.socket", "[Socket]\nListenStream=/run/ear\nAccept=yes\n", "[Install]\nWantedBy=sockets.target\n"),
    ("ear@.service", "[Service]\nExecStart=true\n", ""),
];
/// Links beside them: what they are called, and where they lead.
const LINKS: [(&str, &str); 5] = [
    ("timers.target.wants/on.timer", "../on.timer"),
    ("multi-user.target.wants/on.service", "../on.service"),
    ("sockets.target.wants/ear.socket", "../ear.socket"),
    ("other.service", "named.service"),
    ("man-db.timer", "/dev/null"),
];

/// A container that shares this machine's `/usr`.
struct Container {
    nspawn: Child,
    leader: String,
    _root: TempDir,
}

impl Container {
    /// None where no container can be; prints why.
    fn boot() -> Option<Self> {
        let namespaces = ["--mount", "--pid", "--cgroup", "--fork", "systemd-nspawn", "--version"];
        let can =
            Command::new("unshare").args(namespaces).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !can.is_ok_and(|status| status.success()) || !nix::unistd::geteuid().is_root() {
            println!("skipped: units under a real systemd (it needs root and the package systemd-container)");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        furnish(dir.path());
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "systemd-nspawn", "--quiet", "--boot", "--console=pipe"]);
        command.args(["--register=no", "--keep-unit", "--private-network", "--bind-ro=/usr", "--directory"]);
        command.arg(dir.path()).args(["--", "--unit=multi-user.target"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut container = Self { nspawn: command.spawn().unwrap(), leader: String::new(), _root: dir };
        let pid = container.nspawn.id();
        container.leader = within("process 1", || {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
            let child = children.split_whitespace().next()?.to_owned();
            let status = fs::read_to_string(format!("/proc/{child}/status")).ok()?;
            let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
            numbers.ends_with("\t1").then_some(child)
        });
        within("the boot", || {
            let state = container.systemctl(&["is-system-running"]);
            ["running", "degraded"].contains(&state.trim()).then_some(())
        });
        Some(container)
    }

    /// What `systemctl` prints in there.
    fn systemctl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("nsenter");
        command.args(["--all", "--target", &self.leader, "systemctl"]).args(arguments);
        String::from_utf8(command.env("LC_ALL", "C").output().unwrap().stdout).unwrap()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // Killed, its process 1 takes everything else with it.
        if let Ok(leader) = self.leader.parse() {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(leader), nix::sys::signal::SIGKILL);
        }
        let _ = self.nspawn.kill();
        let _ = self.nspawn.wait();
    }
}

/// Puts into a root what a boot needs.
fn furnish(root: &Path) {
    let units = root.join("etc/systemd/system");
    for (name, text, install) in UNITS {
        fs::create_dir_all(&units).unwrap();
        fs::write(units.join(name), format!("{text}{install}")).unwrap();
    }
    for (name, target) in LINKS {
        let path = units.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }
    fs::copy("/etc/os-release", root.join("etc/os-release")).unwrap();
    // With an identity, this is no first boot, and nothing is enabled that is not enabled here.
    fs::write(root.join("etc/machine-id"), "0123456789abcdef0123456789abcdef\n").unwrap();
    for name in ["bin", "sbin", "lib", "lib64"] {
        symlink(Path::new("usr").join(name), root.join(name)).unwrap();
    }
}

fn within<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "{what} did not happen within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn of_files(host: &Live, name: &str) -> Option<String> {
    place::get(host, &Place::Unit { name: name.into() }).unwrap()
}

#[test]
fn files_tell_of_units_what_systemd_tells() {
    let Some(container) = Container::boot() else { return };
    let host = Live::new(Path::new(&format!("/proc/{}/root", container.leader))).unwrap();
    every_unit_is_told_alike(&container, &host);
    for (name, state) in [
        ("on.timer", "enabled unknown"),
        ("off.timer", "disabled unknown"),
        ("man-db.timer", "masked inactive"),
        ("on.service", "enabled active"),
        ("off.service", "indirect inactive"),
        ("empty.service", "masked inactive"),
        ("named.service", "enabled inactive"),
        ("other.service", "enabled inactive"),
        ("ear.socket", "enabled unknown"),
    ] {
        assert_eq!(of_files(&host, name).as_deref(), Some(state), "{name}");
    }
    assert_eq!(of_files(&host, "no-such.service"), None);
    container.systemctl(&["stop", "on.service"]);
    container.systemctl(&["mask", "--runtime", "fstrim.timer"]);
    container.systemctl(&["enable", "--runtime", "off.timer"]);
    assert_eq!(of_files(&host, "on.service").as_deref(), Some("enabled inactive"));
    assert_eq!(of_files(&host, "off.timer").as_deref(), Some("enabled-runtime unknown"));
    assert_eq!(of_files(&host, "fstrim.timer").as_deref(), Some("masked-runtime inactive"));
}

/// The container as a host: its files as they are, its programs run in it.
struct Inside<'a>(&'a Container, Live);

impl Host for Inside<'_> {
    fn read(&self, path: &Path) -> Result<String, HostError> {
        self.1.read(path)
    }
    fn list(&self, path: &Path) -> Result<Vec<String>, HostError> {
        self.1.list(path)
    }
    fn link(&self, path: &Path) -> Result<PathBuf, HostError> {
        self.1.link(path)
    }
    fn mode(&self, path: &Path) -> Result<u32, HostError> {
        self.1.mode(path)
    }
    fn write(&self, path: &Path, text: &str) -> Result<(), HostError> {
        self.1.write(path, text)
    }
    fn replace(&self, path: &Path, text: &str, mode: u32) -> Result<(), HostError> {
        self.1.replace(path, text, mode)
    }
    fn remove(&self, path: &Path) -> Result<(), HostError> {
        self.1.remove(path)
    }
    fn append(&self, path: &Path, text: &str) -> Result<(), HostError> {
        self.1.append(path, text)
    }
    fn lock(&self, path: &Path) -> Result<Lock, HostError> {
        self.1.lock(path)
    }
    fn run(&self, program: &str, arguments: &[&str]) -> Result<String, HostError> {
        let mut command = Command::new("nsenter");
        command.args(["--all", "--target", &self.0.leader, program]).args(arguments).env("LC_ALL", "C");
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout).unwrap()),
            false => Err(HostError::new(Path::new(program), HostErrorKind::Failed, said)),
        }
    }
}

#[test]
fn units_are_set_and_undone() {
    let Some(container) = Container::boot() else { return };
    let root = format!("/proc/{}/root", container.leader);
    let host = Inside(&container, Live::new(Path::new(&root)).unwrap());
    container.systemctl(&["mask", "--runtime", "apt-daily.timer", "apt-daily-upgrade.timer"]);
    container.systemctl(&["enable", "--runtime", "off.timer"]);
    let unit = |name: &str| Place::Unit { name: name.into() };
    let exactly = |name: &str| place::get_exactly(&host, &unit(name)).unwrap();
    assert_eq!(exactly("no-such.service"), None);
    // It has no file.
    assert_eq!(exactly("init.scope").as_deref(), Some("static active"));
    for (name, before, target) in [
        ("fstrim.timer", "disabled inactive", "masked inactive"),
        ("apt-daily.timer", "masked-runtime inactive", "masked inactive"),
        ("apt-daily-upgrade.timer", "masked-runtime inactive", "disabled inactive"),
        ("man-db.timer", "masked inactive", "enabled active"),
        ("on.timer", "enabled active", "disabled inactive"),
        ("off.timer", "enabled-runtime inactive", "disabled inactive"),
        ("systemd-timesyncd.service", "disabled inactive", "masked inactive"),
        ("dbus.service", "static active", "static active"),
        ("ear.socket", "enabled active", "disabled inactive"),
    ] {
        assert_eq!(exactly(name).as_deref(), Some(before), "{name}");
        for state in [target, before] {
            place::set(&host, &unit(name), Some(state)).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(exactly(name).as_deref(), Some(state), "{name}");
            let of_files = place::get(&host, &unit(name)).unwrap();
            assert!(unit(name).is_same(of_files.as_deref(), Some(state)), "{name}: {of_files:?}");
        }
    }
    // What files told of a timer is put back as a boot would have it.
    let timer = unit("man-db.timer");
    place::set(&host, &timer, Some("enabled active")).unwrap();
    let told = place::get(&host, &timer).unwrap();
    assert_eq!(told.as_deref(), Some("enabled unknown"));
    place::set(&host, &timer, Some("masked inactive")).unwrap();
    place::set(&host, &timer, told.as_deref()).unwrap();
    assert_eq!(exactly("man-db.timer").as_deref(), Some("enabled active"));
}

/// Compares all units but templates, which have no state of their own.
fn every_unit_is_told_alike(container: &Container, host: &Live) {
    let kinds = "--type=service,socket,timer,path";
    let listed = container.systemctl(&["list-unit-files", "--full", "--no-legend", kinds]);
    let names = listed.lines().filter_map(|line| line.split_whitespace().next());
    let names: Vec<_> = names.filter(|name| !name.contains("@.")).collect();
    assert!(names.len() > 30, "{listed}");
    let mut unknown = 0;
    for name in &names {
        let properties = container.systemctl(&["show", "--property=UnitFileState,ActiveState", name]);
        let of = |key: &str| properties.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let file = of("UnitFileState").filter(|state| !state.is_empty()).unwrap_or("static");
        let activity = if of("ActiveState") == Some("active") { "active" } else { "inactive" };
        let found = of_files(host, name).unwrap_or_else(|| panic!("{name} is not found"));
        let (own_file, own_activity) = found.split_once(' ').unwrap();
        assert_eq!(own_file, file, "{name}");
        let is_unknown = own_activity == "unknown";
        assert!(own_activity == activity || is_unknown && !name.ends_with(".service"), "{name}: {found}");
        unknown += u32::from(is_unknown);
    }
    println!("{} units, of which {unknown} leave no trace", names.len());
}
