//! Results on standard output, in the format that was asked for.

use std::io::Write as _;

use serde_json::Value;

/// How documents are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// YAML documents.
    #[default]
    Yaml,
    /// JSON objects, one after the other.
    Json,
}

/// Writes all documents. A reader that has seen enough is no error.
pub(super) fn write<'v>(
    documents: impl Iterator<Item = &'v Value>,
    format: Format,
) -> anyhow::Result<()> {
    let mut text = String::new();
    for (index, document) in documents.enumerate() {
        match format {
            Format::Yaml => {
                if index > 0 {
                    text.push_str("---\n");
                }
                text.push_str(&crate::yaml::to_string(document));
                if !text.ends_with('\n') {
                    text.push('\n');
                }
            }
            Format::Json => {
                text.push_str(&serde_json::to_string_pretty(document)?);
                text.push('\n');
            }
        }
    }
    print(&text)
}

/// Writes text. A reader that has seen enough is no error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
