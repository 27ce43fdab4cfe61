//! The custom resources: their wire types, their definitions for the API server, and how an
//! object is read by its definition.
//!
//! The definition is the one source: what is accepted here and what an API server with that
//! definition accepts come from the same schema. What a valid object means is decided in
//! [`crate::baseline`] and [`crate::access`].

mod access_policy;
mod definition;
mod invariant;
mod mesh_baseline;
mod read;
mod structure;

pub use access_policy::*;
pub use definition::definitions;
pub use invariant::Invariant;
pub use mesh_baseline::*;
pub(crate) use read::read;
