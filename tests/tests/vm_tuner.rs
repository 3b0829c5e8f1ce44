//! The tuner, on a whole host: what it plans is what the host becomes, through reboots, and all of it goes away again.
//! Power cuts and boots that fail leave the host as it was.

use tests::vm::{Capture, Machine};

/// Settings of a host with little memory, whose TSC nobody vouches for.
const PROFILE: &str = r#"
about = "rt-cpu on a host with little memory"
inherits = "rt-cpu"

[knobs]
"mem.huge2m" = ">= 32"
# It implies rcu_nocbs=.
"boot.nohz_full" = "isolated"
"boot.rcu_nocbs" = "leave"
"#;

/// The emulated CPUs' time stamps are not in step, so the kernel took hpet, which nohz_full= is refused with. What
/// becomes of a tick is no matter here.
const FORCE: &str = "--force clock-source";

/// CPUs 0 and 1 are a node, 2 and 3 another. One of each is left to everything else.
const ISOLATED: &str = "1,3";
const HOUSEKEEPING: [&str; 3] = ["0", "2", "0,2"];

/// A machine with the tuner, and its profile `box`.
fn machine(name: &str) -> Option<Machine> {
    let mut machine = Machine::start(name)?;
    machine.put(&stripped("tuner"), "/usr/local/bin/tuner");
    machine.must("mkdir -p /etc/tuner/profiles");
    machine.write("/etc/tuner/profiles/box.toml", PROFILE.as_bytes(), 0o644);
    Some(machine)
}

/// A program without what only a debugger reads.
fn stripped(name: &str) -> std::path::PathBuf {
    let (from, to) = (tests::bin(name), tests::bin("tuner").with_file_name(format!("{name}-for-vm")));
    let status = std::process::Command::new("strip").arg("-o").arg(&to).arg(from).status();
    assert!(status.unwrap().success());
    to
}

/// That the host is as it was, and the tuner knows it.
fn assert_as_before(before: &Capture, machine: &mut Machine) {
    before.assert_same_as(&machine.capture());
    assert_eq!(machine.must("tuner status"), "Nothing is applied. `tuner plan` shows what would be.\n");
}

/// The exit status of a line, and what it printed.
fn told(machine: &mut Machine, line: &str) -> (i32, String) {
    let output = machine.shell(line);
    let text = output.text() + &output.stderr;
    println!("{line}: {}\n{text}", output.status);
    (output.status, text)
}

