//! What is told of an apply, its undoing, and of what is applied; and that it is what the schemas say.

use super::super::plan::tests::swappiness;
use super::super::{json, schema};
use super::*;

fn text(show: impl FnOnce(&mut Screen)) -> String {
    let mut screen = Screen::of_width(80);
    show(&mut screen);
    anstream::adapter::strip_str(&screen.into_text()).to_string()
}

fn note(what: &str) -> Note {
    Note { change: swappiness(), note: what.into() }
}

fn all_applied() -> Applied {
    Applied {
        id: "20261130-1".into(),
        written: 4,
        unchanged: 1,
        partial: vec![note("the kernel gave 40")],
        failed: vec![note("it is busy")],
        confirm_until_unix_s: Some(1_000_120),
        is_reboot_pending: true,
    }
}

fn all_undone() -> Undone {
    Undone {
        ids: vec!["20261130-1".into()],
        restored: 3,
        left: vec![note("somebody changed it since")],
        by_hand: vec!["echo 60 > /proc/sys/vm/swappiness".into()],
        is_reboot_pending: true,
    }
}

fn all_state() -> State {
    let changes = [("10", true), ("33", false)].map(|(now, stands)| Standing {
        change: swappiness(),
        now: Some(now.into()),
        stands,
    });
    let apply = InEffect {
        id: "20261130-1".into(),
        profile: "rt-cpu".into(),
        since_unix_s: 996_400,
        confirm_until_unix_s: Some(1_000_090),
        changes: changes.into(),
    };
    State {
        applied: vec![apply],
        unfinished: Some("20261130-2".into()),
        awaited: vec!["nohz_full=2-3".into()],
    }
}

#[test]
fn each_step_is_told_with_how_it_went() {
    let mut steps = 0;
    let text = text(|screen| {
        progress(screen, &mut steps, Told::Steps(12));
        for (step, how) in [How::Done, How::Same, How::Partly, How::Failed].into_iter().enumerate() {
            let note = if how == How::Failed { "it is busy" } else { "" };
            progress(screen, &mut steps, Told::Step { step, change: &swappiness(), how, note });
        }
        let back = Told::Back { change: &swappiness(), how: How::Failed, note: "it is busy" };
        progress(screen, &mut steps, back);
        progress(screen, &mut steps, Told::Other("udev reads its rules again"));
    });
    assert!(text.starts_with(" 1/12  done    vm.swappiness = 10\n 2/12  same    vm.swap"), "{text}");
    assert!(text.contains("4/12  failed  vm.swappiness = 10\n       it is busy\n"), "{text}");
    assert!(text.contains("\nback  failed  vm.swappiness = 60\n      it is busy\n"), "{text}");
    assert!(text.ends_with("  udev reads its rules again\n"), "{text}");
}

#[test]
fn an_apply_tells_what_failed_until_when_and_how_it_is_undone() {
    let text = text(|screen| applied(screen, &all_applied(), 1_000_000));
    for part in [
        "vm.swappiness: the kernel gave 40",
        "vm.swappiness: it is busy",
        "Applied as 20261130-1: 4 written, 1 as wished before.",
        "`tuner confirm` within 120 s keeps it",
        "Reboot to complete it",
        "`tuner rollback --to 20261130-1` undoes it.",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn undoing_tells_what_is_left_to_do_by_hand() {
    let text = text(|screen| undone(screen, &all_undone()));
    assert!(text.contains("vm.swappiness: somebody changed it since"), "{text}");
    assert!(text.contains("Undone: 20261130-1; as before: 3."), "{text}");
    assert!(text.contains("\n  echo 60 > /proc/sys/vm/swappiness\n"), "{text}");
    assert!(self::text(|screen| undone(screen, &Undone::default())).contains("There was nothing to undo."));
}

#[test]
fn what_is_applied_tells_what_of_it_stands() {
    let text = text(|screen| state(screen, &all_state(), 1_000_000));
    for part in [
        "20261130-1  profile rt-cpu",
        "since 1 h 0 min ago; 1 of 2 changes stand",
        "It undoes itself in 1 min 30 s, unless `tuner confirm` keeps it.",
        "vm.swappiness was set to 10, and is 33",
        "20261130-2 was begun and has not ended",
        "After a reboot: nohz_full=2-3.",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!([ago(59), ago(86_400 * 2 + 3600)], ["59 s", "2 d 1 h"]);
}

#[test]
fn all_of_it_is_as_its_schema_says() {
    let documents = [
        ("apply", serde_json::to_value(json::applied(&all_applied(), 4))),
        ("apply", serde_json::to_value(json::applied(&Applied::default(), 0))),
        ("rollback", serde_json::to_value(json::undone(&all_undone(), 5))),
        ("status", serde_json::to_value(json::state(&all_state(), 1))),
        ("confirm", serde_json::to_value(json::confirmed("20261130-1"))),
    ];
    for (verb, document) in documents {
        let mut document = document.unwrap();
        let validator = jsonschema::validator_for(&schema::schema(verb).unwrap().unwrap()).unwrap();
        let errors: Vec<_> = validator.iter_errors(&document).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{verb}: {errors:?}");
        document["more"] = 1.into();
        assert!(!validator.is_valid(&document), "{verb}");
    }
}
