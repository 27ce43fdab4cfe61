//! A mesh of one pod, with its control plane.

use sparkmesh_injection::bootstrap::{AppProbe, Control, Template};
use sparkmesh_policy::port::Port;

use crate::client::try_ask;
use crate::control_plane::{self, ControlPlane};
use crate::envoy::Envoy;
use crate::pki::{Authority, Identity};
use crate::sandbox::{POD_IP, eventually};

pub(crate) const FRIEND: &str = "spiffe://cluster.local/ns/jobs/sa/driver";
pub(crate) const STRANGER: &str = "spiffe://cluster.local/ns/other/sa/default";

pub(crate) struct Mesh {
    pub(crate) authority: Authority,
    pub(crate) control: ControlPlane,
    pub(crate) envoy: Envoy,
}

impl Mesh {
    /// A proxy that serves; peers that are [`FRIEND`] may come in.
    pub(crate) async fn ready(http_ports: &[u16], probes: &[AppProbe]) -> Mesh {
        let authority = Authority::new();
        let text = bootstrap(&authority, http_ports, probes);
        Mesh::ready_with(authority, &text).await
    }

    pub(crate) async fn ready_with(authority: Authority, text: &str) -> Mesh {
        let control = ControlPlane::start(&authority).await;
        control.give_certificate(&authority.issue("spiffe://cluster.local/ns/jobs/sa/app"));
        control.give_trust(&authority);
        control.give_policy(FRIEND);
        let envoy = Envoy::start(text);
        becomes_ready().await;
        Mesh {
            authority,
            control,
            envoy,
        }
    }

    pub(crate) fn friend(&self) -> Identity {
        self.authority.issue(FRIEND)
    }
}

pub(crate) async fn becomes_ready() {
    eventually("the proxy is ready", async || {
        is_ready().await.then_some(())
    })
    .await;
}

pub(crate) async fn is_ready() -> bool {
    try_ask(&at(Port::HEALTH), "GET /ready")
        .await
        .is_some_and(|answer| answer.status == 200)
}

/// A port of the pod, as others reach it.
pub(crate) fn at(port: Port) -> String {
    format!("{POD_IP}:{port}")
}

pub(crate) fn bootstrap(authority: &Authority, http_ports: &[u16], probes: &[AppProbe]) -> String {
    let http_ports: Vec<_> = http_ports.iter().map(|number| port(*number)).collect();
    Template::new(&control(authority)).render(&http_ports, probes)
}

pub(crate) fn control(authority: &Authority) -> Control {
    Control {
        host: control_plane::HOST.to_owned(),
        port: port(control_plane::PORT),
        ca_pem: Some(authority.pem.clone()),
    }
}

pub(crate) fn port(number: u16) -> Port {
    Port::new(number).expect("a port")
}
