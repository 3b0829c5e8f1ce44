//! Where the knobs of kernel, CPUs, interrupts and memory stand on hosts of different kinds, and what is wished there.

mod hosts;

use hosts::{Root, host, knob, nowhere, server, small, spots, topology, wanted};
use tuner::audit::{self, Status};
use tuner::catalogue;
use tuner::facts::{Facts, Loader, Slice};
use tuner::knob::{Persist, Places, Spot, Wish};
use tuner::place::{self, Form, Place};
use tuner::plan;
use tuner::profile::{BUILT_IN, Profile};

#[test]
fn cores_are_isolated_whole() {
    let facts = server();
    assert_eq!(wanted("boot.isolcpus", "auto", &facts), ["managed_irq,domain,6-7,14-15"]);
    assert_eq!(wanted("boot.nohz_full", "isolated", &facts), ["6-7,14-15"]);
    assert_eq!(wanted("boot.rcu_nocbs", "isolated", &facts), ["6-7,14-15"]);
    assert_eq!(wanted("boot.irqaffinity", "housekeeping", &facts), ["0-5,8-13"]);
    assert_eq!(wanted("boot.watchdog_cpumask", "housekeeping", &facts), ["0-5,8-13"]);
    assert_eq!(wanted("boot.wq", "housekeeping", &facts), ["0-5,8-13"; 2]);
    assert_eq!(wanted("cpu.resume_latency", "n/a", &facts), ["n/a"; 4]);
    let subjects: Vec<_> = spots("cpu.resume_latency", &facts).into_iter().map(|spot| spot.subject).collect();
    assert_eq!(subjects, ["cpu 6", "cpu 7", "cpu 14", "cpu 15"]);
}

#[test]
fn memory_is_set_aside_where_the_isolated_cpus_are() {
    let mut facts = server();
    let file = "hugepages/hugepages-2048kB/nr_hugepages";
    let at = Place::attribute(format!("/sys/devices/system/node/node1/{file}"), Form::Number);
    assert_eq!(spots("mem.huge2m", &facts), [Spot::new("node 1", at)]);
    let whole = Place::attribute(format!("/sys/kernel/mm/{file}"), Form::Number);
    assert_eq!(spots("mem.huge2m", &host(topology(1, 4, 1)))[0].place, whole);
    assert_eq!(wanted("numa.bind", "auto", &facts), ["[Service]\nNUMAPolicy=bind\nNUMAMask=1\n"]);
    assert!(nowhere("numa.bind", &small()).contains("one NUMA node"));
    assert!(nowhere("numa.zone_reclaim", &small()).contains("one NUMA node"));
    facts.memory.huge_page_sizes_kib = vec![2048];
    assert!(nowhere("mem.huge1g", &facts).contains("1048576"));
}

#[test]
fn masks_are_right_beyond_64_cpus() {
    let facts = host(topology(2, 32, 2));
    assert_eq!(wanted("boot.isolcpus", "auto", &facts), ["managed_irq,domain,62-63,126-127"]);
    let spot = spots("boot.wq", &facts).remove(0);
    let cpus = wanted("boot.wq", "housekeeping", &facts).remove(0);
    let root = Root::new();
    root.put("/sys/devices/virtual/workqueue/cpumask", "ffffffff,ffffffff,ffffffff,ffffffff\n");
    assert_eq!(place::get(&root.live(), &spot.place).unwrap().unwrap(), "0-127");
    place::set(&root.live(), &spot.place, Some(&cpus)).unwrap();
    let written = root.text("/sys/devices/virtual/workqueue/cpumask");
    assert_eq!(written, "3fffffff,ffffffff,3fffffff,ffffffff");
    assert_eq!(place::get(&root.live(), &spot.place).unwrap().unwrap(), cpus);
}

