//! Opening a journal at the start of a run, and the life of its threads.

use super::disk::Disk;
use super::files::{Files, Lock};
use super::thread::{END_TIMEOUT, Loop, Parts};
use super::{Recorder, describe};
use crate::config;
use crate::rt::{Placement, Wait};
use crate::supervisor::{JOURNAL, Pulse};
use crate::uring::{Bell, RingPlan};
use anyhow::Context;
use journal::reader::Why;
use journal::{Drain, Folder, Position, Recovered, Writer, queue, recover};
use nix::sys::eventfd::{EfdFlags, EventFd};
use shm::status::{Journal as Condition, JournalState, StatusWriter};
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A journal that belongs to this process, and can be read; nothing is written yet.
pub(crate) struct Opened {
    config: config::Journal,
    lock: Lock,
    recovered: Recovered,
}

impl Opened {
    /// Takes the folder, cuts a torn tail, and says what it found.
    pub(crate) fn open(config: &config::Journal) -> anyhow::Result<Self> {
        let lock = Lock::take(&config.folder)?;
        let folder = Folder::new(&config.folder);
        folder.remove_leftovers().with_context(|| format!("cannot tidy up {}", config.folder.display()))?;
        let recovered = recover(&folder).context("the journal cannot be opened")?;
        tell_missing(&config.folder, &recovered);
        Ok(Self { config: config.clone(), lock, recovered })
    }

    /// Where it is.
    pub(crate) fn folder(&self) -> Folder {
        Folder::new(&self.config.folder)
    }

    /// How much of it is to be read again.
    pub(crate) fn history(&self) -> Duration {
        self.config.history.0
    }

    /// Starts to write it. Returns what records, and a line for each thing that was refused.
    pub(crate) fn start(
        self,
        status: &Arc<StatusWriter>,
        step_down: &Arc<AtomicBool>,
        huge_pages: bool,
    ) -> anyhow::Result<(Journal, Recorder, Vec<String>)> {
        let Self { config, lock, recovered } = self;
        let plan = config.plan();
        let (tap, drain) = queue((config.spill_mb as usize) << 20, 1);
        let wake = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let (bell, stop, wake) =
            (Arc::new(Bell::default()), Arc::new(AtomicBool::new(false)), Arc::new(wake));
        let state = JournalState {
            state: Condition::Well as u64,
            class: config.durability as u64 + 1,
            first: recovered.position.next,
            written: recovered.position.next,
            durable: recovered.position.next,
            ..JournalState::default()
        };
        status.set_journal(&state);
        status.set_journal_accepted(state.first, 0);
        let starting = Starting {
            config,
            plan,
            position: recovered.position,
            next_segment: recovered.next_segment,
            drain,
            state,
            huge_pages,
            bell: bell.clone(),
            status: status.clone(),
            step_down: step_down.clone(),
            stop: stop.clone(),
            wake: wake.clone(),
            lock: lock.share()?,
        };
        let (ready, placed) = mpsc::sync_channel(1);
        let builder = std::thread::Builder::new().name(NAME.to_owned());
        let thread = builder.spawn(move || match starting.make() {
            Ok((ring, lacking)) => {
                let _ = ready.send(Ok(lacking)); // The starter waits for it.
                ring.run().unwrap_or_else(|error| {
                    tracing::error!("{NAME} failed: {error}");
                    false
                })
            }
            Err(error) => {
                let _ = ready.send(Err(error));
                false
            }
        })?;
        let lacking = placed.recv().context("the journal's thread ended at once")??;
        let recorder = Recorder::new(tap, bell, status.clone()).counting_from(state.first);
        Ok((Journal { stop, wake, thread: Some(thread), _lock: lock }, recorder, lacking))
    }
}

/// Says what is missing of a journal.
fn tell_missing(folder: &Path, recovered: &Recovered) {
    for missing in &recovered.missing {
        match missing.why {
            Why::Torn { .. } => tracing::info!("{}; they are cut off", describe(missing)),
            Why::Corrupt => tracing::error!("{}; the disk may be failing", describe(missing)),
        }
    }
    let next = recovered.position.next;
    tracing::info!("the journal in {} goes on with record {next}", folder.display());
}

/// The thread's name, as `top` shows it.
const NAME: &str = "chartd-journal";

/// All that the thread makes its loop of.
struct Starting {
    config: config::Journal,
    plan: journal::Plan,
    position: Position,
    next_segment: u64,
    drain: Drain,
    state: JournalState,
    huge_pages: bool,
    bell: Arc<Bell>,
    status: Arc<StatusWriter>,
    step_down: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    wake: Arc<EventFd>,
    lock: File,
}

impl Starting {
    /// Called on the thread itself, to which its ring belongs.
    fn make(self) -> anyhow::Result<(Loop, Vec<String>)> {
        let Self { config, plan, .. } = self;
        let rings = RingPlan::journal(plan.blocks, plan.block_bytes, self.huge_pages);
        let wants_through = plan.durability == journal::Durability::Sync;
        let mut disk = Disk::new(&rings, &config.folder, self.wake.clone(), wants_through)?;
        disk.hold(self.lock)?;
        tracing::info!("{NAME}: {disk}");
        let lacking = disk.lacking();
        let files = Files::start(&config, self.next_segment, disk.is_direct(), self.wake)?;
        let placement = Placement { name: NAME, cpu: None, priority: 0, wait: Wait::Block };
        let pulse = Pulse::of_this_thread(self.status.clone(), JOURNAL, &placement, 0, self.step_down);
        let parts = Parts {
            disk,
            writer: Writer::new(plan, self.position),
            drain: self.drain,
            files,
            bell: self.bell,
            status: self.status,
            pulse,
            stop: self.stop,
            state: self.state,
        };
        Ok((Loop::new(parts), lacking))
    }
}

/// A journal that is written. Whoever drops it has ended what records; see [`Recorder`].
pub(crate) struct Journal {
    stop: Arc<AtomicBool>,
    wake: Arc<EventFd>,
    /// It ends with whether all that was recorded is durable.
    thread: Option<JoinHandle<bool>>,
    _lock: Lock,
}

impl Journal {
    /// Whether its thread has ended, which it should not.
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Has all written that was recorded, in a time that is bounded. False if not all of it is durable then: the log
    /// says what is not.
    pub(crate) fn end(mut self) -> bool {
        self.finish()
    }

    fn finish(&mut self) -> bool {
        self.stop.store(true, Release);
        let _ = self.wake.write(1); // It is awake at the latest when its nap ends.
        let end = Instant::now() + 2 * END_TIMEOUT;
        let Some(thread) = self.thread.take() else { return true };
        while !thread.is_finished() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        if !thread.is_finished() {
            tracing::error!("the journal's thread does not end: what it holds is lost");
            return false;
        }
        thread.join().unwrap_or(false) // A panic was printed by the thread itself.
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.finish();
    }
}
