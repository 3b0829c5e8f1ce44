//! A chart that is kept up to date: bars in, the canonical frame and its damage out.

use crate::bars::Bars;
use crate::damage::{self, Changes, Damage};
use crate::layout::{Input, Layout};
use crate::marks::{Marker, Marks, PriceLine};
use crate::scene::Scene;
use crate::studies::Studies;
use crate::view::{Right, View};
use crate::{ChartError, Frame, Settings, raster};
use market::Candle;

/// A chart and its picture.
///
/// Bars have numbers, which they keep. Whatever changes shows with the next [`draw`](Self::draw); after it the frame
/// holds exactly the bytes that drawing the whole scene anew would give. Once the largest scene has been seen, nothing
/// allocates.
#[derive(Debug)]
pub struct Chart {
    layout: Layout,
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
}

impl Chart {
    /// A chart that is waiting for trades.
    pub fn new(settings: Settings) -> Result<Self, ChartError> {
        let frame = Frame::new(settings.width, settings.height)?;
        let layout = Layout::new(settings.clone(), &frame)?;
        let (scene, spare) = (layout.empty_scene(), layout.empty_scene());
        let digits = (settings.price_digits, settings.qty_digits);
        let mut chart = Self {
            bars: Bars::new(settings.look.kind, settings.history, settings.price_digits),
            studies: Studies::new(&settings.look.studies, digits, 2 * settings.history.max(1)),
            marks: Marks::default(),
            view: layout.usual_view(),
            pointer: None,
            venue_ms: None,
            layout,
            scene,
            spare,
            changes: Changes::none(settings.width, settings.height),
            frame,
            damage: Damage::none(),
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
        other.view = self.view;
        *self = other;
        Ok(())
    }

    /// Forgets all bars and takes these, oldest first; the first has number `first`.
    pub fn load(&mut self, first: u64, bars: &[Candle]) {
        self.bars.clear(first);
        bars.iter().for_each(|bar| _ = self.bars.push(*bar));
        self.studies.load(self.bars.candles());
        self.layout.forget_bars();
    }

    /// Adds a bar that is newer than all others.
    pub fn push(&mut self, bar: Candle) {
        if self.bars.push(bar) {
            self.studies.keep(self.bars.candles().len() - 1);
        }
        self.studies.push(&bar);
    }

    /// The newest bar has changed.
    pub fn set_newest(&mut self, bar: Candle) {
        self.bars.set_newest(bar);
        self.studies.set_newest(&bar);
    }

    /// The bar with this number has changed. Does nothing where it is not kept.
    pub fn amend(&mut self, number: u64, bar: Candle) {
        if number + 1 == self.bars.end() {
            return self.set_newest(bar);
        }
        self.bars.amend(number, bar);
        self.studies.load(self.bars.candles());
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
        self.layout.visible_bars(self.view)
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
        self.layout.forget_fit();
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
        let pixels_right = |chart: &Self, x: u16| u32::from(chart.frame.bounds().w).saturating_sub(x.into());
        let held = x.and_then(|x| Some((self.layout.column_at(x)?, pixels_right(self, x))));
        let room_before = self.layout.visible_bars(self.view) as u64;
        self.view.zoom = self.view.zoom.stepped(steps);
        let Some(((column, level), _)) = held else { return };
        // The share of bars to the right of it stays what it was.
        let number = column << level;
        let right = match self.view.right {
            Right::Newest => self.bars.end().saturating_sub(1),
            Right::Bar(right) => right,
        };
        let room = self.layout.visible_bars(self.view) as u64;
        let after =
            u128::from(right.saturating_sub(number)) * u128::from(room) / u128::from(room_before.max(1));
        let target = number.saturating_add(after as u64);
        self.view.right = Right::Bar(target);
        self.pan(0);
    }

    /// Shows the bars from the one at `from_ms` to the one at `to_ms`, as wide as they fit.
    pub fn show_range(&mut self, from_ms: i64, to_ms: i64) {
        let (from, to) = (self.bars.at_time(from_ms.min(to_ms)), self.bars.at_time(from_ms.max(to_ms)));
        self.view = View { zoom: self.layout.zoom_for(to - from + 1), right: Right::Bar(to) };
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
        core::mem::swap(&mut self.scene, &mut self.spare);
        self.compose();
        self.changes.clear();
        damage::diff(&self.spare, &self.scene, &mut self.changes);
        self.redraw();
        &self.damage
    }

    fn redraw(&mut self) {
        self.damage = self.changes.damage();
        let Self { scene, frame, changes, .. } = self;
        changes.for_each_rect(|rect| raster::draw(scene, rect, frame));
    }

    /// What the last drawing changed.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    fn compose(&mut self) {
        let Self { bars, studies, marks, view, pointer, venue_ms, .. } = self;
        let input = Input { bars, studies, marks, view: *view, pointer: *pointer, venue_ms: *venue_ms };
        self.layout.compose(&input, &mut self.scene);
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
