//! `chartd journal dump`: record by record, for people, or as lines of JSON.
//!
//! What holds: what is missing stands in its place, whatever is filtered out. Nothing that a venue sent reaches the
//! terminal unescaped. Lines are cut only where a terminal would wrap them.

use super::progress::Progress;
use super::table::Hex;
use super::when::{Utc, When};
use super::{Outcome, ToolError, target};
use crate::engine::Input;
use crate::journal::Start;
use crate::journal::input::{self, Scratch};
use journal::queue::Lost;
use journal::reader::Why;
use journal::record::REPEATED;
use journal::{Item, Kind, Missing, Reader, Record};
use market::{Instrument, InstrumentId, Level, Side, Trade, Venue, decimal};
use serde_json::{Map, Value, json};
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

/// What to show.
#[derive(Debug, Clone)]
pub struct Dump {
    /// The journal's folder.
    pub dir: PathBuf,
    /// The first time that counts, of receiving.
    pub from: Option<When>,
    /// The first that does not any more.
    pub to: Option<When>,
    /// Records of feeds of this venue only.
    pub feed: Option<Venue>,
    /// Records of these kinds only; all without any.
    pub kinds: Vec<Kind>,
    /// At most so many records.
    pub limit: Option<u64>,
    /// Whether lines are as long as they are.
    pub full: bool,
    /// Whether they are JSON.
    pub json: bool,
}

/// Shows what was asked for.
pub fn run(dump: &Dump) -> Result<Outcome, ToolError> {
    let store = super::open(&dump.dir)?;
    let mut reader = Reader::new(&store, super::span(dump.from, dump.to)?)?;
    let is_seen = io::stdout().is_terminal();
    // What scrolls by on a terminal shows itself how far it is.
    let mut progress = Progress::new("reading", 0, !dump.json && !is_seen);
    let width = (is_seen && !dump.full).then(columns).flatten();
    let (mut feeds, mut scratch, mut out) = (Feeds::default(), Scratch::default(), target::stdout());
    let (mut shown, mut items, mut outcome) = (0, 0u64, Outcome::Whole);
    while dump.limit.is_none_or(|limit| shown < limit) {
        items += 1;
        if items.is_multiple_of(super::TELL_EVERY) {
            let (total, done) = reader.progress();
            progress.set(done, total);
        }
        let Some(item) = reader.next()? else { break };
        let line = match item {
            Item::Missing(missing) => {
                if missing.why == Why::Corrupt {
                    outcome = Outcome::Corrupt;
                }
                missing_line(&missing, dump.json)
            }
            Item::Record(record) => {
                feeds.learn(&record);
                if !is_wanted(dump, &record, &feeds) {
                    continue;
                }
                shown += 1;
                if dump.json {
                    json_line(&record, &feeds, &mut scratch)
                } else {
                    text_line(&record, &feeds, &mut scratch, width)
                }
            }
        };
        match writeln!(out, "{line}") {
            Ok(()) => {}
            // As by `head`: nobody wants more.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(outcome),
            Err(error) => return Err(ToolError::stdout(error)),
        }
    }
    match out.flush() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(ToolError::stdout(error)),
        _ => Ok(outcome),
    }
}

/// How wide the terminal is.
fn columns() -> Option<usize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes a winsize to the pointer, which is to one.
    let done = unsafe { libc::ioctl(1, libc::TIOCGWINSZ, &raw mut size) };
    (done == 0 && size.ws_col > 0).then_some(size.ws_col.into())
}

fn is_wanted(dump: &Dump, record: &Record<'_>, feeds: &Feeds) -> bool {
    let kind = record.header.kind;
    // A part of a journal begins with the start record in force, which may be from before it.
    if kind == Kind::Start && dump.from.is_some_and(|from| record.header.stamp.real_ns < from.0) {
        return false;
    }
    if !dump.kinds.is_empty() && !dump.kinds.contains(&kind) {
        return false;
    }
    let Some(venue) = dump.feed else { return true };
    match kind {
        Kind::Start | Kind::Tick => false,
        Kind::Gap => Lost::decode(record.payload).is_some_and(|lost| feeds.concerned(&lost).contains(&venue)),
        _ => feeds.venue(record) == Some(venue),
    }
}

/// What the start record in force says.
#[derive(Default)]
struct Feeds {
    generation: u32,
    /// The venue of each, and its instruments.
    list: Vec<(Venue, Vec<Instrument>)>,
}

