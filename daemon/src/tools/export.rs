//! `chartd journal export`: trades, quotes or frames of a journal as a table.
//!
//! What holds: a file is there whole or not at all. What is missing of the journal is said on standard error, in the
//! summary and, in Parquet, in the file's metadata.

use super::columnar::{Parquet, Scales};
use super::found::Found;
use super::progress::Progress;
use super::sources::{Event, Sources};
use super::table::{About, Cell, Column, Csv, JsonLines, Scale, Table, TableError, Type};
use super::target::{self, Target};
use super::when::When;
use super::{Outcome, Symbol, ToolError};
use crate::say;
use journal::queue::Lost;
use journal::reader::Why;
use journal::{Item, Kind, Reader, Record, Span, Store};
use market::Side;
use std::path::{Path, PathBuf};

/// What to export, and where to.
#[derive(Debug, Clone)]
pub struct Export {
    /// The journal's folder.
    pub dir: PathBuf,
    /// The file; `-` for standard output.
    pub output: PathBuf,
    /// How; by the file's name without it.
    pub format: Option<Format>,
    /// What.
    pub what: What,
    /// The first time that counts, of receiving.
    pub from: Option<When>,
    /// The first that does not any more.
    pub to: Option<When>,
    /// Of which instrument only.
    pub symbol: Option<Symbol>,
    /// Whether the summary is JSON.
    pub json: bool,
}

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Comma-separated values, with names in the first line
    Csv,
    /// A JSON object on each line
    Jsonl,
    /// Apache Parquet, for pandas, polars, DuckDB and others
    Parquet,
}

/// What a table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum What {
    /// Each trade once
    Trades,
    /// Best bid and ask, as they came on each connection
    Quotes,
    /// The venues' own messages, as they came
    Frames,
}

const TRADES: [Column; 12] = [
    Column::new("sequence", Type::Number),
    Column::new("receive_time", Type::Nanos),
    Column::new("venue", Type::Word),
    Column::new("symbol", Type::Word),
    Column::new("time", Type::Millis),
    Column::optional("event_time", Type::Millis),
    Column::new("first_id", Type::Number),
    Column::new("last_id", Type::Number),
    Column::new("price", Type::Decimal(Scale::Price)),
    Column::new("qty", Type::Decimal(Scale::Quantity)),
    Column::new("taker", Type::Word),
    Column::new("origin", Type::Word),
];
const QUOTES: [Column; 11] = [
    Column::new("sequence", Type::Number),
    Column::new("receive_time", Type::Nanos),
    Column::new("venue", Type::Word),
    Column::new("symbol", Type::Word),
    Column::new("line", Type::Number),
    Column::optional("event_time", Type::Millis),
    Column::optional("update_id", Type::Number),
    Column::new("bid_price", Type::Decimal(Scale::Price)),
    Column::new("bid_qty", Type::Decimal(Scale::Quantity)),
    Column::new("ask_price", Type::Decimal(Scale::Price)),
    Column::new("ask_qty", Type::Decimal(Scale::Quantity)),
];
const FRAMES: [Column; 7] = [
    Column::new("sequence", Type::Number),
    Column::new("receive_time", Type::Nanos),
    Column::optional("venue", Type::Word),
    Column::new("feed", Type::Number),
    Column::new("line", Type::Number),
    Column::new("generation", Type::Number),
    Column::new("frame", Type::Bytes),
];

impl What {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Trades => "trades",
            Self::Quotes => "quotes",
            Self::Frames => "frames",
        }
    }

    fn columns(self) -> &'static [Column] {
        match self {
            Self::Trades => &TRADES,
            Self::Quotes => &QUOTES,
            Self::Frames => &FRAMES,
        }
    }
}

