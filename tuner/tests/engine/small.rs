//! A small machine in memory: files and folders, some of which behave as the kernel's do, and which dies on demand.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tuner::host::{Host, HostError, HostErrorKind, Lock, UNFINISHED};

/// How a file answers to being written.
#[derive(Debug, Clone)]
pub(crate) enum Quirk {
    /// It refuses.
    Refuses(HostErrorKind),
    /// It takes numbers up to this.
    Clamps(u64),
    /// It gives pages up to the first, and keeps those in use, the second.
    Pages(u64, u64),
    /// It shows what was written after so many pauses.
    Late(usize),
    /// It shows this behind what was written.
    Shows(&'static str),
    /// It is one of these words, in brackets.
    Choice(&'static [&'static str]),
    /// Writing it sets that file, too.
    Pulls(&'static str, &'static str),
}

/// How much of the call is done at which the machine dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    Before,
    Amid,
    After,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Inner {
    pub files: BTreeMap<PathBuf, (String, u32)>,
    pub folders: BTreeSet<PathBuf>,
    pub links: BTreeMap<PathBuf, PathBuf>,
    pub quirks: BTreeMap<PathBuf, Quirk>,
    /// Effects that come late: pauses until then, file, text.
    late: Vec<(usize, PathBuf, String)>,
    /// How many calls were made.
    pub calls: usize,
    /// At which call it dies, and how; and whether it recovers after that call.
    pub dies: Option<(usize, Death)>,
    pub hiccups: bool,
    /// What changed something, in order.
    pub done: Vec<String>,
    pub failing_program: Option<&'static str>,
    pub denies_journals: bool,
    pub nobody_waits: bool,
    pub paused: Duration,
}

#[derive(Debug, Default)]
pub(crate) struct Small(pub RefCell<Inner>);

/// What the tuner keeps for itself.
const OWN: &str = "/var/lib/tuner";

impl Small {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let small = Self::default();
        for (path, text) in files {
            small.put(path, text);
        }
        small
    }

    pub(crate) fn quirk(self, path: &str, quirk: Quirk) -> Self {
        self.0.borrow_mut().quirks.insert(path.into(), quirk);
        self
    }

    /// What an administrator does: no quirk, no death.
    pub(crate) fn put(&self, path: &str, text: &str) {
        let mut inner = self.0.borrow_mut();
        make_folders(&mut inner, Path::new(path));
        inner.files.insert(path.into(), (text.into(), 0o644));
    }

    pub(crate) fn take(&self, path: &str) {
        self.0.borrow_mut().files.remove(Path::new(path));
    }

    pub(crate) fn text(&self, path: &str) -> Option<String> {
        self.0.borrow().files.get(Path::new(path)).map(|(text, _)| text.clone())
    }

    /// Every byte, mode and folder but the tuner's own, and the time.
    pub(crate) fn everything(&self) -> (BTreeMap<PathBuf, (String, u32)>, BTreeSet<PathBuf>) {
        let inner = self.0.borrow();
        let files =
            inner.files.iter().filter(|(path, _)| !path.starts_with(OWN) && !path.ends_with("uptime"));
        let folders =
            inner.folders.iter().filter(|path| !Path::new(OWN).starts_with(path) && !path.starts_with(OWN));
        (files.map(|(path, file)| (path.clone(), file.clone())).collect(), folders.cloned().collect())
    }

    pub(crate) fn die_at(&self, call: usize, death: Death) {
        let mut inner = self.0.borrow_mut();
        inner.calls = 0;
        inner.dies = Some((call, death));
        inner.hiccups = false;
    }

    pub(crate) fn hiccup_at(&self, call: usize, death: Death) {
        self.die_at(call, death);
        self.0.borrow_mut().hiccups = true;
    }

    /// Starts it again, and says whether it had died.
    pub(crate) fn revive(&self) -> bool {
        let mut inner = self.0.borrow_mut();
        let late = std::mem::take(&mut inner.late);
        for (_, path, text) in late {
            settle(&mut inner, &path, text);
        }
        inner.dies.take().is_some_and(|(call, _)| inner.calls >= call)
    }

    pub(crate) fn journals(&self) -> Vec<PathBuf> {
        let inner = self.0.borrow();
        let is_journal = |path: &&PathBuf| path.extension().is_some_and(|ending| ending == "journal");
        inner.files.keys().filter(is_journal).cloned().collect()
    }

    /// One call: fails if the machine is dead, or dies at it.
    fn call<T>(
        &self,
        path: &Path,
        amid: impl FnOnce(&mut Inner),
        whole: impl FnOnce(&mut Inner) -> Result<T, HostError>,
    ) -> Result<T, HostError> {
        let mut inner = self.0.borrow_mut();
        inner.calls += 1;
        let dead = || Err(HostError::new(path, HostErrorKind::Other, "the machine is dead"));
        match inner.dies {
            Some((at, _)) if inner.calls > at && !inner.hiccups => dead(),
            Some((at, death)) if inner.calls == at => {
                match death {
                    Death::Before => {}
                    Death::Amid => amid(&mut inner),
                    Death::After => drop(whole(&mut inner)),
                }
                dead()
            }
            _ => whole(&mut inner),
        }
    }
}

