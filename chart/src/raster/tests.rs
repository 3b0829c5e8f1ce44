//! Every kernel against the specification, with shapes, rectangles and frames that no chart has.

use super::*;
use crate::scene::{LAYERS, Layer, Paint, Shape};
use crate::text::{Atlas, Face};
use proptest::prelude::*;

/// A shape before it is known how large the frame is.
#[derive(Debug, Clone)]
struct Draft {
    layer: usize,
    place: [u16; 4],
    color: u32,
    paint: Paint,
    /// Stands for the paint where there is one.
    character: Option<char>,
}

/// Where and how large: anywhere, most of them narrow, some as large as the frame.
fn place() -> impl Strategy<Value = [u16; 4]> {
    let length = || prop_oneof![2 => 1..4u16, 3 => 1..40u16, 1 => 0..300u16, 1 => Just(9_000u16)];
    let at = || prop_oneof![1 => Just(0u16), 4 => any::<u16>()];
    (at(), at(), length(), length()).prop_map(|(x, y, w, h)| [x, y, w, h])
}

/// The part of it that lies in the frame.
fn area([x, y, w, h]: [u16; 4], bounds: Rect) -> Rect {
    Rect::new(x % bounds.w, y % bounds.h, w, h).intersect(&bounds)
}

fn draft() -> impl Strategy<Value = Draft> {
    let paint = prop_oneof![
        3 => Just(Paint::Solid),
        1 => (0..20u8).prop_map(|run| Paint::Dash { run }),
        1 => (0..20u8).prop_map(|run| Paint::DashDown { run }),
        1 => any::<u8>().prop_map(|run| Paint::Dash { run }),
        2 => (0..40u8, 0..20u8).prop_map(|(period, width)| Paint::Hatch { period, width }),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(period, width)| Paint::Hatch { period, width }),
        4 => (any::<u8>(), any::<u8>()).prop_map(|(top, bottom)| Paint::Column { top, bottom }),
    ];
    let character =
        prop::option::weighted(0.25, prop::sample::select("0123456789gW@…₿.,-".chars().collect::<Vec<_>>()));
    let parts = (0..LAYERS, place(), any::<u32>(), paint, character);
    parts.prop_map(|(layer, place, color, paint, character)| Draft { layer, place, color, paint, character })
}

fn size() -> impl Strategy<Value = (u16, u16)> {
    prop_oneof![
        1 => Just((1, 1)),
        1 => (Just(1), 1..300u16),
        1 => (1..300u16, Just(1)),
        1 => (Just(8192), 1..40u16),
        1 => (1..9u16, 2000..8192u16),
        5 => (1..130u16, 1..130u16),
        3 => (200..700u16, 100..300u16),
    ]
}

/// A scene of these shapes. Text is as large as it is at this scale. Not every scene has a background.
fn scene((width, height): (u16, u16), scale: u16, background: bool, drafts: &[Draft]) -> Scene {
    let bounds = Rect::new(0, 0, width, height);
    let mut scene = Scene::new(bounds, Atlas::at_scale(scale), drafts.len());
    if background {
        scene.solid(Layer::Background, bounds, 0xff30_2010);
    }
    for draft in drafts {
        let (layer, at) = (Layer::ALL[draft.layer], area(draft.place, bounds));
        let shape = Shape { area: at, color: draft.color, paint: draft.paint };
        match draft.character {
            None => scene.push(layer, shape),
            Some(character) => {
                let index = scene.atlas().index(Face::Small, character);
                let glyph = scene.atlas().glyph(index);
                let area = Rect { w: glyph.width, h: glyph.height, ..at };
                if bounds.contains(&area) {
                    scene.push(layer, Shape { area, paint: Paint::Glyph(index), ..shape });
                }
            }
        }
    }
    scene
}

/// A frame in which no two pixels near each other are the same.
fn noise((width, height): (u16, u16)) -> Frame {
    let mut frame = Frame::new(width.into(), height.into()).unwrap();
    let bounds = frame.bounds();
    for (pixel, number) in frame.rest_mut(&bounds).0.iter_mut().zip(1u32..) {
        *pixel = number.wrapping_mul(0x9e37_79b9);
    }
    frame
}

