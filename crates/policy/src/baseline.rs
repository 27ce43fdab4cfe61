//! The platform team's floor: what every pod of the mesh keeps to.
//!
//! Decides what a `MeshBaseline` means, and refuses one that is not wholly valid. Knows nothing
//! of pods or policies.

#![allow(
    clippy::doc_markdown,
    reason = "kubectl prints the fields' comments as plain text, where backticks only disturb"
)]

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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn baseline(spec: &Value) -> Value {
        json!({
            "apiVersion": "sparkmesh.dev/v1alpha1",
            "kind": "MeshBaseline",
            "metadata": {"name": "default"},
            "spec": spec,
        })
    }

    fn violations(object: &Value) -> Vec<String> {
        let violations = Baseline::parse(object).expect_err("not valid");
        violations.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn no_baseline_and_an_empty_one_are_the_same() {
        let parsed = Baseline::parse(&baseline(&json!({}))).expect("valid");
        assert_eq!(parsed, Baseline::default());
        assert_eq!(
            parsed,
            Baseline {
                trust_domain: "cluster.local".to_owned(),
                tls: TlsFloor {
                    min_version: TlsVersion::Tls13,
                    permissive: Permissive::Never,
                },
                access: DefaultAccess::SameNamespace,
                identities: ServiceAccounts::Any,
                opt_out: OptOut::Deny,
                exclusions: Exclusions::default(),
            }
        );
    }

    #[test]
    fn what_is_said_holds_and_the_rest_is_default() {
        let spec = json!({
            "access": {"default": "Deny"},
            "tls": {"permissive": "UntilExpiry"},
            "injection": {"exclusions": {"inboundPorts": [22], "outboundCIDRs": ["10.0.0.0/8"]}},
        });
        let parsed = Baseline::parse(&baseline(&spec)).expect("valid");
        let expected = Baseline {
            access: DefaultAccess::Deny,
            tls: TlsFloor {
                permissive: Permissive::UntilExpiry,
                ..TlsFloor::default()
            },
            exclusions: Exclusions {
                inbound_ports: vec![Port::new(22).expect("a port")],
                outbound_ports: Vec::new(),
                outbound_cidrs: vec!["10.0.0.0/8".parse().expect("a network")],
            },
            ..Baseline::default()
        };
        assert_eq!(parsed, expected);
    }

    #[test]
    fn every_violation_is_told_at_once_with_place_and_remedy() {
        let mut object = baseline(&json!({
            "trustDomain": "Cluster.Local",
            "tls": {"minVersion": "TLS12", "min_version": "TLS13"},
            "access": "Deny",
            "injection": {"exclusions": {
                "inboundPorts": [0, 15006, "80", 8080.5],
                "outboundCIDRs": ["10.1.2.3/8"],
            }},
        }));
        object["metadata"]["name"] = json!("mine");
        object["sepc"] = json!({});
        assert_eq!(
            violations(&object),
            [
                "sepc: is not a field here; remove it; the fields here are apiVersion, kind, \
                 metadata, spec, status [unknown-field]",
                "metadata.name: \"mine\" is not the name of the one baseline; name the object \
                 `default` [baseline-name]",
                "spec.access: \"Deny\" is not an object; write an object [wrong-type]",
                "spec.injection.exclusions.inboundPorts[0]: 0 is out of range; write a number \
                 from 1 to 65535 [out-of-range]",
                "spec.injection.exclusions.inboundPorts[2]: \"80\" is not a whole number; write \
                 a whole number [wrong-type]",
                "spec.injection.exclusions.inboundPorts[3]: 8080.5 is not a whole number; write \
                 a whole number [wrong-type]",
                "spec.injection.exclusions.inboundPorts: has a port that the proxy keeps for \
                 itself; remove 15001, 15006, 15021 and 15090 from the list [reserved-port]",
                "spec.injection.exclusions.outboundCIDRs[0]: \"10.1.2.3/8\" is not a network \
                 without host bits; write 10.0.0.0/8 [malformed]",
                "spec.tls.minVersion: \"TLS12\" is not one of its values; write TLS13 \
                 [unsupported-value]",
                "spec.tls.min_version: is not a field here; write minVersion [unknown-field]",
                "spec.trustDomain: \"Cluster.Local\" is not a DNS name in lower case; write the \
                 exact name, of lower-case letters, digits, - and .; there are no wildcards \
                 [dns-name]",
            ]
        );
    }

    #[test]
    fn objects_that_are_no_baseline_are_refused() {
        for object in [
            json!(null),
            json!([]),
            json!("x"),
            json!({}),
            json!({"spec": {}}),
        ] {
            assert!(Baseline::parse(&object).is_err(), "{object}");
        }
        let mut other = baseline(&json!({}));
        other["apiVersion"] = json!("sparkmesh.dev/v1");
        other["kind"] = json!("AccessPolicy");
        assert_eq!(violations(&other).len(), 2);
        let mut generated = baseline(&json!({}));
        generated["metadata"] = json!({"generateName": "default"});
        assert!(Baseline::parse(&generated).is_err());
    }

    #[test]
    fn null_is_the_default_where_the_api_server_takes_it_for_that() {
        let spec = json!({"tls": null, "injection": {"exclusions": {"inboundPorts": null}}});
        assert_eq!(Baseline::parse(&baseline(&spec)), Ok(Baseline::default()));
    }

    /// JSON that comes near to a baseline, and some that does not.
    fn any_json() -> impl Strategy<Value = Value> {
        let words = [
            "apiVersion",
            "kind",
            "metadata",
            "name",
            "spec",
            "tls",
            "minVersion",
            "TLS13",
            "access",
            "default",
            "injection",
            "exclusions",
            "inboundPorts",
            "outboundCIDRs",
            "rules",
            "from",
            "ports",
            "port",
            "endPort",
            "until",
            "podSelector",
            "matchLabels",
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            proptest::sample::select(words.to_vec()).prop_map(Value::from),
            ".{0,20}".prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 64, 6, move |inner| {
            let key = prop_oneof![
                proptest::sample::select(words.to_vec()).prop_map(str::to_owned),
                ".{0,5}",
            ];
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::btree_map(key, inner, 0..6)
                    .prop_map(|fields| fields.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_json_makes_the_parsers_panic_or_pass_in_silence(object in any_json()) {
            for parsed in [
                Baseline::parse(&baseline(&object)).map(drop),
                Baseline::parse(&object).map(drop),
                crate::access::Policy::parse(&object).map(drop),
            ] {
                if let Err(violations) = parsed {
                    prop_assert!(!violations.is_empty());
                }
            }
        }
    }
}
