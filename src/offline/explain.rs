//! `sparkmesh explain`: what would be decided about pods and connections, and why.
//!
//! Words the decision about pods; that about connections is in [`super::connection`].

use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::{Value, json};
use sparkmesh_injection::decide::{Decision, Injection};
use sparkmesh_injection::violation::place;

use super::connection;
use super::documents;
use super::output;
use super::scope::{Inputs, World};

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Injected, skipped or refused, and why
    Pod(PodArgs),
    /// Allowed or refused, by which rule, and what would change that
    Connection(Box<connection::Args>),
}

#[derive(Debug, clap::Args)]
struct PodArgs {
    #[command(flatten)]
    inputs: Inputs,
    /// Format of the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// Explains; a refusal is an answer, not a failure.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.what {
        What::Pod(args) => explain_pods(args),
        What::Connection(args) => connection::run(args),
    }
}

fn explain_pods(args: &PodArgs) -> anyhow::Result<ExitCode> {
    let world = World::load(&args.inputs)?;
    let mut explained = Vec::new();
    for document in &world.documents {
        for place in documents::pods(&document.value) {
            let pod = document
                .value
                .pointer(&place.pointer)
                .expect("the place was found in this document");
            let title = place.title(world.namespace_of(&place));
            explained.push((document.source.as_str(), title, world.decide(&place, pod)));
        }
    }
    if explained.is_empty() {
        anyhow::bail!("there is no pod or workload in these manifests");
    }
    let text = match args.output {
        Format::Text => explained
            .iter()
            .map(|(source, title, decision)| {
                format!("{title} ({source})\n{}", as_text(decision, &world))
            })
            .collect::<Vec<_>>()
            .join("\n"),
        Format::Json => {
            let list: Vec<Value> = explained
                .iter()
                .map(|(source, title, decision)| as_json(source, title, decision))
                .collect();
            format!("{}\n", serde_json::to_string_pretty(&list)?)
        }
    };
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn as_text(decision: &Decision, world: &World) -> String {
    match decision {
        Decision::Skip(reason) => format!("  skipped: {} [{}]\n", reason.sentence(), reason.code()),
        Decision::Reject(violations) => {
            violations
                .iter()
                .fold("  refused:\n".to_owned(), |mut text, violation| {
                    writeln!(text, "  - {violation}").expect("writing to a String cannot fail");
                    text
                })
        }
        Decision::Inject(injection) => injection
            .plan
            .describe(world.config())
            .into_iter()
            .chain(std::iter::once((
                "patch",
                format!("{} operations", injection.patch.0.len()),
            )))
            .fold("  injected:\n".to_owned(), |mut text, (what, value)| {
                writeln!(text, "    {what:<16}{value}").expect("writing to a String cannot fail");
                text
            }),
    }
}

fn as_json(source: &str, title: &str, decision: &Decision) -> Value {
    let mut explained = json!({"source": source, "object": title});
    match decision {
        Decision::Skip(reason) => {
            explained["decision"] = json!("skip");
            explained["reason"] = json!(reason.code());
            explained["message"] = json!(reason.sentence());
        }
        Decision::Reject(violations) => {
            explained["decision"] = json!("reject");
            explained["violations"] = violations
                .iter()
                .map(|violation| {
                    json!({
                        "reason": violation.reason.code(),
                        "path": place(&violation.pointer),
                        "message": violation.message,
                        "remedy": violation.remedy,
                    })
                })
                .collect();
        }
        Decision::Inject(injection) => {
            let Injection { plan, patch } = injection.as_ref();
            explained["decision"] = json!("inject");
            explained["role"] = json!(plan.role.word());
            explained["httpPorts"] = json!(plan.http_ports);
            explained["warnings"] = json!(plan.warnings);
            explained["patch"] = json!(patch);
        }
    }
    explained
}
