//! A host in a folder whose boot menu is made by this machine's real GRUB tools.
//!
//! What holds: the tools run in a mount namespace of their own (`in-root`), so that this machine's files stay. Where
//! they or the namespace are missing, [`host`] says so and the test is skipped. What is applied here is applied by the
//! plainest engine: each change set, each remembered, all taken back in reverse.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tuner::audit::{Finding, Status};
use tuner::boot;
use tuner::facts::{Boot, Facts, Identity, Loader};
use tuner::host::{Host, Live};
use tuner::knob::{Persist, Phase};
use tuner::persist::Engine;
use tuner::place::{self, Form, Place};
use tuner::plan::{Change, Hook, Options, Plan};
use tuner::profile::Profile;

pub(crate) const STOCK: &str = "6.1.0-38-amd64";
pub(crate) const RT: &str = "6.1.0-37-rt-amd64";
pub(crate) const BOOT: &str = "boot-1";
pub(crate) const PROGRAM: &str = "/usr/local/bin/tuner";

/// A host with two kernels, of which `sort -V` puts the stock one first. None where GRUB's tools cannot run.
pub(crate) fn host() -> Option<(tempfile::TempDir, Live)> {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for made in
        ["boot/grub", "etc/default/grub.d", "etc/grub.d", "usr/bin", "usr/sbin", "proc/sys/kernel/random"]
    {
        fs::create_dir_all(root.join(made)).unwrap();
    }
    for script in ["00_header", "10_linux"] {
        let from = Path::new("/etc/grub.d").join(script);
        if fs::copy(from, root.join("etc/grub.d").join(script)).is_err() {
            eprintln!("skipped: GRUB's tools are not here (grub-common, grub2-common)");
            return None;
        }
    }
    for kernel in [STOCK, RT] {
        fs::write(root.join(format!("boot/vmlinuz-{kernel}")), kernel).unwrap();
        fs::write(root.join(format!("boot/initrd.img-{kernel}")), kernel).unwrap();
    }
    fs::write(root.join("etc/default/grub"), "GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet splash\"\n")
        .unwrap();
    // As cloud images have it: it forgets what was before it.
    let cloud = "GRUB_CMDLINE_LINUX_DEFAULT=\"console=tty1 console=ttyS0\"\nGRUB_TIMEOUT=0\n";
    fs::write(root.join("etc/default/grub.d/50-cloudimg-settings.cfg"), cloud).unwrap();
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/grub");
    for (name, program) in [
        ("update-grub", "/usr/sbin/update-grub"),
        ("grub-reboot", "/usr/sbin/grub-reboot"),
        ("grub-editenv", "/usr/bin/grub-editenv"),
        ("grub-script-check", "/usr/bin/grub-script-check"),
    ] {
        let shim = format!("#!/bin/sh\nexec sh {}/in-root {program} \"$@\"\n", here.display());
        program_of(root, name, &shim);
    }
    program_of(root, "grub-probe", &fs::read_to_string(here.join("grub-probe")).unwrap());
    program_of(root, "systemctl", "#!/bin/sh\necho \"$@\" >> \"$TUNER_ROOT/systemctl\"\n");
    std::os::unix::fs::symlink("/bin/sh", root.join("usr/bin/sh")).unwrap();
    let host = Live::new(root).unwrap();
    boots(&host, BOOT, "quiet", STOCK);
    let made = host.run("grub-editenv", &["-", "create"]).and_then(|_| boot::update(&host));
    if let Err(error) = made {
        eprintln!("skipped: GRUB's tools cannot run in a mount namespace of their own: {error}");
        return None;
    }
    Some((folder, host))
}

pub(crate) fn program_of(root: &Path, name: &str, text: &str) {
    let path = root.join("usr/bin").join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Has the host be in another boot.
pub(crate) fn boots(host: &Live, boot: &str, command_line: &str, kernel: &str) {
    let files = [
        ("/proc/sys/kernel/random/boot_id", boot),
        ("/proc/cmdline", command_line),
        ("/proc/sys/kernel/osrelease", kernel),
    ];
    for (path, text) in files {
        host.replace(Path::new(path), &format!("{text}\n"), 0o644).unwrap();
    }
}

pub(crate) fn facts() -> Facts {
    Facts {
        is_systemd: true,
        boot: Boot {
            loader: Loader::Grub,
            kernels: vec![RT.into(), STOCK.into()],
            next_command_line: None,
            next_kernel: None,
        },
        identity: Identity { machine: "machine".into(), boot: BOOT.into() },
        clock_source: Some("tsc".into()),
        ..Facts::default()
    }
}

pub(crate) fn profile() -> Profile {
    Profile::find("workstation-safe").unwrap()
}

pub(crate) fn options() -> Options {
    Options { program: PROGRAM.into(), ..Options::default() }
}

/// A parameter that the running kernel lacks.
pub(crate) fn lacking(key: &str, value: &str) -> Finding {
    Finding {
        knob: "boot.x",
        subject: String::new(),
        place: Some(Place::parameter(key, Form::Text)),
        status: Status::Drift,
        current: None,
        effective: None,
        wanted: Some(value.into()),
        target: Some(value.into()),
        phase: Phase::Files,
        persist: Persist::Boot,
        note: None,
    }
}

/// The words of the kernel's command line in the entry at this path; of the default entry without one.
pub(crate) fn words(host: &Live, path: Option<&str>) -> Vec<String> {
    let menu = boot::menu(host).unwrap();
    let found = match path {
        Some(path) => menu.find(path).unwrap(),
        None => boot::default_entry(host, &menu).unwrap(),
    };
    found.entry.linux().unwrap().split_off(2)
}

/// All files under a folder but those of `/proc` and what `systemctl` was told, with their modes.
pub(crate) fn tree(root: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut files = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap();
            match path.symlink_metadata().unwrap() {
                _ if name == Path::new("proc") || name == Path::new("systemctl") => {}
                of if of.is_dir() => folders.push(path),
                of if of.is_file() => {
                    files.insert(name.to_owned(), (of.permissions().mode(), fs::read(&path).unwrap()));
                }
                _ => {}
            }
        }
    }
    files
}

/// See above.
#[derive(Default)]
pub(crate) struct Plain {
    done: RefCell<Vec<Change>>,
}

impl Engine for Plain {
    fn apply(&self, host: &dyn Host, plan: &Plan) -> Result<(), String> {
        for change in &plan.changes {
            let now = place::get(host, &change.place).map_err(|error| error.to_string())?;
            assert!(change.place.is_same(now.as_deref(), change.from.as_deref()), "{change:?}: {now:?}");
            place::set(host, &change.place, change.to.as_deref()).map_err(|error| error.to_string())?;
            self.done.borrow_mut().push(change.clone());
        }
        hooks(host, &plan.hooks)
    }

    fn roll_back(&self, host: &dyn Host) -> Result<(), String> {
        for change in self.done.borrow_mut().drain(..).rev() {
            let now = place::get(host, &change.place).map_err(|error| error.to_string())?;
            if !change.place.is_same(now.as_deref(), change.from.as_deref()) {
                place::set(host, &change.place, change.from.as_deref()).map_err(|error| error.to_string())?;
            }
        }
        hooks(host, &[Hook::UpdateGrub])
    }
}

fn hooks(host: &dyn Host, hooks: &[Hook]) -> Result<(), String> {
    match hooks.contains(&Hook::UpdateGrub) {
        true => boot::update(host).map_err(|error| error.to_string()),
        false => Ok(()),
    }
}
