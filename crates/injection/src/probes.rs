//! Which of the application's probes must pass through the proxy, and how they still test the
//! application itself.
//!
//! The kubelet speaks plaintext to the pod's address and would be refused. A rewritten probe asks
//! the proxy on [`Port::HEALTH`]; the proxy asks the application as the kubelet would have. Only
//! the handler changes: period, thresholds, time-out and headers stay in place.

use sparkmesh_policy::port::Port;

use crate::bootstrap::{AppProbe, Check};
use crate::pod::{Container, ContainerList, IntOrStr, Probe, ProbeKind, Spec, Str};

/// One probe that goes through the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeRewrite {
    /// The list its container stands in.
    pub list: ContainerList,
    /// The container's place in that list, as the author wrote it.
    pub index: usize,
    /// The container's name.
    pub container: String,
    /// Which of the three probes.
    pub kind: ProbeKind,
    /// What the proxy does when asked.
    pub probe: AppProbe,
}

/// A probe that stays as it is although it may not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnresolvedProbe {
    /// The container's name.
    pub container: String,
    /// Which of the three probes.
    pub kind: ProbeKind,
}

/// All probes of applications and native sidecars that must pass through the proxy. `excluded` are
/// the inbound ports that are not redirected: probes reach those directly.
#[must_use]
pub fn rewrites(spec: &Spec<'_>, excluded: &[Port]) -> (Vec<ProbeRewrite>, Vec<UnresolvedProbe>) {
    let mut rewrites = Vec::new();
    let mut unresolved = Vec::new();
    for (list, index, container) in spec.all_containers() {
        if list == ContainerList::InitContainers && !container.is_native_sidecar() {
            continue;
        }
        for kind in ProbeKind::ALL {
            let Some(probe) = container.probe(kind) else {
                continue;
            };
            let Some(handler) = Handler::of(probe) else {
                continue;
            };
            let Some(port) = handler.port(container) else {
                unresolved.push(UnresolvedProbe {
                    container: container.name.as_str().to_owned(),
                    kind,
                });
                continue;
            };
            if port.is_reserved() || excluded.contains(&port) {
                continue;
            }
            rewrites.push(ProbeRewrite {
                list,
                index,
                container: container.name.as_str().to_owned(),
                kind,
                probe: AppProbe {
                    path: proxy_path(list, index, container, kind),
                    check: handler.check(port),
                    timeout_seconds: timeout_seconds(probe),
                },
            });
        }
    }
    (rewrites, unresolved)
}

/// Seconds, at least one, as the API server defaults them.
fn timeout_seconds(probe: &Probe<'_>) -> u32 {
    let seconds = probe.timeout_seconds.value().copied().unwrap_or(1).max(1);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

/// Where the kubelet asks the proxy for this probe.
fn proxy_path(
    list: ContainerList,
    index: usize,
    container: &Container<'_>,
    kind: ProbeKind,
) -> String {
    let name = container.name.as_str();
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if plain && !name.is_empty() {
        format!("/probe/{name}/{}", kind.word())
    } else {
        format!("/probe/{}.{index}/{}", list.field(), kind.word())
    }
}

/// The handlers that reach the pod over its network.
enum Handler<'p> {
    Http {
        tls: bool,
        path: &'p str,
        port: &'p IntOrStr<'p>,
    },
    Tcp {
        port: &'p IntOrStr<'p>,
    },
    Grpc {
        port: i64,
        service: Option<&'p str>,
    },
}

impl<'p> Handler<'p> {
    /// The probe's handler; nothing for commands and for probes of other hosts, which never reach
    /// this pod's network.
    fn of(probe: &'p Probe<'p>) -> Option<Handler<'p>> {
        let elsewhere = |host: Option<&str>| host.is_some_and(|host| !host.is_empty());
        if let Some(http) = probe.http_get.value() {
            if elsewhere(http.host.value().map(Str::as_str)) {
                return None;
            }
            return Some(Handler::Http {
                tls: http.scheme.value().is_some_and(|s| s.as_str() == "HTTPS"),
                // The API server's default: a pod must be planned alike before and after it.
                path: http
                    .path
                    .value()
                    .map(Str::as_str)
                    .filter(|path| !path.is_empty())
                    .unwrap_or("/"),
                port: http.port.value()?,
            });
        }
        if let Some(tcp) = probe.tcp_socket.value() {
            if elsewhere(tcp.host.value().map(Str::as_str)) {
                return None;
            }
            return Some(Handler::Tcp {
                port: tcp.port.value()?,
            });
        }
        let grpc = probe.grpc.value()?;
        Some(Handler::Grpc {
            port: *grpc.port.value()?,
            service: grpc
                .service
                .value()
                .map(Str::as_str)
                .filter(|service| !service.is_empty()),
        })
    }

    fn port(&self, container: &Container<'_>) -> Option<Port> {
        match self {
            Handler::Http { port, .. } | Handler::Tcp { port } => resolve(port, container),
            Handler::Grpc { port, .. } => number(*port),
        }
    }

    fn check(&self, port: Port) -> Check {
        match self {
            Handler::Http { tls, path, .. } => Check::Http {
                tls: *tls,
                port,
                path: (*path).to_owned(),
            },
            Handler::Tcp { .. } => Check::Tcp { port },
            Handler::Grpc { service, .. } => Check::Grpc {
                port,
                service: service.map(str::to_owned),
            },
        }
    }
}

