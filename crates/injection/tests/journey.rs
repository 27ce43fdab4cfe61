//! One pod's journey: what every injected pod has, whatever it looked like before.

use serde_json::{Value, json};
use sparkmesh_injection::config::MeshConfig;
use sparkmesh_injection::decide::{Decision, Injection, RawPod, Scope, decide};
use sparkmesh_injection::facts::{NamespaceFacts, PodSecurity};
use sparkmesh_injection::restore::uninject;
use sparkmesh_injection::violation::{Refusal, SkipReason};
use sparkmesh_policy::baseline::{Baseline, OptOut};

fn enabled() -> NamespaceFacts {
    NamespaceFacts {
        name: "spark".into(),
        injection: true,
        pod_security: PodSecurity::Unset,
        openshift_uid_range: false,
    }
}

fn decide_with(pod: &Value, baseline: &Baseline, namespace: Option<&NamespaceFacts>) -> Decision {
    decide(
        RawPod::Value(pod),
        &Scope {
            config: &MeshConfig::default(),
            baseline,
            namespace: ("spark", namespace),
        },
    )
}

fn decision(pod: &Value) -> Decision {
    decide_with(pod, &Baseline::default(), Some(&enabled()))
}

fn injection(pod: &Value) -> Injection {
    match decision(pod) {
        Decision::Inject(injection) => *injection,
        other => panic!("not injected: {other:?}"),
    }
}

fn injected(pod: &Value) -> Value {
    let mut result = pod.clone();
    json_patch::patch(&mut result, &injection(pod).patch).expect("the patch applies");
    result
}

fn refusals(pod: &Value) -> Vec<Refusal> {
    match decision(pod) {
        Decision::Reject(violations) => violations.iter().map(|v| v.reason).collect(),
        other => panic!("not refused: {other:?}"),
    }
}

fn skipped(pod: &Value) -> SkipReason {
    match decision(pod) {
        Decision::Skip(reason) => reason,
        other => panic!("not skipped: {other:?}"),
    }
}

/// The pod that users of the standalone cluster start from.
fn worker() -> Value {
    json!({
        "metadata": {"generateName": "spark-worker-", "labels": {"component": "spark-worker"}},
        "spec": {"containers": [{
            "name": "spark-worker",
            "image": "spark:3.5.6",
            "command": ["/opt/spark/bin/spark-class", "org.apache.spark.deploy.worker.Worker", "spark://spark-master:7077"],
            "ports": [{"containerPort": 8081}, {"containerPort": 7078}],
            "readinessProbe": {"httpGet": {"path": "/", "port": 8081}, "periodSeconds": 7},
            "livenessProbe": {"tcpSocket": {"port": 7078}, "failureThreshold": 9},
        }]},
    })
}

#[test]
fn the_proxy_and_its_init_container_come_first_and_the_application_keeps_its_place() {
    let mut pod = worker();
    pod["spec"]["initContainers"] = json!([
        {"name": "fetch", "image": "curl:1"},
        {"name": "side", "image": "side:1", "restartPolicy": "Always"},
    ]);
    let result = injected(&pod);
    let names: Vec<_> = result["spec"]["initContainers"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|c| c["name"].as_str().expect("named"))
        .collect();
    assert_eq!(
        names,
        ["sparkmesh-init", "sparkmesh-proxy", "fetch", "side"]
    );
    assert_eq!(result["spec"]["containers"][0]["name"], "spark-worker");
    assert_eq!(
        result["spec"]["initContainers"][1]["restartPolicy"],
        "Always"
    );
}

#[test]
fn a_rewritten_probe_keeps_its_timing() {
    let result = injected(&worker());
    let container = &result["spec"]["containers"][0];
    assert_eq!(
        container["readinessProbe"],
        json!({"httpGet": {"path": "/probe/spark-worker/readiness", "port": 15021}, "periodSeconds": 7})
    );
    assert_eq!(
        container["livenessProbe"],
        json!({"httpGet": {"path": "/probe/spark-worker/liveness", "port": 15021}, "failureThreshold": 9})
    );
}

