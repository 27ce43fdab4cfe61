//! The mesh's configuration file: read, validated, and every mistake told with its place.

use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use sparkmesh_injection::config::{ConfigFile, MeshConfig};

/// Reads the configuration, and the certificate authority that it names, from files.
///
/// Fails with the line and column of a key or value that is not understood, and with every value
/// that is not legal.
pub fn load(path: &Path) -> anyhow::Result<MeshConfig> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the configuration {}", path.display()))?;
    let file = parse(&text).with_context(|| format!("{}", path.display()))?;
    let ca_pem = match &file.control.ca_file {
        None => None,
        Some(name) => {
            let ca = path.parent().unwrap_or(Path::new(".")).join(name);
            Some(std::fs::read_to_string(&ca).with_context(|| {
                format!(
                    "{}: control.caFile: cannot read {}",
                    path.display(),
                    ca.display()
                )
            })?)
        }
    };
    MeshConfig::parse(file, ca_pem).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        anyhow!("{}: {}", path.display(), lines.join("; "))
    })
}

fn parse(text: &str) -> anyhow::Result<ConfigFile> {
    if text.trim().is_empty() {
        bail!("the configuration is empty; an empty map `{{}}` stands for all defaults");
    }
    crate::yaml::typed(text).map_err(|error| anyhow!("{error}"))
}
