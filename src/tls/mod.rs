//! How sparkmesh serves TLS: version 1.3 only, HTTP/1.1, no client certificate.
//!
//! This module turns PEM text into what rustls serves with; it refuses to know files, sockets and
//! the clock.

mod pair;

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;

pub use pair::{Pair, PairError};

/// Makes aws-lc-rs the one source of cryptography of this process. Later calls change nothing.
pub fn install_provider() {
    // An error means that it is installed already, by an earlier call.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// What a TLS listener serves with: `pair`, over TLS 1.3, for HTTP/1.1.
#[must_use]
pub fn server_config(pair: &Pair) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("aws-lc-rs has cipher suites of TLS 1.3")
        .with_no_client_auth()
        .with_cert_resolver(pair.resolver());
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

fn provider() -> Arc<CryptoProvider> {
    install_provider();
    CryptoProvider::get_default()
        .expect("installed one line above")
        .clone()
}
