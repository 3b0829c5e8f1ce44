//! What the catalogue says of disks, network cards, graphics cards and services on hosts made by hand.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use topology::{Choice, CpuList};
use tuner::audit::{self, Finding, Status};
use tuner::catalogue;
use tuner::facts::{Disk, DiskKind, Facts, Gpu, Interface, Kernel};
use tuner::host::{Live, NicItem};
use tuner::knob::{Persist, Phase, Places, Spot};
use tuner::place::Place;
use tuner::plan;
use tuner::profile::{BUILT_IN, Profile};

fn places(facts: &Facts, id: &str) -> Places {
    let knob = catalogue::find(id).unwrap_or_else(|| panic!("there is no {id}"));
    (knob.places)(facts)
}

#[track_caller]
fn spots(facts: &Facts, id: &str) -> Vec<Spot> {
    match places(facts, id) {
        Places::At(spots) => spots,
        none => panic!("{id}: {none:?}"),
    }
}

#[track_caller]
fn not_supported(facts: &Facts, id: &str) -> String {
    match places(facts, id) {
        Places::NotSupported(why) => why,
        other => panic!("{id}: {other:?}"),
    }
}

/// Each spot's subject and what is right for it.
fn autos(facts: &Facts, id: &str) -> Vec<(String, Option<String>)> {
    spots(facts, id).into_iter().map(|spot| (spot.subject, spot.auto)).collect()
}

fn disk(name: &str, kind: DiskKind) -> Disk {
    Disk { name: name.into(), kind, is_rotational: false }
}

fn card(name: &str, queues: usize) -> Interface {
    let both = (0..queues).flat_map(|queue| [format!("rx-{queue}"), format!("tx-{queue}")]);
    Interface { name: name.into(), queues: both.collect(), ..Interface::default() }
}

/// A server with an NVMe and a SATA disk, two network cards, and two of its four CPUs isolated.
fn server() -> Facts {
    let choice = |list: &str| list.parse::<CpuList>().unwrap();
    Facts {
        disks: vec![
            disk("nvme0n1", DiskKind::Nvme),
            disk("sda", DiskKind::Scsi),
            disk("vda", DiskKind::Virtual),
            disk("dm-0", DiskKind::Other),
        ],
        interfaces: vec![card("eth0", 8), card("eth1", 1)],
        choice: Choice { housekeeping: choice("0-1"), isolated: choice("2-3"), reasons: vec![] },
        is_systemd: true,
        ..Facts::default()
    }
}

fn kernel(is_rt: bool, options: &[(&str, &str)]) -> Kernel {
    let config: BTreeMap<_, _> =
        options.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    Kernel { is_rt, config: Some(config), ..Kernel::default() }
}

fn nvidia(driver: Option<&str>) -> Gpu {
    Gpu { pci: "0000:01:00.0".into(), vendor: 0x10de, driver: driver.map(Into::into), node: None }
}

#[test]
fn each_disk_has_the_scheduler_that_suits_it() {
    let right = |name: &str, word: &str| (name.to_owned(), Some(word.to_owned()));
    let disks = autos(&server(), "blk.sched");
    assert_eq!(disks, [right("nvme0n1", "none"), right("sda", "mq-deadline"), right("vda", "mq-deadline")]);
    let path = "/sys/block/sda/queue/scheduler";
    assert!(
        matches!(&spots(&server(), "blk.sched")[1].place, Place::Attribute { path: own, .. } if own == Path::new(path))
    );
    let stacked = Facts { disks: vec![disk("dm-0", DiskKind::Other)], ..Facts::default() };
    for id in ["blk.sched", "blk.nomerges", "blk.write_cache", "pmem.dax"] {
        not_supported(&stacked, id);
    }
    assert!(not_supported(&stacked, "nvme.apst").contains("NVMe"));
    let apst = &spots(&server(), "nvme.apst")[0];
    assert!(
        matches!(&apst.place, Place::Parameter { key, .. } if key == "nvme_core.default_ps_max_latency_us")
    );
    assert!(apst.effect.is_some() && matches!(places(&server(), "blk.wear"), Places::Unknown(_)));
}

