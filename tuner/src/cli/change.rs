//! The verbs about changes: plan and status, which only look, and apply, confirm and rollback.

use super::arguments::{Apply, Common, Format};
use super::seam::{self, Options, Which};
use super::{Failure, Seen, exit, host, print, print_json};
use crate::report::outcome::{self, Told};
use crate::report::{self, Screen, json};
use nix::sys::signal::{SigHandler, Signal, signal};
use serde::Deserialize;
use std::path::Path;
use std::time::SystemTime;
use tuner::plan::{Plan, Refusal, SCHEMA_VERSION};

/// What would be changed.
pub(super) fn plan(common: &Common, force: &[String], no_trial: bool) -> Result<u8, Failure> {
    let seen = Seen::new(common)?;
    let options = Options { force: force.to_owned(), no_trial, ..Options::default() };
    let plan = seam::make_plan(&*seen.host, &seen.facts, &seen.profile, &seen.findings, &options)?;
    if common.format() == Format::Json {
        print_json(&json::plan(&plan))?;
    } else {
        let mut screen = Screen::new();
        report::plan(&mut screen, &seen, &plan, common.all);
        print(&screen.into_text())?;
    }
    Ok(if plan.refusals.is_empty() { exit::FINE } else { exit::REFUSED })
}

/// Changes it.
pub(super) fn apply(common: &Common, how: &Apply) -> Result<u8, Failure> {
    let options = Options {
        force: how.force.clone(),
        no_trial: how.no_trial,
        keep_going: how.keep_going,
        confirm_within: how.confirm_within,
    };
    let (host, mut plan) = match &how.plan {
        Some(path) => (host(common)?, read(path)?),
        None => {
            let seen = Seen::new(common)?;
            if !seen.profile.applies {
                let name = &seen.profile.name;
                return Err(Failure::usage(format!("profile {name} is only judged by; apply another one")));
            }
            let plan = seam::make_plan(&*seen.host, &seen.facts, &seen.profile, &seen.findings, &options)?;
            (seen.host, plan)
        }
    };
    plan.refusals.retain(|refusal| !how.force.contains(&refusal.id));
    if !plan.refusals.is_empty() {
        let why = |refusal: &Refusal| format!("{} (--force {} overrides it)", refusal.why, refusal.id);
        let all: Vec<_> = plan.refusals.iter().map(why).collect();
        return Err(Failure::new(exit::REFUSED, all.join("; ")));
    }
    outlive_the_terminal();
    let applied = seam::apply(&*host, &plan, &options, &mut teller(common.format()))?;
    let exit = if !applied.failed.is_empty() {
        exit::ROLLED_BACK
    } else if !applied.partial.is_empty() {
        exit::DRIFT
    } else if applied.is_reboot_pending {
        exit::REBOOT
    } else {
        exit::FINE
    };
    if common.format() == Format::Json {
        print_json(&json::applied(&applied, exit))?;
    } else {
        let mut screen = Screen::new();
        outcome::applied(&mut screen, &applied, now_unix_s());
        print(&screen.into_text())?;
    }
    Ok(exit)
}

/// A session may end by what is changed, as when its network card is set up anew: that must not stop the change half
/// way.
fn outlive_the_terminal() {
    // It cannot fail for a signal that can be ignored.
    // SAFETY: to ignore a signal installs no handler.
    let _ = unsafe { signal(Signal::SIGHUP, SigHandler::SigIgn) };
}

/// A plan that was written down.
fn read(path: &Path) -> Result<Plan, Failure> {
    let of = |what: &dyn std::fmt::Display| Failure::usage(format!("plan {}: {what}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| of(&error))?;
    #[derive(Deserialize)]
    struct Version {
        schema_version: u32,
    }
    // Another version may have other fields: its number is asked for first.
    let version: Version = serde_json::from_str(&text)
        .map_err(|error| of(&format!("it is none that `tuner plan --json` wrote ({error})")))?;
    if version.schema_version != SCHEMA_VERSION {
        let version = version.schema_version;
        return Err(of(&format!("it is of version {version}, not {SCHEMA_VERSION}: make it again")));
    }
    serde_json::from_str(&text).map_err(|error| of(&error))
}

/// Tells people what happens while it does.
fn teller(format: Format) -> impl FnMut(Told<'_>) {
    let mut steps = 0;
    move |told| {
        let mut screen = Screen::new();
        outcome::progress(&mut screen, &mut steps, told);
        if format == Format::Text {
            // That nobody sees it is no reason to stop half way.
            let _ = report::print(&screen.into_text());
        }
    }
}

/// Keeps what waits to be confirmed.
pub(super) fn confirm(common: &Common) -> Result<u8, Failure> {
    let id = seam::confirm(&*host(common)?)?;
    match common.format() {
        Format::Json => print_json(&json::confirmed(&id))?,
        _ => print(&format!("{id} is kept. `tuner rollback --to {id}` undoes it.\n"))?,
    }
    Ok(exit::FINE)
}

/// Undoes.
pub(super) fn rollback(common: &Common, to: Option<&str>, waits_for: Option<&str>) -> Result<u8, Failure> {
    let which = match to {
        Some(id) => Which::To(id),
        None if common.all => Which::All,
        None => Which::Latest,
    };
    let host = host(common)?;
    outlive_the_terminal();
    let undone = match waits_for {
        Some(id) => seam::undo_unless_confirmed(&*host, id)?,
        None => seam::rollback(&*host, which, &mut teller(common.format()))?,
    };
    let exit = if !undone.left.is_empty() || !undone.by_hand.is_empty() {
        exit::INCOMPLETE
    } else if undone.ids.is_empty() && waits_for.is_none() {
        exit::USAGE
    } else if undone.is_reboot_pending {
        exit::REBOOT
    } else {
        exit::FINE
    };
    if common.format() == Format::Json {
        print_json(&json::undone(&undone, exit))?;
    } else {
        let mut screen = Screen::new();
        outcome::undone(&mut screen, &undone);
        print(&screen.into_text())?;
    }
    Ok(exit)
}

/// Shows what is applied.
pub(super) fn status(common: &Common) -> Result<u8, Failure> {
    let state = seam::state(&*host(common)?)?;
    let all_stands = state.unfinished.is_none()
        && state.applied.iter().all(|apply| apply.changes.iter().all(|change| change.stands));
    let exit = match (all_stands, state.awaited.is_empty()) {
        (false, _) => exit::DRIFT,
        (true, false) => exit::REBOOT,
        (true, true) => exit::FINE,
    };
    if common.format() == Format::Json {
        print_json(&json::state(&state, exit))?;
    } else {
        let mut screen = Screen::new();
        outcome::state(&mut screen, &state, now_unix_s());
        print(&screen.into_text())?;
    }
    Ok(exit)
}

fn now_unix_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
