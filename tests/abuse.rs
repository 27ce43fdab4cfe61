//! Abuse cases, each under its number in the project's list: what somebody could try through the
//! reviewed pod or the review itself. Those that need a server are in `apiserver` (11, 12, 31, 34)
//! and `webhook_https` (3, 32).
//!
//! Each shows the refusal for its own reason, and a neighbour that is admitted.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sparkmesh::webhook::review::{Answer, Mesh, Outcome, answer};
use sparkmesh_injection::facts::{MeshFacts, NamespaceFacts};
use sparkmesh_policy::baseline::{Baseline, OptOut};

fn mesh_with(baseline: Baseline) -> Mesh {
    let namespace = |name: &str, label: &str| {
        let labels = [("sparkmesh.dev/injection".to_owned(), label.to_owned())].into();
        let facts = NamespaceFacts::from_metadata(name, Some(&labels), None);
        (name.to_owned(), Arc::new(facts))
    };
    Mesh {
        facts: Arc::new(MeshFacts {
            baseline: Arc::new(baseline),
            namespaces: [namespace("spark", "enabled"), namespace("plain", "")].into(),
        }),
        ..Mesh::default()
    }
}

fn mesh() -> Mesh {
    mesh_with(Baseline::default())
}

fn request(pod: &Value) -> Value {
    json!({
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "namespace": "spark",
        "operation": "CREATE",
        "object": pod,
    })
}

fn review(request: &Value) -> Vec<u8> {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})
        .to_string()
        .into_bytes()
}

fn ask(pod: &Value) -> Answer {
    answer(&review(&request(pod)), &mesh())
}

fn response(answer: &Answer) -> Value {
    let body: Value = serde_json::from_slice(&answer.body).expect("an answer is JSON");
    assert_eq!(body["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(body["kind"], "AdmissionReview");
    body["response"].clone()
}

fn message(answer: &Answer) -> String {
    let response = response(answer);
    let message = response["status"]["message"].as_str();
    message.expect("a refusal has a message").to_owned()
}

#[track_caller]
fn refused(pod: &Value, reason: &str) -> String {
    let answer = ask(pod);
    assert_eq!(
        answer.record.outcome,
        Outcome::Reject,
        "{:?}",
        answer.record
    );
    assert_eq!(answer.record.reasons, [reason]);
    assert_eq!(response(&answer)["allowed"], false);
    message(&answer)
}

#[track_caller]
fn admitted(pod: &Value) -> Value {
    let answer = ask(pod);
    assert_eq!(
        answer.record.outcome,
        Outcome::Inject,
        "{:?}",
        answer.record
    );
    patched(pod, &answer)
}

fn patched(pod: &Value, answer: &Answer) -> Value {
    let patch = response(answer)["patch"]
        .as_str()
        .expect("a patch")
        .to_owned();
    let patch = STANDARD.decode(patch).expect("base64");
    let patch: json_patch::Patch = serde_json::from_slice(&patch).expect("a JSON patch");
    let mut pod = pod.clone();
    json_patch::patch(&mut pod, &patch).expect("it applies");
    pod
}

fn pod() -> Value {
    json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "app", "image": "app:1"}]}})
}

/// The pod with a value put at a place, the way there made where it is missing.
fn with(place: &str, value: Value) -> Value {
    let mut pod = pod();
    let mut at = &mut pod;
    for key in place.split('.') {
        at = match key.parse::<usize>() {
            Ok(index) => &mut at[index],
            Err(_) => &mut at[key],
        };
    }
    *at = value;
    pod
}

#[test]
fn case_01_an_annotation_value_is_never_more_than_one_string() {
    let evil = "a\"\n- name: evil\n  securityContext: {privileged: true}";
    let plain = admitted(&with("metadata.annotations", json!({"x/y": "a"})));
    let mut result = admitted(&with("metadata.annotations", json!({"x/y": evil})));
    assert_eq!(result["metadata"]["annotations"]["x/y"], evil);
    result["metadata"]["annotations"]["x/y"] = json!("a");
    assert_eq!(result, plain);
    let key = "sparkmesh.dev/proxy-log-level";
    let said = refused(
        &with("metadata.annotations", json!({key: evil})),
        "invalid-value",
    );
    assert!(!said.contains('\n'), "one line: {said}");
    admitted(&with("metadata.annotations", json!({key: "debug"})));
}

#[test]
fn case_01_a_probe_path_reaches_the_proxy_as_data() {
    let path = "/a\"}]}}},{name: evil,x: \"\n$(POD_IP)";
    let probe = |path: &str| json!([{"name": "app", "readinessProbe": {"httpGet": {"path": path, "port": 80}}}]);
    let evil = admitted(&with("spec.containers", probe(path)));
    let bootstrap = evil["spec"]["initContainers"][1]["args"][1]
        .as_str()
        .expect("text");
    assert!(!bootstrap.contains('\n'));
    let structure = |text: &str| {
        let value: Value = serde_saphyr::from_str(text).expect("the bootstrap is YAML");
        value["staticResources"]["clusters"]
            .as_array()
            .map(Vec::len)
    };
    let plain = admitted(&with("spec.containers", probe("/a")));
    let plain = plain["spec"]["initContainers"][1]["args"][1]
        .as_str()
        .expect("text");
    assert_eq!(structure(bootstrap), structure(plain));
}

