//! Bytes that are no proper review, and pods that are no proper pods: each gets one clear answer,
//! and is told apart in the metrics by its reason.

use serde_json::{Value, json};
use sparkmesh::webhook::review::{Answer, Mesh, Outcome, Question, answer};

fn ask(body: &[u8]) -> Answer {
    answer(body, &Mesh::default())
}

fn said(answer: &Answer) -> String {
    let body: Value = serde_json::from_slice(&answer.body).expect("every answer is JSON");
    assert_eq!(body["kind"], "AdmissionReview", "every answer is a review");
    assert_eq!(body["response"]["allowed"], false);
    let message = body["response"]["status"]["message"].as_str();
    message.expect("a message").to_owned()
}

fn review(request: &Value) -> Vec<u8> {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})
        .to_string()
        .into_bytes()
}

#[test]
fn what_is_no_review_is_a_bad_request_with_its_reason() {
    let deep = "[".repeat(100_000);
    let cases: [(&[u8], &str, &str); 12] = [
        (b"", "not-json", "EOF"),
        (b"hello", "not-json", "line 1"),
        (b"\xff\xfe", "not-json", "UTF-8"),
        (b"[]", "not-json", "AdmissionReview"),
        (b"null", "not-json", "AdmissionReview"),
        (b"{}", "wrong-type", "without apiVersion and kind"),
        (deep.as_bytes(), "too-deep", "64 levels"),
        (
            br#"{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview"}"#,
            "wrong-type",
            "send admission.k8s.io/v1 AdmissionReview",
        ),
        (br#"{"apiVersion":"v1","kind":"Pod"}"#, "wrong-type", "`Pod`"),
        (
            br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#,
            "incomplete",
            "no request",
        ),
        (
            br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{}}"#,
            "incomplete",
            "no uid",
        ),
        (
            br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"a","uid":"b"}}"#,
            "not-json",
            "duplicate field `uid`",
        ),
    ];
    for (body, reason, words) in cases {
        let answer = ask(body);
        let said = said(&answer);
        assert_eq!(answer.status, 400, "{said}");
        assert_eq!(answer.record.outcome, Outcome::Invalid, "{said}");
        assert_eq!(answer.record.reasons, [reason], "{said}");
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn a_review_of_something_else_is_answered_as_a_review() {
    let pod = json!({"group": "", "version": "v1", "kind": "Pod"});
    for (request, reason, words) in [
        (
            json!({"uid": "u", "kind": {"group": "apps", "version": "v1", "kind": "Deployment"}}),
            "not-a-pod",
            "apps/v1 Deployment",
        ),
        (
            json!({"uid": "u", "kind": {"group": "", "version": "v2", "kind": "Pod"}}),
            "not-a-pod",
            "v2 Pod",
        ),
        (json!({"uid": "u"}), "not-a-pod", "pods (v1) only"),
        (
            json!({"uid": "u", "kind": pod, "operation": "CREATE"}),
            "incomplete",
            "no object",
        ),
        (
            json!({"uid": "u", "kind": pod, "operation": "CREATE", "object": null}),
            "incomplete",
            "no object",
        ),
    ] {
        let answer = ask(&review(&request));
        let said = said(&answer);
        assert_eq!(answer.status, 200, "the API server shows our words: {said}");
        assert_eq!(answer.record.reasons, [reason], "{said}");
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn a_pod_that_cannot_be_read_is_refused_with_the_place() {
    for (object, place) in [
        (r#"{"spec":{"containers":{}}}"#, "spec.containers"),
        (r#"{"spec":{"hostNetwork":"yes"}}"#, "spec.hostNetwork"),
        (
            r#"{"spec":{"containers":[{"name":1}]}}"#,
            "spec.containers[0].name",
        ),
        (
            r#"{"metadata":{"labels":{"a":"1","a":"2"}}}"#,
            "duplicate key `a`",
        ),
        (
            r#"{"spec":{},"spec":{"hostNetwork":true}}"#,
            "duplicate field `spec`",
        ),
        (r#""text""#, "expected an object"),
        // A list of a struct's fields is no object.
        (r#"[{"name":"a"},{"containers":[]}]"#, "expected an object"),
        (r#"{"spec":[[{"name":"a"}]]}"#, "expected an object"),
    ] {
        let body = format!(
            r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"u",
            "kind":{{"group":"","version":"v1","kind":"Pod"}},"operation":"CREATE","object":{object}}}}}"#
        );
        let answer = ask(body.as_bytes());
        let said = said(&answer);
        assert_eq!(answer.record.reasons, ["unreadable-pod"], "{said}");
        assert!(said.contains(place), "{said}");
    }
}

#[test]
fn the_namespace_is_found_without_deciding() {
    let body = review(&json!({"uid": "u", "namespace": "spark"}));
    assert_eq!(Question::read(&body).namespace(), Some("spark"));
    assert_eq!(Question::read(b"{").namespace(), None);
}

#[test]
fn no_answer_repeats_what_a_pod_holds_in_its_environment() {
    let request = json!({
        "uid": "u", "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "operation": "CREATE", "namespace": "spark",
        "object": {"spec": {"hostNetwork": true, "containers": [
            {"name": "a", "env": [{"name": "TOKEN", "value": "s3cr3t-value"}]}]}},
    });
    let answer = ask(&review(&request));
    let body = String::from_utf8(answer.body).expect("UTF-8");
    assert!(!body.contains("s3cr3t-value") && !format!("{:?}", answer.record).contains("s3cr3t"));
}
