//! A plan, as a diff: what is there, what will be, why, from when on and by what it comes back.

use super::findings::{rows, short, table};
use super::heading;
use super::screen::{BOLD, DIM, GREEN, PLAIN, RED, Screen};
use crate::cli::Seen;
use similar::{ChangeTag, TextDiff};
use tuner::audit::{Finding, Status};
use tuner::catalogue;
use tuner::knob::Persist;
use tuner::place::Place;
use tuner::plan::{Change, Hook, Parameter, Plan, Refusal};

/// From how many on equal changes are one.
const MANY: usize = 3;

/// The plan and what is not in it. `all`: each of many equal changes.
pub(crate) fn plan(screen: &mut Screen, seen: &Seen, plan: &Plan, all: bool) {
    heading(screen, seen);
    let mut rest = plan.changes.as_slice();
    while let Some(first) = rest.first() {
        let of_knob = rest.iter().take_while(|change| change.knob == first.knob).count();
        let (its, others) = rest.split_at(of_knob);
        knob(screen, its, all, seen.facts.is_systemd);
        rest = others;
    }
    plan.parameters.iter().for_each(|parameter| boot(screen, parameter));
    hooks(screen, &plan.hooks);
    aside(screen, &seen.findings);
    refusals(screen, &plan.refusals);
    notes(screen, &plan.notes);
    summary(screen, seen, plan);
}

/// What else is to be known before it is applied.
fn notes(screen: &mut Screen, notes: &[String]) {
    notes.iter().for_each(|note| screen.text(0, &format!("Note: {note}.")));
    if !notes.is_empty() {
        screen.blank();
    }
}

/// All changes of one knob.
fn knob(screen: &mut Screen, changes: &[Change], all: bool, is_systemd: bool) {
    let Some(first) = changes.first() else { return };
    title(screen, &first.knob, "now", kept(first.persist, is_systemd));
    let mut done: Vec<&Change> = Vec::new();
    for change in changes {
        if let Place::File { path, .. } = &change.place {
            file(screen, &path.display().to_string(), change);
            continue;
        }
        if done.iter().any(|other| (&other.from, &other.to) == (&change.from, &change.to)) {
            continue;
        }
        let alike: Vec<&Change> =
            changes.iter().filter(|other| (&other.from, &other.to) == (&change.from, &change.to)).collect();
        if all || alike.len() < MANY {
            alike.iter().for_each(|change| one(screen, &name(change), change));
        } else {
            one(screen, &format!("×{} {} …", alike.len(), name(change)), change);
        }
        done.push(change);
    }
    screen.blank();
}

/// A knob's id, what it is, when it comes and stays, and its reason.
fn title(screen: &mut Screen, id: &str, when: &str, kept: &str) {
    let knob = catalogue::find(id);
    let what = knob.map_or("kept by the tuner itself", |knob| knob.title);
    screen.line(&[(BOLD, id), (PLAIN, &format!("  {what}"))]);
    screen.styled(2, DIM, &format!("{when}; {kept}"));
    if let Some(knob) = knob {
        let sentence = knob.explain.mechanism.split_inclusive(". ").next().unwrap_or_default();
        screen.styled(2, DIM, sentence.trim_end());
    }
}

/// What brings a change back after a reboot.
fn kept(persist: Persist, is_systemd: bool) -> &'static str {
    match persist {
        Persist::Sysctl | Persist::Udev | Persist::Unit if !is_systemd => {
            "until the next boot: there is no systemd"
        }
        Persist::Boot => "the kernel's command line keeps it",
        Persist::Sysctl => "a line in /etc/sysctl.d keeps it",
        Persist::Udev => "a udev rule keeps it, also for devices that come later",
        Persist::Unit => "the boot unit sets it again",
        Persist::Itself => "it stays by itself",
        Persist::Never => "nothing keeps it",
    }
}

/// A place by the name that people know it by.
pub(super) fn name(change: &Change) -> String {
    let place = match &change.place {
        Place::Attribute { path, .. } => match path.strip_prefix("/proc/sys") {
            Ok(rest) => rest.display().to_string().replace('/', "."),
            Err(_) => path.display().to_string(),
        },
        other => other.to_string(),
    };
    match change.subject.is_empty() || place.contains(&change.subject) {
        true => place,
        false => format!("{place} ({})", change.subject),
    }
}

fn one(screen: &mut Screen, name: &str, change: &Change) {
    let state = |state: &Option<String>| state.as_deref().map_or("(absent)".into(), short);
    let sign = if change.at_least { ">= " } else { "" };
    screen.line(&[(RED, &format!("  - {name} {}", state(&change.from)))]);
    screen.line(&[(GREEN, &format!("  + {name} {sign}{}", state(&change.to)))]);
}

