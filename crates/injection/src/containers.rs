//! The two containers and the two volumes that an injected pod gains, as Kubernetes reads them.
//!
//! Security contexts follow Pod Security "restricted" wherever redirection permits: only the init
//! container runs as root, and it keeps two capabilities and nothing else; see
//! <https://kubernetes.io/docs/concepts/security/pod-security-standards/>.

use serde_json::{Map, Value, json};
use sparkmesh_policy::names;
use sparkmesh_policy::port::Port;

use crate::bootstrap::NO_HOT_RESTART;
use crate::config::MeshConfig;
use crate::plan::{Bounds, InjectionPlan};

/// Seconds until a new token replaces the old one; the kubelet renews it at four fifths.
const TOKEN_SECONDS: u32 = 3600;
/// How often in a row the kubelet asks, once a second, before it restarts a proxy that has no
/// certificate: long enough for a control plane to come back.
const STARTUP_TRIES: u32 = 600;

/// The init container that programs the redirection.
pub(crate) fn init(plan: &InjectionPlan, config: &MeshConfig) -> Value {
    json!({
        "name": names::INIT_CONTAINER,
        "image": config.init_image.as_str(),
        "args": plan.redirect.to_args(),
        "env": [field_env(names::POD_IP_VARIABLE, "status.podIP"), field_env(names::HOST_IP_VARIABLE, "status.hostIP")],
        "resources": resources(&plan.init_resources),
        "securityContext": {
            "runAsUser": 0,
            "runAsGroup": 0,
            "runAsNonRoot": false,
            "privileged": false,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [no_account_token()],
    })
}

/// The native sidecar that runs Envoy.
pub(crate) fn proxy(plan: &InjectionPlan, config: &MeshConfig, bootstrap: &str) -> Value {
    let mut container = json!({
        "name": names::PROXY_CONTAINER,
        "image": config.proxy_image.as_str(),
        "restartPolicy": "Always",
        "command": ["envoy"],
        "args": [
            "--config-yaml", bootstrap,
            "--log-level", plan.log_level.word(),
            "--concurrency", plan.threads.to_string(),
            NO_HOT_RESTART,
        ],
        "env": [
            field_env("POD_NAME", "metadata.name"),
            field_env("POD_NAMESPACE", "metadata.namespace"),
            field_env(names::POD_IP_VARIABLE, "status.podIP"),
        ],
        "ports": [{"name": "mesh-metrics", "containerPort": Port::METRICS}],
        "resources": resources(&plan.proxy_resources),
        "securityContext": {
            "runAsUser": names::PROXY_UID,
            "runAsGroup": names::PROXY_UID,
            "runAsNonRoot": true,
            "privileged": false,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "startupProbe": {
            "httpGet": {"path": "/ready", "port": Port::HEALTH},
            "periodSeconds": 1,
            "failureThreshold": STARTUP_TRIES,
        },
        "volumeMounts": [
            {"name": names::TOKEN_VOLUME, "mountPath": names::TOKEN_FOLDER, "readOnly": true},
            {"name": names::RUN_VOLUME, "mountPath": names::RUN_FOLDER},
            no_account_token(),
        ],
    });
    if let Some(seconds) = plan.drain_seconds {
        container["lifecycle"] = json!({"preStop": {"sleep": {"seconds": seconds}}});
    }
    container
}

/// The volumes of the proxy alone. Scratch space in memory counts against the proxy and, unlike a
/// folder on the node, does not keep the cluster autoscaler from removing the node.
pub(crate) fn volumes() -> Vec<Value> {
    vec![
        json!({
            "name": names::TOKEN_VOLUME,
            "projected": {"sources": [{"serviceAccountToken": {
                "audience": names::TOKEN_AUDIENCE,
                "expirationSeconds": TOKEN_SECONDS,
                "path": names::TOKEN_FILE,
            }}]},
        }),
        json!({
            "name": names::RUN_VOLUME,
            "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"},
        }),
    ]
}

/// Stands where the API server would mount the service account's token into a container that has
/// nothing there: ours need none. Its mount would also change the pod behind our back, and cost a
/// second review of every pod.
fn no_account_token() -> Value {
    json!({"name": names::RUN_VOLUME, "mountPath": SERVICE_ACCOUNT_FOLDER, "readOnly": true})
}

/// Where the API server mounts it, see
/// <https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#token-controller>.
const SERVICE_ACCOUNT_FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

fn field_env(name: &str, path: &str) -> Value {
    json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}})
}

fn resources(bounds: &Bounds) -> Value {
    let list = |cpu: &Option<String>, memory: &Option<String>| {
        let mut list = Map::new();
        for (key, amount) in [("cpu", cpu), ("memory", memory)] {
            if let Some(amount) = amount {
                list.insert(key.to_owned(), json!(amount));
            }
        }
        list
    };
    let mut resources = Map::new();
    for (key, list) in [
        (
            "requests",
            list(&bounds.cpu_request, &bounds.memory_request),
        ),
        ("limits", list(&bounds.cpu_limit, &bounds.memory_limit)),
    ] {
        if !list.is_empty() {
            resources.insert(key.to_owned(), Value::Object(list));
        }
    }
    Value::Object(resources)
}
