//! Every pod of `tests/pods` that a server takes: what the webhook makes of it is what `sparkmesh
//! inject` makes of it, and the API server takes that, too.

use std::any::Any;
use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use json_patch::Patch;
use serde_json::{Value, json};
use sparkmesh::yaml;

use crate::admission::{self, moved};
use crate::cluster::{repository, say};
use crate::installation::{Installation, decoded};
use crate::review::review;
use crate::{PLAIN, TEAM};

/// What both made of one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// And the API server accepts the result.
    Injected,
    Refused,
    /// As a pod that mirrors a node's file.
    Skipped,
    /// A workload or something else: `inject` alone saw it, and the API server accepts the result.
    NoPod,
}

pub(crate) fn webhook_and_offline_agree_and_the_server_accepts(mesh: &Installation<'_>) {
    let mut tally: BTreeMap<Verdict, usize> = BTreeMap::new();
    let (mut wrong, mut strict) = (Vec::new(), Vec::new());
    for file in files() {
        let name = file.file_name().expect("a file").to_string_lossy();
        for document in documents(&file) {
            let judged = catch_unwind(AssertUnwindSafe(|| judged(mesh, &document)));
            match judged.unwrap_or_else(|panic| Err(said(panic.as_ref()))) {
                Err(error) => wrong.push(format!("{name}: {error}")),
                Ok(verdict) => {
                    *tally.entry(verdict).or_default() += 1;
                    match (name.starts_with("refused-"), verdict) {
                        (true, Verdict::Refused) => {}
                        (true, other) => wrong.push(format!("{name}: {other:?}")),
                        (false, Verdict::Refused) => strict.push(name.to_string()),
                        (false, _) => {}
                    }
                }
            }
        }
    }
    let refused = strict.join(", ");
    say(&format!(
        "note  collected pods: {tally:?}, {} wrong",
        wrong.len()
    ));
    say(&format!(
        "note  refused without a name that says so: {refused}"
    ));
    let wrong_ones = wrong.join("\n");
    assert!(wrong.is_empty(), "{} wrong:\n{wrong_ones}", wrong.len());
    assert!(tally[&Verdict::Injected] > 150, "{tally:?}");
}

/// An error where they do not agree, or the API server does not take what `inject` made.
fn judged(mesh: &Installation<'_>, document: &Value) -> Result<Verdict, String> {
    let pod = moved(document, TEAM);
    let offline = admission::try_injected_offline(mesh, &pod);
    let accepted = |offline: &Value| {
        let stored = mesh.api.create_dry(&moved(offline, PLAIN));
        stored.map_err(|refused| format!("the API server: {refused}"))
    };
    if document["kind"] != "Pod" {
        return match offline {
            Ok(offline) => accepted(&offline).map(|_| Verdict::NoPod),
            Err(_) => Ok(Verdict::Refused),
        };
    }
    match (mesh.api.create_dry(&pod), offline) {
        (Ok(stored), Ok(offline)) => {
            let reviewed = reviewed(mesh, &pod);
            admission::assert_equal("inject and the webhook differ: pod", &offline, &reviewed);
            if offline == pod {
                assert!(!admission::is_injected(&stored), "once so, once so");
                return Ok(Verdict::Skipped);
            }
            admission::assert_injected(&stored);
            admission::assert_same(&stored, &accepted(&offline)?);
            Ok(Verdict::Injected)
        }
        (Err(refused), Err(said)) => {
            let reasons = admission::reasons(&refused.message);
            let alike = reasons
                .iter()
                .all(|reason| said.contains(&format!("[{reason}]")));
            if refused.message.contains("denied the request: sparkmesh: ") && alike {
                Ok(Verdict::Refused)
            } else {
                Err(format!("the webhook: {refused}; inject: {said}"))
            }
        }
        (Err(refused), Ok(_)) => Err(format!("inject does not refuse it; the webhook: {refused}")),
        (Ok(_), Err(said)) => Err(format!("the webhook does not refuse it; inject: {said}")),
    }
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic")
        .to_owned()
}

/// The very same pod, patched as the webhook says.
fn reviewed(mesh: &Installation<'_>, pod: &Value) -> Value {
    let response = review(mesh, mesh.reviewers()[0], pod, "CREATE");
    assert_eq!(response["allowed"], true, "{response}");
    let mut pod = pod.clone();
    if let Some(patch) = response["patch"].as_str() {
        let patch: Patch = serde_json::from_str(&decoded(patch)).expect("a patch");
        json_patch::patch(&mut pod, &patch).expect("it fits");
    }
    pod
}

fn files() -> Vec<PathBuf> {
    let mut all = Vec::new();
    for folder in ["tests/pods/spark", "tests/pods/odd"] {
        let folder = repository().join(folder);
        let entries = fs::read_dir(&folder).expect("the folder is there");
        all.extend(entries.map(|entry| entry.expect("readable").path()));
    }
    all.sort();
    assert!(all.len() > 100, "{}", all.len());
    all
}

/// The documents, with the items of lists on their own.
fn documents(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).expect("readable");
    let documents =
        yaml::documents(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut all = Vec::new();
    for mut document in documents {
        let kind = document["kind"].as_str().unwrap_or_default().to_owned();
        match (kind.strip_suffix("List"), document["items"].take()) {
            (Some(kind), Value::Array(items)) => all.extend(items.into_iter().map(|mut item| {
                if item["kind"].is_null() {
                    item["kind"] = json!(kind);
                    item["apiVersion"] = document["apiVersion"].clone();
                }
                item
            })),
            _ => all.push(document),
        }
    }
    for document in &mut all {
        document.as_object_mut().expect("an object").remove("items");
    }
    all
}