#[test]
fn a_second_pass_finds_nothing_to_do() {
    assert_eq!(skipped(&injected(&worker())), SkipReason::AlreadyInjected);
}

#[test]
fn what_the_api_server_adds_between_two_passes_is_no_difference() {
    let mut pod = injected(&worker());
    for container in pod["spec"]["initContainers"]
        .as_array_mut()
        .expect("a list")
    {
        container["terminationMessagePath"] = json!("/dev/termination-log");
        container["imagePullPolicy"] = json!("IfNotPresent");
        container["resources"]["limits"]["ephemeral-storage"] = json!("1Gi");
    }
    assert_eq!(skipped(&pod), SkipReason::AlreadyInjected);
}

#[test]
fn our_containers_leave_no_place_for_the_service_accounts_token() {
    for container in injected(&worker())["spec"]["initContainers"]
        .as_array()
        .expect("a list")
    {
        let mounts = container["volumeMounts"].as_array().expect("a list");
        let place = mounts
            .iter()
            .find(|mount| mount["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount");
        assert_eq!(
            place.expect("taken")["name"],
            "sparkmesh-run",
            "{}",
            container["name"]
        );
    }
}

#[test]
fn a_container_without_a_name_is_settled_after_one_pass() {
    let pod = json!({"spec": {"containers": [{"livenessProbe": {"tcpSocket": {"port": 80}}}]}});
    assert_eq!(skipped(&injected(&pod)), SkipReason::AlreadyInjected);
}

#[test]
fn undoing_gives_the_manifest_back() {
    for (what, change) in [
        ("as it is", json!({})),
        (
            "null lists",
            json!({"spec": {"initContainers": null, "volumes": null}}),
        ),
        ("null metadata", json!({"metadata": null})),
        (
            "empty annotations",
            json!({"metadata": {"annotations": {}}}),
        ),
        (
            "own default container",
            json!({"metadata": {"annotations": {"kubectl.kubernetes.io/default-container": "x"}}}),
        ),
    ] {
        let mut pod = worker();
        merge(&mut pod, change);
        let mut result = injected(&pod);
        assert_eq!(uninject(&mut result), Ok(true), "{what}");
        assert_eq!(result, pod, "{what}");
    }
    let bare =
        json!({"spec": {"containers": [{"name": "a"}], "initContainers": [], "volumes": []}});
    let mut result = injected(&bare);
    assert_eq!(uninject(&mut result), Ok(true));
    assert_eq!(result, bare);
}

/// Sets every leaf of `change`, null included.
fn merge(target: &mut Value, change: Value) {
    match (target, change) {
        (Value::Object(target), Value::Object(change)) => {
            for (key, value) in change {
                merge(target.entry(key).or_insert(Value::Null), value);
            }
        }
        (target, change) => *target = change,
    }
}

#[test]
fn a_pod_that_injection_passed_over_is_given_back_untouched() {
    let mut pod = worker();
    assert_eq!(uninject(&mut pod), Ok(false));
    assert_eq!(pod, worker());
}

#[test]
fn another_webhook_that_adds_a_container_after_us_is_followed() {
    let mut pod = injected(&worker());
    pod["spec"]["containers"]
        .as_array_mut()
        .expect("a list")
        .push(json!({
            "name": "late", "image": "late:1", "readinessProbe": {"tcpSocket": {"port": 9000}},
        }));
    let mut expected = worker();
    expected["spec"]["containers"]
        .as_array_mut()
        .expect("a list")
        .push(json!({
            "name": "late", "image": "late:1", "readinessProbe": {"tcpSocket": {"port": 9000}},
        }));
    let second = injected(&pod);
    assert_eq!(
        second,
        injected(&expected),
        "the order of webhooks does not matter"
    );
    assert_eq!(skipped(&second), SkipReason::AlreadyInjected);
}

#[test]
fn an_init_container_put_before_ours_is_put_behind_them_again() {
    let mut pod = injected(&worker());
    pod["spec"]["initContainers"]
        .as_array_mut()
        .expect("a list")
        .insert(0, json!({"name": "sneaky", "image": "curl:1"}));
    let result = injected(&pod);
    assert_eq!(
        result["spec"]["initContainers"][0]["name"],
        "sparkmesh-init"
    );
    assert_eq!(result["spec"]["initContainers"][2]["name"], "sneaky");
    assert_eq!(skipped(&result), SkipReason::AlreadyInjected);
}

#[test]
fn a_proxy_that_a_later_webhook_took_out_is_put_back() {
    let mut pod = injected(&worker());
    pod["spec"]["initContainers"]
        .as_array_mut()
        .expect("a list")
        .remove(1);
    assert_eq!(injected(&pod), injected(&worker()));
    let mut pod = injected(&worker());
    pod["spec"]
        .as_object_mut()
        .expect("a map")
        .remove("initContainers");
    pod["spec"]
        .as_object_mut()
        .expect("a map")
        .remove("volumes");
    assert_eq!(injected(&pod), injected(&worker()));
}

#[test]
fn a_second_container_under_our_name_does_not_stay() {
    let mut pod = injected(&worker());
    pod["spec"]["initContainers"]
        .as_array_mut()
        .expect("a list")
        .push(json!({"name": "sparkmesh-init", "image": "evil:1"}));
    assert_eq!(injected(&pod), injected(&worker()));
}

#[test]
fn host_network_set_after_injection_is_refused() {
    let mut pod = injected(&worker());
    pod["spec"]["hostNetwork"] = json!(true);
    assert_eq!(refusals(&pod), [Refusal::HostNetwork]);
}

#[test]
fn a_foreign_container_under_our_name_is_refused() {
    let mut pod = worker();
    pod["spec"]["initContainers"] = json!([{"name": "sparkmesh-proxy", "image": "evil:1"}]);
    assert_eq!(refusals(&pod), [Refusal::ReservedName]);
    let mut pod = worker();
    pod["spec"]["containers"][0]["name"] = json!("sparkmesh-init");
    assert_eq!(refusals(&pod), [Refusal::ReservedName]);
}

#[test]
fn a_forged_proxy_of_our_image_is_replaced_by_the_real_one() {
    let mut pod = injected(&worker());
    pod["spec"]["initContainers"][1]["args"][1] = json!("{}");
    pod["spec"]["initContainers"][0]["args"] = json!(["init", "--exclude-outbound-ports=443"]);
    pod["spec"]["initContainers"][1]["env"][0] = json!({"name": "LD_PRELOAD", "value": "/x"});
    assert_eq!(injected(&pod), injected(&worker()));
}

#[test]
fn a_forged_annotation_changes_nothing() {
    let mut pod = worker();
    pod["metadata"]["annotations"] = json!({"sparkmesh.dev/injected": "0123456789abcdef"});
    let result = injected(&pod);
    assert_eq!(
        result["spec"]["initContainers"][1]["name"],
        "sparkmesh-proxy"
    );
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let pod = json!({
        "metadata": {"annotations": {
            "sparkmesh.dev/proxy-cpu": "1",
            "sparkmesh.dev/drain-seconds": "soon",
            "sparkmesh.dev/exclude-inbound-ports": "22",
        }},
        "spec": {"hostNetwork": true, "containers": [{"name": "a", "securityContext": {"runAsUser": 1337}}]},
    });
    assert_eq!(
        refusals(&pod),
        [
            Refusal::InvalidValue,
            Refusal::ExclusionDenied,
            Refusal::UnknownKey,
            Refusal::HostNetwork,
            Refusal::ProxyUid,
        ]
    );
}

#[test]
fn an_annotation_adds_nothing_but_one_string() {
    let mut pod = worker();
    pod["metadata"]["annotations"] =
        json!({"other/key": "\"\n- name: evil", "sparkmesh.dev/role": "driver"});
    let plain = {
        let mut pod = worker();
        pod["metadata"]["annotations"] = json!({"sparkmesh.dev/role": "driver"});
        injected(&pod)
    };
    let mut result = injected(&pod);
    let annotations = result["metadata"]["annotations"]
        .as_object_mut()
        .expect("a map");
    assert_eq!(
        annotations.remove("other/key"),
        Some(json!("\"\n- name: evil"))
    );
    assert_eq!(result, plain);
    pod["metadata"]["annotations"] = json!({"sparkmesh.dev/role": "driver\"\n- name: evil"});
    assert_eq!(refusals(&pod), [Refusal::InvalidValue]);
}

#[test]
fn the_baseline_decides_about_opting_out() {
    let mut pod = worker();
    pod["metadata"]["labels"]["sparkmesh.dev/injection"] = json!("disabled");
    assert_eq!(refusals(&pod), [Refusal::OptOutDenied]);
    let lenient = Baseline {
        opt_out: OptOut::Allow,
        ..Baseline::default()
    };
    assert!(matches!(
        decide_with(&pod, &lenient, Some(&enabled())),
        Decision::Skip(SkipReason::OptedOut)
    ));
}

#[test]
fn an_unknown_namespace_is_refused_and_an_unlabelled_one_passed_over() {
    let Decision::Reject(violations) = decide_with(&worker(), &Baseline::default(), None) else {
        panic!("not refused");
    };
    assert_eq!(violations[0].reason, Refusal::NamespaceUnknown);
    let plain = NamespaceFacts {
        injection: false,
        ..enabled()
    };
    assert!(matches!(
        decide_with(&worker(), &Baseline::default(), Some(&plain)),
        Decision::Skip(SkipReason::NamespaceNotEnabled)
    ));
}

#[test]
fn pod_level_resources_are_shared_not_exceeded() {
    let mut pod = worker();
    pod["spec"]["resources"] = json!({"requests": {"cpu": "1"}, "limits": {"cpu": "1"}});
    let result = injected(&pod);
    let resources = &result["spec"]["initContainers"][1]["resources"];
    assert_eq!(resources["requests"].get("cpu"), None);
    assert!(resources["requests"].get("memory").is_some());
}

#[test]
fn a_guaranteed_pod_stays_guaranteed() {
    let mut pod = worker();
    pod["spec"]["containers"][0]["resources"] =
        json!({"limits": {"cpu": 1, "memory": "1Gi"}, "requests": {"cpu": "1000m"}});
    let result = injected(&pod);
    for container in result["spec"]["initContainers"].as_array().expect("a list") {
        assert_eq!(
            container["resources"]["limits"],
            container["resources"]["requests"]
        );
    }
}

#[test]
fn the_drain_fits_into_the_grace_period() {
    let mut pod = worker();
    assert_eq!(
        injected(&pod)["spec"]["initContainers"][1]["lifecycle"]["preStop"]["sleep"]["seconds"],
        2
    );
    pod["spec"]["terminationGracePeriodSeconds"] = json!(0);
    assert_eq!(
        injected(&pod)["spec"]["initContainers"][1].get("lifecycle"),
        None
    );
    pod["metadata"]["annotations"] = json!({"sparkmesh.dev/drain-seconds": "5"});
    assert_eq!(refusals(&pod), [Refusal::InvalidValue]);
}

/// What etcd keeps of a value, nearly: in protocol buffers a field's name costs a byte or two.
fn stored(value: &Value) -> usize {
    const TAG_AND_LENGTH: usize = 3;
    match value {
        Value::Object(map) => map.values().map(stored).sum::<usize>() + TAG_AND_LENGTH,
        Value::Array(list) => list.iter().map(stored).sum::<usize>() + TAG_AND_LENGTH,
        Value::String(text) => text.len() + TAG_AND_LENGTH,
        Value::Null | Value::Bool(_) | Value::Number(_) => TAG_AND_LENGTH,
    }
}

#[test]
fn the_bytes_that_every_pod_pays_for_stay_within_bounds() {
    let added = |pod: &Value| stored(&injected(pod)) - stored(pod);
    let smallest = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "app"}]}});
    println!("smallest {}, worker {}", added(&smallest), added(&worker()));
    // A certificate authority adds some 650 bytes to both.
    assert!(added(&smallest) < 4_850, "{}", added(&smallest));
    assert!(added(&worker()) < 7_200, "{}", added(&worker()));
}

