//! What becomes of a pod on its way into the cluster, in the words of a specification.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use sparkmesh_policy::names;

use crate::TEAM;
use crate::cluster::succeeded;
use crate::installation::Installation;

/// Where the API server mounts the token of a pod's service account.
const ACCOUNT_FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A pod with one container that has a probe and a port.
pub(crate) fn pod(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"containers": [{
            "name": "app",
            "image": "apache/spark:3.5.6",
            "ports": [{"containerPort": 8081}],
            "readinessProbe": {"httpGet": {"path": "/", "port": 8081}},
        }]},
    })
}

/// The same with more: `more` is a JSON merge patch.
pub(crate) fn pod_with(name: &str, more: &Value) -> Value {
    let mut pod = pod(TEAM, name);
    json_patch::merge(&mut pod, more);
    pod
}

/// The same for another namespace.
pub(crate) fn moved(object: &Value, namespace: &str) -> Value {
    let mut object = object.clone();
    object["metadata"]["namespace"] = json!(namespace);
    object
}

/// The pod is created, dry, and injected: as the API server would store it.
pub(crate) fn injects(mesh: &Installation<'_>, pod: &Value) -> Value {
    let stored = mesh
        .api
        .create_dry(pod)
        .unwrap_or_else(|refused| panic!("refused: {refused}\n{pod}"));
    assert_injected(&stored);
    stored
}

/// The pod is refused for exactly this reason; gives the whole message.
pub(crate) fn refuses(mesh: &Installation<'_>, pod: &Value, reason: &str) -> String {
    let refused = match mesh.api.create_dry(pod) {
        Ok(stored) => panic!("not refused: {}", brief(&stored)),
        Err(refused) => refused,
    };
    assert_eq!(refused.code, 403, "{refused}");
    let ours = "admission webhook \"inject.sparkmesh.dev\" denied the request: sparkmesh: ";
    assert!(refused.message.starts_with(ours), "{refused}");
    let codes: Vec<&str> = reasons(&refused.message);
    assert_eq!(codes, [reason], "{refused}");
    refused.message
}

/// Every `[reason]` at the end of a violation, each once.
pub(crate) fn reasons(message: &str) -> Vec<&str> {
    let violations = message.split(" | ");
    let mut reasons: Vec<&str> = violations
        .filter_map(|violation| violation.strip_suffix(']')?.rsplit_once('[').map(|it| it.1))
        .collect();
    reasons.dedup();
    reasons
}

/// The pod is created, dry, as it is.
pub(crate) fn leaves_alone(mesh: &Installation<'_>, pod: &Value) {
    let stored = mesh
        .api
        .create_dry(pod)
        .unwrap_or_else(|refused| panic!("refused: {refused}\n{pod}"));
    assert!(!is_injected(&stored), "injected: {}", brief(&stored));
    assert!(
        !stored.to_string().contains("sparkmesh-proxy"),
        "{}",
        brief(&stored)
    );
}

pub(crate) fn is_injected(pod: &Value) -> bool {
    names_of(pod, "initContainers").first() == Some(&names::INIT_CONTAINER.to_owned())
}

/// Ours come first, once, with what they need.
pub(crate) fn assert_injected(pod: &Value) {
    let init = names_of(pod, "initContainers");
    let ours = [names::INIT_CONTAINER, names::PROXY_CONTAINER];
    assert!(init.len() >= 2 && init[..2] == ours, "{}", brief(pod));
    let more = init[2..].iter().any(|name| ours.contains(&name.as_str()));
    assert!(!more, "twice: {}", brief(pod));
    let proxy = &pod["spec"]["initContainers"][1];
    assert_eq!(
        proxy["restartPolicy"], "Always",
        "no native sidecar: {proxy}"
    );
    assert!(
        !proxy["startupProbe"].is_null(),
        "the app would not wait for it: {proxy}"
    );
    let volumes = names_of(pod, "volumes");
    let token = volumes.iter().filter(|name| *name == names::TOKEN_VOLUME);
    assert_eq!(token.count(), 1, "{}", brief(pod));
    assert_no_account(pod);
    let annotations = &pod["metadata"]["annotations"];
    assert!(
        annotations[names::INJECTED_ANNOTATION].is_string(),
        "{annotations}"
    );
}

/// The API server has put no token of the pod's service account into our containers.
fn assert_no_account(pod: &Value) {
    for container in &pod["spec"]["initContainers"].as_array().expect("a list")[..2] {
        let mounts = container["volumeMounts"].as_array().expect("a list");
        let account: Vec<&Value> = mounts
            .iter()
            .filter(|mount| mount["mountPath"] == ACCOUNT_FOLDER)
            .collect();
        assert_eq!(account.len(), 1, "{container}");
        assert_eq!(account[0]["name"], names::RUN_VOLUME, "{container}");
    }
}

