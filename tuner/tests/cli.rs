//! The program as it is run: what it prints, what it never does, and with which status it ends.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const SWAPPINESS: &str = "proc/sys/vm/swappiness";
const THP: &str = "sys/kernel/mm/transparent_hugepage/enabled";
const HUGE: &str = "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";

/// A host with these settings: swappiness, transparent huge pages, huge pages.
fn host(settings: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let always = [
        ("proc/cmdline", "quiet\n"),
        ("proc/sys/kernel/hostname", "box\n"),
        ("proc/sys/kernel/osrelease", "6.1.0-38-amd64\n"),
        ("proc/sys/kernel/version", "#1 SMP PREEMPT_DYNAMIC Debian\n"),
        ("proc/sys/kernel/random/boot_id", "6a5c8a3e-0000-4000-8000-000000000001\n"),
        ("etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
        ("sys/devices/system/cpu/online", "0-3\n"),
    ];
    for (path, text) in always.iter().chain(settings) {
        put(root.path(), path, text);
    }
    root
}

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn tuned() -> TempDir {
    host(&[(SWAPPINESS, "10\n"), (THP, "always [madvise] never\n"), (HUGE, "512\n")])
}

fn drifting() -> TempDir {
    host(&[(SWAPPINESS, "60\n"), (THP, "[always] madvise never\n"), (HUGE, "0\n")])
}

fn tuner(root: &TempDir, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tuner"));
    command.arg("--root").arg(root.path()).args(["--only", "mem.thp,mem.huge2m,mem.swappiness"]);
    command.args(arguments).env("COLUMNS", "80").env_remove("NO_COLOR").output().unwrap()
}

fn status(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(output)))
}

/// The schema that the program itself prints.
fn validator(verb: &str) -> jsonschema::Validator {
    let output = Command::new(env!("CARGO_BIN_EXE_tuner")).args(["schema", verb]).output().unwrap();
    assert_eq!(status(&output), 0, "{}", said(&output));
    jsonschema::validator_for(&json(&output)).unwrap()
}

fn valid(verb: &str, document: &Value) {
    let validator = validator(verb);
    let errors: Vec<_> = validator
        .iter_errors(document)
        .map(|error| format!("{} at {}", error, error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{verb}: {errors:#?}");
}

/// Every file of a host, with what is in it.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        match entry.is_dir() {
            true => all.append(&mut contents(&entry)),
            false => drop(all.insert(entry.clone(), fs::read(&entry).unwrap())),
        }
    }
    all
}

#[test]
fn the_status_says_how_the_host_stands() {
    for verb in ["audit", "verify"] {
        assert_eq!(status(&tuner(&tuned(), &[verb])), 0);
        // Others end with 0 whatever they find.
        assert_eq!(status(&tuner(&drifting(), &[verb])), 1);
        // A missing file is this kernel's way, and no drift.
        let missing = host(&[(THP, "always [madvise] never\n")]);
        let output = tuner(&missing, &[verb, "--json"]);
        assert_eq!(status(&output), 0, "{}", text(&output));
        assert_eq!(json(&output)["summary"]["not-supported"], 1);
    }
    assert_eq!(status(&tuner(&drifting(), &["audit", "--skip", "mem."])), 0);
    assert_eq!(status(&tuner(&drifting(), &["plan"])), 0);
}

