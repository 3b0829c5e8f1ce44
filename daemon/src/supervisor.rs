//! Watches the loops of the daemon: each tells what it does, and when one is silent for too long, something is done.
//!
//! A loop that is late is counted. One that runs away at a real-time priority loses it, before the machine loses
//! a CPU; one that does so while drawing is told to go on with a simpler backend. systemd's watchdog is fed only while
//! every loop comes round, so that a daemon that is stuck is started again.

use crate::now_ns;
use crate::rt::{self, Placement};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};
use nix::unistd::Pid;
use shm::record::Text;
use shm::status::{Counter, LoopEntry, LoopState, MAX_LOOPS, Phase, Stage, StatusWriter};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::time::Duration;

/// Places of the loops in the status segment.
pub(crate) const INGEST: usize = 0;
/// The thread that draws, if it is another.
pub(crate) const RENDER: usize = 1;
/// The cold plane.
pub(crate) const COLD: usize = 2;

/// The journal's thread. It is watched so that people see how it does, and no more: charts go on without it, so its
/// being late demotes nobody and keeps no food from the watchdog. A disk that hangs would else cost the charts, and a
/// new start would meet the same disk.
pub(crate) const JOURNAL: usize = 3;

/// How often the supervisor looks.
const PERIOD_NS: u64 = 20_000_000;
/// How long a hot loop may sleep: it wakes ten times a second even if nothing comes.
const HOT_WAIT_LIMIT_NS: u64 = 400_000_000;
/// How long a hot loop may work without coming round.
const HOT_WORK_LIMIT_NS: u64 = 100_000_000;
/// How long the cold plane may be silent. It beats four times a second. The journal's thread likewise: it wakes ten
/// times a second, but some file systems make it wait while it begins a write.
const COLD_LIMIT_NS: u64 = 1_500_000_000;
/// After so many times its limit, a loop has run away.
const RUNAWAY: u64 = 4;

/// How a loop tells that it is alive.
#[derive(Debug, Clone)]
pub(crate) struct Pulse {
    status: Arc<StatusWriter>,
    place: usize,
    /// Set when drawing is to go on with a simpler backend.
    step_down: Arc<AtomicBool>,
}

impl Pulse {
    /// Describes the calling thread's loop. It counts from here on.
    pub(crate) fn of_this_thread(
        status: Arc<StatusWriter>,
        place: usize,
        placement: &Placement,
        priority: u8,
        step_down: Arc<AtomicBool>,
    ) -> Self {
        let is_cold = matches!(place, COLD | JOURNAL);
        status.beat(place, Phase::Wait, now_ns());
        status.set_loop(
            place,
            &LoopEntry {
                name: Text::new(placement.name),
                tid: nix::unistd::gettid().as_raw() as u64,
                cpu: placement.cpu.map_or(0, |cpu| cpu as u64 + 1),
                priority: priority.into(),
                wait: placement.wait.number(),
                wait_limit_ns: if is_cold { COLD_LIMIT_NS } else { HOT_WAIT_LIMIT_NS },
                work_limit_ns: if is_cold { COLD_LIMIT_NS } else { HOT_WORK_LIMIT_NS },
                is_aside: u64::from(place == JOURNAL),
            },
        );
        Self { status, place, step_down }
    }

    /// Tells what the loop does from now on. Coming back to waiting completes a round.
    pub(crate) fn beat(&self, phase: Phase, now_ns: u64) {
        self.status.beat(self.place, phase, now_ns);
    }

    /// Whether drawing is to go on with a simpler backend, since it took too long.
    pub(crate) fn take_step_down(&self) -> bool {
        self.step_down.load(Relaxed) && self.step_down.swap(false, Relaxed)
    }
}

/// What is to be done about a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It comes round.
    Well,
    /// It has just been found late.
    Late,
    /// It has just been found to have run away.
    RunAway,
}

/// What is known of a loop's present silence.
#[derive(Debug, Clone, Copy, Default)]
struct Case {
    /// The beat that the silence began with.
    beat_ns: u64,
    is_late: bool,
    has_run_away: bool,
}

