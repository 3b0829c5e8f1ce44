//! vello_cpu with our scene: its u8 pipeline on one thread, rectangles, and text as runs of glyphs of the same font,
//! whose outlines it caches. A part of the picture is drawn by a context of that part's size, then copied.

use super::Painter;
use chart::scene::{Paint, Scene};
use chart::{Frame, Rect};
use std::sync::Arc;
use vello_cpu::color::{AlphaColor, Srgb};
use vello_cpu::kurbo::{self, Affine};
use vello_cpu::peniko::{Blob, FontData};
use vello_cpu::{Glyph, PixmapMut, RenderContext, Resources};

pub(crate) struct Vello {
    width: u32,
    context: RenderContext,
    resources: Resources,
    font: FontData,
    /// The font's glyphs for those of our atlas.
    ids: Vec<(u16, u32)>,
    /// Glyphs of one size and colour.
    run: Vec<Glyph>,
    frame: Vec<u8>,
    /// The part that is being drawn.
    part: Vec<u8>,
}

impl Vello {
    pub(crate) fn new(frame: &Frame) -> anyhow::Result<Self> {
        let bytes = dejavu::sans_condensed::regular();
        let font = fontdue::Font::from_bytes(bytes, fontdue::FontSettings::default());
        let font = font.map_err(|error| anyhow::anyhow!("the font cannot be read: {error}"))?;
        let id = |glyph: u16| {
            let (size, character) = super::character(glyph);
            (size, u32::from(font.lookup_glyph_index(character)))
        };
        let len = 4 * frame.pixels().len();
        Ok(Self {
            width: frame.width(),
            context: RenderContext::new(frame.width() as u16, frame.height() as u16),
            resources: Resources::new(),
            font: FontData::new(Blob::new(Arc::new(bytes)), 0),
            ids: (0..super::GLYPHS).map(id).collect(),
            run: Vec::new(),
            frame: vec![0; len],
            part: vec![0; len],
        })
    }

    /// Draws the glyphs of the run.
    fn flush(&mut self, (size, color): (u16, u32)) {
        if !self.run.is_empty() {
            self.context.set_paint(paint(color));
            let run = self.context.glyph_run(&mut self.resources, &self.font).font_size(size.into());
            // Every character of our atlas is in the font.
            run.fill_glyphs(self.run.drain(..).collect::<Vec<_>>().into_iter()).expect("known glyphs");
        }
    }

    fn part(&mut self, scene: &Scene, clip: Rect) {
        let whole = clip == scene.bounds();
        self.context.reset_and_resize(clip.w, clip.h);
        self.context.set_transform(Affine::translate((-f64::from(clip.x), -f64::from(clip.y))));
        let mut of = (0, 0);
        for (shape, area) in scene.shapes_in(clip) {
            if let Paint::Glyph(index) = shape.paint {
                let (size, id) = self.ids[usize::from(index)];
                if of != (size, shape.color) {
                    self.flush(of);
                    of = (size, shape.color);
                }
                let (x, y) = super::pen(scene, shape, index);
                self.run.push(Glyph { id, x: x as f32, y: y as f32 });
                continue;
            }
            self.flush(of);
            self.context.set_paint(paint(shape.color));
            let (top, bottom) = (f64::from(area.y), f64::from(area.bottom()));
            let mut fill = |x: i32, w: i32| {
                self.context.fill_rect(&kurbo::Rect::new(x.into(), top, (x + w).into(), bottom));
            };
            match shape.paint {
                Paint::Dash { run } => super::dashes(area, run.into(), fill),
                _ => fill(area.x.into(), area.w.into()),
            }
        }
        self.flush(of);
        self.context.flush();
        let bytes = if whole { &mut self.frame } else { &mut self.part };
        let len = 4 * usize::from(clip.w) * usize::from(clip.h);
        // The buffers hold a frame, and no part is larger.
        let target = PixmapMut::new(clip.w, clip.h, &mut bytes[..len]).expect("a part of the frame");
        self.context.render(target, &mut self.resources);
        if !whole {
            super::copy_part(&self.part, &mut self.frame, self.width, clip);
        }
    }
}

impl Painter for Vello {
    fn draw(&mut self, scene: &Scene, rects: &[Rect]) {
        rects.iter().for_each(|rect| self.part(scene, *rect));
    }

    fn pixels(&self) -> Vec<u32> {
        super::as_pixels(&self.frame)
    }
}

fn paint(pixel: u32) -> AlphaColor<Srgb> {
    let [r, g, b, a] = pixel.to_le_bytes();
    AlphaColor::from_rgba8(r, g, b, a)
}
