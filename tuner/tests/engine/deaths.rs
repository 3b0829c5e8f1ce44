//! The machine dies at every call that an apply, its undoing and its resuming make: before, amid and after it.

use crate::plans::*;
use crate::small::{Death, Small};
use tuner::engine::{self, Which};

const DEATHS: [Death; 3] = [Death::Before, Death::Amid, Death::After];

/// After whatever happened: either all of it is applied, or after [`resume`] nothing is; and then it can be undone.
fn is_all_or_nothing(host: &Small, after: &Small, about: &str) {
    let undone = resume(host);
    assert!(undone.is_complete(), "{about}: {undone:?}");
    let state = engine::state(host).unwrap();
    assert_eq!(state.unfinished, None, "{about}");
    if !state.applied.is_empty() {
        assert_eq!(host.everything(), after.everything(), "{about}");
        assert!(rollback(host, Which::All).is_complete(), "{about}");
    }
    assert_eq!(host.everything(), machine().everything(), "{about}");
    assert!(resume(host).journals.is_empty(), "{about}");
}

fn applied() -> Small {
    let host = machine();
    apply(&host, &every_kind()).unwrap();
    host
}

#[test]
fn at_every_call_of_an_apply() {
    let after = applied();
    let calls = after.0.borrow().calls;
    let mut died = 0;
    for call in 1..=calls + 1 {
        for death in DEATHS {
            let host = machine();
            host.die_at(call, death);
            let _ = apply(&host, &every_kind());
            died += usize::from(host.revive());
            is_all_or_nothing(&host, &after, &format!("call {call} of {calls}, {death:?}"));
            // The machine is fit for the next one.
            apply(&host, &every_kind()).unwrap();
        }
    }
    assert_eq!(died, calls * DEATHS.len());
}

#[test]
fn at_every_call_of_a_rollback() {
    let after = applied();
    let host = applied();
    host.0.borrow_mut().calls = 0;
    rollback(&host, Which::Latest);
    let calls = host.0.borrow().calls;
    for call in 1..=calls {
        for death in DEATHS {
            let host = applied();
            host.die_at(call, death);
            let _ = engine::rollback(&host, &Which::Latest, &mut |_| {});
            assert!(host.revive());
            is_all_or_nothing(&host, &after, &format!("call {call} of {calls}, {death:?}"));
        }
    }
}

#[test]
fn at_every_call_of_a_resume_after_a_death_at_every_call() {
    let after = applied();
    let calls = after.0.borrow().calls;
    let mut died = 0;
    for first in 1..=calls {
        for second in 1.. {
            // Which way it dies is taken in turn: all pairs would take minutes.
            let (one, other) = (DEATHS[(first + second) % 3], DEATHS[second % 3]);
            let host = machine();
            host.die_at(first, one);
            let _ = apply(&host, &every_kind());
            host.revive();
            host.die_at(second, other);
            let _ = engine::resume(&host, &mut |_| {});
            if !host.revive() {
                break;
            }
            died += 1;
            is_all_or_nothing(&host, &after, &format!("calls {first} and {second}, {one:?}, {other:?}"));
        }
    }
    assert!(died > calls, "{died}");
}

#[test]
fn a_single_call_that_fails_leaves_nothing_half_done() {
    let after = applied();
    let calls = after.0.borrow().calls;
    for call in 1..=calls {
        for death in DEATHS {
            let host = machine();
            host.hiccup_at(call, death);
            let _ = apply(&host, &every_kind());
            host.revive();
            is_all_or_nothing(&host, &after, &format!("call {call} of {calls}, {death:?}"));
        }
    }
}