#[test]
fn nothing_to_isolate_means_no_parameter_and_not_an_empty_one() {
    let facts = small();
    let lone = [
        "boot.isolcpus",
        "boot.nohz_full",
        "boot.rcu_nocbs",
        "boot.irqaffinity",
        "boot.watchdog_cpumask",
        "boot.wq",
        "irq.default",
        "cg.partition",
        "cpu.resume_latency",
        "sys.affinity",
    ];
    for id in lone {
        assert!(nowhere(id, &facts).contains("spared"), "{id}");
    }
    assert_eq!(wanted("sched.rt_runtime", "auto", &facts), [""; 0]);
    for (name, _) in BUILT_IN {
        let findings = audit::audit(&Root::new().live(), &facts, &Profile::find(name).unwrap());
        let empty = plan::parameters(&findings).into_iter().filter(|parameter| parameter.value.is_empty());
        // threadirqs is a word without a value.
        assert!(empty.map(|parameter| parameter.word()).all(|word| word == "threadirqs"), "{name}");
    }
}

#[test]
fn a_real_time_kernel_lacks_what_it_lacks() {
    let mut facts = server();
    facts.kernel.is_rt = true;
    facts.kernel.build = "#1 SMP PREEMPT_RT Debian 6.1.147-1".into();
    let lacking = [
        "mem.thp",
        "mem.thp_defrag",
        "mem.khugepaged",
        "sched.numa_balancing",
        "kern.preempt",
        "kern.threadirqs",
        "boot.rcu_normal",
    ];
    for id in lacking {
        assert!(nowhere(id, &facts).contains("PREEMPT_RT"), "{id}");
        assert!(!spots(id, &server()).is_empty(), "{id}");
    }
    assert!(matches!((knob("irq.threads").places)(&facts), Places::Unknown(_)));
    assert_eq!(wanted("kern.rt", "auto", &facts), [facts.kernel.build.as_str()]);
    assert_eq!(spots("kern.rt", &facts)[0].fixed, None);
    let why = |facts: &Facts| spots("kern.rt", facts).remove(0).fixed.unwrap();
    assert!(why(&server()).contains("linux-image-rt-amd64"));
    let mut facts = server();
    facts.boot.kernels = vec!["6.1.0-38-amd64".into(), "6.1.0-37-rt-amd64".into()];
    assert!(why(&facts).starts_with("6.1.0-37-rt-amd64 is installed"));
}

#[test]
fn the_preemption_can_be_chosen_where_the_kernel_leaves_the_choice() {
    assert_eq!(wanted("kern.preempt", "full", &server()), ["full"]);
    let mut facts = server();
    facts.kernel.build = "#1 SMP PREEMPT Debian".into();
    assert!(nowhere("kern.preempt", &facts).contains("built"));
    // Without debugfs its effect cannot be seen; that is not taken for none.
    facts.kernel.build = "#1 SMP PREEMPT_DYNAMIC".into();
    facts.kernel.has_debugfs = false;
    assert_eq!(spots("kern.preempt", &facts)[0].effect, None);
}

#[test]
fn a_container_looks_but_does_not_touch() {
    let mut facts = server();
    facts.container = Some("docker".into());
    facts.memory.swaps = vec!["/dev/sda2".into()];
    let own =
        ["boot.isolcpus", "boot.nohz_full", "boot.rcu_nocbs", "boot.skew_tick", "kern.preempt", "mem.swap"];
    for id in own {
        assert!(spots(id, &facts).iter().all(|spot| spot.fixed.is_some()), "{id}");
    }
    let found = Root::new().look(&facts, "rt-cpu", "boot.isolcpus");
    assert_eq!(found[0].status, Status::NotSettable);
    assert!(plan::parameters(&found).is_empty());
}

