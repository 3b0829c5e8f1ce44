//! Decoding frames of each venue through the decoder that the engine uses, beside `serde_json` and `sonic-rs` into
//! structs that borrow their texts.
//!
//! The references do less: they leave prices that stand in strings as text, read bare ones as floating point, look no
//! symbol up and check no number. Of a book, all read every level; the references put them into vectors, as their
//! users do.

mod references;

use self::references::{self as known, References};
use crate::harness::{Arm, Ratio, Report, recorded, recorded_frames};
use anyhow::{Context, ensure};
use market::protocol::Decoder;
use market::{BookSide, Instrument, Instruments, Message, Venue};
use std::hint::black_box;
use std::time::Instant;

/// Frames timed as one, since the clock costs about as much as decoding one.
const BATCH: usize = 64;
const FRAMES_A_ROUND: usize = 100_000;
/// Of large frames, fewer.
const BYTES_A_ROUND: usize = 30 << 20;

/// One kind of frame.
struct Case {
    venue: Venue,
    /// Of ours, `serde_json` and `sonic-rs`.
    arms: [Arm; 3],
    ratios: [&'static str; 2],
    /// What ours takes at most, of what `serde_json` takes.
    promise: Option<f64>,
    frames: Vec<Vec<u8>>,
    is_recorded: bool,
    references: References,
}

/// A case by its name: `case!("Binance trade", …)`.
macro_rules! case {
    ($name:literal, $venue:expr, $promise:expr, $frames:expr, $example:expr, $references:expr) => {{
        let recorded: Vec<Vec<u8>> = $frames;
        let is_recorded = !recorded.is_empty();
        Case {
            venue: $venue,
            arms: [
                Arm::new(concat!($name, ", chartd"), "ns"),
                Arm::new(concat!($name, ", serde_json"), "ns"),
                Arm::new(concat!($name, ", sonic-rs"), "ns"),
            ],
            ratios: [
                concat!($name, ": chartd / serde_json, p50"),
                concat!($name, ": chartd / sonic-rs, p50"),
            ],
            promise: $promise,
            frames: if is_recorded { recorded } else { vec![$example.as_bytes().to_vec()] },
            is_recorded,
            references: $references,
        }
    }};
}

pub(crate) fn measure(rounds: usize) -> anyhow::Result<Report> {
    let mut cases = cases()?;
    for case in &cases {
        case.check()?;
    }
    for _ in 0..rounds {
        cases.iter_mut().for_each(Case::round);
    }
    let mut report = Report {
        name: "decode",
        notes: vec![
            format!("{BATCH} frames at a time; values are one frame's share"),
            "the references leave prices in strings as text, read bare ones as f64, and find no instrument".into(),
            "sonic-rs as cargo builds it, for the x86-64 baseline; chartd has no instructions beyond it here either".into(),
        ],
        arms: Vec::new(),
        ratios: Vec::new(),
    };
    for case in cases {
        report.notes.push(case.note());
        let [ours, serde_json, sonic_rs] = &case.arms;
        let [to_serde_json, to_sonic_rs] = case.ratios;
        report.ratios.push(match case.promise {
            Some(promise) => Ratio::of(to_serde_json, ours, serde_json, 0.5, promise),
            None => Ratio::shown(to_serde_json, ours, serde_json, 0.5),
        });
        report.ratios.push(Ratio::shown(to_sonic_rs, ours, sonic_rs, 0.5));
        report.arms.extend(case.arms);
    }
    Ok(report)
}

fn cases() -> anyhow::Result<Vec<Case>> {
    use Venue::{Binance, Coinbase, CoinbaseAdvanced, Kraken};
    let binance = recorded_frames()?.unwrap_or_default();
    let kraken_trades = lines("kraken_v2/real_frames.ndjson", "{")?;
    let kraken_books = lines("kraken_v2/kraken_minagbp_d25_20260816.head.ndjson", "\"frame\": ")?;
    // The recorder put each of these into an object of its own.
    let kraken_books: Vec<_> = kraken_books.iter().map(|line| line[..line.len() - 1].to_vec()).collect();
    let exchange = lines("coinbase_exchange/cryptofeed_COINBASE.ws.28.0.gz", ": ")?;
    let advanced = lines("coinbase_advanced/real_frames.ndjson", "{")?;
    let book_update = |frames: &[Vec<u8>]| with(&with(frames, "\"channel\":\"book\""), "\"type\":\"update\"");
    Ok(vec![
        case!(
            "Binance trade",
            Binance,
            Some(0.35),
            with(&binance, "\"e\":\"trade\""),
            known::BINANCE_TRADE,
            known::binance_trade()
        ),
        case!(
            "Binance bookTicker",
            Binance,
            None,
            with(&binance, "@bookTicker"),
            known::BINANCE_QUOTE,
            known::binance_quote()
        ),
        case!(
            "Binance depthUpdate",
            Binance,
            None,
            with(&binance, "\"e\":\"depthUpdate\""),
            known::BINANCE_DEPTH,
            known::binance_depth()
        ),
        case!(
            "Kraken v2 trade",
            Kraken,
            None,
            with(&kraken_trades, "\"channel\":\"trade\""),
            known::KRAKEN_TRADE,
            known::kraken_trade()
        ),
        case!(
            "Kraken v2 book",
            Kraken,
            None,
            book_update(&kraken_books),
            known::KRAKEN_BOOK,
            known::kraken_book()
        ),
        case!(
            "Coinbase Exchange match",
            Coinbase,
            None,
            with(&exchange, "\"type\":\"match\""),
            known::COINBASE_MATCH,
            known::coinbase_match()
        ),
        case!(
            "Coinbase Exchange l2update",
            Coinbase,
            None,
            with(&exchange, "\"type\":\"l2update\""),
            known::COINBASE_BOOK,
            known::coinbase_book()
        ),
        case!(
            "Coinbase Advanced market_trades",
            CoinbaseAdvanced,
            None,
            with(&advanced, "\"channel\":\"market_trades\""),
            known::ADVANCED_TRADES,
            known::advanced_trades()
        ),
        case!(
            "Coinbase Advanced l2_data",
            CoinbaseAdvanced,
            None,
            with(&advanced, "\"channel\":\"l2_data\""),
            known::ADVANCED_BOOK,
            known::advanced_book()
        ),
    ])
}

/// What stands in each line of a recorded file from `mark` on: behind it, unless it is the frame's own brace.
fn lines(name: &str, mark: &str) -> anyhow::Result<Vec<Vec<u8>>> {
    let text = String::from_utf8(recorded(name)?.unwrap_or_default()).context(name.to_owned())?;
    let frame = |line: &str| {
        let (at, len) = (line.find(mark)?, if mark == "{" { 0 } else { mark.len() });
        Some(line[at + len..].trim_end().as_bytes().to_vec())
    };
    Ok(text.lines().filter_map(frame).collect())
}

/// The frames that hold `part`.
fn with(frames: &[Vec<u8>], part: &str) -> Vec<Vec<u8>> {
    let holds = |frame: &&Vec<u8>| frame.windows(part.len()).any(|window| window == part.as_bytes());
    frames.iter().filter(holds).cloned().collect()
}

impl Case {
    /// The symbols that stand in the frames, each with eight decimal places.
    fn table(&self) -> Instruments {
        let mut table = Instruments::default();
        for symbol in known::symbols(self.venue) {
            table.add(Instrument::new(self.venue, *symbol));
        }
        table
    }

