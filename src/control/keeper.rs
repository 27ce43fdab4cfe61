//! The leader's work: looks at everything that is kept, and writes what differs from what should be.
//! What should be is decided in `root`, `serving`, `trust` and `objects`; who may act, in `election`.
//!
//! Every pass reads afresh, and every write is refused by the API server if somebody else wrote in
//! between: a leader that was held up does no harm.

use std::convert::Infallible;
use std::fmt::Debug;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, info, warn};

use super::metrics::{Kept, Metrics, Outcome};
use super::names::{CA_SECRET, FIELD_MANAGER, SERVING_SECRET, TRUST_CONFIG_MAP, service_names};
use super::objects::{self, CaBundle};
use super::pair::TlsPair;
use super::root::{Root, RootError};
use super::serving::{self, IssueReason, Verdict};
use super::trust::{Trust, trusted};
use super::watches::watch_all;

/// For one request. Less than a leader's Lease has left when it must stop.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long a new root is in the webhook configuration before a certificate of it is used. Every API
/// server has a view of its own of the configuration.
const SETTLE: Duration = Duration::from_secs(5);
/// Changes come in flocks; our own come back as events too.
const QUIET: Duration = Duration::from_millis(100);
/// Everything is looked at this often, whatever the watches say.
const AFRESH: Duration = Duration::from_secs(600);
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// Who makes the webhook's serving certificate and tells the API server to trust it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ServingCertificates {
    /// `sparkmesh control` does both.
    Sparkmesh,
    /// cert-manager does both; `sparkmesh control` keeps only the root and its public half.
    CertManager,
}

/// What to keep, and where.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) namespace: String,
    pub(crate) service: String,
    pub(crate) webhook_configuration: String,
    pub(crate) serving: ServingCertificates,
}

/// Why something could not be kept.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error("the API server does not answer")]
    Silence,
    #[error(
        "Secret {CA_SECRET} is there but cannot be used: {0}. Correct it, or delete it to have a new one made; it is never replaced"
    )]
    RootUnusable(#[from] RootError),
    #[error("a certificate cannot be made: {0}")]
    CannotMake(#[from] rcgen::Error),
    #[error("a certificate of the authority in Secret {CA_SECRET} would be refused ({}). Are its name constraints too narrow?", .0.as_str())]
    Refused(IssueReason),
    #[error(
        "no webhook of MutatingWebhookConfiguration {configuration} calls Service {service}. See --webhook-configuration and --service"
    )]
    NotOurs {
        configuration: String,
        service: String,
    },
}

/// Whether API servers trust the present bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// There is no webhook configuration: none calls the webhook.
    Nobody,
    /// It was first seen in place then.
    Since(Instant),
    NotYet,
}

/// Keeps everything as it should be.
pub(crate) struct Keeper {
    client: Client,
    secrets: Api<Secret>,
    config_maps: Api<ConfigMap>,
    configurations: Api<MutatingWebhookConfiguration>,
    settings: Settings,
    metrics: Metrics,
    owner: Option<OwnerReference>,
    /// The bundle that was last found in place, and when it was first.
    in_place: Option<(Vec<u8>, Instant)>,
}

impl Keeper {
    pub(crate) fn new(client: Client, settings: Settings, metrics: Metrics) -> Keeper {
        Keeper {
            secrets: Api::namespaced(client.clone(), &settings.namespace),
            config_maps: Api::namespaced(client.clone(), &settings.namespace),
            configurations: Api::all(client.clone()),
            client,
            settings,
            metrics,
            owner: None,
            in_place: None,
        }
    }

    /// Acts on every change, at every due time, and again after every failure, for as long as this
    /// is polled. Whoever stops leading drops it.
    pub(crate) async fn lead(mut self) -> Infallible {
        let changed = Notify::new();
        let watches = watch_all(self.client.clone(), self.settings.clone(), &changed);
        let acting = async {
            self.owner = self.find_owner().await;
            let mut retry = FIRST_RETRY;
            loop {
                let pause = match self.pass(Timestamp::now()).await {
                    Ok(pause) => {
                        retry = FIRST_RETRY;
                        pause
                    }
                    Err(Reported) => {
                        let pause = retry;
                        retry = LAST_RETRY.min(retry * 2);
                        pause
                    }
                };
                // Whichever comes first.
                let _ = timeout(pause, changed.notified()).await;
                sleep(QUIET).await;
            }
        };
        tokio::select! {
            never = acting => never,
            never = watches => never,
        }
    }

