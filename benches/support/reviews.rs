//! Reviews as an API server sends them for pods of a standalone Spark cluster: after its own
//! admission plug-ins and defaults, without `managedFields`, which come later.

#![allow(dead_code)] // each benchmark is a crate of its own and uses another part

use serde_json::{Value, json};

/// The namespace of every review.
pub(crate) const NAMESPACE: &str = "team";

/// The worker that users start from.
pub(crate) fn small() -> Value {
    review(&[worker("spark-worker")], &json!({}))
}

/// As many containers, each like the worker.
pub(crate) fn containers(number: usize) -> Value {
    let workers = (0..number).map(|index| worker(&format!("spark-worker-{index}")));
    review(&workers.collect::<Vec<_>>(), &json!({}))
}

/// The worker with that many environment variables; some 45 bytes each.
pub(crate) fn variables(number: usize) -> Value {
    let variable = |index| {
        json!({
            "name": format!("SPARK_VARIABLE_{index:04}"),
            "value": format!("value-{index:04}"),
        })
    };
    let mut worker = worker("spark-worker");
    worker["env"] = (0..number).map(variable).collect();
    review(&[worker], &json!({}))
}

/// The worker with 64 KiB of annotations, as `kubectl apply` leaves them: JSON inside of a string.
pub(crate) fn annotations() -> Value {
    let applied = variables(1440)["request"]["object"].to_string();
    let key = "kubectl.kubernetes.io/last-applied-configuration";
    review(
        &[worker("spark-worker")],
        &json!({ key: &applied[..64 << 10] }),
    )
}

/// The body of a review.
pub(crate) fn bytes(review: &Value) -> Vec<u8> {
    serde_json::to_vec(review).expect("a value serialises")
}

fn worker(name: &str) -> Value {
    json!({
        "name": name,
        "image": "apache/spark:3.5.6",
        "command": ["/opt/spark/bin/spark-class", "org.apache.spark.deploy.worker.Worker",
            "--port", "7078", "--webui-port", "8081", "spark://spark-master:7077"],
        "ports": [{"containerPort": 8081, "protocol": "TCP"}, {"containerPort": 7078, "protocol": "TCP"}],
        "resources": {"requests": {"cpu": "100m", "memory": "1Gi"}},
        "volumeMounts": [{"name": "kube-api-access-8xk2p", "readOnly": true,
            "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}],
        "livenessProbe": {"httpGet": {"path": "/", "port": 8081, "scheme": "HTTP"},
            "initialDelaySeconds": 20, "timeoutSeconds": 1, "periodSeconds": 10,
            "successThreshold": 1, "failureThreshold": 3},
        "readinessProbe": {"httpGet": {"path": "/", "port": 8081, "scheme": "HTTP"},
            "timeoutSeconds": 1, "periodSeconds": 5, "successThreshold": 1, "failureThreshold": 3},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
    })
}

fn review(containers: &[Value], annotations: &Value) -> Value {
    let pods = json!({"group": "", "version": "v1", "resource": "pods"});
    let kind = json!({"group": "", "version": "v1", "kind": "Pod"});
    let mut pod = pod(containers);
    if annotations.as_object().is_some_and(|all| !all.is_empty()) {
        pod["metadata"]["annotations"] = annotations.clone();
    }
    json!({
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": kind,
            "resource": pods,
            "requestKind": kind,
            "requestResource": pods,
            "namespace": NAMESPACE,
            "operation": "CREATE",
            "userInfo": {
                "username": "system:serviceaccount:kube-system:replicaset-controller",
                "uid": "9c9f2f6a-3c65-4a94-8a40-9d8f1b6f3a1e",
                "groups": ["system:serviceaccounts", "system:serviceaccounts:kube-system",
                    "system:authenticated"],
                "extra": {"authentication.kubernetes.io/credential-id":
                    ["JTI=4a6d7f0e-9d1c-4d2e-8a6f-0b9c1f7a2d33"]},
            },
            "object": pod,
            "oldObject": null,
            "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    })
}

fn pod(containers: &[Value]) -> Value {
    let toleration = |key: &str| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
    json!({
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "generateName": "spark-worker-6d4b75cb6d-",
            "namespace": NAMESPACE,
            "creationTimestamp": null,
            "labels": {"component": "spark-worker", "pod-template-hash": "6d4b75cb6d"},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "spark-worker-6d4b75cb6d",
                "uid": "0b1d2c3e-4f50-4a61-8b72-9c83ad94be05",
                "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": {
            "volumes": [{"name": "kube-api-access-8xk2p", "projected": {"defaultMode": 420, "sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt",
                    "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{"path": "namespace",
                    "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
            ]}}],
            "containers": containers,
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst",
            "serviceAccountName": "default",
            "serviceAccount": "default",
            "securityContext": {},
            "schedulerName": "default-scheduler",
            "tolerations": [toleration("node.kubernetes.io/not-ready"),
                toleration("node.kubernetes.io/unreachable")],
            "priority": 0,
            "enableServiceLinks": true,
            "preemptionPolicy": "PreemptLowerPriority",
        },
        "status": {},
    })
}
