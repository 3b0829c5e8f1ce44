//! Every recorded host with every profile, and then every knob by itself: read, planned, set, verified, booted and undone.
//!
//! What holds: what an apply set reads as it was wished, also after a reboot; and what was undone is as it was to the
//! byte, files that were not there included, but for the tuner's own record of it ([`is_own_record`]).

mod model;

use model::Model;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use tuner::audit::{self, Finding, Status};
use tuner::engine::{self, Applied, Which};
use tuner::facts::{self, Facts};
use tuner::host::{Host, Recorded};
use tuner::knob::{Accepts, Knob, Persist, Places, Wish};
use tuner::persist::{self, Verdict};
use tuner::plan::{self, Options, Plan};
use tuner::profile::{BUILT_IN, Profile};
use tuner::{boot, catalogue};

const HOSTS: [&str; 6] = ["server", "debian-rt", "desktop", "laptop", "vm", "container"];
const PROGRAM: &str = "/usr/local/bin/tuner";

/// A host as it is found: GRUB's menu is that of its own files, and it was just booted.
fn machine(name: &str) -> Model {
    let host = match name {
        "server-more" => Model::new(&(model::fixture("server") + &model::fixture(name))),
        name => Model::fixture(name),
    };
    if boots(&host) {
        // The block that an installation makes.
        host.run("grub-editenv", &["-", "unset", "next_entry"]).unwrap();
        host.run("update-grub", &[]).unwrap();
        host.reboot();
    }
    host
}

/// Whether the model can boot it.
fn boots(host: &Model) -> bool {
    host.text(boot::GRUB_CFG).is_some()
}

/// What stays behind an undone apply, and differs from boot to boot.
fn is_own_record(path: &Path) -> bool {
    // Where among the CPUs that it may go to an interrupt goes, the kernel decides anew each time.
    let is_kernels_choice =
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("effective_affinity"));
    is_kernels_choice
        || path.starts_with(engine::FOLDER)
        || path == Path::new("/proc/sys/kernel/random/boot_id")
}

fn snapshot(host: &Model) -> Recorded {
    let mut now = host.snapshot();
    now.files.retain(|path, _| !is_own_record(path));
    now
}

/// What is not the same, a line each.
fn differences(before: &Recorded, after: &Recorded) -> Vec<String> {
    fn of<K: Ord, V: PartialEq + std::fmt::Debug>(
        before: &BTreeMap<K, V>,
        after: &BTreeMap<K, V>,
        name: impl Fn(&K) -> String,
    ) -> Vec<String> {
        let keys: BTreeSet<&K> = before.keys().chain(after.keys()).collect();
        let differs = keys.into_iter().filter(|key| before.get(*key) != after.get(*key));
        differs
            .map(|key| format!("{}: {:?} became {:?}", name(key), before.get(key), after.get(key)))
            .collect()
    }
    [
        of(&before.files, &after.files, |path| path.display().to_string()),
        of(&before.links, &after.links, |path| path.display().to_string()),
        of(&before.folders, &after.folders, |path| path.display().to_string()),
        of(&before.told, &after.told, Clone::clone),
    ]
    .concat()
}

struct Engine;

impl persist::Engine for Engine {
    fn apply(&self, host: &dyn Host, plan: &Plan) -> Result<(), String> {
        engine::apply(host, plan, &engine::Options::default(), &mut |_| {})
            .map(drop)
            .map_err(|error| error.to_string())
    }

    fn roll_back(&self, host: &dyn Host) -> Result<(), String> {
        undo(host)
    }
}

fn undo(host: &dyn Host) -> Result<(), String> {
    let undone = engine::rollback(host, &Which::All, &mut |_| {}).map_err(|error| error.to_string())?;
    match undone.is_complete() {
        true => Ok(()),
        false => Err(undone.by_hand().join("; ")),
    }
}

fn look(host: &Model, profile: &Profile) -> (Facts, Vec<Finding>) {
    let facts = facts::read(host, profile.hot_threads);
    let wished = catalogue::all().filter(|knob| *profile.wish(knob) != Wish::Leave);
    let findings = wished.flat_map(|knob| audit::one(host, &facts, profile, knob)).collect();
    (facts, findings)
}

/// The plan with all that refuses forced, and what refused.
fn forced(host: &Model, profile: &Profile) -> (Vec<Finding>, Plan, BTreeSet<String>) {
    let (facts, findings) = look(host, profile);
    let mut options = Options { program: PROGRAM.into(), ..Options::default() };
    let make = |options: &Options| plan::make(host, &facts, profile, &findings, options).unwrap();
    let refused: BTreeSet<String> = make(&options).refusals.into_iter().map(|refusal| refusal.id).collect();
    options.force = refused.iter().cloned().collect();
    let plan = make(&options);
    (findings, plan, refused)
}

/// What is to be set.
fn to_set(findings: &[Finding], with_boot: bool) -> Vec<&Finding> {
    let is_set = |finding: &&Finding| {
        matches!(finding.status, Status::Drift | Status::Conflict)
            && finding.persist != Persist::Never
            && finding.place.is_some()
            && (with_boot || finding.persist != Persist::Boot)
    };
    findings.iter().filter(is_set).collect()
}

