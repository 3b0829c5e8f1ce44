//! Drawn applies, administrators' doings, rollbacks and deaths in any order. When all is undone, each place is as the
//! administrator left it last, or as it was at the beginning.

use crate::plans::*;
use crate::small::{Death, Small};
use proptest::prelude::*;
use std::collections::BTreeMap;
use tuner::engine::{self, Options, Which};
use tuner::place::{Form, Place};
use tuner::plan::{Change, Hook, Plan};

const NUMBERS: [&str; 3] = ["/proc/sys/a", "/proc/sys/b", "/proc/sys/c"];
const FILES: [&str; 3] = ["/etc/x/one.conf", "/etc/x/y/two.conf", "/etc/three.conf"];

#[derive(Debug, Clone)]
enum Doing {
    /// Places and values; whether it goes on over failures; at which call it dies, and how.
    Apply(Vec<(usize, u8)>, bool, Option<(usize, Death)>),
    /// Somebody sets a place to something that no plan has.
    Admin(usize),
    Rollback(bool, Option<(usize, Death)>),
    Resume(Option<(usize, Death)>),
}

fn death() -> impl Strategy<Value = Option<(usize, Death)>> {
    let how = prop_oneof![Just(Death::Before), Just(Death::Amid), Just(Death::After)];
    prop::option::of((1usize..120, how))
}

fn doing() -> impl Strategy<Value = Doing> {
    prop_oneof![
        4 => (prop::collection::vec((0usize..6, 0u8..4), 0..6), any::<bool>(), death()).prop_map(|(places, keep, death)| Doing::Apply(places, keep, death)),
        3 => (0usize..6).prop_map(Doing::Admin),
        2 => (any::<bool>(), death()).prop_map(|(all, death)| Doing::Rollback(all, death)),
        1 => death().prop_map(Doing::Resume),
    ]
}

fn place(which: usize) -> Place {
    match which {
        0..3 => Place::attribute(NUMBERS[which], Form::Number),
        _ => Place::File { path: FILES[which - 3].into(), mode: 0o644 },
    }
}

/// What a plan puts there; none to remove a file.
fn value(which: usize, value: u8) -> Option<String> {
    (which < 3 || value > 0).then(|| format!("{value}"))
}

fn make_plan(host: &Small, drawn: &[(usize, u8)]) -> Plan {
    let mut now: BTreeMap<usize, Option<String>> = BTreeMap::new();
    let mut changes: Vec<Change> = Vec::new();
    for (which, to) in drawn {
        let place = place(*which);
        let from = now.get(which).cloned().unwrap_or_else(|| get(host, &place));
        let to = value(*which, *to);
        now.insert(*which, to.clone());
        changes.push(Change { place, from, to, ..number("drawn", "", "") });
    }
    Plan { hooks: vec![Hook::UpdateGrub], ..plan(changes) }
}

fn die(host: &Small, death: Option<(usize, Death)>) {
    if let Some((call, how)) = death {
        host.die_at(call, how);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_the_last_word_is_the_administrators(doings in prop::collection::vec(doing(), 1..14)) {
        let host = Small::new(&[("/etc/machine-id", "m\n"), (BOOT, "b\n"), (NUMBERS[0], "0\n"), (NUMBERS[1], "1\n"), (NUMBERS[2], "50\n"), (FILES[2], "three\n")]);
        let mut expected: Vec<Option<String>> = (0..6).map(|which| get(&host, &place(which))).collect();
        let mut number = 1000;
        for doing in doings {
            match doing {
                Doing::Apply(drawn, keep_going, death) => {
                    let plan = make_plan(&host, &drawn);
                    die(&host, death);
                    let _ = engine::apply(&host, &plan, &Options { keep_going, ..Options::default() }, &mut |_| {});
                }
                Doing::Admin(which) => {
                    number += 1;
                    let (path, end) = if which < 3 { (NUMBERS[which], "\n") } else { (FILES[which - 3], "") };
                    host.put(path, &format!("{number}{end}"));
                    expected[which] = Some(number.to_string());
                }
                Doing::Rollback(all, death) => {
                    die(&host, death);
                    let which = if all { Which::All } else { Which::Latest };
                    let _ = engine::rollback(&host, &which, &mut |_| {});
                }
                Doing::Resume(death) => {
                    die(&host, death);
                    let _ = engine::resume(&host, &mut |_| {});
                }
            }
            host.revive();
        }
        resume(&host);
        rollback(&host, Which::All);
        let found: Vec<_> = (0..6).map(|which| get(&host, &place(which))).collect();
        prop_assert_eq!(found, expected);
        let is_left_over = |path: &std::path::PathBuf| path.to_string_lossy().ends_with(tuner::host::UNFINISHED) && !path.starts_with(engine::FOLDER);
        prop_assert!(!host.0.borrow().files.keys().any(is_left_over));
    }
}