#[test]
fn what_is_wrong_is_said_in_a_sentence_and_ends_with_2() {
    let root = tuned();
    for (arguments, expected) in [
        (&["audit", "--only", "mem.thq"][..], "there is no knob 'mem.thq': is 'mem.thp' meant?"),
        (&["audit", "--skip", "nothing.like.it"], "there is no knob 'nothing.like.it': `tuner audit --all`"),
        (&["explain", "mem.swapiness"], "is 'mem.swappiness' meant?"),
        (&["audit", "--profile", "rtcpu"], "there is no profile 'rtcpu'"),
        (&["plan", "--format", "sarif"], "SARIF carries findings"),
        (&["schema", "nothing"], "'nothing' prints no JSON; these do: apply, audit"),
        (&["apply", "/nowhere/plan.json"], "plan /nowhere/plan.json: No such file"),
        (&["apply", "--profile", "audit-only"], "profile audit-only is only judged by"),
    ] {
        let output = tuner(&root, arguments);
        assert_eq!((status(&output), text(&output).as_str()), (2, ""), "{arguments:?}");
        let said = said(&output);
        assert!(said.contains(expected) && said.lines().count() == 1, "{said}");
    }
    // Silence on a wrong profile would have it taken for applied.
    put(root.path(), "etc/tuner/profiles/own.toml", "[knobs]\n\"mem.thq\" = \"never\"\n");
    let output = tuner(&root, &["audit", "--profile", "own"]);
    assert_eq!(status(&output), 2);
    assert!(said(&output).contains("profile own: there is no knob 'mem.thq'"), "{}", said(&output));
    let output = Command::new(env!("CARGO_BIN_EXE_tuner")).args(["--root", "/nowhere", "audit"]).output();
    assert_eq!(status(&output.unwrap()), 2);
}

#[test]
fn looking_changes_nothing_and_leaves_nothing() {
    let root = drifting();
    let before = contents(root.path());
    for arguments in [
        &["audit"][..],
        &["audit", "--json"],
        &["verify"],
        &["verify", "--format", "sarif"],
        &["plan"],
        &["plan", "--json", "--profile", "rt-cpu"],
        &["explain", "mem.thp"],
        &["profiles"],
        &["status"],
    ] {
        tuner(&root, arguments);
        assert_eq!(contents(root.path()), before, "{arguments:?}");
    }
}

#[test]
fn what_each_verb_prints_is_as_its_schema_says() {
    let root = drifting();
    for (verb, arguments) in [
        ("audit", &["--all"][..]),
        ("audit", &["--profile", "trading-net"]),
        ("verify", &[]),
        ("plan", &["--profile", "rt-cpu"]),
        ("profiles", &[]),
        ("profiles", &["audit-only"]),
        ("explain", &["mem.thp"]),
        ("status", &[]),
        ("measure", &["--time", "1s", "--rounds", "1", "--cpus", "0"]),
    ] {
        let output = tuner(&root, &[&[verb, "--json"], arguments].concat());
        let document = json(&output);
        assert_eq!(document["verb"], verb);
        valid(verb, &document);
        // A schema that takes anything proves nothing.
        let mut other = document.clone();
        other["schema_version"] = 2.into();
        assert!(!validator(verb).is_valid(&other), "{verb}");
    }
    let mut document = json(&tuner(&root, &["audit", "--json"]));
    document["findings"][0]["status"] = "splendid".into();
    assert!(!validator("audit").is_valid(&document));
    for verb in ["apply", "rollback", "confirm"] {
        assert!(!validator(verb).is_valid(&document));
    }
}

#[test]
fn json_tells_the_profile_and_keeps_the_machine_id_to_itself() {
    let root = drifting();
    let output = tuner(&root, &["audit", "--json"]);
    let document = json(&output);
    assert!(!text(&output).contains("0123456789abcdef"));
    assert_eq!(document["profile"]["name"], "workstation-safe");
    assert_eq!(document["host"]["name"], "box");
    assert_eq!((&document["exit"], &document["summary"]["drift"]), (&1.into(), &2.into()));
    let drifting = document["findings"].as_array().unwrap().iter().find(|found| found["knob"] == "mem.thp");
    let drifting = drifting.unwrap();
    assert_eq!((&drifting["current"], &drifting["wanted"]), (&"always".into(), &"madvise".into()));
}

