//! Which indicator, and with which numbers: as a configuration writes it, and back.

use crate::decimal;
use core::fmt;
use core::str::FromStr;

/// An indicator and its numbers.
///
/// Reads and shows as `sma(20)`, `ema(9)`, `ema(9, first)`, `wma(20)`, `rma(14)`, `vwap` (which is `vwap(day)`),
/// `vwap(20)`, `vwap(all)`, `bollinger(20, 2)`, `rsi(14)`, `macd(12, 26, 9)`, `atr(14)`, `stochastic(14, 3, 3)`,
/// `obv`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // Of fields: lengths in the order in which they are written.
pub enum IndicatorSpec {
    /// The mean of the last `len` closes, from bar `len` on.
    Sma { len: Length },
    /// Exponential average of closes, α = 2 ÷ (len + 1). See [`Seed`] for where it begins.
    Ema { len: Length, seed: Seed },
    /// The mean of the last `len` closes with weights 1 to `len`, the newest the heaviest, from bar `len` on.
    Wma { len: Length },
    /// Wilder's smoothing, also called SMMA: an exponential average of closes with α = 1 ÷ len. It begins at bar
    /// `len`, as the mean of the first `len` closes.
    Rma { len: Length },
    /// Volume-weighted average price: money ÷ volume, or, for bars whose money is not known, with the typical price
    /// (high + low + close) ÷ 3. Without volume there is no value.
    Vwap { anchor: Anchor },
    /// The mean of the last `len` closes, and lines `width` standard deviations above and below it: of the
    /// population (÷ len, not len − 1), as TA-Lib and TradingView have it. From bar `len` on.
    Bollinger { len: Length, width: Width },
    /// Wilder's relative strength index. Gains and losses are smoothed as by RMA, beginning with the mean of the
    /// first `len` changes, so the first value is that of bar `len` + 1. Without any movement it is 0, as in TA-Lib,
    /// not 50. TA-Lib also calls an average movement below 10^-14 none, whatever the price's scale; here only no
    /// movement is none.
    Rsi { len: Length },
    /// The difference of a fast and a slow EMA, its EMA of `signal` bars, and the difference of the two. As in
    /// TA-Lib, both averages begin at bar `slow`, with the mean of the `fast` and of the `slow` closes before, and
    /// all three lines at bar `slow` + `signal` − 1, where the signal begins as the mean of `signal` differences.
    Macd { fast: Length, slow: Length, signal: Length },
    /// Wilder's average true range: RMA of each bar's range, extended to the previous close. The first bar has no
    /// previous close and is left out, so the first value is that of bar `len` + 1.
    Atr { len: Length },
    /// Stochastic oscillator. %K is where the close lies in the range of the last `len` bars, in percent, as the
    /// mean of the last `smooth` such numbers; %D is the mean of the last `signal` %K. Both begin at bar `len` +
    /// `smooth` + `signal` − 2. In a range without extent it is 0, as in TA-Lib.
    Stochastic { len: Length, smooth: Length, signal: Length },
    /// On-balance volume: it begins as the first bar's volume, as in TA-Lib; then a bar that closes higher adds its
    /// volume, one that closes lower takes it off.
    Obv,
}

/// A number of bars, from 1 to [`Length::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Length(u16);

impl Length {
    /// The longest.
    pub const MAX: u16 = 1_000;

    /// So many bars, if that many are allowed.
    pub const fn new(bars: u16) -> Option<Self> {
        if bars >= 1 && bars <= Self::MAX { Some(Self(bars)) } else { None }
    }

    /// How many bars.
    pub const fn bars(self) -> usize {
        self.0 as usize
    }
}

/// A number of standard deviations, from 0.01 to 100 in steps of 0.01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Width(u16);

impl Width {
    /// The widest, in hundredths.
    pub const MAX_HUNDREDTHS: u16 = 10_000;

    /// So many hundredths of a standard deviation, if that many are allowed.
    pub const fn from_hundredths(hundredths: u16) -> Option<Self> {
        if hundredths >= 1 && hundredths <= Self::MAX_HUNDREDTHS { Some(Self(hundredths)) } else { None }
    }

    /// How many standard deviations.
    pub fn get(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

/// How an EMA begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Seed {
    /// At bar `len`, as the mean of the first `len` closes: TA-Lib's default.
    #[default]
    Sma,
    /// At the first bar, as its close: what pandas' `ewm(adjust=False)` does, and from bar `len` on TA-Lib's
    /// Metastock mode.
    First,
}

/// Which volume a VWAP averages over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Anchor {
    /// That of the UTC day in which the bar opens.
    #[default]
    Day,
    /// That of the last so many bars, once there are so many.
    Bars(Length),
    /// All that was ever taken in.
    All,
}

