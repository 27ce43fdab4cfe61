//! Every pod of `tests/pods` that a server takes: what the webhook makes of it is what `sparkmesh
//! inject` makes of it, and the API server takes that, too.

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

/// What came of one document.
enum Outcome {
    Injected,
    /// As the pod of a node's file.
    Skipped,
    Refused,
    /// A workload or something else, which no webhook of ours sees.
    Passed,
}

pub(crate) fn webhook_and_offline_agree_and_the_server_accepts(mesh: &Installation<'_>) {
    let mut wrong = Vec::new();
    let (mut injected, mut skipped, mut refused, mut passed) = (0, 0, 0, 0);
    for file in files() {
        let name = file
            .strip_prefix(repository())
            .expect("inside")
            .display()
            .to_string();
        for document in documents(&file) {
            let expect_refusal = name.contains("/refused-");
            let tried = catch_unwind(AssertUnwindSafe(|| {
                go_through(mesh, &document, expect_refusal)
            }));
            match tried {
                Ok(Ok(Outcome::Injected)) => injected += 1,
                Ok(Ok(Outcome::Skipped)) => skipped += 1,
                Ok(Ok(Outcome::Refused)) => refused += 1,
                Ok(Ok(Outcome::Passed)) => passed += 1,
                Ok(Err(error)) => wrong.push(format!("{name}: {error}")),
                Err(panic) => {
                    let said = panic.downcast_ref::<String>().map(String::as_str);
                    wrong.push(format!("{name}: {}", said.unwrap_or("see above")));
                }
            }
        }
    }
    say(&format!(
        "note   pods tried: {injected} injected alike by both and accepted, {skipped} skipped and \
         {refused} refused by both, {passed} workloads and others accepted as inject wrote them, {} wrong",
        wrong.len()
    ));
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

fn go_through(mesh: &Installation<'_>, document: &Value, refusal: bool) -> Result<Outcome, String> {
    if document["kind"] != "Pod" {
        let offline = admission::try_injected_offline(mesh, &moved(document, PLAIN));
        return match (offline, refusal) {
            (Err(_), true) => Ok(Outcome::Refused),
            (Err(said), false) => Err(format!("inject: {said}")),
            (Ok(_), true) => Err("inject does not refuse it".to_owned()),
            (Ok(offline), false) => match mesh.api.create_dry(&offline) {
                Ok(_) => Ok(Outcome::Passed),
                Err(refused) => Err(format!("the API server: {refused}")),
            },
        };
    }
    let pod = moved(document, TEAM);
    let offline = admission::try_injected_offline(mesh, &pod);
    match (mesh.api.create_dry(&pod), refusal) {
        (Err(refused), true) => {
            let ours = refused.message.contains("denied the request: sparkmesh: ");
            match (ours, offline) {
                (true, Err(_)) => Ok(Outcome::Refused),
                (false, _) => Err(format!("not ours: {refused}")),
                (true, Ok(_)) => Err(format!("inject does not refuse it; the webhook: {refused}")),
            }
        }
        (Ok(_), true) => Err("the webhook does not refuse it".to_owned()),
        (Err(refused), false) => Err(format!("the webhook: {refused}")),
        (Ok(stored), false) => {
            let offline = offline.map_err(|said| format!("inject: {said}"))?;
            let reviewed = reviewed(mesh, &pod);
            admission::assert_equal("inject and the webhook differ: pod", &offline, &reviewed);
            if offline == pod {
                assert!(
                    !admission::is_injected(&stored),
                    "the second look is another"
                );
                return Ok(Outcome::Skipped);
            }
            admission::assert_injected(&stored);
            let accepted = mesh.api.create_dry(&moved(&offline, PLAIN));
            let accepted = accepted.map_err(|refused| format!("the API server: {refused}"))?;
            admission::assert_same(&stored, &accepted);
            Ok(Outcome::Injected)
        }
    }
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