#[test]
fn sarif_has_what_its_standard_asks_for() {
    let root = drifting();
    let output = tuner(&root, &["audit", "--format", "sarif"]);
    assert_eq!(status(&output), 1);
    let log = json(&output);
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let driver = &run["tool"]["driver"];
    assert!(driver["name"].is_string());
    assert_eq!(run["invocations"][0]["executionSuccessful"], true);
    let rules = driver["rules"].as_array().unwrap();
    let results = run["results"].as_array().unwrap();
    assert_eq!((rules.len(), results.len()), (2, 2));
    for rule in rules {
        assert!(rule["id"].is_string() && rule["shortDescription"]["text"].is_string());
        assert!(rule["help"]["text"].as_str().unwrap().len() > 40);
    }
    for result in results {
        assert!(["none", "note", "warning", "error"].contains(&result["level"].as_str().unwrap()));
        assert!(result["message"]["text"].is_string());
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        let location = &result["locations"][0];
        let uri = location["physicalLocation"]["artifactLocation"]["uri"].as_str().unwrap();
        assert!(uri.starts_with("file:///"), "{uri}");
        assert!(result["partialFingerprints"]["setting/v1"].is_string());
    }
    let fine = json(&tuner(&tuned(), &["verify", "--format", "sarif"]));
    assert_eq!(fine["runs"][0]["results"], serde_json::json!([]));
}

#[test]
fn a_table_fits_the_screen_and_has_no_colours_elsewhere() {
    let root = drifting();
    for arguments in [&["audit", "--all"][..], &["plan"], &["explain", "mem.huge2m"], &["profiles"]] {
        let text = text(&tuner(&root, arguments));
        assert!(!text.contains('\u{1b}'), "{text}");
        let path = |line: &&str| !line.contains("/sys/");
        for line in text.lines().filter(path) {
            assert!(line.chars().count() <= 80, "{line}");
            assert_eq!(line.trim_end(), line);
        }
    }
    let text = text(&tuner(&root, &["audit"]));
    assert!(text.contains("profile workstation-safe: none was asked for or applied yet"), "{text}");
    assert!(text.contains("3 settings: 2 drift, 1 left."), "{text}");
    assert!(text.contains("`tuner plan` shows what would be changed"), "{text}");
    assert!(!text.contains("mem.huge2m"), "{text}");
}

#[test]
fn a_plan_reads_as_a_diff() {
    let text = text(&tuner(&drifting(), &["plan", "--profile", "rt-cpu"]));
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    for line in ["- vm.swappiness 60", "+ vm.swappiness 10"] {
        assert!(lines.contains(&line), "{text}");
    }
    assert!(text.contains("now; until the next boot: there is no systemd"), "{text}");
    assert!(
        lines.iter().any(|line| line.starts_with('+') && line.ends_with("nr_hugepages >= 512")),
        "{text}"
    );
    assert!(text.contains("3 changes"), "{text}");
    let text = self::text(&tuner(&tuned(), &["plan"]));
    assert!(text.contains("Nothing would be changed."), "{text}");
}

#[test]
fn a_plan_that_is_written_down_is_read_again() {
    let root = drifting();
    let printed = tuner(&root, &["plan", "--json"]);
    let plan: tuner::plan::Plan = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!(plan.identity.machine, "0123456789abcdef0123456789abcdef");
    let read = |name: &str, text: &str| {
        let path = root.path().join(name);
        fs::write(&path, text).unwrap();
        let output = tuner(&root, &["apply", path.to_str().unwrap()]);
        (status(&output), said(&output))
    };
    let later = text(&printed).replace("\"schema_version\": 1", "\"schema_version\": 2");
    let (status, said) = read("later.json", &later);
    assert_eq!(status, 2);
    assert!(said.contains("it is of version 2, not 1: make it again"), "{said}");
    let (status, said) = read("none.json", "{}");
    assert_eq!(status, 2);
    assert!(said.contains("it is none that `tuner plan --json` wrote"), "{said}");
    let mut refused = json(&printed);
    refused["refusals"] =
        serde_json::json!([{"id": "swap-headroom", "knob": "mem.swap", "why": "it would not fit"}]);
    let (status, said) = read("refused.json", &refused.to_string());
    assert_eq!(status, 3);
    assert!(said.contains("it would not fit (--force swap-headroom overrides it)"), "{said}");
}

#[test]
fn what_is_not_confirmed_is_undone_wherever_the_root_was_named_from() {
    let root = drifting();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tuner"));
    command.current_dir(root.path().parent().unwrap()).arg("--root").arg(root.path().file_name().unwrap());
    command.args(["--only", "mem.swappiness", "--profile", "rt-cpu", "apply", "--confirm-within", "1s"]);
    let applied = command.output().unwrap();
    assert_eq!(status(&applied), 0, "{}", said(&applied));
    let now = || fs::read_to_string(root.path().join(SWAPPINESS)).unwrap();
    let start = Instant::now();
    while now().trim() != "60" && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(now().trim(), "60");
}

