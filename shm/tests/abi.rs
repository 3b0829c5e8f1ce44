//! The layout that readers in other languages depend on, word by word.
//!
//! When it must change, run the test with `UPDATE_GOLDEN=1` and raise the ABI's number: minor where fields came behind
//! the others, major otherwise.

use shm::adjust::{AdjustWords, Kind};
use shm::control::{Reply, Request};
use shm::frame::{FrameHeader, FrameInfo};
use shm::lease::LeaseHeader;
use shm::market::{
    CandleRecord, InstrumentEntry, MarketHeader, QuoteRecord, SeriesEntry, SeriesState, StreamState,
    TickRecord,
};
use shm::prefix::Prefix;
use shm::status::{
    ChartEntry, ChartState, Counter, Journal, JournalIntake, JournalState, Liveness, LoopEntry, LoopState,
    Phase, Stage, StatusHeader,
};

#[test]
fn the_layout_is_the_one_that_readers_know() {
    let mut text = format!("ABI {}.{}\n", shm::ABI_MAJOR, shm::ABI_MINOR);
    for (name, magic) in [
        ("frame", shm::frame::MAGIC),
        ("market", shm::market::MAGIC),
        ("status", shm::status::MAGIC),
        ("lease", shm::lease::MAGIC),
        ("control", shm::control::MAGIC),
    ] {
        text += &format!("magic of {name}: {}\n", String::from_utf8_lossy(&magic.to_le_bytes()));
    }
    macro_rules! describe {
        ($($record:ident),+) => {$(
            text += &format!("\n{}: {} words\n", stringify!($record), $record::WORDS);
            for (field, word) in $record::layout() {
                text += &format!("  {word:>3} {field}\n");
            }
        )+};
    }
    describe!(
        Prefix,
        FrameHeader,
        FrameInfo,
        LeaseHeader,
        MarketHeader,
        InstrumentEntry,
        QuoteRecord,
        StreamState,
        SeriesEntry,
        SeriesState
    );
    describe!(
        TickRecord,
        CandleRecord,
        StatusHeader,
        Liveness,
        LoopEntry,
        LoopState,
        ChartEntry,
        ChartState,
        JournalState,
        JournalIntake,
        AdjustWords,
        Request,
        Reply
    );
    for (segment, places) in [
        ("frame", shm::frame::PLACES),
        ("market", shm::market::PLACES),
        ("status", shm::status::PLACES),
        ("lease", shm::lease::PLACES),
    ] {
        text += &format!("\nplaces in a {segment} segment\n");
        places.iter().for_each(|(what, word)| text += &format!("  {word:>3} {what}\n"));
    }
    let listed = |names: Vec<&str>| {
        names.iter().enumerate().map(|(place, name)| format!("  {place:>3} {name}\n")).collect::<String>()
    };
    text += &format!("\nCounters\n{}", listed(Counter::ALL.iter().map(|counter| counter.name()).collect()));
    text += &format!("\nAdjustments\n{}", listed(Kind::ALL.iter().map(|kind| kind.name()).collect()));
    text += &format!("\nPhases\n{}", listed(Phase::ALL.iter().map(|phase| phase.name()).collect()));
    text += &format!("\nJournal\n{}", listed(Journal::ALL.iter().map(|state| state.name()).collect()));
    text += &format!("\nHistograms\n{}", listed(Stage::ALL.iter().map(|stage| stage.name()).collect()));

    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/abi.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(golden, &text).unwrap();
    }
    let expected = std::fs::read_to_string(golden).unwrap();
    assert!(text == expected, "the layout changed; it is now:\n{text}");
}
