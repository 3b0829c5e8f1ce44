//! What clients want the charts to show: a queue from the cold plane to the thread that draws.
//!
//! What holds: whatever is wrong with an adjustment is said on the cold plane, before it is queued; the thread that
//! draws allocates nothing and looks at one word while nobody wishes anything. At most [`MAX_A_SECOND`] adjustments are
//! taken in a second, from all clients together; the queue has room for [`QUEUE_LEN`]. What is too much is refused and
//! counted, and the client may try again. All that are queued are fulfilled before the next frame is drawn.

use crate::now_ns;
use chart::{Chart, Color, Marker, MarkerPlace, MarkerShape, PriceLine};
use shm::adjust::{AdjustWords, Adjustment, AdjustmentError, Place, Shape};
use shm::status::{Counter, StatusWriter};
use std::fmt;
use std::sync::Arc;

/// The most adjustments that are taken in a second, from all clients together.
pub const MAX_A_SECOND: u32 = 200;
/// How many may wait for the thread that draws.
pub const QUEUE_LEN: usize = 256;
const SECOND_NS: u64 = 1_000_000_000;

/// What is to be done to a chart: an adjustment in the words of the chart crate.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wish {
    Reset,
    Pan(i64),
    Zoom(i32, Option<u16>),
    Range(i64, i64),
    Pointer(Option<(u16, u16)>),
    PriceLine(PriceLine),
    Marker(Marker),
    ClearMarks,
}

impl Wish {
    fn of(adjustment: &Adjustment) -> Self {
        match *adjustment {
            Adjustment::Reset => Self::Reset,
            Adjustment::Pan { bars } => Self::Pan(bars),
            Adjustment::Zoom { steps, x } => Self::Zoom(steps, x),
            Adjustment::Range { from_ms, to_ms } => Self::Range(from_ms, to_ms),
            Adjustment::Pointer(pixel) => Self::Pointer(pixel),
            Adjustment::PriceLine { price, color, title } => {
                let title = title.to_string().as_str().into();
                Self::PriceLine(PriceLine { price, color: Color(color), title })
            }
            Adjustment::Marker { time_ms, place, shape, color, title } => {
                let place = match place {
                    Place::Above => MarkerPlace::Above,
                    Place::Below => MarkerPlace::Below,
                };
                let shape = match shape {
                    Shape::ArrowUp => MarkerShape::ArrowUp,
                    Shape::ArrowDown => MarkerShape::ArrowDown,
                    Shape::Circle => MarkerShape::Circle,
                    Shape::Square => MarkerShape::Square,
                };
                let title = title.to_string().as_str().into();
                Self::Marker(Marker { time_ms, place, shape, color: Color(color), title })
            }
            Adjustment::ClearMarks => Self::ClearMarks,
        }
    }

    /// Does it; it shows when the chart is drawn next.
    pub(crate) fn fulfil(self, chart: &mut Chart) {
        match self {
            Self::Reset => chart.reset_view(),
            Self::Pan(bars) => chart.pan(bars),
            Self::Zoom(steps, x) => chart.zoom(steps, x),
            Self::Range(from_ms, to_ms) => chart.show_range(from_ms, to_ms),
            Self::Pointer(pixel) => chart.set_pointer(pixel),
            Self::PriceLine(line) => chart.set_price_line(line),
            Self::Marker(marker) => chart.set_marker(marker),
            Self::ClearMarks => chart.clear_marks(),
        }
    }
}

/// The end of the queue that wishes go into.
pub(crate) type Ending = rtrb::Producer<(usize, Wish)>;

/// The end that they come out of.
#[derive(Debug)]
pub(crate) struct Wishes(rtrb::Consumer<(usize, Wish)>);

/// Both ends.
pub(crate) fn queue() -> (Ending, Wishes) {
    let (ending, wishes) = rtrb::RingBuffer::new(QUEUE_LEN);
    (ending, Wishes(wishes))
}

