//! Ports 15021 and 15090, which anyone may reach in the clear.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use sparkmesh_injection::bootstrap::{AppProbe, Check};
use sparkmesh_policy::names;
use sparkmesh_policy::port::Port;

use crate::app::{App, SECRET};
use crate::client::{Answer, ask};
use crate::control_plane::ControlPlane;
use crate::envoy::Envoy;
use crate::mesh::{FRIEND, Mesh, at, becomes_ready, bootstrap, is_ready, port};
use crate::pki::Authority;
use crate::sandbox::{POD_IP, eventually, in_a_pod};

#[test]
fn nothing_is_served_before_certificates_and_policy_have_arrived() {
    in_a_pod(async || {
        let authority = Authority::new();
        let control = ControlPlane::start(&authority).await;
        let _envoy = Envoy::start(&bootstrap(&authority, &[], &[]));
        let stream = eventually("the proxy asks", async || {
            control.streams().first().cloned()
        })
        .await;
        assert_eq!(
            stream.path,
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
        );
        assert_eq!(stream.authorization, "Bearer the-token");
        assert_eq!(stream.node, "1.5");

        assert!(stays_unready().await, "ready with nothing");
        control.give_certificate(&authority.issue(FRIEND));
        assert!(stays_unready().await, "ready without roots");
        control.give_trust(&authority);
        assert!(stays_unready().await, "ready without policy");
        control.give_policy(FRIEND);
        becomes_ready().await;
    });
}

#[test]
fn nothing_is_served_without_a_control_plane_however_long() {
    in_a_pod(async || {
        let authority = Authority::new();
        let envoy = Envoy::start(&bootstrap(&authority, &[], &[]));
        // Longer than Envoy waits where it is not told to wait for ever.
        for _ in 0..20 {
            assert!(stays_unready().await, "ready with nothing");
        }
        drop(envoy);
        let _mesh = Mesh::ready(&[], &[]).await;
    });
}

#[test]
fn a_control_plane_of_another_name_is_not_believed() {
    in_a_pod(async || {
        let authority = Authority::new();
        let control = ControlPlane::start_as("other.example", &authority).await;
        let _envoy = Envoy::start(&bootstrap(&authority, &[], &[]));
        control_is_left(&control).await;
        assert!(control.streams().is_empty());
    });
}

#[test]
fn a_control_plane_of_another_authority_is_not_believed() {
    in_a_pod(async || {
        let control = ControlPlane::start(&Authority::new()).await;
        let _envoy = Envoy::start(&bootstrap(&Authority::new(), &[], &[]));
        control_is_left(&control).await;
        assert!(control.streams().is_empty());
    });
}

#[test]
fn an_http_probe_tells_the_status_and_nothing_else() {
    in_a_pod(async || {
        let app = App::http(&format!("{POD_IP}:8080")).await;
        let _mesh = Mesh::ready(
            &[],
            &[
                http("/probe/ok", "/status/200?full=1"),
                http("/probe/gone", "/status/302"),
                http("/probe/bad", "/status/500"),
                http("/probe/slow", "/slow"),
            ],
        )
        .await;
        for (path, status) in [("ok", 200), ("gone", 302), ("bad", 500), ("slow", 504)] {
            let answer = ask_health(&format!("GET /probe/{path}")).await;
            assert_eq!(answer.status, status, "{path}");
            assert!(answer.body.is_empty(), "{answer:?}");
            for header in &answer.headers {
                let (name, value) = header.split_once(": ").expect("a header");
                assert!(
                    ["date", "server", "content-length", "connection"].contains(&name),
                    "{answer:?}"
                );
                assert!(!value.contains(SECRET), "{answer:?}");
            }
        }
        let first = app.heads().remove(0);
        assert!(
            first.starts_with("get /status/200?full=1 http/1.1\r\n"),
            "{first}"
        );
        assert!(
            first.contains("host: kubelet.example\r\n") && first.contains("x-probe: yes\r\n"),
            "{first}"
        );

        drop(app);
        assert_eq!(ask_health("GET /probe/ok").await.status, 503);
        let _again = App::http(&format!("{POD_IP}:8080")).await;
        assert_eq!(ask_health("GET /probe/ok").await.status, 200);
    });
}

#[test]
fn an_https_probe_takes_any_certificate() {
    in_a_pod(async || {
        let _app = App::https(&format!("{POD_IP}:8443")).await;
        let check = |path: &str| Check::Http {
            tls: true,
            port: port(8443),
            path: path.to_owned(),
        };
        let _mesh = Mesh::ready(
            &[],
            &[
                probe("/probe/ok", check("/status/201")),
                probe("/probe/bad", check("/status/503")),
            ],
        )
        .await;
        assert_eq!(ask_health("GET /probe/ok").await.status, 201);
        assert_eq!(ask_health("GET /probe/bad").await.status, 503);
    });
}

