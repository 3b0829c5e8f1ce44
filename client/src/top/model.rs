//! What `chartctl top` shows: two looks at a daemon, and what lies between them. Nothing here draws.

use crate::journal;
use serde_json::{Value, json};
use shm::histogram::Snapshot;
use shm::status::{
    ChartEntry, ChartState, Counter, JournalIntake, JournalState, Liveness, LoopEntry, LoopState, Phase,
    Stage, StatusReader,
};

/// All that is looked at, at one moment.
pub(crate) struct Look {
    pub(crate) now_ns: u64,
    pub(crate) liveness: Liveness,
    counters: Vec<u64>,
    histograms: Vec<Option<Snapshot>>,
    charts: Vec<(ChartEntry, ChartState)>,
    loops: Vec<(LoopEntry, LoopState)>,
    journal: Option<(JournalState, JournalIntake)>,
    degraded: Vec<String>,
}

impl Look {
    pub(crate) fn at(status: &StatusReader, now_ns: u64) -> Self {
        Self {
            now_ns,
            liveness: status.liveness(),
            counters: Counter::ALL.iter().map(|counter| status.counter(*counter)).collect(),
            histograms: Stage::ALL.iter().map(|stage| status.histogram(*stage)).collect(),
            charts: status.charts(),
            loops: status.loops(),
            journal: status.journal(),
            degraded: status.degraded(),
        }
    }

    pub(crate) fn counter(&self, counter: Counter) -> u64 {
        self.counters[counter as usize]
    }
}

