//! Which pixels changed, as a few rectangles.
//!
//! Damage may cover more than what changed, never less: a pixel outside it is the same in both frames.

use crate::Rect;
use crate::scene::{Paint, Scene, Shape};

/// The most rectangles that a [`Damage`] holds.
pub const MAX_RECTS: usize = 16;
/// How many frames back a [`DamageLog`] knows.
pub const LOG_FRAMES: usize = 32;
/// Two rectangles become one where that adds no more pixels than this: each costs a pass over the scene.
const SLACK: i64 = 512;

/// Where more shapes than this differ in a layer, the chart has scrolled: their common bounds are the damage.
const MANY_SHAPES: usize = 400;

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

/// What must be redrawn to turn the picture of `old` into the picture of `new`. Both must be of the same chart.
///
/// Layer by layer, shapes that both have at their beginning and at their end are left alone; of the rest, what was
/// there and what is there now is damaged.
pub fn diff(old: &Scene, new: &Scene) -> Damage {
    let mut damage = Damage::none();
    if old.bounds() != new.bounds() {
        damage.add(new.bounds());
        return damage;
    }
    for (old, new) in old.layers().iter().zip(new.layers()) {
        if old.version.is_none() || old.version != new.version {
            diff_layer(&old.list, &new.list, &mut damage);
        }
    }
    damage
}

fn diff_layer(old: &[Shape], new: &[Shape], damage: &mut Damage) {
    let same_front = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let (old, new) = (&old[same_front..], &new[same_front..]);
    let same_back = old.iter().rev().zip(new.iter().rev()).take_while(|(old, new)| old == new).count();
    let (old, new) = (&old[..old.len() - same_back], &new[..new.len() - same_back]);
    if old.len() + new.len() > MANY_SHAPES {
        let all = old.iter().chain(new).fold(Rect::default(), |all, shape| all.union(&shape.area));
        damage.add(all);
        return;
    }
    // Most neighbours in a layer are neighbours on the chart, as the letters of a word.
    let mut run = Rect::default();
    let mut add = |rect: Rect| {
        if growth(&run, &rect) > SLACK {
            damage.add(run);
            run = Rect::default();
        }
        run = run.union(&rect);
    };
    if old.len() == new.len() {
        // Shapes in the same place of equally long lists are painted in the same order.
        old.iter().zip(new).for_each(|(old, new)| diff_shape(old, new, &mut add));
    } else {
        old.iter().chain(new).for_each(|shape| add(shape.area));
    }
    damage.add(run);
}

/// Adds what differs between two shapes that are painted at the same point of the order.
fn diff_shape(old: &Shape, new: &Shape, add: &mut impl FnMut(Rect)) {
    let alike = old.color == new.color && old.paint == new.paint && !matches!(old.paint, Paint::Glyph(_));
    let both = old.area.intersect(&new.area);
    if !alike || both.is_empty() {
        if old != new {
            add(old.area);
            add(new.area);
        }
        return;
    }
    // Patterns count from the frame's corner, so where both lie they paint the same: a candle whose close moved
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

/// The damage of recent frames, by frame number: what a buffer that holds an older frame must catch up on.
#[derive(Debug, Clone)]
pub struct DamageLog {
    full: Damage,
    /// Frame `n` is in place `n % LOG_FRAMES`.
    frames: [Damage; LOG_FRAMES],
    newest: u64,
    /// How many frames up to the newest are known.
    known: u64,
}

impl DamageLog {
    /// An empty log for frames of this size in pixels.
    pub fn new(width: u32, height: u32) -> Self {
        Self { full: Damage::full(width, height), frames: [Damage::none(); LOG_FRAMES], newest: 0, known: 0 }
    }

    /// Notes that `damage` leads from frame `number - 1` to frame `number`. If the number does not follow the last
    /// one, what was known before is forgotten.
    pub fn record(&mut self, number: u64, damage: &Damage) {
        let follows = self.known > 0 && self.newest.checked_add(1) == Some(number);
        self.known = if follows { (self.known + 1).min(LOG_FRAMES as u64) } else { 1 };
        self.newest = number;
        self.frames[(number % LOG_FRAMES as u64) as usize] = *damage;
    }

    /// What a buffer that holds frame `number` must copy to hold the newest; everything if that is not known.
    pub fn since(&self, number: u64) -> Damage {
        let Some(missed) =
            self.newest.checked_sub(number).filter(|missed| *missed <= self.known && self.known > 0)
        else {
            return self.full;
        };
        let mut damage = Damage::none();
        for frame in self.newest - missed..self.newest {
            damage.merge(&self.frames[((frame + 1) % LOG_FRAMES as u64) as usize]);
        }
        damage
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
                let mut damage = Damage::none();
                damage.add(*rect);
                log.record(at(index), &damage);
            }
            let newest = at(frames.len() - 1);
            for age in 0..100u64 {
                let Some(held) = newest.checked_sub(age) else { break };
                let since = log.since(held);
                let is_known = age <= LOG_FRAMES as u64 && held >= start - 1;
                if !is_known {
                    prop_assert_eq!(since, Damage::full(300, 300));
                    continue;
                }
                for (index, rect) in frames.iter().enumerate() {
                    if at(index) > held && !rect.is_empty() {
                        prop_assert!(since.rects().iter().any(|held| held.contains(rect)) );
                    }
                }
                if age == 0 {
                    prop_assert!(since.is_empty());
                }
            }
            prop_assert_eq!(log.since(newest + 1), Damage::full(300, 300));
        }
    }

    #[test]
    fn a_skipped_number_makes_older_frames_unknown() {
        let mut log = DamageLog::new(10, 10);
        log.record(1, &Damage::none());
        log.record(2, &Damage::none());
        assert!(log.since(1).is_empty());
        log.record(4, &Damage::none());
        assert!(log.since(3).is_empty());
        assert_eq!(log.since(2).area(), 100);
    }
}
