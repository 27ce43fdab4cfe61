//! `sparkmesh control`: keeps the webhook's certificates and the API server's trust in them. Several
//! replicas run; the one that holds the Lease acts.
//!
//! This module only parses the arguments and ties the parts together. `names`, `pair`, `root`,
//! `serving`, `trust`, `objects` and `election` decide, apart from any I/O and with the time as an
//! argument; `lease`, `watches`, `store` and `keeper` do what was decided.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use kube::{Client, Config};
use prometheus_client::registry::Registry;
use rustls::crypto::aws_lc_rs;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

mod election;
mod keeper;
mod lease;
mod metrics;
pub mod names;
mod objects;
mod pair;
mod root;
mod serving;
mod store;
mod trust;
mod watches;

use crate::admin::Admin;
use crate::listen;
use crate::service::{self, Stop};
use crate::telemetry::LogArgs;
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
    #[command(flatten)]
    log: LogArgs,
}

/// Runs until SIGTERM or SIGINT.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let log = args.log.clone();
    service::run(&log, serve(args))
}

async fn serve(args: Args) -> anyhow::Result<()> {
    let stop = stop_on_signal()?;
    let config = Config::infer().await.context(
        "no Kubernetes API to keep certificates in; run inside a pod, or set KUBECONFIG",
    )?;
    let settings = settings(&args, &config.default_namespace);
    let admin_listener = listen::bind(args.admin_listen, "--admin-listen")?;
    let client = Client::try_from(config).context("the Kubernetes client cannot be set up")?;

    let metrics = Metrics::default();
    let (elector, role) = Elector::new(client.clone(), &settings.namespace, identity()?);
    info!(
        namespace = %settings.namespace,
        admin = %admin_listener.local_addr()?,
        version = env!("CARGO_PKG_VERSION"),
        "started"
    );
    tokio::spawn(admin(&metrics, role.clone()).serve(admin_listener));
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
    info!("stopped");
    Ok(())
}

/// Ready is who knows whether it leads: it reached the API server, and lately.
fn admin(metrics: &Metrics, role: watch::Receiver<Role>) -> Admin {
    let mut registry = Registry::with_prefix("sparkmesh_control");
    metrics.register(&mut registry);
    Admin::new(registry, move || match *role.borrow() {
        Role::Leads | Role::Follows(_) => vec![],
        Role::Unknown => {
            vec!["it is not known who leads: the API server is not reached".to_owned()]
        }
    })
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
    let mut election_goes_on = true;
    while election_goes_on && becomes(&mut role, Leading::Yes).await {
        metrics.leads(true);
        let keeper = Keeper::new(client.clone(), settings.clone(), metrics.clone());
        let leading = async { Box::pin(keeper.await.lead()).await };
        election_goes_on = tokio::select! {
            biased;
            goes_on = becomes(&mut role, Leading::No) => goes_on,
            never = leading => match never {},
        };
        metrics.leads(false);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Leading {
    Yes,
    No,
}

/// Waits until this replica leads, or leads no more; false when the election has ended first.
async fn becomes(role: &mut watch::Receiver<Role>, wanted: Leading) -> bool {
    let leads = wanted == Leading::Yes;
    role.wait_for(|role| (*role == Role::Leads) == leads)
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
    let mut asked = Stop::listen()?;
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        asked.asked().await;
        info!("stopping");
        stopping.cancel();
    });
    Ok(stop)
}
