//! Rivals in Python, in one process that lives as long as the bench, so that nothing is charged for its start. It
//! draws when asked to, so its rounds stand between ours. `benches/python/peers.py` is the other side.

use super::Plan;
use anyhow::{Context, ensure};
use chart::Chart;
use serde::Deserialize;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

pub(crate) struct Python {
    child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Holds the plan, the font and the pictures.
    folder: tempfile::TempDir,
}

/// One answer.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer {
    /// How long each drawing took, for each rival that can do what was asked.
    #[serde(default)]
    pub(crate) ns: std::collections::BTreeMap<String, Vec<u64>>,
    /// Pictures, as raw bytes of red, green, blue and alpha.
    #[serde(default)]
    pub(crate) pictures: std::collections::BTreeMap<String, PathBuf>,
    /// What is worth knowing: versions, what is missing.
    #[serde(default)]
    pub(crate) notes: Vec<String>,
}

impl Python {
    /// Starts it with what `chart` shows. Where there is no virtual environment with its packages, a note that says so.
    pub(crate) fn start(chart: &Chart, plan: &Plan) -> anyhow::Result<Result<Self, String>> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let program = root.join("target/python/bin/python");
        if !program.is_file() {
            return Ok(Err(
                "skipped: rivals in Python (no target/python; cargo xtask test makes it)".to_owned()
            ));
        }
        let folder = tempfile::tempdir()?;
        let font = folder.path().join("font.ttf");
        std::fs::write(&font, dejavu::sans_condensed::regular())?;
        std::fs::write(folder.path().join("plan.json"), plan.json(chart.scene(), &font).to_string())?;
        let mut child = Command::new(program)
            .arg(root.join("benches/python/peers.py"))
            .arg(folder.path())
            // What else has Plotly, if anything does.
            .arg(root.join("target/plotly"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start Python")?;
        let (asks, answers) = (child.stdin.take(), child.stdout.take().map(BufReader::new));
        let (asks, answers) = (asks.context("no pipe")?, answers.context("no pipe")?);
        let mut python = Self { child, asks, answers, folder };
        // It has told why by itself.
        let ready = python
            .answer()
            .map_err(|_| "skipped: rivals in Python (it ended; is a package missing?)".to_owned());
        Ok(ready.map(|_| python))
    }

    /// Asks for one thing: `pictures`, `full N` or `delta N`.
    pub(crate) fn ask(&mut self, what: &str) -> anyhow::Result<Answer> {
        writeln!(self.asks, "{what}")?;
        self.answer()
    }

    fn answer(&mut self) -> anyhow::Result<Answer> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        ensure!(!line.is_empty(), "the rivals in Python ended; in {}", self.folder.path().display());
        serde_json::from_str(&line).with_context(|| format!("the rivals in Python said {line}"))
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill(); // It may have ended.
        let _ = self.child.wait();
    }
}
