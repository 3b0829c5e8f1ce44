//! A bar on standard error for long work whose length is known: one for all of chartd's tools.
//!
//! What holds: nothing is shown where nobody looks (standard error is no terminal), nor for work that is done at once,
//! and never with `--json`. It costs an addition for each step; the clock is looked at once in about a megabyte.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Work that takes less is done before anybody wonders.
const PATIENCE: Duration = Duration::from_millis(400);
/// How many bytes go by before the clock is looked at.
const STRIDE_BYTES: u64 = 1 << 20;

/// See above.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    is_wanted: bool,
    started: Instant,
    total_bytes: u64,
    done_bytes: u64,
    /// How much was done when the bar was last moved.
    told_bytes: u64,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Begins: `what` says what is done, as "reading". Nothing is ever shown unless `is_wanted`.
    pub fn new(what: &'static str, total_bytes: u64, is_wanted: bool) -> Self {
        let is_wanted = is_wanted && std::io::stderr().is_terminal();
        Self {
            what,
            is_wanted,
            started: Instant::now(),
            total_bytes,
            done_bytes: 0,
            told_bytes: 0,
            bar: None,
        }
    }

    /// So many bytes more are done.
    pub fn advance(&mut self, bytes: usize) {
        self.set(self.done_bytes + bytes as u64, self.total_bytes);
    }

    /// So many bytes are done in all, of so many; the latter may grow while the work goes on.
    pub fn set(&mut self, done_bytes: u64, total_bytes: u64) {
        (self.done_bytes, self.total_bytes) = (done_bytes, total_bytes.max(done_bytes));
        if self.is_wanted && done_bytes.abs_diff(self.told_bytes) >= STRIDE_BYTES {
            self.told_bytes = done_bytes;
            self.show();
        }
    }

    /// Prints something on standard error, with the bar out of its way.
    pub fn aside(&self, print: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Takes the bar away.
    pub fn clear(&mut self) {
        self.is_wanted = false;
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn show(&mut self) {
        if self.bar.is_none() && self.started.elapsed() >= PATIENCE {
            self.bar = Some(bar(self.what, self.started));
        }
        if let Some(bar) = &self.bar {
            bar.set_length(self.total_bytes);
            bar.set_position(self.done_bytes);
        }
    }
}

impl Drop for Progress {
    /// An error must not be printed behind half a bar.
    fn drop(&mut self) {
        self.clear();
    }
}

fn bar(what: &'static str, started: Instant) -> ProgressBar {
    let template =
        "{msg} [{bar:32}] {percent}% of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left";
    // The template is a constant; the default style would do as well.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let target = ProgressDrawTarget::stderr_with_hz(10);
    ProgressBar::with_draw_target(Some(0), target)
        .with_style(style.progress_chars("=> "))
        .with_message(what)
        .with_elapsed(started.elapsed())
}
