//! The rules that a shape alone cannot say, each in its two forms: the CEL text that the API
//! server evaluates, and its twin that the webhook and the audit evaluate.
//!
//! The schema carries the CEL text; who checks an object against the schema finds the twin by it.
//! A twin may be stricter where CEL cannot say enough, never laxer. CEL texts keep to what
//! Kubernetes 1.30 knows: functions that came later (`cidr`, `format`) would make it refuse the
//! whole resource definition.

use serde_json::Value;

use crate::cidr::Cidr;
use crate::identity::{SpiffeId, is_dns_label, is_dns_subdomain, is_label_key, is_label_value};
use crate::port::Port;
use crate::violation::{Code, FieldPath, Violation, shown};

/// A rule about the value at which the schema states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Invariant {
    /// There is one baseline, of a fixed name.
    BaselineName,
    /// A DNS name in lower case: trust domains and service accounts have such.
    DnsName,
    /// One label of a DNS name: namespaces have such names, and rules.
    DnsLabel,
    /// A trust domain never changes: every certificate in use holds it.
    TrustDomainImmutable,
    /// The proxy's own ports cannot go past the proxy.
    ReservedPort,
    /// Labels that a pod can have.
    SelectorLabels,
    /// A port range does not end before it starts.
    PortRange,
    /// Plaintext is let in up to a date, and only plaintext has one.
    PermissiveUntil,
    /// A peer is said in exactly one way.
    OnePeer,
    /// The identity of one workload.
    SpiffeId,
    /// What is excepted from a network lies inside it.
    IpBlockExcept,
}

/// How a peer can be said: the fields of which a peer has exactly one.
const PEERS: [&str; 6] = [
    "serviceAccount",
    "namespace",
    "spiffeID",
    "anyAuthenticated",
    "sameApplication",
    "ipBlock",
];

impl Invariant {
    /// Every rule.
    pub const ALL: [Invariant; 11] = [
        Invariant::BaselineName,
        Invariant::DnsName,
        Invariant::DnsLabel,
        Invariant::TrustDomainImmutable,
        Invariant::ReservedPort,
        Invariant::SelectorLabels,
        Invariant::PortRange,
        Invariant::PermissiveUntil,
        Invariant::OnePeer,
        Invariant::SpiffeId,
        Invariant::IpBlockExcept,
    ];

    /// The rule with this CEL text.
    pub(super) fn of_cel(text: &str) -> Option<Invariant> {
        Invariant::ALL
            .into_iter()
            .find(|invariant| invariant.cel() == text)
    }

    /// The rule as an item of a schema's `x-kubernetes-validations`.
    pub(crate) fn to_schema(self) -> Value {
        let message = format!("{}; {}", self.message(), self.remedy());
        serde_json::json!({ "rule": self.cel(), "message": message })
    }

