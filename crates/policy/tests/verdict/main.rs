//! What becomes of connections: the specification of the verdict.

mod order;
mod peers;
mod properties;
mod unreadable;
mod world;

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use sparkmesh_policy::baseline::Baseline;
use sparkmesh_policy::port::Port;
use sparkmesh_policy::verdict::{
    Connection, EffectivePolicy, Identity, Peer, PolicySet, TlsState, Version, Workload,
};

const NOON: &str = "2026-06-01T12:00:00Z";
const TLS13: TlsState = TlsState::Mutual(Version::Tls13);

fn at(moment: &str) -> Timestamp {
    moment.parse().expect("a moment")
}

fn baseline(spec: &Value) -> Baseline {
    let object = json!({
        "apiVersion": "sparkmesh.dev/v1alpha1",
        "kind": "MeshBaseline",
        "metadata": {"name": "default"},
        "spec": spec,
    });
    Baseline::parse(&object).expect("valid")
}

fn object(namespace: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "sparkmesh.dev/v1alpha1",
        "kind": "AccessPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    })
}

/// A policy of namespace `spark` that must be valid.
fn policy(name: &str, spec: &Value) -> EffectivePolicy {
    let (policy, violations) = EffectivePolicy::read(&object("spark", name, spec), "nowhere");
    assert!(violations.is_empty(), "{violations:?}");
    policy
}

/// A policy that selects every pod of `spark` and has this one rule.
fn rule(action: &str, peer: &Value) -> EffectivePolicy {
    let rules = json!([{"name": "r", "action": action, "from": [peer]}]);
    policy("p", &json!({"podSelector": {}, "rules": rules}))
}

fn workload(namespace: &str, account: &str, labels: &[(&str, &str)]) -> Workload {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    Workload {
        namespace: namespace.to_owned(),
        service_account: account.to_owned(),
        labels: labels.iter().map(own).collect::<BTreeMap<_, _>>(),
    }
}

/// The pod that is connected to: `component: master`, application `spark-1`.
fn master() -> Workload {
    workload(
        "spark",
        "master",
        &[("component", "master"), ("spark-app-selector", "spark-1")],
    )
}

fn identity(path: &str) -> Identity {
    let id = format!("spiffe://cluster.local/{path}");
    Identity::new(id.parse().expect("an identity"))
}

/// A connection to port 7077 at noon.
fn from(identity: &Identity) -> Connection<'_> {
    Connection {
        port: Port::new(7077).expect("not 0"),
        peer: Peer::Authenticated(identity),
        tls: TLS13,
        at: at(NOON),
    }
}

fn plaintext(address: &str) -> Connection<'static> {
    Connection {
        port: Port::new(7077).expect("not 0"),
        peer: Peer::Plaintext(address.parse().expect("an address")),
        tls: TlsState::Plaintext,
        at: at(NOON),
    }
}

/// `allow`, `deny`, `no-rule`, `tls`, or `default` with a sign whether it allows.
fn reason(set: &PolicySet, connection: &Connection<'_>) -> String {
    reason_at(set, &master(), connection)
}

fn reason_at(set: &PolicySet, destination: &Workload, connection: &Connection<'_>) -> String {
    let verdict = set.verdict(destination, connection);
    match (verdict.decision.reason(), verdict.is_allowed()) {
        ("default", true) => "default+".to_owned(),
        ("default", false) => "default-".to_owned(),
        ("allow", allowed) => {
            assert!(allowed, "{verdict:?}");
            "allow".to_owned()
        }
        (reason, allowed) => {
            assert!(!allowed, "{verdict:?}");
            reason.to_owned()
        }
    }
}

fn set(baseline_spec: &Value, policies: impl IntoIterator<Item = EffectivePolicy>) -> PolicySet {
    PolicySet::new(baseline(baseline_spec), policies)
}
