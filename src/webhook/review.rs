//! From the bytes of a review to the bytes of its answer.
//!
//! Pure: no I/O, no clock, no lock. Whatever the bytes are, there is an answer that a person
//! understands; what cannot be understood is refused.

use std::sync::Arc;

use memchr::memchr2;
use sparkmesh_injection::config::MeshConfig;
use sparkmesh_injection::decide::{Decision, Injection, RawPod, Scope, decide_viewed, unreadable};
use sparkmesh_injection::facts::MeshFacts;
use sparkmesh_injection::pod::{PodView, Str};
use sparkmesh_injection::violation::{SkipReason, Violation};

use super::wire::{self, AuditAnnotations, Request, Response, Review, Status};

/// What is known at one moment; cheap to take.
#[derive(Clone, Debug, Default)]
pub struct Mesh {
    /// The configuration.
    pub config: Arc<MeshConfig>,
    /// Namespaces and baseline.
    pub facts: Arc<MeshFacts>,
}

/// What goes back, and what is to be counted and logged of it.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status: 200 for every review, 400 for what is none.
    pub status: u16,
    /// An `AdmissionReview` in JSON, always.
    pub body: Vec<u8>,
    /// For metrics, logs and events.
    pub record: Record,
}

/// One decision, as metrics, logs and events tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The request's UID, empty where it could not be read.
    pub uid: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name, or its prefix where the API server has yet to make the name.
    pub name: String,
    /// Who manages the pod.
    pub owner: Option<OwnerRef>,
    /// What was decided.
    pub outcome: Outcome,
    /// Stable codes of the reasons, each once.
    pub reasons: Vec<&'static str>,
    /// The reasons in words.
    pub message: String,
    /// Whether nothing will come of it.
    pub dry_run: bool,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The pod gets a proxy.
    Inject,
    /// The pod stays as it is.
    Skip,
    /// The pod is refused.
    Reject,
    /// The bytes were no proper review.
    Invalid,
}

impl Outcome {
    /// The outcome's word in metrics and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Outcome::Inject => "inject",
            Outcome::Skip => "skip",
            Outcome::Reject => "reject",
            Outcome::Invalid => "invalid",
        }
    }
}

/// The object that manages a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerRef {
    /// Group and version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Name, in the pod's namespace.
    pub name: String,
    /// UID.
    pub uid: String,
}

/// Objects deeper than this are refused before they are read; pods have some ten levels.
const DEEPEST: usize = 64;

/// The bytes of one review, read once: who answers may first look at whom it is about.
#[derive(Debug)]
pub struct Question<'a>(Result<Review<'a>, Problem>);

impl<'a> Question<'a> {
    /// Reads a review; what is none is told by its answer.
    #[must_use]
    pub fn read(body: &'a [u8]) -> Question<'a> {
        Question(read(body))
    }

    /// The namespace that the review is about; nothing where the bytes are no review.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        let request = self.0.as_ref().ok()?.request.value()?;
        request.namespace.value().map(Str::as_str)
    }

    /// Answers it by what is known now.
    #[must_use]
    pub fn answer(self, mesh: &Mesh) -> Answer {
        let review = match self.0 {
            Ok(review) => review,
            Err(problem) => return invalid("", &problem),
        };
        let Some(request) = review.request.value() else {
            return invalid("", &Problem::NoRequest);
        };
        match pod_of(request) {
            Ok(pod) => decided(request, pod, mesh),
            Err(NoPod::Skip(reason)) => respond(request, None, Decision::Skip(reason)),
            Err(NoPod::Problem(problem)) => invalid(request.uid.as_str(), &problem),
        }
    }
}

/// Answers one review.
#[must_use]
pub fn answer(body: &[u8], mesh: &Mesh) -> Answer {
    Question::read(body).answer(mesh)
}

/// Why bytes are no review of a pod.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("the body is not UTF-8 text")]
    NotText,
    #[error("the body is nested deeper than {DEEPEST} levels")]
    TooDeep,
    #[error("the body is not a JSON AdmissionReview: {0}")]
    NotJson(#[from] serde_json::Error),
    #[error("this is {found}; send {api} {kind}", api = wire::API_VERSION, kind = wire::KIND)]
    WrongType { found: String },
    #[error("the review has no request")]
    NoRequest,
    #[error("the request has no uid")]
    NoUid,
    #[error(
        "the request is about {found}; this webhook is about pods (v1) only: correct its rules"
    )]
    NotAPod { found: String },
    #[error("the request has no object")]
    NoObject,
}

