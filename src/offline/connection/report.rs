//! The verdict on a connection in words and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};
use sparkmesh_policy::baseline::DefaultAccess;
use sparkmesh_policy::verdict::{
    Allowed, Connection, Decision, Mismatch, PassedOver, Peer, Refused, RuleRef, Verdict, Why,
};

use super::ends::End;
use super::policies::Policies;

/// All that is said about a connection.
pub(super) struct Report<'a> {
    pub(super) from: Option<&'a End>,
    pub(super) to: &'a End,
    pub(super) connection: &'a Connection<'a>,
    pub(super) verdict: Verdict<'a>,
    pub(super) steps: Vec<String>,
    pub(super) policies: &'a Policies,
}

impl Report<'_> {
    pub(super) fn as_text(&self) -> String {
        let answer = if self.verdict.is_allowed() {
            "allowed"
        } else {
            "refused"
        };
        let mut text = format!(
            "from  {}\nto    {}, port {}\n\n{answer}: {} [{}]\n",
            self.peer(),
            self.to.title,
            self.connection.port,
            self.because(self.verdict.decision),
            self.verdict.decision.reason(),
        );
        let (passed_over, audited) = (self.passed_over(), self.audited());
        let other = if self.verdict.is_allowed() {
            "to have it refused"
        } else {
            "to have it allowed"
        };
        for (title, lines) in [
            ("passed over", passed_over),
            ("under audit", audited),
            (other, self.steps.clone()),
            ("but know", self.notes()),
        ] {
            if lines.is_empty() {
                continue;
            }
            writeln!(text, "\n{title}:").expect("writing to a String cannot fail");
            for line in lines {
                writeln!(text, "  - {line}").expect("writing to a String cannot fail");
            }
        }
        text
    }

    pub(super) fn as_json(&self) -> Value {
        let decision = self.verdict.decision;
        let passed_over = self.sorted_passed_over();
        json!({
            "from": self.peer(),
            "to": self.to.title,
            "port": self.connection.port,
            "at": self.connection.at.to_string(),
            "allowed": decision.is_allowed(),
            "reason": decision.reason(),
            "message": self.because(decision),
            "rule": decision.rule().map(|rule| self.rule_json(rule)),
            "passedOver": passed_over.into_iter().map(|passed| {
                let mut rule = self.rule_json(passed.rule);
                rule["why"] = json!(why(passed.why));
                rule
            }).collect::<Vec<_>>(),
            "audited": self.verdict.audited().map(|audited| json!({
                "policy": format!("{}/{}", audited.policy.namespace, audited.policy.name),
                "source": self.policies.source(audited.policy),
                "allowed": audited.decision.is_allowed(),
                "reason": audited.decision.reason(),
            })).collect::<Vec<_>>(),
            "otherwise": self.steps,
            "notes": self.notes(),
        })
    }

    fn peer(&self) -> String {
        match (self.connection.peer, self.from) {
            (Peer::Plaintext(address), _) => format!("{address}, without TLS"),
            (Peer::Authenticated(identity), Some(from)) => {
                format!("{}, as {}", from.title, identity.id())
            }
            (Peer::Authenticated(identity), None) => identity.id().to_string(),
        }
    }

    fn because(&self, decision: Decision<'_>) -> String {
        match decision {
            Decision::Allowed(Allowed::Rule(rule)) | Decision::Refused(Refused::Rule(rule)) => {
                format!("{} matches", self.policies.rule(rule))
            }
            Decision::Allowed(Allowed::Default(default))
            | Decision::Refused(Refused::Default(default)) => format!(
                "no enforced policy selects the pod, and the baseline's default is {}",
                in_words(default)
            ),
            Decision::Refused(Refused::TlsFloor) => {
                "its version of TLS is below the floor".to_owned()
            }
            Decision::Refused(Refused::NotMutualTls) => "the port takes mutual TLS only".to_owned(),
            Decision::Refused(Refused::NoRule) => {
                "policies select the pod, and no rule of theirs allows the connection".to_owned()
            }
        }
    }

    fn sorted_passed_over(&self) -> Vec<PassedOver<'_>> {
        let mut passed: Vec<_> = self.verdict.passed_over().collect();
        passed.sort_by_key(|passed| &passed.rule.policy.name);
        passed
    }

    fn passed_over(&self) -> Vec<String> {
        self.sorted_passed_over()
            .into_iter()
            .map(|passed| format!("{}: {}", self.policies.rule(passed.rule), why(passed.why)))
            .collect()
    }

    fn audited(&self) -> Vec<String> {
        let mut audited: Vec<_> = self.verdict.audited().collect();
        audited.sort_by_key(|audited| &audited.policy.name);
        audited
            .into_iter()
            .map(|audited| {
                let answer = if audited.decision.is_allowed() {
                    "allowed"
                } else {
                    "refused"
                };
                format!(
                    "{}: were it enforced, the connection would be {answer} [{}]",
                    self.policies.title(audited.policy),
                    audited.decision.reason()
                )
            })
            .collect()
    }

    /// What keeps the verdict from being the whole truth.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(reason) = &self.to.outside {
            notes.push(format!(
                "{} gets no proxy, so nothing enforces this: {reason}",
                self.to.title
            ));
        }
        if let Some(End {
            title,
            outside: Some(reason),
            ..
        }) = self.from
        {
            notes.push(format!(
                "{title} gets no proxy, so it has no such identity and comes without TLS \
                 (see --plaintext): {reason}"
            ));
        }
        notes
    }

    fn rule_json(&self, RuleRef { policy, rule }: RuleRef<'_>) -> Value {
        json!({
            "policy": format!("{}/{}", policy.namespace, policy.name),
            "rule": rule.name,
            "action": rule.action,
            "readable": rule.is_readable(),
            "source": self.policies.source(policy),
        })
    }
}

fn in_words(default: DefaultAccess) -> &'static str {
    match default {
        DefaultAccess::Deny => "Deny: nobody may connect",
        DefaultAccess::SameApplication => {
            "SameApplication: pods of the same Spark application may connect"
        }
        DefaultAccess::SameNamespace => "SameNamespace: pods of the same namespace may connect",
        DefaultAccess::Audit => "Audit: every pod of the mesh may connect, and it is reported",
    }
}

fn why(why: Why) -> &'static str {
    match why {
        Why::Overruled => "matches, but the deciding rule counts before it",
        Why::Mismatch(Mismatch::Unreadable) => "cannot be read, and so allows nothing",
        Why::Mismatch(Mismatch::Port) => "is about other ports",
        Why::Mismatch(Mismatch::Peer) => "names other peers",
        Why::Mismatch(Mismatch::Strict) => {
            "names the address, but its own policy lets no plaintext in on this port at this time"
        }
        Why::Mismatch(Mismatch::SharedAccount) => {
            "names the shared account `default`, which the baseline does not take for an identity"
        }
    }
}
