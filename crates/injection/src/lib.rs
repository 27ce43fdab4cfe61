//! What sparkmesh adds to a pod, as pure functions over plain values.
//!
//! A pod's journey: raw JSON and a read-only view of it -> `decide` -> a plan -> an add-only JSON
//! patch. This crate also renders what the plan carries: the proxy's [`bootstrap`] and the
//! [`redirect`] plan of the init container. It knows no network, clock, file or Kubernetes client.

pub mod bootstrap;
pub mod config;
pub mod facts;
pub mod redirect;
