//! The journal's command line: `chartd journal verify`, `dump` and `export`.
//!
//! What holds: a journal is only read, so all of this works while a daemon writes it. Whatever is missing is said, in its
//! place. With `--json` standard output holds JSON and nothing else.
//!
//! - `command` is the command line
//! - `verify` proves each block and says what is there and what is not
//! - `dump` shows record by record
//! - `export` makes tables: of trades, quotes or frames (`sources` decodes them, as they were decoded live), as CSV or
//!   JSON (`table`) or Parquet (`columnar`), in a file that is there whole or not at all (`target`); what it met on its
//!   way is told (`found`)
//! - `progress`: the bar of all long work; `when`: times on a command line

mod columnar;
pub mod command;
pub mod dump;
pub mod export;
mod found;
pub mod progress;
mod sources;
mod table;
mod target;
pub mod verify;
pub mod when;

use crate::tools::when::Utc;
use journal::reader::Why;
use journal::{Folder, Kind, Missing, ReadError, Span};
use market::Venue;
use serde_json::{Value, json};
use std::fmt;
use std::io;
use std::path::Path;

/// How a tool ended, if it could do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All that was claimed to be durable was there.
    Whole,
    /// Something that was durable is corrupt: it was said what.
    Corrupt,
}

/// Why a tool could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It cannot be done as it was asked for.
    #[error("{0}")]
    Usage(String),
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] ReadError),
    /// The result cannot be written.
    #[error("cannot write {path}: {}", reason(.source))]
    Output {
        /// Where to.
        path: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl ToolError {
    /// Whether the command line was wrong, or what it names is no journal.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Usage(_) | Self::Journal(ReadError::Nothing(_) | ReadError::Store(_)))
    }

    /// Whether standard output was closed, as by `head`: nobody wants more.
    fn is_unwanted(&self) -> bool {
        matches!(self, Self::Output { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }

    fn stdout(source: io::Error) -> Self {
        Self::Output { path: "to standard output".to_owned(), source }
    }
}

/// What went wrong with a file, and what to do about it.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull => "the disk is full; make room, or write to another disk".to_owned(),
        io::ErrorKind::QuotaExceeded => "your quota on that disk is used up; write to another one".to_owned(),
        io::ErrorKind::FileTooLarge => {
            "the file would be larger than is allowed (ulimit -f, or the file system's limit)".to_owned()
        }
        _ => error.to_string(),
    }
}

/// The journal in a folder.
fn open(dir: &Path) -> Result<Folder, ToolError> {
    let shown = dir.display();
    match dir.metadata() {
        Ok(data) if data.is_dir() => Ok(Folder::new(dir)),
        Ok(_) => {
            Err(ToolError::Usage(format!("{shown} is not a folder; name the folder that holds the segments")))
        }
        Err(error) => Err(ToolError::Usage(format!("cannot read {shown}: {error}"))),
    }
}

/// The part of a journal between two times.
fn span(from: Option<when::When>, to: Option<when::When>) -> Result<Span, ToolError> {
    let span = Span {
        from_ns: from.map_or(Span::ALL.from_ns, |when| when.0),
        until_ns: to.map_or(Span::ALL.until_ns, |when| when.0),
    };
    if span.from_ns < span.until_ns {
        return Ok(span);
    }
    let (from, to) = (Utc(span.from_ns), Utc(span.until_ns));
    Err(ToolError::Usage(format!("nothing is from {from} and before {to}: give --from a time before --to")))
}

/// Reads the name of a kind of records.
pub fn kind(text: &str) -> Result<Kind, String> {
    let names = || Kind::ALL.map(Kind::name).join(", ");
    let found = Kind::ALL.into_iter().find(|kind| kind.name() == text);
    found.ok_or_else(|| format!("'{text}' is no kind of record; there are {}", names()))
}

/// An instrument, as `venue:SYMBOL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symbol {
    /// Where it trades.
    pub venue: Venue,
    /// What it is called there.
    pub symbol: String,
}

/// Reads the name of an instrument.
pub fn symbol(text: &str) -> Result<Symbol, String> {
    let wrong = || format!("'{text}' is not venue:SYMBOL, as binance:BTCUSDT");
    let (venue, symbol) = text.split_once(':').ok_or_else(wrong)?;
    if !market::is_symbol(symbol.as_bytes()) {
        return Err(wrong());
    }
    Ok(Symbol { venue: venue.parse()?, symbol: symbol.to_owned() })
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.venue, self.symbol)
    }
}

/// A number of things: `1 gap`, `2 gaps`.
fn plural(count: u64, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// After so many items it is looked how far reading is: that takes a look at each segment.
const TELL_EVERY: u64 = 256;

/// What is missing, as a sentence.
fn describe(missing: &Missing) -> String {
    let Missing { records, segment, offset, why } = missing;
    let place = format!("segment {segment}, byte {offset}");
    match why {
        Why::Corrupt if records.is_empty() => {
            format!("corrupt bytes at {place}; no record is missing by number")
        }
        Why::Corrupt => {
            let count = records.end - records.start;
            format!("records {} to {} ({count}) are corrupt: {place}", records.start, records.end - 1)
        }
        Why::Torn { bytes } => {
            format!(
                "a torn tail of {bytes} bytes behind record {}: {place}; it was never durable",
                records.start
            )
        }
    }
}

/// The same as JSON.
fn as_json(missing: &Missing) -> Value {
    let Missing { records, segment, offset, why } = missing;
    let (why, bytes) = match why {
        Why::Corrupt => ("corrupt", None),
        Why::Torn { bytes } => ("torn", Some(*bytes)),
    };
    // `until` is the first that is there again.
    json!({
        "why": why, "from": records.start, "until": records.end,
        "segment": segment, "offset": offset, "bytes": bytes,
    })
}

/// Text that is safe on a terminal: what is not printable is escaped. Of at most `width` letters, if there is one.
fn printable(bytes: &[u8], width: Option<usize>) -> String {
    let width = width.unwrap_or(usize::MAX);
    // Up to `cut` there is room for a sign that the text goes on.
    let (mut text, mut letters, mut cut) = (String::new(), 0, 0);
    let mut put = |piece: &str| {
        letters += piece.chars().count();
        if letters > width {
            text.truncate(cut);
            text.push('…');
            return false;
        }
        text.push_str(piece);
        if letters < width {
            cut = text.len();
        }
        true
    };
    for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid().chars().all(|letter| match is_plain(letter) {
            true => put(letter.encode_utf8(&mut [0; 4])),
            false => put(&letter.escape_default().to_string()),
        });
        if !valid || !chunk.invalid().iter().all(|byte| put(&format!("\\x{byte:02x}"))) {
            break;
        }
    }
    text
}

/// Whether a letter neither moves the cursor nor changes what its neighbours look like.
fn is_plain(letter: char) -> bool {
    let is_hidden = matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    !letter.is_control() && !is_hidden
}

#[cfg(test)]
mod tests;