impl IndicatorSpec {
    /// One of each, with the usual numbers.
    pub const USUAL: [&str; 11] = [
        "sma(20)",
        "ema(20)",
        "wma(20)",
        "rma(14)",
        "vwap",
        "bollinger(20, 2)",
        "rsi(14)",
        "macd(12, 26, 9)",
        "atr(14)",
        "stochastic(14, 3, 3)",
        "obv",
    ];

    /// The name without numbers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sma { .. } => "sma",
            Self::Ema { .. } => "ema",
            Self::Wma { .. } => "wma",
            Self::Rma { .. } => "rma",
            Self::Vwap { .. } => "vwap",
            Self::Bollinger { .. } => "bollinger",
            Self::Rsi { .. } => "rsi",
            Self::Macd { .. } => "macd",
            Self::Atr { .. } => "atr",
            Self::Stochastic { .. } => "stochastic",
            Self::Obv => "obv",
        }
    }

    /// The names of its lines, in the order of its values; at most [`super::MAX_LINES`].
    pub const fn lines(self) -> &'static [&'static str] {
        match self {
            Self::Sma { .. } => &["sma"],
            Self::Ema { .. } => &["ema"],
            Self::Wma { .. } => &["wma"],
            Self::Rma { .. } => &["rma"],
            Self::Vwap { .. } => &["vwap"],
            Self::Bollinger { .. } => &["upper", "middle", "lower"],
            Self::Rsi { .. } => &["rsi"],
            Self::Macd { .. } => &["macd", "signal", "histogram"],
            Self::Atr { .. } => &["atr"],
            Self::Stochastic { .. } => &["%K", "%D"],
            Self::Obv => &["obv"],
        }
    }

    /// Whether its lines are prices that belong among the candles. The others need a scale of their own.
    pub const fn is_overlay(self) -> bool {
        match self {
            Self::Sma { .. } | Self::Ema { .. } | Self::Wma { .. } | Self::Rma { .. } => true,
            Self::Vwap { .. } | Self::Bollinger { .. } => true,
            Self::Rsi { .. } | Self::Macd { .. } | Self::Atr { .. } => false,
            Self::Stochastic { .. } | Self::Obv => false,
        }
    }

    /// How many bars come before the first that has values (of a VWAP: may have, if anything was traded).
    pub const fn warm_up(self) -> usize {
        match self {
            Self::Sma { len } | Self::Wma { len } | Self::Rma { len } => len.bars() - 1,
            Self::Bollinger { len, .. } | Self::Ema { len, seed: Seed::Sma } => len.bars() - 1,
            Self::Vwap { anchor: Anchor::Bars(len) } => len.bars() - 1,
            Self::Ema { seed: Seed::First, .. } | Self::Vwap { .. } | Self::Obv => 0,
            Self::Rsi { len } | Self::Atr { len } => len.bars(),
            Self::Macd { fast, slow, signal } => {
                let longer = if fast.bars() > slow.bars() { fast } else { slow };
                longer.bars() + signal.bars() - 2
            }
            Self::Stochastic { len, smooth, signal } => len.bars() + smooth.bars() + signal.bars() - 3,
        }
    }
}

impl fmt::Display for IndicatorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        match *self {
            Self::Sma { len } | Self::Wma { len } | Self::Rma { len } => write!(f, "{name}({len})"),
            Self::Rsi { len } | Self::Atr { len } => write!(f, "{name}({len})"),
            Self::Ema { len, seed: Seed::Sma } => write!(f, "{name}({len})"),
            Self::Ema { len, seed: Seed::First } => write!(f, "{name}({len}, first)"),
            Self::Vwap { anchor: Anchor::Day } => write!(f, "{name}(day)"),
            Self::Vwap { anchor: Anchor::Bars(len) } => write!(f, "{name}({len})"),
            Self::Vwap { anchor: Anchor::All } => write!(f, "{name}(all)"),
            Self::Bollinger { len, width } => write!(f, "{name}({len}, {width})"),
            Self::Macd { fast, slow, signal } => write!(f, "{name}({fast}, {slow}, {signal})"),
            Self::Stochastic { len, smooth, signal } => write!(f, "{name}({len}, {smooth}, {signal})"),
            Self::Obv => write!(f, "{name}"),
        }
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Width {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", decimal::display(self.0, 2))
    }
}

