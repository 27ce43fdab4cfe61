//! The webhook's decision on manifests, without a cluster: `inject`, `uninject`, `explain`.
//!
//! Wires documents to the decision and the outcome to the terminal; decides nothing itself.

mod connection;
pub mod documents;
pub mod explain;
pub mod inject;
pub(crate) mod output;
mod scope;
pub mod uninject;
