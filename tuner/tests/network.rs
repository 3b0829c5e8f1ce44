//! Settings of the network, really set and undone: in a network namespace of its own, where there is nothing to break.

use std::path::Path;
use std::process::Command;
use tuner::host::{HostErrorKind, Live, NicItem};
use tuner::place::{self, Form, Place};

/// Set for the run within the namespace.
const INSIDE: &str = "TUNER_TEST_INSIDE";
/// Makes a sysfs that shows the namespace, a pair of interfaces with two queues each, and goes on.
const PREPARE: &str = "mount -t sysfs none /sys && ip link add near0 numtxqueues 2 numrxqueues 2 type veth \
                       peer name far0 && exec \"$@\"";

/// Runs the test of this name again within a namespace; false in there, where it is to do its work.
fn is_outside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return false;
    }
    let unshare = |arguments: &[&str]| {
        // Some files ask for rights over the whole machine, which root keeps in a namespace of the network only.
        let namespaces = if nix::unistd::geteuid().is_root() { "-nm" } else { "-rnm" };
        let mut command = Command::new("unshare");
        command.args([namespaces, "--", "sh", "-c", PREPARE, "sh"]).args(arguments).env(INSIDE, "1");
        command
    };
    match unshare(&["true"]).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            println!("skipped: settings of a network namespace ({said})");
            return true;
        }
        Err(error) => {
            println!("skipped: settings of a network namespace (unshare: {error})");
            return true;
        }
    }
    let own = std::env::current_exe().unwrap();
    let output = unshare(&[own.to_str().unwrap(), "--exact", test, "--nocapture"]).output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    said.lines().filter(|line| line.starts_with("skipped: ")).for_each(|line| println!("{line}"));
    true
}

/// Sets a place, reads it back, and puts back what was there.
fn set_and_undo(host: &Live, place: &Place, target: &str) {
    let before = place::get(host, place).unwrap().unwrap_or_else(|| panic!("{place} is absent"));
    assert!(!place.is_same(Some(&before), Some(target)), "{place} is {target} already");
    place::set(host, place, Some(target)).unwrap_or_else(|error| panic!("{error}"));
    let after = place::get(host, place).unwrap();
    assert!(place.is_same(after.as_deref(), Some(target)), "{place}: {after:?}");
    place::set(host, place, Some(&before)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(place::get(host, place).unwrap(), Some(before), "{place}");
}

#[test]
fn sysctls_of_a_namespace() {
    if is_outside("sysctls_of_a_namespace") {
        return;
    }
    let host = Live::new(Path::new("/")).unwrap();
    for (name, form, target) in [
        ("net.ipv4.tcp_slow_start_after_idle", Form::Flag, "0"),
        ("net.ipv4.tcp_autocorking", Form::Flag, "0"),
        ("net.ipv4.tcp_fastopen", Form::Number, "3"),
        ("net.ipv4.tcp_notsent_lowat", Form::Number, "16384"),
    ] {
        set_and_undo(&host, &Place::sysctl(name, form), target);
    }
    let mask = Place::sysctl("net.core.rps_default_mask", Form::CpuMask);
    if place::get(&host, &mask).unwrap().is_some() {
        set_and_undo(&host, &mask, "0");
    }
    assert_eq!(place::get(&host, &Place::sysctl("net.ipv4.tcp_no_delay", Form::Flag)), Ok(None));
}

#[test]
fn files_of_an_interface() {
    if is_outside("files_of_an_interface") {
        return;
    }
    let host = Live::new(Path::new("/")).unwrap();
    let file = |name: &str, form| Place::attribute(format!("/sys/class/net/near0/{name}"), form);
    let flush = file("gro_flush_timeout", Form::Number);
    if place::set(&host, &flush, Some("0")).is_err_and(|error| error.kind == HostErrorKind::Denied) {
        println!("skipped: files of an interface (only root of the whole machine may write them)");
        return;
    }
    set_and_undo(&host, &flush, "20000");
    set_and_undo(&host, &file("napi_defer_hard_irqs", Form::Number), "2");
    set_and_undo(&host, &file("queues/rx-0/rps_cpus", Form::CpuMask), "0");
    set_and_undo(&host, &file("queues/tx-1/xps_cpus", Form::CpuMask), "0");
    // It has a queue to poll, and so a thread, once it is up and merges packets.
    let nic = Place::Nic { interface: "near0".into(), item: NicItem::Gro };
    place::set(&host, &nic, Some("on")).unwrap();
    let up = Command::new("ip").args(["link", "set", "near0", "up"]).status().unwrap();
    assert!(up.success());
    set_and_undo(&host, &file("threaded", Form::Flag), "1");
}

#[test]
fn settings_that_ethtool_knows() {
    if is_outside("settings_that_ethtool_knows") {
        return;
    }
    let host = Live::new(Path::new("/")).unwrap();
    let nic = |item| Place::Nic { interface: "near0".into(), item };
    let gro = place::get(&host, &nic(NicItem::Gro)).unwrap();
    let other = if gro.as_deref() == Some("on") { "off" } else { "on" };
    set_and_undo(&host, &nic(NicItem::Gro), other);
    // A pair of veth is no card: it has offloads, and channels that are not combined.
    for item in
        [NicItem::CombinedChannels, NicItem::RxUsecs, NicItem::Eee, NicItem::RxPause, NicItem::WakeOnLan]
    {
        assert_eq!(place::get(&host, &nic(item)), Ok(None), "{item}");
    }
    assert_eq!(place::get(&host, &nic(NicItem::Lro)).unwrap().as_deref(), Some("off"));
    assert!(place::set(&host, &nic(NicItem::Lro), Some("on")).is_err());
    // Of a folder, nothing is known of cards, and nothing is set.
    let dir = tempfile::tempdir().unwrap();
    let folder = Live::new(dir.path()).unwrap();
    assert_eq!(place::get(&folder, &nic(NicItem::Gro)), Ok(None));
    assert!(place::set(&folder, &nic(NicItem::Gro), Some(other)).is_err());
    assert_eq!(place::get(&host, &nic(NicItem::Gro)).unwrap(), gro);
}
