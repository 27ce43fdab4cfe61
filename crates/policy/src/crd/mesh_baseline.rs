//! The wire form of `MeshBaseline`. Its documentation comments are what `kubectl explain` prints.

#![allow(
    clippy::doc_markdown,
    reason = "kubectl prints these comments as plain text, where backticks only disturb"
)]
#![allow(
    clippy::duplicated_attributes,
    reason = "printer columns of the same type are told apart by their names"
)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Invariant;
use crate::baseline::{Access, Exclusions, Identities, OptOut, TlsFloor};

/// What the platform team asks of every pod of the mesh. `spec: {}` asks for the defaults.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "sparkmesh.dev",
    version = "v1alpha1",
    kind = "MeshBaseline",
    plural = "meshbaselines",
    shortname = "mb",
    category = "sparkmesh",
    status = "MeshBaselineStatus",
    derive = "PartialEq",
    doc = "The floor that every pod of the mesh keeps to, whatever the application teams write. The platform team owns it. There is one, named default; where there is none, the defaults of its fields hold.",
    printcolumn(
        name = "Trust Domain",
        type_ = "string",
        json_path = ".spec.trustDomain"
    ),
    printcolumn(
        name = "Access",
        type_ = "string",
        json_path = ".spec.access.default",
        description = "Who may connect to a pod that no AccessPolicy selects"
    ),
    printcolumn(
        name = "Permissive",
        type_ = "string",
        json_path = ".spec.tls.permissive",
        description = "Whether policies may let plaintext in for a time"
    ),
    printcolumn(
        name = "Opt-Out",
        type_ = "string",
        json_path = ".spec.injection.optOut",
        description = "What a pod that asks to stay out of the mesh gets"
    ),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Accepted\")].status",
        description = "Whether the mesh keeps to this baseline"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshBaselineSpec {
    /// The SPIFFE trust domain: the first part of every identity,
    /// `spiffe://<trustDomain>/ns/<namespace>/sa/<service account>`. A DNS name in lower case.
    /// It cannot be changed, because every certificate in use holds it.
    #[schemars(
        length(max = 253),
        extend("x-kubernetes-validations" = [
            Invariant::DnsName.to_schema(),
            Invariant::TrustDomainImmutable.to_schema(),
        ])
    )]
    pub trust_domain: String,
    /// What TLS must be between pods of the mesh. Policies can ask for more, never for less.
    pub tls: TlsFloor,
    /// Who may connect to a pod that no AccessPolicy selects.
    pub access: Access,
    /// Which service accounts count as identities.
    pub identities: Identities,
    /// What pods and their authors may change about the injection of the proxy.
    pub injection: Injection,
}

impl Default for MeshBaselineSpec {
    fn default() -> MeshBaselineSpec {
        MeshBaselineSpec {
            trust_domain: "cluster.local".to_owned(),
            tls: TlsFloor::default(),
            access: Access::default(),
            identities: Identities::default(),
            injection: Injection::default(),
        }
    }
}

/// What pods and their authors may change about the injection of the proxy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Injection {
    /// What a pod labelled `sparkmesh.dev/injection: disabled` gets. Deny: it is rejected with
    /// this as the reason. Allow: it is admitted without a proxy, and audited.
    pub opt_out: OptOut,
    /// Traffic that pods may take past the proxy by annotation. Nothing by default; what is
    /// listed here is neither encrypted nor authorized by the mesh in the pods that ask for it.
    pub exclusions: Exclusions,
}

/// What the mesh has made of the baseline.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeshBaselineStatus {
    /// Accepted: the mesh keeps to this baseline. False with the reason where it is not valid;
    /// the defaults, which are the strictest, hold then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 8),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
}
