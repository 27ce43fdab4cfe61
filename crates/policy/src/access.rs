//! An application team's policy: who may connect to the pods that it selects.
//!
//! Decides what an `AccessPolicy` says, and refuses one that is not wholly valid. Does not decide
//! what becomes of a connection, nor whether the peers that it names exist.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::baseline::TlsVersion;
use crate::cidr::Cidr;
use crate::crd::{self, AccessPorts, AccessRule, Invariant, Mode, PolicyTls};
use crate::identity::SpiffeId;
use crate::port::Port;
use crate::violation::Violation;

/// A validated `AccessPolicy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its namespace, beyond which it never reaches. Nothing where a manifest leaves it to be
    /// said at the time of applying.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Labels that a pod must all have to be selected. Empty: every pod of the namespace.
    pub selector: BTreeMap<String, String>,
    /// Whether it decides or only reports.
    pub enforcement: Enforcement,
    /// What TLS must be.
    pub tls: Tls,
    /// Its rules, in the order written, each of a name of its own.
    pub rules: Vec<Rule>,
}

impl Policy {
    /// Reads an `AccessPolicy` object, as the API server, a file or an admission review has it.
    ///
    /// Fields left out get the defaults that the API server gives them. Where anything is wrong,
    /// every violation is told, in the order of the object's fields.
    pub fn parse(object: &Value) -> Result<Policy, Vec<Violation>> {
        let policy = crd::read::<crd::AccessPolicy>(object)?;
        let rules = policy.spec.rules.into_iter();
        Ok(Policy {
            namespace: policy.namespace,
            name: policy.name,
            selector: policy.spec.pod_selector.match_labels,
            enforcement: policy.spec.enforcement,
            tls: Tls::of_valid(policy.spec.tls),
            rules: rules.map(Rule::of_valid).collect(),
        })
    }
}

/// What TLS must be on the connections to the selected pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The lowest version.
    pub min_version: TlsVersion,
    /// Whether plaintext is let in, on the ports that are not in `ports`.
    pub otherwise: Plaintext,
    /// Whether plaintext is let in, on these ports.
    pub ports: BTreeMap<Port, Plaintext>,
}

impl Tls {
    fn of_valid(tls: PolicyTls) -> Tls {
        let port_modes = tls.port_modes.into_iter();
        Tls {
            min_version: tls.min_version,
            otherwise: Plaintext::of_valid(tls.mode, tls.until),
            ports: port_modes
                .map(|port| (port.port, Plaintext::of_valid(port.mode, port.until)))
                .collect(),
        }
    }
}

/// Whether a connection without TLS is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plaintext {
    /// Never.
    Refused,
    /// Up to this moment, if the baseline lets policies do so.
    AllowedUntil(Timestamp),
}

impl Plaintext {
    /// A permissive mode without an end lets nothing in.
    fn of_valid(mode: Mode, until: Option<Time>) -> Plaintext {
        match (mode, until) {
            (Mode::Permissive, Some(Time(end))) => Plaintext::AllowedUntil(end),
            (Mode::Permissive, None) | (Mode::Strict, _) => Plaintext::Refused,
        }
    }
}

/// One rule: these peers, on these ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name, unique in its policy.
    pub name: String,
    /// What becomes of a connection that matches.
    pub action: Action,
    /// The peers of which any one matches; at least one.
    pub from: Vec<Peer>,
    /// The ports on which it matches.
    pub ports: Ports,
}

impl Rule {
    fn of_valid(rule: AccessRule) -> Rule {
        Rule {
            name: rule.name,
            action: rule.action,
            from: rule.from,
            ports: rule.ports.map_or(Ports::Every, |ports| {
                Ports::Only(ports.iter().map(PortRange::of_valid).collect())
            }),
        }
    }
}

/// The ports of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// Every port.
    Every,
    /// The ports of these ranges; at least one range.
    Only(Vec<PortRange>),
}

/// Ports that follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    first: Port,
    last: Port,
}

impl PortRange {
    fn of_valid(ports: &AccessPorts) -> PortRange {
        PortRange {
            first: ports.port,
            last: ports.end_port.unwrap_or(ports.port),
        }
    }

