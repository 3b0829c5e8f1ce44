//! Kernel parameters, from the plan to a menu that the real GRUB tools made, to a boot, and back.

mod grub;

use grub::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tuner::audit::Finding;
use tuner::boot::{self, BootError, DROP_IN, NextBoot, TRIAL_ENTRY, TRIAL_SCRIPT, Trial};
use tuner::facts::Facts;
use tuner::host::{Host, HostError, HostErrorKind, Live, Lock};
use tuner::persist::{Engine, Verdict, reconcile};
use tuner::place::{self, Place};
use tuner::plan::{self, Options, Parameter, Plan};

fn parameter(key: &str, value: &str) -> Parameter {
    Parameter { knob: "boot.x".into(), key: key.into(), value: value.into(), from: None }
}

fn for_good(parameters: &[Parameter]) -> NextBoot {
    NextBoot { is_trial: false, parameters: parameters.to_vec(), kernel: None }
}

fn make(host: &Live, findings: &[Finding], options: &Options) -> Plan {
    plan::make(host, &facts(), &profile(), findings, options).unwrap()
}

/// Applies a plan and looks whether GRUB made of it what it should be.
fn apply(host: &Live, engine: &Plain, plan: &Plan) {
    assert_eq!(plan.refusals, []);
    engine.apply(host, plan).unwrap();
    boot::check(host, plan.boot.as_ref().unwrap()).unwrap();
}

#[test]
fn the_drop_in_adds_exactly_its_words_whatever_the_neighbours_are() {
    let Some((_folder, host)) = host() else { return };
    let before = words(&host, None);
    assert!(before.ends_with(&["console=tty1".into(), "console=ttyS0".into()]), "{before:?}");
    let ours = [
        parameter("isolcpus", "managed_irq,domain,2-3"),
        parameter("nosoftlockup", ""),
        parameter("dyndbg", "file a.c +p; $HOME `id`"),
        parameter("rcu_nocbs", "2-3"),
    ];
    host.replace(Path::new(DROP_IN), &boot::drop_in(&ours, None).unwrap(), 0o644).unwrap();
    boot::update(&host).unwrap();
    boot::check(&host, &for_good(&ours)).unwrap();
    let expected: Vec<_> = before.iter().cloned().chain(ours.iter().map(Parameter::word)).collect();
    assert_eq!(words(&host, None), expected);
    // The entry for recovery is the way out, and stays as it is.
    let recovery = boot::menu(&host).unwrap();
    let recovery = recovery.entries().into_iter().find(|found| found.path.contains("recovery")).unwrap().path;
    assert!(!words(&host, Some(&recovery)).iter().any(|word| word.starts_with("isolcpus")));
}

#[test]
fn a_drop_in_that_the_shell_reads_otherwise_is_found_out() {
    let Some((_folder, host)) = host() else { return };
    let ours = [parameter("isolcpus", "2-3"), parameter("rcu_nocbs", "2-3")];
    let good = boot::drop_in(&ours, None).unwrap();
    // What a program wrote that meant the end of the line: a backslash and an n.
    let literal = good.replace("rcu_nocbs=2-3\"", "rcu_nocbs=2-3\\n\"");
    assert_ne!(literal, good);
    let twice = good.replace("isolcpus=2-3", "isolcpus=2-3 isolcpus=2-3");
    for text in [literal, twice, "isolcpus=2-3 rcu_nocbs=2-3\n".into()] {
        host.replace(Path::new(DROP_IN), &text, 0o644).unwrap();
        boot::update(&host).unwrap();
        let found = boot::check(&host, &for_good(&ours));
        assert!(matches!(found, Err(BootError::Sourced { .. })), "{text}: {found:?}");
    }
    // Well written, but somebody is sorted even later and forgets it.
    host.replace(Path::new(DROP_IN), &good, 0o644).unwrap();
    host.replace(Path::new("/etc/default/grub.d/zzz.cfg"), "GRUB_CMDLINE_LINUX_DEFAULT=quiet\n", 0o644)
        .unwrap();
    boot::update(&host).unwrap();
    assert!(matches!(boot::check(&host, &for_good(&ours)), Err(BootError::Sourced { .. })));
}