impl Case {
    fn judge(&mut self, entry: &LoopEntry, state: &LoopState, now_ns: u64) -> Verdict {
        if state.beat_ns != self.beat_ns {
            *self = Self { beat_ns: state.beat_ns, ..Self::default() };
        }
        let (age_ns, limit_ns) = (state.age_ns(now_ns), entry.limit_ns(state));
        if age_ns > RUNAWAY * limit_ns && !std::mem::replace(&mut self.has_run_away, true) {
            self.is_late = true;
            return Verdict::RunAway;
        }
        if age_ns > limit_ns && !std::mem::replace(&mut self.is_late, true) {
            return Verdict::Late;
        }
        Verdict::Well
    }
}

/// Feeds systemd's watchdog, if there is one, and only while every loop advances that charts need.
struct Watchdog {
    /// How often to feed it: twice as often as it asks.
    period_ns: Option<u64>,
    fed_ns: u64,
    /// Each loop's rounds when it was fed last.
    rounds: [u64; MAX_LOOPS],
}

impl Watchdog {
    fn new() -> Self {
        let period_ns = sd_notify::watchdog_enabled().map(|period| period.as_nanos() as u64 / 2);
        Self { period_ns, fed_ns: 0, rounds: [0; MAX_LOOPS] }
    }

    /// Whether it is time, and every loop has come round since it was fed last.
    fn is_due(&mut self, loops: &[(usize, LoopEntry, LoopState)], now_ns: u64) -> bool {
        let due = self.period_ns.is_some_and(|period_ns| now_ns.saturating_sub(self.fed_ns) >= period_ns);
        let is_stuck = |(place, entry, state): &(usize, LoopEntry, LoopState)| {
            entry.is_aside == 0 && state.rounds == self.rounds[*place]
        };
        if !due || loops.iter().any(is_stuck) {
            return false;
        }
        self.fed_ns = now_ns;
        loops.iter().for_each(|(place, _, state)| self.rounds[*place] = state.rounds);
        true
    }
}

/// The supervisor's thread. It ends when this is dropped.
pub(crate) struct Supervisor {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Supervisor {
    /// Starts to watch the loops of `status`. Returns a line for each thing that was refused to it.
    pub(crate) fn start(
        status: Arc<StatusWriter>,
        placement: Placement,
        step_down: Arc<AtomicBool>,
    ) -> std::io::Result<(Self, Vec<String>)> {
        let stop = Arc::new(AtomicBool::new(false));
        let (placed, refused) = std::sync::mpsc::sync_channel(1);
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name(placement.name.to_owned()).spawn(move || {
            let _ = placed.send(placement.apply().refused); // The starter waits for it.
            watch(&status, &step_down, &stopped);
        })?;
        let refused = refused.recv().unwrap_or_default();
        Ok((Self { stop, thread: Some(thread) }, refused))
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.stop.store(true, Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // A panic was printed by the thread itself.
        }
    }
}

fn watch(status: &StatusWriter, step_down: &AtomicBool, stop: &AtomicBool) {
    let mut cases = [Case::default(); MAX_LOOPS];
    let mut watchdog = Watchdog::new();
    let mut planned_ns = now_ns();
    while !stop.load(Acquire) {
        planned_ns += PERIOD_NS;
        sleep_until(planned_ns);
        let woke_ns = now_ns();
        // What a thread that wants a CPU at a moment must wait for it: the machine's share of every latency.
        status.recorder(Stage::Hiccup).record(woke_ns.saturating_sub(planned_ns));
        let is_known = |place: usize| {
            let entry = status.loop_entry(place);
            (entry.tid != 0).then(|| (place, entry, status.loop_state(place)))
        };
        let loops: Vec<_> = (0..MAX_LOOPS).filter_map(is_known).collect();
        for (place, entry, state) in &loops {
            match cases[*place].judge(entry, state, woke_ns) {
                Verdict::Well => {}
                Verdict::Late => status.count(Counter::LoopsLate, 1),
                Verdict::RunAway => tame(status, *place, entry, state, woke_ns, step_down),
            }
        }
        if watchdog.is_due(&loops, woke_ns) {
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]); // Without it, systemd acts.
        }
        // After a pause of the whole machine there is no point in catching up.
        planned_ns = planned_ns.max(now_ns().saturating_sub(PERIOD_NS));
    }
}

