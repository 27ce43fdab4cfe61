//! Prints the definitions of the custom resources, for `kubectl apply` and for the chart.
//!
//! Decides the form of the output. What the definitions say is decided in `sparkmesh-policy`.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::{Value, json};
use sparkmesh_policy::crd;

/// Print the definitions of the custom resources.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Form of the output: YAML documents, or one JSON list.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

/// Form of the output.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Output {
    #[default]
    Yaml,
    Json,
}

/// Prints the definitions on stdout.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let text = match args.output {
        Output::Yaml => yaml()?,
        Output::Json => json()?,
    };
    let mut stdout = std::io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        // Who reads has what he wanted: `sparkmesh crds | head`.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        written => written.context("cannot write to stdout")?,
    }
    Ok(ExitCode::SUCCESS)
}

fn yaml() -> anyhow::Result<String> {
    let documents: Vec<Value> = items()?;
    serde_saphyr::to_string_multiple(&documents).context("cannot write YAML")
}

fn json() -> anyhow::Result<String> {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items()?});
    Ok(serde_json::to_string_pretty(&list)? + "\n")
}

fn items() -> anyhow::Result<Vec<Value>> {
    crd::definitions()
        .into_iter()
        .map(|definition| Ok(whole_numbers(serde_json::to_value(definition)?)))
        .collect()
}

/// Writes 65535.0 as 65535. The bounds of a schema are floating-point numbers in the API, and
/// what compares the chart with the cluster would take the one for a change of the other.
fn whole_numbers(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(whole_numbers).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| (name, whole_numbers(value)))
            .collect(),
        Value::Number(number) => number
            .to_string()
            .strip_suffix(".0")
            .and_then(|whole| whole.parse::<i64>().ok())
            .map_or(Value::Number(number), Value::from),
        other => other,
    }
}
