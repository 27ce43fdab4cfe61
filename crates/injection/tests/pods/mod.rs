//! Pods as nobody would write them and everybody may send them, and what other webhooks do to
//! pods between two passes of ours.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

/// A field that is not written, written as null, or written.
fn odd(value: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Option<Value>> {
    prop_oneof![
        3 => Just(None),
        1 => Just(Some(Value::Null)),
        4 => value.prop_map(Some),
    ]
    .boxed()
}

/// A field that is rarely written.
fn rare(value: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Option<Value>> {
    prop_oneof![15 => Just(None), 1 => value.prop_map(Some)].boxed()
}

fn always(value: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Option<Value>> {
    value.prop_map(Some).boxed()
}

fn object(
    fields: impl IntoIterator<Item = (&'static str, BoxedStrategy<Option<Value>>)>,
) -> BoxedStrategy<Value> {
    let (keys, values): (Vec<_>, Vec<_>) = fields.into_iter().unzip();
    values
        .prop_map(move |values| {
            let pairs = keys.iter().zip(values);
            let written = pairs.filter_map(|(key, value)| Some(((*key).to_owned(), value?)));
            Value::Object(written.collect())
        })
        .boxed()
}

fn one_of(values: &'static [&'static str]) -> BoxedStrategy<Value> {
    select(values).prop_map(Value::from).boxed()
}

fn port() -> BoxedStrategy<Value> {
    prop_oneof![
        4 => select(vec![80_i64, 4040, 7077, 8081, 40000]).prop_map(Value::from),
        2 => one_of(&["ui", "http", "http-ui", "9000", "nowhere", ""]),
        1 => select(vec![0_i64, -1, 15021, 65536, i64::MAX]).prop_map(Value::from),
    ]
    .boxed()
}

fn number_port() -> BoxedStrategy<Value> {
    select(vec![80_i64, 8081, 0, 15021, 70000])
        .prop_map(Value::from)
        .boxed()
}

fn probe() -> BoxedStrategy<Value> {
    let header = json!([{"name": "Host", "value": "x"}]);
    let http = object([
        (
            "path",
            odd(one_of(&["/", "", "ok?a=1#b", "/ä \"$(X)'", "//x"])),
        ),
        ("port", always(port())),
        ("scheme", odd(one_of(&["HTTP", "HTTPS", ""]))),
        ("host", rare(one_of(&["", "example.org"]))),
        ("httpHeaders", odd(Just(header))),
    ]);
    let tcp = object([
        ("port", always(port())),
        ("host", rare(one_of(&["", "10.0.0.1"]))),
    ]);
    let grpc = object([
        ("port", always(number_port())),
        ("service", odd(one_of(&["", "spark"]))),
    ]);
    let exec = object([("command", odd(Just(json!(["true"]))))]);
    let null = || prop_oneof![3 => Just(None), 1 => Just(Some(Value::Null))].boxed();
    let handlers = [
        ("httpGet", http),
        ("tcpSocket", tcp),
        ("grpc", grpc),
        ("exec", exec),
    ];
    let probes = handlers.clone().map(|(chosen, value)| {
        let fields = handlers.iter().map(|(name, _)| {
            if *name == chosen {
                (*name, always(value.clone()))
            } else {
                (*name, null())
            }
        });
        let timing = [
            ("timeoutSeconds", odd((-1..4_i64).prop_map(Value::from))),
            ("periodSeconds", odd((1..9_i64).prop_map(Value::from))),
            ("failureThreshold", odd(Just(json!(3)))),
        ];
        object(fields.chain(timing))
    });
    prop_oneof![8 => proptest::strategy::Union::new(probes), 1 => Just(json!({}))].boxed()
}

fn security() -> BoxedStrategy<Value> {
    object([
        (
            "runAsUser",
            odd(select(vec![0_i64, 185, 1000]).prop_map(Value::from)),
        ),
        ("runAsNonRoot", odd(any::<bool>().prop_map(Value::from))),
        ("privileged", rare(any::<bool>().prop_map(Value::from))),
        (
            "capabilities",
            odd(object([
                ("add", rare(Just(json!(["SYS_PTRACE", "NET_ADMIN"])))),
                ("drop", odd(Just(json!(["ALL"])))),
            ])),
        ),
    ])
}

fn resources() -> BoxedStrategy<Value> {
    let amounts = || {
        object([
            (
                "cpu",
                odd(prop_oneof![one_of(&["1", "100m", "0.5"]), Just(json!(2))]),
            ),
            ("memory", odd(one_of(&["1Gi", "64Mi", "1e9"]))),
            ("nvidia.com/gpu", rare(Just(json!("1")))),
        ])
    };
    object([("requests", odd(amounts())), ("limits", odd(amounts()))])
}

fn container(name: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Value> {
    let declared = object([
        ("name", odd(one_of(&["ui", "http", "http-ui", "metrics"]))),
        (
            "containerPort",
            always(select(vec![80_i64, 8080, 8081, 9999]).prop_map(Value::from)),
        ),
        ("protocol", odd(one_of(&["TCP", "UDP"]))),
    ]);
    object([
        ("name", always(name)),
        ("image", odd(Just(json!("spark:4")))),
        (
            "command",
            odd(Just(json!(["/opt/spark/sbin/start-worker.sh"]))),
        ),
        ("args", odd(Just(json!([])))),
        ("ports", odd(vec(declared, 0..3).prop_map(Value::from))),
        (
            "env",
            odd(Just(json!([{"name": "A", "value": "\u{1F680} \"\\\n"}]))),
        ),
        ("resources", odd(resources())),
        ("securityContext", odd(security())),
        ("readinessProbe", odd(probe())),
        ("livenessProbe", odd(probe())),
        ("startupProbe", odd(probe())),
        (
            "lifecycle",
            odd(Just(
                json!({"preStop": {"httpGet": {"port": 80}}, "postStart": null}),
            )),
        ),
        (
            "volumeMounts",
            odd(Just(json!([{"name": "data", "mountPath": "/data"}]))),
        ),
        (
            "x-unknown",
            rare(Just(json!({"deep": [null, {"er": 1.5}]}))),
        ),
    ])
}

/// Names that differ, as the API server demands of all containers of a pod.
fn named(
    prefix: &'static str,
    restart: bool,
    number: std::ops::Range<usize>,
) -> BoxedStrategy<Value> {
    let odd_names = ["main", "Odd.Name", "näme", "a/b~c", "with space"];
    number
        .prop_flat_map(move |number| {
            (0..number)
                .map(|index| {
                    let name = format!("{prefix}{}", odd_names[index % odd_names.len()]);
                    container(Just(json!(name)))
                })
                .collect::<Vec<_>>()
        })
        .prop_flat_map(move |containers| {
            let policies = vec(odd(one_of(&["Always", "Never"])), containers.len());
            (Just(containers), policies)
        })
        .prop_map(move |(mut containers, policies)| {
            for (container, policy) in containers.iter_mut().zip(policies) {
                if let Some(policy) = policy.filter(|_| restart) {
                    container["restartPolicy"] = policy;
                }
            }
            Value::Array(containers)
        })
        .boxed()
}

fn annotations() -> BoxedStrategy<Value> {
    let pair = prop_oneof![
        6 => (one_of(&["a", "example.org/b~c", "kubectl.kubernetes.io/default-container", ""]),
              one_of(&["", "x", "{\"a\": 1}"])),
        4 => select(vec![
            ("sparkmesh.dev/proxy-cpu-request", "100m"),
            ("sparkmesh.dev/proxy-cpu-limit", "2"),
            ("sparkmesh.dev/proxy-memory-limit", "128Mi"),
            ("sparkmesh.dev/proxy-log-level", "debug"),
            ("sparkmesh.dev/drain-seconds", "0"),
            ("sparkmesh.dev/role", "driver"),
        ]).prop_map(|(key, value)| (json!(key), json!(value))),
        1 => select(vec![
            ("sparkmesh.dev/drain-seconds", "-1"),
            ("sparkmesh.dev/proxy-cpu-request", "1 core"),
            ("sparkmesh.dev/exclude-inbound-ports", "22"),
            ("sparkmesh.dev/unknown", ""),
        ]).prop_map(|(key, value)| (json!(key), json!(value))),
        1 => Just((json!("nothing"), Value::Null)),
    ];
    vec(pair, 0..4)
        .prop_map(|pairs| {
            let text = |key: Value| key.as_str().expect("a string").to_owned();
            Value::Object(
                pairs
                    .into_iter()
                    .map(|(key, value)| (text(key), value))
                    .collect(),
            )
        })
        .boxed()
}

fn metadata() -> BoxedStrategy<Value> {
    let labels = object([
        ("spark-role", odd(one_of(&["driver", "executor", "king"]))),
        ("component", odd(one_of(&["spark-worker"]))),
        (
            "sparkmesh.dev/injection",
            rare(one_of(&["enabled", "disabled", "maybe"])),
        ),
    ]);
    object([
        ("name", odd(one_of(&["worker", ""]))),
        ("generateName", odd(one_of(&["worker-"]))),
        ("labels", odd(labels)),
        ("annotations", odd(annotations())),
        (
            "ownerReferences",
            odd(Just(
                json!([{"kind": "ReplicaSet", "name": "x", "controller": true}]),
            )),
        ),
        ("creationTimestamp", odd(Just(Value::Null))),
    ])
}

/// A pod whose shape is legal JSON for Kubernetes, and whose content need not be.
pub(crate) fn pod() -> BoxedStrategy<Value> {
    let volumes = prop_oneof![
        Just(json!([])),
        Just(json!([{"name": "data", "emptyDir": {}}])),
        Just(json!([{"name": "data"}, {"name": "token", "projected": {"sources": null}}])),
    ];
    let spec = object([
        ("containers", always(named("", false, 1..4))),
        ("initContainers", odd(named("init-", true, 0..3))),
        ("volumes", odd(volumes)),
        ("hostNetwork", rare(any::<bool>().prop_map(Value::from))),
        (
            "shareProcessNamespace",
            rare(any::<bool>().prop_map(Value::from)),
        ),
        ("securityContext", odd(security())),
        ("resources", odd(resources())),
        ("nodeSelector", odd(one_of_maps())),
        (
            "terminationGracePeriodSeconds",
            odd((-1..60_i64).prop_map(Value::from)),
        ),
        ("restartPolicy", odd(one_of(&["Never"]))),
    ]);
    object([
        ("apiVersion", odd(Just(json!("v1")))),
        ("kind", odd(Just(json!("Pod")))),
        ("metadata", odd(metadata())),
        ("spec", always(spec)),
        ("status", odd(Just(json!({})))),
    ])
}

fn one_of_maps() -> BoxedStrategy<Value> {
    let maps = vec![
        json!({}),
        json!({"kubernetes.io/os": "linux"}),
        json!({"disk": null}),
    ];
    select(maps).boxed()
}

/// Any JSON whose keys are often those of a pod.
pub(crate) fn any_json() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        one_of(&[
            "",
            "Always",
            "sparkmesh-init",
            "sparkmesh-proxy",
            "sparkmesh-token"
        ]),
    ];
    let key = select(vec![
        "metadata",
        "spec",
        "annotations",
        "labels",
        "containers",
        "initContainers",
        "volumes",
        "name",
        "readinessProbe",
        "httpGet",
        "port",
        "image",
        "sparkmesh.dev/injected",
        "sparkmesh.dev/restore",
    ]);
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            1 => vec(inner.clone(), 0..4).prop_map(Value::Array),
            3 => btree_map(key.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
    .boxed()
}

/// What somebody else's webhook, or the API server itself, does to an injected pod.
#[derive(Clone, Debug)]
pub(crate) enum Meddling {
    Append(Value),
    InitFirst,
    InitLast,
    DropContainer(usize),
    DropInits,
    DropVolumes,
    DropAnnotations,
    NullAnnotations,
    HostNetwork,
    ServerDefaults,
    EditProxy,
    ForgeImage,
    SwapOurs,
    ReplaceProbe(Value),
    ReverseVolumes,
}

impl Meddling {
    pub(crate) fn any() -> BoxedStrategy<Meddling> {
        prop_oneof![
            container(Just(json!("late"))).prop_map(Meddling::Append),
            Just(Meddling::InitFirst),
            Just(Meddling::InitLast),
            (0..2_usize).prop_map(Meddling::DropContainer),
            Just(Meddling::DropInits),
            Just(Meddling::DropVolumes),
            Just(Meddling::DropAnnotations),
            Just(Meddling::NullAnnotations),
            Just(Meddling::HostNetwork),
            Just(Meddling::ServerDefaults),
            Just(Meddling::EditProxy),
            Just(Meddling::ForgeImage),
            Just(Meddling::SwapOurs),
            probe().prop_map(Meddling::ReplaceProbe),
            Just(Meddling::ReverseVolumes),
        ]
        .boxed()
    }

    pub(crate) fn apply(&self, pod: &mut Value) {
        let spec = pod["spec"].as_object_mut().expect("a pod");
        match self {
            Meddling::Append(container) => {
                let late = |it: &Value| it["name"] == "late";
                let containers = items(spec, "containers");
                if !containers.iter().any(late) {
                    containers.push(container.clone());
                }
            }
            Meddling::InitFirst => once(items(spec, "initContainers"), 0, "foreign-first"),
            Meddling::InitLast => {
                let end = items(spec, "initContainers").len();
                once(items(spec, "initContainers"), end, "foreign-last");
            }
            Meddling::DropContainer(index) => {
                let list = items(spec, "initContainers");
                if *index < list.len() {
                    list.remove(*index);
                }
            }
            Meddling::DropInits => drop(spec.remove("initContainers")),
            Meddling::DropVolumes => drop(spec.remove("volumes")),
            Meddling::DropAnnotations => {
                if let Some(Value::Object(metadata)) = pod.get_mut("metadata") {
                    metadata.remove("annotations");
                }
            }
            Meddling::NullAnnotations => pod["metadata"]["annotations"] = Value::Null,
            Meddling::HostNetwork => drop(spec.insert("hostNetwork".into(), json!(true))),
            Meddling::ServerDefaults => {
                for container in items(spec, "initContainers") {
                    container["terminationMessagePath"] = json!("/dev/termination-log");
                    container["imagePullPolicy"] = json!("IfNotPresent");
                }
            }
            Meddling::EditProxy => {
                for container in items(spec, "initContainers") {
                    container["args"] = json!(["sleep"]);
                }
            }
            Meddling::ForgeImage => {
                for container in items(spec, "initContainers") {
                    container["image"] = json!("evil:1");
                }
            }
            Meddling::SwapOurs => items(spec, "initContainers").reverse(),
            Meddling::ReplaceProbe(probe) => {
                for container in items(spec, "containers") {
                    container["livenessProbe"] = probe.clone();
                }
            }
            Meddling::ReverseVolumes => items(spec, "volumes").reverse(),
        }
    }
}

fn items<'v>(spec: &'v mut Map<String, Value>, list: &str) -> &'v mut Vec<Value> {
    let value = spec.entry(list).or_insert(Value::Null);
    if value.is_null() {
        *value = json!([]);
    }
    value.as_array_mut().expect("a list")
}

fn once(list: &mut Vec<Value>, at: usize, name: &str) {
    if !list.iter().any(|it| it["name"] == name) {
        list.insert(at, json!({"name": name, "image": "curl:1"}));
    }
}

/// The pods and pod templates of a document, wherever they are.
pub(crate) fn inside(document: &Value) -> Vec<&Value> {
    match document {
        Value::Object(map)
            if map
                .get("spec")
                .is_some_and(|it| it.get("containers").is_some()) =>
        {
            vec![document]
        }
        Value::Object(map) => map.values().flat_map(inside).collect(),
        Value::Array(list) => list.iter().flat_map(inside).collect(),
        _ => Vec::new(),
    }
}
