//! The rivals' arms in `raster-full` and `raster-delta`: each rival draws once and is checked, then is timed in every
//! round. The quick ones draw more often in a round than the slow ones.

use super::plotters::Plotters;
use super::python::{Answer, Python};
use super::tiny_skia::TinySkia;
use super::vello::Vello;
use super::{Painter, Plan, agree, publish, sameness};
use crate::harness::Arm;
use crate::raster::{Walk, timed};
use anyhow::{Context, ensure};
use chart::raster::{Kernel, Rasteriser};
use chart::scene::Scene;
use chart::{Chart, Frame, Rect};
use std::hint::black_box;
use std::path::Path;

/// Drawings in a round: of rasterisers, of plotters, of Python's.
const DRAWN: usize = 20;
const SLOW: usize = 4;
const SLOWEST: usize = 2;
/// Changes of the last price in a round, and after how many the rivals that draw all of it do.
const CHANGES: usize = 80;
const CHANGES_TO_A_WHOLE: usize = 8;

/// Our own rasteriser as one of the painters: it gets a finished scene too.
struct Ours(Rasteriser, Frame);

impl Painter for Ours {
    fn draw(&mut self, scene: &Scene, rects: &[Rect]) {
        self.0.draw(scene, rects, &mut self.1);
    }

    fn pixels(&self) -> Vec<u32> {
        self.1.pixels().to_vec()
    }
}

/// Those that draw our scene.
fn painters(frame: &Frame) -> anyhow::Result<[Box<dyn Painter>; 3]> {
    Ok([
        Box::new(Ours(Rasteriser::new(Kernel::best()), frame.clone())),
        Box::new(TinySkia::new(frame)),
        Box::new(Vello::new(frame)?),
    ])
}

const PAINTERS: [&str; 3] = ["chartd", "tiny-skia", "vello_cpu"];
const WHOLE: [&str; 3] = ["chartd, rasteriser alone", "tiny-skia, our scene", "vello_cpu, our scene"];
const PARTS: [&str; 3] =
    ["chartd, rasteriser, rectangles", "tiny-skia, our rectangles", "vello_cpu, our rectangles"];
const PLOTTERS: &str = "plotters, whole";

/// What Python calls its rivals, and what we do.
const PYTHON: [(&str, &str); 5] = [
    ("matplotlib", "matplotlib, artists kept"),
    ("matplotlib-blit", "matplotlib, blit"),
    ("mplfinance", "mplfinance, naive"),
    ("pillow", "Pillow, our scene"),
    ("plotly-json", "Plotly, figure to JSON only"),
];

/// All rivals of a chart, checked.
pub(crate) struct Rivals {
    whole: [Box<dyn Painter>; 3],
    parts: [Box<dyn Painter>; 3],
    plotters: Plotters,
    python: Option<Python>,
    pub(crate) notes: Vec<String>,
}

impl Rivals {
    /// Has each draw what `chart` shows, checks it, and publishes the pictures into `folder`.
    pub(crate) fn new(chart: &Chart, folder: Option<&Path>) -> anyhow::Result<Self> {
        let plan = Plan::of(chart)?;
        let frame = chart.frame();
        let mut rivals = Self {
            whole: painters(frame)?,
            parts: painters(frame)?,
            plotters: Plotters::new(plan.size)?,
            python: None,
            notes: Vec::new(),
        };
        publish(folder, "chartd-picture", frame.pixels(), plan.size)?;
        for (painter, name) in rivals.whole.iter_mut().zip(PAINTERS) {
            painter.draw(chart.scene(), &[frame.bounds()]);
            let pixels = painter.pixels();
            rivals.notes.push(checked(name, &plan, frame, &pixels)?);
            publish(folder, name, &pixels, plan.size)?;
        }
        rivals.plotters.draw(&plan)?;
        let pixels = rivals.plotters.pixels();
        publish(folder, "plotters", &pixels, plan.size)?;
        rivals.notes.push(checked("plotters", &plan, frame, &pixels)?);
        rivals.notes.extend([
            "tiny-skia, vello_cpu and Pillow are given our finished scene: their layout costs nothing"
                .to_owned(),
            "tiny-skia's text is glyphs of ours, coloured beforehand".to_owned(),
            format!(
                "vectors: {} for us and what vello_cpu finds, chosen while running; tiny-skia's are chosen when it is built: {}",
                Kernel::best().name(),
                if cfg!(target_feature = "avx2") { "AVX2" } else { "SSE2, unless built with -C target-cpu" }
            ),
        ]);
        match Python::start(chart, &plan)? {
            Ok(python) => rivals.check_python(python, &plan, frame, folder)?,
            Err(skipped) => rivals.notes.push(skipped),
        }
        Ok(rivals)
    }

