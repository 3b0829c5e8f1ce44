//! The distributions of a run as an SVG, and as an HTML page with it and its figures: a line for each arm, percentiles
//! across, values up, both so that the tail is seen. SVG written by hand: it is a few lines, and needs neither a
//! plotting crate nor a font.

use crate::harness::{Arm, Report, machine};
use anyhow::Context;
use std::fmt::Write;
use std::path::{Path, PathBuf};

const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 560.0;
/// Left, right, top, bottom of the plot.
const PLOT: [f64; 4] = [90.0, 980.0, 20.0, 500.0];
/// Percentiles that have a line of their own.
const MARKS: [(f64, &str); 6] =
    [(0.0, "0"), (0.5, "50"), (0.9, "90"), (0.99, "99"), (0.999, "99.9"), (0.9999, "99.99")];
/// Distinct on white, also for most of those who see few colours (Okabe and Ito).
const COLORS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999"];

/// Height of a line of the legend in the SVG.
const LINE: f64 = 22.0;

/// Writes the pictures of `report` into `folder`, and returns the page.
pub(crate) fn write(report: &Report, folder: &Path) -> anyhow::Result<PathBuf> {
    let file = |ending| folder.join(format!("{}.{ending}", report.name));
    let arms: Vec<_> = report.arms.iter().filter(|arm| arm.all().len() > 1).collect();
    let curves = curves(&arms);
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(file("svg"), picture(report, &arms, &curves)))
        .and_then(|()| std::fs::write(file("html"), page(report, &arms, &curves)))
        .with_context(|| format!("cannot write to {}", folder.display()))?;
    Ok(file("html"))
}

/// The grid and a line for each arm.
fn curves(arms: &[&Arm]) -> String {
    let low = arms.iter().map(|arm| arm.all().min()).min().unwrap_or(1).max(1) as f64;
    let high = arms.iter().map(|arm| arm.all().max()).max().unwrap_or(10) as f64;
    let decades = (low.log10().floor(), high.log10().ceil().max(low.log10().floor() + 1.0));
    let mut svg = grid(decades, arms.first().map_or("", |arm| arm.unit()));
    for (place, arm) in arms.iter().enumerate() {
        let _ = write!(svg, "<polyline points='{}' {}/>", points(arm, decades), style(place));
    }
    svg
}

/// A picture by itself: the legend stands below the curves.
fn picture(report: &Report, arms: &[&Arm], curves: &str) -> String {
    let mut legend = String::new();
    for (place, arm) in arms.iter().enumerate() {
        let (all, y) = (arm.all(), HEIGHT + LINE * place as f64);
        let [p50, p99] = [0.5, 0.99].map(|q| value(all.value_at_quantile(q) as f64, arm.unit()));
        let _ = write!(
            legend,
            "<line x1='90' y1='{y}' x2='130' y2='{y}' {}/><text x='142' y='{}'>{}: p50 {p50}, p99 {p99}, max {}</text>",
            style(place),
            y + 5.0,
            escaped(arm.name),
            value(all.max() as f64, arm.unit())
        );
    }
    let height = HEIGHT + LINE * arms.len() as f64 + LINE;
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' font-family='sans-serif' font-size='14'>\
         <rect width='{WIDTH}' height='{height}' fill='#fff'/>{curves}{legend}\
         <text x='90' y='{}' fill='#555'>{} on {}</text></svg>\n",
        height - 5.0,
        escaped(report.name),
        escaped(&machine())
    )
}

