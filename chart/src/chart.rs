//! A chart that is kept up to date: candles in, the canonical frame and its damage out.

use crate::damage::{self, Damage};
use crate::layout::Layout;
use crate::scene::Scene;
use crate::{ChartError, Frame, Settings, raster};
use market::Candle;

/// A candlestick chart and its picture.
///
/// After every [`update`](Self::update) the frame holds exactly the bytes that drawing the whole scene anew would
/// give. Once the largest scene has been seen, updates do not allocate.
#[derive(Debug)]
pub struct Chart {
    layout: Layout,
    /// What the frame shows.
    scene: Scene,
    /// What it showed before: memory for the next scene.
    spare: Scene,
    frame: Frame,
    damage: Damage,
}

impl Chart {
    /// A chart that is waiting for trades.
    pub fn new(settings: Settings) -> Result<Self, ChartError> {
        let frame = Frame::new(settings.width, settings.height)?;
        let layout = Layout::new(settings, &frame)?;
        let (scene, spare) = (layout.empty_scene(), layout.empty_scene());
        let mut chart = Self { layout, scene, spare, frame, damage: Damage::none() };
        chart.update(&[]);
        Ok(chart)
    }

    /// How many of the newest bars fit. It may become less when prices grow longer, never more.
    pub fn visible_bars(&self) -> usize {
        self.layout.visible_bars()
    }

    /// Shows the newest [`visible_bars`](Self::visible_bars) of `bars`, which are oldest first. Returns which pixels
    /// of the frame may have changed.
    pub fn update(&mut self, bars: &[Candle]) -> &Damage {
        core::mem::swap(&mut self.scene, &mut self.spare);
        self.layout.compose(bars, &mut self.scene);
        self.damage = damage::diff(&self.spare, &self.scene);
        for rect in self.damage.rects() {
            raster::draw(&self.scene, *rect, &mut self.frame);
        }
        &self.damage
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Theme;
    use crate::scene::Layer;
    use market::{CandleState, Timeframe};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// A layer that is kept from an earlier picture is what laying it out anew would give.
        #[test]
        fn kept_layers_are_current(
            steps in prop::collection::vec((0..4u8, 0..60usize, -9_000..9_000i64, 0..900_000i128), 1..60),
        ) {
            let mut chart = Chart::new(Settings {
                width: 480,
                height: 270,
                theme: Theme::Dark,
                time_zone: jiff::tz::TimeZone::UTC,
                title: "test".to_owned(),
                timeframe: Timeframe::M1,
                price_digits: 2,
                qty_digits: 2,
            }).unwrap();
            let new_bar = |index: i64| Candle::empty(index * 60_000, CandleState::Quiet, Some(100_000));
            let mut bars: Vec<_> = (0..60).map(new_bar).collect();
            for (kind, at, price, volume) in steps {
                match kind {
                    // Most trades change only the newest bar.
                    0 | 1 => trade(bars.last_mut().unwrap(), 100_000 + price, volume),
                    2 => trade(&mut bars[at], 100_000 + price, volume),
                    _ => bars.push(new_bar(bars.len() as i64)),
                }
                chart.update(&bars);
                let mut anew = chart.layout.empty_scene();
                chart.layout.compose(&bars, &mut anew);
                for layer in Layer::ALL {
                    prop_assert!(chart.scene.layer(layer) == anew.layer(layer), "{:?} is stale", layer);
                }
            }
        }
    }

    fn trade(bar: &mut Candle, price: i64, volume: i128) {
        let ohlc = bar.ohlc.as_mut().unwrap();
        (ohlc.high, ohlc.low, ohlc.close) = (ohlc.high.max(price), ohlc.low.min(price), price);
        bar.state = CandleState::Traded;
        bar.volume += volume;
    }
}
