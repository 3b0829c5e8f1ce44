//! Lines of text for a terminal: wrapped, cut to its width, and coloured.

use anstyle::{AnsiColor, Style};
use std::io::{self, IsTerminal, Write};

/// Bold: headings.
pub(crate) const BOLD: Style = Style::new().bold();
/// Dim: what may be passed over.
pub(crate) const DIM: Style = Style::new().dimmed();
/// What is well, and what is put in.
pub(crate) const GREEN: Style = AnsiColor::Green.on_default();
/// What is not well, and what is taken out.
pub(crate) const RED: Style = AnsiColor::Red.on_default();
/// What waits.
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default();
/// No colour.
pub(crate) const PLAIN: Style = Style::new();

/// Where there is no terminal, lines are as long as is still easy to read.
const WIDTH_ELSEWHERE: usize = 120;
/// Prose in longer lines is hard to read.
const PROSE: usize = 100;

/// What will be printed.
#[derive(Debug)]
pub(crate) struct Screen {
    width: usize,
    text: String,
}

impl Screen {
    /// An empty one, as wide as the terminal.
    pub(crate) fn new() -> Self {
        let terminal = terminal_size::terminal_size().filter(|_| io::stdout().is_terminal());
        let columns = || std::env::var("COLUMNS").ok()?.parse().ok();
        let width = terminal.map(|(width, _)| usize::from(width.0)).or_else(columns);
        Self::of_width(width.unwrap_or(WIDTH_ELSEWHERE))
    }

    /// An empty one of this width.
    pub(crate) fn of_width(width: usize) -> Self {
        Self { width: width.clamp(40, 240), text: String::new() }
    }

    /// How many columns it has.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// All that it holds.
    pub(crate) fn into_text(self) -> String {
        self.text
    }

    /// An empty line.
    pub(crate) fn blank(&mut self) {
        self.text.push('\n');
    }

    /// A line of parts, each in its style; it is not wrapped.
    pub(crate) fn line(&mut self, parts: &[(Style, &str)]) {
        let last = parts.len().saturating_sub(1);
        for (place, (style, part)) in parts.iter().enumerate() {
            let part = harmless(part);
            let part = if place == last { part.trim_end() } else { &part };
            self.text += &format!("{style}{part}{style:#}");
        }
        self.text.push('\n');
    }

    /// Wrapped text, each of its lines indented.
    pub(crate) fn text(&mut self, indent: usize, text: &str) {
        self.styled(indent, PLAIN, text);
    }

    /// The same in a style.
    pub(crate) fn styled(&mut self, indent: usize, style: Style, text: &str) {
        let blanks = " ".repeat(indent);
        for line in wrap(&harmless(text), self.width.min(PROSE).saturating_sub(indent)) {
            self.line(&[(PLAIN, &blanks), (style, &line)]);
        }
    }

    /// A word in bold in a column of its own, and wrapped text beside it.
    pub(crate) fn entry(&mut self, label: &str, column: usize, text: &str) {
        let mut label = format!("{label:column$}");
        for line in wrap(&harmless(text), self.width.min(PROSE).saturating_sub(column)) {
            self.line(&[(BOLD, &label), (PLAIN, &line)]);
            label = " ".repeat(column);
        }
    }
}

/// Text of the host in one line, without control characters: a terminal obeys them.
pub(crate) fn harmless(text: &str) -> String {
    let shown = |letter: char| match letter {
        '\t' | '\n' => ' ',
        letter if letter.is_control() => '\u{fffd}',
        letter => letter,
    };
    text.chars().map(shown).collect()
}

/// Text in lines that are not longer than this, but for words that are.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut length = 0;
    for word in text.split_whitespace() {
        let its = word.chars().count();
        if length > 0 && length + 1 + its > width {
            lines.push(String::new());
            length = 0;
        }
        let Some(line) = lines.last_mut() else { break };
        if length > 0 {
            line.push(' ');
            length += 1;
        }
        line.push_str(word);
        length += its;
    }
    lines
}

/// Text cut to so many letters, the last of which then says so.
pub(crate) fn cut(text: &str, width: usize) -> String {
    match text.chars().count() > width {
        true if width == 0 => String::new(),
        true => text.chars().take(width - 1).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

/// Prints a report on standard output, without its colours where they are not wanted. That nobody reads on is no error.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_between_words() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("a-word-too-long b", 5), ["a-word-too-long", "b"]);
        assert_eq!(wrap("", 5), [""]);
    }

    #[test]
    fn text_that_is_cut_says_so() {
        assert_eq!(
            (cut("abcdef", 4), cut("abcd", 4), cut("a", 0)),
            ("abc…".into(), "abcd".into(), "".into())
        );
    }

    #[test]
    fn a_name_on_the_host_cannot_command_the_terminal() {
        let mut screen = Screen::of_width(80);
        screen.line(&[(PLAIN, "eth0\u{1b}[2J\u{7}\n")]);
        screen.text(2, "irq\u{1b}]0;title\u{7}");
        screen.entry("a", 4, "\u{9b}31m");
        let text = screen.into_text();
        let own = |letter: char| letter == '\n';
        // The styles' own: bold, and back.
        let text = text.replace("\u{1b}[1m", "").replace("\u{1b}[0m", "");
        assert!(!text.chars().any(|letter| letter.is_control() && !own(letter)), "{text:?}");
    }
}
