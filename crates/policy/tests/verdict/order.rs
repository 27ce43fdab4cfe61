//! The order of the decision: for each step what it refuses for its own reason, and the
//! neighbour that it lets pass.

use serde_json::{Value, json};
use sparkmesh_policy::port::Port;
use sparkmesh_policy::verdict::{
    Connection, Decision, EffectivePolicy, Mismatch, PolicySet, Refused, TlsState, Version, Why,
};

use super::{
    at, from, identity, master, plaintext, policy, reason, reason_at, rule, set, workload,
};

fn everybody(action: &str) -> EffectivePolicy {
    rule(action, &json!({"anyAuthenticated": {}}))
}

/// Port 7077 is permissive until the end of June, for 10.0.0.0/8.
fn exception(name: &str) -> EffectivePolicy {
    let spec = json!({
        "podSelector": {},
        "tls": {"portModes": [
            {"port": 7077, "mode": "Permissive", "until": "2026-06-30T00:00:00Z"},
        ]},
        "rules": [{
            "name": "scrapers", "action": "Allow",
            "from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.9.0.0/16"]}}],
        }],
    });
    policy(name, &spec)
}

fn until_expiry() -> Value {
    json!({"tls": {"permissive": "UntilExpiry"}})
}

#[test]
fn tls_comes_first_even_where_everybody_may_connect() {
    let set = set(&json!({}), [everybody("Allow")]);
    let peer = identity("ns/spark/sa/worker");
    for (tls, expected) in [
        (TlsState::Plaintext, "tls"),
        (TlsState::OneWay(Version::Tls13), "tls"),
        (TlsState::OneWay(Version::Older), "tls"),
        (TlsState::Mutual(Version::Older), "tls"),
        (TlsState::Mutual(Version::Tls13), "allow"),
    ] {
        let connection = Connection { tls, ..from(&peer) };
        assert_eq!(reason(&set, &connection), expected, "{tls:?}");
    }
}

#[test]
fn tls_is_told_before_a_deny() {
    let set = set(&json!({}), [everybody("Deny")]);
    let peer = identity("ns/spark/sa/worker");
    let old = Connection {
        tls: TlsState::Mutual(Version::Older),
        ..from(&peer)
    };
    let decision = set.verdict(&master(), &old).decision.reason();
    assert_eq!(decision, "tls");
    assert_eq!(reason(&set, &from(&peer)), "deny");
}

#[test]
fn old_tls_is_refused_on_a_permissive_port_too() {
    let set = set(&until_expiry(), [exception("a"), everybody("Allow")]);
    let peer = identity("ns/spark/sa/worker");
    let old = Connection {
        tls: TlsState::Mutual(Version::Older),
        ..from(&peer)
    };
    let destination = master();
    let verdict = set.verdict(&destination, &old);
    assert_eq!(verdict.decision, Decision::Refused(Refused::TlsFloor));
    assert_eq!(reason(&set, &from(&peer)), "allow");
}

#[test]
fn without_mutual_tls_no_identity_is_believed() {
    let set = set(&until_expiry(), [exception("a"), everybody("Allow")]);
    let peer = identity("ns/spark/sa/worker");
    for tls in [TlsState::Plaintext, TlsState::OneWay(Version::Tls13)] {
        let connection = Connection { tls, ..from(&peer) };
        assert_eq!(reason(&set, &connection), "no-rule", "{tls:?}");
    }
    let nameless = Connection {
        tls: super::TLS13,
        ..plaintext("10.0.0.1")
    };
    assert_eq!(reason(&set, &nameless), "no-rule");
}

#[test]
fn a_deny_wins_over_every_allow() {
    let deny = policy(
        "z",
        &json!({"podSelector": {}, "rules": [
            {"name": "worker", "action": "Deny", "from": [{"serviceAccount": {"name": "worker"}}]},
        ]}),
    );
    let set = set(&json!({}), [everybody("Allow"), deny]);
    assert_eq!(reason(&set, &from(&identity("ns/spark/sa/worker"))), "deny");
    assert_eq!(
        reason(&set, &from(&identity("ns/spark/sa/driver"))),
        "allow"
    );
}

#[test]
fn a_deny_of_a_policy_that_selects_other_pods_does_not_count() {
    let deny = policy(
        "z",
        &json!({"podSelector": {"matchLabels": {"component": "worker"}}, "rules": [
            {"name": "all", "action": "Deny", "from": [{"anyAuthenticated": {}}]},
        ]}),
    );
    let set = set(&json!({}), [everybody("Allow"), deny]);
    let peer = identity("ns/spark/sa/worker");
    let worker = workload("spark", "worker", &[("component", "worker")]);
    assert_eq!(reason(&set, &from(&peer)), "allow");
    assert_eq!(reason_at(&set, &worker, &from(&peer)), "deny");
}

