//! Which shapes reach into which part of the frame.
//!
//! The frame is divided into cells. Each lists its shapes in painter's order, and the rectangles to draw in the order
//! in which they were given: then every pixel is painted by the same shapes in the same order as if one rectangle
//! was drawn after the other.

use crate::Rect;
use crate::scene::{Scene, Shape};

/// A cell has two to this power rows.
const ROWS_BITS: u32 = 5;
/// A cell has two to this power columns.
const COLUMNS_BITS: u32 = 8;

/// The cells of a frame.
#[derive(Debug, Default)]
pub(super) struct Bins {
    grid: Grid,
    /// The rectangles, without what lies outside the frame.
    clips: Vec<Rect>,
    rects: Lists,
    shapes: Lists,
}

impl Bins {
    /// Sorts the shapes of a scene and the rectangles to draw into the cells of a frame.
    pub(super) fn sort(&mut self, scene: &Scene, rects: &[Rect], bounds: Rect) {
        self.grid = Grid::new(bounds);
        self.clips.clear();
        self.clips.extend(rects.iter().map(|rect| rect.intersect(&bounds)).filter(|rect| !rect.is_empty()));
        let (grid, rects) = (&self.grid, &mut self.rects);
        rects.fill(grid, &Clips(&self.clips));
        self.shapes.fill(grid, &Shapes { scene, rects });
    }

    /// How much memory it has.
    #[cfg(test)]
    pub(super) fn capacities(&self) -> [usize; 5] {
        let lists =
            [&self.rects, &self.shapes].map(|lists| [lists.ends.capacity(), lists.numbers.capacity()]);
        [self.clips.capacity(), lists[0][0], lists[0][1], lists[1][0], lists[1][1]]
    }

    /// How many cells there are.
    pub(super) fn cells(&self) -> usize {
        self.grid.columns * self.grid.rows
    }

    /// The part of a cell in each rectangle.
    #[inline(always)]
    pub(super) fn clips(&self, cell: usize) -> impl Iterator<Item = Rect> {
        let area = self.grid.area(cell);
        self.rects.of(cell).iter().map(move |at| self.clips[*at as usize].intersect(&area))
    }

    /// The numbers of a cell's shapes.
    #[inline(always)]
    pub(super) fn shapes(&self, cell: usize) -> &[u32] {
        self.shapes.of(cell)
    }
}

/// How a frame is divided.
#[derive(Debug, Default)]
struct Grid {
    columns: usize,
    rows: usize,
}

impl Grid {
    fn new(bounds: Rect) -> Self {
        let cells = |pixels: u16, bits: u32| usize::from(pixels).div_ceil(1 << bits);
        Self { columns: cells(bounds.w, COLUMNS_BITS), rows: cells(bounds.h, ROWS_BITS) }
    }

    fn area(&self, cell: usize) -> Rect {
        let (column, row) = (cell % self.columns, cell / self.columns);
        Rect::new(
            (column << COLUMNS_BITS) as u16,
            (row << ROWS_BITS) as u16,
            1 << COLUMNS_BITS,
            1 << ROWS_BITS,
        )
    }

    /// Calls `visit` for every cell that an area touches. The area is not empty.
    #[inline(always)]
    fn visit(&self, area: &Rect, mut visit: impl FnMut(usize)) {
        let (left, right) =
            (usize::from(area.x) >> COLUMNS_BITS, (area.right() as usize - 1) >> COLUMNS_BITS);
        let (top, bottom) = (usize::from(area.y) >> ROWS_BITS, (area.bottom() as usize - 1) >> ROWS_BITS);
        for row in top..(bottom + 1).min(self.rows) {
            for column in left..(right + 1).min(self.columns) {
                visit(row * self.columns + column);
            }
        }
    }
}

/// What is listed.
trait Source {
    /// Calls `list` with every number, and with each cell in which it belongs.
    fn each(&self, grid: &Grid, list: impl FnMut(usize, u32));
}

/// Rectangles, by their place.
struct Clips<'a>(&'a [Rect]);

impl Source for Clips<'_> {
    fn each(&self, grid: &Grid, mut list: impl FnMut(usize, u32)) {
        for (at, clip) in (0..).zip(self.0) {
            grid.visit(clip, |cell| list(cell, at));
        }
    }
}

/// Shapes by their numbers, where there is something to draw.
struct Shapes<'a> {
    scene: &'a Scene,
    rects: &'a Lists,
}

impl Source for Shapes<'_> {
    fn each(&self, grid: &Grid, mut list: impl FnMut(usize, u32)) {
        for (layer, shapes) in self.scene.layers().iter().enumerate() {
            for (number, shape) in (number(layer, 0)..).zip(&shapes.list) {
                grid.visit(&shape.area, |cell| {
                    if !self.rects.of(cell).is_empty() {
                        list(cell, number);
                    }
                });
            }
        }
    }
}

/// A list of numbers for each cell: a counting sort into memory that is kept.
#[derive(Debug, Default)]
struct Lists {
    /// Where the list of each cell ends in `numbers`. It begins where the one before ends.
    ends: Vec<u32>,
    numbers: Vec<u32>,
}

impl Lists {
    /// Lists all that there is.
    fn fill(&mut self, grid: &Grid, all: &impl Source) {
        self.ends.clear();
        self.ends.resize(grid.columns * grid.rows + 1, 0);
        let counts = &mut self.ends[1..];
        all.each(grid, |cell, _| counts[cell] += 1);
        let mut sum = 0;
        for end in &mut self.ends {
            sum += *end;
            *end = sum;
        }
        // Now each place is where the cell's list begins, and moves on as numbers are added.
        if self.numbers.len() < sum as usize {
            self.numbers.resize(sum as usize, 0);
        }
        let (ends, numbers) = (&mut self.ends[..], &mut self.numbers[..]);
        all.each(grid, |cell, number| {
            numbers[ends[cell] as usize] = number;
            ends[cell] += 1;
        });
    }

    #[inline(always)]
    fn of(&self, cell: usize) -> &[u32] {
        let start = if cell == 0 { 0 } else { self.ends[cell - 1] };
        &self.numbers[start as usize..self.ends[cell] as usize]
    }
}

/// The number of a shape in a scene: its layer, and its place there.
const fn number(layer: usize, at: usize) -> u32 {
    (layer << PLACE_BITS | at) as u32
}

/// The shape with this number.
#[inline(always)]
pub(super) fn shape(layers: &[&[Shape]], number: u32) -> Shape {
    layers[number as usize >> PLACE_BITS][number as usize & ((1 << PLACE_BITS) - 1)]
}

/// A layer may hold 2^28 shapes: more would not fit in memory beside the frame.
const PLACE_BITS: usize = 28;
