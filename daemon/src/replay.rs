//! Recorded data through the same engine and renderer as live data: files, plain or gzip, of frames, a line each.
//!
//! A line is a JSON frame, which a receive time and a blank may precede (`<ns> <frame>`, `<s.fraction>: <frame>`).
//! Other lines, as a recorder's notes, count as malformed. What is read is the same at any speed, so the same files
//! give the same candles, byte for byte.

use crate::engine::{Engine, EnginePlan, FeedPlan, Verdict};
use crate::now_ns;
use crate::render::{ChartPlan, Renderer};
use crate::report;
use crate::say;
use anyhow::{Context, bail, ensure};
use chart::{Look, Theme};
use flate2::read::MultiGzDecoder;
use market::{ChartName, Instrument, Instruments, Message, Timeframe, Venue, decimal, is_symbol};
use shm::prefix::Identity;
use shm::status::{Counter, StatusReader, StatusWriter};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The longest line. A REST snapshot of 5,000 levels takes about 300 kB.
const MAX_LINE_BYTES: usize = 16 << 20;
/// How many bars of each series are kept for the report: a day of seconds, and eleven more.
const BARS: usize = 1_000_000;
/// How many of them are in shared memory: more than fit on the widest chart.
const PUBLISHED: usize = 8_192;
/// The most malformed lines that are printed; all are counted.
const MAX_COMPLAINTS: u64 = 10;
/// At full speed, how often frames are drawn.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// What to replay, and what to make of it.
#[derive(Debug, Clone)]
pub struct Replay {
    /// The files, in the order of time.
    pub files: Vec<PathBuf>,
    /// Whose frames they are.
    pub venue: Venue,
    /// The candles to make.
    pub timeframes: Vec<Timeframe>,
    /// How many times faster than it was recorded; as fast as possible without it.
    pub speed: Option<f64>,
    /// Where to write all candles as CSV.
    pub candles: Option<PathBuf>,
    /// Where to write the last frame of each chart.
    pub frames: Option<PathBuf>,
    /// Where to write the figures as JSON.
    pub report: Option<PathBuf>,
    /// Whether to print the figures as JSON.
    pub json: bool,
}

/// Replays, and writes what was asked for.
pub fn run(replay: &Replay) -> anyhow::Result<()> {
    // Its messages are not lines of text, and a file of them has no sessions.
    anyhow::ensure!(
        replay.venue != Venue::Itch,
        "recordings of itch cannot be replayed: run a feed of it instead"
    );
    let symbols = find_symbols(replay.venue, &replay.files)?;
    let instruments: Vec<_> = symbols
        .iter()
        .map(|symbol| (Instrument::new(replay.venue, symbol.clone()), replay.timeframes.clone()))
        .collect();
    let status = Arc::new(StatusWriter::create(std::process::id(), now_ns(), [0; 2])?);
    let plan = FeedPlan { venue: replay.venue, instruments };
    let plan = EnginePlan {
        feeds: &[plan],
        bars: BARS,
        published: PUBLISHED,
        huge_pages: false,
        identity: Identity::default(),
    };
    let mut engine = Engine::new(&plan, status.clone(), now_ns)?;
    let charts: Vec<_> = charts(replay, &symbols);
    let market = engine.market().reader_fd()?;
    let mut renderer = Renderer::new(&charts, market, false, status.clone(), now_ns)?;

    let started = Instant::now();
    let lines = play(replay, &mut engine, &mut renderer)?;
    renderer.step();
    let seconds = started.elapsed().as_secs_f64();
    ensure_nothing_forgotten(&engine, &charts)?;

    if let Some(path) = &replay.candles {
        write_file(path, |out| write_candles(out, &engine, &charts))?;
    }
    if let Some(dir) = &replay.frames {
        write_frames(dir, &renderer)?;
    }
    let status = StatusReader::open(status.reader_fd()?)?;
    let mut figures = report::figures(&status);
    figures.insert("backend".into(), renderer.backend().name().into());
    figures.insert("lines".into(), lines.into());
    figures.insert("seconds".into(), seconds.into());
    let figures = serde_json::Value::from(figures);
    if let Some(path) = &replay.report {
        write_file(path, |out| writeln!(out, "{figures}"))?;
    }
    if replay.json {
        say!("{figures}");
    } else {
        print_summary(&status, lines, seconds, &engine, &charts);
    }
    Ok(())
}

