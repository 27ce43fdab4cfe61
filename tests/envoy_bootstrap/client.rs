//! Those who connect to a pod: the kubelet, a scraper, peers of the mesh and strangers.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::pki::Identity;

/// An HTTP answer, taken apart no further than tests ask.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<String>,
    pub(crate) body: String,
}

/// Sends one request line with `Host: kubelet.example` and reads until the end; nothing if there
/// is no connection or no whole answer.
pub(crate) async fn try_ask(address: &str, request_line: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!(
        "{request_line} HTTP/1.1\r\nHost: kubelet.example\r\nX-Probe: yes\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let text = String::from_utf8(read_all(&mut stream).await).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    Some(Answer {
        status: lines.next()?.split(' ').nth(1)?.parse().ok()?,
        headers: lines.map(str::to_owned).collect(),
        body: body.to_owned(),
    })
}

pub(crate) async fn ask(address: &str, request_line: &str) -> Answer {
    try_ask(address, request_line)
        .await
        .unwrap_or_else(|| panic!("no answer to {request_line}"))
}

/// All that comes until the connection ends, however it ends. A minute is for ever.
pub(crate) async fn read_all(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut arrived = Vec::new();
    // A reset is an end too.
    let read = tokio::time::timeout(Duration::from_mins(1), stream.read_to_end(&mut arrived)).await;
    assert!(
        read.is_ok(),
        "the connection did not end; so far: {arrived:?}"
    );
    arrived
}

/// TLS as a peer speaks it, trusting every server: who answers is not what these tests ask.
pub(crate) fn tls(identity: Option<&Identity>) -> TlsConnector {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![
        aws_lc_rs::kx_group::X25519MLKEM768,
        aws_lc_rs::kx_group::X25519,
    ];
    let provider = Arc::new(provider);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer(provider)));
    let config = match identity {
        Some(identity) => {
            let (chain, key) = identity.for_rustls();
            builder.with_client_auth_cert(chain, key).expect("a pair")
        }
        None => builder.with_no_client_auth(),
    };
    TlsConnector::from(Arc::new(config))
}

/// In TLS 1.3 a client learns only after its handshake that it was refused.
pub(crate) async fn connect(
    tls: &TlsConnector,
    address: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("peer.example").expect("a name");
    tls.connect(name, TcpStream::connect(address).await?).await
}

/// What a client says before it has heard anything.
pub(crate) fn first_flight(identity: &Identity) -> Vec<u8> {
    let config = Arc::clone(tls(Some(identity)).config());
    let name = ServerName::try_from("peer.example").expect("a name");
    let mut client = ClientConnection::new(config, name).expect("a client");
    let mut bytes = Vec::new();
    client
        .write_tls(&mut bytes)
        .expect("a vector takes every write");
    bytes
}

#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General(
            "only TLS 1.3 is spoken here".to_owned(),
        ))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
