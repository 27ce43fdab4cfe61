//! Reviews sent to the webhook as the API server sends them, for what the API server would not ask.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::{Certificate, Client};
use serde_json::{Value, json};

use crate::installation::{Installation, WEBHOOK_HOST};

/// The response to a review of this pod, over a connection of its own that trusts what the API
/// server trusts.
pub(crate) fn review(
    mesh: &Installation<'_>,
    to: SocketAddr,
    pod: &Value,
    operation: &str,
) -> Value {
    let bytes = bytes(mesh, to, pod, operation);
    let mut review: Value = serde_json::from_slice(&bytes).expect("a review");
    review["response"].take()
}

/// The answer as it comes; the request's UID is always the same.
pub(crate) fn bytes(
    mesh: &Installation<'_>,
    to: SocketAddr,
    pod: &Value,
    operation: &str,
) -> Vec<u8> {
    try_bytes(mesh, to, pod, operation).expect("an answer")
}

/// An error where no TLS is agreed or no answer comes.
pub(crate) fn try_bytes(
    mesh: &Installation<'_>,
    to: SocketAddr,
    pod: &Value,
    operation: &str,
) -> reqwest::Result<Vec<u8>> {
    let client = client(&mesh.ca_bundle(), to);
    let url = format!("https://{WEBHOOK_HOST}:{}/inject?timeout=5s", to.port());
    let request = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "0df28fbd-5f5f-11e8-bc74-36e6bb280816",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": pod["metadata"]["namespace"],
            "name": pod["metadata"]["name"],
            "operation": operation,
            "userInfo": {"username": "system:admin"},
            "object": pod,
            "oldObject": null,
            "dryRun": true,
        },
    });
    mesh.api.runtime().block_on(async {
        let response = client.post(url).json(&request).send().await?;
        let body = response.error_for_status()?.bytes().await?;
        Ok(body.to_vec())
    })
}

fn client(authorities: &str, to: SocketAddr) -> Client {
    let authorities = Certificate::from_pem_bundle(authorities.as_bytes()).expect("PEM");
    Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(20))
        .tls_certs_only(authorities)
        .resolve(WEBHOOK_HOST, to)
        .build()
        .expect("a client")
}
