//! Rivals that draw the picture of our chart beside us: the same candles, size, panes, grid, axes, labels and price
//! line.
//!
//! What holds: a rasteriser that has no charts of its own (tiny-skia, vello_cpu, Pillow) is given our finished scene,
//! so our layout costs it nothing; a library that has charts (plotters, matplotlib, mplfinance) is given our panes and
//! ranges and lays out the rest itself. Each draws every candle where ours is, within one pixel: that is checked on
//! the pixels that it drew, before anything is timed.

pub(crate) mod arms;
mod plotters;
mod python;
mod tiny_skia;
mod vello;

use anyhow::{Context, ensure};
use chart::scene::{Layer, Paint, Scene, Shape};
use chart::{Chart, Rect};
use market::Candle;
use std::path::Path;

/// A rasteriser that draws our scene into a frame of its own.
pub(crate) trait Painter {
    /// Draws what of the scene lies in `rects`, and leaves the rest of the frame as it is.
    fn draw(&mut self, scene: &Scene, rects: &[Rect]);
    /// The frame, as our pixels are.
    fn pixels(&self) -> Vec<u32>;
}

/// What our layout found out: where things are in the picture.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) size: (u32, u32),
    /// The bars shown, oldest first.
    pub(crate) bars: Vec<Candle>,
    /// The left edge of the first bar's slot, from one bar to the next, and the width of a body.
    pub(crate) left: i32,
    pub(crate) spacing: i32,
    pub(crate) body: i32,
    /// The first row of the price pane, of the volume pane and of the time axis; the first column of the gutter.
    pub(crate) header: i32,
    pub(crate) volume: i32,
    pub(crate) times: i32,
    pub(crate) gutter: i32,
    /// The middle row of a price is `slope * price + offset`.
    slope: f64,
    offset: f64,
    /// The volume at the top of its pane.
    pub(crate) volume_top: f64,
    /// The row of the price line.
    pub(crate) line: i32,
    pub(crate) texts: Vec<Text>,
    pub(crate) colors: Colors,
}

/// The colours of the picture, as our pixels are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Colors {
    pub(crate) background: u32,
    pub(crate) grid: u32,
    pub(crate) border: u32,
    pub(crate) text: u32,
    pub(crate) candles: [u32; 2],
    pub(crate) volumes: [u32; 2],
}

/// A piece of text on one line.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    pub(crate) layer: Layer,
    pub(crate) text: String,
    /// Where the pen begins.
    pub(crate) x: i32,
    pub(crate) baseline: i32,
    /// Its size, pixels to the em.
    pub(crate) size: u16,
    pub(crate) color: u32,
}

/// Falling, then rising: the colours of the theme that the benches draw.
const CANDLES: [u32; 2] = [0xef5350, 0x26a69a];
/// How far a colour may be from a candle's to count as one, in each channel: a pixel that a rival covers by half does,
/// and lines and background do not.
const LIKENESS: i32 = 112;