#[test]
fn a_menu_that_was_not_made_again_is_found_out() {
    let Some((_folder, host)) = host() else { return };
    let ours = [parameter("isolcpus", "2-3")];
    host.replace(Path::new(DROP_IN), &boot::drop_in(&ours, None).unwrap(), 0o644).unwrap();
    let found = boot::check(&host, &for_good(&ours));
    assert!(
        matches!(&found, Err(BootError::Generated { what, .. }) if what.contains("does not have")),
        "{found:?}"
    );
    // And one that GRUB cannot read.
    boot::update(&host).unwrap();
    host.append(Path::new(boot::GRUB_CFG), "menuentry 'half\n").unwrap();
    assert!(matches!(boot::check(&host, &for_good(&ours)), Err(BootError::Host(_))));
}

#[test]
fn a_trial_boots_the_same_kernel_with_our_words_and_leaves_the_default_alone() {
    let Some((folder, host)) = host() else { return };
    let before = tree(folder.path());
    let default = words(&host, None);
    let engine = Plain::default();
    let plan = make(&host, &[lacking("isolcpus", "domain,2-3"), lacking("skew_tick", "1")], &options());
    apply(&host, &engine, &plan);
    assert!(plan.boot.as_ref().unwrap().is_trial);
    assert_eq!(words(&host, None), default);
    let trial = Trial::read(&host).unwrap().unwrap();
    let added = ["isolcpus=domain,2-3", "skew_tick=1", "panic=10", &format!("tuner.trial={}", trial.id)];
    let expected: Vec<_> = default.iter().cloned().chain(added.map(str::to_owned)).collect();
    assert_eq!(words(&host, Some(TRIAL_ENTRY)), expected);
    let menu = boot::menu(&host).unwrap();
    let of = |path: &str| menu.find(path).unwrap().entry.clone();
    assert_eq!(of(TRIAL_ENTRY).release(), of("0").release());
    assert_eq!(of(TRIAL_ENTRY).lines.len(), of("0").lines.len());
    assert_eq!(place::get(&host, &Place::NextBoot).unwrap().as_deref(), Some(TRIAL_ENTRY));
    // Made again, the plan has nothing to do; taken back, nothing is left.
    assert_eq!(
        make(&host, &[lacking("isolcpus", "domain,2-3"), lacking("skew_tick", "1")], &options()).changes,
        []
    );
    engine.roll_back(&host).unwrap();
    assert_eq!(tree(folder.path()), before);
}

#[test]
fn the_trial_is_judged_once_the_host_is_up() {
    let Some((folder, host)) = host() else { return };
    apply(&host, &Plain::default(), &make(&host, &[lacking("skew_tick", "1")], &options()));
    let units = folder.path().join("etc/systemd/system");
    let text = fs::read_to_string(units.join("tuner-trial.service")).unwrap();
    assert!(text.lines().any(|line| line == format!("ExecStart={PROGRAM} replay --judge")));
    assert!(text.lines().any(|line| line.starts_with("After=") && line.contains("multi-user.target")));
    let wants = fs::read_to_string(units.join("multi-user.target.d/50-tuner-trial.conf")).unwrap();
    assert!(wants.ends_with("[Unit]\nWants=tuner-trial.service\n"));
    // A program that is there, or systemd finds that fault.
    fs::write(units.join("tuner-trial.service"), text.replace(PROGRAM, "/bin/true")).unwrap();
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "multi-user.target"]).env("SYSTEMD_UNIT_PATH", format!("{}:", units.display()));
    let Ok(output) = verify.output() else { return eprintln!("skipped: systemd-analyze is not here") };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("tuner"), "{said}");
}

/// A host whose trial was booted, as the kernel would show it.
fn tried(host: &Live, engine: &Plain, findings: &[Finding]) {
    apply(host, engine, &make(host, findings, &options()));
    assert_eq!(reconcile(host, engine).unwrap(), Verdict::Nothing, "it has not been booted yet");
    boots(host, "boot-2", &words(host, Some(TRIAL_ENTRY)).join(" "), STOCK);
    // As GRUB does it.
    host.run("grub-editenv", &["-", "set", "next_entry="]).unwrap();
}

fn isolates(host: &Live, cpus: &str) {
    host.replace(Path::new("/sys/devices/system/cpu/isolated"), cpus, 0o644).unwrap();
}

/// What is no file of the tuner's own, and so must be as before after all is taken back.
fn others(root: &Path) -> std::collections::BTreeMap<std::path::PathBuf, (u32, Vec<u8>)> {
    let mut files = tree(root);
    files.retain(|path, _| {
        !path.starts_with("var/lib/tuner") && !path.starts_with("sys") && !path.ends_with("grubenv")
    });
    files
}