fn charts(replay: &Replay, symbols: &BTreeSet<String>) -> Vec<ChartPlan> {
    let plan = |symbol: &String, timeframe: &Timeframe| ChartPlan {
        name: ChartName { venue: replay.venue, symbol: symbol.clone(), timeframe: *timeframe },
        size: [1920, 1080],
        theme: Theme::Dark,
        look: Look::default(),
        price_lines: Vec::new(),
        time_zone: jiff::tz::TimeZone::UTC,
        history: 2_000,
        leases: 0,
    };
    symbols.iter().flat_map(|symbol| replay.timeframes.iter().map(move |tf| plan(symbol, tf))).collect()
}

/// Feeds every line to the engine. Returns how many there were.
fn play(replay: &Replay, engine: &mut Engine, renderer: &mut Renderer) -> anyhow::Result<u64> {
    let mut pace = Pace::new(replay.speed);
    let mut progress = Progress::new(!replay.json);
    let (mut lines, mut complaints, mut drawn) = (0, 0, Instant::now());
    for path in &replay.files {
        let mut reader = Lines::open(path)?;
        while let Some((number, line)) = reader.next_line()? {
            lines += 1;
            let (recorded_ns, frame) = split_stamp(line);
            pace.wait(recorded_ns);
            match engine.frame(0, 0, frame, now_ns()) {
                Verdict::Malformed(error) => {
                    complaints += 1;
                    if complaints <= MAX_COMPLAINTS {
                        progress.clear();
                        eprintln!("chartd: {}, line {number}: malformed frame: {error}", path.display());
                    }
                }
                Verdict::Decoded if replay.speed.is_some() || drawn.elapsed() >= DRAW_EVERY => {
                    renderer.step();
                    drawn = Instant::now();
                }
                _ => {}
            }
            progress.advance(line.len());
        }
    }
    progress.clear();
    if complaints > MAX_COMPLAINTS {
        eprintln!("chartd: {} more lines were malformed", complaints - MAX_COMPLAINTS);
    }
    Ok(lines)
}

/// Candles that are silently missing from a report would be a lie.
fn ensure_nothing_forgotten(engine: &Engine, charts: &[ChartPlan]) -> anyhow::Result<()> {
    for ChartPlan { name, .. } in charts {
        let first =
            engine.series(name.venue, &name.symbol, name.timeframe).map_or(0, |bars| bars.numbers().start);
        ensure!(
            first == 0,
            "{name} has {first} bars more than the {BARS} that are kept; replay a shorter part"
        );
    }
    Ok(())
}