#[test]
fn a_tcp_probe_follows_the_port() {
    in_a_pod(async || {
        let address = format!("{POD_IP}:7077");
        let _mesh = Mesh::ready(&[], &[probe("/probe/tcp", Check::Tcp { port: port(7077) })]).await;
        health_becomes("/probe/tcp", 503).await;
        let app = App::echo(&address).await;
        health_becomes("/probe/tcp", 200).await;
        drop(app);
        health_becomes("/probe/tcp", 503).await;
    });
}

#[test]
fn a_grpc_probe_follows_the_service() {
    in_a_pod(async || {
        let service = "spark \"☃\" $(POD_IP)";
        let app = App::grpc_health(&format!("{POD_IP}:50051"), service).await;
        let grpc = |service: &str| Check::Grpc {
            port: port(50051),
            service: Some(service.to_owned()),
        };
        let _mesh = Mesh::ready(
            &[],
            &[
                probe("/probe/grpc", grpc(service)),
                probe("/probe/other", grpc("other")),
            ],
        )
        .await;
        health_becomes("/probe/grpc", 200).await;
        app.set_serving(false);
        health_becomes("/probe/grpc", 503).await;
        app.set_serving(true);
        health_becomes("/probe/grpc", 200).await;
        assert_eq!(ask_health("GET /probe/other").await.status, 503);
        drop(app);
    });
}

#[test]
fn a_visitor_can_ask_for_nothing_else() {
    in_a_pod(async || {
        let app = App::http(&format!("{POD_IP}:8080")).await;
        let _tcp = App::echo(&format!("{POD_IP}:7077")).await;
        let _mesh = Mesh::ready(
            &[],
            &[
                http("/probe/http", "/status/200"),
                probe("/probe/tcp", Check::Tcp { port: port(7077) }),
            ],
        )
        .await;
        health_becomes("/probe/tcp", 200).await;
        for request in [
            "GET /",
            "GET /status/200",
            "GET /probe/http/",
            "GET /probe/http?x=1",
            "GET /probe/http?",
            "GET /probe/../probe/http",
            "GET /probe//http",
            "GET /probe/tcp?x",
            "GET /stats/prometheus",
            "GET /quitquitquit",
            "POST /probe/http",
            "HEAD /probe/http",
            "PUT /probe/tcp",
            "POST /quitquitquit",
        ] {
            let answer = ask_health(request).await;
            assert_eq!(answer.status, 404, "{request}");
            assert!(
                answer.body.trim_matches(['0', '\r', '\n']).is_empty(),
                "{request}: {answer:?}"
            );
        }
        assert_eq!(app.accepts(), 0);
    });
}

#[test]
fn metrics_are_all_that_the_metrics_port_shows() {
    in_a_pod(async || {
        let mesh = Mesh::ready(&[], &[]).await;
        let metrics = at(Port::METRICS);
        let stats = ask(&metrics, "GET /stats/prometheus").await;
        assert_eq!(stats.status, 200);
        assert!(stats.body.contains("envoy_server_live"), "{}", stats.body);
        assert_eq!(ask(&metrics, "GET /ready").await.status, 200);
        for request in [
            "GET /",
            "POST /quitquitquit",
            "GET /config_dump",
            "GET /certs",
            "GET /stats",
            "GET /stats/prometheus/../../quitquitquit",
            "GET /stats/prometheus/",
            "POST /healthcheck/fail",
        ] {
            assert_eq!(ask(&metrics, request).await.status, 404, "{request}");
        }
        assert!(mesh.envoy.admin("/server_info").await.contains("LIVE"));
    });
}

#[test]
fn only_the_proxys_user_may_open_the_admin_socket() {
    in_a_pod(async || {
        let _mesh = Mesh::ready(&[], &[]).await;
        let socket = fs::metadata(format!("{}/admin.sock", names::RUN_FOLDER)).expect("the socket");
        assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    });
}

fn probe(path: &str, check: Check) -> AppProbe {
    AppProbe {
        path: path.to_owned(),
        check,
        timeout_seconds: 1,
    }
}

fn http(path: &str, app_path: &str) -> AppProbe {
    probe(
        path,
        Check::Http {
            tls: false,
            port: port(8080),
            path: app_path.to_owned(),
        },
    )
}

async fn ask_health(request_line: &str) -> Answer {
    ask(&at(Port::HEALTH), request_line).await
}

async fn health_becomes(path: &str, status: u16) {
    let what = format!("{path} is answered with {status}");
    eventually(&what, async || {
        (ask_health(&format!("GET {path}")).await.status == status).then_some(())
    })
    .await;
}

/// Looks for at least a second, in which a proxy that was about to serve would have.
async fn stays_unready() -> bool {
    for _ in 0..10 {
        if tokio::time::timeout(Duration::from_secs(5), is_ready()).await == Ok(true) {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(110)).await;
    }
    true
}

async fn control_is_left(control: &ControlPlane) {
    eventually("the proxy leaves", async || {
        (control.left_at_once() > 0).then_some(())
    })
    .await;
}