#[test]
fn a_selector_needs_all_its_labels() {
    let both = json!({"podSelector": {"matchLabels": {"component": "master", "tier": "gold"}}});
    let set = set(&json!({}), [policy("p", &both)]);
    let peer = identity("ns/spark/sa/worker");
    let gold = workload("spark", "m", &[("component", "master"), ("tier", "gold")]);
    assert_eq!(reason_at(&set, &gold, &from(&peer)), "no-rule");
    for labels in [
        &[("component", "master")][..],
        &[("tier", "gold")],
        &[("component", "master"), ("tier", "silver")],
        &[],
    ] {
        let other = workload("spark", "m", labels);
        assert_eq!(
            reason_at(&set, &other, &from(&peer)),
            "default+",
            "{labels:?}"
        );
    }
}

#[test]
fn where_no_policy_selects_the_pod_the_baseline_decides() {
    let same_application = "ns/spark/sa/executor/app/spark-1";
    let other_application = "ns/spark/sa/executor/app/spark-2";
    let other_namespace = "ns/jobs/sa/executor/app/spark-1";
    for (default, expected) in [
        ("Deny", ["default-", "default-", "default-"]),
        ("SameApplication", ["default+", "default-", "default-"]),
        ("SameNamespace", ["default+", "default+", "default-"]),
        ("Audit", ["default+", "default+", "default+"]),
    ] {
        let set = set(&json!({"access": {"default": default}}), []);
        let paths = [same_application, other_application, other_namespace];
        let found = paths.map(|path| reason(&set, &from(&identity(path))));
        assert_eq!(found, expected, "{default}");
        let foreign = "spiffe://other.mesh/ns/spark/sa/executor/app/spark-1";
        let foreign = super::Identity::new(foreign.parse().expect("an identity"));
        assert_eq!(reason(&set, &from(&foreign)), "default-", "{default}");
    }
}

#[test]
fn the_default_of_one_application_needs_an_application() {
    let set = set(&json!({"access": {"default": "SameApplication"}}), []);
    let peer = identity("ns/spark/sa/master");
    let plain = workload("spark", "master", &[]);
    assert_eq!(reason_at(&set, &plain, &from(&peer)), "default-");
    assert_eq!(reason(&set, &from(&peer)), "default-");
}

#[test]
fn once_a_policy_selects_the_pod_only_what_a_rule_allows_may_connect() {
    let allow = rule("Allow", &json!({"serviceAccount": {"name": "worker"}}));
    let set = set(&json!({}), [allow]);
    assert_eq!(
        reason(&set, &from(&identity("ns/spark/sa/worker"))),
        "allow"
    );
    assert_eq!(
        reason(&set, &from(&identity("ns/spark/sa/driver"))),
        "no-rule"
    );
}

#[test]
fn a_policy_without_rules_lets_nobody_connect() {
    let set = set(&json!({}), [policy("p", &json!({"podSelector": {}}))]);
    assert_eq!(
        reason(&set, &from(&identity("ns/spark/sa/master"))),
        "no-rule"
    );
}

#[test]
fn an_audited_policy_changes_nothing_and_is_reported() {
    let audited = policy(
        "audited",
        &json!({"podSelector": {}, "enforcement": "Audit", "rules": [
            {"name": "worker", "action": "Deny", "from": [{"serviceAccount": {"name": "worker"}}]},
        ]}),
    );
    let destination = master();
    for (path, would_be) in [
        ("ns/spark/sa/worker", "deny"),
        ("ns/spark/sa/driver", "no-rule"),
    ] {
        let set = set(&json!({}), [audited.clone()]);
        let peer = identity(path);
        let connection = from(&peer);
        assert_eq!(reason(&set, &connection), "default+");
        let verdict = set.verdict(&destination, &connection);
        let reported: Vec<_> = verdict
            .audited()
            .map(|audited| (audited.policy.name.as_str(), audited.decision.reason()))
            .collect();
        assert_eq!(reported, [("audited", would_be)]);
    }
}

#[test]
fn an_audited_policy_opens_no_port_for_plaintext() {
    let mut audited = exception("a");
    audited.enforcement = sparkmesh_policy::access::Enforcement::Audit;
    let set = set(&until_expiry(), [audited]);
    assert_eq!(reason(&set, &plaintext("10.0.0.1")), "tls");
    assert_eq!(reason(&set_of_exception(), &plaintext("10.0.0.1")), "allow");
}

fn set_of_exception() -> PolicySet {
    set(&until_expiry(), [exception("a")])
}

