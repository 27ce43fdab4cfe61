//! What would have to change to get the other answer.
//!
//! Words the smallest changes of policies that turn a verdict around. Refuses to know whether
//! the change is wise.

use std::cmp::Reverse;

use sparkmesh_policy::access::{Action, Enforcement, Plaintext};
use sparkmesh_policy::baseline::{Permissive, ServiceAccounts};
use sparkmesh_policy::names;
use sparkmesh_policy::verdict::{
    Allowed, Connection, Decision, EffectivePolicy, Identity, Peer, PolicySet, Refused, RuleRef,
    Verdict, Why, Workload,
};

use super::policies::Policies;

/// The steps, all of which are needed.
pub(super) fn steps(
    set: &PolicySet,
    destination: &Workload,
    connection: &Connection<'_>,
    policies: &Policies,
) -> Vec<String> {
    let case = Case {
        set,
        destination,
        connection,
        policies,
    };
    let verdict = set.verdict(destination, connection);
    match verdict.decision {
        Decision::Allowed(Allowed::Rule(rule)) => case.close(&all_like(rule, &verdict)),
        Decision::Allowed(Allowed::Default(_)) => vec![format!(
            "write an AccessPolicy in namespace {} that selects the pod and does not allow the \
             connection: once a policy selects a pod, only what a rule allows may connect",
            destination.namespace
        )],
        Decision::Refused(Refused::TlsFloor) => vec!["let the peer speak TLS 1.3".to_owned()],
        Decision::Refused(Refused::NotMutualTls) => case.let_plaintext_in(),
        Decision::Refused(Refused::Rule(rule)) => case.open(&all_like(rule, &verdict)),
        Decision::Refused(Refused::Default(_) | Refused::NoRule) => case.allow(),
    }
}

/// The deciding rule and those that would decide the same in its place.
fn all_like<'a>(deciding: RuleRef<'a>, verdict: &Verdict<'a>) -> Vec<RuleRef<'a>> {
    let others = verdict.passed_over().filter(|passed| {
        passed.why == Why::Overruled && passed.rule.rule.action == deciding.rule.action
    });
    std::iter::once(deciding)
        .chain(others.map(|passed| passed.rule))
        .collect()
}

struct Case<'a> {
    set: &'a PolicySet,
    destination: &'a Workload,
    connection: &'a Connection<'a>,
    policies: &'a Policies,
}

