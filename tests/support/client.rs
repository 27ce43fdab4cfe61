//! Clients of the webhook, and the reviews they send.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::tls::Version;
use reqwest::{Certificate, Client, ClientBuilder};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use sparkmesh::tls;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A client for plain HTTP.
pub(crate) fn plain() -> Client {
    builder().build().expect("a client")
}

/// An HTTPS client that trusts `authority`, a PEM certificate, and nobody else.
pub(crate) fn trusting(authority: &str) -> Client {
    trusting_builder(authority).build().expect("a client")
}

/// As [`trusting`], with a connection of its own for every request.
pub(crate) fn reconnecting(authority: &str) -> Client {
    let builder = trusting_builder(authority).pool_max_idle_per_host(0);
    builder.build().expect("a client")
}

/// As [`trusting`], but knows no TLS above 1.2.
pub(crate) fn outdated(authority: &str) -> Client {
    let builder = trusting_builder(authority).tls_version_max(Version::TLS_1_2);
    builder.build().expect("a client")
}

fn builder() -> ClientBuilder {
    tls::install_provider();
    Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(20))
}

fn trusting_builder(authority: &str) -> ClientBuilder {
    let authority = Certificate::from_pem(authority.as_bytes()).expect("PEM");
    builder().tls_certs_only([authority])
}

/// A TLS connection without HTTP, for what no proper client does.
pub(crate) async fn connect(to: SocketAddr, authority: &str) -> TlsStream<TcpStream> {
    tls::install_provider();
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(authority.as_bytes()).expect("PEM");
    roots.add(authority).expect("a root");
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(to).await.expect("connected");
    TlsConnector::from(Arc::new(config))
        .connect(ServerName::from(to.ip()), stream)
        .await
        .expect("TLS agreed")
}

/// An `AdmissionReview` for a small pod created in `namespace`.
pub(crate) fn review(namespace: &str) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "0df28fbd-5f5f-11e8-bc74-36e6bb280816",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
            "requestResource": {"group": "", "version": "v1", "resource": "pods"},
            "name": "worker",
            "namespace": namespace,
            "operation": "CREATE",
            "userInfo": {"username": "kubernetes-admin"},
            "object": {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "worker", "namespace": namespace},
                "spec": {"containers": [{"name": "main", "image": "example.org/spark:4"}]}
            },
            "oldObject": null,
            "dryRun": false,
            "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"}
        }
    })
}

/// Sends a review and gives whether the pod is allowed.
pub(crate) async fn allowed(
    client: &Client,
    to: SocketAddr,
    namespace: &str,
) -> reqwest::Result<bool> {
    let request = client.post(format!("https://{to}/inject?timeout=5s"));
    let response = request.json(&review(namespace)).send().await?;
    let review: Value = response.error_for_status()?.json().await?;
    let allowed = review["response"]["allowed"].as_bool();
    Ok(allowed.expect("a review with an answer"))
}
