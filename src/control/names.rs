//! Names of the objects that `control` keeps in its namespace, and of those it looks at. Decides
//! nothing; the chart's rights are written for exactly these names.

/// Secret (`kubernetes.io/tls`) with the certificate authority's key. Only `control` reads it.
pub const CA_SECRET: &str = "sparkmesh-ca";
/// Secret (`kubernetes.io/tls`) that the webhook's pods mount.
pub const SERVING_SECRET: &str = "sparkmesh-webhook-tls";
/// `ConfigMap` with the public root certificates, under [`CA_CERTIFICATE`].
pub const TRUST_CONFIG_MAP: &str = "sparkmesh-trust";
/// Lease that the one acting replica holds.
pub const LEASE: &str = "sparkmesh-control";
/// Service of the webhook, where no other is named.
pub const WEBHOOK_SERVICE: &str = "sparkmesh-webhook";
/// How the API server records our writes.
pub const FIELD_MANAGER: &str = "sparkmesh-control";

/// Key of a certificate and its intermediates in a `kubernetes.io/tls` Secret.
pub const CERTIFICATE: &str = "tls.crt";
/// Key of the private key in a `kubernetes.io/tls` Secret.
pub const PRIVATE_KEY: &str = "tls.key";
/// Key of the root certificates, in Secrets as cert-manager writes them and in our `ConfigMap`.
pub const CA_CERTIFICATE: &str = "ca.crt";

/// The webhook configuration of the installation in this namespace, where no other is named.
#[must_use]
pub fn webhook_configuration(namespace: &str) -> String {
    format!("sparkmesh-{namespace}")
}

/// The DNS names under which a Service is reached from inside the cluster.
#[must_use]
pub fn service_names(service: &str, namespace: &str) -> [String; 3] {
    [
        format!("{service}.{namespace}.svc"),
        format!("{service}.{namespace}"),
        format!("{service}.{namespace}.svc.cluster.local"),
    ]
}
