//! plotters 0.3 with its bitmap backend in memory: two charts, one below the other, `CandleStick`s, its own mesh and
//! labels, text by `ab_glyph` with our font. It has no way to draw a part: every change draws all.

use super::{Plan, Text};
use anyhow::ensure;
use chart::scene::Layer;
use market::Candle;
use plotters::backend::BGRXPixel;
use plotters::prelude::*;
use plotters::style::register_font;

/// The name that our font is registered by.
const FONT: &str = "dejavu";
/// Its text height to the pixels of an em: plotters counts from the highest to the lowest of a line.
const LINE: f64 = 1.17;

pub(crate) struct Plotters {
    /// Blue, green, red, and a byte that is not used.
    frame: Vec<u8>,
    size: (u32, u32),
}

impl Plotters {
    pub(crate) fn new(size: (u32, u32)) -> anyhow::Result<Self> {
        let font = dejavu::sans_condensed::regular();
        ensure!(register_font(FONT, FontStyle::Normal, font).is_ok(), "plotters cannot read the font");
        Ok(Self { frame: vec![0; 4 * (size.0 * size.1) as usize], size })
    }

    /// Draws all of it: its errors are not `Send`, so they are told as text.
    pub(crate) fn draw(&mut self, plan: &Plan) -> anyhow::Result<()> {
        self.try_draw(plan).map_err(|error| anyhow::anyhow!("plotters: {error}"))
    }

    fn try_draw(&mut self, plan: &Plan) -> Result<(), Box<dyn std::error::Error + '_>> {
        let colors = plan.colors;
        let backend = BitMapBackend::<BGRXPixel>::with_buffer_and_format(&mut self.frame, self.size)?;
        let root = backend.into_drawing_area();
        root.fill(&rgb(colors.background))?;
        let (upper, lower) = root.split_vertically(plan.volume);
        let gutter = plan.size.0 as i32 - plan.gutter;
        let (from, to) = plan.bars_across();
        let prices = plan.price_at(plan.volume.into())..plan.price_at(plan.header.into());
        let label = (FONT, 12.0 * LINE).into_font().color(&rgb(colors.text));
        // Left of the first bar there is no time to tell.
        let time = |place: &f64| {
            let bar = plan.bars.get(place.round() as usize).filter(|_| *place > -0.5);
            bar.map_or(String::new(), clock)
        };

        let mut chart = ChartBuilder::on(&upper)
            .margin_top(plan.header)
            .right_y_label_area_size(gutter)
            .build_cartesian_2d(from..to, prices)?;
        chart
            .configure_mesh()
            .max_light_lines(0)
            .bold_line_style(rgb(colors.grid))
            .axis_style(rgb(colors.border))
            .label_style(label.clone())
            .x_labels(20)
            .y_labels(18)
            .y_label_formatter(&|price| format!("{:.2}", price / 100.0))
            .draw()?;
        let [fall, rise] = colors.candles.map(|color| rgb(color).filled());
        chart.draw_series(candles(&plan.bars).map(|(bar, [open, high, low, close])| {
            CandleStick::new(bar, open, high, low, close, rise, fall, plan.body as u32)
        }))?;

        let mut volumes = ChartBuilder::on(&lower)
            .right_y_label_area_size(gutter)
            .x_label_area_size(plan.size.1 as i32 - plan.times)
            .build_cartesian_2d(from..to, 0.0..plan.volume_top)?;
        volumes
            .configure_mesh()
            .max_light_lines(0)
            .bold_line_style(rgb(colors.grid))
            .axis_style(rgb(colors.border))
            .label_style(label)
            .x_labels(20)
            .y_labels(5)
            .x_label_formatter(&time)
            .y_label_formatter(&|volume| format!("{:.0}", volume / 1e5))
            .draw()?;
        let half = f64::from(plan.body) / 2.0 / f64::from(plan.spacing);
        volumes.draw_series(candles(&plan.bars).zip(&plan.bars).map(|((x, [open, .., close]), bar)| {
            let color = rgb(colors.volumes[usize::from(close >= open)]);
            Rectangle::new([(x - half, 0.0), (x + half, bar.volume as f64)], color.filled())
        }))?;
        price_line(&root, plan)?;
        for text in plan.texts.iter().filter(|text| matches!(text.layer, Layer::Legend | Layer::Price)) {
            root.draw(&label_of(text))?;
        }
        root.present()?;
        Ok(())
    }

    /// The frame, as our pixels are.
    pub(crate) fn pixels(&self) -> Vec<u32> {
        let pixel = |[b, g, r, _]: &[u8; 4]| u32::from_le_bytes([*r, *g, *b, 255]);
        self.frame.as_chunks().0.iter().map(pixel).collect()
    }
}

type Area<'a> = DrawingArea<BitMapBackend<'a, BGRXPixel>, plotters::coord::Shift>;

/// The dashed line at the last price, and what is under its label.
fn price_line(root: &Area<'_>, plan: &Plan) -> Result<(), Box<dyn std::error::Error>> {
    let rises = plan.bars.last().and_then(|bar| bar.ohlc).is_some_and(|ohlc| ohlc.close >= ohlc.open);
    let color = rgb(plan.colors.candles[usize::from(rises)]);
    let ends = [(0, plan.line), (plan.gutter, plan.line)];
    root.draw(&plotters::element::DashedPathElement::new(ends, 3, 3, color))
        .map_err(|error| error.to_string())?;
    let label = [(plan.gutter, plan.line - 10), (plan.size.0 as i32, plan.line + 10)];
    root.draw(&Rectangle::new(label, color.filled())).map_err(|error| error.to_string())?;
    Ok(())
}

fn label_of(text: &Text) -> plotters::element::Text<'static, (i32, i32), String> {
    let size = f64::from(text.size) * LINE;
    let style = (FONT, size).into_font().color(&rgb(text.color));
    // From the baseline to the top of its box.
    let top = text.baseline - (0.75 * size) as i32;
    plotters::element::Text::new(text.text.clone(), (text.x, top), style)
}

/// Each bar's place, open, high, low and close.
fn candles(bars: &[Candle]) -> impl Iterator<Item = (f64, [f64; 4])> {
    bars.iter().enumerate().filter_map(|(place, bar)| {
        let ohlc = bar.ohlc?;
        Some((place as f64, [ohlc.open, ohlc.high, ohlc.low, ohlc.close].map(|price| price as f64)))
    })
}

/// The time of day at which a bar opens.
fn clock(bar: &Candle) -> String {
    let minutes = bar.open_ms.div_euclid(60_000).rem_euclid(1_440);
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

fn rgb(pixel: u32) -> RGBColor {
    let [r, g, b, _] = pixel.to_le_bytes();
    RGBColor(r, g, b)
}
