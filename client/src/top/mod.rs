//! `chartctl top`: a screen that shows how a daemon does, now and since its start.

mod model;
mod screen;

use anyhow::Context;
use chart_client::Connection;
use model::{Look, View};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::widgets::Paragraph;
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::time::{Duration, Instant};

/// What to show and for how long.
pub(crate) struct Top<'a> {
    pub(crate) socket: Option<&'a Path>,
    pub(crate) json: bool,
    pub(crate) interval: Duration,
    /// End after so many looks.
    pub(crate) count: Option<u64>,
}

impl Top<'_> {
    /// Shows it: on a terminal as a screen, elsewhere as text or JSON, a block or a line for each look.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let source = Source::new(self.socket)?;
        if self.json || !std::io::stdout().is_terminal() {
            return self.print(source);
        }
        // Restores the terminal whatever happens: at the end, and by its hook when this panics.
        let mut terminal = ratatui::try_init().context("the terminal cannot be used")?;
        let outcome = self.show(source, &mut terminal);
        ratatui::restore();
        outcome
    }

    fn print(&self, mut source: Source) -> anyhow::Result<()> {
        let mut out = std::io::stdout();
        let mut left = self.count.unwrap_or(u64::MAX);
        while left > 0 {
            left -= 1;
            std::thread::sleep(self.interval);
            let is_gone = !source.look();
            let view = source.view();
            if self.json {
                let mut document = view.json();
                document["gone"] = is_gone.into();
                writeln!(out, "{document}")?;
            } else {
                let height = u16::try_from(view.charts.len() + 40).unwrap_or(u16::MAX);
                let lines = screen::lines(&view, screen::Look { colors: false }, (140, height), 0, is_gone);
                // The last line tells the keys of the screen.
                let text =
                    lines[..lines.len() - 1].iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
                writeln!(out, "{}\n", text.trim_end())?;
            }
        }
        Ok(())
    }

    fn show(&self, mut source: Source, terminal: &mut DefaultTerminal) -> anyhow::Result<()> {
        let look = screen::Look { colors: std::env::var_os("NO_COLOR").is_none() };
        let ended = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
            signal_hook::flag::register(signal, ended.clone())?;
        }
        let (mut skip, mut looks, mut is_gone) = (0usize, 0, false);
        let mut next = Instant::now();
        while !ended.load(Relaxed) && self.count.is_none_or(|count| looks < count) {
            if Instant::now() >= next {
                is_gone = !source.look();
                looks += 1;
                next = Instant::now() + self.interval;
            }
            let view = source.view();
            terminal.draw(|frame| {
                let area = frame.area();
                let lines = screen::lines(&view, look, (area.width, area.height), skip, is_gone);
                frame.render_widget(Paragraph::new(lines), area);
            })?;
            // Short enough to notice a signal soon.
            let patience = next.saturating_duration_since(Instant::now()).min(Duration::from_millis(200));
            match keys(patience)? {
                Keys::Some if event::poll(Duration::ZERO)? => {}
                Keys::Gone => break,
                _ => continue,
            }
            let Event::Key(key) = event::read()? else { continue };
            match key.code {
                _ if key.kind == KeyEventKind::Release => {}
                KeyCode::Char('q') | KeyCode::Esc => break,
                KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => break,
                KeyCode::Char('r') => source.reset(),
                KeyCode::Down | KeyCode::Char('j') => skip = (skip + 1).min(view.charts.len()),
                KeyCode::Up | KeyCode::Char('k') => skip = skip.saturating_sub(1),
                _ => {}
            }
        }
        Ok(())
    }
}

/// What comes from the terminal.
enum Keys {
    Some,
    None,
    /// The terminal was closed. `event::poll` would read its end again and again, and never return.
    Gone,
}

/// Waits for keys.
fn keys(patience: Duration) -> anyhow::Result<Keys> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let stdin = std::io::stdin();
    let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO);
    match poll(&mut fds, timeout) {
        Ok(0) | Err(nix::Error::EINTR) => return Ok(Keys::None),
        other => other?,
    };
    let ended = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
    let is_gone = fds[0].revents().is_none_or(|events| events.intersects(ended));
    Ok(if is_gone { Keys::Gone } else { Keys::Some })
}

/// A daemon, looked at now and then; another one when it is started again.
struct Source {
    socket: Option<std::path::PathBuf>,
    connection: Option<Connection>,
    before: Look,
    now: Look,
    /// Where intervals begin since they were reset by hand.
    since_reset: bool,
}

impl Source {
    fn new(socket: Option<&Path>) -> anyhow::Result<Self> {
        let connection = Connection::open(socket)?;
        let look = || Look::at(connection.status(), chart_client::now_ns());
        let (before, now) = (look(), look());
        let socket = socket.map(Path::to_owned);
        Ok(Self { socket, connection: Some(connection), before, now, since_reset: false })
    }

    /// Looks again. False while the daemon is gone: then the last look stays.
    fn look(&mut self) -> bool {
        if self.connection.as_ref().is_some_and(|connection| !connection.is_alive(Duration::ZERO)) {
            self.connection = None;
        }
        if self.connection.is_none() {
            match Self::new(self.socket.as_deref()) {
                Ok(found) => *self = found,
                Err(_) => return false,
            }
        }
        if let Some(connection) = &self.connection {
            let now = Look::at(connection.status(), chart_client::now_ns());
            let before = std::mem::replace(&mut self.now, now);
            if !self.since_reset {
                self.before = before;
            }
        }
        true
    }

    /// From here on the interval only grows, until the next reset.
    fn reset(&mut self) {
        if let Some(connection) = &self.connection {
            self.before = Look::at(connection.status(), chart_client::now_ns());
            self.since_reset = true;
        }
    }

    fn view(&self) -> View {
        View::between(&self.before, &self.now)
    }
}
