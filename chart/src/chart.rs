//! A chart that is kept up to date: bars in, the canonical frame and its damage out.

use crate::ahead::{Ahead, AheadCounts, Expected};
use crate::bars::Bars;
use crate::damage::{self, Changes, Damage};
use crate::layout::{Input, Layout, Stage};
use crate::marks::{Marker, Marks, PriceLine};
use crate::raster::{Kernel, Rasteriser};
use crate::scene::Scene;
use crate::studies::Studies;
use crate::view::{Right, View};
use crate::{ChartError, Frame, Rect, Settings};
use market::{Candle, CandleState};

/// A chart and its picture.
///
/// Bars have numbers, which they keep. Whatever changes shows with the next [`draw`](Self::draw); after it the frame
/// holds exactly the bytes that drawing the whole scene anew would give. Once the largest scene has been seen, nothing
/// allocates.
#[derive(Debug)]
pub struct Chart {
    layout: Layout,
    stage: Stage,
    bars: Bars,
    studies: Studies,
    marks: Marks,
    view: View,
    pointer: Option<(u16, u16)>,
    venue_ms: Option<i64>,
    /// What the frame shows.
    scene: Scene,
    /// What it showed before: memory for the next scene.
    spare: Scene,
    frame: Frame,
    changes: Changes,
    damage: Damage,
    /// Nothing of the last picture that was shown is in the frame.
    is_new: bool,
    painter: Painter,
    /// None unless pictures are drawn ahead.
    ahead: Option<Box<Ahead>>,
    ahead_counts: AheadCounts,
}

impl Chart {
    /// A chart that is waiting for trades.
    pub fn new(settings: Settings) -> Result<Self, ChartError> {
        let frame = Frame::new(settings.width, settings.height)?;
        let layout = Layout::new(settings.clone(), &frame)?;
        let (scene, spare) = (layout.empty_scene(), layout.empty_scene());
        let changes = Changes::none(settings.width, settings.height);
        let digits = (settings.price_digits, settings.qty_digits);
        let mut chart = Self {
            bars: Bars::new(settings.look.kind, settings.history, settings.price_digits),
            studies: Studies::new(&settings.look.studies, digits, 2 * settings.history.max(1)),
            marks: Marks::default(),
            view: layout.usual_view(),
            pointer: None,
            venue_ms: None,
            stage: layout.stage(),
            layout,
            painter: Painter::new(Kernel::best(), &changes),
            scene,
            spare,
            changes,
            frame,
            damage: Damage::none(),
            is_new: false,
            ahead: None,
            ahead_counts: AheadCounts::default(),
        };
        chart.compose();
        chart.changes.fill();
        chart.redraw();
        Ok(chart)
    }

    /// Takes on other settings, the size among them. Bars, view and marks stay; the next picture is drawn whole.
    pub fn restyle(&mut self, settings: Settings) -> Result<(), ChartError> {
        let mut other = Self::new(settings)?;
        other.load(self.bars.first(), self.bars.candles());
        (other.marks, other.venue_ms) = (core::mem::take(&mut self.marks), self.venue_ms);
        (other.view, other.is_new) = (self.view, true);
        other.set_kernel(self.kernel());
        if self.ahead.is_some() {
            other.enable_ahead()?;
        }
        *self = other;
        Ok(())
    }

    /// Forgets all bars and takes these, oldest first; the first has number `first`, but no more than 2^62.
    pub fn load(&mut self, first: u64, bars: &[Candle]) {
        self.bars.clear(first.min(1 << 62));
        bars.iter().for_each(|bar| _ = self.bars.push(*bar));
        self.studies.load(self.bars.candles());
        self.stage.forget_bars();
    }

    /// Adds a bar that is newer than all others.
    pub fn push(&mut self, bar: Candle) {
        if self.bars.push(bar) {
            self.studies.keep(self.bars.candles().len() - 1);
        }
        self.studies.push(&bar);
    }

    /// The newest bar has changed. Does nothing where there is none.
    pub fn set_newest(&mut self, bar: Candle) {
        if self.bars.candles().is_empty() {
            return;
        }
        self.bars.set_newest(bar);
        self.studies.set_newest(&bar);
    }

    /// The bar with this number has changed. Does nothing where it is not kept.
    pub fn amend(&mut self, number: u64, bar: Candle) {
        if number.checked_add(1) == Some(self.bars.end()) {
            return self.set_newest(bar);
        }
        if self.bars.amend(number, bar) {
            self.studies.load(self.bars.candles());
        }
    }

    /// The bars, oldest first.
    pub fn bars(&self) -> &[Candle] {
        self.bars.candles()
    }

    /// The number after the newest bar's.
    pub fn end(&self) -> u64 {
        self.bars.end()
    }

    /// Brings the bars up to `bars`, which are oldest first, and draws. For who has all bars at hand and need not count
    /// nanoseconds: every bar is looked at.
    pub fn update(&mut self, bars: &[Candle]) -> &Damage {
        let held = self.bars.candles().len();
        let same = self.bars.candles().iter().zip(bars).take_while(|(old, new)| old == new).count();
        match bars.get(same..) {
            Some(rest) if same + 1 >= held && held > 0 && !rest.is_empty() => {
                if same < held {
                    self.set_newest(rest[0]);
                }
                rest[held - same..].iter().for_each(|bar| self.push(*bar));
            }
            Some([]) if same == held => {}
            _ => self.load(self.bars.first(), bars),
        }
        self.draw()
    }

