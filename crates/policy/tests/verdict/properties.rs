//! What holds for all policies and connections, on values drawn at random.

use proptest::prelude::*;
use serde_json::{Value, json};
use sparkmesh_policy::access::Enforcement;
use sparkmesh_policy::verdict::{
    Decision, EffectivePolicy, Identity, PolicySet, Refused, TlsState, Version, Workload,
};

use super::baseline;
use super::world::{Arrival, arrivals, baselines, destinations, policies, policies_of};

fn allowed(
    floor: &Value,
    policies: &[EffectivePolicy],
    destination: &Workload,
    arrival: &Arrival,
) -> bool {
    let set = PolicySet::new(baseline(floor), policies.iter().cloned());
    let connection = arrival.connection();
    set.verdict(destination, &connection).is_allowed()
}

fn with(policies: &[EffectivePolicy], more: EffectivePolicy) -> Vec<EffectivePolicy> {
    policies.iter().cloned().chain([more]).collect()
}

/// Where every draw is refused anyway the properties say nothing.
#[test]
fn the_draws_reach_every_decision() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let drawn = (baselines(), policies(), destinations(), arrivals());
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..5000 {
        let (floor, policies, destination, arrival) =
            drawn.new_tree(&mut runner).expect("a draw").current();
        let set = PolicySet::new(baseline(&floor), policies);
        let connection = arrival.connection();
        let verdict = set.verdict(&destination, &connection);
        let plaintext = connection.tls == TlsState::Plaintext;
        seen.insert((verdict.decision.reason(), verdict.is_allowed(), plaintext));
    }
    for expected in [
        ("tls", false, false),
        ("tls", false, true),
        ("deny", false, false),
        ("deny", false, true),
        ("default", true, false),
        ("default", false, false),
        ("allow", true, false),
        ("allow", true, true),
        ("no-rule", false, false),
        ("no-rule", false, true),
    ] {
        assert!(seen.contains(&expected), "{expected:?} in {seen:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn adding_a_deny_never_allows_more(
        floor in baselines(), policies in policies(), destination in destinations(),
        arrival in arrivals(), deny in policies_of(&["Deny"], &["Enforce"]),
    ) {
        let before = allowed(&floor, &policies, &destination, &arrival);
        let after = allowed(&floor, &with(&policies, deny), &destination, &arrival);
        prop_assert!(before || !after);
    }

    #[test]
    fn adding_an_allow_to_a_selected_workload_never_refuses_more(
        floor in baselines(), policies in policies(), destination in destinations(),
        arrival in arrivals(), allow in policies_of(&["Allow"], &["Enforce"]),
    ) {
        let selected = policies.iter().any(|p| {
            p.enforcement == Enforcement::Enforce
                && p.namespace == destination.namespace
                && p.selects(&destination.labels)
        });
        let before = allowed(&floor, &policies, &destination, &arrival);
        let after = allowed(&floor, &with(&policies, allow), &destination, &arrival);
        prop_assert!(!selected || !before || after);
    }

    #[test]
    fn audit_changes_nothing(
        floor in baselines(), policies in policies(), destination in destinations(),
        arrival in arrivals(), audit in policies_of(&["Allow", "Deny"], &["Audit"]),
    ) {
        let connection = arrival.connection();
        let before = PolicySet::new(baseline(&floor), policies.clone());
        let after = PolicySet::new(baseline(&floor), with(&policies, audit));
        prop_assert_eq!(
            before.verdict(&destination, &connection).decision,
            after.verdict(&destination, &connection).decision
        );
    }

    #[test]
    fn what_is_reported_of_an_audit_is_what_enforcing_it_brings(
        floor in baselines(), policies in policies(), destination in destinations(),
        arrival in arrivals(), audit in policies_of(&["Allow", "Deny"], &["Audit"]),
    ) {
        let connection = arrival.connection();
        let mut enforced = audit.clone();
        enforced.enforcement = Enforcement::Enforce;
        let audited = PolicySet::new(baseline(&floor), with(&policies, audit));
        let enforced = PolicySet::new(baseline(&floor), with(&policies, enforced));
        let verdict = audited.verdict(&destination, &connection);
        if let Some(report) = verdict.audited().find(|report| report.policy.name == "new") {
            let then = enforced.verdict(&destination, &connection).decision;
            prop_assert_eq!(report.decision.reason(), then.reason());
            prop_assert_eq!(report.decision.is_allowed(), then.is_allowed());
        }
    }

    #[test]
    fn the_order_of_policies_never_matters(
        floor in baselines(), shuffled in policies().prop_flat_map(|policies| {
            (Just(policies.clone()), Just(policies).prop_shuffle())
        }),
        destination in destinations(), arrival in arrivals(),
    ) {
        let connection = arrival.connection();
        let one = PolicySet::new(baseline(&floor), shuffled.0);
        let other = PolicySet::new(baseline(&floor), shuffled.1);
        prop_assert_eq!(
            one.verdict(&destination, &connection).decision,
            other.verdict(&destination, &connection).decision
        );
    }

    #[test]
    fn a_namespaces_policies_never_touch_anothers(
        floor in baselines(), policies in policies(), destination in destinations(),
        arrival in arrivals(),
    ) {
        let connection = arrival.connection();
        let own = policies.iter().filter(|p| p.namespace == destination.namespace).cloned();
        let own = PolicySet::new(baseline(&floor), own);
        let all = PolicySet::new(baseline(&floor), policies);
        prop_assert_eq!(
            own.verdict(&destination, &connection).decision,
            all.verdict(&destination, &connection).decision
        );
    }

    #[test]
    fn exceptions_never_combine_into_more_than_each_grants(
        policies in proptest::collection::vec(policies_of(&["Allow"], &["Enforce"]), 2..8),
        destination in destinations(), arrival in arrivals(),
    ) {
        let arrival = Arrival { identity: None, tls: TlsState::Plaintext, ..arrival };
        let floor = json!({"tls": {"permissive": "UntilExpiry"}});
        if allowed(&floor, &policies, &destination, &arrival) {
            let one_grants_it = policies.iter().any(|policy| {
                allowed(&floor, std::slice::from_ref(policy), &destination, &arrival)
            });
            prop_assert!(one_grants_it);
        }
    }

    #[test]
    fn the_tls_floor_always_holds(
        floor in baselines(), policies in policies(), destination in destinations(),
        arrival in arrivals(),
    ) {
        let set = PolicySet::new(baseline(&floor), policies);
        let connection = arrival.connection();
        let decision = set.verdict(&destination, &connection).decision;
        match arrival.tls {
            TlsState::Mutual(Version::Older) | TlsState::OneWay(Version::Older) => {
                prop_assert_eq!(decision, Decision::Refused(Refused::TlsFloor));
            }
            TlsState::OneWay(Version::Tls13) => prop_assert!(!decision.is_allowed()),
            TlsState::Plaintext if floor["tls"]["permissive"] == "Never" => {
                prop_assert_eq!(decision, Decision::Refused(Refused::NotMutualTls));
            }
            TlsState::Plaintext => {
                prop_assert!(!decision.is_allowed() || arrival.identity.is_none());
            }
            TlsState::Mutual(Version::Tls13) => {
                prop_assert!(!decision.is_allowed() || arrival.identity.is_some());
            }
        }
    }

    #[test]
    fn every_other_account_name_is_another_account(name in "[a-z0-9][a-zA-Z0-9.-]{0,3}[a-z0-9]") {
        let allow = super::rule("Allow", &json!({"serviceAccount": {"name": "a.b"}}));
        let set = PolicySet::new(baseline(&json!({})), [allow]);
        let peer = format!("spiffe://cluster.local/ns/spark/sa/{name}");
        let Ok(id) = peer.parse() else { return Ok(()) };
        let identity = Identity::new(id);
        let destination = super::master();
        let connection = super::from(&identity);
        let verdict = set.verdict(&destination, &connection);
        prop_assert_eq!(verdict.is_allowed(), name == "a.b");
    }
}
