//! What lies below the grid: the watermark, and the volume profile.

use super::View;
use crate::Rect;
use crate::scene::{Layer, Style};
use crate::text::Face;
use market::{Candle, CandleState, VolumeProfile};

/// The most bins of a volume profile.
const MAX_BINS: usize = 160;
/// A bin is at least so many rows high, at scale 1.
const LEAST_ROWS: usize = 6;

/// Large faint text in the middle of the price pane. It is left out where it does not fit.
pub(super) fn watermark(view: &mut View<'_>) {
    let (text, pane) = (&view.settings.look.watermark, view.panes.price);
    let width = view.atlas.width(Face::Huge, text);
    let middle = i32::from(pane.y) + i32::from(pane.h) / 2;
    let half = view.atlas.digit_height(Face::Huge) / 2;
    if text.is_empty() || width > i32::from(pane.w) || 2 * half > i32::from(pane.h) {
        return;
    }
    let style = Style { face: Face::Huge, color: view.palette.watermark };
    let x = i32::from(pane.x) + (i32::from(pane.w) - width) / 2;
    view.scene.text(Layer::Fill, text, style, (x, view.atlas.baseline(Face::Huge, middle)), pane);
}

/// The volume traded at each price by the bars that are shown.
#[derive(Debug)]
pub(super) struct Profile {
    /// None where it is not wanted. It has all columns but the last.
    volumes: Option<VolumeProfile>,
    version: Option<u64>,
}

impl Profile {
    pub(super) fn new(wanted: bool) -> Self {
        Self { volumes: wanted.then(|| VolumeProfile::new(1, MAX_BINS)), version: None }
    }

    /// Draws it from the left edge: what takers bought, then what they sold. The still columns are taken in anew only
    /// when `version` changes.
    pub(super) fn draw(&mut self, view: &mut View<'_>, version: u64) {
        let (Some(volumes), Some(prices)) = (&mut self.volumes, view.prices) else { return };
        let pane = view.panes.price;
        if self.version != Some(version) {
            self.version = Some(version);
            // By the axis, not by the bars: of one version there is one size of bins.
            let (low, high) = (prices.price_at(pane.bottom() - 1), prices.price_at(pane.y.into()));
            let most = (usize::from(pane.h) / (LEAST_ROWS * usize::from(view.m.scale))).clamp(4, MAX_BINS);
            volumes.reset(VolumeProfile::size_for(low, high, most).unwrap_or(i64::MAX));
            for column in view.older() {
                // What a profile has no room for it leaves out.
                let _ = volumes.add(&as_candle(view, column));
            }
        }
        let newest = view.columns.len().checked_sub(1).map(|last| as_candle(view, last));
        let added = newest.filter(|newest| volumes.add(newest).is_ok());
        let most = volumes.point_of_control().map_or(0, |bin| bin.traded.volume()).max(1);
        let widest = i128::from(pane.w) / 4;
        for bin in volumes.bins() {
            let top = prices.row(bin.low.saturating_add(volumes.size() - 1));
            let bottom = prices.row(bin.low.saturating_sub(1)).max(top + 1);
            let gap = if bottom - top > 2 * view.m.scale_px { view.m.scale_px } else { 0 };
            let reach = |volume: i128| (volume.checked_mul(widest).map_or(widest, |all| all / most)) as i32;
            let (bought, all) = (reach(bin.traded.bought), reach(bin.traded.volume()));
            for (left, right, color) in
                [(0, bought, view.palette.up.fill), (bought, all, view.palette.down.fill)]
            {
                let left = i32::from(pane.x) + left;
                let right = i32::from(pane.x) + right;
                let area = Rect::from_edges(left, top, right, bottom - gap, pane);
                view.scene.solid(Layer::LastFill, area, color);
            }
        }
        if let Some(newest) = added {
            let _ = volumes.remove(&newest); // It was added as it is.
        }
    }
}

/// A column as the candle that a profile takes in.
fn as_candle(view: &View<'_>, column: usize) -> Candle {
    let column = &view.columns[column];
    Candle {
        ohlc: column.ohlc,
        volume: column.volume,
        taker_buy_volume: column.bought,
        trades: 1,
        ..Candle::empty(column.open_ms, CandleState::Traded, None)
    }
}
