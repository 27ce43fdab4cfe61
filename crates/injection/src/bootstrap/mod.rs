//! Envoy's whole static configuration, rendered into the proxy container's arguments.
//!
//! Everything that never changes in a pod's life is decided here: listeners, chains, the way to the
//! control plane, the answers to probes. What does change (certificates, policy, destinations) is
//! only named here, for the control plane to serve. This module refuses to know which pod it is
//! for: Kubernetes puts the pod's name and address in.
//!
//! Listeners have no change after start, and so no change cuts a connection (U5 of the data plane's
//! rules; U1 to U6 are marked where they are met in `proxy.yaml`).

mod probes;
mod quote;
mod request_target;
mod template;
#[cfg(test)]
mod tests;

use sparkmesh_policy::port::Port;

pub use template::Template;

/// Name of the secret that carries the pod's own certificate, as asked for by SDS.
pub const CERTIFICATE: &str = "id";
/// Name of the secret that carries the roots by which peers are judged, as asked for by SDS.
pub const TRUST_BUNDLE: &str = "ca";
/// Name of the network RBAC filter in front of every inbound port, as asked for by ECDS.
pub const INBOUND_RBAC: &str = "rbac";

/// The argument that must stand beside the bootstrap. With hot restart Envoy listens on an abstract
/// socket and keeps a file in `/dev/shm`, both shared with the pod's other containers: any of them
/// could stop the proxy or keep it from starting again.
pub const NO_HOT_RESTART: &str = "--disable-hot-restart";

/// Where the control plane is and how the proxy knows it for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// DNS name, also the name that its certificate must carry.
    pub host: String,
    /// Its xDS port.
    pub port: Port,
    /// The certificate authority that signs it, PEM. Without one (an offline look at a manifest)
    /// the proxy trusts no control plane of ours and therefore never becomes ready.
    pub ca_pem: Option<String>,
}

/// What of a bootstrap differs from pod to pod.
#[derive(Clone, Debug)]
pub struct BootstrapSpec<'a> {
    /// The control plane that feeds this proxy.
    pub control: &'a Control,
    /// Inbound ports known to speak HTTP, ascending, without repeats.
    pub http_ports: &'a [Port],
    /// The application's probes that pass through the proxy.
    pub probes: &'a [AppProbe],
}

/// One probe of the application, as the proxy answers it on [`Port::HEALTH`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppProbe {
    /// The path that the kubelet asks the proxy for, for example `/probe/main/readiness`.
    pub path: String,
    /// What the application is asked.
    pub check: Check,
    /// The probe's own time-out.
    pub timeout_seconds: u32,
}

/// How the application itself is asked whether it is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// `GET path`; 200 to 399 is well. The certificate of an HTTPS server is not verified, as the
    /// kubelet does not verify it either.
    Http {
        /// Whether the server speaks TLS.
        tls: bool,
        /// The application's port.
        port: Port,
        /// The probe's `path` as the pod's author wrote it; the application is asked for what the
        /// kubelet would make of it.
        path: String,
    },
    /// A connection that is accepted is well.
    Tcp {
        /// The application's port.
        port: Port,
    },
    /// `grpc.health.v1.Health/Check` that answers SERVING is well.
    Grpc {
        /// The application's port.
        port: Port,
        /// The service asked for; none asks for the server as a whole.
        service: Option<String>,
    },
}

/// The bootstrap of one pod; see [`Template::render`] for what the text is. Who renders many keeps
/// the [`Template`].
#[must_use]
pub fn render(spec: &BootstrapSpec<'_>) -> String {
    Template::new(spec.control).render(spec.http_ports, spec.probes)
}
