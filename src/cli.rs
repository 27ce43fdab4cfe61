//! The command line: which subcommand, with which arguments. What each does is its module's.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::offline;

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
    /// Write manifests with their pods injected, as the webhook would.
    Inject(offline::inject::Args),
    /// Write manifests as they were before injection.
    Uninject(offline::uninject::Args),
    /// Tell what would be decided, and why.
    Explain(offline::explain::Args),
    /// Write the completion script of a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Redirect a pod's TCP traffic to its proxy; runs inside the pod.
    Init(crate::init::Args),
    /// Print the definitions of the custom resources.
    Crds(crate::crds::Args),
}

impl Cli {
    /// Runs the subcommand and gives its exit code.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Webhook(args) => crate::webhook::run(*args),
            Command::Control(args) => crate::control::run(args),
            Command::Inject(args) => offline::inject::run(&args),
            Command::Uninject(args) => offline::uninject::run(&args),
            Command::Explain(args) => offline::explain::run(&args),
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "sparkmesh", &mut script);
                offline::output::print(&String::from_utf8(script)?)?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Init(args) => crate::init::run(args),
            Command::Crds(args) => crate::crds::run(&args),
        }
    }
}
