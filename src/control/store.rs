//! The objects that are kept, at the API server: reads and writes them, each in bounded time. Decides
//! nothing about what is in them.

use std::error::Error;
use std::fmt::Debug;
use std::time::Duration;

use json_patch::Patch as JsonPatch;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;
use tracing::warn;

use super::names::{FIELD_MANAGER, TRUST_CONFIG_MAP};
use super::objects;
use super::pair::TlsPair;

/// For one request. Less than a leader's Lease has left when it must stop.
const PATIENCE: Duration = Duration::from_secs(4);

/// Why an object could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("{}", in_words(.0))]
    Api(kube::Error),
    #[error("the API server does not answer")]
    Silence,
}

/// The objects of one installation.
pub(crate) struct Store {
    secrets: Api<Secret>,
    config_maps: Api<ConfigMap>,
    configurations: Api<MutatingWebhookConfiguration>,
    owner: Option<OwnerReference>,
}

impl Store {
    /// New objects are to belong to `owner`.
    pub(crate) fn new(client: Client, namespace: &str, owner: Option<OwnerReference>) -> Store {
        Store {
            secrets: Api::namespaced(client.clone(), namespace),
            config_maps: Api::namespaced(client.clone(), namespace),
            configurations: Api::all(client),
            owner,
        }
    }

    pub(crate) async fn secret(&self, name: &str) -> Result<Option<Secret>, StoreError> {
        within(self.secrets.get_opt(name)).await
    }

    /// Puts the pair into the Secret as it was read, or into a new one where there was none.
    pub(crate) async fn put_pair(
        &self,
        name: &str,
        read: Option<&Secret>,
        pair: &TlsPair,
    ) -> Result<(), StoreError> {
        match read {
            None => {
                create(
                    &self.secrets,
                    &objects::new_secret(name, pair, self.owner.clone()),
                )
                .await
            }
            Some(read) => merge(&self.secrets, name, objects::secret_patch(read, pair)).await,
        }
    }

    pub(crate) async fn trust(&self) -> Result<Option<ConfigMap>, StoreError> {
        within(self.config_maps.get_opt(TRUST_CONFIG_MAP)).await
    }

    pub(crate) async fn create_trust(&self, bundle: &str) -> Result<(), StoreError> {
        create(
            &self.config_maps,
            &objects::new_trust(bundle, self.owner.clone()),
        )
        .await
    }

    pub(crate) async fn patch_trust(&self, patch: Value) -> Result<(), StoreError> {
        merge(&self.config_maps, TRUST_CONFIG_MAP, patch).await
    }

    pub(crate) async fn configuration(
        &self,
        name: &str,
    ) -> Result<Option<MutatingWebhookConfiguration>, StoreError> {
        within(self.configurations.get_opt(name)).await
    }

    pub(crate) async fn patch_configuration(
        &self,
        name: &str,
        patch: JsonPatch,
    ) -> Result<(), StoreError> {
        let patch = Patch::<()>::Json(patch);
        within(self.configurations.patch(name, &patching(), &patch))
            .await
            .map(drop)
    }
}

/// Whom new objects are to belong to, so that they go when the installation goes: this process's
/// service account. Where it runs as somebody else, or that cannot be found out, it says so.
pub(crate) async fn find_owner(client: Client, namespace: &str) -> Option<OwnerReference> {
    let reviews: Api<SelfSubjectReview> = Api::all(client);
    let answer = within(reviews.create(&creating(), &SelfSubjectReview::default())).await;
    let user = match answer {
        Ok(answer) => answer
            .status
            .and_then(|it| it.user_info)
            .unwrap_or_default(),
        Err(error) => {
            warn!(%error, "as whom this runs is not known: what is made belongs to nobody");
            return None;
        }
    };
    let owner = objects::owner(&user, namespace);
    if owner.is_none() {
        let user = user.username.unwrap_or_default();
        warn!(%user, "no service account of the namespace: what is made belongs to nobody");
    }
    owner
}

/// Fails where an object of this name is there already.
async fn create<K>(api: &Api<K>, object: &K) -> Result<(), StoreError>
where
    K: Resource + Clone + Debug + Serialize + DeserializeOwned,
{
    within(api.create(&creating(), object)).await.map(drop)
}

async fn merge<K>(api: &Api<K>, name: &str, patch: Value) -> Result<(), StoreError>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    within(api.patch(name, &patching(), &Patch::Merge(patch)))
        .await
        .map(drop)
}

async fn within<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, StoreError> {
    match timeout(PATIENCE, request).await {
        Ok(answer) => answer.map_err(StoreError::Api),
        Err(_) => Err(StoreError::Silence),
    }
}

fn creating() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

fn patching() -> PatchParams {
    PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

/// What went wrong, on one line: the API server's own words, or else the error with its causes.
pub(crate) fn in_words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => with_causes(other),
    }
}

/// An error with its causes. The client's errors say little without.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}
