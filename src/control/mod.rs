//! `sparkmesh control`: keeps the webhook's certificates and the API server's trust in them. Several
//! replicas run; the one that holds the Lease acts.
//!
//! This module only parses the arguments and ties the parts together. `names`, `pair`, `root`,
//! `serving`, `trust`, `objects` and `election` decide, apart from any I/O and with the time as an
//! argument; `lease`, `watches` and `keeper` do what was decided.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use kube::{Client, Config};
use prometheus_client::registry::Registry;
use rustls::crypto::aws_lc_rs;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

mod admin;
mod election;
mod keeper;
mod lease;
mod metrics;
pub mod names;
mod objects;
mod pair;
mod root;
mod serving;
mod trust;
mod watches;

pub use keeper::ServingCertificates;

use keeper::{Keeper, Settings};
use lease::{Elector, Role};
use metrics::Metrics;

/// Arguments of `sparkmesh control`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Namespace of the installation [default: that of the service account or kubeconfig].
    #[arg(long)]
    namespace: Option<String>,
    /// `MutatingWebhookConfiguration` whose CA bundle is kept [default: sparkmesh-NAMESPACE].
    #[arg(long, value_name = "NAME")]
    webhook_configuration: Option<String>,
    /// Service under which the API server calls the webhook.
    #[arg(long, value_name = "NAME", default_value = names::WEBHOOK_SERVICE)]
    service: String,
    /// Who makes the webhook's serving certificate and keeps the CA bundle.
    #[arg(long, value_enum, value_name = "WHO", default_value_t = ServingCertificates::Sparkmesh)]
    serving_certificates: ServingCertificates,
    /// Address of health and metrics.
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:9090")]
    admin_listen: SocketAddr,
    /// Form of the log on stderr.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = LogFormat::Json)]
    log_format: LogFormat,
    /// What is logged: a level, or directives as of tracing's `EnvFilter`.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: String,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum LogFormat {
    Json,
    Text,
}

/// Runs until SIGTERM or SIGINT.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    start_log(args.log_format, &args.log_level)?;
    // An earlier call in this process has installed the same one.
    let _ = aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the async runtime does not start")?;
    runtime.block_on(serve(args))
}

async fn serve(args: Args) -> anyhow::Result<ExitCode> {
    let stop = stop_on_signal()?;
    let config = Config::infer().await.context(
        "no way to the API server is known: run in a pod with a service account, or set KUBECONFIG",
    )?;
    let settings = settings(&args, &config.default_namespace);
    let listener = TcpListener::bind(args.admin_listen)
        .await
        .with_context(|| {
            format!(
                "cannot listen on {}: is the port taken? See --admin-listen",
                args.admin_listen
            )
        })?;
    let client =
        Client::try_from(config).context("the client of the API server cannot be set up")?;

    let metrics = Metrics::default();
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let (elector, role) = Elector::new(client.clone(), &settings.namespace, identity()?);
    info!(namespace = %settings.namespace, "started");

    let admin = axum::serve(listener, admin::router(registry, role.clone()));
    let admin = tokio::spawn(
        admin
            .with_graceful_shutdown(stop.clone().cancelled_owned())
            .into_future(),
    );
    let unless_stopped = stop.clone().drop_guard();
    let acting = tokio::spawn(async move {
        act_while_leading(role, client, settings, metrics).await;
        // Dropped by a panic too: who cannot act must not hold the Lease.
        drop(unless_stopped);
    });
    let lease = elector.run(stop).await;
    let acted = acting.await;
    // Only whoever acts no more may let another one act.
    lease.release().await;
    acted.context("the leader's work came to an unexpected end")?;
    // A connection that its client keeps open is no reason to stay.
    admin.abort();
    info!("ended");
    Ok(ExitCode::SUCCESS)
}

fn settings(args: &Args, default_namespace: &str) -> Settings {
    let namespace = args
        .namespace
        .clone()
        .unwrap_or_else(|| default_namespace.to_owned());
    Settings {
        webhook_configuration: args
            .webhook_configuration
            .clone()
            .unwrap_or_else(|| names::webhook_configuration(&namespace)),
        service: args.service.clone(),
        serving: args.serving_certificates,
        namespace,
    }
}

/// Ends with the election.
async fn act_while_leading(
    mut role: watch::Receiver<Role>,
    client: Client,
    settings: Settings,
    metrics: Metrics,
) {
    metrics.leads(false);
    let mut leading = role.clone();
    while becomes(&mut leading, true).await {
        metrics.leads(true);
        let keeper = Keeper::new(client.clone(), settings.clone(), metrics.clone());
        tokio::select! {
            biased;
            _ = becomes(&mut role, false) => (),
            never = keeper.lead() => match never {},
        }
        metrics.leads(false);
    }
}

/// Waits until this replica leads, or leads no more; false when the election is over.
async fn becomes(role: &mut watch::Receiver<Role>, leader: bool) -> bool {
    role.wait_for(|role| (*role == Role::Leads) == leader)
        .await
        .is_ok()
}

/// The host's name, which is the pod's, for people; and what no other process has.
fn identity() -> anyhow::Result<String> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .context("the host's name cannot be read")?;
    let mut unique = [0_u8; 8];
    aws_lc_rs::default_provider()
        .secure_random
        .fill(&mut unique)
        .map_err(|_| anyhow::anyhow!("the system gives no random numbers"))?;
    Ok(format!(
        "{}_{:016x}",
        host.trim(),
        u64::from_be_bytes(unique)
    ))
}

fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => info!("ends: SIGTERM"),
            _ = interrupt.recv() => info!("ends: SIGINT"),
        }
        stopping.cancel();
    });
    Ok(stop)
}

fn start_log(format: LogFormat, level: &str) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(level)
        .context("--log-level is no level and no list of directives")?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Json => log.json().flatten_event(true).init(),
        LogFormat::Text => log.init(),
    }
    Ok(())
}
