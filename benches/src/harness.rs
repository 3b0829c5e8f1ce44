//! Arms, rounds, and what is reported of them.

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// The measured values of one arm, over all rounds.
pub(crate) struct Arm {
    pub(crate) name: &'static str,
    unit: &'static str,
    /// Each round's own values.
    rounds: Vec<Histogram<u64>>,
}

impl Arm {
    pub(crate) fn new(name: &'static str, unit: &'static str) -> Self {
        Self { name, unit, rounds: Vec::new() }
    }

    /// Takes in the values of one round.
    pub(crate) fn add_round(&mut self, values: impl IntoIterator<Item = u64>) {
        // Three digits, from 1 to 1 hour in nanoseconds: the constants are valid.
        let mut histogram = Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("valid bounds");
        values.into_iter().for_each(|value| histogram.saturating_record(value.max(1)));
        self.rounds.push(histogram);
    }

    /// The median over the rounds of each round's quantile.
    pub(crate) fn quantile(&self, q: f64) -> u64 {
        let mut values: Vec<_> = self.rounds.iter().map(|round| round.value_at_quantile(q)).collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied().unwrap_or(0)
    }

    /// How many values there are.
    pub(crate) fn count(&self) -> u64 {
        self.rounds.iter().map(Histogram::len).sum()
    }

    /// Its unit.
    pub(crate) fn unit(&self) -> &'static str {
        self.unit
    }

    /// All rounds together.
    pub(crate) fn all(&self) -> Histogram<u64> {
        // As in `add_round`; adding histograms of the same bounds cannot fail.
        let mut all = Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("valid bounds");
        self.rounds.iter().for_each(|round| all.add(round).expect("the same bounds"));
        all
    }

    fn figures(&self) -> Value {
        let all = |f: fn(&Histogram<u64>) -> u64| self.rounds.iter().map(f);
        json!({
            "unit": self.unit, "rounds": self.rounds.len(), "count": all(Histogram::len).sum::<u64>(),
            "p50": self.quantile(0.5), "p90": self.quantile(0.9), "p99": self.quantile(0.99),
            "p999": self.quantile(0.999), "max": all(Histogram::max).max(),
            "p50_of_rounds": all(|round| round.value_at_quantile(0.5)).collect::<Vec<_>>(),
        })
    }
}

/// A ratio, which SPECIFICATION.md may promise.
pub(crate) struct Ratio {
    what: &'static str,
    value: f64,
    /// Where the value lies with 95 % probability, as far as the rounds tell.
    interval: Option<[f64; 2]>,
    /// The promise, if there is one, and whether a smaller value is better.
    promise: Option<f64>,
    at_most: bool,
}

/// How often rounds are drawn anew to find an interval.
const RESAMPLES: usize = 2_000;

impl Ratio {
    /// One arm's quantile over another's, of which it promises to be at most so much.
    pub(crate) fn of(what: &'static str, a: &Arm, b: &Arm, q: f64, promise: f64) -> Self {
        Self { promise: Some(promise), ..Self::shown(what, a, b, q) }
    }

    /// One arm's quantile over another's, of which it promises to be at least so much.
    pub(crate) fn of_at_least(what: &'static str, a: &Arm, b: &Arm, q: f64, promise: f64) -> Self {
        Self { promise: Some(promise), at_most: false, ..Self::shown(what, a, b, q) }
    }

    /// One arm's quantile over another's, of which nothing is promised.
    pub(crate) fn shown(what: &'static str, a: &Arm, b: &Arm, q: f64) -> Self {
        let value = a.quantile(q) as f64 / b.quantile(q) as f64;
        Self { what, value, interval: interval(a, b, q), promise: None, at_most: true }
    }

    /// A value that promises to be at most so much.
    pub(crate) fn at_most(what: &'static str, value: f64, promise: f64) -> Self {
        Self { what, value, interval: None, promise: Some(promise), at_most: true }
    }

    /// A value that promises to be at least so much.
    pub(crate) fn at_least(what: &'static str, value: f64, promise: f64) -> Self {
        Self { what, value, interval: None, promise: Some(promise), at_most: false }
    }

    /// Whether the promise is held, if there is one.
    fn held(&self) -> Option<bool> {
        let held = |promise| if self.at_most { self.value <= promise } else { self.value >= promise };
        self.promise.map(held)
    }

    /// Whether the rounds differ too much to tell.
    fn unsure(&self) -> bool {
        self.promise.zip(self.interval).is_some_and(|(promise, [low, high])| (low..=high).contains(&promise))
    }

    fn verdict(&self) -> &'static str {
        match (self.held(), self.unsure()) {
            (None, _) => "not promised",
            (Some(true), false) => "held",
            (Some(true), true) => "held, but within the noise of the rounds",
            (Some(false), true) => "NOT held, but within the noise of the rounds",
            (Some(false), false) => "NOT held",
        }
    }
}