fn page(report: &Report, arms: &[&Arm], curves: &str) -> String {
    let mut legend = String::new();
    for (place, arm) in arms.iter().enumerate() {
        let all = arm.all();
        let row = [0.5, 0.99, 0.999].map(|q| value(all.value_at_quantile(q) as f64, arm.unit()));
        let _ = write!(
            legend,
            "<tr><td><svg width=40 height=12><line x1=0 y1=6 x2=40 y2=6 {}/></svg><td>{}<td>{}<td>{}<td>{}<td>{}<td>{}",
            style(place),
            escaped(arm.name),
            row[0],
            row[1],
            row[2],
            value(all.max() as f64, arm.unit()),
            all.len()
        );
    }
    let notes: String = report.notes.iter().map(|note| format!("<li>{}", escaped(note))).collect();
    let (name, machine) = (escaped(report.name), escaped(&machine()));
    format!(
        "<!doctype html><meta charset=utf-8><title>{name}</title>\
         <style>body{{font:15px sans-serif;margin:24px;max-width:1000px;color:#222}}\
         td,th{{padding:2px 14px 2px 0;text-align:right;white-space:nowrap}}\
         td:nth-child(-n+2),th:nth-child(-n+2){{text-align:left}}ul{{color:#555}}</style>\
         <h1>{name}</h1><p>{machine}</p>\
         <svg viewBox='0 0 {WIDTH} {HEIGHT}' font-family=sans-serif font-size=14>{curves}</svg>\
         <table><tr><th><th>arm<th>p50<th>p99<th>p99.9<th>max<th>values{legend}</table><ul>{notes}</ul>\n"
    )
}

/// The frame, its lines and what stands at them.
fn grid(decades: (f64, f64), unit: &str) -> String {
    let [left, right, top, bottom] = PLOT;
    let mut svg = String::new();
    for (q, name) in MARKS {
        let x = across(q);
        let _ = write!(
            svg,
            "<line x1='{x:.1}' y1='{top}' x2='{x:.1}' y2='{bottom}' stroke='#ddd' /><text x='{x:.1}' y='{}' text-anchor='middle'>{name}</text>",
            bottom + 20.0
        );
    }
    let mut decade = decades.0;
    while decade <= decades.1 {
        let y = up(10f64.powf(decade), decades);
        let _ = write!(
            svg,
            "<line x1='{left}' y1='{y:.1}' x2='{right}' y2='{y:.1}' stroke='#ddd' /><text x='{}' y='{:.1}' text-anchor='end'>{}</text>",
            left - 8.0,
            y + 5.0,
            value(10f64.powf(decade), unit)
        );
        decade += 1.0;
    }
    let _ = write!(
        svg,
        "<text x='{}' y='{}' text-anchor='middle' fill='#555'>percentile of all values, the tail stretched</text>",
        (left + right) / 2.0,
        bottom + 46.0
    );
    svg
}

/// The curve of an arm.
fn points(arm: &Arm, decades: (f64, f64)) -> String {
    let all = arm.all();
    // No further into the tail than there are values to tell of it.
    let last = 1.0 - 1.0 / all.len() as f64;
    let steps = (0..=400).map(|step| 1.0 - 10f64.powf(-4.0 * f64::from(step) / 400.0));
    steps
        .filter(|q| *q <= last)
        .map(|q| format!("{:.1},{:.1} ", across(q), up(all.value_at_quantile(q) as f64, decades)))
        .collect()
}

/// Where a quantile stands: each further nine takes as much room as the last.
fn across(q: f64) -> f64 {
    let [left, right, ..] = PLOT;
    left + (right - left) * (-(1.0 - q).log10() / 4.0).min(1.0)
}

fn up(value: f64, (low, high): (f64, f64)) -> f64 {
    let [.., top, bottom] = PLOT;
    bottom - (bottom - top) * (value.max(1.0).log10() - low) / (high - low)
}

fn style(place: usize) -> String {
    // With more arms than colours, dashes tell them apart.
    let dash = if place < COLORS.len() { "" } else { " stroke-dasharray='6 4'" };
    format!("fill='none' stroke-width='2.5' stroke='{}'{dash}", COLORS[place % COLORS.len()])
}

/// A value with a unit that people read.
fn value(value: f64, unit: &str) -> String {
    let (divisor, unit) = match unit {
        "ns" if value >= 1e9 => (1e9, "s"),
        "ns" if value >= 1e6 => (1e6, "ms"),
        "ns" if value >= 1e3 => (1e3, "µs"),
        other => (1.0, other),
    };
    let scaled = value / divisor;
    let digits = if scaled < 10.0 && divisor > 1.0 && scaled.fract() != 0.0 { 1 } else { 0 };
    format!("{scaled:.digits$} {unit}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
