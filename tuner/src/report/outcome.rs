//! What came of an apply and of its undoing, and what is applied.

use super::plan::name;
use super::screen::{BOLD, DIM, GREEN, PLAIN, RED, Screen, YELLOW};
use serde::Serialize;
use tuner::plan::Change;

/// What happens, as it happens.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Told<'a> {
    /// So many steps begin.
    Steps(usize),
    /// One ended, counted from 0.
    Step {
        /// Which.
        step: usize,
        /// What it changes.
        change: &'a Change,
        /// How it went.
        how: How,
        /// What else is to be said. A sentence.
        note: &'a str,
    },
    /// One was undone, or not.
    Back {
        /// What it had changed.
        change: &'a Change,
        /// How it went.
        how: How,
        /// What else is to be said. A sentence.
        note: &'a str,
    },
    /// Something else is done, such as that the boot loader's configuration is made.
    Other(&'a str),
}

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// As it should.
    Done,
    /// There was nothing to do.
    Same,
    /// In part, or not on this host.
    Partly,
    /// Not at all.
    Failed,
}

/// A change and what is to be said of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Note {
    /// Which change.
    pub(crate) change: Change,
    /// What. A sentence.
    pub(crate) note: String,
}

/// What an apply did.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Applied {
    /// The name of its journal: what `rollback --to` takes.
    pub(crate) id: String,
    /// How many settings were written.
    pub(crate) written: usize,
    /// How many were as wished already.
    pub(crate) unchanged: usize,
    /// Those that were given less than they asked for, or cannot be set on this host.
    pub(crate) partial: Vec<Note>,
    /// Those that failed and were put back.
    pub(crate) failed: Vec<Note>,
    /// Until when it has to be confirmed, in seconds since 1970.
    pub(crate) confirm_until_unix_s: Option<u64>,
    /// Whether a reboot has to complete it.
    pub(crate) is_reboot_pending: bool,
}

/// What undoing did.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Undone {
    /// The journals that were undone, the latest first.
    pub(crate) ids: Vec<String>,
    /// How many settings are as before.
    pub(crate) restored: usize,
    /// Those that are not.
    pub(crate) left: Vec<Note>,
    /// Commands that do what is left to do.
    pub(crate) by_hand: Vec<String>,
    /// Whether a reboot has to complete it.
    pub(crate) is_reboot_pending: bool,
}

/// What is applied.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct State {
    /// Each apply that is in effect, the earliest first.
    pub(crate) applied: Vec<InEffect>,
    /// The journal of one that was begun and did not get to its end.
    pub(crate) unfinished: Option<String>,
    /// Kernel parameters that wait for a reboot.
    pub(crate) awaited: Vec<String>,
}

/// An apply that is in effect.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct InEffect {
    /// The name of its journal.
    pub(crate) id: String,
    /// By which profile.
    pub(crate) profile: String,
    /// Since when, in seconds since 1970.
    pub(crate) since_unix_s: u64,
    /// Until when it has to be confirmed; none if it is.
    pub(crate) confirm_until_unix_s: Option<u64>,
    /// What it changed.
    pub(crate) changes: Vec<Standing>,
}

/// A change, and whether it still stands.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Standing {
    /// Which.
    pub(crate) change: Change,
    /// What is there now.
    pub(crate) now: Option<String>,
    /// Whether that is what was set.
    pub(crate) stands: bool,
}

/// A line of progress.
pub(crate) fn progress(screen: &mut Screen, steps: &mut usize, told: Told<'_>) {
    match told {
        Told::Steps(count) => *steps = count,
        Told::Other(what) => screen.text(2, what),
        Told::Step { step, change, how, note } => {
            let width = steps.to_string().len();
            let count = format!("{:>width$}/{steps}  ", step + 1);
            ended(screen, &count, change, &change.to, (how, note));
        }
        Told::Back { change, how, note } => ended(screen, "back  ", change, &change.from, (how, note)),
    }
}

