//! What is in one line, and what fits a narrow screen.

use super::*;
use std::path::Path;
use tuner::facts::Facts;
use tuner::host::Live;
use tuner::knob::{Persist, Phase};
use tuner::profile::Profile;

pub(crate) fn finding(knob: &'static str, subject: &str, status: Status, now: &str) -> Finding {
    Finding {
        knob,
        subject: subject.into(),
        place: None,
        status,
        current: Some(now.into()),
        effective: None,
        wanted: Some("0-1".into()),
        target: Some("0-1".into()),
        phase: Phase::Interrupts,
        persist: Persist::Unit,
        note: None,
    }
}

pub(crate) fn seen(findings: Vec<Finding>) -> Seen {
    let host = Live::new(Path::new("/")).unwrap();
    let profile = Profile::find("rt-cpu").unwrap();
    Seen {
        host: Box::new(host),
        name: Some("box".into()),
        facts: Facts::default(),
        profile,
        why: "it was asked for",
        findings,
    }
}

fn shown(findings: Vec<Finding>, width: usize, all: bool) -> String {
    let mut screen = Screen::of_width(width);
    super::findings(&mut screen, &seen(findings), all);
    anstream::adapter::strip_str(&screen.into_text()).to_string()
}

fn interrupts(count: usize) -> Vec<Finding> {
    let one = |number: usize| {
        let now = if number.is_multiple_of(2) { "0-3" } else { "2" };
        finding("irq.affinity", &format!("irq {number} (eth0-rx-{number})"), Status::Drift, now)
    };
    (0..count).map(one).collect()
}

#[test]
fn many_equal_findings_are_one_line_unless_each_is_wanted() {
    let text = shown(interrupts(64), 100, false);
    assert!(text.contains("×64 irq 0 (eth0-rx-0), irq 1"), "{text}");
    assert_eq!(text.matches("irq.affinity").count(), 1, "{text}");
    assert!(text.contains("0-3 | 2"), "{text}");
    assert_eq!(shown(interrupts(64), 100, true).matches("irq.affinity").count(), 64);
    // Two need no sum.
    assert_eq!(shown(interrupts(2), 100, false).matches("irq.affinity").count(), 2);
}

#[test]
fn what_differs_in_status_or_reason_is_never_one_line() {
    let mut findings = interrupts(9);
    findings[4].status = Status::NotSettable;
    findings[4].note = Some("the kernel manages it".into());
    let text = shown(findings, 100, false);
    assert!(text.contains("×8 irq 0"), "{text}");
    assert!(text.contains("not-settable  irq.affinity") && text.contains("the kernel manages it"), "{text}");
    assert!(text.contains("9 settings: 8 drift, 1 not-settable."), "{text}");
}

#[test]
fn a_narrow_screen_cuts_columns_and_wraps_notes_but_loses_no_line() {
    let mut findings = interrupts(12);
    for finding in &mut findings {
        finding.note =
            Some("irqbalance.service runs and sets it, too, whatever anybody else may write there".into());
        finding.current = Some("0,2,4,6,8,10,12,14,16,18,20,22,24,26,28,30,32,34,36,38".into());
    }
    for (width, all) in [(80, false), (80, true), (160, true), (60, false)] {
        let text = shown(findings.clone(), width, all);
        for line in text.lines() {
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
        assert!(text.contains('…') || width == 160, "{text}");
        assert_eq!(text.matches("irqbalance.service").count(), if all { 12 } else { 1 }, "{text}");
    }
}

#[test]
fn what_shows_elsewhere_is_what_it_is() {
    let mut parameter = finding("boot.nohz_full", "", Status::Drift, "2-3");
    parameter.effective = Some(String::new());
    assert_eq!(now(&parameter), "(empty) (asked: 2-3)");
    parameter.effective = Some("2-3".into());
    assert_eq!(now(&parameter), "2-3");
    parameter.current = None;
    assert_eq!(now(&parameter), "2-3");
    assert_eq!(short("a\nb\n"), "2 lines");
}

#[test]
fn what_this_host_does_not_have_is_told_once_by_reason() {
    let absent = |knob| Finding {
        note: Some("this host has none of these".into()),
        ..finding(knob, "", Status::NotSupported, "")
    };
    let text = shown(vec![absent("cpu.epp"), absent("cpu.governor")], 80, false);
    assert!(text.contains("cpu.epp, cpu.governor: this host has none of these"), "{text}");
    assert!(text.contains("Nothing has to be done."), "{text}");
}

#[test]
fn the_last_line_says_what_to_do_next() {
    for (status, expected) in [
        (Status::Drift, "`tuner plan` shows"),
        (Status::Conflict, "Stop the other service"),
        (Status::PendingReboot, "Reboot to complete"),
        (Status::Unknown, "Run it as root"),
        (Status::Left, "`--all` shows what is left alone"),
    ] {
        let text = shown(vec![finding("mem.thp", "", status, "x")], 120, false);
        let last = text.lines().last().unwrap();
        assert!(last.contains(expected), "{last}");
        assert_eq!(last.contains("Nothing has to be done"), status == Status::Left, "{last}");
    }
}