/// Those of what drifted that are not as wished now, and why nobody minds if so.
fn unmet(before: &[Finding], after: &[Finding], applied: &Applied, with_boot: bool) -> Vec<String> {
    let mut unmet = Vec::new();
    for drifted in to_set(before, with_boot) {
        let is_it = |finding: &&Finding| {
            (finding.knob, &finding.subject, &finding.place)
                == (drifted.knob, &drifted.subject, &drifted.place)
        };
        let excuse = applied
            .partial
            .iter()
            .chain(&applied.skipped)
            .find(|note| Some(&note.change.place) == drifted.place.as_ref());
        match after.iter().find(is_it) {
            Some(now) if now.status == Status::Ok => {}
            _ if excuse.is_some() => {}
            // Another kernel was booted, for which it is nothing.
            None if after
                .iter()
                .any(|now| now.knob == drifted.knob && now.place.is_none() && now.note.is_some()) => {}
            now => unmet.push(format!(
                "{} {}: {:?}",
                drifted.knob,
                drifted.subject,
                now.map(|now| (now.status, &now.current, &now.effective, &now.wanted, &now.note))
            )),
        }
    }
    unmet
}

/// Applies, verifies and undoes; what went wrong.
fn here(name: &str, profile: &Profile, host: &Model) -> (Vec<String>, BTreeSet<String>) {
    let before = snapshot(host);
    let (findings, plan, refused) = forced(host, profile);
    let mut wrong = match engine::apply(host, &plan, &engine::Options::default(), &mut |_| {}) {
        Ok(applied) => unmet(&findings, &look(host, profile).1, &applied, false),
        Err(error) => vec![error.to_string()],
    };
    wrong.extend(undo(host).err());
    wrong.extend(differences(&before, &snapshot(host)));
    (wrong.into_iter().map(|line| format!("{name} {}: {line}", profile.name)).collect(), refused)
}

/// Applies, boots, verifies, undoes and boots again.
fn booted(name: &str, profile: &Profile, host: &Model) -> Vec<String> {
    let before = snapshot(host);
    let (findings, plan, _) = forced(host, profile);
    let mut wrong = Vec::new();
    let applied = match engine::apply(host, &plan, &engine::Options::default(), &mut |_| {}) {
        Ok(applied) => applied,
        Err(error) => return vec![format!("{name} {}, booted: {error}", profile.name)],
    };
    host.reboot();
    engine::resume(host, &mut |_| {}).unwrap();
    let replayed = persist::replay(host, None).unwrap();
    wrong.extend(replayed.failed);
    let verdict = persist::reconcile(host, &Engine).unwrap();
    let expected = if plan.boot.is_some() { Verdict::Promoted } else { Verdict::Nothing };
    if verdict != expected {
        wrong.push(verdict.to_string());
    }
    wrong.extend(unmet(&findings, &look(host, profile).1, &applied, true));
    wrong.extend(undo(host).err());
    host.reboot();
    wrong.extend(differences(&before, &snapshot(host)));
    wrong.into_iter().map(|line| format!("{name} {}, booted: {line}", profile.name)).collect()
}

/// Knobs that are set on no host of these, and why. One that is new and missing here has no place in a fixture.
const NEVER_SET: [(&str, &str); 1] = [("boot.kthread_cpus", "only patched kernels of some vendors know it")];

/// What to wish for a knob, so that something is to be set wherever it stands; the best guess first.
fn wishes(knob: &Knob) -> Vec<String> {
    let texts = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let own = match (knob.id, knob.accepts) {
        ("gpu.lgc" | "gpu.lmc", _) => texts(&["1200-1500"]),
        ("net.wol", _) => texts(&["g"]),
        (_, Accepts::Words(words)) => texts(words),
        (_, Accepts::Number(least, most)) => {
            let near = [0, 1, 2, 10, 1000, 100_000, 2_000_000].into_iter().chain([least, most]);
            near.filter(|number| (least..=most).contains(number)).map(|number| number.to_string()).collect()
        }
        (_, Accepts::Cpus) => texts(&["isolated", "housekeeping"]),
        (_, Accepts::CpusOrNone) => texts(&["housekeeping", "none"]),
        (_, Accepts::Flag) => texts(&["0", "1"]),
        (_, Accepts::Auto) => Vec::new(),
        (_, Accepts::Off) => texts(&["off"]),
        (_, Accepts::Text) => texts(&["disabled inactive", "masked inactive", "0", "1"]),
    };
    [texts(&["auto"]), own].concat()
}

/// A profile of the host that wishes this alone.
fn wishing(host: &Model, knob: &Knob, wish: &str) -> Option<Profile> {
    let text = format!("huge_pages_percent = 100\n[knobs]\n\"{}\" = \"{wish}\"\n", knob.id);
    host.put("/etc/tuner/profiles/alone.toml", 0o644, &text);
    Profile::find_on(host, "alone").ok()
}

