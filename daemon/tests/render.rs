//! What readers see: in whatever slot a frame lies, its pixels are the picture of its candles.

use chart::{Look, Theme};
use chart_client::find_series;
use chartd::engine::{Engine, EnginePlan, FeedPlan, Verdict};
use chartd::render::{ChartPlan, Renderer};
use chartd::wishes::Wisher;
use market::{ChartName, Instrument, Timeframe, Venue};
use proptest::prelude::*;
use shm::adjust::{Adjustment, Place, Shape};
use shm::frame::{FrameCopy, FrameInfo, FrameReader, Rect};
use shm::market::MarketReader;
use shm::prefix::Identity;
use shm::status::{Counter, Stage, StatusReader, StatusWriter};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::*};

const SIZE: [u32; 2] = [333, 200];

struct Stand {
    engine: Engine,
    renderer: Renderer,
    reader: FrameReader,
    status: StatusReader,
    time_ms: i64,
    trades: u64,
}

impl Stand {
    /// A chart that is wide enough for a few dozen bars, of which the engine keeps `bars`.
    fn new(bars: usize) -> Self {
        Self::looking(bars, Look::default(), || 0)
    }

    /// The same with a look and a clock of its own.
    fn looking(bars: usize, look: Look, now_ns: fn() -> u64) -> Self {
        let status = Arc::new(StatusWriter::create(0, 0, [0; 2]).unwrap());
        let instruments = vec![(Instrument::new(Venue::Binance, "BTCUSDT"), vec![Timeframe::S1])];
        let plan = FeedPlan { venue: Venue::Binance, instruments };
        let plan = EnginePlan {
            feeds: &[plan],
            bars,
            published: bars,
            huge_pages: false,
            identity: Identity::default(),
        };
        let engine = Engine::new(&plan, status.clone(), || 0).unwrap();
        let name = ChartName { venue: Venue::Binance, symbol: "BTCUSDT".into(), timeframe: Timeframe::S1 };
        let time_zone = jiff::tz::TimeZone::UTC;
        let chart = ChartPlan {
            name,
            size: SIZE,
            theme: Theme::Dark,
            look,
            price_lines: Vec::new(),
            time_zone,
            history: bars,
            leases: 2,
        };
        let market = engine.market().reader_fd().unwrap();
        let renderer = Renderer::new(&[chart], market, false, status.clone(), now_ns).unwrap();
        let [control, pixels] = renderer.exports().unwrap().remove(0).segments;
        Self {
            engine,
            renderer,
            reader: FrameReader::open(control, pixels).unwrap(),
            status: StatusReader::open(status.reader_fd().unwrap()).unwrap(),
            time_ms: 1_700_000_000_000,
            trades: 0,
        }
    }

    fn trade(&mut self, pause_ms: i64, price: i64) {
        self.time_ms += pause_ms;
        self.trades += 1;
        let (time_ms, id) = (self.time_ms, self.trades);
        let frame = format!(
            r#"{{"e":"trade","E":{time_ms},"s":"BTCUSDT","t":{id},"p":"{price}","q":"1.5","T":{time_ms},"m":true,"M":true}}"#
        );
        assert_eq!(self.engine.frame(0, 0, frame.as_bytes(), 0), Verdict::Decoded);
    }

    /// Trades and frames, each of which is looked at: pause, price, how many trades, and whether the slot is prepared.
    fn take(&mut self, steps: &[(i64, i64, usize, bool)]) -> Result<(), TestCaseError> {
        for (pause_ms, price, times, prepares) in steps {
            let before = self.copy();
            if *prepares {
                prop_assert!(self.renderer.catch_up(), "every frame leaves something to prepare");
                while self.renderer.catch_up() {}
            }
            for time in 0..*times {
                self.trade(*pause_ms, price + time as i64);
            }
            prop_assert_eq!(self.renderer.step(), 1, "one frame shows all that came");
            let after = self.copy();
            let (_, picture) = self.renderer.pictures().next().unwrap();
            // Not `assert_eq`, which would print every pixel.
            prop_assert!(after.pixels == picture.pixels(), "frame {} differs", after.number());
            prop_assert_eq!(after.number(), before.number() + 1);
            let changed =
                (0..after.pixels.len()).filter(|index| after.pixels[*index] != before.pixels[*index]);
            for index in changed {
                prop_assert!(is_damaged(&after, index), "pixel {} changed and is not called damaged", index);
            }
        }
        Ok(())
    }

    fn copy(&self) -> FrameCopy {
        let mut copy = FrameCopy::default();
        assert_eq!(self.reader.copy_latest(&mut copy), Ok(()));
        copy
    }
}

