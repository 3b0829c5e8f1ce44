//! Profiles: what is wished for which knob.
//!
//! A profile is TOML, in the program ([`BUILT_IN`]) or a user's file. What holds: it inherits from at most one other,
//! whose wishes it overrides; each wish is checked against its knob when it is read, so that a typing error is found
//! before anything is looked at. A name stands for the first text of that name that is none of the heirs': a user's
//! `rt-cpu` that inherits from `rt-cpu` adds to the one built in.

use crate::catalogue;
use crate::host::{Host, HostError, absent_is_none};
use crate::knob::{Knob, Wish, WishError};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The profiles that come with the program: name and text.
pub const BUILT_IN: [(&str, &str); 5] = [
    ("audit-only", include_str!("../profiles/audit-only.toml")),
    ("render-gpu", include_str!("../profiles/render-gpu.toml")),
    ("rt-cpu", include_str!("../profiles/rt-cpu.toml")),
    ("trading-net", include_str!("../profiles/trading-net.toml")),
    ("workstation-safe", include_str!("../profiles/workstation-safe.toml")),
];

/// Folders of the user's own profiles, `NAME.toml`, the first before the second and both before those built in.
pub const FOLDERS: [&str; 2] = ["/etc/tuner/profiles", "/usr/local/share/tuner/profiles"];

/// A profile with all that it inherits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// What it is for, in a sentence.
    pub about: String,
    /// Its ancestors, the nearest first.
    pub ancestors: Vec<String>,
    /// How many hot threads want a core of their own.
    pub hot_threads: usize,
    /// The largest part of memory that huge pages may take, in percent.
    pub huge_pages_percent: u64,
    /// Whether it may be applied, or only judged by.
    pub applies: bool,
    /// Each with the name of the profile that it is from.
    wishes: BTreeMap<&'static str, (Wish, String)>,
}

/// Why there is no such profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Nobody knows it.
    #[error("there is no profile '{0}': `tuner profiles` lists them, and a path names a file")]
    Unknown(String),
    /// It cannot be read.
    #[error("profile {path} cannot be read: {reason}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// It is no profile.
    #[error("profile {name}: {reason}")]
    Parse {
        /// Which.
        name: String,
        /// Why, with line and column.
        reason: String,
    },
    /// It names a knob that is not in the catalogue.
    #[error("profile {name}: there is no knob '{knob}'{hint}")]
    Knob {
        /// Which profile.
        name: String,
        /// Which knob.
        knob: String,
        /// The nearest one.
        hint: String,
    },
    /// It wishes what a knob does not take.
    #[error("profile {name}: {source}")]
    Wish {
        /// Which.
        name: String,
        /// Why.
        source: WishError,
    },
    /// It inherits from itself.
    #[error("profile {0} inherits from itself: let one of its heirs inherit from another, or from none")]
    Circle(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    about: Option<String>,
    inherits: Option<String>,
    hot_threads: Option<usize>,
    huge_pages_percent: Option<u64>,
    applies: Option<bool>,
    #[serde(default)]
    knobs: BTreeMap<String, toml::Value>,
}

impl Profile {
    /// Finds a profile of this machine by its name, or a file by its path.
    pub fn find(name: &str) -> Result<Self, ProfileError> {
        Search { host: None, seen: Vec::new() }.find(name)
    }

    /// Finds a profile of a host, which may lie in a folder, by its name; or a file of this machine by its path.
    pub fn find_on(host: &dyn Host, name: &str) -> Result<Self, ProfileError> {
        Search { host: Some(host), seen: Vec::new() }.find(name)
    }

    /// What is wished for a knob.
    pub fn wish(&self, knob: &Knob) -> &Wish {
        self.wishes.get(knob.id).map_or(&Wish::Leave, |(wish, _)| wish)
    }

    /// Which of its ancestors, or itself, wishes that for a knob; none if nobody does.
    pub fn origin(&self, knob: &Knob) -> Option<&str> {
        self.wishes.get(knob.id).map(|(_, origin)| origin.as_str())
    }

    /// Leaves all knobs alone but those that `keep` names.
    pub fn narrow(&mut self, keep: impl Fn(&str) -> bool) {
        self.wishes.retain(|id, _| keep(id));
    }

    /// One that wishes this alone.
    #[cfg(test)]
    pub(crate) fn wishing(id: &'static str, wish: Wish) -> Self {
        Self { wishes: BTreeMap::from([(id, (wish, "test".into()))]), ..Self::default() }
    }
}

/// The names of a host's profiles, its own and those built in, sorted.
pub fn names(host: &dyn Host) -> Vec<String> {
    let own = FOLDERS.iter().flat_map(|folder| host.list(Path::new(folder)).unwrap_or_default());
    let own = own.filter_map(|file| file.strip_suffix(".toml").map(str::to_owned));
    let mut names: Vec<_> = own.chain(BUILT_IN.iter().map(|(name, _)| (*name).to_owned())).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Where the text of a profile is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    File(PathBuf),
    OfHost(PathBuf),
    BuiltIn(&'static str),
}

/// A search for a profile and its ancestors.
struct Search<'a> {
    /// Whose; this machine, if none.
    host: Option<&'a dyn Host>,
    /// What was read, the heirs first.
    seen: Vec<Source>,
}

