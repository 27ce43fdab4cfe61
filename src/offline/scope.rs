//! What an offline decision knows: the configuration, and the namespaces and the baseline found in
//! a folder or among the manifests themselves.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use sparkmesh_injection::config::MeshConfig;
use sparkmesh_injection::decide::{Decision, RawPod, Scope, decide};
use sparkmesh_injection::facts::{MeshFacts, NamespaceFacts, PodSecurity};
use sparkmesh_policy::baseline::Baseline;

use crate::facts::files;

use super::documents::{self, Document, PodPlace};

/// What to read and what to take for granted.
#[derive(Debug, clap::Args)]
pub(super) struct Inputs {
    /// Manifests: a file, a folder (all its .yaml, .yml and .json files), or - for standard input
    #[arg(short = 'f', long = "filename", value_name = "PATH", required = true)]
    filenames: Vec<PathBuf>,
    /// The mesh's configuration; without it the proxies know no control plane
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Namespaces and the MeshBaseline from the manifests of this folder
    #[arg(long, value_name = "DIR")]
    pub(super) from_files: Option<PathBuf>,
    /// Namespace of objects that name none
    #[arg(short, long, default_value = "default")]
    namespace: String,
}

/// The documents, and all that is known beside them.
pub(super) struct World {
    pub(super) documents: Vec<Document>,
    config: MeshConfig,
    facts: MeshFacts,
    namespace: String,
}

impl World {
    pub(super) fn load(inputs: &Inputs) -> anyhow::Result<World> {
        let documents = documents::read(&inputs.filenames)?;
        let config = match &inputs.config {
            Some(path) => crate::config::load(path)?,
            None => MeshConfig::default(),
        };
        let mut gathered = match &inputs.from_files {
            Some(folder) => files::load(folder)?,
            None => files::Gathered::default(),
        };
        for document in &documents {
            gathered.learn(&document.source, &document.value)?;
        }
        let facts = gathered.into_facts();
        Ok(World {
            documents,
            config,
            facts,
            namespace: inputs.namespace.clone(),
        })
    }

    /// The namespace of an object.
    pub(super) fn namespace_of<'a>(&'a self, place: &'a PodPlace) -> &'a str {
        place.namespace.as_deref().unwrap_or(&self.namespace)
    }

    /// The namespace of objects that name none.
    pub(super) fn default_namespace(&self) -> &str {
        &self.namespace
    }

    pub(super) fn baseline(&self) -> &Baseline {
        &self.facts.baseline
    }

    pub(super) fn config(&self) -> &MeshConfig {
        &self.config
    }

    /// The decision about one pod. A namespace that nothing is known of counts as labelled: who
    /// injects by hand asks for it.
    pub(super) fn decide(&self, place: &PodPlace, pod: &Value) -> Decision {
        let namespace = self.namespace_of(place);
        let known = self.facts.namespaces.get(namespace);
        let assumed = || NamespaceFacts {
            name: namespace.to_owned(),
            injection: true,
            pod_security: PodSecurity::Unset,
            openshift_uid_range: false,
        };
        let facts = known.map_or_else(|| Arc::new(assumed()), Arc::clone);
        decide(
            RawPod::Value(pod),
            &Scope {
                config: &self.config,
                baseline: &self.facts.baseline,
                namespace: (namespace, Some(&facts)),
            },
        )
    }
}
