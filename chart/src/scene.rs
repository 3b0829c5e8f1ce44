//! What is on a chart, as integers: shapes with a place and a colour, in layers, in painter's order.
//!
//! From the same scene every rasteriser makes the same bytes. What holds:
//!
//! - Every shape lies within the frame, so that drawing needs no checks but the clip's.
//! - The first shape of the first layer covers the frame. No pixel of an earlier picture shows through.
//! - A shape paints the same pixels whatever the clip: patterns count from the frame's corner, not the shape's.

use crate::Rect;
use crate::text::{Atlas, Face};

/// How a shape's area is painted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// All of it.
    Solid,
    /// Columns whose `x % (2 * run)` is less than `run`.
    Dash {
        /// Columns painted, and columns left out, in turn.
        run: u8,
    },
    /// Rows whose `y % (2 * run)` is less than `run`.
    DashDown {
        /// Rows painted, and rows left out, in turn.
        run: u8,
    },
    /// Diagonals: pixels whose `(x + y) % period` is less than `width`.
    Hatch {
        /// Pixels from one diagonal to the next.
        period: u8,
        /// Pixels of a diagonal in each row.
        width: u8,
    },
    /// A stretch of a smooth line: all of it, but the first row with coverage `top`, and the last with `bottom`. Where
    /// it is one row high, that has coverage `top`.
    Column {
        /// Coverage of the first row, 0 to 255.
        top: u8,
        /// Coverage of the last row, 0 to 255.
        bottom: u8,
    },
    /// The coverage of a glyph, by its index in the atlas. The area is the size of the glyph.
    Glyph(u16),
}

/// A shape: an area, a colour and a way to paint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Where it may paint.
    pub area: Rect,
    /// An opaque pixel, as in [`Frame::pixels`](crate::Frame::pixels).
    pub color: u32,
    /// Which pixels of the area it paints.
    pub paint: Paint,
}

/// Layers from the bottom to the top.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// One shape, as large as the frame.
    Background,
    /// What fills an area below the grid: under a line, between bands, a volume profile, the watermark. Of all bars
    /// but the newest.
    Fill,
    /// The same, of the newest bar.
    LastFill,
    /// The grid, and the hatching of gaps.
    Grid,
    /// The time axis, borders and the title.
    Axes,
    /// Labels of the vertical axes, but for the one that the last price's label would cover.
    Ticks,
    /// All bars but the newest, and the indicators' lines.
    Series,
    /// The newest bar.
    Last,
    /// Price lines and markers that a user has set.
    Marks,
    /// The line at the last price, and its label.
    Price,
    /// The legend, and messages.
    Legend,
    /// The crosshair.
    Pointer,
}

impl Layer {
    /// Every layer, bottom layer first.
    pub const ALL: [Self; LAYERS] = [
        Self::Background,
        Self::Fill,
        Self::LastFill,
        Self::Grid,
        Self::Axes,
        Self::Ticks,
        Self::Series,
        Self::Last,
        Self::Marks,
        Self::Price,
        Self::Legend,
        Self::Pointer,
    ];
}

/// How many layers there are.
pub const LAYERS: usize = 12;

/// Every so many shapes have their common bounds noted, so that drawing a small clip skips most of a layer.
const GROUP: usize = 32;

/// A picture yet to be drawn.
#[derive(Debug, Clone)]
pub struct Scene {
    bounds: Rect,
    atlas: &'static Atlas,
    layers: [Shapes; LAYERS],
}

/// The shapes of a layer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shapes {
    pub list: Vec<Shape>,
    /// The bounds of each [`GROUP`] of shapes.
    groups: Vec<Rect>,
    /// Two layers of the same version are equal. None where that is not known.
    pub version: Option<u64>,
}

impl Shapes {
    /// The shapes in groups, each with bounds around it.
    #[inline(always)]
    pub(crate) fn groups(&self) -> impl Iterator<Item = (&Rect, &[Shape])> {
        self.groups.iter().zip(self.list.chunks(GROUP))
    }

    fn clear(&mut self) {
        self.list.clear();
        self.groups.clear();
        self.version = None;
    }
}

