//! The picture of the bar that is to come, drawn in idle time: as if it had opened at the last price.
//!
//! When that bar opens, everything has moved by a bar, and nearly all of the picture is other. It is there already: the
//! two pictures change places, and only the new bar itself is drawn. What holds: a picture drawn ahead is used only if
//! every bar before the new one is as it was when it was drawn; whether it is used or not, the result is the same.

use crate::damage::Changes;
use crate::layout::{Layout, Stage};
use crate::scene::Scene;
use crate::{ChartError, Frame};
use market::Candle;

/// A picture drawn ahead, and the memory for it.
#[derive(Debug)]
pub(crate) struct Ahead {
    pub stage: Stage,
    pub scene: Scene,
    /// The same scene again: memory for the one after it, which has most of it in common.
    pub spare: Scene,
    pub frame: Frame,
    /// Where this picture differs from the one that was shown when it was drawn.
    pub changes: Changes,
    /// Where this frame may differ from the one that is shown.
    pub stale: Changes,
    /// What it was drawn for; none while it shows nothing that may come.
    pub of: Option<Expected>,
}

/// What must be when the new bar opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    /// The number of the new bar.
    pub number: u64,
    /// The bar before it.
    pub before: Candle,
}

impl Ahead {
    pub(crate) fn new(layout: &Layout, width: u32, height: u32) -> Result<Self, ChartError> {
        let mut stale = Changes::none(width, height);
        stale.fill();
        Ok(Self {
            stage: layout.stage(),
            scene: layout.empty_scene(),
            spare: layout.empty_scene(),
            frame: Frame::new(width, height)?,
            changes: Changes::none(width, height),
            stale,
            of: None,
        })
    }
}

/// How often pictures drawn ahead were of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AheadCounts {
    /// Pictures drawn ahead.
    pub prepared: u64,
    /// New bars whose picture was there.
    pub hits: u64,
    /// New bars whose picture was not, though one was drawn for them.
    pub misses: u64,
}
