//! The leader's work: looks at everything that is kept, and writes what differs from what should be.
//! What should be is decided in `root`, `serving`, `trust` and `objects`; who may act, in `election`.
//!
//! Every pass reads afresh, and every write is refused by the API server if somebody else wrote in
//! between: a leader that was held up does no harm.

use std::convert::Infallible;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, info, warn};

use super::metrics::{Kept, Metrics, Outcome};
use super::names::{CA_SECRET, SERVING_SECRET, TRUST_CONFIG_MAP, service_names};
use super::objects::{self, CaBundle};
use super::pair::TlsPair;
use super::root::{Root, RootError};
use super::serving::{self, IssueReason, Verdict};
use super::store::{Store, StoreError, find_owner};
use super::trust::{Trust, trusted};
use super::watches::watch_all;

/// How long a new root is in the webhook configuration before a certificate of it is used. Every API
/// server has a view of its own of the configuration.
const SETTLE: Duration = Duration::from_secs(5);
/// Changes come in flocks; our own come back as events too.
const QUIET: Duration = Duration::from_millis(100);
/// Everything is looked at this often, whatever the watches say.
const AFRESH: Duration = Duration::from_mins(10);
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
    Store(#[from] StoreError),
    #[error(
        "Secret {CA_SECRET} is there but cannot be used: {0}. It is never replaced: correct it, or \
         delete it to have a new one made"
    )]
    RootUnusable(RootError),
    #[error("a certificate cannot be made: {0}")]
    CannotMake(#[from] rcgen::Error),
    #[error(
        "a certificate of the authority in Secret {CA_SECRET} would not do ({}): are its name \
         constraints too narrow?", .0.as_str()
    )]
    Refused(IssueReason),
    #[error(
        "no webhook of MutatingWebhookConfiguration {configuration} calls Service {service}: see \
         --webhook-configuration and --service"
    )]
    NotOurs {
        configuration: String,
        service: String,
    },
}

/// What was found or done, and how that is counted.
type Step<T> = Result<(T, Outcome), KeepError>;

/// Something failed, and was counted and logged.
struct Reported;

/// Whether API servers trust the present bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// There is no webhook configuration: none calls the webhook.
    Nobody,
    /// It was first seen in place then.
    Since(Instant),
    NotYet,
}

impl Told {
    fn is_settled(&self) -> bool {
        match self {
            Told::Nobody => true,
            Told::Since(since) => since.elapsed() >= SETTLE,
            Told::NotYet => false,
        }
    }
}

/// Keeps everything as it should be.
pub(crate) struct Keeper {
    client: Client,
    store: Store,
    settings: Settings,
    metrics: Metrics,
    /// The bundle that was last found in place, and when it was first.
    in_place: Option<(Vec<u8>, Instant)>,
}

impl Keeper {
    pub(crate) async fn new(client: Client, settings: Settings, metrics: Metrics) -> Keeper {
        let owner = find_owner(client.clone(), &settings.namespace).await;
        let store = Store::new(client.clone(), &settings.namespace, owner);
        Keeper {
            client,
            store,
            settings,
            metrics,
            in_place: None,
        }
    }

    /// Acts on every change, at every due time, and again after every failure, for as long as this
    /// is polled. Whoever stops leading drops it.
    pub(crate) async fn lead(mut self) -> Infallible {
        let changed = Notify::new();
        let watches = watch_all(self.client.clone(), self.settings.clone(), &changed);
        tokio::select! {
            never = self.act(&changed) => never,
            never = watches => never,
        }
    }

