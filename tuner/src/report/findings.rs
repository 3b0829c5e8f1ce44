//! How settings stand, as a table: by area, many equal ones in one line.

use super::heading;
use super::screen::{BOLD, DIM, GREEN, PLAIN, RED, Screen, YELLOW, cut, harmless, wrap};
use crate::cli::Seen;
use anstyle::Style;
use std::collections::BTreeMap;
use tuner::audit::{Finding, Status};

/// From how many on equal findings are one line.
const MANY: usize = 3;
/// A column is not made narrower than this.
const NARROWEST: usize = 8;

/// A line of the table.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    status: Status,
    knob: &'static str,
    subject: String,
    now: String,
    wanted: String,
    note: String,
}

/// The table, and what to do next. `all`: what is left alone, too, and each of many equal ones.
pub(crate) fn findings(screen: &mut Screen, seen: &Seen, all: bool) {
    heading(screen, seen);
    let is_aside = |finding: &&Finding| {
        let is_elsewhere = matches!(finding.status, Status::Left | Status::NotSupported);
        // What is said of commands is the same on every host.
        !all && (is_elsewhere || finding.knob.starts_with("seed."))
    };
    let shown: Vec<&Finding> = seen.findings.iter().filter(|finding| !is_aside(finding)).collect();
    table(screen, &rows(&shown, all));
    if !all {
        absent(screen, &seen.findings);
    }
    summary(screen, seen, all);
}

/// What each finding says, equal ones in one line unless each is wanted.
pub(super) fn rows(findings: &[&Finding], each: bool) -> Vec<Row> {
    let mut groups: Vec<Vec<&Finding>> = Vec::new();
    let alike = |one: &Finding, other: &Finding| {
        (one.knob, one.status, &one.wanted, &one.note)
            == (other.knob, other.status, &other.wanted, &other.note)
    };
    for finding in findings {
        // The same knob's follow each other.
        let of_knob = groups.iter_mut().rev().take_while(|group| group[0].knob == finding.knob);
        match of_knob.into_iter().find(|group| !each && alike(group[0], finding)) {
            Some(group) => group.push(finding),
            None => groups.push(vec![finding]),
        }
    }
    groups
        .iter()
        .flat_map(|group| if group.len() < MANY { single(group) } else { vec![folded(group)] })
        .collect()
}

fn single(group: &[&Finding]) -> Vec<Row> {
    group.iter().map(|finding| row(finding, finding.subject.clone(), now(finding))).collect()
}

fn folded(group: &[&Finding]) -> Row {
    let subjects: Vec<_> = group.iter().map(|finding| finding.subject.as_str()).collect();
    let mut states: Vec<String> = Vec::new();
    for finding in group {
        let now = now(finding);
        if !states.contains(&now) {
            states.push(now);
        }
    }
    row(group[0], format!("×{} {}", group.len(), subjects.join(", ")), states.join(" | "))
}

fn row(finding: &Finding, subject: String, now: String) -> Row {
    Row {
        status: finding.status,
        knob: finding.knob,
        subject: harmless(&subject),
        now,
        wanted: harmless(finding.wanted.as_deref().unwrap_or("-")),
        note: finding.note.clone().unwrap_or_default(),
    }
}

/// What a setting is: its effect, where that shows elsewhere.
fn now(finding: &Finding) -> String {
    let current = finding.current.as_deref().map(short);
    match finding.effective.as_deref().map(short) {
        Some(effective) if Some(&effective) != current.as_ref() => match current {
            Some(current) => format!("{effective} (asked: {current})"),
            None => effective,
        },
        _ => current.unwrap_or_else(|| "-".into()),
    }
}

/// A state in one line.
pub(super) fn short(state: &str) -> String {
    match state.trim_end().lines().count() {
        0 => "(empty)".into(),
        1 => harmless(state.trim_end()),
        lines => format!("{lines} lines"),
    }
}

/// How a status is coloured.
pub(super) fn style(status: Status) -> Style {
    match status {
        Status::Ok => GREEN,
        Status::Drift | Status::Conflict => RED,
        Status::PendingReboot | Status::Unknown | Status::NotSettable | Status::Obsolete => YELLOW,
        Status::NotSupported | Status::Left => DIM,
    }
}

/// What an area of knobs is about, by how their names begin.
pub(super) fn area(knob: &str) -> &str {
    match knob.split('.').next().unwrap_or(knob) {
        "kern" => "kernel",
        "boot" => "boot",
        "cg" => "partitions of CPUs",
        "cpu" => "CPUs and their power",
        "sec" => "security against speed",
        "log" => "logging",
        "hw" => "hardware",
        "irq" => "interrupts",
        "sched" => "scheduler",
        "sys" | "svc" => "services",
        "cache" => "caches",
        "lim" => "limits",
        "mem" => "memory",
        "numa" => "NUMA",
        "blk" | "nvme" | "pmem" => "disks",
        "net" | "tcp" => "network",
        "time" => "time",
        "pci" => "PCI",
        "gpu" => "graphics cards",
        other => other,
    }
}