/// Sets a knob alone and undoes it; none if there is nothing to set.
fn alone(name: &str, fresh: &Model, knob: &Knob, wish: &str) -> Option<Vec<String>> {
    let host = fresh.copy();
    let profile = wishing(&host, knob, wish)?;
    if to_set(&look(&host, &profile).1, true).is_empty() {
        return None;
    }
    let (mut wrong, ..) = here(name, &profile, &host);
    if wrong.is_empty() && knob.persist == Persist::Boot {
        wrong.extend(booted(name, &profile, &host));
    }
    Some(wrong.into_iter().map(|line| format!("{} = {wish}: {line}", knob.id)).collect())
}

#[test]
fn every_knob_alone_is_set_and_undone_somewhere() {
    let found = |name| {
        let host = machine(name);
        let facts = facts::read(&host, 2);
        (name, host, facts)
    };
    let hosts: Vec<_> = HOSTS.into_iter().chain(["server-more"]).map(found).collect();
    let (mut wrong, mut never) = (Vec::new(), Vec::new());
    for knob in catalogue::all().filter(|knob| knob.persist != Persist::Never) {
        let is_for = |host: &Model, facts: &Facts| {
            let is_there = matches!((knob.places)(facts), Places::At(spots) if !spots.is_empty());
            is_there && (knob.persist != Persist::Boot || boots(host))
        };
        let tried =
            hosts.iter().filter(|(_, host, facts)| is_for(host, facts)).flat_map(|(name, host, _)| {
                wishes(knob).into_iter().filter_map(move |wish| alone(name, host, knob, &wish))
            });
        let mut is_set = false;
        for outcome in tried {
            is_set |= outcome.is_empty();
            // What the kernel refuses is no fault, if all of it was undone.
            wrong.extend(outcome.into_iter().filter(|line| !line.ends_with("; all of it was undone")));
            if is_set {
                break;
            }
        }
        if !is_set {
            never.push(knob.id);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(never, NEVER_SET.map(|(knob, _)| knob));
}

/// Interlocks that refuse each profile that may be applied, in the order of their names.
const REFUSALS: [(&str, [&str; 4]); 6] = [
    // render-gpu, rt-cpu, trading-net, workstation-safe
    ("server", ["", "session-nic", "session-nic", ""]),
    ("debian-rt", ["", "session-nic", "session-nic", ""]),
    ("desktop", ["other-owner", "other-owner session-nic", "other-owner session-nic", ""]),
    ("laptop", ["other-owner unread-menu", "other-owner unread-menu", "other-owner unread-menu", ""]),
    ("vm", ["", "", "", ""]),
    ("container", ["container", "container rt-throttle", "container rt-throttle", "container"]),
];

#[test]
fn every_host_takes_every_profile_and_gives_it_back() {
    let mut wrong = Vec::new();
    for (name, refusals) in REFUSALS {
        let fresh = machine(name);
        let profiles = BUILT_IN.map(|(profile, _)| Profile::find(profile).unwrap());
        for (profile, expected) in profiles.iter().filter(|profile| profile.applies).zip(refusals) {
            let (problems, refused) = here(name, profile, &fresh.copy());
            wrong.extend(problems);
            let refused: Vec<_> = refused.into_iter().collect();
            assert_eq!(refused.join(" "), expected, "{name} {}", profile.name);
            if boots(&fresh) {
                wrong.extend(booted(name, profile, &fresh.copy()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_managed_or_not_given_is_told_and_the_rest_is_set() {
    let profile = Profile::find("rt-cpu").unwrap();
    let host = machine("server").managed(120).huge_pages(2048, 0, 100).huge_pages(2048, 1, 100);
    let before = snapshot(&host);
    let (findings, plan, _) = forced(&host, &profile);
    let applied = engine::apply(&host, &plan, &engine::Options::default(), &mut |_| {}).unwrap();
    let knobs = |notes: &[engine::Note]| -> Vec<String> {
        notes.iter().map(|note| note.change.knob.clone()).collect()
    };
    assert_eq!(knobs(&applied.skipped), ["irq.affinity"]);
    assert_eq!(knobs(&applied.partial), ["mem.huge2m"]);
    assert_eq!(unmet(&findings, &look(&host, &profile).1, &applied, false), [""; 0]);
    undo(&host).unwrap();
    assert_eq!(differences(&before, &snapshot(&host)), [""; 0]);
}

#[test]
fn what_is_only_for_judging_changes_no_host() {
    let profile = Profile::find("audit-only").unwrap();
    for name in HOSTS {
        let host = machine(name);
        let before = host.snapshot();
        let (_, plan, refused) = forced(&host, &profile);
        assert_eq!(refused.into_iter().collect::<Vec<_>>(), ["audit-only"]);
        assert!(engine::apply(&host, &plan, &engine::Options::default(), &mut |_| {}).is_err());
        assert_eq!(differences(&before, &host.snapshot()), [""; 0]);
    }
}
