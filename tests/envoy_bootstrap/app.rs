//! Applications beside the proxy.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::pki::Authority;
use crate::proto::{fields, framed, number, take_framed};

/// What no one but a peer of the mesh may read.
pub(crate) const SECRET: &str = "the-secret";

/// An application that listens until it is dropped.
pub(crate) struct App {
    accepts: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<String>>>,
    serving: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl App {
    fn listen<F: Future<Output = ()> + Send + 'static>(
        listener: TcpListener,
        serve: impl Fn(tokio::net::TcpStream, Arc<Mutex<Vec<String>>>, Arc<AtomicBool>) -> F
        + Send
        + 'static,
    ) -> App {
        let accepts = Arc::new(AtomicUsize::new(0));
        let heads = Arc::new(Mutex::new(Vec::new()));
        let serving = Arc::new(AtomicBool::new(true));
        let (count, log, state) = (
            Arc::clone(&accepts),
            Arc::clone(&heads),
            Arc::clone(&serving),
        );
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, Arc::clone(&log), Arc::clone(&state)));
            }
        });
        App {
            accepts,
            heads,
            serving,
            task,
        }
    }

    /// Sends a banner at once, then sends back what it receives.
    pub(crate) async fn echo(address: &str) -> App {
        App::listen(bind(address).await, |mut stream, _, _| async move {
            if stream.write_all(b"banner ").await.is_ok() {
                let (mut read, mut write) = stream.split();
                // The peer decides when this ends.
                let _ = tokio::io::copy(&mut read, &mut write).await;
            }
        })
    }

    /// Answers by path: `/status/CODE`, `/slow` never; each answer carries [`SECRET`] everywhere.
    pub(crate) async fn http(address: &str) -> App {
        App::listen(bind(address).await, |stream, heads, _| {
            answer_http(stream, heads)
        })
    }

    /// The same, over TLS with a certificate of an authority that nobody knows.
    pub(crate) async fn https(address: &str) -> App {
        let (chain, key) = Authority::new().issue("app.example").for_rustls();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a pair");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        App::listen(bind(address).await, move |stream, heads, _| {
            let acceptor = acceptor.clone();
            async move {
                let stream = acceptor.accept(stream).await.expect("TLS");
                answer_http(stream, heads).await;
            }
        })
    }

    /// `grpc.health.v1.Health`, asked for one service.
    pub(crate) async fn grpc_health(address: &str, service: &'static str) -> App {
        App::listen(bind(address).await, move |stream, _, serving| {
            answer_grpc(stream, serving, service)
        })
    }

    pub(crate) fn accepts(&self) -> usize {
        self.accepts.load(Ordering::SeqCst)
    }

    /// Request heads, in lower case.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no panic").clone()
    }

    pub(crate) fn set_serving(&self, serving: bool) {
        self.serving.store(serving, Ordering::SeqCst);
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn bind(address: &str) -> TcpListener {
    TcpListener::bind(address)
        .await
        .expect("the application's port")
}

async fn answer_http(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    heads: Arc<Mutex<Vec<String>>>,
) {
    let mut arrived = Vec::new();
    while !arrived.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => arrived.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(arrived).expect("ASCII").to_lowercase();
    heads.lock().expect("no panic").push(head.clone());
    if head.starts_with("get /slow") {
        return std::future::pending().await;
    }
    let status = head
        .split("/status/")
        .nth(1)
        .map_or("200", |rest| &rest[..3]);
    let answer = format!(
        "HTTP/1.1 {status} {SECRET}\r\nlocation: /{SECRET}\r\nset-cookie: {SECRET}\r\nx-app: {SECRET}\r\n\
         content-length: {}\r\n\r\n{SECRET}",
        SECRET.len()
    );
    // Whoever asked may have gone.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.read_u8().await;
}

async fn answer_grpc(
    stream: tokio::net::TcpStream,
    serving: Arc<AtomicBool>,
    service: &'static str,
) {
    // A connection that is no HTTP/2 is the prober's fault and shows in its verdict.
    let Ok(mut http2) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, mut respond))) = http2.accept().await {
        let serving = Arc::clone(&serving);
        tokio::spawn(async move {
            let asked_for_health = request.uri().path() == "/grpc.health.v1.Health/Check";
            let mut body = request.into_body();
            let mut arrived = Vec::new();
            while let Some(Ok(data)) = body.data().await {
                arrived.extend_from_slice(&data);
            }
            let message = take_framed(&mut arrived).expect("a message");
            let name = fields(&message)
                .first()
                .map(|(_, name)| *name)
                .unwrap_or_default()
                .to_owned();
            let healthy =
                asked_for_health && name == service.as_bytes() && serving.load(Ordering::SeqCst);
            let response = http::Response::builder()
                .header("content-type", "application/grpc")
                .body(())
                .expect("a response");
            let Ok(mut send) = respond.send_response(response, false) else {
                return;
            };
            let status = if healthy { 1 } else { 2 };
            let mut trailers = http::HeaderMap::new();
            trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
            // The prober may have gone.
            let _ = send.send_data(Bytes::from(framed(&number(1, status))), false);
            let _ = send.send_trailers(trailers);
        });
    }
}
