//! Pods from bytes: what a pod may look like is told as data, and at every step the bytes may
//! choose nothing, null or something else altogether.

use arbitrary::{Result, Unstructured};
use serde_json::{Map, Value, json};

/// What a value usually is.
enum Shape {
    Text(&'static [&'static str]),
    Number(&'static [i64]),
    Bool,
    /// Quantities and ports: text or a number.
    Either(&'static [&'static str], &'static [i64]),
    List(&'static Shape),
    Map(&'static [&'static str], &'static [&'static str]),
    Object(&'static [(&'static str, Shape)]),
}

use Shape::{Bool, Either, List, Number, Object, Text};

/// A pod.
pub fn pod(bytes: &mut Unstructured<'_>) -> Result<Value> {
    fill(&POD, bytes)
}

/// Any value, mostly small.
pub fn anything(bytes: &mut Unstructured<'_>, depth: u32) -> Result<Value> {
    Ok(
        match bytes.int_in_range(0..=if depth == 0 { 5 } else { 7 })? {
            0 => Value::Null,
            1 => json!(bytes.arbitrary::<bool>()?),
            2 => json!(bytes.arbitrary::<i64>()?),
            3 => json!(bytes.arbitrary::<f64>()?),
            4 => json!(bytes.arbitrary::<&str>()?),
            5 => json!(*bytes.choose(WORDS)?),
            6 => {
                let mut items = Vec::new();
                for _ in 0..bytes.int_in_range(0..=3)? {
                    items.push(anything(bytes, depth - 1)?);
                }
                Value::Array(items)
            }
            _ => {
                let mut fields = Map::new();
                for _ in 0..bytes.int_in_range(0..=3)? {
                    let key = (*bytes.choose(WORDS)?).to_owned();
                    fields.insert(key, anything(bytes, depth - 1)?);
                }
                Value::Object(fields)
            }
        },
    )
}

fn fill(shape: &Shape, bytes: &mut Unstructured<'_>) -> Result<Value> {
    match bytes.int_in_range(0..=63)? {
        0 | 1 => return Ok(Value::Null),
        2 => return anything(bytes, 3),
        _ => {}
    }
    Ok(match shape {
        Text(usual) => json!(text(usual, bytes)?),
        Number(usual) => number(usual, bytes)?,
        Bool => json!(bytes.arbitrary::<bool>()?),
        Either(texts, numbers) => match bytes.arbitrary()? {
            true => json!(text(texts, bytes)?),
            false => number(numbers, bytes)?,
        },
        List(item) => {
            let mut items = Vec::new();
            for _ in 0..bytes.int_in_range(0..=4)? {
                items.push(fill(item, bytes)?);
            }
            Value::Array(items)
        }
        Shape::Map(keys, values) => {
            let mut fields = Map::new();
            for _ in 0..bytes.int_in_range(0..=4)? {
                fields.insert(text(keys, bytes)?, json!(text(values, bytes)?));
            }
            Value::Object(fields)
        }
        Object(shapes) => {
            let mut fields = Map::new();
            for (key, shape) in *shapes {
                if bytes.arbitrary()? {
                    fields.insert((*key).to_owned(), fill(shape, bytes)?);
                }
            }
            Value::Object(fields)
        }
    })
}

fn text(usual: &[&str], bytes: &mut Unstructured<'_>) -> Result<String> {
    Ok(match bytes.ratio(1, 8)? {
        true => bytes.arbitrary::<String>()?,
        false => (*bytes.choose(usual)?).to_owned(),
    })
}

fn number(usual: &[i64], bytes: &mut Unstructured<'_>) -> Result<Value> {
    Ok(match bytes.ratio(1, 8)? {
        true => json!(bytes.arbitrary::<i64>()?),
        false => json!(*bytes.choose(usual)?),
    })
}

const POD: Shape = Object(&[
    ("apiVersion", Text(&["v1"])),
    ("kind", Text(&["Pod"])),
    ("metadata", METADATA),
    ("spec", SPEC),
    ("status", Object(&[])),
]);

const METADATA: Shape = Object(&[
    ("name", NAME),
    ("generateName", NAME),
    ("namespace", NAME),
    (
        "labels",
        Shape::Map(
            LABELS,
            &["driver", "executor", "enabled", "disabled", "spark-1"],
        ),
    ),
    ("annotations", Shape::Map(ANNOTATIONS, VALUES)),
    ("ownerReferences", List(&OWNER)),
    ("deletionTimestamp", Text(&["2026-01-01T00:00:00Z"])),
]);

const OWNER: Shape = Object(&[
    ("apiVersion", Text(&["apps/v1"])),
    ("kind", Text(&["ReplicaSet"])),
    ("name", NAME),
    ("uid", NAME),
    ("controller", Bool),
]);

const SPEC: Shape = Object(&[
    ("containers", List(&CONTAINER)),
    ("initContainers", List(&CONTAINER)),
    ("volumes", List(&VOLUME)),
    ("hostNetwork", Bool),
    ("hostPID", Bool),
    ("shareProcessNamespace", Bool),
    ("securityContext", SECURITY),
    ("resources", RESOURCES),
    ("os", Object(&[("name", Text(&["linux", "windows"]))])),
    (
        "nodeSelector",
        Shape::Map(&["kubernetes.io/os", "disk"], &["linux", "windows"]),
    ),
    ("terminationGracePeriodSeconds", Number(&[0, 1, 30, 3600])),
]);

