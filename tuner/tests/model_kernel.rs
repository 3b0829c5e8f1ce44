//! The model behaves as it says and, where this machine has the same files, as this machine's kernel.

mod model;

use model::Model;
use std::path::Path;
use tuner::host::{Host, HostErrorKind, Live, NicItem};

fn word(host: &dyn Host, path: &str) -> String {
    host.read(Path::new(path)).unwrap().trim().into()
}

fn put(host: &dyn Host, path: &str, text: &str) -> Result<(), HostErrorKind> {
    host.write(Path::new(path), text).map_err(|error| error.kind)
}

/// What is written to have a file read again as it does.
fn state(text: &str) -> &str {
    text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or(text, |(word, _)| word).trim()
}

/// Puts a setting of this machine back, whatever happens.
struct Restored<'a> {
    host: &'a Live,
    path: &'a str,
    was: String,
}

impl Drop for Restored<'_> {
    fn drop(&mut self) {
        put(self.host, self.path, state(&self.was)).unwrap();
    }
}

/// Writes the same to this machine and to a model that knows only this file, and compares answers and what is read.
/// Whether there was anything to compare.
fn alike(path: &str, writes: &[&str], with: &[&str]) -> bool {
    let host = Live::new(Path::new("/")).unwrap();
    let at = Path::new(path);
    let Ok(was) = host.read(at) else { return false };
    let entry = |path: &str| {
        let text = host.read(Path::new(path)).unwrap_or_default();
        let text: String = text.lines().map(|line| format!("  {line}\n")).collect();
        format!("file {:04o} {path}\n{text}", host.mode(Path::new(path)).unwrap_or(0o444))
    };
    let with: String = with.iter().map(|path| entry(path)).collect();
    let model = Model::new(&format!("{}{with}", entry(path)));
    // What cannot be put back as it was is not touched.
    if put(&host, path, state(&was)).is_err() {
        return false;
    }
    let _restored = Restored { host: &host, path, was };
    for text in writes {
        let (real, modelled) = (put(&host, path, text), put(&model, path, text));
        assert_eq!(modelled, real, "{path}: writing '{text}'");
        assert_eq!(word(&model, path), word(&host, path), "{path}: after writing '{text}'");
    }
    true
}

#[test]
fn it_answers_as_this_kernel_does() {
    let online = "/sys/devices/system/cpu/online";
    let irqs = Live::new(Path::new("/")).unwrap().list(Path::new("/proc/irq")).unwrap_or_default();
    let last = irqs.iter().filter(|name| name.parse::<u32>().is_ok()).max().cloned().unwrap_or_default();
    let affinity = format!("/proc/irq/{last}/smp_affinity_list");
    let mask = format!("/proc/irq/{last}/smp_affinity");
    let cases: [(&str, &[&str], &[&str]); 16] = [
        (
            "/sys/kernel/mm/transparent_hugepage/defrag",
            &["never", "defer+madvise", "no", "[never]", "never\n", ""],
            &[],
        ),
        ("/sys/kernel/mm/transparent_hugepage/shmem_enabled", &["advise", "some", "never"], &[]),
        ("/sys/kernel/mm/transparent_hugepage/khugepaged/defrag", &["0", "1", "2", "x"], &[]),
        ("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", &["2", "x", "1", "0"], &[]),
        ("/proc/sys/vm/swappiness", &["201", "-1", "x", "10", " 11 ", "200", ""], &[]),
        ("/proc/sys/kernel/sched_rt_runtime_us", &["-2", "x", "1000001"], &[]),
        ("/proc/sys/kernel/printk", &["3", "4 4", "x"], &[]),
        ("/proc/sys/kernel/timer_migration", &["0", "2", "1"], &[]),
        ("/sys/block/loop7/queue/scheduler", &["deadline", "none", "cfq", "mq-deadline"], &[]),
        ("/sys/block/loop7/queue/nomerges", &["2", "3", "1", "0", "x"], &[]),
        ("/sys/block/loop7/queue/read_ahead_kb", &["256", "x"], &[]),
        ("/sys/kernel/mm/ksm/run", &["0", "3", "x"], &[]),
        ("/sys/module/zswap/parameters/enabled", &["0", "on", "x", "N"], &[]),
        (
            "/sys/devices/system/cpu/cpu1/power/pm_qos_resume_latency_us",
            &["n/a", "0", "20", "-1", "x", "0"],
            &[],
        ),
        (&affinity, &["0", "1", "0-1", "9999", "x", "63", ""], &[online]),
        (&mask, &["1", "3", "0", "x", "8000"], &[online]),
    ];
    let compared = cases.iter().filter(|(path, writes, with)| alike(path, writes, with)).count();
    println!("{compared} of {} files of this machine were compared", cases.len());
}

