//! What is known of the mesh, whoever tells it: watches on a cluster, or manifests in a folder.
//!
//! Readers take one snapshot without waiting for anybody; a change replaces the snapshot whole.
//! Nothing here decides anything about a pod.

mod baseline;
mod cluster;
pub(crate) mod files;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use sparkmesh_injection::facts::{MeshFacts, NamespaceFacts};
use sparkmesh_policy::baseline::Baseline;
use tokio::sync::watch;

/// Where facts come from.
#[derive(Clone)]
pub enum Source {
    /// Watches on namespaces and on the baseline.
    Cluster(kube::Client),
    /// Manifests in the files of a folder.
    Files(PathBuf),
}

impl Source {
    /// Starts to keep a board up to date, for as long as the process lives.
    ///
    /// With files, the board is complete on return and an error names file and line; files are
    /// looked at again every `poll`. With a cluster, [`Board::missing`] tells when it is complete.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn follow(self, poll: Duration) -> anyhow::Result<Board> {
        match self {
            Source::Cluster(client) => {
                let board = Board::empty(true);
                cluster::follow(client, board.clone());
                Ok(board)
            }
            Source::Files(folder) => files::follow(folder, poll),
        }
    }
}

/// The facts as they are known now; clones share them.
#[derive(Clone)]
pub struct Board(Arc<Inner>);

struct Inner {
    facts: ArcSwap<MeshFacts>,
    version: watch::Sender<u64>,
    from_cluster: bool,
    namespaces_known: AtomicBool,
    baseline_known: AtomicBool,
    refused: Family<RefusedLabels, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RefusedLabels {
    subject: &'static str,
}

impl Board {
    /// A board that holds `facts` and never changes.
    #[must_use]
    pub fn fixed(facts: MeshFacts) -> Board {
        let board = Board::empty(false);
        board.replace(facts);
        board
    }

    pub(crate) fn empty(from_cluster: bool) -> Board {
        Board(Arc::new(Inner {
            facts: ArcSwap::default(),
            version: watch::Sender::new(0),
            from_cluster,
            namespaces_known: AtomicBool::new(false),
            baseline_known: AtomicBool::new(false),
            refused: Family::default(),
        }))
    }

    /// The facts of this moment.
    #[must_use]
    pub fn snapshot(&self) -> Arc<MeshFacts> {
        self.0.facts.load_full()
    }

    /// Tells of every later change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.version.subscribe()
    }

    /// Whether a namespace that is not there may be there a moment later: a watch is always a
    /// little behind the API server.
    #[must_use]
    pub fn lags(&self) -> bool {
        self.0.from_cluster
    }

    /// What is not known yet, in words for people; nothing once every source has told all it has.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let parts = [
            (&self.0.namespaces_known, "namespaces"),
            (&self.0.baseline_known, "MeshBaseline"),
        ];
        parts
            .iter()
            .filter(|(known, _)| !known.load(Ordering::Acquire))
            .map(|(_, what)| format!("the API server has not told its {what} yet"))
            .collect()
    }

    /// Registers the count of facts that were refused because they are invalid.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "facts_refused",
            "Invalid facts by subject; the last valid ones were kept",
            self.0.refused.clone(),
        );
    }

    fn count_refused(&self, subject: &'static str) {
        self.0
            .refused
            .get_or_create(&RefusedLabels { subject })
            .inc();
    }

    fn replace(&self, facts: MeshFacts) {
        self.0.facts.store(Arc::new(facts));
        self.0.namespaces_known.store(true, Ordering::Release);
        self.0.baseline_known.store(true, Ordering::Release);
        self.announce();
    }

    fn replace_namespaces(&self, namespaces: &HashMap<String, Arc<NamespaceFacts>>) {
        self.change(|facts| facts.namespaces.clone_from(namespaces));
        self.0.namespaces_known.store(true, Ordering::Release);
    }

    pub(crate) fn put_namespace(&self, namespace: NamespaceFacts) {
        let old = self.snapshot();
        if old.namespaces.get(&namespace.name).map(Arc::as_ref) == Some(&namespace) {
            return;
        }
        let namespace = Arc::new(namespace);
        self.change(|facts| {
            let name = namespace.name.clone();
            facts.namespaces.insert(name, namespace.clone());
        });
    }

    fn remove_namespace(&self, name: &str) {
        self.change(|facts| {
            facts.namespaces.remove(name);
        });
    }

    fn put_baseline(&self, baseline: Baseline) {
        let baseline = Arc::new(baseline);
        self.change(|facts| facts.baseline = baseline.clone());
        self.0.baseline_known.store(true, Ordering::Release);
    }

    /// Namespaces and baseline are told by two tasks, so a change may have to be made twice.
    fn change(&self, change: impl Fn(&mut MeshFacts)) {
        self.0.facts.rcu(|facts| {
            let mut facts = MeshFacts::clone(facts);
            change(&mut facts);
            facts
        });
        self.announce();
    }

    fn announce(&self) {
        self.0.version.send_modify(|version| *version += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sparkmesh_injection::facts::PodSecurity;

    fn namespace(name: &str, injection: bool) -> NamespaceFacts {
        NamespaceFacts {
            name: name.to_owned(),
            injection,
            pod_security: PodSecurity::Unset,
            openshift_uid_range: false,
        }
    }

    #[test]
    fn a_snapshot_taken_before_a_change_stays_as_it_was() {
        let board = Board::empty(true);
        board.put_namespace(namespace("a", false));
        let before = board.snapshot();
        board.put_namespace(namespace("a", true));
        board.remove_namespace("b");
        assert!(!before.namespaces["a"].injection);
        assert!(board.snapshot().namespaces["a"].injection);
    }

    #[test]
    fn every_change_is_told_and_a_repetition_is_none() {
        let board = Board::empty(true);
        let mut changes = board.changes();
        board.put_namespace(namespace("a", true));
        assert!(changes.has_changed().expect("the board lives"));
        changes.mark_unchanged();
        board.put_namespace(namespace("a", true));
        assert!(!changes.has_changed().expect("the board lives"));
    }

    #[test]
    fn a_board_is_complete_once_both_sources_have_told() {
        let board = Board::empty(true);
        assert_eq!(board.missing().len(), 2);
        board.replace_namespaces(&HashMap::new());
        assert_eq!(board.missing().len(), 1);
        board.put_baseline(Baseline::default());
        assert!(board.missing().is_empty());
    }
}
