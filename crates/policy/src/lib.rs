//! What sparkmesh allows, as pure functions over plain values.
//!
//! This crate holds the names users meet ([`names`]), the values that both policy and injection
//! speak of ([`port`], [`cidr`], [`identity`]), the custom resources ([`crd`]) and what they mean:
//! the platform's floor ([`baseline`]) and the applications' policies ([`access`]). It knows no
//! network, clock, file or Kubernetes client: facts and time come in as arguments.

pub mod access;
pub mod baseline;
pub mod cidr;
pub mod crd;
pub mod identity;
pub mod names;
pub mod port;
pub mod violation;
