//! `sparkmesh control` beside a real API server, with the rights that the chart gives it.

#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/control.rs"]
mod control;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cluster::{Cluster, eventually};
use control::{Authority, Installation, Replica, assert_rights_suffice, handshake, one_leader};
use serde_json::json;

const SERVING: &str = "sparkmesh-webhook-tls";
const CA: &str = "sparkmesh-ca";

#[test]
fn control_on_an_api_server() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let here = Installation::new(&cluster, "sparkmesh", &[]);
    let mut replicas = here.start_two(&[]);
    one_of_two_leads_and_makes_everything(&here, &mut replicas);
    what_drifts_is_healed(&here, &mut replicas);
    what_is_not_control_s_is_left_alone(&here);
    another_takes_over_from_a_killed_leader(&here, &mut replicas);
    at_sigterm_the_lease_is_handed_over(&here, &mut replicas);
    a_leader_that_cannot_renew_stops_acting(&here, &mut replicas);
    a_brought_authority_is_used_and_the_webhook_is_trusted_all_along(&here, &mut replicas);
    an_unusable_authority_is_reported_and_left_alone(&here, &mut replicas);
    drop(replicas);
    what_control_made_goes_with_its_service_account(&here);
    beside_cert_manager_only_the_root_is_kept(&cluster);
}

fn one_of_two_leads_and_makes_everything<'a>(
    here: &Installation<'a>,
    replicas: &mut [Replica<'a>; 2],
) {
    let leader = one_leader(replicas);
    here.wait_until_trusted();

    assert_eq!(here.object("secret", SERVING)["type"], "kubernetes.io/tls");
    assert_eq!(
        here.trust(),
        here.entry(CA, "ca.crt"),
        "the public root is published"
    );
    assert_eq!(
        here.ca_bundle(),
        here.entry(CA, "ca.crt"),
        "the API server trusts the root"
    );
    for name in [
        "sparkmesh-webhook.sparkmesh.svc",
        "sparkmesh-webhook.sparkmesh",
        "sparkmesh-webhook.sparkmesh.svc.cluster.local",
    ] {
        assert_eq!(
            handshake(&here.ca_bundle(), &here.pair(), name),
            Ok(()),
            "{name}"
        );
    }
    assert!(handshake(&here.ca_bundle(), &here.pair(), "other.sparkmesh.svc").is_err());

    let metrics = eventually("the leader's metrics", || {
        replicas[leader].admin("/metrics")
    });
    for line in [
        "sparkmesh_control_leader 1\n",
        "sparkmesh_control_reconciles_total{object=\"root\",outcome=\"created\",reason=\"\"} 1\n",
        "sparkmesh_control_reconciles_total{object=\"serving\",outcome=\"issued\",reason=\"missing\"} 1\n",
        "sparkmesh_control_certificate_expiry_timestamp_seconds{certificate=\"root\"} ",
        "sparkmesh_control_certificate_expiry_timestamp_seconds{certificate=\"serving\"} ",
    ] {
        assert!(metrics.contains(line), "{line:?} should be in:\n{metrics}");
    }
    assert_rights_suffice(replicas);
}

fn what_drifts_is_healed<'a>(here: &Installation<'a>, replicas: &mut [Replica<'a>; 2]) {
    let root = here.entry(CA, "tls.crt");

    let before = here.pair();
    here.cluster
        .kubectl(&["delete", "secret", SERVING, "--namespace", here.namespace]);
    here.wait_until_trusted();
    assert_ne!(here.pair(), before);

    here.merge(
        "secret",
        SERVING,
        &json!({"data": {"tls.crt": "Z2FyYmFnZQ=="}}),
    );
    here.wait_until_trusted();

    here.set_ca_bundle(&Authority::new("stranger").certificate);
    here.wait_until_trusted();
    assert_eq!(here.ca_bundle(), root, "a stranger's root does not stay");
    here.remove_ca_bundle();
    here.wait_until_trusted();

    here.cluster.kubectl(&[
        "delete",
        "configmap",
        "sparkmesh-trust",
        "--namespace",
        here.namespace,
    ]);
    eventually("the published root is back", || {
        (here.try_trust()? == root).then_some(())
    });
    here.merge(
        "configmap",
        "sparkmesh-trust",
        &json!({"data": {"ca.crt": "garbage"}}),
    );
    eventually("the published root is right", || {
        (here.try_trust()? == root).then_some(())
    });

    assert_eq!(
        here.entry(CA, "tls.crt"),
        root,
        "the root is the same all along"
    );
    assert_rights_suffice(replicas);
}

