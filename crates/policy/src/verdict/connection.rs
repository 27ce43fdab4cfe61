//! The two ends of a connection and what is known of it.
//!
//! Decides which service account and application an identity names. Refuses to know whether
//! either exists.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::jiff::Timestamp;

use crate::baseline::TlsVersion;
use crate::identity::{SpiffeId, SpiffeIdError, is_dns_label, is_dns_subdomain, is_label_value};
use crate::names;
use crate::port::Port;

/// A pod, or pods that are the same in all that policies ask about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Workload {
    /// Its namespace.
    pub namespace: String,
    /// The service account that it runs as.
    pub service_account: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl Workload {
    /// The Spark application that it belongs to: the value of the label spark-app-selector, where
    /// it is one that an identity can hold.
    #[must_use]
    pub fn application(&self) -> Option<&str> {
        let value = self.labels.get(names::APPLICATION_LABEL)?;
        (!value.is_empty() && is_label_value(value)).then_some(value)
    }

    /// The identity that the mesh gives it: `spiffe://<trust domain>/ns/<namespace>/sa/<service
    /// account>`, with `/app/<application>` behind it where it belongs to one.
    ///
    /// Fails where a name is none that Kubernetes takes.
    pub fn identity(&self, trust_domain: &str) -> Result<Identity, SpiffeIdError> {
        let Workload {
            namespace,
            service_account,
            ..
        } = self;
        let mut text = format!("spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}");
        if let Some(application) = self.application() {
            text.push_str("/app/");
            text.push_str(application);
        }
        text.parse().map(Identity::new)
    }
}

/// A peer's identity as its certificate tells it, taken apart once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    id: SpiffeId,
    account: Option<Account>,
}

/// The service account that an identity names, in whatever trust domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The namespace.
    pub namespace: String,
    /// The service account's name.
    pub name: String,
    /// The Spark application.
    pub application: Option<String>,
}

impl Identity {
    /// Takes an identity apart. One that is not of the mesh's form names no service account.
    #[must_use]
    pub fn new(id: SpiffeId) -> Identity {
        let account = Account::of_path(path(&id));
        Identity { id, account }
    }

    /// The identity in full.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        split(&self.id).0
    }

    /// The service account, where the peer is a pod of this trust domain.
    #[must_use]
    pub fn account_in(&self, trust_domain: &str) -> Option<&Account> {
        let account = self.account.as_ref()?;
        (self.trust_domain() == trust_domain).then_some(account)
    }

    /// Whether a rule that names this identity means the peer. An identity without an application
    /// means the service account whatever its application: the application comes from a label
    /// that the pod's author chooses, and must not lead past a Deny.
    #[must_use]
    pub fn is_named_by(&self, named: &SpiffeId) -> bool {
        let application = self.account.as_ref().and_then(|a| a.application.as_ref());
        match self.id.as_str().strip_prefix(named.as_str()) {
            Some("") => true,
            Some(rest) => application.is_some_and(|app| rest.strip_prefix("/app/") == Some(app)),
            None => false,
        }
    }
}

impl Account {
    fn of_path(path: &str) -> Option<Account> {
        let mut segments = path.split('/');
        let mut after = |word: &str| (segments.next()? == word).then(|| segments.next())?;
        let (namespace, name) = (after("ns")?, after("sa")?);
        let application = after("app");
        let whole = segments.next().is_none()
            && path.split('/').count() == if application.is_some() { 6 } else { 4 };
        (whole && is_dns_label(namespace) && is_dns_subdomain(name)).then(|| Account {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            application: application.map(str::to_owned),
        })
    }
}

fn split(id: &SpiffeId) -> (&str, &str) {
    let rest = id.as_str().trim_start_matches("spiffe://");
    rest.split_once('/').unwrap_or((rest, ""))
}

fn path(id: &SpiffeId) -> &str {
    split(id).1
}

/// Who opens the connection, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer<'a> {
    /// A peer with a certificate that the mesh trusts.
    Authenticated(&'a Identity),
    /// A peer without one, known by its address alone.
    Plaintext(IpAddr),
}

/// What TLS the connection has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsState {
    /// None.
    Plaintext,
    /// TLS in which the peer has shown no certificate.
    OneWay(Version),
    /// TLS in which both ends have shown one.
    Mutual(Version),
}

impl TlsState {
    /// Whether there is TLS, of a version below the floor.
    pub(super) fn is_below(self, floor: TlsVersion) -> bool {
        match self {
            TlsState::Plaintext => false,
            TlsState::OneWay(version) | TlsState::Mutual(version) => !version.meets(floor),
        }
    }
}