/// Prints rows below their headings.
pub(super) fn table(screen: &mut Screen, rows: &[Row]) {
    if rows.is_empty() {
        return;
    }
    let [status, knob, subject, now, wanted] = widths(rows, screen.width());
    let cells = |texts: [&str; 5]| {
        let of = |text: &str, width: usize| format!("{:width$}", cut(text, width));
        let gap = if subject > 0 { "  " } else { "" };
        let [a, b, c, d, e] = texts;
        let rest = format!("  {}{gap}{}  {}  {}", of(b, knob), of(c, subject), of(d, now), of(e, wanted));
        (format!("  {}", of(a, status)), rest)
    };
    let (head, rest) = cells(["STATUS", "KNOB", "SUBJECT", "NOW", "WANTED"]);
    screen.line(&[(DIM, &head), (DIM, &rest)]);
    let mut last = "";
    for row in rows {
        let its = area(row.knob);
        if its != last {
            screen.line(&[(BOLD, its)]);
            last = its;
        }
        let (head, rest) = cells([row.status.name(), row.knob, &row.subject, &row.now, &row.wanted]);
        let used = head.chars().count() + rest.chars().count() + 2;
        if !row.note.is_empty() && used + row.note.chars().count() <= screen.width() {
            screen.line(&[(style(row.status), &head), (PLAIN, &rest), (DIM, &format!("  {}", row.note))]);
            continue;
        }
        screen.line(&[(style(row.status), &head), (PLAIN, &rest)]);
        if !row.note.is_empty() {
            screen.styled(status + 4, DIM, &row.note);
        }
    }
    screen.blank();
}

/// How wide each column is: as its widest cell, or what the screen has for it.
fn widths(rows: &[Row], width: usize) -> [usize; 5] {
    let widest = |heading: &str, cell: fn(&Row) -> &str| {
        let cells = rows.iter().map(|row| cell(row).chars().count()).max().unwrap_or(0);
        if cells == 0 { 0 } else { cells.max(heading.len()) }
    };
    let mut widths = [
        widest("STATUS", |row| row.status.name()),
        widest("KNOB", |row| row.knob),
        widest("SUBJECT", |row| &row.subject),
        widest("NOW", |row| &row.now),
        widest("WANTED", |row| &row.wanted),
    ];
    let gaps = if widths[2] > 0 { 10 } else { 8 };
    while widths.iter().sum::<usize>() + gaps > width {
        let [.., subject, now, wanted] = &mut widths;
        let Some(largest) = [subject, now, wanted].into_iter().max() else { break };
        if *largest <= NARROWEST {
            break;
        }
        *largest -= 1;
    }
    widths
}

/// What this host does not have, in few lines: by why.
fn absent(screen: &mut Screen, findings: &[Finding]) {
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for finding in findings.iter().filter(|finding| finding.status == Status::NotSupported) {
        let knobs = by_reason.entry(finding.note.as_deref().unwrap_or("no reason is known")).or_default();
        if !knobs.contains(&finding.knob) {
            knobs.push(finding.knob);
        }
    }
    if by_reason.is_empty() {
        return;
    }
    screen.line(&[(BOLD, "not supported here")]);
    for (why, knobs) in by_reason {
        let text = format!("{}: {why}", knobs.join(", "));
        for (place, line) in
            wrap(&harmless(&text), screen.width().min(100).saturating_sub(4)).iter().enumerate()
        {
            screen.styled(if place == 0 { 2 } else { 4 }, DIM, line);
        }
    }
    screen.blank();
}

/// How many findings there are of each status, in the order of tables.
pub(crate) fn counts(findings: &[Finding]) -> Vec<(Status, usize)> {
    let count = |status| findings.iter().filter(|finding| finding.status == status).count();
    Status::ALL.map(|status| (status, count(status))).into_iter().filter(|(_, count)| *count > 0).collect()
}

fn summary(screen: &mut Screen, seen: &Seen, all: bool) {
    let counts = counts(&seen.findings);
    let told: Vec<_> = counts.iter().map(|(status, count)| format!("{count} {status}")).collect();
    let has = |status| counts.iter().any(|(its, _)| *its == status);
    let settings = if seen.findings.len() == 1 { "setting" } else { "settings" };
    screen.text(0, &format!("{} {settings}: {}.", seen.findings.len(), told.join(", ")));
    let mut next = Vec::new();
    if has(Status::Drift) {
        next.push("`tuner plan` shows what would be changed, `tuner explain ID` why.");
    }
    if has(Status::Conflict) {
        next.push("Stop the other service, or leave its knobs to it with --skip ID.");
    }
    if has(Status::PendingReboot) {
        next.push("Reboot to complete what is pending.");
    }
    if has(Status::Unknown) && !seen.facts.is_root {
        next.push("Run it as root to see what is unknown.");
    }
    if has(Status::Left) && !all {
        next.push("`--all` shows what is left alone, and what widely copied commands are worth.");
    }
    if !has(Status::Drift) && !has(Status::Conflict) && !has(Status::PendingReboot) && !has(Status::Unknown) {
        next.insert(0, "Nothing has to be done.");
    }
    screen.text(0, &next.join(" "));
}

#[cfg(test)]
pub(super) mod tests;
