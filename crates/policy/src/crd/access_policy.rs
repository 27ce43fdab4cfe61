//! The wire form of `AccessPolicy`. Its documentation comments are what `kubectl explain` prints.
//!
//! Null is no value here. The API server drops the null of a field that is not `nullable`, and so
//! a list or a label whose text is commented out would come to mean everything: every port, every
//! pod. The fields whose absence is so wide are therefore `nullable`: their null stays in the
//! object, and makes it invalid where it is read. `kubectl apply` drops nulls before it sends
//! them; only a reading of the file itself (the audit) sees those.

#![allow(
    clippy::doc_markdown,
    reason = "kubectl prints these comments as plain text, where backticks only disturb"
)]
#![allow(
    clippy::duplicated_attributes,
    reason = "printer columns of the same type are told apart by their names"
)]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Invariant;
use crate::access::{Action, Enforcement, Peer};
use crate::baseline::TlsVersion;
use crate::port::Port;

/// The pods that the policy is about, and who may connect to them.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "sparkmesh.dev",
    version = "v1alpha1",
    kind = "AccessPolicy",
    plural = "accesspolicies",
    namespaced,
    shortname = "acp",
    category = "sparkmesh",
    status = "AccessPolicyStatus",
    derive = "PartialEq",
    doc = "Who may connect to the pods that it selects in its own namespace. Where an enforced policy selects a pod, only what a rule allows may connect to it, and a Deny of any policy wins over every Allow. Where none does, the MeshBaseline says who may connect.",
    printcolumn(
        name = "Enforcement",
        type_ = "string",
        json_path = ".spec.enforcement"
    ),
    printcolumn(
        name = "TLS",
        type_ = "string",
        json_path = ".spec.tls.mode",
        description = "Whether plaintext is let in on the ports that portModes does not list"
    ),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Accepted\")].status",
        description = "Whether the policy is valid"
    ),
    printcolumn(
        name = "Programmed",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Programmed\")].status",
        description = "Whether the proxies of the selected pods keep to it"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct AccessPolicySpec {
    /// The pods of this namespace that the policy is about: those with all of these labels.
    /// An empty selector selects every pod of the namespace.
    pub pod_selector: PodSelector,
    /// Enforce: connections are decided by this policy. Audit: what it would refuse is reported,
    /// and nothing else changes.
    #[serde(default)]
    pub enforcement: Enforcement,
    /// What TLS must be on the connections to these pods. It can ask for more than the
    /// MeshBaseline, never for less.
    #[serde(default)]
    pub tls: PolicyTls,
    /// The rules. Their order means nothing: a Deny that matches wins, then an Allow that
    /// matches; what no rule matches is refused. Without rules nobody may connect. At most 32:
    /// the rules of several policies add up.
    #[serde(default)]
    #[schemars(
        length(max = 32),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub rules: Vec<AccessRule>,
}

/// Pods by their labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct PodSelector {
    /// Labels that a pod must all have, each with this very value. There are no expressions and
    /// no negations. Not empty: an empty selector is written `podSelector: {}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels")]
    pub match_labels: BTreeMap<String, String>,
}

/// A label's null is kept as well; the rule refuses it.
fn labels(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "nullable": true,
        "minProperties": 1,
        "maxProperties": 32,
        "additionalProperties": { "type": "string", "nullable": true, "maxLength": 63 },
        "x-kubernetes-validations": [Invariant::SelectorLabels.to_schema()],
    })
}

/// What TLS must be on the connections to the selected pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [Invariant::PermissiveUntil.to_schema()]))]
pub struct PolicyTls {
    /// Strict: mutual TLS only. Permissive: plaintext is let in as well, until the date in
    /// `until`, if the MeshBaseline lets policies do so. Holds for the ports that portModes does
    /// not list.
    pub mode: Mode,
    /// When Permissive ends: from then on the mode is Strict. RFC 3339, for example
    /// 2027-01-31T00:00:00Z. Needed with Permissive, refused with Strict.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Time")]
    pub until: Option<Time>,
    /// The lowest version of TLS. TLS13: TLS 1.3, the only one there is.
    pub min_version: TlsVersion,
    /// Ports with a mode of their own.
    #[schemars(
        length(max = 64),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["port"])
    )]
    pub port_modes: Vec<PortMode>,
}

/// The mode of one port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [Invariant::PermissiveUntil.to_schema()]))]
pub struct PortMode {
    /// The port on which the pod listens.
    pub port: Port,
    /// Strict: mutual TLS only. Permissive: plaintext is let in as well, until the date in
    /// `until`.
    pub mode: Mode,
    /// When Permissive ends: from then on the port is Strict. RFC 3339, for example
    /// 2027-01-31T00:00:00Z. Needed with Permissive, refused with Strict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Time")]
    pub until: Option<Time>,
}

/// Whether plaintext is let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// Mutual TLS only.
    #[default]
    Strict,
    /// Plaintext as well, up to a date.
    Permissive,
}

/// One rule: these peers, on these ports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessRule {
    /// The rule's name, unique in its policy. Reports and refusals tell it.
    #[schemars(
        length(max = 63),
        extend("x-kubernetes-validations" = [Invariant::DnsLabel.to_schema()])
    )]
    pub name: String,
    /// Allow: the peers may connect. Deny: they may not, whatever other rules and policies say.
    /// It has no default, so that a slip in writing it never allows anything.
    pub action: Action,
    /// The peers: a connection matches where it comes from any of them. Never empty; to match
    /// every peer that has an identity, write `anyAuthenticated: {}`.
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub from: Vec<Peer>,
    /// The ports on which the selected pods listen. Left out: every port. Never an empty list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub ports: Option<Vec<AccessPorts>>,
}

/// One port, or a range of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [Invariant::PortRange.to_schema()]))]
pub struct AccessPorts {
    /// The port, or the first of the range.
    pub port: Port,
    /// The last port of the range, which belongs to it. Left out: the one port alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Port")]
    pub end_port: Option<Port>,
}

/// What the mesh has made of the policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessPolicyStatus {
    /// Accepted: the policy is valid. ResolvedRefs: the service accounts and namespaces that it
    /// names exist. Programmed: the proxies of the selected pods keep to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 8),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
}
