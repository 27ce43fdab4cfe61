//! All policies, so arranged that those of one pod are found without looking at the others.
//!
//! Decides which policies select a pod. Refuses to know what they say.

use std::collections::{BTreeMap, HashMap};

use crate::baseline::Baseline;

use super::connection::{Connection, Workload};
use super::decision::Verdict;
use super::effective::EffectivePolicy;
use super::matching::Question;

/// The baseline and all policies. What it answers does not depend on the order in which the
/// policies were given.
#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    baseline: Baseline,
    namespaces: HashMap<String, Namespace>,
}

/// The policies of one namespace, by name, each in one place of the index.
#[derive(Clone, Debug, Default)]
struct Namespace {
    policies: Vec<EffectivePolicy>,
    /// Those that select every pod.
    everywhere: Vec<usize>,
    /// The others, by one of the labels that they select: key, then value.
    by_label: HashMap<String, HashMap<String, Vec<usize>>>,
}

impl PolicySet {
    /// The set of these policies, each of which reaches no further than its namespace.
    #[must_use]
    pub fn new(
        baseline: Baseline,
        policies: impl IntoIterator<Item = EffectivePolicy>,
    ) -> PolicySet {
        let mut grouped: HashMap<String, Vec<EffectivePolicy>> = HashMap::new();
        for policy in policies {
            let namespace = grouped.entry(policy.namespace.clone()).or_default();
            namespace.push(policy);
        }
        PolicySet {
            baseline,
            namespaces: grouped
                .into_iter()
                .map(|(name, policies)| (name, Namespace::new(policies)))
                .collect(),
        }
    }

    /// The baseline.
    #[must_use]
    pub fn baseline(&self) -> &Baseline {
        &self.baseline
    }

    /// Every policy, by namespace in no order, and by name within each.
    pub fn policies(&self) -> impl Iterator<Item = &EffectivePolicy> {
        self.namespaces.values().flat_map(|n| &n.policies)
    }

    /// The policies that select a pod, enforced or not, in no order.
    pub fn selecting<'a>(
        &'a self,
        destination: &'a Workload,
    ) -> impl Iterator<Item = &'a EffectivePolicy> {
        self.selecting_in_place(destination)
            .map(|(_, policy)| policy)
    }

    /// The same, each with its place in the order of names.
    pub(super) fn selecting_in_place<'a>(
        &'a self,
        destination: &'a Workload,
    ) -> impl Iterator<Item = (usize, &'a EffectivePolicy)> {
        let namespace = self.namespaces.get(&destination.namespace);
        namespace
            .into_iter()
            .flat_map(|namespace| namespace.selecting(&destination.labels))
    }

    /// What becomes of a connection to a pod.
    #[must_use]
    pub fn verdict<'a>(
        &'a self,
        destination: &'a Workload,
        connection: &'a Connection<'a>,
    ) -> Verdict<'a> {
        let question = Question {
            baseline: &self.baseline,
            destination,
            connection,
        };
        Verdict::new(self, question)
    }
}

impl Namespace {
    fn new(mut policies: Vec<EffectivePolicy>) -> Namespace {
        policies.sort_by(|a, b| {
            // Manifests that no API server has seen may have two of the same name, or of none.
            let whole = |policy: &EffectivePolicy| format!("{policy:?}");
            a.name.cmp(&b.name).then_with(|| whole(a).cmp(&whole(b)))
        });
        let mut uses: HashMap<(&str, &str), usize> = HashMap::new();
        for (key, value) in policies.iter().flat_map(|policy| &policy.selector) {
            *uses.entry((key, value)).or_default() += 1;
        }
        let mut everywhere = Vec::new();
        let mut by_label: HashMap<String, HashMap<String, Vec<usize>>> = HashMap::new();
        for (place, policy) in policies.iter().enumerate() {
            // The label that the fewest policies select leads past the most of them.
            let rarest = policy
                .selector
                .iter()
                .min_by_key(|(key, value)| uses[&(key.as_str(), value.as_str())]);
            match rarest {
                None => everywhere.push(place),
                Some((key, value)) => {
                    let values = by_label.entry(key.clone()).or_default();
                    values.entry(value.clone()).or_default().push(place);
                }
            }
        }
        Namespace {
            policies,
            everywhere,
            by_label,
        }
    }

    fn selecting<'a>(
        &'a self,
        labels: &'a BTreeMap<String, String>,
    ) -> impl Iterator<Item = (usize, &'a EffectivePolicy)> {
        let labelled = labels
            .iter()
            .filter_map(|(key, value)| self.by_label.get(key)?.get(value))
            .flatten();
        self.everywhere
            .iter()
            .chain(labelled)
            .map(|place| (*place, &self.policies[*place]))
            .filter(|(_, policy)| policy.selects(labels))
    }
}
