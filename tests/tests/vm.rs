//! The tuner's host, as it is before anybody tunes it: what a virtual machine of `tests::vm` has, that nothing of it
//! changes by itself, that power cuts and boot entries do what they do on a real one.

use tests::vm::{Capture, Machine};

/// The CPUs that are set apart, and whether the kernel is the real-time one.
const ISOLATED: &str = "/sys/devices/system/cpu/isolated";
const REALTIME: &str = "/sys/kernel/realtime";

#[test]
fn a_host_stays_as_it_is_and_outlives_a_power_cut() {
    let Some(mut machine) = Machine::start("host") else { return };

    // There is what the catalogue speaks of.
    assert_eq!(machine.must("systemctl is-system-running").trim(), "running");
    let kernel = machine.must("uname --kernel-release --kernel-version");
    assert!(kernel.contains("PREEMPT_DYNAMIC") && !kernel.contains("-rt-"), "{kernel}");
    assert_eq!(machine.must("nproc").trim(), "4");
    let lscpu = machine.must("lscpu");
    for (name, count) in [("Socket(s):", "2"), ("NUMA node(s):", "2")] {
        let line = lscpu.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        assert_eq!(line.split_whitespace().last(), Some(count), "{lscpu}");
    }
    assert_eq!(machine.text("/sys/block/nvme0n1/queue/scheduler"), "[none] mq-deadline");
    assert_eq!(machine.text("/sys/block/vda/queue/write_cache"), "write back");
    assert!(machine.text("/proc/swaps").contains("\n/swapfile "), "no swap is active");
    assert_eq!(machine.must("ls -d /sys/class/net/e*/queues/rx-*").lines().count(), 4);
    let interrupts = machine.must("cat /sys/kernel/irq/*/actions");
    for name in ["virtio0-input.3", "virtio0-output.3", "nvme0q4"] {
        assert!(interrupts.lines().any(|line| line == name), "{name} is not in {interrupts}");
    }

    // Two boots, and nothing differs.
    let before = machine.capture();
    assert!(before.state("/proc/irq/virtio0-input.3/smp_affinity_list").is_some());
    machine.reboot();
    let after = machine.capture();
    before.assert_same_as(&after);

    // What is changed shows: a file, its mode, a link, a sysctl, an attribute of a device.
    machine.must(
        "echo 10.0.0.1 venue >>/etc/hosts; chmod 600 /etc/fstab; ln -sf /usr/share/zoneinfo/UTC /etc/localtime
         echo 7 >/proc/sys/vm/swappiness; echo mq-deadline >/sys/block/nvme0n1/queue/scheduler
         grub-editenv - set changed=1; swapoff -a; echo 1 >/proc/irq/default_smp_affinity",
    );
    let differences = after.differences(&machine.capture());
    let paths: Vec<_> = differences.iter().map(|difference| &*difference.path).collect();
    for difference in &differences {
        println!("{difference}");
    }
    let changed = [
        "/boot/grub/grubenv",
        "/etc/fstab",
        "/etc/hosts",
        "/etc/localtime",
        "/proc/irq/default_smp_affinity",
        "/proc/swaps",
        "/proc/sys/vm/swappiness",
    ];
    assert_eq!(paths[..7], changed, "{paths:?}");
    assert!(paths.len() > 7 && paths[7..].iter().all(|path| path.contains("/nvme0n1/queue/")), "{paths:?}");

    // What was flushed outlives a power cut. What was only written to the disk does in part.
    let flushed = "yes flushed | head -c 262144 >/root/file && sync";
    machine.must(&format!("mount -o remount,commit=300 / && {flushed}"));
    machine.must("yes written | dd of=/root/file bs=4096 count=64 iflag=fullblock oflag=direct conv=notrunc");
    machine.must("echo only in memory >/root/other");
    machine.cut_power(7);
    let file = machine.read("/root/file");
    assert_eq!(file.len(), 64 * 4096);
    let is_kept = |block: &&[u8]| block.windows(7).any(|part| part == b"written");
    let kept = file.chunks(4096).filter(is_kept).count();
    println!("of 64 blocks {kept} were kept, and the others are as they were flushed");
    assert!((1..64).contains(&kept), "the disk has no cache that a power cut empties");
    assert!(!machine.shell("grep memory /root/other").success(), "the power was not cut");
}