impl Search<'_> {
    fn find(mut self, name: &str) -> Result<Profile, ProfileError> {
        self.read(name, Path::new(""))
    }

    /// Reads a profile that is named in a file of this folder.
    fn read(&mut self, name: &str, folder: &Path) -> Result<Profile, ProfileError> {
        let (source, text) = self.text_of(name, folder)?;
        let (name, folder) = match &source {
            // It must be found again from another folder.
            Source::File(path) => (path.display().to_string(), path.parent().unwrap_or(folder).to_owned()),
            Source::OfHost(_) | Source::BuiltIn(_) => (name.to_owned(), folder.to_owned()),
        };
        self.seen.push(source);
        let parse = |error: toml::de::Error| ProfileError::Parse {
            name: name.clone(),
            reason: error.to_string().trim_end().to_owned(),
        };
        let text: Text = toml::from_str(&text).map_err(parse)?;
        let mut profile = match &text.inherits {
            Some(parent) => {
                let parent = self.read(parent, &folder)?;
                let ancestors = [vec![parent.name.clone()], parent.ancestors.clone()].concat();
                Profile { ancestors, ..parent }
            }
            None => Profile { hot_threads: 2, huge_pages_percent: 50, applies: true, ..Profile::default() },
        };
        profile.about = text.about.unwrap_or_default();
        profile.hot_threads = text.hot_threads.unwrap_or(profile.hot_threads);
        profile.huge_pages_percent = text.huge_pages_percent.unwrap_or(profile.huge_pages_percent);
        profile.applies = text.applies.unwrap_or(profile.applies);
        for (id, value) in flat(text.knobs) {
            let (knob, wish) = wish(&name, &id, &value)?;
            profile.wishes.insert(knob.id, (wish, name.clone()));
        }
        profile.name = name;
        Ok(profile)
    }

    /// The first text of this name that is none of the heirs'.
    fn text_of(&self, name: &str, folder: &Path) -> Result<(Source, String), ProfileError> {
        if name.contains('/') || name.ends_with(".toml") {
            let path = folder.join(name);
            let path = std::path::absolute(&path).unwrap_or(path);
            if self.seen.contains(&Source::File(path.clone())) {
                return Err(ProfileError::Circle(name.into()));
            }
            let text = fs::read_to_string(&path)
                .map_err(|error| ProfileError::Read { path: path.clone(), reason: error.to_string() })?;
            return Ok((Source::File(path), text));
        }
        let mut is_circle = false;
        for folder in FOLDERS {
            let path = Path::new(folder).join(format!("{name}.toml"));
            match self.of_host(&path)? {
                Some(_) if self.seen.contains(&Source::OfHost(path.clone())) => is_circle = true,
                Some(text) => return Ok((Source::OfHost(path), text)),
                None => {}
            }
        }
        match BUILT_IN.iter().find(|(known, _)| *known == name) {
            Some((known, _)) if self.seen.contains(&Source::BuiltIn(known)) => {
                Err(ProfileError::Circle(name.into()))
            }
            Some((known, text)) => Ok((Source::BuiltIn(known), (*text).to_owned())),
            None if is_circle => Err(ProfileError::Circle(name.into())),
            None => Err(ProfileError::Unknown(name.into())),
        }
    }

    fn of_host(&self, path: &Path) -> Result<Option<String>, ProfileError> {
        let read = match self.host {
            Some(host) => host.read(path),
            None => fs::read_to_string(path).map_err(|error| HostError::of(path, &error)),
        };
        absent_is_none(read).map_err(|error| ProfileError::Read { path: path.into(), reason: error.said })
    }
}

/// Wishes by the whole names of their knobs: `mem.thp = 1` is a table to TOML unless the name is quoted.
fn flat(knobs: BTreeMap<String, toml::Value>) -> Vec<(String, toml::Value)> {
    let mut flat = Vec::new();
    for (id, value) in knobs {
        match value {
            toml::Value::Table(area) => {
                flat.extend(area.into_iter().map(|(name, value)| (format!("{id}.{name}"), value)));
            }
            value => flat.push((id, value)),
        }
    }
    flat
}

fn wish(name: &str, id: &str, value: &toml::Value) -> Result<(&'static Knob, Wish), ProfileError> {
    let knob = catalogue::find(id).ok_or_else(|| {
        let hint = catalogue::nearest(id).map(|near| format!("; is '{near}' meant?")).unwrap_or_default();
        ProfileError::Knob { name: name.into(), knob: id.into(), hint }
    })?;
    let text = match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Boolean(yes) => u8::from(*yes).to_string(),
        toml::Value::Integer(number) => number.to_string(),
        other => {
            let expected = format!("{}; write it as text", knob.accepts);
            let source = WishError { knob: id.into(), wish: other.to_string(), expected };
            return Err(ProfileError::Wish { name: name.into(), source });
        }
    };
    let wish = Wish::parse(knob, &text).map_err(|source| ProfileError::Wish { name: name.into(), source })?;
    Ok((knob, wish))
}

#[cfg(test)]
mod tests;
