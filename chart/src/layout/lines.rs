//! Smooth lines and the areas beside them, as columns of pixels. All in integers: rows are in 256ths.
//!
//! A line goes from the middle of one column to the middle of another, always to the right. Of each pixel column that it
//! crosses it covers one stretch, whose ends are covered in part. That is exact in the direction in which charts are
//! looked at, and the same on every machine.

use crate::Rect;
use crate::scene::{Layer, Paint, Scene, Shape};

/// A place on a chart: a column in pixels, and a row in 256ths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Point {
    pub x: i32,
    pub row: i32,
}

/// Half of a line's width at scale 1, in 256ths.
const HALF_WIDTH: i32 = 192;

/// The row of the line from `a` to `b` at the left edge of pixel column `x`.
fn row_at(a: Point, b: Point, x: i32) -> i32 {
    let (across, down) = (i64::from(b.x - a.x).max(1), i64::from(b.row - a.row));
    a.row + (down * i64::from(x - a.x)).div_euclid(across) as i32
}

/// Draws the line from `a` to the column before `b`'s: there the next stretch begins.
pub(super) fn stretch(
    scene: &mut Scene,
    layer: Layer,
    (a, b): (Point, Point),
    (color, scale): (u32, i32),
    pane: &Rect,
) {
    let half = HALF_WIDTH * scale;
    let mut run: Option<(i32, i32, i32, i32)> = None;
    for x in a.x.max(pane.x.into())..b.x.min(pane.right()) {
        let (left, right) = (row_at(a, b, x), row_at(a, b, x + 1));
        let (top, bottom) = (left.min(right) - half, left.max(right) + half);
        // Columns that are alike become one shape.
        match &mut run {
            Some((_, end, same_top, same_bottom)) if (*same_top, *same_bottom) == (top, bottom) => {
                *end = x + 1
            }
            _ => {
                push(scene, layer, run.replace((x, x + 1, top, bottom)), color, pane);
            }
        }
    }
    push(scene, layer, run, color, pane);
}

/// Draws a point alone, as where a line ends.
pub(super) fn dot(scene: &mut Scene, layer: Layer, at: Point, (color, scale): (u32, i32), pane: &Rect) {
    let (half, left) = (HALF_WIDTH * scale, at.x - scale / 2);
    push(scene, layer, Some((left, left + scale, at.row - half, at.row + half)), color, pane);
}

/// Adds the pixel columns `left..right`, covered from `top` to `bottom`.
fn push(scene: &mut Scene, layer: Layer, run: Option<(i32, i32, i32, i32)>, color: u32, pane: &Rect) {
    let Some((left, right, top, bottom)) = run else { return };
    let (first, last) = (top >> 8, (bottom - 1) >> 8);
    let area = Rect::from_edges(left, first, right, last + 1, *pane);
    if area.is_empty() {
        return;
    }
    let coverage = |part: i32| part.clamp(0, 255) as u8;
    let (starts_inside, ends_inside) = (i32::from(area.y) == first, area.bottom() == last + 1);
    let (head, tail) = match (starts_inside, ends_inside) {
        (true, true) if first == last => (bottom - top, 0),
        (true, true) => (256 - (top & 255), bottom - (last << 8)),
        (true, false) => (256 - (top & 255), 256),
        // One row may be all that is left of it, and that is the last.
        (false, true) if area.h == 1 => (bottom - (last << 8), 0),
        (false, true) => (256, bottom - (last << 8)),
        (false, false) => (256, 256),
    };
    let paint = Paint::Column { top: coverage(head), bottom: coverage(tail) };
    scene.push(layer, Shape { area, color, paint });
}

