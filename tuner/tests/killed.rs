//! The real thing, killed at every system call: an apply and a rollback of files in a folder, each by a process of its
//! own that strace kills at its first system call, its second, and so on to the last. Whatever it had done by then, a
//! rollback restores every byte, and removes every file and folder that was not there.
//!
//! And the dead man's switch: a process that outlives the one that applied, and undoes what nobody confirmed.
//!
//! A process is killed at a call's entry, so the call is not made; after call N is before call N + 1. The folder stands
//! for a machine whose attributes are plain files: they have no newline at their end, as nobody puts one there.

use nix::sys::prctl::set_child_subreaper;
use nix::sys::wait::{WaitPidFlag, wait, waitpid};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;
use tuner::engine::{self, Options, Which};
use tuner::facts::Identity;
use tuner::host::Live;
use tuner::knob::{Persist, Phase};
use tuner::place::{Form, Place};
use tuner::plan::{Change, Hook, Plan, SCHEMA_VERSION};

const NAME: &str = "killed_at_every_system_call";
/// What a process of this program is to do, and where.
const VERB: &str = "TUNER_TEST_VERB";
const ROOT: &str = "TUNER_TEST_ROOT";
const NEW_FILE: &str = "/etc/new/folder/own.conf";
const MENU: &str = "/etc/default/grub.d/own.cfg";

fn main() {
    if let (Ok(verb), Ok(root)) = (std::env::var(VERB), std::env::var(ROOT)) {
        return act(&verb, Path::new(&root));
    }
    if let [_, verb, option, id, root_option, root] = std::env::args().collect::<Vec<_>>().as_slice()
        && [verb.as_str(), option, root_option] == ["rollback", "--unless-confirmed", "--root"]
    {
        let host = Live::new(Path::new(root)).unwrap();
        engine::undo_unless_confirmed(&host, id, &mut |_| {}).unwrap();
        return;
    }
    let filter = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    if filter.is_some_and(|filter| !NAME.contains(&filter)) {
        return;
    }
    let can_trace = Command::new("strace").args(["-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    if !can_trace.is_ok_and(|status| status.success()) {
        println!("skipped: {NAME}: there is no strace, or it may not trace");
        return;
    }
    // Hooks outlive who ran them; they become ours, and are waited for.
    set_child_subreaper(true).unwrap();
    have_nobody_confirm();
    ask_systemd_to_wait();
    kill_everywhere("apply", machine);
    kill_everywhere("rollback", || {
        let folder = machine();
        act("apply", folder.path());
        folder
    });
}

fn act(verb: &str, root: &Path) {
    let host = Live::new(root).unwrap();
    match verb {
        "apply" => drop(engine::apply(&host, &plan(), &Options::default(), &mut |_| {}).unwrap()),
        _ => assert!(engine::rollback(&host, &Which::All, &mut |_| {}).unwrap().is_complete()),
    }
}

fn kill_everywhere(verb: &str, prepare: impl Fn() -> tempfile::TempDir) {
    let before = everything(machine().path());
    let folder = prepare();
    let trace = tempfile::NamedTempFile::new().unwrap();
    assert!(run(verb, folder.path(), trace.path(), None).success());
    assert_eq!(everything(folder.path()) == before, verb == "rollback");
    let trace = fs::read_to_string(trace.path()).unwrap();
    // What is written down is on the medium before anything else is done; a kill would not show that.
    let lines: Vec<_> = trace.lines().collect();
    let is_note = |line: &str| line.starts_with("write(") && line.contains("{\\\"record\\\":");
    let notes = lines.windows(2).filter(|pair| is_note(pair[0]));
    let file = |line: &str| {
        line.split_once('(').and_then(|(_, rest)| rest.split([',', ')']).next().map(str::to_owned))
    };
    let flushed: Vec<_> =
        notes.map(|pair| pair[1].starts_with("fsync(") && file(pair[0]) == file(pair[1])).collect();
    assert!(flushed.len() > plan().changes.len() && !flushed.contains(&false), "{verb}: {flushed:?}");
    // strace counts the calls of each name apart. The first is its own: it starts the process.
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let names: Vec<_> = trace.lines().filter_map(|line| Some(line.split_once('(')?.0)).skip(1).collect();
    let mut killed = 0;
    for (call, name) in names.iter().enumerate() {
        let count = counts.entry(name).or_default();
        *count += 1;
        let folder = prepare();
        let status = run(
            verb,
            folder.path(),
            Path::new("/dev/null"),
            Some(&format!("{name}:signal=KILL:when={count}")),
        );
        killed += usize::from(status.signal() == Some(9));
        while wait().is_ok() {}
        act("rollback", folder.path());
        assert_eq!(everything(folder.path()), before, "{verb}, call {call}, {name}");
    }
    println!("{NAME}: {verb}: killed at {killed} of {} system calls, and all was restored", names.len());
    assert_eq!(killed, names.len());
}

fn apply_for(root: &Path, seconds: u64) -> Live {
    let host = Live::new(root).unwrap();
    let options = Options { confirm_within: Some(Duration::from_secs(seconds)), ..Options::default() };
    engine::apply(&host, &plan(), &options, &mut |_| {}).unwrap();
    host
}

fn have_nobody_confirm() {
    let folder = machine();
    let before = everything(folder.path());
    apply_for(folder.path(), 1);
    assert_ne!(everything(folder.path()), before);
    // The process that waits ends when it has undone it.
    wait().unwrap();
    assert_eq!(everything(folder.path()), before);

    let host = apply_for(folder.path(), 600);
    engine::confirm(&host).unwrap();
    wait().unwrap();
    assert_ne!(everything(folder.path()), before);
    assert_eq!(engine::state(&host).unwrap().applied.len(), 1);
}

fn ask_systemd_to_wait() {
    let folder = machine();
    let put = |path: &str, text: &str| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    put("proc/1/comm", "systemd\n");
    put("usr/bin/systemd-run", "#!/bin/sh\nprintf '%s\\n' \"$@\" > \"$TUNER_ROOT/asked\"\n");
    let host = apply_for(folder.path(), 90);
    let id = &engine::state(&host).unwrap().applied[0].id;
    let asked = fs::read_to_string(folder.path().join("asked")).unwrap();
    let program = std::env::current_exe().unwrap();
    let (program, root) = (program.display(), folder.path().display());
    let expected = format!(
        "--quiet --collect --timer-property=AccuracySec=1s --on-active=90 -- {program} rollback --unless-confirmed {id} --root {root}"
    );
    assert_eq!(asked.lines().collect::<Vec<_>>().join(" "), expected);
    let others = waitpid(None, Some(WaitPidFlag::WNOHANG));
    assert_eq!(others, Err(nix::errno::Errno::ECHILD), "somebody else waits, too");
}

/// Runs a process of this program, killed at a system call.
fn run(verb: &str, root: &Path, trace: &Path, kill_at: Option<&str>) -> ExitStatus {
    let mut command = Command::new("strace");
    command.arg("-o").arg(trace);
    if let Some(call) = kill_at {
        command.args(["-e", &format!("inject={call}")]);
    }
    command.arg(std::env::current_exe().unwrap()).env(VERB, verb).env(ROOT, root);
    command.stderr(Stdio::null()).status().unwrap()
}

/// A folder that stands for a machine.
fn machine() -> tempfile::TempDir {
    // In memory, where there is one: a thousand of them are made.
    let shared = Path::new("/dev/shm");
    let folder = if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() }.unwrap();
    let put = |path: &str, text: &str, mode: u32| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    put("etc/machine-id", "m\n", 0o444);
    put("proc/sys/kernel/random/boot_id", "b\n", 0o444);
    put("proc/sys/vm/swappiness", "60", 0o644);
    put("proc/sys/vm/stat_interval", "1", 0o644);
    put("sys/block/sda/queue/scheduler", "none", 0o644);
    put("etc/default/irqbalance", "# as it was\n", 0o640);
    put("etc/default/grub.d/first.cfg", "first\n", 0o644);
    put("boot/grub.cfg", "first\n", 0o644);
    let script = "#!/bin/sh\nset -e\ncd \"$TUNER_ROOT\"\ncat etc/default/grub.d/*.cfg > boot/new\nmv boot/new boot/grub.cfg\n";
    put("usr/sbin/update-grub", script, 0o755);
    fs::create_dir_all(folder.path().join("run")).unwrap();
    fs::create_dir_all(folder.path().join("var/lib")).unwrap();
    folder
}

