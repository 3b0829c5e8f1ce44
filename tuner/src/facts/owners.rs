//! Others that take care of settings: which are there, run, and are started at boot.
//!
//! What holds: no program is asked. systemd keeps a link for each unit that runs and one for each that is enabled.

use super::Owner;
use super::read::Files;

/// Their units, and the prefixes of the knobs that they turn.
const KNOWN: [(&str, &[&str]); 16] = [
    (
        "tuned.service",
        &["kern.", "boot.", "cpu.", "irq.", "sched.", "mem.", "blk.", "net.", "tcp.", "pci.", "cg."],
    ),
    ("irqbalance.service", &["irq."]),
    ("tlp.service", &["cpu.", "blk.", "net.", "pci."]),
    ("power-profiles-daemon.service", &["cpu."]),
    ("tuned-ppd.service", &["cpu."]),
    ("cpupower.service", &["cpu."]),
    ("cpufrequtils.service", &["cpu."]),
    ("auto-cpufreq.service", &["cpu."]),
    ("thermald.service", &["cpu."]),
    ("system76-power.service", &["cpu.", "gpu."]),
    ("rt-conf.service", &["boot.", "cpu.", "irq."]),
    ("bpftune.service", &["net.", "tcp."]),
    ("saptune.service", &["kern.", "cpu.", "sched.", "mem.", "blk.", "net.", "tcp."]),
    ("stalld.service", &["sched."]),
    ("ksmtuned.service", &["mem.ksm"]),
    ("numad.service", &["sched.", "mem."]),
];

/// Where units lie.
const UNITS: [&str; 4] =
    ["/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

pub(super) fn read(files: Files<'_>) -> Vec<Owner> {
    let installed: Vec<_> = UNITS.iter().flat_map(|folder| files.names(folder)).collect();
    let wants = files
        .names(UNITS[0])
        .into_iter()
        .filter(|name| name.ends_with(".wants") || name.ends_with(".requires"));
    let enabled: Vec<_> = wants.flat_map(|folder| files.names(&format!("{}/{folder}", UNITS[0]))).collect();
    let running = files.names("/run/systemd/units");
    let owner = |(unit, turns): &(&str, &[&str])| {
        let is = |names: &[String], name: &str| names.iter().any(|other| other == name);
        let is_active = is(&running, &format!("invocation:{unit}")) || has_processes(files, unit);
        (is_active || is(&installed, unit)).then(|| Owner {
            unit: (*unit).into(),
            is_active,
            is_enabled: is(&enabled, unit),
            turns: turns.iter().map(|prefix| (*prefix).into()).collect(),
        })
    };
    KNOWN.iter().filter_map(owner).collect()
}

/// Whether a unit's control group has processes: what an older systemd leaves to see.
fn has_processes(files: Files<'_>, unit: &str) -> bool {
    let trees = ["", "/unified", "/systemd"];
    let path = |tree: &&str| format!("/sys/fs/cgroup{tree}/system.slice/{unit}/cgroup.procs");
    trees.iter().any(|tree| files.word(&path(tree)).is_some())
}
