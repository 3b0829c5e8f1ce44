//! What the places of many knobs have in common.

use crate::facts::Facts;
use crate::knob::{Places, Spot};

/// Where an empty isolation leaves a knob.
pub(super) const NOBODY: &str = "no CPU of this host can be spared for isolation";

/// A parameter of the kernel's command line, which a container cannot set.
pub(super) fn boot(facts: &Facts, spot: Spot) -> Places {
    Places::one_of(match &facts.container {
        Some(_) => spot.fixed("a container runs on its host's kernel: set it there"),
        None => spot,
    })
}

/// The CPUs to be isolated, as a list; nowhere if there is none.
pub(super) fn isolated(facts: &Facts, places: impl FnOnce(String) -> Places) -> Places {
    match facts.choice.isolated.is_empty() {
        true => Places::NotSupported(NOBODY.into()),
        false => places(facts.choice.isolated.to_string()),
    }
}

/// Whether the kernel is known to be built without an option.
pub(super) fn is_built_without(facts: &Facts, option: &str) -> bool {
    facts.kernel.option(option).is_some_and(|value| value.is_empty() || value == "n")
}

/// For a kernel that is known to be built without an option.
pub(super) fn without(option: &str) -> Places {
    Places::NotSupported(format!("this kernel is built without CONFIG_{option}"))
}
