//! A machine as a text tells it: what `capture` writes, and what tests are written in.
//!
//! What holds: it is only read. What the text does not name is not there. A folder's names are those that the text
//! gives or, without any, those of the entries below it. The text that a recorded machine is written as, is read back
//! as the same machine.
//!
//! Each entry is a line, and lines below it that begin with two blanks:
//! ```text
//! # a remark
//! file 0644 /proc/sys/vm/swappiness
//!   60
//! folder /sys/block
//!   nvme0n1
//! link /sys/class/net/eth0/device/driver -> ../../../../bus/pci/drivers/ixgbe
//! failed denied /proc/1/environ
//!   Permission denied
//! nic eth0 rx-usecs
//!   3
//! gpu 0000:01:00.0 persistence
//!   off
//! run systemctl show tuned.service
//!   ActiveState=active
//! ```
//! Text without a newline at its end is followed by a line of one `\`. In text, `\` is `\\` and NUL is `\0`.

use super::{GpuItem, Host, HostError, HostErrorKind, Lock, NicItem};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// See above.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Remarks at its beginning, without the `#`.
    pub remarks: Vec<String>,
    /// Files: permission bits and text.
    pub files: BTreeMap<PathBuf, (u32, String)>,
    /// Folders whose names are all known.
    pub folders: BTreeMap<PathBuf, Vec<String>>,
    /// Links, and where they lead.
    pub links: BTreeMap<PathBuf, PathBuf>,
    /// What could not be read, and what the machine said.
    pub failures: BTreeMap<PathBuf, (HostErrorKind, String)>,
    /// What cards and programs told, by what they were asked: `nic eth0 rx-usecs`.
    pub told: BTreeMap<String, String>,
}

/// Why a text tells of no machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the recorded host: {reason}")]
pub struct RecordedError {
    /// Which line, from 1.
    pub line: usize,
    /// Why.
    pub reason: &'static str,
}

/// Kinds of failures, as they are written.
const KINDS: [(&str, HostErrorKind); 8] = [
    ("denied", HostErrorKind::Denied),
    ("busy", HostErrorKind::Busy),
    ("invalid", HostErrorKind::Invalid),
    ("io", HostErrorKind::Io),
    ("not-supported", HostErrorKind::NotSupported),
    ("read-only", HostErrorKind::ReadOnly),
    ("failed", HostErrorKind::Failed),
    ("other", HostErrorKind::Other),
];

impl Recorded {
    /// What a network card was asked.
    pub fn of_nic(interface: &str, item: NicItem) -> String {
        format!("nic {interface} {item}")
    }

    /// What a graphics card was asked.
    pub fn of_gpu(pci: &str, item: GpuItem) -> String {
        format!("gpu {pci} {item}")
    }

    /// What a program was asked.
    pub fn of_run(program: &str, arguments: &[&str]) -> String {
        [&["run", program], arguments].concat().join(" ")
    }

    /// The names below a folder, as far as entries tell.
    fn below(&self, folder: &Path) -> BTreeSet<String> {
        // Paths are ordered by their parts, so those below a folder follow it.
        fn after<'a, V>(
            entries: &'a BTreeMap<PathBuf, V>,
            folder: &Path,
        ) -> impl Iterator<Item = &'a PathBuf> {
            entries.range::<Path, _>((Bound::Excluded(folder), Bound::Unbounded)).map(|(path, _)| path)
        }
        let first =
            |path: &PathBuf| path.strip_prefix(folder).ok()?.iter().next()?.to_str().map(str::to_owned);
        let is_below = |path: &&PathBuf| path.starts_with(folder);
        let mut names: BTreeSet<String> = BTreeSet::new();
        names.extend(after(&self.files, folder).take_while(is_below).filter_map(first));
        names.extend(after(&self.folders, folder).take_while(is_below).filter_map(first));
        names.extend(after(&self.links, folder).take_while(is_below).filter_map(first));
        names.extend(after(&self.failures, folder).take_while(is_below).filter_map(first));
        names
    }

    fn failure(&self, path: &Path) -> HostError {
        match self.failures.get(path) {
            Some((kind, said)) => HostError::new(path, *kind, said),
            None => HostError::new(path, HostErrorKind::Absent, "it is not there"),
        }
    }
}