/// Takes its priority from a loop that has run away, and says so.
fn tame(
    status: &StatusWriter,
    place: usize,
    entry: &LoopEntry,
    state: &LoopState,
    now_ns: u64,
    step_down: &AtomicBool,
) {
    let phase = Phase::ALL.get(state.phase as usize).map_or("?", |phase| phase.name());
    let (name, age_ms) = (entry.name, state.age_ns(now_ns) / 1_000_000);
    if entry.priority > 0 && rt::demote(Pid::from_raw(entry.tid as i32)).is_ok() {
        status.set_loop(place, &LoopEntry { priority: 0, ..*entry });
        status.count(Counter::Demotions, 1);
        tracing::error!(
            "{name} is stuck in '{phase}' since {age_ms} ms: it has lost its SCHED_FIFO priority"
        );
    } else {
        tracing::error!("{name} is stuck in '{phase}' since {age_ms} ms");
    }
    if state.phase == Phase::Draw as u64 {
        step_down.store(true, Relaxed);
    }
}

fn sleep_until(moment_ns: u64) {
    let moment = TimeSpec::from_duration(Duration::from_nanos(moment_ns));
    // A signal may end it early, which does no harm.
    let _ = clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &moment);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> LoopEntry {
        LoopEntry {
            name: Text::new("x"),
            tid: 1,
            cpu: 0,
            priority: 10,
            wait: 3,
            wait_limit_ns: 400,
            work_limit_ns: 100,
            is_aside: 0,
        }
    }

    fn state(rounds: u64, beat_ns: u64, phase: Phase) -> LoopState {
        LoopState { rounds, beat_ns, phase: phase as u64 }
    }

    #[test]
    fn a_silence_is_judged_once_for_each_step() {
        let (mut case, working) = (Case::default(), state(0, 1_000, Phase::Ingest));
        let verdicts = [1_050, 1_101, 1_200, 1_401, 1_500].map(|now| case.judge(&entry(), &working, now));
        use Verdict::*;
        assert_eq!(verdicts, [Well, Late, Well, RunAway, Well]);
        // It came round: a new silence is a new case.
        assert_eq!(case.judge(&entry(), &state(1, 2_000, Phase::Wait), 2_399), Well);
        assert_eq!(case.judge(&entry(), &state(1, 2_000, Phase::Wait), 2_401), Late);
    }

    #[test]
    fn the_watchdog_is_fed_only_if_every_loop_advanced() {
        let mut watchdog = Watchdog { period_ns: Some(100), fed_ns: 0, rounds: [0; MAX_LOOPS] };
        let loops = |ingest, cold| {
            [(0, entry(), state(ingest, 0, Phase::Wait)), (2, entry(), state(cold, 0, Phase::Wait))]
        };
        assert!(!watchdog.is_due(&loops(1, 0), 100), "the cold plane has not come round");
        assert!(watchdog.is_due(&loops(1, 1), 100));
        assert!(!watchdog.is_due(&loops(2, 2), 150), "too early");
        assert!(!watchdog.is_due(&loops(1, 9), 500), "the ingest loop is stuck");
        let mut with_journal = loops(2, 9).to_vec();
        let aside = LoopEntry { is_aside: 1, ..entry() };
        with_journal.push((JOURNAL, aside, state(0, 0, Phase::Write)));
        assert!(watchdog.is_due(&with_journal, 500), "charts go on while the journal's disk hangs");
        watchdog.period_ns = None;
        assert!(!watchdog.is_due(&loops(3, 10), 900), "systemd asked for nothing");
    }
}