#[test]
fn what_proved_itself_is_promoted_and_reverting_leaves_nothing() {
    let Some((folder, host)) = host() else { return };
    // The user's own line, which is nobody else's to take.
    let own = "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n# mine\nGRUB_CMDLINE_LINUX=\"isolcpus=1\"\n";
    host.replace(Path::new("/etc/default/grub"), own, 0o644).unwrap();
    boot::update(&host).unwrap();
    let (before, default) = (others(folder.path()), words(&host, None));
    let engine = Plain::default();
    let findings = [lacking("nohz_full", "2-3"), lacking("isolcpus", "domain,2-3")];
    let noted = make(&host, &findings, &options()).notes;
    assert!(
        noted.iter().any(|note| note.contains("'isolcpus=1'") && note.contains("/etc/default/grub")),
        "{noted:?}"
    );
    tried(&host, &engine, &findings);
    isolates(&host, "2-3\n");
    host.replace(Path::new("/sys/devices/system/cpu/nohz_full"), "2,3\n", 0o644).unwrap();
    assert_eq!(reconcile(&host, &engine).unwrap(), Verdict::Promoted);
    let ours = ["nohz_full=2-3", "isolcpus=domain,2-3"].map(str::to_owned);
    assert_eq!(words(&host, None), [default.clone(), ours.to_vec()].concat());
    assert!(boot::menu(&host).unwrap().find(TRIAL_ENTRY).is_none());
    assert_eq!(host.read(Path::new(TRIAL_SCRIPT)).ok(), None);
    assert_eq!(reconcile(&host, &engine).unwrap(), Verdict::Nothing);
    engine.roll_back(&host).unwrap();
    assert_eq!(others(folder.path()), before);
    assert_eq!(words(&host, None), default);
}

#[test]
fn what_the_kernel_ignored_is_named_and_taken_back_with_one_reboot() {
    let Some((folder, host)) = host() else { return };
    let before = others(folder.path());
    let engine = Plain::default();
    tried(&host, &engine, &[lacking("isolcpus", "domain,2-3")]);
    // The kernel was built without it: the parameter is there, its effect is not.
    isolates(&host, "\n");
    let kept = fs::read(folder.path().join("var/lib/tuner/trial.json")).unwrap();
    let Verdict::Missed { missed, reboots, left } = reconcile(&host, &engine).unwrap() else { panic!() };
    assert!(
        missed.len() == 1 && missed[0].starts_with("boot.x: /sys/devices/system/cpu/isolated"),
        "{missed:?}"
    );
    assert!(reboots && left.is_none());
    let told = || fs::read_to_string(folder.path().join("systemctl")).unwrap_or_default();
    assert_eq!(told(), "--no-block reboot\n");
    assert_eq!(others(folder.path()), before);
    // Even if the record of the trial came back from somewhere, there is no second time.
    fs::write(folder.path().join("var/lib/tuner/trial.json"), kept).unwrap();
    let again = reconcile(&host, &engine).unwrap();
    assert!(matches!(again, Verdict::Missed { reboots: false, .. }), "{again:?}");
    assert_eq!(told(), "--no-block reboot\n");
}

#[test]
fn a_trial_that_did_not_come_up_is_taken_back_without_a_reboot() {
    let Some((folder, host)) = host() else { return };
    let before = others(folder.path());
    let engine = Plain::default();
    apply(&host, &engine, &make(&host, &[lacking("isolcpus", "2-3")], &options()));
    host.run("grub-editenv", &["-", "set", "next_entry="]).unwrap();
    boots(&host, "boot-2", &words(&host, None).join(" "), STOCK);
    assert_eq!(reconcile(&host, &engine).unwrap(), Verdict::DidNotBoot { left: None });
    assert_eq!(others(folder.path()), before);
    assert!(!folder.path().join("systemctl").exists());
}

#[test]
fn a_real_time_kernel_is_tried_and_then_pinned_though_a_stock_one_is_sorted_first() {
    let Some((folder, host)) = host() else { return };
    let before = others(folder.path());
    let engine = Plain::default();
    let mut wish = lacking("", "");
    (wish.knob, wish.place, wish.wanted, wish.target) = ("kern.rt", None, Some("1".into()), Some("1".into()));
    let plan = make(&host, &[wish, lacking("skew_tick", "1")], &options());
    apply(&host, &engine, &plan);
    let menu = boot::menu(&host).unwrap();
    assert_eq!(menu.find(TRIAL_ENTRY).unwrap().entry.release(), Some(RT));
    assert_eq!(boot::default_entry(&host, &menu).unwrap().entry.release(), Some(STOCK));
    boots(&host, "boot-2", &words(&host, Some(TRIAL_ENTRY)).join(" "), RT);
    assert_eq!(reconcile(&host, &engine).unwrap(), Verdict::Promoted);
    let menu = boot::menu(&host).unwrap();
    assert_eq!(boot::default_entry(&host, &menu).unwrap().entry.release(), Some(RT));
    host.run("grub-editenv", &["-", "set", "next_entry="]).unwrap();
    engine.roll_back(&host).unwrap();
    assert_eq!(others(folder.path()), before);
}

