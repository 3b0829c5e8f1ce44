//! Wishes: what is one, and what it comes to on a host.

use super::*;
use proptest::prelude::*;
use topology::Choice;

pub(crate) fn knob(accepts: Accepts) -> Knob {
    let explain = Explain {
        mechanism: "m",
        risk: "r",
        when_not: "w",
        applies: "a",
        undo: "u",
        source: "s",
        proof: Proof::TestedModel,
    };
    Knob {
        id: "test.knob",
        title: "a knob",
        phase: Phase::Sysctl,
        persist: Persist::Sysctl,
        accepts,
        places: |_| Places::At(Vec::new()),
        explain,
    }
}

fn facts(isolated: &str, housekeeping: &str) -> Facts {
    let choice = Choice {
        isolated: isolated.parse().unwrap(),
        housekeeping: housekeeping.parse().unwrap(),
        reasons: Vec::new(),
    };
    Facts { choice, ..Facts::default() }
}

fn parse(accepts: Accepts, text: &str) -> Result<Wish, WishError> {
    Wish::parse(&knob(accepts), text)
}

#[test]
fn a_wish_for_cpus_comes_to_nothing_where_none_is_isolated() {
    let spot = Spot::new("", Place::parameter("nohz_full", Form::Cpus));
    let small = facts("", "0-1");
    // All CPUs are housekeeping ones then: to keep interrupts to them would undo how a driver spread them.
    assert_eq!((Wish::Isolated.at(&spot, &small), Wish::Housekeeping.at(&spot, &small)), (None, None));
    let large = facts("2-3", "0-1");
    assert_eq!(Wish::Isolated.at(&spot, &large), Some(Wanted::Is("2-3".into())));
    assert_eq!(Wish::Housekeeping.at(&spot, &large), Some(Wanted::Is("0-1".into())));
    assert_eq!(Wish::Auto.at(&spot, &large), None);
    assert_eq!(Wish::Auto.at(&spot.auto("x"), &large), Some(Wanted::Is("x".into())));
}

#[test]
fn what_a_knob_does_not_take_is_refused_with_what_it_takes() {
    let words = Accepts::Words(&["always", "never"]);
    for (accepts, wrong) in [
        (words, "sometimes"),
        (words, ">= 3"),
        (words, "isolated"),
        (Accepts::Number(1, 9), "0"),
        (Accepts::Number(1, 9), ">= 0"),
        (Accepts::Number(1, 9), "<= 10"),
        (Accepts::Number(1, 9), "ten"),
        (Accepts::Cpus, ""),
        (Accepts::Cpus, "3-1"),
        (Accepts::Flag, "2"),
        (Accepts::Auto, "1"),
    ] {
        let error = parse(accepts, wrong).unwrap_err();
        assert_eq!(error.to_string(), format!("'{wrong}' is not for test.knob: {accepts}"));
    }
    assert_eq!(parse(Accepts::Text, ">= 5 of them"), Ok(Wish::Is(">= 5 of them".into())));
    assert_eq!(parse(Accepts::Text, ">= 5"), Ok(Wish::Is(">= 5".into())));
    assert_eq!(parse(Accepts::Number(-1, 9), " -1 "), Ok(Wish::Is("-1".into())));
}

#[test]
fn bounds_are_numbers_and_not_text() {
    let (least, most) = (Wanted::AtLeast(512), Wanted::AtMost(10));
    assert!(least.is_met(Form::Number, "1024") && !least.is_met(Form::Number, "99"));
    assert!(most.is_met(Form::Number, "9") && !most.is_met(Form::Number, "60"));
    assert!(most.is_met(Form::Number, "-1") && !least.is_met(Form::Number, "-1"));
    assert!(!most.is_met(Form::Number, "") && !most.is_met(Form::Number, "max"));
}

proptest! {
    #[test]
    fn a_wish_is_read_as_it_is_shown(number in 0..1000u64) {
        for wish in [Wish::Leave, Wish::Auto, Wish::AtLeast(number), Wish::AtMost(number), Wish::Is(number.to_string())] {
            prop_assert_eq!(parse(Accepts::Number(0, 1000), &wish.to_string()), Ok(wish));
        }
        for wish in [Wish::Isolated, Wish::Housekeeping, Wish::Is(number.to_string())] {
            prop_assert_eq!(parse(Accepts::Cpus, &wish.to_string()), Ok(wish));
        }
    }
}
