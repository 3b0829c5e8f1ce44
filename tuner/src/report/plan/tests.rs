//! A plan is shown whole: what it changes, what it does not, and why it may not be applied.

use super::super::findings::tests::{finding, seen};
use super::*;
use tuner::facts::Facts;
use tuner::knob::Phase;
use tuner::place::Form;

pub(crate) fn change(knob: &str, place: Place, from: Option<&str>, to: Option<&str>) -> Change {
    // Others add to what a change is: only what is looked at here is named.
    let text = serde_json::json!({
        "knob": knob, "subject": "", "phase": Phase::Sysctl, "persist": Persist::Sysctl, "place": place,
        "from": from, "to": to, "at_least": false,
    });
    serde_json::from_value(text).unwrap()
}

pub(crate) fn swappiness() -> Change {
    change("mem.swappiness", Place::sysctl("vm.swappiness", Form::Number), Some("60"), Some("10"))
}

fn shown(plan: &Plan, findings: Vec<Finding>, all: bool) -> String {
    let mut screen = Screen::of_width(120);
    super::plan(&mut screen, &seen(findings), plan, all);
    anstream::adapter::strip_str(&screen.into_text()).to_string()
}

#[test]
fn a_file_is_shown_line_by_line() {
    let place = Place::File { path: "/etc/sysctl.d/99.conf".into(), mode: 0o644 };
    let mut plan = Plan::new(&Facts::default(), "rt-cpu");
    plan.changes.push(change("tuner", place.clone(), Some("a = 1\nb = 2\n"), Some("a = 1\nb = 3\n")));
    let text = shown(&plan, Vec::new(), false);
    for line in ["  --- /etc/sysctl.d/99.conf", "   a = 1", "  -b = 2", "  +b = 3"] {
        assert!(text.lines().any(|shown| shown == line), "{line}: {text}");
    }
    plan.changes = vec![change("tuner", place, None, Some("a = 1\n"))];
    let text = shown(&plan, Vec::new(), false);
    assert!(text.contains("--- /dev/null") && text.contains("+a = 1"), "{text}");
}

#[test]
fn many_equal_changes_are_one_but_for_what_differs() {
    let irq = |number: usize, from| {
        let path = format!("/proc/irq/{number}/smp_affinity_list");
        change("irq.affinity", Place::attribute(path, Form::Cpus), Some(from), Some("0-1"))
    };
    let mut plan = Plan::new(&Facts::default(), "rt-cpu");
    plan.changes = (0..64).map(|number| irq(number, if number == 7 { "2" } else { "0-3" })).collect();
    let text = shown(&plan, Vec::new(), false);
    assert!(text.contains("- ×63 /proc/irq/0/smp_affinity_list … 0-3"), "{text}");
    assert!(text.contains("- /proc/irq/7/smp_affinity_list 2"), "{text}");
    assert!(text.contains("64 changes."), "{text}");
    assert_eq!(shown(&plan, Vec::new(), true).matches("+ /proc/irq/").count(), 64);
}

#[test]
fn what_waits_for_a_boot_and_what_is_refused_is_said() {
    let mut plan = Plan::new(&Facts::default(), "rt-cpu");
    let parameter = serde_json::json!({"knob": "mem.thp", "key": "nohz_full", "value": "2-3", "from": null});
    plan.parameters.push(serde_json::from_value(parameter).unwrap());
    let refusal =
        Refusal { id: "unstable-tsc".into(), knob: "mem.thp".into(), why: "the clock is not stable".into() };
    plan.refusals.push(refusal);
    let text = shown(&plan, vec![finding("mem.thp", "", Status::Conflict, "x")], false);
    for part in [
        "after a reboot; the kernel's command line keeps it",
        "  + nohz_full=2-3",
        "Not as wished, and not in this plan",
        "unstable-tsc (mem.thp): the clock is not stable",
        "`--force unstable-tsc` applies it nevertheless.",
        "1 kernel parameter for the next boot, 1 refusal. It is not applied as it is",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("- nohz_full"), "{text}");
}
