//! Drawing a chart by each kernel, beside copying the frame and beside filling it: all of it, the few rectangles that a
//! new last price damages, and many tiles. Layout is not in it.

use crate::harness::{Arm, Ratio, Report};
use crate::raster::{self, SIZE, Walk};
use chart::raster::{Kernel, Rasteriser};
use chart::{Chart, Frame, Look, Rect};
use std::hint::black_box;
use std::time::Instant;

/// How often each arm is timed in a round.
const PER_ROUND: usize = 60;
/// Last prices timed as one, since the clock costs a part of a microsecond.
const BATCH: usize = 20;

pub(crate) fn measure(rounds: usize) -> anyhow::Result<Report> {
    let (chart, last_price) = chart()?;
    let scene = chart.scene();
    let shapes: usize = chart::scene::Layer::ALL.iter().map(|layer| scene.layer(*layer).len()).sum();
    let all = [chart.frame().bounds()];
    let tiles: Vec<_> = (0..544u16).map(|n| Rect::new(n % 8 * 240, n / 8 * 16, 180, 16)).collect();
    let mut kernels: Vec<_> = Kernel::available().map(KernelArms::new).collect();
    let (mut copy, mut fill) = (Arm::new("memcpy of the frame", "ns"), Arm::new("fill of the frame", "ns"));
    let (from, mut to) = (chart.frame().pixels().to_vec(), vec![1u32; chart.frame().pixels().len()]);
    let mut frame = Frame::new(SIZE.0, SIZE.1)?;
    for _ in 0..rounds {
        copy.add_round(time(1, || black_box(&mut to[..]).copy_from_slice(black_box(&from))));
        fill.add_round(time(1, || black_box(&mut to[..]).fill(black_box(7))));
        for kernel in &mut kernels {
            let rasteriser = &mut kernel.rasteriser;
            kernel.full.add_round(time(1, || rasteriser.draw(scene, black_box(&all), &mut frame)));
            anyhow::ensure!(frame == *chart.frame(), "{} draws another picture", rasteriser.kernel().name());
            kernel.last.add_round(time(BATCH, || rasteriser.draw(scene, black_box(&last_price), &mut frame)));
            kernel.tiles.add_round(time(1, || rasteriser.draw(scene, black_box(&tiles), &mut frame)));
        }
    }
    let ratios = kernels.iter().filter(|arms| arms.rasteriser.kernel() == Kernel::best()).flat_map(|arms| {
        [
            Ratio::of("full redraw without layout / memcpy, p50", &arms.full, &copy, 0.5, 1.0),
            Ratio::of("last price without layout / memcpy, p50", &arms.last, &copy, 0.5, 0.05),
        ]
    });
    let ratios = ratios.collect();
    let area: u64 = last_price.iter().map(Rect::area).sum();
    Ok(Report {
        name: "raster-kernels",
        notes: vec![
            format!(
                "{} × {}, {} shapes; the best kernel is {}",
                SIZE.0,
                SIZE.1,
                shapes,
                Kernel::best().name()
            ),
            format!("a last price damages {} rectangles, {area} pixels", last_price.len()),
        ],
        ratios,
        arms: [copy, fill].into_iter().chain(kernels.into_iter().flat_map(KernelArms::into_arms)).collect(),
    })
}

/// A kernel, and what it takes.
struct KernelArms {
    rasteriser: Rasteriser,
    full: Arm,
    last: Arm,
    tiles: Arm,
}

impl KernelArms {
    fn new(kernel: Kernel) -> Self {
        let [full, last, tiles] = match kernel {
            Kernel::Scalar => ["scalar: all", "scalar: last price", "scalar: 544 tiles"],
            Kernel::Portable => ["portable: all", "portable: last price", "portable: 544 tiles"],
            Kernel::Avx2 => ["avx2: all", "avx2: last price", "avx2: 544 tiles"],
            Kernel::Avx512 => ["avx512: all", "avx512: last price", "avx512: 544 tiles"],
        }
        .map(|name| Arm::new(name, "ns"));
        Self { rasteriser: Rasteriser::new(kernel), full, last, tiles }
    }

    fn into_arms(self) -> [Arm; 3] {
        [self.full, self.last, self.tiles]
    }
}

/// A chart of 200 bars and more, with another last price, and what that has damaged.
fn chart() -> anyhow::Result<(Chart, Vec<Rect>)> {
    let (mut chart, mut walk) = (raster::chart(Look::default())?, Walk::new(5));
    (0..chart.visible_bars()).for_each(|_| chart.push(walk.bar()));
    let mut bar = walk.open();
    (0..10).for_each(|_| walk.tick(&mut bar, 500));
    chart.push(bar);
    chart.draw();
    walk.tick(&mut bar, 60);
    chart.set_newest(bar);
    let damage = chart.draw().rects().to_vec();
    Ok((chart, damage))
}

/// Times `work`, so many as one; values are one's share.
fn time(batch: usize, mut work: impl FnMut()) -> Vec<u64> {
    let mut one = || {
        let started = Instant::now();
        (0..batch).for_each(|_| work());
        started.elapsed().as_nanos() as u64 / batch as u64
    };
    // The first finds nothing in the caches.
    one();
    (0..PER_ROUND).map(|_| one()).collect()
}
