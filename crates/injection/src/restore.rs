//! Undoing an injection: giving a manifest back as its author wrote it.
//!
//! What the defaults do not tell (a rewritten probe, a list that was written as empty) is kept in
//! one annotation beside the plan. It is read here and nowhere else, and it is never trusted: an
//! injected pod is judged by what undoing and injecting again would make of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sparkmesh_policy::names;

use crate::pod::{ContainerList, Field, IntOrStr, PodView, Probe, Spec, StrMap};
use crate::probes::ProbeRewrite;

/// What undoing must know beyond the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Restore {
    /// By container and probe field: the handler as written.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    probes: BTreeMap<String, BTreeMap<String, Map<String, Value>>>,
    /// By JSON pointer: what stood there, where it was not what the defaults say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    was: BTreeMap<String, Was>,
    /// The author chose the default container.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    own_default_container: bool,
}

/// What stood where we added something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Was {
    Absent,
    Null,
    Empty,
}

const METADATA: &str = "/metadata";
const ANNOTATIONS: &str = "/metadata/annotations";
const VOLUMES: &str = "/spec/volumes";
const INIT_CONTAINERS: &str = "/spec/initContainers";

impl Restore {
    /// What must be kept of this pod before it is changed.
    pub(crate) fn of(
        pod: &PodView<'_>,
        spec: &Spec<'_>,
        rewrites: &[ProbeRewrite],
        own_default_container: bool,
    ) -> Restore {
        let mut restore = Restore {
            own_default_container,
            ..Restore::default()
        };
        restore.note(METADATA, was_metadata(&pod.metadata));
        if let Field::Value(metadata) = &pod.metadata {
            restore.note(
                ANNOTATIONS,
                was_list(&metadata.annotations, StrMap::is_empty),
            );
        }
        restore.note(VOLUMES, was_list(&spec.volumes, Vec::is_empty));
        restore.note(
            INIT_CONTAINERS,
            was_list(&spec.init_containers, Vec::is_empty),
        );
        for rewrite in rewrites {
            let list = match rewrite.list {
                ContainerList::Containers => spec.containers.items(),
                ContainerList::InitContainers => spec.init_containers.items(),
            };
            if let Some(probe) = list[rewrite.index].probe(rewrite.kind) {
                restore
                    .probes
                    .entry(rewrite.container.clone())
                    .or_default()
                    .insert(rewrite.kind.field().to_owned(), handler(probe));
            }
        }
        restore
    }

    fn note(&mut self, pointer: &str, was: Option<Was>) {
        if let Some(was) = was {
            self.was.insert(pointer.to_owned(), was);
        }
    }

    /// The annotation's value; none where the defaults tell everything.
    #[must_use]
    pub fn annotation(&self) -> Option<String> {
        (*self != Restore::default())
            .then(|| serde_json::to_string(self).expect("maps with string keys serialise"))
    }
}

/// Metadata is almost always written, so only its absence is worth a note.
fn was_metadata<T>(field: &Field<T>) -> Option<Was> {
    match field {
        Field::Absent => Some(Was::Absent),
        Field::Null => Some(Was::Null),
        Field::Value(_) => None,
    }
}

/// Lists are almost always absent or hold something; both need no note.
fn was_list<T>(field: &Field<T>, is_empty: impl Fn(&T) -> bool) -> Option<Was> {
    match field {
        Field::Absent => None,
        Field::Null => Some(Was::Null),
        Field::Value(list) => is_empty(list).then_some(Was::Empty),
    }
}

/// The fields of a probe that its rewriting changes, as written.
fn handler(probe: &Probe<'_>) -> Map<String, Value> {
    let mut fields = Map::new();
    if let Some(http) = probe.http_get.value() {
        let mut get = Map::new();
        put(&mut get, "path", &http.path, |path| json!(path.as_str()));
        put(&mut get, "port", &http.port, port);
        put(&mut get, "scheme", &http.scheme, |s| json!(s.as_str()));
        fields.insert("httpGet".to_owned(), Value::Object(get));
        return fields;
    }
    if matches!(probe.http_get, Field::Null) {
        fields.insert("httpGet".to_owned(), Value::Null);
    }
    if let Some(tcp) = probe.tcp_socket.value() {
        let mut socket = Map::new();
        put(&mut socket, "port", &tcp.port, port);
        put(&mut socket, "host", &tcp.host, |host| json!(host.as_str()));
        fields.insert("tcpSocket".to_owned(), Value::Object(socket));
    } else if let Some(grpc) = probe.grpc.value() {
        let mut call = Map::new();
        put(&mut call, "port", &grpc.port, |port| json!(port));
        put(&mut call, "service", &grpc.service, |s| json!(s.as_str()));
        fields.insert("grpc".to_owned(), Value::Object(call));
    }
    fields
}

fn port(port: &IntOrStr<'_>) -> Value {
    match port {
        IntOrStr::Int(number) => json!(number),
        IntOrStr::Str(name) => json!(name.as_str()),
    }
}

fn put<T>(
    fields: &mut Map<String, Value>,
    key: &str,
    field: &Field<T>,
    write: impl Fn(&T) -> Value,
) {
    match field {
        Field::Absent => {}
        Field::Null => {
            fields.insert(key.to_owned(), Value::Null);
        }
        Field::Value(value) => {
            fields.insert(key.to_owned(), write(value));
        }
    }
}

