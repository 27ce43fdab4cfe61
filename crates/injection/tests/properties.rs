//! What holds for every pod, however odd: made up here, or met before and kept in the
//! repository's folders.

mod pods;

use pods::{Meddling, pod};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use sparkmesh_injection::config::MeshConfig;
use sparkmesh_injection::decide::{Decision, Injection, RawPod, Scope, decide};
use sparkmesh_injection::facts::{NamespaceFacts, PodSecurity};
use sparkmesh_injection::restore::uninject;
use sparkmesh_injection::violation::SkipReason;
use sparkmesh_policy::baseline::Baseline;

const OUR_CONTAINERS: usize = 2;
const HANDLERS: [&str; 3] = ["httpGet", "tcpSocket", "grpc"];
const PROBES: [&str; 3] = ["readinessProbe", "livenessProbe", "startupProbe"];

fn decision(raw: RawPod<'_>) -> Decision {
    let namespace = NamespaceFacts {
        name: "spark".into(),
        injection: true,
        pod_security: PodSecurity::Unset,
        openshift_uid_range: false,
    };
    decide(
        raw,
        &Scope {
            config: &MeshConfig::default(),
            baseline: &Baseline::default(),
            namespace: ("spark", Some(&namespace)),
        },
    )
}

fn injection(pod: &Value) -> Option<Injection> {
    match decision(RawPod::Value(pod)) {
        Decision::Inject(injection) => Some(*injection),
        Decision::Skip(_) | Decision::Reject(_) => None,
    }
}

fn patched(pod: &Value, injection: &Injection) -> Value {
    let mut result = pod.clone();
    json_patch::patch(&mut result, &injection.patch).expect("the patch applies");
    result
}

fn is_settled(pod: &Value) -> bool {
    matches!(
        decision(RawPod::Value(pod)),
        Decision::Skip(SkipReason::AlreadyInjected)
    )
}

/// Two decisions as they can be compared.
fn told(decision: Decision) -> Value {
    match decision {
        Decision::Inject(injection) => json!(injection.patch),
        Decision::Skip(reason) => json!(reason.code()),
        Decision::Reject(violations) => {
            json!(
                violations
                    .iter()
                    .map(|v| v.reason.code())
                    .collect::<Vec<_>>()
            )
        }
    }
}

fn list(pod: &Value, field: &str) -> Vec<Value> {
    let list = pod.pointer(&format!("/spec/{field}"));
    list.and_then(Value::as_array).cloned().unwrap_or_default()
}

/// A container without the handlers of its probes.
fn without_handlers(container: &Value) -> Value {
    let mut container = container.clone();
    for probe in PROBES {
        if let Some(Value::Object(probe)) = container.get_mut(probe) {
            for handler in HANDLERS {
                probe.remove(handler);
            }
        }
    }
    container
}

/// What injection may not touch: all of a pod but annotations, containers and volumes.
fn frame(pod: &Value) -> Value {
    let mut pod = pod.clone();
    if let Some(Value::Object(spec)) = pod.get_mut("spec") {
        for list in ["containers", "initContainers", "volumes"] {
            spec.remove(list);
        }
    }
    if let Some(Value::Object(metadata)) = pod.get_mut("metadata") {
        metadata.remove("annotations");
    }
    if pod["metadata"].as_object().is_none_or(Map::is_empty) {
        pod["metadata"] = Value::Null;
    }
    pod
}

fn annotations(pod: &Value) -> Map<String, Value> {
    let all = pod.pointer("/metadata/annotations");
    all.and_then(Value::as_object).cloned().unwrap_or_default()
}

fn check_only_added(before: &Value, after: &Value) {
    assert_eq!(frame(after), frame(before));
    let stripped =
        |containers: &[Value]| -> Vec<Value> { containers.iter().map(without_handlers).collect() };
    assert_eq!(
        stripped(&list(after, "containers")),
        stripped(&list(before, "containers"))
    );
    let inits = list(after, "initContainers");
    let (ours, theirs) = inits.split_at(OUR_CONTAINERS);
    assert_eq!(ours[0]["name"], "sparkmesh-init");
    assert_eq!(ours[1]["name"], "sparkmesh-proxy");
    assert_eq!(stripped(theirs), stripped(&list(before, "initContainers")));
    let written = list(before, "volumes");
    assert_eq!(list(after, "volumes")[..written.len()], written);
    let now = annotations(after);
    for (key, value) in annotations(before) {
        assert_eq!(now.get(&key), Some(&value), "{key}");
    }
}

