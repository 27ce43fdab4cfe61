//! Whom each way of naming a peer means, and its nearest neighbour whom it does not.

use serde_json::{Value, json};
use sparkmesh_policy::verdict::{Identity, Mismatch, Why};

use super::{from, identity, master, reason, reason_at, rule, set, workload};

fn allows(peer: &Value, path: &str) -> bool {
    let set = set(&json!({}), [rule("Allow", peer)]);
    reason(&set, &from(&identity(path))) == "allow"
}

#[test]
fn a_service_account_is_its_exact_name_in_the_policys_namespace_or_the_one_named() {
    let own = json!({"serviceAccount": {"name": "a.b"}});
    assert!(allows(&own, "ns/spark/sa/a.b"));
    assert!(allows(&own, "ns/spark/sa/a.b/app/spark-9"));
    for other in [
        "ns/spark/sa/axb",
        "ns/spark/sa/a-b",
        "ns/spark/sa/a.bc",
        "ns/spark/sa/xa.b",
        "ns/jobs/sa/a.b",
        "ns/spark/sa/aXb",
        "ns/spark/sa/a.b/app/x/y",
    ] {
        assert!(!allows(&own, other), "{other}");
    }
    let named = json!({"serviceAccount": {"namespace": "jobs", "name": "a.b"}});
    assert!(allows(&named, "ns/jobs/sa/a.b"));
    assert!(!allows(&named, "ns/spark/sa/a.b"));
}

#[test]
fn a_service_account_of_another_trust_domain_is_another() {
    let set = set(
        &json!({}),
        [rule(
            "Allow",
            &json!({"serviceAccount": {"name": "worker"}}),
        )],
    );
    let id = |text: &str| Identity::new(text.parse().expect("an identity"));
    assert_eq!(
        reason(
            &set,
            &from(&id("spiffe://cluster.local/ns/spark/sa/worker"))
        ),
        "allow"
    );
    assert_eq!(
        reason(&set, &from(&id("spiffe://other.mesh/ns/spark/sa/worker"))),
        "no-rule"
    );
}

#[test]
fn a_namespace_is_every_account_in_it() {
    let peer = json!({"namespace": {"name": "jobs"}});
    assert!(allows(&peer, "ns/jobs/sa/anything"));
    assert!(allows(&peer, "ns/jobs/sa/default/app/x"));
    assert!(!allows(&peer, "ns/jobs-2/sa/anything"));
    assert!(!allows(&peer, "jobs"));
}

#[test]
fn a_spiffe_id_is_one_identity_in_its_own_trust_domain() {
    let peer = json!({"spiffeID": "spiffe://other.mesh/Workload.1"});
    let set = set(&json!({}), [rule("Allow", &peer)]);
    for (text, expected) in [
        ("spiffe://other.mesh/Workload.1", "allow"),
        ("spiffe://other.mesh/WorkloadX1", "no-rule"),
        ("spiffe://other.mesh/Workload.1/app/x", "no-rule"),
        ("spiffe://cluster.local/Workload.1", "no-rule"),
    ] {
        let peer = Identity::new(text.parse().expect("an identity"));
        assert_eq!(reason(&set, &from(&peer)), expected, "{text}");
    }
}

#[test]
fn a_label_leads_past_no_deny_of_an_identity() {
    let peer = json!({"spiffeID": "spiffe://cluster.local/ns/spark/sa/worker"});
    let set = set(&json!({}), [rule("Deny", &peer)]);
    assert_eq!(reason(&set, &from(&identity("ns/spark/sa/worker"))), "deny");
    assert_eq!(
        reason(&set, &from(&identity("ns/spark/sa/worker/app/x"))),
        "deny"
    );
    assert_eq!(
        reason(&set, &from(&identity("ns/spark/sa/worker-2"))),
        "no-rule"
    );
}

#[test]
fn any_authenticated_is_every_identity_of_whatever_form() {
    let peer = json!({"anyAuthenticated": {}});
    assert!(allows(&peer, "ns/jobs/sa/x"));
    assert!(allows(&peer, "something/else"));
}

#[test]
fn the_same_application_has_the_same_namespace_and_label() {
    let peer = json!({"sameApplication": {}});
    assert!(allows(&peer, "ns/spark/sa/x/app/spark-1"));
    assert!(!allows(&peer, "ns/spark/sa/x/app/spark-2"));
    assert!(!allows(&peer, "ns/jobs/sa/x/app/spark-1"));
    assert!(!allows(&peer, "ns/spark/sa/x"));
    let set = set(&json!({}), [rule("Allow", &peer)]);
    let none = workload("spark", "master", &[("spark-app-selector", "")]);
    assert_eq!(
        reason_at(&set, &none, &from(&identity("ns/spark/sa/x"))),
        "no-rule"
    );
}

#[test]
fn the_shared_service_account_is_no_identity_where_accounts_are_dedicated() {
    let named = json!({"serviceAccount": {"name": "default"}});
    let by_id = json!({"spiffeID": "spiffe://cluster.local/ns/spark/sa/default"});
    let shared = identity("ns/spark/sa/default");
    let dedicated = json!({"identities": {"serviceAccounts": "Dedicated"}});
    for peer in [&named, &by_id] {
        let any = set(&json!({}), [rule("Allow", peer)]);
        assert_eq!(reason(&any, &from(&shared)), "allow", "{peer}");
        let strict = set(&dedicated, [rule("Allow", peer)]);
        let (destination, connection) = (master(), from(&shared));
        let verdict = strict.verdict(&destination, &connection);
        assert_eq!(verdict.decision.reason(), "no-rule", "{peer}");
        let why: Vec<_> = verdict.passed_over().map(|passed| passed.why).collect();
        assert_eq!(why, [Why::Mismatch(Mismatch::SharedAccount)], "{peer}");
        let deny = set(&dedicated, [rule("Deny", peer)]);
        assert_eq!(reason(&deny, &from(&shared)), "deny", "{peer}");
    }
    let worker = set(
        &dedicated,
        [rule(
            "Allow",
            &json!({"serviceAccount": {"name": "worker"}}),
        )],
    );
    assert_eq!(
        reason(&worker, &from(&identity("ns/spark/sa/worker"))),
        "allow"
    );
}

#[test]
fn a_policy_reaches_no_other_namespace() {
    let set = set(&json!({}), [rule("Deny", &json!({"anyAuthenticated": {}}))]);
    let elsewhere = workload("jobs", "master", &[("component", "master")]);
    let peer = identity("ns/jobs/sa/worker");
    assert_eq!(reason(&set, &from(&peer)), "deny");
    assert_eq!(reason_at(&set, &elsewhere, &from(&peer)), "default+");
}
