//! What holds while webhooks are away, die, or get another certificate.

use serde_json::{Value, json};

use crate::admission::{self, pod};
use crate::api::{Answer, Kind};
use crate::cluster::{eventually, say};
use crate::installation::{Installation, make_namespace};
use crate::review::try_bytes;
use crate::{PLAIN, TEAM};

/// Abuse case 11: whoever brings the webhook down gets no pod past it.
pub(crate) fn without_any_webhook_nothing_gets_in_uninjected(mesh: &mut Installation<'_>) {
    let kind = Kind::core("Pod");
    let held = admission::pod_with(
        "held-on",
        &json!({"metadata": {"finalizers": ["example.com/hold"]}}),
    );
    mesh.api.create(&held).expect("created");

    mesh.kill(0);
    mesh.kill(1);
    let closed = |mesh: &Installation<'_>| {
        let refused = mesh.api.create(&pod(TEAM, "refused")).expect_err("refused");
        assert_eq!(refused.code, 500, "{refused}");
        let told = "failed calling webhook \"inject.sparkmesh.dev\"";
        assert!(refused.message.contains(told), "{refused}");
        refused.message
    };
    say(&format!("note  with both webhooks dead: {}", closed(mesh)));
    for number in [0, 1] {
        mesh.tell_readiness(number, false);
    }
    eventually("no endpoint is left", || {
        closed(mesh)
            .contains("no endpoints available")
            .then_some(())
    });

    admission::leaves_alone(mesh, &pod(PLAIN, "elsewhere"));
    admission::leaves_alone(mesh, &pod("kube-system", "elsewhere"));
    // What exists can still be changed and removed.
    let label = json!({"metadata": {"labels": {"touched": "yes"}}});
    mesh.api
        .merge(&kind, TEAM, "held-on", &label)
        .expect("changed");
    mesh.api
        .delete(&kind, TEAM, "held-on")
        .expect("its end begins");
    let release = json!({"metadata": {"finalizers": null}});
    mesh.api
        .merge(&kind, TEAM, "held-on", &release)
        .expect("released");

    for number in [0, 1] {
        mesh.start(number);
    }
    mesh.wait_until_admitting();
    admission::injects(mesh, &pod(TEAM, "back"));
}

/// As in a roll-out: the pod is told to end and taken out of the Service at the same moment, and
/// which of both gets about first is open.
pub(crate) fn a_replica_ends_in_order_without_a_failed_creation(mesh: &mut Installation<'_>) {
    let namespace = "roll-out";
    make_namespace(mesh.api, namespace, true);
    for number in [0, 1] {
        let mut process = mesh.take(number);
        let mut load = Load::of(mesh, namespace, number * 10_000);
        load.create(20);
        std::thread::scope(|scope| {
            let ending = scope.spawn(|| process.terminate());
            mesh.tell_readiness(number, false);
            while !ending.is_finished() {
                load.create(10);
            }
            let status = ending.join().expect("it ended");
            assert!(status.success(), "{status}");
        });
        load.create(20);
        mesh.start(number);
    }
    let stored = stored(mesh, namespace);
    stored.iter().for_each(admission::assert_injected);
    say(&format!(
        "note  roll-out: {} pods created, no creation failed",
        stored.len()
    ));
}

/// A job of 500 executors whose creation meets the sudden end of a webhook.
pub(crate) fn a_burst_that_one_replica_does_not_survive(mesh: &mut Installation<'_>) {
    const PODS: usize = 500;
    let namespace = "burst";
    make_namespace(mesh.api, namespace, true);
    let executors: Vec<Value> = (0..PODS)
        .map(|number| executor(namespace, number))
        .collect();

    let api = mesh.api;
    let answers = api.create_all(&executors, 16, |answered| {
        if answered == PODS / 3 {
            mesh.kill(0);
        }
        // A kubelet and the controllers take a moment.
        if answered == PODS / 2 {
            tokio::task::block_in_place(|| mesh.tell_readiness(0, false));
        }
    });

    let (created, failed) = told(&answers);
    assert!(created > PODS / 2, "{created} of {PODS} created");
    for message in &failed {
        let told = "failed calling webhook \"inject.sparkmesh.dev\"";
        assert!(message.contains(told), "{message}");
    }
    let stored = stored(mesh, namespace);
    assert_eq!(stored.len(), created, "what failed is not there");
    let naked = stored.iter().filter(|pod| !admission::is_injected(pod));
    assert_eq!(naked.count(), 0, "of {created} created");
    stored.iter().for_each(admission::assert_injected);
    let example = failed.first().map_or("none", String::as_str);
    say(&format!(
        "note  burst: {created} of {PODS} created, all injected; {} failed, such as: {example}",
        failed.len()
    ));

    let again: Vec<Value> = executors
        .iter()
        .zip(&answers)
        .filter(|(_, answer)| answer.is_err())
        .map(|(executor, _)| executor.clone())
        .collect();
    let (_, failed) = told(&api.create_all(&again, 16, |_| ()));
    assert!(
        failed.is_empty(),
        "with one replica left: {}",
        some(&failed)
    );
    let stored = self::stored(mesh, namespace);
    assert_eq!(stored.len(), PODS);
    stored.iter().for_each(admission::assert_injected);
    mesh.start(0);
}

