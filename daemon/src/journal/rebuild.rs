//! An engine from what runs before have recorded, so that charts do not begin empty.
//!
//! What holds: its candles are those that the daemon had, as far as the journal goes back. What may have been lost
//! since is in doubt until the venue's numbers prove that nothing was, or the missing trades are fetched.

use super::player::{Played, Player, Tally};
use super::real_ns;
use crate::config::Config;
use crate::engine::Engine;
use crate::feeds;
use crate::now_ns;
use anyhow::Context;
use journal::{ReadError, Reader, Span, Stamp, Store};
use market::{Instrument, Timeframe, Venue};
use shm::status::StatusWriter;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often it is told how far it is.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// So many records are read before the clock is looked at.
const RECORDS: u64 = 1 << 14;
/// The most flaws that are logged one by one; all are counted.
const MAX_COMPLAINTS: u64 = 10;

/// How far it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    /// Bytes to read in all.
    pub(crate) bytes: u64,
    /// Bytes that were read.
    pub(crate) read: u64,
}

/// What the present configuration makes of an instrument.
struct Present {
    instruments: HashMap<(Venue, String), (Instrument, Vec<Timeframe>)>,
    /// Why others are passed over, each said once.
    passed: RefCell<BTreeSet<String>>,
}

/// Rebuilds an engine for `config` from the last `history` of a journal, in which nobody writes. `tell` is called about
/// once a second. `None` if there is nothing of use.
pub(crate) fn rebuild(
    store: &dyn Store,
    history: Duration,
    config: &Config,
    tell: &mut dyn FnMut(Progress),
) -> anyhow::Result<Option<Engine>> {
    let from_ns = real_ns().saturating_sub(history.as_nanos() as u64);
    let mut reader = match Reader::new(store, Span { from_ns, until_ns: u64::MAX }) {
        Err(ReadError::Nothing(_)) => return Ok(None),
        reader => reader?,
    };
    let (started, present) = (Instant::now(), Present::of(config));
    // It belongs to nobody: what is counted here was counted when it happened.
    let status = Arc::new(StatusWriter::create(std::process::id(), 0, [0; 2])?);
    let wanted = |instrument: &Instrument| present.timeframes(instrument);
    let mut player = Player::new(&wanted, [config.bars, 1], status, || 0);
    let (mut told, mut left, mut complaints) = (Instant::now(), RECORDS, 0);
    while let Some(item) = reader.next()? {
        let played = player.take(item).context("no memory for the candles of the journal")?;
        complain(&played, &mut complaints);
        left -= 1;
        if left == 0 {
            left = RECORDS;
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                let (bytes, read) = reader.progress();
                tell(Progress { bytes, read });
            }
        }
    }
    present.passed.borrow().iter().for_each(|line| tracing::info!("{line}"));
    let tally = player.tally();
    let now = Stamp { real_ns: real_ns(), mono_ns: now_ns() };
    let engine = player.finish(now, &super::start::boot_id());
    if engine.is_some() {
        log(&tally, started.elapsed());
    }
    Ok(engine)
}

impl Present {
    fn of(config: &Config) -> Self {
        let plans = feeds::feed_plans(config).into_iter().zip(&config.feeds);
        // What the venue sends again from the start would be counted twice.
        let instruments =
            plans.filter(|(_, feed)| !feed.is_from_start()).flat_map(|(plan, _)| plan.instruments);
        let instruments = instruments.map(|(instrument, timeframes)| {
            ((instrument.venue, instrument.symbol.clone()), (instrument, timeframes))
        });
        Self { instruments: instruments.collect(), passed: RefCell::default() }
    }

    fn timeframes(&self, recorded: &Instrument) -> Vec<Timeframe> {
        let Instrument { venue, symbol, .. } = recorded;
        match self.instruments.get(&(*venue, symbol.clone())) {
            Some((instrument, timeframes)) if instrument == recorded => return timeframes.clone(),
            Some((instrument, _)) => self.pass(format!(
                "{venue}:{symbol} was recorded with {} and {} decimal places and has {} and {} now: it begins anew",
                recorded.price_digits, recorded.qty_digits, instrument.price_digits, instrument.qty_digits
            )),
            None => self.pass(format!("{venue}:{symbol} is not taken from the journal: it has no chart, or its feed begins anew")),
        }
        Vec::new()
    }

    fn pass(&self, line: String) {
        self.passed.borrow_mut().insert(line);
    }
}

fn complain(played: &Played, complaints: &mut u64) {
    let line = match played {
        Played::Unreadable(why) => format!("a record of the journal is passed over: {why}"),
        Played::Missing(missing) => describe(missing),
        _ => return,
    };
    *complaints += 1;
    if *complaints <= MAX_COMPLAINTS {
        tracing::warn!("{line}");
    }
}

/// What is missing, for people.
pub(crate) fn describe(missing: &journal::Missing) -> String {
    let journal::Missing { records, segment, offset, why } = missing;
    match why {
        journal::reader::Why::Corrupt => format!(
            "the journal is corrupt at byte {offset} of segment {segment}: {} records cannot be read; the bars that \
             may lack trades are gaps",
            records.end.saturating_sub(records.start)
        ),
        journal::reader::Why::Torn { bytes } => format!(
            "the journal ends in {bytes} bytes that were not complete when its run ended, at byte {offset} of segment \
             {segment}"
        ),
    }
}

fn log(tally: &Tally, took: Duration) {
    let Tally { records, frames, runs, gaps, lost, corruptions, unreadable, .. } = *tally;
    tracing::info!(
        "candles go on from the journal: {records} records, {frames} frames, of {runs} runs, in {:.1} s",
        took.as_secs_f64()
    );
    if gaps + corruptions + unreadable > 0 {
        tracing::warn!(
            "in the journal, {lost} records found no room at {gaps} places, {corruptions} places are corrupt, and \
             {unreadable} records cannot be read: the bars that may lack trades are gaps"
        );
    }
}
