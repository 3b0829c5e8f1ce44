//! Profiles: what is wished for which knob.
//!
//! A profile is TOML, in the program ([`BUILT_IN`]) or a user's file. What holds: it inherits from at most one other,
//! whose wishes it overrides; each wish is checked against its knob when it is read, so that a typing error is found
//! before anything is looked at.

use crate::catalogue;
use crate::knob::{Knob, Wish, WishError};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::io;
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
    wishes: BTreeMap<&'static str, Wish>,
}

/// Why there is no such profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Nobody knows it.
    #[error("there is no profile '{0}': `tuner profiles` lists them, and a path names a file")]
    Unknown(String),
    /// It cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
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
    #[error("profile {0} inherits from itself")]
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
    /// Finds a profile by its name, or a file by its path.
    pub fn find(name: &str) -> Result<Self, ProfileError> {
        Self::find_among(name, &mut Vec::new())
    }

    fn find_among(name: &str, heirs: &mut Vec<String>) -> Result<Self, ProfileError> {
        if heirs.iter().any(|heir| heir == name) {
            return Err(ProfileError::Circle(name.into()));
        }
        heirs.push(name.into());
        let text = text_of(name)?;
        let parse =
            |error: toml::de::Error| ProfileError::Parse { name: name.into(), reason: error.to_string() };
        let text: Text = toml::from_str(&text).map_err(parse)?;
        let mut profile = match &text.inherits {
            Some(parent) => {
                let parent = Self::find_among(parent, heirs)?;
                let ancestors = [vec![parent.name.clone()], parent.ancestors.clone()].concat();
                Self { ancestors, ..parent }
            }
            None => Self { hot_threads: 2, huge_pages_percent: 50, applies: true, ..Self::default() },
        };
        profile.name = name.into();
        profile.about = text.about.unwrap_or_default();
        profile.hot_threads = text.hot_threads.unwrap_or(profile.hot_threads);
        profile.huge_pages_percent = text.huge_pages_percent.unwrap_or(profile.huge_pages_percent);
        profile.applies = text.applies.unwrap_or(profile.applies);
        for (id, value) in text.knobs {
            let (knob, wish) = wish(name, &id, &value)?;
            profile.wishes.insert(knob.id, wish);
        }
        Ok(profile)
    }

    /// What is wished for a knob.
    pub fn wish(&self, knob: &Knob) -> &Wish {
        self.wishes.get(knob.id).unwrap_or(&Wish::Leave)
    }

    /// Leaves all knobs alone but those that `keep` names.
    pub fn narrow(&mut self, keep: impl Fn(&str) -> bool) {
        self.wishes.retain(|id, _| keep(id));
    }
}

fn wish(name: &str, id: &str, value: &toml::Value) -> Result<(&'static Knob, Wish), ProfileError> {
    let knob = catalogue::find(id).ok_or_else(|| {
        let hint = catalogue::nearest(id).map(|near| format!("; is '{near}' meant?")).unwrap_or_default();
        ProfileError::Knob { name: name.into(), knob: id.into(), hint }
    })?;
    let text = match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Boolean(yes) => u8::from(*yes).to_string(),
        other => other.to_string(),
    };
    let wish = Wish::parse(knob, &text).map_err(|source| ProfileError::Wish { name: name.into(), source })?;
    Ok((knob, wish))
}

fn text_of(name: &str) -> Result<String, ProfileError> {
    let read =
        |path: PathBuf| fs::read_to_string(&path).map_err(|source| ProfileError::Read { path, source });
    if name.contains('/') || name.ends_with(".toml") {
        return read(name.into());
    }
    let own = FOLDERS
        .iter()
        .map(|folder| Path::new(folder).join(format!("{name}.toml")))
        .find(|path| path.exists());
    if let Some(path) = own {
        return read(path);
    }
    let built_in = BUILT_IN.iter().find(|(known, _)| *known == name);
    built_in.map(|(_, text)| (*text).to_owned()).ok_or_else(|| ProfileError::Unknown(name.into()))
}
