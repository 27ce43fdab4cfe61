//! Whether a pod is injected, passed over or refused: the one decision that the webhook and the
//! offline commands share.
//!
//! Decided on the pod's content alone: no annotation that claims something is believed. No I/O,
//! no clock; what is not known is refused, never guessed.

use json_patch::Patch;
use serde_json::Value;
use sparkmesh_policy::baseline::{Baseline, OptOut};
use sparkmesh_policy::names;

use crate::config::MeshConfig;
use crate::facts::NamespaceFacts;
use crate::patch;
use crate::plan::InjectionPlan;
use crate::pod::{PodView, UnreadablePod};
use crate::refresh;
use crate::refusals;
use crate::restore::UnreadableNote;
use crate::settings::Settings;
use crate::violation::{Refusal, SkipReason, Violation};

/// What is decided about one pod.
#[derive(Clone, Debug)]
pub enum Decision {
    /// The pod gets this.
    Inject(Box<Injection>),
    /// The pod stays as it is.
    Skip(SkipReason),
    /// The pod may not be created; every reason at once, at least one.
    Reject(Vec<Violation>),
}

/// What an injected pod gets, and the patch that gives it.
#[derive(Clone, Debug)]
pub struct Injection {
    /// The plan.
    pub plan: InjectionPlan,
    /// The plan as operations on the pod as it is now.
    pub patch: Patch,
}

/// A pod as it arrived.
#[derive(Clone, Copy, Debug)]
pub enum RawPod<'a> {
    /// JSON text.
    Json(&'a str),
    /// A JSON value.
    Value(&'a Value),
}

impl<'a> RawPod<'a> {
    /// The pod's read-only view.
    pub fn view(self) -> Result<PodView<'a>, UnreadablePod> {
        match self {
            RawPod::Json(text) => PodView::from_json(text),
            RawPod::Value(value) => PodView::from_value(value),
        }
    }

    /// The whole pod. A view passes over what it does not know, so that text of which there is a
    /// view may still hold what no value can: numbers too large, halves of characters.
    fn to_value(self) -> Result<Value, UnreadablePod> {
        match self {
            RawPod::Json(text) => serde_json::from_str(text).map_err(|error| UnreadablePod {
                path: ".".to_owned(),
                message: error.to_string(),
            }),
            RawPod::Value(value) => Ok(value.clone()),
        }
    }
}

/// All that a decision may look at beside the pod.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The mesh's configuration.
    pub config: &'a MeshConfig,
    /// The platform's floor.
    pub baseline: &'a Baseline,
    /// The pod's namespace by name, and what is known of it.
    pub namespace: (&'a str, Option<&'a NamespaceFacts>),
}

/// Decides about one pod that is to be created.
#[must_use]
pub fn decide(raw: RawPod<'_>, scope: &Scope<'_>) -> Decision {
    match raw.view() {
        Ok(pod) => decide_viewed(&pod, raw, scope),
        Err(error) => Decision::Reject(vec![unreadable(&error)]),
    }
}

/// Decides about one pod whose view, `pod`, has been read from `raw` already.
#[must_use]
pub fn decide_viewed(pod: &PodView<'_>, raw: RawPod<'_>, scope: &Scope<'_>) -> Decision {
    let namespace = match skip_or_namespace(pod, scope) {
        Ok(namespace) => namespace,
        Err(decision) => return decision,
    };
    if refresh::carries_ours(pod) {
        let current = match raw.to_value() {
            Ok(current) => current,
            Err(error) => return Decision::Reject(vec![unreadable(&error)]),
        };
        return refresh::decide(&current, |original| fresh(original, namespace, scope))
            .unwrap_or_else(|error| Decision::Reject(vec![unreadable_note(&error)]));
    }
    fresh(pod, namespace, scope)
}

/// What can be told without looking at the pod's spec.
fn skip_or_namespace<'a>(
    pod: &PodView<'_>,
    scope: &Scope<'a>,
) -> Result<&'a NamespaceFacts, Decision> {
    let (name, facts) = scope.namespace;
    if scope.config.excludes(name) {
        return Err(Decision::Skip(SkipReason::NamespaceExcluded));
    }
    if pod.meta().annotation(MIRROR_ANNOTATION).is_some() {
        return Err(Decision::Skip(SkipReason::MirrorPod));
    }
    let Some(namespace) = facts else {
        return Err(Decision::Reject(vec![unknown_namespace(name)]));
    };
    if !namespace.injection {
        return Err(Decision::Skip(SkipReason::NamespaceNotEnabled));
    }
    if pod.meta().deletion_timestamp.value().is_some() {
        return Err(Decision::Skip(SkipReason::Terminating));
    }
    if asks_to_stay_out(pod) {
        return Err(match scope.baseline.opt_out {
            OptOut::Allow => Decision::Skip(SkipReason::OptedOut),
            OptOut::Deny => Decision::Reject(vec![opt_out_denied()]),
        });
    }
    Ok(namespace)
}

/// The kubelet puts this on the image of a pod that it runs from a file.
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

fn asks_to_stay_out(pod: &PodView<'_>) -> bool {
    pod.meta().label(names::INJECTION_LABEL) == Some(names::INJECTION_DISABLED)
}

/// Decides about a pod that is as its author wrote it.
fn fresh(pod: &PodView<'_>, namespace: &NamespaceFacts, scope: &Scope<'_>) -> Decision {
    let mut violations = Vec::new();
    let settings = Settings::parse(pod, scope.baseline, &mut violations);
    refusals::check_namespace(namespace, &mut violations);
    let Some(spec) = pod.spec() else {
        violations.push(refusals::no_containers());
        return Decision::Reject(violations);
    };
    refusals::check_spec(spec, &mut violations);
    if !violations.is_empty() {
        return Decision::Reject(violations);
    }
    let plan = InjectionPlan::new(pod, spec, settings, scope.config);
    let patch = patch::build(&plan, pod, spec, scope.config);
    Decision::Inject(Box::new(Injection { plan, patch }))
}

/// The refusal of what cannot be read as a pod.
#[must_use]
pub fn unreadable(error: &UnreadablePod) -> Violation {
    Violation {
        reason: Refusal::UnreadablePod,
        pointer: String::new(),
        message: format!("this is no pod: {error}"),
        remedy: "correct the field".to_owned(),
    }
}

fn unreadable_note(error: &UnreadableNote) -> Violation {
    Violation {
        reason: Refusal::InvalidValue,
        pointer: "/metadata/annotations".to_owned(),
        message: error.to_string(),
        remedy: "remove the annotation and what else sparkmesh added, or inject anew from the \
                 original manifest"
            .to_owned(),
    }
}

fn unknown_namespace(name: &str) -> Violation {
    Violation {
        reason: Refusal::NamespaceUnknown,
        pointer: "/metadata/namespace".to_owned(),
        message: format!(
            "nothing is known of the namespace `{}` yet, so it cannot be told whether this pod \
             belongs into the mesh",
            name.escape_debug()
        ),
        remedy: "create the namespace first; if it exists, try again in a second".to_owned(),
    }
}

fn opt_out_denied() -> Violation {
    Violation {
        reason: Refusal::OptOutDenied,
        pointer: "/metadata/labels/sparkmesh.dev~1injection".to_owned(),
        message: "this pod asks to stay out of the mesh, which the platform does not allow"
            .to_owned(),
        remedy: "remove the label, or ask the platform team to set MeshBaseline \
                 spec.injection.optOut to Allow"
            .to_owned(),
    }
}
