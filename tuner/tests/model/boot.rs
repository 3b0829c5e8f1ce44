//! A reboot: what was only in memory is as it was, files stay, and the kernel follows its command line.
//!
//! GRUB is as Debian's: `update-grub` has a shell read the defaults and run the scripts of `/etc/grub.d`, both real; the
//! entries it prints have the shape of `10_linux`'s. What holds: the entry that is booted is the one-shot entry if one
//! is armed, which is used up by that, else the default; parameters that this model does not know do nothing, as with
//! a kernel. udev's rules are not run.

use super::{Model, State, refused};
use std::path::Path;
use std::process::Command;
use topology::CpuList;
use tuner::host::{Host, HostError, HostErrorKind};
use tuner::place::parameter;

const CFG: &str = "/boot/grub/grub.cfg";
const ENV: &str = "/boot/grub/grubenv";
const RCU_NORMAL: &str = "/sys/module/rcupdate/parameters/rcu_normal_after_boot";
/// What is on the medium.
const KEPT: [&str; 4] = ["/proc", "/sys", "/run", "/dev"];

/// An entry of the boot menu.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its title, and those of the menus above it, `>` between.
    pub titles: String,
    /// Its id, and those of the menus above it.
    pub ids: String,
    /// The file of its kernel.
    pub kernel: String,
    /// What stands behind it.
    pub parameters: String,
}

impl Model {
    /// Boots the machine again, as `reboot` or a power cut does; the entry that came up at last.
    pub fn reboot(&self) -> Entry {
        self.state().reboot()
    }
}

impl State {
    pub(super) fn reboot(&mut self) -> Entry {
        let mut entry = self.next_entry();
        while self.hangs_with.iter().any(|name| parameter(&entry.parameters, name).is_some()) {
            let next = self.next_entry();
            assert!(next != entry, "the machine never comes up again with {}", entry.parameters);
            entry = next;
        }
        self.boots += 1;
        self.forget();
        self.follow(&entry);
        self.start_units();
        self.apply_sysctls();
        entry
    }

    /// The entry that a boot takes now; a one-shot is used up.
    fn next_entry(&mut self) -> Entry {
        let text = self.now.read(Path::new(CFG)).unwrap();
        let entries = entries(&text);
        let once = self.env("next_entry");
        if once.is_some() {
            self.set_env("next_entry", None);
        }
        let default = text.lines().find_map(|line| line.trim().strip_prefix("set default=\""));
        let default = default.and_then(|line| line.strip_suffix('"')).unwrap_or("0");
        let default = if default == "${saved_entry}" {
            self.env("saved_entry").unwrap_or("0".into())
        } else {
            default.into()
        };
        let chosen = once.and_then(|name| find(&entries, &name)).or_else(|| find(&entries, &default));
        chosen.unwrap_or(&entries[0]).clone()
    }

    fn forget(&mut self) {
        let is_volatile = |path: &Path| KEPT.iter().any(|folder| path.starts_with(folder));
        let fresh = self.fresh.clone();
        self.now.files.retain(|path, _| !is_volatile(path));
        self.now.files.extend(fresh.files.into_iter().filter(|(path, _)| is_volatile(path)));
        self.now.links.retain(|path, _| !is_volatile(path));
        self.now.links.extend(fresh.links.into_iter().filter(|(path, _)| is_volatile(path)));
        self.now.told.extend(fresh.told.into_iter().filter(|(asked, _)| !asked.starts_with("run ")));
        self.pending.clear();
        self.show("/proc/sys/kernel/random/boot_id", &format!("00000000-0000-4000-8000-{:012}", self.boots));
    }

    /// Makes a file of the kernel show this, whether or not anybody could write it.
    fn show(&mut self, path: &str, text: &str) {
        let mode = self.now.files.get(Path::new(path)).map_or(0o444, |(mode, _)| *mode);
        self.now.files.insert(path.into(), (mode, format!("{text}\n")));
    }

