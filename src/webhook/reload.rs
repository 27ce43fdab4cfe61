//! Follows the serving pair and the configuration on disk.
//!
//! The kubelet swaps a symbolic link when it renews a mounted file, which a watch on the file does
//! not see, so the bytes are looked at every few seconds. What cannot be used changes nothing; it
//! is counted and said once, and tried again: a pair may only have to wait for its hour.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::Context;
use axum_server::tls_rustls::RustlsConfig;
use jiff::Timestamp;

use super::metrics::Metrics;
use super::router::Webhook;
use crate::config;
use crate::tls::{self, Pair, PairError};

/// Where the serving pair is.
#[derive(Clone, Debug)]
pub(super) struct PairFiles {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

#[derive(Clone, PartialEq, Eq)]
struct PairBytes {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Unusable {
    #[error("{0}")]
    Unreadable(String),
    #[error(transparent)]
    Pair(#[from] PairError),
}

impl Unusable {
    fn reason(&self) -> &'static str {
        match self {
            Unusable::Unreadable(_) => "unreadable",
            Unusable::Pair(error) => error.reason(),
        }
    }
}

/// What new connections are served with; clones share it.
#[derive(Clone)]
pub(super) struct Serving {
    tls: RustlsConfig,
    not_after: Arc<AtomicI64>,
    metrics: Metrics,
}

impl Serving {
    fn new(pair: &Pair, metrics: Metrics) -> Serving {
        let serving = Serving {
            tls: RustlsConfig::from_config(tls::server_config(pair)),
            not_after: Arc::default(),
            metrics,
        };
        serving.told(pair);
        serving
    }

    fn replace(&self, pair: &Pair) {
        self.tls.reload_from_config(tls::server_config(pair));
        self.told(pair);
    }

    fn told(&self, pair: &Pair) {
        let not_after = pair.not_after().as_second();
        self.not_after.store(not_after, Ordering::Release);
        self.metrics.certificate_expiry.set(not_after);
    }

    pub(super) fn tls(&self) -> RustlsConfig {
        self.tls.clone()
    }

    /// Whether a client with a right clock would refuse our certificate.
    pub(super) fn has_expired(&self) -> bool {
        Timestamp::now().as_second() >= self.not_after.load(Ordering::Acquire)
    }
}

/// Follows the pair; [`PairReload::start`] gives the first one.
pub(super) struct PairReload {
    files: PairFiles,
    serving: Serving,
    in_use: PairBytes,
    refused: Option<(Option<PairBytes>, Unusable)>,
}

impl PairReload {
    /// Reads the pair for the first time: one that cannot be used is an error here.
    pub(super) fn start(files: PairFiles, metrics: Metrics) -> anyhow::Result<PairReload> {
        let place = format!(
            "{} (--tls-cert) and {} (--tls-key)",
            files.certificate.display(),
            files.key.display()
        );
        let in_use = files.read().map_err(anyhow::Error::msg)?;
        let pair = in_use.parse().context(place)?;
        Ok(PairReload {
            files,
            serving: Serving::new(&pair, metrics),
            in_use,
            refused: None,
        })
    }

    pub(super) fn serving(&self) -> Serving {
        self.serving.clone()
    }

    pub(super) async fn follow(mut self, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            self = match tokio::task::spawn_blocking(move || {
                self.look();
                self
            })
            .await
            {
                Ok(same) => same,
                Err(error) => {
                    tracing::error!(%error, "the serving certificate is no longer followed");
                    return;
                }
            };
        }
    }

    fn look(&mut self) {
        let bytes = self.files.read().map_err(Unusable::Unreadable);
        if bytes.as_ref() == Ok(&self.in_use) {
            self.refused = None;
            return;
        }
        match bytes.clone().and_then(|bytes| Ok((bytes.parse()?, bytes))) {
            Ok((pair, bytes)) => {
                self.serving.replace(&pair);
                self.in_use = bytes;
                self.refused = None;
                self.serving.metrics.count_reload("certificate", "taken");
                tracing::info!(not_after = %pair.not_after(), "new serving certificate taken");
            }
            Err(error) => {
                let refused = Some((bytes.ok(), error));
                if self.refused != refused {
                    self.refused = refused;
                    self.tell();
                }
            }
        }
    }

    fn tell(&self) {
        if let Some((_, error)) = &self.refused {
            let metrics = &self.serving.metrics;
            metrics.count_reload("certificate", error.reason());
            let reason = error.reason();
            tracing::error!(reason, %error, "the new serving certificate is kept out; the old one stays");
        }
    }
}

impl PairFiles {
    /// Both files of one issue: the link may be swapped between the two, so the certificate is
    /// read again after the key.
    fn read(&self) -> Result<PairBytes, String> {
        let mut certificate = read(&self.certificate, "--tls-cert")?;
        loop {
            let key = read(&self.key, "--tls-key")?;
            let again = read(&self.certificate, "--tls-cert")?;
            if again == certificate {
                return Ok(PairBytes { certificate, key });
            }
            certificate = again;
        }
    }
}

fn read(file: &Path, flag: &str) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| {
        let remedy = match error.kind() {
            std::io::ErrorKind::NotFound => "; is the path right, and the volume mounted?",
            std::io::ErrorKind::PermissionDenied => "; make it readable for this process's user",
            _ => "",
        };
        format!("cannot read {} ({flag}): {error}{remedy}", file.display())
    })
}

impl PairBytes {
    fn parse(&self) -> Result<Pair, PairError> {
        Pair::parse(&self.certificate, &self.key, Timestamp::now())
    }
}

/// Follows the configuration, with every file that it names.
pub(super) async fn follow_config(
    file: PathBuf,
    webhook: Arc<Webhook>,
    metrics: Metrics,
    every: Duration,
) {
    let mut refused = None;
    loop {
        tokio::time::sleep(every).await;
        let from = file.clone();
        let found = tokio::task::spawn_blocking(move || config::load(&from)).await;
        match found.map_err(anyhow::Error::from).flatten() {
            Ok(config) => {
                refused = None;
                if webhook.reconfigure(config) {
                    metrics.count_reload("configuration", "taken");
                    tracing::info!("new configuration taken");
                }
            }
            Err(error) => {
                let error = format!("{error:#}");
                if refused.as_ref() != Some(&error) {
                    metrics.count_reload("configuration", "invalid");
                    tracing::error!(
                        error,
                        "the new configuration is kept out; the old one stays"
                    );
                    refused = Some(error);
                }
            }
        }
    }
}