#[test]
fn completions_stay_off_isolated_cpus() {
    assert!(autos(&server(), "blk.rq_affinity").iter().all(|(_, auto)| auto.as_deref() == Some("0")));
    let shared = Facts { choice: Choice::default(), ..server() };
    assert!(autos(&shared, "blk.rq_affinity").iter().all(|(_, auto)| auto.as_deref() == Some("2")));
}

#[test]
fn a_card_gets_no_more_queues_than_cpus_may_serve_and_never_more_than_it_has() {
    let right = |name: &str, number: &str| (name.to_owned(), Some(number.to_owned()));
    assert_eq!(autos(&server(), "net.queues"), [right("eth0", "2"), right("eth1", "1")]);
    // With nobody to keep house, which cannot be, one is left.
    let nobody = Facts { choice: Choice::default(), ..server() };
    assert_eq!(autos(&nobody, "net.queues"), [right("eth0", "1"), right("eth1", "1")]);
    let knob = catalogue::find("net.queues").unwrap();
    assert!(knob.phase == Phase::NetworkQueues && knob.phase < Phase::Interrupts);
    assert_eq!(catalogue::find("net.queues.ring").unwrap().phase, Phase::NetworkQueues);
    // A card that adapts by itself is told not to before it is told how long to wait.
    let order = |id: &str| catalogue::all().position(|knob| knob.id == id).unwrap();
    assert!(order("net.coalesce.adaptive") < order("net.coalesce.usecs"));
    let usecs = &spots(&server(), "net.coalesce.usecs")[1].place;
    assert_eq!(*usecs, Place::Nic { interface: "eth1".into(), item: NicItem::RxUsecs });
}

#[test]
fn steering_is_for_each_queue_of_its_direction() {
    let subjects = |id| spots(&server(), id).into_iter().map(|spot| spot.subject).collect::<Vec<_>>();
    assert_eq!(subjects("net.steer.rps").len(), 9);
    assert_eq!(subjects("net.steer.xps")[8], "eth1 tx-0");
    let first = &spots(&server(), "net.steer.rps")[0].place;
    assert_eq!(first.to_string(), "/sys/class/net/eth0/queues/rx-0/rps_cpus");
    assert!(not_supported(&Facts::default(), "net.steer.rps").contains("network card"));
}

#[test]
fn busy_polling_is_missing_where_the_kernel_was_built_without() {
    let with = |kernel| Facts { kernel, ..Facts::default() };
    let without = with(kernel(true, &[("PREEMPT_RT", "y")]));
    for id in ["net.busy.poll", "net.busy.read"] {
        assert!(not_supported(&without, id).contains("real-time"), "{id}");
        assert!(not_supported(&with(kernel(false, &[])), id).contains("CONFIG_NET_RX_BUSY_POLL"), "{id}");
        assert_eq!(spots(&with(kernel(true, &[("NET_RX_BUSY_POLL", "y")])), id).len(), 1, "{id}");
        // Where the configuration cannot be read, the file tells.
        assert_eq!(spots(&Facts::default(), id).len(), 1, "{id}");
    }
    not_supported(&without, "sec.audit");
}

#[test]
fn packets_are_handled_in_threads_on_real_time_kernels() {
    let auto =
        |is_rt| autos(&Facts { kernel: kernel(is_rt, &[]), ..server() }, "net.napi_threaded").remove(0).1;
    assert_eq!((auto(true).as_deref(), auto(false).as_deref()), (Some("1"), Some("0")));
}

