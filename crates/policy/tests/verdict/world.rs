//! A world so small that everything drawn from it meets everything else.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};
use sparkmesh_policy::port::Port;
use sparkmesh_policy::verdict::{
    Connection, EffectivePolicy, Identity, Peer, TlsState, Version, Workload,
};

use super::{at, object, workload};

const MOMENTS: [&str; 3] = [
    "2026-01-01T00:00:00Z",
    "2026-06-01T00:00:00Z",
    "2026-12-01T00:00:00Z",
];

fn peers() -> impl Strategy<Value = Value> {
    select(vec![
        json!({"serviceAccount": {"name": "worker"}}),
        json!({"serviceAccount": {"namespace": "jobs", "name": "default"}}),
        json!({"serviceAccount": {"name": "a.b"}}),
        json!({"namespace": {"name": "jobs"}}),
        json!({"spiffeID": "spiffe://cluster.local/ns/spark/sa/worker"}),
        json!({"spiffeID": "spiffe://other/x"}),
        json!({"anyAuthenticated": {}}),
        json!({"sameApplication": {}}),
        json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}),
        json!({"ipBlock": {"cidr": "10.1.0.0/16"}}),
    ])
}

fn ports() -> impl Strategy<Value = Option<Value>> {
    select(vec![
        None,
        Some(json!([{"port": 7077}])),
        Some(json!([{"port": 8080}])),
        Some(json!([{"port": 7000, "endPort": 9000}])),
    ])
}

/// A rule; one in four is not valid.
fn rules(action: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let from = proptest::collection::vec(peers(), 1..3);
    (select(action), from, ports(), 0..4_u8).prop_map(|(action, from, ports, flaw)| {
        let mut rule = json!({"name": "r", "action": action, "from": from});
        if let Some(ports) = ports {
            rule["ports"] = ports;
        }
        if flaw == 0 {
            rule["from"] = json!([]);
        }
        rule
    })
}

fn modes() -> impl Strategy<Value = Value> {
    (0..4_u8, select(&MOMENTS[..])).prop_map(|(kind, until)| match kind {
        0 => json!({}),
        1 => json!({"mode": "Permissive", "until": until}),
        2 => json!({"portModes": [{"port": 7077, "mode": "Permissive", "until": until}]}),
        _ => json!({
            "mode": "Permissive", "until": until,
            "portModes": [{"port": 8080, "mode": "Strict"}],
        }),
    })
}

pub(super) fn policies_of(
    action: &'static [&'static str],
    enforcement: &'static [&'static str],
) -> impl Strategy<Value = EffectivePolicy> {
    let selectors = select(vec![
        json!({}),
        json!({"matchLabels": {"component": "master"}}),
        json!({"matchLabels": {"component": "worker"}}),
        json!({"matchLabels": {"component": "master", "tier": "gold"}}),
    ]);
    (
        select(&["spark", "jobs"][..]),
        selectors,
        select(enforcement),
        modes(),
        proptest::collection::vec(rules(action), 0..4),
    )
        .prop_map(|(namespace, selector, enforcement, tls, mut rules)| {
            for (index, rule) in rules.iter_mut().enumerate() {
                rule["name"] = json!(format!("r{index}"));
            }
            let spec = json!({
                "podSelector": selector, "enforcement": enforcement, "tls": tls, "rules": rules,
            });
            EffectivePolicy::read(&object(namespace, "new", &spec), namespace).0
        })
}

pub(super) fn policies() -> impl Strategy<Value = Vec<EffectivePolicy>> {
    let one = policies_of(
        &["Allow", "Allow", "Deny"],
        &["Enforce", "Enforce", "Audit"],
    );
    proptest::collection::vec(one, 0..6).prop_map(|mut policies| {
        for (index, policy) in policies.iter_mut().enumerate() {
            policy.name = format!("p{index}");
        }
        policies
    })
}

pub(super) fn baselines() -> impl Strategy<Value = Value> {
    (
        select(&["Deny", "SameApplication", "SameNamespace", "Audit"][..]),
        select(&["Never", "UntilExpiry", "UntilExpiry"][..]),
        select(&["Any", "Dedicated"][..]),
    )
        .prop_map(|(access, permissive, accounts)| {
            json!({
                "access": {"default": access},
                "tls": {"permissive": permissive},
                "identities": {"serviceAccounts": accounts},
            })
        })
}

pub(super) fn destinations() -> impl Strategy<Value = Workload> {
    let labels = vec![
        ("component", "master"),
        ("spark-app-selector", "spark-1"),
        ("tier", "gold"),
    ];
    (select(&["spark", "jobs"][..]), subsequence(labels, 0..=3))
        .prop_map(|(namespace, labels)| workload(namespace, "any", &labels))
}

/// A connection with its peer's identity kept apart, because it borrows that.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) identity: Option<Identity>,
    pub(super) address: &'static str,
    pub(super) tls: TlsState,
    pub(super) port: u16,
    pub(super) at: &'static str,
}

impl Arrival {
    pub(super) fn connection(&self) -> Connection<'_> {
        Connection {
            port: Port::new(self.port).expect("not 0"),
            peer: match &self.identity {
                Some(identity) => Peer::Authenticated(identity),
                None => Peer::Plaintext(self.address.parse().expect("an address")),
            },
            tls: self.tls,
            at: at(self.at),
        }
    }
}

pub(super) fn arrivals() -> impl Strategy<Value = Arrival> {
    let identities = select(vec![
        Some("cluster.local/ns/spark/sa/worker"),
        Some("cluster.local/ns/spark/sa/worker/app/spark-1"),
        Some("cluster.local/ns/jobs/sa/default"),
        Some("cluster.local/ns/jobs/sa/worker/app/spark-1"),
        Some("cluster.local/ns/spark/sa/aXb"),
        Some("other/x"),
        None,
        None,
    ]);
    let states = select(vec![
        TlsState::Plaintext,
        TlsState::OneWay(Version::Tls13),
        TlsState::OneWay(Version::Older),
        TlsState::Mutual(Version::Older),
        TlsState::Mutual(Version::Tls13),
    ]);
    (
        identities,
        select(&["10.0.0.1", "10.1.0.1", "192.168.0.1", "::1"][..]),
        (any::<bool>(), states),
        select(&[7077_u16, 8080, 4040][..]),
        select(
            &[
                "2025-12-31T00:00:00Z",
                "2026-03-01T00:00:00Z",
                MOMENTS[1],
                MOMENTS[2],
            ][..],
        ),
    )
        .prop_map(|(id, address, (usual, odd), port, at)| {
            let identity = id.map(|id| {
                let id = format!("spiffe://{id}");
                Identity::new(id.parse().expect("an identity"))
            });
            // Half of the connections have the TLS that fits their peer.
            let tls = match (&identity, usual) {
                (Some(_), true) => TlsState::Mutual(Version::Tls13),
                (None, true) => TlsState::Plaintext,
                (_, false) => odd,
            };
            Arrival {
                identity,
                address,
                tls,
                port,
                at,
            }
        })
}