fn check_operations(injection: &Injection) {
    for operation in &injection.patch.0 {
        let path = operation.path().to_string();
        let leaf = path.rsplit('/').next().unwrap_or("");
        match operation {
            json_patch::PatchOperation::Add(_) => {}
            json_patch::PatchOperation::Remove(_) if HANDLERS.contains(&leaf) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// All that holds for one pod; whether it was injected.
fn check(pod: &Value) -> bool {
    let text = pod.to_string();
    let decided = decision(RawPod::Value(pod));
    assert_eq!(
        told(decision(RawPod::Json(&text))),
        told(decided.clone()),
        "text and value of one pod are decided alike"
    );
    let Decision::Inject(injection) = decided else {
        return false;
    };
    assert_ne!(
        pod.pointer("/spec/hostNetwork"),
        Some(&json!(true)),
        "the node's network is never redirected"
    );
    check_operations(&injection);
    let result = patched(pod, &injection);
    check_only_added(pod, &result);
    assert!(is_settled(&result), "{}", decision_text(&result));
    let mut undone = result;
    assert_eq!(uninject(&mut undone), Ok(true));
    assert_eq!(&undone, pod, "undoing gives the pod back");
    true
}

fn decision_text(pod: &Value) -> String {
    format!("{:?}", told(decision(RawPod::Value(pod))))
}

proptest! {
    #[test]
    fn every_pod_gains_ours_and_nothing_else_and_gives_it_back(pod in pod()) {
        check(&pod);
    }

    #[test]
    fn other_webhooks_in_between_are_followed_or_refused(
        pod in pod(),
        meddling in proptest::collection::vec(Meddling::any(), 1..4),
    ) {
        let Some(first) = injection(&pod) else {
            return Ok(());
        };
        let mut pod = patched(&pod, &first);
        for meddling in &meddling {
            meddling.apply(&mut pod);
        }
        let text = pod.to_string();
        let decided = decision(RawPod::Value(&pod));
        prop_assert_eq!(told(decision(RawPod::Json(&text))), told(decided.clone()));
        if let Decision::Inject(second) = decided {
            prop_assert_ne!(pod.pointer("/spec/hostNetwork"), Some(&json!(true)));
            let result = patched(&pod, &second);
            prop_assert!(is_settled(&result), "{}", decision_text(&result));
            let inits = list(&result, "initContainers");
            prop_assert_eq!(&inits[0]["name"], "sparkmesh-init");
            prop_assert_eq!(&inits[1]["name"], "sparkmesh-proxy");
        }
    }

    #[test]
    fn whatever_is_written_there_is_an_answer(text in "\\PC{0,60}", value in pods::any_json()) {
        let _ = decision(RawPod::Json(&text));
        let mut pod = value;
        let _ = decision(RawPod::Json(&pod.to_string()));
        if let Some(injection) = injection(&pod) {
            patched(&pod, &injection);
        }
        let _ = uninject(&mut pod);
    }
}

#[test]
fn made_up_pods_are_not_all_refused() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let injected = (0..200)
        .filter(|_| {
            let pod = pod().new_tree(&mut runner).expect("a pod").current();
            injection(&pod).is_some()
        })
        .count();
    assert!((60..190).contains(&injected), "{injected} of 200");
}

/// Every pod and pod template in JSON files of the repository's tests.
#[test]
fn pods_of_the_repository_hold_to_it() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/pods");
    let mut files = vec![std::path::PathBuf::from(folder)];
    let mut injected = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            let inner = std::fs::read_dir(&path).expect("readable");
            files.extend(inner.map(|entry| entry.expect("readable").path()));
        } else if path.extension().is_some_and(|it| it == "json") {
            let text = std::fs::read_to_string(&path).expect("text");
            let Ok(document) = serde_json::from_str::<Value>(&text) else {
                continue;
            };
            for pod in pods::inside(&document) {
                println!("{}", path.display());
                injected += usize::from(check(pod));
            }
        }
    }
    assert!(injected >= 15, "only {injected} pods were injected");
}
