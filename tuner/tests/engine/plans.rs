//! Plans for tests, and what is common to them.

use crate::small::{Quirk, Small};
use std::path::Path;
use tuner::engine::{Applied, ApplyError, Event, Options, Undone, Which};
use tuner::facts::Identity;
use tuner::host::{Host, HostErrorKind};
use tuner::knob::{Persist, Phase};
use tuner::place::{Form, Place};
use tuner::plan::{Change, Hook, Plan, SCHEMA_VERSION};
use tuner::{engine, place};

pub(crate) const SWAPPINESS: &str = "/proc/sys/vm/swappiness";
pub(crate) const PAGES: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
pub(crate) const SCHEDULER: &str = "/sys/block/sda/queue/scheduler";
pub(crate) const INTERRUPT: &str = "/proc/irq/24/smp_affinity_list";
pub(crate) const NEW_FILE: &str = "/etc/tuner/deep/own.conf";
pub(crate) const OLD_FILE: &str = "/etc/default/irqbalance";
pub(crate) const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// A machine with one of each kind.
pub(crate) fn machine() -> Small {
    let small = Small::new(&[
        ("/etc/machine-id", "m\n"),
        (BOOT, "b\n"),
        ("/proc/uptime", "100.00 0.00\n"),
        (SWAPPINESS, "60\n"),
        ("/proc/sys/vm/stat_interval", "10\n"),
        (PAGES, "0\n"),
        (SCHEDULER, "[none] mq-deadline kyber\n"),
        (INTERRUPT, "0-3\n"),
        (OLD_FILE, "# old\n"),
    ]);
    small.0.borrow_mut().files.get_mut(Path::new(OLD_FILE)).unwrap().1 = 0o640;
    small
        .quirk(PAGES, Quirk::Pages(300, 0))
        .quirk(SCHEDULER, Quirk::Choice(&["none", "mq-deadline", "kyber"]))
        .quirk(INTERRUPT, Quirk::Refuses(HostErrorKind::Io))
}

pub(crate) fn change(knob: &str, phase: Phase, place: Place, from: Option<&str>, to: Option<&str>) -> Change {
    Change {
        knob: knob.into(),
        subject: String::new(),
        phase,
        persist: Persist::Unit,
        place,
        from: from.map(Into::into),
        to: to.map(Into::into),
        at_least: false,
    }
}

pub(crate) fn number(path: &str, from: &str, to: &str) -> Change {
    change(path, Phase::Sysctl, Place::attribute(path, Form::Number), Some(from), Some(to))
}

pub(crate) fn file(path: &str, from: Option<&str>, to: Option<&str>) -> Change {
    change("tuner", Phase::Files, Place::File { path: path.into(), mode: 0o644 }, from, to)
}

pub(crate) fn plan(changes: Vec<Change>) -> Plan {
    Plan {
        schema_version: SCHEMA_VERSION,
        tuner: "test".into(),
        profile: "test".into(),
        identity: Identity { machine: "m".into(), boot: "b".into() },
        changes,
        hooks: vec![],
        parameters: vec![],
        refusals: vec![],
        notes: vec![],
        boot: None,
        completes: false,
    }
}

/// One change of each kind, for [`machine`].
pub(crate) fn every_kind() -> Plan {
    let scheduler = Place::attribute(SCHEDULER, Form::Choice);
    let interrupt = Place::attribute(INTERRUPT, Form::Cpus);
    let changes = vec![
        Change { at_least: true, phase: Phase::HugePages, ..number(PAGES, "0", "512") },
        change("irq.affinity", Phase::Interrupts, interrupt, Some("0-3"), Some("0")),
        number(SWAPPINESS, "60", "30"),
        number(SWAPPINESS, "30", "10"),
        number("/proc/sys/vm/stat_interval", "10", "10"),
        change("blk.sched", Phase::Block, scheduler, Some("none"), Some("deadline")),
        file(NEW_FILE, None, Some("own\n")),
        file(OLD_FILE, Some("# old\n"), Some("# ours\n")),
    ];
    Plan { hooks: vec![Hook::ReloadSystemd, Hook::UpdateGrub], ..plan(changes) }
}

pub(crate) fn apply(host: &dyn Host, plan: &Plan) -> Result<Applied, ApplyError> {
    engine::apply(host, plan, &Options::default(), &mut |_| {})
}

pub(crate) fn rollback(host: &dyn Host, which: Which) -> Undone {
    engine::rollback(host, &which, &mut |_| {}).unwrap()
}

pub(crate) fn resume(host: &dyn Host) -> Undone {
    engine::resume(host, &mut |_| {}).unwrap()
}

pub(crate) fn get(host: &dyn Host, place: &Place) -> Option<String> {
    place::get(host, place).unwrap()
}

/// An event in short.
pub(crate) fn short(event: &Event<'_>) -> String {
    match event {
        Event::Begun { steps, .. } => format!("begun {steps}"),
        Event::Step { step, .. } => format!("step {step}"),
        Event::Done { step, state } => format!("done {step} {}", state.unwrap_or("-").trim()),
        Event::Same { step } => format!("same {step}"),
        Event::Partial { step, state } => format!("partial {step} {}", state.unwrap_or("-")),
        Event::Skipped { step, .. } => format!("skipped {step}"),
        Event::Failed { step, .. } => format!("failed {step}"),
        Event::Hook(hook) => format!("hook {}", hook.command()),
        Event::Undoing { .. } => "undoing".into(),
        Event::Undone { step, outcome, .. } => format!("undone {step} {outcome:?}"),
    }
}
