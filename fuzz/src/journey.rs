//! What must hold for every pod: decided, patched, settled, and given back.

use std::sync::{Arc, LazyLock};

use serde_json::Value;
use sparkmesh::webhook::review::Mesh;
use sparkmesh_injection::decide::{Decision, RawPod, Scope, decide};
use sparkmesh_injection::facts::{MeshFacts, NamespaceFacts, PodSecurity};
use sparkmesh_injection::restore::uninject;
use sparkmesh_injection::violation::SkipReason;
use sparkmesh_policy::baseline::{Baseline, Exclusions};

/// The namespace that is in the mesh.
pub const NAMESPACE: &str = "team";

/// A mesh with [`NAMESPACE`] in it, whose baseline permits some exclusions.
pub static MESH: LazyLock<Mesh> = LazyLock::new(|| {
    let namespace = NamespaceFacts {
        name: NAMESPACE.to_owned(),
        injection: true,
        pod_security: PodSecurity::Unset,
        openshift_uid_range: false,
    };
    let exclusions = Exclusions {
        inbound_ports: ["22"].map(|port| port.parse().expect("a port")).to_vec(),
        outbound_ports: ["22", "23"]
            .map(|port| port.parse().expect("a port"))
            .to_vec(),
        outbound_cidrs: ["10.0.0.0/8", "fd00::/8"]
            .map(|net| net.parse().expect("a network"))
            .to_vec(),
    };
    let baseline = Baseline {
        exclusions,
        ..Baseline::default()
    };
    let facts = MeshFacts {
        baseline: Arc::new(baseline),
        namespaces: [(NAMESPACE.to_owned(), Arc::new(namespace))].into(),
    };
    Mesh {
        facts: Arc::new(facts),
        ..Mesh::default()
    }
});

/// The decision about a pod in [`NAMESPACE`].
pub fn decision(raw: RawPod<'_>) -> Decision {
    let facts = &MESH.facts;
    decide(
        raw,
        &Scope {
            config: &MESH.config,
            baseline: &facts.baseline,
            namespace: (
                NAMESPACE,
                facts.namespaces.get(NAMESPACE).map(AsRef::as_ref),
            ),
        },
    )
}

/// Follows one pod.
///
/// # Panics
/// When something does not hold.
pub fn follow(pod: &Value) {
    let decided = decision(RawPod::Value(pod));
    let text = pod.to_string();
    assert_eq!(
        told(&decision(RawPod::Json(&text))),
        told(&decided),
        "text and value"
    );
    let Decision::Inject(injection) = decided else {
        return;
    };
    assert_ne!(pod["spec"]["hostNetwork"], true);
    let mut result = pod.clone();
    json_patch::patch(&mut result, &injection.patch).expect("the patch applies");
    settled(&result);
    let mut untouched = pod.clone();
    // What had something of ours before is not given back with it.
    if uninject(&mut untouched) == Ok(false) {
        assert_eq!(uninject(&mut result), Ok(true));
        assert_eq!(&result, pod, "undoing gives the pod back");
    }
}

/// A second pass has nothing to do.
///
/// # Panics
/// When it has.
pub fn settled(pod: &Value) {
    match decision(RawPod::Value(pod)) {
        Decision::Skip(SkipReason::AlreadyInjected) => {}
        other => panic!("not settled: {other:?}"),
    }
}

fn told(decision: &Decision) -> String {
    match decision {
        Decision::Inject(injection) => serde_json::to_string(&injection.patch).expect("JSON"),
        Decision::Skip(reason) => reason.code().to_owned(),
        Decision::Reject(violations) => {
            let codes: Vec<_> = violations.iter().map(|it| it.reason.code()).collect();
            codes.join(",")
        }
    }
}
