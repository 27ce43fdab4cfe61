//! Ways around the mesh that a tenant may try, numbered as in the list of abuse cases that this
//! project holds itself to.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sparkmesh_policy::names;

use crate::TEAM;
use crate::admission::{self, injects, leaves_alone, pod, pod_with, refuses};
use crate::api::Kind;
use crate::cluster::{eventually, repository, say};
use crate::installation::{Installation, make_namespace};
use crate::review::{self, review};

fn in_spec(spec: &Value) -> Value {
    pod_with("abuse", &json!({"spec": spec}))
}

fn in_metadata(metadata: &Value) -> Value {
    pod_with("abuse", &json!({"metadata": metadata}))
}

fn in_container(fields: &Value) -> Value {
    let mut pod = pod(TEAM, "abuse");
    json_patch::merge(&mut pod["spec"]["containers"][0], fields);
    pod
}

fn as_init_container(fields: &Value) -> Value {
    let mut container = json!({"name": "prepare", "image": "example.org/prepare:1"});
    json_patch::merge(&mut container, fields);
    in_spec(&json!({"initContainers": [container]}))
}

pub(crate) fn case_10_opting_out_is_the_platforms_to_allow(mesh: &Installation<'_>) {
    let opting_out = in_metadata(&json!({"labels": {names::INJECTION_LABEL: "disabled"}}));
    refuses(mesh, &opting_out, "opt-out-denied");
    // Who may write a baseline may allow it; the webhooks follow.
    let file = repository().join("examples/mesh/baseline.yaml");
    let file = file.to_str().expect("UTF-8");
    mesh.cluster.kubectl(&["apply", "--filename", file]);
    eventually("the baseline is known to the webhooks", || {
        let both = mesh
            .reviewers()
            .into_iter()
            .all(|to| review(mesh, to, &opting_out, "CREATE")["allowed"] == true);
        both.then_some(())
    });
    leaves_alone(mesh, &opting_out);
    mesh.cluster.kubectl(&["delete", "--filename", file]);
    eventually("the baseline is forgotten", || {
        let none = mesh
            .reviewers()
            .into_iter()
            .all(|to| review(mesh, to, &opting_out, "CREATE")["allowed"] == false);
        none.then_some(())
    });
    refuses(mesh, &opting_out, "opt-out-denied");
}

/// What holds now: who may unlabel a namespace takes its new pods out of the mesh. Those that run
/// stay in it.
pub(crate) fn case_12_a_namespace_without_its_label(mesh: &Installation<'_>) {
    let namespace = "unlabelled";
    make_namespace(mesh.api, namespace, true);
    let create = |name: &str| mesh.api.create(&pod(namespace, name)).expect("created");
    let before = create("before");
    assert!(admission::is_injected(&before));
    let removed = json!({"metadata": {"labels": {names::INJECTION_LABEL: null}}});
    mesh.api
        .merge(&Kind::core("Namespace"), "", namespace, &removed)
        .expect("unlabelled");
    let mut number = 0;
    eventually("new pods are not injected any more", || {
        number += 1;
        (!admission::is_injected(&create(&format!("after-{number}")))).then_some(())
    });
    let before = mesh.api.find(&Kind::core("Pod"), namespace, "before");
    assert!(admission::is_injected(&before.expect("it stays")));
    say(
        "note  a tenant who may edit the namespace can take it out of the mesh: nothing guards the label yet",
    );
}

pub(crate) fn case_13_the_nodes_network(mesh: &Installation<'_>) {
    let message = refuses(
        mesh,
        &in_spec(&json!({"hostNetwork": true})),
        "host-network",
    );
    assert!(message.contains("spec.hostNetwork: "), "{message}");
    assert!(message.contains("remove hostNetwork"), "{message}");
}

