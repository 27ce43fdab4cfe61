//! A control plane of one: delta ADS over TLS, serving what a test gives it, when it gives it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::pki::{Authority, Identity};
use crate::proto::{any, fields, framed, message, number, take_framed, text};

pub(crate) const PORT: u16 = 15012;
pub(crate) const HOST: &str = "localhost";

const SECRET: &str = "envoy.extensions.transport_sockets.tls.v3.Secret";
const EXTENSION: &str = "envoy.config.core.v3.TypedExtensionConfig";
const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";

type Name = (&'static str, String);

pub(crate) struct ControlPlane {
    resources: watch::Sender<BTreeMap<Name, Vec<u8>>>,
    streams: Arc<Mutex<Vec<Stream>>>,
    left_at_once: Arc<AtomicUsize>,
}

/// How a proxy introduced itself.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) path: String,
    pub(crate) authorization: String,
    pub(crate) node: String,
}

impl ControlPlane {
    pub(crate) async fn start(authority: &Authority) -> ControlPlane {
        ControlPlane::start_as(HOST, authority).await
    }

    /// Proves by its certificate that it is `name`.
    pub(crate) async fn start_as(name: &str, authority: &Authority) -> ControlPlane {
        let (chain, key) = authority.issue(name).for_rustls();
        let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a pair");
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind(("127.0.0.1", PORT))
            .await
            .expect("the xDS port");
        let (resources, watched) = watch::channel(BTreeMap::new());
        let streams = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&streams);
        let left_at_once = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&left_at_once);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (acceptor, watched) = (acceptor.clone(), watched.clone());
                let (seen, left) = (Arc::clone(&seen), Arc::clone(&left));
                tokio::spawn(async move {
                    // In TLS 1.3 it may leave before or after our handshake has ended.
                    let asked = match acceptor.accept(connection).await {
                        Ok(tls) => serve(tls, watched, seen).await,
                        Err(_) => 0,
                    };
                    if asked == 0 {
                        left.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        ControlPlane {
            resources,
            streams,
            left_at_once,
        }
    }

    /// How many proxies did not believe that this is their control plane.
    pub(crate) fn left_at_once(&self) -> usize {
        self.left_at_once.load(Ordering::SeqCst)
    }

    pub(crate) fn streams(&self) -> Vec<Stream> {
        self.streams.lock().expect("no panic").clone()
    }

    pub(crate) fn give_certificate(&self, identity: &Identity) {
        let inline = |field, pem: &str| message(field, &text(3, pem));
        let pair = [inline(1, &identity.chain_pem), inline(2, &identity.key_pem)].concat();
        self.give_secret(
            sparkmesh_injection::bootstrap::CERTIFICATE,
            &message(2, &pair),
        );
    }

    pub(crate) fn give_trust(&self, authority: &Authority) {
        let context = message(1, &text(3, &authority.pem));
        self.give_secret(
            sparkmesh_injection::bootstrap::TRUST_BUNDLE,
            &message(4, &context),
        );
    }

    fn give_secret(&self, name: &str, content: &[u8]) {
        self.give(SECRET, name, [text(1, name), content.to_vec()].concat());
    }

    /// Lets peers of one identity in.
    pub(crate) fn give_policy(&self, allowed: &str) {
        let principal = message(4, &message(2, &text(1, allowed)));
        let policy = [message(1, &number(3, 1)), message(2, &principal)].concat();
        let entry = [text(1, "allowed"), message(2, &policy)].concat();
        let filter = [message(1, &message(2, &entry)), text(3, "inbound.")].concat();
        let name = sparkmesh_injection::bootstrap::INBOUND_RBAC;
        let typed = any("envoy.extensions.filters.network.rbac.v3.RBAC", &filter);
        self.give(
            EXTENSION,
            name,
            [text(1, name), message(2, &typed)].concat(),
        );
    }

    /// Says that connections to this address go there in the clear.
    pub(crate) fn give_plaintext_destination(&self, address: &str) {
        let (original_dst, cluster_provided) = (4, 6);
        self.give(
            CLUSTER,
            address,
            [
                text(1, address),
                number(2, original_dst),
                number(6, cluster_provided),
            ]
            .concat(),
        );
    }

    fn give(&self, kind: &'static str, name: &str, content: Vec<u8>) {
        self.resources.send_modify(|all| {
            all.insert((kind, name.to_owned()), content);
        });
    }
}

/// Until the proxy goes away; how many streams it opened.
async fn serve(
    tls: TlsStream<TcpStream>,
    resources: watch::Receiver<BTreeMap<Name, Vec<u8>>>,
    seen: Arc<Mutex<Vec<Stream>>>,
) -> usize {
    let Ok(mut http2) = h2::server::handshake(tls).await else {
        return 0;
    };
    let mut opened = 0;
    while let Some(Ok((request, respond))) = http2.accept().await {
        opened += 1;
        tokio::spawn(answer(
            request,
            respond,
            resources.clone(),
            Arc::clone(&seen),
        ));
    }
    opened
}

async fn answer(
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    mut resources: watch::Receiver<BTreeMap<Name, Vec<u8>>>,
    seen: Arc<Mutex<Vec<Stream>>>,
) {
    let header = |name: &str| {
        request
            .headers()
            .get(name)
            .map(|value| value.to_str().expect("ASCII").to_owned())
    };
    let mut stream = Stream {
        path: request.uri().path().to_owned(),
        authorization: header("authorization").unwrap_or_default(),
        node: String::new(),
    };
    let response = http::Response::builder()
        .header("content-type", "application/grpc")
        .body(())
        .expect("a response");
    let Ok(mut send) = respond.send_response(response, false) else {
        return;
    };
    let mut body = request.into_body();
    let mut arrived = Vec::new();
    let mut wanted = BTreeSet::new();
    let mut known = BTreeMap::new();
    let mut version = 0;
    loop {
        send_new(
            &mut send,
            &wanted,
            &mut known,
            &mut version,
            &resources.borrow_and_update().clone(),
        );
        tokio::select! {
            changed = resources.changed() => if changed.is_err() { return },
            data = body.data() => {
                let Some(Ok(data)) = data else { return };
                // It cannot fail: the window is given back once.
                let _ = body.flow_control().release_capacity(data.len());
                arrived.extend_from_slice(&data);
                while let Some(request) = take_framed(&mut arrived) {
                    if let Some(node) = subscribe(&request, &mut wanted) {
                        stream.node = node;
                        seen.lock().expect("no panic").push(stream.clone());
                    }
                }
            }
        }
    }
}

/// Notes what the proxy asks for; the node's id where the request carries one.
fn subscribe(request: &[u8], wanted: &mut BTreeSet<Name>) -> Option<String> {
    let utf8 = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let fields_of_request = fields(request);
    let kind = fields_of_request
        .iter()
        .find(|(field, _)| *field == 2)
        .map(|(_, url)| utf8(url))
        .unwrap_or_default();
    let kind = [SECRET, EXTENSION, CLUSTER]
        .into_iter()
        .find(|known| kind.ends_with(known))
        .expect("a known type");
    let refusal = fields_of_request.iter().find(|(field, _)| *field == 7);
    assert!(refusal.is_none(), "{kind} refused: {refusal:?}");
    for (_, name) in fields_of_request.iter().filter(|(field, _)| *field == 3) {
        wanted.insert((kind, utf8(name)));
    }
    let (_, node) = fields_of_request.iter().find(|(field, _)| *field == 1)?;
    fields(node)
        .iter()
        .find(|(field, _)| *field == 1)
        .map(|(_, id)| utf8(id))
}

fn send_new(
    send: &mut SendStream<Bytes>,
    wanted: &BTreeSet<Name>,
    known: &mut BTreeMap<Name, Vec<u8>>,
    last_version: &mut u32,
    resources: &BTreeMap<Name, Vec<u8>>,
) {
    for name in wanted {
        let Some(content) = resources
            .get(name)
            .filter(|content| known.get(name) != Some(*content))
        else {
            continue;
        };
        known.insert(name.clone(), content.clone());
        let (kind, resource_name) = name;
        *last_version += 1;
        let version = last_version.to_string();
        let resource = [
            text(1, &version),
            message(2, &any(kind, content)),
            text(3, resource_name),
        ]
        .concat();
        let response = [
            message(2, &resource),
            text(4, &format!("type.googleapis.com/{kind}")),
            text(5, &version),
        ]
        .concat();
        // A stream that has ended needs no answer.
        let _ = send.send_data(framed(&response).into(), false);
    }
}
