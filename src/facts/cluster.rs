//! Facts from watches on a cluster: every namespace, and the one `MeshBaseline`.
//!
//! The watcher of kube lists, follows, and lists again where the API server asks for it. Until a
//! source has told all it has once, nothing of it is shown.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, PartialObjectMeta};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Client, ResourceExt};
use sparkmesh_injection::facts::NamespaceFacts;
use sparkmesh_policy::baseline::Baseline;
use sparkmesh_policy::names;

use super::{Board, baseline};

/// Starts both watches.
pub(super) fn follow(client: Client, board: Board) {
    // Labels and annotations are all that is needed of a namespace.
    let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
    let namespaces = watch(namespaces, watcher::Config::default()).default_backoff();
    tokio::spawn(follow_namespaces(namespaces, board.clone()));

    let kind = GroupVersionKind::gvk(names::GROUP, names::VERSION, "MeshBaseline");
    let resource = ApiResource::from_gvk(&kind);
    let baselines: Api<DynamicObject> = Api::all_with(client, &resource);
    let named = watcher::Config::default().fields(&format!("metadata.name={}", baseline::NAME));
    tokio::spawn(follow_baseline(
        watch(baselines, named).default_backoff(),
        board,
    ));
}

async fn follow_namespaces(
    events: impl Stream<Item = watcher::Result<Event<PartialObjectMeta<Namespace>>>>,
    board: Board,
) {
    let mut events = pin!(events);
    let mut trouble = Trouble::new("namespaces");
    let mut listed = HashMap::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object)) => {
                let namespace = namespace(&object);
                listed.insert(namespace.name.clone(), Arc::new(namespace));
            }
            Ok(Event::InitDone) => {
                board.replace_namespaces(std::mem::take(&mut listed));
                trouble.over();
            }
            Ok(Event::Apply(object)) => {
                board.put_namespace(namespace(&object));
                trouble.over();
            }
            Ok(Event::Delete(object)) => board.remove_namespace(&object.name_any()),
            Err(error) => trouble.tell(&error),
        }
    }
}

fn namespace(object: &PartialObjectMeta<Namespace>) -> NamespaceFacts {
    NamespaceFacts::from_metadata(
        &object.name_any(),
        object.metadata.labels.as_ref(),
        object.metadata.annotations.as_ref(),
    )
}

async fn follow_baseline(
    events: impl Stream<Item = watcher::Result<Event<DynamicObject>>>,
    board: Board,
) {
    let mut events = pin!(events);
    let mut trouble = Trouble::new("MeshBaseline");
    let mut listed = None;
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed = None,
            Ok(Event::InitApply(object)) => listed = Some(object),
            Ok(Event::InitDone) => {
                match listed.take() {
                    Some(object) => take_baseline(&board, &object),
                    None => board.put_baseline(Baseline::default()),
                }
                trouble.over();
            }
            Ok(Event::Apply(object)) => {
                take_baseline(&board, &object);
                trouble.over();
            }
            Ok(Event::Delete(_)) => {
                tracing::info!("the MeshBaseline was deleted; the defaults hold");
                board.put_baseline(Baseline::default());
            }
            Err(error) => {
                if not_installed(&error) {
                    // No such kind, so no baseline: exactly the defaults.
                    board.put_baseline(Baseline::default());
                }
                trouble.tell(&error);
            }
        }
    }
}

/// An invalid baseline changes nothing. Where none was valid before, the defaults hold, which are
/// the strictest.
fn take_baseline(board: &Board, object: &DynamicObject) {
    let read = serde_json::to_value(object)
        .map_err(|error| error.to_string())
        .and_then(|object| baseline::baseline_from(&object));
    match read {
        Ok(baseline) => board.put_baseline(baseline),
        Err(error) => {
            board.count_refused("baseline");
            let generation = object.metadata.generation;
            tracing::warn!(
                error,
                generation,
                "the MeshBaseline is invalid; the last valid one holds"
            );
            board.put_baseline(Baseline::clone(&board.snapshot().baseline));
        }
    }
}

fn not_installed(error: &watcher::Error) -> bool {
    matches!(
        error,
        watcher::Error::InitialListFailed(kube::Error::Api(status)) if status.code == 404
    )
}

/// Says once what is wrong with a watch that is tried again and again, and once that it is over.
struct Trouble {
    subject: &'static str,
    told: Option<String>,
}

impl Trouble {
    fn new(subject: &'static str) -> Trouble {
        Trouble {
            subject,
            told: None,
        }
    }

    fn tell(&mut self, error: &watcher::Error) {
        let text = error.to_string();
        if self.told.as_ref() == Some(&text) {
            return;
        }
        tracing::warn!(
            subject = self.subject,
            error = text,
            "the watch fails and is tried again"
        );
        self.told = Some(text);
    }

    fn over(&mut self) {
        if self.told.take().is_some() {
            tracing::info!(subject = self.subject, "the watch works again");
        }
    }
}
