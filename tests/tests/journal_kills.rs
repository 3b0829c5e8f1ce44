//! kill -9 at random moments under load, on an ordinary disk. A killed process loses nothing that it has written: all
//! that was seen to be written is there, the rest is a clean beginning of what came, and the next run joins.

use std::time::Duration;
use tests::journaled::{CLASSES, Daemon, Marks, Proof, marks, seeds};
use tests::power_cut::Dice;
use tests::venue::Venue;

/// How many kills a journal goes through before the next one is begun.
const KILLS_OF_A_JOURNAL: usize = 10;

#[test]
fn a_kill_loses_nothing_that_was_written() {
    let (mut kills, mut records, mut frames) = (0, 0, 0);
    for (journal, seeds) in seeds(24).chunks(KILLS_OF_A_JOURNAL).enumerate() {
        let class = CLASSES[journal % CLASSES.len()];
        let venues = [Venue::open("BTCUSDT", seeds[0]), Venue::open("ETHUSDT", seeds[0] + 1)];
        let (folder, mut proof) = (tempfile::tempdir().unwrap(), Proof::default());
        for seed in seeds {
            println!("seed {seed}, class {class}");
            let mut daemon = Daemon::start(&venues, folder.path(), class);
            let Some(seen) = kill(&mut daemon, &mut Dice::new(*seed)) else { return };
            proof.check(folder.path(), &venues, seen.written, seen.accepted);
            kills += 1;
        }
        let mut daemon = Daemon::start(&venues, folder.path(), class);
        let Some(connection) = daemon.connect() else { return };
        assert!(daemon.terminate().success(), "{}", daemon.log());
        let end = marks(&connection);
        assert_eq!((end.durable, end.written), (end.accepted, end.accepted), "{}", daemon.log());
        records += proof.check(folder.path(), &venues, end.durable, end.accepted);
        frames += proof.frames;
    }
    println!("{kills} kills; {records} records, {frames} of them frames, all as they were sent");
}

/// Kills the daemon at some moment of its life. What was seen up to then; nothing, if it was not up yet.
fn kill(daemon: &mut Daemon, dice: &mut Dice) -> Option<Marks> {
    if dice.percent(20) {
        std::thread::sleep(Duration::from_millis(dice.below(250)));
        daemon.kill();
        return Some(Marks { accepted: u64::MAX, ..Marks::default() });
    }
    let connection = daemon.connect()?;
    std::thread::sleep(Duration::from_millis(dice.below(300)));
    daemon.kill();
    // The memory outlives the process: what it said last.
    let mut last = marks(&connection);
    assert!(last.durable <= last.written && last.lost == 0, "{last:?}");
    last.accepted = last.accepted.max(last.written);
    Some(last)
}

/// It may not have a file to write to yet.
#[test]
fn who_is_asked_to_end_at_once_still_writes_all_that_came() {
    for class in CLASSES {
        let venues = [Venue::open("BTCUSDT", 1)];
        let folder = tempfile::tempdir().unwrap();
        let mut daemon = Daemon::start_with(&venues, folder.path(), class, 128);
        let Some(connection) = daemon.connect() else { return };
        assert!(daemon.terminate().success(), "{}", daemon.log());
        let end = marks(&connection);
        assert!(daemon.log().contains("all of them durable"), "{end:?}: {}", daemon.log());
        Proof::default().check(folder.path(), &venues, end.accepted, end.accepted);
    }
}
