//! Whether something else lies between this process and the hardware, told by files alone.
//!
//! What holds: a name is only given where a file gives it. A guest of an unknown hypervisor is `vm-other`.

use super::read::Files;

/// By whom a machine says that it was made, and what then runs it.
const MAKERS: [(&str, &str); 10] = [
    ("QEMU", "qemu"),
    ("KVM", "kvm"),
    ("VMware", "vmware"),
    ("innotek", "oracle"),
    ("VirtualBox", "oracle"),
    ("Xen", "xen"),
    ("Amazon EC2", "amazon"),
    ("Google Compute Engine", "google"),
    ("Microsoft Corporation", "microsoft"),
    ("Parallels", "parallels"),
];

/// The numbers of the namespaces that the kernel starts with: what is in them is in no container.
const FIRST_NAMESPACES: [(&str, &str); 2] =
    [("/proc/self/ns/pid", "pid:[4026531836]"), ("/proc/self/ns/cgroup", "cgroup:[4026531835]")];

/// What runs this host, if it is a guest.
pub(super) fn hypervisor(files: Files<'_>) -> Option<String> {
    if let Some(kind) = files.word("/sys/hypervisor/type") {
        return Some(kind);
    }
    let told = files.text("/proc/cpuinfo").unwrap_or_default();
    let flags = told.lines().find_map(|line| line.strip_prefix("flags")?.split_once(':'));
    let is_guest = flags.is_some_and(|(_, flags)| flags.split_whitespace().any(|flag| flag == "hypervisor"));
    // Processors without that flag have their hypervisor in the device tree.
    let in_tree = files.text("/proc/device-tree/hypervisor/compatible");
    if !is_guest && in_tree.is_none() {
        return None;
    }
    let dmi = ["sys_vendor", "product_name", "board_vendor", "bios_vendor"];
    let names = dmi.iter().filter_map(|name| files.word(&format!("/sys/class/dmi/id/{name}")));
    let maker = names.filter_map(|name| MAKERS.iter().find(|(maker, _)| name.contains(maker))).next();
    let clocks = files.text("/sys/devices/system/clocksource/clocksource0/available_clocksource");
    let is_kvm = clocks.is_some_and(|clocks| clocks.split_whitespace().any(|clock| clock == "kvm-clock"));
    Some(match maker {
        // QEMU with KVM's clock is KVM.
        Some((_, "qemu")) | None if is_kvm => "kvm".into(),
        Some((_, name)) => (*name).into(),
        None => "vm-other".into(),
    })
}

/// What contains this process, if something does.
pub(super) fn container(files: Files<'_>) -> Option<String> {
    let namespaces: Vec<_> = FIRST_NAMESPACES
        .iter()
        .filter_map(|(path, first)| Some(files.link(path)?.to_str()? == *first))
        .collect();
    // Images that became machines keep the files that their containers had: those mean nothing in the first namespaces.
    if namespaces == [true, true] {
        return None;
    }
    if let Some(name) = files.word("/run/systemd/container") {
        return Some(name);
    }
    let environment = files.text("/proc/1/environ").unwrap_or_default();
    if let Some(name) = environment.split('\0').find_map(|variable| variable.strip_prefix("container=")) {
        return Some(name.into());
    }
    let is_there = |path: &str| files.0.mode(std::path::Path::new(path)).is_ok();
    if is_there("/run/.containerenv") {
        return Some("podman".into());
    }
    if is_there("/.dockerenv") {
        return Some("docker".into());
    }
    let groups = files.text("/proc/1/cgroup").unwrap_or_default();
    let known = [("kubepods", "kubernetes"), ("/docker", "docker"), ("/lxc", "lxc"), ("/libpod", "podman")];
    let hint = known.iter().find(|(hint, _)| groups.contains(hint)).map(|(_, name)| (*name).to_owned());
    // A process namespace of its own without a name is a container all the same.
    hint.or_else(|| namespaces.first().is_some_and(|first| !first).then(|| "container-other".into()))
}