    /// How many of the newest bars fit. It may become less when prices grow longer, and other when the view changes.
    pub fn visible_bars(&self) -> usize {
        self.layout.visible_bars(&self.stage, self.view)
    }

    /// Which bars are shown.
    pub fn view(&self) -> View {
        self.view
    }

    /// Shows these bars.
    pub fn set_view(&mut self, view: View) {
        self.view = View { zoom: view.zoom.bounded(), right: view.right };
    }

    /// Goes back to following the newest bar, at the width that the chart began with. The axes fit what is shown, as if
    /// nothing else had ever been: the same bars give the same picture.
    pub fn reset_view(&mut self) {
        self.view = self.layout.usual_view();
        self.layout.forget_fit(&mut self.stage);
    }

    /// Moves by so many bars: into the past where it is negative. At the newest bar it follows again.
    pub fn pan(&mut self, bars: i64) {
        let newest = self.bars.end().saturating_sub(1);
        let right = match self.view.right {
            Right::Newest => newest,
            Right::Bar(number) => number.min(newest),
        };
        let right = right.saturating_add_signed(bars).max(self.bars.first());
        self.view.right = if right >= newest { Right::Newest } else { Right::Bar(right) };
    }

    /// Zooms in by so many steps, or out where it is negative. The bar at pixel column `x` stays about where it is, else
    /// the newest one shown.
    pub fn zoom(&mut self, steps: i32, x: Option<u16>) {
        let held = x.and_then(|x| self.stage.column_at(x));
        let room_before = self.layout.visible_bars(&self.stage, self.view) as u64;
        self.view.zoom = self.view.zoom.stepped(steps);
        let Some((column, level)) = held else { return };
        // The share of bars to the right of it stays what it was.
        let number = column << level;
        let right = match self.view.right {
            Right::Newest => self.bars.end().saturating_sub(1),
            Right::Bar(right) => right,
        };
        let room = self.layout.visible_bars(&self.stage, self.view) as u64;
        let after =
            u128::from(right.saturating_sub(number)) * u128::from(room) / u128::from(room_before.max(1));
        let target = number.saturating_add(after as u64);
        self.view.right = Right::Bar(target);
        self.pan(0);
    }

    /// Shows the bars from the one at `from_ms` to the one at `to_ms`, as wide as they fit.
    pub fn show_range(&mut self, from_ms: i64, to_ms: i64) {
        let (from, to) = (self.bars.at_time(from_ms.min(to_ms)), self.bars.at_time(from_ms.max(to_ms)));
        self.view = View { zoom: self.layout.zoom_for(&self.stage, to - from + 1), right: Right::Bar(to) };
    }

    /// Shows a crosshair at this pixel, or none. The legend then tells of the bar under it.
    pub fn set_pointer(&mut self, pointer: Option<(u16, u16)>) {
        self.pointer = pointer;
    }

    /// Tells the venue's time, for the countdown to the end of the newest bar.
    pub fn set_venue_time(&mut self, venue_ms: Option<i64>) {
        self.venue_ms = venue_ms;
    }

    /// Adds a line at a price, or replaces the one that is there; the oldest goes when there are too many.
    pub fn set_price_line(&mut self, line: PriceLine) {
        self.marks.set_line(line);
    }

    /// Adds a marker, or replaces the one at its place; the oldest goes when there are too many.
    pub fn set_marker(&mut self, marker: Marker) {
        self.marks.set_marker(marker);
    }

    /// Removes all price lines and markers.
    pub fn clear_marks(&mut self) {
        self.marks.clear();
    }

    /// Draws what has changed. Returns which pixels of the frame may have; [`changes`](Self::changes) tells it closer.
    pub fn draw(&mut self) -> &Damage {
        let was_ahead = self.take_ahead();
        core::mem::swap(&mut self.scene, &mut self.spare);
        self.compose();
        self.changes.clear();
        if core::mem::take(&mut self.is_new) {
            self.changes.fill();
        } else {
            damage::diff(&self.spare, &self.scene, &mut self.changes);
        }
        self.redraw();
        if let Some(ahead) = &mut self.ahead {
            if was_ahead {
                self.changes.merge(&ahead.changes);
                self.damage = self.changes.damage();
            }
            ahead.stale.merge(&self.changes);
        }
        &self.damage
    }

    /// Has pictures drawn ahead from now on: takes the memory for them.
    pub fn enable_ahead(&mut self) -> Result<(), ChartError> {
        if self.ahead.is_none() {
            let (width, height) = (self.frame.width(), self.frame.height());
            self.ahead = Some(Box::new(Ahead::new(&self.layout, width, height)?));
        }
        Ok(())
    }

