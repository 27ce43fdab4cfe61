//! What one pod got. It is read off the pod that the patch makes, not off what anyone says; the HTTP
//! ports alone, which are in the middle of the proxy's configuration, are told by `sparkmesh explain`.

use serde_json::Value;

use crate::review::text;

/// What one pod got.
#[derive(PartialEq)]
pub(crate) struct Injected {
    pub(crate) role: String,
    /// Names of the containers that came before the pod's own.
    pub(crate) containers: Vec<String>,
    pub(crate) volumes: Vec<String>,
    pub(crate) http_ports: Vec<u64>,
    /// Each probe that changed: where, before, after.
    pub(crate) probes: Vec<(String, String, String)>,
    pub(crate) bytes_before: usize,
    pub(crate) bytes_after: usize,
}

impl Injected {
    pub(crate) fn read(role: &str, explained: &Value, before: &Value, after: &Value) -> Injected {
        let http_ports = explained["httpPorts"].as_array();
        Injected {
            role: role.to_owned(),
            containers: added(before, after, "initContainers"),
            volumes: added(before, after, "volumes"),
            http_ports: http_ports
                .into_iter()
                .flatten()
                .filter_map(Value::as_u64)
                .collect(),
            probes: changed_probes(before, after),
            bytes_before: before.to_string().len(),
            bytes_after: after.to_string().len(),
        }
    }
}

/// Names that are in a list of the pod's spec only after injection.
fn added(before: &Value, after: &Value, list: &str) -> Vec<String> {
    let names = |pod: &Value| -> Vec<String> {
        let items = pod["spec"][list].as_array();
        items
            .into_iter()
            .flatten()
            .map(|item| text(&item["name"]))
            .collect()
    };
    let before = names(before);
    let mut after = names(after);
    after.retain(|name| !before.contains(name));
    after
}

fn changed_probes(before: &Value, after: &Value) -> Vec<(String, String, String)> {
    let containers = |pod: &Value| {
        pod["spec"]["containers"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    };
    let mut changed = Vec::new();
    for (before, after) in containers(before).iter().zip(&containers(after)) {
        for kind in ["startupProbe", "readinessProbe", "livenessProbe"] {
            if before[kind] != after[kind] {
                let place = format!("{} {kind}", text(&before["name"]));
                changed.push((place, probe(&before[kind]), probe(&after[kind])));
            }
        }
    }
    changed
}

fn probe(probe: &Value) -> String {
    let (http, tcp, grpc) = (&probe["httpGet"], &probe["tcpSocket"], &probe["grpc"]);
    if http.is_object() {
        format!(
            "http :{}{}",
            http["port"],
            http["path"].as_str().unwrap_or("/")
        )
    } else if tcp.is_object() {
        format!("tcp :{}", tcp["port"])
    } else {
        format!("grpc :{}", grpc["port"])
    }
}
