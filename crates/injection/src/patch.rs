//! The plan as a JSON patch (RFC 6902), built directly from what the view saw.
//!
//! It only adds, but for the handlers of rewritten probes. Nothing of the pod is compared or
//! copied, so the cost does not grow with what the pod holds besides.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation};
use serde_json::{Map, Value, json};
use sparkmesh_policy::names;
use sparkmesh_policy::port::Port;

use crate::bootstrap::Check;
use crate::config::MeshConfig;
use crate::containers;
use crate::plan::InjectionPlan;
use crate::pod::{Field, PodView, Spec};
use crate::probes::ProbeRewrite;

/// The patch that makes a pod, which is as its author wrote it, what the plan says.
#[must_use]
pub fn build(
    plan: &InjectionPlan,
    pod: &PodView<'_>,
    spec: &Spec<'_>,
    config: &MeshConfig,
) -> Patch {
    let mut ops = Ops(Vec::with_capacity(10 + 4 * plan.probes.len()));
    let bootstrap = plan.bootstrap(config);
    for rewrite in &plan.probes {
        rewrite_probe(&mut ops, rewrite);
    }
    annotate(&mut ops, plan, pod, plan.hash(config));
    append_all(
        &mut ops,
        "/spec/volumes",
        &spec.volumes,
        containers::volumes(),
    );
    let ours = vec![
        containers::init(plan, config),
        containers::proxy(plan, config, &bootstrap),
    ];
    prepend_all(&mut ops, &spec.init_containers, ours);
    Patch(ops.0)
}

struct Ops(Vec<PatchOperation>);

impl Ops {
    fn add(&mut self, path: &str, value: Value) {
        self.0.push(PatchOperation::Add(AddOperation {
            path: pointer(path),
            value,
        }));
    }

    fn remove(&mut self, path: &str) {
        self.0.push(PatchOperation::Remove(RemoveOperation {
            path: pointer(path),
        }));
    }
}

/// Paths here are made of constants, indices and escaped keys.
pub(crate) fn pointer(path: &str) -> PointerBuf {
    PointerBuf::parse(path).expect("our own paths are valid pointers")
}

fn rewrite_probe(ops: &mut Ops, rewrite: &ProbeRewrite) {
    let at = format!(
        "/spec/{}/{}/{}",
        rewrite.list.field(),
        rewrite.index,
        rewrite.kind.field()
    );
    let health = json!(Port::HEALTH);
    match &rewrite.probe.check {
        Check::Http { tls, .. } => {
            ops.add(&format!("{at}/httpGet/path"), json!(rewrite.probe.path));
            ops.add(&format!("{at}/httpGet/port"), health);
            if *tls {
                ops.add(&format!("{at}/httpGet/scheme"), json!("HTTP"));
            }
        }
        Check::Tcp { .. } => {
            ops.remove(&format!("{at}/tcpSocket"));
            ops.add(
                &format!("{at}/httpGet"),
                json!({"path": rewrite.probe.path, "port": health}),
            );
        }
        Check::Grpc { .. } => {
            ops.remove(&format!("{at}/grpc"));
            ops.add(
                &format!("{at}/httpGet"),
                json!({"path": rewrite.probe.path, "port": health}),
            );
        }
    }
}

fn annotate(ops: &mut Ops, plan: &InjectionPlan, pod: &PodView<'_>, hash: String) {
    let mut annotations = vec![(names::INJECTED_ANNOTATION, hash)];
    if let Some(container) = &plan.default_container {
        annotations.push((names::DEFAULT_CONTAINER_ANNOTATION, container.clone()));
    }
    if let Some(note) = plan.restore.annotation() {
        annotations.push((names::RESTORE_ANNOTATION, note));
    }
    let written = match &pod.metadata {
        Field::Value(metadata) => metadata.annotations.value().is_some(),
        Field::Absent | Field::Null => {
            let all = object(annotations);
            ops.add("/metadata", json!({ "annotations": all }));
            return;
        }
    };
    if written {
        for (key, value) in annotations {
            let key = key.replace('/', "~1");
            ops.add(
                &format!("/metadata/annotations/{key}"),
                Value::String(value),
            );
        }
    } else {
        ops.add("/metadata/annotations", object(annotations));
    }
}

fn object(pairs: Vec<(&str, String)>) -> Value {
    let map: Map<String, Value> = pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), Value::String(value)))
        .collect();
    Value::Object(map)
}

fn append_all<T>(ops: &mut Ops, list: &str, written: &Field<Vec<T>>, items: Vec<Value>) {
    if written.value().is_none() {
        ops.add(list, Value::Array(items));
        return;
    }
    for item in items {
        ops.add(&format!("{list}/-"), item);
    }
}

/// Ours come first, in order, so that the author's init containers have the network through the
/// mesh.
fn prepend_all<T>(ops: &mut Ops, written: &Field<Vec<T>>, items: Vec<Value>) {
    const LIST: &str = "/spec/initContainers";
    if written.value().is_none() {
        ops.add(LIST, Value::Array(items));
        return;
    }
    for (index, item) in items.into_iter().enumerate() {
        ops.add(&format!("{LIST}/{index}"), item);
    }
}
