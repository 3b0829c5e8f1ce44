//! How settings are judged. Each rival's error that is named here would make its test red.

use super::*;
use crate::facts::Boot;
use crate::host::Lock;
use crate::knob::Accepts;
use crate::knob::tests::knob;
use crate::place::Form;
use crate::plan;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use topology::Choice;

/// Files that are only read: text, or why not.
struct Files(BTreeMap<PathBuf, Result<String, HostErrorKind>>);

impl Files {
    fn new(files: &[(&str, Result<&str, HostErrorKind>)]) -> Self {
        Self(files.iter().map(|(path, text)| ((*path).into(), text.map(str::to_owned))).collect())
    }
}

fn never<T>(path: &Path) -> Result<T, HostError> {
    panic!("an audit must not touch {}", path.display())
}

impl Host for Files {
    fn read(&self, path: &Path) -> Result<String, HostError> {
        let found = self.0.get(path).cloned().unwrap_or(Err(HostErrorKind::Absent));
        found.map_err(|kind| HostError::new(path, kind, "refused"))
    }
    fn list(&self, path: &Path) -> Result<Vec<String>, HostError> {
        Err(HostError::new(path, HostErrorKind::Absent, "refused"))
    }
    fn link(&self, path: &Path) -> Result<PathBuf, HostError> {
        Err(HostError::new(path, HostErrorKind::Absent, "refused"))
    }
    fn mode(&self, path: &Path) -> Result<u32, HostError> {
        Err(HostError::new(path, HostErrorKind::Absent, "refused"))
    }
    fn write(&self, path: &Path, _: &str) -> Result<(), HostError> {
        never(path)
    }
    fn replace(&self, path: &Path, _: &str, _: u32) -> Result<(), HostError> {
        never(path)
    }
    fn remove(&self, path: &Path) -> Result<(), HostError> {
        never(path)
    }
    fn append(&self, path: &Path, _: &str) -> Result<(), HostError> {
        never(path)
    }
    fn lock(&self, path: &Path) -> Result<Lock, HostError> {
        never(path)
    }
    fn run(&self, program: &str, _: &[&str]) -> Result<String, HostError> {
        never(Path::new(program))
    }
}

const FILE: &str = "/proc/sys/test";

fn is(wanted: &str) -> Profile {
    Profile::wishing("test.knob", Wish::Is(wanted.into()))
}

/// How one spot stands on a host with this one file.
fn found(profile: &Profile, form: Form, file: Result<&str, HostErrorKind>) -> Finding {
    let spot = Spot::new("", Place::attribute(FILE, form));
    look(&Files::new(&[(FILE, file)]), &Facts::default(), profile, &knob(Accepts::Text), &spot)
}

#[test]
fn what_is_as_wished_is_well_and_what_is_not_drifts() {
    let finding = found(&is("10"), Form::Number, Ok("10\n"));
    assert_eq!((finding.status, finding.current.as_deref()), (Status::Ok, Some("10")));
    let finding = found(&is("10"), Form::Number, Ok("60\n"));
    assert_eq!((finding.status, finding.target.as_deref()), (Status::Drift, Some("10")));
    assert_eq!(found(&Profile::default(), Form::Number, Ok("60\n")).status, Status::Left);
}

/// TuneD's `verify -i` takes a missing sysctl for one that reads `None`, so that its `realtime` profile never verifies;
/// others write to keys that do not exist.
#[test]
fn a_missing_file_is_not_supported_and_never_written() {
    let finding = found(&is("0"), Form::Number, Err(HostErrorKind::Absent));
    assert_eq!((finding.status, &finding.current), (Status::NotSupported, &None));
    assert_eq!(plan::changes(&[finding]), []);
}

/// TuneD's sysfs plugin passes where its glob matches nothing.
#[test]
fn a_knob_without_any_place_is_not_well() {
    let nothing = knob(Accepts::Text);
    let findings = one(&Files::new(&[]), &Facts::default(), &is("1"), &nothing);
    assert_eq!(findings.len(), 1);
    assert_eq!((findings[0].status, findings[0].wanted.as_deref()), (Status::NotSupported, Some("1")));
    assert!(findings[0].note.is_some());
}

