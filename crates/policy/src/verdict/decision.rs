//! The decision about a connection, in its fixed order, and what led to it.
//!
//! Decides what counts before what. Refuses to know how a rule matches and how the policies of a
//! pod are found.

use crate::access::{Action, Enforcement};
use crate::baseline::DefaultAccess;

use super::connection::Proven;
use super::effective::{EffectivePolicy, EffectiveRule};
use super::matching::{Mismatch, Question};
use super::set::PolicySet;

/// What becomes of a connection, and on request what was passed over and what would become of it
/// if the policies under audit were enforced.
#[derive(Clone, Copy, Debug)]
pub struct Verdict<'a> {
    /// The decision.
    pub decision: Decision<'a>,
    set: &'a PolicySet,
    question: Question<'a>,
}

/// Allowed or refused, and by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// The connection is let in.
    Allowed(Allowed<'a>),
    /// It is not.
    Refused(Refused<'a>),
}

/// What lets a connection in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed<'a> {
    /// An Allow rule.
    Rule(RuleRef<'a>),
    /// The baseline's default, because no enforced policy selects the destination. Where it is
    /// Audit, the connection is to be reported.
    Default(DefaultAccess),
}

/// What keeps a connection out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused<'a> {
    /// Its version of TLS is below the floor.
    TlsFloor,
    /// It is not mutual TLS with a proven identity, and no plaintext is let in on the port.
    NotMutualTls,
    /// A Deny rule.
    Rule(RuleRef<'a>),
    /// The baseline's default, because no enforced policy selects the destination.
    Default(DefaultAccess),
    /// Enforced policies select the destination, and none of their rules matches.
    NoRule,
}

/// A rule and the policy that it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleRef<'a> {
    /// The policy.
    pub policy: &'a EffectivePolicy,
    /// The rule.
    pub rule: &'a EffectiveRule,
}

impl RuleRef<'_> {
    /// Whether both are the same rule of the same policy, not only equal ones.
    fn is(&self, other: &RuleRef<'_>) -> bool {
        std::ptr::eq(self.rule, other.rule)
    }
}

/// A rule that did not decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassedOver<'a> {
    /// The rule.
    pub rule: RuleRef<'a>,
    /// Why it did not.
    pub why: Why,
}

/// Why a rule did not decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It does not match.
    Mismatch(Mismatch),
    /// It matches, but another one counts before it.
    Overruled,
}

/// A policy under audit that selects the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audited<'a> {
    /// The policy.
    pub policy: &'a EffectivePolicy,
    /// What the decision would be if this policy were enforced as well.
    pub decision: Decision<'a>,
}

impl<'a> Verdict<'a> {
    pub(super) fn new(set: &'a PolicySet, question: Question<'a>) -> Verdict<'a> {
        Verdict {
            decision: decide(set, question, None),
            set,
            question,
        }
    }

    /// Whether the connection is let in.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.decision.is_allowed()
    }

    /// The rules of enforced policies that select the destination, but for the deciding one, in
    /// no order. None where TLS decided: no rule was asked then.
    pub fn passed_over(&self) -> impl Iterator<Item = PassedOver<'a>> + use<'a> {
        let question = self.question;
        let deciding = self.decision.rule();
        let by_tls = matches!(
            self.decision,
            Decision::Refused(Refused::TlsFloor | Refused::NotMutualTls)
        );
        self.set
            .selecting(question.destination)
            .filter(move |policy| !by_tls && policy.enforcement == Enforcement::Enforce)
            .flat_map(|policy| {
                policy
                    .rules
                    .iter()
                    .map(move |rule| RuleRef { policy, rule })
            })
            .filter(move |rule| !deciding.is_some_and(|deciding| deciding.is(rule)))
            .map(move |rule| PassedOver {
                rule,
                why: match question.check(rule.policy, rule.rule) {
                    Ok(()) => Why::Overruled,
                    Err(mismatch) => Why::Mismatch(mismatch),
                },
            })
    }

    /// The policies under audit that select the destination, in no order.
    pub fn audited(&self) -> impl Iterator<Item = Audited<'a>> + use<'a> {
        let (set, question) = (self.set, self.question);
        set.selecting_in_place(question.destination)
            .filter(|(_, policy)| policy.enforcement == Enforcement::Audit)
            .map(move |(place, policy)| Audited {
                policy,
                decision: decide(set, question, Some(place)),
            })
    }
}