/// Entries of the boot menu that are tried once. Without `panic=`, an initramfs that finds no root file system asks
/// at the console for ever; with it, it restarts after so many seconds, and `rootdelay=` says how long it looks.
const TRIALS: &str = r#"#!/bin/sh
uuid=$(findmnt --noheadings --output UUID /)
kernel=$(ls /boot/vmlinuz-*-rt-amd64)
for entry in "good $uuid" "bad 00000000-dead"; do
    set -- $entry
    echo "menuentry 'Trial, $1' --id trial-$1 {
        search --no-floppy --fs-uuid --set=root $uuid
        linux $kernel root=UUID=$2 ro console=ttyS0 rootdelay=1 panic=1 trial=$1
        initrd /boot/initrd.img-${kernel#/boot/vmlinuz-}
    }"
done
"#;

#[test]
fn boot_entries_do_what_the_tuner_counts_on() {
    let Some(mut machine) = Machine::start("entries") else { return };
    assert_eq!(machine.text(ISOLATED), "");
    assert!(!machine.shell(&format!("test -e {REALTIME}")).success());

    // A drop-in that sorts last adds to the command line of the default entry.
    let dropin =
        r#"GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT isolcpus=managed_irq,domain,2-3""#;
    machine.must("mkdir -p /etc/default/grub.d");
    machine.write("/etc/default/grub.d/zz-test.cfg", format!("{dropin}\n").as_bytes(), 0o644);
    machine.write("/etc/grub.d/41_trial", TRIALS.as_bytes(), 0o755);
    machine.must("update-grub");
    machine.reboot();
    assert!(machine.text("/proc/cmdline").ends_with(" quiet isolcpus=managed_irq,domain,2-3"));
    assert_eq!(machine.text(ISOLATED), "2-3");

    // An entry that is chosen once is booted once.
    machine.must("grub-reboot trial-good");
    machine.reboot();
    assert!(machine.text("/proc/cmdline").ends_with(" trial=good"));
    assert_eq!(machine.text(REALTIME), "1");
    assert_eq!(machine.text(ISOLATED), "");
    assert!(machine.must("uname --kernel-version").contains("PREEMPT_RT"));

    // An entry that cannot boot is left again by itself, for the default.
    machine.must("grub-reboot trial-bad");
    let so_far = machine.console().len();
    machine.reboot();
    let console = machine.console().split_off(so_far);
    println!("{}", machine.text("/proc/cmdline"));
    assert_eq!(machine.text(ISOLATED), "2-3");
    assert!(!machine.shell(&format!("test -e {REALTIME}")).success());
    let tried = console.find("trial=bad").expect("the entry was tried");
    assert!(console[tried..].contains("Rebooting automatically"), "{console}");
}

#[test]
fn a_capture_tells_what_differs_and_leaves_out_what_is_volatile() {
    let before = Capture::parse("/etc/a\t0644 0:0 one\\ntwo\\n\n/etc/b\t-> a\n/proc/sys/fs/file-nr\t1\n");
    let after = Capture::parse("/etc/a\t0644 0:0 one\\nthree\\n\n/etc/c\t-> a\n/proc/sys/fs/file-nr\t2\n");
    let shown: Vec<_> = before.differences(&after).iter().map(ToString::to_string).collect();
    let expected =
        ["/etc/a\n  - two\n  + three", "/etc/b\n  - -> a\n  + (absent)", "/etc/c\n  - (absent)\n  + -> a"];
    assert_eq!(shown, expected);
    assert!(before.differences(&before).is_empty());
}

#[test]
fn a_capture_holds_the_settings_of_the_machine_it_is_made_on() {
    let mut printed = Vec::new();
    tests::vm::walk(&mut printed).unwrap();
    let capture = Capture::parse(&String::from_utf8(printed).unwrap());
    assert_eq!(capture.state("/proc/sys/kernel/ostype"), Some("0444 0:0 Linux\\n"));
    assert!(capture.state("/etc/passwd").is_some_and(|state| state.contains("root:")));
    assert!(capture.state("/sys/kernel/mm").is_none(), "folders of /sys are in it");
}