impl Feeds {
    fn learn(&mut self, record: &Record<'_>) {
        if record.header.kind == Kind::Start {
            self.generation = record.header.generation;
            let feeds = Start::decode(record.payload).map(|start| start.feeds).unwrap_or_default();
            self.list = feeds.iter().map(|feed| (feed.venue(), feed.instruments().collect())).collect();
        }
    }

    fn get(&self, record: &Record<'_>) -> Option<&(Venue, Vec<Instrument>)> {
        let has_feed = !matches!(record.header.kind, Kind::Start | Kind::Gap | Kind::Tick);
        let is_known = has_feed && record.header.generation == self.generation;
        self.list.get(usize::from(record.header.feed)).filter(|_| is_known)
    }

    fn venue(&self, record: &Record<'_>) -> Option<Venue> {
        self.get(record).map(|(venue, _)| *venue)
    }

    fn instrument(&self, record: &Record<'_>, id: InstrumentId) -> Option<&Instrument> {
        self.get(record)?.1.get(usize::from(id.0))
    }

    /// The venues from which records were lost.
    fn concerned(&self, lost: &Lost) -> Vec<Venue> {
        let feeds = self.list.iter().enumerate().filter(|(feed, _)| lost.concerns(*feed));
        feeds.map(|(_, (venue, _))| *venue).collect()
    }
}

fn missing_line(missing: &Missing, json: bool) -> String {
    if json {
        return json!({"missing": super::as_json(missing)}).to_string();
    }
    format!("{:>12}  {:<30}  {}", missing.records.start, "MISSING", super::describe(missing))
}

/// A record for people.
fn text_line(record: &Record<'_>, feeds: &Feeds, scratch: &mut Scratch, width: Option<usize>) -> String {
    let header = &record.header;
    // One that is repeated has no sequence.
    let sequence = if header.flags & REPEATED > 0 { "-".to_owned() } else { record.sequence.to_string() };
    let time = Utc(header.stamp.real_ns);
    let line = if has_line(header.kind) { header.line.to_string() } else { String::new() };
    let venue = feeds.venue(record).map_or("", Venue::name);
    let head = format!("{sequence:>12}  {time}  {:<13}  {venue:<12}  {line:<1}  ", header.kind.name());
    let room = width.map(|width| width.saturating_sub(head.len()));
    let text = match header.kind {
        Kind::Frame | Kind::Start => super::printable(record.payload, room),
        _ => super::printable(content(record, feeds, scratch).as_bytes(), room),
    };
    format!("{head}{text}").trim_end().to_owned()
}

fn has_line(kind: Kind) -> bool {
    matches!(kind, Kind::Frame | Kind::Connected | Kind::Disconnected)
}

/// What a record that is neither frame nor start says, in words.
fn content(record: &Record<'_>, feeds: &Feeds, scratch: &mut Scratch) -> String {
    if let Some(lost) = Lost::decode(record.payload).filter(|_| record.header.kind == Kind::Gap) {
        let of: Vec<_> = feeds.concerned(&lost).iter().map(|venue| venue.name()).collect();
        return format!(
            "{} records of {} bytes found no room, from {}, received {} to {}",
            lost.records,
            lost.bytes,
            if of.is_empty() { "unknown feeds".to_owned() } else { of.join(", ") },
            Utc(lost.from_ns),
            Utc(lost.until_ns)
        );
    }
    let name = |id| feeds.instrument(record, id).map_or("?", |instrument| instrument.symbol.as_str());
    match input::read(&record.header, record.payload, scratch) {
        Err(error) => format!("unreadable: {error}"),
        Ok(Some(Input::Day { midnight_ms, .. })) => format!("the day began at {}", millis(midnight_ms)),
        Ok(Some(Input::Begin { is_whole, is_proven, .. })) => {
            let whole = if is_whole { "from its first message on" } else { "from its middle on" };
            let proven =
                if is_proven { "nothing was lost before it" } else { "what was before it may be lost" };
            format!("a session begins, {whole}; {proven}")
        }
        Ok(Some(Input::Lost { from, to, .. })) => format!("messages {from} to {to} will not come"),
        Ok(Some(Input::Book { instrument, snapshot, .. })) => format!(
            "{}: a book of {} bids and {} asks, up to update {}",
            name(instrument),
            snapshot.bids.len(),
            snapshot.asks.len(),
            snapshot.last_id
        ),
        Ok(Some(Input::Trades { instrument, missing, trades, is_final, .. })) => format!(
            "{}: {} trades, of {} to {} which were missing{}",
            name(instrument),
            trades.len(),
            missing.from,
            missing.to,
            if is_final { "; no more will come" } else { "" }
        ),
        Ok(_) => String::new(),
    }
}

