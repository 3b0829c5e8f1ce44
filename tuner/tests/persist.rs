//! What is applied comes back: the files say what was meant, and replay writes what differs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tuner::audit::{Finding, Status};
use tuner::facts::{Facts, Loader};
use tuner::host::{Host, HostError, HostErrorKind, Live, Lock, NicItem};
use tuner::knob::{Persist, Phase};
use tuner::persist::{Desired, Replayed, replay};
use tuner::place::{self, Form, Place};
use tuner::plan::{self, Hook, Options, Plan};
use tuner::profile::Profile;

const PROGRAM: &str = "/usr/local/bin/tuner";
const SYSCTL: &str = "/etc/sysctl.d/99-zz-tuner.conf";
const RULES: &str = "/etc/udev/rules.d/99-zz-tuner.rules";
const UNIT: &str = "/etc/systemd/system/tuner.service";
const WANTS: &str = "/etc/systemd/system/basic.target.d/50-tuner.conf";

fn drifting(place: Place, persist: Persist, from: &str, to: &str) -> Finding {
    Finding {
        knob: "some.knob",
        subject: String::new(),
        place: Some(place),
        status: Status::Drift,
        current: Some(from.into()),
        effective: None,
        wanted: Some(to.into()),
        target: Some(to.into()),
        phase: Phase::Sysctl,
        persist,
        note: None,
    }
}

fn sysctl(name: &str, from: &str, to: &str) -> Finding {
    drifting(Place::sysctl(name, Form::Number), Persist::Sysctl, from, to)
}

fn make(host: &Live, facts: &Facts, findings: &[Finding]) -> Plan {
    let options = Options { program: PROGRAM.into(), ..Options::default() };
    let profile = Profile::find("workstation-safe").unwrap();
    plan::make(host, facts, &profile, findings, &options).unwrap()
}

fn facts() -> Facts {
    Facts { is_systemd: true, ..Facts::default() }
}

fn host() -> (tempfile::TempDir, Live) {
    let folder = tempfile::tempdir().unwrap();
    let host = Live::new(folder.path()).unwrap();
    (folder, host)
}

/// Writes what a plan says; runtime places are made first, as the kernel has them.
fn apply(host: &Live, plan: &Plan) {
    for change in &plan.changes {
        if let (Place::Attribute { path, .. }, Some(from)) = (&change.place, &change.from) {
            host.replace(path, from, 0o644).unwrap();
        }
        place::set(host, &change.place, change.to.as_deref()).unwrap();
    }
}

fn text(host: &Live, path: &str) -> Option<String> {
    host.read(Path::new(path)).ok()
}

