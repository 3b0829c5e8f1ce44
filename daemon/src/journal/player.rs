//! Gives the records of a journal to engines, as the inputs were given to those that were there.
//!
//! What holds: at the end of each run the engine is as the daemon's was, but for instruments of which nothing is wanted.
//! A new configuration takes over what it took over then; a new run, what can be proven (see [`Engine::resume`]). What
//! the configuration dropped stands still from there on. Where records are missing, their feeds are in doubt until
//! something proves that nothing was lost.

use super::input::{self, BadInput, Scratch};
use super::start::{BadStart, Start};
use crate::engine::{Engine, EnginePlan, FeedPlan, Input, MAX_LINES, Shift, Verdict, Want};
use journal::queue::Lost;
use journal::reader::Why;
use journal::record::REPEATED;
use journal::{Item, Kind, Missing, Record, Stamp};
use market::{Instrument, Timeframe};
use shm::ShmError;
use shm::prefix::Identity;
use shm::status::StatusWriter;
use std::collections::HashSet;
use std::sync::Arc;

/// Which candles are made of an instrument. Nothing is known of it in the end if there are none.
pub type Wanted<'w> = dyn Fn(&Instrument) -> Vec<Timeframe> + 'w;

/// See above.
pub struct Player<'w> {
    wanted: &'w Wanted<'w>,
    /// How many bars of each series are kept, and how many of them are published.
    bars: [usize; 2],
    status: Arc<StatusWriter>,
    now_ns: fn() -> u64,
    engine: Option<Engine>,
    start: Option<Start>,
    feeds: Vec<Known>,
    /// Whether records came whose configuration is not known.
    has_passed: bool,
    latest: Stamp,
    scratch: Scratch,
    tally: Tally,
}

/// What is not known of a feed since something is missing.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// The connections of which it is not known whether they are there, by bits. A frame shows it.
    unsure_lines: u8,
    /// Whether the day may be another one.
    needs_day: bool,
    /// Whether the session's beginning lies before all that is read.
    needs_begin: bool,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Records that were read, of whatever kind.
    pub records: u64,
    /// Frames among them.
    pub frames: u64,
    /// Runs of chartd.
    pub runs: u64,
    /// Configurations of them.
    pub generations: u64,
    /// Places where records found no room in the queue.
    pub gaps: u64,
    /// Records that found none.
    pub lost: u64,
    /// Places where records were durable and cannot be read.
    pub corruptions: u64,
    /// Records that were there.
    pub corrupt: u64,
    /// Tails that were not durable when the run ended.
    pub torn: u64,
    /// Records that hold something else than they say, or belong to a configuration that is not known.
    pub unreadable: u64,
}

/// What has come of an item.
#[derive(Debug)]
pub enum Played {
    /// Another engine has taken over: its market segment is a new one.
    Began,
    /// A frame was taken in.
    Frame(Verdict),
    /// Something else was taken in.
    Taken,
    /// The record means nothing here: it is of a configuration that is not known.
    Passed,
    /// The record is unreadable, for this reason.
    Unreadable(Unreadable),
    /// Records found no room here.
    Gap(Lost),
    /// Records are missing here.
    Missing(Missing),
}

