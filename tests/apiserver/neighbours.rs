//! Other mutating webhooks in the cluster, before and after ours. The neighbour here is a real one:
//! HTTPS in the cluster's network, registered with the API server.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use axum::extract::Path;
use axum::routing::post;
use axum::{Json, Router};
use axum_server::Handle;
use axum_server::tls_rustls::{RustlsConfig, from_tcp_rustls};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::TEAM;
use crate::admission::{self, assert_injected, assert_settled, pod};
use crate::api::Kind;
use crate::cluster::eventually;
use crate::installation::Installation;

const ADDRESS: &str = "198.51.100.1";
/// On every pod that went through the neighbour.
const MARK: &str = "example.com/neighbour";
/// Webhooks are called in the order of their configurations' names.
const ORDERS: [&str; 2] = ["a-before-sparkmesh", "z-after-sparkmesh"];

/// Abuse case 33: whatever a neighbour does, in either order, the outcome is right and stays.
pub(crate) fn in_either_order_the_outcome_is_right_and_stays(mesh: &Installation<'_>) {
    let server = Server::start(mesh.api.runtime());
    for order in ORDERS {
        for habit in ["sidecar", "environment", "init", "volume"] {
            let _registered = server.register(mesh, order, habit);
            let stored = admission::injects(mesh, &pod(TEAM, habit));
            assert_eq!(stored["metadata"]["annotations"][MARK], habit, "{order}");
            assert_injected(&stored);
            assert_settled(mesh, &stored);
            assert_did_its_work(habit, order, &stored);

            let mut again = stored.clone();
            again["metadata"] = json!({
                "name": habit, "namespace": TEAM, "annotations": stored["metadata"]["annotations"],
            });
            again.as_object_mut().expect("a pod").remove("status");
            let twice = admission::injects(mesh, &again);
            admission::assert_same(&twice, &stored);
        }
    }
}

pub(crate) fn a_neighbour_that_asks_for_the_nodes_network_is_refused(mesh: &Installation<'_>) {
    let server = Server::start(mesh.api.runtime());
    for order in ORDERS {
        let _registered = server.register(mesh, order, "host-network");
        let message = admission::refuses(mesh, &pod(TEAM, "on-the-node"), "host-network");
        assert!(message.contains("spec.hostNetwork"), "{order}: {message}");
    }
}

fn assert_did_its_work(habit: &str, order: &str, stored: &Value) {
    let containers = stored["spec"]["containers"].as_array().expect("containers");
    match habit {
        "sidecar" => {
            assert_eq!(
                admission::names_of(stored, "containers"),
                ["app", "metrics"]
            );
            let port = &containers[1]["readinessProbe"]["httpGet"]["port"];
            assert_eq!(
                *port, 15021,
                "{order}: the probe of a late container goes through the proxy"
            );
        }
        "environment" => {
            for container in containers {
                assert_eq!(container["env"][0]["name"], "NEIGHBOUR", "{order}");
            }
        }
        "init" => {
            let init = admission::names_of(stored, "initContainers");
            assert_eq!(
                init[2..],
                ["first"],
                "{order}: behind ours, so that it has the network"
            );
        }
        "volume" => {
            let mounts = containers[0]["volumeMounts"].as_array().expect("mounts");
            assert!(mounts.iter().any(|it| it["name"] == "conf"), "{order}");
        }
        other => panic!("no such habit: {other}"),
    }
}

struct Server {
    handle: Handle<SocketAddr>,
    address: SocketAddr,
    certificate: String,
}

impl Server {
    fn start(runtime: &Arc<Runtime>) -> Server {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![ADDRESS.to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("self-signed").pem();
        let listener = TcpListener::bind((ADDRESS, 0)).expect("the bench's address");
        let address = listener.local_addr().expect("bound");
        listener.set_nonblocking(true).expect("possible");
        let handle = Handle::new();
        let serve = {
            let (handle, certificate) = (handle.clone(), certificate.clone());
            async move {
                let pair = (certificate.into_bytes(), key.serialize_pem().into_bytes());
                let tls = RustlsConfig::from_pem(pair.0, pair.1)
                    .await
                    .expect("a pair");
                let routes = Router::new().route("/{habit}", post(mutate));
                let server = from_tcp_rustls(listener, tls).expect("a listener");
                let served = server
                    .handle(handle)
                    .serve(routes.into_make_service())
                    .await;
                served.expect("served");
            }
        };
        runtime.spawn(serve);
        Server {
            handle,
            address,
            certificate,
        }
    }

    /// Registers it for pods of the team, and waits until the API server calls it.
    fn register<'m>(
        &self,
        mesh: &'m Installation<'m>,
        name: &str,
        habit: &'static str,
    ) -> Registered<'m> {
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [{
                "name": "neighbour.example.com",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "clientConfig": {
                    "url": format!("https://{}/{habit}", self.address),
                    "caBundle": STANDARD.encode(&self.certificate),
                },
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": TEAM}},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            }],
        });
        mesh.api.create(&configuration).expect("registered");
        let registered = Registered {
            mesh,
            name: name.to_owned(),
        };
        eventually("the API server calls the neighbour", || {
            registered.is_in_force(habit).then_some(())
        });
        registered
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

struct Registered<'m> {
    mesh: &'m Installation<'m>,
    name: String,
}

