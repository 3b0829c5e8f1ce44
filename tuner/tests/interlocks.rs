//! Each interlock refuses what it is for, lets its neighbour pass, and can be forced alone.

use topology::{Cpu, CpuList, Topology};
use tuner::audit::{Finding, Status};
use tuner::facts::{Facts, Gpu, Interface};
use tuner::host::{Live, NicItem};
use tuner::interlock::{self, Proposal};
use tuner::knob::{Persist, Phase};
use tuner::place::{Form, Place};
use tuner::plan::{self, Change, Options, Parameter, PlanError};
use tuner::profile::Profile;

/// Two nodes of two cores of two CPUs: 0 and 4 share a core, as 1 and 5 do; 2, 3, 6 and 7 are on node 1.
fn facts() -> Facts {
    let cpus = |text: &str| text.parse::<CpuList>().unwrap();
    let cpu = |id: usize| Cpu {
        id,
        package: (id % 4) / 2,
        node: (id % 4) / 2,
        core: cpus(&format!("{},{}", id % 4, id % 4 + 4)),
        cache: CpuList::default(),
        is_small: false,
    };
    let mut facts = Facts {
        topology: Topology { cpus: (0..8).map(cpu).collect(), ..Topology::default() },
        clock_source: Some("tsc".into()),
        ..Facts::default()
    };
    facts.memory.total_kib = 8 << 20;
    facts.memory.available_kib = 4 << 20;
    facts
}

fn change(place: Place, to: Option<&str>) -> Change {
    Change {
        knob: "some.knob".into(),
        subject: String::new(),
        phase: Phase::Sysctl,
        persist: Persist::Unit,
        place,
        from: Some("0".into()),
        to: to.map(str::to_owned),
        at_least: false,
    }
}

fn parameter(key: &str, value: &str) -> Parameter {
    Parameter { knob: "boot.knob".into(), key: key.into(), value: value.into(), from: None }
}

fn profile() -> Profile {
    Profile::find("workstation-safe").unwrap()
}

const NOTHING: Proposal<'_> =
    Proposal { changes: &[], parameters: &[], rt_kernel: None, takes_itself_back: false, findings: &[] };

fn ids(facts: &Facts, proposal: Proposal<'_>) -> Vec<String> {
    let refusals = interlock::check(facts, &profile(), &proposal);
    for refusal in &refusals {
        // A name that can be forced, whose it is, why, and (after a colon or a stop) what to do.
        assert!(interlock::ALL.contains(&refusal.id.as_str()), "{refusal:?}");
        assert!(!refusal.knob.is_empty() && refusal.why.len() > 60, "{refusal:?}");
    }
    refusals.into_iter().map(|refusal| refusal.id).collect()
}

fn of_parameter(facts: &Facts, key: &str, value: &str) -> Vec<String> {
    ids(facts, Proposal { parameters: &[parameter(key, value)], ..NOTHING })
}

fn of_change(facts: &Facts, place: Place, to: Option<&str>) -> Vec<String> {
    ids(facts, Proposal { changes: &[change(place, to)], ..NOTHING })
}

#[test]
fn what_is_isolated_is_whole_cores_and_neither_the_boot_cpu_nor_a_whole_node() {
    let facts = facts();
    assert_eq!(of_parameter(&facts, "isolcpus", "managed_irq,domain,1,5"), [""; 0]);
    assert_eq!(of_parameter(&facts, "isolcpus", "managed_irq,0,4"), ["boot-cpu"]);
    assert_eq!(of_parameter(&facts, "nohz_full", "2-3,6-7"), ["whole-node"]);
    assert_eq!(of_parameter(&facts, "isolcpus", "3"), ["split-core"]);
    // Partitions of control groups isolate as well.
    let partition = || Place::attribute("/sys/fs/cgroup/hot.slice/cpuset.cpus", Form::Cpus);
    assert_eq!(of_change(&facts, partition(), Some("0,4")), ["boot-cpu"]);
    assert_eq!(of_change(&facts, partition(), Some("2-3,6-7")), ["whole-node"]);
    assert_eq!(of_change(&facts, partition(), Some("3")), ["split-core"]);
    assert_eq!(of_change(&facts, partition(), Some("3,7")), [""; 0]);
    // Who only keeps away from CPUs isolates none.
    assert_eq!(of_parameter(&facts, "irqaffinity", "0,4"), [""; 0]);
}