/// rtcqs asks whether the text of `smt/active` is true: `0` is text as well, so that SMT always is as it wants it.
#[test]
fn a_flag_is_what_it_says_and_not_that_it_says_something() {
    assert_eq!(found(&is("0"), Form::Flag, Ok("1\n")).status, Status::Drift);
    assert_eq!(found(&is("0"), Form::Flag, Ok("0\n")).status, Status::Ok);
    assert_eq!(found(&is("1"), Form::Flag, Ok("0\n")).status, Status::Drift);
    assert_eq!(found(&is("1"), Form::Flag, Ok("N\n")).status, Status::Drift);
}

/// LLTune copies the whole line back, brackets and all, which the kernel refuses.
#[test]
fn of_a_choice_only_the_chosen_word_is_kept() {
    let finding = found(&is("never"), Form::Choice, Ok("[always] madvise never\n"));
    let change = &plan::changes(&[finding])[0];
    assert_eq!((change.from.as_deref(), change.to.as_deref()), (Some("always"), Some("never")));
}

/// On `/sys/.../current_driver` one sees whether the kernel follows; `max_cstate` on the command line only asks.
fn of_parameter(command_line: &str, driver: &str, next: Option<&str>) -> Finding {
    const DRIVER: &str = "/sys/devices/system/cpu/cpuidle/max";
    let host = Files::new(&[("/proc/cmdline", Ok(command_line)), (DRIVER, Ok(driver))]);
    let boot = Boot { next_command_line: next.map(str::to_owned), ..Boot::default() };
    let facts = Facts { boot, ..Facts::default() };
    let spot = Spot::new("", Place::parameter("processor.max_cstate", Form::Number));
    let spot = spot.effect(Place::attribute(DRIVER, Form::Number));
    look(&host, &facts, &is("0"), &Knob { persist: Persist::Boot, ..knob(Accepts::Text) }, &spot)
}

/// latency-audit passes on the letters `processor.max_cstate=0` anywhere on the command line, though `intel_idle`, or
/// another parameter's name, may be what they are.
#[test]
fn what_is_effective_counts_and_not_what_was_asked_for() {
    let finding = of_parameter("quiet processor.max_cstate=0", "9", None);
    assert_eq!((finding.status, finding.current.as_deref()), (Status::Drift, Some("0")));
    assert_eq!(finding.effective.as_deref(), Some("9"));
    assert!(finding.note.unwrap().contains("does not follow"));
    let finding = of_parameter("xprocessor.max_cstate=0 processor.max_cstate=01x", "9", None);
    assert_eq!((finding.status, finding.current.as_deref()), (Status::Drift, Some("01x")));
    // What only happens to be so may be gone with the next boot.
    assert_eq!(of_parameter("quiet", "0", None).status, Status::Drift);
    assert_eq!(of_parameter("quiet processor.max_cstate=0", "0", None).status, Status::Ok);
}

#[test]
fn what_the_next_boot_brings_is_awaited() {
    let next = Some("quiet processor.max_cstate=0");
    assert_eq!(of_parameter("quiet", "9", next).status, Status::PendingReboot);
    assert_eq!(of_parameter("quiet", "9", Some("quiet processor.max_cstate=1")).status, Status::Drift);
    // It is there already and did not help: another boot will not, either.
    assert_eq!(of_parameter("processor.max_cstate=0", "9", next).status, Status::Drift);
}

#[test]
fn what_cannot_be_read_is_never_well() {
    let denied = found(&is("1"), Form::Number, Err(HostErrorKind::Denied));
    assert_eq!(denied.status, Status::Unknown);
    assert!(denied.note.unwrap().contains("root"));
    assert_eq!(found(&is("1"), Form::Number, Err(HostErrorKind::Other)).status, Status::Unknown);
    assert_eq!(found(&is("1"), Form::Number, Err(HostErrorKind::Io)).status, Status::NotSupported);
    assert_eq!(found(&Profile::default(), Form::Number, Err(HostErrorKind::Denied)).status, Status::Left);
}

