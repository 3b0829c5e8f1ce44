//! The indicators of a chart, kept beside its bars: values for each bar, worked out as bars come.
//!
//! They begin with the oldest bar that the chart has when they are made or a bar but the newest is amended. A change of
//! the newest bar costs the same however many bars there are.

use market::Candle;
use market::indicator::{Bar, Indicator, IndicatorSpec, Values};

/// All indicators of a chart.
#[derive(Debug)]
pub(crate) struct Studies {
    digits: (u8, u8),
    list: Vec<Study>,
}

/// One indicator, and its values.
#[derive(Debug)]
pub(crate) struct Study {
    indicator: Indicator,
    /// For each bar, oldest first.
    values: Vec<Values>,
    /// The newest bar, which the indicator has not taken in yet.
    newest: Option<Bar>,
}

impl Studies {
    /// Indicators without bars; room for so many bars is made. The digits are those of prices and quantities.
    pub(crate) fn new(specs: &[IndicatorSpec], digits: (u8, u8), room: usize) -> Self {
        let list = specs.iter().map(|spec| Study {
            indicator: Indicator::new(*spec),
            values: Vec::with_capacity(room),
            newest: None,
        });
        Self { digits, list: list.collect() }
    }

    /// The indicators, in the order in which they were asked for.
    pub(crate) fn list(&self) -> &[Study] {
        &self.list
    }

    /// Begins anew with these bars, oldest first.
    pub(crate) fn load(&mut self, bars: &[Candle]) {
        for study in &mut self.list {
            study.indicator = Indicator::new(study.indicator.spec());
            study.newest = None;
            study.values.clear();
        }
        bars.iter().for_each(|bar| self.push(bar));
    }

    /// A new bar.
    pub(crate) fn push(&mut self, candle: &Candle) {
        let bar = Bar::of(candle, self.digits.0, self.digits.1);
        for study in &mut self.list {
            if let Some(finished) = study.newest.take() {
                study.indicator.close(&finished);
            }
            study.values.push(study.preview(bar));
            study.newest = bar;
        }
    }

    /// The newest bar has changed.
    pub(crate) fn set_newest(&mut self, candle: &Candle) {
        let bar = Bar::of(candle, self.digits.0, self.digits.1);
        for study in &mut self.list {
            let values = study.preview(bar);
            if let Some(newest) = study.values.last_mut() {
                *newest = values;
            }
            study.newest = bar;
        }
    }

    /// The oldest bars are gone: only the newest `count` are left.
    pub(crate) fn keep(&mut self, count: usize) {
        for study in &mut self.list {
            let gone = study.values.len().saturating_sub(count);
            study.values.drain(..gone);
        }
    }
}

impl Study {
    /// What it is.
    pub(crate) fn spec(&self) -> IndicatorSpec {
        self.indicator.spec()
    }

    /// The values at a bar, by its place among all bars.
    pub(crate) fn at(&self, place: usize) -> Values {
        self.values.get(place).copied().unwrap_or(Values::NONE)
    }

    fn preview(&self, bar: Option<Bar>) -> Values {
        bar.map_or(Values::NONE, |bar| self.indicator.preview(&bar))
    }
}
