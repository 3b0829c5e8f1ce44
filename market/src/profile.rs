//! Volume by price: how much was traded where, whatever the time.
//!
//! What holds:
//!
//! - Volumes are exact integers. What is taken out is what was put in: after adding and removing a candle all is as it
//!   was before.
//! - Memory is taken once, for a bounded number of bins. What does not fit is refused, and then nothing changes.
//! - A trade costs the same always, a candle as much as it has bins, and a question as much as there are bins.

use crate::{Candle, Side, Trade};
use core::ops::RangeInclusive;

/// Volume by who took, in units of the instrument's quantity digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traded {
    /// The taker bought.
    pub bought: i128,
    /// The taker sold.
    pub sold: i128,
}

impl Traded {
    /// Both.
    pub fn volume(self) -> i128 {
        self.bought + self.sold
    }

    fn plus(self, other: Self) -> Self {
        Self { bought: self.bought + other.bought, sold: self.sold + other.sold }
    }

    /// `self` less `other`, if that much is in it.
    fn minus(self, other: Self) -> Option<Self> {
        let enough = self.bought >= other.bought && self.sold >= other.sold;
        enough.then(|| Self { bought: self.bought - other.bought, sold: self.sold - other.sold })
    }

    /// What bin `index` of `count` gets of it. All parts together are the whole, to the last unit; no two of a side
    /// differ by more than one unit.
    fn part(self, index: i128, count: i128) -> Self {
        let part = |whole: i128| {
            let rest = whole % count;
            whole / count + (rest * (index + 1) / count - rest * index / count)
        };
        Self { bought: part(self.bought), sold: part(self.sold) }
    }
}

/// A bin of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bin {
    /// The lowest price that belongs to it, in units of the instrument's price digits: a multiple of the bin size.
    pub low: i64,
    /// What was traded there.
    pub traded: Traded,
}

/// Where most of the volume lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValueArea {
    /// The lowest price in it.
    pub low: i64,
    /// The highest price in it.
    pub high: i64,
    /// The volume in it.
    pub volume: i128,
}

/// Why a profile cannot take in a trade or a candle, or give it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// The prices lie too far from one another.
    #[error("the prices span {needed} bins, and there is room for {most}: larger bins are needed")]
    TooWide {
        /// How many bins all prices would span.
        needed: u64,
        /// How many there may be.
        most: u64,
    },
    /// The sum of all volume is beyond counting.
    #[error("the volume is too large to be counted")]
    TooMuch,
    /// More is to be removed than is there.
    #[error("what is to be removed was not added")]
    NotThere,
}

/// How much was traded in each bin of prices. Bins are aligned to price 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeProfile {
    size: i64,
    /// Bin number n, which begins at price n × `size`, lies at n modulo the number of bins.
    bins: Box<[Traded]>,
    /// Numbers of the lowest and the highest bin that are not empty.
    occupied: Option<Span>,
    total: Traded,
}

/// The most volume in all: a hundred times as much can still be counted.
const MOST: i128 = i128::MAX / 100;

/// Bin numbers, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    low: i64,
    high: i64,
}

impl Span {
    /// How many bins; saturates.
    fn count(self) -> u64 {
        self.high.abs_diff(self.low).saturating_add(1)
    }

    fn contains(self, number: i64) -> bool {
        (self.low..=self.high).contains(&number)
    }

    fn numbers(self) -> RangeInclusive<i64> {
        self.low..=self.high
    }
}

impl VolumeProfile {
    /// An empty profile with bins of `size` price units (at least one), which will never span more than `most` bins
    /// (at least one). All its memory is taken here.
    pub fn new(size: i64, most: usize) -> Self {
        let bins = vec![Traded::default(); most.max(1)].into();
        Self { size: size.max(1), bins, occupied: None, total: Traded::default() }
    }

