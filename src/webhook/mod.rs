//! `sparkmesh webhook`: reviews pods over HTTPS for as long as it is told to.
//!
//! What a review answers is [`review`]'s. This module decides how the process starts, follows its
//! files, and ends.

mod body;
mod door;
mod events;
mod metrics;
mod refusal;
mod reload;
pub mod review;
mod router;
mod wire;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsAcceptor;
use hyper_util::rt::TokioTimer;
use prometheus_client::registry::Registry;

use crate::admin::Admin;
use crate::facts::{Board, Source};
use crate::service::{self, Stop};
use crate::telemetry::LogArgs;
use crate::{config, listen};
use door::Door;
use events::Outbox;
pub use metrics::Metrics;
use reload::{PairFiles, PairReload, Serving};
pub use router::{Limits, Webhook, router};

/// Connections at a time, of which each API server keeps a few dozen.
const CONNECTIONS: usize = 1024;
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
const FIRST_REQUEST_WITHIN: Duration = Duration::from_secs(30);
/// Longer than the 90 seconds that an API server keeps an idle connection: the side that sends
/// requests must be the one to close it, or a request is lost on the way.
const IDLE: Duration = Duration::from_mins(2);
const HEAD_BYTES: usize = 64 << 10;

/// Arguments of the subcommand.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The mesh configuration, a YAML file; it is followed.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The serving certificate and its chain, PEM; it is followed.
    #[arg(long, value_name = "FILE")]
    tls_cert: PathBuf,
    /// The key of the serving certificate, PEM; it is followed.
    #[arg(long, value_name = "FILE")]
    tls_key: PathBuf,
    /// Take namespaces and baseline from the manifests of this folder, not from a cluster.
    #[arg(long, value_name = "DIR")]
    from_files: Option<PathBuf>,
    /// Where to serve reviews over HTTPS.
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:10250")]
    listen: SocketAddr,
    /// Where to serve metrics and health over plain HTTP.
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:9090")]
    admin_listen: SocketAddr,
    #[command(flatten)]
    log: LogArgs,
    /// How often files are looked at.
    #[arg(long, hide = true, value_name = "MILLISECONDS", default_value = "2000", value_parser = milliseconds)]
    poll: Duration,
    /// How long reviews are served on after readiness has ended, so that it gets about.
    #[arg(long, hide = true, value_name = "MILLISECONDS", default_value = "5000", value_parser = milliseconds)]
    drain_grace: Duration,
    /// How long requests may take to end after that.
    #[arg(long, hide = true, value_name = "MILLISECONDS", default_value = "15000", value_parser = milliseconds)]
    drain_within: Duration,
}

fn milliseconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_millis)
}

/// Runs the subcommand until SIGTERM or SIGINT.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let log = args.log.clone();
    service::run(&log, serve(args))
}

async fn serve(args: Args) -> anyhow::Result<()> {
    let stop = Stop::listen()?;
    let metrics = Metrics::default();
    let config = config::load(&args.config).context("--config")?;
    let pair = PairReload::start(args.pair_files(), metrics.clone())?;
    let listener = listen::bind(args.listen, "--listen")?;
    let admin_listener = listen::bind(args.admin_listen, "--admin-listen")?;
    let source = args.source().await?;
    let events = match &source {
        Source::Cluster(client) => Some(Outbox::open(client.clone(), metrics.clone())),
        Source::Files(_) => None,
    };
    let facts = source.follow(args.poll)?;

    let webhook = Webhook::new(config, facts.clone(), Limits::default(), metrics.clone());
    let webhook = Arc::new(webhook.with_events(events));
    let serving = pair.serving();
    tracing::info!(
        listen = %listener.local_addr()?,
        admin = %admin_listener.local_addr()?,
        version = env!("CARGO_PKG_VERSION"),
        "serving"
    );
    let handle = Handle::new();
    let admin = admin(&metrics, &facts, &webhook, &serving);
    tokio::spawn(admin.serve(admin_listener));
    tokio::spawn(pair.follow(args.poll));
    tokio::spawn(reload::follow_config(
        args.config,
        webhook.clone(),
        metrics.clone(),
        args.poll,
    ));
    let drain = Drain {
        grace: args.drain_grace,
        within: args.drain_within,
    };
    tokio::spawn(drain.on(stop, webhook.clone(), handle.clone()));
    reviews(listener, &serving, webhook, metrics, handle).await?;
    tracing::info!("stopped");
    Ok(())
}

impl Args {
    fn pair_files(&self) -> PairFiles {
        PairFiles {
            certificate: self.tls_cert.clone(),
            key: self.tls_key.clone(),
        }
    }

    async fn source(&self) -> anyhow::Result<Source> {
        if let Some(folder) = &self.from_files {
            return Ok(Source::Files(folder.clone()));
        }
        let client = kube::Client::try_default().await.context(
            "no Kubernetes API to ask for namespaces; run inside a pod, set KUBECONFIG, \
             or give manifests with --from-files",
        )?;
        Ok(Source::Cluster(client))
    }
}

fn admin(metrics: &Metrics, facts: &Board, webhook: &Arc<Webhook>, serving: &Serving) -> Admin {
    let mut registry = Registry::with_prefix("sparkmesh");
    metrics.register(&mut registry);
    facts.register(&mut registry);
    let (facts, webhook, serving) = (facts.clone(), webhook.clone(), serving.clone());
    Admin::new(registry, move || {
        let mut missing = facts.missing();
        if serving.has_expired() {
            missing.push("the serving certificate has expired".to_owned());
        }
        if webhook.is_draining() {
            missing.push("it is stopping".to_owned());
        }
        missing
    })
}

/// Serves reviews until `handle` is told to stop.
async fn reviews(
    listener: TcpListener,
    serving: &Serving,
    webhook: Arc<Webhook>,
    metrics: Metrics,
    handle: Handle<SocketAddr>,
) -> anyhow::Result<()> {
    let door = Door::new(CONNECTIONS, metrics.clone());
    let tls = RustlsAcceptor::new(serving.tls())
        .handshake_timeout(HANDSHAKE_WITHIN)
        .acceptor(door);
    let mut server = axum_server::from_tcp(listener)?
        .acceptor(tls)
        .http1_only()
        .first_request_timeout(FIRST_REQUEST_WITHIN)
        .accept_error_handler(move |from, error| door::count(&metrics, from, error))
        .handle(handle);
    server
        .http_builder()
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(HEAD_BYTES);
    server
        .serve(router(webhook).into_make_service())
        .await
        .context("serving reviews failed")
}

/// How the process ends without losing a request.
struct Drain {
    grace: Duration,
    within: Duration,
}

impl Drain {
    /// At the first signal: stop being ready, serve on until that got about, end what is under
    /// way. A second signal shortens the waiting.
    async fn on(self, mut stop: Stop, webhook: Arc<Webhook>, handle: Handle<SocketAddr>) {
        stop.asked().await;
        tracing::info!(grace = ?self.grace, within = ?self.within, "stopping");
        webhook.drain();
        tokio::select! {
            () = tokio::time::sleep(self.grace) => {}
            () = stop.asked() => {}
        }
        handle.graceful_shutdown(Some(self.within));
        stop.asked().await;
        handle.shutdown();
    }
}
