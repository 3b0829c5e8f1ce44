//! Files of frames: a line each, plain or gzip.
//!
//! A line is a JSON frame, which a receive time and a blank may precede (`<ns> <frame>`, `<s.fraction>: <frame>`).
//! Other lines, as a recorder's notes, count as malformed.

use anyhow::{Context, bail, ensure};
use flate2::read::MultiGzDecoder;
use market::{Instruments, Message, Venue, decimal, is_symbol};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// The longest line. A REST snapshot of 5,000 levels takes about 300 kB.
const MAX_LINE_BYTES: usize = 16 << 20;

/// The symbols that the files speak of. At least one, or the error says what the files hold instead.
pub(super) fn find_symbols(venue: Venue, files: &[PathBuf]) -> anyhow::Result<BTreeSet<String>> {
    let (nothing_known, mut found) = (Instruments::default(), BTreeSet::new());
    let (mut decoder, mut complaint) = (venue.protocol().decoder(), None);
    for path in files {
        let mut reader = Lines::open(path)?;
        while let Some((number, line)) = reader.next_line()? {
            let (_, frame) = split_stamp(line);
            let outcome = decoder.decode(frame, &nothing_known, &mut |message| {
                if let Message::UnknownSymbol(symbol) = message
                    && is_symbol(symbol)
                {
                    // A symbol is ASCII, so nothing is lost.
                    let symbol = String::from_utf8_lossy(symbol);
                    if !found.contains(symbol.as_ref()) {
                        found.insert(symbol.into_owned());
                    }
                }
            });
            ensure!(found.len() <= 64, "the files hold more than 64 symbols; split them");
            if let (Err(error), None) = (outcome, &complaint) {
                complaint = Some((path, number, error));
            }
        }
    }
    if found.is_empty() {
        let names: Vec<_> = files.iter().map(|path| path.display().to_string()).collect();
        let names = names.join(", ");
        match complaint {
            Some((path, number, error)) => {
                bail!("no trade in {names}; {}, line {number}: malformed frame: {error}", path.display())
            }
            None => bail!("no trade in {names}, so there is nothing to draw"),
        }
    }
    Ok(found)
}

/// Parts a line into the time before its frame, in nanoseconds if it is one, and the frame.
pub(super) fn split_stamp(line: &[u8]) -> (Option<u64>, &[u8]) {
    let Some(blank) = line.iter().position(|byte| *byte == b' ').filter(|blank| *blank <= 24) else {
        return (None, line);
    };
    let (stamp, rest) = (&line[..blank], &line[blank + 1..]);
    let stamp = stamp.strip_suffix(b":").unwrap_or(stamp);
    if stamp.is_empty() || !stamp.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.') {
        return (None, line);
    }
    // With a fraction it counts seconds, without one nanoseconds. As seconds it may have more digits than matter.
    let recorded_ns = match stamp.contains(&b'.') {
        true => std::str::from_utf8(stamp).ok().and_then(|s| s.parse::<f64>().ok()).map(|s| (s * 1e9) as u64),
        false => decimal::parse(stamp, 0).ok().map(|ns| ns as u64),
    };
    (recorded_ns, rest)
}

/// A file of lines, unpacked if it is gzip.
pub(super) struct Lines {
    path: PathBuf,
    reader: Box<dyn BufRead>,
    line: Vec<u8>,
    number: u64,
}

impl Lines {
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let is = |kind: fn(&std::fs::Metadata) -> bool| path.metadata().is_ok_and(|data| kind(&data));
        // Opening a pipe would wait, and what it gives could not be read twice.
        ensure!(
            !path.exists() || is(|data| data.is_file()),
            "{} is not a file; write what it gives to a file first, since replay reads it twice",
            path.display()
        );
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut file = BufReader::with_capacity(1 << 16, file);
        let start = file.fill_buf().with_context(|| format!("cannot read {}", path.display()))?;
        let reader: Box<dyn BufRead> = if start.starts_with(&[0x1f, 0x8b]) {
            Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(file)))
        } else {
            ensure!(
                path.extension().is_none_or(|extension| extension != "gz"),
                "{} is not gzip, although its name says so",
                path.display()
            );
            Box::new(file)
        };
        Ok(Self { path: path.to_owned(), reader, line: Vec::new(), number: 0 })
    }

    /// The next line that is not empty, and its number.
    pub(super) fn next_line(&mut self) -> anyhow::Result<Option<(u64, &[u8])>> {
        loop {
            self.line.clear();
            self.number += 1;
            let (path, number) = (self.path.display(), self.number);
            let mut bounded = self.reader.by_ref().take(MAX_LINE_BYTES as u64 + 1);
            let read = bounded.read_until(b'\n', &mut self.line);
            if let Err(error) = read {
                let why = if error.kind() == std::io::ErrorKind::UnexpectedEof {
                    "the gzip data is cut off".to_owned()
                } else {
                    error.to_string()
                };
                bail!("{path}, line {number}: {why}");
            }
            ensure!(self.line.len() <= MAX_LINE_BYTES, "{path}, line {number}: it is longer than 16 MiB");
            if self.line.is_empty() {
                return Ok(None);
            }
            let len = self.line.trim_ascii_end().len();
            self.line.truncate(len);
            if len > 0 {
                return Ok(Some((number, &self.line)));
            }
        }
    }
}