impl Scene {
    /// A scene without shapes, with room for so many in the layers that the bars fill: nothing is allocated later.
    pub(crate) fn new(bounds: Rect, atlas: &'static Atlas, shapes: usize) -> Self {
        let mut layers: [Shapes; LAYERS] = Default::default();
        let rows_and_columns = usize::from(bounds.w) + usize::from(bounds.h);
        for (layer, list) in Layer::ALL.into_iter().zip(&mut layers) {
            let room = match layer {
                Layer::Series | Layer::Fill => shapes,
                // Grid lines, labels and marks: fewer than one for each pixel across, and a few on each row of text.
                _ => 1_024 + 2 * rows_and_columns,
            };
            let shapes = list;
            shapes.list.reserve_exact(room);
            shapes.groups.reserve_exact(room.div_ceil(GROUP));
        }
        Self { bounds, atlas, layers }
    }

    /// The frame that it fills.
    pub fn bounds(&self) -> Rect {
        self.bounds
    }

    /// Where its glyphs are from.
    pub fn atlas(&self) -> &'static Atlas {
        self.atlas
    }

    /// The shapes of a layer, in painter's order.
    pub fn layer(&self, layer: Layer) -> &[Shape] {
        &self.layers[layer as usize].list
    }

    /// The layers, bottom layer first.
    pub(crate) fn layers(&self) -> &[Shapes; LAYERS] {
        &self.layers
    }

    /// All shapes that reach into `clip`, each with the part of its area that does, in painter's order.
    pub fn shapes_in(&self, clip: Rect) -> impl Iterator<Item = (&Shape, Rect)> {
        let groups = self.layers.iter().flat_map(|layer| layer.groups.iter().zip(layer.list.chunks(GROUP)));
        groups
            .filter(move |(bounds, _)| !bounds.intersect(&clip).is_empty())
            .flat_map(|(_, shapes)| shapes)
            .map(move |shape| (shape, shape.area.intersect(&clip)))
            .filter(|(_, area)| !area.is_empty())
    }

    /// Removes the shapes of a layer and keeps the memory.
    pub(crate) fn clear(&mut self, layer: Layer) {
        self.layers[layer as usize].clear();
    }

    /// Removes all shapes and keeps the memory.
    pub(crate) fn clear_all(&mut self) {
        self.layers.iter_mut().for_each(Shapes::clear);
    }

    /// Whether a layer still has the shapes of this version. If not, it is cleared to receive them.
    pub(crate) fn keeps(&mut self, layer: Layer, version: u64) -> bool {
        let layer = &mut self.layers[layer as usize];
        let kept = layer.version == Some(version);
        if !kept {
            layer.clear();
            layer.version = Some(version);
        }
        kept
    }

    /// Clears a layer, to receive the shapes of this version.
    pub(crate) fn renew(&mut self, layer: Layer, version: u64) {
        self.layers[layer as usize].clear();
        self.layers[layer as usize].version = Some(version);
    }

    /// Adds an area painted all over.
    pub(crate) fn solid(&mut self, layer: Layer, area: Rect, color: u32) {
        self.push(layer, Shape { area, color, paint: Paint::Solid });
    }

    /// Adds a shape, unless it covers nothing.
    pub(crate) fn push(&mut self, layer: Layer, shape: Shape) {
        debug_assert!(self.bounds.contains(&shape.area));
        if shape.area.is_empty() {
            return;
        }
        let layer = &mut self.layers[layer as usize];
        if layer.list.len().is_multiple_of(GROUP) {
            layer.groups.push(shape.area);
        } else if let Some(bounds) = layer.groups.last_mut() {
            *bounds = bounds.union(&shape.area);
        }
        layer.list.push(shape);
    }

    /// Adds `text` from column `x` on the line whose baseline is row `baseline`. Glyphs that do not lie wholly in
    /// `within` are left out.
    pub(crate) fn text(
        &mut self,
        layer: Layer,
        text: &str,
        style: Style,
        (x, baseline): (i32, i32),
        within: Rect,
    ) {
        let mut pen = x;
        for character in text.chars() {
            let index = self.atlas.index(style.face, character);
            let glyph = self.atlas.glyph(index);
            let (left, top) = (pen + i32::from(glyph.left), baseline - i32::from(glyph.top));
            let (right, bottom) = (left + i32::from(glyph.width), top + i32::from(glyph.height));
            let area = Rect::from_edges(left, top, right, bottom, within.intersect(&self.bounds));
            if area.w == glyph.width && area.h == glyph.height {
                self.push(layer, Shape { area, color: style.color, paint: Paint::Glyph(index) });
            }
            pen += i32::from(glyph.advance);
        }
    }
}

/// How text looks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    pub face: Face,
    pub color: u32,
}
