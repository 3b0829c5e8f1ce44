//! What a client may change of a chart: which bars it shows, where its crosshair stands, what is marked on it.
//!
//! An [`Adjustment`] travels in a [`Request`](crate::control::Request) as [`AdjustWords`]. What holds: words that say
//! anything out of range are refused by [`Adjustment::read`] with one sentence; every other adjustment comes out as it
//! went in. Numbers are plain: prices in the instrument's decimal places, times in milliseconds since 1970, colours as
//! 0xrrggbb.

use crate::record::{Text, record};

/// A short text on a mark: at most 24 bytes.
pub type Title = Text<3>;

record! {
    /// An adjustment as it is sent.
    #[derive(Default)]
    pub struct AdjustWords {
        /// [`Kind`].
        pub kind: u64,
        /// What that kind needs; the rest are zero.
        pub arguments: [u64; 4],
        /// What stands on a mark; zeros elsewhere.
        pub title: Title,
    }
}

/// What kind of adjustment it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Kind {
    /// None: what every other request has.
    None,
    /// [`Adjustment::Reset`]; no argument.
    Reset,
    /// [`Adjustment::Pan`]: bars, signed.
    Pan,
    /// [`Adjustment::Zoom`]: steps, signed; pixel column plus 1, or 0.
    Zoom,
    /// [`Adjustment::Range`]: from, to.
    Range,
    /// [`Adjustment::Pointer`]: pixel column plus 1, pixel row plus 1; both 0 for none.
    Pointer,
    /// [`Adjustment::PriceLine`]: price, signed; colour.
    PriceLine,
    /// [`Adjustment::Marker`]: time, place, shape, colour.
    Marker,
    /// [`Adjustment::ClearMarks`]; no argument.
    ClearMarks,
}

impl Kind {
    /// All of them, by number.
    pub const ALL: [Self; 9] = [
        Self::None,
        Self::Reset,
        Self::Pan,
        Self::Zoom,
        Self::Range,
        Self::Pointer,
        Self::PriceLine,
        Self::Marker,
        Self::ClearMarks,
    ];

    /// The name that `abi.txt` uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Reset => "reset",
            Self::Pan => "pan: bars",
            Self::Zoom => "zoom: steps, x + 1 or 0",
            Self::Range => "range: from_ms, to_ms",
            Self::Pointer => "pointer: x + 1, y + 1, or 0, 0",
            Self::PriceLine => "price line: price, color",
            Self::Marker => "marker: time_ms, place, shape, color",
            Self::ClearMarks => "clear marks",
        }
    }
}

/// What a client may change of a chart. Charts are shared: everybody sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adjustment {
    /// Follow the newest bar again, at the width that the chart began with.
    Reset,
    /// Move by so many bars: into the past where it is negative. At the newest bar it follows again.
    Pan {
        /// At most [`MAX_PAN`] either way.
        bars: i64,
    },
    /// Zoom in by so many steps, or out where it is negative.
    Zoom {
        /// At most [`MAX_ZOOM`] either way.
        steps: i32,
        /// The pixel column whose bar stays where it is; without it the newest one shown does.
        x: Option<u16>,
    },
    /// Show the bars from one moment to another, as wide as they fit.
    Range {
        /// A moment in the first bar.
        from_ms: i64,
        /// A moment in the last bar, not before `from_ms`.
        to_ms: i64,
    },
    /// Show a crosshair at this pixel, column and row, and tell of the bar under it; or show none.
    Pointer(Option<(u16, u16)>),
    /// Add a line at a price, or replace the one that is there.
    PriceLine {
        /// In the instrument's decimal places.
        price: i64,
        /// 0xrrggbb.
        color: u32,
        /// What stands on it; may be empty.
        title: Title,
    },
    /// Add a marker at a bar, or replace the one at its place.
    Marker {
        /// A moment in the bar.
        time_ms: i64,
        /// Where it stands.
        place: Place,
        /// What it looks like.
        shape: Shape,
        /// 0xrrggbb.
        color: u32,
        /// What stands beside it; may be empty.
        title: Title,
    },
    /// Remove all price lines and markers.
    ClearMarks,
}