/// The bootstrap interval of a ratio of medians: rounds are drawn with replacement, both arms' together, since what
/// disturbs a round disturbs both.
fn interval(a: &Arm, b: &Arm, q: f64) -> Option<[f64; 2]> {
    let values = |arm: &Arm| arm.rounds.iter().map(|round| round.value_at_quantile(q)).collect::<Vec<_>>();
    let (a, b) = (values(a), values(b));
    if a.len() != b.len() || a.len() < 3 {
        return None;
    }
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) as usize) % below
    };
    let mut ratios: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let drawn: Vec<usize> = a.iter().map(|_| random(a.len())).collect();
            let median = |values: &[u64]| {
                let mut chosen: Vec<u64> = drawn.iter().map(|index| values[*index]).collect();
                chosen.sort_unstable();
                chosen[chosen.len() / 2] as f64
            };
            median(&a) / median(&b).max(1.0)
        })
        .collect();
    ratios.sort_unstable_by(f64::total_cmp);
    Some([ratios[RESAMPLES / 40], ratios[RESAMPLES - 1 - RESAMPLES / 40]])
}

/// What one run found.
pub(crate) struct Report {
    pub(crate) name: &'static str,
    /// How it was measured: placement, waiting, data.
    pub(crate) notes: Vec<String>,
    pub(crate) arms: Vec<Arm>,
    pub(crate) ratios: Vec<Ratio>,
}

impl Report {
    pub(crate) fn json(&self) -> Value {
        let arms: serde_json::Map<_, _> =
            self.arms.iter().map(|arm| (arm.name.to_owned(), arm.figures())).collect();
        let ratios: Vec<_> = self
            .ratios
            .iter()
            .map(|ratio| {
                json!({"what": ratio.what, "value": ratio.value, "promise": ratio.promise,
                       "kind": if ratio.at_most { "at most" } else { "at least" }, "held": ratio.held(),
                       "interval": ratio.interval, "verdict": ratio.verdict()})
            })
            .collect();
        json!({"bench": self.name, "machine": machine(), "notes": self.notes, "arms": arms, "ratios": ratios})
    }

    pub(crate) fn print(&self) {
        println!("{} on {}", self.name, machine());
        self.notes.iter().for_each(|note| println!("  {note}"));
        println!("{:<34} {:>14} {:>14} {:>14} {:>14}", "ARM", "P50", "P99", "P99.9", "MAX");
        for arm in &self.arms {
            let shown = [0.5, 0.99, 0.999].map(|q| format!("{} {}", arm.quantile(q), arm.unit));
            let ([p50, p99, p999], max) = (shown, format!("{} {}", arm.all().max(), arm.unit));
            println!("{:<34} {p50:>14} {p99:>14} {p999:>14} {max:>14}", arm.name);
        }
        for ratio in &self.ratios {
            let bound = if ratio.at_most { "at most" } else { "at least" };
            let interval =
                ratio.interval.map_or(String::new(), |[low, high]| format!(" [{low:.3} to {high:.3}]"));
            let (what, value, verdict) = (ratio.what, ratio.value, ratio.verdict());
            let promise =
                ratio.promise.map_or(String::new(), |promise| format!(" (promised: {bound} {promise})"));
            println!("{what}: {value:.3}{interval}{promise}, {verdict}");
        }
    }
}

/// The processor and how many of it there are.
pub(crate) fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let virtual_machine = if info.contains("hypervisor") { ", virtual" } else { "" };
    format!("{} × {cpus}{virtual_machine}", model.map_or("unknown CPU", |(_, name)| name.trim()))
}

/// A recorded file, unpacked if its name ends in `.gz`; `None` if it is not there.
pub(crate) fn recorded(name: &str) -> anyhow::Result<Option<Vec<u8>>> {
    use std::io::Read;
    let mut above = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let path = above.by_ref().map(|folder| folder.join("shared/data").join(name)).find(|path| path.is_file());
    let Some(path) = path else { return Ok(None) };
    let mut bytes = std::fs::read(&path)?;
    if name.ends_with(".gz") {
        let packed = std::mem::take(&mut bytes);
        flate2::read::MultiGzDecoder::new(&packed[..]).read_to_end(&mut bytes)?;
    }
    Ok(Some(bytes))
}

/// The lines of the recorded Binance file, without their stamps; `None` if there is no recorded data.
pub(crate) fn recorded_frames() -> anyhow::Result<Option<Vec<Vec<u8>>>> {
    let Some(text) = recorded("binance_spot/btcusdt_20240808.gz")? else {
        return Ok(None);
    };
    let frame = |line: &[u8]| {
        let blank = line.iter().position(|byte| *byte == b' ').map_or(0, |at| at + 1);
        line[blank..].to_vec()
    };
    Ok(Some(text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(frame).collect()))
}
