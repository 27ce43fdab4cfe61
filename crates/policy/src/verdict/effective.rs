//! What a policy amounts to when some of it cannot be read.
//!
//! A control plane meets objects that the parser refuses: written under an older definition, or
//! by a newer version. It cannot leave them out, for that would open what they closed. Decides
//! what each part then means: what is readable stands, a rule that is not allows nothing or
//! denies everything, and a policy that is not closes what it selects. Refuses to know what is
//! wrong with a part; the parser says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::access::{Action, Enforcement, Peer, Plaintext, Policy, Ports, Rule, Tls};
use crate::baseline::{Permissive, TlsVersion};
use crate::identity::is_dns_label;
use crate::port::Port;
use crate::violation::Violation;

use super::connection::Connection;

/// Name of the one rule of a policy that cannot be read as a whole; no rule can be given it.
pub const UNREADABLE_POLICY: &str = "(unreadable)";

/// A policy as it takes effect, in the one namespace that it reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectivePolicy {
    /// Its namespace.
    pub namespace: String,
    /// Its name; empty where it has none yet.
    pub name: String,
    /// Labels that a pod must all have to be selected. Empty: every pod of the namespace.
    pub selector: BTreeMap<String, String>,
    /// Whether it decides or only reports.
    pub enforcement: Enforcement,
    /// What TLS must be.
    pub tls: Tls,
    /// Its rules, in the order written.
    pub rules: Vec<EffectiveRule>,
}

/// A rule as it takes effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveRule {
    /// Its name, or its place in the list (`rules[2]`) where it has none to be read.
    pub name: String,
    /// What becomes of a connection that matches.
    pub action: Action,
    /// Which connections match.
    pub matches: Matches,
}

/// Which connections a rule matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matches {
    /// Those from any of these peers on these ports.
    These {
        /// The peers.
        from: Vec<Peer>,
        /// The ports.
        ports: Ports,
    },
    /// None: an Allow rule that cannot be read.
    Nothing,
    /// All: a Deny rule that cannot be read.
    Everything,
}

impl EffectivePolicy {
    /// A valid policy; `namespace` is the one of a policy that names none.
    #[must_use]
    pub fn of_valid(policy: Policy, namespace: &str) -> EffectivePolicy {
        EffectivePolicy {
            namespace: policy.namespace.unwrap_or_else(|| namespace.to_owned()),
            name: policy.name,
            selector: policy.selector,
            enforcement: policy.enforcement,
            tls: policy.tls,
            rules: policy
                .rules
                .into_iter()
                .map(EffectiveRule::of_valid)
                .collect(),
        }
    }

    /// What an `AccessPolicy` object amounts to, however much is wrong with it, and everything
    /// that is. `namespace` is the one of an object that names none.
    ///
    /// - Valid rules are as they are.
    /// - A rule that is not valid, or bears the name of an earlier one, matches nothing if its
    ///   action is Allow, and everything otherwise.
    /// - A policy that is not valid beside its rules denies everything to the pods that it
    ///   selects, or to all of the namespace where its selector is not valid. If it plainly says
    ///   Audit it still only reports.
    #[must_use]
    pub fn read(object: &Value, namespace: &str) -> (EffectivePolicy, Vec<Violation>) {
        let violations = match Policy::parse(object) {
            Ok(policy) => return (EffectivePolicy::of_valid(policy, namespace), Vec::new()),
            Err(violations) => violations,
        };
        let read = EffectivePolicy::of_parts(object, namespace)
            .unwrap_or_else(|| EffectivePolicy::closed(object, namespace));
        (read, violations)
    }