#[test]
fn kernels_differ() {
    let at = |id: &str, version: (u32, u32)| {
        let mut facts = server();
        facts.kernel.version = version;
        match (knob(id).places)(&facts) {
            Places::At(spots) => spots[0].auto.clone().unwrap_or_else(|| "at".into()),
            Places::NotSupported(_) => "not supported".into(),
            Places::Obsolete(_) => "obsolete".into(),
            Places::Unknown(_) => "unknown".into(),
        }
    };
    assert_eq!(at("boot.isolcpus", (5, 5)), "domain,6-7,14-15");
    assert_eq!(at("boot.isolcpus", (5, 6)), "managed_irq,domain,6-7,14-15");
    assert_eq!((at("sched.dead", (5, 12)), at("sched.dead", (5, 13))), ("at".into(), "obsolete".into()));
    assert_eq!(at("sched.rt_runtime", (6, 11)), "-1");
    assert_eq!(at("sched.rt_runtime", (6, 12)), "obsolete");
    assert_eq!(at("sched.fair_server", (6, 11)), "not supported");
    assert_eq!(at("sched.fair_server", (6, 12)), "0");
    assert_eq!(at("boot.rcu_patience", (6, 10)), "not supported");
    assert_eq!(at("boot.rcu_patience", (6, 11)), "at");
    assert_eq!(at("boot.kthread_cpus", (6, 12)), "not supported");
    let mut facts = server();
    facts.kernel.release = "6.8.1-1015-realtime".into();
    assert_eq!(wanted("boot.kthread_cpus", "housekeeping", &facts), ["0-5,8-13"]);
}

#[test]
fn what_a_kernel_is_built_without_is_not_offered() {
    let options = [
        ("boot.nohz_full", "NO_HZ_FULL"),
        ("boot.rcu_nocbs", "RCU_NOCB_CPU"),
        ("boot.isolcpus", "CPU_ISOLATION"),
        ("sched.numa_balancing", "NUMA_BALANCING"),
    ];
    for (id, option) in options {
        let mut facts = server();
        facts.kernel.config = Some([(option.to_owned(), "y".to_owned())].into());
        assert_eq!(spots(id, &facts).len(), 1, "{id}");
        facts.kernel.config = Some([("SMP".to_owned(), "y".to_owned())].into());
        assert!(nowhere(id, &facts).contains(option), "{id}");
    }
    // With groups of real-time threads, the old limit still holds.
    let mut facts = server();
    facts.kernel.version = (6, 12);
    facts.kernel.config = Some([("RT_GROUP_SCHED".to_owned(), "y".to_owned())].into());
    assert_eq!(wanted("sched.rt_runtime", "auto", &facts), ["-1"]);
}

#[test]
fn a_slice_of_isolated_cpus_replaces_the_isolation_at_boot() {
    let slice = |name: &str, cpus: &str| Slice { name: name.into(), cpus: cpus.parse().unwrap() };
    let mut facts = server();
    assert!(nowhere("cg.partition", &facts).contains("AllowedCPUs=6-7,14-15"));
    facts.slices = vec![slice("user.slice", "0-5"), slice("chartd.slice", "0,6-7,14-15")];
    assert!(nowhere("cg.partition", &facts).contains("AllowedCPUs="));
    facts.slices.push(slice("hot.slice", "6-7,14-15"));
    let found = spots("cg.partition", &facts);
    assert_eq!((found.len(), found[0].subject.as_str()), (1, "hot.slice"));
    assert_eq!(wanted("boot.isolcpus", "auto", &facts), ["managed_irq,6-7,14-15"]);
    // The kernel takes the write, and says on reading that it did not work.
    let root = Root::new();
    let path = "/sys/fs/cgroup/hot.slice/cpuset.cpus.partition";
    root.put(path, "isolated invalid (Cpu list in cpuset.cpus not exclusive)\n");
    assert_eq!(root.look(&facts, "rt-cpu", "cg.partition")[0].status, Status::Drift);
    root.put(path, "isolated\n");
    assert_eq!(root.look(&facts, "rt-cpu", "cg.partition")[0].status, Status::Ok);
    facts.has_cpuset_v2 = false;
    assert!(nowhere("cg.partition", &facts).contains("version 2"));
}