/// A step that ended, forth or back, and the state it was to reach.
fn ended(screen: &mut Screen, head: &str, change: &Change, state: &Option<String>, (how, note): (How, &str)) {
    let (word, style) = match how {
        How::Done => ("done", GREEN),
        How::Same => ("same", DIM),
        How::Partly => ("partly", YELLOW),
        How::Failed => ("failed", RED),
    };
    let state = state.as_deref().map_or("(absent)".into(), super::findings::short);
    screen.line(&[
        (DIM, head),
        (style, &format!("{word:6}  ")),
        (PLAIN, &format!("{} = {state}", name(change))),
    ]);
    if !note.is_empty() {
        screen.styled(head.chars().count(), style, note);
    }
}

fn notes(screen: &mut Screen, heading: &str, notes: &[Note]) {
    if notes.is_empty() {
        return;
    }
    screen.line(&[(BOLD, heading)]);
    for note in notes {
        screen.text(2, &format!("{}: {}", name(&note.change), note.note));
    }
}

/// What an apply did, and how it is undone.
pub(crate) fn applied(screen: &mut Screen, applied: &Applied, now_unix_s: u64) {
    notes(screen, "Not or not wholly set", &applied.partial);
    notes(screen, "Failed, and put back", &applied.failed);
    screen.text(
        0,
        &format!(
            "Applied as {}: {} written, {} as wished before.",
            applied.id, applied.written, applied.unchanged
        ),
    );
    if let Some(until) = applied.confirm_until_unix_s {
        let left = until.saturating_sub(now_unix_s);
        screen.styled(
            0,
            YELLOW,
            &format!("`tuner confirm` within {left} s keeps it; else it undoes itself."),
        );
    }
    if applied.is_reboot_pending {
        screen.text(
            0,
            "Reboot to complete it: the new boot entry is tried once, and kept if all is as it should be.",
        );
    }
    screen.text(0, &format!("`tuner rollback --to {}` undoes it.", applied.id));
}

/// What undoing did, and what is left to do by hand.
pub(crate) fn undone(screen: &mut Screen, undone: &Undone) {
    notes(screen, "Not as before", &undone.left);
    if !undone.by_hand.is_empty() {
        screen.line(&[(BOLD, "To be done by hand")]);
        // These are to be copied: never wrapped.
        undone.by_hand.iter().for_each(|command| screen.line(&[(PLAIN, &format!("  {command}"))]));
    }
    match undone.ids.is_empty() {
        true => screen.text(0, "There was nothing to undo."),
        false => {
            screen.text(0, &format!("Undone: {}; as before: {}.", undone.ids.join(", "), undone.restored))
        }
    }
    if undone.is_reboot_pending {
        screen.text(0, "Reboot to complete it: kernel parameters stay until then.");
    }
}

/// What is applied, and what of it stands.
pub(crate) fn state(screen: &mut Screen, state: &State, now_unix_s: u64) {
    if let Some(id) = &state.unfinished {
        let text = format!(
            "{id} was begun and has not ended: if nobody is at it, `tuner rollback` undoes what it did."
        );
        screen.styled(0, RED, &text);
        screen.blank();
    } else if state.applied.is_empty() {
        screen.text(0, "Nothing is applied. `tuner plan` shows what would be.");
    }
    for apply in &state.applied {
        let standing = apply.changes.iter().filter(|change| change.stands).count();
        screen.line(&[(BOLD, &apply.id), (PLAIN, &format!("  profile {}", apply.profile))]);
        screen.text(
            2,
            &format!(
                "since {} ago; {standing} of {} changes stand",
                ago(now_unix_s.saturating_sub(apply.since_unix_s)),
                apply.changes.len()
            ),
        );
        if let Some(until) = apply.confirm_until_unix_s {
            let left = ago(until.saturating_sub(now_unix_s));
            screen.styled(
                2,
                YELLOW,
                &format!("It undoes itself in {left}, unless `tuner confirm` keeps it."),
            );
        }
        for change in apply.changes.iter().filter(|change| !change.stands) {
            let of = |state: Option<&str>| state.map_or("(absent)".into(), super::findings::short);
            let (set, now) = (of(change.change.to.as_deref()), of(change.now.as_deref()));
            screen.styled(2, YELLOW, &format!("{} was set to {set}, and is {now}", name(&change.change)));
        }
        screen.blank();
    }
    if !state.awaited.is_empty() {
        screen.text(0, &format!("After a reboot: {}.", state.awaited.join(" ")));
    }
}

/// A span of time, in its two largest units.
fn ago(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests;
