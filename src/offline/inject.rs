//! `sparkmesh inject`: what the webhook would make of manifests.

use std::process::ExitCode;

use sparkmesh_injection::decide::Decision;

use super::documents;
use super::output::{self, Format};
use super::scope::{Inputs, World};

/// Arguments of `inject`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    inputs: Inputs,
    /// Format of the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Writes every document with its pods injected. If one pod is refused nothing is written, so that
/// a pipeline never goes on with half of it.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut world = World::load(&args.inputs)?;
    let mut documents = std::mem::take(&mut world.documents);
    let mut refused = 0_usize;
    for document in &mut documents {
        for place in documents::pods(&document.value) {
            let pod = document
                .value
                .pointer_mut(&place.pointer)
                .expect("the place was found in this document");
            let title = place.title(world.namespace_of(&place));
            match world.decide(&place, pod) {
                Decision::Inject(injection) => {
                    json_patch::patch(pod, &injection.patch)?;
                    for warning in &injection.plan.warnings {
                        eprintln!("{}: {title}: warning: {warning}", document.source);
                    }
                }
                Decision::Skip(reason) => {
                    eprintln!(
                        "{}: {title}: skipped: {} [{}]",
                        document.source,
                        reason.sentence(),
                        reason.code()
                    );
                }
                Decision::Reject(violations) => {
                    refused += 1;
                    for violation in violations {
                        eprintln!("{}: {title}: refused: {violation}", document.source);
                    }
                }
            }
        }
    }
    if refused > 0 {
        let pods = if refused == 1 { "pod was" } else { "pods were" };
        anyhow::bail!("{refused} {pods} refused; nothing was written");
    }
    output::write(
        documents.iter().map(|document| &document.value),
        args.output,
    )?;
    Ok(ExitCode::SUCCESS)
}
