//! Which columns are shown, and what they span. Worked out anew only when the view changes or a bar but the newest
//! does, which most trades do not cause.

use crate::bars::{Bars, Column};
use crate::settings::{MAX_STUDIES, SeriesKind};
use crate::studies::Studies;
use crate::view::{Right, View};

/// The lowest and the highest of some values.
pub(super) type Extent = Option<(f64, f64)>;

#[derive(Debug, Default)]
pub(super) struct Window {
    key: Option<Key>,
    /// Rises whenever what is shown changes, but for the last column.
    pub version: u64,
    /// Oldest first.
    pub columns: Vec<Column>,
    /// Each has 2 to this power bars.
    pub level: u8,
    /// The index of the first.
    pub first: u64,
    /// The prices and the largest volume of all columns but the last.
    older: (Option<(i64, i64)>, i128),
    /// The values of each indicator in all columns but the last.
    older_studies: [Extent; MAX_STUDIES],
    /// The same with the last column.
    pub extent: Option<(i64, i64)>,
    pub volume: i128,
    pub studies: [Extent; MAX_STUDIES],
}

/// All that the columns but the last follow from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    revision: u64,
    level: u8,
    first: u64,
    end: u64,
}

impl Window {
    /// Makes room for so many columns, so that nothing is allocated later.
    pub(super) fn reserve(&mut self, columns: usize) {
        self.columns.reserve_exact(columns);
    }

    /// Becomes what `other` is, and allocates nothing.
    pub(super) fn copy_from(&mut self, other: &Self) {
        self.columns.clone_from(&other.columns);
        (self.key, self.version, self.level, self.first) =
            (other.key, other.version, other.level, other.first);
        (self.older, self.older_studies) = (other.older, other.older_studies);
        (self.extent, self.volume, self.studies) = (other.extent, other.volume, other.studies);
    }

    /// Forgets what it knows of its bars, which are others now.
    pub(super) fn forget(&mut self) {
        self.key = None;
    }

    /// Takes in what is shown of `bars` in at most `room` columns.
    pub(super) fn update(
        &mut self,
        bars: &Bars,
        studies: &Studies,
        view: View,
        room: usize,
        kind: SeriesKind,
    ) {
        let level = view.zoom.level();
        let newest = bars.end().saturating_sub(1).max(bars.first());
        let right = match view.right {
            Right::Newest => newest,
            Right::Bar(number) => number.clamp(bars.first(), newest),
        };
        let end = (right >> level) + 1;
        let first = (bars.first() >> level).max(end.saturating_sub(room as u64));
        let key = Some(Key { revision: bars.revision(), level, first, end });
        if self.key != key {
            self.key = key;
            (self.level, self.first) = (level, first);
            self.version += 1;
            self.columns.clear();
            self.columns.extend((first..end).filter_map(|index| bars.column(level, index)));
            self.survey_older(bars, studies, kind);
        } else if let Some(last) = self.columns.last_mut()
            && let Some(column) = bars.column(level, end - 1)
        {
            *last = column;
        }
        self.survey_last(bars, studies, kind);
    }

    fn survey_older(&mut self, bars: &Bars, studies: &Studies, kind: SeriesKind) {
        let older = self.columns.len().saturating_sub(1);
        let prices = self.columns[..older].iter().filter_map(|column| self.extent_of(column, kind));
        self.older.0 = prices.reduce(|(low, high), other| (low.min(other.0), high.max(other.1)));
        self.older.1 = self.columns[..older].iter().map(|column| column.volume).max().unwrap_or(0);
        for (index, study) in studies.list().iter().enumerate() {
            let values = (0..older).flat_map(|column| *study.at(self.place(bars, column)).raw());
            self.older_studies[index] = widen(None, values);
        }
    }

    fn survey_last(&mut self, bars: &Bars, studies: &Studies, kind: SeriesKind) {
        (self.extent, self.volume) = self.older;
        self.studies = self.older_studies;
        let Some(last) = self.columns.last() else { return };
        if let Some((low, high)) = self.extent_of(last, kind) {
            self.extent = Some(self.extent.map_or((low, high), |old| (old.0.min(low), old.1.max(high))));
        }
        self.volume = self.volume.max(last.volume);
        let place = self.place(bars, self.columns.len() - 1);
        for (extent, study) in self.studies.iter_mut().zip(studies.list()) {
            *extent = widen(*extent, *study.at(place).raw());
        }
    }

    /// What a column spans as it is drawn: of a line, only the closes.
    fn extent_of(&self, column: &Column, kind: SeriesKind) -> Option<(i64, i64)> {
        if kind.is_line() && self.level == 0 {
            column.ohlc.map(|ohlc| (ohlc.close, ohlc.close))
        } else {
            column.extent()
        }
    }

    /// The place among all bars of a column's last bar, by the column's place among those shown.
    pub(super) fn place(&self, bars: &Bars, column: usize) -> usize {
        let end = ((self.first + column as u64 + 1) << self.level).min(bars.end());
        (end.saturating_sub(1)).saturating_sub(bars.first()) as usize
    }
}

/// The extent with more values. NaN is no value.
fn widen(extent: Extent, values: impl IntoIterator<Item = f64>) -> Extent {
    values.into_iter().filter(|value| value.is_finite()).fold(extent, |extent, value| {
        Some(extent.map_or((value, value), |(low, high)| (low.min(value), high.max(value))))
    })
}