fn what_is_not_control_s_is_left_alone(here: &Installation<'_>) {
    let mut expected = here.configuration();
    here.remove_ca_bundle();
    here.wait_until_trusted();
    let mut found = here.configuration();
    for configuration in [&mut expected, &mut found] {
        for bookkeeping in ["managedFields", "resourceVersion", "generation"] {
            configuration["metadata"][bookkeeping].take();
        }
    }
    assert_eq!(found, expected, "nothing but the CA bundle was written");

    here.merge(
        "secret",
        SERVING,
        &json!({"data": {"theirs": "eA==", "tls.crt": ""}}),
    );
    here.wait_until_trusted();
    assert_eq!(here.object("secret", SERVING)["data"]["theirs"], "eA==");
}

fn another_takes_over_from_a_killed_leader<'a>(
    here: &Installation<'a>,
    replicas: &mut [Replica<'a>; 2],
) {
    let leader = one_leader(replicas);
    let root = here.entry(CA, "tls.crt");
    replicas[leader].process.kill();
    here.cluster
        .kubectl(&["delete", "secret", SERVING, "--namespace", here.namespace]);
    eventually("the other leads", || {
        replicas[1 - leader].leads().then_some(())
    });
    here.wait_until_trusted();
    assert_eq!(
        here.entry(CA, "tls.crt"),
        root,
        "the root survives its maker"
    );
    replicas[leader] = here.start(leader, &[]);
}

fn at_sigterm_the_lease_is_handed_over<'a>(
    here: &Installation<'a>,
    replicas: &mut [Replica<'a>; 2],
) {
    let leader = one_leader(replicas);
    let before = here.lease_holder();
    let status = replicas[leader].process.terminate();
    assert!(status.success(), "{status}");
    let log = replicas[leader].process.log();
    assert!(log.contains("the Lease is released"), "{log}");
    eventually("the other leads", || {
        replicas[1 - leader].leads().then_some(())
    });
    assert_ne!(here.lease_holder(), before);
    replicas[leader] = here.start(leader, &[]);
}

fn a_leader_that_cannot_renew_stops_acting<'a>(
    here: &Installation<'a>,
    replicas: &mut [Replica<'a>; 2],
) {
    let leader = one_leader(replicas);
    let suspended = here.cluster.suspend("kube-apiserver");
    eventually("the leader stops acting by itself", || {
        (!replicas[leader].leads()).then_some(())
    });
    for replica in &mut *replicas {
        eventually("nobody is ready", || {
            replica.admin("/readyz").is_none().then_some(())
        });
        assert!(
            replica.admin("/livez").is_some(),
            "a restart would not help"
        );
    }
    drop(suspended);
    one_leader(replicas);
    here.remove_ca_bundle();
    here.wait_until_trusted();
}