impl Format {
    fn of(export: &Export, is_stdout: bool) -> Result<Self, ToolError> {
        let name = export.output.extension().and_then(|end| end.to_str()).map(str::to_ascii_lowercase);
        let by_name = match name.as_deref() {
            Some("csv") => Some(Self::Csv),
            Some("jsonl" | "ndjson") => Some(Self::Jsonl),
            Some("parquet" | "pq") => Some(Self::Parquet),
            _ => None,
        };
        let format = export.format.or(by_name).or(is_stdout.then_some(Self::Csv)).ok_or_else(|| {
            let path = export.output.display();
            ToolError::Usage(format!(
                "the name {path} does not say how to write it; end it in .csv, .jsonl or .parquet, or give --format"
            ))
        })?;
        if is_stdout && format == Self::Parquet {
            let why = "Parquet cannot be written to standard output, since its head follows from what comes; give -o FILE";
            return Err(ToolError::Usage(why.to_owned()));
        }
        Ok(format)
    }
}

/// Exports, and says what was missing.
pub fn run(export: &Export) -> Result<Outcome, ToolError> {
    let is_stdout = export.output == Path::new("-");
    if export.what == What::Frames && export.symbol.is_some() {
        let why = "frames are not parted by symbol, since one may speak of several; leave --symbol out";
        return Err(ToolError::Usage(why.to_owned()));
    }
    if is_stdout && export.json {
        return Err(ToolError::Usage(
            "--json prints the summary where the table goes with -o -; leave one out".into(),
        ));
    }
    let format = Format::of(export, is_stdout)?;
    let span = super::span(export.from, export.to)?;
    let store = super::open(&export.dir)?;
    let outcome = if is_stdout {
        to_stdout(export, format, &store, span)
    } else {
        to_file(export, format, &store, span)
    };
    match outcome {
        Err(error) if error.is_unwanted() => Ok(Outcome::Whole),
        outcome => outcome,
    }
}

fn to_stdout(export: &Export, format: Format, store: &dyn Store, span: Span) -> Result<Outcome, ToolError> {
    let columns = export.what.columns();
    let failed = |error| match error {
        Stop::Tool(error) => error,
        Stop::Table(TableError::Io(source)) => ToolError::stdout(source),
        Stop::Table(TableError::Outgrown(_)) => ToolError::stdout(std::io::Error::other("its scale changed")),
    };
    let out = target::stdout();
    let mut table: Box<dyn Table> = match format {
        Format::Jsonl => Box::new(JsonLines::new(out, columns)),
        _ => Box::new(Csv::new(out, columns)),
    };
    let found = copy(export, store, span, &mut *table).map_err(failed)?;
    found.complain();
    eprintln!("chartd: {}", found.sentence(export));
    Ok(found.outcome())
}

fn to_file(export: &Export, format: Format, store: &dyn Store, span: Span) -> Result<Outcome, ToolError> {
    let target = Target::new(&export.output)?;
    let columns = export.what.columns();
    let mut scales = Scales::default();
    let found = loop {
        let out = target.begin()?;
        let mut table: Box<dyn Table> = match format {
            Format::Csv => Box::new(Csv::new(out, columns)),
            Format::Jsonl => Box::new(JsonLines::new(out, columns)),
            Format::Parquet => Box::new(Parquet::new(out, columns, scales)),
        };
        match copy(export, store, span, &mut *table) {
            Ok(found) => break found,
            Err(Stop::Tool(error)) => return Err(error),
            Err(Stop::Table(TableError::Io(source))) => return Err(target.failed(source)),
            // Each time the scales grow, and they have a largest.
            Err(Stop::Table(TableError::Outgrown(larger))) => scales = larger,
        }
    };
    let bytes = target.keep()?;
    found.complain();
    if export.json {
        let mut summary = found.summary(export);
        summary["bytes"] = bytes.into();
        summary["file"] = export.output.display().to_string().into();
        say!("{summary}");
    } else {
        say!("{}: {}, {bytes} bytes", export.output.display(), found.sentence(export));
    }
    Ok(found.outcome())
}

/// Why copying stopped.
enum Stop {
    Tool(ToolError),
    Table(TableError),
}

impl From<TableError> for Stop {
    fn from(error: TableError) -> Self {
        Self::Table(error)
    }
}

