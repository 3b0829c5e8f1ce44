//! The JSON Schemas of what verbs print, as `schemas/` has them.

use serde_json::Value;

/// What several of them use.
const DEFINITIONS: &str = include_str!("../../schemas/definitions.json");

/// Verbs that print JSON, with their schemas.
pub(crate) const SCHEMAS: [(&str, &str); 10] = [
    ("apply", include_str!("../../schemas/apply.json")),
    ("audit", include_str!("../../schemas/audit.json")),
    ("confirm", include_str!("../../schemas/confirm.json")),
    ("explain", include_str!("../../schemas/explain.json")),
    ("measure", include_str!("../../schemas/measure.json")),
    ("plan", include_str!("../../schemas/plan.json")),
    ("profiles", include_str!("../../schemas/profiles.json")),
    ("rollback", include_str!("../../schemas/rollback.json")),
    ("status", include_str!("../../schemas/status.json")),
    // What it prints is what audit prints.
    ("verify", include_str!("../../schemas/audit.json")),
];

/// The schema of a verb, whole in itself; none if it prints no JSON.
pub(crate) fn schema(verb: &str) -> Result<Option<Value>, serde_json::Error> {
    let Some((_, text)) = SCHEMAS.iter().find(|(known, _)| *known == verb) else { return Ok(None) };
    let mut schema: Value = serde_json::from_str(text)?;
    schema["$defs"] = serde_json::from_str(DEFINITIONS)?;
    Ok(Some(schema))
}