    /// Whether the port is one of the range.
    #[must_use]
    pub fn has(self, port: Port) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

/// Who a connection may come from, said in exactly one of these ways.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [Invariant::OnePeer.to_schema()]))]
pub enum Peer {
    /// Pods that run as this service account.
    ServiceAccount {
        /// The service account's namespace. Left out: the policy's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(
            with = "String",
            length(max = 63),
            extend("x-kubernetes-validations" = [Invariant::DnsLabel.to_schema()])
        )]
        namespace: Option<String>,
        /// The service account's exact name.
        #[schemars(
            length(max = 253),
            extend("x-kubernetes-validations" = [Invariant::DnsName.to_schema()])
        )]
        name: String,
    },
    /// Pods of this namespace, whatever their service account.
    Namespace {
        /// The namespace's exact name.
        #[schemars(
            length(max = 63),
            extend("x-kubernetes-validations" = [Invariant::DnsLabel.to_schema()])
        )]
        name: String,
    },
    /// The workload with exactly this SPIFFE ID; where it names a service account and no Spark
    /// application, with any application. For workloads of another trust domain; inside the mesh
    /// serviceAccount says the same in fewer words.
    #[serde(rename = "spiffeID")]
    SpiffeId(SpiffeId),
    /// Every peer with a certificate that the mesh trusts. Written `anyAuthenticated: {}`.
    AnyAuthenticated {},
    /// Pods of the same Spark application as the pod they connect to: same namespace, same value
    /// of the label spark-app-selector. Written `sameApplication: {}`.
    SameApplication {},
    /// Peers without an identity, by their address. Matches plaintext connections alone, and so
    /// only where the mode is Permissive.
    IpBlock(IpBlock),
}

/// Addresses by their network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [Invariant::IpBlockExcept.to_schema()]))]
pub struct IpBlock {
    /// The network, in CIDR notation with all host bits zero: 10.0.0.0/8.
    pub cidr: Cidr,
    /// Smaller networks inside it that do not match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub except: Vec<Cidr>,
}

/// Whether a policy decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Enforcement {
    /// It decides.
    #[default]
    Enforce,
    /// What it would refuse is reported; nothing else changes.
    Audit,
}

