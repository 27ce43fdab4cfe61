//! Whatever the bytes are, the handler answers with a review; and if it patches, the patch fits and
//! a second review finds nothing to do. Bytes that begin like JSON are taken as they are; others
//! choose a pod and what is around it.

#![no_main]

use arbitrary::Unstructured;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use sparkmesh::webhook::review::{Answer, Outcome, answer};
use sparkmesh_fuzz::journey::{MESH, NAMESPACE};
use sparkmesh_fuzz::shape;

fuzz_target!(|bytes: &[u8]| {
    let made;
    let body = match bytes.first() {
        Some(b'{' | b'[' | b'"') => bytes,
        _ => {
            let Ok(review) = review(&mut Unstructured::new(bytes)) else {
                return;
            };
            made = review.to_string();
            made.as_bytes()
        }
    };
    let first = answer(body, &MESH);
    let Some(patch) = checked(&first) else {
        return;
    };
    let mut review: Value = serde_json::from_slice(body).expect("a review with a patch is JSON");
    json_patch::patch(&mut review["request"]["object"], &patch).expect("the patch fits");
    let second = answer(review.to_string().as_bytes(), &MESH);
    assert_eq!(
        second.record.outcome,
        Outcome::Skip,
        "{}",
        second.record.message
    );
    assert_eq!(second.record.reasons, ["already-injected"]);
    assert!(checked(&second).is_none());
});

/// The patch of an answer, which is a review in any case.
fn checked(answer: &Answer) -> Option<json_patch::Patch> {
    let review: Value = serde_json::from_slice(&answer.body).expect("an answer is JSON");
    assert_eq!(review["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(review["kind"], "AdmissionReview");
    let response = &review["response"];
    assert_eq!(response["uid"], answer.record.uid);
    let allowed = response["allowed"].as_bool().expect("allowed or not");
    if !allowed {
        let message = response["status"]["message"].as_str().expect("a reason");
        assert!(
            message.starts_with("sparkmesh: ") && message.len() > 20,
            "{message}"
        );
    }
    match response.get("patch") {
        None => {
            assert_ne!(answer.record.outcome, Outcome::Inject);
            None
        }
        Some(patch) => {
            assert!(allowed && response["patchType"] == "JSONPatch");
            let patch = STANDARD
                .decode(patch.as_str().expect("text"))
                .expect("base64");
            Some(serde_json::from_slice(&patch).expect("a JSON patch"))
        }
    }
}

fn review(bytes: &mut Unstructured<'_>) -> arbitrary::Result<Value> {
    let mut review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "1",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "namespace": NAMESPACE,
            "operation": "CREATE",
            "object": shape::pod(bytes)?,
        },
    });
    if bytes.ratio(1, 8)? {
        let field = *bytes.choose(&["uid", "kind", "name", "namespace", "operation", "dryRun"])?;
        review["request"][field] = shape::anything(bytes, 2)?;
    }
    Ok(review)
}
