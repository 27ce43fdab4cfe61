//! Pods that already carry something under our names: injected before, changed since by somebody
//! else's webhook, or forged.
//!
//! Nothing such a pod says of itself is believed. Ours is taken out, the decision is made on what
//! remains, and the outcome is compared with what is there: equal means done, a difference is put
//! right, and a container of another image under one of our names is refused. So a second pass
//! settles, whatever other webhooks did in between.

use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation};
use serde_json::Value;
use sparkmesh_policy::names;

use crate::config::repository_of;
use crate::decide::{Decision, Injection};
use crate::patch::pointer;
use crate::plan::InjectionPlan;
use crate::pod::{ContainerList, PodView};
use crate::restore::{self, UnreadableNote};
use crate::violation::{Refusal, SkipReason, Violation};

const OUR_CONTAINERS: [&str; 2] = [names::INIT_CONTAINER, names::PROXY_CONTAINER];
const OUR_VOLUMES: [&str; 2] = [names::TOKEN_VOLUME, names::RUN_VOLUME];

/// Whether something in the pod has one of our names.
pub(crate) fn carries_ours(pod: &PodView<'_>) -> bool {
    let Some(spec) = pod.spec() else {
        return false;
    };
    spec.init_containers
        .items()
        .iter()
        .any(|container| OUR_CONTAINERS.contains(&container.name.as_str()))
        || spec
            .volumes
            .items()
            .iter()
            .any(|volume| OUR_VOLUMES.contains(&volume.name.as_str()))
        || pod.meta().annotation(names::RESTORE_ANNOTATION).is_some()
}

/// Decides about such a pod; `fresh` decides about a pod that is as its author wrote it.
pub(crate) fn decide(
    current: &Value,
    fresh: impl FnOnce(&PodView<'_>) -> Decision,
) -> Result<Decision, UnreadableNote> {
    let mut original = current.clone();
    restore::uninject(&mut original)?;
    let view = match PodView::from_value(&original) {
        Ok(view) => view,
        Err(error) => {
            return Err(UnreadableNote {
                message: format!("it does not lead back to a pod: {error}"),
            });
        }
    };
    let injection = match fresh(&view) {
        Decision::Inject(injection) => injection,
        other => return Ok(other),
    };
    let mut desired = original.clone();
    json_patch::patch(&mut desired, &injection.patch)
        .expect("a patch fits the pod that it was made for");
    let forged = forgeries(current, &desired);
    if !forged.is_empty() {
        return Ok(Decision::Reject(forged));
    }
    let patch = difference(&injection.plan, current, &desired);
    if patch.0.is_empty() {
        return Ok(Decision::Skip(SkipReason::AlreadyInjected));
    }
    Ok(Decision::Inject(Box::new(Injection {
        plan: injection.plan,
        patch,
    })))
}

/// Containers and volumes that have our names and were never ours. Another tag of the same image
/// is another release of ours and is put right.
fn forgeries(current: &Value, desired: &Value) -> Vec<Violation> {
    let mut found = Vec::new();
    for name in OUR_CONTAINERS {
        let Some((index, container)) = named(current, "/spec/initContainers", name) else {
            continue;
        };
        let (_, ours) = named(desired, "/spec/initContainers", name)
            .expect("an injected pod has our containers");
        let image = |container: &Value| {
            let image = container.get("image").and_then(Value::as_str);
            image.map(|image| repository_of(image).to_owned())
        };
        if image(container) != image(ours) {
            found.push(Violation {
                reason: Refusal::ReservedName,
                pointer: format!("/spec/initContainers/{index}"),
                message: format!(
                    "the container name {name} is sparkmesh's own, and this container's image is \
                     not the one it runs"
                ),
                remedy: "rename the container".to_owned(),
            });
        }
    }
    for name in OUR_VOLUMES {
        let Some((index, volume)) = named(current, "/spec/volumes", name) else {
            continue;
        };
        let (_, ours) =
            named(desired, "/spec/volumes", name).expect("an injected pod has our volumes");
        if !covers(ours, volume) {
            found.push(Violation {
                reason: Refusal::ReservedName,
                pointer: format!("/spec/volumes/{index}/name"),
                message: format!("the volume name {name} is sparkmesh's own"),
                remedy: "rename the volume".to_owned(),
            });
        }
    }
    found
}

fn named<'v>(pod: &'v Value, list: &str, name: &str) -> Option<(usize, &'v Value)> {
    let items = pod.pointer(list)?.as_array()?;
    items
        .iter()
        .enumerate()
        // Templates may leave the one container without a name, which a view reads as empty.
        .find(|(_, item)| item.get("name").map_or(Some(""), Value::as_str) == Some(name))
}

/// The operations that turn what is there into what should be, touching only what is ours.
fn difference(plan: &InjectionPlan, current: &Value, desired: &Value) -> Patch {
    let mut ops = Vec::new();
    put_containers_right(&mut ops, current, desired);
    put_probes_right(&mut ops, plan, current, desired);
    for name in OUR_VOLUMES {
        if named(current, "/spec/volumes", name).is_none() {
            let (_, ours) =
                named(desired, "/spec/volumes", name).expect("an injected pod has our volumes");
            let has_list = current
                .pointer("/spec/volumes")
                .is_some_and(Value::is_array)
                || ops.iter().any(|op: &PatchOperation| {
                    matches!(op, PatchOperation::Add(add) if add.path.as_str() == "/spec/volumes")
                });
            if has_list {
                add(&mut ops, "/spec/volumes/-", ours.clone());
            } else {
                add(&mut ops, "/spec/volumes", Value::Array(vec![ours.clone()]));
            }
        }
    }
    put_annotations_right(&mut ops, current, desired);
    Patch(ops)
}