impl<'a> Decision<'a> {
    /// Whether the connection is let in.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        matches!(self, Decision::Allowed(_))
    }

    /// The deciding rule, where one decided.
    #[must_use]
    pub fn rule(&self) -> Option<RuleRef<'a>> {
        match *self {
            Decision::Allowed(Allowed::Rule(rule)) | Decision::Refused(Refused::Rule(rule)) => {
                Some(rule)
            }
            _ => None,
        }
    }

    /// The reason as a stable word, for reports and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Decision::Refused(Refused::TlsFloor | Refused::NotMutualTls) => "tls",
            Decision::Refused(Refused::Rule(_)) => "deny",
            Decision::Refused(Refused::NoRule) => "no-rule",
            Decision::Allowed(Allowed::Rule(_)) => "allow",
            Decision::Allowed(Allowed::Default(_)) | Decision::Refused(Refused::Default(_)) => {
                "default"
            }
        }
    }
}

/// The decision; the policy under audit at the place `also` counts as enforced.
fn decide<'a>(set: &'a PolicySet, question: Question<'a>, also: Option<usize>) -> Decision<'a> {
    let Question {
        baseline,
        destination,
        connection,
    } = question;
    let mut floor = baseline.tls.min_version;
    let mut plaintext_let_in = false;
    let mut selected = false;
    let mut deny = First::default();
    let mut allow = First::default();
    for (place, policy) in set.selecting_in_place(destination) {
        if policy.enforcement == Enforcement::Audit && also != Some(place) {
            continue;
        }
        selected = true;
        floor = floor.max(policy.tls.min_version);
        plaintext_let_in |= policy.lets_plaintext_in(connection, baseline.tls.permissive);
        for rule in &policy.rules {
            let first = match rule.action {
                Action::Deny => &mut deny,
                Action::Allow => &mut allow,
            };
            if first.gives_way_to(place) && question.check(policy, rule).is_ok() {
                *first = First(Some((place, RuleRef { policy, rule })));
            }
        }
    }
    let proven = connection.proven();
    if connection.tls.is_below(floor) {
        Decision::Refused(Refused::TlsFloor)
    } else if !plaintext_let_in && !matches!(proven, Proven::Identity(_)) {
        Decision::Refused(Refused::NotMutualTls)
    } else if let Some((_, rule)) = deny.0 {
        Decision::Refused(Refused::Rule(rule))
    } else if !selected {
        by_default(question, proven)
    } else if let Some((_, rule)) = allow.0 {
        Decision::Allowed(Allowed::Rule(rule))
    } else {
        Decision::Refused(Refused::NoRule)
    }
}

/// The first rule in the order of the policies' names, then of the rules in each; so the same
/// rule is told in whatever order the policies are found.
#[derive(Clone, Copy, Default)]
struct First<'a>(Option<(usize, RuleRef<'a>)>);

impl First<'_> {
    /// Whether a rule of the policy at this place would come before it.
    fn gives_way_to(&self, place: usize) -> bool {
        self.0.is_none_or(|(found, _)| place < found)
    }
}

fn by_default<'a>(question: Question<'a>, proven: Proven<'a>) -> Decision<'a> {
    let default = question.baseline.access;
    let account = match proven {
        Proven::Identity(identity) => question.account(identity),
        Proven::Address(_) | Proven::Nothing => None,
    };
    let same_namespace = account.is_some_and(|a| a.namespace == question.destination.namespace);
    let allowed = match default {
        DefaultAccess::Deny => false,
        DefaultAccess::SameApplication => question.is_same_application(account),
        DefaultAccess::SameNamespace => same_namespace,
        DefaultAccess::Audit => account.is_some(),
    };
    if allowed {
        Decision::Allowed(Allowed::Default(default))
    } else {
        Decision::Refused(Refused::Default(default))
    }
}