impl Host for Recorded {
    fn read(&self, path: &Path) -> Result<String, HostError> {
        self.files.get(path).map(|(_, text)| text.clone()).ok_or_else(|| self.failure(path))
    }

    fn list(&self, path: &Path) -> Result<Vec<String>, HostError> {
        if let Some(names) = self.folders.get(path) {
            return Ok(names.clone());
        }
        let names = self.below(path);
        if names.is_empty() { Err(self.failure(path)) } else { Ok(names.into_iter().collect()) }
    }

    fn link(&self, path: &Path) -> Result<PathBuf, HostError> {
        let failure = || match self.files.contains_key(path) {
            true => HostError::new(path, HostErrorKind::Invalid, "it is no link"),
            false => self.failure(path),
        };
        self.links.get(path).cloned().ok_or_else(failure)
    }

    fn mode(&self, path: &Path) -> Result<u32, HostError> {
        match self.files.get(path) {
            Some((mode, _)) => Ok(*mode),
            None => self.list(path).map(|_| 0o755),
        }
    }

    fn write(&self, path: &Path, _text: &str) -> Result<(), HostError> {
        Err(read_only(path))
    }

    fn replace(&self, path: &Path, _text: &str, _mode: u32) -> Result<(), HostError> {
        Err(read_only(path))
    }

    fn remove(&self, path: &Path) -> Result<(), HostError> {
        Err(read_only(path))
    }

    fn append(&self, path: &Path, _text: &str) -> Result<(), HostError> {
        Err(read_only(path))
    }

    fn lock(&self, path: &Path) -> Result<Lock, HostError> {
        Err(read_only(path))
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String, HostError> {
        let absent = || HostError::new(Path::new(program), HostErrorKind::Absent, "it was not recorded");
        self.told.get(&Self::of_run(program, arguments)).cloned().ok_or_else(absent)
    }

    fn nic(&self, interface: &str, item: NicItem) -> Result<Option<String>, HostError> {
        Ok(self.told.get(&Self::of_nic(interface, item)).map(|text| text.trim_end().to_owned()))
    }

    fn gpu(&self, pci: &str, item: GpuItem) -> Result<Option<String>, HostError> {
        Ok(self.told.get(&Self::of_gpu(pci, item)).map(|text| text.trim_end().to_owned()))
    }
}

fn read_only(path: &Path) -> HostError {
    HostError::new(path, HostErrorKind::ReadOnly, "a recorded host is not changed")
}

impl fmt::Display for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.remarks.iter().try_for_each(|remark| writeln!(f, "# {remark}"))?;
        for (path, (mode, text)) in &self.files {
            writeln!(f, "file {mode:04o} {}", path.display())?;
            write_text(f, text)?;
        }
        for (path, names) in &self.folders {
            writeln!(f, "folder {}", path.display())?;
            names.iter().try_for_each(|name| writeln!(f, "  {}", escaped(name)))?;
        }
        for (path, target) in &self.links {
            writeln!(f, "link {} -> {}", path.display(), target.display())?;
        }
        for (path, (kind, said)) in &self.failures {
            let name = KINDS.iter().find(|(_, known)| known == kind).map_or("other", |(name, _)| name);
            writeln!(f, "failed {name} {}\n  {}", path.display(), escaped(said))?;
        }
        for (asked, text) in &self.told {
            writeln!(f, "{asked}")?;
            write_text(f, text)?;
        }
        Ok(())
    }
}

fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let whole = text.strip_suffix('\n');
    if !text.is_empty() {
        whole.unwrap_or(text).split('\n').try_for_each(|line| writeln!(f, "  {}", escaped(line)))?;
    }
    if whole.is_none() && !text.is_empty() { writeln!(f, "\\") } else { Ok(()) }
}

fn escaped(line: &str) -> String {
    line.replace('\\', "\\\\").replace('\0', "\\0").replace('\n', "\\n").replace('\r', "\\r")
}

fn unescaped(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some('0') => text.push('\0'),
                Some('n') => text.push('\n'),
                Some('r') => text.push('\r'),
                other => text.extend(other),
            },
            letter => text.push(letter),
        }
    }
    text
}