#[test]
fn all_may_see_what_is_applied_whatever_the_umask_of_root() {
    use std::os::unix::fs::PermissionsExt;
    let root = drifting();
    let line =
        format!("umask 077; exec {} --root {} \"$@\"", env!("CARGO_BIN_EXE_tuner"), root.path().display());
    let mut command = Command::new("sh");
    command.args(["-c", &line, "sh", "--only", "mem.swappiness", "--profile", "rt-cpu", "apply"]);
    assert_eq!(status(&command.output().unwrap()), 0);
    let mode = |path: &str| fs::metadata(root.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode("var/lib/tuner"), mode("var/lib/tuner/state.json")], [0o755, 0o644]);
}

#[test]
fn an_apply_whose_terminal_goes_away_gets_to_its_end() {
    use std::os::unix::fs::PermissionsExt;
    let root = drifting();
    put(root.path(), "proc/1/comm", "systemd\n");
    put(root.path(), "usr/bin/systemctl", "#!/bin/sh\nkill -HUP $PPID\n");
    let program = root.path().join("usr/bin/systemctl");
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    let applied = tuner(&root, &["--profile", "rt-cpu", "--skip", "mem.huge2m", "apply"]);
    assert_eq!(applied.status.code(), Some(0), "{:?} {}", applied.status, said(&applied));
}

#[test]
fn explain_tells_all_and_how_it_stands_here() {
    let text = text(&tuner(&drifting(), &["explain", "mem.thp", "--profile", "audit-only"]));
    for part in [
        "Acts",
        "Costs",
        "When not",
        "Applies",
        "Undo",
        "Source",
        "Proof",
        "drift",
        "always",
        "never (from rt-cpu)",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_users_profile_lies_on_the_host_that_is_looked_at() {
    let root = drifting();
    put(
        root.path(),
        "etc/tuner/profiles/rt-cpu.toml",
        "about = \"Mine\"\ninherits = \"rt-cpu\"\n[knobs]\nmem.swappiness = 60\n",
    );
    let text = text(&tuner(&root, &["profiles", "rt-cpu"]));
    assert!(text.contains("Mine.") && text.contains("Inherits from rt-cpu."), "{text}");
    let document = json(&tuner(&root, &["audit", "--json", "--profile", "rt-cpu"]));
    assert_eq!(document["summary"], serde_json::json!({"drift": 2, "ok": 1}));
}

#[test]
fn help_teaches() {
    let help = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_tuner")).args(arguments).output().unwrap();
        assert_eq!(status(&output), 0);
        text(&output)
    };
    let all = help(&["--help"]);
    for verb in [
        "audit", "plan", "apply", "confirm", "verify", "rollback", "status", "explain", "capture", "profiles",
    ] {
        assert!(all.contains(verb), "{all}");
    }
    assert!(all.contains("Exit status:") && !all.contains("replay"), "{all}");
    for verb in ["audit", "plan", "apply", "confirm", "verify", "rollback", "status", "explain", "profiles"] {
        assert!(help(&[verb, "--help"]).contains("Exit status"), "{verb}");
    }
}

#[test]
fn a_comparison_leaves_the_host_as_it_was() {
    let root = drifting();
    let states = || json(&tuner(&root, &["audit", "--all", "--json"]))["findings"].clone();
    let before = states();
    let asked =
        ["measure", "--compare", "--ablate", "--time", "1s", "--rounds", "1", "--cpus", "0", "--json"];
    let output = tuner(&root, &asked);
    assert_eq!(status(&output), 0, "{}", said(&output));
    let document = json(&output);
    valid("measure", &document);
    assert_eq!(document["states"].as_array().unwrap().len(), 2);
    assert!(!document["ablated"].as_array().unwrap().is_empty());
    assert_eq!(states(), before);
}
