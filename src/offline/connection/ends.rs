//! The two ends of a connection by their names.
//!
//! Decides which pod, workload or service account of the manifests a name means. Refuses to know
//! of policies more than the service accounts that they name.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use anyhow::{anyhow, bail};
use serde_json::Value;
use sparkmesh_injection::decide::Decision;
use sparkmesh_policy::access::Peer;
use sparkmesh_policy::identity::{is_dns_label, is_dns_subdomain, is_label_value};
use sparkmesh_policy::names;
use sparkmesh_policy::port::Port;
use sparkmesh_policy::verdict::{Matches, Workload};

use super::policies::Policies;
use crate::offline::documents;
use crate::offline::scope::World;

const SERVICE_ACCOUNT: &str = "ServiceAccount";

/// `NAMESPACE/NAME` or `NAMESPACE/KIND/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    namespace: String,
    kind: Option<String>,
    name: String,
}

/// Who connects, as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct From {
    asked: Asked,
    application: Option<String>,
}

/// What is connected to, as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct To {
    asked: Asked,
    pub(super) port: Port,
}

impl FromStr for Asked {
    type Err = String;

    fn from_str(text: &str) -> Result<Asked, String> {
        let parts: Vec<&str> = text.split('/').collect();
        let (namespace, kind, name) = match parts[..] {
            [namespace, name] => (namespace, None, name),
            [namespace, kind, name] => (namespace, Some(kind.to_owned()), name),
            _ => return Err("write it as NAMESPACE/NAME".to_owned()),
        };
        if !is_dns_label(namespace) {
            return Err(format!("`{namespace}` is not the name of a namespace"));
        }
        // Prefixes of generated names end in a hyphen.
        if !is_dns_subdomain(name.trim_end_matches('-')) {
            return Err(format!(
                "`{name}` is not the name of a pod, workload or account"
            ));
        }
        Ok(Asked {
            namespace: namespace.to_owned(),
            kind,
            name: name.to_owned(),
        })
    }
}

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<From, String> {
        let (name, application) = match text.split_once('@') {
            Some((name, application)) => (name, Some(application)),
            None => (text, None),
        };
        if application.is_some_and(|app| app.is_empty() || !is_label_value(app)) {
            return Err("what follows @ is not a value of the label spark-app-selector".to_owned());
        }
        Ok(From {
            asked: name.parse()?,
            application: application.map(str::to_owned),
        })
    }
}

impl FromStr for To {
    type Err = String;

    fn from_str(text: &str) -> Result<To, String> {
        let Some((name, port)) = text.rsplit_once(':') else {
            return Err("the port is missing; write it as NAMESPACE/NAME:PORT".to_owned());
        };
        Ok(To {
            asked: name.parse()?,
            port: port.parse().map_err(|error| format!("{error}"))?,
        })
    }
}

/// One end of a connection, found.
#[derive(Clone, Debug)]
pub(super) struct End {
    /// As messages name it.
    pub(super) title: String,
    pub(super) workload: Workload,
    /// Why it gets no proxy, if it gets none.
    pub(super) outside: Option<String>,
}

/// A pod or workload of the manifests.
#[derive(Debug)]
struct Pod {
    kind: String,
    name: String,
    end: End,
}

/// All that a name can mean.
#[derive(Debug)]
pub(super) struct Ends {
    pods: Vec<Pod>,
    /// Namespace and name.
    accounts: BTreeSet<(String, String)>,
}

impl Ends {
    pub(super) fn find(world: &World, policies: &Policies) -> Ends {
        let mut pods = Vec::new();
        let mut accounts = BTreeSet::new();
        for document in &world.documents {
            for place in documents::pods(&document.value) {
                let pod = document
                    .value
                    .pointer(&place.pointer)
                    .expect("the place was found in this document");
                let namespace = world.namespace_of(&place);
                let workload = workload(namespace, pod);
                accounts.insert((namespace.to_owned(), workload.service_account.clone()));
                let outside = match world.decide(&place, pod) {
                    Decision::Inject(_) => None,
                    Decision::Skip(reason) => Some(reason.sentence().to_owned()),
                    Decision::Reject(_) => Some("the mesh refuses to admit it".to_owned()),
                };
                pods.push(Pod {
                    end: End {
                        title: place.title(namespace),
                        workload,
                        outside,
                    },
                    kind: place.kind,
                    name: place.name,
                });
            }
            accounts.extend(
                documents::objects(&document.value)
                    .into_iter()
                    .filter_map(|object| account(object, world.default_namespace())),
            );
        }
        accounts.extend(named_accounts(policies));
        Ends { pods, accounts }
    }

    /// The pod or workload that is connected to.
    pub(super) fn destination(&self, to: &To) -> anyhow::Result<End> {
        match self.pod(&to.asked)? {
            Some(end) => Ok(end),
            None => bail!(
                "there is no pod or workload {} in these manifests{}",
                to.asked.written(),
                near(&to.asked, self.pods.iter().map(Pod::written))
            ),
        }
    }

    /// The pod, workload or service account that connects.
    pub(super) fn source(&self, from: &From) -> anyhow::Result<End> {
        let mut end = match self.pod(&from.asked)? {
            Some(end) => end,
            None => self.account(&from.asked)?,
        };
        if let Some(application) = &from.application {
            let label = names::APPLICATION_LABEL.to_owned();
            end.workload.labels.insert(label, application.clone());
        }
        Ok(end)
    }