    /// Every frame is decoded, and says something of an instrument.
    fn check(&self) -> anyhow::Result<()> {
        let (mut decoder, table) = (self.venue.protocol().decoder(), self.table());
        for frame in &self.frames {
            let mut told = 0;
            let take = &mut |message: Message<'_>| {
                told += usize::from(matches!(
                    message,
                    Message::Trade { .. } | Message::Quote { .. } | Message::Book { .. }
                ));
            };
            let outcome = decoder.decode(frame, &table, take);
            let shown = || format!("{}: {}", self.ratios[0], String::from_utf8_lossy(frame));
            outcome.with_context(shown)?;
            ensure!(told > 0, "nothing is said in {}", shown());
        }
        Ok(())
    }

    fn round(&mut self) {
        let bytes: usize = self.frames.iter().map(Vec::len).sum();
        let count = (BYTES_A_ROUND * self.frames.len() / bytes).clamp(BATCH * 100, FRAMES_A_ROUND);
        let (mut decoder, table) = (self.venue.protocol().decoder(), self.table());
        let [ours, serde_json, sonic_rs] = &mut self.arms;
        ours.add_round(time(&self.frames, count, |frame| read(decoder.as_mut(), &table, frame)));
        serde_json.add_round(time(&self.frames, count, self.references.serde_json));
        sonic_rs.add_round(time(&self.frames, count, self.references.sonic_rs));
    }

    fn note(&self) -> String {
        let bytes: usize = self.frames.iter().map(Vec::len).sum();
        let source = if self.is_recorded { "recorded" } else { "an example, since none is recorded" };
        let (count, name) = (self.frames.len(), self.arms[0].name.trim_end_matches(", chartd"));
        format!("{name}: {count} frames ({source}), {} bytes in the mean", bytes / count)
    }
}

/// Takes all that a frame says, every level of a book included, as the engine does.
pub(crate) fn read(decoder: &mut dyn Decoder, table: &Instruments, frame: &[u8]) {
    let taken = decoder.decode(frame, table, &mut |message| {
        if let Message::Book { change, .. } = &message {
            let mut sum = [0i64; 2];
            change.levels.for_each(|side, level| {
                sum[usize::from(side == BookSide::Ask)] ^= level.price ^ level.qty;
            });
            black_box(sum);
        }
        black_box(&message);
    });
    assert!(taken.is_ok(), "all frames were checked");
}

fn time(frames: &[Vec<u8>], count: usize, mut read: impl FnMut(&[u8])) -> Vec<u64> {
    let mut frames = frames.iter().cycle();
    (0..count / BATCH)
        .map(|_| {
            let started = Instant::now();
            frames.by_ref().take(BATCH).for_each(|frame| read(black_box(frame)));
            started.elapsed().as_nanos() as u64 / BATCH as u64
        })
        .collect()
}
