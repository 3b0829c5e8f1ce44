//! The tuner's host, as it is before anybody tunes it: what a virtual machine of `tests::vm` has, that nothing of it
//! changes by itself, and how it starts.

use tests::vm::Machine;

#[test]
fn a_host_has_what_there_is_to_tune() {
    let Some(mut machine) = Machine::start("stock") else { return };
    assert_eq!(machine.must("systemctl is-system-running").trim(), "running");
    println!("{}", machine.must("uname -a; nproc; lscpu | grep -E 'Socket|NUMA'; cat /proc/swaps; ls /sys/devices/system/node; cat /sys/block/nvme0n1/queue/scheduler; ls /sys/class/net/*/queues; grep -E 'nvme|virtio' /proc/interrupts"));
    let before = machine.capture();
    machine.reboot();
    before.assert_same_as(&machine.capture());
}
