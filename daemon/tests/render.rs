//! What readers see: in whatever slot a frame lies, its pixels are the picture of its candles.

use chart::{Look, Theme};
use chart_client::find_series;
use chartd::engine::{Engine, EnginePlan, FeedPlan, Verdict};
use chartd::render::{ChartPlan, Renderer};
use market::{ChartName, Instrument, Timeframe, Venue};
use proptest::prelude::*;
use shm::frame::{FrameCopy, FrameReader, Rect};
use shm::market::MarketReader;
use shm::prefix::Identity;
use shm::status::{Counter, Stage, StatusReader, StatusWriter};
use std::sync::Arc;

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
            look: Look::default(),
            price_lines: Vec::new(),
            time_zone,
            history: bars,
            leases: 2,
        };
        let market = engine.market().reader_fd().unwrap();
        let renderer = Renderer::new(&[chart], market, false, status.clone(), || 0).unwrap();
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
        assert_eq!(self.engine.frame(0, frame.as_bytes(), 0), Verdict::Decoded);
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
