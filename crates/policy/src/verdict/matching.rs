//! Whether a rule matches a connection, and if not, why.
//!
//! Decides about one rule alone. Refuses to know which policies select the destination and what
//! other rules say.

use std::net::IpAddr;

use crate::access::{self, Action, IpBlock, Ports};
use crate::baseline::{Baseline, ServiceAccounts};
use crate::cidr::Cidr;
use crate::names;
use crate::port::Port;

use super::connection::{Account, Connection, Identity, Proven, Workload};
use super::effective::{EffectivePolicy, EffectiveRule, Matches};

/// What a verdict is asked about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    pub(super) baseline: &'a Baseline,
    pub(super) destination: &'a Workload,
    pub(super) connection: &'a Connection<'a>,
}

/// Why a rule does not match. Of several the greatest is told: the one nearest to a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mismatch {
    /// It is an Allow rule that cannot be read.
    Unreadable,
    /// It is about other ports.
    Port,
    /// It names other peers.
    Peer,
    /// It allows an address, but its own policy lets no plaintext in on this port at this time.
    Strict,
    /// It allows the service account that pods share, which the baseline does not take for an
    /// identity.
    SharedAccount,
}

impl Question<'_> {
    /// Whether the rule, one of the policy's, matches.
    pub(super) fn check(
        &self,
        policy: &EffectivePolicy,
        rule: &EffectiveRule,
    ) -> Result<(), Mismatch> {
        let (from, ports) = match &rule.matches {
            Matches::Nothing => return Err(Mismatch::Unreadable),
            Matches::Everything => return Ok(()),
            Matches::These { from, ports } => (from, ports),
        };
        if !has(ports, self.connection.port) {
            return Err(Mismatch::Port);
        }
        let mut nearest = Mismatch::Peer;
        for peer in from {
            match self.check_peer(policy, rule.action, peer) {
                Ok(()) => return Ok(()),
                Err(mismatch) => nearest = nearest.max(mismatch),
            }
        }
        Err(nearest)
    }

    fn check_peer(
        &self,
        policy: &EffectivePolicy,
        action: Action,
        peer: &access::Peer,
    ) -> Result<(), Mismatch> {
        match self.connection.proven() {
            Proven::Nothing => Err(Mismatch::Peer),
            Proven::Identity(identity) => self.check_identity(policy, action, peer, identity),
            Proven::Address(address) => match peer {
                access::Peer::IpBlock(block) if block_has(block, address) => {
                    let permissive = self.baseline.tls.permissive;
                    let lets_in = policy.lets_plaintext_in(self.connection, permissive);
                    match action {
                        Action::Allow if !lets_in => Err(Mismatch::Strict),
                        Action::Allow | Action::Deny => Ok(()),
                    }
                }
                _ => Err(Mismatch::Peer),
            },
        }
    }

    fn check_identity(
        &self,
        policy: &EffectivePolicy,
        action: Action,
        peer: &access::Peer,
        identity: &Identity,
    ) -> Result<(), Mismatch> {
        let account = self.account(identity);
        let (means, names_account) = match peer {
            access::Peer::ServiceAccount { namespace, name } => {
                let namespace = namespace.as_ref().unwrap_or(&policy.namespace);
                let means = |a: &Account| a.namespace == *namespace && a.name == *name;
                (account.is_some_and(means), true)
            }
            access::Peer::SpiffeId(id) => (identity.is_named_by(id), true),
            access::Peer::Namespace { name } => {
                (account.is_some_and(|a| a.namespace == *name), false)
            }
            access::Peer::AnyAuthenticated {} => (true, false),
            access::Peer::SameApplication {} => (self.is_same_application(account), false),
            access::Peer::IpBlock(_) => (false, false),
        };
        if !means {
            return Err(Mismatch::Peer);
        }
        let shared = account.is_some_and(|a| a.name == names::SHARED_SERVICE_ACCOUNT);
        let dedicated = self.baseline.identities == ServiceAccounts::Dedicated;
        // A Deny of the shared account holds: it refuses too much at worst.
        match action {
            Action::Allow if dedicated && shared && names_account => Err(Mismatch::SharedAccount),
            Action::Allow | Action::Deny => Ok(()),
        }
    }

    /// The service account of a pod of this mesh.
    pub(super) fn account<'i>(&self, identity: &'i Identity) -> Option<&'i Account> {
        identity.account_in(&self.baseline.trust_domain)
    }

    /// Whether the peer belongs to the destination's Spark application.
    pub(super) fn is_same_application(&self, account: Option<&Account>) -> bool {
        match (self.destination.application(), account) {
            (Some(ours), Some(account)) => {
                account.namespace == self.destination.namespace
                    && account.application.as_deref() == Some(ours)
            }
            _ => false,
        }
    }
}

fn has(ports: &Ports, port: Port) -> bool {
    match ports {
        Ports::Every => true,
        Ports::Only(ranges) => ranges.iter().any(|range| range.has(port)),
    }
}

fn block_has(block: &IpBlock, address: IpAddr) -> bool {
    let has = |cidr: &Cidr| cidr.network().contains(&address);
    has(&block.cidr) && !block.except.iter().any(has)
}