const CONTAINER: Shape = Object(&[
    ("name", NAME),
    (
        "image",
        Text(&[
            "spark:4",
            "sparkmesh:0.1.0",
            "envoyproxy/envoy:distroless-v1.40.0",
        ]),
    ),
    ("command", List(&COMMAND)),
    ("args", List(&COMMAND)),
    ("ports", List(&PORT)),
    ("resources", RESOURCES),
    ("securityContext", SECURITY),
    ("restartPolicy", Text(&["Always", "Never"])),
    ("readinessProbe", PROBE),
    ("livenessProbe", PROBE),
    ("startupProbe", PROBE),
    (
        "lifecycle",
        Object(&[("preStop", HOOK), ("postStart", HOOK)]),
    ),
    (
        "volumeMounts",
        List(&Object(&[("name", NAME), ("mountPath", NAME)])),
    ),
]);

const COMMAND: Shape = Text(&[
    "/opt/spark/sbin/start-worker.sh",
    "sh",
    "-c",
    "start-master.sh",
]);
const HOOK: Shape = Object(&[("httpGet", HTTP), ("exec", Object(&[]))]);
const PORT: Shape = Object(&[
    ("name", Text(&["ui", "http", "http-ui"])),
    ("containerPort", Number(&[80, 8080, 8081, 15021, 0, 65536])),
    ("protocol", Text(&["TCP", "UDP", ""])),
]);
const PROBE: Shape = Object(&[
    ("httpGet", HTTP),
    ("tcpSocket", Object(&[("port", ANY_PORT), ("host", HOST)])),
    (
        "grpc",
        Object(&[
            ("port", Number(&[80, 0, 15021])),
            ("service", Text(&["", "spark"])),
        ]),
    ),
    ("exec", Object(&[])),
    ("timeoutSeconds", Number(&[0, 1, 5, -1])),
    ("periodSeconds", Number(&[1, 5])),
]);
const HTTP: Shape = Object(&[
    ("path", Text(&["/", "", "ok?a=1#b", "//x", "/%2e", "/ä"])),
    ("port", ANY_PORT),
    ("host", HOST),
    ("scheme", Text(&["HTTP", "HTTPS", ""])),
    (
        "httpHeaders",
        List(&Object(&[("name", NAME), ("value", NAME)])),
    ),
]);
const HOST: Shape = Text(&["", "127.0.0.1", "example.org"]);
const ANY_PORT: Shape = Either(
    &["ui", "http", "80", "", "nowhere"],
    &[80, 8081, 15021, 0, 70000],
);
const SECURITY: Shape = Object(&[
    ("runAsUser", Number(&[0, 185, 1337])),
    ("privileged", Bool),
    (
        "capabilities",
        Object(&[(
            "add",
            List(&Text(&["NET_ADMIN", "CAP_NET_RAW", "SYS_PTRACE"])),
        )]),
    ),
]);
const RESOURCES: Shape = Object(&[("requests", AMOUNTS), ("limits", AMOUNTS)]);
const AMOUNTS: Shape = Object(&[
    ("cpu", Either(&["100m", "1", "0.5", "1e3", "-1"], &[1, 2])),
    (
        "memory",
        Either(
            &["64Mi", "1Gi", "1e9", "9999999999999999999999E"],
            &[1, 1_000_000],
        ),
    ),
]);
const VOLUME: Shape = Object(&[
    ("name", NAME),
    ("emptyDir", Object(&[])),
    (
        "projected",
        Object(&[("sources", List(&Object(&[("serviceAccountToken", TOKEN)])))]),
    ),
]);
const TOKEN: Shape = Object(&[
    ("audience", Text(&["sparkmesh", "other"])),
    ("path", Text(&["token"])),
    ("expirationSeconds", Number(&[3600])),
]);

const NAME: Shape = Text(&[
    "a",
    "b",
    "c",
    "Odd.Name",
    "",
    "ä",
    "sparkmesh-init",
    "sparkmesh-proxy",
    "sparkmesh-token",
    "sparkmesh-run",
    "istio-proxy",
]);
const LABELS: &[&str] = &[
    "spark-role",
    "spark-app-selector",
    "sparkmesh.dev/injection",
    "component",
];
const ANNOTATIONS: &[&str] = &[
    "sparkmesh.dev/proxy-cpu-request",
    "sparkmesh.dev/proxy-cpu-limit",
    "sparkmesh.dev/proxy-memory-request",
    "sparkmesh.dev/proxy-memory-limit",
    "sparkmesh.dev/proxy-log-level",
    "sparkmesh.dev/exclude-inbound-ports",
    "sparkmesh.dev/exclude-outbound-ports",
    "sparkmesh.dev/exclude-outbound-cidrs",
    "sparkmesh.dev/drain-seconds",
    "sparkmesh.dev/role",
    "sparkmesh.dev/injected",
    "sparkmesh.dev/restore",
    "kubectl.kubernetes.io/default-container",
    "a/b~c",
];
const VALUES: &[&str] = &[
    "100m",
    "2",
    "64Mi",
    "debug",
    "22,23",
    "10.0.0.0/8,fd00::/8",
    "5",
    "driver",
    "{}",
    "{\"was\":{\"/spec/volumes\":\"null\"}}",
    "{\"probes\":{\"a\":{\"livenessProbe\":{\"tcpSocket\":{\"port\":80}}}}}",
];
const WORDS: &[&str] = &[
    "",
    "name",
    "spec",
    "metadata",
    "containers",
    "port",
    "httpGet",
    "true",
    "0644",
];
