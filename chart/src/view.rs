//! Which bars a chart shows, and how wide: chosen by the user, or following the newest.

use crate::bars::MAX_LEVEL;

/// How much room a bar has. The steps are whole pixels, or whole bars in a pixel, so that a picture that scrolls by a
/// bar is the same picture a few pixels on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zoom {
    /// So many pixels from one bar to the next, at scale 1.
    Wide(u16),
    /// 2 to this power bars in a column of one pixel.
    Dense(u8),
}

/// The widths in pixels that zooming goes through.
const WIDTHS: [u16; 19] = [1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 20, 24, 32, 40, 56, 80, 120, 200];

/// The most pixels from one bar to the next.
pub const MAX_WIDTH: u16 = WIDTHS[WIDTHS.len() - 1];

impl Zoom {
    /// Zooms in by so many steps, or out where it is negative; as far as it goes.
    pub fn stepped(self, steps: i32) -> Self {
        let dense = i32::from(MAX_LEVEL);
        let at = match self {
            Self::Dense(level) => dense - i32::from(level.clamp(1, MAX_LEVEL)),
            Self::Wide(width) => dense + WIDTHS.partition_point(|other| *other < width) as i32,
        };
        let at = at.saturating_add(steps).clamp(0, dense + WIDTHS.len() as i32 - 1);
        match usize::try_from(at - dense) {
            Ok(place) => Self::Wide(WIDTHS[place]),
            Err(_) => Self::Dense((dense - at) as u8),
        }
    }

    /// The nearest zoom that can be drawn.
    pub(crate) fn bounded(self) -> Self {
        match self {
            Self::Wide(width) => Self::Wide(width.clamp(1, MAX_WIDTH)),
            Self::Dense(0) => Self::Wide(1),
            Self::Dense(level) => Self::Dense(level.min(MAX_LEVEL)),
        }
    }

    /// 2 to this power bars share a column.
    pub(crate) fn level(self) -> u8 {
        match self {
            Self::Wide(_) => 0,
            Self::Dense(level) => level,
        }
    }

    /// The widest at which so many bars fit in so many pixels.
    pub(crate) fn fitting(bars: u64, pixels: u64, scale: u16) -> Self {
        let bars = bars.max(1);
        let width = WIDTHS.into_iter().rfind(|width| bars * u64::from(*width) * u64::from(scale) <= pixels);
        width.map(Self::Wide).unwrap_or_else(|| {
            // One column more than the bars fill, where they do not begin at a column's beginning.
            let level = (1..=MAX_LEVEL).find(|level| (bars >> level) + 1 < pixels);
            Self::Dense(level.unwrap_or(MAX_LEVEL))
        })
    }
}

/// The last bar shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Right {
    /// The newest: the picture scrolls with each new bar.
    #[default]
    Newest,
    /// The bar with this number.
    Bar(u64),
}

/// Which part of a chart's bars is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// How much room a bar has.
    pub zoom: Zoom,
    /// Where the bars end at the right.
    pub right: Right,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zooming_goes_through_every_step_and_back() {
        let mut zoom = Zoom::Dense(MAX_LEVEL);
        let mut seen = vec![zoom];
        while zoom.stepped(1) != zoom {
            zoom = zoom.stepped(1);
            seen.push(zoom);
        }
        assert_eq!(seen.len(), usize::from(MAX_LEVEL) + WIDTHS.len());
        assert_eq!(zoom, Zoom::Wide(MAX_WIDTH));
        for expected in seen.iter().rev() {
            assert_eq!(zoom, *expected);
            zoom = zoom.stepped(-1);
        }
        assert_eq!(Zoom::Wide(8).stepped(i32::MIN), Zoom::Dense(MAX_LEVEL));
        assert_eq!(Zoom::Dense(3).stepped(i32::MAX), Zoom::Wide(MAX_WIDTH));
    }

    #[test]
    fn what_is_to_fit_fits() {
        for bars in (1..3_000).chain([45_031, 1_000_000]) {
            for pixels in [10, 100, 1_838] {
                let columns = match Zoom::fitting(bars, pixels, 1) {
                    Zoom::Wide(width) => bars * u64::from(width),
                    Zoom::Dense(MAX_LEVEL) => 0,
                    Zoom::Dense(level) => bars.div_ceil(1 << level),
                };
                assert!(columns <= pixels, "{bars} in {pixels}");
            }
        }
    }
}