impl Plan {
    /// The plan of what `chart` shows, which must be candles that follow the newest bar, with volume.
    pub(crate) fn of(chart: &Chart) -> anyhow::Result<Self> {
        let scene = chart.scene();
        for layer in Layer::ALL {
            let known =
                |shape: &Shape| matches!(shape.paint, Paint::Solid | Paint::Dash { .. } | Paint::Glyph(_));
            ensure!(scene.layer(layer).iter().all(known), "rivals cannot draw all of {layer:?}");
        }
        let size = (chart.frame().width(), chart.frame().height());
        let borders: Vec<Rect> = scene.layer(Layer::Axes).iter().map(|shape| shape.area).collect();
        let across = |area: &&Rect| u32::from(area.w) == size.0 && area.h == 1;
        let mut rows: Vec<i32> = borders.iter().filter(across).map(|area| area.y.into()).collect();
        rows.sort_unstable();
        let down = borders.iter().find(|area| u32::from(area.h) == size.1 && area.w == 1);
        let (gutter, [volume, times]) = match (down, &rows[..]) {
            (Some(down), [volume, times]) => (i32::from(down.x), [*volume, *times]),
            _ => anyhow::bail!("the picture is not divided as the rivals' is"),
        };
        let at_bottom = |shape: &&Shape| shape.area.bottom() == times && i32::from(shape.area.y) > volume;
        let layers = [Layer::Series, Layer::Last].map(|layer| scene.layer(layer));
        let volumes: Vec<&Shape> = layers.into_iter().flatten().filter(at_bottom).collect();
        let shown = &chart.bars()[chart.bars().len() - volumes.len().min(chart.bars().len())..];
        let (Some([first, second]), Some(newest)) = (volumes.first_chunk(), shown.last()) else {
            anyhow::bail!("there are too few bars")
        };
        let spacing = i32::from(second.area.x) - i32::from(first.area.x);
        let body = i32::from(first.area.w);
        let rises = |bar: &Candle| bar.ohlc.is_some_and(|ohlc| ohlc.close >= ohlc.open);
        let of_one =
            |up| shown.iter().zip(&volumes).find(|(bar, _)| rises(bar) == up).map(|(_, shape)| shape.color);
        let [fallen, risen] = [of_one(false), of_one(true)].map(|color| color.context("all bars go one way"));
        let color_of = |layer| scene.layer(layer).first().map_or(0, |shape: &Shape| shape.color);
        let mut plan = Self {
            size,
            bars: shown.to_vec(),
            left: i32::from(first.area.x) - (spacing - body) / 2,
            spacing,
            body,
            // Nothing is drawn where the header ends; at this size it has one line.
            header: 30,
            volume,
            times,
            gutter,
            slope: 0.0,
            offset: 0.0,
            volume_top: 0.0,
            line: scene.layer(Layer::Price).first().map_or(0, |shape| shape.area.y.into()),
            texts: texts(scene),
            colors: Colors {
                background: color_of(Layer::Background),
                grid: color_of(Layer::Grid),
                border: scene
                    .layer(Layer::Axes)
                    .iter()
                    .find(|shape| shape.area.w == 1)
                    .map_or(0, |shape| shape.color),
                text: color_of(Layer::Ticks),
                candles: CANDLES.map(pixel),
                volumes: [fallen?, risen?],
            },
        };
        let most = shown.iter().zip(&volumes).max_by_key(|(bar, _)| bar.volume);
        let (bar, shape) = most.context("there are no bars")?;
        plan.volume_top = bar.volume as f64 * f64::from(times - volume) / f64::from(shape.area.h);
        plan.fit(&boxes(chart.frame().pixels(), &plan));
        let title = plan.texts.iter().any(|text| text.text.contains("BTCUSDT · binance"));
        ensure!(title && newest.ohlc.is_some(), "the picture's text was not understood");
        Ok(plan)
    }

    /// Finds prices' rows from where the candles' highs and lows are: least squares, a line through hundreds of points.
    fn fit(&mut self, boxes: &[Extent]) {
        let ends = |(bar, extent): (&Candle, &Extent)| {
            let (ohlc, (top, bottom)) = (bar.ohlc?, extent.wick?);
            Some([(ohlc.high as f64, f64::from(top)), (ohlc.low as f64, f64::from(bottom - 1))])
        };
        let points: Vec<(f64, f64)> = self.bars.iter().zip(boxes).filter_map(ends).flatten().collect();
        let count = points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
        let (price, row) = (mean(|point| point.0), mean(|point| point.1));
        let sum = |of: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>();
        let together = sum(&|point| (point.0 - price) * (point.1 - row));
        self.slope = together / sum(&|point| (point.0 - price).powi(2));
        // The middle of a row of pixels.
        self.offset = row + 0.5 - self.slope * price;
    }

    /// The price at this height, in pixels from the top.
    pub(crate) fn price_at(&self, y: f64) -> f64 {
        (y - self.offset) / self.slope
    }

    /// The middle column of a bar.
    fn middle(&self, bar: usize) -> i32 {
        self.left + bar as i32 * self.spacing + (self.spacing - self.body) / 2 + self.body / 2
    }

    /// The bars' places at the left and the right edge of the plot, where bar 0 has its middle at 0.
    pub(crate) fn bars_across(&self) -> (f64, f64) {
        let (middle, spacing) = (f64::from(self.middle(0)) + 0.5, f64::from(self.spacing));
        (-middle / spacing, (f64::from(self.gutter) - middle) / spacing)
    }