#[test]
fn a_later_apply_keeps_what_an_earlier_one_set() {
    let Some((_folder, host)) = host() else { return };
    let engine = Plain::default();
    let default = words(&host, None);
    let at_once = Options { no_trial: true, ..options() };
    apply(&host, &engine, &make(&host, &[lacking("isolcpus", "2-3"), lacking("skew_tick", "1")], &at_once));
    // The first is as it is wished now, so the second plan does not name it.
    let plan = make(&host, &[lacking("nohz_full", "2-3"), lacking("skew_tick", "0")], &options());
    apply(&host, &engine, &plan);
    let trial = words(&host, Some(TRIAL_ENTRY));
    let ours = ["isolcpus=2-3", "skew_tick=0", "nohz_full=2-3"].map(str::to_owned);
    assert_eq!(trial[..trial.len() - 2], [default.clone(), ours.to_vec()].concat());
    // Set at once after all: the trial is gone with what would have judged it.
    let plan = make(&host, &[lacking("irqaffinity", "0-1")], &at_once);
    apply(&host, &engine, &plan);
    assert!(boot::menu(&host).unwrap().find(TRIAL_ENTRY).is_none());
    assert_eq!(Trial::read(&host).unwrap(), None);
    assert_eq!(place::get(&host, &Place::NextBoot).unwrap(), None);
    let now = words(&host, None);
    assert_eq!(now.last().unwrap(), "irqaffinity=0-1");
    assert_eq!(now.iter().filter(|word| word.starts_with("isolcpus")).count(), 1);
}

#[test]
fn what_somebody_took_out_is_set_again_and_a_trial_may_be_cut_short() {
    let Some((_folder, host)) = host() else { return };
    let engine = Plain::default();
    let at_once = Options { no_trial: true, ..options() };
    let findings = [lacking("skew_tick", "1")];
    apply(&host, &engine, &make(&host, &findings, &options()));
    let again = make(&host, &findings, &options());
    assert!(again.changes.is_empty() && again.boot.is_none(), "its trial is armed: {again:?}");
    apply(&host, &engine, &make(&host, &findings, &at_once));
    assert_eq!(words(&host, None).last().unwrap(), "skew_tick=1");
    assert_eq!(make(&host, &findings, &at_once).changes, []);
    host.remove(Path::new(DROP_IN)).unwrap();
    boot::update(&host).unwrap();
    apply(&host, &engine, &make(&host, &findings, &at_once));
    assert_eq!(words(&host, None).last().unwrap(), "skew_tick=1");
}

#[test]
fn a_value_that_is_missing_or_too_much_makes_no_plan() {
    let Some((folder, host)) = host() else { return };
    let before = tree(folder.path());
    let plan = |key, value: &str| plan::make(&host, &facts(), &profile(), &[lacking(key, value)], &options());
    assert!(plan("isolcpus", "").unwrap_err().to_string().contains("'isolcpus' is nothing without a value"));
    assert!(plan("a", &"b".repeat(2000)).unwrap_err().to_string().contains("2047"));
    assert!(plan("a", "b\\n").is_err());
    assert_eq!(tree(folder.path()), before);
}

#[test]
fn a_menu_that_only_root_reads_is_said_to_be_unread() {
    struct Unprivileged<'a>(&'a Live);
    impl Host for Unprivileged<'_> {
        fn read(&self, path: &Path) -> Result<String, HostError> {
            match path == Path::new(boot::GRUB_CFG) {
                true => Err(HostError::new(path, HostErrorKind::Denied, "Permission denied")),
                false => self.0.read(path),
            }
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
        fn write(&self, path: &Path, _: &str) -> Result<(), HostError> {
            panic!("{}", path.display())
        }
        fn replace(&self, path: &Path, _: &str, _: u32) -> Result<(), HostError> {
            panic!("{}", path.display())
        }
        fn remove(&self, path: &Path) -> Result<(), HostError> {
            panic!("{}", path.display())
        }
        fn append(&self, path: &Path, _: &str) -> Result<(), HostError> {
            panic!("{}", path.display())
        }
        fn lock(&self, path: &Path) -> Result<Lock, HostError> {
            panic!("{}", path.display())
        }
        fn run(&self, program: &str, _: &[&str]) -> Result<String, HostError> {
            panic!("{program}")
        }
    }
    let Some((_folder, host)) = host() else { return };
    // Making a plan runs and writes nothing, with or without the menu.
    let findings = [lacking("skew_tick", "1")];
    let plan = plan::make(&Unprivileged(&host), &facts(), &profile(), &findings, &options()).unwrap();
    assert!(plan.refusals.len() == 1 && plan.refusals[0].id == "unread-menu", "{:?}", plan.refusals);
    assert!(plan.boot.is_none() && plan.changes.is_empty() && plan.parameters.len() == 1);
}

