//! The hosts of `tests/fixtures`, audited with every profile that comes with the program.
//!
//! What is found is counted in `fixtures/NAME.golden`, beside the facts that a person checked. After a change of the
//! catalogue or of profiles, `TUNER_GOLDEN=write cargo test -p tuner --test fixtures` writes them anew: look at the
//! difference.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use tuner::audit::audit;
use tuner::facts::{self, Facts};
use tuner::host::Recorded;
use tuner::profile::{BUILT_IN, Profile};

const HOSTS: [&str; 6] = ["container", "debian-rt", "desktop", "laptop", "server", "vm"];

fn path(name: &str, ending: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/{name}.{ending}"))
}

fn host(name: &str) -> Recorded {
    tuner::capture::open(&path(name, "host")).unwrap()
}

fn told(facts: &Facts) -> String {
    let mut text = String::new();
    let kernel = &facts.kernel;
    let mut line = |what: &str, value: String| writeln!(text, "{what}: {value}").unwrap();
    let list = |items: Vec<String>| items.join(", ");
    line("kernel", format!("{}{}", kernel.release, if kernel.is_rt { ", real-time" } else { "" }));
    line(
        "configured",
        kernel.option("NO_HZ_FULL").map_or("unknown".into(), |set| format!("NO_HZ_FULL={set}")),
    );
    line("hypervisor", facts.hypervisor.clone().unwrap_or("none".into()));
    line("container", facts.container.clone().unwrap_or("none".into()));
    line("CPUs", format!("{}, nodes {:?}", facts.topology.online(), facts.topology.nodes()));
    line("for hot threads", format!("'{}'; {}", facts.choice.isolated, facts.choice.reasons.join("; ")));
    let disk = |disk: &facts::Disk| format!("{} {:?}", disk.name, disk.kind);
    line("disks", list(facts.disks.iter().map(disk).collect()));
    let interface = |it: &facts::Interface| {
        let session = if it.carries_session { " session" } else { "" };
        format!("{} {:?} node {:?}, {} queues{session}", it.name, it.driver, it.node, it.queues.len())
    };
    line("interfaces", list(facts.interfaces.iter().map(interface).collect()));
    let interrupt = |it: &facts::Interrupt| format!("{} {} {}", it.number, it.actions, it.affinity);
    line(
        "interrupts",
        format!(
            "{}, the last {}",
            facts.interrupts.len(),
            facts.interrupts.last().map_or(String::new(), interrupt)
        ),
    );
    line(
        "GPUs",
        list(
            facts.gpus.iter().map(|gpu| format!("{} {:04x} {:?}", gpu.pci, gpu.vendor, gpu.driver)).collect(),
        ),
    );
    line("boots by", format!("{:?}, kernels {:?}", facts.boot.loader, facts.boot.kernels));
    line("next command line", facts.boot.next_command_line.clone().unwrap_or("unknown".into()));
    let owner = |it: &facts::Owner| format!("{} active {} enabled {}", it.unit, it.is_active, it.is_enabled);
    line("owners", list(facts.owners.iter().map(owner).collect()));
    line("swap", format!("{:?}", facts.memory.swaps));
    line("systemd, cpuset, root", format!("{} {} {}", facts.is_systemd, facts.has_cpuset_v2, facts.is_root));
    text
}

#[test]
fn hosts_are_found_as_they_were_before() {
    let mut changed = Vec::new();
    for name in HOSTS {
        let host = host(name);
        let mut text = told(&facts::read(&host, 2));
        for (profile, _) in BUILT_IN {
            let profile = Profile::find(profile).unwrap();
            let facts = facts::read(&host, profile.hot_threads);
            let mut counts = BTreeMap::new();
            for finding in audit(&host, &facts, &profile) {
                *counts.entry(finding.status).or_insert(0) += 1;
            }
            let counts: Vec<_> = counts.iter().map(|(status, count)| format!("{count} {status}")).collect();
            writeln!(text, "{}: {}", profile.name, counts.join(", ")).unwrap();
        }
        let golden = path(name, "golden");
        if std::env::var_os("TUNER_GOLDEN").is_some_and(|wish| wish == "write") {
            std::fs::write(&golden, &text).unwrap();
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != text {
            changed.push(format!("{name} is now:\n{text}"));
        }
    }
    assert!(changed.is_empty(), "TUNER_GOLDEN=write takes this over:\n{}", changed.join("\n"));
}

#[test]
fn each_is_written_as_it_is_read() {
    for name in HOSTS {
        let host = host(name);
        assert_eq!(host.to_string().parse::<Recorded>().unwrap(), host, "{name}");
        let by_hand = host.remarks[0].starts_with("Written by hand");
        assert!(by_hand || host.remarks[0].starts_with("Captured by tuner"), "{name} says how it came about");
    }
}

#[test]
fn the_session_is_found_through_sudo_and_bonds() {
    let mut host = host("server");
    let session = |host: &Recorded| -> Vec<String> {
        let found = facts::read(host, 2).interfaces;
        found.into_iter().filter(|it| it.carries_session).map(|it| it.name).collect()
    };
    assert_eq!(session(&host), ["eno1"], "by the default route");
    let routes = host.files.get_mut(Path::new("/proc/net/route")).unwrap();
    routes.1.push_str("bond0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n");
    host.files.insert("/sys/class/net/bond0/operstate".into(), (0o444, "up\n".into()));
    host.links.insert("/sys/class/net/bond0/lower_eno2".into(), "../eno2".into());
    let status = |above: u32| (0o444, format!("Uid:\t0\t0\t0\t0\nPPid:\t{above}\n"));
    host.files.insert("/proc/self/status".into(), status(70));
    host.files.insert("/proc/70/status".into(), status(60));
    host.files
        .insert("/proc/60/environ".into(), (0o400, "A=1\0SSH_CONNECTION=10.1.2.3 5000 10.1.2.4 22\0".into()));
    assert_eq!(session(&host), ["eno2"], "by the bond that the client is behind");
    let captured: Recorded = tuner::capture::capture(&host).parse().unwrap();
    assert_eq!(session(&captured), ["eno2"], "in a capture, too");
    assert!(!captured.to_string().contains("10.1.2"));
}

#[test]
fn what_a_container_left_behind_is_no_container() {
    let mut server = host("server");
    server.files.insert("/.dockerenv".into(), (0o755, String::new()));
    assert_eq!(facts::read(&server, 2).container, None, "it is in the first namespaces");
    server.links.insert("/proc/self/ns/pid".into(), "pid:[4026532301]".into());
    assert_eq!(facts::read(&server, 2).container.as_deref(), Some("docker"));
}