/// Why a text is not an indicator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndicatorError {
    /// The name is none of those known.
    #[error("'{0}' is not an indicator; use one of {list}", list = IndicatorSpec::USUAL.join("; "))]
    Unknown(String),
    /// The name is known, but what follows it has another form.
    #[error("'{text}' has another form than it should; write {example}, for example")]
    Form {
        /// The whole text.
        text: String,
        /// The same indicator, as it should be written.
        example: &'static str,
    },
    /// A length that is no number or out of bounds.
    #[error("'{value}' in '{text}' is not a number of bars from 1 to {max}; write {example}, for example", max = Length::MAX)]
    Length {
        /// The length, as written.
        value: String,
        /// The whole text.
        text: String,
        /// The same indicator, as it may be written.
        example: &'static str,
    },
    /// A width that is no number, too fine, or out of bounds.
    #[error(
        "'{value}' in '{text}' is not a width from 0.01 to 100 with at most two decimal places; write {example}, for example"
    )]
    Width {
        /// The width, as written.
        value: String,
        /// The whole text.
        text: String,
        /// The same indicator, as it may be written.
        example: &'static str,
    },
    /// A fast average that is not faster than the slow one.
    #[error("in '{0}' the first average must be shorter than the second, as in macd(12, 26, 9)")]
    Order(String),
}

impl FromStr for IndicatorSpec {
    type Err = IndicatorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let name = text.split('(').next().unwrap_or_default().trim_end();
        let named = |usual: &&&str| usual.split('(').next() == Some(name);
        let Some(example) = Self::USUAL.iter().find(named) else {
            return Err(IndicatorError::Unknown(text.to_owned()));
        };
        let example = match name {
            "ema" => "ema(20) or ema(20, first)",
            "vwap" => "vwap(day), vwap(20) or vwap(all)",
            _ => example,
        };
        Written { text, example }.read(name)
    }
}

/// A text that begins with an indicator's name, and an example of it for what is wrong.
#[derive(Clone, Copy)]
struct Written<'a> {
    text: &'a str,
    example: &'static str,
}

impl<'a> Written<'a> {
    fn read(self, name: &str) -> Result<IndicatorSpec, IndicatorError> {
        use IndicatorSpec::*;
        let len = |value| self.length(value);
        Ok(match (name, self.arguments()?.as_slice()) {
            ("sma", [value]) => Sma { len: len(value)? },
            ("ema", [value] | [value, "sma"]) => Ema { len: len(value)?, seed: Seed::Sma },
            ("ema", [value, "first"]) => Ema { len: len(value)?, seed: Seed::First },
            ("wma", [value]) => Wma { len: len(value)? },
            ("rma", [value]) => Rma { len: len(value)? },
            ("vwap", [] | ["day"]) => Vwap { anchor: Anchor::Day },
            ("vwap", ["all"]) => Vwap { anchor: Anchor::All },
            ("vwap", [value]) => Vwap { anchor: Anchor::Bars(len(value)?) },
            ("bollinger", [value, width]) => Bollinger { len: len(value)?, width: self.width(width)? },
            ("rsi", [value]) => Rsi { len: len(value)? },
            ("macd", [fast, slow, signal]) => {
                let (fast, slow, signal) = (len(fast)?, len(slow)?, len(signal)?);
                if fast >= slow {
                    return Err(IndicatorError::Order(self.text.to_owned()));
                }
                Macd { fast, slow, signal }
            }
            ("atr", [value]) => Atr { len: len(value)? },
            ("stochastic", [value, smooth, signal]) => {
                Stochastic { len: len(value)?, smooth: len(smooth)?, signal: len(signal)? }
            }
            ("obv", []) => Obv,
            _ => return Err(self.form()),
        })
    }

    /// What stands in parentheses, between commas.
    fn arguments(self) -> Result<Vec<&'a str>, IndicatorError> {
        let Some((_, rest)) = self.text.split_once('(') else {
            return Ok(Vec::new());
        };
        let list = rest.strip_suffix(')').ok_or_else(|| self.form())?;
        Ok(list.split(',').map(str::trim).collect())
    }

    fn length(self, value: &str) -> Result<Length, IndicatorError> {
        small(value, 0).and_then(Length::new).ok_or_else(|| IndicatorError::Length {
            value: value.to_owned(),
            text: self.text.to_owned(),
            example: self.example,
        })
    }

    fn width(self, value: &str) -> Result<Width, IndicatorError> {
        small(value, 2).and_then(Width::from_hundredths).ok_or_else(|| IndicatorError::Width {
            value: value.to_owned(),
            text: self.text.to_owned(),
            example: self.example,
        })
    }

    fn form(self) -> IndicatorError {
        IndicatorError::Form { text: self.text.to_owned(), example: self.example }
    }
}