/// The note on a pod cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the annotation {key} cannot be read: {message}", key = names::RESTORE_ANNOTATION)]
pub struct UnreadableNote {
    /// What is wrong.
    pub message: String,
}

/// Takes everything of ours out of a pod or a pod template. True if there was something.
pub fn uninject(pod: &mut Value) -> Result<bool, UnreadableNote> {
    let note = match pod
        .pointer(ANNOTATIONS)
        .and_then(|all| all.get(names::RESTORE_ANNOTATION))
        .and_then(Value::as_str)
    {
        None => None,
        Some(text) => {
            Some(
                serde_json::from_str::<Restore>(text).map_err(|error| UnreadableNote {
                    message: error.to_string(),
                })?,
            )
        }
    };
    let had_note = note.is_some();
    let note = note.unwrap_or_default();
    let containers = remove_named(
        pod,
        INIT_CONTAINERS,
        &[names::INIT_CONTAINER, names::PROXY_CONTAINER],
    );
    let volumes = remove_named(pod, VOLUMES, &[names::TOKEN_VOLUME, names::RUN_VOLUME]);
    let marked = pod
        .pointer(ANNOTATIONS)
        .is_some_and(|all| all.get(names::INJECTED_ANNOTATION).is_some());
    if !(containers || volumes || had_note || marked) {
        return Ok(false);
    }
    restore_probes(pod, &note);
    remove_annotations(pod, &note);
    for (pointer, parent, key) in [
        (INIT_CONTAINERS, "/spec", "initContainers"),
        (VOLUMES, "/spec", "volumes"),
        (ANNOTATIONS, METADATA, "annotations"),
    ] {
        restore_emptiness(pod, pointer, parent, key, note.was.get(pointer));
    }
    restore_metadata(pod, &note);
    Ok(true)
}

fn remove_named(pod: &mut Value, list: &str, names: &[&str]) -> bool {
    let Some(Value::Array(items)) = pod.pointer_mut(list) else {
        return false;
    };
    let before = items.len();
    items.retain(|item| {
        !item
            .get("name")
            .and_then(Value::as_str)
            .is_some_and(|name| names.contains(&name))
    });
    items.len() < before
}

fn restore_probes(pod: &mut Value, note: &Restore) {
    for list in [ContainerList::Containers, ContainerList::InitContainers] {
        let Some(Value::Array(containers)) = pod.pointer_mut(&format!("/spec/{}", list.field()))
        else {
            continue;
        };
        for container in containers {
            let name = container.get("name").and_then(Value::as_str).unwrap_or("");
            let Some(probes) = note.probes.get(name) else {
                continue;
            };
            for (field, handler) in probes {
                if let Some(Value::Object(probe)) = container.get_mut(field.as_str())
                    && is_rewritten(probe)
                {
                    restore_handler(probe, handler);
                }
            }
        }
    }
}

/// Somebody may have replaced the probe since: then there is nothing to undo.
fn is_rewritten(probe: &Map<String, Value>) -> bool {
    probe.get("httpGet").is_some_and(|get| {
        get.get("port").and_then(Value::as_u64)
            == Some(u64::from(sparkmesh_policy::port::Port::HEALTH.number()))
    })
}

fn restore_handler(probe: &mut Map<String, Value>, handler: &Map<String, Value>) {
    if let (Some(Value::Object(written)), Some(Value::Object(get))) =
        (handler.get("httpGet"), probe.get_mut("httpGet"))
    {
        for key in ["path", "port", "scheme"] {
            match written.get(key) {
                Some(value) => get.insert(key.to_owned(), value.clone()),
                None => get.remove(key),
            };
        }
        return;
    }
    probe.remove("httpGet");
    for key in ["httpGet", "tcpSocket", "grpc"] {
        if let Some(value) = handler.get(key) {
            probe.insert(key.to_owned(), value.clone());
        }
    }
}

fn remove_annotations(pod: &mut Value, note: &Restore) {
    let Some(Value::Object(annotations)) = pod.pointer_mut(ANNOTATIONS) else {
        return;
    };
    let injected = annotations.remove(names::INJECTED_ANNOTATION).is_some();
    annotations.remove(names::RESTORE_ANNOTATION);
    if injected && !note.own_default_container {
        annotations.remove(names::DEFAULT_CONTAINER_ANNOTATION);
    }
}

fn restore_emptiness(pod: &mut Value, pointer: &str, parent: &str, key: &str, was: Option<&Was>) {
    let emptied = match pod.pointer(pointer) {
        Some(Value::Array(list)) => list.is_empty(),
        Some(Value::Object(map)) => map.is_empty(),
        _ => false,
    };
    let Some(Value::Object(parent)) = pod.pointer_mut(parent) else {
        return;
    };
    if !emptied {
        return;
    }
    match was {
        Some(Was::Empty) => {}
        Some(Was::Null) => {
            parent.insert(key.to_owned(), Value::Null);
        }
        Some(Was::Absent) | None => {
            parent.remove(key);
        }
    }
}

fn restore_metadata(pod: &mut Value, note: &Restore) {
    let Value::Object(pod) = pod else {
        return;
    };
    let emptied = pod
        .get("metadata")
        .and_then(Value::as_object)
        .is_some_and(Map::is_empty);
    if !emptied {
        return;
    }
    match note.was.get(METADATA) {
        Some(Was::Absent) => {
            pod.remove("metadata");
        }
        Some(Was::Null) => {
            pod.insert("metadata".to_owned(), Value::Null);
        }
        Some(Was::Empty) | None => {}
    }
}