impl Wishes {
    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Has all wishes that are there done, in order: a chart's place, and what to do to it.
    pub(crate) fn fulfil(&mut self, mut done: impl FnMut(usize, Wish)) {
        // No more than were there, so that whoever goes on wishing cannot keep a frame from being drawn.
        for _ in 0..self.0.slots() {
            if let Ok((place, wish)) = self.0.pop() {
                done(place, wish);
            }
        }
    }
}

/// Why an adjustment is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WishError {
    /// It says what it cannot.
    #[error(transparent)]
    Adjustment(#[from] AdjustmentError),
    /// The pixel is not one of the chart's.
    #[error("the chart has no pixel at column {x}, row {y}: it is {width}x{height}")]
    Outside {
        /// The column.
        x: u16,
        /// The row.
        y: u16,
        /// The chart's width.
        width: u64,
        /// The chart's height.
        height: u64,
    },
    /// There is no such chart in this configuration.
    #[error("there is no chart number {0}")]
    Chart(usize),
    /// Too many came in this second.
    #[error("chartd takes at most {MAX_A_SECOND} adjustments a second, from all clients together; try again")]
    TooMany,
    /// The thread that draws has not come round to those before.
    #[error("{QUEUE_LEN} adjustments wait to be drawn already; try again")]
    Full,
    /// The configuration is just being replaced.
    #[error("chartd takes over a new configuration; say hello and try again")]
    Replaced,
}

/// Through which the cold plane adjusts charts.
pub struct Wisher {
    queue: Ending,
    /// Each chart's size.
    sizes: Vec<[u64; 2]>,
    /// How many adjustments each chart has been given.
    given: Vec<u64>,
    limit: Limit,
    status: Arc<StatusWriter>,
    wake: Box<dyn Fn()>,
}

impl fmt::Debug for Wisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wisher").field("given", &self.given).finish_non_exhaustive()
    }
}

impl Wisher {
    pub(crate) fn new(
        queue: Ending,
        sizes: &[[u64; 2]],
        status: Arc<StatusWriter>,
        wake: Box<dyn Fn()>,
    ) -> Self {
        let given = vec![0; sizes.len()];
        Self { queue, sizes: sizes.to_vec(), given, limit: Limit::default(), status, wake }
    }

    /// Adjusts the chart at that place, soon. Returns how many adjustments of it there were with this one: the first
    /// frame that shows so many shows this one.
    pub fn adjust(&mut self, chart: usize, words: &AdjustWords) -> Result<u64, WishError> {
        let outcome = self.try_adjust(chart, words);
        let counter = if outcome.is_ok() { Counter::Adjustments } else { Counter::AdjustmentsRefused };
        self.status.count(counter, 1);
        outcome
    }

    fn try_adjust(&mut self, chart: usize, words: &AdjustWords) -> Result<u64, WishError> {
        let adjustment = Adjustment::read(words)?;
        let size = self.sizes.get(chart).ok_or(WishError::Chart(chart))?;
        check_pixel(&adjustment, *size)?;
        if self.queue.is_abandoned() {
            return Err(WishError::Replaced);
        }
        if !self.limit.allows(now_ns()) {
            return Err(WishError::TooMany);
        }
        self.queue.push((chart, Wish::of(&adjustment))).map_err(|_| WishError::Full)?;
        self.given[chart] += 1;
        (self.wake)(); // After it is queued, or the thread might look too early, and sleep.
        Ok(self.given[chart])
    }
}

fn check_pixel(adjustment: &Adjustment, [width, height]: [u64; 2]) -> Result<(), WishError> {
    let (x, y) = match *adjustment {
        Adjustment::Pointer(Some(pixel)) => pixel,
        Adjustment::Zoom { x: Some(x), .. } => (x, 0),
        _ => return Ok(()),
    };
    let is_inside = u64::from(x) < width && u64::from(y) < height;
    if is_inside { Ok(()) } else { Err(WishError::Outside { x, y, width, height }) }
}

