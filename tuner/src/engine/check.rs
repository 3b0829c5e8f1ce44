//! What is looked at before anything is changed: whether a plan may be applied, still fits, and could be undone.

use super::outcome::ApplyError;
use super::{confirm, journal};
use crate::host::Host;
use crate::place::{self, Place};
use crate::plan::{Change, Plan, SCHEMA_VERSION};
use std::collections::HashMap;
use std::path::Path;

/// Whether no earlier apply is in the way.
pub(super) fn is_free(host: &dyn Host) -> Result<(), ApplyError> {
    for ledger in journal::load_all(host)? {
        if ledger.is_unfinished() {
            return Err(ApplyError::Unfinished(ledger.id));
        }
        if ledger.waits() {
            return Err(ApplyError::Unconfirmed(ledger.id));
        }
    }
    Ok(())
}

/// Whether a plan may be applied as it is. Returns for each change whether its place is as wished already.
pub(super) fn plan(host: &dyn Host, plan: &Plan) -> Result<Vec<bool>, ApplyError> {
    if plan.schema_version != SCHEMA_VERSION {
        return Err(ApplyError::Schema(plan.schema_version));
    }
    if !plan.refusals.is_empty() {
        return Err(ApplyError::Refused(plan.refusals.clone()));
    }
    let mut stale = identity(host, plan);
    let same = states(host, &plan.changes, &mut stale);
    if !stale.is_empty() {
        return Err(ApplyError::Stale(stale));
    }
    let lost: Vec<_> = plan.changes.iter().filter_map(|change| what_is_lost(host, change)).collect();
    match lost.is_empty() {
        true => Ok(same),
        false => Err(ApplyError::Irreversible(lost)),
    }
}

fn identity(host: &dyn Host, plan: &Plan) -> Vec<String> {
    let machine = host.read(Path::new("/etc/machine-id")).unwrap_or_default();
    let mut stale = Vec::new();
    if plan.identity.machine != machine.trim() {
        stale.push("it was made for another machine".into());
    } else if plan.identity.boot != confirm::boot(host) {
        stale.push("the machine was booted since it was made".into());
    }
    stale
}

fn states(host: &dyn Host, changes: &[Change], stale: &mut Vec<String>) -> Vec<bool> {
    // What a place will be when its turn comes, where earlier changes are of the same.
    let mut coming: HashMap<&Place, Option<String>> = HashMap::new();
    let mut same = Vec::new();
    for change in changes {
        let now = match coming.get(&change.place) {
            Some(state) => Ok(state.clone()),
            None => place::get_exactly(host, &change.place),
        };
        let is_same = now.as_ref().is_ok_and(|now| is_reached(change, now.as_deref()));
        let name = format!("{}: {}", change.knob, change.place);
        match now {
            Err(error) => stale.push(format!("{name} cannot be read ({error})")),
            Ok(now) if !is_same && !change.place.is_same(now.as_deref(), change.from.as_deref()) => {
                stale.push(format!(
                    "{name} is {} and no longer {}",
                    shown(&change.place, &now),
                    shown(&change.place, &change.from)
                ));
            }
            Ok(_) => {}
        }
        coming.insert(&change.place, change.to.clone());
        same.push(is_same);
    }
    same
}

/// A state for a sentence. Of a file, that it is there is enough.
pub(super) fn shown(place: &Place, state: &Option<String>) -> String {
    match (place, state) {
        (_, None) => "absent".into(),
        (Place::File { .. }, Some(text)) => format!("a file of {} bytes", text.len()),
        (_, Some(state)) => format!("'{state}'"),
    }
}

/// Whether a place is as a change wishes it.
pub(super) fn is_reached(change: &Change, now: Option<&str>) -> bool {
    change.place.is_same(now, change.to.as_deref())
        || (change.at_least
            && number(now).zip(number(change.to.as_deref())).is_some_and(|(now, to)| now >= to))
}

pub(super) fn number(state: Option<&str>) -> Option<i128> {
    state?.trim().parse().ok()
}

/// Why the former state could not be put back, if it could not.
fn what_is_lost(host: &dyn Host, change: &Change) -> Option<String> {
    let Place::File { path, .. } = &change.place else { return None };
    if let Ok(target) = host.link(path) {
        let (path, target) = (path.display(), target.display());
        return Some(format!(
            "{path} is a symbolic link to {target}, and would become a file: remove it, or make it a file"
        ));
    }
    let is_text = change.from.as_ref().is_none_or(|text| !text.contains(char::REPLACEMENT_CHARACTER));
    (!is_text).then(|| format!("{} is not UTF-8: move it away, or make it so", path.display()))
}
