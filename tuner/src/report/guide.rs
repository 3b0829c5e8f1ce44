//! What knobs and profiles are: `explain` and `profiles`.

use super::findings::{rows, style, table};
use super::screen::{BOLD, DIM, PLAIN, Screen};
use crate::cli::Seen;
use tuner::catalogue;
use tuner::knob::{Knob, Persist, Phase, Proof, Wish};
use tuner::profile::Profile;

/// Where the text beside a label begins.
const COLUMN: usize = 11;

/// All about a knob, and how it stands here.
pub(crate) fn explain(screen: &mut Screen, seen: &Seen, knob: &Knob, all: bool) {
    let explain = &knob.explain;
    screen.line(&[(BOLD, knob.id), (PLAIN, &format!("  {}", knob.title))]);
    screen.blank();
    for (label, text) in [
        ("Acts", explain.mechanism),
        ("Costs", explain.risk),
        ("When not", explain.when_not),
        ("Applies", explain.applies),
        ("Set", set(knob)),
        ("Undo", explain.undo),
        ("Takes", &knob.accepts.to_string()),
        ("Source", explain.source),
        ("Proof", proof(explain.proof)),
    ] {
        screen.entry(label, COLUMN, text);
    }
    screen.blank();
    let wish = match seen.profile.origin(knob) {
        Some(origin) if origin != seen.profile.name => format!("{} (from {origin})", seen.profile.wish(knob)),
        Some(_) => seen.profile.wish(knob).to_string(),
        None => "nothing".into(),
    };
    screen.entry("Wished", COLUMN, &format!("by {}: {wish}", seen.profile.name));
    screen.blank();
    let own: Vec<_> = seen.findings.iter().collect();
    table(screen, &rows(&own, all));
    for finding in
        own.iter().filter_map(|finding| finding.place.as_ref().map(|place| (finding, place))).take(1)
    {
        let (finding, place) = finding;
        screen.line(&[(style(finding.status), "Stands in  "), (PLAIN, &place.to_string())]);
    }
}

/// When and how it is set.
fn set(knob: &Knob) -> &'static str {
    match (knob.persist, knob.phase) {
        (Persist::Never, _) => "Never: it is only looked at.",
        (Persist::Boot, _) => "On the kernel's command line; it takes a reboot.",
        (Persist::Sysctl, _) => "At once, and by a line in /etc/sysctl.d.",
        (Persist::Udev, _) => "At once, and by a udev rule when the device comes again.",
        (Persist::Unit, _) => "At once, and by the boot unit.",
        (Persist::Itself, Phase::Services) => "At once; systemd keeps it.",
        (Persist::Itself, _) => "At once; it stays by itself.",
    }
}

fn proof(proof: Proof) -> &'static str {
    match proof {
        Proof::TestedReal => "Set and read back on a real machine.",
        Proof::TestedVm => "Set and read back in a virtual machine.",
        Proof::TestedModel => "Tested against a model of the kernel's files.",
        Proof::Untested => "Never seen set: there was no such device to try it on.",
        Proof::ReadOnly => "It is only looked at.",
    }
}

/// The profiles, each with what it is for.
pub(crate) fn profiles(screen: &mut Screen, profiles: &[Profile]) {
    let widest = profiles.iter().map(|profile| profile.name.chars().count()).max().unwrap_or(0);
    for profile in profiles {
        screen.entry(&profile.name, widest + 2, &format!("{}.", profile.about.trim_end_matches('.')));
        if let Some(parent) = profile.ancestors.first() {
            screen.styled(widest + 2, DIM, &format!("Inherits from {parent}."));
        }
    }
    screen.blank();
    screen.text(
        0,
        "`tuner profiles NAME` shows all that one wishes, `tuner plan --profile NAME` what it would change.",
    );
}

/// All that a profile wishes, and from where it has it.
pub(crate) fn profile(screen: &mut Screen, profile: &Profile) {
    screen.line(&[(BOLD, &profile.name)]);
    screen.text(2, &format!("{}.", profile.about.trim_end_matches('.')));
    if !profile.ancestors.is_empty() {
        screen.text(2, &format!("Inherits from {}.", profile.ancestors.join(", which inherits from ")));
    }
    screen.text(
        2,
        &format!(
            "Hot threads with a core of their own: {}. Huge pages take at most {} % of memory.{}",
            profile.hot_threads,
            profile.huge_pages_percent,
            if profile.applies { "" } else { " It is never applied." },
        ),
    );
    screen.blank();
    let wishes: Vec<_> =
        catalogue::all().filter_map(|knob| Some((knob, profile.wish(knob), profile.origin(knob)?))).collect();
    let knob_width = wishes.iter().map(|(knob, ..)| knob.id.len()).max().unwrap_or(0);
    let wish_width =
        wishes.iter().map(|(_, wish, _)| wish.to_string().chars().count()).max().unwrap_or(0).min(30);
    for (knob, wish, origin) in &wishes {
        let from = if *origin == profile.name { String::new() } else { format!("  from {origin}") };
        let is_left = **wish == Wish::Leave;
        screen.line(&[
            (PLAIN, &format!("  {:knob_width$}  ", knob.id)),
            (if is_left { DIM } else { BOLD }, &format!("{:wish_width$}", wish.to_string())),
            (PLAIN, &format!("  {}", knob.title)),
            (DIM, &from),
        ]);
    }
    screen.blank();
    let others = catalogue::all().count() - wishes.len();
    screen.text(0, &format!("{} wishes; {others} knobs are left alone.", wishes.len()));
}
