//! The bytes of an `AdmissionReview` (admission.k8s.io/v1), both ways.
//!
//! The types are ours because the object must stay raw JSON: what this release does not know must
//! survive, and a patch goes out as base64. Format:
//! <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use json_patch::Patch;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sparkmesh_injection::pod::{Field, Str};
use sparkmesh_injection::read_from_objects;

/// The only version spoken.
pub(super) const API_VERSION: &str = "admission.k8s.io/v1";
/// The only kind spoken.
pub(super) const KIND: &str = "AdmissionReview";

/// A review as it arrives.
#[derive(Debug, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub(super) struct Review<'a> {
    #[serde(borrow, default)]
    pub(super) api_version: Str<'a>,
    #[serde(borrow, default)]
    pub(super) kind: Str<'a>,
    #[serde(borrow, default)]
    pub(super) request: Field<Request<'a>>,
}

/// What the API server asks.
#[derive(Debug, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub(super) struct Request<'a> {
    #[serde(borrow, default)]
    pub(super) uid: Str<'a>,
    #[serde(borrow, default)]
    pub(super) kind: Field<GroupVersionKind<'a>>,
    #[serde(borrow, default)]
    pub(super) sub_resource: Field<Str<'a>>,
    #[serde(borrow, default)]
    pub(super) name: Field<Str<'a>>,
    #[serde(borrow, default)]
    pub(super) namespace: Field<Str<'a>>,
    #[serde(borrow, default)]
    pub(super) operation: Str<'a>,
    #[serde(default)]
    pub(super) dry_run: Field<bool>,
    #[serde(borrow, default)]
    pub(super) object: Option<&'a RawValue>,
}

/// Which type the object is of.
#[derive(Debug, Default, Deserialize)]
#[serde(remote = "Self")]
pub(super) struct GroupVersionKind<'a> {
    #[serde(borrow, default)]
    pub(super) group: Str<'a>,
    #[serde(borrow, default)]
    pub(super) version: Str<'a>,
    #[serde(borrow, default)]
    pub(super) kind: Str<'a>,
}

read_from_objects! {
    Review<'a>, Request<'a>, GroupVersionKind<'a>
}

/// What the API server is told.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Response<'a> {
    pub(super) uid: &'a str,
    pub(super) allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<Status<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) patch: Option<String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub(super) warnings: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) audit_annotations: Option<AuditAnnotations<'a>>,
}

/// Why something was refused.
#[derive(Debug, Serialize)]
pub(super) struct Status<'a> {
    pub(super) code: u16,
    pub(super) reason: &'static str,
    pub(super) message: &'a str,
}

/// What the API server's audit log keeps of a decision.
#[derive(Debug, Serialize)]
pub(super) struct AuditAnnotations<'a> {
    pub(super) decision: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) reasons: &'a str,
}

/// A patch as a response carries it: `(patchType, patch)`.
pub(super) fn encode(patch: &Patch) -> (&'static str, String) {
    let json = serde_json::to_vec(patch).expect("a patch has only string keys");
    ("JSONPatch", STANDARD.encode(json))
}

/// The whole answer.
pub(super) fn answer(response: &Response<'_>) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Envelope<'a> {
        api_version: &'static str,
        kind: &'static str,
        response: &'a Response<'a>,
    }
    serde_json::to_vec(&Envelope {
        api_version: API_VERSION,
        kind: KIND,
        response,
    })
    .expect("an answer has only string keys")
}