fn is_damaged(copy: &FrameCopy, index: usize) -> bool {
    let info = copy.info.unwrap();
    let (x, y) = ((index % copy.width) as u16, (index / copy.width) as u16);
    info.damage[..info.damage_count as usize]
        .iter()
        .map(|word| Rect::unpack(*word))
        .any(|rect| (rect.x..rect.x + rect.width).contains(&x) && (rect.y..rect.y + rect.height).contains(&y))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// After every frame, at every phase of the ring, prepared ahead of time or not, with a slot leased or not: the slot
    /// holds the whole picture, a leased one keeps its own, and what the description does not call damaged is as it
    /// was.
    #[test]
    fn every_slot_holds_the_whole_picture(
        steps in prop::collection::vec((0i64..1_500, 100i64..140, 1usize..4, any::<bool>()), 3..60),
        bars in prop::sample::select(vec![8usize, 500]),
    ) {
        let mut stand = Stand::new(bars);
        let export = stand.renderer.exports().unwrap().remove(0);
        let [control, pixels] = export.segments;
        let grant = export.leases.grant().unwrap().unwrap();
        let mut leasing = FrameReader::open(control, pixels).unwrap().with_lease(grant.fd().unwrap()).unwrap();
        let third = steps.len() / 3;
        stand.take(&steps[..third])?;
        {
            let leased = leasing.lease_latest().unwrap();
            let held = stand.copy();
            stand.take(&steps[third..2 * third])?;
            prop_assert_eq!(leased.info().number, held.number());
            let same = |y: usize| *leased.row(y) == held.pixels[y * held.width..(y + 1) * held.width];
            prop_assert!((0..held.height).all(same), "the leased frame changed");
        }
        stand.take(&steps[2 * third..])?;
        prop_assert_eq!(stand.renderer.step(), 0, "nothing new, no frame");
        prop_assert_eq!(stand.status.counter(Counter::TicksOverrun), 0);
        let ticks = stand.status.histogram(Stage::TickToFrame).unwrap().count();
        prop_assert_eq!(ticks, stand.trades, "every trade has its latency");
    }
}

#[test]
fn a_bar_that_opens_after_a_pause_was_drawn_ahead() {
    let mut stand = Stand::new(500);
    for step in 0..200 {
        stand.trade(330, 100 + step % 7);
        stand.renderer.step();
        while stand.renderer.is_behind() {
            assert!(stand.renderer.catch_up(), "what is behind can be caught up");
        }
        let copy = stand.copy();
        let (_, picture) = stand.renderer.pictures().next().unwrap();
        assert!(copy.pixels == picture.pixels(), "frame {} differs", copy.number());
    }
    let counter = |counter| stand.status.counter(counter);
    let (prepared, hits) = (counter(Counter::AheadPrepared), counter(Counter::AheadHits));
    // Of three trades in a second at most one falls into the last eighth of its bar.
    assert!(hits > 10 && prepared >= hits, "{hits} hits of {prepared}");
    assert!(counter(Counter::AheadMisses) <= prepared - hits);
}

#[test]
fn the_segment_holds_what_the_engine_has() {
    let mut stand = Stand::new(500);
    for step in 0..40 {
        stand.trade(700, 100 + step % 7);
    }
    let market = MarketReader::open(stand.engine.market().reader_fd().unwrap()).unwrap();
    let name: ChartName = "binance:BTCUSDT/1s".parse().unwrap();
    assert_eq!(find_series(&market, &name), Some((0, 0)));
    let found = chart_client::candles(&market, &name, usize::MAX).unwrap();
    let series = stand.engine.series(Venue::Binance, "BTCUSDT", Timeframe::S1).unwrap();
    assert_eq!(found.bars, series.bars().copied().collect::<Vec<_>>());
    assert_eq!(chart_client::candles(&market, &name, 3).unwrap().bars, found.bars[found.bars.len() - 3..]);
}

/// Adjusts, has it drawn, and gives the picture.
fn adjusted(stand: &mut Stand, wisher: &mut Wisher, adjustment: Adjustment) -> FrameCopy {
    let before = stand.copy().info.unwrap();
    let number = wisher.adjust(0, &adjustment.words()).unwrap();
    assert!(stand.renderer.has_news(), "it must not be slept through");
    assert_eq!(stand.renderer.step(), 1);
    let (copy, after) = (stand.copy(), stand.copy().info.unwrap());
    assert_eq!((after.number, after.adjustments), (before.number + 1, number));
    let origin = |info: &FrameInfo| (info.venue_ms, info.receive_ns, info.data_revision);
    assert_eq!(origin(&after), origin(&before), "the data is what it was");
    let (_, picture) = stand.renderer.pictures().next().unwrap();
    assert!(copy.pixels == picture.pixels());
    copy
}