    /// The smallest round bin size, 1, 2 or 5 times a power of ten, with which the prices from `low` to `high` span at
    /// most `most` bins. `None` if there is none, which takes prices on both sides of 0 and fewer than four bins.
    pub fn size_for(low: i64, high: i64, most: usize) -> Option<i64> {
        let sizes = (0..19).flat_map(|power| [1, 2, 5].map(|leading| leading * 10i64.pow(power)));
        let fits = |size: &i64| Self::span(*size, low, high).count() <= most as u64;
        sizes.into_iter().find(fits)
    }

    /// How many price units a bin has.
    pub fn size(&self) -> i64 {
        self.size
    }

    /// All that was traded.
    pub fn total(&self) -> Traded {
        self.total
    }

    /// The bins from the lowest to the highest that are not empty, those between included.
    pub fn bins(&self) -> impl DoubleEndedIterator<Item = Bin> {
        self.occupied.into_iter().flat_map(Span::numbers).map(|number| self.bin(number))
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.bins.fill(Traded::default());
        (self.occupied, self.total) = (None, Traded::default());
    }

    /// Empties it, and goes on with bins of `size` price units (at least one).
    pub fn reset(&mut self, size: i64) {
        self.clear();
        self.size = size.max(1);
    }

    /// Adds a trade to its price's bin.
    pub fn add_trade(&mut self, trade: &Trade) -> Result<(), ProfileError> {
        let qty = i128::from(trade.qty.max(0));
        let traded = match trade.taker {
            Side::Buy => Traded { bought: qty, sold: 0 },
            Side::Sell => Traded { bought: 0, sold: qty },
        };
        self.add_evenly(Self::span(self.size, trade.price, trade.price), traded)
    }

    /// Adds a candle's volume: where in it each trade happened is not known, so all bins from its low to its high get
    /// the same, to the unit. A candle without a price has no volume.
    pub fn add(&mut self, candle: &Candle) -> Result<(), ProfileError> {
        match self.spread(candle) {
            Some((span, traded)) => self.add_evenly(span, traded),
            None => Ok(()),
        }
    }

    /// Takes out a candle that was added as it is now. One that has changed since must be removed as it was.
    pub fn remove(&mut self, candle: &Candle) -> Result<(), ProfileError> {
        let Some((span, traded)) = self.spread(candle) else { return Ok(()) };
        let left = self.total.minus(traded).ok_or(ProfileError::NotThere)?;
        let parts = self.parts(span, traded).ok_or(ProfileError::NotThere)?;
        let is_there = |(number, part): (i64, Traded)| {
            part == Traded::default() || self.bin(number).traded.minus(part).is_some()
        };
        if !parts.clone().all(is_there) {
            return Err(ProfileError::NotThere);
        }
        for (number, part) in parts {
            let slot = self.slot(number);
            self.bins[slot] = self.bins[slot].minus(part).unwrap_or(self.bins[slot]);
        }
        self.total = left;
        self.trim();
        Ok(())
    }

    /// The bin with the largest volume. Of several, the one nearest to the middle of the profile; of two as near, the
    /// lower.
    pub fn point_of_control(&self) -> Option<Bin> {
        self.fullest().map(|number| self.bin(number))
    }

    /// The prices round the point of control that hold at least `percent` (usually 70) of the volume.
    ///
    /// Beginning with the point of control, the two bins above are held against the two below, and the pair with more
    /// volume is taken in (the upper one if they are equal), until there is enough. Source of the rule: Dalton, Jones,
    /// Dalton, "Mind over Markets", appendix "Value-Area Calculation".
    pub fn value_area(&self, percent: u8) -> Option<ValueArea> {
        let occupied = self.occupied?;
        let number = self.fullest()?;
        let enough = self.total.volume() * i128::from(percent.min(100));
        let mut area = Span { low: number, high: number };
        let mut volume = self.volume(area);
        while volume * 100 < enough {
            // At the ends of all numbers these mean nothing, and are not asked.
            let above = Span {
                low: area.high.saturating_add(1),
                high: occupied.high.min(area.high.saturating_add(2)),
            };
            let below =
                Span { low: occupied.low.max(area.low.saturating_sub(2)), high: area.low.saturating_sub(1) };
            let has_above = area.high < occupied.high;
            let has_below = area.low > occupied.low;
            if has_above && (!has_below || self.volume(above) >= self.volume(below)) {
                area.high = above.high;
                volume += self.volume(above);
            } else {
                area.low = below.low;
                volume += self.volume(below);
            }
        }
        let high = self.bin(area.high).low.saturating_add(self.size - 1);
        Some(ValueArea { low: self.bin(area.low).low, high, volume })
    }

