//! The TCP side: how many connections may be open, and why one came to nothing.

use std::future::{Ready, ready};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum_server::accept::Accept;
use rustls::{Error, PeerIncompatible};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::metrics::Metrics;

/// Lets in a bounded number of connections; one more is closed at once.
#[derive(Clone)]
pub(super) struct Door {
    places: Arc<Semaphore>,
    metrics: Metrics,
}

#[derive(Debug, thiserror::Error)]
#[error("too many connections are open")]
struct Crowded;

impl Door {
    pub(super) fn new(places: usize, metrics: Metrics) -> Door {
        Door {
            places: Arc::new(Semaphore::new(places)),
            metrics,
        }
    }
}

impl<S> Accept<TcpStream, S> for Door {
    type Stream = Guest;
    type Service = S;
    type Future = Ready<io::Result<(Guest, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            return ready(Err(io::Error::other(Crowded)));
        };
        self.metrics.connections.inc();
        let guest = Guest {
            stream,
            metrics: self.metrics.clone(),
            _place: place,
        };
        // Answers are one small write each; waiting for more to send only delays them.
        ready(guest.stream.set_nodelay(true).map(|()| (guest, service)))
    }
}

/// A connection that counts as open until it is dropped.
pub(super) struct Guest {
    stream: TcpStream,
    metrics: Metrics,
    _place: OwnedSemaphorePermit,
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}

impl AsyncRead for Guest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Guest {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Counts a connection that came to nothing; `from` is unknown where not even TCP was agreed.
pub(super) fn count(metrics: &Metrics, from: Option<&SocketAddr>, error: &io::Error) {
    let Some(from) = from else {
        tracing::warn!(%error, "a connection could not be accepted");
        return metrics.count_accept_failure();
    };
    if error
        .get_ref()
        .is_some_and(<dyn std::error::Error + Send + Sync>::is::<Crowded>)
    {
        metrics.connections_refused.inc();
        return;
    }
    let reason = handshake_failure(error);
    tracing::debug!(%from, reason, %error, "no TLS was agreed");
    metrics.count_handshake_failure(reason);
}

fn handshake_failure(error: &io::Error) -> &'static str {
    let tls = error
        .get_ref()
        .and_then(|error| error.downcast_ref::<Error>());
    match (tls, error.kind()) {
        (
            Some(Error::PeerIncompatible(
                PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled,
            )),
            _,
        ) => "version",
        (Some(Error::PeerIncompatible(_)), _) => "incompatible",
        (Some(Error::NoApplicationProtocol), _) => "alpn",
        (Some(Error::InvalidMessage(_)), _) => "not-tls",
        // For example, the client does not trust our certificate.
        (Some(Error::AlertReceived(_)), _) => "client-alert",
        (Some(_), _) => "protocol",
        (None, ErrorKind::TimedOut) => "timeout",
        (None, _) => "closed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn one_connection_too_many_is_closed_and_a_place_comes_free_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let metrics = Metrics::default();
        let door = Door::new(1, metrics.clone());
        let mut clients = Vec::new();
        let mut knock = async || {
            clients.push(TcpStream::connect(address).await.expect("connected"));
            let (stream, from) = listener.accept().await.expect("accepted");
            let entered = door.accept(stream, ()).await;
            entered.inspect_err(|error| count(&metrics, Some(&from), error))
        };
        let first = knock().await.expect("there is a place");
        assert!(knock().await.is_err());
        assert_eq!(
            (metrics.connections.get(), metrics.connections_refused.get()),
            (1, 1)
        );
        drop(first);
        assert_eq!(metrics.connections.get(), 0);
        knock().await.expect("the place is free again");
    }
}
