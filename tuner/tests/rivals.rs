//! Faults of other tuners and complaints about them, each with the test that holds it here.
//!
//! | What went wrong elsewhere | What holds it here |
//! |---|---|
//! | TuneD: an exception of a plugin is swallowed, and the profile is "OK"; rpk: a failed tuner ends with 0 | [`what_fails_is_a_failure_and_all_of_it_is_undone`] |
//! | TuneD: a missing sysctl fails the verification, even when told to ignore it | `src/audit/tests.rs::a_missing_file_is_not_supported_and_never_written` |
//! | TuneD: verifying a glob that matches nothing passes | `src/audit/tests.rs::a_knob_without_any_place_is_not_well` |
//! | TuneD: verifying says that something is wrong, not what | [`verifying_says_what_is_wrong`] |
//! | TuneD: undoing deletes the user's own line of irqbalance | [`the_users_line_for_irqbalance_stays`] |
//! | TuneD: undone to defaults on exit; stalld: restores defaults, not what it found | [`what_comes_back_is_what_was_found_and_no_default`] |
//! | TuneD: long lists of CPUs overflow GRUB's environment block | [`the_environment_block_holds_no_parameters`] |
//! | TuneD: `isolcpus=` with nothing behind it | `catalogue_host.rs::nothing_to_isolate_means_no_parameter_and_not_an_empty_one` |
//! | TuneD: a housekeeping core's sibling is isolated | `catalogue_host.rs::cores_are_isolated_whole` |
//! | TuneD: two that compute the command line | `boot.rs::what_the_host_sets_itself_is_not_set_twice` |
//! | TuneD: fear for GRUB's configuration | `boot.rs::what_proved_itself_is_promoted_and_reverting_leaves_nothing` |
//! | TuneD: no dry run | `cli.rs::looking_changes_nothing_and_leaves_nothing` |
//! | TuneD: programs start on a half-tuned host after a boot | `persist.rs::the_boot_unit_is_one_that_systemd_takes_and_comes_before_services` |
//! | rt-conf: the last parameter reads `2-3n` to a shell | `boot.rs::the_drop_in_adds_exactly_its_words_whatever_the_neighbours_are` |
//! | LLTune: writes `vm.ksm_run`, which no kernel has | [`plans_name_only_what_is_there`] |
//! | LLTune: undoing leaves files that were not there before | `every_knob.rs::every_host_takes_every_profile_and_gives_it_back` |
//! | saptune: reverting overwrites what somebody changed since | `engine/undoing.rs::what_somebody_changed_since_is_left_alone_and_told` |
//! | rtcqs: the text `0` is taken for yes | `src/audit/tests.rs::a_flag_is_what_it_says_and_not_that_it_says_something` |
//! | rtcqs: ends without the kernel's configuration | [`a_host_without_its_kernels_configuration_is_audited`] |
//! | latency-audit: a word on the command line is taken for its effect | `src/audit/tests.rs::what_is_effective_counts_and_not_what_was_asked_for` |
//! | irqbalance: asks a managed interrupt over and over | `engine/undoing.rs::an_interrupt_that_the_kernel_manages_is_asked_once` |

mod model;

use model::Model;
use std::path::Path;
use std::process::Command;
use tuner::audit::{Status, audit};
use tuner::engine::{self, ApplyError, Which};
use tuner::facts;
use tuner::host::Host;
use tuner::place::Place;
use tuner::plan::{self, Options, Plan};
use tuner::profile::{BUILT_IN, Profile};

const HOSTS: [&str; 6] = ["server", "debian-rt", "desktop", "laptop", "vm", "container"];
const SWAPPINESS: &str = "/proc/sys/vm/swappiness";

fn plan(host: &Model, profile: &str) -> Plan {
    let profile = Profile::find(profile).unwrap();
    let facts = facts::read(host, profile.hot_threads);
    let findings = audit(host, &facts, &profile);
    let force = tuner::interlock::ALL.map(str::to_owned).to_vec();
    let options = Options { program: "/usr/local/bin/tuner".into(), force, ..Options::default() };
    plan::make(host, &facts, &profile, &findings, &options).unwrap()
}

fn apply(host: &Model, profile: &str) -> Result<engine::Applied, ApplyError> {
    engine::apply(host, &plan(host, profile), &engine::Options::default(), &mut |_| {})
}

