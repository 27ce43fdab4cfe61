//! What sparkmesh allows, as pure functions over plain values.
//!
//! This crate holds the names users meet ([`names`]), the values that both policy and injection
//! speak of ([`port`], [`cidr`]) and the platform's floor ([`baseline`]). It knows no network,
//! clock, file or Kubernetes client: facts and time come in as arguments.

pub mod baseline;
pub mod cidr;
pub mod names;
pub mod port;