pub(crate) fn case_14_what_only_looks_injected(mesh: &Installation<'_>) {
    let honest = injects(mesh, &pod(TEAM, "abuse"));
    let assert_ours = |pod: &Value| {
        let ours = |pod: &Value| {
            let list = &pod["spec"]["initContainers"];
            let annotation = &pod["metadata"]["annotations"][names::INJECTED_ANNOTATION];
            json!([list[0], list[1], annotation])
        };
        admission::assert_equal("ours", &ours(pod), &ours(&honest));
    };

    for name in [names::INIT_CONTAINER, names::PROXY_CONTAINER] {
        refuses(
            mesh,
            &as_init_container(&json!({"name": name})),
            "reserved-name",
        );
        refuses(mesh, &in_container(&json!({"name": name})), "reserved-name");
    }
    let annotated =
        in_metadata(&json!({"annotations": {names::INJECTED_ANNOTATION: "0123456789abcdef"}}));
    assert_ours(&injects(mesh, &annotated));

    // Our images, and a proxy that does nothing.
    let mut hollow = as_written(&honest);
    hollow["spec"]["initContainers"][1]["args"] = json!(["--version"]);
    assert_ours(&injects(mesh, &hollow));
    // Our images, behind an init container that has the network to itself.
    let mut late = as_written(&honest);
    let list = late["spec"]["initContainers"]
        .as_array_mut()
        .expect("a list");
    list.insert(0, json!({"name": "early", "image": "example.org/early:1"}));
    let put_right = injects(mesh, &late);
    assert_eq!(
        admission::names_of(&put_right, "initContainers")[2..],
        ["early"]
    );
    // A proxy with the rights to undo the redirection.
    let mut strong = as_written(&honest);
    strong["spec"]["initContainers"][1]["securityContext"] = json!({"privileged": true});
    assert_ours(&injects(mesh, &strong));
    // More than we put there.
    let mut more = as_written(&honest);
    more["spec"]["initContainers"][1]["env"] =
        json!([{"name": "LD_PRELOAD", "value": "/tmp/x.so"}]);
    assert_ours(&injects(mesh, &more));
}

/// A stored pod as a manifest, without what the API server adds.
fn as_written(stored: &Value) -> Value {
    let mut pod = stored.clone();
    pod["metadata"] = json!({
        "name": stored["metadata"]["name"],
        "namespace": stored["metadata"]["namespace"],
        "annotations": stored["metadata"]["annotations"],
    });
    pod.as_object_mut().expect("a pod").remove("status");
    pod
}

pub(crate) fn case_17_ends_are_never_held_up(mesh: &Installation<'_>) {
    let kind = Kind::core("Pod");
    let held = in_metadata(&json!({"name": "held", "finalizers": ["example.com/hold"]}));
    mesh.api.create(&held).expect("created");
    mesh.api
        .delete(&kind, TEAM, "held")
        .expect("its end begins");
    let ending = mesh.api.find(&kind, TEAM, "held").expect("it is held");
    assert!(ending["metadata"]["deletionTimestamp"].is_string());
    let release = json!({"metadata": {"finalizers": null}});
    mesh.api
        .merge(&kind, TEAM, "held", &release)
        .expect("released");
    eventually("it is gone", || {
        mesh.api.find(&kind, TEAM, "held").is_none().then_some(())
    });

    // Were the webhook asked about updates, it would let them pass.
    for to in mesh.reviewers() {
        let response = review(mesh, to, &ending, "UPDATE");
        assert_eq!(response["allowed"], true, "{response}");
    }
    // A new pod that says its end has begun is a new pod: the API server takes the word away first.
    let pretending = in_metadata(&json!({
        "deletionTimestamp": "2020-01-01T00:00:00Z", "deletionGracePeriodSeconds": 0,
    }));
    injects(mesh, &pretending);
}

pub(crate) fn case_18_a_namespace_that_nobody_knows(mesh: &Installation<'_>) {
    for to in mesh.reviewers() {
        let response = review(mesh, to, &pod("nowhere", "lost"), "CREATE");
        assert_eq!(response["allowed"], false, "{response}");
        let message = response["status"]["message"].as_str().unwrap_or_default();
        assert!(message.ends_with("[namespace-unknown]"), "{message}");
        assert!(message.contains("try again"), "{message}");
    }
}

pub(crate) fn case_19_the_proxys_user(mesh: &Installation<'_>) {
    let user = json!({"securityContext": {"runAsUser": 1337}});
    refuses(mesh, &in_spec(&user), "proxy-uid");
    refuses(mesh, &in_container(&user), "proxy-uid");
    refuses(mesh, &as_init_container(&user), "proxy-uid");
}