    /// Looks at everything once; gives how long that is good for.
    async fn pass(&mut self, now: Timestamp) -> Result<Duration, Reported> {
        let root = self.keep_root(now).await;
        let root = self.report(Kept::Root, root)?;
        self.metrics.expires(Kept::Root, root.validity().not_after);
        match self.settings.serving {
            ServingCertificates::CertManager => {
                let published = self
                    .keep_trust(&trusted(&root, &TlsPair::default(), now))
                    .await;
                self.report(Kept::Trust, published)?;
                Ok(AFRESH)
            }
            ServingCertificates::Sparkmesh => self.pass_serving(&root, now).await,
        }
    }

    async fn pass_serving(&mut self, root: &Root, now: Timestamp) -> Result<Duration, Reported> {
        let read = within(self.secrets.get_opt(SERVING_SECRET)).await;
        let stored = self.report(Kept::Serving, read.map(|it| (it, Outcome::Unchanged)))?;
        let pair = stored
            .as_ref()
            .map(objects::stored_pair)
            .unwrap_or_default();
        let trust = trusted(root, &pair, now);

        let published = self.keep_trust(&trust).await;
        let published = self.report(Kept::Trust, published);
        let told = self.keep_ca_bundle(&trust).await;
        let told = self.report(Kept::CaBundle, told);
        // Even then: a serving certificate that is missing altogether is needed in any case.
        let settled = told.as_ref().is_ok_and(Told::is_settled);
        let serving = self
            .keep_serving(root, &trust, stored.as_ref(), pair, settled, now)
            .await;
        let good_for = self.report(Kept::Serving, serving)?;

        published.and(told)?;
        let overlap = trust.until.map_or(AFRESH, |until| from_to(now, until));
        Ok(good_for.min(overlap).min(AFRESH))
    }

    /// Makes the root where there is none.
    async fn keep_root(&self, now: Timestamp) -> Result<(Root, Outcome), KeepError> {
        if let Some(present) = within(self.secrets.get_opt(CA_SECRET)).await? {
            return Ok((
                Root::open(&objects::stored_pair(&present), now)?,
                Outcome::Unchanged,
            ));
        }
        let made = Root::make(now)?;
        let root = Root::open(&made, now)?;
        // Creation fails where another one was quicker: no root is ever overwritten.
        self.create(
            &self.secrets,
            &objects::new_secret(CA_SECRET, &made, self.owner.clone()),
        )
        .await?;
        info!(secret = CA_SECRET, expires = %root.validity().not_after, "made a new root");
        Ok((root, Outcome::Created))
    }

    /// Publishes the roots.
    async fn keep_trust(&self, trust: &Trust) -> Result<((), Outcome), KeepError> {
        let bundle = String::from_utf8_lossy(&trust.pem()).into_owned();
        let Some(present) = within(self.config_maps.get_opt(TRUST_CONFIG_MAP)).await? else {
            self.create(
                &self.config_maps,
                &objects::new_trust(&bundle, self.owner.clone()),
            )
            .await?;
            info!(config_map = TRUST_CONFIG_MAP, "published the root");
            return Ok(((), Outcome::Created));
        };
        let Some(patch) = objects::trust_patch(&present, &bundle) else {
            return Ok(((), Outcome::Unchanged));
        };
        self.merge(&self.config_maps, TRUST_CONFIG_MAP, patch)
            .await?;
        info!(
            config_map = TRUST_CONFIG_MAP,
            "corrected the published roots"
        );
        Ok(((), Outcome::Corrected))
    }

    /// Tells the API server whom to trust.
    async fn keep_ca_bundle(&mut self, trust: &Trust) -> Result<(Told, Outcome), KeepError> {
        let Settings {
            webhook_configuration: name,
            service,
            namespace,
            ..
        } = &self.settings;
        let Some(present) = within(self.configurations.get_opt(name)).await? else {
            warn!(mutating_webhook_configuration = %name, "there is no webhook configuration yet; waiting for it");
            self.in_place = None;
            return Ok((Told::Nobody, Outcome::Waiting));
        };
        let bundle = trust.pem();
        match objects::ca_bundle(&present, service, namespace, &bundle) {
            CaBundle::InPlace => Ok((self.note_in_place(bundle), Outcome::Unchanged)),
            CaBundle::NotOurs => Err(KeepError::NotOurs {
                configuration: name.clone(),
                service: format!("{namespace}/{service}"),
            }),
            CaBundle::Wrong(patch) => {
                within(
                    self.configurations
                        .patch(name, &patching(), &Patch::<()>::Json(patch)),
                )
                .await?;
                info!(mutating_webhook_configuration = %name, "corrected the CA bundle");
                self.in_place = None;
                Ok((Told::NotYet, Outcome::Corrected))
            }
        }
    }

    fn note_in_place(&mut self, bundle: Vec<u8>) -> Told {
        let since = self
            .in_place
            .take()
            .filter(|(before, _)| *before == bundle)
            .map_or_else(Instant::now, |(_, since)| since);
        self.in_place = Some((bundle, since));
        Told::Since(since)
    }