/// A plain decimal number in units of 10^-`digits`, if it is a small one.
fn small(value: &str, digits: u8) -> Option<u16> {
    decimal::parse(value.as_bytes(), digits).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn length() -> impl Strategy<Value = Length> {
        (1..=Length::MAX).prop_map(|bars| Length::new(bars).unwrap())
    }

    fn spec() -> impl Strategy<Value = IndicatorSpec> {
        use IndicatorSpec::*;
        let seed = prop_oneof![Just(Seed::Sma), Just(Seed::First)];
        let anchor = prop_oneof![Just(Anchor::Day), Just(Anchor::All), length().prop_map(Anchor::Bars)];
        let width = (1..=Width::MAX_HUNDREDTHS).prop_map(|width| Width::from_hundredths(width).unwrap());
        let three = || (length(), length(), length());
        prop_oneof![
            length().prop_map(|len| Sma { len }),
            (length(), seed).prop_map(|(len, seed)| Ema { len, seed }),
            length().prop_map(|len| Wma { len }),
            length().prop_map(|len| Rma { len }),
            anchor.prop_map(|anchor| Vwap { anchor }),
            (length(), width).prop_map(|(len, width)| Bollinger { len, width }),
            length().prop_map(|len| Rsi { len }),
            three()
                .prop_filter("the first must be shorter", |(fast, slow, _)| fast < slow)
                .prop_map(|(fast, slow, signal)| Macd { fast, slow, signal }),
            length().prop_map(|len| Atr { len }),
            three().prop_map(|(len, smooth, signal)| Stochastic { len, smooth, signal }),
            Just(Obv),
        ]
    }

    proptest! {
        #[test]
        fn text_and_spec_are_inverse(spec in spec()) {
            prop_assert_eq!(spec.to_string().parse(), Ok(spec));
        }

        #[test]
        fn never_panics(text in "[a-z]{0,12}[(]?[a-z0-9., )(-]{0,20}") {
            let _ = text.parse::<IndicatorSpec>();
        }
    }

    #[test]
    fn the_usual_ones_are_all_there_are() {
        for usual in IndicatorSpec::USUAL {
            let spec: IndicatorSpec = usual.parse().unwrap();
            assert!(usual.starts_with(spec.name()), "{usual}");
            assert!(spec.lines().len() <= crate::indicator::MAX_LINES, "{usual}");
        }
    }

    #[test]
    fn reads_what_people_write() {
        let same = |a: &str, b: &str| assert_eq!(a.parse::<IndicatorSpec>(), b.parse(), "{a}");
        same("vwap", "vwap(day)");
        same("ema(9)", "ema(9, sma)");
        same(" bollinger( 20,2.50 ) ", "bollinger(20, 2.5)");
        assert_eq!("bollinger(20,2.50)".parse::<IndicatorSpec>().unwrap().to_string(), "bollinger(20, 2.5)");
    }

    #[test]
    fn says_what_is_wrong_and_how_it_is_right() {
        for (text, sentence) in [
            ("sma(0)", "'0' in 'sma(0)' is not a number of bars from 1 to 1000; write sma(20), for example"),
            (
                "rsi(1001)",
                "'1001' in 'rsi(1001)' is not a number of bars from 1 to 1000; write rsi(14), for example",
            ),
            (
                "atr(-1)",
                "'-1' in 'atr(-1)' is not a number of bars from 1 to 1000; write atr(14), for example",
            ),
            (
                "vwap(week)",
                "'week' in 'vwap(week)' is not a number of bars from 1 to 1000; write vwap(day), vwap(20) or vwap(all), for example",
            ),
            (
                "macd(12, 26)",
                "'macd(12, 26)' has another form than it should; write macd(12, 26, 9), for example",
            ),
            (
                "ema(9, last)",
                "'ema(9, last)' has another form than it should; write ema(20) or ema(20, first), for example",
            ),
            ("sma", "'sma' has another form than it should; write sma(20), for example"),
            ("sma(20", "'sma(20' has another form than it should; write sma(20), for example"),
            (
                "sma(20) ema(9)",
                "'20) ema(9' in 'sma(20) ema(9)' is not a number of bars from 1 to 1000; write sma(20), for example",
            ),
            ("obv()", "'obv()' has another form than it should; write obv, for example"),
            (
                "bollinger(20, 2.125)",
                "'2.125' in 'bollinger(20, 2.125)' is not a width from 0.01 to 100 with at most two decimal places; \
                 write bollinger(20, 2), for example",
            ),
            (
                "macd(26, 12, 9)",
                "in 'macd(26, 12, 9)' the first average must be shorter than the second, as in macd(12, 26, 9)",
            ),
        ] {
            assert_eq!(text.parse::<IndicatorSpec>().unwrap_err().to_string(), sentence);
        }
        let unknown = "SMA(20)".parse::<IndicatorSpec>().unwrap_err().to_string();
        assert!(
            unknown.starts_with("'SMA(20)' is not an indicator; use one of sma(20); ema(20);"),
            "{unknown}"
        );
    }
}