#[test]
fn plaintext_comes_in_by_address_on_a_permissive_port_before_its_end() {
    let set = set_of_exception();
    let good = plaintext("10.0.0.1");
    assert_eq!(reason(&set, &good), "allow");
    for (expected, connection) in [
        ("no-rule", plaintext("192.168.0.1")),
        ("no-rule", plaintext("10.9.0.1")),
        ("allow", plaintext("::ffff:10.0.0.1")),
        ("no-rule", plaintext("::ffff:10.9.0.1")),
        ("no-rule", plaintext("::1")),
        (
            "tls",
            Connection {
                port: Port::new(8080).expect("not 0"),
                ..good
            },
        ),
        (
            "allow",
            Connection {
                at: at("2026-06-29T23:59:59Z"),
                ..good
            },
        ),
        (
            "tls",
            Connection {
                at: at("2026-06-30T00:00:00Z"),
                ..good
            },
        ),
    ] {
        assert_eq!(reason(&set, &connection), expected, "{connection:?}");
    }
}

#[test]
fn no_policy_lets_plaintext_in_where_the_baseline_never_does() {
    let set = set(&json!({"tls": {"permissive": "Never"}}), [exception("a")]);
    assert_eq!(reason(&set, &plaintext("10.0.0.1")), "tls");
    assert_eq!(reason(&set_of_exception(), &plaintext("10.0.0.1")), "allow");
}

#[test]
fn an_address_proves_nothing_on_a_connection_with_an_identity() {
    let set = set_of_exception();
    assert_eq!(
        reason(&set, &from(&identity("ns/spark/sa/worker"))),
        "no-rule"
    );
}

#[test]
fn one_policys_exception_and_anothers_rule_do_not_add_up() {
    let port_only = policy(
        "port",
        &json!({"podSelector": {}, "tls": {"portModes": [
            {"port": 7077, "mode": "Permissive", "until": "2026-06-30T00:00:00Z"},
        ]}}),
    );
    let addresses = rule("Allow", &json!({"ipBlock": {"cidr": "10.0.0.0/8"}}));
    let set = set(&until_expiry(), [port_only, addresses]);
    let (destination, connection) = (master(), plaintext("10.0.0.1"));
    let verdict = set.verdict(&destination, &connection);
    assert_eq!(verdict.decision, Decision::Refused(Refused::NoRule));
    let why: Vec<_> = verdict.passed_over().map(|passed| passed.why).collect();
    assert_eq!(why, [Why::Mismatch(Mismatch::Strict)]);
}

#[test]
fn a_ports_own_mode_counts_before_the_policys() {
    let spec = json!({
        "podSelector": {},
        "tls": {
            "mode": "Permissive", "until": "2026-06-30T00:00:00Z",
            "portModes": [{"port": 7077, "mode": "Strict"}],
        },
        "rules": [{"name": "r", "action": "Allow", "from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}],
    });
    let set = set(&until_expiry(), [policy("p", &spec)]);
    let strict = plaintext("10.0.0.1");
    let other = Connection {
        port: Port::new(8080).expect("not 0"),
        ..strict
    };
    assert_eq!(reason(&set, &strict), "tls");
    assert_eq!(reason(&set, &other), "allow");
}

#[test]
fn the_deciding_rule_and_those_passed_over_are_told() {
    let spec = json!({"podSelector": {}, "rules": [
        {"name": "other-port", "action": "Allow", "from": [{"anyAuthenticated": {}}],
         "ports": [{"port": 8080}]},
        {"name": "other-peer", "action": "Deny", "from": [{"namespace": {"name": "jobs"}}]},
        {"name": "first", "action": "Allow", "from": [{"anyAuthenticated": {}}]},
        {"name": "second", "action": "Allow", "from": [{"namespace": {"name": "spark"}}]},
    ]});
    let set = set(&json!({}), [policy("p", &spec)]);
    let (destination, peer) = (master(), identity("ns/spark/sa/worker"));
    let connection = from(&peer);
    let verdict = set.verdict(&destination, &connection);
    let deciding = verdict.decision.rule().expect("a rule decides");
    assert_eq!(
        (&*deciding.policy.name, &*deciding.rule.name),
        ("p", "first")
    );
    let passed: Vec<_> = verdict
        .passed_over()
        .map(|passed| (passed.rule.rule.name.as_str(), passed.why))
        .collect();
    assert_eq!(
        passed,
        [
            ("other-port", Why::Mismatch(Mismatch::Port)),
            ("other-peer", Why::Mismatch(Mismatch::Peer)),
            ("second", Why::Overruled),
        ]
    );
}
