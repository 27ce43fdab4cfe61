//! The command line: which subcommand, with which arguments. What each does is its module's.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Sidecar injector and policy guard for Apache Spark on Kubernetes.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the admission webhook.
    Webhook(Box<crate::webhook::Args>),
    /// Keep the serving certificates and the webhook's trust bundle.
    Control(crate::control::Args),
    /// Redirect a pod's TCP traffic to its proxy; runs inside the pod.
    Init(crate::init::Args),
}

impl Cli {
    /// Runs the subcommand and gives its exit code.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Webhook(args) => crate::webhook::run(*args),
            Command::Control(args) => crate::control::run(args),
            Command::Init(args) => crate::init::run(args),
        }
    }
}