fn undo(host: &Model) {
    assert!(engine::rollback(host, &Which::All, &mut |_| {}).unwrap().is_complete());
}

#[test]
fn what_fails_is_a_failure_and_all_of_it_is_undone() {
    let last = "/proc/sys/net/ipv4/tcp_slow_start_after_idle";
    let host = Model::fixture("server").read_only(last);
    let state = || {
        let mut now = host.snapshot();
        now.files.retain(|path, _| !path.starts_with(engine::FOLDER));
        now
    };
    let before = state();
    let error = apply(&host, "workstation-safe").unwrap_err();
    assert!(matches!(error, ApplyError::RolledBack(_)) && error.exit() == 4, "{error}");
    assert!(error.to_string().contains(last), "{error}");
    assert!(host.writes().iter().any(|write| write.starts_with(SWAPPINESS)), "some of it was done");
    assert_eq!(state(), before);
}

#[test]
fn verifying_says_what_is_wrong() {
    let root = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let path = root.path().join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    put("/proc/cmdline", "quiet\n");
    put(SWAPPINESS, "63\n");
    let mut tuner = Command::new(env!("CARGO_BIN_EXE_tuner"));
    tuner.arg("--root").arg(root.path()).args([
        "verify",
        "--profile",
        "workstation-safe",
        "--only",
        "mem.swappiness",
    ]);
    let output = tuner.env("COLUMNS", "120").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1));
    // Which knob, what it is, and what it should be.
    assert!(["mem.swappiness", "63", "<= 10"].iter().all(|word| text.contains(word)), "{text}");
}

#[test]
fn the_users_line_for_irqbalance_stays() {
    let (host, own) = (Model::fixture("server"), "IRQBALANCE_BANNED_CPULIST=2-3\n");
    host.put("/etc/default/irqbalance", 0o644, own);
    for profile in ["rt-cpu", "trading-net"] {
        apply(&host, profile).unwrap();
        assert_eq!(host.text("/etc/default/irqbalance").as_deref(), Some(own));
        undo(&host);
        assert_eq!(host.text("/etc/default/irqbalance").as_deref(), Some(own));
    }
}

#[test]
fn what_comes_back_is_what_was_found_and_no_default() {
    let host = Model::fixture("server");
    let found = [(SWAPPINESS, "37\n"), ("/proc/sys/kernel/sched_rt_runtime_us", "870000\n")];
    for (path, text) in found {
        host.put(path, 0o644, text);
    }
    apply(&host, "rt-cpu").unwrap();
    assert_ne!(host.text(SWAPPINESS).as_deref(), Some("37\n"));
    undo(&host);
    for (path, text) in found {
        assert_eq!(host.text(path).as_deref(), Some(text));
    }
}

#[test]
fn the_environment_block_holds_no_parameters() {
    let host = Model::fixture("server");
    host.run("grub-editenv", &["-", "unset", "next_entry"]).unwrap();
    apply(&host, "trading-net").unwrap();
    assert!(plan(&host, "trading-net").parameters.iter().any(|parameter| parameter.key == "nohz_full"));
    let block = host.text("/boot/grub/grubenv").unwrap();
    let variables: Vec<_> = block.lines().filter(|line| line.contains('=')).collect();
    assert_eq!(variables, ["next_entry=tuner-trial"]);
    assert_eq!(block.len(), 1024);
}

#[test]
fn plans_name_only_what_is_there() {
    for name in HOSTS {
        let host = Model::fixture(name);
        for (profile, _) in BUILT_IN {
            for change in plan(&host, profile).changes {
                if let Place::Attribute { path, .. } = &change.place {
                    assert!(host.mode(path).is_ok(), "{name} {profile}: {}", path.display());
                }
            }
        }
        assert_eq!(host.writes(), [""; 0], "planning writes nothing");
    }
}

#[test]
fn a_host_without_its_kernels_configuration_is_audited() {
    let profile = Profile::find("rt-cpu").unwrap();
    let host = Model::fixture("server");
    host.remove(Path::new("/boot/config-6.1.0-38-amd64")).unwrap();
    let facts = facts::read(&host, 2);
    assert!(facts.kernel.config.is_none());
    let findings = audit(&host, &facts, &profile);
    let of = |knob: &str| findings.iter().find(|finding| finding.knob == knob).unwrap().status;
    assert_eq!((of("mem.swappiness"), of("boot.rcu_nocbs")), (Status::Drift, Status::Drift));
}
