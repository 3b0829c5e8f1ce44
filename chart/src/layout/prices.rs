//! The vertical axes: values to rows and back, round values to label, and what a label says.

use crate::Rect;
use crate::number;
use crate::scale::{self, Range, Rows};
use crate::settings::PriceScale;

/// Hundredths of a percent in a whole.
const WHOLE: i128 = 10_000;
/// The smallest step of a logarithmic axis, in units of 2^-32 of an octave: about a tenth of a percent.
const LOG_TICK: i128 = 1 << 22;

/// How prices become numbers on the axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    /// A price is its own number.
    Linear,
    /// Its logarithm; see [`scale::log2`].
    Log,
}

impl Space {
    /// The space for prices from `low` on: only what is above zero has a logarithm.
    pub(super) fn of(scale: PriceScale, low: i64) -> Self {
        if scale == PriceScale::Log && low > 0 { Self::Log } else { Self::Linear }
    }

    /// The number of a price. On a logarithmic axis what is not above zero counts as the smallest price.
    pub(super) fn number(self, price: i64) -> i128 {
        match self {
            Self::Linear => price.into(),
            Self::Log => scale::log2(price.max(1) as u64),
        }
    }

    /// The range that shows prices from `low` to `high`, see [`Range::fit`].
    pub(super) fn fit(self, (low, high): (i64, i64), tick: i128, kept: Option<Range>) -> Range {
        let tick = if self == Self::Log { LOG_TICK } else { tick };
        Range::fit((self.number(low), self.number(high)), tick, kept)
    }
}

/// What labels of prices say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Labels {
    /// The price.
    Price,
    /// The change since this price.
    Percent(i64),
    /// How much of this price it is, as if that were 100.
    Indexed(i64),
}

impl Labels {
    /// Labels for a scale, counted from `base`. What is not above zero cannot be counted from.
    pub(super) fn of(scale: PriceScale, base: Option<i64>) -> Self {
        match (scale, base.filter(|base| *base > 0)) {
            (PriceScale::Percent, Some(base)) => Self::Percent(base),
            (PriceScale::Indexed, Some(base)) => Self::Indexed(base),
            _ => Self::Price,
        }
    }
}

/// The price axis.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prices {
    rows: Rows,
    space: Space,
    labels: Labels,
    pub range: Range,
    tick: i128,
    digits: u8,
    shown_digits: u8,
}

impl Prices {
    /// The axis of `pane` for prices with `digits` decimal places, of which `shown_digits` are shown.
    pub(super) fn new(
        range: Range,
        space: Space,
        labels: Labels,
        pane: &Rect,
        (digits, shown_digits): (u8, u8),
    ) -> Self {
        let tick = 10i128.pow((digits - shown_digits).into());
        let rows = Rows::new(range, pane.y.into(), pane.bottom() - 1);
        Self { rows, space, labels, range, tick, digits, shown_digits }
    }

    /// The row of a price; of one beyond the range, the row at that end.
    #[inline]
    pub(super) fn row(&self, price: i64) -> i32 {
        self.rows.row(self.space.number(price))
    }

    /// The same in 256ths of a row.
    #[inline]
    pub(super) fn fine_row(&self, price: i64) -> i32 {
        self.rows.fine_row(self.space.number(price))
    }

    /// Whether a price lies within the axis.
    pub(super) fn shows(&self, price: i64) -> bool {
        (self.range.low..=self.range.high).contains(&self.space.number(price))
    }

    /// The lowest price of the axis on `row` or above it, in whole ticks where there is one.
    pub(super) fn price_at(&self, row: i32) -> i64 {
        let (mut low, mut high) = (i64::MIN, i64::MAX);
        while low < high {
            let middle = (i128::from(low) + i128::from(high)).div_euclid(2) as i64;
            let is_there = self.space.number(middle) >= self.range.low && self.row(middle) <= row;
            if is_there { high = middle } else { low = middle + 1 }
        }
        let whole = (i128::from(low) + self.tick - 1).div_euclid(self.tick) * self.tick;
        i64::try_from(whole).ok().filter(|whole| self.row(*whole) == self.row(low)).unwrap_or(low)
    }