#[test]
fn isolation_counts_when_both_its_words_and_its_effect_are_there() {
    let facts = server();
    let root = Root::new();
    let status = |command_line: &str, isolated: &str| {
        root.put("/proc/cmdline", command_line);
        root.put("/sys/devices/system/cpu/isolated", isolated);
        let found = root.look(&facts, "rt-cpu", "boot.isolcpus").remove(0);
        (found.status, found.note.is_some())
    };
    assert_eq!(status("quiet\n", "\n"), (Status::Drift, false));
    assert_eq!(status("isolcpus=domain,managed_irq,6,7,14-15\n", "6-7,14-15\n"), (Status::Ok, false));
    // The kernel shows the CPUs, but managed interrupts still go there.
    assert_eq!(status("isolcpus=6,7,14-15\n", "6-7,14-15\n"), (Status::Drift, false));
    // It did not follow.
    assert_eq!(status("isolcpus=managed_irq,domain,6-7,14-15\n", "\n"), (Status::Drift, true));
}

#[test]
fn callbacks_are_left_out_where_nohz_full_covers_them() {
    let mut facts = server();
    facts.topology.nohz_full = "6-7,14-15".parse().unwrap();
    assert!(nowhere("boot.rcu_nocbs", &facts).contains("nohz_full="));
    facts.kernel.command_line = "rcu_nocbs=6-7,14-15 nohz_full=6-7,14-15".into();
    assert_eq!(wanted("boot.rcu_nocbs", "isolated", &facts), ["6-7,14-15"]);
    for (name, _) in BUILT_IN {
        let profile = Profile::find(name).unwrap();
        let wishes = |id: &str| *profile.wish(knob(id)) != Wish::Leave;
        assert!(!(wishes("boot.nohz_full") && wishes("boot.rcu_nocbs")), "{name}");
    }
}

#[test]
fn swap_and_zram_are_apart_and_go_away() {
    let mut facts = server();
    facts.memory.swaps = vec!["/dev/sda2".into(), "/dev/zram0".into()];
    let areas = |id: &str| spots(id, &facts).into_iter().map(|spot| spot.subject).collect::<Vec<_>>();
    assert_eq!((areas("mem.swap"), areas("mem.zram")), (vec!["/dev/sda2".into()], vec!["/dev/zram0".into()]));
    let root = Root::new();
    root.put("/proc/swaps", "Filename Type Size Used Priority\n/dev/sda2 partition 1000 0 -2\n");
    let found = root.look(&facts, "rt-cpu", "mem.swap");
    assert_eq!((found[0].status, found[0].current.as_deref()), (Status::Drift, Some("-2")));
    let changes = plan::changes(&found);
    assert_eq!((changes[0].from.as_deref(), changes[0].to.as_deref()), (Some("-2"), None));
    root.put("/proc/swaps", "Filename Type Size Used Priority\n");
    let found = root.look(&facts, "rt-cpu", "mem.swap");
    assert_eq!((found[0].status, found[0].wanted.as_deref()), (Status::Ok, Some("off")));
    for wish in ["on", "auto", "0"] {
        assert!(Wish::parse(knob("mem.swap"), wish).is_err(), "{wish}");
    }
}

#[test]
fn limits_of_what_waits_to_be_written_stay_in_their_unit() {
    let mut facts = server();
    assert_eq!(spots("mem.dirty", &facts)[0].place, Place::sysctl("vm.dirty_ratio", Form::Number));
    assert_eq!(wanted("mem.dirty", "auto", &facts), ["10"]);
    facts.memory.dirty_in_bytes = true;
    facts.memory.total_kib = 100 << 10;
    assert_eq!(spots("mem.dirty", &facts)[0].place, Place::sysctl("vm.dirty_bytes", Form::Number));
    assert_eq!(wanted("mem.dirty", "auto", &facts), [(10u64 << 20).to_string()]);
    assert_eq!(wanted("mem.dirty_background", "auto", &facts), ["3"]);
}

#[test]
fn merged_pages_are_taken_apart() {
    let mut facts = server();
    assert_eq!(wanted("mem.ksm", "auto", &facts), ["0"]);
    facts.memory.merged_pages = true;
    assert_eq!(wanted("mem.ksm", "auto", &facts), ["2"]);
}