/// Where a marker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Place {
    /// Above the bar.
    Above,
    /// Below it.
    Below,
}

/// A marker's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
#[allow(missing_docs)] // Each name says what it looks like.
pub enum Shape {
    ArrowUp,
    ArrowDown,
    Circle,
    Square,
}

/// The most bars to move by at once.
pub const MAX_PAN: i64 = 1_000_000_000;
/// The most steps to zoom by at once: more than there are.
pub const MAX_ZOOM: i32 = 64;
/// The last moment of the year 9999.
pub const MAX_TIME_MS: i64 = 253_402_300_799_999;

/// Why words are not an adjustment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AdjustmentError {
    /// The kind is not known.
    #[error("there is no adjustment of kind {0}; the last is 8")]
    Kind(u64),
    /// Too far.
    #[error("a chart moves by at most 1000000000 bars at once, not by {0}")]
    Pan(i64),
    /// Too many steps.
    #[error("a chart zooms by at most 64 steps at once, not by {0}")]
    Zoom(i64),
    /// No such pixel, in any chart.
    #[error("a pixel's column and row must be 0 to 65534, both or neither")]
    Pixel,
    /// No moment that a bar could have.
    #[error("a time must be 0 to 253402300799999 milliseconds since 1970, not {0}")]
    Time(i64),
    /// The wrong way round.
    #[error("a range must not end before it begins")]
    Range,
    /// Not a colour.
    #[error("a colour must be 0 to 0xffffff, not {0:#x}")]
    Color(u64),
    /// Not a place.
    #[error("a marker's place must be 0 (above) or 1 (below), not {0}")]
    Place(u64),
    /// Not a shape.
    #[error("a marker's shape must be 0 to 3 (arrow up, arrow down, circle, square), not {0}")]
    Shape(u64),
    /// Not a title.
    #[error("a title must be UTF-8 without control characters, padded with zeros")]
    Title,
    /// Something is said that this kind has no use for.
    #[error("what an adjustment does not use must be zero")]
    Unused,
}

impl Adjustment {
    /// As it is sent.
    pub fn words(&self) -> AdjustWords {
        let plain =
            |kind: Kind, arguments| AdjustWords { kind: kind as u64, arguments, ..Default::default() };
        match *self {
            Self::Reset => plain(Kind::Reset, [0; 4]),
            Self::Pan { bars } => plain(Kind::Pan, [bars as u64, 0, 0, 0]),
            Self::Zoom { steps, x } => {
                let column = x.map_or(0, |x| u64::from(x) + 1);
                plain(Kind::Zoom, [i64::from(steps) as u64, column, 0, 0])
            }
            Self::Range { from_ms, to_ms } => plain(Kind::Range, [from_ms as u64, to_ms as u64, 0, 0]),
            Self::Pointer(pixel) => {
                let [x, y] = pixel.map_or([0; 2], |(x, y)| [x, y].map(|side| u64::from(side) + 1));
                plain(Kind::Pointer, [x, y, 0, 0])
            }
            Self::PriceLine { price, color, title } => {
                AdjustWords { title, ..plain(Kind::PriceLine, [price as u64, color.into(), 0, 0]) }
            }
            Self::Marker { time_ms, place, shape, color, title } => {
                let arguments = [time_ms as u64, place as u64, shape as u64, color.into()];
                AdjustWords { title, ..plain(Kind::Marker, arguments) }
            }
            Self::ClearMarks => plain(Kind::ClearMarks, [0; 4]),
        }
    }