/// Abuse case 31: the serving certificate, and then the authority behind it, are replaced while pods
/// are created.
pub(crate) fn certificates_rotate_under_load_without_a_failed_creation(mesh: &Installation<'_>) {
    const TAKEN: &str = r#"sparkmesh_webhook_reloads_total{subject="certificate",outcome="taken"}"#;
    let namespace = "rotation";
    make_namespace(mesh.api, namespace, true);
    let mut load = Load::of(mesh, namespace, 0);

    load.create(20);
    let before = mesh.count(TAKEN);
    let secret = Kind::core("Secret");
    let system = crate::installation::NAMESPACE;
    mesh.api
        .delete(&secret, system, "sparkmesh-webhook-tls")
        .expect("deleted");
    load.until("both serve with the new certificate", || {
        mesh.count(TAKEN) >= before + 2
    });

    let bundle = mesh.ca_bundle();
    let authority = authority();
    mesh.api
        .merge(
            &secret,
            system,
            "sparkmesh-ca",
            &json!({"stringData": authority}),
        )
        .expect("the administrator may");
    load.until("the API server trusts the new authority, too", || {
        mesh.ca_bundle() != bundle
    });
    assert!(
        mesh.ca_bundle().contains(bundle.trim()),
        "and still the old one"
    );
    load.until("both serve with the new authority's certificate", || {
        mesh.count(TAKEN) >= before + 4
    });
    load.create(40);

    assert!(load.created >= 100, "{}", load.created);
    let stored = stored(mesh, namespace);
    assert_eq!(stored.len(), load.created);
    stored.iter().for_each(admission::assert_injected);
    say(&format!(
        "note  rotation: {} pods created, no creation failed",
        load.created
    ));
}

/// Pods that are created all the while, none of which may fail.
struct Load<'a> {
    mesh: &'a Installation<'a>,
    namespace: &'a str,
    first: usize,
    created: usize,
}

impl<'a> Load<'a> {
    /// The pods' names count from `first`.
    fn of(mesh: &'a Installation<'a>, namespace: &'a str, first: usize) -> Load<'a> {
        Load {
            mesh,
            namespace,
            first,
            created: 0,
        }
    }

    fn create(&mut self, pods: usize) {
        let from = self.first + self.created;
        let pods: Vec<Value> = (from..from + pods)
            .map(|number| executor(self.namespace, number))
            .collect();
        let (created, failed) = told(&self.mesh.api.create_all(&pods, 4, |_| ()));
        assert!(failed.is_empty(), "{}", some(&failed));
        self.created += created;
        // The API server keeps its connections; others trust what it trusts and come anew.
        for to in self.mesh.reviewers() {
            let answer = try_bytes(self.mesh, to, &pod(TEAM, "direct"), "CREATE");
            answer.unwrap_or_else(|error| panic!("a new connection to {to}: {error:?}"));
        }
    }

    fn until(&mut self, what: &str, done: impl Fn() -> bool) {
        eventually(what, || {
            self.create(10);
            done().then_some(())
        });
    }
}

/// As the driver makes them.
fn executor(namespace: &str, number: usize) -> Value {
    let mut pod = pod(namespace, &format!("job-exec-{number}"));
    pod["metadata"]["labels"] = json!({
        "spark-role": "executor", "spark-app-selector": "spark-1", "spark-exec-id": number.to_string(),
    });
    pod
}

/// How many were created, and what was said of the others.
fn told(answers: &[Answer]) -> (usize, Vec<String>) {
    let created = answers.iter().filter(|answer| answer.is_ok()).count();
    let failed = answers.iter().filter_map(|answer| answer.as_ref().err());
    (created, failed.map(ToString::to_string).collect())
}

fn some(messages: &[String]) -> String {
    let first: Vec<&str> = messages.iter().take(3).map(String::as_str).collect();
    format!("{} failed, such as: {}", messages.len(), first.join("\n"))
}

fn stored(mesh: &Installation<'_>, namespace: &str) -> Vec<Value> {
    mesh.api.list(&Kind::core("Pod"), namespace, "")
}

/// An authority as an administrator brings it: the entries of its Secret.
fn authority() -> Value {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
        .distinguished_name
        .push(DnType::CommonName, "corporate authority");
    let certificate = params.self_signed(&key).expect("self-signed").pem();
    json!({"tls.crt": certificate, "ca.crt": certificate, "tls.key": key.serialize_pem()})
}
