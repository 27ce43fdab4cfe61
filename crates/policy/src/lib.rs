//! What sparkmesh allows, as pure functions over plain values.
//!
//! This crate holds the names users meet ([`names`]), the values that both policy and injection
//! speak of ([`port`], [`cidr`], [`identity`]), the custom resources ([`crd`]) and what they mean:
//! the platform's floor ([`baseline`]), the applications' policies ([`access`]), and what becomes of
//! a connection under both ([`verdict`]). It knows no network, clock, file or Kubernetes client:
//! facts and time come in as arguments.

pub mod access;
pub mod baseline;
pub mod cidr;
pub mod crd;
pub mod identity;
pub mod names;
pub mod port;
pub mod verdict;
pub mod violation;
