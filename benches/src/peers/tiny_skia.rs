//! tiny-skia with our scene: rectangles without anti-aliasing, which is its quickest way, and text from our glyphs,
//! coloured beforehand, since it has no text of its own. A part of the picture is drawn into a pixmap of that part's
//! size, then copied: it clips by masks only, and a mask is as large as the frame.

use super::Painter;
use chart::scene::{Paint as Painted, Scene, Shape};
use chart::{Frame, Rect};
use std::collections::HashMap;
use tiny_skia::{Color, Paint, Pixmap, PixmapMut, PixmapPaint, PremultipliedColorU8, Shader, Transform};

pub(crate) struct TinySkia {
    width: u32,
    height: u32,
    frame: Vec<u8>,
    /// The part that is being drawn.
    part: Vec<u8>,
    /// Glyphs by index and colour.
    glyphs: HashMap<(u16, u32), Pixmap>,
}

impl TinySkia {
    pub(crate) fn new(frame: &Frame) -> Self {
        let bytes = 4 * frame.pixels().len();
        let (width, height) = (frame.width(), frame.height());
        Self { width, height, frame: vec![0; bytes], part: vec![0; bytes], glyphs: HashMap::new() }
    }
}

impl Painter for TinySkia {
    fn draw(&mut self, scene: &Scene, rects: &[Rect]) {
        rects.iter().for_each(|rect| self.part(scene, *rect));
    }

    fn pixels(&self) -> Vec<u32> {
        super::as_pixels(&self.frame)
    }
}

impl TinySkia {
    fn part(&mut self, scene: &Scene, clip: Rect) {
        let (w, h) = (u32::from(clip.w), u32::from(clip.h));
        let whole = clip == Rect::new(0, 0, self.width as u16, self.height as u16);
        let bytes = if whole { &mut self.frame } else { &mut self.part };
        // The buffers hold a frame, and no part is larger.
        let pixels = PixmapMut::from_bytes(&mut bytes[..(4 * w * h) as usize], w, h);
        paint(&mut pixels.expect("a part of the frame"), scene, clip, &mut self.glyphs);
        if !whole {
            super::copy_part(&self.part, &mut self.frame, self.width, clip);
        }
    }
}

fn paint(target: &mut PixmapMut<'_>, scene: &Scene, clip: Rect, glyphs: &mut HashMap<(u16, u32), Pixmap>) {
    let (left, top) = (i32::from(clip.x), i32::from(clip.y));
    let mut paint = Paint { anti_alias: false, ..Paint::default() };
    for (shape, area) in scene.shapes_in(clip) {
        let (x, y) = (i32::from(area.x) - left, i32::from(area.y) - top);
        paint.shader = Shader::SolidColor(color(shape.color));
        let mut fill = |x: i32, w: i32| {
            let rect = tiny_skia::Rect::from_xywh(x as f32, y as f32, w as f32, area.h.into());
            target.fill_rect(rect.expect("shapes have a size"), &paint, Transform::identity(), None);
        };
        match shape.paint {
            Painted::Dash { run } => super::dashes(area, run.into(), |x, w| fill(x - left, w)),
            Painted::Glyph(index) => {
                let glyph =
                    glyphs.entry((index, shape.color)).or_insert_with(|| colored(scene, shape, index));
                let (x, y) = (i32::from(shape.area.x) - left, i32::from(shape.area.y) - top);
                let paint = PixmapPaint::default();
                target.draw_pixmap(x, y, glyph.as_ref(), &paint, Transform::identity(), None);
            }
            _ => fill(x, area.w.into()),
        }
    }
}

fn color(pixel: u32) -> Color {
    let [r, g, b, a] = pixel.to_le_bytes();
    Color::from_rgba8(r, g, b, a)
}

/// A glyph in a colour, as a pixmap.
fn colored(scene: &Scene, shape: &Shape, index: u16) -> Pixmap {
    let (glyph, atlas) = (scene.atlas().glyph(index), scene.atlas());
    let mut pixmap = Pixmap::new(glyph.width.into(), glyph.height.into()).expect("shapes have a size");
    let [r, g, b, _] = shape.color.to_le_bytes();
    for (pixel, coverage) in pixmap.pixels_mut().iter_mut().zip(&atlas.coverage()[glyph.start as usize..]) {
        let part = |channel: u8| ((u32::from(channel) * u32::from(*coverage) + 127) / 255) as u8;
        // Each channel is at most the coverage.
        *pixel =
            PremultipliedColorU8::from_rgba(part(r), part(g), part(b), *coverage).expect("premultiplied");
    }
    pixmap
}