#[test]
fn case_02_the_webhook_may_not_read_secrets() {
    let rendered = include_str!("chart/golden/default.yaml");
    let roles: Vec<Value> = sparkmesh::yaml::documents(rendered)
        .expect("YAML")
        .into_iter()
        .filter(|object| matches!(object["kind"].as_str(), Some("Role" | "ClusterRole")))
        .filter(|role| role["metadata"]["labels"]["app.kubernetes.io/component"] == "webhook")
        .collect();
    assert!(!roles.is_empty());
    for rule in roles
        .iter()
        .flat_map(|role| role["rules"].as_array().expect("rules"))
    {
        let resources = rule["resources"].as_array().expect("resources");
        assert!(
            !resources
                .iter()
                .any(|name| name == "secrets" || name == "*"),
            "{rule}"
        );
    }
}

#[test]
fn case_03_deep_nesting_gets_a_clear_answer() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let body = |depth| {
        format!(
            r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"u","x":{}}}}}"#,
            nested(depth)
        )
    };
    for depth in [100, 1_000_000] {
        let answer = answer(body(depth).as_bytes(), &mesh());
        assert_eq!(
            (answer.status, answer.record.reasons.as_slice()),
            (400, &["too-deep"][..])
        );
        assert!(message(&answer).contains("nested deeper than 64 levels"));
    }
    let shallow = answer(body(10).as_bytes(), &mesh());
    assert_ne!(shallow.record.reasons, ["too-deep"]);
    let in_a_string = with("metadata.annotations", json!({"x/y": nested(100)}));
    admitted(&in_a_string);
}

#[test]
fn case_10_a_pod_may_not_opt_out_where_the_mesh_is_required() {
    let out = with(
        "metadata.labels",
        json!({"sparkmesh.dev/injection": "disabled"}),
    );
    let said = refused(&out, "opt-out-denied");
    assert!(said.contains("optOut"), "names the remedy: {said}");
    refused(
        &with(
            "metadata.annotations",
            json!({"sparkmesh.dev/injection": "disabled"}),
        ),
        "unknown-key",
    );
    admitted(&with(
        "metadata.labels",
        json!({"sparkmesh.dev/injection": "enabled"}),
    ));
    let lenient = mesh_with(Baseline {
        opt_out: OptOut::Allow,
        ..Baseline::default()
    });
    let skipped = answer(&review(&request(&out)), &lenient);
    assert_eq!(skipped.record.outcome, Outcome::Skip);
    assert_eq!(skipped.record.reasons, ["opted-out"]);
}

#[test]
fn case_13_a_pod_in_the_nodes_network_is_refused_before_and_after_injection() {
    refused(&with("spec.hostNetwork", json!(true)), "host-network");
    let mut later = admitted(&pod());
    later["spec"]["hostNetwork"] = json!(true);
    refused(&later, "host-network");
    admitted(&with("spec.hostNetwork", json!(false)));
}

#[test]
fn case_14_content_decides_and_not_names_or_annotations() {
    let forged = with(
        "spec.initContainers",
        json!([{"name": "sparkmesh-proxy", "image": "evil:1"}]),
    );
    refused(&forged, "reserved-name");
    refused(
        &with("spec.containers.0.name", json!("sparkmesh-proxy")),
        "reserved-name",
    );
    let claimed = with(
        "metadata.annotations",
        json!({"sparkmesh.dev/injected": "00"}),
    );
    let result = admitted(&claimed);
    assert_eq!(
        result["spec"]["initContainers"][0]["name"],
        "sparkmesh-init"
    );
    let mut weakened = admitted(&pod());
    weakened["spec"]["initContainers"][0]["args"] = json!(["init", "--exclude-outbound-ports=443"]);
    assert_eq!(admitted(&weakened), admitted(&pod()), "put right");
}

#[test]
fn case_17_an_update_of_a_pod_that_ends_passes_untouched() {
    let mut update = request(&with(
        "metadata.deletionTimestamp",
        json!("2026-11-22T00:00:00Z"),
    ));
    for operation in ["UPDATE", "DELETE", "CONNECT"] {
        update["operation"] = json!(operation);
        let answer = answer(&review(&update), &mesh());
        assert_eq!(answer.record.reasons, ["not-a-creation"]);
        assert_eq!(response(&answer)["allowed"], true);
        assert_eq!(response(&answer).get("patch"), None);
    }
    let mut ephemeral = request(&pod());
    ephemeral["subResource"] = json!("ephemeralcontainers");
    assert_eq!(
        answer(&review(&ephemeral), &mesh()).record.reasons,
        ["not-a-creation"]
    );
    admitted(&pod());
}