#[test]
fn nobody_but_root_writes_and_nobody_what_is_read_only() {
    let swappiness = "/proc/sys/vm/swappiness";
    let server = || Model::fixture("server");
    assert_eq!(put(&server().by_user(), swappiness, "10"), Err(HostErrorKind::Denied));
    assert_eq!(put(&server().read_only("/proc/sys"), swappiness, "10"), Err(HostErrorKind::ReadOnly));
    assert_eq!(put(&server(), "/sys/devices/system/cpu/isolated", "1"), Err(HostErrorKind::Denied));
    assert_eq!(put(&server(), "/proc/sys/net/ipv4/tcp_no_delay", "1"), Err(HostErrorKind::Absent));
    let error = server().by_user().read(Path::new("/boot/grub/grub.cfg")).unwrap_err();
    assert_eq!(error.kind, HostErrorKind::Denied);
    assert!(!tuner::facts::read(&server().by_user(), 2).is_root && tuner::facts::read(&server(), 2).is_root);
}

#[test]
fn interrupts_may_be_managed_or_late() {
    let host = Model::fixture("server").managed(90).late(60, 2);
    assert_eq!(put(&host, "/proc/irq/90/smp_affinity_list", "0-3"), Err(HostErrorKind::Io));
    put(&host, "/proc/irq/60/smp_affinity_list", "0-3").unwrap();
    let seen: Vec<_> = (0..3).map(|_| word(&host, "/proc/irq/60/effective_affinity_list")).collect();
    assert_eq!(seen, ["16", "16", "3"]);
    assert_eq!(word(&host, "/proc/irq/60/smp_affinity"), "f");
}

#[test]
fn huge_pages_are_given_as_far_as_there_are_any() {
    let host = Model::fixture("server").huge_pages(2048, 1, 10);
    let whole = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
    let on =
        |node: usize| format!("/sys/devices/system/node/node{node}/hugepages/hugepages-2048kB/nr_hugepages");
    put(&host, whole, "100").unwrap();
    assert_eq!(
        (word(&host, &on(0)), word(&host, &on(1)), word(&host, whole)),
        ("90".into(), "10".into(), "100".into())
    );
    put(&host, &on(1), "50").unwrap();
    put(&host, &on(0), "3").unwrap();
    assert_eq!(
        (word(&host, &on(1)), word(&host, whole), word(&host, "/proc/sys/vm/nr_hugepages")),
        ("10".into(), "13".into(), "13".into())
    );
}

#[test]
fn frequencies_have_an_order_and_limits() {
    let host = Model::fixture("server");
    let policy = "/sys/devices/system/cpu/cpufreq/policy3";
    let (least, most) = (format!("{policy}/scaling_min_freq"), format!("{policy}/scaling_max_freq"));
    put(&host, &most, "2000000").unwrap();
    assert_eq!(put(&host, &least, "2500000"), Err(HostErrorKind::Invalid));
    put(&host, &most, "9000000").unwrap();
    assert_eq!(word(&host, &most), "3500000");
    put(&host, &least, "2500000").unwrap();
    assert_eq!(put(&host, &format!("{policy}/scaling_governor"), "fast"), Err(HostErrorKind::Invalid));
}

#[test]
fn a_partition_may_be_taken_and_be_invalid() {
    let path = "/sys/fs/cgroup/hot.slice/cpuset.cpus.partition";
    let host = Model::fixture("server").partition_fails("Cpu list in cpuset.cpus not exclusive");
    host.put(path, 0o644, "member\n");
    put(&host, path, "isolated").unwrap();
    assert_eq!(word(&host, path), "isolated invalid (Cpu list in cpuset.cpus not exclusive)");
    put(&host, path, "member").unwrap();
    assert_eq!(word(&host, path), "member");
}

#[test]
fn new_queues_have_new_interrupts() {
    let host = Model::fixture("server");
    put(&host, "/proc/irq/60/smp_affinity_list", "0-3").unwrap();
    host.set_nic("eno1", NicItem::CombinedChannels, "4").unwrap();
    assert_eq!(word(&host, "/proc/irq/60/smp_affinity_list"), "0-63");
    assert_eq!(host.set_nic("eno9", NicItem::RxUsecs, "4").unwrap_err().kind, HostErrorKind::NotSupported);
}

#[test]
fn swap_comes_back_with_its_priority() {
    let host = Model::fixture("server");
    let area = Path::new("/dev/sda3");
    let before = word(&host, "/proc/swaps");
    host.set_swap(area, None).unwrap();
    assert_eq!(host.set_swap(area, None).unwrap_err().kind, HostErrorKind::Invalid);
    assert!(!word(&host, "/proc/swaps").contains("sda3"));
    host.set_swap(area, Some(-2)).unwrap();
    assert_eq!(word(&host, "/proc/swaps"), before);
}