#[test]
fn without_systemd_parameters_are_set_at_once_and_kept_in_mind() {
    let Some((_folder, host)) = host() else { return };
    let engine = Plain::default();
    let bare = Facts { is_systemd: false, ..facts() };
    let at_once = Options { no_trial: true, ..options() };
    let make =
        |key, options: &Options| plan::make(&host, &bare, &profile(), &[lacking(key, "1")], options).unwrap();
    let refused = make("skew_tick", &options()).refusals;
    assert!(
        refused.len() == 1 && refused[0].id == "trial" && refused[0].why.contains("systemd"),
        "{refused:?}"
    );
    apply(&host, &engine, &make("skew_tick", &at_once));
    apply(&host, &engine, &make("nosmt", &at_once));
    assert!(words(&host, None).ends_with(&["skew_tick=1".into(), "nosmt=1".into()]));
}

#[test]
fn what_the_host_sets_itself_is_not_set_twice() {
    let Some((_folder, host)) = host() else { return };
    host.replace(Path::new("/etc/default/grub.d/60-own.cfg"), "GRUB_CMDLINE_LINUX=\"skew_tick=1\"\n", 0o644)
        .unwrap();
    boot::update(&host).unwrap();
    let plan = make(&host, &[lacking("skew_tick", "1")], &options());
    assert!(plan.changes.is_empty() && plan.boot.is_none(), "{plan:?}");
}

#[test]
fn a_trial_is_refused_where_grub_cannot_take_it_back() {
    let Some((folder, host)) = host() else { return };
    let refusal = |host: &Live| {
        let plan = make(host, &[lacking("skew_tick", "1")], &options());
        plan.refusals.first().map(|refusal| (refusal.id.clone(), refusal.why.clone()))
    };
    assert_eq!(refusal(&host), None);
    let mounts = |device: &str, system: &str| {
        let text = format!(
            "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 {device} / /boot rw shared:1 - {system} /dev/x rw\n3 1 0:5 / /proc rw - proc proc rw\n"
        );
        host.replace(Path::new("/proc/self/mountinfo"), &text, 0o644).unwrap();
    };
    let devices = folder.path().join("sys/dev/block");
    fs::create_dir_all(&devices).unwrap();
    std::os::unix::fs::symlink("../../devices/virtual/block/dm-0", devices.join("253:0")).unwrap();
    std::os::unix::fs::symlink("../../devices/pci0000:00/nvme0n1/nvme0n1p1", devices.join("259:1")).unwrap();
    mounts("259:1", "ext4");
    assert_eq!(refusal(&host), None);
    for (device, system, why) in [("253:0", "ext4", "LVM"), ("0:31", "btrfs", "btrfs")] {
        mounts(device, system);
        let (id, said) = refusal(&host).unwrap();
        assert!(id == "trial" && said.contains(why) && said.contains("--no-trial"), "{id}: {said}");
    }
    mounts("259:1", "ext4");
    let environment = Path::new("/boot/grub/grubenv");
    let full = format!("# GRUB Environment Block\nsaved_entry={}\n", "x".repeat(970));
    host.replace(environment, &format!("{full}{}", "#".repeat(1024 - full.len())), 0o644).unwrap();
    assert!(refusal(&host).unwrap().1.contains("full"));
    host.replace(environment, "# GRUB Environment Block\n", 0o644).unwrap();
    assert!(refusal(&host).unwrap().1.contains("1024"));
    host.remove(environment).unwrap();
    assert!(refusal(&host).unwrap().1.contains("missing"));
    let at_once = Options { no_trial: true, ..options() };
    assert_eq!(make(&host, &[lacking("skew_tick", "1")], &at_once).refusals, []);
}
