//! What every long-running subcommand needs of its process: a runtime, logs, and to be told when to
//! end.
//!
//! How a service ends is the service's own.

use std::future::Future;
use std::process::ExitCode;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::telemetry::{self, LogArgs};
use crate::tls;

/// Runs a service to its end.
pub(crate) fn run(
    log: &LogArgs,
    service: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<ExitCode> {
    tls::install_provider();
    let _log = telemetry::start(log)?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime cannot start")?
        .block_on(service)?;
    Ok(ExitCode::SUCCESS)
}

/// The signals by which a process is asked to end: SIGTERM and SIGINT.
pub(crate) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    /// From now on these signals do not end the process by themselves.
    pub(crate) fn listen() -> anyhow::Result<Stop> {
        let listen = |kind| signal(kind).context("signals cannot be received");
        Ok(Stop {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next of them.
    pub(crate) async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