/// Fails unless every kernel makes of `before` what the specification makes of it.
fn check(scene: &Scene, rects: &[Rect], before: &Frame) -> Result<(), TestCaseError> {
    let mut expected = before.clone();
    rects.iter().for_each(|rect| draw(scene, *rect, &mut expected));
    for kernel in Kernel::available() {
        let mut rasteriser = Rasteriser::new(kernel);
        prop_assert_eq!(rasteriser.kernel(), kernel);
        let mut frame = before.clone();
        rasteriser.draw(scene, rects, &mut frame);
        if let Some(at) = frame.pixels().iter().zip(expected.pixels()).position(|(a, b)| a != b) {
            let (x, y) = (at % frame.width() as usize, at / frame.width() as usize);
            let (got, wanted) = (frame.pixels()[at], expected.pixels()[at]);
            prop_assert!(false, "{}: {x},{y} is {got:#010x}, not {wanted:#010x}", kernel.name());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// All of it, and lists of rectangles so short that they are drawn one by one.
    #[test]
    fn kernels_draw_few_rectangles_alike(
        size in size(),
        (scale, background) in (1..=4u16, any::<bool>()),
        drafts in prop::collection::vec(draft(), 0..80),
        places in prop::collection::vec(place(), 0..=FEW_RECTS),
    ) {
        let scene = scene(size, scale, background, &drafts);
        let rects: Vec<_> = places.iter().map(|place| area(*place, scene.bounds())).collect();
        check(&scene, &[scene.bounds()], &noise(size))?;
        check(&scene, &rects, &noise(size))?;
    }

    /// Hundreds of rectangles, which are sorted into cells with the shapes.
    #[test]
    fn kernels_draw_many_rectangles_alike(
        size in size(),
        (scale, background) in (1..=4u16, any::<bool>()),
        drafts in prop::collection::vec(draft(), 0..80),
        places in prop::collection::vec(place(), FEW_RECTS + 1..300),
    ) {
        let scene = scene(size, scale, background, &drafts);
        let rects: Vec<_> = places.iter().map(|place| area(*place, scene.bounds())).collect();
        check(&scene, &rects, &noise(size))?;
    }

    /// A frame that is not as large as the scene, and rectangles that are not in it.
    #[test]
    fn what_lies_outside_the_frame_is_left_out(
        (size, other) in (size(), size()),
        drafts in prop::collection::vec(draft(), 0..40),
        places in prop::collection::vec(place(), 0..2 * FEW_RECTS),
    ) {
        let scene = scene(size, 1, true, &drafts);
        let rects: Vec<_> = places.iter().map(|[x, y, w, h]| Rect::new(*x, *y, *w, *h)).collect();
        check(&scene, &rects, &noise(other))?;
    }

    /// Thousands of columns of one pixel, as indicator lines are.
    #[test]
    fn lines_are_alike(seed in any::<u32>(), pieces in 1..40u16) {
        let size = (331u16, 190u16);
        let drafts: Vec<_> = (0..3_000u32).map(|number| {
            let random = (number ^ seed).wrapping_mul(0x9e37_79b9).rotate_left(13).wrapping_mul(0x85eb_ca6b);
            let [top, bottom, y, h] = random.to_le_bytes();
            let paint = if number % 3 == 0 { Paint::Solid } else { Paint::Column { top, bottom } };
            let place = [(number % 331) as u16, y.into(), 1, u16::from(h % 23)];
            Draft { layer: (number / 700) as usize, place, color: random | 0xff00_0000, paint, character: None }
        }).collect();
        let scene = scene(size, 1, true, &drafts);
        let tiles: Vec<_> =
            (0..size.1.div_ceil(16) * pieces).map(|n| Rect::new(n % pieces * 9, n / pieces * 16, 7, 16)).collect();
        check(&scene, &tiles, &noise(size))?;
        check(&scene, &[scene.bounds()], &noise(size))?;
    }
}

/// Each coverage over each other, in blocks and at the end of a row.
#[test]
fn every_coverage_blends_alike() {
    for color in [0xff00_0000, 0xffff_ffff, 0xff80_7f01, 0x0102_fe03] {
        let drafts: Vec<_> = (0..=255u8)
            .map(|top| {
                let place = [u16::from(top), 0, 1 + u16::from(top % 19), 2];
                let paint = Paint::Column { top, bottom: 255 - top };
                Draft { layer: 0, place, color, paint, character: None }
            })
            .collect();
        check(&scene((280, 2), 1, false, &drafts), &[Rect::new(0, 0, 280, 2)], &noise((280, 2))).unwrap();
    }
}

/// Whatever a comparison of bounds says must be so.
#[test]
fn rectangles_meet_where_their_intersection_is_not_empty() {
    let edges = [0u16, 1, 2, 3, 100, 8189, 8190, 8191];
    let rects: Vec<_> = edges
        .iter()
        .flat_map(|x| edges.iter().map(move |y| (*x, *y)))
        .flat_map(|(x, y)| [(1, 1), (2, 1), (1, 90), (8192, 8192)].map(|(w, h)| Rect::new(x, y, w, h)))
        .map(|rect| rect.intersect(&Rect::new(0, 0, 8192, 8192)))
        .collect();
    for a in &rects {
        for b in &rects {
            let meets = crate::frame::Reach::of(a).meets(b);
            assert_eq!(meets, !a.intersect(b).is_empty(), "{a:?} and {b:?}");
        }
    }
}

#[test]
fn memory_is_kept() {
    let scene = scene((500, 400), 1, true, &[]);
    let rects: Vec<_> = (0..200u16).map(|n| Rect::new(n, n, 100, 100)).collect();
    let mut frame = noise((500, 400));
    let mut rasteriser = Rasteriser::new(Kernel::best());
    rasteriser.draw(&scene, &rects, &mut frame);
    let warm = rasteriser.bins.capacities();
    rasteriser.draw(&scene, &rects[..100], &mut frame);
    rasteriser.draw(&scene, &rects, &mut frame);
    assert_eq!(rasteriser.bins.capacities(), warm);
}

#[test]
fn a_kernel_that_the_processor_lacks_is_replaced() {
    for kernel in Kernel::ALL {
        assert!(Rasteriser::new(kernel).kernel().is_available(), "{}", kernel.name());
    }
    assert!(Kernel::available().any(|kernel| kernel == Kernel::best()));
}