    /// Keeps the serving certificate and the roots beside it; gives how long that is good for.
    async fn keep_serving(
        &self,
        root: &Root,
        trust: &Trust,
        stored: Option<&Secret>,
        pair: TlsPair,
        settled: bool,
        now: Timestamp,
    ) -> Result<(Duration, Outcome), KeepError> {
        let names = service_names(&self.settings.service, &self.settings.namespace);
        let (wanted, outcome) = match serving::judge(&pair, root, &names, now) {
            Verdict::Keep { .. } => (
                TlsPair {
                    ca: trust.pem(),
                    ..pair.clone()
                },
                Outcome::Corrected,
            ),
            Verdict::Issue(IssueReason::OtherRoot) if !settled => {
                return Ok((SETTLE, Outcome::Waiting));
            }
            Verdict::Issue(reason) => (
                serving::issue(root, trust, &names, now)?,
                Outcome::Issued(reason),
            ),
        };
        let until = match serving::judge(&wanted, root, &names, now) {
            Verdict::Keep { until } => until,
            // Or it would be written again and again.
            Verdict::Issue(reason) => return Err(KeepError::Refused(reason)),
        };
        if let Some(expiry) = wanted.expiry() {
            self.metrics.expires(Kept::Serving, expiry);
        }
        if wanted == pair {
            return Ok((from_to(now, until), Outcome::Unchanged));
        }
        match stored {
            None => {
                self.create(
                    &self.secrets,
                    &objects::new_secret(SERVING_SECRET, &wanted, self.owner.clone()),
                )
                .await?
            }
            Some(read) => {
                self.merge(
                    &self.secrets,
                    SERVING_SECRET,
                    objects::secret_patch(read, &wanted),
                )
                .await?
            }
        }
        match outcome {
            Outcome::Issued(reason) => {
                info!(secret = SERVING_SECRET, reason = reason.as_str(), renewal = %until, "issued a serving certificate")
            }
            _ => info!(
                secret = SERVING_SECRET,
                "corrected the roots beside the serving certificate"
            ),
        }
        Ok((from_to(now, until), outcome))
    }

    async fn create<K>(&self, api: &Api<K>, object: &K) -> Result<(), KeepError>
    where
        K: kube::Resource + Clone + Debug + Serialize + DeserializeOwned,
    {
        let writing = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        within(api.create(&writing, object)).await.map(drop)
    }

    async fn merge<K>(&self, api: &Api<K>, name: &str, patch: Value) -> Result<(), KeepError>
    where
        K: kube::Resource + Clone + Debug + DeserializeOwned,
    {
        within(api.patch(name, &patching(), &Patch::Merge(patch)))
            .await
            .map(drop)
    }

    /// The owner of what is made here, so that it goes when the installation goes.
    async fn find_owner(&self) -> Option<OwnerReference> {
        let reviews: Api<SelfSubjectReview> = Api::all(self.client.clone());
        let review =
            within(reviews.create(&PostParams::default(), &SelfSubjectReview::default())).await;
        let user = match review {
            Ok(review) => review
                .status
                .and_then(|it| it.user_info)
                .unwrap_or_default(),
            Err(error) => {
                warn!(error = %chain(error), "it is not known who this process is: what it makes will belong to nobody");
                return None;
            }
        };
        let owner = objects::owner(&user, &self.settings.namespace);
        if owner.is_none() {
            let user = user.username.unwrap_or_default();
            warn!(%user, "this is no service account of the namespace: what is made here will belong to nobody");
        }
        owner
    }

    /// Counts, and logs what failed.
    fn report<T>(
        &self,
        object: Kept,
        result: Result<(T, Outcome), KeepError>,
    ) -> Result<T, Reported> {
        match result {
            Ok((value, outcome)) => {
                self.metrics.count(object, outcome);
                Ok(value)
            }
            Err(failure) => {
                self.metrics.count(object, Outcome::Failed);
                error!(object = object.as_str(), error = %chain(failure), "not kept as it should be; is tried again");
                Err(Reported)
            }
        }
    }
}

/// Something failed, and was counted and logged.
struct Reported;

impl Told {
    fn is_settled(&self) -> bool {
        match self {
            Told::Nobody => true,
            Told::Since(since) => since.elapsed() >= SETTLE,
            Told::NotYet => false,
        }
    }
}

async fn within<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, KeepError> {
    match timeout(PATIENCE, request).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(KeepError::Silence),
    }
}

fn patching() -> PatchParams {
    PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

/// Zero where it is past already.
fn from_to(now: Timestamp, then: Timestamp) -> Duration {
    then.duration_since(now).try_into().unwrap_or_default()
}

/// The error and its causes, on one line.
fn chain(error: KeepError) -> String {
    format!("{:#}", anyhow::Error::from(error))
}
