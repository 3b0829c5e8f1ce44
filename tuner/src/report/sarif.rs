//! Findings as SARIF 2.1.0, for what gathers them from many tools.

use crate::cli::Seen;
use serde_json::{Value, json};
use std::path::Path;
use tuner::audit::{Finding, Status};
use tuner::catalogue;
use tuner::place::Place;

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// What audit or verify found: a rule for each knob that has a result, a result for each setting that is not well.
pub(crate) fn sarif(seen: &Seen, exit: u8) -> Value {
    let told: Vec<_> = seen.findings.iter().filter_map(|finding| Some((finding, level(finding)?))).collect();
    let rules: Vec<_> =
        catalogue::all().filter(|knob| told.iter().any(|(finding, _)| finding.knob == knob.id)).collect();
    let index = |id: &str| rules.iter().position(|rule| rule.id == id);
    let results: Vec<_> =
        told.iter().map(|(finding, level)| result(finding, level, index(finding.knob))).collect();
    let rules: Vec<_> = rules
        .iter()
        .map(|knob| {
            let explain = &knob.explain;
            let help = format!(
                "{} {} When not: {} Undo: {} Source: {}",
                explain.mechanism, explain.risk, explain.when_not, explain.undo, explain.source
            );
            json!({
                "id": knob.id,
                "shortDescription": {"text": knob.title},
                "fullDescription": {"text": explain.mechanism},
                "help": {"text": help},
                "properties": {"proof": explain.proof, "persist": knob.persist},
            })
        })
        .collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "tuner", "version": env!("CARGO_PKG_VERSION"), "rules": rules}},
            "invocations": [{"executionSuccessful": true, "exitCode": exit}],
            "properties": {"profile": seen.profile.name, "host": seen.name, "kernel": seen.facts.kernel.release},
            "results": results,
        }],
    })
}

/// How bad a status is; none if it is no result.
fn level(finding: &Finding) -> Option<&'static str> {
    match finding.status {
        Status::Conflict => Some("error"),
        Status::Drift => Some("warning"),
        Status::PendingReboot | Status::NotSettable | Status::Obsolete | Status::Unknown => Some("note"),
        Status::Ok | Status::NotSupported | Status::Left => None,
    }
}

fn result(finding: &Finding, level: &str, rule: Option<usize>) -> Value {
    let of = |state: &Option<String>| state.clone().unwrap_or_else(|| "absent".into());
    let subject = if finding.subject.is_empty() { String::new() } else { format!(" of {}", finding.subject) };
    let note = finding.note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
    let text = format!(
        "{}{subject}: {}; it is {}, wanted is {}{note}",
        finding.knob,
        finding.status,
        of(&finding.current),
        of(&finding.wanted)
    );
    let mut result = json!({
        "ruleId": finding.knob,
        "level": level,
        "message": {"text": text},
        "partialFingerprints": {"setting/v1": format!("{}:{}", finding.knob, finding.subject)},
        "properties": {"status": finding.status, "current": finding.current, "wanted": finding.wanted},
    });
    if let Some(rule) = rule {
        result["ruleIndex"] = rule.into();
    }
    if let Some(place) = &finding.place {
        result["locations"] = json!([location(place)]);
    }
    result
}

fn location(place: &Place) -> Value {
    let logical = json!([{"fullyQualifiedName": place.to_string()}]);
    match place {
        Place::Attribute { path, .. } | Place::File { path, .. } => json!({
            "physicalLocation": {"artifactLocation": {"uri": uri(path)}},
            "logicalLocations": logical,
        }),
        _ => json!({"logicalLocations": logical}),
    }
}

/// A path as a URI.
fn uri(path: &Path) -> String {
    let mut uri = "file://".to_owned();
    for byte in path.to_string_lossy().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' => {
                uri.push(byte.into())
            }
            _ => uri += &format!("%{byte:02X}"),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_uri_whatever_it_is_called() {
        assert_eq!(uri(Path::new("/proc/sys/vm/swappiness")), "file:///proc/sys/vm/swappiness");
        assert_eq!(uri(Path::new("/sys/a b:ü#")), "file:///sys/a%20b%3A%C3%BC%23");
    }
}