#[test]
fn graphics_cards_are_nvidias_with_nvidias_driver() {
    let with = |gpus, is_rt| Facts { gpus, kernel: kernel(is_rt, &[]), is_systemd: true, ..Facts::default() };
    let amd = Gpu { vendor: 0x1002, driver: Some("amdgpu".into()), ..nvidia(None) };
    for id in ["gpu.persist", "gpu.lgc", "gpu.lmc", "gpu.pl", "gpu.reasons", "seed.nvidia_smi_ac"] {
        assert!(not_supported(&with(vec![], false), id).contains("no NVIDIA card"), "{id}");
        assert!(not_supported(&with(vec![amd.clone()], false), id).contains("no NVIDIA card"), "{id}");
        assert!(not_supported(&with(vec![nvidia(None)], true), id).contains("real-time"), "{id}");
        assert!(
            not_supported(&with(vec![nvidia(Some("nouveau"))], false), id).contains("own driver"),
            "{id}"
        );
    }
    let working = with(vec![amd, nvidia(Some("nvidia"))], false);
    assert_eq!(spots(&working, "gpu.lgc").len(), 1);
    assert_eq!(spots(&working, "gpu.locality").len(), 2);
    assert!(matches!(places(&working, "gpu.reasons"), Places::Unknown(_)));
    assert!(matches!(places(&working, "seed.nvidia_smi_ac"), Places::Obsolete(_)));
}

#[test]
fn services_go_with_what_starts_them_and_come_back_after_their_sockets() {
    let noise: Vec<_> = catalogue::all().filter(|knob| knob.id.starts_with("svc.noise.")).collect();
    assert!(noise.len() >= 10);
    for knob in noise {
        let spots = spots(&server(), knob.id);
        let at = |ending: &str| spots.iter().position(|spot| spot.subject.ends_with(ending));
        // Undone in reverse: systemd starts no socket whose service runs.
        if let (Some(service), Some(socket)) = (at(".service"), at(".socket")) {
            assert!(service < socket, "{}", knob.id);
        }
        assert!(not_supported(&Facts::default(), knob.id).contains("systemd"), "{}", knob.id);
        assert_eq!((knob.phase, knob.persist), (Phase::Services, Persist::Itself), "{}", knob.id);
    }
    let printing: Vec<_> =
        spots(&server(), "svc.noise.printing").into_iter().map(|spot| spot.subject).collect();
    for unit in ["cups.service", "cups.socket", "cups.path"] {
        assert!(printing.iter().any(|name| name == unit), "{unit}");
    }
}

/// The findings on a host in a folder, by a profile with these wishes.
fn findings(facts: &Facts, files: &[(&str, &str)], wishes: &str) -> Vec<Finding> {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path.strip_prefix('/').unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let profile = dir.path().join("own.toml");
    fs::write(&profile, format!("[knobs]\n{wishes}")).unwrap();
    let profile = Profile::find(profile.to_str().unwrap()).unwrap();
    audit::audit(&Live::new(dir.path()).unwrap(), facts, &profile)
}

fn finding<'a>(findings: &'a [Finding], knob: &str, subject: &str) -> &'a Finding {
    findings.iter().find(|finding| finding.knob == knob && finding.subject == subject).unwrap()
}

#[test]
fn nobody_gets_the_write_cache_changed() {
    let files = [("/sys/block/sda/queue/write_cache", "write back\n")];
    let found = findings(&server(), &files, "\"blk.write_cache\" = \"write through\"\n");
    let cache = finding(&found, "blk.write_cache", "sda");
    assert_eq!(cache.status, Status::NotSettable);
    assert!(cache.note.as_ref().unwrap().contains("data lost"), "{cache:?}");
    assert!(plan::changes(&found).is_empty());
    for (name, _) in BUILT_IN {
        let profile = Profile::find(name).unwrap();
        let knob = catalogue::find("blk.write_cache").unwrap();
        assert_eq!(*profile.wish(knob), tuner::knob::Wish::Leave, "{name}");
    }
}