/// A file, line by line, as `diff -u` shows it.
fn file(screen: &mut Screen, path: &str, change: &Change) {
    let (from, to) = (change.from.as_deref().unwrap_or_default(), change.to.as_deref().unwrap_or_default());
    let head = |there: bool| if there { path } else { "/dev/null" };
    screen.line(&[(RED, &format!("  --- {}", head(change.from.is_some())))]);
    screen.line(&[(GREEN, &format!("  +++ {}", head(change.to.is_some())))]);
    let diff = TextDiff::from_lines(from, to);
    for hunk in diff.unified_diff().context_radius(3).iter_hunks() {
        screen.line(&[(DIM, &format!("  {}", hunk.header()))]);
        for line in hunk.iter_changes() {
            let (sign, style) = match line.tag() {
                ChangeTag::Delete => ('-', RED),
                ChangeTag::Insert => ('+', GREEN),
                ChangeTag::Equal => (' ', PLAIN),
            };
            screen.line(&[(style, &format!("  {sign}{}", line.value().trim_end_matches('\n')))]);
        }
    }
}

fn boot(screen: &mut Screen, parameter: &Parameter) {
    title(screen, &parameter.knob, "after a reboot", kept(Persist::Boot, true));
    let word = |value: &str| match value.is_empty() {
        true => parameter.key.clone(),
        false => format!("{}={value}", parameter.key),
    };
    if let Some(from) = &parameter.from {
        screen.line(&[(RED, &format!("  - {}", word(from)))]);
    }
    screen.line(&[(GREEN, &format!("  + {}", parameter.word()))]);
    screen.blank();
}

fn hooks(screen: &mut Screen, hooks: &[Hook]) {
    let told: Vec<_> = hooks
        .iter()
        .map(|hook| match hook {
            Hook::ReloadSystemd => "systemd reads its units again",
            Hook::ReloadUdev => "udev reads its rules again",
            Hook::UpdateGrub => "the boot loader's configuration is made again",
        })
        .collect();
    if !told.is_empty() {
        screen.text(0, &format!("Then {}.", told.join(", and ")));
        screen.blank();
    }
}

/// What is not as wished, and yet not in the plan.
fn aside(screen: &mut Screen, findings: &[Finding]) {
    let is_aside = |finding: &&Finding| match finding.status {
        Status::Conflict | Status::NotSettable | Status::Unknown | Status::Obsolete => true,
        Status::Drift => finding.persist == Persist::Never,
        _ => false,
    };
    let aside: Vec<_> = findings.iter().filter(is_aside).collect();
    if !aside.is_empty() {
        screen.line(&[(BOLD, "Not as wished, and not in this plan")]);
        table(screen, &rows(&aside, false));
    }
}

fn refusals(screen: &mut Screen, refusals: &[Refusal]) {
    if refusals.is_empty() {
        return;
    }
    screen.line(&[(BOLD, "Refused")]);
    for refusal in refusals {
        screen.styled(2, RED, &format!("{} ({}): {}", refusal.id, refusal.knob, refusal.why));
        screen.styled(4, DIM, &format!("`--force {}` applies it nevertheless.", refusal.id));
    }
    screen.blank();
}

fn summary(screen: &mut Screen, seen: &Seen, plan: &Plan) {
    let several = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    };
    if plan.changes.is_empty() && plan.parameters.is_empty() {
        screen.text(0, "Nothing would be changed.");
        return;
    }
    let mut counts = Vec::new();
    if !plan.changes.is_empty() {
        counts.push(several(plan.changes.len(), "change"));
    }
    if !plan.parameters.is_empty() {
        counts.push(format!("{} for the next boot", several(plan.parameters.len(), "kernel parameter")));
    }
    if !plan.refusals.is_empty() {
        counts.push(several(plan.refusals.len(), "refusal"));
    }
    let next = match (seen.profile.applies, plan.refusals.is_empty()) {
        (false, _) => format!("Profile {} is only judged by, and never applied.", seen.profile.name),
        (true, false) => {
            "It is not applied as it is: leave knobs out with --skip ID, or override with --force ID.".into()
        }
        (true, true) => {
            "`tuner apply` does it; with --confirm-within 2m it undoes itself unless confirmed.".into()
        }
    };
    screen.text(0, &format!("{}. {next}", counts.join(", ")));
}

#[cfg(test)]
pub(super) mod tests;