/// Fills the pixel columns from `a.x` to before `b.x` between two lines, which may cross. Each is given by its two ends.
pub(super) fn between(
    scene: &mut Scene,
    layer: Layer,
    upper: (Point, Point),
    lower: (Point, Point),
    color: u32,
    pane: &Rect,
) {
    let (from, to) = (upper.0.x.max(pane.x.into()), upper.1.x.min(pane.right()));
    if from >= to {
        return;
    }
    let rows = |x: i32| {
        let [one, other] = [upper, lower].map(|(a, b)| row_at(a, b, x) >> 8);
        (one.min(other), one.max(other) + 1)
    };
    // What all columns have in common is one shape; above and below it each column has its own.
    let (mut top, mut bottom) = rows(from);
    for x in from + 1..to {
        let (first, end) = rows(x);
        (top, bottom) = (top.max(first), bottom.min(end));
    }
    let (top, bottom) = if top < bottom { (top, bottom) } else { (bottom, bottom) };
    scene.solid(layer, Rect::from_edges(from, top, to, bottom, *pane), color);
    for x in from..to {
        let (first, end) = rows(x);
        scene.solid(layer, Rect::from_edges(x, first, x + 1, end.min(top), *pane), color);
        scene.solid(layer, Rect::from_edges(x, first.max(bottom), x + 1, end, *pane), color);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Atlas;

    fn scene() -> Scene {
        Scene::new(Rect::new(0, 0, 100, 100), Atlas::at_scale(1), 100)
    }

    const PANE: Rect = Rect::new(0, 10, 100, 80);

    #[test]
    fn a_level_line_is_one_shape() {
        let mut scene = scene();
        let (a, b) = (Point { x: 5, row: 50 << 8 | 128 }, Point { x: 45, row: 50 << 8 | 128 });
        stretch(&mut scene, Layer::Series, (a, b), (7, 1), &PANE);
        let shapes = scene.layer(Layer::Series);
        assert_eq!(shapes.len(), 1);
        // Three quarters of a row above and below its middle.
        assert_eq!(shapes[0].area, Rect::new(5, 49, 40, 3));
        assert_eq!(shapes[0].paint, Paint::Column { top: 64, bottom: 64 });
    }

    #[test]
    fn a_line_has_no_holes_and_stays_in_its_pane() {
        for rows in [(20, 80), (80, 20), (-500, 500), (40, 41), (5, 5), (90, 120)] {
            let mut scene = scene();
            let (a, b) = (Point { x: 10, row: rows.0 << 8 }, Point { x: 30, row: rows.1 << 8 });
            stretch(&mut scene, Layer::Series, (a, b), (7, 1), &PANE);
            let shapes = scene.layer(Layer::Series);
            for pair in shapes.windows(2) {
                assert!(pair[0].area.right() >= i32::from(pair[1].area.x) || rows.0 < 0);
                let [one, next] = [pair[0].area, pair[1].area];
                let touch = one.bottom() >= i32::from(next.y) && next.bottom() >= i32::from(one.y);
                assert!(touch || rows.0 < 0, "{one:?} and {next:?}");
            }
            assert!(shapes.iter().all(|shape| PANE.contains(&shape.area)));
        }
    }

    #[test]
    fn what_lies_between_two_lines_is_filled_once() {
        let mut scene = scene();
        let point = |x, row: i32| Point { x, row: row << 8 };
        let (upper, lower) = ((point(10, 20), point(30, 60)), (point(10, 70), point(30, 30)));
        between(&mut scene, Layer::Fill, upper, lower, 7, &PANE);
        let covers = |x: u16, y: u16| {
            let shapes = scene.layer(Layer::Fill).iter();
            shapes.filter(|shape| shape.area.contains(&Rect::new(x, y, 1, 1))).count()
        };
        for x in 0..50u16 {
            let (one, other) = (20 + 2 * (i32::from(x) - 10), 70 - 2 * (i32::from(x) - 10));
            for y in 0..100u16 {
                let inside = (10..30).contains(&x) && (one.min(other)..=one.max(other)).contains(&y.into());
                assert_eq!(covers(x, y), usize::from(inside), "{x},{y}");
            }
        }
    }
}