    fn check_python(
        &mut self,
        mut python: Python,
        plan: &Plan,
        frame: &Frame,
        folder: Option<&Path>,
    ) -> anyhow::Result<()> {
        let answer = python.ask("pictures")?;
        for (name, file) in &answer.pictures {
            let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            let pixels = super::as_pixels(&bytes);
            ensure!(pixels.len() == frame.pixels().len(), "{name} drew {} pixels", pixels.len());
            publish(folder, name, &pixels, plan.size)?;
            self.notes.push(checked(name, plan, frame, &pixels)?);
        }
        self.notes.extend(answer.notes);
        self.python = Some(python);
        Ok(())
    }

    /// Has each rival draw the whole picture some times.
    pub(crate) fn full(&mut self, chart: &Chart, arms: &mut Vec<Arm>) -> anyhow::Result<()> {
        let scene = chart.scene();
        for (painter, name) in self.whole.iter_mut().zip(WHOLE) {
            let draw = |_| timed(|| painter.draw(scene, &[scene.bounds()]));
            add(arms, name, (0..DRAWN).map(draw).collect());
        }
        let plan = Plan::of(chart)?;
        let draw = |_| {
            let mut drawn = Ok(());
            let taken = timed(|| drawn = self.plotters.draw(&plan));
            drawn.map(|()| taken)
        };
        add(arms, PLOTTERS, (0..SLOW).map(draw).collect::<anyhow::Result<_>>()?);
        self.ask_python(&format!("full {SLOWEST}"), arms)
    }

    /// Changes the last price some times. We draw what changed; so do those who can, told by us which pixels.
    pub(crate) fn delta(
        &mut self,
        chart: &mut Chart,
        walk: &mut Walk,
        arms: &mut Vec<Arm>,
    ) -> anyhow::Result<()> {
        let mut bar = *chart.bars().last().context("there are no bars")?;
        let (mut ours, mut slow, mut rects) = (Vec::new(), Vec::new(), Vec::new());
        let (mut parts, mut whole) = ([const { Vec::new() }; 3], [const { Vec::new() }; 3]);
        for painter in &mut self.parts {
            painter.draw(chart.scene(), &[chart.scene().bounds()]);
        }
        for change in 0..CHANGES {
            walk.tick(&mut bar, 60);
            ours.push(timed(|| {
                chart.set_newest(bar);
                black_box(chart.draw());
            }));
            rects.clear();
            chart.changes().for_each_rect(|rect| rects.push(rect));
            for (painter, taken) in self.parts.iter_mut().zip(&mut parts) {
                taken.push(timed(|| painter.draw(chart.scene(), &rects)));
            }
            if change % CHANGES_TO_A_WHOLE == 0 {
                for (painter, taken) in self.whole.iter_mut().zip(&mut whole) {
                    taken.push(timed(|| painter.draw(chart.scene(), &[chart.scene().bounds()])));
                }
                let plan = Plan::of(chart)?;
                let mut drawn = Ok(());
                slow.push(timed(|| drawn = self.plotters.draw(&plan)));
                drawn?;
            }
        }
        add(arms, "chartd, the same changes", ours);
        parts.into_iter().zip(PARTS).for_each(|(taken, name)| add(arms, name, taken));
        whole.into_iter().zip(WHOLE).for_each(|(taken, name)| add(arms, name, taken));
        add(arms, PLOTTERS, slow);
        self.check_parts(chart)?;
        self.ask_python(&format!("delta {SLOWEST}"), arms)
    }

    /// Checks that what was drawn part by part is what is drawn at once.
    fn check_parts(&mut self, chart: &Chart) -> anyhow::Result<()> {
        for ((parts, whole), name) in self.parts.iter_mut().zip(&mut self.whole).zip(PAINTERS) {
            whole.draw(chart.scene(), &[chart.scene().bounds()]);
            let same = sameness(&whole.pixels(), &parts.pixels());
            ensure!(same > 99.99, "{name} by parts is to {same:.3} % what it is at once");
        }
        Ok(())
    }

    fn ask_python(&mut self, what: &str, arms: &mut Vec<Arm>) -> anyhow::Result<()> {
        let Some(python) = &mut self.python else { return Ok(()) };
        let Answer { ns, .. } = python.ask(what)?;
        for (name, taken) in ns {
            let known = PYTHON.iter().find(|(theirs, _)| *theirs == name);
            add(arms, known.with_context(|| format!("no rival is called {name}"))?.1, taken);
        }
        Ok(())
    }
}

/// Says how well a rival's picture agrees with ours; fails where candles do not.
fn checked(name: &str, plan: &Plan, ours: &Frame, theirs: &[u32]) -> anyhow::Result<String> {
    let (worst, edges) = agree(name, plan, ours.pixels(), theirs)?;
    let same = sameness(ours.pixels(), theirs);
    Ok(format!("{name}: {edges} edges of candles within {worst} px of ours, {same:.2} % of all pixels equal"))
}

/// Adds a round to the arm of this name, which is made if it is not there.
fn add(arms: &mut Vec<Arm>, name: &'static str, values: Vec<u64>) {
    let place = arms.iter().position(|arm| arm.name == name).unwrap_or(arms.len());
    if place == arms.len() {
        arms.push(Arm::new(name, "ns"));
    }
    arms[place].add_round(values);
}
