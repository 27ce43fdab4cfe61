//! The manifests that users start from, created as they would.

use serde_json::{Value, json};

use crate::admission::{self, assert_injected, assert_same_but_for_probes, assert_settled};
use crate::api::Kind;
use crate::cluster::{eventually, repository};
use crate::installation::Installation;
use crate::{PLAIN, TEAM};

/// Folder and file, in the order in which a user would create them, namespaces first.
const FILES: [&str; 11] = [
    "spark-standalone/namespace.yaml",
    "spark-standalone/services.yaml",
    "spark-standalone/spark-master.yaml",
    "spark-standalone/spark-worker.yaml",
    "spark-operator/account.yaml",
    "spark-operator/driver.yaml",
    "spark-operator/executors.yaml",
    "spark-submit/account.yaml",
    "spark-submit/driver.yaml",
    "spark-submit/executors.yaml",
    "jobs/pi.yaml",
];

pub(crate) fn are_injected(mesh: &Installation<'_>) {
    let before = mesh.reviews();
    for file in FILES {
        let path = repository().join("examples").join(file);
        let path = path.to_str().expect("UTF-8");
        mesh.cluster.kubectl(&["apply", "--filename", path]);
    }
    let pods = eventually("the controllers and kubectl have made every pod", || {
        let pods = |namespace| mesh.api.list(&Kind::core("Pod"), namespace, "");
        let (standalone, submitted) = (pods("spark"), pods("spark-jobs"));
        let all = [standalone, submitted].concat();
        // A master, two workers, a job; twice a driver and two executors.
        (all.len() >= 4 + 6).then_some(all)
    });
    assert_eq!(pods.len(), 10);
    for pod in &pods {
        assert_injected(pod);
        assert_settled(mesh, pod);
    }
    assert!(mesh.reviews() >= before + 10);

    let master = |pods: &[Value]| {
        let of = |pod: &&Value| pod["metadata"]["labels"]["component"] == "spark-master";
        pods.iter().find(of).cloned().expect("a master")
    };
    let master = master(&pods);
    let containers = &master["spec"]["containers"][0];
    for probe in ["readinessProbe", "livenessProbe"] {
        assert_eq!(containers[probe]["httpGet"]["port"], 15021, "{probe}");
    }
    assert_same_but_for_probes(&master, &twin_of_the_master(mesh));
}

pub(crate) fn those_to_be_refused_are_refused(mesh: &Installation<'_>) {
    for (file, reasons) in [
        (
            "rejected-annotations.yaml",
            &["[unknown-key]", "[invalid-value]", "443,,70000", "-5"][..],
        ),
        ("rejected-host-network.yaml", &["[host-network]"]),
        ("skipped.yaml", &["[opt-out-denied]"]),
    ] {
        let path = repository().join("examples/jobs").join(file);
        let path = path.to_str().expect("UTF-8");
        let output = mesh.cluster.try_kubectl(&["create", "--filename", path]);
        assert!(!output.status.success(), "{file} is accepted");
        let said = String::from_utf8_lossy(&output.stderr);
        for reason in reasons {
            assert!(
                said.contains(reason),
                "{file}: {reason:?} is not in: {said}"
            );
        }
    }
}

/// The master outside of the mesh, with the values that the API server fills in.
fn twin_of_the_master(mesh: &Installation<'_>) -> Value {
    let deployment = mesh
        .api
        .find(&Kind::new("apps/v1", "Deployment"), "spark", "spark-master");
    let mut template = deployment.expect("an example")["spec"]["template"].take();
    template["apiVersion"] = json!("v1");
    template["kind"] = json!("Pod");
    template["metadata"]["name"] = json!("twin");
    template["metadata"]["namespace"] = json!(PLAIN);
    mesh.api.create_dry(&template).expect("created")
}

pub(crate) fn only_labelled_namespaces_are_touched(mesh: &Installation<'_>) {
    let before = mesh.reviews();
    for namespace in [
        PLAIN,
        "kube-system",
        "kube-public",
        crate::installation::NAMESPACE,
    ] {
        admission::leaves_alone(mesh, &admission::pod(namespace, "outside"));
    }
    assert_eq!(mesh.reviews(), before, "the webhook was not even asked");
    admission::injects(mesh, &admission::pod(TEAM, "inside"));
    assert!(mesh.reviews() > before, "the webhook was asked");
}