    /// From what was sent, or why it cannot be.
    pub fn read(words: &AdjustWords) -> Result<Self, AdjustmentError> {
        let AdjustWords { kind, arguments: [first, second, third, fourth], title } = *words;
        let kind_of = |number: u64| Kind::ALL.into_iter().find(|kind| *kind as u64 == number);
        let read = match kind_of(kind).ok_or(AdjustmentError::Kind(kind))? {
            Kind::None => return Err(AdjustmentError::Kind(kind)),
            Kind::Reset => Self::Reset,
            Kind::Pan => Self::Pan { bars: bars(first as i64)? },
            Kind::Zoom => Self::Zoom { steps: steps(first as i64)?, x: side(second)? },
            Kind::Range => range(time(first)?, time(second)?)?,
            Kind::Pointer => match (side(first)?, side(second)?) {
                (Some(x), Some(y)) => Self::Pointer(Some((x, y))),
                (None, None) => Self::Pointer(None),
                _ => return Err(AdjustmentError::Pixel),
            },
            Kind::PriceLine => {
                Self::PriceLine { price: first as i64, color: color(second)?, title: text(title)? }
            }
            Kind::Marker => Self::Marker {
                time_ms: time(first)?,
                place: place(second)?,
                shape: shape(third)?,
                color: color(fourth)?,
                title: text(title)?,
            },
            Kind::ClearMarks => Self::ClearMarks,
        };
        if read.words() == *words { Ok(read) } else { Err(AdjustmentError::Unused) }
    }
}

fn bars(bars: i64) -> Result<i64, AdjustmentError> {
    if (-MAX_PAN..=MAX_PAN).contains(&bars) { Ok(bars) } else { Err(AdjustmentError::Pan(bars)) }
}

fn steps(steps: i64) -> Result<i32, AdjustmentError> {
    let few = i32::try_from(steps).ok().filter(|steps| (-MAX_ZOOM..=MAX_ZOOM).contains(steps));
    few.ok_or(AdjustmentError::Zoom(steps))
}

/// A pixel's column or row, which is sent plus 1.
fn side(word: u64) -> Result<Option<u16>, AdjustmentError> {
    let side = word.checked_sub(1).map(u16::try_from).transpose();
    side.ok().filter(|side| *side != Some(u16::MAX)).ok_or(AdjustmentError::Pixel)
}

fn time(word: u64) -> Result<i64, AdjustmentError> {
    let time_ms = word as i64;
    if (0..=MAX_TIME_MS).contains(&time_ms) { Ok(time_ms) } else { Err(AdjustmentError::Time(time_ms)) }
}

fn range(from_ms: i64, to_ms: i64) -> Result<Adjustment, AdjustmentError> {
    if from_ms <= to_ms { Ok(Adjustment::Range { from_ms, to_ms }) } else { Err(AdjustmentError::Range) }
}

fn color(word: u64) -> Result<u32, AdjustmentError> {
    let color = u32::try_from(word).ok().filter(|color| *color <= 0xff_ffff);
    color.ok_or(AdjustmentError::Color(word))
}

fn place(word: u64) -> Result<Place, AdjustmentError> {
    let found = [Place::Above, Place::Below].into_iter().find(|place| *place as u64 == word);
    found.ok_or(AdjustmentError::Place(word))
}

fn shape(word: u64) -> Result<Shape, AdjustmentError> {
    let all = [Shape::ArrowUp, Shape::ArrowDown, Shape::Circle, Shape::Square];
    all.into_iter().find(|shape| *shape as u64 == word).ok_or(AdjustmentError::Shape(word))
}