impl Case<'_> {
    /// Takes an allowed connection away.
    fn close(&self, allowing: &[RuleRef<'_>]) -> Vec<String> {
        let rules: Vec<String> = allowing.iter().map(|r| self.policies.rule(*r)).collect();
        vec![format!(
            "remove {}; or write into an AccessPolicy that selects the pod the rule {}",
            rules.join(" and "),
            self.rule(Action::Deny)
        )]
    }

    /// Takes Deny rules away, and what would refuse the connection without them.
    fn open(&self, denying: &[RuleRef<'_>]) -> Vec<String> {
        let mut steps: Vec<String> = denying
            .iter()
            .map(|denying| {
                let rule = self.policies.rule(*denying);
                if denying.rule.is_readable() {
                    format!("remove or narrow {rule}")
                } else {
                    format!("correct {rule}, which cannot be read and so denies everything")
                }
            })
            .collect();
        let remaining = self.set.policies().map(|policy| {
            let stays = |rule| !denying.iter().any(|d| std::ptr::eq(d.rule, rule));
            let rules = policy.rules.iter().filter(|rule| stays(*rule));
            EffectivePolicy {
                rules: rules.cloned().collect(),
                ..policy.clone()
            }
        });
        let without = PolicySet::new(self.set.baseline().clone(), remaining);
        let verdict = without.verdict(self.destination, self.connection);
        if !verdict.is_allowed() {
            let (destination, connection) = (self.destination, self.connection);
            steps.extend(self::steps(
                &without,
                destination,
                connection,
                self.policies,
            ));
        }
        steps
    }

    /// Lets in a connection that no rule and no default allows.
    fn allow(&self) -> Vec<String> {
        let mut steps = Vec::new();
        if let Peer::Plaintext(_) = self.connection.peer {
            return self.let_plaintext_in();
        }
        if self.has_shared_account() {
            let account = names::SHARED_SERVICE_ACCOUNT;
            steps.push(match self.set.baseline().identities {
                ServiceAccounts::Dedicated => format!(
                    "give the peer's pods a service account of their own: the baseline does not \
                     take the shared account `{account}` for an identity \
                     (identities.serviceAccounts: Dedicated)"
                ),
                ServiceAccounts::Any => format!(
                    "better give the peer's pods a service account of their own, and name that: \
                     a rule about `{account}` means every pod of its namespace that names none"
                ),
            });
        }
        let (place, rule) = (self.where_to_write(), self.rule(Action::Allow));
        steps.push(if self.enforced().next().is_some() {
            format!("{place} the rule {rule}")
        } else {
            format!("{place} the rule {rule}; from then on only what rules allow may connect to it")
        });
        steps
    }

    fn let_plaintext_in(&self) -> Vec<String> {
        let port = self.connection.port;
        if let Peer::Authenticated(_) = self.connection.peer {
            return vec!["let the peer speak mutual TLS, as every pod of the mesh does".to_owned()];
        }
        let mut steps = Vec::new();
        if self.set.baseline().tls.permissive == Permissive::Never {
            steps.push(
                "move the peer into the mesh; or set tls.permissive: UntilExpiry in the \
                 MeshBaseline, which lets policies make exceptions"
                    .to_owned(),
            );
        }
        let rule = self.rule(Action::Allow);
        let exception = self
            .enforced()
            .filter_map(|policy| match policy.plaintext(port) {
                Plaintext::AllowedUntil(end) => Some((end, policy)),
                Plaintext::Refused => None,
            })
            .max_by_key(|(end, policy)| (*end, &policy.name));
        steps.push(match exception {
            Some((end, policy)) => {
                let title = self.policies.title(policy);
                if self.connection.at < end {
                    format!(
                        "write into {title}, whose exception lasts until {end}, the rule {rule}"
                    )
                } else {
                    format!(
                        "give the exception in {title}, which ended at {end}, a later end, and \
                         see that the policy has the rule {rule}"
                    )
                }
            }
            None => format!(
                "{} both tls.portModes: [{{port: {port}, mode: Permissive, until: DATE}}] and \
                 the rule {rule}",
                self.where_to_write()
            ),
        });
        steps
    }

    /// The policy whose selection is the narrowest, so that the rule opens the least.
    fn where_to_write(&self) -> String {
        let narrowest = self
            .enforced()
            .min_by_key(|policy| (Reverse(policy.selector.len()), &policy.name));
        match narrowest {
            Some(policy) => format!("write into {}", self.policies.title(policy)),
            None => format!(
                "write into a new AccessPolicy of namespace {} that selects the pod",
                self.destination.namespace
            ),
        }
    }

    fn enforced(&self) -> impl Iterator<Item = &EffectivePolicy> {
        self.set
            .selecting(self.destination)
            .filter(|policy| policy.enforcement == Enforcement::Enforce)
    }

    /// Whether the peer runs as the account of pods that name none.
    fn has_shared_account(&self) -> bool {
        let Peer::Authenticated(identity) = self.connection.peer else {
            return false;
        };
        let account = identity.account_in(&self.set.baseline().trust_domain);
        account.is_some_and(|account| account.name == names::SHARED_SERVICE_ACCOUNT)
    }

    /// Whether a rule that allows the peer by its name would not hold.
    fn is_no_identity(&self) -> bool {
        let identities = self.set.baseline().identities;
        identities == ServiceAccounts::Dedicated && self.has_shared_account()
    }

    /// A rule about this peer and port, as YAML on one line.
    fn rule(&self, action: Action) -> String {
        let port = self.connection.port;
        let (word, name) = match action {
            Action::Allow => ("Allow", "allow"),
            Action::Deny => ("Deny", "deny"),
        };
        let peer = self.peer(action);
        format!(
            "{{name: {name}-{port}, action: {word}, from: [{peer}], ports: [{{port: {port}}}]}}"
        )
    }

    fn peer(&self, action: Action) -> String {
        match self.connection.peer {
            Peer::Plaintext(address) => {
                let address = address.to_canonical();
                let length = if address.is_ipv4() { 32 } else { 128 };
                format!("{{ipBlock: {{cidr: \"{address}/{length}\"}}}}")
            }
            Peer::Authenticated(_) if action == Action::Allow && self.is_no_identity() => {
                "{serviceAccount: {name: ITS-OWN}}".to_owned()
            }
            Peer::Authenticated(identity) => self.identity(identity),
        }
    }

    fn identity(&self, identity: &Identity) -> String {
        match identity.account_in(&self.set.baseline().trust_domain) {
            Some(account) if account.namespace == self.destination.namespace => {
                format!("{{serviceAccount: {{name: {}}}}}", account.name)
            }
            Some(account) => format!(
                "{{serviceAccount: {{namespace: {}, name: {}}}}}",
                account.namespace, account.name
            ),
            None => format!("{{spiffeID: {}}}", identity.id()),
        }
    }
}
