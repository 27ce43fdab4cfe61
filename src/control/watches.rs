//! Wakes the leader when something that it keeps was changed. Knows no more than that it was: what is
//! there is read afresh, and private keys do not travel in watches.

use std::convert::Infallible;
use std::fmt::Debug;

use futures_util::{StreamExt, future};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tracing::warn;

use super::keeper::{ServingCertificates, Settings};
use super::names::{CA_SECRET, SERVING_SECRET, TRUST_CONFIG_MAP};
use super::store::with_causes;

/// Notifies of every change for as long as it is polled.
pub(crate) async fn watch_all(client: Client, settings: Settings, changed: &Notify) -> Infallible {
    let namespace = settings.namespace.as_str();
    let secrets = Api::<PartialObjectMeta<Secret>>::namespaced(client.clone(), namespace);
    let config_maps = Api::<PartialObjectMeta<ConfigMap>>::namespaced(client.clone(), namespace);
    let configurations = Api::<PartialObjectMeta<MutatingWebhookConfiguration>>::all(client);
    let serving = async {
        if settings.serving == ServingCertificates::Sparkmesh {
            tokio::join!(
                watch(secrets.clone(), SERVING_SECRET, changed),
                watch(configurations, &settings.webhook_configuration, changed),
            );
        }
    };
    tokio::join!(
        watch(secrets.clone(), CA_SECRET, changed),
        watch(config_maps, TRUST_CONFIG_MAP, changed),
        serving,
    );
    // A watch starts again whatever happens to it.
    future::pending().await
}

async fn watch<K>(api: Api<K>, name: &str, changed: &Notify)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    // The selector keeps the watch within a right that is limited to this name.
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    watcher(api, config)
        .default_backoff()
        .for_each(|event| {
            match event {
                Ok(_) => changed.notify_one(),
                Err(error) => warn!(
                    error = %with_causes(&error),
                    name, "a watch was interrupted, and is tried again"
                ),
            }
            future::ready(())
        })
        .await;
}