/// Allows so many in a second.
#[derive(Debug, Default)]
struct Limit {
    began_ns: u64,
    taken: u32,
}

impl Limit {
    fn allows(&mut self, now_ns: u64) -> bool {
        if self.taken == 0 || now_ns.saturating_sub(self.began_ns) >= SECOND_NS {
            (self.began_ns, self.taken) = (now_ns, 0);
        }
        let allows = self.taken < MAX_A_SECOND;
        self.taken += u32::from(allows);
        allows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_room_for_so_many() {
        let mut limit = Limit::default();
        let flood = |limit: &mut Limit, at_ns: u64| (0..1_000).filter(|_| limit.allows(at_ns)).count();
        assert_eq!(flood(&mut limit, 5), 200);
        assert_eq!(flood(&mut limit, SECOND_NS), 0);
        assert_eq!(flood(&mut limit, 5 + SECOND_NS), 200);
        assert_eq!(flood(&mut limit, 10 * SECOND_NS), 200);
    }

    #[test]
    fn what_is_wrong_is_refused_and_counted_and_never_queued() {
        let status = Arc::new(StatusWriter::create(0, 0, [0; 2]).unwrap());
        let (queue, mut wishes) = queue();
        let mut wisher = Wisher::new(queue, &[[320, 180]], status.clone(), Box::new(|| ()));
        let mut adjust = |chart, adjustment: Adjustment| wisher.adjust(chart, &adjustment.words());
        assert_eq!(adjust(0, Adjustment::Pointer(Some((319, 179)))), Ok(1));
        assert_eq!(adjust(0, Adjustment::Zoom { steps: 1, x: Some(319) }), Ok(2));
        assert_eq!(adjust(1, Adjustment::Reset), Err(WishError::Chart(1)));
        let outside = adjust(0, Adjustment::Pointer(Some((320, 0)))).unwrap_err().to_string();
        assert_eq!(outside, "the chart has no pixel at column 320, row 0: it is 320x180");
        assert!(adjust(0, Adjustment::Pointer(Some((0, 180)))).is_err());
        assert!(adjust(0, Adjustment::Zoom { steps: 1, x: Some(320) }).is_err());
        assert_eq!(wisher.adjust(0, &AdjustWords::default()), Err(AdjustmentError::Kind(0).into()));
        let mut count = 0;
        wishes.fulfil(|place, _| count += usize::from(place == 0));
        assert!(count == 2 && wishes.is_empty());
        let reader = shm::status::StatusReader::open(status.reader_fd().unwrap()).unwrap();
        let counted = [Counter::Adjustments, Counter::AdjustmentsRefused].map(|of| reader.counter(of));
        assert_eq!(counted, [2, 5]);
        drop(wishes);
        assert_eq!(wisher.adjust(0, &Adjustment::Reset.words()), Err(WishError::Replaced));
    }

    #[test]
    fn a_thread_that_does_not_draw_fills_the_queue_and_no_more() {
        let status = Arc::new(StatusWriter::create(0, 0, [0; 2]).unwrap());
        let (queue, mut wishes) = queue();
        let mut wisher = Wisher::new(queue, &[[9, 9]], status, Box::new(|| ()));
        let words = Adjustment::Pan { bars: -1 }.words();
        for _ in 0..QUEUE_LEN {
            wisher.limit = Limit::default();
            wisher.adjust(0, &words).unwrap();
        }
        wisher.limit = Limit::default();
        assert_eq!(wisher.adjust(0, &words), Err(WishError::Full));
        let mut count = 0;
        wishes.fulfil(|_, _| count += 1);
        assert_eq!(count, QUEUE_LEN);
        assert_eq!(wisher.adjust(0, &words), Ok(QUEUE_LEN as u64 + 1), "a refused one does not count");
    }
}
