//! The plain-HTTP side of a long-running subcommand: `/metrics`, `/livez` and `/readyz`.
//!
//! It shows what it is given; what is counted and what makes ready is each subcommand's.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::TokioTimer;
use prometheus_client::registry::Registry;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// What scrapers and kubelets need is far less.
const HEADERS_WITHIN: Duration = Duration::from_secs(30);

/// What the admin server shows.
pub struct Admin {
    registry: Registry,
    missing: Box<dyn Fn() -> Vec<String> + Send + Sync>,
}

impl Admin {
    /// `missing` says, in words, what keeps the process from being ready; nothing means ready.
    pub fn new(
        registry: Registry,
        missing: impl Fn() -> Vec<String> + Send + Sync + 'static,
    ) -> Admin {
        Admin {
            registry,
            missing: Box::new(missing),
        }
    }

    /// The routes, also for use without a socket.
    pub fn router(self) -> Router {
        Router::new()
            .route("/metrics", get(metrics))
            .route("/livez", get(|| async { "alive\n" }))
            .route("/readyz", get(readiness))
            .with_state(Arc::new(self))
    }

    /// Serves the routes until the process ends.
    pub async fn serve(self, listener: TcpListener) -> std::io::Result<()> {
        let mut server = axum_server::from_tcp(listener)?
            .http1_only()
            .first_request_timeout(HEADERS_WITHIN);
        server
            .http_builder()
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS_WITHIN);
        server.serve(self.router().into_make_service()).await
    }
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &admin.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn readiness(State(admin): State<Arc<Admin>>) -> Response {
    let missing = (admin.missing)();
    if missing.is_empty() {
        return "ready\n".into_response();
    }
    let body = format!("not ready:\n- {}\n", missing.join("\n- "));
    (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
}
