//! What is left of a policy that is not wholly valid: never more open than what was meant.

use serde_json::{Value, json};
use sparkmesh_policy::access::Enforcement;
use sparkmesh_policy::verdict::{EffectivePolicy, UNREADABLE_POLICY};

use super::{from, identity, object, reason, reason_at, set, workload};

fn read(object: &Value) -> EffectivePolicy {
    let (policy, violations) = EffectivePolicy::read(object, "spark");
    assert!(!violations.is_empty(), "it is valid");
    policy
}

fn reasons(policy: EffectivePolicy) -> [String; 3] {
    let set = set(&json!({}), [policy]);
    let worker = workload("spark", "worker", &[("component", "worker")]);
    [
        reason(&set, &from(&identity("ns/spark/sa/good"))),
        reason(&set, &from(&identity("ns/spark/sa/other"))),
        reason_at(&set, &worker, &from(&identity("ns/spark/sa/good"))),
    ]
}

fn spec(bad_rule: &Value) -> Value {
    json!({"podSelector": {"matchLabels": {"component": "master"}}, "rules": [
        {"name": "good", "action": "Allow", "from": [{"serviceAccount": {"name": "good"}}]},
        bad_rule,
    ]})
}

#[test]
fn an_unreadable_allow_matches_nothing_and_the_valid_rules_stand() {
    for bad in [
        json!({"name": "bad", "action": "Allow", "from": [{"serviceAccount": {"name": "*"}}]}),
        json!({"name": "bad", "action": "Allow", "from": []}),
        json!({"name": "bad", "action": "Allow", "from": [{"anyAuthenticated": {}, "x": 1}]}),
        json!({"name": "bad", "action": "Allow", "from": [{"anyAuthenticated": {}}], "ports": []}),
        json!({"name": "bad", "action": "Allow", "from": [{"anyAuthenticated": {}}], "until": "x"}),
        json!({"name": "good", "action": "Allow", "from": [{"anyAuthenticated": {}}]}),
    ] {
        let policy = read(&object("spark", "p", &spec(&bad)));
        assert_eq!(reasons(policy), ["allow", "no-rule", "default+"], "{bad}");
    }
}

#[test]
fn an_unreadable_deny_matches_everything() {
    for bad in [
        json!({"name": "bad", "action": "Deny", "from": [{"serviceAccount": {"name": "*"}}]}),
        json!({"name": "bad", "action": "Deny", "from": []}),
        json!({"name": "bad", "action": "Deny", "from": [{"sameApplication": {}}], "ports": null}),
        json!({"name": "good", "action": "Deny", "from": [{"sameApplication": {}}]}),
    ] {
        let policy = read(&object("spark", "p", &spec(&bad)));
        assert_eq!(reasons(policy), ["deny", "deny", "default+"], "{bad}");
    }
}

#[test]
fn a_rule_whose_action_is_not_readable_may_have_been_a_deny() {
    for bad in [
        json!({"name": "bad", "from": [{"sameApplication": {}}]}),
        json!({"name": "bad", "action": "allow", "from": [{"sameApplication": {}}]}),
        json!("Allow everybody"),
        json!(null),
    ] {
        let policy = read(&object("spark", "p", &spec(&bad)));
        assert_eq!(reasons(policy), ["deny", "deny", "default+"], "{bad}");
    }
}

#[test]
fn rules_without_a_readable_name_are_told_by_their_place() {
    let bad = json!({"name": "Not A Name\n", "action": "Allow", "from": [{"sameApplication": {}}]});
    let policy = read(&object("spark", "p", &spec(&bad)));
    let names: Vec<_> = policy.rules.iter().map(|rule| &*rule.name).collect();
    assert_eq!(names, ["good", "rules[1]"]);
}

fn broken(field: &str, value: Value) -> Value {
    let good = json!({"name": "g", "action": "Allow", "from": [{"anyAuthenticated": {}}]});
    let mut spec = spec(&good);
    spec[field] = value;
    object("spark", "p", &spec)
}

#[test]
fn an_unreadable_policy_closes_what_it_selects_and_nothing_else() {
    for object in [
        broken("tls", json!({"minVersion": "TLS14"})),
        broken("tls", json!({"mode": "Permissive"})),
        broken("enforcement", json!("Warn")),
        broken("rules", json!("none")),
        broken("rules", json!({})),
        broken("newField", json!(true)),
    ] {
        let policy = read(&object);
        assert_eq!(policy.rules[0].name, UNREADABLE_POLICY);
        assert_eq!(reasons(policy), ["deny", "deny", "default+"], "{object}");
    }
}

#[test]
fn more_rules_than_may_be_close_as_well() {
    let rule =
        |n| json!({"name": format!("r{n}"), "action": "Allow", "from": [{"anyAuthenticated": {}}]});
    let rules: Vec<_> = (0..33).map(rule).collect();
    let policy = read(&broken("rules", json!(rules)));
    assert_eq!(reasons(policy), ["deny", "deny", "default+"]);
}

#[test]
fn an_unreadable_selector_closes_the_namespace() {
    for selector in [
        json!(null),
        json!({"matchLabels": {}}),
        json!({"matchLabels": {"component": null}}),
        json!({"matchExpressions": []}),
    ] {
        let policy = read(&broken("podSelector", selector.clone()));
        assert_eq!(reasons(policy), ["deny", "deny", "deny"], "{selector}");
    }
    let elsewhere = workload("jobs", "x", &[("component", "master")]);
    let closed = set(&json!({}), [read(&broken("podSelector", json!(null)))]);
    assert_eq!(
        reason_at(&closed, &elsewhere, &from(&identity("ns/jobs/sa/x"))),
        "default+"
    );
}

#[test]
fn an_object_of_an_unknown_version_closes_its_namespace() {
    let good = json!({"name": "g", "action": "Allow", "from": [{"anyAuthenticated": {}}]});
    let mut future = object("spark", "p", &spec(&good));
    future["apiVersion"] = json!("sparkmesh.dev/v2");
    future["spec"]["enforcement"] = json!("Audit");
    let policy = read(&future);
    assert_eq!(policy.enforcement, Enforcement::Enforce);
    assert_eq!(reasons(policy), ["deny", "deny", "deny"]);
}

#[test]
fn what_only_reports_still_only_reports() {
    let mut object = broken("newField", json!(true));
    object["spec"]["enforcement"] = json!("Audit");
    assert_eq!(reasons(read(&object)), ["default+", "default+", "default+"]);
}

#[test]
fn nothing_at_all_closes_the_namespace_that_it_was_found_in() {
    for object in [
        json!(null),
        json!([]),
        json!({}),
        json!({"spec": []}),
        json!({"spec": {"rules": [1]}}),
    ] {
        let policy = read(&object);
        assert_eq!((&*policy.namespace, &*policy.name), ("spark", ""));
        assert_eq!(reasons(policy), ["deny", "deny", "deny"], "{object}");
    }
}

#[test]
fn a_valid_policy_is_read_as_the_parser_reads_it() {
    let good = json!({"name": "g", "action": "Deny", "from": [{"sameApplication": {}}]});
    let object = object("spark", "p", &spec(&good));
    let parsed = sparkmesh_policy::access::Policy::parse(&object).expect("valid");
    let (read, violations) = EffectivePolicy::read(&object, "elsewhere");
    assert!(violations.is_empty());
    assert_eq!(read, EffectivePolicy::of_valid(parsed, "elsewhere"));
    assert_eq!(read.namespace, "spark");
}