impl FromStr for Recorded {
    type Err = RecordedError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut recorded = Self::default();
        let mut lines = text.split_terminator('\n').enumerate().peekable();
        while let Some((number, line)) = lines.next() {
            if let Some(remark) = line.strip_prefix('#') {
                recorded.remarks.push(remark.trim().into());
                continue;
            }
            if line.trim().is_empty() {
                continue;
            }
            let mut body = Vec::new();
            while let Some((_, line)) = lines.next_if(|(_, line)| line.starts_with("  ")) {
                body.push(unescaped(&line[2..]));
            }
            let is_cut = lines.next_if(|(_, line)| *line == "\\").is_some();
            recorded.take(line, body, is_cut).map_err(|reason| RecordedError { line: number + 1, reason })?;
        }
        Ok(recorded)
    }
}

impl Recorded {
    fn take(&mut self, head: &str, body: Vec<String>, is_cut: bool) -> Result<(), &'static str> {
        let mut text = body.join("\n");
        if !is_cut && !body.is_empty() {
            text.push('\n');
        }
        let (kind, rest) = head.split_once(' ').ok_or("it has one word only")?;
        match kind {
            "file" => {
                let (mode, path) = rest.split_once(' ').ok_or("a file has a mode and a path")?;
                let mode = u32::from_str_radix(mode, 8).map_err(|_| "a file's mode is octal, as 0644")?;
                self.files.insert(path.into(), (mode, text));
            }
            "folder" => drop(self.folders.insert(rest.into(), body)),
            "link" => {
                let (path, target) = rest.split_once(" -> ").ok_or("a link has a path, '->' and a target")?;
                self.links.insert(path.into(), target.into());
            }
            "failed" => {
                let (name, path) = rest.split_once(' ').ok_or("a failure has a kind and a path")?;
                let known =
                    KINDS.iter().find(|(known, _)| *known == name).ok_or("there is no such failure")?;
                self.failures.insert(path.into(), (known.1, body.join("\n")));
            }
            "nic" | "gpu" | "run" => drop(self.told.insert(head.into(), text)),
            _ => return Err("it begins with none of file, folder, link, failed, nic, gpu, run"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_not_told_is_not_there() {
        let host: Recorded = "# by hand\nfile 0444 /sys/a/b\n  1\nfile 0644 /sys/a/c\n\nlink /sys/d -> ../e\nfailed denied /f\n  no\n".parse().unwrap();
        assert_eq!(host.read(Path::new("/sys/a/b")).unwrap(), "1\n");
        assert_eq!(host.read(Path::new("/sys/a/c")).unwrap(), "");
        assert_eq!(host.list(Path::new("/sys")).unwrap(), ["a", "d"]);
        assert_eq!(host.read(Path::new("/f")).unwrap_err().kind, HostErrorKind::Denied);
        assert_eq!(host.list(Path::new("/g")).unwrap_err().kind, HostErrorKind::Absent);
        assert_eq!(host.write(Path::new("/sys/a/b"), "2").unwrap_err().kind, HostErrorKind::ReadOnly);
        let error = "file 0644 /a\n  b\nfile x /c\n".parse::<Recorded>().unwrap_err();
        assert_eq!((error.line, error.reason), (3, "a file's mode is octal, as 0644"));
    }

    proptest! {
        #[test]
        fn it_is_read_as_it_was_written(
            files in prop::collection::btree_map("/[a-z/:.]{1,9}", (0..0o777u32, "[a-c \\\\\n\0\r#]{0,12}"), 0..6),
            folders in prop::collection::btree_map("/[a-z]{1,9}", prop::collection::vec("[a-z:. ]{1,5}", 0..3), 0..3),
            links in prop::collection::btree_map("/[a-z]{1,9}", "[a-z./]{1,5}", 0..3),
        ) {
            let host = Recorded {
                files: files.into_iter().map(|(path, file)| (path.into(), file)).collect(),
                folders: folders.into_iter().map(|(path, names)| (path.into(), names)).collect(),
                links: links.into_iter().map(|(path, target)| (path.into(), target.into())).collect(),
                ..Recorded::default()
            };
            prop_assert_eq!(host.to_string().parse::<Recorded>().unwrap(), host);
        }
    }
}
