//! The collected pods of `tests/pods` and `examples`, each taken through the whole journey.
//!
//! What is decided about each is kept in one snapshot, to be read when it changes; what must hold
//! for all of them is said here.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sparkmesh::offline::documents::{self, PodPlace};
use sparkmesh::webhook::review::{Mesh, answer};
use sparkmesh::yaml;
use sparkmesh_injection::decide::{Decision, RawPod, Scope, decide};
use sparkmesh_injection::facts::{MeshFacts, NamespaceFacts, PodSecurity};
use sparkmesh_injection::restore::uninject;
use sparkmesh_injection::violation::SkipReason;

const NAMESPACE: &str = "spark";

fn files(folder: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&root)
        .unwrap_or_else(|error| panic!("{}: {error}", root.display()))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}

fn name(file: &Path) -> &str {
    file.file_name()
        .and_then(|name| name.to_str())
        .expect("names are UTF-8")
}

/// Every pod and pod template of a file.
fn pods(file: &Path) -> Vec<(PodPlace, Value)> {
    let text = std::fs::read_to_string(file).expect("readable");
    let documents =
        yaml::documents(&text).unwrap_or_else(|error| panic!("{}: {error}", name(file)));
    documents
        .iter()
        .flat_map(|document| {
            documents::pods(document).into_iter().map(|place| {
                let pod = document.pointer(&place.pointer).expect("found").clone();
                (place, pod)
            })
        })
        .collect()
}

/// The mesh of these tests: one labelled namespace, no baseline.
fn mesh() -> Mesh {
    let namespace = NamespaceFacts {
        name: NAMESPACE.to_owned(),
        injection: true,
        pod_security: PodSecurity::Unset,
        openshift_uid_range: false,
    };
    Mesh {
        facts: std::sync::Arc::new(MeshFacts {
            namespaces: [(NAMESPACE.to_owned(), std::sync::Arc::new(namespace))].into(),
            ..MeshFacts::default()
        }),
        ..Mesh::default()
    }
}

fn decided(pod: &Value) -> Decision {
    let mesh = mesh();
    decide(
        RawPod::Value(pod),
        &Scope {
            config: &mesh.config,
            baseline: &mesh.facts.baseline,
            namespace: (
                NAMESPACE,
                mesh.facts.namespaces.get(NAMESPACE).map(AsRef::as_ref),
            ),
        },
    )
}

fn everything() -> Vec<PathBuf> {
    ["tests/pods/odd", "tests/pods/spark", "tests/pods/offline"]
        .into_iter()
        .chain([
            "examples/spark-standalone",
            "examples/spark-submit",
            "examples/spark-operator",
            "examples/jobs",
        ])
        .flat_map(files)
        .filter(|file| file.extension().is_none_or(|extension| extension != "md"))
        .collect()
}

