//! Manifests as people have them: files, folders, standard input, many documents in one, lists.
//!
//! Finds the pods in them and refuses to know what is decided about a pod.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::Value;

/// One document and where it came from.
#[derive(Clone, Debug)]
pub struct Document {
    /// The file, or `-` for standard input.
    pub source: String,
    /// The document as data.
    pub value: Value,
}

/// Where a pod's own fields are in a document, and whose pod it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPlace {
    /// JSON pointer from the document's root to the pod or pod template; empty for a bare pod.
    pub pointer: String,
    /// The kind of the object that holds it.
    pub kind: String,
    /// The object's name, or its prefix.
    pub name: String,
    /// The object's namespace, where one is written.
    pub namespace: Option<String>,
}

impl PodPlace {
    /// The object as messages name it.
    #[must_use]
    pub fn title(&self, namespace: &str) -> String {
        format!("{} {namespace}/{}", self.kind, self.name)
    }
}

/// Reads every document of every path in order; `-` is standard input, a folder means all its
/// `.yaml`, `.yml` and `.json` files, at any depth, by name.
pub fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<Document>> {
    let mut documents = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .context("cannot read standard input as UTF-8 text")?;
            parse("-", &text, &mut documents)?;
        } else {
            let files = files_of(path)?;
            if files.is_empty() {
                bail!(
                    "{}: no .yaml, .yml or .json file in this folder",
                    path.display()
                );
            }
            for file in files {
                let text = std::fs::read_to_string(&file)
                    .with_context(|| format!("cannot read {}", file.display()))?;
                parse(&file.display().to_string(), &text, &mut documents)?;
            }
        }
    }
    Ok(documents)
}

fn files_of(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let about = || format!("cannot read {}", path.display());
    if !std::fs::metadata(path).with_context(about)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut entries = std::fs::read_dir(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(about)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    let mut files = Vec::new();
    for entry in entries {
        let inner = entry.path();
        // A link is followed to a file but not to a folder: links to folders can lead in circles.
        if entry.file_type().with_context(about)?.is_dir() {
            files.extend(files_of(&inner)?);
        } else if is_manifest(&inner) && inner.is_file() {
            files.push(inner);
        }
    }
    Ok(files)
}

fn is_manifest(path: &Path) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| ["yaml", "yml", "json"].contains(&extension))
}

fn parse(source: &str, text: &str, documents: &mut Vec<Document>) -> anyhow::Result<()> {
    let values =
        crate::yaml::documents(text).map_err(|error| anyhow::anyhow!("{source}: {error}"))?;
    documents.extend(values.into_iter().map(|value| Document {
        source: source.to_owned(),
        value,
    }));
    Ok(())
}

/// The places of all pods and pod templates in a document, in order.
#[must_use]
pub fn pods(document: &Value) -> Vec<PodPlace> {
    let mut places = Vec::new();
    collect(document, "", &mut places);
    places
}

/// The objects of a document: itself or, where it is a list of any kind, its items.
#[must_use]
pub fn objects(document: &Value) -> Vec<&Value> {
    let is_list = document["kind"]
        .as_str()
        .is_some_and(|kind| kind.ends_with("List"));
    match &document["items"] {
        Value::Array(items) if is_list => items.iter().flat_map(objects).collect(),
        _ => vec![document],
    }
}

fn collect(object: &Value, pointer: &str, places: &mut Vec<PodPlace>) {
    let text = |at: &str| object.pointer(at).and_then(Value::as_str);
    let (Some(api_version), Some(kind)) = (text("/apiVersion"), text("/kind")) else {
        return;
    };
    if kind.ends_with("List")
        && let Some(Value::Array(items)) = object.get("items")
    {
        for (index, item) in items.iter().enumerate() {
            collect(item, &format!("{pointer}/items/{index}"), places);
        }
        return;
    }
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let Some(template) = template_of(group, kind) else {
        return;
    };
    if object.pointer(template).is_none_or(Value::is_null) {
        return;
    }
    let name = text("/metadata/name").or_else(|| text("/metadata/generateName"));
    places.push(PodPlace {
        pointer: format!("{pointer}{template}"),
        kind: kind.to_owned(),
        name: name.unwrap_or("(no name)").to_owned(),
        namespace: text("/metadata/namespace").map(str::to_owned),
    });
}

/// Where objects of this type have their pod or pod template.
fn template_of(group: &str, kind: &str) -> Option<&'static str> {
    match (group, kind) {
        ("", "Pod") => Some(""),
        ("", "PodTemplate") => Some("/template"),
        ("", "ReplicationController")
        | ("apps" | "extensions", "Deployment" | "DaemonSet" | "ReplicaSet")
        | ("apps", "StatefulSet")
        | ("batch", "Job") => Some("/spec/template"),
        ("batch", "CronJob") => Some("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_are_found_wherever_kubernetes_keeps_them() {
        let template = json!({"spec": {"containers": []}});
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {}},
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "b"}, "spec": {}},
            {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c", "namespace": "n"},
             "spec": {"jobTemplate": {"spec": {"template": template}}}},
            {"apiVersion": "v1", "kind": "List", "items": [
                {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"generateName": "d-"},
                 "spec": {"template": template}},
            ]},
        ]});
        let found: Vec<_> = pods(&list)
            .into_iter()
            .map(|place| (place.pointer, place.name, place.namespace))
            .collect();
        assert_eq!(
            found,
            [
                ("/items/0".to_owned(), "a".to_owned(), None),
                (
                    "/items/2/spec/jobTemplate/spec/template".to_owned(),
                    "c".to_owned(),
                    Some("n".to_owned())
                ),
                (
                    "/items/3/items/0/spec/template".to_owned(),
                    "d-".to_owned(),
                    None
                ),
            ]
        );
    }

    #[test]
    fn other_groups_kinds_of_the_same_name_are_left_alone() {
        let object =
            json!({"apiVersion": "example.org/v1", "kind": "Deployment", "spec": {"template": {}}});
        assert!(pods(&object).is_empty());
    }
}