    /// The policy from its readable parts, where only rules are not readable.
    fn of_parts(object: &Value, namespace: &str) -> Option<EffectivePolicy> {
        let rules = object.pointer("/spec/rules")?.as_array()?;
        let mut without_rules = object.clone();
        without_rules["spec"]["rules"] = json!([]);
        let with_rules = |rules: &[&Value]| {
            let mut object = without_rules.clone();
            object["spec"]["rules"] = json!(rules);
            Policy::parse(&object)
        };
        let frame = with_rules(&[]).ok()?;
        let mut names = BTreeSet::new();
        let read: Vec<EffectiveRule> = rules
            .iter()
            .enumerate()
            .map(|(index, rule)| {
                let parsed = with_rules(&[rule]).ok().and_then(|mut p| p.rules.pop());
                match parsed {
                    Some(valid) if names.insert(valid.name.clone()) => {
                        EffectiveRule::of_valid(valid)
                    }
                    _ => EffectiveRule::unreadable(index, rule),
                }
            })
            .collect();
        // Something is wrong with the list as such.
        if read.iter().all(EffectiveRule::is_readable) {
            return None;
        }
        Some(EffectivePolicy {
            rules: read,
            ..EffectivePolicy::of_valid(frame, namespace)
        })
    }

    /// The policy that denies everything to whatever of the object's selection is readable.
    fn closed(object: &Value, namespace: &str) -> EffectivePolicy {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        // What the fields of another version or kind mean is not known.
        let selection = Policy::parse(&json!({
            "apiVersion": object["apiVersion"],
            "kind": object["kind"],
            "metadata": {"name": "selection"},
            "spec": {"podSelector": object["spec"]["podSelector"]},
        }))
        .ok();
        let reports = selection.is_some() && text("/spec/enforcement") == Some("Audit");
        EffectivePolicy {
            namespace: text("/metadata/namespace").unwrap_or(namespace).to_owned(),
            name: text("/metadata/name").unwrap_or_default().to_owned(),
            selector: selection.map(|policy| policy.selector).unwrap_or_default(),
            enforcement: if reports {
                Enforcement::Audit
            } else {
                Enforcement::Enforce
            },
            tls: Tls {
                min_version: TlsVersion::default(),
                otherwise: Plaintext::Refused,
                ports: BTreeMap::new(),
            },
            rules: vec![EffectiveRule {
                name: UNREADABLE_POLICY.to_owned(),
                action: Action::Deny,
                matches: Matches::Everything,
            }],
        }
    }

    /// Whether it selects a pod of its namespace with these labels.
    #[must_use]
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |(key, value): (&String, &String)| labels.get(key) == Some(value);
        self.selector.iter().all(has)
    }

    /// Up to when the policy asks for plaintext to be let in on a port, whatever the baseline
    /// says to that.
    #[must_use]
    pub fn plaintext(&self, port: Port) -> Plaintext {
        *self.tls.ports.get(&port).unwrap_or(&self.tls.otherwise)
    }

    /// Whether the policy lets plaintext in, where the baseline lets policies do so.
    pub(super) fn lets_plaintext_in(
        &self,
        connection: &Connection<'_>,
        permissive: Permissive,
    ) -> bool {
        match (permissive, self.plaintext(connection.port)) {
            (Permissive::UntilExpiry, Plaintext::AllowedUntil(end)) => connection.at < end,
            (Permissive::Never, _) | (_, Plaintext::Refused) => false,
        }
    }
}

impl EffectiveRule {
    fn of_valid(rule: Rule) -> EffectiveRule {
        EffectiveRule {
            name: rule.name,
            action: rule.action,
            matches: Matches::These {
                from: rule.from,
                ports: rule.ports,
            },
        }
    }

    fn unreadable(index: usize, rule: &Value) -> EffectiveRule {
        let (action, matches) = match rule.get("action").and_then(Value::as_str) {
            Some("Allow") => (Action::Allow, Matches::Nothing),
            // Without a readable action it may have been meant to deny.
            _ => (Action::Deny, Matches::Everything),
        };
        let name = rule.get("name").and_then(Value::as_str);
        let name = name.filter(|name| is_dns_label(name));
        EffectiveRule {
            name: name.map_or_else(|| format!("rules[{index}]"), str::to_owned),
            action,
            matches,
        }
    }

    /// Whether it means what is written, and not what stands in for a rule that is not valid.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        matches!(self.matches, Matches::These { .. })
    }
}
