//! Stands in until this subcommand is written.

use std::process::ExitCode;

mod names;
mod pair;
mod root;
mod serving;
mod trust;

/// Arguments of the subcommand.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the subcommand.
pub fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not written yet")
}
