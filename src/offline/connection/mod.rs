//! `sparkmesh explain connection`: whether one pod may connect to another, by which rule, and
//! what would have to change to get the other answer.
//!
//! Wires manifests to the verdict and the verdict to the terminal; decides nothing itself.

mod advice;
mod ends;
mod policies;
mod report;

use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::Context as _;
use jiff::Timestamp;
use sparkmesh_policy::verdict::{Connection, Peer, TlsState, Version};

use self::ends::{Ends, From, To};
use self::policies::Policies;
use self::report::Report;
use super::explain::Format;
use super::output;
use super::scope::{Inputs, World};

/// Arguments of `explain connection`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    inputs: Inputs,
    /// Who connects: a pod, workload or service account, in a Spark application or not. A kind
    /// between the two tells what is meant where a name is not enough:
    /// NAMESPACE/ServiceAccount/NAME takes any service account at its word
    #[arg(
        long,
        value_name = "NAMESPACE/NAME[@APPLICATION]",
        required_unless_present = "plaintext",
        conflicts_with = "plaintext"
    )]
    from: Option<From>,
    /// What is connected to: a pod or workload and the port on which it listens
    #[arg(long, value_name = "NAMESPACE/NAME:PORT")]
    to: To,
    /// A peer outside the mesh connects, without TLS, from this address
    #[arg(long, value_name = "IP")]
    plaintext: Option<IpAddr>,
    /// The moment in question, as 2027-01-31T00:00:00Z; now, if left out
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// Format of the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Explains; a refusal is an answer, not a failure.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let world = World::load(&args.inputs)?;
    let policies = Policies::load(&world, args.inputs.from_files.as_ref())?;
    let ends = Ends::find(&world, &policies);
    let set = policies.to_set(world.baseline().clone());

    let to = ends.destination(&args.to)?;
    let from = match &args.from {
        Some(name) => Some(ends.source(name)?),
        None => None,
    };
    let identity = match &from {
        Some(from) => {
            let identity = from.workload.identity(&world.baseline().trust_domain);
            Some(identity.with_context(|| format!("{} can have no identity", from.title))?)
        }
        None => None,
    };
    let (peer, tls) = match (&identity, args.plaintext) {
        (Some(identity), _) => (
            Peer::Authenticated(identity),
            TlsState::Mutual(Version::Tls13),
        ),
        (None, Some(address)) => (Peer::Plaintext(address), TlsState::Plaintext),
        (None, None) => unreachable!("the command line asks for --from or --plaintext"),
    };
    let connection = Connection {
        port: args.to.port,
        peer,
        tls,
        at: args.at.unwrap_or_else(Timestamp::now),
    };
    let report = Report {
        from: from.as_ref(),
        to: &to,
        connection: &connection,
        verdict: set.verdict(&to.workload, &connection),
        steps: advice::steps(&set, &to.workload, &connection, &policies),
        policies: &policies,
    };
    for complaint in policies.complaints() {
        eprintln!("{complaint}");
    }
    output::print(&match args.output {
        Format::Text => report.as_text(),
        Format::Json => format!("{}\n", serde_json::to_string_pretty(&report.as_json())?),
    })?;
    Ok(ExitCode::SUCCESS)
}