#[test]
fn no_tick_needs_the_tsc() {
    let mut facts = facts();
    assert_eq!(of_parameter(&facts, "nohz_full", "1,5"), [""; 0]);
    for source in [Some("kvm-clock"), Some("hpet"), None] {
        facts.clock_source = source.map(str::to_owned);
        assert_eq!(of_parameter(&facts, "nohz_full", "1,5"), ["clock-source"], "{source:?}");
    }
    assert_eq!(of_parameter(&facts, "isolcpus", "1,5"), [""; 0]);
}

#[test]
fn real_time_threads_are_unlimited_only_on_cpus_of_their_own() {
    let mut facts = facts();
    let limit = || Place::sysctl("kernel.sched_rt_runtime_us", Form::Number);
    assert_eq!(of_change(&facts, limit(), Some("-1")), ["rt-throttle"]);
    assert_eq!(of_change(&facts, limit(), Some("950000")), [""; 0]);
    let with_isolation = Proposal {
        changes: &[change(limit(), Some("-1"))],
        parameters: &[parameter("isolcpus", "1,5")],
        ..NOTHING
    };
    assert_eq!(ids(&facts, with_isolation), [""; 0]);
    facts.topology.isolated = "1,5".parse().unwrap();
    assert_eq!(of_change(&facts, limit(), Some("-1")), [""; 0]);
}

#[test]
fn swap_goes_only_if_what_is_in_it_fits() {
    let mut facts = facts();
    let swap = || Place::Swap { area: "/dev/vda2".into() };
    facts.memory.available_kib = 1200;
    facts.memory.swap_used_kib = 1000;
    assert_eq!(of_change(&facts, swap(), None), [""; 0]);
    facts.memory.available_kib = 1199;
    assert_eq!(of_change(&facts, swap(), None), ["swap-headroom"]);
    assert_eq!(of_change(&facts, swap(), Some("-2")), [""; 0]);
}

#[test]
fn huge_pages_take_no_more_than_the_profile_allows() {
    let facts = facts();
    assert_eq!(profile().huge_pages_percent, 50);
    let pages = |size: u64| {
        let path = format!("/sys/kernel/mm/hugepages/hugepages-{size}kB/nr_hugepages");
        Place::attribute(path, Form::Number)
    };
    assert_eq!(of_change(&facts, pages(2048), Some("2048")), [""; 0]);
    assert_eq!(of_change(&facts, pages(2048), Some("2049")), ["huge-pages"]);
    // Together: half of each is still too much with one more.
    let (two, one) = (change(pages(2048), Some("1024")), change(pages(1 << 20), Some("2")));
    assert_eq!(ids(&facts, Proposal { changes: &[two.clone(), one.clone()], ..NOTHING }), [""; 0]);
    for (count, refused) in [("4", 0), ("0:2,1:3", 1)] {
        let by_boot = [parameter("hugepagesz", "1G"), parameter("hugepages", count)];
        assert_eq!(ids(&facts, Proposal { parameters: &by_boot, ..NOTHING }).len(), refused, "{count}");
    }
    let by_boot = [parameter("hugepagesz", "1G"), parameter("hugepages", "0:1")];
    let all = Proposal { changes: &[two, one], parameters: &by_boot, ..NOTHING };
    assert_eq!(ids(&facts, all), ["huge-pages"]);
}

#[test]
fn a_card_that_carries_the_session_keeps_its_link() {
    let mut facts = facts();
    let card = |name: &str, carries_session| Interface {
        name: name.into(),
        carries_session,
        ..Interface::default()
    };
    facts.interfaces = vec![card("eth0", true), card("eth1", false)];
    let nic = |interface: &str, item| Place::Nic { interface: interface.into(), item };
    for item in [NicItem::CombinedChannels, NicItem::RxRing, NicItem::Eee, NicItem::RxPause] {
        assert_eq!(of_change(&facts, nic("eth0", item), Some("1")), ["session-nic"]);
    }
    assert_eq!(of_change(&facts, nic("eth1", NicItem::RxRing), Some("1")), [""; 0]);
    assert_eq!(of_change(&facts, nic("eth0", NicItem::RxUsecs), Some("0")), [""; 0]);
    let changes = [change(nic("eth0", NicItem::RxRing), Some("1"))];
    assert_eq!(ids(&facts, Proposal { changes: &changes, takes_itself_back: true, ..NOTHING }), [""; 0]);
}

