//! Where the knobs of clocks, sleep states and interrupts stand, and that no order of changes is refused on the way.

mod hosts;

use hosts::{Root, host, knob, nowhere, server, spots, topology, wanted};
use tuner::audit::Status;
use tuner::catalogue;
use tuner::facts::{ClockPolicy, Interrupt, Owner};
use tuner::knob::{Persist, Spot, Wish};
use tuner::profile::Profile;

#[test]
fn a_guest_has_no_clocks_of_its_own() {
    let mut facts = host(topology(1, 4, 1));
    facts.hypervisor = Some("kvm".into());
    for id in ["cpu.governor", "cpu.epp", "cpu.freq_lock", "cpu.turbo", "hw.smi"] {
        assert!(nowhere(id, &facts).contains("kvm"), "{id}");
    }
    for id in ["cpu.epb", "cpu.uncore", "cpu.throttle"] {
        assert_eq!(spots(id, &facts), [], "{id}");
    }
    facts.power.idle_driver = Some("none".into());
    assert!(nowhere("cpu.resume_latency", &facts).contains("sleep states"));
}

#[test]
fn no_limit_is_not_taken_for_no_sleep() {
    assert!(Wish::parse(knob("cpu.resume_latency"), "0").is_err());
    let facts = server();
    let root = Root::new();
    for cpu in [6, 7, 14, 15] {
        root.put(&format!("/sys/devices/system/cpu/cpu{cpu}/power/pm_qos_resume_latency_us"), "0\n");
    }
    let found = root.look(&facts, "rt-cpu", "cpu.resume_latency");
    assert_eq!(found.len(), 4);
    assert!(found.iter().all(|finding| finding.status == Status::Drift));
    assert!(found.iter().all(|finding| finding.target.as_deref() == Some("n/a")));
}

/// Sets one of a clock's limits as the kernel does: none may cross the other.
fn limit(limits: &mut (u64, u64), spot: &Spot, khz: u64) {
    let (lower, upper) = match spot.subject.ends_with("scaling_min_freq") {
        true => (khz, limits.1),
        false => (limits.0, khz),
    };
    assert!(lower <= upper, "{} to {khz} at {limits:?}", spot.subject);
    *limits = (lower, upper);
}

#[test]
fn limits_of_clocks_never_cross_there_and_back() {
    for before in [(800_000, 4_800_000), (2_400_000, 2_400_000), (800_000, 1_200_000), (3_000_000, 4_800_000)]
    {
        let mut facts = server();
        facts.power.policies = vec![ClockPolicy {
            name: "policy0".into(),
            sustained_khz: Some(2_400_000),
            lower_limit_khz: Some(before.0),
            ..ClockPolicy::default()
        }];
        assert_eq!(wanted("cpu.freq_lock", "auto", &facts), ["2400000"; 2]);
        let spots = spots("cpu.freq_lock", &facts);
        let mut limits = before;
        for spot in &spots {
            limit(&mut limits, spot, 2_400_000);
        }
        assert_eq!(limits, (2_400_000, 2_400_000));
        for spot in spots.iter().rev() {
            let former = if spot.subject.ends_with("scaling_min_freq") { before.0 } else { before.1 };
            limit(&mut limits, spot, former);
        }
        assert_eq!(limits, before);
    }
}

#[test]
fn clocks_are_set_where_they_can_be() {
    let mut facts = server();
    let known = ClockPolicy {
        name: "policy0".into(),
        preferences: vec!["default".into(), "performance".into()],
        sustained_khz: Some(2_100_000),
        lower_limit_khz: None,
    };
    facts.power.policies = vec![known, ClockPolicy { name: "policy1".into(), ..ClockPolicy::default() }];
    facts.power.uncore = vec![("package_00_die_00".into(), 2_400_000)];
    facts.power.energy_bias = "0-1".parse().unwrap();
    facts.power.throttle_counts = "0-15".parse().unwrap();
    assert_eq!(wanted("cpu.governor", "auto", &facts), ["performance"; 2]);
    let preferring = spots("cpu.epp", &facts);
    assert_eq!((preferring.len(), preferring[0].subject.as_str()), (1, "policy0"));
    assert_eq!(wanted("cpu.epb", "0", &facts), ["0", "0"]);
    assert_eq!(wanted("cpu.uncore", "auto", &facts), ["2400000"]);
    assert_eq!(spots("cpu.throttle", &facts).len(), 4);
    // Of a clock whose lasting pace is not known, nothing is wished.
    assert_eq!(wanted("cpu.freq_lock", "auto", &facts), ["2100000", "2100000"]);
    // The driver refuses other preferences while the governor is performance: it is undone first.
    let order = |id: &str| catalogue::all().position(|knob| knob.id == id).unwrap();
    assert!(order("cpu.epp") < order("cpu.governor"));
    assert_eq!(knob("cpu.epp").phase, knob("cpu.governor").phase);
}

