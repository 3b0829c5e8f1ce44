//! What is not applied, and why.

use crate::plans::*;
use std::path::Path;
use tuner::engine::{self, ApplyError, JournalError, Options, Which};
use tuner::facts::Identity;
use tuner::host::{Host, HostErrorKind, Live};
use tuner::place::{Form, Place};
use tuner::plan::{Plan, Refusal};

#[test]
fn a_plan_that_does_not_fit_any_more_changes_nothing() {
    let host = machine();
    let of = |machine: &str, boot: &str| Identity { machine: machine.into(), boot: boot.into() };
    let plans = [
        (Plan { identity: of("x", "b"), ..every_kind() }, "it was made for another machine"),
        (Plan { identity: of("m", "x"), ..every_kind() }, "the machine was booted since it was made"),
        (
            plan(vec![
                number(SWAPPINESS, "50", "10"),
                file(NEW_FILE, Some("x"), None),
                file(OLD_FILE, Some("# old\n"), None),
            ]),
            "/proc/sys/vm/swappiness: /proc/sys/vm/swappiness is '60' and no longer '50'",
        ),
        (
            plan(vec![number(SWAPPINESS, "60", "30"), number(SWAPPINESS, "60", "10")]),
            "is '30' and no longer '60'",
        ),
        (plan(vec![number("/proc/none", "1", "2")]), "is absent and no longer '1'"),
    ];
    let before = host.everything();
    for (plan, why) in plans {
        let error = apply(&host, &plan).unwrap_err();
        assert!(matches!(&error, ApplyError::Stale(all) if all.len() == 1), "{error}");
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(error.exit(), 3);
    }
    let refusal = Refusal { id: "boot-cpu".into(), knob: "boot.isolcpus".into(), why: "no".into() };
    let error = apply(&host, &Plan { refusals: vec![refusal], ..every_kind() }).unwrap_err();
    assert_eq!(error.to_string(), "boot-cpu: no (--force boot-cpu overrides it)");
    assert_eq!(error.exit(), 3);
    assert!(matches!(
        apply(&host, &Plan { schema_version: 99, ..every_kind() }),
        Err(ApplyError::Schema(99))
    ));
    assert_eq!(host.everything(), before);
    assert!(host.journals().is_empty());
}

#[test]
fn what_could_not_be_put_back_is_not_changed() {
    let host = machine();
    host.0.borrow_mut().links.insert(OLD_FILE.into(), "../elsewhere".into());
    let error = apply(&host, &every_kind()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "this could not be undone: /etc/default/irqbalance is a symbolic link to ../elsewhere, and would become a file: remove it, or make it a file"
    );
    let host = machine();
    host.put(OLD_FILE, "\u{fffd}");
    let error = apply(&host, &plan(vec![file(OLD_FILE, Some("\u{fffd}"), Some("x"))])).unwrap_err();
    assert!(error.to_string().contains("is not UTF-8"), "{error}");
}

#[test]
fn a_damaged_journal_says_what_is_to_be_done_by_hand() {
    let host = machine();
    apply(&host, &every_kind()).unwrap();
    let path = host.journals()[0].clone();
    let text = host.text(path.to_str().unwrap()).unwrap();
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    for at in 1..lines.len() - 1 {
        let mut broken = lines.clone();
        let line = broken[at].replace("record", "rekord");
        broken[at] = &line;
        host.put(path.to_str().unwrap(), &broken.concat());
        let error = engine::rollback(&host, &Which::Latest, &mut |_| {}).unwrap_err();
        let engine::RollbackError::Journal(JournalError::Damaged { line, by_hand, .. }) = &error else {
            panic!("{error}")
        };
        assert_eq!(*line, at + 1);
        for command in [
            "echo none > /sys/block/sda/queue/scheduler",
            "rm -f /etc/tuner/deep/own.conf",
            "echo 60 > /proc/sys/vm/swappiness",
        ] {
            assert!(by_hand.iter().any(|line| line == command), "{by_hand:?}");
        }
        assert!(error.to_string().contains("By hand:\n") && error.exit() == 5);
        assert_eq!(apply(&host, &every_kind()).unwrap_err().exit(), 5);
    }
    // One whose plan is lost says so.
    host.put(path.to_str().unwrap(), &text.replacen("begin", "begun", 1));
    let error = engine::resume(&host, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("compare the host with `tuner audit`"), "{error}");
}

#[test]
fn one_tuner_at_a_time_and_only_one_that_may() {
    let folder = tempfile::tempdir().unwrap();
    for path in ["etc", "proc/sys/kernel/random", "proc/sys/vm"] {
        std::fs::create_dir_all(folder.path().join(path)).unwrap();
    }
    std::fs::write(folder.path().join("etc/machine-id"), "m").unwrap();
    std::fs::write(folder.path().join("proc/sys/kernel/random/boot_id"), "b").unwrap();
    std::fs::write(folder.path().join("proc/sys/vm/swappiness"), "60").unwrap();
    let host = Live::new(folder.path()).unwrap();
    let plan = plan(vec![number(SWAPPINESS, "60", "10")]);
    let held = host.lock(Path::new("/run/tuner.lock")).unwrap();
    let error = apply(&host, &plan).unwrap_err();
    assert_eq!(error.exit(), 7, "{error}");
    assert_eq!(engine::rollback(&host, &Which::All, &mut |_| {}).unwrap_err().exit(), 7);
    drop(held);
    apply(&host, &plan).unwrap();
    assert_eq!(get(&host, &Place::attribute(SWAPPINESS, Form::Number)).unwrap(), "10");
    // The summary is for everybody, the journal is not.
    let state = engine::state(&host).unwrap();
    assert_eq!(host.mode(Path::new("/var/lib/tuner/state.json")).unwrap(), 0o644);
    let journal = format!("/var/lib/tuner/{}.journal", state.applied[0].id);
    assert_eq!(host.mode(Path::new(&journal)).unwrap(), 0o600);
    rollback(&host, Which::All);
    assert_eq!(host.read(Path::new(SWAPPINESS)).unwrap(), "60");
}

#[test]
fn without_privilege_it_says_so_before_anything_is_done() {
    for path in ["/run/tuner.lock", "/var/lib/tuner"] {
        let host = crate::confirming::Denying { host: machine(), path: path.into() };
        let error = engine::apply(&host, &every_kind(), &Options::default(), &mut |_| {}).unwrap_err();
        assert_eq!(error.exit(), 8, "{error}");
        assert!(error.to_string().starts_with("this changes the host, and needs root"), "{error}");
        assert_eq!(host.host.everything(), machine().everything());
    }
    assert_eq!(machine().read(Path::new("/none")).unwrap_err().kind, HostErrorKind::Absent);
}
