//! The baseline as the rest of the program knows it, from the custom resource's JSON.

use serde_json::Value;
use sparkmesh_policy::baseline::Baseline;

/// The one name under which a `MeshBaseline` counts.
pub(super) const NAME: &str = "default";

/// Reads a whole `MeshBaseline` object. The error names every violation, in one line for people.
pub(super) fn baseline_from(object: &Value) -> Result<Baseline, String> {
    Baseline::parse(object).map_err(|violations| {
        let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
        lines.join("; ")
    })
}