fn interrupt(number: u32, actions: &str, affinity: &str, effective: &str) -> Interrupt {
    let effective = Some(effective.parse().unwrap());
    Interrupt { number, actions: actions.into(), affinity: affinity.parse().unwrap(), effective }
}

#[test]
fn interrupts_are_told_apart() {
    let mut facts = server();
    facts.interrupts = vec![
        interrupt(0, "timer", "0-15", "0"),
        interrupt(24, "eth0-rx-0", "0-15", "6"),
        interrupt(25, "", "0-15", "6"),
        interrupt(30, "nvme0q0", "0-15", "1"),
        interrupt(31, "nvme0q1", "6,14", "6"),
        interrupt(32, "virtio1-req.0", "0-15", "7"),
        interrupt(33, "virtio1-config", "0-15", "7"),
    ];
    let numbers = |id| {
        let interrupts = spots(id, &facts).into_iter();
        interrupts.map(|spot| spot.subject.split(' ').nth(1).unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(numbers("irq.affinity"), ["0", "24", "30", "33"]);
    assert_eq!(numbers("irq.managed"), ["31", "32"]);
    let managed = spots("irq.managed", &facts);
    assert_eq!(managed[0].subject, "irq 31 (nvme0q1)");
    assert!(managed[0].fixed.as_ref().unwrap().starts_with("all CPUs of its queue are isolated"));
    assert!(managed[1].fixed.as_ref().unwrap().contains("managed_irq"));
    assert_eq!(knob("irq.managed").persist, Persist::Never);
    let movable = spots("irq.affinity", &facts);
    assert!(movable[0].fixed.is_some() && movable[1].fixed.is_none());
}

#[test]
fn an_interrupt_is_judged_by_where_it_goes() {
    let mut facts = server();
    facts.interrupts = vec![interrupt(24, "eth0-rx-0", "0-15", "6")];
    let root = Root::new();
    let status = |affinity: &str, effective: &str| {
        root.put("/proc/irq/24/smp_affinity_list", affinity);
        root.put("/proc/irq/24/effective_affinity_list", effective);
        root.look(&facts, "rt-cpu", "irq.affinity").remove(0).status
    };
    assert_eq!(status("0-15\n", "6\n"), Status::Drift);
    // It goes to a right one by chance.
    assert_eq!(status("0-15\n", "1\n"), Status::Drift);
    // It was moved, and moves with its next arrival.
    assert_eq!(status("0-5,8-13\n", "6\n"), Status::Drift);
    assert_eq!(status("0-5,8-13\n", "1\n"), Status::Ok);
    assert_eq!(status("0-3\n", "3\n"), Status::Ok);
}

#[test]
fn what_cannot_be_moved_is_well_where_it_happens_to_be_well() {
    let mut facts = server();
    facts.interrupts = vec![interrupt(0, "timer", "0-15", "0")];
    let root = Root::new();
    root.put("/proc/irq/0/smp_affinity_list", "0-15\n");
    root.put("/proc/irq/0/effective_affinity_list", "0\n");
    assert_eq!(root.look(&facts, "rt-cpu", "irq.affinity")[0].status, Status::Ok);
    root.put("/proc/irq/0/effective_affinity_list", "6\n");
    assert_eq!(root.look(&facts, "rt-cpu", "irq.affinity")[0].status, Status::NotSettable);
}

#[test]
fn a_managed_interrupt_is_well_where_it_happens_to_be_well() {
    let mut facts = server();
    facts.interrupts = vec![interrupt(31, "nvme0q1", "5-6", "6")];
    let root = Root::new();
    let status = |effective: &str| {
        root.put("/proc/irq/31/effective_affinity_list", effective);
        root.look(&facts, "rt-cpu", "irq.managed").remove(0).status
    };
    assert_eq!((status("6\n"), status("5\n")), (Status::NotSettable, Status::Ok));
}

#[test]
fn stopping_irqbalance_is_no_conflict_with_it() {
    let mut facts = server();
    assert!(nowhere("irq.balance", &facts).contains("not installed"));
    facts.interrupts = vec![interrupt(24, "eth0-rx-0", "0-15", "6")];
    facts.owners = vec![Owner {
        unit: "irqbalance.service".into(),
        is_active: true,
        is_enabled: true,
        turns: vec!["irq.".into()],
    }];
    let root = Root::new();
    root.put("/proc/irq/24/smp_affinity_list", "0-15\n");
    root.put("/proc/irq/24/effective_affinity_list", "6\n");
    root.put("/usr/lib/systemd/system/irqbalance.service", "[Install]\nWantedBy=multi-user.target\n");
    root.put("/run/systemd/system/any", "");
    let wants = "/etc/systemd/system/multi-user.target.wants/irqbalance.service";
    for link in [wants, "/run/systemd/units/invocation:irqbalance.service"] {
        let path = root.put(link, "");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("../x", path).unwrap();
    }
    assert_eq!(root.look(&facts, "rt-cpu", "irq.balance")[0].status, Status::Drift);
    // Whoever leaves irqbalance alone would have it move interrupts back; stopped before, it is in nobody's way.
    assert_eq!(root.look(&facts, "rt-cpu", "irq.affinity")[0].status, Status::Conflict);
    let findings = tuner::audit::audit(&root.live(), &facts, &Profile::find("rt-cpu").unwrap());
    let moved = findings.iter().find(|finding| finding.knob == "irq.affinity").unwrap();
    assert_eq!(moved.status, Status::Drift);
}

#[test]
fn settings_are_found_where_the_kernel_has_them() {
    let root = Root::new();
    let cpus = "/sys/devices/system/cpu";
    root.put(&format!("{cpus}/online"), "0-1\n");
    root.put(&format!("{cpus}/cpu1/power/energy_perf_bias"), "6\n");
    root.put(&format!("{cpus}/cpu0/thermal_throttle/core_throttle_count"), "3\n");
    root.put(&format!("{cpus}/cpuidle/current_driver"), "intel_idle\n");
    root.put(&format!("{cpus}/cpufreq/boost"), "1\n");
    root.put(&format!("{cpus}/cpufreq/policy0/base_frequency"), "2100000\n");
    root.put(&format!("{cpus}/cpufreq/policy0/scaling_min_freq"), "800000\n");
    root.put(
        &format!("{cpus}/cpufreq/policy0/energy_performance_available_preferences"),
        "default performance \n",
    );
    root.put(&format!("{cpus}/cpufreq/policy10/scaling_min_freq"), "900000\n");
    root.put(&format!("{cpus}/cpufreq/policy2/scaling_min_freq"), "900000\n");
    root.put(&format!("{cpus}/cpu2/acpi_cppc/nominal_freq"), "3400\n");
    root.put(&format!("{cpus}/intel_uncore_frequency/package_00_die_00/initial_max_freq_khz"), "2400000\n");
    root.put("/sys/fs/cgroup/hot.slice/cpuset.cpus", "1\n");
    root.put("/sys/fs/cgroup/user.slice/cpuset.cpus", "\n");
    root.put("/proc/mounts", "none /sys/kernel/debug debugfs rw 0 0\n");
    root.put("/proc/sys/vm/dirty_bytes", "1000000\n");
    root.put("/proc/sys/vm/dirty_background_bytes", "0\n");
    root.put("/sys/kernel/mm/ksm/run", "0\n");
    root.put("/sys/kernel/mm/ksm/pages_shared", "7\n");
    let facts = tuner::facts::read(&root.live(), 1);
    let power = &facts.power;
    assert_eq!((power.energy_bias.to_string(), power.throttle_counts.to_string()), ("1".into(), "0".into()));
    assert_eq!(power.idle_driver.as_deref(), Some("intel_idle"));
    let policies: Vec<_> =
        power.policies.iter().map(|policy| (policy.name.as_str(), policy.sustained_khz)).collect();
    let told = [("policy0", Some(2_100_000)), ("policy2", Some(3_400_000)), ("policy10", None)];
    assert_eq!(policies, told);
    assert_eq!(power.policies[0].preferences, ["default", "performance"]);
    assert_eq!(power.policies[0].lower_limit_khz, Some(800_000));
    assert_eq!(power.uncore, [("package_00_die_00".to_owned(), 2_400_000)]);
    assert_eq!(facts.slices.len(), 1);
    assert_eq!((facts.slices[0].name.as_str(), facts.slices[0].cpus.to_string()), ("hot.slice", "1".into()));
    assert!(facts.kernel.has_debugfs && !facts.kernel.has_machine_checks);
    assert!(facts.memory.dirty_in_bytes && !facts.memory.dirty_background_in_bytes);
    assert!(facts.memory.merged_pages);
}