impl Problem {
    /// The stable code for metrics.
    fn code(&self) -> &'static str {
        match self {
            Problem::NotText | Problem::NotJson(_) => "not-json",
            Problem::TooDeep => "too-deep",
            Problem::WrongType { .. } => "wrong-type",
            Problem::NoRequest | Problem::NoUid | Problem::NoObject => "incomplete",
            Problem::NotAPod { .. } => "not-a-pod",
        }
    }
}

fn read(body: &[u8]) -> Result<Review<'_>, Problem> {
    let text = std::str::from_utf8(body).map_err(|_| Problem::NotText)?;
    if is_deeper_than(text, DEEPEST) {
        return Err(Problem::TooDeep);
    }
    let review: Review<'_> = serde_json::from_str(text)?;
    let (api_version, kind) = (review.api_version.as_str(), review.kind.as_str());
    if api_version != wire::API_VERSION || kind != wire::KIND {
        let found = match (api_version, kind) {
            ("", "") => "an object without apiVersion and kind".to_owned(),
            (api_version, kind) => format!("{} {}", brief(api_version), brief(kind)),
        };
        return Err(Problem::WrongType { found });
    }
    Ok(review)
}

/// A foreign word as a message shows it.
fn brief(word: &str) -> String {
    let shown: String = word.escape_debug().take(60).collect();
    format!("`{shown}`")
}

/// Counts brackets outside of strings; JSON that is broken otherwise is found by its parser.
fn is_deeper_than(text: &str, most: usize) -> bool {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = end_of_string(bytes, at + 1),
            b'{' | b'[' => {
                depth += 1;
                if depth > most {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    false
}

/// The place of the quote that ends the string whose first character is at `from`.
fn end_of_string(bytes: &[u8], mut from: usize) -> usize {
    while let Some(found) = bytes
        .get(from..)
        .and_then(|rest| memchr2(b'"', b'\\', rest))
    {
        if bytes[from + found] == b'"' {
            return from + found;
        }
        from += found + 2;
    }
    bytes.len()
}

/// Why a request has no pod to decide about.
enum NoPod {
    Skip(SkipReason),
    Problem(Problem),
}

/// The pod's own JSON.
fn pod_of<'a>(request: &Request<'a>) -> Result<&'a str, NoPod> {
    if request.uid.as_str().is_empty() {
        return Err(NoPod::Problem(Problem::NoUid));
    }
    let empty = wire::GroupVersionKind::default();
    let kind = request.kind.value().unwrap_or(&empty);
    if (
        kind.group.as_str(),
        kind.version.as_str(),
        kind.kind.as_str(),
    ) != ("", "v1", "Pod")
    {
        let group = kind.group.as_str();
        let slash = if group.is_empty() { "" } else { "/" };
        return Err(NoPod::Problem(Problem::NotAPod {
            found: brief(&format!("{group}{slash}{} {}", kind.version, kind.kind)),
        }));
    }
    let sub_resource = request.sub_resource.value();
    if request.operation.as_str() != "CREATE"
        || sub_resource.is_some_and(|name| !name.as_str().is_empty())
    {
        return Err(NoPod::Skip(SkipReason::NotCreation));
    }
    match request.object {
        Some(object) if object.get() != "null" => Ok(object.get()),
        _ => Err(NoPod::Problem(Problem::NoObject)),
    }
}

fn decided(request: &Request<'_>, pod: &str, mesh: &Mesh) -> Answer {
    let namespace = request.namespace.value().map_or("", |name| name.as_str());
    let scope = Scope {
        config: &mesh.config,
        baseline: &mesh.facts.baseline,
        namespace: (
            namespace,
            mesh.facts.namespaces.get(namespace).map(AsRef::as_ref),
        ),
    };
    let raw = RawPod::Json(pod);
    match raw.view() {
        Ok(view) => respond(request, Some(&view), decide_viewed(&view, raw, &scope)),
        Err(error) => respond(request, None, Decision::Reject(vec![unreadable(&error)])),
    }
}

