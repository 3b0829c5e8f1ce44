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

/// A ratio that SPECIFICATION.md promises.
pub(crate) struct Ratio {
    pub(crate) what: &'static str,
    pub(crate) value: f64,
    /// The promise, and whether a smaller value is better.
    pub(crate) promise: f64,
    pub(crate) at_most: bool,
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
                       "kind": if ratio.at_most { "at most" } else { "at least" }, "held": ratio.held()})
            })
            .collect();
        json!({"bench": self.name, "machine": machine(), "notes": self.notes, "arms": arms, "ratios": ratios})
    }

    pub(crate) fn print(&self) {
        println!("{} on {}", self.name, machine());
        self.notes.iter().for_each(|note| println!("  {note}"));
        println!("{:<28} {:>12} {:>12} {:>12}", "ARM", "P50", "P99", "P99.9");
        for arm in &self.arms {
            let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|q| format!("{} {}", arm.quantile(q), arm.unit));
            println!("{:<28} {p50:>12} {p99:>12} {p999:>12}", arm.name);
        }
        for ratio in &self.ratios {
            let (bound, verdict) = (
                if ratio.at_most { "at most" } else { "at least" },
                if ratio.held() { "held" } else { "NOT held" },
            );
            println!("{}: {:.3} (promised: {bound} {}), {verdict}", ratio.what, ratio.value, ratio.promise);
        }
    }
}

impl Ratio {
    fn held(&self) -> bool {
        if self.at_most { self.value <= self.promise } else { self.value >= self.promise }
    }
}

/// The processor and how many of it there are.
fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let virtual_machine = if info.contains("hypervisor") { ", virtual" } else { "" };
    format!("{} × {cpus}{virtual_machine}", model.map_or("unknown CPU", |(_, name)| name.trim()))
}

/// The lines of the recorded Binance file, without their stamps; `None` if there is no recorded data.
pub(crate) fn recorded_frames() -> anyhow::Result<Option<Vec<Vec<u8>>>> {
    use std::io::Read;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/binance_spot/btcusdt_20240808.gz");
    let Ok(file) = std::fs::File::open(path) else {
        return Ok(None);
    };
    let mut text = Vec::new();
    flate2::read::MultiGzDecoder::new(file).read_to_end(&mut text)?;
    let frame = |line: &[u8]| {
        let blank = line.iter().position(|byte| *byte == b' ').map_or(0, |at| at + 1);
        line[blank..].to_vec()
    };
    Ok(Some(text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(frame).collect()))
}