fn make_folders(inner: &mut Inner, path: &Path) {
    inner.folders.extend(path.ancestors().skip(1).map(Path::to_owned));
}

fn absent(path: &Path) -> HostError {
    HostError::new(path, HostErrorKind::Absent, "No such file or directory")
}

fn settle(inner: &mut Inner, path: &Path, text: String) {
    if let Some(file) = inner.files.get_mut(path) {
        file.0 = text;
    }
}

fn set(inner: &mut Inner, path: &Path, text: &str) -> Result<(), HostError> {
    let number = || text.trim().parse::<u64>().unwrap_or(0);
    if !inner.files.contains_key(path) {
        return Err(absent(path));
    }
    let text = match inner.quirks.get(path).cloned() {
        Some(Quirk::Refuses(kind)) => return Err(HostError::new(path, kind, "refused")),
        Some(Quirk::Clamps(most)) => format!("{}\n", number().min(most)),
        Some(Quirk::Pages(most, in_use)) => format!("{}\n", number().min(most).max(in_use)),
        Some(Quirk::Shows(more)) if !text.contains("member") => format!("{text}{more}\n"),
        Some(Quirk::Late(pauses)) => {
            inner.late.push((pauses, path.into(), format!("{text}\n")));
            return Ok(());
        }
        Some(Quirk::Choice(words)) => {
            let word = if text == "deadline" { "mq-deadline" } else { text };
            if !words.contains(&word) {
                return Err(HostError::new(path, HostErrorKind::Invalid, "Invalid argument"));
            }
            let shown = words.iter().map(|w| if *w == word { format!("[{w}]") } else { (*w).to_owned() });
            shown.collect::<Vec<_>>().join(" ") + "\n"
        }
        Some(Quirk::Pulls(other, its)) => {
            settle(inner, Path::new(other), its.into());
            format!("{text}\n")
        }
        Some(Quirk::Shows(_)) | None => format!("{text}\n"),
    };
    settle(inner, path, text);
    Ok(())
}

impl Host for Small {
    fn read(&self, path: &Path) -> Result<String, HostError> {
        self.call(
            path,
            |_| {},
            |inner| {
                if inner.denies_journals && path.extension().is_some_and(|ending| ending == "journal") {
                    return Err(HostError::new(path, HostErrorKind::Denied, "Permission denied"));
                }
                inner.files.get(path).map(|(text, _)| text.clone()).ok_or_else(|| absent(path))
            },
        )
    }

    fn list(&self, path: &Path) -> Result<Vec<String>, HostError> {
        self.call(
            path,
            |_| {},
            |inner| {
                if !inner.folders.contains(path) {
                    return Err(absent(path));
                }
                let within =
                    inner.files.keys().chain(&inner.folders).filter(|each| each.parent() == Some(path));
                let names = within.filter_map(|each| Some(each.file_name()?.to_string_lossy().into_owned()));
                Ok(names.collect::<BTreeSet<_>>().into_iter().collect())
            },
        )
    }

