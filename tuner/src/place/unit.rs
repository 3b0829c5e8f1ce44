//! Units of systemd: their state from files alone, and their change through `systemctl`.
//!
//! The state is two words. The first is what `systemctl is-enabled` says; the second is `active`, `inactive`, or
//! `unknown`. What holds: reading asks nobody, so it is as good without systemd and in a folder. systemd leaves a trace
//! of whatever it runs programs for, and of nothing else: so of a service, files tell whether it is active; of a timer,
//! a path and most sockets they do not, unless it is masked or systemd does not run. Whoever must know asks by
//! [`exactly`].

use crate::host::{Host, HostError, HostErrorKind, absent_is_none};
use std::path::{Path, PathBuf};

/// Where units lie, the first before those behind it: see systemd.unit(5).
const FOLDERS: [&str; 13] = [
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/system.attached",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
];
/// Where `systemctl enable` and generators put their links, and what a unit is called that has one there.
const ENABLING: [(&str, &str); 5] = [
    ("/etc/systemd/system", "enabled"),
    ("/run/systemd/generator.early", "enabled-runtime"),
    ("/run/systemd/system", "enabled-runtime"),
    ("/run/systemd/generator", "enabled-runtime"),
    ("/run/systemd/generator.late", "enabled-runtime"),
];
/// Folders of links there: `multi-user.target.wants`.
const LINKS: [&str; 3] = [".wants", ".requires", ".upholds"];
/// Names may lead to names; not further than this.
const LONGEST_CHAIN: usize = 4;

/// Whether two states mean the same: what cannot be enabled counts as enabled, since others start it, and what is
/// unknown may be either.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    let words = |state: &str| {
        let (file, activity) = state.trim().split_once(' ').unwrap_or((state.trim(), ""));
        let file = if matches!(file, "static" | "generated" | "indirect") { "enabled" } else { file };
        (file.to_owned(), activity.to_owned())
    };
    let ((file, activity), (other_file, other_activity)) = (words(one), words(other));
    let is_known = ![&activity, &other_activity].iter().any(|activity| *activity == "unknown");
    file == other_file && (activity == other_activity || !is_known)
}

/// The state of a unit from files; none if there is no such unit.
pub(super) fn state(host: &dyn Host, name: &str) -> Result<Option<String>, HostError> {
    let mut name = name.to_owned();
    for _ in 0..LONGEST_CHAIN {
        let Some((folder, link)) = find(host, &name)? else { return Ok(None) };
        let target = link.as_deref().and_then(Path::file_name).and_then(|target| target.to_str());
        match target {
            Some("null") => return Ok(Some(told(host, &name, masked(folder)))),
            Some(target) if target != name => name = target.to_owned(),
            _ => {
                let text = absent_is_none(host.read(&Path::new(folder).join(&name)))?.unwrap_or_default();
                let file = file_state(host, &name, folder, link.is_some(), &text)?;
                return Ok(Some(told(host, &name, file)));
            }
        }
    }
    Ok(None)
}

