//! Reports as JSON, one document a verb; `schemas/` says what is in them.
//!
//! What holds: a document names the host as it names itself and the boot, but not by its machine id, which is nobody's
//! business. Only a plan holds that: it is for that machine alone.

use super::findings::counts;
use super::outcome::{Applied, State, Undone};
use crate::cli::Seen;
use serde::Serialize;
use std::collections::BTreeMap;
use topology::CpuList;
use tuner::audit::Finding;
use tuner::catalogue;
use tuner::facts::{Facts, Owner};
use tuner::knob::{Explain, Knob, Persist, Phase};
use tuner::plan::{Plan, SCHEMA_VERSION};
use tuner::profile::Profile;

/// What is around all of them.
#[derive(Debug, Serialize)]
pub(crate) struct Document<T> {
    schema_version: u32,
    tuner: &'static str,
    verb: &'static str,
    #[serde(flatten)]
    body: T,
}

/// A document of a verb.
pub(crate) fn document<T: Serialize>(verb: &'static str, body: T) -> Document<T> {
    Document { schema_version: SCHEMA_VERSION, tuner: env!("CARGO_PKG_VERSION"), verb, body }
}

/// A host, and what was found on it.
#[derive(Debug, Serialize)]
pub(crate) struct Found<'a> {
    host: Host<'a>,
    profile: Origin<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    knob: Option<Explained>,
    exit: u8,
    summary: BTreeMap<&'static str, usize>,
    findings: &'a [Finding],
}

#[derive(Debug, Serialize)]
struct Host<'a> {
    name: Option<&'a str>,
    boot: &'a str,
    kernel: &'a str,
    is_rt: bool,
    hypervisor: Option<&'a str>,
    container: Option<&'a str>,
    cpus: CpuList,
    isolated: &'a CpuList,
    nohz_full: &'a CpuList,
    choice: Choice<'a>,
    memory_kib: u64,
    is_root: bool,
    owners: &'a [Owner],
}

#[derive(Debug, Serialize)]
struct Choice<'a> {
    housekeeping: &'a CpuList,
    isolated: &'a CpuList,
    reasons: &'a [String],
}

#[derive(Debug, Serialize)]
struct Origin<'a> {
    name: &'a str,
    ancestors: &'a [String],
    why: &'a str,
}

#[derive(Debug, Serialize)]
struct Explained {
    id: &'static str,
    title: &'static str,
    phase: Phase,
    persist: Persist,
    takes: String,
    explain: Explain,
}

/// What audit, verify and explain found.
pub(crate) fn found<'a>(seen: &'a Seen, knob: Option<&Knob>, exit: u8) -> Found<'a> {
    let Seen { profile, why, findings, .. } = seen;
    let explained = |knob: &Knob| Explained {
        id: knob.id,
        title: knob.title,
        phase: knob.phase,
        persist: knob.persist,
        takes: knob.accepts.to_string(),
        explain: knob.explain,
    };
    Found {
        host: host(seen.name.as_deref(), &seen.facts),
        profile: Origin { name: &profile.name, ancestors: &profile.ancestors, why },
        knob: knob.map(explained),
        exit,
        summary: counts(findings).into_iter().map(|(status, count)| (status.name(), count)).collect(),
        findings,
    }
}

fn host<'a>(name: Option<&'a str>, facts: &'a Facts) -> Host<'a> {
    let Facts { kernel, topology, choice, .. } = facts;
    Host {
        name,
        boot: &facts.identity.boot,
        kernel: &kernel.release,
        is_rt: kernel.is_rt,
        hypervisor: facts.hypervisor.as_deref(),
        container: facts.container.as_deref(),
        cpus: topology.online(),
        isolated: &topology.isolated,
        nohz_full: &topology.nohz_full,
        choice: Choice {
            housekeeping: &choice.housekeeping,
            isolated: &choice.isolated,
            reasons: &choice.reasons,
        },
        memory_kib: facts.memory.total_kib,
        is_root: facts.is_root,
        owners: &facts.owners,
    }
}

/// A plan as it is given to apply again.
#[derive(Debug, Serialize)]
pub(crate) struct Planned<'a> {
    verb: &'static str,
    #[serde(flatten)]
    plan: &'a Plan,
}

/// A plan.
pub(crate) fn plan(plan: &Plan) -> Planned<'_> {
    Planned { verb: "plan", plan }
}

/// Profiles, with all that they wish where that is asked for.
#[derive(Debug, Serialize)]
pub(crate) struct Profiles<'a> {
    profiles: Vec<Listed<'a>>,
}

#[derive(Debug, Serialize)]
struct Listed<'a> {
    name: &'a str,
    about: &'a str,
    ancestors: &'a [String],
    applies: bool,
    hot_threads: usize,
    huge_pages_percent: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    wishes: Option<Vec<Wished<'a>>>,
}

#[derive(Debug, Serialize)]
struct Wished<'a> {
    knob: &'static str,
    wish: String,
    from: &'a str,
}

/// Profiles.
pub(crate) fn profiles(profiles: &[Profile], with_wishes: bool) -> Profiles<'_> {
    let listed = profiles.iter().map(|profile| Listed {
        name: &profile.name,
        about: &profile.about,
        ancestors: &profile.ancestors,
        applies: profile.applies,
        hot_threads: profile.hot_threads,
        huge_pages_percent: profile.huge_pages_percent,
        wishes: with_wishes.then(|| wished(profile)),
    });
    Profiles { profiles: listed.collect() }
}

fn wished(profile: &Profile) -> Vec<Wished<'_>> {
    let wish = |knob: &'static Knob| {
        Some(Wished { knob: knob.id, wish: profile.wish(knob).to_string(), from: profile.origin(knob)? })
    };
    catalogue::all().filter_map(wish).collect()
}

/// What came of a verb, and with which status it ended.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome<'a, T> {
    exit: u8,
    outcome: &'a T,
}

/// What came of an apply.
pub(crate) fn applied(applied: &Applied, exit: u8) -> Document<Outcome<'_, Applied>> {
    document("apply", Outcome { exit, outcome: applied })
}

/// What came of a rollback.
pub(crate) fn undone(undone: &Undone, exit: u8) -> Document<Outcome<'_, Undone>> {
    document("rollback", Outcome { exit, outcome: undone })
}

/// What is applied.
pub(crate) fn state(state: &State, exit: u8) -> Document<Outcome<'_, State>> {
    document("status", Outcome { exit, outcome: state })
}

/// What was confirmed.
#[derive(Debug, Serialize)]
pub(crate) struct Confirmed<'a> {
    /// Its journal's name.
    id: &'a str,
}

/// What came of a confirmation: the name of the journal.
pub(crate) fn confirmed(id: &str) -> Document<Confirmed<'_>> {
    document("confirm", Confirmed { id })
}
