//! `sparkmesh uninject`: manifests as they were before injection.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use sparkmesh_injection::restore;

use super::documents;
use super::output::{self, Format};

/// Arguments of `uninject`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Manifests: a file, a folder (all its .yaml, .yml and .json files), or - for standard input
    #[arg(short = 'f', long = "filename", value_name = "PATH", required = true)]
    filenames: Vec<PathBuf>,
    /// Format of the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Writes every document without what `inject` added.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut documents = documents::read(&args.filenames)?;
    for document in &mut documents {
        for place in documents::pods(&document.value) {
            let pod = document
                .value
                .pointer_mut(&place.pointer)
                .expect("the place was found in this document");
            let found = restore::uninject(pod)
                .with_context(|| format!("{}: {} {}", document.source, place.kind, place.name))?;
            if !found {
                eprintln!(
                    "{}: {} {}: nothing of sparkmesh's in it",
                    document.source, place.kind, place.name
                );
            }
        }
    }
    output::write(
        documents.iter().map(|document| &document.value),
        args.output,
    )?;
    Ok(ExitCode::SUCCESS)
}
