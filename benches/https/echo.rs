//! The bare server: axum, axum-server and rustls, and nothing of ours but the TLS settings. It is
//! this program, started once more, so that its memory is its own.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::routing::post;
use axum_server::tls_rustls::RustlsConfig;
use jiff::Timestamp;
use sparkmesh::tls;

use crate::tests::process::Files;

/// Makes this program the server; behind it stand the folder of the pair and the answer's length.
pub(crate) const FLAG: &str = "--echo";

/// A running server; it is killed when dropped.
pub(crate) struct Echo {
    child: Child,
    pub(crate) listen: SocketAddr,
}

/// Starts a server with the pair of `files` that answers that many bytes.
pub(crate) fn start(files: &Files, answer: usize) -> Echo {
    let pair = files.pair.path("tls.crt");
    let folder = pair.parent().expect("a file is in a folder");
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .arg(FLAG)
        .arg(folder)
        .arg(answer.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut line).expect("read");
    Echo {
        listen: line.trim().parse().expect("it says where it listens"),
        child,
    }
}

impl Echo {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves until it is killed.
pub(crate) fn serve(folder: &Path, answer: usize) {
    let read = |name: &str| std::fs::read(folder.join(name)).expect("a file of the pair");
    let pair = tls::Pair::parse(&read("tls.crt"), &read("tls.key"), Timestamp::now());
    let tls = tls::server_config(&pair.expect("a valid pair"));
    let answer = Bytes::from(vec![b'x'; answer]);
    let echo = move |body: Bytes| async move {
        assert!(
            !body.is_empty(),
            "a body is read whole before it is answered"
        );
        ([(CONTENT_TYPE, "application/json")], answer)
    };
    let routes = Router::new().route("/inject", post(echo));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a socket");
    println!("{}", listener.local_addr().expect("bound"));
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(async {
            let tls = RustlsConfig::from_config(tls);
            let server = axum_server::from_tcp_rustls(listener, tls).expect("a listener");
            server.serve(routes.into_make_service()).await
        })
        .expect("it serves until it is killed");
}
