//! What people are told when a pod is refused, and where.

use std::process::Output;

use serde_json::{Value, json};

use crate::TEAM;
use crate::admission::{self, pod, pod_with};
use crate::api::Kind;
use crate::cluster::{eventually, say};
use crate::installation::Installation;

/// Two mistakes: a key that does not exist and a value that is none.
const MISTAKES: [(&str, &str); 2] = [
    ("sparkmesh.dev/proxy-memory-limt", "128Mi"),
    ("sparkmesh.dev/drain-seconds", "-5"),
];

pub(crate) fn of_a_deployment_are_told_on_its_replica_set(mesh: &Installation<'_>) {
    let mut template = pod(TEAM, "");
    template["metadata"] = json!({
        "labels": {"app": "mistaken"},
        "annotations": MISTAKES.iter().copied().collect::<std::collections::BTreeMap<_, _>>(),
    });
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "mistaken", "namespace": TEAM},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "mistaken"}},
            "template": {"metadata": template["metadata"], "spec": template["spec"]},
        },
    });
    mesh.api
        .create(&deployment)
        .expect("a Deployment is no pod");

    let of_controller = event(mesh, "ReplicaSet", "mistaken-", "FailedCreate");
    assert_tells_all(&note(&of_controller));
    let ours = event(mesh, "ReplicaSet", "mistaken-", "InjectionRejected");
    assert_tells_all(&note(&ours));
    assert_eq!(ours["type"], "Warning");
    assert_eq!(ours["reportingController"], "sparkmesh-webhook");

    let failure = eventually("the Deployment says that its pods fail", || {
        let kind = Kind::new("apps/v1", "Deployment");
        let deployment = mesh.api.find(&kind, TEAM, "mistaken")?;
        let conditions = deployment["status"]["conditions"].as_array()?;
        let failure = conditions
            .iter()
            .find(|it| it["type"] == "ReplicaFailure")?;
        Some(failure["message"].as_str()?.to_owned())
    });
    assert_tells_all(&failure);
    let pods = mesh.api.list(&Kind::core("Pod"), TEAM, "app=mistaken");
    assert!(pods.is_empty(), "{pods:?}");
    mesh.api
        .delete(&Kind::new("apps/v1", "Deployment"), TEAM, "mistaken")
        .expect("deleted");
}

pub(crate) fn of_a_bare_pod_are_told_by_kubectl_and_on_the_namespace(mesh: &Installation<'_>) {
    let mut bare = pod(TEAM, "bare");
    for (key, value) in MISTAKES {
        bare["metadata"]["annotations"][key] = json!(value);
    }
    let file = mesh.cluster.folder().join("bare.json");
    std::fs::write(&file, bare.to_string()).expect("written");
    let path = file.to_str().expect("UTF-8");
    let Output { status, stderr, .. } = mesh.cluster.try_kubectl(&["create", "-f", path]);
    assert!(!status.success());
    let said = String::from_utf8(stderr).expect("text");
    say(&format!("note  kubectl says: {}", said.trim_end()));
    assert!(
        said.starts_with("Error from server (Forbidden): "),
        "{said}"
    );
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    assert_tells_all(&said);

    let event = event(mesh, "Namespace", TEAM, "InjectionRejected");
    assert_tells_all(&note(&event));
    assert_eq!(event["metadata"]["namespace"], TEAM);
    assert_eq!(
        mesh.count(r#"sparkmesh_webhook_events_total{outcome="failed"}"#),
        0
    );
}

/// Abuse case 32: a dry run leaves no trace.
pub(crate) fn of_a_dry_run_make_no_event(mesh: &Installation<'_>) {
    let dry = pod_with("dry", &json!({"spec": {"hostNetwork": true}}));
    admission::refuses(mesh, &dry, "host-network");
    // A real one after it: events are published in order.
    let real = pod_with("real", &json!({"spec": {"hostPID": true}}));
    mesh.api.create(&real).expect_err("refused");
    let tells = |what: &str| {
        events(mesh)
            .into_iter()
            .find(|event| note(event).contains(what))
    };
    eventually("the event of the real one", || tells("hostPID"));
    assert_eq!(tells("hostNetwork"), None);
}

/// Every mistake with its place, what is wrong and what would be right.
fn assert_tells_all(message: &str) {
    for part in [
        "sparkmesh: ",
        r#"metadata.annotations["sparkmesh.dev/proxy-memory-limt"]"#,
        "[unknown-key]",
        "proxy-memory-limit,",
        r#"metadata.annotations["sparkmesh.dev/drain-seconds"]"#,
        "[invalid-value]",
    ] {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

fn event(mesh: &Installation<'_>, kind: &str, name: &str, reason: &str) -> Value {
    eventually(&format!("an event {reason} on {kind} {name}"), || {
        events(mesh).into_iter().find(|event| {
            let regarding = &event["regarding"];
            let named = regarding["name"].as_str().unwrap_or_default();
            regarding["kind"] == kind && named.starts_with(name) && event["reason"] == reason
        })
    })
}

fn events(mesh: &Installation<'_>) -> Vec<Value> {
    mesh.api
        .list(&Kind::new("events.k8s.io/v1", "Event"), TEAM, "")
}

fn note(event: &Value) -> String {
    event["note"].as_str().unwrap_or_default().to_owned()
}