#[test]
fn sleep_states_forbidden_for_all_are_advised_against() {
    let facts = server();
    let root = Root::new();
    let statuses = || {
        let found = root.look(&facts, "rt-cpu", "boot.idle");
        found.into_iter().map(|finding| (finding.subject, finding.status)).collect::<Vec<_>>()
    };
    assert!(statuses().iter().all(|(_, status)| *status == Status::Ok));
    root.put("/proc/cmdline", "idle=poll quiet\n");
    assert_eq!(statuses()[0], ("idle".into(), Status::NotSettable));
    assert_eq!(statuses()[1].1, Status::Ok);
}

#[test]
fn the_kernel_of_the_next_boot_is_told() {
    let mut facts = server();
    assert!(nowhere("kern.default", &facts).contains("boot loader"));
    facts.boot.loader = Loader::Grub;
    assert!(matches!((knob("kern.default").places)(&facts), Places::Unknown(_)));
    facts.boot.next_kernel = Some("6.1.0-39-amd64".into());
    let root = Root::new();
    root.put("/proc/sys/kernel/osrelease", "6.1.0-38-rt-amd64\n");
    let found = root.look(&facts, "rt-cpu", "kern.default").remove(0);
    assert_eq!(found.status, Status::NotSettable);
    assert_eq!(found.note.unwrap(), "the next boot starts 6.1.0-39-amd64");
}

#[test]
fn serial_consoles_are_named() {
    let mut facts = server();
    facts.kernel.command_line = "console=tty0 console=ttyS0,115200".into();
    let spot = spots("log.serial", &facts).remove(0);
    assert_eq!(spot.auto.as_deref(), Some("tty0"));
    assert!(spot.fixed.unwrap().contains("console=ttyS0,115200"));
    facts.kernel.command_line = "console=tty0".into();
    assert_eq!(spots("log.serial", &facts)[0].fixed, None);
}

#[test]
fn a_clock_that_the_kernel_gave_up_is_not_forced() {
    let mut facts = server();
    assert_eq!(spots("boot.tsc", &facts)[0].fixed, None);
    facts.clock_source = Some("hpet".into());
    assert!(spots("boot.tsc", &facts)[0].fixed.is_some());
}

#[test]
fn each_knob_is_decided_in_some_profile_or_only_looked_at() {
    let areas = [
        "kern.", "boot.", "cg.", "cpu.", "hw.", "irq.", "sched.", "sys.", "cache.", "lim.", "mem.", "numa.",
        "log.",
    ];
    for knob in catalogue::all().filter(|knob| areas.iter().any(|area| knob.id.starts_with(area))) {
        let line = format!("\"{}\" =", knob.id);
        let is_decided = BUILT_IN.iter().any(|(_, text)| text.contains(&line));
        assert!(is_decided || knob.persist == Persist::Never, "{}", knob.id);
    }
}

#[test]
fn profiles_keep_what_they_promise() {
    let root = Root::new();
    let boots = |name: &str| {
        let findings = audit::audit(&root.live(), &server(), &Profile::find(name).unwrap());
        let mut keys: Vec<_> =
            plan::parameters(&findings).into_iter().map(|parameter| parameter.key).collect();
        keys.sort_unstable();
        keys.join(" ")
    };
    assert_eq!(boots("workstation-safe"), "");
    assert_eq!(boots("render-gpu"), "preempt");
    let stock = "irqaffinity isolcpus preempt rcu_nocbs rcupdate.rcu_normal_after_boot skew_tick threadirqs";
    assert_eq!(boots("rt-cpu"), stock);
    let spinning = "irqaffinity isolcpus nohz_full preempt rcupdate.rcu_normal_after_boot skew_tick";
    assert_eq!(boots("trading-net"), spinning);
    assert_eq!(boots("audit-only"), stock);
    assert!(!Profile::find("audit-only").unwrap().applies);
}
