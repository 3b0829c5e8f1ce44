//! Hosts made by hand for the tests of the catalogue, and folders with the files that an audit reads.

#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::path::PathBuf;
use topology::{Cpu, CpuList, Topology, choose};
use tuner::audit::{self, Finding};
use tuner::catalogue;
use tuner::facts::Facts;
use tuner::host::Live;
use tuner::knob::{Knob, Places, Spot, Wish};
use tuner::profile::Profile;

/// CPUs numbered as Linux does on x86: first one of each core, node by node, then their siblings.
pub(crate) fn topology(nodes: usize, cores: usize, threads: usize) -> Topology {
    let all = nodes * cores;
    let cpu = |id: usize| Cpu {
        id,
        package: id % all / cores,
        node: id % all / cores,
        core: (0..threads).map(|thread| id % all + thread * all).collect(),
        cache: CpuList::default(),
        is_small: false,
    };
    Topology { cpus: (0..all * threads).map(cpu).collect(), ..Topology::default() }
}

/// A Debian 12 host on iron, with two hot threads.
pub(crate) fn host(topology: Topology) -> Facts {
    let mut facts = Facts {
        choice: choose(&topology, 2, None),
        topology,
        is_systemd: true,
        has_cpuset_v2: true,
        clock_source: Some("tsc".into()),
        ..Facts::default()
    };
    facts.kernel.version = (6, 1);
    facts.kernel.release = "6.1.0-38-amd64".into();
    facts.kernel.build = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.147-1".into();
    facts.kernel.has_debugfs = true;
    facts.memory.total_kib = 64 << 20;
    facts.memory.huge_page_sizes_kib = vec![2048, 1 << 20];
    facts.power.idle_driver = Some("intel_idle".into());
    facts
}

/// Two sockets, four cores each, two threads a core: CPUs 6, 7 and their siblings 14, 15 can be spared.
pub(crate) fn server() -> Facts {
    host(topology(2, 4, 2))
}

/// One core: nothing can be spared.
pub(crate) fn small() -> Facts {
    host(topology(1, 1, 1))
}

/// A knob that there is.
pub(crate) fn knob(id: &str) -> &'static Knob {
    catalogue::find(id).unwrap_or_else(|| panic!("there is no {id}"))
}

/// Where it stands.
pub(crate) fn spots(id: &str, facts: &Facts) -> Vec<Spot> {
    match (knob(id).places)(facts) {
        Places::At(spots) => spots,
        nowhere => panic!("{id}: {nowhere:?}"),
    }
}

/// Why the host has no such thing.
pub(crate) fn nowhere(id: &str, facts: &Facts) -> String {
    match (knob(id).places)(facts) {
        Places::NotSupported(why) => why,
        other => panic!("{id}: {other:?}"),
    }
}

/// What a wish comes to, at each of its places where it comes to something.
pub(crate) fn wanted(id: &str, wish: &str, facts: &Facts) -> Vec<String> {
    let wish = Wish::parse(knob(id), wish).unwrap();
    spots(id, facts).iter().filter_map(|spot| Some(wish.at(spot, facts)?.to_string())).collect()
}

/// A folder with a host's files.
pub(crate) struct Root(tempfile::TempDir);

impl Root {
    /// One with a command line.
    pub(crate) fn new() -> Self {
        let root = Self(tempfile::tempdir().unwrap());
        root.put("/proc/cmdline", "quiet\n");
        root
    }

    /// Puts a file there, and says where it really is.
    pub(crate) fn put(&self, path: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// What a file there says.
    pub(crate) fn text(&self, path: &str) -> String {
        fs::read_to_string(self.0.path().join(path.trim_start_matches('/'))).unwrap()
    }

    /// The host.
    pub(crate) fn live(&self) -> Live {
        Live::new(self.0.path()).unwrap()
    }

    /// What an audit finds of one knob.
    pub(crate) fn look(&self, facts: &Facts, profile: &str, id: &str) -> Vec<Finding> {
        let mut profile = Profile::find(profile).unwrap();
        profile.narrow(|other| other == id);
        let findings = audit::audit(&self.live(), facts, &profile);
        findings.into_iter().filter(|finding| finding.knob == id).collect()
    }
}