/// A time of a venue.
fn millis(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), |time| time.to_string())
}

/// A record as JSON, with all that is in it.
fn json_line(record: &Record<'_>, feeds: &Feeds, scratch: &mut Scratch) -> String {
    let header = &record.header;
    let is_repeated = header.flags & REPEATED > 0;
    let mut line = Map::new();
    let mut put = |key: &str, value: Value| {
        line.insert(key.to_owned(), value);
    };
    put("sequence", if is_repeated { Value::Null } else { record.sequence.into() });
    put("time", Utc(header.stamp.real_ns).to_string().into());
    put("real_ns", header.stamp.real_ns.into());
    put("mono_ns", header.stamp.mono_ns.into());
    put("kind", header.kind.name().into());
    put("generation", header.generation.into());
    if !matches!(header.kind, Kind::Start | Kind::Gap | Kind::Tick) {
        put("feed", header.feed.into());
        put("venue", feeds.venue(record).map(Venue::name).into());
    }
    if has_line(header.kind) {
        put("line", header.line.into());
    }
    match header.kind {
        Kind::Frame => match std::str::from_utf8(record.payload) {
            Ok(text) => put("frame", text.into()),
            Err(_) => put("frame_hex", Hex(record.payload).to_string().into()),
        },
        Kind::Start => {
            put("repeated", is_repeated.into());
            match serde_json::from_slice(record.payload) {
                Ok(start) => put("start", start),
                Err(_) => put("unreadable", "the start record is no JSON".into()),
            }
        }
        Kind::Gap => match Lost::decode(record.payload) {
            Some(lost) => put("lost", lost_json(&lost, feeds)),
            None => put("unreadable", "the gap record is of a wrong length".into()),
        },
        _ => match input::read(header, record.payload, scratch) {
            Ok(Some(input)) => input_json(&input, record, feeds, &mut put),
            Ok(None) => {}
            Err(error) => put("unreadable", error.to_string().into()),
        },
    }
    Value::from(line).to_string()
}

fn lost_json(lost: &Lost, feeds: &Feeds) -> Value {
    json!({
        "records": lost.records,
        "bytes": lost.bytes,
        "venues": feeds.concerned(lost).iter().map(|venue| venue.name()).collect::<Vec<_>>(),
        "from": Utc(lost.from_ns).to_string(),
        "until": Utc(lost.until_ns).to_string(),
    })
}

fn input_json(input: &Input<'_>, record: &Record<'_>, feeds: &Feeds, put: &mut impl FnMut(&str, Value)) {
    let instrument = |id| feeds.instrument(record, id);
    let symbol = |id| Value::from(instrument(id).map(|instrument| instrument.symbol.clone()));
    let digits = |id| instrument(id).map_or([0; 2], |one| [one.price_digits, one.qty_digits]);
    match *input {
        Input::Day { midnight_ms, .. } => put("midnight_ms", midnight_ms.into()),
        Input::Begin { is_whole, is_proven, .. } => {
            put("whole", is_whole.into());
            put("proven", is_proven.into());
        }
        Input::Lost { from, to, .. } => put("messages", json!({"from": from, "to": to})),
        Input::Book { instrument, snapshot, .. } => {
            let side =
                |levels: &[Level]| levels.iter().map(|one| level(one, digits(instrument))).collect::<Value>();
            put("symbol", symbol(instrument));
            put("last_update_id", snapshot.last_id.into());
            put("limit", snapshot.limit.into());
            put("bids", side(&snapshot.bids));
            put("asks", side(&snapshot.asks));
        }
        Input::Trades { instrument, missing, trades, is_final, .. } => {
            put("symbol", symbol(instrument));
            put("missing_ids", json!({"from": missing.from, "to": missing.to}));
            put("final", is_final.into());
            put("trades", trades.iter().map(|one| trade(one, digits(instrument))).collect());
        }
        _ => {}
    }
}

fn level(level: &Level, [price, qty]: [u8; 2]) -> Value {
    json!([decimal::display(level.price, price).to_string(), decimal::display(level.qty, qty).to_string()])
}

fn trade(trade: &Trade, [price, qty]: [u8; 2]) -> Value {
    json!({
        "first_id": trade.first_id,
        "last_id": trade.last_id,
        "time_ms": trade.time_ms,
        "price": decimal::display(trade.price, price).to_string(),
        "qty": decimal::display(trade.qty, qty).to_string(),
        "taker": if trade.taker == Side::Buy { "buy" } else { "sell" },
    })
}