    fn follow(&mut self, entry: &Entry) {
        let line = entry.parameters.as_str();
        let release = entry.kernel.rsplit_once("vmlinuz-").map_or("", |(_, release)| release);
        let is_rt = release.contains("-rt");
        self.show("/proc/cmdline", &format!("BOOT_IMAGE={} {line}", entry.kernel));
        self.show("/proc/sys/kernel/osrelease", release);
        self.show(
            "/proc/sys/kernel/version",
            if is_rt { "#1 SMP PREEMPT_RT Debian" } else { "#1 SMP PREEMPT_DYNAMIC Debian" },
        );
        // A real-time kernel has no say in how RCU waits.
        let (there, away) = match is_rt {
            true => (("/sys/kernel/realtime", "1"), RCU_NORMAL),
            false => ((RCU_NORMAL, "0"), "/sys/kernel/realtime"),
        };
        self.show(there.0, there.1);
        self.now.files.remove(Path::new(away));
        self.isolate(release, line);
        if let Some(cpus) = parameter(line, "irqaffinity").and_then(|value| value.parse::<CpuList>().ok()) {
            self.show("/proc/irq/default_smp_affinity", &cpus.to_mask());
            let irqs = self.now.list(Path::new("/proc/irq")).unwrap_or_default();
            for irq in irqs.iter().filter_map(|irq| irq.parse().ok()) {
                let _ = self.set_affinity(irq, cpus.clone());
            }
        }
        let mut size = "2M".to_owned();
        for word in line.split_whitespace() {
            match word.split_once('=') {
                Some(("hugepagesz", value)) => size = value.into(),
                Some(("hugepages", count)) => {
                    let size_kib = if size == "1G" { 1 << 20 } else { 2048 };
                    let path = format!("/sys/kernel/mm/hugepages/hugepages-{size_kib}kB/nr_hugepages");
                    let _ = self.store(Path::new(&path), count);
                }
                Some(("transparent_hugepage", word)) => {
                    let _ = self.store(Path::new("/sys/kernel/mm/transparent_hugepage/enabled"), word);
                }
                Some(("nmi_watchdog", value)) => self.show("/proc/sys/kernel/nmi_watchdog", value),
                // A module's parameters show whether or not they may be written later.
                Some((key, value)) if key.contains('.') => {
                    let (module, name) = key.split_once('.').unwrap_or_default();
                    let path = format!("/sys/module/{}/parameters/{name}", module.replace('-', "_"));
                    if self.now.files.contains_key(Path::new(&path)) {
                        self.show(&path, value);
                    }
                }
                _ => {}
            }
        }
    }

    fn isolate(&mut self, release: &str, line: &str) {
        let config = self.now.read(Path::new(&format!("/boot/config-{release}")));
        let has_full = config.map_or(true, |config| config.contains("CONFIG_NO_HZ_FULL=y"));
        let isolated = parameter(line, "isolcpus").map_or_else(String::new, |value| isolated(&value));
        self.show("/sys/devices/system/cpu/isolated", &isolated);
        if has_full {
            let cpus = parameter(line, "nohz_full").and_then(|value| value.parse::<CpuList>().ok());
            let text =
                cpus.map_or("(null)".into(), |cpus| cpus.without(&CpuList::from_iter([0])).to_string());
            self.show("/sys/devices/system/cpu/nohz_full", &text);
        }
    }

    /// As systemd-sysctl does: by the names of files; a line that is refused is passed over.
    fn apply_sysctls(&mut self) {
        let folder = Path::new("/etc/sysctl.d");
        for name in self.now.list(folder).unwrap_or_default() {
            let text = self.now.read(&folder.join(name)).unwrap_or_default();
            for line in text.lines().filter(|line| !line.trim_start().starts_with(['#', ';'])) {
                let Some((key, value)) = line.split_once('=') else { continue };
                let path = format!("/proc/sys/{}", key.trim().trim_start_matches('-').replace('.', "/"));
                if self.now.files.contains_key(Path::new(&path)) {
                    let _ = self.store(Path::new(&path), value.trim());
                }
            }
        }
    }

    fn env(&self, name: &str) -> Option<String> {
        let text = self.now.read(Path::new(ENV)).unwrap_or_default();
        let value =
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=').map(str::to_owned));
        value.filter(|value| !value.is_empty())
    }

    fn set_env(&mut self, name: &str, value: Option<&str>) {
        let text = self.now.read(Path::new(ENV)).unwrap_or_default();
        let others = text.lines().filter(|line| line.contains('=') && !line.starts_with(&format!("{name}=")));
        let lines: Vec<_> =
            others.map(str::to_owned).chain(value.map(|value| format!("{name}={value}"))).collect();
        let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let text = format!("# GRUB Environment Block\n{body}");
        // The block is always 1024 bytes.
        let padding = "#".repeat(1024usize.saturating_sub(text.len()));
        self.now.files.insert(ENV.into(), (0o600, text + &padding));
    }