    /// Stable name, in kebab case.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Invariant::BaselineName => "baseline-name",
            Invariant::DnsName => "dns-name",
            Invariant::DnsLabel => "dns-label",
            Invariant::TrustDomainImmutable => "trust-domain-immutable",
            Invariant::ReservedPort => "reserved-port",
            Invariant::SelectorLabels => "selector-labels",
            Invariant::PortRange => "port-range",
            Invariant::PermissiveUntil => "permissive-until",
            Invariant::OnePeer => "one-peer",
            Invariant::SpiffeId => "spiffe-id",
            Invariant::IpBlockExcept => "ip-block-except",
        }
    }

    /// The rule in CEL, about `self`.
    #[must_use]
    pub fn cel(self) -> &'static str {
        match self {
            Invariant::BaselineName => "self.metadata.name == 'default'",
            Invariant::DnsName => {
                "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')"
            }
            Invariant::DnsLabel => "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
            Invariant::TrustDomainImmutable => "self == oldSelf",
            Invariant::ReservedPort => "!self.exists(p, p in [15001, 15006, 15021, 15090])",
            Invariant::SelectorLabels => {
                "self.all(key, dyn(self[key]) != null && key.size() > 0 && key.size() <= 317)"
            }
            Invariant::PortRange => "!has(self.endPort) || self.endPort >= self.port",
            Invariant::PermissiveUntil => "has(self.until) == (self.mode == 'Permissive')",
            Invariant::OnePeer => {
                "[has(self.serviceAccount), has(self.namespace), has(self.spiffeID), \
                 has(self.anyAuthenticated), has(self.sameApplication), has(self.ipBlock)]\
                 .filter(said, said).size() == 1"
            }
            // Without a rule on relative path segments: it would exceed the API server's budget.
            Invariant::SpiffeId => "self.matches('^spiffe://[a-z0-9._-]+(/[A-Za-z0-9._-]+)+$')",
            Invariant::IpBlockExcept => "!has(self.except) || !(self.cidr in self.except)",
        }
    }

    /// What is wrong where the rule is broken: a predicate about the value.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Invariant::BaselineName => "is not the name of the one baseline",
            Invariant::DnsName => "is not a DNS name in lower case",
            Invariant::DnsLabel => "is not a DNS label in lower case",
            Invariant::TrustDomainImmutable => {
                "cannot change, because every certificate in use holds the trust domain"
            }
            Invariant::ReservedPort => "has a port that the proxy keeps for itself",
            Invariant::SelectorLabels => "has a label that no pod can have",
            Invariant::PortRange => "ends before it starts",
            Invariant::PermissiveUntil => {
                "lets plaintext in without end, or has an end where nothing ends"
            }
            Invariant::OnePeer => "says no peer, or more than one",
            Invariant::SpiffeId => "is not the identity of one workload",
            Invariant::IpBlockExcept => "excepts what is not a smaller part of the network",
        }
    }

    /// What to do about it, on one line.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Invariant::BaselineName => "name the object `default`",
            Invariant::DnsName => {
                "write the exact name, of lower-case letters, digits, - and .; there are no wildcards"
            }
            Invariant::DnsLabel => {
                "write the exact name, of lower-case letters, digits and -; there are no wildcards"
            }
            Invariant::TrustDomainImmutable => {
                "keep the old value, or delete the baseline and start the mesh anew"
            }
            Invariant::ReservedPort => "remove 15001, 15006, 15021 and 15090 from the list",
            Invariant::SelectorLabels => {
                "write keys such as app.kubernetes.io/name, each with a value of letters, digits, -, _ and ."
            }
            Invariant::PortRange => "make endPort at least as large as port",
            Invariant::PermissiveUntil => {
                "write mode Permissive together with until, and mode Strict without it"
            }
            Invariant::OnePeer => {
                "write exactly one of serviceAccount, namespace, spiffeID, anyAuthenticated, \
                 sameApplication, ipBlock, and a list item for each further peer"
            }
            Invariant::SpiffeId => {
                "write it in full, such as spiffe://cluster.local/ns/spark/sa/driver; there are no wildcards"
            }
            Invariant::IpBlockExcept => {
                "list in except only networks inside cidr and smaller than it"
            }
        }
    }

    /// The complaint about the value at this path.
    pub(super) fn violation(self, path: &FieldPath, value: &Value) -> Violation {
        let message = match value {
            Value::Object(_) | Value::Array(_) => self.message().to_owned(),
            scalar => format!("{} {}", shown(scalar), self.message()),
        };
        Violation {
            code: Code::Invariant(self),
            path: path.clone(),
            message,
            remedy: self.remedy().to_owned(),
        }
    }

    /// Whether the rule is kept by the value at which the schema states it.
    ///
    /// A value of the wrong shape breaks no rule here: the shape's own complaint says more.
    /// A rule about a change of the value is kept by every value.
    pub(super) fn holds(self, value: &Value) -> bool {
        match self {
            Invariant::BaselineName => match text(&value["metadata"]["name"]) {
                Some(name) => name == "default",
                None => value["metadata"]["generateName"].is_null(),
            },
            Invariant::DnsName => text(value).is_none_or(is_dns_subdomain),
            Invariant::DnsLabel => text(value).is_none_or(is_dns_label),
            Invariant::TrustDomainImmutable => true,
            Invariant::ReservedPort => !items(value).filter_map(port).any(|number| {
                Port::RESERVED
                    .iter()
                    .any(|p| u64::from(p.number()) == number)
            }),
            Invariant::SelectorLabels => value
                .as_object()
                .into_iter()
                .flatten()
                .all(|(key, value)| is_label_key(key) && text(value).is_none_or(is_label_value)),
            Invariant::PortRange => match (port(&value["port"]), port(&value["endPort"])) {
                (Some(first), Some(last)) => first <= last,
                _ => true,
            },
            Invariant::PermissiveUntil => text(&value["mode"])
                .is_none_or(|mode| (mode == "Permissive") == value.get("until").is_some()),
            Invariant::OnePeer => value.as_object().is_none_or(|peer| {
                PEERS
                    .iter()
                    .filter(|field| peer.contains_key(**field))
                    .count()
                    == 1
            }),
            Invariant::SpiffeId => text(value).is_none_or(|id| id.parse::<SpiffeId>().is_ok()),
            Invariant::IpBlockExcept => network(&value["cidr"]).is_none_or(|whole| {
                items(&value["except"])
                    .filter_map(network)
                    .all(|part| whole.covers(&part) && whole != part)
            }),
        }
    }
}

fn text(value: &Value) -> Option<&str> {
    value.as_str()
}

fn port(value: &Value) -> Option<u64> {
    value.as_u64()
}

fn network(value: &Value) -> Option<Cidr> {
    value.as_str()?.parse().ok()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_rule_has_a_text_of_its_own() {
        for a in Invariant::ALL {
            assert_eq!(Invariant::of_cel(a.cel()), Some(a));
            for b in Invariant::ALL {
                assert!(
                    a == b || (a.id() != b.id() && a.cel() != b.cel()),
                    "{a:?} {b:?}"
                );
            }
        }
    }

    #[test]
    fn the_reserved_ports_in_cel_are_the_proxys() {
        let ports = Port::RESERVED.map(|port| port.to_string()).join(", ");
        assert!(
            Invariant::ReservedPort
                .cel()
                .contains(&format!("[{ports}]"))
        );
        for port in Port::RESERVED {
            let remedy = Invariant::ReservedPort.remedy();
            assert!(remedy.contains(&port.to_string()), "{remedy}");
        }
    }

    #[test]
    fn the_peers_in_cel_are_those_of_the_twin() {
        for peer in PEERS {
            let cel = Invariant::OnePeer.cel();
            assert!(cel.contains(&format!("has(self.{peer})")), "{cel}");
            assert!(Invariant::OnePeer.remedy().contains(peer));
            assert!(Invariant::OnePeer.holds(&json!({ peer: {} })));
        }
    }

    #[test]
    fn exceptions_lie_inside_their_network() {
        let block = |except: &str| json!({"cidr": "10.0.0.0/8", "except": [except]});
        assert!(Invariant::IpBlockExcept.holds(&block("10.1.0.0/16")));
        assert!(!Invariant::IpBlockExcept.holds(&block("10.0.0.0/8")));
        assert!(!Invariant::IpBlockExcept.holds(&block("10.0.0.0/7")));
        assert!(!Invariant::IpBlockExcept.holds(&block("192.168.0.0/16")));
        assert!(!Invariant::IpBlockExcept.holds(&block("2001:db8::/32")));
    }
}