fn text(title: Title) -> Result<Title, AdjustmentError> {
    let shown = title.to_string();
    // What is not UTF-8, or goes on behind a zero, does not come out as it went in.
    let is_text = Title::new(&shown) == title && !shown.chars().any(char::is_control);
    if is_text { Ok(title) } else { Err(AdjustmentError::Title) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Op, Request};
    use proptest::prelude::*;

    fn titles() -> impl Strategy<Value = Title> {
        "[^\\p{Cc}]{0,30}".prop_map(|text| Title::new(&text))
    }

    fn adjustments() -> impl Strategy<Value = Adjustment> {
        let side = 0..u16::MAX;
        let time = 0..=MAX_TIME_MS;
        let places = prop::sample::select(vec![Place::Above, Place::Below]);
        let shapes =
            prop::sample::select(vec![Shape::ArrowUp, Shape::ArrowDown, Shape::Circle, Shape::Square]);
        prop_oneof![
            Just(Adjustment::Reset),
            Just(Adjustment::ClearMarks),
            (-MAX_PAN..=MAX_PAN).prop_map(|bars| Adjustment::Pan { bars }),
            (-MAX_ZOOM..=MAX_ZOOM, prop::option::of(side.clone()))
                .prop_map(|(steps, x)| Adjustment::Zoom { steps, x }),
            (time.clone(), time.clone())
                .prop_map(|(a, b)| Adjustment::Range { from_ms: a.min(b), to_ms: a.max(b) }),
            prop::option::of((side.clone(), side)).prop_map(Adjustment::Pointer),
            (any::<i64>(), 0..=0xff_ffffu32, titles())
                .prop_map(|(price, color, title)| Adjustment::PriceLine { price, color, title }),
            (time, places, shapes, 0..=0xff_ffffu32, titles()).prop_map(
                |(time_ms, place, shape, color, title)| Adjustment::Marker {
                    time_ms,
                    place,
                    shape,
                    color,
                    title
                }
            ),
        ]
    }

    proptest! {
        /// Through the words of a whole request, and back.
        #[test]
        fn every_adjustment_comes_out_as_it_went_in(adjustment in adjustments()) {
            let request = Request::adjust("binance:BTCUSDT/1m", &adjustment);
            let request = Request::from_words(&request.to_words());
            prop_assert_eq!(request.op, Op::Adjust as u64);
            prop_assert_eq!(Adjustment::read(&request.adjustment), Ok(adjustment));
        }

        /// No words make it panic, and what is granted is just what was sent.
        #[test]
        fn any_words_are_refused_or_meant(
            kind in 0..12u64,
            arguments in prop::array::uniform4(prop_oneof![any::<u64>(), 0..9u64, (0..9u64).prop_map(|n| !n)]),
            title in prop::array::uniform3(prop_oneof![Just(0), any::<u64>()]),
        ) {
            let title = crate::record::Field::load(&title);
            let words = AdjustWords { kind, arguments, title };
            if let Ok(adjustment) = Adjustment::read(&words) {
                prop_assert_eq!(adjustment.words(), words);
            }
        }
    }

    #[test]
    fn what_is_out_of_range_is_refused_with_a_sentence() {
        let words =
            |kind: Kind, arguments| AdjustWords { kind: kind as u64, arguments, ..Default::default() };
        let line = words(Kind::PriceLine, [5, 0, 0, 0]);
        for (words, reason) in [
            (AdjustWords::default(), "there is no adjustment of kind 0"),
            (AdjustWords { kind: 9, ..Default::default() }, "there is no adjustment of kind 9"),
            (words(Kind::Pan, [i64::MIN as u64, 0, 0, 0]), "at most 1000000000 bars at once"),
            (words(Kind::Pan, [1, 1, 0, 0]), "does not use must be zero"),
            (words(Kind::Reset, [0, 0, 0, 1]), "does not use must be zero"),
            (words(Kind::Zoom, [65, 0, 0, 0]), "at most 64 steps at once, not by 65"),
            (words(Kind::Zoom, [1 << 32, 0, 0, 0]), "at most 64 steps"),
            (words(Kind::Zoom, [1, 65_536, 0, 0]), "must be 0 to 65534"),
            (words(Kind::Pointer, [1, 0, 0, 0]), "both or neither"),
            (words(Kind::Range, [2, 1, 0, 0]), "must not end before it begins"),
            (words(Kind::Range, [u64::MAX, 1, 0, 0]), "since 1970, not -1"),
            (words(Kind::PriceLine, [5, 1 << 24, 0, 0]), "a colour must be 0 to 0xffffff"),
            (AdjustWords { title: Title::new("a\nb"), ..line }, "without control characters"),
            (AdjustWords { title: crate::record::Field::load(&[0, 1, 0]), ..line }, "padded with zeros"),
            (AdjustWords { title: crate::record::Field::load(&[0xff, 0, 0]), ..line }, "must be UTF-8"),
            (words(Kind::Marker, [5, 2, 0, 0]), "place must be"),
            (words(Kind::Marker, [5, 0, 4, 0]), "shape must be"),
        ] {
            let said = Adjustment::read(&words).unwrap_err().to_string();
            assert!(said.contains(reason), "{said}");
        }
    }
}
