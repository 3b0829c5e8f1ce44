//! The figures that `demo`, `replay`, the page and `/metrics` show, read from the status segment as any client
//! would.

use serde_json::{Map, Value, json};
use shm::frame::Backend;
use shm::status::{Counter, Stage, StatusReader};
use std::fmt::Write;

/// The quantiles that reports carry.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];

/// All figures as one JSON object: each counter by its name, each latency as `<name>_us`, `threads`,
/// `backend` and `degraded`.
pub fn figures(status: &StatusReader) -> Map<String, Value> {
    let mut figures = Map::new();
    for counter in Counter::ALL {
        figures.insert(counter.name().into(), status.counter(*counter).into());
    }
    for stage in Stage::ALL {
        let Some(histogram) = status.histogram(*stage) else {
            continue;
        };
        let mut latency = Map::new();
        latency.insert("count".into(), histogram.count().into());
        for (name, q) in QUANTILES {
            latency.insert(name.into(), micros(histogram.quantile_ns(q)));
        }
        latency.insert("max".into(), micros(histogram.max_ns()));
        figures.insert(format!("{}_us", stage.name()), latency.into());
    }
    let threads = match status.liveness().threads {
        1 => "fused",
        2 => "split",
        _ => "none",
    };
    figures.insert("threads".into(), threads.into());
    figures.insert("generation".into(), status.liveness().generation.into());
    figures.insert("backend".into(), backend(status).into());
    figures.insert("degraded".into(), status.degraded().into());
    figures
}

/// What draws the charts. All are drawn alike.
fn backend(status: &StatusReader) -> &'static str {
    let charts = status.charts();
    let drawn = charts.first().and_then(|(_, state)| Backend::from_raw(state.backend));
    drawn.map_or("none", Backend::name)
}

/// Microseconds with three decimals, which is all that the nanosecond clock gives.
fn micros(value_ns: u64) -> Value {
    json!(value_ns as f64 / 1e3)
}

/// The figures in the text format of Prometheus.
pub fn prometheus(status: &StatusReader) -> String {
    let mut text = String::new();
    for counter in Counter::ALL {
        let name = counter.name();
        let (kind, suffix) = if counter.is_gauge() { ("gauge", "") } else { ("counter", "_total") };
        let _ = writeln!(text, "# TYPE chartd_{name}{suffix} {kind}");
        let _ = writeln!(text, "chartd_{name}{suffix} {}", status.counter(*counter));
    }
    for stage in Stage::ALL {
        let Some(histogram) = status.histogram(*stage) else {
            continue;
        };
        let name = format!("chartd_{}_seconds", stage.name());
        let _ = writeln!(text, "# TYPE {name} summary");
        for (_, q) in QUANTILES {
            let value = histogram.quantile_ns(q) as f64 / 1e9;
            let _ = writeln!(text, "{name}{{quantile=\"{q}\"}} {value}");
        }
        let _ = writeln!(text, "{name}_count {}", histogram.count());
    }
    let _ = writeln!(text, "# TYPE chartd_degraded gauge\nchartd_degraded {}", status.degraded().len());
    for (chart, state) in status.charts() {
        let _ = writeln!(text, "chartd_chart_frames_total{{chart=\"{}\"}} {}", chart.name, state.frames);
    }
    let now_ns = crate::now_ns();
    for (entry, state) in status.loops() {
        let age = state.age_ns(now_ns) as f64 / 1e9;
        let _ = writeln!(text, "chartd_loop_age_seconds{{loop=\"{}\"}} {age}", entry.name);
    }
    text
}

/// One line for people who watch.
pub fn line(status: &StatusReader) -> String {
    let latency = status.histogram(Stage::TickToFrame);
    let micros = |q| latency.as_ref().map_or(0.0, |h| h.quantile_ns(q) as f64 / 1e3);
    format!(
        "{} trades, {} frames; tick to frame p50 {:.0} us, p99 {:.0} us",
        status.counter(Counter::Trades),
        status.counter(Counter::FramesPublished),
        micros(0.5),
        micros(0.99)
    )
}