impl Registered<'_> {
    fn is_in_force(&self, habit: &str) -> bool {
        match self.mesh.api.create_dry(&pod(TEAM, "probe")) {
            Ok(stored) => stored["metadata"]["annotations"][MARK] == habit,
            Err(refused) => refused.message.contains("[host-network]"),
        }
    }

    fn is_out_of_force(&self) -> bool {
        let stored = self.mesh.api.create_dry(&pod(TEAM, "probe"));
        stored.is_ok_and(|stored| stored["metadata"]["annotations"][MARK].is_null())
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        let kind = Kind::new(
            "admissionregistration.k8s.io/v1",
            "MutatingWebhookConfiguration",
        );
        let gone = self.mesh.api.delete(&kind, "", &self.name);
        if !std::thread::panicking() {
            gone.expect("deleted");
            eventually("the API server forgets the neighbour", || {
                self.is_out_of_force().then_some(())
            });
        }
    }
}

/// Does what its path says, to a pod to which it has not done it yet.
async fn mutate(Path(habit): Path<String>, Json(review): Json<Value>) -> Json<Value> {
    let request = &review["request"];
    let patch = habit_as_patch(&habit, &request["object"]);
    Json(json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {
            "uid": request["uid"], "allowed": true,
            "patchType": "JSONPatch", "patch": STANDARD.encode(Value::Array(patch).to_string()),
        },
    }))
}

fn habit_as_patch(habit: &str, pod: &Value) -> Vec<Value> {
    let add = |path: &str, value: Value| json!({"op": "add", "path": path, "value": value});
    let list = |pointer: &str| {
        pod.pointer(pointer)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    if pod["metadata"]["annotations"][MARK] == habit {
        return vec![];
    }
    let mut patch = vec![];
    if pod["metadata"]["annotations"].is_null() {
        patch.push(add("/metadata/annotations", json!({})));
    }
    patch.push(add(
        "/metadata/annotations/example.com~1neighbour",
        json!(habit),
    ));
    match habit {
        "sidecar" => patch.push(add("/spec/containers/-", json!({
            "name": "metrics", "image": "example.org/metrics:1", "ports": [{"containerPort": 9404}],
            "readinessProbe": {"httpGet": {"path": "/metrics", "port": 9404}},
        }))),
        // As the operators do: to every container there is, ours too.
        "environment" => {
            for field in ["containers", "initContainers"] {
                for (index, container) in list(&format!("/spec/{field}")).iter().enumerate() {
                    let at = format!("/spec/{field}/{index}/env");
                    let variable = json!({"name": "NEIGHBOUR", "value": "was here"});
                    if container["env"].is_null() {
                        patch.push(add(&at, json!([variable])));
                    } else {
                        patch.push(add(&format!("{at}/0"), variable));
                    }
                }
            }
        }
        "init" => {
            let first = json!({"name": "first", "image": "example.org/first:1"});
            if pod["spec"]["initContainers"].is_null() {
                patch.push(add("/spec/initContainers", json!([first])));
            } else {
                patch.push(add("/spec/initContainers/0", first));
            }
        }
        "volume" => {
            let volume = json!({"name": "conf", "emptyDir": {}});
            let mount = json!({"name": "conf", "mountPath": "/opt/spark/conf"});
            patch.push(add("/spec/volumes/0", volume));
            patch.push(add("/spec/containers/0/volumeMounts/0", mount));
        }
        "host-network" => patch.push(add("/spec/hostNetwork", json!(true))),
        other => panic!("no such habit: {other}"),
    }
    patch
}