#[test]
fn case_18_a_namespace_that_is_not_known_is_refused() {
    let mut unknown = request(&pod());
    unknown["namespace"] = json!("nowhere");
    let closed = answer(&review(&unknown), &mesh());
    assert_eq!(closed.record.reasons, ["namespace-unknown"]);
    assert_eq!(response(&closed)["allowed"], false);
    unknown.as_object_mut().expect("a map").remove("namespace");
    assert_eq!(
        answer(&review(&unknown), &mesh()).record.reasons,
        ["namespace-unknown"]
    );
    let mut plain = request(&pod());
    plain["namespace"] = json!("plain");
    assert_eq!(
        answer(&review(&plain), &mesh()).record.reasons,
        ["namespace-not-enabled"]
    );
}

#[test]
fn case_19_nobody_runs_as_the_proxys_user() {
    let user = |uid: u32| json!({"runAsUser": uid});
    refused(&with("spec.securityContext", user(1337)), "proxy-uid");
    refused(
        &with("spec.containers.0.securityContext", user(1337)),
        "proxy-uid",
    );
    let init = |uid| json!([{"name": "i", "image": "i:1", "securityContext": user(uid)}]);
    refused(&with("spec.initContainers", init(1337)), "proxy-uid");
    admitted(&with("spec.securityContext", user(1338)));
    admitted(&with("spec.initContainers", init(0)));
    // The redirection goes by user, not by group.
    admitted(&with("spec.securityContext", json!({"runAsGroup": 1337})));
}

#[test]
fn case_20_nobody_may_undo_the_redirection() {
    let add = |name: &str| json!({"capabilities": {"add": [name]}});
    for name in ["NET_ADMIN", "NET_RAW", "ALL", "CAP_NET_ADMIN", "net_raw"] {
        refused(
            &with("spec.containers.0.securityContext", add(name)),
            "network-capability",
        );
    }
    refused(
        &with(
            "spec.containers.0.securityContext",
            json!({"privileged": true}),
        ),
        "privileged",
    );
    admitted(&with(
        "spec.containers.0.securityContext",
        add("NET_BIND_SERVICE"),
    ));
}

#[test]
fn case_22_an_exclusion_beyond_the_platforms_list_is_refused() {
    let exclude = |list: &str| {
        with(
            "metadata.annotations",
            json!({"sparkmesh.dev/exclude-inbound-ports": list}),
        )
    };
    let said = refused(&exclude("22"), "exclusion-denied");
    assert!(said.contains("permitted now: none"), "{said}");
    let mut baseline = Baseline::default();
    baseline.exclusions.inbound_ports = vec!["22".parse().expect("a port")];
    let lenient = mesh_with(baseline);
    let ask = |list| answer(&review(&request(&exclude(list))), &lenient).record;
    assert_eq!(ask("22").outcome, Outcome::Inject);
    assert_eq!(ask("22,23").reasons, ["exclusion-denied"]);
    assert_eq!(ask("15006").reasons, ["invalid-value"]);
}

#[test]
fn case_25_nobody_reaches_the_proxys_process_or_token() {
    refused(
        &with("spec.shareProcessNamespace", json!(true)),
        "shared-processes",
    );
    admitted(&with("spec.shareProcessNamespace", json!(false)));
    let mounts = |name: &str| json!([{"name": name, "mountPath": "/x"}]);
    refused(
        &with("spec.containers.0.volumeMounts", mounts("sparkmesh-token")),
        "reserved-name",
    );
    let mut later = admitted(&pod());
    later["spec"]["containers"][0]["volumeMounts"] = mounts("sparkmesh-run");
    refused(&later, "reserved-name");
    let token = |audience: &str| {
        json!([{"name": "t", "projected": {"sources": [
        {"serviceAccountToken": {"path": "t", "audience": audience}}]}}])
    };
    refused(&with("spec.volumes", token("sparkmesh")), "token-audience");
    admitted(&with("spec.volumes", token("vault")));
}

#[test]
fn case_32_the_same_review_twice_gets_the_same_answer_and_its_own_uid() {
    let first = ask(&pod());
    assert_eq!(first.body, ask(&pod()).body);
    let mut dry = request(&pod());
    dry["dryRun"] = json!(true);
    let dry = answer(&review(&dry), &mesh());
    assert!(dry.record.dry_run);
    assert_eq!(dry.body, first.body, "a dry run shows what would be");
}

#[test]
fn case_33_two_webhooks_in_either_order_make_the_same_pod() {
    // What spark-operator's webhook adds to a driver.
    let other = |pod: &mut Value| {
        let containers = pod["spec"]["containers"].as_array_mut().expect("a list");
        containers[0]["env"] = json!([{"name": "SPARK_CONF_DIR", "value": "/etc/spark"}]);
        if containers.len() == 1 {
            containers.push(json!({"name": "side", "image": "s:1", "livenessProbe": {"tcpSocket": {"port": 9}}}));
        }
    };
    let mut first_other = pod();
    other(&mut first_other);
    let first_other = admitted(&first_other);
    let mut first_ours = admitted(&pod());
    other(&mut first_ours);
    let second_pass = admitted(&first_ours);
    assert_eq!(second_pass, first_other);
    let third = ask(&second_pass);
    assert_eq!(third.record.reasons, ["already-injected"]);
    assert_eq!(response(&third).get("patch"), None);
}
