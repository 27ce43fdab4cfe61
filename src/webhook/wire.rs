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

/// The whole answer.
pub(super) fn answer(response: &Response<'_>) -> Vec<u8> {
    text(response).into_bytes()
}

/// The whole answer, with a patch that the API server is to carry out.
pub(super) fn answer_with_patch(response: &Response<'_>, patch: &Patch) -> Vec<u8> {
    let mut json = Vec::with_capacity(PATCH_BYTES);
    serde_json::to_writer(&mut json, patch).expect("a patch has only string keys");
    let mut answer = text(response);
    // Base64 has nothing in it that JSON would escape, so it need not be searched for that.
    answer.truncate(answer.len() - END.len());
    answer.reserve(json.len() / 3 * 4 + 64);
    answer.push_str(r#","patchType":"JSONPatch","patch":""#);
    STANDARD.encode_string(&json, &mut answer);
    answer.push('"');
    answer.push_str(END);
    answer.into_bytes()
}

/// What most patches fit into.
const PATCH_BYTES: usize = 16 << 10;
/// The ends of a response, which is never empty, and of the answer around it.
const END: &str = "}}";

fn text(response: &Response<'_>) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Envelope<'a> {
        api_version: &'static str,
        kind: &'static str,
        response: &'a Response<'a>,
    }
    serde_json::to_string(&Envelope {
        api_version: API_VERSION,
        kind: KIND,
        response,
    })
    .expect("an answer has only string keys")
}