    /// The bins of the prices from `low` to `high`.
    fn span(size: i64, low: i64, high: i64) -> Span {
        Span { low: low.min(high).div_euclid(size), high: high.max(low).div_euclid(size) }
    }

    /// The bins that a candle's volume belongs to, and the volume; `None` if there is nothing to spread.
    fn spread(&self, candle: &Candle) -> Option<(Span, Traded)> {
        let ohlc = candle.ohlc?;
        let volume = candle.volume.max(0);
        let bought = candle.taker_buy_volume.clamp(0, volume);
        let traded = Traded { bought, sold: volume - bought };
        (volume > 0).then(|| (Self::span(self.size, ohlc.low, ohlc.high), traded))
    }

    /// What each bin of a span gets, if there are not more than can be kept.
    fn parts(
        &self,
        span: Span,
        traded: Traded,
    ) -> Option<impl Iterator<Item = (i64, Traded)> + Clone + use<>> {
        let count = i128::from(span.count());
        let part = move |number: i64| {
            let index = i128::from(number.abs_diff(span.low));
            (number, traded.part(index, count))
        };
        (span.count() <= self.bins.len() as u64).then(|| span.numbers().map(part))
    }

    fn add_evenly(&mut self, span: Span, traded: Traded) -> Result<(), ProfileError> {
        let wider = match self.occupied {
            Some(old) => Span { low: old.low.min(span.low), high: old.high.max(span.high) },
            None => span,
        };
        let most = self.bins.len() as u64;
        let too_wide = ProfileError::TooWide { needed: wider.count(), most };
        if wider.count() > most {
            return Err(too_wide);
        }
        let parts = self.parts(span, traded).ok_or(too_wide)?;
        let sum = self.total.volume().checked_add(traded.volume());
        if sum.is_none_or(|sum| sum > MOST) {
            return Err(ProfileError::TooMuch);
        }
        // No bin has more than the total.
        self.total = self.total.plus(traded);
        for (number, part) in parts {
            let slot = self.slot(number);
            self.bins[slot] = self.bins[slot].plus(part);
        }
        self.occupied = Some(wider);
        self.trim();
        Ok(())
    }

    /// Leaves empty bins at both ends out of the profile. Each was put there by some candle, which pays for it.
    fn trim(&mut self) {
        let is_empty = |number: &i64| self.bin(*number).traded == Traded::default();
        self.occupied = self.occupied.and_then(|span| {
            let low = span.numbers().find(|number| !is_empty(number))?;
            let high = span.numbers().rfind(|number| !is_empty(number))?;
            Some(Span { low, high })
        });
    }

    /// A bin by its number. Those that are not occupied share places with others, and are empty.
    fn bin(&self, number: i64) -> Bin {
        let is_occupied = self.occupied.is_some_and(|span| span.contains(number));
        let traded = if is_occupied { self.bins[self.slot(number)] } else { Traded::default() };
        // The lowest bin of all may begin below all prices.
        Bin { low: number.saturating_mul(self.size), traded }
    }

    fn slot(&self, number: i64) -> usize {
        number.rem_euclid(self.bins.len() as i64) as usize
    }

    fn volume(&self, span: Span) -> i128 {
        span.numbers().map(|number| self.bin(number).traded.volume()).sum()
    }

    fn fullest(&self) -> Option<i64> {
        let span = self.occupied?;
        let from_middle = |number: i64| {
            let (below, above) = (number.abs_diff(span.low), span.high.abs_diff(number));
            below.abs_diff(above)
        };
        // Of equal ones, `min_by_key` takes the first, which is the lowest.
        span.numbers()
            .min_by_key(|&number| (core::cmp::Reverse(self.bin(number).traded.volume()), from_middle(number)))
    }
}