fn plan() -> Plan {
    let number =
        |path: &str, from: &str, to: &str| change(Place::attribute(path, Form::Number), Some(from), Some(to));
    let file = |path: &str, from, to| change(Place::File { path: path.into(), mode: 0o644 }, from, Some(to));
    Plan {
        schema_version: SCHEMA_VERSION,
        tuner: "test".into(),
        profile: "test".into(),
        identity: Identity { machine: "m".into(), boot: "b".into() },
        changes: vec![
            number("/proc/sys/vm/swappiness", "60", "10"),
            number("/proc/sys/vm/stat_interval", "1", "1"),
            change(
                Place::attribute("/sys/block/sda/queue/scheduler", Form::Choice),
                Some("none"),
                Some("kyber"),
            ),
            file("/etc/default/irqbalance", Some("# as it was\n"), "# as it is\n"),
            file(NEW_FILE, None, "own\n"),
            file(MENU, None, "own\n"),
        ],
        hooks: vec![Hook::UpdateGrub],
        parameters: vec![],
        refusals: vec![],
        notes: vec![],
        boot: None,
        completes: false,
    }
}

fn change(place: Place, from: Option<&str>, to: Option<&str>) -> Change {
    Change {
        knob: "test".into(),
        subject: String::new(),
        phase: Phase::Sysctl,
        persist: Persist::Unit,
        place,
        from: from.map(Into::into),
        to: to.map(Into::into),
        at_least: false,
    }
}

/// Every path with its mode, and of files every byte; without what the tuner keeps for itself.
fn everything(root: &Path) -> BTreeMap<PathBuf, (u32, Option<Vec<u8>>)> {
    let mut all = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_owned();
            if name == Path::new("var/lib/tuner") || name == Path::new("run/tuner.lock") {
                continue;
            }
            let metadata = fs::symlink_metadata(&path).unwrap();
            let bytes = metadata.is_file().then(|| fs::read(&path).unwrap());
            all.insert(name, (metadata.permissions().mode(), bytes));
            if metadata.is_dir() {
                folders.push(path);
            }
        }
    }
    all
}
