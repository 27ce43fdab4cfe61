//! A container's probe, as the kubelet would carry it out.

use serde::Deserialize;

use super::{Field, IntOrStr, Str};
use crate::read_from_objects;

/// A probe: one handler, and a time-out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub struct Probe<'a> {
    /// Ask over HTTP or HTTPS.
    #[serde(borrow, default)]
    pub http_get: Field<HttpGetAction<'a>>,
    /// Connect.
    #[serde(borrow, default)]
    pub tcp_socket: Field<TcpSocketAction<'a>>,
    /// Ask the gRPC health service.
    #[serde(borrow, default)]
    pub grpc: Field<GrpcAction<'a>>,
    /// Seconds the kubelet waits for the answer; 1 where nothing is said.
    #[serde(default)]
    pub timeout_seconds: Field<i64>,
}

/// `httpGet`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(remote = "Self")]
pub struct HttpGetAction<'a> {
    /// Path and query; `/` where nothing is said.
    #[serde(borrow, default)]
    pub path: Field<Str<'a>>,
    /// The port, by number or name.
    #[serde(borrow, default)]
    pub port: Field<IntOrStr<'a>>,
    /// Another host than the pod.
    #[serde(borrow, default)]
    pub host: Field<Str<'a>>,
    /// `HTTP` where nothing is said, or `HTTPS`.
    #[serde(borrow, default)]
    pub scheme: Field<Str<'a>>,
}

/// `tcpSocket`: rewriting replaces it whole, so a field that is not known here is an error.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct TcpSocketAction<'a> {
    /// The port, by number or name.
    #[serde(borrow, default)]
    pub port: Field<IntOrStr<'a>>,
    /// Another host than the pod.
    #[serde(borrow, default)]
    pub host: Field<Str<'a>>,
}

/// `grpc`: unknown fields are errors as in [`TcpSocketAction`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct GrpcAction<'a> {
    /// The port's number.
    #[serde(default)]
    pub port: Field<i64>,
    /// The service asked for.
    #[serde(borrow, default)]
    pub service: Field<Str<'a>>,
}

read_from_objects! {
    Probe<'a>, HttpGetAction<'a>, TcpSocketAction<'a>, GrpcAction<'a>
}