/// The symbols that the files speak of. At least one, or the error says what the files hold instead.
fn find_symbols(venue: Venue, files: &[PathBuf]) -> anyhow::Result<BTreeSet<String>> {
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
fn split_stamp(line: &[u8]) -> (Option<u64>, &[u8]) {
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

/// Keeps the recording's rhythm.
struct Pace {
    speed: Option<f64>,
    started: Option<(u64, Instant)>,
}

impl Pace {
    fn new(speed: Option<f64>) -> Self {
        Self { speed, started: None }
    }

    fn wait(&mut self, recorded_ns: Option<u64>) {
        let (Some(speed), Some(recorded_ns)) = (self.speed, recorded_ns) else {
            return;
        };
        let (first_ns, started) = *self.started.get_or_insert((recorded_ns, Instant::now()));
        let due = Duration::from_nanos((recorded_ns.saturating_sub(first_ns) as f64 / speed) as u64);
        std::thread::sleep(due.saturating_sub(started.elapsed()));
    }
}

/// A file of lines, unpacked if it is gzip.
struct Lines {
    path: PathBuf,
    reader: Box<dyn BufRead>,
    line: Vec<u8>,
    number: u64,
}

impl Lines {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let is = |kind: fn(&std::fs::Metadata) -> bool| path.metadata().is_ok_and(|data| kind(&data));
        ensure!(
            !is(|data| data.is_dir()),
            "{} is a folder; replaying journals is not implemented yet",
            path.display()
        );
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
    fn next_line(&mut self) -> anyhow::Result<Option<(u64, &[u8])>> {
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

/// A bar on standard error for long work; nothing where nobody looks.
struct Progress {
    shown: bool,
    done_bytes: u64,
    next: Instant,
}

impl Progress {
    fn new(wanted: bool) -> Self {
        let shown = wanted && std::io::stderr().is_terminal();
        Self { shown, done_bytes: 0, next: Instant::now() + Duration::from_millis(500) }
    }

    fn advance(&mut self, bytes: usize) {
        self.done_bytes += bytes as u64;
        // Looking at the clock costs more than adding: once in about a megabyte is enough.
        if self.shown && self.done_bytes & 0xf_ffff < bytes as u64 && Instant::now() >= self.next {
            self.next = Instant::now() + Duration::from_millis(200);
            eprint!("\r{} MB replayed\x1b[K", self.done_bytes / 1_000_000);
        }
    }

    fn clear(&self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}

fn write_file(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let outcome = File::create(path).map(BufWriter::new).and_then(|mut out| {
        write(&mut out)?;
        out.flush()
    });
    outcome.with_context(|| format!("cannot write {}", path.display()))
}

fn write_candles(out: &mut impl Write, engine: &Engine, charts: &[ChartPlan]) -> std::io::Result<()> {
    writeln!(out, "chart,open_time_ms,open,high,low,close,volume,trades,state,rev")?;
    for ChartPlan { name, .. } in charts {
        let instrument = Instrument::new(name.venue, name.symbol.clone());
        let Some(series) = engine.series(name.venue, &name.symbol, name.timeframe) else {
            continue;
        };
        for bar in series.bars() {
            write!(out, "{name},{}", bar.open_ms)?;
            match bar.ohlc {
                Some(ohlc) => {
                    for price in [ohlc.open, ohlc.high, ohlc.low, ohlc.close] {
                        write!(out, ",{}", decimal::display(price, instrument.price_digits))?;
                    }
                }
                None => write!(out, ",,,,")?,
            }
            let volume = decimal::display(bar.volume, instrument.qty_digits);
            writeln!(out, ",{volume},{},{},{}", bar.trades, bar.state.name(), bar.rev)?;
        }
    }
    Ok(())
}

fn write_frames(dir: &Path, renderer: &Renderer) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make the folder {}", dir.display()))?;
    for (name, picture) in renderer.pictures() {
        // The name was made from a chart's name, so it reads back.
        let stem = name.parse::<ChartName>().map_or(name, |name| name.file_stem());
        let file = encode::encode(&picture.picture(), encode::Format::Png)?;
        write_file(&dir.join(stem + ".png"), |out| out.write_all(&file))?;
    }
    Ok(())
}

fn print_summary(status: &StatusReader, lines: u64, seconds: f64, engine: &Engine, charts: &[ChartPlan]) {
    let count = |counter| status.counter(counter);
    say!("{lines} lines in {seconds:.2} s ({:.0} a second)", lines as f64 / seconds.max(1e-9));
    say!(
        "{} market messages, {} control, {} unknown, {} malformed",
        count(Counter::Decoded),
        count(Counter::Control),
        count(Counter::Unknown),
        count(Counter::Malformed)
    );
    say!(
        "{} trade reports, {} duplicates, {} trades missing",
        count(Counter::Trades),
        count(Counter::Duplicates),
        count(Counter::MissingTrades)
    );
    for ChartPlan { name, .. } in charts {
        let bars = engine.series(name.venue, &name.symbol, name.timeframe).map_or(0, |s| s.bars().len());
        say!("{name}: {bars} candles");
    }
}