#[test]
fn a_wish_that_comes_to_nothing_here_says_why() {
    let choice = Choice { reasons: vec!["none of 2 CPUs can be spared".into()], ..Choice::default() };
    let facts = Facts { choice, ..Facts::default() };
    let spot = Spot::new("", Place::attribute(FILE, Form::Cpus));
    let host = Files::new(&[(FILE, Ok("0-1\n"))]);
    let look = |wish| {
        let profile = Profile::wishing("test.knob", wish);
        look(&host, &facts, &profile, &knob(Accepts::Cpus), &spot)
    };
    for wish in [Wish::Isolated, Wish::Housekeeping] {
        let finding = look(wish);
        assert_eq!((finding.status, finding.current.as_deref()), (Status::NotSupported, Some("0-1")));
        assert_eq!(finding.note.unwrap(), "no CPU is isolated here: none of 2 CPUs can be spared");
    }
    assert_eq!(look(Wish::Auto).status, Status::Left);
}

#[test]
fn a_place_that_nothing_can_make_is_not_supported() {
    let place = Place::Nic { interface: "eth0".into(), item: crate::host::NicItem::Lro };
    let finding = look(
        &Files::new(&[]),
        &Facts::default(),
        &is("off"),
        &knob(Accepts::Text),
        &Spot::new("eth0", place),
    );
    assert_eq!(finding.status, Status::NotSupported);
    let file = Place::File { path: "/etc/own".into(), mode: 0o644 };
    let host = Files::new(&[]);
    let finding = look(&host, &Facts::default(), &is("x"), &knob(Accepts::Text), &Spot::new("", file));
    assert_eq!(finding.status, Status::Drift);
}

#[test]
fn who_else_turns_a_knob_is_named_only_while_it_runs() {
    let owner = |is_active| Owner {
        unit: "tuned.service".into(),
        is_active,
        is_enabled: true,
        turns: vec!["test.".into()],
    };
    let status = |is_active| {
        let facts = Facts { owners: vec![owner(is_active)], ..Facts::default() };
        let spot = Spot::new("", Place::attribute(FILE, Form::Number));
        look(&Files::new(&[(FILE, Ok("1"))]), &facts, &is("0"), &knob(Accepts::Text), &spot)
    };
    assert_eq!(status(true).status, Status::Conflict);
    assert_eq!(status(true).note.unwrap(), "tuned.service runs and sets it, too");
    assert_eq!(status(false).status, Status::Drift);
    assert_eq!(plan::changes(&[status(true)]), []);
}

#[test]
fn what_cannot_be_set_here_is_told_with_its_reason() {
    let spot = Spot::new("irq 9", Place::attribute(FILE, Form::Cpus)).fixed("the kernel manages it");
    let host = Files::new(&[(FILE, Ok("0-3"))]);
    let finding = look(&host, &Facts::default(), &is("0"), &knob(Accepts::Cpus), &spot);
    assert_eq!(
        (finding.status, finding.note.as_deref()),
        (Status::NotSettable, Some("the kernel manages it"))
    );
    assert_eq!(plan::changes(&[finding]), []);
}

#[test]
fn of_what_nobody_wishes_for_only_what_does_nothing_is_told() {
    let at = |places| Knob { places, ..knob(Accepts::Text) };
    let look = |profile: &Profile, knob: &Knob| {
        one(&Files::new(&[]), &Facts::default(), profile, knob).remove(0).status
    };
    let none = Profile::default();
    let (absent, inert, hidden) = (
        at(|_| Places::NotSupported("a".into())),
        at(|_| Places::Obsolete("b".into())),
        at(|_| Places::Unknown("c".into())),
    );
    assert_eq!(
        [&absent, &inert, &hidden].map(|knob| look(&none, knob)),
        [Status::Left, Status::Obsolete, Status::Left]
    );
    assert_eq!(
        [&absent, &inert, &hidden].map(|knob| look(&is("1"), knob)),
        [Status::NotSupported, Status::Obsolete, Status::Unknown]
    );
}