/// A file's lines without comments.
fn lines(host: &Live, path: &str) -> Vec<String> {
    let text = text(host, path).unwrap_or_default();
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn sysctls_are_written_so_that_they_mean_the_same_there() {
    let (_folder, host) = host();
    let attribute = |path: &str| Place::attribute(path, Form::Text);
    let findings = [
        sysctl("vm.swappiness", "60", "10"),
        drifting(attribute("/proc/sys/net/ipv4/conf/eth0.100/rp_filter"), Persist::Sysctl, "1", "0"),
        drifting(attribute("/proc/sys/kernel/printk"), Persist::Sysctl, "7", "4 4 1 7"),
        // None of these means the same in such a file.
        drifting(attribute("/proc/sys/net/ipv4/conf/a*b/rp_filter"), Persist::Sysctl, "1", "0"),
        drifting(attribute("/proc/sys/kernel/core_pattern"), Persist::Sysctl, "core", "a\nvm.swappiness = 1"),
        drifting(
            attribute("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"),
            Persist::Sysctl,
            "0",
            "8",
        ),
        drifting(attribute("/proc/sys/kernel/numa_balancing"), Persist::Unit, "1", "0"),
    ];
    let plan = make(&host, &facts(), &findings);
    assert_eq!(plan.hooks, [Hook::ReloadSystemd]);
    apply(&host, &plan);
    let expected =
        ["-vm.swappiness = 10", "-net/ipv4/conf/eth0.100/rp_filter = 0", "-kernel.printk = 4 4 1 7"];
    assert_eq!(lines(&host, SYSCTL), expected);
    // All the same, the boot unit brings back all of them.
    assert_eq!(Desired::read(&host).unwrap().settings.len(), findings.len());
}

#[test]
fn systemd_sets_what_the_file_says() {
    let (folder, host) = host();
    let of_loopback = |name: &str| format!("net.ipv4.conf.lo.{name}");
    let findings = [
        sysctl("net.ipv4.no_such", "0", "1"),
        sysctl(&of_loopback("rp_filter"), "0", "2"),
        sysctl(&of_loopback("arp_filter"), "0", "1"),
    ];
    apply(&host, &make(&host, &facts(), &findings));
    // In a network of its own: its sysctls are nobody else's.
    let script =
        "/lib/systemd/systemd-sysctl \"$0\" && cd /proc/sys/net/ipv4/conf/lo && cat rp_filter arp_filter";
    let file = folder.path().join(SYSCTL.trim_start_matches('/'));
    let told = Command::new("unshare")
        .args([
            "--map-root-user",
            "--net",
            "sh",
            "-c",
            "test -x /lib/systemd/systemd-sysctl && cat /proc/sys/net/ipv4/conf/lo/rp_filter",
        ])
        .output();
    if !told.is_ok_and(|output| output.status.success()) {
        return eprintln!("skipped: there is no systemd-sysctl here, or no network of one's own");
    }
    let told =
        Command::new("unshare").args(["--map-root-user", "--net", "sh", "-c", script]).arg(file).output();
    let told = told.unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    assert_eq!(String::from_utf8_lossy(&told.stdout), "2\n1\n");
}

#[test]
fn devices_get_rules_and_what_udev_cannot_write_gets_a_run() {
    let (_folder, host) = host();
    let queue = |disk: &str| Place::attribute(format!("/sys/block/{disk}/queue/scheduler"), Form::Choice);
    let nic = |item| Place::Nic { interface: "eth0".into(), item };
    let gro = Place::attribute("/sys/class/net/eth0/gro_flush_timeout", Form::Number);
    let power = Place::attribute("/sys/bus/pci/devices/0000:01:00.0/power/control", Form::Text);
    let findings = [
        drifting(queue("nvme0n1"), Persist::Udev, "kyber", "none"),
        drifting(queue("cciss!c0d0"), Persist::Udev, "kyber", "a$b%c"),
        drifting(gro, Persist::Udev, "0", "20000"),
        drifting(power, Persist::Udev, "auto", "on"),
        // These would say something else to udev.
        drifting(queue("x*"), Persist::Udev, "kyber", "none"),
        drifting(queue("sda"), Persist::Udev, "kyber", "no\"ne"),
        drifting(queue("sdb"), Persist::Unit, "kyber", "none"),
        drifting(nic(NicItem::RxUsecs), Persist::Udev, "50", "0"),
        drifting(nic(NicItem::AdaptiveRx), Persist::Udev, "on", "off"),
    ];
    let plan = make(&host, &facts(), &findings);
    assert_eq!(plan.hooks, [Hook::ReloadSystemd, Hook::ReloadUdev]);
    for change in plan.changes.iter().filter(|change| matches!(change.place, Place::File { .. })) {
        place::set(&host, &change.place, change.to.as_deref()).unwrap();
    }
    let expected = [
        r#"ACTION=="add|change", SUBSYSTEM=="block", KERNEL=="nvme0n1", ATTR{queue/scheduler}="none""#,
        r#"ACTION=="add|change", SUBSYSTEM=="block", KERNEL=="cciss/c0d0", ATTR{queue/scheduler}="a$$b%%c""#,
        r#"ACTION=="add|move", SUBSYSTEM=="net", KERNEL=="eth0", ATTR{gro_flush_timeout}="20000""#,
        r#"ACTION=="add|bind", SUBSYSTEM=="pci", KERNEL=="0000:01:00.0", RUN+="/usr/local/bin/tuner replay --device 0000:01:00.0""#,
        r#"ACTION=="add|change", SUBSYSTEM=="block", KERNEL=="sda", RUN+="/usr/local/bin/tuner replay --device sda""#,
        r#"ACTION=="add|move", SUBSYSTEM=="net", KERNEL=="eth0", RUN+="/usr/local/bin/tuner replay --device eth0""#,
    ];
    assert_eq!(lines(&host, RULES), expected);
}

#[test]
fn the_boot_unit_is_one_that_systemd_takes_and_comes_before_services() {
    let (folder, host) = host();
    apply(&host, &make(&host, &facts(), &[sysctl("vm.swappiness", "60", "10")]));
    let unit = lines(&host, UNIT);
    assert!(unit.contains(&format!("ExecStart={PROGRAM} replay")));
    assert!(unit.iter().any(|line| line.starts_with("Before=") && line.contains("basic.target")));
    assert_eq!(lines(&host, WANTS), ["[Unit]", "Wants=tuner.service"]);
    // The program must be there for systemd to find no fault.
    let units = folder.path().join("units");
    fs::create_dir(&units).unwrap();
    let program = folder.path().join("tuner");
    fs::write(&program, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let text = text(&host, UNIT).unwrap().replace(PROGRAM, program.to_str().unwrap());
    fs::write(units.join("tuner.service"), text).unwrap();
    let asked = Command::new("systemd-analyze").arg("verify").arg(units.join("tuner.service")).output();
    let Ok(output) = asked else { return eprintln!("skipped: systemd-analyze is not here") };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("tuner.service"), "{said}");
}

#[test]
fn a_later_apply_forgets_nothing_and_follows_what_is_wished_now() {
    let (_folder, host) = host();
    apply(
        &host,
        &make(&host, &facts(), &[sysctl("vm.swappiness", "60", "10"), sysctl("vm.dirty_ratio", "20", "5")]),
    );
    let second =
        make(&host, &facts(), &[sysctl("vm.stat_interval", "1", "10"), sysctl("vm.swappiness", "10", "1")]);
    apply(&host, &second);
    let expected = ["-vm.swappiness = 1", "-vm.dirty_ratio = 5", "-vm.stat_interval = 10"];
    assert_eq!(lines(&host, SYSCTL), expected);
    // Set by hand meanwhile, and wished so now: nothing takes it back.
    let by_hand =
        Finding { status: Status::Ok, current: Some("7".into()), ..sysctl("vm.dirty_ratio", "7", "7") };
    let third = make(&host, &facts(), &[by_hand]);
    apply(&host, &third);
    assert_eq!(lines(&host, SYSCTL)[1], "-vm.dirty_ratio = 7");
    assert_eq!(make(&host, &facts(), &[]).changes, []);
}

#[test]
fn without_systemd_it_is_said_that_nothing_comes_back() {
    let (_folder, host) = host();
    let plan = make(&host, &Facts::default(), &[sysctl("vm.swappiness", "60", "10")]);
    assert_eq!(plan.changes.len(), 1);
    assert!(plan.notes.iter().any(|note| note.contains("do not survive a reboot")), "{:?}", plan.notes);
    assert!(make(&host, &facts(), &[sysctl("vm.swappiness", "60", "10")]).notes.is_empty());
}

#[test]
fn a_file_that_is_not_ours_is_not_replaced() {
    let (_folder, host) = host();
    host.replace(Path::new(SYSCTL), "vm.swappiness = 5\n", 0o644).unwrap();
    let plan = make(&host, &facts(), &[sysctl("vm.swappiness", "60", "10")]);
    assert!(plan.refusals.len() == 1 && plan.refusals[0].id == "foreign-file", "{:?}", plan.refusals);
    assert!(plan.refusals[0].why.contains(SYSCTL));
}

#[test]
fn a_program_whose_path_could_be_misread_is_not_put_into_units() {
    let (_folder, host) = host();
    let options = Options { program: "/home/a b/tuner".into(), ..Options::default() };
    let profile = Profile::find("workstation-safe").unwrap();
    let error = plan::make(&host, &facts(), &profile, &[sysctl("vm.swappiness", "60", "10")], &options);
    assert!(error.unwrap_err().to_string().contains("/home/a b/tuner"));
}

#[test]
fn unknown_boot_loaders_are_left_to_the_user() {
    let (_folder, host) = host();
    for (loader, where_to) in
        [(Loader::SystemdBoot, "/etc/kernel/cmdline"), (Loader::Unknown, "command line")]
    {
        let mut facts = facts();
        facts.boot.loader = loader;
        let finding = drifting(Place::parameter("nohz_full", Form::Cpus), Persist::Boot, "", "2-3");
        let plan = make(&host, &facts, &[finding]);
        assert!(plan.changes.is_empty() && plan.parameters.is_empty() && plan.boot.is_none());
        assert!(plan.notes.len() == 1 && plan.notes[0].contains("nohz_full=2-3"), "{:?}", plan.notes);
        assert!(plan.notes[0].contains(where_to));
    }
}

#[test]
fn replay_writes_what_differs_and_tells_the_rest() {
    let (_folder, host) = host();
    let scheduler = Place::attribute("/sys/block/sda/queue/nomerges", Form::Number);
    let findings = [
        sysctl("vm.swappiness", "60", "10"),
        sysctl("vm.dirty_ratio", "20", "5"),
        drifting(scheduler.clone(), Persist::Udev, "0", "2"),
        drifting(Place::attribute("/sys/block/sdb/queue/nomerges", Form::Number), Persist::Udev, "0", "2"),
        Finding {
            wanted: Some(">= 8".into()),
            ..drifting(Place::attribute("/sys/kernel/mm/pages", Form::Number), Persist::Unit, "0", "8")
        },
    ];
    apply(&host, &make(&host, &facts(), &findings));
    // Another boot: one is as it is to be, one has more, one disk is gone.
    let set = |path: &str, text: &str| host.replace(Path::new(path), text, 0o644).unwrap();
    set("/proc/sys/vm/dirty_ratio", "20\n");
    set("/sys/block/sda/queue/nomerges", "0\n");
    set("/sys/kernel/mm/pages", "9\n");
    host.remove(Path::new("/sys/block/sdb/queue/nomerges")).unwrap();
    let only = replay(&host, Some("sda")).unwrap();
    assert_eq!((only.kept, only.written.len(), only.absent.len(), only.failed.len()), (0, 1, 0, 0));
    assert_eq!(place::get(&host, &scheduler).unwrap().as_deref(), Some("2"));
    let all = replay(&host, None).unwrap();
    assert_eq!((all.kept, all.written.len(), all.absent.len(), all.failed.len()), (3, 1, 1, 0), "{all:?}");
    assert!(all.written[0].contains("dirty_ratio") && all.absent[0].contains("sdb"));
    assert_eq!(text(&host, "/sys/kernel/mm/pages").unwrap(), "9\n");
}

/// A host whose kernel refuses a least clock above the highest.
struct Clocks(Live);

impl Host for Clocks {
    fn read(&self, path: &Path) -> Result<String, HostError> {
        self.0.read(path)
    }
    fn list(&self, path: &Path) -> Result<Vec<String>, HostError> {
        self.0.list(path)
    }
    fn link(&self, path: &Path) -> Result<PathBuf, HostError> {
        self.0.link(path)
    }
    fn mode(&self, path: &Path) -> Result<u32, HostError> {
        self.0.mode(path)
    }
    fn write(&self, path: &Path, text: &str) -> Result<(), HostError> {
        let highest = self.0.read(&path.with_file_name("scaling_max_freq"))?;
        let (highest, new): (u32, u32) = (highest.trim().parse().unwrap(), text.parse().unwrap());
        match path.ends_with("scaling_min_freq") && new > highest {
            true => Err(HostError::new(path, HostErrorKind::Invalid, "Invalid argument")),
            false => self.0.write(path, text),
        }
    }
    fn replace(&self, path: &Path, text: &str, mode: u32) -> Result<(), HostError> {
        self.0.replace(path, text, mode)
    }
    fn remove(&self, path: &Path) -> Result<(), HostError> {
        self.0.remove(path)
    }
    fn append(&self, path: &Path, text: &str) -> Result<(), HostError> {
        self.0.append(path, text)
    }
    fn lock(&self, path: &Path) -> Result<Lock, HostError> {
        self.0.lock(path)
    }
    fn run(&self, program: &str, arguments: &[&str]) -> Result<String, HostError> {
        self.0.run(program, arguments)
    }
}

#[test]
fn what_waits_for_something_after_it_is_tried_again() {
    let (_folder, host) = host();
    let clock = |name: &str| Place::attribute(format!("/sys/cpu/{name}"), Form::Number);
    let findings = [
        drifting(clock("scaling_min_freq"), Persist::Unit, "1000", "3000"),
        drifting(clock("scaling_max_freq"), Persist::Unit, "2000", "3000"),
    ];
    apply(&host, &make(&host, &facts(), &findings));
    for (name, text) in [("scaling_min_freq", "1000\n"), ("scaling_max_freq", "2000\n")] {
        host.replace(&Path::new("/sys/cpu").join(name), text, 0o644).unwrap();
    }
    let replayed = replay(&Clocks(host), None).unwrap();
    assert_eq!((replayed.written.len(), replayed.failed.len()), (2, 0), "{replayed:?}");
}

#[test]
fn an_interrupt_is_found_by_its_name_in_another_boot() {
    let (_folder, host) = host();
    let set = |path: &str, text: &str| host.replace(Path::new(path), text, 0o644).unwrap();
    let affinity = |number: u32| format!("/proc/irq/{number}/smp_affinity_list");
    let place = Place::attribute(affinity(24), Form::Cpus);
    let finding =
        Finding { subject: "irq 24 (eth0-rx-0)".into(), ..drifting(place, Persist::Unit, "0-7", "0-1") };
    apply(&host, &make(&host, &facts(), &[finding]));
    // Now 24 is a disk's, and the card has 31.
    set(&affinity(24), "0-7\n");
    set(&affinity(31), "0-7\n");
    set("/sys/kernel/irq/24/actions", "nvme0q1\n");
    set("/sys/kernel/irq/31/actions", "eth0-rx-0\n");
    assert_eq!(replay(&host, None).unwrap().written.len(), 1);
    assert_eq!(
        (text(&host, &affinity(24)).unwrap().trim(), text(&host, &affinity(31)).unwrap().trim()),
        ("0-7", "0-1")
    );
    set("/sys/kernel/irq/31/actions", "\n");
    // The disk's is found well where the card's was. That says nothing of the card.
    let well = Finding {
        status: Status::Ok,
        subject: "irq 24 (nvme0q1)".into(),
        current: Some("0-7".into()),
        ..drifting(Place::attribute(affinity(24), Form::Cpus), Persist::Unit, "0-7", "0-7")
    };
    assert_eq!(make(&host, &facts(), &[well]).changes, []);
    let gone = replay(&host, None).unwrap();
    assert_eq!((gone.written.len(), gone.absent.len()), (0, 1), "{gone:?}");
}

#[test]
fn a_record_that_is_damaged_is_not_taken_for_none() {
    let (_folder, host) = host();
    assert_eq!(replay(&host, None).unwrap(), Replayed::default());
    for text in ["{", "{\"schema_version\":99,\"settings\":[],\"parameters\":[],\"kernel\":null}"] {
        host.replace(Path::new(Desired::PATH), text, 0o600).unwrap();
        assert!(replay(&host, None).unwrap_err().to_string().contains(Desired::PATH));
    }
}
