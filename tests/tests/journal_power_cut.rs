//! The power is cut at random moments while the real daemon journals to a disk that then loses, tears and keeps what
//! it likes of all that was not flushed. What another process saw to be durable is there afterwards, to the byte, what
//! lies beyond is a clean beginning of what came, and the daemon goes on from there.

use std::time::Duration;
use tests::journaled::{CLASSES, Daemon, Marks, Proof, marks, seeds};
use tests::power_cut::{Dice, Image, PowerCut};
use tests::venue::Venue;

/// How many cuts a journal goes through before the next one is begun.
const CUTS_OF_A_JOURNAL: u64 = 5;

#[test]
fn what_was_durable_survives_every_cut() {
    let (mut cuts, mut records, mut beyond) = (0, 0, 0);
    for (journal, seeds) in seeds(12).chunks(CUTS_OF_A_JOURNAL as usize).enumerate() {
        let class = CLASSES[journal % CLASSES.len()];
        let venues = [Venue::open("BTCUSDT", seeds[0]), Venue::open("ETHUSDT", seeds[0] + 1)];
        let (mut image, mut proof) = (Image::default(), Proof::default());
        for seed in seeds {
            println!("seed {seed}, class {class}");
            let Some((left, seen)) = run_and_cut(&image, &venues, class, *seed) else { return };
            let folder = tempfile::tempdir().unwrap();
            left.write_to(folder.path()).unwrap();
            if let Some(kept) = std::env::var_os("CHARTD_KEEP") {
                let kept = std::path::Path::new(&kept).join(seed.to_string());
                std::fs::create_dir_all(&kept).and_then(|()| left.write_to(&kept)).unwrap();
            }
            let found = proof.check(folder.path(), &venues, seen.durable, seen.accepted);
            (cuts, beyond) = (cuts + 1, beyond + found.saturating_sub(seen.durable));
            image = left; // As the cut left it: the daemon must mend it by itself.
        }
        records += ends_in_order(&image, &venues, class, &mut proof);
    }
    println!("{cuts} cuts of journals with {records} records; {beyond} records more than durable were kept");
}

/// One life of the daemon, up to a cut. What is left, and what was seen; nothing of that where the cut came sooner.
fn run_and_cut(image: &Image, venues: &[Venue], class: &str, seed: u64) -> Option<(Image, Marks)> {
    let mut dice = Dice::new(seed);
    let disk = PowerCut::mount(image, seed)?;
    let mut daemon = Daemon::start(venues, disk.path(), class);
    if dice.percent(40) {
        // Killed without a cut: what it wrote is there, and not durable yet. The next one builds on it.
        if dice.percent(50) {
            daemon.connect()?;
        }
        std::thread::sleep(Duration::from_millis(dice.below(200)));
        daemon.kill();
        daemon = Daemon::start(venues, disk.path(), class);
    }
    if dice.percent(20) {
        // While it mends, prepares, or has just begun.
        std::thread::sleep(Duration::from_millis(dice.below(250)));
        let left = disk.cut(seed);
        daemon.kill();
        return Some((left, Marks { accepted: u64::MAX, ..Marks::default() }));
    }
    let connection = daemon.connect()?;
    std::thread::sleep(Duration::from_millis(dice.below(400)));
    let before = marks(&connection);
    let left = disk.cut(seed);
    // It sees its disk fail. What it says to be durable after that must be so as well.
    std::thread::sleep(Duration::from_millis(dice.below(40)));
    let mut after = marks(&connection);
    daemon.kill();
    assert!(before.durable <= after.durable && after.lost == 0, "{before:?}, {after:?}");
    // It is told for all that came together, so what came last may be written before it counts.
    after.accepted = marks(&connection).accepted.max(after.written);
    Some((left, after))
}

/// The daemon goes on from what the last cut left, and ends in order: then all of it is there.
fn ends_in_order(image: &Image, venues: &[Venue], class: &str, proof: &mut Proof) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    image.write_to(folder.path()).unwrap();
    let mut daemon = Daemon::start(venues, folder.path(), class);
    let Some(connection) = daemon.connect() else { return 0 };
    assert!(daemon.terminate().success(), "{}", daemon.log());
    let end = marks(&connection);
    assert_eq!((end.durable, end.written), (end.accepted, end.accepted), "{}", daemon.log());
    proof.check(folder.path(), venues, end.durable, end.accepted)
}
