//! Reading a request's body: bounded in bytes, in time, and in memory over all requests.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use super::refusal::Refusal;

/// Memory is counted in pieces of this many bytes.
const PIECE: usize = 1024;
/// A client that is still writing sees our answer only if we read on; this is how much, in
/// multiples of the limit.
const DISCARD: usize = 4;

/// A body in memory, and its share of the memory for bodies.
#[derive(Debug)]
pub(super) struct Bytes<'a> {
    pub(super) bytes: Vec<u8>,
    _share: Option<SemaphorePermit<'a>>,
}

/// The memory for bodies of all requests together.
pub(super) struct Memory(Semaphore);

impl Memory {
    pub(super) fn new(bytes: usize) -> Memory {
        Memory(Semaphore::new(bytes / PIECE))
    }
}

/// The JSON body of `request`, at most `limit` bytes, complete `within` that time.
pub(super) async fn read(
    request: Request<Body>,
    memory: &Memory,
    limit: usize,
    within: Duration,
) -> Result<Bytes<'_>, Refusal> {
    if !is_json(request.headers()) {
        return Err(Refusal::ContentType);
    }
    let waits_for_leave = request.headers().contains_key(EXPECT);
    let announced = announced(request.headers());
    if waits_for_leave && announced.is_some_and(|length| length > limit) {
        return Err(Refusal::TooLarge(limit));
    }
    let mut body = request.into_body();
    let end = Instant::now() + within;
    let read = timeout_at(end, collect(&mut body, memory, limit, announced))
        .await
        .unwrap_or(Err(Refusal::Slow));
    if let Err(Refusal::TooLarge(_)) = read {
        // However slowly the rest comes: that it is too large is known.
        let _ = timeout_at(end, discard(&mut body, limit * DISCARD)).await;
    }
    read
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

fn announced(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn collect<'a>(
    body: &mut Body,
    memory: &'a Memory,
    limit: usize,
    announced: Option<usize>,
) -> Result<Bytes<'a>, Refusal> {
    if announced.is_some_and(|length| length > limit) {
        return Err(Refusal::TooLarge(limit));
    }
    let mut bytes = Vec::new();
    let mut share: Option<SemaphorePermit<'a>> = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::Broken)?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > limit {
            return Err(Refusal::TooLarge(limit));
        }
        // Only what has arrived is counted: a length that is announced may be a lie.
        let pieces = (bytes.len() + data.len()).div_ceil(PIECE) - bytes.len().div_ceil(PIECE);
        let pieces = u32::try_from(pieces).map_err(|_| Refusal::Busy)?;
        let more = memory
            .0
            .try_acquire_many(pieces)
            .map_err(|_| Refusal::Busy)?;
        match &mut share {
            Some(share) => share.merge(more),
            None => share = Some(more),
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Bytes {
        bytes,
        _share: share,
    })
}

async fn discard(body: &mut Body, most: usize) {
    let mut seen = 0;
    while let Some(Ok(frame)) = body.frame().await {
        seen += frame.data_ref().map_or(0, bytes::Bytes::len);
        if seen > most {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn request(body: impl Into<Body>) -> Request<Body> {
        Request::post("/inject")
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .body(body.into())
            .expect("a request")
    }

    #[tokio::test]
    async fn a_body_of_exactly_the_limit_is_read_and_one_byte_more_is_not() {
        let memory = Memory::new(1 << 20);
        let read = read(request(vec![b'x'; 100]), &memory, 100, SECOND).await;
        assert_eq!(read.expect("fits").bytes.len(), 100);
        let read = super::read(request(vec![b'x'; 101]), &memory, 100, SECOND).await;
        assert_eq!(read.expect_err("too long"), Refusal::TooLarge(100));
    }

    #[tokio::test]
    async fn a_body_that_is_too_large_and_never_ends_is_too_large() {
        let start = futures_util::stream::once(async {
            Ok::<_, std::convert::Infallible>(vec![b'x'; 101])
        });
        let endless = futures_util::StreamExt::chain(start, futures_util::stream::pending());
        let memory = Memory::new(1 << 20);
        let within = Duration::from_millis(10);
        let read = super::read(request(Body::from_stream(endless)), &memory, 100, within).await;
        assert_eq!(read.expect_err("too long"), Refusal::TooLarge(100));
    }

    #[tokio::test]
    async fn bodies_share_one_memory_and_give_it_back() {
        let memory = Memory::new(4 * PIECE);
        let first = read(request(vec![b'x'; 3 * PIECE]), &memory, 1 << 20, SECOND).await;
        let second = read(request(vec![b'x'; 2 * PIECE]), &memory, 1 << 20, SECOND).await;
        assert_eq!(second.expect_err("no memory left"), Refusal::Busy);
        drop(first.expect("fits"));
        let third = read(request(vec![b'x'; 4 * PIECE]), &memory, 1 << 20, SECOND).await;
        third.expect("the memory was given back");
    }
}
