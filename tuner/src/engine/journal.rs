//! The journal of an apply: a file of lines, each a record with its checksum.
//!
//! What holds: a record is on the medium when it has been put. The last line may be torn by a crash; what it would have
//! said was not acted upon, so it is ignored, and cut off before the next line is put. A line that is broken anywhere
//! else is an error: what it said is lost, and nothing is guessed.

use super::confirm::Deadline;
use super::ledger::Ledger;
use super::outcome::Outcome;
use super::{FOLDER, by_hand};
use crate::host::{Host, HostError, HostErrorKind, absent_is_none};
use crate::plan::Plan;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

const ENDING: &str = ".journal";

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub(super) enum Record {
    /// An apply begins: what it is about to do. The first line.
    Begin {
        /// When, in seconds since 1970.
        at_unix_s: u64,
        /// How long it has to be confirmed, if it has to.
        confirm_within_s: Option<u64>,
        plan: Box<Plan>,
    },
    /// A step is about to be written.
    Intent { step: usize, before: Before },
    /// A step was written, and reads back as this. Without an intent: it came about by steps before it.
    Done { step: usize, state: Option<String> },
    /// A step had nothing to write. It is left alone when the others are undone.
    Same { step: usize },
    /// A step cannot be made on this host, and changed nothing.
    Skipped { step: usize, why: String },
    /// A step did not succeed, and reads as this now.
    Failed { step: usize, why: String, state: Option<String> },
    /// The hooks are about to run.
    Hooks,
    /// Everything is applied.
    Applied { deadline: Option<Deadline> },
    /// Somebody said that it may stay.
    Confirmed { at_unix_s: u64 },
    /// It is about to be undone.
    Undoing { at_unix_s: u64 },
    /// A step was undone, or why it was not.
    Undone { step: usize, outcome: Outcome },
    /// Nothing is left to do for it.
    Ended { at_unix_s: u64 },
}

/// What a file's state does not tell, and undoing needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Before {
    /// Folders that were not there, the deepest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) folders: Vec<PathBuf>,
    /// The file's permission bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) mode: Option<u32>,
}

/// Why a journal is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// The host does not give it or take it.
    #[error("the tuner's journal: {0}")]
    Host(#[from] HostError),
    /// A line is broken.
    #[error("journal {path}, line {line} is damaged, so nothing is undone by it{}; then move that file away", by_hand_of(.by_hand))]
    Damaged {
        /// Its file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// Commands that put back what the other lines tell of, in their order.
        by_hand: Vec<String>,
    },
    /// A line is of a kind that this program does not know.
    #[error("journal {path}, line {line} was written by a newer tuner: use that one")]
    Newer {
        /// Its file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
}

fn by_hand_of(commands: &[String]) -> String {
    match commands.is_empty() {
        true => ": what it was about cannot be read; compare the host with `tuner audit`".into(),
        false => format!(". By hand:\n{}\n", commands.join("\n")),
    }
}

/// The file of a journal.
pub(super) fn path_of(id: &str) -> PathBuf {
    Path::new(FOLDER).join(format!("{id}{ENDING}"))
}

/// The names of all journals, the oldest first.
pub(super) fn ids(host: &dyn Host) -> Result<Vec<String>, HostError> {
    let names = absent_is_none(host.list(Path::new(FOLDER)))?.unwrap_or_default();
    Ok(names.iter().filter_map(|name| name.strip_suffix(ENDING)).map(str::to_owned).collect())
}

/// The name of the next journal: behind all others, whatever the clock says.
pub(super) fn next_id(ids: &[String], at_unix_s: u64) -> String {
    let number = |id: &String| id.split('-').next()?.parse::<u64>().ok();
    let number = ids.iter().filter_map(number).max().unwrap_or(0) + 1;
    let at = i64::try_from(at_unix_s).ok().and_then(|at| jiff::Timestamp::from_second(at).ok());
    format!("{number:06}-{}", at.unwrap_or_default().strftime("%Y%m%dT%H%M%SZ"))
}

/// What a journal says; none if not even its beginning was written.
pub(super) fn load(host: &dyn Host, id: &str) -> Result<Option<Ledger>, JournalError> {
    let path = path_of(id);
    let Some(text) = absent_is_none(host.read(&path))? else { return Ok(None) };
    let records = records(&path, &text)?;
    match records.first() {
        None => Ok(None),
        Some(Record::Begin { .. }) => Ok(Ledger::of(id, &records)),
        Some(_) => Err(damaged(&path, 1, &text)),
    }
}

/// All journals that have a beginning, the oldest first.
pub(super) fn load_all(host: &dyn Host) -> Result<Vec<Ledger>, JournalError> {
    let mut ledgers = Vec::new();
    for id in ids(host)? {
        ledgers.extend(load(host, &id)?);
    }
    Ok(ledgers)
}

/// The records of a journal's text, without a torn last line.
fn records(path: &Path, text: &str) -> Result<Vec<Record>, JournalError> {
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    let mut records = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        match content(line) {
            Some(content) => match serde_json::from_str(content) {
                Ok(record) => records.push(record),
                Err(_) => return Err(JournalError::Newer { path: path.into(), line: index + 1 }),
            },
            None if index + 1 == lines.len() => {}
            // What has ended needs nothing any more.
            None if matches!(last_record(&lines), Some(Record::Ended { .. })) => {}
            None => return Err(damaged(path, index + 1, text)),
        }
    }
    Ok(records)
}