/// A port by number, by the name of one of the container's ports, or by a number written as text,
/// in the kubelet's order.
fn resolve(port: &IntOrStr<'_>, container: &Container<'_>) -> Option<Port> {
    match port {
        IntOrStr::Int(port) => number(*port),
        IntOrStr::Str(name) => container
            .ports
            .items()
            .iter()
            .find(|port| port.name.value().is_some_and(|own| own == name))
            .and_then(|port| number(*port.container_port.value()?))
            .or_else(|| name.as_str().parse().ok()),
    }
}

fn number(port: i64) -> Option<Port> {
    u16::try_from(port).ok().and_then(Port::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::PodView;
    use serde_json::json;

    fn checks(spec: &serde_json::Value) -> Vec<(String, Check)> {
        let pod = json!({ "spec": spec });
        let view = PodView::from_value(&pod).expect("readable");
        let (rewrites, _) = rewrites(view.spec().expect("spec"), &[]);
        rewrites
            .into_iter()
            .map(|rewrite| (rewrite.probe.path, rewrite.probe.check))
            .collect()
    }

    fn port(number: u16) -> Port {
        Port::new(number).expect("a port")
    }

    #[test]
    fn each_kind_of_probe_keeps_testing_the_application() {
        let found = checks(&json!({"containers": [{
            "name": "main",
            "ports": [{"name": "ui", "containerPort": 8080}],
            "readinessProbe": {"httpGet": {"path": "/ok?full=1", "port": "ui", "scheme": "HTTPS"}},
            "livenessProbe": {"tcpSocket": {"port": "7077"}},
            "startupProbe": {"grpc": {"port": 15002, "service": "spark"}},
        }]}));
        assert_eq!(
            found,
            [
                (
                    "/probe/main/readiness".to_owned(),
                    Check::Http {
                        tls: true,
                        port: port(8080),
                        path: "/ok?full=1".to_owned()
                    }
                ),
                (
                    "/probe/main/liveness".to_owned(),
                    Check::Tcp { port: port(7077) }
                ),
                (
                    "/probe/main/startup".to_owned(),
                    Check::Grpc {
                        port: port(15002),
                        service: Some("spark".to_owned())
                    }
                ),
            ]
        );
    }

    #[test]
    fn what_the_server_would_fill_in_makes_no_difference() {
        let probe = |get: serde_json::Value| {
            checks(&json!({"containers": [{"name": "main", "readinessProbe": {"httpGet": get}}]}))
        };
        let filled_in = probe(json!({"port": 80, "path": "/", "scheme": "HTTP"}));
        for written in [
            json!({"port": 80}),
            json!({"port": 80, "path": ""}),
            json!({"port": 80, "path": null}),
        ] {
            assert_eq!(probe(written), filled_in);
        }
    }

    #[test]
    fn probes_that_do_not_reach_the_pods_network_stay() {
        let found = checks(&json!({"containers": [{
            "name": "main",
            "readinessProbe": {"exec": {"command": ["true"]}},
            "livenessProbe": {"httpGet": {"host": "example.org", "port": 80}},
            "startupProbe": {"tcpSocket": {"host": "10.0.0.1", "port": 80}},
        }]}));
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn native_sidecars_are_probed_and_plain_init_containers_are_not() {
        let probe = json!({"tcpSocket": {"port": 1}});
        let found = checks(&json!({
            "containers": [{"name": "main"}],
            "initContainers": [
                {"name": "once", "readinessProbe": probe},
                {"name": "side", "restartPolicy": "Always", "readinessProbe": probe},
            ],
        }));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, "/probe/side/readiness");
    }

    #[test]
    fn a_port_that_no_one_declares_is_reported_and_left() {
        let pod = json!({"spec": {"containers": [
            {"name": "main", "readinessProbe": {"httpGet": {"port": "nope"}}}
        ]}});
        let view = PodView::from_value(&pod).expect("readable");
        let (rewrites, unresolved) = rewrites(view.spec().expect("spec"), &[]);
        assert!(rewrites.is_empty());
        assert_eq!(unresolved[0].container, "main");
    }
}