/// The version of TLS that a connection has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// TLS 1.2 or older.
    Older,
    /// TLS 1.3.
    Tls13,
}

impl Version {
    fn meets(self, floor: TlsVersion) -> bool {
        match (self, floor) {
            (Version::Tls13, TlsVersion::Tls13) => true,
            (Version::Older, _) => false,
        }
    }
}

/// A connection as it arrives at its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection<'a> {
    /// The port on which the destination's pod listens, not a Service's.
    pub port: Port,
    /// Who opens it.
    pub peer: Peer<'a>,
    /// What TLS it has.
    pub tls: TlsState,
    /// When.
    pub at: Timestamp,
}

/// What is proven of the peer: an identity only by mutual TLS, an address only without TLS.
#[derive(Clone, Copy, Debug)]
pub(super) enum Proven<'a> {
    Identity(&'a Identity),
    Address(IpAddr),
    Nothing,
}

impl<'a> Connection<'a> {
    pub(super) fn proven(&self) -> Proven<'a> {
        match (self.tls, self.peer) {
            (TlsState::Mutual(_), Peer::Authenticated(identity)) => Proven::Identity(identity),
            // An IPv4 peer of a socket for both families is still an IPv4 peer.
            (TlsState::Plaintext, Peer::Plaintext(address)) => {
                Proven::Address(address.to_canonical())
            }
            _ => Proven::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(text: &str) -> Identity {
        Identity::new(text.parse().expect("an identity"))
    }

    #[test]
    fn an_identity_of_the_meshs_form_names_a_service_account() {
        let driver = identity("spiffe://cluster.local/ns/spark/sa/a.b/app/spark-1");
        assert_eq!(
            driver.account_in("cluster.local"),
            Some(&Account {
                namespace: "spark".to_owned(),
                name: "a.b".to_owned(),
                application: Some("spark-1".to_owned()),
            })
        );
        assert_eq!(driver.account_in("cluster"), None);
    }

    #[test]
    fn any_other_form_names_none() {
        for path in [
            "ns/spark",
            "ns/spark/sa",
            "sa/a/ns/spark",
            "ns/spark/sa/a/app",
            "ns/spark/sa/a/apps/b",
            "ns/spark/sa/a/app/b/c",
            "ns/spark/sa/a/b",
            "ns/Spark/sa/a",
            "ns/spark/sa/A",
            "x/ns/spark/sa/a",
        ] {
            let found = identity(&format!("spiffe://cluster.local/{path}"));
            assert_eq!(found.account_in("cluster.local"), None, "{path}");
        }
    }

    #[test]
    fn an_identity_in_a_rule_means_the_account_with_any_application_but_no_other_account() {
        let named = "spiffe://m/ns/a/sa/b".parse().expect("an identity");
        assert!(identity("spiffe://m/ns/a/sa/b").is_named_by(&named));
        assert!(identity("spiffe://m/ns/a/sa/b/app/x").is_named_by(&named));
        assert!(!identity("spiffe://m/ns/a/sa/bc").is_named_by(&named));
        assert!(!identity("spiffe://m/ns/a/sa/b/c").is_named_by(&named));
        assert!(!identity("spiffe://m/ns/a/sa/b/app/x/y").is_named_by(&named));
        let with_application = "spiffe://m/ns/a/sa/b/app/x".parse().expect("an identity");
        assert!(!identity("spiffe://m/ns/a/sa/b").is_named_by(&with_application));
        assert!(!identity("spiffe://m/ns/a/sa/b/app/y").is_named_by(&with_application));
    }

    #[test]
    fn a_workloads_identity_holds_its_application_where_it_has_one() {
        let mut workload = Workload {
            namespace: "spark".to_owned(),
            service_account: "driver".to_owned(),
            labels: BTreeMap::new(),
        };
        let text = |workload: &Workload| {
            let identity = workload.identity("cluster.local").expect("good names");
            identity.id().to_string()
        };
        assert_eq!(text(&workload), "spiffe://cluster.local/ns/spark/sa/driver");
        for (label, path) in [("spark-1", "/app/spark-1"), ("", ""), ("a/b", "")] {
            let label = (names::APPLICATION_LABEL.to_owned(), label.to_owned());
            workload.labels = [label].into();
            assert_eq!(
                text(&workload),
                format!("spiffe://cluster.local/ns/spark/sa/driver{path}")
            );
        }
        workload.service_account = "a b".to_owned();
        assert!(workload.identity("cluster.local").is_err());
    }
}
