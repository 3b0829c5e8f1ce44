//! Forth and back, without interruption.

use crate::plans::*;
use crate::small::{Quirk, Small};
use std::path::Path;
use tuner::engine::{self, ApplyError, Options, Outcome, Source, Stands, Trace, Which};
use tuner::host::HostErrorKind;
use tuner::knob::Phase;
use tuner::place::{Form, Place};
use tuner::plan::{Change, Hook, Plan};

#[test]
fn what_is_applied_is_told_and_undone_to_the_byte() {
    let host = machine();
    let before = host.everything();
    let mut told = Vec::new();
    let applied =
        engine::apply(&host, &every_kind(), &Options::default(), &mut |event| told.push(short(&event)))
            .unwrap();
    assert_eq!((applied.written, applied.unchanged), (6, 1));
    assert_eq!(
        applied.partial.iter().map(|note| note.note.as_str()).collect::<Vec<_>>(),
        ["the kernel gave '300' of '512'"]
    );
    assert_eq!(applied.skipped.len(), 1);
    assert_eq!(host.text(SWAPPINESS).unwrap(), "10\n");
    assert_eq!(host.text(SCHEDULER).unwrap(), "none [mq-deadline] kyber\n");
    assert_eq!(host.text(NEW_FILE).unwrap(), "own\n");
    let expected = "begun 8, step 0, partial 0 300, step 1, skipped 1, step 2, done 2 30, step 3, done 3 10, step 4, same 4, step 5, done 5 mq-deadline, step 6, done 6 own, step 7, done 7 # ours, hook systemctl daemon-reload, hook update-grub";
    assert_eq!(told.join(", "), expected);

    host.0.borrow_mut().done.clear();
    told.clear();
    let undone = engine::rollback(&host, &Which::Latest, &mut |event| told.push(short(&event))).unwrap();
    assert!(undone.is_complete() && undone.by_hand().is_empty());
    let expected = "undoing, undone 7 Restored, undone 6 Restored, undone 5 Restored, undone 3 Restored, undone 2 Restored, undone 0 Restored, hook systemctl daemon-reload, hook update-grub";
    assert_eq!(told.join(", "), expected);
    assert_eq!(host.everything(), before);
    let done = host.0.borrow().done.join(", ");
    assert!(done.contains("append undone, systemctl daemon-reload, update-grub, append ended"), "{done}");
    assert!(engine::rollback(&host, &Which::Latest, &mut |_| {}).unwrap().journals.is_empty());
}

#[test]
fn every_write_is_in_the_journal_before_it_is_made() {
    let host = machine();
    apply(&host, &every_kind()).unwrap();
    let done = host.0.borrow().done.clone();
    let is_write = |line: &String| {
        line.starts_with("write ") || (line.starts_with("replace ") && !line.contains("/var/lib/tuner"))
    };
    let writes: Vec<_> = (0..done.len()).filter(|at| is_write(&done[*at])).collect();
    assert_eq!(writes.len(), 7);
    assert!(writes.iter().all(|at| done[at - 1] == "append intent"), "{done:?}");
    let journal = &host.journals()[0];
    assert_eq!(host.0.borrow().files[journal].1, 0o600);
}

#[test]
fn what_somebody_changed_since_is_left_alone_and_told() {
    let host = machine();
    apply(&host, &every_kind()).unwrap();
    host.put(SWAPPINESS, "77\n");
    host.take(OLD_FILE);
    host.put(NEW_FILE, "theirs\n");
    let undone = rollback(&host, Which::Latest);
    assert_eq!(host.text(SWAPPINESS).unwrap(), "77\n");
    assert_eq!(host.text(OLD_FILE), None);
    assert_eq!(host.text(NEW_FILE).unwrap(), "theirs\n");
    assert_eq!(host.text(PAGES).unwrap(), "0\n");
    assert!(!undone.is_complete());
    let by_hand = [
        format!("printf '%s\\n' '# old' > {OLD_FILE}"),
        format!("rm -f {NEW_FILE}"),
        format!("echo 30 > {SWAPPINESS}"),
        format!("echo 60 > {SWAPPINESS}"),
    ];
    assert_eq!(undone.by_hand(), by_hand);
}

#[test]
fn what_is_as_wished_already_is_neither_written_nor_undone() {
    let host = machine();
    host.put(SWAPPINESS, "10\n");
    // The plan may be older than what somebody did by hand.
    apply(&host, &plan(vec![number(SWAPPINESS, "60", "10")])).unwrap();
    assert!(!host.0.borrow().done.iter().any(|line| line.starts_with("write")));
    rollback(&host, Which::Latest);
    assert_eq!(host.text(SWAPPINESS).unwrap(), "10\n");
}