#[test]
fn units_stay_as_they_are_told() {
    let place = tuner::place::Place::Unit { name: "irqbalance.service".into() };
    let host = Model::fixture("server");
    let state = || tuner::place::get(&host, &place).unwrap().unwrap();
    let owner = || {
        tuner::facts::read(&host, 2)
            .owners
            .into_iter()
            .find(|owner| owner.unit == "irqbalance.service")
            .unwrap()
    };
    assert!(owner().is_active && owner().is_enabled);
    tuner::place::set(&host, &place, Some("masked inactive")).unwrap();
    assert_eq!(state(), "masked inactive");
    assert!(!owner().is_active);
    assert!(host.run("systemctl", &["start", "irqbalance.service"]).is_err());
    host.reboot();
    assert_eq!(state(), "masked inactive");
    tuner::place::set(&host, &place, Some("enabled active")).unwrap();
    assert_eq!(state(), "enabled active");
}

#[test]
fn a_reboot_forgets_what_is_in_no_file() {
    let host = Model::fixture("server");
    let swappiness = "/proc/sys/vm/swappiness";
    put(&host, swappiness, "1").unwrap();
    host.reboot();
    assert_eq!(word(&host, swappiness), "60");
    host.replace(Path::new("/etc/sysctl.d/99-x.conf"), "# x\nvm.swappiness = 10\nvm.absent = 1\n", 0o644)
        .unwrap();
    let boot = word(&host, "/proc/sys/kernel/random/boot_id");
    host.reboot();
    assert_eq!(word(&host, swappiness), "10");
    assert!(word(&host, "/proc/sys/kernel/random/boot_id") != boot && host.boots() == 2);
}

#[test]
fn a_parameter_comes_with_the_boot_that_has_it() {
    let host = Model::fixture("server").hangs_with("isolcpus");
    let drop_in = Path::new("/etc/default/grub.d/zz-x.cfg");
    let text = "GRUB_CMDLINE_LINUX_DEFAULT=\"$GRUB_CMDLINE_LINUX_DEFAULT nohz_full=0,4-5 irqaffinity=0-3 unknown=1\"\n";
    host.replace(drop_in, text, 0o644).unwrap();
    host.reboot();
    assert_eq!(word(&host, "/sys/devices/system/cpu/nohz_full"), "(null)", "grub.cfg was not made again");
    host.run("update-grub", &[]).unwrap();
    host.reboot();
    assert_eq!(word(&host, "/sys/devices/system/cpu/nohz_full"), "4-5");
    assert_eq!(word(&host, "/proc/irq/120/smp_affinity_list"), "0-3");
    let script = "#!/bin/sh\necho \"menuentry 'trial' --id trial {\"\nsed -n \"s,\\(.*linux.*vmlinuz.*quiet.*\\),\\1 isolcpus=managed_irq@6-7,p;T;q\" \"$TUNER_ROOT/boot/grub/grub.cfg\" | tr @ ,\necho }\n";
    host.replace(Path::new("/etc/grub.d/42_trial"), script, 0o755).unwrap();
    host.run("update-grub", &[]).unwrap();
    host.run("grub-reboot", &["trial"]).unwrap();
    let entry = host.reboot();
    assert!(!entry.parameters.contains("isolcpus"), "the trial hung: {entry:?}");
    let host = Model::new(&host.snapshot().to_string());
    host.run("grub-reboot", &["trial"]).unwrap();
    assert!(host.reboot().parameters.ends_with("isolcpus=managed_irq,6-7"));
    assert_eq!(word(&host, "/sys/devices/system/cpu/isolated"), "", "only interrupts are kept away");
    assert!(!host.reboot().parameters.contains("isolcpus"), "one shot");
}

#[test]
fn the_newest_kernel_is_first_but_another_may_be_the_default() {
    let host = Model::fixture("debian-rt");
    assert_eq!(host.reboot().kernel, "/boot/vmlinuz-6.1.0-38-amd64");
    assert!(!tuner::facts::read(&host, 2).kernel.is_rt);
    let pin = "GRUB_DEFAULT=\"gnulinux-advanced-aa>gnulinux-6.1.0-37-rt-amd64-advanced-aa\"\n";
    host.replace(Path::new("/etc/default/grub.d/zz.cfg"), pin, 0o644).unwrap();
    host.run("update-grub", &[]).unwrap();
    host.reboot();
    assert!(tuner::facts::read(&host, 2).kernel.is_rt);
}
