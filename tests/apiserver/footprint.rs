//! What an injected pod costs the cluster's memory, and what is left when all is removed.

use serde_json::{Value, json};

use crate::admission::{self, moved, pod};
use crate::api::{Api, Kind};
use crate::cluster::{eventually, repository, say, succeeded};
use crate::installation::{CONFIGURATION, Installation, NAMESPACE, name_of};
use crate::{PLAIN, TEAM};

/// The goal for what injection adds to a pod, in bytes.
const GOAL: usize = 6 * 1024;
/// What it may not exceed until the goal is reached.
const BOUND: usize = 8 * 1024;

pub(crate) fn what_injection_adds_to_stored_pods_is_bounded(mesh: &Installation<'_>) {
    for pod in [worker(), smallest()] {
        let (inside, outside) = (
            stored_size(mesh, &pod, TEAM),
            stored_size(mesh, &pod, PLAIN),
        );
        let added = inside - outside;
        let name = &pod["metadata"]["name"];
        say(&format!(
            "note  stored pod {name}: {outside} bytes, {inside} in the mesh: {added} added (goal: {GOAL})"
        ));
        assert!(added <= BOUND, "{added} bytes are added to {name}");
    }
}

fn stored_size(mesh: &Installation<'_>, pod: &Value, namespace: &str) -> usize {
    let kind = Kind::core("Pod");
    let stored = mesh.api.create(&moved(pod, namespace)).expect("created");
    let name = name_of(&stored);
    let size = mesh.api.stored_size(&kind, namespace, &name);
    mesh.api.delete(&kind, namespace, &name).expect("deleted");
    size
}

fn smallest() -> Value {
    let container = json!({"name": "app", "image": "apache/spark:3.5.6"});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "smallest"},
        "spec": {"containers": [container]}})
}

/// The pod of the example's Deployment.
fn worker() -> Value {
    let file = repository().join("examples/spark-standalone/spark-worker.yaml");
    let text = std::fs::read_to_string(file).expect("readable");
    let documents = sparkmesh::yaml::documents(&text).expect("YAML");
    let template = &documents[0]["spec"]["template"];
    json!({"apiVersion": "v1", "kind": "Pod", "spec": template["spec"],
        "metadata": {"name": "worker", "labels": template["metadata"]["labels"]}})
}

/// The webhooks had all the rights they needed, and asked for no others.
pub(crate) fn no_right_was_missing(mesh: &Installation<'_>) {
    let logs = mesh.logs().to_lowercase();
    for sign in ["forbidden", "panicked", "cannot list", "cannot watch"] {
        let line = logs.lines().find(|line| line.contains(sign));
        assert_eq!(line, None);
    }
}

pub(crate) fn after_removal_pods_are_created_as_ever(mesh: Installation<'_>) {
    let (cluster, api): (_, &Api) = (mesh.cluster, mesh.api);
    let mut helm = cluster.command("helm");
    helm.args(["uninstall", "sparkmesh", "--namespace", NAMESPACE]);
    succeeded(helm.output().expect("helm can be run"), "helm uninstall");
    let kind = Kind::new(
        "admissionregistration.k8s.io/v1",
        "MutatingWebhookConfiguration",
    );
    assert_eq!(api.find(&kind, "", CONFIGURATION), None);
    let webhook = eventually("the labelled namespace is as any other", || {
        api.create_dry(&pod(TEAM, "after")).ok()
    });
    assert!(!admission::is_injected(&webhook));
    // Without its processes, too.
    drop(mesh);
    admission_is_free(api);
}

fn admission_is_free(api: &Api) {
    let stored = api.create(&pod(TEAM, "after")).expect("created");
    assert!(!admission::is_injected(&stored));
}
