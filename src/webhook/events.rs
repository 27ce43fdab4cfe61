//! Kubernetes events about rejected pods, so that `kubectl describe` on the owner says why there
//! are none. A rejected pod itself never exists, so no event can be about it.
//!
//! Requests never wait for events: what the API server does not take in time is lost, and counted.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder};
use tokio::sync::mpsc;

use super::metrics::Metrics;
use super::review::Record;

/// Rejections that may wait to be told.
const WAITING: usize = 256;
/// What the API server takes of a note, in bytes.
const NOTE: usize = 1024;
const PUBLISH_WITHIN: Duration = Duration::from_secs(10);
const REPORTER: &str = "sparkmesh-webhook";
const REASON: &str = "InjectionRejected";

/// Where requests leave what is to be told; clones share it.
#[derive(Clone)]
pub(super) struct Outbox {
    queue: mpsc::Sender<Rejection>,
    metrics: Metrics,
}

#[derive(Debug, PartialEq)]
struct Rejection {
    about: ObjectReference,
    note: String,
}

impl Outbox {
    /// Starts to tell rejections to the API server.
    pub(super) fn open(client: Client, metrics: Metrics) -> Outbox {
        let (queue, rejections) = mpsc::channel(WAITING);
        tokio::spawn(publish(client, rejections, metrics.clone()));
        Outbox { queue, metrics }
    }

    /// Tells of a rejection, unless too many wait already.
    pub(super) fn rejection(&self, record: &Record) {
        let rejection = Rejection {
            about: about(record),
            note: shortened(&record.message, NOTE),
        };
        if self.queue.try_send(rejection).is_err() {
            self.metrics.count_event("dropped");
        }
    }
}

/// The pod's owner, or its namespace where it has none.
fn about(record: &Record) -> ObjectReference {
    let (api_version, kind, name, uid) = match &record.owner {
        Some(owner) => (
            owner.api_version.as_str(),
            owner.kind.as_str(),
            owner.name.as_str(),
            Some(owner.uid.clone()),
        ),
        None => ("v1", "Namespace", record.namespace.as_str(), None),
    };
    ObjectReference {
        api_version: Some(api_version.to_owned()),
        kind: Some(kind.to_owned()),
        name: Some(name.to_owned()),
        // Also for the namespace itself: an event lives where its object does, and the team sees
        // its own namespace, not `default`.
        namespace: Some(record.namespace.clone()),
        uid,
        ..ObjectReference::default()
    }
}

fn shortened(text: &str, most: usize) -> String {
    const MORE: &str = " ...";
    if text.len() <= most {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(most - MORE.len());
    text[..end].to_owned() + MORE
}

async fn publish(client: Client, mut rejections: mpsc::Receiver<Rejection>, metrics: Metrics) {
    let recorder = Recorder::new(client, REPORTER.into());
    while let Some(rejection) = rejections.recv().await {
        let event = event(&rejection);
        let published = recorder.publish(&event, &rejection.about);
        let failure = match tokio::time::timeout(PUBLISH_WITHIN, published).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("the API server did not answer in time".to_owned()),
        };
        match failure {
            None => metrics.count_event("published"),
            Some(error) => {
                metrics.count_event("failed");
                tracing::warn!(error, "an event could not be published");
            }
        }
    }
}

fn event(rejection: &Rejection) -> Event {
    // The recorder counts up an event that differs in its note alone, and keeps the old note.
    // A fix that brings the next mistake to light must be seen, so the note is part of the action.
    let mut hasher = DefaultHasher::new();
    rejection.note.hash(&mut hasher);
    Event {
        type_: EventType::Warning,
        reason: REASON.to_owned(),
        note: Some(rejection.note.clone()),
        action: format!("Reject-{:08x}", hasher.finish() & 0xffff_ffff),
        secondary: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::review::{Outcome, OwnerRef};

    fn record(owner: Option<OwnerRef>) -> Record {
        Record {
            uid: "1".to_owned(),
            namespace: "team".to_owned(),
            name: String::new(),
            owner,
            outcome: Outcome::Reject,
            reasons: vec!["reason"],
            message: "é".repeat(2000),
            dry_run: false,
        }
    }

    #[test]
    fn an_event_is_about_the_owner_or_else_about_the_namespace() {
        let owner = OwnerRef {
            api_version: "apps/v1".to_owned(),
            kind: "ReplicaSet".to_owned(),
            name: "spark-worker-1".to_owned(),
            uid: "u".to_owned(),
        };
        let of_owner = about(&record(Some(owner)));
        assert_eq!(of_owner.kind.as_deref(), Some("ReplicaSet"));
        assert_eq!(of_owner.namespace.as_deref(), Some("team"));
        let bare = about(&record(None));
        assert_eq!(bare.kind.as_deref(), Some("Namespace"));
        assert_eq!(bare.name, bare.namespace);
    }

    #[test]
    fn a_full_outbox_loses_the_event_and_counts_it() {
        let (queue, mut waiting) = mpsc::channel(1);
        let metrics = Metrics::default();
        let outbox = Outbox {
            queue,
            metrics: metrics.clone(),
        };
        outbox.rejection(&record(None));
        outbox.rejection(&record(None));
        let told = waiting.try_recv().expect("the first one waits");
        assert!(told.note.len() <= NOTE && told.note.ends_with("..."));
        let mut registry = prometheus_client::registry::Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
        assert!(
            text.contains("webhook_events_total{outcome=\"dropped\"} 1"),
            "{text}"
        );
    }

    #[test]
    fn another_note_is_another_event() {
        let with = |note: &str| {
            event(&Rejection {
                about: ObjectReference::default(),
                note: note.to_owned(),
            })
            .action
        };
        assert_eq!(with("a"), with("a"));
        assert_ne!(with("a"), with("b"));
    }
}