    pub(super) fn set_grubenv(&mut self, name: &str, value: Option<&str>) -> Result<String, HostError> {
        self.check_write(Path::new(ENV))?;
        self.writes.push(format!("{ENV} {name}={value:?}"));
        self.set_env(name, value);
        Ok(String::new())
    }

    pub(super) fn grubenv(&self) -> String {
        let text = self.now.read(Path::new(ENV)).unwrap_or_default();
        text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect()
    }

    /// Lays the files of `/etc` and `/boot` into a folder.
    fn laid_out(&self) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let is_there = |path: &Path| path.starts_with("/etc") || path.starts_with("/boot");
        for (path, (_, text)) in self.now.files.iter().filter(|(path, _)| is_there(path)) {
            let real = root.path().join(path.strip_prefix("/").unwrap());
            std::fs::create_dir_all(real.parent().unwrap()).unwrap();
            std::fs::write(&real, text).unwrap();
        }
        root
    }

    /// A real shell, for which the machine's files are in `$TUNER_ROOT`.
    pub(super) fn shell(&self, arguments: &[&str]) -> Result<String, HostError> {
        let root = self.laid_out();
        let output = Command::new("sh").args(arguments).env("TUNER_ROOT", root.path()).output().unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(refused(Path::new("sh"), HostErrorKind::Failed)),
        }
    }

    /// Has a shell do what grub-mkconfig does.
    pub(super) fn update_grub(&mut self) {
        let root = self.laid_out();
        let is_run = |path: &Path, mode: u32| path.starts_with("/etc/grub.d") && mode & 0o111 != 0;
        let scripts: Vec<_> = self.now.files.iter().filter(|(path, (mode, _))| is_run(path, *mode)).collect();
        let scripts: Vec<_> = scripts
            .into_iter()
            .map(|(path, _)| (path.clone(), root.path().join(path.strip_prefix("/").unwrap())))
            .collect();
        let sourced = "set -a; . etc/default/grub; for file in etc/default/grub.d/*.cfg; do test -e \"$file\" && . \"./$file\"; done; ";
        let shell = |command: &str, script: &Path| {
            let mut shell = Command::new("sh");
            shell.current_dir(root.path()).env("TUNER_ROOT", root.path()).arg("-c");
            let output = shell.arg(format!("{sourced}{command}")).arg("sh").arg(script).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let told = shell(
            "printf '%s\\n%s\\n%s' \"$GRUB_CMDLINE_LINUX\" \"$GRUB_CMDLINE_LINUX_DEFAULT\" \"$GRUB_DEFAULT\"",
            Path::new(""),
        );
        let mut told = told.split('\n');
        let mut next = || told.next().unwrap_or_default().to_owned();
        let (always, normally, default) = (next(), next(), next());
        let default = match default.as_str() {
            "saved" => "${saved_entry}",
            "" => "0",
            other => other,
        };
        let mut text = format!(
            "set default=\"{default}\"\n### BEGIN /etc/grub.d/10_linux ###\n{}",
            self.linux_entries(&always, &normally)
        );
        text.push_str("### END /etc/grub.d/10_linux ###\n");
        self.now.files.insert(CFG.into(), (0o600, text.clone()));
        // Scripts see the configuration that is being made beside the place of the one there was.
        std::fs::create_dir_all(root.path().join("boot/grub")).unwrap();
        std::fs::write(root.path().join("boot/grub/grub.cfg"), &text).unwrap();
        for (path, real) in scripts.iter().filter(|(path, _)| !path.ends_with("10_linux")) {
            let printed = shell("exec sh \"$1\"", real);
            text.push_str(&format!("### BEGIN {0} ###\n{printed}### END {0} ###\n", path.display()));
        }
        self.now.files.insert(CFG.into(), (0o600, text));
    }

    fn linux_entries(&self, always: &str, normally: &str) -> String {
        let names = self.now.list(Path::new("/boot")).unwrap_or_default();
        let mut releases: Vec<_> = names.iter().filter_map(|name| name.strip_prefix("vmlinuz-")).collect();
        releases.sort_by_key(|release| std::cmp::Reverse(by_version(release)));
        let root = "root=UUID=00000000-0000-4000-8000-0000000000aa ro";
        let lines = |indent: &str, release: &str, more: &str| {
            format!(
                "{indent}\tlinux\t/boot/vmlinuz-{release} {root} {more}\n{indent}\tinitrd\t/boot/initrd.img-{release}\n{indent}}}\n"
            )
        };
        let normal = format!("{always} {normally}");
        let class = "--class debian --class gnu-linux --class gnu --class os";
        let first = releases.first().map_or_else(String::new, |release| {
            format!(
                "menuentry 'Debian GNU/Linux' {class} $menuentry_id_option 'gnulinux-simple-aa' {{\n{}",
                lines("", release, normal.trim())
            )
        });
        let entry = |release: &&str| {
            let head = |how: &str, id: &str| {
                format!(
                    "\tmenuentry 'Debian GNU/Linux, with Linux {release}{how}' {class} $menuentry_id_option 'gnulinux-{release}-{id}-aa' {{\n"
                )
            };
            format!(
                "{}{}{}{}",
                head("", "advanced"),
                lines("\t", release, normal.trim()),
                head(" (recovery mode)", "recovery"),
                lines("\t", release, &format!("single {always}"))
            )
        };
        let all: String = releases.iter().map(entry).collect();
        format!(
            "{first}submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option 'gnulinux-advanced-aa' {{\n{all}}}\n"
        )
    }
}

