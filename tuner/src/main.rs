//! The `tuner` program.

use std::path::Path;
use tuner::{audit, facts, host::Live, profile::Profile};

fn main() -> anyhow::Result<()> {
    let host = Live::new(Path::new("/"))?;
    let profile = Profile::find("rt-cpu")?;
    let facts = facts::read(&host, profile.hot_threads);
    for finding in audit::audit(&host, &facts, &profile) {
        println!("{:14} {:12} {:?} {:?}", finding.status, finding.knob, finding.current, finding.wanted);
    }
    Ok(())
}
