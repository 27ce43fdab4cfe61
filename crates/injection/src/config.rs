//! Stands in until the configuration is written.

/// The mesh configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeshConfig {
    /// The text.
    pub text: String,
}