/// Reads the journal and writes what is wanted of it.
fn copy(export: &Export, store: &dyn Store, span: Span, table: &mut dyn Table) -> Result<Found, Stop> {
    let tool = |error| Stop::Tool(ToolError::Journal(error));
    let mut reader = Reader::new(store, span).map_err(tool)?;
    let mut progress = Progress::new("exporting", 0, !export.json);
    let mut items = 0u64;
    let (mut sources, mut found) = (Sources::new(export.symbol.clone()), Found::default());
    loop {
        items += 1;
        if items.is_multiple_of(super::TELL_EVERY) {
            let (total, done) = reader.progress();
            progress.set(done, total);
        }
        match reader.next().map_err(tool)? {
            None => break,
            Some(Item::Missing(missing)) => {
                if missing.why == Why::Corrupt {
                    sources.missing();
                }
                found.miss(missing);
            }
            Some(Item::Record(record)) => take(export.what, &record, &mut sources, &mut found, table)?,
        }
    }
    progress.clear();
    found.tally = sources.tally;
    let about = About { facts: vec![("chartd", found.summary(export).to_string())] };
    table.finish(&about)?;
    Ok(found)
}

fn take(
    what: What,
    record: &Record<'_>,
    sources: &mut Sources,
    found: &mut Found,
    table: &mut dyn Table,
) -> Result<(), TableError> {
    if record.header.kind == Kind::Gap {
        found.gaps += 1;
        found.lost += Lost::decode(record.payload).map_or(0, |lost| lost.records);
    }
    let receive_ns = record.header.stamp.real_ns;
    let mut write = |cells: &[Cell<'_>]| {
        found.rows += 1;
        found.first_ns.get_or_insert(receive_ns);
        found.last_ns = receive_ns;
        table.row(cells)
    };
    let is_frame = record.header.kind == Kind::Frame;
    if what == What::Frames && is_frame {
        let venue = sources.venue(record);
        return write(&[
            Cell::Number(record.sequence),
            Cell::Nanos(receive_ns),
            venue.map_or(Cell::Empty, |venue| Cell::Word(venue.name())),
            Cell::Number(record.header.feed.into()),
            Cell::Number(record.header.line.into()),
            Cell::Number(record.header.generation.into()),
            Cell::Bytes(record.payload),
        ]);
    }
    sources.take(record, &mut |instrument, event| {
        let (price, qty) = (instrument.price_digits, instrument.qty_digits);
        let millis = |time: Option<i64>| time.map_or(Cell::Empty, Cell::Millis);
        let head = [
            Cell::Number(record.sequence),
            Cell::Nanos(receive_ns),
            Cell::Word(instrument.venue.name()),
            Cell::Word(&instrument.symbol),
        ];
        match event {
            Event::Trade { event_ms, trade, origin } if what == What::Trades => {
                let [sequence, receive, venue, symbol] = head;
                write(&[
                    sequence,
                    receive,
                    venue,
                    symbol,
                    Cell::Millis(trade.time_ms),
                    millis(event_ms),
                    Cell::Number(trade.first_id),
                    Cell::Number(trade.last_id),
                    Cell::Decimal(trade.price, price),
                    Cell::Decimal(trade.qty, qty),
                    Cell::Word(if trade.taker == Side::Buy { "buy" } else { "sell" }),
                    Cell::Word(origin.name()),
                ])
            }
            Event::Quote { event_ms, update_id, quote } if what == What::Quotes => {
                let [sequence, receive, venue, symbol] = head;
                write(&[
                    sequence,
                    receive,
                    venue,
                    symbol,
                    Cell::Number(record.header.line.into()),
                    millis(event_ms),
                    if update_id > 0 { Cell::Number(update_id) } else { Cell::Empty },
                    Cell::Decimal(quote.bid_price, price),
                    Cell::Decimal(quote.bid_qty, qty),
                    Cell::Decimal(quote.ask_price, price),
                    Cell::Decimal(quote.ask_qty, qty),
                ])
            }
            _ => Ok(()),
        }
    })?;
    if record.header.kind == Kind::Start {
        let [price, qty] = sources.digits();
        table.expect(price, qty)?;
    }
    Ok(())
}
