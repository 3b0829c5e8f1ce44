//! Draws a view. Every column has a fixed width, so that nothing jumps; what matters most stands first.

use super::model::{Latency, View};
use crate::journal as of;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

/// How the screen looks: without colours where `NO_COLOR` is set.
#[derive(Clone, Copy)]
pub(crate) struct Look {
    pub(crate) colors: bool,
}

impl Look {
    fn faint(self) -> Style {
        if self.colors { Style::new().fg(Color::DarkGray) } else { Style::new() }
    }

    fn heading(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    fn alarm(self) -> Style {
        let style = Style::new().add_modifier(Modifier::BOLD);
        if self.colors { style.fg(Color::Red) } else { style.add_modifier(Modifier::REVERSED) }
    }

    fn warning(self) -> Style {
        if self.colors { Style::new().fg(Color::Yellow) } else { Style::new() }
    }
}

/// The lines of a screen, so many columns wide and so many rows high. `skip` charts are scrolled away; `lost` says
/// that the daemon is gone since.
pub(crate) fn lines(
    view: &View,
    look: Look,
    (width, height): (u16, u16),
    skip: usize,
    lost: bool,
) -> Vec<Line<'static>> {
    let mut lines = vec![title(view, look, lost), Line::default()];
    lines.extend(latencies(view, look, width));
    lines.push(Line::default());
    // The charts get what the parts below leave.
    let below =
        [loops(view, look), journal(view, look), harms(view, look), degraded(view, look, width)].concat();
    let room = usize::from(height).saturating_sub(lines.len() + below.len() + 5).max(2);
    lines.extend(charts(view, look, skip, room));
    lines.push(Line::default());
    lines.extend(below);
    lines.truncate(usize::from(height).saturating_sub(1));
    lines.resize(usize::from(height).saturating_sub(1), Line::default());
    let keys = "q quit   r reset   up and down scroll the charts";
    lines.push(Line::styled(keys, look.faint()));
    lines
}

fn title(view: &View, look: Look, lost: bool) -> Line<'static> {
    let up = match view.up_s {
        seconds @ ..3_600 => format!("{}:{:02}", seconds / 60, seconds % 60),
        seconds => format!("{} h {:02} min", seconds / 3_600, seconds / 60 % 60),
    };
    let mut spans = vec![Span::styled("chartd", look.heading())];
    if lost {
        spans.push(Span::styled("  has stopped; looking for it", look.alarm()));
        return Line::from(spans);
    }
    spans.push(Span::raw(format!(
        "  pid {}  up {up}  configuration {}  {}  {} clients  {} leases",
        view.pid, view.generation, view.threads, view.clients, view.leases
    )));
    Line::from(spans)
}

/// The latencies of the interval, and on a wide screen those since the start.
fn latencies(view: &View, look: Look, width: u16) -> Vec<Line<'static>> {
    let is_wide = width >= 110;
    let heads = |of: &str| format!("  {of:>8}{:>9}{:>9}{:>9}", "p99", "p99.9", "max");
    let mut heading = format!("{:<22}{:>8}{}", "LATENCY in us", "number", heads("p50"));
    if is_wide {
        heading += &format!("   |{}", heads("all p50"));
    }
    let row = |stage: &Latency| {
        let figures = |values: &[f64; 4]| {
            let [p50, p99, p999, max] = values.map(micros);
            format!("  {p50:>8}{p99:>9}{p999:>9}{max:>9}")
        };
        let mut text = format!("{:<22}{:>8}", stage.name.replace('_', " "), stage.count);
        text += &if stage.count > 0 { figures(&stage.interval_us) } else { format!("{:>37}", "-") };
        if is_wide {
            text += &format!("   |{}", figures(&stage.all_us));
        }
        let style = if stage.name == "tick_to_frame" { look.heading() } else { Style::new() };
        Line::styled(text, style)
    };
    [Line::styled(heading, look.faint())].into_iter().chain(view.stages.iter().map(row)).collect()
}