#[test]
fn each_pod_gets_the_decision_that_was_reviewed() {
    let mut lines = Vec::new();
    for file in everything() {
        for (place, pod) in pods(&file) {
            let decision = match decided(&pod) {
                Decision::Inject(injection) => {
                    let plan = injection.plan;
                    let warned = if plan.warnings.is_empty() {
                        ""
                    } else {
                        ", warned"
                    };
                    format!(
                        "inject as {}, {} probes, http {:?}{warned}",
                        plan.role.word(),
                        plan.probes.len(),
                        plan.http_ports
                            .iter()
                            .map(|port| port.number())
                            .collect::<Vec<_>>(),
                    )
                }
                Decision::Skip(reason) => format!("skip {}", reason.code()),
                Decision::Reject(violations) => {
                    let reasons: Vec<_> = violations.iter().map(|v| v.reason.code()).collect();
                    format!("reject {}", reasons.join(", "))
                }
            };
            lines.push(format!(
                "{} {} {}: {decision}",
                name(&file),
                place.kind,
                place.name
            ));
        }
    }
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn what_is_named_refused_is_refused() {
    let files = files("tests/pods/odd")
        .into_iter()
        .chain(files("tests/pods/yaml"));
    for file in files
        .filter(|file| name(file).starts_with("refused-") && !name(file).ends_with(".kubectl.json"))
    {
        let refused = pods(&file)
            .iter()
            .any(|(_, pod)| matches!(decided(pod), Decision::Reject(_)));
        assert!(refused, "{} was not refused", name(&file));
    }
}

/// The pod without what a rewriting may change: the handlers of its probes.
fn without_handlers(container: &Value) -> Value {
    let mut container = container.clone();
    for field in ["readinessProbe", "livenessProbe", "startupProbe"] {
        if let Some(Value::Object(probe)) = container.get_mut(field) {
            for handler in ["tcpSocket", "grpc"] {
                probe.remove(handler);
            }
            if let Some(Value::Object(get)) = probe.get_mut("httpGet") {
                for key in ["path", "port", "scheme"] {
                    get.remove(key);
                }
                if get.is_empty() {
                    probe.remove("httpGet");
                }
            } else {
                probe.remove("httpGet");
            }
        }
    }
    container
}

fn containers(pod: &Value, list: &str) -> Vec<Value> {
    let list = pod
        .pointer(&format!("/spec/{list}"))
        .and_then(Value::as_array);
    list.into_iter().flatten().map(without_handlers).collect()
}

/// Every value of `before` is in `after` at the same place, containers and their handlers aside.
fn assert_only_added(before: &Value, after: &Value, at: &str) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (key, value) in before {
                let at = format!("{at}/{key}");
                if ["/spec/containers", "/spec/initContainers"].contains(&at.as_str()) {
                    continue;
                }
                let found = after.get(key).unwrap_or_else(|| panic!("{at} is gone"));
                assert_only_added(value, found, &at);
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            assert!(after.len() >= before.len(), "{at} became shorter");
            for (index, (before, after)) in before.iter().zip(after).enumerate() {
                assert_only_added(before, after, &format!("{at}/{index}"));
            }
        }
        (Value::Null, _) => {}
        (before, after) => assert_eq!(before, after, "{at} changed"),
    }
}

#[test]
fn what_must_hold_for_every_injected_pod() {
    let mut seen = 0;
    for file in everything() {
        for (place, pod) in pods(&file) {
            let Decision::Inject(injection) = decided(&pod) else {
                continue;
            };
            seen += 1;
            let title = format!("{} {}", name(&file), place.name);
            let mut injected = pod.clone();
            json_patch::patch(&mut injected, &injection.patch)
                .unwrap_or_else(|error| panic!("{title}: the patch does not apply: {error}"));
            let mut ours = pod.clone();
            uninject(&mut ours).expect("restorable");
            if ours == pod {
                assert_only_added(&pod, &injected, "");
            }
            assert_eq!(
                containers(&ours, "containers"),
                containers(&injected, "containers"),
                "{title}"
            );
            let inits = containers(&injected, "initContainers");
            assert_eq!(inits[0]["name"], "sparkmesh-init", "{title}");
            assert_eq!(inits[1]["name"], "sparkmesh-proxy", "{title}");
            assert_eq!(containers(&ours, "initContainers"), inits[2..], "{title}");
            assert_ne!(
                injected.pointer("/spec/hostNetwork"),
                Some(&json!(true)),
                "{title}"
            );
            assert!(
                matches!(
                    decided(&injected),
                    Decision::Skip(SkipReason::AlreadyInjected)
                ),
                "{title}: a second pass finds something to do: {:?}",
                decided(&injected)
            );
            let mut back = injected.clone();
            assert_eq!(uninject(&mut back), Ok(true), "{title}");
            assert_eq!(
                back, ours,
                "{title}: undoing does not give the original back"
            );
        }
    }
    assert!(seen > 150, "only {seen} pods were injected");
}

#[test]
fn the_webhook_and_the_offline_commands_agree_byte_for_byte() {
    let mesh = mesh();
    for file in everything() {
        for (place, pod) in pods(&file) {
            let review = json!({
                "apiVersion": "admission.k8s.io/v1",
                "kind": "AdmissionReview",
                "request": {
                    "uid": "u", "kind": {"group": "", "version": "v1", "kind": "Pod"},
                    "namespace": NAMESPACE, "operation": "CREATE", "object": pod,
                },
            });
            let answered = answer(review.to_string().as_bytes(), &mesh);
            let body: Value = serde_json::from_slice(&answered.body).expect("JSON");
            let response = &body["response"];
            let title = format!("{} {}", name(&file), place.name);
            assert_eq!(response["uid"], "u", "{title}");
            match decided(&pod) {
                Decision::Inject(injection) => {
                    let patch = response["patch"].as_str().expect("a patch");
                    let patch = STANDARD.decode(patch).expect("base64");
                    let offline = serde_json::to_vec(&injection.patch).expect("serialises");
                    assert_eq!(patch, offline, "{title}");
                }
                Decision::Skip(_) => assert_eq!(response["allowed"], true, "{title}"),
                Decision::Reject(_) => assert_eq!(response["allowed"], false, "{title}"),
            }
        }
    }
}

