//! Which pixels changed: as a few rectangles, and, where much changed at once, as tiles.
//!
//! Damage may cover more than what changed, never less: a pixel outside it is the same in both frames.

use crate::scene::{Paint, Scene, Shape};
use crate::{Frame, Rect};

/// The most rectangles that a [`Damage`] holds.
pub const MAX_RECTS: usize = 16;
/// How many frames back a [`DamageLog`] knows.
pub const LOG_FRAMES: usize = 32;
/// Two rectangles become one where that adds no more pixels than this: each costs a pass over the scene.
const SLACK: i64 = 512;

/// Where more shapes than this differ in a layer, as after a scroll, their tiles are damaged.
const MANY_SHAPES: usize = 96;
/// In lists no longer than this, shapes that both have are found wherever they stand.
const MATCHED_SHAPES: usize = 160;

/// The width of a tile: a cache line of pixels, which is what moves between caches anyhow.
const TILE_WIDTH: usize = 16;
/// The height of a tile.
const TILE_HEIGHT: usize = 8;

/// A union of at most [`MAX_RECTS`] rectangles. They may overlap.
#[derive(Debug, Clone, Copy, Default)]
pub struct Damage {
    rects: [Rect; MAX_RECTS],
    len: usize,
}

impl Damage {
    /// No pixel.
    pub const fn none() -> Self {
        Self { rects: [Rect::new(0, 0, 0, 0); MAX_RECTS], len: 0 }
    }

    /// Every pixel of a frame of this size.
    pub fn full(width: u32, height: u32) -> Self {
        let mut damage = Self::none();
        damage.add(Rect::new(0, 0, width.min(u16::MAX.into()) as u16, height.min(u16::MAX.into()) as u16));
        damage
    }

    /// The rectangles.
    pub fn rects(&self) -> &[Rect] {
        &self.rects[..self.len]
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pixels in all rectangles; where two overlap they count twice.
    pub fn area(&self) -> u64 {
        self.rects().iter().map(Rect::area).sum()
    }

    /// Adds the pixels of `other`.
    pub fn merge(&mut self, other: &Self) {
        other.rects().iter().for_each(|rect| self.add(*rect));
    }

    /// Adds the pixels of `rect`.
    pub fn add(&mut self, rect: Rect) {
        let mut rect = rect;
        if rect.is_empty() {
            return;
        }
        // A joined rectangle may now be worth joining with another: begin again with it. One fewer remains each
        // time, so this ends.
        while let Some(other) = self.neighbour_of(&rect) {
            if self.rects[other].contains(&rect) {
                return;
            }
            rect = rect.union(&self.rects[other]);
            self.len -= 1;
            self.rects[other] = self.rects[self.len];
        }
        self.rects[self.len] = rect;
        self.len += 1;
    }

    /// The rectangle that `rect` is to be joined with: one that it nearly fits, or, when no more can be held, the
    /// one that grows least.
    fn neighbour_of(&self, rect: &Rect) -> Option<usize> {
        let (index, least) = self
            .rects()
            .iter()
            .map(|other| growth(rect, other))
            .enumerate()
            .min_by_key(|(_, growth)| *growth)?;
        (least <= SLACK || self.len == MAX_RECTS).then_some(index)
    }
}

impl PartialEq for Damage {
    /// The same rectangles in the same order.
    fn eq(&self, other: &Self) -> bool {
        self.rects() == other.rects()
    }
}

impl Eq for Damage {}

/// Tiles of a frame, as a set.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tiles {
    bounds: Rect,
    /// Row by row, a bit for each tile; rows begin at a word.
    words: Vec<u64>,
    words_in_row: usize,
    /// Around all tiles of the set.
    reach: Rect,
}

impl Tiles {
    fn new(bounds: Rect) -> Self {
        let words_in_row = usize::from(bounds.w).div_ceil(TILE_WIDTH).div_ceil(64);
        let rows = usize::from(bounds.h).div_ceil(TILE_HEIGHT);
        Self { bounds, words: vec![0; words_in_row * rows], words_in_row, reach: Rect::default() }
    }

    fn clear(&mut self) {
        if !self.reach.is_empty() {
            self.words.fill(0);
            self.reach = Rect::default();
        }
    }