/// The folder that a unit's file is in, and where that leads if it is a link.
fn find(host: &dyn Host, name: &str) -> Result<Option<(&'static str, Option<PathBuf>)>, HostError> {
    for folder in FOLDERS {
        match host.link(&Path::new(folder).join(name)) {
            Ok(target) => return Ok(Some((folder, Some(target)))),
            // There, and no link.
            Err(error) if error.kind == HostErrorKind::Invalid => return Ok(Some((folder, None))),
            Err(error) if error.kind == HostErrorKind::Absent => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn masked(folder: &str) -> &'static str {
    if folder.starts_with("/run") { "masked-runtime" } else { "masked" }
}

/// What `systemctl is-enabled` would say of a unit whose file is not a link to another unit.
fn file_state(
    host: &dyn Host,
    name: &str,
    folder: &'static str,
    is_link: bool,
    text: &str,
) -> Result<&'static str, HostError> {
    if text.is_empty() {
        return Ok(masked(folder));
    }
    if folder.contains("generator") {
        return Ok("generated");
    }
    if folder.ends_with("transient") {
        return Ok("transient");
    }
    for (folder, state) in ENABLING {
        if is_linked(host, Path::new(folder), name)? {
            return Ok(state);
        }
    }
    let installs = |keys: &[&str]| {
        let lines = text.lines().map(str::trim).skip_while(|line| *line != "[Install]").skip(1);
        let mut own = lines.take_while(|line| !line.starts_with('['));
        own.any(|line| line.split_once('=').is_some_and(|(key, _)| keys.contains(&key.trim())))
    };
    Ok(match () {
        () if is_link => "linked",
        () if installs(&["WantedBy", "RequiredBy", "UpheldBy", "Alias"]) => "disabled",
        () if installs(&["Also", "DefaultInstance"]) => "indirect",
        () => "static",
    })
}

/// Whether a folder of units has a link to this one: by its name among what a target wants, or by another name.
fn is_linked(host: &dyn Host, folder: &Path, name: &str) -> Result<bool, HostError> {
    for entry in absent_is_none(host.list(folder))?.unwrap_or_default() {
        let path = folder.join(&entry);
        if LINKS.iter().any(|kind| entry.ends_with(kind)) {
            if absent_is_none(host.list(&path))?.unwrap_or_default().iter().any(|link| link == name) {
                return Ok(true);
            }
        } else if entry != name && host.link(&path).is_ok_and(|target| target.ends_with(name)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn told(host: &dyn Host, name: &str, file: &str) -> String {
    format!("{file} {}", activity(host, name, file))
}

/// Whether a unit is active, as far as files tell.
fn activity(host: &dyn Host, name: &str, file: &str) -> &'static str {
    const GROUPS: [&str; 3] = [
        "/sys/fs/cgroup/system.slice",
        "/sys/fs/cgroup/systemd/system.slice",
        "/sys/fs/cgroup/unified/system.slice",
    ];
    if host.list(Path::new("/run/systemd/system")).is_err() {
        // This is how sd_booted(3) tells that systemd does not run.
        return "inactive";
    }
    let invocation = Path::new("/run/systemd/units").join(format!("invocation:{name}"));
    let has_group = || GROUPS.iter().any(|group| host.list(&Path::new(group).join(name)).is_ok());
    if host.link(&invocation).is_ok() || has_group() {
        return "active";
    }
    // Both traces go when it ends.
    if name.ends_with(".service") || file.starts_with("masked") { "inactive" } else { "unknown" }
}

/// The state of a unit as systemd itself tells it; none if it knows no such unit.
pub(super) fn exactly(host: &dyn Host, name: &str) -> Result<Option<String>, HostError> {
    let asked = ["show", "--property=LoadState,ActiveState,UnitFileState", name];
    let told = host.run("systemctl", &asked)?;
    let of = |key: &str| told.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    if of("LoadState").is_none_or(|state| state == "not-found") {
        return Ok(None);
    }
    let is_active = match of("ActiveState") {
        Some("inactive" | "failed") => has_job(host, name),
        state => matches!(state, Some("active" | "activating" | "reloading")),
    };
    let file = of("UnitFileState").filter(|state| !state.is_empty()).unwrap_or("static");
    Ok(Some(format!("{file} {}", if is_active { "active" } else { "inactive" })))
}

/// Whether systemd is about to start a unit that is not active.
fn has_job(host: &dyn Host, name: &str) -> bool {
    let told = host.run("systemctl", &["show", "--property=Job", name]).unwrap_or_default();
    told.trim().strip_prefix("Job=").is_some_and(|job| !job.is_empty() && job != "0")
}

/// Starts a unit. While the host boots, nobody waits for it: it starts after basic.target, which waits for the boot
/// unit, and that for the one who is here.
fn start(host: &dyn Host, name: &str) -> Result<(), HostError> {
    let state = host.run("systemctl", &["show", "--property=SystemState"]).unwrap_or_default();
    let is_booting = matches!(state.trim(), "SystemState=initializing" | "SystemState=starting");
    let words: &[&str] = if is_booting { &["--no-block", "start", name] } else { &["start", name] };
    host.run("systemctl", words).map(drop)
}

/// Brings a unit into a state.
pub(super) fn set(host: &dyn Host, name: &str, state: &str) -> Result<(), HostError> {
    let (file, activity) = state.split_once(' ').unwrap_or((state, ""));
    let systemctl = |words: &[&str]| host.run("systemctl", &[words, &[name]].concat()).map(drop);
    // Masks and links in /run are others than those in /etc: what is not wanted in either goes.
    if !file.starts_with("masked") {
        systemctl(&["unmask", "--runtime"])?;
    }
    if file != "masked" {
        systemctl(&["unmask"])?;
    }
    match file {
        "enabled" => systemctl(&["enable"])?,
        "enabled-runtime" => systemctl(&["disable"]).and_then(|()| systemctl(&["enable", "--runtime"]))?,
        "disabled" => systemctl(&["disable"]).and_then(|()| systemctl(&["disable", "--runtime"]))?,
        "masked" => systemctl(&["mask"])?,
        "masked-runtime" => systemctl(&["mask", "--runtime"])?,
        // Static, generated and the like are enabled by others.
        _ => {}
    }
    match activity {
        "active" => start(host, name),
        "inactive" => systemctl(&["stop"]),
        // Put back as a boot would have it.
        "unknown" if file.starts_with("enabled") => start(host, name),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Live;

    /// What `systemctl` is asked to do so that a unit is started, and what is told of it then.
    fn started_while(state: &str) -> (String, Option<String>) {
        let folder = tempfile::tempdir().unwrap();
        let host = Live::new(folder.path()).unwrap();
        let script = format!(
            "#!/bin/sh\ncase \"$*\" in\n*SystemState) echo SystemState={state};;\n*Job*) echo Job=7;;\nshow*) printf 'LoadState=loaded\\nActiveState=inactive\\nUnitFileState=enabled\\n';;\n*) echo \"$@\" >> \"$TUNER_ROOT/done\";;\nesac\n"
        );
        host.replace(Path::new("/usr/bin/systemctl"), &script, 0o755).unwrap();
        set(&host, "a.service", "enabled active").unwrap();
        let done = host.read(Path::new("/done")).unwrap();
        (done.lines().last().unwrap().to_owned(), exactly(&host, "a.service").unwrap())
    }

    #[test]
    fn nobody_waits_for_a_unit_that_waits_for_the_boot_to_go_on() {
        let active = Some("enabled active".to_owned());
        assert_eq!(started_while("starting"), ("--no-block start a.service".into(), active.clone()));
        assert_eq!(started_while("running"), ("start a.service".into(), active));
    }
}