    fn link(&self, path: &Path) -> Result<PathBuf, HostError> {
        self.call(path, |_| {}, |inner| inner.links.get(path).cloned().ok_or_else(|| absent(path)))
    }

    fn mode(&self, path: &Path) -> Result<u32, HostError> {
        self.call(
            path,
            |_| {},
            |inner| match inner.files.get(path) {
                Some((_, mode)) => Ok(*mode),
                None if inner.folders.contains(path) => Ok(0o755),
                None => Err(absent(path)),
            },
        )
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), HostError> {
        // A folder that stands for a machine keeps files empty for a moment.
        let amid = |inner: &mut Inner| match inner.quirks.get(path) {
            Some(Quirk::Refuses(_)) => {}
            _ => settle(inner, path, String::new()),
        };
        self.call(path, amid, |inner| {
            inner.done.push(format!("write {} {text}", path.display()));
            set(inner, path, text)
        })
    }

    fn replace(&self, path: &Path, text: &str, mode: u32) -> Result<(), HostError> {
        let amid = |inner: &mut Inner| {
            make_folders(inner, path);
            let beside = PathBuf::from(format!("{}{UNFINISHED}", path.display()));
            inner.files.insert(beside, (text[..text.len() / 2].into(), mode));
        };
        self.call(path, amid, |inner| {
            inner.done.push(format!("replace {}", path.display()));
            make_folders(inner, path);
            inner.files.insert(path.into(), (text.into(), mode));
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> Result<(), HostError> {
        self.call(
            path,
            |_| {},
            |inner| {
                inner.files.remove(path);
                Ok(())
            },
        )
    }

    fn remove_folder(&self, path: &Path) -> Result<(), HostError> {
        self.call(
            path,
            |_| {},
            |inner| {
                if !inner.files.keys().chain(&inner.folders).any(|each| each.parent() == Some(path)) {
                    inner.folders.remove(path);
                }
                Ok(())
            },
        )
    }

    fn append(&self, path: &Path, text: &str) -> Result<(), HostError> {
        let add = |inner: &mut Inner, text: &str| {
            make_folders(inner, path);
            inner.files.entry(path.into()).or_insert((String::new(), 0o600)).0.push_str(text);
        };
        self.call(
            path,
            |inner| add(inner, &text[..text.len() / 2]),
            |inner| {
                let record = text.split('"').nth(3).unwrap_or_default();
                inner.done.push(format!("append {record}"));
                add(inner, text);
                Ok(())
            },
        )
    }

    fn lock(&self, path: &Path) -> Result<Lock, HostError> {
        self.call(path, |_| {}, |_| Ok(Lock::new(None)))
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String, HostError> {
        let subject = Path::new(program);
        self.call(
            subject,
            |_| {},
            |inner| {
                let words = [&[program], arguments].concat().join(" ");
                if inner.failing_program == Some(program) {
                    return Err(HostError::new(subject, HostErrorKind::Failed, "it failed"));
                }
                inner.done.push(words);
                Ok(String::new())
            },
        )
    }

    fn later(&self, after: Duration, arguments: &[&str]) -> Result<(), HostError> {
        self.call(
            Path::new("later"),
            |_| {},
            |inner| {
                if inner.nobody_waits {
                    return Err(HostError::new(Path::new("later"), HostErrorKind::NotSupported, "no"));
                }
                inner.done.push(format!("later {} {}", after.as_secs(), arguments.join(" ")));
                Ok(())
            },
        )
    }

    fn pause(&self, how_long: Duration) {
        let mut inner = self.0.borrow_mut();
        inner.paused += how_long;
        let uptime = Path::new("/proc/uptime");
        if let Some((text, _)) = inner.files.get_mut(uptime) {
            let now: f64 = text.split(' ').next().unwrap().parse().unwrap();
            *text = format!("{:.2} 0.00\n", now + how_long.as_secs_f64());
        }
        let late = std::mem::take(&mut inner.late);
        for (pauses, path, text) in late {
            match pauses {
                0 | 1 => settle(&mut inner, &path, text),
                _ => inner.late.push((pauses - 1, path, text)),
            }
        }
    }
}