/// A decision about JSON text in a namespace of the mesh.
fn decision_on_text(text: &str) -> Decision {
    decide(
        RawPod::Json(text),
        &Scope {
            config: &MeshConfig::default(),
            baseline: &Baseline::default(),
            namespace: ("spark", Some(&enabled())),
        },
    )
}

fn refusals_of_text(text: &str) -> Vec<Refusal> {
    match decision_on_text(text) {
        Decision::Reject(violations) => violations.iter().map(|v| v.reason).collect(),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_pod_with_something_of_ours_that_cannot_be_read_whole_is_refused() {
    // A view passes over these; a second pass looks at the whole pod.
    for odd in ["1e999", r#""\ud800""#] {
        let pod = format!(
            r#"{{"spec": {{"containers": [{{"name": "a"}}], "odd": {odd},
                "initContainers": [{{"name": "sparkmesh-init"}}]}}}}"#
        );
        assert_eq!(refusals_of_text(&pod), [Refusal::UnreadablePod], "{odd}");
    }
}

#[test]
fn a_list_in_place_of_an_object_is_no_pod() {
    for pod in [
        json!([{}, {"containers": [{"name": "a"}]}]),
        json!({"metadata": ["a"], "spec": {"containers": [{"name": "a"}]}}),
        json!({"spec": [[{"name": "a"}]]}),
        json!({"spec": {"containers": [["a"]]}}),
        json!({"spec": {"containers": [{"name": "a", "readinessProbe": [{"port": 80}]}]}}),
        json!({"spec": {"containers": [{"name": "a", "readinessProbe": {"tcpSocket": [80]}}]}}),
    ] {
        assert_eq!(refusals(&pod), [Refusal::UnreadablePod], "{pod}");
        assert_eq!(
            refusals_of_text(&pod.to_string()),
            [Refusal::UnreadablePod],
            "{pod}"
        );
    }
}