#[test]
fn adjustments_show_and_reset_takes_them_back() {
    let mut stand = Stand::new(500);
    let mut wisher = stand.renderer.take_wisher(|| ()).unwrap();
    assert!(stand.renderer.take_wisher(|| ()).is_none(), "the queue has one end");
    // The older bars are a little higher: an axis that was fitted to them would do for the newer ones too.
    (0..120).for_each(|step| {
        stand.trade(700, if step < 50 { 1_000 + step % 6 * 41 } else { 1_000 + step % 20 * 10 })
    });
    stand.renderer.step();
    let usual = adjusted(&mut stand, &mut wisher, Adjustment::Reset);
    let title = shm::adjust::Title::new("target");
    let (from_ms, to_ms) = (stand.time_ms - 20_000, stand.time_ms - 10_000);
    let mut last = usual.pixels.clone();
    for adjustment in [
        Adjustment::Zoom { steps: 2, x: Some(100) },
        Adjustment::Zoom { steps: -3, x: None },
        Adjustment::Range { from_ms, to_ms },
        Adjustment::Reset,
        Adjustment::Pointer(Some((150, 60))),
        Adjustment::PriceLine { price: 1_080 * 100_000_000, color: 0xff9800, title },
        Adjustment::Marker {
            time_ms: from_ms,
            place: Place::Above,
            shape: Shape::ArrowDown,
            color: 0xff9800,
            title,
        },
        Adjustment::ClearMarks,
        Adjustment::Pan { bars: -40 },
    ] {
        let shown = adjusted(&mut stand, &mut wisher, adjustment);
        assert!(shown.pixels != last, "{adjustment:?} shows nothing");
        last = shown.pixels;
    }
    adjusted(&mut stand, &mut wisher, Adjustment::Pointer(None));
    let back = adjusted(&mut stand, &mut wisher, Adjustment::Reset);
    assert!(back.pixels == usual.pixels, "reset shows something else");
    assert_eq!(stand.renderer.step(), 0, "and then nothing is to be drawn");
    // Many at once are one frame, and what came with them is in it.
    for _ in 0..5 {
        wisher.adjust(0, &Adjustment::Pan { bars: -1 }.words()).unwrap();
    }
    stand.trade(100, 105);
    assert_eq!(stand.renderer.step(), 1);
    assert_eq!(stand.copy().info.unwrap().adjustments, 17);
}

/// The rows of the time axis, which tell which bars are shown.
fn times(copy: &FrameCopy) -> &[u32] {
    &copy.pixels[(copy.height - 12) * copy.width..]
}

#[test]
fn a_view_follows_the_newest_bar_unless_it_was_moved() {
    let mut stand = Stand::new(500);
    let mut wisher = stand.renderer.take_wisher(|| ()).unwrap();
    (0..90).for_each(|step| stand.trade(1_000, 100 + step % 7));
    stand.renderer.step();
    let mut scrolls = |wish: Adjustment| {
        let before = adjusted(&mut stand, &mut wisher, wish);
        (0..3).for_each(|step| stand.trade(1_000, 100 + step));
        stand.renderer.step();
        times(&before) != times(&stand.copy())
    };
    assert!(scrolls(Adjustment::Reset));
    assert!(!scrolls(Adjustment::Pan { bars: -4 }), "who looks back is left in peace");
    assert!(!scrolls(Adjustment::Pan { bars: 2 }));
    assert!(scrolls(Adjustment::Pan { bars: 1_000 }), "at the newest bar it follows again");
    assert!(!scrolls(Adjustment::Pan { bars: -4 }));
    assert!(scrolls(Adjustment::Reset));
}

#[test]
fn a_countdown_is_drawn_each_second_and_only_where_it_is_wanted() {
    static NOW_NS: AtomicU64 = AtomicU64::new(0);
    let at = |ms: u64| NOW_NS.store(ms * 1_000_000, Relaxed);
    let now_ns = || NOW_NS.load(Relaxed);
    let mut silent = Stand::looking(100, Look::default(), now_ns);
    let mut stand = Stand::looking(100, Look { countdown: true, ..Look::default() }, now_ns);
    assert!(!stand.renderer.has_news(), "without a bar there is nothing to count");
    // Bars last a second here, so three of its quarters are left; the clock has just passed a whole second.
    for stand in [&mut stand, &mut silent] {
        stand.trade(250, 100);
        assert_eq!(stand.renderer.step(), 1);
    }
    let shown = stand.copy();
    for ms in [1, 500, 749] {
        at(ms);
        assert!(
            !stand.renderer.has_news() && stand.renderer.step() == 0,
            "the second is the same after {ms} ms"
        );
    }
    at(750);
    assert!(stand.renderer.has_news());
    assert_eq!(stand.renderer.step(), 1);
    let over = stand.copy();
    assert!(over.pixels != shown.pixels, "it counts");
    assert_eq!(over.info.unwrap().data_revision, shown.info.unwrap().data_revision);
    for ms in [751, 1_750, 60_000] {
        at(ms);
        assert!(!stand.renderer.has_news() && stand.renderer.step() == 0, "the bar is over after {ms} ms");
        assert!(!silent.renderer.has_news() && silent.renderer.step() == 0, "no ticks, no frames");
    }
}
