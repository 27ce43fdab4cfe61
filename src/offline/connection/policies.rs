//! The policies among manifests, and the file of each.
//!
//! Decides which documents count. Refuses to know what the policies say.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::bail;
use serde_json::Value;
use sparkmesh_policy::baseline::Baseline;
use sparkmesh_policy::names;
use sparkmesh_policy::verdict::{EffectivePolicy, PolicySet, RuleRef};
use sparkmesh_policy::violation::Violation;

use crate::offline::documents::{self, Document};
use crate::offline::scope::World;

/// Every policy by namespace and name.
#[derive(Debug, Default)]
pub(super) struct Policies(BTreeMap<(String, String), Found>);

#[derive(Debug)]
struct Found {
    source: String,
    policy: EffectivePolicy,
    violations: Vec<Violation>,
}

impl Policies {
    /// Those among the world's documents and in the folder.
    pub(super) fn load(world: &World, folder: Option<&PathBuf>) -> anyhow::Result<Policies> {
        let mut policies = Policies::default();
        let further = match folder {
            Some(folder) => documents::read(std::slice::from_ref(folder))?,
            None => Vec::new(),
        };
        for Document { source, value } in world.documents.iter().chain(&further) {
            for object in documents::objects(value).into_iter().filter(|o| is_ours(o)) {
                policies.add(source, object, world.default_namespace())?;
            }
        }
        Ok(policies)
    }

    fn add(&mut self, source: &str, object: &Value, namespace: &str) -> anyhow::Result<()> {
        let (policy, violations) = EffectivePolicy::read(object, namespace);
        let key = (policy.namespace.clone(), policy.name.clone());
        let found = Found {
            source: source.to_owned(),
            policy,
            violations,
        };
        match self.0.get(&key) {
            // The same file may be among several paths.
            Some(other) if other.policy != found.policy => bail!(
                "{source}: AccessPolicy {}/{} is also in {} and says something else there; \
                 name only one of the two files",
                key.0,
                key.1,
                other.source
            ),
            Some(_) => {}
            None => {
                self.0.insert(key, found);
            }
        }
        Ok(())
    }

    pub(super) fn to_set(&self, baseline: Baseline) -> PolicySet {
        PolicySet::new(baseline, self.iter().cloned())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &EffectivePolicy> {
        self.0.values().map(|found| &found.policy)
    }

    /// What is wrong with policies that are not valid, a line each.
    pub(super) fn complaints(&self) -> impl Iterator<Item = String> {
        self.0.values().flat_map(|found| {
            let title = title(&found.policy);
            let complaint = move |violation| format!("{}: {title}: {violation}", found.source);
            found.violations.iter().map(complaint)
        })
    }

    /// The file that a policy is in.
    pub(super) fn source(&self, policy: &EffectivePolicy) -> &str {
        let key = (policy.namespace.clone(), policy.name.clone());
        self.0.get(&key).map_or("", |found| &found.source)
    }

    /// A policy as messages name it.
    pub(super) fn title(&self, policy: &EffectivePolicy) -> String {
        format!("{} ({})", title(policy), self.source(policy))
    }

    /// A rule as messages name it.
    pub(super) fn rule(&self, RuleRef { policy, rule }: RuleRef<'_>) -> String {
        format!(
            "{:?} rule {} of {}",
            rule.action,
            rule.name,
            self.title(policy)
        )
    }
}

fn title(policy: &EffectivePolicy) -> String {
    let EffectivePolicy {
        namespace, name, ..
    } = policy;
    format!("AccessPolicy {namespace}/{name}")
}

fn is_ours(object: &Value) -> bool {
    let group = object["apiVersion"]
        .as_str()
        .and_then(|v| v.split_once('/'));
    object["kind"] == "AccessPolicy" && group.is_some_and(|(group, _)| group == names::GROUP)
}