    /// Everything, for a program that is not ours.
    pub(crate) fn json(&self, scene: &Scene, font: &Path) -> serde_json::Value {
        let hex = |color: u32| {
            let [r, g, b, _] = color.to_le_bytes();
            format!("#{r:02x}{g:02x}{b:02x}")
        };
        let bar = |bar: &Candle| {
            let ohlc = bar.ohlc.unwrap_or(market::Ohlc::flat(0));
            let price = |units: i64| units as f64 / 100.0;
            let volume = bar.volume as f64 / 1e5;
            serde_json::json!([
                bar.open_ms,
                price(ohlc.open),
                price(ohlc.high),
                price(ohlc.low),
                price(ohlc.close),
                volume
            ])
        };
        let solids = Layer::ALL.into_iter().flat_map(|layer| scene.layer(layer)).filter_map(|shape| {
            let Rect { x, y, w, h } = shape.area;
            let run = match shape.paint {
                Paint::Solid => 0,
                Paint::Dash { run } => run,
                _ => return None,
            };
            Some(serde_json::json!([x, y, x + w - 1, y + h - 1, hex(shape.color), run]))
        });
        let text = |text: &Text| {
            serde_json::json!({"text": text.text, "x": text.x, "baseline": text.baseline, "size": text.size,
                               "color": hex(text.color), "layer": format!("{:?}", text.layer)})
        };
        let colors = &self.colors;
        serde_json::json!({
            "size": [self.size.0, self.size.1], "bars": self.bars.iter().map(bar).collect::<Vec<_>>(),
            "header": self.header, "volume": self.volume, "times": self.times, "gutter": self.gutter,
            "across": self.bars_across(), "body": f64::from(self.body) / f64::from(self.spacing),
            "prices": [self.price_at(self.volume.into()) / 100.0, self.price_at(self.header.into()) / 100.0],
            "volume_top": self.volume_top / 1e5, "line": self.line, "font": font,
            "colors": {"background": hex(colors.background), "grid": hex(colors.grid), "border": hex(colors.border),
                       "text": hex(colors.text), "down": hex(colors.candles[0]), "up": hex(colors.candles[1]),
                       "down_volume": hex(colors.volumes[0]), "up_volume": hex(colors.volumes[1])},
            "solids": solids.collect::<Vec<_>>(), "texts": self.texts.iter().map(text).collect::<Vec<_>>(),
        })
    }
}

/// The opaque pixel of a colour written as `0xrrggbb`.
const fn pixel(color: u32) -> u32 {
    let [_, r, g, b] = color.to_be_bytes();
    u32::from_le_bytes([r, g, b, 255])
}

/// Where a candle was drawn: half-open, in pixels.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Extent {
    /// Rows of the body.
    body: Option<(i32, i32)>,
    /// Columns of the body, in the middle of its height.
    across: Option<(i32, i32)>,
    /// Rows from the high to the low.
    wick: Option<(i32, i32)>,
}

/// Reads back where each candle was drawn. The rows at the price line, which has a candle's colour, do not count.
pub(crate) fn boxes(pixels: &[u32], plan: &Plan) -> Vec<Extent> {
    let is_candle = |x: i32, y: i32| {
        let inside = x >= 0 && x < plan.gutter;
        inside
            && plan
                .colors
                .candles
                .iter()
                .any(|color| alike(*color, pixels[y as usize * plan.size.0 as usize + x as usize]))
    };
    let line = plan.line - 1..=plan.line + 1;
    // A rival may be off by a pixel: what is beside counts too.
    let extent = |columns: &[i32]| {
        let rows = || (plan.header..plan.volume).filter(|y| !line.contains(y));
        let is_drawn = |y: &i32| columns.iter().any(|x| is_candle(*x, *y));
        Some((rows().find(is_drawn)?, rows().rev().find(is_drawn)? + 1))
    };
    let one = |bar: usize| {
        let middle = plan.middle(bar);
        let body = extent(&[middle - plan.body / 2, middle + plan.body / 2]);
        let across = body.and_then(|(top, bottom)| {
            let y = (top + bottom) / 2;
            let reach = |step: i32| (0..plan.spacing).find(|far| !is_candle(middle + step * far, y));
            (!line.contains(&y)).then_some((middle + 1 - reach(-1)?, middle + reach(1)?))
        });
        Extent { body, across, wick: extent(&[middle - 1, middle, middle + 1]) }
    };
    (0..plan.bars.len()).map(one).collect()
}

fn alike(a: u32, b: u32) -> bool {
    let pairs = a.to_le_bytes().into_iter().zip(b.to_le_bytes()).take(3);
    pairs.into_iter().all(|(a, b)| (i32::from(a) - i32::from(b)).abs() <= LIKENESS)
}

/// Checks that a rival drew each candle where we do, within a pixel. Returns the largest difference of all edges, and how
/// many edges were compared.
pub(crate) fn agree(who: &str, plan: &Plan, ours: &[u32], theirs: &[u32]) -> anyhow::Result<(i32, usize)> {
    let (ours, theirs) = (boxes(ours, plan), boxes(theirs, plan));
    let (mut worst, mut compared) = (0, 0);
    for (bar, (a, b)) in ours.iter().zip(&theirs).enumerate() {
        let edges = [("body", a.body, b.body), ("width", a.across, b.across), ("wick", a.wick, b.wick)];
        for (what, ours, theirs) in edges {
            let far = match (ours, theirs) {
                (Some(ours), Some(theirs)) => (ours.0 - theirs.0).abs().max((ours.1 - theirs.1).abs()),
                // It is a row of nothing where its edges met: each moved by half of what there was.
                (Some((top, bottom)), None) | (None, Some((top, bottom))) if what != "width" => {
                    (bottom - top + 1) / 2
                }
                _ => continue,
            };
            ensure!(far <= 1, "{who} drew bar {bar} elsewhere: {what} {theirs:?}, ours {ours:?}");
            (worst, compared) = (worst.max(far), compared + 2);
        }
    }
    ensure!(compared > 4 * plan.bars.len(), "{who} drew too few candles");
    Ok((worst, compared))
}