    fn pod(&self, name: &Asked) -> anyhow::Result<Option<End>> {
        let mut found = self.pods.iter().filter(|pod| pod.is_named(name));
        let Some(first) = found.next() else {
            return Ok(None);
        };
        match found.find(|other| other.end.workload != first.end.workload) {
            None => Ok(Some(first.end.clone())),
            Some(other) => Err(anyhow!(
                "{} can mean {} or {}; write {} or {}",
                name.written(),
                first.end.title,
                other.end.title,
                first.written_with_kind(),
                other.written_with_kind(),
            )),
        }
    }

    fn account(&self, name: &Asked) -> anyhow::Result<End> {
        let by_kind = name.kind.as_deref();
        let at_its_word = by_kind.is_some_and(|kind| kind.eq_ignore_ascii_case(SERVICE_ACCOUNT));
        let key = (name.namespace.clone(), name.name.clone());
        let known = by_kind.is_none() && self.accounts.contains(&key);
        if !at_its_word && !known {
            let accounts = self
                .accounts
                .iter()
                .map(|(ns, name)| format!("{ns}/{name}"));
            let near = near(name, self.pods.iter().map(Pod::written).chain(accounts));
            bail!(
                "there is no pod, workload or service account {} in these manifests{near}; for a \
                 service account that they do not mention write {}/{SERVICE_ACCOUNT}/{}",
                name.written(),
                name.namespace,
                name.name
            );
        }
        Ok(End {
            title: format!("{SERVICE_ACCOUNT} {}/{}", name.namespace, name.name),
            workload: Workload {
                namespace: name.namespace.clone(),
                service_account: name.name.clone(),
                labels: BTreeMap::new(),
            },
            outside: None,
        })
    }
}

impl Asked {
    fn written(&self) -> String {
        match &self.kind {
            Some(kind) => format!("{}/{kind}/{}", self.namespace, self.name),
            None => format!("{}/{}", self.namespace, self.name),
        }
    }
}

impl Pod {
    fn is_named(&self, name: &Asked) -> bool {
        let kind = name.kind.as_ref();
        self.name == name.name
            && self.end.workload.namespace == name.namespace
            && kind.is_none_or(|kind| self.kind.eq_ignore_ascii_case(kind))
    }

    fn written(&self) -> String {
        format!("{}/{}", self.end.workload.namespace, self.name)
    }

    fn written_with_kind(&self) -> String {
        let namespace = &self.end.workload.namespace;
        format!("{namespace}/{}/{}", self.kind, self.name)
    }
}

fn workload(namespace: &str, pod: &Value) -> Workload {
    let account = ["serviceAccountName", "serviceAccount"]
        .iter()
        .find_map(|field| pod["spec"][field].as_str().filter(|name| !name.is_empty()));
    let labels = pod["metadata"]["labels"].as_object().into_iter().flatten();
    Workload {
        namespace: namespace.to_owned(),
        service_account: account.unwrap_or(names::SHARED_SERVICE_ACCOUNT).to_owned(),
        labels: labels
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect(),
    }
}

/// Namespace and name of a `ServiceAccount` object.
fn account(object: &Value, namespace: &str) -> Option<(String, String)> {
    let is_account = object["kind"] == SERVICE_ACCOUNT && object["apiVersion"] == "v1";
    let metadata = is_account.then(|| &object["metadata"])?;
    let namespace = metadata["namespace"].as_str().unwrap_or(namespace);
    Some((namespace.to_owned(), metadata["name"].as_str()?.to_owned()))
}

/// The service accounts that rules name.
fn named_accounts(policies: &Policies) -> impl Iterator<Item = (String, String)> {
    policies.iter().flat_map(|policy| {
        let peers = policy.rules.iter().flat_map(|rule| match &rule.matches {
            Matches::These { from, .. } => from.as_slice(),
            Matches::Nothing | Matches::Everything => &[],
        });
        peers.filter_map(|peer| match peer {
            Peer::ServiceAccount { namespace, name } => {
                let namespace = namespace.as_ref().unwrap_or(&policy.namespace);
                Some((namespace.clone(), name.clone()))
            }
            _ => None,
        })
    })
}

/// The names near the one asked for, or else some that there are, as the end of a sentence.
fn near(name: &Asked, known: impl Iterator<Item = String>) -> String {
    const MOST: usize = 5;
    const LIKE: f64 = 0.75;
    let asked = format!("{}/{}", name.namespace, name.name);
    let known: BTreeSet<String> = known.collect();
    if known.is_empty() {
        return ", nor any other".to_owned();
    }
    let mut known: Vec<(f64, String)> = known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&asked, &name), name))
        .collect();
    known.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let (like, unlike): (Vec<_>, Vec<_>) = known.into_iter().partition(|(like, _)| *like >= LIKE);
    let (words, names) = if like.is_empty() {
        ("there are", unlike)
    } else {
        ("near it are", like)
    };
    let names: Vec<String> = names.into_iter().take(MOST).map(|(_, name)| name).collect();
    format!("; {words} {}", names.join(", "))
}
