//! Decimal places on disk: one JSON file for each venue and host, as `binance@api.binance.com_443.json`.
//!
//! It is written to a file of another name that is then renamed, so that whoever reads finds all of it or the one
//! before. What is read is believed only as a whole, and only if it is of this form, venue and host.

use anyhow::{Context, ensure};
use market::{Venue, decimal, is_symbol};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// No file is longer.
const MAX_BYTES: u64 = 4 << 20;
/// When more would be kept, only what was told last is.
const MAX_SYMBOLS: usize = 10_000;
const FORM: u32 = 1;

type Symbols = BTreeMap<String, [u8; 2]>;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    form: u32,
    venue: String,
    host: String,
    /// Decimal places of prices and quantities.
    symbols: Symbols,
}

/// What is kept of a venue and host.
#[derive(Debug)]
pub(super) struct Cache {
    venue: Venue,
    host: String,
    /// None where there is no place for it.
    path: Option<PathBuf>,
}

impl Cache {
    pub(super) fn of(venue: Venue, host: &str) -> Self {
        Self::at(folder(|name| std::env::var_os(name)), venue, host)
    }

    fn at(folder: Option<PathBuf>, venue: Venue, host: &str) -> Self {
        let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' };
        let name = format!("{venue}@{}.json", host.chars().map(plain).collect::<String>());
        Self { venue, host: host.to_owned(), path: folder.map(|folder| folder.join(name)) }
    }

    /// What was kept; nothing, and a warning, where it is damaged.
    pub(super) fn read(&self) -> Symbols {
        let Some(path) = &self.path else { return Symbols::new() };
        match self.try_read(path) {
            Ok(symbols) => symbols,
            Err(error) => {
                tracing::warn!("{} is not used: {error:#}", path.display());
                Symbols::new()
            }
        }
    }

    fn try_read(&self, path: &Path) -> anyhow::Result<Symbols> {
        let mut text = String::new();
        match std::fs::File::open(path) {
            Ok(file) => _ = file.take(MAX_BYTES + 1).read_to_string(&mut text)?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Symbols::new()),
            Err(error) => return Err(error.into()),
        }
        ensure!(text.len() as u64 <= MAX_BYTES, "it is too long");
        let content: Content = serde_json::from_str(&text)?;
        ensure!(content.form == FORM, "it is of another version");
        let is_ours = content.venue == self.venue.name() && content.host == self.host;
        ensure!(is_ours, "it is of another venue or host");
        for (symbol, digits) in &content.symbols {
            let is_sound = is_symbol(symbol.as_bytes()) && digits.iter().all(|n| *n <= decimal::MAX_DIGITS);
            ensure!(is_sound, "its line about '{}' makes no sense", symbol.escape_debug());
        }
        Ok(content.symbols)
    }

    /// Keeps what was told, beside what is there.
    pub(super) fn keep(&self, told: impl IntoIterator<Item = (String, [u8; 2])>) {
        let Some(path) = &self.path else { return };
        let mut symbols = self.read();
        let told: Symbols = told.into_iter().collect();
        if symbols.len() + told.len() > MAX_SYMBOLS {
            symbols.clear();
        }
        let before = symbols.clone();
        symbols.extend(told);
        if symbols == before {
            return;
        }
        if let Err(error) = self.write(path, symbols) {
            tracing::warn!("the decimal places cannot be kept for a start without REST: {error:#}");
        }
    }

    fn write(&self, path: &Path, symbols: Symbols) -> anyhow::Result<()> {
        let (venue, host) = (self.venue.name().to_owned(), self.host.clone());
        let text = serde_json::to_string(&Content { form: FORM, venue, host, symbols })?;
        let folder = path.parent().context("it has no folder")?;
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        // Two daemons may write at a time, each to its own.
        let new = path.with_extension(format!("{}.new", std::process::id()));
        let written = std::fs::File::create(&new).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, path)
        });
        if written.is_err() {
            let _ = std::fs::remove_file(&new); // It may not be there.
        }
        written.with_context(|| path.display().to_string())
    }
}

/// Where the files are: systemd's folder, else the user's.
fn folder(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Option<PathBuf> {
    let path = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // systemd names several folders with colons between.
    let first = |folders: PathBuf| Some(PathBuf::from(folders.to_str()?.split(':').next()?));
    let own = || path("XDG_CACHE_HOME").or_else(|| Some(path("HOME")?.join(".cache")));
    path("CACHE_DIRECTORY").and_then(first).or_else(|| Some(own()?.join("chartd")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(folder: &Path) -> Cache {
        Cache::at(Some(folder.to_owned()), Venue::Binance, "api.example:443")
    }

    #[test]
    fn what_was_kept_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("not/there/yet");
        assert_eq!(cache(&inner).read(), Symbols::new());
        cache(&inner).keep([("A".into(), [2, 5]), ("B".into(), [1, 1])]);
        cache(&inner).keep([("A".into(), [3, 5])]);
        let expected = Symbols::from([("A".into(), [3, 5]), ("B".into(), [1, 1])]);
        assert_eq!(cache(&inner).read(), expected);
        let files: Vec<_> = inner.read_dir().unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(files, ["binance@api.example_443.json"], "nothing is left behind");
    }

    #[test]
    fn what_is_damaged_is_not_used_and_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        cache(folder.path()).keep([("A".into(), [2, 5])]);
        let path = cache(folder.path()).path.unwrap();
        let good = std::fs::read_to_string(&path).unwrap();
        for bad in [
            String::new(),
            good[..good.len() - 1].to_owned(),
            good.replace("[2,5]", "[2,19]"),
            good.replace("[2,5]", "[-1,5]"),
            good.replace("\"A\"", "\"A B\""),
            good.replace("binance", "kraken"),
            good.replace("api.example", "api.other"),
            good.replace(":1,", ":2,"),
            " ".repeat(MAX_BYTES as usize) + &good,
        ] {
            assert_ne!(bad, good);
            std::fs::write(&path, &bad).unwrap();
            assert_eq!(cache(folder.path()).read(), Symbols::new(), "{}", &bad[..bad.len().min(200)]);
            cache(folder.path()).keep([("A".into(), [2, 5])]);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), good);
        }
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert_eq!(cache(folder.path()).read(), Symbols::new());
        // A place that cannot be written to is done without.
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        cache(&file).keep([("A".into(), [2, 5])]);
        assert_eq!(cache(&file).read(), Symbols::new());
    }

    #[test]
    fn the_folder_is_systemds_else_the_users() {
        let of = |known: &'static [(&str, &str)]| {
            folder(|name| known.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
        };
        const ALL: &[(&str, &str)] =
            &[("CACHE_DIRECTORY", "/c:/d"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(of(ALL), Some("/c".into()));
        assert_eq!(of(&ALL[1..]), Some("/x/chartd".into()));
        assert_eq!(of(&ALL[2..]), Some("/h/.cache/chartd".into()));
        assert_eq!(of(&[]), None);
    }
}