/// What becomes of a connection that a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Action {
    /// It is allowed, unless another rule denies it.
    Allow,
    /// It is refused, whatever other rules say.
    Deny,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn policy(spec: &Value) -> Value {
        json!({
            "apiVersion": "sparkmesh.dev/v1alpha1",
            "kind": "AccessPolicy",
            "metadata": {"name": "master", "namespace": "jobs"},
            "spec": spec,
        })
    }

    fn violations(spec: &Value) -> Vec<String> {
        let violations = Policy::parse(&policy(spec)).expect_err("not valid");
        violations.iter().map(ToString::to_string).collect()
    }

    fn port(number: u16) -> Port {
        Port::new(number).expect("not 0")
    }

    #[test]
    fn a_policy_says_what_is_written() {
        let spec = json!({
            "podSelector": {"matchLabels": {"component": "spark-master"}},
            "tls": {"portModes": [
                {"port": 8080, "mode": "Permissive", "until": "2026-12-31T00:00:00Z"},
            ]},
            "rules": [{
                "name": "workers",
                "action": "Allow",
                "from": [
                    {"serviceAccount": {"name": "spark-worker"}},
                    {"sameApplication": {}},
                    {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
                ],
                "ports": [{"port": 7077}, {"port": 40000, "endPort": 40100}],
            }, {
                "name": "strangers",
                "action": "Deny",
                "from": [{"spiffeID": "spiffe://other/ns/a/sa/b"}],
            }],
        });
        let until = "2026-12-31T00:00:00Z".parse().expect("a moment");
        let expected = Policy {
            namespace: Some("jobs".to_owned()),
            name: "master".to_owned(),
            selector: [("component".to_owned(), "spark-master".to_owned())].into(),
            enforcement: Enforcement::Enforce,
            tls: Tls {
                min_version: TlsVersion::Tls13,
                otherwise: Plaintext::Refused,
                ports: [(port(8080), Plaintext::AllowedUntil(until))].into(),
            },
            rules: vec![
                Rule {
                    name: "workers".to_owned(),
                    action: Action::Allow,
                    from: vec![
                        Peer::ServiceAccount {
                            namespace: None,
                            name: "spark-worker".to_owned(),
                        },
                        Peer::SameApplication {},
                        Peer::IpBlock(IpBlock {
                            cidr: "10.0.0.0/8".parse().expect("a network"),
                            except: vec!["10.1.0.0/16".parse().expect("a network")],
                        }),
                    ],
                    ports: Ports::Only(vec![
                        PortRange {
                            first: port(7077),
                            last: port(7077),
                        },
                        PortRange {
                            first: port(40000),
                            last: port(40100),
                        },
                    ]),
                },
                Rule {
                    name: "strangers".to_owned(),
                    action: Action::Deny,
                    from: vec![Peer::SpiffeId(
                        "spiffe://other/ns/a/sa/b".parse().expect("an identity"),
                    )],
                    ports: Ports::Every,
                },
            ],
        };
        assert_eq!(Policy::parse(&policy(&spec)), Ok(expected));
    }

    #[test]
    fn a_range_has_both_its_ends() {
        let range = PortRange {
            first: port(40000),
            last: port(40100),
        };
        assert!(range.has(port(40000)) && range.has(port(40100)));
        assert!(!range.has(port(39999)) && !range.has(port(40101)));
    }

    #[test]
    fn every_violation_is_told_at_once() {
        let spec = json!({
            "podSelector": {"matchLabels": {"-": "x", "component": null}},
            "rules": [
                {"name": "r", "from": [{"anyAuthenticated": {"really": true}}, {}]},
                {"name": "r", "action": "Allow", "from": [], "ports": null},
            ],
        });
        assert_eq!(
            violations(&spec),
            [
                "spec.podSelector.matchLabels[component]: null is not a text; remove the field, \
                 or give it a value [wrong-type]",
                "spec.podSelector.matchLabels: has a label that no pod can have; write keys such \
                 as app.kubernetes.io/name, each with a value of letters, digits, -, _ and . \
                 [selector-labels]",
                "spec.rules[1].name: \"r\" is there twice; remove one of the two, or name it \
                 otherwise [duplicate]",
                "spec.rules[0].action: is missing; add it [missing-field]",
                "spec.rules[0].from[0].anyAuthenticated.really: is not a field here; remove it; \
                 nothing can be said here [unknown-field]",
                "spec.rules[0].from[1]: says no peer, or more than one; write exactly one of \
                 serviceAccount, namespace, spiffeID, anyAuthenticated, sameApplication, \
                 ipBlock, and a list item for each further peer [one-peer]",
                "spec.rules[1].from: is empty, which does not mean everything; name at least one \
                 [empty]",
                "spec.rules[1].ports: null is not a list; remove the field, or give it a value \
                 [wrong-type]",
            ]
        );
    }

    /// The API server lets these pass: its CEL cannot say them within its budget, or it drops
    /// the null.
    #[test]
    fn the_parser_is_stricter_than_the_api_server_in_these() {
        let with_peer = |peer: Value| {
            json!({
                "podSelector": {},
                "rules": [{"name": "r", "action": "Allow", "from": [peer]}],
            })
        };
        for (spec, path) in [
            (
                json!({"podSelector": {"matchLabels": null}}),
                "spec.podSelector.matchLabels:",
            ),
            (
                json!({"podSelector": {"matchLabels": {"a b": "x"}}}),
                "spec.podSelector.matchLabels:",
            ),
            (
                with_peer(json!({"spiffeID": "spiffe://a/ns/../sa/b"})),
                "spec.rules[0].from[0].spiffeID:",
            ),
            (
                with_peer(json!({"ipBlock": {"cidr": "10.1.2.3/8"}})),
                "spec.rules[0].from[0].ipBlock.cidr:",
            ),
            (
                with_peer(json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/9"]}})),
                "spec.rules[0].from[0].ipBlock:",
            ),
            (
                with_peer(json!({"namespace": null, "sameApplication": {}})),
                "spec.rules[0].from[0].namespace:",
            ),
        ] {
            let found = violations(&spec);
            assert!(found.iter().any(|line| line.starts_with(path)), "{found:?}");
        }
    }
}