/// Ours must be the first two and as planned; if not, both are taken out and put in anew.
fn put_containers_right(ops: &mut Vec<PatchOperation>, current: &Value, desired: &Value) {
    const LIST: &str = "/spec/initContainers";
    let empty = Vec::new();
    let there = current.pointer(LIST).and_then(Value::as_array);
    let ours = desired
        .pointer(LIST)
        .and_then(Value::as_array)
        .expect("an injected pod has init containers");
    let first = there.unwrap_or(&empty);
    let is_ours = |container: &Value| {
        let name = container.get("name").and_then(Value::as_str);
        name.is_some_and(|name| OUR_CONTAINERS.contains(&name))
    };
    let right = (0..OUR_CONTAINERS.len())
        .all(|i| first.get(i).is_some_and(|actual| covers(&ours[i], actual)))
        && !first.iter().skip(OUR_CONTAINERS.len()).any(is_ours);
    if right {
        return;
    }
    if there.is_none() {
        add(ops, LIST, Value::Array(Vec::new()));
    }
    for (index, container) in first.iter().enumerate().rev() {
        if is_ours(container) {
            remove(ops, &format!("{LIST}/{index}"));
        }
    }
    for (index, container) in ours.iter().take(OUR_CONTAINERS.len()).enumerate() {
        add(ops, &format!("{LIST}/{index}"), container.clone());
    }
}

fn put_probes_right(
    ops: &mut Vec<PatchOperation>,
    plan: &InjectionPlan,
    current: &Value,
    desired: &Value,
) {
    for rewrite in &plan.probes {
        // By now ours stand first in the list of init containers.
        let index = match rewrite.list {
            ContainerList::Containers => rewrite.index,
            ContainerList::InitContainers => rewrite.index + OUR_CONTAINERS.len(),
        };
        let list = format!("/spec/{}", rewrite.list.field());
        let at = format!("{list}/{index}/{}", rewrite.kind.field());
        let wanted = desired.pointer(&at).expect("the plan's probes exist");
        let actual = named(current, &list, &rewrite.container)
            .and_then(|(_, container)| container.get(rewrite.kind.field()));
        if !actual.is_some_and(|actual| covers(wanted, actual)) {
            add(ops, &at, wanted.clone());
        }
    }
}

fn put_annotations_right(ops: &mut Vec<PatchOperation>, current: &Value, desired: &Value) {
    let map = |pod: &Value| {
        let map = pod.pointer("/metadata/annotations");
        map.and_then(Value::as_object).cloned()
    };
    let wanted = map(desired).unwrap_or_default();
    let Some(actual) = map(current) else {
        match current.get("metadata") {
            Some(Value::Object(_)) => add(ops, "/metadata/annotations", Value::Object(wanted)),
            _ => add(
                ops,
                "/metadata",
                serde_json::json!({ "annotations": wanted }),
            ),
        }
        return;
    };
    let at = |key: &str| format!("/metadata/annotations/{}", key.replace('/', "~1"));
    for (key, value) in &wanted {
        if actual.get(key) != Some(value) {
            add(ops, &at(key), value.clone());
        }
    }
    let stale = names::RESTORE_ANNOTATION;
    if actual.contains_key(stale) && !wanted.contains_key(stale) {
        remove(ops, &at(stale));
    }
}

fn add(ops: &mut Vec<PatchOperation>, path: &str, value: Value) {
    ops.push(PatchOperation::Add(AddOperation {
        path: pointer(path),
        value,
    }));
}

fn remove(ops: &mut Vec<PatchOperation>, path: &str) {
    ops.push(PatchOperation::Remove(RemoveOperation {
        path: pointer(path),
    }));
}

/// Fields that the API server itself adds to what was left out, and that change nothing.
const SERVER_DEFAULTS: [&str; 10] = [
    "apiVersion",
    "defaultMode",
    "failureThreshold",
    "imagePullPolicy",
    "protocol",
    "scheme",
    "successThreshold",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "timeoutSeconds",
];
/// Whether `actual` is `planned`, give or take what the API server adds by itself: its defaults
/// and amounts that a `LimitRange` fills in.
fn covers(planned: &Value, actual: &Value) -> bool {
    match (planned, actual) {
        (Value::Object(planned), Value::Object(actual)) => {
            planned.iter().all(|(key, value)| {
                actual.get(key).is_some_and(|found| match key.as_str() {
                    "resources" => covers_amounts(value, found),
                    _ => covers(value, found),
                })
            }) && actual.keys().all(|key| {
                planned.contains_key(key)
                    || key == "resources"
                    || SERVER_DEFAULTS.contains(&key.as_str())
            })
        }
        (Value::Array(planned), Value::Array(actual)) => {
            planned.len() == actual.len()
                && planned
                    .iter()
                    .zip(actual)
                    .all(|(planned, actual)| covers(planned, actual))
        }
        _ => planned == actual,
    }
}

/// Every planned amount is there; others may have been added.
fn covers_amounts(planned: &Value, actual: &Value) -> bool {
    match (planned, actual) {
        (Value::Object(planned), Value::Object(actual)) => planned.iter().all(|(key, value)| {
            actual
                .get(key)
                .is_some_and(|found| covers_amounts(value, found))
        }),
        _ => planned == actual,
    }
}