fn a_brought_authority_is_used_and_the_webhook_is_trusted_all_along<'a>(
    here: &Installation<'a>,
    replicas: &mut [Replica<'a>; 2],
) {
    let leader = one_leader(replicas);
    here.wait_until_trusted();
    let old = here.entry(CA, "tls.crt");
    let before = here.pair();
    let brought = Authority::new("Example Corp CA");
    here.replace_authority(&brought);

    let name = here.service_name();
    eventually(
        "the serving certificate is of the brought authority",
        || {
            // In this order: whatever is served is trusted by whoever looks afterwards.
            let pair = here.pair();
            let bundle = here.ca_bundle();
            assert_eq!(
                handshake(&bundle, &pair, &name),
                Ok(()),
                "there is no moment without trust"
            );
            handshake(&brought.certificate, &pair, &name).ok()
        },
    );
    assert_ne!(here.pair(), before);
    let metrics = eventually("metrics", || replicas[leader].admin("/metrics"));
    for outcome in [
        "outcome=\"waiting\",reason=\"\"",
        "outcome=\"issued\",reason=\"other-root\"",
    ] {
        let line = format!("sparkmesh_control_reconciles_total{{object=\"serving\",{outcome}}} ");
        assert!(metrics.contains(&line), "{line:?} should be in:\n{metrics}");
    }
    let both = format!("{}{old}", brought.certificate);
    assert_eq!(
        here.ca_bundle(),
        both,
        "a pod that still has the old certificate is trusted"
    );
    assert_eq!(here.trust(), both);
    assert_eq!(
        here.entry(CA, "tls.key"),
        brought.key,
        "what was brought is left as it is"
    );
}

fn an_unusable_authority_is_reported_and_left_alone<'a>(
    here: &Installation<'a>,
    replicas: &mut [Replica<'a>; 2],
) {
    let leader = one_leader(replicas);
    let good = here.object("secret", CA)["data"].clone();
    let serving = here.pair();
    let foreign = Authority::new("another");
    here.merge(
        "secret",
        CA,
        &json!({"stringData": {"tls.key": foreign.key}}),
    );
    let bad = here.object("secret", CA);

    let failed =
        "sparkmesh_control_reconciles_total{object=\"root\",outcome=\"failed\",reason=\"\"}";
    eventually("it is counted", || {
        replicas[leader]
            .admin("/metrics")?
            .contains(failed)
            .then_some(())
    });
    let log = replicas[leader].process.log();
    let message = "Secret sparkmesh-ca is there but cannot be used: tls.key is not the key of the certificate";
    assert!(log.contains(message), "{log}");
    assert_eq!(here.object("secret", CA), bad, "it is not replaced");
    assert_eq!(here.pair(), serving, "and what was issued goes on serving");

    here.merge("secret", CA, &json!({"data": good}));
    here.remove_ca_bundle();
    here.wait_until_trusted();
    for key in ["PRIVATE KEY", &STANDARD.encode("-----BEGIN PRIVATE KE")] {
        assert!(!log.contains(key), "no key is ever logged");
    }
}

/// Not with its Deployment: an upgrade may have to make that anew, and the root must survive it.
fn what_control_made_goes_with_its_service_account(here: &Installation<'_>) {
    let made = [
        ("secret", CA),
        ("secret", SERVING),
        ("configmap", "sparkmesh-trust"),
    ];
    for (kind, name) in made {
        let owners = here.object(kind, name)["metadata"]["ownerReferences"].clone();
        assert_eq!(owners[0]["kind"], "ServiceAccount", "{name}");
        assert_eq!(owners[0]["name"], "sparkmesh-control", "{name}");
    }
    let account = [
        "delete",
        "serviceaccount",
        "sparkmesh-control",
        "--namespace",
    ];
    here.cluster
        .kubectl(&[&account[..], &[here.namespace]].concat());
    for (kind, name) in made {
        eventually(&format!("{name} goes"), || {
            here.cluster
                .object(kind, here.namespace, name)
                .is_none()
                .then_some(())
        });
    }
}

fn beside_cert_manager_only_the_root_is_kept(cluster: &Cluster) {
    let there = Installation::new(
        cluster,
        "elsewhere",
        &["--set", "certificates.provider=cert-manager"],
    );
    let mut replicas = there.start_two(&["--serving-certificates", "cert-manager"]);
    one_leader(&mut replicas);
    eventually("the root is published", || {
        (there.try_trust()? == there.entry(CA, "ca.crt")).then_some(())
    });
    assert!(cluster.object("secret", there.namespace, SERVING).is_none());
    assert_eq!(there.ca_bundle(), "", "cert-manager's injector writes it");
    assert_rights_suffice(&replicas);
}
