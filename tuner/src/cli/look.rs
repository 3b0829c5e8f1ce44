//! The verbs that look: audit, verify, explain, profiles, schema, capture. None of them writes to the host.

use super::arguments::{Common, Format};
use super::{Failure, Seen, exit, host, print, print_json, seam, select};
use crate::report::{self, Screen, json, sarif, schema};
use std::path::Path;
use tuner::catalogue;
use tuner::profile::{self, Profile};

/// Audit and verify.
pub(super) fn audit(common: &Common, verb: &'static str) -> Result<u8, Failure> {
    let seen = Seen::new(common)?;
    let exit = exit::of(&seen.findings, &seen.facts);
    match common.format() {
        Format::Json => print_json(&json::document(verb, json::found(&seen, None, exit)))?,
        Format::Sarif => print_json(&sarif::sarif(&seen, exit))?,
        Format::Text => {
            let mut screen = Screen::new();
            report::findings(&mut screen, &seen, common.all);
            print(&screen.into_text())?;
        }
    }
    Ok(exit)
}

/// All about a knob.
pub(super) fn explain(common: &Common, id: &str) -> Result<u8, Failure> {
    let knob = catalogue::find(id).ok_or_else(|| select::unknown(id))?;
    let mut seen = Seen::new(common)?;
    seen.findings.retain(|finding| finding.knob == knob.id);
    if common.format() == Format::Json {
        print_json(&json::document("explain", json::found(&seen, Some(knob), exit::FINE)))?;
    } else {
        let mut screen = Screen::new();
        report::explain(&mut screen, &seen, knob, common.all);
        print(&screen.into_text())?;
    }
    Ok(exit::FINE)
}

/// All profiles, or one.
pub(super) fn profiles(common: &Common, name: Option<&str>) -> Result<u8, Failure> {
    let host = host(common)?;
    let names = name.map_or_else(|| profile::names(&*host), |name| vec![name.to_owned()]);
    let found: Vec<Profile> =
        names.iter().map(|name| Profile::find_on(&*host, name)).collect::<Result<_, _>>()?;
    if common.format() == Format::Json {
        print_json(&json::document("profiles", json::profiles(&found, name.is_some())))?;
        return Ok(exit::FINE);
    }
    let mut screen = Screen::new();
    match (name, found.first()) {
        (Some(_), Some(profile)) => report::profile(&mut screen, profile),
        _ => report::profiles(&mut screen, &found),
    }
    print(&screen.into_text())?;
    Ok(exit::FINE)
}

/// The schema of a verb's JSON.
pub(super) fn schema(verb: &str) -> Result<u8, Failure> {
    let found = schema::schema(verb).map_err(Failure::usage)?;
    let known = || schema::SCHEMAS.map(|(verb, _)| verb).join(", ");
    let schema =
        found.ok_or_else(|| Failure::usage(format!("'{verb}' prints no JSON; these do: {}", known())))?;
    print_json(&schema)?;
    Ok(exit::FINE)
}

/// Records what the tuner reads.
pub(super) fn capture(common: &Common, output: Option<&Path>) -> Result<u8, Failure> {
    let captured = seam::capture(&*host(common)?)?;
    match output {
        Some(path) => std::fs::write(path, captured)
            .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?,
        None => print(&captured)?,
    }
    Ok(exit::FINE)
}