#[test]
fn yaml_means_what_kubectl_takes_it_to_mean() {
    let mut wrong = Vec::new();
    for file in files("tests/pods/yaml") {
        if name(&file).ends_with(".kubectl.json") {
            continue;
        }
        let oracle = file.with_extension("kubectl.json");
        let oracle = std::fs::read_to_string(oracle).expect("each file has its oracle");
        let expected: Vec<Value> = serde_json::from_str(&oracle).expect("JSON");
        let text = std::fs::read_to_string(&file).expect("readable");
        match yaml::documents(&text) {
            Err(error) => wrong.push(format!("{}: {error}", name(&file))),
            Ok(found) => {
                let found: Vec<Value> = found.iter().map(as_kubectl_adds).collect();
                let expected: Vec<Value> = expected.iter().map(as_kubectl_adds).collect();
                if found != expected {
                    wrong.push(format!(
                        "{}:\n  ours    {}\n  kubectl {}",
                        name(&file),
                        json!(found),
                        json!(expected)
                    ));
                }
            }
        }
    }
    let files: Vec<&str> = wrong
        .iter()
        .filter_map(|line| line.split(':').next())
        .collect();
    assert_eq!(files, KNOWN_DIFFERENCES, "{}", wrong.join("\n"));
}

/// Where the YAML parser differs from kubectl's, in order: a merge key written behind a key of
/// one's own (kubectl lets it win), a line separator inside a quoted line, and booleans in mixed
/// case (`yEs` is text for kubectl).
const KNOWN_DIFFERENCES: [&str; 3] = [
    "merge-key-last.yaml",
    "unicode.yaml",
    "words-that-are-no-booleans.yaml",
];

/// `kubectl create -n` writes the namespace into what it sends.
fn as_kubectl_adds(document: &Value) -> Value {
    let mut document = document.clone();
    if let Some(Value::Object(metadata)) = document.get_mut("metadata") {
        metadata.entry("namespace").or_insert(json!(NAMESPACE));
    }
    document
}

#[test]
fn yaml_goes_through_injection_and_back_as_the_same_data() {
    for file in everything() {
        let text = std::fs::read_to_string(&file).expect("readable");
        for document in yaml::documents(&text).expect("readable") {
            let written = yaml::to_string(&document);
            assert_eq!(
                yaml::documents(&written),
                Ok(vec![document]),
                "{}: {written}",
                name(&file)
            );
        }
    }
}

fn sparkmesh(arguments: &[&str], file: &Path) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_sparkmesh"))
        .args(arguments)
        .arg("-f")
        .arg(file)
        .output()
        .expect("the binary runs")
}

#[test]
fn unreadable_manifests_end_in_one_clear_error() {
    for file in files("tests/pods/broken/unreadable") {
        for command in [&["inject"][..], &["uninject"], &["explain", "pod"]] {
            let output = sparkmesh(command, &file);
            let said = String::from_utf8_lossy(&output.stderr);
            let title = format!("{command:?} {}: {said}", name(&file));
            assert_eq!(output.status.code(), Some(1), "{title}");
            assert!(output.stdout.is_empty(), "{title}");
            assert!(said.starts_with("error: "), "{title}");
            assert!(
                said.contains(name(&file)),
                "the error names the file: {title}"
            );
            assert!(said.lines().count() <= 2, "{title}");
        }
    }
}

#[test]
fn manifests_that_the_server_refuses_never_break_us() {
    for file in files("tests/pods/broken/refused-by-the-server") {
        for command in [&["inject"][..], &["uninject"], &["explain", "pod"]] {
            let output = sparkmesh(command, &file);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                matches!(output.status.code(), Some(0 | 1)) && !said.contains("panicked"),
                "{command:?} {}: {said}",
                name(&file)
            );
        }
    }
}