#[test]
fn a_file_of_nothing_is_not_an_absent_one() {
    let host = machine();
    host.put("/etc/empty.conf", "");
    let before = host.everything();
    apply(
        &host,
        &plan(vec![file("/etc/empty.conf", Some(""), Some("x")), file("/etc/none.conf", None, Some("x"))]),
    )
    .unwrap();
    rollback(&host, Which::Latest);
    assert_eq!(host.everything(), before);
    apply(
        &host,
        &plan(vec![file("/etc/empty.conf", Some(""), None), file("/etc/none.conf", None, Some(""))]),
    )
    .unwrap();
    assert_eq!((host.text("/etc/empty.conf"), host.text("/etc/none.conf")), (None, Some(String::new())));
    rollback(&host, Which::Latest);
    assert_eq!(host.everything(), before);
}

#[test]
fn what_reads_back_otherwise_undoes_all_of_it_or_is_left_out() {
    let quirks = [
        (Quirk::Clamps(50), "100", "it reads back as '50' after '100' was written"),
        (
            Quirk::Shows(" invalid (not exclusive)"),
            "isolated",
            "it reads back as 'isolated invalid (not exclusive)' after 'isolated' was written",
        ),
        (Quirk::Refuses(HostErrorKind::Invalid), "100", "/sys/odd: refused"),
        (Quirk::Refuses(HostErrorKind::Io), "100", "/sys/odd: refused"),
    ];
    for (quirk, to, why) in quirks {
        let host = machine().quirk("/sys/odd", quirk);
        host.put("/sys/odd", "member\n");
        let before = host.everything();
        let odd =
            change("odd", Phase::Sysctl, Place::attribute("/sys/odd", Form::Text), Some("member"), Some(to));
        let plan =
            plan(vec![number(SWAPPINESS, "60", "10"), odd, number("/proc/sys/vm/stat_interval", "10", "1")]);
        // What is clamped is put back by a word that is no number in this test; the model takes it as it is.
        let clamps = matches!(host.0.borrow().quirks[Path::new("/sys/odd")], Quirk::Clamps(_));
        if clamps {
            host.put("/sys/odd", "7\n");
        }
        let plan = match clamps {
            true => Plan {
                changes: plan
                    .changes
                    .iter()
                    .map(|c| Change { from: c.from.as_ref().map(|f| f.replace("member", "7")), ..c.clone() })
                    .collect(),
                ..plan
            },
            false => plan,
        };
        let before = if clamps { host.everything() } else { before };
        let error = apply(&host, &plan).unwrap_err();
        assert_eq!(error.exit(), 4, "{error}");
        assert_eq!(error.to_string(), format!("odd: /sys/odd: {why}; all of it was undone"));
        assert_eq!(host.everything(), before);

        let options = Options { keep_going: true, ..Options::default() };
        let applied = engine::apply(&host, &plan, &options, &mut |_| {}).unwrap();
        assert_eq!((applied.written, applied.failed.len()), (2, 1));
        assert_eq!(host.text("/sys/odd"), before.0.get(Path::new("/sys/odd")).map(|file| file.0.clone()));
        assert_eq!(host.text(SWAPPINESS).unwrap(), "10\n");
        rollback(&host, Which::Latest);
        assert_eq!(host.everything(), before);
    }
}

#[test]
fn an_interrupt_that_the_kernel_manages_is_asked_once() {
    for kind in [HostErrorKind::Io, HostErrorKind::Denied] {
        let host = machine().quirk(INTERRUPT, Quirk::Refuses(kind));
        apply(&host, &every_kind()).unwrap();
        rollback(&host, Which::Latest);
        let done = host.0.borrow().done.clone();
        assert_eq!(done.iter().filter(|line| line.contains("/proc/irq")).count(), 1, "{done:?}");
    }
}

#[test]
fn pages_that_are_not_given_at_all_are_a_failure_and_those_in_use_are_told() {
    let host = machine().quirk(PAGES, Quirk::Pages(0, 0));
    let pages = Change { at_least: true, ..number(PAGES, "0", "512") };
    assert_eq!(apply(&host, &plan(vec![pages.clone()])).unwrap_err().exit(), 4);

    let host = machine().quirk(PAGES, Quirk::Pages(300, 40));
    apply(&host, &plan(vec![pages])).unwrap();
    let undone = rollback(&host, Which::Latest);
    assert_eq!(undone.journals[0].steps[0].outcome, Outcome::Partial { now: Some("40".into()) });
    assert_eq!(undone.by_hand(), [format!("echo 0 > {PAGES}")]);
}

#[test]
fn an_effect_may_come_late_but_not_too_late() {
    let host = machine().quirk(SWAPPINESS, Quirk::Late(5));
    apply(&host, &plan(vec![number(SWAPPINESS, "60", "10")])).unwrap();
    assert_eq!(host.text(SWAPPINESS).unwrap(), "10\n");
    assert!(rollback(&host, Which::Latest).is_complete());
    let host = machine().quirk(SWAPPINESS, Quirk::Late(5000));
    assert_eq!(apply(&host, &plan(vec![number(SWAPPINESS, "60", "10")])).unwrap_err().exit(), 4);
}

