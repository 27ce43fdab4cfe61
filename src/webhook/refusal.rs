//! Requests that get no review, and what they are told.

use axum::http::header::{ALLOW, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

/// Why a request is answered without a review.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The path is none of ours.
    Path,
    /// The path is ours, the method is not.
    Method,
    /// The body is not said to be JSON.
    ContentType,
    /// The body is longer than the limit, which is given in bytes.
    TooLarge(usize),
    /// The body did not arrive in time.
    Slow,
    /// The body broke off.
    Broken,
    /// Too many requests, or too many bytes of them, at once.
    Busy,
    /// Our own fault.
    Panic,
}

impl Refusal {
    /// The reason as metrics and logs name it.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Refusal::Path => "path",
            Refusal::Method => "method",
            Refusal::ContentType => "content-type",
            Refusal::TooLarge(_) => "too-large",
            Refusal::Slow => "slow",
            Refusal::Broken => "broken",
            Refusal::Busy => "busy",
            Refusal::Panic => "panic",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Refusal::Path => StatusCode::NOT_FOUND,
            Refusal::Method => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Refusal::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::Slow => StatusCode::REQUEST_TIMEOUT,
            Refusal::Broken => StatusCode::BAD_REQUEST,
            Refusal::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::Panic => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn text(self) -> String {
        match self {
            Refusal::Path => "there is nothing here; reviews go to POST /inject".to_owned(),
            Refusal::Method => "only POST is answered here".to_owned(),
            Refusal::ContentType => "the body must be application/json".to_owned(),
            Refusal::TooLarge(limit) => {
                format!("the body is longer than {limit} bytes, the most that is read")
            }
            Refusal::Slow => "the body did not arrive in time".to_owned(),
            Refusal::Broken => "the body broke off".to_owned(),
            Refusal::Busy => "too many requests at once; try again in a second".to_owned(),
            Refusal::Panic => "internal error; see the webhook's log".to_owned(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status(), self.text() + "\n").into_response();
        match self {
            Refusal::Method => {
                let headers = response.headers_mut();
                headers.insert(ALLOW, HeaderValue::from_static("POST"));
            }
            Refusal::Busy => {
                let headers = response.headers_mut();
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}
