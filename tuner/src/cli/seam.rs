//! Where the front meets what changes hosts: the engine, the boot loader's files, captures.

use super::Failure;
use super::exit;
use crate::report::outcome::{Applied, State, Told, Undone};
use std::time::Duration;
use tuner::audit::Finding;
use tuner::facts::Facts;
use tuner::host::Live;
use tuner::plan::{self, Plan};
use tuner::profile::Profile;

/// How to plan and to apply.
#[derive(Debug, Clone, Default)]
#[allow(dead_code, reason = "the engine reads it")]
pub(super) struct Options {
    pub(super) force: Vec<String>,
    pub(super) no_trial: bool,
    pub(super) keep_going: bool,
    pub(super) confirm_within: Option<Duration>,
}

/// What to undo.
#[derive(Debug, Clone, Copy)]
#[allow(dead_code, reason = "the engine reads it")]
pub(super) enum Which<'a> {
    Latest,
    To(&'a str),
    All,
}

fn missing<T>(what: &str) -> Result<T, Failure> {
    Err(Failure::new(exit::USAGE, format!("this build of the tuner cannot {what}")))
}

/// What is to be done so that the host is as it is wished.
pub(super) fn make_plan(
    _host: &Live,
    facts: &Facts,
    profile: &Profile,
    findings: &[Finding],
    _options: &Options,
) -> Result<Plan, Failure> {
    let mut plan = Plan::new(facts, &profile.name);
    plan.changes = plan::changes(findings);
    plan.parameters = plan::parameters(findings);
    Ok(plan)
}

/// Does it.
pub(super) fn apply(
    _host: &Live,
    _plan: &Plan,
    _options: &Options,
    _tell: &mut dyn FnMut(Told<'_>),
) -> Result<Applied, Failure> {
    missing("apply")
}

/// Undoes it.
pub(super) fn rollback(
    _host: &Live,
    _which: Which<'_>,
    _tell: &mut dyn FnMut(Told<'_>),
) -> Result<Undone, Failure> {
    missing("undo an apply")
}

/// Waits until an apply is confirmed, and undoes it if it is not in time. Others run it, not people.
pub(super) fn undo_unless_confirmed(_host: &Live, _id: &str) -> Result<Undone, Failure> {
    missing("undo an apply")
}

/// Keeps what waits to be confirmed; its journal's name.
pub(super) fn confirm(_host: &Live) -> Result<String, Failure> {
    missing("confirm")
}

/// What is applied, the earliest first.
pub(super) fn state(_host: &Live) -> Result<State, Failure> {
    Ok(State::default())
}

/// The profile that was applied last.
pub(super) fn last_profile(host: &Live) -> Option<String> {
    state(host).ok()?.applied.pop().map(|last| last.profile)
}

/// Sets again what a boot, or a device that came, has reset; of one device alone, if it is named. With `judge`, a trial
/// boot is judged as well.
pub(super) fn replay(_host: &Live, _device: Option<&str>, _judge: bool) -> Result<(), Failure> {
    missing("replay")
}

/// What the tuner reads of a host, as a file that tests read.
pub(super) fn capture(_host: &Live) -> Result<String, Failure> {
    missing("capture")
}