    /// Adds a price as text.
    pub(super) fn push(&self, text: &mut String, price: i64) {
        let of_base = |base: i64| {
            let (price, base) = (i128::from(price), i128::from(base));
            (2 * price * WHOLE + base).div_euclid(2 * base)
        };
        match self.labels {
            Labels::Price => number::push_fixed(text, price.into(), self.digits, self.shown_digits),
            Labels::Percent(base) => {
                number::push_change(text, of_base(base) - WHOLE, 2, 2);
                text.push('%');
            }
            Labels::Indexed(base) => number::push_fixed(text, of_base(base), 2, 2),
        }
    }

    /// The same, always the price itself.
    pub(super) fn push_price(&self, text: &mut String, price: i64) {
        number::push_fixed(text, price.into(), self.digits, self.shown_digits);
    }

    /// The round prices to label, from the lowest, at least `apart` rows from each other in `pane`: calls `label` with
    /// each and its row.
    pub(super) fn label(&self, pane: &Rect, apart: i32, mut label: impl FnMut(i64, i32)) {
        match (self.space, self.labels) {
            (Space::Log, _) => self.label_log(pane, apart, label),
            (Space::Linear, Labels::Price) => {
                for price in label_ticks(self.range, pane, apart, self.tick) {
                    if let Ok(price) = i64::try_from(price) {
                        label(price, self.row(price));
                    }
                }
            }
            (Space::Linear, Labels::Percent(base) | Labels::Indexed(base)) => {
                // From zero percent or from a hundred, the round values are at the same prices.
                let base = i128::from(base);
                let hundredths = |price: i128| ((price - base) * WHOLE).div_euclid(base);
                let range = Range { low: hundredths(self.range.low), high: hundredths(self.range.high) };
                for change in label_ticks(range, pane, apart, 1) {
                    let price = base + (change * base + WHOLE / 2).div_euclid(WHOLE);
                    if let Ok(price) = i64::try_from(price)
                        && self.shows(price)
                    {
                        label(price, self.row(price));
                    }
                }
            }
        }
    }

    /// On a logarithmic axis round steps become larger from label to label.
    fn label_log(&self, pane: &Rect, apart: i32, mut label: impl FnMut(i64, i32)) {
        let mut price = self.price_at(pane.bottom() - 1);
        let mut row = pane.bottom() - 1 + apart;
        while row - apart >= i32::from(pane.y) {
            let above = self.price_at(row - apart).max(price);
            let step = scale::nice_step((i128::from(above) - i128::from(price)).max(1), self.tick);
            let next = (i128::from(above) + step - 1).div_euclid(step) * step;
            let Some(next) = i64::try_from(next).ok().filter(|next| self.shows(*next)) else { return };
            (price, row) = (next, self.row(next));
            label(price, row);
            if step <= 0 {
                return;
            }
        }
    }
}

/// An axis whose values are not prices: the volume's, or an indicator's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    pub rows: Rows,
    pub range: Range,
}

impl Axis {
    /// The volume axis: from nothing up to a round number, with `head` rows left free at the top.
    pub(super) fn volume(most: i128, pane: &Rect, head: i32) -> Self {
        let range = Range { low: 0, high: scale::round_top(most.max(1)) };
        Self { rows: Rows::new(range, i32::from(pane.y) + head, pane.bottom()), range }
    }

    /// An axis from the lowest to the highest of `range`.
    pub(super) fn new(range: Range, pane: &Rect, head: i32) -> Self {
        let (top, bottom) = (i32::from(pane.y) + head, pane.bottom() - 1);
        Self { rows: Rows::new(range, top.min(bottom), bottom), range }
    }

    /// The round values to label, at least `apart` rows from each other.
    pub(super) fn ticks(&self, pane: &Rect, apart: i32, tick: i128) -> impl Iterator<Item = i128> + use<> {
        label_ticks(self.range, pane, apart, tick)
    }

    /// How far apart those are.
    pub(super) fn step(&self, pane: &Rect, apart: i32, tick: i128) -> i128 {
        label_step(self.range, pane, apart, tick)
    }
}

fn label_ticks(range: Range, pane: &Rect, apart: i32, tick: i128) -> impl Iterator<Item = i128> + use<> {
    scale::ticks(range, label_step(range, pane, apart, tick))
}

fn label_step(range: Range, pane: &Rect, apart: i32, tick: i128) -> i128 {
    let rows = i128::from(pane.h.max(1));
    // Divided first where the product would not fit: such a range has no use for the rest.
    let span = range.high - range.low;
    let least = span
        .checked_mul(apart.into())
        .map_or((span / rows).saturating_mul(apart.into()), |all| all / rows + 1);
    scale::nice_step(least, tick)
}