fn charts(view: &View, look: Look, skip: usize, room: usize) -> Vec<Line<'static>> {
    let rates = view.rates.iter().map(|(name, rate)| format!("{name} {}/s", short(*rate)));
    let rates = rates.collect::<Vec<_>>().join("   ");
    let heading = format!(
        "{:<28}{:>11}{:>10}{:>11}{:>9}{:>10}",
        "CHART", "size", "frames/s", "frames", "age ms", "passed"
    );
    let mut lines = vec![Line::styled(rates, look.heading()), Line::styled(heading, look.faint())];
    let skip = skip.min(view.charts.len().saturating_sub(room));
    lines.extend(view.charts.iter().skip(skip).take(room).map(|chart| {
        let age = chart.age_ms.map_or("-".to_owned(), |age| age.to_string());
        Line::raw(format!(
            "{:<28}{:>11}{:>10.1}{:>11}{age:>9}{:>10}",
            cut(&chart.name, 27),
            chart.size,
            chart.frames_a_second,
            chart.frames,
            chart.passed_over
        ))
    }));
    let rest = view.charts.len().saturating_sub(skip + room);
    if rest > 0 {
        lines.push(Line::styled(format!("  and {rest} more"), look.faint()));
    }
    lines
}

fn loops(view: &View, look: Look) -> Vec<Line<'static>> {
    let heading = format!(
        "{:<16}{:>8}{:>6}{:>6}  {:<6}{:<8}{:>8}",
        "LOOP", "tid", "cpu", "fifo", "waits", "does", "age ms"
    );
    let mut lines = vec![Line::styled(heading, look.faint())];
    lines.extend(view.loops.iter().map(|one| {
        let fifo = if one.priority == 0 { "-".to_owned() } else { one.priority.to_string() };
        let text = format!(
            "{:<16}{:>8}{:>6}{fifo:>6}  {:<6}{:<8}{:>8}",
            one.name, one.tid, one.cpu, one.wait, one.phase, one.age_ms
        );
        if one.is_late { Line::styled(format!("{text}  late"), look.alarm()) } else { Line::raw(text) }
    }));
    lines
}

/// How far the journal is: what was taken in and is not durable yet, and where it is written.
fn journal(view: &View, look: Look) -> Vec<Line<'static>> {
    let Some((state, intake)) = &view.journal else { return Vec::new() };
    let text = format!(
        "journal {}  {}  accepted {}  to be durable {}  waiting {}B  segment {}  on disk {}B",
        of::state(state),
        of::class(state),
        intake.accepted,
        intake.accepted.saturating_sub(state.durable),
        short(state.waiting_bytes as f64),
        state.segment,
        short(state.disk_bytes as f64),
    );
    let is_well = matches!(of::state(state), "well" | "ended");
    vec![if is_well { Line::raw(text) } else { Line::styled(text, look.alarm()) }]
}

/// What should be zero and is not; red while it grows.
fn harms(view: &View, look: Look) -> Vec<Line<'static>> {
    if view.harms.is_empty() {
        return Vec::new();
    }
    let mut spans = Vec::new();
    for (name, value, more) in &view.harms {
        let style = if *more > 0 { look.alarm() } else { look.warning() };
        spans.push(Span::styled(format!("{} {value}   ", name.replace('_', " ")), style));
    }
    vec![Line::from(spans)]
}

fn degraded(view: &View, look: Look, width: u16) -> Vec<Line<'static>> {
    let line = |text: &String| {
        Line::styled(cut(&format!("without: {text}"), usize::from(width).max(20)), look.warning())
    };
    view.degraded.iter().map(line).collect()
}

