//! A client that costs as little as a real one can: TLS 1.3, connections kept alive, one request
//! after the other on each, nothing parsed but the answer's length.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::tests::client::connect;

/// Where to send requests, and whom to trust there.
pub(crate) struct Load {
    to: SocketAddr,
    authority: Arc<str>,
}

impl Load {
    pub(crate) fn new(to: SocketAddr, authority: &str) -> Load {
        Load {
            to,
            authority: authority.into(),
        }
    }

    /// Sends one request and gives the answer's body.
    pub(crate) async fn once(&self, body: &[u8]) -> Vec<u8> {
        let mut connection = Connection::open(self.to, &self.authority).await;
        let length = connection.request(&request(body)).await;
        connection
            .answer
            .split_off(connection.answer.len() - length)
    }

    /// Sends requests for that long and gives how many were answered.
    pub(crate) async fn run(&self, body: &[u8], connections: usize, time: Duration) -> u32 {
        let request: Arc<[u8]> = request(body).into();
        let clients = (0..connections).map(|_| {
            let (to, authority, request) = (self.to, self.authority.clone(), request.clone());
            tokio::spawn(async move {
                let mut connection = Connection::open(to, &authority).await;
                let end = Instant::now() + time;
                let mut answered = 0;
                while Instant::now() < end {
                    connection.request(&request).await;
                    answered += 1;
                }
                answered
            })
        });
        let mut answered = 0;
        for client in clients.collect::<Vec<_>>() {
            answered += client.await.expect("every request was answered");
        }
        answered
    }
}

fn request(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /inject?timeout=5s HTTP/1.1\r\nHost: localhost\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

struct Connection {
    stream: TlsStream<TcpStream>,
    answer: Vec<u8>,
}

impl Connection {
    async fn open(to: SocketAddr, authority: &str) -> Connection {
        let stream = connect(to, authority).await;
        stream.get_ref().0.set_nodelay(true).expect("a socket");
        Connection {
            stream,
            answer: Vec::with_capacity(64 << 10),
        }
    }

    /// Sends a request, reads its answer to the end, and gives the length of its body.
    async fn request(&mut self, request: &[u8]) -> usize {
        self.stream.write_all(request).await.expect("written");
        self.stream.flush().await.expect("written");
        self.answer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.answer).await.expect("read");
            assert!(read > 0, "the connection ended");
            if let Some((head, length)) = announced(&self.answer)
                && self.answer.len() >= head + length
            {
                return length;
            }
        }
    }
}

/// Bytes of the head, and of the body that it announces, once the head is complete.
fn announced(answer: &[u8]) -> Option<(usize, usize)> {
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).expect("a head is text");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then_some(value)
    });
    let length = length.and_then(|value| value.trim().parse().ok());
    Some((end + 4, length.expect("a length is announced")))
}