/// That the host is what the profile wishes, by the kernel's own files.
fn assert_tuned(machine: &mut Machine) {
    assert_eq!(machine.text("/sys/devices/system/cpu/isolated"), ISOLATED);
    assert_eq!(machine.text("/sys/devices/system/cpu/nohz_full"), ISOLATED);
    assert_eq!(machine.text("/sys/kernel/realtime"), "1");
    assert!(machine.must("uname --kernel-release").trim().ends_with("-rt-amd64"));
    for (path, state) in [
        ("/proc/sys/vm/swappiness", "10"),
        ("/proc/sys/vm/stat_interval", "10"),
        ("/proc/sys/vm/compaction_proactiveness", "0"),
        ("/proc/sys/kernel/sched_rt_runtime_us", "-1"),
        ("/proc/sys/kernel/timer_migration", "0"),
        ("/sys/block/vda/queue/scheduler", "[mq-deadline] none"),
        ("/sys/block/nvme0n1/queue/scheduler", "[none] mq-deadline"),
        ("/sys/block/nvme0n1/queue/rq_affinity", "0"),
        ("/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages", "32"),
        ("/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages", "32"),
        ("/sys/devices/virtual/workqueue/cpumask", "5"),
    ] {
        assert_eq!(machine.text(path), state, "{path}");
    }
    assert_eq!(machine.text("/proc/swaps").lines().count(), 1, "swap is on");

    // Those of disks' queues go where their driver spreads them, and a queue that nobody uses interrupts nobody.
    let interrupts = machine.must(
        "for irq in /sys/kernel/irq/*; do
            actions=$(cat $irq/actions); [ -z \"$actions\" ] && continue
            echo $actions $(cat /proc/irq/${irq##*/}/effective_affinity_list)
        done",
    );
    let movable = interrupts.lines().filter(|line| {
        let is_queue = |prefix: &str, queue: &str| line.starts_with(prefix) && line.contains(queue);
        !is_queue("virtio", "-req.") && (!is_queue("nvme", "q") || line.contains("q0 "))
    });
    let movable: Vec<_> = movable.collect();
    assert!(movable.len() > 10, "{interrupts}");
    for line in movable {
        let cpus = line.split_whitespace().last().unwrap_or_default();
        assert!(HOUSEKEEPING.contains(&cpus), "{line}");
    }
    for unit in ["tuner.service", "tuner-trial.service"] {
        assert_eq!(
            machine.must(&format!("systemctl show --property Result --value {unit}")).trim(),
            "success"
        );
    }
    let journal = machine.must("journalctl --boot --no-pager");
    assert!(!journal.lines().any(|line| line.contains("/tuner ") && line.contains("failed")), "{journal}");
}

/// A simulated venue, and one chart of it.
const SIM: &str = "[Service]\nExecStart=/usr/local/bin/chartd sim --listen 127.0.0.1:9001\n";
const CONFIGURATION: &str = r#"
[[feed]]
venue = "binance"
symbols = ["BTCUSDT"]
url = "ws://127.0.0.1:9001"

[[chart]]
source = "binance:BTCUSDT"
timeframe = "1s"
size = [320, 180]
"#;

/// What `cargo xtask install` puts there, in a machine that has no cargo.
fn install_chartd(machine: &mut Machine) {
    let repository = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("systemd");
    machine.put(&stripped("chartd"), "/usr/local/bin/chartd");
    machine.must("mkdir -p /etc/chartd /usr/local/lib/systemd/system");
    for unit in ["chartd.service", "chartd.socket", "chartd.slice"] {
        let text = std::fs::read_to_string(repository.join(unit)).unwrap().replace("@PREFIX@", "/usr/local");
        machine.write(&format!("/usr/local/lib/systemd/system/{unit}"), text.as_bytes(), 0o644);
    }
    for (file, folder) in [("chartd.sysusers", "sysusers.d"), ("chartd.tmpfiles", "tmpfiles.d")] {
        machine.must(&format!("mkdir -p /usr/lib/{folder}"));
        machine.put(&repository.join(file), &format!("/usr/lib/{folder}/chartd.conf"));
    }
    machine.write("/etc/chartd/chartd.toml", CONFIGURATION.as_bytes(), 0o644);
    machine.write("/usr/local/lib/systemd/system/chartd-sim.service", SIM.as_bytes(), 0o644);
    machine.must("systemd-sysusers && systemd-tmpfiles --create chartd.conf && systemctl daemon-reload");
}

/// That the service's hot threads are alone on the isolated CPUs, in real time.
fn assert_chartd_is_isolated(machine: &mut Machine) {
    machine.must("systemctl start chartd-sim.service chartd.socket && systemctl start chartd.service");
    let threads = machine.must(
        "pid=$(systemctl show --property MainPID --value chartd.service)
         for task in /proc/$pid/task/*; do
            echo $(cat $task/comm) $(grep Cpus_allowed_list: $task/status | cut -f 2) \
                $(sed 's/.*) //' $task/stat | cut -d ' ' -f 38,39)
         done 2>/dev/null",
    );
    println!("{threads}");
    // Their CPU, their priority, and SCHED_FIFO, which is 1.
    let hot = |name: &str| {
        threads.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).map(str::to_owned)
    };
    let mut cpus = Vec::new();
    for name in ["chartd-ingest", "chartd-render"] {
        let line = hot(name).unwrap_or_else(|| panic!("no {name} in {threads}"));
        let words: Vec<_> = line.split(' ').collect();
        assert_eq!(words[1..], ["10", "1"], "{name}: {threads}");
        cpus.push(words[0].to_owned());
    }
    cpus.sort();
    assert_eq!(cpus.join(","), ISOLATED, "{threads}");
    machine.must("systemctl stop chartd.service chartd.socket chartd-sim.service");
}

#[test]
fn a_host_becomes_what_was_planned_and_is_what_it_was_again() {
    let Some(mut machine) = machine("tuned") else { return };
    install_chartd(&mut machine);
    let before = machine.capture();

    // Looking changes nothing, and what may not be read is not called well.
    assert_eq!(told(&mut machine, "tuner audit --profile rt-cpu").0, 1);
    let nobody =
        "setpriv --reuid 65534 --regid 65534 --clear-groups tuner audit --profile rt-cpu --only kern.preempt";
    let (status, text) = told(&mut machine, nobody);
    assert!(status == 8 && text.contains("unknown  kern.preempt"), "{text}");
    let (status, text) = told(
        &mut machine,
        "tuner plan --profile rt-cpu --json >/dev/shm/plan; status=$?; rm /dev/shm/plan; exit $status",
    );
    assert_eq!(status, 3, "2 GiB of huge pages are not refused: {text}");
    let (status, text) = told(&mut machine, "tuner plan --profile box --only boot.nohz_full");
    assert!(status == 3 && text.contains("nohz_full needs the clock source tsc"), "{text}");
    assert_eq!(told(&mut machine, "tuner apply --profile box").0, 3);
    before.assert_same_as(&machine.capture());

    // The trial boot is the real-time kernel's. It does as it should, and is kept.
    assert_eq!(told(&mut machine, &format!("tuner apply --profile box {FORCE}")).0, 6);
    machine.reboot();
    assert!(machine.text("/proc/cmdline").contains(" tuner.trial="));
    assert_tuned(&mut machine);
    assert_eq!(
        told(&mut machine, "test -e /etc/grub.d/42_tuner_trial || test -e /var/lib/tuner/trial.json").0,
        1
    );
    assert!(machine.text("/etc/default/grub.d/zz-tuner.cfg").contains("isolcpus=managed_irq,domain,1,3"));

    // What only the real-time kernel has is seen by a second apply.
    let (status, text) = told(&mut machine, &format!("tuner apply --profile box {FORCE}"));
    assert!(status == 0 && text.contains("enp0s1/threaded = 1"), "{text}");
    assert_eq!(told(&mut machine, "tuner verify --profile box").0, 0);
    assert_eq!(told(&mut machine, "tuner status").0, 0);
    assert_chartd_is_isolated(&mut machine);

    // It is for good.
    machine.reboot();
    assert!(!machine.text("/proc/cmdline").contains(" tuner.trial="));
    assert_tuned(&mut machine);
    assert_eq!(told(&mut machine, "tuner verify --profile box").0, 0);

    assert_eq!(told(&mut machine, "tuner rollback --all").0, 0);
    machine.reboot();
    assert_as_before(&before, &mut machine);
}

/// Applies the profile, and cuts the power once it has told of this line. What came of it is undone by the boot, or by a
/// rollback where the cut came before there was a unit to do it.
fn cut_in_the_middle(machine: &mut Machine, line: &str, seed: u64) {
    machine.must(&format!(
        "tuner apply --profile box {FORCE} >/dev/shm/said 2>&1 &
         until grep -q '^ *{line}' /dev/shm/said; do sleep 0.02; done"
    ));
    machine.cut_power(seed);
    println!(
        "{}",
        machine.must("ls /var/lib/tuner 2>/dev/null; journalctl --boot --no-pager --unit tuner.service")
    );
    let (status, text) = told(machine, "tuner status");
    if status == 1 {
        assert!(text.contains("rollback"), "it is not said what to do: {text}");
        assert_eq!(told(machine, "tuner rollback").0, 0);
    }
    // Where the trial was armed already, and was booted.
    if machine.text("/proc/cmdline").contains(" tuner.trial=") {
        machine.reboot();
    }
}

#[test]
fn a_power_cut_in_the_middle_of_an_apply_leaves_the_host_as_it_was() {
    let Some(mut machine) = machine("cut") else { return };
    machine.must("sync");
    let before = machine.capture();
    // While settings are written, and while the boot loader's menu is made.
    for (line, seed) in [("20/", 11), ("update-grub", 12)] {
        cut_in_the_middle(&mut machine, line, seed);
        assert_as_before(&before, &mut machine);
    }
}
