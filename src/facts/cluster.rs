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
                board.replace_namespaces(&listed);
                listed.clear();
                trouble.over();
            }
            Ok(Event::Apply(object)) => {
                board.put_namespace(namespace(&object));
                trouble.over();
            }
            Ok(Event::Delete(object)) => board.remove_namespace(&object.name_any()),
            Err(error) => trouble.tell(&error.to_string()),
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
            Err(error) if not_installed(&error) => {
                board.put_baseline(Baseline::default());
                trouble.tell("the kind MeshBaseline is not installed; the defaults hold");
            }
            Err(error) => trouble.tell(&error.to_string()),
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

    fn tell(&mut self, error: &str) {
        if self.told.as_deref() != Some(error) {
            let subject = self.subject;
            tracing::warn!(subject, error, "the watch fails and is tried again");
            self.told = Some(error.to_owned());
        }
    }

    fn over(&mut self) {
        if self.told.take().is_some() {
            tracing::info!(subject = self.subject, "the watch works again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use kube::core::Status;
    use serde_json::json;
    use sparkmesh_policy::baseline::OptOut;

    fn team(injection: &str) -> PartialObjectMeta<Namespace> {
        let labels = json!({names::INJECTION_LABEL: injection});
        serde_json::from_value(json!({"metadata": {"name": "team", "labels": labels}}))
            .expect("a namespace")
    }

    fn mesh_baseline(opt_out: &str) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "sparkmesh.dev/v1alpha1",
            "kind": "MeshBaseline",
            "metadata": {"name": "default"},
            "spec": {"injection": {"optOut": opt_out}},
        }))
        .expect("an object")
    }

    fn refused(code: u16) -> watcher::Error {
        let status = Status::failure("refused", "Refused").with_code(code);
        watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status)))
    }

    async fn namespaces(events: Vec<Event<PartialObjectMeta<Namespace>>>) -> Board {
        let board = Board::empty(true);
        follow_namespaces(stream::iter(events.into_iter().map(Ok)), board.clone()).await;
        board
    }

    async fn baselines(events: Vec<watcher::Result<Event<DynamicObject>>>) -> Board {
        let board = Board::empty(true);
        follow_baseline(stream::iter(events), board.clone()).await;
        board
    }

    #[tokio::test]
    async fn nothing_of_a_list_is_shown_before_its_end() {
        let mut events = vec![Event::Init, Event::InitApply(team("enabled"))];
        let board = namespaces(events.clone()).await;
        assert!(board.snapshot().namespaces.is_empty() && board.missing().len() == 2);
        events.push(Event::InitDone);
        let board = namespaces(events).await;
        assert!(board.snapshot().namespaces["team"].injection && board.missing().len() == 1);
    }

    #[tokio::test]
    async fn changes_deletions_and_new_lists_are_followed() {
        let first = [
            Event::Init,
            Event::InitApply(team("enabled")),
            Event::InitDone,
        ];
        let then = |events: Vec<_>| namespaces(first.iter().cloned().chain(events).collect());
        let board = then(vec![Event::Apply(team("disabled"))]).await;
        assert!(!board.snapshot().namespaces["team"].injection);
        let board = then(vec![Event::Delete(team("enabled"))]).await;
        assert!(board.snapshot().namespaces.is_empty());
        let board = then(vec![Event::Init, Event::InitDone]).await;
        assert!(
            board.snapshot().namespaces.is_empty(),
            "gone between two lists"
        );
    }

    #[tokio::test]
    async fn an_invalid_baseline_leaves_the_last_valid_one_and_at_first_the_defaults() {
        let list = |opt_out| {
            [
                Ok(Event::Init),
                Ok(Event::InitApply(mesh_baseline(opt_out))),
                Ok(Event::InitDone),
            ]
        };
        let board = baselines(list("Maybe").into()).await;
        assert_eq!(board.snapshot().baseline.opt_out, OptOut::Deny);
        let mut events: Vec<_> = list("Allow").into();
        events.push(Ok(Event::Apply(mesh_baseline("Maybe"))));
        let board = baselines(events).await;
        assert_eq!(board.snapshot().baseline.opt_out, OptOut::Allow);
        assert_eq!(board.missing().len(), 1, "only namespaces are not known");
    }

    #[tokio::test]
    async fn without_the_kind_the_defaults_hold_but_without_permission_nothing_is_known() {
        let board = baselines(vec![Err(refused(404))]).await;
        assert_eq!(board.missing().len(), 1);
        let board = baselines(vec![Err(refused(403))]).await;
        assert_eq!(board.missing().len(), 2);
    }

    #[tokio::test]
    async fn a_deleted_baseline_leaves_the_defaults() {
        let allow = || mesh_baseline("Allow");
        let events = vec![Ok(Event::Apply(allow())), Ok(Event::Delete(allow()))];
        let board = baselines(events).await;
        assert_eq!(board.snapshot().baseline.opt_out, OptOut::Deny);
    }
}