#[test]
fn a_setting_that_another_pulled_along_is_brought_back_too() {
    let (governor, preference) = ("/sys/governor", "/sys/preference");
    let host = machine().quirk(governor, Quirk::Pulls(preference, "0\n"));
    host.put(governor, "2\n");
    host.put(preference, "128\n");
    let before = host.everything();
    // The governor sets the preference when it comes, and again when it goes.
    apply(&host, &plan(vec![number(governor, "2", "1"), number(preference, "128", "0")])).unwrap();
    assert!(rollback(&host, Which::Latest).is_complete());
    assert_eq!(host.everything(), before);
}

#[test]
fn a_hook_that_fails_undoes_all_and_one_that_fails_on_the_way_back_is_told() {
    let host = machine();
    let before = host.everything();
    host.0.borrow_mut().failing_program = Some("update-grub");
    let error = apply(&host, &every_kind()).unwrap_err();
    assert_eq!(error.exit(), 5);
    let ApplyError::RolledBack(back) = error else { panic!("{error}") };
    assert_eq!(back.why, "`update-grub` failed: update-grub: it failed");
    assert_eq!(back.undone.by_hand(), ["update-grub"]);
    assert_eq!(host.everything(), before);

    host.0.borrow_mut().failing_program = None;
    apply(&host, &every_kind()).unwrap();
    host.0.borrow_mut().failing_program = Some("systemctl");
    let undone = rollback(&host, Which::Latest);
    assert_eq!(undone.by_hand(), ["systemctl daemon-reload"]);
    assert_eq!(engine::run_hooks(&host, &[Hook::ReloadSystemd, Hook::UpdateGrub]).len(), 1);
}

#[test]
fn what_lies_on_top_is_undone_first() {
    let host = machine();
    let before = host.everything();
    let one =
        apply(&host, &plan(vec![number(SWAPPINESS, "60", "30"), file(NEW_FILE, None, Some("1"))])).unwrap();
    let between = host.everything();
    let two =
        apply(&host, &plan(vec![number(SWAPPINESS, "30", "20"), file(NEW_FILE, Some("1"), None)])).unwrap();
    apply(&host, &plan(vec![number(SWAPPINESS, "20", "10")])).unwrap();
    assert!(one.id < two.id);
    let undone = rollback(&host, Which::To(two.id.clone()));
    assert_eq!(undone.journals.len(), 2);
    assert_eq!(host.everything(), between);
    assert!(matches!(
        engine::rollback(&host, &Which::To(two.id), &mut |_| {}),
        Err(engine::RollbackError::Unknown(_))
    ));
    apply(&host, &plan(vec![number(SWAPPINESS, "30", "5")])).unwrap();
    assert_eq!(rollback(&host, Which::All).journals.len(), 2);
    assert_eq!(host.everything(), before);
}

#[test]
fn an_interrupt_of_another_boot_is_left_alone() {
    let host = machine().quirk(INTERRUPT, Quirk::Clamps(9));
    host.put(INTERRUPT, "3\n");
    let place = Place::attribute(INTERRUPT, Form::Cpus);
    apply(
        &host,
        &plan(vec![
            change("irq", Phase::Interrupts, place, Some("3"), Some("0")),
            number(SWAPPINESS, "60", "10"),
        ]),
    )
    .unwrap();
    host.put(BOOT, "c\n");
    let undone = rollback(&host, Which::Latest);
    assert!(undone.is_complete());
    assert_eq!(
        (host.text(INTERRUPT).unwrap(), host.text(SWAPPINESS).unwrap()),
        ("0\n".into(), "60\n".into())
    );
}

#[test]
fn what_is_in_effect_is_told_with_and_without_privilege() {
    let host = machine();
    let secret = Plan {
        changes: vec![file(OLD_FILE, Some("# old\n"), Some("secret")), number(SWAPPINESS, "60", "10")],
        ..every_kind()
    };
    let applied = apply(&host, &secret).unwrap();
    let check = |host: &Small, source| {
        let state = engine::state(host).unwrap();
        assert_eq!((state.source, &state.unfinished), (source, &None));
        assert_eq!(state.applied[0].id, applied.id);
        let settings = &state.applied[0].settings;
        assert_eq!(
            settings.iter().map(|setting| setting.stands.clone()).collect::<Vec<_>>(),
            [Stands::Yes, Stands::Changed(Trace::Text("9".into()))]
        );
    };
    host.put(SWAPPINESS, "9\n");
    check(&host, Source::Journals);
    host.0.borrow_mut().denies_journals = true;
    check(&host, Source::Summary);
    host.put(SWAPPINESS, "60\n");
    assert_eq!(engine::state(&host).unwrap().applied[0].settings[1].stands, Stands::Back);
    let summary = host.text("/var/lib/tuner/state.json").unwrap();
    assert!(!summary.contains("secret") && !summary.contains("# old"), "{summary}");
    host.0.borrow_mut().denies_journals = false;
    rollback(&host, Which::All);
    host.0.borrow_mut().denies_journals = true;
    assert!(engine::state(&host).unwrap().applied.is_empty());
}