/// How many of so many pixels are the same in both pictures, in hundredths.
pub(crate) fn sameness(ours: &[u32], theirs: &[u32]) -> f64 {
    let same = ours.iter().zip(theirs).filter(|(a, b)| (*a ^ *b) & 0x00ff_ffff == 0).count();
    100.0 * same as f64 / ours.len() as f64
}

/// Writes a picture for people to compare.
pub(crate) fn publish(
    folder: Option<&Path>,
    name: &str,
    pixels: &[u32],
    size: (u32, u32),
) -> anyhow::Result<()> {
    let Some(folder) = folder else { return Ok(()) };
    let opaque: Vec<u32> = pixels.iter().map(|pixel| pixel | 0xff00_0000).collect();
    let picture = ::encode::Picture { width: size.0, height: size.1, pixels: &opaque };
    let file = folder.join(format!("{name}.png"));
    let bytes = ::encode::encode(&picture, ::encode::Format::Png)?;
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&file, bytes))
        .with_context(|| format!("cannot write {}", file.display()))
}

/// The characters of our atlas, in its order, and the sizes that each comes in.
const SIGNS: [char; 13] = ['…', '−', '–', '—', '•', '€', '₿', '≈', '→', '▲', '▼', '●', '■'];
const SIZES: [u16; 3] = [12, 15, 64];

/// The size and the character of a glyph of our atlas.
pub(crate) fn character(glyph: u16) -> (u16, char) {
    let characters: Vec<char> = (' '..='~').chain('\u{a0}'..='\u{ff}').chain(SIGNS).collect();
    let (size, place) = (usize::from(glyph) / characters.len(), usize::from(glyph) % characters.len());
    (SIZES[size], characters[place])
}

/// Where the pen was for a glyph: column, and row of the baseline.
pub(crate) fn pen(scene: &Scene, shape: &Shape, glyph: u16) -> (i32, i32) {
    let glyph = scene.atlas().glyph(glyph);
    (i32::from(shape.area.x) - i32::from(glyph.left), i32::from(shape.area.y) + i32::from(glyph.top))
}

/// Puts the scene's glyphs together to text again.
fn texts(scene: &Scene) -> Vec<Text> {
    let mut texts: Vec<Text> = Vec::new();
    // Where the pen is after the last glyph.
    let mut after = 0;
    for (layer, shape) in
        Layer::ALL.into_iter().flat_map(|layer| scene.layer(layer).iter().map(move |s| (layer, s)))
    {
        let Paint::Glyph(index) = shape.paint else { continue };
        let ((x, baseline), (size, character)) = (pen(scene, shape, index), character(index));
        // A blank covers nothing, so it is no shape; it is the first character of each size.
        let glyphs_of_a_size = (95 + 96 + SIGNS.len()) as u16;
        let blank = i32::from(scene.atlas().glyph(index / glyphs_of_a_size * glyphs_of_a_size).advance);
        let goes_on = |text: &&mut Text| {
            text.layer == layer && text.baseline == baseline && text.size == size && text.color == shape.color
        };
        match texts.last_mut().filter(goes_on) {
            Some(text) if x == after => text.text.push(character),
            Some(text) if x == after + blank => text.text.extend([' ', character]),
            _ => texts.push(Text { layer, text: character.into(), x, baseline, size, color: shape.color }),
        }
        after = x + i32::from(scene.atlas().glyph(index).advance);
    }
    texts
}

/// How many glyphs our atlas has.
pub(crate) const GLYPHS: u16 = ((95 + 96 + SIGNS.len()) * SIZES.len()) as u16;

/// The painted stretches of a dashed row: those columns whose `x % (2 * run)` is less than `run`.
pub(crate) fn dashes(area: Rect, run: i32, mut each: impl FnMut(i32, i32)) {
    let (mut x, right) = (i32::from(area.x), area.right());
    while x < right {
        let phase = x % (2 * run);
        if phase < run {
            each(x, (run - phase).min(right - x));
        }
        x += if phase < run { run - phase } else { 2 * run - phase };
    }
}

/// Copies a part that was drawn by itself to its place in the frame.
pub(crate) fn copy_part(part: &[u8], frame: &mut [u8], width: u32, at: Rect) {
    let len = 4 * usize::from(at.w);
    for (row, part) in (usize::from(at.y)..).zip(part.chunks_exact(len).take(at.h.into())) {
        let start = 4 * (row * width as usize + usize::from(at.x));
        frame[start..start + len].copy_from_slice(part);
    }
}

/// Bytes of red, green, blue and alpha as our pixels.
pub(crate) fn as_pixels(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks().0.iter().map(|rgba| u32::from_le_bytes(*rgba)).collect()
}