/// Nothing of the author's containers has changed but probes: they are as in `twin`, the same pod
/// outside of the mesh.
pub(crate) fn assert_same_but_for_probes(injected: &Value, twin: &Value) {
    let containers = |pod: &Value, skip: usize| {
        let mut all = Vec::new();
        let init = pod["spec"]["initContainers"].as_array();
        all.extend(init.into_iter().flatten().skip(skip).cloned());
        all.extend(
            pod["spec"]["containers"]
                .as_array()
                .into_iter()
                .flatten()
                .cloned(),
        );
        for container in &mut all {
            let fields = container.as_object_mut().expect("a container");
            fields.retain(|key, _| !key.ends_with("Probe"));
        }
        without_chance(&Value::Array(all))
    };
    assert_equal("containers", &containers(injected, 2), &containers(twin, 0));
}

/// The API server's second look at a pod that it has stored would change nothing.
pub(crate) fn assert_settled(mesh: &Installation<'_>, stored: &Value) {
    let explained = explain(mesh, stored);
    assert_eq!(explained["decision"], "skip", "{explained:#}");
    assert_eq!(explained["reason"], "already-injected", "{explained:#}");
}

/// What `sparkmesh explain` says of a pod, with the webhook's configuration.
fn explain(mesh: &Installation<'_>, pod: &Value) -> Value {
    let mut command = mesh.offline(&["explain", "pod", "--output", "json", "-f", "-"]);
    let answer = succeeded(fed(&mut command, pod), "sparkmesh explain");
    let mut answers: Vec<Value> = serde_json::from_str(&answer).expect("JSON");
    assert_eq!(answers.len(), 1, "{answer}");
    answers.remove(0)
}

/// The manifest as `sparkmesh inject` makes it, with the webhook's configuration, or what it says.
pub(crate) fn try_injected_offline(
    mesh: &Installation<'_>,
    manifest: &Value,
) -> Result<Value, String> {
    let mut command = mesh.offline(&["inject", "--output", "json", "-f", "-"]);
    let output = fed(&mut command, manifest);
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
}

/// Two pods that the API server would store are the same, give or take what it makes up by chance.
pub(crate) fn assert_same(one: &Value, other: &Value) {
    let containers = [one, other].map(|pod| without_chance(&pod["spec"]["containers"]));
    assert_equal("containers", &containers[0], &containers[1]);
    let init = [one, other].map(|pod| without_chance(&pod["spec"]["initContainers"]));
    assert_equal("initContainers", &init[0], &init[1]);
    // Which volume comes first, ours or that of the service account, depends on who asks when.
    let volumes = [one, other].map(|pod| {
        let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
        let named = volumes.map(|it| (chanceless(it["name"].as_str().unwrap_or_default()), it));
        named
            .map(|(name, it)| (name.to_owned(), without_chance(it)))
            .collect::<Value>()
    });
    assert_equal("volumes", &volumes[0], &volumes[1]);
    // The note for `uninject` tells what was written, and the API server fills that in.
    let annotations = [one, other].map(|pod| {
        let mut all = pod["metadata"]["annotations"].clone();
        all[names::RESTORE_ANNOTATION].take();
        all
    });
    assert_equal("annotations", &annotations[0], &annotations[1]);
}

/// Equal, or a panic that shows the first difference and not all of both.
pub(crate) fn assert_equal(what: &str, one: &Value, other: &Value) {
    if let Some(difference) = difference(one, other) {
        panic!("{what}{difference}");
    }
}

fn difference(one: &Value, other: &Value) -> Option<String> {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let mut keys = one
                .keys()
                .chain(other.keys().filter(|key| !one.contains_key(*key)));
            keys.find_map(|key| {
                let value = |map: &serde_json::Map<String, Value>| map.get(key).cloned();
                let (one, other) = (
                    value(one).unwrap_or_default(),
                    value(other).unwrap_or_default(),
                );
                Some(format!(".{key}{}", difference(&one, &other)?))
            })
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            let mut pairs = one.iter().zip(other).enumerate();
            pairs.find_map(|(i, (one, other))| Some(format!("[{i}]{}", difference(one, other)?)))
        }
        (one, other) if one == other => None,
        (one, other) => Some(format!(": {one:.300} is not {other:.300}")),
    }
}

/// Without the name that the API server makes up for the volume of the service account's token.
fn without_chance(value: &Value) -> Value {
    match value {
        Value::String(text) => json!(chanceless(text)),
        Value::Array(items) => items.iter().map(without_chance).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), without_chance(value)))
            .collect(),
        other => other.clone(),
    }
}

fn chanceless(name: &str) -> &str {
    const PREFIX: &str = "kube-api-access-";
    if name.starts_with(PREFIX) {
        PREFIX
    } else {
        name
    }
}

pub(crate) fn names_of(pod: &Value, list: &str) -> Vec<String> {
    let items = pod["spec"][list].as_array().into_iter().flatten();
    items
        .filter_map(|item| item["name"].as_str().map(str::to_owned))
        .collect()
}

/// What matters of a pod, for messages.
pub(crate) fn brief(pod: &Value) -> String {
    format!(
        "{} (init: {:?}, containers: {:?}, volumes: {:?})",
        pod["metadata"]["name"],
        names_of(pod, "initContainers"),
        names_of(pod, "containers"),
        names_of(pod, "volumes"),
    )
}

fn fed(command: &mut Command, input: &Value) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    stdin
        .write_all(input.to_string().as_bytes())
        .expect("it reads its input");
    drop(stdin);
    child.wait_with_output().expect("it ends")
}