#[test]
fn what_means_the_same_does_not_drift_and_what_is_missing_is_not_supported() {
    let files = [
        ("/sys/block/nvme0n1/queue/scheduler", "[none] mq-deadline \n"),
        ("/sys/block/sda/queue/scheduler", "none [mq-deadline] bfq\n"),
        ("/sys/block/vda/queue/scheduler", "[none] mq-deadline\n"),
        ("/sys/class/net/eth0/queues/rx-0/rps_cpus", "00000000,00000000\n"),
        ("/sys/class/net/eth0/queues/rx-1/rps_cpus", "3\n"),
        ("/etc/systemd/system/bluetooth.service", "[Unit]\n[Install]\nWantedBy=bluetooth.target\n"),
    ];
    let wishes = "\"blk.sched\" = \"auto\"\n\"net.steer.rps\" = \"none\"\n\"net.eee\" = \"off\"\n\
                  \"svc.noise.bluetooth\" = \"masked inactive\"\n\"svc.noise.printing\" = \"masked inactive\"\n";
    let found = findings(&server(), &files, wishes);
    let status = |knob, subject| finding(&found, knob, subject).status;
    assert_eq!(status("blk.sched", "nvme0n1"), Status::Ok);
    assert_eq!(status("blk.sched", "sda"), Status::Ok);
    assert_eq!(status("blk.sched", "vda"), Status::Drift);
    assert_eq!(status("net.steer.rps", "eth0 rx-0"), Status::Ok);
    assert_eq!(status("net.steer.rps", "eth0 rx-1"), Status::Drift);
    assert_eq!(status("net.steer.rps", "eth0 rx-2"), Status::NotSupported);
    assert_eq!(status("net.eee", "eth0"), Status::NotSupported);
    assert_eq!(status("svc.noise.bluetooth", "bluetooth.service"), Status::Drift);
    assert_eq!(status("svc.noise.printing", "cups.socket"), Status::NotSupported);
    let bluetooth = finding(&found, "svc.noise.bluetooth", "bluetooth.service");
    assert_eq!(bluetooth.current.as_deref(), Some("disabled inactive"));
    let aliased = findings(&server(), &files, "\"blk.sched\" = \"deadline\"\n");
    assert_eq!(finding(&aliased, "blk.sched", "sda").status, Status::Ok);
}

#[test]
fn copied_commands_are_never_planned_and_name_knobs_that_exist() {
    let areas = ["blk.", "nvme.", "net.", "tcp.", "pci.", "gpu.", "svc.", "pmem.", "sec."];
    let seeds: Vec<_> = catalogue::all().filter(|knob| knob.id.starts_with("seed.")).collect();
    assert!(seeds.len() >= 20);
    for knob in seeds {
        assert_eq!(knob.persist, Persist::Never, "{}", knob.id);
        assert!(knob.explain.when_not.starts_with("Instead: "), "{}", knob.id);
        assert!(!matches!(places(&server(), knob.id), Places::At(_)), "{}", knob.id);
        let words = knob.explain.when_not.split([' ', ',', ';', ':', '(', ')']);
        let named = words
            .map(|word| word.trim_end_matches('.'))
            .filter(|word| areas.iter().any(|area| word.starts_with(area)));
        for id in named {
            assert!(catalogue::find(id).is_some(), "{} names {id}", knob.id);
        }
    }
    for id in ["seed.tcp_low_latency", "seed.tcp_no_delay", "seed.scheduler_deadline"] {
        assert!(matches!(places(&Facts::default(), id), Places::Obsolete(_)), "{id}");
    }
}

#[test]
fn where_a_profile_leaves_the_choice_to_a_knob_the_knob_has_one() {
    for (name, _) in BUILT_IN {
        let profile = Profile::find(name).unwrap();
        for knob in catalogue::all().filter(|knob| *profile.wish(knob) == tuner::knob::Wish::Auto) {
            if let Places::At(spots) = (knob.places)(&server()) {
                let is_here = |area| knob.id.starts_with(area);
                if ["blk.", "nvme.", "net.", "pci.", "gpu.", "svc."].into_iter().any(is_here) {
                    assert!(spots.iter().all(|spot| spot.auto.is_some()), "{name}: {}", knob.id);
                }
            }
        }
    }
}