/// What is shown.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct View {
    pub(crate) pid: u64,
    pub(crate) up_s: u64,
    pub(crate) generation: u64,
    pub(crate) threads: &'static str,
    pub(crate) charts: Vec<Chart>,
    /// Name and number a second.
    pub(crate) rates: Vec<(&'static str, f64)>,
    /// What should be zero and is not, or has grown: name, value in all, growth.
    pub(crate) harms: Vec<(&'static str, u64, u64)>,
    pub(crate) stages: Vec<Latency>,
    pub(crate) loops: Vec<Loop>,
    pub(crate) clients: u64,
    pub(crate) leases: u64,
    /// How the journal goes, and what it was given.
    pub(crate) journal: Option<(JournalState, JournalIntake)>,
    pub(crate) degraded: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chart {
    pub(crate) name: String,
    pub(crate) size: String,
    pub(crate) frames: u64,
    pub(crate) frames_a_second: f64,
    /// How long ago the latest was published; `None` before the first with trades.
    pub(crate) age_ms: Option<u64>,
    pub(crate) passed_over: u64,
}

/// Percentiles of a stage, in microseconds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Latency {
    pub(crate) name: &'static str,
    /// How many in the interval.
    pub(crate) count: u64,
    /// p50, p99, p99.9 and the largest of the interval.
    pub(crate) interval_us: [f64; 4],
    /// The same, since the daemon started.
    pub(crate) all_us: [f64; 4],
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Loop {
    pub(crate) name: String,
    pub(crate) tid: u64,
    pub(crate) cpu: String,
    pub(crate) priority: u64,
    pub(crate) wait: &'static str,
    pub(crate) phase: &'static str,
    pub(crate) age_ms: u64,
    pub(crate) is_late: bool,
}

const RATES: [(&str, Counter); 4] = [
    ("frames in", Counter::FramesIn),
    ("trades", Counter::Trades),
    ("frames out", Counter::FramesPublished),
    ("bytes in", Counter::BytesIn),
];

const HARMS: [Counter; 17] = [
    Counter::Malformed,
    Counter::Unknown,
    Counter::Duplicates,
    Counter::MissingTrades,
    Counter::TooLate,
    Counter::KlinesDiffer,
    Counter::Disconnects,
    Counter::TicksOverrun,
    Counter::ClientsRefused,
    Counter::ClientsThrottled,
    Counter::RingsRefused,
    Counter::LoopsLate,
    Counter::Demotions,
    Counter::JournalLost,
    Counter::JournalWriteFailures,
    Counter::JournalFlushFailures,
    Counter::JournalPrepareFailures,
];

impl View {
    /// What lies between two looks at the same daemon.
    pub(crate) fn between(before: &Look, now: &Look) -> Self {
        let seconds = (now.now_ns.saturating_sub(before.now_ns) as f64 / 1e9).max(1e-3);
        let growth = |counter: Counter| now.counter(counter).saturating_sub(before.counter(counter));
        let harm = |counter: &Counter| (counter.name(), now.counter(*counter), growth(*counter));
        Self {
            pid: now.liveness.pid,
            up_s: now.now_ns.saturating_sub(now.liveness.started_ns) / 1_000_000_000,
            generation: now.liveness.generation,
            threads: ["none", "fused", "split"].get(now.liveness.threads as usize).copied().unwrap_or("?"),
            charts: now.charts.iter().map(|chart| Chart::new(chart, before, now, seconds)).collect(),
            rates: RATES.map(|(name, counter)| (name, growth(counter) as f64 / seconds)).into(),
            harms: HARMS.iter().map(harm).filter(|(_, value, _)| *value > 0).collect(),
            stages: (0..Stage::ALL.len()).filter_map(|place| Latency::new(place, before, now)).collect(),
            loops: now.loops.iter().map(|(entry, state)| Loop::new(entry, state, now.now_ns)).collect(),
            clients: now.counter(Counter::Clients),
            leases: now.counter(Counter::Leases),
            journal: now.journal,
            degraded: now.degraded.clone(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        let charts = self.charts.iter().map(|chart| {
            json!({"chart": chart.name, "size": chart.size, "frames": chart.frames, "age_ms": chart.age_ms,
                   "frames_a_second": chart.frames_a_second, "slots_passed_over": chart.passed_over})
        });
        let stages = self.stages.iter().map(|stage| {
            json!({"stage": stage.name, "count": stage.count, "interval_us": stage.interval_us, "all_us": stage.all_us})
        });
        let loops = self.loops.iter().map(|one| {
            json!({"loop": one.name, "tid": one.tid, "cpu": one.cpu, "priority": one.priority, "wait": one.wait,
                   "phase": one.phase, "age_ms": one.age_ms, "late": one.is_late})
        });
        let harms = self
            .harms
            .iter()
            .map(|(name, value, more)| json!({"counter": name, "value": value, "more": more}));
        json!({
            "pid": self.pid, "up_s": self.up_s, "generation": self.generation, "threads": self.threads,
            "clients": self.clients, "leases": self.leases,
            "a_second": self.rates.iter().map(|(name, rate)| ((*name).to_owned(), json!(rate))).collect::<Value>(),
            "charts": charts.collect::<Value>(), "stages": stages.collect::<Value>(),
            "journal": self.journal.as_ref().map_or(Value::Null, |(state, intake)| journal::json_of(state, intake)),
            "percentiles": ["p50", "p99", "p99.9", "max"],
            "loops": loops.collect::<Value>(), "harms": harms.collect::<Value>(), "degraded": self.degraded,
        })
    }
}

impl Chart {
    fn new((entry, state): &(ChartEntry, ChartState), before: &Look, now: &Look, seconds: f64) -> Self {
        let earlier = before.charts.iter().find(|(other, _)| other.name == entry.name);
        // After a new configuration frames are numbered anew.
        let old = earlier.map_or(0, |(_, old)| old.frames).min(state.frames);
        let age_ns = now.now_ns.saturating_sub(state.publish_ns);
        Self {
            name: entry.name.to_string(),
            size: format!("{}x{}", entry.width, entry.height),
            frames: state.frames,
            frames_a_second: (state.frames - old) as f64 / seconds,
            age_ms: (state.publish_ns > 0).then_some(age_ns / 1_000_000),
            passed_over: state.passed_over,
        }
    }
}

impl Latency {
    fn new(place: usize, before: &Look, now: &Look) -> Option<Self> {
        let all = now.histograms[place].as_ref().filter(|all| all.count() > 0)?;
        let interval = before.histograms[place].as_ref().map_or_else(|| all.clone(), |old| all.since(old));
        let figures = |of: &Snapshot| {
            let micros = |value_ns: u64| value_ns as f64 / 1e3;
            [0.5, 0.99, 0.999].map(|q| micros(of.quantile_ns(q))).into_iter().chain([micros(of.max_ns())])
        };
        let four = |of: &Snapshot| {
            let mut values = figures(of);
            std::array::from_fn(|_| values.next().unwrap_or(0.0))
        };
        let (interval_us, all_us) = (four(&interval), four(all));
        Some(Self { name: Stage::ALL[place].name(), count: interval.count(), interval_us, all_us })
    }
}

impl Loop {
    fn new(entry: &LoopEntry, state: &LoopState, now_ns: u64) -> Self {
        Self {
            name: entry.name.to_string(),
            tid: entry.tid,
            cpu: if entry.cpu == 0 { "any".to_owned() } else { (entry.cpu - 1).to_string() },
            priority: entry.priority,
            wait: ["?", "spin", "poll", "block"].get(entry.wait as usize).copied().unwrap_or("?"),
            phase: Phase::ALL.get(state.phase as usize).map_or("?", |phase| phase.name()),
            age_ms: state.age_ns(now_ns) / 1_000_000,
            is_late: state.age_ns(now_ns) > entry.limit_ns(state),
        }
    }
}