/// As `sort -V` orders: runs of digits as numbers.
fn by_version(text: &str) -> Vec<(u64, String)> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let letters = rest.find(|letter: char| letter.is_ascii_digit()).unwrap_or(rest.len());
        let digits = rest[letters..]
            .find(|letter: char| !letter.is_ascii_digit())
            .map_or(rest.len(), |at| letters + at);
        parts.push((rest[letters..digits].parse().unwrap_or(0), rest[..letters].to_owned()));
        rest = &rest[digits..];
    }
    parts
}

/// What isolcpus= takes out of the scheduler: with flags, only where `domain` is among them.
fn isolated(value: &str) -> String {
    let is_flag = |word: &&str| matches!(*word, "nohz" | "domain" | "managed_irq");
    let flags: Vec<_> = value.split(',').take_while(is_flag).collect();
    let cpus: Vec<_> = value.split(',').skip(flags.len()).collect();
    let takes = flags.is_empty() || flags.contains(&"domain");
    cpus.join(",")
        .parse::<CpuList>()
        .map_or_else(|_| String::new(), |cpus| if takes { cpus.to_string() } else { String::new() })
}

/// The entries of a grub.cfg, in its order.
pub fn entries(text: &str) -> Vec<Entry> {
    let mut found: Vec<Entry> = Vec::new();
    let mut menus: Vec<(String, String)> = Vec::new();
    let quoted = |text: &str| text.split('\'').nth(1).unwrap_or_default().to_owned();
    let id = |line: &str| match line.split_once("$menuentry_id_option ").or_else(|| line.split_once("--id "))
    {
        Some((_, rest)) if rest.starts_with('\'') => quoted(rest),
        Some((_, rest)) => rest.split_whitespace().next().unwrap_or_default().to_owned(),
        None => quoted(line),
    };
    let path = |menus: &[(String, String)], which: fn(&(String, String)) -> &str| {
        menus.iter().map(which).collect::<Vec<_>>().join(">")
    };
    for line in text.lines().map(str::trim) {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.first() {
            Some(&("submenu" | "menuentry")) => menus.push((quoted(line), id(line))),
            Some(&"linux") if words.len() > 1 => found.push(Entry {
                titles: path(&menus, |menu| &menu.0),
                ids: path(&menus, |menu| &menu.1),
                kernel: words[1].into(),
                parameters: words[2..].join(" "),
            }),
            Some(&"}") => drop(menus.pop()),
            _ => {}
        }
    }
    found
}

/// The entry that GRUB takes for a name: titles or ids with `>` between, or a number at the top.
fn find<'a>(entries: &'a [Entry], name: &str) -> Option<&'a Entry> {
    let is_its = |entry: &&Entry| entry.titles == name || entry.ids == name;
    let at_top = || entries.iter().filter(|entry| !entry.ids.contains('>'));
    let numbered = || at_top().nth(name.parse().ok()?);
    let mixed = |entry: &&Entry| {
        let parts = name.split('>').zip(entry.titles.split('>').zip(entry.ids.split('>')));
        name.split('>').count() == entry.ids.split('>').count()
            && parts.into_iter().all(|(part, (title, id))| part == title || part == id)
    };
    entries.iter().find(is_its).or_else(|| entries.iter().find(mixed)).or_else(numbered)
}
