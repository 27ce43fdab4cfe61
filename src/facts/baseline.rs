//! The baseline as the rest of the program knows it, from the custom resource's JSON.

use serde::Deserialize;
use serde_json::Value;
use sparkmesh_policy::baseline::{Baseline, Exclusions, OptOut};
use sparkmesh_policy::cidr::Cidr;
use sparkmesh_policy::port::Port;

/// The one name under which a `MeshBaseline` counts.
pub(super) const NAME: &str = "default";

/// Reads a whole `MeshBaseline` object. The error is one line for people.
pub(super) fn baseline_from(object: &Value) -> Result<Baseline, String> {
    let spec = object.get("spec").cloned().unwrap_or_default();
    let spec: Option<Spec> = serde_json::from_value(spec).map_err(|error| error.to_string())?;
    let spec = spec.unwrap_or_default();
    let defaults = Baseline::default();
    Ok(Baseline {
        trust_domain: spec.trust_domain.unwrap_or(defaults.trust_domain),
        opt_out: match spec.injection.opt_out.as_deref() {
            None => defaults.opt_out,
            Some("Deny") => OptOut::Deny,
            Some("Allow") => OptOut::Allow,
            Some(other) => {
                return Err(format!(
                    "spec.injection.optOut: `{other}` is neither Deny nor Allow"
                ));
            }
        },
        exclusions: Exclusions {
            inbound_ports: spec.injection.exclusions.inbound_ports,
            outbound_ports: spec.injection.exclusions.outbound_ports,
            outbound_cidrs: spec.injection.exclusions.outbound_cidrs,
        },
    })
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    trust_domain: Option<String>,
    #[serde(default)]
    injection: Injection,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Injection {
    opt_out: Option<String>,
    #[serde(default)]
    exclusions: ExclusionLists,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ExclusionLists {
    inbound_ports: Vec<Port>,
    outbound_ports: Vec<Port>,
    #[serde(rename = "outboundCIDRs")]
    outbound_cidrs: Vec<Cidr>,
}