    /// Draws the picture of the next bar, as if it opened at `open_ms` with the last price: for idle time. Returns
    /// whether there was anything to do. What it costs is wasted if a trade comes for the newest bar first.
    pub fn prepare_ahead(&mut self, open_ms: i64) -> bool {
        let follows = self.view.right == Right::Newest && self.view.zoom.level() == 0;
        let (Some(ahead), Some(before)) = (&mut self.ahead, self.bars.candles().last().copied()) else {
            return false;
        };
        let of = Some(Expected { number: self.bars.end(), before });
        if !follows || ahead.of == of || self.bars.is_full() {
            return false;
        }
        ahead.of = of;
        self.ahead_counts.prepared += 1;
        let Self { frame, layout, stage, scene, .. } = self;
        ahead.stale.for_each_rect(|rect| ahead.frame.copy_from(frame, &rect));
        ahead.stage.copy_from(stage);
        self.bars.push(Candle::empty(open_ms, CandleState::Quiet, before.close()));
        let Self { bars, studies, marks, view, pointer, venue_ms, painter, .. } = self;
        let input = Input { bars, studies, marks, view: *view, pointer: *pointer, venue_ms: *venue_ms };
        layout.compose(&input, &mut ahead.stage, &mut ahead.scene);
        layout.compose(&input, &mut ahead.stage, &mut ahead.spare);
        self.bars.pop();
        ahead.changes.clear();
        damage::diff(scene, &ahead.scene, &mut ahead.changes);
        painter.paint(&ahead.scene, &ahead.changes, &mut ahead.frame);
        // There is time to look which of it is really other: slots copy no more than that.
        ahead.changes.refine(frame, &ahead.frame);
        ahead.stale.clear();
        ahead.stale.merge(&ahead.changes);
        true
    }

    /// How often pictures drawn ahead were of use.
    pub fn ahead_counts(&self) -> AheadCounts {
        self.ahead_counts
    }

    /// Goes on with the picture that was drawn ahead, if the bar that it was drawn for has opened and all before it is as
    /// it was. Either way it is used up.
    fn take_ahead(&mut self) -> bool {
        let Some(ahead) = &mut self.ahead else { return false };
        let Some(of) = ahead.of.take() else { return false };
        let candles = self.bars.candles();
        let opened = self.bars.end() == of.number + 1;
        let hits = opened && candles.len() >= 2 && candles[candles.len() - 2] == of.before;
        if hits {
            core::mem::swap(&mut self.frame, &mut ahead.frame);
            core::mem::swap(&mut self.scene, &mut ahead.scene);
            core::mem::swap(&mut self.spare, &mut ahead.spare);
            core::mem::swap(&mut self.stage, &mut ahead.stage);
            self.stage.keep_ranges(&ahead.stage);
            self.ahead_counts.hits += 1;
        } else if opened {
            self.ahead_counts.misses += 1;
        }
        hits
    }

    /// Lays out and draws the whole picture anew, as if nothing had been drawn before.
    pub fn draw_anew(&mut self) -> &Damage {
        self.stage.forget_bars();
        self.scene.clear_all();
        self.compose();
        self.changes.fill();
        self.redraw();
        if let Some(ahead) = &mut self.ahead {
            ahead.of = None;
            ahead.stale.fill();
        }
        &self.damage
    }

    fn redraw(&mut self) {
        self.damage = self.changes.damage();
        self.painter.paint(&self.scene, &self.changes, &mut self.frame);
    }

    /// Draws with this kernel from now on, or with the best where the processor cannot run it. The bytes are the same.
    pub fn set_kernel(&mut self, kernel: Kernel) {
        self.painter = Painter::new(kernel, &self.changes);
    }

    /// What it draws with.
    pub fn kernel(&self) -> Kernel {
        self.painter.raster.kernel()
    }

    /// What the last drawing changed.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    fn compose(&mut self) {
        let Self { bars, studies, marks, view, pointer, venue_ms, .. } = self;
        let input = Input { bars, studies, marks, view: *view, pointer: *pointer, venue_ms: *venue_ms };
        self.layout.compose(&input, &mut self.stage, &mut self.scene);
    }

    /// The picture.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// What the picture shows, for another rasteriser.
    pub fn scene(&self) -> &Scene {
        &self.scene
    }
}

/// Draws changes.
#[derive(Debug)]
struct Painter {
    raster: Rasteriser,
    rects: Vec<Rect>,
}

/// Many rectangles are drawn as all of the frame where they cover more than one part in so many of it: measured, that is
/// quicker.
const WORTH_ALL: u64 = 3;

impl Painter {
    /// With room for all changes.
    fn new(kernel: Kernel, changes: &Changes) -> Self {
        Self { raster: Rasteriser::new(kernel), rects: Vec::with_capacity(changes.most_rects()) }
    }

    fn paint(&mut self, scene: &Scene, changes: &Changes, frame: &mut Frame) {
        let (all, mut area) = (frame.bounds(), 0);
        self.rects.clear();
        changes.for_each_rect(|rect| {
            area += rect.area();
            self.rects.push(rect);
        });
        if self.rects.len() > damage::MAX_RECTS && area * WORTH_ALL > all.area() {
            self.rects.clear();
            self.rects.push(all);
        }
        self.raster.draw(scene, &self.rects, frame);
    }
}
