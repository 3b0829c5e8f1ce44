//! What the program prints: tables for people, JSON and SARIF for programs.
//!
//! What holds: text of the host is never taken for the terminal's commands; colours appear only where a terminal shows
//! them and NO_COLOR does not forbid it; everything fits 80 columns.

mod findings;
mod guide;
pub(crate) mod json;
pub(crate) mod measured;
pub(crate) mod outcome;
mod plan;
pub(crate) mod sarif;
pub(crate) mod schema;
mod screen;

pub(crate) use findings::findings;
pub(crate) use guide::{explain, profile, profiles};
pub(crate) use plan::plan;
pub(crate) use screen::{Screen, print};

use crate::cli::Seen;

/// The first lines of a report: which host, and by which profile.
fn heading(screen: &mut Screen, seen: &Seen) {
    let facts = &seen.facts;
    let name = seen.name.as_deref().unwrap_or("this host");
    let mut about = vec![format!("kernel {}", facts.kernel.release)];
    if facts.kernel.is_rt {
        about.push("real-time".into());
    }
    about.push(format!("{} CPUs", facts.topology.cpus.len()));
    if !facts.topology.isolated.is_empty() {
        about.push(format!("{} isolated", facts.topology.isolated));
    }
    about.extend(facts.hypervisor.as_ref().map(|what| format!("guest of {what}")));
    about.extend(facts.container.as_ref().map(|what| format!("in {what}")));
    screen.text(0, &format!("{name}: {}", about.join(", ")));
    screen.text(0, &format!("profile {}: {}", seen.profile.name, seen.why));
    screen.blank();
}
