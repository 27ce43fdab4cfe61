//! The platform team's floor: what every pod of the mesh keeps to.
//!
//! Decides what a `MeshBaseline` means, and refuses one that is not wholly valid. Knows nothing
//! of pods or policies.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cidr::Cidr;
use crate::crd::{self, Invariant, MeshBaseline, MeshBaselineSpec};
use crate::port::Port;
use crate::violation::Violation;

/// A validated `MeshBaseline`; its default is what holds where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Baseline {
    /// SPIFFE trust domain of every identity.
    pub trust_domain: String,
    /// What TLS must be.
    pub tls: TlsFloor,
    /// Who may connect to a pod that no policy selects.
    pub access: DefaultAccess,
    /// Which service accounts count as identities.
    pub identities: ServiceAccounts,
    /// What a pod that asks to stay out gets.
    pub opt_out: OptOut,
    /// Traffic that pods may ask to take past the proxy.
    pub exclusions: Exclusions,
}

impl Baseline {
    /// Reads a `MeshBaseline` object, as the API server, a file or an admission review has it.
    ///
    /// Fields left out get the defaults that the API server gives them. Where anything is wrong,
    /// every violation is told, in the order of the object's fields.
    pub fn parse(object: &Value) -> Result<Baseline, Vec<Violation>> {
        crd::read::<MeshBaseline>(object).map(|baseline| Baseline::of_valid(baseline.spec))
    }

    fn of_valid(spec: MeshBaselineSpec) -> Baseline {
        Baseline {
            trust_domain: spec.trust_domain,
            tls: spec.tls,
            access: spec.access.default,
            identities: spec.identities.service_accounts,
            opt_out: spec.injection.opt_out,
            exclusions: spec.injection.exclusions,
        }
    }
}

impl Default for Baseline {
    fn default() -> Baseline {
        Baseline::of_valid(MeshBaselineSpec::default())
    }
}

/// What TLS must be between pods of the mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TlsFloor {
    /// The lowest version of TLS between pods of the mesh. TLS13: TLS 1.3, the only one there is.
    pub min_version: TlsVersion,
    /// Whether policies may let plaintext in. Never: no. UntilExpiry: on the ports that a policy
    /// lists as Permissive, up to the date that it gives with each.
    pub permissive: Permissive,
}

/// A version of TLS that the mesh speaks.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum TlsVersion {
    /// TLS 1.3 (RFC 8446).
    #[default]
    #[serde(rename = "TLS13")]
    Tls13,
}

/// Whether policies may let plaintext in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Permissive {
    /// No policy may.
    #[default]
    Never,
    /// A policy may, up to a date that it gives.
    UntilExpiry,
}

/// Who may connect where no policy says so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Access {
    /// Who may connect to a pod that no enforced AccessPolicy selects. Deny: nobody.
    /// SameApplication: pods of the same Spark application (the label spark-app-selector).
    /// SameNamespace: pods of the same namespace. Audit: every pod of the mesh, and each such
    /// connection is reported.
    pub default: DefaultAccess,
}

/// Who may connect to a pod that no enforced policy selects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DefaultAccess {
    /// Nobody.
    Deny,
    /// Pods of the same Spark application.
    SameApplication,
    /// Pods of the same namespace.
    #[default]
    SameNamespace,
    /// Every pod of the mesh; each connection is reported.
    Audit,
}

/// Which service accounts count as identities.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Identities {
    /// Any: every service account. Dedicated: every one but `default`, which pods that name none
    /// share, so that rules about it cannot tell them apart; rules that name it are refused.
    pub service_accounts: ServiceAccounts,
}

/// Which service accounts count as identities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceAccounts {
    /// Every one.
    #[default]
    Any,
    /// Every one but the `default` that pods of a namespace share.
    Dedicated,
}

/// What a pod labelled `sparkmesh.dev/injection: disabled` gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OptOut {
    /// The pod is rejected.
    #[default]
    Deny,
    /// The pod is admitted without a proxy.
    Allow,
}

/// Traffic that pods may exclude by annotation; nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Exclusions {
    /// Ports on which pods may take plaintext past the proxy.
    #[schemars(length(max = 64), extend(
        "x-kubernetes-list-type" = "set",
        "x-kubernetes-validations" = [Invariant::ReservedPort.to_schema()],
    ))]
    pub inbound_ports: Vec<Port>,
    /// Ports to which pods may connect past the proxy.
    #[schemars(length(max = 64), extend(
        "x-kubernetes-list-type" = "set",
        "x-kubernetes-validations" = [Invariant::ReservedPort.to_schema()],
    ))]
    pub outbound_ports: Vec<Port>,
    /// Networks to which pods may connect past the proxy, in CIDR notation with all host bits
    /// zero: 10.0.0.0/8.
    #[serde(rename = "outboundCIDRs")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub outbound_cidrs: Vec<Cidr>,
}
