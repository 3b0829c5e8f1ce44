//! How the journal goes, for people and as JSON: the same for `stats` and `top`.

use serde_json::{Value, json};
use shm::status::{Journal, JournalIntake, JournalState, StatusReader};

/// What it promises.
const CLASSES: [&str; 4] = ["?", "async", "group", "sync"];

/// The name of its state.
pub(crate) fn state(state: &JournalState) -> &'static str {
    Journal::ALL.get(state.state as usize).map_or("?", |state| state.name())
}

/// The name of its class.
pub(crate) fn class(state: &JournalState) -> &'static str {
    CLASSES.get(state.class as usize).copied().unwrap_or("?")
}

/// All of it; null if there is none.
pub(crate) fn json(status: &StatusReader) -> Value {
    status.journal().map_or(Value::Null, |(state, intake)| json_of(&state, &intake))
}

pub(crate) fn json_of(journal: &JournalState, intake: &JournalIntake) -> Value {
    json!({
        "state": state(journal), "class": class(journal), "first": journal.first,
        "accepted": intake.accepted, "written": journal.written, "durable": journal.durable, "lost": intake.lost,
        "segment": journal.segment, "disk_bytes": journal.disk_bytes, "waiting_bytes": journal.waiting_bytes,
        "capacity_bytes": journal.capacity_bytes, "errno": journal.errno,
    })
}

/// A row for each figure.
pub(crate) fn rows(journal: &JournalState, intake: &JournalIntake) -> Vec<Vec<String>> {
    let numbers = [
        ("records of this run from", journal.first),
        ("accepted", intake.accepted),
        ("written", journal.written),
        ("durable", journal.durable),
        ("lost", intake.lost),
        ("segment", journal.segment),
        ("bytes on disk", journal.disk_bytes),
        ("bytes waiting", journal.waiting_bytes),
    ];
    let text = |name: &str, value: &str| vec![name.to_owned(), value.to_owned()];
    let mut rows = vec![text("state", state(journal)), text("class", class(journal))];
    rows.extend(numbers.map(|(name, value)| text(name, &value.to_string())));
    rows
}
