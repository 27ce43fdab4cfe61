//! Stands in until the review is written.

use std::sync::Arc;

use serde_json::{Value, json};
use sparkmesh_injection::config::MeshConfig;
use sparkmesh_injection::facts::MeshFacts;

/// One consistent snapshot.
pub struct Mesh {
    /// The configuration.
    pub config: Arc<MeshConfig>,
    /// The facts.
    pub facts: Arc<MeshFacts>,
}

/// What goes back over HTTP.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    /// For log, metrics and events.
    pub record: Record,
}

/// What is told of a decision.
pub struct Record {
    /// Of the request.
    pub uid: String,
    /// Of the pod.
    pub namespace: String,
    /// Of the pod.
    pub name: String,
    /// Of the pod.
    pub owner: Option<OwnerRef>,
    /// What was decided.
    pub outcome: Outcome,
    /// Codes.
    pub reasons: Vec<&'static str>,
    /// For people.
    pub message: String,
    /// Whether nothing is persisted.
    pub dry_run: bool,
}

/// What was decided.
pub enum Outcome {
    /// Injected.
    Inject,
    /// Skipped.
    Skip,
    /// Rejected.
    Reject,
    /// No review.
    Invalid,
}

/// The owner of the pod.
pub struct OwnerRef {
    /// Of the owner.
    pub api_version: String,
    /// Of the owner.
    pub kind: String,
    /// Of the owner.
    pub name: String,
    /// Of the owner.
    pub uid: String,
}

/// Decides.
#[must_use]
pub fn answer(body: &[u8], mesh: &Mesh) -> Answer {
    let review: Value = serde_json::from_slice(body).unwrap_or_default();
    let request = &review["request"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let uid = text(&request["uid"]);
    let namespace = text(&request["namespace"]);
    let facts = mesh.facts.namespaces.get(&namespace);
    let (outcome, reasons) = match facts {
        _ if uid.is_empty() => (Outcome::Invalid, vec!["no-review"]),
        None => (Outcome::Reject, vec!["unknown-namespace"]),
        Some(facts) if facts.injection => (Outcome::Inject, vec![]),
        Some(_) => (Outcome::Skip, vec!["namespace-not-labelled"]),
    };
    let allowed = matches!(outcome, Outcome::Inject | Outcome::Skip);
    let response = json!({"uid": uid, "allowed": allowed});
    let status = if uid.is_empty() { 400 } else { 200 };
    let body = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
    Answer {
        status,
        body: body.to_string().into_bytes(),
        record: Record {
            uid,
            namespace,
            name: text(&request["name"]),
            owner: None,
            outcome,
            reasons,
            message: String::new(),
            dry_run: request["dryRun"] == true,
        },
    }
}

/// The namespace.
#[must_use]
pub fn namespace_of(body: &[u8]) -> Option<String> {
    let review: Value = serde_json::from_slice(body).ok()?;
    Some(review["request"]["namespace"].as_str()?.to_owned())
}