fn last_record(lines: &[&str]) -> Option<Record> {
    serde_json::from_str(content(lines.last()?)?).ok()
}

/// What a line says, if it is whole.
fn content(line: &str) -> Option<&str> {
    let (sum, content) = line.strip_suffix('\n')?.split_once(' ')?;
    let is_whole = sum.len() == 8 && u32::from_str_radix(sum, 16) == Ok(crc32c::crc32c(content.as_bytes()));
    is_whole.then_some(content)
}

fn damaged(path: &Path, line: usize, text: &str) -> JournalError {
    let whole = text.split_inclusive('\n').filter_map(content);
    let records: Vec<Record> = whole.filter_map(|content| serde_json::from_str(content).ok()).collect();
    let by_hand = Ledger::of("", &records).map(|ledger| by_hand::of_begun(&ledger)).unwrap_or_default();
    JournalError::Damaged { path: path.into(), line, by_hand }
}

/// Writes to a journal.
pub(super) struct Log<'a> {
    host: &'a dyn Host,
    path: PathBuf,
    /// Whether its end may be torn.
    is_torn: bool,
}

impl<'a> Log<'a> {
    /// A journal that is not there yet.
    pub(super) fn new(host: &'a dyn Host, id: &str) -> Self {
        Self { host, path: path_of(id), is_torn: false }
    }

    /// One that somebody wrote to, and may not have got on with.
    pub(super) fn of_old(host: &'a dyn Host, id: &str) -> Self {
        Self { is_torn: true, ..Self::new(host, id) }
    }

    /// Puts a record behind the others, lastingly.
    pub(super) fn put(&mut self, record: &Record) -> Result<(), HostError> {
        let content = serde_json::to_string(record)
            .map_err(|error| HostError::new(&self.path, HostErrorKind::Invalid, error.to_string()))?;
        if self.is_torn {
            self.mend()?;
        }
        self.is_torn = true;
        self.host.append(&self.path, &format!("{:08x} {content}\n", crc32c::crc32c(content.as_bytes())))?;
        self.is_torn = false;
        Ok(())
    }

    /// Cuts a torn end off, so that what follows it is not taken for a part of it.
    fn mend(&mut self) -> Result<(), HostError> {
        let text = absent_is_none(self.host.read(&self.path))?.unwrap_or_default();
        let last = text.split_inclusive('\n').next_back().unwrap_or_default();
        if !last.is_empty() && content(last).is_none() {
            let whole = text.strip_suffix(last).unwrap_or_default();
            self.host.replace(&self.path, whole, 0o600)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(record: &Record) -> String {
        let content = serde_json::to_string(record).unwrap();
        format!("{:08x} {content}\n", crc32c::crc32c(content.as_bytes()))
    }

    #[test]
    fn names_follow_each_other_whatever_the_clock_says() {
        let first = next_id(&[], 1_796_080_062);
        assert_eq!(first, "000001-20261130T230742Z");
        let second = next_id(std::slice::from_ref(&first), 0);
        assert_eq!(second, "000002-19700101T000000Z");
        assert!(first < second);
        assert!(next_id(&[second, first], 5) > "000002-9".into());
    }

    #[test]
    fn a_torn_end_is_ignored_wherever_it_is_torn_and_a_broken_middle_is_not() {
        let path = Path::new("/j");
        let lines = [line(&Record::Hooks), line(&Record::Ended { at_unix_s: 1 }), line(&Record::Hooks)];
        let text = lines.concat();
        let (first_two, last) = text.split_at(text.len() - lines[2].len());
        for end in 0..last.len() {
            let torn = format!("{first_two}{}", &last[..end]);
            assert_eq!(records(path, &torn).unwrap().len(), 2, "{torn}");
        }
        assert_eq!(records(path, &text).unwrap().len(), 3);
        for at in 0..lines[0].len() - 1 {
            let mut broken = text.clone().into_bytes();
            broken[at] ^= 1;
            let broken = String::from_utf8(broken).unwrap();
            assert!(matches!(records(path, &broken), Err(JournalError::Damaged { line: 1, .. })), "{broken}");
        }
    }

    #[test]
    fn a_line_of_an_unknown_kind_is_of_a_newer_tuner() {
        let content = r#"{"record":"teleported"}"#;
        let text = format!("{:08x} {content}\n", crc32c::crc32c(content.as_bytes()));
        assert!(matches!(records(Path::new("/j"), &text), Err(JournalError::Newer { line: 1, .. })));
    }
}