#[test]
fn nvidia_gets_no_real_time_kernel() {
    let mut facts = facts();
    let with = Proposal { rt_kernel: Some("6.1.0-37-rt-amd64"), ..NOTHING };
    let card = |driver: &str| Gpu {
        pci: "0000:01:00.0".into(),
        vendor: 0x10de,
        driver: Some(driver.into()),
        node: None,
    };
    facts.gpus = vec![card("nouveau")];
    assert_eq!(ids(&facts, with), [""; 0]);
    facts.gpus = vec![card("nvidia")];
    assert_eq!(ids(&facts, with), ["rt-nvidia"]);
    assert_eq!(ids(&facts, NOTHING), [""; 0]);
}

#[test]
fn nothing_is_changed_from_within_a_container() {
    let facts = Facts { container: Some("docker".into()), ..facts() };
    let swappiness = || Place::sysctl("vm.swappiness", Form::Number);
    assert_eq!(of_change(&facts, swappiness(), Some("10")), ["container"]);
    assert_eq!(of_parameter(&facts, "skew_tick", "1"), ["container"]);
    assert_eq!(ids(&facts, NOTHING), [""; 0]);
}

fn finding(knob: &'static str, status: Status) -> Finding {
    Finding {
        knob,
        subject: String::new(),
        place: Some(Place::sysctl("vm.swappiness", Form::Number)),
        status,
        current: Some("60".into()),
        effective: None,
        wanted: Some("10".into()),
        target: Some("10".into()),
        phase: Phase::Sysctl,
        persist: Persist::Never,
        note: Some("tuned.service runs and sets it, too".into()),
    }
}

#[test]
fn what_somebody_else_sets_is_left_to_them_unless_it_is_forced() {
    let folder = tempfile::tempdir().unwrap();
    let host = Live::new(folder.path()).unwrap();
    let findings = [Finding { persist: Persist::Unit, ..finding("mem.swappiness", Status::Conflict) }];
    let make = |force: &[&str]| {
        let force = force.iter().map(|id| (*id).to_owned()).collect();
        plan::make(&host, &facts(), &profile(), &findings, &Options { force, ..Options::default() })
    };
    let plan = make(&[]).unwrap();
    assert!(plan.changes.is_empty() && plan.refusals.len() == 1);
    assert!(plan.refusals[0].id == "other-owner" && plan.refusals[0].why.contains("tuned.service"));
    // Another one's name lifts nothing.
    assert_eq!(make(&["container"]).unwrap().refusals, plan.refusals);
    let forced = make(&["other-owner"]).unwrap();
    assert_eq!((forced.changes.len(), forced.refusals.len()), (1, 0));
    assert!(forced.notes.iter().any(|note| note.contains("forced past other-owner")));
    assert!(matches!(make(&["no-such"]), Err(PlanError::NoSuchInterlock { .. })));
}

#[test]
fn a_profile_for_judging_makes_no_changes_even_if_forced() {
    let folder = tempfile::tempdir().unwrap();
    let host = Live::new(folder.path()).unwrap();
    let findings = [Finding { persist: Persist::Unit, ..finding("mem.swappiness", Status::Drift) }];
    let judge = Profile::find("audit-only").unwrap();
    let options = Options { force: vec!["audit-only".into()], ..Options::default() };
    for options in [Options::default(), options] {
        let plan = plan::make(&host, &facts(), &judge, &findings, &options).unwrap();
        assert!(plan.changes.is_empty() && plan.hooks.is_empty());
        assert!(plan.refusals.len() == 1 && plan.refusals[0].id == "audit-only", "{plan:?}");
    }
}