    /// Adds the tiles that `rect` touches. It must lie in the frame.
    fn add(&mut self, rect: &Rect) {
        if rect.is_empty() {
            return;
        }
        self.reach = self.reach.union(rect);
        let columns = usize::from(rect.x) / TILE_WIDTH..=(rect.right() as usize - 1) / TILE_WIDTH;
        for row in usize::from(rect.y) / TILE_HEIGHT..=(rect.bottom() as usize - 1) / TILE_HEIGHT {
            for column in columns.clone() {
                self.words[row * self.words_in_row + column / 64] |= 1 << (column % 64);
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        if !other.reach.is_empty() {
            self.words.iter_mut().zip(&other.words).for_each(|(mine, theirs)| *mine |= theirs);
            self.reach = self.reach.union(&other.reach);
        }
    }

    /// Keeps only the tiles for which `differs` is true.
    fn retain(&mut self, mut differs: impl FnMut(Rect) -> bool) {
        for (at, word) in self.words.iter_mut().enumerate() {
            let (row, first) = (at / self.words_in_row, at % self.words_in_row * 64);
            let mut left = *word;
            while left != 0 {
                let bit = left.trailing_zeros() as usize;
                left &= left - 1;
                let edge = |tile: usize, size: usize| (tile * size) as i32;
                let (x, y) = (edge(first + bit, TILE_WIDTH), edge(row, TILE_HEIGHT));
                let tile = Rect::from_edges(x, y, x + TILE_WIDTH as i32, y + TILE_HEIGHT as i32, self.bounds);
                if !differs(tile) {
                    *word &= !(1 << bit);
                }
            }
        }
    }

    /// Tiles that lie side by side, as one rectangle.
    fn for_each_run(&self, mut each: impl FnMut(Rect)) {
        if self.reach.is_empty() {
            return;
        }
        let rows = usize::from(self.reach.y) / TILE_HEIGHT..=(self.reach.bottom() as usize - 1) / TILE_HEIGHT;
        for row in rows {
            let words = &self.words[row * self.words_in_row..][..self.words_in_row];
            let mut begin = None;
            for column in 0..=self.words_in_row * 64 {
                let is_set = words.get(column / 64).is_some_and(|word| word >> (column % 64) & 1 == 1);
                match (begin, is_set) {
                    (None, true) => begin = Some(column),
                    (Some(first), false) => {
                        begin = None;
                        let edge = |tile: usize, size: usize| (tile * size) as i32;
                        let (left, right) = (edge(first, TILE_WIDTH), edge(column, TILE_WIDTH));
                        let (top, bottom) = (edge(row, TILE_HEIGHT), edge(row + 1, TILE_HEIGHT));
                        each(Rect::from_edges(left, top, right, bottom, self.bounds));
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Which pixels changed, closely: what is drawn and copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    few: Damage,
    tiles: Tiles,
}

impl Changes {
    /// No pixel of a frame of this size.
    pub fn none(width: u32, height: u32) -> Self {
        let full = Damage::full(width, height);
        Self { few: Damage::none(), tiles: Tiles::new(full.rects()[0]) }
    }

    /// The most rectangles that there can be.
    pub(crate) fn most_rects(&self) -> usize {
        let Rect { w, h, .. } = self.tiles.bounds;
        // Every other tile of a row, and those that are told as they are.
        MAX_RECTS + usize::from(h).div_ceil(TILE_HEIGHT) * usize::from(w).div_ceil(2 * TILE_WIDTH)
    }

    /// Forgets all changes.
    pub fn clear(&mut self) {
        self.few = Damage::none();
        self.tiles.clear();
    }

    /// Every pixel.
    pub fn fill(&mut self) {
        self.clear();
        self.few.add(self.tiles.bounds);
    }

    /// Leaves out tiles in which two frames do not differ: for when there is time to look.
    pub(crate) fn refine(&mut self, one: &Frame, other: &Frame) {
        self.tiles.retain(|tile| one.differs(other, &tile));
    }

    /// Adds the pixels of `other`, which must be of a frame of the same size.
    pub fn merge(&mut self, other: &Self) {
        self.few.merge(&other.few);
        self.tiles.merge(&other.tiles);
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.few.is_empty() && self.tiles.reach.is_empty()
    }

    /// The same in at most [`MAX_RECTS`] rectangles, which may cover more.
    pub fn damage(&self) -> Damage {
        let mut damage = self.few;
        damage.add(self.tiles.reach);
        damage
    }

    /// Calls `each` with rectangles that cover all changes. They may overlap, and there may be thousands.
    pub fn for_each_rect(&self, mut each: impl FnMut(Rect)) {
        let whole = self.few.rects().contains(&self.tiles.bounds);
        self.few.rects().iter().copied().for_each(&mut each);
        if !whole {
            self.tiles.for_each_run(each);
        }
    }

    /// How many pixels those rectangles have; where two overlap they count twice.
    pub fn area(&self) -> u64 {
        let mut area = 0;
        self.for_each_rect(|rect| area += rect.area());
        area
    }
}

/// Adds to `changes` what must be redrawn to turn the picture of `old` into the picture of `new`. All must be of one
/// size.
///
/// Layer by layer, shapes that both have in the same order are left alone; of the rest, what was there and what is
/// there now has changed.
pub fn diff(old: &Scene, new: &Scene, changes: &mut Changes) {
    for (old, new) in old.layers().iter().zip(new.layers()) {
        if old.version.is_none() || old.version != new.version {
            diff_layer(&old.list, &new.list, changes);
        }
    }
}

fn diff_layer(old: &[Shape], new: &[Shape], changes: &mut Changes) {
    let same_front = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let (old, new) = (&old[same_front..], &new[same_front..]);
    let same_back = old.iter().rev().zip(new.iter().rev()).take_while(|(old, new)| old == new).count();
    let (old, new) = (&old[..old.len() - same_back], &new[..new.len() - same_back]);
    if old.len().max(new.len()) > MATCHED_SHAPES {
        old.iter().chain(new).for_each(|shape| changes.tiles.add(&shape.area));
    } else if old.len() + new.len() > MANY_SHAPES {
        diff_in_order(old, new, &mut |shape: &Shape| changes.tiles.add(&shape.area));
    } else {
        diff_few(old, new, changes);
    }
}

/// Calls `each` with every shape that is not in both lists. Those that are must stand in the same order.
fn diff_in_order(old: &[Shape], new: &[Shape], each: &mut impl FnMut(&Shape)) {
    let mut rest = old;
    for shape in new {
        match rest.iter().position(|other| other == shape) {
            Some(place) => {
                rest[..place].iter().for_each(&mut *each);
                rest = &rest[place + 1..];
            }
            None => each(shape),
        }
    }
    rest.iter().for_each(each);
}

fn diff_few(old: &[Shape], new: &[Shape], changes: &mut Changes) {
    let mut runs = Runs::default();
    if old.len() == new.len() {
        // Shapes in the same place of equally long lists are painted in the same order.
        old.iter().zip(new).for_each(|(old, new)| diff_shape(old, new, &mut |rect| runs.add(rect, changes)));
    } else {
        diff_in_order(old, new, &mut |shape: &Shape| runs.add(shape.area, changes));
    }
    runs.finish(changes);
}

/// So many runs of one layer are told as rectangles. More would be joined to few large ones: they are told in tiles.
const FEW_RUNS: usize = 10;

/// What differs in a layer, neighbours joined: most neighbours there are neighbours on the chart, as the letters of a
/// word.
#[derive(Default)]
struct Runs {
    rects: [Rect; FEW_RUNS],
    len: usize,
    /// The one that grows.
    run: Rect,
}

impl Runs {
    fn add(&mut self, rect: Rect, changes: &mut Changes) {
        if growth(&self.run, &rect) > SLACK {
            self.close(changes);
        }
        self.run = self.run.union(&rect);
    }

    fn close(&mut self, changes: &mut Changes) {
        let run = core::mem::take(&mut self.run);
        if self.len < FEW_RUNS {
            self.rects[self.len] = run;
        } else {
            changes.tiles.add(&run);
        }
        self.len += 1;
    }

    fn finish(mut self, changes: &mut Changes) {
        self.close(changes);
        let told = &self.rects[..self.len.min(FEW_RUNS)];
        if self.len > FEW_RUNS {
            told.iter().for_each(|rect| changes.tiles.add(rect));
        } else {
            told.iter().for_each(|rect| changes.few.add(*rect));
        }
    }
}

/// Adds what differs between two shapes that are painted at the same point of the order.
fn diff_shape(old: &Shape, new: &Shape, add: &mut impl FnMut(Rect)) {
    // What glyphs and columns paint counts from their own edges.
    let is_free = !matches!(old.paint, Paint::Glyph(_) | Paint::Column { .. });
    let alike = is_free && old.color == new.color && old.paint == new.paint;
    let both = old.area.intersect(&new.area);
    if !alike || both.is_empty() {
        if old != new {
            add(old.area);
            add(new.area);
        }
        return;
    }
    // Other patterns count from the frame's corner, so where both lie they paint the same: a candle whose close moved
    // differs in a few rows, not in its whole height.
    for area in [old.area, new.area] {
        let within = |left, top, right, bottom| Rect::from_edges(left, top, right, bottom, area);
        let [left, top] = [both.x, both.y].map(i32::from);
        for strip in [
            within(area.x.into(), area.y.into(), area.right(), top),
            within(area.x.into(), both.bottom(), area.right(), area.bottom()),
            within(area.x.into(), top, left, both.bottom()),
            within(both.right(), top, area.right(), both.bottom()),
        ] {
            if !strip.is_empty() {
                add(strip);
            }
        }
    }
}

/// How many pixels more than the two have the rectangle around both has. Negative where they overlap.
fn growth(a: &Rect, b: &Rect) -> i64 {
    a.union(b).area() as i64 - (a.area() + b.area()) as i64
}

/// The changes of recent frames, by frame number: what a buffer that holds an older frame must catch up on.
#[derive(Debug, Clone)]
pub struct DamageLog {
    /// Frame `n` is in place `n % LOG_FRAMES`.
    frames: Vec<Changes>,
    newest: u64,
    /// How many frames up to the newest are known.
    known: u64,
    /// What was asked for last.
    since: Changes,
}

impl DamageLog {
    /// An empty log for frames of this size in pixels.
    pub fn new(width: u32, height: u32) -> Self {
        let since = Changes::none(width, height);
        Self { frames: vec![since.clone(); LOG_FRAMES], newest: 0, known: 0, since }
    }

    /// Notes that `changes` lead from frame `number - 1` to frame `number`. If the number does not follow the last
    /// one, what was known before is forgotten.
    pub fn record(&mut self, number: u64, changes: &Changes) {
        let follows = self.known > 0 && self.newest.checked_add(1) == Some(number);
        self.known = if follows { (self.known + 1).min(LOG_FRAMES as u64) } else { 1 };
        self.newest = number;
        let frame = &mut self.frames[(number % LOG_FRAMES as u64) as usize];
        frame.clear();
        frame.merge(changes);
    }

    /// What a buffer that holds frame `number` must copy to hold the newest; everything if that is not known, or if it
    /// holds none.
    pub fn since(&mut self, number: Option<u64>) -> &Changes {
        let missed = number.and_then(|number| self.newest.checked_sub(number));
        let Some(missed) = missed.filter(|missed| *missed <= self.known && self.known > 0) else {
            self.since.fill();
            return &self.since;
        };
        self.since.clear();
        for frame in self.newest - missed..self.newest {
            self.since.merge(&self.frames[((frame + 1) % LOG_FRAMES as u64) as usize]);
        }
        &self.since
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::Layer;
    use crate::text::Atlas;
    use crate::{Frame, raster};
    use proptest::prelude::*;

    fn covers(damage: &Damage, x: u16, y: u16) -> bool {
        damage.rects().iter().any(|rect| rect.contains(&Rect::new(x, y, 1, 1)))
    }

    fn rect() -> impl Strategy<Value = Rect> {
        (0..200u16, 0..200u16, 0..40u16, 0..40u16).prop_map(|(x, y, w, h)| Rect::new(x, y, w, h))
    }

    proptest! {
        #[test]
        fn covers_all_that_was_added(rects in prop::collection::vec(rect(), 0..60)) {
            let mut damage = Damage::none();
            for rect in &rects {
                damage.add(*rect);
            }
            prop_assert!(damage.rects().len() <= MAX_RECTS);
            for rect in rects {
                for y in i32::from(rect.y)..rect.bottom() {
                    for x in i32::from(rect.x)..rect.right() {
                        prop_assert!(covers(&damage, x as u16, y as u16));
                    }
                }
            }
        }

        #[test]
        fn the_log_knows_every_frame_it_still_has(frames in prop::collection::vec(rect(), 1..80), start in 1u64..5) {
            let mut log = DamageLog::new(300, 300);
            let at = |index: usize| start + index as u64;
            for (index, rect) in frames.iter().enumerate() {
                let mut changes = Changes::none(300, 300);
                if index % 3 == 0 { changes.tiles.add(rect) } else { changes.few.add(*rect) }
                log.record(at(index), &changes);
            }
            let newest = at(frames.len() - 1);
            for age in 0..100u64 {
                let Some(held) = newest.checked_sub(age) else { break };
                let since = log.since(Some(held));
                let is_known = age <= LOG_FRAMES as u64 && held >= start - 1;
                if !is_known {
                    prop_assert_eq!(since.damage(), Damage::full(300, 300));
                    continue;
                }
                for (index, rect) in frames.iter().enumerate() {
                    if at(index) > held && !rect.is_empty() {
                        let mut left = rect.area();
                        since.for_each_rect(|held| left = left.saturating_sub(held.intersect(rect).area()));
                        prop_assert_eq!(left, 0);
                    }
                }
                if age == 0 {
                    prop_assert!(since.is_empty());
                }
            }
            prop_assert_eq!(log.since(Some(newest + 1)).damage(), Damage::full(300, 300));
            prop_assert_eq!(log.since(None).damage(), Damage::full(300, 300));
        }
    }

    fn shape() -> impl Strategy<Value = Shape> {
        let area = (0..250u16, 0..250u16, 1..200u16, 1..200u16);
        let paint = (0..6u8, 1..4u8, prop_oneof![Just(0u8), Just(255), any::<u8>()], any::<u8>());
        (area, paint, 0..3usize).prop_map(|((x, y, w, h), (kind, run, top, bottom), color)| {
            let bounds = Rect::new(0, 0, 256, 256);
            let area = Rect::new(x, y, w, h).intersect(&bounds);
            let paint = match kind {
                0 | 1 => Paint::Solid,
                2 => Paint::Dash { run },
                3 => Paint::DashDown { run },
                4 => Paint::Hatch { period: run + 2, width: run },
                _ => Paint::Column { top, bottom },
            };
            Shape { area, color: [0xff00_00ff, 0xff00_ff00, 0xffff_0000][color], paint }
        })
    }

    /// What happens to a shape from one picture to the next.
    fn next(shape: Shape, other: Shape, how: u8) -> Vec<Shape> {
        match how {
            0 => vec![],
            1 => vec![other],
            2 => vec![other, shape],
            // It moves, grows or shrinks.
            3 | 4 => vec![Shape { area: other.area, ..shape }],
            _ => vec![shape],
        }
    }

    fn scene_of(lists: &[Vec<Shape>; 2]) -> Scene {
        let bounds = Rect::new(0, 0, 256, 256);
        let mut scene = Scene::new(bounds, Atlas::at_scale(1), 64);
        scene.solid(Layer::Background, bounds, 0xff00_0000);
        for (layer, list) in [Layer::Series, Layer::Price].into_iter().zip(lists) {
            list.iter().for_each(|shape| scene.push(layer, *shape));
        }
        scene
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever the shapes are and become, with every way of comparing lists.
        #[test]
        fn redrawing_what_differs_gives_the_new_picture(
            many in prop_oneof![4 => Just(1usize), 1 => Just(12), 1 => Just(30)],
            lists in prop::array::uniform2(prop::collection::vec((shape(), shape(), 0..9u8), 0..8)),
        ) {
            let repeated = |list: &Vec<(Shape, Shape, u8)>| list.repeat(many);
            let lists = [0, 1].map(|at| repeated(&lists[at]));
            let old = scene_of(&[0, 1].map(|at| lists[at].iter().map(|(shape, ..)| *shape).collect()));
            let new = scene_of(&[0, 1].map(|at| {
                lists[at].iter().flat_map(|(shape, other, how)| next(*shape, *other, *how)).collect()
            }));
            let mut frame = Frame::new(256, 256).unwrap();
            raster::draw(&old, old.bounds(), &mut frame);
            let mut changes = Changes::none(256, 256);
            diff(&old, &new, &mut changes);
            changes.for_each_rect(|rect| raster::draw(&new, rect, &mut frame));
            let mut whole = Frame::new(256, 256).unwrap();
            raster::draw(&new, new.bounds(), &mut whole);
            prop_assert!(frame == whole);
        }
    }

    #[test]
    fn a_skipped_number_makes_older_frames_unknown() {
        let mut log = DamageLog::new(10, 10);
        let none = Changes::none(10, 10);
        log.record(1, &none);
        log.record(2, &none);
        assert!(log.since(Some(1)).is_empty());
        log.record(4, &none);
        assert!(log.since(Some(3)).is_empty());
        assert_eq!(log.since(Some(2)).area(), 100);
    }

    #[test]
    fn tiles_cover_what_was_added_and_little_more() {
        let mut tiles = Tiles::new(Rect::new(0, 0, 1_933, 77));
        for rect in [Rect::new(1_930, 70, 3, 7), Rect::new(0, 0, 1, 1), Rect::new(1_000, 15, 60, 2)] {
            tiles.add(&rect);
        }
        let mut runs = Vec::new();
        tiles.for_each_run(|run| runs.push(run));
        assert_eq!(
            runs,
            [
                Rect::new(0, 0, 16, 8),
                Rect::new(992, 8, 80, 8),
                Rect::new(992, 16, 80, 8),
                Rect::new(1_920, 64, 13, 8),
                Rect::new(1_920, 72, 13, 5)
            ]
        );
    }
}
