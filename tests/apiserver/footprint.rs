//! What an injected pod costs the cluster's memory, and what is left when all is removed.

use serde_json::{Value, json};

use crate::admission::{self, moved, pod};
use crate::api::{Api, Kind};
use crate::cluster::{eventually, repository, say, succeeded};
use crate::installation::{CONFIGURATION, Installation, NAMESPACE};
use crate::{PLAIN, TEAM};

/// The goal for what injection adds to a pod, in bytes.
const GOAL: usize = 6 * 1024;

pub(crate) fn injection_adds_little_to_a_stored_worker(mesh: &Installation<'_>) {
    let worker = worker();
    let size = |namespace: &str| {
        let kind = Kind::core("Pod");
        mesh.api
            .create(&moved(&worker, namespace))
            .expect("created");
        let whole = mesh.api.stored_size(&kind, namespace, "measured");
        // Who set which field is the API server's own record; an empty entry clears it.
        let unrecorded = json!({"metadata": {"managedFields": [{}]}});
        mesh.api
            .merge(&kind, namespace, "measured", &unrecorded)
            .expect("cleared");
        let bare = mesh.api.stored_size(&kind, namespace, "measured");
        mesh.api
            .delete(&kind, namespace, "measured")
            .expect("deleted");
        (whole, bare)
    };
    let (inside, outside) = (size(TEAM), size(PLAIN));
    let added = inside.1 - outside.1;
    say(&format!(
        "note   a stored worker: {} bytes, {} outside of the mesh: {added} added, {} with the API \
         server's record of who set which field ({GOAL} is the goal)",
        inside.1,
        outside.1,
        inside.0 - outside.0,
    ));
    assert!(added <= GOAL, "{added} bytes are added");
}

/// The pod of the example's Deployment.
fn worker() -> Value {
    let file = repository().join("examples/spark-standalone/spark-worker.yaml");
    let text = std::fs::read_to_string(file).expect("readable");
    let documents = sparkmesh::yaml::documents(&text).expect("YAML");
    let template = &documents[0]["spec"]["template"];
    json!({"apiVersion": "v1", "kind": "Pod", "spec": template["spec"],
        "metadata": {"name": "measured", "labels": template["metadata"]["labels"]}})
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
