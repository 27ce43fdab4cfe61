//! The rendered bootstrap, as the real Envoy takes it.
//!
//! `accepts` needs no rights. The other tests run Envoy as user 1337 in network and mount
//! namespaces of their own, for the ports and folders are fixed, and therefore need root.

mod accepts;
mod app;
mod client;
mod control_plane;
mod envoy;
mod health;
mod inbound;
mod mesh;
mod outbound;
mod pki;
mod proto;
mod sandbox;