fn respond(request: &Request<'_>, pod: Option<&PodView<'_>>, decision: Decision) -> Answer {
    let uid = request.uid.as_str();
    let mut record = record(request, pod);
    let body = match decision {
        Decision::Inject(injection) => injected(uid, &injection, &mut record),
        Decision::Skip(reason) => {
            record.outcome = Outcome::Skip;
            record.reasons = vec![reason.code()];
            reason.sentence().clone_into(&mut record.message);
            wire::answer(&Response {
                uid,
                allowed: true,
                audit_annotations: Some(AuditAnnotations {
                    decision: "skip",
                    reasons: reason.code(),
                }),
                ..Response::default()
            })
        }
        Decision::Reject(violations) => rejected(uid, &violations, &mut record),
    };
    Answer {
        status: 200,
        body,
        record,
    }
}

fn injected(uid: &str, injection: &Injection, record: &mut Record) -> Vec<u8> {
    record.outcome = Outcome::Inject;
    record.reasons = vec![injection.plan.role.word()];
    record.message = format!("role {}", injection.plan.role.word());
    let response = Response {
        uid,
        allowed: true,
        warnings: &injection.plan.warnings,
        audit_annotations: Some(AuditAnnotations {
            decision: "inject",
            reasons: injection.plan.role.word(),
        }),
        ..Response::default()
    };
    wire::answer_with_patch(&response, &injection.patch)
}

fn rejected(uid: &str, violations: &[Violation], record: &mut Record) -> Vec<u8> {
    record.outcome = Outcome::Reject;
    record.reasons = violations.iter().map(|v| v.reason.code()).collect();
    record.reasons.sort_unstable();
    record.reasons.dedup();
    let said: Vec<String> = violations.iter().map(Violation::to_string).collect();
    record.message = format!("sparkmesh: {}", said.join(" | "));
    let reasons = record.reasons.join(",");
    wire::answer(&Response {
        uid,
        allowed: false,
        status: Some(Status {
            code: 403,
            reason: "Forbidden",
            message: &record.message,
        }),
        audit_annotations: Some(AuditAnnotations {
            decision: "reject",
            reasons: &reasons,
        }),
        ..Response::default()
    })
}

fn invalid(uid: &str, problem: &Problem) -> Answer {
    let message = format!("sparkmesh: {problem}");
    let body = wire::answer(&Response {
        uid,
        allowed: false,
        status: Some(Status {
            code: 400,
            reason: "BadRequest",
            message: &message,
        }),
        ..Response::default()
    });
    Answer {
        // A review that can be answered is answered as one: the API server then shows our words.
        status: if uid.is_empty() { 400 } else { 200 },
        body,
        record: Record {
            uid: uid.to_owned(),
            namespace: String::new(),
            name: String::new(),
            owner: None,
            outcome: Outcome::Invalid,
            reasons: vec![problem.code()],
            message,
            dry_run: false,
        },
    }
}

fn record(request: &Request<'_>, pod: Option<&PodView<'_>>) -> Record {
    let meta = pod.map(PodView::meta);
    let name = request
        .name
        .value()
        .filter(|name| !name.as_str().is_empty())
        .or_else(|| meta.and_then(|meta| meta.name.value()))
        .or_else(|| meta.and_then(|meta| meta.generate_name.value()));
    Record {
        uid: request.uid.as_str().to_owned(),
        namespace: request
            .namespace
            .value()
            .map_or_else(String::new, |name| name.as_str().to_owned()),
        name: name.map_or_else(String::new, |name| name.as_str().to_owned()),
        owner: pod.and_then(PodView::controller).map(|owner| OwnerRef {
            api_version: owner.api_version.as_str().to_owned(),
            kind: owner.kind.as_str().to_owned(),
            name: owner.name.as_str().to_owned(),
            uid: owner.uid.as_str().to_owned(),
        }),
        outcome: Outcome::Skip,
        reasons: Vec::new(),
        message: String::new(),
        dry_run: request.dry_run.is_true(),
    }
}
