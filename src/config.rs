//! Stands in until the configuration is written.

use std::path::Path;

use anyhow::{Context, bail};
use sparkmesh_injection::config::MeshConfig;

/// Reads the mesh configuration.
pub fn load(path: &Path) -> anyhow::Result<MeshConfig> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read {} (--config)", path.display()))?;
    for (number, line) in text.lines().enumerate() {
        if let Some((key, _)) = line.split_once(':')
            && !["control", "proxy", "init"].contains(&key.trim_start_matches(' '))
            && !line.starts_with(' ')
        {
            bail!("{}:{}:1: unknown field `{key}`", path.display(), number + 1);
        }
    }
    Ok(MeshConfig { text })
}