/// Why a record is unreadable.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Unreadable {
    #[error(transparent)]
    Start(#[from] BadStart),
    #[error(transparent)]
    Input(#[from] BadInput),
    #[error("its gap record has another length than it should")]
    Gap,
}

const ALL_LINES: u8 = (1 << MAX_LINES) - 1;

impl<'w> Player<'w> {
    /// A player for a journal. `bars` says how many of each series are kept, and how many of them are published;
    /// `now_ns` stamps those.
    pub fn new(
        wanted: &'w Wanted<'w>,
        bars: [usize; 2],
        status: Arc<StatusWriter>,
        now_ns: fn() -> u64,
    ) -> Self {
        Self {
            wanted,
            bars,
            status,
            now_ns,
            engine: None,
            start: None,
            feeds: Vec::new(),
            has_passed: false,
            latest: Stamp::default(),
            scratch: Scratch::default(),
            tally: Tally::default(),
        }
    }

    /// The engine, if anything has come yet.
    pub fn engine(&self) -> Option<&Engine> {
        self.engine.as_ref()
    }

    /// What the engine wants next. Nobody need fulfil it: what was fetched then is in the journal.
    pub fn next_want(&mut self) -> Option<Want> {
        self.engine.as_mut()?.next_want()
    }

    /// What was found so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// What has become of it, as the run in hand left it. `None` if there was nothing.
    pub fn into_engine(self) -> Option<Engine> {
        self.engine
    }

    /// Ends the run that is in hand, and gives what has become of it to one that goes on at `now`, on the boot of that
    /// name. `None` if there was nothing.
    pub fn finish(mut self, now: Stamp, boot_id: &str) -> Option<Engine> {
        let shift = self.shift(now, boot_id);
        self.engine.as_mut()?.resume(shift);
        self.engine
    }

    /// Takes the next item of the journal.
    #[inline]
    pub fn take(&mut self, item: Item<'_>) -> Result<Played, ShmError> {
        let record = match item {
            Item::Record(record) => record,
            Item::Missing(missing) => return Ok(self.missing(missing)),
        };
        self.tally.records += 1;
        match record.header.kind {
            Kind::Start => match Start::decode(record.payload) {
                Ok(start) => self.begin(start, &record),
                Err(error) => Ok(self.unreadable(error.into())),
            },
            Kind::Gap => Ok(self.gap(&record)),
            _ => Ok(self.input(&record)),
        }
    }

    fn input(&mut self, record: &Record<'_>) -> Played {
        let (header, generation) = (record.header, self.start.as_ref().map(|start| start.generation));
        let (Some(engine), true) = (&mut self.engine, generation == Some(header.generation)) else {
            (self.has_passed, self.tally.unreadable) = (true, self.tally.unreadable + 1);
            return Played::Passed;
        };
        self.latest = header.stamp;
        let input = match input::read(&header, record.payload, &mut self.scratch) {
            Ok(Some(input)) => input,
            Ok(None) => return Played::Passed, // Another method's.
            Err(error) => {
                self.tally.unreadable += 1;
                return Played::Unreadable(error.into());
            }
        };
        if let Some(feed) = input.feed() {
            let (Some(known), Some(start)) = (self.feeds.get_mut(feed), &self.start) else {
                self.tally.unreadable += 1;
                return Played::Passed;
            };
            if known.is_unsure() {
                known.learn(&input, engine, header.stamp, start);
            }
        }
        match engine.take(&input, header.stamp.mono_ns) {
            Some(verdict) => {
                self.tally.frames += 1;
                Played::Frame(verdict)
            }
            None => Played::Taken,
        }
    }

    /// A configuration begins.
    fn begin(&mut self, start: Start, record: &Record<'_>) -> Result<Played, ShmError> {
        let is_repeated = record.header.flags & REPEATED > 0;
        let is_same_run = self.start.as_ref().is_some_and(|old| old.run == start.run);
        let generation = self.start.as_ref().map_or(0, |old| old.generation);
        if is_same_run && generation == start.generation {
            return Ok(Played::Taken);
        }
        let follows = is_same_run && start.generation == generation + 1 && !is_repeated;
        let shift = self.shift(record.header.stamp, &start.boot_id);
        let mut old = self.engine.take();
        let mut engine = self.engine_of(&start, old.as_ref())?;
        let recorded = start.feeds.len();
        if let Some(old) = &mut old {
            let kept: Vec<_> = start.feeds.iter().map(|feed| feed.goes_on).collect();
            if follows {
                engine.inherit(old, &kept);
                engine.gather(old, |place| place >= recorded);
            } else {
                old.resume(shift);
                engine.gather(old, |place| start.feeds.get(place).is_none_or(|feed| !feed.from_start));
            }
        }
        let feed = |feed: &super::StartFeed| match feed.goes_on.and_then(|place| self.feeds.get(place)) {
            Some(known) if follows => *known,
            _ if is_repeated || (is_same_run && !follows) => Known::NOTHING,
            _ => Known::default(),
        };
        self.feeds = start.feeds.iter().map(feed).collect();
        self.tally.generations += 1;
        self.tally.runs += u64::from(!is_same_run);
        (self.engine, self.start) = (Some(engine), Some(start));
        if !is_repeated {
            self.latest = record.header.stamp;
        }
        if std::mem::take(&mut self.has_passed) {
            (0..recorded).for_each(|feed| self.forget(feed));
        }
        Ok(Played::Began)
    }

    /// An engine for the feeds of a start, and for what `old` knows of other instruments.
    fn engine_of(&self, start: &Start, old: Option<&Engine>) -> Result<Engine, ShmError> {
        let mut there = HashSet::new();
        let mut plans: Vec<FeedPlan> = Vec::new();
        for feed in &start.feeds {
            let planned = |instrument: Instrument| {
                there.insert((instrument.venue, instrument.symbol.clone()));
                let timeframes = (self.wanted)(&instrument);
                (instrument, timeframes)
            };
            plans.push(FeedPlan {
                venue: feed.venue(),
                instruments: feed.instruments().map(planned).collect(),
            });
        }
        for instrument in old.into_iter().flat_map(Engine::instruments) {
            let timeframes = (self.wanted)(instrument);
            if timeframes.is_empty() || !there.insert((instrument.venue, instrument.symbol.clone())) {
                continue;
            }
            let instruments = vec![(instrument.clone(), timeframes)];
            plans.push(FeedPlan { venue: instrument.venue, instruments });
        }
        let [bars, published] = self.bars;
        let plan =
            EnginePlan { feeds: &plans, bars, published, huge_pages: false, identity: Identity::default() };
        Engine::new(&plan, self.status.clone(), self.now_ns)
    }

    fn gap(&mut self, record: &Record<'_>) -> Played {
        let Some(lost) = Lost::decode(record.payload) else { return self.unreadable(Unreadable::Gap) };
        self.tally.gaps += 1;
        self.tally.lost += lost.records;
        // Those of the configuration before may be meant, whose feeds had other places.
        let generation = self.start.as_ref().map(|start| start.generation);
        let is_other = generation != Some(record.header.generation);
        let concerned = |feed: &usize| is_other || lost.concerns(*feed);
        (0..self.feeds.len()).filter(concerned).for_each(|feed| self.forget(feed));
        Played::Gap(lost)
    }

    fn missing(&mut self, missing: Missing) -> Played {
        match missing.why {
            // The run ended here, so what follows is another one's.
            Why::Torn { .. } => self.tally.torn += 1,
            Why::Corrupt => {
                self.tally.corruptions += 1;
                self.tally.corrupt += missing.records.end.saturating_sub(missing.records.start);
                (0..self.feeds.len()).for_each(|feed| self.forget(feed));
            }
        }
        Played::Missing(missing)
    }

    fn forget(&mut self, feed: usize) {
        if let (Some(engine), Some(known)) = (&mut self.engine, self.feeds.get_mut(feed)) {
            engine.forget(feed);
            *known = Known { unsure_lines: ALL_LINES, needs_day: true, ..*known };
        }
    }

    fn unreadable(&mut self, why: Unreadable) -> Played {
        (self.has_passed, self.tally.unreadable) = (true, self.tally.unreadable + 1);
        Played::Unreadable(why)
    }

    /// From the clock of the run in hand to one that shows `now`.
    fn shift(&self, now: Stamp, boot_id: &str) -> Shift {
        let is_same_boot = self.start.as_ref().is_some_and(|start| start.boot_id == boot_id);
        let began_ns = |stamp: Stamp| stamp.real_ns.wrapping_sub(stamp.mono_ns) as i64;
        let by_ns = if is_same_boot { 0 } else { began_ns(self.latest).wrapping_sub(began_ns(now)) };
        Shift { now_ns: now.mono_ns, by_ns }
    }
}

impl Known {
    const NOTHING: Self = Self { unsure_lines: ALL_LINES, needs_day: true, needs_begin: true };

    fn is_unsure(self) -> bool {
        self.unsure_lines > 0 || self.needs_day || self.needs_begin
    }

    /// Has the engine know what an input shows that it has not seen.
    #[cold]
    fn learn(&mut self, input: &Input<'_>, engine: &mut Engine, stamp: Stamp, start: &Start) {
        match *input {
            Input::Frame { feed, .. } if start.feeds[feed].venue().protocol().is_numbered_by_transport() => {
                if std::mem::take(&mut self.needs_begin) {
                    self.tell_day(feed, engine, stamp, start);
                    engine.begin(feed, false, true, stamp.mono_ns);
                }
            }
            Input::Frame { feed, line, .. } => {
                let bit = 1 << line.min(MAX_LINES - 1);
                if self.unsure_lines & bit > 0 {
                    self.unsure_lines &= !bit;
                    engine.connected(feed, line, stamp.mono_ns);
                }
            }
            Input::Connected { line, .. } | Input::Disconnected { line, .. } => {
                self.unsure_lines &= !(1 << line.min(MAX_LINES - 1));
            }
            Input::Day { .. } => self.needs_day = false,
            Input::Begin { feed, .. } => {
                self.tell_day(feed, engine, stamp, start);
                self.needs_begin = false;
            }
            _ => {}
        }
    }

    fn tell_day(&mut self, feed: usize, engine: &mut Engine, stamp: Stamp, start: &Start) {
        if std::mem::take(&mut self.needs_day) {
            engine.day(feed, start.feeds[feed].midnight_ms(stamp.real_ns));
        }
    }
}
