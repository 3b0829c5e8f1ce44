//! What is not confirmed in time is undone.

use crate::plans::*;
use crate::small::Small;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tuner::engine::{self, Applied, ApplyError, ConfirmError, Confirmation, Options, Which};
use tuner::host::{Host, HostError, HostErrorKind, Lock};

fn apply_for(host: &Small, seconds: u64) -> Result<Applied, ApplyError> {
    let options = Options { confirm_within: Some(Duration::from_secs(seconds)), ..Options::default() };
    engine::apply(host, &every_kind(), &options, &mut |_| {})
}

fn wait(host: &Small, id: &str) -> usize {
    engine::undo_unless_confirmed(host, id, &mut |_| {}).unwrap().journals.len()
}

#[test]
fn what_is_confirmed_stays() {
    let host = machine();
    let applied = apply_for(&host, 60).unwrap();
    assert!(applied.confirm_until_unix_s.is_some());
    assert!(matches!(engine::state(&host).unwrap().applied[0].confirmation, Confirmation::Until(_)));
    // Somebody waits before anything is written.
    let done = host.0.borrow().done.clone();
    let at = |what: &str| done.iter().position(|line| line.starts_with(what)).unwrap();
    assert_eq!(done[at("later")], format!("later 60 rollback --unless-confirmed {}", applied.id));
    assert!(at("append begin") < at("later") && at("later") < at("write"));
    assert!(matches!(apply(&host, &every_kind()), Err(ApplyError::Unconfirmed(id)) if id == applied.id));
    assert_eq!(engine::confirm(&host).unwrap(), applied.id);
    assert_eq!(engine::state(&host).unwrap().applied[0].confirmation, Confirmation::Given);
    let after = host.everything();
    assert_eq!(wait(&host, &applied.id), 0);
    host.put("/proc/uptime", "9999.00 0.00\n");
    host.put(BOOT, "c\n");
    assert!(resume(&host).journals.is_empty());
    assert_eq!(host.text(SWAPPINESS), after.0.get(Path::new(SWAPPINESS)).map(|file| file.0.clone()));
    assert!(matches!(engine::confirm(&host), Err(ConfirmError::Nothing)));
}

#[test]
fn what_is_not_is_undone_by_who_waits() {
    let host = machine();
    let id = apply_for(&host, 60).unwrap().id;
    let paused = host.0.borrow().paused;
    assert_eq!(wait(&host, &id), 1);
    let waited = host.0.borrow().paused - paused;
    assert!((59..=61).contains(&waited.as_secs()), "{waited:?}");
    host.put("/proc/uptime", "100.00 0.00\n");
    assert_eq!(host.everything(), machine().everything());
    assert_eq!(wait(&host, &id), 0);
}

#[test]
fn what_was_not_in_time_or_before_a_reboot_is_undone_by_whoever_comes_next() {
    for (path, text) in [("/proc/uptime", "161.00 0.00\n"), (BOOT, "c\n")] {
        let host = machine();
        let id = apply_for(&host, 60).unwrap().id;
        assert!(resume(&host).journals.is_empty());
        host.put(path, text);
        assert_eq!(engine::state(&host).unwrap().applied[0].confirmation, Confirmation::Missed);
        assert!(matches!(engine::confirm(&host), Err(ConfirmError::Late(late)) if late == id));
        assert_eq!(resume(&host).journals.len(), 1);
        assert_eq!(host.text(SWAPPINESS).unwrap(), "60\n");
        assert_eq!(host.text(NEW_FILE), None);
    }
}

#[test]
fn who_waits_undoes_an_apply_that_died() {
    let host = machine();
    host.die_at(60, crate::small::Death::After);
    apply_for(&host, 60).unwrap_err();
    host.revive();
    let id = engine::state(&host).unwrap().unfinished.unwrap();
    assert_ne!(host.everything(), machine().everything());
    assert_eq!(wait(&host, &id), 1);
    assert_eq!(host.everything(), machine().everything());
}

#[test]
fn nothing_is_changed_if_nobody_waits() {
    let host = machine();
    host.0.borrow_mut().nobody_waits = true;
    assert!(matches!(apply_for(&host, 60), Err(ApplyError::NobodyWaits(_))));
    assert_eq!(host.everything(), machine().everything());
    apply(&host, &every_kind()).unwrap();
    rollback(&host, Which::All);
}

/// A machine on which a folder may not be written to.
#[derive(Debug)]
pub(crate) struct Denying {
    pub host: Small,
    pub path: PathBuf,
}

impl Denying {
    fn check(&self, path: &Path) -> Result<(), HostError> {
        match path.starts_with(&self.path) {
            true => Err(HostError::new(path, HostErrorKind::Denied, "Permission denied")),
            false => Ok(()),
        }
    }
}

impl Host for Denying {
    fn read(&self, path: &Path) -> Result<String, HostError> {
        self.host.read(path)
    }
    fn list(&self, path: &Path) -> Result<Vec<String>, HostError> {
        self.host.list(path)
    }
    fn link(&self, path: &Path) -> Result<PathBuf, HostError> {
        self.host.link(path)
    }
    fn mode(&self, path: &Path) -> Result<u32, HostError> {
        self.host.mode(path)
    }
    fn write(&self, path: &Path, text: &str) -> Result<(), HostError> {
        self.check(path).and_then(|()| self.host.write(path, text))
    }
    fn replace(&self, path: &Path, text: &str, mode: u32) -> Result<(), HostError> {
        self.check(path).and_then(|()| self.host.replace(path, text, mode))
    }
    fn remove(&self, path: &Path) -> Result<(), HostError> {
        self.check(path).and_then(|()| self.host.remove(path))
    }
    fn append(&self, path: &Path, text: &str) -> Result<(), HostError> {
        self.check(path).and_then(|()| self.host.append(path, text))
    }
    fn lock(&self, path: &Path) -> Result<Lock, HostError> {
        self.check(path).and_then(|()| self.host.lock(path))
    }
    fn run(&self, program: &str, arguments: &[&str]) -> Result<String, HostError> {
        self.host.run(program, arguments)
    }
}
