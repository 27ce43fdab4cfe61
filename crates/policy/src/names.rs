//! The one home of every label, annotation, container and volume name that users meet.
//!
//! Nothing here decides anything; a name that appears twice in the code belongs here.

/// API group of the custom resources, and prefix of every label and annotation.
pub const GROUP: &str = "sparkmesh.dev";
/// The version of the custom resources.
pub const VERSION: &str = "v1alpha1";
/// What every label and annotation key of ours starts with.
pub const PREFIX: &str = "sparkmesh.dev/";

/// Label on namespaces (`enabled`) and on pods that ask to stay out (`disabled`).
pub const INJECTION_LABEL: &str = "sparkmesh.dev/injection";
/// Value of [`INJECTION_LABEL`] that opts a namespace in.
pub const INJECTION_ENABLED: &str = "enabled";
/// Value of [`INJECTION_LABEL`] by which a pod asks to stay out.
pub const INJECTION_DISABLED: &str = "disabled";

/// The label by which Spark marks the pods of one application.
pub const APPLICATION_LABEL: &str = "spark-app-selector";
/// The service account of pods that name none, which all of them share.
pub const SHARED_SERVICE_ACCOUNT: &str = "default";

/// Hash of the plan on an injected pod. Information for people; no decision reads it.
pub const INJECTED_ANNOTATION: &str = "sparkmesh.dev/injected";
/// What `uninject` needs to give the manifest back as it was, where the defaults do not tell.
pub const RESTORE_ANNOTATION: &str = "sparkmesh.dev/restore";
/// The container that `kubectl logs` and `kubectl exec` choose; set where the user has not.
pub const DEFAULT_CONTAINER_ANNOTATION: &str = "kubectl.kubernetes.io/default-container";

/// Keys of the annotations by which a pod's author adjusts the proxy, with the prefix.
pub mod annotation {
    /// CPU request of the proxy, a Kubernetes quantity.
    pub const PROXY_CPU_REQUEST: &str = "sparkmesh.dev/proxy-cpu-request";
    /// CPU limit of the proxy, a Kubernetes quantity.
    pub const PROXY_CPU_LIMIT: &str = "sparkmesh.dev/proxy-cpu-limit";
    /// Memory request of the proxy, a Kubernetes quantity.
    pub const PROXY_MEMORY_REQUEST: &str = "sparkmesh.dev/proxy-memory-request";
    /// Memory limit of the proxy, a Kubernetes quantity.
    pub const PROXY_MEMORY_LIMIT: &str = "sparkmesh.dev/proxy-memory-limit";
    /// Envoy's log level.
    pub const PROXY_LOG_LEVEL: &str = "sparkmesh.dev/proxy-log-level";
    /// Ports whose inbound connections go past the proxy.
    pub const EXCLUDE_INBOUND_PORTS: &str = "sparkmesh.dev/exclude-inbound-ports";
    /// Ports to which outbound connections go past the proxy.
    pub const EXCLUDE_OUTBOUND_PORTS: &str = "sparkmesh.dev/exclude-outbound-ports";
    /// Networks to which outbound connections go past the proxy.
    pub const EXCLUDE_OUTBOUND_CIDRS: &str = "sparkmesh.dev/exclude-outbound-cidrs";
    /// Seconds that the proxy stays after the pod's end has begun.
    pub const DRAIN_SECONDS: &str = "sparkmesh.dev/drain-seconds";
    /// The pod's Spark role, where labels and command do not tell it.
    pub const ROLE: &str = "sparkmesh.dev/role";

    /// All of them.
    pub const ALL: [&str; 10] = [
        PROXY_CPU_REQUEST,
        PROXY_CPU_LIMIT,
        PROXY_MEMORY_REQUEST,
        PROXY_MEMORY_LIMIT,
        PROXY_LOG_LEVEL,
        EXCLUDE_INBOUND_PORTS,
        EXCLUDE_OUTBOUND_PORTS,
        EXCLUDE_OUTBOUND_CIDRS,
        DRAIN_SECONDS,
        ROLE,
    ];
}

/// The init container that programs the redirection.
pub const INIT_CONTAINER: &str = "sparkmesh-init";
/// The native sidecar that runs Envoy.
pub const PROXY_CONTAINER: &str = "sparkmesh-proxy";
/// The projected service account token by which the proxy proves whose it is.
pub const TOKEN_VOLUME: &str = "sparkmesh-token";
/// The proxy's private scratch space: it holds the socket of Envoy's admin interface, which no
/// other container of the pod may reach.
pub const RUN_VOLUME: &str = "sparkmesh-run";
/// Audience of the token in [`TOKEN_VOLUME`].
pub const TOKEN_AUDIENCE: &str = "sparkmesh";
/// Folder at which the proxy finds [`TOKEN_VOLUME`].
pub const TOKEN_FOLDER: &str = "/var/run/secrets/sparkmesh";
/// The token's file name in [`TOKEN_FOLDER`].
pub const TOKEN_FILE: &str = "token";
/// Folder at which the proxy finds [`RUN_VOLUME`].
pub const RUN_FOLDER: &str = "/run/sparkmesh";

/// User and group of the proxy. Its traffic is not redirected, so no workload may run as it.
pub const PROXY_UID: u32 = 1337;

/// Variable by which our containers learn the pod's address, from `status.podIP`.
pub const POD_IP_VARIABLE: &str = "POD_IP";
/// Variable by which the init container learns the node's address, from `status.hostIP`.
pub const HOST_IP_VARIABLE: &str = "HOST_IP";