/// Microseconds in at most eight columns.
fn micros(value: f64) -> String {
    match value {
        ..100.0 => format!("{value:.2}"),
        100.0..10_000.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// A rate that people read.
fn short(value: f64) -> String {
    match value {
        ..1e4 => format!("{value:.0}"),
        1e4..1e6 => format!("{:.1}k", value / 1e3),
        _ => format!("{:.1}M", value / 1e6),
    }
}

fn cut(text: &str, columns: usize) -> String {
    match text.char_indices().nth(columns) {
        Some(_) => text.chars().take(columns.saturating_sub(1)).chain(['…']).collect(),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::{Chart, Loop};
    use super::*;
    use shm::status::{JournalIntake, JournalState};

    fn view() -> View {
        let chart = |name: &str| Chart {
            name: name.to_owned(),
            size: "960x540".to_owned(),
            frames: 1234,
            frames_a_second: 42.5,
            age_ms: Some(7),
            passed_over: 3,
        };
        View {
            pid: 77,
            up_s: 125,
            generation: 2,
            threads: "fused",
            charts: (0..30).map(|place| chart(&format!("binance:COIN{place}/1m"))).collect(),
            rates: vec![("trades", 312.4), ("bytes in", 123_456.0)],
            harms: vec![("loops_late", 5, 1), ("malformed", 2, 0)],
            stages: vec![Latency {
                name: "tick_to_frame",
                count: 312,
                interval_us: [81.25, 310.0, 12_345.6, 20_000.0],
                all_us: [80.0, 300.0, 400.0, 500.0],
            }],
            loops: vec![Loop {
                name: "chartd-ingest".to_owned(),
                tid: 4711,
                cpu: "2".to_owned(),
                priority: 10,
                wait: "spin",
                phase: "draw",
                age_ms: 900,
                is_late: true,
            }],
            clients: 4,
            leases: 1,
            journal: None,
            degraded: vec!["no CPU is isolated: ".to_owned() + &"long ".repeat(40)],
        }
    }

    fn text(lines: &[Line<'_>]) -> String {
        lines.iter().map(|line| line.to_string().trim_end().to_owned() + "\n").collect()
    }

    #[test]
    fn it_fills_the_screen_and_no_more() {
        for (width, height) in [(80, 24), (140, 45), (80, 10)] {
            for skip in [0, 5, 1_000] {
                let lines = lines(&view(), Look { colors: true }, (width, height), skip, false);
                assert_eq!(lines.len(), usize::from(height));
                assert!(lines.iter().all(|line| line.width() <= usize::from(width)), "{}", text(&lines));
            }
        }
    }

    #[test]
    fn a_small_screen_has_what_matters() {
        let shown = text(&lines(&view(), Look { colors: false }, (80, 24), 0, false));
        let expected = "\
chartd  pid 77  up 2:05  configuration 2  fused  4 clients  1 leases

LATENCY in us           number       p50      p99    p99.9      max
tick to frame              312     81.25    310.0    12346    20000

trades 312/s   bytes in 123.5k/s
CHART                              size  frames/s     frames   age ms    passed
binance:COIN0/1m                960x540      42.5       1234        7         3
";
        assert!(shown.starts_with(expected), "{shown}");
        for part in
            ["  and 20 more\n", "spin  draw         900  late\n", "loops late 5   malformed 2", "q quit"]
        {
            assert!(shown.contains(part), "{part:?} is missing in\n{shown}");
        }
        let journal =
            JournalState { state: 3, class: 2, durable: 90, waiting_bytes: 2_500, ..JournalState::default() };
        let view = View { journal: Some((journal, JournalIntake { accepted: 100, lost: 4 })), ..view() };
        let shown = text(&lines(&view, Look { colors: false }, (80, 24), 0, false));
        let line = "journal losing  group  accepted 100  to be durable 10  waiting 2500B";
        assert!(shown.contains(line), "{shown}");
    }

    #[test]
    fn a_daemon_that_is_gone_is_looked_for() {
        let gone = text(&lines(&view(), Look { colors: false }, (80, 24), 0, true));
        assert!(gone.starts_with("chartd  has stopped; looking for it\n"), "{gone}");
    }
}
