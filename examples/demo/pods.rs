//! Which pods the webhook is asked about, and what it is expected to answer.
//!
//! Pods come from the manifests of `examples/`; of a Deployment, its pods as its `ReplicaSet` would
//! create them.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use sparkmesh::offline::documents::{self, Document};

/// Pods that belong together.
pub(crate) struct Group {
    pub(crate) title: &'static str,
    pub(crate) source: &'static str,
    /// Objects of the manifests that no review is about, each as kind and name.
    pub(crate) unreviewed: Vec<String>,
    pub(crate) cases: Vec<Case>,
}

/// One pod.
pub(crate) struct Case {
    /// What people call it.
    pub(crate) title: String,
    /// Who creates it.
    pub(crate) origin: String,
    /// As it is sent to the API server.
    pub(crate) pod: Value,
    pub(crate) expected: Expected,
}

/// What the webhook must answer.
#[derive(Clone, Copy)]
pub(crate) enum Expected {
    /// Injected, with this role.
    Inject(&'static str),
    /// Left as it is, with this reason.
    Skip(&'static str),
    /// Refused, with these reasons, by name and separated by commas.
    Reject(&'static str),
}

/// Part of an object's name, who creates its pods, and what becomes of them.
type Expectation = (&'static str, &'static str, Expected);

const PLAN: [(&str, &str, &[Expectation]); 5] = [
    (
        "Spark standalone cluster",
        "examples/spark-standalone",
        &[
            (
                "spark-master",
                "by its Deployment",
                Expected::Inject("master"),
            ),
            (
                "spark-worker",
                "by its Deployment",
                Expected::Inject("worker"),
            ),
        ],
    ),
    (
        "SparkApplication (PySpark)",
        "examples/spark-operator",
        &[
            ("-driver", "by the operator", Expected::Inject("driver")),
            ("-exec-", "by the driver", Expected::Inject("executor")),
        ],
    ),
    (
        "spark-submit (PySpark)",
        "examples/spark-submit",
        &[
            ("-driver", "by spark-submit", Expected::Inject("driver")),
            ("-exec-", "by the driver", Expected::Inject("executor")),
        ],
    ),
    (
        "A pod that stays out",
        "examples/jobs/skipped.yaml",
        &[("packet-capture", "by a person", Expected::Skip("opted-out"))],
    ),
    (
        "A pod that is refused, with every mistake at once",
        "examples/jobs/rejected-annotations.yaml",
        &[(
            "mistyped",
            "by a person",
            Expected::Reject("invalid-value,unknown-key"),
        )],
    ),
];

/// All groups, in the order in which they are shown.
pub(crate) fn groups(repository: &Path) -> anyhow::Result<Vec<Group>> {
    let read = |(title, source, expected): (_, &'static str, &[_])| {
        group(title, source, expected, repository).with_context(|| source.to_owned())
    };
    PLAN.into_iter().map(read).collect()
}

fn group(
    title: &'static str,
    source: &'static str,
    expected: &[Expectation],
    repository: &Path,
) -> anyhow::Result<Group> {
    let mut group = Group {
        title,
        source,
        unreviewed: Vec::new(),
        cases: Vec::new(),
    };
    for Document { value, .. } in documents::read(&[repository.join(source)])? {
        let name = value["metadata"]["name"].as_str().unwrap_or_default();
        let kind = value["kind"].as_str().unwrap_or_default();
        if documents::pods(&value).is_empty() {
            group.unreviewed.push(described(kind, name, &value));
            continue;
        }
        let (_, creator, expected) = expected
            .iter()
            .find(|(part, _, _)| name.contains(part))
            .with_context(|| format!("nothing is expected of {kind} {name}"))?;
        let case = |title: &str, origin, pod| Case {
            title: title.to_owned(),
            origin,
            pod,
            expected: *expected,
        };
        match kind {
            "Pod" => group
                .cases
                .push(case(name, (*creator).to_owned(), value.clone())),
            "Deployment" => {
                let replicas = value["spec"]["replicas"].as_u64().unwrap_or(1);
                for number in 1..=replicas {
                    let title = format!("{name}, pod {number} of {replicas}");
                    group
                        .cases
                        .push(case(&title, (*creator).to_owned(), pod_of(&value)));
                }
            }
            other => bail!("{name}: the demo knows no pods of a {other}"),
        }
    }
    ensure!(!group.cases.is_empty(), "there is no pod in it");
    Ok(group)
}

fn described(kind: &str, name: &str, object: &Value) -> String {
    match object["spec"]["type"].as_str() {
        Some(variant) => format!("{kind} {name} ({variant})"),
        None => format!("{kind} {name}"),
    }
}

/// A pod of a Deployment as the `ReplicaSet` controller sends it: the name is the API server's to
/// make.
fn pod_of(deployment: &Value) -> Value {
    // Any ten letters: the real ones are a hash of the template.
    const HASH: &str = "6f7d8b9c54";
    let template = &deployment["spec"]["template"];
    let name = deployment["metadata"]["name"].as_str().unwrap_or_default();
    let mut metadata = template["metadata"].clone();
    metadata["namespace"] = deployment["metadata"]["namespace"].clone();
    metadata["generateName"] = json!(format!("{name}-{HASH}-"));
    metadata["labels"]["pod-template-hash"] = json!(HASH);
    metadata["ownerReferences"] = json!([{
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": format!("{name}-{HASH}"),
        "uid": "5d2c6bb6-35b8-4bbd-8a51-0d6d8b3b1f0e",
        "controller": true,
        "blockOwnerDeletion": true,
    }]);
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
}