#[test]
fn containers_that_cannot_be_told_apart_are_refused() {
    let probe = |port: u16| json!({"tcpSocket": {"port": port}});
    let pod = json!({"spec": {
        "containers": [{"name": "a", "livenessProbe": probe(1)}, {"name": "a", "livenessProbe": probe(2)}],
    }});
    assert_eq!(refusals(&pod), [Refusal::RepeatedName]);
    let pod = json!({"spec": {
        "containers": [{"name": "a", "livenessProbe": probe(1)}],
        "initContainers": [{"name": "a", "restartPolicy": "Always", "livenessProbe": probe(2)}],
    }});
    assert_eq!(refusals(&pod), [Refusal::RepeatedName]);
}

#[test]
fn a_probe_that_would_lose_something_by_being_rewritten_is_refused() {
    for probe in [
        json!({"tcpSocket": {"port": 80, "patience": 1}}),
        json!({"grpc": {"port": 80, "tls": true}}),
    ] {
        let pod = json!({"spec": {"containers": [{"name": "a", "livenessProbe": probe}]}});
        assert_eq!(refusals(&pod), [Refusal::UnreadablePod], "{probe}");
    }
    let mut pod = worker();
    pod["spec"]["containers"][0]["readinessProbe"]["httpGet"]["patience"] = json!(1);
    let result = injected(&pod);
    assert_eq!(
        result["spec"]["containers"][0]["readinessProbe"]["httpGet"]["patience"],
        1
    );
}
