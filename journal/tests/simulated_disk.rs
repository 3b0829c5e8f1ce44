//! The whole journal on a simulated disk that fails and is cut at any step, seed by seed.
//!
//! What holds, whatever happens: what is read back is what was accepted, byte for byte and without a gap, up to some
//! record; and all that was called durable is there. CHARTD_SEEDS says how many seeds are tried, CHARTD_SEED tries one
//! and prints what happened.

mod simulator;

use journal::reader::Why;
use journal::{Durability, Position, recover};
use simulator::disk::{Disk, Loss};
use simulator::model::Model;
use simulator::run::{End, Outcome, Run, Trace};
use simulator::{Checked, Dice, ensure};

const SEEDS: u64 = 10_000;

/// How often things were met with: a test that meets with none proves none.
#[derive(Debug, Default)]
struct Met {
    runs: u64,
    records: u64,
    orderly: u64,
    killed: u64,
    power: u64,
    torn: u64,
    poisoned: u64,
    cut_recoveries: u64,
    corrupt: u64,
}

#[test]
fn what_was_accepted_is_there_up_to_a_record_and_what_was_durable_is() {
    let number = |name| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    if let Some(seed) = number("CHARTD_SEED") {
        let mut trace = Trace::new(true);
        let outcome = simulate(seed, &mut trace, &mut Met::default());
        println!("{}", trace.lines());
        return outcome.unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    }
    let mut met = Met::default();
    for seed in 0..number("CHARTD_SEEDS").unwrap_or(SEEDS) {
        if let Err(why) = simulate(seed, &mut Trace::new(false), &mut met) {
            if std::env::var("CHARTD_ALL").is_ok() {
                println!("FAIL {seed}: {why}");
                continue;
            }
            let mut trace = Trace::new(true);
            let _ = simulate(seed, &mut trace, &mut met);
            panic!("seed {seed}: {why}\n{}", trace.lines());
        }
    }
    println!("{met:?}");
    let all = [met.orderly, met.killed, met.power, met.torn, met.poisoned, met.cut_recoveries];
    assert!(met.runs < 1_000 || all.iter().all(|met| *met > 0), "{met:?}");
}

fn simulate(seed: u64, trace: &mut Trace, met: &mut Met) -> Checked {
    let mut dice = Dice(seed);
    let (disk, mut model) = (Disk::default(), Model::default());
    let (mut position, mut next_segment) = (Position::default(), 0);
    for _ in 0..2 + dice.below(3) {
        let run = Run::new(&mut dice, &disk, &mut model, trace, position, next_segment);
        let outcome = run.go()?;
        model.unsure += outcome.condition.unsure;
        (position, next_segment) = revive(&mut dice, &disk, &mut model, trace, &outcome, met)?;
        met.runs += 1;
        met.poisoned += outcome.condition.poisoned;
        *match outcome.end {
            End::Order => &mut met.orderly,
            End::Killed => &mut met.killed,
            End::Power => &mut met.power,
        } += 1;
    }
    met.records += model.log.len() as u64;
    Ok(())
}

/// What the next run does first. Returns where it goes on.
fn revive(
    dice: &mut Dice,
    disk: &Disk,
    model: &mut Model,
    trace: &mut Trace,
    outcome: &Outcome,
    met: &mut Met,
) -> Checked<(Position, u64)> {
    let seen = model.read(disk)?;
    trace.add(("read", seen));
    let mut least = outcome.durable;
    if outcome.end == End::Order && outcome.condition.unsure == 0 {
        ensure!(!seen.is_torn && seen.end == model.log.len() as u64, "an orderly end, and {seen:?}");
    }
    let is_cut = dice.hits(200);
    if is_cut {
        disk.fuse.set(Some(dice.below(4) as u32));
        let broken = recover(disk).is_err();
        disk.fuse.set(None);
        trace.add(("recovery broken", broken));
        met.cut_recoveries += u64::from(broken);
        if dice.hits(500) {
            disk.cut_power(dice, Loss::Some(500));
        }
    } else if outcome.end == End::Killed && outcome.condition.poisoned == 0 {
        least = outcome.written;
    }
    let recovered = recover(disk).map_err(|error| format!("cannot recover: {error}"))?;
    trace.add(("recovered", &recovered));
    let end = recovered.position.next;
    // Where class async has lost something within, what is behind it is as unsure.
    let is_sure = model.unsure == 0;
    ensure!(end >= least || !is_sure, "recovered {end}, promised {least}");
    ensure!(is_cut || end == seen.end, "recovered {end}, read {}", seen.end);
    met.torn += u64::from(seen.is_torn);
    met.corrupt += seen.missing;

    // All that is left is durable now, and is all that is left, but for what a record began with.
    disk.cut_power(dice, Loss::All);
    let kept = model.read(disk)?;
    let may_tear = seen.is_torn || is_cut;
    ensure!(
        kept.end == end && (!kept.is_torn || may_tear) || !is_sure,
        "recovered {end}, then read {kept:?}"
    );
    let again = recover(disk).map_err(|error| format!("cannot recover again: {error}"))?;
    let is_torn = again.missing.iter().any(|missing| matches!(missing.why, Why::Torn { .. }));
    ensure!(again.position == recovered.position && !is_torn || !is_sure, "recovered again: {again:?}");
    model.log.truncate(end as usize);
    Ok((recovered.position, recovered.next_segment))
}

/// The classes that promise something at each flush.
#[test]
fn classes_are_drawn() {
    let mut dice = Dice(1);
    let classes: Vec<Durability> = (0..100).map(|_| simulator::run::plan(&mut dice).durability).collect();
    for class in [Durability::Async, Durability::Group, Durability::Sync] {
        assert!(classes.contains(&class), "{class:?}");
    }
}