pub(crate) fn case_20_rights_over_the_network(mesh: &Installation<'_>) {
    for capability in ["NET_ADMIN", "NET_RAW", "ALL", "net_admin", "CAP_NET_ADMIN"] {
        let rights = json!({"securityContext": {"capabilities": {"add": [capability]}}});
        refuses(mesh, &in_container(&rights), "network-capability");
        refuses(mesh, &as_init_container(&rights), "network-capability");
    }
    let privileged = json!({"securityContext": {"privileged": true}});
    refuses(mesh, &in_container(&privileged), "privileged");
}

pub(crate) fn case_22_exclusions_beyond_the_platforms_list(mesh: &Installation<'_>) {
    for (key, value) in [
        (names::annotation::EXCLUDE_INBOUND_PORTS, "8081"),
        (names::annotation::EXCLUDE_OUTBOUND_PORTS, "443"),
        (names::annotation::EXCLUDE_OUTBOUND_CIDRS, "10.0.0.0/8"),
    ] {
        let excluding = in_metadata(&json!({"annotations": {key: value}}));
        let message = refuses(mesh, &excluding, "exclusion-denied");
        assert!(message.contains(key), "{message}");
    }
}

pub(crate) fn case_25_into_the_proxys_process_or_files(mesh: &Installation<'_>) {
    refuses(
        mesh,
        &in_spec(&json!({"shareProcessNamespace": true})),
        "shared-processes",
    );
    refuses(
        mesh,
        &in_spec(&json!({"hostPID": true})),
        "shared-processes",
    );
    let token = json!({"serviceAccountToken": {"path": "t", "audience": names::TOKEN_AUDIENCE}});
    let volume = json!({"name": "mine", "projected": {"sources": [token]}});
    refuses(
        mesh,
        &in_spec(&json!({"volumes": [volume]})),
        "token-audience",
    );

    // The token's volume, mounted by the application: with ours there, and with one of its own.
    let mount = json!([{"name": names::TOKEN_VOLUME, "mountPath": "/t"}]);
    let mut own = in_container(&json!({"volumeMounts": mount}));
    own["spec"]["volumes"] = json!([{"name": names::TOKEN_VOLUME, "emptyDir": {}}]);
    let refused = mesh.api.create_dry(&own).expect_err("refused");
    let reasons: BTreeSet<_> = admission::reasons(&refused.message).into_iter().collect();
    assert_eq!(reasons, ["reserved-name"].into(), "{refused}");
    let mut ours = as_written(&injects(mesh, &pod(TEAM, "abuse")));
    let mounts = ours["spec"]["containers"][0]["volumeMounts"].as_array_mut();
    mounts
        .expect("the token of the service account")
        .push(mount[0].clone());
    refuses(mesh, &ours, "reserved-name");
}

pub(crate) fn case_32_the_same_review_twice(mesh: &Installation<'_>) {
    for to in mesh.reviewers() {
        let once = review::bytes(mesh, to, &pod(TEAM, "twice"), "CREATE");
        let again = review::bytes(mesh, to, &pod(TEAM, "twice"), "CREATE");
        assert_eq!(once, again);
    }
}

/// The webhook lets pass what mirrors a file on a node. For a tenant that is no way out: no kubelet
/// runs such a pod, and the mark cannot be taken off again.
pub(crate) fn a_pod_that_pretends_to_mirror_a_nodes_file(mesh: &Installation<'_>) {
    let mark = "kubernetes.io/config.mirror";
    let pretending = pod_with(
        "mirror",
        &json!({"metadata": {"annotations": {mark: "hash"}}, "spec": {"nodeName": "hollow"}}),
    );
    mesh.api.create(&pretending).expect("created");
    let off = json!({"metadata": {"annotations": {mark: null}}});
    let refused = mesh.api.merge(&Kind::core("Pod"), TEAM, "mirror", &off);
    let refused = refused.expect_err("the mark stays");
    assert_eq!(refused.code, 422, "{refused}");
    mesh.api
        .delete(&Kind::core("Pod"), TEAM, "mirror")
        .expect("deleted");
}