    async fn act(&mut self, changed: &Notify) -> Infallible {
        let mut retry = FIRST_RETRY;
        loop {
            let pause = if let Ok(pause) = self.pass(Timestamp::now()).await {
                retry = FIRST_RETRY;
                pause
            } else {
                let pause = retry;
                retry = LAST_RETRY.min(2 * pause);
                pause
            };
            // Whichever comes first.
            let _ = timeout(pause, changed.notified()).await;
            sleep(QUIET).await;
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
        let stored = match self.store.secret(SERVING_SECRET).await {
            Ok(stored) => stored,
            Err(failure) => return self.report(Kept::Serving, Err(failure.into())),
        };
        let trust = trusted(root, &objects::stored_pair(stored.as_ref()), now);

        let published = self.keep_trust(&trust).await;
        let published = self.report(Kept::Trust, published);
        let told = self.keep_ca_bundle(&trust).await;
        let told = self.report(Kept::CaBundle, told);
        // Whatever came of these: a serving certificate that is missing is needed in any case.
        let settled = told.as_ref().is_ok_and(Told::is_settled);
        let good_for = self
            .keep_serving(root, &trust, stored.as_ref(), settled, now)
            .await;
        let good_for = self.report(Kept::Serving, good_for)?;

        published.and(told)?;
        let overlap = trust.until.map_or(AFRESH, |until| from_to(now, until));
        Ok(good_for.min(overlap).min(AFRESH))
    }

    /// Makes the root where there is none.
    async fn keep_root(&self, now: Timestamp) -> Step<Root> {
        if let Some(present) = self.store.secret(CA_SECRET).await? {
            let root = Root::open(&objects::stored_pair(Some(&present)), now);
            return Ok((root.map_err(KeepError::RootUnusable)?, Outcome::Unchanged));
        }
        let made = Root::make(now)?;
        let root = Root::open(&made, now).map_err(KeepError::RootUnusable)?;
        // It is refused where somebody else was quicker: no root is ever overwritten.
        self.store.put_pair(CA_SECRET, None, &made).await?;
        info!(secret = CA_SECRET, expires = %root.validity().not_after, "made a new root");
        Ok((root, Outcome::Created))
    }

    /// Publishes the roots.
    async fn keep_trust(&self, trust: &Trust) -> Step<()> {
        let bundle = String::from_utf8_lossy(&trust.pem()).into_owned();
        let Some(present) = self.store.trust().await? else {
            self.store.create_trust(&bundle).await?;
            info!(config_map = TRUST_CONFIG_MAP, "published the root");
            return Ok(((), Outcome::Created));
        };
        let Some(patch) = objects::trust_patch(&present, &bundle) else {
            return Ok(((), Outcome::Unchanged));
        };
        self.store.patch_trust(patch).await?;
        info!(
            config_map = TRUST_CONFIG_MAP,
            "corrected the published roots"
        );
        Ok(((), Outcome::Corrected))
    }

    /// Tells the API server whom to trust.
    async fn keep_ca_bundle(&mut self, trust: &Trust) -> Step<Told> {
        let Settings {
            webhook_configuration: name,
            service,
            namespace,
            ..
        } = &self.settings;
        let Some(present) = self.store.configuration(name).await? else {
            warn!(configuration = %name, "there is no such MutatingWebhookConfiguration yet");
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
                self.store.patch_configuration(name, patch).await?;
                info!(configuration = %name, "corrected the CA bundle");
                self.in_place = None;
                Ok((Told::NotYet, Outcome::Corrected))
            }
        }
    }

    fn note_in_place(&mut self, bundle: Vec<u8>) -> Told {
        let before = self.in_place.take().filter(|(before, _)| *before == bundle);
        let since = before.map_or_else(Instant::now, |(_, since)| since);
        self.in_place = Some((bundle, since));
        Told::Since(since)
    }

    /// Keeps the serving certificate and the roots beside it; gives how long that is good for.
    async fn keep_serving(
        &self,
        root: &Root,
        trust: &Trust,
        stored: Option<&Secret>,
        settled: bool,
        now: Timestamp,
    ) -> Step<Duration> {
        let names = service_names(&self.settings.service, &self.settings.namespace);
        let present = objects::stored_pair(stored);
        let (wanted, outcome) = match serving::judge(&present, root, &names, now) {
            Verdict::Keep { .. } => (
                TlsPair {
                    ca: trust.pem(),
                    ..present.clone()
                },
                Outcome::Corrected,
            ),
            // The old one works until every API server trusts the new root.
            Verdict::Issue(IssueReason::OtherRoot) if !settled => {
                return Ok((SETTLE, Outcome::Waiting));
            }
            Verdict::Issue(reason) => (
                serving::issue(root, trust, &names, now)?,
                Outcome::Issued(reason),
            ),
        };
        let good_for = match serving::judge(&wanted, root, &names, now) {
            Verdict::Keep { until } => from_to(now, until),
            // Written, it would be found wrong again at once, for ever.
            Verdict::Issue(reason) => return Err(KeepError::Refused(reason)),
        };
        if wanted == present {
            self.note_expiry(&wanted);
            return Ok((good_for, Outcome::Unchanged));
        }
        self.store.put_pair(SERVING_SECRET, stored, &wanted).await?;
        self.note_expiry(&wanted);
        if let Outcome::Issued(reason) = outcome {
            info!(
                secret = SERVING_SECRET,
                reason = reason.as_str(),
                "issued a serving certificate"
            );
        } else {
            info!(
                secret = SERVING_SECRET,
                "corrected the roots beside the serving certificate"
            );
        }
        Ok((good_for, outcome))
    }

    fn note_expiry(&self, serving: &TlsPair) {
        if let Some(expiry) = serving.expiry() {
            self.metrics.expires(Kept::Serving, expiry);
        }
    }

    /// Counts, and logs what failed.
    fn report<T>(&self, object: Kept, step: Step<T>) -> Result<T, Reported> {
        match step {
            Ok((found, outcome)) => {
                self.metrics.count(object, outcome);
                Ok(found)
            }
            Err(failure) => {
                self.metrics.count(object, Outcome::Failed);
                error!(object = object.as_str(), error = %failure, "not kept; is tried again");
                Err(Reported)
            }
        }
    }
}

/// Zero where it is past already.
fn from_to(now: Timestamp, then: Timestamp) -> Duration {
    then.duration_since(now).try_into().unwrap_or_default()
}
