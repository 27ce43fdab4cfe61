//! What sparkmesh adds to a pod, as pure functions over plain values.
//!
//! A pod's journey: raw JSON and a read-only view of it ([`pod`]) -> a decision ([`decide`]) ->
//! a [`plan`] -> an add-only JSON [`patch`]. This crate also renders what the plan carries: the
//! proxy's [`bootstrap`] and the [`redirect`] plan of the init container, and takes all of it back
//! out ([`restore`]). It knows no network, clock, file or Kubernetes client.

pub mod bootstrap;
pub mod config;
mod containers;
pub mod decide;
mod describe;
pub mod facts;
pub mod patch;
pub mod plan;
pub mod pod;
pub mod probes;
pub mod quantity;
pub mod redirect;
mod refresh;
mod refusals;
pub mod restore;
pub mod role;
pub mod settings;
pub mod violation;
