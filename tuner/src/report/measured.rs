//! What was measured: a line for each state, the differences with what can be said of them, and what each setting is
//! worth.

use super::Screen;
use super::screen::{BOLD, DIM, GREEN, PLAIN, RED};
use serde_json::{Value, json};
use tuner::measure::ablate::{Ablated, Worth};
use tuner::measure::compare::{Comparison, Metric, Verdict};
use tuner::measure::rounds::{Differences, Measured};
use tuner::measure::tracers::{Tracer, Worst};
use tuner::measure::{Sample, Setup};
use tuner::plan::SCHEMA_VERSION;

/// What was measured, and how.
pub(crate) struct Report {
    pub(crate) setup: Setup,
    /// What runs the host, if it is a guest.
    pub(crate) guest_of: Option<String>,
    /// States of the host, by their names.
    pub(crate) states: Vec<(&'static str, Measured)>,
    /// What the kernel's own tracers say, or why they say nothing.
    pub(crate) tracers: Vec<(Tracer, Result<Worst, String>)>,
    pub(crate) differences: Option<Differences>,
    pub(crate) ablated: Vec<Ablated>,
}

/// For people.
pub(crate) fn show(screen: &mut Screen, report: &Report) {
    let Setup { cpus, duration, interval, fifo } = &report.setup;
    let cpus: topology::CpuList = cpus.iter().copied().collect();
    let priority = if *fifo > 0 { format!("SCHED_FIFO {fifo}") } else { "no real-time priority".into() };
    screen.text(0, &format!("CPUs {cpus}, {duration:?} each time, a wake-up each {interval:?}, {priority}"));
    if let Some(what) = &report.guest_of {
        screen
            .text(0, &format!("This is a guest of {what}: it is the guest that is measured, not a machine."));
    }
    screen.blank();
    table(screen, "how late a thread wakes, us", report, |state| &state.wakeup, &Metric::WAKEUP);
    table(screen, "gaps of a thread that never sleeps, us", report, |state| &state.gaps, &Metric::GAPS);
    for (tracer, outcome) in &report.tracers {
        screen.text(0, &traced(*tracer, outcome));
    }
    let refused = report.states.iter().flat_map(|(_, state)| [&state.wakeup, &state.gaps]);
    let mut refused: Vec<_> = refused.flat_map(|sample| &sample.refused).collect();
    refused.dedup();
    refused.iter().for_each(|line| screen.text(0, &format!("Refused: {line}")));
    if let Some(found) = &report.differences {
        screen.blank();
        compared(screen, "with / without: how late a thread wakes", &found.wakeup);
        compared(screen, "with / without: gaps", &found.gaps);
    }
    for found in &report.ablated {
        let style = match found.worth {
            Worth::Earned => GREEN,
            Worth::Harmful => RED,
            Worth::NotSeen | Worth::Mixed => PLAIN,
        };
        screen.line(&[(BOLD, &format!("{:24}", found.knob)), (style, &found.worth.to_string())]);
    }
}

fn table(
    screen: &mut Screen,
    title: &str,
    report: &Report,
    of: impl Fn(&Measured) -> &Sample,
    metrics: &[Metric],
) {
    let head: String = metrics.iter().map(|metric| format!("{:>12}", metric.name())).collect();
    screen.line(&[(BOLD, title)]);
    screen.line(&[(DIM, &format!("  {:12}{:>12}{head}", "", "count"))]);
    for (name, state) in &report.states {
        let sample = of(state);
        let values: String = metrics.iter().map(|metric| value(*metric, metric.of(sample))).collect();
        screen.line(&[(PLAIN, &format!("  {name:12}{:>12}{values}", sample.times_ns.len()))]);
    }
    screen.blank();
}

fn value(metric: Metric, value: f64) -> String {
    match metric {
        Metric::Stolen => format!("{:>12}", format!("{value:.0} ppm")),
        _ => format!("{:>12.1}", value / 1000.0),
    }
}

fn compared(screen: &mut Screen, title: &str, found: &[Comparison]) {
    screen.line(&[(BOLD, title), (DIM, "  ratio, 95 % interval")]);
    for Comparison { metric, ratio: [mean, low, high], verdict, .. } in found {
        let style = match verdict {
            Verdict::Better => GREEN,
            Verdict::Worse => RED,
            Verdict::NoSignificantChange => DIM,
        };
        let line = format!("  {:10}{mean:>8.2}  [{low:.2} to {high:.2}]", metric.name());
        screen.line(&[(PLAIN, &format!("{line:42}")), (style, &verdict.to_string())]);
    }
    screen.blank();
}

fn traced(tracer: Tracer, outcome: &Result<Worst, String>) -> String {
    let us = |ns: u64| ns as f64 / 1000.0;
    match (tracer, outcome) {
        (Tracer::Timerlat, Ok(worst)) => format!(
            "timerlat: latest interrupt {:.1} us, latest thread {:.1} us, of {} samples",
            us(worst.irq_ns),
            us(worst.thread_ns),
            worst.samples
        ),
        (Tracer::Osnoise, Ok(worst)) => format!(
            "osnoise: most noise in a period {:.1} us, longest at once {:.1} us, {} times by hardware",
            us(worst.noise_ns),
            us(worst.single_ns),
            worst.hardware
        ),
        (Tracer::Timerlat, Err(why)) => format!("timerlat: {why}"),
        (Tracer::Osnoise, Err(why)) => format!("osnoise: {why}"),
    }
}

/// For programs. Times in ns.
pub(crate) fn json(report: &Report) -> Value {
    let sample = |sample: &Sample, metrics: &[Metric]| {
        let metrics: serde_json::Map<_, _> =
            metrics.iter().map(|metric| (metric.name().into(), json!(metric.of(sample)))).collect();
        json!({ "count": sample.times_ns.len(), "metrics": metrics, "refused": sample.refused })
    };
    let state = |(name, state): &(&'static str, Measured)| {
        json!({
            "name": name,
            "wakeup": sample(&state.wakeup, &Metric::WAKEUP),
            "gaps": sample(&state.gaps, &Metric::GAPS),
        })
    };
    let traced = |(tracer, outcome): &(Tracer, Result<Worst, String>)| match outcome {
        Ok(worst) => json!({ "tracer": tracer, "worst": worst }),
        Err(why) => json!({ "tracer": tracer, "unavailable": why }),
    };
    json!({
        "schema_version": SCHEMA_VERSION,
        "tuner": env!("CARGO_PKG_VERSION"),
        "verb": "measure",
        "cpus": report.setup.cpus,
        "duration_s": report.setup.duration.as_secs_f64(),
        "interval_s": report.setup.interval.as_secs_f64(),
        "fifo": report.setup.fifo,
        "guest_of": report.guest_of,
        "states": report.states.iter().map(state).collect::<Vec<_>>(),
        "tracers": report.tracers.iter().map(traced).collect::<Vec<_>>(),
        "differences": report.differences,
        "ablated": report.ablated,
    })
}
