//! Facts from the manifests of a folder: `Namespace` and `MeshBaseline` documents, the rest is
//! passed over. The folder is looked at again and again; what cannot be read changes nothing.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde_json::Value;
use sparkmesh_injection::facts::{MeshFacts, NamespaceFacts};
use sparkmesh_policy::names;

use super::{Board, baseline};
use crate::yaml;

/// Reads the folder once and then keeps the board up to date.
pub(super) fn follow(folder: PathBuf, poll: Duration) -> anyhow::Result<Board> {
    let board = Board::fixed(read(&folder)?);
    tokio::spawn(keep_up(board.clone(), folder, poll));
    Ok(board)
}

async fn keep_up(board: Board, folder: PathBuf, poll: Duration) {
    let mut last_error = None;
    loop {
        tokio::time::sleep(poll).await;
        let from = folder.clone();
        let found = tokio::task::spawn_blocking(move || read(&from)).await;
        match found.map_err(anyhow::Error::from).flatten() {
            Ok(facts) => {
                last_error = None;
                if differs(&facts, &board.snapshot()) {
                    tracing::info!(folder = %folder.display(), "facts changed");
                    board.replace(facts);
                }
            }
            Err(error) => {
                let error = format!("{error:#}");
                if last_error.as_ref() != Some(&error) {
                    board.count_refused("facts");
                    tracing::warn!(error, "facts are kept as they were");
                    last_error = Some(error);
                }
            }
        }
    }
}

fn differs(a: &MeshFacts, b: &MeshFacts) -> bool {
    a.baseline != b.baseline || a.namespaces != b.namespaces
}

fn read(folder: &Path) -> anyhow::Result<MeshFacts> {
    load(folder).map(Gathered::into_facts)
}

/// Reads the folder once.
pub(crate) fn load(folder: &Path) -> anyhow::Result<Gathered> {
    let mut gathered = Gathered::default();
    for file in manifests(folder)? {
        let place = file.display().to_string();
        let text = std::fs::read_to_string(&file).with_context(|| place.clone())?;
        let documents = yaml::documents(&text)
            .map_err(|e| anyhow!("{place}:{}:{}: {}", e.line, e.column, e.message))?;
        for document in &documents {
            gathered.learn(&place, document)?;
        }
    }
    Ok(gathered)
}

/// Facts gathered from manifests, and where the baseline was found.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    facts: MeshFacts,
    baseline_place: Option<String>,
}

impl Gathered {
    /// Takes what matters from a document found at `place`; all other kinds are passed over.
    pub(crate) fn learn(&mut self, place: &str, document: &Value) -> anyhow::Result<()> {
        for object in items(document) {
            match kind(object) {
                ("v1", "Namespace") => {
                    let namespace = namespace(object).with_context(|| place.to_owned())?;
                    if let Some(twice) = insert(&mut self.facts.namespaces, namespace) {
                        bail!("{place}: the namespace `{twice}` is described twice, differently");
                    }
                }
                (version, "MeshBaseline") if group(version) == names::GROUP => {
                    let baseline = baseline::baseline_from(object)
                        .map_err(|error| anyhow!("{place}: MeshBaseline: {error}"))?;
                    // The same file may be among several paths.
                    if let Some(other) = self.baseline_place.replace(place.to_owned())
                        && *self.facts.baseline != baseline
                    {
                        bail!("{place}: a second MeshBaseline, other than that in {other}");
                    }
                    self.facts.baseline = Arc::new(baseline);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// All of it.
    pub(crate) fn into_facts(self) -> MeshFacts {
        self.facts
    }
}

/// The manifest files right in the folder, by name.
fn manifests(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("cannot read the folder {} (--from-files)", folder.display()))?;
    let mut files = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()?;
    files.retain(|file| {
        let extension = file.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("yaml" | "yml" | "json")) && file.is_file()
    });
    files.sort();
    Ok(files)
}

/// The objects of a document: itself, or the items where it is a list of any kind.
fn items(document: &Value) -> Vec<&Value> {
    match document.get("items") {
        Some(Value::Array(items)) if kind(document).1.ends_with("List") => items.iter().collect(),
        _ => vec![document],
    }
}

fn kind(document: &Value) -> (&str, &str) {
    let text = |key| document.get(key).and_then(Value::as_str).unwrap_or("");
    (text("apiVersion"), text("kind"))
}

fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

fn namespace(document: &Value) -> anyhow::Result<NamespaceFacts> {
    let metadata = &document["metadata"];
    let name = metadata["name"]
        .as_str()
        .ok_or_else(|| anyhow!("a Namespace without metadata.name"))?;
    let texts = |key: &str| -> anyhow::Result<BTreeMap<String, String>> {
        let texts: Option<_> =
            serde_json::from_value(metadata[key].clone()).with_context(|| {
                format!("Namespace `{name}`: metadata.{key}: values must be text; quote them")
            })?;
        Ok(texts.unwrap_or_default())
    };
    let (labels, annotations) = (texts("labels")?, texts("annotations")?);
    Ok(NamespaceFacts::from_metadata(
        name,
        Some(&labels),
        Some(&annotations),
    ))
}

/// The namespace's name if another description of it is known that says something else.
fn insert(
    all: &mut HashMap<String, Arc<NamespaceFacts>>,
    namespace: NamespaceFacts,
) -> Option<String> {
    let name = namespace.name.clone();
    let namespace = Arc::new(namespace);
    let before = all.insert(name.clone(), namespace.clone());
    before
        .is_some_and(|before| before != namespace)
        .then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).expect("written");
        }
        folder
    }

    const TEAM: &str = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: team\n  labels: {sparkmesh.dev/injection: enabled}\n";
    const BASELINE: &str = "apiVersion: sparkmesh.dev/v1alpha1\nkind: MeshBaseline\nmetadata: {name: default}\nspec: {injection: {optOut: Allow}}\n";

    #[test]
    fn namespaces_and_baseline_are_taken_from_any_file_and_other_kinds_passed_over() {
        let several = format!("{TEAM}---\nkind: Pod\napiVersion: v1\n---\n{BASELINE}");
        let list = r#"{"apiVersion": "v1", "kind": "NamespaceList", "items": [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other", "labels": null}}]}"#;
        let folder = folder(&[("a.yaml", &several), ("b.json", list), ("c.txt", "[")]);
        let facts = read(folder.path()).expect("readable");
        assert!(facts.namespaces["team"].injection);
        assert!(!facts.namespaces["other"].injection);
        assert_eq!(
            facts.baseline.opt_out,
            sparkmesh_policy::baseline::OptOut::Allow
        );
    }

    #[test]
    fn an_error_names_the_file_and_the_line() {
        let error = |files: &[(&str, &str)]| {
            let folder = folder(files);
            format!("{:#}", read(folder.path()).expect_err("must fail"))
        };
        let syntax = error(&[("a.yaml", "a: 1\nb: [\n")]);
        assert!(syntax.contains("a.yaml:"), "{syntax}");
        let label = error(&[("n.yaml", &TEAM.replace("enabled", "yes"))]);
        assert!(
            label.contains("n.yaml") && label.contains("quote"),
            "{label}"
        );
        let twice = error(&[
            ("a.yaml", TEAM),
            ("b.yaml", &TEAM.replace("enabled", "disabled")),
        ]);
        assert!(
            twice.contains("b.yaml") && twice.contains("`team`"),
            "{twice}"
        );
        let value = error(&[("b.yaml", &BASELINE.replace("Allow", "Maybe"))]);
        assert!(
            value.contains("b.yaml") && value.contains("optOut"),
            "{value}"
        );
    }
}
